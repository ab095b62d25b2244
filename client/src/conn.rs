//! Names of connections and torrents.

use std::fmt;

/// Names one connection of a session, from dial or accept to close; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// The connection numbered `number`, for who names connections as a session does.
    pub fn new(number: u64) -> ConnId {
        ConnId(number)
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn{}", self.0)
    }
}

/// Names one torrent of a session; never used twice. Not its info-hash: a hybrid has two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TorrentKey(pub u32);
