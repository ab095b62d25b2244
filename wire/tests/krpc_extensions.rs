//! Scrapes (BEP 33), stored items (BEP 44) and samples of info-hashes (BEP 51), as bytes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use wire::Id;
use wire::bencode::{Limits, Value};
use wire::krpc::{
    Body, Filters, GetPeersReply, Head, ItemReply, Message, Method, Put, Query, Reply, ReplyBody,
    Samples, Signed, Want,
};

const A: Id = Id(*b"abcdefghij0123456789");
const M: Id = Id(*b"mnopqrstuvwxyz123456");
const HEAD: Head<'static> = Head { tid: b"aa", version: None, read_only: false, ip: None };

fn value(bytes: &[u8]) -> Value<'_> {
    Value::parse(bytes, Limits::KRPC).unwrap()
}

fn asked(method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Query { id: A, method }.encode(&HEAD, &mut out);
    out
}

fn read(bytes: &[u8]) -> Body<'_> {
    Message::parse(bytes).unwrap().body
}

fn reply(bytes: &[u8]) -> ReplyBody<'_> {
    match read(bytes) {
        Body::Reply(body) => body,
        other => panic!("{other:?}"),
    }
}

fn written(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(&HEAD, &mut out);
    assert!(value(&out).is_canonical());
    out
}

#[test]
fn queries_are_laid_out_as_the_beps_say() {
    let want = Want::default();
    for (method, args, name) in [
        (
            Method::GetPeers { info_hash: M, want, noseed: true, scrape: true },
            "2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456\
             6:noseedi1e6:scrapei1e"
                .to_owned(),
            "9:get_peers",
        ),
        (
            Method::AnnouncePeer {
                info_hash: M,
                port: 7,
                implied_port: false,
                seed: true,
                token: b"tok",
            },
            "2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti7e\
             4:seedi1e5:token3:tok"
                .into(),
            "13:announce_peer",
        ),
        (
            Method::SampleInfohashes { target: M, want },
            "2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456".into(),
            "17:sample_infohashes",
        ),
        (
            Method::Get { target: M, seq: Some(9), want: Want::BOTH },
            "2:id20:abcdefghij01234567893:seqi9e6:target20:mnopqrstuvwxyz123456\
             4:wantl2:n42:n6e"
                .into(),
            "3:get",
        ),
    ] {
        let bytes = format!("d1:ad{args}e1:q{name}1:t2:aa1:y1:qe").into_bytes();
        assert_eq!(String::from_utf8_lossy(&asked(method)), String::from_utf8_lossy(&bytes));
        assert_eq!(read(&bytes), Body::Query(Query { id: A, method }), "{args}");
    }
}

#[test]
fn puts_are_laid_out_as_bep_44_says_and_tell_their_target() {
    let (key, sig) = (&[b'k'; 32], &[b's'; 64]);
    let signed = Signed { key, salt: b"foobar", seq: 4, sig, cas: Some(3) };
    let unsalted = Signed { salt: b"", cas: None, ..signed };
    let value = value(b"12:Hello World!");
    let (k, s) = ("k".repeat(32), "s".repeat(64));
    for (signed, before) in [
        (None, "2:id20:abcdefghij0123456789".to_owned()),
        (
            Some(signed),
            format!(
                "3:casi3e2:id20:abcdefghij01234567891:k32:{k}4:salt6:foobar3:seqi4e3:sig64:{s}"
            ),
        ),
        (Some(unsalted), format!("2:id20:abcdefghij01234567891:k32:{k}3:seqi4e3:sig64:{s}")),
    ] {
        let put = Put { token: b"tok", value, signed };
        let query = Query { id: A, method: Method::Put(put) };
        let with = |target: &[u8]| {
            let start = format!("d1:ad{before}").into_bytes();
            [&start, target, b"5:token3:tok1:v12:Hello World!e1:q3:put1:t2:aa1:y1:qe"].concat()
        };
        let whole = with(&[b"6:target20:".as_slice(), &put.target().0].concat());
        assert_eq!(asked(query.method), whole);
        assert_eq!(read(&whole), Body::Query(query));
        assert_eq!(read(&with(b"")), Body::Query(query), "others need not tell it");
    }
    let hello = Put { token: b"tok", value, signed: None };
    assert_eq!(hello.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb", "BEP 44");
}

/// The arguments of a mutable put, one of them replaced, or left out if there is nothing.
fn put_with(name: &str, instead: &str) -> Vec<u8> {
    let (k, s) = (format!("32:{}", "k".repeat(32)), format!("64:{}", "s".repeat(64)));
    let all = [
        ("id", "20:abcdefghij0123456789"),
        ("cas", "i3e"),
        ("k", &k),
        ("salt", "3:abc"),
        ("seq", "i4e"),
        ("sig", &s),
        ("token", "3:tok"),
        ("v", "1:x"),
    ];
    let mut args = String::new();
    for (key, good) in all {
        let text = if key == name { instead } else { good };
        if !text.is_empty() {
            args += &format!("{}:{key}{text}", key.len());
        }
    }
    format!("d1:ad{args}e1:q3:put1:t2:aa1:y1:qe").into_bytes()
}

#[test]
fn a_put_that_lacks_or_bends_an_argument_is_refused_and_never_taken_for_immutable() {
    let short = format!("31:{}", "k".repeat(31));
    let long = format!("65:{}", "s".repeat(65));
    for (name, bad, complaint) in [
        ("token", "", "token missing"),
        ("token", "i1e", "token missing"),
        ("v", "", "v missing"),
        ("v", "i03e", "v is no canonical bencode"),
        ("v", "d1:b0:1:a0:e", "v is no canonical bencode"),
        ("k", "", "k missing or not 32 bytes"),
        ("k", &short, "k missing or not 32 bytes"),
        ("sig", "", "sig missing or not 64 bytes"),
        ("sig", &long, "sig missing or not 64 bytes"),
        ("seq", "", "seq missing, negative or beyond 64 bits"),
        ("seq", "i-1e", "seq missing, negative or beyond 64 bits"),
        ("seq", "i9223372036854775808e", "seq missing, negative or beyond 64 bits"),
        ("seq", "1:4", "seq missing, negative or beyond 64 bits"),
        ("salt", "i4e", "salt is no string"),
        ("cas", "0:", "cas is no integer of 64 bits"),
    ] {
        let bytes = put_with(name, bad);
        assert_eq!(read(&bytes), Body::BadQuery(complaint), "{name} {bad}");
    }
    for (name, good) in [("seq", "i9223372036854775807e"), ("v", "d1:a0:1:bi-1ee"), ("cas", "")] {
        assert!(matches!(read(&put_with(name, good)), Body::Query(_)), "{name} {good}");
    }
}

#[test]
fn gets_and_samples_need_a_target() {
    let ask = |name: &str, args: &str| {
        format!("d1:ad2:id20:abcdefghij0123456789{args}e1:q{name}1:t2:aa1:y1:qe").into_bytes()
    };
    for name in ["3:get", "17:sample_infohashes"] {
        for args in ["", "6:targeti1e", "6:target19:abcdefghijklmnopqrs"] {
            let bytes = ask(name, args);
            assert_eq!(read(&bytes), Body::BadQuery("target missing or not 20 bytes"), "{args}");
        }
    }
    let bytes = ask("3:get", "3:seqi99999999999999999999e6:target20:mnopqrstuvwxyz123456");
    assert_eq!(read(&bytes), Body::BadQuery("seq is no integer of 64 bits"));
}

#[test]
fn what_strangers_reply_is_read_or_left() {
    let body = |fields: &str| {
        format!("d1:rd2:id20:abcdefghij0123456789{fields}e1:t2:aa1:y1:re").into_bytes()
    };
    for (fields, expected) in [
        ("", None),
        ("7:samplesi1e", None),
        ("7:samples19:abcdefghijklmnopqrs", None),
        ("7:samples0:", Some((21_600, 0, 0))),
        ("8:intervali-5e3:numi-5e7:samples20:abcdefghijklmnopqrst", Some((0, 1, 1))),
        ("8:intervali99999e3:numi7e7:samples20:abcdefghijklmnopqrst", Some((21_600, 7, 1))),
        ("8:interval1:x3:numi99999999999999999999e7:samples0:", Some((21_600, 0, 0))),
    ] {
        let bytes = body(fields);
        let samples = Samples::parse(&reply(&bytes));
        let read = samples.map(|s| (s.interval_secs, s.num, s.info_hashes().count()));
        assert_eq!(read, expected, "{fields}");
    }
    let (k, s) = ("k".repeat(32), "s".repeat(64));
    for (fields, with_value, with_signature, seq) in [
        (String::new(), false, false, None),
        ("1:v1:x".into(), true, false, None),
        (format!("1:k32:{k}3:seqi5e3:sig64:{s}1:v1:x"), true, true, Some(5)),
        (format!("1:k32:{k}3:seqi-5e1:v1:x"), true, false, Some(-5)),
        (format!("1:k31:{}3:sig64:{s}3:seq1:5", &k[1..]), false, false, None),
        ("3:seqi99999999999999999999e".into(), false, false, None),
    ] {
        let bytes = body(&fields);
        let item = ItemReply::parse(&reply(&bytes));
        let read = (item.value.is_some(), item.signed.is_some(), item.seq);
        assert_eq!(read, (with_value, with_signature, seq), "{fields}");
    }
    let filter = "f".repeat(256);
    for (fields, whole) in [
        (String::new(), false),
        (format!("4:BFpe256:{filter}"), false),
        (format!("4:BFpe256:{filter}4:BFsd255:{}", &filter[1..]), false),
        (format!("4:BFpe256:{filter}4:BFsd256:{filter}"), true),
    ] {
        let bytes = body(&fields);
        assert_eq!(Filters::parse(&reply(&bytes)).is_some(), whole);
    }
}

proptest! {
    #[test]
    fn replies_read_back(
        filters in proptest::option::of((any::<u8>(), any::<u8>())),
        samples in proptest::option::of((0u32..=21_600, 0u64..1_000_000, 0usize..20)),
        seq in proptest::option::of(any::<i64>()),
        signed in proptest::option::of((any::<[u8; 32]>(), any::<u8>())),
        text in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..1000)),
        token in proptest::option::of(any::<[u8; 8]>()),
    ) {
        let (seeds, peers) = filters.unwrap_or_default();
        let (seeds, peers) = ([seeds; 256], [peers; 256]);
        let filters = filters.map(|_| Filters { seeds: &seeds, peers: &peers });
        let hashes = samples.map(|(_, _, n)| vec![7; n * 20]).unwrap_or_default();
        let samples = samples.map(|(interval_secs, more, n)| {
            Samples { interval_secs, num: n as u64 + more, samples: &hashes }
        });
        let sig = [signed.map_or(0, |(_, sig)| sig); 64];
        let text = text.map(|text| [format!("{}:", text.len()).as_bytes(), &text].concat());
        let item = ItemReply {
            value: text.as_deref().map(value),
            signed: signed.as_ref().map(|(key, _)| (key, &sig)),
            seq,
        };
        let token = token.as_ref().map(|token| &token[..]);
        let nodes = Some(&[][..]);
        let bytes = written(&Reply {
            id: A, nodes, nodes6: nodes, token, filters, samples, item, values: &[],
        });
        let body = reply(&bytes);
        prop_assert_eq!(Filters::parse(&body), filters);
        prop_assert_eq!(Samples::parse(&body), samples);
        prop_assert_eq!(ItemReply::parse(&body), item);
        prop_assert_eq!(GetPeersReply::parse(&body).unwrap().token, token);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0usize..400, byte: u8, cut in 0usize..400) {
        let mut bytes = put_with("", "");
        let len = bytes.len();
        bytes[at % len] = byte;
        bytes.truncate(cut);
        let _ = Message::parse(&bytes);
    }
}
