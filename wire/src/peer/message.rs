//! Peer messages (BEP 3; BEP 5 `port`; BEP 6 fast extension; BEP 10 `extended`).
//!
//! Each is a 4-byte length, a 1-byte id and a payload. `piece` is not among them: its payload goes
//! to a buffer of its own, see [`super::Framer`].

/// Bytes of a block, but for the last of a torrent (BEP 3: "All current implementations use 2^14").
pub const BLOCK_LEN: u32 = 16 * 1024;

/// A run of bytes in a piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockRef {
    /// Index of the piece.
    pub piece: u32,
    /// First byte in the piece.
    pub begin: u32,
    /// Bytes.
    pub len: u32,
}

/// A message, borrowed from the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// The empty message.
    KeepAlive,
    /// Requests will not be answered.
    Choke,
    /// Requests will be answered.
    Unchoke,
    /// The sender wants pieces of ours.
    Interested,
    /// It does not.
    NotInterested,
    /// It has this piece.
    Have(u32),
    /// The pieces it has; the bytes as they came.
    Bitfield(&'a [u8]),
    /// It asks for a block.
    Request(BlockRef),
    /// It no longer asks for it.
    Cancel(BlockRef),
    /// Its DHT node's UDP port (BEP 5).
    Port(u16),
    /// It would like us to ask for this piece (BEP 6).
    Suggest(u32),
    /// It has all pieces (BEP 6).
    HaveAll,
    /// It has none (BEP 6).
    HaveNone,
    /// It will not answer this request (BEP 6).
    Reject(BlockRef),
    /// It answers requests for this piece even while choking (BEP 6).
    AllowedFast(u32),
    /// An extension message (BEP 10): its id, 0 for the handshake, and its payload.
    Extended(u8, &'a [u8]),
    /// An id that we do not know; to be ignored.
    Unknown(u8),
}

/// A known id with a payload of the wrong length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageError {
    /// The id.
    pub id: u8,
    /// Bytes of payload.
    pub len: usize,
}

pub(super) const ID_BITFIELD: u8 = 5;
pub(super) const ID_PIECE: u8 = 7;
pub(super) const ID_EXTENDED: u8 = 20;

impl<'a> Message<'a> {
    /// Reads a message's id and payload, without the length before them.
    pub fn parse(body: &'a [u8]) -> Result<Message<'a>, MessageError> {
        let Some((&id, payload)) = body.split_first() else { return Ok(Message::KeepAlive) };
        let wrong = MessageError { id, len: payload.len() };
        let empty = |message| if payload.is_empty() { Ok(message) } else { Err(wrong) };
        let index = || payload.try_into().map(u32::from_be_bytes).map_err(|_| wrong);
        let block = || block_ref(payload).ok_or(wrong);
        match id {
            0 => empty(Message::Choke),
            1 => empty(Message::Unchoke),
            2 => empty(Message::Interested),
            3 => empty(Message::NotInterested),
            4 => index().map(Message::Have),
            ID_BITFIELD => Ok(Message::Bitfield(payload)),
            6 => block().map(Message::Request),
            8 => block().map(Message::Cancel),
            9 => payload
                .try_into()
                .map(|port| Message::Port(u16::from_be_bytes(port)))
                .map_err(|_| wrong),
            13 => index().map(Message::Suggest),
            14 => empty(Message::HaveAll),
            15 => empty(Message::HaveNone),
            16 => block().map(Message::Reject),
            17 => index().map(Message::AllowedFast),
            ID_EXTENDED => {
                let (&ext, payload) = payload.split_first().ok_or(wrong)?;
                Ok(Message::Extended(ext, payload))
            }
            _ => Ok(Message::Unknown(id)),
        }
    }

    /// Appends the message with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        match *self {
            Message::KeepAlive => out.extend_from_slice(&[0; 4]),
            Message::Choke => put(out, 0, &[]),
            Message::Unchoke => put(out, 1, &[]),
            Message::Interested => put(out, 2, &[]),
            Message::NotInterested => put(out, 3, &[]),
            Message::Have(piece) => put(out, 4, &piece.to_be_bytes()),
            Message::Bitfield(bits) => put(out, ID_BITFIELD, bits),
            Message::Request(block) => put(out, 6, &block_bytes(block)),
            Message::Cancel(block) => put(out, 8, &block_bytes(block)),
            Message::Port(port) => put(out, 9, &port.to_be_bytes()),
            Message::Suggest(piece) => put(out, 13, &piece.to_be_bytes()),
            Message::HaveAll => put(out, 14, &[]),
            Message::HaveNone => put(out, 15, &[]),
            Message::Reject(block) => put(out, 16, &block_bytes(block)),
            Message::AllowedFast(piece) => put(out, 17, &piece.to_be_bytes()),
            Message::Extended(ext, payload) => {
                out.extend_from_slice(&(payload.len() as u32 + 2).to_be_bytes());
                out.extend_from_slice(&[ID_EXTENDED, ext]);
                out.extend_from_slice(payload);
            }
            Message::Unknown(id) => put(out, id, &[]),
        }
    }
}

impl Message<'_> {
    /// Bytes that [`Message::encode`] appends.
    fn encoded_len(&self) -> usize {
        4 + match *self {
            Message::KeepAlive => 0,
            Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::HaveAll
            | Message::HaveNone
            | Message::Unknown(_) => 1,
            Message::Port(_) => 3,
            Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 5,
            Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 13,
            Message::Bitfield(bits) => 1 + bits.len(),
            Message::Extended(_, payload) => 2 + payload.len(),
        }
    }
}

impl BlockRef {
    /// Bytes of the header that stands before a `piece` message's payload.
    pub const PIECE_HEADER_LEN: usize = 13;

    /// The header of the `piece` message that carries this block.
    pub fn piece_header(&self) -> [u8; BlockRef::PIECE_HEADER_LEN] {
        let mut out = [0; BlockRef::PIECE_HEADER_LEN];
        out[..4].copy_from_slice(&self.len.saturating_add(9).to_be_bytes());
        out[4] = ID_PIECE;
        out[5..9].copy_from_slice(&self.piece.to_be_bytes());
        out[9..].copy_from_slice(&self.begin.to_be_bytes());
        out
    }
}

fn put(out: &mut Vec<u8>, id: u8, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32 + 1).to_be_bytes());
    out.push(id);
    out.extend_from_slice(payload);
}

fn block_bytes(block: BlockRef) -> [u8; 12] {
    let mut out = [0; 12];
    out[..4].copy_from_slice(&block.piece.to_be_bytes());
    out[4..8].copy_from_slice(&block.begin.to_be_bytes());
    out[8..].copy_from_slice(&block.len.to_be_bytes());
    out
}

fn block_ref(payload: &[u8]) -> Option<BlockRef> {
    let payload: &[u8; 12] = payload.try_into().ok()?;
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| payload[at + i]));
    Some(BlockRef { piece: word(0), begin: word(4), len: word(8) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_reads_back() {
        let block = BlockRef { piece: 1, begin: 16384, len: 16384 };
        for message in [
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(u32::MAX),
            Message::Bitfield(&[0x80, 1]),
            Message::Request(block),
            Message::Cancel(block),
            Message::Port(6881),
            Message::Suggest(3),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(block),
            Message::AllowedFast(9),
            Message::Extended(0, b"de"),
            Message::Unknown(99),
        ] {
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(message.encoded_len(), out.len());
            let (len, body) = out.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*len) as usize, body.len(), "{message:?}");
            assert_eq!(Message::parse(body), Ok(message));
        }
    }

    #[test]
    fn a_known_id_of_wrong_length_is_refused() {
        for id in [0u8, 1, 2, 3, 4, 6, 8, 9, 13, 14, 15, 16, 17] {
            let body = [&[id][..], &[0; 13]].concat();
            assert_eq!(Message::parse(&body), Err(MessageError { id, len: 13 }));
        }
        assert_eq!(Message::parse(&[20]), Err(MessageError { id: 20, len: 0 }));
        assert_eq!(Message::parse(&[4]), Err(MessageError { id: 4, len: 0 }));
    }

    #[test]
    fn piece_header_is_what_bep_3_says() {
        let block = BlockRef { piece: 2, begin: 0x4000, len: 0x4000 };
        assert_eq!(block.piece_header(), [0, 0, 0x40, 9, 7, 0, 0, 0, 2, 0, 0, 0x40, 0]);
    }
}
