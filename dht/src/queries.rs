//! Queries of the node: made at once or when their turn comes, written when they are polled.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use wire::NodeId;
use wire::krpc::{Head, Method, Query};
use wire::time::Time;

use crate::SocketId;
use crate::flow::Turn;
use crate::lookup::Patience;
use crate::node::{Node, Outgoing};
use crate::transactions::{Ask, Purpose, Transaction};

impl Node {
    /// Makes a query and sends it, unless it has to wait for its turn.
    pub(crate) fn ask(
        &mut self,
        to: SocketAddr,
        via: SocketId,
        expected: Option<NodeId>,
        ask: Ask,
        purpose: Purpose,
    ) {
        self.ask_with(to, via, expected, ask, purpose, None);
    }

    /// Makes a query of which a lookup is told when it is late and when it is over.
    pub(crate) fn ask_with(
        &mut self,
        to: SocketAddr,
        via: SocketId,
        expected: Option<NodeId>,
        ask: Ask,
        purpose: Purpose,
        patience: Option<Patience>,
    ) -> Turn {
        let (sent, turn) = (self.now, self.take_turn(via, &to));
        let mut transaction = Transaction {
            to,
            via,
            expected,
            sent,
            ask,
            purpose,
            patience,
            late_at: None,
            over_at: None,
            // Who waits has all the time; who has no turn fails at the next occasion.
            fails_at: if turn == Turn::Later { Time::from_micros(u64::MAX) } else { sent },
            unsent: turn != Turn::Now,
        };
        if turn == Turn::Now {
            transaction.run(sent, sent + self.config.hard_timeout());
        }
        let tid = self.transactions.open(&mut self.rng, transaction);
        match turn {
            Turn::Now => {
                self.out.push(Outgoing::Query(tid));
                self.stats.asked += 1;
            }
            Turn::Later => self.hold(tid, via, &to),
            Turn::Never => {}
        }
        turn
    }

    /// Whether a further node can be verified now.
    pub(crate) fn may_verify(&self) -> bool {
        self.verifying.len() < self.config.verifying_max
    }

    /// Pings a node that is listed if it answers, unless that is going on.
    pub(crate) fn verify(&mut self, addr: SocketAddr, via: SocketId, expected: Option<NodeId>) {
        if self.may_verify() && self.verifying.insert(addr) {
            self.ask(addr, via, expected, Ask::Ping, Purpose::Verify);
        }
    }

    /// A node is not being verified any more.
    pub(crate) fn verified(&mut self, addr: &SocketAddr) {
        self.verifying.remove(addr);
        if self.verifying.is_empty() {
            self.verifying = BTreeSet::new();
        }
    }

    /// Writes the query of a transaction; `None` if that has ended.
    pub(crate) fn write_query(
        &self,
        tid: u32,
        buf: &mut Vec<u8>,
    ) -> Option<(SocketId, SocketAddr)> {
        let transaction = self.transactions.get(tid)?;
        let method = match &transaction.ask {
            Ask::Ping => Method::Ping,
            Ask::FindNode { target, want } => Method::FindNode { target: *target, want: *want },
            Ask::GetPeers { info_hash, want, noseed, scrape } => Method::GetPeers {
                info_hash: *info_hash,
                want: *want,
                noseed: *noseed,
                scrape: *scrape,
            },
            Ask::Get { target, seq, want } => {
                Method::Get { target: *target, seq: *seq, want: *want }
            }
            Ask::Put { lookup, cas, token } => {
                let item = self.searches.get(lookup)?.finds.item_to_put()?;
                Method::Put(item.put(token, *cas)?)
            }
            Ask::Sample { target, want } => {
                Method::SampleInfohashes { target: *target, want: *want }
            }
            Ask::Announce { info_hash, port, seed, token } => {
                let own = self.own.addr(transaction.via);
                Method::AnnouncePeer {
                    info_hash: *info_hash,
                    // Those who do not know `implied_port` get the best guess.
                    port: port.or(own.map(|own| own.port())).unwrap_or(1).max(1),
                    implied_port: port.is_none(),
                    seed: *seed,
                    token,
                }
            }
        };
        let tid = tid.to_be_bytes();
        let head = Head {
            tid: &tid,
            version: self.config.version.as_ref().map(|v| &v[..]),
            read_only: self.config.read_only,
            ip: None,
        };
        Query { id: self.own.id(transaction.via), method }.encode(&head, buf);
        Some((transaction.via, transaction.to))
    }
}
