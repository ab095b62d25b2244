//! Our DHT node among other people's: who introduces whom, and whose announces are found by whom.

use std::net::SocketAddr;

use harness::aria2::Aria2;
use harness::content::single_file;
use harness::lan::{Host, Lan};
use harness::libtorrent::Libtorrent;
use harness::network::Network;
use harness::ours::{DhtNode, announce, lookup, ping};
use harness::transmission::Transmission;
use harness::wait::{secs, wait_for, wait_until};

const INFO_HASH: &str = "5f2e6a0b9c1d4837e6f5a4b3c2d1e0f9a8b7c6d5";

/// Waits until our lookup from `host` names `peer`.
fn wait_lookup(host: &Host, info_hash: &str, bootstrap: SocketAddr, peer: SocketAddr) {
    wait_for(&format!("our lookup to find {peer}"), secs(60), || {
        let peers = lookup(host, info_hash, bootstrap);
        if peers.contains(&peer) { Ok(()) } else { Err(format!("{peers:?}")) }
    });
}

#[test]
fn our_bootstrap_node_introduces_libtorrent_nodes_to_each_other() {
    let mut lan = Lan::new();
    let ours = lan.host("ours");
    let node = DhtNode::start(&ours, ours.at(6881), &[]);
    let hosts = [lan.host("a"), lan.host("b"), lan.host("c")];
    let mut others: Vec<_> = hosts.iter().map(|host| Libtorrent::start(host, 6881)).collect();
    for other in &mut others {
        other.join(node.address());
    }
    // Only ours was named to them: the rest they have from it.
    wait_for("libtorrent to know all", secs(60), || {
        let nodes: Vec<_> = others.iter_mut().map(|other| other.nodes()[0]).collect();
        if nodes.iter().all(|&n| n == 3) { Ok(()) } else { Err(format!("{nodes:?}")) }
    });
    // And what they learnt serves without it.
    drop(node);
    others[0].announce(INFO_HASH, 7001);
    assert_eq!(others[1].get_peers(INFO_HASH, secs(30)), [hosts[0].at(7001)]);
}

#[test]
fn a_libtorrent_node_introduces_our_nodes_to_each_other() {
    let mut lan = Lan::new();
    let hosts = [lan.host("libtorrent"), lan.host("a"), lan.host("b"), lan.host("asker")];
    let mut libtorrent = Libtorrent::start(&hosts[0], 6881);
    let a = DhtNode::start(&hosts[1], hosts[1].at(6881), &[libtorrent.address(0)]);
    // It names a node to others once it has asked that node something itself.
    wait_until("libtorrent to know ours", secs(60), || libtorrent.nodes()[0] == 1);
    let b = DhtNode::start(&hosts[2], hosts[2].at(6881), &[libtorrent.address(0)]);
    drop(libtorrent);
    announce(&hosts[3], INFO_HASH, 7002, a.address());
    assert_eq!(lookup(&hosts[3], INFO_HASH, b.address()), [hosts[3].at(7002)]);
}

#[test]
fn announces_of_libtorrent_are_found_by_ours_and_the_other_way() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let (ours, host) = (lan.host("ours"), lan.host("libtorrent"));
    let mut libtorrent = Libtorrent::start(&host, 6881);
    let ours_in_network = network.ours[0].address();
    libtorrent.join(ours_in_network);

    libtorrent.announce(INFO_HASH, 7003);
    wait_lookup(&ours, INFO_HASH, network.nodes[0], host.at(7003));

    let other = INFO_HASH.replace('5', "a");
    announce(&ours, &other, 7004, network.nodes[1]);
    assert_eq!(libtorrent.get_peers(&other, secs(30)), [ours.at(7004)]);
    // So does a node that never heard of ours but by the network.
    assert_eq!(network.libtorrent.get_peers_from(3, &other, secs(30)), [ours.at(7004)]);
}

#[test]
fn aria2_enters_by_our_node_and_its_announce_is_found_by_ours() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let (host, ours) = (lan.host("aria2"), lan.host("ours"));
    let path = single_file(&host.folder, "single.bin", 100_000, 1);
    let torrent = host.folder.join("single.torrent");
    let info_hash = network.libtorrent.create(&path, &torrent, 65_536);
    let entry = network.ours[0].address();
    let _seed = Aria2::seed(&host, entry, &[&torrent], &host.folder, 0);
    let seed = Aria2::peer_address(&host);
    assert_eq!(network.libtorrent.get_peers(&info_hash, secs(90)), [seed]);
    assert_eq!(lookup(&ours, &info_hash, network.nodes[1]), [seed]);
    assert!(ping(&ours, Aria2::dht_address(&host)), "aria2's node answers ours");
}

#[test]
fn transmission_enters_by_our_nodes_and_its_announce_is_found_by_ours() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let (host, ours) = (lan.host("transmission"), lan.host("ours"));
    let path = single_file(&host.folder, "single.bin", 100_000, 2);
    let torrent = host.folder.join("single.torrent");
    let info_hash = network.libtorrent.create(&path, &torrent, 65_536);
    let entries: Vec<_> = network.ours.iter().map(DhtNode::address).collect();
    let transmission = Transmission::start(&host, &entries, 0);
    transmission.seed(&torrent, &host.folder);
    // libtorrent sees when it has announced. Our lookup must not be what waits: transmission does
    // not know read-only nodes (BEP 43) and would go on asking each one that has come and gone.
    assert_eq!(network.libtorrent.get_peers(&info_hash, secs(90)), [transmission.address()]);
    assert_eq!(lookup(&ours, &info_hash, network.nodes[1]), [transmission.address()]);
    assert!(ping(&ours, transmission.address()), "transmission's node answers ours");
}
