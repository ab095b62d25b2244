//! What one run gives.

use std::borrow::Cow;

use super::distribution::Distribution;

/// A name or a unit: mostly a literal.
pub type Name = Cow<'static, str>;

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It only tells what was.
    Neither,
}

impl Better {
    /// "higher", "lower" or "neither".
    pub fn as_str(self) -> &'static str {
        match self {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::Neither => "neither",
        }
    }
}

/// One number of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What it is, as a column is called: `first_peer_ms`.
    pub name: Name,
    /// Its unit; empty for a count or a ratio.
    pub unit: Name,
    /// The value. What is no finite number stands for one that the run did not have.
    pub value: f64,
    /// Which way is better.
    pub better: Better,
}

impl Figure {
    /// A figure.
    pub fn new(name: impl Into<Name>, unit: impl Into<Name>, value: f64, better: Better) -> Figure {
        Figure { name: name.into(), unit: unit.into(), value, better }
    }
}

/// Something that changes in the course of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// What it is.
    pub name: Name,
    /// The unit of x, mostly "s".
    pub x_unit: Name,
    /// The unit of y.
    pub y_unit: Name,
    /// The points, by growing x.
    pub points: Vec<(f64, f64)>,
}

/// What a run took; the same on any machine.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RunCounters {
    /// Events that the world handled.
    pub events: u64,
    /// Datagrams and writes to streams.
    pub packets: u64,
    /// Virtual time at the end, in seconds.
    pub virtual_s: f64,
}

/// What one run gives. It follows from the scenario, its options and the seed, on any machine.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The figures, in the order in which they are told. Names differ.
    pub figures: Vec<Figure>,
    /// How things were spread within the run.
    pub distributions: Vec<Distribution>,
    /// How things changed in the course of the run.
    pub series: Vec<Series>,
    /// The fingerprint of all that happened.
    pub trace_hash: String,
    /// Whether the run did what its scenario promises, or why not.
    pub verdict: Result<(), String>,
    /// What it took.
    pub counters: RunCounters,
}

impl Outcome {
    /// The value of a figure; `None` where the run does not have it.
    pub fn value(&self, figure: &str) -> Option<f64> {
        let found = self.figures.iter().find(|f| f.name == figure)?;
        found.value.is_finite().then_some(found.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_did_not_have_is_no_value() {
        let outcome = Outcome {
            figures: vec![
                Figure::new("found", "", 1.0, Better::Higher),
                Figure::new("last_s", "s", f64::NAN, Better::Lower),
            ],
            distributions: Vec::new(),
            series: Vec::new(),
            trace_hash: String::new(),
            verdict: Ok(()),
            counters: RunCounters::default(),
        };
        assert_eq!(outcome.value("found"), Some(1.0));
        assert_eq!((outcome.value("last_s"), outcome.value("other")), (None, None));
    }
}
