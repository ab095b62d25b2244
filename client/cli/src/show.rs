//! `trackerless show`: what a torrent holds, without fetching it.

use serde_json::{Value, json};
use wire::metainfo::Info;

use crate::args::Show;
use crate::exit::Failure;
use crate::metadata::{self, Asking};
use crate::report::Report;
use crate::seed::magnet;
use crate::{target, text};

/// Shows what `args` names.
pub async fn run(args: Show, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.network.json, quiet).answers_only();
    report.must_answer();
    let result = show(&args, &mut report).await;
    report.close(result)
}

async fn show(args: &Show, report: &mut Report) -> Result<(), Failure> {
    let target = target::read(&args.target)?;
    target.notes.iter().for_each(|note| report.note(note));
    report.is_about(*target.info_hash());
    let asking = Asking { network: &args.network, peers: &args.peer, timeout: args.timeout };
    metadata::fetch(asking, vec![target], report, print).await
}

fn print(info: &Info, nodes: &[String], report: &Report) {
    let mut fields = info_fields(info);
    fields["magnet"] = json!(magnet(info));
    fields["nodes"] = json!(nodes);
    report.event("torrent", fields);
    let count = info.files.iter().filter(|file| !file.pad).count();
    let mut rows = vec![
        ("name", info.name.clone()),
        ("info-hash", info.info_hash.to_string()),
        (
            "size",
            format!(
                "{} ({} bytes) in {}",
                text::bytes(info.total_len),
                info.total_len,
                text::count(count, "file")
            ),
        ),
        ("pieces", pieces(info)),
    ];
    rows.extend(nodes.iter().map(|node| ("node", node.clone())));
    rows.push(("magnet", magnet(info)));
    for (name, value) in rows {
        report.answer(&format!("{name:<10} {value}"));
    }
    list_files(info, report);
}

/// The info-hash, the size and the files with their numbers, as `get --list` has it.
pub fn list(info: &Info, report: &Report) {
    let mut fields = info_fields(info);
    fields["have"] = json!(0);
    report.event("metadata", fields);
    report.answer(&format!(
        "{}  {}  {}",
        info.info_hash,
        text::bytes(info.total_len),
        pieces(info)
    ));
    list_files(info, report);
}

fn pieces(info: &Info) -> String {
    let length = text::bytes(u64::from(info.piece_length));
    format!("{} of {length}", text::count(info.piece_count() as usize, "piece"))
}

/// Numbered from 0 by their place in the torrent, as `so=` of a magnet link does (BEP 53).
fn list_files(info: &Info, report: &Report) {
    for (number, file) in info.files.iter().enumerate().filter(|(_, file)| !file.pad) {
        report.answer(&format!("{number:>6} {:>14}  {}", file.len, file.path.join("/")));
    }
}

/// What an info dict says, as JSON.
pub fn info_fields(info: &Info) -> Value {
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
        "files": files,
    })
}
