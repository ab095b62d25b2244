//! `trackerless seed`: hashes files or folders, serves and announces them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use client::driver::{Add, HashedPath, What, hash_path};
use client::{TorrentEvent, TorrentKey};
use indicatif::ProgressBar;
use serde_json::json;
use wire::magnet::Magnet;
use wire::metainfo::Info;

use crate::args::Seed;
use crate::exit::Failure;
use crate::report::Report;
use crate::{signals, start, text};

/// How often the progress line is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_millis(500);

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
    let client = start::client(&args.network, Vec::new())?;
    let mut magnets = BTreeMap::new();
    for HashedPath { info, root } in hashed {
        let magnet = magnet(&info);
        let what = What::Seed(Box::new(info));
        let add = Add { what, root, peers: args.peer.clone(), metadata_only: false };
        let key = client.add(add).map_err(|error| match error {
            client::driver::AddError::Twice => {
                Failure::Usage("two of the paths hold the same".into())
            }
            client::driver::AddError::Disk(error) => error.into(),
        })?;
        magnets.insert(key, magnet);
    }
    let result = serve(&client, &magnets, report).await;
    let saved = client.shutdown().await;
    result.and(saved.map_err(changed))
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
    client: &client::driver::Client,
    magnets: &BTreeMap<TorrentKey, String>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut signals = signals::Signals::new()?;
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
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
            (key, event) = client.event() => match event {
                TorrentEvent::Started => {
                    let magnet = magnets.get(&key).cloned().unwrap_or_default();
                    let listen: Vec<String> =
                        client.listen_addrs().iter().map(ToString::to_string).collect();
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
            },
            _ = redraw.tick() => {
                let stats: Vec<_> =
                    magnets.keys().filter_map(|key| client.stats(*key)).collect();
                report.progress(&stats, &client.search(None));
            }
        }
    }
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

/// The magnet link of a torrent.
pub fn magnet(info: &Info) -> String {
    Magnet::new(info.info_hash, Some(info.name.clone())).to_string()
}
