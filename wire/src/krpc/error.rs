//! Error messages (BEP 5, "Errors"; BEP 44, "Errors").

use super::message::Head;
use crate::bencode::{Encoder, Value};

/// Something went wrong that is not the asker's fault (BEP 5, "Errors": Server Error).
pub const SERVER_ERROR: i64 = 202;
/// A malformed packet, invalid arguments, or a bad token (BEP 5, "Errors": Protocol Error).
pub const PROTOCOL_ERROR: i64 = 203;
/// A method that the node does not know (BEP 5, "Errors": Method Unknown).
pub const METHOD_UNKNOWN: i64 = 204;
/// The value of an item has more than 1,000 bytes (BEP 44, "Errors").
pub const VALUE_TOO_BIG: i64 = 205;
/// The signature of an item is not of its key (BEP 44, "Errors").
pub const INVALID_SIGNATURE: i64 = 206;
/// The salt of an item has more than 64 bytes (BEP 44, "Errors").
pub const SALT_TOO_BIG: i64 = 207;
/// The stored item has another sequence number than `cas` (BEP 44, "Errors").
pub const CAS_MISMATCH: i64 = 301;
/// The stored item is newer, or as new and another one (BEP 44, "Errors").
pub const SEQ_TOO_LOW: i64 = 302;

/// The body of an error message. What a stranger left out or got wrong reads as 0 and empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error<'a> {
    /// The code.
    pub code: i64,
    /// What it says; any bytes.
    pub text: &'a [u8],
}

impl<'a> Error<'a> {
    /// Reads the value of `e`, whatever it is.
    pub fn parse(value: Value<'a>) -> Error<'a> {
        let mut items = value.as_list().into_iter().flatten();
        let code = items.next().and_then(|v| v.as_int()).unwrap_or(0);
        let text = items.next().and_then(|v| v.as_bytes()).unwrap_or_default();
        Error { code, text }
    }

    /// Appends the message. `head.read_only` belongs to queries and is not written.
    pub fn encode(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"d1:e");
        Encoder::new(out).list(|l| {
            l.int(self.code);
            l.bytes(self.text);
        });
        head.put_ip(out);
        head.put_tail(out, b'e');
    }
}
