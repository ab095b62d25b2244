//! That `tests/bench` works: all of it, at sizes at which its figures say nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::cli::Place;
use harness::programs::{our_binary, peers_python, repository};

/// Runs rows and gives the page.
fn page(place: &Place, rows: &[&str]) -> String {
    let mut command = Command::new(peers_python());
    let programs = our_binary("trackerless");
    // The bare programs are built for this test, into the same folder.
    let bare = Path::new(env!("CARGO_BIN_EXE_bare_leech"));
    assert_eq!(programs.parent(), bare.parent());
    let out = place.path("benchmarks.md");
    command.arg("-B").arg("tests/bench/main.py").current_dir(repository());
    command.args(["--mib", "16", "--rounds", "1"]).arg("--bin").args(programs.parent());
    command.arg("--out").arg(&out).arg("--disk").arg(place.path("disk"));
    command.args(rows.iter().flat_map(|row| ["--only", row]));
    place.run_command(command).assert_code(0);
    fs::read_to_string(out).expect("a page")
}

#[test]
fn every_row_that_needs_no_dht_gives_its_figures() {
    let rows = [
        "download", "seed", "speed", "swarm", "disk", "link", "check", "sha1", "memory", "calls",
        "idle",
    ];
    let page = page(&Place::new(124), &rows);
    for words in [
        "## Downloading, one to one",
        "## Seeding, one to one",
        "## Speed, one to one",
        "## One seed to eight leeches",
        "## Downloading to a disk",
        "## One peer, 100 ms away",
        "## Checking and creating",
        "## SHA-1 of independent pieces",
        "## Memory",
        "## System calls",
        "## 50 idle torrents",
    ] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
    assert!(!page.contains("nan |"), "{page}");
}

#[test]
fn the_row_from_a_bare_info_hash_gives_its_figures() {
    let page = page(&Place::new(125), &["magnet"]);
    assert!(
        page.contains("## From a bare info-hash") && page.contains("| ours -> ours |"),
        "{page}"
    );
}
