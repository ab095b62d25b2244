//! Room for what is missing.

use super::world::{World, all, complete, three_files};
use crate::disk::{DiskErrorKind, DiskOp};
use crate::storage::fixture::content;

#[test]
fn a_file_whose_room_cannot_be_had_does_not_stay_locked() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.disk.fail_next = Some((|op| matches!(op, DiskOp::SetLen { .. }), DiskErrorKind::Full));
    world.write(0);
    world.run();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Full);
    world.storage.close();
    world.run();
    assert_eq!(world.disk.open_count(), 0);
    world.restart();
    world.start();
    world.write_all();
    assert_eq!(world.failed, None);
}

#[test]
fn too_little_space_is_told_before_the_start() {
    let mut world = World::new(three_files(), 1);
    world.disk.free = 1_000;
    world.start();
    let error = world.failed.clone().unwrap();
    assert_eq!((error.kind, &world.have), (DiskErrorKind::Full, &None));
    assert!(error.message.contains("1.6 KiB (1670 bytes) more are needed"), "{error}");
    assert!(error.message.contains("1000 bytes are free"), "{error}");
    assert!(world.disk.bytes(&["t", "a"]).is_none());
}

#[test]
fn space_that_went_since_the_start_is_told_before_anything_is_written() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.disk.free = 1_000;
    world.write(0);
    world.run();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Full);
    assert!(world.disk.bytes(&["t", "a"]).is_none());
}

#[test]
fn what_is_complete_needs_no_space() {
    let mut world = complete();
    world.flush();
    world.disk.free = 0;
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.failed, None);
}

#[test]
fn what_has_its_room_already_needs_no_more_space() {
    for preallocate in [false, true] {
        let mut world = World::new(three_files(), 1);
        world.storage.config.preallocate = preallocate;
        world.start();
        world.write(0);
        world.write_part(5, &[0, 1, 2]);
        world.flush();
        world.disk.kill();
        // 1510 bytes are missing. Sectors of 64 bytes have room for 32 of them behind piece 0, and for
        // 192 where the blocks were written.
        world.disk.free = 1_285;
        world.restart();
        world.start();
        assert_eq!(world.failed.is_none(), preallocate);
        world.disk.kill();
        world.disk.free = if preallocate { 1_000 } else { 1_286 };
        world.restart();
        assert_eq!(world.start(), [0]);
        assert_eq!(world.failed, None);
        if preallocate {
            (1..11).for_each(|piece| world.write(piece));
            world.flush();
            world.assert_complete();
        }
    }
}

#[test]
fn a_file_that_is_whole_and_wrong_has_its_room() {
    let mut world = complete();
    world.file("c").fill(0xee);
    world.disk.touch(&["t", "c"]);
    // For the journal: 1190 bytes are missing.
    world.disk.free = 1_000;
    world.restart();
    assert_eq!(world.start(), [0, 1, 2]);
    assert_eq!(world.failed, None);
    world.write_all();
    world.flush();
    world.assert_complete();
}

#[test]
fn room_behind_a_files_end_or_for_what_is_there_is_none_for_what_is_missing() {
    let mut world = World::new(three_files(), 1);
    let a: Vec<u8> = (0..500).map(content).collect();
    world.disk.put(&["t", "a"], a);
    world.disk.put(&["t", "c"], vec![7; 1_100]);
    world.file("c").truncate(100);
    // Of c 1000 bytes are missing behind its end, and of a the 20 of piece 3 have their room.
    world.disk.free = 1_069;
    world.start();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Full);
    world.disk.kill();
    world.disk.free = 1_070;
    world.restart();
    assert_eq!(world.start(), [0, 1, 2]);
}

#[test]
fn what_was_never_written_takes_no_room_at_the_next_start() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(0);
    world.flush();
    world.disk.fail_next =
        Some((|op| matches!(op, DiskOp::WriteBlocks { .. }), DiskErrorKind::Full));
    world.write(7);
    world.run();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Full);
    world.disk.kill();
    let allocated = world.disk.allocated(&["t", "c"]);
    world.restart();
    assert_eq!(world.start(), [0]);
    assert_eq!(world.disk.allocated(&["t", "c"]), allocated);
}
