//! How many connections each host has, so that none takes the places of all others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::scope::owner;

/// Connections by host; of Global IPv6 a /64 is one ([`owner`]).
#[derive(Default)]
pub struct Crowd(BTreeMap<IpAddr, usize>);

impl Crowd {
    /// None yet.
    pub fn new() -> Crowd {
        Crowd::default()
    }

    /// One more connection of `ip`.
    pub fn add(&mut self, ip: IpAddr) {
        *self.0.entry(owner(ip)).or_default() += 1;
    }

    /// Connections of the host of `ip`.
    pub fn count(&self, ip: IpAddr) -> usize {
        self.0.get(&owner(ip)).copied().unwrap_or(0)
    }

    /// Whether any host would give one of its connections up for one of a host that has none.
    pub fn gives_way(&self) -> bool {
        self.0.values().any(|count| *count >= 2)
    }

    /// The host that gives one of its connections up for one of `ip`: that with the most, if it
    /// then has still as many as `ip`.
    pub fn gives_way_to(&self, ip: IpAddr) -> Option<IpAddr> {
        let own = self.count(ip);
        let (host, most) = self.0.iter().max_by_key(|(_, count)| **count)?;
        (*most >= own + 2).then_some(*host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_with_the_most_gives_way_to_one_with_fewer() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let mut crowd = Crowd::new();
        assert_eq!(crowd.gives_way_to(ip("1.1.1.1")), None);
        crowd.add(ip("2001:db8::1"));
        assert_eq!(crowd.gives_way_to(ip("1.1.1.1")), None, "one each is fair");
        assert!(!crowd.gives_way());
        crowd.add(ip("2001:db8::2"));
        assert!(crowd.gives_way());
        assert_eq!(crowd.gives_way_to(ip("1.1.1.1")), Some(ip("2001:db8::")));
        assert_eq!(crowd.gives_way_to(ip("2001:db8::3")), None, "not to its own");
        crowd.add(ip("1.1.1.1"));
        assert_eq!(crowd.gives_way_to(ip("1.1.1.1")), None);
    }
}
