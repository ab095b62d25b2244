//! KRPC (BEP 5, "KRPC Protocol"): the messages of the DHT.
//!
//! A datagram is read into a borrowed [`Message`] without allocation. A reply's body stays a
//! bencoded value and is read as the type that was asked for ([`FindNodeReply`],
//! [`GetPeersReply`]): the message itself does not say what it answers.

mod error;
mod message;
mod query;
mod reply;

pub use error::{Error, METHOD_UNKNOWN, PROTOCOL_ERROR, SERVER_ERROR};
pub use message::{Body, Dropped, Head, Message, TID_LEN_MAX};
pub use query::{Method, Query, Want};
pub use reply::{FindNodeReply, GetPeersReply, PingReply, Reply};
