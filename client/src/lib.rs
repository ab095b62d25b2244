//! The session engine.
//!
//! The core is a pure state machine, [`Session`]: torrents, their peers, what to ask of whom and
//! what to keep. Bytes, results and the time go in; actions and events come out. The driver, behind
//! the feature `driver`, gives it sockets, disks and the clock; a simulator gives it a world.
//!
//! Programs hold a `driver::Session`, a handle of such a session on a thread of its own:
//!
//! ```
//! # #[cfg(feature = "driver")]
//! # async fn run(magnet: client::wire::magnet::Magnet) -> Result<(), client::driver::SessionError> {
//! use client::TorrentEvent;
//! use client::driver::{Add, Event, Session};
//!
//! let session = Session::builder().public().start()?;
//! let mut events = session.events();
//! let key = session.add(Add::magnet(&magnet, "downloads")).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Torrent(_, TorrentEvent::Metadata(info)) => println!("it is {}", info.name),
//!         Event::Torrent(_, TorrentEvent::Complete) => break,
//!         Event::Torrent(_, TorrentEvent::Failed(failure)) => println!("{failure}"),
//!         _ => {}
//!     }
//! }
//! println!("{} bytes came", session.stats(key).await?.downloaded);
//! session.shutdown().await?; // and is on stable storage
//! # Ok(())
//! # }
//! ```

mod addr_map;
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
mod geometry;
mod metadata;
mod partial;
mod payload;
mod peer;
mod picker;
mod pieces;
mod policy;
mod rate;
mod session;
mod smart_ban;
mod stats;
pub mod storage;
mod torrent;

pub use choker::{Choker, Contender};
pub use close::Close;
pub use config::Config;
pub use conn::{ConnId, TorrentKey};
pub use discovery::Asked;
pub use disk::HashWork;
pub use payload::Payload;
pub use picker::Picker;
pub use policy::{ChokeRound, ChokeRule, PiecePool, PieceRule, Policies, RarestFirst, Shipped};
pub use session::{Action, Event, JobId, Session};
pub use stats::{PeerStats, TorrentStats};
pub use torrent::{Failure, Identity, Output, TorrentEvent};
/// The formats and small types that torrents are spoken of in.
pub use wire;

/// How we call ourselves to peers (BEP 10, `v`).
pub const CLIENT_NAME: &str = concat!("Trackerless ", env!("CARGO_PKG_VERSION"));
