//! The pieces of a torrent: which are there, which are begun, and where each block of those stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use wire::bitfield::Bitfield;
use wire::peer::{BLOCK_LEN, BlockRef};
use wire::time::Time;

use crate::ConnId;
use crate::disk::HashWork;
use crate::geometry::Geometry;
use crate::partial::{Block, Partial, Place, Run, runs};
use crate::payload::Payload;

/// A piece that went through the hasher.
pub struct Finished<P> {
    /// In order; none: its bytes are in the file and nowhere else.
    pub blocks: Vec<Option<P>>,
    /// Who sent each; none: an earlier run got it.
    pub senders: Vec<Option<SocketAddr>>,
}

impl<P> Finished<P> {
    /// Whether any block is in the file already.
    pub fn is_partly_saved(&self) -> bool {
        self.blocks.iter().any(Option::is_none)
    }
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
    /// Some of them were in the file.
    pub saved: bool,
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
    /// Of these, what is not in a file and not with a job.
    unsaved: usize,
    /// Blocks of all begun pieces.
    begun: usize,
    /// Of these, what is here, in memory or in a file.
    here: usize,
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
            unsaved: 0,
            begun: 0,
            here: 0,
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

    /// Blocks of begun pieces that are in memory or with a job.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Blocks of begun pieces in memory that could be written early.
    pub fn unsaved(&self) -> usize {
        self.unsaved
    }

    /// Blocks of all begun pieces, here or not.
    pub fn begun_blocks(&self) -> usize {
        self.begun
    }

    /// Bytes of blocks that are here, in memory or in a file, but not part of a finished piece.
    pub fn partial_bytes(&self) -> u64 {
        self.here as u64 * u64::from(BLOCK_LEN)
    }

    /// Of these, bytes in memory.
    pub fn held_bytes(&self) -> u64 {
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
        self.partials.insert(piece, Partial::new(count));
        self.begun += count as usize;
        self.open.insert(piece);
    }

    /// Begins `piece`, of which an earlier run left these blocks in the files.
    /// True if these are all.
    pub fn restore(&mut self, piece: u32, blocks: &[u32]) -> bool {
        self.begin(piece);
        let Some(partial) = self.partials.get_mut(&piece) else { return false };
        for &index in blocks {
            if let Some(block @ Block::Free) = partial.blocks.get_mut(index as usize) {
                *block = Block::Here { place: Place::Disk, saved: true, from: None };
                partial.free -= 1;
                partial.here += 1;
                self.here += 1;
            }
        }
        let is_all = partial.free == 0;
        if is_all {
            self.open.remove(&piece);
        }
        is_all
    }

    /// Marks the first free block of `piece` as asked from `conn`.
    pub fn ask(&mut self, now: Time, piece: u32, conn: ConnId) -> Option<BlockRef> {
        let partial = self.partials.get_mut(&piece)?;
        let rest = partial.blocks.get(partial.first_free..)?;
        let index = partial.first_free + rest.iter().position(|b| matches!(b, Block::Free))?;
        partial.first_free = index + 1;
        partial.blocks[index] = Block::Asked { first: conn, at: now, more: Vec::new() };
        partial.free -= 1;
        self.asked += 1;
        if partial.free == 0 {
            self.open.remove(&piece);
        }
        Some(self.geometry.block(piece, index as u32))
    }

    /// End game: marks a block that others were asked for, the last of them `late` ago or before, as
    /// asked from `conn` too. Of the blocks in `piece` the one with the fewest askers; not one that
    /// `conn` was asked for already.
    pub fn ask_again(
        &mut self,
        now: Time,
        piece: u32,
        conn: ConnId,
        late: Duration,
    ) -> Option<BlockRef> {
        let partial = self.partials.get_mut(&piece)?;
        let (index, _) = partial
            .blocks
            .iter()
            .enumerate()
            .filter_map(|(index, block)| match block {
                Block::Asked { first, at, more }
                    if *first != conn && !more.contains(&conn) && now.since(*at) >= late =>
                {
                    Some((index, more.len()))
                }
                _ => None,
            })
            .min_by_key(|&(_, askers)| askers)?;
        if let Block::Asked { more, at, .. } = &mut partial.blocks[index] {
            more.push(conn);
            *at = now;
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
        let Block::Asked { first, more, .. } = slot else { return false };
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
                    let index = (block.begin / BLOCK_LEN) as usize;
                    partial.first_free = partial.first_free.min(index);
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

    /// A block arrived at `now` from `conn` at `from`.
    pub fn arrived(
        &mut self,
        now: Time,
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
        let here = Block::Here { place: Place::Memory(payload), saved: false, from: Some(from) };
        let others = match slot {
            Block::Here { .. } => return Arrival::Unwanted,
            Block::Free => {
                partial.free -= 1;
                if partial.free == 0 {
                    self.open.remove(&block.piece);
                }
                Vec::new()
            }
            Block::Asked { first, more, .. } => {
                let mut others = std::mem::take(more);
                others.push(*first);
                self.asked -= others.len();
                others.retain(|other| *other != conn);
                others
            }
        };
        *slot = here;
        partial.here += 1;
        partial.held += 1;
        partial.unsaved += 1;
        partial.unsaved_since.get_or_insert(now);
        self.here += 1;
        self.held += 1;
        self.unsaved += 1;
        Arrival::Kept(others)
    }

    /// The next blocks of `piece` to hash: `batch` of them, or what completes it.
    pub fn next_hash(&mut self, piece: u32, batch: usize) -> Option<HashWork<P>> {
        let partial = self.partials.get_mut(&piece)?;
        partial.hasher.as_ref()?;
        let rest = partial.blocks.get_mut(partial.hashed as usize..)?;
        let ready = rest
            .iter()
            .take_while(|block| matches!(block, Block::Here { place: Place::Memory(_), .. }))
            .count();
        let finish = ready == rest.len() && ready > 0;
        // What is being written early is to be in the file before the piece counts as whole.
        if (!finish && ready < batch) || (finish && partial.on_disk_jobs > 0) {
            return None;
        }
        let mut blocks = Vec::with_capacity(ready);
        for block in &mut rest[..ready] {
            if let Block::Here { place, saved, .. } = block
                && let Place::Memory(payload) = std::mem::replace(place, Place::Hashing)
            {
                blocks.push(payload);
                partial.unsaved -= u32::from(!*saved);
                self.unsaved -= usize::from(!*saved);
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
            let Block::Here { place, saved, .. } = block else { continue };
            if *saved {
                *place = Place::Disk;
                partial.held -= 1;
                self.held -= 1;
            } else {
                *place = Place::Memory(back);
                partial.unsaved += 1;
                self.unsaved += 1;
            }
        }
        partial.hasher = Some(hasher);
    }

    /// Blocks of `piece` that are in the file and have to be read back, so that the next `batch`
    /// can be hashed, or what completes it.
    pub fn next_reads(&mut self, piece: u32, batch: usize) -> Vec<BlockRef> {
        let Some(partial) = self.partials.get_mut(&piece) else { return Vec::new() };
        let first = partial.hashed as usize;
        let rest = partial.blocks.get_mut(first..).unwrap_or_default();
        let wanted = rest.len().min(batch);
        let is_there = |block: &Block<P>| {
            matches!(block, Block::Here { place: Place::Memory(_) | Place::Disk, .. })
        };
        if partial.hasher.is_none() || !rest.iter().take(wanted).all(is_there) {
            return Vec::new();
        }
        let mut reads = Vec::new();
        for (index, block) in (first..).zip(&mut rest[..wanted]) {
            if let Block::Here { place: place @ Place::Disk, .. } = block {
                *place = Place::Reading;
                partial.on_disk_jobs += 1;
                partial.held += 1;
                self.held += 1;
                reads.push(self.geometry.block(piece, index as u32));
            }
        }
        reads
    }

    /// A block is back from the file.
    pub fn read_back(&mut self, piece: u32, begin: u32, payload: P) {
        let Some(partial) = self.partials.get_mut(&piece) else { return };
        if let Some(Block::Here { place: place @ Place::Reading, .. }) =
            partial.blocks.get_mut((begin / BLOCK_LEN) as usize)
        {
            *place = Place::Memory(payload);
            partial.on_disk_jobs -= 1;
        }
    }

    /// A block is not in the file any more.
    pub fn unreadable(&mut self, piece: u32, begin: u32) {
        let Some(partial) = self.partials.get_mut(&piece) else { return };
        if let Some(block @ Block::Here { place: Place::Reading, .. }) =
            partial.blocks.get_mut((begin / BLOCK_LEN) as usize)
        {
            *block = Block::Free;
            partial.first_free = partial.first_free.min((begin / BLOCK_LEN) as usize);
            partial.on_disk_jobs -= 1;
            partial.held -= 1;
            partial.here -= 1;
            partial.free += 1;
            self.held -= 1;
            self.here -= 1;
            self.open.insert(piece);
        }
    }

    /// Ends a piece whose last hash job is back with `last` blocks.
    pub fn finish(&mut self, piece: u32, last: Vec<P>) -> Finished<P> {
        self.hashed(piece, P::Hasher::default(), last);
        let mut finished = Finished { blocks: Vec::new(), senders: Vec::new() };
        for block in self.forget(piece).into_iter().flat_map(|partial| partial.blocks) {
            if let Block::Here { place, saved, from } = block {
                finished.blocks.push(match place {
                    Place::Memory(payload) if !saved => Some(payload),
                    _ => None,
                });
                finished.senders.push(from);
            }
        }
        finished
    }

    /// Takes what is in memory of `piece` and not in the file, to be written early.
    pub fn take_unsaved(&mut self, piece: u32) -> Vec<Run<P>> {
        let partial = self.partials.get_mut(&piece).filter(|partial| !partial.is_finishing());
        let Some(partial) = partial else { return Vec::new() };
        let take = |block: &mut Block<P>| match block {
            Block::Here { place: place @ Place::Memory(_), saved: false, .. } => {
                match std::mem::replace(place, Place::Writing) {
                    Place::Memory(payload) => Some(payload),
                    _ => None,
                }
            }
            _ => None,
        };
        let runs = runs(partial.blocks.iter_mut().map(take).collect());
        partial.on_disk_jobs += partial.unsaved;
        self.unsaved -= partial.unsaved as usize;
        partial.unsaved = 0;
        // What the hasher has comes back, and is as old.
        partial.unsaved_since = partial.unsaved_since.filter(|_| partial.hasher.is_none());
        runs
    }

    /// Bytes of `piece` that [`Pieces::take_unsaved`] gave are in the file.
    pub fn part_written(&mut self, piece: u32, begin: u32, len: u32) {
        let Some(partial) = self.partials.get_mut(&piece) else { return };
        let (first, end) = (begin / BLOCK_LEN, (begin + len).div_ceil(BLOCK_LEN));
        for block in partial.blocks.get_mut(first as usize..end as usize).unwrap_or_default() {
            if let Block::Here { place: place @ Place::Writing, saved, .. } = block {
                (*place, *saved) = (Place::Disk, true);
                partial.on_disk_jobs -= 1;
                partial.held -= 1;
                self.held -= 1;
            }
        }
    }

    /// The begun piece with the most blocks that are in memory and not in the file.
    pub fn most_unsaved(&self) -> Option<u32> {
        let is_due = |partial: &Partial<P>| partial.unsaved > 0 && !partial.is_finishing();
        let unsaved = self.partials.iter().filter(|(_, partial)| is_due(partial));
        unsaved.max_by_key(|(_, partial)| partial.unsaved).map(|(piece, _)| *piece)
    }

    /// Begun pieces that have had blocks in memory, and not in the file, for so long.
    pub fn unsaved_for(&self, now: Time, span: Duration) -> Vec<u32> {
        let is_old = |partial: &Partial<P>| {
            partial.unsaved > 0
                && partial.unsaved_since.is_some_and(|since| now.since(since) >= span)
        };
        self.partials.iter().filter(|(_, p)| is_old(p)).map(|(piece, _)| *piece).collect()
    }

    /// Gives back the blocks of the begun piece that has the fewest, if any has one. Not of one
    /// that a job has blocks of.
    pub fn drop_least(&mut self) -> Option<Dropped> {
        let idle = self.partials.iter().filter(|(_, p)| p.here > 0 && !p.is_busy());
        let (&piece, _) = idle.min_by_key(|(_, p)| p.here)?;
        self.drop_blocks(piece)
    }

    /// Gives back all blocks of a begun piece that no job has blocks of.
    pub fn drop_blocks(&mut self, piece: u32) -> Option<Dropped> {
        let partial = self.partials.get_mut(&piece).filter(|partial| !partial.is_busy())?;
        let blocks = partial.here as usize;
        let mut saved = false;
        for block in &mut partial.blocks {
            if let Block::Here { saved: is_saved, .. } = block {
                saved |= *is_saved;
                *block = Block::Free;
            }
        }
        self.here -= blocks;
        self.held -= partial.held as usize;
        self.unsaved -= partial.unsaved as usize;
        partial.free += partial.here;
        (partial.here, partial.held, partial.unsaved, partial.hashed) = (0, 0, 0, 0);
        partial.unsaved_since = None;
        partial.first_free = 0;
        partial.hasher = Some(P::Hasher::default());
        let ended = partial.free as usize == partial.blocks.len();
        self.open.insert(piece);
        if ended {
            self.forget(piece);
        }
        Some(Dropped { piece, blocks, saved, ended })
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
        self.here -= partial.here as usize;
        self.held -= partial.held as usize;
        self.unsaved -= partial.unsaved as usize;
        self.begun -= partial.blocks.len();
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
        match pieces.arrived(Time::ZERO, &block, ConnId::new(conn), addr(), payload) {
            Arrival::Kept(others) => Some(others),
            Arrival::Unwanted => None,
        }
    }

    #[test]
    fn contiguous_blocks_are_hashed_as_they_come() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(0);
        let asked: Vec<BlockRef> =
            std::iter::from_fn(|| pieces.ask(Time::ZERO, 0, ConnId::new(1))).collect();
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
        let Finished { blocks, senders } = pieces.finish(0, work.blocks);
        assert_eq!(senders, [Some(addr()); 4]);
        let begins: Vec<u8> = blocks.iter().flatten().map(|b| b.0[0]).collect();
        assert_eq!(begins, [0u32, 16384, 32768, 49152].map(|b| b as u8));
        assert_eq!(pieces.held(), 0);
    }

    #[test]
    fn in_end_game_the_first_copy_wins() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(3);
        let a = pieces.ask(Time::ZERO, 3, ConnId::new(1)).unwrap();
        let b = pieces.ask(Time::ZERO, 3, ConnId::new(1)).unwrap();
        assert_eq!(pieces.ask_again(Time::ZERO, 3, ConnId::new(2), Duration::ZERO), Some(a));
        assert_eq!(pieces.ask_again(Time::ZERO, 3, ConnId::new(2), Duration::ZERO), Some(b));
        assert_eq!(pieces.ask_again(Time::ZERO, 3, ConnId::new(2), Duration::ZERO), None);
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
    fn in_end_game_what_is_not_late_is_asked_of_nobody_else() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(3);
        let mut ask_again = |at, conn| {
            let late = Duration::from_secs(2);
            pieces.ask(Time::from_secs(1), 3, ConnId::new(1));
            pieces.ask_again(Time::from_secs(at), 3, ConnId::new(conn), late).is_some()
        };
        assert!(!ask_again(2, 2));
        // Both blocks of the piece, and each a third time only when it is late once more.
        assert!(ask_again(3, 2) && ask_again(3, 2));
        assert!(!ask_again(4, 3));
        assert!(ask_again(5, 3));
    }

    #[test]
    fn a_piece_that_nobody_serves_ends() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(1);
        let block = pieces.ask(Time::ZERO, 1, ConnId::new(1)).unwrap();
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
            asked.push([(); 3].map(|()| pieces.ask(Time::ZERO, piece, ConnId::new(1)).unwrap()));
        }
        assert_eq!(pieces.drop_least(), None, "nothing is here");
        for block in [asked[0][0], asked[0][1], asked[1][0], asked[2][0], asked[2][1]] {
            arrive(&mut pieces, block, 1);
        }
        let work = pieces.next_hash(2, 2).unwrap();
        assert_eq!(
            pieces.drop_least(),
            Some(Dropped { piece: 1, blocks: 1, saved: false, ended: false })
        );
        assert_eq!(pieces.held(), 4);
        for block in &asked[0][2..] {
            pieces.release(block, ConnId::new(1));
        }
        assert_eq!(
            pieces.drop_least(),
            Some(Dropped { piece: 0, blocks: 2, saved: false, ended: true })
        );
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
    fn what_is_written_early_is_in_the_file_before_its_piece_is_finished() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(0);
        let asked: Vec<BlockRef> =
            std::iter::from_fn(|| pieces.ask(Time::ZERO, 0, ConnId::new(1))).collect();
        arrive(&mut pieces, asked[0], 1);
        arrive(&mut pieces, asked[1], 1);
        let work = pieces.next_hash(0, 2).unwrap();
        arrive(&mut pieces, asked[3], 1);
        let since = |pieces: &Pieces<Bytes>, secs| {
            pieces.unsaved_for(Time::from_secs(secs), Duration::from_secs(10))
        };
        assert_eq!((since(&pieces, 9), since(&pieces, 10)), (vec![], vec![0]));
        let runs = pieces.take_unsaved(0);
        assert_eq!(
            runs.iter().map(|(first, run)| (*first, run.len())).collect::<Vec<_>>(),
            [(3, 1)]
        );
        assert!(since(&pieces, 10).is_empty());
        // What the hasher had comes back, and is as old.
        pieces.hashed(0, work.hasher, work.blocks);
        assert_eq!(since(&pieces, 10), [0]);
        let runs = pieces.take_unsaved(0);
        assert_eq!(
            runs.iter().map(|(first, run)| (*first, run.len())).collect::<Vec<_>>(),
            [(0, 2)]
        );
        pieces.part_written(0, 3 * BLOCK_LEN, BLOCK_LEN);
        assert_eq!((pieces.held(), pieces.unsaved(), pieces.partial_bytes()), (2, 0, 3 << 14));
        arrive(&mut pieces, asked[2], 1);
        assert_eq!(pieces.next_reads(0, 2), [asked[3]]);
        assert!(pieces.next_reads(0, 2).is_empty(), "once");
        assert_eq!(pieces.drop_blocks(0), None, "jobs have some of it");
        pieces.read_back(0, 3 * BLOCK_LEN, Bytes(vec![0; BLOCK_LEN as usize]));
        assert!(pieces.next_hash(0, 2).is_none(), "the first two are not in the file yet");
        pieces.part_written(0, 0, 2 * BLOCK_LEN);
        let work = pieces.next_hash(0, 2).unwrap();
        assert!(work.finish);
        let finished = pieces.finish(0, work.blocks);
        assert!(finished.is_partly_saved());
        let runs = runs_of(finished.blocks);
        assert_eq!(runs, [(2, 1)], "the rest is in the file");
        assert_eq!((pieces.held(), pieces.unsaved(), pieces.partial_bytes()), (0, 0, 0));
        assert_eq!(pieces.begun_blocks(), 0);
    }

    fn runs_of(blocks: Vec<Option<Bytes>>) -> Vec<(u32, usize)> {
        runs(blocks).into_iter().map(|(first, run)| (first, run.len())).collect()
    }

    #[test]
    fn blocks_of_odd_shape_are_unwanted() {
        let mut pieces: Pieces<Bytes> = Pieces::new(GEOMETRY, Bitfield::new(4));
        pieces.begin(0);
        pieces.ask(Time::ZERO, 0, ConnId::new(1));
        for (piece, begin, len) in [(0, 1, 16384), (0, 0, 16383), (9, 0, 16384), (0, 65536, 1)] {
            assert_eq!(arrive(&mut pieces, BlockRef { piece, begin, len }, 1), None);
        }
    }
}
