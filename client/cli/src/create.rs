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

/// Hashes `args.path` and writes the .torrent file.
pub fn run(args: &Create, quiet: bool) -> Result<(), Failure> {
    let report = Report::new(args.json, quiet);
    report.close(create(args, &report))
}

fn create(args: &Create, report: &Report) -> Result<(), Failure> {
    let hashed = hash_path(&args.path, args.piece_length, |_, _| {})
        .map_err(|error| Failure::Disk(error.to_string()))?;
    let bytes = Metainfo::encode(&hashed.info.raw, &args.node);
    write(&args.output, &bytes).map_err(|error| {
        let path = args.output.display();
        Failure::Disk(format!("{path}: {}; choose another place with -o", plain(&error)))
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

/// Written beside and renamed over, so that a reader never sees half of it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A torrent file is no secret: the umask decides who reads it.
    let mode = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
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
