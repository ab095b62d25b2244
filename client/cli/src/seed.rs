//! `trackerless seed`: hashes files or folders, serves and announces them.

use std::collections::BTreeMap;
use std::path::Path;

use client::driver::{
    Add, Event, Events, HashedPath, SearchProgress, Session, SessionError, hash_path,
};
use client::{TorrentEvent, TorrentKey};
use indicatif::ProgressBar;
use serde_json::json;
use wire::magnet::Magnet;
use wire::metainfo::Info;

use crate::args::Seed;
use crate::exit::Failure;
use crate::report::Report;
use crate::{signals, start, text};

/// Serves all that `args` names until a signal comes.
pub async fn run(args: Seed, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.network.json, quiet);
    let result = seed(&args, &mut report).await;
    report.close(result)
}

async fn seed(args: &Seed, report: &mut Report) -> Result<(), Failure> {
    let mut hashed = Vec::new();
    for path in &args.paths {
        hashed.push(hash(path, args.piece_length, report)?);
    }
    let session = start::session(&args.network, Vec::new(), hashed.len())?;
    let mut events = session.events();
    let mut magnets = BTreeMap::new();
    for hashed in hashed {
        let magnet = magnet(&hashed.info);
        let add = args.peer.iter().cloned().fold(Add::seed(hashed), Add::peer);
        let key = session.add(add).await.map_err(|error| match error {
            SessionError::Twice(_) => Failure::Usage("two of the paths hold the same".into()),
            error => error.into(),
        })?;
        magnets.insert(key, magnet);
    }
    let result = serve(&session, &mut events, &magnets, report).await;
    let saved = session.shutdown().await;
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

async fn serve(
    session: &Session,
    events: &mut Events,
    magnets: &BTreeMap<TorrentKey, String>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut signals = signals::Signals::new()?;
    let mut redraw = tokio::time::interval(report.redraw_every());
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => {
                report.note("ending");
                return match signal {
                    // Ctrl-C is how one ends a seed.
                    2 => Ok(()),
                    other => Err(Failure::Signal(other, "nothing is served any more")),
                };
            }
            event = events.next() => match event {
                Some(Event::Torrent(key, event)) => on_event(session, magnets, key, event, report)?,
                // Events were lost: a failure may be among them.
                Some(_) => {
                    let listed = session.list().await?;
                    if let Some(failure) = listed.into_iter().find_map(|(_, stats)| stats.failure) {
                        return Err(changed(failure));
                    }
                }
                None => return Err(Failure::ended()),
            },
            _ = redraw.tick() => {
                let stats: Vec<_> =
                    session.active().await?.into_iter().map(|(_, stats)| stats).collect();
                let search = match magnets.keys().next() {
                    Some(key) => session.search(*key).await?,
                    None => SearchProgress::default(),
                };
                report.progress(&stats, &search);
            }
        }
    }
}

fn on_event(
    session: &Session,
    magnets: &BTreeMap<TorrentKey, String>,
    key: TorrentKey,
    event: TorrentEvent,
    report: &Report,
) -> Result<(), Failure> {
    match event {
        TorrentEvent::Started => {
            let magnet = magnets.get(&key).cloned().unwrap_or_default();
            let listen: Vec<String> =
                session.listen_addrs().iter().map(ToString::to_string).collect();
            report.event("serving", json!({ "magnet": magnet, "listen": listen }));
            report.answer(&magnet);
        }
        TorrentEvent::Connected(addr) => {
            report.event("peer", json!({ "addr": addr.to_string() }));
        }
        TorrentEvent::Announced { kept_by } => {
            report.event("announced", json!({ "kept_by": kept_by }));
        }
        TorrentEvent::Failed(failure) => return Err(changed(failure)),
        _ => {}
    }
    Ok(())
}

fn hash(path: &Path, piece_length: Option<u32>, report: &Report) -> Result<HashedPath, Failure> {
    let bar = ProgressBar::new(0);
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
