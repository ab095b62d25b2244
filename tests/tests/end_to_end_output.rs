//! What `trackerless` prints, and where.

use std::fs;
use std::process::Stdio;

use harness::cli::{Place, Run, dht_node, prefixed};
use harness::content::{assert_same, single_file};
use harness::ports::free_address;
use harness::relay::Relay;

#[test]
fn json_has_an_object_a_line_and_nothing_else() {
    let place = Place::new(80);
    let path = single_file(&place.root(), "a.bin", 3_000_000, 80);
    let mut seed = place.seed(1, &path);
    let created = place.run(["create", "a.bin", "-o", "a.torrent", "--json"]);
    let created = created.assert_code(0).event("created");
    assert_eq!(created["magnet"], seed.magnet);
    assert_eq!(
        (&created["info_hash"], &created["path"]),
        (&seed.info_hash().into(), &"a.torrent".into())
    );

    let relay = Relay::start(place.ip(2), seed.address);
    let (bind, peer) = (place.any_port(3), relay.address().to_string());
    let more = ["--no-dht", "--json", "-o", "got", "--bind", &bind, "--peer", &peer];
    let mut get = place.start([&["get", seed.info_hash()], &more[..]].concat());
    relay.allow(1_000_000);
    let progress = get.wait_event("progress");
    relay.open();
    let run = get.finish();
    let names: Vec<String> =
        run.assert_code(0).events().iter().map(|e| e["event"].as_str().unwrap().into()).collect();
    for name in ["peer", "metadata", "started", "progress", "done"] {
        assert!(names.iter().any(|other| other == name), "no {name}: {run}");
    }
    assert_eq!(progress["total"].as_u64(), Some(3_000_000));
    let done = run.event("done");
    assert_eq!((&done["have"], &done["total"]), (&3_000_000.into(), &3_000_000.into()));
    assert_eq!(done["paths"], serde_json::json!(["got/a.bin"]));
    assert_eq!(run.stderr, "");

    seed.program.process().assert_running();
    let seed = seed.program.end_by("INT");
    seed.assert_code(0).event("serving");
    assert_eq!(seed.event("hashed")["total"].as_u64(), Some(3_000_000));
    assert_eq!(seed.stderr, "");
}

#[test]
fn json_tells_of_a_failure_too() {
    let place = Place::new(81);
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let bind = place.any_port(1);
    let run = place.run(["get", hash, "--no-dht", "--json", "--timeout", "1", "--bind", &bind]);
    let failed = run.assert_code(3).event("failed");
    assert_eq!(failed["code"].as_u64(), Some(3));
    assert!(failed["message"].as_str().unwrap().contains("no peer is known"), "{failed}");
    assert_eq!(run.stderr, format!("trackerless: {}\n", failed["message"].as_str().unwrap()));
}

/// Gets a file by a link with a tracker in it.
fn get_with(place: &Place, more: &[&str]) -> Run {
    let path = single_file(&place.root(), "a.bin", 300_000, 82);
    let seed = place.seed(1, &path);
    let link = format!("{}&tr=udp%3A%2F%2Fx.example%3A1&x.pe={}", seed.magnet, seed.address);
    let get = ["get", &link, "--no-dht", "-o", "got", "--bind", &place.any_port(2)];
    let run = place.run([&get[..], more].concat());
    assert_same(&path, &place.path("got/a.bin"));
    run
}

#[test]
fn standard_output_is_the_answer_alone() {
    let place = Place::new(82);
    let run = get_with(&place, &[]);
    assert_eq!(run.assert_code(0).stdout, "got/a.bin\n");
    run.assert_error(&["1 tracker", "a.bin: 293.0 KiB in 1 file"]);
    fs::remove_dir_all(place.path("got")).unwrap();
    let run = get_with(&place, &["-vvv"]);
    assert_eq!(run.assert_code(0).stdout, "got/a.bin\n");
    run.assert_error(&["DEBUG", "connection closed"]);
    // Colours are for terminals.
    assert!(!run.stderr.contains('\u{1b}'), "{run}");
}

#[test]
fn quiet_prints_nothing_but_the_answer() {
    let place = Place::new(83);
    let run = get_with(&place, &["-q"]);
    assert_eq!((&run.assert_code(0).stdout[..], &run.stderr[..]), ("got/a.bin\n", ""));
    let bind = place.any_port(3);
    let mut seed = place.start(["seed", "-q", "a.bin", "--no-dht", "--bind", &bind]);
    let magnet = seed.wait_words("magnet:?");
    let seed = seed.end_by("INT");
    assert_eq!((seed.assert_code(0).stdout.trim(), &seed.stderr[..]), (&magnet[..], ""));
    let run = place.run(["create", "-q", "a.bin", "-o", "a.torrent"]);
    assert_eq!((run.assert_code(0).stdout.trim(), &run.stderr[..]), (&magnet[..], ""));
    let run = place.run(["get", "-q", "nonsense"]);
    run.assert_code(2).assert_error(&["trackerless: nonsense"]);
}

#[test]
fn a_reader_that_leaves_does_not_end_the_work() {
    let place = Place::new(84);
    let path = single_file(&place.root(), "a.bin", 300_000, 84);
    let seed = place.seed(1, &path);
    for closed in ["2>&-", ">&-", "2> >(exec true)", "> >(exec true)", "2>/dev/full >/dev/full"] {
        let mut command = place.command(["get", "-vvv", "--no-dht", "-o", "got"]);
        command.args(["--bind", &place.any_port(2), "--peer", &seed.address.to_string()]);
        command.arg(format!("{}&tr=x", seed.magnet));
        let script = format!("\"$0\" \"$@\" {closed}");
        let run = place.run_command(prefixed(["bash", "-c", &script], &command));
        assert_eq!(run.status.code(), Some(0), "{closed}: {run}");
        assert_same(&path, &place.path("got/a.bin"));
        fs::remove_dir_all(place.path("got")).unwrap();
    }
}

#[test]
fn every_command_has_help() {
    let place = Place::new(85);
    let help = |arguments: &[&str]| place.run(arguments).assert_code(0).stdout.clone();
    let top = help(&["--help"]);
    for command in ["get", "seed", "show", "verify", "create", "demo"] {
        let own = help(&[command, "--help"]);
        assert!(top.contains(&format!("\n  {command}  ")), "{top}");
        assert!(own.contains(&format!("Usage: trackerless {command}")), "{own}");
        assert!(own.contains(&format!("Examples:\n  trackerless {command}")), "{own}");
        assert_eq!(help(&["help", command]), own);
        // An option without a word of explanation.
        let bare =
            own.lines().find(|l| l.trim_start().starts_with('-') && !l.trim().contains("  "));
        assert_eq!(bare, None, "{own}");
    }
    assert!(help(&["--version"]).starts_with("trackerless "));
    let nothing = place.run([""; 0]);
    nothing.assert_code(2).assert_error(&["Usage: trackerless"]);
}

/// The codes that the help lists are the ones that the tests of all these files see; here each
/// once, side by side.
#[test]
fn exit_codes_are_those_of_the_help() {
    let place = Place::new(86);
    single_file(&place.root(), "a.bin", 100_000, 86);
    fs::write(place.path("bad.torrent"), "d4:infodee").unwrap();
    let help = place.run(["--help"]).stdout;
    let listed = help.split_once("Exit codes:").unwrap().1;
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let bind = place.any_port(1);
    let net = ["--no-dht", "--bind", &bind];
    let get = |more: &[&str]| place.run([&["get"], more, &net].concat());
    assert_eq!(
        place.run(["create", "a.bin", "-o", "a.torrent"]).status.code(),
        code(listed, "done")
    );
    assert_eq!(get(&["x"]).status.code(), code(listed, "wrong usage"));
    let timeout = get(&[hash, "--timeout=1"]);
    assert_eq!(timeout.status.code(), code(listed, "not found or out of time"));
    let network = place.run(["get", hash, "--bind", "192.0.2.1:1"]);
    assert_eq!(network.status.code(), code(listed, "network"));
    assert_eq!(get(&["no.torrent"]).status.code(), code(listed, "disk"));
    assert_eq!(get(&["bad.torrent"]).status.code(), code(listed, "torrent refused"));
    for (signal, words) in [("INT", "interrupted"), ("TERM", "terminated")] {
        let mut get =
            place.start([&["get", "a.torrent", "--json", "-o", "got"], &net[..]].concat());
        get.wait_event("started");
        assert_eq!(get.end_by(signal).status.code(), code(listed, words));
    }
}

#[test]
fn an_answer_that_is_lost_is_a_failure() {
    let place = Place::new(89);
    let path = single_file(&place.root(), "a.bin", 100_000, 89);
    let torrent = place.create(&path, &[]);
    let torrent = torrent.to_str().unwrap();
    let lost = |arguments: &[&str], to: &str| {
        let script = format!("\"$0\" \"$@\" >{to}");
        let command = place.command(arguments);
        place.run_command(prefixed(["bash", "-c", &script], &command))
    };
    for arguments in [
        &["show", torrent][..],
        &["show", torrent, "--json"],
        &["get", torrent, "--list"],
        &["verify", torrent, "."],
        &["create", "a.bin", "-o", "x.torrent"],
        &["--help"],
        &["get", "--help"],
        &["--version"],
    ] {
        let run = lost(arguments, "/dev/full");
        run.assert_code(5).assert_error(&["standard output: No space left"]);
        // Who reads no further has what it wanted.
        lost(arguments, " >(exec true)").assert_code(0);
    }
}

#[test]
fn what_is_no_target_is_told_with_what_it_is() {
    let place = Place::new(96);
    let run = place.run(["get", "HTTPS://x.example/a.torrent"]);
    run.assert_code(2).assert_error(&["a.torrent", "URLs are not fetched", "name it here"]);
    let path = single_file(&place.root(), "a.bin", 100_000, 96);
    place.folder("other");
    let twin = place.path("other/a.bin");
    fs::copy(&path, &twin).unwrap();
    let run = place.run(["seed", "--no-dht", "a.bin", "other/a.bin"]);
    run.assert_code(2).assert_error(&["a.bin and other/a.bin hold the same"]);
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let run = place.run(["get", "--no-dht", "--bind", &place.any_port(1), hash, hash]);
    run.assert_code(2).assert_error(&[hash, "named twice"]);
}

#[test]
fn a_seed_says_whether_it_can_be_found() {
    let place = Place::new(97);
    let path = single_file(&place.root(), "a.bin", 100_000, 97);
    let seed = |bootstrap: &[&str]| {
        let mut command = place.command(["seed", "--bind", &place.any_port(1)]);
        command.arg(&path).args(bootstrap);
        command
    };
    let nobody = free_address(place.ip(2)).to_string();
    let alone = ["--bootstrap", &nobody, "--bootstrap", "no-such-host.invalid:1"];
    let mut json = seed(&alone);
    let (alone, mut json) = (place.start_command(seed(&alone)), {
        json.arg("--json");
        place.start_command(json)
    });
    let (_first, entry) = dht_node(&place, 3, &[]);
    let (_second, other) = dht_node(&place, 4, &[entry]);
    let found = place.start_command(seed(&["--bootstrap", &other.to_string()]));
    found.wait_error("a.bin: announced, kept by ");
    found.end_by("INT").assert_code(0).assert_error(&["listening on 127.40.97.1:"]);

    alone.wait_error("no DHT node has answered within 10 s");
    alone.end_by("INT").assert_code(0).assert_error(&["no-such-host.invalid:1: ", "tried on"]);
    let silent = json.wait_event("dht_silent");
    assert_eq!(silent["unresolved"][0]["host"], "no-such-host.invalid:1", "{silent}");
    json.end_by("INT").assert_code(0);
}

#[test]
fn one_of_several_seeds_that_fails_ends_none_of_the_others() {
    let place = Place::new(98);
    let names = ["a.bin", "b.bin"];
    let paths: Vec<_> =
        (98..).zip(names).map(|(n, name)| single_file(&place.root(), name, 3 << 20, n)).collect();
    let bind = place.any_port(1);
    let mut seed = place.start(["seed", "--no-dht", "--json", "--bind", &bind, "a.bin", "b.bin"]);
    let hash = seed.wait_event("hashed")["info_hash"].as_str().unwrap().to_owned();
    let serving = seed.wait_event("serving");
    let peer = serving["listen"][0].as_str().unwrap().to_owned();
    let get = |path: &std::path::Path, more: &[&str]| {
        let made = place.run(["create", path.to_str().unwrap(), "-o", "x.torrent"]);
        let magnet = made.assert_code(0).stdout.trim().to_owned();
        let bind = place.any_port(2);
        let get = ["get", &magnet, "--no-dht", "-o", "got", "--bind", &bind, "--peer", &peer];
        place.run([&get[..], more].concat())
    };
    // A leech's link is made of what is there: that comes before it is cut.
    let magnets = paths.iter().map(|path| get(path, &["--list"])).collect::<Vec<_>>();
    magnets.iter().for_each(|run| _ = run.assert_code(0));
    fs::File::options().write(true).open(&paths[0]).unwrap().set_len(1 << 20).unwrap();
    let (bind, more) = (place.any_port(3), ["--no-dht", "-o", "lost", "--timeout", "20"]);
    let lost = ["get", &hash, "--bind", &bind, "--peer", &peer];
    let lost = place.start([&lost[..], &more].concat());
    let failed = seed.wait_event("failed");
    assert_eq!((&failed["info_hash"], &failed["code"]), (&hash.into(), &5.into()), "{failed}");
    get(&paths[1], &[]).assert_code(0);
    assert_same(&paths[1], &place.path("got/b.bin"));
    seed.process().assert_running();
    let run = seed.end_by("INT");
    run.assert_code(5).assert_error(&["a.bin", "ends too early", "1 of 2 torrents failed"]);
    lost.end_by("INT");
}

/// The number that stands before `words`.
fn code(listed: &str, words: &str) -> Option<i32> {
    let before = listed.split_once(words).map(|(before, _)| before)?;
    before.split_whitespace().last()?.parse().ok()
}

#[test]
fn a_seed_after_the_download_ends_well_by_an_interrupt() {
    let place = Place::new(87);
    let path = single_file(&place.root(), "a.bin", 300_000, 87);
    let seed = place.seed(1, &path);
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let more = ["--no-dht", "--json", "--seed", "-o", "got", "--bind", &bind, "--peer", &peer];
    let mut get = place.start([&["get", seed.info_hash()], &more[..]].concat());
    get.wait_event("done");
    get.process().assert_running();
    get.end_by("INT").assert_code(0);
    // An interrupt that comes before is one.
    drop(seed);
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let mut get = place.start(["get", hash, "--no-dht", "--json", "--seed", "--bind", &bind]);
    get.wait_event("progress");
    get.end_by("INT").assert_code(130);
}

#[test]
fn standard_input_is_left_alone() {
    let place = Place::new(88);
    single_file(&place.root(), "a.bin", 100_000, 88);
    let mut child: std::process::Child = place
        .command(["create", "a.bin", "-o", "t"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let held = child.stdin.take();
    assert!(child.wait().unwrap().success());
    drop(held);
}
