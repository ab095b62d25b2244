//! Every field of every KRPC message, left out, of each wrong type, too short, too long and empty:
//! what is answered, what is counted, and what still counts.
#![allow(clippy::unwrap_used)]

mod bench;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bench::{Bench, HASH, LOCAL, SEED, id};
use dht::{Config, Event, Stats};
use wire::bencode::{Encoder, Limits, Value};
use wire::krpc::{Body, GetPeersReply, Message};
use wire::{Id, compact};

/// A message: the raw value of each field, those of an inner dict under `dict/key`.
type Fields = BTreeMap<&'static str, Vec<u8>>;

/// What is done to one field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harm {
    Missing,
    /// Zero, in place of whatever it was.
    Int,
    List,
    Dict,
    /// A string of one byte less; of an integer its text.
    Short,
    /// A string of one byte more.
    Long,
    Empty,
}
use Harm::*;

const HARMS: [Harm; 7] = [Missing, Int, List, Dict, Short, Long, Empty];

impl Harm {
    /// The field is a string still, of another length.
    fn leaves_a_string(self) -> bool {
        matches!(self, Short | Long | Empty)
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(&mut out).bytes(bytes);
    out
}

fn fields(pairs: &[(&'static str, Vec<u8>)]) -> Fields {
    pairs.iter().cloned().collect()
}

fn build(fields: &Fields) -> Vec<u8> {
    let mut tops: Vec<&str> = fields.keys().map(|path| path.split('/').next().unwrap()).collect();
    tops.dedup();
    let mut out = Vec::new();
    Encoder::new(&mut out).dict(|d| {
        for top in tops {
            let value = d.key(top.as_bytes());
            match fields.get(top) {
                Some(raw) => value.raw(raw),
                None => value.dict(|inner| {
                    for (path, raw) in fields {
                        if let Some(("", key)) =
                            path.strip_prefix(top).and_then(|p| p.split_once('/'))
                        {
                            inner.key(key.as_bytes()).raw(raw);
                        }
                    }
                }),
            }
        }
    });
    out
}

/// The message with harm done to one field, or to a whole inner dict.
fn harmed(fields: &Fields, path: &'static str, harm: Harm) -> Vec<u8> {
    let mut fields = fields.clone();
    let whole = fields.get(path).cloned().unwrap_or_else(|| string(b"x"));
    let text = match Value::parse(&whole, Limits::KRPC).unwrap().as_bytes() {
        Some(bytes) => bytes.to_vec(),
        None => whole[1..whole.len() - 1].to_vec(),
    };
    fields.retain(|other, _| *other != path && !other.starts_with(&format!("{path}/")));
    let raw = match harm {
        Missing => {
            if let Some((dict, _)) = path.split_once('/')
                && !fields.keys().any(|other| other.starts_with(&format!("{dict}/")))
            {
                fields.insert(dict, b"de".to_vec());
            }
            return build(&fields);
        }
        Int => b"i0e".to_vec(),
        List => b"le".to_vec(),
        Dict => b"de".to_vec(),
        Short => string(&text[..text.len() - 1]),
        Long => string(&[&text[..], b"x"].concat()),
        Empty => string(b""),
    };
    fields.insert(path, raw);
    build(&fields)
}

/// The fields of a message, and the inner dicts as a whole.
fn paths(fields: &Fields) -> Vec<&'static str> {
    let mut all: Vec<&str> = fields.keys().copied().collect();
    all.extend(fields.keys().filter_map(|path| path.split_once('/').map(|(dict, _)| dict)));
    all.sort_unstable();
    all.dedup();
    all
}

/// The counters of what is wrong that rose from `before` to `after`.
fn counted(before: &Stats, after: &Stats) -> Vec<&'static str> {
    let rose = [
        ("queries_malformed", after.queries_malformed > before.queries_malformed),
        ("queries_unknown", after.queries_unknown > before.queries_unknown),
        ("bad_tokens", after.bad_tokens > before.bad_tokens),
        ("bad_items", after.bad_items > before.bad_items),
        ("old_items", after.old_items > before.old_items),
        ("dropped_bencode", after.dropped_bencode > before.dropped_bencode),
        ("dropped_malformed", after.dropped_malformed > before.dropped_malformed),
        ("dropped_long_tid", after.dropped_long_tid > before.dropped_long_tid),
        ("dropped_unsolicited", after.dropped_unsolicited > before.dropped_unsolicited),
        ("dropped_bad_reply", after.dropped_bad_reply > before.dropped_bad_reply),
        ("dropped_wrong_id", after.dropped_wrong_id > before.dropped_wrong_id),
        ("refused_nodes", after.refused_nodes > before.refused_nodes),
        ("refused_peers", after.refused_peers > before.refused_peers),
        ("errors", after.errors > before.errors),
    ];
    rose.into_iter().filter(|(_, rose)| *rose).map(|(name, _)| name).collect()
}

// Queries

const ASKER: &str = "61.2.3.4:4000";

/// What comes of a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Served {
    Answered,
    /// An error of this code goes back, and this is counted.
    Refused(i64, &'static str),
    /// Nothing goes back, and this is counted.
    Dropped(&'static str),
}
use Served::*;

fn ask(bench: &mut Bench, bytes: &[u8]) -> Served {
    let before = *bench.node.stats();
    bench.handle(ASKER.parse().unwrap(), bytes);
    let counted = counted(&before, bench.node.stats());
    let (mut buf, mut out) = (Vec::new(), Vec::new());
    while bench.node.poll_transmit(&mut buf).is_some() {
        // A query is the node's own, to verify the asker.
        match Message::parse(&buf).unwrap().body {
            Body::Reply(_) => out.push(Answered),
            Body::Error(error) => out.push(Refused(error.code, counted[0])),
            Body::Query(_) | Body::BadQuery(_) => {}
        }
    }
    match (&out[..], &counted[..]) {
        ([Answered], []) => Answered,
        ([refused @ Refused(..)], [_]) => *refused,
        ([], [what]) => Dropped(what),
        _ => panic!("{out:?}, {counted:?}"),
    }
}

const SALT: &[u8] = b"salt";

/// A mutable item: its key, where it is stored, and its signature.
fn item() -> ([u8; 32], Id, [u8; 64]) {
    use ed25519_dalek::Signer;
    let signer = dht::SigningKey::from_bytes(&[7; 32]);
    let key = signer.verifying_key().to_bytes();
    let target = dht::ItemKey::Mutable { key, salt: SALT.to_vec() }.target();
    (key, target, signer.sign(b"4:salt4:salt3:seqi1e1:v5:hello").to_bytes())
}

fn query(name: &str, arguments: &[(&'static str, Vec<u8>)]) -> Fields {
    let mut all = fields(&[
        ("a/id", string(&id(9).0)),
        ("ip", string(&[1, 2, 3, 4, 5, 6])),
        ("q", string(name.as_bytes())),
        ("ro", b"i0e".to_vec()),
        ("t", string(b"tt")),
        ("v", string(b"LT01")),
        ("y", string(b"q")),
    ]);
    all.extend(arguments.iter().cloned());
    all
}

/// A query of each method that is served, with every optional field. The tokens are for [`ASKER`],
/// [`HASH`] and the item.
fn queries([token, item_token]: [&[u8]; 2]) -> [(&'static str, Fields); 7] {
    let (key, target, sig) = item();
    let hash = || string(&HASH.0);
    let want = || b"l2:n42:n6e".to_vec();
    [
        ("ping", query("ping", &[])),
        ("find_node", query("find_node", &[("a/target", hash()), ("a/want", want())])),
        (
            "get_peers",
            query(
                "get_peers",
                &[
                    ("a/info_hash", hash()),
                    ("a/noseed", b"i0e".to_vec()),
                    ("a/scrape", b"i1e".to_vec()),
                    ("a/want", want()),
                ],
            ),
        ),
        (
            "announce_peer",
            query(
                "announce_peer",
                &[
                    ("a/implied_port", b"i0e".to_vec()),
                    ("a/info_hash", hash()),
                    ("a/port", b"i4000e".to_vec()),
                    ("a/seed", b"i1e".to_vec()),
                    ("a/token", string(token)),
                ],
            ),
        ),
        (
            "get",
            query(
                "get",
                &[("a/seq", b"i0e".to_vec()), ("a/target", string(&target.0)), ("a/want", want())],
            ),
        ),
        (
            "put",
            query(
                "put",
                &[
                    ("a/cas", b"i1e".to_vec()),
                    ("a/k", string(&key)),
                    ("a/salt", string(SALT)),
                    ("a/seq", b"i1e".to_vec()),
                    ("a/sig", string(&sig)),
                    ("a/token", string(item_token)),
                    ("a/v", b"5:hello".to_vec()),
                ],
            ),
        ),
        (
            "sample_infohashes",
            query("sample_infohashes", &[("a/target", hash()), ("a/want", want())]),
        ),
    ]
}

fn expected(method: &str, path: &str, harm: Harm) -> Served {
    match path {
        "t" if harm.leaves_a_string() => Answered,
        "t" | "y" => Dropped("dropped_malformed"),
        // A method that nobody knows is served as find_node if it has a target.
        "q" if harm.leaves_a_string() && matches!(method, "ping" | "put") => {
            Refused(204, "queries_unknown")
        }
        "q" if harm.leaves_a_string() => Answered,
        "a/token" if harm.leaves_a_string() => Refused(203, "bad_tokens"),
        // The same item is stored.
        "a/cas" if matches!(harm, Int | Missing) => Answered,
        "a/seq" if method == "get" && matches!(harm, Missing | Int) => Answered,
        "a/seq" if harm == Int => Refused(206, "bad_items"),
        "a/v" if harm != Missing => Refused(206, "bad_items"),
        // Another salt is another target, for which the token is none.
        "a/salt" if harm == Missing || harm.leaves_a_string() => Refused(203, "bad_tokens"),
        "a/cas" | "a/k" | "a/salt" | "a/seq" | "a/sig" | "a/v" => Refused(203, "queries_malformed"),
        "q" | "a" | "a/id" | "a/target" | "a/info_hash" | "a/port" | "a/token" => {
            Refused(203, "queries_malformed")
        }
        "a/want" | "a/implied_port" | "a/noseed" | "a/scrape" | "a/seed" | "ip" | "ro" | "v" => {
            Answered
        }
        other => panic!("a field without a rule: {other}"),
    }
}

/// A node and the tokens that it gives [`ASKER`] for [`HASH`] and the item.
fn server() -> (Bench, [Vec<u8>; 2]) {
    // More queries at once than one address may have answered otherwise.
    let config = Config::new(vec!["60.1.1.1:6881".parse().unwrap()]);
    let mut bench = Bench::with(config.unlimited());
    let tokens = [2, 4].map(|which| {
        let ask = build(&queries([b"", b""])[which].1);
        bench.node.handle_datagram(bench.now, LOCAL, ASKER.parse().unwrap(), &ask);
        let mut buf = Vec::new();
        assert!(bench.node.poll_transmit(&mut buf).is_some());
        let Body::Reply(body) = Message::parse(&buf).unwrap().body else { panic!() };
        let token = GetPeersReply::parse(&body).unwrap().token.unwrap().to_vec();
        while bench.node.poll_transmit(&mut buf).is_some() {}
        token
    });
    (bench, tokens)
}

#[test]
fn each_field_of_each_query_missing_or_wrong_is_answered_refused_or_dropped() {
    let (mut bench, tokens) = server();
    for (method, query) in queries([&tokens[0], &tokens[1]]) {
        assert_eq!(ask(&mut bench, &build(&query)), Answered, "{method}");
        for path in paths(&query) {
            for harm in HARMS {
                let bytes = harmed(&query, path, harm);
                let text = String::from_utf8_lossy(&bytes);
                let served = ask(&mut bench, &bytes);
                assert_eq!(served, expected(method, path, harm), "{harm:?} {path} of {text}");
            }
        }
    }
    // Only what is good, and what is harmed in what does not matter: of one peer and one item.
    assert_eq!((bench.node.stored(), bench.node.stored_items()), ((1, 1), (1, 7)));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let (mut bench, tokens) = server();
    let (_, announce) = &queries([&tokens[0], &tokens[1]])[3];
    let with = |path: &'static str, raw: &str| {
        let mut fields = announce.clone();
        fields.insert(path, raw.as_bytes().to_vec());
        build(&fields)
    };
    for (port, served) in [
        ("i-1e", Refused(203, "queries_malformed")),
        ("i0e", Refused(203, "queries_malformed")),
        ("i65536e", Refused(203, "queries_malformed")),
        ("i9223372036854775807e", Refused(203, "queries_malformed")),
        ("i9223372036854775808e", Refused(203, "queries_malformed")),
        ("i1e", Answered),
        ("i65535e", Answered),
    ] {
        assert_eq!(ask(&mut bench, &with("a/port", port)), served, "{port}");
    }
    for implied in ["i1e", "i-1e", "i9223372036854775807e"] {
        assert_eq!(ask(&mut bench, &with("a/implied_port", implied)), Answered);
    }
    assert_eq!(bench.node.stored(), (1, 3), "two ports, and the one that is implied");
    for ro in ["i1e", "i-1e", "i2e"] {
        assert_eq!(ask(&mut bench, &with("ro", ro)), Answered);
    }
}

#[test]
fn transaction_ids_longer_than_any_in_use_are_dropped() {
    let (mut bench, tokens) = server();
    for (_, query) in queries([&tokens[0], &tokens[1]]) {
        for (len, served) in [(0, Answered), (64, Answered), (65, Dropped("dropped_long_tid"))] {
            let mut query = query.clone();
            query.insert("t", string(&vec![b't'; len]));
            assert_eq!(ask(&mut bench, &build(&query)), served, "{len}");
        }
    }
}

// Replies and errors

/// What came of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Heard {
    counted: Vec<&'static str>,
    /// Whether the query that it answers waits no more.
    ended: bool,
    /// Whether it counts as an answer.
    answered: bool,
}

/// Gives the node the one answer that it waits for.
fn hear(bench: &mut Bench, bytes: &[u8]) -> Heard {
    let (before, waiting) = (*bench.node.stats(), bench.node.in_flight());
    bench.handle(SEED.parse().unwrap(), bytes);
    let after = bench.node.stats();
    Heard {
        counted: counted(&before, after),
        // The answer may have led to new queries.
        ended: bench.node.in_flight() as u64 + 1 == waiting as u64 + after.asked - before.asked,
        answered: after.answered > before.answered,
    }
}

fn reply(tid: &[u8], body: &[(&'static str, Vec<u8>)]) -> Fields {
    let mut all = fields(&[
        ("ip", string(&[1, 2, 3, 4, 5, 6])),
        ("r/id", string(&id(1).0)),
        ("t", string(tid)),
        ("v", string(b"LT01")),
        ("y", string(b"r")),
    ]);
    all.extend(body.iter().cloned());
    all
}

fn node_list(addr: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    compact::put_node(&mut bytes, &id(2), &addr.parse().unwrap());
    string(&bytes)
}

/// What must come of a reply of which one field is harmed.
fn expected_of_reply(path: &str, harm: Harm) -> Heard {
    let dropped = |what| Heard { counted: vec![what], ended: false, answered: false };
    let failed = |what| Heard { counted: vec![what], ended: true, answered: false };
    match path {
        "t" if harm.leaves_a_string() => dropped("dropped_unsolicited"),
        "t" | "y" => dropped("dropped_malformed"),
        "r" if harm == Dict => failed("dropped_bad_reply"),
        "r" => dropped("dropped_malformed"),
        "r/id" => failed("dropped_bad_reply"),
        _ => Heard { counted: vec![], ended: true, answered: true },
    }
}

#[test]
fn each_field_of_a_ping_reply_missing_or_wrong_is_counted() {
    for path in paths(&reply(b"", &[])) {
        for harm in HARMS {
            let mut bench = Bench::new();
            bench.node.ping(bench.now, SEED.parse().unwrap());
            let asked = bench.asked().remove(0);
            let heard = hear(&mut bench, &harmed(&reply(&asked.tid, &[]), path, harm));
            assert_eq!(heard, expected_of_reply(path, harm), "{harm:?} {path}");
            let events = bench.events();
            let fits = matches!(
                (&events[..], heard.ended, heard.answered),
                ([Event::PingReply { .. }], true, true)
                    | ([Event::PingFailed { .. }], true, false)
                    | ([], false, false)
            );
            assert!(fits, "{harm:?} {path}: {events:?}");
        }
    }
}

#[test]
fn each_field_of_a_find_node_reply_missing_or_wrong_is_counted_or_left_out() {
    let body = [("r/nodes", node_list("71.1.1.1:1")), ("r/nodes6", node_list("[2001:db8:7::1]:1"))];
    for path in paths(&reply(b"", &body)) {
        for harm in HARMS {
            let sockets = ["60.1.1.1:6881", "[2001:db8::1]:6881"].map(|a| a.parse().unwrap());
            let mut bench = Bench::with(Config::new(sockets.to_vec()));
            bench.node.find_node(bench.now, HASH);
            bench.node.bootstrap(bench.now, SEED.parse().unwrap());
            let asked = bench.asked().remove(0);
            assert_eq!(asked.method, "find_node");
            let heard = hear(&mut bench, &harmed(&reply(&asked.tid, &body), path, harm));
            assert_eq!(heard, expected_of_reply(path, harm), "{harm:?} {path}");
            let mut told: Vec<SocketAddr> = bench.asked().iter().map(|asked| asked.to).collect();
            told.sort();
            told.dedup();
            let mut want = vec!["71.1.1.1:1", "[2001:db8:7::1]:1"];
            match path {
                _ if !heard.answered => want.clear(),
                "r/nodes" => want.retain(|addr| addr.starts_with('[')),
                "r/nodes6" => want.retain(|addr| !addr.starts_with('[')),
                _ => {}
            }
            let want: Vec<SocketAddr> = want.iter().map(|addr| addr.parse().unwrap()).collect();
            assert_eq!(told, want, "{harm:?} {path}");
        }
    }
}

/// What an announce made of the one reply to its get_peers: the answer, nodes asked next, peers
/// reported, and the token it then showed.
fn announce_by(harm: Option<(&'static str, Harm)>) -> (Heard, usize, usize, Option<Vec<u8>>) {
    let body = [
        ("r/nodes", node_list("71.1.1.1:1")),
        ("r/token", string(b"token")),
        ("r/values", b"l6:\x47\x01\x01\x02\x1a\xe1e".to_vec()),
    ];
    let mut bench = Bench::new();
    bench.node.announce(bench.now, HASH, Some(4000), false);
    bench.node.bootstrap(bench.now, SEED.parse().unwrap());
    let asked = bench.asked().remove(0);
    assert_eq!(asked.method, "get_peers");
    let reply = reply(&asked.tid, &body);
    let bytes = harm.map_or_else(|| build(&reply), |(path, harm)| harmed(&reply, path, harm));
    let heard = hear(&mut bench, &bytes);
    let mut asked = bench.asked();
    let told = "71.1.1.1:1".parse().unwrap();
    let nodes = asked.iter().filter(|asked| asked.to == told).count();
    // Nobody else answers.
    for _ in 0..10 {
        bench.pass(Duration::from_secs(1));
        asked.extend(bench.asked());
    }
    let shown = asked.into_iter().find_map(|asked| asked.token);
    let peers = bench.events().iter().fold(0, |sum, event| match event {
        Event::PeersFound { peers, .. } => sum + peers.len(),
        _ => sum,
    });
    (heard, nodes, peers, shown)
}

#[test]
fn each_field_of_a_get_peers_reply_missing_or_wrong_is_counted_or_left_out() {
    let whole = Heard { counted: vec![], ended: true, answered: true };
    assert_eq!(announce_by(None), (whole, 1, 1, Some(b"token".to_vec())));
    for path in ["ip", "r", "r/id", "r/nodes", "r/token", "r/values", "t", "v", "y"] {
        for harm in HARMS {
            let (heard, nodes, peers, token) = announce_by(Some((path, harm)));
            assert_eq!(heard, expected_of_reply(path, harm), "{harm:?} {path}");
            let part = |left_out: bool| usize::from(heard.answered && !left_out);
            assert_eq!(nodes, part(path == "r/nodes"), "{harm:?} {path}: nodes");
            assert_eq!(peers, part(path == "r/values"), "{harm:?} {path}: peers");
            let shown = match (path, harm) {
                _ if !heard.answered => None,
                ("r/token", Short) => Some(&b"toke"[..]),
                ("r/token", Long) => Some(&b"tokenx"[..]),
                ("r/token", Empty) => Some(&b""[..]),
                ("r/token", _) => None,
                _ => Some(&b"token"[..]),
            };
            assert_eq!(token.as_deref(), shown, "{harm:?} {path}: token");
        }
    }
}

/// A node that has announced to one other and waits for its answer.
fn announcing() -> (Bench, Vec<u8>) {
    let mut bench = Bench::new();
    bench.node.announce(bench.now, HASH, Some(4000), false);
    bench.node.bootstrap(bench.now, SEED.parse().unwrap());
    for asked in bench.asked() {
        let token = [("r/token", string(b"token"))];
        bench.handle(asked.to, &build(&reply(&asked.tid, &token)));
    }
    let announce = bench.asked().into_iter().find(|asked| asked.token.is_some()).unwrap();
    bench.events();
    (bench, announce.tid)
}

#[test]
fn each_field_of_an_announce_reply_missing_or_wrong_is_counted() {
    for path in paths(&reply(b"", &[])) {
        for harm in HARMS {
            let (mut bench, tid) = announcing();
            let heard = hear(&mut bench, &harmed(&reply(&tid, &[]), path, harm));
            assert_eq!(heard, expected_of_reply(path, harm), "{harm:?} {path}");
            let accepted = bench.events().iter().find_map(|event| match event {
                Event::Announced { accepted, .. } => Some(*accepted),
                _ => None,
            });
            let expected = heard.ended.then_some(u32::from(heard.answered));
            assert_eq!(accepted, expected, "{harm:?} {path}");
        }
    }
}

#[test]
fn each_field_of_an_error_missing_or_wrong_is_counted() {
    for (path, harm) in ["e", "ip", "t", "v", "y"].into_iter().flat_map(|p| HARMS.map(|h| (p, h))) {
        let (mut bench, tid) = announcing();
        let error = fields(&[
            ("e", b"li203e3:bade".to_vec()),
            ("ip", string(&[1, 2, 3, 4, 5, 6])),
            ("t", string(&tid)),
            ("v", string(b"LT01")),
            ("y", string(b"e")),
        ]);
        let heard = hear(&mut bench, &harmed(&error, path, harm));
        let expected = match (path, harm) {
            ("t", harm) if harm.leaves_a_string() => ("dropped_unsolicited", false),
            ("t" | "y", _) | ("e", Missing) => ("dropped_malformed", false),
            _ => ("errors", true),
        };
        assert_eq!((heard.counted, heard.ended), (vec![expected.0], expected.1), "{harm:?} {path}");
        assert!(!heard.answered);
    }
}
