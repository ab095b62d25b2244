//! What several seeds say about one figure.

use super::student::{coins_below, t_quantile};

/// What a 95 % interval leaves out.
const ALPHA: f64 = 0.05;

/// From `lo` to `hi`, both within.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// The lower end.
    pub lo: f64,
    /// The upper end.
    pub hi: f64,
}

impl Interval {
    /// Whether `value` lies within.
    pub fn covers(&self, value: f64) -> bool {
        self.lo <= value && value <= self.hi
    }

    /// Half of its width.
    pub fn half(&self) -> f64 {
        (self.hi - self.lo) / 2.0
    }
}

/// An interval between two of the values themselves, which assumes nothing of how they are spread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MedianInterval {
    /// The values.
    pub interval: Interval,
    /// How likely such an interval has the median in it: 0.95 or the next more that there is.
    pub coverage: f64,
}

/// Mean, spread and median of independent values, one a seed.
#[derive(Clone, PartialEq, Debug)]
pub struct Estimate {
    /// How many values; at least 1.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, by n - 1; `None` for one value.
    pub sd: Option<f64>,
    /// The 95 % interval of the mean by Student's t; `None` for one value. It has no width where all
    /// values are equal, which does not say that another seed's would be.
    pub ci95: Option<Interval>,
    /// The middle value, or the mean of the middle two.
    pub median: f64,
    /// The interval of the median; `None` below 6 values, whose whole span would be less than 95 %.
    pub median_interval: Option<MedianInterval>,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Estimate {
    /// What `values` say; those that are no finite numbers are left out. `None` if none is left.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Estimate> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let n = values.len();
        let t = t_quantile(1.0 - ALPHA / 2.0, (n - 1) as f64).unwrap_or(0.0);
        let (mean, sd, ci95) = mean_interval(&values, t);
        let median = values[(n - 1) / 2] / 2.0 + values[n / 2] / 2.0;
        let median_interval = median_interval(&values);
        Some(Estimate { n, mean, sd, ci95, median, median_interval, min, max })
    }
}

/// The mean of `values`, their standard deviation, and the interval of the mean by the quantile `t` of
/// n - 1 degrees of freedom; only the mean for one value.
pub(super) fn mean_interval(values: &[f64], t: f64) -> (f64, Option<f64>, Option<Interval>) {
    let n = values.len();
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Equal values have no spread, whatever the rounding of their sum.
    let mean =
        if min >= max { min } else { (values.iter().sum::<f64>() / n as f64).clamp(min, max) };
    if n < 2 {
        return (mean, None, None);
    }
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let sd = (squares / (n - 1) as f64).sqrt();
    let half = t * sd / (n as f64).sqrt();
    (mean, Some(sd), Some(Interval { lo: mean - half, hi: mean + half }))
}

/// The narrowest interval of order statistics, as many from below as from above, that has the
/// median in it with 95 %: the count of values below the median is that of heads of fair coins.
fn median_interval(sorted: &[f64]) -> Option<MedianInterval> {
    let n = sorted.len();
    let left_out = |k: usize| 2.0 * coins_below(k, n);
    // The greatest k that leaves out at most 5 %; at 0 none does.
    let (mut fits, mut over) = (0, n / 2 + 1);
    while over - fits > 1 {
        let k = fits + (over - fits) / 2;
        if left_out(k) <= ALPHA { fits = k } else { over = k }
    }
    let k = fits.checked_sub(1)?;
    let interval = Interval { lo: sorted[k], hi: sorted[n - 1 - k] };
    Some(MedianInterval { interval, coverage: 1.0 - left_out(fits) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::rng::{Rng, seed_from_u64};

    use super::*;

    /// A standard normal value (Box and Muller).
    fn normal(rng: &mut Rng) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - rng.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * rng.unit())
    }

    #[test]
    fn a_known_example_comes_out() {
        let e = Estimate::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((e.n, e.mean, e.median, e.min, e.max), (8, 5.0, 4.5, 2.0, 9.0));
        let sd = (32.0_f64 / 7.0).sqrt();
        assert!((e.sd.unwrap() - sd).abs() < 1e-12);
        let half = 2.364_624_251_592_785 * sd / 8.0_f64.sqrt();
        assert!((e.ci95.unwrap().half() - half).abs() < 1e-9);
        // Of 8 values the least and the greatest: 1 - 2/256.
        let median = e.median_interval.unwrap();
        assert_eq!(median.interval, Interval { lo: 2.0, hi: 9.0 });
        assert!((median.coverage - 0.992_187_5).abs() < 1e-12);
    }

    #[test]
    fn one_value_claims_no_interval_and_none_nothing() {
        let one = Estimate::of([3.0, f64::NAN]).unwrap();
        assert_eq!((one.n, one.mean, one.median), (1, 3.0, 3.0));
        assert_eq!((one.sd, one.ci95, one.median_interval), (None, None, None));
        assert_eq!(Estimate::of([]), None);
        assert_eq!(Estimate::of([f64::INFINITY]), None);
    }

    #[test]
    fn equal_values_have_no_spread() {
        let e = Estimate::of([0.1; 10]).unwrap();
        assert_eq!((e.mean, e.sd), (0.1, Some(0.0)));
        assert_eq!(e.ci95, Some(Interval { lo: 0.1, hi: 0.1 }));
    }

    #[test]
    fn the_median_needs_six_values() {
        let of = |n: u32| Estimate::of((1..=n).map(f64::from)).unwrap().median_interval;
        assert_eq!(of(5), None);
        assert_eq!(of(6).unwrap().interval, Interval { lo: 1.0, hi: 6.0 });
        // As in tables: of 30 the 10th and the 21st.
        assert_eq!(of(30).unwrap().interval, Interval { lo: 10.0, hi: 21.0 });
        assert_eq!(of(100).unwrap().interval, Interval { lo: 40.0, hi: 61.0 });
    }

    #[test]
    fn intervals_of_the_mean_cover_it_as_often_as_they_claim() {
        let mut rng = Rng::new(&seed_from_u64(20));
        let covered = (0..2_000).filter(|_| {
            let e = Estimate::of((0..5).map(|_| 10.0 + 3.0 * normal(&mut rng))).unwrap();
            e.ci95.unwrap().covers(10.0)
        });
        let covered = covered.count();
        assert!((1_860..=1_940).contains(&covered), "{covered} of 2000");
    }

    #[test]
    fn intervals_of_the_median_cover_it_at_least_so_often() {
        let mut rng = Rng::new(&seed_from_u64(21));
        // Exponential, which is far from symmetric: its median is ln 2.
        let covered = (0..2_000).filter(|_| {
            let e = Estimate::of((0..15).map(|_| -libm::log(1.0 - rng.unit()))).unwrap();
            e.median_interval.unwrap().interval.covers(std::f64::consts::LN_2)
        });
        let covered = covered.count();
        // 1 - 2 P(fewer than 4 of 15) = 96.5 %.
        assert!((1_890..=1_965).contains(&covered), "{covered} of 2000");
    }

    proptest! {
        #[test]
        fn nothing_is_out_of_order(values in prop::collection::vec(-1e6..1e6_f64, 1..40)) {
            let e = Estimate::of(values.iter().copied()).unwrap();
            prop_assert!(e.min <= e.mean && e.mean <= e.max);
            prop_assert!(e.min <= e.median && e.median <= e.max);
            prop_assert_eq!(e.ci95.is_some(), values.len() > 1);
            if let Some(ci) = e.ci95 { prop_assert!(ci.covers(e.mean)); }
            if let Some(m) = e.median_interval {
                prop_assert!(m.interval.covers(e.median) && m.coverage >= 0.95);
            }
        }
    }
}
