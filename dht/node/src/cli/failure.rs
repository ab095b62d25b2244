//! Why a command did not do what it should, and the exit code that says so.

use std::fmt;
use std::io;
use std::process::ExitCode;

use dht::driver::{BindError, StateError};

/// A failed command. The text says what to do about it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody answered, or nothing was found, in time.
    Nothing(String),
    /// A socket or a name could not be had.
    Network(String),
    /// The arguments say what cannot be.
    Usage(String),
    /// Others changed what was to be replaced.
    Conflict(String),
    /// A file or the program itself is at fault.
    Internal(String),
    /// The reader of our output went away: nothing to say, and nobody to say it to.
    Closed,
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Failure::Closed => ExitCode::SUCCESS,
            Failure::Internal(_) => ExitCode::from(1),
            Failure::Nothing(_) => ExitCode::from(3),
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Network(_) => ExitCode::from(4),
            Failure::Conflict(_) => ExitCode::from(5),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Nothing(text)
            | Failure::Network(text)
            | Failure::Usage(text)
            | Failure::Conflict(text)
            | Failure::Internal(text) => f.write_str(text),
            Failure::Closed => f.write_str("output closed"),
        }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Failure {
        let hint = match error.source.kind() {
            io::ErrorKind::AddrInUse => "another program uses it; choose another --bind or port 0",
            io::ErrorKind::AddrNotAvailable => {
                "this host does not have that address; see `ip addr`"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another",
            _ => "choose another --bind",
        };
        Failure::Network(format!("{error}\n  {hint}"))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        Failure::Internal(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Internal(error.to_string()),
        }
    }
}
