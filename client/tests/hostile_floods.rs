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

/// A leech with peers that all have one piece, which one of them was asked for.
fn crowd(info: &Info) -> (Host, Vec<ConnId>) {
    let mut host = Host::leech(info);
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
    let floods: [(&str, &[Message<'_>]); 8] = [
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
