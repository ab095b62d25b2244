//! Files that are left out, and what the pieces have of them nevertheless.

use wire::rng::{Rng, seed_from_u64};

use super::world::{World, all, complete, extents, three_files};
use crate::storage::STATE_FOLDER;

/// A finished download of some of the files: a has the pieces 0 to 3, b 3, c 3 to 10.
fn selected(files: &[u32]) -> World {
    let mut world = World::new(three_files(), 1);
    world.select(files);
    world.start();
    for piece in world.storage.wanted().clone().ones() {
        world.write(piece);
    }
    world.flush();
    assert_eq!((world.flushed, world.failed.clone()), (1, None));
    world.disk.kill();
    world
}

fn has_part(world: &mut World) -> bool {
    let name = format!("{}.part", world.info.info_hash);
    world.disk.bytes(&[STATE_FOLDER, &name]).is_some()
}

fn has(world: &mut World, name: &str) -> bool {
    world.disk.bytes(&["t", name]).is_some()
}

#[test]
fn only_what_is_selected_is_made_and_the_next_start_reads_nothing() {
    let mut world = selected(&[0]);
    assert_eq!(world.kept.iter().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(has(&mut world, "a") && has_part(&mut world));
    assert!(!has(&mut world, "b") && !has(&mut world, "c") && !has(&mut world, "empty"));
    (0..4).for_each(|piece| world.assert_piece_is_right(piece));
    world.restart();
    assert_eq!(world.start(), [0, 1, 2, 3]);
    assert_eq!(world.disk.hashed, 0);
    // Piece 3 is served, partly from the part file.
    world.read(0, 3, 0, 160);
    world.run();
    assert_eq!(extents(world.read(0, 3, 0, 160)).len(), 3);
}

#[test]
fn an_empty_file_is_made_if_it_is_selected() {
    let mut world = World::new(three_files(), 1);
    world.select(&[2]);
    assert!(world.start().is_empty());
    world.flush();
    assert!(has(&mut world, "empty") && !has(&mut world, "a") && !has_part(&mut world));
}

#[test]
fn what_is_selected_later_comes_as_well_and_the_part_file_goes() {
    let mut world = selected(&[0]);
    world.select(&[0, 1, 2, 3]);
    // Of piece 3 the rest was in the part file.
    assert_eq!(world.start(), [0, 1, 2]);
    assert_eq!(world.disk.hashed, 0);
    assert!(!has_part(&mut world));
    (3..11).for_each(|piece| world.write(piece));
    world.flush();
    world.assert_complete();
    world.disk.kill();
    world.selection = None;
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 0);
}

#[test]
fn what_was_there_before_a_file_was_left_out_stays_in_use() {
    let mut world = complete();
    world.select(&[1]);
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 0);
    world.flush();
    assert!(!has_part(&mut world));
}

#[test]
fn space_is_needed_for_what_is_selected_only() {
    let mut world = World::new(three_files(), 1);
    world.disk.free = 700;
    world.select(&[0]);
    world.start();
    assert_eq!(world.failed, None);
}

#[test]
fn a_short_file_that_is_not_wanted_is_left_as_it_is() {
    let mut world = World::new(three_files(), 1);
    world.disk.put(&["t", "c"], vec![7; 30]);
    world.select(&[0]);
    world.start();
    (0..4).for_each(|piece| world.write(piece));
    world.flush();
    assert_eq!(world.flushed, 1);
    assert_eq!(world.file("c"), &vec![7; 30]);
}

#[test]
fn what_was_kept_in_a_file_is_not_claimed_of_the_part_file() {
    for is_short in [false, true] {
        // Of piece 3, what b has lies in the part file.
        let mut world = selected(&[0, 3]);
        if is_short {
            world.file("c").truncate(30);
        } else {
            world.disk.remove(&["t", "c"]);
        }
        world.select(&[0]);
        assert_eq!(world.start(), [0, 1, 2]);
        world.flush();
        world.disk.kill();
        // Where it lies is known from now on, and what is kept there is believed.
        world.restart();
        assert_eq!(world.start(), [0, 1, 2]);
        assert_eq!(world.disk.hashed, 0);
        world.write(3);
        world.flush();
        world.disk.kill();
        world.restart();
        assert_eq!(world.start(), [0, 1, 2, 3]);
        assert_eq!(world.disk.hashed, 0);
    }
}

#[test]
fn what_was_kept_in_the_part_file_is_not_claimed_of_a_file_that_comes_back() {
    let mut world = selected(&[0, 3]);
    let before = world.file("c").clone();
    let mtime_ns = world.disk.mtime_ns(&["t", "c"]);
    world.disk.remove(&["t", "c"]);
    world.select(&[0]);
    world.start();
    world.write(3);
    world.flush();
    world.disk.kill();
    // As it was but for a byte of piece 3, and nothing tells.
    world.disk.put(&["t", "c"], before);
    world.file("c")[10] ^= 1;
    world.disk.set_mtime_ns(&["t", "c"], mtime_ns);
    world.restart();
    assert_eq!(world.start(), [0, 1, 2]);
}

#[test]
fn whatever_is_selected_or_removed_or_crashes_nothing_is_claimed_falsely() {
    for seed in 0..3_000 {
        let mut world = World::new(three_files(), seed);
        let mut rng = Rng::new(&seed_from_u64(seed));
        for _ in 0..6 {
            let files: Vec<u32> = (0..4).filter(|_| rng.below(2) == 0).collect();
            world.select(&files);
            for piece in world.start() {
                world.assert_piece_is_right(piece);
            }
            let wanted: Vec<u32> = world.storage.wanted().ones().collect();
            for piece in wanted {
                match rng.below(4) {
                    0 => {}
                    1 => world.write_part(piece, &[0]),
                    _ => world.write(piece),
                }
            }
            for _ in 0..rng.below(60) {
                world.step();
            }
            if rng.below(2) == 0 {
                world.flush();
            }
            if rng.below(2) == 0 {
                world.disk.crash(&mut rng);
            } else {
                world.disk.kill();
            }
            let name = ["a", "b", "c"][rng.index(3)];
            if rng.below(2) == 0 {
                world.disk.remove(&["t", name]);
            }
        }
    }
}
