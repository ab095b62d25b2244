//! Every byte format of Trackerless, and the small types all other crates share.
//!
//! Nothing here opens a socket, reads a clock or draws from the operating system. Bytes from a
//! stranger are read by bounded, borrowed decoders that return an error and never panic.

pub mod bencode;
pub mod bitfield;
pub mod compact;
pub mod ext;
pub mod id;
pub mod krpc;
pub mod magnet;
pub mod map;
pub mod metainfo;
pub mod peer;
pub mod rng;
pub mod scope;
pub mod scrape;
pub mod time;

pub use id::{Id, InfoHash, NodeId};
