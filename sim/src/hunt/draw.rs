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

    /// Datagrams that are lost, one by one up to this share and in bursts, come twice, late or in another
    /// order.
    pub(super) fn faults(&mut self, loss_max: f64) {
        for (name, most) in [("loss", loss_max), ("duplicate", 0.3), ("reorder", 0.3)] {
            if self.half() {
                let share = self.number(0.0, most);
                self.set("links", vec![(name, share)]);
            }
        }
        if self.half() {
            let (share, bad_ms) = (self.number(0.1, 1.0), self.size(10, 20_000, 10));
            self.set("links", vec![("burst_loss", share), ("burst_bad_ms", bad_ms)]);
        }
        if self.half() {
            let mean_ms = self.number(0.0, 300.0);
            let most = Value::Number(2_000.0);
            self.set("links", vec![("jitter_mean_ms", mean_ms), ("jitter_max_ms", most)]);
        }
    }

    /// Address translators of one of these kinds, before at most this share of the hosts.
    pub(super) fn translators(&mut self, share_max: f64, kinds: &[&'static str]) {
        if self.half() {
            let share = self.number(0.1, share_max);
            let kind = self.one_of(kinds).unwrap_or("full_cone");
            self.set("nat", vec![("share", share), (kind, Value::Number(1.0))]);
        }
    }

    /// What befalls hosts, each in so many of a hundred cases.
    pub(super) fn events(&mut self, percent: u32, times: Times) {
        let at = |draw: &mut Draw| ("at_s", draw.number(0.0, times.within_s));
        let span = || ("span_s", Value::Number(times.span_s));
        if self.percent(percent) {
            let (at, for_s) = (at(self), self.number(1.0, times.parted_s));
            let share = self.number(0.0, 0.5);
            self.set("[partition]", vec![at, ("for_s", for_s), ("share", share)]);
        }
        if self.percent(percent) {
            let (at, for_s) = (at(self), self.number(1.0, times.asleep_s));
            let share = self.number(0.0, 0.5);
            self.set("[sleep]", vec![at, span(), ("for_s", for_s), ("share", share)]);
        }
        if self.percent(percent) {
            let (at, by_s, share) = (at(self), self.number(0.0, 7_200.0), self.number(0.0, 0.5));
            self.set("[clock]", vec![at, span(), ("by_s", by_s), ("share", share)]);
        }
        if self.percent(percent) {
            let (at, share) = (at(self), self.number(0.0, 1.0));
            self.set("[nat_restart]", vec![at, ("share", share)]);
        }
    }
}

/// When what befalls hosts may begin, and how long it may last, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) within_s: f64,
    pub(super) parted_s: f64,
    pub(super) asleep_s: f64,
    /// Not all sleep, or have their clocks changed, at once, but within such a span.
    pub(super) span_s: f64,
}
