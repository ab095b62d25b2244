//! Torrents for tests.

use sha1::{Digest, Sha1};
use wire::metainfo::Info;

/// The byte at `at` of every torrent made here.
pub(super) fn content(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1
}

/// A torrent of these files, with the hashes of [`content`].
pub(super) fn info(name: &str, files: &[(&str, u64)], piece_length: u32) -> Info {
    let total: u64 = files.iter().map(|(_, len)| len).sum();
    let bytes: Vec<u8> = (0..total).map(content).collect();
    let hashes: Vec<[u8; 20]> =
        bytes.chunks(piece_length as usize).map(|piece| Sha1::digest(piece).into()).collect();
    let files: Vec<_> = files.iter().map(|(path, len)| (vec![(*path).to_owned()], *len)).collect();
    let raw = wire::metainfo::build_info(name, &files, piece_length, &hashes);
    Info::parse(&raw).unwrap()
}
