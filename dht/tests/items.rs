//! What a node must answer to scrapes, samples and stored items: the rows K072 to K075, K080 to K118
//! and K150 to K167 of the project's matrix that BEP 33, 44 and 51 decide.
#![allow(clippy::unwrap_used)]

mod bench;

use std::net::SocketAddr;
use std::time::Duration;

use bench::{Bench, HASH, LOCAL, id};
use dht::{Config, Item, SigningKey};
use wire::Id;
use wire::bencode::{Limits, Value};
use wire::krpc::{
    Body, Filters, GetPeersReply, Head, ItemReply, Message, Method, Put, Query, Samples, Signed,
    Want,
};
use wire::scrape::BloomFilter;

const WANT: Want = Want { v4: false, v6: false };

fn asker() -> SocketAddr {
    "10.7.7.7:7777".parse().unwrap()
}

fn config() -> Config {
    Config::new(vec!["60.1.1.1:6881".parse().unwrap()]).unlimited()
}

fn server() -> Bench {
    Bench::with(config())
}

/// What came back.
struct Reply(Vec<u8>);

impl Reply {
    /// The error code; 0 if it is no error.
    fn code(&self) -> i64 {
        match Message::parse(&self.0).unwrap().body {
            Body::Error(error) => error.code,
            Body::Reply(_) => 0,
            other => panic!("{other:?}"),
        }
    }

    fn dict(&self) -> Value<'_> {
        Value::parse(&self.0, Limits::KRPC).unwrap().get(b"r").unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.dict().as_dict().unwrap();
        keys.map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
    }

    fn read<T>(&self, read: impl FnOnce(&wire::krpc::ReplyBody<'_>) -> T) -> T {
        match Message::parse(&self.0).unwrap().body {
            Body::Reply(body) => read(&body),
            other => panic!("{other:?}"),
        }
    }

    fn token(&self) -> Option<Vec<u8>> {
        self.read(|body| GetPeersReply::parse(body).unwrap().token.map(<[u8]>::to_vec))
    }

    fn peers(&self) -> Vec<SocketAddr> {
        self.read(|body| GetPeersReply::parse(body).unwrap().peers().collect())
    }
}

/// The one answer to these bytes; none is an empty one.
fn ask_bytes(bench: &mut Bench, from: SocketAddr, bytes: &[u8]) -> Reply {
    bench.node.handle_datagram(bench.now, LOCAL, from, bytes);
    let (mut buf, mut out) = (Vec::new(), Vec::new());
    while let Some(transmit) = bench.node.poll_transmit(&mut buf) {
        if transmit.to == from && !buf.ends_with(b"1:y1:qe") {
            assert!(Value::parse(&buf, Limits::KRPC).unwrap().is_canonical());
            assert!(buf.len() <= 1_400);
            out.push(buf.clone());
        }
    }
    assert!(out.len() <= 1);
    Reply(out.pop().unwrap_or_default())
}

fn written(method: Method<'_>) -> Vec<u8> {
    let head = Head { tid: b"aa", read_only: true, ..Head::default() };
    let mut out = Vec::new();
    Query { id: id(9), method }.encode(&head, &mut out);
    out
}

fn ask(bench: &mut Bench, from: SocketAddr, method: Method<'_>) -> Reply {
    ask_bytes(bench, from, &written(method))
}

fn get(bench: &mut Bench, target: Id, seq: Option<i64>) -> Reply {
    ask(bench, asker(), Method::Get { target, seq, want: WANT })
}

fn value(bytes: &[u8]) -> Value<'_> {
    Value::parse(bytes, Limits::KRPC).unwrap()
}

/// Puts an immutable value.
fn put(bench: &mut Bench, bytes: &[u8]) -> Reply {
    use sha1::{Digest, Sha1};
    let token = get(bench, Id(Sha1::digest(bytes).into()), None).token().unwrap();
    ask(bench, asker(), Method::Put(Put { token: &token, value: value(bytes), signed: None }))
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// Signs by hand, whatever it is.
fn signature(salt: &[u8], seq: i64, text: &[u8]) -> [u8; 64] {
    use ed25519_dalek::Signer;
    let salt = match salt {
        [] => Vec::new(),
        _ => [format!("4:salt{}:", salt.len()).as_bytes(), salt].concat(),
    };
    signer().sign(&[&salt, format!("3:seqi{seq}e1:v").as_bytes(), text].concat()).to_bytes()
}

fn target(salt: &[u8]) -> Id {
    let key = signer().verifying_key().to_bytes();
    dht::ItemKey::Mutable { key, salt: salt.to_vec() }.target()
}

/// Puts a mutable value, signed right.
fn put_signed(bench: &mut Bench, salt: &[u8], seq: i64, text: &[u8], cas: Option<i64>) -> Reply {
    let sig = signature(salt, seq, text);
    put_with(bench, salt, seq, text, cas, &sig)
}

fn put_with(
    bench: &mut Bench,
    salt: &[u8],
    seq: i64,
    text: &[u8],
    cas: Option<i64>,
    sig: &[u8; 64],
) -> Reply {
    let token = get(bench, target(salt), None).token().unwrap();
    let key = signer().verifying_key().to_bytes();
    let signed = Some(Signed { key: &key, salt, seq, sig, cas });
    ask(bench, asker(), Method::Put(Put { token: &token, value: value(text), signed }))
}

fn text(len: usize) -> Vec<u8> {
    let digits = if len > 1003 { 4 } else { 3 };
    let inner = len - digits - 1;
    [format!("{inner}:").as_bytes(), &vec![b'x'; inner]].concat()
}

// BEP 33 and 51

fn announce(bench: &mut Bench, from: &str, port: u16, seed: bool) {
    let from = from.parse().unwrap();
    let token = ask(bench, from, Method::get_peers(HASH, WANT)).token().unwrap();
    let info_hash = HASH;
    let method = Method::AnnouncePeer { info_hash, port, implied_port: false, seed, token: &token };
    assert_eq!(ask(bench, from, method).code(), 0);
}

#[test]
fn scrapes_tell_seeds_and_peers_apart() {
    let mut bench = server();
    let scrape = Method::GetPeers { info_hash: HASH, want: WANT, noseed: false, scrape: true };
    let none = ask(&mut bench, asker(), scrape);
    assert_eq!(none.keys(), ["id", "nodes", "token"], "K153: nothing to count");
    for n in 1..=20 {
        announce(&mut bench, &format!("10.7.1.{n}:1"), 1000, n <= 5);
    }
    announce(&mut bench, "10.7.1.9:1", 1001, false);
    announce(&mut bench, "10.7.1.8:1", 1000, true);

    let reply = ask(&mut bench, asker(), scrape);
    assert_eq!(reply.keys(), ["BFpe", "BFsd", "id", "nodes", "token", "values"], "K072");
    let of = |range: std::ops::RangeInclusive<u8>, except: &[u8]| {
        let mut filter = BloomFilter::default();
        range.filter(|n| !except.contains(n)).for_each(|n| filter.insert([10, 7, 1, n].into()));
        filter
    };
    let mut seeds = of(1..=5, &[]);
    seeds.unite(&of(8..=8, &[]).0);
    reply.read(|body| {
        let filters = Filters::parse(body).unwrap();
        assert_eq!(filters.seeds, &seeds.0);
        // One address with two ports is one peer; who became a seed is no peer any more.
        assert_eq!(filters.peers, &of(6..=20, &[8]).0);
    });
    assert!(reply.0.len() <= 1024);

    let noseed = Method::GetPeers { info_hash: HASH, want: WANT, noseed: true, scrape: false };
    let peers = ask(&mut bench, asker(), noseed).peers();
    assert_eq!(peers.len(), 15, "K073");
    assert!(peers.iter().all(|peer| !seeds.may_contain(peer.ip())));
}

#[test]
fn samples_stay_for_their_interval_and_are_fair() {
    // None of the torrents is forgotten meanwhile.
    let config = Config { store_peer_secs: u32::MAX, ..config() };
    let mut bench = Bench::with(config);
    let method = Method::SampleInfohashes { target: HASH, want: WANT };
    let sample = |bench: &mut Bench| {
        let reply = ask(bench, asker(), method);
        assert!(reply.keys().contains(&"nodes".to_owned()));
        reply.read(|body| {
            let samples = Samples::parse(body).unwrap();
            let hashes: Vec<_> = samples.info_hashes().collect();
            (samples.interval_secs, samples.num, hashes)
        })
    };
    assert_eq!(sample(&mut bench), (21_600, 0, vec![]), "K074: there even if empty");
    let missing = ask_bytes(
        &mut bench,
        asker(),
        b"d1:ad2:id20:abcdefghij0123456789e1:q17:sample_infohashes1:t2:aa1:y1:qe",
    );
    assert_eq!(missing.code(), 203, "K075");
    for n in 0..100u8 {
        let info_hash = Id([n; 20]);
        let token = ask(&mut bench, asker(), Method::get_peers(info_hash, WANT)).token().unwrap();
        ask(&mut bench, asker(), Method::announce_peer(info_hash, 1, &token));
    }
    let (interval, num, first) = sample(&mut bench);
    assert_eq!((interval, num, first.len()), (21_600, 100, 20));
    bench.now += Duration::from_secs(600);
    assert_eq!(sample(&mut bench), (21_000, 100, first.clone()));
    bench.now += Duration::from_secs(21_000);
    let (interval, _, second) = sample(&mut bench);
    assert_eq!(interval, 21_600);
    assert_ne!(first, second, "K155");
    let mut seen = [0u32; 100];
    for _ in 0..500 {
        bench.now += Duration::from_secs(21_600);
        let (_, _, hashes) = sample(&mut bench);
        let mut distinct = hashes.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), 20);
        hashes.iter().for_each(|hash| seen[usize::from(hash.0[0])] += 1);
    }
    assert!(seen.iter().all(|&n| (60..145).contains(&n)), "{seen:?}");
}

// BEP 44

#[test]
fn immutable_items_are_stored_under_their_hash() {
    let mut bench = server();
    let reply = get(&mut bench, HASH, None);
    assert_eq!(reply.keys(), ["id", "nodes", "token"], "K080");
    let token = reply.token().unwrap();
    let raw = |args: &str, name: &str| {
        let len = name.len();
        format!("d1:ad2:id20:abcdefghij0123456789{args}e1:q{len}:{name}1:t2:aa1:y1:qe")
    };
    let hello = Item::immutable(b"12:Hello World!").unwrap();
    let good = get(&mut bench, hello.target(), None).token().unwrap();
    let with = |token: &[u8], rest: &str| {
        let args = [format!("5:token{}:", token.len()).as_bytes(), token, rest.as_bytes()].concat();
        let frame = raw("@", "put");
        let (before, after) = frame.split_once('@').unwrap();
        [before.as_bytes(), &args, after.as_bytes()].concat()
    };
    for (row, bytes, code) in [
        ("K081", raw("", "get").into_bytes(), 203),
        ("K082", with(b"12345678", "1:v12:Hello World!"), 203),
        ("K082", with(&token, "1:v12:Hello World!"), 203),
        ("K083", raw("1:v12:Hello World!", "put").into_bytes(), 203),
        ("K084", with(&good, ""), 203),
        ("K091", with(&good, "1:vd1:b0:1:a0:e"), 203),
        ("K092", with(&good, "1:vi03e"), 203),
        ("K085", with(&good, "1:v12:Hello World!"), 0),
        ("K086", with(&good, "6:target20:mnopqrstuvwxyz1234561:v12:Hello World!"), 0),
    ] {
        assert_eq!(ask_bytes(&mut bench, asker(), &bytes).code(), code, "{row}");
        let stored = if code == 0 { (1, 15) } else { (0, 0) };
        assert_eq!(bench.node.stored_items(), stored, "{row}");
    }
    let found = get(&mut bench, hello.target(), None);
    assert_eq!(found.keys(), ["id", "nodes", "token", "v"], "K087");
    found.read(|body| {
        assert_eq!(
            Item::from_reply(&ItemReply::parse(body), &hello.key()),
            Some(Ok(hello.clone()))
        );
    });
    for (row, len, code) in [("K088", 999, 0), ("K089", 1000, 0), ("K090", 1001, 205)] {
        assert_eq!(put(&mut bench, &text(len)).code(), code, "{row}");
    }
    let (deep, many) = (["l".repeat(8), "e".repeat(8)].concat(), format!("l{}e", "0:".repeat(459)));
    for odd in ["le", "de", "i-7e", "d1:ali1e2:xxe1:bd0:0:ee", "0:", &deep, &many] {
        assert_eq!(put(&mut bench, odd.as_bytes()).code(), 0, "K163 {odd}");
        let target = Item::immutable(odd.as_bytes()).unwrap().target();
        let raw = get(&mut bench, target, None);
        assert_eq!(raw.dict().get(b"v").unwrap().raw(), odd.as_bytes(), "K163");
    }
    // K167, K107: what is not signed whole is nothing.
    let key = "k".repeat(32);
    for rest in [
        format!("1:k32:{key}1:v2:xx"),
        format!("1:k32:{key}3:seqi1e1:v2:xx"),
        "3:seqi1e1:v2:xx".to_owned(),
    ] {
        let before = bench.node.stored_items();
        assert_eq!(ask_bytes(&mut bench, asker(), &with(&good, &rest)).code(), 203, "{rest}");
        assert_eq!(bench.node.stored_items(), before);
    }
    assert_eq!(ask(&mut bench, asker(), Method::Ping).code(), 0, "K118");
}

#[test]
fn mutable_items_move_forward_only() {
    let mut bench = server();
    let b = &mut bench;
    for (row, seq, text, cas, code) in [
        ("K093", 4, "1:a", Some(99), 0),
        ("K098", 4, "1:a", None, 0),
        ("K099", 4, "1:b", None, 302),
        ("K100", 3, "1:c", None, 302),
        ("K101", 5, "1:c", Some(3), 301),
        ("K103", 3, "1:c", Some(3), 301),
        ("K102", 5, "1:c", Some(4), 0),
    ] {
        assert_eq!(put_signed(b, b"", seq, text.as_bytes(), cas).code(), code, "{row}");
    }
    let whole = ["id", "k", "nodes", "seq", "sig", "token", "v"];
    for (row, seq, keys) in [
        ("K094", None, &whole[..]),
        ("K095", Some(4), &whole),
        ("K096", Some(5), &["id", "nodes", "seq", "token"]),
        ("K097", Some(6), &["id", "nodes", "seq", "token"]),
    ] {
        let reply = get(b, target(b""), seq);
        assert_eq!(reply.keys(), keys, "{row}");
        assert_eq!(reply.dict().get(b"seq").unwrap().as_int(), Some(5), "{row}");
    }
    let wrong = put_with(b, b"", 6, b"1:d", None, &signature(b"", 7, b"1:d"));
    assert_eq!(wrong.code(), 206, "K104");
    assert_eq!(put_signed(b, b"", i64::MAX, b"1:e", None).code(), 0, "K110");
    assert_eq!(put_signed(b, b"", -1, b"1:e", None).code(), 203, "K109");
    assert_eq!(put_signed(b, b"", 9, &text(1001), None).code(), 205, "K117");
}

#[test]
fn salts_name_items_of_their_own() {
    let mut bench = server();
    let b = &mut bench;
    for (row, salt_len, code) in [("K114", 64, 0), ("K115", 65, 207)] {
        assert_eq!(put_signed(b, &vec![0xff; salt_len], 1, b"1:a", None).code(), code, "{row}");
    }
    assert_eq!(put_signed(b, b"foobar", 1, b"1:b", None).code(), 0, "K112");
    let found = get(b, target(b"foobar"), None);
    assert_eq!(found.keys(), ["id", "k", "nodes", "seq", "sig", "token", "v"], "K113");
    // K116: an empty salt is none.
    let token = get(b, target(b""), None).token().unwrap();
    let key = signer().verifying_key().to_bytes();
    let sig = signature(b"", 1, b"1:c");
    let args = [
        b"d1:ad2:id20:abcdefghij01234567891:k32:".as_slice(),
        &key,
        b"4:salt0:3:seqi1e3:sig64:",
        &sig,
        b"5:token8:",
        &token,
        b"1:v1:ce1:q3:put1:t2:aa1:y1:qe",
    ]
    .concat();
    assert_eq!(ask_bytes(b, asker(), &args).code(), 0, "K116");
    assert_eq!(get(b, target(b""), None).dict().get(b"v").unwrap().raw(), b"1:c");
}

#[test]
fn items_expire_and_are_renewed_by_whoever_puts_them_again() {
    let mut bench = server();
    let at = |bench: &mut Bench, minutes: u64| {
        bench.now = wire::time::Time::from_secs(5 + minutes * 60);
    };
    put(&mut bench, b"1:x");
    put_signed(&mut bench, b"", 9, b"1:y", None);
    at(&mut bench, 100);
    put(&mut bench, b"1:x");
    at(&mut bench, 121);
    let x = Item::immutable(b"1:x").unwrap().target();
    assert!(get(&mut bench, x, None).keys().contains(&"v".into()), "K162");
    assert!(!get(&mut bench, target(b""), None).keys().contains(&"v".into()));
    assert_eq!(put_signed(&mut bench, b"", 1, b"1:z", Some(9)).code(), 0, "K161");
    at(&mut bench, 500);
    bench.node.handle_timeout(bench.now);
    assert_eq!(bench.node.stored_items(), (0, 0));
}

#[test]
fn a_strangers_get_brings_no_more_than_its_share() {
    let far: SocketAddr = "61.2.3.4:4000".parse().unwrap();
    let mut bench = Bench::new();
    let large = text(1000);
    put(&mut bench, &large);
    put(&mut bench, b"1:x");
    let method = |item: &[u8]| Method::Get {
        target: Item::immutable(item).unwrap().target(),
        seq: None,
        want: WANT,
    };
    let query = written(method(&large)).len();
    // A small one comes like any answer.
    let reply = ask(&mut bench, far, method(b"1:x"));
    assert!(reply.0.len() <= 10 * query);
    // A large one comes without nodes, until the network had its share.
    let (mut items, mut bytes) = (0, 0);
    for _ in 0..60 {
        let reply = ask(&mut bench, far, method(&large));
        if reply.0.is_empty() {
            continue;
        }
        let with_value = reply.keys().contains(&"v".to_owned());
        items += usize::from(with_value);
        bytes += if with_value { reply.0.len() } else { 0 };
        assert!(with_value || reply.0.len() <= 1024.min(10 * query));
        if with_value {
            assert_eq!(reply.dict().get(b"nodes").and_then(|n| n.as_bytes()), Some(&b""[..]));
        }
    }
    // 4,000 bytes a second, five seconds' worth of them at once.
    assert!((15..=19).contains(&items), "{items} items of {bytes} bytes");
    assert!(bench.node.stats().items_withheld > 10);
    // Who showed a token is no stranger.
    let token = ask(&mut bench, far, Method::get_peers(HASH, WANT)).token().unwrap();
    bench.now += Duration::from_secs(60);
    ask(&mut bench, far, Method::announce_peer(HASH, 1, &token));
    for _ in 0..20 {
        bench.now += Duration::from_millis(200);
        assert!(ask(&mut bench, far, method(&large)).keys().contains(&"v".to_owned()));
    }
}
