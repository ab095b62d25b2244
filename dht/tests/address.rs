//! Ids and addresses (BEP 42): the rows K119 to K121 of the project's matrix.
#![allow(clippy::unwrap_used)]

mod bench;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bench::{Asked, Bench, LOCAL};
use dht::{Config, Event, Node, Snapshot, fits, make_id};
use wire::compact::Family;
use wire::krpc::{Body, Error, Head, Message, Method, Query, Reply};
use wire::rng::{Rng, seed_from_u64};
use wire::{Id, NodeId};

const OWN: &str = "60.1.1.1:6881";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A Global address in a /16 of its own for each `n`.
fn stranger(n: u8) -> SocketAddr {
    SocketAddr::from(([80, n, 9, 9], 1000))
}

fn bench() -> Bench {
    Bench::with(Config::new(vec![OWN.parse().unwrap()]))
}

/// A reply that says at which address its sender sees us.
fn reply(tid: &[u8], id: NodeId, seen: IpAddr) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head { tid, ip: Some(SocketAddr::new(seen, 6881)), ..Head::default() };
    Reply { id, nodes: Some(&[]), ..Reply::default() }.encode(&head, &mut out);
    out
}

/// Lets the node ask `from`, and answers that and all else that goes there; `from` says `seen`.
fn vote(bench: &mut Bench, from: SocketAddr, id: NodeId, seen: IpAddr) {
    bench.node.ping(bench.now, from);
    loop {
        let asked: Vec<Asked> = bench.asked().into_iter().filter(|a| a.to == from).collect();
        if asked.is_empty() {
            return;
        }
        for asked in asked {
            bench.handle(from, &reply(&asked.tid, id, seen));
        }
    }
}

fn told(bench: &mut Bench) -> Vec<IpAddr> {
    let address = |event| match event {
        Event::ExternalAddress { ip } => Some(ip),
        _ => None,
    };
    bench.events().into_iter().filter_map(address).collect()
}

#[test]
fn many_replies_of_one_address_change_nothing() {
    let mut bench = bench();
    let before = bench.node.id();
    for n in 0..100 {
        vote(&mut bench, stranger(1), Id([n + 1; 20]), ip("99.9.9.9"));
    }
    assert!(bench.node.stats().votes >= 100);
    assert_eq!((bench.node.id(), told(&mut bench)), (before, vec![]), "K121");
}

#[test]
fn who_comes_by_itself_has_no_vote() {
    let mut bench = bench();
    let mut rng = Rng::new(&seed_from_u64(4));
    let before = bench.node.id();
    for n in 0..60 {
        let (from, id) = (stranger(n), Id::random(&mut rng));
        let mut ping = Vec::new();
        let head = Head { tid: b"tt", ..Head::default() };
        Query { id, method: Method::Ping }.encode(&head, &mut ping);
        bench.handle(from, &ping);
        assert!(bench.node.poll_transmit(&mut ping).is_some(), "an answer");
        let asked = bench.asked();
        assert_eq!((asked.len(), asked[0].to), (1, from), "it is asked in return");
        bench.handle(from, &reply(&asked[0].tid, id, ip("99.9.9.9")));
    }
    assert!(bench.node.table_len(Family::V4) > 25);
    assert_eq!((bench.node.id(), told(&mut bench)), (before, vec![]));
}

#[test]
fn replies_of_25_networks_give_an_id_that_fits_and_keep_the_contacts() {
    let mut bench = bench();
    let mut rng = Rng::new(&seed_from_u64(1));
    let before = bench.node.id();
    assert!(!fits(&before, ip("99.9.9.9")));
    for n in 1..25 {
        vote(&mut bench, stranger(n), Id::random(&mut rng), ip("99.9.9.9"));
    }
    let contacts = bench.node.contacts();
    assert_eq!((bench.node.id(), told(&mut bench)), (before, vec![]));
    vote(&mut bench, stranger(25), Id::random(&mut rng), ip("99.9.9.9"));
    let id = bench.node.id();
    assert_eq!(told(&mut bench), [ip("99.9.9.9")], "K121");
    assert!(fits(&id, ip("99.9.9.9")) && id != before);
    // All contacts are there, as good as they were.
    for contact in contacts {
        let now = bench.node.contacts().into_iter().find(|c| c.node == contact.node);
        assert_eq!(now, Some(contact));
    }
    // Its new neighbours are looked for, and it is not asked by itself.
    bench.pass(Duration::from_secs(1));
    assert!(bench.asked().iter().any(|asked| asked.method == "find_node"));
    let mut ping = Vec::new();
    let head = Head { tid: b"tt", ..Head::default() };
    Query { id: Id([9; 20]), method: Method::Ping }.encode(&head, &mut ping);
    bench.handle("99.9.9.9:6881".parse().unwrap(), &ping);
    assert!(bench.asked().is_empty());
    // More of the same, and some who say otherwise, change nothing.
    for n in 26..60 {
        let seen = if n % 4 == 0 { "98.8.8.8" } else { "99.9.9.9" };
        vote(&mut bench, stranger(n), Id::random(&mut rng), ip(seen));
    }
    assert_eq!((bench.node.id(), told(&mut bench)), (id, vec![]));
    // The next run begins with it.
    let saved = Snapshot::decode(&bench.node.snapshot().encode()).unwrap();
    assert_eq!(saved.own[0].id, id);
    let config = Config::new(vec![OWN.parse().unwrap()]);
    let mut node = Node::new(config, &seed_from_u64(9), bench.now);
    node.restore(bench.now, &saved);
    assert_eq!(node.id(), id);
}

#[test]
fn an_id_that_fits_is_kept_and_so_is_what_the_caller_said() {
    let mut rng = Rng::new(&seed_from_u64(1));
    let fitting = make_id(ip("99.9.9.9"), &mut rng);
    let config = Config { id: Some(fitting), ..Config::new(vec![OWN.parse().unwrap()]) };
    let mut learns = Bench::with(config.clone());
    let mut knows = Bench::with(Config { external_ip: Some(ip("99.9.9.9")), ..config });
    for n in 1..40 {
        vote(&mut learns, stranger(n), Id::random(&mut rng), ip("99.9.9.9"));
        vote(&mut knows, stranger(n), Id::random(&mut rng), ip("98.8.8.8"));
    }
    assert_eq!((learns.node.id(), told(&mut learns)), (fitting, vec![ip("99.9.9.9")]));
    assert_eq!((knows.node.id(), told(&mut knows)), (fitting, vec![]));
}

#[test]
fn local_nodes_and_local_addresses_have_no_vote() {
    let mut bench = bench();
    let mut rng = Rng::new(&seed_from_u64(1));
    let before = bench.node.id();
    for n in 1..60 {
        vote(&mut bench, stranger(n), Id::random(&mut rng), ip("192.168.0.7"));
        let neighbour = SocketAddr::from(([10, n, 9, 9], 1000));
        vote(&mut bench, neighbour, Id::random(&mut rng), ip("99.9.9.9"));
    }
    assert_eq!((bench.node.id(), told(&mut bench)), (before, vec![]));
}

#[test]
fn only_answers_to_our_queries_are_votes() {
    let mut bench = bench();
    let mut rng = Rng::new(&seed_from_u64(1));
    let before = bench.node.id();
    for n in 1..60 {
        let tid = rng.bytes::<4>();
        bench.handle(stranger(n), &reply(&tid, Id::random(&mut rng), ip("99.9.9.9")));
    }
    assert_eq!((bench.node.id(), bench.node.stats().votes), (before, 0));
    // A refusal is an answer: a node that enforces ids tells us our address by it.
    for n in 1..26 {
        bench.node.ping(bench.now, stranger(n));
        for asked in bench.asked() {
            let seen = Some(SocketAddr::new(ip("99.9.9.9"), 1));
            let (mut out, head) =
                (Vec::new(), Head { tid: &asked.tid, ip: seen, ..Head::default() });
            Error { code: 203, text: b"id" }.encode(&head, &mut out);
            bench.handle(asked.to, &out);
        }
    }
    assert!(fits(&bench.node.id(), ip("99.9.9.9")));
}

#[test]
fn who_enforces_ids_answers_all_and_lists_those_that_fit() {
    let mut config = Config::new(vec![OWN.parse().unwrap()]);
    config.enforce_ids = true;
    let mut bench = Bench::with(config);
    let mut rng = Rng::new(&seed_from_u64(1));
    let from = stranger(1);
    for (id, listed) in [(Id::random(&mut rng), 0), (make_id(from.ip(), &mut rng), 1)] {
        let mut query = Vec::new();
        let head = Head { tid: b"tt", ..Head::default() };
        Query { id, method: Method::Ping }.encode(&head, &mut query);
        bench.handle(from, &query);
        let (mut buf, mut answers, mut pings) = (Vec::new(), 0, Vec::new());
        while bench.node.poll_transmit(&mut buf).is_some() {
            match Message::parse(&buf).unwrap() {
                Message { body: Body::Reply(_), .. } => answers += 1,
                Message { head, .. } => pings.push(head.tid.to_vec()),
            }
        }
        assert_eq!((answers, pings.len()), (1, 1), "K119");
        bench.node.handle_datagram(bench.now, LOCAL, from, &reply(&pings[0], id, ip("60.1.1.1")));
        assert_eq!(bench.node.table_len(Family::V4), listed, "K119");
    }
}

#[test]
fn who_enforces_ids_asks_no_node_in_a_lookup_whose_id_does_not_fit() {
    let config = Config::new(vec![OWN.parse().unwrap()]);
    let mut bench = Bench::with(Config { enforce_ids: true, ..config });
    let (_, asked) = bench.lookup_from(bench::SEED);
    let fitting = make_id(stranger(1).ip(), &mut Rng::new(&seed_from_u64(1)));
    let list = bench::nodes(&[
        (fitting, &stranger(1).to_string()),
        (fitting, &stranger(2).to_string()),
        (Id([9; 20]), &stranger(3).to_string()),
    ]);
    bench.reply(&asked, &bench::body(bench::id(1), &list));
    let told: Vec<_> = bench.asked().iter().map(|asked| asked.to).collect();
    assert_eq!((told, bench.node.stats().refused_nodes), (vec![stranger(1)], 2));
    // Nor is one that leads there counted.
    bench.pass(Duration::from_secs(5));
    let done = |event| match event {
        Event::LookupDone { closest, answered, .. } => Some((closest, answered)),
        _ => None,
    };
    assert_eq!(bench.events().into_iter().find_map(done), Some((vec![], 1)));
}

#[test]
fn every_answer_tells_the_asker_its_address() {
    let config = Config::new(vec![OWN.parse().unwrap(), "[2001:db8::1]:6881".parse().unwrap()]);
    let mut bench = Bench::with(config);
    for from in ["80.1.1.1:4000", "[2001:db8::5]:4000"] {
        let from: SocketAddr = from.parse().unwrap();
        let via = dht::SocketId(u8::from(from.is_ipv6()));
        for query in [
            &b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi1e1:t2:aa1:y1:qe"[..],
            b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        ] {
            bench.node.handle_datagram(bench.now, via, from, query);
            let mut buf = Vec::new();
            assert!(bench.node.poll_transmit(&mut buf).is_some());
            assert_eq!(Message::parse(&buf).unwrap().head.ip, Some(from), "K120");
        }
    }
}
