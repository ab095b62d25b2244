//! The DHT over IPv6, with libtorrent's nodes: peers, items and counts, among hosts that have both
//! families and nodes that have one.

use harness::aria2::Aria2;
use harness::content::{assert_same, single_file};
use harness::lan::{Host, Lan};
use harness::libtorrent::Libtorrent;
use harness::network::Network;
use harness::ours::{DhtNode, KeyFile, Trackerless, announce, dht, lookup, ping};
use harness::process::output_of;
use harness::programs::our_binary;
use harness::transmission::Transmission;
use harness::wait::{secs, wait_for, wait_until};
use serde_json::Value;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

const INFO_HASH: &str = "5f2e6a0b9c1d4837e6f5a4b3c2d1e0f9a8b7c6d5";

/// A host that has an IPv6 address too, and that address with `port`.
fn host_v6(lan: &mut Lan, name: &str, port: u16) -> (Host, SocketAddr) {
    let host = lan.host(name);
    let ip = lan.add_v6(&host, 1)[0];
    (host, SocketAddr::new(ip.into(), port))
}

/// The same address with another port.
fn port(address: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), port)
}

/// Nine nodes of ours.
fn our_network(lan: &mut Lan) -> Vec<DhtNode> {
    let host = lan.host("our-network");
    let addresses = lan.add_v6(&host, 9);
    our_nodes(&host, &addresses)
}

fn our_nodes(host: &Host, addresses: &[Ipv6Addr]) -> Vec<DhtNode> {
    let nodes: Vec<_> = addresses.iter().map(|ip| SocketAddr::new((*ip).into(), 6881)).collect();
    let mut ours = vec![DhtNode::start(host, nodes[0], &[])];
    ours.extend(nodes[1..].iter().map(|&node| DhtNode::start(host, node, &nodes[..1])));
    ours
}

#[test]
fn ours_finds_peers_and_items_among_libtorrent_nodes_over_v6() {
    let mut lan = Lan::new();
    let mut network = Network::of_libtorrent_v6(&mut lan);
    let entry = network.nodes[3];
    let (ours, address) = host_v6(&mut lan, "ours", 7001);
    // libtorrent stores first: see `Libtorrent::get_version`.
    let hash = network.libtorrent.put_item("of libtorrent");
    assert_eq!(dht(&ours, "get", &[&hash], entry), "of libtorrent\n");
    network.libtorrent.announce_seed(INFO_HASH, 7002);
    let seed = port(network.nodes[0], 7002);
    wait_for("our lookup to find libtorrent's", secs(30), || {
        let peers = lookup(&ours, INFO_HASH, entry);
        if peers == [seed] { Ok(()) } else { Err(format!("{peers:?}")) }
    });

    announce(&ours, INFO_HASH, 7001, entry);
    assert_eq!(network.libtorrent.get_peers(INFO_HASH, secs(30)), [seed, address]);
    let counted = dht(&ours, "scrape", &[INFO_HASH], entry);
    assert!(counted.starts_with("about 1 seed and 1 other peer,"), "{counted}");
    assert_eq!(dht(&ours, "sample", &["--quiet"], entry), format!("{INFO_HASH}\n"));
    let stored = dht(&ours, "put", &["of ours", "--check"], entry);
    assert!(!stored.contains("; 0 have it"), "{stored}");
    assert_eq!(network.libtorrent.get_item(&stored[..40]).as_deref(), Some("of ours"));
    let key = KeyFile::make(&ours, "my.key");
    let put = ["--key", &key.path.to_string_lossy(), "--salt", "news", "signed"];
    dht(&ours, "put", &put, entry);
    let found = network.libtorrent.get_version(&key.public, "news", 0);
    assert_eq!(found.as_deref(), Some("signed"));
}

#[test]
fn libtorrent_finds_peers_and_items_among_our_nodes_over_v6() {
    let mut lan = Lan::new();
    let ours = our_network(&mut lan);
    let nodes: Vec<_> = ours.iter().map(DhtNode::address).collect();
    let (host, address) = host_v6(&mut lan, "libtorrent", 6881);
    let mut libtorrent = Libtorrent::start_many(&host, &[address], &serde_json::json!({}));
    for &node in &nodes {
        libtorrent.add_node(node);
    }
    wait_until("libtorrent to know ours", secs(60), || libtorrent.nodes()[0] >= 8);
    let ((other, other_address), entry) = (host_v6(&mut lan, "other", 7004), nodes[4]);

    libtorrent.announce(INFO_HASH, 7003);
    wait_for("our lookup to find libtorrent's", secs(30), || {
        let peers = lookup(&other, INFO_HASH, entry);
        if peers == [port(address, 7003)] { Ok(()) } else { Err(format!("{peers:?}")) }
    });
    let hash = libtorrent.put_item("of libtorrent");
    assert_eq!(dht(&other, "get", &[&hash], entry), "of libtorrent\n");
    let key = KeyFile::make(&other, "my.key");
    let seq = libtorrent.put_signed(&key, "news", "of libtorrent");
    let get = ["--salt", "news", &key.public];
    assert_eq!(dht(&other, "get", &get, entry), "of libtorrent\n");
    let put = ["--key", &key.path.to_string_lossy(), "--salt", "news", "of ours"];
    dht(&other, "put", &put, entry);
    let found = libtorrent.get_version(&key.public, "news", seq + 1);
    assert_eq!(found.as_deref(), Some("of ours"));
    let second = INFO_HASH.replace('5', "a");
    announce(&other, &second, 7004, entry);
    assert_eq!(libtorrent.get_peers(&second, secs(30)), [other_address]);
}

/// Makes a file in the folder of `host`, and a torrent of it; gives that and its info-hash.
fn torrent_of(host: &Host, name: &str) -> (PathBuf, String) {
    let path = single_file(&host.folder, name, 100_000, 2);
    let torrent = path.with_extension("torrent");
    let mut create = host.command(our_binary("trackerless"));
    create.arg("create").arg(&path).arg("-o").arg(&torrent).arg("--json");
    let created: Value = serde_json::from_str(&output_of(create)).expect("JSON");
    (torrent, created["info_hash"].as_str().expect("an info-hash").to_owned())
}

#[test]
fn aria2_enters_by_our_node_over_v6_and_each_finds_what_the_other_announces() {
    let mut lan = Lan::new();
    let nodes = our_network(&mut lan);
    let ((ours, address), (host, _)) =
        (host_v6(&mut lan, "ours", 6994), host_v6(&mut lan, "aria2", 1));
    let (entry, path) = (nodes[0].address(), single_file(&ours.folder, "ours.bin", 100_000, 1));
    let bind = address.to_string();
    let (_seed, magnets) = Trackerless::seed(&ours, &[&path], entry, &["--bind", &bind]);
    Aria2::fetch(&host, entry, &magnets[0], &host.folder).wait_complete(secs(60));
    assert_same(&path, &host.folder.join("ours.bin"));

    let (torrent, info_hash) = torrent_of(&host, "theirs.bin");
    let _seed = Aria2::seed(&host, entry, &[&torrent], &host.folder, 0);
    let [peer, node] = Aria2::addresses_v6(&host);
    wait_for("our lookup to find aria2's", secs(60), || {
        let peers = lookup(&ours, &info_hash, nodes[4].address());
        if peers == [peer] { Ok(()) } else { Err(format!("{peers:?}")) }
    });
    assert!(ping(&ours, node), "aria2's node answers ours");
}

#[test]
fn transmission_enters_by_our_nodes_over_v6_and_its_announce_is_found_by_ours() {
    let mut lan = Lan::new();
    let network = lan.host("our-network");
    // It speaks IPv6 only where that leads everywhere, and announces once it knows a dozen.
    let addresses = lan.add_global_v6(&network, 14);
    let nodes = our_nodes(&network, &addresses);
    let (ours, host) = (lan.host("ours"), lan.host("transmission"));
    lan.add_global_v6(&ours, 1);
    let address = SocketAddr::new(lan.add_global_v6(&host, 1)[0].into(), 6993);
    let (torrent, info_hash) = torrent_of(&host, "theirs.bin");
    let entries: Vec<_> = nodes.iter().map(DhtNode::address).collect();
    let transmission = Transmission::start(&host, &entries, 0);
    transmission.seed(&torrent, &host.folder);
    // No lookup of ours may be what waits: transmission goes on asking each read-only node (BEP 43) that
    // has come and gone.
    wait_until("our nodes to be told", secs(100), || {
        nodes.iter().filter(|node| node.status()["peers"] == 1).count() >= 4
    });
    assert_eq!(lookup(&ours, &info_hash, entries[4]), [address]);
    assert!(ping(&ours, address), "transmission's node answers ours");
}
