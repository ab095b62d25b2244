//! What will happen, in an order that does not depend on who told first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// A peer is there.
    Start,
    /// It looks for neighbours.
    Dial,
    /// It goes.
    Leave,
    /// Two are connected.
    Link,
    /// Its next choke round is due.
    Round,
    /// A transfer of its uplink is through.
    Uplink,
    /// A request is here.
    Wake,
    /// Blocks are through its downlink.
    Arrive,
    /// A neighbour told of a piece.
    Have,
    /// A neighbour began or ceased to want something.
    Interest,
    /// A neighbour choked or unchoked it.
    Choked,
    /// A neighbour will not send blocks.
    Rejected,
    /// A neighbour no longer wants blocks.
    Cancel,
}

/// Something that will happen to a peer. Events are worked off in the order of their fields; a
/// sender's count is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Event {
    /// When it happens, in microseconds.
    pub(super) at: u64,
    /// To which peer.
    pub(super) to: u32,
    /// From whom.
    pub(super) from: u32,
    /// The sender's own count.
    pub(super) n: u32,
    /// What.
    pub(super) kind: Kind,
    /// Which of the receiver's links.
    pub(super) slot: u16,
    /// Which piece, or the version of the uplink.
    pub(super) piece: u32,
    /// How many blocks.
    pub(super) blocks: u16,
}

/// Microseconds of a tick, as a power of two: 256 µs.
const TICK_BITS: u32 = 8;

/// Ticks in the ring: 4.2 s, more than most transfers take.
const RING: usize = 1 << 14;

/// A calendar queue: the current tick in order, a heap for what is added to it, a ring of unsorted
/// ticks after it, and a heap for what is later than those.
pub(super) struct Wheel {
    tick: u64,
    /// The current tick, the last to come first.
    current: Vec<Event>,
    added: BinaryHeap<Reverse<Event>>,
    ring: Vec<Vec<Event>>,
    ring_len: usize,
    far: BinaryHeap<Reverse<Event>>,
    /// Room of ticks that are over, for others.
    spare: Vec<Vec<Event>>,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        Wheel {
            tick: 0,
            current: Vec::new(),
            added: BinaryHeap::new(),
            ring: vec![Vec::new(); RING],
            ring_len: 0,
            far: BinaryHeap::new(),
            spare: Vec::new(),
        }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: Event) {
        let tick = event.at >> TICK_BITS;
        if tick <= self.tick {
            self.added.push(Reverse(event));
        } else if tick - self.tick < RING as u64 {
            let bucket = &mut self.ring[tick as usize % RING];
            if bucket.capacity() == 0 {
                *bucket = self.spare.pop().unwrap_or_default();
            }
            bucket.push(event);
            self.ring_len += 1;
        } else {
            self.far.push(Reverse(event));
        }
    }

    /// Takes the first event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        while self.current.is_empty() && self.added.is_empty() {
            self.next_tick()?;
        }
        match (self.current.last(), self.added.peek()) {
            (Some(event), Some(Reverse(added))) if added < event => {}
            (Some(_), _) => return self.current.pop(),
            (None, _) => {}
        }
        self.added.pop().map(|Reverse(event)| event)
    }

    /// Goes to the next tick in which something may happen.
    fn next_tick(&mut self) -> Option<()> {
        let far = self.far.peek().map(|Reverse(event)| event.at >> TICK_BITS);
        self.tick = match far {
            _ if self.ring_len > 0 => self.tick + 1,
            far => far?,
        };
        let bucket = std::mem::take(&mut self.ring[self.tick as usize % RING]);
        if bucket.capacity() > 0 {
            self.ring_len -= bucket.len();
            self.spare.push(std::mem::replace(&mut self.current, bucket));
        }
        self.current.sort_unstable_by(|a, b| b.cmp(a));
        while let Some(Reverse(event)) = self.far.peek().copied() {
            if event.at >> TICK_BITS > self.tick {
                break;
            }
            self.added.push(Reverse(event));
            self.far.pop();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Draw;

    #[test]
    fn events_come_in_the_order_of_their_fields() {
        let mut draw = Draw::new(5);
        let mut wheel = Wheel::new();
        let (mut n, mut popped, mut waiting) = (0, Vec::new(), 0);
        let mut now = 0;
        while n < 20_000 || waiting > 0 {
            if n < 20_000 && (waiting == 0 || draw.below(5) < 3) {
                let span = [1, 300, 5_000, 20_000_000][draw.below(4) as usize];
                let at = now + u64::from(draw.below(span));
                n += 1;
                waiting += 1;
                let (to, from) = (draw.below(9), draw.below(9));
                wheel.push(Event {
                    at,
                    to,
                    from,
                    n,
                    kind: Kind::Wake,
                    slot: 0,
                    piece: 0,
                    blocks: 0,
                });
            } else {
                let event = wheel.pop().unwrap();
                waiting -= 1;
                now = event.at;
                popped.push(event);
            }
        }
        assert_eq!((popped.len(), wheel.pop()), (20_000, None));
        assert!(popped.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let mut all = Wheel::new();
        popped.iter().rev().for_each(|event| all.push(*event));
        popped.sort_unstable();
        assert!(popped.iter().all(|event| all.pop() == Some(*event)));
        assert_eq!(size_of::<Event>(), 32);
    }
}
