//! `trackerless create`: writes a .torrent file.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use client::driver::hash_path;
use serde_json::json;
use wire::metainfo::Metainfo;

use crate::args::Create;
use crate::exit::Failure;
use crate::report::Report;

/// What to do about a place that cannot be written to.
const ELSEWHERE: &str = "choose another place with -o";

/// Hashes `args.path` and writes the .torrent file.
pub fn run(args: &Create, quiet: bool) -> Result<(), Failure> {
    let mut report = Report::new(args.json, quiet);
    report.must_answer();
    report.close(create(args, &report))
}

fn create(args: &Create, report: &Report) -> Result<(), Failure> {
    may_write(&args.output, &args.path)?;
    let hashed = hash_path(&args.path, args.piece_length, |_, _| {})
        .map_err(|error| Failure::Disk(error.to_string()))?;
    crate::seed::tell_skipped(&hashed, report);
    let bytes = Metainfo::encode(&hashed.info.raw, &args.node);
    write(&args.output, &bytes).map_err(|error| {
        let path = args.output.display();
        Failure::Disk(format!("{path}: {}; {ELSEWHERE}", plain(&error)))
    })?;
    let magnet = crate::seed::magnet(&hashed.info);
    report.event(
        "created",
        json!({
            "info_hash": hashed.info.info_hash.to_string(),
            "magnet": magnet,
            "path": args.output.display().to_string(),
        }),
    );
    report.answer(&magnet);
    Ok(())
}

/// The file is put in the place of what is there: that must be neither a part of what is shared nor
/// a device, a pipe or a link.
fn may_write(output: &Path, source: &Path) -> Result<(), Failure> {
    let refused = |why: &str| Failure::Usage(format!("{}: {why}; {ELSEWHERE}", output.display()));
    let name = output.file_name().ok_or_else(|| refused("it names no file"))?;
    let folder = folder_of(output);
    let real = folder.canonicalize().map_err(|error| {
        let (output, folder) = (output.display(), folder.display());
        Failure::Disk(format!("{output}: the folder {folder}: {error}; {ELSEWHERE}"))
    })?;
    // One that is not there is told of by who reads it.
    if source.canonicalize().is_ok_and(|source| real.join(name).starts_with(source)) {
        return Err(refused("it is, or lies in, what is to be shared"));
    }
    match output.symlink_metadata() {
        Ok(there) if !there.is_file() => Err(refused("there is something else than a file")),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Written beside and renamed over, so that a reader never sees half of it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A torrent file is no secret: the umask decides who reads it.
    let mode = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// What the system said, without the name of the file beside.
fn plain(error: &io::Error) -> String {
    let source = error.get_ref().and_then(|inner| inner.source());
    source.map_or_else(|| error.to_string(), ToString::to_string)
}
