//! What a node makes of answers, honest or not: it asks, and the test answers by hand.
#![allow(clippy::unwrap_used)]

mod bench;

use std::net::SocketAddr;
use std::time::Duration;

use bench::{Asked, Bench, HASH, LOCAL, SEED, body, id, nodes, reply};
use dht::{Config, Event, NodeInfo};
use wire::Id;
use wire::bencode::{Encoder, Limits, Value};
use wire::compact;
use wire::compact::Family;
use wire::krpc::{Body, Message};
use wire::rng::seed_from_u64;

/// K122 to K125.
#[test]
fn an_answer_counts_only_from_the_address_and_with_the_id_that_were_asked() {
    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    let good = reply(&asked.tid, &body(id(1), &nodes(&[(id(2), "71.1.1.1:1")])));
    for from in ["70.1.1.1:1001", "70.1.1.2:1000"] {
        bench.handle(from.parse().unwrap(), &good);
    }
    let mut other_tid = asked.tid.clone();
    other_tid[3] ^= 1;
    for tid in [&other_tid[..], &asked.tid[..3], &[asked.tid.as_slice(), b"x"].concat(), b""] {
        bench.handle(asked.to, &reply(tid, &body(id(1), b"")));
    }
    assert_eq!(bench.node.stats().dropped_unsolicited, 6);
    assert!(bench.asked().is_empty());
    bench.handle(asked.to, &good);
    assert_eq!(bench.node.stats().answered, 1);
    bench.handle(asked.to, &good);
    assert_eq!(bench.node.stats().dropped_unsolicited, 7, "K125: a duplicate");
    assert_eq!(bench.node.contacts().len(), 1);

    // K124: the next one was told to be id 2 and answers as another.
    let asked = bench.asked().into_iter().find(|a| a.to == "71.1.1.1:1".parse().unwrap()).unwrap();
    bench.reply(&asked, &body(id(9), b""));
    assert_eq!(bench.node.stats().dropped_wrong_id, 1);
    assert_eq!(bench.node.contacts().len(), 1);
}

/// As who started anew without what it knew: else two who know nobody else would have lost each other.
#[test]
fn a_contact_that_answers_under_another_id_is_listed_as_that() {
    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    bench.reply(&asked, &body(id(1), b""));
    let listed =
        |bench: &Bench| bench.node.contacts().iter().map(|c| c.node.id).collect::<Vec<_>>();
    assert_eq!(listed(&bench), [id(1)]);
    for new in [9, 8] {
        // Until it is asked again.
        let asked = loop {
            bench.pass(Duration::from_secs(1));
            let to_it = |asked: &Asked| asked.to == SEED.parse().unwrap();
            if let Some(asked) = bench.asked().into_iter().find(to_it) {
                break asked;
            }
        };
        bench.reply(&asked, &body(id(new), b""));
        assert_eq!(listed(&bench), [id(new)]);
    }
    assert_eq!(bench.node.stats().dropped_wrong_id, 2);
}

/// K126, K127.
#[test]
fn a_late_answer_counts_until_the_query_failed() {
    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    bench.pass(Duration::from_millis(3900));
    bench.reply(&asked, &body(id(1), b""));
    assert_eq!((bench.node.stats().answered, bench.node.stats().timeouts), (1, 0));

    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    bench.pass(Duration::from_millis(4100));
    bench.reply(&asked, &body(id(1), b""));
    // The bootstrap had asked the same node.
    assert_eq!((bench.node.stats().answered, bench.node.stats().timeouts), (0, 2));
    assert!(bench.node.contacts().is_empty());
}

/// K128 to K130, K134, K135, K139, K140.
#[test]
fn replies_of_any_shape_do_no_harm() {
    for fields in [
        &b""[..],
        b"5:nodes25:xxxxxxxxxxxxxxxxxxxxxxxxx",
        b"5:nodes27:xxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"5:nodesi1e6:nodes6le",
        b"6:values3:abc",
        b"6:valuesl19:1234567890123456789e",
        b"6:valuesl5:abcde7:abcdefgi1elee",
        b"5:tokeni1e",
        b"5:token0:",
    ] {
        let mut bench = Bench::new();
        let (lookup, asked) = bench.lookup_from(SEED);
        bench.reply(&asked, &body(id(1), fields));
        assert!(bench.events().iter().any(|e| matches!(
            e,
            Event::LookupDone { lookup: id, answered: 1, peers_found: 0, .. } if *id == lookup
        )));
    }
    for bad in [&b"de"[..], b"d2:idi1ee", b"d2:id19:1234567890123456789e", b"d2:id0:e"] {
        let mut bench = Bench::new();
        let (_, asked) = bench.lookup_from(SEED);
        bench.reply(&asked, bad);
        assert_eq!(bench.node.stats().dropped_bad_reply, 1);
        assert!(bench.node.contacts().is_empty());
    }
    for e in ["le", "li203ee", "l1:xi1ee", "3:abc", "de", "li-1e0:e"] {
        let mut bench = Bench::new();
        let (_, asked) = bench.lookup_from(SEED);
        let head = format!("d1:e{e}1:t4:");
        bench.handle(asked.to, &[head.as_bytes(), &asked.tid, b"1:y1:ee"].concat());
        assert_eq!(bench.node.stats().errors, 1, "{e}");
        assert!(bench.asked().iter().all(|a| a.to == asked.to));
    }
}

/// K132, K133.
#[test]
fn nodes_that_cannot_be_are_not_asked() {
    let mut bench = Bench::new();
    let own = bench.node.id();
    let (_, asked) = bench.lookup_from(SEED);
    let list = nodes(&[
        (id(2), "0.0.0.0:1"),
        (id(3), "1.2.3.4:0"),
        (id(4), "224.1.1.1:1"),
        (id(5), "127.0.0.1:1"),
        (id(6), "192.168.1.1:1"),
        (id(7), "60.1.1.1:6881"),
        (own, "71.1.1.1:1"),
        (id(8), "72.1.1.1:1"),
        (id(9), "72.1.1.1:2"),
    ]);
    bench.reply(&asked, &body(id(1), &list));
    let told: Vec<_> = bench.asked().iter().map(|a| a.to.to_string()).collect();
    assert_eq!(told, ["72.1.1.1:2"], "of one IP address the closest");
    assert_eq!(bench.node.stats().refused_nodes, 7);
}

#[test]
fn of_one_v6_network_only_the_closest_node_is_asked() {
    let mut bench = Bench::with(Config::new(vec!["[2001:db8::1]:6881".parse().unwrap()]));
    let (_, asked) = bench.lookup_from("[2001:db8:9::1]:1");
    let mut list = Vec::new();
    for (n, addr) in
        ["[2001:db8:7::1]:1", "[2001:db8:7::2]:1", "[2001:db8:8::1]:1"].iter().enumerate()
    {
        compact::put_node(&mut list, &id(0x70 + n as u8), &addr.parse().unwrap());
    }
    let fields = [format!("6:nodes6{}:", list.len()).as_bytes(), &list].concat();
    bench.reply(&asked, &body(id(1), &fields));
    let mut told: Vec<_> = bench.asked().iter().map(|a| a.to.to_string()).collect();
    told.sort();
    told.dedup();
    assert_eq!(told, ["[2001:db8:7::2]:1", "[2001:db8:8::1]:1"]);
}

#[test]
fn local_nodes_and_peers_are_taken_from_local_sources_only() {
    let values = b"6:valuesl6:\x0a\0\0\x01\x1a\xe16:\x47\x01\x01\x01\x1a\xe16:\0\0\0\0\x1a\xe1e";
    for (seed, expected) in
        [(SEED, vec!["71.1.1.1:6881"]), ("10.9.9.9:9", vec!["10.0.0.1:6881", "71.1.1.1:6881"])]
    {
        let mut bench = Bench::new();
        let (_, asked) = bench.lookup_from(seed);
        bench.reply(&asked, &body(id(1), values));
        let peers = bench.events().into_iter().find_map(|event| match event {
            Event::PeersFound { peers, .. } => Some(peers),
            _ => None,
        });
        let peers: Vec<_> = peers.unwrap().iter().map(SocketAddr::to_string).collect();
        assert_eq!(peers, expected);
    }
}

/// K131, K136.
#[test]
fn a_flood_of_nodes_or_values_is_bounded() {
    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    let addrs: Vec<_> = (0..1000).map(|n| format!("71.{}.{}.1:1", n / 200, n % 200)).collect();
    let many: Vec<_> = addrs
        .iter()
        .enumerate()
        .map(|(n, addr)| (Id([(n % 251) as u8; 20]), addr.as_str()))
        .collect();
    bench.reply(&asked, &body(id(1), &nodes(&many)));
    assert!(bench.asked().len() <= 8);
    assert!(bench.node.in_flight() <= 8);

    let mut bench = Bench::new();
    let (_, asked) = bench.lookup_from(SEED);
    let values: Vec<u8> = (0..10_000u32)
        .flat_map(|n| [b"6:G", &n.to_be_bytes()[1..], b"\x1a\xe1"].concat())
        .collect();
    let fields = [b"6:valuesl", &values[..60_000], b"e"].concat();
    bench.reply(&asked, &body(id(1), &fields[..]));
    assert_eq!(bench.node.stats().dropped_bencode, 1, "more than 500 items");
}

/// K137 to K139.
#[test]
fn announces_show_each_node_its_own_token() {
    let mut bench = Bench::new();
    bench.node.bootstrap(bench.now, SEED.parse().unwrap());
    let lookup = bench.node.announce(bench.now, HASH, Some(4000), false);
    let long = [&b"5:token129:"[..], &[7; 129]].concat();
    let told = nodes(&[
        (id(2), "71.1.1.1:1"),
        (id(3), "72.1.1.1:1"),
        (id(4), "73.1.1.1:1"),
        (id(5), "74.1.1.1:1"),
    ]);
    let mut announced = Vec::new();
    for _ in 0..5 {
        for asked in bench.asked() {
            if asked.method == "announce_peer" {
                announced.push(asked);
                continue;
            }
            let (n, fields) = match asked.to.to_string().as_str() {
                SEED => (1, [&told[..], b"5:token3:one"].concat()),
                "71.1.1.1:1" => (2, b"5:token20:\0\xff345678901234567890".to_vec()),
                "72.1.1.1:1" => (3, vec![]),
                "73.1.1.1:1" => (4, long.clone()),
                _ => (5, b"5:token0:".to_vec()),
            };
            bench.reply(&asked, &body(id(n), &fields));
        }
    }
    announced.sort_by_key(|asked| asked.to);
    let tokens: Vec<_> =
        announced.iter().map(|a| (a.to.to_string(), a.token.clone().unwrap())).collect();
    let expected = [
        (SEED.to_string(), b"one".to_vec()),
        ("71.1.1.1:1".to_string(), b"\0\xff345678901234567890".to_vec()),
        ("74.1.1.1:1".to_string(), vec![]),
    ];
    assert_eq!(tokens, expected);
    assert!(announced.iter().all(|a| a.port == Some(4000)));

    bench.reply(&announced[0], &body(id(1), b""));
    let head = b"d1:eli203e3:bade1:t4:";
    bench.handle(announced[1].to, &[&head[..], &announced[1].tid, b"1:y1:ee"].concat());
    assert!(!bench.events().iter().any(|e| matches!(e, Event::Announced { .. })));
    bench.pass(Duration::from_secs(5));
    let done = Event::Announced { lookup, info_hash: HASH, accepted: 1 };
    assert!(bench.events().contains(&done));
}

/// K173, K187.
#[test]
fn no_guess_of_a_transaction_id_is_accepted_and_none_follows_from_another() {
    let mut bench = Bench::new();
    let to: SocketAddr = SEED.parse().unwrap();
    let mut tids = Vec::new();
    for _ in 0..2000 {
        bench.node.ping(bench.now, to);
        tids.extend(
            bench.asked().into_iter().map(|a| u32::from_be_bytes(a.tid.try_into().unwrap())),
        );
    }
    let mut distinct = tids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 2000);
    // Each of the 16 top values comes about 125 times: chi-square of 15 degrees below 0.1 %.
    let mut counts = [0f64; 16];
    for tid in &tids {
        counts[(tid >> 28) as usize] += 1.0;
    }
    let chi: f64 = counts.iter().map(|n| (n - 125.0) * (n - 125.0) / 125.0).sum();
    assert!(chi < 37.7, "{chi}");
    for guess in 0..=u16::MAX {
        let tid = u32::from(guess);
        if !tids.contains(&tid) {
            bench.handle(to, &reply(&tid.to_be_bytes(), &body(id(1), b"")));
        }
    }
    assert_eq!((bench.node.stats().answered, bench.node.contacts().len()), (0, 0));
}

#[test]
fn a_node_that_asks_is_listed_once_it_answered() {
    let mut bench = Bench::new();
    let from: SocketAddr = "70.1.1.1:5".parse().unwrap();
    let query = [&b"d1:ad2:id20:"[..], &id(1).0, b"e1:q4:ping1:t2:aa1:y1:qe"].concat();
    let pings = |bench: &mut Bench| {
        bench.handle(from, &query);
        let (mut buf, mut pings) = (Vec::new(), Vec::new());
        while bench.node.poll_transmit(&mut buf).is_some() {
            if let Body::Query(_) = Message::parse(&buf).unwrap().body {
                pings.push(Message::parse(&buf).unwrap().head.tid.to_vec());
            }
        }
        pings
    };
    let first = pings(&mut bench);
    assert_eq!(first.len(), 1);
    assert!(pings(&mut bench).is_empty(), "one ping at a time");
    assert!(bench.node.contacts().is_empty());
    bench.pass(Duration::from_secs(5));
    let again = pings(&mut bench);
    assert_eq!(again.len(), 1, "it did not answer, and asked again");
    bench.handle(from, &reply(&again[0], &body(id(1), b"")));
    let told = bench.node.closest(Family::V4, &HASH, 8);
    assert_eq!(told, [NodeInfo { id: id(1), addr: from }]);
    assert!(pings(&mut bench).is_empty());
}

#[test]
fn a_lookup_goes_on_when_its_bootstrap_contact_comes_up() {
    let mut bench = Bench::new();
    let (lookup, asked) = bench.lookup_from(SEED);
    bench.asked();
    bench.pass(Duration::from_millis(4500));
    assert!(bench.node.progress(lookup).unwrap().waiting);
    // The bootstrap asks again; this time it is answered.
    bench.pass(Duration::from_secs(2));
    let again = bench.asked();
    assert_eq!((again.len(), again[0].method.as_str(), again[0].to), (1, "find_node", asked.to));
    bench.reply(&again[0], &body(id(1), b""));
    let resumed = bench.asked();
    assert!(resumed.iter().any(|a| a.method == "get_peers"), "{resumed:?}");
    let value = b"6:valuesl6:\x47\x01\x01\x01\x1a\xe1e";
    for asked in resumed {
        bench.reply(&asked, &body(id(1), value));
    }
    let events = bench.events();
    assert!(events.iter().any(|e| matches!(e, Event::PeersFound { .. })), "{events:?}");
    assert!(events.iter().any(|e| matches!(e, Event::LookupDone { answered: 1, .. })));
}

#[test]
fn a_family_without_answers_does_not_hold_the_other_up() {
    let sockets = vec!["60.1.1.1:6881".parse().unwrap(), "[2001:db8::1]:6881".parse().unwrap()];
    let mut bench = Bench::with(Config::new(sockets));
    bench.node.bootstrap(bench.now, SEED.parse().unwrap());
    // One v4 node answers, and names forty v6 nodes that do not.
    let mut six = Vec::new();
    for n in 0..40u16 {
        let addr = SocketAddr::from(([0x2001, 0xdb8, n + 2, 0, 0, 0, 0, 1], 1));
        compact::put_node(&mut six, &Id([n as u8; 20]), &addr);
    }
    let mut fields = Vec::new();
    let mut encoder = Encoder::new(&mut fields);
    encoder.bytes(b"nodes6");
    encoder.bytes(&six);
    bench.pass(Duration::ZERO);
    let asked = bench.asked();
    bench.reply(&asked[0], &body(id(1), &fields));
    let start = bench.now;
    while !bench.node.is_bootstrapped() {
        bench.asked();
        bench.pass(Duration::from_millis(50));
        assert!(bench.now.since(start) < Duration::from_secs(2));
    }
}

#[test]
fn arbitrary_datagrams_leave_the_node_alive() {
    let mut bench = Bench::new();
    let mut rng = wire::rng::Rng::new(&seed_from_u64(3));
    let good = [
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe".to_vec(),
        reply(b"abcd", &body(id(1), &nodes(&[(id(2), "71.1.1.1:1")]))),
    ];
    for round in 0..20_000 {
        let mut bytes = good[round % 2].clone();
        for _ in 0..rng.below(4) {
            let at = rng.index(bytes.len());
            bytes[at] = rng.u32() as u8;
        }
        bytes.truncate(rng.index(bytes.len() + 20).max(1));
        bench.handle(SocketAddr::from((rng.bytes::<4>(), rng.u32() as u16)), &bytes);
        let mut buf = Vec::new();
        while bench.node.poll_transmit(&mut buf).is_some() {
            assert!(Value::parse(&buf, Limits::KRPC).is_ok());
        }
        bench.pass(Duration::from_millis(10));
    }
    assert_eq!(bench.node.stats().received, 20_000);
    assert!(bench.node.in_flight() <= 64);
}

#[test]
fn what_cannot_be_sent_fails_at_once() {
    let mut bench = Bench::new();
    let to: SocketAddr = SEED.parse().unwrap();
    let ping = bench.node.ping(bench.now, to);
    let other = bench.node.ping(bench.now, "71.1.1.1:1".parse().unwrap());
    bench.asked();
    bench.node.handle_unreachable(bench.now, LOCAL, to);
    bench.node.handle_unreachable(bench.now, LOCAL, to);
    assert_eq!(bench.events(), [Event::PingFailed { ping, addr: to }]);
    assert_eq!((bench.node.stats().unreachable, bench.node.in_flight()), (1, 1));
    bench.pass(Duration::from_secs(5));
    assert!(matches!(bench.events()[..], [Event::PingFailed { ping, .. }] if ping == other));
}

#[test]
fn a_lookup_whose_only_contact_is_unreachable_waits_and_ends() {
    let mut bench = Bench::new();
    let contact: SocketAddr = SEED.parse().unwrap();
    bench.node.add_contact(bench.now, contact);
    let asked = bench.asked().remove(0);
    bench.reply(&asked, &body(id(3), b""));
    bench.events();
    let lookup = bench.node.get_peers(bench.now, HASH);
    // The network is down: the system refuses whatever is sent, at once.
    let mut refused = 0;
    let end = bench.now + Duration::from_secs(60);
    while bench.now < end {
        for asked in bench.asked() {
            bench.node.handle_unreachable(bench.now, asked.via, asked.to);
            refused += 1;
        }
        bench.now = bench.node.poll_timeout().map_or(end, |(at, _)| at.clamp(bench.now, end));
        bench.node.handle_timeout(bench.now);
    }
    assert!(refused < 100, "{refused} queries");
    let ended =
        |event: &Event| matches!(event, Event::LookupDone { lookup: id, .. } if *id == lookup);
    assert_eq!(bench.events().iter().filter(|event| ended(event)).count(), 1);
}

#[test]
fn a_node_that_has_joined_refreshes_one_bucket_at_a_time() {
    let mut bench = Bench::new();
    bench.node.bootstrap(bench.now, SEED.parse().unwrap());
    let own = bench.node.id();
    // Whom it asks knows some at every distance.
    let known: Vec<(Id, String)> = (0..12u8)
        .map(|n| {
            let mut id = own;
            id.set_bit(u32::from(n), !own.bit(u32::from(n)));
            (id, format!("71.{n}.1.1:1"))
        })
        .collect();
    let told: Vec<(Id, &str)> = known.iter().map(|(id, addr)| (*id, &addr[..])).collect();
    let end = bench.now + Duration::from_secs(20);
    while bench.now < end {
        loop {
            let all = bench.asked();
            if all.is_empty() {
                break;
            }
            for asked in all {
                let addr = asked.to.to_string();
                let found = known.iter().find(|(_, known)| *known == addr);
                bench.reply(&asked, &body(found.map_or(id(3), |(id, _)| *id), &nodes(&told)));
            }
        }
        bench.now = bench.node.poll_timeout().unwrap().0.max(bench.now);
        bench.node.handle_timeout(bench.now);
        let (due, timer) = bench.node.poll_timeout().unwrap();
        assert!(due > bench.now, "{timer:?} is due again at once");
    }
    assert!(bench.node.is_bootstrapped() && bench.node.table_len(Family::V4) > 10);
}
