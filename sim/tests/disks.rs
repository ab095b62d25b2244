//! Swarms whose disks are slow, stall, fail, and lose what was not synced.

use std::sync::Arc;
use std::time::Duration;

use client::disk::DiskErrorKind;
use client::{Failure, storage};
use sim::{
    Access, Content, ContentHasher, Cut, DiskConfig, HostId, LinkConfig, PeerCommand, PeerHost,
    Run, World,
};
use wire::metainfo::{Info, build_info};
use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;

const PEERS: u32 = 8;
const PIECES: u32 = 60;
const PIECE_LENGTH: u32 = 64 << 10;

/// A torrent of so many bytes in these files; the last piece is short.
fn torrent(files: &[(Vec<String>, u64)], piece_length: u32) -> (Arc<Info>, Content) {
    let total = files.iter().map(|(_, len)| len).sum();
    let content: Content = [Run { tag: 1, offset: 0, len: total }].into_iter().collect();
    let len = u64::from(piece_length);
    let hash = |n: u64| {
        let mut hasher = ContentHasher::default();
        hasher.update(&content.slice(n * len, len));
        hasher.digest()
    };
    let hashes: Vec<[u8; 20]> = (0..total.div_ceil(len)).map(hash).collect();
    let raw = build_info("simulated", files, piece_length, &hashes);
    (Arc::new(Info::parse(&raw).expect("our own info dict")), content)
}

/// 60 pieces in one file, which ends within a sector.
fn one_file() -> (Arc<Info>, Content) {
    torrent(&[(Vec::new(), u64::from(PIECES) * u64::from(PIECE_LENGTH) - 1_234)], PIECE_LENGTH)
}

/// As much in files of all lengths, some of them empty and some in folders of their own.
fn many_files(rng: &mut Rng) -> (Arc<Info>, Content) {
    let mut left = u64::from(PIECES) * u64::from(PIECE_LENGTH) - 1_234;
    let mut files = Vec::new();
    while left > 0 {
        let len = match rng.below(4) {
            0 => u64::from(rng.below(3)),
            1 => u64::from(rng.below(9_000)),
            _ => u64::from(rng.below(400_000)),
        };
        let len = len.min(left);
        left -= len;
        let name = format!("file {}", files.len());
        files.push((
            match rng.below(3) {
                0 => vec![format!("folder {}", rng.below(5)), name],
                1 => vec![format!("folder {}", rng.below(5)), "inner".to_owned(), name],
                _ => vec![name],
            },
            len,
        ));
    }
    torrent(&files, PIECE_LENGTH)
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
        let child = |host: PeerHost, n, seed: &Seed, truth: &(Arc<Info>, Content)| {
            host.with_disk(disk(n), seed).with_truth(truth.0.clone(), truth.1.clone())
        };
        Swarm::of(one_file(), seed, child)
    }

    /// A seed and leeches, each as `made` makes it.
    fn of(
        torrent: (Arc<Info>, Content),
        seed: u64,
        made: impl Fn(PeerHost, u32, &Seed, &(Arc<Info>, Content)) -> PeerHost,
    ) -> Swarm {
        let seed = seed_from_u64(seed);
        let mut world: World<PeerHost> = World::new(LinkConfig::default(), &seed);
        let rate = 200_000;
        let access =
            Access { up_bytes_per_second: rate, down_bytes_per_second: rate, queue_ms: 200 };
        for n in 0..PEERS {
            let addr = world.addresses().addr(HostId(n));
            let child = child_seed(&seed, "host", n.into());
            let host = PeerHost::new(addr, &child, client::Config::default());
            let id = world.add_host(made(host, n, &child, &torrent));
            world.set_access(id, access);
            let (info, content) = &torrent;
            if n == 0 {
                let seed = PeerCommand::Seed(Box::new((**info).clone()), content.clone());
                world.command(Time::from_secs(5), id, seed);
            } else {
                let entry = world.addresses().addr(HostId(0));
                world.command(Time::ZERO, id, PeerCommand::Bootstrap(entry));
                world.command(Time::from_secs(10), id, PeerCommand::Fetch(info.info_hash));
            }
        }
        let rng = Rng::new(&child_seed(&seed, "crashes", 0));
        Swarm { world, info: torrent.0, content: torrent.1, rng, midway: 0 }
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
            for file in &self.info.files {
                let there = host.disk().content(&file.path);
                let wanted = self.content.slice(file.offset, file.len);
                assert_eq!(there, Some(wanted), "{id:?}: {:?}", file.path);
            }
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
        self.crash_with(id, cut, |host, _| host);
    }

    fn crash_with(&mut self, id: HostId, cut: Cut, f: impl Fn(PeerHost, &Seed) -> PeerHost) {
        self.check();
        let seed = child_seed(&seed_from_u64(self.rng.u64()), "crash", id.0.into());
        let host = self.world.host(id);
        if !Swarm::is_done(host) && host.have().is_some_and(|have| have.count() > 0) {
            self.midway += 1;
        }
        let next = f(host.restarted(cut, &seed), &seed);
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
fn a_peer_that_is_looked_at_does_what_it_would_have_done() {
    let trace = |is_looked_at: bool| {
        let mut swarm = Swarm::of(one_file(), 1, |host, _, _, truth| match is_looked_at {
            true => host.with_truth(truth.0.clone(), truth.1.clone()),
            false => host,
        });
        swarm.finish(|_| true);
        swarm.world.trace_hash()
    };
    assert_eq!(trace(true), trace(false));
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

/// Disks of all sorts, files of all sorts, several commits a second or few, faults: who stopped for
/// one starts again, in the end on a disk that is well.
fn random_run(seed: u64) {
    let mut rng = Rng::new(&seed_from_u64(seed ^ 0xd15c));
    let truth = if rng.below(3) == 0 { one_file() } else { many_files(&mut rng) };
    let storage = storage::Config {
        commit_interval_ms: [100, 1_000, 5_000][rng.index(3)],
        open_files_max: [5, 40][(seed % 2) as usize],
        writes_in_flight_max: 1 + rng.index(3),
        preallocate: rng.below(4) == 0,
        ..storage::Config::default()
    };
    let disk = DiskConfig {
        bytes_per_second: [None, Some(500_000), Some(50_000_000)][rng.index(3)],
        op_us: [0, 100, 10_000][rng.index(3)],
        sync_us: [0, 5_000, 300_000][rng.index(3)],
        at_once: 1 + rng.index(8),
        stall_every_ms: [0, 2_000][rng.index(2)],
        stall_ms: 1 + u64::from(rng.below(2_000)),
        io_error: [0.0, 0.0, 0.002][rng.index(3)],
        full: [0.0, 0.0, 0.003][rng.index(3)],
        hash_bytes_per_second: [None, Some(1_000_000)][rng.index(2)],
    };
    let mut swarm = Swarm::of(truth, seed, |host, n, seed, truth| {
        let disk = if n == 0 { DiskConfig::default() } else { disk };
        let host = host.with_disk(disk, seed).with_storage(storage.clone());
        host.with_truth(truth.0.clone(), truth.1.clone())
    });
    let cut = |rng: &mut Rng| if rng.below(9) < 3 { Cut::Kill } else { Cut::Power };
    swarm.world.run_until(Time::from_secs(10));
    for _ in 0..12 {
        let wait = Duration::from_millis(u64::from(rng.below(5_000)));
        swarm.pass(wait);
        let stopped = |(id, _, failure): (u32, _, Option<_>)| failure.map(|_| HostId(id));
        let id = swarm.states().into_iter().find_map(stopped);
        let id = id.unwrap_or(HostId(1 + rng.below(PEERS - 1)));
        swarm.crash(id, cut(&mut rng));
    }
    let well = DiskConfig { io_error: 0.0, full: 0.0, ..disk };
    for n in 1..PEERS {
        swarm.crash_with(HostId(n), cut(&mut rng), |host, seed| host.with_disk(well, seed));
    }
    swarm.finish(|_| true);
}

#[test]
fn whatever_disks_and_files_are_like_nothing_is_claimed_falsely() {
    (0..10).for_each(random_run);
}

/// Who has just stopped for an error of its disk is killed, as a rule before its journal was told; in the end
/// the disks are well. Gives how many were killed so.
fn killed_as_it_fails(seed: u64) -> u32 {
    let disk = DiskConfig { io_error: 0.01, op_us: 20_000, sync_us: 300_000, ..slow() };
    let well = DiskConfig { io_error: 0.0, ..disk };
    let storage = storage::Config { commit_interval_ms: 1_000, ..storage::Config::default() };
    let mut swarm = Swarm::of(one_file(), seed, |host, n, seed, truth| {
        let host = host.with_disk(if n == 0 { DiskConfig::default() } else { disk }, seed);
        host.with_storage(storage.clone()).with_truth(truth.0.clone(), truth.1.clone())
    });
    swarm.world.run_until(Time::from_secs(10));
    let mut killed = 0;
    while swarm.world.now() < Time::from_secs(40) {
        swarm.pass(Duration::from_millis(20));
        for (id, _, failure) in swarm.states() {
            if failure.is_some() {
                killed += 1;
                swarm.crash(HostId(id), Cut::Kill);
            }
        }
    }
    for n in 1..PEERS {
        swarm.crash_with(HostId(n), Cut::Kill, |host, seed| host.with_disk(well, seed));
    }
    swarm.finish(|_| true);
    killed
}

#[test]
fn who_is_killed_as_its_disk_fails_believes_nothing_that_is_in_memory_alone() {
    let killed: u32 = (0..6).map(killed_as_it_fails).sum();
    assert!(killed >= 20, "{killed}");
}

#[test]
#[ignore = "tier 2: a thousand swarms"]
fn a_thousand_random_swarms_survive_their_disks() {
    let from = std::env::var("FROM").map_or(0, |from| from.parse().expect("a number"));
    for seed in from..from + 1_000 {
        eprintln!("seed {seed}");
        random_run(seed);
    }
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
