//! How much each source may be answered, so that nobody is starved by those who ask too much.
//!
//! What a network asked for is kept in count-min sketches: a few counters stand for all networks, and
//! the lesser of the two that a network falls on is nearly its own. Addresses that proved to
//! receive what is sent to them have counters and a share of the node's budget of their own, which
//! forged sources never touch. All of these grow by need, to a bound, and give back what they need no
//! more.

use std::net::IpAddr;

use wire::rng::Rng;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::config::{Config, SharedConfig};
use crate::keyed::{Keys, Rate, Recent, nanos, unit_ns};

/// Rows of a sketch, each with another hash.
const ROWS: usize = 2;
/// Counters of a row at first: enough for some dozen answers a second.
const COUNTERS_MIN: usize = 4;

/// What was granted to a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    /// Bytes that the answer may have.
    pub(crate) bytes_max: u16,
    /// A stranger's answer may be larger than what a stranger gets otherwise.
    pub(crate) extended: bool,
    verified: bool,
    purse: Purse,
}

/// The part of the node's budget that pays for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purse {
    Common,
    Reserve,
    /// A Local address: what goes there does not pass the uplink.
    None,
}

/// Why a query is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// One of its source's networks asked too much.
    Quota,
    /// The node answers all that it may.
    Budget,
}

/// Decaying counters of all networks of three widths.
#[derive(Clone, Default)]
struct Sketch {
    /// When what a network asked for is worked off; row after row, width after width. None while all
    /// is.
    due_ns: Box<[u64]>,
}

/// What queries cost: the same for all sketches.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    /// The time of its source that an answer takes, and that each byte of it takes.
    of_width: [(u64, u64); 3],
    burst_ns: u64,
}

impl Costs {
    pub(crate) fn of_answers(config: &Config) -> Costs {
        let cost = |width: usize| {
            (unit_ns(config.quota_answers[width]), unit_ns(config.quota_bytes[width]))
        };
        Costs { of_width: std::array::from_fn(cost), burst_ns: burst_ns(config) }
    }

    pub(crate) fn of_items(config: &Config) -> Costs {
        let cost = |width: usize| (0, unit_ns(config.quota_item_bytes[width]));
        Costs { of_width: std::array::from_fn(cost), burst_ns: burst_ns(config) }
    }
}

fn burst_ns(config: &Config) -> u64 {
    u64::from(config.quota_burst_ms) * 1_000_000
}

impl Sketch {
    /// Counters of a row.
    fn len(&self) -> usize {
        self.due_ns.len() / (3 * ROWS)
    }

    /// Twice as many counters: each stands for half of its networks, and so does its copy.
    fn double(&mut self) {
        let rows = self.due_ns.chunks(self.len());
        self.due_ns = rows.flat_map(|row| [row, row]).flatten().copied().collect();
    }

    /// Half as many counters, as long as at most one of 32 is in use, and none if none is.
    fn tidy(&mut self, now_ns: u64) {
        let used = |sketch: &Sketch| sketch.due_ns.iter().filter(|due| **due > now_ns).count();
        if used(self) == 0 {
            self.due_ns = Box::default();
        }
        while self.len() > COUNTERS_MIN && used(self) * 32 <= self.due_ns.len() {
            let half = self.len() / 2;
            let rows = self.due_ns.chunks(self.len()).map(|row| row.split_at(half));
            let greater = rows.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| *a.max(b)));
            self.due_ns = greater.collect();
        }
    }

    /// Charges an answer of `bytes` to the networks with these hashes, unless one of them is over
    /// its quota; or whatever they are, if `always`. There are at most `len_max` counters in a row.
    fn charge(
        &mut self,
        now_ns: u64,
        hashes: &[u64; 3],
        (costs, len_max): (&Costs, usize),
        bytes: u64,
        always: bool,
    ) -> bool {
        let len_max = len_max.clamp(1, 1 << 20).next_power_of_two();
        if self.due_ns.is_empty() {
            self.due_ns = vec![0; 3 * ROWS * len_max.min(COUNTERS_MIN)].into();
        }
        let (len, mask) = (self.len(), self.len() - 1);
        let latest = now_ns.saturating_add(costs.burst_ns);
        let crowded_from = now_ns.saturating_add(costs.burst_ns / 8);
        let (mut places, mut dues) = ([[0; ROWS]; 3], [0; 3]);
        let (mut over, mut crowded) = (false, false);
        for (width, &hash) in hashes.iter().enumerate() {
            let first = width * ROWS * len + (hash as usize & mask);
            let second = (width * ROWS + 1) * len + ((hash >> 32) as usize & mask);
            // The lesser of two counters: the other one may count somebody else as well.
            let due = self.due_ns[first].min(self.due_ns[second]);
            over |= due > latest;
            crowded |= due > crowded_from;
            (places[width], dues[width]) = ([first, second], due.max(now_ns));
        }
        // Long before others use up what this one could have: a copy has what its counter had.
        if crowded && len < len_max {
            self.double();
            return self.charge(now_ns, hashes, (costs, len_max), bytes, always);
        }
        if over && !always {
            return false;
        }
        for (width, (answer, byte)) in costs.of_width.iter().enumerate() {
            let due = dues[width].saturating_add(answer + bytes * byte);
            // Raised only as far as needed: who shares a counter is charged least.
            for at in places[width] {
                self.due_ns[at] = due.max(self.due_ns[at]);
            }
        }
        true
    }
}

/// The quotas of all sources, and the node's budget for answers.
#[derive(Clone)]
pub(crate) struct Quota {
    config: SharedConfig,
    keys: Keys<3>,
    common: Rate,
    reserve: Rate,
    strangers: Sketch,
    proven: Sketch,
    verified: Recent,
    /// What strangers were told of items, beside all else.
    items: Sketch,
}

impl Quota {
    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self) -> usize {
        self.strangers.due_ns.len() ^ self.proven.due_ns.len()
    }

    pub(crate) fn new(config: impl Into<SharedConfig>, rng: &mut Rng) -> Quota {
        Quota {
            config: config.into(),
            keys: Keys::new(rng, 0),
            common: Rate::default(),
            reserve: Rate::default(),
            strangers: Sketch::default(),
            proven: Sketch::default(),
            verified: Recent::new(),
            items: Sketch::default(),
        }
    }

    /// Whether a query of `query_len` bytes from `ip` is answered, and with how much; its source is
    /// charged with the largest answer that it may get.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        ip: IpAddr,
        query_len: usize,
    ) -> Result<Grant, Refusal> {
        let (now_ns, hashes) = (nanos(now), self.keys.networks(ip));
        let (set, tag) = slot(ip, &hashes);
        let (config, common) = (&*self.config, self.config.common());
        let verified = self.verified.has(now, set, tag, config.verified_secs);
        let bytes_max = config.reply_bytes_max.min(config.datagram_bytes_max);
        let bytes_max = match verified {
            true => bytes_max,
            false => bytes_max.min(config.reply_factor_max.saturating_mul(query_len)),
        };
        let local = AddrScope::of(ip) == AddrScope::Local;
        let purse = if local {
            Purse::None
        } else if verified && self.reserve.is_ready(&common.answers, now_ns) {
            Purse::Reserve
        } else if self.common.is_ready(&common.answers, now_ns) {
            Purse::Common
        } else {
            return Err(Refusal::Budget);
        };
        let sketch = if verified { &mut self.proven } else { &mut self.strangers };
        let costs = (&common.costs, config.quota_counters);
        match sketch.charge(now_ns, &hashes, costs, bytes_max as u64, local) {
            true => {
                let bytes_max = bytes_max as u16;
                Ok(Grant { bytes_max, extended: false, verified, purse })
            }
            false => Err(Refusal::Quota),
        }
    }

    /// Lets an answer be as large as a datagram, for it tells an item of `bytes`; false if strangers of
    /// the asker's networks were told too much.
    pub(crate) fn admit_item(
        &mut self,
        now: Time,
        ip: IpAddr,
        grant: &mut Grant,
        bytes: usize,
    ) -> bool {
        let admitted = grant.verified
            || grant.purse == Purse::None
            || self.items.charge(
                nanos(now),
                &self.keys.networks(ip),
                (&self.config.common().item_costs, self.config.quota_counters / 8),
                bytes as u64,
                false,
            );
        if admitted {
            grant.bytes_max = self.config.datagram_bytes_max as u16;
            grant.extended = !grant.verified;
        }
        admitted
    }

    /// Takes an answer of `bytes` from the node's budget.
    pub(crate) fn pay(&mut self, now: Time, grant: &Grant, bytes: usize) {
        let pace = &self.config.common().answers;
        match grant.purse {
            Purse::Common => self.common.take(pace, now, bytes as u32),
            Purse::Reserve => self.reserve.take(pace, now, bytes as u32),
            Purse::None => {}
        }
    }

    /// Gives back room that is needed no more.
    pub(crate) fn tidy(&mut self, now: Time) {
        self.verified.tidy(now, self.config.verified_secs);
        for sketch in [&mut self.strangers, &mut self.proven, &mut self.items] {
            sketch.tidy(nanos(now));
        }
    }

    /// `ip` proved that it receives what is sent to it.
    pub(crate) fn verify(&mut self, now: Time, ip: IpAddr) {
        let (set, tag) = slot(ip, &self.keys.networks(ip));
        let (max_secs, len_max) = (self.config.verified_secs, self.config.verified_max);
        self.verified.mark(now, set, tag, max_secs, len_max);
    }
}

/// Where a verified address is kept: all of a /24 or a /48 in one set, so that whoever owns the
/// network can push out nobody but its neighbours.
fn slot(ip: IpAddr, hashes: &[u64; 3]) -> (u64, u32) {
    let set = if ip.is_ipv4() { hashes[1] } else { hashes[2] };
    (set >> 48, (hashes[0] >> 13) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Time = Time::from_secs(1_000);

    fn quota(change: impl FnOnce(&mut Config)) -> Quota {
        let mut config = Config::new(vec![]);
        config.quota_answers = [40, 160, 640];
        config.quota_bytes = [u32::MAX; 3];
        config.quota_burst_ms = 1_000;
        config.answer_bytes_per_sec = u32::MAX;
        change(&mut config);
        Quota::new(&config, &mut Rng::new(&[1; 32]))
    }

    /// How many of 2,000 queries from `ip` are answered, with `bytes` each, all at once.
    fn answered(quota: &mut Quota, now: Time, ip: impl Into<IpAddr>, bytes: usize) -> usize {
        let ip = ip.into();
        let ask = |_: &usize| match quota.admit(now, ip, bytes / 10) {
            Ok(grant) => {
                quota.pay(now, &grant, bytes);
                true
            }
            Err(_) => false,
        };
        (0..2_000).filter(ask).count()
    }

    #[test]
    fn an_address_a_neighbourhood_and_a_provider_have_a_quota_each() {
        let mut q = quota(|_| {});
        assert_eq!(answered(&mut q, NOW, [8, 1, 1, 1], 100), 41);
        let of_24: usize = (2..50).map(|n| answered(&mut q, NOW, [8, 1, 1, n], 100)).sum();
        assert_eq!(41 + of_24, 161);
        let of_16: usize = (2..99).map(|n| answered(&mut q, NOW, [8, 1, n, 1], 100)).sum();
        assert_eq!(161 + of_16, 641);
        assert_eq!(answered(&mut q, NOW, [8, 2, 1, 1], 100), 41, "others have theirs");
        let later = NOW + Duration::from_millis(500);
        assert_eq!(answered(&mut q, later, [8, 1, 1, 1], 100), 20, "it decays");
    }

    #[test]
    fn v6_networks_have_theirs() {
        let mut q = quota(|_| {});
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(answered(&mut q, NOW, ip("2001:db8:1:101::1"), 100), 41);
        assert_eq!(answered(&mut q, NOW, ip("2001:db8:1:101::2"), 100), 0, "the same /64");
        let of =
            |q: &mut Quota, net: u16| answered(q, NOW, [0x2001, 0xdb8, 1, net, 0, 0, 0, 1], 100);
        let of_56: usize = (0x102..0x140).map(|net| of(&mut q, net)).sum();
        assert_eq!(41 + of_56, 161);
        let of_48: usize = (2..200).map(|net| of(&mut q, net << 8)).sum();
        assert_eq!(161 + of_48, 641);
        assert_eq!(of(&mut q, 0), 0);
        assert_eq!(answered(&mut q, NOW, ip("2001:db8:2:101::1"), 100), 41);
    }

    #[test]
    fn bytes_count_beside_answers() {
        let mut q = quota(|c| c.quota_bytes = [40_000; 3]);
        // What may bring 1,000 bytes takes 25 ms for the answer and 25 ms for its bytes.
        assert_eq!(answered(&mut q, NOW, [8, 1, 1, 1], 1_000), 21);
    }

    #[test]
    fn local_addresses_are_charged_and_never_refused() {
        let mut q = quota(|c| c.answer_bytes_per_sec = 10);
        for ip in ["127.0.0.1", "10.1.1.1", "fd00::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(answered(&mut q, NOW, ip, 1_000), 2_000);
            let hashes = q.keys.networks(ip);
            let costs = (&q.config.common().costs, q.config.quota_counters);
            assert!(!q.strangers.charge(nanos(NOW), &hashes, costs, 0, false), "{ip}");
        }
        assert_eq!(answered(&mut q, NOW, [8, 1, 1, 1], 100), 1, "and they used up no budget");
    }

    #[test]
    fn forged_sources_exhaust_neither_counters_nor_budget_of_the_verified() {
        let mut q = quota(|c| c.quota_counters = 16);
        let honest = IpAddr::from([8, 1, 1, 1]);
        q.verify(NOW, honest);
        // Far more than there are counters: from everywhere, and from the victim's own network.
        for n in 0..20_000u32 {
            let [_, a, b, c] = n.to_be_bytes();
            for ip in [[20 + a, b, c, 1], [8, 1, b, c.max(2)]] {
                if let Ok(grant) = q.admit(NOW, ip.into(), 30) {
                    q.pay(NOW, &grant, 300);
                }
            }
        }
        assert_eq!(q.admit(NOW, [9, 9, 9, 9].into(), 30).unwrap_err(), Refusal::Quota);
        assert_eq!(answered(&mut q, NOW, honest, 300), 41);
        // Nor do the verified take more than they may.
        assert_eq!(q.admit(NOW, honest, 30).unwrap_err(), Refusal::Quota);
    }

    #[test]
    fn counters_come_by_need_and_go_when_it_is_over() {
        let mut q = quota(|c| c.quota_counters = 512);
        let len = |q: &Quota| q.strangers.len();
        let ask = |q: &mut Quota, ms: u64, n: u32| {
            let [_, a, b, c] = n.to_be_bytes();
            q.admit(NOW + Duration::from_millis(ms), [20 + a, b, c, 1].into(), 30).is_ok()
        };
        // Thirty a second from everywhere fit into the fewest.
        assert!((0..300).all(|n| ask(&mut q, u64::from(n) * 33, n * 97)));
        assert_eq!(len(&q), COUNTERS_MIN);
        // Forty of each of many networks at once do not: nobody is refused for another.
        let now = 10_000;
        assert!((0..6_000).all(|n| ask(&mut q, now + u64::from(n) / 6, n * 97)));
        assert!((32..=512).contains(&len(&q)), "{}", len(&q));
        // Who asks too much is still charged all of it after the change.
        assert_eq!(answered(&mut q, NOW + Duration::from_secs(20), [8, 1, 1, 1], 100), 41);
        q.tidy(NOW + Duration::from_secs(20));
        assert!(!ask_from(&mut q, 20, [8, 1, 1, 1]), "nor is anything forgiven");
        q.tidy(NOW + Duration::from_secs(600));
        assert_eq!(len(&q), 0);
    }

    fn ask_from(quota: &mut Quota, secs: u64, ip: [u8; 4]) -> bool {
        quota.admit(NOW + Duration::from_secs(secs), ip.into(), 10).is_ok()
    }

    #[test]
    fn the_budget_keeps_a_half_for_the_verified() {
        let mut q = quota(|c| {
            c.quota_answers = [u32::MAX; 3];
            c.answer_bytes_per_sec = 20_000;
            c.answer_burst_ms = 1_000;
        });
        let honest = IpAddr::from([8, 1, 1, 1]);
        q.verify(NOW, honest);
        assert_eq!(answered(&mut q, NOW, [9, 1, 1, 1], 1_000), 11);
        assert_eq!(q.admit(NOW, [9, 1, 1, 1].into(), 30).unwrap_err(), Refusal::Budget);
        assert_eq!(answered(&mut q, NOW, honest, 1_000), 11);
        let later = NOW + Duration::from_secs(600);
        assert_eq!(
            q.admit(NOW + Duration::from_secs(599), honest, 30).unwrap().purse,
            Purse::Reserve
        );
        assert_eq!(q.admit(later, honest, 30).unwrap().purse, Purse::Common, "a stranger again");
    }

    #[test]
    fn the_owner_of_a_network_cannot_push_other_verified_addresses_out() {
        let mut q = quota(|c| c.verified_max = 64 * 16);
        let honest: Vec<IpAddr> = (1..9).map(|n| [8, n, 1, 1].into()).collect();
        honest.iter().for_each(|ip| q.verify(NOW, *ip));
        for n in 0..=255u8 {
            q.verify(NOW + Duration::from_secs(1), [9, 9, 9, n].into());
        }
        let verified =
            |ip: &&IpAddr| q.admit(NOW, **ip, 30).is_ok_and(|grant| grant.purse == Purse::Reserve);
        assert_eq!(honest.iter().filter(verified).count(), 8);
    }
}
