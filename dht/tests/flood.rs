//! Floods: whatever strangers send and however much, the node stays within the bounds of its
//! [`Config`].
#![allow(clippy::unwrap_used)]

mod bench;

use std::net::SocketAddr;
use std::time::Duration;

use bench::{Bench, HASH, SEED, body};
use dht::{Config, Event};
use wire::compact::Family;
use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query, Want};
use wire::rng::{Rng, seed_from_u64};
use wire::{Id, InfoHash};

fn own() -> SocketAddr {
    "60.1.1.1:6881".parse().unwrap()
}

/// A Global address of its own for each `n`.
fn stranger(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([80 + b, c, d, 9], 1000 + d as u16))
}

fn written(id: Id, method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Query { id, method }.encode(&Head { tid: b"tt", ..Head::default() }, &mut out);
    out
}

/// Any query, of a sender and a key that nobody had before.
fn query(rng: &mut Rng) -> Vec<u8> {
    let (id, key, want) = (Id::random(rng), Id::random(rng), Want::BOTH);
    let token = rng.bytes::<8>();
    let name = rng.bytes::<12>();
    let method = match rng.below(5) {
        0 => Method::Ping,
        1 => Method::FindNode { target: key, want },
        2 => Method::get_peers(key, want),
        3 => Method::Unknown { name: &name, target: Some(key), want },
        _ => Method::announce_peer(key, 1, &token),
    };
    written(id, method)
}

#[test]
fn a_flood_of_distinct_queries_and_junk_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let mut rng = Rng::new(&seed_from_u64(1));
    let mut buf = Vec::new();
    for n in 0..60_000 {
        let mut bytes = query(&mut rng);
        if n % 3 == 0 {
            let at = rng.index(bytes.len());
            bytes[at] = rng.u32() as u8;
        }
        bench.handle(stranger(n), &bytes);
        while bench.node.poll_transmit(&mut buf).is_some() {}
        assert!(bench.node.in_flight() <= bench.node.config().verifying_max);
        bench.pass(Duration::from_millis(1));
    }
    // Not one of them answered the ping by which it would be listed.
    assert_eq!(bench.node.table_len(Family::V4) + bench.node.replacements_len(), 0);
    assert_eq!(bench.node.stored(), (0, 0));
    assert!(bench.events().is_empty());
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.node.in_flight(), 0);
    let stats = bench.node.stats();
    assert!(stats.bad_tokens > 5_000 && stats.dropped_bencode + stats.dropped_malformed > 500);
}

#[test]
fn answers_that_nobody_asked_for_leave_nothing_behind() {
    let mut bench = Bench::new();
    let mut rng = Rng::new(&seed_from_u64(2));
    for n in 0..60_000 {
        let reply = bench::reply(&rng.bytes::<4>(), &body(Id::random(&mut rng), b""));
        bench.handle(stranger(n), &reply);
    }
    assert_eq!(bench.node.stats().dropped_unsolicited, 60_000);
    assert!(bench.asked().is_empty());
    assert_eq!((bench.node.contacts().len(), bench.node.replacements_len()), (0, 0));
}

#[test]
fn a_flood_of_nodes_that_do_answer_fills_the_table_and_no_more() {
    let mut bench = Bench::with(Config::new(vec![own()]).unlimited());
    let mut rng = Rng::new(&seed_from_u64(3));
    for n in 0..30_000 {
        let (from, id) = (stranger(n), Id::random(&mut rng));
        bench.handle(from, &written(id, Method::Ping));
        let mut buf = Vec::new();
        let mut pings = Vec::new();
        while let Some(transmit) = bench.node.poll_transmit(&mut buf) {
            let message = Message::parse(&buf).unwrap();
            if transmit.to == from && matches!(message.body, Body::Query(_)) {
                pings.push(message.head.tid.to_vec());
            }
        }
        for tid in pings {
            bench.handle(from, &bench::reply(&tid, &body(id, b"")));
        }
    }
    let config = bench.node.config();
    let (k, spare_max) = (config.k, config.replacements_max);
    // Of 30,000 random ids the farthest buckets are full, the first six of them wide: 126 k. None is as
    // deep as 30.
    let listed = bench.node.table_len(Family::V4);
    assert!((120 * k..(126 + 24) * k).contains(&listed), "{listed}");
    assert!(bench.node.replacements_len() <= spare_max);
    assert!(bench.node.in_flight() <= 64 + 8);
}

/// The token that the node gives `from` for `hash`.
fn token(bench: &mut Bench, from: SocketAddr, hash: InfoHash) -> Option<Vec<u8>> {
    let ask = written(Id([9; 20]), Method::get_peers(hash, Want::default()));
    bench.handle(from, &ask);
    let mut buf = Vec::new();
    let mut token = None;
    while bench.node.poll_transmit(&mut buf).is_some() {
        if let Body::Reply(body) = Message::parse(&buf).unwrap().body {
            token = GetPeersReply::parse(&body).unwrap().token.map(<[u8]>::to_vec);
        }
    }
    token
}

/// Announces `hash` from `from` with a good token, if one is given; whether it was stored.
fn announce(bench: &mut Bench, from: SocketAddr, hash: InfoHash) -> bool {
    let Some(token) = token(bench, from, hash) else { return false };
    let method = Method::announce_peer(hash, 7, &token);
    let before = bench.node.stats().store_full;
    bench.handle(from, &written(Id([9; 20]), method));
    let mut buf = Vec::new();
    while bench.node.poll_transmit(&mut buf).is_some() {}
    bench.node.stats().store_full == before
}

#[test]
fn a_flood_of_announces_fills_the_store_and_no_more() {
    let mut config = Config::new(vec![own()]).unlimited();
    config.store_torrents_max = 40;
    config.store_peers_per_torrent_max = 30;
    config.store_peers_max = 600;
    let mut bench = Bench::with(config);
    let mut rng = Rng::new(&seed_from_u64(4));
    let mut stored = 0;
    for n in 0..20_000 {
        // Many torrents of few peers, then few torrents of many peers.
        let hash = if n % 2 == 0 { Id::random(&mut rng) } else { Id([(n % 60) as u8; 20]) };
        stored += usize::from(announce(&mut bench, stranger(n), hash));
        let (torrents, peers) = bench.node.stored();
        assert!(torrents <= 40 && peers <= 600);
    }
    assert_eq!(bench.node.stored(), (40, stored));
}

#[test]
fn one_owner_of_a_v6_network_cannot_fill_the_store() {
    let sockets = vec!["[2001:db8::1]:6881".parse().unwrap()];
    let mut config = Config::new(sockets).unlimited();
    config.store_peers_per_ip_max = 100;
    let mut bench = Bench::with(config);
    // A host has as many addresses as it likes within its /64.
    let mut rng = Rng::new(&seed_from_u64(5));
    let mut announce_from = |net: u16, hash| {
        let [a, b, c, d] = std::array::from_fn(|_| rng.u32() as u16);
        announce(&mut bench, SocketAddr::from(([0x2001, 0xdb8, 7, net, a, b, c, d], 1)), hash)
    };
    for n in 0..1_000 {
        announce_from(1, Id([(n % 200) as u8; 20]));
    }
    assert!(announce_from(2, HASH), "there is room for others");
    assert_eq!(bench.node.stored().1, 101);
}

#[test]
fn answers_that_nobody_sends_do_not_pile_up() {
    let mut bench = Bench::new();
    let mut rng = Rng::new(&seed_from_u64(6));
    for n in 0..20_000 {
        bench.handle(stranger(n), &query(&mut rng));
    }
    let mut buf = Vec::new();
    let sent = std::iter::from_fn(|| bench.node.poll_transmit(&mut buf)).count();
    let (stats, max) = (bench.node.stats(), bench.node.config().out_max);
    // An answer may come with the ping that verifies who asked.
    assert!(sent == max || sent == max + 1, "{sent}");
    assert_eq!(sent as u64 + stats.dropped_busy, 20_000 + stats.asked);
}

#[test]
fn one_lookup_reports_a_bounded_number_of_peers() {
    let mut config = Config::new(vec![own()]);
    config.lookup_peers_max = 150;
    let mut bench = Bench::with(config);
    let (_, asked) = bench.lookup_from(SEED);
    let mut told = 0;
    let mut waiting = vec![asked];
    // Every node tells of two hundred peers and of eight nodes that do the same.
    for n in 0..30u32 {
        let Some(asked) = waiting.pop() else { break };
        let nodes: Vec<(Id, String)> = (0..8u32)
            .map(|at| (Id([(n * 8 + at) as u8; 20]), stranger(n * 8 + at).to_string()))
            .collect();
        let nodes: Vec<(Id, &str)> = nodes.iter().map(|(id, addr)| (*id, &addr[..])).collect();
        let mut fields = bench::nodes(&nodes);
        fields.extend(b"6:valuesl");
        for peer in 0..200u32 {
            fields.extend(b"6:");
            fields.extend((0x5000_0000 + n * 1000 + peer).to_be_bytes());
            fields.extend([1, 1]);
        }
        fields.extend(b"e");
        bench.reply(&asked, &body(Id([(200 - n) as u8; 20]), &fields));
        waiting.extend(bench.asked());
    }
    for event in bench.events() {
        if let Event::PeersFound { peers, .. } = event {
            told += peers.len();
        }
    }
    assert_eq!(told, 150);
}
