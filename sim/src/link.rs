//! What happens to a packet between two hosts.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use wire::rng::{Rng, Seed, child_seed};

use crate::host::HostId;

/// The law of all links of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// The shortest way between two hosts. Default 20 ms.
    pub latency_min_us: u32,
    /// The longest way between two hosts; each pair has its own, uniform between the two. Default
    /// 150 ms, so that round trips have a median of 170 ms as between King's name servers.
    pub latency_max_us: u32,
    /// The share of datagrams that are lost. Default 0.
    pub loss: f64,
    /// The share of datagrams that arrive twice. Default 0.
    pub duplicate: f64,
    /// The share of datagrams that others may overtake. Default 0.
    pub reorder: f64,
    /// How much later those arrive at most. Default 50 ms.
    pub reorder_delay_max_us: u32,
    /// Bytes of the longest datagram; longer ones vanish. Default 1,472: Ethernet without IPv4 and
    /// UDP headers (RFC 894: 1,500).
    pub mtu_bytes: usize,
}

impl Default for LinkConfig {
    fn default() -> LinkConfig {
        LinkConfig {
            latency_min_us: 20_000,
            latency_max_us: 150_000,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay_max_us: 50_000,
            mtu_bytes: 1_472,
        }
    }
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
/// sender's count), never a draw from a shared stream: other packets do not change it.
#[derive(Clone, Debug)]
pub struct Links {
    config: LinkConfig,
    latency_keys: (u64, u64),
    packet_keys: (u64, u64),
    loss: u64,
    duplicate: u64,
    reorder: u64,
}

impl Links {
    /// The links that `seed` names.
    pub fn new(config: LinkConfig, seed: &Seed) -> Links {
        let mut rng = Rng::new(&child_seed(seed, "links", 0));
        Links {
            latency_keys: (rng.u64(), rng.u64()),
            packet_keys: (rng.u64(), rng.u64()),
            loss: threshold(config.loss),
            duplicate: threshold(config.duplicate),
            reorder: threshold(config.reorder),
            config,
        }
    }

    /// The law.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Whether any packet is ever lost.
    pub fn is_lossy(&self) -> bool {
        self.loss > 0
    }

    /// No packet takes less.
    pub fn shortest(&self) -> Duration {
        Duration::from_micros(self.config.latency_min_us.into())
    }

    /// How long a packet takes between two hosts; the same in both directions.
    pub fn latency(&self, a: HostId, b: HostId) -> Duration {
        let pair = (u64::from(a.0.min(b.0)) << 32) | u64::from(a.0.max(b.0));
        let mut hash = SipHasher13::new_with_keys(self.latency_keys.0, self.latency_keys.1);
        hash.write_u64(pair);
        let (min, max) = (self.config.latency_min_us, self.config.latency_max_us);
        let range = max.saturating_sub(min).saturating_add(1);
        Duration::from_micros(u64::from(min + scale(hash.finish() as u32, range)))
    }

    /// What becomes of the `n`-th datagram of `from`, which is for `to`.
    pub fn fate(&self, from: HostId, to: HostId, n: u32) -> Fate {
        let latency = self.latency(from, to);
        if self.loss == 0 && self.duplicate == 0 && self.reorder == 0 {
            return Fate { first: Some(latency), second: None };
        }
        let draw = |what: u8| {
            let mut hash = SipHasher13::new_with_keys(self.packet_keys.0, self.packet_keys.1);
            hash.write_u64((u64::from(from.0) << 32) | u64::from(to.0));
            hash.write_u64((u64::from(what) << 32) | u64::from(n));
            hash.finish()
        };
        // Copies are lost and late each for itself.
        let copy = |which: u8| {
            let [lost, late] = halves(draw(which));
            if u64::from(lost) < self.loss {
                return None;
            }
            if u64::from(late) >= self.reorder {
                return Some(latency);
            }
            let extra = scale(draw(which + 2) as u32, self.config.reorder_delay_max_us);
            Some(latency + Duration::from_micros(u64::from(extra)))
        };
        let twice = draw(4) & u64::from(u32::MAX) < self.duplicate;
        Fate { first: copy(0), second: if twice { copy(1) } else { None } }
    }
}

/// The number below which 32 random bits lie with probability `p`.
fn threshold(p: f64) -> u64 {
    (p.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64
}

fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// Maps 32 random bits to `0..range`.
fn scale(random: u32, range: u32) -> u32 {
    ((u64::from(random) * u64::from(range)) >> 32) as u32
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
            let fate = links.fate(HostId(1), HostId(2), n);
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
            let fate = links.fate(HostId(1), HostId(2), n);
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
        assert!((0..1_000).all(|n| dead.fate(HostId(0), HostId(1), n) == Fate::default()));
    }
}
