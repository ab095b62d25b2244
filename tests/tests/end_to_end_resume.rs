//! Downloads that are interrupted, killed or found on the disk, and how they go on.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use harness::cli::{Place, Program, Run, Seed, right_pieces};
use harness::content::{assert_same, folder, single_file, splitmix};
use harness::relay::Relay;
use harness::strace::{run_counting_reads, with_fault_at};
use harness::wait::{secs, wait_until};

const PIECE: usize = 65_536;

/// A download that passes through a relay, run after run.
struct Slow {
    place: Place,
    original: PathBuf,
    torrent: PathBuf,
    relay: Relay,
    _seed: Seed,
}

impl Slow {
    fn new(net: u8, len: u64) -> Self {
        let place = Place::new(net);
        let original = single_file(&place.root(), "a.bin", len, u64::from(net));
        let torrent = place.create(&original, &["--piece-length", &PIECE.to_string()]);
        let seed = place.seed_with(1, &original, ["--no-dht", "--piece-length", "65536"]);
        let relay = Relay::start(place.ip(2), seed.address);
        Self { place, original, torrent, relay, _seed: seed }
    }

    fn copy(&self) -> PathBuf {
        self.place.path("got/a.bin")
    }

    fn command(&self) -> std::process::Command {
        let mut command = self.place.command(["get", "--no-dht", "--json", "-o", "got"]);
        command.args(["--bind", &self.place.any_port(3)]).arg(&self.torrent);
        command.args(["--peer", &self.relay.address().to_string()]);
        command
    }

    fn start(&self) -> Program {
        self.place.start_command(self.command())
    }

    fn right_pieces(&self) -> usize {
        right_pieces(&self.original, &self.copy(), PIECE).len()
    }

    fn wait_pieces(&self, count: usize) {
        wait_until("pieces in the file", secs(30), || self.right_pieces() >= count);
    }
}

/// What a run found at its start, in bytes.
fn found(run: &Run) -> u64 {
    run.event("started")["have"].as_u64().expect("a number of bytes")
}

/// A download ended by `signal` half way goes on where it was, and reads nothing again that it knew.
fn goes_on_after(signal: &str, code: i32, net: u8) {
    let slow = Slow::new(net, 6 << 20);
    let get = slow.start();
    slow.relay.allow(4 << 20);
    slow.wait_pieces(40);
    let run = get.end_by(signal);
    run.assert_code(code).assert_error(&["what is verified is saved"]);
    let right = slow.right_pieces();
    slow.relay.open();
    let (run, read) = run_counting_reads(&slow.place, &slow.command(), "got/a.bin");
    let done = run.assert_code(0).event("done");
    assert_eq!(found(&run), (right * PIECE) as u64);
    // Of a piece that was not whole its blocks are there, and are read to be hashed.
    let missing = (6 << 20) - (right * PIECE) as u64;
    let part = missing - done["downloaded"].as_u64().expect("a number of bytes");
    assert!(part < 4 * PIECE as u64, "{part} bytes of unfinished pieces");
    assert!(read.bytes <= part, "{} bytes were read, {part} were not known", read.bytes);
    assert_same(&slow.original, &slow.copy());
}

#[test]
fn an_interrupted_download_goes_on() {
    goes_on_after("INT", 130, 30);
}

#[test]
fn a_terminated_download_goes_on() {
    goes_on_after("TERM", 143, 31);
}

#[test]
fn a_killed_download_reads_again_only_what_was_not_certain() {
    let slow = Slow::new(32, 6 << 20);
    let get = slow.start();
    slow.relay.allow(3 << 20);
    slow.wait_pieces(30);
    get.end_by("INT").assert_code(130);
    let kept = slow.right_pieces();

    let get = slow.start();
    slow.relay.allow(1 << 20);
    slow.wait_pieces(kept + 5);
    let run = get.end_by("KILL");
    assert_eq!(run.status.code(), None, "{run}");
    let right = slow.right_pieces();

    slow.relay.open();
    let (run, read) = run_counting_reads(&slow.place, &slow.command(), "got/a.bin");
    assert_eq!(found(run.assert_code(0)), (right * PIECE) as u64, "all that was written");
    let (least, most) = ((right - kept) * PIECE, (16 + right - kept) * PIECE);
    let read = read.bytes as usize;
    assert!((least..=most).contains(&read), "{read} bytes read, {least} were in doubt");
    assert_same(&slow.original, &slow.copy());
}

#[test]
fn fifty_kills_at_random_moments_cost_nothing_that_was_written() {
    const KILLS: u64 = 50;
    let slow = Slow::new(33, 12 << 20);
    let mut state = 20_260_101;
    let mut random = |below: u64| splitmix(&mut state) % below;
    let mut seen = 0;
    for kill in 0..KILLS {
        let before = slow.right_pieces();
        let get = slow.start();
        let target = slow.relay.passed() + random(400 << 10);
        slow.relay.allow(target - slow.relay.passed());
        slow.relay.wait_passed(target, secs(30));
        let run = get.end_by("KILL");
        let started = run.stdout.lines().find(|line| line.contains("\"started\""));
        if let Some(line) = started {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let have = event["have"].as_u64().unwrap();
            assert_eq!(have, (before * PIECE) as u64, "at start {kill}");
            seen += 1;
        }
    }
    assert!(seen > KILLS / 2, "only {seen} runs came as far as to start");
    let right = slow.right_pieces();
    assert!((1..12 * 16).contains(&right), "{right} pieces: the kills were not in the middle");
    slow.relay.open();
    let run = slow.start().finish();
    assert_eq!(found(run.assert_code(0)), (right * PIECE) as u64);
    assert_same(&slow.original, &slow.copy());
}

#[test]
fn a_complete_file_is_recognised_without_any_peer() {
    let place = Place::new(34);
    let tree = folder(&place.root(), "tree", 34);
    let torrent = place.create(&tree, &[]);
    let bind = place.any_port(1);
    let get = |more: &[&str]| {
        let mut command = place.command(["get", "--no-dht", "--json", "--bind", &bind, "-o", "."]);
        command.arg(&torrent).args(more);
        command
    };
    let (run, read) = run_counting_reads(&place, &get(&[]), "zz last/big.bin");
    let done = run.assert_code(0).event("done");
    assert_eq!(
        (done["downloaded"].as_u64(), done["have"].as_u64()),
        (Some(0), done["total"].as_u64())
    );
    assert_eq!(read.bytes, 3 * 1024 * 1024 + 13, "a stranger's file is read once");
    let (run, read) = run_counting_reads(&place, &get(&[]), "zz last/big.bin");
    assert_eq!((run.assert_code(0).event("done")["downloaded"].as_u64(), read.bytes), (Some(0), 0));
}

#[test]
fn of_a_file_with_one_wrong_byte_one_piece_is_fetched() {
    let slow = Slow::new(35, 2 << 20);
    slow.relay.open();
    slow.start().finish().assert_code(0);
    let file = OpenOptions::new().read(true).write(true).open(slow.copy()).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1_000_000).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], 1_000_000).unwrap();
    drop(file);
    let run = slow.start().finish();
    assert_eq!(found(run.assert_code(0)), (2 << 20) - PIECE as u64);
    assert_eq!(run.event("done")["downloaded"].as_u64(), Some(PIECE as u64));
    assert_same(&slow.original, &slow.copy());
}

#[test]
fn a_file_that_was_removed_is_fetched_anew_and_a_shortened_one_in_part() {
    let slow = Slow::new(36, 1 << 20);
    slow.relay.open();
    slow.start().finish().assert_code(0);
    fs::remove_file(slow.copy()).unwrap();
    let run = slow.start().finish();
    assert_eq!(
        (found(run.assert_code(0)), run.event("done")["downloaded"].as_u64()),
        (0, Some(1 << 20))
    );
    let file = OpenOptions::new().write(true).open(slow.copy()).unwrap();
    file.set_len(10 * PIECE as u64 + 5).unwrap();
    let run = slow.start().finish();
    assert_eq!(found(run.assert_code(0)), 10 * PIECE as u64);
    assert_same(&slow.original, &slow.copy());
}

#[test]
fn a_check_that_is_interrupted_goes_on_where_it_was() {
    let slow = Slow::new(37, 4 << 20);
    slow.place.folder("got");
    fs::copy(&slow.original, slow.copy()).unwrap();
    // 64 pieces, two or more at a time, are read in 3 s at most.
    let fault = "pread64:delay_enter=100000";
    let checking = with_fault_at(&slow.command(), fault, &slow.copy());
    let mut get = slow.place.start_command(checking);
    get.wait_event("progress");
    get.signal_child("INT");
    get.finish().assert_code(130).assert_error(&["what is verified is saved"]);
    let (run, read) = run_counting_reads(&slow.place, &slow.command(), "got/a.bin");
    let done = run.assert_code(0).event("done");
    assert_eq!((found(&run), done["downloaded"].as_u64()), (4 << 20, Some(0)));
    assert!((1..4 << 20).contains(&read.bytes), "{} bytes read", read.bytes);
}

#[test]
fn a_seed_that_goes_in_the_middle_is_asked_again_when_it_is_back() {
    let slow = Slow::new(38, 4 << 20);
    let get = slow.start();
    slow.relay.allow(2 << 20);
    slow.wait_pieces(16);
    slow.relay.cut();
    slow.relay.open();
    let run = get.finish();
    assert_eq!(found(run.assert_code(0)), 0);
    let connected = run.events().iter().filter(|event| event["event"] == "peer").count();
    assert_eq!(connected, 2, "{run}");
    assert_same(&slow.original, &slow.copy());
}
