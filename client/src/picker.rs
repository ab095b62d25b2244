//! Which piece to begin next: rarest first with random ties (BEP 3, "downloaders generally download
//! pieces in random order"; Cohen 2003, "rarest first", "random first piece").
//!
//! Availability is counted as peers come, tell and go. The pieces that may be begun stand in one
//! array sorted by availability, so a count that changes by one is one swap.

use wire::bitfield::Bitfield;
use wire::rng::Rng;

const OUT: u32 = u32::MAX;

/// Availability of all pieces, and the pool of those not begun.
pub struct Picker {
    /// Peers that told of each piece, seeds not counted.
    counts: Vec<u32>,
    /// Peers that have all pieces.
    seeds: u32,
    /// The pool, sorted by count.
    order: Vec<u32>,
    /// Where each piece stands in `order`, or `OUT`.
    place: Vec<u32>,
    /// `ends[count]`: where the pieces of up to `count` end in `order`.
    ends: Vec<u32>,
    /// Grows when a piece comes back into the pool.
    generation: u64,
    rng: Rng,
}

impl Picker {
    /// A pool of all `pieces` pieces that `have` does not name.
    pub fn new(pieces: u32, have: &Bitfield, mut rng: Rng) -> Picker {
        let mut order: Vec<u32> = (0..pieces).filter(|&p| !have.get(p)).collect();
        rng.shuffle(&mut order);
        let mut place = vec![OUT; pieces as usize];
        for (at, &piece) in order.iter().enumerate() {
            place[piece as usize] = at as u32;
        }
        let ends = vec![order.len() as u32];
        Picker {
            counts: vec![0; pieces as usize],
            seeds: 0,
            order,
            place,
            ends,
            generation: 0,
            rng,
        }
    }

    /// Copies of the torrent among the peers: whole ones and, of a thousand pieces, how many more
    /// are there once again (the field's "distributed copies").
    pub fn distributed_copies(&self) -> f64 {
        let Some(&least) = self.counts.iter().min() else { return f64::from(self.seeds) };
        let above = self.counts.iter().filter(|&&count| count > least).count();
        f64::from(self.seeds + least) + above as f64 / self.counts.len() as f64
    }

    /// A peer told what it has. All of it counts as a seed, which costs nothing a piece.
    pub fn add_peer(&mut self, has: &Bitfield) {
        if has.is_full() {
            self.seeds += 1;
        } else {
            has.ones().for_each(|piece| self.add_piece(piece));
        }
    }

    /// A peer is gone that had `has`; the reverse of [`Picker::add_peer`] and what followed.
    pub fn remove_peer(&mut self, has: &Bitfield) {
        if has.is_full() {
            self.seeds = self.seeds.saturating_sub(1);
        } else {
            has.ones().for_each(|piece| self.remove_piece(piece));
        }
    }

    /// A peer that was no seed told of one more piece; `has` is what it has now.
    pub fn peer_has(&mut self, has: &Bitfield, piece: u32) {
        if has.is_full() {
            // It became a seed: its pieces are counted as one from now on.
            (0..self.counts.len() as u32)
                .filter(|&p| p != piece)
                .for_each(|p| self.remove_piece(p));
            self.seeds += 1;
        } else {
            self.add_piece(piece);
        }
    }

    /// Whether a piece is left to begin that any peer has.
    pub fn is_any_left(&self) -> bool {
        let most = self.order.last().map(|&piece| self.counts[piece as usize]);
        most.is_some_and(|count| count > 0 || self.seeds > 0)
    }

    /// Grows when a piece comes back into the pool: who found nothing finds nothing until then.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether `piece` is in the pool.
    pub fn holds(&self, piece: u32) -> bool {
        self.pooled_count(piece).is_some()
    }

    /// The pool, rarest first.
    pub fn free(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied()
    }

    /// Peers that have `piece`.
    pub fn copies(&self, piece: u32) -> u32 {
        self.seeds + self.counts.get(piece as usize).copied().unwrap_or(0)
    }

    /// The rarest piece in the pool that `has` names.
    pub fn rarest(&self, has: &Bitfield) -> Option<u32> {
        self.free().find(|&piece| has.get(piece))
    }

    /// A random piece in the pool that `has` names.
    pub fn random(&mut self, has: &Bitfield) -> Option<u32> {
        let start = self.rng.index(self.order.len());
        let (head, tail) = self.order.split_at(start);
        tail.iter().chain(head).copied().find(|&piece| has.get(piece))
    }

    /// Takes the rarest piece that `has` names out of the pool.
    pub fn take_rarest(&mut self, has: &Bitfield) -> Option<u32> {
        let piece = self.rarest(has)?;
        self.take(piece);
        Some(piece)
    }

    /// Takes `piece` out of the pool, if it is in.
    pub fn take(&mut self, piece: u32) {
        let Some(count) = self.pooled_count(piece) else { return };
        // Move it to the end of its bucket, then of each bucket behind, then off the array.
        for count in count..self.ends.len() {
            let last = self.ends[count] - 1;
            self.swap(self.place[piece as usize], last);
            self.ends[count] = last;
        }
        self.order.pop();
        self.place[piece as usize] = OUT;
    }

    /// Puts `piece` back into the pool, at a random place among its equals.
    pub fn put_back(&mut self, piece: u32) {
        if self.place.get(piece as usize).is_none_or(|&place| place != OUT) {
            return;
        }
        self.generation += 1;
        let count = self.counts[piece as usize] as usize;
        self.grow_ends(count);
        let mut hole = self.order.len() as u32;
        self.order.push(piece);
        self.place[piece as usize] = hole;
        for count in (count + 1..self.ends.len()).rev() {
            let first = self.ends[count - 1];
            self.swap(hole, first);
            hole = first;
            self.ends[count] += 1;
        }
        let start = if count == 0 { 0 } else { self.ends[count - 1] };
        self.ends[count] += 1;
        let spot = start + self.rng.below(hole - start + 1);
        self.swap(hole, spot);
    }

    fn add_piece(&mut self, piece: u32) {
        let Some(count) = self.counts.get(piece as usize).map(|&count| count as usize) else {
            return;
        };
        self.counts[piece as usize] += 1;
        if self.place[piece as usize] != OUT {
            self.grow_ends(count + 1);
            let last = self.ends[count] - 1;
            self.swap(self.place[piece as usize], last);
            self.ends[count] = last;
        }
    }

    fn remove_piece(&mut self, piece: u32) {
        let Some(count) = self.counts.get(piece as usize).map(|&count| count as usize) else {
            return;
        };
        if count == 0 {
            return;
        }
        self.counts[piece as usize] -= 1;
        if self.place[piece as usize] != OUT {
            let first = self.ends[count - 1];
            self.swap(self.place[piece as usize], first);
            self.ends[count - 1] += 1;
        }
    }

    fn pooled_count(&self, piece: u32) -> Option<usize> {
        let place = *self.place.get(piece as usize)?;
        (place != OUT).then(|| self.counts[piece as usize] as usize)
    }

    fn grow_ends(&mut self, count: usize) {
        while self.ends.len() <= count {
            self.ends.push(self.order.len() as u32);
        }
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.order.swap(a as usize, b as usize);
        self.place[self.order[a as usize] as usize] = a;
        self.place[self.order[b as usize] as usize] = b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(len: u32, pieces: &[u32]) -> Bitfield {
        let mut out = Bitfield::new(len);
        pieces.iter().for_each(|&p| out.set(p));
        out
    }

    fn check(picker: &Picker) {
        for pair in picker.order.windows(2) {
            assert!(picker.counts[pair[0] as usize] <= picker.counts[pair[1] as usize]);
        }
        for (at, &piece) in picker.order.iter().enumerate() {
            assert_eq!(picker.place[piece as usize], at as u32);
        }
        for (count, &end) in picker.ends.iter().enumerate() {
            let up_to =
                picker.order.iter().filter(|&&p| picker.counts[p as usize] <= count as u32).count();
            assert_eq!(end as usize, up_to, "bucket {count}");
        }
    }

    #[test]
    fn takes_the_rarest_that_the_peer_has() {
        let mut picker = Picker::new(4, &Bitfield::new(4), Rng::new(&[1; 32]));
        picker.add_peer(&set(4, &[0, 1, 2]));
        picker.add_peer(&set(4, &[0, 1]));
        picker.add_peer(&set(4, &[0]));
        check(&picker);
        assert_eq!(picker.take_rarest(&set(4, &[0, 1])), Some(1));
        assert_eq!(picker.take_rarest(&Bitfield::full(4)), Some(3));
        check(&picker);
        picker.put_back(1);
        check(&picker);
        assert_eq!(picker.take_rarest(&set(4, &[0, 1, 3])), Some(1));
        assert_eq!(picker.take_rarest(&set(4, &[3])), None);
    }

    #[test]
    fn a_peer_that_completes_becomes_a_seed() {
        let mut picker = Picker::new(3, &Bitfield::new(3), Rng::new(&[1; 32]));
        let mut has = set(3, &[0, 1]);
        picker.add_peer(&has);
        has.set(2);
        picker.peer_has(&has, 2);
        check(&picker);
        assert_eq!((picker.seeds, &picker.counts[..]), (1, &[0, 0, 0][..]));
        picker.remove_peer(&has);
        assert_eq!(picker.seeds, 0);
    }

    #[test]
    fn ties_are_random() {
        let first = |seed| {
            let mut picker = Picker::new(50, &Bitfield::new(50), Rng::new(&[seed; 32]));
            picker.add_peer(&Bitfield::full(50));
            picker.take_rarest(&Bitfield::full(50))
        };
        let distinct: std::collections::BTreeSet<_> = (0..20).map(first).collect();
        assert!(distinct.len() > 10, "{distinct:?}");
    }

    #[test]
    fn random_work_keeps_the_order() {
        let mut rng = Rng::new(&[9; 32]);
        let mut picker = Picker::new(40, &set(40, &[3]), Rng::new(&[2; 32]));
        let mut peers: Vec<Bitfield> = Vec::new();
        for _ in 0..2000 {
            match rng.below(6) {
                0 => {
                    let mut has = Bitfield::new(40);
                    (0..40).filter(|_| rng.chance(0.5)).for_each(|p| has.set(p));
                    picker.add_peer(&has);
                    peers.push(has);
                }
                1 if !peers.is_empty() => {
                    let has = peers.swap_remove(rng.index(peers.len()));
                    picker.remove_peer(&has);
                }
                2 if !peers.is_empty() => {
                    let at = rng.index(peers.len());
                    let piece = rng.below(40);
                    if !peers[at].get(piece) {
                        peers[at].set(piece);
                        picker.peer_has(&peers[at], piece);
                    }
                }
                3 => picker.take(rng.below(40)),
                4 => picker.put_back(rng.below(40)),
                _ => {
                    let piece = picker.random(&Bitfield::full(40));
                    piece.into_iter().for_each(|piece| picker.take(piece));
                }
            }
            check(&picker);
        }
        for piece in 0..40 {
            let has = peers.iter().filter(|has| has.get(piece)).count();
            assert_eq!((picker.seeds + picker.counts[piece as usize]) as usize, has);
        }
    }
}
