//! Losses that come in bursts.

use wire::rng::Rng;
use wire::time::Time;

use crate::host::HostId;
use crate::latency::mix;

/// A way between two hosts that is good or bad for a while (Gilbert 1960, Elliott 1963): the time in
/// each state is exponential, and each has its own loss. Each direction of each pair has states of
/// its own. Default half of all is lost for 100 ms every 10 s, 0.5 % on the whole: chosen; Yajnik and
/// others (1999) found losses on the Internet correlated over a second or less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// The share of datagrams that are lost while the way is good. Default 0.
    pub loss_good: f64,
    /// The share of datagrams that are lost while it is bad. Default 0.5.
    pub loss_bad: f64,
    /// How long it is good, in the mean, in milliseconds; 0: never. Default 9,900.
    pub good_ms: u32,
    /// How long it is bad, in the mean, in milliseconds; 0: never. Default 100.
    pub bad_ms: u32,
}

impl Default for Bursts {
    fn default() -> Bursts {
        Bursts { loss_good: 0.0, loss_bad: 0.5, good_ms: 9_900, bad_ms: 100 }
    }
}

impl Bursts {
    /// The share of time in which the way is bad.
    pub fn bad_share(&self) -> f64 {
        let (good, bad) = (f64::from(self.good_ms), f64::from(self.bad_ms));
        if bad > 0.0 { bad / (good + bad) } else { 0.0 }
    }

    /// The share of datagrams that are lost in the long run.
    pub fn mean_loss(&self) -> f64 {
        let bad = self.bad_share();
        self.loss_good * (1.0 - bad) + self.loss_bad * bad
    }
}

/// Means of good and bad times in an epoch. A bad time that is cut at its end makes the mean shorter
/// by less than the share of bad times over this; asking costs as many steps.
const CYCLES: u64 = 8;

/// The states of all ways. None is kept: time is cut into epochs, and in each the states follow from a
/// hash of (seed, sender, receiver, epoch), from a first state as likely as its share. Exponential
/// times have no memory, so within an epoch this is the process itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BurstLoss {
    law: Bursts,
    keys: (u64, u64),
    epoch_us: u64,
}

impl BurstLoss {
    pub(crate) fn new(law: Bursts, rng: &mut Rng) -> BurstLoss {
        let cycle_us = (u64::from(law.good_ms) + u64::from(law.bad_ms)) * 1_000;
        BurstLoss { law, keys: (rng.u64(), rng.u64()), epoch_us: (CYCLES * cycle_us).max(1) }
    }

    /// The share of datagrams that are lost at `now` on the way.
    pub(crate) fn loss(&self, now: Time, from: HostId, to: HostId) -> f64 {
        if self.is_bad(now, from, to) { self.law.loss_bad } else { self.law.loss_good }
    }

    fn is_bad(&self, now: Time, from: HostId, to: HostId) -> bool {
        if self.law.bad_ms == 0 || self.law.good_ms == 0 {
            return self.law.bad_ms > 0;
        }
        let way = mix(self.keys, (u64::from(from.0) << 32) | u64::from(to.0));
        let epoch = (mix((way, self.keys.0), now.as_micros() / self.epoch_us), way);
        let mut left = now.as_micros() % self.epoch_us;
        let mut bad = unit(mix(epoch, 0)) <= self.law.bad_share();
        let mut step = 1;
        loop {
            let mean_ms = if bad { self.law.bad_ms } else { self.law.good_ms };
            let lasts = exponential(mix(epoch, step), u64::from(mean_ms) * 1_000).max(1);
            if left < lasts {
                return bad;
            }
            left -= lasts;
            bad = !bad;
            step += 1;
        }
    }
}

/// 64 random bits as a number above 0, up to 1.
fn unit(random: u64) -> f64 {
    ((random >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// A number from the exponential law with this mean.
pub(crate) fn exponential(random: u64, mean: u64) -> u64 {
    (-libm::log(unit(random)) * mean as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    fn bursts(law: Bursts, seed: u64) -> BurstLoss {
        BurstLoss::new(law, &mut Rng::new(&seed_from_u64(seed)))
    }

    /// Whether the way is bad, each millisecond of some time.
    fn states(loss: &BurstLoss, to: u32, ms: u64) -> Vec<bool> {
        (0..ms).map(|ms| loss.is_bad(Time::from_millis(ms), HostId(1), HostId(to))).collect()
    }

    #[test]
    fn bad_times_have_their_share_and_their_mean() {
        let law = Bursts { good_ms: 450, bad_ms: 50, ..Bursts::default() };
        let loss = bursts(law, 5);
        let states = states(&loss, 2, 2_000_000);
        let bad = states.iter().filter(|&&bad| bad).count() as f64;
        let share = bad / states.len() as f64;
        assert!((share - 0.1).abs() < 0.006, "{share}");
        let begun = states.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
        // Those between two looks are not seen, one in fifty, so the seen ones look longer.
        let mean = bad / begun;
        assert!((48.0..54.0).contains(&mean), "{mean} ms");
        // Exponential: e^-1 of them are longer than the mean.
        let runs: Vec<usize> =
            states.split(|bad| !bad).map(<[bool]>::len).filter(|&n| n > 0).collect();
        let long = runs.iter().filter(|&&ms| ms > 50).count() as f64 / runs.len() as f64;
        assert!((0.34..0.41).contains(&long), "{long}");
    }

    #[test]
    fn ways_directions_and_seeds_have_states_of_their_own() {
        let law = Bursts { good_ms: 100, bad_ms: 100, ..Bursts::default() };
        let loss = bursts(law, 5);
        let at = |loss: &BurstLoss, from, to, ms: u64| {
            loss.is_bad(Time::from_millis(ms * 1_000), HostId(from), HostId(to))
        };
        let mut same = [0; 3];
        for ms in 0..4_000 {
            let here = at(&loss, 1, 2, ms);
            assert_eq!(here, at(&bursts(law, 5), 1, 2, ms));
            same[0] += u32::from(here == at(&loss, 2, 1, ms));
            same[1] += u32::from(here == at(&loss, 1, 3, ms));
            same[2] += u32::from(here == at(&bursts(law, 6), 1, 2, ms));
        }
        assert!(same.iter().all(|n| (1_800..2_200).contains(n)), "{same:?}");
    }

    #[test]
    fn a_way_can_be_always_good_or_always_bad() {
        let good = bursts(Bursts { bad_ms: 0, ..Bursts::default() }, 1);
        let bad = bursts(Bursts { good_ms: 0, ..Bursts::default() }, 1);
        assert!(states(&good, 2, 1_000).iter().all(|bad| !bad));
        assert!(states(&bad, 2, 1_000).iter().all(|bad| *bad));
        assert!((good.law.mean_loss(), bad.law.mean_loss()) == (0.0, 0.5));
        let never = Bursts { good_ms: 0, bad_ms: 0, ..Bursts::default() };
        assert!(!bursts(never, 1).is_bad(Time::from_secs(9), HostId(1), HostId(2)));
    }

    #[test]
    fn an_exponential_number_has_its_mean() {
        let mut rng = Rng::new(&seed_from_u64(1));
        let sum: u64 = (0..100_000).map(|_| exponential(rng.u64(), 1_000)).sum();
        assert!((98_500_000..101_500_000).contains(&sum), "{sum}");
        assert_eq!((exponential(u64::MAX, 1_000), exponential(0, 1_000)), (0, 36_736));
    }
}
