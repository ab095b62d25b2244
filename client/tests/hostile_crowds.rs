//! Strangers that take the place of others: with many connections, with the name of another, or
//! with addresses of a host that never asked for it.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;

use client::candidates::Source;
use client::{Close, Config, ConnId, TorrentEvent};
use common::{Host, bytes_of, content, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, Handshake, Message, PeerId, Reserved};

fn torrent() -> Info {
    info(&content(100_000), BLOCK_LEN)
}

fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, host], port))
}

fn name(host: u8, port: u16) -> PeerId {
    let mut name = [host; 20];
    name[..2].copy_from_slice(&port.to_be_bytes());
    name
}

fn greet(host: &mut Host, info: &Info, conn: ConnId, peer_id: PeerId) {
    let handshake = Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id };
    host.session.handle_handshake(host.now, conn, handshake);
    host.drain();
}

fn connect(host: &mut Host, info: &Info, from: SocketAddr, peer_id: PeerId) -> ConnId {
    let conn = host.session.handle_incoming(host.now, from).unwrap();
    greet(host, info, conn, peer_id);
    conn
}

/// The last dial succeeds.
fn answer(host: &mut Host, info: &Info, peer_id: PeerId) -> ConnId {
    let (conn, _) = *host.dials.last().unwrap();
    host.session.handle_connected(host.now, conn);
    host.drain();
    greet(host, info, conn, peer_id);
    conn
}

fn peers(host: &Host) -> usize {
    host.session.stats(host.now, host.key).unwrap().peers
}

#[test]
fn a_host_with_many_silent_connections_makes_room_for_others() {
    let info = torrent();
    let mut host = Host::leech(&info);
    let max = host.session.config().handshakes_pending_max as u16;
    let silent: Vec<ConnId> = (1..=max)
        .map(|port| host.session.handle_incoming(host.now, at(1, port)).unwrap())
        .collect();
    assert!(host.session.handle_incoming(host.now, at(1, max + 1)).is_none());
    let honest = connect(&mut host, &info, at(2, 1), name(2, 1));
    assert!(!host.closed.contains_key(&honest));
    assert_eq!(host.closed.get(&silent[0]), Some(&Close::NoHandshake), "the oldest gave way");
    assert_eq!((peers(&host), host.closed.len()), (1, 1));
}

#[test]
fn silent_connections_of_many_hosts_make_room_once_they_had_time_to_speak() {
    let info = torrent();
    let config = Config { handshakes_pending_max: 100, ..Config::default() };
    let grace = config.handshake_grace.as_millis() as u64;
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let silent: Vec<ConnId> =
        (1..=100).map(|n| host.session.handle_incoming(host.now, at(n, 1)).unwrap()).collect();
    assert_eq!(host.session.handle_incoming(host.now, at(101, 1)), None, "they may yet speak");
    host.pass(grace);
    let young: Vec<ConnId> =
        (1..=99).map(|n| host.session.handle_incoming(host.now, at(100 + n, 1)).unwrap()).collect();
    let honest = connect(&mut host, &info, at(200, 1), name(200, 1));
    assert!(silent.iter().all(|conn| host.closed.get(conn) == Some(&Close::NoHandshake)));
    assert!(!host.closed.contains_key(&honest));
    // Its place is free again, and then nobody of these has had time.
    assert!(host.session.handle_incoming(host.now, at(201, 1)).is_some());
    assert_eq!(host.session.handle_incoming(host.now, at(202, 1)), None);
    assert!(!young.iter().any(|conn| host.closed.contains_key(conn)));
}

#[test]
fn dials_take_no_place_of_incoming_connections() {
    let info = torrent();
    let config = Config { handshakes_pending_max: 4, ..Config::default() };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let named: Vec<SocketAddr> = (1..=20).map(|n| at(n, 1)).collect();
    host.session.add_candidates(host.now, host.key, Source::User, &named);
    host.drain();
    assert_eq!(host.dials.len(), 20);
    assert!(host.session.handle_incoming(host.now, at(100, 1)).is_some());
}

#[test]
fn a_host_that_takes_all_places_gives_way_to_others() {
    let info = torrent();
    let mut host = Host::leech(&info);
    let max = host.session.config().peers_max;
    let crowd: Vec<ConnId> = (1..=max as u16)
        .map(|port| connect(&mut host, &info, at(1, port), name(1, port)))
        .collect();
    assert_eq!(peers(&host), max);
    let one_more = connect(&mut host, &info, at(1, 999), name(1, 999));
    assert_eq!(host.closed.remove(&one_more), Some(Close::Full));
    // Who dials us, and whom we dial.
    let incoming = connect(&mut host, &info, at(2, 1), name(2, 1));
    host.session.add_candidates(host.now, host.key, Source::Dht, &[at(3, 1), at(1, 1000)]);
    host.drain();
    let dialled: Vec<SocketAddr> = host.dials.iter().map(|(_, addr)| *addr).collect();
    assert_eq!(dialled, [at(3, 1)], "not one more of the many");
    let outgoing = answer(&mut host, &info, name(3, 1));
    assert!(!host.closed.contains_key(&incoming) && !host.closed.contains_key(&outgoing));
    assert_eq!((peers(&host), host.closed.len()), (max, 2));
    assert!(host.closed.keys().all(|conn| crowd.contains(conn)));
}

/// A leech that has all the peers it may have, each of a host of its own.
fn full(info: &Info) -> (Host, Vec<ConnId>) {
    let mut host = Host::leech(info);
    let max = host.session.config().peers_max as u8;
    let conns = (1..=max).map(|n| connect(&mut host, info, at(n, 1), name(n, 1))).collect();
    (host, conns)
}

#[test]
fn of_many_hosts_with_one_connection_each_the_idle_give_way() {
    let info = torrent();
    let (mut host, conns) = full(&info);
    let late = connect(&mut host, &info, at(200, 1), name(200, 1));
    assert_eq!(host.closed.remove(&late), Some(Close::Full), "they came just now");
    // Most want nothing; one does, and one pretends to have what we want.
    host.say(conns[0], Message::Interested);
    host.say(conns[1], Message::HaveAll);
    host.pass(30_000);
    let newcomers: Vec<ConnId> =
        (101..=178).map(|n| connect(&mut host, &info, at(n, 1), name(n, 1))).collect();
    let (stay, leave) = conns.split_at(2);
    assert!(leave.iter().all(|conn| host.closed.get(conn) == Some(&Close::Full)));
    assert!(stay.iter().chain(&newcomers).all(|conn| !host.closed.contains_key(conn)));
    let late = connect(&mut host, &info, at(200, 1), name(200, 1));
    assert_eq!(host.closed.get(&late), Some(&Close::Full), "the newcomers have their time too");
    host.pass(60_000);
    newcomers.iter().for_each(|&conn| host.say(conn, Message::Interested));
    for (n, conn) in (201..).zip(stay) {
        connect(&mut host, &info, at(n, 1), name(n, 1));
        assert_eq!(host.closed.get(conn), Some(&Close::Full), "all have waited for long");
    }
}

#[test]
fn who_gives_or_takes_is_not_replaced_by_newcomers() {
    let content = content(100_000);
    let info = info(&content, BLOCK_LEN);
    let (mut host, conns) = full(&info);
    let seed = conns[3];
    host.say(seed, Message::HaveAll);
    host.say(seed, Message::Unchoke);
    let asked = host.requests(seed);
    for &block in &asked[..3] {
        host.pass(29_000);
        let start = (block.piece * BLOCK_LEN) as usize;
        host.send_block(seed, block, &content[start..start + block.len as usize]);
    }
    host.pass(89_000);
    for n in 1..=120 {
        connect(&mut host, &info, at(100 + n, 1), name(n, 2));
    }
    assert!(!host.closed.contains_key(&seed));
    assert_eq!(conns.iter().filter(|conn| host.closed.contains_key(conn)).count(), 79);
}

#[test]
fn a_leech_whose_peers_are_idle_dials_others_one_at_a_time() {
    let info = torrent();
    let (mut host, _) = full(&info);
    let named: Vec<SocketAddr> = (100..120).map(|n| at(n, 1)).collect();
    host.session.add_candidates(host.now, host.key, Source::Dht, &named);
    host.pass(29_000);
    assert_eq!(host.dials.len(), 0);
    host.pass(2_000);
    assert_eq!(host.dials.len(), 1);
    let seed = answer(&mut host, &info, name(100, 1));
    assert_eq!((peers(&host), host.closed.contains_key(&seed)), (80, false));
    host.pass(20_000);
    assert_eq!(host.dials.len(), 3);
}

#[test]
fn who_copies_a_peer_id_does_not_replace_the_peer() {
    let info = torrent();
    let mut host = Host::leech(&info);
    host.session.add_candidates(host.now, host.key, Source::Dht, &[at(1, 1)]);
    host.drain();
    // A greater peer id than ours: of two connections the one is kept that it dialled.
    let honest = answer(&mut host, &info, [0xff; 20]);
    host.pass(11_000);
    host.say(honest, Message::KeepAlive);
    connect(&mut host, &info, at(2, 1), [0xff; 20]);
    assert!(!host.closed.contains_key(&honest));
}

#[test]
fn a_host_of_which_a_thousand_ports_are_told_is_dialled_at_few() {
    let info = torrent();
    let mut host = Host::leech(&info);
    let ports: Vec<SocketAddr> = (1..=1000).map(|port| at(1, port)).collect();
    for _ in 0..10 {
        host.session.add_candidates(host.now, host.key, Source::Dht, &ports);
        host.drain();
        let mut failed = 0;
        // Each is refused at once.
        while failed < host.dials.len() {
            let (conn, _) = host.dials[failed];
            host.session.handle_closed(host.now, conn, Close::DialFailed);
            host.drain();
            failed += 1;
        }
        assert!(failed <= 16, "{failed} dials");
        host.dials.clear();
        host.pass(1_000);
    }
    // Whom the user names is dialled all the same, and so are others.
    host.session.add_candidates(host.now, host.key, Source::User, &[at(1, 2000)]);
    host.session.add_candidates(host.now, host.key, Source::Dht, &[at(2, 1)]);
    host.drain();
    assert!(host.dials.iter().any(|(_, addr)| *addr == at(1, 2000)));
    assert!(host.dials.iter().any(|(_, addr)| *addr == at(2, 1)));
}

#[test]
fn whom_the_user_named_is_dialled_again_amid_a_flood_of_addresses() {
    let info = torrent();
    let mut host = Host::leech(&info);
    host.session.add_candidates(host.now, host.key, Source::User, &[at(1, 1)]);
    host.drain();
    // It is not up yet.
    let (conn, _) = host.dials[0];
    host.session.handle_closed(host.now, conn, Close::DialFailed);
    host.drain();
    // Where nobody answers, and more of it than can be dialled.
    for n in 0..60 {
        let told: Vec<SocketAddr> =
            (0..50).map(|m| SocketAddr::from(([198, 51, n, m + 1], 1))).collect();
        host.session.add_candidates(host.now, host.key, Source::Pex, &told);
        host.pass(500);
    }
    let dialled = host.dials.iter().filter(|(_, addr)| *addr == at(1, 1)).count();
    assert!(dialled >= 3, "{dialled} of {} dials", host.dials.len());
}

#[test]
fn a_liar_is_banned_once_with_all_of_its_v6_network() {
    let content = content(100_000);
    let info = info(&content, BLOCK_LEN);
    let mut host = Host::leech(&info);
    let at = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, n], 1));
    let liars: Vec<ConnId> =
        (1..=2).map(|n| connect(&mut host, &info, at(n), name(n as u8, 1))).collect();
    for &conn in &liars {
        host.say(conn, Message::HaveAll);
        host.say(conn, Message::Unchoke);
    }
    let asked = host.requests(liars[0])[0];
    host.send_block(liars[0], asked, &[0; BLOCK_LEN as usize]);
    for conn in liars {
        assert_eq!(host.closed.get(&conn), Some(&Close::Corrupt));
    }
    let again = connect(&mut host, &info, at(3), name(3, 1));
    assert_eq!(host.closed.get(&again), Some(&Close::Corrupt));
    let banned = host.events.iter().filter(|event| matches!(event, TorrentEvent::Banned(_)));
    assert_eq!(banned.count(), 1);
}

#[test]
fn liars_of_one_v6_network_that_are_found_together_are_one() {
    let content = content(2 * BLOCK_LEN as usize);
    let info = info(&content, 2 * BLOCK_LEN);
    let mut host = Host::leech(&info);
    let at = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, n / 10, 0, 0, 0, n], 1));
    let join = |host: &mut Host, n: u16| {
        let conn = connect(host, &info, at(n), name(n as u8, 1));
        host.say(conn, Message::HaveAll);
        host.say(conn, Message::Unchoke);
        conn
    };
    let liars = [1, 2].map(|n| join(&mut host, n));
    let first = host.requests(liars[1])[0];
    let second = *host.requests(liars[0]).iter().find(|block| **block != first).unwrap();
    host.send_block(liars[1], first, &[0; BLOCK_LEN as usize]);
    host.send_block(liars[0], second, &[0; BLOCK_LEN as usize]);
    // Another gives what is right, once they are gone.
    liars.iter().for_each(|conn| host.session.handle_closed(host.now, *conn, Close::Remote));
    let honest = join(&mut host, 30);
    for block in host.requests(honest) {
        host.send_block(honest, block, bytes_of(&content, block));
    }
    assert!(host.is_complete());
    let banned = host.events.iter().filter(|event| matches!(event, TorrentEvent::Banned(_)));
    assert_eq!(banned.count(), 1);
}
