//! The fast extension (BEP 6) and the reserved bits, from peers that take liberties with them.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::{Close, Config};
use common::{Host, block, bytes_of, content, fault, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, Handshake, Message, Reserved};

const PIECE: u32 = 2 * BLOCK_LEN;

fn torrent(len: usize) -> (Vec<u8>, Info) {
    let content = content(len);
    let info = info(&content, PIECE);
    (content, info)
}

/// An honest peer gives all that is missing.
fn finish(host: &mut Host, info: &Info, content: &[u8]) {
    let conn = host.connect(info, 200);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    for _ in 0..1_000 {
        for block in host.requests(conn) {
            host.send_block(conn, block, bytes_of(content, block));
        }
        if host.is_complete() {
            assert_eq!(host.files["x"], content);
            return;
        }
        host.pass(200);
    }
    panic!("{:?}", host.closed);
}

#[test]
fn an_allowed_piece_that_is_rejected_is_not_asked_for_again() {
    let (content, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    assert!(host.requests(conn).is_empty(), "it chokes us");
    host.say(conn, Message::AllowedFast(3));
    let asked = host.requests(conn);
    assert_eq!(asked, [block(3, 0, BLOCK_LEN), block(3, BLOCK_LEN, BLOCK_LEN)]);
    host.say(conn, Message::Reject(asked[0]));
    for _ in 0..60 {
        host.pass(1_000);
        host.say(conn, Message::KeepAlive);
        assert!(host.requests(conn).is_empty());
    }
    // Nor for ever if it allows it again and again.
    let mut sent = 0;
    for _ in 0..500 {
        host.say(conn, Message::AllowedFast(3));
        for block in host.requests(conn) {
            sent += 1;
            host.say(conn, Message::Reject(block));
        }
    }
    assert!(sent <= 128, "{sent}");
    finish(&mut host, &info, &content);
}

#[test]
fn a_peer_that_rejects_all_it_is_asked_for_is_left() {
    let (content, info) = torrent(3_000_000);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    let mut sent = 0;
    for _ in 0..200 {
        for block in host.requests(conn) {
            sent += 1;
            host.say(conn, Message::Reject(block));
        }
        host.pass(100);
    }
    assert_eq!(fault(&host, conn), "it rejects every request");
    assert!(sent < 200, "{sent}");
    finish(&mut host, &info, &content);
}

#[test]
fn what_was_allowed_before_the_metadata_is_asked_for_after_it() {
    let (content, info) = torrent(300_000);
    let mut host = Host::with_hash(&info, Config::default());
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    for piece in [3, 9, 10, 77, u32::MAX] {
        host.say(conn, Message::AllowedFast(piece));
    }
    host.set_info(&info);
    let mut pieces: Vec<u32> = host.requests(conn).iter().map(|block| block.piece).collect();
    pieces.dedup();
    assert_eq!(pieces, [3, 9], "those that there are");
    finish(&mut host, &info, &content);
}

#[test]
fn suggestions_of_any_piece_change_nothing() {
    let (content, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    for piece in [0, 9, 10, 1 << 21, u32::MAX - 233, u32::MAX] {
        for _ in 0..50 {
            host.say(conn, Message::Suggest(piece));
        }
    }
    assert!(host.requests(conn).is_empty() && host.closed.is_empty());
    finish(&mut host, &info, &content);
}

#[test]
fn who_tells_over_and_over_what_it_has_is_dropped() {
    let (content, info) = torrent(300_000);
    let bits = [0xff, 0xc0];
    let floods: [&[Message<'_>]; 3] = [
        &[Message::HaveAll, Message::HaveNone],
        &[Message::Bitfield(&bits)],
        &[Message::HaveNone, Message::Bitfield(&bits), Message::Have(3)],
    ];
    for flood in floods {
        let mut host = Host::leech(&info);
        let conn = host.connect(&info, 1);
        for message in flood.iter().cycle().take(200) {
            host.say(conn, *message);
        }
        assert_eq!(fault(&host, conn), "it tells all that it has over and over");
        finish(&mut host, &info, &content);
    }
}

#[test]
fn a_bitfield_after_haves_is_taken_for_what_it_says() {
    let (_, info) = torrent(300_000);
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    let copies = |host: &Host| host.session.stats(host.now, host.key).unwrap().copies;
    host.say(conn, Message::Have(0));
    host.say(conn, Message::Have(1));
    assert_eq!(copies(&host), 0.2);
    host.say(conn, Message::Bitfield(&[0x80, 0]));
    assert_eq!(copies(&host), 0.1);
    assert!(host.closed.is_empty(), "libtorrent takes it as well");
}

#[test]
fn blocks_of_odd_length_are_sent_up_to_a_bound_and_those_we_lack_are_refused() {
    let (content, info) = torrent(300_000);
    let wide = common::info(&content, 300_000);
    let mut seed = Host::seed(&wide, &content);
    let conn = seed.connect(&wide, 1);
    seed.say(conn, Message::Interested);
    seed.heard(conn);
    for len in [1, BLOCK_LEN + 1, 64 << 10] {
        seed.say(conn, Message::Request(block(0, 7, len)));
        assert_eq!(seed.heard(conn), [format!("Piece({:?})", block(0, 7, len))]);
    }
    for len in [0, (64 << 10) + 1, 1 << 31, u32::MAX] {
        seed.say(conn, Message::Request(block(0, 7, len)));
        assert_eq!(seed.heard(conn), [format!("Reject({:?})", block(0, 7, len))]);
    }
    // A leech has nothing to give. That is no fault: it may have had it.
    let mut leech = Host::leech(&info);
    let conn = leech.connect(&info, 1);
    leech.say(conn, Message::Interested);
    leech.heard(conn);
    for _ in 0..100 {
        let lacking = block(2, 0, BLOCK_LEN);
        leech.say(conn, Message::Request(lacking));
        assert_eq!(leech.heard(conn), [format!("Reject({lacking:?})")]);
    }
    assert!(leech.closed.is_empty());
    finish(&mut leech, &info, &content);
}

#[test]
fn a_cancelled_request_is_rejected_and_one_for_nothing_is_not() {
    let (content, info) = torrent(300_000);
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Interested);
    host.heard(conn);
    let (one, two) = (block(1, 0, BLOCK_LEN), block(2, 0, BLOCK_LEN));
    // The socket takes nothing meanwhile.
    let mut say = |message: Message<'_>| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        host.session.handle_message(host.now, conn, &bytes[4..]);
    };
    say(Message::Request(one));
    say(Message::Request(two));
    say(Message::Cancel(one));
    for _ in 0..50 {
        say(Message::Cancel(one));
        say(Message::Cancel(block(u32::MAX, u32::MAX, u32::MAX)));
    }
    host.drain();
    assert_eq!(host.heard(conn), [format!("Reject({one:?})"), format!("Piece({two:?})")]);
    // What was sent cannot be cancelled.
    host.say(conn, Message::Cancel(two));
    assert!(host.heard(conn).is_empty() && host.closed.is_empty());
}

#[test]
fn any_reserved_bits_are_taken_and_each_peer_hears_only_what_it_speaks() {
    let (content, info) = torrent(300_000);
    let mut host = Host::seed(&info, &content);
    let all = (0..64).map(|bit| 1u64 << bit).chain([0, u64::MAX]);
    for (name, bits) in (1..).zip(all) {
        let reserved = Reserved(bits.to_be_bytes());
        let hello = Handshake { reserved, info_hash: info.info_hash, peer_id: [name; 20] };
        let conn = host.connect_with(hello);
        assert!(!host.closed.contains_key(&conn), "{bits:x}");
        let heard = host.heard(conn);
        let hears = |what: &str| heard.iter().any(|message| message.starts_with(what));
        assert_eq!(hears("Extended"), bits & (0x10 << 16) != 0, "{bits:x}: {heard:?}");
        assert_eq!(hears("HaveAll"), bits & 4 != 0, "{bits:x}: {heard:?}");
        assert_eq!(hears("AllowedFast"), bits & 4 != 0, "{bits:x}: {heard:?}");
        assert_eq!(hears("Bitfield"), bits & 4 == 0, "{bits:x}: {heard:?}");
        host.session.handle_closed(host.now, conn, Close::Remote);
    }
}
