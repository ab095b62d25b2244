//! `trackerless get`: fetches torrents, prints the paths, and stays if asked to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use client::driver::{Add, Client, What};
use client::{TorrentEvent, TorrentKey};
use serde_json::json;
use tokio::time::Instant;
use wire::magnet::Magnet;
use wire::metainfo::{Info, Metainfo};

use crate::args::Get;
use crate::exit::Failure;
use crate::report::{self, Report};
use crate::{signals, start, text};

/// How often the progress line is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// One thing to fetch.
struct Target {
    what: What,
    peers: Vec<String>,
    nodes: Vec<String>,
    /// Remarks for the user.
    notes: Vec<String>,
}

/// Fetches all that `args` names.
pub async fn run(args: Get, quiet: bool) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for text in &args.targets {
        targets.push(read_target(text)?);
    }
    let mut report = Report::new(args.network.json, quiet);
    let nodes = targets.iter().flat_map(|target| target.nodes.clone()).collect();
    let client = start::client(&args.network, nodes)?;
    let mut run = Run { client, keys: BTreeMap::new(), list: args.list };
    for target in targets {
        run.add(target, &args, &mut report)?;
    }
    let result = run.until_done(&args, &mut report).await;
    let saved = run.client.shutdown().await;
    report.clear();
    result.and(saved.map_err(Failure::from))
}

struct Run {
    client: Client,
    /// Torrents, and whether each is done.
    keys: BTreeMap<TorrentKey, bool>,
    list: bool,
}

impl Run {
    fn add(&mut self, target: Target, args: &Get, report: &mut Report) -> Result<(), Failure> {
        for note in &target.notes {
            report.note(note);
        }
        let mut peers = args.peer.clone();
        peers.extend(target.peers);
        let add =
            Add { what: target.what, root: args.output.clone(), peers, metadata_only: args.list };
        let key = self.client.add(add).map_err(|error| match error {
            client::driver::AddError::Twice => Failure::Usage("a torrent is named twice".into()),
            client::driver::AddError::Disk(error) => error.into(),
        })?;
        self.keys.insert(key, false);
        Ok(())
    }

    async fn until_done(&mut self, args: &Get, report: &mut Report) -> Result<(), Failure> {
        let mut signals = signals::Signals::new()?;
        let deadline = args.timeout.map(|secs| Instant::now() + Duration::from_secs(secs));
        let mut redraw = tokio::time::interval(REDRAW_EVERY);
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => return Err(Failure::Signal(signal)),
                (key, event) = self.client.event() => {
                    if self.on_event(key, event, args, report)? && !args.seed {
                        return Ok(());
                    }
                }
                _ = redraw.tick() => report.progress(&self.stats(), &self.search()),
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() && !self.all_done() => return Err(self.out_of_time()),
            }
        }
    }

    fn stats(&self) -> Vec<client::TorrentStats> {
        self.keys.keys().filter_map(|key| self.client.stats(*key)).collect()
    }

    fn search(&self) -> client::driver::SearchProgress {
        self.client.search(self.keys.iter().find(|(_, done)| !**done).map(|(key, _)| *key))
    }

    fn all_done(&self) -> bool {
        self.keys.values().all(|done| *done)
    }

    fn out_of_time(&self) -> Failure {
        let waits: Vec<String> = self
            .stats()
            .iter()
            .filter(|stats| !stats.complete)
            .map(|stats| report::waits_for(stats, &self.search()))
            .collect();
        Failure::NotFound(format!("out of time; {}", waits.join("; ")))
    }

    /// True once all torrents are done.
    fn on_event(
        &mut self,
        key: TorrentKey,
        event: TorrentEvent,
        args: &Get,
        report: &mut Report,
    ) -> Result<bool, Failure> {
        match event {
            TorrentEvent::Metadata(_) | TorrentEvent::Started => {
                let name = if event == TorrentEvent::Started { "started" } else { "metadata" };
                let Some(info) = self.client.info(key) else { return Ok(false) };
                let have = self.client.stats(key).map_or(0, |stats| stats.have_bytes);
                report.event(name, info_fields(&info, have));
                if self.list {
                    list(&info, report);
                    self.keys.insert(key, true);
                } else if name == "started" {
                    report.note(&format!(
                        "{}: {} in {}, {} here already",
                        info.name,
                        text::bytes(info.total_len),
                        text::count(info.files.len(), "file"),
                        text::bytes(have),
                    ));
                }
            }
            TorrentEvent::Complete => {}
            TorrentEvent::Flushed if self.client.is_complete(key) => {
                if self.keys.insert(key, true) == Some(false) {
                    self.on_done(key, args, report);
                }
            }
            TorrentEvent::Failed(failure) => return Err(failure.into()),
            TorrentEvent::Connected(addr) => {
                report.event("peer", json!({ "addr": addr.to_string() }));
            }
            TorrentEvent::HashFailed(piece) => {
                report.event("hash_failed", json!({ "piece": piece }));
            }
            TorrentEvent::Banned(addr) => {
                report.event("banned", json!({ "addr": addr.to_string() }));
                report.note(&format!("{addr} sent corrupt data and is banned"));
            }
            _ => {}
        }
        Ok(self.all_done())
    }

    fn on_done(&self, key: TorrentKey, args: &Get, report: &mut Report) {
        let (Some(info), Some(stats)) = (self.client.info(key), self.client.stats(key)) else {
            return;
        };
        let paths = paths(&info, &args.output);
        let mut fields = report::progress_fields(&stats, &self.search());
        fields["paths"] = json!(paths);
        report.event("done", fields);
        for path in paths {
            report.answer(&path);
        }
    }
}

fn info_fields(info: &Info, have: u64) -> serde_json::Value {
    let files: Vec<_> = info
        .files
        .iter()
        .map(|file| json!({ "path": file.path.join("/"), "len": file.len }))
        .collect();
    json!({
        "info_hash": info.info_hash.to_string(),
        "name": info.name,
        "total": info.total_len,
        "piece_length": info.piece_length,
        "pieces": info.piece_count(),
        "have": have,
        "files": files,
    })
}

fn list(info: &Info, report: &Report) {
    report.answer(&format!(
        "{}  {}  {} of {}",
        info.info_hash,
        text::bytes(info.total_len),
        text::count(info.piece_count() as usize, "piece"),
        text::bytes(u64::from(info.piece_length)),
    ));
    for file in info.files.iter().filter(|file| !file.pad) {
        report.answer(&format!("{:>14}  {}", file.len, file.path.join("/")));
    }
}

/// What was fetched: the file, or the folder of a torrent of several.
fn paths(info: &Info, output: &Path) -> Vec<String> {
    let mut paths: Vec<String> = info
        .files
        .iter()
        .filter(|file| !file.pad)
        .map(|file| output.join(file.path.iter().collect::<std::path::PathBuf>()))
        .map(|path| path.display().to_string())
        .collect();
    if !info.single_file {
        paths = info
            .files
            .first()
            .and_then(|file| file.path.first())
            .map(|folder| vec![output.join(folder).display().to_string()])
            .unwrap_or(paths);
    }
    paths
}

/// Reads a target as typed: a .torrent file, a magnet link or an info-hash.
fn read_target(text: &str) -> Result<Target, Failure> {
    let path = Path::new(text);
    let is_magnet = text.len() > 7 && text[..7].eq_ignore_ascii_case("magnet:");
    if !is_magnet && (path.extension().is_some_and(|e| e == "torrent") || path.is_file()) {
        return read_file(path);
    }
    let magnet = Magnet::from_user(text).map_err(|error| {
        Failure::Usage(format!(
            "{text}: {error}; give a magnet link, an info-hash or a .torrent file"
        ))
    })?;
    let mut notes = Vec::new();
    if magnet.trackers_ignored > 0 {
        notes.push(format!(
            "{} of the magnet link ignored (tr=): the DHT finds the peers",
            text::count(magnet.trackers_ignored, "tracker")
        ));
    }
    Ok(Target {
        what: What::InfoHash(magnet.info_hash),
        peers: magnet.peers.iter().map(|(host, port)| host_port(host, *port)).collect(),
        nodes: Vec::new(),
        notes,
    })
}

fn read_file(path: &Path) -> Result<Target, Failure> {
    let disk = |error| Failure::Disk(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(disk)?;
    let metainfo = Metainfo::parse(&bytes)
        .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
    if metainfo.info.private {
        return Err(client::Failure::Private.into());
    }
    let mut notes = Vec::new();
    if metainfo.trackers_ignored > 0 {
        notes.push(format!(
            "{} of the torrent ignored: the DHT finds the peers",
            text::count(metainfo.trackers_ignored, "tracker")
        ));
    }
    Ok(Target {
        nodes: metainfo.nodes.iter().map(|(host, port)| host_port(host, *port)).collect(),
        what: What::Info(Box::new(metainfo.info)),
        peers: Vec::new(),
        notes,
    })
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
