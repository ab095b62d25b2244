//! Many samples of one kind in a bounded number of points.

use super::outcome::Name;

/// The quantiles that are told, in thousandths.
pub const QUANTILES: [u32; 4] = [500, 900, 990, 999];
/// The most points that a distribution keeps. More samples than that with different values are
/// thinned evenly, but for its ends.
pub const POINTS_MAX: usize = 1_100;
/// Even steps of the share that are kept when points are thinned.
const GRID: u64 = 800;
/// Points at each end that are always kept, so that p99.9 of 100,000 samples is exact.
const ENDS: usize = 100;

/// The name of a quantile: "p50", "p99.9".
pub fn quantile_name(permille: u32) -> String {
    match permille % 10 {
        0 => format!("p{}", permille / 10),
        tenth => format!("p{}.{tenth}", permille / 10),
    }
}

/// A step of the cumulative distribution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// The value.
    pub value: f64,
    /// How many samples are at most that.
    pub rank: u64,
}

/// How some samples of a run are spread: exact count, mean and ends, and the steps of the cumulative
/// distribution, all of them or a bounded number.
#[derive(Clone, PartialEq, Debug)]
pub struct Distribution {
    /// What they are samples of.
    pub name: Name,
    /// Their unit; may be empty.
    pub unit: Name,
    /// How many were finite numbers.
    pub count: u64,
    /// How many were not, and were left out.
    pub left_out: u64,
    /// Their mean; 0 if there are none.
    pub mean: f64,
    /// At most [`POINTS_MAX`] steps, value and rank both growing. The last is the greatest sample
    /// and has the rank `count`.
    steps: Vec<Step>,
}

impl Distribution {
    /// How `samples` are spread.
    pub fn of(
        name: impl Into<Name>,
        unit: impl Into<Name>,
        samples: impl IntoIterator<Item = f64>,
    ) -> Distribution {
        let mut left_out = 0;
        let mut sorted: Vec<f64> = Vec::new();
        for sample in samples {
            // Adding zero makes -0 the other zero.
            if sample.is_finite() { sorted.push(sample + 0.0) } else { left_out += 1 }
        }
        sorted.sort_by(f64::total_cmp);
        let mean = match (sorted.first(), sorted.last()) {
            (Some(min), Some(max)) => {
                (sorted.iter().sum::<f64>() / sorted.len() as f64).clamp(*min, *max)
            }
            _ => 0.0,
        };
        let steps = steps_of(sorted.iter().map(|&value| (value, 1)));
        let count = sorted.len() as u64;
        Distribution { name: name.into(), unit: unit.into(), count, left_out, mean, steps }
    }

    /// The least sample.
    pub fn min(&self) -> Option<f64> {
        self.steps.first().map(|step| step.value)
    }

    /// The greatest sample.
    pub fn max(&self) -> Option<f64> {
        self.steps.last().map(|step| step.value)
    }

    /// The least kept value that so many thousandths of the samples are at most; `None` if there are
    /// no samples.
    pub fn quantile(&self, permille: u32) -> Option<f64> {
        quantile(&self.steps, permille)
    }

    /// The steps of the cumulative distribution.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// The nearest rank of a quantile among `count` samples.
pub(super) fn rank(count: u64, permille: u32) -> u64 {
    (u128::from(count) * u128::from(permille)).div_ceil(1000).max(1) as u64
}

/// See [`Distribution::quantile`].
pub(super) fn quantile(steps: &[Step], permille: u32) -> Option<f64> {
    let wanted = rank(steps.last()?.rank, permille);
    let at = steps.partition_point(|step| step.rank < wanted);
    steps.get(at).map(|step| step.value)
}

/// The steps of values in their order, each standing for so many samples.
pub(super) fn steps_of(values: impl Iterator<Item = (f64, u64)>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rank = 0;
    for (value, samples) in values {
        rank += samples;
        match steps.last_mut() {
            Some(last) if last.value == value => last.rank = rank,
            _ => steps.push(Step { value, rank }),
        }
    }
    thin(steps)
}

/// At most [`POINTS_MAX`] of the steps: the ends, those of [`QUANTILES`] and an even grid.
fn thin(steps: Vec<Step>) -> Vec<Step> {
    if steps.len() <= POINTS_MAX {
        return steps;
    }
    let count = steps.last().map_or(0, |step| step.rank);
    let grid = (1..=GRID).map(|n| (u128::from(count) * u128::from(n) / u128::from(GRID)) as u64);
    let mut wanted: Vec<u64> =
        grid.chain(QUANTILES.map(|permille| rank(count, permille))).collect();
    wanted.sort_unstable();
    let mut wanted = wanted.into_iter().peekable();
    let upper = steps.len() - ENDS;
    let keep = |(at, step): (usize, Step)| {
        let hit = wanted.next_if(|&rank| rank <= step.rank).is_some();
        while wanted.next_if(|&rank| rank <= step.rank).is_some() {}
        (hit || at < ENDS || at >= upper).then_some(step)
    };
    steps.into_iter().enumerate().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Summary;

    #[test]
    fn few_values_are_kept_exactly() {
        let d = Distribution::of("hops", "", [3.0, 1.0, 2.0, 2.0, f64::NAN, -0.0, 0.0]);
        assert_eq!((d.count, d.left_out, d.mean), (6, 1, 8.0 / 6.0));
        assert_eq!((d.min(), d.max()), (Some(0.0), Some(3.0)));
        let steps: Vec<_> = d.steps().iter().map(|s| (s.value, s.rank)).collect();
        assert_eq!(steps, [(0.0, 2), (1.0, 3), (2.0, 5), (3.0, 6)]);
        assert_eq!(
            (d.quantile(500), d.quantile(990), d.quantile(0)),
            (Some(1.0), Some(3.0), Some(0.0))
        );
    }

    #[test]
    fn no_samples_have_no_quantiles() {
        let d = Distribution::of("none", "ms", []);
        assert_eq!((d.count, d.mean, d.quantile(500), d.min()), (0, 0.0, None, None));
    }

    #[test]
    fn a_hundred_thousand_samples_keep_their_tail_exactly() {
        let d = Distribution::of("delay", "ms", (1..=100_000).map(f64::from));
        assert!(d.steps().len() <= POINTS_MAX, "{}", d.steps().len());
        let told = QUANTILES.map(|permille| d.quantile(permille).unwrap());
        assert_eq!(told, [50_000.0, 90_000.0, 99_000.0, 99_900.0]);
        assert_eq!((d.count, d.min(), d.max()), (100_000, Some(1.0), Some(100_000.0)));
        let off = (d.quantile(333).unwrap() - 33_300.0).abs();
        assert!(off <= 125.0, "{off}");
    }

    #[test]
    fn quantiles_are_named_as_usual() {
        assert_eq!(QUANTILES.map(quantile_name), ["p50", "p90", "p99", "p99.9"]);
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_summary(values in prop::collection::vec(-1e3..1e3_f64, 1..3000)) {
            let d = Distribution::of("x", "", values.iter().copied());
            let s = Summary::of(values);
            prop_assert_eq!(
                (d.min(), d.quantile(500), d.quantile(900), d.quantile(990), d.max()),
                (Some(s.min), Some(s.p50), Some(s.p90), Some(s.p99), Some(s.max))
            );
            prop_assert!(d.steps().len() <= POINTS_MAX);
            prop_assert!(d.steps().is_sorted_by(|a, b| a.value < b.value && a.rank < b.rank));
        }
    }
}
