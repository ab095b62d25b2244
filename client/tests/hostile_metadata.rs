//! The info dict by the peers (BEP 9), from those that lie about it, change their mind or fall
//! silent.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::{Close, Config, ConnId, TorrentEvent};
use common::{Host, content, info};
use wire::ext::MetadataMessage;
use wire::metainfo::Info;
use wire::peer::Message;

const PART: usize = 16 * 1024;

/// A torrent whose info dict takes three messages.
fn long_info() -> Info {
    let info = info(&content(600_000), 256);
    assert_eq!(info.raw.len().div_ceil(PART), 3);
    info
}

fn part(info: &Info, index: u32) -> &[u8] {
    info.raw.chunks(PART).nth(index as usize).unwrap()
}

/// A peer connects and says that it has `size` bytes of metadata.
fn greet(host: &mut Host, info: &Info, name: u8, size: usize) -> ConnId {
    let conn = host.connect(info, name);
    say_size(host, conn, size);
    conn
}

fn say_size(host: &mut Host, conn: ConnId, size: usize) {
    let hello = format!("\x14\x00d1:md11:ut_metadatai3ee13:metadata_sizei{size}ee");
    host.say_raw(conn, hello.as_bytes());
}

fn say(host: &mut Host, conn: ConnId, message: MetadataMessage<'_>) {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    // The id under which we take them, as our own handshake tells.
    host.say(conn, Message::Extended(1, &payload));
}

fn give(host: &mut Host, conn: ConnId, piece: u32, total: usize, data: &[u8]) {
    say(host, conn, MetadataMessage::Data { piece, total_size: Some(total), data });
}

/// What a peer was asked or told about metadata since the last look.
fn heard(host: &mut Host, conn: ConnId) -> Vec<String> {
    let mut out = Vec::new();
    for body in host.bodies(conn) {
        if let Ok(Message::Extended(3, payload)) = Message::parse(&body) {
            out.push(match MetadataMessage::parse(payload).unwrap() {
                MetadataMessage::Request { piece } => format!("request {piece}"),
                MetadataMessage::Reject { piece } => format!("reject {piece}"),
                MetadataMessage::Data { piece, total_size, data } => {
                    format!("data {piece}: {} of {total_size:?}", data.len())
                }
                MetadataMessage::Unknown => "unknown".into(),
            });
        }
    }
    out
}

fn asked(host: &mut Host, conn: ConnId) -> Vec<u32> {
    let heard = heard(host, conn);
    heard.iter().filter_map(|m| m.strip_prefix("request ")?.parse().ok()).collect()
}

fn has_metadata(host: &Host, info: &Info) -> bool {
    host.events.iter().any(|e| matches!(e, TorrentEvent::Metadata(found) if **found == *info))
}

#[test]
fn an_honest_peer_is_asked_for_each_part_once() {
    let info = long_info();
    let mut host = Host::with_hash(&info, Config::default());
    let conn = greet(&mut host, &info, 1, info.raw.len());
    assert_eq!(asked(&mut host, conn), [0, 1, 2]);
    for index in 0..3 {
        assert!(!has_metadata(&host, &info));
        give(&mut host, conn, index, info.raw.len(), part(&info, index));
    }
    assert!(has_metadata(&host, &info));
    assert!(host.closed.is_empty());
}

#[test]
fn whoever_contradicts_itself_or_the_protocol_is_dropped() {
    let info = long_info();
    let size = info.raw.len();
    type Harm = fn(&mut Host, ConnId, &Info);
    let harms: [(&str, Close, Harm); 6] = [
        (
            "another size in a second handshake",
            Close::Fault("an absurd metadata size"),
            |h, c, i| {
                say_size(h, c, i.raw.len() + 1);
            },
        ),
        ("another size with a part", Close::Corrupt, |h, c, i| {
            give(h, c, 0, i.raw.len() + 1, part(i, 0));
        }),
        ("an index equal to the count", Close::Corrupt, |h, c, i| {
            give(h, c, 3, i.raw.len(), part(i, 0));
        }),
        ("a part too short", Close::Corrupt, |h, c, i| {
            give(h, c, 0, i.raw.len(), &part(i, 0)[1..]);
        }),
        ("a last part too long", Close::Corrupt, |h, c, i| {
            give(h, c, 2, i.raw.len(), &[part(i, 2), b"x"].concat());
        }),
        ("no dict", Close::Fault("a malformed metadata message"), |h, c, _| {
            h.say(c, Message::Extended(1, b"x"));
        }),
    ];
    for (what, close, harm) in harms {
        let mut host = Host::with_hash(&info, Config::default());
        let bad = greet(&mut host, &info, 1, size);
        give(&mut host, bad, 1, size, part(&info, 1));
        harm(&mut host, bad, &info);
        assert_eq!(host.closed.get(&bad), Some(&close), "{what}");
        // What it gave before counts as far as it is right.
        let honest = greet(&mut host, &info, 2, size);
        for index in asked(&mut host, honest) {
            give(&mut host, honest, index, size, part(&info, index));
        }
        assert!(has_metadata(&host, &info), "{what}");
    }
}

#[test]
fn parts_that_were_not_asked_for_count_as_nothing() {
    let info = long_info();
    let size = info.raw.len();
    let mut host = Host::with_hash(&info, Config::default());
    // Before its handshake, from one that is asked nothing, and twice.
    let early = host.connect(&info, 1);
    for index in 0..3 {
        give(&mut host, early, index, size, part(&info, index));
    }
    let conn = greet(&mut host, &info, 2, size);
    give(&mut host, conn, 0, size, part(&info, 0));
    give(&mut host, conn, 0, size, &vec![0; PART]);
    say(&mut host, conn, MetadataMessage::Reject { piece: 77 });
    host.say(conn, Message::Extended(1, b"d8:msg_typei9ee"));
    assert!(!has_metadata(&host, &info) && host.closed.is_empty());
    for index in [1, 2] {
        give(&mut host, conn, index, size, part(&info, index));
    }
    assert!(has_metadata(&host, &info));
    // And after all is there.
    give(&mut host, conn, 0, size, part(&info, 0));
    assert!(host.closed.is_empty());
}

#[test]
fn what_is_not_there_is_rejected_and_without_a_handshake_nothing_is_said() {
    let info = long_info();
    let mut seed = Host::seed(&info, &content(600_000));
    let conn = greet(&mut seed, &info, 1, info.raw.len());
    for piece in [2, 3, u32::MAX] {
        say(&mut seed, conn, MetadataMessage::Request { piece });
    }
    let size = info.raw.len();
    let last = format!("data 2: {} of {:?}", part(&info, 2).len(), Some(size));
    let rejects = [3, u32::MAX].map(|piece| format!("reject {piece}"));
    assert_eq!(heard(&mut seed, conn), [&[last][..], &rejects].concat());

    let silent = seed.connect(&info, 2);
    seed.bodies(silent);
    say(&mut seed, silent, MetadataMessage::Request { piece: 0 });
    assert!(seed.bodies(silent).is_empty(), "it told no id for the answer");

    let mut leech = Host::with_hash(&info, Config::default());
    let conn = greet(&mut leech, &info, 1, size);
    asked(&mut leech, conn);
    say(&mut leech, conn, MetadataMessage::Request { piece: 0 });
    assert_eq!(heard(&mut leech, conn), ["reject 0"]);
}

/// What a peer does with a request for metadata.
enum Answer {
    Data(Vec<u8>),
    Reject,
    Nothing,
}

/// Lets `millis` go by while all peers answer as `answer` says.
fn serve(
    host: &mut Host,
    info: &Info,
    peers: &[ConnId],
    millis: u64,
    answer: impl Fn(ConnId, u32) -> Answer,
) {
    for _ in 0..millis / 100 {
        for &conn in peers {
            for index in asked(host, conn) {
                match answer(conn, index) {
                    Answer::Data(data) => give(host, conn, index, info.raw.len(), &data),
                    Answer::Reject => say(host, conn, MetadataMessage::Reject { piece: index }),
                    Answer::Nothing => {}
                }
            }
            if !host.closed.contains_key(&conn) {
                host.say(conn, Message::KeepAlive);
            }
        }
        host.pass(100);
    }
}

#[test]
fn liars_that_then_fall_silent_or_refuse_do_not_hold_the_metadata_up() {
    let info = long_info();
    let size = info.raw.len();
    for refuse in [false, true] {
        let mut host = Host::with_hash(&info, Config::default());
        let liars: Vec<_> = (1..=3).map(|name| greet(&mut host, &info, name, size)).collect();
        let honest = greet(&mut host, &info, 4, size);
        // A wrong whole of several peers' parts: from now on it is taken from one at a time.
        for (index, conn) in [liars[0], liars[1], honest].into_iter().enumerate() {
            let mut data = part(&info, index as u32).to_vec();
            data[0] ^= u8::from(conn != honest);
            give(&mut host, conn, index as u32, size, &data);
        }
        assert!(host.closed.is_empty() && !has_metadata(&host, &info));
        let all = [&liars[..], &[honest]].concat();
        serve(&mut host, &info, &all, 60_000, |conn, index| match conn {
            conn if conn == honest => Answer::Data(part(&info, index).to_vec()),
            // Whoever refuses lies first wherever it can.
            _ if refuse && index == 0 => Answer::Data(vec![9; PART]),
            _ if refuse => Answer::Reject,
            _ => Answer::Nothing,
        });
        assert!(has_metadata(&host, &info), "{:?}", host.closed);
        assert!(!host.closed.contains_key(&honest));
    }
}

#[test]
fn liars_of_every_size_are_outlived() {
    let info = long_info();
    let size = info.raw.len();
    let mut host = Host::with_hash(&info, Config::default());
    // More sizes than are gathered at a time, and none of them answers.
    let silent: Vec<_> =
        (1..=8).map(|n| greet(&mut host, &info, n, 100_000 + usize::from(n))).collect();
    let liar = greet(&mut host, &info, 9, size);
    let honest = greet(&mut host, &info, 10, size);
    let all = [&silent[..], &[liar, honest]].concat();
    serve(&mut host, &info, &all, 60_000, |conn, index| match conn {
        conn if conn == honest => Answer::Data(part(&info, index).to_vec()),
        conn if conn == liar => Answer::Data(vec![7; part(&info, index).len()]),
        _ => Answer::Nothing,
    });
    assert!(has_metadata(&host, &info), "{:?}", host.closed);
}

#[test]
fn who_asks_for_all_of_it_at_once_gets_it_and_what_waits_is_bounded() {
    // Each answer is 500 times as long as its question.
    let info = info(&content(80 * PART / 20 * 256), 256);
    let parts = info.raw.len().div_ceil(PART) as u32;
    assert_eq!(parts, 81);
    let config = Config { output_bytes_max: 20_000, ..Config::default() };
    let mut host = Host::with_hash(&info, config);
    host.set_info(&info);
    let conn = greet(&mut host, &info, 1, info.raw.len());
    heard(&mut host, conn);
    host.deaf.insert(conn);
    for piece in 0..parts {
        say(&mut host, conn, MetadataMessage::Request { piece });
    }
    assert_eq!(host.closed.get(&conn), None);
    host.undeafen(conn);
    let answers = heard(&mut host, conn);
    let (rejects, data) = answers.split_at(parts as usize - 64);
    for (piece, reject) in (64..).zip(rejects) {
        assert_eq!(*reject, format!("reject {piece}"), "what waits has a bound");
    }
    let total = Some(info.raw.len());
    for (piece, answer) in (0..).zip(data) {
        assert_eq!(*answer, format!("data {piece}: {} of {total:?}", part(&info, piece).len()));
    }
    // Those that were rejected are had later, and what is not there never.
    for piece in 64..=parts {
        say(&mut host, conn, MetadataMessage::Request { piece });
    }
    let answers = heard(&mut host, conn);
    assert_eq!(answers.iter().filter(|answer| answer.starts_with("data")).count(), 17);
    assert_eq!(answers[17..], [format!("reject {parts}")]);
    // One that asks on and does not read is dropped all the same.
    host.deaf.insert(conn);
    while !host.closed.contains_key(&conn) {
        say(&mut host, conn, MetadataMessage::Request { piece: 0 });
    }
    assert_eq!(common::fault(&host, conn), "it asks and does not read");
}

#[test]
fn who_switches_metadata_off_gets_none_of_what_it_asked_for() {
    let info = long_info();
    let mut host = Host::with_hash(&info, Config::default());
    host.set_info(&info);
    let conn = greet(&mut host, &info, 1, info.raw.len());
    heard(&mut host, conn);
    host.deaf.insert(conn);
    for piece in 0..3 {
        say(&mut host, conn, MetadataMessage::Request { piece });
    }
    host.say_raw(conn, b"\x14\x00d1:md11:ut_metadatai0eee");
    host.undeafen(conn);
    assert_eq!(heard(&mut host, conn), [""; 0]);
}

/// Peers that claim sizes from `base` on and answer each request after 4 s, and an honest one: lets
/// `millis` go by.
fn outlast_dripping(host: &mut Host, info: &Info, base: usize, count: usize, millis: u64) {
    let mut drips: Vec<(ConnId, usize, Vec<u32>)> = (0..count)
        .map(|n| (greet(host, info, 1 + n as u8, base + n), base + n, Vec::new()))
        .collect();
    let honest = greet(host, info, 200, info.raw.len());
    for tenth in 1..=millis / 100 {
        for (conn, size, todo) in &mut drips {
            todo.extend(asked(host, *conn));
            if tenth % 40 == 0 && !todo.is_empty() {
                give(host, *conn, todo.remove(0), *size, &[0; PART]);
            }
        }
        for index in asked(host, honest) {
            give(host, honest, index, info.raw.len(), part(info, index));
        }
        host.say(honest, Message::KeepAlive);
        host.pass(100);
    }
}

#[test]
fn liars_that_let_the_metadata_drip_give_way() {
    let info = long_info();
    let mut host = Host::with_hash(&info, Config::default());
    outlast_dripping(&mut host, &info, 30 << 20, 4, 16_000);
    assert!(has_metadata(&host, &info), "one turn");
    let mut host = Host::with_hash(&info, Config::default());
    outlast_dripping(&mut host, &info, 30 << 20, 40, 160_000);
    assert!(has_metadata(&host, &info), "ten turns");
}

#[test]
fn a_liar_that_drips_in_its_turn_alone_gives_way() {
    let info = info(&content(10_000_000), 100);
    let size = info.raw.len();
    assert!(size.div_ceil(PART) > 100);
    let mut host = Host::with_hash(&info, Config::default());
    let liar = greet(&mut host, &info, 1, size);
    let honest = greet(&mut host, &info, 2, size);
    let (mut todo, mut done) = (Vec::new(), Vec::new());
    // It lies once, so that all is taken from one at a time, and then as slowly as it may.
    for tenth in 0..1500 {
        todo.extend(asked(&mut host, liar));
        todo.retain(|index| !done.contains(index));
        if tenth % 40 == 0 && !todo.is_empty() {
            done.extend(todo.first().filter(|_| tenth > 0));
            give(&mut host, liar, todo.remove(0), size, &[9; PART]);
        }
        for _ in 0..200 {
            for index in asked(&mut host, honest) {
                give(&mut host, honest, index, size, part(&info, index));
            }
        }
        for conn in [liar, honest] {
            host.say(conn, Message::KeepAlive);
        }
        host.pass(100);
    }
    assert!(has_metadata(&host, &info));
}
