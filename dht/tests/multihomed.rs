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
    for wait in [900, 6_000] {
        net.log.clear();
        let before = net.hosts[subject].node.ids().to_vec();
        if wait == 900 {
            net.command(subject, |node, now| node.bootstrap(now, global(0)));
        }
        net.run_for(Duration::from_millis(wait));
        // It takes another id at a socket where it learns its address.
        for (socket, ids) in sockets.iter().zip(before.iter().zip(net.hosts[subject].node.ids())) {
            let asks = |bytes: &[u8]| {
                [ids.0, ids.1].iter().any(|id| {
                    let target = [b"6:target20:", &id.0[..]].concat();
                    bytes.windows(31).any(|w| w == target)
                })
            };
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
    for (via, id) in [(0, ids[0]), (1, ids[1])] {
        node.handle_datagram(now, SocketId(via), stranger, &query(id, Method::Ping));
    }
    assert_eq!(node.stats().dropped_own_id, 2);
    // Who asks under the id of another socket is answered, so that he does not learn whose it is.
    let asked = node.stats().asked;
    for (via, id) in [(0, ids[1]), (1, ids[0])] {
        ask(&mut net, subject, via, &query(id, Method::Ping));
    }
    let node = net.node(subject);
    assert_eq!(node.stats().asked, asked, "and not asked in turn");
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
    net.run_for(Duration::from_secs(1));
    let more = net.take_events(subject);
    assert!(more.iter().all(|event| event.lookup().is_none()), "{more:?}");
    let gets = net.log.iter().filter(|(from, _, bytes)| {
        sockets.contains(from) && bytes.windows(12).any(|w| w == b"q9:get_peers")
    });
    let asked = gets.fold(BTreeMap::new(), |mut asked: BTreeMap<_, u32>, (from, ..)| {
        *asked.entry(*from).or_default() += 1;
        asked
    });
    let asked: Vec<_> = asked.into_values().collect();
    assert!(asked.len() == 3 && asked.iter().filter(|n| **n == 8).count() >= 2, "{asked:?}");
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

#[test]
fn a_link_that_is_down_costs_no_contact_and_no_lookup() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let before = net.hosts[subject].node.contacts().len();
    assert!(before >= 40, "{before}");
    net.unplugged.insert(own(1));
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

/// Lookups, one after the other: how many found all, and the longest.
fn lookups(net: &mut Net, subject: usize, count: u8) -> (usize, Duration) {
    let (mut whole, mut longest) = (0, Duration::ZERO);
    for n in 0..count {
        net.command(subject, |node, now| node.find_node(now, Id([n * 5; 20])));
        let time = net.run_until(subject, |event| matches!(event, Event::LookupDone { .. }));
        let events = net.take_events(subject);
        whole +=
            usize::from(events.iter().any(
                |event| matches!(event, Event::LookupDone { closest, .. } if closest.len() >= 8),
            ));
        longest = longest.max(time);
    }
    (whole, longest)
}

#[test]
fn a_link_by_which_the_system_refuses_to_send_is_down() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let before = net.hosts[subject].node.contacts().len();
    net.refused.insert(own(1));
    // Until that is seen half of them wait.
    lookups(&mut net, subject, 10);
    let (whole, longest) = lookups(&mut net, subject, 20);
    assert!(whole == 20 && longest < Duration::from_secs(1), "{whole} {longest:?}");
    net.run_for(Duration::from_secs(1800));
    let contacts = net.hosts[subject].node.contacts();
    let bad = contacts.iter().filter(|c| c.status == Status::Bad).count();
    assert!(bad <= 2 && contacts.len() + 4 >= before, "{bad} of {}", contacts.len());
    net.refused.clear();
    net.run_for(Duration::from_secs(120));
    assert!(!net.hosts[subject].node.is_down(SocketId(0)), "it is tried every minute");
}

#[test]
fn no_lookup_goes_by_a_link_that_is_down_whatever_leads_in_the_other_family() {
    let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 6881));
    let (mut net, subject) = overlay(&[own(1), own(2), v6]);
    net.unplugged.insert(own(2));
    net.run_for(Duration::from_secs(120));
    assert!(net.hosts[subject].node.is_down(SocketId(1)));
    net.log.clear();
    assert_eq!(lookups(&mut net, subject, 12).0, 12);
    let target = |bytes: &[u8]| (0..12u8).any(|n| bytes.windows(20).any(|w| w == [n * 5; 20]));
    let by = net.log.iter().filter(|(from, _, bytes)| *from == own(2) && target(bytes));
    assert_eq!(by.count(), 0);
}

#[test]
fn strangers_who_do_not_answer_say_nothing_about_a_link() {
    let (mut net, subject) = overlay(&[own(1), own(2)]);
    let mut n = 0;
    for _ in 0..200 {
        for _ in 0..20 {
            n += 1;
            let from = SocketAddr::from((([100, 1, (n >> 8) as u8, n as u8]), 1000));
            let mut id = Id([0x33; 20]);
            id.0[..2].copy_from_slice(&(n as u16 * 13).to_be_bytes());
            let query = query(id, Method::Ping);
            net.command(subject, |node, now| node.handle_datagram(now, SocketId(0), from, &query));
        }
        net.run_for(Duration::from_secs(5));
        assert!(!net.hosts[subject].node.is_down(SocketId(0)));
    }
    assert!(net.hosts[subject].node.stats().timeouts > 3_000);
}

#[test]
fn a_socket_that_reaches_nobody_announces_nothing_again() {
    let sockets = [own(1), "127.0.0.1:6881".parse().unwrap(), "169.254.1.1:6881".parse().unwrap()];
    let (mut net, subject) = overlay(&sockets);
    net.log.clear();
    net.command(subject, |node, now| node.announce(now, HASH, Some(7777), false));
    net.run_until(subject, |event| matches!(event, Event::Announced { .. }));
    net.run_for(Duration::from_secs(5));
    let is_announce = |bytes: &[u8]| bytes.windows(16).any(|w| w == b"q13:announce_pee");
    let announces = net.log.iter().filter(|(from, _, b)| sockets.contains(from) && is_announce(b));
    assert_eq!(announces.count(), 8);
}

fn v6(n: usize) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, n as u16, 0, 0, 0, 0, 1], 6881))
}

/// Nodes with both families.
fn dual(count: usize) -> Net {
    let mut net = Net::new();
    for n in 0..count {
        let index = net.add_with(Config::new(vec![global(n), v6(n)]));
        for first in [global(0), v6(0)] {
            net.command(index, |node, now| node.bootstrap(now, first));
        }
        net.run_for(Duration::from_millis(200));
    }
    net
}

#[test]
fn a_family_that_was_away_is_joined_again_though_the_other_never_was() {
    let mut net = dual(30);
    let last = net.add_with(Config::new(vec![global(40), v6(40)]));
    // At its start there is no IPv6 yet.
    net.unplugged.insert(v6(40));
    for first in [global(0), v6(0)] {
        net.command(last, |node, now| node.bootstrap(now, first));
    }
    net.run_for(Duration::from_secs(1800));
    let v6_contacts = |net: &Net| net.hosts[last].node.closest(Family::V6, &HASH, 100).len();
    assert_eq!(v6_contacts(&net), 0);
    net.unplugged.clear();
    net.run_for(Duration::from_secs(960));
    assert!(v6_contacts(&net) >= 8, "{}", v6_contacts(&net));
    // It goes away for long enough that all is lost, and comes back.
    net.unplugged.insert(v6(40));
    net.run_for(Duration::from_secs(7200));
    assert_eq!(v6_contacts(&net), 0);
    net.unplugged.clear();
    net.run_for(Duration::from_secs(960));
    assert!(v6_contacts(&net) >= 8, "{}", v6_contacts(&net));
}

/// A node of both families among nodes of one, who name none of the other to it. It has no IPv6 yet.
fn among_single_nodes() -> (Net, usize) {
    let mut net = Net::new();
    for n in 0..40 {
        let (addr, first) = if n < 20 { (global(n), global(0)) } else { (v6(n), v6(20)) };
        let index = net.add_with(Config::new(vec![addr]));
        net.command(index, |node, now| node.bootstrap(now, first));
        net.run_for(Duration::from_millis(200));
    }
    let subject = net.add_with(Config::new(vec![global(40), v6(40)]));
    net.unplugged.insert(v6(40));
    for first in [global(0), v6(20)] {
        net.command(subject, |node, now| node.bootstrap(now, first));
    }
    net.run_for(Duration::from_secs(1800));
    net.unplugged.clear();
    (net, subject)
}

#[test]
fn a_family_is_joined_later_by_its_bootstrap_contact() {
    let (mut net, subject) = among_single_nodes();
    net.run_for(Duration::from_secs(960));
    let v6_contacts = net.hosts[subject].node.closest(Family::V6, &HASH, 100).len();
    assert!(v6_contacts >= 8, "{v6_contacts}");
}

#[test]
fn a_family_is_joined_soon_once_somebody_in_it_is_heard() {
    let (mut net, subject) = among_single_nodes();
    net.command(30, |node, now| node.add_contact(now, v6(40)));
    net.run_for(Duration::from_secs(10));
    let v6_contacts = net.hosts[subject].node.closest(Family::V6, &HASH, 100).len();
    assert!(v6_contacts >= 8, "{v6_contacts}");
}

#[test]
fn each_family_has_an_id_that_fits_its_address() {
    let mut net = dual(OTHERS);
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
    let ids: Vec<_> = saved.own.iter().map(|own| own.id).collect();
    assert_eq!(ids, node.ids());
    let mut again = Net::new();
    let same = again.add_with(Config::new(vec![own(1), own(2), own(3)]));
    again.command(same, |node, now| node.restore(now, &saved));
    assert_eq!(again.hosts[same].node.ids(), ids);
    // With a socket less or more the others keep theirs, and no two are one.
    for sockets in [vec![own(1)], vec![own(1), own(2), own(3), own(4)]] {
        let index = again.add_with(Config::new(sockets.clone()));
        again.command(index, |node, now| node.restore(now, &saved));
        let now = again.hosts[index].node.ids();
        let kept = sockets.len().min(3);
        assert_eq!(now[..kept], ids[..kept]);
        assert_eq!(now.iter().collect::<BTreeSet<_>>().len(), sockets.len());
    }
}
