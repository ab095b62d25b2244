//! What a peer sends, and to whom.

use super::policy::{ChokePolicy, Me, Neighbour, PiecePolicy};
use super::state::{AGAIN, Stage, Swarm, What, flag};
use super::uplink::Sent;
use super::wheel::{Event, Kind};

impl<P: PiecePolicy, C: ChokePolicy> Swarm<'_, P, C> {
    /// Reckons the turns of `p`'s uplink until now.
    pub(super) fn advance(&mut self, p: u32) {
        while let Some(sent) = self.peers[p as usize].up.advance(self.now) {
            self.deliver(p, sent);
            if let Some(at) = self.peers[p as usize].up.wake_at(sent.slot) {
                let what = What { slot: sent.slot, ..What::default() };
                self.post(p, p, at, Kind::Wake, what);
            }
        }
    }

    /// Says when the next transfer of `p` is through.
    pub(super) fn schedule(&mut self, p: u32) {
        let up = &mut self.peers[p as usize].up;
        up.version = up.version.wrapping_add(1);
        let version = up.version;
        if let Some(at) = up.next() {
            self.post(p, p, at, Kind::Uplink, What { slot: 0, piece: version, blocks: 0 });
        }
    }

    /// The next transfer of `p` is through, unless something changed.
    pub(super) fn uplink(&mut self, p: u32, version: u32) {
        if self.peers[p as usize].up.version == version {
            self.advance(p);
            self.schedule(p);
        }
    }

    /// A request that `p` has may be due.
    pub(super) fn wake(&mut self, p: u32, slot: u16) {
        self.advance(p);
        if let Some(at) = self.peers[p as usize].up.wake(self.now, slot) {
            self.post(p, p, at, Kind::Wake, What { slot, ..What::default() });
        }
        self.schedule(p);
    }

    /// Blocks left: when they are through the other end's downlink, which they enter as they come.
    fn deliver(&mut self, p: u32, sent: Sent) {
        let e = self.edge_at(p, sent.slot);
        let q = self.edges[e].to;
        if q == self.config.peers || sent.blocks == 0 {
            return;
        }
        let bytes = u32::from(sent.blocks) * self.cut.block_len as u32;
        self.edges[e].sent = self.edges[e].sent.saturating_add(bytes);
        let (back, latency) = (self.edges[e].back, u64::from(self.edges[e].latency));
        let other = &mut self.peers[q as usize];
        let begin = other.down_free.max(sent.began + latency);
        other.down_free = begin + u64::from(sent.blocks) * other.down_span;
        let at = other.down_free.max(self.now + latency + other.down_span);
        let what = What { slot: back, piece: sent.piece, blocks: sent.blocks };
        self.post(p, q, at, Kind::Arrive, what);
    }

    /// A choke round.
    pub(super) fn round(&mut self, p: u32) {
        if self.peers[p as usize].stage != Stage::Here {
            return;
        }
        let me = Me { peer: p, complete: self.is_complete(p) };
        let length = self.config.client.choke_round.as_micros() as u64;
        let rate =
            |bytes: u32, span: u64| u64::from(bytes) * 1_000_000 / span.clamp(50_000, length);
        let mut all = Vec::with_capacity(self.stride);
        for slot in self.slots(p) {
            let e = self.edge_at(p, slot);
            let edge = &mut self.edges[e];
            if edge.flags & flag::UP == 0 {
                continue;
            }
            let span = self.now - edge.since;
            all.push(Neighbour {
                slot: slot.into(),
                peer: edge.to,
                interested: edge.flags & flag::INTERESTED != 0,
                down_rate: rate(std::mem::take(&mut edge.got), span),
                up_rate: rate(std::mem::take(&mut edge.sent), span),
                newcomer: span < 2 * length,
            });
        }
        let mut unchoked = Vec::new();
        let mind = &mut self.minds[p as usize];
        mind.round = self.now;
        mind.choker.round(me, &all, &mut mind.rng, &mut unchoked);
        for neighbour in &all {
            if unchoked.contains(&neighbour.slot) && neighbour.interested {
                self.unchoke(p, neighbour.slot as u16);
            } else {
                self.choke(p, neighbour.slot as u16);
            }
        }
        self.peers[p as usize].up.tidy();
        self.refill(p);
        self.turn_over(p);
        self.post(p, p, self.now + length, Kind::Round, What::default());
    }

    fn unchoke(&mut self, p: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        if self.edges[e].flags & flag::UNCHOKED == 0 {
            self.edges[e].flags |= flag::UNCHOKED;
            self.tell(p, slot, Kind::Choked, 0, 0);
        }
    }

    fn choke(&mut self, p: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        if self.edges[e].flags & flag::UNCHOKED == 0 {
            return;
        }
        self.edges[e].flags &= !flag::UNCHOKED;
        let (q, back) = (self.edges[e].to, self.edges[e].back);
        let fast: Vec<u32> = match self.edges[self.edge_at(q, back)].flags & flag::FAST {
            0 => Vec::new(),
            _ => self.fast_pieces(q).collect(),
        };
        let unsent = self.take_back(p, slot, |piece| fast.contains(&(piece & !AGAIN)));
        for (piece, blocks) in unsent {
            self.tell(p, slot, Kind::Rejected, piece, blocks);
        }
        self.tell(p, slot, Kind::Choked, 0, 0);
    }

    /// Takes back what `p` owes to a neighbour, but what `keeps` says: pieces, and how many blocks of
    /// each will not be sent. What was sent of them comes.
    pub(super) fn take_back(
        &mut self,
        p: u32,
        slot: u16,
        keeps: impl Fn(u32) -> bool,
    ) -> Vec<(u32, u16)> {
        self.advance(p);
        let (mut parts, mut unsent) = (Vec::new(), Vec::new());
        self.peers[p as usize].up.drop_stream(slot, keeps, |sent, blocks| {
            parts.push(sent);
            unsent.extend((blocks > 0).then_some((sent.piece, blocks)));
        });
        parts.into_iter().for_each(|sent| self.deliver(p, sent));
        self.schedule(p);
        unsent
    }

    /// A neighbour began or ceased to want something.
    pub(super) fn interest(&mut self, p: u32, from: u32, slot: u16) {
        let e = self.edge_at(p, slot);
        if self.edges[e].to != from {
            return;
        }
        let other = self.edge_at(from, self.edges[e].back);
        let interested = self.wants[other] != super::state::NONE;
        if interested == (self.edges[e].flags & flag::INTERESTED != 0) {
            return;
        }
        self.edges[e].flags ^= flag::INTERESTED;
        let choker = &mut self.minds[p as usize].choker;
        if !interested {
            choker.leave(slot.into());
            self.choke(p, slot);
        } else if choker.admit(slot.into()) {
            self.unchoke(p, slot);
        }
    }

    /// A neighbour no longer wants blocks; those that were not sent are rejected.
    pub(super) fn cancelled(&mut self, event: Event) {
        let Event { to: p, from, slot, piece, blocks, .. } = event;
        if self.edges[self.edge_at(p, slot)].to != from {
            return;
        }
        self.advance(p);
        let up = &mut self.peers[p as usize].up;
        let dropped = (0..blocks).take_while(|_| up.drop_block(slot, piece)).count() as u16;
        self.schedule(p);
        if dropped > 0 {
            self.tell(p, slot, Kind::Rejected, piece | AGAIN, dropped);
        }
    }
}
