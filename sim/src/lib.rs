//! A deterministic world for Trackerless nodes and sessions: virtual time, a virtual network and
//! one seed. What runs in it is what ships, line for line.
//!
//! [`World`] gives hosts datagrams, timeouts and commands in an order that follows from the seed
//! alone, and keeps a fingerprint of all that happened.

mod addresses;
mod host;
mod link;
mod packets;
mod queue;
mod trace;
mod world;

pub use addresses::AddressPlan;
pub use host::{Host, HostId};
pub use link::{Fate, LinkConfig, Links};
pub use packets::Packets;
pub use queue::{Event, EventQueue};
pub use trace::{Trace, TraceHash};
pub use world::{Counters, World};
