//! Peers that call themselves alike: the same one at two addresses, or one that copied a peer id.

mod common;

use client::candidates::Source;
use client::{Close, ConnId};
use common::{Host, content, info};
use std::net::SocketAddr;
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, Handshake, Message, Reserved};

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 9], port))
}

fn torrent() -> Info {
    info(&content(100_000), BLOCK_LEN)
}

/// The last dial succeeds, and who is there shows this peer id.
fn answer(host: &mut Host, info: &Info, name: u8) -> ConnId {
    let (conn, _) = *host.dials.last().expect("a dial");
    host.session.handle_connected(host.now, conn);
    host.drain();
    let handshake =
        Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id: [name; 20] };
    host.session.handle_handshake(host.now, conn, handshake);
    host.drain();
    conn
}

fn dial(host: &mut Host, port: u16) {
    host.session.add_candidates(host.now, host.key, Source::User, &[addr(port)]);
    host.drain();
    assert_eq!(host.dials.last().map(|(_, to)| *to), Some(addr(port)));
}

fn dials_of(host: &Host, port: u16) -> usize {
    host.dials.iter().filter(|(_, to)| *to == addr(port)).count()
}

/// Asks a peer that has all for a block, and has it.
fn give(host: &mut Host, conn: ConnId) {
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    let asked = host.requests(conn)[0];
    let start = (asked.piece * BLOCK_LEN) as usize;
    let bytes = content(100_000)[start..start + asked.len as usize].to_vec();
    host.send_block(conn, asked, &bytes);
}

#[test]
fn who_copies_a_peer_id_and_gives_nothing_hides_nobody() {
    let info = torrent();
    for wait in [0, 60_000] {
        let mut host = Host::leech(&info);
        // A greater peer id than ours: of two connections the one is kept that it dialled.
        let copy = host.connect(&info, 0xff);
        host.pass(wait);
        dial(&mut host, 7);
        let honest = answer(&mut host, &info, 0xff);
        assert!(!host.closed.contains_key(&copy) && !host.closed.contains_key(&honest));
        // Another one of that host is a twin all the same.
        dial(&mut host, 8);
        let twin = answer(&mut host, &info, 0xff);
        assert_eq!(host.closed.get(&twin), Some(&Close::Duplicate));
        assert!(!host.closed.contains_key(&honest));
    }
}

/// A leech that dialled address 7 in vain, since a copy of its peer id gives payload.
fn hidden_by_a_copy() -> (Info, Host, ConnId) {
    let info = torrent();
    let mut host = Host::leech(&info);
    let copy = host.connect(&info, 0xff);
    give(&mut host, copy);
    dial(&mut host, 7);
    let honest = answer(&mut host, &info, 0xff);
    assert_eq!(host.closed.get(&honest), Some(&Close::Duplicate));
    (info, host, copy)
}

#[test]
fn an_address_whose_peer_id_was_copied_is_dialled_once_the_copy_is_gone() {
    let (_, mut host, copy) = hidden_by_a_copy();
    host.pass(20_000);
    assert_eq!(dials_of(&host, 7), 1, "not while the other is there");
    host.say(copy, Message::Have(u32::MAX));
    assert!(host.closed.contains_key(&copy));
    host.pass(5_000);
    assert_eq!(dials_of(&host, 7), 2);
}

#[test]
fn an_address_whose_peer_id_was_copied_is_dialled_once_the_copy_gives_no_more() {
    let (info, mut host, _) = hidden_by_a_copy();
    host.pass(35_000);
    assert_eq!(dials_of(&host, 7), 2);
    let honest = answer(&mut host, &info, 0xff);
    assert!(!host.closed.contains_key(&honest));
}

#[test]
fn a_peer_of_two_addresses_is_dialled_at_either_once_it_is_gone() {
    let info = torrent();
    let mut host = Host::leech(&info);
    dial(&mut host, 7);
    let first = answer(&mut host, &info, 1);
    dial(&mut host, 8);
    let second = answer(&mut host, &info, 1);
    assert_eq!(host.closed.get(&second), Some(&Close::Duplicate));
    host.session.handle_closed(host.now, first, Close::Remote);
    host.drain();
    host.pass(5_000);
    assert_eq!((dials_of(&host, 7), dials_of(&host, 8)), (2, 2));
}

#[test]
fn the_dialled_address_of_a_connection_that_gave_way_is_not_lost() {
    let info = torrent();
    let mut host = Host::leech(&info);
    dial(&mut host, 7);
    let outgoing = answer(&mut host, &info, 0xff);
    let incoming = claim(&mut host, &info, 5000, 0xff, 9);
    assert_eq!(host.closed.get(&outgoing), Some(&Close::Duplicate));
    assert!(!host.closed.contains_key(&incoming));
    host.pass(60_000);
    assert_eq!(dials_of(&host, 7), 1);
    host.session.handle_closed(host.now, incoming, Close::Remote);
    host.drain();
    host.pass(5_000);
    assert_eq!(dials_of(&host, 7), 2);
}

/// A peer at the address of `addr` says that it takes connections at this port.
fn claim(host: &mut Host, info: &Info, from: u16, name: u8, port: u16) -> ConnId {
    let conn = host.session.handle_incoming(host.now, addr(from)).expect("room");
    let handshake =
        Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id: [name; 20] };
    host.session.handle_handshake(host.now, conn, handshake);
    host.say_raw(conn, format!("\x14\x00d1:mde1:pi{port}ee").as_bytes());
    conn
}

#[test]
fn a_claimed_port_is_dialled_once_its_peer_is_gone() {
    let info = torrent();
    let mut host = Host::leech(&info);
    let peer = claim(&mut host, &info, 5000, 1, 7);
    host.pass(60_000);
    assert_eq!(dials_of(&host, 7), 0, "it is there");
    host.session.handle_closed(host.now, peer, Close::Remote);
    host.pass(5_000);
    assert_eq!(dials_of(&host, 7), 1);
}

#[test]
fn who_claims_the_port_of_another_keeps_nobody_from_it() {
    let info = torrent();
    for source in [Source::User, Source::Dht, Source::Pex] {
        for named_first in [false, true] {
            let mut host = Host::leech(&info);
            let name_it = |host: &mut Host| {
                host.session.add_candidates(host.now, host.key, source, &[addr(7)]);
                host.drain();
            };
            if named_first {
                // It is not up yet.
                name_it(&mut host);
                let (conn, _) = host.dials[0];
                host.session.handle_closed(host.now, conn, Close::DialFailed);
            }
            let liar = claim(&mut host, &info, 5000, 1, 7);
            if !named_first {
                name_it(&mut host);
            }
            host.pass(3_000);
            assert_eq!(dials_of(&host, 7), 1 + usize::from(named_first), "{source:?}");
            let honest = answer(&mut host, &info, 2);
            host.session.handle_closed(host.now, liar, Close::Remote);
            host.pass(60_000);
            assert!(!host.closed.contains_key(&honest), "{source:?}");
            assert_eq!(dials_of(&host, 7), 1 + usize::from(named_first), "it is connected");
        }
    }
}

#[test]
fn who_claims_the_port_of_another_does_not_get_it_banned() {
    let info = torrent();
    let mut host = Host::leech(&info);
    let liar = claim(&mut host, &info, 5000, 1, 7);
    host.say(liar, Message::HaveAll);
    host.say(liar, Message::Unchoke);
    let asked = host.requests(liar)[0];
    host.send_block(liar, asked, &[0; BLOCK_LEN as usize]);
    assert_eq!(host.closed.get(&liar), Some(&Close::Corrupt));
    host.pass(5_000);
    assert_eq!(dials_of(&host, 7), 1);
    let honest = answer(&mut host, &info, 2);
    assert!(!host.closed.contains_key(&honest));
}
