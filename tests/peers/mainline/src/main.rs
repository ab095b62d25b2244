//! mainline, driven line by line: one JSON request on standard input, one JSON answer on standard
//! output, with the requests of `bittorrent_dht_node.mjs`.

// The blocking calls are what a program of one line at a time wants.
#![allow(deprecated)]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use mainline::{Dht, Id, MutableItem, SigningKey};
use serde_json::{Value, json};

type Answer = Result<Value, Box<dyn Error>>;

/// How long a query is waited for: all others are on this machine.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match answer(&mut nodes, &request) {
            Ok(mut answer) => {
                answer["ok"] = true.into();
                answer
            }
            // The other side decides what a failure means.
            Err(error) => json!({"ok": false, "error": error.to_string()}),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn answer(nodes: &mut Vec<Dht>, request: &Value) -> Answer {
    let (op, field) = (text(request, "op")?, |name| text(request, name));
    if op == "start" {
        return start(nodes, request);
    }
    if op == "sizes" {
        let sizes: Vec<_> = nodes.iter().map(|node| node.to_bootstrap().len()).collect();
        return Ok(json!({"sizes": sizes}));
    }
    let number = request["node"].as_u64().unwrap_or(0) as usize;
    let node = nodes.get(number).ok_or("no such node")?;
    match op {
        "announce" => {
            let port = request["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            node.announce_peer(id(field("info_hash")?)?, Some(port.ok_or("no port")?))?;
            // How many took it is not told; none would be an error.
            Ok(json!({"nodes": 1}))
        }
        "get_peers" => {
            let found = node.get_peers(id(field("info_hash")?)?);
            let peers: BTreeSet<SocketAddrV4> = found.flatten().collect();
            Ok(json!({"peers": peers.iter().map(ToString::to_string).collect::<Vec<_>>()}))
        }
        "put_item" => {
            let target = node.put_immutable(field("text")?.as_bytes())?;
            Ok(json!({"target": target.to_string(), "nodes": 1}))
        }
        "get_item" => {
            let value = node.get_immutable(id(field("target")?)?);
            Ok(json!({"text": value.map(|value| String::from_utf8_lossy(&value).into_owned())}))
        }
        "put_signed" => put_signed(node, request),
        "get_signed" => {
            let found = node.get_mutable_most_recent(&key(field("public")?)?, salt(request)?);
            let text = |item: &MutableItem| String::from_utf8_lossy(item.value()).into_owned();
            Ok(json!({"text": found.as_ref().map(text), "seq": found.map(|item| item.seq())}))
        }
        _ => Err(format!("no operation {op}").into()),
    }
}

/// Opens one node for each address of `listen`; each enters by those of `known`.
fn start(nodes: &mut Vec<Dht>, request: &Value) -> Answer {
    let known: Vec<&str> = strings(&request["known"]);
    for listen in strings(&request["listen"]) {
        let address: SocketAddrV4 = listen.parse()?;
        let known: Vec<_> = known.iter().filter(|other| **other != listen).collect();
        let mut builder = Dht::builder();
        builder.bind_address(*address.ip()).port(address.port()).server_mode();
        builder.bootstrap(&known.into_iter().map(ToString::to_string).collect::<Vec<_>>());
        nodes.push(builder.request_timeout(REQUEST_TIMEOUT).build()?);
    }
    Ok(json!({}))
}

/// Stores a text under a key, as the version after the one that is found.
fn put_signed(node: &Dht, request: &Value) -> Answer {
    let signer = SigningKey::from_bytes(&key(text(request, "secret")?)?);
    let salt = salt(request)?;
    let found = node.get_mutable_most_recent(&signer.verifying_key().to_bytes(), salt);
    let cas = found.map(|item| item.seq());
    let seq = cas.map_or(0, |seq| seq + 1);
    let item = MutableItem::new(signer, text(request, "text")?.as_bytes(), seq, salt);
    node.put_mutable(item, cas)?;
    Ok(json!({"nodes": 1, "seq": seq}))
}

fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str, Box<dyn Error>> {
    request[name].as_str().ok_or_else(|| format!("no {name}").into())
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// No salt is told from an empty one here: mainline signs the latter.
fn salt(request: &Value) -> Result<Option<&[u8]>, Box<dyn Error>> {
    let salt = text(request, "salt")?;
    Ok((!salt.is_empty()).then_some(salt.as_bytes()))
}

fn key(digits: &str) -> Result<[u8; 32], Box<dyn Error>> {
    let mut key = [0; 32];
    hex::decode_to_slice(digits, &mut key)?;
    Ok(key)
}

fn id(digits: &str) -> Result<Id, Box<dyn Error>> {
    digits.parse().map_err(|_| format!("{digits:?} is no id").into())
}
