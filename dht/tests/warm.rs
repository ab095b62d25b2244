//! A node that starts from what it saved, with nobody to ask but its contacts.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_types, reason = "what is shown is a time")]

use std::path::Path;
use std::time::{Duration, Instant};

use dht::driver::{Builder, Dht, Testnet};
use dht::wire::{Id, InfoHash};

const HASH: InfoHash = Id([0x77; 20]);
const PEER: u16 = 4321;

fn local() -> Builder {
    Dht::builder().bind("127.0.0.1:0".parse().unwrap())
}

/// An overlay with a peer, which a node joined, whose file this is.
async fn saved_in(path: &Path) -> Testnet {
    let testnet = Testnet::new(24).await.unwrap();
    let entry = testnet.bootstrap_addrs()[0].to_string();
    let node = local().state_file(path).bootstrap(entry).start().unwrap();
    node.bootstrapped().await.unwrap();
    testnet.nodes()[7].announce(HASH, PEER).await.unwrap();
    node.shutdown().await.unwrap();
    testnet
}

/// Time from the start of a node with this state file to the first peer of its first lookup; the best
/// of three, as the machine has other things to do.
async fn first_answer(path: &Path, bootstrap: &[&str]) -> Duration {
    let (saved, mut best) = (std::fs::read(path).unwrap(), Duration::MAX);
    for _ in 0..3 {
        std::fs::write(path, &saved).unwrap();
        let start = Instant::now();
        let builder = local().state_file(path);
        let node = bootstrap.iter().fold(builder, |b, name| b.bootstrap(*name)).start().unwrap();
        let found = node.get_peers(HASH).await.unwrap().next().await;
        best = best.min(start.elapsed());
        assert_eq!(found.map(|peer| peer.port()), Some(PEER));
        node.shutdown().await.unwrap();
    }
    println!("the first peer after {best:?}");
    best
}

#[tokio::test]
async fn saved_contacts_answer_within_a_second_where_no_name_resolves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dht.state");
    let testnet = saved_in(&path).await;
    let second = Duration::from_secs(1);
    assert!(first_answer(&path, &[]).await < second, "nobody is named");
    // The resolver cannot even ask: a label has at most 63 bytes (RFC 1035, 2.3.4).
    let (long, wrong) = (format!("{}.invalid:6881", "x".repeat(64)), "nowhere.invalid:port");
    assert!(first_answer(&path, &[&long, wrong]).await < second);

    // Of those closest to the torrent every second one is gone.
    let mut nodes = Vec::new();
    for node in testnet.nodes() {
        nodes.push((node.info().await.unwrap().ids[0].distance(&HASH), node.clone()));
    }
    nodes.sort_by_key(|(distance, _)| *distance);
    for (_, node) in nodes.into_iter().step_by(2) {
        node.shutdown().await.unwrap();
    }
    assert!(first_answer(&path, &[&long]).await < second);
}
