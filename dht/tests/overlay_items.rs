//! Nodes that store items for each other, count swarms, and tell which torrents they know.
#![allow(clippy::unwrap_used)]

mod net;

use std::collections::BTreeSet;
use std::time::Duration;

use dht::{Event, Item, ItemKey, SigningKey};
use net::Net;
use wire::rng::{Rng, seed_from_u64};
use wire::{Id, InfoHash};

fn hash(n: u64) -> InfoHash {
    Id::random(&mut Rng::new(&seed_from_u64(1000 + n)))
}

fn is_done(event: &Event) -> bool {
    matches!(event, Event::LookupDone { .. })
}

/// Puts an item; returns accepted, CAS mismatches and outdated.
fn put(net: &mut Net, index: usize, item: &Item, cas: Option<i64>) -> (u32, u32, u32) {
    net.take_events(index);
    net.command(index, |node, now| node.put(now, item.clone(), cas));
    net.run_until(index, |event| matches!(event, Event::Stored { .. }));
    let stored = net.take_events(index).into_iter().find_map(|event| match event {
        Event::Stored { accepted, cas_mismatches, outdated, target, .. } => {
            assert_eq!(target, item.target());
            Some((accepted, cas_mismatches, outdated))
        }
        _ => None,
    });
    stored.unwrap()
}

/// Looks for an item; returns those that were found, and how many nodes had the last.
fn get(net: &mut Net, index: usize, key: &ItemKey, seq: Option<i64>) -> (Vec<Item>, u32, u32) {
    net.take_events(index);
    net.command(index, |node, now| node.get(now, key, seq));
    net.run_until(index, is_done);
    let (mut found, mut had, mut asked_nodes) = (Vec::new(), 0, 0);
    for event in net.take_events(index) {
        match event {
            Event::ItemFound { item, .. } => found.push(item),
            Event::LookupDone { holders, asked, .. } => (had, asked_nodes) = (holders, asked),
            _ => {}
        }
    }
    (found, had, asked_nodes)
}

fn signed(seq: i64, value: &str) -> Item {
    Item::sign(&SigningKey::from_bytes(&[7; 32]), b"salt", seq, value.as_bytes()).unwrap()
}

#[test]
fn an_immutable_item_is_found_by_everyone_and_ends_the_lookup() {
    let mut net = Net::joined(50);
    let item = Item::immutable(b"12:Hello World!").unwrap();
    assert_eq!(put(&mut net, 3, &item, None), (8, 0, 0), "K170");
    let mut queries = 0;
    for index in 0..50 {
        let (found, had, asked) = get(&mut net, index, &item.key(), None);
        assert_eq!((found, had), (vec![item.clone()], 1), "node {index}");
        queries += asked;
    }
    assert!(queries < 50 * 8, "it does not go on when it has the one: {queries}");
    net.take_events(9);
    net.command(9, |node, now| node.count_item(now, &item.key()));
    net.run_until(9, |event| matches!(event, Event::LookupDone { holders: 8, .. }));
    let none = Item::immutable(b"i0e").unwrap();
    assert_eq!(get(&mut net, 9, &none.key(), None).0, []);
}

#[test]
fn a_mutable_item_goes_forward_and_writers_see_each_other() {
    let mut net = Net::joined(40);
    let first = signed(1, "1:a");
    assert_eq!(put(&mut net, 3, &first, Some(77)), (8, 0, 0), "nothing to compare with");
    let (found, had, _) = get(&mut net, 20, &first.key(), None);
    assert_eq!((found, had), (vec![first.clone()], 8), "eight live");

    let second = signed(2, "1:b");
    assert_eq!(put(&mut net, 4, &second, Some(1)), (8, 0, 0));
    // Another writer still thinks that the first is there.
    let (accepted, mismatches, _) = put(&mut net, 5, &signed(3, "1:c"), Some(1));
    assert!(accepted == 0 && mismatches >= 7, "{accepted} {mismatches}");
    assert!(put(&mut net, 5, &first, None).2 >= 7);
    // Others may keep it alive.
    assert_eq!(put(&mut net, 6, &second, None), (8, 0, 0));

    assert_eq!(get(&mut net, 30, &first.key(), None).0.last(), Some(&second));
    net.log.clear();
    let (found, had, _) = get(&mut net, 31, &first.key(), Some(2));
    assert_eq!(found, [], "it has that");
    assert_eq!(had, 0);
    let gets = net.log.iter().filter(|(.., bytes)| bytes.windows(6).any(|w| w == b"q3:get"));
    let mut asks = gets.map(|(.., bytes)| bytes.windows(8).any(|w| w == b"3:seqi2e"));
    assert!(asks.next() == Some(true) && asks.all(|seq| seq), "K169");
    let other = ItemKey::Mutable { key: [9; 32], salt: vec![] };
    assert_eq!(get(&mut net, 31, &other, None).0, []);
}

#[test]
fn a_swarm_is_counted_over_all_nodes() {
    let mut net = Net::joined(40);
    for index in 1..=30 {
        net.command(index, |node, now| node.announce(now, hash(1), Some(4000), index <= 12));
        net.run_until(index, |event| matches!(event, Event::Announced { .. }));
    }
    net.take_events(3);
    net.command(3, |node, now| node.announce(now, hash(3), Some(4003), false));
    net.run_until(3, |event| matches!(event, Event::Announced { .. }));
    for (port, expected) in [(4003, 8), (4000, 0)] {
        net.take_events(3);
        net.command(3, |node, now| node.count_peer(now, hash(3), port));
        net.run_until(
            3,
            |e| matches!(e, Event::LookupDone { holders, .. } if *holders == expected),
        );
    }
    net.command(35, |node, now| node.scrape(now, hash(1)));
    net.run_until(35, |event| matches!(event, Event::Scraped { .. }));
    let events = net.take_events(35);
    assert!(!events.iter().any(|event| matches!(event, Event::PeersFound { .. })));
    let counted = events.iter().find_map(|event| match event {
        Event::Scraped { seeds, peers, nodes, .. } => Some((*seeds, *peers, *nodes)),
        _ => None,
    });
    let (seeds, peers, nodes) = counted.unwrap();
    assert!((11..=13).contains(&seeds) && (17..=19).contains(&peers), "{counted:?}");
    assert!(nodes >= 8);
    // A seed is told of no seeds.
    net.take_events(36);
    net.command(36, |node, now| node.announce(now, hash(1), Some(4000), true));
    net.run_until(36, |event| matches!(event, Event::Announced { .. }));
    let found: BTreeSet<_> = net
        .take_events(36)
        .into_iter()
        .filter_map(|event| match event {
            Event::PeersFound { peers, .. } => Some(peers),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(found.len(), 18);
    // Nobody knows of another torrent.
    net.command(35, |node, now| node.scrape(now, hash(2)));
    net.run_until(35, |event| matches!(event, Event::Scraped { seeds: 0, peers: 0, nodes: 0, .. }));
}

#[test]
fn samples_are_asked_once_an_interval() {
    let mut net = Net::joined(30);
    let all: BTreeSet<_> = (0..40).map(hash).collect();
    for (n, info_hash) in all.iter().enumerate() {
        let index = 1 + n % 20;
        net.command(index, |node, now| node.announce(now, *info_hash, Some(4000), false));
        net.run_until(index, |event| matches!(event, Event::Announced { .. }));
    }
    let sample = |net: &mut Net, target: Id| {
        net.take_events(25);
        net.command(25, |node, now| node.sample_infohashes(now, target));
        net.run_until(25, is_done);
        let mut answers = Vec::new();
        for event in net.take_events(25) {
            if let Event::SamplesFound { from, info_hashes, interval_secs, num, .. } = event {
                assert!(num >= info_hashes.len() as u64 && interval_secs <= 21_600);
                answers.push((from.addr, info_hashes));
            }
        }
        answers
    };
    let (mut asked, mut known) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..12 {
        for (from, info_hashes) in sample(&mut net, hash(100 + n)) {
            assert!(asked.insert(from), "{from} was asked twice");
            known.extend(info_hashes);
        }
    }
    assert!(asked.len() >= 25, "{}", asked.len());
    assert!(known.is_subset(&all) && known.len() >= 38, "{}", known.len());
    assert!(sample(&mut net, hash(200)).len() <= 30 - asked.len());
    net.run_for(Duration::from_secs(21_601));
    assert!(!sample(&mut net, hash(201)).is_empty(), "after the interval they are");
}
