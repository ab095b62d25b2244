//! What strangers may send that they should not: nothing of it panics, grows memory without bound
//! or keeps the download from finishing.

mod common;

use client::{Close, Config, TorrentEvent};
use common::{Host, block, content, info};
use proptest::prelude::*;
use wire::ext::{Pex, PexPeer};
use wire::peer::{BLOCK_LEN, Handshake, Message, Reserved};

const PIECE: u32 = 2 * BLOCK_LEN;

/// An honest peer gives all that is asked of it.
fn serve(host: &mut Host, conn: client::ConnId, content: &[u8]) {
    for _ in 0..10_000 {
        let requests = host.requests(conn);
        if requests.is_empty() {
            return;
        }
        for block in requests {
            let start = (block.piece * PIECE + block.begin) as usize;
            host.send_block(conn, block, &content[start..start + block.len as usize]);
        }
    }
    panic!("it asks for ever");
}

#[test]
fn an_honest_peer_is_enough() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    serve(&mut host, conn, &content);
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
    assert_eq!(host.closed.get(&conn), Some(&Close::BothSeeds));
}

#[test]
fn handshakes_that_are_not_for_us() {
    let content = content(100_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let ours = Handshake {
        reserved: Reserved::OURS,
        info_hash: info.info_hash,
        peer_id: *b"-TK0100-ourselves000",
    };
    let conn = host.connect_with(ours);
    assert_eq!(host.closed.get(&conn), Some(&Close::Ourselves));
    let conn = host.connect_with(Handshake { info_hash: wire::Id([9; 20]), ..ours });
    assert_eq!(host.closed.get(&conn), Some(&Close::UnknownTorrent));
    let first = host.connect(&info, 1);
    let second = host.connect(&info, 1);
    assert_eq!(host.closed.get(&second), Some(&Close::Duplicate));
    assert!(!host.closed.contains_key(&first));
}

#[test]
fn messages_that_break_the_protocol_end_the_connection() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let count = info.piece_count();
    for body in [
        &[4, 0, 0, 0][..],
        &[4, 0xff, 0xff, 0xff, 0xff],
        &[4, 0, 0, 0, count as u8],
        &[5, 0xff],
        &[5, 0, 0, 0, 0, 0, 0],
        &[5, 0xff, 0xff],
        &[0, 1],
        &[6, 0, 0],
        &[9, 1],
        &[20],
        &[20, 0, b'x'],
        &[20, 0, b'l', b'e'],
        &[20, 1, b'd', b'e'],
        &[20, 2, b'x'],
    ] {
        let mut host = Host::leech(&info);
        let conn = host.connect(&info, 1);
        host.say_raw(conn, body);
        let closed = host.closed.get(&conn);
        assert!(matches!(closed, Some(Close::Fault(_))), "{body:?}: {closed:?}");
    }
}

#[test]
fn messages_that_mean_nothing_are_ignored() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    for body in
        [&[][..], &[99], &[21, 1, 2, 3], &[20, 77, 1], &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    {
        host.say_raw(conn, body);
    }
    host.say(conn, Message::Reject(block(0, 0, BLOCK_LEN)));
    host.say(conn, Message::AllowedFast(9999));
    host.say(conn, Message::Port(0));
    assert!(host.closed.is_empty());
}

#[test]
fn requests_out_of_range_are_refused_and_not_for_ever() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Interested);
    host.heard(conn);
    for bad in [
        block(0, 0, 0),
        block(0, 0, u32::MAX),
        block(0, PIECE, 1),
        block(0, PIECE - 1, 2),
        block(u32::MAX, 0, 1),
        block(9999, 0, BLOCK_LEN),
        block(0, u32::MAX, 2),
    ] {
        host.say(conn, Message::Request(bad));
        assert_eq!(host.heard(conn), [format!("Reject({bad:?})")]);
    }
    let good = block(1, BLOCK_LEN, BLOCK_LEN);
    host.say(conn, Message::Request(good));
    assert_eq!(host.heard(conn), [format!("Piece({good:?})")]);
    for _ in 0..100 {
        host.say(conn, Message::Request(block(0, 0, 0)));
    }
    assert!(matches!(host.closed.get(&conn), Some(Close::Fault(_))));
}

#[test]
fn a_choked_peer_gets_only_what_is_allowed_fast() {
    let content = content(3_000_000);
    let info = info(&content, PIECE);
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    let allowed: Vec<u32> = host
        .heard(conn)
        .iter()
        .filter_map(|m| m.strip_prefix("AllowedFast(")?.strip_suffix(')')?.parse().ok())
        .collect();
    assert!(!allowed.is_empty());
    let free = block(allowed[0], 0, BLOCK_LEN);
    let other = (0..).find(|piece| !allowed.contains(piece)).unwrap();
    host.say(conn, Message::Request(free));
    host.say(conn, Message::Request(block(other, 0, BLOCK_LEN)));
    assert_eq!(
        host.heard(conn),
        [format!("Piece({free:?})"), format!("Reject({:?})", block(other, 0, BLOCK_LEN))]
    );
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let content = content(3_000_000);
    let info = info(&content, PIECE);
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Interested);
    // The socket takes nothing: outputs are not polled.
    let max = Config::default().upload_queue_max as u32;
    let mut rejected = 0;
    for n in 0..max + 100 {
        let mut bytes = Vec::new();
        Message::Request(block(n % 80, BLOCK_LEN * (n % 2), BLOCK_LEN)).encode(&mut bytes);
        host.session.handle_message(host.now, conn, &bytes[4..]);
    }
    host.drain();
    for message in host.heard(conn) {
        rejected += u32::from(message.starts_with("Reject"));
    }
    assert_eq!(rejected, 100);
}

#[test]
fn metadata_requests_of_one_that_does_not_read_are_bounded() {
    let content = content(3_000_000);
    let info = info(&content, BLOCK_LEN);
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    host.say_raw(conn, b"\x14\x00d1:md11:ut_metadatai3eee");
    // What waits are numbers, and rejects of 31 bytes.
    let most = Config::default().output_bytes_max / 31 + Config::default().metadata_queue_max;
    for _ in 0..=most {
        host.session.handle_message(host.now, conn, b"\x14\x01d8:msg_typei0e5:piecei0ee");
    }
    host.drain();
    assert!(matches!(host.closed.get(&conn), Some(Close::Fault(_))));
}

#[test]
fn blocks_that_nobody_asked_for_are_waste_and_then_a_fault() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.send_block(conn, block(0, 0, BLOCK_LEN), &content[..BLOCK_LEN as usize]);
    host.send_block(conn, block(0, 1, 7), &content[..7]);
    host.send_block(conn, block(u32::MAX, u32::MAX, 3), &content[..3]);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!(stats.wasted, u64::from(BLOCK_LEN) + 10);
    assert!(host.closed.is_empty());
    for _ in 0..100 {
        host.send_block(conn, block(0, 0, BLOCK_LEN), &content[..BLOCK_LEN as usize]);
    }
    assert!(matches!(host.closed.get(&conn), Some(Close::Fault(_))));
}

#[test]
fn a_lone_peer_with_corrupt_blocks_is_banned_and_the_others_finish() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let liar = host.connect(&info, 1);
    host.say(liar, Message::HaveAll);
    host.say(liar, Message::Unchoke);
    for block in host.requests(liar) {
        host.send_block(liar, block, &vec![0xee; block.len as usize]);
    }
    assert_eq!(host.closed.get(&liar), Some(&Close::Corrupt));
    assert!(host.events.iter().any(|e| matches!(e, TorrentEvent::Banned(_))));
    let honest = host.connect(&info, 2);
    host.say(honest, Message::HaveAll);
    host.say(honest, Message::Unchoke);
    serve(&mut host, honest, &content);
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
}

#[test]
fn a_liar_among_honest_peers_is_found_by_its_blocks() {
    let content = content(600_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let peers: Vec<_> = (1..=3).map(|name| host.connect(&info, name)).collect();
    for conn in &peers {
        host.say(*conn, Message::HaveAll);
        host.say(*conn, Message::Unchoke);
    }
    // The blocks of each piece come from all three in turn.
    let mut asked: Vec<_> = Vec::new();
    for round in 0..400 {
        for (at, conn) in peers.iter().enumerate() {
            asked.extend(host.requests(*conn).into_iter().map(|block| (at, *conn, block)));
        }
        if asked.is_empty() {
            host.pass(100);
            if host.is_complete() {
                break;
            }
            assert!(round < 399, "it never finishes");
            continue;
        }
        let (at, conn, block) = asked.remove(round % asked.len().min(3));
        let start = (block.piece * PIECE + block.begin) as usize;
        let mut bytes = content[start..start + block.len as usize].to_vec();
        if at == 1 {
            bytes[5] ^= 1;
        }
        host.send_block(conn, block, &bytes);
    }
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
    assert_eq!(host.closed.get(&peers[1]), Some(&Close::Corrupt));
    for honest in [0, 2] {
        assert_ne!(host.closed.get(&peers[honest]), Some(&Close::Corrupt));
    }
}

#[test]
fn a_peer_that_never_answers_is_not_waited_for() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let silent = host.connect(&info, 1);
    host.say(silent, Message::HaveAll);
    host.say(silent, Message::Unchoke);
    assert!(!host.requests(silent).is_empty());
    let honest = host.connect(&info, 2);
    host.say(honest, Message::HaveAll);
    host.say(honest, Message::Unchoke);
    for _ in 0..30 {
        serve(&mut host, honest, &content);
        host.pass(1000);
    }
    assert!(host.is_complete());
}

#[test]
fn a_peer_that_never_shows_a_handshake_is_dropped() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    let addr = ([127, 0, 0, 1], 999).into();
    let conn = host.session.handle_incoming(host.now, addr).unwrap();
    host.pass(11_000);
    assert_eq!(host.closed.get(&conn), Some(&Close::NoHandshake));
    let max = Config::default().handshakes_pending_max;
    let taken = (0..2 * max).filter(|_| host.session.handle_incoming(host.now, addr).is_some());
    assert_eq!(taken.count(), max);
}

#[test]
fn peer_exchanges_count_as_often_as_they_may_come() {
    let info = info(&content(300_000), PIECE);
    let mut host = Host::with_hash(&info, Config::default());
    let conn = host.connect(&info, 1);
    let mut told = 0u8;
    let mut tell = |host: &mut Host| {
        told += 1;
        let addr = |n| ([93, told, 0, n], 6881).into();
        // More than BEP 11 allows in one message.
        let added = (0..60).map(|n| PexPeer { addr: addr(n), flags: 0 }).collect();
        let mut payload = Vec::new();
        Pex { added, dropped: Vec::new() }.encode(&mut payload);
        host.say(conn, Message::Extended(2, &payload));
        host.session.stats(host.now, host.key).unwrap().candidates
    };
    assert_eq!(tell(&mut host), 50);
    for _ in 0..20 {
        assert_eq!(tell(&mut host), 50, "sooner than a minute after the last");
    }
    host.pass(60_000);
    assert_eq!(tell(&mut host), 100);
    assert!(!host.closed.contains_key(&conn));
}

#[test]
fn metadata_that_lies_costs_only_its_sender() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::with_hash(&info, Config::default());
    let greet = |host: &mut Host, name, size: &str| {
        let conn = host.connect(&info, name);
        let hello = format!("\x14\x00d1:md11:ut_metadatai3ee13:metadata_sizei{size}ee");
        host.say_raw(conn, hello.as_bytes());
        conn
    };
    for size in ["0", "-1", "99999999999999", "9223372036854775807"] {
        let name = 10 + size.len() as u8;
        let conn = greet(&mut host, name, size);
        let closed = matches!(host.closed.get(&conn), Some(Close::Fault(_)));
        assert!(closed || size == "-1", "{size}");
    }
    let size = info.raw.len().to_string();
    let liar = greet(&mut host, 1, &size);
    let mut lie = format!("\x14\x01d8:msg_typei1e5:piecei0e10:total_sizei{size}ee").into_bytes();
    lie.extend(vec![b'x'; info.raw.len()]);
    host.say_raw(liar, &lie);
    assert_eq!(host.closed.get(&liar), Some(&Close::Corrupt));
    let late = host.connect(&info, 2);
    host.say_raw(late, b"\x14\x01d8:msg_typei1e5:piecei0e10:total_sizei5eehello");
    assert!(!host.events.iter().any(|e| matches!(e, TorrentEvent::Metadata(_))));
    let honest = greet(&mut host, 3, &size);
    let mut truth = format!("\x14\x01d8:msg_typei1e5:piecei0e10:total_sizei{size}ee").into_bytes();
    truth.extend(&*info.raw);
    host.say_raw(honest, &truth);
    let told = host.events.iter().any(|e| matches!(e, TorrentEvent::Metadata(i) if **i == info));
    assert!(told, "{:?}", host.closed);
}

#[test]
fn a_full_disk_is_told_and_stops_cleanly() {
    let content = content(300_000);
    let info = info(&content, PIECE);
    let mut host = Host::leech(&info);
    host.disk_full = true;
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    serve(&mut host, conn, &content);
    assert!(host.events.iter().any(|e| matches!(e, TorrentEvent::Failed(_))));
    assert!(host.closed.contains_key(&conn));
    assert!(!host.is_complete());
    host.pass(10_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_panics(
        bodies in proptest::collection::vec(
            (0u8..24, proptest::collection::vec(any::<u8>(), 0..40)), 0..60),
        seed in any::<bool>(),
    ) {
        let content = content(200_000);
        let info = info(&content, PIECE);
        let mut host = if seed { Host::seed(&info, &content) } else { Host::leech(&info) };
        let conn = host.connect(&info, 1);
        for (id, payload) in bodies {
            let mut body = vec![id];
            body.extend(payload);
            host.say_raw(conn, &body);
            host.pass(10);
        }
        host.pass(2_000);
    }
}
