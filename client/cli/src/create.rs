//! `trackerless create`: writes a .torrent file.

use std::io::Write;
use std::path::Path;

use client::driver::hash_path;
use serde_json::json;
use wire::metainfo::Metainfo;

use crate::args::Create;
use crate::exit::Failure;
use crate::report::print_line;

/// Hashes `args.path` and writes the .torrent file.
pub fn run(args: &Create) -> Result<(), Failure> {
    let nodes = args.node.iter().map(|text| node(text)).collect::<Result<Vec<_>, _>>()?;
    let hashed = hash_path(&args.path, args.piece_length, |_, _| {})
        .map_err(|error| Failure::Disk(format!("{}: {error}", args.path.display())))?;
    let bytes = Metainfo::encode(&hashed.info.raw, &nodes);
    write(&args.output, &bytes)
        .map_err(|error| Failure::Disk(format!("{}: {error}", args.output.display())))?;
    let magnet = crate::seed::magnet(&hashed.info);
    if args.json {
        print_line(
            &json!({
                "event": "created",
                "info_hash": hashed.info.info_hash.to_string(),
                "magnet": magnet,
                "path": args.output.display().to_string(),
            })
            .to_string(),
        );
    } else {
        print_line(&magnet);
    }
    Ok(())
}

/// Written beside and renamed over, so that a reader never sees half of it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn node(text: &str) -> Result<(String, u16), Failure> {
    let (host, port) = text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .filter(|(host, port)| !host.is_empty() && *port != 0)
        .ok_or_else(|| Failure::Usage(format!("{text} is not HOST:PORT")))?;
    Ok((host.trim_matches(['[', ']']).to_string(), port))
}
