//! Programs that end and nobody asked them to, and what starts after them.

use std::collections::BTreeMap;

use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;

use super::{SwarmScenario, exponential};
use crate::scenario::parts::{seconds, within};
use crate::{Cut, HostId};

/// What happens to a host's program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// It ends.
    End(HostId),
    /// The next starts on what such an end left.
    Start(HostId, Cut),
}

/// Who ends when, and who starts.
pub(super) struct Crashes {
    rng: Rng,
    due: BTreeMap<(Time, u64), Turn>,
    count: u64,
    /// The share of the ends by a power cut, and how long a host is off in the mean, in seconds.
    power: f64,
    off_s: f64,
    /// By then all have started.
    until: Time,
}

impl Crashes {
    /// As many as the scenario says, at any moment from `from` to the end of the chaos.
    pub(super) fn new(scenario: &SwarmScenario, seed: &Seed, from: Time) -> Crashes {
        let mut rng = Rng::new(&child_seed(seed, "crashes", 0));
        let (crash, for_s) = (&scenario.crash, scenario.chaos.for_s);
        let ends = (0..u64::from(crash.times)).map(|n| {
            let at = within(from, for_s, rng.unit());
            ((at, n), Turn::End(HostId(rng.below(scenario.peers))))
        });
        let due: BTreeMap<_, _> = ends.collect();
        let (count, until) = (due.len() as u64, from + seconds(for_s));
        Crashes { rng, due, count, power: crash.power, off_s: crash.off_s, until }
    }

    /// When something happens next.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// What happens by `now`.
    pub(super) fn pop(&mut self, now: Time) -> Option<Turn> {
        self.next_due().filter(|at| *at <= now)?;
        self.due.pop_first().map(|(_, turn)| turn)
    }

    /// A host's program has ended `now`, and so it did; the next starts a little later.
    pub(super) fn ended(&mut self, now: Time, host: HostId) -> Cut {
        let cut = if self.rng.chance(self.power) { Cut::Power } else { Cut::Kill };
        let off = seconds(exponential(self.off_s, &mut self.rng));
        let at = (now + off).min(self.until.max(now));
        self.due.insert((at, self.count), Turn::Start(host, cut));
        self.count += 1;
        cut
    }

    /// A seed for what chance decides next.
    pub(super) fn seed(&mut self) -> Seed {
        seed_from_u64(self.rng.u64())
    }
}
