//! What will happen, by windows of time.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::time::Time;

/// Something that will happen to a host. Within a window each site's events are worked off in the
/// order of their fields, so for one site it follows from its own past and that of the senders
/// alone: two workers that share the sites see what one sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Event {
    /// The site of the host: what shares a line and an address translator.
    pub site: u32,
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

/// The windows of a span, as a power of two.
const SPAN_BITS: u32 = 8;

/// Events in windows that are as long as the shortest way between two sites, or somewhat less: what
/// a site sends in a window arrives after it, so all sites can go through it one after the other,
/// or side by side.
#[derive(Debug)]
pub struct Windows {
    /// Microseconds of a window, as a power of two.
    bits: u32,
    /// The span that `near` holds.
    span: u64,
    near: Vec<Vec<Event>>,
    near_len: usize,
    /// No window of `near` before this holds anything.
    cursor: usize,
    /// What is later, by its span: its first window, and its events.
    far: BTreeMap<u64, (u64, Vec<Event>)>,
    far_len: usize,
}

impl Windows {
    /// No events. `shortest` is the shortest way between two sites; at least 1 µs.
    pub fn new(shortest: Duration) -> Windows {
        let micros = u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 30);
        Windows {
            bits: micros.ilog2(),
            span: 0,
            near: vec![Vec::new(); 1 << SPAN_BITS],
            near_len: 0,
            cursor: 0,
            far: BTreeMap::new(),
            far_len: 0,
        }
    }

    /// The number of the window in which `at` lies.
    pub fn window_of(&self, at: Time) -> u64 {
        at.as_micros() >> self.bits
    }

    /// The last moment of a window.
    pub fn last_of(&self, window: u64) -> Time {
        Time::from_micros((window << self.bits) | ((1 << self.bits) - 1))
    }

    /// Adds an event, which must not lie before the window that was taken last.
    pub fn push(&mut self, event: Event) {
        let window = self.window_of(event.at);
        let span = window >> SPAN_BITS;
        if span <= self.span {
            debug_assert!(span == self.span, "an event in a span that has passed");
            let place = window as usize & ((1 << SPAN_BITS) - 1);
            self.near[place].push(event);
            self.cursor = self.cursor.min(place);
            self.near_len += 1;
        } else {
            let (first, events) = self.far.entry(span).or_insert((window, Vec::new()));
            *first = window.min(*first);
            events.push(event);
            self.far_len += 1;
        }
    }

    /// The number of the first window in which anything happens.
    pub fn first(&mut self) -> Option<u64> {
        if self.near_len > 0 {
            while self.near[self.cursor].is_empty() {
                self.cursor += 1;
            }
            return Some((self.span << SPAN_BITS) | self.cursor as u64);
        }
        self.far.values().next().map(|(first, _)| *first)
    }

    /// Puts the events of `window` that happen up to `end` into `batch`, in no order.
    pub fn take(&mut self, window: u64, end: Time, batch: &mut Vec<Event>) {
        let span = window >> SPAN_BITS;
        if span > self.span && self.near_len == 0 {
            self.span = span;
            self.cursor = 0;
            if let Some((_, events)) = self.far.remove(&span) {
                self.far_len -= events.len();
                events.into_iter().for_each(|event| self.push(event));
            }
        }
        if span != self.span {
            return;
        }
        let is_whole = self.last_of(window) <= end;
        let events = &mut self.near[window as usize & ((1 << SPAN_BITS) - 1)];
        let before = events.len();
        if is_whole {
            batch.append(events);
        } else {
            batch.extend(events.extract_if(.., |event| event.at <= end));
        }
        self.near_len -= before - events.len();
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.near_len + self.far_len
    }

    /// Whether nothing will happen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wire::rng::{Rng, seed_from_u64};

    /// What the windows up to `end` hold, in the order in which one site would see it.
    fn drain(windows: &mut Windows, end: Time) -> Vec<Event> {
        let (mut out, mut batch) = (Vec::new(), Vec::new());
        while let Some(window) = windows.first().filter(|window| *window <= windows.window_of(end))
        {
            windows.take(window, end, &mut batch);
            if batch.is_empty() {
                break;
            }
            batch.sort_unstable();
            out.append(&mut batch);
        }
        out
    }

    #[test]
    fn within_a_site_order_is_time_receiver_sender_count() {
        let event =
            |site, to, at, from, n| Event { site, to, at: Time::from_micros(at), from, n, slot: 0 };
        let sorted = [
            event(0, 0, 2, 0, 1),
            event(0, 0, 2, 1, 0),
            event(0, 0, 2, 1, 5),
            event(3, 3, 1, 0, 0),
            event(9, 9, 1, 9, 9),
            event(0, 0, 5_000_000, 0, 0),
        ];
        for turn in 0..sorted.len() {
            let mut windows = Windows::new(Duration::from_millis(20));
            for i in 0..sorted.len() {
                windows.push(sorted[(i * 5 + turn) % sorted.len()]);
            }
            assert_eq!(drain(&mut windows, Time::from_secs(100)), sorted);
            assert!(windows.is_empty());
        }
    }

    #[test]
    fn agrees_with_a_sorted_set() {
        for seed in 0..50 {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let shortest = [1, 300, 20_000, 900_000][rng.index(4)];
            let mut windows = Windows::new(Duration::from_micros(shortest));
            let mut set = BTreeSet::new();
            let mut now = 0u64;
            for n in 0..2_000 {
                // From the same microsecond up to far beyond a span.
                let spread = [1, 1_000, 200_000, 6_000_000, 90_000_000][rng.index(5)];
                for _ in 0..rng.below(3) {
                    let at = Time::from_micros(now + u64::from(rng.below(spread)));
                    let to = rng.below(5);
                    let event = Event { site: to, to, at, from: rng.below(3), n, slot: 0 };
                    if set.insert((at, event)) {
                        windows.push(event);
                    }
                }
                now += u64::from(rng.below(40_000));
                let end = Time::from_micros(now);
                let mut got = drain(&mut windows, end);
                let later = set.split_off(&(end + Duration::from_micros(1), FIRST));
                let mut want: Vec<Event> = std::mem::replace(&mut set, later)
                    .into_iter()
                    .map(|(_, event)| event)
                    .collect();
                got.sort_unstable();
                want.sort_unstable();
                assert_eq!(got, want, "seed {seed}");
                assert_eq!(windows.len(), set.len());
            }
        }
    }

    const FIRST: Event = Event { site: 0, to: 0, at: Time::ZERO, from: 0, n: 0, slot: 0 };
}
