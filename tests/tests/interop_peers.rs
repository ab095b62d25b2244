//! The other clients among themselves: shows that the harness's networks, wrappers and time
//! limits are right before ours is judged by them.

use harness::aria2::Aria2;
use harness::content::{assert_same, assert_same_but_empty, folder, single_file};
use harness::lan::Lan;
use harness::libtorrent::Libtorrent;
use harness::network::Network;
use harness::transmission::Transmission;
use harness::wait::secs;

const PIECE_LEN: u32 = 65_536;

#[test]
fn aria2_fetches_from_libtorrent_by_magnet() {
    let mut lan = Lan::new();
    let network = Network::of_libtorrent(&mut lan);
    let (host, leech) = (lan.host("libtorrent"), lan.host("aria2"));
    let mut seed = Libtorrent::start(&host, 6881);
    let path = single_file(&host.folder, "single.bin", 4_000_003, 1);
    let torrent = host.folder.join("single.torrent");
    let info_hash = seed.create(&path, &torrent, PIECE_LEN);
    seed.join(network.nodes[0]);
    seed.seed(&torrent, &host.folder, 0);
    let magnet = format!("magnet:?xt=urn:btih:{info_hash}");
    let mut aria2 = Aria2::fetch(&leech, network.nodes[1], &magnet, &leech.folder);
    aria2.wait_complete(secs(90));
    assert_same(&path, &leech.folder.join("single.bin"));
}

#[test]
fn libtorrent_fetches_from_aria2_by_magnet() {
    let mut lan = Lan::new();
    let mut network = Network::of_libtorrent(&mut lan);
    let (host, leech) = (lan.host("aria2"), lan.host("libtorrent"));
    let path = folder(&host.folder, "tree", 1);
    let torrent = host.folder.join("tree.torrent");
    let info_hash = network.libtorrent.create(&path, &torrent, PIECE_LEN);
    let _seed = Aria2::seed(&host, network.nodes[0], &[&torrent], &host.folder, 0);
    let mut libtorrent = Libtorrent::start(&leech, 6881);
    libtorrent.join(network.nodes[1]);
    let id = libtorrent.add(&format!("magnet:?xt=urn:btih:{info_hash}"), &leech.folder, 0);
    libtorrent.wait_complete(id, secs(90));
    assert_same(&path, &leech.folder.join("tree"));
}

#[test]
fn transmission_fetches_from_libtorrent_by_magnet() {
    let mut lan = Lan::new();
    let network = Network::of_libtorrent(&mut lan);
    let (host, leech) = (lan.host("libtorrent"), lan.host("transmission"));
    let mut seed = Libtorrent::start(&host, 6881);
    let path = folder(&host.folder, "tree", 2);
    let torrent = host.folder.join("tree.torrent");
    let info_hash = seed.create(&path, &torrent, PIECE_LEN);
    seed.join(network.nodes[0]);
    seed.seed(&torrent, &host.folder, 0);
    let transmission = Transmission::start(&leech, &network.nodes, 0);
    let to = leech.folder.join("got");
    transmission.add(&format!("magnet:?xt=urn:btih:{info_hash}"), &to);
    transmission.wait_complete(secs(120));
    assert_same_but_empty(&path, &to.join("tree"));
}

#[test]
fn libtorrent_fetches_from_transmission_by_magnet() {
    let mut lan = Lan::new();
    let mut network = Network::of_libtorrent(&mut lan);
    let (host, leech) = (lan.host("transmission"), lan.host("libtorrent"));
    let path = single_file(&host.folder, "single.bin", 4_000_003, 3);
    let torrent = host.folder.join("single.torrent");
    let info_hash = network.libtorrent.create(&path, &torrent, PIECE_LEN);
    let seed = Transmission::start(&host, &network.nodes, 0);
    seed.seed(&torrent, &host.folder);
    let mut libtorrent = Libtorrent::start(&leech, 6881);
    libtorrent.join(network.nodes[1]);
    let id = libtorrent.add(&format!("magnet:?xt=urn:btih:{info_hash}"), &leech.folder, 0);
    libtorrent.wait_complete(id, secs(120));
    assert_same(&path, &leech.folder.join("single.bin"));
}
