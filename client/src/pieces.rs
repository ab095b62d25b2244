//! The pieces of a torrent: which are there, which are begun, and where each block of those stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wire::bitfield::Bitfield;
use wire::peer::{BLOCK_LEN, BlockRef};

use crate::ConnId;
use crate::disk::HashWork;
use crate::payload::Payload;

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

/// Where one block of a begun piece stands.
enum Block<P> {
    Free,
    Asked {
        first: ConnId,
        /// End game: the others that were asked too.
        more: Vec<ConnId>,
    },
    Here {
        /// None while a hash job has it.
        payload: Option<P>,
        from: SocketAddr,
    },
}

/// A begun piece.
struct Partial<P: Payload> {
    blocks: Vec<Block<P>>,
    free: u32,
    here: u32,
    /// Blocks from the first on that went through the hasher, or are in it now.
    hashed: u32,
    /// None while a hash job has it.
    hasher: Option<P::Hasher>,
}

/// What became of a block that arrived.
pub enum Arrival {
    /// It was wanted. The others that were asked for it too are to be told.
    Kept(Vec<ConnId>),
    /// Nobody waits for it: the piece is there, or another copy was faster.
    Unwanted,
}

/// A begun piece whose blocks were given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The piece.
    pub piece: u32,
    /// Blocks that were here.
    pub blocks: usize,
    /// Nobody is asked for any of it, so it is no longer begun.
    pub ended: bool,
}

/// All pieces of one torrent.
pub struct Pieces<P: Payload> {
    geometry: Geometry,
    have: Bitfield,
    partials: BTreeMap<u32, Partial<P>>,
    /// Begun pieces that have a free block.
    open: BTreeSet<u32>,
    /// Requests that wait for an answer.
    asked: usize,
    /// Blocks in memory.
    held: usize,
}

impl<P: Payload> Pieces<P> {
    /// Pieces of which `have` are there.
    pub fn new(geometry: Geometry, have: Bitfield) -> Pieces<P> {
        Pieces {
            geometry,
            have,
            partials: BTreeMap::new(),
            open: BTreeSet::new(),
            asked: 0,
            held: 0,
        }
    }

    /// Lengths of pieces and blocks.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The pieces that are there: hashed right, and readable from the disk.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Requests for blocks that wait for an answer; a block may be asked of several peers.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Blocks of begun pieces that are in memory or in a hash job.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes of blocks that are here but not part of a finished piece.
    pub fn partial_bytes(&self) -> u64 {
        self.held as u64 * u64::from(BLOCK_LEN)
    }

    /// Begun pieces with a free block, lowest first.
    pub fn open(&self) -> impl Iterator<Item = u32> + '_ {
        self.open.iter().copied()
    }

    /// Whether `piece` is begun and has a free block.
    pub fn is_open(&self, piece: u32) -> bool {
        self.open.contains(&piece)
    }

    /// Begun pieces, lowest first.
    pub fn begun(&self) -> impl Iterator<Item = u32> + '_ {
        self.partials.keys().copied()
    }

    /// Begins `piece`.
    pub fn begin(&mut self, piece: u32) {
        let count = self.geometry.block_count(piece);
        if count == 0 || self.have.get(piece) || self.partials.contains_key(&piece) {
            return;
        }
        let partial = Partial {
            blocks: (0..count).map(|_| Block::Free).collect(),
            free: count,
            here: 0,
            hashed: 0,
            hasher: Some(P::Hasher::default()),
        };
        self.partials.insert(piece, partial);
        self.open.insert(piece);
    }

    /// Marks the first free block of `piece` as asked from `conn`.
    pub fn ask(&mut self, piece: u32, conn: ConnId) -> Option<BlockRef> {
        let partial = self.partials.get_mut(&piece)?;
        let index = partial.blocks.iter().position(|block| matches!(block, Block::Free))?;
        partial.blocks[index] = Block::Asked { first: conn, more: Vec::new() };
        partial.free -= 1;
        self.asked += 1;
        if partial.free == 0 {
            self.open.remove(&piece);
        }
        Some(self.geometry.block(piece, index as u32))
    }

    /// End game: marks a block that others were asked for as asked from `conn` too. Of the blocks
    /// in `piece` the one with the fewest askers; not one that `conn` was asked for already.
    pub fn ask_again(&mut self, piece: u32, conn: ConnId) -> Option<BlockRef> {
        let partial = self.partials.get_mut(&piece)?;
        let (index, _) = partial
            .blocks
            .iter()
            .enumerate()
            .filter_map(|(index, block)| match block {
                Block::Asked { first, more } if *first != conn && !more.contains(&conn) => {
                    Some((index, more.len()))
                }
                _ => None,
            })
            .min_by_key(|&(_, askers)| askers)?;
        if let Block::Asked { more, .. } = &mut partial.blocks[index] {
            more.push(conn);
            self.asked += 1;
        }
        Some(self.geometry.block(piece, index as u32))
    }

    /// `conn` will not answer for `block`. True if the piece has nothing left and ended.
    pub fn release(&mut self, block: &BlockRef, conn: ConnId) -> bool {
        let Some(partial) = self.partials.get_mut(&block.piece) else { return false };
        let Some(slot) = partial.blocks.get_mut((block.begin / BLOCK_LEN) as usize) else {
            return false;
        };
        let Block::Asked { first, more } = slot else { return false };
        if *first != conn && !more.contains(&conn) {
            return false;
        }
        self.asked -= 1;
        if *first == conn {
            match more.pop() {
                Some(other) => *first = other,
                None => {
                    *slot = Block::Free;
                    partial.free += 1;
                    self.open.insert(block.piece);
                }
            }
        } else {
            more.retain(|other| *other != conn);
        }
        let idle = partial.free as usize == partial.blocks.len();
        if idle {
            self.forget(block.piece);
        }
        idle
    }

    /// A block arrived from `conn` at `from`.
    pub fn arrived(
        &mut self,
        block: &BlockRef,
        conn: ConnId,
        from: SocketAddr,
        payload: P,
    ) -> Arrival {
        if !block.begin.is_multiple_of(BLOCK_LEN) {
            return Arrival::Unwanted;
        }
        let index = block.begin / BLOCK_LEN;
        if *block != self.geometry.block(block.piece, index) || payload.len() != block.len as usize
        {
            return Arrival::Unwanted;
        }
        let Some(partial) = self.partials.get_mut(&block.piece) else { return Arrival::Unwanted };
        let Some(slot) = partial.blocks.get_mut(index as usize) else { return Arrival::Unwanted };
        let here = Block::Here { payload: Some(payload), from };
        let others = match slot {
            Block::Here { .. } => return Arrival::Unwanted,
            Block::Free => {
                partial.free -= 1;
                if partial.free == 0 {
                    self.open.remove(&block.piece);
                }
                Vec::new()
            }
            Block::Asked { first, more } => {
                let mut others = std::mem::take(more);
                others.push(*first);
                self.asked -= others.len();
                others.retain(|other| *other != conn);
                others
            }
        };
        *slot = here;
        partial.here += 1;
        self.held += 1;
        Arrival::Kept(others)
    }

    /// The next blocks of `piece` to hash: `batch` of them, or what completes it.
    pub fn next_hash(&mut self, piece: u32, batch: usize) -> Option<HashWork<P>> {
        let partial = self.partials.get_mut(&piece)?;
        partial.hasher.as_ref()?;
        let rest = partial.blocks.get_mut(partial.hashed as usize..)?;
        let ready = rest
            .iter()
            .take_while(|block| matches!(block, Block::Here { payload: Some(_), .. }))
            .count();
        let finish = ready == rest.len() && ready > 0;
        if !finish && ready < batch {
            return None;
        }
        let mut blocks = Vec::with_capacity(ready);
        for block in &mut rest[..ready] {
            if let Block::Here { payload, .. } = block {
                blocks.extend(payload.take());
            }
        }
        partial.hashed += ready as u32;
        let hasher = partial.hasher.take()?;
        Some(HashWork { hasher, blocks, finish })
    }

    /// A hash job that was not the piece's last is back.
    pub fn hashed(&mut self, piece: u32, hasher: P::Hasher, blocks: Vec<P>) {
        let Some(partial) = self.partials.get_mut(&piece) else { return };
        let end = partial.hashed as usize;
        let start = end.saturating_sub(blocks.len());
        for (block, back) in partial.blocks[start..end].iter_mut().zip(blocks) {
            if let Block::Here { payload, .. } = block {
                *payload = Some(back);
            }
        }
        partial.hasher = Some(hasher);
    }

    /// Ends a piece whose last hash job is back with `last` blocks: all blocks in order, and who
    /// sent each.
    pub fn finish(&mut self, piece: u32, last: Vec<P>) -> (Vec<P>, Vec<SocketAddr>) {
        self.hashed(piece, P::Hasher::default(), last);
        let mut blocks = Vec::new();
        let mut senders = Vec::new();
        if let Some(partial) = self.forget(piece) {
            for block in partial.blocks {
                if let Block::Here { payload, from } = block {
                    blocks.extend(payload);
                    senders.push(from);
                }
            }
        }
        (blocks, senders)
    }

    /// Gives back the blocks of the begun piece that has the fewest, if any has one. Not of one
    /// that is in a hash job.
    pub fn drop_least(&mut self) -> Option<Dropped> {
        let with_blocks = |p: &Partial<P>| p.here > 0 && p.hasher.is_some();
        let begun = self.partials.iter_mut().filter(|(_, p)| with_blocks(p));
        let (&piece, partial) = begun.min_by_key(|(_, p)| p.here)?;
        let blocks = partial.here as usize;
        for block in &mut partial.blocks {
            if matches!(block, Block::Here { .. }) {
                *block = Block::Free;
            }
        }
        partial.free += partial.here;
        partial.here = 0;
        partial.hashed = 0;
        partial.hasher = Some(P::Hasher::default());
        let ended = partial.free as usize == partial.blocks.len();
        self.held -= blocks;
        self.open.insert(piece);
        if ended {
            self.forget(piece);
        }
        Some(Dropped { piece, blocks, ended })
    }

    /// `piece` can be read from the disk.
    pub fn set_have(&mut self, piece: u32) {
        self.have.set(piece);
    }

    /// `piece` was lost on the disk.
    pub fn clear_have(&mut self, piece: u32) {
        self.have.clear(piece);
    }

    fn forget(&mut self, piece: u32) -> Option<Partial<P>> {
        self.open.remove(&piece);
        let partial = self.partials.remove(&piece)?;
        self.held -= partial.here as usize;
        Some(partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Payload for Bytes {
        type Hasher = Vec<u8>;

        fn len(&self) -> usize {
            self.0.len()
        }
    }

    const GEOMETRY: Geometry = Geometry { total_len: 3 * 65536 + 20_000, piece_length: 65536 };

    fn addr() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn arrive(pieces: &mut Pieces<Bytes>, block: BlockRef, conn: u64) -> Option<Vec<ConnId>> {
        let payload = Bytes(vec![block.begin as u8; block.len as usize]);
        match pieces.arrived(&block, ConnId::new(conn), addr(), payload) {
            Arrival::Kept(others) => Some(others),
            Arrival::Unwanted => None,
        }
    }

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

    #[test]
    fn contiguous_blocks_are_hashed_as_they_come() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(0);
        let asked: Vec<BlockRef> = std::iter::from_fn(|| pieces.ask(0, ConnId::new(1))).collect();
        assert_eq!(asked.len(), 4);
        assert!(!pieces.is_open(0));
        arrive(&mut pieces, asked[1], 1);
        assert!(pieces.next_hash(0, 2).is_none(), "block 0 is missing");
        arrive(&mut pieces, asked[0], 1);
        let work = pieces.next_hash(0, 2).unwrap();
        assert_eq!((work.blocks.len(), work.finish), (2, false));
        arrive(&mut pieces, asked[3], 1);
        arrive(&mut pieces, asked[2], 1);
        assert!(pieces.next_hash(0, 2).is_none(), "one job a piece at a time");
        pieces.hashed(0, work.hasher, work.blocks);
        let work = pieces.next_hash(0, 8).unwrap();
        assert_eq!((work.blocks.len(), work.finish), (2, true));
        let (blocks, senders) = pieces.finish(0, work.blocks);
        assert_eq!(senders.len(), 4);
        let begins: Vec<u8> = blocks.iter().map(|b| b.0[0]).collect();
        assert_eq!(begins, [0u32, 16384, 32768, 49152].map(|b| b as u8));
        assert_eq!(pieces.held(), 0);
    }

    #[test]
    fn in_end_game_the_first_copy_wins() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(3);
        let a = pieces.ask(3, ConnId::new(1)).unwrap();
        let b = pieces.ask(3, ConnId::new(1)).unwrap();
        assert_eq!(pieces.ask_again(3, ConnId::new(2)), Some(a));
        assert_eq!(pieces.ask_again(3, ConnId::new(2)), Some(b));
        assert_eq!(pieces.ask_again(3, ConnId::new(2)), None);
        assert_eq!(arrive(&mut pieces, a, 2), Some(vec![ConnId::new(1)]));
        assert_eq!(arrive(&mut pieces, a, 1), None);
        assert!(!pieces.release(&b, ConnId::new(1)));
        assert!(!pieces.is_open(3), "the second peer still owes it");
        assert_eq!(pieces.asked(), 1);
        assert!(!pieces.release(&b, ConnId::new(2)));
        assert!(pieces.is_open(3));
        assert!(!pieces.release(&b, ConnId::new(2)), "not twice");
        assert_eq!(pieces.asked(), 0);
    }

    #[test]
    fn a_piece_that_nobody_serves_ends() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(1);
        let block = pieces.ask(1, ConnId::new(1)).unwrap();
        assert!(pieces.release(&block, ConnId::new(1)));
        assert_eq!(pieces.begun().count(), 0);
    }

    #[test]
    fn the_piece_that_is_least_far_gives_its_blocks_back() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        assert_eq!(pieces.drop_least(), None);
        let mut asked = Vec::new();
        for piece in 0..3 {
            pieces.begin(piece);
            asked.push([(); 3].map(|()| pieces.ask(piece, ConnId::new(1)).unwrap()));
        }
        assert_eq!(pieces.drop_least(), None, "nothing is here");
        for block in [asked[0][0], asked[0][1], asked[1][0], asked[2][0], asked[2][1]] {
            arrive(&mut pieces, block, 1);
        }
        let work = pieces.next_hash(2, 2).unwrap();
        assert_eq!(pieces.drop_least(), Some(Dropped { piece: 1, blocks: 1, ended: false }));
        assert_eq!(pieces.held(), 4);
        for block in &asked[0][2..] {
            pieces.release(block, ConnId::new(1));
        }
        assert_eq!(pieces.drop_least(), Some(Dropped { piece: 0, blocks: 2, ended: true }));
        assert_eq!(pieces.begun().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(pieces.drop_least(), None, "the third is being hashed");
        pieces.hashed(2, work.hasher, work.blocks);
        assert_eq!(pieces.drop_least().map(|dropped| dropped.piece), Some(2));
        assert_eq!(pieces.held(), 0);
        // It is fetched and hashed from its start again.
        for block in [asked[2][0], asked[2][1]] {
            arrive(&mut pieces, block, 1);
        }
        assert_eq!(pieces.next_hash(2, 2).map(|work| work.blocks.len()), Some(2));
    }

    #[test]
    fn blocks_of_odd_shape_are_unwanted() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(0);
        pieces.ask(0, ConnId::new(1));
        for (piece, begin, len) in [(0, 1, 16384), (0, 0, 16383), (9, 0, 16384), (0, 65536, 1)] {
            assert_eq!(arrive(&mut pieces, BlockRef { piece, begin, len }, 1), None);
        }
    }
}
