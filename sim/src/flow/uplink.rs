//! A line that sends to several by turns.
//!
//! The simulator of blocks sends one block of each stream in turn, at the line's full speed. So does
//! this one, but it reckons many turns at once: an event comes only when a transfer is through.

use std::collections::VecDeque;

/// Blocks that were asked for, to be sent one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Transfer {
    pub(super) piece: u32,
    /// Blocks of it, at least 1.
    pub(super) blocks: u16,
    /// When the request is here, in microseconds.
    pub(super) ready: u64,
}

/// What is to be sent to one neighbour.
#[derive(Debug, Default)]
struct Stream {
    /// The neighbour's slot.
    slot: u16,
    /// It has a turn.
    active: bool,
    /// When the first transfer came to have turns, in microseconds.
    began: u64,
    queue: VecDeque<Transfer>,
}

/// The turn of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    slot: u16,
    /// Where the stream stands.
    place: u16,
    /// Blocks of its first transfer that are still to be sent.
    left: u16,
}

/// Turns that lie in the peer itself.
const NEAR: usize = 8;

/// Turns, the first one's block being sent. A few lie where the peer does: to look at them costs no
/// way to memory.
#[derive(Debug, Default)]
struct Turns {
    len: u16,
    near: [Turn; NEAR],
    /// All of them, while they are more.
    far: Vec<Turn>,
}

impl Turns {
    fn all(&self) -> &[Turn] {
        if self.far.is_empty() { &self.near[..self.len as usize] } else { &self.far }
    }

    fn all_mut(&mut self) -> &mut [Turn] {
        if self.far.is_empty() { &mut self.near[..self.len as usize] } else { &mut self.far }
    }

    fn push(&mut self, turn: Turn) {
        let len = self.len as usize;
        if self.far.is_empty() && len < NEAR {
            self.near[len] = turn;
        } else {
            if self.far.is_empty() {
                self.far.extend_from_slice(&self.near);
            }
            self.far.push(turn);
        }
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        let all = self.all_mut();
        all[at..].rotate_left(1);
        self.len -= 1;
        self.far.pop();
        if self.far.len() == NEAR {
            self.near.copy_from_slice(&self.far);
            self.far.clear();
        }
    }
}

/// A transfer that is through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) slot: u16,
    pub(super) piece: u32,
    pub(super) blocks: u16,
    /// When its first block began to be sent, in microseconds.
    pub(super) began: u64,
}

/// The uplink of a peer.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    /// When the block that is being sent began.
    since: u64,
    turns: Turns,
    /// Grows with every change of what happens next: older events mean nothing.
    pub(super) version: u32,
    /// Microseconds that a block takes, its header with it.
    span: u64,
    /// Microseconds that something else takes before the next turn.
    owed: u64,
    /// Blocks that were sent.
    pub(super) blocks: u64,
    streams: Vec<Stream>,
}

impl Uplink {
    /// A line on which a block takes `span` microseconds.
    pub(super) fn new(span: u64) -> Uplink {
        Uplink { span: span.max(1), ..Uplink::default() }
    }

    /// When a message for `slot` leaves that is queued now: messages take their stream's turn.
    pub(super) fn turn_at(&self, now: u64, slot: u16) -> u64 {
        let turns = u64::from(self.turns.len);
        if turns == 0 {
            return now;
        }
        // Turns may have passed that were not reckoned yet; the one that is under way is not its.
        let passed = now.saturating_sub(self.since) / self.span;
        let turn = match self.turns.all().iter().position(|turn| turn.slot == slot) {
            Some(at) => passed + 1 + (at as u64 + turns - (passed + 1) % turns) % turns,
            None => passed + turns,
        };
        self.since + turn * self.span
    }

    /// Something else takes the line for so many microseconds, once the block under way is sent.
    pub(super) fn delay(&mut self, micros: u64) {
        if self.turns.len > 0 {
            self.owed += micros;
        }
    }

    /// The turn, counted from `since`, with which the first transfer is through.
    fn through(&self) -> Option<u64> {
        let turns = u64::from(self.turns.len);
        let all = self.turns.all().iter().zip(1..);
        all.map(|(turn, nth)| u64::from(turn.left.saturating_sub(1)) * turns + nth).min()
    }

    /// When the next transfer is through, in microseconds.
    pub(super) fn next(&self) -> Option<u64> {
        Some(self.since + self.through()? * self.span)
    }

    /// Reckons the turns until `now`. Gives the transfer that is through by then, if one is; then it
    /// is to be called again.
    pub(super) fn advance(&mut self, now: u64) -> Option<Sent> {
        let through = self.through()?;
        let passed = (now.saturating_sub(self.since) / self.span).min(through);
        if passed == 0 {
            return None;
        }
        let turns = u64::from(self.turns.len);
        let (rounds, extra) = (passed / turns, (passed % turns) as usize);
        let all = self.turns.all_mut();
        for (nth, turn) in all.iter_mut().enumerate() {
            turn.left -= rounds as u16 + u16::from(nth < extra);
        }
        // Few turns of few: quicker than a call to move memory.
        for _ in 0..extra {
            (1..all.len()).for_each(|at| all.swap(at - 1, at));
        }
        self.blocks += passed;
        self.since += passed * self.span;
        if passed < through {
            return None;
        }
        let last = self.turns.len as usize - 1;
        let place = self.turns.all()[last].place;
        self.turns.remove(last);
        let stream = &mut self.streams[place as usize];
        stream.active = false;
        let first = stream.queue.pop_front()?;
        let (slot, began) = (stream.slot, stream.began);
        self.since += std::mem::take(&mut self.owed);
        self.join(self.since, place);
        Some(Sent { slot, piece: first.piece, blocks: first.blocks, began })
    }

    /// Gives the stream at `place` a turn if it has something to send. If not now, says when.
    fn join(&mut self, now: u64, place: u16) -> Option<u64> {
        let stream = &mut self.streams[place as usize];
        let first = stream.queue.front().filter(|_| !stream.active)?;
        if first.ready > now {
            return Some(first.ready);
        }
        stream.active = true;
        stream.began = now;
        let turn = Turn { slot: stream.slot, place, left: first.blocks };
        if self.turns.len == 0 {
            self.since = self.since.max(now);
        }
        self.turns.push(turn);
        None
    }

    fn place(&self, slot: u16) -> Option<usize> {
        let turn = self.turns.all().iter().find(|turn| turn.slot == slot);
        let place = turn.map(|turn| turn.place as usize);
        place.or_else(|| self.streams.iter().position(|stream| stream.slot == slot))
    }

    /// Queues a transfer. Gives the time at which to [`Uplink::wake`] the stream, if that is to be.
    pub(super) fn push(&mut self, now: u64, slot: u16, transfer: Transfer) -> Option<u64> {
        let place = self.place(slot).unwrap_or_else(|| {
            self.streams.push(Stream { slot, ..Stream::default() });
            self.streams.len() - 1
        });
        let stream = &mut self.streams[place];
        stream.queue.push_back(transfer);
        if stream.queue.len() > 1 { None } else { self.join(now, place as u16) }
    }

    /// The first transfer of a stream may be due.
    pub(super) fn wake(&mut self, now: u64, slot: u16) -> Option<u64> {
        self.place(slot).and_then(|place| self.join(now, place as u16))
    }

    /// When a stream without a turn is to be woken.
    pub(super) fn wake_at(&self, slot: u16) -> Option<u64> {
        let stream = &self.streams[self.place(slot)?];
        stream.queue.front().filter(|_| !stream.active).map(|first| first.ready)
    }

    /// Whether `slot` waits for `piece`.
    pub(super) fn owes(&self, slot: u16, piece: u32) -> bool {
        let place = self.place(slot);
        place.is_some_and(|place| self.streams[place].queue.iter().any(|t| t.piece == piece))
    }

    /// Takes back what `slot` waits for, but what `keeps` says: a block that is being sent is sent to
    /// its end. `dropped` hears of each transfer: blocks that were sent, and blocks that will not be.
    pub(super) fn drop_stream(
        &mut self,
        slot: u16,
        keeps: impl Fn(u32) -> bool,
        mut dropped: impl FnMut(Sent, u16),
    ) {
        let Some(place) = self.place(slot) else { return };
        let stream = &mut self.streams[place];
        let began = stream.began;
        let at = self.turns.all().iter().position(|turn| turn.slot == slot);
        let mut keeps_turn = false;
        for (nth, mut transfer) in std::mem::take(&mut stream.queue).into_iter().enumerate() {
            let turn = at.filter(|_| nth == 0).map(|at| (at, &mut self.turns.all_mut()[at]));
            if keeps(transfer.piece) {
                keeps_turn |= turn.is_some();
                stream.queue.push_back(transfer);
                continue;
            }
            let mut unsent = turn.as_ref().map_or(transfer.blocks, |(_, turn)| turn.left);
            let mut sent = transfer.blocks - unsent;
            if let Some((0, turn)) = turn {
                // The block that is under way is the last.
                unsent -= 1;
                transfer.blocks = sent + 1;
                turn.left = 1;
                stream.queue.push_back(transfer);
                (keeps_turn, sent) = (true, 0);
            }
            dropped(Sent { slot, piece: transfer.piece, blocks: sent, began }, unsent);
        }
        if let Some(at) = at.filter(|_| !keeps_turn) {
            stream.active = false;
            self.turns.remove(at);
            self.join(self.since, place as u16);
        }
    }

    /// Takes one block of `piece` back that was not sent yet; whether there was one.
    pub(super) fn drop_block(&mut self, slot: u16, piece: u32) -> bool {
        let Some(place) = self.place(slot) else { return false };
        let queue = &mut self.streams[place].queue;
        let Some(at) = queue.iter().position(|transfer| transfer.piece == piece) else {
            return false;
        };
        let mut turns = self.turns.all_mut().iter_mut();
        if let Some(turn) = turns.find(|turn| turn.slot == slot && at == 0) {
            // The last one is sent: what was sent of the piece comes with it.
            if turn.left == 1 {
                return false;
            }
            turn.left -= 1;
        }
        queue[at].blocks -= 1;
        if queue[at].blocks == 0 {
            queue.remove(at);
        }
        true
    }

    /// Forgets streams that have nothing to send.
    pub(super) fn tidy(&mut self) {
        let mut kept = 0;
        for place in 0..self.streams.len() {
            if self.streams[place].queue.is_empty() {
                continue;
            }
            self.streams.swap(kept, place);
            let turn = self.turns.all_mut().iter_mut().find(|turn| turn.place as usize == place);
            if let Some(turn) = turn {
                turn.place = kept as u16;
            }
            kept += 1;
        }
        self.streams.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(piece: u32, blocks: u16) -> Transfer {
        Transfer { piece, blocks, ready: 0 }
    }

    /// Runs to the end: when each piece was through.
    fn run(uplink: &mut Uplink) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        while let Some(at) = uplink.next() {
            while let Some(sent) = uplink.advance(at) {
                out.push((at, sent.piece));
            }
        }
        out
    }

    #[test]
    fn turns_are_those_of_sending_block_by_block() {
        let mut draw = super::super::draw::Draw::new(3);
        for _ in 0..200 {
            let mut uplink = Uplink::new(10);
            let mut plain: VecDeque<(u32, VecDeque<(u32, u16)>)> = VecDeque::new();
            for slot in 0..1 + draw.below(6) {
                let pieces: VecDeque<(u32, u16)> = (0..1 + draw.below(4))
                    .map(|n| (slot * 10 + n, 1 + draw.below(9) as u16))
                    .collect();
                for &(piece, blocks) in &pieces {
                    uplink.push(0, slot as u16, transfer(piece, blocks));
                }
                plain.push_back((slot, pieces));
            }
            let (mut want, mut now) = (Vec::new(), 0);
            while let Some((slot, mut pieces)) = plain.pop_front() {
                now += 10;
                pieces[0].1 -= 1;
                if pieces[0].1 == 0 {
                    want.push((now, pieces[0].0));
                    pieces.pop_front();
                }
                if !pieces.is_empty() {
                    plain.push_back((slot, pieces));
                }
            }
            // In between, somebody looks.
            let mut got = Vec::new();
            while let Some(at) = uplink.next() {
                let look = u64::from(draw.below(100));
                let to = (uplink.since + look).min(at);
                while let Some(sent) = uplink.advance(to) {
                    got.push((to, sent.piece));
                }
            }
            assert_eq!(got, want);
            assert_eq!(uplink.blocks * 10, now);
        }
    }

    #[test]
    fn a_choke_lets_the_block_under_way_through() {
        let mut uplink = Uplink::new(10);
        for slot in 0..2 {
            uplink.push(0, slot, transfer(u32::from(slot), 4));
            uplink.push(0, slot, transfer(u32::from(slot) + 10, 4));
        }
        // Slot 0 has sent 2 blocks and sends its third at 40; slot 1 has sent 2.
        assert_eq!(uplink.advance(45), None);
        let mut dropped = Vec::new();
        uplink.drop_stream(0, |_| false, |sent, unsent| dropped.push((sent.blocks, unsent)));
        assert_eq!(dropped, [(0, 1), (0, 4)]);
        dropped.clear();
        uplink.drop_stream(
            1,
            |piece| piece == 11,
            |sent, unsent| dropped.push((sent.blocks, unsent)),
        );
        assert_eq!(dropped, [(2, 2)]);
        assert_eq!(run(&mut uplink), [(50, 0), (90, 11)]);
        assert_eq!(uplink.blocks, 9);
    }

    #[test]
    fn what_is_asked_later_waits_for_its_request() {
        let mut uplink = Uplink::new(10);
        let late = Transfer { ready: 100, ..transfer(1, 2) };
        assert_eq!(uplink.push(0, 5, late), Some(100));
        assert_eq!((uplink.next(), uplink.wake_at(5)), (None, Some(100)));
        assert_eq!(uplink.wake(100, 5), None);
        assert_eq!(uplink.turn_at(105, 9), 110);
        assert_eq!(uplink.turn_at(115, 9), 120);
        assert_eq!(run(&mut uplink), [(120, 1)]);
    }

    #[test]
    fn a_block_can_be_taken_back_before_it_is_sent() {
        let mut uplink = Uplink::new(10);
        uplink.push(0, 1, transfer(1, 4));
        uplink.push(0, 1, transfer(2, 1));
        assert!(uplink.drop_block(1, 1) && uplink.drop_block(1, 2) && !uplink.drop_block(1, 2));
        assert!(!uplink.owes(1, 2) && uplink.owes(1, 1));
        assert_eq!(run(&mut uplink), [(30, 1)]);
    }
}
