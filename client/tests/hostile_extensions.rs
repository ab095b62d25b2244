//! Extension messages (BEP 10, 9, 11) from peers that play games with ids, numbers and addresses.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;

use client::{Close, Config, ConnId};
use common::{Host, content, info};
use wire::ext::MetadataMessage;
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, Handshake, Message, Reserved};

const PIECE: u32 = 2 * BLOCK_LEN;

fn torrent() -> (Vec<u8>, Info) {
    let content = content(300_000);
    let info = info(&content, PIECE);
    (content, info)
}

fn say_handshake(host: &mut Host, conn: ConnId, dict: &str) {
    host.say(conn, Message::Extended(0, dict.as_bytes()));
}

/// The ids under which a peer was sent extension messages since the last look.
fn ids(host: &mut Host, conn: ConnId) -> Vec<u8> {
    let id = |body: &Vec<u8>| match Message::parse(body) {
        Ok(Message::Extended(id, _)) if id != 0 => Some(id),
        _ => None,
    };
    host.bodies(conn).iter().filter_map(id).collect()
}

#[test]
fn id_0_switches_an_extension_off_and_what_is_not_named_stays() {
    let (content, info) = torrent();
    let mut host = Host::seed(&info, &content);
    let conn = host.connect(&info, 1);
    let mut answered_under = |dict: &str| {
        say_handshake(&mut host, conn, dict);
        ids(&mut host, conn);
        let mut payload = Vec::new();
        MetadataMessage::Request { piece: 0 }.encode(&mut payload);
        host.say(conn, Message::Extended(1, &payload));
        ids(&mut host, conn)
    };
    assert_eq!(answered_under("d1:md11:ut_metadatai3eee"), [3]);
    assert_eq!(answered_under("d1:md6:ut_pexi5eee"), [3], "BEP 10: m is additive");
    assert_eq!(answered_under("de"), [3]);
    assert_eq!(answered_under("d1:md11:ut_metadatai7eee"), [7]);
    assert_eq!(answered_under("d1:md11:ut_metadatai0eee"), [], "switched off");
    assert_eq!(answered_under("d1:md6:ut_pexi6eee"), []);
    assert_eq!(answered_under("d1:md11:ut_metadatai255eee"), [255]);
    assert_eq!(answered_under("d1:md11:ut_metadatai256eee"), [255], "no id");
    assert!(host.closed.is_empty());
}

#[test]
fn who_switches_metadata_off_in_the_middle_is_asked_no_more_and_the_others_are() {
    let (_, info) = torrent();
    let mut host = Host::with_hash(&info, Config::default());
    let size = info.raw.len();
    let hello = format!("d1:md11:ut_metadatai3ee13:metadata_sizei{size}ee");
    let off = host.connect(&info, 1);
    say_handshake(&mut host, off, &hello);
    assert_eq!(ids(&mut host, off), [3]);
    say_handshake(&mut host, off, "d1:md11:ut_metadatai0eee");
    let honest = host.connect(&info, 2);
    say_handshake(&mut host, honest, &hello);
    assert_eq!(ids(&mut host, honest), [3]);
    host.pass(30_000);
    assert!(ids(&mut host, off).is_empty());
    assert!(!ids(&mut host, honest).is_empty(), "asked again meanwhile");
}

#[test]
fn absurd_numbers_of_a_handshake_do_no_harm() {
    let (content, info) = torrent();
    for reqq in ["0", "1", "-1", "2147483648", "4294967295", "99999999999999999999"] {
        let mut host = Host::leech(&info);
        let conn = host.connect(&info, 1);
        let dict = format!("d1:md6:ut_pexi2ee1:pi0e4:reqqi{reqq}e1:v0:6:yourip5:abcdee");
        say_handshake(&mut host, conn, &dict);
        host.say(conn, Message::HaveAll);
        host.say(conn, Message::Unchoke);
        let mut most = 0;
        for _ in 0..200 {
            let asked = host.requests(conn);
            most = most.max(asked.len());
            for block in asked {
                let start = (block.piece * PIECE + block.begin) as usize;
                host.send_block(conn, block, &content[start..start + block.len as usize]);
            }
        }
        assert!(host.is_complete(), "{reqq}: {:?}", host.closed);
        let small = matches!(reqq, "0" | "1");
        assert_eq!(most == 1, small, "{reqq}: {most} at a time");
    }
}

#[test]
fn handshakes_over_and_over_do_no_harm() {
    let (content, info) = torrent();
    let mut host = Host::leech(&info);
    let conn = host.connect(&info, 1);
    for n in 0..2_000u32 {
        let dict =
            format!("d1:md11:ut_metadatai{}e6:ut_pexi{}ee1:pi{}ee", n % 256, n % 7, n % 65_536);
        say_handshake(&mut host, conn, &dict);
    }
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert!(stats.candidates <= 1, "one port of it: {}", stats.candidates);
    assert!(host.closed.is_empty() && ids(&mut host, conn).is_empty());
    let honest = host.connect(&info, 2);
    host.say(honest, Message::HaveAll);
    host.say(honest, Message::Unchoke);
    for _ in 0..100 {
        for block in host.requests(honest) {
            let start = (block.piece * PIECE + block.begin) as usize;
            host.send_block(honest, block, &content[start..start + block.len as usize]);
        }
    }
    assert!(host.is_complete());
}

/// A peer from afar connects.
fn connect_from(host: &mut Host, info: &Info, from: &str) -> ConnId {
    let conn = host.session.handle_incoming(host.now, from.parse().unwrap()).unwrap();
    let hello = Handshake { reserved: Reserved::OURS, info_hash: info.info_hash, peer_id: [3; 20] };
    host.session.handle_handshake(host.now, conn, hello);
    host.drain();
    conn
}

fn pex(addrs: &[&str]) -> Vec<u8> {
    let mut added = Vec::new();
    for addr in addrs {
        wire::compact::put_addr(&mut added, &addr.parse::<SocketAddr>().unwrap());
    }
    [format!("d5:added{}:", added.len()).as_bytes(), &added, b"e"].concat()
}

#[test]
fn a_peer_exchange_of_odd_length_counts_as_none_and_port_0_is_not_dialled() {
    let (_, info) = torrent();
    let mut host = Host::with_hash(&info, Config::default());
    let conn = connect_from(&mut host, &info, "93.184.216.34:6881");
    let odd = [&b"d5:added7:"[..], &[9, 8, 7, 6, 0, 5, 9], b"e"].concat();
    host.say(conn, Message::Extended(2, &odd));
    assert!(host.dials.is_empty() && host.closed.is_empty());
    host.pass(60_000);
    host.say(conn, Message::KeepAlive);
    host.say(conn, Message::Extended(2, &pex(&["9.8.7.6:0", "9.8.7.7:1", "9.8.7.7:1"])));
    let dialled: Vec<String> = host.dials.iter().map(|(_, addr)| addr.to_string()).collect();
    assert_eq!(dialled, ["9.8.7.7:1"]);
}

#[test]
fn our_own_address_told_by_a_peer_is_dialled_once() {
    let (_, info) = torrent();
    let mut host = Host::with_hash(&info, Config::default());
    let conn = connect_from(&mut host, &info, "93.184.216.34:6881");
    let own = pex(&["9.8.7.6:5"]);
    for _ in 0..5 {
        host.say(conn, Message::Extended(2, &own));
        for (dialled, addr) in std::mem::take(&mut host.dials) {
            assert_eq!(addr, "9.8.7.6:5".parse().unwrap());
            host.session.handle_connected(host.now, dialled);
            host.drain();
            // Who answers there is who we are.
            let hello = Handshake {
                reserved: Reserved::OURS,
                info_hash: info.info_hash,
                peer_id: *b"-TK0100-ourselves000",
            };
            host.session.handle_handshake(host.now, dialled, hello);
            host.drain();
            assert_eq!(host.closed.remove(&dialled), Some(Close::Ourselves));
        }
        host.pass(60_000);
        host.say(conn, Message::KeepAlive);
        assert!(host.dials.is_empty(), "not again");
    }
}

#[test]
fn dropped_peers_of_a_peer_exchange_stay_connected() {
    let (_, info) = torrent();
    let mut host = Host::with_hash(&info, Config::default());
    let conn = connect_from(&mut host, &info, "93.184.216.34:6881");
    let mut payload = Vec::new();
    let dropped = vec!["93.184.216.34:6881".parse().unwrap(); 50];
    wire::ext::Pex { added: Vec::new(), dropped }.encode(&mut payload);
    host.say(conn, Message::Extended(2, &payload));
    assert!(host.closed.is_empty());
}
