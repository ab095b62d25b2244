//! Samples of the real run and of the simulator, side by side.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sim::results::Distribution;

/// How far medians may be apart, as a share of the simulator's.
pub(crate) const MEDIAN_WITHIN: f64 = 0.05;
/// The same of the 99th percentiles.
pub(crate) const P99_WITHIN: f64 = 0.10;

/// What is measured on both sides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    Found,
    FirstPeer,
    LookupEnd,
    Asked,
    KeptBy,
    Contacts,
    Datagrams,
    Finished,
    Metadata,
    Finish,
}

impl Measure {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Measure::Found => ("lookups that found the peer, a seed", "share"),
            Measure::FirstPeer => ("lookup: first peer", "ms"),
            Measure::LookupEnd => ("lookup: end", "ms"),
            Measure::Asked => ("lookup: nodes asked", ""),
            Measure::KeptBy => ("nodes that kept an announce", ""),
            Measure::Contacts => ("contacts of a node at the end, mean a seed", ""),
            Measure::Datagrams => ("datagrams of all nodes, a seed", ""),
            Measure::Finished => ("leeches that finished, a seed", "share"),
            Measure::Metadata => ("leech: metadata", "s"),
            Measure::Finish => ("leech: all on the disk", "s"),
        }
    }

    /// Whether samples are small whole numbers.
    fn is_count(self) -> bool {
        matches!(self, Measure::Asked | Measure::KeptBy)
    }

    /// Whether there are samples enough a seed for a 99th percentile. Of those that keep an announce there are 8,
    /// 32 or 40 and hardly anything between: the percentile would jump by a quarter.
    fn has_tail(self) -> bool {
        matches!(
            self,
            Measure::FirstPeer
                | Measure::LookupEnd
                | Measure::Asked
                | Measure::Metadata
                | Measure::Finish
        )
    }
}

/// Samples by what they are of.
#[derive(Clone, Default, Debug)]
pub(crate) struct Samples(BTreeMap<Measure, Vec<f64>>);

impl Samples {
    pub(crate) fn add(&mut self, measure: Measure, samples: impl IntoIterator<Item = f64>) {
        self.0.entry(measure).or_default().extend(samples);
    }

    /// Adds each sample of a distribution of few samples.
    pub(crate) fn add_all(&mut self, measure: Measure, distribution: &Distribution) {
        let mut before = 0;
        for step in distribution.steps() {
            self.add(measure, (before..step.rank).map(|_| step.value));
            before = step.rank;
        }
    }

    /// Puts those of another seed to these.
    pub(crate) fn extend(&mut self, other: Samples) {
        for (measure, samples) in other.0 {
            self.add(measure, samples);
        }
    }
}

/// The nearest rank.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// The same of whole numbers, each spread evenly over its unit, as is usual with grouped data: else a median
/// near a border would move by a whole one at a time, 8 % of 12.
pub(crate) fn quantile_of_counts(sorted: &[f64], share: f64) -> f64 {
    let at = quantile(sorted, share);
    let below = sorted.partition_point(|sample| *sample < at);
    let same = sorted.partition_point(|sample| *sample <= at) - below;
    at - 0.5 + (share * sorted.len() as f64 - below as f64) / same as f64
}

/// A table of all measures, and what is further apart than it may be.
pub(crate) fn compare(real: &Samples, simulated: &Samples) -> (String, Vec<String>) {
    let mut table = String::from(
        "| | unit | samples real, sim | quantile | real | sim | apart | may be |\n\
         | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n",
    );
    let mut wrong = Vec::new();
    for (measure, ours) in &real.0 {
        let sorted = |samples: &[f64]| {
            let mut sorted = samples.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        let theirs = simulated.0.get(measure).map(|samples| sorted(samples)).unwrap_or_default();
        let ours = sorted(ours);
        let (name, unit) = measure.words();
        let tail = measure.has_tail().then_some(("p99", 0.99, P99_WITHIN));
        for (quantile_name, share, within) in
            std::iter::once(("median", 0.5, MEDIAN_WITHIN)).chain(tail)
        {
            let of = if measure.is_count() { quantile_of_counts } else { quantile };
            let (a, b) = (of(&ours, share), of(&theirs, share));
            let apart = (a - b) / b;
            let _ = writeln!(
                table,
                "| {name} | {unit} | {}, {} | {quantile_name} | {a:.3} | {b:.3} | {:+.1} % | {:.0} % |",
                ours.len(),
                theirs.len(),
                100.0 * apart,
                100.0 * within,
            );
            // What is no number is no agreement.
            if apart.is_nan() || apart.abs() > within {
                let percent = 100.0 * apart;
                wrong.push(format!(
                    "{name}, {quantile_name}: {a:.3} is {percent:+.1} % from {b:.3}"
                ));
            }
        }
    }
    (table, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(Measure, &[f64])]) -> Samples {
        let mut all = Samples::default();
        of.iter().for_each(|(measure, samples)| all.add(*measure, samples.iter().copied()));
        all
    }

    #[test]
    fn what_is_apart_is_told() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let later: Vec<f64> = hundred.iter().map(|x| x * 1.06).collect();
        let tailed: Vec<f64> = hundred.iter().map(|x| if *x > 98.0 { 120.0 } else { *x }).collect();
        let of = |samples_of: &[f64]| samples(&[(Measure::LookupEnd, samples_of)]);
        assert!(compare(&of(&hundred), &of(&hundred)).1.is_empty());
        let wrong = compare(&of(&later), &of(&hundred)).1;
        assert_eq!(wrong, ["lookup: end, median: 53.000 is +6.0 % from 50.000"]);
        assert_eq!(compare(&of(&tailed), &of(&hundred)).1.len(), 1);
        assert_eq!(compare(&of(&hundred), &samples(&[])).1.len(), 2);
    }

    #[test]
    fn a_quantile_of_counts_lies_between_them() {
        // Half of the samples are at most 12, so the border between 12 and 13 is the median.
        assert_eq!(quantile_of_counts(&[12.0, 12.0, 13.0, 13.0], 0.5), 12.5);
        assert_eq!(quantile_of_counts(&[12.0, 12.0, 12.0, 13.0], 0.5), 11.5 + 2.0 / 3.0);
        assert!(quantile_of_counts(&[], 0.5).is_nan());
    }

    #[test]
    fn a_distribution_gives_back_its_samples() {
        let mut all = Samples::default();
        all.add_all(Measure::Asked, &Distribution::of("asked", "", [3.0, 1.0, 3.0]));
        assert_eq!(all.0[&Measure::Asked], [1.0, 3.0, 3.0]);
    }
}
