//! Peers that were announced to us (BEP 5, "announce_peer"; BEP 33 for seeds), bounded in every
//! direction.

use std::net::{IpAddr, SocketAddr};

use wire::InfoHash;
use wire::compact::Family;
use wire::map::IdMap;
use wire::rng::Rng;
use wire::scope::owner;
use wire::scrape::BloomFilter;
use wire::time::Time;

use crate::config::{Config, SharedConfig};
use crate::contact::{Address, V4, V6, secs};
use crate::room;
use crate::shares::Shares;

/// A peer and when it was last announced, in seconds on the node's clock.
#[derive(Clone, Copy)]
struct Stored<A> {
    addr: A,
    seed: bool,
    announced_secs: u32,
}

/// The peers of one torrent.
#[derive(Clone)]
struct Swarm {
    info_hash: InfoHash,
    v4: Vec<Stored<V4>>,
    v6: Vec<Stored<V6>>,
}

/// The peers of all torrents.
#[derive(Clone)]
pub(crate) struct PeerStore {
    config: SharedConfig,
    key: [u64; 2],
    /// None while there are none.
    kept: Option<Box<Kept>>,
}

#[derive(Clone)]
struct Kept {
    /// In no order; `places` says where each torrent stands.
    swarms: Vec<Swarm>,
    places: IdMap<InfoHash>,
    shares: Shares,
    peers: usize,
    sample: Sample,
}

/// Torrents that are told to whoever asks for samples, for a while the same (BEP 51).
#[derive(Clone, Default)]
struct Sample {
    /// 20 bytes each.
    info_hashes: Vec<u8>,
    drawn_secs: u32,
}

impl Kept {
    fn new(config: &Config, key: [u64; 2]) -> Kept {
        let rng = &mut crate::keyed::rng(key);
        let (ip_max, prefix_max) =
            (config.store_peers_per_ip_max, config.store_peers_per_prefix_max);
        Kept {
            swarms: Vec::new(),
            places: IdMap::new(rng),
            shares: Shares::new(ip_max, prefix_max, rng),
            peers: 0,
            sample: Sample::default(),
        }
    }
}

impl PeerStore {
    /// An empty store; the key of its hashes comes from `rng`.
    pub(crate) fn new(config: impl Into<SharedConfig>, rng: &mut Rng) -> PeerStore {
        PeerStore { config: config.into(), key: [rng.u64(), rng.u64()], kept: None }
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_with(|| Box::new(Kept::new(&self.config, self.key)))
    }

    /// Torrents with at least one peer.
    pub(crate) fn torrents(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.swarms.len())
    }

    /// Peers of all torrents.
    pub(crate) fn peers(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.peers)
    }

    /// Where a torrent stands, until something is stored or expires.
    pub(crate) fn find(&self, info_hash: &InfoHash) -> Option<usize> {
        self.kept.as_ref()?.places.get(info_hash).map(|at| at as usize)
    }

    /// Whether an announce could be stored, for the torrent that stands there or for a new one.
    pub(crate) fn has_room(&self, swarm: Option<usize>) -> bool {
        let torrents = self.config.store_torrents_max;
        let Some(kept) = &self.kept else { return self.config.store_peers_max > 0 && torrents > 0 };
        kept.peers < self.config.store_peers_max
            && match swarm {
                Some(at) => {
                    let swarm = &kept.swarms[at];
                    swarm.v4.len() + swarm.v6.len() < self.config.store_peers_per_torrent_max
                }
                None => kept.swarms.len() < torrents,
            }
    }

    /// Stores a peer, or marks it as announced again; false if there is no room.
    pub(crate) fn announce(
        &mut self,
        now: Time,
        info_hash: &InfoHash,
        peer: SocketAddr,
        seed: bool,
    ) -> bool {
        let announced_secs = secs(now);
        let (known, ports) = (self.find(info_hash), self.config.store_ports_per_ip_max);
        if let (Some(at), Some(kept)) = (known, &mut self.kept)
            && let swarm = &mut kept.swarms[at]
            && (renew(&mut swarm.v4, announced_secs, &peer, seed, ports)
                || renew(&mut swarm.v6, announced_secs, &peer, seed, ports))
        {
            return true;
        }
        if !self.has_room(known) {
            return false;
        }
        let kept = self.kept();
        if !kept.shares.take(peer.ip()) {
            return false;
        }
        let at = known.unwrap_or_else(|| {
            let at = kept.swarms.len();
            let swarm = Swarm { info_hash: *info_hash, v4: Vec::new(), v6: Vec::new() };
            room::push(&mut kept.swarms, swarm);
            kept.places.insert(*info_hash, at as u32);
            at
        });
        let swarm = &mut kept.swarms[at];
        if let Some(addr) = V4::new(&peer) {
            room::push(&mut swarm.v4, Stored { addr, seed, announced_secs });
        } else if let Some(addr) = V6::new(&peer) {
            room::push(&mut swarm.v6, Stored { addr, seed, announced_secs });
        }
        kept.peers += 1;
        true
    }

    /// The filters of the seeds and of the other peers of a torrent (BEP 33).
    pub(crate) fn scrape(&self, now: Time, swarm: usize) -> (BloomFilter, BloomFilter) {
        let since = secs(now).saturating_sub(self.config.store_peer_secs);
        let (mut seeds, mut peers) = (BloomFilter::default(), BloomFilter::default());
        if let Some(kept) = &self.kept {
            fill(&kept.swarms[swarm].v4, since, &mut seeds, &mut peers);
            fill(&kept.swarms[swarm].v6, since, &mut seeds, &mut peers);
        }
        (seeds, peers)
    }

    /// Info-hashes of torrents, 20 bytes each, and for how many seconds the answer stays the same
    /// (BEP 51).
    pub(crate) fn sample_torrents(&mut self, now: Time, rng: &mut Rng) -> (&[u8], u32) {
        let (samples, sample_secs) = (self.config.samples_max, self.config.sample_interval_secs);
        let Kept { sample, swarms, .. } = self.kept();
        let age = secs(now).saturating_sub(sample.drawn_secs);
        let (told, len) = (sample.info_hashes.len() / 20, swarms.len());
        // Fewer than there is room for are all, and change when there are more.
        if age >= sample_secs || told < samples {
            sample.drawn_secs = secs(now);
            sample.info_hashes.clear();
            for at in rng.choose(len, samples) {
                sample.info_hashes.extend_from_slice(swarms[at].info_hash.as_bytes());
            }
        }
        let age = secs(now).saturating_sub(sample.drawn_secs);
        (&sample.info_hashes, sample_secs.saturating_sub(age))
    }

    /// Appends up to `n` peers of the torrent and family, each set of them equally likely, and no
    /// seeds if `noseed`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn sample(
        &mut self,
        now: Time,
        swarm: usize,
        family: Family,
        n: usize,
        noseed: bool,
        rng: &mut Rng,
        out: &mut Vec<SocketAddr>,
    ) {
        let since = secs(now).saturating_sub(self.config.store_peer_secs);
        let Some(kept) = &mut self.kept else { return };
        let swarm = &mut kept.swarms[swarm];
        match family {
            Family::V4 => pick(&mut swarm.v4, since, n, noseed, rng, out),
            Family::V6 => pick(&mut swarm.v6, since, n, noseed, rng, out),
        }
    }

    /// Forgets peers that were not announced again in time.
    pub(crate) fn expire(&mut self, now: Time) {
        let Some(since) = secs(now).checked_sub(self.config.store_peer_secs) else { return };
        let Some(kept) = &mut self.kept else { return };
        let Kept { swarms, places, shares, peers, sample } = &mut **kept;
        let mut gone = |ip: IpAddr| {
            *peers -= 1;
            shares.give_back(ip);
        };
        for at in (0..swarms.len()).rev() {
            let swarm = &mut swarms[at];
            drop_before(&mut swarm.v4, since, &mut gone);
            drop_before(&mut swarm.v6, since, &mut gone);
            if swarm.v4.is_empty() && swarm.v6.is_empty() {
                places.remove(&swarm.info_hash);
                swarms.swap_remove(at);
                if let Some(moved) = swarms.get(at) {
                    places.insert(moved.info_hash, at as u32);
                }
            }
        }
        room::give_back(swarms);
        // A full sample is told for its whole interval.
        if swarms.is_empty() && sample.info_hashes.len() / 20 < self.config.samples_max {
            self.kept = None;
        }
    }
}

/// Marks `peer` as announced now, if it is there; or lets it replace the oldest peer of its owner,
/// if that has too many. False if it has to be added.
fn renew<A: Address>(
    swarm: &mut [Stored<A>],
    announced_secs: u32,
    peer: &SocketAddr,
    seed: bool,
    ports_max: usize,
) -> bool {
    let Some(addr) = A::new(peer) else { return false };
    let stored = Stored { addr, seed, announced_secs };
    if let Some(same) = swarm.iter_mut().find(|s| s.addr == addr) {
        *same = stored;
        return true;
    }
    let peer_owner = owner(peer.ip());
    let of_owner = |s: &&mut Stored<A>| owner(s.addr.get().ip()) == peer_owner;
    if swarm.iter_mut().filter(of_owner).count() < ports_max {
        return false;
    }
    if let Some(oldest) = swarm.iter_mut().filter(of_owner).min_by_key(|s| s.announced_secs) {
        *oldest = stored;
    }
    true
}

fn pick<A: Address>(
    swarm: &mut [Stored<A>],
    since: u32,
    n: usize,
    noseed: bool,
    rng: &mut Rng,
    out: &mut Vec<SocketAddr>,
) {
    let end = out.len() + n;
    for i in 0..swarm.len() {
        if out.len() == end {
            break;
        }
        // Shuffled in place as far as it is read: the order means nothing.
        if swarm.len() > n {
            swarm.swap(i, i + rng.index(swarm.len() - i));
        }
        if swarm[i].announced_secs >= since && !(noseed && swarm[i].seed) {
            out.push(swarm[i].addr.get());
        }
    }
}

/// Puts the addresses of seeds and of other peers into their filters.
fn fill<A: Address>(
    swarm: &[Stored<A>],
    since: u32,
    seeds: &mut BloomFilter,
    peers: &mut BloomFilter,
) {
    for stored in swarm.iter().filter(|s| s.announced_secs >= since) {
        let filter = if stored.seed { &mut *seeds } else { &mut *peers };
        filter.insert(stored.addr.get().ip());
    }
}

fn drop_before<A: Address>(swarm: &mut Vec<Stored<A>>, since: u32, gone: &mut impl FnMut(IpAddr)) {
    swarm.retain(|s| {
        let keep = s.announced_secs >= since;
        if !keep {
            gone(s.addr.get().ip());
        }
        keep
    });
    room::give_back(swarm);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;
    use wire::rng::seed_from_u64;

    const NOW: Time = Time::from_secs(100);

    fn store(change: impl FnOnce(&mut Config)) -> PeerStore {
        let mut config = Config::new(vec![]);
        change(&mut config);
        PeerStore::new(&config, &mut Rng::new(&[1; 32]))
    }

    fn peer(n: u32, port: u16) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), port))
    }

    fn hash(n: u8) -> InfoHash {
        Id([n; 20])
    }

    fn sample(store: &mut PeerStore, now: Time, family: Family, n: usize) -> Vec<SocketAddr> {
        let mut out = Vec::new();
        let mut rng = Rng::new(&seed_from_u64(now.as_micros()));
        let Some(swarm) = store.find(&hash(1)) else { return out };
        store.sample(now, swarm, family, n, false, &mut rng, &mut out);
        out
    }

    #[test]
    fn every_bound_holds_and_a_repeat_needs_no_room() {
        let mut store = store(|c| {
            c.store_torrents_max = 3;
            c.store_peers_per_torrent_max = 5;
            c.store_peers_max = 9;
        });
        for n in 0..9 {
            assert_eq!(store.announce(NOW, &hash(1), peer(n, 1), false), n < 5, "{n}");
        }
        assert!(!store.has_room(store.find(&hash(1))));
        assert!(store.announce(NOW, &hash(1), peer(2, 1), false));
        assert!(store.announce(NOW, &hash(2), peer(1, 1), false));
        assert!(store.announce(NOW, &hash(3), peer(1, 1), false));
        assert!(!store.has_room(None));
        assert!(!store.announce(NOW, &hash(4), peer(1, 1), false));
        assert!(store.announce(NOW, &hash(3), peer(2, 1), false));
        assert!(store.announce(NOW, &hash(3), peer(3, 1), false));
        assert!(!store.announce(NOW, &hash(3), peer(4, 1), false));
        assert_eq!((store.torrents(), store.peers()), (3, 9));
    }

    #[test]
    fn one_address_cannot_fill_it() {
        let mut store = store(|c| c.store_peers_per_ip_max = 20);
        for port in 1..=100 {
            assert!(store.announce(NOW + port_secs(port), &hash(1), peer(7, port), false));
        }
        assert_eq!(store.peers(), 8);
        let ports: Vec<_> = sample(&mut store, NOW + port_secs(100), Family::V4, 50)
            .iter()
            .map(SocketAddr::port)
            .collect();
        assert!(ports.iter().all(|&port| port > 92), "the latest stay: {ports:?}");
        let stored = (2..50).filter(|&n| store.announce(NOW, &hash(n), peer(7, 1), false)).count();
        assert_eq!(stored, 12);
        assert!(store.announce(NOW, &hash(60), peer(8, 1), false));
    }

    fn port_secs(port: u16) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(port))
    }

    #[test]
    fn peers_expire_after_45_minutes_and_make_room() {
        let mut store = store(|c| c.store_peers_max = 2);
        let at = |min: u64| NOW + std::time::Duration::from_secs(min * 60);
        assert!(store.announce(at(0), &hash(1), peer(1, 1), false));
        assert!(store.announce(at(0), &hash(1), peer(2, 1), false));
        assert!(store.announce(at(30), &hash(1), peer(2, 1), false));
        assert!(!store.announce(at(44), &hash(1), peer(3, 1), false));
        assert_eq!(sample(&mut store, at(44), Family::V4, 9).len(), 2);
        assert_eq!(sample(&mut store, at(46), Family::V4, 9), [peer(2, 1)]);
        store.expire(at(46));
        assert_eq!(
            (
                store.torrents(),
                store.peers(),
                store.kept.as_ref().map_or(0, |kept| kept.shares.owners())
            ),
            (1, 1, 1)
        );
        assert!(store.announce(at(46), &hash(1), peer(3, 1), false));
        store.expire(at(300));
        assert_eq!(
            (
                store.torrents(),
                store.peers(),
                store.kept.as_ref().map_or(0, |kept| kept.shares.owners())
            ),
            (0, 0, 0)
        );
    }

    #[test]
    fn samples_are_fair_and_of_one_family() {
        let mut store = store(|_| {});
        for n in 0..20 {
            store.announce(NOW, &hash(1), peer(n, 1), false);
        }
        store.announce(NOW, &hash(1), "[2001:db8::1]:5".parse().unwrap(), false);
        assert_eq!(sample(&mut store, NOW, Family::V6, 9).len(), 1);
        let mut seen = [0u32; 20];
        for round in 0..1000 {
            let now = NOW + std::time::Duration::from_millis(round);
            let mut peers = sample(&mut store, now, Family::V4, 5);
            assert_eq!(peers.len(), 5);
            peers.sort();
            peers.dedup();
            assert_eq!(peers.len(), 5, "no peer twice");
            for peer in peers {
                let std::net::IpAddr::V4(ip) = peer.ip() else { panic!() };
                seen[u32::from(ip) as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&n| (190..310).contains(&n)), "{seen:?}");
    }
}
