//! Nodes of other DHT libraries, each by a program of `tests/peers`; all take the same requests.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::driven::Driven;
use crate::lan::Host;
use crate::ours::KeyFile;
use crate::programs::{mainline_node, npm_peers, peer_script};
use crate::wait::{secs, wait_for};

/// How many others a node that is alone is to know before it is asked for anything.
const ENOUGH: u64 = 3;

/// A process with one or more nodes.
pub struct OtherDht {
    program: Driven,
}

impl OtherDht {
    /// A node of bittorrent-dht on each of `addresses`, all of which belong to `host`. They enter
    /// by the nodes `known`, which may be of them.
    pub fn bittorrent_dht(host: &Host, addresses: &[SocketAddr], known: &[SocketAddr]) -> Self {
        let mut command = host.command("node");
        command.arg(peer_script("bittorrent_dht_node.mjs")).arg(npm_peers());
        Self::start(Driven::start("bittorrent-dht", command, host), addresses, known)
    }

    /// The same with mainline.
    pub fn mainline(host: &Host, addresses: &[SocketAddr], known: &[SocketAddr]) -> Self {
        Self::start(
            Driven::start("mainline", host.command(mainline_node()), host),
            addresses,
            known,
        )
    }

    /// Starts the nodes and waits until they know others.
    fn start(program: Driven, addresses: &[SocketAddr], known: &[SocketAddr]) -> Self {
        let texts = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut dht = Self { program };
        let start = json!({"op": "start", "listen": texts(addresses), "known": texts(known)});
        dht.program.ask(start);
        // Whom they enter by knows all; who came early may know no more than that one.
        let enough = (addresses.len() as u64 - 1).max(ENOUGH);
        wait_for("nodes to know others", secs(30), || {
            let answer = dht.program.ask(json!({"op": "sizes"}));
            let sizes = answer["sizes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let sizes: Vec<_> = sizes.iter().map(number).collect();
            let met = !sizes.contains(&0) && sizes.iter().any(|&size| size >= enough);
            if met { Ok(()) } else { Err(answer.to_string()) }
        });
        dht
    }

    /// Announces `port` of its first node's address; gives how many nodes took it (1 if
    /// that is not told).
    pub fn announce(&mut self, info_hash: &str, port: u16) -> u64 {
        let request = json!({"op": "announce", "node": 0, "info_hash": info_hash, "port": port});
        number(&self.program.ask(request)["nodes"])
    }

    /// The peers that its first node finds.
    pub fn get_peers(&mut self, info_hash: &str) -> Vec<SocketAddr> {
        let request = json!({"op": "get_peers", "node": 0, "info_hash": info_hash});
        let answer = self.program.ask(request);
        let peers = answer["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
        peers.iter().filter_map(|peer| peer.as_str()?.parse().ok()).collect()
    }

    /// Has a text stored that nobody can change; gives its hash.
    pub fn put_item(&mut self, text: &str) -> String {
        let answer = self.program.ask(json!({"op": "put_item", "node": 0, "text": text}));
        assert!(number(&answer["nodes"]) > 0, "nobody stored it: {answer}");
        answer["target"].as_str().unwrap_or_default().to_owned()
    }

    /// Such a text, by its hash.
    pub fn get_item(&mut self, target: &str) -> Option<String> {
        let answer = self.program.ask(json!({"op": "get_item", "node": 0, "target": target}));
        answer["text"].as_str().map(str::to_owned)
    }

    /// Has a text stored under a key, as the next version; gives its sequence number.
    pub fn put_signed(&mut self, key: &KeyFile, salt: &str, text: &str) -> i64 {
        let answer = self.program.ask(json!({
            "op": "put_signed", "node": 0, "secret": key.secret, "public": key.public,
            "salt": salt, "text": text,
        }));
        assert!(number(&answer["nodes"]) > 0, "nobody stored it: {answer}");
        answer["seq"].as_i64().unwrap_or(-1)
    }

    /// The newest text under a key, and its sequence number.
    pub fn get_signed(&mut self, public: &str, salt: &str) -> (Option<String>, Option<i64>) {
        let request = json!({"op": "get_signed", "node": 0, "public": public, "salt": salt});
        let answer = self.program.ask(request);
        (answer["text"].as_str().map(str::to_owned), answer["seq"].as_i64())
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
