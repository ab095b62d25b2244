//! How the program ends.

use std::fmt;

use client::disk::{DiskError, DiskErrorKind};
use client::driver::SessionError;

/// What ends the program other than success: the words for the user, and the exit code.
#[derive(Debug)]
pub enum Failure {
    /// Something that should not happen.
    Internal(String),
    /// Wrong usage, found after the command line was read.
    Usage(String),
    /// Nobody has it, or time is up.
    NotFound(String),
    /// Cannot listen or resolve.
    Network(String),
    /// Cannot read or write files.
    Disk(String),
    /// A torrent that we do not take.
    Refused(String),
    /// A signal ended it: its number, and what that leaves behind.
    Signal(i32, &'static str),
    /// Some of several torrents failed, and each has been told of.
    Several {
        /// The exit code of the first.
        code: u8,
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl Failure {
    /// The session ended, and nobody had asked it to.
    pub fn ended() -> Failure {
        Failure::Internal("the session ended".into())
    }

    /// The exit code; the table stands in the README.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Internal(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NotFound(_) => 3,
            Failure::Network(_) => 4,
            Failure::Disk(_) => 5,
            Failure::Refused(_) => 6,
            Failure::Signal(number, _) => 128u8.saturating_add(*number as u8),
            Failure::Several { code, .. } => *code,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Internal(text)
            | Failure::Usage(text)
            | Failure::NotFound(text)
            | Failure::Network(text)
            | Failure::Disk(text)
            | Failure::Refused(text) => f.write_str(text),
            Failure::Signal(2, left) => write!(f, "interrupted; {left}"),
            Failure::Signal(_, left) => write!(f, "terminated; {left}"),
            Failure::Several { failed, all, .. } => write!(f, "{failed} of {all} torrents failed"),
        }
    }
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Failure {
        match failure {
            client::Failure::Disk(error) => error.into(),
            client::Failure::Metadata(text) => Failure::Refused(text),
            failure @ client::Failure::NoSuchFile { .. } => {
                Failure::Usage(format!("{failure}; --list shows them"))
            }
            failure @ client::Failure::Private => Failure::Refused(failure.to_string()),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        /// What to do about an address.
        const HINT: &str = "choose another address or port with --bind";
        match error {
            SessionError::Listen(addr, error) => {
                Failure::Network(format!("cannot listen on {addr} (TCP): {error}; {HINT}"))
            }
            SessionError::Dht(error) => Failure::Network(format!("the DHT: {error}; {HINT}")),
            SessionError::Twice(info_hash) => {
                Failure::Usage(format!("the torrent {info_hash} is named twice"))
            }
            SessionError::Private => client::Failure::Private.into(),
            SessionError::Disk(error) => error.into(),
            SessionError::Failed(failure) => failure.into(),
            error => Failure::Internal(error.to_string()),
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Failure {
        let hint = match error.kind {
            DiskErrorKind::Full => "; make room, then run the same command again",
            DiskErrorKind::Denied => "; mend its permissions, or choose another folder with -o",
            DiskErrorKind::Locked => {
                ", which fetches this torrent into this folder; end it, or choose another folder \
                 with -o"
            }
            DiskErrorKind::Conflict => "; move it away, or choose another folder with -o",
            DiskErrorKind::NotFound => ": it was changed meanwhile; run the same command again",
            DiskErrorKind::OutOfFiles => "; raise the limit of open files (ulimit -n)",
            DiskErrorKind::Other => "",
        };
        Failure::Disk(format!("{}{hint}", error.message))
    }
}
