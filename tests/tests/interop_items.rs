//! Small items, counts and samples, between our nodes and libtorrent's: ours ask a network that is all
//! libtorrent, and libtorrent asks one that is all ours.

use std::net::SocketAddr;

use harness::lan::{Host, Lan};
use harness::libtorrent::Libtorrent;
use harness::network::Network;
use harness::ours::{DhtNode, KeyFile, announce, dht, dht_code};
use harness::wait::{secs, wait_for, wait_until};

const INFO_HASH: &str = "5f2e6a0b9c1d4837e6f5a4b3c2d1e0f9a8b7c6d5";

/// A network of ours, and a libtorrent node that has joined it.
fn network_of_ours(lan: &mut Lan) -> (Vec<DhtNode>, Host, Libtorrent) {
    let (host, ips) = lan.host_with_addresses("our-network", 9);
    let at = |n: usize| SocketAddr::new(ips[n].into(), 6881);
    let mut ours = vec![DhtNode::start(&host, at(0), &[])];
    ours.extend((1..9).map(|n| DhtNode::start(&host, at(n), &[at(0)])));
    let host = lan.host("libtorrent");
    let mut libtorrent = Libtorrent::start(&host, 6881);
    for node in &ours {
        libtorrent.add_node(node.address());
    }
    wait_until("libtorrent to know ours", secs(60), || libtorrent.nodes()[0] >= 8);
    (ours, host, libtorrent)
}

#[test]
fn ours_stores_with_libtorrent_and_gets_what_libtorrent_stored() {
    let mut lan = Lan::new();
    let mut network = Network::of_libtorrent(&mut lan);
    let (ours, entry) = (lan.host("ours"), network.nodes[3]);
    // What nobody can change. Theirs go first: see `get_version`.
    let theirs = network.libtorrent.put_item("from libtorrent");
    assert_eq!(dht(&ours, "get", &[&theirs], entry), "from libtorrent\n");
    let key = KeyFile::make(&ours, "my.key");
    let first = network.libtorrent.put_signed(&key, "news", "of libtorrent");
    let stored = dht(&ours, "put", &["Hello World!", "--check"], entry);
    let hash = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
    assert!(stored.starts_with(hash) && !stored.contains("; 0 have it"), "{stored}");
    assert_eq!(network.libtorrent.get_item(hash).as_deref(), Some("Hello World!"));

    // What only the owner of a key can.
    let get = ["--salt", "news", &key.public];
    assert_eq!(dht(&ours, "get", &get, entry), "of libtorrent\n");
    let path = key.path.to_string_lossy();
    for (salt, seq) in [("", 0), ("news", first + 1), ("", 1)] {
        let text = format!("{salt} {seq}");
        dht(&ours, "put", &["--key", &path, "--salt", salt, &text], entry);
        assert_eq!(network.libtorrent.get_version(&key.public, salt, seq), Some(text));
    }
    // The other program writes over it.
    let last = network.libtorrent.put_signed(&key, "news", "of libtorrent again");
    assert_eq!(last, first + 2);
    assert_eq!(dht(&ours, "get", &get, entry), "of libtorrent again\n");
}

#[test]
fn libtorrent_stores_with_ours_and_gets_what_ours_stored() {
    let mut lan = Lan::new();
    let (nodes, host, mut libtorrent) = network_of_ours(&mut lan);
    let entry = nodes[4].address();
    let hash = libtorrent.put_item("from libtorrent");
    assert_eq!(libtorrent.get_item(&hash).as_deref(), Some("from libtorrent"));
    assert_eq!(dht(&host, "get", &[&hash], entry), "from libtorrent\n");

    let key = KeyFile::make(&host, "my.key");
    let path = key.path.to_string_lossy();
    for (n, salt) in ["", "", "news"].into_iter().enumerate() {
        let text = format!("version {n}");
        libtorrent.put_signed(&key, salt, &text);
        let get = ["--salt", salt, &key.public];
        assert_eq!(dht(&host, "get", &get, entry), format!("{text}\n"));
    }
    dht(&host, "put", &["--key", &path, "of ours"], entry);
    let (text, seq) = libtorrent.get_signed(&key.public, "");
    assert_eq!(text.as_deref(), Some("of ours"));
    assert!(seq >= Some(2), "{seq:?}");
}

#[test]
fn the_largest_items_pass_and_what_libtorrent_refuses_is_a_conflict() {
    let mut lan = Lan::new();
    let mut network = Network::of_libtorrent(&mut lan);
    let (ours, entry) = (lan.host("ours"), network.nodes[3]);
    // As bencode 1,000 bytes.
    let (theirs, mine) = ("t".repeat(996), "o".repeat(996));
    let hash = network.libtorrent.put_item(&theirs);
    assert_eq!(dht(&ours, "get", &[&hash], entry), format!("{theirs}\n"));
    let stored = dht(&ours, "put", &[&mine], entry);
    assert_eq!(network.libtorrent.get_item(&stored[..40]), Some(mine));

    let key = KeyFile::make(&ours, "my.key");
    let path = key.path.to_string_lossy();
    let salt = "s".repeat(64);
    let put = |more: &[&str]| {
        dht_code(&ours, "put", &[&["--key", &path, "--salt", &salt], more].concat(), entry)
    };
    assert_eq!(put(&["--seq", "5", "fifth"]), (Some(0), String::new()));
    for (more, words) in [
        (&["--seq", "4", "fourth"][..], "a newer item is stored"),
        (&["--cas", "4", "sixth"], "another one than --cas says"),
        (&["--cas", "4", "--seq", "6", "sixth"], "another one than --cas says"),
        // Libtorrent says that it took it, and keeps what it has.
        (&["--seq", "5", "--check", "another fifth"], "they keep another item"),
    ] {
        let (code, error) = put(more);
        assert!(code == Some(5) && error.contains(words), "{more:?}: {code:?} {error}");
    }
    let found = network.libtorrent.get_version(&key.public, &salt, 5);
    assert_eq!(found.as_deref(), Some("fifth"));
    let (code, error) = dht_code(&ours, "get", &["--salt", "other", &key.public], entry);
    assert!(code == Some(3) && error.contains("no node has this item"), "{code:?} {error}");
    let last = i64::MAX.to_string();
    assert_eq!(put(&["--cas", "5", "--seq", &last, "last"]), (Some(0), String::new()));
    let get = ["--salt", &salt, &key.public];
    assert_eq!(dht(&ours, "get", &get, entry), "last\n");
}

#[test]
fn swarms_are_counted_and_torrents_sampled_in_both_directions() {
    let mut lan = Lan::new();
    let mut network = Network::of_libtorrent(&mut lan);
    let (ours, entry) = (lan.host("ours"), network.nodes[3]);
    let other = lan.host("other");
    announce(&ours, INFO_HASH, 7001, entry);
    dht(&other, "announce", &[INFO_HASH, "--port", "7002", "--seed"], entry);
    network.libtorrent.announce_seed(INFO_HASH, 7003);
    wait_for("libtorrent's nodes to count two seeds and a peer", secs(30), || {
        let counted = dht(&ours, "scrape", &[INFO_HASH], entry);
        match counted.starts_with("about 2 seeds and 1 other peer,") {
            true => Ok(()),
            false => Err(counted),
        }
    });
    assert_eq!(dht(&ours, "sample", &["--quiet"], entry), format!("{INFO_HASH}\n"));

    let (nodes, host, mut libtorrent) = network_of_ours(&mut lan);
    libtorrent.announce_seed(INFO_HASH, 7004);
    let entry = nodes[2].address();
    wait_for("our nodes to count a seed", secs(30), || {
        let counted = dht(&host, "scrape", &[INFO_HASH], entry);
        let seed = counted.starts_with("about 1 seed and 0 other peers");
        if seed { Ok(()) } else { Err(counted) }
    });
    let sampled = nodes.iter().filter_map(|node| libtorrent.sample(node.address()));
    let sampled: Vec<_> = sampled.collect();
    assert_eq!(sampled.len(), nodes.len(), "all of ours answer");
    assert!(sampled.iter().any(|hashes| hashes[..] == [INFO_HASH]), "{sampled:?}");
}
