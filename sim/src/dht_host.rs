//! A host that runs a DHT node and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use dht::{Config, Event, Item, ItemKey, LookupId, Node, SharedConfig, Snapshot, SocketId};
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;
use wire::{Id, InfoHash, NodeId};

use crate::host::Host;
use crate::mischief::Mischief;
use crate::watch::Watch;

/// What a scenario tells a [`DhtHost`].
#[derive(Clone, Debug)]
pub enum DhtCommand {
    /// Join by this node.
    Bootstrap(SocketAddr),
    /// Announce that a peer on this TCP port has the torrent.
    Announce(InfoHash, u16),
    /// Announce that a peer has the torrent on the port that others see (`implied_port`, BEP 5).
    AnnounceHere(InfoHash),
    /// Look for the torrent's peers.
    Lookup(InfoHash),
    /// Have an item stored.
    Put(Box<Item>),
    /// Look for an item, or for one newer than this.
    Get(ItemKey, Option<i64>),
}

/// How a look for an item went.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOutcome {
    /// Whether it was found.
    pub found: bool,
    /// Nodes that were asked.
    pub asked: u32,
}

/// How a lookup went.
#[derive(Clone, Debug)]
pub struct LookupOutcome {
    /// What was looked for.
    pub info_hash: InfoHash,
    /// When it began.
    pub started: Time,
    /// How long the first peer took; `None` if there was none.
    pub first_peer: Option<Duration>,
    /// How long it took to its end; `None` if it has not ended.
    pub ended: Option<Duration>,
    /// Queries one after the other that led to the closest node.
    pub hops: u32,
    /// Nodes that were asked.
    pub asked: u32,
    /// The peers found.
    pub peers: Vec<SocketAddr>,
    /// The closest nodes that answered.
    pub closest: Vec<NodeId>,
}

/// The numbers that all nodes have in common: the same in each world, so they never change.
static CONFIG: LazyLock<SharedConfig> =
    LazyLock::new(|| SharedConfig::new(Config::new(Vec::new()).among_thousands()));

/// The same of nodes as `dht-node` runs them.
static ALONE: LazyLock<SharedConfig> = LazyLock::new(|| SharedConfig::new(Config::new(Vec::new())));

/// How long a command waits for the first contact that answers, as `dht-node` does by default.
const COMMAND_WAIT_MS: u64 = 15_000;

/// A DHT node on a host of a world.
pub struct DhtHost {
    node: Node,
    lookups: BTreeMap<LookupId, LookupOutcome>,
    gets: BTreeMap<LookupId, GetOutcome>,
    announces: u32,
    announces_kept: u32,
    /// The latest time that it was told.
    now: Time,
    watch: Option<Box<Watch>>,
    mischief: Option<Box<Mischief>>,
    /// Of a command's node: whether that has ended, and the program with it.
    ended: Option<bool>,
}

impl DhtHost {
    /// A node at `addr` with the default numbers, made `now`. Its id fits its address (BEP 42).
    pub fn new(addr: SocketAddr, seed: &Seed, now: Time) -> DhtHost {
        DhtHost::sharing(&CONFIG, addr, Some(addr.ip()), seed, now)
    }

    /// The node of a command as `dht-node lookup`: read-only, under an id that does not tell of its
    /// address. It ends with the first lookup or announce that does.
    pub fn command(addr: SocketAddr, seed: &Seed, now: Time) -> DhtHost {
        let config = Config {
            id: Some(Id::random(&mut Rng::new(&child_seed(seed, "command", 0)))),
            read_only: true,
            lookup_wait_ms: COMMAND_WAIT_MS,
            ..Config::new(vec![addr])
        };
        let node = Node::new(config, seed, now);
        DhtHost { ended: Some(false), ..DhtHost::with(node, now) }
    }

    /// A node at `addr` behind an address translator, which has to learn its address outside.
    pub fn inside(addr: SocketAddr, seed: &Seed, now: Time) -> DhtHost {
        DhtHost::sharing(&CONFIG, addr, None, seed, now)
    }

    /// The default numbers: those of a node that ships, with smaller tables
    /// ([`Config::among_thousands`]).
    pub fn shipped() -> SharedConfig {
        CONFIG.clone()
    }

    /// A node with the numbers and the policy of `config`; `outside` is its address outside if it knows
    /// it.
    pub fn sharing(
        config: &SharedConfig,
        addr: SocketAddr,
        outside: Option<IpAddr>,
        seed: &Seed,
        now: Time,
    ) -> DhtHost {
        DhtHost::with(Node::sharing(config, vec![addr], outside, seed, now), now)
    }

    /// The numbers of a node as `dht-node bootstrap` runs it: with tables for a machine of its own.
    pub fn alone() -> SharedConfig {
        ALONE.clone()
    }

    fn with(node: Node, now: Time) -> DhtHost {
        DhtHost {
            node,
            lookups: BTreeMap::new(),
            gets: BTreeMap::new(),
            announces: 0,
            announces_kept: 0,
            now,
            watch: None,
            mischief: None,
            ended: None,
        }
    }

    /// From now on it is watched: what it never may do is told by [`Host::violation`].
    pub fn watch(&mut self) {
        self.watch = Some(Box::default());
    }

    /// Until `until` its bad manners show.
    pub fn misbehave(&mut self, seed: &Seed, until: Time) {
        self.mischief = Some(Box::new(Mischief::new(self.node.id(), seed, until)));
    }

    fn has_ended(&self) -> bool {
        self.ended == Some(true)
    }

    /// A lookup began that tells of its end.
    fn began(&mut self, now: Time, lookup: LookupId) -> LookupId {
        if let Some(watch) = &mut self.watch {
            watch.began(now, lookup);
        }
        lookup
    }

    /// Starts from what an earlier run saved, as from its file.
    pub fn restore(&mut self, now: Time, earlier: &Snapshot) {
        self.node.restore(now, earlier);
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Lookups in the order in which they began.
    pub fn lookups(&self) -> impl Iterator<Item = &LookupOutcome> {
        self.lookups.values()
    }

    /// Looks for items in the order in which they began.
    pub fn gets(&self) -> impl Iterator<Item = &GetOutcome> {
        self.gets.values()
    }

    /// Announces that ended, and nodes that took them.
    pub fn announces(&self) -> (u32, u32) {
        (self.announces, self.announces_kept)
    }
}

impl Host for DhtHost {
    type Command = DhtCommand;

    fn handle_command(&mut self, now: Time, command: DhtCommand) {
        self.now = now;
        match command {
            DhtCommand::Bootstrap(addr) => self.node.bootstrap(now, addr),
            DhtCommand::Announce(info_hash, port) => {
                let lookup = self.node.announce(now, info_hash, Some(port), false);
                self.began(now, lookup);
            }
            DhtCommand::AnnounceHere(info_hash) => {
                let lookup = self.node.announce(now, info_hash, None, false);
                self.began(now, lookup);
            }
            DhtCommand::Put(item) => {
                let lookup = self.node.put(now, *item, None);
                self.began(now, lookup);
            }
            DhtCommand::Get(key, seq) => {
                let lookup = self.node.get(now, &key, seq);
                self.began(now, lookup);
                self.gets.insert(lookup, GetOutcome::default());
            }
            DhtCommand::Lookup(info_hash) => {
                let outcome = LookupOutcome {
                    info_hash,
                    started: now,
                    first_peer: None,
                    ended: None,
                    hops: 0,
                    asked: 0,
                    peers: Vec::new(),
                    closest: Vec::new(),
                };
                let lookup = self.node.get_peers(now, info_hash);
                self.began(now, lookup);
                self.lookups.insert(lookup, outcome);
            }
        }
    }

    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        if self.has_ended() {
            return;
        }
        self.now = now;
        if let Some(watch) = &mut self.watch {
            watch.heard(now, from, bytes);
        }
        if let Some(mischief) = &mut self.mischief {
            mischief.heard(now, from, bytes);
        }
        self.node.handle_datagram(now, SocketId(0), from, bytes);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.node.handle_timeout(now);
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        if self.has_ended() {
            return None;
        }
        let Some(transmit) = self.node.poll_transmit(buf) else {
            return self.mischief.as_mut()?.poll(self.now, buf);
        };
        if let Some(watch) = &mut self.watch {
            watch.said(transmit.to, buf, self.node.config().token_secs);
        }
        if let Some(mischief) = &mut self.mischief {
            mischief.said(self.now, transmit.to, buf);
        }
        Some(transmit.to)
    }

    fn poll_timeout(&self) -> Option<Time> {
        if self.has_ended() {
            return None;
        }
        let node = self.node.poll_timeout().map(|(at, _)| at);
        let Some(mischief) = &self.mischief else { return node };
        [node, mischief.due()].into_iter().flatten().min()
    }

    fn violation(&self) -> Option<&str> {
        self.watch.as_ref()?.broken()
    }

    fn touch(&self, step: u8) -> usize {
        self.node.touch(step)
    }

    fn describe(&self) -> String {
        let node = &self.node;
        let (torrents, peers) = node.stored();
        let mut out = format!(
            "node {} at {}, told {}\n{} torrents with {peers} peers; {} queries wait; wakes {:?}\n",
            node.id(),
            node.local_addrs().first().map(ToString::to_string).unwrap_or_default(),
            self.now,
            torrents,
            node.in_flight(),
            node.poll_timeout(),
        );
        for contact in node.contacts() {
            let _ = writeln!(
                out,
                "  {} {} {:?}, heard {} s ago",
                contact.node.id, contact.node.addr, contact.status, contact.idle_secs
            );
        }
        let _ = write!(out, "{:#?}", node.stats());
        out
    }

    fn end_turn(&mut self, now: Time) {
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::PeersFound { lookup, peers, .. } => {
                    if let Some(outcome) = self.lookups.get_mut(&lookup) {
                        outcome.first_peer.get_or_insert(now.since(outcome.started));
                        outcome.peers.extend(peers);
                    }
                }
                Event::ItemFound { lookup, .. } => {
                    if let Some(outcome) = self.gets.get_mut(&lookup) {
                        outcome.found = true;
                    }
                }
                Event::LookupDone { lookup, asked, hops, closest, .. } => {
                    if let Some(watch) = &mut self.watch {
                        watch.ended(lookup);
                    }
                    if let Some(outcome) = self.gets.get_mut(&lookup) {
                        outcome.asked = asked;
                    }
                    if let Some(outcome) = self.lookups.get_mut(&lookup) {
                        outcome.ended = Some(now.since(outcome.started));
                        outcome.asked = asked;
                        outcome.hops = hops;
                        outcome.closest = closest.iter().map(|node| node.id).collect();
                        self.ended = self.ended.map(|_| true);
                    }
                }
                Event::Announced { accepted, .. } => {
                    self.announces += 1;
                    self.announces_kept += accepted;
                    self.ended = self.ended.map(|_| true);
                }
                _ => {}
            }
        }
        if let Some(watch) = &mut self.watch {
            watch.turned(now, &self.node);
        }
    }
}
