//! The half of the node that answers queries.

use std::net::SocketAddr;

use arrayvec::ArrayVec;
use wire::compact::Family;
use wire::krpc::{
    self, Head, METHOD_UNKNOWN, Method, PROTOCOL_ERROR, Query, SERVER_ERROR, TID_LEN_MAX, Want,
};
use wire::{Id, InfoHash, NodeId};

use crate::NodeInfo;
use crate::asker::Asker;
use crate::node::{Node, Outgoing};
use crate::table::Ranked;

/// An answer to be written when it is polled.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) asker: Asker,
    tid: ArrayVec<u8, TID_LEN_MAX>,
    says: Says,
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
enum Says {
    Id,
    Nodes { target: Id, want: Want },
    Peers { info_hash: InfoHash, want: Want },
    Error { code: i64, text: &'static str },
}

impl Answer {
    /// Bytes that nodes and peers may have: what the rest of the largest reply leaves.
    fn room(&self) -> usize {
        // All keys, lengths and ends of a reply with two node lists, a token and `ip`: 134 bytes.
        const FRAME: usize = 140;
        usize::from(self.asker.grant.bytes_max).saturating_sub(FRAME + self.tid.len())
    }
}

impl Node {
    /// Serves a query.
    pub(crate) fn on_query(&mut self, asker: &Asker, head: &Head<'_>, query: &Query<'_>) {
        let Asker { via, from, .. } = *asker;
        if query.id == self.id {
            self.stats.dropped_own_id += 1;
            return;
        }
        let says = self.serve(from, &query.method);
        self.answer(asker, head, says);
        if !head.read_only && query.id != NodeId::ZERO {
            let node = NodeInfo { id: query.id, addr: from };
            if self.may_ask(&from) && self.tables.on_query(self.now, &node) {
                self.verify(from, via, Some(query.id));
            }
        }
    }

    /// Refuses a query that says `reason` wrong.
    pub(crate) fn refuse(&mut self, asker: &Asker, head: &Head<'_>, reason: &'static str) {
        self.stats.queries_malformed += 1;
        self.answer(asker, head, Says::Error { code: PROTOCOL_ERROR, text: reason });
    }

    fn answer(&mut self, asker: &Asker, head: &Head<'_>, says: Says) {
        let tid = head.tid.iter().copied().take(TID_LEN_MAX).collect();
        self.out.push_back(Outgoing::Answer(Answer { asker: *asker, tid, says }));
    }

    fn serve(&mut self, from: SocketAddr, method: &Method<'_>) -> Says {
        match *method {
            Method::Ping => {
                self.stats.queries_ping += 1;
                Says::Id
            }
            Method::FindNode { target, want }
            | Method::Unknown { target: Some(target), want, .. } => {
                self.stats.queries_find_node += 1;
                Says::Nodes { target, want }
            }
            Method::GetPeers { info_hash, want } => {
                self.stats.queries_get_peers += 1;
                Says::Peers { info_hash, want }
            }
            Method::Unknown { target: None, .. } => {
                self.stats.queries_unknown += 1;
                Says::Error { code: METHOD_UNKNOWN, text: "method unknown" }
            }
            Method::AnnouncePeer { info_hash, port, implied_port, token } => {
                self.stats.queries_announce += 1;
                let peer =
                    SocketAddr::new(from.ip(), if implied_port { from.port() } else { port });
                if !self.tokens.check(self.now, from.ip(), &info_hash, token) {
                    self.stats.bad_tokens += 1;
                    return Says::Error { code: PROTOCOL_ERROR, text: "bad token" };
                }
                self.quota.verify(self.now, from.ip());
                if !self.store.announce(self.now, &info_hash, peer) {
                    self.stats.store_full += 1;
                    return Says::Error { code: SERVER_ERROR, text: "no room" };
                }
                Says::Id
            }
        }
    }

    /// Writes an answer into `buf`.
    pub(crate) fn write_answer(&mut self, answer: &Answer, buf: &mut Vec<u8>) {
        let version = self.config.version;
        let head = Head {
            tid: &answer.tid,
            version: version.as_ref().map(|v| &v[..]),
            read_only: false,
            ip: Some(answer.asker.from),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut reply = krpc::Reply { id: self.id, ..krpc::Reply::default() };
        match answer.says {
            Says::Id => reply.encode(&head, buf),
            Says::Error { code, text } => {
                krpc::Error { code, text: text.as_bytes() }.encode(&head, buf);
            }
            Says::Nodes { target, want } => {
                self.find_nodes(answer, &target, want, &mut scratch);
                scratch.put_nodes(&mut reply);
                reply.encode(&head, buf);
            }
            Says::Peers { info_hash, want } => {
                self.find_nodes(answer, &info_hash, want, &mut scratch);
                let family = Family::of(&answer.asker.from);
                let room = self.room_for_values(answer, &scratch, family);
                let (store, values) = (&mut self.store, &mut scratch.values);
                values.clear();
                store.sample(self.now, &info_hash, family, room, &mut self.rng, values);
                let token = self.tokens.make(self.now, answer.asker.from.ip(), &info_hash);
                // BEP 33: no token when an announce would not be stored.
                reply.token = self.store.has_room(&info_hash).then_some(&token[..]);
                scratch.put_nodes(&mut reply);
                reply.values = &scratch.values;
                reply.encode(&head, buf);
            }
        }
        self.scratch = scratch;
    }

    /// How many peers still fit into the reply.
    fn room_for_values(&self, answer: &Answer, scratch: &Scratch, family: Family) -> usize {
        let used = scratch.nodes.len() + scratch.nodes6.len();
        let value = family.addr_len() + if family == Family::V4 { 2 } else { 3 };
        answer.room().saturating_sub(used) / value
    }

    /// The nodes to tell of each family that the asker wants: the k closest proven contacts without
    /// the asker itself, and no local ones to a global asker.
    fn find_nodes(&self, answer: &Answer, target: &Id, want: Want, scratch: &mut Scratch) {
        let k = self.config.k.min(NODES_MAX);
        let to = answer.asker.from;
        let by = Family::of(&to);
        let Scratch { ranked, nodes, nodes6, .. } = scratch;
        for (family, out) in [(Family::V4, nodes), (Family::V6, nodes6)] {
            out.clear();
            if want.wants(family, by) {
                self.tables.closest_compact(family, target, k, to, ranked, out);
            }
        }
        scratch.shorten(answer.room());
        scratch.wanted = Want { v4: want.wants(Family::V4, by), v6: want.wants(Family::V6, by) };
    }
}

/// What answers are made from, kept for its room, so that no answer needs an allocation.
#[derive(Clone, Default)]
pub(crate) struct Scratch {
    ranked: Ranked,
    /// Compact node infos, and of which families any are to be told.
    nodes: Vec<u8>,
    nodes6: Vec<u8>,
    wanted: Want,
    values: Vec<SocketAddr>,
}

impl Scratch {
    /// Leaves the farthest nodes out until the others take no more than `room` bytes.
    fn shorten(&mut self, room: usize) {
        while self.nodes.len() + self.nodes6.len() > room {
            let (list, node_len) = match self.nodes.len() > self.nodes6.len() {
                true => (&mut self.nodes, Family::V4.node_len()),
                false => (&mut self.nodes6, Family::V6.node_len()),
            };
            list.truncate(list.len().saturating_sub(node_len));
        }
    }

    fn put_nodes<'a>(&'a self, reply: &mut krpc::Reply<'a>) {
        reply.nodes = self.wanted.v4.then_some(&self.nodes[..]);
        reply.nodes6 = self.wanted.v6.then_some(&self.nodes6[..]);
    }
}

/// Nodes of a family in one reply, whatever k is: 8 of both families are 512 bytes.
const NODES_MAX: usize = 8;
