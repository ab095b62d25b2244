//! A node with several sockets, which is a node of its own at each of them to others (BEP 45): row K159
//! of the project's matrix and what follows from it.

#![allow(clippy::unwrap_used)]

mod net;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use dht::wire::Id;
use dht::wire::compact::Family;
use dht::wire::krpc::{Body, Head, Message, Method, Query};
use dht::{Config, Event, ItemKey, Snapshot, SocketId, Status};
use net::Net;
use wire::krpc::GetPeersReply;

const HASH: Id = Id([0x77; 20]);
const OTHERS: usize = 60;

/// A Global address in a network of its own.
fn global(n: usize) -> SocketAddr {
    SocketAddr::from(([60 + (n >> 8) as u8, n as u8, 1, 1], 6881))
}

fn own(n: u8) -> SocketAddr {
    SocketAddr::from(([90, n, 1, 1], 6881))
}

/// An overlay of nodes with one socket, and one with these, that joined it.
fn overlay(sockets: &[SocketAddr]) -> (Net, usize) {
    let mut net = Net::new();
    for n in 0..OTHERS {
        let index = net.add_with(Config::new(vec![global(n)]));
        if index > 0 {
            net.command(index, |node, now| node.bootstrap(now, global(0)));
        }
        net.run_for(Duration::from_millis(200));
    }
    let subject = net.add_with(Config::new(sockets.to_vec()));
    net.command(subject, |node, now| node.bootstrap(now, global(0)));
    net.run_for(Duration::from_secs(20));
    (net, subject)
}

/// The ids under which the node spoke at each of its addresses.
fn ids_seen(net: &Net, sockets: &[SocketAddr]) -> BTreeMap<SocketAddr, BTreeSet<Id>> {
    let mut seen: BTreeMap<SocketAddr, BTreeSet<Id>> = BTreeMap::new();
    for (from, _, bytes) in net.log.iter().filter(|(from, ..)| sockets.contains(from)) {
        let id = match Message::parse(bytes).unwrap().body {
            Body::Query(query) => query.id,
            Body::Reply(reply) => reply.id().unwrap(),
            _ => continue,
        };
        seen.entry(*from).or_default().insert(id);
    }
    seen
}

#[test]
fn it_has_one_id_at_each_socket_and_is_known_by_its_neighbours_there() {
    let sockets = [own(1), own(2), own(3), own(4)];
    let (net, subject) = overlay(&sockets);
    let ids = net.hosts[subject].node.ids().to_vec();
    let seen = ids_seen(&net, &sockets);
    for (socket, id) in sockets.iter().zip(&ids) {
        // BEP 42: the votes for each address may have given it another meanwhile.
        assert!(seen[socket].contains(id), "{socket}");
        let known = |index: usize| {
            let contacts = net.hosts[index].node.contacts();
            contacts.iter().any(|c| c.node.addr == *socket && c.node.id == *id)
        };
        assert!((0..OTHERS).filter(|n| known(*n)).count() >= 8, "{socket}");
    }
    for (n, id) in ids.iter().enumerate() {
        assert!(ids[..n].iter().all(|other| other.common_prefix(id) <= 2), "far apart");
    }
    // No id was heard from two addresses.
    let all: Vec<_> = seen.values().flatten().collect();
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
}

fn query(id: Id, method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Query { id, method }.encode(&Head { tid: b"tt", ..Head::default() }, &mut out);
    out
}

/// What the node answers at a socket to a stranger, and by which it answers.
fn ask(net: &mut Net, index: usize, via: u8, bytes: &[u8]) -> (SocketId, Vec<u8>) {
    let (now, stranger) = (net.now, "99.9.9.9:9".parse().unwrap());
    let node = net.node(index);
    node.handle_datagram(now, SocketId(via), stranger, bytes);
    let mut buf = Vec::new();
    loop {
        let sent = node.poll_transmit(&mut buf).unwrap();
        if sent.to == stranger && !matches!(Message::parse(&buf).unwrap().body, Body::Query(_)) {
            return (sent.via, buf);
        }
    }
}

#[test]
fn it_joins_at_each_socket_at_once_and_again_later() {
    let (mut net, _) = overlay(&[own(1)]);
    let sockets = [own(5), own(6), own(7)];
    let subject = net.add_with(Config::new(sockets.to_vec()));
    let ids = net.hosts[subject].node.ids().to_vec();
    for wait in [900, 2_500] {
        net.log.clear();
        if wait == 900 {
            net.command(subject, |node, now| node.bootstrap(now, global(0)));
        }
        net.run_for(Duration::from_millis(wait));
        for (socket, id) in sockets.iter().zip(&ids) {
            let target = [b"6:target20:", &id.0[..]].concat();
            let asks = |bytes: &[u8]| bytes.windows(31).any(|w| w == target);
            assert!(net.log.iter().any(|(from, _, b)| from == socket && asks(b)), "{wait} ms");
        }
    }
}

#[test]
fn an_answer_leaves_from_where_it_was_asked_and_a_token_is_good_only_there() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let ids = net.hosts[subject].node.ids().to_vec();
    let get = query(
        Id([9; 20]),
        Method::GetPeers {
            info_hash: HASH,
            want: Default::default(),
            noseed: false,
            scrape: false,
        },
    );
    let mut tokens = Vec::new();
    for n in 0..2 {
        let (via, bytes) = ask(&mut net, subject, n, &get);
        assert_eq!(via, SocketId(n), "K159");
        let Body::Reply(reply) = Message::parse(&bytes).unwrap().body else { panic!() };
        assert_eq!(reply.id(), Some(ids[usize::from(n)]));
        tokens.push(GetPeersReply::parse(&reply).unwrap().token.unwrap().to_vec());
    }
    for (given, used) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        let token = &tokens[usize::from(given)];
        let announce = Method::AnnouncePeer {
            info_hash: HASH,
            port: 7,
            implied_port: false,
            seed: false,
            token,
        };
        let (via, bytes) = ask(&mut net, subject, used, &query(Id([9; 20]), announce));
        let taken = matches!(Message::parse(&bytes).unwrap().body, Body::Reply(_));
        assert_eq!((via, taken), (SocketId(used), given == used), "K159");
    }
}

#[test]
fn queries_under_any_of_its_ids_are_its_own() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let ids = net.hosts[subject].node.ids().to_vec();
    let (now, stranger) = (net.now, "99.9.9.9:9".parse().unwrap());
    let node = net.node(subject);
    for (via, id) in [(0, ids[1]), (1, ids[0])] {
        node.handle_datagram(now, SocketId(via), stranger, &query(id, Method::Ping));
    }
    assert_eq!(node.stats().dropped_own_id, 2);
    // Nor does it list itself, whoever names it.
    let contacts = node.contacts();
    assert!(contacts.iter().all(|c| !ids.contains(&c.node.id)));
    assert!(contacts.iter().all(|c| c.node.addr != own(1) && c.node.addr != own(2)));
}

#[test]
fn lookups_go_by_each_socket_in_turn_and_each_by_one() {
    let sockets = [own(1), own(2), own(3)];
    let (mut net, subject) = overlay(&sockets);
    let mut used = BTreeSet::new();
    for n in 0..3 {
        net.log.clear();
        net.command(subject, |node, now| node.find_node(now, Id([n; 20])));
        net.run_until(subject, |event| matches!(event, Event::LookupDone { .. }));
        net.take_events(subject);
        let target = [n; 20];
        let of_lookup = |bytes: &[u8]| bytes.windows(20).any(|w| w == target);
        let asked = net.log.iter().filter(|(from, _, b)| sockets.contains(from) && of_lookup(b));
        let by: BTreeSet<_> = asked.map(|(from, ..)| *from).collect();
        assert_eq!(by.len(), 1, "{by:?}");
        used.extend(by);
    }
    assert_eq!(used.len(), 3);
}

#[test]
fn an_announce_tells_of_each_address() {
    let sockets = [own(1), own(2), own(3)];
    let (mut net, subject) = overlay(&sockets);
    net.log.clear();
    let lookup = net.command(subject, |node, now| node.announce(now, HASH, Some(7777), false));
    net.run_until(subject, |event| matches!(event, Event::Announced { .. }));
    let events = net.take_events(subject);
    let done = |event: &&Event| matches!(event, Event::LookupDone { .. });
    assert_eq!(events.iter().filter(done).count(), 1, "the lookup ends once");
    let Some(Event::Announced { accepted, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((*accepted, events.last().unwrap().lookup()), (8, Some(lookup)));
    // Those who were asked for the other addresses are those who were found by the first.
    let gets = net.log.iter().filter(|(from, _, bytes)| {
        sockets.contains(from) && bytes.windows(12).any(|w| w == b"q9:get_peers")
    });
    let asked = gets.fold(BTreeMap::new(), |mut asked: BTreeMap<_, u32>, (from, ..)| {
        *asked.entry(*from).or_default() += 1;
        asked
    });
    assert!(asked.len() == 3 && asked.values().all(|n| *n <= 10), "{asked:?}");
    net.command(0, |node, now| node.get_peers(now, HASH));
    net.run_until(0, |event| matches!(event, Event::LookupDone { .. }));
    let mut found = BTreeSet::new();
    for event in net.take_events(0) {
        if let Event::PeersFound { peers, .. } = event {
            found.extend(peers);
        }
    }
    let wanted: BTreeSet<_> = sockets.iter().map(|s| SocketAddr::new(s.ip(), 7777)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn an_item_is_stored_and_found_by_any() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let item = dht::Item::immutable(b"5:hello").unwrap();
    let target = item.target();
    net.command(subject, |node, now| node.put(now, item, None));
    net.run_until(subject, |event| matches!(event, Event::Stored { accepted: 8.., .. }));
    for _ in 0..2 {
        net.take_events(subject);
        net.command(subject, |node, now| node.get(now, &ItemKey::Immutable(target), None));
        net.run_until(subject, |event| matches!(event, Event::ItemFound { .. }));
    }
}

#[test]
fn who_is_heard_by_one_socket_is_told_by_all() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let find = query(Id([9; 20]), Method::FindNode { target: HASH, want: Default::default() });
    let mut told = Vec::new();
    for n in 0..2 {
        let (_, bytes) = ask(&mut net, subject, n, &find);
        let Body::Reply(reply) = Message::parse(&bytes).unwrap().body else { panic!() };
        told.push(GetPeersReply::parse(&reply).unwrap().found.nodes().collect::<Vec<_>>());
    }
    assert_eq!(told[0], told[1]);
    let mut closest: Vec<_> = net.hosts[..OTHERS].iter().map(|h| h.node.id()).collect();
    closest.sort_unstable_by_key(|id| id.distance(&HASH));
    let ids: Vec<_> = told[0].iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, closest[..8]);
    // Each is one contact.
    let node = &net.hosts[subject].node;
    let contacts = node.contacts();
    let distinct: BTreeSet<_> = contacts.iter().map(|c| c.node).collect();
    assert_eq!((distinct.len(), node.table_len(Family::V4)), (contacts.len(), contacts.len()));
}

/// From now on nothing goes from this address of a node, or comes to it.
fn unplug(net: &mut Net, addr: SocketAddr) {
    net.unplugged.insert(addr);
}

#[test]
fn a_link_that_is_down_costs_no_contact_and_no_lookup() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let before = net.hosts[subject].node.contacts().len();
    assert!(before >= 40, "{before}");
    unplug(&mut net, own(1));
    net.run_for(Duration::from_secs(60));
    for _ in 0..600 {
        net.run_for(Duration::from_secs(3));
        let contacts = net.hosts[subject].node.contacts();
        let bad = contacts.iter().filter(|c| c.status == Status::Bad).count();
        assert!(bad <= 2 && contacts.len() + 4 >= before, "{bad} of {}", contacts.len());
    }
    for n in 0..6 {
        net.log.clear();
        net.command(subject, |node, now| node.find_node(now, Id([n; 20])));
        let time = net.run_until(subject, |event| matches!(event, Event::LookupDone { .. }));
        net.take_events(subject);
        assert!(time < Duration::from_secs(1), "{time:?}");
    }
    // It is noticed when the link is back: the lookups for the id there never ended.
    net.unplugged.clear();
    net.run_for(Duration::from_secs(1800));
    net.log.clear();
    for n in 0..2 {
        net.command(subject, |node, now| node.find_node(now, Id([n; 20])));
        net.run_until(subject, |event| matches!(event, Event::LookupDone { .. }));
        net.take_events(subject);
    }
    assert!(net.log.iter().any(|(from, ..)| *from == own(1)));
    assert!(net.log.iter().any(|(from, ..)| *from == own(2)));
}

#[test]
fn each_family_has_an_id_that_fits_its_address() {
    let v6 = |n: usize| SocketAddr::from(([0x2001, 0xdb8, n as u16, 0, 0, 0, 0, 1], 6881));
    let mut net = Net::new();
    for n in 0..OTHERS {
        let index = net.add_with(Config::new(vec![global(n), v6(n)]));
        for first in [global(0), v6(0)] {
            net.command(index, |node, now| node.bootstrap(now, first));
        }
        net.run_for(Duration::from_millis(200));
    }
    let node = &mut net.hosts[OTHERS - 1].node;
    for n in 0..64 {
        node.get_peers(net.now, Id([n * 4; 20]));
    }
    net.run_for(Duration::from_secs(60));
    let node = &net.hosts[OTHERS - 1].node;
    let [id4, id6] = node.ids() else { panic!("{:?}", node.ids()) };
    assert!(dht::fits(id4, global(OTHERS - 1).ip()), "{:?}", node.stats().votes);
    assert!(dht::fits(id6, v6(OTHERS - 1).ip()));
    assert_ne!(id4, id6);
}

#[test]
fn the_ids_are_those_of_the_last_run() {
    let (net, subject) = overlay(&[own(1), own(2), own(3)]);
    let node = &net.hosts[subject].node;
    let saved = Snapshot::decode(&node.snapshot().encode()).unwrap();
    assert_eq!(saved.ids, node.ids());
    let mut again = Net::new();
    let same = again.add_with(Config::new(vec![own(1), own(2), own(3)]));
    again.command(same, |node, now| node.restore(now, &saved));
    assert_eq!(again.hosts[same].node.ids(), saved.ids);
    // With a socket less or more the others keep theirs, and no two are one.
    for sockets in [vec![own(1)], vec![own(1), own(2), own(3), own(4)]] {
        let index = again.add_with(Config::new(sockets.clone()));
        again.command(index, |node, now| node.restore(now, &saved));
        let ids = again.hosts[index].node.ids();
        let kept = sockets.len().min(3);
        assert_eq!(ids[..kept], saved.ids[..kept]);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), sockets.len());
    }
    // One that was made by hand, with an id twice.
    let twice = Snapshot { ids: vec![HASH, HASH, HASH], contacts: Vec::new() };
    let index = again.add_with(Config::new(vec![own(1), own(2), own(3)]));
    again.command(index, |node, now| node.restore(now, &twice));
    let ids = again.hosts[index].node.ids();
    assert_eq!((ids[0], ids.iter().collect::<BTreeSet<_>>().len()), (HASH, 3));
}
