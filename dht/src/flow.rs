//! How fast the node itself asks others: a home router forgets its own users when a node makes it
//! remember too many addresses, and whoever is on a slow line wants to use it for more than the DHT.

use std::collections::VecDeque;
use std::net::SocketAddr;

use wire::rng::Rng;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::SocketId;
use crate::config::SharedConfig;
use crate::keyed::{Keys, Rate, Recent};
use crate::node::{Node, Outgoing};
use crate::transactions::{Purpose, Transaction};

/// What becomes of a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// It is sent now.
    Now,
    /// It waits for its turn.
    Later,
    /// Too many wait: it is not sent.
    Never,
}

/// The pace of the node's queries, and those that wait for their turn. Local addresses lie on this
/// side of the router: they count nowhere and never wait.
#[derive(Clone)]
pub(crate) struct Flow {
    config: SharedConfig,
    keys: Keys<1>,
    queries: Rate,
    bytes: Rate,
    flows: Rate,
    /// Addresses that a query went to, as a router remembers them.
    contacted: Recent,
    held: VecDeque<u32>,
    /// When the first of those that wait may go.
    due: Option<Time>,
}

impl Flow {
    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn new(config: impl Into<SharedConfig>, rng: &mut Rng) -> Flow {
        Flow {
            config: config.into(),
            keys: Keys::new(rng, 3),
            queries: Rate::default(),
            bytes: Rate::default(),
            flows: Rate::default(),
            contacted: Recent::new(),
            held: VecDeque::new(),
            due: None,
        }
    }

    /// Whether a query may go to `to`, which is then counted.
    fn turn(&mut self, now: Time, via: SocketId, to: &SocketAddr) -> Turn {
        if is_local(to) {
            Turn::Now
        } else if self.held.is_empty() && self.ready_at(now, via, to) <= now {
            self.go(now, via, to);
            Turn::Now
        } else if self.held.len() < self.config.queries_held_max {
            Turn::Later
        } else {
            Turn::Never
        }
    }

    /// To a router the same address by another socket is another flow.
    fn hash(&self, via: SocketId, to: &SocketAddr) -> u64 {
        self.keys.endpoint(to) ^ u64::from(via.0)
    }

    fn is_new(&self, now: Time, via: SocketId, to: &SocketAddr) -> bool {
        let hash = self.hash(via, to);
        !self.contacted.has(now, hash >> 32, hash as u32, self.config.flow_secs)
    }

    fn ready_at(&self, now: Time, via: SocketId, to: &SocketAddr) -> Time {
        let common = self.config.common();
        let ready =
            self.queries.ready_at(&common.queries).max(self.bytes.ready_at(&common.query_bytes));
        // Else it does not matter whether it is new.
        let flows = self.flows.ready_at(&common.flows);
        if flows > ready && self.is_new(now, via, to) { flows } else { ready }
    }

    /// Counts a query to `to`.
    fn go(&mut self, now: Time, via: SocketId, to: &SocketAddr) {
        self.queries.take(&self.config.common().queries, now, 1);
        if self.is_new(now, via, to) {
            self.flows.take(&self.config.common().flows, now, 1);
        }
        let hash = self.hash(via, to);
        let (max_secs, len_max) = (self.config.flow_secs, self.config.flows_remembered_max);
        self.contacted.mark(now, hash >> 32, hash as u32, max_secs, len_max);
    }

    /// Counts the bytes of a query.
    pub(crate) fn wrote(&mut self, now: Time, to: &SocketAddr, bytes: usize) {
        if !is_local(to) {
            self.bytes.take(&self.config.common().query_bytes, now, bytes as u32);
        }
    }

    /// Forgets flows that routers have forgotten.
    pub(crate) fn tidy(&mut self, now: Time) {
        self.contacted.tidy(now, self.config.flow_secs);
    }

    /// When the first of the queries that wait may go.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Queries that wait for their turn.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Queries that may be asked before any is refused.
    pub(crate) fn room(&self) -> usize {
        self.config.queries_held_max.saturating_sub(self.held.len())
    }
}

fn is_local(addr: &SocketAddr) -> bool {
    AddrScope::of(addr.ip()) == AddrScope::Local
}

impl Node {
    /// The turn of a query to `to` that is about to be made.
    pub(crate) fn take_turn(&mut self, via: SocketId, to: &SocketAddr) -> Turn {
        let new = !is_local(to) && self.flow.is_new(self.now, via, to);
        let turn = self.flow.turn(self.now, via, to);
        match turn {
            Turn::Now => self.stats.flows += u64::from(new),
            Turn::Later => self.stats.queries_held += 1,
            Turn::Never => self.stats.queries_refused += 1,
        }
        turn
    }

    /// Lets a query wait for its turn.
    pub(crate) fn hold(&mut self, tid: u32, via: SocketId, to: &SocketAddr) {
        if self.flow.held.is_empty() {
            self.flow.due = Some(self.flow.ready_at(self.now, via, to));
        }
        self.flow.held.push_back(tid);
    }

    /// Sends the queries whose turn has come.
    pub(crate) fn release_held(&mut self) {
        while let Some(&tid) = self.flow.held.front() {
            if self.is_wanted(tid)
                && let Some(&Transaction { via, to, .. }) = self.transactions.get(tid)
            {
                let ready_at = self.flow.ready_at(self.now, via, &to);
                if ready_at > self.now {
                    self.flow.due = Some(ready_at);
                    return;
                }
                self.stats.flows += u64::from(self.flow.is_new(self.now, via, &to));
                self.flow.go(self.now, via, &to);
                self.send_held(tid);
            }
            self.flow.held.pop_front();
        }
        self.flow.due = None;
    }

    /// Whether anybody still waits for the answer to a query; if not, it is forgotten.
    fn is_wanted(&mut self, tid: u32) -> bool {
        let Some(transaction) = self.transactions.get(tid) else { return false };
        let wanted = match transaction.purpose {
            Purpose::Lookup(id, _) | Purpose::Store(id) => self.searches.contains_key(&id),
            _ => true,
        };
        if !wanted {
            self.transactions.forget(tid);
        }
        wanted
    }

    /// Its time runs from now on.
    fn send_held(&mut self, tid: u32) {
        let fails_at = self.now + self.config.hard_timeout();
        if let Some(transaction) = self.transactions.start(tid, self.now, fails_at)
            && let Purpose::Lookup(id, key) = transaction.purpose
        {
            let &Transaction { to, late_at, over_at, fails_at, .. } = transaction;
            self.on_lookup_sent(
                id,
                key,
                to,
                late_at.unwrap_or(fails_at),
                over_at.unwrap_or(fails_at),
            );
        }
        self.out.push(Outgoing::Query(tid));
        self.stats.asked += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    const VIA: SocketId = SocketId(0);
    use std::time::Duration;

    const NOW: Time = Time::from_secs(100);

    fn flow(change: impl FnOnce(&mut Config)) -> Flow {
        let mut config = Config::new(vec![]);
        config.query_burst_ms = 1_000;
        (config.queries_per_sec, config.flows_per_sec) = (1_000, 1_000);
        config.query_bytes_per_sec = u32::MAX;
        change(&mut config);
        Flow::new(&config, &mut Rng::new(&[1; 32]))
    }

    fn addr(n: u32) -> SocketAddr {
        ((0x0800_0000 + n).to_be_bytes(), 6881).into()
    }

    /// How many of 10,000 queries go now, each with `bytes`.
    fn sent(flow: &mut Flow, now: Time, to: impl Fn(u32) -> SocketAddr, bytes: usize) -> usize {
        let go = |n: &u32| {
            let turn = flow.turn(now, VIA, &to(*n));
            flow.wrote(now, &to(*n), if turn == Turn::Now { bytes } else { 0 });
            turn == Turn::Now
        };
        (0..10_000).filter(go).count()
    }

    #[test]
    fn queries_bytes_and_new_flows_have_a_pace_each() {
        let mut by_queries = flow(|c| c.queries_per_sec = 50);
        assert_eq!(sent(&mut by_queries, NOW, addr, 100), 51);
        assert_eq!(sent(&mut by_queries, NOW + Duration::from_millis(100), addr, 100), 5);
        let mut by_bytes = flow(|c| c.query_bytes_per_sec = 10_000);
        assert_eq!(sent(&mut by_bytes, NOW, addr, 100), 101);
        let mut by_flows = flow(|c| c.flows_per_sec = 20);
        assert_eq!(sent(&mut by_flows, NOW, addr, 100), 21);
        assert_eq!(sent(&mut by_flows, NOW, |n| addr(n % 21), 100), 1_001 - 21, "no new flows");
    }

    #[test]
    fn an_address_is_a_new_flow_again_when_routers_have_forgotten_it() {
        let mut flow = flow(|_| {});
        assert!(flow.is_new(NOW, VIA, &addr(1)));
        flow.go(NOW, VIA, &addr(1));
        let at = |secs| NOW + Duration::from_secs(secs);
        assert!(!flow.is_new(at(29), VIA, &addr(1)) && flow.is_new(at(30), VIA, &addr(1)));
        assert!(flow.is_new(at(29), VIA, &SocketAddr::new(addr(1).ip(), 1)), "another port");
        assert!(flow.is_new(at(29), SocketId(1), &addr(1)), "another socket");
        flow.go(at(29), VIA, &addr(1));
        assert!(!flow.is_new(at(58), VIA, &addr(1)));
    }

    #[test]
    fn local_addresses_count_nowhere() {
        let mut flow = flow(|c| c.queries_per_sec = 1);
        let local = |n: u32| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 6881));
        assert_eq!(sent(&mut flow, NOW, local, 100), 10_000);
        assert_eq!(sent(&mut flow, NOW, addr, 100), 2);
    }
}
