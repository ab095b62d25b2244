//! What a node lets others do with it: the rows K171 to K177 of the project's matrix.
#![allow(clippy::unwrap_used)]

mod bench;

use std::net::SocketAddr;
use std::time::Duration;

use bench::{Bench, HASH, LOCAL, SEED, body, id};
use dht::{Config, Node, SocketId};
use proptest::prelude::*;
use wire::compact::Family;
use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query, Want};
use wire::rng::{Rng, seed_from_u64};
use wire::time::Time;
use wire::{Id, NodeId};

fn own() -> SocketAddr {
    "60.1.1.1:6881".parse().unwrap()
}

/// A Global address of its own for each `n`, in a /24 of its own.
fn stranger(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([80 + b, c, d, 9], 1000))
}

fn written(id: NodeId, tid: &[u8], method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Query { id, method }.encode(&Head { tid, read_only: true, ..Head::default() }, &mut out);
    out
}

fn ping() -> Vec<u8> {
    written(id(9), b"tt", Method::Ping)
}

/// What the node sends in answer to a datagram.
fn serve(node: &mut Node, now: Time, from: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let via = SocketId(u8::from(from.is_ipv6()));
    node.handle_datagram(now, via, from, bytes);
    let (mut buf, mut answer) = (Vec::new(), None);
    while let Some(transmit) = node.poll_transmit(&mut buf) {
        let body = Message::parse(&buf).unwrap().body;
        if transmit.to == from && matches!(body, Body::Reply(_) | Body::Error(_)) {
            assert!(answer.replace(buf.clone()).is_none(), "two answers to one datagram");
        }
    }
    answer
}

fn answered(bench: &mut Bench, from: SocketAddr) -> bool {
    serve(&mut bench.node, bench.now, from, &ping()).is_some()
}

#[test]
fn one_flooder_is_held_to_its_quota_and_others_are_served() {
    let mut bench = Bench::new();
    let (flooder, other) = (stranger(1), stranger(2));
    let (mut flood, mut asked, mut served) = (0, 0, 0);
    for ms in 0..60_000 {
        flood += u32::from(answered(&mut bench, flooder));
        if ms % 100 == 0 {
            asked += 1;
            served += u32::from(answered(&mut bench, other));
        }
        bench.pass(Duration::from_millis(1));
    }
    assert_eq!(served, asked, "K171");
    // Five seconds' worth at once and 40 a second, less what their bytes take.
    assert!((1_500..2_600).contains(&flood), "{flood}");
    assert_eq!(bench.node.stats().dropped_quota, u64::from(60_000 - flood));
}

#[test]
fn forged_sources_do_not_make_the_node_forget_a_flooder() {
    for count in [20, 200, 20_000] {
        let mut bench =
            Bench::with(Config { answer_bytes_per_sec: u32::MAX, ..Config::new(vec![own()]) });
        let flooder = stranger(1);
        while answered(&mut bench, flooder) {}
        for n in 0..count {
            answered(&mut bench, stranger(100 + n));
        }
        assert!(!answered(&mut bench, flooder), "K172, {count} sources");
    }
}

#[test]
fn answers_under_all_short_transaction_ids_are_not_taken() {
    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    let from: SocketAddr = SEED.parse().unwrap();
    let open = u32::from_be_bytes(asked.tid[..].try_into().unwrap());
    let mut sent = 0;
    for tid in 0..=u16::MAX {
        for tid in [&tid.to_be_bytes()[..], &u32::from(tid).to_be_bytes()] {
            if tid != open.to_be_bytes() {
                bench.handle(from, &bench::reply(tid, &body(id(3), b"")));
                sent += 1;
            }
        }
    }
    let stats = *bench.node.stats();
    assert_eq!((stats.dropped_unsolicited, stats.answered), (sent, 0), "K173");
    assert!(bench.node.contacts().is_empty());
    bench.reply(&asked, &body(id(3), b""));
    assert_eq!(bench.node.stats().answered, 1, "who was asked is not banned for it");
    assert_eq!(bench.node.table_len(Family::V4), 1);
}

#[test]
fn ports_of_services_that_answer_anything_get_no_answer() {
    let mut bench = Bench::new();
    for (n, port) in [0, 19, 53, 123, 1900].into_iter().enumerate() {
        let from = SocketAddr::new(stranger(n as u32).ip(), port);
        for bytes in [ping(), b"d1:ade1:q4:ping1:t2:aa1:y1:qe".to_vec()] {
            assert_eq!(serve(&mut bench.node, bench.now, from, &bytes), None, "K175, {port}");
        }
    }
    assert_eq!((bench.node.stats().dropped_port, bench.node.stats().dropped_address), (8, 2));
    assert!(answered(&mut bench, stranger(9)));
}

#[test]
fn datagrams_that_claim_to_be_from_ourselves_are_dropped() {
    let mut config = Config::new(vec!["10.0.0.1:6881".parse().unwrap()]);
    config.external_ip = Some(own().ip());
    let mut bench = Bench::with(config);
    for from in ["10.0.0.1:6881", "60.1.1.1:6881"] {
        assert!(!answered(&mut bench, from.parse().unwrap()), "K176, {from}");
    }
    assert_eq!(bench.node.stats().dropped_address, 2);
    assert!(answered(&mut bench, "60.1.1.1:6882".parse().unwrap()), "a neighbour behind our NAT");
}

#[test]
fn two_nodes_cannot_be_set_on_each_other() {
    let addrs = [own(), stranger(1)];
    let spark: [&[u8]; 6] = [
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q6:foobar1:t2:aa1:y1:qe",
        b"d1:eli203e3:bade1:t2:aa1:y1:ee",
        b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re",
        b"d1:t2:aa1:y1:xe",
        b"junk",
    ];
    for first in spark {
        let mut nodes: Vec<Bench> =
            addrs.iter().map(|addr| Bench::with(Config::new(vec![*addr]))).collect();
        let mut flying = vec![(0, first.to_vec())];
        let mut datagrams = 0;
        while let Some((to, bytes)) = flying.pop() {
            datagrams += 1;
            assert!(datagrams < 10, "K177: {}", String::from_utf8_lossy(first));
            let now = nodes[to].now;
            nodes[to].node.handle_datagram(now, LOCAL, addrs[1 - to], &bytes);
            let mut buf = Vec::new();
            while nodes[to].node.poll_transmit(&mut buf).is_some() {
                flying.push((1 - to, buf.clone()));
            }
        }
    }
}

/// A node of both families with so many contacts and peers.
fn filled(config: Config, rng: &mut Rng, contacts: u32, peers: u32) -> Node {
    let mut node = Node::new(config, &seed_from_u64(1), Time::ZERO);
    let mut buf = Vec::new();
    for n in 0..contacts {
        let addr = match n % 2 {
            0 => stranger(n),
            _ => SocketAddr::from(([0x2001, 0xdb8, n as u16, 0, 0, 0, 0, 1], 6881)),
        };
        node.add_contact(Time::ZERO, addr);
        while let Some(transmit) = node.poll_transmit(&mut buf) {
            let tid = Message::parse(&buf).unwrap().head.tid.to_vec();
            let answer = bench::reply(&tid, &body(Id::random(rng), b""));
            node.handle_datagram(Time::ZERO, transmit.via, transmit.to, &answer);
        }
    }
    for n in 0..peers {
        let from = match n % 2 {
            0 => stranger(0x1000 + n),
            _ => SocketAddr::from(([0x2001, 0xdb9, n as u16, 0, 0, 0, 0, 1], 6881)),
        };
        if let Some(token) = token(&mut node, from) {
            let method = Method::announce_peer(HASH, 1, &token);
            serve(&mut node, Time::ZERO, from, &written(id(9), b"tt", method));
        }
    }
    node
}

fn token(node: &mut Node, from: SocketAddr) -> Option<Vec<u8>> {
    let ask = Method::get_peers(HASH, Want::default());
    let answer = serve(node, Time::ZERO, from, &written(id(9), b"tt", ask))?;
    let Body::Reply(body) = Message::parse(&answer).unwrap().body else { return None };
    GetPeersReply::parse(&body)?.token.map(<[u8]>::to_vec)
}

/// Any query.
fn query(rng: &mut Rng) -> Vec<u8> {
    let want = match rng.below(3) {
        0 => Want::default(),
        1 => Want { v4: false, v6: true },
        _ => Want::BOTH,
    };
    let key = if rng.chance(0.5) { HASH } else { Id::random(rng) };
    let (tid, token) = (vec![7; rng.index(65)], rng.bytes::<8>());
    let method = match rng.below(7) {
        0 => Method::Ping,
        1 => Method::FindNode { target: key, want },
        2 | 3 => Method::get_peers(key, want),
        4 => Method::Unknown { name: b"x", target: Some(key), want },
        5 => Method::Unknown { name: b"x", target: None, want },
        _ => Method::announce_peer(key, 1, &token),
    };
    let bytes = written(Id::random(rng), &tid, method);
    match rng.below(8) {
        // The shortest that gets an answer at all.
        0 => b"d1:t0:1:y1:qe".to_vec(),
        1 => b"d1:ade1:q9:get_peers1:t0:1:y1:qe".to_vec(),
        _ => bytes,
    }
}

/// The nodes and peers of a reply; it is whole.
fn told(answer: &[u8]) -> (usize, usize) {
    match Message::parse(answer).unwrap().body {
        Body::Reply(body) => {
            let reply = GetPeersReply::parse(&body).unwrap();
            (reply.found.nodes().count(), reply.peers().count())
        }
        Body::Error(error) => {
            assert!(error.code >= 201 && !error.text.is_empty());
            (0, 0)
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_larger_than_its_asker_may_get(
        seed in any::<u64>(),
        contacts in 0u32..60,
        peers in 0u32..200,
        factor in 1usize..12,
        bytes_max in 100usize..2_000,
    ) {
        let mut rng = Rng::new(&seed_from_u64(seed));
        let mut config = Config::new(vec![own(), "[2001:db8::1]:6881".parse().unwrap()]);
        config.bucket_subnet_max = 8;
        let defaults = seed % 2 == 0;
        if !defaults {
            (config.reply_factor_max, config.reply_bytes_max) = (factor, bytes_max);
        }
        let (factor, bytes_max) = (config.reply_factor_max, config.reply_bytes_max);
        let mut node = filled(config.unlimited(), &mut rng, contacts, peers);
        let large = node.stats().dropped_large;
        for n in 0..100 {
            let from = match n % 2 {
                0 => stranger(0x8000 + n),
                _ => SocketAddr::from(([0x2001, 0xdba, n as u16, 0, 0, 0, 0, 1], 6881)),
            };
            let bytes = query(&mut rng);
            let answer = serve(&mut node, Time::ZERO, from, &bytes);
            prop_assert!(answer.is_some() || !defaults);
            if let Some(answer) = answer {
                prop_assert!(answer.len() <= bytes_max.min(1_400).min(factor * bytes.len()));
                told(&answer);
            }
        }
        prop_assert!(!defaults || node.stats().dropped_large == large);
    }
}

#[test]
fn peers_give_way_before_nodes_and_a_verified_asker_gets_more() {
    let mut rng = Rng::new(&seed_from_u64(7));
    let mut config = Config::new(vec![own(), "[2001:db8::1]:6881".parse().unwrap()]).unlimited();
    (config.bucket_subnet_max, config.reply_factor_max) = (8, 5);
    let mut node = filled(config, &mut rng, 60, 200);
    let ask = |tid: &[u8], want| written(id(9), tid, Method::get_peers(HASH, want));
    let from = stranger(0x8000);
    let all =
        |node: &mut Node, from, bytes: &[u8]| told(&serve(node, Time::ZERO, from, bytes).unwrap());
    let (nodes, peers) = all(&mut node, from, &ask(b"tt", Want::default()));
    assert!(nodes == 8 && (10..60).contains(&peers), "{nodes} nodes, {peers} peers");
    let (nodes, peers) = all(&mut node, from, &ask(b"tt", Want::BOTH));
    assert!((8..16).contains(&nodes) && peers < 4, "{nodes} nodes, {peers} peers");
    // A token that came back proves that the asker receives there.
    let shown = token(&mut node, from).unwrap();
    let method = Method::announce_peer(HASH, 1, &shown);
    serve(&mut node, Time::ZERO, from, &written(id(9), b"tt", method));
    let (nodes, peers) = all(&mut node, from, &ask(b"tt", Want::BOTH));
    assert!(nodes == 16 && peers > 40, "{nodes} nodes, {peers} peers");
    let other = SocketAddr::new(stranger(0x8001).ip(), from.port());
    assert!(all(&mut node, other, &ask(b"tt", Want::BOTH)).1 < 4, "its neighbours get no more");
}
