//! Which address each host has, and which host an address belongs to.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use wire::rng::{Rng, Seed, child_seed};

use crate::host::HostId;

/// Bits of a host's place in the address range.
const BITS: u32 = 30;
const MASK: u32 = (1 << BITS) - 1;

/// The first octet of the range: 20.0.0.0 to 83.255.255.255 holds no special address (IANA IPv4
/// Special-Purpose Address Registry), so every host is Global.
const FIRST_OCTET: u32 = 20;

/// The port of all hosts (BEP 3, "6881-6889").
pub(crate) const PORT: u16 = 6881;

/// Gives each host an IPv4 address of its own, spread over all prefixes by a permutation that the
/// seed names; so both directions are arithmetic and no table grows with the world.
#[derive(Clone, Debug)]
pub struct AddressPlan {
    factors: [u32; 2],
    inverses: [u32; 2],
}

impl AddressPlan {
    /// The most hosts that have an address.
    pub const HOSTS_MAX: u32 = 1 << BITS;

    /// The plan that `seed` names.
    pub fn new(seed: &Seed) -> AddressPlan {
        let mut rng = Rng::new(&child_seed(seed, "addresses", 0));
        let factors = [rng.u32() | 1, rng.u32() | 1];
        AddressPlan { factors, inverses: factors.map(inverse) }
    }

    /// The address of `host`.
    pub fn addr(&self, host: HostId) -> SocketAddr {
        SocketAddr::V4(self.addr_v4(host))
    }

    /// The address of `host`.
    pub(crate) fn addr_v4(&self, host: HostId) -> SocketAddrV4 {
        let mixed = fold(host.0.wrapping_mul(self.factors[0]) & MASK);
        let place = mixed.wrapping_mul(self.factors[1]) & MASK;
        SocketAddrV4::new(Ipv4Addr::from((FIRST_OCTET << 24) + place), PORT)
    }

    /// The host at `addr`, whether or not it exists yet; `None` for an address of no host.
    pub fn host(&self, addr: &SocketAddr) -> Option<HostId> {
        let SocketAddr::V4(addr) = addr else { return None };
        self.host_of(*addr.ip()).filter(|_| addr.port() == PORT)
    }

    /// Whose `ip` is, whatever the port.
    pub fn host_of(&self, ip: Ipv4Addr) -> Option<HostId> {
        let place = u32::from(ip).checked_sub(FIRST_OCTET << 24).filter(|place| *place <= MASK)?;
        let mixed = fold(place.wrapping_mul(self.inverses[1]) & MASK);
        Some(HostId(mixed.wrapping_mul(self.inverses[0]) & MASK))
    }
}

/// Mixes the high half into the low one; its own inverse.
fn fold(x: u32) -> u32 {
    x ^ (x >> (BITS / 2))
}

/// The inverse of an odd number modulo 2^32, by Newton's iteration: each step doubles the bits.
fn inverse(odd: u32) -> u32 {
    (0..5).fold(odd, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wire::rng::seed_from_u64;
    use wire::scope::{AddrScope, is_unicast};

    #[test]
    fn an_address_leads_back_to_its_host() {
        for seed in 0..20 {
            let plan = AddressPlan::new(&seed_from_u64(seed));
            for host in (0..2_000).chain([AddressPlan::HOSTS_MAX - 1]).map(HostId) {
                let addr = plan.addr(host);
                assert_eq!(plan.host(&addr), Some(host));
                assert!(is_unicast(addr));
                assert_eq!(AddrScope::of(addr.ip()), AddrScope::Global);
            }
        }
    }

    #[test]
    fn hosts_are_spread_over_prefixes() {
        let plan = AddressPlan::new(&seed_from_u64(7));
        let nets = |octets: usize| {
            let nets: BTreeSet<Vec<u8>> = (0..1_000)
                .map(|i| match plan.addr(HostId(i)) {
                    SocketAddr::V4(addr) => addr.ip().octets()[..octets].to_vec(),
                    SocketAddr::V6(_) => unreachable!(),
                })
                .collect();
            nets.len()
        };
        assert_eq!(nets(4), 1_000);
        assert!(nets(3) > 990, "{}", nets(3));
        assert_eq!(nets(1), 64);
    }

    #[test]
    fn an_address_outside_the_range_is_nobodys() {
        let plan = AddressPlan::new(&seed_from_u64(7));
        for addr in ["19.255.255.255:6881", "84.0.0.0:6881", "30.0.0.1:80", "[2001::1]:6881"] {
            assert_eq!(plan.host(&addr.parse().unwrap()), None, "{addr}");
        }
    }
}
