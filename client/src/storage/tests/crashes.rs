//! What a storage knows after the power went, or its process.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::rng::{Rng, seed_from_u64};
use wire::time::Time;

use super::world::{World, all, three_files};

#[test]
fn after_a_power_cut_no_more_is_read_than_was_being_written() {
    for seed in 0..50 {
        let mut world = World::new(three_files(), seed);
        let mut rng = Rng::new(&seed_from_u64(seed));
        world.start();
        (0..6).for_each(|piece| world.write(piece));
        world.flush();
        world.disk.kill();
        world.restart();
        world.start();
        world.write(7);
        world.run();
        world.disk.crash(&mut rng);
        world.restart();
        world.start();
        assert!(world.disk.hashed <= 1, "the journal knew that a file may have changed");
        world.write_all();
        world.wait(Duration::from_secs(6));
        world.disk.crash(&mut rng);
        world.restart();
        assert_eq!(world.start(), all());
        assert_eq!(world.disk.hashed, 0, "the mtimes of whole files last");
    }
}

/// Downloads a piece each 700 ms. After each of the given counts of operations the machine crashes,
/// or the process is killed, and the next start is compared with what was told before. False if a
/// run had ended before its crash.
fn crash_run(seed: u64, crashes: &[usize], kill_only: bool) -> bool {
    let mut world = World::new(three_files(), seed);
    let interval = world.storage.config.commit_interval() + Duration::from_secs(1);
    let mut crashed_all = true;
    let mut certain: BTreeSet<u32> = BTreeSet::new();
    for &crash in crashes {
        let end = world.ops_done + crash;
        download_until(&mut world, end);
        crashed_all &= world.ops_done == end;
        assert_eq!(world.failed, None);
        certain.extend(&world.kept);
        let now = world.now;
        let is_old = |at: Time| kill_only || at + interval < now;
        certain.extend(world.written.iter().filter(|(_, at)| is_old(**at)).map(|(piece, _)| piece));
        if kill_only {
            world.disk.kill();
        } else {
            world.disk.crash(&mut Rng::new(&seed_from_u64(seed ^ 0xdead)));
        }
        world.restart();
        let have: BTreeSet<u32> = world.start().into_iter().collect();
        assert_eq!(world.failed, None);
        have.iter().for_each(|piece| world.assert_piece_is_right(*piece));
        let missing: Vec<_> = certain.difference(&have).collect();
        assert!(missing.is_empty(), "{missing:?} were certain and are lost");
        world.disk.kill();
        world.restart();
    }
    world.start();
    world.write_all();
    world.flush();
    assert_eq!((world.flushed, world.failed.clone()), (1, None));
    world.assert_complete();
    world.disk.kill();
    world.restart();
    assert_eq!(world.start(), all());
    assert_eq!(world.disk.hashed, 0);
    crashed_all
}

fn download_until(world: &mut World, ops_done: usize) {
    let mut order = all();
    world.rng.shuffle(&mut order);
    world.storage.start(world.now);
    while world.ops_done < ops_done {
        if world.step() {
            continue;
        }
        match order.pop() {
            Some(piece) => world.write(piece),
            None if world.flushed == 0 => world.storage.flush(world.now),
            None => return,
        }
        world.pass(Duration::from_millis(700));
    }
}

#[test]
fn a_crash_at_any_operation_costs_an_interval_at_most_and_nothing_is_claimed_falsely() {
    for seed in 0..40 {
        for crash in 0.. {
            if !crash_run(seed * 10_000 + crash as u64, &[crash], false) {
                assert!(crash > 60, "only {crash} operations to crash at");
                break;
            }
        }
    }
}

#[test]
fn crash_after_crash_does_no_more_harm() {
    let mut rng = Rng::new(&seed_from_u64(42));
    for seed in 0..4_000 {
        let crashes: Vec<usize> = (0..3).map(|_| rng.below(120) as usize).collect();
        crash_run(seed, &crashes, false);
    }
}

#[test]
fn a_kill_at_any_operation_loses_no_written_piece() {
    for crash in 0.. {
        if !crash_run(crash as u64, &[crash], true) {
            break;
        }
    }
}
