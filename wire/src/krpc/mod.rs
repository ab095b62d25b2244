//! KRPC (BEP 5, "KRPC Protocol"): the messages of the DHT.
//!
//! A datagram is read into a borrowed [`Message`] in one pass and without allocation. A reply's body
//! is a [`ReplyBody`] and is read as the type that was asked for ([`FindNodeReply`],
//! [`GetPeersReply`], ...): the message itself does not say what it answers. What is written goes straight
//! into the caller's buffer, constant parts in one piece.

mod error;
mod message;
mod query;
mod reply;

pub use error::{
    CAS_MISMATCH, Error, INVALID_SIGNATURE, METHOD_UNKNOWN, PROTOCOL_ERROR, SALT_TOO_BIG,
    SEQ_TOO_LOW, SERVER_ERROR, VALUE_TOO_BIG,
};
pub use message::{Body, Dropped, Head, Message, TID_LEN_MAX};
pub use query::{Method, Put, Query, Signed, Want};
pub use reply::{
    Filters, FindNodeReply, GetPeersReply, ItemReply, PingReply, Reply, ReplyBody,
    SAMPLE_INTERVAL_MAX, Samples,
};

use crate::bencode::Encoder;

/// Writes a string.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..10 => out.extend_from_slice(&[b'0' + len as u8, b':']),
        len @ 10..100 => {
            out.extend_from_slice(&[b'0' + (len / 10) as u8, b'0' + (len % 10) as u8, b':']);
        }
        _ => return Encoder::new(out).bytes(text),
    }
    out.extend_from_slice(text);
}
