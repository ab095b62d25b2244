//! The pieces of a torrent, and which of them lie in a folder as they should.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};
use wire::metainfo::{Info, Metainfo};

use crate::lossy::Reads;

/// Bytes of a block (BEP 3).
const BLOCK_LEN: u64 = 16 * 1024;

/// The pieces of one torrent.
pub struct Pieces {
    info: Info,
}

impl Pieces {
    /// Those of a torrent file.
    pub fn of(torrent: &Path) -> Pieces {
        let bytes = fs::read(torrent).unwrap_or_else(|error| panic!("read {torrent:?}: {error}"));
        match Metainfo::parse(&bytes) {
            Ok(metainfo) => Pieces { info: metainfo.info },
            Err(error) => panic!("{torrent:?}: {error}"),
        }
    }

    /// Bytes of these pieces together.
    pub fn len<'a>(&self, pieces: impl IntoIterator<Item = &'a u32>) -> u64 {
        pieces.into_iter().map(|piece| u64::from(self.info.piece_len(*piece))).sum()
    }

    /// Bytes of all.
    pub fn total_len(&self) -> u64 {
        self.info.total_len
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.info.piece_count()
    }

    /// The journal's path beneath the folder that the torrent is fetched into.
    pub fn journal(&self) -> String {
        format!(".trackerless/{}.journal", self.info.info_hash)
    }

    /// Where a piece lies: path beneath the folder, first byte in the file, bytes.
    pub fn extents(&self, piece: u32) -> Vec<(String, u64, u64)> {
        self.extents_of(piece, 0, u64::from(self.info.piece_len(piece)))
    }

    /// How many blocks it has.
    pub fn block_count(&self, piece: u32) -> u32 {
        u64::from(self.info.piece_len(piece)).div_ceil(BLOCK_LEN) as u32
    }

    /// The same of one block.
    pub fn block_extents(&self, piece: u32, block: u32) -> Vec<(String, u64, u64)> {
        let (begin, len) = (u64::from(block) * BLOCK_LEN, u64::from(self.info.piece_len(piece)));
        self.extents_of(piece, begin, len.saturating_sub(begin).min(BLOCK_LEN))
    }

    fn extents_of(&self, piece: u32, begin: u64, len: u64) -> Vec<(String, u64, u64)> {
        let start = u64::from(piece) * u64::from(self.info.piece_length) + begin;
        let end = start + len;
        let part = |file: &wire::metainfo::FileEntry| {
            let (from, to) = (start.max(file.offset), end.min(file.offset + file.len));
            (from < to && !file.pad).then(|| (file.path.join("/"), from - file.offset, to - from))
        };
        self.info.files.iter().filter_map(part).collect()
    }

    /// The pieces that have bytes of a range of a file.
    pub fn touched(&self, path: &str, offset: u64, len: u64) -> Vec<u32> {
        let length = u64::from(self.info.piece_length);
        let is_it = |file: &&wire::metainfo::FileEntry| !file.pad && file.path.join("/") == path;
        let Some(file) = self.info.files.iter().find(is_it) else { return Vec::new() };
        let (from, to) = (file.offset + offset, file.offset + offset + len);
        // Both below the piece count, a u32.
        ((from / length) as u32..to.div_ceil(length) as u32).collect()
    }

    /// The pieces whose bytes beneath `folder` have the right hash.
    pub fn right(&self, folder: &Path) -> BTreeSet<u32> {
        let mut files = BTreeMap::new();
        for file in &self.info.files {
            let path = file.path.join("/");
            let bytes = fs::read(folder.join(PathBuf::from(&path))).unwrap_or_default();
            files.insert(path, bytes);
        }
        let is_right = |piece: &u32| {
            let mut hash = Sha1::new();
            for (path, offset, len) in self.extents(*piece) {
                let (from, to) = (offset as usize, (offset + len) as usize);
                match files.get(&path).and_then(|bytes| bytes.get(from..to)) {
                    Some(bytes) => hash.update(bytes),
                    None => return false,
                }
            }
            self.info.piece_hashes.get(*piece as usize) == Some(&hash.finalize().into())
        };
        (0..self.count()).filter(is_right).collect()
    }

    /// Whether a block beneath `folder` is as it is beneath `original`.
    pub fn is_same_block(&self, piece: u32, block: u32, folder: &Path, original: &Path) -> bool {
        self.block_extents(piece, block).iter().all(|(path, offset, len)| {
            let read = |root: &Path| fs::read(root.join(path)).unwrap_or_default();
            let range = *offset as usize..(offset + len) as usize;
            let want = read(original);
            read(folder).get(range.clone()) == Some(&want[range])
        })
    }

    /// The pieces that `reads` have every byte of; their paths begin with `root`.
    pub fn read(&self, reads: &Reads, root: &str) -> BTreeSet<u32> {
        let is_read = |piece: &u32| {
            self.extents(*piece).iter().all(|(path, offset, len)| {
                let reads = reads.get(&format!("{root}/{path}"));
                reads.is_some_and(|reads| cover(reads, *offset, offset + len))
            })
        };
        (0..self.count()).filter(is_read).collect()
    }
}

/// Whether some of `ranges` (first, length) have together all from `from` to `to`.
fn cover(ranges: &[(u64, u64)], from: u64, to: u64) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let reached = sorted.iter().fold(from, |reached, (first, len)| {
        if *first <= reached { reached.max(first + len) } else { reached }
    });
    reached >= to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Place;

    #[test]
    fn pieces_lie_across_files_and_are_known_by_their_hashes() {
        let place = Place::new(1);
        let tree = place.folder("t");
        fs::write(tree.join("a"), vec![1; 20_000]).unwrap();
        fs::write(tree.join("b"), vec![2; 20_000]).unwrap();
        let pieces = Pieces::of(&place.create(&tree, &["--piece-length", "16384"]));
        assert_eq!((pieces.count(), pieces.total_len()), (3, 40_000));
        let second = [("t/a".to_owned(), 16_384, 3_616), ("t/b".to_owned(), 0, 12_768)];
        assert_eq!(pieces.extents(1), second);
        assert_eq!(pieces.block_extents(2, 0), [("t/b".to_owned(), 12_768, 7_232)]);
        assert_eq!(pieces.touched("t/b", 12_767, 2), [1, 2]);
        assert_eq!(pieces.touched("t/c", 0, 1), [0u32; 0]);
        assert_eq!(pieces.len(&[0, 2]), 16_384 + 7_232);
        assert_eq!(pieces.right(&place.root()), BTreeSet::from([0, 1, 2]));
        let copy = place.folder("copy");
        fs::create_dir(copy.join("t")).unwrap();
        fs::write(copy.join("t/a"), vec![1; 19_999]).unwrap();
        fs::copy(tree.join("b"), copy.join("t/b")).unwrap();
        assert_eq!(pieces.right(&copy), BTreeSet::from([0, 2]));
        let same = |piece| pieces.is_same_block(piece, 0, &copy, &place.root());
        assert_eq!([0, 1, 2].map(same), [true, false, true]);

        let a = ("x/t/a".to_owned(), vec![(18_000, 2_000), (0, 9_000), (9_000, 9_000)]);
        let b = ("x/t/b".to_owned(), vec![(0, 12_768), (12_769, 9_000)]);
        assert_eq!(pieces.read(&Reads::from([a, b]), "x"), BTreeSet::from([0, 1]));
    }
}
