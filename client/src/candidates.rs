//! Addresses that may have the torrent: where each came from, and when it is worth a dial.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use wire::rng::Rng;
use wire::scope::{AddrScope, is_unicast, owner};
use wire::time::Time;

use crate::addr_map::AddrMap;

/// Where an address came from, the better sources first. Each has its turn to be dialled, so that
/// however many one tells of, the others' are not put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The user named it: `--peer`, or `x.pe` of a magnet link (BEP 9).
    User,
    /// The DHT found it (BEP 5).
    Dht,
    /// It dialled us.
    Incoming,
    /// Another peer told of it (BEP 11).
    Pex,
}

impl Source {
    const ALL: [Source; 4] = [Source::User, Source::Dht, Source::Incoming, Source::Pex];
}

/// Addresses of one Global host, at most, but for those that the user named: strangers that tell of
/// a thousand ports of a host are not to make us dial them all.
const HOST_MAX: usize = 8;

/// All addresses of the host of `ip`; of Global IPv6 a /64 is one.
fn host_range(ip: IpAddr) -> RangeInclusive<SocketAddr> {
    let first = owner(ip);
    let last = match first {
        IpAddr::V6(v6) if AddrScope::of(ip) == AddrScope::Global => {
            Ipv6Addr::from_bits(v6.to_bits() | u128::from(u64::MAX)).into()
        }
        ip => ip,
    };
    SocketAddr::new(first, 0)..=SocketAddr::new(last, u16::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Dialled or connected.
    Busy,
    /// It wants nothing, and we want nothing while we have all.
    Needless,
    /// A peer that is connected says that this is where it takes connections, and nobody else did.
    Claimed,
    Banned,
}

#[derive(Debug)]
struct Candidate {
    source: Source,
    state: State,
    failures: u32,
    not_before: Time,
}

/// The addresses of one torrent.
pub struct Candidates {
    known: AddrMap<Candidate>,
    /// Owners.
    banned_hosts: BTreeSet<IpAddr>,
    /// Local ones: many peers may share one such host.
    banned: BTreeSet<SocketAddr>,
    max: usize,
    dials_v4: bool,
    dials_v6: bool,
    redial_after: Duration,
    redial_after_max: Duration,
    failures_max: u32,
    /// Whose turn it is: an index of [`Source::ALL`].
    turn: usize,
    rng: Rng,
}

impl Candidates {
    /// None yet. The bounds come from [`crate::Config`].
    pub fn new(config: &crate::Config, rng: Rng) -> Candidates {
        Candidates {
            known: AddrMap::new(),
            banned_hosts: BTreeSet::new(),
            banned: BTreeSet::new(),
            max: config.candidates_max,
            dials_v4: config.dials_v4,
            dials_v6: config.dials_v6,
            redial_after: config.redial_after,
            redial_after_max: config.redial_after_max,
            failures_max: config.dial_failures_max,
            turn: 0,
            rng,
        }
    }

    /// Addresses known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes an address; true if it is new. When full, one of no more use goes for it, else one that
    /// failed, else one of the worst source: of a better source than its own only one that failed,
    /// and only where that source has most of the list.
    pub fn add(&mut self, now: Time, addr: SocketAddr, source: Source) -> bool {
        let may_dial = if addr.is_ipv4() { self.dials_v4 } else { self.dials_v6 };
        if !may_dial || !is_unicast(addr) || self.is_banned(&addr) {
            return false;
        }
        if let Some(known) = self.known.get_mut(&addr) {
            known.source = known.source.min(source);
            // It may be somebody else's than the peer's that claims it.
            if known.state == State::Claimed && source != Source::Incoming {
                known.state = State::Idle;
            }
            // Whoever names it anew may know that it is back.
            if source <= Source::Dht && known.state == State::Idle {
                known.not_before = known.not_before.min(now + self.redial_after);
            }
            return false;
        }
        let host = host_range(addr.ip());
        let crowded = source != Source::User
            && AddrScope::of(addr.ip()) == AddrScope::Global
            && self.known.range(host.clone()).count() >= HOST_MAX;
        if (crowded && !self.make_room(source, Some(host)))
            || (self.known.len() >= self.max && !self.make_room(source, None))
        {
            return false;
        }
        let candidate = Candidate { source, state: State::Idle, failures: 0, not_before: now };
        self.known.insert(addr, candidate);
        true
    }

    /// `among`: all addresses of a host; None: all there are.
    fn make_room(&mut self, source: Source, among: Option<RangeInclusive<SocketAddr>>) -> bool {
        let of_use = |c: &Candidate| !matches!(c.state, State::Needless | State::Banned);
        let has_most = |of: Source| {
            let count = self.known.values().filter(|c| c.source == of).count();
            of != Source::User && count > self.max / 2
        };
        let crowding = Source::ALL.map(has_most);
        let may_go = |c: &Candidate| {
            !of_use(c) || c.source >= source || (c.failures > 0 && crowding[c.source as usize])
        };
        let is_idle = |(_, c): &(SocketAddr, &Candidate)| c.state != State::Busy && may_go(c);
        let use_of = |(_, c): &(SocketAddr, &Candidate)| (!of_use(c), c.failures, c.source);
        let worst = match among {
            Some(host) => self.known.range(host).filter(is_idle).max_by_key(use_of),
            None => self.known.iter().filter(is_idle).max_by_key(use_of),
        };
        let worst =
            worst.map(|(addr, c)| (addr, !of_use(c) || c.failures > 0 || c.source > source));
        match worst {
            Some((addr, true)) => self.known.remove(&addr).is_some(),
            _ => false,
        }
    }

    /// The address to dial now, of those that `may` be, which then counts as busy: each source that
    /// has one in turn, and of a source's those with the fewest failures first, then by lot.
    pub fn next(&mut self, now: Time, may: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        let turn = self.turn;
        let wait =
            |c: &Candidate| (c.source as usize + Source::ALL.len() - turn) % Source::ALL.len();
        let key = |c: &Candidate| (wait(c), c.failures);
        let is_ready = |c: &Candidate| c.state == State::Idle && c.not_before <= now;
        let (mut best, mut equals) = (None, 0);
        for (addr, candidate) in self.known.iter().filter(|(_, c)| is_ready(c)) {
            let key = key(candidate);
            if best.is_some_and(|best| best < key) || !may(&addr) {
                continue;
            }
            equals = if best == Some(key) { equals + 1 } else { 1 };
            best = Some(key);
        }
        let best = best?;
        let is_best = |addr: &SocketAddr, c: &Candidate| is_ready(c) && key(c) == best && may(addr);
        let mut all = self.known.iter().filter(|(addr, c)| is_best(addr, c));
        let (addr, _) = all.nth(self.rng.index(equals))?;
        drop(all);
        self.turn = (turn + best.0 + 1) % Source::ALL.len();
        self.set_busy(addr);
        Some(addr)
    }

    /// When the next address becomes worth a dial.
    pub fn next_at(&self) -> Option<Time> {
        self.known.values().filter(|c| c.state == State::Idle).map(|c| c.not_before).min()
    }

    /// `addr` is dialled or connected.
    pub fn set_busy(&mut self, addr: SocketAddr) {
        if let Some(candidate) = usable(&mut self.known, addr) {
            candidate.state = State::Busy;
        }
    }

    /// A peer that dialled us says that it takes connections at `addr`: true if that is news, and it
    /// need not be dialled while the peer is there. A claim changes nothing for an address that
    /// anybody else named, sooner or later.
    pub fn claim(&mut self, now: Time, addr: SocketAddr) -> bool {
        let is_new = self.add(now, addr, Source::Incoming);
        if let Some(candidate) = self.known.get_mut(&addr).filter(|_| is_new) {
            candidate.state = State::Claimed;
        }
        is_new
    }

    /// The peer that claimed `addr` is gone: true if nobody else named it meanwhile, and what became of
    /// the peer is to be told of the address.
    pub fn unclaim(&mut self, addr: SocketAddr) -> bool {
        let claimed = self.known.get_mut(&addr).filter(|c| c.state == State::Claimed);
        claimed.map(|candidate| candidate.state = State::Idle).is_some()
    }

    /// The dial failed or the peer was of no use: longer waits each time, then forgotten.
    pub fn failed(&mut self, now: Time, addr: SocketAddr) {
        let Some(candidate) = usable(&mut self.known, addr) else { return };
        candidate.failures += 1;
        candidate.state = State::Idle;
        let wait = self.redial_after * (1 << (candidate.failures - 1).min(16));
        candidate.not_before = now + wait.min(self.redial_after_max);
        if candidate.failures >= self.failures_max && candidate.source != Source::User {
            self.known.remove(&addr);
        }
    }

    /// We could not dial it now, for which it cannot help.
    pub fn put_off(&mut self, now: Time, addr: SocketAddr) {
        if let Some(candidate) = usable(&mut self.known, addr) {
            candidate.state = State::Idle;
            candidate.not_before = now + self.redial_after;
        }
    }

    /// A working connection ended; it may be dialled again soon.
    pub fn ended(&mut self, now: Time, addr: SocketAddr) {
        if let Some(candidate) = usable(&mut self.known, addr) {
            candidate.failures = 0;
            candidate.state = State::Idle;
            candidate.not_before = now + self.redial_after;
        }
    }

    /// Who answered there was somebody that we were connected to already, and that connection ended.
    pub fn twin_ended(&mut self, now: Time, addr: SocketAddr) {
        if self.known.get(&addr).is_some_and(|candidate| candidate.state == State::Busy) {
            self.ended(now, addr);
        }
    }

    /// Neither side wants anything of the other: not before [`Candidates::need_again`].
    pub fn needless(&mut self, addr: SocketAddr) {
        if let Some(candidate) = usable(&mut self.known, addr) {
            candidate.failures = 0;
            candidate.state = State::Needless;
        }
    }

    /// Something is wanted again: whoever was needless is worth a dial.
    pub fn need_again(&mut self) {
        for (_, candidate) in self.known.iter_mut().filter(|(_, c)| c.state == State::Needless) {
            candidate.state = State::Idle;
        }
    }

    /// Never again: it sent corrupt data. All of its owner's addresses ([`owner`]), but on a local
    /// network only this one. False if that is known already, or as many are banned as may be.
    pub fn ban(&mut self, addr: SocketAddr) -> bool {
        let is_same = ban_of(addr);
        self.known.iter_mut().filter(|(other, _)| is_same(other)).for_each(|(_, candidate)| {
            candidate.state = State::Banned;
        });
        if self.banned.len() + self.banned_hosts.len() >= self.max {
            return false;
        }
        match AddrScope::of(addr.ip()) {
            AddrScope::Global => self.banned_hosts.insert(owner(addr.ip())),
            AddrScope::Local => self.banned.insert(addr),
        }
    }

    /// Never again this address: it is our own.
    pub fn forget(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.known.get_mut(&addr) {
            candidate.state = State::Banned;
        }
    }

    /// Whether this address is banned.
    pub fn is_banned(&self, addr: &SocketAddr) -> bool {
        self.banned_hosts.contains(&owner(addr.ip())) || self.banned.contains(addr)
    }
}

/// Whether an address is banned with `addr`.
pub fn ban_of(addr: SocketAddr) -> impl Fn(&SocketAddr) -> bool {
    let host = (AddrScope::of(addr.ip()) == AddrScope::Global).then(|| owner(addr.ip()));
    move |other| *other == addr || host.is_some_and(|host| host == owner(other.ip()))
}

/// An address that may be dialled some day: what nobody is to dial again stays so.
fn usable(known: &mut AddrMap<Candidate>, addr: SocketAddr) -> Option<&mut Candidate> {
    known.get_mut(&addr).filter(|candidate| candidate.state != State::Banned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, n], 6881))
    }

    fn candidates(max: usize) -> Candidates {
        let config = crate::Config { candidates_max: max, ..crate::Config::default() };
        Candidates::new(&config, Rng::new(&[1; 32]))
    }

    #[test]
    fn a_failed_address_waits_longer_each_time_and_is_forgotten() {
        let mut c = candidates(10);
        assert!(c.add(Time::ZERO, addr(1), Source::Dht));
        assert!(!c.add(Time::ZERO, addr(1), Source::Pex));
        let mut now = Time::ZERO;
        let mut waits = Vec::new();
        while let Some(at) = c.next_at() {
            waits.push(at.since(now).as_secs());
            now = at;
            assert_eq!(c.next(now, |_| true), Some(addr(1)));
            assert_eq!(c.next(now, |_| true), None, "busy");
            c.failed(now, addr(1));
        }
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 64, 128]);
    }

    #[test]
    fn what_we_could_not_dial_counts_against_nobody() {
        let mut c = candidates(10);
        c.add(Time::ZERO, addr(1), Source::Pex);
        let mut now = Time::ZERO;
        for _ in 0..50 {
            now = c.next_at().unwrap();
            assert_eq!(c.next(now, |_| true), Some(addr(1)));
            c.put_off(now, addr(1));
        }
        assert_eq!(c.next_at().unwrap().since(now).as_secs(), 2);
        c.ban(addr(1));
        c.put_off(now, addr(1));
        assert_eq!(c.next_at(), None);
    }

    #[test]
    fn a_family_that_is_not_dialled_has_no_candidates() {
        let (v4, v6) = (addr(1), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 6881)));
        for (dials_v4, dials_v6) in [(true, false), (false, true)] {
            let config = crate::Config { dials_v4, dials_v6, ..crate::Config::default() };
            let mut c = Candidates::new(&config, Rng::new(&[1; 32]));
            assert_eq!(c.add(Time::ZERO, v4, Source::User), dials_v4);
            assert_eq!(c.add(Time::ZERO, v6, Source::Pex), dials_v6);
            assert_eq!(c.len(), 1);
        }
    }

    #[test]
    fn the_better_source_goes_first() {
        let mut c = candidates(10);
        c.add(Time::ZERO, addr(1), Source::Pex);
        c.add(Time::ZERO, addr(2), Source::User);
        c.add(Time::ZERO, addr(3), Source::Dht);
        let order: Vec<_> = std::iter::from_fn(|| c.next(Time::ZERO, |_| true)).collect();
        assert_eq!(order, [addr(2), addr(3), addr(1)]);
    }

    #[test]
    fn no_source_puts_off_what_others_told_of() {
        let mut c = candidates(100);
        c.add(Time::ZERO, addr(1), Source::User);
        c.add(Time::ZERO, addr(2), Source::Dht);
        for n in 1..=2 {
            c.set_busy(addr(n));
            c.failed(Time::ZERO, addr(n));
        }
        (10..60).for_each(|n| _ = c.add(Time::ZERO, addr(n), Source::Pex));
        assert!(c.next(Time::ZERO, |_| true) > Some(addr(2)), "the others are not due");
        let due = Time::from_secs(60);
        let next: Vec<_> = std::iter::from_fn(|| c.next(due, |_| true)).collect();
        assert_eq!(next[..2], [addr(1), addr(2)]);
        assert_eq!(next.len(), 51);
    }

    #[test]
    fn a_flood_drives_nobody_out_whom_a_better_source_named() {
        let mut c = candidates(20);
        for (n, source) in [(1, Source::User), (2, Source::Dht)] {
            c.add(Time::ZERO, addr(n), source);
            c.set_busy(addr(n));
            c.failed(Time::ZERO, addr(n));
        }
        (10..250).for_each(|n| _ = c.add(Time::ZERO, addr(n), Source::Pex));
        assert_eq!(c.len(), 20);
        assert!(c.known.get(&addr(1)).is_some() && c.known.get(&addr(2)).is_some());
        (10..250).for_each(|n| _ = c.add(Time::ZERO, addr(n), Source::Dht));
        let dht: Vec<SocketAddr> =
            c.known.iter().map(|(a, _)| a).filter(|a| *a != addr(1)).collect();
        assert_eq!(dht.len(), 19, "all others");
        assert!(!c.add(Time::ZERO, addr(3), Source::Pex), "they may be good");
        c.set_busy(dht[0]);
        c.failed(Time::ZERO, dht[0]);
        assert!(c.add(Time::ZERO, addr(3), Source::Pex));
        assert!(c.known.get(&addr(1)).is_some(), "never for strangers");
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_good() {
        let mut c = candidates(2);
        c.add(Time::ZERO, addr(1), Source::Dht);
        c.add(Time::ZERO, addr(2), Source::Pex);
        assert!(!c.add(Time::ZERO, addr(3), Source::Pex), "no better than what is there");
        assert!(c.add(Time::ZERO, addr(4), Source::User));
        assert_eq!(c.len(), 2);
        assert_eq!(c.next(Time::ZERO, |_| true), Some(addr(4)));
        assert_eq!(c.next(Time::ZERO, |_| true), Some(addr(1)));
    }

    #[test]
    fn addresses_of_no_more_use_make_room() {
        let mut c = candidates(3);
        for n in 1..=3 {
            c.add(Time::ZERO, addr(n), Source::Dht);
            c.set_busy(addr(n));
        }
        assert!(!c.add(Time::ZERO, addr(4), Source::User), "all are connected");
        c.forget(addr(1));
        c.ban(addr(2));
        assert!(c.add(Time::ZERO, addr(4), Source::Pex));
        assert!(c.add(Time::ZERO, addr(5), Source::Pex));
        assert!(!c.add(Time::ZERO, addr(6), Source::Pex));
        assert!(!c.add(Time::ZERO, addr(2), Source::User), "banned it is all the same");
        assert_eq!(c.len(), 3);
    }

    #[test]
    fn who_is_needless_waits_until_something_is_wanted_again() {
        let mut c = candidates(3);
        for n in 1..=3 {
            c.add(Time::ZERO, addr(n), Source::User);
        }
        c.needless(addr(1));
        c.ban(addr(2));
        c.needless(addr(2));
        c.forget(addr(3));
        assert_eq!((c.next(Time::ZERO, |_| true), c.next_at()), (None, None));
        assert!(!c.add(Time::ZERO, addr(1), Source::User), "it is known");
        assert_eq!(c.next(Time::ZERO, |_| true), None);
        c.need_again();
        assert_eq!(c.next(Time::ZERO, |_| true), Some(addr(1)));
        assert_eq!(c.next(Time::ZERO, |_| true), None, "the others stay out");
        c.needless(addr(1));
        assert!(c.add(Time::ZERO, addr(4), Source::Pex), "it makes room");
    }

    #[test]
    fn a_banned_v6_host_stays_out_with_its_whole_network() {
        let mut c = candidates(10);
        let v6 = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        c.add(Time::ZERO, v6("2001:db8::2"), Source::Dht);
        assert!(c.ban(v6("2001:db8::1")));
        assert!(!c.ban(v6("2001:db8::2")), "it is already");
        assert!(c.is_banned(&v6("2001:db8::ffff")) && !c.is_banned(&v6("2001:db8:0:1::1")));
        assert_eq!(c.next(Time::ZERO, |_| true), None);
    }

    #[test]
    fn a_banned_host_stays_out() {
        let mut c = candidates(10);
        let global = |port| SocketAddr::from(([203, 0, 113, 1], port));
        c.add(Time::ZERO, global(1), Source::Dht);
        c.add(Time::ZERO, global(3), Source::Dht);
        c.ban(global(1));
        // Its connection ends only now.
        c.failed(Time::ZERO, global(1));
        c.set_busy(global(3));
        c.ended(Time::ZERO, global(3));
        c.ban(addr(1));
        assert_eq!(c.next(Time::from_secs(9999), |_| true), None);
        assert!(!c.add(Time::ZERO, global(2), Source::User));
        assert!(!c.add(Time::ZERO, addr(1), Source::User));
        let neighbour = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(c.add(Time::ZERO, neighbour, Source::User));
        for bad in ["0.0.0.0:5", "1.2.3.4:0", "224.1.1.1:9"] {
            assert!(!c.add(Time::ZERO, bad.parse().unwrap(), Source::User));
        }
    }
}
