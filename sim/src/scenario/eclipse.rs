//! An overlay in which adversaries stand before keys, and others store and look for items there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dht::{Item, SigningKey};
use wire::rng::{Rng, child_seed, seed_from_u64};
use wire::time::Time;
use wire::{Id, NodeId};

use super::Setup;
use super::options::options;
use super::parts::LinkOptions;
use crate::results::{Better, Figure, Outcome, RunCounters};
use crate::sybil::{Ring, Sybil};
use crate::{Counters, DhtCommand, DhtHost, Host, HostId, TraceHash, World};

/// Time between two nodes that join.
const JOIN_EVERY: Duration = Duration::from_millis(20);
/// Time for the overlay to settle, and for the adversaries to be listed.
const SETTLE: Duration = Duration::from_secs(120);
/// Time for an item to be stored, and looked for in its second half.
const ITEM_EVERY: Duration = Duration::from_secs(20);

options! {
    /// What a run is to hold; else its verdict is that it did not, and the program ends with 3.
    pub struct EclipsePromise {
        /// The share of the items that an honest node has after the put, at least.
        stored: f64 = 0.95, in 0..=1;
        /// The share of the items that are found, at least.
        found: f64 = 0.95, in 0..=1;
    }
}

options! {
    /// An overlay in which adversaries stand before a key, or anywhere. Each item is stored by one
    /// honest node and looked for by another.
    pub struct EclipseScenario {
        /// Honest nodes.
        nodes: u32 = 500, in 2..=100_000;
        /// Adversaries, each at an address, and a network, of its own; they answer, name each other alone,
        /// take what they are given and give nothing back.
        sybils: u32 = 20, in 0..=100_000;
        /// Whether they all stand before the item's key; else anywhere.
        aimed: bool = true;
        /// Items stored and looked for; if the adversaries are aimed, versions of one.
        items: u32 = 60, in 1..=100_000;
        /// What happens to packets.
        links: LinkOptions = LinkOptions::default();
        /// What it is to hold.
        promise: EclipsePromise = EclipsePromise::default();
    }
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct EclipseReport {
    /// Puts after which at least one honest node had the item.
    pub stored: u32,
    /// Lookups that found it.
    pub found: u32,
    /// Puts, and lookups.
    pub items: u32,
    /// Lookups that looked around.
    pub surrounded: u64,
    /// Nodes asked in a lookup, on average.
    pub asked_mean: f64,
    /// The world's counts.
    pub counters: Counters,
    /// Virtual time at the end.
    pub virtual_time: Time,
    /// The fingerprint of the run.
    pub trace_hash: TraceHash,
}

/// An honest node or an adversary.
enum Actor {
    Node(Box<DhtHost>),
    Sybil(Sybil),
}

/// Hands each call to whichever of the two it is.
macro_rules! either {
    ($self:ident, $host:ident => $call:expr) => {
        match $self {
            Actor::Node($host) => $call,
            Actor::Sybil($host) => $call,
        }
    };
}

impl Host for Actor {
    type Command = DhtCommand;

    fn handle_command(&mut self, now: Time, command: DhtCommand) {
        if let Actor::Node(host) = self {
            host.handle_command(now, command);
        }
    }

    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        either!(self, host => host.handle_datagram(now, from, bytes));
    }

    fn handle_timeout(&mut self, now: Time) {
        either!(self, host => host.handle_timeout(now));
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        either!(self, host => host.poll_transmit(buf))
    }

    fn poll_timeout(&self) -> Option<Time> {
        either!(self, host => host.poll_timeout())
    }

    fn end_turn(&mut self, now: Time) {
        either!(self, host => host.end_turn(now));
    }
}

impl EclipseScenario {
    /// Runs it: `seed` names the run, and `workers` threads share it, which changes nothing but its time.
    /// `progress` is told of the share of virtual time that has passed.
    pub fn run(&self, seed: u64, workers: u32, progress: impl FnMut(f64)) -> EclipseReport {
        self.run_with(seed, workers, Setup::default(), progress)
    }

    /// ... with honest nodes of one's own.
    pub fn run_with(
        &self,
        seed: u64,
        workers: u32,
        setup: Setup<'_>,
        mut progress: impl FnMut(f64),
    ) -> EclipseReport {
        let seed = seed_from_u64(seed);
        let mut rng = Rng::new(&child_seed(&seed, "scenario", 0));
        let items = self.make_items(&mut rng);
        let key = items.first().map(Item::target).unwrap_or_default();
        let mut world: World<Actor> = World::shared(self.links.config(), &seed, workers);
        let addr = |world: &World<Actor>, n| world.addresses().addr(HostId(n));
        for n in 0..self.nodes {
            let (addr, config) = (addr(&world, n), (setup.nodes)(HostId(n)));
            let seed = child_seed(&seed, "host", n.into());
            let host = DhtHost::sharing(&config, addr, Some(addr.ip()), &seed, Time::ZERO);
            let id = world.add_host(Actor::Node(Box::new(host)));
            if n > 0 {
                let entry = world.addresses().addr(HostId(rng.below(n)));
                world.command(Time::ZERO + JOIN_EVERY * n, id, DhtCommand::Bootstrap(entry));
            }
        }
        let joined = Time::ZERO + JOIN_EVERY * self.nodes;
        let ring = Arc::new(Ring {
            nodes: (0..self.sybils)
                .map(|n| addr(&world, self.nodes + n))
                .map(|addr| (self.sybil_id(&key, addr.ip(), &mut rng), addr))
                .collect(),
            honest: (0..self.nodes).map(|n| addr(&world, n)).collect(),
        });
        for (id, _) in &ring.nodes {
            world.add_host(Actor::Sybil(Sybil::new(*id, key, ring.clone(), joined)));
        }
        setup.capture.into_iter().for_each(|capture| world.capture(capture));
        let put_at = joined + SETTLE;
        for (n, item) in (0..).zip(&items) {
            let (writer, reader) = (HostId(rng.below(self.nodes)), HostId(rng.below(self.nodes)));
            let at = put_at + ITEM_EVERY * n;
            world.command(at, writer, DhtCommand::Put(Box::new(item.clone())));
            // It has what was there before, and wants this one.
            let get = DhtCommand::Get(item.key(), item.seq().map(|seq| seq - 1));
            world.command(at + ITEM_EVERY / 2, reader, get);
        }
        let mut stored = 0;
        for (n, item) in (0..).zip(&items) {
            world.run_until(put_at + ITEM_EVERY * n + ITEM_EVERY / 2);
            progress(f64::from(n) / f64::from(self.items));
            stored += u32::from(
                honest(&world).any(|host| host.node().item(&item.target()) == Some(item)),
            );
        }
        world.run_until(put_at + ITEM_EVERY * (self.items + 2));
        let gets: Vec<_> = honest(&world).flat_map(DhtHost::gets).collect();
        let asked = gets.iter().map(|get| f64::from(get.asked)).sum::<f64>();
        EclipseReport {
            stored,
            found: gets.iter().filter(|get| get.found).count() as u32,
            items: self.items,
            surrounded: honest(&world).map(|host| host.node().stats().surrounded).sum(),
            asked_mean: asked / gets.len().max(1) as f64,
            counters: world.counters(),
            virtual_time: world.now(),
            trace_hash: world.trace_hash(),
        }
    }

    /// What a run gives.
    pub(super) fn outcome(&self, report: &EclipseReport) -> Outcome {
        use Better::{Higher, Lower, Neither};
        let share = |part: u32| f64::from(part) / f64::from(report.items.max(1));
        let (stored, found) = (share(report.stored), share(report.found));
        let promise = &self.promise;
        let verdict = if stored < promise.stored {
            Err(format!("{} of {} items stored", report.stored, report.items))
        } else if found < promise.found {
            Err(format!("{} of {} items found", report.found, report.items))
        } else {
            Ok(())
        };
        Outcome {
            figures: vec![
                Figure::new("stored_share", "", stored, Higher),
                Figure::new("found_share", "", found, Higher),
                Figure::new("asked", "", report.asked_mean, Lower),
                Figure::new("surrounded", "", report.surrounded as f64, Neither),
            ],
            distributions: Vec::new(),
            series: Vec::new(),
            trace_hash: report.trace_hash.to_string(),
            verdict,
            counters: RunCounters {
                events: report.counters.events,
                packets: report.counters.sent,
                virtual_s: report.virtual_time.as_secs_f64(),
            },
        }
    }

    /// Versions of one item if the adversaries are aimed, else items of their own.
    fn make_items(&self, rng: &mut Rng) -> Vec<Item> {
        let signer = SigningKey::from_bytes(&rng.bytes());
        let item = |n: u32| {
            let salt = n.to_be_bytes();
            let salt = if self.aimed { &[][..] } else { &salt };
            Item::sign(&signer, salt, i64::from(n) + 1, b"4:item").ok()
        };
        (0..self.items).filter_map(item).collect()
    }

    /// An id next to the key, nearer than any honest node by chance; or any that its address allows
    /// (BEP 42).
    fn sybil_id(&self, key: &Id, ip: IpAddr, rng: &mut Rng) -> NodeId {
        if !self.aimed {
            return dht::make_id(ip, rng);
        }
        let mut id = NodeId::random(rng);
        let shared = self.nodes.max(2).ilog2() + 4;
        (0..shared).for_each(|bit| id.set_bit(bit, key.bit(bit)));
        id
    }
}

fn honest(world: &World<Actor>) -> impl Iterator<Item = &DhtHost> {
    world.hosts().filter_map(|(_, actor, _)| match actor {
        Actor::Node(host) => Some(&**host),
        Actor::Sybil(_) => None,
    })
}
