//! `trackerless seed` to other people's clients, which the DHT alone leads to us.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::aria2::Aria2;
use harness::content::{assert_same, assert_same_but_empty, folder, single_file};
use harness::lan::Lan;
use harness::libtorrent::Libtorrent;
use harness::network::Network;
use harness::ours::{Trackerless, lookup};
use harness::transmission::Transmission;
use harness::wait::{secs, wait_for};

/// A client of ours that seeds a file of 4 MB and a folder of 50 files.
struct Ours {
    _seed: Trackerless,
    started: Instant,
    address: SocketAddr,
    paths: [PathBuf; 2],
    magnets: [String; 2],
}

impl Ours {
    fn start(lan: &mut Lan, network: &Network) -> Self {
        let host = lan.host("ours");
        let paths = [
            single_file(&host.folder, "single.bin", 4_000_003, 3),
            folder(&host.folder, "tree", 4),
        ];
        let named: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let started = Instant::now();
        let (seed, magnets) = Trackerless::seed(&host, &named, network.nodes[9], &[]);
        let Ok(magnets) = magnets.try_into() else { panic!("not two magnet links") };
        Self { _seed: seed, started, address: Trackerless::address(&host), paths, magnets }
    }

    /// The magnet links without anything but the info-hash.
    fn bare_magnets(&self) -> [String; 2] {
        let bare = |magnet: &String| magnet.split('&').next().unwrap_or_default().to_owned();
        self.magnets.each_ref().map(bare)
    }

    /// The info-hash of the single file.
    fn info_hash(&self) -> String {
        let bare = &self.bare_magnets()[0];
        bare.rsplit(':').next().unwrap_or_default().to_owned()
    }
}

#[test]
fn a_seed_is_found_within_two_seconds_of_its_start() {
    let mut lan = Lan::new();
    let network = Network::mixed(&mut lan);
    let asker = lan.host("asker");
    let ours = Ours::start(&mut lan, &network);
    wait_for("a lookup that finds our seed", secs(10), || {
        let peers = lookup(&asker, &ours.info_hash(), network.nodes[2]);
        if peers == [ours.address] { Ok(()) } else { Err(format!("{peers:?}")) }
    });
    let took = ours.started.elapsed();
    assert!(took < Duration::from_secs(2), "found after {took:?}");
}

#[test]
fn libtorrent_fetches_a_file_and_a_folder_by_bare_magnets() {
    let mut lan = Lan::new();
    let network = Network::mixed(&mut lan);
    let ours = Ours::start(&mut lan, &network);
    let host = lan.host("libtorrent");
    let mut libtorrent = Libtorrent::start(&host, 6881);
    libtorrent.join(network.nodes[1]);
    let ids = ours.bare_magnets().map(|magnet| libtorrent.add(&magnet, &host.folder, 0));
    for (id, path) in ids.into_iter().zip(&ours.paths) {
        libtorrent.wait_complete(id, secs(15));
        assert_same(path, &host.folder.join(path.file_name().unwrap_or_default()));
    }
}

#[test]
fn transmission_fetches_a_file_and_a_folder_by_bare_magnets() {
    let mut lan = Lan::new();
    let network = Network::mixed(&mut lan);
    let ours = Ours::start(&mut lan, &network);
    let host = lan.host("transmission");
    let transmission = Transmission::start(&host, &network.nodes, 0);
    for magnet in ours.bare_magnets() {
        transmission.add(&magnet, &host.folder);
    }
    transmission.wait_complete(secs(90));
    for path in &ours.paths {
        assert_same_but_empty(path, &host.folder.join(path.file_name().unwrap_or_default()));
    }
}

#[test]
fn aria2_fetches_a_file_and_a_folder_by_magnets() {
    let mut lan = Lan::new();
    let network = Network::mixed(&mut lan);
    let ours = Ours::start(&mut lan, &network);
    let fetches = ours.paths.each_ref().map(|path| {
        let name = path.file_name().unwrap_or_default();
        (path, name, lan.host(&format!("aria2-{}", name.display())))
    });
    let fetches = ours.magnets.iter().zip(fetches).map(|(magnet, (path, name, host))| {
        let aria2 = Aria2::fetch(&host, network.nodes[1], magnet, &host.folder);
        (aria2, path, host.folder.join(name))
    });
    for (mut aria2, path, copy) in fetches.collect::<Vec<_>>() {
        aria2.wait_complete(secs(45));
        assert_same(path, &copy);
    }
}
