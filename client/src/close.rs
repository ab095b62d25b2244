//! Why a connection ends.

use std::fmt;

/// Why a connection ends; for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The dial failed or took too long.
    DialFailed,
    /// The process has no file descriptor left for it.
    NoDescriptor,
    /// The other side closed it, or the network did.
    Remote,
    /// No handshake in time, or one of another protocol.
    NoHandshake,
    /// It named a torrent that we do not have.
    UnknownTorrent,
    /// It is ourselves.
    Ourselves,
    /// There is a connection to this peer already.
    Duplicate,
    /// It broke the protocol.
    Fault(&'static str),
    /// It sent data that is not what the torrent says.
    Corrupt,
    /// It is silent.
    Silent,
    /// Both sides have all there is.
    BothSeeds,
    /// There are enough connections.
    Full,
    /// It came before we knew what we have, which is more than can be told of piece by piece: who
    /// comes again is told all at once.
    Anew,
    /// The torrent or the session ends.
    Stopped,
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Close::DialFailed => "it cannot be reached",
            Close::NoDescriptor => "too many open files",
            Close::Remote => "it closed the connection",
            Close::NoHandshake => "no handshake",
            Close::UnknownTorrent => "it asked for an unknown torrent",
            Close::Ourselves => "it is ourselves",
            Close::Duplicate => "connected twice",
            Close::Fault(what) => what,
            Close::Corrupt => "it sent corrupt data",
            Close::Silent => "it is silent",
            Close::BothSeeds => "both sides have all",
            Close::Full => "enough connections",
            Close::Anew => "it is to connect anew",
            Close::Stopped => "stopped",
        })
    }
}
