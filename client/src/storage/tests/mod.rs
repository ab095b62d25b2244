//! The storage against a disk that fails, forgets and reorders.

mod behaviour;
mod crashes;
mod faults;
mod parts;
mod reads;
mod relocate;
mod selection;
mod space;
mod world;
