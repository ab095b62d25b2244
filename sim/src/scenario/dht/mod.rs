//! An overlay in which some announce and others look for what was announced.

mod options;
mod overlay;
mod report;
mod seats;

use std::collections::BTreeMap;
use std::time::Duration;

use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;
use wire::{Id, InfoHash};

use super::Setup;
use super::parts::{disturb, seconds};
use crate::{DhtCommand, HostId};
use overlay::{Chaos, Overlay};
use seats::Owner;

pub use options::{ChaosOptions, ChurnLaw, ChurnOptions, DhtPromise, DhtScenario};
pub use report::{DhtReport, NatReport};

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
/// The TCP port that is announced by nodes in the open.
const PEER_PORT: u16 = 6999;
/// Torrents that are announced and looked for while anything may fail.
const CHAOS_TORRENTS: u32 = 16;
/// Nodes that a lookup is to find.
const CLOSEST: usize = 8;

/// The moments of a run.
#[derive(Clone, Copy, Debug)]
struct Course {
    settled: Time,
    announces: Time,
    announce_every: Duration,
    lookups: Time,
    lookup_every: Duration,
    end: Time,
}

impl DhtScenario {
    fn course(&self) -> Course {
        let settled = self.joined_at() + SETTLE;
        let announces = match self.chaos.for_s {
            0.0 => settled + self.churn.before(),
            for_s => settled + seconds(for_s) + seconds(self.chaos.heal_s),
        };
        let every = |span_s: f64| match span_s {
            0.0 => ASK_EVERY.min(ASK_WITHIN / self.lookups),
            span_s => seconds(span_s) / self.lookups,
        };
        let announce_every = every(self.announce_span_s);
        let lookup_every = every(self.lookup_span_s);
        let lookups = announces + announce_every * self.lookups + GRACE + seconds(self.rest_s);
        let end = lookups + lookup_every * self.lookups + GRACE;
        Course { settled, announces, announce_every, lookups, lookup_every, end }
    }

    /// Runs it: `seed` names the run, and `workers` threads share it, which changes nothing but its time.
    /// `progress` is told of the share of virtual time that has passed.
    pub fn run(&self, seed: u64, workers: u32, progress: impl FnMut(f64)) -> DhtReport {
        self.run_with(seed, workers, Setup::default(), progress)
    }

    /// ... with nodes of one's own, and looks into it.
    pub fn run_with(
        &self,
        seed: u64,
        workers: u32,
        mut setup: Setup<'_>,
        mut progress: impl FnMut(f64),
    ) -> DhtReport {
        let seed = seed_from_u64(seed);
        let mut rng = Rng::new(&child_seed(&seed, "scenario", 0));
        let course = self.course();
        let healed = course.settled + seconds(self.chaos.for_s);
        let chaos = Chaos { rude: self.chaos.rude, until: healed };
        let chaos = Some(chaos).filter(|_| self.chaos.for_s > 0.0);
        let capture = setup.capture.take();
        let mut overlay = Overlay::new(self, chaos, &seed, workers, &mut rng, &setup);
        for (at, host) in setup.looks.iter().filter(|(_, host)| host.0 < self.nodes) {
            overlay.world.describe_at(*at, *host);
        }
        capture.into_iter().for_each(|capture| overlay.world.capture(capture));
        let hashes: Vec<InfoHash> = (0..self.lookups).map(|_| Id::random(&mut rng)).collect();
        let mut tell = |now: Time| progress(now.as_secs_f64() / course.end.as_secs_f64());
        let homes = overlay.seats.homes();
        let lives = &mut overlay.lives;
        let away = |host, from, until| lives.away(host, from, until);
        disturb(&mut overlay.world, &seed, course.settled, &self.disturbed(), &homes, away);
        overlay.run_to(course.settled, &mut tell);
        overlay.begin_churn(&self.churn);
        if chaos.is_some() {
            self.rage(&mut overlay, &seed, (course.settled, healed), &mut tell);
        }
        let mut owners: BTreeMap<InfoHash, Owner> = BTreeMap::new();
        for (n, hash) in (0..).zip(&hashes) {
            overlay.run_to(course.announces + course.announce_every * n, &mut tell);
            let host = self.asker(&mut overlay, &mut rng);
            owners.insert(*hash, overlay.seats.owner(&overlay.world, host, PEER_PORT));
            let command = match overlay.seats.is_inside(host) {
                true => DhtCommand::AnnounceHere(*hash),
                false => DhtCommand::Announce(*hash, PEER_PORT),
            };
            overlay.command(host, command);
        }
        overlay.run_to(course.lookups, &mut tell);
        overlay.end_commands();
        overlay.silence(self.dead, &mut rng);
        overlay.rename_lives();
        let before = overlay.tally();
        let dead_contacts = overlay.dead_contacts();
        for (n, hash) in (0..).zip(&hashes) {
            overlay.run_to(course.lookups + course.lookup_every * n, &mut tell);
            let asker = self.asker(&mut overlay, &mut rng);
            overlay.command(asker, DhtCommand::Lookup(*hash));
        }
        overlay.run_to(course.end, &mut tell);
        overlay.end_commands();
        let steps = std::mem::take(&mut overlay.steps);
        let report = self.report(&overlay, &owners, &before, course.lookups);
        DhtReport { dead_contacts, steps, ..report }
    }

    /// Who announces or looks next.
    fn asker(&self, overlay: &mut Overlay, rng: &mut Rng) -> HostId {
        let host = overlay.any_living(rng);
        if self.by_commands { overlay.command_by(host) } else { host }
    }

    /// Nodes announce and look for a few torrents while anything may fail; then all stay.
    fn rage(
        &self,
        overlay: &mut Overlay<'_>,
        seed: &Seed,
        (from, until): (Time, Time),
        tell: &mut impl FnMut(Time),
    ) {
        let mut rng = Rng::new(&child_seed(seed, "chaos", 0));
        let hashes: Vec<InfoHash> = (0..CHAOS_TORRENTS).map(|_| Id::random(&mut rng)).collect();
        let every = until.since(from) / self.chaos.operations.max(1);
        for n in 0..self.chaos.operations {
            overlay.run_to(from + every * n, tell);
            let (host, hash) = (overlay.any_living(&mut rng), hashes[rng.index(hashes.len())]);
            overlay.command(
                host,
                match rng.below(2) {
                    0 => DhtCommand::AnnounceHere(hash),
                    _ => DhtCommand::Lookup(hash),
                },
            );
        }
        overlay.run_to(until, tell);
        overlay.end_churn();
    }
}
