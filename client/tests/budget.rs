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

/// Blocks that are held and belong to no whole piece.
fn held(host: &Host) -> usize {
    let stats = host.session.stats(host.now, host.key).unwrap();
    (stats.partial_bytes / u64::from(BLOCK_LEN)) as usize
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
    assert!(held(&host) > BUDGET / 2, "what fits is kept: {}", held(&host));
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

#[test]
fn a_budget_full_of_blocks_that_nobody_completes_is_freed_again() {
    let (content, info) = torrent();
    let mut host = leech(&info);
    // One after the other gives all but the last block of a piece of its own, and chokes us.
    for n in 0..30u8 {
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
                send(&mut host, conn, &content, block);
            }
        }
        host.say(conn, Message::Choke);
    }
    assert_eq!(held(&host), BUDGET);
    let honest = join(&mut host, &info, 99, 0..98);
    assert!(host.requests(honest).is_empty());
    for _ in 0..200 {
        for block in host.requests(honest) {
            send(&mut host, honest, &content, block);
        }
        host.pass(500);
    }
    assert!(host.is_complete(), "{} blocks are held", held(&host));
    assert_eq!(host.files["x"], content);
    let wasted = host.session.stats(host.now, host.key).unwrap().wasted;
    assert!(wasted <= 3 * u64::from(BLOCK_LEN), "more than one piece was dropped: {wasted}");
}

#[test]
fn a_piece_larger_than_the_budget_can_be_fetched() {
    let content = content(4_000_000);
    let info = info(&content, 2_000_000);
    let mut host = leech(&info);
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
