//! Files on their way to another place, cut off and failing at every step.

use wire::metainfo::Info;
use wire::rng::{Rng, seed_from_u64};

use super::world::{World, three_files};
use crate::disk::{DiskError, DiskErrorKind, DiskOp, RelPath};
use crate::storage::fake_disk::FakeDisk;
use crate::storage::names::{Names, names_path};
use crate::storage::relocate::{Did, Moves, Place, Relocation, Step};
use crate::storage::{Storage, journal_path, part_path};

/// What is done, and on which disk.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// All goes to another folder of the same file system.
    Link,
    /// All goes to another file system.
    Copy,
    /// All goes to another folder of a file system without links.
    Rename,
    /// One file gets another path.
    OneFile,
}

const CASES: [Case; 4] = [Case::Link, Case::Copy, Case::Rename, Case::OneFile];

impl Case {
    fn root(self, place: Place) -> RelPath {
        match (self, place) {
            (Case::OneFile, _) | (_, Place::Old) => vec!["old".to_owned()],
            (_, Place::New) => vec!["new".to_owned()],
        }
    }

    fn at(self, place: Place, path: &RelPath) -> RelPath {
        [self.root(place), path.clone()].concat()
    }

    fn plan(self, disk: &FakeDisk, info: &Info) -> Relocation {
        let folder = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        if let Case::OneFile = self {
            let mut names = Names::default();
            names.rename(info, 0, "d/e/x").unwrap();
            return Relocation::new(Moves {
                files: vec![(info.files[0].path.clone(), folder(&["d", "e", "x"]))],
                record: Some((names.encode(), None)),
                missing: vec![folder(&["d"]), folder(&["d", "e"])],
                ..Moves::default()
            });
        }
        let stays = |path: RelPath| (path.clone(), path);
        let there = disk.beneath(&self.root(Place::Old));
        let files = info.files.iter().map(|file| file.path.clone());
        let files = files.chain([part_path(&info.info_hash)]);
        let files = files.filter(|path| there.contains(&self.at(Place::Old, path)));
        Relocation::new(Moves {
            files: files.map(stays).collect(),
            state: vec![stays(journal_path(&info.info_hash))],
            missing: vec![folder(&[".trackerless"]), folder(&["t"])],
            ..Moves::default()
        })
    }

    fn execute(self, disk: &mut FakeDisk, info: &Info, step: &Step) -> Did {
        disk.clock_ns += 1_000;
        let whole = |place: Place, path: &RelPath| self.at(place, path);
        let run = |disk: &mut FakeDisk, op| drop(disk.run(op));
        match step {
            Step::MakeFolder(path) => {
                run(disk, DiskOp::MakeFolder { path: whole(Place::New, path) });
            }
            Step::Bring { from, to } => {
                let (from, to) = (whole(Place::Old, from), whole(Place::New, to));
                match self {
                    Case::Link | Case::OneFile => disk.link(&from, &to),
                    Case::Copy => disk.copy(&from, &to),
                    Case::Rename => {
                        disk.link(&from, &to);
                        run(disk, DiskOp::Unlink { path: from });
                        return Did::Renamed;
                    }
                }
            }
            Step::SyncFolder(place, path) => {
                run(disk, DiskOp::SyncFolder { path: whole(*place, path) });
            }
            Step::Record { now, .. } => {
                let path = whole(Place::New, &names_path(&info.info_hash));
                match now {
                    Some(bytes) => disk.replace(&path, bytes.clone()),
                    None => run(disk, DiskOp::Unlink { path }),
                }
            }
            Step::Unlink(place, path) => run(disk, DiskOp::Unlink { path: whole(*place, path) }),
            Step::PutBack { from, to } => {
                let (from, to) = (whole(Place::Old, from), whole(Place::New, to));
                disk.link(&to, &from);
                run(disk, DiskOp::Unlink { path: to });
            }
            Step::RemoveFolder(place, path) => disk.remove_folder(&whole(*place, path)),
        }
        Did::Done
    }
}

/// A disk with a torrent that is half downloaded, some of it in a part file, and its pieces.
fn downloaded() -> (FakeDisk, Info, Vec<u32>) {
    let mut world = World::new(three_files(), 1);
    for path in ["old", "new"] {
        world.disk.run(DiskOp::MakeFolder { path: vec![path.to_owned()] });
    }
    world.disk.run(DiskOp::SyncFolder { path: Vec::new() });
    world.disk.root = vec!["old".to_owned()];
    // All but the second, which shares its pieces.
    world.select(&[0, 2, 3]);
    world.start();
    [0, 1, 2, 3, 5, 6, 9].iter().for_each(|piece| world.write(*piece));
    world.write_part(8, &[0, 1]);
    world.flush();
    assert_eq!((world.flushed, world.failed.clone()), (1, None));
    world.disk.kill();
    world.disk.root.clear();
    (world.disk, world.info, world.kept.into_iter().collect())
}

/// What a start beneath a folder claims, which has to be right, and the pieces that it read for that.
fn start(disk: &mut FakeDisk, info: &Info, root: RelPath) -> (Vec<u32>, usize) {
    let mut world = World::new(info.clone(), 1);
    std::mem::swap(&mut world.disk, disk);
    world.disk.root = root;
    let names = names_path(&info.info_hash);
    let names = world.disk.bytes(&[&names[0], &names[1]]).cloned();
    if let Some(names) = names.map(|bytes| Names::read(&bytes, info).unwrap()) {
        for (file, path) in world.info.files.iter_mut().zip(names.paths(info)) {
            file.path = path;
        }
    }
    let config = super::world::small_config();
    let storage = Storage::new(&world.info, config, 7).with_selection([0, 2, 3]);
    world.restart_with(storage);
    let have = world.start();
    assert_eq!(world.failed, None);
    have.iter().for_each(|piece| world.assert_piece_is_right(*piece));
    for (piece, blocks) in world.parts.clone() {
        blocks.iter().for_each(|block| world.assert_block_is_right(piece, *block));
    }
    let read = world.disk.hashed;
    std::mem::swap(&mut world.disk, disk);
    disk.kill();
    disk.root.clear();
    (have, read)
}

/// Does the first `steps` steps, but for those that `leaves_out`; false if there are fewer.
fn begin(
    case: Case,
    disk: &mut FakeDisk,
    info: &Info,
    steps: usize,
    leaves_out: fn(&Step) -> bool,
) -> bool {
    let mut relocation = case.plan(disk, info);
    for _ in 0..steps {
        let Some(step) = relocation.next_step().cloned() else { return false };
        let did = if leaves_out(&step) { Did::Done } else { case.execute(disk, info, &step) };
        relocation.handle(Ok(did));
    }
    true
}

/// Cuts it off after each number of steps, by the power or, if `kill_only`, by the end of the process,
/// and starts in both places.
fn cut_everywhere(case: Case, kill_only: bool, leaves_out: fn(&Step) -> bool) {
    let (disk, info, kept) = downloaded();
    for seed in 0..60 {
        for steps in 0.. {
            let mut disk = disk.clone();
            if !begin(case, &mut disk, &info, steps, leaves_out) {
                assert!(steps > 8, "only {steps} steps");
                break;
            }
            if !kill_only {
                disk.crash(&mut Rng::new(&seed_from_u64(seed * 1_000 + steps as u64)));
            }
            let have = [Place::Old, Place::New].map(|place| {
                let mut disk = disk.clone();
                start(&mut disk, &info, case.root(place)).0
            });
            let is_whole = |have: &Vec<u32>| kept.iter().all(|piece| have.contains(piece));
            // Without links some files are in one place and some in the other.
            let may_part = matches!(case, Case::Rename);
            let is_one = may_part || have.iter().any(is_whole);
            assert!(is_one, "{case:?}, {steps} steps, lost: {have:?}");
            // One start after the other, whatever files they share, claims nothing false either.
            for place in [Place::Old, Place::New, Place::Old] {
                start(&mut disk, &info, case.root(place));
            }
        }
    }
}

#[test]
fn a_crash_at_any_step_leaves_one_place_whole_and_nothing_is_claimed_falsely() {
    for case in CASES {
        cut_everywhere(case, true, |_| false);
        // A file system that has no links has seldom a journal that makes a rename one thing.
        if !matches!(case, Case::Rename) {
            cut_everywhere(case, false, |_| false);
        }
    }
}

/// The harness finds what it is for.
#[test]
fn names_that_were_not_synced_before_the_old_ones_went_are_found() {
    let skips_new: fn(&Step) -> bool = |step| matches!(step, Step::SyncFolder(Place::New, _));
    for case in [Case::Link, Case::Copy, Case::OneFile] {
        let found = std::panic::catch_unwind(|| cut_everywhere(case, false, skips_new));
        let words = found.unwrap_err();
        assert!(words.downcast_ref::<String>().is_some_and(|words| words.contains("lost")));
    }
}

#[test]
fn what_fails_at_any_step_is_undone_or_done_to_the_end() {
    let (disk, info, kept) = downloaded();
    let before = disk.beneath(&Vec::new());
    for case in CASES {
        let mut undone = 0;
        for failing in 0.. {
            let (mut disk, mut relocation) = (disk.clone(), case.plan(&disk, &info));
            let mut steps = 0;
            while let Some(step) = relocation.next_step().cloned() {
                relocation.handle(match steps == failing {
                    true => Err(DiskError { kind: DiskErrorKind::Full, message: "full".into() }),
                    false => Ok(case.execute(&mut disk, &info, &step)),
                });
                steps += 1;
            }
            let ended = relocation.end();
            let place = if ended.is_ok() { Place::New } else { Place::Old };
            if let Err(error) = &ended {
                undone += 1;
                assert_eq!(error.message, "full");
                assert_eq!(disk.beneath(&Vec::new()), before, "{case:?}, step {failing} failed");
            }
            let (have, read) = start(&mut disk, &info, case.root(place));
            assert_eq!((have, read), (kept.clone(), 0), "{case:?}, step {failing} failed");
            if failing >= steps {
                assert_eq!(ended, Ok(Vec::new()));
                break;
            }
        }
        assert!(undone > 4, "{undone}");
    }
}

#[test]
fn what_cannot_be_undone_is_told() {
    let (mut disk, info, _) = downloaded();
    let mut relocation = Case::Rename.plan(&disk, &info);
    let error = |text: &str| DiskError { kind: DiskErrorKind::Other, message: text.into() };
    let mut has_failed = false;
    while let Some(step) = relocation.next_step().cloned() {
        relocation.handle(match &step {
            Step::SyncFolder(Place::New, _) => {
                has_failed = true;
                Err(error("no more"))
            }
            Step::PutBack { .. } if has_failed => Err(error("stays there")),
            _ => Ok(Case::Rename.execute(&mut disk, &info, &step)),
        });
    }
    let told = relocation.end().unwrap_err().message;
    assert!(told.starts_with("no more; and it could not be undone: stays there"), "{told}");
}
