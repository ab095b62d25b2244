//! `trackerless verify`: holds what lies in a folder against a torrent.

use std::time::Duration;

use client::driver::{FileState, Verified, VerifiedFile, verify};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use wire::metainfo::Info;

use crate::args::Verify;
use crate::exit::Failure;
use crate::report::Report;
use crate::signals::Signals;
use crate::{target, text};

/// How often the progress line is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Verifies what `args` names.
pub async fn run(args: Verify, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.json, quiet);
    report.must_answer();
    let result = hold(&args, &mut report).await;
    report.close(result)
}

async fn hold(args: &Verify, report: &mut Report) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let info = target::read_info(&args.torrent)?;
    let (done, mut at) = watch::channel((0, info.total_len));
    let work = spawn_blocking({
        let (info, root) = (info.clone(), args.folder.clone());
        move || verify(&info, root, |now, all| _ = done.send_replace((now, all)))
    });
    let mut work = std::pin::pin!(work);
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    let verified = loop {
        tokio::select! {
            biased;
            // It has written nothing, so that it may be left as it is.
            signal = signals.next() => return Err(Failure::Signal(signal, "nothing was written")),
            verified = &mut work => break verified,
            _ = redraw.tick() => {
                let (now, all) = *at.borrow_and_update();
                report.hashing(now, all);
            }
        }
    };
    let verified = verified.map_err(|error| Failure::Internal(error.to_string()))?;
    // With the path in it, it says all there is to say.
    let verified = verified.map_err(|error| Failure::Disk(error.message))?;
    report.clear();
    print(&info, &verified, report);
    if verified.is_whole() {
        return Ok(());
    }
    Err(not_whole(args, &info, &verified))
}

fn not_whole(args: &Verify, info: &Info, verified: &Verified) -> Failure {
    let summary = summary(info, verified);
    let errors: Vec<_> = verified.files.iter().filter_map(|file| file.error.as_ref()).collect();
    if !errors.is_empty() {
        /// Of more than these the states tell.
        const TOLD_MAX: usize = 5;
        let words = errors.iter().take(TOLD_MAX).map(|error| error.message.as_str());
        let words = words.collect::<Vec<_>>().join("; ");
        let count = text::count(errors.len(), "file");
        return Failure::Disk(format!("{summary}; {count} cannot be read: {words}"));
    }
    let path = args.torrent.display();
    let is_missing = |file: &VerifiedFile| file.state == FileState::Missing;
    let own_name = args.folder.canonicalize().is_ok_and(|dir| dir.ends_with(&info.name));
    if verified.files.iter().all(is_missing) && own_name && !info.single_file {
        let parent = args.folder.join("..");
        return Failure::NotFound(format!(
            "{summary}; {} looks like the torrent's own folder, and the one above it is wanted: \
             `trackerless verify {path} {}`",
            args.folder.display(),
            parent.display()
        ));
    }
    let rest = match verified.files.iter().any(|file| matches!(file.state, FileState::Long(_))) {
        true => "a file that is longer is to be moved away".to_owned(),
        false => {
            format!("`trackerless get {path} -o {} --recheck` mends it", args.folder.display())
        }
    };
    Failure::NotFound(format!("{summary}; {rest}"))
}

fn summary(info: &Info, verified: &Verified) -> String {
    let pieces = text::count(verified.pieces as usize, "piece");
    format!("{}: {} of {pieces} right", info.name, verified.pieces_right)
}

fn print(info: &Info, verified: &Verified, report: &Report) {
    let files: Vec<_> = verified
        .files
        .iter()
        .map(|file| {
            let mut fields = json!({
                "path": file.path.join("/"),
                "len": file.len,
                "state": word(file.state),
                "pieces": file.pieces,
                "pieces_right": file.pieces_right,
            });
            if let Some(error) = &file.error {
                fields["error"] = json!(error.message);
            }
            if let FileState::Short(len) | FileState::Long(len) = file.state {
                fields["found_len"] = json!(len);
            }
            fields
        })
        .collect();
    report.event(
        "verified",
        json!({
            "info_hash": info.info_hash.to_string(),
            "name": info.name,
            "whole": verified.is_whole(),
            "pieces": verified.pieces,
            "pieces_right": verified.pieces_right,
            "files": files,
        }),
    );
    for file in &verified.files {
        let pieces = format!("{}/{}", file.pieces_right, file.pieces);
        let path = file.path.join("/");
        let word = word(file.state);
        report.answer(&format!("{word:<10} {pieces:>13} {:>14}  {path}", file.len));
    }
    if verified.is_whole() {
        report.note(&summary(info, verified));
    }
}

fn word(state: FileState) -> &'static str {
    match state {
        FileState::Whole => "whole",
        FileState::Missing => "missing",
        FileState::Short(_) => "short",
        FileState::Long(_) => "long",
        FileState::Wrong => "wrong",
        FileState::Unsure => "unsure",
        FileState::Unreadable => "unreadable",
    }
}
