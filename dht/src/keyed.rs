//! Tables of a bounded size, keyed so that a stranger cannot choose addresses that meet in them.

use std::net::{IpAddr, SocketAddr};

use wire::rng::Rng;
use wire::time::Time;

use crate::contact::secs;

/// The networks that an address counts against: its own (v4 /32, v6 /64), that of its neighbours
/// (/24, /56) and that of its provider (/16, /48).
pub(crate) fn networks(ip: IpAddr) -> [u64; 3] {
    let bits = match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    };
    [bits, bits >> 8, bits >> 16]
}

/// The network of which one node counts in a lookup: a /24 or a /64 (libtorrent,
/// traversal_algorithm.cpp).
pub(crate) fn network(ip: IpAddr) -> u64 {
    networks(ip)[if ip.is_ipv4() { 1 } else { 0 }]
}

/// Draws from a key.
pub(crate) fn rng(key: [u64; 2]) -> Rng {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&key[0].to_le_bytes());
    seed[8..16].copy_from_slice(&key[1].to_le_bytes());
    Rng::new(&seed)
}

/// Hash functions that nobody can predict who does not know the node's seed.
#[derive(Clone)]
pub(crate) struct Keys<const N: usize>([Key; N]);

type Key = (u64, u64);

impl<const N: usize> Keys<N> {
    /// Of four keys that are drawn those from this one on.
    pub(crate) fn new(rng: &mut Rng, first: usize) -> Keys<N> {
        let mut key = || rng.u64() | 1;
        let all: [Key; 4] = std::array::from_fn(|_| (key(), key()));
        Keys(std::array::from_fn(|n| all[(first + n) % 4]))
    }

    fn hash(&self, function: usize, value: u64) -> u64 {
        let (add, factor) = self.0[function];
        fold(value ^ add, factor)
    }
}

impl Keys<3> {
    /// The hash of a network for each of the three widths.
    pub(crate) fn networks(&self, ip: IpAddr) -> [u64; 3] {
        let networks = networks(ip);
        std::array::from_fn(|width| self.hash(width, networks[width]))
    }
}

impl Keys<1> {
    /// The hash of an address with its port.
    pub(crate) fn endpoint(&self, addr: &SocketAddr) -> u64 {
        let port = u64::from(addr.port());
        match addr.ip() {
            IpAddr::V4(ip) => self.hash(0, u64::from(u32::from(ip)) << 16 | port),
            IpAddr::V6(ip) => {
                let bits = u128::from(ip);
                let high = self.hash(0, (bits >> 64) as u64);
                self.hash(0, self.hash(0, high ^ bits as u64) ^ port)
            }
        }
    }
}

/// Multiplies, and folds the upper half of the product into the lower one.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Slots of a set: one cache line of tags.
const WAYS: usize = 16;

/// Whom something happened with lately. It grows by need, to a fixed size: in a set that is full of
/// them then the oldest is forgotten.
#[derive(Clone)]
pub(crate) struct Recent {
    /// None before the first mark.
    sets: Box<[Set]>,
    /// Slots that are not empty.
    len: u32,
    /// Seconds on the node's clock from which those of the slots count.
    base_secs: u32,
}

#[derive(Clone, Copy, Default)]
struct Set {
    /// The set's name in the upper half, of which the set's place is a part.
    tags: [u32; WAYS],
    /// Seconds since the base, plus one; 0 if the slot is empty.
    seen: [u16; WAYS],
}

/// What was marked so many seconds ago may be forgotten, whoever wants to know of it: nine hours.
const SEEN_SECS: u32 = 1 << 15;

impl Recent {
    pub(crate) fn new() -> Recent {
        Recent { sets: Box::default(), len: 0, base_secs: 0 }
    }

    /// Whether `tag` was marked in the set within `max_secs`.
    pub(crate) fn has(&self, now: Time, set: u64, tag: u32, max_secs: u32) -> bool {
        let tag = full_tag(set, tag);
        let Some(set) = self.sets.get(self.index(tag)) else { return false };
        let since = self.since(now, max_secs).max(1);
        // Without a branch for each slot, for most askers are in none.
        let found = set.tags.iter().fold(0, |found, &other| found | u32::from(other == tag));
        found != 0 && (0..WAYS).any(|at| set.tags[at] == tag && u32::from(set.seen[at]) >= since)
    }

    /// Marks a tag; what was marked longer than `max_secs` ago gives way before there is room for more
    /// than about `len_max`.
    pub(crate) fn mark(&mut self, now: Time, set: u64, tag: u32, max_secs: u32, len_max: usize) {
        if self.sets.is_empty() {
            *self = Recent { sets: vec![Set::default()].into(), len: 0, base_secs: secs(now) };
        }
        let (tag, seen) = (full_tag(set, tag), self.seen(now));
        let base_secs = self.base_secs;
        let gives_way = |sets: usize, oldest: u16| {
            sets >= sets_max(len_max) || u32::from(oldest) < since(now, max_secs, base_secs)
        };
        while !self.put(tag, seen, gives_way) {
            let Some(larger) = self.resized(self.sets.len() * 2, sets_max(len_max)) else { return };
            *self = larger;
        }
    }

    /// Forgets what was marked longer than `max_secs` ago, and the room that it took.
    pub(crate) fn tidy(&mut self, now: Time, max_secs: u32) {
        let since = self.since(now, max_secs);
        for set in &mut self.sets {
            for seen in set.seen.iter_mut().filter(|seen| (1..since).contains(&u32::from(**seen))) {
                *seen = 0;
                self.len -= 1;
            }
        }
        // An eighth: as many again will find room.
        while self.sets.len() > 1 && self.len as usize * 8 <= self.sets.len() * WAYS {
            let Some(smaller) = self.resized(self.sets.len() / 2, usize::MAX) else { break };
            *self = smaller;
        }
        if self.len == 0 {
            self.sets = Box::default();
        }
    }

    /// What a slot says that is marked now. When the numbers run out, the base moves on.
    fn seen(&mut self, now: Time) -> u16 {
        let seen = secs(now).saturating_sub(self.base_secs).saturating_add(1);
        if let Ok(seen) = u16::try_from(seen) {
            return seen;
        }
        let later = seen - SEEN_SECS;
        self.base_secs = self.base_secs.saturating_add(later);
        for seen in self.sets.iter_mut().flat_map(|set| &mut set.seen).filter(|seen| **seen > 0) {
            *seen = u32::from(*seen).saturating_sub(later) as u16;
            self.len -= u32::from(*seen == 0);
        }
        SEEN_SECS as u16
    }

    /// What a slot says, or more, that was marked within `max_secs`.
    fn since(&self, now: Time, max_secs: u32) -> u32 {
        since(now, max_secs, self.base_secs)
    }

    /// Puts a tag where it belongs; false if another would have to go, the oldest of its set,
    /// and does not give way among so many sets.
    fn put(&mut self, tag: u32, seen: u16, gives_way: impl Fn(usize, u16) -> bool) -> bool {
        let (index, sets) = (self.index(tag), self.sets.len());
        let set = &mut self.sets[index];
        let same = (0..WAYS).find(|&at| set.tags[at] == tag && set.seen[at] > 0);
        let at = same.or_else(|| (0..WAYS).min_by_key(|&at| set.seen[at])).unwrap_or(0);
        let is_full = set.seen[at] > 0;
        if same.is_none() && is_full && !gives_way(sets, set.seen[at]) {
            return false;
        }
        self.len += u32::from(!is_full);
        (set.tags[at], set.seen[at]) = (tag, seen);
        true
    }

    /// The same with so many sets; `None` if they are too few.
    fn resized(&self, sets: usize, sets_max: usize) -> Option<Recent> {
        let sets = vec![Set::default(); sets].into();
        let mut resized = Recent { sets, len: 0, base_secs: self.base_secs };
        let slots = self.sets.iter().flat_map(|set| set.tags.into_iter().zip(set.seen));
        let mut taken = slots.filter(|(_, seen)| *seen > 0);
        taken
            .all(|(tag, seen)| resized.put(tag, seen, |sets, _| sets >= sets_max))
            .then_some(resized)
    }

    fn index(&self, tag: u32) -> usize {
        (tag >> 16) as usize & self.sets.len().wrapping_sub(1)
    }
}

/// Sets that have room for about `len`.
fn sets_max(len: usize) -> usize {
    len.div_ceil(WAYS).clamp(1, 1 << 16).next_power_of_two()
}

/// What a slot says, or more, that was marked within `max_secs`.
fn since(now: Time, max_secs: u32, base_secs: u32) -> u32 {
    secs(now).saturating_add(2).saturating_sub(max_secs).saturating_sub(base_secs)
}

/// What a slot holds: half of it says where it belongs, however many sets there are.
fn full_tag(set: u64, tag: u32) -> u32 {
    (set as u32) << 16 | tag & 0xffff
}

/// Units a second, of which some may come at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    unit_ns: u64,
    burst_ns: u64,
}

impl Pace {
    /// `u32::MAX` a second is no bound.
    pub(crate) fn new(per_sec: u32, burst_ms: u32) -> Pace {
        Pace { unit_ns: unit_ns(per_sec), burst_ns: u64::from(burst_ms) * 1_000_000 }
    }
}

/// How much was taken lately of what comes at a [`Pace`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// When all that was taken is worked off.
    due_ns: u64,
}

impl Rate {
    pub(crate) fn is_ready(&self, pace: &Pace, now_ns: u64) -> bool {
        self.due_ns <= now_ns.saturating_add(pace.burst_ns)
    }

    /// When it is ready.
    pub(crate) fn ready_at(&self, pace: &Pace) -> Time {
        Time::from_micros(self.due_ns.saturating_sub(pace.burst_ns).div_ceil(1_000))
    }

    /// Takes units, ready or not.
    pub(crate) fn take(&mut self, pace: &Pace, now: Time, units: u32) {
        let cost = u64::from(units).saturating_mul(pace.unit_ns);
        self.due_ns = self.due_ns.max(nanos(now)).saturating_add(cost);
    }
}

/// The time that a unit takes.
pub(crate) fn unit_ns(per_sec: u32) -> u64 {
    1_000_000_000 / u64::from(per_sec.max(1))
}

pub(crate) fn nanos(now: Time) -> u64 {
    now.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn keys() -> Keys<3> {
        Keys::new(&mut Rng::new(&[1; 32]), 0)
    }

    #[test]
    fn networks_of_both_families() {
        let shared = |a: &str, b: &str| {
            let (a, b) = (networks(a.parse().unwrap()), networks(b.parse().unwrap()));
            std::array::from_fn::<bool, 3, _>(|width| a[width] == b[width])
        };
        assert_eq!(shared("1.2.3.4", "1.2.3.5"), [false, true, true]);
        assert_eq!(shared("1.2.3.4", "1.2.4.4"), [false, false, true]);
        assert_eq!(shared("1.2.3.4", "1.3.3.4"), [false; 3]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:2:ffff::"), [true; 3]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:3::1"), [false, true, true]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:302::1"), [false, false, true]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:2:2::1"), [false; 3]);
    }

    #[test]
    fn hashes_spread_and_depend_on_the_keys() {
        let (keys, others) = (keys(), Keys::<3>::new(&mut Rng::new(&[2; 32]), 0));
        let mut cells = [[0u32; 64]; 2];
        for n in 0..64_000u32 {
            // Neighbours, as one network's owner has them.
            let hash = keys.networks(IpAddr::from((0x5000_0000 + n).to_be_bytes()))[0];
            cells[0][hash as usize & 63] += 1;
            cells[1][(hash >> 32) as usize & 63] += 1;
        }
        assert!(cells.as_flattened().iter().all(|&n| (850..1150).contains(&n)), "{cells:?}");
        let ip = "8.8.8.8".parse().unwrap();
        assert_ne!(keys.networks(ip), others.networks(ip));
        let key = Keys::<1>::new(&mut Rng::new(&[1; 32]), 3);
        let endpoint = |addr: &str| key.endpoint(&addr.parse().unwrap());
        assert_ne!(endpoint("8.8.8.8:1"), endpoint("8.8.8.8:2"));
        assert_ne!(endpoint("[2001:db8::1]:1"), endpoint("[2001:db8::1]:2"));
        assert_ne!(endpoint("[2001:db8::1]:1"), endpoint("[2001:db8::2]:1"));
    }

    #[test]
    fn what_was_marked_is_remembered_until_the_oldest_gives_way() {
        let mut recent = Recent::new();
        let at = Time::from_secs;
        assert!(!recent.has(at(0), 3, 0, 600), "an empty slot is nobody's");
        recent.mark(at(0), 3, 7, 600, 64);
        assert!(recent.has(at(0), 3, 7, 600) && recent.has(at(599), 3, 7, 600));
        assert!(!recent.has(at(600), 3, 7, 600));
        assert!(!recent.has(at(0), 2, 7, 600) && !recent.has(at(0), 3, 8, 600));
        for tag in 100..115 {
            recent.mark(at(u64::from(tag)), 3, tag, 600, 64);
        }
        recent.mark(at(200), 3, 7, 600, 64);
        recent.mark(at(201), 3, 999, 600, 64);
        assert!(recent.has(at(201), 3, 7, 600), "marked again, it is not the oldest");
        assert!(!recent.has(at(201), 3, 100, 600));
        assert!(recent.has(at(201), 3, 101, 600) && recent.has(at(201), 3, 999, 600));
    }

    #[test]
    fn room_comes_by_need_and_goes_when_it_is_no_longer_needed() {
        let (mut recent, mut rng) = (Recent::new(), Rng::new(&[3; 32]));
        let at = Time::from_secs;
        let all: Vec<(u64, u32)> = (0..1_000).map(|_| (rng.u64(), rng.u32())).collect();
        let known = |recent: &Recent, now| {
            all.iter().filter(|(set, tag)| recent.has(now, *set, *tag, 600)).count()
        };
        for (n, (set, tag)) in all.iter().enumerate() {
            recent.mark(at(n as u64 / 10), *set, *tag, 600, 4_096);
            assert!(recent.sets.len() <= 1 || recent.sets.len() * WAYS <= 8 * (n + 1));
        }
        assert!(known(&recent, at(100)) >= 998, "{}", known(&recent, at(100)));
        let sets = recent.sets.len();
        recent.tidy(at(600), 600);
        assert!(known(&recent, at(600)) >= 988 && recent.sets.len() == sets);
        recent.tidy(at(690), 600);
        assert_eq!(known(&recent, at(690)), 90, "the last hundred, but those of the first second");
        assert!(recent.sets.len() * WAYS <= 16 * 90, "{}", recent.sets.len());
        recent.tidy(at(700), 600);
        assert_eq!((recent.sets.len(), recent.len), (0, 0));
        // However many come, there is a bound.
        for _ in 0..100_000 {
            recent.mark(at(700), rng.u64(), rng.u32(), 600, 4_096);
        }
        assert_eq!((recent.sets.len(), recent.len), (4_096 / WAYS, 4_096));
    }

    #[test]
    fn what_was_marked_is_known_for_hours_however_long_the_node_runs() {
        let (mut recent, at) = (Recent::new(), Time::from_secs);
        for day in [0, 2, 4, 100, 10_000] {
            let now = day * 86_400;
            recent.mark(at(now), 3, 7, 30_000, 64);
            for secs in (0..100_000).step_by(500) {
                recent.mark(at(now + secs), 4, secs as u32, 30_000, 64);
                assert_eq!(recent.has(at(now + secs), 3, 7, 30_000), secs < 30_000, "{secs}");
                assert!(recent.has(at(now + secs), 4, secs as u32, 600));
            }
            assert!(!recent.has(at(now + 110_000), 4, 99_500, 600));
            recent.tidy(at(now + 110_000), 600);
            assert_eq!((recent.len, recent.sets.len()), (0, 0));
        }
    }

    #[test]
    fn a_rate_allows_a_burst_and_then_its_pace() {
        let (mut rate, pace) = (Rate::default(), Pace::new(10, 1_000));
        let mut now = Time::from_secs(50);
        let taken = |rate: &mut Rate, now: Time| {
            let mut count = 0;
            while rate.is_ready(&pace, nanos(now)) && count < 1_000 {
                rate.take(&pace, now, 1);
                count += 1;
            }
            count
        };
        assert_eq!(taken(&mut rate, now), 11);
        assert_eq!(rate.ready_at(&pace), now + Duration::from_millis(100));
        assert_eq!(taken(&mut rate, now + Duration::from_millis(99)), 0);
        now += Duration::from_millis(100);
        assert_eq!(taken(&mut rate, now), 1);
        assert_eq!(taken(&mut rate, now + Duration::from_secs(3_600)), 11, "no more is saved up");
        let (mut boundless, pace) = (Rate::default(), Pace::new(u32::MAX, 1_000));
        boundless.take(&pace, now, u32::MAX);
        assert!(boundless.is_ready(&pace, nanos(now)));
    }
}
