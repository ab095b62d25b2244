//! The matrix of programs, torrents and ways to meet: a few rows of it here, all of it in tier 2.
//!
//! What transmission does stands in `interop_get` and `interop_seed`: it waits so long by its own timers
//! that no row with it is quick.

use std::fs;
use std::path::Path;

use harness::matrix::{By, Case, Program, Shape, Stop, report, whole};
use harness::programs::repository;

fn run(seed: Program, leech: Program, by: By, shape: Shape, piece_len: u32) {
    Case { seed, leech, by, shape, piece_len, stop: None }.run();
}

fn run_stopped(seed: Program, leech: Program, by: By, stop: Stop) {
    let (shape, piece_len) = (Shape::Long, 64 << 10);
    Case { seed, leech, by, shape, piece_len, stop: Some(stop) }.run();
}

#[test]
fn a_tree_comes_from_qbittorrent_by_magnet() {
    run(Program::Qbittorrent, Program::Ours, By::Magnet, Shape::Tree, 64 << 10);
}

#[test]
fn qbittorrent_fetches_a_tree_by_magnet() {
    run(Program::Ours, Program::Qbittorrent, By::Magnet, Shape::Tree, 256 << 10);
}

#[test]
fn qbittorrent_fetches_by_torrent_and_goes_on_after_a_kill() {
    run_stopped(Program::Ours, Program::Qbittorrent, By::Torrent, Stop::Kill);
}

#[test]
fn ours_goes_on_after_a_kill_with_qbittorrent() {
    run_stopped(Program::Qbittorrent, Program::Ours, By::Torrent, Stop::Kill);
}

#[test]
fn ours_fetches_from_ours_by_magnet() {
    run(Program::Ours, Program::Ours, By::Magnet, Shape::Names, 16 << 10);
}

#[test]
fn ours_goes_on_with_ours_after_it_was_ended() {
    run_stopped(Program::Ours, Program::Ours, By::Magnet, Stop::Term);
}

#[test]
fn pieces_of_four_mib_come_from_libtorrent_by_torrent() {
    run(Program::Libtorrent, Program::Ours, By::Torrent, Shape::Borders, 4 << 20);
}

#[test]
fn libtorrent_fetches_empty_files_by_torrent() {
    run(Program::Ours, Program::Libtorrent, By::Torrent, Shape::Empty, 16 << 10);
}

#[test]
fn ours_goes_on_after_a_kill_with_aria2() {
    run_stopped(Program::Aria2, Program::Ours, By::Torrent, Stop::Kill);
}

#[test]
fn aria2_fetches_whole_pieces_by_torrent() {
    run(Program::Ours, Program::Aria2, By::Torrent, Shape::WholePieces, 1 << 20);
}

/// `INTEROP_ONLY=words` runs the rows whose names contain them; `INTEROP_PAGE=file` writes the page.
#[test]
#[ignore = "tier 2: hundreds of downloads, and rqbit has to be compiled first"]
fn the_whole_matrix() {
    let only = std::env::var("INTEROP_ONLY").unwrap_or_default();
    let cases: Vec<_> =
        whole().into_iter().filter(|case| case.to_string().contains(&only)).collect();
    let rows = report::run_all(&cases);
    if let Some(file) = std::env::var_os("INTEROP_PAGE") {
        let file = repository().join(Path::new(&file));
        fs::write(&file, report::page(&rows)).unwrap_or_else(|e| panic!("write {file:?}: {e}"));
    }
    let failed: Vec<_> = rows
        .iter()
        .filter_map(|(case, result)| Some(format!("{case}: {}", result.as_ref().err()?)))
        .collect();
    assert!(
        failed.is_empty() && !rows.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
