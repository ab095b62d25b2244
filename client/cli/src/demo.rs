//! `trackerless demo`: the main job on this machine alone.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use client::TorrentEvent;
use client::driver::{Add, Event, Events, HashedPath, Session, hash_path};
use dht::driver::Testnet;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::args::Demo;
use crate::exit::Failure;
use crate::report::print_line;
use crate::{signals, text};

/// Size of the file that is made, in bytes.
const FILE_LEN: u64 = 64 << 20;
/// How long any step may take that moves no file.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// What a signal leaves behind.
const NOTHING_LEFT: &str = "nothing is left behind";
/// What the slowest disk is good for, in bytes a second.
const SLOW_DISK: u64 = 5 << 20;

/// Runs the demo, and takes away all that it made, however it ends.
pub async fn run(args: Demo) -> Result<(), Failure> {
    let mut signals = signals::Signals::new()?;
    let folder = tempfile::tempdir().map_err(|error| no_place(&error))?;
    let mut fetching = None;
    let result = tokio::select! {
        result = play(args, folder.path(), &mut fetching) => result,
        signal = signals.next() => Err(Failure::Signal(signal, NOTHING_LEFT)),
    };
    if let Some(mut child) = fetching {
        // It may have ended already. Until it has, it may still make files.
        let _ = child.kill().await;
    }
    let path = folder.path().to_path_buf();
    folder.close().map_err(|error| {
        Failure::Disk(format!("{}: {error}; remove that folder by hand", path.display()))
    })?;
    result?;
    say("   Nothing is left behind. Now yours: `trackerless seed FILE`, `trackerless get MAGNET`.");
    Ok(())
}

/// The demo itself. All its files are in `folder`; the process that fetches is put into `fetching`.
async fn play(args: Demo, folder: &Path, fetching: &mut Option<Child>) -> Result<(), Failure> {
    let started = Instant::now();
    let testnet = step(found_overlay(args.nodes)).await?;
    let nodes = testnet.bootstrap_addrs();
    say(&format!(
        "1. A DHT of {} nodes runs on loopback, with no tracker and no network ({}).",
        nodes.len(),
        text::millis(started.elapsed()),
    ));

    let path = match args.file {
        Some(path) => path,
        None => make_file(folder).map_err(|error| no_place(&error))?,
    };
    let hashed =
        hash_path(&path, None, |_, _| {}).map_err(|error| Failure::Disk(error.to_string()))?;
    let (info_hash, total_len) = (hashed.info.info_hash, hashed.info.total_len);
    say(&format!(
        "2. {} ({}) is hashed: info-hash {info_hash}.",
        hashed.info.name,
        text::bytes(total_len),
    ));

    let seeding = Instant::now();
    let (session, mut events, kept_by) = step(seed(hashed, nodes[nodes.len() / 3])).await?;
    say(&format!(
        "3. A seed serves it and has announced itself to {} of the DHT ({}).",
        text::count(kept_by, "node"),
        text::millis(seeding.elapsed()),
    ));

    let out = folder.join("fetched");
    let entry = nodes[nodes.len() * 2 / 3];
    say("4. Another process knows only the info-hash and one DHT node:");
    say(&format!("     trackerless get {info_hash} --bootstrap {entry}"));
    let hash_text = info_hash.to_string();
    let time = STEP_TIMEOUT + Duration::from_secs(total_len / SLOW_DISK);
    let fetched = tokio::select! {
        fetched = in_time(time, fetch(&hash_text, entry, &out, fetching)) => fetched?,
        () = until_failed(&mut events) => return Err(Failure::Internal("the seed ended".into())),
    };

    let (ours, theirs) = (sha256(&path)?, sha256(&fetched)?);
    if ours != theirs {
        return Err(Failure::Internal("what was fetched is not what was served".into()));
    }
    say(&format!("5. Both have SHA-256 {ours}: the same, byte for byte."));
    Ok(session.shutdown().await?)
}

/// The folder for temporary files is of no use.
fn no_place(error: &dyn std::fmt::Display) -> Failure {
    Failure::Disk(format!("{error}; choose another folder for temporary files by TMPDIR"))
}

fn say(line: &str) {
    // A reader that is gone ends nothing.
    let _ = print_line(line);
}

async fn step<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    in_time(STEP_TIMEOUT, work).await
}

async fn in_time<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(time, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::NotFound("the step took too long; is the machine busy?".into())),
    }
}

async fn found_overlay(count: u16) -> Result<Testnet, Failure> {
    Testnet::new(count).await.map_err(|error| Failure::Network(format!("loopback: {error}")))
}

fn make_file(folder: &Path) -> std::io::Result<PathBuf> {
    let path = folder.join("demo.bin");
    let mut file = File::create(&path)?;
    let mut random = File::open("/dev/urandom")?.take(FILE_LEN);
    std::io::copy(&mut random, &mut file)?;
    file.flush()?;
    Ok(path)
}

/// Serves what was hashed; returns once the DHT knows, with the number of nodes that do.
async fn seed(hashed: HashedPath, entry: SocketAddr) -> Result<(Session, Events, usize), Failure> {
    let builder = Session::builder().bind(([127, 20, 255, 1], 0).into());
    let session = builder.bootstrap(entry.to_string()).start()?;
    let mut events = session.events();
    session.add(Add::seed(hashed)).await?;
    loop {
        match events.next().await {
            Some(Event::Torrent(_, TorrentEvent::Announced { kept_by })) if kept_by > 0 => {
                return Ok((session, events, kept_by));
            }
            Some(Event::Torrent(_, TorrentEvent::Failed(failure))) => return Err(failure.into()),
            Some(_) => {}
            None => return Err(Failure::ended()),
        }
    }
}

async fn until_failed(events: &mut Events) {
    while let Some(event) = events.next().await {
        if matches!(event, Event::Torrent(_, TorrentEvent::Failed(_))) {
            return;
        }
    }
}

/// Fetches by info-hash in a process of its own, and shows what it tells. The path of what came.
async fn fetch(
    info_hash: &str,
    entry: SocketAddr,
    out: &Path,
    fetching: &mut Option<Child>,
) -> Result<PathBuf, Failure> {
    let internal = |error: std::io::Error| Failure::Internal(error.to_string());
    let program = std::env::current_exe().map_err(internal)?;
    let child = Command::new(program)
        .args(["get", info_hash, "--json", "--bind", "127.20.255.2:0", "--bootstrap"])
        .arg(entry.to_string())
        .arg("-o")
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Ctrl-C is for us, and we end it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(internal)?;
    let child = fetching.insert(child);
    let stdout = child.stdout.take().ok_or_else(|| Failure::Internal("no output".into()))?;
    let mut lines = BufReader::new(stdout).lines();
    let mut path = None;
    while let Some(line) = lines.next_line().await.map_err(internal)? {
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if let Some(line) = describe(&event) {
            say(&format!("     {:>7.1} ms  {line}", event["ms"].as_f64().unwrap_or(0.0)));
        }
        if event["event"] == "done" {
            path = event["paths"][0].as_str().map(PathBuf::from);
        }
    }
    let status = child.wait().await.map_err(internal)?;
    match (path, status.code()) {
        (Some(path), Some(0)) => Ok(path),
        // It was interrupted before we were.
        (_, Some(code @ (130 | 143))) => Err(Failure::Signal(code - 128, NOTHING_LEFT)),
        (_, Some(5)) => Err(no_place(&"the download failed")),
        _ => Err(Failure::NotFound(format!("the download ended with {status}"))),
    }
}

fn describe(event: &Value) -> Option<String> {
    let bytes = |key: &str| text::bytes(event[key].as_u64().unwrap_or(0));
    let number = |value: &Value| value.as_u64().unwrap_or(0) as usize;
    Some(match event["event"].as_str()? {
        "peer" => format!("connected to {}", event["addr"].as_str()?),
        "metadata" => format!(
            "metadata: {}, {} in {} pieces",
            event["name"].as_str()?,
            bytes("total"),
            event["pieces"]
        ),
        "progress" if event["state"] == "metadata" => format!(
            "asking the DHT: {} asked, {} answered, {} found",
            text::count(number(&event["dht"]["asked"]), "node"),
            event["dht"]["answered"],
            text::count(number(&event["dht"]["peers_found"]), "peer"),
        ),
        "progress" => {
            format!("{} of {} at {}/s", bytes("have"), bytes("total"), bytes("down_rate"))
        }
        "done" => format!("done: {} verified and on disk", bytes("have")),
        _ => return None,
    })
}

fn sha256(path: &Path) -> Result<String, Failure> {
    let disk = |error: std::io::Error| Failure::Disk(format!("{}: {error}", path.display()));
    let mut hash = Sha256::new();
    let mut files = vec![path.to_path_buf()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> = std::fs::read_dir(&path)
                .map_err(disk)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
                .map_err(disk)?;
            inside.sort_by(|a, b| b.cmp(a));
            files.extend(inside);
            continue;
        }
        let mut file = File::open(&path).map_err(disk)?;
        let mut buf = vec![0; 1 << 20];
        loop {
            let len = file.read(&mut buf).map_err(disk)?;
            if len == 0 {
                break;
            }
            hash.update(&buf[..len]);
        }
    }
    Ok(hex::encode(hash.finalize()))
}
