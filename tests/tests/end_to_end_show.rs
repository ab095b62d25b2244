//! `trackerless show`, and `get --list`.

use std::fs;

use harness::cli::{Place, Run};
use harness::content::{folder, single_file};
use harness::hand_made::HandMade;
use harness::ports::free_address;
use serde_json::{Value, json};

/// The value of a row.
fn row<'a>(run: &'a Run, name: &str) -> Option<&'a str> {
    run.stdout.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()))
}

#[test]
fn a_file_is_shown_without_any_network() {
    let place = Place::new(110);
    let tree = folder(&place.root(), "tree", 110);
    let torrent = place.create(&tree, &["--node", "10.0.0.1:6881", "--node", "[::1]:7"]);
    let mut command = place.command(["show", "--bind", "192.0.2.1:1"]);
    let run = place.run_command({
        command.arg(&torrent);
        command
    });
    run.assert_code(0);
    assert_eq!(row(&run, "name"), Some("tree"));
    let hash = row(&run, "info-hash").unwrap();
    let magnet = row(&run, "magnet").unwrap();
    assert_eq!(magnet, format!("magnet:?xt=urn:btih:{hash}&dn=tree"));
    assert!(row(&run, "size").unwrap().ends_with("bytes) in 50 files"), "{run}");
    assert!(row(&run, "pieces").unwrap().contains(" pieces of "), "{run}");
    let nodes = run.stdout.lines().filter_map(|line| line.strip_prefix("node "));
    assert!(nodes.map(str::trim).eq(["10.0.0.1:6881", "[::1]:7"]), "{run}");

    let json = place.run([&["show", "--json"], &[torrent.to_str().unwrap()][..]].concat());
    assert_eq!(json.assert_code(0).stdout.lines().count(), 1, "one object: {json}");
    let shown = json.event("torrent");
    assert_eq!(shown["magnet"], magnet);
    assert_eq!(shown["nodes"], json!(["10.0.0.1:6881", "[::1]:7"]));
    let files = shown["files"].as_array().unwrap();
    assert_eq!(files.len(), 50);
    assert_eq!(files.iter().filter_map(|file| file["len"].as_u64()).sum::<u64>(), {
        shown["total"].as_u64().unwrap()
    });
    // What text and JSON number is the same.
    for (number, file) in files.iter().enumerate() {
        let path = file["path"].as_str().unwrap();
        let words: Vec<_> = [number.to_string(), file["len"].to_string()].into();
        let line = run.stdout.lines().find(|line| line.ends_with(&format!("  {path}"))).unwrap();
        assert!(line.split_whitespace().take(2).eq(words), "{line}");
    }
}

#[test]
fn of_a_bare_info_hash_the_info_dict_is_fetched_and_nothing_else() {
    let place = Place::new(111);
    let path = single_file(&place.root(), "a b.bin", 300_001, 111);
    let torrent = place.create(&path, &[]);
    let seed = place.seed(1, &path);
    let empty = place.folder("empty");
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let net = ["--no-dht", "--bind", &bind, "--peer", &peer];
    let show = |what: &[&str]| {
        let mut command = place.command([&["show"], what, &net[..]].concat());
        command.current_dir(&empty);
        place.run_command(command)
    };
    let by_hash = show(&[seed.info_hash()]);
    let by_link = show(&[&format!("{}&tr=x", seed.magnet)]);
    by_link.assert_code(0).assert_error(&["1 tracker", "ignored"]);
    let by_file = show(&[torrent.to_str().unwrap()]);
    assert_eq!(by_hash.assert_code(0).stdout, by_file.assert_code(0).stdout);
    assert_eq!(by_link.stdout, by_file.stdout);
    let json = show(&[seed.info_hash(), "--json"]);
    assert_eq!(json.assert_code(0).stdout.lines().count(), 1, "one object: {json}");
    assert_eq!(json.event("torrent")["name"], "a b.bin");
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "it writes nothing");
}

#[test]
fn what_cannot_be_shown_is_told() {
    let place = Place::new(112);
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let bind = place.any_port(1);
    let show = |what: &[&str]| place.run([&["show"], what, &["--bind", &bind]].concat());
    let run = show(&[hash, "--no-dht", "--timeout", "1"]);
    run.assert_code(3).assert_error(&["out of time", "no peer is known", "--peer"]);
    show(&["nonsense"]).assert_code(2).assert_error(&["nonsense", "magnet link"]);
    show(&["no.torrent"]).assert_code(5).assert_error(&["no.torrent", "No such file"]);
    let private = HandMade::private_file("p.bin", b"not for all");
    let peer = private.serve((place.ip(2), 0)).to_string();
    let run = show(&[&private.info_hash(), "--no-dht", "--peer", &peer]);
    run.assert_code(6).assert_error(&["private (BEP 27)"]);
    assert_eq!(run.stdout, "");
    let json = show(&[hash, "--no-dht", "--timeout", "2", "--json"]);
    let events: Vec<Value> = json.assert_code(3).events();
    assert_eq!(events.len(), 1, "the failure alone: {json}");
    let nobody = free_address(place.ip(3)).to_string();
    let mut waits =
        place.start(["show", hash, "--no-dht", "-vv", "--bind", &bind, "--peer", &nobody]);
    waits.wait_error("dial failed");
    waits.process().assert_running();
    waits.end_by("INT").assert_code(130).assert_error(&["interrupted", "nothing was written"]);
}
