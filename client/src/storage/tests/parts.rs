//! Unfinished pieces that are written early.

use std::time::Duration;

use wire::rng::{Rng, seed_from_u64};

use super::world::{BLOCK_LEN, World, all, three_files};
use crate::disk::{DiskErrorKind, DiskOp};
use crate::storage::journal_path;

#[test]
fn a_part_is_there_after_a_clean_stop_and_nothing_is_read_for_it() {
    let mut world = World::new(three_files(), 1);
    world.start();
    // Piece 3 lies in three files.
    world.write_part(3, &[0, 2]);
    world.write(5);
    world.flush();
    assert_eq!(world.flushed, 1);
    for _ in 0..2 {
        world.disk.kill();
        world.restart();
        assert_eq!(world.start(), [5]);
        assert_eq!(world.parts.iter().collect::<Vec<_>>(), [(&3, &vec![0, 2])]);
        assert_eq!(world.disk.hashed, 0);
        world.flush();
    }
    world.storage.read_part(world.now, 3, 2 * BLOCK_LEN, BLOCK_LEN);
    world.run();
    let block = world.piece(3)[80..120].to_vec();
    assert_eq!(world.parts_read, [(3, 80, Some(block))]);
    world.write_rest(3, &[0, 2]);
    world.flush();
    assert!(world.kept.contains(&3));
    world.assert_piece_is_right(3);
    world.disk.crash(&mut Rng::new(&seed_from_u64(1)));
    world.restart();
    assert_eq!(world.start(), [3, 5]);
    assert!(world.parts.is_empty());
}

#[test]
fn a_part_lasts_from_the_next_commit_on() {
    for seed in 0..50 {
        let mut world = World::new(three_files(), seed);
        world.start();
        world.write_part(3, &[1, 2, 3]);
        world.wait(world.storage.config.commit_interval());
        assert!(world.storage.is_settled());
        world.write_part(3, &[0]);
        world.write_part(6, &[1]);
        world.run();
        world.disk.crash(&mut Rng::new(&seed_from_u64(seed)));
        world.restart();
        let have = world.start();
        if have == [3] {
            // All of it had reached the disk.
            continue;
        }
        assert!(have.is_empty());
        assert_eq!(world.parts.iter().collect::<Vec<_>>(), [(&3, &vec![1, 2, 3])]);
        (1..4).for_each(|block| world.assert_block_is_right(3, block));
    }
}

#[test]
fn a_piece_whose_last_blocks_were_written_early_becomes_whole_without_a_write() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write_part(4, &[0, 1, 2, 3]);
    world.run();
    world.write_rest(4, &[0, 1, 2, 3]);
    assert!(world.written.contains_key(&4));
    world.flush();
    assert!(world.kept.contains(&4));
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [4]);
    assert!(world.parts.is_empty());
}

#[test]
fn a_part_that_was_wrong_is_not_told_again() {
    for is_committed in [false, true] {
        let mut world = World::new(three_files(), 1);
        world.start();
        world.write_part(4, &[0, 1]);
        world.run();
        if is_committed {
            world.wait(world.storage.config.commit_interval());
        }
        world.storage.forget_part(world.now, 4);
        world.flush();
        world.disk.kill();
        world.restart();
        assert!(world.start().is_empty());
        assert!(world.parts.is_empty());
        assert_eq!(world.disk.hashed, 0);
    }
}

#[test]
fn a_part_that_was_wrong_is_not_told_again_though_its_commit_was_under_way() {
    for steps in 0..12 {
        let mut world = World::new(three_files(), steps);
        world.start();
        world.write_part(4, &[0, 1]);
        world.run();
        world.pass(world.storage.config.commit_interval());
        for _ in 0..steps {
            world.step();
        }
        world.storage.forget_part(world.now, 4);
        world.flush();
        assert_eq!(world.flushed, 1);
        world.disk.kill();
        world.restart();
        assert!(world.start().is_empty());
        assert!(world.parts.is_empty(), "after {steps} operations of the commit");
    }
}

#[test]
fn nothing_is_due_for_a_part_that_was_forgotten() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write_part(4, &[0, 1]);
    world.run();
    assert!(world.storage.poll_timeout().is_some());
    world.storage.forget_part(world.now, 4);
    world.run();
    assert_eq!(world.storage.poll_timeout(), None);
    assert!(world.storage.is_settled());
}

#[test]
fn a_piece_that_was_written_whole_before_a_kill_is_no_part_any_more() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write_part(4, &[0, 1]);
    world.write_part(7, &[0]);
    world.wait(world.storage.config.commit_interval());
    world.write_rest(4, &[0, 1]);
    world.write_part(7, &[1]);
    world.run();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [4]);
    // What was not committed of the other is in the file, but not recorded.
    let parts: Vec<_> = world.parts.iter().collect();
    assert_eq!(parts, [(&7, &vec![0])]);
    world.flush();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [4]);
    assert_eq!(world.parts.keys().collect::<Vec<_>>(), [&7], "it was read, and is still there");
}

#[test]
fn parts_of_files_that_were_changed_or_cut_are_not_believed() {
    for is_cut in [false, true] {
        let mut world = World::new(three_files(), 1);
        world.start();
        world.write_part(1, &[0]);
        world.write_part(7, &[0]);
        world.flush();
        world.disk.kill();
        world.disk.clock_ns += 60_000_000_000;
        if is_cut {
            world.file("a").truncate(200);
        }
        world.disk.touch(&["t", "a"]);
        world.restart();
        world.start();
        assert_eq!(world.parts.keys().collect::<Vec<_>>(), [&7]);
        world.flush();
        world.disk.kill();
        world.restart();
        world.start();
        assert_eq!(world.parts.keys().collect::<Vec<_>>(), [&7]);
    }
}

#[test]
fn a_part_that_the_file_has_no_more_is_told_as_gone() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write_part(7, &[0]);
    world.flush();
    world.file("c").truncate(10);
    world.storage.read_part(world.now, 7, 0, BLOCK_LEN);
    world.run();
    assert_eq!(world.parts_read, [(7, 0, None)]);
    assert_eq!(world.failed, None);
}

#[test]
fn after_a_failed_sync_no_part_since_the_last_good_one_is_believed() {
    for seed in 0..20 {
        let mut world = World::new(three_files(), seed);
        world.start();
        world.write_part(0, &[0]);
        world.wait(Duration::from_secs(5));
        world.write_part(0, &[1]);
        world.write_part(1, &[1]);
        world.run();
        let is_data: crate::storage::fake_disk::Matches = |op| matches!(op, DiskOp::SyncAll { .. });
        world.disk.fail_next = Some((is_data, DiskErrorKind::Other));
        world.wait(Duration::from_secs(5));
        assert!(world.failed.is_some());
        world.disk.kill();
        world.restart();
        world.start();
        assert!(world.parts.is_empty(), "{:?}", world.parts);
        assert_eq!(world.disk.hashed, 0);
    }
}

#[test]
fn a_journal_without_parts_is_read_as_ever() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write_all();
    world.flush();
    let path = journal_path(&world.info.info_hash);
    assert!(world.disk.bytes(&[&path[0], &path[1]]).is_some());
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), all());
    assert!(world.parts.is_empty());
}
