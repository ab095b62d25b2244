//! Replies, written when they are polled, each within what its asker may get.

use std::net::SocketAddr;

use arrayvec::ArrayVec;
use wire::compact::Family;
use wire::krpc::{self, Filters, Head, ItemReply, Reply, Samples, Want};
use wire::{Id, NodeId};

use crate::item::Item;
use crate::node::Node;
use crate::server::{Answer, Says};
use crate::tokens::TOKEN_LEN;

/// Nodes of a family in one reply, whatever k is: 8 of both families are 512 bytes.
const NODES_MAX: usize = 8;
/// All keys, lengths and ends of a reply with two node lists, a token and `ip`: 134 bytes.
const FRAME: usize = 140;
/// What the filters of a scrape take: two keys, two lengths and two times 256 bytes.
const FILTERS_LEN: usize = 2 * (6 + 4 + 256);
/// What samples take beside themselves: `8:intervali21600e`, `3:numi..e` and `7:samples...:`.
const SAMPLES_FRAME: usize = 17 + 26 + 13;
/// `3:seqi..e`
const SEQ_LEN: usize = 27;

/// Bytes of a reply with an item and without nodes.
pub(crate) fn item_len(item: &Item, tid_len: usize) -> usize {
    FRAME + tid_len + item.reply_len()
}

impl Answer {
    /// Bytes that nodes and values may have: what the rest of the largest reply leaves.
    fn room(&self) -> usize {
        usize::from(self.asker.grant.bytes_max).saturating_sub(FRAME + self.tid.len())
    }
}

impl Node {
    /// Writes an answer into `buf`.
    pub(crate) fn write_answer(&mut self, answer: &Answer, buf: &mut Vec<u8>) {
        let version = self.config.version;
        let head = Head {
            tid: &answer.tid,
            version: version.as_ref().map(|v| &v[..]),
            read_only: false,
            ip: Some(answer.asker.from),
        };
        let (id, room) = (self.own.id(answer.asker.via), answer.room());
        let mut scratch = Scratch::default();
        match answer.says {
            Says::Id => Reply { id, ..Reply::default() }.encode(&head, buf),
            Says::Error { code, text } => {
                krpc::Error { code, text: text.as_bytes() }.encode(&head, buf);
            }
            Says::Nodes { target, want } => {
                self.find_nodes(answer, &target, want, room, &mut scratch);
                scratch.reply(id).encode(&head, buf);
            }
            Says::Peers { info_hash, want, noseed, scrape } => {
                let swarm = self.store.find(&info_hash);
                let wanted = swarm.filter(|_| scrape && room > FILTERS_LEN);
                let filters = wanted.map(|at| self.store.scrape(self.now, at));
                let room = room - if filters.is_some() { FILTERS_LEN } else { 0 };
                self.find_nodes(answer, &info_hash, want, room, &mut scratch);
                let values = self.find_peers(answer, swarm, noseed, room, &scratch);
                // BEP 33: none when an announce would not be stored.
                let token = self.store.has_room(swarm).then(|| self.token(answer, &info_hash));
                let filters = filters
                    .as_ref()
                    .map(|(seeds, peers)| Filters { seeds: &seeds.0, peers: &peers.0 });
                let reply = Reply { filters, values: &values, ..scratch.reply(id) };
                Reply { token: token.as_ref().map(|t| &t[..]), ..reply }.encode(&head, buf);
                self.values = values;
            }
            Says::Item { target, want, shown } => {
                let token = self.item_token(answer, &target);
                let item = self.items.get(self.now, &target).filter(|_| shown);
                // What goes beyond what a stranger gets is no occasion for more.
                let left = match (answer.asker.grant.extended, item) {
                    (true, _) => 0,
                    (false, Some(item)) => room.saturating_sub(item.reply_len()),
                    (false, None) => room.saturating_sub(SEQ_LEN),
                };
                self.find_nodes(answer, &target, want, left, &mut scratch);
                let item = match self.items.get(self.now, &target) {
                    Some(item) if shown => item.reply(),
                    Some(item) => ItemReply { seq: item.seq(), ..ItemReply::default() },
                    None => ItemReply::default(),
                };
                let token = token.as_ref().map(|t| &t[..]);
                Reply { token, item, ..scratch.reply(id) }.encode(&head, buf);
            }
            Says::Samples { target, want } => {
                let (samples, interval_secs) = self.find_samples(answer);
                let left = room - samples.len() - SAMPLES_FRAME.min(room);
                self.find_nodes(answer, &target, want, left, &mut scratch);
                let num = self.store.torrents() as u64;
                let samples = Some(Samples { interval_secs, num, samples: &samples });
                Reply { samples, ..scratch.reply(id) }.encode(&head, buf);
            }
        }
    }

    fn token(&self, answer: &Answer, key: &Id) -> [u8; TOKEN_LEN] {
        self.tokens.make(self.now, answer.asker.via, answer.asker.from.ip(), key)
    }

    /// Peers of the torrent, as many as the nodes leave room for.
    fn find_peers(
        &mut self,
        answer: &Answer,
        swarm: Option<usize>,
        noseed: bool,
        room: usize,
        scratch: &Scratch,
    ) -> Vec<SocketAddr> {
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        let Some(swarm) = swarm else { return values };
        let family = Family::of(&answer.asker.from);
        let value = family.addr_len() + if family == Family::V4 { 2 } else { 3 };
        let n = room.saturating_sub(scratch.nodes.len() + scratch.nodes6.len()) / value;
        self.store.sample(self.now, swarm, family, n, noseed, &mut self.rng, &mut values);
        values
    }

    /// Info-hashes, as many as eight nodes leave room for, and for how many seconds they stay the same.
    fn find_samples(&mut self, answer: &Answer) -> (Vec<u8>, u32) {
        let nodes = NODES_MAX * Family::V4.node_len();
        let room = answer.room().saturating_sub(SAMPLES_FRAME + nodes);
        let (samples, secs) = self.store.sample_torrents(self.now, &mut self.rng);
        (samples[..samples.len().min(room / 20 * 20)].to_vec(), secs)
    }

    /// The token for a put; none when nothing would be stored.
    fn item_token(&mut self, answer: &Answer, target: &Id) -> Option<[u8; TOKEN_LEN]> {
        let room = self.items.has_room(self.now, target, self.own.ids(), &mut self.rng);
        room.then(|| self.token(answer, target))
    }

    /// The nodes to tell of each family that the asker wants: the k closest proven contacts without
    /// the asker itself, and no local ones to a global asker.
    fn find_nodes(
        &self,
        answer: &Answer,
        target: &Id,
        want: Want,
        room: usize,
        scratch: &mut Scratch,
    ) {
        let k = self.config.k.min(NODES_MAX);
        let to = answer.asker.from;
        let by = Family::of(&to);
        let Scratch { nodes, nodes6, .. } = scratch;
        for (family, out) in [(Family::V4, nodes), (Family::V6, nodes6)] {
            if want.wants(family, by) {
                self.tables.closest_compact(family, target, k, &to, out);
            }
        }
        scratch.shorten(room);
        scratch.wanted = Want { v4: want.wants(Family::V4, by), v6: want.wants(Family::V6, by) };
    }
}

/// Compact node infos of one answer.
pub(crate) type Nodes = ArrayVec<u8, { NODES_MAX * 38 }>;

/// The nodes of an answer, and of which families any are to be told.
#[derive(Default)]
struct Scratch {
    nodes: Nodes,
    nodes6: Nodes,
    wanted: Want,
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

    /// A reply with the nodes.
    fn reply(&self, id: NodeId) -> Reply<'_> {
        Reply {
            id,
            nodes: self.wanted.v4.then_some(&self.nodes[..]),
            nodes6: self.wanted.v6.then_some(&self.nodes6[..]),
            ..Reply::default()
        }
    }
}
