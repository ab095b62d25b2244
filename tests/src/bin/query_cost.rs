//! Serves queries with a pure DHT node, to be counted from outside: `query_cost KIND COUNT` serves
//! COUNT queries of one kind, from datagram to drained answer. Instructions a query are the
//! difference of two counts, so set-up costs nothing. See `tests/bench/query_cost`.

use std::net::SocketAddr;
use std::process::ExitCode;

use dht::{Config, Node, SocketId};
use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query, Reply, Want};
use wire::rng::{Rng, child_seed, seed_from_u64};
use wire::time::Time;
use wire::{Id, InfoHash};

/// Queries that are made before the first is served, and then served again and again.
const DISTINCT: usize = 1_000;
/// Info-hashes in the store.
const TORRENTS: usize = 10_000;
/// Peers of each torrent that is asked for by `get_peers_hit`.
const PEERS: usize = 10;
/// Buckets that are full: those of a node in an overlay of 2^20.
const BUCKETS: u32 = 17;

const VIA: SocketId = SocketId(0);

/// A node with a full table and store.
struct Bench {
    node: Node,
    now: Time,
    rng: Rng,
    buf: Vec<u8>,
    /// The last answer.
    answer: Vec<u8>,
    torrents: Vec<InfoHash>,
}

impl Bench {
    fn new() -> Bench {
        let seed = seed_from_u64(1);
        let own = SocketAddr::from(([20, 1, 1, 1], 6881));
        let config = Config {
            external_ip: Some(own.ip()),
            store_torrents_max: 2 * TORRENTS,
            ..Config::new(vec![own]).unlimited()
        };
        let now = Time::from_secs(1);
        let mut rng = Rng::new(&child_seed(&seed, "bench", 0));
        let torrents = (0..TORRENTS).map(|_| Id::random(&mut rng)).collect();
        let node = Node::new(config, &seed, now);
        let mut bench = Bench { node, now, rng, buf: Vec::new(), answer: Vec::new(), torrents };
        bench.fill_table();
        bench.fill_store();
        bench
    }

    /// A Global address of its own for each `n`, in a /24 of its own.
    fn addr(n: u32) -> SocketAddr {
        let [_, a, b, c] = n.to_be_bytes();
        SocketAddr::from(([30 + a, b, c, 7], 6881))
    }

    /// Lets contacts answer a ping: eight for each bucket.
    fn fill_table(&mut self) {
        let own = self.node.id();
        for n in 0..8 * BUCKETS {
            let (bucket, addr) = (n / 8, Bench::addr(n));
            let mut id = Id::random(&mut self.rng);
            (0..bucket).for_each(|bit| id.set_bit(bit, own.bit(bit)));
            id.set_bit(bucket, !own.bit(bucket));
            self.node.add_contact(self.now, addr);
            while self.node.poll_transmit(&mut self.buf).is_some() {
                let Ok(Message { head, body: Body::Query(_) }) = Message::parse(&self.buf) else {
                    continue;
                };
                let mut answer = Vec::new();
                let head = Head { tid: head.tid, ..Head::default() };
                Reply { id, nodes: Some(&[]), ..Reply::default() }.encode(&head, &mut answer);
                self.node.handle_datagram(self.now, VIA, addr, &answer);
            }
        }
    }

    /// Announces one peer for each torrent, and more for the first of them.
    fn fill_store(&mut self) {
        for n in 0..TORRENTS {
            let peers = if n < DISTINCT { PEERS } else { 1 };
            for peer in 0..peers {
                let from = Bench::addr(0x10000 + (n * PEERS + peer) as u32);
                let bytes = self.announce(n, from);
                self.serve(from, &bytes);
            }
        }
    }

    fn serve(&mut self, from: SocketAddr, bytes: &[u8]) -> usize {
        self.node.handle_datagram(self.now, VIA, from, bytes);
        let mut sent = 0;
        while self.node.poll_transmit(&mut self.buf).is_some() {
            // The answer comes first; a ping in return may follow.
            if sent == 0 {
                std::mem::swap(&mut self.buf, &mut self.answer);
            }
            sent += 1;
        }
        sent
    }

    fn query(&mut self, method: Method<'_>) -> Vec<u8> {
        let tid: [u8; 4] = self.rng.bytes();
        let head = Head { tid: &tid, ..Head::default() };
        let mut out = Vec::new();
        Query { id: Id::random(&mut self.rng), method }.encode(&head, &mut out);
        out
    }

    /// An announce for the `n`-th torrent with the token that `from` was given.
    fn announce(&mut self, n: usize, from: SocketAddr) -> Vec<u8> {
        let info_hash = self.torrents[n];
        let ask = self.query(Method::get_peers(info_hash, Want::default()));
        self.serve(from, &ask);
        let answer = std::mem::take(&mut self.answer);
        let token = match Message::parse(&answer) {
            Ok(Message { body: Body::Reply(body), .. }) => {
                GetPeersReply::parse(&body).and_then(|reply| reply.token).unwrap_or_default()
            }
            _ => b"",
        };
        assert!(!token.is_empty(), "no token for {from}");
        let method = Method::announce_peer(info_hash, 6881, token);
        self.query(method)
    }

    /// The `n`-th query of a kind; `None` if there is no such kind.
    fn make(&mut self, kind: &str, n: usize, from: SocketAddr) -> Option<Vec<u8>> {
        let want = Want::default();
        Some(match kind {
            "ping" => self.query(Method::Ping),
            "find_node" => {
                let target = Id::random(&mut self.rng);
                self.query(Method::FindNode { target, want })
            }
            "get_peers" => {
                let info_hash = Id::random(&mut self.rng);
                self.query(Method::get_peers(info_hash, want))
            }
            "get_peers_hit" => {
                let info_hash = self.torrents[n];
                self.query(Method::get_peers(info_hash, want))
            }
            "announce" => self.announce(n, from),
            _ => return None,
        })
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(kind), Some(count)) = (args.first(), args.get(1).and_then(|n| n.parse().ok())) else {
        eprintln!("usage: query_cost ping|find_node|get_peers|get_peers_hit|announce COUNT");
        return ExitCode::from(2);
    };
    let mut bench = Bench::new();
    let mut queries = Vec::new();
    for n in 0..DISTINCT {
        let from = Bench::addr(0x200000 + n as u32);
        let Some(bytes) = bench.make(kind, n, from) else {
            eprintln!("query_cost: unknown kind {kind}");
            return ExitCode::from(2);
        };
        queries.push((from, bytes));
    }
    let (mut answered, mut bytes) = (0, 0);
    for (from, query) in queries.iter().cycle().take(count) {
        answered += bench.serve(*from, query);
        bytes += bench.answer.len();
    }
    let mean = bytes.checked_div(count).unwrap_or(0);
    println!("{kind}: {answered} of {count} answered, {mean} bytes an answer");
    if answered == count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
