//! How much of a store each address and each neighbourhood of addresses holds.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::map::IdMap;
use wire::rng::Rng;
use wire::scope::{AddrScope, owner};

/// Counts what is stored for each owner of an address (v6: of a /64) and for each /24 (v6: /48).
/// Local addresses share no prefix with strangers: they count for themselves only.
#[derive(Clone)]
pub(crate) struct Shares {
    owners: Held,
    prefixes: Held,
    owner_max: u32,
    prefix_max: u32,
}

/// How much addresses hold; those of v4 apart, for they need a quarter of the room.
#[derive(Clone)]
struct Held {
    v4: IdMap<Ipv4Addr>,
    v6: IdMap<Ipv6Addr>,
}

impl Shares {
    pub(crate) fn new(owner_max: u32, prefix_max: u32, rng: &mut Rng) -> Shares {
        let (owners, prefixes) = (Held::new(rng), Held::new(rng));
        Shares { owners, prefixes, owner_max, prefix_max }
    }

    /// Counts one more for `ip`, unless it or its prefix has its share.
    pub(crate) fn take(&mut self, ip: IpAddr) -> bool {
        if !self.owners.more(owner(ip), self.owner_max) {
            return false;
        }
        let room = prefix(ip).is_none_or(|prefix| self.prefixes.more(prefix, self.prefix_max));
        if !room {
            self.owners.less(owner(ip));
        }
        room
    }

    /// Counts one less for `ip`.
    pub(crate) fn give_back(&mut self, ip: IpAddr) {
        self.owners.less(owner(ip));
        if let Some(prefix) = prefix(ip) {
            self.prefixes.less(prefix);
        }
    }

    /// Owners that hold anything.
    #[cfg(test)]
    pub(crate) fn owners(&self) -> usize {
        self.owners.len()
    }
}

impl Held {
    fn new(rng: &mut Rng) -> Held {
        Held { v4: IdMap::new(rng), v6: IdMap::new(rng) }
    }

    fn more(&mut self, ip: IpAddr, max: u32) -> bool {
        match ip {
            IpAddr::V4(ip) => more(&mut self.v4, ip, max),
            IpAddr::V6(ip) => more(&mut self.v6, ip, max),
        }
    }

    fn less(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => less(&mut self.v4, ip),
            IpAddr::V6(ip) => less(&mut self.v6, ip),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
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

/// The /24 or /48 of a Global address, by its first one.
fn prefix(ip: IpAddr) -> Option<IpAddr> {
    (AddrScope::of(ip) == AddrScope::Global).then(|| match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((shares.owners.len(), shares.prefixes.len()), (0, 0));
    }
}
