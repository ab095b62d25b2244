//! How fast a node asks others: never faster than its [`Config`] says, and all that it was told to do
//! ends nevertheless.
#![allow(clippy::unwrap_used)]

mod bench;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bench::{Asked, Bench, body, id};
use dht::{Config, Event, Timer};
use wire::Id;
use wire::compact::Family;
use wire::rng::{Rng, seed_from_u64};

/// A Global address of its own for each `n`, in a /24 of its own.
fn stranger(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([80 + b, c, d, 9], 1000))
}

fn slow(change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = Config::new(vec!["60.1.1.1:6881".parse().unwrap()]);
    config.query_burst_ms = 1_000;
    change(&mut config);
    Bench::with(config)
}

fn answer(bench: &mut Bench, asked: &Asked, rng: &mut Rng) {
    // Each node tells of two that nobody heard of.
    let told: Vec<String> = (0..2).map(|_| stranger(rng.below(1 << 20)).to_string()).collect();
    let nodes: Vec<(Id, &str)> = told.iter().map(|addr| (Id::random(rng), &addr[..])).collect();
    bench.reply(asked, &body(Id::random(rng), &bench::nodes(&nodes)));
}

#[test]
fn many_lookups_at_once_keep_the_pace_and_all_end() {
    let mut bench = slow(|c| (c.queries_per_sec, c.flows_per_sec) = (60, 20));
    let mut rng = Rng::new(&seed_from_u64(1));
    for n in 0..12 {
        bench.node.bootstrap(bench.now, stranger(n));
    }
    let start = bench.now;
    for n in 0..40 {
        bench.node.get_peers(bench.now, id(n));
    }
    let (mut ended, mut sent, mut contacted) = (0, Vec::new(), BTreeMap::new());
    for _ in 0..6_000 {
        for asked in bench.asked() {
            let last = contacted.insert(asked.to, bench.now);
            let new = last.is_none_or(|last| bench.now.since(last) >= Duration::from_secs(30));
            sent.push((bench.now, new));
            // A third of them is gone.
            if rng.below(3) > 0 {
                answer(&mut bench, &asked, &mut rng);
            }
        }
        let done = |event: &Event| matches!(event, Event::LookupDone { .. });
        if ended == 40 {
            break;
        }
        bench.pass(Duration::from_millis(20));
        ended += bench.events().iter().filter(|event| done(event)).count();
    }
    assert_eq!(ended, 40, "after {:?}", bench.now.since(start));
    assert_eq!(bench.node.held(), 0);
    let stats = *bench.node.stats();
    assert!(stats.queries_held > 100 && stats.queries_refused == 0, "{stats:?}");
    assert_eq!(stats.asked, sent.len() as u64);
    assert_eq!(stats.flows, sent.iter().filter(|(_, new)| *new).count() as u64);
    assert!(stats.asked_bytes > 90 * stats.asked);
    // In every window: what the burst allows and the pace adds.
    for (at, &(from, _)) in sent.iter().enumerate() {
        let in_window = sent[at..].iter().take_while(|(to, _)| to.since(from).as_secs() < 4);
        let (queries, flows) =
            in_window.fold((0, 0), |(q, f), (_, new)| (q + 1, f + usize::from(*new)));
        assert!(queries <= 60 * 5 + 2 && flows <= 20 * 5 + 2, "{queries} queries, {flows} flows");
    }
}

#[test]
fn a_query_that_waited_has_all_its_time_from_then_on() {
    let mut bench = slow(|c| (c.flows_per_sec, c.query_burst_ms) = (1, 10));
    let pings: Vec<_> = (0..8).map(|n| bench.node.ping(bench.now, stranger(n))).collect();
    assert_eq!(bench.asked().len(), 1);
    assert_eq!((bench.node.held(), bench.node.in_flight()), (7, 8));
    assert_eq!(bench.node.poll_timeout().unwrap().1, Timer::Turn);
    // The eighth goes after seven seconds: longer than a query that was sent may take.
    bench.pass(Duration::from_millis(6_995));
    let last = bench.asked().pop().unwrap();
    assert_eq!(last.to, stranger(7));
    bench.pass(Duration::from_millis(100));
    bench.reply(&last, &body(id(3), b""));
    let reply = bench.events().into_iter().find_map(|event| match event {
        Event::PingReply { ping, rtt, .. } => Some((ping, rtt)),
        _ => None,
    });
    let (ping, rtt) = reply.unwrap();
    assert_eq!(ping, pings[7]);
    assert!((100..120).contains(&rtt.as_millis()), "{rtt:?}");
}

#[test]
fn what_nobody_can_wait_for_fails_at_once_and_nobody_is_blamed() {
    let mut bench = slow(|c| {
        (c.queries_per_sec, c.flows_per_sec) = (10, u32::MAX);
        c.queries_held_max = 5;
    });
    for n in 0..40 {
        bench.node.ping(bench.now, stranger(n));
    }
    assert_eq!(bench.asked().len(), 11);
    bench.pass(Duration::from_millis(1));
    let failed: BTreeSet<SocketAddr> = (bench.events().into_iter())
        .map(|event| match event {
            Event::PingFailed { addr, .. } => addr,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(failed, (16..40).map(stranger).collect());
    let stats = bench.node.stats();
    assert_eq!((stats.queries_held, stats.queries_refused, stats.timeouts), (5, 24, 0));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.asked().len(), 5);
}

#[test]
fn a_lookup_ends_even_if_none_of_its_queries_has_a_turn() {
    let mut bench = slow(|c| {
        (c.flows_per_sec, c.query_burst_ms) = (1, 0);
        c.queries_held_max = 0;
    });
    bench.node.ping(bench.now, stranger(100));
    for n in 0..12 {
        bench.node.bootstrap(bench.now, stranger(n));
    }
    let lookup = bench.node.get_peers(bench.now, id(1));
    bench.pass(Duration::from_secs(30));
    let ended =
        |event: &Event| matches!(event, Event::LookupDone { lookup: id, .. } if *id == lookup);
    assert!(bench.events().iter().any(ended));
}

#[test]
fn a_lookup_whose_contacts_have_no_turn_does_not_ask_them_without_end() {
    let mut bench = slow(|c| {
        (c.flows_per_sec, c.query_burst_ms) = (1, 0);
        c.queries_held_max = 0;
    });
    bench.node.add_contact(bench.now, stranger(1));
    let asked = bench.asked().remove(0);
    bench.reply(&asked, &body(id(3), b""));
    bench.node.ping(bench.now, stranger(100));
    let lookup = bench.node.get_peers(bench.now, id(1));
    // Its contact is usable, but for this moment there is no room for a query.
    let refused = bench.node.stats().queries_refused;
    bench.node.handle_timeout(bench.now);
    assert!(bench.node.stats().queries_refused - refused < 4);
    bench.pass(Duration::from_secs(30));
    let ended =
        |event: &Event| matches!(event, Event::LookupDone { lookup: id, .. } if *id == lookup);
    assert!(bench.events().iter().any(ended));
}

#[test]
fn queries_of_a_lookup_that_was_cancelled_are_not_sent() {
    let mut bench = slow(|c| (c.flows_per_sec, c.query_burst_ms) = (2, 0));
    for n in 0..4 {
        bench.node.ping(bench.now, stranger(100 + n));
    }
    let lookup = bench.node.get_peers(bench.now, id(1));
    let held = bench.node.held();
    bench.node.bootstrap(bench.now, stranger(1));
    assert_eq!(bench.node.held(), held + 1);
    bench.node.cancel(bench.now, lookup);
    bench.pass(Duration::from_secs(2));
    let to: Vec<SocketAddr> = bench.asked().iter().map(|asked| asked.to).collect();
    assert_eq!(to.iter().filter(|to| **to == stranger(1)).count(), 1, "by the bootstrap: {to:?}");
    assert_eq!(bench.node.table_len(Family::V4), 0);
}

/// K186.
#[test]
fn a_hundred_thousand_lookups_at_once_all_end() {
    const LOOKUPS: u32 = 100_000;
    let config = Config::new(vec!["60.1.1.1:6881".parse().unwrap()]);
    let mut bench = Bench::with(config.unlimited());
    for n in 1..=2 {
        bench.node.ping(bench.now, stranger(n));
        for asked in bench.asked() {
            bench.reply(&asked, &body(id(n as u8), b""));
        }
    }
    for n in 0..LOOKUPS {
        let [a, b, c, d] = n.to_be_bytes();
        let mut target = id(7);
        target.0[..4].copy_from_slice(&[d, c, b, a]);
        bench.node.get_peers(bench.now, target);
    }
    let asked = bench.asked();
    let tids: BTreeSet<_> = asked.iter().map(|asked| &asked.tid).collect();
    assert_eq!((asked.len(), tids.len()), (2 * LOOKUPS as usize, 2 * LOOKUPS as usize));
    for asked in &asked {
        let n = if asked.to == stranger(1) { 1 } else { 2 };
        bench.reply(asked, &body(id(n), b""));
    }
    let ended =
        bench.events().into_iter().filter(|e| matches!(e, Event::LookupDone { .. })).count();
    assert_eq!((ended, bench.node.in_flight()), (LOOKUPS as usize, 0));
}
