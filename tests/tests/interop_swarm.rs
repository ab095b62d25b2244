//! Our client in a swarm with others: pieces come from whoever has them, and go to whoever lacks
//! them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use harness::content::{assert_same, single_file};
use harness::lan::{Host, Lan};
use harness::libtorrent::{Libtorrent, TorrentId};
use harness::network::Network;
use harness::ours::Trackerless;
use harness::transmission::Transmission;
use harness::wait::{secs, wait_for};

/// 24 s of the seed's time, so 96 s for four leeches that give each other nothing.
const LEN: u64 = 6_000_011;
const SEED_LIMIT: u32 = 250_000;

/// For all four, from the start of the last; transmission gets its first block after 20 s.
const LIMIT: Duration = secs(75);

/// What a peer of libtorrent's torrent has given it, in bytes.
fn given(libtorrent: &mut Libtorrent, id: TorrentId, by: IpAddr) -> u64 {
    let from = |peer: &serde_json::Value| {
        let address: SocketAddr = peer["address"].as_str()?.parse().ok()?;
        (address.ip() == by).then(|| peer["gave_bytes"].as_u64())?
    };
    libtorrent.peers(id).iter().filter_map(from).sum()
}

#[test]
fn leeches_of_three_kinds_finish_together_and_each_of_ours_gives() {
    let mut lan = Lan::new();
    let network = Network::mixed(&mut lan);
    let hosts = ["seed", "transmission", "libtorrent", "ours-a", "ours-b"].map(|n| lan.host(n));
    let [seed_host, transmission_host, libtorrent_host, our_hosts @ ..] = &hosts;
    let our_hosts: [&Host; 2] = our_hosts.each_ref();

    let path = single_file(&seed_host.folder, "single.bin", LEN, 5);
    let torrent = seed_host.folder.join("single.torrent");
    let mut seed = Libtorrent::start(seed_host, 6881);
    let info_hash = seed.create(&path, &torrent, 65_536);
    seed.join(network.nodes[0]);
    seed.seed(&torrent, &seed_host.folder, SEED_LIMIT);

    let magnet = format!("magnet:?xt=urn:btih:{info_hash}");
    let transmission = Transmission::start(transmission_host, &network.nodes, 0);
    transmission.add(&magnet, &transmission_host.folder);
    let mut libtorrent = Libtorrent::start(libtorrent_host, 6881);
    libtorrent.join(network.nodes[1]);
    let id = libtorrent.add(&magnet, &libtorrent_host.folder, 0);
    let mut ours = our_hosts.map(|host| {
        Trackerless::get(host, &info_hash, &host.folder, network.nodes[9], &["--seed"])
    });
    let started = Instant::now();
    let left = || LIMIT.saturating_sub(started.elapsed());

    wait_for("both of ours to give libtorrent something", left(), || {
        let given = our_hosts.map(|host| given(&mut libtorrent, id, host.ip.into()));
        if given.iter().all(|&bytes| bytes > 0) { Ok(()) } else { Err(format!("{given:?}")) }
    });
    let done = ours.iter().any(|ours| !ours.events_of("done").is_empty());
    assert!(!done, "ours gave only after they had all");
    for ours in &mut ours {
        ours.wait_event("done", left());
    }
    libtorrent.wait_complete(id, left());
    transmission.wait_complete(left());
    for host in &hosts[1..] {
        assert_same(&path, &host.folder.join("single.bin"));
    }
    for ours in &ours {
        assert!(ours.uploaded_bytes() > 0, "one of ours says that it gave nothing");
    }
}
