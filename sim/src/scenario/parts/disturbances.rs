//! What befalls the hosts of a scenario at a given time.

use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use super::{seconds, within};
use crate::scenario::options::options;
use crate::{Host, HostId, World};

options! {
    /// A time in which nothing passes between two sides of the network.
    pub struct Partition {
        /// When it begins, after the scenario's start.
        at_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// How long it lasts.
        for_s: f64 = 600.0, in 0..=100_000_000, "s";
        /// The share of the hosts on the one side.
        share: f64 = 0.5, in 0..=1;
    }
}

options! {
    /// Hosts that are suspended for a while: they hear nothing and do nothing, and then go on.
    pub struct Sleep {
        /// When the first fall asleep, after the scenario's start.
        at_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// Within this time the others do.
        span_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// How long each sleeps.
        for_s: f64 = 600.0, in 0..=100_000_000, "s";
        /// The share of the hosts.
        share: f64 = 0.1, in 0..=1;
    }
}

options! {
    /// Clocks that are put forward, or back.
    pub struct ClockShift {
        /// When the first are, after the scenario's start.
        at_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// Within this time the others are.
        span_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// How far forward; below 0: back.
        by_s: f64 = 3600.0, in -100_000_000..=100_000_000, "s";
        /// The share of the hosts.
        share: f64 = 0.1, in 0..=1;
    }
}

options! {
    /// Translators that restart and forget all flows.
    pub struct NatRestart {
        /// When the first do, after the scenario's start.
        at_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// Within this time the others do.
        span_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// The share of the translators.
        share: f64 = 1.0, in 0..=1;
    }
}

/// All that befalls a scenario's hosts.
#[derive(Clone, Copy, Debug)]
pub(in crate::scenario) struct Disturbed<'a> {
    pub(in crate::scenario) partitions: &'a [Partition],
    pub(in crate::scenario) sleeps: &'a [Sleep],
    pub(in crate::scenario) clocks: &'a [ClockShift],
    pub(in crate::scenario) nat_restarts: &'a [NatRestart],
}

/// Arranges all of it. Which hosts it hits follows from the seed alone. `homes` are the first hosts
/// of each; who sleeps is told to `asleep`, with from when to when.
pub(in crate::scenario) fn disturb<H: Host>(
    world: &mut World<H>,
    seed: &Seed,
    start: Time,
    disturbed: &Disturbed<'_>,
    homes: &[HostId],
    mut asleep: impl FnMut(HostId, Time, Time),
) {
    let hosts: Vec<HostId> = (0..world.len() as u32).map(HostId).collect();
    for partition in disturbed.partitions {
        let from = start + seconds(partition.at_s);
        world.part(from, from + seconds(partition.for_s), partition.share);
    }
    for (n, sleep) in (0..).zip(disturbed.sleeps) {
        let mut rng = Rng::new(&child_seed(seed, "sleep", n));
        for host in share_of(&hosts, sleep.share, &mut rng) {
            let at = within(start + seconds(sleep.at_s), sleep.span_s, rng.unit());
            world.sleep_at(at, host, seconds(sleep.for_s));
            asleep(host, at, at + seconds(sleep.for_s));
        }
    }
    for (n, clock) in (0..).zip(disturbed.clocks) {
        let mut rng = Rng::new(&child_seed(seed, "clock", n));
        for host in share_of(&hosts, clock.share, &mut rng) {
            let at = within(start + seconds(clock.at_s), clock.span_s, rng.unit());
            world.shift_clock_at(at, host, (clock.by_s * 1e6) as i64);
        }
    }
    for (n, restart) in (0..).zip(disturbed.nat_restarts) {
        let mut rng = Rng::new(&child_seed(seed, "nat restart", n));
        for host in share_of(homes, restart.share, &mut rng) {
            let at = within(start + seconds(restart.at_s), restart.span_s, rng.unit());
            world.restart_nat_at(at, host);
        }
    }
}

/// A share of `hosts`, which `rng` names.
fn share_of(hosts: &[HostId], share: f64, rng: &mut Rng) -> Vec<HostId> {
    let mut hosts = hosts.to_vec();
    rng.shuffle(&mut hosts);
    hosts.truncate((hosts.len() as f64 * share).round() as usize);
    hosts
}
