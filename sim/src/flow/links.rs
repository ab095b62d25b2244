//! Who comes, meets whom, and goes.

use super::bits;
use super::config::Leaving;
use super::policy::{ChokePolicy, PiecePolicy};
use super::state::{Edge, NONE, Stage, Swarm, What, flag};
use super::wheel::Kind;

/// Ways between two that a connection takes until both know what the other has: the dial, its answer,
/// a handshake each way.
const WAYS_TO_MEET: u64 = 4;
/// Microseconds until somebody who lost neighbours looks for others.
const LOOK_AGAIN_US: u64 = 1_000_000;

impl<P: PiecePolicy, C: ChokePolicy> Swarm<'_, P, C> {
    /// A peer is there. It looks for neighbours when all who came with it are.
    pub(super) fn start(&mut self, p: u32) {
        let pieces = self.config.pieces;
        let peer = &mut self.peers[p as usize];
        peer.stage = Stage::Here;
        if p < self.config.seeds {
            (peer.is_seed, peer.count, peer.begun) = (true, pieces, pieces);
            bits::fill(self.maps.of_mut(p), pieces);
            bits::fill(self.busy_of(p), pieces);
        }
        self.standing[p as usize] = self.present.len() as u32;
        self.present.push(p);
        self.post(p, p, self.now + 1, Kind::Dial, What::default());
        let round = self.config.client.choke_round.as_micros() as u64;
        self.post(p, p, self.now + round, Kind::Round, What::default());
    }

    /// A peer dials half of the degree when it comes; later as many as it has fewer links than that.
    pub(super) fn dial(&mut self, p: u32, is_first: bool) {
        if self.peers[p as usize].stage != Stage::Here {
            return;
        }
        let half = self.half() as u16;
        let links = if is_first { 0 } else { self.minds[p as usize].links };
        let mut wanted = half.saturating_sub(links);
        if self.present.len() <= self.stride / 2 + 1 {
            let all: Vec<u32> = self.present.iter().copied().filter(|&q| q != p).collect();
            all.into_iter().for_each(|q| _ = self.meet(p, q));
            return;
        }
        // Who has many links already counts as dialled in vain.
        for _ in 0..8 * self.config.degree {
            if wanted == 0 {
                break;
            }
            let at = self.peers[p as usize].draw.below(self.present.len() as u32);
            let q = self.present[at as usize];
            wanted -= u16::from(q != p && self.meet(p, q));
        }
    }

    /// A free slot of a peer.
    fn free_slot(&self, p: u32) -> Option<u16> {
        let slots = self.peers[p as usize].slots;
        let mut used = 0..slots;
        let free = used.find(|&slot| self.edges[self.edge_at(p, slot)].to == self.config.peers);
        free.or_else(|| ((slots as usize) < self.stride).then_some(slots))
    }

    /// `p` dials `q`, unless they know each other or one of them has no place.
    fn meet(&mut self, p: u32, q: u32) -> bool {
        let start = self.edge_at(p, 0);
        if self.to[start..start + self.peers[p as usize].slots as usize].contains(&q) {
            return false;
        }
        let (Some(ours), Some(theirs)) = (self.free_slot(p), self.free_slot(q)) else {
            return false;
        };
        let latency = self.latency_of(p, q);
        for (a, slot, b, back) in [(p, ours, q, theirs), (q, theirs, p, ours)] {
            let e = self.edge_at(a, slot);
            (self.to[e], self.latency[e], self.wants[e]) = (b, latency, NONE);
            self.edges[e] = Edge { to: b, latency, back, current: NONE, ..Edge::default() };
            let peer = &mut self.peers[a as usize];
            peer.slots = peer.slots.max(slot + 1);
            self.minds[a as usize].links += 1;
        }
        let at = self.now + WAYS_TO_MEET * u64::from(latency);
        self.post(p, q, at, Kind::Link, What { slot: theirs, piece: 0, blocks: 0 });
        true
    }

    /// `p` and the other end of `slot` know each other.
    pub(super) fn link(&mut self, p: u32, from: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        if self.edges[e].to != from || self.edges[e].flags & flag::UP != 0 {
            return;
        }
        let ends = [(p, slot, from), (from, self.edges[e].back, p)];
        self.sum_pairs();
        for (a, slot, b) in ends {
            let e = self.edge_at(a, slot);
            // Who has pieces when they meet allows a few.
            let fast = self.peers[b as usize].count > 0 && !self.is_complete(a);
            self.edges[e].flags = flag::UP | if fast { flag::FAST } else { 0 };
            self.edges[e].since = self.now;
            self.tally.pairs += u64::from(!self.is_complete(a));
        }
        for (a, slot, _) in ends {
            if !self.is_complete(a) {
                self.look(a, slot);
                self.fill(a, slot);
            }
        }
    }

    /// Sets what `p` wants of a neighbour, and tells it if that changes whether there is anything.
    pub(super) fn set_want(&mut self, p: u32, slot: u16, piece: u32) {
        let e = self.edge_at(p, slot);
        let old = std::mem::replace(&mut self.wants[e], piece);
        if (old == NONE) == (piece == NONE) {
            return;
        }
        self.sum_pairs();
        if piece == NONE {
            self.tally.wanting -= 1;
        } else {
            self.tally.wanting += 1;
        }
        self.tell(p, slot, Kind::Interest, 0, 0);
    }

    /// Looks whether a neighbour has anything that `p` lacks: best something that is not begun, which
    /// stays so for longer.
    pub(super) fn look(&mut self, p: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        let (q, latency) = (self.edges[e].to, self.edges[e].latency);
        let words = self.maps.words;
        self.candidates.copy_from_slice(self.maps.of(q));
        self.maps.hide_late(q, self.now, latency, &mut self.candidates);
        let busy = &self.busy[p as usize * words..(p as usize + 1) * words];
        let start = self.peers[p as usize].draw.below(words as u32) as usize;
        let first = |taken: &[u64]| {
            let order = (start..words).chain(0..start);
            order.map(|at| (at, self.candidates[at] & !taken[at])).find(|(_, word)| *word != 0)
        };
        let found = first(busy).or_else(|| first(self.maps.of(p)));
        let piece = found.map_or(NONE, |(at, word)| at as u32 * 64 + word.trailing_zeros());
        self.set_want(p, slot, piece);
        if piece == NONE {
            self.listen(p, slot, true);
        }
    }

    /// Whether `p` is to hear of the neighbour's next piece.
    pub(super) fn listen(&mut self, p: u32, slot: u16, wanted: bool) {
        let e = self.edge_at(p, slot);
        if (self.edges[e].flags & flag::LISTENS != 0) == wanted {
            return;
        }
        self.edges[e].flags ^= flag::LISTENS;
        let (q, back) = (self.edges[e].to, self.edges[e].back);
        let other = self.edge_at(q, back);
        self.edges[other].flags ^= flag::HEARS;
        let hearers = &mut self.peers[q as usize].hearers;
        *hearers = if wanted { *hearers + 1 } else { *hearers - 1 };
    }

    /// `p` has all.
    pub(super) fn complete(&mut self, p: u32) {
        self.sum_pairs();
        self.minds[p as usize].finished = Some(self.now);
        self.tally.waiting -= 1;
        for slot in self.slots(p) {
            if self.is_up(p, slot) {
                self.tally.pairs -= 1;
                self.set_want(p, slot, NONE);
                self.listen(p, slot, false);
            }
        }
        let stay = match self.config.leaving {
            Leaving::Stay => return,
            Leaving::AtOnce => 1,
            Leaving::Dwell(mean) => {
                let unit = self.peers[p as usize].draw.unit();
                1 + (-libm::log(1.0 - unit) * mean.as_micros() as f64) as u64
            }
        };
        self.post(p, p, self.now + stay, Kind::Leave, What::default());
    }

    /// `p` goes. Its neighbours see its connections end at once.
    pub(super) fn go(&mut self, p: u32) {
        self.sum_pairs();
        for slot in self.slots(p) {
            if self.edges[self.edge_at(p, slot)].to != self.config.peers {
                self.part(p, slot);
            }
        }
        let peer = &mut self.peers[p as usize];
        (peer.stage, peer.hearers) = (Stage::Gone, 0);
        self.minds[p as usize].left = Some(self.now);
        self.maps.clear(p);
        let at = self.standing[p as usize];
        self.present.swap_remove(at as usize);
        if let Some(&moved) = self.present.get(at as usize) {
            self.standing[moved as usize] = at;
        }
    }

    /// The link `slot` of `p` ends.
    fn part(&mut self, p: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        let (q, back) = (self.edges[e].to, self.edges[e].back);
        let ends = [(p, slot, e), (q, back, self.edge_at(q, back))];
        let is_up = self.edges[e].flags & flag::UP != 0;
        if is_up {
            // What one owes is not sent, and is free for others.
            for ((a, slot, _), (b, _, _)) in [(ends[1], ends[0]), (ends[0], ends[1])] {
                for (piece, blocks) in self.take_back(a, slot, |_| false) {
                    self.give_back(b, piece, blocks);
                }
            }
            ends.into_iter().for_each(|(a, slot, e)| self.forget(a, slot, e));
        }
        for (_, _, e) in ends {
            self.to[e] = self.config.peers;
            self.edges[e] = Edge { to: self.config.peers, ..Edge::default() };
        }
        for (a, _, _) in ends {
            let links = &mut self.minds[a as usize].links;
            *links -= 1;
            if usize::from(*links) + 1 == self.half() {
                let what = What { blocks: 1, ..What::default() };
                self.post(a, a, self.now + LOOK_AGAIN_US, Kind::Dial, what);
            }
        }
        if is_up {
            ends.into_iter().for_each(|(a, _, _)| self.refill(a));
        }
    }

    /// Takes what `p` thought of the other end of a link out of its sums.
    fn forget(&mut self, p: u32, slot: u16, e: usize) {
        self.minds[p as usize].choker.leave(slot.into());
        if !self.is_complete(p) {
            self.tally.pairs -= 1;
            if std::mem::replace(&mut self.wants[e], NONE) != NONE {
                self.tally.wanting -= 1;
            }
        }
        if self.edges[e].flags & flag::HEARS != 0 {
            self.peers[p as usize].hearers -= 1;
        }
    }

    /// Links that a peer dials when it comes.
    fn half(&self) -> usize {
        (self.config.degree as usize / 2).min(self.stride)
    }

    /// The link of `p` that is idle for the longest, first of those over which nobody wants anything, as
    /// the client chooses it.
    fn idle(&self, p: u32) -> Option<u16> {
        let patience = self.config.client.idle_max.as_micros() as u64;
        let of = |slot: u16| {
            let edge = &self.edges[self.edge_at(p, slot)];
            if edge.flags & flag::UP == 0 {
                return None;
            }
            let other = &self.edges[self.edge_at(edge.to, edge.back)];
            let wants =
                edge.flags & flag::INTERESTED != 0 || self.wants[self.edge_at(p, slot)] != NONE;
            let used = edge.since.max(edge.last).max(other.last);
            let is_idle = self.now - used >= if wants { 3 * patience } else { patience };
            is_idle.then_some((wants, used, slot))
        };
        self.slots(p).filter_map(of).min().map(|(_, _, slot)| slot)
    }

    /// A leech all of whose places are taken dials somebody for that of an idle link, now and then; who is
    /// dialled and full makes place as well.
    pub(super) fn turn_over(&mut self, p: u32) {
        let mind = &self.minds[p as usize];
        let full = usize::from(mind.links) == self.stride && self.half() == self.stride;
        let others = self.present.len() > self.stride + 1;
        if !full || !others || self.is_complete(p) || self.now < mind.turnover {
            return;
        }
        let Some(slot) = self.idle(p) else { return };
        let at = self.peers[p as usize].draw.below(self.present.len() as u32);
        let q = self.present[at as usize];
        let start = self.edge_at(p, 0);
        if q == p || self.to[start..start + self.stride].contains(&q) {
            return;
        }
        let gap = self.config.client.turnover_gap.as_micros() as u64;
        self.minds[p as usize].turnover = self.now + gap;
        if self.free_slot(q).is_none() {
            let Some(theirs) = self.idle(q) else { return };
            self.sum_pairs();
            self.part(q, theirs);
        }
        if self.free_slot(p).is_none() {
            self.sum_pairs();
            self.part(p, slot);
        }
        self.meet(p, q);
    }
}
