//! The project's own programs, by their command lines.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lan::Host;
use crate::process::{Process, output_of};
use crate::programs::our_binary;
use crate::wait::{secs, wait_for};

/// The port of our client, for peers and DHT alike.
const PEER_PORT: u16 = 6994;

/// How long a `dht-node` command may look around.
const LOOKUP_LIMIT: Duration = secs(10);

/// A `dht-node bootstrap` that runs.
pub struct DhtNode {
    process: Process,
    address: SocketAddr,
    host: Host,
    folder: PathBuf,
}

impl DhtNode {
    /// Starts a node on `address`, which belongs to `host`, and waits until it serves; with
    /// `bootstrap`, until it has joined their overlay.
    pub fn start(host: &Host, address: SocketAddr, bootstrap: &[SocketAddr]) -> Self {
        let mut command = host.command(our_binary("dht-node"));
        let name = format!("dht-node-{}", address.ip());
        command.args(["bootstrap", "--json", "--bind", &address.to_string()]);
        let folder = host.folder.join(&name);
        command.arg("--data-dir").arg(&folder);
        for node in bootstrap {
            command.arg("--bootstrap").arg(node.to_string());
        }
        let mut process = Process::spawn(&name, command, &host.folder);
        let awaited = if bootstrap.is_empty() { "ready" } else { "joined" };
        process.wait_line(awaited, secs(20), |line| event(line, awaited));
        Self { process, address, host: host.clone(), folder }
    }

    /// What `dht-node status` says of it.
    pub fn status(&self) -> Value {
        let mut command = self.host.command(our_binary("dht-node"));
        command.args(["status", "--json", "--data-dir"]).arg(&self.folder);
        serde_json::from_str(&output_of(command)).unwrap_or(Value::Null)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Whether a node answers `dht-node ping` from `host`.
pub fn ping(host: &Host, node: SocketAddr) -> bool {
    let mut command = host.command(our_binary("dht-node"));
    command.args(["ping", "--timeout", "5", &node.to_string()]);
    command.output().is_ok_and(|output| output.status.success())
}

/// The peers that `dht-node lookup` finds from `host`.
pub fn lookup(host: &Host, info_hash: &str, bootstrap: SocketAddr) -> Vec<SocketAddr> {
    let mut command = dht_command(host, "lookup", info_hash, bootstrap);
    command.args(["--timeout", &LOOKUP_LIMIT.as_secs().to_string(), "--json"]);
    let output = match command.output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => panic!("run dht-node lookup: {error}"),
    };
    let peers =
        output.lines().filter_map(|line| event(line, "peer")?["addr"].as_str()?.parse().ok());
    // Several nodes name the same peer.
    peers.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Announces `port` of `host` under `info_hash` by `dht-node announce`.
pub fn announce(host: &Host, info_hash: &str, port: u16, bootstrap: SocketAddr) {
    let mut command = dht_command(host, "announce", info_hash, bootstrap);
    command.args(["--port", &port.to_string()]);
    output_of(command);
}

/// What `dht-node keygen` made.
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// The secret key, a seed of 32 bytes in hexadecimal digits.
    pub secret: String,
    /// The public key, likewise.
    pub public: String,
}

impl KeyFile {
    /// Makes a key in the folder of `host`.
    pub fn make(host: &Host, name: &str) -> KeyFile {
        let path = host.folder.join(name);
        let mut command = host.command(our_binary("dht-node"));
        command.arg("keygen").arg(&path);
        let public = output_of(command).trim().to_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let secret = text.lines().nth(1).unwrap_or_default().to_owned();
        KeyFile { path, secret, public }
    }
}

/// What a `dht-node` command prints.
pub fn dht(host: &Host, operation: &str, args: &[&str], bootstrap: SocketAddr) -> String {
    let mut command = host.command(our_binary("dht-node"));
    command.arg(operation).args(args).args(["--bootstrap", &bootstrap.to_string()]);
    output_of(command)
}

/// The exit code of a `dht-node` command, and what it says on standard error.
pub fn dht_code(
    host: &Host,
    operation: &str,
    args: &[&str],
    bootstrap: SocketAddr,
) -> (Option<i32>, String) {
    let mut command = host.command(our_binary("dht-node"));
    command.arg(operation).args(args).args(["--bootstrap", &bootstrap.to_string()]);
    match command.output() {
        Ok(output) => (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => panic!("run dht-node {operation}: {error}"),
    }
}

fn dht_command(host: &Host, operation: &str, target: &str, bootstrap: SocketAddr) -> Command {
    let mut command = host.command(our_binary("dht-node"));
    command.args([operation, target, "--bootstrap", &bootstrap.to_string()]);
    command
}

/// `line`, if it is a JSON object that tells the event `name`.
fn event(line: &str, name: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["event"] == name).then_some(value)
}

/// A `trackerless get` or `trackerless seed` that runs.
pub struct Trackerless {
    process: Process,
}

impl Trackerless {
    /// Fetches `source` (an info-hash, magnet link or torrent file) into `folder`; `more` stands
    /// at the end of the command line.
    pub fn get(
        host: &Host,
        source: &str,
        folder: &Path,
        bootstrap: SocketAddr,
        more: &[&str],
    ) -> Self {
        let mut command = host.command(our_binary("trackerless"));
        command.args(["get", source, "--json", "-o"]).arg(folder);
        let process = start(command, "trackerless-get", host, bootstrap, more);
        Self { process }
    }

    /// Seeds `paths`; gives the magnet link of each, in this order.
    pub fn seed(
        host: &Host,
        paths: &[&Path],
        bootstrap: SocketAddr,
        more: &[&str],
    ) -> (Self, Vec<String>) {
        let mut command = host.command(our_binary("trackerless"));
        command.args(["seed", "--json"]).args(paths);
        let process = start(command, "trackerless-seed", host, bootstrap, more);
        let mut seed = Self { process };
        wait_for("trackerless to serve all", secs(30), || {
            seed.process.assert_running();
            let count = seed.events_of("serving").len();
            if count == paths.len() { Ok(()) } else { Err(format!("{count} served")) }
        });
        // They are served in any order, but hashed in the order they were named.
        let served = seed.events_of("serving");
        let magnet = |hashed: &Value| {
            let info_hash = hashed["info_hash"].as_str().unwrap_or_default();
            let mut magnets = served.iter().filter_map(|event| event["magnet"].as_str());
            magnets.find(|magnet| magnet.contains(info_hash)).unwrap_or_default().to_owned()
        };
        let magnets = seed.events_of("hashed").iter().map(magnet).collect();
        (seed, magnets)
    }

    /// Where it takes peers.
    pub fn address(host: &Host) -> SocketAddr {
        host.at(PEER_PORT)
    }

    /// Waits until a fetch without `--seed` has ended well.
    pub fn wait_complete(&mut self, limit: Duration) {
        self.process.wait_success(limit);
    }

    /// Waits for an event of the given kind.
    pub fn wait_event(&mut self, kind: &str, limit: Duration) -> Value {
        let title = format!("the event {kind:?}");
        self.process.wait_line(&title, limit, |line| event(line, kind))
    }

    /// The events of one kind that it has told so far.
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.process.stdout().lines().filter_map(|line| event(line, kind)).collect()
    }

    /// Bytes of pieces that it has sent to others, as it told last; of a fetch.
    pub fn uploaded_bytes(&self) -> u64 {
        let output = self.process.stdout();
        let mut told = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["uploaded"].as_u64());
        told.next_back().unwrap_or(0)
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn start(
    mut command: Command,
    name: &str,
    host: &Host,
    bootstrap: SocketAddr,
    more: &[&str],
) -> Process {
    command.arg("--bind").arg(host.at(PEER_PORT).to_string());
    command.arg("--bootstrap").arg(bootstrap.to_string()).args(more);
    Process::spawn(name, command, &host.folder)
}
