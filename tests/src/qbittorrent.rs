//! qBittorrent without a window: a daemon, and its web interface to tell it what to do.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;
use crate::lan::Host;
use crate::process::Process;
use crate::wait::{secs, wait_for, wait_until};

/// Its port for peers and DHT alike.
const PEER_PORT: u16 = 6995;

/// The port of its web interface, on the loopback of its host.
const CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// By whom it enters the DHT, which no setting of version 4.5 changes; those with the port 6881, which the
/// nodes of our networks have.
const ENTRIES: [&str; 4] =
    ["router.bittorrent.com", "router.utorrent.com", "dht.transmissionbt.com", "dht.aelitis.com"];

/// How often a torrent without peers is paused and resumed, for it to look for some. It dials nobody again for
/// a minute, so this leaves it time to get somewhere.
const REANNOUNCE: Duration = secs(15);

/// The states of a torrent that is whole and checked.
const SEEDING: [&str; 4] = ["uploading", "stalledUP", "forcedUP", "queuedUP"];

/// A running daemon.
pub struct Qbittorrent {
    host: Host,
    process: Process,
    /// When it was last told to look for peers.
    asked: Instant,
}

impl Qbittorrent {
    /// Starts the daemon; `entries` are the first nodes of the DHT, of port 6881, and it is there when the
    /// daemon has met as many nodes as it was given.
    pub fn start(host: &Host, entries: &[SocketAddr]) -> Self {
        let profile = host.folder.join("qbittorrent");
        write_settings(&profile, host);
        // The names are the nodes that we say: in the file of hosts that this process alone has, as
        // `ip netns exec` gives it mounts of its own.
        let hosts = host.folder.join("hosts");
        let names = ENTRIES.iter().zip(entries).map(|(name, entry)| {
            assert_eq!(entry.port(), 6881, "the port is not ours to choose");
            format!("{} {name}\n", entry.ip())
        });
        write(&hosts, &format!("127.0.0.1 localhost\n{}", names.collect::<String>()));
        let mut command = host.command("sh");
        let script = "mount --bind \"$0\" /etc/hosts && exec qbittorrent-nox --profile=\"$1\"";
        command.args(["-c", script]).arg(&hosts).arg(&profile).env("HOME", &host.folder);
        let process = Process::spawn("qbittorrent", command, &host.folder);
        let mut node = Self { host: host.clone(), process, asked: Instant::now() };
        wait_for("qbittorrent to listen", secs(20), || {
            node.process.assert_running();
            node.try_ask("/api/v2/app/version", &[]).map(|_| ()).map_err(|error| error.to_string())
        });
        let enough = entries.len().min(ENTRIES.len()) as u64;
        wait_for("qbittorrent to enter the DHT", secs(30), || {
            let info = node.get("/api/v2/transfer/info");
            if info["dht_nodes"].as_u64() >= Some(enough) { Ok(()) } else { Err(info.to_string()) }
        });
        node
    }

    /// Where it takes peers and DHT nodes.
    pub fn address(&self) -> SocketAddr {
        self.host.at(PEER_PORT)
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Adds a magnet link or torrent file, with its content in (or to come to) `folder`.
    pub fn add(&self, source: &str, folder: &Path) {
        let folder = folder.to_string_lossy();
        let folder = ("savepath", None, folder.as_bytes());
        let path = "/api/v2/torrents/add";
        let answer = if source.starts_with("magnet:") {
            self.post(path, &[("urls", None, source.as_bytes()), folder])
        } else {
            let torrent =
                fs::read(source).unwrap_or_else(|error| panic!("read {source:?}: {error}"));
            self.post(path, &[("torrents", Some("a.torrent"), &torrent), folder])
        };
        assert_eq!(answer, "Ok.", "qbittorrent does not take {source}");
    }

    /// Forgets its torrents, not their files.
    pub fn forget(&self) {
        let fields: [(&str, Option<&str>, &[u8]); 2] =
            [("hashes", None, b"all"), ("deleteFiles", None, b"false")];
        self.post("/api/v2/torrents/delete", &fields);
        wait_until("qbittorrent to forget", secs(20), || self.torrents().is_empty());
    }

    /// Dials a peer for a torrent, as soon as it has taken that in.
    pub fn connect(&self, info_hash: &str, peer: SocketAddr) {
        let peer = peer.to_string();
        let fields = [("hashes", None, info_hash.as_bytes()), ("peers", None, peer.as_bytes())];
        wait_for("qbittorrent to take a peer", secs(10), || {
            let answer = self.post("/api/v2/torrents/addPeers", &fields);
            let told: Value = serde_json::from_str(&answer).unwrap_or_default();
            if told[info_hash]["added"] == 1 { Ok(()) } else { Err(answer) }
        });
    }

    /// Asks the DHT again if a torrent that is not whole has no peer, and that some seconds after it did so
    /// last: of itself it may take its time once it has the metadata of a magnet link.
    pub fn look_for_peers(&mut self) {
        let alone = |torrent: &Value| torrent["num_seeds"] == 0 && !is_whole(torrent);
        if self.asked.elapsed() > REANNOUNCE && self.torrents().iter().any(alone) {
            self.asked = Instant::now();
            self.post("/api/v2/torrents/pause", &[("hashes", None, b"all")]);
            self.post("/api/v2/torrents/resume", &[("hashes", None, b"all")]);
        }
    }

    /// Waits until all its torrents are complete.
    pub fn wait_complete(&mut self, limit: Duration) {
        wait_for("qbittorrent to complete", limit, || {
            let torrents = self.torrents();
            if !torrents.is_empty() && torrents.iter().all(is_whole) {
                return Ok(());
            }
            self.look_for_peers();
            Err(format!("{torrents:?}"))
        });
    }

    fn torrents(&self) -> Vec<Value> {
        self.get("/api/v2/torrents/info").as_array().cloned().unwrap_or_default()
    }

    fn get(&self, path: &str) -> Value {
        match self.try_ask(path, &[]) {
            Ok((200, body)) => serde_json::from_slice(&body)
                .unwrap_or_else(|error| panic!("qbittorrent said {body:?}: {error}")),
            other => panic!("qbittorrent at {path}: {other:?}"),
        }
    }

    fn post(&self, path: &str, fields: &[(&str, Option<&str>, &[u8])]) -> String {
        match self.try_ask(path, fields) {
            Ok((200, body)) => String::from_utf8_lossy(&body).into_owned(),
            other => panic!("qbittorrent at {path}: {other:?}"),
        }
    }

    fn try_ask(
        &self,
        path: &str,
        fields: &[(&str, Option<&str>, &[u8])],
    ) -> std::io::Result<(u16, Vec<u8>)> {
        self.host.enter(|| {
            let stream = TcpStream::connect(CONTROL)?;
            stream.set_read_timeout(Some(secs(20)))?;
            http::ask(stream, path, fields)
        })
    }
}

fn is_whole(torrent: &Value) -> bool {
    torrent["state"].as_str().is_some_and(|state| SEEDING.contains(&state))
}

fn write_settings(profile: &Path, host: &Host) {
    let folder = profile.join("qBittorrent/config");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("make {folder:?}: {error}"));
    let settings = format!(
        "[LegalNotice]\nAccepted=true\n\
         [Preferences]\n\
         Connection\\ResolvePeerCountries=false\n\
         WebUI\\Enabled=true\nWebUI\\Address={}\nWebUI\\Port={}\n\
         WebUI\\LocalHostAuth=false\nWebUI\\CSRFProtection=false\nWebUI\\UseUPnP=false\n\
         [BitTorrent]\n\
         Session\\Port={PEER_PORT}\nSession\\InterfaceAddress={}\n\
         Session\\LSDEnabled=false\nSession\\BTProtocol=TCP\nSession\\Encryption=2\n\
         Session\\QueueingSystemEnabled=false\n\
         [Network]\nPortForwardingEnabled=false\n",
        CONTROL.ip(),
        CONTROL.port(),
        host.ip,
    );
    write(&folder.join("qBittorrent.conf"), &settings);
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
}
