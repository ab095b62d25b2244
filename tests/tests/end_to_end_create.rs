//! `trackerless create`, judged by libtorrent, and beside `trackerless seed`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use harness::cli::{Place, info_hash, prefixed};
use harness::content::{assert_same, folder, single_file};
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

#[test]
fn what_is_shared_and_what_is_no_file_is_never_replaced() {
    let place = Place::new(93);
    let (tree, file) = (folder(&place.root(), "tree", 94), place.path("one"));
    fs::write(&file, "all that there is").unwrap();
    symlink(&file, place.path("link")).unwrap();
    symlink(&tree, place.path("to tree")).unwrap();
    let pipe = place.path("pipe");
    output_of({
        let mut mkfifo = Command::new("mkfifo");
        mkfifo.arg(&pipe);
        mkfifo
    });
    place.folder("taken");
    let shared = "is, or lies in, what is to be shared";
    let other = "something else than a file";
    for (source, output, words) in [
        ("one", "one", shared),
        ("one", "./tree/../one", shared),
        ("link", "one", shared),
        ("tree", "tree/x.torrent", shared),
        ("tree", "to tree/x.torrent", shared),
        ("to tree", "tree/empty.dat", shared),
        ("one", "link", other),
        ("one", "pipe", other),
        ("one", "taken", other),
        ("one", "..", "names no file"),
    ] {
        let before = fs::symlink_metadata(place.root().join(output)).ok();
        let run = place.run(["create", source, "-o", output]);
        run.assert_code(2).assert_error(&[output, words, "another place with -o"]);
        assert_eq!(run.stdout, "");
        let after = fs::symlink_metadata(place.root().join(output)).ok();
        let kind = |there: &Option<fs::Metadata>| there.as_ref().map(fs::Metadata::file_type);
        assert_eq!(kind(&before), kind(&after), "{output}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"all that there is");
    assert!(!tree.join("x.torrent").exists());
    let run = place.run(["create", "one", "-o", "no/folder/x.torrent"]);
    run.assert_code(5).assert_error(&["the folder no/folder: No such file", "with -o"]);
    // One that is there is replaced, as an earlier run may have made it.
    for _ in 0..2 {
        place.run(["create", "one", "-o", "one.torrent"]).assert_code(0);
    }
}

#[test]
fn names_that_other_systems_do_not_take_are_shared_all_the_same() {
    let place = Place::new(94);
    let tree = place.folder("t\ttree");
    let long = "x".repeat(250);
    let names = ["README", "readme", "a\\b", "a_b", "a\tb", "sub/.Trackerless", "sub/x\ny", &long];
    fs::create_dir(tree.join("sub")).unwrap();
    for (n, name) in names.into_iter().enumerate() {
        fs::write(tree.join(name), format!("this is {n}")).unwrap();
    }
    place.run(["create", "t\ttree", "-o", "t.torrent"]).assert_code(0);
    let seed = place.seed(1, &tree);
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let more = ["--no-dht", "-o", "got", "--bind", &bind, "--peer", &peer];
    let run = place.run([&["get", "t.torrent"], &more[..]].concat());
    assert_eq!(run.assert_code(0).stdout, "got/t_tree\n");
    let short = "x".repeat(240);
    let mended =
        ["README", "readme.1", "a_b", "a_b.1", "a_b.2", "sub/_.Trackerless", "sub/x_y", &short];
    let read = |root: &Path, names: &[&str]| {
        let mut all: Vec<_> =
            names.iter().map(|name| fs::read_to_string(root.join(name)).expect(name)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(read(&place.path("got/t_tree"), &mended), read(&tree, &names));
    // Both are whole: as it was made, and as it was fetched.
    for folder in [".", "got"] {
        place.run(["verify", "t.torrent", folder]).assert_code(0);
    }

    let single = place.path("sin\\gle");
    fs::write(&single, "alone").unwrap();
    let seed = place.seed(3, &single);
    let (bind, peer) = (place.any_port(4), seed.address.to_string());
    let more = ["--no-dht", "-o", "got", "--bind", &bind, "--peer", &peer];
    place.run([&["get", seed.info_hash()], &more[..]].concat()).assert_code(0);
    assert_same(&single, &place.path("got/sin_gle"));
}

#[test]
fn what_is_left_out_is_told() {
    let place = Place::new(95);
    let tree = folder(&place.root(), "tree", 95);
    let names = ["l1", "l2", "l3", "l4", "nested/l5", "zz"];
    for name in names {
        symlink("empty.dat", tree.join(name)).unwrap();
    }
    let create = ["create", "tree", "-o", "x.torrent"];
    let run = place.run(create);
    run.assert_code(0).assert_error(&["left out: 6", "symbolic links", "tree/l1", "l5, ..."]);
    let skipped = place.run([&create[..], &["--json"]].concat()).event("skipped");
    assert_eq!(
        (&skipped["count"], &skipped["first"][4]),
        (&6.into(), &{ tree.canonicalize().unwrap().join("nested/l5").to_str().unwrap().into() })
    );
    let seed = place.seed(1, &tree);
    assert_eq!(seed.program.events().iter().filter(|e| e["event"] == "skipped").count(), 1);
    names.iter().for_each(|name| fs::remove_file(tree.join(name)).unwrap());
    assert_eq!(place.run(create).assert_code(0).stderr, "");
}
