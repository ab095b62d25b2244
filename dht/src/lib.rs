//! A standalone BitTorrent Mainline DHT node (BEP 5, 32, 33, 42, 43, 44, 51).
//!
//! [`Node`] is a pure state machine: datagrams, commands and the time go in; datagrams, events and
//! a deadline come out. It opens no socket and reads no clock. After each input the caller drains
//! [`Node::poll_transmit`] and [`Node::poll_event`] until they are empty, and calls
//! [`Node::handle_timeout`] at the time that [`Node::poll_timeout`] says. A late, early or repeated
//! timeout does no harm. The same seed and the same inputs give the same outputs.
//!
//! The feature `driver` adds `driver::Driver`, which gives a node sockets and the clock.

mod answers;
mod around;
mod asker;
mod bootstrap;
mod config;
mod contact;
#[cfg(feature = "driver")]
pub mod driver;
mod estimate;
mod event;
mod finds;
mod flow;
mod item;
mod item_store;
mod keyed;
pub mod lookup;
mod node;
mod peer_store;
mod queries;
mod quota;
mod replies;
mod rtt;
mod search;
mod security;
mod server;
mod shares;
mod snapshot;
mod stats;
mod table;
mod tables;
mod tokens;
mod transactions;
mod vote;

pub use config::Config;
pub use contact::Status;
pub use estimate::{Certainty, NetworkSize};
pub use event::{Event, LookupId, NodeInfo, PingId, Progress, SocketId, Timer, Transmit};
pub use item::{Item, ItemError, ItemKey, SALT_BYTES_MAX, SigningKey, VALUE_BYTES_MAX};
pub use node::{ContactInfo, Node};
pub use security::{fits, make_id};
pub use snapshot::{SNAPSHOT_BYTES_MAX, Snapshot, SnapshotError};
pub use stats::Stats;
pub use tokens::{TOKEN_LEN, Tokens};
