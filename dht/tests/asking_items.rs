//! What a node makes of answers to `get`, scrapes and samples, honest or not.
#![allow(clippy::unwrap_used)]

mod bench;

use std::time::Duration;

use bench::{Asked, Bench, HASH, SEED, body, id, nodes};
use dht::{Event, Item, LookupId, SigningKey};
use wire::Id;
use wire::bencode::Encoder;

/// The first query of a lookup whose only contact is [`SEED`].
fn first(bench: &mut Bench, method: &str) -> Asked {
    bench.node.bootstrap(bench.now, SEED.parse().unwrap());
    let asked = bench.asked();
    assert_eq!((asked.len(), &asked[0].method[..]), (1, method));
    asked[0].clone()
}

/// Answers a query as the node with this id that is at 7n.1.1.1 does.
fn answer(bench: &mut Bench, asked: &[Asked], n: u8, fields: &[u8]) {
    let to = format!("{}.1.1.1:1", 69 + n).parse().unwrap();
    let asked = asked.iter().find(|asked| asked.to == to).unwrap();
    bench.reply(asked, &body(id(n), fields));
}

fn signed(by: u8, salt: &[u8], seq: i64, value: &str) -> Item {
    Item::sign(&SigningKey::from_bytes(&[by; 32]), salt, seq, value.as_bytes()).unwrap()
}

/// The entries of a reply for a mutable item with this signature, in order.
fn entries(key: &[u8], seq: i64, sig: &[u8], value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    e.key(b"k").bytes(key);
    e.key(b"seq").int(seq);
    e.key(b"sig").bytes(sig);
    e.key(b"v").raw(value.as_bytes());
    out
}

fn found(events: &[Event]) -> Vec<Item> {
    let item = |event: &Event| match event {
        Event::ItemFound { item, .. } => Some(item.clone()),
        _ => None,
    };
    events.iter().filter_map(item).collect()
}

/// The entries of `item`, told as if its sequence number were `seq`.
fn told_as(item: &Item, seq: i64) -> Vec<u8> {
    use ed25519_dalek::Signer;
    let signer = SigningKey::from_bytes(&[7; 32]);
    let own = item.seq().unwrap();
    let value = String::from_utf8(item.value().to_vec()).unwrap();
    let sig = signer.sign(format!("3:seqi{own}e1:v{value}").as_bytes()).to_bytes();
    entries(&signer.verifying_key().to_bytes(), seq, &sig, &value)
}

#[test]
fn only_what_is_signed_is_found_and_the_newest_wins() {
    let old = signed(7, b"", 4, "1:a");
    let new = signed(7, b"", 6, "1:b");
    let mut bench = Bench::new();
    let lookup = bench.node.get(bench.now, &old.key(), None);
    let asked = first(&mut bench, "get");
    let all = [
        (id(2), "71.1.1.1:1"),
        (id(3), "72.1.1.1:1"),
        (id(4), "73.1.1.1:1"),
        (id(5), "74.1.1.1:1"),
    ];
    bench.reply(&asked, &body(id(1), &nodes(&all)));
    let asked = bench.asked();
    assert_eq!(asked.len(), 4);
    // K168: a higher number than was signed, a value without a signature, another's item.
    let other = entries(&[3; 32], 9, &[1; 64], "1:x");
    let lies = [told_as(&old, 99), b"1:v1:x".to_vec(), other];
    for (n, lie) in lies.iter().enumerate() {
        answer(&mut bench, &asked, n as u8 + 2, lie);
    }
    assert_eq!(found(&bench.events()), []);
    assert_eq!(bench.node.stats().bad_items_found, 3);
    answer(&mut bench, &asked, 5, &told_as(&old, 4));
    assert_eq!(found(&bench.events()), std::slice::from_ref(&old));

    let mut bench = Bench::new();
    bench.node.get(bench.now, &old.key(), Some(4));
    let asked = first(&mut bench, "get");
    bench.reply(&asked, &body(id(1), &nodes(&all[..2])));
    let asked = bench.asked();
    answer(&mut bench, &asked, 2, &told_as(&old, 4));
    answer(&mut bench, &asked, 3, &told_as(&new, 6));
    let events = bench.events();
    assert_eq!(found(&events), [new], "the caller has the old one");
    let done =
        |e: &Event| matches!(e, Event::LookupDone { lookup: l, holders: 1, .. } if *l == lookup);
    assert!(events.iter().any(done), "{events:?}");
}

#[test]
fn an_immutable_value_counts_only_under_its_hash_and_ends_the_lookup() {
    let item = Item::immutable(b"5:hello").unwrap();
    let mut bench = Bench::new();
    bench.node.get(bench.now, &item.key(), None);
    let asked = first(&mut bench, "get");
    bench.reply(
        &asked,
        &body(id(1), &[nodes(&[(id(2), "71.1.1.1:1")]), b"1:v5:HELLO".to_vec()].concat()),
    );
    assert_eq!(found(&bench.events()), []);
    let asked = bench.asked();
    let more = nodes(&[(id(3), "72.1.1.1:1"), (id(4), "73.1.1.1:1")]);
    bench.reply(&asked[0], &body(id(2), &[more, b"1:v5:hello".to_vec()].concat()));
    let events = bench.events();
    assert_eq!(found(&events), [item]);
    assert!(matches!(events.last(), Some(Event::LookupDone { .. })));
    assert!(bench.asked().iter().all(|asked| asked.method != "get"), "nobody else is asked");
}

#[test]
fn who_does_not_know_a_method_is_not_blamed_for_its_silence() {
    for method in ["get", "sample_infohashes"] {
        let mut bench = Bench::new();
        let (_, asked) = bench.lookup_from(SEED);
        bench.reply(&asked, &body(id(1), b""));
        bench.asked().iter().for_each(|a| bench.reply(a, &body(id(1), b"")));
        let before = bench.node.contacts();
        assert_eq!(before.len(), 1);
        let item = Item::immutable(b"5:hello").unwrap();
        let lookup = match method {
            "get" => bench.node.get(bench.now, &item.key(), None),
            _ => bench.node.sample_infohashes(bench.now, HASH),
        };
        assert_eq!(bench.asked()[0].method, method);
        for _ in 0..50 {
            bench.pass(Duration::from_millis(100));
            assert_eq!(bench.node.contacts()[0].status, before[0].status, "{method}");
            for asked in bench.asked().iter().filter(|asked| asked.method != method) {
                bench.reply(asked, &body(id(1), b""));
            }
        }
        assert!(bench.node.progress(lookup).is_none_or(|progress| progress.answered == 0));
        assert!(bench.node.stats().timeouts > 0);
    }
}

#[test]
fn a_filter_that_is_full_counts_nothing() {
    let scrape = |fields: &[u8]| {
        let mut bench = Bench::new();
        let lookup = bench.node.scrape(bench.now, HASH);
        let asked = first(&mut bench, "get_peers");
        bench.reply(&asked, &body(id(1), fields));
        let counted = bench.events().into_iter().find_map(|event| match event {
            Event::Scraped { lookup: l, seeds, peers, nodes, .. } if l == lookup => {
                Some((seeds, peers, nodes))
            }
            _ => None,
        });
        (counted.unwrap(), bench.node.stats().bad_filters_found)
    };
    let filters =
        |byte: u8| [b"4:BFpe256:".as_slice(), &[byte; 256], b"4:BFsd256:", &[0; 256]].concat();
    assert_eq!(scrape(&filters(0xff)), ((0, 0, 0), 1));
    let ((seeds, peers, nodes), _) = scrape(&filters(0x01));
    assert_eq!((seeds, nodes), (0, 1));
    assert!((130..145).contains(&peers), "{peers}");
    // BEP 33: values of those who do not count are peers.
    let legacy =
        b"6:valuesl6:\x08\x01\x01\x01\x00\x016:\x08\x01\x01\x01\x00\x026:\x08\x01\x01\x02\x00\x01e";
    assert_eq!(scrape(legacy).0, (0, 2, 1));
}

#[test]
fn stray_outcomes_of_stores_end_a_put_once() {
    let item = Item::immutable(b"5:hello").unwrap();
    let mut bench = Bench::new();
    let lookup: LookupId = bench.node.put(bench.now, item.clone(), None);
    let asked = first(&mut bench, "get");
    bench.reply(&asked, &body(id(1), b"5:token3:abc"));
    let asked = bench.asked();
    let put = asked.iter().find(|asked| asked.method == "put").unwrap();
    let error = [b"d1:eli302e3:olde1:t4:".as_slice(), &put.tid, b"1:y1:ee"].concat();
    bench.handle(put.to, &error);
    bench.handle(put.to, &error);
    let events = bench.events();
    let target: Id = item.target();
    let stored = Event::Stored { lookup, target, accepted: 0, cas_mismatches: 0, outdated: 1 };
    assert_eq!(events.iter().filter(|event| **event == stored).count(), 1, "{events:?}");
    // One that nobody wants to store has ended, too.
    let mut bench = Bench::new();
    bench.node.put(bench.now, item, None);
    let asked = first(&mut bench, "get");
    bench.reply(&asked, &body(id(1), b""));
    assert!(matches!(bench.events().last(), Some(Event::Stored { accepted: 0, .. })));
}

#[test]
fn of_a_reply_full_of_samples_some_are_taken() {
    let mut bench = Bench::new();
    bench.node.sample_infohashes(bench.now, HASH);
    let asked = first(&mut bench, "sample_infohashes");
    let mut fields = Vec::new();
    let mut e = Encoder::new(&mut fields);
    e.key(b"interval").int(60);
    e.key(b"nodes").bytes(b"");
    e.key(b"num").int(3_000);
    e.key(b"samples").bytes(&[7; 20 * 3_000]);
    bench.reply(&asked, &body(id(1), &fields));
    let told = bench.events().into_iter().find_map(|event| match event {
        Event::SamplesFound { num, info_hashes, .. } => Some((num, info_hashes.len())),
        _ => None,
    });
    assert_eq!(told, Some((3_000, 200)));
}
