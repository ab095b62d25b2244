//! Nodes whose clock jumps, whose address changes, or whose network was away: they recover, and ask
//! no more for it than they do each day.
#![allow(clippy::unwrap_used)]

mod bench;
mod net;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bench::{Bench, body, id};
use dht::wire::{Id, InfoHash};
use dht::{Config, Event, Snapshot, SocketId, Status, fits};
use net::Net;
use wire::compact::Family;
use wire::krpc::{Body, Head, Message, Method, Query, Want};

const HASH: InfoHash = Id([0x77; 20]);
const PEER: u16 = 4321;
const NODES: usize = 40;
const SECOND: Duration = Duration::from_secs(1);
const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600);
/// Queries that a node may send in a second by itself: eight pings, and what the lookups for its own
/// id and for a bucket ask of so few nodes.
const STORM: usize = 45;

/// A Global address in a /24 of its own.
fn global(n: usize) -> SocketAddr {
    SocketAddr::from(([80, n as u8, 9, 9], 6881))
}

/// An overlay of nodes at Global addresses, and one more, the last, that learns its address from
/// them. The second has announced a peer.
fn overlay() -> (Net, usize) {
    let mut net = Net::new();
    for n in 0..NODES {
        let ip = Some(global(n).ip());
        net.add_with(Config { external_ip: ip, ..Config::new(vec![global(n)]) });
    }
    let subject = net.add_with(Config::new(vec!["0.0.0.0:6881".parse().unwrap()]));
    net.move_to(subject, global(NODES));
    for n in 1..=NODES {
        net.command(n, |node, now| node.bootstrap(now, global(0)));
        net.run_for(SECOND / 4);
    }
    net.run_for(Duration::from_secs(120));
    announce(&mut net);
    net.log.clear();
    (net, subject)
}

fn announce(net: &mut Net) {
    net.take_events(1);
    net.command(1, |node, now| node.announce(now, HASH, Some(PEER), false));
    net.run_until(1, |event| matches!(event, Event::Announced { accepted: 8.., .. }));
}

/// Lets time pass and returns how many queries a node sent in the worst of its seconds.
fn run_counting(net: &mut Net, index: usize, time: Duration) -> usize {
    let mut worst = 0;
    for _ in 0..time.as_secs() {
        let before = net.hosts[index].node.stats().asked;
        net.run_for(SECOND);
        worst = worst.max((net.hosts[index].node.stats().asked - before) as usize);
        net.log.clear();
    }
    worst
}

/// Whether a lookup finds the peer, and how long that took.
fn finds(net: &mut Net, index: usize) -> Option<Duration> {
    net.take_events(index);
    let start = net.now;
    let lookup = net.command(index, |node, now| node.get_peers(now, HASH));
    let ended = |e: &Event| matches!(e, Event::LookupDone { lookup: id, .. } if *id == lookup);
    net.run_until(index, ended);
    let found = net.take_events(index).into_iter().any(|event| match event {
        Event::PeersFound { peers, .. } => peers.iter().any(|peer| peer.port() == PEER),
        _ => false,
    });
    found.then(|| net.now.since(start))
}

/// Asks a node by a datagram that comes before anything else, and returns its answer.
fn ask(net: &mut Net, index: usize, method: Method<'_>) -> Vec<u8> {
    let (mut query, mut answer) = (Vec::new(), Vec::new());
    let head = Head { tid: b"tt", read_only: true, ..Head::default() };
    Query { id: Id([9; 20]), method }.encode(&head, &mut query);
    let (host, now) = (&mut net.hosts[index], net.now);
    let now = host.clock(now);
    host.node.handle_datagram(now, SocketId(0), global(200), &query);
    assert_eq!(host.node.poll_transmit(&mut answer).unwrap().to, global(200));
    assert!(matches!(Message::parse(&answer).unwrap().body, Body::Reply(_)));
    answer
}

fn holds(answer: &[u8], bytes: &[u8]) -> bool {
    answer.windows(bytes.len()).any(|window| window == bytes)
}

/// K183.
#[test]
fn a_node_whose_clock_jumps_finds_what_is_there_and_asks_little() {
    let (mut net, subject) = overlay();
    for jump in [SECOND, Duration::from_secs(50), HALF_A_DAY, HALF_A_DAY * 60] {
        // Amid a lookup, whose queries are all over at once.
        let lookup = net.command(subject, |node, now| node.get_peers(now, Id([0x12; 20])));
        net.run_for(net.latency / 2);
        net.hosts[subject].ahead += jump;
        let worst = run_counting(&mut net, subject, Duration::from_secs(20));
        println!("{jump:?}: {worst} queries in a second");
        assert!(worst < STORM, "{jump:?}: {worst} queries in a second");
        assert!(net.hosts[subject].node.progress(lookup).is_none(), "the lookup ended");
        assert!(finds(&mut net, subject).is_some_and(|time| time < 2 * SECOND), "{jump:?}");
        assert!(net.hosts[subject].node.table_len(Family::V4) >= 20);
    }
}

#[test]
fn a_node_that_slept_while_the_others_went_on_is_part_of_them_again() {
    let (mut net, subject) = overlay();
    net.hosts[subject].up = false;
    net.run_for(HALF_A_DAY);
    announce(&mut net);
    net.hosts[subject].up = true;
    // Its first lookup is made as it wakes.
    assert!(finds(&mut net, subject).is_some_and(|time| time < 2 * SECOND));
    let worst = run_counting(&mut net, subject, Duration::from_secs(120));
    println!("{worst} queries in a second");
    assert!(worst < STORM, "{worst} queries in a second");
    let (id, addr) = (net.hosts[subject].node.id(), net.addr(subject));
    let listed = |n: &usize| {
        let contacts = net.hosts[*n].node.contacts();
        contacts.iter().any(|c| c.node.id == id && c.node.addr == addr)
    };
    let listed = (0..NODES).filter(listed).count();
    assert!(listed >= 8, "{listed} list it");
}

#[test]
fn a_clock_that_goes_back_stops_no_lookup() {
    let (mut net, subject) = overlay();
    net.hosts[subject].behind = Duration::from_secs(600);
    let pong = ask(&mut net, subject, Method::Ping);
    assert!(!pong.is_empty());
    for _ in 0..5 {
        assert!(finds(&mut net, subject).is_some(), "by answers alone");
    }
    // When its clock has caught up it does at once what was due, and no more.
    let worst = run_counting(&mut net, subject, Duration::from_secs(900));
    println!("{worst} queries in a second");
    assert!(worst < STORM, "{worst} queries in a second");
    assert!(finds(&mut net, subject).is_some());
}

#[test]
fn what_is_past_its_time_is_not_told_though_no_timeout_came_before() {
    let (mut net, _) = overlay();
    let keeper = (0..NODES).find(|n| net.hosts[*n].node.stored().1 > 0).unwrap();
    let methods = || {
        [
            Method::get_peers(HASH, Want::default()),
            Method::GetPeers {
                info_hash: HASH,
                want: Want::default(),
                noseed: false,
                scrape: true,
            },
            Method::SampleInfohashes { target: HASH, want: Want::default() },
        ]
    };
    let told = |net: &mut Net| {
        methods().map(|method| {
            let answer = ask(net, keeper, method);
            [&b"6:values"[..], b"4:BFpe", &HASH.0].map(|what| holds(&answer, what))
        })
    };
    let yes = [[true, false, false], [true, true, false], [false, false, true]];
    assert_eq!(told(&mut net), yes);
    net.hosts[keeper].ahead = Duration::from_secs(45 * 60 + 1);
    assert_eq!(told(&mut net), [[false; 3]; 3]);
}

#[test]
fn an_answer_that_was_slept_through_is_no_measure_of_anything() {
    let mut bench = Bench::new();
    bench.node.ping(bench.now, global(1));
    let asked = bench.asked();
    // It lies in the socket, and is read before any timeout is handled.
    bench.now += HALF_A_DAY;
    bench.reply(&asked[0], &body(id(7), b""));
    assert!(matches!(bench.events()[..], [Event::PingFailed { .. }]));
    assert_eq!(bench.node.table_len(Family::V4), 0, "it answered half a day ago");
}

/// K184.
#[test]
fn a_node_whose_address_changes_takes_an_id_that_fits_and_is_listed_there() {
    let (mut net, subject) = overlay();
    let old = net.hosts[subject].node.id();
    assert!(fits(&old, global(NODES).ip()), "the first address is learned");
    let new: SocketAddr = "99.9.9.9:1024".parse().unwrap();
    net.move_to(subject, new);
    assert!(finds(&mut net, subject).is_some(), "before anybody tells it");
    let start = net.now;
    let mut worst = 0;
    while !fits(&net.hosts[subject].node.id(), new.ip()) {
        worst = worst.max(run_counting(&mut net, subject, Duration::from_secs(10)));
        assert!(net.now.since(start) < Duration::from_secs(3600), "it never learns its address");
    }
    let seen = |event: &Event| *event == Event::ExternalAddress { ip: IpAddr::from([99, 9, 9, 9]) };
    assert!(net.take_events(subject).iter().any(seen));
    println!("after {:?}, {worst} queries in a second", net.now.since(start));
    worst = worst.max(run_counting(&mut net, subject, Duration::from_secs(120)));
    assert!(worst < STORM, "{worst} queries in a second");
    assert!(finds(&mut net, subject).is_some());
    let id = net.hosts[subject].node.id();
    let lists = |n: &usize| {
        let contacts = net.hosts[*n].node.contacts();
        contacts.iter().any(|c| c.node.id == id && c.node.addr == new)
    };
    let listed = (0..NODES).filter(lists).count();
    assert!(listed >= 8, "{listed} list it");
}

/// Contacts of a node that answered lately.
fn good(net: &Net, index: usize) -> usize {
    let contacts = net.hosts[index].node.contacts();
    contacts.iter().filter(|c| c.status == Status::Good).count()
}

/// Cuts a node off for so long, with a lookup each ten seconds; how many queries it sent in the worst
/// second until it was back, and how long it then took until eight contacts were good again, without
/// any command.
fn cut_off(net: &mut Net, index: usize, time: Duration) -> (usize, Duration) {
    let (mut worst, start) = (0, net.now);
    net.hosts[index].cut = true;
    for _ in 0..time.as_secs() / 10 {
        net.command(index, |node, now| node.get_peers(now, HASH));
        worst = worst.max(run_counting(net, index, 10 * SECOND));
    }
    net.run_for(30 * SECOND);
    assert_eq!(good(net, index), 0, "all are given up in {:?}", net.now.since(start));
    net.hosts[index].cut = false;
    let start = net.now;
    while good(net, index) < 8 {
        worst = worst.max(run_counting(net, index, SECOND));
        assert!(net.now.since(start) < Duration::from_secs(3600), "it never comes back");
    }
    (worst, net.now.since(start))
}

#[test]
fn a_node_that_was_cut_off_is_back_soon_after_though_nobody_is_named_to_it() {
    let (mut net, named) = overlay();
    let saved = net.hosts[named].node.snapshot();
    let config =
        Config { id: Some(Id([0x3c; 20])), ..Config::new(vec!["0.0.0.0:6882".parse().unwrap()]) };
    let warm = net.add_with(config);
    net.move_to(warm, global(NODES + 1));
    net.command(warm, |node, now| node.restore(now, &saved));
    net.run_for(Duration::from_secs(120));
    for index in [named, warm] {
        let (worst, time) = cut_off(&mut net, index, Duration::from_secs(600));
        println!("{worst} queries in a second, back after {time:?}");
        assert!(worst < STORM, "{worst} queries in a second");
        assert!(time <= Duration::from_secs(65), "back after {time:?}");
        assert!(finds(&mut net, index).is_some_and(|time| time < 2 * SECOND));
    }
}

#[test]
fn a_lookup_is_answered_as_soon_as_the_network_is_back() {
    let (mut net, subject) = overlay();
    cut_off(&mut net, subject, Duration::from_secs(60));
    net.hosts[subject].cut = true;
    for _ in 0..20 {
        net.command(subject, |node, now| node.get_peers(now, HASH));
        net.run_for(10 * SECOND);
    }
    net.hosts[subject].cut = false;
    assert!(finds(&mut net, subject).is_some_and(|time| time < 4 * SECOND));
}

#[test]
fn a_node_that_nobody_asks_looks_for_the_network_itself() {
    let (mut net, subject) = overlay();
    let saved = Snapshot { own: vec![], ..net.hosts[subject].node.snapshot() };
    let own = vec!["0.0.0.0:6882".parse().unwrap()];
    let reader = net.add_with(Config { read_only: true, ..Config::new(own) });
    net.move_to(reader, global(NODES + 1));
    net.command(reader, |node, now| node.restore(now, &saved));
    net.run_for(Duration::from_secs(120));
    for hours in 1..=3 {
        net.hosts[reader].cut = true;
        let mut worst = run_counting(&mut net, reader, Duration::from_secs(hours * 3600 + 600));
        net.hosts[reader].cut = false;
        let start = net.now;
        while good(&net, reader) < 8 {
            worst = worst.max(run_counting(&mut net, reader, SECOND));
            assert!(net.now.since(start) < Duration::from_secs(7200), "it never comes back");
        }
        let time = net.now.since(start);
        println!("{worst} queries in a second, back after {time:?}");
        assert!(worst < STORM, "{worst} queries in a second");
        assert!(time <= Duration::from_secs(65), "back after {time:?}");
    }
}
