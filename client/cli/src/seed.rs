//! `trackerless seed`: hashes files or folders, serves and announces them.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use client::driver::{
    Add, Event, Events, HashedPath, SearchProgress, Session, SessionError, hash_path,
};
use client::{TorrentEvent, TorrentKey};
use indicatif::ProgressBar;
use serde_json::json;
use wire::InfoHash;
use wire::magnet::Magnet;
use wire::metainfo::Info;

use crate::args::Seed;
use crate::exit::Failure;
use crate::report::{self, Report};
use crate::{signals, start, text};

/// The DHT's first answer takes no longer, unless none comes: a name, a round trip, and a lost datagram
/// or two.
const DHT_PATIENCE: Duration = Duration::from_secs(10);

/// Serves all that `args` names until a signal comes.
pub async fn run(args: Seed, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.network.json, quiet);
    let result = seed(&args, &mut report).await;
    report.close(result)
}

async fn seed(args: &Seed, report: &mut Report) -> Result<(), Failure> {
    let mut hashed: Vec<HashedPath> = Vec::new();
    for (at, path) in args.paths.iter().enumerate() {
        let one = hash(path, args.piece_length, report)?;
        let twin = hashed.iter().position(|other| other.info.info_hash == one.info.info_hash);
        if let Some(twin) = twin.and_then(|twin| args.paths.get(twin)) {
            let (one, other) = (twin.display(), args.paths[at].display());
            return Err(Failure::Usage(format!("{one} and {other} hold the same")));
        }
        hashed.push(one);
    }
    if let [one] = &hashed[..] {
        report.is_about(one.info.info_hash);
    }
    let session = start::session(&args.network, Vec::new(), hashed.len())?;
    let listen: Vec<String> = session.listen_addrs().iter().map(ToString::to_string).collect();
    report.note(&format!("listening on {}", listen.join(", ")));
    let (torrents, code) = Default::default();
    let mut seeding = Seeding { events: session.events(), session, args, listen, torrents, code };
    for hashed in hashed {
        seeding.add(hashed).await?;
    }
    let result = seeding.serve(report).await;
    let saved = seeding.session.shutdown().await;
    result.and(saved.map_err(|error| match error {
        SessionError::Failed(failure) => changed(failure),
        error => error.into(),
    }))
}

/// A seed writes nothing, so that only others' changes can go against it.
fn changed(failure: client::Failure) -> Failure {
    match failure {
        client::Failure::Disk(error) => Failure::Disk(format!(
            "{error}: it was changed while it was served; run the same command again"
        )),
        failure => failure.into(),
    }
}

/// One of those that are served.
struct Served {
    info_hash: InfoHash,
    name: String,
    magnet: String,
    is_announced: bool,
    has_failed: bool,
}

struct Seeding<'a> {
    session: Session,
    events: Events,
    args: &'a Seed,
    /// Where peers are taken.
    listen: Vec<String>,
    torrents: BTreeMap<TorrentKey, Served>,
    /// Of the first torrent that failed.
    code: Option<u8>,
}

impl Seeding<'_> {
    async fn add(&mut self, hashed: HashedPath) -> Result<(), Failure> {
        let served = Served {
            info_hash: hashed.info.info_hash,
            name: hashed.info.name.clone(),
            magnet: magnet(&hashed.info),
            is_announced: false,
            has_failed: false,
        };
        let add = self.args.peer.iter().cloned().fold(Add::seed(hashed), Add::peer);
        self.torrents.insert(self.session.add(add).await?, served);
        Ok(())
    }

    async fn serve(&mut self, report: &mut Report) -> Result<(), Failure> {
        let mut signals = signals::Signals::new()?;
        let mut redraw = tokio::time::interval(report.redraw_every());
        let mut patience = pin!(tokio::time::sleep(DHT_PATIENCE));
        let mut is_patient = !self.args.network.no_dht;
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => {
                    report.note("ending");
                    return match signal {
                        // Ctrl-C is how one ends a seed.
                        2 => self.outcome(),
                        other => Err(Failure::Signal(other, "nothing is served any more")),
                    };
                }
                event = self.events.next() => match event {
                    Some(Event::Torrent(key, event)) => self.on_event(key, event, report)?,
                    // Events were lost: a failure may be among them.
                    Some(_) => {
                        for (key, stats) in self.session.list().await? {
                            if let Some(failure) = stats.failure {
                                self.on_failed(key, failure, report)?;
                            }
                        }
                    }
                    None => return Err(Failure::ended()),
                },
                () = &mut patience, if is_patient => {
                    is_patient = false;
                    self.tell_of_silence(report).await?;
                }
                _ = redraw.tick() => self.redraw(report).await?,
            }
            if self.torrents.values().all(|served| served.has_failed) {
                return self.outcome();
            }
        }
    }

    fn outcome(&self) -> Result<(), Failure> {
        let failed = self.torrents.values().filter(|served| served.has_failed).count();
        let all = self.torrents.len();
        self.code.map_or(Ok(()), |code| Err(Failure::Several { code, failed, all }))
    }

    async fn redraw(&self, report: &mut Report) -> Result<(), Failure> {
        let active = self.session.active().await?.into_iter();
        let serves = |key: &TorrentKey| self.torrents.get(key).is_some_and(|one| !one.has_failed);
        let stats: Vec<_> = active.filter(|(key, _)| serves(key)).map(|(_, s)| s).collect();
        report.progress(&stats, &self.search().await?);
        Ok(())
    }

    async fn search(&self) -> Result<SearchProgress, Failure> {
        match self.torrents.keys().next() {
            Some(key) => Ok(self.session.search(*key).await?),
            None => Ok(SearchProgress::default()),
        }
    }

    /// Whoever has only the magnet link finds nobody without the DHT.
    async fn tell_of_silence(&self, report: &Report) -> Result<(), Failure> {
        let search = self.search().await?;
        if search.nodes > 0 || search.answered > 0 {
            return Ok(());
        }
        let unresolved = self.session.unresolved().await?;
        let names = unresolved.iter().map(|(name, error)| format!("; {name}: {error}"));
        report.warn(&format!(
            "no DHT node has answered within {}, so nobody can find this by its link{}; it is \
             tried on",
            text::span(DHT_PATIENCE),
            names.collect::<String>()
        ));
        let names = unresolved.iter();
        let names: Vec<_> =
            names.map(|(name, error)| json!({ "host": name, "error": error })).collect();
        report.event("dht_silent", json!({ "unresolved": names }));
        Ok(())
    }

    fn on_event(
        &mut self,
        key: TorrentKey,
        event: TorrentEvent,
        report: &Report,
    ) -> Result<(), Failure> {
        let Some(served) = self.torrents.get_mut(&key) else { return Ok(()) };
        let info_hash = served.info_hash.to_string();
        match event {
            TorrentEvent::Started => {
                let Served { magnet, .. } = served;
                report.event(
                    "serving",
                    json!({ "info_hash": info_hash, "magnet": magnet, "listen": self.listen }),
                );
                report.answer(magnet);
            }
            TorrentEvent::Connected(addr) => {
                report.event("peer", json!({ "info_hash": info_hash, "addr": addr.to_string() }));
            }
            TorrentEvent::Announced { kept_by } => {
                report.event("announced", json!({ "info_hash": info_hash, "kept_by": kept_by }));
                if kept_by > 0 && !std::mem::replace(&mut served.is_announced, true) {
                    let nodes = text::count(kept_by, "DHT node");
                    report.note(&format!("{}: announced, kept by {nodes}", served.name));
                }
            }
            TorrentEvent::Failed(failure) => return self.on_failed(key, failure, report),
            _ => {}
        }
        Ok(())
    }

    /// One that fails does not end the others.
    fn on_failed(
        &mut self,
        key: TorrentKey,
        failure: client::Failure,
        report: &Report,
    ) -> Result<(), Failure> {
        let failure = changed(failure);
        if self.torrents.len() == 1 {
            return Err(failure);
        }
        let Some(served) = self.torrents.get_mut(&key) else { return Ok(()) };
        if !std::mem::replace(&mut served.has_failed, true) {
            report.failure(&served.info_hash, &failure);
            self.code.get_or_insert(failure.code());
        }
        Ok(())
    }
}

fn hash(path: &Path, piece_length: Option<u32>, report: &Report) -> Result<HashedPath, Failure> {
    let bar = ProgressBar::new(0).with_style(report::bytes_bar()).with_message("hashing");
    if !report.draws() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let hashed = hash_path(path, piece_length, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .map_err(|error| Failure::Disk(error.to_string()))?;
    bar.finish_and_clear();
    tell_skipped(&hashed, report);
    let info = &hashed.info;
    report.event(
        "hashed",
        json!({
            "info_hash": info.info_hash.to_string(),
            "name": info.name,
            "total": info.total_len,
            "pieces": info.piece_count(),
        }),
    );
    report.note(&format!(
        "{}: {} in {} of {}",
        info.name,
        text::bytes(info.total_len),
        text::count(info.piece_count() as usize, "piece"),
        text::bytes(u64::from(info.piece_length)),
    ));
    Ok(hashed)
}

/// Tells what of a folder is not shared.
pub fn tell_skipped(hashed: &HashedPath, report: &Report) {
    /// Names that are told.
    const NAMES_MAX: usize = 5;
    if hashed.skipped.is_empty() {
        return;
    }
    let first = hashed.skipped.iter().take(NAMES_MAX);
    let names: Vec<String> = first.map(|path| path.display().to_string()).collect();
    let count = hashed.skipped.len();
    let more = if count > names.len() { ", ..." } else { "" };
    report.note(&format!(
        "left out: {count} that are neither files nor folders (symbolic links are not followed): \
         {}{more}",
        names.join(", ")
    ));
    let info_hash = hashed.info.info_hash.to_string();
    report.event("skipped", json!({ "info_hash": info_hash, "count": count, "first": names }));
}

/// The magnet link of a torrent.
pub fn magnet(info: &Info) -> String {
    Magnet::new(info.info_hash, Some(info.name.clone())).to_string()
}
