//! Torrents written by hand, also such as no honest program makes, and a peer that serves them.
//!
//! Nothing here is the project's own code: it would share its mistakes.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::spawn;

use sha1::{Digest, Sha1};

/// Bytes of a piece.
pub const PIECE_LEN: usize = 16 * 1024;

/// Bytes of metadata in one message (BEP 9).
const METADATA_PIECE_LEN: usize = 16 * 1024;

/// The id under which our peer takes metadata messages.
const METADATA_ID: u8 = 3;

/// A torrent with its content.
#[derive(Clone)]
pub struct HandMade {
    info: Vec<u8>,
    content: Vec<u8>,
}

/// A byte string in bencode.
pub fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

impl HandMade {
    /// A torrent of one file with this name.
    pub fn file(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        Self::new(format!("6:lengthi{}e", content.len()), name.as_ref(), content, "")
    }

    /// The same with `private` set (BEP 27).
    pub fn private_file(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        let length = format!("6:lengthi{}e", content.len());
        Self::new(length, name.as_ref(), content, "7:privatei1e")
    }

    /// A torrent of a folder; each file is given by its path and what it holds.
    pub fn folder(name: impl AsRef<[u8]>, files: &[(&[&[u8]], &[u8])]) -> Self {
        let mut list = b"5:filesl".to_vec();
        for (path, content) in files {
            list.extend(format!("d6:lengthi{}e4:pathl", content.len()).as_bytes());
            path.iter().for_each(|element| list.extend(string(element)));
            list.extend(b"ee");
        }
        list.extend(b"e");
        let content: Vec<u8> = files.iter().flat_map(|(_, content)| content.to_vec()).collect();
        Self::new(list, name.as_ref(), &content, "")
    }

    fn new(files: impl AsRef<[u8]>, name: &[u8], content: &[u8], end: &str) -> Self {
        let mut info = b"d".to_vec();
        info.extend(files.as_ref());
        info.extend([b"4:name".to_vec(), string(name)].concat());
        info.extend(format!("12:piece lengthi{PIECE_LEN}e6:pieces").as_bytes());
        let hashes: Vec<u8> = content.chunks(PIECE_LEN).flat_map(Sha1::digest).collect();
        info.extend(string(hashes));
        info.extend(end.as_bytes());
        info.push(b'e');
        Self { info, content: content.to_vec() }
    }

    /// The same torrent, served with one wrong byte at `at`.
    pub fn with_a_lie(mut self, at: usize) -> Self {
        self.content[at] ^= 1;
        self
    }

    /// Its info-hash, in hexadecimal digits.
    pub fn info_hash(&self) -> String {
        hex::encode(Sha1::digest(&self.info))
    }

    /// Writes a torrent file; `more` are keys of the outer dictionary that sort before `info`.
    pub fn write(&self, path: &Path, more: &str) {
        let file = [b"d", more.as_bytes(), b"4:info", &self.info[..], b"e"].concat();
        fs::write(path, file).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
    }

    /// Serves it at `address` (port 0: any) to all who come, until the test ends; gives the
    /// address.
    pub fn serve(&self, address: impl Into<SocketAddr>) -> SocketAddr {
        let address = address.into();
        let listener =
            TcpListener::bind(address).unwrap_or_else(|e| panic!("listen on {address}: {e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("no local address: {e}"));
        let torrent = Arc::new(self.clone());
        spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let torrent = torrent.clone();
                // The other side may leave whenever it likes.
                spawn(move || torrent.talk(stream));
            }
        });
        address
    }

    /// One connection, until it ends: handshake (BEP 3, BEP 10), then whatever is asked for.
    fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut hello = [0; 68];
        stream.read_exact(&mut hello)?;
        let mut answer = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
        answer.extend(Sha1::digest(&self.info));
        // Two peers of one torrent are two.
        answer.extend(format!("-HM0001-{:012}", stream.local_addr()?.port()).as_bytes());
        stream.write_all(&answer)?;
        let metadata =
            format!("d1:md11:ut_metadatai{METADATA_ID}ee13:metadata_sizei{}ee", self.info.len());
        send(&mut stream, 20, &[&[0], metadata.as_bytes()])?;
        let pieces = self.content.len().div_ceil(PIECE_LEN);
        let mut bitfield = vec![0xff; pieces.div_ceil(8)];
        if let Some(last) = bitfield.last_mut().filter(|_| !pieces.is_multiple_of(8)) {
            *last <<= 8 - pieces % 8;
        }
        send(&mut stream, 5, &[&bitfield])?;
        send(&mut stream, 1, &[])?;
        let mut their_id = 0;
        loop {
            let mut len = [0; 4];
            stream.read_exact(&mut len)?;
            let mut body = vec![0; u32::from_be_bytes(len) as usize];
            stream.read_exact(&mut body)?;
            match body.split_first() {
                Some((6, request)) => self.send_block(&mut stream, request)?,
                Some((20, [0, handshake @ ..])) => {
                    their_id = number_after(handshake, "11:ut_metadatai").unwrap_or(0) as u8;
                }
                Some((20, [METADATA_ID, request @ ..])) => {
                    let piece = number_after(request, "5:piecei").unwrap_or(0);
                    self.send_metadata(&mut stream, their_id, piece)?;
                }
                _ => {}
            }
        }
    }

    fn send_block(&self, stream: &mut TcpStream, request: &[u8]) -> io::Result<()> {
        let word = |at: usize| {
            let bytes = request.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).unwrap_or(u32::MAX) as usize
        };
        let start = word(0).saturating_mul(PIECE_LEN).saturating_add(word(4));
        let block = self.content.get(start..start.saturating_add(word(8)));
        let block = block.ok_or(io::ErrorKind::InvalidData)?;
        send(stream, 7, &[&request[..8], block])
    }

    fn send_metadata(&self, stream: &mut TcpStream, id: u8, piece: usize) -> io::Result<()> {
        let part = self.info.chunks(METADATA_PIECE_LEN).nth(piece);
        let part = part.ok_or(io::ErrorKind::InvalidData)?;
        let total = self.info.len();
        let head = format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{total}ee");
        send(stream, 20, &[&[id], head.as_bytes(), part])
    }
}

/// Sends one message.
fn send(stream: &mut TcpStream, id: u8, parts: &[&[u8]]) -> io::Result<()> {
    let body = parts.concat();
    let len = (body.len() as u32 + 1).to_be_bytes();
    stream.write_all(&[&len[..], &[id], &body].concat())
}

/// The integer behind `mark`.
fn number_after(bytes: &[u8], mark: &str) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    text.split_once(mark)?.1.split_once('e')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bencode_by_hand() {
        let torrent = HandMade::folder("d", &[(&[b"a", b"\0"], b"xy")]);
        let text = b"d5:filesld6:lengthi2e4:pathl1:a1:\0eee4:name1:d12:piece lengthi16384e";
        assert!(torrent.info.starts_with(text));
        assert_eq!(number_after(b"d8:msg_typei0e5:piecei12ee", "5:piecei"), Some(12));
    }
}
