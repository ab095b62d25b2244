//! The budget of blocks asked for and held: what peers do, it is kept, and never used up for good.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::{Config, ConnId};
use common::{Host, content, info};
use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef, Handshake, Message, Reserved};

const PIECE: u32 = 4 * BLOCK_LEN;
/// Blocks.
const BUDGET: usize = 64;

fn torrent() -> (Vec<u8>, Info) {
    let content = content(6_400_000);
    let info = info(&content, PIECE);
    assert_eq!(info.piece_count(), 98);
    (content, info)
}

fn leech(info: &Info) -> Host {
    let config = Config { credits_max: BUDGET, ..Config::default() };
    let mut host = Host::with_hash(info, config);
    host.set_info(info);
    host
}

/// A peer that has the pieces in `pieces` and answers requests, if it likes.
fn join(host: &mut Host, info: &Info, name: u8, pieces: std::ops::Range<u32>) -> ConnId {
    let conn = host.connect(info, name);
    let mut bits = Bitfield::new(info.piece_count());
    pieces.for_each(|piece| bits.set(piece));
    host.say(conn, Message::Bitfield(bits.as_bytes()));
    host.say(conn, Message::Unchoke);
    conn
}

fn send(host: &mut Host, conn: ConnId, content: &[u8], block: BlockRef) {
    let start = (block.piece * PIECE + block.begin) as usize;
    host.send_block(conn, block, &content[start..start + block.len as usize]);
}

/// Blocks in memory that belong to no whole piece.
fn held(host: &Host) -> usize {
    let stats = host.session.stats(host.now, host.key).unwrap();
    (stats.held_bytes / u64::from(BLOCK_LEN)) as usize
}

#[test]
fn blocks_that_come_late_do_not_exceed_the_budget() {
    let (content, info) = torrent();
    let mut host = leech(&info);
    // Each has pieces of its own, is asked, says nothing until it is given up, and then sends all
    // but the last block of each piece.
    let peers: Vec<_> = (0..8u8)
        .map(|n| join(&mut host, &info, n + 1, u32::from(n) * 12..u32::from(n) * 12 + 12))
        .collect();
    let mut asked: Vec<Vec<BlockRef>> = vec![Vec::new(); peers.len()];
    for _ in 0..60 {
        for (conn, asked) in peers.iter().zip(&mut asked) {
            asked.extend(host.requests(*conn));
        }
        host.pass(1_000);
        peers.iter().for_each(|conn| host.say(*conn, Message::KeepAlive));
    }
    let all: usize = asked.iter().map(Vec::len).sum();
    assert!(all > 2 * BUDGET, "the peers were asked for {all} blocks, one after the other");
    for (conn, asked) in peers.iter().zip(&asked) {
        for block in asked.iter().filter(|block| block.begin < PIECE - BLOCK_LEN) {
            send(&mut host, *conn, &content, *block);
            assert!(held(&host) <= BUDGET, "{}", held(&host));
        }
    }
    let stats = host.session.stats(host.now, host.key).unwrap();
    let partial = (stats.partial_bytes / u64::from(BLOCK_LEN)) as usize;
    assert!(partial > BUDGET / 2, "what fits is kept: {partial}");
}

#[test]
fn peers_that_finish_no_piece_do_not_stop_the_others() {
    let (content, info) = torrent();
    let mut host = leech(&info);
    // They answer all but the last block of each piece.
    let peers: Vec<_> = (0..4u8)
        .map(|n| join(&mut host, &info, n + 1, u32::from(n) * 24..u32::from(n) * 24 + 24))
        .collect();
    let mut honest = None;
    for round in 0..4_000 {
        for conn in &peers {
            for block in host.requests(*conn) {
                if block.begin < PIECE - BLOCK_LEN {
                    send(&mut host, *conn, &content, block);
                }
            }
            host.say(*conn, Message::KeepAlive);
        }
        if let Some(conn) = honest {
            for block in host.requests(conn) {
                send(&mut host, conn, &content, block);
            }
        }
        if host.is_complete() {
            break;
        }
        host.pass(500);
        assert!(held(&host) <= BUDGET);
        // By then the budget is used up.
        if round == 240 {
            honest = Some(join(&mut host, &info, 9, 0..98));
        }
    }
    assert!(host.is_complete(), "{} blocks are held", held(&host));
    assert_eq!(host.files["x"], content);
}

/// One after the other gives all but the last block of a piece of its own, and chokes us.
fn leave_unfinished(host: &mut Host, content: &[u8], info: &Info, pieces: u8) {
    for n in 0..pieces {
        let plain = Handshake {
            reserved: Reserved::default(),
            info_hash: info.info_hash,
            peer_id: [n; 20],
        };
        let conn = host.connect_with(plain);
        let mut bits = Bitfield::new(info.piece_count());
        bits.set(u32::from(n));
        host.say(conn, Message::Bitfield(bits.as_bytes()));
        host.say(conn, Message::Unchoke);
        for block in host.requests(conn) {
            if block.begin < PIECE - BLOCK_LEN {
                send(host, conn, content, block);
                assert!(held(host) <= BUDGET, "{}", held(host));
            }
        }
        host.say(conn, Message::Choke);
    }
}

#[test]
fn unfinished_pieces_that_use_the_budget_up_are_written_and_go_on() {
    let (content, info) = torrent();
    let mut host = leech(&info);
    leave_unfinished(&mut host, &content, &info, 30);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!(stats.partial_bytes, 30 * 3 * u64::from(BLOCK_LEN));
    assert!(stats.written_early >= 26, "{stats:?}");
    let honest = join(&mut host, &info, 99, 0..98);
    while !host.is_complete() {
        let requests = host.requests(honest);
        assert!(!requests.is_empty(), "nothing is asked for, {} blocks are held", held(&host));
        requests.into_iter().for_each(|block| send(&mut host, honest, &content, block));
    }
    assert_eq!(host.files["x"], content);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.wasted, stats.partial_bytes), (0, 0));
    // Their blocks went through the hasher before, or are read once.
    assert!(stats.read_back <= stats.written_early, "{stats:?}");
}

#[test]
fn begun_pieces_that_nobody_completes_do_not_stop_the_others() {
    let (content, info) = torrent();
    let config = Config { begun_blocks_max: 40, ..Config::default() };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    leave_unfinished(&mut host, &content, &info, 30);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!(stats.partial_bytes, 10 * 3 * u64::from(BLOCK_LEN), "no more are begun");
    // It has none of the pieces that are begun.
    let honest = join(&mut host, &info, 99, 10..98);
    for _ in 0..400 {
        for block in host.requests(honest) {
            send(&mut host, honest, &content, block);
        }
        host.pass(500);
        host.say(honest, Message::KeepAlive);
    }
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert!(stats.have_bytes >= 87 * u64::from(PIECE), "{stats:?}");
    assert!(stats.wasted <= 3 * u64::from(BLOCK_LEN), "more than one piece was dropped: {stats:?}");
    let honest = join(&mut host, &info, 98, 0..98);
    for _ in 0..20 {
        for block in host.requests(honest) {
            send(&mut host, honest, &content, block);
        }
        host.pass(500);
    }
    assert!(host.is_complete(), "{} blocks are held", held(&host));
    assert_eq!(host.files["x"], content);
}

#[test]
fn a_piece_larger_than_the_budget_can_be_fetched() {
    let content = content(4_000_000);
    let info = info(&content, 2_000_000);
    let mut host = leech(&info);
    assert!(info.piece_length.div_ceil(BLOCK_LEN) as usize > BUDGET);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    for _ in 0..100 {
        for block in host.requests(conn) {
            let start = block.piece as usize * 2_000_000 + block.begin as usize;
            host.send_block(conn, block, &content[start..start + block.len as usize]);
        }
        host.pass(1_000);
    }
    assert!(host.is_complete(), "{} blocks are held", held(&host));
    assert_eq!(host.files["x"], content);
}
