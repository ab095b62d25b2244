//! Unfinished pieces that are written early: they survive a restart, and are trusted no more than
//! any other.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::{Config, ConnId, TorrentEvent, TorrentStats};
use common::{Host, content, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef, Message};

const BLOCK: usize = BLOCK_LEN as usize;
/// Blocks of a piece.
const BLOCKS: u32 = 8;

fn torrent() -> (Vec<u8>, Info) {
    let content = content(3 * BLOCKS as usize * BLOCK - 100);
    let info = info(&content, BLOCKS * BLOCK_LEN);
    (content, info)
}

fn join(host: &mut Host, info: &Info, name: u8) -> ConnId {
    let conn = host.connect(info, name);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    conn
}

fn bytes<'a>(content: &'a [u8], block: &BlockRef) -> &'a [u8] {
    let start = block.piece as usize * BLOCKS as usize * BLOCK + block.begin as usize;
    &content[start..start + block.len as usize]
}

fn stats(host: &Host) -> TorrentStats {
    host.session.stats(host.now, host.key).unwrap()
}

/// Sends all that is asked for until nothing is.
fn finish(host: &mut Host, conn: ConnId, content: &[u8]) {
    loop {
        let requests = host.requests(conn);
        if requests.is_empty() {
            return;
        }
        requests.iter().for_each(|block| host.send_block(conn, *block, bytes(content, block)));
    }
}

#[test]
fn a_piece_that_takes_long_is_written_early_and_hashed_once() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = join(&mut host, &info, 1);
    let requests = host.requests(conn);
    let (first, piece) = (requests[0], requests[0].piece);
    // Six are hashed at once with four; the last of the piece comes before its seventh.
    let now: Vec<_> = requests.iter().filter(|b| b.piece == piece).collect();
    for block in now.iter().take(6).chain(now.last()) {
        host.send_block(conn, **block, bytes(&content, block));
    }
    assert_eq!(stats(&host).written_early, 0, "a piece that comes fast is written whole");
    host.pass(12_000);
    let after = stats(&host);
    assert_eq!((after.written_early, after.held_bytes), (7, 0));
    assert_eq!(after.partial_bytes, 7 * u64::from(BLOCK_LEN));
    let start = first.piece as usize * BLOCKS as usize * BLOCK;
    assert_eq!(host.files["x"][start..start + 6 * BLOCK], content[start..start + 6 * BLOCK]);
    requests
        .iter()
        .filter(|block| block.piece != piece || block.begin == 6 * BLOCK_LEN)
        .for_each(|block| host.send_block(conn, *block, bytes(&content, block)));
    finish(&mut host, conn, &content);
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
    // Two that were not hashed yet, and the last.
    assert_eq!((stats(&host).read_back, stats(&host).partial_bytes), (3, 0));
}

#[test]
fn a_stop_saves_unfinished_pieces_and_the_next_run_asks_for_the_rest_only() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = join(&mut host, &info, 1);
    let requests = host.requests(conn);
    let sent: Vec<BlockRef> = requests.iter().step_by(2).copied().collect();
    sent.iter().for_each(|block| host.send_block(conn, *block, bytes(&content, block)));
    let mut host = host.restart(&info);
    assert_eq!(stats(&host).partial_bytes, sent.len() as u64 * u64::from(BLOCK_LEN));
    assert_eq!((stats(&host).have_bytes, stats(&host).held_bytes), (0, 0));
    let conn = join(&mut host, &info, 2);
    finish(&mut host, conn, &content);
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
    let downloaded: u64 = sent.iter().map(|block| u64::from(block.len)).sum();
    assert_eq!(stats(&host).downloaded, info.total_len - downloaded);
    assert_eq!(stats(&host).read_back, sent.len() as u64);
}

#[test]
fn a_stop_waits_for_what_the_hash_threads_have() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    host.hold_hashes = true;
    let conn = join(&mut host, &info, 1);
    let sent: Vec<BlockRef> = host.requests(conn).into_iter().take(4).collect();
    sent.iter().for_each(|block| host.send_block(conn, *block, bytes(&content, block)));
    host.session.pause_torrent(host.now, host.key);
    host.drain();
    assert!(!host.events.contains(&TorrentEvent::Flushed));
    host.hash_held();
    assert!(host.events.contains(&TorrentEvent::Flushed));
    let host = host.restart(&info);
    assert_eq!(stats(&host).partial_bytes, 4 * u64::from(BLOCK_LEN));
}

#[test]
fn a_piece_whose_blocks_were_all_there_is_hashed_without_any_peer() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = join(&mut host, &info, 1);
    let requests = host.requests(conn);
    let piece = requests[0].piece;
    let (mut own, _): (Vec<_>, Vec<_>) = requests.into_iter().partition(|b| b.piece == piece);
    let last = own.pop().unwrap();
    own.iter().for_each(|block| host.send_block(conn, *block, bytes(&content, block)));
    host.pass(12_000);
    host.send_block(conn, last, bytes(&content, &last));
    assert!(host.events.contains(&TorrentEvent::Piece(piece)));
    let mut host = host.restart(&info);
    assert_eq!(stats(&host).partial_bytes, 0);
    assert_eq!(stats(&host).have_bytes, u64::from(info.piece_len(piece)));
    let conn = join(&mut host, &info, 2);
    finish(&mut host, conn, &content);
    assert_eq!(host.files["x"], content);
}

#[test]
fn who_lied_in_a_piece_that_was_written_early_is_found() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let (liar, honest) = (join(&mut host, &info, 1), join(&mut host, &info, 2));
    // Both are asked for blocks of the same piece; the liar's first is corrupt.
    let (lies, rest) = (host.requests(liar), host.requests(honest));
    let mut corrupt = bytes(&content, &lies[0]).to_vec();
    corrupt[7] ^= 1;
    host.send_block(liar, lies[0], &corrupt);
    host.pass(12_000);
    assert!(stats(&host).written_early > 0);
    for block in rest {
        host.send_block(honest, block, bytes(&content, &block));
    }
    // It answers no more; what it was asked for goes to the other.
    host.say(liar, Message::Choke);
    for _ in 0..40 {
        finish(&mut host, honest, &content);
        host.pass(2_000);
        host.say(honest, Message::KeepAlive);
    }
    assert!(host.is_complete(), "{:?}", stats(&host));
    assert_eq!(host.files["x"], content);
    assert_eq!(stats(&host).hash_failures, 1);
    let banned = |event: &&TorrentEvent| matches!(event, TorrentEvent::Banned(_));
    assert_eq!(host.events.iter().filter(banned).count(), 1);
    assert_eq!(host.closed.get(&liar), Some(&client::Close::Corrupt));
    assert!(!host.closed.contains_key(&honest) || host.is_complete());
}

#[test]
fn a_part_that_was_spoilt_between_two_runs_is_fetched_again_and_nobody_is_blamed() {
    for is_cut in [false, true] {
        let (content, info) = torrent();
        let mut host = Host::leech(&info);
        let conn = join(&mut host, &info, 1);
        let requests = host.requests(conn);
        let sent: Vec<BlockRef> = requests.iter().take(5).copied().collect();
        sent.iter().for_each(|block| host.send_block(conn, *block, bytes(&content, block)));
        let mut host = host.restart(&info);
        let start = sent[0].piece as usize * BLOCKS as usize * BLOCK;
        assert!(stats(&host).partial_bytes > 0);
        if is_cut {
            host.files.get_mut("x").unwrap().truncate(start + BLOCK);
        } else {
            host.files.get_mut("x").unwrap()[start + BLOCK] ^= 1;
        }
        let conn = join(&mut host, &info, 2);
        finish(&mut host, conn, &content);
        assert!(host.is_complete());
        assert_eq!(host.files["x"], content);
        // A file that grows again has zeros where it was cut.
        assert_eq!(stats(&host).hash_failures, 1);
        assert!(!host.events.iter().any(|event| matches!(event, TorrentEvent::Banned(_))));
    }
}

#[test]
fn a_piece_whose_last_block_uses_the_budget_up_gets_whole() {
    let (content, info) = torrent();
    // With its eighth block the budget is used up. Then the last four of it are being hashed, and
    // the first four, which were before, are in memory.
    let window = BLOCKS as usize;
    let config = Config {
        request_window_start: window,
        request_window_max: window,
        credits_max: 2 * window - 1,
        ..Config::default()
    };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let conn = join(&mut host, &info, 1);
    finish(&mut host, conn, &content);
    assert!(host.is_complete(), "{:?}", stats(&host));
    assert_eq!(host.files["x"], content);
}
