//! libtorrent, by way of `tests/peers/libtorrent_node.py`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::driven::Driven;
use crate::lan::Host;
use crate::ours::KeyFile;
use crate::process::Process;
use crate::programs::{peer_script, peers_python};
use crate::wait::{secs, wait_for, wait_until};

/// How often a torrent without peers looks for some and announces itself again.
const REANNOUNCE: Duration = Duration::from_secs(3);

/// A process with one or more libtorrent sessions.
pub struct Libtorrent {
    program: Driven,
    addresses: Vec<SocketAddr>,
}

/// A torrent of a [`Libtorrent`], by number.
#[derive(Clone, Copy, Debug)]
pub struct TorrentId(u64);

impl Libtorrent {
    /// One session on `host`, listening on `port` for peers and DHT alike.
    pub fn start(host: &Host, port: u16) -> Self {
        Self::start_many(host, &[host.at(port)], &json!({}))
    }

    /// A session for each of `addresses`, all of which belong to `host`, with more `settings`.
    pub fn start_many(host: &Host, addresses: &[SocketAddr], settings: &Value) -> Self {
        let mut command = host.command(peers_python());
        command
            .args(["-u", "-W", "ignore::DeprecationWarning"])
            .arg(peer_script("libtorrent_node.py"));
        let program = Driven::start("libtorrent", command, host);
        let mut node = Self { program, addresses: addresses.to_vec() };
        let listen: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        node.ask(json!({"op": "start", "listen": listen, "settings": settings}));
        node
    }

    /// A DHT of `count` sessions in one process that all know some of the others.
    pub fn start_network(host: &Host, addresses: &[SocketAddr]) -> Self {
        let mut network = Self::start_many(host, addresses, &json!({}));
        let enough = (addresses.len() - 1).min(3);
        // Told again until it is so: what is told before a session's DHT is up, it forgets.
        let mut told = None;
        wait_for("a libtorrent network", secs(30), || {
            let nodes = network.nodes();
            if nodes.iter().all(|&n| n >= enough) {
                return Ok(());
            }
            if told.is_none_or(|told: Instant| told.elapsed() > REANNOUNCE) {
                told = Some(Instant::now());
                for session in (0..addresses.len()).filter(|&session| nodes[session] < enough) {
                    for step in 1..=3 {
                        let other = addresses[(session + step) % addresses.len()];
                        network.add_node_to(session, other);
                    }
                }
            }
            Err(format!("{nodes:?}"))
        });
        network
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        self.program.process()
    }

    /// Where a session listens.
    pub fn address(&self, session: usize) -> SocketAddr {
        self.addresses[session]
    }

    /// Tells the first session of a DHT node.
    pub fn add_node(&mut self, node: SocketAddr) {
        self.add_node_to(0, node);
    }

    /// Tells a session of a DHT node, which it pings.
    pub fn add_node_to(&mut self, session: usize, node: SocketAddr) {
        self.ask(json!({"op": "add_node", "session": session, "node": node.to_string()}));
    }

    /// Tells the first session of a DHT node and waits until that stands in the routing table.
    pub fn join(&mut self, node: SocketAddr) {
        let before = self.nodes()[0];
        self.add_node(node);
        let what = format!("{node} in libtorrent's routing table");
        wait_until(&what, secs(30), || self.nodes()[0] > before);
    }

    /// The size of each session's routing table.
    pub fn nodes(&mut self) -> Vec<usize> {
        let answer = self.ask(json!({"op": "dht"}));
        let nodes = answer["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        nodes.iter().map(|n| n.as_u64().unwrap_or(0) as usize).collect()
    }

    /// Looks `info_hash` up until somebody names peers, at most `limit`.
    pub fn get_peers(&mut self, info_hash: &str, limit: Duration) -> Vec<SocketAddr> {
        self.get_peers_from(0, info_hash, limit)
    }

    /// The same, asked of one of several sessions.
    pub fn get_peers_from(
        &mut self,
        session: usize,
        info_hash: &str,
        limit: Duration,
    ) -> Vec<SocketAddr> {
        // One lookup may come before the announce that it is to find: ask again every 3 s.
        let start = Instant::now();
        loop {
            let answer = self.ask(json!({
                "op": "get_peers", "session": session, "info_hash_hex": info_hash, "seconds": 3,
            }));
            let peers = answer["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
            let peers: Vec<_> = peers.iter().filter_map(|p| p.as_str()?.parse().ok()).collect();
            if !peers.is_empty() || start.elapsed() >= limit {
                return peers;
            }
        }
    }

    /// Announces `port` under `info_hash`, with no torrent behind it.
    pub fn announce(&mut self, info_hash: &str, port: u16) {
        let session = 0;
        self.ask(
            json!({"op": "announce", "session": session, "info_hash_hex": info_hash, "port": port}),
        );
    }

    /// The same, as a seed.
    pub fn announce_seed(&mut self, info_hash: &str, port: u16) {
        self.ask(json!({
            "op": "announce", "session": 0, "info_hash_hex": info_hash, "port": port, "seed": true,
        }));
    }

    /// Has a text stored that nobody can change; gives its hash.
    pub fn put_item(&mut self, text: &str) -> String {
        let answer = self.ask(json!({
            "op": "put_item", "session": 0, "text": text, "seconds": 20,
        }));
        assert!(answer["nodes"].as_u64() > Some(0), "nobody stored it: {answer}");
        answer["target"].as_str().unwrap_or_default().to_owned()
    }

    /// Such a text, by its hash.
    pub fn get_item(&mut self, target: &str) -> Option<String> {
        let answer = self.ask(json!({
            "op": "get_item", "session": 0, "target_hex": target, "seconds": 20,
        }));
        answer["text"].as_str().map(str::to_owned)
    }

    /// Has a text stored under a key; gives its sequence number.
    pub fn put_signed(&mut self, key: &KeyFile, salt: &str, text: &str) -> i64 {
        let answer = self.ask(json!({
            "op": "put_signed", "session": 0, "secret_hex": key.secret, "public_hex": key.public,
            "salt": salt, "text": text, "seconds": 20,
        }));
        assert!(answer["nodes"].as_u64() > Some(0), "nobody stored it: {answer}");
        answer["seq"].as_i64().unwrap_or(-1)
    }

    /// The newest text under a key, and its sequence number.
    pub fn get_signed(&mut self, public: &str, salt: &str) -> (Option<String>, Option<i64>) {
        self.get_signed_from(public, salt, None)
    }

    /// The text under a key as soon as one with this sequence number, or a later one, is found.
    ///
    /// Who puts is listed by libtorrent even if he is read-only, and waited for 15 s once he is
    /// gone: no whole lookup is quick after a `dht-node put`.
    pub fn get_version(&mut self, public: &str, salt: &str, seq: i64) -> Option<String> {
        let (text, found) = self.get_signed_from(public, salt, Some(seq));
        assert_eq!(found, Some(seq), "{text:?}");
        text
    }

    fn get_signed_from(
        &mut self,
        public: &str,
        salt: &str,
        seq: Option<i64>,
    ) -> (Option<String>, Option<i64>) {
        let answer = self.ask(json!({
            "op": "get_signed", "session": 0, "public_hex": public, "salt": salt, "seq": seq,
            "seconds": 20,
        }));
        (answer["text"].as_str().map(str::to_owned), answer["seq"].as_i64())
    }

    /// Info-hashes that a node tells when it is asked for samples; `None` if it does not.
    pub fn sample(&mut self, node: SocketAddr) -> Option<Vec<String>> {
        let answer = self.ask(json!({
            "op": "sample", "session": 0, "node": node.to_string(), "seconds": 10,
        }));
        let samples = answer["samples"].as_array()?;
        Some(samples.iter().filter_map(|s| Some(s.as_str()?.to_owned())).collect())
    }

    /// Makes the v1 torrent file `to` of `path`; gives its info-hash.
    pub fn create(&mut self, path: &Path, to: &Path, piece_len: u32) -> String {
        let answer = self.ask(json!({
            "op": "create", "path": path, "to": to, "piece_length": piece_len, "private": false,
        }));
        answer["info_hash"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds a magnet link or torrent file, with its content in (or to come to) `folder`;
    /// `upload_limit` in bytes a second, 0 for none.
    pub fn add(&mut self, source: &str, folder: &Path, upload_limit: u32) -> TorrentId {
        let answer = self.ask(json!({
            "op": "add", "session": 0, "source": source, "save": folder,
            "upload_limit": upload_limit,
        }));
        match answer["torrent"].as_u64() {
            Some(number) => TorrentId(number),
            None => panic!("libtorrent gave no torrent: {answer}"),
        }
    }

    /// Adds a torrent file whose content lies in `folder`, and waits until it is checked and
    /// announced to the DHT.
    pub fn seed(&mut self, torrent: &Path, folder: &Path, upload_limit: u32) -> TorrentId {
        let id = self.add(&torrent.to_string_lossy(), folder, upload_limit);
        wait_for("libtorrent to seed", secs(30), || {
            let status = self.status(id);
            if status["seeding"] == true { Ok(()) } else { Err(status.to_string()) }
        });
        self.announce_torrent(id);
        id
    }

    /// The script's status of a torrent.
    pub fn status(&mut self, id: TorrentId) -> Value {
        self.ask(json!({"op": "status", "torrent": id.0}))
    }

    /// The peers of a torrent, with `address`, `client`, `gave_bytes` and `took_bytes`.
    pub fn peers(&mut self, id: TorrentId) -> Vec<Value> {
        let answer = self.ask(json!({"op": "peers", "torrent": id.0}));
        answer["peers"].as_array().cloned().unwrap_or_default()
    }

    /// Looks for peers of a torrent and announces it, now.
    pub fn announce_torrent(&mut self, id: TorrentId) {
        self.ask(json!({"op": "announce_torrent", "torrent": id.0}));
    }

    /// Dials a peer.
    pub fn connect(&mut self, id: TorrentId, peer: SocketAddr) {
        self.ask(json!({"op": "connect", "torrent": id.0, "peer": peer.to_string()}));
    }

    /// Waits until a torrent is complete and in its files, asking the DHT again while it has no
    /// peer.
    pub fn wait_complete(&mut self, id: TorrentId, limit: Duration) {
        let mut asked = Instant::now();
        wait_for("libtorrent to complete", limit, || {
            let status = self.status(id);
            if status["seeding"] == true {
                return Ok(());
            }
            if status["peers"] == 0 && asked.elapsed() > REANNOUNCE {
                asked = Instant::now();
                self.announce_torrent(id);
            }
            Err(status.to_string())
        });
        self.ask(json!({"op": "flush", "torrent": id.0}));
    }

    /// What the first session had to say since the last call.
    pub fn alerts(&mut self) -> Vec<String> {
        let answer = self.ask(json!({"op": "alerts", "session": 0}));
        let alerts = answer["alerts"].as_array().map(Vec::as_slice).unwrap_or_default();
        alerts.iter().filter_map(|a| Some(a.as_str()?.to_owned())).collect()
    }

    fn ask(&mut self, request: Value) -> Value {
        self.program.ask(request)
    }
}
