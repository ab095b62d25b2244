//! Swarms whose disks are slow, stall, fail, and lose what was not synced.

use std::sync::Arc;
use std::time::Duration;

use client::Failure;
use client::disk::DiskErrorKind;
use sim::{
    Access, Content, ContentHasher, Cut, DiskConfig, HostId, LinkConfig, PeerCommand, PeerHost,
    Run, World,
};
use wire::metainfo::{Info, build_info};
use wire::rng::{Rng, child_seed, seed_from_u64};
use wire::time::Time;

const PEERS: u32 = 8;
const PIECES: u32 = 60;
const PIECE_LENGTH: u32 = 64 << 10;

/// A torrent of one file, whose last piece is short and ends within a sector.
fn torrent() -> (Arc<Info>, Content) {
    let total = u64::from(PIECES) * u64::from(PIECE_LENGTH) - 1_234;
    let content: Content = [Run { tag: 1, offset: 0, len: total }].into_iter().collect();
    let hash = |n: u32| {
        let mut hasher = ContentHasher::default();
        let len = u64::from(PIECE_LENGTH);
        hasher.update(&content.slice(u64::from(n) * len, len));
        hasher.digest()
    };
    let hashes: Vec<[u8; 20]> = (0..PIECES).map(hash).collect();
    let raw = build_info("simulated", &[(Vec::new(), total)], PIECE_LENGTH, &hashes);
    (Arc::new(Info::parse(&raw).unwrap()), content)
}

struct Swarm {
    world: World<PeerHost>,
    info: Arc<Info>,
    content: Content,
    rng: Rng,
    /// Crashes of programs that had some and not all.
    midway: u32,
}

impl Swarm {
    /// A seed and leeches with such disks; they start at 10 s.
    fn new(seed: u64, disk: impl Fn(u32) -> DiskConfig) -> Swarm {
        let (info, content) = torrent();
        let seed = seed_from_u64(seed);
        let mut world: World<PeerHost> = World::new(LinkConfig::default(), &seed);
        let rate = 200_000;
        for n in 0..PEERS {
            let addr = world.addresses().addr(HostId(n));
            let child = child_seed(&seed, "host", n.into());
            let host = PeerHost::new(addr, &child, client::Config::default())
                .with_disk(disk(n), &child)
                .with_truth(info.clone(), content.clone());
            let id = world.add_host(host);
            world.set_access(
                id,
                Access { up_bytes_per_second: rate, down_bytes_per_second: rate, queue_ms: 200 },
            );
            let start = Time::from_secs(10);
            if n == 0 {
                let seed = PeerCommand::Seed(Box::new((*info).clone()), content.clone());
                world.command(Time::from_secs(5), id, seed);
            } else {
                let entry = world.addresses().addr(HostId(0));
                world.command(Time::ZERO, id, PeerCommand::Bootstrap(entry));
                world.command(start, id, PeerCommand::Fetch(info.info_hash));
            }
        }
        let rng = Rng::new(&child_seed(&seed, "crashes", 0));
        Swarm { world, info, content, rng, midway: 0 }
    }

    fn leeches(&self) -> impl Iterator<Item = (HostId, &PeerHost)> {
        self.world.hosts().skip(1).map(|(id, host, _)| (id, host))
    }

    fn check(&self) {
        for (id, host, _) in self.world.hosts() {
            if let Err(fault) = host.check() {
                panic!("{id:?} at {}: {fault}", self.world.now());
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        self.world.run_until(self.world.now() + span);
    }

    fn is_done(host: &PeerHost) -> bool {
        host.milestones().complete.is_some()
    }

    /// Until all leeches have all that `who` names.
    fn finish(&mut self, who: impl Fn(HostId) -> bool) {
        let end = self.world.now() + Duration::from_secs(1_800);
        while self.leeches().any(|(id, host)| who(id) && !Swarm::is_done(host)) {
            assert!(self.world.now() < end, "not done in time: {:?}", self.states());
            self.pass(Duration::from_secs(1));
        }
        for (id, host) in self.leeches().filter(|(id, _)| who(*id)) {
            let there = host.disk().content(&self.info.files[0].path);
            assert_eq!(there.as_ref(), Some(&self.content), "{id:?}");
        }
        self.check();
    }

    fn states(&self) -> Vec<(u32, Option<u32>, Option<Failure>)> {
        let failure = |host: &PeerHost| host.stats(self.world.now()).and_then(|s| s.failure);
        let state = |(id, host): (HostId, &PeerHost)| {
            (id.0, host.have().map(|have| have.count()), failure(host))
        };
        self.leeches().map(state).collect()
    }

    /// Ends a leech's program, and starts the next a little later.
    fn crash(&mut self, id: HostId, cut: Cut) {
        self.check();
        let seed = child_seed(&seed_from_u64(self.rng.u64()), "crash", id.0.into());
        let host = self.world.host(id);
        if !Swarm::is_done(host) && host.have().is_some_and(|have| have.count() > 0) {
            self.midway += 1;
        }
        let next = host.restarted(cut, &seed);
        self.world.restart_host(id, next);
        self.check();
        let now = self.world.now();
        let entry = self.world.addresses().addr(HostId(0));
        self.world.command(now, id, PeerCommand::Bootstrap(entry));
        let at = now + Duration::from_secs(2);
        self.world.command(at, id, PeerCommand::Fetch(self.info.info_hash));
    }
}

fn slow() -> DiskConfig {
    DiskConfig {
        bytes_per_second: Some(2_000_000),
        hash_bytes_per_second: Some(5_000_000),
        ..DiskConfig::memory_card()
    }
}

#[test]
fn with_slow_disks_that_stall_all_finish() {
    for seed in 0..3 {
        let mut swarm = Swarm::new(seed, |n| match n % 3 {
            0 => DiskConfig::hard_drive(),
            1 => slow(),
            _ => DiskConfig { stall_every_ms: 5_000, stall_ms: 3_000, ..slow() },
        });
        swarm.finish(|_| true);
    }
}

#[test]
fn a_disk_that_takes_no_time_and_one_that_is_looked_at_change_nothing() {
    let trace = |seed| {
        let mut swarm = Swarm::new(seed, |_| DiskConfig::default());
        swarm.finish(|_| true);
        swarm.world.trace_hash()
    };
    assert_eq!(trace(1), trace(1));
}

#[test]
fn a_disk_that_fails_stops_its_torrent_with_the_systems_words() {
    let mut words = Vec::new();
    for seed in 0..6 {
        let faults = |n| match n {
            1 => DiskConfig { io_error: 0.03, ..slow() },
            2 => DiskConfig { full: 0.05, ..DiskConfig::default() },
            _ => DiskConfig::default(),
        };
        let mut swarm = Swarm::new(seed, faults);
        swarm.finish(|id| id.0 > 2);
        for (id, _, failure) in swarm.states() {
            let Some(Failure::Disk(error)) = failure else { continue };
            assert!(id <= 2, "{id}: {error}");
            assert_eq!(error.kind == DiskErrorKind::Full, id == 2, "{error}");
            words.push(error.message);
        }
    }
    let has = |part: &str| words.iter().any(|words| words.contains(part));
    assert!(has("No space left on device") && has("Input/output error"), "{words:?}");
}

/// Half of the leeches crash, some several times; at the end all have all. Gives how many crashes
/// came in the middle of a download.
fn crash_run(seed: u64) -> u32 {
    let disk = |n: u32| if n.is_multiple_of(2) { slow() } else { DiskConfig::default() };
    let mut swarm = Swarm::new(seed, disk);
    swarm.world.run_until(Time::from_secs(10));
    for _ in 0..16 {
        let wait = Duration::from_millis(u64::from(100 + swarm.rng.below(6_000)));
        swarm.pass(wait);
        let id = HostId(1 + swarm.rng.below(PEERS / 2));
        let cut = if swarm.rng.below(3) == 0 { Cut::Kill } else { Cut::Power };
        swarm.crash(id, cut);
    }
    swarm.finish(|_| true);
    swarm.midway
}

#[test]
fn half_of_a_swarm_crashes_and_all_finish_with_nothing_claimed_falsely() {
    let midway: u32 = (0..30).map(crash_run).sum();
    assert!(midway > 200, "{midway}");
}

#[test]
fn a_crash_replays() {
    let trace = || {
        let mut swarm = Swarm::new(5, |_| slow());
        swarm.world.run_until(Time::from_secs(20));
        swarm.crash(HostId(1), Cut::Power);
        swarm.pass(Duration::from_secs(20));
        swarm.world.trace_hash()
    };
    assert_eq!(trace(), trace());
}
