//! What will happen, in an order that does not depend on who told first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wire::time::Time;

/// Something that will happen to a host. Events are worked off in the order of their fields, so
/// for one host it follows from its own past and that of the senders alone: two workers that share
/// the hosts see what one sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Event {
    /// When it happens.
    pub at: Time,
    /// To which host.
    pub to: u32,
    /// From where.
    pub from: u32,
    /// The sender's own count.
    pub n: u32,
    /// Where the world keeps what it carries.
    pub slot: u32,
}

/// Microseconds of a tick, as a power of two: 1.024 ms.
const TICK_BITS: u32 = 10;

/// Ticks in the ring: 4.2 s, more than any latency and most timeouts.
const RING: usize = 4_096;

/// A calendar queue: a heap for the current tick, a ring of unsorted ticks after it, and a heap for
/// what is later than those.
#[derive(Debug)]
pub struct EventQueue {
    tick: u64,
    current: BinaryHeap<Reverse<Event>>,
    ring: Vec<Vec<Event>>,
    ring_len: usize,
    far: BinaryHeap<Reverse<Event>>,
}

impl Default for EventQueue {
    fn default() -> EventQueue {
        EventQueue {
            tick: 0,
            current: BinaryHeap::new(),
            ring: vec![Vec::new(); RING],
            ring_len: 0,
            far: BinaryHeap::new(),
        }
    }
}

fn tick_of(at: Time) -> u64 {
    at.as_micros() >> TICK_BITS
}

impl EventQueue {
    /// An empty queue.
    pub fn new() -> EventQueue {
        EventQueue::default()
    }

    /// Adds an event.
    pub fn push(&mut self, event: Event) {
        let tick = tick_of(event.at);
        if tick <= self.tick {
            self.current.push(Reverse(event));
        } else if tick - self.tick < RING as u64 {
            self.ring[tick as usize % RING].push(event);
            self.ring_len += 1;
        } else {
            self.far.push(Reverse(event));
        }
    }

    /// Takes the first event, unless it is later than `end`.
    pub fn pop_until(&mut self, end: Time) -> Option<Event> {
        while self.current.is_empty() {
            if !self.next_tick(tick_of(end)) {
                return None;
            }
        }
        if self.current.peek()?.0.at > end {
            return None;
        }
        self.current.pop().map(|Reverse(event)| event)
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.current.len() + self.ring_len + self.far.len()
    }

    /// Whether nothing will happen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Goes to the next tick in which something may happen; false if there is none up to `last`.
    fn next_tick(&mut self, last: u64) -> bool {
        let next = match (self.ring_len, self.far.peek()) {
            (0, None) => return false,
            (0, Some(Reverse(event))) => tick_of(event.at),
            _ => self.tick + 1,
        };
        if next > last {
            return false;
        }
        self.tick = next;
        let slot = &mut self.ring[next as usize % RING];
        self.ring_len -= slot.len();
        self.current.extend(slot.drain(..).map(Reverse));
        while let Some(&Reverse(event)) = self.far.peek()
            && tick_of(event.at) <= next
        {
            self.far.pop();
            self.current.push(Reverse(event));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wire::rng::{Rng, seed_from_u64};

    fn event(at: u64, to: u32, from: u32, n: u32) -> Event {
        Event { at: Time::from_micros(at), to, from, n, slot: 0 }
    }

    #[test]
    fn order_is_time_receiver_sender_count_however_they_came() {
        let sorted = [
            event(1, 9, 9, 9),
            event(2, 0, 0, 1),
            event(2, 0, 1, 0),
            event(2, 0, 1, 5),
            event(2, 3, 0, 0),
            event(5_000_000, 0, 0, 0),
        ];
        for turn in 0..sorted.len() {
            let mut queue = EventQueue::new();
            for i in 0..sorted.len() {
                queue.push(sorted[(i * 5 + turn) % sorted.len()]);
            }
            let out: Vec<_> =
                std::iter::from_fn(|| queue.pop_until(Time::from_secs(100))).collect();
            assert_eq!(out, sorted);
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn agrees_with_a_sorted_set() {
        for seed in 0..50 {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let (mut queue, mut set) = (EventQueue::new(), BTreeSet::new());
            let mut now = 0u64;
            for n in 0..3_000 {
                // From the same microsecond up to beyond the ring, and rarely far beyond.
                let spread = [1, 1_000, 200_000, 6_000_000, 90_000_000][rng.index(5)];
                for _ in 0..rng.below(3) {
                    let e =
                        event(now + u64::from(rng.below(spread)), rng.below(5), rng.below(3), n);
                    if set.insert(e) {
                        queue.push(e);
                    }
                }
                let end = now + u64::from(rng.below(40_000));
                while let Some(e) = queue.pop_until(Time::from_micros(end)) {
                    assert_eq!(set.pop_first(), Some(e), "seed {seed}");
                    now = now.max(e.at.as_micros());
                    if rng.chance(0.3) {
                        break;
                    }
                }
                if set.first().is_none_or(|e| e.at.as_micros() > end) {
                    now = now.max(end);
                }
                assert_eq!(queue.len(), set.len());
            }
        }
    }
}
