//! The driver: gives the session sockets, disks, the DHT and the clock.
//!
//! [`Session`] is what a program holds: a handle of an engine that runs on a thread of its own.
#![allow(clippy::disallowed_types, reason = "the driver is where the clock, sockets and files are")]

mod bind;
mod connection;
mod create;
mod discovery;
pub mod disk;
mod engine;
mod handle;
mod hash_files;
mod pace;
mod reactor;
mod sha1;
mod verify;

pub use create::{HashedPath, hash_path};
pub use discovery::SearchProgress;
pub use handle::{Add, Builder, Event, Events, Session, SessionError};
pub use verify::{FileState, Verified, VerifiedFile, verify};
