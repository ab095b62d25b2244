//! The real programs of a run, by the addresses that the simulator gives its hosts.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use harness::delayed::{Counts, Delayed, Rates, probe};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sim::scenario::LinkOptions;
use sim::{AddressPlan, HostId};
use std::sync::Arc;
use tempfile::TempDir;

/// Hosts beyond all others, between which the delay is measured.
const PROBES: [HostId; 2] = [HostId(1_000_000), HostId(1_000_001)];
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// The longest that programs take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What runs.
pub(crate) struct With {
    /// The folder of the programs.
    pub(crate) binaries: PathBuf,
    /// The congestion control of TCP.
    pub(crate) congestion: String,
}

/// How well packets were held.
#[derive(Clone, Default, Debug)]
pub(crate) struct Held {
    pub(crate) counts: Counts,
    /// How much longer than the delay of their pair probes were on their way, in microseconds.
    pub(crate) probe_us: Vec<f64>,
}

impl Held {
    pub(crate) fn extend(&mut self, other: Held) {
        self.counts.datagrams += other.counts.datagrams;
        self.counts.others += other.counts.others;
        self.counts.dropped += other.counts.dropped;
        self.counts.unroutable += other.counts.unroutable;
        self.counts.late_us.extend(other.counts.late_us);
        self.probe_us.extend(other.probe_us);
    }
}

/// A network with the delays of a seed, and what runs in it; the calling thread is in it as well.
pub(crate) struct Place {
    plan: AddressPlan,
    programs: Vec<Program>,
    folder: TempDir,
    binaries: PathBuf,
    probe: Option<(Arc<AtomicBool>, JoinHandle<Vec<f64>>)>,
    // Ends after the programs.
    network: Delayed,
    started: Instant,
}

/// A program on a host.
pub(crate) struct Program {
    pub(crate) host: HostId,
    /// Its first argument.
    what: String,
    child: Child,
    output: PathBuf,
}

impl Place {
    /// `rates` are the lines of the first hosts.
    pub(crate) fn new(
        with: &With,
        links: &LinkOptions,
        seed: u64,
        rates: &[Option<Rates>],
    ) -> Place {
        let (plan, links) = links.network(seed);
        let expected = links.latency(PROBES[0], PROBES[1]);
        let hosts = plan.clone();
        let network = Delayed::enter(
            Box::new(move |ip| hosts.host_of(ip).map(|host| host.0)),
            Box::new(move |a, b| links.latency(HostId(a), HostId(b))),
            rates,
            &with.congestion,
        );
        let ends: Arc<AtomicBool> = Arc::default();
        let [from, to] = PROBES.map(|host| ip(&plan, host));
        let until = ends.clone();
        let probe = spawn(move || probe(from, to, expected, PROBE_EVERY, &until));
        Place {
            plan,
            programs: Vec::new(),
            folder: scratch(),
            binaries: with.binaries.clone(),
            probe: Some((ends, probe)),
            network,
            started: Instant::now(),
        }
    }

    /// A folder for files, in memory where there is such.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of a host.
    pub(crate) fn addr(&self, host: HostId) -> SocketAddr {
        self.plan.addr(host)
    }

    /// A `dht-node bootstrap` that never leaves.
    pub(crate) fn start_node(&mut self, host: HostId, entry: Option<SocketAddr>) {
        let ip = self.addr(host).ip().to_string();
        self.start(host, entry, "dht-node", &["bootstrap", "--external-ip", &ip]);
    }

    /// Starts a program on a host: it binds the host's address, joins by another one and prints JSON.
    pub(crate) fn start(
        &mut self,
        host: HostId,
        entry: Option<SocketAddr>,
        program: &str,
        args: &[&str],
    ) {
        let mut command = Command::new(self.binaries.join(program));
        command.args(args).args(["--json", "--bind", &self.addr(host).to_string()]);
        if let Some(entry) = entry {
            command.args(["--bootstrap", &entry.to_string()]);
        }
        let name = self.folder().join(format!("{}-{}", host.0, self.programs.len()));
        let (output, errors) = (name.with_extension("out"), name.with_extension("err"));
        let create = |path: &Path| {
            File::create(path).unwrap_or_else(|error| panic!("create {path:?}: {error}"))
        };
        command.stdin(Stdio::null()).stdout(create(&output)).stderr(create(&errors));
        let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let what = args.first().copied().unwrap_or_default().to_owned();
        self.programs.push(Program { host, what, child, output });
    }

    /// Waits until so long after the start.
    pub(crate) fn wait_until(&self, at: Duration) {
        sleep(at.saturating_sub(self.started.elapsed()));
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Asks all programs to end, and waits until they have.
    pub(crate) fn end_programs(&mut self) {
        for program in &self.programs {
            if let Some(pid) = i32::try_from(program.child.id()).ok().and_then(Pid::from_raw) {
                // Who has ended is not waited for yet, so its number is nobody else's.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let end = Instant::now() + END_LIMIT;
        for program in &mut self.programs {
            while matches!(program.child.try_wait(), Ok(None)) {
                if Instant::now() > end {
                    let _ = program.child.kill();
                }
                sleep(Duration::from_millis(2));
            }
        }
    }

    /// How well packets were held until now.
    pub(crate) fn end(mut self) -> Held {
        self.end_programs();
        let probe_us = self.probe.take().map(|(ends, probe)| {
            ends.store(true, Ordering::Release);
            probe.join().unwrap_or_default()
        });
        Held { counts: self.network.end(), probe_us: probe_us.unwrap_or_default() }
    }
}

impl Program {
    /// What it has printed.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether this is its first argument.
    pub(crate) fn is(&self, what: &str) -> bool {
        self.what == what
    }

    /// The first event of a kind.
    pub(crate) fn event(&self, kind: &str) -> Option<Value> {
        self.events().into_iter().find(|event| event["event"] == kind)
    }
}

fn ip(plan: &AddressPlan, host: HostId) -> Ipv4Addr {
    match plan.addr(host).ip() {
        std::net::IpAddr::V4(ip) => ip,
        std::net::IpAddr::V6(_) => unreachable!("the simulator's hosts have IPv4"),
    }
}

/// What is synced is to take no time: a disk is not what is compared.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("trackerless-");
    let folder = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}
