//! What a storage does when the disk refuses.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::rng::{Rng, seed_from_u64};

use super::world::{World, all, complete, small_config, three_files};
use crate::disk::{DiskErrorKind, DiskOp};
use crate::storage::fake_disk::Matches;
use crate::storage::fixture::info;
use crate::storage::{Config, Storage, journal_path};

#[test]
fn a_longer_file_is_left_alone_with_an_error() {
    let mut world = complete();
    world.file("b").push(1);
    world.restart();
    world.start();
    let error = world.failed.clone().unwrap();
    assert_eq!(error.kind, DiskErrorKind::Conflict);
    assert!(error.message.contains("t/b has 71 bytes, but 70"), "{error}");
    assert_eq!(world.file("b").len(), 71);
}

#[test]
fn a_file_that_holds_nothing_of_the_torrent_is_left_alone_with_an_error() {
    // The second is too short for any piece.
    for len in [500, 30] {
        let mut world = World::new(three_files(), 1);
        world.disk.put(&["t", "a"], vec![7; len]);
        // However often it is tried, and though a check was left in the middle.
        for steps in [12, 1_000, 1_000] {
            world.storage.start(world.now);
            (0..steps).for_each(|_| _ = world.step());
            world.flush();
            assert_eq!(world.flushed, 1);
            if steps == 1_000 {
                let error = world.failed.clone().unwrap();
                assert_eq!((error.kind, &world.have), (DiskErrorKind::Conflict, &None));
                let words = "t/a is there and holds nothing of this torrent";
                assert!(error.message.contains(words), "{error}");
            }
            assert_eq!(world.file("a"), &vec![7; len]);
            world.disk.kill();
            world.restart();
        }
        world.disk.remove(&["t", "a"]);
        assert!(world.start().is_empty());
        world.write_all();
        world.flush();
        world.assert_complete();
    }
}

#[test]
fn what_another_program_began_is_gone_on_with() {
    // One piece is right, of another file.
    let mut world = World::new(three_files(), 1);
    let mut c = vec![7; 1_100];
    c[70..230].copy_from_slice(&world.piece(4));
    world.disk.put(&["t", "a"], vec![7; 500]);
    world.disk.put(&["t", "c"], c);
    assert_eq!(world.start(), [4]);
    // Nothing is right, and nothing was written.
    let mut world = World::new(three_files(), 1);
    world.disk.put_holes(&["t", "a"], 500);
    world.disk.put(&["t", "b"], Vec::new());
    assert!(world.start().is_empty());
    assert_eq!(world.failed, None);
}

#[test]
fn what_is_not_wanted_is_in_nobodys_way() {
    let mut world = World::new(three_files(), 1);
    world.disk.put(&["t", "c"], vec![7; 1_100]);
    world.select(&[0]);
    assert!(world.start().is_empty());
    assert_eq!(world.failed, None);
}

#[test]
fn files_that_a_killed_run_made_or_wrote_are_gone_on_with() {
    for stop in 0.. {
        let mut world = World::new(three_files(), stop);
        world.storage.config.preallocate = true;
        world.start();
        world.write_part(0, &[0]);
        let is_over = !(0..stop).all(|_| world.step());
        world.disk.crash(&mut Rng::new(&seed_from_u64(stop)));
        world.restart();
        world.start();
        assert_eq!(world.failed, None, "after {stop} operations");
        if is_over {
            return;
        }
    }
}

/// A finished download without its journal, in a folder where no new one can be.
fn denied(fails: Matches) -> World {
    let mut world = complete();
    let path = journal_path(&world.info.info_hash);
    world.disk.remove(&[&path[0], &path[1]]);
    world.disk.remove_folder(&path[..1].to_vec());
    world.disk.fail_next = Some((fails, DiskErrorKind::Denied));
    world.restart();
    world
}

const DENIALS: [Matches; 2] = [
    |op| matches!(op, DiskOp::MakeFolder { .. }),
    |op| matches!(op, DiskOp::Open { path, .. } if path[0] == crate::storage::STATE_FOLDER),
];

#[test]
fn what_is_whole_and_cannot_be_written_is_checked_and_served() {
    for fails in DENIALS {
        let mut world = denied(fails);
        assert_eq!(world.start(), all());
        assert_eq!((world.disk.hashed, world.failed.clone()), (11, None));
        assert!(world.storage.is_settled() && world.storage.is_costly_to_start());
        world.write(0);
        world.flush();
        assert_eq!((world.flushed, world.written.len(), world.kept.len()), (1, 0, 0));
        world.read(0, 0, 0, 10);
        world.run();
        assert!(world.read(0, 0, 0, 10).is_some());
        let path = journal_path(&world.info.info_hash);
        assert!(world.disk.bytes(&[&path[0], &path[1]]).is_none());
        world.storage.close();
        world.run();
        assert_eq!(world.disk.open_count(), 0);
    }
}

#[test]
fn what_is_not_whole_and_cannot_be_written_is_told_with_what_the_disk_said() {
    for fails in DENIALS {
        for is_wrong in [false, true] {
            let mut world = denied(fails);
            if is_wrong {
                world.file("c")[400] ^= 1;
            } else {
                world.disk.remove(&["t", "empty"]);
            }
            world.start();
            let error = world.failed.clone().unwrap();
            assert_eq!((error.kind, error.message.as_str()), (DiskErrorKind::Denied, "planned"));
            assert_eq!(world.have, None);
            world.flush();
            assert_eq!(world.flushed, 1);
        }
    }
}

#[test]
fn a_second_process_is_told_that_the_torrent_is_in_use() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.restart_with(Storage::new(&three_files(), small_config(), 8));
    world.start();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Locked);
    assert_eq!(world.have, None);
}

#[test]
fn a_file_that_another_torrent_writes_to_is_left_alone() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(0);
    world.run();
    let before = world.file("a").clone();
    world.info = info("t", &[("a", 500)], 200);
    world.restart_with(Storage::new(&world.info, small_config(), 8));
    world.start();
    world.write(1);
    world.run();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Conflict);
    assert_eq!((world.written.len(), world.file("a").clone()), (0, before));
}

/// A file of two pieces, of which the first was kept, and others that it was closed for.
fn closed_again() -> World {
    let files = [("f0", 120), ("f1", 60), ("f2", 60), ("f3", 60), ("f4", 60), ("f5", 60)];
    let mut world = World::new(info("t", &files, 60), 1);
    world.start();
    for piece in [0, 2, 3, 4, 5, 6] {
        world.write(piece);
        world.wait(Duration::from_secs(6));
    }
    assert_eq!((world.kept.len(), world.disk.open_count()), (6, 5));
    world.disk.hashed = 0;
    world
}

#[test]
fn what_others_changed_in_a_file_that_was_closed_ends_no_download_well() {
    for (is_wrong, is_reopened) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = closed_again();
        world.file("f0")[7] ^= u8::from(is_wrong);
        world.disk.touch(&["t", "f0"]);
        if is_reopened {
            world.write(1);
            world.run();
        } else {
            world.flush();
        }
        assert_eq!(world.disk.hashed, 1);
        assert_eq!(world.lost.iter().copied().collect::<Vec<_>>(), vec![0; usize::from(is_wrong)]);
        assert_eq!(world.failed.is_some(), is_wrong);
        if let Some(error) = &world.failed {
            assert_eq!(error.kind, DiskErrorKind::Conflict);
            assert!(error.message.contains("t/f0 was changed by another"), "{error}");
        }
        world.flush();
        world.disk.kill();
        world.restart();
        assert_eq!(world.start().contains(&0), !is_wrong);
        assert!(world.disk.hashed <= usize::from(is_wrong));
    }
}

#[test]
fn a_file_that_cannot_be_made_at_its_length_does_not_stay_open() {
    let fails: [Matches; 3] = [
        |op| matches!(op, DiskOp::SetLen { .. }),
        |op| matches!(op, DiskOp::Stat { path } if path[0] == "t"),
        |op| matches!(op, DiskOp::Open { path, .. } if path[0] == "t"),
    ];
    for fails in fails {
        for seed in 0..10 {
            let mut world = World::new(three_files(), seed);
            world.start();
            world.disk.fail_next = Some((fails, DiskErrorKind::Full));
            world.write(0);
            world.run();
            assert!(world.failed.is_some());
            assert_eq!(world.disk.open_count(), 1, "the journal");
            world.storage.close();
            world.run();
            assert_eq!(world.disk.open_count(), 0);
        }
    }
}

#[test]
fn what_was_kept_before_the_disk_was_full_stays_kept() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(0);
    world.write(1);
    world.run();
    world.disk.fail_next =
        Some((|op| matches!(op, DiskOp::WriteBlocks { .. }), DiskErrorKind::Full));
    world.storage.config.writes_in_flight_max = 1;
    (2..6).for_each(|piece| world.write(piece));
    world.run();
    assert_eq!(world.failed.clone().unwrap().kind, DiskErrorKind::Full);
    assert_eq!(world.storage.unwritten_bytes(), 0, "what waited is dropped");
    assert_eq!(world.kept, BTreeSet::from([0, 1]), "what was written before is still committed");
    world.flush();
    assert_eq!(world.flushed, 1);
    world.write(3);
    world.run();
    assert!(!world.written.contains_key(&3));
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [0, 1]);
}

#[test]
fn what_is_being_recorded_when_the_disk_fails_holds_no_flush_up() {
    for seed in 0..40 {
        let mut world = World::new(three_files(), seed);
        world.start();
        world.disk.fail_next =
            Some((|op| matches!(op, DiskOp::WriteBlocks { .. }), DiskErrorKind::Full));
        // The next is recorded while the last is written.
        for piece in 0..11 {
            world.write(piece);
            (0..3).for_each(|_| _ = world.step());
        }
        world.run();
        assert!(world.failed.is_some());
        assert_eq!(world.storage.unwritten_bytes(), 0, "seed {seed}");
        world.flush();
        assert_eq!(world.flushed, 1, "seed {seed}");
    }
}

#[test]
fn a_journal_that_cannot_be_written_ends_the_storage_and_claims_nothing() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(0);
    world.run();
    world.disk.fail_next = Some((|op| matches!(op, DiskOp::Write { .. }), DiskErrorKind::Full));
    world.wait(Duration::from_secs(5));
    assert!(world.failed.is_some() && world.kept.is_empty());
    assert_eq!(world.lost, BTreeSet::from([0]));
    world.flush();
    assert_eq!(world.flushed, 1);
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [0], "it was being written, so it is checked");
    assert_eq!(world.disk.hashed, 1);
}

#[test]
fn what_waited_for_a_journal_that_cannot_be_written_is_dropped() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.disk.fail_next = Some((|op| matches!(op, DiskOp::Write { .. }), DiskErrorKind::Full));
    (0..3).for_each(|piece| world.write(piece));
    world.run();
    assert!(world.failed.is_some());
    assert_eq!(world.storage.unwritten_bytes(), 0);
    world.flush();
    assert_eq!(world.flushed, 1);
}

#[test]
fn after_a_failed_sync_nothing_since_the_last_good_one_is_believed() {
    let is_data_sync: Matches = |op| matches!(op, DiskOp::SyncAll { .. });
    for seed in 0..20 {
        let mut world = World::new(three_files(), seed);
        world.start();
        world.write(0);
        world.wait(Duration::from_secs(5));
        assert_eq!(world.kept, BTreeSet::from([0]));
        world.write(7);
        world.write(8);
        world.run();
        world.disk.fail_next = Some((is_data_sync, DiskErrorKind::Other));
        world.wait(Duration::from_secs(5));
        assert!(world.failed.is_some());
        assert_eq!(world.lost, BTreeSet::from([7, 8]));
        world.disk.kill();
        world.restart();
        // Memory still has what the disk has not; it must not be asked.
        assert_eq!(world.start(), [0]);
        assert_eq!(world.disk.hashed, 0);
        world.write(7);
        world.flush();
        let mut rng = Rng::new(&seed_from_u64(seed));
        world.disk.crash(&mut rng);
        world.restart();
        for piece in world.start() {
            world.assert_piece_is_right(piece);
        }
        assert!(world.have().contains(&0) && world.have().contains(&7));
    }
}

/// Two pieces whose sync failed, and a kill before, or after, the journal was told of it.
fn killed_after_a_failed_sync(seed: u64, is_told: bool) -> World {
    let is_data_sync: Matches = |op| matches!(op, DiskOp::SyncAll { .. });
    let mut world = World::new(three_files(), seed);
    world.start();
    world.write(0);
    world.wait(Duration::from_secs(5));
    world.write(7);
    world.write(8);
    world.run();
    world.disk.fail_next = Some((is_data_sync, DiskErrorKind::Other));
    world.pass(Duration::from_secs(5));
    while world.failed.is_none() {
        assert!(world.step());
    }
    if is_told {
        world.run();
    }
    world.disk.kill();
    world
}

#[test]
fn what_a_failed_sync_left_in_memory_is_written_again_before_it_counts_as_kept() {
    for seed in 0..40 {
        for is_recheck in [false, true] {
            let mut world = killed_after_a_failed_sync(seed, is_recheck);
            let config = Config { recheck: is_recheck, ..small_config() };
            world.restart_with(Storage::new(&three_files(), config, 7));
            assert_eq!(world.start(), [0, 7, 8]);
            world.wait(Duration::from_secs(5));
            assert!([7, 8].iter().all(|piece| world.kept.contains(piece)), "{:?}", world.kept);
            let mut rng = Rng::new(&seed_from_u64(seed));
            world.disk.crash(&mut rng);
            world.restart();
            assert_eq!(world.start(), [0, 7, 8]);
            world.have().into_iter().for_each(|piece| world.assert_piece_is_right(piece));
        }
    }
}

#[test]
fn what_is_written_again_does_not_look_like_a_change_by_others() {
    for seed in 0..40 {
        let mut world = killed_after_a_failed_sync(seed, false);
        // Long after the last note of the clock.
        world.pass(Duration::from_secs(3_600));
        world.restart();
        world.storage.start(world.now);
        for _ in 0..seed {
            world.step();
        }
        world.disk.kill();
        world.restart();
        assert_eq!(world.start(), [0, 7, 8]);
        assert!(world.disk.hashed <= 2, "{}", world.disk.hashed);
    }
}

#[test]
fn who_is_killed_soon_each_time_need_not_write_all_again_for_ever() {
    let one_file = info("t", &[("a", 3_200)], 160);
    let mut world = World::new(one_file, 1);
    world.start();
    world.write_all();
    assert!(world.kept.is_empty(), "no commit was due");
    // Too few operations for all, and no second passes.
    for _ in 0..20 {
        world.disk.kill();
        world.restart();
        world.storage.start(world.now);
        for _ in 0..30 {
            world.step();
        }
    }
    world.disk.kill();
    world.restart();
    world.start();
    assert!(world.disk.hashed <= 2, "{}", world.disk.hashed);
}

#[test]
fn a_check_that_was_killed_writes_nothing_again_when_it_is_gone_on_with() {
    for steps in 0..60 {
        let mut world = complete();
        let path = journal_path(&world.info.info_hash);
        world.disk.remove(&[&path[0], &path[1]]);
        let mtime = world.disk.mtime_ns(&["t", "c"]);
        world.restart();
        world.storage.start(world.now);
        for _ in 0..steps {
            world.step();
        }
        world.disk.kill();
        world.restart();
        assert_eq!(world.start(), all());
        assert_eq!(world.disk.mtime_ns(&["t", "c"]), mtime, "after {steps} operations");
    }
}

#[test]
fn a_damaged_or_cut_journal_costs_reading_and_nothing_else() {
    let whole = complete().journal();
    for at in 0..whole.len() {
        for cut in [false, true] {
            let mut world = complete();
            let path = journal_path(&world.info.info_hash);
            let journal = world.disk.bytes(&[&path[0], &path[1]]).unwrap();
            if cut {
                journal.truncate(at)
            } else {
                journal[at] ^= 0x40
            }
            world.restart();
            assert_eq!(world.start(), all(), "byte {at}");
            world.flush();
            world.disk.kill();
            world.restart();
            assert_eq!(world.start(), all());
            assert_eq!(world.disk.hashed, 0);
        }
    }
}

#[test]
fn whose_the_files_are_is_known_after_a_damaged_journal_too() {
    let mut world = complete();
    let path = journal_path(&world.info.info_hash);
    world.disk.bytes(&[&path[0], &path[1]]).unwrap()[0] ^= 0x40;
    ["a", "b", "c"].iter().for_each(|name| world.file(name).fill(7));
    // However soon each run ends.
    for steps in [10, 1_000, 1_000, 15, 1_000] {
        world.restart();
        world.storage.start(world.now);
        (0..steps).for_each(|_| _ = world.step());
        assert_eq!(world.failed, None);
        world.disk.kill();
    }
    world.restart();
    assert!(world.start().is_empty());
    world.write_all();
    world.flush();
    world.assert_complete();
}

#[test]
fn a_power_cut_after_a_damaged_journal_leaves_the_files_ours() {
    for seed in 0..300 {
        // Its head was not synced when the program was killed.
        let mut world = World::new(three_files(), 1);
        world.storage.start(world.now);
        let path = journal_path(&world.info.info_hash);
        while world.disk.bytes(&[&path[0], &path[1]]).is_none_or(|bytes| bytes.is_empty()) {
            world.step();
        }
        world.disk.kill();
        world.disk.bytes(&[&path[0], &path[1]]).unwrap()[0] ^= 0x40;
        world.restart();
        world.start();
        let mut rng = Rng::new(&seed_from_u64(seed));
        (0..7).for_each(|piece| world.write(piece));
        (0..rng.below(100)).for_each(|_| _ = world.step());
        world.disk.crash(&mut rng);
        world.restart();
        world.start();
        assert_eq!(world.failed, None, "seed {seed}");
    }
}
