//! What a leech asks of whom.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::storage::{self, Storage};
use client::{Config, ConnId};
use common::{Host, content, info};
use wire::metainfo::{Info, build_info};
use wire::peer::{BLOCK_LEN, BlockRef, Message};

const PIECE: u32 = 2 * BLOCK_LEN;

fn open(host: &mut Host, info: &Info, name: u8, has: Message<'_>) -> ConnId {
    let conn = host.connect(info, name);
    host.say(conn, has);
    host.say(conn, Message::Unchoke);
    conn
}

fn send(host: &mut Host, conn: ConnId, content: &[u8], block: BlockRef) {
    let start = (block.piece * PIECE + block.begin) as usize;
    host.send_block(conn, block, &content[start..start + block.len as usize]);
}

#[test]
fn an_idle_peer_doubles_no_request_before_the_end_game() {
    // 40 pieces: more than one peer is asked for at once.
    let content = content(40 * PIECE as usize);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let first = open(&mut host, &info, 1, Message::HaveAll);
    let asked = host.requests(first);
    let piece = asked[0].piece;
    // The second has only what the first was asked for.
    let mut bits = [0u8; 5];
    bits[piece as usize / 8] = 0x80 >> (piece % 8);
    let second = open(&mut host, &info, 2, Message::Bitfield(&bits));
    assert_eq!(host.requests(second), []);
    assert_eq!(host.session.stats(host.now, host.key).unwrap().end_game_requests, 0);
}

#[test]
fn in_the_end_game_what_one_owes_is_asked_of_another_and_cancelled() {
    let content = content(4 * PIECE as usize);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let slow = open(&mut host, &info, 1, Message::HaveAll);
    let owed = host.requests(slow);
    assert_eq!(owed.len(), 8, "all blocks are asked for");
    let fast = open(&mut host, &info, 2, Message::HaveAll);
    let mut cancelled = 0;
    while let [block] = host.requests(fast)[..] {
        assert!(owed.contains(&block));
        send(&mut host, fast, &content, block);
        cancelled +=
            host.heard(slow).iter().filter(|m| **m == format!("Cancel({block:?})")).count();
    }
    assert!(host.is_complete());
    assert_eq!(cancelled, 8);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.end_game_requests, stats.wasted), (8, 0));
}

#[test]
fn a_piece_of_a_file_that_is_not_wanted_interests_nobody() {
    let content = content(4 * PIECE as usize);
    let of_one = info(&content, PIECE);
    let half = 2 * u64::from(PIECE);
    let files = ["a", "b"].map(|name| (vec![name.to_string()], half));
    let raw = build_info("x", &files, PIECE, &of_one.piece_hashes);
    let info = Info::parse(&raw).unwrap();
    let mut host = Host::with_hash(&info, Config::default());
    let some = Storage::new(&info, storage::Config::default(), 0).with_selection([1]);
    assert!(host.session.set_info(host.now, host.key, info.clone(), some));
    host.drain();
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Unchoke);
    host.heard(conn);
    host.say(conn, Message::Have(0));
    assert_eq!(host.heard(conn), [""; 0]);
    host.say(conn, Message::Have(2));
    let heard = host.heard(conn);
    assert_eq!(heard[0], "Interested");
    assert_eq!(heard.len(), 3, "and two blocks are asked for: {heard:?}");
    // It has the rest of what is wanted; then nothing more is.
    host.say(conn, Message::Have(3));
    let mut asked: Vec<BlockRef> =
        (0..2).map(|n| common::block(2, n * BLOCK_LEN, BLOCK_LEN)).collect();
    asked.extend(host.requests(conn));
    assert_eq!(asked.len(), 4);
    asked.into_iter().for_each(|block| send(&mut host, conn, &content, block));
    assert!(host.is_complete());
    assert!(host.heard(conn).contains(&"NotInterested".to_string()));
}

#[test]
fn a_piece_that_nobody_has_delays_no_end_game() {
    let content = content(4 * PIECE as usize);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let but_the_last = Message::Bitfield(&[0b1110_0000]);
    let slow = open(&mut host, &info, 1, but_the_last);
    assert_eq!(host.requests(slow).len(), 6);
    let fast = open(&mut host, &info, 2, but_the_last);
    while let [block] = host.requests(fast)[..] {
        send(&mut host, fast, &content, block);
    }
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!(stats.have_bytes, 3 * u64::from(PIECE));
    assert_eq!((stats.end_game_requests, stats.wasted), (6, 0));
}

#[test]
fn a_begun_piece_that_a_peer_lacks_delays_no_end_game_with_it() {
    let content = content(2 * PIECE as usize);
    let info = info(&content, PIECE);
    let config = Config { request_window_start: 3, ..Config::default() };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let slow = open(&mut host, &info, 1, Message::HaveAll);
    let owed = host.requests(slow);
    assert_eq!(owed.len(), 3, "the second piece has a free block");
    let bits = [0x80 >> owed[0].piece];
    let fast = open(&mut host, &info, 2, Message::Bitfield(&bits));
    while let [block] = host.requests(fast)[..] {
        assert_eq!(block.piece, owed[0].piece);
        send(&mut host, fast, &content, block);
    }
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!(stats.have_bytes, u64::from(PIECE));
}

#[test]
fn a_fast_peer_is_at_two_pieces_by_turns_and_a_slow_one_at_one() {
    let content = content(10 * 16 * BLOCK_LEN as usize);
    let info = info(&content, 16 * BLOCK_LEN);
    let config = Config { fast_window: 24, request_window_start: 80, ..Config::default() };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    let pieces: Vec<u32> = host.requests(conn).iter().map(|block| block.piece).collect();
    assert_eq!(pieces.len(), 80);
    // One after the other, until as many are asked for as a fast peer is.
    let changes = |pieces: &[u32]| pieces.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes(&pieces[..24]), 1);
    // Then four of one, and four of the other.
    assert!(pieces[24..].chunks(4).all(|four| changes(four) == 0), "{pieces:?}");
    assert!(changes(&pieces[24..]) >= 12, "{pieces:?}");
}

#[test]
fn who_only_waits_behind_others_on_our_line_is_not_given_up() {
    let content = content(100 * PIECE as usize);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let silent = open(&mut host, &info, 1, Message::HaveAll);
    let asked = host.requests(silent);
    assert_eq!(asked.len(), 32);
    // Two blocks a second come, and 64 are asked for.
    let steady = open(&mut host, &info, 2, Message::HaveAll);
    let mut owed: Vec<BlockRef> = host.requests(steady);
    let mut cancelled = Vec::new();
    for half_second in 0..120 {
        host.pass(500);
        owed.extend(host.requests(steady));
        let block = owed.remove(0);
        send(&mut host, steady, &content, block);
        let heard = host.heard(silent);
        cancelled.extend(heard.into_iter().filter(|m| m.starts_with("Cancel")));
        assert!(cancelled.is_empty() || half_second > 2 * 30, "after {half_second} half seconds");
    }
    // Then it is, and what others are asked for now it need not send.
    assert_eq!(cancelled.len(), 32);
    assert_eq!(cancelled[0], format!("Cancel({:?})", asked[0]));
}
