//! An overlay in which some announce and others look for what was announced.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;
use wire::{Id, InfoHash, NodeId};

use crate::truth::{Lives, Truth};
use crate::{
    Counters, DhtCommand, DhtHost, HostId, LinkConfig, LookupOutcome, Summary, TraceHash, World,
};

/// Time between two nodes that join, unless there are so many that they would take longer than
/// [`JOIN_WITHIN`].
const JOIN_EVERY: Duration = Duration::from_millis(20);
/// Time for all to join; an overlay of so many grows by its 20th part a second at most.
const JOIN_WITHIN: Duration = Duration::from_secs(600);
const GROWTH_A_SECOND: u32 = 20;
/// Time after the last has joined.
const SETTLE: Duration = Duration::from_secs(30);
/// Time between two announces, or two lookups, unless all of them would take longer than
/// [`ASK_WITHIN`].
const ASK_EVERY: Duration = Duration::from_millis(10);
const ASK_WITHIN: Duration = Duration::from_secs(100);
/// Time for the last announce, or the last lookup, to end.
const GRACE: Duration = Duration::from_secs(20);
/// The TCP port that is announced.
const PEER_PORT: u16 = 6999;

/// Of the nodes that leave within a median session, as a share of all: the logarithm of 2, for each is
/// as likely to leave at any moment.
const LEAVE_A_MEDIAN: f64 = std::f64::consts::LN_2;
/// Nodes that a lookup is to find.
const CLOSEST: usize = 8;

/// The overlay: each node joins by one that is there; then each info-hash is announced by one node
/// and looked for by another.
#[derive(Clone, Debug)]
pub struct DhtScenario {
    /// Nodes, at least 2.
    pub nodes: u32,
    /// Info-hashes announced and looked for.
    pub lookups: u32,
    /// Share of the nodes that fall silent between the announces and the lookups; who looks is
    /// none of them.
    pub dead: f64,
    /// How long half of the nodes stay; for each that leaves another one comes. So it goes for a
    /// whole such time before the announces, and to the end. Zero: all stay.
    pub churn: Duration,
    /// Names the run.
    pub seed: u64,
    /// The links.
    pub links: LinkConfig,
    /// Threads that share it; they change nothing but its time.
    pub workers: u32,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct DhtReport {
    /// Lookups that found the peer that was announced.
    pub found: u32,
    /// All lookups.
    pub lookups: u32,
    /// Lookups that ended, by how many of the [`closest`](Self::closest) they found.
    pub found_closest: [u32; CLOSEST + 1],
    /// How many of the 8 nodes that are closest to the key, of those that lived from its start to its
    /// end, a lookup found.
    pub closest: Summary,
    /// Nodes that left and others that came, before the lookups and during them.
    pub left: u32,
    /// Share of the contacts of living nodes that were dead when the lookups began.
    pub dead_contacts: f64,
    /// Queries one after the other that led to the closest node.
    pub hops: Summary,
    /// Nodes asked in a lookup.
    pub asked: Summary,
    /// Milliseconds to the first peer, of the lookups that found any.
    pub first_peer_ms: Summary,
    /// Milliseconds to the end.
    pub end_ms: Summary,
    /// Nodes that kept each announce.
    pub kept_by_mean: f64,
    /// Contacts in a routing table of a living node.
    pub contacts: Summary,
    /// Datagrams sent from the start of the lookups on, a lookup.
    pub packets_per_lookup: f64,
    /// The world's counts, of the whole run.
    pub counters: Counters,
    /// Virtual time at the end.
    pub virtual_time: Time,
    /// The fingerprint of the run.
    pub trace_hash: TraceHash,
}

impl DhtScenario {
    /// Runs it. `progress` is told of the share of virtual time that has passed.
    pub fn run(&self, mut progress: impl FnMut(f64)) -> DhtReport {
        let seed = seed_from_u64(self.seed);
        let mut rng = Rng::new(&child_seed(&seed, "scenario", 0));
        let mut overlay = Overlay::new(self, &seed, &mut rng);
        let hashes: Vec<InfoHash> = (0..self.lookups).map(|_| Id::random(&mut rng)).collect();
        let churned_at = self.joined_at() + SETTLE;
        let announce_at = churned_at + self.churn;
        let ask_every = ASK_EVERY.min(ASK_WITHIN / self.lookups);
        let lookup_at = announce_at + ask_every * self.lookups + GRACE;
        let end = lookup_at + ask_every * self.lookups + GRACE;
        let mut tell = |now: Time| progress(now.as_secs_f64() / end.as_secs_f64());
        overlay.run_to(churned_at, &mut tell);
        if !self.churn.is_zero() {
            let every = self.churn.as_secs_f64() / (f64::from(self.nodes) * LEAVE_A_MEDIAN);
            overlay.leave_every = Some(Duration::from_micros((every * 1e6).max(1.0) as u64));
            overlay.leave_at = churned_at;
        }
        let mut owners: BTreeMap<InfoHash, SocketAddr> = BTreeMap::new();
        for (n, hash) in (0..).zip(&hashes) {
            overlay.run_to(announce_at + ask_every * n, &mut tell);
            let owner = overlay.living[rng.index(overlay.living.len())];
            let addr = SocketAddr::new(overlay.world.addresses().addr(owner).ip(), PEER_PORT);
            owners.insert(*hash, addr);
            overlay.command(owner, DhtCommand::Announce(*hash, PEER_PORT));
        }
        overlay.run_to(lookup_at, &mut tell);
        overlay.silence(self.dead, &mut rng);
        let (before, dead_contacts) = (overlay.world.counters().sent, overlay.dead_contacts());
        for (n, hash) in (0..).zip(&hashes) {
            overlay.run_to(lookup_at + ask_every * n, &mut tell);
            let asker = overlay.living[rng.index(overlay.living.len())];
            overlay.command(asker, DhtCommand::Lookup(*hash));
        }
        overlay.run_to(end, &mut tell);
        DhtReport { dead_contacts, ..self.report(&overlay, &owners, before) }
    }

    /// When all have joined.
    fn joined_at(&self) -> Time {
        (0..self.nodes).fold(Time::ZERO, |at, n| at + self.join_gap(n))
    }

    /// Time between the `n`-th node that joins and the next.
    fn join_gap(&self, n: u32) -> Duration {
        let growth = Duration::from_secs(1) * GROWTH_A_SECOND / n.max(1);
        JOIN_EVERY.min(growth.max(JOIN_WITHIN / self.nodes))
    }

    fn report(
        &self,
        overlay: &Overlay,
        owners: &BTreeMap<InfoHash, SocketAddr>,
        sent_before: u64,
    ) -> DhtReport {
        let world = &overlay.world;
        let hosts = || world.hosts().map(|(_, host, _)| host);
        let living = || world.hosts().filter(|(_, _, alive)| *alive).map(|(_, host, _)| host);
        let outcomes: Vec<&LookupOutcome> = hosts().flat_map(DhtHost::lookups).collect();
        let finds = |o: &&&LookupOutcome| {
            owners.get(&o.info_hash).is_some_and(|owner| o.peers.contains(owner))
        };
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let (announces, kept) =
            hosts().map(DhtHost::announces).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let ended = || outcomes.iter().filter(|o| o.ended.is_some());
        let (mut found_closest, truth) = ([0; CLOSEST + 1], overlay.lives.truth());
        for (_, host, _) in world.hosts() {
            for outcome in host.lookups().filter(|o| o.ended.is_some()) {
                found_closest[closest_found(&truth, &host.node().id(), outcome)] += 1;
            }
        }
        let each = (0..).zip(found_closest).flat_map(|(n, of)| (0..of).map(move |_| f64::from(n)));
        DhtReport {
            found: outcomes.iter().filter(finds).count() as u32,
            lookups: self.lookups,
            found_closest,
            closest: Summary::of(each),
            left: overlay.left,
            dead_contacts: 0.0,
            hops: Summary::of(ended().map(|o| f64::from(o.hops))),
            asked: Summary::of(ended().map(|o| f64::from(o.asked))),
            first_peer_ms: Summary::of(outcomes.iter().filter_map(|o| o.first_peer).map(ms)),
            end_ms: Summary::of(outcomes.iter().filter_map(|o| o.ended).map(ms)),
            kept_by_mean: f64::from(kept) / f64::from(announces.max(1)),
            contacts: Summary::of(living().map(|h| h.node().contacts().len() as f64)),
            packets_per_lookup: (world.counters().sent - sent_before) as f64
                / f64::from(self.lookups.max(1)),
            counters: world.counters(),
            virtual_time: world.now(),
            trace_hash: world.trace_hash(),
        }
    }
}

/// A world of nodes, some of which leave.
struct Overlay {
    world: World<DhtHost>,
    seed: Seed,
    /// Who leaves, and by whom others come.
    rng: Rng,
    living: Vec<HostId>,
    lives: Lives,
    left: u32,
    leave_every: Option<Duration>,
    leave_at: Time,
}

impl Overlay {
    /// The first nodes, which join one after the other.
    fn new(scenario: &DhtScenario, seed: &Seed, rng: &mut Rng) -> Overlay {
        let mut overlay = Overlay {
            world: World::shared(scenario.links.clone(), seed, scenario.workers),
            seed: *seed,
            rng: Rng::new(&child_seed(seed, "churn", 0)),
            living: Vec::new(),
            lives: Lives::default(),
            left: 0,
            leave_every: None,
            leave_at: Time::ZERO,
        };
        let mut at = Time::ZERO;
        for n in 0..scenario.nodes {
            let entry = (n > 0).then(|| HostId(rng.below(n)));
            overlay.join(at, entry);
            at += scenario.join_gap(n);
        }
        overlay
    }

    /// Adds a node that joins by `entry` at `at`.
    fn join(&mut self, at: Time, entry: Option<HostId>) {
        let n = self.world.len() as u32;
        let addr = self.world.addresses().addr(HostId(n));
        let host = DhtHost::new(addr, &child_seed(&self.seed, "host", n.into()), self.world.now());
        self.lives.begin(host.node().id(), at);
        let id = self.world.add_host(host);
        self.living.push(id);
        if let Some(entry) = entry {
            let entry = self.world.addresses().addr(entry);
            self.world.command(at, id, DhtCommand::Bootstrap(entry));
        }
    }

    fn command(&mut self, host: HostId, command: DhtCommand) {
        self.world.command(self.world.now(), host, command);
    }

    /// Lets time pass until `to`, and nodes leave and come meanwhile.
    fn run_to(&mut self, to: Time, tell: &mut impl FnMut(Time)) {
        while self.world.now() < to {
            let second = (self.world.now() + Duration::from_secs(1)).min(to);
            while let Some(every) = self.leave_every.filter(|_| self.leave_at <= second) {
                self.world.run_until(self.leave_at);
                self.replace_one();
                self.leave_at += every;
            }
            self.world.run_until(second);
            tell(second);
        }
    }

    /// One leaves, whoever it is; another one comes.
    fn replace_one(&mut self) {
        let at = self.rng.index(self.living.len());
        let gone = self.living.swap_remove(at);
        self.stop(gone);
        self.left += 1;
        let entry = (!self.living.is_empty()).then(|| self.rng.index(self.living.len()));
        let entry = entry.map(|at| self.living[at]);
        self.join(self.world.now(), entry);
    }

    fn stop(&mut self, host: HostId) {
        self.world.stop_host(host);
        self.lives.end(host, self.world.now());
    }

    /// A share of the nodes falls silent; one stays.
    fn silence(&mut self, share: f64, rng: &mut Rng) {
        rng.shuffle(&mut self.living);
        let stay = self.living.len() - (self.living.len() as f64 * share) as usize;
        for host in self.living.split_off(stay.max(1)) {
            self.stop(host);
        }
    }

    /// Share of the contacts of the living that are dead.
    fn dead_contacts(&self) -> f64 {
        let (mut all, mut dead) = (0u32, 0u32);
        for host in &self.living {
            for contact in self.world.host(*host).node().contacts() {
                let of = self.world.addresses().host(&contact.node.addr);
                all += 1;
                dead += u32::from(of.is_none_or(|of| self.lives.has_ended(of)));
            }
        }
        f64::from(dead) / f64::from(all.max(1))
    }
}

/// How many of the nodes that are closest to its key, but for the one that looks, a lookup found.
fn closest_found(truth: &Truth, asker: &NodeId, outcome: &LookupOutcome) -> usize {
    let span = (outcome.started, outcome.started + outcome.ended.unwrap_or_default());
    let nodes = truth.closest(&outcome.info_hash, span, asker, CLOSEST);
    nodes.iter().filter(|id| outcome.closest.contains(id)).count()
}
