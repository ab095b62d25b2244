//! What a storage does when the disk does what it should.

use std::sync::Arc;
use std::time::Duration;

use wire::rng::{Rng, seed_from_u64};

use super::world::{World, all, complete, extents, small_config, three_files};
use crate::disk::{DiskOp, DiskResult};
use crate::storage::fake_disk::Block;
use crate::storage::fixture::{content, info};
use crate::storage::{BlockBytes, Storage, journal_path, read_info};

#[test]
fn a_download_is_whole_and_the_next_start_reads_nothing() {
    let mut world = complete();
    world.assert_complete();
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 0);
    let before = world.journal();
    world.flush();
    assert_eq!((world.flushed, world.journal() == before), (1, true));
    assert_eq!(*read_info(&before).unwrap(), *world.info.raw);
}

#[test]
fn a_half_download_goes_on_where_it_was() {
    let mut world = World::new(three_files(), 1);
    world.start();
    [3, 7, 10].into_iter().for_each(|piece| world.write(piece));
    world.flush();
    assert_eq!(world.flushed, 1);
    world.storage.close();
    world.run();
    assert_eq!(world.disk.open_count(), 0);
    world.restart();
    assert_eq!(world.start(), [3, 7, 10]);
    assert_eq!(world.disk.hashed, 0);
    world.write_all();
    world.flush();
    assert_eq!((world.flushed, world.written.len()), (1, 8));
    world.assert_complete();
}

#[test]
fn writing_goes_on_after_a_flush() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(3);
    world.flush();
    world.write(4);
    world.flush();
    assert_eq!((world.flushed, world.kept.len()), (2, 2));
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [3, 4]);
    assert_eq!(world.disk.hashed, 0);
}

#[test]
fn pieces_are_kept_within_one_interval_without_a_flush() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(5);
    world.run();
    assert!(world.written.contains_key(&5) && world.kept.is_empty());
    world.wait(world.storage.config.commit_interval());
    assert!(world.kept.contains(&5));
    assert!(world.storage.is_settled());
    assert_eq!(world.storage.poll_timeout(), None);
}

#[test]
fn a_commit_while_files_are_made_takes_nothing_of_their_names_for_granted() {
    for steps in 0..20 {
        let mut world = World::new(three_files(), steps);
        let a: Vec<u8> = (0..500).map(content).collect();
        world.disk.put(&["t", "a"], a);
        // Three pieces are right and wait for their commit; c and its name are made meanwhile.
        world.start();
        world.write(4);
        (0..steps).for_each(|_| _ = world.step());
        world.pass(world.storage.config.commit_interval());
        // What the commit asks for is done first.
        let mut ops = std::mem::take(&mut world.ops);
        ops.sort_by_key(|(_, op)| !matches!(op, DiskOp::SyncFolder { .. }));
        for (ticket, op) in ops {
            let result = world.disk.run(op);
            world.storage.handle_disk(world.now, ticket, result);
        }
        world.wait(Duration::from_secs(6));
        assert_eq!(world.failed, None, "after {steps}");
        assert_eq!(world.kept.iter().copied().collect::<Vec<_>>(), [0, 1, 2, 4]);
        world.disk.crash(&mut Rng::new(&seed_from_u64(steps)));
        world.restart();
        assert_eq!(world.start(), [0, 1, 2, 4], "after {steps}");
    }
}

#[test]
fn many_bytes_are_committed_at_once() {
    let mut world = World::new(three_files(), 1);
    world.storage.config.commit_bytes = 300;
    world.start();
    world.write(5);
    world.write(6);
    world.run();
    assert_eq!(world.kept.len(), 2);
}

#[test]
fn after_a_kill_only_what_was_not_kept_is_read() {
    let mut world = World::new(three_files(), 1);
    world.start();
    [0, 1, 2, 3].into_iter().for_each(|piece| world.write(piece));
    world.wait(Duration::from_secs(5));
    assert_eq!(world.kept.len(), 4);
    world.write(8);
    world.write(9);
    world.run();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [0, 1, 2, 3, 8, 9]);
    assert_eq!(world.disk.hashed, 2);
    assert_eq!(world.progress, [(1, 2), (2, 2)]);
}

#[test]
fn a_kill_after_an_idle_hour_does_not_look_like_a_change_by_others() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write(4);
    world.wait(Duration::from_secs(3600));
    world.write(5);
    world.run();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), [4, 5]);
    assert_eq!(world.disk.hashed, 1);
}

#[test]
fn complete_files_without_a_journal_are_recognised() {
    let mut world = complete();
    let path = journal_path(&world.info.info_hash);
    world.disk.remove(&[&path[0], &path[1]]);
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 11);
    world.flush();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 0);
}

#[test]
fn what_was_found_is_not_read_again_because_we_write_beside_it() {
    for seed in 0..200 {
        let mut world = World::new(three_files(), seed);
        let a: Vec<u8> = (0..500).map(|at| if at < 160 { content(at) } else { 7 }).collect();
        world.disk.put(&["t", "a"], a);
        assert_eq!(world.start(), [0]);
        let hashed = world.disk.hashed;
        // With 9 two files wait for a commit, so it is due; more is written while it is under way.
        world.write(9);
        while world.storage.commit.is_none() {
            world.step();
        }
        world.stalls = Some(3);
        (1..4).for_each(|piece| world.write(piece));
        world.run();
        world.flush();
        assert_eq!(world.disk.hashed, hashed, "seed {seed}");
        world.disk.kill();
        world.restart();
        assert_eq!(world.start(), [0, 1, 2, 3, 9], "seed {seed}");
        assert_eq!(world.disk.hashed, 0, "seed {seed}, after a restart");
    }
}

#[test]
fn a_file_changed_by_others_is_read_again() {
    for seed in 0..4 {
        let mut world = complete();
        world.rng = Rng::new(&seed_from_u64(seed));
        world.disk.clock_ns += 60_000_000_000;
        // Byte 400 of the last file is byte 970 of the torrent: piece 6.
        world.file("c")[400] ^= 0xff;
        world.disk.touch(&["t", "c"]);
        world.restart();
        let mut left = all();
        left.remove(6);
        assert_eq!(world.start(), left);
        // Pieces 3 to 10 have bytes of that file.
        assert_eq!(world.disk.hashed, 8);
        world.write(6);
        world.flush();
        world.assert_complete();
        world.disk.kill();
        world.restart();
        assert_eq!(world.start(), all());
        assert_eq!(world.disk.hashed, 0);
    }
}

#[test]
fn a_recheck_believes_nothing_of_the_journal() {
    let mut world = complete();
    world.file("c")[400] ^= 0xff;
    world.restart();
    assert_eq!(world.start(), all(), "nothing tells");
    world.disk.kill();
    world.restart();
    world.storage.config.recheck = true;
    let mut left = all();
    left.remove(6);
    assert_eq!(world.start(), left);
    assert_eq!(world.disk.hashed, 11);
    // Only once.
    world.flush();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), left);
    assert_eq!(world.disk.hashed, 0);
    world.write(6);
    world.flush();
    world.assert_complete();
}

#[test]
fn a_recheck_reads_blocks_of_unfinished_pieces_no_more() {
    let mut world = World::new(three_files(), 1);
    world.start();
    world.write_part(4, &[0, 1]);
    world.flush();
    world.disk.kill();
    world.restart();
    world.storage.config.recheck = true;
    assert!(world.start().is_empty());
    assert!(world.parts.is_empty());
}

#[test]
fn what_was_cut_off_or_removed_is_fetched_again() {
    let mut world = complete();
    world.file("a").truncate(300);
    world.disk.remove(&["t", "b"]);
    world.disk.remove(&["t", "empty"]);
    world.restart();
    // Piece 0 is left of the first file; piece 3 has bytes of the second.
    assert_eq!(world.start(), [0, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(world.disk.hashed, 1);
    world.write_all();
    world.flush();
    assert_eq!(world.written.len(), 3);
    world.assert_complete();
}

#[test]
fn blocks_are_read_once_their_files_are_open() {
    let mut world = complete();
    world.restart();
    world.start();
    assert_eq!(world.disk.open_count(), 1, "the journal");
    // Piece 3 goes over the borders of three files.
    assert_eq!(world.read(0, 3, 0, 160), None);
    world.run();
    assert_eq!((world.readable, world.disk.open_count()), (1, 4));
    let extents = extents(world.read(0, 3, 0, 160));
    assert_eq!(extents.iter().map(|extent| extent.len).collect::<Vec<_>>(), [20, 70, 70]);
    let DiskResult::Blocks(blocks) = world.disk.run(DiskOp::ReadBlock { extents }) else {
        panic!()
    };
    assert_eq!(blocks[0].0, world.piece(3));
    for (piece, begin, len) in [(3, 1, 160), (11, 0, 1), (3, 0, 0), (u32::MAX, u32::MAX, u32::MAX)]
    {
        assert_eq!(world.read(0, piece, begin, len), None);
    }
    world.drain();
    assert!(world.ops.is_empty());
}

#[test]
fn no_more_files_than_the_bound_stay_open() {
    let names: Vec<String> = (0..30).map(|i| format!("f{i}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 100)).collect();
    let mut world = World::new(info("t", &files, 100), 3);
    world.start();
    world.write_all();
    world.flush();
    for piece in 0..30 {
        if world.read(0, piece, 0, 100).is_none() {
            world.run();
            assert!(world.read(0, piece, 0, 100).is_some());
        }
    }
    world.run();
    assert_eq!(world.disk.open_count(), 4 + 1);
    // A piece is written over more files than the bound, and a block of them read.
    let mut world = World::new(info("t", &files, 3_000), 3);
    // They are made so many at a time.
    world.storage.config.file_ops_in_flight_max = 2;
    world.start();
    world.write(0);
    world.flush();
    assert_eq!((world.flushed, world.disk.open_count()), (1, 5));
    assert!(world.disk.open_max <= 2 * 4 + 1, "{} were open", world.disk.open_max);
    assert_eq!(world.read(0, 0, 0, 3_000), None);
    world.run();
    let block = world.read(0, 0, 0, 3_000);
    assert_eq!(block, Some(BlockBytes::Payload(Block(world.piece(0)))));
    world.storage.read_part(world.now, 0, 0, 3_000);
    world.run();
    assert_eq!(world.parts_read, [(0, 0, Some(world.piece(0)))]);
    // So it is checked, with what is right and what is wrong.
    for is_wrong in [true, false] {
        world.file("f17")[3] ^= 1;
        let path = journal_path(&world.info.info_hash);
        world.disk.kill();
        world.disk.remove(&[&path[0], &path[1]]);
        world.restart();
        assert_eq!(world.start().len(), usize::from(!is_wrong));
        world.flush();
        assert_eq!(world.flushed, 1);
    }
    assert!(world.disk.open_max <= 2 * 4 + 1, "{} were open", world.disk.open_max);
    world.read(0, 0, 0, 1);
    world.run();
    assert!(world.read(0, 0, 0, 1).is_some());
    assert!(world.disk.open_count() <= 5);
}

#[test]
fn a_seed_has_everything_and_writes_nothing() {
    let mut world = complete();
    let path = journal_path(&world.info.info_hash);
    world.disk.remove(&[&path[0], &path[1]]);
    world.restart_with(Storage::seed(&three_files(), small_config(), 1));
    assert_eq!(world.start(), all());
    world.write(0);
    world.flush();
    assert_eq!((world.flushed, world.written.len(), world.disk.hashed), (1, 0, 0));
    assert!(world.disk.bytes(&[&path[0], &path[1]]).is_none());
    world.read(0, 0, 0, 10);
    world.run();
    assert!(world.read(0, 0, 0, 10).is_some());

    world.file("c").pop();
    world.restart_with(Storage::seed(&three_files(), small_config(), 1));
    world.start();
    assert!(world.failed.clone().unwrap().message.contains("t/c has 1099 bytes"));
}

#[test]
fn a_seed_may_lie_elsewhere() {
    let mut world = World::new(info("one", &[("x", 300), ("y", 20)], 160), 1);
    let bytes: Vec<u8> = (0..320).map(content).collect();
    world.disk.put(&["p"], bytes[..300].to_vec());
    world.disk.put(&["q", "r"], bytes[300..].to_vec());
    let paths = [vec!["p".to_owned()], vec!["q".to_owned(), "r".to_owned()]];
    let seed = Storage::seed(&world.info, small_config(), 1).with_paths(paths);
    world.restart_with(seed);
    assert_eq!(world.start(), [0, 1]);
}

#[test]
fn a_check_can_be_left_and_gone_on_with() {
    let mut world = complete();
    let path = journal_path(&world.info.info_hash);
    world.disk.remove(&[&path[0], &path[1]]);
    world.restart();
    world.storage.start(world.now);
    while world.progress.len() < 4 {
        assert!(world.step());
    }
    world.storage.flush(world.now);
    while world.flushed == 0 {
        assert!(world.step());
    }
    let done = world.disk.hashed;
    assert!(done < 11);
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 11 - done);
}

#[test]
fn closing_at_any_moment_leaves_no_file_open() {
    for stop in 0.. {
        let mut world = World::new(three_files(), stop);
        world.storage.start(world.now);
        let mut ended = false;
        for _ in 0..stop {
            if !world.step() {
                ended = world.written.len() == 11;
                (0..11).for_each(|piece| world.write(piece));
            }
        }
        world.storage.close();
        world.run();
        assert_eq!(world.disk.open_count(), 0, "closed after {stop} operations");
        if ended {
            return;
        }
    }
}

#[test]
fn padding_is_on_no_disk_and_reads_as_zeros() {
    let mut info = info("t", &[("a", 10), ("pad", 6), ("b", 16)], 16);
    info.files[1].pad = true;
    let mut bytes: Vec<u8> = (0..32).map(content).collect();
    bytes[10..16].fill(0);
    for (hash, piece) in Arc::make_mut(&mut info.piece_hashes).iter_mut().zip(bytes.chunks(16)) {
        *hash = <sha1::Sha1 as sha1::Digest>::digest(piece).into();
    }
    let mut world = World::new(info, 1);
    world.start();
    for (piece, bytes) in (0..).zip(bytes.chunks(16)) {
        let blocks = vec![Block(bytes.to_vec())];
        world.storage.write_piece(world.now, piece, vec![(0, blocks)]);
    }
    world.flush();
    assert_eq!(world.flushed, 1);
    assert_eq!(
        (world.file("a").clone(), world.file("b").clone()),
        (bytes[..10].to_vec(), bytes[16..].to_vec())
    );
    assert!(world.disk.bytes(&["t", "pad"]).is_none());
    world.disk.kill();
    let path = journal_path(&world.info.info_hash);
    world.disk.remove(&[&path[0], &path[1]]);
    world.restart();
    assert_eq!((world.start(), world.disk.hashed), (vec![0, 1], 2));
    world.read(0, 0, 0, 16);
    world.run();
    let extents = extents(world.read(0, 0, 0, 16));
    assert_eq!((extents.len(), extents[1].file), (2, crate::disk::FileId::ZEROS));
}
