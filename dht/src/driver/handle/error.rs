//! Why a node's handle cannot do what it was asked to.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::driver::{BindError, StateError};

/// Why something failed. The text says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum DhtError {
    /// There is no tokio runtime.
    NoRuntime,
    /// An address cannot be bound.
    Bind(BindError),
    /// A given socket cannot be used.
    Socket(io::Error),
    /// The state file cannot be read or written.
    State(StateError),
    /// There is no state file to save to.
    NoStateFile,
    /// No other node is known: none was named, and none came by.
    NobodyToAsk,
    /// No bootstrap host has an address: each name, and what the resolver said.
    Unresolved(Vec<(String, String)>),
    /// Nobody answered.
    Unanswered {
        /// Queries that went out.
        asked: u64,
        /// Datagrams since the start that the system did not take.
        unsent: u64,
    },
    /// A ping was not answered.
    PingUnanswered(SocketAddr),
    /// Nodes answered, and none accepted the announce.
    NotAccepted {
        /// Nodes that answered.
        answered: u32,
    },
    /// The node has ended.
    Stopped,
}

impl fmt::Display for DhtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DhtError::NoRuntime => {
                f.write_str("no tokio runtime: start the node inside of one, as of #[tokio::main]")
            }
            DhtError::Bind(error) => write!(f, "{error}; {}", bind_hint(error.source.kind())),
            DhtError::Socket(error) => write!(f, "cannot use the given UDP socket: {error}"),
            DhtError::State(error) => {
                write!(f, "{error}; name a state file that can be read and written, or none")
            }
            DhtError::NoStateFile => f.write_str(
                "nowhere to save: name a file by Builder::state_file, or keep Dht::snapshot",
            ),
            DhtError::NobodyToAsk => f.write_str(
                "no other node is known: name one by Builder::bootstrap, or let others come to \
                 this one",
            ),
            DhtError::Unresolved(names) => {
                for (name, error) in names {
                    write!(f, "cannot resolve {name}: {error}; ")?;
                }
                f.write_str("check the network, or name a node by its IP address")
            }
            DhtError::Unanswered { asked, unsent: 0 } => write!(
                f,
                "none of {asked} queries was answered: is the bootstrap contact up, and may UDP \
                 pass?"
            ),
            DhtError::Unanswered { asked, unsent } => write!(
                f,
                "none of {asked} queries was answered, and {unsent} datagrams could not be sent: \
                 can the node's sockets reach the others?"
            ),
            DhtError::PingUnanswered(addr) => {
                write!(
                    f,
                    "no answer from {addr}: is a node there? A lost datagram is worth a retry"
                )
            }
            DhtError::NotAccepted { answered } => write!(
                f,
                "{answered} nodes answered, and none accepted the announce: try again later"
            ),
            DhtError::Stopped => f.write_str("the node has ended: start another"),
        }
    }
}

/// What to do about an address that cannot be bound.
fn bind_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "another socket has it: bind another port, or 0 for any",
        io::ErrorKind::AddrNotAvailable => "this host does not have that address: see `ip addr`",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: bind a higher one",
        _ => "bind another address",
    }
}

impl std::error::Error for DhtError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DhtError::Bind(error) => Some(error),
            DhtError::Socket(error) => Some(error),
            DhtError::State(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BindError> for DhtError {
    fn from(error: BindError) -> DhtError {
        DhtError::Bind(error)
    }
}

impl From<StateError> for DhtError {
    fn from(error: StateError) -> DhtError {
        DhtError::State(error)
    }
}
