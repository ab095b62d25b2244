//! Drivers on loopback sockets.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use dht::driver::{Driver, DriverConfig};
use dht::{Event, SocketId};
use tokio::time::{Instant, timeout};
use wire::Id;

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
    let id = snapshot.id;
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
