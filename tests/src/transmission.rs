//! transmission 3.00: a daemon, and `transmission-remote` to tell it what to do.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::lan::Host;
use crate::process::{Process, output_of};
use crate::wait::{secs, wait_for, wait_until};

/// Its port for peers and DHT alike.
const PEER_PORT: u16 = 6993;

/// The port it is told what to do by, on the loopback of its host.
const CONTROL: &str = "127.0.0.1:9091";

/// A running daemon.
///
/// Its DHT is of use only once it knows 9 nodes, 4 of them good (`tr_dhtStatus`): give it a
/// network of at least a dozen.
pub struct Transmission {
    host: Host,
    process: Process,
}

impl Transmission {
    /// Starts the daemon, with `bootstrap` as the nodes it remembers; `upload_limit` in kB
    /// a second for all that it uploads, 0 for none.
    pub fn start(host: &Host, bootstrap: &[SocketAddr], upload_limit_kb: u32) -> Self {
        let folder = host.folder.join("transmission");
        write_settings(&folder, host, bootstrap, upload_limit_kb);
        let mut command = host.command("transmission-daemon");
        command.args(["--foreground", "--log-debug", "--config-dir"]).arg(&folder);
        let process = Process::spawn("transmission", command, &host.folder);
        let mut node = Self { host: host.clone(), process };
        wait_for("transmission to listen", secs(20), || {
            node.process.assert_running();
            let output = node.remote_command(&["--session-info"]).output();
            output.is_ok_and(|output| output.status.success()).then_some(()).ok_or("deaf".into())
        });
        node
    }

    /// Where it takes peers and DHT nodes.
    pub fn address(&self) -> SocketAddr {
        self.host.at(PEER_PORT)
    }

    /// Adds a magnet link or torrent file, with its content in (or to come to) `folder`.
    pub fn add(&self, source: &str, folder: &Path) {
        let folder = folder.to_string_lossy();
        self.remote(&["--download-dir", &folder, "--add", source]);
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Forgets the torrents that it remembers from before, not their files.
    pub fn forget(&self) {
        let all = |what: &str| self.remote(&["--torrent", "all", what]);
        // It can be asked before it has read them.
        wait_until("transmission to remember", secs(20), || !all("--info").is_empty());
        all("--remove");
        wait_until("transmission to forget", secs(20), || all("--info").is_empty());
    }

    /// Adds a torrent file whose content lies in `folder`, and waits until that is checked.
    pub fn seed(&self, torrent: &Path, folder: &Path) {
        self.add(&torrent.to_string_lossy(), folder);
        self.wait_complete(secs(30));
    }

    /// Waits until all its torrents are complete.
    pub fn wait_complete(&self, limit: Duration) {
        wait_for("transmission to complete", limit, || {
            let info = self.info();
            let values = |key: &'static str| {
                info.lines().filter_map(move |line| Some(line.trim().strip_prefix(key)?.trim()))
            };
            // "Uploading to some peers" has the state "Seeding", without any it is "Idle".
            let seeds = |state: &str| ["Seeding", "Idle", "Finished"].contains(&state);
            let done = values("Percent Done:").all(|part| part == "100%");
            let some = values("Percent Done:").next().is_some();
            if some && done && values("State:").all(seeds) { Ok(()) } else { Err(info) }
        });
    }

    /// Of how many torrents it has sent others something.
    pub fn torrents_given(&self) -> usize {
        let info = self.info();
        let uploaded = info.lines().filter_map(|line| line.trim().strip_prefix("Uploaded:"));
        uploaded.filter(|amount| amount.trim() != "None").count()
    }

    /// All that `transmission-remote` knows of its torrents, with their peers.
    pub fn info(&self) -> String {
        self.remote(&["--torrent", "all", "--info"])
            + &self.remote(&["--torrent", "all", "--info-peers"])
    }

    fn remote(&self, arguments: &[&str]) -> String {
        output_of(self.remote_command(arguments))
    }

    fn remote_command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.host.command("transmission-remote");
        command.arg(CONTROL).args(arguments);
        command
    }
}

fn write_settings(folder: &PathBuf, host: &Host, bootstrap: &[SocketAddr], upload_limit_kb: u32) {
    let settings = json!({
        "bind-address-ipv4": host.ip.to_string(),
        "peer-port": PEER_PORT,
        "rpc-bind-address": "127.0.0.1",
        "rpc-whitelist-enabled": false,
        "dht-enabled": true,
        "lpd-enabled": false,
        "pex-enabled": true,
        "utp-enabled": false,
        "port-forwarding-enabled": false,
        "encryption": 0,
        // What has come is to lie in the files, under their names.
        "cache-size-mb": 0,
        "rename-partial-files": false,
        "download-queue-enabled": false,
        "seed-queue-enabled": false,
        "speed-limit-up": upload_limit_kb,
        "speed-limit-up-enabled": upload_limit_kb > 0,
        "download-dir": host.folder,
    });
    // Nodes of a saved table are asked a second apart, those of `dht.bootstrap` 15.
    let mut table = b"d2:id20:".to_vec();
    table.extend_from_slice(&Sha256::digest(host.ip.octets())[..20]);
    for (key, v6) in [("nodes", false), ("nodes6", true)] {
        let mut nodes = Vec::new();
        for node in bootstrap.iter().filter(|node| node.is_ipv6() == v6) {
            match node.ip() {
                IpAddr::V4(ip) => nodes.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => nodes.extend_from_slice(&ip.octets()),
            }
            nodes.extend_from_slice(&node.port().to_be_bytes());
        }
        table.extend_from_slice(format!("{}:{key}{}:", key.len(), nodes.len()).as_bytes());
        table.extend_from_slice(&nodes);
    }
    table.push(b'e');
    let write = |name: &str, text: &[u8]| {
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join(name), text))
            .unwrap_or_else(|error| panic!("write {name} in {folder:?}: {error}"));
    };
    write("settings.json", settings.to_string().as_bytes());
    write("dht.dat", &table);
}
