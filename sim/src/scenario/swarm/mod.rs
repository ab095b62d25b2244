//! A swarm that forms by the DHT alone: one seed, and leeches that know an info-hash.

mod bound;
mod options;
mod report;

use std::time::Duration;

use wire::metainfo::{Info, build_info};
use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;

use super::parts::{disturb, seconds};
use crate::{Access, Content, ContentHasher, HostId, PeerCommand, PeerHost, Run, Step, World};
use bound::Line;

pub use options::{ArrivalLaw, ArrivalOptions, AwayOptions, SwarmPromise, SwarmScenario};
pub use report::SwarmReport;

/// Time between two hosts that join the DHT.
const JOIN_EVERY: Duration = Duration::from_millis(100);
/// Time for the DHT to settle before the seed starts, and for the seed before the leeches do.
const SETTLE: Duration = Duration::from_secs(10);
/// Times that a leech goes away, at most.
const AWAY_MAX: u32 = 10_000;

/// A world of peers, of which the first is the seed.
struct Swarm {
    world: World<PeerHost>,
    content: Content,
    /// The line of each peer; who is in one home has the same.
    lines: Vec<usize>,
    accesses: Vec<Line>,
    /// The first host of each home.
    homes: Vec<HostId>,
    /// When the first leech starts.
    start: Time,
    /// Which leeches have had all, byte for byte. It is looked at soon after they said so: a torrent that
    /// nobody asks for lets go of what it knows of its files.
    whole: Vec<bool>,
    /// How many leeches had told that they are complete, second by second.
    complete: Vec<(f64, f64)>,
    /// Who was told what.
    steps: Vec<Step<PeerCommand>>,
}

impl SwarmScenario {
    /// Runs it: `seed` names the run, and `workers` threads share it, which changes nothing but its time.
    /// `progress` is told of the share of leeches that have finished.
    pub fn run(&self, seed: u64, workers: u32, progress: impl FnMut(f64)) -> SwarmReport {
        self.run_told(seed, workers, progress).0
    }

    /// ... and tells who was told what, for whoever has real programs do the same.
    pub fn run_told(
        &self,
        seed: u64,
        workers: u32,
        mut progress: impl FnMut(f64),
    ) -> (SwarmReport, Vec<Step<PeerCommand>>) {
        let seed = seed_from_u64(seed);
        let mut rng = Rng::new(&child_seed(&seed, "scenario", 0));
        let (info, content) = self.torrent();
        let mut swarm = self.assemble(&seed, workers, content, &mut rng);
        let joining = if self.nodes > 0 { self.nodes } else { self.peers };
        let seed_at = Time::ZERO + JOIN_EVERY * joining + SETTLE;
        swarm.start = seed_at + SETTLE;
        let command = PeerCommand::Seed(Box::new(info.clone()), swarm.content.clone());
        let starts = self.starts(&seed);
        let fetches =
            starts.iter().map(|after| (swarm.start + *after, PeerCommand::Fetch(info.info_hash)));
        let told: Vec<_> = std::iter::once((seed_at, command)).chain(fetches).collect();
        for (n, (at, command)) in (0..).zip(told) {
            if self.nodes > 0 {
                swarm.bootstrap(at, HostId(n), HostId(self.peers + rng.below(self.nodes)));
            }
            swarm.tell(at, HostId(n), command);
        }
        self.send_away(&mut swarm, &seed, &starts);
        let homes = swarm.homes.clone();
        disturb(&mut swarm.world, &seed, swarm.start, &self.disturbed(), &homes, |_, _, _| ());
        let end = swarm.start + seconds(self.limit_s);
        let leeches = self.peers - 1;
        while swarm.world.now() < end {
            swarm.world.run_until((swarm.world.now() + Duration::from_secs(1)).min(end));
            let done = swarm.look();
            progress(f64::from(done) / f64::from(leeches));
            if done == leeches {
                break;
            }
        }
        (self.report(&swarm), swarm.steps)
    }

    /// All peers with their lines; each joins the DHT by one that is there.
    fn assemble(&self, seed: &Seed, workers: u32, content: Content, rng: &mut Rng) -> Swarm {
        let world: World<PeerHost> = World::shared(self.links.config(), seed, workers);
        let (lines, accesses, homes) = (Vec::new(), Vec::new(), Vec::new());
        let whole = vec![false; self.peers as usize - 1];
        let (start, complete) = (Time::ZERO, Vec::new());
        let steps = Vec::new();
        let mut swarm =
            Swarm { world, content, lines, accesses, homes, start, whole, complete, steps };
        let groups = self.nat.groups(self.peers, &mut Rng::new(&child_seed(seed, "nat", 0)));
        let accesses = self
            .access
            .lines(groups.len() as u32 - 1, &mut Rng::new(&child_seed(seed, "lines", 0)));
        let accesses = std::iter::once(self.access.seed()).chain(accesses);
        let mut entries: Vec<HostId> = Vec::new();
        for (group, access) in groups.iter().zip(accesses) {
            let first = swarm.world.len() as u32;
            let host = |k: u32| {
                let addr = match group.nat {
                    Some(_) => World::<PeerHost>::inside_addr(k),
                    None => swarm.world.addresses().addr(HostId(first)),
                };
                let seed = child_seed(seed, "host", (first + k).into());
                PeerHost::new(addr, &seed, client::Config::default())
            };
            let mut hosts: Vec<PeerHost> = (0..group.hosts).map(host).collect();
            let ids = match (group.nat, hosts.pop()) {
                (None, Some(host)) => vec![swarm.world.add_host(host)],
                (Some(nat), Some(host)) => {
                    hosts.push(host);
                    swarm.homes.push(HostId(first));
                    swarm.world.add_home(nat.config(), group.addresses, hosts)
                }
                (_, None) => Vec::new(),
            };
            swarm.add_line(&ids, access);
            for id in ids {
                if self.nodes == 0 && !entries.is_empty() {
                    let entry = entries[rng.index(entries.len())];
                    swarm.bootstrap(Time::ZERO + JOIN_EVERY * id.0, id, entry);
                }
                if group.nat.is_none() {
                    entries.push(id);
                }
            }
        }
        for n in 0..self.nodes {
            let id = HostId(self.peers + n);
            let seed = child_seed(seed, "host", id.0.into());
            let addr = swarm.world.addresses().addr(id);
            swarm.world.add_host(PeerHost::new(addr, &seed, client::Config::default()));
            if n > 0 {
                let entry = HostId(self.peers + rng.below(n));
                swarm.bootstrap(Time::ZERO + JOIN_EVERY * n, id, entry);
            }
        }
        swarm
    }

    /// How long after the first moment each leech starts.
    fn starts(&self, seed: &Seed) -> Vec<Duration> {
        let leeches = self.peers - 1;
        let mut rng = Rng::new(&child_seed(seed, "arrivals", 0));
        let within = seconds(self.arrival.within_s);
        let mut starts: Vec<Duration> = (0..leeches)
            .map(|n| match self.arrival.law {
                ArrivalLaw::Even => within * n / leeches,
                ArrivalLaw::Random => seconds(self.arrival.within_s * rng.unit()),
                // Of a known number each comes at an exponential time.
                ArrivalLaw::Flash => seconds(exponential(self.arrival.tau_s, &mut rng)),
            })
            .collect();
        starts.sort_unstable();
        starts
    }

    /// Arranges when leeches are away.
    fn send_away(&self, swarm: &mut Swarm, seed: &Seed, starts: &[Duration]) {
        if self.churn.stay_median_s <= 0.0 {
            return;
        }
        let mean = |median: f64| median / std::f64::consts::LN_2;
        let (stay, away) = (mean(self.churn.stay_median_s), mean(self.churn.away_median_s));
        for (n, after) in (1..).zip(starts) {
            let mut rng = Rng::new(&child_seed(seed, "away", u64::from(n)));
            let mut at = after.as_secs_f64();
            for _ in 0..AWAY_MAX {
                at += exponential(stay, &mut rng);
                if at > self.limit_s {
                    break;
                }
                let span = exponential(away, &mut rng);
                swarm.world.sleep_at(swarm.start + seconds(at), HostId(n), seconds(span));
                at += span;
            }
        }
    }

    /// A torrent of one file.
    fn torrent(&self) -> (Info, Content) {
        let piece = u64::from(self.piece_length);
        let total = self.total();
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
}

impl Swarm {
    fn add_line(&mut self, hosts: &[HostId], access: Access) {
        self.world.share_access(hosts, access);
        self.lines.extend(hosts.iter().map(|_| self.accesses.len()));
        self.accesses.push(Line {
            up: access.up_bytes_per_second as f64,
            down: access.down_bytes_per_second as f64,
        });
    }

    /// Looks who is complete, and whether with the right bytes; gives how many are complete.
    fn look(&mut self) -> u32 {
        let leeches = self.world.hosts().skip(1).take(self.whole.len());
        let mut done = 0;
        for ((_, host, _), whole) in leeches.zip(&mut self.whole) {
            if host.milestones().complete.is_some() {
                done += 1;
                *whole = *whole || host.content().as_ref() == Some(&self.content);
            }
        }
        if self.world.now() >= self.start {
            let since = self.world.now().since(self.start).as_secs_f64();
            self.complete.push((since, f64::from(done)));
        }
        done
    }

    fn leeches(&self) -> impl Iterator<Item = &PeerHost> {
        self.world.hosts().skip(1).take(self.whole.len()).map(|(_, host, _)| host)
    }

    /// A host joins the DHT by `entry`.
    fn bootstrap(&mut self, at: Time, host: HostId, entry: HostId) {
        let entry = self.world.addresses().addr(entry);
        self.tell(at, host, PeerCommand::Bootstrap(entry));
    }

    fn tell(&mut self, at: Time, host: HostId, command: PeerCommand) {
        self.steps.push(Step { at, host, command: command.clone() });
        self.world.command(at, host, command);
    }
}

/// A number from the exponential law with this mean.
fn exponential(mean: f64, rng: &mut Rng) -> f64 {
    -libm::log(1.0 - rng.unit()) * mean
}
