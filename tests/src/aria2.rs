//! aria2: one process a torrent, with a DHT node in it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::lan::Host;
use crate::process::Process;

/// aria2's port for peers.
const PEER_PORT: u16 = 6991;

/// aria2's port for its DHT, which cannot be the other one.
const DHT_PORT: u16 = 6992;

/// A running aria2.
pub struct Aria2 {
    process: Process,
}

impl Aria2 {
    /// Fetches `source` (a magnet link or torrent file) into `folder` and ends when it is
    /// complete.
    pub fn fetch(host: &Host, bootstrap: SocketAddr, source: &str, folder: &Path) -> Self {
        let mut command = command(host, bootstrap, folder);
        // What lies there already is taken only if it is told to look.
        command.args(["--seed-time=0", "--check-integrity=true"]).arg(source);
        Self { process: Process::spawn("aria2", command, &host.folder) }
    }

    /// Seeds `torrents`, whose content lies in `folder`, until it is dropped; `upload_limit` in
    /// bytes a second for each, 0 for none.
    pub fn seed(
        host: &Host,
        bootstrap: SocketAddr,
        torrents: &[impl AsRef<Path>],
        folder: &Path,
        upload_limit: u32,
    ) -> Self {
        let mut command = command(host, bootstrap, folder);
        command.args(["--check-integrity=true", "--seed-ratio=0.0", "--force-sequential"]);
        command.arg(format!("--max-upload-limit={upload_limit}"));
        for torrent in torrents {
            command.arg(torrent.as_ref());
        }
        let mut process = Process::spawn("aria2", command, &host.folder);
        process.assert_running();
        Self { process }
    }

    /// Where it takes peers.
    pub fn peer_address(host: &Host) -> SocketAddr {
        host.at(PEER_PORT)
    }

    /// Where it takes peers and where its DHT node listens, if it was given an IPv6 node to start from.
    pub fn addresses_v6(host: &Host) -> [SocketAddr; 2] {
        [PEER_PORT, DHT_PORT].map(|port| SocketAddr::new(host.v6(1).into(), port))
    }

    /// Where its DHT node listens.
    pub fn dht_address(host: &Host) -> SocketAddr {
        host.at(DHT_PORT)
    }

    /// Of how many torrents it has sent others something.
    pub fn torrents_given(&self) -> usize {
        // Its summaries have a line such as `[#2fbf41 SEED(0.2) CN:1 SD:0 UL:88KiB(0.9MiB)]` for
        // each torrent, with `UL` while it sends.
        let output = self.process.stdout();
        let giving = output.lines().filter(|line| line.starts_with("[#") && line.contains(" UL:"));
        giving.filter_map(|line| line.split(' ').next()).collect::<BTreeSet<_>>().len()
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until a [`Self::fetch`] is complete.
    pub fn wait_complete(&mut self, limit: Duration) {
        self.process.wait_success(limit);
    }
}

fn command(host: &Host, bootstrap: SocketAddr, folder: &Path) -> Command {
    let mut command = host.command("aria2c");
    command.args(["--no-conf", "--summary-interval=1", "--console-log-level=notice"]);
    command.args(["--log=aria2.log", "--log-level=info", "--file-allocation=none"]);
    command.args(["--bt-enable-lpd=false", "--enable-peer-exchange=true"]);
    command.args(["--bt-require-crypto=false", "--bt-min-crypto-level=plain"]);
    command.args(["--follow-torrent=mem", "--allow-overwrite=true"]);
    command.arg(format!("--listen-port={PEER_PORT}"));
    command.arg(format!("--dht-listen-port={DHT_PORT}"));
    let (v4, v6) = (bootstrap.is_ipv4(), bootstrap.is_ipv6());
    let family = if v6 { "6" } else { "" };
    command.arg(format!("--enable-dht={v4}")).arg(format!("--enable-dht6={v6}"));
    command.arg(format!("--dht-entry-point{family}={bootstrap}"));
    command.arg(format!("--dht-file-path{family}={}", host.folder.join("dht.dat").display()));
    if v6 {
        command.arg(format!("--dht-listen-addr6={}", host.v6(1)));
    }
    command.arg(format!("--dir={}", folder.display()));
    command
}
