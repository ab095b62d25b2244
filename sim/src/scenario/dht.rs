//! An overlay in which some announce and others look for what was announced.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use wire::rng::{Rng, child_seed, seed_from_u64};
use wire::time::Time;
use wire::{Id, InfoHash};

use crate::{
    Counters, DhtCommand, DhtHost, HostId, LinkConfig, LookupOutcome, Summary, TraceHash, World,
};

/// Time between two nodes that join.
const JOIN_EVERY: Duration = Duration::from_millis(20);
/// Time after the last has joined.
const SETTLE: Duration = Duration::from_secs(30);
/// Time between two announces, or two lookups.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Time for the last announce, or the last lookup, to end.
const GRACE: Duration = Duration::from_secs(20);
/// The TCP port that is announced.
const PEER_PORT: u16 = 6999;

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
    /// Names the run.
    pub seed: u64,
    /// The links.
    pub links: LinkConfig,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct DhtReport {
    /// Lookups that found the peer that was announced.
    pub found: u32,
    /// All lookups.
    pub lookups: u32,
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
    /// Contacts in a routing table.
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
        let mut world: World<DhtHost> = World::new(self.links.clone(), &seed);
        for n in 0..self.nodes {
            let addr = world.addresses().addr(HostId(n));
            let id = world.add_host(DhtHost::new(addr, &child_seed(&seed, "host", n.into())));
            if n > 0 {
                let entry = world.addresses().addr(HostId(rng.below(n)));
                world.command(Time::ZERO + JOIN_EVERY * n, id, DhtCommand::Bootstrap(entry));
            }
        }
        let hashes: Vec<InfoHash> = (0..self.lookups).map(|_| Id::random(&mut rng)).collect();
        let announce_at = Time::ZERO + JOIN_EVERY * self.nodes + SETTLE;
        let lookup_at = announce_at + ASK_EVERY * self.lookups + GRACE;
        let end = lookup_at + ASK_EVERY * self.lookups + GRACE;
        let mut owners: BTreeMap<InfoHash, SocketAddr> = BTreeMap::new();
        for (n, hash) in (0..).zip(&hashes) {
            let owner = HostId(rng.below(self.nodes));
            let addr = SocketAddr::new(world.addresses().addr(owner).ip(), PEER_PORT);
            owners.insert(*hash, addr);
            let command = DhtCommand::Announce(*hash, PEER_PORT);
            world.command(announce_at + ASK_EVERY * n, owner, command);
        }
        let mut order: Vec<u32> = (0..self.nodes).collect();
        rng.shuffle(&mut order);
        let alive = (self.nodes - (f64::from(self.nodes) * self.dead) as u32).max(1);
        let (alive, dead) = order.split_at(alive as usize);
        for (n, hash) in (0..).zip(&hashes) {
            let asker = HostId(alive[rng.index(alive.len())]);
            world.command(lookup_at + ASK_EVERY * n, asker, DhtCommand::Lookup(*hash));
        }
        let mut run_to = |world: &mut World<DhtHost>, to: Time| {
            while world.now() < to {
                world.run_until((world.now() + Duration::from_secs(1)).min(to));
                progress(world.now().as_secs_f64() / end.as_secs_f64());
            }
        };
        run_to(&mut world, lookup_at);
        dead.iter().for_each(|id| world.stop_host(HostId(*id)));
        let before = world.counters().sent;
        run_to(&mut world, end);
        self.report(&world, &owners, before)
    }

    fn report(
        &self,
        world: &World<DhtHost>,
        owners: &BTreeMap<InfoHash, SocketAddr>,
        sent_before: u64,
    ) -> DhtReport {
        let hosts = || world.hosts().map(|(_, host, _)| host);
        let outcomes: Vec<&LookupOutcome> = hosts().flat_map(DhtHost::lookups).collect();
        let finds = |o: &&&LookupOutcome| {
            owners.get(&o.info_hash).is_some_and(|owner| o.peers.contains(owner))
        };
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let (announces, kept) =
            hosts().map(DhtHost::announces).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let ended = || outcomes.iter().filter(|o| o.ended.is_some());
        DhtReport {
            found: outcomes.iter().filter(finds).count() as u32,
            lookups: self.lookups,
            hops: Summary::of(ended().map(|o| f64::from(o.hops))),
            asked: Summary::of(ended().map(|o| f64::from(o.asked))),
            first_peer_ms: Summary::of(outcomes.iter().filter_map(|o| o.first_peer).map(ms)),
            end_ms: Summary::of(outcomes.iter().filter_map(|o| o.ended).map(ms)),
            kept_by_mean: f64::from(kept) / f64::from(announces.max(1)),
            contacts: Summary::of(hosts().map(|h| h.node().contacts().len() as f64)),
            packets_per_lookup: (world.counters().sent - sent_before) as f64
                / f64::from(self.lookups.max(1)),
            counters: *world.counters(),
            virtual_time: world.now(),
            trace_hash: world.trace_hash(),
        }
    }
}
