//! Info dicts alone, of whatever names a torrent: from its file, else from the peers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use client::driver::{Event, Events, SearchProgress, Session};
use client::{TorrentEvent, TorrentKey, TorrentStats};
use tokio::time::Instant;
use wire::InfoHash;
use wire::metainfo::Info;

use crate::args::Network;
use crate::exit::Failure;
use crate::get::out_of_time;
use crate::report::Report;
use crate::signals::Signals;
use crate::start;
use crate::target::{Target, What};

/// What a signal leaves behind.
const NOTHING_LEFT: &str = "nothing was written";

/// How torrents are asked for.
pub struct Asking<'a> {
    /// Where, and by whom.
    pub network: &'a Network,
    /// Peers to ask too.
    pub peers: &'a [String],
    /// Seconds.
    pub timeout: Option<u64>,
}

/// Hands the info dict of each target to `each` as they come, with the DHT nodes that a file names.
pub async fn fetch(
    asking: Asking<'_>,
    targets: Vec<Target>,
    report: &mut Report,
    mut each: impl FnMut(&Info, &[String], &Report),
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut wanted = Vec::new();
    for target in targets {
        match &target.what {
            // What a file says needs no network.
            What::Info(info) => each(info, &target.nodes, report),
            What::InfoHash(_) => wanted.push(target),
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let session = start::session(asking.network, Vec::new(), wanted.len())?;
    let mut fetch = Fetch { events: session.events(), session, wanted: BTreeMap::new(), bad: None };
    let all = wanted.len();
    for target in wanted {
        let info_hash = *target.info_hash();
        let add = target.add(Path::new("."), asking.peers).metadata_only();
        fetch.wanted.insert(fetch.session.add(add).await?, info_hash);
    }
    let result = fetch.until_done(asking.timeout, all, &mut signals, report, &mut each).await;
    result.and(Ok(fetch.session.shutdown().await?))
}

struct Fetch {
    session: Session,
    events: Events,
    /// Those that are not here yet.
    wanted: BTreeMap<TorrentKey, InfoHash>,
    /// How many failed, and the exit code of the first.
    bad: Option<(usize, u8)>,
}

impl Fetch {
    async fn until_done(
        &mut self,
        timeout: Option<u64>,
        all: usize,
        signals: &mut Signals,
        report: &mut Report,
        each: &mut impl FnMut(&Info, &[String], &Report),
    ) -> Result<(), Failure> {
        // One beyond what the clock can count is none.
        let deadline = timeout.and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
        let mut redraw = tokio::time::interval(report.redraw_every());
        while !self.wanted.is_empty() {
            tokio::select! {
                biased;
                signal = signals.next() => return Err(Failure::Signal(signal, NOTHING_LEFT)),
                event = self.events.next() => match event {
                    Some(Event::Torrent(key, TorrentEvent::Metadata(info))) => {
                        if self.wanted.remove(&key).is_some() {
                            each(&info, &[], report);
                        }
                    }
                    Some(Event::Torrent(key, TorrentEvent::Failed(failure))) => {
                        self.on_failed(key, failure.into(), all, report)?;
                    }
                    Some(Event::Lagged(_)) => self.catch_up(report, each).await?,
                    Some(_) => {}
                    None => return Err(Failure::ended()),
                },
                _ = redraw.tick() => {
                    let stats = self.stats().await?;
                    report.progress(&stats, &self.search().await?);
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() =>
                {
                    return Err(out_of_time(&self.stats().await?, &self.search().await?, 0));
                }
            }
        }
        self.bad.map_or(Ok(()), |(failed, code)| Err(Failure::Several { code, failed, all }))
    }

    /// One that fails does not keep the others from their end.
    fn on_failed(
        &mut self,
        key: TorrentKey,
        failure: Failure,
        all: usize,
        report: &Report,
    ) -> Result<(), Failure> {
        if all == 1 {
            return Err(failure);
        }
        let Some(info_hash) = self.wanted.remove(&key) else { return Ok(()) };
        report.failure(&info_hash, &failure);
        let (failed, code) = self.bad.unwrap_or((0, failure.code()));
        self.bad = Some((failed + 1, code));
        Ok(())
    }

    /// Events were lost.
    async fn catch_up(
        &mut self,
        report: &Report,
        each: &mut impl FnMut(&Info, &[String], &Report),
    ) -> Result<(), Failure> {
        for key in self.wanted.keys().copied().collect::<Vec<_>>() {
            if let Some(info) = self.session.info(key).await? {
                self.wanted.remove(&key);
                each(&info, &[], report);
            }
        }
        Ok(())
    }

    async fn stats(&self) -> Result<Vec<TorrentStats>, Failure> {
        let listed = self.session.list().await?.into_iter();
        Ok(listed.filter(|(key, _)| self.wanted.contains_key(key)).map(|(_, s)| s).collect())
    }

    async fn search(&self) -> Result<SearchProgress, Failure> {
        match self.wanted.keys().next() {
            Some(key) => Ok(self.session.search(*key).await?),
            None => Ok(SearchProgress::default()),
        }
    }
}
