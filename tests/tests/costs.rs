//! What a transfer costs the system: memory by the kernel's count, and calls for each block. Times are
//! another matter: `tests/bench`.

use std::path::{Path, PathBuf};
use std::process::Command;

use client::Config;
use harness::cli::{Place, Program};
use harness::content::single_file;
use harness::strace::{Counter, Counts, run_counting_calls};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 16 << 10;

/// What a client takes beside the blocks of unfinished pieces: code, threads, tables, and what the
/// allocator does not give back.
const BESIDE_BUDGET_MIB: u64 = 48;

/// A program that serves `file` and has said that it does.
fn peer(place: &Place, program: &str, arguments: [&str; 3]) -> Program {
    let mut command = Command::new(program);
    command.args(["a.bin.torrent", "a.bin"]).current_dir(place.root());
    command.args(arguments.iter().filter(|argument| !argument.is_empty()));
    let mut peer = place.start_command(command);
    peer.wait_words("ready");
    peer
}

/// Content in the place, and its torrent.
fn content(place: &Place, len: u64, piece_len: u64) -> (PathBuf, PathBuf) {
    let path = single_file(&place.root(), "a.bin", len, len);
    let torrent = place.create(&path, &["--piece-length", &piece_len.to_string()]);
    (path, torrent)
}

fn bare_seed(place: &Place, address: &str) -> Program {
    peer(place, env!("CARGO_BIN_EXE_bare_seed"), [address, "", ""])
}

/// `trackerless get` of what `content` made.
fn get(place: &Place, torrent: &Path, peers: &[String], more: &[&str]) -> Command {
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "got"]);
    command.arg(torrent).args(["--bind", &place.any_port(1)]).args(more);
    peers.iter().for_each(|peer| {
        command.args(["--peer", peer]);
    });
    command
}

/// The most memory that a download takes, in MiB.
fn peak_mib(place: &Place, torrent: &Path, peers: &[String]) -> u64 {
    let mut leech = place.start_command(get(place, torrent, peers, &["--seed"]));
    leech.wait_event("done");
    leech.process().peak_memory_kib() / 1024
}

#[test]
fn a_fast_peer_costs_a_leech_little_memory() {
    let place = Place::new(120);
    let (_, torrent) = content(&place, 256 * MIB, MIB);
    let address = format!("{}:6990", place.ip(2));
    let _seed = bare_seed(&place, &address);
    let peak = peak_mib(&place, &torrent, &[address]);
    println!("{peak} MiB");
    assert!(peak <= 48, "{peak} MiB");
}

#[test]
fn sixty_slow_peers_on_large_pieces_cost_a_leech_its_budget_and_little_more() {
    let place = Place::new(121);
    // Twice the budget, in pieces of which few fit into it.
    let (_, torrent) = content(&place, 128 * MIB, 16 * MIB);
    let first = format!("{}:6990", place.ip(100));
    let _peers = peer(&place, env!("CARGO_BIN_EXE_slow_peers"), [&first, "60", "500"]);
    let peers: Vec<_> = (100..160).map(|host| format!("{}:6990", place.ip(host))).collect();
    let peak = peak_mib(&place, &torrent, &peers);
    let budget = Config::default().credits_max as u64 * BLOCK / MIB;
    println!("{peak} MiB of {budget}");
    assert!(peak <= budget + BESIDE_BUDGET_MIB, "{peak} MiB of {budget}");
    assert!(peak >= budget / 2, "{peak} MiB do not show much");
}

#[test]
fn a_seed_takes_a_header_and_a_sendfile_for_each_block_and_little_more() {
    let place = Place::new(122);
    let len = 128 * MIB;
    let (path, torrent) = content(&place, len, MIB);
    let mut seed = place.seed_with(2, &path, ["--no-dht", "--piece-length", "1048576"]);
    let counter = Counter::start(&place, seed.program.process());
    let mut leech = Command::new(env!("CARGO_BIN_EXE_bare_leech"));
    leech.arg(torrent).args(["got.bin", &seed.address.to_string()]).current_dir(place.root());
    place.run_command(leech).assert_code(0);
    let counts = counter.finish();
    let each = for_each_block(&counts, len);
    assert!(each <= 2.25, "{each}: {counts:?}");
}

#[test]
fn a_leech_reads_many_blocks_with_one_call_and_wakes_no_thread_for_each() {
    let place = Place::new(123);
    let len = 256 * MIB;
    let (_, torrent) = content(&place, len, MIB);
    let address = format!("{}:6990", place.ip(2));
    let _seed = bare_seed(&place, &address);
    let (run, counts) = run_counting_calls(&place, &get(&place, &torrent, &[address], &[]));
    run.assert_code(0);
    let each = for_each_block(&counts, len);
    assert!(each <= 1.25, "{each}: {counts:?}");
    let wakes = counts.get("futex").copied().unwrap_or(0) as f64 / (len / BLOCK) as f64;
    assert!(wakes <= 0.5, "{wakes}: {counts:?}");
}

/// Calls for each block of so many bytes.
fn for_each_block(counts: &Counts, len: u64) -> f64 {
    counts.values().sum::<u64>() as f64 / (len / BLOCK) as f64
}
