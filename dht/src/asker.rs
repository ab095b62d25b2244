//! Whether a query is answered at all, and with how much.

use std::net::SocketAddr;

use crate::SocketId;
use crate::node::Node;
use crate::quota::{Grant, Refusal};

/// Who asked something that will be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) from: SocketAddr,
    pub(crate) via: SocketId,
    pub(crate) grant: Grant,
}

/// chargen, DNS, NTP, SSDP: services that answer whatever comes. A query that claims to come from one
/// of them is meant to set two services on each other, or to have one more hit a victim.
const REFLECTING_PORTS: [u16; 4] = [19, 53, 123, 1900];

impl Node {
    /// Takes in a query of `query_len` bytes; `None` if it is dropped.
    pub(crate) fn admit(
        &mut self,
        via: SocketId,
        from: SocketAddr,
        query_len: usize,
    ) -> Option<Asker> {
        let dropped = if self.config.read_only {
            &mut self.stats.dropped_read_only
        } else if REFLECTING_PORTS.contains(&from.port()) {
            &mut self.stats.dropped_port
        } else if self.out.len() >= self.config.out_max {
            &mut self.stats.dropped_busy
        } else {
            match self.quota.admit(self.now, from.ip(), query_len) {
                Ok(grant) => return Some(Asker { from, via, grant }),
                Err(Refusal::Quota) => &mut self.stats.dropped_quota,
                Err(Refusal::Budget) => &mut self.stats.dropped_budget,
            }
        };
        *dropped += 1;
        None
    }
}
