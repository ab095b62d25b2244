//! Floods of messages that cost their sender little: they must cost us little too, with many idle
//! peers and a torrent of many pieces. Costs are of processor time, which other processes do not
//! change.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use client::ConnId;
use common::Host;
use wire::bitfield::Bitfield;
use wire::metainfo::{Info, build_info};
use wire::peer::{BLOCK_LEN, BlockRef, Message};

/// The largest torrent that we read.
const PIECES: u32 = 1 << 21;
const IDLE_PEERS: u8 = 20;
/// Of processor time, for one flood. Each takes a few hundredths.
const COST_MAX: Duration = Duration::from_secs(1);

/// Processor time of this thread (proc(5), `schedstat`).
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn torrent() -> Info {
    let len = u64::from(PIECES) * u64::from(BLOCK_LEN);
    let hashes = vec![[0; 20]; PIECES as usize];
    Info::parse(&build_info("x", &[(vec![], len)], BLOCK_LEN, &hashes)).unwrap()
}

/// What messages cost, said by one of the crowd.
fn cost_of(host: &mut Host, conn: ConnId, bodies: &[Vec<u8>], count: usize) -> Duration {
    let before = spent();
    for body in bodies.iter().cycle().take(count) {
        host.say_raw(conn, body);
    }
    spent() - before
}

/// A message's id and payload.
fn body(message: Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.split_off(4)
}

/// A leech with peers that all have one piece, which one of them was asked for. Somebody has the
/// others, so that there is no end game, and chokes us.
fn crowd(info: &Info) -> (Host, Vec<ConnId>) {
    let mut host = Host::leech(info);
    let seed = host.connect(info, 90);
    host.say(seed, Message::HaveAll);
    let conns: Vec<ConnId> = (1..=IDLE_PEERS).map(|name| join(&mut host, info, name)).collect();
    let asked: usize = conns.iter().map(|conn| host.requests(*conn).len()).sum();
    assert_eq!(asked, 1, "the others are idle");
    (host, conns)
}

fn join(host: &mut Host, info: &Info, name: u8) -> ConnId {
    let conn = host.connect(info, name);
    let mut one = Bitfield::new(PIECES);
    one.set(PIECES - 1);
    host.say(conn, Message::Bitfield(one.as_bytes()));
    host.say(conn, Message::Unchoke);
    conn
}

#[test]
fn floods_of_small_messages_cost_little_whatever_the_torrent() {
    let info = torrent();
    let only = BlockRef { piece: PIECES - 1, begin: 0, len: BLOCK_LEN };
    let floods: [(&str, &[Message<'_>]); 14] = [
        ("interest", &[Message::Interested, Message::NotInterested]),
        ("cancels for nothing", &[Message::Cancel(only)]),
        ("requests", &[Message::Request(only), Message::Cancel(only)]),
        ("suggestions", &[Message::Suggest(PIECES - 1), Message::Suggest(PIECES)]),
        ("ports", &[Message::Port(6881)]),
        ("handshakes", &[Message::Extended(0, b"d1:md11:ut_metadatai3e6:ut_pexi4eee")]),
        ("keep-alives", &[Message::KeepAlive]),
        ("unknown ones", &[Message::Unknown(99)]),
        ("chokes", &[Message::Choke, Message::Unchoke]),
        ("unchokes", &[Message::Unchoke]),
        ("what it has", &[Message::HaveAll, Message::HaveNone]),
        ("a piece told again", &[Message::Have(PIECES - 1)]),
        ("allowed pieces", &[Message::AllowedFast(PIECES - 1)]),
        ("rejects", &[Message::Reject(only), Message::AllowedFast(PIECES - 1)]),
    ];
    let (mut host, _) = crowd(&info);
    for (name, flood) in (101..).zip(floods) {
        let conn = join(&mut host, &info, name);
        let before = spent();
        for message in flood.1.iter().cycle().take(20_000) {
            host.say(conn, *message);
        }
        let cost = spent() - before;
        assert!(cost < COST_MAX, "{}: {cost:?}", flood.0);
        host.session.handle_closed(host.now, conn, client::Close::Remote);
        host.drain();
    }
}

#[test]
fn a_peer_that_unchokes_and_rejects_in_turn_is_dropped() {
    let info = torrent();
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    for _ in 0..200 {
        for block in host.requests(conn) {
            host.say(conn, Message::Reject(block));
        }
        host.say(conn, Message::Unchoke);
        host.pass(1_000);
    }
    assert!(host.closed.contains_key(&conn));
}

#[test]
fn haves_of_a_whole_torrent_cost_little() {
    let info = torrent();
    let (mut host, _) = crowd(&info);
    let conn = host.connect(&info, 100);
    let bodies: Vec<Vec<u8>> = (0..200_000).map(|piece| body(Message::Have(piece * 7))).collect();
    let cost = cost_of(&mut host, conn, &bodies, bodies.len());
    assert!(cost < COST_MAX, "{cost:?}");
}

#[test]
fn a_queue_full_of_requests_costs_little_to_cancel() {
    let content = common::content(1 << 22);
    let info = common::info(&content, BLOCK_LEN);
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Interested);
    // The socket takes nothing.
    let at = |n: u32| BlockRef { piece: n % 256, begin: n / 256, len: 100 };
    for n in 0..2_000 {
        host.session.handle_message(host.now, conn, &body(Message::Request(at(n))));
    }
    let before = spent();
    for n in 0..20_000 {
        let cancel = body(Message::Cancel(at(10_000 + n)));
        host.session.handle_message(host.now, conn, &cancel);
    }
    let cost = spent() - before;
    assert!(cost < COST_MAX, "{cost:?}");
    host.drain();
    assert_eq!(host.heard(conn).iter().filter(|m| m.starts_with("Piece")).count(), 2_000);
}

#[test]
fn floods_of_metadata_messages_cost_little_whatever_size_is_claimed() {
    let info = torrent();
    let mut host = Host::with_hash(&info, client::Config::default());
    let hello = |size: usize| {
        format!("\x14\x00d1:md11:ut_metadatai3ee13:metadata_sizei{size}ee").into_bytes()
    };
    // All sizes that are gathered at a time, each of as many parts as there may be.
    for name in 1..=40u8 {
        let conn = host.connect(&info, name);
        host.say_raw(conn, &hello((32 << 20) - usize::from(name % 4)));
    }
    let size = (32 << 20) - 1;
    let floods: [(&str, Vec<u8>); 4] = [
        ("a handshake", hello(size)),
        ("data", b"\x14\x01d8:msg_typei1e5:piecei9eex".to_vec()),
        ("a reject", b"\x14\x01d8:msg_typei2e5:piecei0ee".to_vec()),
        ("an unknown one", b"\x14\x01d8:msg_typei9e5:piecei0ee".to_vec()),
    ];
    for (name, (what, flood)) in (101..).zip(floods) {
        let conn = host.connect(&info, name);
        host.say_raw(conn, &hello(size));
        let cost = cost_of(&mut host, conn, &[flood], 20_000);
        println!("{what}: {cost:?}");
        assert!(cost < COST_MAX, "{what}: {cost:?}");
    }
}

#[test]
fn who_came_before_our_pieces_were_known_is_not_flooded_with_them() {
    let content = common::content(1_000_000);
    let info = common::info(&content, 256);
    assert_eq!(info.piece_count(), 3_907);
    for (output_bytes_max, told) in [(40_000, true), (20_000, false)] {
        let config = client::Config { output_bytes_max, ..client::Config::default() };
        let mut host = Host::with_hash(&info, config);
        host.hold = true;
        host.set_seed(&info, &content);
        let early = host.connect(&info, 1);
        host.deaf.insert(early);
        while host.held() > 0 {
            host.work(0, false);
        }
        host.undeafen(early);
        let (bytes, _) = host.waiting(early);
        assert!(bytes <= output_bytes_max, "{bytes}");
        assert_eq!(!host.closed.contains_key(&early), told, "{:?}", host.closed);
        // Who comes again is told all at once.
        let late = host.connect(&info, 2);
        assert!(host.heard(late).contains(&"HaveAll".to_string()));
    }
}
