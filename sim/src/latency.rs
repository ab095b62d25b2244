//! How long a packet takes between two hosts.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use wire::rng::Rng;

use crate::host::HostId;
use crate::matrix::Matrix;

/// How the one-way delay of a pair of hosts comes about. It is the same in both directions and never
/// changes. The world runs in parallel windows as long as the smallest delay, so a law with a larger
/// minimum runs faster.
#[derive(Clone, Debug, PartialEq)]
pub enum LatencyLaw {
    /// Each pair has its own, uniform between two bounds.
    Uniform {
        /// The shortest one-way delay, in microseconds. Default 20,000.
        min_us: u32,
        /// The longest one-way delay, in microseconds. Default 150,000: round trips have a median of
        /// 170 ms, somewhat more than measured ones ([`King`]).
        max_us: u32,
    },
    /// Places on a map and a line to each host, spread as measured delays are.
    King(King),
    /// Delays that were measured: each host stands on a row that a hash gives it.
    Matrix(Arc<Matrix>),
}

impl Default for LatencyLaw {
    fn default() -> LatencyLaw {
        LatencyLaw::Uniform { min_us: 20_000, max_us: 150_000 }
    }
}

impl LatencyLaw {
    /// No delay is shorter, in microseconds; at least 1.
    pub fn min_us(&self) -> u32 {
        let min = match self {
            LatencyLaw::Uniform { min_us, .. } => *min_us,
            LatencyLaw::King(king) => king.min_us,
            LatencyLaw::Matrix(matrix) => matrix.min_us(),
        };
        min.max(1)
    }

    /// No packet between two hosts is on its way for more, in microseconds.
    pub fn max_us(&self) -> u32 {
        match self {
            LatencyLaw::Uniform { max_us, .. } => *max_us,
            LatencyLaw::King(king) => king.max_us,
            LatencyLaw::Matrix(matrix) => matrix.max_us(),
        }
    }
}

/// A law like the delays between 1,740 name servers that MIT measured with the King method (Gummadi,
/// Saroiu and Gribble 2002) for p2psim and Vivaldi (Dabek and others 2004): a point in a plane, a
/// height above it for the line of the host, and a factor for how far the route of a pair is from
/// straight. Vivaldi finds plane and heights to fit these data; the factor gives what neither can, a
/// third host over which two reach each other sooner than directly.
///
/// Aimed at, for round trips in ms: 5 % under 40, 25 % under 85, half under 135, 75 % under 195,
/// 95 % under 300, 99 % under 430. The data set was not at hand: its median of about 159 and mean of
/// about 180 ms are remembered, not checked, and lines have become faster since 2004, so this aims
/// lower. Weights and places of the continents are chosen, not measured. Use [`Matrix`] with the
/// data themselves where that matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct King {
    /// The shortest one-way delay, in microseconds; shorter ones become it. Default 5,000: one pair
    /// in four thousand.
    pub min_us: u32,
    /// The longest one-way delay, in microseconds; longer ones become it. Default 400,000: one pair in
    /// two thousand.
    pub max_us: u32,
}

impl Default for King {
    fn default() -> King {
        King { min_us: 5_000, max_us: 400_000 }
    }
}

/// A continent: its share of the hosts in percent, and in microseconds one way the place of its
/// middle and the standard deviations around it.
struct Continent {
    percent: u8,
    middle: [f64; 2],
    spread: [f64; 2],
}

/// North America, Europe, East Asia, South America, Oceania and South Asia, with routes over North
/// America: by way of the Pacific Asia lies west of it. Percentages add up to 100.
const CONTINENTS: [Continent; 6] = [
    Continent { percent: 44, middle: [0.0, 0.0], spread: [17_000.0, 11_000.0] },
    Continent { percent: 28, middle: [49_000.0, 4_000.0], spread: [10_000.0, 8_000.0] },
    Continent { percent: 18, middle: [-62_500.0, 10_000.0], spread: [17_000.0, 13_000.0] },
    Continent { percent: 4, middle: [15_000.0, -60_000.0], spread: [13_000.0, 13_000.0] },
    Continent { percent: 3, middle: [-55_000.0, -62_500.0], spread: [9_000.0, 9_000.0] },
    Continent { percent: 3, middle: [75_000.0, 40_000.0], spread: [15_000.0, 13_000.0] },
];

/// The line of a host, one way: 1 ms, and what Lomax' law with this scale in microseconds and exponent
/// 2 adds, 2.9 ms in the median and 63 ms in one of a hundred; at most 150 ms.
const LINE_US: f64 = 1_000.0;
const LINE_SCALE_US: f64 = 7_000.0;
const LINE_MAX_US: f64 = 150_000.0;

/// How much longer than straight the route of a pair is: this, and what Lomax' law adds, 0.94 in the
/// median and 2.1 in one of a hundred; at most 3.
const DETOUR_MIN: f64 = 0.88;
const DETOUR_SCALE: f64 = 0.14;
const DETOUR_MAX: f64 = 3.0;

/// A law with the keys of one world.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    law: LatencyLaw,
    keys: (u64, u64),
}

impl Latency {
    /// The delays that `rng` names.
    pub(crate) fn new(law: LatencyLaw, rng: &mut Rng) -> Latency {
        Latency { law, keys: (rng.u64(), rng.u64()) }
    }

    pub(crate) fn min(&self) -> Duration {
        Duration::from_micros(self.law.min_us().into())
    }

    /// How long a packet takes between two hosts; the same in both directions.
    pub(crate) fn between(&self, a: HostId, b: HostId) -> Duration {
        let us = match &self.law {
            LatencyLaw::Uniform { min_us, max_us } => {
                let mut hash = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
                hash.write_u64(pair(a, b));
                let range = max_us.saturating_sub(*min_us).saturating_add(1);
                min_us.saturating_add(scale(hash.finish() as u32, range)).max(1)
            }
            LatencyLaw::King(king) => self.king(king, a, b),
            LatencyLaw::Matrix(matrix) => {
                let row = |host: HostId| scale(self.mix(host.0.into()) as u32, matrix.rows());
                matrix.one_way_us(row(a), row(b))
            }
        };
        Duration::from_micros(us.into())
    }

    fn king(&self, king: &King, a: HostId, b: HostId) -> u32 {
        let (from, to) = (self.place(a), self.place(b));
        let (x, y) = (from.x - to.x, from.y - to.y);
        // Basic operations and the square root are the same on every machine (IEEE 754).
        let straight = (x * x + y * y).sqrt() + (from.line + to.line);
        let random = self.mix(!pair(a, b));
        let detour = (DETOUR_MIN + DETOUR_SCALE * lomax(random as u32)).min(DETOUR_MAX);
        let us = (straight * detour) as u32;
        us.min(king.max_us).max(king.min_us).max(1)
    }

    /// Where a host is, from hashes of its number.
    fn place(&self, host: HostId) -> Place {
        let [here, line] = halves(self.mix(u64::from(host.0) | 1 << 32));
        let around = self.mix(u64::from(host.0) | 2 << 32);
        let mut percent = scale(here, 100);
        let mut at = &CONTINENTS[0];
        for continent in &CONTINENTS {
            at = continent;
            match percent.checked_sub(continent.percent.into()) {
                Some(rest) => percent = rest,
                None => break,
            }
        }
        let line = (LINE_US + LINE_SCALE_US * lomax(line)).min(LINE_MAX_US);
        Place {
            x: at.middle[0] + at.spread[0] * bell(around as u32),
            y: at.middle[1] + at.spread[1] * bell((around >> 32) as u32),
            line,
        }
    }

    /// A keyed hash for laws, not against strangers; two rounds of multiplication, so a few ns.
    fn mix(&self, x: u64) -> u64 {
        mix(self.keys, x)
    }
}

struct Place {
    x: f64,
    y: f64,
    line: f64,
}

fn pair(a: HostId, b: HostId) -> u64 {
    (u64::from(a.0.min(b.0)) << 32) | u64::from(a.0.max(b.0))
}

/// A number from a law with mean 0, standard deviation 1 and the shape of a bell between -3.5 and 3.5:
/// the sum of four bytes.
fn bell(random: u32) -> f64 {
    let sum: u32 = random.to_le_bytes().into_iter().map(u32::from).sum();
    // Four times 127.5 in the middle; a byte has the variance (256² - 1) / 12.
    (f64::from(sum) - 510.0) / 147.8
}

/// A number from Lomax' law with scale 1 and exponent 2: 0.41 in the median, 9 in one of a hundred.
fn lomax(random: u32) -> f64 {
    let uniform = (f64::from(random) + 1.0) / 4_294_967_296.0;
    1.0 / uniform.sqrt() - 1.0
}

/// 64 bits that follow from the keys and `x`: multiplications by odd numbers with many bits, and
/// shifts that bring the high bits down.
pub(crate) fn mix(keys: (u64, u64), x: u64) -> u64 {
    let mut h = x ^ keys.0;
    for factor in [0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93] {
        h = (h ^ (h >> 32)).wrapping_mul(factor);
        h ^= keys.1;
    }
    let h = (h ^ (h >> 29)).wrapping_mul(0xA076_1D64_78BD_642F);
    h ^ (h >> 32)
}

pub(crate) fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// Maps 32 random bits to `0..range`.
pub(crate) fn scale(random: u32, range: u32) -> u32 {
    ((u64::from(random) * u64::from(range)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    fn king(seed: u64) -> Latency {
        Latency::new(LatencyLaw::King(King::default()), &mut Rng::new(&seed_from_u64(seed)))
    }

    fn us(latency: &Latency, a: u32, b: u32) -> u32 {
        latency.between(HostId(a), HostId(b)).as_micros() as u32
    }

    /// Round trips of 100,000 pairs of a million hosts, in ms, sorted.
    fn round_trips(latency: &Latency) -> Vec<f64> {
        let mut rng = Rng::new(&seed_from_u64(99));
        let mut all: Vec<f64> = (0..100_000)
            .map(|_| {
                let a = rng.below(1_000_000);
                let b = (a + 1 + rng.below(999_999)) % 1_000_000;
                f64::from(us(latency, a, b)) / 500.0
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn round_trips_of_king_have_the_quantiles_that_were_aimed_at() {
        for seed in 0..3 {
            let all = round_trips(&king(seed));
            let aims = [(0.05, 40.0), (0.25, 85.0), (0.5, 135.0), (0.75, 195.0), (0.95, 300.0)];
            for (quantile, aim) in aims.into_iter().chain([(0.99, 430.0)]) {
                let is = all[(quantile * all.len() as f64) as usize];
                assert!((is - aim).abs() < 0.08 * aim, "{quantile}: {is} ms, not {aim}");
            }
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            assert!((140.0..160.0).contains(&mean), "{mean} ms");
            let (short, long) = (10.0, 800.0);
            assert!(all[0] >= short && all[all.len() - 1] <= long);
            assert!(all[1_000] > short, "one in a hundred is cut off below");
            assert!(all[99_900] < long, "one in a thousand is cut off above");
        }
    }

    #[test]
    fn king_is_stable_symmetric_and_within_its_bounds() {
        let law = King { min_us: 30_000, max_us: 90_000 };
        let latency = Latency::new(LatencyLaw::King(law), &mut Rng::new(&seed_from_u64(1)));
        let again = Latency::new(LatencyLaw::King(law), &mut Rng::new(&seed_from_u64(1)));
        let other = Latency::new(LatencyLaw::King(law), &mut Rng::new(&seed_from_u64(2)));
        let mut same = 0;
        for a in 0..100 {
            for b in 0..100 {
                let is = us(&latency, a, b);
                assert_eq!(is, us(&latency, b, a));
                assert_eq!(is, us(&again, a, b));
                assert!((law.min_us..=law.max_us).contains(&is), "{is}");
                same += u32::from(is == us(&other, a, b));
            }
        }
        assert!(same < 5_000, "{same} of 10,000 pairs are the same with another seed");
        assert_eq!(latency.min(), Duration::from_millis(30));
    }

    /// A few delays of King with seed 7, in every build, on every machine.
    const GOLDEN: [u32; 4] = [106_829, 42_928, 50_494, 64_875];

    #[test]
    fn king_replays_bit_for_bit() {
        let latency = king(7);
        let some = [(0, 1), (1, 2), (5, 999_999), (12_345, 6_789)].map(|(a, b)| us(&latency, a, b));
        assert_eq!(some, GOLDEN);
    }

    #[test]
    fn a_third_host_is_sometimes_a_short_cut() {
        let latency = king(3);
        let mut rng = Rng::new(&seed_from_u64(1));
        let (mut short_cuts, triangles) = (0, 100_000);
        for _ in 0..triangles {
            let [a, b, c] = [0; 3].map(|_| rng.below(1_000_000));
            short_cuts += u32::from(us(&latency, a, b) > us(&latency, a, c) + us(&latency, c, b));
        }
        let percent = f64::from(short_cuts) * 100.0 / f64::from(triangles);
        assert!((1.0..10.0).contains(&percent), "{percent} %");
    }

    #[test]
    fn a_host_has_its_line_in_all_its_delays() {
        // Who is far from one is far from others: medians of hosts differ, and not by chance.
        let latency = king(3);
        let medians: Vec<u32> = (0..200)
            .map(|a| {
                let mut all: Vec<u32> = (1_000..1_201).map(|b| us(&latency, a, b)).collect();
                all.sort_unstable();
                all[100]
            })
            .collect();
        let (min, max) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        assert!(*max > 2 * *min, "{min} to {max} us");
    }

    #[test]
    fn uniform_has_a_floor_of_a_microsecond() {
        let law = LatencyLaw::Uniform { min_us: 0, max_us: 0 };
        assert_eq!(law.min_us(), 1);
        let latency = Latency::new(law, &mut Rng::new(&seed_from_u64(1)));
        assert_eq!(us(&latency, 1, 2), 1);
    }

    #[test]
    fn hosts_stand_on_all_rows_of_a_matrix() {
        let text = "0 10 20\n10 0 40\n20 40 0\n";
        let matrix = Arc::new(Matrix::parse(text).unwrap());
        let law = LatencyLaw::Matrix(matrix);
        let latency = Latency::new(law, &mut Rng::new(&seed_from_u64(1)));
        let mut seen = std::collections::BTreeMap::new();
        for a in 0..60 {
            for b in 0..60 {
                assert_eq!(us(&latency, a, b), us(&latency, b, a));
                *seen.entry(us(&latency, a, b)).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [5_000, 10_000, 20_000]);
        assert!(seen.values().all(|&n| n > 300), "{seen:?}");
        assert_eq!(latency.min(), Duration::from_millis(5));
    }

    #[test]
    fn mix_spreads_over_all_bits() {
        // Each bit of the input turns about half of the output.
        for bit in 0..64 {
            let turned: u32 = (0..1_000u64)
                .map(|x| (mix((3, 5), x * 77) ^ mix((3, 5), (x * 77) ^ (1 << bit))).count_ones())
                .sum();
            assert!((31_000..33_000).contains(&turned), "bit {bit}: {turned}");
        }
    }
}
