//! What lookups bring besides nodes and peers: items, counts of a swarm, samples of torrents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use wire::krpc::{Filters, ItemReply, ReplyBody, Samples};
use wire::scrape::BloomFilter;
use wire::time::Time;

use crate::item::{Item, ItemKey};
use crate::node::Node;
use crate::search::Search;
use crate::transactions::Transaction;
use crate::{Event, LookupId, NodeInfo};

/// What a lookup has found.
#[derive(Clone)]
pub(crate) enum Finds {
    Nothing,
    Item(Box<ItemFinds>),
    Scrape(Box<ScrapeFinds>),
}

/// An item, and who has one.
#[derive(Clone)]
pub(crate) struct ItemFinds {
    key: ItemKey,
    put: Option<Item>,
    best: Option<Item>,
    /// Who has a mutable item, by its sequence number.
    holders: BTreeMap<SocketAddr, i64>,
}

/// The united filters of those who counted.
#[derive(Clone, Default)]
pub(crate) struct ScrapeFinds {
    seeds: BloomFilter,
    peers: BloomFilter,
}

impl Finds {
    pub(crate) fn item(key: ItemKey, put: Option<Item>) -> Finds {
        Finds::Item(Box::new(ItemFinds { key, put, best: None, holders: BTreeMap::new() }))
    }

    pub(crate) fn item_to_put(&self) -> Option<&Item> {
        match self {
            Finds::Item(finds) => finds.put.as_ref(),
            _ => None,
        }
    }

    /// The sequence number of the mutable item that this node said it has.
    pub(crate) fn seq_of(&self, addr: &SocketAddr) -> Option<i64> {
        match self {
            Finds::Item(finds) => finds.holders.get(addr).copied(),
            _ => None,
        }
    }

    /// Whether any node has a mutable item with another sequence number than `cas`.
    pub(crate) fn is_beyond(&self, cas: i64) -> bool {
        matches!(self, Finds::Item(finds) if finds.holders.values().any(|seq| *seq != cas))
    }
}

/// Nodes that gave samples, and when they give others (BEP 51: not to be asked before).
#[derive(Clone, Default)]
pub(crate) struct Sampled {
    until: BTreeMap<SocketAddr, Time>,
    /// The same, by time.
    order: BTreeSet<(Time, SocketAddr)>,
}

impl Sampled {
    /// Whether samples may be asked of `addr`, and its answer be remembered.
    pub(crate) fn may_ask(&mut self, now: Time, addr: &SocketAddr, max: usize) -> bool {
        while let Some(&(until, first)) = self.order.first().filter(|(until, _)| *until <= now) {
            self.order.remove(&(until, first));
            self.until.remove(&first);
        }
        !self.until.contains_key(addr) && self.until.len() < max
    }

    fn answered(&mut self, until: Time, addr: SocketAddr) {
        if let Some(before) = self.until.insert(addr, until) {
            self.order.remove(&(before, addr));
        }
        self.order.insert((until, addr));
    }
}

/// Info-hashes that are taken of one reply: three times what fits into one that needs no fragments.
const SAMPLES_TAKEN: usize = 200;
/// A filter of more addresses than this is full, or made up (BEP 33: at most 6,000).
const ADDRESSES_MAX: f64 = 6_500.0;

impl Node {
    /// A node answered a `get`.
    pub(crate) fn on_item(&mut self, id: LookupId, from: &Transaction, body: &ReplyBody<'_>) {
        let Some(search) = self.searches.get_mut(&id) else { return };
        let Finds::Item(finds) = &mut search.finds else { return };
        let reply = ItemReply::parse(body);
        let item = match Item::from_reply(&reply, &finds.key) {
            Some(Ok(item)) => Some(item),
            Some(Err(_)) => {
                self.stats.bad_items_found += 1;
                return;
            }
            None => None,
        };
        let seq = item.as_ref().and_then(Item::seq).or(reply.seq);
        if let (ItemKey::Mutable { .. }, Some(seq)) = (&finds.key, seq) {
            finds.holders.insert(from.to, seq);
        }
        if let Some(item) = item
            && found(search, &item)
        {
            self.events.push_back(Event::ItemFound { lookup: id, item });
        }
    }

    /// The item that is looked for is in our own store.
    pub(crate) fn own_item(&mut self, id: LookupId, search: &mut Search) {
        let Some(item) = self.items.get(self.now, &search.target).cloned() else { return };
        if matches!(&search.finds, Finds::Item(finds) if finds.key == item.key())
            && found(search, &item)
        {
            self.events.push_back(Event::ItemFound { lookup: id, item });
        }
    }

    /// A node that was asked to scrape answered. Returns whether it counted.
    pub(crate) fn on_filters(&mut self, id: LookupId, body: &ReplyBody<'_>) -> bool {
        let Some(filters) = Filters::parse(body) else { return false };
        let Some(search) = self.searches.get_mut(&id) else { return false };
        let Finds::Scrape(finds) = &mut search.finds else { return false };
        let (seeds, peers) = (BloomFilter(*filters.seeds), BloomFilter(*filters.peers));
        if seeds.estimate().max(peers.estimate()) > ADDRESSES_MAX {
            self.stats.bad_filters_found += 1;
            return false;
        }
        finds.seeds.unite(&seeds.0);
        finds.peers.unite(&peers.0);
        true
    }

    /// A scrape is done. Peers of nodes that did not count are counted as such, unless they are known
    /// as seeds (BEP 33, "Handling legacy responses").
    pub(crate) fn scraped(&mut self, lookup: LookupId, search: &mut Search) {
        let (info_hash, mut nodes) = (search.target, search.holders);
        let peers: Vec<_> = search.peers().map(|peer| peer.ip()).collect();
        let own = self.store.find(&info_hash).map(|at| self.store.scrape(self.now, at));
        let Finds::Scrape(finds) = &mut search.finds else { return };
        if let Some((seeds, peers)) = &own {
            finds.seeds.unite(&seeds.0);
            finds.peers.unite(&peers.0);
            nodes += 1;
        }
        for ip in peers {
            if !finds.seeds.may_contain(ip) {
                finds.peers.insert(ip);
            }
        }
        let [seeds, peers] = [&finds.seeds, &finds.peers].map(|f| libm::round(f.estimate()) as u32);
        self.events.push_back(Event::Scraped { lookup, info_hash, nodes, seeds, peers });
    }

    /// Whether samples may be asked of `addr`.
    pub(crate) fn may_sample(&mut self, addr: &SocketAddr) -> bool {
        let (now, max) = (self.now, self.config.sampled_max);
        match &mut self.sampled {
            Some(sampled) => sampled.may_ask(now, addr, max),
            None => max > 0,
        }
    }

    /// A node gave samples, or it does not know what they are.
    pub(crate) fn on_samples(&mut self, lookup: LookupId, from: NodeInfo, body: &ReplyBody<'_>) {
        let Some(samples) = Samples::parse(body) else { return };
        let Some(search) = self.searches.get_mut(&lookup) else { return };
        search.holders += 1;
        let interval_secs = samples.interval_secs;
        let until = self.now + Duration::from_secs(u64::from(interval_secs));
        self.sampled.get_or_insert_default().answered(until, from.addr);
        let (num, info_hashes) = (samples.num, samples.info_hashes().take(SAMPLES_TAKEN).collect());
        self.events.push_back(Event::SamplesFound {
            lookup,
            from,
            num,
            interval_secs,
            info_hashes,
        });
    }
}

/// Keeps an item that was found; returns whether it is to be told: it is the first, or newer. Of an
/// immutable one there is no other.
fn found(search: &mut Search, item: &Item) -> bool {
    let (wanted, one) = (search.is_wanted(item), search.wants_one());
    let Finds::Item(finds) = &mut search.finds else { return false };
    let best = finds.best.as_ref();
    // Nodes with the newest are counted.
    if best.is_none_or(|best| best.seq() < item.seq()) {
        search.holders = 1;
        finds.best = Some(item.clone());
        search.satisfied = one && item.seq().is_none();
        return wanted;
    }
    search.holders += u32::from(best.is_some_and(|best| best == item));
    false
}
