//! The 68-byte handshake (BEP 3, "peer protocol") and its reserved bits.

use crate::id::{Id, InfoHash};

/// Bytes of a handshake.
pub const HANDSHAKE_LEN: usize = 68;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The name a peer gives itself.
pub type PeerId = [u8; 20];

/// The eight reserved bytes, of which each extension has a bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// What this implementation speaks: extension protocol, fast extension and DHT.
    pub const OURS: Reserved = Reserved([0, 0, 0, 0, 0, 0x10, 0, 0x05]);

    /// The extension protocol (BEP 10).
    pub fn extensions(self) -> bool {
        self.0[5] & 0x10 != 0
    }

    /// The fast extension (BEP 6).
    pub fn fast(self) -> bool {
        self.0[7] & 0x04 != 0
    }

    /// A DHT node at the peer's address, told by the `port` message (BEP 5).
    pub fn dht(self) -> bool {
        self.0[7] & 0x01 != 0
    }
}

/// The first thing each side sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// Extensions that the sender speaks.
    pub reserved: Reserved,
    /// The torrent it wants to talk about.
    pub info_hash: InfoHash,
    /// Its name.
    pub peer_id: PeerId,
}

/// The stream does not begin as BEP 3 says: another protocol, or an encrypted handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAHandshake;

impl Handshake {
    /// Whether `bytes`, up to 68 of them, may still become a handshake.
    pub fn may_begin(bytes: &[u8]) -> bool {
        let len = bytes.len().min(PROTOCOL.len());
        bytes[..len] == PROTOCOL[..len]
    }

    /// Reads a whole handshake.
    pub fn parse(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Handshake, NotAHandshake> {
        if !Handshake::may_begin(bytes) {
            return Err(NotAHandshake);
        }
        Ok(Handshake {
            reserved: Reserved(std::array::from_fn(|i| bytes[20 + i])),
            info_hash: Id(std::array::from_fn(|i| bytes[28 + i])),
            peer_id: std::array::from_fn(|i| bytes[48 + i]),
        })
    }

    /// Appends the 68 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PROTOCOL);
        out.extend_from_slice(&self.reserved.0);
        out.extend_from_slice(self.info_hash.as_bytes());
        out.extend_from_slice(&self.peer_id);
    }
}
