//! Where values stand along an axis, and the round numbers written at it.

use libm::{ceil, floor, log10, pow};

use super::numbers::magnitude;

/// Below this a logarithmic axis could not be told with full precision.
const LOG_MIN: f64 = 1e-300;
/// A power of ten that an `f64` has, both ways.
const EXPONENT_MAX: f64 = 307.0;

/// A mark at an axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tick {
    /// Where, as a share of the axis.
    pub at: f64,
    /// What stands there; empty for a mark between.
    pub label: String,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Scale {
    Linear,
    Log,
}

/// What an axis may do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Fit {
    /// The values span so much that equal steps are equal factors. Values that are not above zero
    /// then stand at the lower end.
    pub log: bool,
    /// Goes on to the next tick at both ends.
    pub round: bool,
    /// The room at both ends, as a share of the span.
    pub pad: f64,
    /// About how many ticks.
    pub ticks: u32,
}

/// An axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    scale: Scale,
    lo: f64,
    hi: f64,
    pub ticks: Vec<Tick>,
}

impl Axis {
    /// An axis from `lo` to `hi`, which are finite and no greater than 1e300.
    pub fn new(lo: f64, hi: f64, fit: Fit) -> Axis {
        if fit.log && lo >= LOG_MIN { Axis::log(lo, hi, fit) } else { Axis::linear(lo, hi, fit) }
    }

    /// An axis of so many names, each in the middle of its share.
    pub fn names(names: &[String]) -> Axis {
        let hi = names.len().max(1) as f64 - 0.5;
        let mut axis = Axis { scale: Scale::Linear, lo: -0.5, hi, ticks: Vec::new() };
        let tick =
            |(n, name): (usize, &String)| Tick { at: axis.share(n as f64), label: name.clone() };
        axis.ticks = names.iter().enumerate().map(tick).collect();
        axis
    }

    fn linear(lo: f64, hi: f64, fit: Fit) -> Axis {
        // A span that digits could not tell apart, or none, becomes one.
        let least = lo.abs().max(hi.abs()) * 1e-9;
        let (lo, hi) = if hi - lo > least {
            let pad = (hi - lo) * fit.pad;
            (lo - pad, hi + pad)
        } else if lo == 0.0 && hi == 0.0 {
            (0.0, 1.0)
        } else {
            (lo - lo.abs() * 0.1, hi + hi.abs() * 0.1)
        };
        let step = Step::near((hi - lo) / f64::from(fit.ticks.max(1)));
        let size = step.times(1);
        let slack = 1e-9;
        let (first, last) = if fit.round {
            (floor(lo / size + slack), ceil(hi / size - slack))
        } else {
            (ceil(lo / size - slack), floor(hi / size + slack))
        };
        let (first, last) = (first as i64, last as i64);
        let (lo, hi) = if fit.round { (step.times(first), step.times(last)) } else { (lo, hi) };
        let mut axis = Axis { scale: Scale::Linear, lo, hi, ticks: Vec::new() };
        let tick = |n| Tick { at: axis.share(step.times(n)), label: label(step.times(n)) };
        axis.ticks = (first..=last).map(tick).collect();
        axis
    }

    fn log(lo: f64, hi: f64, fit: Fit) -> Axis {
        let pad = (log10(hi) - log10(lo)) * fit.pad;
        let (low, high) =
            ((log10(lo) - pad).max(-EXPONENT_MAX), (log10(hi) + pad).min(EXPONENT_MAX));
        let decades = high - low;
        let (first, last) = (floor(low) as i32, ceil(high) as i32);
        let (lo, hi) = match fit.round {
            true => (power_of_ten(first), power_of_ten(last)),
            false => (pow(10.0, low), pow(10.0, high)),
        };
        let mut axis = Axis { scale: Scale::Log, lo, hi, ticks: Vec::new() };
        // Rounding may have added almost two.
        let whole = log10(hi) - log10(lo);
        let stride = (ceil(whole / f64::from(fit.ticks.max(1)) - 1e-9) as usize).max(1);
        let labelled: &[u32] = match decades {
            d if d <= 2.5 => &[1, 2, 5],
            d if d <= 4.0 => &[1, 3],
            _ => &[1],
        };
        for decade in (first..=last).step_by(stride) {
            for digit in 1..10 {
                if digit > 1 && stride > 1 {
                    continue;
                }
                let value = scaled(digit.into(), decade);
                if !(lo * (1.0 - 1e-9)..=hi * (1.0 + 1e-9)).contains(&value) {
                    continue;
                }
                let shown = labelled.contains(&digit);
                let label = if shown { label(value) } else { String::new() };
                axis.ticks.push(Tick { at: axis.share(value), label });
            }
        }
        axis
    }

    /// Where `value` stands, as a share of the axis.
    pub fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.lo) / (self.hi - self.lo),
            Scale::Log if value <= self.lo => 0.0,
            Scale::Log => (log10(value) - log10(self.lo)) / (log10(self.hi) - log10(self.lo)),
        }
    }

    /// The widest label, in letters.
    pub fn widest(&self) -> &str {
        let labels = self.ticks.iter().map(|tick| tick.label.as_str());
        labels.max_by_key(|label| label.chars().count()).unwrap_or("")
    }
}

/// 1, 2 or 5 times a power of ten.
struct Step {
    digit: i64,
    exponent: i32,
}

impl Step {
    /// The least that is at least `size`.
    fn near(size: f64) -> Step {
        let size = size.max(1e-300);
        let exponent = magnitude(size);
        let lead = size / power_of_ten(exponent);
        let fits = |digit: f64| lead <= digit * (1.0 + 1e-9);
        match () {
            () if fits(1.0) => Step { digit: 1, exponent },
            () if fits(2.0) => Step { digit: 2, exponent },
            () if fits(5.0) => Step { digit: 5, exponent },
            () => Step { digit: 1, exponent: exponent + 1 },
        }
    }

    /// So many steps, as the nearest number to what one writes: 3 steps of 0.1 are 0.3.
    fn times(&self, n: i64) -> f64 {
        scaled(n.saturating_mul(self.digit), self.exponent)
    }
}

fn power_of_ten(exponent: i32) -> f64 {
    scaled(1, exponent)
}

/// `digits` times a power of ten, read from its text, which is exact.
fn scaled(digits: i64, exponent: i32) -> f64 {
    format!("{digits}e{exponent}").parse().unwrap_or(0.0)
}

/// A round number as it stands at an axis: "10,000", "0.25", "2.5M" (millions), "2e9".
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) {
        return format!("{value:e}").replace('-', "−");
    }
    if size >= 1e6 {
        return label(value / 1e6) + "M";
    }
    let text = format!("{size}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 && whole.len() > 4 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "−" } else { "" };
    let point = if part.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{part}")
}

/// Whether values from `lo` to `hi`, all above zero, span over so many decades.
pub(super) fn spans(lo: f64, hi: f64, decades: f64) -> bool {
    lo >= LOG_MIN && hi > lo && log10(hi) - log10(lo) > decades
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUND: Fit = Fit { log: false, round: true, pad: 0.0, ticks: 6 };
    const INNER: Fit = Fit { log: false, round: false, pad: 0.0, ticks: 6 };

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).filter(|l| !l.is_empty()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::new(0.0, 0.31, ROUND)), ["0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(labels(&Axis::new(3.0, 97.0, INNER)), ["20", "40", "60", "80"]);
        assert_eq!(labels(&Axis::new(-1.0, 1.0, ROUND)), ["−1", "−0.5", "0", "0.5", "1"]);
        assert_eq!(labels(&Axis::new(0.0, 50_000.0, ROUND))[1], "10,000");
        assert_eq!(labels(&Axis::new(5.0, 5.0, INNER)), ["4.6", "4.8", "5", "5.2", "5.4"]);
        assert_eq!(labels(&Axis::new(0.0, 0.0, ROUND)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn decades_have_their_own_ticks() {
        let fit = Fit { log: true, ..INNER };
        let axis = Axis::new(100.0, 30_000.0, fit);
        assert_eq!(
            labels(&axis),
            ["100", "200", "500", "1000", "2000", "5000", "10,000", "20,000"]
        );
        assert_eq!((axis.share(100.0), axis.share(-5.0)), (0.0, 0.0));
        assert!((axis.share(30_000.0) - 1.0).abs() < 1e-9);
        let axis = Axis::new(100.0, 30_000.0, Fit { pad: 0.04, ..fit });
        assert_eq!(labels(&axis)[0], "100");
        assert!(
            axis.ticks.iter().is_sorted_by(|a, b| a.at < b.at),
            "none outside stands at the end"
        );
        let axis = Axis::new(1e-3, 1e6, Fit { round: true, ..fit });
        assert_eq!(labels(&axis), ["0.001", "0.1", "10", "1000", "100,000"]);
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, -2.5, 1000.0, 12_000.0, 1.2e6, -3e8, 2e9, 5e-5].map(label);
        assert_eq!(told, ["0", "−2.5", "1000", "12,000", "1.2M", "−300M", "2e9", "5e−5"]);
    }

    #[test]
    fn names_stand_in_their_share() {
        let axis = Axis::names(&["a".to_owned(), "b".to_owned()]);
        let ticks: Vec<_> = axis.ticks.iter().map(|t| (t.at, t.label.as_str())).collect();
        assert_eq!(ticks, [(0.25, "a"), (0.75, "b")]);
        assert_eq!(Axis::names(&[]).share(0.0), 0.5);
    }

    #[test]
    fn only_wide_spans_of_positive_values_are_logarithmic() {
        assert!(spans(1.0, 101.0, 2.0) && !spans(1.0, 100.0, 2.0));
        assert!(!spans(0.0, 1e9, 2.0) && !spans(-5.0, 1e9, 2.0));
    }

    #[test]
    fn decades_that_rounding_adds_count() {
        let axis = Axis::new(814e-5, 814.0, Fit { log: true, round: true, pad: 0.04, ticks: 6 });
        assert!(axis.ticks.len() <= 7, "{}", axis.ticks.len());
    }

    proptest! {
        #[test]
        fn ticks_are_few_finite_different_and_within(
            a in -1e300..1e300_f64, scale in -300..300_i32, b in -1e3..1e3_f64,
            log: bool, round: bool,
        ) {
            for (x, y) in [(a, b), (b * pow(10.0, f64::from(scale.clamp(-290, 290))), b), (a, a)] {
                let (lo, hi) = (x.min(y), x.max(y));
                let fit = Fit { log: log && spans(lo, hi, 2.0), round, pad: 0.04, ticks: 6 };
                let axis = Axis::new(lo, hi, fit);
                prop_assert!(axis.ticks.len() <= 60, "{}", axis.ticks.len());
                prop_assert!(!axis.ticks.is_empty());
                prop_assert!(axis.ticks.is_sorted_by(|a, b| a.at < b.at));
                for tick in &axis.ticks {
                    prop_assert!((-1e-6..=1.0 + 1e-6).contains(&tick.at), "{tick:?}");
                }
                let mut labels = labels(&axis);
                let all = labels.len();
                labels.dedup();
                prop_assert_eq!(labels.len(), all);
                for value in [lo, hi] {
                    prop_assert!((-1e-6..=1.0 + 1e-6).contains(&axis.share(value)), "{axis:?} {value}");
                }
            }
        }
    }
}
