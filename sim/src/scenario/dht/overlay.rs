//! A world of nodes, some of which leave and come.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use dht::Snapshot;
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use super::seats::{Seats, lets_in};
use super::{ChurnLaw, ChurnOptions, DhtScenario};
use crate::scenario::Setup;
use crate::scenario::parts::{Group, minutes};
use crate::truth::Lives;
use crate::{Churn, Day, DhtCommand, DhtHost, HostId, LookupOutcome, Step, World};

/// Of the nodes that leave within a median session, as a share of all: the logarithm of 2, for each is
/// as likely to leave at any moment.
const LEAVE_A_MEDIAN: f64 = std::f64::consts::LN_2;
/// Draws for one that can be joined by, before there is taken to be none.
const ENTRY_DRAWS: u32 = 1_000;

/// The overlay.
pub(super) struct Overlay<'a> {
    pub(super) world: World<DhtHost>,
    seed: Seed,
    /// Who leaves, and by whom others come.
    rng: Rng,
    pub(super) living: Vec<HostId>,
    pub(super) lives: Lives,
    pub(super) seats: Seats,
    pub(super) left: u32,
    /// Lookups of nodes whose place another has taken.
    pub(super) earlier: Vec<(HostId, LookupOutcome)>,
    leave_every: Option<Duration>,
    leave_at: Time,
    measured: Option<Measured>,
    /// Who comes or goes when, by the measured laws.
    due: BinaryHeap<Reverse<(Time, u32)>>,
    restarts: u64,
    chaos: Option<Chaos>,
    setup: &'a Setup<'a>,
    shipped_tables: bool,
    /// Hosts of commands that have not ended.
    commands: Vec<HostId>,
    /// Who was told what, if that is to be told.
    pub(super) steps: Vec<Step<DhtCommand>>,
}

/// Nodes that come and go by measured laws.
#[derive(Clone, Copy, Debug)]
struct Measured {
    law: Churn,
    /// When they come back.
    day: Day,
    /// They save their contacts.
    saves: bool,
}

/// Nodes that are watched, of which some misbehave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chaos {
    /// The share with bad manners.
    pub(super) rude: f64,
    /// Until then, and until then links have faults.
    pub(super) until: Time,
}

/// What nodes have asked, and what was not answered in time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) asked: u64,
    pub(super) timeouts: u64,
}

impl<'a> Overlay<'a> {
    /// The first nodes, which join one after the other.
    pub(super) fn new(
        scenario: &DhtScenario,
        chaos: Option<Chaos>,
        seed: &Seed,
        workers: u32,
        rng: &mut Rng,
        setup: &'a Setup<'a>,
    ) -> Overlay<'a> {
        let mut links = scenario.links.config();
        links.perfect_from = chaos.map(|chaos| chaos.until);
        let mut overlay = Overlay {
            chaos,
            setup,
            world: World::shared(links, seed, workers),
            seed: *seed,
            rng: Rng::new(&child_seed(seed, "churn", 0)),
            living: Vec::new(),
            lives: Lives::default(),
            seats: Seats::default(),
            left: 0,
            earlier: Vec::new(),
            leave_every: None,
            leave_at: Time::ZERO,
            measured: None,
            due: BinaryHeap::new(),
            restarts: 0,
            shipped_tables: scenario.shipped_tables,
            commands: Vec::new(),
            steps: Vec::new(),
        };
        let groups =
            scenario.nat.groups(scenario.nodes, &mut Rng::new(&child_seed(seed, "nat", 0)));
        let mut entries: Vec<HostId> = Vec::new();
        let (mut at, mut n) = (Time::ZERO, 0);
        for group in groups {
            for host in overlay.seat(&group) {
                let entry = (n > 0).then(|| entries[rng.index(entries.len())]);
                overlay.join(at, host, entry);
                if lets_in(group.nat) && !overlay.seats.is_inside(host) {
                    entries.push(host);
                }
                at += scenario.join_gap(n);
                n += 1;
            }
        }
        overlay
    }

    /// Adds the hosts of a group.
    fn seat(&mut self, group: &Group) -> Vec<HostId> {
        let first = self.world.len() as u32;
        let numbers = first..first + group.hosts;
        let Some(nat) = group.nat else {
            self.seats.open();
            let host = self.node(HostId(first), 0);
            return vec![self.world.add_host(host)];
        };
        self.seats.home(group);
        let hosts = numbers.map(|n| self.node(HostId(n), 0)).collect();
        self.world.add_home(nat.config(), group.addresses, hosts)
    }

    /// A node for a host, the first there or a later one.
    fn node(&self, host: HostId, restart: u64) -> DhtHost {
        let seed = match restart {
            0 => child_seed(&self.seed, "host", host.0.into()),
            n => child_seed(&self.seed, "host again", n),
        };
        let addr = self.own_addr(host);
        let outside = Some(addr.ip()).filter(|_| !self.seats.is_inside(host));
        let config = if self.shipped_tables { DhtHost::alone() } else { (self.setup.nodes)(host) };
        let mut node = DhtHost::sharing(&config, addr, outside, &seed, self.world.now());
        if let Some(chaos) = self.chaos {
            node.watch();
            let mut rng = Rng::new(&child_seed(&self.seed, "manners", host.0.into()));
            if rng.chance(chaos.rude) {
                node.misbehave(&child_seed(&seed, "mischief", 0), chaos.until);
            }
        }
        node
    }

    /// The address that a host has itself.
    fn own_addr(&self, host: HostId) -> SocketAddr {
        match self.seats.place_inside(host) {
            Some(k) => World::<DhtHost>::inside_addr(k),
            None => self.world.addresses().addr(host),
        }
    }

    /// A host's node joins by `entry` at `at`.
    fn join(&mut self, at: Time, host: HostId, entry: Option<HostId>) {
        self.lives.begin(self.world.host(host).node().id(), at);
        self.living.push(host);
        self.bootstrap(at, host, entry);
    }

    fn bootstrap(&mut self, at: Time, host: HostId, entry: Option<HostId>) {
        if let Some(entry) = entry {
            let entry = self.world.addresses().addr(entry);
            self.command_at(at, host, DhtCommand::Bootstrap(entry));
        }
    }

    /// Another host, in the open, whose node comes by `entry` for one command.
    pub(super) fn command_by(&mut self, entry: HostId) -> HostId {
        self.seats.open();
        let host = HostId(self.world.len() as u32);
        let seed = child_seed(&self.seed, "host", host.0.into());
        let addr = self.world.addresses().addr(host);
        self.world.add_host(DhtHost::command(addr, &seed, self.world.now()));
        self.commands.push(host);
        self.bootstrap(self.world.now(), host, Some(entry));
        host
    }

    /// The hosts of commands end.
    pub(super) fn end_commands(&mut self) {
        for host in std::mem::take(&mut self.commands) {
            self.world.stop_host(host);
        }
    }

    pub(super) fn any_living(&self, rng: &mut Rng) -> HostId {
        self.living[rng.index(self.living.len())]
    }

    pub(super) fn command(&mut self, host: HostId, command: DhtCommand) {
        self.command_at(self.world.now(), host, command);
    }

    fn command_at(&mut self, at: Time, host: HostId, command: DhtCommand) {
        if self.setup.tells {
            self.steps.push(Step { at, host, command: command.clone() });
        }
        self.world.command(at, host, command);
    }

    /// From now on nodes come and go.
    pub(super) fn begin_churn(&mut self, churn: &ChurnOptions) {
        let now = self.world.now();
        match churn.law {
            ChurnLaw::None => {}
            ChurnLaw::Exponential => {
                let median = minutes(churn.median_min).as_secs_f64();
                let every = median / (self.world.len() as f64 * LEAVE_A_MEDIAN);
                self.leave_every = Some(Duration::from_micros((every * 1e6).max(1.0) as u64));
                self.leave_at = now;
            }
            ChurnLaw::Measured => {
                let law = churn.measured();
                let day = churn.day.day();
                self.measured = Some(Measured { law, day, saves: churn.saves_contacts });
                for host in (0..self.world.len() as u32).map(HostId) {
                    let (is_on, stay) = law.start(&mut self.rng);
                    let stay = if is_on { stay } else { day.after(now, stay) };
                    self.due.push(Reverse((now + stay, host.0)));
                    if !is_on && self.living.len() > 1 {
                        self.leave(host);
                    }
                }
            }
        }
    }

    /// From now on all stay; who is off comes back.
    pub(super) fn end_churn(&mut self) {
        self.leave_every = None;
        let off: BTreeSet<u32> = self.due.drain().map(|Reverse((_, host))| host).collect();
        for host in off
            .into_iter()
            .map(HostId)
            .filter(|host| !self.living.contains(host))
            .collect::<Vec<_>>()
        {
            self.come_or_go(host);
        }
        self.due.clear();
        self.measured = None;
    }

    /// Lets time pass until `to`, and nodes leave and come meanwhile.
    pub(super) fn run_to(&mut self, to: Time, tell: &mut impl FnMut(Time)) {
        while self.world.now() < to {
            let second = (self.world.now() + Duration::from_secs(1)).min(to);
            while let Some(every) = self.leave_every.filter(|_| self.leave_at <= second) {
                self.world.run_until(self.leave_at);
                self.replace_one();
                self.leave_at += every;
            }
            while let Some(&Reverse((at, host))) = self.due.peek()
                && at <= second
            {
                self.due.pop();
                self.world.run_until(at);
                self.come_or_go(HostId(host));
            }
            self.world.run_until(second);
            tell(second);
        }
    }

    /// One leaves, whoever it is; another one comes. In the open it has an address of its own; behind a
    /// translator it takes the place of the one that left.
    fn replace_one(&mut self) {
        let at = self.rng.index(self.living.len());
        let gone = self.living.swap_remove(at);
        self.stop(gone);
        self.left += 1;
        let entry = self.entry();
        let now = self.world.now();
        if self.seats.is_inside(gone) {
            self.restart(gone, None, entry);
            return;
        }
        for host in self.seat(&Group::OPEN) {
            self.join(now, host, entry);
        }
    }

    /// One by which others can join.
    fn entry(&mut self) -> Option<HostId> {
        if self.living.is_empty() {
            return None;
        }
        let mut draws = (0..ENTRY_DRAWS).map(|_| self.living[self.rng.index(self.living.len())]);
        draws.find(|host| !self.seats.is_inside(*host))
    }

    /// A host that is on goes off, and one that is off comes back with what it saved.
    fn come_or_go(&mut self, host: HostId) {
        let Some(Measured { law, day, saves }) = self.measured else { return };
        let is_on = self.living.contains(&host);
        let (now, stay) = (self.world.now(), law.stay(!is_on, &mut self.rng));
        let stay = if is_on { day.after(now, stay) } else { stay };
        self.due.push(Reverse((now + stay, host.0)));
        if !is_on {
            let saved = saves.then(|| self.world.host(host).node().snapshot());
            let entry = self.entry();
            self.restart(host, saved, entry);
        } else if self.living.len() > 1 {
            self.leave(host);
            self.left += 1;
        }
    }

    /// Another program starts on a host that was off. It is told of `entry` beside what it saved, as programs
    /// have their list of bootstrap nodes with them.
    fn restart(&mut self, host: HostId, saved: Option<Snapshot>, entry: Option<HostId>) {
        let now = self.world.now();
        let old = self.world.host(host).lookups().map(|outcome| (host, outcome.clone()));
        self.earlier.extend(old);
        self.restarts += 1;
        let mut node = self.node(host, self.restarts);
        if let Some(saved) = &saved {
            node.restore(now, saved);
        }
        self.lives.begin_again(host, node.node().id(), now);
        self.world.restart_host(host, node);
        self.living.push(host);
        self.bootstrap(now, host, entry);
    }

    fn leave(&mut self, host: HostId) {
        self.living.retain(|living| *living != host);
        self.stop(host);
    }

    fn stop(&mut self, host: HostId) {
        self.world.stop_host(host);
        self.lives.end(host, self.world.now());
    }

    /// A share of the nodes falls silent for good; one stays.
    pub(super) fn silence(&mut self, share: f64, rng: &mut Rng) {
        rng.shuffle(&mut self.living);
        let stay = self.living.len() - (self.living.len() as f64 * share) as usize;
        let silent: BTreeSet<HostId> = self.living.split_off(stay.max(1)).into_iter().collect();
        silent.iter().for_each(|host| self.stop(*host));
        self.due.retain(|Reverse((_, host))| !silent.contains(&HostId(*host)));
    }

    /// Whoever has learnt its address has taken another id since it joined.
    pub(super) fn rename_lives(&mut self) {
        for host in &self.living {
            self.lives.rename(*host, self.world.host(*host).node().id());
        }
    }

    /// Share of the contacts of the living that are dead.
    pub(super) fn dead_contacts(&self) -> f64 {
        let inside = self.living.iter().filter(|host| self.seats.is_inside(**host));
        let inside: BTreeSet<_> = inside.map(|host| self.world.host(*host).node().id()).collect();
        let (mut all, mut dead) = (0u32, 0u32);
        for host in &self.living {
            for contact in self.world.host(*host).node().contacts() {
                let of = self.world.addresses().host(&contact.node.addr);
                // Who shares an address is known by its id.
                let of = of.filter(|of| !self.seats.is_inside(*of));
                let is_dead = match of {
                    Some(of) => self.lives.has_ended(of),
                    None => !inside.contains(&contact.node.id),
                };
                all += 1;
                dead += u32::from(is_dead);
            }
        }
        f64::from(dead) / f64::from(all.max(1))
    }

    pub(super) fn tally(&self) -> Tally {
        let start = Tally { sent: self.world.counters().sent, ..Tally::default() };
        self.living.iter().fold(start, |sum, host| {
            let stats = self.world.host(*host).node().stats();
            Tally { asked: sum.asked + stats.asked, timeouts: sum.timeouts + stats.timeouts, ..sum }
        })
    }
}
