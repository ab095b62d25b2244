//! Hash threads and disks that are behind: while they are, no socket of any torrent is read.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;

use client::disk::{DiskError, DiskErrorKind};
use client::{Config, ConnId, Failure, TorrentEvent};
use common::{Host, bytes_of, content, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef, Handshake, Message, Reserved};

const PIECE: u32 = 2 * BLOCK_LEN;
const PIECES: u32 = 8;

fn torrent() -> (Vec<u8>, Info) {
    let content = content((PIECES * PIECE) as usize);
    let info = info(&content, PIECE);
    (content, info)
}

/// A leech that reads nothing while two blocks wait, a peer that has all, and what it is asked for,
/// in the order of pieces.
fn leech(info: &Info) -> (Host, ConnId, Vec<BlockRef>) {
    let mut host = Host::with_hash(info, Config { disk_queue_max: 2, ..Config::default() });
    host.set_info(info);
    let conn = host.connect(info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    let requests = host.requests(conn);
    (host, conn, requests)
}

fn send(host: &mut Host, conn: ConnId, content: &[u8], block: BlockRef) {
    host.send_block(conn, block, bytes_of(content, block));
}

fn fail(host: &mut Host) {
    let error = DiskError { kind: DiskErrorKind::Other, message: "input/output error".into() };
    host.session.give_up(host.now, host.key, Failure::Disk(error));
    host.drain();
    assert!(matches!(host.events.last(), Some(TorrentEvent::Failed(_))), "{:?}", host.events);
}

#[test]
fn a_torrent_whose_disk_is_full_holds_no_other_up() {
    let (content, info) = torrent();
    let (mut host, conn, requests) = leech(&info);
    host.disk_full = true;
    for block in &requests[..2] {
        send(&mut host, conn, &content, *block);
    }
    assert!(matches!(host.events.last(), Some(TorrentEvent::Failed(_))), "{:?}", host.events);
    assert!(host.session.wants_read());
}

#[test]
fn what_is_being_hashed_when_a_torrent_fails_is_not_written() {
    let (content, info) = torrent();
    let (mut host, conn, requests) = leech(&info);
    host.hold_hashes = true;
    // A piece, and half of another.
    for block in &requests[..3] {
        send(&mut host, conn, &content, *block);
    }
    assert!(!host.session.wants_read(), "the hash threads have work");
    fail(&mut host);
    assert!(host.session.wants_read());
    host.session.flush_torrent(host.now, host.key);
    host.drain();
    host.hash_held();
    assert!(host.session.wants_read());
    assert_eq!(host.session.stats(host.now, host.key).unwrap().written_early, 0);
    assert!(host.files.get("x").is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0)));
    assert!(!host.events.iter().any(|event| matches!(event, TorrentEvent::Piece(_))));
}

#[test]
fn what_is_being_written_early_when_a_torrent_fails_is_not_hashed() {
    let (content, info) = torrent();
    let (mut host, conn, requests) = leech(&info);
    send(&mut host, conn, &content, requests[0]);
    host.hold = true;
    host.pass(12_000);
    assert!(host.held() > 0, "it is being written");
    send(&mut host, conn, &content, requests[1]);
    fail(&mut host);
    while host.held() > 0 {
        host.work(0, false);
    }
    assert!(host.session.wants_read());
    assert!(!host.events.iter().any(|event| matches!(event, TorrentEvent::Piece(_))));
    let second = (requests[1].piece * PIECE + requests[1].begin) as usize;
    let there = host.files["x"].get(second..second + BLOCK_LEN as usize);
    assert_ne!(there, Some(bytes_of(&content, requests[1])), "the rest of the piece");
}

#[test]
fn what_is_not_read_is_not_held_against_who_may_have_sent_it() {
    let (content, info) = torrent();
    let (mut host, conn, requests) = leech(&info);
    let other = host.connect(&info, 2);
    host.say(other, Message::HaveAll);
    host.say(other, Message::Unchoke);
    let again = host.requests(other);
    assert_eq!(again.len(), 1, "the end game");
    host.hold_hashes = true;
    for block in &requests[..2] {
        send(&mut host, conn, &content, *block);
    }
    assert!(!host.session.wants_read());
    let addr = SocketAddr::from(([127, 0, 0, 3], 1));
    let greeting = host.session.handle_incoming(host.now, addr).unwrap();
    let pause = Config::default().silence_max + Config::default().silence_max;
    host.pass(pause.as_millis() as u64);
    assert!(host.session.poll_timeout().unwrap() > host.now, "due for what does not come");
    assert!(host.closed.is_empty(), "{:?}", host.closed);
    assert!(host.requests(conn).is_empty() && host.requests(other).is_empty(), "snubbed");

    host.hash_held();
    let handshake =
        Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id: [3; 20] };
    host.session.handle_handshake(host.now, greeting, handshake);
    host.drain();
    assert!(host.closed.is_empty(), "{:?}", host.closed);
    // From here on it counts again.
    host.pass(1_000);
    assert!(host.requests(other).is_empty());
    host.pass(20_000);
    assert!(!host.requests(other).is_empty(), "who does not answer is not waited for");
    let silence = Config::default().silence_max.as_millis() as u64;
    host.pass(silence);
    assert!(host.closed.contains_key(&conn) && host.closed.contains_key(&other));
}
