//! A swarm that forms by the DHT alone: one seed, and leeches that know an info-hash.

mod bound;
mod chaos;
mod crashes;
mod options;
mod report;
mod torrent;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::metainfo::Info;
use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;

use super::Setup;
use super::parts::{disturb, seconds};
use crate::{Access, Content, HostId, PeerCommand, PeerHost, Step, Violation, World};
use bound::Line;
use crashes::Crashes;
use torrent::is_whole;

pub use options::{
    ArrivalLaw, ArrivalOptions, AwayOptions, CrashOptions, SwarmChaos, SwarmPromise, SwarmScenario,
};
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
    info: Arc<Info>,
    content: Content,
    /// Who can be joined by: those in the open.
    entries: Vec<HostId>,
    /// When each peer is told of the torrent.
    told_at: Vec<Time>,
    crashes: Crashes,
    /// Who is off.
    off: BTreeSet<HostId>,
    /// When chaos ends, if there is any.
    healed: Option<Time>,
    /// Programs that ended before their time.
    ended: u32,
    /// The first that a look at all found wrong.
    violation: Option<Violation>,
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
    /// Who was told what, if that is to be told.
    tells: bool,
    steps: Vec<Step<PeerCommand>>,
}

impl SwarmScenario {
    /// Runs it: `seed` names the run, and `workers` threads share it, which changes nothing but its time.
    /// `progress` is told of the share of leeches that have finished.
    pub fn run(&self, seed: u64, workers: u32, progress: impl FnMut(f64)) -> SwarmReport {
        self.run_with(seed, workers, Setup::default(), progress)
    }

    /// ... with peers of one's own, and looks into it.
    pub fn run_with(
        &self,
        seed: u64,
        workers: u32,
        setup: Setup<'_>,
        mut progress: impl FnMut(f64),
    ) -> SwarmReport {
        let seed = seed_from_u64(seed);
        let mut swarm = self.assemble(&seed, workers, &setup);
        for (at, host) in setup.looks.iter().filter(|(_, host)| host.0 < self.peers) {
            swarm.world.describe_at(*at, *host);
        }
        setup.capture.into_iter().for_each(|capture| swarm.world.capture(capture));
        let starts = self.starts(&seed);
        swarm.told_at.extend(starts.iter().map(|after| swarm.start + *after));
        let mut rng = Rng::new(&child_seed(&seed, "ways in", 0));
        for (n, at) in (0..).zip(swarm.told_at.clone()) {
            if self.nodes > 0 {
                swarm.join(at, HostId(n), &mut rng);
            }
            swarm.begin(at, HostId(n));
        }
        self.send_away(&mut swarm, &seed, &starts);
        let homes = swarm.homes.clone();
        disturb(&mut swarm.world, &seed, swarm.start, &self.disturbed(), &homes, |_, _, _| ());
        let healed = swarm.start + seconds(self.chaos.for_s);
        if self.has_chaos() {
            swarm.heal_at(healed);
        }
        let end = swarm.start + seconds(self.span_s());
        let leeches = self.peers - 1;
        while swarm.world.now() < end {
            let now = swarm.world.now();
            let stop = if self.has_chaos() && now < healed { healed } else { end };
            swarm.pass((now + Duration::from_secs(1)).min(stop).min(end));
            if self.has_chaos() && swarm.world.now() <= healed {
                swarm.end_stopped();
            }
            let done = swarm.look();
            progress(f64::from(done) / f64::from(leeches));
            if done == leeches && swarm.world.now() >= healed {
                break;
            }
        }
        if self.has_chaos() {
            swarm.check_all();
        }
        let report = self.report(&swarm);
        SwarmReport { steps: swarm.steps, ..report }
    }

    /// All peers with their lines; each joins the DHT by one that is there.
    fn assemble(&self, seed: &Seed, workers: u32, setup: &Setup<'_>) -> Swarm {
        let mut rng = Rng::new(&child_seed(seed, "scenario", 0));
        let joining = if self.nodes > 0 { self.nodes } else { self.peers };
        let seed_at = Time::ZERO + JOIN_EVERY * joining + SETTLE;
        let start = seed_at + SETTLE;
        let mut links = self.links.config();
        links.perfect_from = self.has_chaos().then(|| start + seconds(self.chaos.for_s));
        let (info, content) = self.torrent(seed);
        let mut swarm = Swarm {
            world: World::shared(links, seed, workers),
            info: Arc::new(info),
            content,
            entries: Vec::new(),
            told_at: vec![seed_at],
            crashes: Crashes::new(self, seed, start),
            off: BTreeSet::new(),
            healed: None,
            ended: 0,
            violation: None,
            lines: Vec::new(),
            accesses: Vec::new(),
            homes: Vec::new(),
            start,
            whole: vec![false; self.peers as usize - 1],
            complete: Vec::new(),
            tells: setup.tells,
            steps: Vec::new(),
        };
        let groups = self.nat.groups(self.peers, &mut Rng::new(&child_seed(seed, "nat", 0)));
        let accesses = self
            .access
            .lines(groups.len() as u32 - 1, &mut Rng::new(&child_seed(seed, "lines", 0)));
        let accesses = std::iter::once(self.access.seed()).chain(accesses);
        for (group, access) in groups.iter().zip(accesses) {
            let first = swarm.world.len() as u32;
            let host = |k: u32| {
                let config = (setup.peers)(HostId(first + k));
                let inside = group.nat.map(|_| World::<PeerHost>::inside_addr(k));
                self.peer(&swarm, seed, HostId(first + k), inside, config)
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
                if self.nodes == 0 && !swarm.entries.is_empty() {
                    swarm.join(Time::ZERO + JOIN_EVERY * id.0, id, &mut rng);
                }
                if group.nat.is_none() {
                    swarm.entries.push(id);
                }
            }
        }
        if self.nodes > 0 {
            self.add_nodes(&mut swarm, seed, &mut rng);
        }
        swarm
    }

    /// The nodes of an overlay that is there before the peers, and by which these come.
    fn add_nodes(&self, swarm: &mut Swarm, seed: &Seed, rng: &mut Rng) {
        swarm.entries.clear();
        for n in 0..self.nodes {
            let id = HostId(self.peers + n);
            let seed = child_seed(seed, "host", id.0.into());
            let addr = swarm.world.addresses().addr(id);
            swarm.world.add_host(PeerHost::new(addr, &seed, client::Config::default()));
            if n > 0 {
                swarm.join(Time::ZERO + JOIN_EVERY * n, id, rng);
            }
            swarm.entries.push(id);
        }
    }

    /// A peer with its disk, in the open or with an address inside; in a time of chaos it is looked at all
    /// the time.
    fn peer(
        &self,
        swarm: &Swarm,
        seed: &Seed,
        id: HostId,
        inside: Option<SocketAddr>,
        config: client::Config,
    ) -> PeerHost {
        let seed = &child_seed(seed, "host", id.0.into());
        let config = match self.peers_max {
            0 => config,
            max => client::Config { peers_max: max as usize, ..config },
        };
        let host = match inside {
            Some(addr) => PeerHost::inside(addr, seed, config),
            None => PeerHost::new(swarm.world.addresses().addr(id), seed, config),
        };
        let host = host.with_disk(self.disk.config(), seed).with_storage(self.disk.storage());
        match self.has_chaos() {
            true => host.with_truth(swarm.info.clone(), swarm.content.clone()),
            false => host,
        }
    }

    /// How long after the first moment each leech starts.
    fn starts(&self, seed: &Seed) -> Vec<Duration> {
        let leeches = self.peers - 1;
        let mut rng = Rng::new(&child_seed(seed, "arrivals", 0));
        let within = seconds(self.arrival.within_s);
        let day = self.arrival.day.day();
        let mut starts: Vec<Duration> = (0..leeches)
            .map(|n| match self.arrival.law {
                ArrivalLaw::Even => within * n / leeches,
                ArrivalLaw::Random => seconds(day.moment_s(self.arrival.within_s, rng.unit())),
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
        // With chaos all are back at its end.
        let end_s = if self.has_chaos() { self.chaos.for_s } else { self.limit_s };
        let mean = |median: f64| median / std::f64::consts::LN_2;
        let (stay, away) = (mean(self.churn.stay_median_s), mean(self.churn.away_median_s));
        for (n, after) in (1..).zip(starts) {
            let mut rng = Rng::new(&child_seed(seed, "away", u64::from(n)));
            let mut at = after.as_secs_f64();
            for _ in 0..AWAY_MAX {
                at += exponential(stay, &mut rng);
                if at > end_s {
                    break;
                }
                let span = exponential(away, &mut rng);
                let span = if self.has_chaos() { span.min(end_s - at) } else { span };
                swarm.world.sleep_at(swarm.start + seconds(at), HostId(n), seconds(span));
                at += span;
            }
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
                *whole = *whole || is_whole(host.disk(), &self.info, &self.content);
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

    /// A host joins the DHT by any of those by which others can.
    fn join(&mut self, at: Time, host: HostId, rng: &mut Rng) {
        let entry = self.entries[rng.index(self.entries.len())];
        self.bootstrap(at, host, entry);
    }

    /// A host joins the DHT by `entry`.
    fn bootstrap(&mut self, at: Time, host: HostId, entry: HostId) {
        let entry = self.world.addresses().addr(entry);
        self.tell(at, host, PeerCommand::Bootstrap(entry));
    }

    fn tell(&mut self, at: Time, host: HostId, command: PeerCommand) {
        if self.tells {
            self.steps.push(Step { at, host, command: command.clone() });
        }
        self.world.command(at, host, command);
    }
}

/// A number from the exponential law with this mean.
fn exponential(mean: f64, rng: &mut Rng) -> f64 {
    -libm::log(1.0 - rng.unit()) * mean
}
