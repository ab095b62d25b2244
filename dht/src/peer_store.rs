//! Peers that were announced to us (BEP 5, "announce_peer"), bounded in every direction.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use wire::InfoHash;
use wire::compact::Family;
use wire::map::IdMap;
use wire::rng::Rng;
use wire::scope::owner;
use wire::time::Time;

use crate::config::Config;
use crate::contact::{Address, V4, V6, secs};

/// A peer and when it was last announced, in seconds on the node's clock.
#[derive(Clone, Copy)]
struct Stored<A> {
    addr: A,
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
    /// In no order; `places` says where each torrent stands.
    swarms: Vec<Swarm>,
    places: IdMap<InfoHash>,
    per_owner: BTreeMap<IpAddr, u32>,
    peers: usize,
    bounds: Bounds,
}

/// The numbers of [`Config`] that the store needs.
#[derive(Clone, Copy)]
struct Bounds {
    torrents: usize,
    peers: usize,
    per_torrent: usize,
    per_ip: u32,
    ports: usize,
    peer_secs: u32,
}

impl PeerStore {
    /// An empty store; the key of its hashes comes from `rng`.
    pub(crate) fn new(config: &Config, rng: &mut Rng) -> PeerStore {
        PeerStore {
            swarms: Vec::new(),
            places: IdMap::new(rng),
            per_owner: BTreeMap::new(),
            peers: 0,
            bounds: Bounds {
                torrents: config.store_torrents_max,
                peers: config.store_peers_max,
                per_torrent: config.store_peers_per_torrent_max,
                per_ip: config.store_peers_per_ip_max,
                ports: config.store_ports_per_ip_max,
                peer_secs: config.store_peer_secs,
            },
        }
    }

    /// Torrents with at least one peer.
    pub(crate) fn torrents(&self) -> usize {
        self.swarms.len()
    }

    /// Peers of all torrents.
    pub(crate) fn peers(&self) -> usize {
        self.peers
    }

    fn place(&self, info_hash: &InfoHash) -> Option<usize> {
        self.places.get(info_hash).map(|at| at as usize)
    }

    /// Whether an announce for this torrent could be stored.
    pub(crate) fn has_room(&self, info_hash: &InfoHash) -> bool {
        self.peers < self.bounds.peers
            && match self.place(info_hash) {
                Some(at) => {
                    let swarm = &self.swarms[at];
                    swarm.v4.len() + swarm.v6.len() < self.bounds.per_torrent
                }
                None => self.swarms.len() < self.bounds.torrents,
            }
    }

    /// Stores a peer, or marks it as announced again; false if there is no room.
    pub(crate) fn announce(&mut self, now: Time, info_hash: &InfoHash, peer: SocketAddr) -> bool {
        if let Some(swarm) = self.place(info_hash).map(|at| &mut self.swarms[at])
            && (renew(&mut swarm.v4, now, &peer, self.bounds.ports)
                || renew(&mut swarm.v6, now, &peer, self.bounds.ports))
        {
            return true;
        }
        let owner = owner(peer.ip());
        let of_owner = self.per_owner.get(&owner).copied().unwrap_or(0);
        if !self.has_room(info_hash) || of_owner >= self.bounds.per_ip {
            return false;
        }
        let at = self.place(info_hash).unwrap_or_else(|| {
            let at = self.swarms.len();
            self.swarms.push(Swarm { info_hash: *info_hash, v4: Vec::new(), v6: Vec::new() });
            self.places.insert(*info_hash, at as u32);
            at
        });
        let swarm = &mut self.swarms[at];
        let announced_secs = secs(now);
        if let Some(addr) = V4::new(&peer) {
            swarm.v4.push(Stored { addr, announced_secs });
        } else if let Some(addr) = V6::new(&peer) {
            swarm.v6.push(Stored { addr, announced_secs });
        }
        self.per_owner.insert(owner, of_owner + 1);
        self.peers += 1;
        true
    }

    /// Appends up to `n` peers of the torrent and family, each set of them equally likely.
    pub(crate) fn sample(
        &mut self,
        now: Time,
        info_hash: &InfoHash,
        family: Family,
        n: usize,
        rng: &mut Rng,
        out: &mut Vec<SocketAddr>,
    ) {
        let Some(swarm) = self.place(info_hash).map(|at| &mut self.swarms[at]) else { return };
        let since = secs(now).saturating_sub(self.bounds.peer_secs);
        match family {
            Family::V4 => pick(&mut swarm.v4, since, n, rng, out),
            Family::V6 => pick(&mut swarm.v6, since, n, rng, out),
        }
    }

    /// Forgets peers that were not announced again in time.
    pub(crate) fn expire(&mut self, now: Time) {
        if secs(now) < self.bounds.peer_secs {
            return;
        }
        let since = secs(now) - self.bounds.peer_secs;
        let PeerStore { swarms, places, per_owner, peers, .. } = self;
        let mut gone = |ip: IpAddr| {
            *peers -= 1;
            let owner = owner(ip);
            if let Some(count) = per_owner.get_mut(&owner) {
                *count -= 1;
                if *count == 0 {
                    per_owner.remove(&owner);
                }
            }
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
    }
}

/// Marks `peer` as announced now, if it is there; or lets it replace the oldest peer of its owner,
/// if that has too many. False if it has to be added.
fn renew<A: Address>(
    swarm: &mut [Stored<A>],
    now: Time,
    peer: &SocketAddr,
    ports_max: usize,
) -> bool {
    let Some(addr) = A::new(peer) else { return false };
    let stored = Stored { addr, announced_secs: secs(now) };
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
        if swarm[i].announced_secs >= since {
            out.push(swarm[i].addr.get());
        }
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
        store.sample(now, &hash(1), family, n, &mut rng, &mut out);
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
            assert_eq!(store.announce(NOW, &hash(1), peer(n, 1)), n < 5, "{n}");
        }
        assert!(!store.has_room(&hash(1)));
        assert!(store.announce(NOW, &hash(1), peer(2, 1)));
        assert!(store.announce(NOW, &hash(2), peer(1, 1)));
        assert!(store.announce(NOW, &hash(3), peer(1, 1)));
        assert!(!store.has_room(&hash(4)));
        assert!(!store.announce(NOW, &hash(4), peer(1, 1)));
        assert!(store.announce(NOW, &hash(3), peer(2, 1)));
        assert!(store.announce(NOW, &hash(3), peer(3, 1)));
        assert!(!store.announce(NOW, &hash(3), peer(4, 1)));
        assert_eq!((store.torrents(), store.peers()), (3, 9));
    }

    #[test]
    fn one_address_cannot_fill_it() {
        let mut store = store(|c| c.store_peers_per_ip_max = 20);
        for port in 1..=100 {
            assert!(store.announce(NOW + port_secs(port), &hash(1), peer(7, port)));
        }
        assert_eq!(store.peers(), 8);
        let ports: Vec<_> = sample(&mut store, NOW + port_secs(100), Family::V4, 50)
            .iter()
            .map(SocketAddr::port)
            .collect();
        assert!(ports.iter().all(|&port| port > 92), "the latest stay: {ports:?}");
        let stored = (2..50).filter(|&n| store.announce(NOW, &hash(n), peer(7, 1))).count();
        assert_eq!(stored, 12);
        assert!(store.announce(NOW, &hash(60), peer(8, 1)));
    }

    fn port_secs(port: u16) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(port))
    }

    #[test]
    fn peers_expire_after_45_minutes_and_make_room() {
        let mut store = store(|c| c.store_peers_max = 2);
        let at = |min: u64| NOW + std::time::Duration::from_secs(min * 60);
        assert!(store.announce(at(0), &hash(1), peer(1, 1)));
        assert!(store.announce(at(0), &hash(1), peer(2, 1)));
        assert!(store.announce(at(30), &hash(1), peer(2, 1)));
        assert!(!store.announce(at(44), &hash(1), peer(3, 1)));
        assert_eq!(sample(&mut store, at(44), Family::V4, 9).len(), 2);
        assert_eq!(sample(&mut store, at(46), Family::V4, 9), [peer(2, 1)]);
        store.expire(at(46));
        assert_eq!((store.torrents(), store.peers(), store.per_owner.len()), (1, 1, 1));
        assert!(store.announce(at(46), &hash(1), peer(3, 1)));
        store.expire(at(300));
        assert_eq!((store.torrents(), store.peers(), store.per_owner.len()), (0, 0, 0));
    }

    #[test]
    fn samples_are_fair_and_of_one_family() {
        let mut store = store(|_| {});
        for n in 0..20 {
            store.announce(NOW, &hash(1), peer(n, 1));
        }
        store.announce(NOW, &hash(1), "[2001:db8::1]:5".parse().unwrap());
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
