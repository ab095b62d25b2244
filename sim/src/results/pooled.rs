//! One distribution over several seeds.

use libm::floor;
use wire::rng::{Rng, child_seed};

use super::distribution::{Distribution, QUANTILES, Step, quantile, rank, steps_of};
use super::estimate::Interval;
use super::outcome::Name;
use super::student::{normal_tail, t_quantile};

/// Seeds below which no interval is claimed: too few of them to draw from.
pub const BOOTSTRAP_SEEDS_MIN: usize = 5;
/// How often seeds are drawn.
pub const BOOTSTRAP_DRAWS: usize = 2_000;

/// A quantile of all samples of all seeds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PooledQuantile {
    /// Which, in thousandths.
    pub permille: u32,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval; `None` below [`BOOTSTRAP_SEEDS_MIN`] seeds.
    pub interval: Option<Interval>,
}

/// The samples of several seeds as one distribution. Where a run kept only [`POINTS_MAX`] of its
/// points, a quantile may be that of a rank up to an eighth of a hundredth higher.
///
/// [`POINTS_MAX`]: super::POINTS_MAX
///
/// Samples of one run depend on each other, so intervals come from drawing whole runs again, with
/// replacement, [`BOOTSTRAP_DRAWS`] times with a fixed seed of its own (percentile bootstrap of
/// clusters). For few runs its ends are moved outwards, as t is wider than the normal distribution
/// (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", expanded percentile interval).
#[derive(Clone, PartialEq, Debug)]
pub struct Pooled {
    /// What they are samples of.
    pub name: Name,
    /// Their unit.
    pub unit: Name,
    /// Seeds whose runs had samples.
    pub seeds: usize,
    /// Samples.
    pub count: u64,
    /// Samples that were no finite numbers, and were left out.
    pub left_out: u64,
    /// Their mean; 0 if there are none.
    pub mean: f64,
    /// The quantiles of [`QUANTILES`]; empty if there are no samples.
    pub quantiles: Vec<PooledQuantile>,
    steps: Vec<Step>,
}

impl Pooled {
    /// All of `runs` as one; they are of one name. `None` for no runs.
    pub fn of(runs: &[&Distribution]) -> Option<Pooled> {
        let first = runs.first()?;
        let with_samples: Vec<&Distribution> =
            runs.iter().copied().filter(|run| run.count > 0).collect();
        let drawable = Drawable::of(&with_samples);
        let steps = steps_of(drawable.samples.iter().map(|sample| (sample.value, sample.weight)));
        let count: u64 = with_samples.iter().map(|run| run.count).sum();
        let sum: f64 = with_samples.iter().map(|run| run.mean * run.count as f64).sum();
        let mean = match (steps.first(), steps.last()) {
            (Some(min), Some(max)) => (sum / count as f64).clamp(min.value, max.value),
            _ => 0.0,
        };
        let intervals = drawable.intervals();
        let one = |(at, permille)| {
            let interval = intervals.as_ref().map(|intervals| intervals[at]);
            Some(PooledQuantile { permille, value: quantile(&steps, permille)?, interval })
        };
        Some(Pooled {
            name: first.name.clone(),
            unit: first.unit.clone(),
            seeds: with_samples.len(),
            count,
            left_out: runs.iter().map(|run| run.left_out).sum(),
            mean,
            quantiles: QUANTILES.into_iter().enumerate().filter_map(one).collect(),
            steps,
        })
    }

    /// The steps of the cumulative distribution.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The least sample.
    pub fn min(&self) -> Option<f64> {
        self.steps.first().map(|step| step.value)
    }

    /// The greatest sample.
    pub fn max(&self) -> Option<f64> {
        self.steps.last().map(|step| step.value)
    }
}

/// A value that stands for so many samples of a run.
struct Sample {
    value: f64,
    run: usize,
    weight: u64,
}

/// The samples of some runs, in the order of their values.
struct Drawable {
    samples: Vec<Sample>,
    counts: Vec<u64>,
}

impl Drawable {
    fn of(runs: &[&Distribution]) -> Drawable {
        let mut samples = Vec::new();
        for (run, distribution) in runs.iter().enumerate() {
            let mut below = 0;
            for step in distribution.steps() {
                samples.push(Sample { value: step.value, run, weight: step.rank - below });
                below = step.rank;
            }
        }
        // The sort is stable, so that equal values stay in the order of the runs.
        samples.sort_by(|a, b| a.value.total_cmp(&b.value));
        Drawable { samples, counts: runs.iter().map(|run| run.count).collect() }
    }

    /// An interval for each of [`QUANTILES`].
    fn intervals(&self) -> Option<[Interval; QUANTILES.len()]> {
        let n = self.counts.len();
        if n < BOOTSTRAP_SEEDS_MIN {
            return None;
        }
        let mut rng = Rng::new(&child_seed(&[0; 32], "results bootstrap", 0));
        let mut drawn = QUANTILES.map(|_| Vec::with_capacity(BOOTSTRAP_DRAWS));
        let mut times = vec![0; n];
        for _ in 0..BOOTSTRAP_DRAWS {
            times.fill(0);
            for _ in 0..n {
                times[rng.index(n)] += 1;
            }
            for (values, value) in drawn.iter_mut().zip(self.quantiles(&times)) {
                values.push(value);
            }
        }
        let t = t_quantile(0.975, (n - 1) as f64)?;
        let tail = normal_tail(t * (n as f64 / (n - 1) as f64).sqrt());
        let outside = floor(BOOTSTRAP_DRAWS as f64 * tail) as usize;
        Some(drawn.map(|mut values| {
            values.sort_by(f64::total_cmp);
            Interval { lo: values[outside], hi: values[BOOTSTRAP_DRAWS - 1 - outside] }
        }))
    }

    /// The quantiles of all samples, each run taken as many times.
    fn quantiles(&self, times: &[u64]) -> [f64; QUANTILES.len()] {
        let total: u64 = self.counts.iter().zip(times).map(|(count, times)| count * times).sum();
        let wanted = QUANTILES.map(|permille| rank(total, permille));
        let mut values = [0.0; QUANTILES.len()];
        let (mut below, mut next) = (0, 0);
        for sample in &self.samples {
            below += sample.weight * times[sample.run];
            while next < wanted.len() && below >= wanted[next] {
                values[next] = sample.value;
                next += 1;
            }
            if next == wanted.len() {
                break;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(runs: &[Distribution]) -> Pooled {
        Pooled::of(&runs.iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn samples_of_all_seeds_are_one_distribution() {
        let low = Distribution::of("d", "ms", (1..=50).map(f64::from));
        let high = Distribution::of("d", "ms", (51..=100).map(f64::from));
        let none = Distribution::of("d", "ms", [f64::NAN]);
        let pooled = pooled(&[high, none, low]);
        assert_eq!((pooled.seeds, pooled.count, pooled.left_out), (2, 100, 1));
        assert_eq!(pooled.mean, 50.5);
        let values: Vec<f64> = pooled.quantiles.iter().map(|q| q.value).collect();
        assert_eq!(values, [50.0, 90.0, 99.0, 100.0]);
        assert!(pooled.quantiles.iter().all(|q| q.interval.is_none()), "two seeds claim nothing");
        assert_eq!((pooled.min(), pooled.max()), (Some(1.0), Some(100.0)));
    }

    #[test]
    fn nothing_is_claimed_of_nothing() {
        assert_eq!(Pooled::of(&[]), None);
        let pooled = pooled(&[Distribution::of("d", "", [])]);
        assert_eq!((pooled.count, pooled.mean, pooled.quantiles.len()), (0, 0.0, 0));
    }

    #[test]
    fn a_run_with_more_samples_weighs_more() {
        let many = Distribution::of("d", "", [1.0; 900]);
        let few = Distribution::of("d", "", [2.0; 100]);
        let pooled = pooled(&[many, few]);
        assert_eq!(pooled.quantiles[1].value, 1.0);
        assert_eq!(pooled.quantiles[2].value, 2.0);
        assert_eq!(pooled.mean, 1.1);
    }

    #[test]
    fn intervals_cover_the_median_though_samples_of_a_run_go_together() {
        let mut rng = Rng::new(&[5; 32]);
        let mut covered = 0;
        for _ in 0..150 {
            // Each run is shifted as a whole: its 50 samples say little more than one.
            let runs: Vec<Distribution> = (0..8)
                .map(|_| {
                    let shift = 10.0 * rng.unit();
                    Distribution::of("d", "", (0..50).map(|_| shift + rng.unit()))
                })
                .collect();
            let interval = pooled(&runs).quantiles[0].interval.unwrap();
            covered += usize::from(interval.covers(5.5));
        }
        assert!((132..=150).contains(&covered), "{covered} of 150");
    }

    #[test]
    fn the_same_runs_give_the_same_intervals() {
        let run = |n: u32| Distribution::of("d", "", (0..100).map(|i| f64::from((i * n) % 17)));
        let runs: Vec<Distribution> = (1..9).map(run).collect();
        assert_eq!(pooled(&runs), pooled(&runs));
        for q in pooled(&runs).quantiles {
            assert!(q.interval.unwrap().covers(q.value));
        }
    }

    #[test]
    fn intervals_are_the_same_on_any_machine() {
        let mut rng = Rng::new(&[9; 32]);
        let run = |_| Distribution::of("d", "", (0..1000).map(|_| f64::from(rng.below(1_000_000))));
        let runs: Vec<Distribution> = (0..6).map(run).collect();
        let told = pooled(&runs).quantiles.into_iter().map(|q| {
            let interval = q.interval.unwrap();
            (q.value, interval.lo, interval.hi)
        });
        assert_eq!(told.collect::<Vec<_>>(), GOLDEN);
    }

    const GOLDEN: [(f64, f64, f64); 4] = [
        (505_901.0, 478_707.0, 524_453.0),
        (902_490.0, 898_493.0, 908_160.0),
        (988_162.0, 983_841.0, 992_709.0),
        (999_349.0, 997_005.0, 999_571.0),
    ];
}
