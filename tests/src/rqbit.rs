//! rqbit: one process a torrent, with a DHT node in it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::lan::Host;
use crate::process::Process;
use crate::programs::rqbit;
use crate::wait::wait_for;

/// Its port for peers; its DHT takes any.
const PEER_PORT: u16 = 6996;

/// A running rqbit.
pub struct Rqbit {
    process: Process,
}

impl Rqbit {
    /// Fetches `source` (a magnet link or torrent file) into `folder`, or serves what lies there. It asks
    /// `peer` too, and enters the DHT by `entries`; without any it uses none.
    pub fn start(
        host: &Host,
        entries: &[SocketAddr],
        source: &str,
        folder: &Path,
        peer: Option<SocketAddr>,
    ) -> Self {
        let mut command = host.command(rqbit());
        command.env("HOME", &host.folder).args(["--listen-port", &PEER_PORT.to_string()]);
        command.args(["--ipv4-only", "--disable-lsd", "--disable-trackers"]);
        command.arg("--disable-upnp-port-forward");
        if entries.is_empty() {
            command.arg("--disable-dht");
        } else {
            let entries: Vec<_> = entries.iter().map(ToString::to_string).collect();
            command.args(["--dht-bootstrap-addrs", &entries.join(",")]);
        }
        command.args(["download", "--disable-http-api", "--overwrite", "-o"]).arg(folder);
        if let Some(peer) = peer {
            command.args(["--initial-peers", &peer.to_string()]);
        }
        command.arg(source);
        Self { process: Process::spawn("rqbit", command, &host.folder) }
    }

    /// Where it takes peers.
    pub fn address(host: &Host) -> SocketAddr {
        host.at(PEER_PORT)
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until all is there and in the files.
    pub fn wait_complete(&mut self, limit: Duration) {
        // Each second it says `[0]: 100.00% (...), ...`.
        wait_for("rqbit to complete", limit, || {
            self.process.assert_running();
            let output = self.process.stdout();
            let told = output.lines().rev().find(|line| line.contains("[0]")).unwrap_or("nothing");
            if told.contains("]: 100.00% (") { Ok(()) } else { Err(told.to_owned()) }
        });
    }
}

/// What it says of its version.
pub fn version() -> String {
    let mut command = std::process::Command::new(rqbit());
    command.arg("--version");
    crate::process::output_of(command).trim().to_owned()
}
