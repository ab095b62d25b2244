//! How a torrent is cut into pieces, and these into blocks (BEP 3).

use wire::peer::{BLOCK_LEN, BlockRef};

/// Lengths of pieces and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the torrent.
    pub total_len: u64,
    /// Bytes of each piece but the last.
    pub piece_length: u32,
}

impl Geometry {
    /// Number of pieces.
    pub fn piece_count(&self) -> u32 {
        self.total_len.div_ceil(u64::from(self.piece_length)) as u32
    }

    /// Bytes of `piece`; 0 if there is none such.
    pub fn piece_len(&self, piece: u32) -> u32 {
        let start = u64::from(piece) * u64::from(self.piece_length);
        self.total_len.saturating_sub(start).min(u64::from(self.piece_length)) as u32
    }

    /// Blocks of `piece`.
    pub fn block_count(&self, piece: u32) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LEN)
    }

    /// The `index`-th block of `piece`.
    pub fn block(&self, piece: u32, index: u32) -> BlockRef {
        let begin = index * BLOCK_LEN;
        let len = self.piece_len(piece).saturating_sub(begin).min(BLOCK_LEN);
        BlockRef { piece, begin, len }
    }

    /// Whether `block` lies within its piece and is not empty.
    pub fn contains(&self, block: &BlockRef) -> bool {
        block.len > 0
            && block
                .begin
                .checked_add(block.len)
                .is_some_and(|end| end <= self.piece_len(block.piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { total_len: 3 * 65536 + 20_000, piece_length: 65536 };

    #[test]
    fn lengths_of_the_last_piece() {
        assert_eq!(GEOMETRY.piece_count(), 4);
        assert_eq!(GEOMETRY.piece_len(3), 20_000);
        assert_eq!(GEOMETRY.piece_len(4), 0);
        assert_eq!(GEOMETRY.block(3, 1), BlockRef { piece: 3, begin: 16384, len: 3616 });
        assert!(GEOMETRY.contains(&BlockRef { piece: 3, begin: 16384, len: 3616 }));
        for (begin, len) in [(16384, 3617), (0, 0), (u32::MAX, 2), (20_000, 1)] {
            assert!(!GEOMETRY.contains(&BlockRef { piece: 3, begin, len }));
        }
        assert!(!GEOMETRY.contains(&BlockRef { piece: 4, begin: 0, len: 1 }));
    }
}
