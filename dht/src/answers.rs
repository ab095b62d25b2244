//! The half of the node that asks: datagrams in, answers matched, failures counted.

use std::net::SocketAddr;

use wire::NodeId;
use wire::compact::Family;
use wire::krpc::{Body, Dropped, GetPeersReply, Message, ReplyBody};
use wire::scope::AddrScope;
use wire::time::Time;

use crate::node::Node;
use crate::stores::Outcome;
use crate::transactions::{Ask, Purpose, Transaction};
use crate::{Event, NodeInfo, SocketId, security};

impl Node {
    /// A datagram from `from` came by our socket `local`. Whatever it says is counted, answered or
    /// dropped.
    pub fn handle_datagram(&mut self, now: Time, local: SocketId, from: SocketAddr, bytes: &[u8]) {
        self.advance(now);
        self.stats.received += 1;
        self.stats.received_bytes += bytes.len() as u64;
        let own = self.own.addr(local);
        let same_family = own.is_some_and(|own| Family::of(&own) == Family::of(&from));
        if !same_family || !self.may_ask(&from) {
            self.stats.dropped_address += 1;
            return;
        }
        // By reference, for it is large.
        let parsed = Message::parse(bytes);
        let message = match &parsed {
            Ok(message) => message,
            Err(why) => {
                *match why {
                    Dropped::Bencode(_) => &mut self.stats.dropped_bencode,
                    Dropped::Malformed => &mut self.stats.dropped_malformed,
                    Dropped::LongTid => &mut self.stats.dropped_long_tid,
                } += 1;
                return;
            }
        };
        let head = &message.head;
        match &message.body {
            Body::Query(query) => {
                if let Some(asker) = self.admit(local, from, bytes.len()) {
                    self.on_query(&asker, head, query);
                }
            }
            Body::BadQuery(reason) => {
                if let Some(asker) = self.admit(local, from, bytes.len()) {
                    self.refuse(&asker, head, reason);
                }
            }
            Body::Reply(_) | Body::Error(_) => {
                match self.transactions.answer(head.tid, from, local) {
                    Some(transaction) => self.on_answer(&transaction, message),
                    None => self.stats.dropped_unsolicited += 1,
                }
            }
        }
    }

    /// The node that was asked replied, or refused.
    fn on_answer(&mut self, transaction: &Transaction, message: &Message<'_>) {
        self.quota.verify(self.now, transaction.to.ip());
        self.own.answered(transaction.via);
        // Not of who came by itself: anybody could have as many votes as networks.
        if let Some(seen) = message.head.ip
            && !matches!(transaction.purpose, Purpose::Verify)
        {
            self.on_vote(transaction.via, transaction.to, seen);
        }
        match &message.body {
            Body::Reply(body) => self.on_reply(transaction, body),
            Body::Error(error) => {
                self.stats.errors += 1;
                match transaction.purpose {
                    Purpose::Store(lookup) => self.on_stored(lookup, Outcome::of_error(error.code)),
                    _ => self.on_no_answer(transaction),
                }
            }
            Body::Query(_) | Body::BadQuery(_) => {}
        }
    }

    /// The node that was asked replied.
    fn on_reply(&mut self, transaction: &Transaction, body: &ReplyBody<'_>) {
        let Some(id) = body.id() else {
            self.stats.dropped_bad_reply += 1;
            self.on_no_answer(transaction);
            return;
        };
        let own = self.own.has(&id) || id == NodeId::ZERO;
        if own || transaction.expected.is_some_and(|expected| expected != id) {
            self.stats.dropped_wrong_id += 1;
            let listed = |expected| self.tables.evict(&expected, &transaction.to);
            if transaction.expected.is_some_and(listed) && !own {
                // It has started anew, and answers.
                self.heard(NodeInfo { id, addr: transaction.to }, transaction.sent);
            }
            self.on_no_answer(transaction);
            return;
        }
        self.stats.answered += 1;
        let node = NodeInfo { id, addr: transaction.to };
        self.heard(node, transaction.sent);
        match transaction.purpose {
            Purpose::Ping(ping) => {
                let rtt = self.now.since(transaction.sent);
                self.events.push_back(Event::PingReply { ping, node, rtt });
            }
            Purpose::Verify => {
                self.verified(&transaction.to);
            }
            Purpose::Maintenance => {}
            Purpose::Lookup(lookup, key) => {
                let Some(reply) = GetPeersReply::parse(body) else { return };
                let (mut same, other) = self.believable(transaction, reply.found.nodes());
                match transaction.ask {
                    Ask::GetPeers { scrape, .. } => {
                        let told = self.on_peers(lookup, transaction, reply.peers());
                        let counted = scrape && self.on_filters(lookup, body);
                        if told || counted {
                            self.on_holder(lookup);
                        }
                    }
                    Ask::Get { .. } => self.on_item(lookup, transaction, body),
                    Ask::Sample { .. } => self.on_samples(lookup, node, body),
                    _ => {}
                }
                let token = reply.token.filter(|t| t.len() <= self.config.token_bytes_max);
                self.on_lookup_reply(lookup, key, node, token, &mut same, &other);
                self.pump(lookup);
            }
            Purpose::Store(lookup) => self.on_stored(lookup, Outcome::Accepted),
        }
    }

    /// The nodes of a reply that may be asked: those of the replier's family, and the others.
    fn believable(
        &mut self,
        transaction: &Transaction,
        nodes: impl Iterator<Item = (NodeId, SocketAddr)>,
    ) -> (Vec<NodeInfo>, Vec<NodeInfo>) {
        let source = AddrScope::of(transaction.to.ip());
        let (mut same, mut other) = (Vec::with_capacity(self.config.k.min(8)), Vec::new());
        for (id, addr) in nodes.take(self.config.reply_nodes_max) {
            let scope = AddrScope::of(addr.ip());
            let unfit = self.config.enforce_ids && !security::fits(&id, addr.ip());
            let own = self.own.has(&id);
            if own || unfit || !self.may_ask(&addr) || !scope.acceptable_from(source) {
                self.stats.refused_nodes += 1;
                continue;
            }
            let list = match Family::of(&addr) == Family::of(&transaction.to) {
                true => &mut same,
                false => &mut other,
            };
            list.push(NodeInfo { id, addr });
        }
        (same, other)
    }

    /// A query was not answered in time.
    pub(crate) fn on_timeout(&mut self, transaction: &Transaction) {
        if transaction.unsent {
            return self.on_no_answer(transaction);
        }
        self.stats.timeouts += 1;
        self.unanswered(transaction);
        if !matches!(transaction.purpose, Purpose::Maintenance) && !transaction.ask.is_optional() {
            self.blame(transaction);
        }
        self.on_no_answer(transaction);
    }

    /// A contact that answered before did not, and should have: that may be the link's fault. Of others
    /// anybody can make as many up as he likes.
    fn unanswered(&mut self, transaction: &Transaction) {
        let Some(id) = transaction.expected.filter(|_| !transaction.ask.is_optional()) else {
            return;
        };
        if self.tables.rtt_ms(&NodeInfo { id, addr: transaction.to }).is_some() {
            self.own.unanswered(transaction.via);
        }
    }

    /// The system says that nothing can be sent to `to` by the socket `via`, as to a family that the host
    /// does not have: queries to it have failed. Only who is pinged for maintenance is blamed.
    pub fn handle_unreachable(&mut self, now: Time, via: SocketId, to: SocketAddr) {
        self.advance(now);
        while let Some(transaction) = self.transactions.fail_to(via, to) {
            self.stats.unreachable += 1;
            self.unanswered(&transaction);
            if matches!(transaction.purpose, Purpose::Maintenance) {
                self.blame(&transaction);
            } else {
                self.on_no_answer(&transaction);
            }
        }
    }

    /// Counts a failure against the contact that was asked.
    fn blame(&mut self, transaction: &Transaction) {
        let Some(id) = transaction.expected else { return };
        if self.may_be_reached_else(transaction.via, &transaction.to) {
            self.tables.set_pinged(&id, &transaction.to, false);
        } else {
            self.tables.on_failure(self.now, &id, &transaction.to);
            self.hasten_maintenance(5);
        }
    }

    /// A query brought nothing: tells who waits for it.
    fn on_no_answer(&mut self, transaction: &Transaction) {
        match transaction.purpose {
            Purpose::Ping(ping) => {
                self.events.push_back(Event::PingFailed { ping, addr: transaction.to });
            }
            Purpose::Verify => {
                self.verified(&transaction.to);
            }
            Purpose::Maintenance => self.blame(transaction),
            Purpose::Lookup(lookup, key) => {
                self.on_lookup_failure(lookup, key, transaction.to);
                self.pump(lookup);
            }
            Purpose::Store(lookup) => self.on_stored(lookup, Outcome::Failed),
        }
    }
}
