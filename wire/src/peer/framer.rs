//! Finds handshake and messages in a stream of bytes.
//!
//! Payload of `piece` messages does not pass through it: after [`Frame::Piece`] the caller reads the
//! block's bytes straight into a buffer of its own, beginning with the few that the framer has read
//! already ([`Framer::take_payload`]).

use std::fmt;

use super::handshake::{HANDSHAKE_LEN, Handshake};
use super::message::{BlockRef, ID_BITFIELD, ID_EXTENDED, ID_PIECE};

/// Longest `bitfield` message: 2^21 pieces (libtorrent's limit), one bit each.
const BITFIELD_MAX: usize = 1 + (1 << 21) / 8;
/// Longest `extended` message: a BEP 9 piece of 16 KiB and a handshake are far below.
const EXTENDED_MAX: usize = 128 << 10;
/// Longest message of any kind (libtorrent: larger ones close the connection).
const MESSAGE_MAX: usize = 1 << 20;
/// Largest block taken: twice what BEP 3 speaks of; we ask for 16 KiB.
const BLOCK_MAX: u32 = 32 << 10;

/// One thing found in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// The handshake, always the first frame.
    Handshake(Handshake),
    /// A message's id and payload, for [`super::Message::parse`].
    Message(&'a [u8]),
    /// A `piece` message begins; its payload follows in the stream.
    Piece(BlockRef),
}

/// Why the stream cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// It does not begin with a handshake.
    NotAHandshake,
    /// A message longer than its kind may be.
    TooLong {
        /// The message's id.
        id: u8,
        /// Its length.
        len: usize,
    },
    /// A `piece` message too short for its header, or with no payload.
    EmptyPiece,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::NotAHandshake => f.write_str("the stream is not the BitTorrent protocol"),
            FrameError::TooLong { id, len } => write!(f, "message {id} of {len} bytes is too long"),
            FrameError::EmptyPiece => f.write_str("a piece message without payload"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The state of one stream.
pub struct Framer {
    /// Bytes read and not yet handed out: `buf[start..end]`.
    buf: Vec<u8>,
    start: usize,
    end: usize,
    got_handshake: bool,
    /// Bytes of a block that the caller has not taken yet.
    payload_left: usize,
    /// Bytes of an unknown message that are dropped as they come.
    skip_left: usize,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// A framer that waits for a handshake.
    pub fn new() -> Framer {
        Framer {
            buf: Vec::new(),
            start: 0,
            end: 0,
            got_handshake: false,
            payload_left: 0,
            skip_left: 0,
        }
    }

    /// Room of at least `len` bytes to read into; [`Framer::filled`] tells how many came.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.buf.len() - self.end < len {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buf.len() - self.end < len {
                self.buf.resize(self.end + len, 0);
            }
        }
        &mut self.buf[self.end..]
    }

    /// `len` bytes were read into the room that [`Framer::space`] gave.
    pub fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.buf.len());
    }

    /// Takes bytes that were read elsewhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// Gives room of more than `max` bytes back, if nothing stands in it.
    pub fn give_back(&mut self, max: usize) {
        if self.start == self.end && self.buf.capacity() > max {
            self.buf = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether all that was read has been handed out: what comes next begins a message.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
            && self.payload_left == 0
            && self.skip_left == 0
            && self.got_handshake
    }

    /// Bytes of the current block that are still to come through
    /// [`Framer::take_payload`] or past the framer.
    pub fn payload_left(&self) -> usize {
        self.payload_left
    }

    /// Moves payload that was read along with a header to `out`; returns how many bytes.
    pub fn take_payload(&mut self, out: &mut [u8]) -> usize {
        let len = out.len().min(self.payload_left).min(self.end - self.start);
        out[..len].copy_from_slice(&self.buf[self.start..self.start + len]);
        self.start += len;
        self.payload_left -= len;
        len
    }

    /// `len` bytes of payload went past the framer, straight to the caller's buffer.
    pub fn payload_read(&mut self, len: usize) {
        self.payload_left = self.payload_left.saturating_sub(len);
    }

    /// The next frame, once it is there whole. None while a block's payload is outstanding.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.payload_left > 0 {
            return Ok(None);
        }
        if !self.got_handshake {
            return self.next_handshake();
        }
        let skipped = self.skip_left.min(self.end - self.start);
        self.start += skipped;
        self.skip_left -= skipped;
        let bytes = &self.buf[self.start..self.end];
        let Some((len, body)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        let Some(&id) = body.first() else {
            if len == 0 {
                self.start += 4;
                return Ok(Some(Frame::Message(&[])));
            }
            return Ok(None);
        };
        if len == 0 {
            self.start += 4;
            return Ok(Some(Frame::Message(&[])));
        }
        if id == ID_PIECE {
            return self.next_piece(len);
        }
        let max = match id {
            ID_BITFIELD => BITFIELD_MAX,
            ID_EXTENDED => EXTENDED_MAX,
            0..=19 => 64,
            _ => MESSAGE_MAX,
        };
        if len > max {
            return Err(FrameError::TooLong { id, len });
        }
        if id > ID_EXTENDED {
            // Of a message that nobody reads only the id is kept.
            let at = self.start + 4;
            self.start = at + 1;
            self.skip_left = len - 1;
            return Ok(Some(Frame::Message(&self.buf[at..=at])));
        }
        if body.len() < len {
            return Ok(None);
        }
        let at = self.start + 4;
        self.start = at + len;
        Ok(Some(Frame::Message(&self.buf[at..at + len])))
    }

    fn next_handshake(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let bytes = &self.buf[self.start..self.end];
        if !Handshake::may_begin(bytes) {
            return Err(FrameError::NotAHandshake);
        }
        let Some(bytes) = bytes.first_chunk::<HANDSHAKE_LEN>() else { return Ok(None) };
        let handshake = Handshake::parse(bytes).map_err(|_| FrameError::NotAHandshake)?;
        self.got_handshake = true;
        self.start += HANDSHAKE_LEN;
        Ok(Some(Frame::Handshake(handshake)))
    }

    fn next_piece(&mut self, len: usize) -> Result<Option<Frame<'_>>, FrameError> {
        if len <= 9 {
            return Err(FrameError::EmptyPiece);
        }
        if len - 9 > BLOCK_MAX as usize {
            return Err(FrameError::TooLong { id: ID_PIECE, len });
        }
        let bytes = &self.buf[self.start..self.end];
        let Some(header) = bytes.first_chunk::<{ BlockRef::PIECE_HEADER_LEN }>() else {
            return Ok(None);
        };
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| header[at + i]));
        let block = BlockRef { piece: word(5), begin: word(9), len: (len - 9) as u32 };
        self.start += BlockRef::PIECE_HEADER_LEN;
        self.payload_left = len - 9;
        Ok(Some(Frame::Piece(block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::peer::{Message, Reserved};

    fn handshake() -> Handshake {
        Handshake { reserved: Reserved::OURS, info_hash: Id([7; 20]), peer_id: [9; 20] }
    }

    /// A stream of everything, and what must be found in it.
    fn stream() -> (Vec<u8>, Vec<String>) {
        let mut out = Vec::new();
        handshake().encode(&mut out);
        let block = BlockRef { piece: 1, begin: 0, len: 40 };
        Message::Bitfield(&[0xf0]).encode(&mut out);
        Message::KeepAlive.encode(&mut out);
        out.extend_from_slice(&block.piece_header());
        out.extend_from_slice(&[5; 40]);
        Message::Have(3).encode(&mut out);
        out.extend_from_slice(&[0, 0, 0, 30, 77]);
        out.extend_from_slice(&[1; 29]);
        Message::Extended(0, b"de").encode(&mut out);
        let seen = vec![
            format!("{:?}", handshake()),
            "Bitfield([240])".into(),
            "KeepAlive".into(),
            format!("{block:?} of {:?}", [5u8; 40]),
            "Have(3)".into(),
            "Unknown(77)".into(),
            "Extended(0, [100, 101])".into(),
        ];
        (out, seen)
    }

    fn drain(framer: &mut Framer, payload: &mut Vec<u8>, seen: &mut Vec<String>) {
        let mut open = None;
        loop {
            if framer.payload_left() > 0 || open.is_some() {
                let mut out = vec![0; framer.payload_left()];
                let len = framer.take_payload(&mut out);
                payload.extend_from_slice(&out[..len]);
                if framer.payload_left() > 0 {
                    return;
                }
                let name: String = seen.pop().unwrap_or_default();
                seen.push(format!("{name} of {payload:?}"));
                payload.clear();
                open = None;
            }
            match framer.next_frame().unwrap() {
                None => return,
                Some(Frame::Handshake(h)) => seen.push(format!("{h:?}")),
                Some(Frame::Message(body)) => {
                    seen.push(format!("{:?}", Message::parse(body).unwrap()));
                }
                Some(Frame::Piece(block)) => {
                    seen.push(format!("{block:?}"));
                    open = Some(block);
                }
            }
        }
    }

    #[test]
    fn finds_the_same_in_every_fragmentation() {
        let (bytes, expected) = stream();
        for size in 1..=bytes.len() {
            let mut framer = Framer::new();
            let (mut seen, mut payload) = (Vec::new(), Vec::new());
            for part in bytes.chunks(size) {
                framer.feed(part);
                drain(&mut framer, &mut payload, &mut seen);
            }
            assert_eq!(seen, expected, "in fragments of {size}");
        }
    }

    #[test]
    fn another_protocol_is_told_at_its_first_wrong_byte() {
        let mut framer = Framer::new();
        framer.feed(b"\x13BitT");
        assert_eq!(framer.next_frame(), Ok(None));
        framer.feed(b"X");
        assert_eq!(framer.next_frame(), Err(FrameError::NotAHandshake));
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_stored() {
        for (header, error) in [
            (vec![0xff, 0xff, 0xff, 0xff, 4], FrameError::TooLong { id: 4, len: 0xffff_ffff }),
            (vec![0, 0, 0, 66, 6], FrameError::TooLong { id: 6, len: 66 }),
            (vec![0, 4, 0, 2, 5], FrameError::TooLong { id: 5, len: 0x4_0002 }),
            (vec![0, 2, 0, 1, 20], FrameError::TooLong { id: 20, len: 0x2_0001 }),
            (vec![0, 0x10, 0, 1, 99], FrameError::TooLong { id: 99, len: 0x10_0001 }),
            (vec![0, 0, 0x80, 10, 7], FrameError::TooLong { id: 7, len: 0x800a }),
            (vec![0, 0, 0, 9, 7], FrameError::EmptyPiece),
        ] {
            let mut framer = Framer::new();
            let mut bytes = Vec::new();
            handshake().encode(&mut bytes);
            bytes.extend_from_slice(&header);
            framer.feed(&bytes);
            assert!(framer.next_frame().is_ok());
            assert_eq!(framer.next_frame(), Err(error));
        }
    }
}
