//! A standalone BitTorrent Mainline DHT node (BEP 5, 32, 33, 42, 43, 44, 45, 51).
//!
//! [`Node`] is a pure state machine: datagrams, commands and the time go in; datagrams, events and
//! a deadline come out. It opens no socket and reads no clock. After each input the caller drains
//! [`Node::poll_transmit`] and [`Node::poll_event`] until they are empty, and calls
//! [`Node::handle_timeout`] at the time that [`Node::poll_timeout`] says. A late, early or repeated
//! timeout does no harm. The same seed and the same inputs give the same outputs.
//!
//! ```
//! use dht::wire::{Id, rng::seed_from_u64, time::Time};
//! use dht::{Config, Event, Node, SocketId};
//!
//! // Two nodes, and no network but this loop.
//! let addrs = ["10.0.0.1:6881".parse()?, "10.0.0.2:6881".parse()?];
//! let now = Time::ZERO;
//! let node = |n: usize| Node::new(Config::new(vec![addrs[n]]), &seed_from_u64(n as u64), now);
//! let mut nodes = [node(0), node(1)];
//! nodes[1].bootstrap(now, addrs[0]);
//! let announce = nodes[1].announce(now, Id([0x77; 20]), Some(6881), false);
//! nodes[1].handle_timeout(now);
//!
//! let mut buf = Vec::new();
//! while let Some((from, sent)) =
//!     (0..2).find_map(|n| Some((n, nodes[n].poll_transmit(&mut buf)?)))
//! {
//!     nodes[1 - from].handle_datagram(now, SocketId(0), addrs[from], &buf[..sent.len]);
//! }
//! let announced = std::iter::from_fn(|| nodes[1].poll_event())
//!     .any(|e| matches!(e, Event::Announced { lookup, accepted: 1, .. } if lookup == announce));
//! assert!(announced);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! The feature `driver` adds what tokio and the system are needed for: `driver::Dht`, an
//! asynchronous handle of a node with sockets and the clock, and what it is made of.

mod answers;
mod around;
mod asker;
mod bootstrap;
mod candidates;
mod config;
mod contact;
#[cfg(feature = "driver")]
pub mod driver;
mod estimate;
mod event;
mod finds;
mod flow;
mod goal;
mod item;
mod item_store;
mod keyed;
pub mod lookup;
mod lookup_policy;
mod maintenance;
mod node;
mod own;
mod peer_store;
mod queries;
mod quota;
mod replies;
mod room;
mod rtt;
mod search;
mod security;
mod server;
mod shares;
mod snapshot;
mod stats;
mod stores;
mod table;
mod tables;
mod tokens;
mod transactions;
mod vote;

pub use config::{Config, SharedConfig};
pub use contact::Status;
pub use estimate::{Certainty, NetworkSize};
pub use event::{Event, LookupId, NodeInfo, PingId, Progress, SocketId, Timer, Transmit};
pub use item::{Item, ItemError, ItemKey, SALT_BYTES_MAX, SigningKey, VALUE_BYTES_MAX};
pub use lookup_policy::{Choice, Heard, LookupPolicy, LookupView, Stage};
pub use node::{ContactInfo, Node};
pub use security::{fits, make_id};
pub use snapshot::{SNAPSHOT_BYTES_MAX, SNAPSHOT_CONTACTS_MAX, Snapshot, SnapshotError};
pub use stats::Stats;
pub use tokens::{TOKEN_LEN, Tokens};
/// The formats and small types that a node speaks in.
pub use wire;
