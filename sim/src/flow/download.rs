//! What a peer asks for, and what comes.

use super::bits;
use super::draw::Draw;
use super::policy::{ChokePolicy, PiecePolicy, PieceView};
use super::state::{AGAIN, NONE, Partial, Stage, Swarm, What, flag};
use super::uplink::Transfer;
use super::wheel::{Event, Kind};

/// Bytes of a `have` (BEP 3).
const HAVE_LEN: u64 = 9;
/// Bytes of a `request` (BEP 3).
const REQUEST_LEN: u64 = 17;

impl<P: PiecePolicy, C: ChokePolicy> Swarm<'_, P, C> {
    /// Blocks that may be asked of a neighbour at a time: twice what it gives in two round trips and
    /// the slack, as the client's window.
    fn window(&self, e: usize) -> u32 {
        let client = &self.config.client;
        let start = client.request_window_start as u32;
        let edge = &self.edges[e];
        if edge.gap == 0 {
            return start;
        }
        let span = client.request_slack.as_micros() as u64 + 4 * u64::from(self.edges[e].latency);
        let given = (span / u64::from(edge.gap)) as u32;
        (2 * given).max(start).min(client.reqq_default as u32)
    }

    /// Whether as much is asked of a neighbour as its window takes.
    fn is_full(&self, e: usize) -> bool {
        let asked = u32::from(self.edges[e].asked);
        asked > 0 && asked + u32::from(self.unit) > self.window(e)
    }

    /// Asks a neighbour for as much as its window takes.
    pub(super) fn fill(&mut self, p: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        if self.edges[e].flags & flag::UP == 0 || self.is_complete(p) {
            return;
        }
        self.edges[e].flags &= !flag::DRY;
        let may_ask = self.edges[e].flags & (flag::ASKS | flag::FAST) != 0;
        let hungry = may_ask && self.ask(p, slot) && self.edges[e].flags & flag::ASKS != 0;
        self.peers[p as usize].starved |= hungry;
        self.listen(p, slot, hungry || self.wants[e] == NONE);
    }

    /// As [`Swarm::fill`], where nothing came to be free since: not of a neighbour that had nothing and
    /// still owes something. Of its next piece we hear, and what becomes free fills all.
    fn fill_on(&mut self, p: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        let idle = self.edges[e].flags & flag::DRY != 0
            && self.edges[e].flags & flag::LISTENS != 0
            && self.edges[e].asked > 0
            && !self.is_full(e);
        if !idle || !self.peers[p as usize].partials.is_empty() {
            self.fill(p, slot);
        }
    }

    /// Asks a neighbour until its window is full; true if before that nothing is left to ask for.
    fn ask(&mut self, p: u32, slot: u16) -> bool {
        let e = self.edge_at(p, slot);
        loop {
            if self.is_full(e) {
                return false;
            }
            let Some((piece, blocks)) = self.pick(p, slot) else { return true };
            self.request(p, slot, piece, blocks);
        }
    }

    /// Asks all neighbours again, after some found nothing.
    pub(super) fn refill(&mut self, p: u32) {
        if !std::mem::take(&mut self.peers[p as usize].starved) {
            return;
        }
        for slot in self.slots(p) {
            if self.edges[self.edge_at(p, slot)].flags & flag::ASKS != 0 {
                self.fill(p, slot);
            }
        }
    }

    fn request(&mut self, p: u32, slot: u16, piece: u32, blocks: u16) {
        let e = self.edge_at(p, slot);
        self.edges[e].asked += blocks;
        let (q, back) = (self.edges[e].to, self.edges[e].back);
        let ready =
            self.peers[p as usize].up.turn_at(self.now, slot) + u64::from(self.edges[e].latency);
        let flags = self.edges[self.edge_at(q, back)].flags;
        if flags & flag::UNCHOKED == 0 && !self.is_fast(p, slot, piece) {
            // It was choked meanwhile, and does not know it yet.
            let at = ready + u64::from(self.edges[e].latency);
            return self.post(q, p, at, Kind::Rejected, What { slot, piece, blocks });
        }
        let transfer = Transfer { piece, blocks, ready };
        if let Some(at) = self.peers[q as usize].up.push(self.now, back, transfer) {
            self.post(p, q, at, Kind::Wake, What { slot: back, piece, blocks });
        }
    }

    /// The pieces that `p` is allowed while it is choked: the same at all neighbours, as BEP 6 makes
    /// them of its address.
    pub(super) fn fast_pieces(&self, p: u32) -> impl Iterator<Item = u32> + use<P, C> {
        let mut draw =
            Draw::new(self.config.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(p));
        let pieces = self.config.pieces;
        (0..self.config.allowed_fast).map(move |_| draw.below(pieces))
    }

    /// Whether the other end of a link answers `p` for `piece` though it chokes it.
    pub(super) fn is_fast(&self, p: u32, slot: u16, piece: u32) -> bool {
        self.edges[self.edge_at(p, slot)].flags & flag::FAST != 0
            && self.fast_pieces(p).any(|fast| fast == piece & !AGAIN)
    }

    /// What to ask of a neighbour next, as the client picks: the piece that it is at, a begun one, a
    /// new one, and in the end game a block that others owe.
    fn pick(&mut self, p: u32, slot: u16) -> Option<(u32, u16)> {
        let e = self.edge_at(p, slot);
        let (q, latency) = (self.edges[e].to, self.edges[e].latency);
        if self.edges[e].flags & flag::ASKS == 0 {
            let words = self.maps.words;
            let busy = &self.busy[p as usize * words..(p as usize + 1) * words];
            let piece = self.fast_pieces(p).find(|&piece| {
                (!bits::get(busy, piece) || self.is_open(p, piece))
                    && self.maps.knows(q, piece, self.now, latency)
            })?;
            return Some((piece, self.take(p, slot, piece)));
        }
        if !self.peers[p as usize].partials.is_empty() {
            let current = self.edges[e].current;
            let open = |piece| self.is_open(p, piece);
            let piece = if current != NONE && open(current) {
                Some(current)
            } else {
                let partials = self.peers[p as usize].partials.iter();
                let is_known = |piece: &u32| self.maps.knows(q, *piece, self.now, latency);
                partials.filter(|o| o.free > 0).map(|o| o.piece).filter(is_known).min()
            };
            if let Some(piece) = piece {
                return Some((piece, self.take(p, slot, piece)));
            }
        }
        match self.pick_new(p, slot) {
            Some(piece) => Some((piece, self.take(p, slot, piece))),
            None if self.edges[e].asked == 0 => self.pick_again(p, slot),
            None => None,
        }
    }

    fn is_open(&self, p: u32, piece: u32) -> bool {
        self.peers[p as usize].partials.iter().any(|open| open.piece == piece && open.free > 0)
    }

    /// Asks the policy for a piece that is not begun.
    fn pick_new(&mut self, p: u32, slot: u16) -> Option<u32> {
        let e = self.edge_at(p, slot);
        let words = self.maps.words;
        let (q, latency) = (self.edges[e].to, self.edges[e].latency);
        let busy = &self.busy[p as usize * words..(p as usize + 1) * words];
        let mut any = 0;
        for ((out, has), busy) in self.candidates.iter_mut().zip(self.maps.of(q)).zip(busy) {
            *out = has & !busy;
            any |= *out;
        }
        if any == 0 {
            self.edges[e].flags |= flag::DRY;
            return None;
        }
        self.maps.hide_late(q, self.now, latency, &mut self.candidates);
        if self.candidates.iter().all(|word| *word == 0) {
            return None;
        }
        let start = p as usize * self.stride;
        let peer = &mut self.peers[p as usize];
        let end = start + peer.slots as usize;
        let mut view = PieceView {
            peer: p,
            neighbour: q,
            have: peer.count,
            draw: &mut peer.draw,
            now: self.now,
            candidates: &mut self.candidates,
            counts: &mut self.counts,
            maps: &self.maps,
            neighbours: (&self.to[start..end], &self.latency[start..end]),
        };
        let policy = self.policy;
        let piece = policy.pick(&mut view)?;
        let may = |p: u32| p < self.config.pieces && self.maps.knows(q, p, self.now, latency);
        assert!(may(piece) && !bits::get(busy, piece), "a policy picked {piece}, no candidate");
        Some(piece)
    }

    /// Takes a transfer of `piece`, and begins it if it is not begun.
    fn take(&mut self, p: u32, slot: u16, piece: u32) -> u16 {
        let e = self.edge_at(p, slot);
        let (unit, whole) = (self.unit, self.cut.blocks);
        let busy = self.busy_of(p);
        if !bits::get(busy, piece) {
            bits::insert(busy, piece);
            let peer = &mut self.peers[p as usize];
            peer.begun += 1;
            if unit < whole {
                let free = whole - unit;
                peer.partials.push(Partial { piece, missing: whole, free, again: false });
                self.edges[e].current = piece;
            }
            return unit;
        }
        self.edges[e].current = piece;
        let mut partials = self.peers[p as usize].partials.iter_mut();
        let Some(open) = partials.find(|open| open.piece == piece) else { return 0 };
        let blocks = open.free.min(unit);
        open.free -= blocks;
        self.tally.split += 1;
        blocks
    }

    /// End game: a block that others were asked for, once nothing is left to begin that any neighbour
    /// has. The lowest begun piece that this one has, one block at a time.
    fn pick_again(&mut self, p: u32, slot: u16) -> Option<(u32, u16)> {
        let e = self.edge_at(p, slot);
        let words = self.maps.words;
        let busy = &self.busy[p as usize * words..(p as usize + 1) * words];
        if self.peers[p as usize].begun < self.config.pieces {
            let start = p as usize * self.stride;
            let all = &self.to[start..start + self.peers[p as usize].slots as usize];
            let new =
                |q: &u32| self.maps.of(*q).iter().zip(busy).any(|(has, busy)| has & !busy != 0);
            if all.iter().any(new) {
                return None;
            }
        }
        let (q, latency) = (self.edges[e].to, self.edges[e].latency);
        let (theirs, ours) = (self.maps.of(q), self.maps.of(p));
        for (at, out) in self.candidates.iter_mut().enumerate() {
            *out = theirs[at] & busy[at] & !ours[at];
        }
        self.maps.hide_late(q, self.now, latency, &mut self.candidates);
        let piece = bits::lowest(&self.candidates)?;
        let whole = self.cut.blocks;
        self.tally.split += 1;
        let partials = &mut self.peers[p as usize].partials;
        match partials.iter_mut().find(|open| open.piece == piece) {
            Some(open) => open.again = true,
            None => partials.push(Partial { piece, missing: whole, free: 0, again: true }),
        }
        Some((piece | AGAIN, 1))
    }

    /// A neighbour will not send `blocks` of `piece`: they are free for others.
    pub(super) fn give_back(&mut self, p: u32, piece: u32, blocks: u16) {
        if piece & AGAIN != 0 || bits::get(self.maps.of(p), piece) {
            return;
        }
        let whole = self.cut.blocks;
        let peer = &mut self.peers[p as usize];
        let at = peer.partials.iter().position(|open| open.piece == piece);
        let ends = match at {
            Some(at) => {
                let open = &mut peer.partials[at];
                open.free = (open.free + blocks).min(open.missing);
                let ends = open.free == whole && !open.again;
                if ends {
                    peer.partials.swap_remove(at);
                }
                ends
            }
            None if blocks == whole => true,
            None => {
                peer.partials.push(Partial { piece, missing: whole, free: blocks, again: false });
                false
            }
        };
        if ends {
            peer.begun -= 1;
            bits::remove(self.busy_of(p), piece);
        }
    }

    /// Blocks will not come.
    pub(super) fn rejected(&mut self, event: Event) {
        let Event { to: p, from, slot, piece, blocks, .. } = event;
        let e = self.edge_at(p, slot);
        if self.edges[e].to != from || self.is_complete(p) {
            return;
        }
        self.edges[e].asked = self.edges[e].asked.saturating_sub(blocks);
        self.give_back(p, piece, blocks);
        self.refill(p);
        self.fill(p, slot);
    }

    /// The other end choked or unchoked `p`.
    pub(super) fn choked(&mut self, p: u32, from: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        if self.edges[e].to != from {
            return;
        }
        let other = self.edge_at(from, self.edges[e].back);
        let unchoked = self.edges[other].flags & flag::UNCHOKED != 0;
        self.note(p, from, Kind::Choked, u64::from(unchoked));
        if !unchoked {
            self.edges[e].flags &= !flag::ASKS;
            self.edges[e].current = NONE;
            self.refill(p);
            self.listen(p, slot, self.wants[e] == NONE && !self.is_complete(p));
        } else if self.edges[e].flags & flag::ASKS == 0 {
            self.edges[e].flags |= flag::ASKS;
            self.fill(p, slot);
        }
    }

    /// A neighbour told of a piece that `p` waited for.
    pub(super) fn have(&mut self, p: u32, from: u32, slot: u16, piece: u32) {
        let e = self.edge_at(p, slot);
        if self.edges[e].to != from || self.is_complete(p) {
            return;
        }
        if self.wants[e] == NONE && !bits::get(self.maps.of(p), piece) {
            self.set_want(p, slot, piece);
        }
        if bits::get(self.busy_of(p), piece) {
            self.fill_on(p, slot);
        } else {
            self.fill(p, slot);
        }
    }

    /// Blocks are through the downlink.
    pub(super) fn arrive(&mut self, event: Event) {
        let Event { to: p, from, slot, piece, blocks, .. } = event;
        if self.peers[p as usize].stage == Stage::Gone {
            return;
        }
        let e = self.edge_at(p, slot);
        let is_linked = self.edges[e].to == from;
        if is_linked {
            let now = self.now;
            let edge = &mut self.edges[e];
            edge.asked = edge.asked.saturating_sub(blocks);
            edge.got = edge.got.saturating_add(u32::from(blocks) * self.cut.block_len as u32);
            let gap = ((now - edge.last) / u64::from(blocks)).min(u64::from(u32::MAX) / 4) as u32;
            edge.gap = match (edge.last, edge.gap) {
                (0, _) => 0,
                (_, 0) => gap,
                (_, old) => (3 * old + gap) / 4,
            };
            edge.last = now;
        }
        let useful = self.land(p, piece, blocks);
        self.minds[p as usize].wasted += u64::from(blocks - useful);
        self.tally.transfers += 1;
        self.note(p, from, Kind::Arrive, u64::from(piece) << 20 | u64::from(blocks));
        if is_linked {
            self.fill_on(p, slot);
        }
    }

    /// Puts blocks to their piece: how many of them were of use.
    fn land(&mut self, p: u32, piece: u32, blocks: u16) -> u16 {
        let (again, piece) = (piece & AGAIN != 0, piece & !AGAIN);
        if bits::get(self.maps.of(p), piece) {
            return 0;
        }
        let whole = self.cut.blocks;
        let busy = self.busy_of(p);
        let begun = bits::get(busy, piece);
        bits::insert(busy, piece);
        let peer = &mut self.peers[p as usize];
        peer.begun += u32::from(!begun);
        let at = peer.partials.iter().position(|open| open.piece == piece);
        let Some(at) = at else {
            if blocks < whole {
                let missing = whole - blocks;
                // Of a neighbour that is gone, after its blocks were given back.
                let free = if begun { 0 } else { missing };
                peer.partials.push(Partial { piece, missing, free, again: false });
            } else {
                self.on_piece(p, piece);
            }
            return blocks;
        };
        let open = &mut peer.partials[at];
        let useful = blocks.min(open.missing);
        open.missing -= useful;
        open.free = open.free.min(open.missing);
        let open = *open;
        if open.missing == 0 {
            peer.partials.swap_remove(at);
        }
        if open.again && (again || open.missing == 0) {
            self.cancel(p, piece, if open.missing == 0 { u16::MAX } else { 1 });
        }
        if open.missing == 0 {
            self.on_piece(p, piece);
        }
        useful
    }

    /// Tells those that were asked for blocks of `piece` too that `blocks` of them are here.
    fn cancel(&mut self, p: u32, piece: u32, blocks: u16) {
        for slot in self.slots(p) {
            let e = self.edge_at(p, slot);
            if self.edges[e].asked == 0 || self.edges[e].flags & flag::UP == 0 {
                continue;
            }
            let (other, back) = (self.edges[e].to as usize, self.edges[e].back);
            if self.peers[other].up.owes(back, piece) {
                self.tell(p, slot, Kind::Cancel, piece, blocks);
            }
            if self.peers[other].up.owes(back, piece | AGAIN) && blocks > 1 {
                self.tell(p, slot, Kind::Cancel, piece | AGAIN, 1);
            }
        }
    }

    /// `p` has a piece.
    fn on_piece(&mut self, p: u32, piece: u32) {
        let peer = &mut self.peers[p as usize];
        peer.count += 1;
        self.tally.pieces += 1;
        let links = u64::from(self.minds[p as usize].links);
        let told = links * HAVE_LEN + u64::from(self.cut.blocks) * REQUEST_LEN;
        peer.up.delay(told * 1_000_000 / peer.access.up_bytes_per_second);
        // It leaves behind the blocks whose turn it is.
        let leaves = peer.up.turn_at(self.now, u16::MAX);
        self.maps.add(p, piece, leaves);
        let start = self.edge_at(p, 0);
        for slot in self.slots(p) {
            if self.wants[start + slot as usize] == piece {
                self.look(p, slot);
            }
        }
        if self.peers[p as usize].hearers > 0 {
            self.tell_hearers(p, piece, leaves);
        }
        if self.is_complete(p) {
            self.complete(p);
        }
    }
    /// Tells those of a piece who wait for one, and to whom it may be of use; it leaves at `leaves`.
    fn tell_hearers(&mut self, p: u32, piece: u32, leaves: u64) {
        let words = self.maps.words;
        for slot in self.slots(p) {
            let e = self.edge_at(p, slot);
            let edge = &self.edges[e];
            if edge.flags & flag::HEARS == 0 {
                continue;
            }
            let (q, back) = (self.edges[e].to, edge.back);
            let busy = &self.busy[q as usize * words..(q as usize + 1) * words];
            let wants_none = || self.wants[self.edge_at(q, back)] == NONE;
            if bits::get(busy, piece) && (bits::get(self.maps.of(q), piece) || !wants_none()) {
                continue;
            }
            let at = leaves + u64::from(self.edges[e].latency);
            self.post(p, q, at, Kind::Have, What { slot: back, piece, blocks: 0 });
        }
    }
}
