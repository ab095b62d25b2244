//! A stream in arbitrary cuts: the same is found in it as in one piece.

use wire::peer::{BlockRef, Frame, FrameError, Framer, Handshake, Message, Reserved};

use crate::input::Input;

/// Longest payload of a block, twice what BEP 3 speaks of, and of any other message.
const BLOCK_MAX: u32 = 32 << 10;
const MESSAGE_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Handshake(Handshake),
    Message(Vec<u8>),
    /// With as much of its payload as came.
    Piece(BlockRef, Vec<u8>),
    End(FrameError),
}

/// One input: how it is cut, whether a handshake stands before it, and the stream.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let cuts = input.bytes();
    let mut stream = Vec::new();
    if kind & 1 != 0 {
        let hello =
            Handshake { reserved: Reserved::OURS, info_hash: wire::Id::ZERO, peer_id: [7; 20] };
        hello.encode(&mut stream);
    }
    stream.extend_from_slice(input.rest());
    let whole = read(&stream, &[u8::MAX; 32], false);
    for past in [false, true] {
        assert_eq!(read(&stream, cuts, past), whole, "{past}");
        assert_eq!(read(&stream, &[0], past), whole, "byte by byte, {past}");
    }
    whole.iter().for_each(check);
}

/// What is found in a stream. A cut is by so many bytes and one more; after the last there is none.
/// Payload goes through the framer, or `past` it as a driver reads it.
fn read(stream: &[u8], cuts: &[u8], past: bool) -> Vec<Seen> {
    let (mut framer, mut seen) = (Framer::new(), Vec::new());
    let mut lens = cuts.iter().cycle();
    let mut rest = stream;
    loop {
        let len = match lens.next() {
            Some(&cut) if cut < u8::MAX => usize::from(cut) + 1,
            _ => rest.len(),
        };
        if let Err(error) = drain(&mut framer, len, &mut seen) {
            seen.push(Seen::End(error));
            return seen;
        }
        if rest.is_empty() {
            return seen;
        }
        let left = framer.payload_left();
        let len = len.min(rest.len());
        let len = if past && left > 0 { len.min(left) } else { len };
        let (part, tail) = rest.split_at(len);
        rest = tail;
        match seen.last_mut() {
            Some(Seen::Piece(_, payload)) if past && left > 0 => {
                payload.extend_from_slice(part);
                framer.payload_read(len);
            }
            _ => framer.feed(part),
        }
    }
}

/// Takes all that is whole, payload by up to `len` bytes at a time.
fn drain(framer: &mut Framer, len: usize, seen: &mut Vec<Seen>) -> Result<(), FrameError> {
    loop {
        if let (left @ 1.., Some(Seen::Piece(_, payload))) =
            (framer.payload_left(), seen.last_mut())
        {
            let mut out = vec![0; left.min(len.max(1))];
            let taken = framer.take_payload(&mut out);
            payload.extend_from_slice(&out[..taken]);
            if taken == 0 {
                return Ok(());
            }
            continue;
        }
        match framer.next_frame()? {
            None => return Ok(()),
            Some(Frame::Handshake(handshake)) => seen.push(Seen::Handshake(handshake)),
            Some(Frame::Message(body)) => seen.push(Seen::Message(body.to_vec())),
            Some(Frame::Piece(block)) => seen.push(Seen::Piece(block, Vec::new())),
        }
    }
}

/// What is found keeps its bounds, and is written as it was read.
fn check(seen: &Seen) {
    match seen {
        Seen::Handshake(_) | Seen::End(_) => {}
        Seen::Piece(block, payload) => {
            assert!((1..=BLOCK_MAX).contains(&block.len) && payload.len() <= block.len as usize);
        }
        Seen::Message(body) => {
            assert!(body.len() <= MESSAGE_MAX);
            let Ok(message) = Message::parse(body) else { return };
            if let Message::Unknown(id) = message {
                return assert_eq!(body[0], id);
            }
            let mut written = Vec::new();
            message.encode(&mut written);
            assert_eq!(written[4..], body[..], "{message:?}");
        }
    }
}
