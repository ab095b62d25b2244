//! Metadata messages (BEP 9, "extension message").

use crate::bencode::{Encoder, Error, Limits, Value};

/// A message of `ut_metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// Asks for a piece of the info dict.
    Request {
        /// Its index.
        piece: u32,
    },
    /// Brings one.
    Data {
        /// Its index.
        piece: u32,
        /// Bytes of the whole info dict.
        total_size: Option<usize>,
        /// The bytes.
        data: &'a [u8],
    },
    /// Will not send one.
    Reject {
        /// Its index.
        piece: u32,
    },
    /// A type that we do not know; to be ignored (BEP 9).
    Unknown,
}

impl<'a> MetadataMessage<'a> {
    /// Reads a message; the data stand behind its dict.
    ///
    /// # Errors
    /// It has no dict, no type, or an index out of range.
    pub fn parse(payload: &'a [u8]) -> Result<MetadataMessage<'a>, Error> {
        let (dict, data) = Value::parse_prefix(payload, Limits::EXTENSION)?;
        let int = |key: &[u8]| dict.get(key).and_then(|value| value.as_int());
        let kind = int(b"msg_type").ok_or(Error::Unexpected(0))?;
        if !(0..=2).contains(&kind) {
            return Ok(MetadataMessage::Unknown);
        }
        let piece = int(b"piece")
            .and_then(|piece| u32::try_from(piece).ok())
            .ok_or(Error::Unexpected(0))?;
        Ok(match kind {
            0 => MetadataMessage::Request { piece },
            1 => {
                let total = int(b"total_size");
                let total_size = total.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
                MetadataMessage::Data { piece, total_size, data }
            }
            _ => MetadataMessage::Reject { piece },
        })
    }

    /// Appends the message. An unknown one has no bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, piece, total, data): (i64, u32, Option<usize>, &[u8]) = match *self {
            MetadataMessage::Request { piece } => (0, piece, None, &[]),
            MetadataMessage::Data { piece, total_size, data } => (1, piece, total_size, data),
            MetadataMessage::Reject { piece } => (2, piece, None, &[]),
            MetadataMessage::Unknown => return,
        };
        Encoder::new(out).dict(|dict| {
            dict.key(b"msg_type").int(kind);
            dict.key(b"piece").int(i64::from(piece));
            if let Some(total) = total {
                dict.key(b"total_size").int(i64::try_from(total).unwrap_or(i64::MAX));
            }
        });
        out.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_bep_9() {
        for (bytes, message) in [
            (&b"d8:msg_typei0e5:piecei0ee"[..], MetadataMessage::Request { piece: 0 }),
            (
                b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx",
                MetadataMessage::Data { piece: 0, total_size: Some(34256), data: b"xxxxxxxx" },
            ),
            (b"d8:msg_typei2e5:piecei0ee", MetadataMessage::Reject { piece: 0 }),
        ] {
            assert_eq!(MetadataMessage::parse(bytes), Ok(message));
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn malformed_ones_are_refused() {
        for bytes in
            [&b""[..], b"de", b"d8:msg_typei0ee", b"d8:msg_typei1e5:piecei-1ee", b"d8:msg_typei1e"]
        {
            assert!(MetadataMessage::parse(bytes).is_err());
        }
        assert_eq!(MetadataMessage::parse(b"d8:msg_typei9ee"), Ok(MetadataMessage::Unknown));
    }
}
