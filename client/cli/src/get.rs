//! `trackerless get`: fetches torrents, prints the paths, and stays if asked to.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use client::driver::{Add, Event, Events, SearchProgress, Session, SessionError};
use client::{TorrentEvent, TorrentKey, TorrentStats};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
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
/// Events whose figures are asked for at a time.
const ASKING_MAX: usize = 64;
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
    let events = session.events();
    let (all, torrents, told) = (targets.len(), BTreeMap::new(), VecDeque::new());
    let mut run = Run { session, events, args, all, torrents, counts: [0; 3], told, code: None };
    let result = run.until_done(targets, &mut signals, report).await;
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

/// A torrent that is being added; with it what it was known by.
type Adding = JoinSet<(InfoHash, Option<Arc<Info>>, Result<TorrentKey, SessionError>)>;
/// How a torrent stands.
type Figures = (TorrentStats, SearchProgress);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fetching,
    Done,
    Failed,
}

struct One {
    info_hash: InfoHash,
    state: State,
    /// As far as it is known, and until it is done.
    info: Option<Arc<Info>>,
}

/// What the session told of a torrent.
struct Told {
    key: TorrentKey,
    event: TorrentEvent,
    /// Are being asked for.
    figures: Option<JoinHandle<Result<Figures, SessionError>>>,
}

struct Run<'a> {
    session: Session,
    events: Events,
    args: &'a Get,
    /// How many there are to add.
    all: usize,
    torrents: BTreeMap<TorrentKey, One>,
    /// How many are in each state.
    counts: [usize; 3],
    /// In their order. Of many at a time the figures are asked for: the session is not waited for
    /// one by one.
    told: VecDeque<Told>,
    /// Of the first torrent that failed.
    code: Option<u8>,
}

impl Run<'_> {
    /// Adds many at a time: the disk is not waited for one by one.
    fn add_some(&self, targets: &mut vec::IntoIter<Target>, adding: &mut Adding) {
        let room = ADDING_MAX - adding.len();
        for target in targets.take(room) {
            let (session, info_hash) = (self.session.clone(), *target.info_hash());
            let info = target.info().cloned();
            let add = self.add(target);
            adding.spawn(async move { (info_hash, info, session.add(add).await) });
        }
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

    fn on_added(
        &mut self,
        info_hash: InfoHash,
        info: Option<Arc<Info>>,
        added: Result<TorrentKey, SessionError>,
    ) -> Result<(), Failure> {
        let key = added.map_err(|error| match error {
            SessionError::Disk(error) => {
                Failure::Disk(format!("{error}; choose another folder with -o"))
            }
            error => error.into(),
        })?;
        self.torrents.insert(key, One { info_hash, state: State::Fetching, info });
        self.counts[State::Fetching as usize] += 1;
        Ok(())
    }

    async fn until_done(
        &mut self,
        targets: Vec<Target>,
        signals: &mut Signals,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let (mut targets, mut adding) = (targets.into_iter(), Adding::new());
        let timeout = self.args.timeout.map(Duration::from_secs);
        // One beyond what the clock can count is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut redraw = tokio::time::interval(report.redraw_every());
        loop {
            self.add_some(&mut targets, &mut adding);
            if self.is_over() {
                return self.outcome();
            }
            let is_known = self.told.front().is_some_and(|t| self.torrents.contains_key(&t.key));
            tokio::select! {
                biased;
                signal = signals.next() => return match signal {
                    // Ctrl-C is how one ends a seed.
                    2 if !self.is_fetching() => self.outcome(),
                    signal => Err(Failure::Signal(signal, SAVED)),
                },
                Some(added) = adding.join_next() => {
                    let (info_hash, info, added) = added.map_err(|_| Failure::ended())?;
                    self.on_added(info_hash, info, added)?;
                }
                event = self.events.next(), if self.told.len() < ASKING_MAX => match event {
                    Some(Event::Torrent(key, event)) => self.ask(key, event),
                    Some(Event::Lagged(_)) => self.catch_up().await?,
                    Some(_) => {}
                    None => return Err(Failure::ended()),
                },
                told = next_told(&mut self.told), if is_known => {
                    let (key, event, figures) = told?;
                    self.on_event(key, event, figures, report).await?;
                }
                _ = redraw.tick() => {
                    let stats = self.active().await?;
                    report.progress(&stats, &self.search().await?);
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() && self.is_fetching() =>
                {
                    let (stats, search) = (self.active().await?, self.search().await?);
                    return Err(out_of_time(&stats, &search, self.all - self.torrents.len()));
                }
            }
        }
    }

    fn set(&mut self, key: TorrentKey, state: State) {
        if let Some(one) = self.torrents.get_mut(&key) {
            self.counts[one.state as usize] -= 1;
            self.counts[state as usize] += 1;
            one.state = state;
            one.info = None;
        }
    }

    fn is_fetching(&self) -> bool {
        self.counts[State::Fetching as usize] > 0 || self.torrents.len() < self.all
    }

    /// Whether there is nothing left to do.
    fn is_over(&self) -> bool {
        let serves = self.args.seed && self.counts[State::Done as usize] > 0;
        !self.is_fetching() && !serves
    }

    fn outcome(&self) -> Result<(), Failure> {
        let (failed, all) = (self.counts[State::Failed as usize], self.all);
        self.code.map_or(Ok(()), |code| Err(Failure::Several { code, failed, all }))
    }

    /// Those that are fetched, or of which somebody wants something.
    async fn active(&self) -> Result<Vec<TorrentStats>, Failure> {
        let listed = self.session.active().await?.into_iter();
        let going = listed.filter(|(key, _)| !self.is(*key, State::Failed));
        Ok(going.map(|(_, stats)| stats).collect())
    }

    fn is(&self, key: TorrentKey, state: State) -> bool {
        self.torrents.get(&key).is_some_and(|one| one.state == state)
    }

    async fn search(&self) -> Result<SearchProgress, Failure> {
        let mut fetching = self.torrents.iter().filter(|(_, one)| one.state == State::Fetching);
        match fetching.next().or(self.torrents.iter().next()) {
            Some((key, _)) => Ok(self.session.search(*key).await?),
            None => Ok(SearchProgress::default()),
        }
    }

    /// Asks for what is to be said along with an event.
    fn ask(&mut self, key: TorrentKey, event: TorrentEvent) {
        let figures = match event {
            TorrentEvent::Started | TorrentEvent::Flushed => {
                let session = self.session.clone();
                Some(tokio::spawn(async move {
                    tokio::try_join!(session.stats(key), session.search(key))
                }))
            }
            _ => None,
        };
        self.told.push_back(Told { key, event, figures });
    }

    async fn on_event(
        &mut self,
        key: TorrentKey,
        event: TorrentEvent,
        figures: Option<Figures>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Some(one) = self.torrents.get(&key) else { return Ok(()) };
        let info_hash = one.info_hash.to_string();
        match (event, figures) {
            (TorrentEvent::Metadata(info), _) => {
                report.event("metadata", known(&info, 0));
            }
            (TorrentEvent::Started, Some((stats, _))) => {
                self.on_started(key, &stats, report).await?;
            }
            (TorrentEvent::Flushed, Some((stats, search))) => {
                self.on_flushed(key, &stats, &search, report).await?;
            }
            (TorrentEvent::Failed(failure), _) => {
                return self.on_failed(key, failure.into(), report);
            }
            (TorrentEvent::Connected(addr), _) => {
                report.event("peer", json!({ "info_hash": info_hash, "addr": addr.to_string() }));
            }
            (TorrentEvent::HashFailed(piece), _) => {
                report.event("hash_failed", json!({ "info_hash": info_hash, "piece": piece }));
            }
            (TorrentEvent::Banned(addr), _) => {
                report.event("banned", json!({ "info_hash": info_hash, "addr": addr.to_string() }));
                report.note(&format!("{addr} sent corrupt data and is banned"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Events were lost: what they said is looked up.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        let listed = self.session.list().await?;
        let is_done = |key: TorrentKey| self.is(key, State::Done);
        if listed.iter().any(|(key, stats)| stats.complete && !is_done(*key)) {
            // What is complete is to last before anybody is told.
            self.session.save().await?;
        }
        for (key, stats) in listed {
            match stats.failure {
                Some(failure) => self.ask(key, TorrentEvent::Failed(failure)),
                // What was not complete by then tells of its own flush.
                None if stats.complete && !self.is(key, State::Done) => {
                    self.ask(key, TorrentEvent::Flushed);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The info dict, which is known if its torrent started.
    async fn info(&mut self, key: TorrentKey) -> Result<Option<Arc<Info>>, Failure> {
        let Some(one) = self.torrents.get_mut(&key) else { return Ok(None) };
        if one.info.is_none() {
            one.info = self.session.info(key).await?;
        }
        Ok(one.info.clone())
    }

    /// What the disk has is known.
    async fn on_started(
        &mut self,
        key: TorrentKey,
        stats: &TorrentStats,
        report: &Report,
    ) -> Result<(), Failure> {
        let Some(info) = self.info(key).await? else { return Ok(()) };
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
    fn on_failed(
        &mut self,
        key: TorrentKey,
        failure: Failure,
        report: &Report,
    ) -> Result<(), Failure> {
        if self.all == 1 {
            return Err(failure);
        }
        let Some(one) = self.torrents.get(&key).filter(|one| one.state != State::Failed) else {
            return Ok(());
        };
        report.failure(&one.info_hash, &failure);
        self.code.get_or_insert(failure.code());
        self.set(key, State::Failed);
        Ok(())
    }

    async fn on_flushed(
        &mut self,
        key: TorrentKey,
        stats: &TorrentStats,
        search: &SearchProgress,
        report: &Report,
    ) -> Result<(), Failure> {
        if !stats.complete || !self.is(key, State::Fetching) {
            return Ok(());
        }
        let Some(info) = self.info(key).await? else { return Ok(()) };
        self.set(key, State::Done);
        let paths = paths(&info, &self.args.output);
        let mut fields = report::progress_fields(stats, search);
        fields["paths"] = json!(paths);
        report.event("done", fields);
        for path in paths {
            report.answer(&path);
        }
        Ok(())
    }
}

/// The first event, once its figures are there. Nothing is lost if it is not waited for to the end.
async fn next_told(
    told: &mut VecDeque<Told>,
) -> Result<(TorrentKey, TorrentEvent, Option<Figures>), Failure> {
    let figures = match told.front_mut().and_then(|told| told.figures.as_mut()) {
        Some(figures) => Some(figures.await.map_err(|_| Failure::ended())??),
        None => None,
    };
    let Told { key, event, .. } = told.pop_front().ok_or_else(Failure::ended)?;
    Ok((key, event, figures))
}

/// What is still waited for when time is up; `more` have not been added yet.
pub fn out_of_time(stats: &[TorrentStats], search: &SearchProgress, more: usize) -> Failure {
    let mut waits: Vec<String> = stats
        .iter()
        .filter(|stats| !stats.complete)
        .map(|stats| report::waits_for(stats, search))
        .collect();
    if more > 0 {
        waits.push(format!("{} not added yet", text::count(more, "torrent")));
    }
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
