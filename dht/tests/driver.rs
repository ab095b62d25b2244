//! Drivers on loopback sockets.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_types, reason = "strangers have sockets of their own")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use dht::driver::{Driver, DriverConfig};
use dht::{Event, SocketId};
use tokio::time::{Instant, timeout};
use wire::Id;
use wire::krpc::{Body, Head, Message, Method, Query};

fn driver(bootstrap: &[SocketAddr]) -> Driver {
    let config = DriverConfig {
        bootstrap: bootstrap.iter().map(SocketAddr::to_string).collect(),
        ..DriverConfig::default()
    };
    Driver::bind(config, &["127.0.0.1:0".parse().unwrap()]).unwrap()
}

/// Turns all drivers until one of them has an event that `wanted` likes.
async fn until(drivers: &mut [Driver], index: usize, wanted: impl Fn(&Event) -> bool) -> Event {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        for driver in drivers.iter_mut() {
            // Dropping a turn half-way must lose nothing.
            let _ = timeout(Duration::from_micros(200), driver.turn()).await;
        }
        while let Some(event) = drivers[index].poll_event() {
            if wanted(&event) {
                return event;
            }
        }
    }
    panic!("nothing came");
}

#[tokio::test(flavor = "current_thread")]
async fn what_one_announces_another_finds() {
    let mut drivers = vec![driver(&[])];
    let first: Vec<_> = drivers[0].local_addrs().collect();
    for _ in 1..5 {
        drivers.push(driver(&first));
        let index = drivers.len() - 1;
        until(&mut drivers, index, |e| matches!(e, Event::Bootstrapped { .. })).await;
    }
    let (now, hash) = (drivers[1].now(), Id([3; 20]));
    drivers[1].node_mut().announce(now, hash, Some(4321), false);
    let announced = until(&mut drivers, 1, |e| matches!(e, Event::Announced { .. })).await;
    assert!(matches!(announced, Event::Announced { accepted: 4, .. }), "{announced:?}");

    let now = drivers[4].now();
    drivers[4].node_mut().get_peers(now, hash);
    drivers[4].flush();
    let found = until(&mut drivers, 4, |e| matches!(e, Event::PeersFound { .. })).await;
    let Event::PeersFound { peers, .. } = found else { panic!() };
    assert_eq!(peers, ["127.0.0.1:4321".parse().unwrap()]);
    assert_eq!(drivers[4].stats(), Default::default());
}

#[tokio::test(flavor = "current_thread")]
async fn foreign_datagrams_go_both_ways() {
    let (mut a, mut b) = (driver(&[]), driver(&[]));
    let (to, from) = (b.local_addrs().next().unwrap(), a.local_addrs().next().unwrap());
    assert!(a.send_foreign(SocketId(0), to, b"\x41\0utp"));
    assert!(!a.send_foreign(SocketId(7), to, b"x"));
    timeout(Duration::from_secs(5), b.turn()).await.unwrap();
    let foreign = b.poll_foreign().unwrap();
    assert_eq!((foreign.from, &foreign.bytes[..]), (from, &b"\x41\0utp"[..]));
    assert_eq!(b.poll_foreign(), None);
    assert_eq!(b.node().stats().received, 0);
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_in_use_is_a_clear_error() {
    let a = driver(&[]);
    let addr = a.local_addrs().next().unwrap();
    let error = Driver::bind(DriverConfig::default(), &[addr]).err().unwrap();
    assert_eq!(error.addr, addr);
    assert!(error.to_string().starts_with(&format!("cannot bind UDP {addr}")));
}

#[tokio::test(flavor = "current_thread")]
async fn a_snapshot_starts_a_driver_warm() {
    let mut drivers = vec![driver(&[])];
    let first: Vec<_> = drivers[0].local_addrs().collect();
    drivers.push(driver(&first));
    until(&mut drivers, 1, |e| matches!(e, Event::Bootstrapped { .. })).await;
    let snapshot = drivers.pop().unwrap().node().snapshot();
    let id = snapshot.own[0].id;
    let config = DriverConfig { snapshot: Some(snapshot), ..DriverConfig::default() };
    drivers.push(Driver::bind(config, &["127.0.0.1:0".parse().unwrap()]).unwrap());
    until(&mut drivers, 1, |e| matches!(e, Event::Bootstrapped { .. })).await;
    assert_eq!(drivers[1].node().id(), id);
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_does_not_resolve_is_told_and_tried_again() {
    let config = DriverConfig { bootstrap: vec!["127.0.0.1:port".into()], ..Default::default() };
    let mut a = Driver::bind(config, &["127.0.0.1:0".parse().unwrap()]).unwrap();
    timeout(Duration::from_secs(20), a.turn()).await.unwrap();
    let unresolved: Vec<_> = a.unresolved().collect();
    assert_eq!(unresolved.len(), 1);
    assert_eq!(unresolved[0].0, "127.0.0.1:port");
    assert!(!unresolved[0].1.is_empty());
}

/// A ping that can be told from others.
fn ping(tid: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let query = Query { id: Id([9; 20]), method: Method::Ping };
    query.encode(&Head { tid, read_only: true, ..Head::default() }, &mut out);
    out
}

#[tokio::test(flavor = "current_thread")]
async fn a_burst_is_answered_whole_and_to_each_asker_what_it_asked() {
    let mut node = driver(&[]);
    let to = node.local_addrs().next().unwrap();
    let askers: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for n in 0..50u8 {
        for (by, asker) in (0u8..).zip(&askers) {
            asker.send_to(&ping(&[by, n]), to).unwrap();
        }
    }
    // Three turns of 64 are read, and more than one batch is sent.
    while node.node().stats().received < 150 {
        timeout(Duration::from_secs(5), node.turn()).await.unwrap();
    }
    for (by, asker) in (0u8..).zip(&askers) {
        asker.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for n in 0..50u8 {
            let mut buf = [0; 1500];
            let (len, from) = asker.recv_from(&mut buf).unwrap();
            let message = Message::parse(&buf[..len]).unwrap();
            assert!(matches!(message.body, Body::Reply(_)), "{message:?}");
            assert_eq!((from, message.head.tid), (to, &[by, n][..]));
        }
    }
    assert_eq!(node.stats(), Default::default());
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_that_cannot_be_sent_to_holds_no_other_up() {
    let mut drivers = vec![driver(&[]), driver(&[])];
    let other = drivers[1].local_addrs().next().unwrap();
    // The system lets nothing go there from loopback.
    let nowhere: [SocketAddr; 2] =
        ["198.51.100.1:6881", "198.51.100.2:6881"].map(|a| a.parse().unwrap());
    let now = drivers[0].now();
    for addr in [nowhere[0], other, nowhere[1]] {
        drivers[0].node_mut().ping(now, addr);
    }
    drivers[0].flush();
    for nowhere in nowhere {
        let failed = drivers[0].poll_event();
        assert!(matches!(failed, Some(Event::PingFailed { addr, .. }) if addr == nowhere));
    }
    let answered = |e: &Event| matches!(e, Event::PingReply { node, .. } if node.addr == other);
    until(&mut drivers, 0, answered).await;
    assert_eq!(drivers[0].stats().send_errors, 2);
}
