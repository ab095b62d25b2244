//! The node: its commands, its outputs and its clockwork.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use wire::NodeId;
use wire::compact::Family;
use wire::rng::{Rng, Seed, child_seed};
use wire::scope::is_unicast;
use wire::time::Time;
use wire::{Id, InfoHash};

use crate::Status;
use crate::bootstrap::Bootstrap;
use crate::config::{Config, SharedConfig};
use crate::estimate::{Estimate, NetworkSize};
use crate::event::{Event, LookupId, NodeInfo, PingId, Progress, SocketId, Timer, Transmit};
use crate::finds::{Finds, Sampled};
use crate::flow::Flow;
use crate::goal::Goal;
use crate::item::{Item, ItemKey};
use crate::item_store::ItemStore;
use crate::own::Own;
use crate::peer_store::PeerStore;
use crate::quota::Quota;
use crate::room::Queue;
use crate::rtt::RttEstimate;
use crate::search::Search;
use crate::server::Answer;
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::table::Wanted;
use crate::tables::Tables;
use crate::tokens::Tokens;
use crate::transactions::{Ask, Overdue, Purpose, Transactions};
use crate::vote::Votes;

/// A contact of the routing tables, as a caller sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContactInfo {
    /// Id and address.
    pub node: NodeInfo,
    /// How much it can be relied on.
    pub status: Status,
    /// Smoothed round trip, once it answered.
    pub rtt_ms: Option<u16>,
    /// Seconds since it was heard.
    pub idle_secs: u32,
    /// Whether its id fits its address (BEP 42).
    pub id_fits: bool,
}

/// A datagram to be written when it is polled.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing {
    /// The query of this transaction.
    Query(u32),
    /// An answer.
    Answer(Answer),
}

/// A DHT node. What most datagrams touch stands together and first, for of a million nodes none is in
/// a cache.
#[derive(Clone)]
#[repr(C)]
pub struct Node {
    pub(crate) now: Time,
    pub(crate) config: SharedConfig,
    pub(crate) maintenance_at: Time,
    pub(crate) tables: Tables,
    pub(crate) transactions: Transactions,
    pub(crate) own: Own,
    pub(crate) searches: BTreeMap<LookupId, Box<Search>>,
    /// Lookups that wait for a first contact, by the time when they give up.
    pub(crate) waiting: BTreeSet<(Time, LookupId)>,
    /// Nodes that asked us and are being pinged.
    pub(crate) verifying: BTreeSet<SocketAddr>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) out: Queue<Outgoing>,
    pub(crate) quota: Quota,
    pub(crate) flow: Flow,
    pub(crate) stats: Stats,
    pub(crate) rng: Rng,
    pub(crate) rtt: RttEstimate,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) tokens: Tokens,
    pub(crate) store: PeerStore,
    pub(crate) items: ItemStore,
    /// Of the v4 and of the v6 DHT.
    pub(crate) estimates: [Estimate; 2],
    pub(crate) votes: Votes,
    pub(crate) sampled: Option<Box<Sampled>>,
    /// The peers of the last answer with any; kept for its room as long as such answers are given.
    pub(crate) values: Vec<SocketAddr>,
    pub(crate) next_lookup: u64,
    next_ping: u64,
}

impl Node {
    /// A node with these sockets that starts at `now`. All its randomness comes from `seed`.
    pub fn new(mut config: Config, seed: &Seed, now: Time) -> Node {
        let (sockets, id) = (std::mem::take(&mut config.sockets), config.id);
        let external_ip = config.external_ip;
        Node::with_id(&SharedConfig::new(config), sockets, external_ip, id, seed, now)
    }

    /// A node that shares its numbers with others: those of `config` but for `sockets` and
    /// `external_ip`, which are as in [`Config`].
    pub fn sharing(
        config: &SharedConfig,
        sockets: Vec<SocketAddr>,
        external_ip: Option<IpAddr>,
        seed: &Seed,
        now: Time,
    ) -> Node {
        Node::with_id(config, sockets, external_ip, None, seed, now)
    }

    fn with_id(
        config: &SharedConfig,
        sockets: Vec<SocketAddr>,
        external_ip: Option<IpAddr>,
        id: Option<NodeId>,
        seed: &Seed,
        now: Time,
    ) -> Node {
        let mut ids = Rng::new(&child_seed(seed, "id", 0));
        let own = Own::new(sockets, external_ip, id, &mut ids);
        let mut tokens = Rng::new(&child_seed(seed, "tokens", 0));
        let mut keys = Rng::new(&child_seed(seed, "keys", 0));
        Node {
            now,
            rng: Rng::new(&child_seed(seed, "node", 0)),
            tables: Tables::new(own.ids(), own.sockets(), config),
            own,
            transactions: Transactions::default(),
            tokens: Tokens::new(&mut tokens, config.token_secs),
            store: PeerStore::new(config, &mut Rng::new(&child_seed(seed, "store", 0))),
            items: ItemStore::new(config, &mut Rng::new(&child_seed(seed, "items", 0))),
            rtt: RttEstimate::new(config),
            bootstrap: Bootstrap::new(config),
            searches: BTreeMap::new(),
            waiting: BTreeSet::new(),
            verifying: BTreeSet::new(),
            maintenance_at: now + std::time::Duration::from_millis(config.maintenance_ms),
            out: Queue::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
            quota: Quota::new(config, &mut keys),
            flow: Flow::new(config, &mut keys),
            votes: Votes::new(),
            sampled: None,
            estimates: Default::default(),
            values: Vec::new(),
            next_lookup: 0,
            next_ping: 0,
            config: config.clone(),
        }
    }

    /// Reads a part of what the next datagram will read, and returns some number that depends on it: first
    /// (`step` 0) what stands in the node, then (1) what that leads to, then (2) what that leads to. For who
    /// runs more nodes than a cache holds: the reads of several do not wait for each other.
    pub fn touch(&self, step: u8) -> usize {
        let next = match step {
            0 => return self.touch_heads(),
            1 => self.own.touch(),
            _ => 0,
        };
        next ^ self.tables.touch(step) ^ self.transactions.touch(step)
    }

    /// One field in each of the first cache lines.
    fn touch_heads(&self) -> usize {
        let lens = [self.transactions.len(), self.searches.len(), self.verifying.len()];
        let counts = [self.now.as_micros(), self.stats.received, self.stats.answered];
        let heads = [self.rtt.touch(), self.quota.touch(), self.flow.touch(), self.events.len()];
        let all = lens.into_iter().chain(heads).chain(counts.map(|count| count as usize));
        all.fold(self.next_lookup as usize, |sum, head| sum ^ head)
    }

    // Commands

    /// Adds a bootstrap contact: it is asked at once, and again while no contact is usable.
    pub fn bootstrap(&mut self, now: Time, addr: SocketAddr) {
        self.advance(now);
        if self.may_ask(&addr) && self.route_any(&addr).is_some() {
            self.bootstrap.add(addr);
            self.bootstrap.schedule(now);
            self.seed_searches(addr);
        }
    }

    /// Pings a node that was heard of, as from a peer's `port` message; it is listed if it answers.
    pub fn add_contact(&mut self, now: Time, addr: SocketAddr) {
        self.advance(now);
        if let Some(via) = self.route_any(&addr).filter(|_| self.may_ask(&addr)) {
            self.verify(addr, via, None);
        }
    }

    /// Takes the ids of an earlier run where they fit, unless [`Config::id`] says another, and lists its
    /// contacts, unverified, and asks them soon.
    pub fn restore(&mut self, now: Time, earlier: &Snapshot) {
        self.advance(now);
        if !self.own.named {
            self.restore_ids(&earlier.own);
        }
        for contact in &earlier.contacts {
            if self.may_ask(&contact.addr) {
                self.tables.restore(now, contact);
            }
        }
        if !self.tables.is_empty() {
            self.bootstrap.schedule(now);
            self.hasten_maintenance(1);
        }
    }

    /// Pings an address; ends with [`Event::PingReply`] or [`Event::PingFailed`].
    pub fn ping(&mut self, now: Time, addr: SocketAddr) -> PingId {
        self.advance(now);
        let ping = PingId(self.next_ping);
        self.next_ping += 1;
        match self.route_any(&addr).filter(|_| is_unicast(addr)) {
            Some(via) => self.ask(addr, via, None, Ask::Ping, Purpose::Ping(ping)),
            None => self.events.push_back(Event::PingFailed { ping, addr }),
        }
        ping
    }

    /// Looks for the nodes closest to `target`; ends with [`Event::LookupDone`].
    pub fn find_node(&mut self, now: Time, target: NodeId) -> LookupId {
        self.advance(now);
        self.start(Goal::FindNode, target)
    }

    /// Looks for peers; [`Event::PeersFound`] as they come, [`Event::LookupDone`] at the end.
    pub fn get_peers(&mut self, now: Time, info_hash: InfoHash) -> LookupId {
        self.advance(now);
        self.start(Goal::GetPeers, info_hash)
    }

    /// Looks for peers like [`Node::get_peers`] and then tells the closest nodes that we are one,
    /// on TCP port `port` or on the port that they see (`None`, BEP 5 `implied_port`); ends with
    /// [`Event::Announced`]. A node with several sockets then tells them by each of the others, too.
    /// Others forget it after 30 to 45 minutes. A `seed` says so, and is told of
    /// no other seeds by those who know BEP 33.
    pub fn announce(
        &mut self,
        now: Time,
        info_hash: InfoHash,
        port: Option<u16>,
        seed: bool,
    ) -> LookupId {
        self.advance(now);
        let port = port.filter(|&port| port != 0);
        self.start(Goal::Announce { port, seed, too: false }, info_hash)
    }

    /// Counts the seeds and the peers of a torrent (BEP 33); ends with [`Event::Scraped`].
    pub fn scrape(&mut self, now: Time, info_hash: InfoHash) -> LookupId {
        self.advance(now);
        self.start_with(Goal::Scrape, info_hash, Finds::Scrape(Box::default()))
    }

    /// Asks the nodes on the way to `target` which torrents they know (BEP 51);
    /// [`Event::SamplesFound`] as they answer, [`Event::LookupDone`] at the end. Who was asked before
    /// is asked again only after the interval that it told.
    pub fn sample_infohashes(&mut self, now: Time, target: Id) -> LookupId {
        self.advance(now);
        self.start(Goal::Sample, target)
    }

    /// Looks for an item (BEP 44); [`Event::ItemFound`] for each that is newer than the one before,
    /// [`Event::LookupDone`] at the end, for an immutable one as soon as it is found. Of a mutable one
    /// only such with a sequence number above `seq` are told.
    pub fn get(&mut self, now: Time, key: &ItemKey, seq: Option<i64>) -> LookupId {
        self.advance(now);
        let target = key.target();
        self.start_with(Goal::Get { seq }, target, Finds::item(key.clone(), None))
    }

    /// Looks for an item like [`Node::get`] and then has the closest nodes store this one; ends with
    /// [`Event::Stored`]. Others forget it after two hours. With `cas`, those that have one replace it
    /// only if it has this sequence number.
    pub fn put(&mut self, now: Time, item: Item, cas: Option<i64>) -> LookupId {
        self.advance(now);
        let (target, key) = (item.target(), item.key());
        self.start_with(Goal::Put { cas }, target, Finds::item(key, Some(item)))
    }

    /// Asks again who has an item; [`Event::LookupDone`] tells how many nodes have the newest of it.
    pub fn count_item(&mut self, now: Time, key: &ItemKey) -> LookupId {
        self.advance(now);
        self.start_with(Goal::CountItem, key.target(), Finds::item(key.clone(), None))
    }

    /// Asks again who tells of a peer on this port, as after an announce; [`Event::LookupDone`] tells
    /// how many nodes do. Those that have more peers than fit into an answer may leave it out.
    pub fn count_peer(&mut self, now: Time, info_hash: InfoHash, port: u16) -> LookupId {
        self.advance(now);
        self.start(Goal::CountPeer { port }, info_hash)
    }

    /// Ends a lookup without a further event.
    pub fn cancel(&mut self, now: Time, lookup: LookupId) {
        self.advance(now);
        if let Some(search) = self.searches.remove(&lookup) {
            self.waiting.remove(&(search.give_up, lookup));
            self.forget_searches();
        }
    }

    // Outputs

    /// The next datagram, written into `buf` in place of what was there.
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<Transmit> {
        loop {
            buf.clear();
            let (via, to) = match self.out.pop()? {
                Outgoing::Query(tid) => match self.write_query(tid, buf) {
                    Some((via, to)) => {
                        self.flow.wrote(self.now, &to, buf.len());
                        self.stats.asked_bytes += buf.len() as u64;
                        (via, to)
                    }
                    None => continue,
                },
                Outgoing::Answer(answer) => {
                    self.write_answer(&answer, buf);
                    self.quota.pay(self.now, &answer.asker.grant, buf.len());
                    if buf.len() > usize::from(answer.asker.grant.bytes_max) {
                        self.stats.dropped_large += 1;
                        continue;
                    }
                    (answer.asker.via, answer.asker.from)
                }
            };
            self.stats.sent += 1;
            self.stats.sent_bytes += buf.len() as u64;
            return Some(Transmit { via, to, len: buf.len() });
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        Some(event)
    }

    /// Whether an event waits to be polled.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// When to call [`Node::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Time, Timer)> {
        let query = self.transactions.deadline().map(|at| (at, Timer::Query));
        let bootstrap = self.bootstrap.due().map(|at| (at, Timer::Bootstrap));
        let lookup = self.waiting.first().map(|&(at, _)| (at, Timer::Lookup));
        let turn = self.flow.due().map(|at| (at, Timer::Turn));
        let maintenance = Some((self.maintenance_at, Timer::Maintenance));
        [query, bootstrap, lookup, turn, maintenance].into_iter().flatten().min()
    }

    /// Does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        self.fail_overdue();
        if self.flow.due().is_some_and(|at| at <= self.now) {
            self.release_held();
        }
        if self.bootstrap.due().is_some_and(|at| at <= self.now) {
            self.start_bootstrap();
        }
        while let Some(&(_, lookup)) = self.waiting.first().filter(|(at, _)| *at <= self.now) {
            self.give_up(lookup);
        }
        if self.maintenance_at <= self.now {
            self.maintain();
        }
    }

    // Getters

    /// The node's id at its first socket.
    pub fn id(&self) -> NodeId {
        self.own.id(SocketId(0))
    }

    /// Its id at each socket, in the order of [`Config::sockets`].
    pub fn ids(&self) -> &[NodeId] {
        self.own.ids()
    }

    /// The numbers that the node was made with; its sockets and addresses are those of
    /// [`Node::local_addrs`] and [`Node::external_ip`].
    pub fn config(&self) -> &SharedConfig {
        &self.config
    }

    /// The addresses that its sockets are bound to.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.own.sockets()
    }

    /// What it counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Contacts in the routing tables of `family`.
    pub fn table_len(&self, family: Family) -> usize {
        self.tables.len_of(family)
    }

    /// Nodes in the replacement caches.
    pub fn replacements_len(&self) -> usize {
        self.tables.spare_len()
    }

    /// Every contact, bucket by bucket.
    pub fn contacts(&self) -> Vec<ContactInfo> {
        let mut out = Vec::new();
        self.tables.contacts(self.now, &mut out);
        out
    }

    /// The `n` contacts of `family` closest to `target` that it would tell others, closest first.
    pub fn closest(&self, family: Family, target: &Id, n: usize) -> Vec<NodeInfo> {
        let mut found = Vec::new();
        self.tables.closest(family, target, n, Wanted::Proven, &mut found);
        found
    }

    /// How many nodes the DHT of `family` has, as the lookups of the last hour tell; `None` without
    /// any, or while fewer than k nodes answer.
    pub fn network_size(&self, family: Family) -> Option<NetworkSize> {
        self.estimates[family as usize].size(self.now, self.config.k)
    }

    /// Torrents and peers in the store.
    pub fn stored(&self) -> (usize, usize) {
        (self.store.torrents(), self.store.peers())
    }

    /// Items in the store, and bytes of their values.
    pub fn stored_items(&self) -> (usize, usize) {
        self.items.len()
    }

    /// An item in the store.
    pub fn item(&self, target: &Id) -> Option<&Item> {
        self.items.get(self.now, target)
    }

    /// Queries that wait for their turn to be sent.
    pub fn held(&self) -> usize {
        self.flow.held()
    }

    /// Queries that wait for an answer, or for their turn.
    pub fn in_flight(&self) -> usize {
        self.transactions.len()
    }

    /// Whether the node became part of the DHT.
    pub fn is_bootstrapped(&self) -> bool {
        self.bootstrap.announced
    }

    /// Whether an announce of this torrent goes on by further sockets (BEP 45), after its
    /// [`Event::Announced`].
    pub fn is_announcing(&self, info_hash: &InfoHash) -> bool {
        self.searches.values().any(|s| s.goal.is_further() && s.target == *info_hash)
    }

    /// How far a running lookup is; `None` once it ended.
    pub fn progress(&self, lookup: LookupId) -> Option<Progress> {
        self.searches.get(&lookup).map(|search| search.progress())
    }

    /// Ids and contacts, to start warm from: proven ones first; bad ones only if there are no
    /// others, as when the network is down.
    pub fn snapshot(&self) -> Snapshot {
        let mut contacts = self.contacts();
        if contacts.iter().any(|c| c.status != Status::Bad) {
            contacts.retain(|c| c.status != Status::Bad);
        }
        contacts.sort_by_key(|c| std::cmp::Reverse(c.status));
        let own = self.ids().iter().zip(self.own.sockets());
        let own = own.map(|(id, addr)| NodeInfo { id: *id, addr: *addr }).collect();
        Snapshot { own, contacts: contacts.into_iter().map(|c| c.node).collect() }
    }

    // Shared by the parts

    /// Time never goes back. After a sleep what is past its time is forgotten before anything is told,
    /// and an answer that was slept through is none.
    pub(crate) fn advance(&mut self, now: Time) {
        let slept = now.since(self.now);
        self.now = self.now.max(now);
        if slept > std::time::Duration::from_millis(self.config.maintenance_ms) {
            self.expire();
        }
        if slept > self.config.hard_timeout() {
            self.fail_overdue();
        }
    }

    /// Tells lookups which queries are late, and everybody which have failed.
    fn fail_overdue(&mut self) {
        while let Some(overdue) = self.transactions.overdue(self.now) {
            match overdue {
                Overdue::Late(lookup) => self.pump(lookup),
                Overdue::Failed(transaction) => self.on_timeout(&transaction),
            }
        }
    }

    /// A node answered: marks or lists it.
    pub(crate) fn heard(&mut self, node: NodeInfo, sent: Time) {
        let rtt = self.now.since(sent);
        self.rtt.add(rtt);
        let first = self.tables.is_empty_of(Family::of(&node.addr));
        let added = self.tables.on_reply(self.now, &node, rtt);
        let reached = self.bootstrap.heard(&node.addr) && !first;
        if reached || (added && first) {
            // BEP 5, "Routing Table": look for our own id upon the first node.
            self.bootstrap.schedule(self.now);
        }
        if !self.waiting.is_empty() {
            self.wake_waiting(node);
        }
    }
}
