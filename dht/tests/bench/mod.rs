//! A node alone: the test answers what it asks, by hand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, Event, LookupId, Node, SocketId};
use wire::bencode::Encoder;
use wire::compact;
use wire::krpc::{Body, Message, Method};
use wire::rng::seed_from_u64;
use wire::time::Time;
use wire::{Id, InfoHash, NodeId};

pub const LOCAL: SocketId = SocketId(0);
pub const HASH: InfoHash = Id([0x77; 20]);

/// A query that the node sent.
#[derive(Clone, Debug)]
pub struct Asked {
    pub via: SocketId,
    pub to: SocketAddr,
    pub tid: Vec<u8>,
    pub method: String,
    pub token: Option<Vec<u8>>,
    pub port: Option<u16>,
}

pub struct Bench {
    pub node: Node,
    pub now: Time,
}

impl Bench {
    /// A node at a Global address.
    pub fn new() -> Bench {
        Bench::with(Config::new(vec!["60.1.1.1:6881".parse().unwrap()]))
    }

    pub fn with(config: Config) -> Bench {
        let now = Time::from_secs(5);
        Bench { node: Node::new(config, &seed_from_u64(1), now), now }
    }

    /// All that it sends now.
    pub fn asked(&mut self) -> Vec<Asked> {
        let (mut buf, mut out) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.node.poll_transmit(&mut buf) {
            let message = Message::parse(&buf).unwrap();
            let Body::Query(query) = message.body else { panic!("{message:?}") };
            let (token, port) = match query.method {
                Method::AnnouncePeer { token, port, .. } => (Some(token.to_vec()), Some(port)),
                _ => (None, None),
            };
            out.push(Asked {
                via: transmit.via,
                to: transmit.to,
                tid: message.head.tid.to_vec(),
                method: String::from_utf8_lossy(query.method.name()).into(),
                token,
                port,
            });
        }
        out
    }

    pub fn handle(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.node.handle_datagram(self.now, LOCAL, from, bytes);
    }

    pub fn reply(&mut self, asked: &Asked, body: &[u8]) {
        let bytes = reply(&asked.tid, body);
        self.node.handle_datagram(self.now, asked.via, asked.to, &bytes);
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
        }
        self.now = end;
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.node.poll_event()).collect()
    }

    /// Starts a lookup whose only contact is `seed`, and returns the query.
    pub fn lookup_from(&mut self, seed: &str) -> (LookupId, Asked) {
        let lookup = self.node.get_peers(self.now, HASH);
        self.node.bootstrap(self.now, seed.parse().unwrap());
        let asked = self.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].method, "get_peers");
        (lookup, asked[0].clone())
    }
}

pub fn reply(tid: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(&mut out).dict(|d| {
        d.key(b"r").raw(body);
        d.key(b"t").bytes(tid);
        d.key(b"y").bytes(b"r");
    });
    out
}

pub fn id(n: u8) -> NodeId {
    Id([n; 20])
}

/// The dict of a reply: an id and more fields, already bencoded.
pub fn body(id: NodeId, fields: &[u8]) -> Vec<u8> {
    [b"d2:id20:", &id.0[..], fields, b"e"].concat()
}

pub fn nodes(list: &[(NodeId, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, addr) in list {
        compact::put_node(&mut bytes, id, &addr.parse().unwrap());
    }
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    encoder.bytes(b"nodes");
    encoder.bytes(&bytes);
    out
}

pub const SEED: &str = "70.1.1.1:1000";
