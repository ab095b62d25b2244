//! What must hold for any bytes: the bodies of the fuzz targets, as plain functions that panic when
//! it does not. libFuzzer runs them where the compiler counts edges for it, and the tests run them
//! over the committed corpus and its mutations.

pub mod bencode;
pub mod extension;
pub mod framer;
#[path = "../../../client/tests/common/mod.rs"]
mod host;
mod input;
mod items;
pub mod journal;
pub mod krpc;
pub mod magnet;
mod messages;
pub mod metainfo;
pub mod mutate;
pub mod network;
pub mod node;
pub mod peer;
mod places;
pub mod swarm;
mod torrent;
mod watch;

/// The name of a target, which is that of its folder in the corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 11] = [
    ("bencode", bencode::run),
    ("extension", extension::run),
    ("framer", framer::run),
    ("journal", journal::run),
    ("krpc", krpc::run),
    ("magnet", magnet::run),
    ("metainfo", metainfo::run),
    ("network", network::run),
    ("node", node::run),
    ("peer", peer::run),
    ("swarm", swarm::run),
];
