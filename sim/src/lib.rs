//! A deterministic world for Trackerless nodes and sessions: virtual time, a virtual network and
//! one seed. What runs in it is what ships, line for line.
//!
//! [`World`] gives hosts datagrams, timeouts and commands in an order that follows from the seed
//! alone, and keeps a fingerprint of all that happened.

mod addresses;
mod capture;
mod churn;
mod content;
mod dht_host;
mod disk;
mod edge;
mod file_bytes;
pub mod flow;
mod host;
pub mod hunt;
mod last;
mod latency;
mod line;
mod link;
mod loss;
mod matrix;
mod mischief;
mod nat;
mod nat_config;
mod oracle;
mod packets;
mod pcap;
mod peer_host;
mod queue;
pub mod results;
pub mod scenario;
mod slots;
mod stream;
mod summary;
mod sybil;
mod trace;
mod truth;
mod watch;
mod world;

pub use addresses::AddressPlan;
pub use capture::Capture;
pub use churn::{Churn, Day, Weibull};
pub use content::{Content, ContentHasher, Run};
pub use dht_host::{DhtCommand, DhtHost, GetOutcome, LookupOutcome};
pub use disk::{Cut, Disk, DiskConfig};
pub use edge::Access;
pub use host::{Host, HostId, Step};
pub use latency::{King, LatencyLaw};
pub use link::{Fate, Jitter, LinkConfig, Links};
pub use loss::Bursts;
pub use matrix::{Matrix, MatrixError};
pub use nat::{Nat, NatCounters, Protocol};
pub use nat_config::{Dependence, NatConfig, Pooling, PortAssignment, WhenFull};
pub use peer_host::{Milestones, PeerCommand, PeerHost};
pub use queue::{Event, Windows};
pub use stream::{Chunk, StreamAction, StreamEvent};
pub use summary::Summary;
pub use sybil::{Ring, Sybil};
pub use trace::{Trace, TraceHash};
pub use world::{Counters, Violation, World};
