//! `trackerless get` by bare info-hash from other people's clients, which the DHT alone leads to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::aria2::Aria2;
use harness::content::{assert_same, folder, single_file};
use harness::lan::{Host, Lan};
use harness::libtorrent::{Libtorrent, TorrentId};
use harness::network::Network;
use harness::ours::Trackerless;
use harness::transmission::Transmission;
use harness::wait::{secs, wait_for};

const PIECE_LEN: u32 = 65_536;

/// What is shared: one file, and a folder of many.
struct Shared {
    single: Torrent,
    tree: Torrent,
}

struct Torrent {
    original: PathBuf,
    file: PathBuf,
    info_hash: String,
}

impl Shared {
    fn make(lan: &Lan, network: &mut Network) -> Self {
        let (single, tree) = write_content(lan.path());
        let mut torrent = |original: PathBuf| {
            let file = original.with_extension("torrent");
            let info_hash = network.libtorrent.create(&original, &file, PIECE_LEN);
            Torrent { original, file, info_hash }
        };
        Self { single: torrent(single), tree: torrent(tree) }
    }

    fn files(&self) -> [&Path; 2] {
        [&self.single.file, &self.tree.file]
    }

    /// Waits until the DHT names all of `seeds` for both torrents: what follows is ours alone.
    fn wait_announced(&self, network: &mut Network, seeds: &[SocketAddr]) {
        for torrent in [&self.single, &self.tree] {
            let mut found = BTreeSet::new();
            wait_for("the seeds to announce themselves", secs(90), || {
                found.extend(network.libtorrent.get_peers(&torrent.info_hash, secs(1)));
                let all = seeds.iter().all(|seed| found.contains(seed));
                if all { Ok(()) } else { Err(format!("{found:?}")) }
            });
        }
    }

    /// Fetches both at once, each by a client of ours that is told nothing but its info-hash and
    /// one node of the DHT.
    fn fetch(&self, lan: &mut Lan, entry: SocketAddr, limit: Duration) {
        let fetches = [&self.single, &self.tree].map(|torrent| {
            let host = lan.host(&format!("ours-{}", torrent.name()));
            let to = host.folder.join("got");
            (Trackerless::get(&host, &torrent.info_hash, &to, entry, &[]), torrent, to)
        });
        for (mut ours, torrent, to) in fetches {
            ours.wait_complete(limit);
            assert_same(&torrent.original, &to.join(torrent.name()));
        }
    }
}

impl Torrent {
    fn name(&self) -> String {
        self.original.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The same content wherever it is written: a file of 4 MB, and a folder of 50 files.
fn write_content(parent: &Path) -> (PathBuf, PathBuf) {
    (single_file(parent, "single.bin", 4_000_003, 1), folder(parent, "tree", 2))
}

/// A libtorrent that seeds both; `limit` in bytes a second for each, 0 for none.
fn libtorrent(
    host: &Host,
    shared: &Shared,
    network: &Network,
    limit: u32,
) -> (Libtorrent, [TorrentId; 2]) {
    write_content(&host.folder);
    let mut seed = Libtorrent::start(host, 6881);
    seed.join(network.nodes[0]);
    let ids = shared.files().map(|file| seed.seed(file, &host.folder, limit));
    (seed, ids)
}

/// A transmission that seeds both; `limit_kb` in kB a second for all, 0 for none.
fn transmission(host: &Host, shared: &Shared, network: &Network, limit_kb: u32) -> Transmission {
    write_content(&host.folder);
    let seed = Transmission::start(host, &network.nodes, limit_kb);
    for file in shared.files() {
        seed.seed(file, &host.folder);
    }
    seed
}

/// An aria2 that seeds both; `limit` in bytes a second for each, 0 for none.
fn aria2(host: &Host, shared: &Shared, network: &Network, limit: u32) -> Aria2 {
    write_content(&host.folder);
    Aria2::seed(host, network.nodes[0], &shared.files(), &host.folder, limit)
}

#[test]
fn a_file_and_a_folder_come_from_libtorrent() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let shared = Shared::make(&lan, &mut network);
    let (seed, _) = libtorrent(&lan.host("libtorrent"), &shared, &network, 0);
    shared.wait_announced(&mut network, &[seed.address(0)]);
    shared.fetch(&mut lan, network.nodes[9], secs(10));
}

#[test]
fn a_file_and_a_folder_come_from_transmission() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let shared = Shared::make(&lan, &mut network);
    let seed = transmission(&lan.host("transmission"), &shared, &network, 0);
    shared.wait_announced(&mut network, &[seed.address()]);
    // It answers after 2 s at the earliest and unchokes every 10.
    shared.fetch(&mut lan, network.nodes[9], secs(25));
}

#[test]
fn a_file_and_a_folder_come_from_aria2() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let shared = Shared::make(&lan, &mut network);
    let host = lan.host("aria2");
    let _seed = aria2(&host, &shared, &network, 0);
    shared.wait_announced(&mut network, &[Aria2::peer_address(&host)]);
    shared.fetch(&mut lan, network.nodes[9], secs(10));
}

#[test]
fn all_three_give_their_part_of_a_file_and_of_a_folder() {
    let mut lan = Lan::new();
    let mut network = Network::mixed(&mut lan);
    let shared = Shared::make(&lan, &mut network);
    let hosts = ["libtorrent", "transmission", "aria2"].map(|name| lan.host(name));
    // So slow that two of them are still at it when transmission, the last, begins to send.
    let (mut libtorrent, ids) = libtorrent(&hosts[0], &shared, &network, 100_000);
    let transmission = transmission(&hosts[1], &shared, &network, 200);
    let aria2 = aria2(&hosts[2], &shared, &network, 100_000);
    let seeds = [libtorrent.address(0), transmission.address(), Aria2::peer_address(&hosts[2])];
    shared.wait_announced(&mut network, &seeds);
    shared.fetch(&mut lan, network.nodes[9], secs(45));
    for id in ids {
        let status = libtorrent.status(id);
        assert!(status["payload_up_bytes"].as_u64() > Some(0), "libtorrent gave none: {status}");
    }
    assert_eq!(transmission.torrents_given(), 2);
    assert_eq!(aria2.torrents_given(), 2);
}
