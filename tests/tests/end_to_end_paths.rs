//! Torrents whose paths would lead elsewhere: nothing is ever written outside of the folder that
//! the user named.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use harness::cli::{Place, Run};
use harness::hand_made::HandMade;

/// All files beneath a folder, but our own state, with what they hold.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map_while(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with(".trackerless") {
                left.push(path);
            } else if path.is_file() {
                let name = path.strip_prefix(root).expect("it lies beneath").to_owned();
                found.insert(name, fs::read(&path).expect("it can be read"));
            }
        }
    }
    found
}

/// Gets `torrent` from a peer into the folder `out/put`, by torrent file or by info-hash.
fn get(place: &Place, torrent: &HandMade, by_hash: bool) -> Run {
    let file = place.path("x.torrent");
    torrent.write(&file, "");
    let (peer, bind) = (torrent.serve((place.ip(1), 0)).to_string(), place.any_port(2));
    let target = if by_hash { torrent.info_hash() } else { "x.torrent".to_owned() };
    let more = ["--no-dht", "--bind", &bind, "--peer", &peer, "--timeout", "30"];
    let run = place.run([&["get", &target, "-o", "out/put"], &more[..]].concat());
    fs::remove_file(file).expect("it was written");
    run
}

#[test]
fn what_leads_out_of_the_folder_is_refused() {
    let place = Place::new(60);
    let up: &[&[u8]] = &[b"..", b"..", b"evil"];
    let torrents = [
        HandMade::folder("t", &[(&[b"good"], b"good"), (up, b"evil")]),
        HandMade::folder("t", &[(&[b"a", b"..", b"..", b"..", b"evil"], b"evil")]),
        HandMade::folder("t", &[(&[b"../../evil"], b"evil")]),
        HandMade::folder("t", &[(&[b"..\\..\\evil"], b"evil")]),
        HandMade::folder("t", &[(&[b"/evil"], b"evil")]),
        HandMade::folder("t", &[(&[b"nul\0evil"], b"evil")]),
        HandMade::folder("..", &[(&[b"evil"], b"evil")]),
        HandMade::folder("/evil", &[(&[b"evil"], b"evil")]),
        HandMade::file("../evil", b"evil"),
        HandMade::file("/evil", b"evil"),
        HandMade::file("evil\0", b"evil"),
    ];
    for (i, torrent) in torrents.iter().enumerate() {
        for by_hash in [false, true] {
            let run = get(&place, torrent, by_hash);
            run.assert_code(6).assert_error(&["unsafe path"]);
            let found = files(&place.root());
            assert!(found.is_empty(), "torrent {i}, by hash {by_hash}: {:?}", found.keys());
        }
    }
    let deep = HandMade::folder("t", &[(&[&[b'x'; 200][..]; 50], b"too long")]);
    get(&place, &deep, false).assert_code(6).assert_error(&["`path` is out of range"]);
    for torrent in [HandMade::file("", b"x"), HandMade::folder("t", &[(&[b"", b"."], b"x")])] {
        get(&place, &torrent, false).assert_code(6).assert_error(&["not a torrent"]);
        assert!(files(&place.root()).is_empty());
    }
}

#[test]
fn odd_names_are_mended_and_stay_inside() {
    let place = Place::new(61);
    let long = [b'x'; 400];
    let torrent = HandMade::folder(
        "t",
        &[
            (&[b"FOO.txt"], b"1"),
            (&[b"foo.txt"], b"22"),
            (&[b"", b".", b"empty", b"", b"elements"], b"333"),
            (&[b"sla/sh"], b"4444"),
            (&[b"back\\slash"], b"55555"),
            (&[b"new\nline"], b"666666"),
            (&[b"\xff\xfe"], b"7777777"),
            (&[&long], b"88888888"),
            (&[b"foo.txt", b"below a file"], b"999999999"),
        ],
    );
    let want: BTreeMap<PathBuf, Vec<u8>> = [
        ("t/FOO.txt", "1"),
        ("t/foo.1.txt", "22"),
        ("t/empty/elements", "333"),
        ("t/sla_sh", "4444"),
        ("t/back_slash", "55555"),
        ("t/new_line", "666666"),
        ("t/\u{fffd}\u{fffd}", "7777777"),
        (&format!("t/{}", "x".repeat(240)), "88888888"),
        ("t/foo.2.txt/below a file", "999999999"),
    ]
    .into_iter()
    .map(|(path, text)| (Path::new("out/put").join(path), text.as_bytes().to_vec()))
    .collect();
    for by_hash in [false, true] {
        let run = get(&place, &torrent, by_hash);
        assert_eq!(run.assert_code(0).stdout, "out/put/t\n");
        assert_eq!(files(&place.root()), want);
        fs::remove_dir_all(place.path("out")).unwrap();
    }
}

#[test]
fn a_torrent_cannot_touch_the_state_of_others() {
    let place = Place::new(62);
    let torrent = HandMade::folder(".trackerless", &[(&[b"x.journal"], b"evil")]);
    let run = get(&place, &torrent, false);
    assert_eq!(run.assert_code(0).stdout, "out/put/_.trackerless\n");
    assert_eq!(files(&place.root()).len(), 1);
    assert!(place.path("out/put/_.trackerless/x.journal").is_file());
}

#[test]
fn a_symbolic_link_that_leads_out_is_not_followed() {
    let place = Place::new(63);
    let (outside, put) = (place.folder("outside"), place.folder("out/put"));
    symlink(&outside, put.join("t")).unwrap();
    let torrent = HandMade::folder("t", &[(&[b"evil"], b"evil")]);
    let run = get(&place, &torrent, false);
    run.assert_code(5).assert_error(&["symbolic link leads out", "another folder with -o"]);
    assert!(files(&outside).is_empty());
    fs::remove_file(put.join("t")).unwrap();

    fs::create_dir(put.join("t")).unwrap();
    symlink(outside.join("evil"), put.join("t/evil")).unwrap();
    let run = get(&place, &torrent, false);
    run.assert_code(5).assert_error(&["symbolic link leads out"]);
    assert!(files(&outside).is_empty());
}
