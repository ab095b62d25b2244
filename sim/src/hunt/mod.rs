//! Looks for what goes wrong: scenarios whose faults a seed draws, and the smallest that still fails.

mod dht;
mod draw;
mod swarm;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::scenario::Template;
use draw::Draw;

/// Of which kind a case is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An overlay.
    Dht,
    /// A swarm.
    Swarm,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 2] = [Kind::Dht, Kind::Swarm];

    /// Its word in a scenario.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Dht => "dht",
            Kind::Swarm => "swarm",
        }
    }
}

/// Tables of a case, and lists of tables, in the order in which they are written.
const TABLES: [&str; 13] = [
    "arrival",
    "access",
    "links",
    "churn",
    "nat",
    "disk",
    "crash",
    "chaos",
    "promise",
    "[partition]",
    "[sleep]",
    "[clock]",
    "[nat_restart]",
];

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

    /// Whether a case is none without it.
    fn is_needed(&self) -> bool {
        let names_chaos = self.table == "chaos" && self.number("rude") == 0.0;
        matches!(self.table, "" | "promise") || names_chaos
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
    /// As it stands there.
    Raw(String),
    /// A size, which can shrink down to the least.
    Size(u32, u32),
}

/// A scenario with its faults, and the seed of its run.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    seed: u64,
    kind: Kind,
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

impl Case {
    /// The case that a seed draws, of one of these kinds; of an overlay if there are none.
    pub fn draw(seed: u64, kinds: &[Kind]) -> Case {
        let mut draw = Draw::new(seed);
        let kind = draw.one_of(kinds).unwrap_or(Kind::Dht);
        match kind {
            Kind::Dht => draw.dht(),
            Kind::Swarm => draw.swarm(),
        }
        Case { seed, kind, knobs: draw.knobs }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many options it sets, and the sum of its sizes: what shrinking makes less.
    pub fn extent(&self) -> (usize, u64) {
        let values = || self.knobs.iter().flat_map(|knob| &knob.values);
        let size = |(_, value): &(_, Value)| match value {
            Value::Size(size, _) => u64::from(*size),
            _ => 0,
        };
        (values().count(), values().map(size).sum())
    }

    /// The seed of its run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// It as a scenario file.
    pub fn to_toml(&self, about: &str) -> String {
        let mut out = format!("kind = {:?}\nabout = {about:?}\n", self.kind.word());
        let of = |table: &'static str| self.knobs.iter().filter(move |knob| knob.table == table);
        let lines = |out: &mut String, knob: &Knob| {
            for (name, value) in &knob.values {
                let _ = match value {
                    Value::Number(number) => writeln!(out, "{name} = {number}"),
                    Value::Text(text) => writeln!(out, "{name} = {text:?}"),
                    Value::Raw(text) => writeln!(out, "{name} = {text}"),
                    Value::Size(size, _) => writeln!(out, "{name} = {size}"),
                };
            }
        };
        of("").for_each(|knob| lines(&mut out, knob));
        for table in TABLES {
            let is_list = table.starts_with('[');
            if !is_list && of(table).next().is_some() {
                let _ = writeln!(out, "\n[{table}]");
            }
            for knob in of(table) {
                if is_list {
                    let _ = writeln!(out, "\n[{table}]");
                }
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

    /// The least that a size can be beside the others, or the case would promise too much.
    fn least_with(&self, table: &str, name: &str) -> u32 {
        match (table, name) {
            ("chaos", "for_s") => self.knobs.iter().map(Knob::end).max().unwrap_or(0),
            ("", "peers") if self.knobs.iter().any(|knob| knob.table == "nat") => {
                swarm::PEERS_WITH_NAT_MIN
            }
            _ => 0,
        }
    }

    /// Smaller cases of which one may fail as well, those that leave out most first.
    fn smaller(&self) -> Vec<Case> {
        let mut out = Vec::new();
        for (at, knob) in self.knobs.iter().enumerate() {
            if !knob.is_needed() {
                let mut case = self.clone();
                case.knobs.remove(at);
                out.push(case);
            }
        }
        for (at, knob) in self.knobs.iter().enumerate() {
            for (n, (_, value)) in knob.values.iter().enumerate() {
                let Value::Size(size, least) = *value else { continue };
                let least = least.max(self.least_with(knob.table, knob.values[n].0));
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
        let draw = |seed| Case::draw(seed, &Kind::ALL);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7).knobs, draw(8).knobs);
        let mut kinds = [0; 2];
        for seed in 0..300 {
            let case = draw(seed);
            kinds[usize::from(case.kind == Kind::Swarm)] += 1;
            let text = case.to_toml("drawn");
            let template = Template::parse("case", &text).unwrap();
            let scenario = template.scenario(&|_| Err(String::new()));
            assert!(scenario.is_ok(), "seed {seed}: {:?}\n{text}", scenario.err());
            let written = text.lines().filter(|line| line.contains(" = ")).count();
            assert_eq!(written, case.extent().0 + 2, "seed {seed}: a table is left out\n{text}");
        }
        assert!(kinds.iter().all(|cases| *cases > 100), "{kinds:?}");
    }

    #[test]
    fn a_case_shrinks_to_what_it_needs_to_fail() {
        // More is promised than there can be, so each smaller case fails as well.
        let mut case = Case::draw(3, &[Kind::Dht]);
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
