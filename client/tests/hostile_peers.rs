//! Peers that speak too early, too late, twice or of what does not exist.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::candidates::Source;
use client::{Close, Config};
use common::{Host, block, bytes_of, content, fault, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef, Handshake, Message, Reserved};

const PIECE: u32 = 2 * BLOCK_LEN;

fn torrent(len: usize) -> (Vec<u8>, Info) {
    let content = content(len);
    let info = info(&content, PIECE);
    (content, info)
}

#[test]
fn messages_before_the_handshake_and_a_second_one_end_the_connection() {
    let (_, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let conn = host.session.handle_incoming(host.now, ([127, 0, 0, 1], 9).into()).unwrap();
    host.say(conn, Message::Interested);
    assert_eq!(host.closed.get(&conn), Some(&Close::NoHandshake));
    let conn = host.connect(&info, 1);
    let again = Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id: [2; 20] };
    host.session.handle_handshake(host.now, conn, again);
    host.drain();
    assert_eq!(fault(&host, conn), "a handshake out of turn");
    // Nothing of what it still sends counts.
    host.say(conn, Message::HaveAll);
    host.send_block(conn, block(0, 0, 5), b"hello");
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.seeds, stats.downloaded, stats.peers), (0, 0, 0));
}

#[test]
fn pieces_told_before_the_metadata_must_fit_it_when_it_comes() {
    let (_, info) = torrent(300_000);
    let count = info.piece_count();
    assert_eq!(count, 10);
    for (told, fits) in [
        (Message::Have(count - 1), true),
        (Message::Bitfield(&[0xff, 0xc0]), true),
        (Message::HaveAll, true),
        (Message::HaveNone, true),
        (Message::Have(count), false),
        (Message::Have((1 << 21) - 1), false),
        (Message::Bitfield(&[0xff]), false),
        (Message::Bitfield(&[0xff, 0xc0, 0]), false),
        (Message::Bitfield(&[0xff, 0xe0]), false),
        (Message::Bitfield(&[]), false),
    ] {
        let mut host = Host::with_hash(&info, Config::default());
        let conn = host.connect(&info, 1);
        host.say(conn, told);
        assert!(host.closed.is_empty(), "{told:?}: nobody can know yet");
        host.set_info(&info);
        match fits {
            true => assert!(host.closed.is_empty(), "{told:?}"),
            false => assert_eq!(fault(&host, conn), "a bitfield that does not fit", "{told:?}"),
        }
    }
    // Beyond the largest torrent there is.
    let mut host = Host::with_hash(&info, Config::default());
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Have(1 << 21));
    assert_eq!(fault(&host, conn), "a piece out of range");
    let conn = host.connect(&info, 2);
    host.say(conn, Message::Bitfield(&vec![0; (1 << 21) / 8 + 1]));
    assert_eq!(fault(&host, conn), "a bitfield that does not fit");
}

#[test]
fn requests_before_the_metadata_are_refused_and_not_for_ever() {
    let (_, info) = torrent(300_000);
    let mut host = Host::with_hash(&info, Config::default());
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Interested);
    host.heard(conn);
    let asked = block(0, 0, BLOCK_LEN);
    let max = host.session.config().faults_max;
    for n in 0..max {
        host.say(conn, Message::Request(asked));
        assert_eq!(host.heard(conn), [format!("Reject({asked:?})")], "{n}");
    }
    host.say(conn, Message::Request(asked));
    assert_eq!(fault(&host, conn), "a request out of range");
}

#[test]
fn what_a_peer_has_is_what_it_told_last() {
    let (_, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    let figures = |host: &mut Host, message| {
        host.say(conn, message);
        let stats = host.session.stats(host.now, host.key).unwrap();
        (stats.seeds, stats.copies)
    };
    assert_eq!(figures(&mut host, Message::HaveAll), (1, 1.0));
    assert_eq!(figures(&mut host, Message::HaveNone), (0, 0.0));
    assert_eq!(figures(&mut host, Message::Bitfield(&[0xf8, 0])), (0, 0.5));
    for _ in 0..100 {
        assert_eq!(figures(&mut host, Message::Have(9)), (0, 0.6));
    }
    assert_eq!(figures(&mut host, Message::Bitfield(&[0xff, 0xc0])), (1, 1.0));
    assert_eq!(figures(&mut host, Message::Bitfield(&[0, 0])), (0, 0.0));
    host.session.handle_closed(host.now, conn, Close::Remote);
    assert_eq!(host.session.stats(host.now, host.key).unwrap().copies, 0.0);
}

#[test]
fn fast_messages_count_only_from_who_speaks_the_extension() {
    let (_, info) = torrent(300_000);
    for message in [
        Message::HaveAll,
        Message::HaveNone,
        Message::Reject(block(0, 0, BLOCK_LEN)),
        Message::AllowedFast(0),
    ] {
        let mut host = Host::leech(&info);
        let plain =
            Handshake { reserved: Reserved([0; 8]), info_hash: info.info_hash, peer_id: [1; 20] };
        let conn = host.connect_with(plain);
        assert!(host.heard(conn).is_empty(), "nothing that BEP 3 does not have");
        host.say(conn, message);
        assert_eq!(fault(&host, conn), "a fast message without the fast extension");
    }
}

#[test]
fn a_block_of_another_place_or_length_than_was_asked_is_waste() {
    let (content, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    let asked = host.requests(conn);
    let good = asked[0];
    let wrong = [
        BlockRef { len: good.len - 1, ..good },
        BlockRef { len: good.len + 1, ..good },
        BlockRef { begin: good.begin + 1, ..good },
        BlockRef { piece: 99, ..good },
        block(good.piece, u32::MAX, 2),
    ];
    for wrong in wrong {
        host.send_block(conn, wrong, &vec![0xee; wrong.len as usize]);
    }
    let sum: u64 = wrong.iter().map(|block| u64::from(block.len)).sum();
    let wasted = |host: &Host| host.session.stats(host.now, host.key).unwrap().wasted;
    assert_eq!(wasted(&host), sum);
    host.send_block(conn, good, bytes_of(&content, good));
    host.send_block(conn, good, bytes_of(&content, good));
    assert_eq!(wasted(&host), sum + u64::from(good.len), "the second copy");
    // The rest of what was asked makes it whole all the same.
    let mut waiting = asked[1..].to_vec();
    while !waiting.is_empty() {
        for block in std::mem::take(&mut waiting) {
            host.send_block(conn, block, bytes_of(&content, block));
        }
        waiting = host.requests(conn);
    }
    assert!(host.is_complete());
    assert_eq!(host.files["x"], content);
}

#[test]
fn a_fast_peer_that_stalls_and_then_sends_all_it_was_asked_for_stays() {
    let (content, info) = torrent(40_000_000);
    let config = Config { request_window_start: 1_000, ..Config::default() };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let conn = host.connect(&info, 1);
    host.say_raw(conn, b"\x14\x00d1:md11:ut_metadatai3ee4:reqqi2000ee");
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    let asked = host.requests(conn);
    assert_eq!(asked.len(), 1_000);
    // Long enough that others would be asked instead.
    host.pass(20_000);
    for block in asked {
        host.send_block(conn, block, bytes_of(&content, block));
    }
    assert!(!host.closed.contains_key(&conn), "{:?}", host.closed);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.downloaded, stats.wasted), (1_000 * u64::from(BLOCK_LEN), 0));
}

#[test]
fn a_peer_that_says_nothing_is_dropped_and_one_that_keeps_alive_is_not() {
    let (_, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let (silent, alive) = (host.connect(&info, 1), host.connect(&info, 2));
    for _ in 0..16 {
        host.say(alive, Message::KeepAlive);
        host.pass(10_000);
    }
    assert_eq!(host.closed.get(&silent), Some(&Close::Silent));
    assert!(!host.closed.contains_key(&alive));
    let kept_alive = host.heard(alive).iter().filter(|m| *m == "KeepAlive").count();
    assert_eq!(kept_alive, 1, "in 160 s of our own silence");
}

#[test]
fn a_dial_that_succeeds_after_it_was_given_up_is_closed_again() {
    let (_, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let addr = ([10, 0, 0, 9], 6881).into();
    host.session.add_candidates(host.now, host.key, Source::User, &[addr]);
    host.drain();
    let (conn, dialled) = host.dials[0];
    assert_eq!(dialled, addr);
    host.pass(9_000);
    assert_eq!(host.closed.remove(&conn), Some(Close::DialFailed));
    host.session.handle_connected(host.now, conn);
    host.drain();
    assert_eq!(host.closed.get(&conn), Some(&Close::DialFailed), "or its socket stays open");
    assert!(host.heard(conn).is_empty());
}
