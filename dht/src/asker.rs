//! Whether a query is answered at all, and with how much.

use std::net::SocketAddr;

use crate::SocketId;
use crate::node::Node;
use crate::quota::{Account, Refusal};

/// Who asked something that will be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) from: SocketAddr,
    pub(crate) via: SocketId,
    /// Bytes that the answer may have.
    pub(crate) bytes_max: u16,
    pub(crate) account: Account,
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
            match self.quota.admit(self.now, from.ip()) {
                Ok(account) => {
                    let bytes_max = match account.verified {
                        true => self.config.reply_bytes_max,
                        false => (self.config.reply_factor_max.saturating_mul(query_len))
                            .min(self.config.reply_bytes_max),
                    };
                    let bytes_max = bytes_max.min(self.config.datagram_bytes_max) as u16;
                    return Some(Asker { from, via, bytes_max, account });
                }
                Err(Refusal::Quota) => &mut self.stats.dropped_quota,
                Err(Refusal::Budget) => &mut self.stats.dropped_budget,
            }
        };
        *dropped += 1;
        None
    }
}
