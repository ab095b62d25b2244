//! Every number of the node, with its unit, default and source.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use wire::NodeId;

use crate::keyed::Pace;
use crate::lookup_policy::LookupPolicy;
use crate::quota::Costs;

/// How a node behaves. `Config::new(sockets)` gives the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The addresses that the caller's UDP sockets are bound to; a [`crate::SocketId`] is an index
    /// into this list, of at most 255. Their families decide which of the two DHTs (BEP 32) the node
    /// takes part in. At each of them it is a node of its own to others, with an id of its own (BEP 45).
    pub sockets: Vec<SocketAddr>,
    /// The id at the first socket; those at others differ from it in their highest bits (BEP 45,
    /// "Mandatory"). Each is kept unless it does not fit the address there. Default: drawn.
    pub id: Option<NodeId>,
    /// The address that the world sees the first socket of its family at; the id there is made from it
    /// (BEP 42). Those of others are learned from who answers there, as is this one if it is not said.
    pub external_ip: Option<IpAddr>,
    /// Client and version to send as `v` (BEP 5, "KRPC Protocol"; BEP 20).
    pub version: Option<[u8; 4]>,
    /// Answer no queries and ask not to be listed (BEP 43). Default false.
    pub read_only: bool,

    /// Contacts a bucket, nodes a reply, nodes that end a lookup. BEP 5, "Routing Table": 8.
    pub k: usize,
    /// Buckets at the top of the table that hold more: the first k << this many, the next half of
    /// that, and so on; lookups start so much closer. Default 6: 512, 256, 128, 64, 32 and 16 contacts
    /// (libtorrent, `dht_extended_routing_table`: 128, 64, 32, 16). In an overlay of a million nodes
    /// that is 1,100 contacts, 37 kB and 1.2 pings a second; in one of 20,000 the first peer comes
    /// after 178 ms instead of 259, with 31 datagrams instead of 40.
    pub wide_buckets: u32,
    /// Queries of a lookup that may wait for an answer at once while it converges. Default 4, as
    /// jech's dht; Kademlia has 3, libtorrent 5.
    pub alpha: usize,
    /// Nodes beyond the k closest that a lookup asks with them once it converges. Default 2: of ten
    /// nodes two do not answer (Jimenez 2009: 20 % dead nodes in 95 % of lookups).
    pub lookup_spare: usize,
    /// A lookup whose k closest nodes are much farther away than there should be some, twice for items
    /// and stores and eight times for peers, asks so many more of those it heard of, in case it was led
    /// astray. Default 16: twice k.
    pub lookup_more_max: u32,
    /// Paths that lookups of nodes and peers take beside the first, disjoint from it and from each other
    /// (Baumgart and Mies 2007, "S/Kademlia"). They begin at contacts: a node that knows nobody yet
    /// takes none. Default 0.
    pub lookup_paths: u8,
    /// ... and those of items. Default 4: for some ten queries more, an item is found where the contacts
    /// close to it are all adversaries.
    pub lookup_paths_items: u8,
    /// Candidates that each path of a lookup remembers; it asks at most twice as many. Default 100
    /// (libtorrent, traversal_algorithm.cpp).
    pub lookup_candidates_max: usize,
    /// Nodes that are looked at in one reply. Default 32; BEP 5 allows 8, mainline sends 20.
    pub reply_nodes_max: usize,
    /// Distinct peers that one lookup reports. Default 5,000.
    pub lookup_peers_max: usize,
    /// A lookup whose k closest nodes are as close as this by chance looks around them, for those that
    /// they may have been put in front of. Default 0.0001: one honest lookup in 10,000 asks in vain.
    pub surrounded_chance: f64,
    /// Nodes around that such a lookup asks, too. Default 32: all that four lookups find.
    pub surrounded_nodes_max: usize,
    /// Nodes that gave samples and are not asked for others before their interval is over (BEP 51).
    /// Default 65,536: as many in a lookup of samples; those beyond are asked for nodes only.
    pub sampled_max: usize,
    /// How long a lookup waits for a first answer while no contact is usable. Default 15 s: three
    /// rounds of bootstrap.
    pub lookup_wait_ms: u64,

    /// A query of a lookup is late, and another node is asked in its place, after this percentile of
    /// the last 64 round trips and an eighth. Default 90: one answer in ten comes later.
    pub late_percent: u32,
    /// ... and the lookup can end without it after this percentile and an eighth. Default 98: with 90 it
    /// ends a sixth sooner where a quarter of the nodes are dead, and where none is misses one of the
    /// closest in ten lookups.
    pub over_percent: u32,
    /// It is not late before this. Default 30 ms: schedulers take as long.
    pub late_min_ms: u64,
    /// ... and late after this, also while no round trip was measured. Default 1 s (libtorrent).
    pub late_max_ms: u64,
    /// A query without answer has failed. Default 4 s; mainline 2 s, libtorrent 15 s.
    pub hard_timeout_ms: u64,

    /// A contact stays good this long after it was heard. BEP 5, "Routing Table": 15 min.
    pub contact_good_secs: u32,
    /// Failures in a row that make a contact bad. BEP 5, "Routing Table": "multiple"; 2.
    pub contact_fails_max: u8,
    /// A bucket that nobody changed for so long is refreshed. BEP 5, "Routing Table": 15 min.
    pub bucket_refresh_secs: u32,
    /// Contacts in a table's replacement cache, over all buckets. Default 64: eight buckets' worth.
    pub replacements_max: usize,
    /// Contacts of one /24 (v6: /64) in a bucket; Global addresses only. Default 1 (libtorrent).
    pub bucket_subnet_max: usize,
    /// Refuse Global contacts whose id does not fit their address (BEP 42). Default false: such
    /// contacts only give way to those that fit.
    pub enforce_ids: bool,
    /// Networks (/24, v6 /48) that must have told us an address before it is believed, two of three
    /// of them the same. Default 25 (libtorrent, ip_voter.cpp).
    pub votes_min: usize,
    /// Networks whose latest word counts, for each socket. Default 64: 4 KiB.
    pub votes_max: usize,
    /// So many queries in a row that no contact answers by one socket, while another of its family gets
    /// answers, mean that its link is down: no contact is blamed, and lookups go by others (BEP 45,
    /// "Determining Connectivity"). Only contacts count that answered before. Default 16: by chance that
    /// needs more dead contacts at once than churn brings; the next round of maintenance would see it.
    pub link_silent_max: u32,
    /// Nodes that queried us and are being verified at once. Default 64.
    pub verifying_max: usize,
    /// Time between two rounds of maintenance. Default 60 s.
    pub maintenance_ms: u64,
    /// Pings a round of maintenance; more rounds follow each second. Default 8.
    pub maintenance_pings_max: usize,

    /// The first pause before the bootstrap contacts are asked again; it doubles. Default 1 s.
    pub bootstrap_retry_ms: u64,
    /// The longest such pause. Default 60 s.
    pub bootstrap_retry_max_ms: u64,
    /// Bootstrap contacts that are remembered. Default 64.
    pub bootstrap_contacts_max: usize,
    /// The first pause after which a node that has joined looks for its own id again; it doubles up
    /// to `bucket_refresh_secs`. Default 1 s: an overlay that starts at once is whole after some.
    pub neighbours_retry_ms: u64,

    /// How long a token secret is used; tokens are valid for one to two such times. BEP 5,
    /// "get_peers": 5 min, accepted up to 10.
    pub token_secs: u64,
    /// A token that another node gave and that is longer is not kept. Default 128 bytes; others
    /// send 4 to 20.
    pub token_bytes_max: usize,
    /// Torrents in the peer store. Default 4,096; libtorrent 2,000, jech's dht 16,384.
    pub store_torrents_max: usize,
    /// Peers of one torrent in the store. Default 500 (libtorrent).
    pub store_peers_per_torrent_max: usize,
    /// Peers in the store. Default 100,000: 1.2 MB of v4 peers.
    pub store_peers_max: usize,
    /// Peers of one IP address, or of one Global v6 /64, in the store. Default 2,000.
    pub store_peers_per_ip_max: u32,
    /// Peers of one Global /24 (v6: /48) in the store. Default 5,000: a twentieth of it.
    pub store_peers_per_prefix_max: u32,
    /// Peers of one IP address, or of one Global v6 /64, in one torrent. Default 8: some hosts of
    /// one household.
    pub store_ports_per_ip_max: usize,
    /// An announced peer is forgotten after this. Default 45 min (libtorrent).
    pub store_peer_secs: u32,
    /// Items in the store (BEP 44). Default 10,000; mainline 2,000, libtorrent 1,400.
    pub store_items_max: usize,
    /// Bytes of their values. Default 4,000,000.
    pub store_item_bytes_max: usize,
    /// Items that one IP address, or one Global v6 /64, stored. Default 200: a fiftieth.
    pub store_items_per_ip_max: u32,
    /// Items that one Global /24 (v6: /48) stored. Default 500: a twentieth.
    pub store_items_per_prefix_max: u32,
    /// An item is forgotten after this. BEP 44, "Expiration": 2 h.
    pub store_item_secs: u32,
    /// Info-hashes in an answer to `sample_infohashes`. Default 20 (libtorrent): with eight nodes
    /// they fit into what a stranger may get.
    pub samples_max: usize,
    /// How long that answer stays the same. BEP 51, "Sampling RPC": at most 21,600 s, the default.
    pub sample_interval_secs: u32,
    /// Bytes of a reply. BEP 32, "Maximum packet size": 1,024.
    pub reply_bytes_max: usize,
    /// A reply to an address that did not prove to receive what is sent to it has at most this many
    /// times the bytes of the query: what a forged source could turn against a victim. Default 10;
    /// libtorrent's largest was measured at 9.9, that of bittorrent-dht at 253.
    pub reply_factor_max: usize,
    /// Bytes of any datagram. Default 1,400: what passes tunnels in one piece.
    pub datagram_bytes_max: usize,

    /// Answers a second to one Global address (v6: /64), to its /24 (/56) and to its /16 (/48).
    /// Default 40, 160, 640; libtorrent bans an address above 5. An answer takes its share of a
    /// second of the source's time, and so does each byte that it may have. `u32::MAX`: no bound.
    pub quota_answers: [u32; 3],
    /// Bytes of answers a second to the same. Default 40,000, 160,000 and 640,000: with the above, 20,
    /// 80 and 320 of the largest answers.
    pub quota_bytes: [u32; 3],
    /// Bytes a second of items to strangers of the same, where they are larger than what a stranger's
    /// query may bring otherwise. Default 4,000, 16,000 and 64,000: three, twelve and fifty of the
    /// largest.
    pub quota_item_bytes: [u32; 3],
    /// How much of these may come at once. Default 5,000 ms' worth; libtorrent counts over 10 s.
    pub quota_burst_ms: u32,
    /// Counters a row, rounded up to a power of two: two rows for each width, for strangers and for
    /// verified addresses. There are fewer while fewer will do. Default 512: at most 51 KiB, and room for
    /// 10,000 answers a second before strangers are refused for each other's queries.
    pub quota_counters: usize,
    /// An address that answered us or showed a token is verified for this long: forged sources
    /// cannot use up what it may ask. Default 600 s, as long as a token is valid.
    pub verified_secs: u32,
    /// Verified addresses (v6: /64) that are remembered, of one /24 (/48) at most 16. Default 4,096:
    /// at most 32 KiB.
    pub verified_max: usize,
    /// Bytes of answers a second to all Global addresses, half of them for verified ones only.
    /// Default 1,000,000: 3,000 answers; libtorrent has 8,000 bytes. `u32::MAX`: no bound.
    pub answer_bytes_per_sec: u32,
    /// How much of these may come at once. Default 3,000 ms' worth (libtorrent).
    pub answer_burst_ms: u32,

    /// Queries a second that the node sends to Global addresses on its own behalf; the rest waits
    /// for its turn. Default 500: a hundred lookups of 15 queries each within three seconds;
    /// anacrolix/dht and rqbit have 250. Fewer spare the line, and make many lookups at once slower.
    /// `u32::MAX`, here and below: no bound.
    pub queries_per_sec: u32,
    /// Bytes of these a second. Default 100,000: 200 bytes a query.
    pub query_bytes_per_sec: u32,
    /// Of these, queries a second to addresses that none went to within `flow_secs`. Default 100:
    /// 3,000 flows at a time, of the 8,192 that a home router may remember; it breaks down at 273 a
    /// second. A node on a host without such a router may have many more.
    pub flows_per_sec: u32,
    /// How much of these three may come at once. Default 10,000 ms' worth: 1,000 flows, about 60
    /// lookups that start together without waiting.
    pub query_burst_ms: u32,
    /// How long a router remembers a flow. Default 30 s, the least that is usual for UDP.
    pub flow_secs: u32,
    /// Flows that are remembered, so that they do not count as new. Default 8,192: at most 64
    /// KiB.
    pub flows_remembered_max: usize,
    /// Queries that wait for their turn; those beyond fail at once. Default 4,096: 40 s' worth of
    /// flows, after which a lookup has no use for them.
    pub queries_held_max: usize,
    /// Datagrams that may wait to be polled; while there are as many, queries are dropped. Default
    /// 1,024: a caller that polls after each input, or some dozens, never has as many.
    pub out_max: usize,
}

const DEFAULTS: Config = Config {
    sockets: Vec::new(),
    id: None,
    external_ip: None,
    version: Some(*b"tk\0\x01"),
    read_only: false,
    k: 8,
    wide_buckets: 6,
    alpha: 4,
    lookup_spare: 2,
    lookup_more_max: 16,
    lookup_paths: 0,
    lookup_paths_items: 4,
    lookup_candidates_max: 100,
    reply_nodes_max: 32,
    lookup_peers_max: 5_000,
    surrounded_chance: 0.0001,
    surrounded_nodes_max: 32,
    sampled_max: 65_536,
    lookup_wait_ms: 15_000,
    late_percent: 90,
    over_percent: 98,
    late_min_ms: 30,
    late_max_ms: 1_000,
    hard_timeout_ms: 4_000,
    contact_good_secs: 15 * 60,
    contact_fails_max: 2,
    bucket_refresh_secs: 15 * 60,
    replacements_max: 64,
    bucket_subnet_max: 1,
    enforce_ids: false,
    votes_min: 25,
    votes_max: 64,
    link_silent_max: 16,
    verifying_max: 64,
    maintenance_ms: 60_000,
    maintenance_pings_max: 8,
    bootstrap_retry_ms: 1_000,
    bootstrap_retry_max_ms: 60_000,
    bootstrap_contacts_max: 64,
    neighbours_retry_ms: 1_000,
    token_secs: 300,
    token_bytes_max: 128,
    store_torrents_max: 4_096,
    store_peers_per_torrent_max: 500,
    store_peers_max: 100_000,
    store_peers_per_ip_max: 2_000,
    store_peers_per_prefix_max: 5_000,
    store_ports_per_ip_max: 8,
    store_peer_secs: 45 * 60,
    store_items_max: 10_000,
    store_item_bytes_max: 4_000_000,
    store_items_per_ip_max: 200,
    store_items_per_prefix_max: 500,
    store_item_secs: 2 * 3600,
    samples_max: 20,
    sample_interval_secs: 21_600,
    reply_bytes_max: 1_024,
    reply_factor_max: 10,
    datagram_bytes_max: 1_400,
    quota_answers: [40, 160, 640],
    quota_bytes: [40_000, 160_000, 640_000],
    quota_item_bytes: [4_000, 16_000, 64_000],
    quota_burst_ms: 5_000,
    quota_counters: 512,
    verified_secs: 600,
    verified_max: 4_096,
    answer_bytes_per_sec: 1_000_000,
    answer_burst_ms: 3_000,
    queries_per_sec: 500,
    query_bytes_per_sec: 100_000,
    flows_per_sec: 100,
    query_burst_ms: 10_000,
    flow_secs: 30,
    flows_remembered_max: 8_192,
    queries_held_max: 4_096,
    out_max: 1_024,
};

impl Config {
    /// The defaults, for a node with these sockets.
    pub fn new(sockets: Vec<SocketAddr>) -> Config {
        Config { sockets, ..DEFAULTS }
    }

    /// Answers as much as is asked, and asks as fast as it likes: to measure, and for networks without
    /// strangers and routers. All else stays bounded.
    pub fn unlimited(self) -> Config {
        Config {
            quota_answers: [u32::MAX; 3],
            quota_bytes: [u32::MAX; 3],
            quota_item_bytes: [u32::MAX; 3],
            answer_bytes_per_sec: u32::MAX,
            queries_per_sec: u32::MAX,
            query_bytes_per_sec: u32::MAX,
            flows_per_sec: u32::MAX,
            ..self
        }
    }

    /// Tables of contacts, replacements, networks, addresses and flows small enough for a node among thousands in one
    /// process, each of which hears from few.
    pub fn among_thousands(self) -> Config {
        Config {
            wide_buckets: 3,
            replacements_max: 16,
            quota_counters: 32,
            verified_max: 128,
            flows_remembered_max: 256,
            ..self
        }
    }

    pub(crate) fn hard_timeout(&self) -> Duration {
        Duration::from_millis(self.hard_timeout_ms)
    }
}

/// A [`Config`] that many nodes have in common, but for their sockets, ids and addresses: those are each
/// one's own. Nobody can change it any more, so it is a value and no way for one node to reach another.
#[derive(Clone, Debug)]
pub struct SharedConfig(Arc<Common>);

/// A config and what follows from it.
#[derive(Debug)]
pub(crate) struct Common {
    config: Config,
    /// Of the queries of others, and of what strangers are told of items.
    pub(crate) costs: Costs,
    pub(crate) item_costs: Costs,
    /// Of either half of the answers.
    pub(crate) answers: Pace,
    pub(crate) queries: Pace,
    pub(crate) query_bytes: Pace,
    pub(crate) flows: Pace,
    /// How lookups go on, if not as by the rule that ships.
    pub(crate) lookups: Option<Arc<dyn LookupPolicy>>,
}

impl SharedConfig {
    /// What is shared of `config`: all but its sockets, id and external address.
    pub fn new(config: Config) -> SharedConfig {
        SharedConfig::made(config, None)
    }

    /// ... and lookups go on as `policy` says.
    pub fn with_lookups(config: Config, policy: Arc<dyn LookupPolicy>) -> SharedConfig {
        SharedConfig::made(config, Some(policy))
    }

    fn made(config: Config, lookups: Option<Arc<dyn LookupPolicy>>) -> SharedConfig {
        let half = match config.answer_bytes_per_sec {
            u32::MAX => u32::MAX,
            rate => rate / 2,
        };
        SharedConfig(Arc::new(Common {
            costs: Costs::of_answers(&config),
            item_costs: Costs::of_items(&config),
            answers: Pace::new(half, config.answer_burst_ms),
            queries: Pace::new(config.queries_per_sec, config.query_burst_ms),
            query_bytes: Pace::new(config.query_bytes_per_sec, config.query_burst_ms),
            flows: Pace::new(config.flows_per_sec, config.query_burst_ms),
            lookups,
            config: Config { sockets: Vec::new(), id: None, external_ip: None, ..config },
        }))
    }

    pub(crate) fn common(&self) -> &Common {
        &self.0
    }
}

impl Deref for SharedConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0.config
    }
}

impl From<&Config> for SharedConfig {
    fn from(config: &Config) -> SharedConfig {
        SharedConfig::new(config.clone())
    }
}

impl From<&SharedConfig> for SharedConfig {
    fn from(shared: &SharedConfig) -> SharedConfig {
        shared.clone()
    }
}
