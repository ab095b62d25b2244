//! `trackerless create`, judged by libtorrent, and beside `trackerless seed`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use harness::cli::{Place, info_hash, prefixed};
use harness::content::{folder, single_file};
use harness::process::output_of;
use harness::programs::peers_python;

/// What libtorrent reads in a torrent file: info-hash, name, piece length, and every file.
fn libtorrent_reads(torrent: &Path) -> serde_json::Value {
    let script = "
import json, sys, libtorrent as lt
info = lt.torrent_info(sys.argv[1])
files = info.files()
print(json.dumps({
    'hash': str(info.info_hashes().v1), 'name': info.name(), 'piece': info.piece_length(),
    'nodes': [list(node) for node in info.nodes()], 'private': info.priv(),
    'files': sorted([files.file_path(i), files.file_size(i)] for i in range(files.num_files()))}))";
    let mut command = Command::new(peers_python());
    command.args(["-W", "ignore::DeprecationWarning", "-c", script]).arg(torrent);
    serde_json::from_str(&output_of(command)).expect("the script prints JSON")
}

#[test]
fn libtorrent_reads_what_is_created_and_a_seed_has_the_same_link() {
    let place = Place::new(90);
    let paths =
        [folder(&place.root(), "a tree", 90), single_file(&place.root(), "ä.bin", 2_000_003, 91)];
    for (host, path) in (1..).zip(&paths) {
        let run = place.run(["create", path.to_str().unwrap(), "-o", "x.torrent"]);
        let magnet = run.assert_code(0).stdout.trim().to_owned();
        let read = libtorrent_reads(&place.path("x.torrent"));
        assert_eq!(read["hash"], info_hash(&magnet));
        assert_eq!(read["name"], path.file_name().unwrap().to_str().unwrap());
        assert_eq!((&read["nodes"], &read["private"]), (&serde_json::json!([]), &false.into()));
        let count = if path.is_dir() { 50 } else { 1 };
        assert_eq!(read["files"].as_array().unwrap().len(), count, "{read}");
        assert_eq!(place.seed(host, path).magnet, magnet);
    }
}

#[test]
fn nodes_and_piece_length_stand_in_the_file() {
    let place = Place::new(91);
    single_file(&place.root(), "a.bin", 2_000_003, 92);
    let create = ["create", "a.bin", "-o", "x.torrent", "--piece-length", "262144"];
    let nodes = ["--node", "router.example:6881", "--node", "[::1]:1"];
    place.run([&create[..], &nodes].concat()).assert_code(0);
    let read = libtorrent_reads(&place.path("x.torrent"));
    assert_eq!(read["piece"].as_u64(), Some(262_144));
    assert_eq!(read["nodes"], serde_json::json!([["router.example", 6881], ["::1", 1]]));
}

#[test]
fn the_file_may_be_read_by_whom_the_umask_lets() {
    let place = Place::new(92);
    single_file(&place.root(), "a.bin", 100_000, 93);
    for (umask, mode) in [("022", 0o644), ("077", 0o600)] {
        let command = place.command(["create", "a.bin", "-o", "x.torrent"]);
        let script = format!("umask {umask} && exec \"$0\" \"$@\"");
        place.run_command(prefixed(["sh", "-c", &script], &command)).assert_code(0);
        let permissions = fs::metadata(place.path("x.torrent")).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "umask {umask}");
    }
    let names: Vec<_> =
        fs::read_dir(place.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
