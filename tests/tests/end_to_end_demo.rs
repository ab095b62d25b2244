//! `trackerless demo` shows the main job and leaves nothing behind.

use std::fs;
use std::path::PathBuf;

use harness::cli::{Place, Program, Run};
use harness::content::single_file;
use harness::small_disk::SmallDisk;
use harness::wait::{secs, wait_for};

/// Starts a demo with a folder of its own for temporary files.
fn start(place: &Place, more: &[&str]) -> Program {
    let mut command = place.command(["demo"]);
    command.args(more).env("TMPDIR", place.folder("tmp"));
    place.start_command(command)
}

/// Processes that have this place's folder for temporary files in their environment.
fn processes(place: &Place) -> Vec<PathBuf> {
    let mark = format!("TMPDIR={}", place.path("tmp").display());
    let has_mark = |path: &PathBuf| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("there is /proc");
    entries.map_while(Result::ok).map(|entry| entry.path()).filter(has_mark).collect()
}

fn assert_nothing_left(place: &Place) {
    let left: Vec<_> = fs::read_dir(place.path("tmp")).expect("it was made").collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(processes(place), Vec::<PathBuf>::new());
}

fn assert_shown(run: &Run) {
    run.assert_code(0);
    let mut rest = run.stdout.as_str();
    for words in [
        "DHT of 32 nodes",
        "hashed: info-hash",
        "announced",
        "trackerless get",
        "connected to 127.",
        "metadata:",
        "verified and on disk",
        "SHA-256",
        "the same, byte for byte",
    ] {
        rest = rest.split_once(words).unwrap_or_else(|| panic!("no {words:?}: {run}")).1;
    }
}

#[test]
fn it_shows_the_main_job_in_a_minute() {
    let place = Place::new(100);
    let run = start(&place, &[]).finish();
    assert_shown(&run);
    assert_nothing_left(&place);
}

#[test]
fn it_shares_a_file_of_the_users_which_it_leaves_alone() {
    let place = Place::new(101);
    let folder = place.folder("mine");
    let path = single_file(&folder, "mine.bin", 5_000_011, 101);
    let before = fs::metadata(&path).unwrap();
    let run = start(&place, &["--file", "mine/mine.bin"]).finish();
    assert_shown(&run);
    assert!(run.stdout.contains("mine.bin, 4.8 MiB in"), "{run}");
    assert_nothing_left(&place);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["mine.bin"]);
    assert_eq!(before.modified().unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
}

#[test]
fn an_interrupt_at_any_step_leaves_nothing() {
    let place = Place::new(102);
    // Large enough that the download is under way for a while; only what is fetched takes space.
    let file = fs::File::create(place.path("large.bin")).unwrap();
    file.set_len(400 << 20).unwrap();
    for (words, signal, code) in [
        ("1. ", "INT", 130),
        ("3. ", "INT", 130),
        ("4. ", "TERM", 143),
        ("connected to", "INT", 130),
        ("metadata:", "TERM", 143),
    ] {
        let mut demo = start(&place, &["--file", "large.bin"]);
        demo.wait_words(words);
        let run = demo.end_by(signal);
        run.assert_code(code).assert_error(&["nothing is left behind"]);
        assert!(!run.stdout.contains("5. "), "it was over already: {run}");
        assert_nothing_left(&place);
    }
}

#[test]
fn an_interrupt_of_the_process_that_fetches_is_one_of_the_demo() {
    let place = Place::new(103);
    let file = fs::File::create(place.path("large.bin")).unwrap();
    file.set_len(400 << 20).unwrap();
    let mut demo = start(&place, &["--file", "large.bin"]);
    demo.wait_words("connected to");
    let both = wait_for("two processes", secs(10), || {
        let found = processes(&place);
        if found.len() == 2 { Ok(found) } else { Err(format!("{found:?}")) }
    });
    let own = demo.process().id();
    for path in both.iter().filter(|path| !path.ends_with(own.to_string())) {
        let id = path.file_name().unwrap();
        std::process::Command::new("kill").arg("-INT").arg(id).status().unwrap();
    }
    let run = demo.finish();
    run.assert_code(130).assert_error(&["nothing is left behind"]);
    assert_nothing_left(&place);
}

#[test]
fn what_it_cannot_do_is_told_and_leaves_nothing() {
    let place = Place::new(104);
    let run = start(&place, &["--file", "missing"]).finish();
    run.assert_code(5).assert_error(&["missing", "No such file"]);
    assert_nothing_left(&place);
    let run = start(&place, &["--nodes", "1"]).finish();
    run.assert_code(2).assert_error(&["--nodes"]);
    let mut command = place.command(["demo"]);
    command.env("TMPDIR", place.path("nowhere"));
    place.run_command(command).assert_code(5).assert_error(&["nowhere", "TMPDIR"]);
}

#[test]
fn too_small_a_folder_for_temporary_files_is_told() {
    let place = Place::new(105);
    // Room for less than the file of 64 MiB, and for that but not for its copy.
    for mebibytes in [40, 100] {
        let mount = place.folder(&format!("{mebibytes}"));
        let disk = SmallDisk::new(&mount, mebibytes << 20, &place.root());
        let mut command = place.command(["demo"]);
        command.env("TMPDIR", &mount);
        let run = place.run_command(disk.inside(&command));
        run.assert_code(5).assert_error(&["choose another folder", "TMPDIR"]);
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    }
}
