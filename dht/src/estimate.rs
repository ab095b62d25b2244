//! How many nodes a DHT has, and how likely a lookup found those that are closest.

use std::collections::VecDeque;

use wire::Id;
use wire::time::Time;

use crate::contact::secs;

/// Nodes that answer, as the distances in finished lookups tell.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NetworkSize {
    /// The estimate.
    pub nodes: f64,
    /// With 95 % certainty there are at least so many.
    pub low: f64,
    /// ... and at most so many.
    pub high: f64,
    /// Lookups that it rests on.
    pub lookups: u32,
}

/// How sure the closest nodes of a lookup are the closest that there are.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Certainty {
    /// Distance of the k-th closest node that answered, as a part of the key space; `None` if fewer
    /// answered.
    pub observed: Option<f64>,
    /// What it is on average in a DHT as dense as it is around our own id; `None` while fewer than k
    /// nodes are known there.
    pub expected: Option<f64>,
    /// How likely k nodes are that close by chance, in a DHT as large as it may well be. Next to
    /// nothing: somebody put nodes there, as to hide what is stored. Next to one: the lookup missed
    /// nodes.
    pub chance: Option<f64>,
}

/// Lookups that count. 16 of 8 nodes give 9 % of standard error.
const LOOKUPS_MAX: usize = 64;
/// Older ones do not.
const AGE_MAX_SECS: u32 = 3600;

/// The distances of the k-th closest node in lookups of distinct targets.
#[derive(Clone, Default)]
pub(crate) struct Estimate {
    lookups: VecDeque<Kth>,
}

#[derive(Clone, Copy)]
struct Kth {
    /// The first bits of the target: no nodes are so near to each other that two such targets would have
    /// other closest ones.
    target: u32,
    at_secs: u32,
    distance: f64,
}

impl Estimate {
    /// A lookup of `target` ended with its `k`-th closest node at this distance.
    pub(crate) fn add(&mut self, now: Time, target: Id, distance: f64) {
        let target = target.0.iter().take(4).fold(0, |head, byte| head << 8 | u32::from(*byte));
        self.lookups.retain(|kth| kth.target != target);
        if self.lookups.len() == LOOKUPS_MAX {
            self.lookups.pop_front();
        }
        self.lookups.push_back(Kth { target, distance, at_secs: secs(now) });
    }

    /// The k-th distances of those that are not too old.
    fn distances(&self, now: Time) -> impl Iterator<Item = f64> {
        let since = secs(now).saturating_sub(AGE_MAX_SECS);
        self.lookups.iter().filter(move |kth| kth.at_secs >= since).map(|kth| kth.distance)
    }

    /// What the lookups say together.
    ///
    /// Around any target the nodes are a Poisson process, so N times the k-th distance is
    /// Gamma(k)-distributed, and the sum over m lookups Gamma(m k): a lookup of which the closest were
    /// put there by somebody hardly adds to the sum, so it cannot move the estimate far.
    pub(crate) fn size(&self, now: Time, k: usize) -> Option<NetworkSize> {
        size_of(self.distances(now).count(), k, self.distances(now).sum())
    }

    /// The median of what each lookup says alone; 0 without any. Those that were led astray say too
    /// little, and those of which somebody surrounded the target too much.
    pub(crate) fn median(&self, now: Time, k: usize) -> f64 {
        let mut distances: Vec<f64> = self.distances(now).collect();
        distances.sort_unstable_by(f64::total_cmp);
        match distances.get(distances.len() / 2) {
            Some(&distance) if distance > 0.0 => k.saturating_sub(1) as f64 / distance,
            _ => 0.0,
        }
    }
}

impl Certainty {
    /// How sure a lookup can be whose `k`-th closest node is at `observed`, in a DHT of this size.
    pub(crate) fn of(size: Option<NetworkSize>, k: usize, observed: Option<f64>) -> Certainty {
        let expected = size.map(|size| k as f64 / size.nodes);
        let chance = size.zip(observed).map(|(size, d)| at_least(k, size.high * d));
        Certainty { observed, expected, chance }
    }
}

/// The size that lookups tell whose k-th distances have this sum.
pub(crate) fn size_of(lookups: usize, k: usize, sum: f64) -> Option<NetworkSize> {
    if lookups == 0 || sum <= 0.0 {
        return None;
    }
    let shape = (lookups * k) as f64;
    let at = |z| chi_square(2.0 * shape, z) / (2.0 * sum);
    let nodes = (shape - 1.0).max(1.0) / sum;
    Some(NetworkSize { nodes, low: at(-1.96), high: at(1.96), lookups: lookups as u32 })
}

/// A distance as a part of the key space, in (0, 1].
pub(crate) fn part_of_space(distance: &Id) -> f64 {
    let head = distance.0.iter().take(8).fold(0u64, |head, byte| head << 8 | u64::from(*byte));
    (head as f64 + 1.0) / 18_446_744_073_709_551_616.0
}

/// The quantile of a chi-square distribution that has the normal quantile `z` (Wilson and Hilferty
/// 1931).
fn chi_square(freedom: f64, z: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    let root = 1.0 - part + z * libm::sqrt(part);
    freedom * root * root * root
}

/// How likely a Poisson process of this mean has at least `k` points.
fn at_least(k: usize, mean: f64) -> f64 {
    let mut term = libm::exp(-mean);
    let mut fewer = 0.0;
    for n in 0..k {
        fewer += term;
        term *= mean / (n + 1) as f64;
    }
    // Cancels where it is next to nothing: the next terms are nearly all.
    let direct = 1.0 - fewer;
    if direct > 1e-6 { direct } else { term / (1.0 - (mean / (k + 1) as f64).min(0.5)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::{Rng, seed_from_u64};

    const NOW: Time = Time::from_secs(10_000);

    /// The k-th distance to a random target among `n` random ids.
    fn kth(rng: &mut Rng, n: usize) -> (Id, f64) {
        let target = Id::random(rng);
        let mut all: Vec<_> = (0..n).map(|_| Id::random(rng).distance(&target)).collect();
        all.sort_unstable();
        (target, part_of_space(&all[7]))
    }

    #[test]
    fn the_true_size_lies_in_the_interval_as_often_as_it_says() {
        for n in [50, 1_000] {
            let mut rng = Rng::new(&seed_from_u64(n as u64));
            let (mut inside, mut sum) = (0, 0.0);
            for _ in 0..200 {
                let mut estimate = Estimate::default();
                (0..8).for_each(|_| {
                    let (target, distance) = kth(&mut rng, n);
                    estimate.add(NOW, target, distance);
                });
                let size = estimate.size(NOW, 8).unwrap();
                inside += u32::from((size.low..size.high).contains(&(n as f64)));
                sum += size.nodes / n as f64;
            }
            assert!(inside >= 180, "{inside} of 200 for {n}");
            assert!((0.95..1.08).contains(&(sum / 200.0)), "{}", sum / 200.0);
        }
    }

    #[test]
    fn a_lookup_that_somebody_filled_is_told_and_moves_the_estimate_little() {
        let mut rng = Rng::new(&seed_from_u64(7));
        let mut estimate = Estimate::default();
        for _ in 0..15 {
            let (target, distance) = kth(&mut rng, 1_000);
            estimate.add(NOW, target, distance);
        }
        let (target, honest) = kth(&mut rng, 1_000);
        let size = estimate.size(NOW, 8);
        let chance = |observed| Certainty::of(size, 8, Some(observed)).chance.unwrap();
        assert!((0.001..0.999).contains(&chance(honest)), "{}", chance(honest));
        assert!(chance(honest / 30.0) < 1e-6 && chance(honest / 30.0) > 0.0);
        assert!(chance(honest * 5.0) > 0.999);
        let before = estimate.size(NOW, 8).unwrap().nodes;
        estimate.add(NOW, target, honest / 1e6);
        let after = estimate.size(NOW, 8).unwrap().nodes;
        assert!(after / before < 1.08);
    }

    #[test]
    fn lookups_grow_old_and_one_target_counts_once() {
        let mut rng = Rng::new(&seed_from_u64(7));
        let mut estimate = Estimate::default();
        assert_eq!(estimate.size(NOW, 8), None);
        let (target, distance) = kth(&mut rng, 100);
        (0..100).for_each(|_| estimate.add(NOW, target, distance));
        assert_eq!(estimate.size(NOW, 8).unwrap().lookups, 1);
        for n in 0..100 {
            estimate.add(NOW, Id([n; 20]), distance);
        }
        assert_eq!(estimate.size(NOW, 8).unwrap().lookups, 64);
        let later = NOW + std::time::Duration::from_secs(3_601);
        assert_eq!(estimate.size(later, 8), None);
        assert_eq!(Certainty::of(None, 8, None), Certainty::default());
    }
}
