//! When hosts come and how long they stay.

use std::time::Duration;

use wire::rng::Rng;
use wire::time::Time;

/// Seconds of a day.
const DAY_SECS: f64 = 86_400.0;

/// Two days halved so often are less than a microsecond.
const HALVINGS: u32 = 38;

/// Weibull's law of lengths of time: longer than `t` with probability exp(-(t / scale)^shape). With a
/// shape below 1 many are short and some very long, and who stayed long stays longer. Sessions of KAD
/// follow it (Steiner, En-Najjary and Biersack 2009).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weibull {
    /// What all lengths are multiples of, in seconds: 63 % are shorter. Default 28,375 s, see
    /// [`Weibull::default`].
    pub scale_secs: f64,
    /// Default 0.4259, see [`Weibull::default`].
    pub shape: f64,
}

impl Default for Weibull {
    /// Sessions in the Mainline DHT: half under 200 minutes, 3 % over 9,000 (Wang and Kangasharju,
    /// 2013, on their page). Two quantiles give both parameters: with a = ln 2 = 0.69315 and b =
    /// -ln 0.03 = 3.50656, the shape is ln(b / a) / ln(9,000 / 200) = 1.62115 / 3.80666 = 0.425871, and
    /// the scale 200 min / a^(1 / shape) = 472.925 min. The mean is 1,334 min, 22 h. A lognormal law
    /// through the same two has fewer sessions under 5 min, 3 % in place of 13 %.
    fn default() -> Weibull {
        Weibull { scale_secs: 28_375.494, shape: 0.425_871 }
    }
}

impl Weibull {
    /// A length from the law.
    pub fn sample(&self, rng: &mut Rng) -> Duration {
        self.at(exponential(rng))
    }

    /// The mean, in seconds.
    pub fn mean_secs(&self) -> f64 {
        self.scale_secs * libm::tgamma(1.0 + 1.0 / self.shape)
    }

    /// What is left at any time of a length that is under way then. Long ones are met more often, so
    /// this is longer than a new one: a world that begins in the middle begins with these.
    pub fn remaining(&self, rng: &mut Rng) -> Duration {
        // Lengths weighed with themselves: (t / scale)^shape is from Gamma's law with 1 + 1 / shape.
        let whole = self.at(gamma(1.0 + 1.0 / self.shape, rng));
        duration(whole.as_secs_f64() * rng.unit())
    }

    /// The length whose (t / scale)^shape this is.
    fn at(&self, x: f64) -> Duration {
        duration(self.scale_secs * libm::pow(x, 1.0 / self.shape))
    }
}

/// Hosts that are on and off in turn.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Churn {
    /// How long one is on.
    pub online: Weibull,
    /// How long one is off. Default as long as it is on, so half of all are on: chosen; of those who
    /// are off nobody measures whether they come back.
    pub offline: Weibull,
}

impl Churn {
    /// The share of hosts that are on in the long run.
    pub fn online_share(&self) -> f64 {
        let (on, off) = (self.online.mean_secs(), self.offline.mean_secs());
        on / (on + off)
    }

    /// Whether a host is on at the start of a world, and for how long it stays so, as if it had
    /// gone on and off for ever.
    pub fn start(&self, rng: &mut Rng) -> (bool, Duration) {
        let online = rng.chance(self.online_share());
        let law = if online { &self.online } else { &self.offline };
        (online, law.remaining(rng))
    }

    /// How long a host stays that comes or goes now.
    pub fn stay(&self, online: bool, rng: &mut Rng) -> Duration {
        if online { self.online.sample(rng) } else { self.offline.sample(rng) }
    }
}

/// How many come at which hour: a wave with one peak a day. The clock of a world starts at midnight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// The highest rate over the mean, 1 to 2; 1: it is the same at any hour. Mainline has between 15 and
    /// 27 million nodes each day (Wang and Kangasharju 2013): 1.29.
    pub peak_to_mean: f64,
    /// The hour of the peak, 0 to 24.
    pub peak_hour: f64,
}

impl Default for Day {
    /// The same at any hour; else the peak would be at 20, which is usual at home (chosen).
    fn default() -> Day {
        Day { peak_to_mean: 1.0, peak_hour: 20.0 }
    }
}

impl Day {
    /// The rate above the mean at the peak.
    fn swing(&self) -> f64 {
        self.peak_to_mean.clamp(1.0, 2.0) - 1.0
    }

    /// How many come within so many seconds of midnight, in units of what comes in a second at the mean
    /// rate.
    fn sum(&self, secs: f64) -> f64 {
        let sin = |secs: f64| {
            libm::sin(std::f64::consts::TAU * (secs / DAY_SECS - self.peak_hour / 24.0))
        };
        secs + self.swing() * DAY_SECS / std::f64::consts::TAU * (sin(secs) - sin(0.0))
    }

    /// How long after `from` as many have come as come within `mean` at the mean rate.
    pub fn after(&self, from: Time, mean: Duration) -> Duration {
        match self.swing() <= 0.0 {
            true => mean,
            false => duration(self.after_s(from.as_secs_f64(), mean.as_secs_f64())),
        }
    }

    fn after_s(&self, from_s: f64, mean_s: f64) -> f64 {
        let goal = self.sum(from_s) + mean_s;
        // A day has the mean of all days.
        let (mut low, mut high) = ((mean_s - DAY_SECS).max(0.0), mean_s + DAY_SECS);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.sum(from_s + middle) < goal { low = middle } else { high = middle }
        }
        high
    }

    /// When, in seconds of the first `within_s`, a share of those have come who come within them.
    pub fn moment_s(&self, within_s: f64, share: f64) -> f64 {
        match self.swing() <= 0.0 {
            true => within_s * share,
            false => self.after_s(0.0, self.sum(within_s) * share).min(within_s),
        }
    }
}

/// A number from the exponential law with mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -libm::log(1.0 - rng.unit())
}

/// A number from Gamma's law with a shape of at least 1 and scale 1 (Marsaglia and Tsang 2000).
fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let v = v * v * v;
        if -exponential(rng) < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
            return d * v;
        }
    }
}

/// A number from the normal law (Box and Muller 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * libm::cos(std::f64::consts::TAU * rng.unit())
}

/// Whole microseconds, at most 292,000 years.
fn duration(secs: f64) -> Duration {
    // A float that is too large, negative or none becomes the nearest or 0.
    Duration::from_micros(((secs * 1e6) as u64).min(u64::MAX >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    const DRAWS: usize = 100_000;

    fn rng() -> Rng {
        Rng::new(&seed_from_u64(11))
    }

    /// The share of lengths under some minutes, in percent.
    fn under(lengths: &[Duration], minutes: u64) -> f64 {
        let limit = Duration::from_secs(minutes * 60);
        lengths.iter().filter(|&&length| length < limit).count() as f64 * 100.0
            / lengths.len() as f64
    }

    fn near(is: f64, aim: f64, by: f64) {
        assert!((is - aim).abs() <= by, "{is}, not {aim}");
    }

    #[test]
    fn sessions_have_the_quantiles_that_were_measured() {
        let mut rng = rng();
        let law = Weibull::default();
        let lengths: Vec<Duration> = (0..DRAWS).map(|_| law.sample(&mut rng)).collect();
        near(under(&lengths, 200), 50.0, 0.5);
        near(under(&lengths, 9_000), 97.0, 0.2);
        // What follows from the law: 13 % are under 5 minutes, 20 % over a day.
        near(under(&lengths, 5), 13.4, 0.5);
        near(under(&lengths, 1_440), 80.0, 0.5);
        near(law.mean_secs() / 60.0, 1_334.4, 0.2);
        let mean = lengths.iter().map(Duration::as_secs_f64).sum::<f64>() / DRAWS as f64;
        near(mean / law.mean_secs(), 1.0, 0.05);
    }

    #[test]
    fn a_seed_replays() {
        let mut rng = rng();
        let law = Weibull::default();
        let some = [0; 3].map(|_| law.sample(&mut rng).as_micros());
        let left = [0; 2].map(|_| law.remaining(&mut rng).as_micros());
        assert_eq!((some, left), GOLDEN);
    }

    /// In every build, on every machine.
    const GOLDEN: ([u128; 3], [u128; 2]) =
        ([10_859_363_766, 3_301_411_949, 59_339_378_927], [834_931_288_098, 143_422_541_665]);

    #[test]
    fn what_is_left_is_as_the_law_says() {
        // The share of remaining lengths over t is the integral of the share of lengths over it, by
        // the mean; here by sums over logarithmic steps.
        let law = Weibull::default();
        let mut rng = rng();
        let lengths: Vec<Duration> = (0..DRAWS).map(|_| law.remaining(&mut rng)).collect();
        for minutes in [60, 1_440, 9_000, 30_000] {
            let (steps, end) = (20_000, minutes as f64 * 60.0);
            let sum: f64 = (0..steps)
                .map(|step| {
                    let t = end * (f64::from(step) + 0.5) / f64::from(steps);
                    libm::exp(-libm::pow(t / law.scale_secs, law.shape))
                })
                .sum();
            let share = sum * end / f64::from(steps) / law.mean_secs();
            near(under(&lengths, minutes), share * 100.0, 0.6);
        }
    }

    #[test]
    fn a_world_starts_as_it_goes_on() {
        let offline = Weibull { scale_secs: 9_000.0, shape: 0.8 };
        let churn = Churn { online: Weibull { scale_secs: 3_000.0, shape: 0.7 }, offline };
        let mut rng = rng();
        // The share that is on, at the start and after a while in which many came and went.
        let (mut first, mut later) = (0, 0);
        let end = Duration::from_secs(20_000);
        for _ in 0..20_000 {
            let (mut online, mut at) = churn.start(&mut rng);
            first += u32::from(online);
            while at < end {
                online = !online;
                at += churn.stay(online, &mut rng);
            }
            later += u32::from(online);
        }
        near(f64::from(first) / 20_000.0, churn.online_share(), 0.01);
        near(f64::from(later) / 20_000.0, churn.online_share(), 0.01);
        near(Churn::default().online_share(), 0.5, 1e-12);
    }

    #[test]
    fn hosts_come_as_the_hour_says() {
        let day = Day { peak_to_mean: 1.5, peak_hour: 20.0 };
        let mut rng = rng();
        let mut hours = [0.0; 24];
        for _ in 0..DRAWS {
            let at_s = day.moment_s(3.0 * DAY_SECS, rng.unit());
            assert!((0.0..=3.0 * DAY_SECS).contains(&at_s));
            hours[(at_s / 3_600.0) as usize % 24] += 24.0 / DRAWS as f64;
        }
        for (hour, share) in (0..).map(f64::from).zip(hours) {
            let turn = (hour + 0.5 - 20.0) / 24.0;
            near(share, 1.0 + 0.5 * libm::cos(std::f64::consts::TAU * turn), 0.05);
        }
        // Nine hours at the mean rate, from midnight on: fewer come at first.
        let after_s = day.after_s(0.0, 9.0 * 3_600.0);
        near(day.sum(after_s), 9.0 * 3_600.0, 1e-3);
        assert!(after_s > 9.5 * 3_600.0, "{after_s}");
        near(day.after_s(5.0, 7.0 * DAY_SECS), 7.0 * DAY_SECS, 1e-3);
        let (now, long) = (Time::from_secs(7), Duration::from_micros(3_333_333));
        assert_eq!(Day::default().after(now, long), long);
        assert_eq!(Day::default().moment_s(5.0, 0.5), 2.5);
    }
}
