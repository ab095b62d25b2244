//! What peers tell by extensions, and what comes of it.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;

use client::storage::{self, Storage};
use client::{Close, Config, ConnId, Failure, Identity, Session, TorrentEvent};
use common::{Host, content, info};
use sha1::{Digest, Sha1};
use wire::ext::{ExtHandshake, MetadataMessage, Pex, PexPeer};
use wire::metainfo::{Info, build_info};
use wire::peer::{BLOCK_LEN, Handshake, Message, Reserved};
use wire::time::Time;

const PIECE: u32 = 2 * BLOCK_LEN;

/// Our extension handshake, as `conn` got it.
fn told(host: &mut Host, conn: ConnId) -> ExtHandshake {
    let bodies = host.bodies(conn);
    let handshake = bodies.iter().find_map(|body| match Message::parse(body) {
        Ok(Message::Extended(0, payload)) => ExtHandshake::parse(payload).ok(),
        _ => None,
    });
    handshake.unwrap()
}

fn say_handshake(host: &mut Host, conn: ConnId, handshake: ExtHandshake) {
    let mut payload = Vec::new();
    handshake.encode(&mut payload);
    host.say(conn, Message::Extended(0, &payload));
}

/// A seed answers until all is there.
fn fetch_all(host: &mut Host, seed: ConnId, content: &[u8]) {
    while !host.is_complete() {
        for block in host.requests(seed) {
            let start = (block.piece * PIECE + block.begin) as usize;
            host.send_block(seed, block, &content[start..start + block.len as usize]);
        }
    }
}

#[test]
fn our_extension_handshake_says_what_we_take_and_have() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut leech = Host::with_hash(&info, Config::default());
    let conn = leech.connect(&info, 1);
    let before = told(&mut leech, conn);
    assert!(before.metadata_id.is_some() && before.pex_id.is_some());
    assert_eq!((before.metadata_size, before.upload_only), (None, false));
    assert_eq!(before.reqq, Some(Config::default().upload_queue_max as u32));
    assert!(before.client.unwrap().starts_with("Trackerless "));
    assert_eq!(before.listen_port, Some(1));
    assert_eq!(before.your_ip, Some([127, 0, 0, 1].into()));

    let mut seed = Host::seed(&info, &content);
    let conn = seed.connect(&info, 1);
    let after = told(&mut seed, conn);
    assert_eq!(after.metadata_size, Some(info.raw.len() as u64));
    assert!(after.upload_only, "BEP 21");

    // Who does not speak BEP 10 gets no message of it.
    let plain =
        Handshake { reserved: Reserved::default(), info_hash: info.info_hash, peer_id: [2; 20] };
    let conn = seed.connect_with(plain);
    assert!(seed.heard(conn).iter().all(|message| !message.starts_with("Extended")));
}

#[test]
fn a_peer_is_asked_under_the_id_that_it_told_last() {
    let info = info(&content(300_000), PIECE);
    let mut host = Host::with_hash(&info, Config::default());
    let conn = host.connect(&info, 1);
    for id in [200, 7] {
        let size = Some(info.raw.len() as u64);
        say_handshake(
            &mut host,
            conn,
            ExtHandshake { metadata_id: Some(id), metadata_size: size, ..ExtHandshake::default() },
        );
        host.pass(6_000);
        let ids: Vec<u8> = host
            .bodies(conn)
            .iter()
            .filter_map(|body| match Message::parse(body) {
                Ok(Message::Extended(id, _)) if id != 0 => Some(id),
                _ => None,
            })
            .collect();
        assert!(!ids.is_empty() && ids.iter().all(|asked| *asked == id), "{ids:?}");
    }
}

#[test]
fn peers_of_a_peer_exchange_are_dialled_unless_they_cannot_be() {
    let info = info(&content(300_000), PIECE);
    let mut host = Host::with_hash(&info, Config::default());
    let from = SocketAddr::from(([93, 184, 216, 34], 6881));
    let conn = host.session.handle_incoming(host.now, from).unwrap();
    let handshake =
        Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id: [3; 20] };
    host.session.handle_handshake(host.now, conn, handshake);
    let peer = |text: &str| PexPeer { addr: text.parse().unwrap(), flags: 0 };
    let good = ["9.8.7.6:5", "[2001:db8::6]:7"];
    let bad = ["127.0.0.1:80", "192.168.0.1:80", "[fe80::1]:80", "0.0.0.0:1", "224.0.0.1:1"];
    let added = good.iter().chain(&bad).map(|text| peer(text)).collect();
    let mut payload = Vec::new();
    Pex { added, dropped: vec!["9.8.7.6:5".parse().unwrap()] }.encode(&mut payload);
    host.say(conn, Message::Extended(2, &payload));
    let mut dialled: Vec<String> = host.dials.iter().map(|(_, addr)| addr.to_string()).collect();
    dialled.sort();
    assert_eq!(dialled, good, "and nothing local that a stranger from afar named");
}

#[test]
fn an_incoming_peer_can_be_dialled_at_the_port_that_it_tells() {
    let info = info(&content(300_000), PIECE);
    let mut host = Host::with_hash(&info, Config::default());
    let conn = host.connect(&info, 1);
    let port = |port| ExtHandshake { listen_port: Some(port), ..ExtHandshake::default() };
    say_handshake(&mut host, conn, port(4000));
    assert!(host.dials.is_empty(), "it is connected");
    host.session.handle_closed(host.now, conn, Close::Remote);
    host.pass(5_000);
    let dialled: Vec<SocketAddr> = host.dials.iter().map(|(_, addr)| *addr).collect();
    assert_eq!(dialled, [([127, 0, 0, 1], 4000).into()]);
}

#[test]
fn the_port_of_a_dht_node_is_told_and_taken() {
    let info = info(&content(300_000), PIECE);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    assert!(host.heard(conn).iter().all(|message| !message.starts_with("Port")), "we have none");
    for port in [0, 6882] {
        host.say(conn, Message::Port(port));
    }
    let nodes: Vec<_> =
        host.events.iter().filter(|e| matches!(e, TorrentEvent::DhtNode(_))).collect();
    assert_eq!(nodes, [&TorrentEvent::DhtNode(([127, 0, 0, 1], 6882).into())]);

    let us = Identity { peer_id: [9; 20], listen_port: None, dht_port: Some(5555) };
    host.session = Session::new(Config::default(), us, [7; 32]);
    host.key = host.session.add_torrent(Time::ZERO, info.info_hash).unwrap();
    let conn = host.connect(&info, 1);
    assert!(host.heard(conn).contains(&"Port(5555)".into()));
    let mut reserved = Reserved::OURS;
    reserved.0[7] &= !1;
    let conn =
        host.connect_with(Handshake { reserved, info_hash: info.info_hash, peer_id: [2; 20] });
    assert!(!host.heard(conn).contains(&"Port(5555)".into()), "it has no DHT");
}

#[test]
fn who_wants_nothing_is_let_go_when_we_want_nothing_either() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let partial = host.connect(&info, 1);
    let only = ExtHandshake { upload_only: true, ..ExtHandshake::default() };
    say_handshake(&mut host, partial, only);
    let leech = host.connect(&info, 2);
    let seed = host.connect(&info, 3);
    host.say(seed, Message::HaveAll);
    host.say(seed, Message::Unchoke);
    fetch_all(&mut host, seed, &content);
    assert_eq!(host.closed.get(&partial), Some(&Close::BothSeeds), "a partial seed, BEP 21");
    assert_eq!(host.closed.get(&seed), Some(&Close::BothSeeds));
    assert!(!host.closed.contains_key(&leech));
}

#[test]
fn who_has_all_that_it_wants_says_so_to_those_who_came_before() {
    let content = content(4 * PIECE as usize);
    let info = info(&content, PIECE);
    let half = 2 * u64::from(PIECE);
    let files = ["a", "b"].map(|name| (vec![name.to_string()], half));
    let raw = build_info("x", &files, PIECE, &info.piece_hashes);
    let info = Info::parse(&raw).unwrap();
    // All files, and one of them: a partial seed.
    for files in [vec![0, 1], vec![1]] {
        let mut host = Host::with_hash(&info, Config::default());
        let some = Storage::new(&info, storage::Config::default(), 0).with_selection(files);
        assert!(host.session.set_info(host.now, host.key, info.clone(), some));
        host.drain();
        let leech = host.connect(&info, 1);
        let plain = Handshake {
            reserved: Reserved::default(),
            info_hash: info.info_hash,
            peer_id: [2; 20],
        };
        let plain = host.connect_with(plain);
        assert!(!told(&mut host, leech).upload_only);
        let seed = host.connect(&info, 3);
        host.say(seed, Message::HaveAll);
        host.say(seed, Message::Unchoke);
        fetch_all(&mut host, seed, &content);
        let now = told(&mut host, leech);
        assert!(now.upload_only, "BEP 21");
        assert_eq!(now.metadata_size, Some(info.raw.len() as u64));
        assert!(host.heard(plain).iter().all(|message| !message.starts_with("Extended")));
    }
}

#[test]
fn a_private_torrent_is_refused_once_its_info_dict_is_known() {
    let open = info(&content(300_000), PIECE);
    let raw = [&open.raw[..open.raw.len() - 1], b"7:privatei1ee"].concat();
    let private = Info::parse(&raw).unwrap();
    assert_eq!(private.info_hash.0, <[u8; 20]>::from(Sha1::digest(&raw)));
    assert!(private.private);
    let mut host = Host::with_hash(&private, Config::default());
    let conn = host.connect(&private, 1);
    let size = Some(raw.len() as u64);
    let hello =
        ExtHandshake { metadata_id: Some(3), metadata_size: size, ..ExtHandshake::default() };
    say_handshake(&mut host, conn, hello);
    let mut payload = Vec::new();
    MetadataMessage::Data { piece: 0, total_size: Some(raw.len()), data: &raw }
        .encode(&mut payload);
    host.say(conn, Message::Extended(1, &payload));
    assert!(host.events.contains(&TorrentEvent::Failed(Failure::Private)));
    assert_eq!(host.closed.get(&conn), Some(&Close::Stopped));
    host.events.clear();
    host.pass(120_000);
    assert!(!host.events.contains(&TorrentEvent::WantsPeers), "the DHT is not asked");
}

#[test]
fn who_came_before_the_metadata_is_told_when_it_is_here() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut leech = Host::with_hash(&info, Config::default());
    let conn = leech.connect(&info, 1);
    assert_eq!(told(&mut leech, conn).metadata_size, None);
    leech.set_info(&info);
    assert_eq!(told(&mut leech, conn).metadata_size, Some(info.raw.len() as u64));
}

#[test]
fn a_seed_parts_from_who_says_that_it_wants_nothing() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut seed = Host::seed(&info, &content);
    let conn = seed.connect(&info, 1);
    say_handshake(&mut seed, conn, ExtHandshake { upload_only: true, ..ExtHandshake::default() });
    assert_eq!(seed.closed.get(&conn), Some(&Close::BothSeeds));
}
