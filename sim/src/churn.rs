//! When hosts come and how long they stay.

use std::time::Duration;

use wire::rng::Rng;
use wire::time::Time;

/// Seconds of a day.
const DAY_SECS: f64 = 86_400.0;

/// Who comes after that, in 30,000 years, never comes.
const FOR_EVER_SECS: f64 = 1e12;

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

/// How a rate changes over a day. The clock of a world starts at midnight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DayCurve {
    /// It does not.
    Flat,
    /// A wave with one peak.
    Wave {
        /// The highest rate over the mean, between 1 and 2. Mainline has between 15 and 27 million
        /// nodes each day (Wang and Kangasharju 2013): 1.29.
        peak_to_mean: f64,
        /// The hour of the peak, 0 to 24: 20 is usual at home (chosen).
        peak_hour: f64,
    },
    /// A weight for each hour, in any unit; weights that are not above 0 are 0.
    Hourly([f64; 24]),
}

impl DayCurve {
    /// The rate at a time over the mean of the day.
    pub fn factor(&self, at: Time) -> f64 {
        match self {
            DayCurve::Flat => 1.0,
            DayCurve::Wave { peak_hour, .. } => {
                let day = at.as_secs_f64() / DAY_SECS - peak_hour / 24.0;
                1.0 + self.swing() * libm::cos(std::f64::consts::TAU * day)
            }
            DayCurve::Hourly(weights) => {
                let hour = (at.as_micros() / 3_600_000_000 % 24) as usize;
                over_mean(weights, weight(weights[hour]))
            }
        }
    }

    /// The highest factor.
    pub fn peak(&self) -> f64 {
        match self {
            DayCurve::Flat => 1.0,
            DayCurve::Wave { .. } => 1.0 + self.swing(),
            DayCurve::Hourly(weights) => {
                over_mean(weights, weights.iter().copied().map(weight).fold(0.0, f64::max))
            }
        }
    }

    fn swing(&self) -> f64 {
        match self {
            DayCurve::Wave { peak_to_mean, .. } => peak_to_mean.clamp(1.0, 2.0) - 1.0,
            _ => 0.0,
        }
    }
}

fn weight(weight: f64) -> f64 {
    if weight > 0.0 && weight.is_finite() { weight } else { 0.0 }
}

fn over_mean(weights: &[f64; 24], this: f64) -> f64 {
    let sum: f64 = weights.iter().copied().map(weight).sum();
    if sum > 0.0 { this * 24.0 / sum } else { 0.0 }
}

/// New hosts that come one by one, each independent of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Day after day.
    Daily {
        /// Hosts a second, in the mean over a day.
        mean_per_sec: f64,
        /// How the rate changes over a day.
        curve: DayCurve,
    },
    /// A crowd that comes when a torrent appears and grows thin: rate first * e^(-t / tau) (Guo and
    /// others 2005, who find it in most torrents), first * tau hosts in all.
    Flash {
        /// When it begins.
        start: Time,
        /// Hosts a second in the beginning.
        first_per_sec: f64,
        /// After how many seconds the rate is down to 37 %.
        tau_secs: f64,
    },
}

impl Arrivals {
    /// Hosts a second at a time.
    pub fn per_sec(&self, at: Time) -> f64 {
        match *self {
            Arrivals::Daily { mean_per_sec, curve } => mean_per_sec.max(0.0) * curve.factor(at),
            Arrivals::Flash { start, .. } if at < start => 0.0,
            Arrivals::Flash { start, first_per_sec, tau_secs } => {
                let since = at.since(start).as_secs_f64();
                first_per_sec.max(0.0) * libm::exp(-since / tau_secs.max(1e-6))
            }
        }
    }

    /// When the next host comes, at `now` or later; `None` if none does any more. Asked again at
    /// each arrival, this is a Poisson process with that rate.
    pub fn next_arrival(&self, now: Time, rng: &mut Rng) -> Option<Time> {
        match *self {
            Arrivals::Daily { mean_per_sec, curve } => {
                // Thinning (Lewis and Shedler 1979): come at the highest rate, and stay by chance.
                let peak = mean_per_sec * curve.peak();
                if !(peak > 0.0 && peak.is_finite()) {
                    return None;
                }
                let mut waits_secs = 0.0;
                loop {
                    waits_secs += exponential(rng) / peak;
                    let at = now + duration(waits_secs);
                    if waits_secs > FOR_EVER_SECS {
                        return None;
                    }
                    if rng.unit() * curve.peak() < curve.factor(at) {
                        return Some(at);
                    }
                }
            }
            Arrivals::Flash { start, tau_secs, .. } => {
                let from = now.max(start);
                let tau_secs = tau_secs.max(1e-6);
                // As many are still to come; the next comes when an exponential share of them has.
                let left = self.per_sec(from) * tau_secs;
                let share = exponential(rng) / left;
                if share.is_nan() || share >= 1.0 {
                    return None;
                }
                Some(from + duration(-tau_secs * libm::log1p(-share)))
            }
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

    /// Arrivals in each hour of the day.
    fn by_hour(curve: DayCurve, days: u64) -> [f64; 24] {
        let arrivals = Arrivals::Daily { mean_per_sec: 0.02, curve };
        let (mut rng, mut now) = (rng(), Time::ZERO);
        let mut hours = [0.0; 24];
        while let Some(at) = arrivals.next_arrival(now, &mut rng)
            && at < Time::from_secs(days * 86_400)
        {
            assert!(at >= now);
            hours[(at.as_secs_f64() / 3_600.0) as usize % 24] += 1.0;
            now = at;
        }
        // In units of what a flat day has.
        hours.map(|n: f64| n / (0.02 * 3_600.0 * days as f64))
    }

    #[test]
    fn hosts_come_as_the_curve_of_the_day_says() {
        let wave = DayCurve::Wave { peak_to_mean: 1.5, peak_hour: 20.0 };
        let mut weights = [1.0; 24];
        (weights[3], weights[4], weights[5]) = (0.0, f64::NAN, 4.0);
        for curve in [DayCurve::Flat, wave, DayCurve::Hourly(weights)] {
            let hours = by_hour(curve, 200);
            for (hour, share) in hours.iter().enumerate() {
                let middle = curve.factor(Time::from_secs(hour as u64 * 3_600 + 1_800));
                near(*share, middle, 0.05);
            }
            near(hours.iter().sum::<f64>() / 24.0, 1.0, 0.01);
        }
        near(wave.factor(Time::from_secs(20 * 3_600)), 1.5, 1e-9);
        near(wave.factor(Time::from_secs((24 + 8) * 3_600)), 0.5, 1e-9);
        near(wave.peak(), 1.5, 1e-9);
    }

    #[test]
    fn arrivals_are_a_poisson_process() {
        // Counts of windows have their mean as variance.
        let arrivals = Arrivals::Daily { mean_per_sec: 5.0, curve: DayCurve::Flat };
        let (mut rng, mut now) = (rng(), Time::ZERO);
        let mut counts = vec![0.0f64; 10_000];
        while let Some(at) = arrivals.next_arrival(now, &mut rng)
            && at < Time::from_secs(10_000)
        {
            counts[at.as_secs_f64() as usize] += 1.0;
            now = at;
        }
        let mean = counts.iter().sum::<f64>() / 10_000.0;
        let variance = counts.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / 10_000.0;
        near(mean, 5.0, 0.1);
        near(variance, 5.0, 0.25);
    }

    #[test]
    fn a_crowd_comes_at_once_and_grows_thin() {
        let (start, tau_secs) = (Time::from_secs(100), 1_000.0);
        let arrivals = Arrivals::Flash { start, first_per_sec: 20.0, tau_secs };
        let mut rng = rng();
        let mut all = Vec::new();
        let mut now = Time::ZERO;
        while let Some(at) = arrivals.next_arrival(now, &mut rng) {
            all.push(at.since(start).as_secs_f64());
            now = at;
        }
        assert!(now > start);
        near(all.len() as f64, 20_000.0, 600.0);
        for t in [100.0, 700.0, 3_000.0] {
            let come = all.iter().filter(|&&at| at < t).count() as f64 / all.len() as f64;
            near(come, 1.0 - libm::exp(-t / tau_secs), 0.01);
        }
        assert_eq!(arrivals.per_sec(Time::from_secs(99)), 0.0);
        near(arrivals.per_sec(Time::from_secs(1_100)), 7.358, 0.001);
    }

    #[test]
    fn nobody_comes_where_nobody_can() {
        let mut rng = rng();
        let never = DayCurve::Hourly([0.0; 24]);
        for (mean_per_sec, curve) in
            [(0.0, DayCurve::Flat), (1e-300, DayCurve::Flat), (-1.0, DayCurve::Flat), (1.0, never)]
        {
            let arrivals = Arrivals::Daily { mean_per_sec, curve };
            assert_eq!(arrivals.next_arrival(Time::ZERO, &mut rng), None);
        }
        for (first_per_sec, tau_secs) in [(0.0, 5.0), (1.0, 0.0), (f64::NAN, 1.0)] {
            let arrivals = Arrivals::Flash { start: Time::ZERO, first_per_sec, tau_secs };
            assert_eq!(arrivals.next_arrival(Time::ZERO, &mut rng), None);
        }
    }
}
