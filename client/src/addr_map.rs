//! A map by address that takes for IPv4, of which most are, no room for IPv6.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;

/// In the order of the addresses.
pub struct AddrMap<V> {
    v4: BTreeMap<SocketAddrV4, V>,
    v6: BTreeMap<SocketAddrV6, V>,
}

impl<V> AddrMap<V> {
    /// Nothing.
    pub fn new() -> AddrMap<V> {
        AddrMap { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }

    /// Number of addresses.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// What is kept for `addr`.
    pub fn get(&self, addr: &SocketAddr) -> Option<&V> {
        match addr {
            SocketAddr::V4(addr) => self.v4.get(addr),
            SocketAddr::V6(addr) => self.v6.get(addr),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, addr: &SocketAddr) -> Option<&mut V> {
        match addr {
            SocketAddr::V4(addr) => self.v4.get_mut(addr),
            SocketAddr::V6(addr) => self.v6.get_mut(addr),
        }
    }

    /// Keeps `value` for `addr`; returns what stood there before.
    pub fn insert(&mut self, addr: SocketAddr, value: V) -> Option<V> {
        match addr {
            SocketAddr::V4(addr) => self.v4.insert(addr, value),
            SocketAddr::V6(addr) => self.v6.insert(addr, value),
        }
    }

    /// Forgets `addr`; returns what stood there.
    pub fn remove(&mut self, addr: &SocketAddr) -> Option<V> {
        match addr {
            SocketAddr::V4(addr) => self.v4.remove(addr),
            SocketAddr::V6(addr) => self.v6.remove(addr),
        }
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &V)> {
        let v4 = self.v4.iter().map(|(addr, value)| (SocketAddr::V4(*addr), value));
        v4.chain(self.v6.iter().map(|(addr, value)| (SocketAddr::V6(*addr), value)))
    }

    /// All, in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut V)> {
        let v4 = self.v4.iter_mut().map(|(addr, value)| (SocketAddr::V4(*addr), value));
        v4.chain(self.v6.iter_mut().map(|(addr, value)| (SocketAddr::V6(*addr), value)))
    }

    /// What is kept for all, in order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.v4.values().chain(self.v6.values())
    }

    /// Those within a range of one family, in order.
    pub fn range(
        &self,
        range: RangeInclusive<SocketAddr>,
    ) -> impl Iterator<Item = (SocketAddr, &V)> {
        let v4 = match (range.start(), range.end()) {
            (SocketAddr::V4(first), SocketAddr::V4(last)) => Some(self.v4.range(*first..=*last)),
            _ => None,
        };
        let v6 = match (range.start(), range.end()) {
            (SocketAddr::V6(first), SocketAddr::V6(last)) => Some(self.v6.range(*first..=*last)),
            _ => None,
        };
        let v4 = v4.into_iter().flatten().map(|(addr, value)| (SocketAddr::V4(*addr), value));
        let v6 = v6.into_iter().flatten().map(|(addr, value)| (SocketAddr::V6(*addr), value));
        v4.chain(v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_order_is_that_of_the_addresses() {
        let texts =
            ["[2001:db8::1]:2", "10.0.0.2:1", "10.0.0.1:9", "[2001:db8::1]:1", "10.0.0.1:8"];
        let addrs: Vec<SocketAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut map = AddrMap::new();
        addrs.iter().for_each(|addr| assert_eq!(map.insert(*addr, addr.port()), None));
        let mut sorted = addrs.clone();
        sorted.sort();
        assert!(map.iter().map(|(addr, _)| addr).eq(sorted.iter().copied()));
        assert!(map.values().copied().eq(sorted.iter().map(|addr| addr.port())));
        assert!(map.range(sorted[0]..=sorted[1]).map(|(addr, _)| addr).eq(sorted[..2].to_vec()));
        assert!(map.range(sorted[3]..=sorted[3]).map(|(addr, _)| addr).eq([sorted[3]]));
        assert_eq!((map.remove(&addrs[0]), map.get(&addrs[0]), map.len()), (Some(2), None, 4));
        map.iter_mut().for_each(|(_, port)| *port += 1);
        assert_eq!(map.get(&addrs[1]), Some(&2));
        *map.get_mut(&addrs[1]).unwrap() = 7;
        assert_eq!(map.insert(addrs[1], 8), Some(7));
    }
}
