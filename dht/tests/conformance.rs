//! What a node must answer to each query, well-formed or not: the rows K001 to K079 of the
//! project's matrix that BEP 5, 32, 42 and 43 decide.

#![allow(clippy::unwrap_used)]

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, Node, SocketId};
use net::Net;
use wire::Id;
use wire::bencode::{Limits, Value};
use wire::compact;
use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query};
use wire::time::Time;

const LOCAL: SocketId = SocketId(0);

/// What must come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    /// A reply.
    Reply,
    /// A reply with `nodes`.
    Nodes,
    /// A reply with `nodes6` and no `nodes`.
    Nodes6,
    /// A reply with `nodes` and `nodes6`.
    Both,
    /// A reply with `nodes`, `token` and no `values`.
    Token,
    /// An error of this code.
    Error(i64),
    /// Nothing.
    Silence,
}
use Expect::*;

/// A node that knows nine others of each family.
fn server() -> Net {
    let mut net = Net::new();
    for n in 0..10u16 {
        let v4 = SocketAddr::from(([10, 0, 0, n as u8 + 1], 6881));
        let v6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n + 1], 6881));
        let index = net.add_with(Config::new(vec![v4, v6]));
        if index > 0 {
            for seed in net.hosts[0].sockets.clone() {
                net.command(index, |node, now| node.bootstrap(now, seed));
            }
        }
        net.run_for(Duration::from_millis(500));
    }
    net
}

fn client() -> SocketAddr {
    "10.7.7.7:7777".parse().unwrap()
}

/// Everything that the node sends to `from` in answer to `bytes`.
fn answers(node: &mut Node, now: Time, from: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
    node.handle_datagram(now, LOCAL, from, bytes);
    let (mut buf, mut out) = (Vec::new(), Vec::new());
    while let Some(transmit) = node.poll_transmit(&mut buf) {
        assert!(transmit.len <= 1024);
        // The node may also ping the asker.
        if transmit.to == from && !buf.ends_with(b"1:y1:qe") {
            out.push(buf.clone());
        }
    }
    out
}

/// Asks and checks the answer against `expect`; returns it.
fn check(node: &mut Node, now: Time, row: &str, bytes: &[u8], expect: Expect) -> Vec<u8> {
    let mut out = answers(node, now, client(), bytes);
    let text = String::from_utf8_lossy(bytes);
    if expect == Silence {
        assert!(out.is_empty(), "{row}: {text}");
        return Vec::new();
    }
    assert_eq!(out.len(), 1, "{row}: {text}");
    let answer = out.remove(0);
    let value = Value::parse(&answer, Limits::KRPC).unwrap();
    assert!(value.is_canonical(), "{row}");
    let bytes = |v: Option<Value<'_>>| v.and_then(|v| v.as_bytes().map(<[u8]>::to_vec));
    assert_eq!(bytes(value.get(b"ip")).and_then(|ip| compact::addr(&ip)), Some(client()), "{row}");
    assert_eq!(bytes(value.get(b"v")).map(|v| v.len()), Some(4), "{row}");
    if let Error(code) = expect {
        assert_eq!(bytes(value.get(b"y")), Some(b"e".to_vec()), "{row}");
        let mut list = value.get(b"e").unwrap().as_list().unwrap();
        assert_eq!(list.next().unwrap().as_int(), Some(code), "{row}");
        assert!(list.next().unwrap().as_str().is_some_and(|text| !text.is_empty()));
        return answer;
    }
    assert_eq!(bytes(value.get(b"y")), Some(b"r".to_vec()), "{row}: {value:?}");
    let r = value.get(b"r").unwrap();
    assert_eq!(bytes(r.get(b"id")), Some(node.id().0.to_vec()), "{row}");
    let nodes = bytes(r.get(b"nodes")).map(|n| n.len());
    let nodes6 = bytes(r.get(b"nodes6")).map(|n| n.len());
    let lists = match expect {
        Nodes | Token => (Some(8 * 26), None),
        Nodes6 => (None, Some(8 * 38)),
        Both => (Some(8 * 26), Some(8 * 38)),
        _ => (nodes, nodes6),
    };
    assert_eq!((nodes, nodes6), lists, "{row}");
    if expect == Token {
        assert_eq!(bytes(r.get(b"token")).map(|t| t.len()), Some(dht::TOKEN_LEN), "{row}");
        assert!(r.get(b"values").is_none(), "{row}");
    }
    answer
}

fn query(name: &str, args: &str) -> Vec<u8> {
    let name_len = name.len();
    format!("d1:ad2:id20:abcdefghij0123456789{args}e1:q{name_len}:{name}1:t2:aa1:y1:qe").into()
}

fn ping_with_tid(tid: &[u8]) -> Vec<u8> {
    let head = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t{}:", tid.len());
    [head.as_bytes(), tid, b"1:y1:qe"].concat()
}

#[test]
fn any_transaction_id_up_to_64_bytes_is_echoed() {
    let mut net = server();
    let now = net.now;
    let node = net.node(0);
    for (row, tid) in [
        ("K001", &b"aa"[..]),
        ("K002", b"a"),
        ("K003", b"abcd"),
        ("K004", b"abcdefgh"),
        ("K005", &[7; 16]),
        ("K006", &[0xff; 64]),
        ("K008", b""),
        ("K009", b"\0\0"),
    ] {
        let answer = check(node, now, row, &ping_with_tid(tid), Reply);
        let value = Value::parse(&answer, Limits::KRPC).unwrap();
        assert_eq!(value.get(b"t").unwrap().as_bytes(), Some(tid), "{row}");
    }
    check(node, now, "K007", &ping_with_tid(&[1; 400]), Silence);
}

#[test]
fn each_malformed_or_unusual_query_gets_its_answer() {
    let mut net = server();
    let now = net.now;
    let node = net.node(0);
    let nested = format!("1:x{}{}", "l".repeat(200), "e".repeat(200));
    let noise: Vec<u8> = (0..60u8).map(|n| n.wrapping_mul(37) ^ 0xa5).collect();
    let rows: Vec<(&str, Vec<u8>, Expect)> = vec![
        ("K010", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe".into(), Silence),
        ("K011", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:ti7e1:y1:qe".into(), Silence),
        ("K012", b"d1:ade1:q4:ping1:t2:aa1:y1:qe".into(), Error(203)),
        ("K013", b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe".into(), Error(203)),
        ("K014", b"d1:ad2:id21:abcdefghij0123456789Xe1:q4:ping1:t2:aa1:y1:qe".into(), Error(203)),
        ("K015", b"d1:ad2:idi5ee1:q4:ping1:t2:aa1:y1:qe".into(), Error(203)),
        ("K017", b"d1:q4:ping1:t2:aa1:y1:qe".into(), Error(203)),
        ("K018", b"d1:ale1:q4:ping1:t2:aa1:y1:qe".into(), Error(203)),
        ("K019", b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee".into(), Reply),
        ("K020", [query("ping", ""), b"JUNK".into()].concat(), Silence),
        ("K021", query("ping", "").split_last().unwrap().1.into(), Silence),
        ("K022", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aae".into(), Silence),
        ("K023", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:xe".into(), Silence),
        ("K024", b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe".into(), Error(203)),
        ("K025", b"d1:ad2:id20:abcdefghij0123456789e1:qi4e1:t2:aa1:y1:qe".into(), Error(203)),
        ("K026", b"de".into(), Silence),
        ("K027", b"le".into(), Silence),
        ("K028", noise, Silence),
        ("K029", query("ping", &nested), Silence),
        ("K030", b"d1:ad2:id99999999999:abcde1:q4:ping1:t2:aa1:y1:qe".into(), Silence),
        ("K031", b"d1:ad2:id-1:abcde1:q4:ping1:t2:aa1:y1:qe".into(), Silence),
        (
            "K032",
            b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi007e1:t2:aa1:y1:qe".into(),
            Reply,
        ),
        ("K033", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:t2:bb1:y1:qe".into(), Reply),
        ("K034", b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re".into(), Silence),
        ("K035", b"d1:eli203e3:bade1:t2:aa1:y1:ee".into(), Silence),
        ("K036", b"d1:e3:bad1:t2:aa1:y1:ee".into(), Silence),
        ("K037", query("foobar", ""), Error(204)),
        ("K038", query("foobar", "6:target20:mnopqrstuvwxyz123456"), Nodes),
        ("K039", query("foobar", "9:info_hash20:mnopqrstuvwxyz123456"), Nodes),
        ("K040", query("vote", "6:target20:mnopqrstuvwxyz123456"), Nodes),
        ("K041", query("find_node", "6:target20:mnopqrstuvwxyz123456"), Nodes),
        ("K042", query("find_node", ""), Error(203)),
        ("K043", query("find_node", "6:target19:mnopqrstuvwxyz12345"), Error(203)),
        ("K044", query("find_node", "9:info_hash20:mnopqrstuvwxyz123456"), Error(203)),
        ("K052", query("get_peers", ""), Error(203)),
        ("K053", query("get_peers", "9:info_hash19:mnopqrstuvwxyz12345"), Error(203)),
        ("K054", query("get_peers", &format!("9:info_hash32:{}", "h".repeat(32))), Error(203)),
        (
            "K055",
            b"d1:ad9:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe".into(),
            Error(203),
        ),
        ("K141", query("ping", "1:xd1:ali1el2:abeee"), Reply),
        ("K142", query("ping", &format!("1:x1600:{}", "x".repeat(1600))), Reply),
        ("K056", query("get_peers", &format!("9:info_hash20:{}", "\0".repeat(20))), Token),
        ("K057", query("get_peers", "9:info_hash20:mnopqrstuvwxyz123456"), Token),
    ];
    for (row, bytes, expect) in &rows {
        check(node, now, row, bytes, *expect);
    }
    check(node, now, "K118", &query("ping", ""), Reply);
    let stats = node.stats();
    assert_eq!(stats.queries_unknown, 1);
    assert_eq!(stats.queries_malformed, 15);
    assert_eq!(stats.dropped_unsolicited, 3);
    assert_eq!(stats.dropped_malformed, 6);
    assert_eq!(stats.dropped_bencode, 6);
}

#[test]
fn the_wanted_families_are_told() {
    let mut net = server();
    let now = net.now;
    let node = net.node(0);
    let many = format!("4:wantl{}e", "2:n4".repeat(20));
    for (row, want, expect) in [
        ("K041", "", Nodes),
        ("K045", "4:wantl2:n4e", Nodes),
        ("K046", "4:wantl2:n6e", Nodes6),
        ("K047", "4:wantl2:n42:n6e", Both),
        ("K048", "4:wantl2:zze", Nodes),
        ("K049", "4:wantle", Nodes),
        ("K050", "4:want2:n4", Nodes),
        ("K051", &many, Nodes),
    ] {
        let args = format!("6:target20:mnopqrstuvwxyz123456{want}");
        check(node, now, row, &query("find_node", &args), expect);
        let args = format!("9:info_hash20:mnopqrstuvwxyz123456{want}");
        check(node, now, row, &query("get_peers", &args), expect);
    }
}

/// The token that the node gives for an info-hash of 20 equal letters.
fn token(node: &mut Node, now: Time, from: SocketAddr, letter: char) -> Vec<u8> {
    let hash = letter.to_string().repeat(20);
    let out = answers(node, now, from, &query("get_peers", &format!("9:info_hash20:{hash}")));
    let value = Value::parse(&out[0], Limits::KRPC).unwrap();
    value.get(b"r").unwrap().get(b"token").unwrap().as_bytes().unwrap().to_vec()
}

fn announce(letter: char, before: &str, port: &str, token: Option<&[u8]>) -> Vec<u8> {
    let hash = letter.to_string().repeat(20);
    let head = format!("d1:ad2:id20:abcdefghij0123456789{before}9:info_hash20:{hash}{port}");
    let mut bytes = Vec::from(head);
    if let Some(token) = token {
        bytes.extend_from_slice(format!("5:token{}:", token.len()).as_bytes());
        bytes.extend_from_slice(token);
    }
    bytes.extend_from_slice(b"e1:q13:announce_peer1:t2:aa1:y1:qe");
    bytes
}

#[test]
fn announces_are_stored_only_with_the_token_for_that_address_and_torrent() {
    let mut net = server();
    let now = net.now;
    let node = net.node(0);
    let good = token(node, now, client(), 'h');
    let other_hash = token(node, now, client(), 'g');
    let other_ip = token(node, now, "10.7.7.8:7777".parse().unwrap(), 'h');
    let other_port = token(node, now, "10.7.7.7:1234".parse().unwrap(), 'h');
    let port = "4:porti4000e";
    let implied = "12:implied_porti1e";
    let rows: [(&str, Vec<u8>, Expect, usize); 17] = [
        ("K058", announce('h', "", port, Some(b"12345678")), Error(203), 0),
        ("K059", announce('h', "", port, None), Error(203), 0),
        ("K060", announce('h', "", port, Some(b"")), Error(203), 0),
        ("K061", announce('h', "", "4:porti0e", Some(&good)), Error(203), 0),
        ("K062", announce('h', "", "4:porti65536e", Some(&good)), Error(203), 0),
        ("K063", announce('h', "", "4:porti-1e", Some(&good)), Error(203), 0),
        ("K064", announce('h', "", "", Some(&good)), Error(203), 0),
        ("K065", announce('h', "", port, Some(&other_hash)), Error(203), 0),
        ("K078", announce('h', "", port, Some(&other_ip)), Error(203), 0),
        ("K066", announce('h', "", port, Some(&good)), Reply, 1),
        ("K067", announce('h', "", port, Some(&good)), Reply, 1),
        ("K068", announce('h', "", "4:porti4001e", Some(&good)), Reply, 2),
        ("K069", announce('h', implied, "4:porti1e", Some(&good)), Reply, 3),
        ("K070", announce('h', implied, "", Some(&good)), Reply, 3),
        ("K076", announce('h', "", port, Some(&other_port)), Reply, 3),
        (
            "K077",
            String::from_utf8_lossy(&announce('h', "", port, Some(b"no token")))
                .replace("abcdefghij", "ABCDEFGHIJ")
                .into_bytes(),
            Error(203),
            3,
        ),
        ("K068", announce('h', "12:implied_porti0e", "4:porti4002e", Some(&good)), Reply, 4),
    ];
    for (row, bytes, expect, stored) in rows {
        check(node, now, row, &bytes, expect);
        assert_eq!(node.stored().1, stored, "{row}");
    }
    // K077: the token is not bound to the id.
    let mut bytes = announce('h', "", port, Some(&good));
    bytes[12..22].copy_from_slice(b"ABCDEFGHIJ");
    check(node, now, "K077", &bytes, Reply);

    let hash = "h".repeat(20);
    let answer =
        check(node, now, "K071", &query("get_peers", &format!("9:info_hash20:{hash}")), Nodes);
    let value = Value::parse(&answer, Limits::KRPC).unwrap();
    let r = value.get(b"r").unwrap();
    assert!(r.get(b"token").is_some());
    let mut values: Vec<_> = r
        .get(b"values")
        .unwrap()
        .as_list()
        .unwrap()
        .map(|v| compact::addr(v.as_bytes().unwrap()))
        .collect();
    values.sort();
    let expected = ["10.7.7.7:4000", "10.7.7.7:4001", "10.7.7.7:4002", "10.7.7.7:7777"];
    assert_eq!(values, expected.map(|a| Some(a.parse().unwrap())));
}

/// K178 to K181.
#[test]
fn the_nodes_told_are_the_closest_of_all_and_not_the_asker() {
    let mut net = Net::joined(40);
    let now = net.now;
    let node = net.node(0);
    let contacts: Vec<_> = node.contacts().iter().map(|contact| contact.node).collect();
    assert!(contacts.len() > 20);
    let mut targets: Vec<_> = contacts.iter().map(|contact| contact.id).collect();
    targets.extend([node.id(), Id([0; 20]), Id([0xff; 20])]);
    for (n, target) in targets.into_iter().enumerate() {
        let asker = contacts[(n + 1) % contacts.len()];
        let mut query = Vec::new();
        let head = Head { tid: b"tt", ..Head::default() };
        let method = Method::FindNode { target, want: Default::default() };
        Query { id: asker.id, method }.encode(&head, &mut query);
        let answer = answers(node, now, asker.addr, &query).remove(0);
        let Body::Reply(reply) = Message::parse(&answer).unwrap().body else { panic!() };
        let told: Vec<_> = GetPeersReply::parse(&reply).unwrap().found.nodes().collect();
        let mut closest: Vec<_> = contacts.iter().filter(|c| **c != asker).collect();
        closest.sort_unstable_by_key(|contact| contact.id.distance(&target));
        let closest: Vec<_> = closest[..8].iter().map(|c| (c.id, c.addr)).collect();
        assert_eq!(told, closest, "{target}");
    }
}

#[test]
fn read_only_senders_and_the_zero_id_are_answered_and_not_pinged() {
    let mut net = server();
    let now = net.now;
    let node = net.node(0);
    let asked = node.stats().asked;
    let zero = format!("d1:ad2:id20:{}e1:q4:ping1:t2:aa1:y1:qe", "\0".repeat(20));
    check(node, now, "K016", zero.as_bytes(), Reply);
    let read_only = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi1e1:t2:aa1:y1:qe";
    check(node, now, "K079", read_only, Reply);
    assert_eq!(node.stats().asked, asked);
    check(node, now, "K146", &query("ping", ""), Reply);
    assert_eq!(node.stats().asked, asked + 1, "a plain sender is pinged before it is listed");
    assert!(node.contacts().iter().all(|c| c.node.addr != client()));
}

#[test]
fn unbelievable_sources_and_our_own_id_are_dropped() {
    let mut net = server();
    let now = net.now;
    let own_addr = net.addr(0);
    let node = net.node(0);
    for from in ["10.7.7.7:0", "0.0.0.0:5", "224.0.0.1:5", "[::1]:5"] {
        let out = answers(node, now, from.parse().unwrap(), &query("ping", ""));
        assert!(out.is_empty(), "{from}");
    }
    assert!(answers(node, now, own_addr, &query("ping", "")).is_empty(), "K176");
    assert_eq!(node.stats().dropped_address, 5);
    let mut bytes = query("ping", "");
    let own = node.id();
    bytes[12..32].copy_from_slice(own.as_bytes());
    check(node, now, "own id", &bytes, Silence);
    assert_eq!(node.stats().dropped_own_id, 1);
}

#[test]
fn tokens_age_and_peers_expire() {
    let mut net = server();
    let start = net.now;
    let node = net.node(0);
    let good = token(node, start, client(), 'h');
    let at = |min: u64| start + Duration::from_secs(min * 60);
    for (min, expect) in [(0, Reply), (4, Reply), (15, Error(203))] {
        let bytes = announce('h', "", "4:porti4000e", Some(&good));
        check(node, at(min), "K147", &bytes, expect);
    }
    let hash = "h".repeat(20);
    let bytes = query("get_peers", &format!("9:info_hash20:{hash}"));
    let has_values = |node: &mut Node, now| {
        let out = answers(node, now, client(), &bytes);
        Value::parse(&out[0], Limits::KRPC).unwrap().get(b"r").unwrap().get(b"values").is_some()
    };
    assert!(has_values(node, at(4 + 44)), "K150");
    assert!(!has_values(node, at(4 + 46)), "K150");
    node.handle_timeout(at(4 + 46));
    assert_eq!(node.stored(), (0, 0));
}

#[test]
fn the_largest_reply_fits_and_its_peers_differ() {
    let mut net = server();
    let now = net.now;
    let node = net.node(0);
    for n in 0..600u16 {
        let from = SocketAddr::from(([10, 8, (n >> 8) as u8, n as u8], 5000));
        let hash = "h".repeat(20);
        let out = answers(node, now, from, &query("get_peers", &format!("9:info_hash20:{hash}")));
        let value = Value::parse(&out[0], Limits::KRPC).unwrap();
        let token = value.get(b"r").unwrap().get(b"token").and_then(|t| t.as_bytes());
        // K152: no token when an announce would not be stored.
        assert_eq!(token.is_some(), n < 500, "{n}");
        if let Some(token) = token {
            answers(node, now, from, &announce('h', "", "4:porti4000e", Some(token)));
        }
    }
    assert_eq!(node.stored(), (1, 500));
    let ask = format!(
        "d1:ad2:id20:abcdefghij01234567899:info_hash20:{}4:wantl2:n42:n6ee1:q9:get_peers1:t64:{}1:y1:qe",
        "h".repeat(20),
        "t".repeat(64)
    );
    let samples: Vec<Vec<u8>> =
        (0..2).map(|_| check(node, now, "K143", ask.as_bytes(), Both)).collect();
    // Full but for the room of a token and of one value.
    assert!(samples[0].len() > 1024 - 60);
    assert_ne!(samples[0], samples[1], "random samples");
}
