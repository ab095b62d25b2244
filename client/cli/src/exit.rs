//! How the program ends.

use std::fmt;

use client::disk::{DiskError, DiskErrorKind};

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
    /// A signal ended it.
    Signal(i32),
}

impl Failure {
    /// The exit code; the table stands in the README.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Internal(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NotFound(_) => 3,
            Failure::Network(_) => 4,
            Failure::Disk(_) => 5,
            Failure::Refused(_) => 6,
            Failure::Signal(number) => 128u8.saturating_add(*number as u8),
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
            Failure::Signal(2) => f.write_str("interrupted; what is verified is saved"),
            Failure::Signal(_) => f.write_str("terminated; what is verified is saved"),
        }
    }
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Failure {
        match failure {
            client::Failure::Disk(error) => error.into(),
            client::Failure::Metadata(text) => Failure::Refused(text),
            client::Failure::Private => Failure::Refused(
                "the torrent is private (BEP 27): it forbids the DHT, and there is no other way \
                 here to find its peers"
                    .into(),
            ),
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Failure {
        let hint = match error.kind {
            DiskErrorKind::Full => ": make room, then run the same command again",
            DiskErrorKind::Denied => ": choose another folder with -o, or mend its permissions",
            DiskErrorKind::Locked => {
                ": another process fetches this torrent into this folder; end it, or choose \
                 another folder with -o"
            }
            DiskErrorKind::Conflict => ": move it away, or choose another folder with -o",
            DiskErrorKind::NotFound | DiskErrorKind::Other => "",
        };
        Failure::Disk(format!("{}{hint}", error.message))
    }
}
