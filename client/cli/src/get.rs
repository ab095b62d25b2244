//! `trackerless get`: fetches torrents, prints the paths, and stays if asked to.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use client::driver::{Add, Event, Events, SearchProgress, Session, SessionError};
use client::{TorrentEvent, TorrentKey, TorrentStats};
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use wire::InfoHash;
use wire::metainfo::Info;

use crate::args::Get;
use crate::exit::Failure;
use crate::metadata::{self, Asking};
use crate::report::{self, Report};
use crate::signals::Signals;
use crate::target::{self, Target};
use crate::{show, start, text};

/// A disk that takes longer to save is spoken of.
const SAVE_PATIENCE: Duration = Duration::from_secs(1);
/// Torrents that are added at a time.
const ADDING_MAX: usize = 64;
/// What a signal leaves behind.
const SAVED: &str = "what is verified is saved";

/// Fetches all that `args` names.
pub async fn run(args: Get, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.network.json, quiet);
    let result = fetch(&args, &mut report).await;
    report.close(result)
}

async fn fetch(args: &Get, report: &mut Report) -> Result<(), Failure> {
    let targets =
        args.targets.iter().map(|text| target::read(text)).collect::<Result<Vec<_>, _>>()?;
    targets.iter().flat_map(|target| &target.notes).for_each(|note| report.note(note));
    if let [target] = &targets[..] {
        report.is_about(*target.info_hash());
    }
    if args.list {
        report.must_answer();
        let asking = Asking { network: &args.network, peers: &args.peer, timeout: args.timeout };
        let list = |info: &Info, _: &[String], report: &Report| show::list(info, report);
        return metadata::fetch(asking, targets, report, list).await;
    }
    let mut signals = Signals::new()?;
    let nodes = targets.iter().flat_map(|target| target.nodes.clone()).collect();
    let session = start::session(&args.network, nodes, targets.len())?;
    let (hashes, states, paths) = Default::default();
    let events = session.events();
    let mut run = Run { events, session, args, hashes, states, counts: [0; 3], paths, code: None };
    run.add_all(targets).await?;
    let result = run.until_done(&mut signals, report).await;
    let saved = save(run.session, &mut signals, report).await;
    match (result, saved) {
        // What a signal's words promise is not true then.
        (Ok(()) | Err(Failure::Signal(..)), Err(failure)) => Err(failure),
        (result, _) => result,
    }
}

/// Brings to the disk what is there. A disk may take long, or never answer: a signal ends that.
async fn save(session: Session, signals: &mut Signals, report: &Report) -> Result<(), Failure> {
    let mut saving = pin!(session.shutdown());
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

/// What came of adding a torrent.
type Added = Result<(InfoHash, Result<TorrentKey, SessionError>), JoinError>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fetching,
    Done,
    Failed,
}

struct Run<'a> {
    session: Session,
    events: Events,
    args: &'a Get,
    hashes: BTreeMap<TorrentKey, InfoHash>,
    states: BTreeMap<TorrentKey, State>,
    /// How many are in each state.
    counts: [usize; 3],
    /// Of those that are fetched, as far as they are known.
    paths: BTreeMap<TorrentKey, Vec<String>>,
    /// Of the first torrent that failed.
    code: Option<u8>,
}

impl Run<'_> {
    /// Adds many at a time: the disk is not waited for one by one.
    async fn add_all(&mut self, targets: Vec<Target>) -> Result<(), Failure> {
        let mut adding = JoinSet::new();
        for target in targets {
            if adding.len() >= ADDING_MAX {
                self.on_added(adding.join_next().await)?;
            }
            let (session, info_hash) = (self.session.clone(), *target.info_hash());
            let add = self.add(target);
            adding.spawn(async move { (info_hash, session.add(add).await) });
        }
        while !adding.is_empty() {
            self.on_added(adding.join_next().await)?;
        }
        Ok(())
    }

    fn add(&self, target: Target) -> Add {
        let mut add = target.add(&self.args.output, &self.args.peer);
        if let Some(selection) = &self.args.select {
            add = add.files(selection.0.clone());
        }
        if self.args.preallocate {
            add = add.preallocate();
        }
        if self.args.recheck {
            add = add.recheck();
        }
        add
    }

    fn on_added(&mut self, added: Option<Added>) -> Result<(), Failure> {
        let Some(Ok((info_hash, added))) = added else { return Err(Failure::ended()) };
        let key = added.map_err(|error| match error {
            SessionError::Disk(error) => {
                Failure::Disk(format!("{error}; choose another folder with -o"))
            }
            error => error.into(),
        })?;
        self.hashes.insert(key, info_hash);
        self.set(key, State::Fetching);
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
        let mut redraw = tokio::time::interval(report.redraw_every());
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => return match signal {
                    // Ctrl-C is how one ends a seed.
                    2 if !self.is_fetching() => self.outcome(),
                    signal => Err(Failure::Signal(signal, SAVED)),
                },
                event = self.events.next() => {
                    match event {
                        Some(Event::Torrent(key, event)) => {
                            self.on_event(key, event, report).await?;
                        }
                        Some(Event::Lagged(_)) => self.catch_up(report).await?,
                        Some(_) => {}
                        None => return Err(Failure::ended()),
                    }
                    if self.is_over() {
                        return self.outcome();
                    }
                }
                _ = redraw.tick() => {
                    let stats = self.active().await?;
                    report.progress(&stats, &self.search().await?);
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() && self.is_fetching() =>
                {
                    return Err(out_of_time(&self.active().await?, &self.search().await?));
                }
            }
        }
    }

    fn is(&self, state: State) -> bool {
        self.counts[state as usize] > 0
    }

    fn set(&mut self, key: TorrentKey, state: State) {
        self.counts[state as usize] += 1;
        if let Some(before) = self.states.insert(key, state) {
            self.counts[before as usize] -= 1;
        }
    }

    fn is_fetching(&self) -> bool {
        self.is(State::Fetching)
    }

    /// Whether there is nothing left to do.
    fn is_over(&self) -> bool {
        let serves = self.args.seed && self.is(State::Done);
        !self.is_fetching() && !serves
    }

    fn outcome(&self) -> Result<(), Failure> {
        let (failed, all) = (self.counts[State::Failed as usize], self.states.len());
        self.code.map_or(Ok(()), |code| Err(Failure::Several { code, failed, all }))
    }

    /// Those that are fetched, or of which somebody wants something.
    async fn active(&self) -> Result<Vec<TorrentStats>, Failure> {
        let listed = self.session.active().await?.into_iter();
        let going = listed.filter(|(key, _)| self.states.get(key) != Some(&State::Failed));
        Ok(going.map(|(_, stats)| stats).collect())
    }

    async fn search(&self) -> Result<SearchProgress, Failure> {
        let mut fetching = self.states.iter().filter(|(_, state)| **state == State::Fetching);
        match fetching.next().or(self.states.iter().next()) {
            Some((key, _)) => Ok(self.session.search(*key).await?),
            None => Ok(SearchProgress::default()),
        }
    }

    async fn on_event(
        &mut self,
        key: TorrentKey,
        event: TorrentEvent,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let info_hash = self.hashes.get(&key).map(ToString::to_string);
        match event {
            TorrentEvent::Metadata(info) => report.event("metadata", known(&info, 0)),
            TorrentEvent::Started => self.on_started(key, report).await?,
            TorrentEvent::Flushed => self.on_flushed(key, report).await?,
            TorrentEvent::Failed(failure) => {
                return self.on_failed(key, failure.into(), report).await;
            }
            TorrentEvent::Connected(addr) => {
                report.event("peer", json!({ "info_hash": info_hash, "addr": addr.to_string() }));
            }
            TorrentEvent::HashFailed(piece) => {
                report.event("hash_failed", json!({ "info_hash": info_hash, "piece": piece }));
            }
            TorrentEvent::Banned(addr) => {
                report.event("banned", json!({ "info_hash": info_hash, "addr": addr.to_string() }));
                report.note(&format!("{addr} sent corrupt data and is banned"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Events were lost: what they said is looked up.
    async fn catch_up(&mut self, report: &Report) -> Result<(), Failure> {
        let listed = self.session.list().await?;
        let is_news = |(key, stats): &(TorrentKey, TorrentStats)| {
            stats.complete && self.states.get(key) == Some(&State::Fetching)
        };
        if listed.iter().any(is_news) {
            // What is complete is to last before anybody is told.
            self.session.save().await?;
        }
        for (key, stats) in listed {
            match stats.failure {
                Some(failure) if self.states.get(&key) != Some(&State::Failed) => {
                    self.on_failed(key, failure.into(), report).await?;
                }
                _ => self.on_flushed(key, report).await?,
            }
        }
        Ok(())
    }

    /// What the disk has is known.
    async fn on_started(&mut self, key: TorrentKey, report: &Report) -> Result<(), Failure> {
        let (info, stats) = tokio::try_join!(self.session.info(key), self.session.stats(key))?;
        let Some(info) = info else { return Ok(()) };
        self.paths.insert(key, paths(&info, &self.args.output));
        report.event("started", known(&info, stats.have_bytes));
        report.note(&format!(
            "{}: {} in {}, {} here already",
            info.name,
            text::bytes(info.total_len),
            text::count(info.files.len(), "file"),
            text::bytes(stats.have_bytes),
        ));
        Ok(())
    }

    /// One that fails does not keep the others from their end.
    async fn on_failed(
        &mut self,
        key: TorrentKey,
        failure: Failure,
        report: &Report,
    ) -> Result<(), Failure> {
        if self.states.len() == 1 {
            return Err(failure);
        }
        report.failure(&self.session.stats(key).await?.info_hash, &failure);
        self.code.get_or_insert(failure.code());
        self.set(key, State::Failed);
        Ok(())
    }

    async fn on_flushed(&mut self, key: TorrentKey, report: &Report) -> Result<(), Failure> {
        if self.states.get(&key) != Some(&State::Fetching) {
            return Ok(());
        }
        let (stats, search) = tokio::try_join!(self.session.stats(key), self.session.search(key))?;
        if !stats.complete {
            return Ok(());
        }
        self.set(key, State::Done);
        let paths = match self.paths.remove(&key) {
            Some(paths) => paths,
            // That it started was lost.
            None => match self.session.info(key).await? {
                Some(info) => paths(&info, &self.args.output),
                None => return Ok(()),
            },
        };
        let mut fields = report::progress_fields(&stats, &search);
        fields["paths"] = json!(paths);
        report.event("done", fields);
        for path in paths {
            report.answer(&path);
        }
        Ok(())
    }
}

/// What is still waited for when time is up.
pub fn out_of_time(stats: &[TorrentStats], search: &SearchProgress) -> Failure {
    let waits: Vec<String> = stats
        .iter()
        .filter(|stats| !stats.complete)
        .map(|stats| report::waits_for(stats, search))
        .collect();
    Failure::NotFound(format!("out of time; {}", waits.join("; ")))
}

/// What an info dict says, and bytes that are here.
fn known(info: &Info, have: u64) -> serde_json::Value {
    let mut fields = show::info_fields(info);
    fields["have"] = json!(have);
    fields
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
