//! What all parts of a world read, and none writes while time passes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use wire::time::Time;

use super::partition::Partition;
use crate::addresses::{AddressPlan, PORT};
use crate::host::HostId;
use crate::link::Links;

/// Where a host stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    /// Its site: the number of the first host there.
    pub(crate) site: u32,
    /// Its place in the site's shard.
    pub(crate) place: u32,
    /// It is inside of a home.
    pub(crate) is_inside: bool,
}

/// Addresses, links, and how hosts are spread over shards.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) plan: AddressPlan,
    pub(crate) links: Links,
    pub(crate) shards: u32,
    pub(crate) seats: Vec<Seat>,
    /// Whose the addresses are that a site has besides its own.
    pub(crate) more_addresses: BTreeMap<u32, u32>,
    pub(crate) partitions: Vec<Partition>,
}

/// The first address inside of a home, and the mask of its network (RFC 1918: 10/8).
const INSIDE: u32 = 10 << 24;
const INSIDE_MASK: u32 = 0xff00_0000;

/// The address of the `k`-th host inside of a home.
pub(crate) fn inside_addr(k: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(INSIDE + 2 + k), PORT)
}

/// Which host inside of a home has this address.
pub(crate) fn inside_index(addr: SocketAddrV4) -> Option<u32> {
    let ip = u32::from(*addr.ip());
    (ip & INSIDE_MASK == INSIDE).then_some(ip - INSIDE).and_then(|at| at.checked_sub(2))
}

impl Net {
    /// The site at an address: of an open host its number, and of a home that of its first host.
    pub(crate) fn site_at(&self, addr: SocketAddrV4) -> Option<HostId> {
        let host = self.plan.host_of(*addr.ip())?;
        match self.seats.get(host.0 as usize) {
            Some(seat) if seat.site != host.0 || !seat.is_inside && addr.port() != PORT => None,
            Some(_) => Some(host),
            None => self.more_addresses.get(&host.0).copied().map(HostId),
        }
    }

    /// The site of a host.
    pub(crate) fn site_of(&self, host: HostId) -> u32 {
        self.seats[host.0 as usize].site
    }

    /// The shard of a host.
    pub(crate) fn shard_of(&self, host: HostId) -> usize {
        (self.site_of(host) % self.shards) as usize
    }

    /// Its place there.
    pub(crate) fn place_of(&self, host: HostId) -> usize {
        self.seats[host.0 as usize].place as usize
    }

    /// Until when nothing passes between two hosts, if it does not at `at`.
    pub(crate) fn parted_until(&self, at: Time, a: HostId, b: HostId) -> Option<Time> {
        if self.partitions.is_empty() {
            return None;
        }
        let (a, b) = (self.site_of(a), self.site_of(b));
        self.partitions.iter().filter_map(|partition| partition.parts(at, a, b)).max()
    }
}
