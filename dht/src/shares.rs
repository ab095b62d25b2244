//! How much of a store each address and each neighbourhood of addresses holds.

use std::hash::Hash;
use std::net::IpAddr;

use wire::map::IdMap;
use wire::rng::Rng;
use wire::scope::{AddrScope, owner};

use crate::keyed::site;

/// Counts what is stored for each owner of an address (v6: of a /64) and for each /24 (v6: /48).
/// Local addresses share no prefix with strangers: they count for themselves only.
#[derive(Clone)]
pub(crate) struct Shares {
    held: IdMap<IpAddr>,
    held_by_prefix: IdMap<(bool, u64)>,
    owner_max: u32,
    prefix_max: u32,
}

impl Shares {
    pub(crate) fn new(owner_max: u32, prefix_max: u32, rng: &mut Rng) -> Shares {
        let (held, held_by_prefix) = (IdMap::new(rng), IdMap::new(rng));
        Shares { held, held_by_prefix, owner_max, prefix_max }
    }

    /// Counts one more for `ip`, unless it or its prefix has its share.
    pub(crate) fn take(&mut self, ip: IpAddr) -> bool {
        if !more(&mut self.held, owner(ip), self.owner_max) {
            return false;
        }
        let prefix = prefix(ip);
        let room = prefix.is_none_or(|p| more(&mut self.held_by_prefix, p, self.prefix_max));
        if !room {
            less(&mut self.held, owner(ip));
        }
        room
    }

    /// Counts one less for `ip`.
    pub(crate) fn give_back(&mut self, ip: IpAddr) {
        less(&mut self.held, owner(ip));
        if let Some(prefix) = prefix(ip) {
            less(&mut self.held_by_prefix, prefix);
        }
    }

    /// Owners that hold anything.
    #[cfg(test)]
    pub(crate) fn owners(&self) -> usize {
        self.held.len()
    }
}

fn more<K: Hash + Eq>(held: &mut IdMap<K>, key: K, max: u32) -> bool {
    let count = held.entry(key);
    let room = *count < max.max(1);
    *count += u32::from(room);
    room
}

fn less<K: Hash + Eq>(held: &mut IdMap<K>, key: K) {
    match held.get(&key) {
        Some(count @ 2..) => *held.entry(key) = count - 1,
        _ => drop(held.remove(&key)),
    }
}

/// The /24 or /48 of a Global address, and of which family it is.
fn prefix(ip: IpAddr) -> Option<(bool, u64)> {
    (AddrScope::of(ip) == AddrScope::Global).then(|| (ip.is_ipv4(), site(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_and_its_prefix_have_a_share_each() {
        let mut shares = Shares::new(2, 3, &mut Rng::new(&[1; 32]));
        let taken = |shares: &mut Shares, text| shares.take(ip(text));
        assert!(taken(&mut shares, "8.1.1.1") && taken(&mut shares, "8.1.1.1"));
        assert!(!taken(&mut shares, "8.1.1.1"));
        assert!(taken(&mut shares, "8.1.1.2") && !taken(&mut shares, "8.1.1.3"));
        assert!(taken(&mut shares, "8.1.2.1"));
        shares.give_back(ip("8.1.1.1"));
        assert!(taken(&mut shares, "8.1.1.3"));
        for n in 1..=3 {
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, n, 0, 0, 0, 1);
            assert!(shares.take(v6.into()));
        }
        assert!(!taken(&mut shares, "2001:db8:1:9::1"));
        assert!(taken(&mut shares, "2001:db8:2:1::1") && taken(&mut shares, "2001:db8:2:1::2"));
        assert!(!taken(&mut shares, "2001:db8:2:1::3"), "the same /64");
    }

    #[test]
    fn local_addresses_have_no_prefix_and_nothing_is_left_behind() {
        let mut shares = Shares::new(2, 3, &mut Rng::new(&[1; 32]));
        let all: Vec<IpAddr> = (1..100).map(|n| [10, 0, 0, n].into()).collect();
        assert!(all.iter().all(|ip| shares.take(*ip)));
        all.iter().for_each(|ip| shares.give_back(*ip));
        shares.give_back(ip("9.9.9.9"));
        assert_eq!((shares.held.len(), shares.held_by_prefix.len()), (0, 0));
    }
}
