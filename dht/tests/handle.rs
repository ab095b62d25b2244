//! Handles of nodes on loopback sockets.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_types, reason = "handles take sockets, and tests look for them")]

use std::future::{Future, poll_fn};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use dht::driver::{Builder, Dht, DhtError, Testnet};
use dht::wire::{Id, InfoHash};
use dht::{Item, SigningKey};
use tokio::time::{Instant, sleep, timeout};

const HASH: InfoHash = Id([0x77; 20]);
/// Long enough for whatever a busy machine does.
const LONG: Duration = Duration::from_secs(20);

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn local() -> Builder {
    Dht::builder().bind(any_port())
}

async fn addr_of(dht: &Dht) -> SocketAddr {
    dht.info().await.unwrap().local_addrs[0]
}

/// A node that has joined `testnet`.
async fn joined(testnet: &Testnet, builder: Builder) -> Dht {
    let dht = builder.bootstrap(testnet.bootstrap_addrs()[0].to_string()).start().unwrap();
    dht.bootstrapped().await.unwrap();
    dht
}

/// Waits until it is true.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let end = Instant::now() + LONG;
    while !is_so().await {
        assert!(Instant::now() < end, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Polls a future once, so that its command is sent, and drops it.
async fn begin_and_drop(future: impl Future) {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn items_are_put_and_found_and_swarms_counted() {
    let testnet = Testnet::new(12).await.unwrap();
    let (writer, reader) = (joined(&testnet, local()).await, joined(&testnet, local()).await);
    let signer = SigningKey::from_bytes(&[7; 32]);
    let item = |seq| Item::sign(&signer, b"", seq, b"5:hello").unwrap();
    assert_eq!(reader.get(item(1).key(), None).await.unwrap(), None);
    assert!(writer.put(item(1), None).await.unwrap().accepted >= 8);
    assert_eq!(reader.get(item(1).key(), None).await.unwrap(), Some(item(1)));
    assert_eq!(reader.get(item(1).key(), Some(1)).await.unwrap(), None);
    let refused = writer.put(item(2), Some(9)).await.unwrap();
    assert!(refused.accepted == 0 && refused.cas_mismatches >= 1, "{refused:?}");
    assert!(writer.put(item(2), Some(1)).await.unwrap().accepted >= 8);
    assert!(writer.put(item(1), None).await.unwrap().outdated >= 1);

    writer.announce_seed(HASH, 4000).await.unwrap();
    let counted = reader.scrape(HASH).await.unwrap();
    assert_eq!((counted.seeds, counted.peers), (1, 0));
    // Whom nobody answers is told so.
    let alone = local().config(|c| c.lookup_wait_ms = 100).start().unwrap();
    assert!(matches!(alone.get(item(1).key(), None).await, Err(DhtError::NobodyToAsk)));
    assert!(matches!(alone.put(item(1), None).await, Err(DhtError::NobodyToAsk)));
    assert!(matches!(alone.scrape(HASH).await, Err(DhtError::NobodyToAsk)));
}

#[tokio::test]
async fn nodes_tell_samples_of_the_torrents_that_they_know() {
    let testnet = Testnet::new(12).await.unwrap();
    let (a, b) = (joined(&testnet, local()).await, joined(&testnet, local()).await);
    assert!(
        b.sample_infohashes(HASH).await.unwrap().iter().all(|node| node.info_hashes.is_empty())
    );
    let others = [Id([0x76; 20]), HASH];
    for info_hash in others {
        a.announce(info_hash, 4321).await.unwrap();
    }
    // Another asks: of those that b asked it waits for the interval that they told.
    let c = joined(&testnet, local()).await;
    let told = c.sample_infohashes(HASH).await.unwrap();
    assert!(told.len() >= 8, "{told:?}");
    let knows = |info_hash: InfoHash| {
        told.iter().filter(|node| node.info_hashes.contains(&info_hash)).count()
    };
    assert!(others.iter().all(|info_hash| knows(*info_hash) >= 1), "{told:?}");
    let mut known = testnet.bootstrap_addrs().to_vec();
    known.extend([addr_of(&a).await, addr_of(&b).await]);
    for node in &told {
        assert_eq!(node.num, node.info_hashes.len() as u64);
        assert_eq!(node.interval, Duration::from_secs(21_600));
        assert!(node.info_hashes.iter().all(|info_hash| others.contains(info_hash)));
        assert!(known.contains(&node.from.addr), "{node:?}");
    }
    assert!(b.sample_infohashes(HASH).await.unwrap().len() < told.len(), "asked before");
    let alone = local().config(|c| c.lookup_wait_ms = 100).start().unwrap();
    assert!(matches!(alone.sample_infohashes(HASH).await, Err(DhtError::NobodyToAsk)));
}

#[test]
fn a_handle_can_go_to_any_thread() {
    fn sendable<T: Send + Sync + 'static>() {}
    sendable::<Dht>();
    sendable::<Testnet>();
    sendable::<dht::driver::Peers>();
    sendable::<DhtError>();
}

#[tokio::test]
async fn what_one_announces_another_finds() {
    let testnet = Testnet::new(12).await.unwrap();
    let (a, b) = (joined(&testnet, local()).await, joined(&testnet, local()).await);
    let announced = a.announce(HASH, 4321).await.unwrap();
    assert_eq!((announced.accepted, announced.peers.len()), (8, 0));
    assert!(announced.lookup.answered >= 8, "{announced:?}");

    let mut keepers = 0;
    for node in testnet.nodes().iter().chain([&b]) {
        let info = node.info().await.unwrap();
        assert_eq!(info.stored_peers, info.stored_torrents);
        keepers += info.stored_torrents;
    }
    assert_eq!(keepers, 8);

    let want: SocketAddr = "127.0.0.1:4321".parse().unwrap();
    let mut peers = b.get_peers(HASH).await.unwrap();
    assert_eq!(peers.next().await, Some(want));
    assert_eq!(peers.next().await, None, "each peer once, and then the end");
    let summary = peers.finish().await.unwrap();
    assert_eq!((summary.peers_found, summary.closest.len()), (1, 8));

    // By the stream's trait, which adapters need.
    let mut peers = b.get_peers(HASH).await.unwrap();
    let next = poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(&mut peers), cx)).await;
    assert_eq!(next, Some(want));

    // Who announces hears of the others; without a port, of the one that nodes see.
    let announced = b.announce(HASH, None).await.unwrap();
    assert_eq!(announced.peers, [want]);
    let mut peers = a.get_peers(HASH).await.unwrap();
    let mut found = Vec::new();
    while let Some(peer) = peers.next().await {
        found.push(peer);
    }
    found.sort();
    let mut both = vec![want, addr_of(&b).await];
    both.sort();
    assert_eq!(found, both);
}

#[tokio::test]
async fn nodes_are_found_pinged_and_told_of() {
    let testnet = Testnet::new(12).await.unwrap();
    let dht = joined(&testnet, local().read_only(true)).await;
    let other = testnet.nodes()[5].info().await.unwrap();

    let summary = dht.find_node(other.ids[0]).await.unwrap();
    assert_eq!(
        (summary.closest[0].id, summary.closest[0].addr),
        (other.ids[0], other.local_addrs[0])
    );
    let pong = dht.ping(other.local_addrs[0]).await.unwrap();
    assert_eq!(pong.node, summary.closest[0]);
    assert!(pong.rtt < LONG);

    let info = dht.info().await.unwrap();
    assert!(info.bootstrapped && info.contacts_v4 > 0 && info.stats.answered > 0, "{info:?}");
    assert_eq!(info.driver_stats, Default::default());
    let contacts = dht.contacts().await.unwrap();
    assert!(contacts.iter().any(|contact| contact.node == pong.node));
    let snapshot = dht.snapshot().await.unwrap();
    assert_eq!(snapshot.own[0].id, info.ids[0]);
    assert!(snapshot.contacts.contains(&pong.node));
    for node in testnet.nodes() {
        let contacts = node.contacts().await.unwrap();
        assert!(contacts.iter().all(|contact| contact.node.id != info.ids[0]), "it is read-only");
    }

    // A node by itself joins as soon as it is told of another.
    let alone = local().start().unwrap();
    alone.add_node(other.local_addrs[0]).await.unwrap();
    until("a contact", || async { alone.info().await.unwrap().contacts_v4 > 0 }).await;
    alone.bootstrapped().await.unwrap();
    let named = local().start().unwrap();
    named.bootstrap(other.local_addrs[0].to_string()).await.unwrap();
    until("joined", || async { named.info().await.unwrap().bootstrapped }).await;
}

#[tokio::test]
async fn what_is_said_to_a_builder_reaches_the_node() {
    let testnet = Testnet::new(2).await.unwrap();
    let ip = "203.0.113.9".parse().unwrap();
    let node = local().external_ip(ip).start().unwrap();
    let info = node.info().await.unwrap();
    let others = info.external_ips.iter().filter(|external| **external == Some(ip)).count();
    assert_eq!((others, info.down.contains(&true)), (1, false));
    assert!(dht::fits(&info.ids[0], ip));
    let node = local().id(HASH).start().unwrap();
    assert_eq!(node.info().await.unwrap().ids[0], HASH);

    let given = UdpSocket::bind(any_port()).unwrap();
    let tokios = tokio::net::UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let addrs = [given.local_addr().unwrap(), tokios.local_addr().unwrap()];
    let node = Dht::builder().socket(given).tokio_socket(tokios);
    let node = joined(&testnet, node).await;
    assert_eq!(node.info().await.unwrap().local_addrs, addrs);
    for addr in addrs {
        assert!(testnet.nodes()[0].ping(addr).await.is_ok());
    }
    let node = Dht::builder().start().unwrap();
    let addrs = node.info().await.unwrap().local_addrs;
    assert!(addrs[0].is_ipv4() && addrs[0].ip().is_unspecified() && addrs[0].port() != 0);
}

/// A node that knows of others, none of which answers any longer: its lookups last a minute.
async fn forsaken() -> Dht {
    let testnet = Testnet::new(3).await.unwrap();
    let slow = |c: &mut dht::Config| {
        c.lookup_wait_ms = 60_000;
        c.neighbours_retry_ms = 600_000;
    };
    let node = joined(&testnet, local().config(slow)).await;
    until("no lookups", || async { node.info().await.unwrap().lookups == 0 }).await;
    node
}

#[tokio::test]
async fn dropping_what_one_waits_for_cancels_it() {
    let node = forsaken().await;
    let lookups = || async { node.info().await.unwrap().lookups };
    let peers: Vec<_> =
        [node.get_peers(HASH).await.unwrap(), node.get_peers(Id([1; 20])).await.unwrap()].into();
    until("two lookups", || async { lookups().await >= 2 }).await;
    drop(peers);
    until("cancelled", || async { lookups().await == 0 }).await;

    for n in 0..20 {
        begin_and_drop(node.find_node(Id([n; 20]))).await;
    }
    assert_eq!(lookups().await, 0, "what nobody waits for any longer is not begun");
    let announce = tokio::spawn({
        let node = node.clone();
        async move { node.announce(HASH, 1).await.is_ok() }
    });
    until("a lookup", || async { lookups().await > 0 }).await;
    announce.abort();
    until("cancelled", || async { lookups().await == 0 }).await;
}

#[tokio::test]
async fn clones_ask_one_node_and_the_last_of_them_ends_it() {
    let testnet = Testnet::new(3).await.unwrap();
    let a = joined(&testnet, local()).await;
    let b = a.clone();
    let addr = addr_of(&a).await;
    assert_eq!(addr_of(&b).await, addr);
    drop(a);
    b.announce(HASH, 1).await.unwrap();
    let mut peers = b.get_peers(Id([1; 20])).await.unwrap();
    drop(b);
    until("the socket is closed", || async { UdpSocket::bind(addr).is_ok() }).await;
    assert_eq!(timeout(LONG, peers.next()).await.unwrap(), None);
    assert!(matches!(peers.finish().await, Err(DhtError::Stopped)));

    let addrs = testnet.bootstrap_addrs().to_vec();
    drop(testnet);
    for addr in addrs {
        until("the testnet ends", || async { UdpSocket::bind(addr).is_ok() }).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_it_for_all() {
    let node = forsaken().await;
    let (clone, addr) = (node.clone(), addr_of(&node).await);
    let mut peers = clone.get_peers(HASH).await.unwrap();
    let waiting = tokio::spawn({
        let node = node.clone();
        async move { node.announce(HASH, 1).await }
    });
    until("both", || async { clone.info().await.unwrap().lookups >= 2 }).await;
    node.shutdown().await.unwrap();
    UdpSocket::bind(addr).unwrap();
    assert_eq!(peers.next().await, None);
    assert!(matches!(peers.finish().await, Err(DhtError::Stopped)));
    assert!(matches!(waiting.await.unwrap(), Err(DhtError::Stopped)));
    assert!(matches!(clone.info().await, Err(DhtError::Stopped)));
    assert!(matches!(clone.get_peers(HASH).await, Err(DhtError::Stopped)));
    assert!(matches!(clone.bootstrapped().await, Err(DhtError::Stopped)));
    clone.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_slow_taker_holds_nobody_up_and_is_kept_little_for() {
    // In both families, if the host has both: so the node's own store offers twice as many.
    let both = || match UdpSocket::bind("[::1]:0") {
        Ok(_) => local().bind("[::1]:0".parse().unwrap()),
        Err(_) => local(),
    };
    let ample = |c: &mut dht::Config| c.store_ports_per_ip_max = 1_000;
    let store = both().config(ample).config(|c| c.lookup_peers_max = 20).start().unwrap();
    let entries = store.info().await.unwrap().local_addrs;
    let node = || entries.iter().fold(both(), |b, entry| b.bootstrap(entry.to_string()));
    let (peer, asker) = (node().start().unwrap(), node().start().unwrap());
    peer.bootstrapped().await.unwrap();
    for port in 1..=60 {
        peer.announce(HASH, port).await.unwrap();
    }
    let stored = store.info().await.unwrap().stored_peers;
    assert_eq!(stored, 60 * entries.len());

    let mut all = asker.get_peers(HASH).await.unwrap();
    let mut few = store.get_peers(HASH).await.unwrap();
    // Nothing is taken, and both lookups end, and both nodes serve on.
    for node in [&asker, &store] {
        until("an end", || async { node.info().await.unwrap().lookups == 0 }).await;
        assert!(node.find_node(HASH).await.is_ok());
    }
    let mut taken = (0, 0);
    while all.next().await.is_some() {
        taken.0 += 1;
    }
    while few.next().await.is_some() {
        taken.1 += 1;
    }
    // A reply has no room for all of IPv6.
    let reported = all.finish().await.unwrap().peers_found;
    assert!((60..=stored).contains(&(reported as usize)), "{reported}");
    assert_eq!(taken, (reported, 20), "all that were reported, and as many as may wait");
    assert_eq!(store.announce(HASH, 99).await.unwrap().peers.len(), 20);
}

#[tokio::test]
async fn more_commands_than_may_wait_all_get_their_turn() {
    let testnet = Testnet::new(4).await.unwrap();
    let node = joined(&testnet, local()).await;
    node.announce(HASH, 5).await.unwrap();
    let tasks: Vec<_> = (0..300)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.get_peers(HASH).await.unwrap().next().await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Some("127.0.0.1:5".parse().unwrap()));
    }
}

#[tokio::test]
async fn datagrams_that_are_not_krpc_are_not_kept() {
    let node = local().start().unwrap();
    let addr = addr_of(&node).await;
    let socket = UdpSocket::bind(any_port()).unwrap();
    for _ in 0..60 {
        for _ in 0..20 {
            socket.send_to(b"\x41\0utp", addr).unwrap();
        }
        node.info().await.unwrap();
    }
    assert_eq!(node.info().await.unwrap().driver_stats.foreign_dropped, 0);
}

#[tokio::test]
async fn id_and_contacts_outlive_the_node() {
    let testnet = Testnet::new(5).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dht.state");
    let node = joined(&testnet, local().state_file(&path)).await;
    let id = node.info().await.unwrap().ids;
    assert!(!path.exists());
    node.save().await.unwrap();
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
    node.shutdown().await.unwrap();
    assert!(path.exists(), "saved at the end");

    let warm = local().state_file(&path).save_every(Duration::from_millis(20)).start().unwrap();
    warm.bootstrapped().await.unwrap();
    assert_eq!(warm.info().await.unwrap().ids, id);
    std::fs::remove_file(&path).unwrap();
    until("saved again", || async { path.exists() }).await;
    warm.shutdown().await.unwrap();

    // No length of time is too long or too short.
    for pause in [Duration::ZERO, Duration::MAX] {
        let node = local().state_file(&path).save_every(pause).join_timeout(pause);
        let node = node.start().unwrap();
        node.save().await.unwrap();
        node.shutdown().await.unwrap();
    }

    let cold = local().start().unwrap();
    assert!(matches!(cold.save().await, Err(DhtError::NoStateFile)));
    let nowhere = folder.path().join("no/such/folder");
    let node = local().state_file(&nowhere).start().unwrap();
    let error = node.save().await.unwrap_err().to_string();
    assert!(error.contains("no/such/folder") && error.contains("name a state file"), "{error}");
    assert!(matches!(node.shutdown().await, Err(DhtError::State(_))));
    assert!(matches!(local().state_file(folder.path()).start(), Err(DhtError::State(_))));
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_told_with_a_way_out() {
    let taken = UdpSocket::bind(any_port()).unwrap();
    let addr = taken.local_addr().unwrap();
    let error = Dht::builder().bind(addr).start().unwrap_err().to_string();
    assert!(error.contains(&addr.to_string()) && error.contains("bind another port"), "{error}");
    let error = Dht::builder().bind("203.0.113.1:0".parse().unwrap()).start().unwrap_err();
    assert!(error.to_string().contains("does not have that address"), "{error}");
    let error = std::thread::spawn(|| local().start().unwrap_err()).join().unwrap();
    assert!(matches!(error, DhtError::NoRuntime));
}

#[tokio::test]
async fn a_socket_of_two_families_is_refused() {
    // A host without IPv6 has none.
    let Ok(both) = UdpSocket::bind("[::]:0") else { return };
    let error = Dht::builder().socket(both).start().unwrap_err().to_string();
    assert!(error.contains("IPV6_V6ONLY"), "{error}");
}

#[tokio::test]
async fn that_nobody_answers_is_told_with_the_reason() {
    let soon = |c: &mut dht::Config| {
        c.lookup_wait_ms = 100;
        c.hard_timeout_ms = 100;
        c.late_max_ms = 50;
    };
    let alone = local().config(soon).start().unwrap();
    assert!(matches!(alone.bootstrapped().await, Err(DhtError::NobodyToAsk)));
    assert!(matches!(alone.find_node(HASH).await, Err(DhtError::NobodyToAsk)));
    assert!(matches!(alone.announce(HASH, 1).await, Err(DhtError::NobodyToAsk)));
    let mut peers = alone.get_peers(HASH).await.unwrap();
    assert_eq!(peers.next().await, None);
    assert!(matches!(peers.finish().await, Err(DhtError::NobodyToAsk)));

    let silent = UdpSocket::bind(any_port()).unwrap();
    let addr = silent.local_addr().unwrap();
    let node = local().config(soon).bootstrap(addr.to_string());
    let node = node.join_timeout(Duration::from_millis(300)).start().unwrap();
    let error = node.bootstrapped().await.unwrap_err();
    assert!(matches!(error, DhtError::Unanswered { asked: 1.., unsent: 0 }), "{error:?}");
    assert!(error.to_string().contains("is the bootstrap contact up"), "{error}");
    assert!(matches!(node.find_node(HASH).await, Err(DhtError::Unanswered { .. })));
    let error = node.ping(addr).await.unwrap_err();
    assert!(matches!(error, DhtError::PingUnanswered(to) if to == addr), "{error:?}");

    let unsent = local().config(soon).bootstrap("203.0.113.1:1");
    let unsent = unsent.join_timeout(Duration::from_millis(300)).start().unwrap();
    let error = unsent.bootstrapped().await.unwrap_err();
    assert!(matches!(error, DhtError::Unanswered { unsent: 1.., .. }), "{error:?}");

    let nameless = local().bootstrap("127.0.0.1:port").join_timeout(LONG).start().unwrap();
    let error = nameless.bootstrapped().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot resolve 127.0.0.1:port: "), "{error}");
    assert!(error.contains("by its IP address"), "{error}");
}

#[tokio::test]
async fn an_announce_that_nobody_takes_is_an_error() {
    let full = local().config(|c| c.store_torrents_max = 0).start().unwrap();
    let node = local().bootstrap(addr_of(&full).await.to_string()).start().unwrap();
    let error = node.announce(HASH, 1).await.unwrap_err();
    assert!(matches!(error, DhtError::NotAccepted { answered: 1 }), "{error:?}");
}

#[tokio::test]
async fn a_testnet_of_any_size_is_whole() {
    for count in [0, 1, 2, 40] {
        let testnet = Testnet::new(count).await.unwrap();
        assert_eq!(testnet.nodes().len(), usize::from(count.max(1)));
        assert_eq!(testnet.bootstrap_addrs().len(), testnet.nodes().len());
        for node in testnet.nodes() {
            assert_eq!(node.info().await.unwrap().bootstrapped, count > 1, "{count}");
        }
    }
}
