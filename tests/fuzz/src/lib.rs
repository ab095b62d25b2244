//! What must hold for any bytes: the bodies of the fuzz targets, as plain functions that panic when
//! it does not. libFuzzer runs them where the compiler counts edges for it, and the tests run them
//! over the committed corpus and its mutations.

pub mod bencode;
mod input;
mod items;
pub mod krpc;
mod messages;
pub mod mutate;
pub mod network;
pub mod node;
mod places;
mod watch;

/// The name of a target, which is that of its folder in the corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 4] = [
    ("bencode", bencode::run),
    ("krpc", krpc::run),
    ("node", node::run),
    ("network", network::run),
];
