//! What a node tells its caller, and the ids that commands return.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::{Id, InfoHash, NodeId};

use crate::estimate::Certainty;
use crate::item::Item;

/// One of the caller's UDP sockets: an index into [`crate::Config::sockets`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SocketId(pub u8);

/// A lookup that was commanded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(pub u64);

/// A ping that was commanded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PingId(pub u64);

/// A node and where it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub addr: SocketAddr,
}

/// A datagram to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Transmit {
    /// The socket to send it by.
    pub via: SocketId,
    /// The receiver.
    pub to: SocketAddr,
    /// Its bytes: all of the buffer.
    pub len: usize,
}

/// Why a node wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// A query was not answered in time.
    Query,
    /// The bootstrap contacts are to be asked.
    Bootstrap,
    /// A lookup waited long enough for a first contact.
    Lookup,
    /// A query that waits for its turn may go.
    Turn,
    /// Contacts, buckets and announced peers grow old.
    Maintenance,
}

/// How far a lookup is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Nodes that were asked.
    pub asked: u32,
    /// Nodes that answered.
    pub answered: u32,
    /// Distinct peers that they gave.
    pub peers_found: u32,
    /// No contact is usable yet: the lookup waits for the bootstrap.
    pub waiting: bool,
}

/// Something happened that the caller may care about.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The first lookup for the node's own id ended: it is part of the DHT.
    Bootstrapped {
        /// Nodes in the routing tables.
        contacts: usize,
    },
    /// Many nodes agree on the address that the world sees us at. If the node's id did not fit it,
    /// there is a new one (BEP 42).
    ExternalAddress {
        /// The address.
        ip: IpAddr,
    },
    /// Peers that this lookup had not reported before.
    PeersFound {
        /// The lookup.
        lookup: LookupId,
        /// The torrent.
        info_hash: InfoHash,
        /// The node that gave them; one of our own sockets if they were announced to us.
        from: SocketAddr,
        /// The peers.
        peers: Vec<SocketAddr>,
    },
    /// A lookup ended. That of an announce is followed by [`Event::Announced`], that of a put by
    /// [`Event::Stored`], and a scrape's by [`Event::Scraped`].
    LookupDone {
        /// The lookup.
        lookup: LookupId,
        /// The key that was looked for.
        target: Id,
        /// Nodes that were asked.
        asked: u32,
        /// Nodes that answered.
        answered: u32,
        /// Distinct peers that they gave.
        peers_found: u32,
        /// Queries one after the other that led to the closest node that answered.
        hops: u32,
        /// Nodes that had what was looked for: peers, the item, or the newest of it.
        holders: u32,
        /// The closest nodes that answered, closest first; at most k a family.
        closest: Vec<NodeInfo>,
        /// Whether they are likely the closest that there are; of the family with more of them.
        certainty: Certainty,
    },
    /// A lookup found the item that it looks for, verified; or a newer one than before.
    ItemFound {
        /// The lookup.
        lookup: LookupId,
        /// The item.
        item: Item,
    },
    /// A put ended.
    Stored {
        /// The lookup that it began with.
        lookup: LookupId,
        /// Where the item is stored.
        target: Id,
        /// Nodes that accepted it.
        accepted: u32,
        /// Nodes that refused it because they have another one than `cas` says (BEP 44, 301).
        cas_mismatches: u32,
        /// Nodes that refused it because they have a newer one (BEP 44, 302).
        outdated: u32,
    },
    /// A scrape ended (BEP 33). What follows is an estimate; without `nodes` nobody knows.
    Scraped {
        /// The lookup.
        lookup: LookupId,
        /// The torrent.
        info_hash: InfoHash,
        /// Nodes that counted.
        nodes: u32,
        /// Addresses of seeds.
        seeds: u32,
        /// Addresses of other peers.
        peers: u32,
    },
    /// A node gave a sample of the torrents that it knows peers of (BEP 51).
    SamplesFound {
        /// The lookup.
        lookup: LookupId,
        /// The node.
        from: NodeInfo,
        /// Torrents that it says it knows.
        num: u64,
        /// Seconds until it gives other samples; the node is not asked before.
        interval_secs: u32,
        /// The samples.
        info_hashes: Vec<InfoHash>,
    },
    /// An announce ended.
    Announced {
        /// The lookup that it began with.
        lookup: LookupId,
        /// The torrent.
        info_hash: InfoHash,
        /// Nodes that accepted it.
        accepted: u32,
    },
    /// A commanded ping was answered.
    PingReply {
        /// The ping.
        ping: PingId,
        /// The node.
        node: NodeInfo,
        /// Time until the answer.
        rtt: Duration,
    },
    /// A commanded ping was not answered.
    PingFailed {
        /// The ping.
        ping: PingId,
        /// Who did not answer.
        addr: SocketAddr,
    },
}

impl Event {
    /// The lookup that it belongs to, if it belongs to one.
    pub fn lookup(&self) -> Option<LookupId> {
        match *self {
            Event::PeersFound { lookup, .. }
            | Event::LookupDone { lookup, .. }
            | Event::ItemFound { lookup, .. }
            | Event::Stored { lookup, .. }
            | Event::Scraped { lookup, .. }
            | Event::SamplesFound { lookup, .. }
            | Event::Announced { lookup, .. } => Some(lookup),
            Event::Bootstrapped { .. }
            | Event::ExternalAddress { .. }
            | Event::PingReply { .. }
            | Event::PingFailed { .. } => None,
        }
    }
}
