//! Peers and small items, between our nodes and those of other DHT libraries: ours ask a network that
//! is all theirs, and theirs asks one that is all ours.

use std::net::SocketAddr;

use harness::lan::{Host, Lan};
use harness::network::addresses;
use harness::other_dht::OtherDht;
use harness::ours::{DhtNode, KeyFile, announce, dht, lookup};

const INFO_HASH: &str = "5f2e6a0b9c1d4837e6f5a4b3c2d1e0f9a8b7c6d5";

/// Starts nodes of another library: on a host, at addresses, entering by others.
type Start = fn(&Host, &[SocketAddr], &[SocketAddr]) -> OtherDht;

fn ours_among_theirs(start: Start) {
    let mut lan = Lan::new();
    let (host, nodes) = addresses(&mut lan, "their-network", 8);
    let mut theirs = start(&host, &nodes, &nodes[..1]);
    let (ours, entry) = (lan.host("ours"), nodes[3]);

    announce(&ours, INFO_HASH, 7001, entry);
    assert_eq!(theirs.get_peers(INFO_HASH), [ours.at(7001)]);
    assert!(theirs.announce(INFO_HASH, 7002) > 0);
    let both = [SocketAddr::new(host.ip.into(), 7002), ours.at(7001)];
    assert_eq!(lookup(&ours, INFO_HASH, entry), both);

    let hash = theirs.put_item("of theirs");
    assert_eq!(dht(&ours, "get", &[&hash], entry), "of theirs\n");
    let key = KeyFile::make(&ours, "my.key");
    for (salt, seq) in [("", 0), ("news", 0), ("", 1)] {
        let text = format!("of theirs: {salt} {seq}");
        assert_eq!(theirs.put_signed(&key, salt, &text), seq);
        let get = ["--salt", salt, &key.public];
        assert_eq!(dht(&ours, "get", &get, entry), format!("{text}\n"));
    }
    put_among_theirs(&mut theirs, &key, &ours, entry);
}

/// After the above.
fn put_among_theirs(theirs: &mut OtherDht, key: &KeyFile, ours: &Host, entry: SocketAddr) {
    let stored = dht(ours, "put", &["of ours", "--check"], entry);
    assert!(!stored.contains("; 0 have it"), "{stored}");
    assert_eq!(theirs.get_item(&stored[..40]).as_deref(), Some("of ours"));
    let path = key.path.to_string_lossy();
    for (salt, seq) in [("new", 0), ("news", 1), ("", 2)] {
        let text = format!("of ours: {salt} {seq}");
        dht(ours, "put", &["--key", &path, "--salt", salt, &text], entry);
        assert_eq!(theirs.get_signed(&key.public, salt), (Some(text), Some(seq)));
    }
}

fn theirs_among_ours(start: Start) {
    let mut lan = Lan::new();
    let (host, nodes) = addresses(&mut lan, "our-network", 8);
    let mut ours = vec![DhtNode::start(&host, nodes[0], &[])];
    ours.extend(nodes[1..].iter().map(|&node| DhtNode::start(&host, node, &nodes[..1])));
    let (host, other, entry) = (lan.host("theirs"), lan.host("other"), nodes[3]);
    let mut theirs = start(&host, &[host.at(6881)], &nodes[..2]);

    assert!(theirs.announce(INFO_HASH, 7003) > 0);
    assert_eq!(lookup(&other, INFO_HASH, entry), [host.at(7003)]);
    announce(&other, INFO_HASH, 7004, entry);
    assert_eq!(theirs.get_peers(INFO_HASH), [host.at(7003), other.at(7004)]);

    // Whoever puts an item may keep it as well: he is gone when it is asked for.
    let writer = lan.host("writer");
    let hash = start(&writer, &[writer.at(6881)], &nodes[..2]).put_item("of theirs");
    assert_eq!(dht(&other, "get", &[&hash], entry), "of theirs\n");
    assert_eq!(theirs.get_item(&hash).as_deref(), Some("of theirs"));

    let key = KeyFile::make(&other, "my.key");
    let path = key.path.to_string_lossy();
    for (salt, seq) in [("", 0), ("news", 0), ("", 1)] {
        let text = format!("{salt} {seq}");
        assert_eq!(theirs.put_signed(&key, salt, &text), seq);
        let get = ["--salt", salt, &key.public];
        assert_eq!(dht(&other, "get", &get, entry), format!("{text}\n"));
    }
    dht(&other, "put", &["--key", &path, "--salt", "news", "of ours"], entry);
    assert_eq!(theirs.get_signed(&key.public, "news"), (Some("of ours".into()), Some(1)));
}

#[test]
fn ours_stores_with_bittorrent_dht_and_gets_what_that_stored() {
    ours_among_theirs(OtherDht::bittorrent_dht);
}

#[test]
fn bittorrent_dht_stores_with_ours_and_gets_what_ours_stored() {
    theirs_among_ours(OtherDht::bittorrent_dht);
}

#[test]
#[ignore = "tier 2: mainline has to be compiled first"]
fn ours_stores_with_mainline_and_gets_what_that_stored() {
    ours_among_theirs(OtherDht::mainline);
}

#[test]
#[ignore = "tier 2: mainline has to be compiled first"]
fn mainline_stores_with_ours_and_gets_what_ours_stored() {
    theirs_among_ours(OtherDht::mainline);
}
