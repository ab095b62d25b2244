//! Draws options.

use wire::rng::{Rng, child_seed, seed_from_u64};

use super::{Knob, Value};

/// Draws options.
pub(super) struct Draw {
    rng: Rng,
    pub(super) knobs: Vec<Knob>,
}

impl Draw {
    /// What this seed draws.
    pub(super) fn new(seed: u64) -> Draw {
        let rng = Rng::new(&child_seed(&seed_from_u64(seed), "hunt", 0));
        Draw { rng, knobs: Vec::new() }
    }

    /// One of some.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        match all {
            [] | [_] => all.first().copied(),
            _ => all.get(self.rng.index(all.len())).copied(),
        }
    }

    /// When the last is over that befalls hosts, in seconds.
    pub(super) fn end(&self) -> u32 {
        self.knobs.iter().map(Knob::end).max().unwrap_or(0)
    }

    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.rng.below(100) < percent
    }

    /// In half of the cases.
    pub(super) fn half(&mut self) -> bool {
        self.rng.chance(0.5)
    }

    /// A number between two bounds, with three digits.
    pub(super) fn number(&mut self, from: f64, to: f64) -> Value {
        Value::Number(((from + (to - from) * self.rng.unit()) * 1e3).round() / 1e3)
    }

    pub(super) fn size(&mut self, from: u32, to: u32, least: u32) -> Value {
        Value::Size(from + self.rng.below(to - from + 1), least)
    }

    pub(super) fn set(&mut self, table: &'static str, values: Vec<(&'static str, Value)>) {
        self.knobs.push(Knob { table, values });
    }
}
