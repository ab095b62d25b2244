//! The least that a download takes: one thread that asks a seed for every piece in order, reads as much
//! at a time as there is, hashes it and writes each piece that is right.
//!
//!   bare_leech TORRENT FILE SEED

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use harness::bare::{Result, blocks, first_message, greet, piece_len, read_torrent};
use sha1::{Digest, Sha1};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef, Message};

/// Bytes asked for ahead of the piece that is being read.
const AHEAD: u64 = 4 << 20;
/// Room for messages that are not blocks.
const MARGIN: usize = 64 << 10;

struct Leech {
    info: Info,
    stream: TcpStream,
    file: File,
    buf: Vec<u8>,
    filled: usize,
    /// The first piece that was not yet asked for.
    next: u32,
    /// Blocks that came before their turn, by piece and offset: libtorrent's disk threads overtake
    /// each other.
    early: BTreeMap<(u32, u32), Vec<u8>>,
}

impl Leech {
    fn ask(&mut self, pieces_ahead: u32, piece: u32) -> Result<()> {
        let end = (piece + pieces_ahead).min(self.info.piece_hashes.len() as u32);
        let mut out = Vec::new();
        for piece in self.next..end {
            blocks(&self.info, piece).for_each(|block| Message::Request(block).encode(&mut out));
        }
        self.next = self.next.max(end);
        Ok(self.stream.write_all(&out)?)
    }

    /// Reads at most `len` more bytes.
    fn read(&mut self, len: usize) -> Result<()> {
        if self.filled == self.buf.len() {
            self.buf.resize(self.filled + MARGIN, 0);
        }
        let end = (self.filled + len).min(self.buf.len());
        match self.stream.read(&mut self.buf[self.filled..end])? {
            0 => Err("the seed has gone".into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }

    fn forget(&mut self, len: usize) {
        self.buf.copy_within(len..self.filled, 0);
        self.filled -= len;
    }

    fn wait_unchoked(&mut self) -> Result<()> {
        let mut out = Vec::new();
        Message::Interested.encode(&mut out);
        self.stream.write_all(&out)?;
        loop {
            while let Some(body) = first_message(&self.buf[..self.filled]) {
                let unchoked = Message::parse(body) == Ok(Message::Unchoke);
                self.forget(4 + body.len());
                if unchoked {
                    return Ok(());
                }
            }
            self.read(MARGIN)?;
        }
    }

    /// Takes the next message, which may be a block: gives what it is and where its payload lies.
    fn message(&mut self, at: &mut usize, rest: usize) -> Result<Option<Block>> {
        loop {
            let Some(body) = first_message(&self.buf[*at..self.filled]) else {
                let headers = rest.div_ceil(BLOCK_LEN as usize) * BlockRef::PIECE_HEADER_LEN;
                let missing = (rest + headers).saturating_sub(self.filled - *at);
                self.read(missing.max(BLOCK_LEN as usize))?;
                continue;
            };
            let begin = *at;
            *at += 4 + body.len();
            return match body {
                [0] => Err("choked".into()),
                [7, p0, p1, p2, p3, b0, b1, b2, b3, ..] => {
                    let piece = u32::from_be_bytes([*p0, *p1, *p2, *p3]);
                    let offset = u32::from_be_bytes([*b0, *b1, *b2, *b3]);
                    Ok(Some(((piece, offset), begin + BlockRef::PIECE_HEADER_LEN..*at)))
                }
                _ => Ok(None),
            };
        }
    }

    /// Reads one piece, hashes it and writes it. Blocks that come before their turn are put aside.
    fn piece(&mut self, piece: u32) -> Result<()> {
        let len = piece_len(&self.info, piece);
        let mut hasher = Sha1::new();
        let mut parts = Vec::with_capacity(len.div_ceil(BLOCK_LEN as usize));
        let (mut at, mut got) = (0, 0);
        while got < len {
            let part = if let Some(block) = self.early.remove(&(piece, got as u32)) {
                Part::Aside(block)
            } else {
                match self.message(&mut at, len - got)? {
                    Some((is, payload)) if is == (piece, got as u32) => Part::Here(payload),
                    Some((is, payload)) => {
                        self.early.insert(is, self.buf[payload].to_vec());
                        continue;
                    }
                    None => continue,
                }
            };
            let bytes = part.bytes(&self.buf);
            hasher.update(bytes);
            got += bytes.len();
            parts.push(part);
        }
        if <[u8; 20]>::from(hasher.finalize()) != self.info.piece_hashes[piece as usize] {
            return Err(format!("piece {piece} is wrong").into());
        }
        let mut slices: Vec<_> =
            parts.iter().map(|part| IoSlice::new(part.bytes(&self.buf))).collect();
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = self.file.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, written);
        }
        self.forget(at);
        Ok(())
    }
}

/// A block by piece and offset, and where its payload lies.
type Block = ((u32, u32), Range<usize>);

/// A block's bytes.
enum Part {
    Here(Range<usize>),
    Aside(Vec<u8>),
}

impl Part {
    fn bytes<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match self {
            Part::Here(range) => &buf[range.clone()],
            Part::Aside(bytes) => bytes,
        }
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [torrent, file, seed] = &args[..] else {
        return Err("bare_leech TORRENT FILE SEED".into());
    };
    let info = read_torrent(torrent)?;
    let mut stream = TcpStream::connect(seed)?;
    greet(&mut stream, &info, b"-BARE01-", 0)?;
    let frames = info.piece_length as usize / BLOCK_LEN as usize + 1;
    let room = frames * (BLOCK_LEN as usize + BlockRef::PIECE_HEADER_LEN) + MARGIN;
    let file = File::create(file)?;
    file.set_len(info.total_len)?;
    let mut leech = Leech {
        info,
        stream,
        file,
        buf: vec![0; room],
        filled: 0,
        next: 0,
        early: BTreeMap::new(),
    };
    leech.wait_unchoked()?;
    let pieces_ahead = 1 + AHEAD.div_ceil(leech.info.piece_length.into()) as u32;
    for piece in 0..leech.info.piece_hashes.len() as u32 {
        leech.ask(pieces_ahead, piece)?;
        leech.piece(piece)?;
    }
    Ok(())
}
