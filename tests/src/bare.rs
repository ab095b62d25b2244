//! What the bare programs have in common: how they read a torrent, greet a peer and find messages.
//!
//! A bare program does what its task cannot do without, and nothing else: `tests/bench` measures
//! ours against it.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use wire::metainfo::{Info, Metainfo};
use wire::peer::{BLOCK_LEN, BlockRef, HANDSHAKE_LEN, Handshake, Message, Reserved};

/// How a bare program ends.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The info dict of a torrent file that holds one file.
///
/// # Errors
/// It cannot be read, or holds several.
pub fn read_torrent(path: impl AsRef<Path>) -> Result<Info> {
    let info = Metainfo::parse(&std::fs::read(path)?).map_err(|error| error.to_string())?.info;
    if info.files.len() == 1 { Ok(info) } else { Err("a torrent of one file, please".into()) }
}

/// Sends our handshake and takes the other's. No extension is spoken.
///
/// # Errors
/// The connection ends, or the other speaks of another torrent.
pub fn greet(stream: &mut TcpStream, info: &Info, name: &[u8; 8], number: u32) -> Result<()> {
    let mut peer_id = [b'.'; 20];
    peer_id[..8].copy_from_slice(name);
    peer_id[16..].copy_from_slice(&number.to_be_bytes());
    let mut ours = Vec::with_capacity(HANDSHAKE_LEN);
    let info_hash = info.info_hash;
    Handshake { reserved: Reserved::default(), info_hash, peer_id }.encode(&mut ours);
    stream.write_all(&ours)?;
    let mut theirs = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut theirs)?;
    match Handshake::parse(&theirs) {
        Ok(handshake) if handshake.info_hash == info_hash => Ok(()),
        _ => Err("the other does not speak of this torrent".into()),
    }
}

/// Tells a peer that we have all, and that it may ask.
///
/// # Errors
/// The connection ends.
pub fn offer_all(stream: &mut TcpStream, info: &Info) -> io::Result<()> {
    let pieces = info.piece_hashes.len();
    let mut bits = vec![0xff; pieces.div_ceil(8)];
    if let Some(last) = bits.last_mut().filter(|_| !pieces.is_multiple_of(8)) {
        *last <<= 8 - pieces % 8;
    }
    let mut out = Vec::new();
    Message::Bitfield(&bits).encode(&mut out);
    Message::Unchoke.encode(&mut out);
    stream.write_all(&out)
}

/// Bytes of a piece.
pub fn piece_len(info: &Info, piece: u32) -> usize {
    let begin = u64::from(piece) * u64::from(info.piece_length);
    (info.total_len - begin).min(info.piece_length.into()) as usize
}

/// The blocks of a piece.
pub fn blocks(info: &Info, piece: u32) -> impl Iterator<Item = BlockRef> {
    let end = piece_len(info, piece) as u32;
    let begins = (0..end).step_by(BLOCK_LEN as usize);
    begins.map(move |begin| BlockRef { piece, begin, len: BLOCK_LEN.min(end - begin) })
}

/// Where a block lies in the file; an error if the torrent has no such block.
///
/// # Errors
/// The block reaches beyond its piece.
pub fn offset(info: &Info, block: &BlockRef) -> Result<u64> {
    let has = (block.piece as usize) < info.piece_hashes.len()
        && block.begin as usize + block.len as usize <= piece_len(info, block.piece);
    let piece = u64::from(block.piece) * u64::from(info.piece_length);
    if has { Ok(piece + u64::from(block.begin)) } else { Err(format!("no {block:?}").into()) }
}

/// The body of the first message, without its length, if all of it is there.
pub fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}

/// The requests of a connection, as they come.
pub struct Requests {
    buf: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests { buf: vec![0; 64 << 10], begin: 0, end: 0 }
    }
}

impl Requests {
    /// The next request; waits for it. `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection breaks, or its messages are too long.
    pub fn next(&mut self, stream: &mut TcpStream) -> Result<Option<BlockRef>> {
        loop {
            while let Some(body) = first_message(&self.buf[self.begin..self.end]) {
                self.begin += 4 + body.len();
                if let Ok(Message::Request(block)) = Message::parse(body) {
                    return Ok(Some(block));
                }
            }
            self.buf.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            if self.end == self.buf.len() {
                return Err("a message is too long".into());
            }
            match stream.read(&mut self.buf[self.end..])? {
                0 => return Ok(None),
                len => self.end += len,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::metainfo::build_info;

    fn info() -> Info {
        let raw = build_info("a.bin", &[(vec![], 50_000)], 32 << 10, &[[0; 20]; 2]);
        Info::parse(&raw).expect("an info dict")
    }

    #[test]
    fn the_last_block_is_short_and_there_is_none_after_it() {
        let info = info();
        let lens: Vec<_> = (0..2).flat_map(|p| blocks(&info, p)).map(|b| b.len).collect();
        assert_eq!(lens, [16_384, 16_384, 16_384, 848]);
        let at = |piece, begin, len| offset(&info, &BlockRef { piece, begin, len }).ok();
        assert_eq!(at(1, 16_384, 848), Some(49_152));
        assert_eq!((at(1, 16_384, 849), at(2, 0, 1), at(0, 32_760, 9)), (None, None, None));
    }

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let bytes = [0, 0, 0, 2, 4, 9, 0];
        assert_eq!(first_message(&bytes), Some(&[4, 9][..]));
        assert_eq!(first_message(&bytes[..5]), None);
        assert_eq!(first_message(&[0, 0, 0, 0]), Some(&[][..]));
    }
}
