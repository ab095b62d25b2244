//! What a handle asks of its task, and what comes back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use wire::{Id, InfoHash, NodeId};

use super::DhtError;
use crate::driver::DriverStats;
use crate::{ContactInfo, Item, ItemKey, NodeInfo, Snapshot, Stats};

/// Where a result is waited for.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// What a handle asks of its task.
pub(super) enum Command {
    GetPeers {
        info_hash: InfoHash,
        peers: mpsc::Sender<SocketAddr>,
        end: Reply<Result<LookupSummary, DhtError>>,
    },
    Announce {
        info_hash: InfoHash,
        port: Option<u16>,
        seed: bool,
        end: Reply<Result<Announced, DhtError>>,
    },
    FindNode {
        target: NodeId,
        end: Reply<Result<LookupSummary, DhtError>>,
    },
    Get {
        key: ItemKey,
        seq: Option<i64>,
        end: Reply<Result<Option<Item>, DhtError>>,
    },
    Put {
        item: Item,
        cas: Option<i64>,
        end: Reply<Result<Stored, DhtError>>,
    },
    Scrape {
        info_hash: InfoHash,
        end: Reply<Result<Scraped, DhtError>>,
    },
    Sample {
        target: Id,
        end: Reply<Result<Vec<Samples>, DhtError>>,
    },
    Ping {
        addr: SocketAddr,
        end: Reply<Result<Pong, DhtError>>,
    },
    Bootstrap(String),
    AddNode(SocketAddr),
    Joined(Reply<Result<(), DhtError>>),
    WhyNotJoined(Reply<Result<(), DhtError>>),
    Info(Reply<Info>),
    Contacts(Reply<Vec<ContactInfo>>),
    Snapshot(Reply<Snapshot>),
    Save(Reply<Result<(), DhtError>>),
    Shutdown(Reply<Result<(), DhtError>>),
}

/// How a lookup went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookupSummary {
    /// Nodes that were asked.
    pub asked: u32,
    /// Nodes that answered.
    pub answered: u32,
    /// Distinct peers that they gave.
    pub peers_found: u32,
    /// Queries one after the other that led to the closest node that answered.
    pub hops: u32,
    /// The closest nodes that answered, closest first; at most k a family.
    pub closest: Vec<NodeInfo>,
}

/// An announce that at least one node accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    /// Nodes that accepted it.
    pub accepted: u32,
    /// The lookup that it began with.
    pub lookup: LookupSummary,
    /// The peers that this lookup met, at most [`crate::Config::lookup_peers_max`]: who announces
    /// needs no [`super::Dht::get_peers`] beside.
    pub peers: Vec<SocketAddr>,
}

/// How the nodes closest to an item took it (BEP 44).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Nodes that accepted it.
    pub accepted: u32,
    /// Nodes that refused it because they have another one than `cas` says.
    pub cas_mismatches: u32,
    /// Nodes that refused it because they have a newer one.
    pub outdated: u32,
}

/// About how large a swarm is (BEP 33).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scraped {
    /// Nodes that counted; none: nobody knows of the torrent.
    pub nodes: u32,
    /// Addresses of seeds.
    pub seeds: u32,
    /// Addresses of other peers.
    pub peers: u32,
}

/// What a node told of the torrents that it knows peers of (BEP 51).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Samples {
    /// The node.
    pub from: NodeInfo,
    /// Torrents that it says it knows.
    pub num: u64,
    /// Time until it gives other samples; it is not asked before.
    pub interval: Duration,
    /// The samples.
    pub info_hashes: Vec<InfoHash>,
}

/// The answer to a ping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// Who answered.
    pub node: NodeInfo,
    /// Time until the answer.
    pub rtt: Duration,
}

/// What a node is and knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    /// The addresses of its sockets, with the ports that the system chose.
    pub local_addrs: Vec<SocketAddr>,
    /// Its id at each of them (BEP 45); another one later, if the address there is learned and the id
    /// does not fit (BEP 42).
    pub ids: Vec<NodeId>,
    /// The address that the world sees each of them at, as far as it is known.
    pub external_ips: Vec<Option<IpAddr>>,
    /// Whether the link of each is down: nobody answers by it, and somebody by another of its family.
    pub down: Vec<bool>,
    /// Whether it has joined the DHT.
    pub bootstrapped: bool,
    /// IPv4 contacts in its tables.
    pub contacts_v4: usize,
    /// IPv6 contacts in its tables (BEP 32).
    pub contacts_v6: usize,
    /// Torrents for which others announced peers to it.
    pub stored_torrents: usize,
    /// Those peers.
    pub stored_peers: usize,
    /// Items that others stored with it (BEP 44).
    pub stored_items: usize,
    /// Lookups that run, those by which the node keeps its tables up among them.
    pub lookups: usize,
    /// What the node counted.
    pub stats: Stats,
    /// What its driver counted.
    pub driver_stats: DriverStats,
}
