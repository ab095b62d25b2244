//! Two settings over the same seeds.

use libm::{exp, log};

use super::estimate::{Estimate, Interval};
use super::outcome::{Better, Name};
use super::runs::{Run, Setting};

/// The other value through the base's, over the same seeds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ratio {
    /// The geometric mean of the seeds' ratios.
    pub mean: f64,
    /// Its 95 % interval, by Student's t of the logarithms; `None` for one pair.
    pub ci95: Option<Interval>,
}

/// What a comparison says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// The interval of the difference does not have zero in it, and it is for the better.
    Better,
    /// Likewise, for the worse.
    Worse,
    /// Likewise, more of something of which neither is better.
    Higher,
    /// Likewise, less.
    Lower,
    /// The interval has zero in it, or there is none.
    Unclear,
}

impl Reading {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reading::Better => "better",
            Reading::Worse => "worse",
            Reading::Higher => "higher",
            Reading::Lower => "lower",
            Reading::Unclear => "unclear",
        }
    }
}

/// How another setting differs from a base by one figure, seed by seed: what a seed does to both
/// falls out. Each comparison stands for itself: of 20 without any effect, one reads as if there
/// were one.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// The figure.
    pub figure: Name,
    /// Its unit.
    pub unit: Name,
    /// Which way is better.
    pub better: Better,
    /// Runs of either setting whose seed the other does not have, or that lack the figure.
    pub unpaired: usize,
    /// The other's value less the base's.
    pub difference: Estimate,
    /// The other's value through the base's; `None` unless all values are above zero.
    pub ratio: Option<Ratio>,
}

impl Comparison {
    /// How `other` differs from `base` by `figure`. `None` if no seed has it in both.
    pub fn of(base: &Setting, other: &Setting, figure: &str) -> Option<Comparison> {
        let pair = |run: &Run| {
            let before = base.runs.iter().find(|known| known.seed == run.seed)?;
            Some((before.outcome.value(figure)?, run.outcome.value(figure)?))
        };
        let pairs: Vec<(f64, f64)> = other.runs.iter().filter_map(pair).collect();
        let told = base.runs.iter().flat_map(|run| &run.outcome.figures);
        let known = told.into_iter().find(|known| known.name == figure)?;
        let ratios = pairs.iter().map(|(before, after)| log(*after) - log(*before));
        let ratio = pairs
            .iter()
            .all(|(before, after)| *before > 0.0 && *after > 0.0)
            .then(|| Estimate::of(ratios))
            .flatten();
        Some(Comparison {
            figure: known.name.clone(),
            unit: known.unit.clone(),
            better: known.better,
            unpaired: base.runs.len() + other.runs.len() - 2 * pairs.len(),
            difference: Estimate::of(pairs.iter().map(|&pair| difference(pair)))?,
            ratio: ratio.map(|logs| Ratio {
                mean: exp(logs.mean),
                ci95: logs.ci95.map(|ci| Interval { lo: exp(ci.lo), hi: exp(ci.hi) }),
            }),
        })
    }

    /// What it says.
    pub fn reading(&self) -> Reading {
        let Some(ci) = self.difference.ci95 else { return Reading::Unclear };
        match self.better {
            _ if ci.covers(0.0) => Reading::Unclear,
            Better::Higher if ci.lo > 0.0 => Reading::Better,
            Better::Lower if ci.lo <= 0.0 => Reading::Better,
            Better::Higher | Better::Lower => Reading::Worse,
            Better::Neither if ci.lo > 0.0 => Reading::Higher,
            Better::Neither => Reading::Lower,
        }
    }
}

/// What came after less what was before; zero where only the last bits differ, which are not about
/// what was measured.
fn difference((before, after): (f64, f64)) -> f64 {
    let difference = after - before;
    if difference.abs() <= 1e-12 * before.abs().max(after.abs()) { 0.0 } else { difference }
}

#[cfg(test)]
mod tests {
    use super::super::examples::setting;
    use super::*;

    #[test]
    fn what_a_seed_does_to_both_falls_out() {
        // Seeds differ by hundreds, settings by one.
        let base = setting("a", &[(1, 100.0), (2, 900.0), (3, 500.0), (4, 300.0)]);
        let other = setting("b", &[(2, 898.9), (1, 99.0), (3, 499.0), (4, 299.1)]);
        let c = Comparison::of(&base, &other, "delay_ms").unwrap();
        assert!((c.difference.mean + 1.0).abs() < 1e-9);
        assert_eq!((c.difference.n, c.unpaired, c.reading()), (4, 0, Reading::Better));
        let back = Comparison::of(&other, &base, "delay_ms").unwrap();
        assert_eq!(back.reading(), Reading::Worse);
        let (there, again) = (c.ratio.unwrap(), back.ratio.unwrap());
        assert!((there.mean * again.mean - 1.0).abs() < 1e-12);
        assert!(there.ci95.unwrap().covers(there.mean) && there.mean < 1.0);
    }

    #[test]
    fn seeds_of_one_setting_alone_are_left_out_and_counted() {
        let base = setting("a", &[(1, 1.0), (2, 2.0), (3, f64::NAN)]);
        let other = setting("b", &[(2, 3.0), (3, 4.0), (9, 5.0)]);
        let c = Comparison::of(&base, &other, "delay_ms").unwrap();
        assert_eq!((c.difference.n, c.difference.mean, c.unpaired), (1, 1.0, 4));
        assert_eq!((c.difference.ci95, c.reading()), (None, Reading::Unclear));
        assert_eq!(c.ratio.unwrap(), Ratio { mean: exp(log(3.0) - log(2.0)), ci95: None });
        assert_eq!(Comparison::of(&base, &setting("c", &[(7, 1.0)]), "delay_ms"), None);
        assert_eq!(Comparison::of(&base, &other, "no_such"), None);
    }

    #[test]
    fn rounding_is_no_difference() {
        let base = setting("a", &[(1, 0.1 + 0.2), (2, 1.0)]);
        let other = setting("b", &[(1, 0.3), (2, 1.0)]);
        let c = Comparison::of(&base, &other, "delay_ms").unwrap();
        assert_eq!((c.difference.mean, c.reading()), (0.0, Reading::Unclear));
    }

    #[test]
    fn there_is_no_ratio_to_zero() {
        let base = setting("a", &[(1, 0.0), (2, 1.0)]);
        let other = setting("b", &[(1, 1.0), (2, 2.0)]);
        let c = Comparison::of(&base, &other, "delay_ms").unwrap();
        assert_eq!((c.ratio, c.difference.mean), (None, 1.0));
        assert_eq!(c.reading(), Reading::Worse);
    }
}
