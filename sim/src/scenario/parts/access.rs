//! How fast the lines of a scenario's hosts are.

use wire::rng::Rng;

use crate::Access;
use crate::scenario::options::{Place, Problem, options};

options! {
    /// A class of lines.
    pub struct AccessClass {
        /// The share of the hosts that have it; the shares of all classes add up to 1.
        share: f64 = 0.0, in 0..=1;
        /// How fast they send.
        up_mbit: f64 = 10.0, in 0.001..=1_000_000, "Mbit/s";
        /// How fast they receive.
        down_mbit: f64 = 50.0, in 0.001..=1_000_000, "Mbit/s";
    }
}

options! {
    /// How fast the hosts' lines are, IP and TCP headers counted.
    pub struct AccessOptions {
        /// Everyone's upload, unless there are classes.
        up_mbit: f64 = 10.0, in 0.001..=1_000_000, "Mbit/s";
        /// Everyone's download, unless there are classes.
        down_mbit: f64 = 50.0, in 0.001..=1_000_000, "Mbit/s";
        /// The first seed's upload; 0: as everyone's.
        seed_up_mbit: f64 = 0.0, in 0..=1_000_000, "Mbit/s";
        /// How long a datagram waits for a line at most before it is lost.
        queue_ms: u32 = 100, in 1..=10_000, "ms";
        /// Lines that differ, each with its share of the hosts.
        class: Vec<AccessClass> = Vec::new();
    }
}

fn bytes_per_second(mbit: f64) -> u64 {
    ((mbit * 125_000.0) as u64).max(1)
}

impl AccessOptions {
    pub(in crate::scenario) fn check(&self) -> Result<(), Problem> {
        let sum: f64 = self.class.iter().map(|class| class.share).sum();
        if !self.class.is_empty() && (sum - 1.0).abs() > 1e-6 {
            let what = format!("the shares of access.class add up to {sum}, not to 1");
            return Err(Problem::new(&Place::Whole, what));
        }
        Ok(())
    }

    fn access(&self, up_mbit: f64, down_mbit: f64) -> Access {
        Access {
            up_bytes_per_second: bytes_per_second(up_mbit),
            down_bytes_per_second: bytes_per_second(down_mbit),
            queue_ms: self.queue_ms,
        }
    }

    /// The line of the seed.
    pub(in crate::scenario) fn seed(&self) -> Access {
        let up = if self.seed_up_mbit > 0.0 { self.seed_up_mbit } else { self.up_mbit };
        self.access(up, self.down_mbit)
    }

    /// The lines of the others, each with its share.
    pub(in crate::scenario) fn classes(&self) -> impl Iterator<Item = (f64, Access)> + '_ {
        let one = self.class.is_empty().then(|| (1.0, self.access(self.up_mbit, self.down_mbit)));
        let some = self.class.iter();
        one.into_iter()
            .chain(some.map(|class| (class.share, self.access(class.up_mbit, class.down_mbit))))
    }

    /// The lines of so many others: as many of each class as its share says, in an order that `rng`
    /// names.
    pub(in crate::scenario) fn lines(&self, count: u32, rng: &mut Rng) -> Vec<Access> {
        if self.class.is_empty() {
            return vec![self.access(self.up_mbit, self.down_mbit); count as usize];
        }
        let mut lines = Vec::new();
        let mut share = 0.0;
        for class in &self.class {
            share += class.share;
            let until = ((share * f64::from(count)).round() as usize).min(count as usize);
            let line = self.access(class.up_mbit, class.down_mbit);
            lines.resize(until.max(lines.len()), line);
        }
        let last = lines.last().copied().unwrap_or_default();
        lines.resize(count as usize, last);
        rng.shuffle(&mut lines);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    #[test]
    fn classes_have_their_shares() {
        let class = |share, up_mbit| AccessClass { share, up_mbit, ..AccessClass::default() };
        let mut access = AccessOptions {
            class: vec![class(0.2, 1.0), class(0.5, 2.0), class(0.3, 3.0)],
            ..AccessOptions::default()
        };
        let lines = access.lines(100, &mut Rng::new(&seed_from_u64(1)));
        let of = |up| lines.iter().filter(|line| line.up_bytes_per_second == up).count();
        assert_eq!([of(125_000), of(250_000), of(375_000)], [20, 50, 30]);
        assert_eq!(access.check(), Ok(()));
        access.class.pop();
        let error = access.check().unwrap_err().to_string();
        assert_eq!(error, "the shares of access.class add up to 0.7, not to 1");
        assert_eq!(access.seed(), Access::default());
    }
}
