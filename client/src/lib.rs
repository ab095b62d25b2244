//! The session engine.
//!
//! The core is a pure state machine, [`Session`]: torrents, their peers, what to ask of whom and
//! what to keep. Bytes, results and the time go in; actions and events come out. The driver, behind
//! the feature `driver`, gives it sockets, disks and the clock; a simulator gives it a world.

mod allowed_fast;
pub mod candidates;
mod choker;
mod close;
mod config;
mod conn;
mod crowd;
mod discovery;
pub mod disk;
#[cfg(feature = "driver")]
pub mod driver;
mod metadata;
mod payload;
mod peer;
mod picker;
mod pieces;
mod rate;
mod session;
mod smart_ban;
mod stats;
pub mod storage;
mod torrent;

pub use close::Close;
pub use config::Config;
pub use conn::{ConnId, TorrentKey};
pub use discovery::Asked;
pub use disk::HashWork;
pub use payload::Payload;
pub use session::{Action, Event, JobId, Session};
pub use stats::TorrentStats;
pub use torrent::{Failure, Identity, Output, TorrentEvent};

/// How we call ourselves to peers (BEP 10, `v`).
pub const CLIENT_NAME: &str = concat!("Trackerless ", env!("CARGO_PKG_VERSION"));
