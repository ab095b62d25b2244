//! Torrents that are paused, go on, or leave.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;

use client::candidates::Source;
use client::disk::{DiskError, DiskErrorKind};
use client::{Asked, Close, Config, ConnId, Failure, TorrentEvent};
use common::{Host, content, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, Message};

const PIECE: u32 = 2 * BLOCK_LEN;
const PIECES: u32 = 8;
/// Longer than any wait of discovery or of a dial.
const LONG_MS: u64 = 3_600_000;

fn torrent() -> (Vec<u8>, Info) {
    let content = content((PIECES * PIECE) as usize);
    let info = info(&content, PIECE);
    (content, info)
}

/// A peer that has all and lets us ask.
fn seed(host: &mut Host, info: &Info, name: u8) -> ConnId {
    let conn = host.connect(info, name);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    conn
}

/// Answers what `conn` was asked for until `pieces` are there.
fn answer(host: &mut Host, conn: ConnId, content: &[u8], pieces: u64) {
    let mut asked = Vec::new();
    while host.session.stats(host.now, host.key).unwrap().have_bytes < pieces * u64::from(PIECE) {
        asked.extend(host.requests(conn));
        assert!(!asked.is_empty(), "nothing is asked for");
        let block = asked.remove(0);
        let start = (block.piece * PIECE + block.begin) as usize;
        host.send_block(conn, block, &content[start..start + block.len as usize]);
    }
}

fn count(host: &Host, event: &TorrentEvent) -> usize {
    host.events.iter().filter(|other| *other == event).count()
}

fn pause(host: &mut Host) {
    host.session.pause_torrent(host.now, host.key);
    host.drain();
}

fn resume(host: &mut Host, info: &Info) {
    assert!(host.session.resume_torrent(host.now, host.key));
    host.set_info(info);
}

#[test]
fn a_paused_torrent_leaves_all_in_peace_and_no_file_open() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = seed(&mut host, &info, 1);
    answer(&mut host, conn, &content, 3);
    let other = SocketAddr::from(([127, 0, 0, 2], 1));
    host.session.add_candidates(host.now, host.key, Source::User, &[other]);
    host.drain();
    let (dialled, _) = host.dials[0];
    assert!(!host.open_files().is_empty());

    pause(&mut host);
    assert_eq!(host.closed.get(&conn), Some(&Close::Stopped));
    assert_eq!(host.closed.get(&dialled), Some(&Close::Stopped), "a dial under way ends too");
    assert_eq!(host.events.last(), Some(&TorrentEvent::Paused));
    assert_eq!(host.open_files(), [""; 0]);

    let (dials, events) = (host.dials.len(), host.events.len());
    host.session.add_candidates(host.now, host.key, Source::Dht, &[other]);
    host.session.hurry_discovery(host.now);
    host.pass(LONG_MS);
    assert_eq!(host.session.poll_timeout(), None);
    assert_eq!((host.dials.len(), host.events.len()), (dials, events), "{:?}", host.events);
    let stranger = host.connect(&info, 9);
    assert_eq!(host.closed.get(&stranger), Some(&Close::Stopped));
    // Once more changes nothing.
    pause(&mut host);
    assert_eq!(count(&host, &TorrentEvent::Paused), 1);
}

#[test]
fn a_resumed_torrent_goes_on_with_what_it_had_and_reads_none_of_it_again() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = seed(&mut host, &info, 1);
    answer(&mut host, conn, &content, 3);
    assert!(!host.session.resume_torrent(host.now, host.key), "it is not paused");
    for _ in 0..2 {
        pause(&mut host);
        // A question from before ends.
        host.session.handle_asked(host.now, host.key, Asked::default());
        let before = count(&host, &TorrentEvent::WantsPeers);
        resume(&mut host, &info);
        assert!(count(&host, &TorrentEvent::WantsPeers) > before, "nobody is asked for peers");
    }
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.have_bytes, stats.checked), (3 * u64::from(PIECE), (0, 0)));
    let conn = seed(&mut host, &info, 2);
    answer(&mut host, conn, &content, u64::from(PIECES));
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
}

#[test]
fn a_seed_that_was_let_go_is_dialled_again_when_something_is_missing() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let addr = SocketAddr::from(([127, 0, 0, 5], 6881));
    host.session.add_candidates(host.now, host.key, Source::User, &[addr]);
    host.drain();
    let (conn, _) = host.dials[0];
    host.answer_dial(conn, &info, 5);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    answer(&mut host, conn, &content, u64::from(PIECES));
    assert_eq!(host.closed.get(&conn), Some(&Close::BothSeeds));
    host.session.add_candidates(host.now, host.key, Source::User, &[addr]);
    host.pass(50_000);
    assert_eq!(host.dials.len(), 1, "it is of no use while all is there");

    pause(&mut host);
    host.files.remove("x");
    resume(&mut host, &info);
    assert!(!host.is_complete());
    host.pass(5_000);
    let dialled: Vec<SocketAddr> = host.dials.iter().map(|(_, addr)| *addr).collect();
    assert_eq!(dialled, [addr, addr]);
}

#[test]
fn what_is_being_hashed_when_a_torrent_is_paused_holds_nobody_up() {
    let (content, info) = torrent();
    let mut host = Host::with_hash(&info, Config { disk_queue_max: 1, ..Config::default() });
    host.set_info(&info);
    let conn = seed(&mut host, &info, 1);
    let block = host.requests(conn)[0];
    let piece = &content[(block.piece * PIECE) as usize..][..PIECE as usize];
    for (n, bytes) in piece.chunks(BLOCK_LEN as usize).enumerate() {
        let block = wire::peer::BlockRef { begin: n as u32 * BLOCK_LEN, ..block };
        let payload = common::Bytes(bytes.to_vec());
        host.session.handle_block(host.now, conn, block, payload);
    }
    assert!(!host.session.wants_read(), "the hash threads have work");
    host.session.pause_torrent(host.now, host.key);
    host.drain();
    assert!(host.session.wants_read());
    assert_eq!(host.events.last(), Some(&TorrentEvent::Paused));
    resume(&mut host, &info);
    let conn = seed(&mut host, &info, 2);
    answer(&mut host, conn, &content, u64::from(PIECES));
}

#[test]
fn a_torrent_without_its_info_dict_is_paused_at_once() {
    let (_, info) = torrent();
    let mut host = Host::with_hash(&info, Config::default());
    host.pass(1);
    pause(&mut host);
    assert_eq!(count(&host, &TorrentEvent::Paused), 1);
    let before = count(&host, &TorrentEvent::WantsPeers);
    // What comes late is not begun with.
    host.set_info(&info);
    assert!(host.open_files().is_empty());
    host.session.handle_asked(host.now, host.key, Asked::default());
    resume(&mut host, &info);
    assert_eq!(count(&host, &TorrentEvent::WantsPeers), before + 1);
    assert_eq!(count(&host, &TorrentEvent::Started), 1);
}

#[test]
fn a_removed_torrent_is_forgotten_and_its_files_stay() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = seed(&mut host, &info, 1);
    answer(&mut host, conn, &content, u64::from(PIECES));
    host.session.remove_torrent(host.now, host.key);
    host.drain();
    assert_eq!(count(&host, &TorrentEvent::Removed), 1);
    assert_eq!(host.session.stats(host.now, host.key), None);
    assert!(host.open_files().is_empty());
    assert_eq!(host.files["x"], content);
    assert!(!host.session.resume_torrent(host.now, host.key));
    let stranger = host.connect(&info, 9);
    assert_eq!(host.closed.get(&stranger), Some(&Close::UnknownTorrent));

    // It may come again, under another name, and one that is paused may leave.
    let again = host.session.add_torrent(host.now, info.info_hash).unwrap();
    assert_ne!(again, host.key);
    host.key = again;
    host.set_info(&info);
    assert!(host.is_complete());
    pause(&mut host);
    host.session.remove_torrent(host.now, host.key);
    host.drain();
    assert_eq!(count(&host, &TorrentEvent::Removed), 2);
}

#[test]
fn a_torrent_that_failed_begins_anew_when_it_is_resumed() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = seed(&mut host, &info, 1);
    host.disk_full = true;
    let blocks = host.requests(conn);
    for block in blocks.into_iter().take(2) {
        let start = (block.piece * PIECE + block.begin) as usize;
        host.send_block(conn, block, &content[start..start + block.len as usize]);
    }
    assert!(matches!(host.events.last(), Some(TorrentEvent::Failed(_))), "{:?}", host.events);
    host.disk_full = false;
    pause(&mut host);
    assert_eq!(host.events.last(), Some(&TorrentEvent::Paused));
    resume(&mut host, &info);
    let conn = seed(&mut host, &info, 2);
    answer(&mut host, conn, &content, u64::from(PIECES));
}

#[test]
fn a_file_that_cannot_be_read_while_it_is_served_fails_the_torrent() {
    let (content, info) = torrent();
    let mut host = Host::seed(&info, &content);
    let (reader, other) = (host.connect(&info, 1), host.connect(&info, 2));
    let error = DiskError { kind: DiskErrorKind::NotFound, message: "x: ends too early".into() };
    host.session.handle_unreadable(host.now, reader, error.clone());
    host.drain();
    assert_eq!(count(&host, &TorrentEvent::Failed(Failure::Disk(error.clone()))), 1);
    for conn in [reader, other] {
        assert_eq!(host.closed.get(&conn), Some(&Close::Stopped));
    }
    // Who is gone has nothing to tell.
    host.session.handle_unreadable(host.now, reader, error);
    host.drain();
    assert_eq!(host.events.iter().filter(|e| matches!(e, TorrentEvent::Failed(_))).count(), 1);
}
