//! Counters, one for each kind of input that is dropped.

/// What a node counted since its start. All are numbers of datagrams unless they say otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Sent.
    pub sent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,

    /// Queries served: ping.
    pub queries_ping: u64,
    /// Queries served: find_node, and unknown methods with a target.
    pub queries_find_node: u64,
    /// Queries served: get_peers.
    pub queries_get_peers: u64,
    /// Queries served: announce_peer.
    pub queries_announce: u64,
    /// Queries served: get.
    pub queries_get: u64,
    /// Queries served: put.
    pub queries_put: u64,
    /// Queries served: sample_infohashes.
    pub queries_sample: u64,
    /// Queries refused with error 203 for what they say.
    pub queries_malformed: u64,
    /// Queries refused with error 204.
    pub queries_unknown: u64,
    /// Announces and puts refused for their token.
    pub bad_tokens: u64,
    /// Announces and puts refused because the store is full.
    pub store_full: u64,
    /// Puts refused for their size or signature.
    pub bad_items: u64,
    /// Puts refused for their sequence number, or `cas`.
    pub old_items: u64,
    /// Items not told because strangers of the network were told too many.
    pub items_withheld: u64,

    /// Lookups that looked around, for their closest nodes were closer than by chance.
    pub surrounded: u64,
    /// Queries sent.
    pub asked: u64,
    /// Replies to them.
    pub answered: u64,
    /// Errors in answer to them.
    pub errors: u64,
    /// Queries that got no answer in time.
    pub timeouts: u64,
    /// Answers that told us at which address we are seen.
    pub votes: u64,
    /// Queries that could not be sent.
    pub unreachable: u64,
    /// Bytes of the queries sent.
    pub asked_bytes: u64,
    /// Queries to addresses that no query went to lately: flows that a router has to remember.
    pub flows: u64,
    /// Queries that had to wait for their turn.
    pub queries_held: u64,
    /// Queries that were not sent because too many waited.
    pub queries_refused: u64,

    /// Dropped: from or by an address that cannot be.
    pub dropped_address: u64,
    /// Dropped: no bencode, or too large.
    pub dropped_bencode: u64,
    /// Dropped: no KRPC envelope.
    pub dropped_malformed: u64,
    /// Dropped: a transaction id of more than 64 bytes.
    pub dropped_long_tid: u64,
    /// Dropped: queries while read-only.
    pub dropped_read_only: u64,
    /// Dropped: queries while too many datagrams wait to be polled.
    pub dropped_busy: u64,
    /// Dropped: queries of a network that was answered too much.
    pub dropped_quota: u64,
    /// Dropped: queries while the budget for answers is used up.
    pub dropped_budget: u64,
    /// Dropped: queries from ports of services that answer whatever comes.
    pub dropped_port: u64,
    /// Dropped: answers that would be larger than the asker may get.
    pub dropped_large: u64,
    /// Dropped: queries with our own id.
    pub dropped_own_id: u64,
    /// Dropped: replies and errors that nobody asked for, or from another address.
    pub dropped_unsolicited: u64,
    /// Dropped: replies without a valid id.
    pub dropped_bad_reply: u64,
    /// Dropped: replies by another node than the one that was asked.
    pub dropped_wrong_id: u64,
    /// Nodes in replies that were not believed: bogus, our own, or local from afar.
    pub refused_nodes: u64,
    /// Peers in replies that were not believed.
    pub refused_peers: u64,
    /// Items in replies that are not what was looked for, or not signed by whom they should.
    pub bad_items_found: u64,
    /// Filters in replies that are too full to be true.
    pub bad_filters_found: u64,
}
