//! Many who wait for blocks to upload, and few files that may be open.

use std::time::Duration;

use wire::time::Time;

use super::world::World;
use crate::ConnId;
use crate::disk::{DiskOp, DiskResult};
use crate::storage::BlockBytes;
use crate::storage::fake_disk::Block;
use crate::storage::fixture::info;

/// Files of 100 bytes in pieces of so many, all there; four may be open.
fn files_of_100(files: usize, piece_length: u32) -> World {
    let names: Vec<String> = (0..files).map(|i| format!("f{i}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 100)).collect();
    let mut world = World::new(info("t", &files, piece_length), 3);
    world.start();
    world.write_all();
    world.flush();
    assert_eq!(world.flushed, 1);
    world.disk.kill();
    world.restart();
    world.start();
    world.readable = 0;
    world.disk.open_max = 0;
    world
}

/// The block that a reader wants next, if it can be read: its bytes are as they should be.
fn read(world: &mut World, reader: u64, piece: u32) -> bool {
    let len = world.info.piece_len(piece);
    let bytes = match world.read(reader, piece, 0, len) {
        None => return false,
        Some(BlockBytes::Payload(block)) => block,
        Some(BlockBytes::Extents(extents)) => {
            // As the driver does it: what the storage wants closed meanwhile comes later.
            let read = world.disk.run(DiskOp::ReadBlock { extents });
            let DiskResult::Blocks(mut blocks) = read else { panic!("{read:?}") };
            blocks.remove(0)
        }
    };
    assert_eq!(bytes, Block(world.piece(piece)));
    world.drain();
    true
}

/// So many readers want all pieces, each in an order of its own, and ask whenever somebody is told, the
/// lower ones first. Gives the most operations that went by while anybody waited for one block.
fn longest_wait(world: &mut World, readers: u64) -> usize {
    let pieces = u64::from(world.info.piece_count());
    let (mut done, mut since) = (vec![0; readers as usize], vec![world.ops_done; readers as usize]);
    let mut longest = 0;
    loop {
        for (reader, done) in done.iter_mut().enumerate() {
            // Each step is one with all pieces in it.
            while *done < pieces
                && read(world, reader as u64, ((reader as u64 * 5 + *done * 5) % pieces) as u32)
            {
                longest = longest.max(world.ops_done - since[reader]);
                since[reader] = world.ops_done;
                *done += 1;
            }
        }
        if done.iter().all(|done| *done == pieces) {
            return longest;
        }
        let told = world.readable;
        while world.readable == told {
            assert!(world.step(), "nobody is told any more: {done:?}");
            let waited = since.iter().zip(&done).filter(|(_, done)| **done < pieces);
            let waited = waited.map(|(since, _)| world.ops_done - since).max();
            assert!(waited.is_none_or(|waited| waited < 500), "{done:?}");
        }
    }
}

#[test]
fn all_who_wait_for_different_files_get_their_blocks_in_turn() {
    // One, two, three and four files a block.
    for piece_length in [100, 200, 300, 400] {
        let mut world = files_of_100(12, piece_length);
        let longest = longest_wait(&mut world, 10);
        // Each in the line has its files opened and others closed; operations come in any order, so others
        // may be through twice.
        let files = piece_length as usize / 100;
        assert!(longest <= 2 * 10 * 2 * files, "{piece_length}: {longest}");
        // With the journal.
        assert!(world.disk.open_max <= 2 * 4 + 1, "{} were open", world.disk.open_max);
    }
}

#[test]
fn blocks_in_more_files_than_may_be_open_come_in_turn_as_well() {
    let mut world = files_of_100(42, 600);
    let longest = longest_wait(&mut world, 9);
    // As above, with one operation each.
    assert!(longest <= 3 * 9, "{longest}");
    assert!(world.disk.open_max <= 2, "{} were open", world.disk.open_max);
}

#[test]
fn who_was_told_and_does_not_come_holds_the_others_up_for_a_moment() {
    let mut world = files_of_100(12, 300);
    for reader in 0..3 {
        assert!(!read(&mut world, reader, reader as u32));
    }
    world.run();
    assert_eq!(world.readable, 1);
    let due = world.storage.poll_timeout().unwrap();
    assert!(due <= world.now + Duration::from_millis(250), "{due}");
    world.wait(due.since(world.now));
    assert_eq!(world.readable, 2);
    assert!(read(&mut world, 1, 1));
    world.run();
    assert!(read(&mut world, 2, 2));
    // And asks again in the end.
    assert!(!read(&mut world, 0, 0));
    world.run();
    assert!(read(&mut world, 0, 0));
    // Nobody waits, nobody gives way.
    assert!(!read(&mut world, 0, 3));
    world.run();
    assert_eq!(world.storage.poll_timeout(), None);
    world.wait(Duration::from_secs(10));
    assert!(read(&mut world, 0, 3));
}

#[test]
fn what_waits_to_be_read_is_not_closed_for_others() {
    let mut world = files_of_100(12, 200);
    assert!(!read(&mut world, 0, 0));
    world.run();
    for (reader, piece) in [(1, 1), (2, 2)] {
        assert!(!read(&mut world, reader, piece));
        world.run();
        assert!(read(&mut world, reader, piece));
    }
    assert!(read(&mut world, 0, 0), "its files were the longest unused");
}

#[test]
fn who_wants_many_files_is_not_overtaken_by_who_wants_few() {
    let mut world = files_of_100(12, 300);
    // Of two files, three and one.
    assert_eq!(world.read(0, 0, 0, 200), None);
    assert_eq!(world.read(1, 1, 0, 300), None);
    assert_eq!(world.read(2, 2, 0, 100), None);
    world.run();
    assert_eq!(world.readable, 1);
    assert!(world.read(0, 0, 0, 200).is_some());
    world.run();
    assert_eq!(world.readable, 3);
}

#[test]
fn who_is_gone_or_wants_another_block_does_not_stand_in_line() {
    let mut world = files_of_100(12, 300);
    for reader in 0..3 {
        assert!(!read(&mut world, reader, reader as u32));
    }
    world.storage.forget_reader(ConnId::new(0));
    assert_eq!(world.storage.poll_timeout(), Some(Time::ZERO + Duration::from_millis(250)));
    world.run();
    assert!(read(&mut world, 1, 1), "before it was opened for who is gone");
    world.run();
    assert!(read(&mut world, 2, 2));
    // Who asks for one after the other is no further.
    let is_read = (0..40).any(|turn| {
        assert!(!read(&mut world, 3, turn % 2));
        let is_read = read(&mut world, 4, 3);
        world.step();
        is_read
    });
    assert!(is_read);
}
