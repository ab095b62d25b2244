//! `trackerless` and a disk that is full, locked, forbidden or failing.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use harness::cli::{Place, prefixed, right_pieces};
use harness::content::{assert_same, folder, single_file};
use harness::hand_made::HandMade;
use harness::ports::free_address;
use harness::relay::Relay;
use harness::small_disk::SmallDisk;
use harness::strace::{run_counting_reads, with_fault_at};
use harness::wait::{secs, wait_until};

const PIECE: usize = 65_536;

/// `command` without root's right to read and write everything.
fn without_privilege(command: &Command) -> Command {
    prefixed(["setpriv", "--bounding-set=-dac_override,-dac_read_search"], command)
}

#[test]
fn a_folder_in_use_is_refused_with_the_process_that_uses_it() {
    let place = Place::new(50);
    let path = single_file(&place.root(), "a.bin", 1 << 20, 50);
    let torrent = place.create(&path, &[]);
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "got"]);
    command.args(["--bind", &place.any_port(1)]).arg(&torrent);
    let mut first = place.start_command(command);
    first.wait_event("started");
    let id = first.process().id().to_string();
    let mut command = place.command(["get", "--no-dht", "-o", "got", "--bind", &place.any_port(2)]);
    command.arg(&torrent);
    let second = place.run_command(command);
    second.assert_code(5).assert_error(&["got", "in use", &id, "end it", "another folder with -o"]);
    assert_eq!(second.stdout, "");
    first.process().assert_running();

    // The folder is not the torrent's alone.
    let other = HandMade::file("b.bin", b"another torrent");
    other.write(&place.path("b.torrent"), "");
    let (peer, bind) = (other.serve((place.ip(3), 0)).to_string(), place.any_port(2));
    let third = ["get", "b.torrent", "--no-dht", "-o", "got", "--bind", &bind, "--peer", &peer];
    place.run(third).assert_code(0);
    first.end_by("INT").assert_code(130);
}

#[test]
fn too_small_a_disk_is_told_before_anything_is_fetched() {
    let place = Place::new(51);
    let path = single_file(&place.root(), "a.bin", 8 << 20, 51);
    let torrent = place.create(&path, &[]);
    let disk = SmallDisk::new(&place.folder("small"), 4 << 20, &place.root());
    // Nobody has it: it must not take a peer to find out.
    let mut command = place.command(["get", "--no-dht", "-o", "small", "--timeout", "20"]);
    command.args(["--bind", &place.any_port(1)]).arg(&torrent);
    let run = place.run_command(disk.inside(&command));
    let words = ["not enough space", "8.0 MiB", "are needed", "are free", "make room", "again"];
    run.assert_code(5).assert_error(&words);
    assert!(!disk.path().join("a.bin").exists());
}

#[test]
fn a_disk_that_gets_full_stops_the_download_which_goes_on_once_there_is_room() {
    let place = Place::new(52);
    let path = single_file(&place.root(), "a.bin", 8 << 20, 52);
    let torrent = place.create(&path, &["--piece-length", "65536"]);
    let seed = place.seed_with(1, &path, ["--no-dht", "--piece-length", "65536"]);
    let relay = Relay::start(place.ip(2), seed.address);
    let disk = SmallDisk::new(&place.folder("small"), 12 << 20, &place.root());
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "small"]);
    command.args(["--bind", &place.any_port(3), "--peer", &relay.address().to_string()]);
    let command = disk.inside(command.arg(&torrent));
    let get = place.start_command(command);
    relay.allow(4 << 20);
    let copy = disk.path().join("a.bin");
    wait_until("half the file", secs(30), || right_pieces(&path, &copy, PIECE).len() >= 40);

    // Somebody else takes what is left.
    let ballast = disk.path().join("ballast");
    let full = fs::write(&ballast, vec![0; 12 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    relay.open();
    let run = get.finish();
    run.assert_code(5).assert_error(&["a.bin", "No space left", "make room", "again"]);
    let right = right_pieces(&path, &copy, PIECE).len();
    assert!((40..128).contains(&right), "{right} pieces");

    fs::remove_file(&ballast).unwrap();
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "small"]);
    command.args(["--bind", &place.any_port(3), "--peer", &relay.address().to_string()]);
    let again = place.run_command(disk.inside(command.arg(&torrent)));
    let found = again.assert_code(0).event("started")["have"].as_u64();
    assert_eq!(found, Some((right * PIECE) as u64), "all that was written");
    assert_same(&path, &copy);
}

#[test]
fn what_was_written_before_the_disk_refused_is_not_read_again() {
    let place = Place::new(58);
    let path = single_file(&place.root(), "a.bin", 8 << 20, 58);
    let torrent = place.create(&path, &["--piece-length", "65536"]);
    let seed = place.seed_with(1, &path, ["--no-dht", "--piece-length", "65536"]);
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "got"]);
    command.args(["--bind", &place.any_port(2), "--peer", &seed.address.to_string()]);
    command.arg(&torrent);
    // Of each thread's writes to this file the ninth fails, with room for all others.
    let copy = place.path("got/a.bin");
    let run = place.run_command(with_fault_at(&command, "pwritev:error=EDQUOT:when=9", &copy));
    run.assert_code(5).assert_error(&["a.bin", "quota exceeded", "make room", "again"]);
    let right = right_pieces(&path, &copy, PIECE);
    assert!((8..128).contains(&right.len()), "{right:?}");
    let (run, read) = run_counting_reads(&place, &command, "got/a.bin");
    let found = run.assert_code(0).event("started")["have"].as_u64();
    assert_eq!(found, Some((right.len() * PIECE) as u64));
    let read: BTreeSet<_> = read.places.iter().map(|(at, _)| *at as usize / PIECE).collect();
    assert!(right.iter().all(|piece| !read.contains(piece)), "{right:?} were kept, {read:?} read");
    assert_same(&path, &copy);
}

#[test]
fn an_interrupt_does_not_say_saved_when_the_disk_fails() {
    let place = Place::new(53);
    let path = single_file(&place.root(), "a.bin", 1 << 20, 53);
    let torrent = place.create(&path, &["--piece-length", "65536"]);
    let seed = place.seed_with(1, &path, ["--no-dht", "--piece-length", "65536"]);
    let relay = Relay::start(place.ip(2), seed.address);
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "got"]);
    command.args(["--bind", &place.any_port(3), "--peer", &relay.address().to_string()]);
    let copy = place.path("got/a.bin");
    let get = place.start_command(with_fault_at(command.arg(&torrent), "fsync:error=EIO", &copy));
    relay.allow(600_000);
    wait_until("pieces in the file", secs(30), || right_pieces(&path, &copy, PIECE).len() >= 4);
    get.signal_child("INT");
    let run = get.finish();
    run.assert_code(5).assert_error(&["a.bin", "Input/output error"]);
    assert!(!run.stderr.contains("saved"), "{run}");
}

#[test]
fn a_second_interrupt_ends_what_hangs_on_the_disk() {
    let place = Place::new(54);
    let path = single_file(&place.root(), "a.bin", 1 << 20, 54);
    let torrent = place.create(&path, &["--piece-length", "65536"]);
    let seed = place.seed_with(1, &path, ["--no-dht", "--piece-length", "65536"]);
    let relay = Relay::start(place.ip(2), seed.address);
    let mut command = place.command(["get", "--no-dht", "-o", "got"]);
    command.args(["--bind", &place.any_port(3), "--peer", &relay.address().to_string()]);
    // Ten minutes.
    let fault = "fsync:delay_enter=600000000";
    let copy = place.path("got/a.bin");
    let get = place.start_command(with_fault_at(command.arg(&torrent), fault, &copy));
    relay.allow(600_000);
    wait_until("pieces in the file", secs(30), || right_pieces(&path, &copy, PIECE).len() >= 4);
    get.signal_child("INT");
    get.wait_error("once more to end at once");
    get.signal_child("INT");
    get.wait_error("ended at once");
    // strace itself waits for the ten minutes.
    assert_eq!(get.wait_child_code(), 130);
}

#[test]
fn a_folder_that_may_not_be_written_is_told() {
    let place = Place::new(55);
    let path = single_file(&place.root(), "a.bin", 100_000, 55);
    let torrent = place.create(&path, &[]);
    let forbidden = place.folder("forbidden");
    fs::set_permissions(&forbidden, Permissions::from_mode(0o555)).unwrap();
    for (output, words) in [
        ("forbidden", ["forbidden", "Permission denied", "another folder with -o"]),
        ("forbidden/new", ["forbidden/new", "Permission denied", "another folder with -o"]),
        ("a.bin", ["a.bin", "not a folder", "another folder with -o"]),
        ("a.bin/x", ["a.bin/x", "Not a directory", "another folder with -o"]),
        ("/proc/x", ["/proc/x", "No such file", "another folder with -o"]),
    ] {
        let mut command = place.command(["get", "--no-dht", "--timeout", "20", "-o", output]);
        command.args(["--bind", &place.any_port(1)]).arg(&torrent);
        place.run_command(without_privilege(&command)).assert_code(5).assert_error(&words);
    }
}

#[test]
fn what_cannot_be_read_cannot_be_seeded() {
    let place = Place::new(56);
    let tree = folder(&place.root(), "tree", 56);
    let secret = tree.join("nested/a/b/c/deep.bin");
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    place.folder("empty/and/its/folders");
    symlink("nowhere", place.path("dangling")).unwrap();
    let bind = place.any_port(1);
    for (path, words) in [
        ("tree", ["deep.bin", "Permission denied"]),
        ("empty", ["empty", "nothing in it to share"]),
        ("missing", ["missing", "No such file"]),
        ("dangling", ["dangling", "No such file"]),
        ("/dev/null", ["/dev/null", "neither a file nor a folder"]),
    ] {
        for command in [
            place.command(["seed", "--no-dht", "--bind", &bind, path]),
            place.command(["create", path, "-o", "x.torrent"]),
        ] {
            let run = place.run_command(without_privilege(&command));
            run.assert_code(5).assert_error(&words);
            assert_eq!(run.stdout, "");
        }
    }
    assert!(!place.path("x.torrent").exists());
}

#[test]
fn a_longer_file_or_a_folder_in_its_place_is_left_alone() {
    let place = Place::new(57);
    let torrent = HandMade::file("a.bin", &[5; 1000]);
    torrent.write(&place.path("a.torrent"), "");
    let bind = place.any_port(1);
    let get = ["get", "a.torrent", "--no-dht", "--timeout", "20", "--bind", &bind];
    fs::write(place.path("a.bin"), vec![6; 1001]).unwrap();
    let run = place.run(get);
    run.assert_code(5).assert_error(&["a.bin", "1001 bytes", "1000", "move it away"]);
    assert_eq!(fs::read(place.path("a.bin")).unwrap(), vec![6; 1001]);
    fs::remove_file(place.path("a.bin")).unwrap();
    fs::create_dir(place.path("a.bin")).unwrap();
    let run = place.run(get);
    run.assert_code(5).assert_error(&["a.bin", "something else", "move it away", "-o"]);
}

#[test]
fn a_file_that_is_cut_while_it_is_served_ends_the_seed_with_words() {
    let place = Place::new(59);
    let path = single_file(&place.root(), "a.bin", 4 << 20, 59);
    let seed = place.seed(1, &path);
    File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let more = ["--no-dht", "-o", "got", "--bind", &bind, "--peer", &peer, "--timeout", "2"];
    let get = place.start([&["get", seed.info_hash()], &more[..]].concat());
    let run = seed.program.finish();
    let lengths = "a.bin has 1048576 bytes, but 4194304 in the torrent";
    run.assert_code(5).assert_error(&[lengths, "changed while it was served"]);
    assert_eq!(run.event("failed")["code"].as_u64(), Some(5));
    get.finish().assert_code(3);
}

#[test]
fn a_file_that_is_cut_after_it_was_fetched_is_told_by_who_serves_it_on() {
    let place = Place::new(64);
    let path = single_file(&place.root(), "a.bin", 4 << 20, 64);
    let seed = place.seed(1, &path);
    let us = free_address(place.ip(2)).to_string();
    let peer = seed.address.to_string();
    let more = ["--no-dht", "--json", "--seed", "-o", "got", "--bind", &us, "--peer", &peer];
    let mut get = place.start([&["get", seed.info_hash()], &more[..]].concat());
    get.wait_event("done");
    let copy = place.path("got/a.bin");
    File::options().write(true).open(&copy).unwrap().set_len(1 << 20).unwrap();
    let hash = seed.info_hash().to_owned();
    drop(seed);
    let bind = place.any_port(3);
    let more = ["--no-dht", "-o", "third", "--bind", &bind, "--peer", &us, "--timeout", "2"];
    let third = place.start([&["get", &hash], &more[..]].concat());
    let words = ["got/a.bin", "ends too early", "changed meanwhile", "same command again"];
    get.finish().assert_code(5).assert_error(&words);
    third.finish().assert_code(3);
}

#[test]
fn a_whole_torrent_on_a_read_only_disk_is_served_and_a_broken_one_is_told() {
    let place = Place::new(65);
    let path = single_file(&place.root(), "a.bin", 1 << 20, 65);
    let torrent = place.create(&path, &["--piece-length", "65536"]);
    let disk = SmallDisk::new(&place.folder("fixed"), 4 << 20, &place.root());
    let remount = |how: &str| {
        let mut command = Command::new("mount");
        command.args(["-o", how]).arg(place.path("fixed"));
        assert!(disk.inside(&command).status().unwrap().success());
    };
    let copy = disk.path().join("a.bin");
    fs::copy(&path, &copy).unwrap();
    remount("remount,ro");
    let address = free_address(place.ip(1));
    let mut command = place.command(["get", "--no-dht", "--seed", "--json", "-o", "fixed"]);
    command.args(["--bind", &address.to_string()]).arg(&torrent);
    let mut seed = place.start_command(disk.inside(&command));
    seed.wait_event("done");
    let mut command = place.command(["get", "--no-dht", "-o", "got"]);
    command.args(["--bind", &place.any_port(2), "--peer", &address.to_string()]).arg(&torrent);
    place.run_command(command).assert_code(0);
    assert_same(&path, &place.path("got/a.bin"));
    seed.end_by("INT");
    assert!(!disk.path().join(".trackerless").exists());

    remount("remount,rw");
    let mut bytes = fs::read(&copy).unwrap();
    bytes[PIECE + 1] ^= 1;
    fs::write(&copy, bytes).unwrap();
    remount("remount,ro");
    let mut command = place.command(["get", "--no-dht", "-o", "fixed", "--timeout", "20"]);
    command.args(["--bind", &place.any_port(3)]).arg(&torrent);
    let run = place.run_command(disk.inside(&command));
    run.assert_code(5).assert_error(&[".trackerless", "Read-only file system", "another folder"]);
}
