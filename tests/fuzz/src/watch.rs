//! A node that is watched: after each input its outputs are drained and held against what it may do.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dht::{Config, Event, ItemKey, LookupId, Node, NodeInfo, PingId, Snapshot, SocketId};
use wire::compact::Family;
use wire::krpc::{
    Body, Filters, GetPeersReply, Head, ItemReply, Message, Method, PROTOCOL_ERROR, ReplyBody,
    SALT_TOO_BIG, Samples, VALUE_TOO_BIG,
};
use wire::rng::seed_from_u64;
use wire::scope::{AddrScope, is_unicast};
use wire::time::Time;
use wire::{Id, InfoHash};

use crate::items::FORGED;

/// Queries that are remembered: more than a node of the largest input has open.
const ASKED_MAX: usize = 8192;

/// Wakes for one moment before a node counts as busy without progress.
const TURNS_MAX: usize = 4;

/// A datagram that the node sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) via: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// A query that it sent and that nobody answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tid: Vec<u8>,
    pub(crate) via: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) method: Vec<u8>,
}

/// A query that was handed in, for which one answer may come out.
struct Heard<'a> {
    via: SocketId,
    from: SocketAddr,
    head: Head<'a>,
    len: usize,
    method: Option<Method<'a>>,
}

struct Token {
    via: SocketId,
    ip: IpAddr,
    target: Id,
    token: Vec<u8>,
    at: Time,
}

/// The last event of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    Done,
    Announced,
    Stored,
    Scraped,
}

struct Lookup {
    ends: Ends,
    target: Id,
    done: bool,
    peers: BTreeSet<SocketAddr>,
}

pub(crate) struct Watch {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// Latest last.
    pub(crate) asked: Vec<Asked>,
    lookups: BTreeMap<LookupId, Lookup>,
    pings: BTreeMap<PingId, SocketAddr>,
    /// Who may have proved to receive what is sent to it, and until when.
    verified: BTreeMap<IpAddr, Time>,
    tokens: Vec<Token>,
    announced: BTreeSet<(InfoHash, SocketAddr)>,
    /// Values that may have been stored.
    put: BTreeSet<Vec<u8>>,
    /// Bytes of answers beyond the factor that strangers got.
    extended: BTreeMap<IpAddr, u64>,
    started: usize,
    trace: DefaultHasher,
}

impl Watch {
    pub(crate) fn new(config: Config, seed: u64) -> Watch {
        let now = Time::from_secs(5);
        Watch {
            node: Node::new(config, &seed_from_u64(seed), now),
            now,
            asked: Vec::new(),
            lookups: BTreeMap::new(),
            pings: BTreeMap::new(),
            verified: BTreeMap::new(),
            tokens: Vec::new(),
            announced: BTreeSet::new(),
            put: BTreeSet::new(),
            extended: BTreeMap::new(),
            started: 0,
            trace: DefaultHasher::new(),
        }
    }

    /// A fingerprint of all that came out.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Tokens that the node gave to `ip`, latest first.
    pub(crate) fn tokens_of(&self, ip: IpAddr) -> Vec<(Id, Vec<u8>)> {
        let given = self.tokens.iter().rev().filter(|given| given.ip == ip);
        given.map(|given| (given.target, given.token.clone())).collect()
    }

    pub(crate) fn socket_of(&self, family: Family, n: usize) -> SocketId {
        let sockets = (0u8..).zip(self.node.local_addrs());
        let fit: Vec<u8> = sockets.filter(|(_, s)| Family::of(s) == family).map(|s| s.0).collect();
        SocketId(fit.get(n % fit.len().max(1)).copied().unwrap_or(0))
    }

    // Inputs

    pub(crate) fn bootstrap(&mut self, addr: SocketAddr) -> Vec<Sent> {
        self.node.bootstrap(self.now, addr);
        self.drain(None)
    }

    pub(crate) fn add_contact(&mut self, addr: SocketAddr) -> Vec<Sent> {
        self.node.add_contact(self.now, addr);
        self.drain(None)
    }

    pub(crate) fn restore(&mut self, contacts: &[NodeInfo]) -> Vec<Sent> {
        let earlier = Snapshot { own: Vec::new(), contacts: contacts.to_vec() };
        self.node.restore(self.now, &earlier);
        self.drain(None)
    }

    pub(crate) fn unreachable(&mut self, addr: SocketAddr) -> Vec<Sent> {
        let sockets = self.node.local_addrs().len() as u8;
        for socket in 0..sockets {
            self.node.handle_unreachable(self.now, SocketId(socket), addr);
        }
        self.drain(None)
    }

    pub(crate) fn ping(&mut self, addr: SocketAddr) -> Vec<Sent> {
        let ping = self.node.ping(self.now, addr);
        assert_eq!(self.pings.insert(ping, addr), None, "a ping's id comes twice");
        self.drain(None)
    }

    /// Starts a lookup, which ends with an event of this kind.
    pub(crate) fn start(
        &mut self,
        ends: Ends,
        target: Id,
        command: impl FnOnce(&mut Node, Time) -> LookupId,
    ) -> Vec<Sent> {
        let lookup = command(&mut self.node, self.now);
        let running = Lookup { ends, target, done: false, peers: BTreeSet::new() };
        assert!(self.lookups.insert(lookup, running).is_none(), "a lookup's id comes twice");
        self.started += 1;
        self.drain(None)
    }

    pub(crate) fn get_peers(&mut self, info_hash: InfoHash) -> Vec<Sent> {
        self.start(Ends::Done, info_hash, |node, now| node.get_peers(now, info_hash))
    }

    pub(crate) fn find_node(&mut self, target: Id) -> Vec<Sent> {
        self.start(Ends::Done, target, |node, now| node.find_node(now, target))
    }

    pub(crate) fn announce(&mut self, info_hash: InfoHash, port: Option<u16>) -> Vec<Sent> {
        let seed = port.is_some_and(|port| port & 2 == 0);
        let announce = |node: &mut Node, now| node.announce(now, info_hash, port, seed);
        self.start(Ends::Announced, info_hash, announce)
    }

    /// Ends one of the lookups that run.
    pub(crate) fn cancel(&mut self, n: usize) -> Vec<Sent> {
        let id = self.lookups.keys().nth(n % self.lookups.len().max(1)).copied();
        let id = id.unwrap_or(LookupId(n as u64));
        self.lookups.remove(&id);
        self.node.cancel(self.now, id);
        assert_eq!(self.node.progress(id), None);
        self.drain(None)
    }

    pub(crate) fn datagram(&mut self, via: SocketId, from: SocketAddr, bytes: &[u8]) -> Vec<Sent> {
        let mut heard = None;
        let mut answers = None;
        if let Ok(message) = Message::parse(bytes) {
            let method = match message.body {
                Body::Query(query) => Some(query.method),
                _ => None,
            };
            match message.body {
                Body::Reply(_) | Body::Error(_) => {
                    let found = |asked: &Asked| {
                        asked.tid == message.head.tid && asked.to == from && asked.via == via
                    };
                    answers = self.asked.iter().position(found);
                }
                _ => {
                    let (head, len) = (message.head, bytes.len());
                    heard = Some(Heard { via, from, head, len, method });
                }
            }
        }
        if let Some(at) = answers {
            self.asked.remove(at);
            self.verify(from.ip());
        }
        let before = *self.node.stats();
        self.node.handle_datagram(self.now, via, from, bytes);
        let (was, is) = ((before.answered, before.errors), *self.node.stats());
        assert!(
            answers.is_some() || was == (is.answered, is.errors),
            "who was not asked is heard, {} known",
            self.asked.len()
        );
        assert_eq!(is.received, before.received + 1);
        self.drain(heard)
    }

    /// Does what is due now; a node has nothing left to do at the same moment.
    pub(crate) fn wake(&mut self) -> Vec<Sent> {
        self.node.handle_timeout(self.now);
        let mut sent = self.drain(None);
        for turn in 0.. {
            let (due, timer) = self.node.poll_timeout().expect("maintenance is always due");
            if due > self.now {
                return sent;
            }
            assert!(turn < TURNS_MAX, "{timer:?} stays due at {due:?}, now {:?}", self.now);
            self.node.handle_timeout(self.now);
            sent.extend(self.drain(None));
        }
        sent
    }

    /// A timeout at a moment that has passed.
    pub(crate) fn wake_early(&mut self, span: Duration) -> Vec<Sent> {
        self.node.handle_timeout(self.now - span);
        self.drain(None)
    }

    /// Goes to the next moment at which something is due, but no further than `end`.
    pub(crate) fn step(&mut self, end: Time) -> Vec<Sent> {
        let due = self.node.poll_timeout().map_or(end, |(at, _)| at);
        self.now = self.now.max(due.min(end));
        self.wake()
    }

    /// Whether no lookup and no ping of the caller runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.lookups.is_empty() && self.pings.is_empty()
    }

    // Outputs

    fn drain(&mut self, mut heard: Option<Heard<'_>>) -> Vec<Sent> {
        let (mut buf, mut out) = (b"old bytes".to_vec(), Vec::new());
        if let Some(heard) = &heard {
            self.before_answer(heard);
        }
        while let Some(transmit) = self.node.poll_transmit(&mut buf) {
            assert_eq!(transmit.len, buf.len());
            assert!(buf.len() <= self.node.config().datagram_bytes_max, "too large a datagram");
            self.check_route(transmit.via, transmit.to);
            (transmit.via.0, transmit.to, &buf).hash(&mut self.trace);
            let message = Message::parse(&buf).expect("a node sends KRPC");
            match message.body {
                Body::Query(query) => {
                    assert_eq!(query.id, self.own_id(transmit.via));
                    assert_eq!(message.head.read_only, self.node.config().read_only);
                    let tid = message.head.tid.to_vec();
                    assert_eq!(tid.len(), 4);
                    let method = query.method.name().to_vec();
                    self.asked.push(Asked { tid, via: transmit.via, to: transmit.to, method });
                }
                _ => {
                    let heard = heard.take().expect("an answer that nobody asked for, or a second");
                    assert_eq!((transmit.via, transmit.to), (heard.via, heard.from), "to another");
                    self.check_answer(&heard, &message, buf.len());
                }
            }
            out.push(Sent { via: transmit.via, to: transmit.to, bytes: buf.clone() });
        }
        let forget = self.asked.len().saturating_sub(ASKED_MAX);
        self.asked.drain(..forget);
        self.events();
        self.check_bounds();
        out
    }

    fn check_route(&self, via: SocketId, to: SocketAddr) {
        let sockets = self.node.local_addrs();
        let own = sockets.get(usize::from(via.0)).expect("one of its sockets");
        assert_eq!(Family::of(own), Family::of(&to));
        // The caller may ping whom it likes.
        let itself = sockets.contains(&to) && !self.pings.values().any(|addr| *addr == to);
        assert!(is_unicast(to) && !itself, "{to} cannot be sent to");
    }

    /// What a query may bring into the stores, before it is answered.
    fn before_answer(&mut self, heard: &Heard<'_>) {
        let ip = heard.from.ip();
        let Some((target, token)) = heard.method.and_then(shown) else { return };
        if !self.is_valid(heard.via, ip, &target, token) {
            return;
        }
        match heard.method {
            Some(Method::AnnouncePeer { info_hash, port, implied_port, .. }) => {
                let port = if implied_port { heard.from.port() } else { port };
                self.announced.insert((info_hash, SocketAddr::new(ip, port)));
            }
            Some(Method::Put(put)) => drop(self.put.insert(put.value.raw().to_vec())),
            _ => {}
        }
    }

    fn check_answer(&mut self, heard: &Heard<'_>, message: &Message<'_>, len: usize) {
        let (config, ip) = (self.node.config(), heard.from.ip());
        assert!(!config.read_only, "a read-only node answers");
        let verified = self.verified.get(&owner(ip)).is_some_and(|at| *at >= self.now);
        let local = AddrScope::of(ip) == AddrScope::Local;
        let large = len > config.reply_bytes_max || len > config.reply_factor_max * heard.len;
        let is_get = matches!(heard.method, Some(Method::Get { .. }));
        if large && is_get && !verified && !local {
            self.check_extended(ip, len);
        }
        let config = self.node.config();
        assert!(is_get || len <= config.reply_bytes_max, "{len} bytes of a reply");
        let factor = config.reply_factor_max;
        let bounded = verified || is_get || len <= factor * heard.len;
        assert!(bounded, "{} bytes bring {len}", heard.len);
        assert_eq!(message.head.tid, heard.head.tid, "another tid");
        assert_eq!(message.head.ip, Some(heard.from));
        if let Some((target, token)) = heard.method.and_then(shown) {
            self.check_token(heard.via, ip, &target, token, &message.body);
        }
        match &message.body {
            Body::Reply(body) => self.check_reply(heard, body, large),
            Body::Error(error) => assert!(error.code >= 201 && !error.text.is_empty()),
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// A stranger was told an item that is larger than what a stranger gets otherwise.
    fn check_extended(&mut self, ip: IpAddr, len: usize) {
        let (config, count) = (self.node.config(), self.extended.entry(owner(ip)).or_default());
        *count += len as u64;
        let millis = self.now.as_millis() + u64::from(config.quota_burst_ms);
        // One is let through while the bound is not yet passed, and a burst may be full at the start.
        let bound = u64::from(config.quota_item_bytes[0]) * (millis / 1_000 + 1);
        let bound = bound.saturating_add(config.datagram_bytes_max as u64);
        assert!(*count <= bound, "{count} bytes of items to a stranger, of {bound}");
    }

    fn check_token(
        &mut self,
        via: SocketId,
        ip: IpAddr,
        target: &Id,
        token: &[u8],
        body: &Body<'_>,
    ) {
        let valid = self.is_valid(via, ip, target, token);
        match body {
            Body::Error(error) if error.text == b"bad token" => {
                assert_eq!(error.code, PROTOCOL_ERROR);
                assert!(!valid, "a valid token is refused");
            }
            Body::Error(error) if [VALUE_TOO_BIG, SALT_TOO_BIG].contains(&error.code) => {}
            _ => {
                assert!(valid, "a token is taken that was not given");
                self.verify(ip);
            }
        }
    }

    fn check_reply(&mut self, heard: &Heard<'_>, body: &ReplyBody<'_>, large: bool) {
        assert_eq!(body.id(), Some(self.own_id(heard.via)));
        let reply = GetPeersReply::parse(body).expect("an id");
        let contacts = self.node.contacts();
        for (id, addr) in reply.found.nodes() {
            assert!(addr != heard.from, "an asker is told of itself");
            let node = NodeInfo { id, addr };
            assert!(contacts.iter().any(|contact| contact.node == node), "{node:?} is no contact");
            self.check_scope(heard, addr);
        }
        let told = (reply.found.nodes.len() / 26).max(reply.found.nodes6.len() / 38);
        assert!(told <= 8, "{told} nodes of a family");
        self.check_stored(heard, body, large);
        let target = match heard.method {
            Some(Method::GetPeers { info_hash, .. }) => info_hash,
            Some(Method::Get { target, .. }) => target,
            _ => return assert_eq!(reply.token, None),
        };
        if let Some(token) = reply.token {
            let (ip, token, at) = (heard.from.ip(), token.to_vec(), self.now);
            self.tokens.push(Token { via: heard.via, ip, target, token, at });
        }
    }

    /// What was stored comes from those who stored it.
    fn check_stored(&self, heard: &Heard<'_>, body: &ReplyBody<'_>, large: bool) {
        let reply = GetPeersReply::parse(body).expect("an id");
        for peer in reply.peers() {
            let Some(Method::GetPeers { info_hash, .. }) = heard.method else {
                panic!("peers that nobody asked for");
            };
            assert!(self.announced.contains(&(info_hash, peer)), "{peer} was never announced");
        }
        let scraped = matches!(heard.method, Some(Method::GetPeers { scrape: true, .. }));
        assert!(scraped || Filters::parse(body).is_none());
        let sampled = matches!(heard.method, Some(Method::SampleInfohashes { .. }));
        let samples = Samples::parse(body);
        assert_eq!(sampled, samples.is_some());
        for sample in samples.iter().flat_map(Samples::info_hashes) {
            assert!(self.announced.iter().any(|(info_hash, _)| *info_hash == sample));
        }
        match ItemReply::parse(body).value {
            None => assert!(!large || scraped || !matches!(heard.method, Some(Method::Get { .. }))),
            Some(value) => {
                assert!(matches!(heard.method, Some(Method::Get { .. })));
                assert!(value.raw() != FORGED, "an item with a wrong signature");
                assert!(self.put.contains(value.raw()), "{value:?} was never put");
            }
        }
    }

    fn check_scope(&self, heard: &Heard<'_>, addr: SocketAddr) {
        let scope = AddrScope::of(heard.from.ip());
        let local = AddrScope::of(addr.ip()) == AddrScope::Local;
        assert!(!local || scope == AddrScope::Local, "{addr} is told to one from afar");
    }

    /// The node's id where it speaks by `via`.
    fn own_id(&self, via: SocketId) -> Id {
        self.node.ids()[usize::from(via.0)]
    }

    /// Whether this token was given to `ip` by the same socket in this period or the one before.
    fn is_valid(&self, via: SocketId, ip: IpAddr, target: &Id, token: &[u8]) -> bool {
        let period = |at: Time| at.as_micros() / (self.node.config().token_secs * 1_000_000);
        let given = self
            .tokens
            .iter()
            .rev()
            .find(|g| g.via == via && g.ip == ip && g.target == *target && g.token == token);
        given.is_some_and(|given| period(self.now) - period(given.at) <= 1)
    }

    fn verify(&mut self, ip: IpAddr) {
        let until = self.now + Duration::from_secs(self.node.config().verified_secs.into());
        self.verified.insert(owner(ip), until);
    }

    fn events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            format!("{event:?}").hash(&mut self.trace);
            match event {
                Event::PingReply { ping, .. } | Event::PingFailed { ping, .. } => {
                    assert!(self.pings.remove(&ping).is_some(), "{ping:?} ends twice");
                }
                Event::PeersFound { lookup, peers, .. } => {
                    let max = self.node.config().lookup_peers_max;
                    let running = self.lookups.get_mut(&lookup).expect("a lookup that runs");
                    // Late answers still count while it announces.
                    assert!(
                        !running.done || running.ends == Ends::Announced,
                        "peers after the end"
                    );
                    let all = running.peers.len() + peers.len();
                    running.peers.extend(peers);
                    assert_eq!(running.peers.len(), all, "a peer is told twice");
                    assert!(all <= max, "{all} peers of at most {max}");
                }
                Event::LookupDone { lookup, asked, answered, closest, .. } => {
                    assert!(answered <= asked);
                    assert!(closest.len() <= 2 * self.node.config().k);
                    let running = self.lookups.get_mut(&lookup).expect("a lookup that runs");
                    assert!(!std::mem::replace(&mut running.done, true), "{lookup:?} ends twice");
                    if running.ends == Ends::Done {
                        self.lookups.remove(&lookup);
                    }
                }
                Event::Announced { lookup, .. } => self.ended(lookup, Ends::Announced),
                Event::Stored { lookup, .. } => self.ended(lookup, Ends::Stored),
                Event::Scraped { lookup, .. } => self.ended(lookup, Ends::Scraped),
                Event::SamplesFound { lookup, .. } => {
                    assert!(self.lookups.contains_key(&lookup), "samples after the end");
                }
                Event::ItemFound { lookup, item } => {
                    let running = self.lookups.get(&lookup).expect("a lookup that runs");
                    assert_eq!(item.target(), running.target, "another item");
                    assert!(item.value() != FORGED, "an item with a wrong signature");
                }
                _ => {}
            }
        }
    }

    fn ended(&mut self, lookup: LookupId, ends: Ends) {
        let ended = self.lookups.remove(&lookup).expect("a lookup that runs");
        assert!(ended.ends == ends && ended.done, "{ends:?} comes before LookupDone");
    }

    fn check_bounds(&self) {
        let (node, config) = (&self.node, self.node.config());
        let (torrents, peers) = node.stored();
        assert!(torrents <= config.store_torrents_max && peers <= config.store_peers_max);
        assert!(peers <= torrents * config.store_peers_per_torrent_max);
        let (items, item_bytes) = node.stored_items();
        assert!(items <= config.store_items_max && item_bytes <= config.store_item_bytes_max);
        assert!(node.held() <= config.queries_held_max);
        assert!(node.replacements_len() <= node.local_addrs().len() * config.replacements_max);
        // A refresh a second, each of which ends within a minute.
        let lookups = self.started + 64;
        let of_lookups = lookups * 2 * config.lookup_candidates_max;
        let pings = self.pings.len() + config.verifying_max + 60 * config.maintenance_pings_max;
        assert!(node.in_flight() <= of_lookups + pings);
        let capacity = |bucket: u32| config.k << config.wide_buckets.saturating_sub(bucket);
        let contacts_max: usize = (0..=Id::BITS).map(capacity).sum();
        for family in [Family::V4, Family::V6] {
            assert!(node.table_len(family) <= contacts_max);
        }
    }

    /// What takes longer to look at than to do after each input.
    pub(crate) fn check_contacts(&self) {
        let contacts = self.node.contacts();
        let of = |v4| self.node.local_addrs().iter().filter(|own| own.is_ipv4() == v4).count();
        let several = of(true) > 1 || of(false) > 1;
        let mut ids = BTreeSet::new();
        for contact in &contacts {
            let NodeInfo { id, addr } = contact.node;
            assert!(
                is_unicast(addr) && !self.node.local_addrs().contains(&addr),
                "{addr} is a contact"
            );
            // A socket's table may know another address under it than the next one's.
            let place = (addr.is_ipv4(), id, several.then_some(addr));
            assert!(ids.insert(place), "{id} is listed twice");
            assert!(!self.node.ids().contains(&id));
        }
        let listed = node_count(&self.node);
        assert_eq!(listed, contacts.len());
    }
}

fn node_count(node: &Node) -> usize {
    node.table_len(Family::V4) + node.table_len(Family::V6)
}

/// Whom an answer verifies: the address, of v6 its /64.
fn owner(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() >> 64 << 64).to_be_bytes()),
        ip => ip,
    }
}

/// The key and the token that a query shows.
fn shown(method: Method<'_>) -> Option<(Id, &[u8])> {
    match method {
        Method::AnnouncePeer { info_hash, token, .. } => Some((info_hash, token)),
        Method::Put(put) => {
            let target = match put.signed {
                None => dht::Item::immutable(put.value.raw()).map(|item| item.target()),
                Some(signed) => {
                    let (key, salt) = (*signed.key, signed.salt.to_vec());
                    Ok(ItemKey::Mutable { key, salt }.target())
                }
            };
            // Too large or no bencode: it has no place.
            Some((target.unwrap_or_default(), put.token))
        }
        _ => None,
    }
}
