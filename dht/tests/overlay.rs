//! Nodes that find each other, and what they announce.

#![allow(clippy::unwrap_used)]

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, Event, NodeInfo, Snapshot};
use net::Net;
use wire::compact::Family;
use wire::rng::{Rng, seed_from_u64};
use wire::{Id, InfoHash};

fn hash(n: u64) -> InfoHash {
    Id::random(&mut Rng::new(&seed_from_u64(1000 + n)))
}

fn is_done(event: &Event) -> bool {
    matches!(event, Event::LookupDone { .. })
}

fn is_announced(event: &Event) -> bool {
    matches!(event, Event::Announced { .. })
}

fn peers(events: &[Event]) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for event in events {
        if let Event::PeersFound { peers, .. } = event {
            all.extend(peers);
        }
    }
    all.sort();
    all
}

#[test]
fn two_nodes_find_each_other() {
    let mut net = Net::joined(2);
    let ids: Vec<_> = net.hosts.iter().map(|h| h.node.id()).collect();
    for (index, other) in [(0, 1), (1, 0)] {
        let contacts = net.node(index).contacts();
        assert_eq!(contacts.len(), 1);
        let addr = net.addr(other);
        assert_eq!(contacts[0].node, NodeInfo { id: ids[other], addr });
        assert!(net.hosts[index].events.contains(&Event::Bootstrapped { contacts: 1 }));
    }
}

#[test]
fn fifty_nodes_all_find_what_was_announced() {
    let mut net = Net::joined(50);
    net.command(7, |node, now| node.announce(now, hash(1), Some(4000), false));
    net.run_until(7, is_announced);
    net.command(8, |node, now| node.announce(now, hash(1), None, false));
    net.run_until(8, is_announced);
    let accepted = net.take_events(8).into_iter().find_map(|e| match e {
        Event::Announced { accepted, .. } => Some(accepted),
        _ => None,
    });
    assert_eq!(accepted, Some(8));

    let mut expected: Vec<SocketAddr> = vec!["10.0.0.7:4000".parse().unwrap(), net.addr(8)];
    expected.sort();
    let mut times = Vec::new();
    for index in 0..50 {
        net.take_events(index);
        net.command(index, |node, now| node.get_peers(now, hash(1)));
        times.push(net.run_until(index, is_done));
        assert_eq!(peers(&net.take_events(index)), expected, "node {index}");
    }
    // A round trip is 40 ms here: no timer stands in the way.
    times.sort();
    assert!(times[25] <= Duration::from_millis(200), "{times:?}");
    assert!(times[49] <= Duration::from_millis(320), "{times:?}");
}

/// Looks for 20 targets, each from another node, and counts those whose closest were not found.
fn wrong_lookups(net: &mut Net) -> usize {
    let mut wrong = 0;
    for n in 0..20 {
        let target = hash(n);
        let index = n as usize % net.hosts.len();
        let mut all: Vec<_> = net
            .hosts
            .iter()
            .map(|h| h.node.id())
            .filter(|id| *id != net.hosts[index].node.id())
            .collect();
        all.sort_by_key(|id| id.distance(&target));
        all.truncate(8);
        net.take_events(index);
        net.command(index, |node, now| node.find_node(now, target));
        net.run_until(index, is_done);
        let Some(Event::LookupDone { closest, .. }) = net.take_events(index).pop() else {
            panic!()
        };
        let closest: Vec<_> = closest.into_iter().map(|node| node.id).collect();
        wrong += usize::from(closest != all);
    }
    wrong
}

#[test]
fn a_lookup_returns_the_closest_of_all() {
    let mut net = Net::joined(60);
    assert_eq!(wrong_lookups(&mut net), 0);
}

#[test]
fn nodes_that_start_at_the_same_moment_know_each_other_soon() {
    for count in [12, 20, 32, 50, 80] {
        let mut net = Net::started_together(count);
        net.run_for(Duration::from_secs(3));
        assert_eq!(wrong_lookups(&mut net), 0, "of {count} nodes");
    }
}

#[test]
fn who_was_deaf_at_first_is_joined_though_others_have_come_to_us() {
    let mut net = Net::new();
    let founder = net.add();
    net.hosts[founder].up = false;
    let first = net.add();
    let (now, to) = (net.now, net.addr(founder));
    net.node(first).bootstrap(now, to);
    // Others come by the first, and with them it has an overlay, but the wrong one.
    for _ in 0..12 {
        let index = net.add();
        let (now, to) = (net.now, net.addr(first));
        net.node(index).bootstrap(now, to);
    }
    net.run_for(Duration::from_secs(10));
    assert!(net.node(first).is_bootstrapped());
    net.hosts[founder].up = true;
    net.run_for(Duration::from_secs(30));
    assert!(net.node(founder).table_len(Family::V4) >= 8, "the overlays are one");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut net = Net::joined(20);
        net.command(3, |node, now| node.announce(now, hash(3), Some(1), false));
        net.run_for(Duration::from_secs(1800));
        net.command(4, |node, now| node.get_peers(now, hash(3)));
        net.run_for(Duration::from_secs(10));
        net.log
    };
    let (a, b) = (run(), run());
    assert!(a.len() > 1000);
    assert!(a == b);
}

#[test]
fn dead_nodes_do_not_stop_a_lookup() {
    let mut net = Net::joined(40);
    net.command(1, |node, now| node.announce(now, hash(5), Some(4000), false));
    net.run_until(1, is_announced);
    for index in (2..40).step_by(3) {
        net.hosts[index].up = false;
    }
    net.take_events(0);
    net.command(0, |node, now| node.get_peers(now, hash(5)));
    let time = net.run_until(0, is_done);
    assert_eq!(peers(&net.take_events(0)), ["10.0.0.1:4000".parse().unwrap()]);
    assert!(time < Duration::from_millis(1500), "{time:?}");
}

#[test]
fn dead_contacts_are_forgotten_and_no_longer_told() {
    let mut net = Net::joined(12);
    for index in 6..12 {
        net.hosts[index].up = false;
    }
    net.run_for(Duration::from_secs(40 * 60));
    for index in 0..6 {
        let told = net.node(index).closest(Family::V4, &hash(0), 20);
        assert_eq!(told.len(), 5, "node {index}");
    }
}

#[test]
fn a_cold_lookup_asks_its_bootstrap_contact_first() {
    let mut net = Net::joined(20);
    net.command(2, |node, now| node.announce(now, hash(6), Some(4000), false));
    net.run_until(2, is_announced);
    let first = net.addr(0);
    let index = net.add();
    let lookup = net.command(index, |node, now| {
        node.bootstrap(now, first);
        node.get_peers(now, hash(6))
    });
    let time = net.run_until(index, is_done);
    assert_eq!(peers(&net.take_events(index)), ["10.0.0.2:4000".parse().unwrap()]);
    assert!(time <= Duration::from_millis(240), "{time:?}");
    assert_eq!(net.node(index).progress(lookup), None);
}

#[test]
fn a_lookup_waits_for_a_bootstrap_contact_and_gives_up_in_time() {
    let mut net = Net::joined(5);
    net.command(2, |node, now| node.announce(now, hash(6), Some(4000), false));
    net.run_until(2, is_announced);
    let first = net.addr(0);
    let index = net.add();
    let lookup = net.command(index, |node, now| node.get_peers(now, hash(6)));
    net.run_for(Duration::from_secs(5));
    assert!(net.node(index).progress(lookup).is_some_and(|p| p.waiting));
    net.command(index, |node, now| node.bootstrap(now, first));
    net.run_until(index, is_done);
    assert_eq!(peers(&net.take_events(index)).len(), 1);

    // Nobody is at this address: asked again after 1, 2, 4 s, and the lookup ends after 15 s.
    let index = net.add();
    let nobody: SocketAddr = "10.9.9.9:1".parse().unwrap();
    let before = net.log.len();
    net.command(index, |node, now| {
        node.bootstrap(now, nobody);
        node.get_peers(now, hash(6))
    });
    let time = net.run_until(index, is_done);
    assert_eq!(time, Duration::from_secs(15));
    assert!(matches!(net.take_events(index)[..], [Event::LookupDone { answered: 0, .. }]));
    let asked = net.log[before..].iter().filter(|(_, to, _)| *to == nobody).count();
    assert!((3..=5).contains(&asked), "{asked}");
}

#[test]
fn a_node_that_was_offline_comes_back() {
    let mut net = Net::joined(10);
    for index in 0..9 {
        net.hosts[index].up = false;
    }
    net.run_for(Duration::from_secs(3600));
    assert!(net.node(9).closest(Family::V4, &hash(0), 20).is_empty());
    for index in 0..9 {
        net.hosts[index].up = true;
    }
    net.run_for(Duration::from_secs(130));
    assert!(net.node(9).closest(Family::V4, &hash(0), 20).len() >= 8);
}

/// K182.
#[test]
fn a_warm_start_needs_no_bootstrap_contact() {
    let mut net = Net::joined(20);
    let bytes = net.node(19).snapshot().encode();
    let (snapshot, addr) = (Snapshot::decode(&bytes).unwrap(), net.addr(19));
    assert!(snapshot.contacts.len() >= 10);
    net.hosts[19].up = false;
    let index = net.add_with(Config::new(vec![addr]));
    net.command(index, |node, now| node.restore(now, &snapshot));
    net.run_until(index, |event| matches!(event, Event::Bootstrapped { .. }));
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.node(index).id(), snapshot.own[0].id);
    let proven = net.node(index).closest(Family::V4, &hash(0), 30).len();
    assert!(proven >= snapshot.contacts.len());
}

/// K144, K145.
#[test]
fn read_only_nodes_are_served_and_never_listed() {
    let mut net = Net::joined(5);
    let first = net.addr(0);
    let mut config = Config::new(vec!["10.1.0.1:6881".parse().unwrap()]);
    config.read_only = true;
    let index = net.add_with(config);
    net.command(index, |node, now| node.bootstrap(now, first));
    net.run_until(index, |event| matches!(event, Event::Bootstrapped { .. }));
    net.run_for(Duration::from_secs(60));
    let addr = net.addr(index);
    assert!(net.log.iter().filter(|(from, ..)| *from == addr).count() > 3);
    for (from, _, bytes) in &net.log {
        let ro = bytes.windows(7).any(|w| w == b"2:roi1e");
        assert_eq!(ro, *from == addr);
    }
    assert!(!net.log.iter().any(|(_, to, bytes)| *to == addr && bytes.ends_with(b"1:y1:qe")));
    for other in 0..5 {
        assert!(net.node(other).contacts().iter().all(|c| c.node.addr != addr));
    }
}

#[test]
fn both_families_are_joined_from_one_contact() {
    let mut net = Net::new();
    for n in 0..12u16 {
        let v4 = SocketAddr::from(([10, 0, 0, n as u8 + 1], 6881));
        let v6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n + 1], 6881));
        let index = net.add_with(Config::new(vec![v4, v6]));
        if index > 0 {
            // The second knows the first by both families, the others by v4 only.
            let (now, seeds) = (net.now, net.hosts[0].sockets.clone());
            for seed in &seeds[..if index == 1 { 2 } else { 1 }] {
                net.node(index).bootstrap(now, *seed);
            }
        }
        net.run_for(Duration::from_millis(500));
    }
    net.run_for(Duration::from_secs(5));
    for index in 0..12 {
        assert!(net.node(index).table_len(Family::V4) >= 8, "node {index}");
        assert!(net.node(index).table_len(Family::V6) >= 8, "node {index}");
    }
    net.command(3, |node, now| node.announce(now, hash(9), Some(4000), false));
    net.run_until(3, is_announced);
    net.command(9, |node, now| node.get_peers(now, hash(9)));
    net.run_until(9, is_done);
    let expected: Vec<SocketAddr> =
        vec!["10.0.0.4:4000".parse().unwrap(), "[fd00::4]:4000".parse().unwrap()];
    assert_eq!(peers(&net.take_events(9)), expected);
}

#[test]
fn pings_are_answered_or_fail() {
    let mut net = Net::joined(2);
    let (id, addr) = (net.node(1).id(), net.addr(1));
    let ping = net.command(0, |node, now| node.ping(now, addr));
    net.run_for(Duration::from_secs(1));
    let rtt = Duration::from_millis(40);
    let reply = Event::PingReply { ping, node: NodeInfo { id, addr }, rtt };
    assert!(net.take_events(0).contains(&reply));
    let addr = "10.9.9.9:9".parse().unwrap();
    let ping = net.command(0, |node, now| node.ping(now, addr));
    net.run_for(Duration::from_secs(5));
    assert!(net.take_events(0).contains(&Event::PingFailed { ping, addr }));
}

#[test]
fn a_cancelled_lookup_says_no_more() {
    let mut net = Net::joined(5);
    net.take_events(0);
    let lookup = net.command(0, |node, now| node.get_peers(now, hash(1)));
    net.command(0, |node, now| node.cancel(now, lookup));
    net.run_for(Duration::from_secs(20));
    assert!(net.take_events(0).is_empty());
}

#[test]
fn what_an_overlay_of_300_costs() {
    let mut net = Net::new();
    for index in 0..300 {
        net.add();
        if index > 0 {
            let any = net.addr(index * 7919 % index);
            net.command(index, |node, now| node.bootstrap(now, any));
        }
        net.run_for(Duration::from_millis(100));
    }
    net.run_for(Duration::from_secs(60));
    let before = net.log.len();
    net.run_for(Duration::from_secs(3600));
    // Each contact is pinged four times an hour, and answered in turn.
    let contacts: usize = (0..300).map(|index| net.node(index).table_len(Family::V4)).sum();
    let each = (net.log.len() - before) as f64 / contacts as f64;
    assert!(each < 8.5, "{each} datagrams a contact and hour");

    let (mut times, mut asked_in_all) = (Vec::new(), 0);
    for n in 0..100 {
        let index = n as usize * 3;
        net.take_events(index);
        net.command(index, |node, now| node.get_peers(now, hash(n)));
        times.push(net.run_until(index, is_done).as_millis());
        let Some(Event::LookupDone { asked, .. }) = net.take_events(index).pop() else { panic!() };
        asked_in_all += asked;
    }
    // A round trip is 40 ms.
    times.sort();
    assert!(times[50] <= 120 && times[99] <= 200, "{times:?}");
    assert!(asked_in_all < 1600, "{asked_in_all} queries for 100 lookups");
}
