//! The links of a scenario.

use std::sync::Arc;

use wire::rng::seed_from_u64;

use crate::scenario::options::{FileName, Place, Problem, choices, options};
use crate::{AddressPlan, Bursts, Jitter, King, LatencyLaw, LinkConfig, Links, Matrix};

choices! {
    /// How the delay of a pair of hosts comes about.
    pub enum LatencyKind {
        /// Each pair has its own, uniform between two bounds.
        Uniform = "uniform",
        /// As between the hosts of the Internet: [`King`].
        King = "king",
        /// Out of a file of measured round trips: [`Matrix`].
        Matrix = "matrix",
    }
}

options! {
    /// What happens to packets between two hosts.
    pub struct LinkOptions {
        /// How the one-way delay of a pair comes about: uniform between two bounds, spread like the King
        /// data set of 2002, or a matrix of measured round trips.
        latency: LatencyKind = LatencyKind::Uniform;
        /// Uniform: the shortest way between two hosts, one way.
        latency_min_ms: f64 = 20.0, in 0.01..=10_000, "ms";
        /// Uniform: the longest way between two hosts; at least the shortest.
        latency_max_ms: f64 = 150.0, in 0.01..=10_000, "ms";
        /// King: the shortest way; what would be shorter becomes it.
        king_min_ms: f64 = 5.0, in 0.01..=10_000, "ms";
        /// King: the longest way; what would be longer becomes it.
        king_max_ms: f64 = 400.0, in 0.01..=10_000, "ms";
        /// Matrix: the file, a square of round trips in ms, or lines "i j ms"; hosts stand on its rows by
        /// a hash.
        matrix_file: MatrixFile = MatrixFile::default();
        /// The mean of what each datagram takes longer, exponential.
        jitter_mean_ms: f64 = 0.0, in 0..=10_000, "ms";
        /// The most that a datagram takes longer by jitter.
        jitter_max_ms: f64 = 100.0, in 0..=10_000, "ms";
        /// The share of datagrams that are lost, each for itself; a segment of a stream slows it.
        loss: f64 = 0.0, in 0..=1;
        /// The share of datagrams that are lost while a way is in a bad time (Gilbert-Elliott), besides;
        /// 0: there are none.
        burst_loss: f64 = 0.0, in 0..=1;
        /// How long a way is good, in the mean.
        burst_good_ms: u32 = 9_900, in 1..=100_000_000, "ms";
        /// How long a way is bad, in the mean.
        burst_bad_ms: u32 = 100, in 1..=100_000_000, "ms";
        /// The share of datagrams that arrive twice.
        duplicate: f64 = 0.0, in 0..=1;
        /// The share of datagrams that others may overtake.
        reorder: f64 = 0.0, in 0..=1;
        /// How much later those arrive at most.
        reorder_delay_max_ms: f64 = 50.0, in 0..=10_000, "ms";
        /// The longest datagram, IPv4 and UDP headers not counted; longer ones vanish.
        mtu_bytes: u32 = 1_472, in 548..=65_507, "bytes";
    }
}

/// A file of measured round trips, and what stands in it once it was read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MatrixFile {
    name: FileName,
    matrix: Option<Arc<Matrix>>,
}

impl crate::scenario::options::Field for MatrixFile {
    fn read(
        &mut self,
        node: &crate::scenario::options::Node,
        spec: &crate::scenario::options::Spec,
    ) -> Result<(), Problem> {
        self.name.read(node, spec)
    }

    fn walk(
        &self,
        default: &Self,
        spec: &crate::scenario::options::Spec,
        visit: &mut dyn FnMut(crate::scenario::options::Entry),
    ) {
        self.name.walk(&default.name, spec, visit);
    }
}

fn us(ms: f64) -> u32 {
    (ms * 1e3).round() as u32
}

impl LinkOptions {
    /// Reads the matrix, if there is to be one; `file` gives the text of a file or says why not.
    pub(in crate::scenario) fn load(
        &mut self,
        file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<(), Problem> {
        if self.latency != LatencyKind::Matrix {
            return Ok(());
        }
        let name = &self.matrix_file.name.0;
        let problem = |what: String| Problem::new(&Place::Whole, what);
        if name.is_empty() {
            let what = "links.latency is matrix, so links.matrix_file must name a file";
            return Err(problem(what.to_owned()));
        }
        let text = file(name).map_err(|why| problem(format!("{name}: {why}")))?;
        let matrix = Matrix::parse(&text).map_err(|why| problem(format!("{name}: {why}")))?;
        self.matrix_file.matrix = Some(Arc::new(matrix));
        Ok(())
    }

    /// Where the hosts of a run are, and how far from each other.
    pub fn network(&self, seed: u64) -> (AddressPlan, Links) {
        let seed = seed_from_u64(seed);
        (AddressPlan::new(&seed), Links::new(self.config(), &seed))
    }

    /// The law of the links.
    pub fn config(&self) -> LinkConfig {
        let uniform = LatencyLaw::Uniform {
            min_us: us(self.latency_min_ms),
            max_us: us(self.latency_max_ms.max(self.latency_min_ms)),
        };
        let latency = match (self.latency, &self.matrix_file.matrix) {
            (LatencyKind::King, _) => LatencyLaw::King(King {
                min_us: us(self.king_min_ms),
                max_us: us(self.king_max_ms.max(self.king_min_ms)),
            }),
            (LatencyKind::Matrix, Some(matrix)) => LatencyLaw::Matrix(matrix.clone()),
            _ => uniform,
        };
        let bursts = (self.burst_loss > 0.0).then_some(Bursts {
            loss_good: 0.0,
            loss_bad: self.burst_loss,
            good_ms: self.burst_good_ms,
            bad_ms: self.burst_bad_ms,
        });
        LinkConfig {
            perfect_from: None,
            latency,
            jitter: Jitter { mean_us: us(self.jitter_mean_ms), max_us: us(self.jitter_max_ms) },
            loss: self.loss,
            bursts,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_delay_max_us: us(self.reorder_delay_max_ms),
            mtu_bytes: self.mtu_bytes as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_links() {
        let jitter = Jitter { mean_us: 0, max_us: 100_000 };
        let want = LinkConfig { jitter, ..LinkConfig::default() };
        assert_eq!(LinkOptions::default().config(), want);
    }

    #[test]
    fn a_matrix_is_read_or_it_is_said_why_not() {
        let mut links = LinkOptions { latency: LatencyKind::Matrix, ..LinkOptions::default() };
        let file = |name: &str| match name {
            "there" => Ok("0 10\n10 0\n".to_owned()),
            _ => Err("no such file".to_owned()),
        };
        assert!(links.load(&file).unwrap_err().to_string().contains("must name a file"));
        links.matrix_file.name.0 = "gone".to_owned();
        assert_eq!(links.load(&file).unwrap_err().to_string(), "gone: no such file");
        links.matrix_file.name.0 = "there".to_owned();
        links.load(&file).unwrap();
        assert_eq!(links.config().latency.min_us(), 5_000);
    }
}
