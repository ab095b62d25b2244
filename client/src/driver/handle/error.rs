//! Why a session cannot do what it was asked to.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use dht::driver::{BindError, StateError};
use wire::InfoHash;

use crate::TorrentKey;
use crate::disk::{DiskError, DiskErrorKind};
use crate::storage::names::NameError;
use crate::torrent::Failure;

/// Why something failed. The text says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// The session's thread cannot be started.
    Thread(io::Error),
    /// It cannot take connections at this address.
    Listen(SocketAddr, io::Error),
    /// The DHT cannot listen there.
    Dht(BindError),
    /// The DHT's contacts cannot be read or saved.
    State(StateError),
    /// The torrent is there already.
    Twice(InfoHash),
    /// The torrent is private (BEP 27), which forbids the DHT.
    Private,
    /// The torrent's folder cannot be used.
    Disk(DiskError),
    /// There is no such torrent: it was never added, or it was removed.
    Unknown(TorrentKey),
    /// The torrent's files are being moved, or one is being renamed.
    Busy(TorrentKey),
    /// The torrent's info dict is not known yet, so it has no files.
    NoInfo(TorrentKey),
    /// A file of the torrent cannot be named so.
    Name(NameError),
    /// The torrent met this while it was at what it was asked to do.
    Failed(Failure),
    /// The session has ended.
    Stopped,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Thread(error) => {
                write!(f, "cannot start a thread: {error}; are there too many already?")
            }
            SessionError::Listen(addr, error) => {
                let hint = listen_hint(error.kind());
                write!(f, "cannot listen on {addr} (TCP): {error}; {hint}")
            }
            SessionError::Dht(error) => {
                let hint = listen_hint(error.source.kind());
                write!(f, "the DHT: {error}; {hint}")
            }
            SessionError::State(error) => {
                write!(f, "{error}; name a state file that can be read and written, or none")
            }
            SessionError::Twice(info_hash) => {
                write!(f, "{info_hash} is there already: remove it first, or use the one there")
            }
            SessionError::Private => Failure::Private.fmt(f),
            SessionError::Disk(error) => write!(f, "{error}{}", disk_hint(error.kind)),
            SessionError::Unknown(key) => {
                write!(f, "there is no torrent {}: it was removed, or is another session's", key.0)
            }
            SessionError::Busy(key) => {
                write!(f, "the files of torrent {} are being moved: wait until they are", key.0)
            }
            SessionError::NoInfo(key) => write!(
                f,
                "the files of torrent {} are not known: wait until its metadata has come",
                key.0
            ),
            SessionError::Name(error) => error.fmt(f),
            SessionError::Failed(failure) => failure.fmt(f),
            SessionError::Stopped => f.write_str("the session has ended: start another"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Disk(error) => write!(f, "{error}{}", disk_hint(error.kind)),
            Failure::Metadata(text) => write!(f, "{text}; there is no way to fetch it"),
            Failure::Private => f.write_str(
                "the torrent is private (BEP 27): it forbids the DHT, and there is no other way \
                 here to find its peers",
            ),
            Failure::NoSuchFile { file, files } => {
                let last = files.saturating_sub(1);
                write!(f, "there is no file {file}: the torrent has the files 0 to {last}")
            }
        }
    }
}

impl std::error::Error for Failure {}

/// What to do about an address that cannot be listened on.
fn listen_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "another socket has it: choose another port, or 0 for any",
        io::ErrorKind::AddrNotAvailable => "this host does not have that address: see `ip addr`",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose a higher one",
        _ => "choose another address",
    }
}

fn disk_hint(kind: DiskErrorKind) -> &'static str {
    match kind {
        DiskErrorKind::Full => "; make room, then pause the torrent and let it go on",
        DiskErrorKind::Denied => "; mend its permissions, or choose another folder",
        DiskErrorKind::Locked => ", which fetches this torrent into this folder",
        DiskErrorKind::Conflict => "; move it away, or choose another folder",
        DiskErrorKind::OutOfFiles => "; raise the limit of open files (ulimit -n)",
        DiskErrorKind::NotFound | DiskErrorKind::Other => "",
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SessionError::Thread(error) | SessionError::Listen(_, error) => Some(error),
            SessionError::Dht(error) => Some(error),
            SessionError::State(error) => Some(error),
            SessionError::Disk(error) => Some(error),
            SessionError::Name(error) => Some(error),
            SessionError::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}
