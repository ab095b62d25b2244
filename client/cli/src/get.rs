//! `trackerless get`: fetches torrents, prints the paths, and stays if asked to.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use client::driver::{Add, AddError, Client, What};
use client::{TorrentEvent, TorrentKey};
use serde_json::json;
use tokio::time::Instant;
use wire::metainfo::Info;

use crate::args::Get;
use crate::exit::Failure;
use crate::report::{self, Report};
use crate::signals::Signals;
use crate::target::{self, Target};
use crate::{start, text};

/// How often the progress line is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// A disk that takes longer to save is spoken of.
const SAVE_PATIENCE: Duration = Duration::from_secs(1);
/// What a signal leaves behind.
const SAVED: &str = "what is verified is saved";

/// Fetches all that `args` names.
pub async fn run(args: Get, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.network.json, quiet);
    let result = fetch(&args, &mut report).await;
    report.close(result)
}

async fn fetch(args: &Get, report: &mut Report) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut targets =
        args.targets.iter().map(|text| target::read(text)).collect::<Result<Vec<_>, _>>()?;
    targets.iter().flat_map(|target| &target.notes).for_each(|note| report.note(note));
    if args.list {
        // What a file says needs no network.
        targets.retain(|target| match &target.what {
            What::Info(info) => {
                list(info, report);
                false
            }
            _ => true,
        });
        if targets.is_empty() {
            return Ok(());
        }
    }
    let nodes = targets.iter().flat_map(|target| target.nodes.clone()).collect();
    let client = start::client(&args.network, nodes)?;
    let mut run = Run { client, args, states: BTreeMap::new(), code: None };
    for target in targets {
        run.add(target)?;
    }
    let result = run.until_done(&mut signals, report).await;
    let saved = save(&run.client, &mut signals, report).await;
    match (result, saved) {
        // What a signal's words promise is not true then.
        (Ok(()) | Err(Failure::Signal(..)), Err(failure)) => Err(failure),
        (result, _) => result,
    }
}

/// Brings to the disk what is there. A disk may take long, or never answer: a signal ends that.
async fn save(client: &Client, signals: &mut Signals, report: &Report) -> Result<(), Failure> {
    let mut saving = pin!(client.shutdown());
    let mut patience = pin!(tokio::time::sleep(SAVE_PATIENCE));
    let mut is_told = false;
    loop {
        tokio::select! {
            saved = &mut saving => return saved.map_err(Failure::from),
            () = &mut patience, if !is_told => {
                is_told = true;
                report.note("saving what is verified; interrupt once more to end at once");
            }
            signal = signals.next() => {
                report.clear();
                let failure = Failure::Signal(
                    signal,
                    "ended at once: what is not saved is checked at the next start",
                );
                report::print_error_line(&format!("trackerless: {failure}"));
                // The disk's threads are not waited for.
                std::process::exit(failure.code().into());
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fetching,
    Done,
    Failed,
}

struct Run<'a> {
    client: Client,
    args: &'a Get,
    states: BTreeMap<TorrentKey, State>,
    /// Of the first torrent that failed.
    code: Option<u8>,
}

impl Run<'_> {
    fn add(&mut self, target: Target) -> Result<(), Failure> {
        let mut peers = self.args.peer.clone();
        peers.extend(target.peers);
        let root = self.args.output.clone();
        let add = Add { what: target.what, root, peers, metadata_only: self.args.list };
        let key = self.client.add(add).map_err(|error| match error {
            AddError::Twice => Failure::Usage("a torrent is named twice".into()),
            AddError::Disk(error) => {
                Failure::Disk(format!("{error}; choose another folder with -o"))
            }
        })?;
        self.states.insert(key, State::Fetching);
        Ok(())
    }

    async fn until_done(
        &mut self,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let timeout = self.args.timeout.map(Duration::from_secs);
        // One beyond what the clock can count is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut redraw = tokio::time::interval(REDRAW_EVERY);
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => return match signal {
                    // Ctrl-C is how one ends a seed.
                    2 if !self.is_fetching() => self.outcome(),
                    signal => Err(Failure::Signal(signal, SAVED)),
                },
                (key, event) = self.client.event() => {
                    self.on_event(key, event, report)?;
                    if self.is_over() {
                        return self.outcome();
                    }
                }
                _ = redraw.tick() => report.progress(&self.stats(), &self.search()),
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() && self.is_fetching() => return Err(self.out_of_time()),
            }
        }
    }

    fn is(&self, state: State) -> bool {
        self.states.values().any(|other| *other == state)
    }

    fn is_fetching(&self) -> bool {
        self.is(State::Fetching)
    }

    /// Whether there is nothing left to do.
    fn is_over(&self) -> bool {
        let serves = self.args.seed && !self.args.list && self.is(State::Done);
        !self.is_fetching() && !serves
    }

    fn outcome(&self) -> Result<(), Failure> {
        let failed = self.states.values().filter(|state| **state == State::Failed).count();
        let all = self.states.len();
        self.code.map_or(Ok(()), |code| Err(Failure::Several { code, failed, all }))
    }

    fn stats(&self) -> Vec<client::TorrentStats> {
        let going = self.states.iter().filter(|(_, state)| **state != State::Failed);
        going.filter_map(|(key, _)| self.client.stats(*key)).collect()
    }

    fn search(&self) -> client::driver::SearchProgress {
        let mut fetching = self.states.iter().filter(|(_, state)| **state == State::Fetching);
        self.client.search(fetching.next().map(|(key, _)| *key))
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

    fn on_event(
        &mut self,
        key: TorrentKey,
        event: TorrentEvent,
        report: &mut Report,
    ) -> Result<(), Failure> {
        match event {
            TorrentEvent::Metadata(_) | TorrentEvent::Started => {
                self.on_known(key, event == TorrentEvent::Started, report);
            }
            TorrentEvent::Flushed => self.on_flushed(key, report),
            TorrentEvent::Failed(failure) => return self.on_failed(key, failure.into(), report),
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
        Ok(())
    }

    /// The info dict is known; `started`: what the disk has, too.
    fn on_known(&mut self, key: TorrentKey, started: bool, report: &Report) {
        let Some(info) = self.client.info(key) else { return };
        if self.args.list {
            if self.states.insert(key, State::Done) == Some(State::Fetching) {
                list(&info, report);
            }
            return;
        }
        let have = self.client.stats(key).map_or(0, |stats| stats.have_bytes);
        report.event(if started { "started" } else { "metadata" }, info_fields(&info, have));
        if started {
            report.note(&format!(
                "{}: {} in {}, {} here already",
                info.name,
                text::bytes(info.total_len),
                text::count(info.files.len(), "file"),
                text::bytes(have),
            ));
        }
    }

    /// One that fails does not keep the others from their end.
    fn on_failed(
        &mut self,
        key: TorrentKey,
        failure: Failure,
        report: &Report,
    ) -> Result<(), Failure> {
        if self.states.len() == 1 {
            return Err(failure);
        }
        if let Some(stats) = self.client.stats(key) {
            report.failure(&stats.info_hash, &failure);
        }
        self.code.get_or_insert(failure.code());
        self.states.insert(key, State::Failed);
        Ok(())
    }

    fn on_flushed(&mut self, key: TorrentKey, report: &Report) {
        let is_done = self.client.is_complete(key);
        if !is_done || self.states.insert(key, State::Done) != Some(State::Fetching) {
            return;
        }
        let (Some(info), Some(stats)) = (self.client.info(key), self.client.stats(key)) else {
            return;
        };
        let paths = paths(&info, &self.args.output);
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
    report.event("metadata", info_fields(info, 0));
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
