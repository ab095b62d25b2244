//! What each peer has, and what of it a neighbour knows by now.

use super::bits;

/// Bits of a note that name a piece; the others are a time in microseconds, up to 12 days.
const PIECE_BITS: u32 = 24;
/// Pieces that a note can name.
pub(super) const PIECES_MAX: u32 = 1 << PIECE_BITS;
/// The end of all times that a note can name, in microseconds.
pub(super) const TIME_MAX: u64 = 1 << (64 - PIECE_BITS);

/// The pieces of all peers. A `have` is no event: before its pieces a peer keeps notes of the last ones
/// and of when their `have` left, the newest first, and a neighbour leaves out what cannot have reached
/// it yet. So who looks reads one place and what follows it.
pub(super) struct Maps {
    /// Words of a set of pieces.
    pub(super) words: usize,
    notes: usize,
    /// Words from peer to peer, whole lines of cache, and before the first.
    stride: usize,
    offset: usize,
    data: Vec<u64>,
}

/// Words of a line of cache.
const LINE: usize = 8;

impl Maps {
    /// `peers` that have nothing. Of each the last `notes` pieces are noted, at least one.
    pub(super) fn new(peers: usize, pieces: u32, notes: usize) -> Maps {
        let words = bits::words_of(pieces);
        let stride = (words + notes).next_multiple_of(LINE);
        let data = vec![0u64; peers * stride + LINE];
        let offset = data.as_ptr().align_offset(LINE * size_of::<u64>()) % LINE;
        Maps { words, notes, stride, offset, data }
    }

    fn start(&self, peer: u32) -> usize {
        peer as usize * self.stride + self.offset
    }

    /// The pieces of a peer.
    pub(super) fn of(&self, peer: u32) -> &[u64] {
        let start = self.start(peer) + self.notes;
        &self.data[start..start + self.words]
    }

    /// The same, to write.
    pub(super) fn of_mut(&mut self, peer: u32) -> &mut [u64] {
        let start = self.start(peer) + self.notes;
        &mut self.data[start..start + self.words]
    }

    /// `peer` has one more piece; its `have` leaves at `at`.
    pub(super) fn add(&mut self, peer: u32, piece: u32, at: u64) {
        bits::insert(self.of_mut(peer), piece);
        let start = self.start(peer);
        let notes = &mut self.data[start..start + self.notes];
        // Messages do not overtake each other.
        let at = at.max(notes[0] >> PIECE_BITS);
        notes.copy_within(..notes.len() - 1, 1);
        notes[0] = at << PIECE_BITS | u64::from(piece);
    }

    /// `peer` is gone: who looks sees nothing.
    pub(super) fn clear(&mut self, peer: u32) {
        let start = self.start(peer);
        self.data[start..start + self.notes + self.words].fill(0);
    }

    /// Whether `peer` told of `piece` by `now`, `latency` microseconds away.
    pub(super) fn knows(&self, peer: u32, piece: u32, now: u64, latency: u32) -> bool {
        bits::get(self.of(peer), piece) && !self.late(peer, now, latency).any(|late| late == piece)
    }

    /// Pieces of `peer` of which nobody can know at `now` who is `latency` microseconds away.
    pub(super) fn late(&self, peer: u32, now: u64, latency: u32) -> impl Iterator<Item = u32> + '_ {
        let start = self.start(peer);
        // What left after this is not here.
        let known = now.saturating_sub(u64::from(latency));
        self.data[start..start + self.notes]
            .iter()
            .take_while(move |note| **note >> PIECE_BITS > known)
            .map(|note| *note as u32 % PIECES_MAX)
    }

    /// Takes out of `set`, a copy of what `peer` has, what is not known yet.
    pub(super) fn hide_late(&self, peer: u32, now: u64, latency: u32, set: &mut [u64]) {
        self.late(peer, now, latency).for_each(|piece| bits::remove(set, piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_known_after_the_latency() {
        let mut maps = Maps::new(2, 100, 2);
        for (nth, at) in [(0, 1000), (1, 2000), (2, 3000)] {
            maps.add(1, nth * 30, at);
        }
        let known = |maps: &Maps, now| {
            let mut set = maps.of(1).to_vec();
            maps.hide_late(1, now, 500, &mut set);
            let known = (0..100).filter(|&piece| bits::get(&set, piece)).collect::<Vec<_>>();
            assert!((0..100).all(|p| maps.knows(1, p, now, 500) == known.contains(&p)));
            known
        };
        // The oldest note was written over: it counts as known.
        assert_eq!(known(&maps, 1200), [0]);
        assert_eq!(known(&maps, 2499), [0]);
        assert_eq!(known(&maps, 2500), [0, 30]);
        assert_eq!(known(&maps, 3500), [0, 30, 60]);
        maps.clear(1);
        assert_eq!(known(&maps, 3500), [0; 0]);
    }
}
