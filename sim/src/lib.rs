//! A deterministic world for Trackerless nodes and sessions: virtual time, a virtual network and
//! one seed. What runs in it is what ships, line for line.
//!
//! [`World`] gives hosts datagrams, timeouts and commands in an order that follows from the seed
//! alone, and keeps a fingerprint of all that happened.

mod addresses;
mod content;
mod dht_host;
mod disk;
mod edge;
pub mod flow;
mod host;
mod link;
mod packets;
mod peer_host;
mod queue;
pub mod scenario;
mod slots;
mod stream;
mod summary;
mod sybil;
mod trace;
mod world;

pub use addresses::AddressPlan;
pub use content::{Content, ContentHasher, Run};
pub use dht_host::{DhtCommand, DhtHost, GetOutcome, LookupOutcome};
pub use disk::Disk;
pub use edge::Access;
pub use host::{Host, HostId};
pub use link::{Fate, LinkConfig, Links};
pub use packets::Packets;
pub use peer_host::{Milestones, PeerCommand, PeerHost};
pub use queue::{Event, EventQueue};
pub use stream::{Chunk, StreamAction, StreamEvent};
pub use summary::Summary;
pub use sybil::{Ring, Sybil};
pub use trace::{Trace, TraceHash};
pub use world::{Counters, World};
