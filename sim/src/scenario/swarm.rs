//! A swarm that forms by the DHT alone: one seed, and leeches that know an info-hash.

use std::time::Duration;

use client::Payload;
use wire::metainfo::{Info, build_info};
use wire::rng::{Rng, child_seed, seed_from_u64};
use wire::time::Time;

use crate::{
    Access, Content, ContentHasher, Counters, HostId, LinkConfig, PeerCommand, PeerHost, Run,
    Summary, TraceHash, World,
};

/// Time between two hosts that join the DHT.
const JOIN_EVERY: Duration = Duration::from_millis(100);
/// Time for the DHT to settle before the seed starts, and for the seed before the leeches do.
const SETTLE: Duration = Duration::from_secs(10);

/// The swarm.
#[derive(Clone, Debug)]
pub struct SwarmScenario {
    /// Peers, the seed among them; at least 2.
    pub peers: u32,
    /// Pieces of the torrent, at least 1.
    pub pieces: u32,
    /// Bytes of a piece.
    pub piece_length: u32,
    /// Everyone's line.
    pub access: Access,
    /// All leeches start within this time, spread evenly.
    pub arrival: Duration,
    /// Virtual time from the first leech's start after which the run is given up.
    pub limit: Duration,
    /// Names the run.
    pub seed: u64,
    /// The links.
    pub links: LinkConfig,
    /// Threads that share it; they change nothing but its time.
    pub workers: u32,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct SwarmReport {
    /// Peers that fetch.
    pub leeches: u32,
    /// Leeches to which the DHT gave a peer.
    pub found: u32,
    /// Leeches that have all, byte for byte.
    pub finished: u32,
    /// Seconds from a leech's start to its first peer by the DHT.
    pub first_peer_s: Summary,
    /// Seconds from a leech's start to its metadata.
    pub metadata_s: Summary,
    /// Seconds from a leech's start to its last piece.
    pub finish_s: Summary,
    /// Seconds that no protocol can beat: the seed's or all uplinks together, or a downlink.
    pub bound_s: f64,
    /// Seconds from the first leech's start to the last piece of the last.
    pub makespan_s: f64,
    /// Copies of the torrent that the seed sent.
    pub seed_copies: f64,
    /// Payload received for nothing, as a share of all.
    pub wasted_share: f64,
    /// Hops of the first lookups.
    pub hops: Summary,
    /// The world's counts.
    pub counters: Counters,
    /// Virtual time at the end.
    pub virtual_time: Time,
    /// The fingerprint of the run.
    pub trace_hash: TraceHash,
}

impl SwarmScenario {
    /// Runs it. `progress` is told of the share of leeches that have finished.
    pub fn run(&self, mut progress: impl FnMut(f64)) -> SwarmReport {
        let seed = seed_from_u64(self.seed);
        let mut rng = Rng::new(&child_seed(&seed, "scenario", 0));
        let (info, content) = self.torrent();
        let mut world: World<PeerHost> = World::shared(self.links.clone(), &seed, self.workers);
        for n in 0..self.peers {
            let addr = world.addresses().addr(HostId(n));
            let config = client::Config::default();
            let host = PeerHost::new(addr, &child_seed(&seed, "host", n.into()), config);
            let id = world.add_host(host);
            world.set_access(id, self.access);
            if n > 0 {
                let entry = world.addresses().addr(HostId(rng.below(n)));
                world.command(Time::ZERO + JOIN_EVERY * n, id, PeerCommand::Bootstrap(entry));
            }
        }
        let seed_at = Time::ZERO + JOIN_EVERY * self.peers + SETTLE;
        let leech_at = seed_at + SETTLE;
        let command = PeerCommand::Seed(Box::new(info.clone()), content.clone());
        world.command(seed_at, HostId(0), command);
        for n in 1..self.peers {
            let at = leech_at + self.arrival * (n - 1) / (self.peers - 1);
            world.command(at, HostId(n), PeerCommand::Fetch(info.info_hash));
        }
        let end = leech_at + self.limit;
        let leeches = self.peers - 1;
        while world.now() < end {
            world.run_until((world.now() + Duration::from_secs(1)).min(end));
            let done = leech_hosts(&world).filter(|host| host.milestones().complete.is_some());
            let done = done.count() as u32;
            progress(f64::from(done) / f64::from(leeches));
            if done == leeches {
                break;
            }
        }
        self.report(&world, &content, leech_at)
    }

    /// A torrent of one file.
    fn torrent(&self) -> (Info, Content) {
        let piece = u64::from(self.piece_length);
        let total = piece * u64::from(self.pieces);
        let content: Content = [Run { tag: 1, offset: 0, len: total }].into_iter().collect();
        let hash = |n: u32| {
            let mut hasher = ContentHasher::default();
            hasher.update(&content.slice(u64::from(n) * piece, piece));
            hasher.digest()
        };
        let hashes: Vec<[u8; 20]> = (0..self.pieces).map(hash).collect();
        let raw = build_info("simulated", &[(Vec::new(), total)], self.piece_length, &hashes);
        match Info::parse(&raw) {
            Ok(info) => (info, content),
            Err(error) => unreachable!("our own info dict: {error}"),
        }
    }

    /// Cohen's and Kumar-Ross's bound for equal peers: every byte leaves the seed once, goes
    /// through each downlink once, and through all uplinks as often as there are leeches.
    fn bound(&self) -> Duration {
        let total = u64::from(self.piece_length) * u64::from(self.pieces);
        let (up, down) =
            (self.access.up_bytes_per_second as f64, self.access.down_bytes_per_second as f64);
        let (total, peers) = (total as f64, f64::from(self.peers));
        let seconds = (total / up).max(total / down).max((peers - 1.0) * total / (peers * up));
        Duration::from_secs_f64(seconds)
    }

    fn report(&self, world: &World<PeerHost>, content: &Content, start: Time) -> SwarmReport {
        let now = world.now();
        let since_start =
            |f: fn(&PeerHost) -> Option<Time>| {
                Summary::of(leech_hosts(world).filter_map(|host| {
                    Some(f(host)?.since(host.milestones().started?).as_secs_f64())
                }))
            };
        let whole = |host: &&PeerHost| host.content().as_ref() == Some(content);
        let stats: Vec<_> = world.hosts().filter_map(|(_, host, _)| host.stats(now)).collect();
        let wasted: u64 = stats.iter().map(|s| s.wasted).sum();
        let downloaded: u64 = stats.iter().map(|s| s.downloaded).sum();
        let last = leech_hosts(world).filter_map(|host| host.milestones().complete).max();
        SwarmReport {
            leeches: self.peers - 1,
            found: leech_hosts(world).filter(|h| h.milestones().first_peer.is_some()).count()
                as u32,
            finished: leech_hosts(world).filter(whole).count() as u32,
            first_peer_s: since_start(|host| host.milestones().first_peer),
            metadata_s: since_start(|host| host.milestones().metadata),
            finish_s: since_start(|host| host.milestones().complete),
            bound_s: self.bound().as_secs_f64(),
            makespan_s: last.map_or(0.0, |at| at.since(start).as_secs_f64()),
            seed_copies: stats.first().map_or(0, |s| s.uploaded) as f64 / content.len() as f64,
            wasted_share: wasted as f64 / downloaded.max(1) as f64,
            hops: Summary::of(
                leech_hosts(world).filter_map(|h| h.milestones().hops).map(f64::from),
            ),
            counters: world.counters(),
            virtual_time: now,
            trace_hash: world.trace_hash(),
        }
    }
}

fn leech_hosts(world: &World<PeerHost>) -> impl Iterator<Item = &PeerHost> {
    world.hosts().skip(1).map(|(_, host, _)| host)
}
