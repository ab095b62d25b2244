//! Hosts behind one address translator.

use super::net::Net;
use super::shard::Shard;
use crate::host::{Host, HostId};
use crate::nat::Nat;

/// Hosts that share a translator: a household, or the subscribers of a carrier's (CGNAT).
pub(super) struct Home {
    pub(super) nat: Nat,
    /// Their numbers follow each other.
    first: HostId,
    hosts: u32,
}

impl Home {
    pub(super) fn new(nat: Nat, first: HostId, hosts: u32) -> Home {
        Home { nat, first, hosts }
    }

    /// Which of them a host is.
    pub(super) fn index_of(&self, host: HostId) -> u32 {
        host.0 - self.first.0
    }

    /// The `k`-th of them.
    pub(super) fn host(&self, k: u32) -> Option<HostId> {
        (k < self.hosts).then_some(HostId(self.first.0.wrapping_add(k)))
    }
}

impl<H: Host> Shard<H> {
    /// The translator of a host's home restarts: it forgets all mappings, so streams through it hang.
    pub(super) fn restart_nat(&mut self, net: &Net, id: HostId) {
        let Some(home) = self.place(net, id).home else { return };
        let home = &mut self.homes[home as usize];
        home.nat.forget_all();
        let (first, hosts) = (home.first, home.hosts);
        for k in 0..hosts {
            let place = self.place(net, HostId(first.0 + k));
            if let Some(edge) = &mut place.edge {
                edge.sever();
            }
        }
    }
}
