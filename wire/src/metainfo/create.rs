//! Builds an info dict.

use crate::bencode::Encoder;

/// Pieces aimed at: libtorrent's and mktorrent's rules end up between 1,000 and 2,000.
const PIECES_AIM: u64 = 1500;
const SHORTEST: u32 = 16 << 10;
const LONGEST: u32 = 16 << 20;

/// A piece length for a torrent of `total` bytes: the power of two from 16 KiB to 16 MiB that gives
/// at most about 1,500 pieces.
pub fn piece_length_for(total: u64) -> u32 {
    let mut length = SHORTEST;
    while length < LONGEST && total / u64::from(length) > PIECES_AIM {
        length *= 2;
    }
    length
}

/// The raw info dict of files with these paths, lengths and piece hashes, in canonical bencode. A
/// single file with an empty path makes a torrent without a folder.
pub fn build_info(
    name: &str,
    files: &[(Vec<String>, u64)],
    piece_length: u32,
    piece_hashes: &[[u8; 20]],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 * piece_hashes.len() + 256);
    Encoder::new(&mut out).dict(|info| {
        match files {
            [(path, len)] if path.is_empty() => info.key(b"length").int(*len as i64),
            _ => info.key(b"files").list(|list| {
                for (path, len) in files {
                    list.dict(|file| {
                        file.key(b"length").int(*len as i64);
                        file.key(b"path").list(|list| {
                            path.iter().for_each(|element| list.bytes(element.as_bytes()));
                        });
                    });
                }
            }),
        }
        info.key(b"name").bytes(name.as_bytes());
        info.key(b"piece length").int(i64::from(piece_length));
        info.key(b"pieces").bytes_with(20 * piece_hashes.len(), |out| {
            piece_hashes.iter().for_each(|hash| out.extend_from_slice(hash));
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_neither_few_nor_many() {
        assert_eq!(piece_length_for(1), SHORTEST);
        assert_eq!(piece_length_for(1 << 30), 1 << 20);
        assert_eq!(piece_length_for(4 << 30), 4 << 20);
        assert_eq!(piece_length_for(1 << 45), LONGEST);
    }
}
