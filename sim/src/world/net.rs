//! What all parts of a world read, and none writes while time passes.

use std::net::SocketAddr;

use crate::addresses::AddressPlan;
use crate::host::HostId;
use crate::link::Links;

/// Addresses, links, and how hosts are spread over shards.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) plan: AddressPlan,
    pub(crate) links: Links,
    pub(crate) hosts: u32,
    pub(crate) shards: u32,
}

impl Net {
    /// The host at an address.
    pub(crate) fn host_at(&self, addr: &SocketAddr) -> Option<HostId> {
        self.plan.host(addr).filter(|host| host.0 < self.hosts)
    }

    /// The shard of a host.
    pub(crate) fn shard_of(&self, host: HostId) -> usize {
        (host.0 % self.shards) as usize
    }

    /// Its place there.
    pub(crate) fn place_of(&self, host: HostId) -> usize {
        (host.0 / self.shards) as usize
    }
}
