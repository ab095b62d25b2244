//! Looks for what goes wrong: scenarios whose faults a seed draws, and the smallest that still fails.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wire::rng::{Rng, child_seed, seed_from_u64};

use crate::scenario::Template;

/// One thing that a case sets: a value, or an entry of a list with its values.
#[derive(Clone, PartialEq, Debug)]
struct Knob {
    /// `""` for the top, `links` for a table, `[partition]` for an entry of a list.
    table: &'static str,
    values: Vec<(&'static str, Value)>,
}

impl Knob {
    fn number(&self, name: &str) -> f64 {
        let value = self.values.iter().find(|(known, _)| *known == name);
        if let Some((_, Value::Number(number))) = value { *number } else { 0.0 }
    }

    /// When the last that it causes is over, in seconds.
    fn end(&self) -> u32 {
        ["at_s", "span_s", "for_s"].iter().map(|name| self.number(name)).sum::<f64>().ceil() as u32
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Value {
    Number(f64),
    Text(&'static str),
    /// A size, which can shrink down to the least.
    Size(u32, u32),
}

/// A scenario with its faults, and the seed of its run.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    seed: u64,
    knobs: Vec<Knob>,
}

/// How a case failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What the run says.
    pub why: String,
}

impl Failure {
    /// What stays the same when the case shrinks: the words without the numbers.
    fn class(&self) -> String {
        let words =
            self.why.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Draws options.
struct Draw {
    rng: Rng,
    knobs: Vec<Knob>,
}

impl Draw {
    /// In half of the cases.
    fn half(&mut self) -> bool {
        self.rng.chance(0.5)
    }

    /// A number between two bounds, with three digits.
    fn number(&mut self, from: f64, to: f64) -> Value {
        Value::Number(((from + (to - from) * self.rng.unit()) * 1e3).round() / 1e3)
    }

    fn size(&mut self, from: u32, to: u32, least: u32) -> Value {
        Value::Size(from + self.rng.below(to - from + 1), least)
    }

    fn set(&mut self, table: &'static str, values: Vec<(&'static str, Value)>) {
        self.knobs.push(Knob { table, values });
    }

    fn sizes(&mut self) {
        let nodes = self.size(20, 150, 4);
        let lookups = self.size(20, 60, 1);
        // All that befalls hosts is over before it heals.
        let end = self.knobs.iter().map(Knob::end).max().unwrap_or(0);
        let for_s = self.size(end + 60, end + 1_000, 10);
        let operations = self.size(50, 400, 0);
        self.set("", vec![("nodes", nodes)]);
        self.set("", vec![("lookups", lookups)]);
        self.set("chaos", vec![("for_s", for_s)]);
        self.set("chaos", vec![("operations", operations)]);
        self.set("promise", vec![("found", Value::Number(0.95)), ("end_s", Value::Number(30.0))]);
    }

    fn links(&mut self) {
        for (name, most) in [("loss", 0.3), ("duplicate", 0.3), ("reorder", 0.3)] {
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
        if self.half() {
            self.set("links", vec![("latency", Value::Text("king"))]);
        }
    }

    fn hosts(&mut self) {
        if self.half() {
            let rude = self.number(0.0, 0.3);
            self.set("chaos", vec![("rude", rude)]);
        }
        if self.half() {
            let (on, off) = (self.number(2.0, 60.0), self.number(1.0, 30.0));
            let law = ("law", Value::Text("measured"));
            self.set("churn", vec![law, ("on_scale_min", on), ("off_scale_min", off)]);
        }
        if self.half() {
            let share = self.number(0.1, 0.7);
            let kinds = ["full_cone", "restricted", "port_restricted", "symmetric"];
            let kind = kinds[self.rng.index(kinds.len())];
            self.set("nat", vec![("share", share), (kind, Value::Number(1.0))]);
        }
    }

    fn events(&mut self) {
        let at = |draw: &mut Draw| ("at_s", draw.number(0.0, 300.0));
        if self.half() {
            let (at, for_s, share) = (at(self), self.number(1.0, 600.0), self.number(0.0, 0.5));
            self.set("[partition]", vec![at, ("for_s", for_s), ("share", share)]);
        }
        if self.half() {
            let (at, for_s, share) = (at(self), self.number(1.0, 900.0), self.number(0.0, 0.5));
            let span = ("span_s", Value::Number(100.0));
            self.set("[sleep]", vec![at, span, ("for_s", for_s), ("share", share)]);
        }
        if self.half() {
            let (at, by_s, share) = (at(self), self.number(0.0, 7_200.0), self.number(0.0, 0.5));
            let span = ("span_s", Value::Number(100.0));
            self.set("[clock]", vec![at, span, ("by_s", by_s), ("share", share)]);
        }
        if self.half() {
            let (at, share) = (at(self), self.number(0.0, 1.0));
            self.set("[nat_restart]", vec![at, ("share", share)]);
        }
    }
}

impl Case {
    /// The case that a seed draws.
    pub fn draw(seed: u64) -> Case {
        let rng = Rng::new(&child_seed(&seed_from_u64(seed), "hunt", 0));
        let mut draw = Draw { rng, knobs: Vec::new() };
        draw.links();
        draw.hosts();
        draw.events();
        draw.sizes();
        Case { seed, knobs: draw.knobs }
    }

    /// The seed of its run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// It as a scenario file.
    pub fn to_toml(&self, about: &str) -> String {
        let mut out = format!("kind = \"dht\"\nabout = {about:?}\n");
        let of = |table: &'static str| self.knobs.iter().filter(move |knob| knob.table == table);
        let lines = |out: &mut String, knob: &Knob| {
            for (name, value) in &knob.values {
                let _ = match value {
                    Value::Number(number) => writeln!(out, "{name} = {number}"),
                    Value::Text(text) => writeln!(out, "{name} = {text:?}"),
                    Value::Size(size, _) => writeln!(out, "{name} = {size}"),
                };
            }
        };
        of("").for_each(|knob| lines(&mut out, knob));
        for table in ["links", "churn", "nat", "chaos", "promise"] {
            if of(table).next().is_some() {
                let _ = writeln!(out, "\n[{table}]");
                of(table).for_each(|knob| lines(&mut out, knob));
            }
        }
        for list in ["[partition]", "[sleep]", "[clock]", "[nat_restart]"] {
            for knob in of(list) {
                let _ = writeln!(out, "\n[{list}]");
                lines(&mut out, knob);
            }
        }
        out
    }

    /// Runs it. A panic of the code under test is a failure like any other.
    ///
    /// # Errors
    /// How it failed.
    pub fn run(&self) -> Result<(), Failure> {
        run_text(&self.to_toml(""), self.seed)
    }

    /// Smaller cases of which one may fail as well, those that leave out most first.
    fn smaller(&self) -> Vec<Case> {
        let mut out = Vec::new();
        for (at, knob) in self.knobs.iter().enumerate() {
            let needed = matches!(knob.table, "" | "promise")
                || knob.values.iter().any(|(_, value)| matches!(value, Value::Size(..)));
            if !needed {
                let mut case = self.clone();
                case.knobs.remove(at);
                out.push(case);
            }
        }
        for (at, knob) in self.knobs.iter().enumerate() {
            for (n, (_, value)) in knob.values.iter().enumerate() {
                let Value::Size(size, mut least) = *value else { continue };
                if knob.table == "chaos" && knob.values[n].0 == "for_s" {
                    least = self.knobs.iter().map(Knob::end).max().unwrap_or(0).max(least);
                }
                for smaller in [size / 4, size / 2, size * 7 / 8] {
                    if smaller >= least && smaller < size {
                        let mut case = self.clone();
                        case.knobs[at].values[n].1 = Value::Size(smaller, least);
                        out.push(case);
                    }
                }
            }
        }
        out
    }

    /// The smallest case found that fails as this one does, with how; it tries on while `goes_on` says
    /// so.
    pub fn shrink(self, failure: Failure, mut goes_on: impl FnMut() -> bool) -> (Case, Failure) {
        let class = failure.class();
        let (mut best, mut how) = (self, failure);
        'again: loop {
            for case in best.smaller() {
                if !goes_on() {
                    return (best, how);
                }
                match case.run() {
                    Err(failure) if failure.class() == class => {
                        (best, how) = (case, failure);
                        continue 'again;
                    }
                    _ => {}
                }
            }
            return (best, how);
        }
    }
}

/// Runs a scenario's text with a seed; it names no other file.
///
/// # Errors
/// How it failed: its verdict, or the words of a panic.
pub fn run_text(text: &str, seed: u64) -> Result<(), Failure> {
    let failed = |why: String| Failure { why };
    let template = Template::parse("case", text).map_err(|problem| failed(problem.to_string()))?;
    let none = |_: &str| Err("a case names no file".to_owned());
    let scenario = template.scenario(&none).map_err(|problem| failed(problem.to_string()))?;
    match catch_unwind(AssertUnwindSafe(|| scenario.run(seed, 1, |_| {}).verdict)) {
        Ok(verdict) => verdict.map_err(failed),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(failed(format!("panic: {}", text.unwrap_or_default())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_case_and_each_can_be_read() {
        assert_eq!(Case::draw(7), Case::draw(7));
        assert_ne!(Case::draw(7).knobs, Case::draw(8).knobs);
        for seed in 0..300 {
            let text = Case::draw(seed).to_toml("drawn");
            let template = Template::parse("case", &text).unwrap();
            let scenario = template.scenario(&|_| Err(String::new()));
            assert!(scenario.is_ok(), "seed {seed}: {:?}\n{text}", scenario.err());
        }
    }

    #[test]
    fn a_case_shrinks_to_what_it_needs_to_fail() {
        // More is promised than there can be, so each smaller case fails as well.
        let mut case = Case::draw(3);
        for knob in case.knobs.iter_mut().filter(|knob| knob.table == "promise") {
            knob.values = vec![("end_s", Value::Number(0.001))];
        }
        let failure = case.run().unwrap_err();
        let mut tries = 0;
        let (small, how) = case.clone().shrink(failure.clone(), || {
            tries += 1;
            tries < 60
        });
        assert_eq!(how.class(), failure.class());
        assert!(small.knobs.len() < case.knobs.len(), "{small:?}");
        assert_eq!(small.run(), Err(how));
    }
}
