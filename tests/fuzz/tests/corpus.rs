//! The targets over their committed inputs, and over some thousands that are made of these.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::mutate::{corpus, corpus_folder, next};
use fuzz::{TARGETS, Target};
use wire::rng::{Rng, seed_from_u64};

/// Bytes of all committed inputs: more would be a burden on every clone.
const CORPUS_BYTES_MAX: u64 = 300_000;

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|(target, _)| *target == name).expect("a target of this name")
}

/// Tells what failed in hex, so that it can become a file of the corpus.
struct Tell<'a>(&'a Path, &'a [u8]);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed by {} {}", self.0.display(), hex::encode(self.1));
        }
    }
}

/// Runs the committed inputs, and so many made of them.
fn holds(name: &str, made: u32) {
    let (name, body) = target(name);
    let (committed, inputs): (Vec<PathBuf>, Vec<Vec<u8>>) =
        corpus(&corpus_folder(name)).into_iter().unzip();
    assert!(inputs.len() >= 10, "the corpus of {name} is missing");
    for (path, bytes) in committed.iter().zip(&inputs) {
        let _tell = Tell(path, bytes);
        body(bytes);
    }
    let mut rng = Rng::new(&seed_from_u64(1));
    for _ in 0..made {
        let bytes = next(&mut rng, &inputs);
        let _tell = Tell(Path::new("no file"), &bytes);
        body(&bytes);
    }
}

#[test]
fn any_bytes_decode_the_same_in_every_way() {
    holds("bencode", 200_000);
}

#[test]
fn any_datagram_reads_the_same_again_once_written() {
    holds("krpc", 200_000);
}

#[test]
fn a_node_keeps_its_bounds_whatever_strangers_send() {
    holds("node", 10_000);
}

#[test]
fn a_network_ends_its_lookups_whatever_becomes_of_its_datagrams() {
    holds("network", 2_000);
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    holds("framer", 20_000);
}

#[test]
fn any_extension_message_reads_the_same_again_once_written() {
    holds("extension", 100_000);
}

#[test]
fn any_torrent_file_that_is_taken_makes_sense() {
    holds("metainfo", 50_000);
}

#[test]
fn any_magnet_link_that_is_taken_reads_the_same_again_once_printed() {
    holds("magnet", 100_000);
}

#[test]
fn a_journal_claims_nothing_beyond_its_valid_part() {
    holds("journal", 50_000);
}

#[test]
fn a_session_keeps_its_bounds_and_its_manners_whatever_a_peer_sends() {
    holds("peer", 3_000);
}

#[test]
fn a_swarm_of_liars_and_slow_threads_spoils_no_piece() {
    holds("swarm", 3_000);
}

#[test]
fn the_corpus_is_small_and_each_folder_is_a_target() {
    let mut bytes = 0;
    for folder in fs::read_dir(corpus_folder("")).expect("the corpus").flatten() {
        let name = folder.file_name();
        target(name.to_str().expect("a name of a target"));
        let files = fs::read_dir(folder.path()).expect("a folder").flatten();
        bytes += files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum::<u64>();
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}
