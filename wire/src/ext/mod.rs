//! Extension messages (BEP 10): the handshake, metadata (BEP 9) and peer exchange (BEP 11).

mod handshake;
mod metadata;
mod pex;

pub use handshake::ExtHandshake;
pub use metadata::MetadataMessage;
pub use pex::{Pex, PexPeer};
