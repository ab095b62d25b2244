//! What happens to a packet between two hosts.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use crate::host::HostId;
use crate::latency::{Latency, LatencyLaw, halves, scale};
use crate::loss::{BurstLoss, Bursts, exponential};

/// The law of all links of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// How long a packet is on its way. Default uniform between 20 and 150 ms.
    pub latency: LatencyLaw,
    /// What each datagram takes longer than that. Default nothing.
    pub jitter: Jitter,
    /// The share of datagrams that are lost, each for itself. Default 0.
    pub loss: f64,
    /// Datagrams that are lost in bursts, besides. Default `None`.
    pub bursts: Option<Bursts>,
    /// The share of datagrams that arrive twice. Default 0.
    pub duplicate: f64,
    /// The share of datagrams that others may overtake. Default 0.
    pub reorder: f64,
    /// How much later those arrive at most, in microseconds, uniform. Default 50,000.
    pub reorder_delay_max_us: u32,
    /// Bytes of the longest datagram; longer ones vanish. Default 1,472: Ethernet without IPv4 and
    /// UDP headers (RFC 894: 1,500).
    pub mtu_bytes: usize,
    /// From then on links are perfect: each datagram arrives once, after its latency. Default never.
    pub perfect_from: Option<Time>,
}

impl Default for LinkConfig {
    fn default() -> LinkConfig {
        LinkConfig {
            latency: LatencyLaw::default(),
            jitter: Jitter::default(),
            loss: 0.0,
            bursts: None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay_max_us: 50_000,
            mtu_bytes: 1_472,
            perfect_from: None,
        }
    }
}

/// A delay that each datagram has for itself: exponential, as the wait for a server at random
/// times, and cut off. It only adds. Datagrams that follow each other closer than that may overtake
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Jitter {
    /// The mean before it is cut off, in microseconds. Default 0: none. A few thousand are usual on
    /// lines that others share (chosen, not measured).
    pub mean_us: u32,
    /// The most, in microseconds; more becomes it. Default 0.
    pub max_us: u32,
}

/// When the copies of one packet arrive, after it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fate {
    /// The packet itself; `None` if it is lost.
    pub first: Option<Duration>,
    /// A second copy.
    pub second: Option<Duration>,
}

/// All links of a world. What becomes of a packet is a hash of (seed, sender, receiver, the
/// sender's count, and for bursts the time), never a draw from a shared stream or a state: other
/// packets do not change it.
#[derive(Clone, Debug)]
pub struct Links {
    config: LinkConfig,
    latency: Latency,
    packet_keys: (u64, u64),
    loss: u64,
    bursts: Option<BurstLoss>,
    duplicate: u64,
    reorder: u64,
    perfect: bool,
}

/// What a hash of a packet decides; a second copy's numbers are one higher.
mod about {
    pub(super) const LOSS: u8 = 0;
    pub(super) const REORDER: u8 = 2;
    pub(super) const DUPLICATE: u8 = 4;
    pub(super) const JITTER: u8 = 5;
    pub(super) const BURST: u8 = 7;
}

impl Links {
    /// The links that `seed` names.
    pub fn new(config: LinkConfig, seed: &Seed) -> Links {
        let mut rng = Rng::new(&child_seed(seed, "links", 0));
        let latency = Latency::new(config.latency.clone(), &mut rng);
        let packet_keys = (rng.u64(), rng.u64());
        let [loss, duplicate, reorder] =
            [config.loss, config.duplicate, config.reorder].map(threshold);
        let bursts = config.bursts.map(|bursts| BurstLoss::new(bursts, &mut rng));
        let faults = loss | duplicate | reorder;
        let perfect = faults == 0 && bursts.is_none() && config.jitter.mean_us == 0;
        Links { latency, packet_keys, loss, bursts, duplicate, reorder, perfect, config }
    }

    /// The law.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Whether any datagram is ever lost.
    pub fn is_lossy(&self) -> bool {
        self.loss > 0 || self.bursts.is_some()
    }

    /// No packet between two hosts is on its way for less; at least a microsecond.
    pub fn min_latency(&self) -> Duration {
        self.latency.min()
    }

    /// How long a packet takes between two hosts; the same in both directions.
    pub fn latency(&self, a: HostId, b: HostId) -> Duration {
        self.latency.between(a, b)
    }

    /// What becomes of the `n`-th datagram of `from`, which is sent to `to` at `now`.
    pub fn fate(&self, now: Time, from: HostId, to: HostId, n: u32) -> Fate {
        let latency = self.latency(from, to);
        if self.perfect || self.config.perfect_from.is_some_and(|from| now >= from) {
            return Fate { first: Some(latency), second: None };
        }
        let draw = |what: u8| {
            let mut hash = SipHasher13::new_with_keys(self.packet_keys.0, self.packet_keys.1);
            hash.write_u64((u64::from(from.0) << 32) | u64::from(to.0));
            hash.write_u64((u64::from(what) << 32) | u64::from(n));
            hash.finish()
        };
        let burst_loss = match &self.bursts {
            Some(bursts) => threshold(bursts.loss(now, from, to)),
            None => 0,
        };
        // Copies are lost and late each for itself.
        let copy = |which: u8| {
            let [lost, late] = halves(draw(about::LOSS + which));
            if u64::from(lost) < self.loss {
                return None;
            }
            if burst_loss > 0 && u64::from(draw(about::BURST + which) as u32) < burst_loss {
                return None;
            }
            let mut extra = 0;
            if u64::from(late) < self.reorder {
                let random = draw(about::REORDER + which) as u32;
                extra = scale(random, self.config.reorder_delay_max_us).into();
            }
            let jitter = self.config.jitter;
            if jitter.mean_us > 0 {
                let us = exponential(draw(about::JITTER + which), jitter.mean_us.into());
                extra += us.min(jitter.max_us.into());
            }
            Some(latency + Duration::from_micros(extra))
        };
        let twice = draw(about::DUPLICATE) & u64::from(u32::MAX) < self.duplicate;
        Fate { first: copy(0), second: if twice { copy(1) } else { None } }
    }
}

/// The number below which 32 random bits lie with probability `p`.
fn threshold(p: f64) -> u64 {
    (p.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    fn links(change: impl FnOnce(&mut LinkConfig)) -> Links {
        let mut config = LinkConfig::default();
        change(&mut config);
        Links::new(config, &seed_from_u64(3))
    }

    #[test]
    fn latency_is_stable_symmetric_and_within_its_bounds() {
        let links = links(|_| {});
        let mut sum = Duration::ZERO;
        for a in 0..100 {
            for b in 0..100 {
                let latency = links.latency(HostId(a), HostId(b));
                assert_eq!(latency, links.latency(HostId(b), HostId(a)));
                assert!((20_000..=150_000).contains(&latency.as_micros()), "{latency:?}");
                sum += latency;
            }
        }
        let mean = (sum / 10_000).as_millis();
        assert!((83..=87).contains(&mean), "{mean} ms");
        let other = Links::new(LinkConfig::default(), &seed_from_u64(4));
        assert_ne!(links.latency(HostId(1), HostId(2)), other.latency(HostId(1), HostId(2)));
    }

    #[test]
    fn a_perfect_link_delivers_each_packet_once_in_order() {
        let links = links(|_| {});
        for n in 0..1_000 {
            let latency = links.latency(HostId(1), HostId(2));
            let fate = links.fate(Time::ZERO, HostId(1), HostId(2), n);
            assert_eq!(fate, Fate { first: Some(latency), second: None });
        }
    }

    #[test]
    fn faults_happen_as_often_as_asked() {
        let links = links(|config| {
            config.loss = 0.1;
            config.duplicate = 0.2;
            config.reorder = 0.3;
        });
        let latency = links.latency(HostId(1), HostId(2));
        let (mut lost, mut twice, mut late) = (0, 0, 0);
        for n in 0..20_000 {
            let fate = links.fate(Time::ZERO, HostId(1), HostId(2), n);
            lost += u32::from(fate.first.is_none());
            twice += u32::from(fate.second.is_some());
            late += u32::from(fate.first.is_some_and(|d| d > latency));
        }
        assert!((1_800..2_200).contains(&lost), "{lost}");
        // A second copy can be lost as well: 0.2 * 0.9; a late one must not be lost: 0.3 * 0.9.
        assert!((3_400..3_800).contains(&twice), "{twice}");
        assert!((5_150..5_650).contains(&late), "{late}");
    }

    #[test]
    fn all_or_nothing_is_possible() {
        let dead = links(|config| config.loss = 1.0);
        assert!(
            (0..1_000).all(|n| dead.fate(Time::ZERO, HostId(0), HostId(1), n) == Fate::default())
        );
    }

    #[test]
    fn the_minimum_holds_for_all_laws() {
        let king = LatencyLaw::King(crate::latency::King::default());
        for law in [LatencyLaw::default(), king] {
            let links = links(|config| {
                config.latency = law.clone();
                config.jitter = Jitter { mean_us: 3_000, max_us: 20_000 };
                config.reorder = 0.5;
            });
            for n in 0..20_000 {
                let (from, to) = (HostId(n), HostId(n / 7 + 1));
                let delay = links.fate(Time::ZERO, from, to, n).first.unwrap();
                assert!(delay >= links.min_latency() && delay >= links.latency(from, to));
            }
        }
        assert_eq!(links(|_| {}).min_latency(), Duration::from_millis(20));
    }

    #[test]
    fn jitter_has_its_mean_and_its_bound() {
        let jitter = Jitter { mean_us: 2_000, max_us: 10_000 };
        let links = links(|config| config.jitter = jitter);
        let latency = links.latency(HostId(1), HostId(2));
        let delays = (0..20_000).map(|n| {
            let first = links.fate(Time::ZERO, HostId(1), HostId(2), n).first;
            (first.unwrap() - latency).as_micros() as u32
        });
        let delays: Vec<u32> = delays.collect();
        let mean = delays.iter().sum::<u32>() / 20_000;
        // What is cut off at five means is worth exp(-5) of one.
        assert!((1_930..2_040).contains(&mean), "{mean} us");
        assert_eq!(delays.iter().max(), Some(&jitter.max_us));
    }

    #[test]
    fn jitter_changes_no_other_draw() {
        let faults = |jitter: Jitter| {
            let links = links(|config| (config.loss, config.jitter) = (0.3, jitter));
            let lost = |n| links.fate(Time::ZERO, HostId(1), HostId(2), n).first.is_none();
            (0..1_000).map(lost).collect::<Vec<bool>>()
        };
        assert_eq!(faults(Jitter::default()), faults(Jitter { mean_us: 9, max_us: 50 }));
    }

    #[test]
    fn datagrams_are_lost_in_bursts_whatever_others_send() {
        let bursts = Bursts { loss_good: 0.01, loss_bad: 0.8, good_ms: 900, bad_ms: 100 };
        let links = links(|config| config.bursts = Some(bursts));
        let lost = |ms: u64| {
            let at = Time::from_millis(ms);
            links.fate(at, HostId(1), HostId(2), ms as u32).first.is_none()
        };
        let there: Vec<bool> = (0..1_000_000).map(lost).collect();
        let share = there.iter().filter(|&&lost| lost).count() as f64 / there.len() as f64;
        assert!((share - bursts.mean_loss()).abs() < 0.005, "{share}");
        assert!((bursts.mean_loss() - 0.089).abs() < 1e-9);
        // After a loss another is near, and long after it is as likely as ever.
        let after = |ms: usize| {
            let pairs = there.iter().zip(&there[ms..]).filter(|(first, _)| **first);
            let (n, both) =
                pairs.fold((0, 0), |(n, both), (_, then)| (n + 1, both + i32::from(*then)));
            f64::from(both) / f64::from(n)
        };
        assert!(after(1) > 0.65, "{}", after(1));
        assert!((after(3_000) - share).abs() < 0.02, "{}", after(3_000));
        // Asked for in another order, and with others' packets between, all is the same.
        for ms in (0..1_000_000).rev().step_by(97) {
            links.fate(Time::from_millis(ms), HostId(3), HostId(2), ms as u32);
            assert_eq!(lost(ms), there[ms as usize]);
        }
    }
}
