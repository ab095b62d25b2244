//! `trackerless verify`: what lies in a folder is held against a torrent, and left as it is.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use harness::cli::{Place, Run, prefixed};
use harness::content::{folder, single_file, write_file};
use harness::strace::with_fault_at;

const PIECE: u64 = 16_384;

/// All that lies beneath a folder, and when it was last changed.
fn all_beneath(root: &Path) -> BTreeMap<String, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        found.insert(
            folder.display().to_string(),
            fs::metadata(&folder).unwrap().modified().unwrap(),
        );
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let changed = fs::symlink_metadata(&path).unwrap().modified().unwrap();
                    found.insert(path.display().to_string(), changed);
                }
            }
        }
    }
    found
}

/// Verifies, and sees to it that nothing is written.
fn verify(place: &Place, torrent: &Path, folder: &Path, more: &[&str]) -> Run {
    let before = all_beneath(folder);
    let mut command = place.command(["verify"]);
    command.arg(torrent).arg(folder).args(more);
    let run = place.run_command(command);
    assert_eq!(all_beneath(folder), before, "it wrote something: {run}");
    run
}

/// State and pieces of the file, as text has them.
fn told<'a>(run: &'a Run, path: &str) -> Vec<&'a str> {
    let line = run.stdout.lines().find(|line| line.ends_with(&format!("  {path}")));
    let line = line.unwrap_or_else(|| panic!("nothing of {path}: {run}"));
    line.split_whitespace().take(2).collect()
}

#[test]
fn what_is_whole_is_told_so_and_nothing_is_written() {
    let place = Place::new(120);
    let lies = place.folder("lies");
    let tree = folder(&lies, "tree", 120);
    let made = place.create(&tree, &[]);
    let torrent = place.path("tree.torrent");
    fs::rename(made, &torrent).unwrap();
    let run = verify(&place, &torrent, &lies, &[]);
    run.assert_code(0).assert_error(&["tree: ", "right"]);
    assert_eq!(run.stdout.lines().count(), 50);
    assert!(run.stdout.lines().all(|line| line.starts_with("whole ")), "{run}");
    assert_eq!(told(&run, "tree/empty.dat"), ["whole", "0/0"]);
    let json = verify(&place, &torrent, &lies, &["--json"]);
    let verified = json.assert_code(0).event("verified");
    assert_eq!(verified["whole"], true);
    assert_eq!(verified["pieces"], verified["pieces_right"]);
    assert_eq!(verified["files"].as_array().map(Vec::len), Some(50));
    assert_eq!(json.stderr, "");
}

/// A folder with the files t/a to t/g, each of four pieces, of which the last two share one; and their
/// torrent.
fn seven_files(place: &Place) -> (PathBuf, PathBuf) {
    let lies = place.folder("lies");
    let root = lies.join("t");
    for (n, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        write_file(&root.join(name), 4 * PIECE, n as u64);
    }
    write_file(&root.join("f"), PIECE / 2, 5);
    write_file(&root.join("g"), PIECE / 2, 6);
    let made = place.create(&root, &["--piece-length", "16384"]);
    let torrent = place.path("t.torrent");
    fs::rename(made, &torrent).unwrap();
    (lies, torrent)
}

#[test]
fn each_file_that_is_not_whole_is_told_with_what_is_wrong() {
    let place = Place::new(121);
    let (lies, torrent) = seven_files(&place);
    let root = lies.join("t");

    let change = |name: &str, at: usize| {
        let mut bytes = fs::read(root.join(name)).unwrap();
        bytes[at] ^= 1;
        fs::write(root.join(name), bytes).unwrap();
    };
    let set_len = |name: &str, len: u64| {
        File::options().write(true).open(root.join(name)).unwrap().set_len(len).unwrap();
    };
    change("a", 2 * PIECE as usize);
    set_len("b", PIECE + 1);
    set_len("c", 4 * PIECE + 1);
    fs::remove_file(root.join("d")).unwrap();
    fs::remove_file(root.join("f")).unwrap();
    let run = verify(&place, &torrent, &lies, &[]);
    let words = ["t: 12 of 21 pieces right", "longer", "moved away"];
    run.assert_code(3).assert_error(&words);
    for (path, state, pieces) in [
        ("t/a", "wrong", "3/4"),
        ("t/b", "short", "1/4"),
        ("t/c", "long", "4/4"),
        ("t/d", "missing", "0/4"),
        ("t/e", "whole", "4/4"),
        ("t/f", "missing", "0/1"),
        ("t/g", "unsure", "0/1"),
    ] {
        assert_eq!(told(&run, path), [state, pieces], "{path}");
    }
    let json = verify(&place, &torrent, &lies, &["--json"]);
    let verified = json.assert_code(3).event("verified");
    assert_eq!((&verified["whole"], &verified["pieces_right"]), (&false.into(), &12.into()));
    let files = verified["files"].as_array().unwrap();
    assert_eq!(files[1]["found_len"].as_u64(), Some(PIECE + 1), "{verified}");
    assert_eq!(files[1]["state"], "short");
    assert_eq!(json.event("failed")["code"].as_u64(), Some(3));

    // Nothing at all lies there.
    let run = verify(&place, &torrent, &place.folder("empty"), &[]);
    run.assert_code(3).assert_error(&["t: 0 of 21 pieces right", "get", "-o", "mends it"]);
    assert!(run.stdout.lines().all(|line| line.starts_with("missing ")), "{run}");
}

#[test]
fn what_the_disk_refuses_is_told_as_such() {
    let place = Place::new(122);
    let lies = place.folder("lies");
    let path = single_file(&lies, "a.bin", 5 * PIECE + 7, 122);
    let torrent = place.create(&path, &["--piece-length", "16384"]);
    let fresh = place.path("a.torrent");
    fs::rename(torrent, &fresh).unwrap();
    let torrent = fresh;
    let run = place.run(["verify", "a.torrent", "nowhere"]);
    run.assert_code(5).assert_error(&["nowhere", "No such file"]);
    place.run(["verify", "no.torrent", "lies"]).assert_code(5).assert_error(&["no.torrent"]);
    fs::write(place.path("bad.torrent"), "d4:infodee").unwrap();
    place.run(["verify", "bad.torrent", "lies"]).assert_code(6).assert_error(&["bad.torrent"]);

    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    let mut command = place.command(["verify"]);
    command.arg(&torrent).arg(&lies);
    let caps = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let run = place.run_command(prefixed(caps, &command));
    run.assert_code(5).assert_error(&["a.bin", "Permission denied"]);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();

    // A bad sector.
    let run = place.run_command(with_fault_at(&command, "pread64:error=EIO:when=2", &path));
    run.assert_code(5).assert_error(&["a.bin", "Input/output error"]);

    let elsewhere = place.path("elsewhere.bin");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let run = verify(&place, &torrent, &lies, &[]);
    run.assert_code(5).assert_error(&["a.bin", "symbolic link leads out"]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let run = verify(&place, &torrent, &lies, &[]);
    run.assert_code(5).assert_error(&["a.bin", "something else in the file's place"]);
}

#[test]
fn what_cannot_be_read_keeps_nothing_else_from_being_told() {
    let place = Place::new(126);
    let (lies, torrent) = seven_files(&place);
    let root = lies.join("t");
    // One that may not be read, one that leads out, a folder, and a bad sector in one's third piece.
    for name in ["a", "f"] {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o000)).unwrap();
    }
    fs::rename(root.join("b"), place.path("b")).unwrap();
    symlink(place.path("b"), root.join("b")).unwrap();
    fs::remove_file(root.join("c")).unwrap();
    fs::create_dir(root.join("c")).unwrap();
    let mut command = place.command(["verify", "--json"]);
    command.arg(&torrent).arg(&lies);
    let caps = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let run = place.run_command(prefixed(caps, &command));
    let words = ["t: 8 of 21 pieces right", "4 files cannot be read", "t/a: Permission denied"];
    run.assert_code(5).assert_error(&words);
    let verified = run.event("verified");
    for (at, state, right, error) in [
        (0, "unreadable", 0, "Permission denied"),
        (1, "unreadable", 0, "symbolic link leads out"),
        (2, "unreadable", 0, "something else in the file's place"),
        (3, "whole", 4, ""),
        (4, "whole", 4, ""),
        (5, "unreadable", 0, "Permission denied"),
        (6, "unsure", 0, ""),
    ] {
        let file = &verified["files"][at];
        assert_eq!((&file["state"], &file["pieces_right"]), (&state.into(), &right.into()));
        let said = file["error"].as_str();
        assert!(said.map_or(error.is_empty(), |said| said.contains(error)), "{file}");
    }
    let run =
        place.run_command(with_fault_at(&command, "pread64:error=EIO:when=2", &root.join("d")));
    run.assert_code(5).assert_error(&["t/d: Input/output error"]);
    let verified = run.event("verified");
    assert_eq!(verified["files"][3]["state"], "unreadable");
    assert_eq!(verified["files"][4]["state"], "whole");
}

#[test]
fn the_torrents_own_folder_is_told_from_the_one_above() {
    let place = Place::new(127);
    let tree = folder(&place.root(), "tree", 125);
    let torrent = place.create(&tree, &[]);
    let run = verify(&place, &torrent, &tree, &[]);
    run.assert_code(3).assert_error(&["tree looks like the torrent's own folder", "verify", "/.."]);
    let run = verify(&place, &torrent, &place.folder("tree of others"), &[]);
    assert!(!run.assert_code(3).stderr.contains("own folder"), "{run}");
}

#[test]
fn an_interrupt_ends_it_in_the_middle_of_a_read() {
    let place = Place::new(123);
    let lies = place.folder("lies");
    let path = single_file(&lies, "a.bin", 1 << 20, 123);
    let torrent = place.create(&path, &[]);
    let mut command = place.command(["verify", "--json"]);
    command.arg(&torrent).arg(&lies);
    // Ten minutes.
    let slow = with_fault_at(&command, "pread64:delay_enter=600000000", &path);
    let mut run = place.start_command(slow);
    run.wait_event("hashing");
    run.signal_child("INT");
    run.wait_error("interrupted; nothing was written");
    assert_eq!(run.wait_child_code(), 130);
}

#[test]
fn a_byte_that_changed_unseen_is_mended_by_the_command_that_verify_names() {
    let place = Place::new(66);
    let path = single_file(&place.root(), "a.bin", 5 * PIECE + 7, 66);
    let seed = place.seed_with(1, &path, ["--no-dht", "--piece-length", "16384"]);
    let torrent = place.create(&path, &["--piece-length", "16384"]);
    let get = |more: &[&str]| {
        let mut command = place.command(["get", "--no-dht", "-o", "got"]);
        command.args(["--bind", &place.any_port(2), "--peer", &seed.address.to_string()]);
        place.run_command({
            command.args(more).arg(&torrent);
            command
        })
    };
    get(&[]).assert_code(0);

    let copy = place.path("got/a.bin");
    let before = fs::metadata(&copy).unwrap().modified().unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    bytes[2 * PIECE as usize] ^= 1;
    fs::write(&copy, bytes).unwrap();
    File::options().write(true).open(&copy).unwrap().set_modified(before).unwrap();
    let run = verify(&place, &torrent, &place.path("got"), &[]);
    run.assert_code(3).assert_error(&["5 of 6 pieces right", "get", "--recheck", "mends it"]);

    get(&[]).assert_code(0);
    assert_ne!(fs::read(&copy).unwrap(), fs::read(&path).unwrap(), "nothing tells");
    get(&["--recheck"]).assert_code(0);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&path).unwrap());
    verify(&place, &torrent, &place.path("got"), &[]).assert_code(0);
}
