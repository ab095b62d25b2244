//! Peers that were announced to us (BEP 5, "announce_peer"), bounded in every direction.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use wire::InfoHash;
use wire::compact::Family;
use wire::rng::Rng;
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
#[derive(Clone, Default)]
struct Swarm {
    v4: Vec<Stored<V4>>,
    v6: Vec<Stored<V6>>,
}

/// The peers of all torrents.
#[derive(Clone)]
pub(crate) struct PeerStore {
    swarms: BTreeMap<InfoHash, Swarm>,
    per_ip: BTreeMap<IpAddr, u32>,
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
    pub(crate) fn new(config: &Config) -> PeerStore {
        PeerStore {
            swarms: BTreeMap::new(),
            per_ip: BTreeMap::new(),
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

    /// Whether an announce for this torrent could be stored.
    pub(crate) fn has_room(&self, info_hash: &InfoHash) -> bool {
        self.peers < self.bounds.peers
            && match self.swarms.get(info_hash) {
                Some(swarm) => swarm.v4.len() + swarm.v6.len() < self.bounds.per_torrent,
                None => self.swarms.len() < self.bounds.torrents,
            }
    }

    /// Stores a peer, or marks it as announced again; false if there is no room.
    pub(crate) fn announce(&mut self, now: Time, info_hash: &InfoHash, peer: SocketAddr) -> bool {
        if let Some(swarm) = self.swarms.get_mut(info_hash)
            && (renew(&mut swarm.v4, now, &peer, self.bounds.ports)
                || renew(&mut swarm.v6, now, &peer, self.bounds.ports))
        {
            return true;
        }
        let of_ip = self.per_ip.get(&peer.ip()).copied().unwrap_or(0);
        if !self.has_room(info_hash) || of_ip >= self.bounds.per_ip {
            return false;
        }
        let swarm = self.swarms.entry(*info_hash).or_default();
        let announced_secs = secs(now);
        if let Some(addr) = V4::new(&peer) {
            swarm.v4.push(Stored { addr, announced_secs });
        } else if let Some(addr) = V6::new(&peer) {
            swarm.v6.push(Stored { addr, announced_secs });
        }
        self.per_ip.insert(peer.ip(), of_ip + 1);
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
        let Some(swarm) = self.swarms.get_mut(info_hash) else { return };
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
        let PeerStore { swarms, per_ip, peers, .. } = self;
        let mut gone = |ip: IpAddr| {
            *peers -= 1;
            if let Some(count) = per_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    per_ip.remove(&ip);
                }
            }
        };
        swarms.retain(|_, swarm| {
            drop_before(&mut swarm.v4, since, &mut gone);
            drop_before(&mut swarm.v6, since, &mut gone);
            !(swarm.v4.is_empty() && swarm.v6.is_empty())
        });
    }
}

/// Marks `peer` as announced now, if it is there; or lets it replace the oldest port of its IP
/// address, if that has too many. False if it has to be added.
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
    let of_ip = |s: &Stored<A>| s.addr.ip_bytes() == addr.ip_bytes();
    if swarm.iter().filter(|s| of_ip(s)).count() < ports_max {
        return false;
    }
    if let Some(oldest) = swarm.iter_mut().filter(|s| of_ip(s)).min_by_key(|s| s.announced_secs) {
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
