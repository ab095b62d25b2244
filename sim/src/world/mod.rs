//! The world: virtual time, hosts, and the datagrams and streams between them.

mod datagrams;
mod home;
mod net;
mod partition;
mod run;
mod shard;
mod streams;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use crate::addresses::AddressPlan;
use crate::capture::{self, Capture};
use crate::edge::Access;
use crate::host::{Host, HostId};
use crate::link::{LinkConfig, Links};
use crate::nat::Nat;
use crate::nat_config::NatConfig;
use crate::queue::Event;
use crate::trace::TraceHash;
use home::Home;
use net::{Net, Seat};
use partition::Partition;
use shard::{Place, Shard};

/// Senders of events that are no host; they sort before hosts.
const TIMER: u32 = 0;
const COMMAND: u32 = 1;
const FIRST_HOST: u32 = 2;

/// What a world counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Datagrams, timeouts, commands and what streams brought, as hosts worked it off.
    pub events: u64,
    /// Datagrams that hosts sent.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Datagrams that arrived, copies included.
    pub delivered: u64,
    /// Datagrams and copies that links lost.
    pub lost: u64,
    /// Datagrams for which there was no room in a line's queue.
    pub queue_full: u64,
    /// Datagrams that arrived a second time.
    pub duplicated: u64,
    /// Datagrams between two parts of a network that had fallen apart.
    pub parted: u64,
    /// Packets that an address translator did not let through.
    pub translator_dropped: u64,
    /// Datagrams longer than the MTU.
    pub too_long: u64,
    /// Datagrams to an address where nobody is.
    pub unroutable: u64,
    /// Timeouts.
    pub timeouts: u64,
    /// Runs that hosts sent over streams.
    pub chunks: u64,
    /// Bytes of those, as on the wire.
    pub chunk_bytes: u64,
}

impl Counters {
    fn plus(mut self, other: &Counters) -> Counters {
        let Counters {
            events,
            sent,
            sent_bytes,
            delivered,
            lost,
            queue_full,
            parted,
            translator_dropped,
            duplicated,
            too_long,
            unroutable,
            timeouts,
            chunks,
            chunk_bytes,
        } = other;
        self.events += events;
        self.sent += sent;
        self.sent_bytes += sent_bytes;
        self.delivered += delivered;
        self.lost += lost;
        self.queue_full += queue_full;
        self.parted += parted;
        self.translator_dropped += translator_dropped;
        self.duplicated += duplicated;
        self.too_long += too_long;
        self.unroutable += unroutable;
        self.timeouts += timeouts;
        self.chunks += chunks;
        self.chunk_bytes += chunk_bytes;
        self
    }
}

/// What a host is told, or what happens to it.
enum Order<C> {
    Command(C),
    Stop,
    Sleep(Duration),
    ShiftClock(i64),
    RestartNat,
    Describe,
}

/// What a host did that may never happen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Violation {
    /// When.
    pub at: Time,
    /// Which host.
    pub host: HostId,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {} at {}: {}", self.host.0, self.at, self.what)
    }
}

/// A deterministic world: the same seed and the same calls give the same run, on any machine and
/// however many workers share it.
pub struct World<H: Host> {
    now: Time,
    seed: Seed,
    net: Net,
    shards: Vec<Shard<H>>,
}

impl<H: Host> World<H> {
    /// An empty world for one worker.
    pub fn new(links: LinkConfig, seed: &Seed) -> World<H> {
        World::shared(links, seed, 1)
    }

    /// An empty world whose hosts are spread over so many workers, at least one: each takes a thread
    /// while time passes. Their number changes nothing but the time that it takes.
    pub fn shared(links: LinkConfig, seed: &Seed, workers: u32) -> World<H> {
        let links = Links::new(links, seed);
        let shards = workers.max(1);
        let shard = |n: u32| Shard::new(n as usize, shards as usize, links.min_latency());
        World {
            now: Time::ZERO,
            seed: *seed,
            shards: (0..shards).map(shard).collect(),
            net: Net {
                plan: AddressPlan::new(seed),
                links,
                shards,
                seats: Vec::new(),
                more_addresses: BTreeMap::new(),
                partitions: Vec::new(),
            },
        }
    }

    /// Adds a host. Its address is that of its number: [`World::addresses`].
    pub fn add_host(&mut self, host: H) -> HostId {
        let id = self.next_id();
        self.seat(host, id.0, None)
    }

    /// Adds hosts that share an address translator, at least one, with so many addresses outside, at
    /// least one. Inside, their addresses are those of [`World::inside_addr`].
    pub fn add_home(&mut self, nat: NatConfig, addresses: u32, hosts: Vec<H>) -> Vec<HostId> {
        let first = self.next_id();
        let mut ips = vec![*self.net.plan.addr_v4(first).ip()];
        for _ in 1..addresses {
            let number = AddressPlan::HOSTS_MAX - 1 - self.net.more_addresses.len() as u32;
            self.net.more_addresses.insert(number, first.0);
            ips.push(*self.net.plan.addr_v4(HostId(number)).ip());
        }
        let nat = Nat::new(nat, &ips, &child_seed(&self.seed, "nat", first.0.into()));
        let shard = (first.0 % self.net.shards) as usize;
        let homes = &mut self.shards[shard].homes;
        let home = homes.len() as u32;
        homes.push(Home::new(nat, first, hosts.len() as u32));
        hosts.into_iter().map(|host| self.seat(host, first.0, Some(home))).collect()
    }

    /// The address of the `k`-th host inside of a home.
    pub fn inside_addr(k: u32) -> SocketAddr {
        SocketAddr::V4(net::inside_addr(k))
    }

    fn next_id(&self) -> HostId {
        let id = HostId(self.net.seats.len() as u32);
        let free = AddressPlan::HOSTS_MAX - self.net.more_addresses.len() as u32;
        assert!(id.0 < free, "no addresses left");
        id
    }

    fn seat(&mut self, host: H, site: u32, home: Option<u32>) -> HostId {
        let id = self.next_id();
        let shard = &mut self.shards[(site % self.net.shards) as usize];
        let place = shard.places.len() as u32;
        self.net.seats.push(Seat { site, place, is_inside: home.is_some() });
        shard.places.push(Place::new(host, home));
        shard.arm(&self.net, id);
        id
    }

    /// Gives hosts of one site a line that they share; without one it is as fast as one likes.
    pub fn share_access(&mut self, hosts: &[HostId], access: Access) {
        let Some(first) = hosts.first() else { return };
        self.shards[self.net.shard_of(*first)].set_access(&self.net, hosts, access);
    }

    /// Sets how fast a host's line is; without one it is as fast as one likes.
    pub fn set_access(&mut self, id: HostId, access: Access) {
        self.share_access(&[id], access);
    }

    /// Switches a host off, for good: it gets and sends nothing any more.
    pub fn stop_host(&mut self, id: HostId) {
        self.place_mut(id).alive = false;
    }

    /// Switches a host off at `at`, or now if that has passed.
    pub fn stop_host_at(&mut self, at: Time, id: HostId) {
        self.order(at, id, Order::Stop);
    }

    /// From `at` on a host does nothing and hears nothing for a while, as one that was suspended.
    pub fn sleep_at(&mut self, at: Time, id: HostId, span: Duration) {
        self.order(at, id, Order::Sleep(span));
    }

    /// At `at` a host's clock is put forward by so many microseconds, or back.
    pub fn shift_clock_at(&mut self, at: Time, id: HostId, us: i64) {
        self.order(at, id, Order::ShiftClock(us));
    }

    /// At `at` the translator of a host's home forgets all.
    pub fn restart_nat_at(&mut self, at: Time, id: HostId) {
        self.order(at, id, Order::RestartNat);
    }

    /// From `from` to `until` nothing passes between a `share` of the sites and the others.
    pub fn part(&mut self, from: Time, until: Time, share: f64) {
        let n = self.net.partitions.len() as u64;
        let key = Rng::new(&child_seed(&self.seed, "partition", n)).u64();
        self.net.partitions.push(Partition::new(from, until, share, key));
    }

    /// Another program starts on a host that was switched off, or takes the place of the one there.
    pub fn restart_host(&mut self, id: HostId, host: H) {
        let shard = &mut self.shards[self.net.shard_of(id)];
        shard.place(&self.net, id).restart(host);
        capture::of(&mut shard.capture, id).into_iter().for_each(Capture::restarted);
        shard.arm(&self.net, id);
    }

    /// Gives a host a command at `at`, or now if that has passed.
    pub fn command(&mut self, at: Time, id: HostId, command: H::Command) {
        self.order(at, id, Order::Command(command));
    }

    fn order(&mut self, at: Time, id: HostId, order: Order<H::Command>) {
        let shard = &mut self.shards[self.net.shard_of(id)];
        let slot = shard.orders.put(order);
        let place = shard.place(&self.net, id);
        let n = place.commands;
        place.commands += 1;
        let at = at.max(self.now);
        let site = self.net.site_of(id);
        shard.push(Event { site, to: id.0, at, from: COMMAND, n, slot });
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Which address belongs to which host.
    pub fn addresses(&self) -> &AddressPlan {
        &self.net.plan
    }

    fn place(&self, id: HostId) -> &Place<H> {
        &self.shards[self.net.shard_of(id)].places[self.net.place_of(id)]
    }

    fn place_mut(&mut self, id: HostId) -> &mut Place<H> {
        &mut self.shards[self.net.shard_of(id)].places[self.net.place_of(id)]
    }

    fn places(&self) -> impl Iterator<Item = (HostId, &Place<H>)> {
        (0..self.net.seats.len() as u32).map(HostId).map(|id| (id, self.place(id)))
    }

    /// A host.
    pub fn host(&self, id: HostId) -> &H {
        &self.place(id).host
    }

    /// All hosts in their order, with whether each is switched on.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &H, bool)> {
        self.places().map(|(id, place)| (id, &*place.host, place.alive))
    }

    /// Number of hosts, switched off ones included.
    pub fn len(&self) -> usize {
        self.net.seats.len()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.net.seats.is_empty()
    }

    /// What it counted.
    pub fn counters(&self) -> Counters {
        self.shards.iter().fold(Counters::default(), |sum, shard| sum.plus(&shard.counters))
    }

    /// The first that a host did and never may.
    pub fn violation(&self) -> Option<&Violation> {
        self.shards.iter().filter_map(|shard| shard.violation.as_ref()).min()
    }

    /// At `at` a host is described; who looks changes nothing. See [`World::descriptions`].
    pub fn describe_at(&mut self, at: Time, id: HostId) {
        self.order(at, id, Order::Describe);
    }

    /// From now on what a host sends and receives goes into `capture`, in place of an earlier one at a host
    /// of the same worker; who looks changes nothing. Nothing does of a host that is not there.
    pub fn capture(&mut self, capture: Capture) {
        let id = capture.host();
        if (id.0 as usize) < self.len() {
            self.shards[self.net.shard_of(id)].capture = Some(Box::new(capture));
        }
    }

    /// What was said of hosts so far, in the order of time.
    pub fn descriptions(&self) -> Vec<(Time, HostId, String)> {
        let all = self.shards.iter().flat_map(|shard| &shard.descriptions);
        let mut all: Vec<_> = all.cloned().collect();
        all.sort();
        all
    }

    /// The fingerprint of all that happened so far.
    pub fn trace_hash(&self) -> TraceHash {
        TraceHash::of(self.places().map(|(_, place)| place.trace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;
    use wire::rng::{Rng, child_seed, seed_from_u64};

    /// Sends a number to a random host when its timer fires, and answers even ones.
    struct Chatter {
        rng: Rng,
        plan: AddressPlan,
        hosts: u32,
        due: Option<Time>,
        out: Vec<(SocketAddr, u32)>,
        heard: Vec<(Time, u32)>,
        turns: u32,
    }

    enum Say {
        Talk,
        To(HostId, u32),
        Spin,
    }

    impl Host for Chatter {
        type Command = Say;

        fn handle_command(&mut self, now: Time, command: Say) {
            match command {
                Say::Talk => self.due = Some(now + Duration::from_millis(5)),
                Say::To(host, n) => self.out.push((self.plan.addr(host), n)),
                Say::Spin => {
                    self.due = Some(now);
                    self.hosts = 0;
                }
            }
        }

        fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
            let n = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            self.heard.push((now, n));
            if n.is_multiple_of(2) {
                self.out.push((from, n / 2));
            }
        }

        fn handle_timeout(&mut self, now: Time) {
            if self.hosts == 0 {
                return;
            }
            let to = HostId(self.rng.below(self.hosts));
            self.out.push((self.plan.addr(to), self.rng.u32()));
            self.due = Some(now + Duration::from_millis(u64::from(1 + self.rng.below(50))));
        }

        fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
            let (to, n) = self.out.pop()?;
            buf.clear();
            buf.extend_from_slice(&n.to_le_bytes());
            if n == 77 {
                buf.resize(2_000, 0);
            }
            Some(to)
        }

        fn poll_timeout(&self) -> Option<Time> {
            self.due
        }

        fn end_turn(&mut self, _: Time) {
            assert!(self.out.is_empty());
            self.turns += 1;
        }
    }

    fn world(seed: u64, hosts: u32, links: LinkConfig) -> World<Chatter> {
        shared_world(seed, hosts, links, 1)
    }

    fn shared_world(seed: u64, hosts: u32, links: LinkConfig, workers: u32) -> World<Chatter> {
        let seed = seed_from_u64(seed);
        let mut world = World::shared(links, &seed, workers);
        for i in 0..hosts {
            let rng = Rng::new(&child_seed(&seed, "chatter", u64::from(i)));
            let plan = world.addresses().clone();
            let (due, out, heard) = (None, Vec::new(), Vec::new());
            world.add_host(Chatter { rng, plan, hosts, due, out, heard, turns: 0 });
        }
        world
    }

    fn talk(seed: u64, links: LinkConfig, order: impl Iterator<Item = u32>) -> World<Chatter> {
        let mut world = world(seed, 50, links);
        for i in order {
            world.command(Time::ZERO, HostId(i), Say::Talk);
        }
        world.run_until(Time::from_secs(5));
        world
    }

    fn faulty() -> LinkConfig {
        LinkConfig { loss: 0.1, duplicate: 0.1, reorder: 0.2, ..LinkConfig::default() }
    }

    /// What [`talk`] gives with seed 7 in every build, on every machine. If the world's law is
    /// changed on purpose, take the new value from the message of the test that fails.
    const GOLDEN: &str = "3ed64a926055bca8957c232cf59c30f7c23ce2c6";

    #[test]
    fn a_seed_replays_bit_for_bit() {
        let world = talk(7, faulty(), 0..50);
        assert!(world.counters().delivered > 5_000, "{:?}", world.counters());
        assert_eq!(world.trace_hash().to_string(), GOLDEN);
        assert_eq!(world.trace_hash(), talk(7, faulty(), 0..50).trace_hash());
        assert_ne!(world.trace_hash(), talk(8, faulty(), 0..50).trace_hash());
    }

    #[test]
    fn any_number_of_workers_gives_what_one_gives() {
        for workers in [2, 3, 50] {
            let mut world = shared_world(7, 50, faulty(), workers);
            for i in 0..50 {
                world.command(Time::ZERO, HostId(i), Say::Talk);
            }
            // Windows that the end of a run cuts are gone on with.
            for ms in [3, 3, 17, 1_000, 1_001, 5_000] {
                world.run_until(Time::from_millis(ms));
            }
            assert_eq!(world.trace_hash().to_string(), GOLDEN, "{workers} workers");
            assert_eq!(world.counters(), talk(7, faulty(), 0..50).counters());
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_worker_that_breaks_ends_the_others() {
        let mut world = shared_world(1, 3, LinkConfig::default(), 2);
        world.command(Time::ZERO, HostId(1), Say::Spin);
        world.run_until(Time::from_secs(1));
    }

    #[test]
    fn the_order_of_insertion_changes_nothing() {
        let there = talk(7, faulty(), 0..50);
        let back = talk(7, faulty(), (0..50).rev());
        assert_eq!(there.trace_hash(), back.trace_hash());
        assert_eq!(there.counters(), back.counters());
    }

    #[test]
    fn time_in_small_steps_is_time_in_one() {
        let mut world = world(7, 50, faulty());
        for i in 0..50 {
            world.command(Time::ZERO, HostId(i), Say::Talk);
        }
        for ms in (0..5_000).step_by(7) {
            world.run_until(Time::from_millis(ms));
        }
        world.run_until(Time::from_secs(5));
        assert_eq!(world.trace_hash(), talk(7, faulty(), 0..50).trace_hash());
    }

    #[test]
    fn hosts_that_are_not_touched_have_no_part() {
        // One more talker changes only those whom it reaches: the others' draws stay the same.
        let fate = |extra: bool| {
            let mut world = world(7, 50, faulty());
            for n in 0..200 {
                world.command(
                    Time::from_millis(n),
                    HostId(1),
                    Say::To(HostId(2), 2 * n as u32 + 1),
                );
                if extra {
                    world.command(Time::from_millis(n), HostId(3), Say::To(HostId(4), 1));
                }
            }
            world.run_until(Time::from_secs(5));
            world.host(HostId(2)).heard.clone()
        };
        assert_eq!(fate(false), fate(true));
        assert!((120..240).contains(&fate(false).len()));
    }

    #[test]
    fn a_datagram_arrives_after_its_latency() {
        let mut world = world(1, 2, LinkConfig::default());
        world.command(Time::from_secs(1), HostId(0), Say::To(HostId(1), 5));
        world.run_until(Time::from_secs(2));
        let latency = world.net.links.latency(HostId(0), HostId(1));
        assert_eq!(world.host(HostId(1)).heard, [(Time::from_secs(1) + latency, 5)]);
        assert_eq!(world.shards[0].packets_in_use(), 0);
    }

    #[test]
    fn what_cannot_arrive_is_counted() {
        let mut world = world(1, 3, LinkConfig::default());
        world.command(Time::ZERO, HostId(0), Say::To(HostId(1), 77));
        world.command(Time::ZERO, HostId(0), Say::To(HostId(9), 1));
        world.command(Time::ZERO, HostId(0), Say::To(HostId(2), 1));
        world.stop_host(HostId(2));
        world.command(Time::ZERO, HostId(2), Say::Talk);
        world.run_until(Time::from_secs(1));
        let counters = world.counters();
        assert_eq!((counters.sent, counters.delivered), (3, 0));
        assert_eq!((counters.too_long, counters.unroutable), (1, 2));
        assert!(world.host(HostId(2)).heard.is_empty() && world.host(HostId(2)).turns == 0);
        assert_eq!(world.shards[0].packets_in_use(), 0);
    }

    #[test]
    #[should_panic(expected = "host 1 asks for a timeout")]
    fn a_host_that_spins_is_found() {
        let mut world = world(1, 3, LinkConfig::default());
        world.command(Time::ZERO, HostId(1), Say::Spin);
        world.run_until(Time::from_secs(1));
    }
}
