//! What a node with bad manners does besides: it repeats itself, replays others, shows tokens that
//! were given for something else, and garbles.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query};
use wire::rng::{Rng, Seed};
use wire::time::Time;
use wire::{Id, NodeId};

/// The share of what it hears and says that it makes something of.
const SHARE: f64 = 0.05;
/// When a token is shown for something else after it was given: at once, and in each period in which
/// it could be taken for a good one (BEP 5: up to ten minutes).
const SHOWN_AFTER_SECS: [u64; 4] = [0, 200, 330, 560];
/// Datagrams and hashes that it remembers.
const REMEMBERED: usize = 32;
/// What waits to be sent at most.
const OUT_MAX: usize = 256;

/// The bad manners of one node.
pub(crate) struct Mischief {
    rng: Rng,
    id: NodeId,
    /// It behaves from then on.
    until: Time,
    hashes: VecDeque<Id>,
    datagrams: VecDeque<Vec<u8>>,
    later: BTreeMap<(Time, u64), (SocketAddr, Vec<u8>)>,
    count: u64,
}

impl Mischief {
    pub(crate) fn new(id: NodeId, seed: &Seed, until: Time) -> Mischief {
        Mischief {
            rng: Rng::new(seed),
            id,
            until,
            hashes: VecDeque::new(),
            datagrams: VecDeque::new(),
            later: BTreeMap::new(),
            count: 0,
        }
    }

    fn send(&mut self, at: Time, to: SocketAddr, bytes: Vec<u8>) {
        if self.later.len() < OUT_MAX && at < self.until {
            self.count += 1;
            self.later.insert((at, self.count), (to, bytes));
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.datagrams.push_back(bytes.to_vec());
        if self.datagrams.len() > REMEMBERED {
            self.datagrams.pop_front();
        }
    }

    /// Its node hears a datagram.
    pub(crate) fn heard(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        if now >= self.until {
            return;
        }
        self.remember(bytes);
        if let Ok(message) = Message::parse(bytes) {
            self.misuse(now, from, &message);
        }
        if self.rng.chance(SHARE) {
            // Something old to somebody new.
            let old = self.datagrams[self.rng.index(self.datagrams.len())].clone();
            self.send(now + Duration::from_millis(300), from, old);
        }
        if self.rng.chance(SHARE) {
            let mut garbled = bytes.to_vec();
            let at = self.rng.index(garbled.len().max(1));
            if let Some(byte) = garbled.get_mut(at) {
                *byte = self.rng.u32() as u8;
            }
            self.send(now, from, garbled);
        }
    }

    fn misuse(&mut self, now: Time, from: SocketAddr, message: &Message<'_>) {
        match &message.body {
            Body::Query(Query { method: Method::GetPeers { info_hash, .. }, .. }) => {
                self.hashes.push_back(*info_hash);
                if self.hashes.len() > REMEMBERED {
                    self.hashes.pop_front();
                }
            }
            Body::Reply(reply) => {
                let token = GetPeersReply::parse(reply).and_then(|reply| reply.token);
                let Some(token) = token.filter(|_| self.rng.chance(4.0 * SHARE)) else { return };
                for secs in SHOWN_AFTER_SECS {
                    let info_hash = match self.hashes.len() {
                        0 => Id::random(&mut self.rng),
                        n => self.hashes[self.rng.index(n)],
                    };
                    let announce = self.announce(info_hash, token);
                    self.send(now + Duration::from_secs(secs), from, announce);
                }
            }
            _ => {}
        }
    }

    fn announce(&mut self, info_hash: Id, token: &[u8]) -> Vec<u8> {
        let method =
            Method::AnnouncePeer { info_hash, port: 666, implied_port: false, seed: false, token };
        let tid: [u8; 3] = self.rng.bytes();
        let mut out = Vec::new();
        Query { id: self.id, method }.encode(&Head { tid: &tid, ..Head::default() }, &mut out);
        out
    }

    /// Its node says something.
    pub(crate) fn said(&mut self, now: Time, to: SocketAddr, bytes: &[u8]) {
        if now < self.until && self.rng.chance(SHARE) {
            let wait = Duration::from_millis(u64::from(self.rng.below(2_000)));
            self.send(now + wait, to, bytes.to_vec());
        }
    }

    /// What it sends by now.
    pub(crate) fn poll(&mut self, now: Time, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let first = self.later.first_entry().filter(|first| first.key().0 <= now)?;
        let (to, bytes) = first.remove();
        *buf = bytes;
        Some(to)
    }

    /// When it sends next.
    pub(crate) fn due(&self) -> Option<Time> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }
}
