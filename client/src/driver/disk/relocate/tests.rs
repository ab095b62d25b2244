//! On real files: cut off and failing after every step, on one file system and over two.

use std::fs;
use std::os::unix::fs::MetadataExt;

use sha1::{Digest, Sha1};
use tempfile::TempDir;
use wire::metainfo::build_info;

use super::*;
use crate::driver::verify;

const FILES: [(&str, usize); 4] = [("a", 100_000), ("b", 1), ("empty", 0), ("c", 2_500_001)];

fn bytes() -> Vec<u8> {
    let len = FILES.iter().map(|(_, len)| len).sum::<usize>();
    (0..len).map(|n| (n * 7 % 253) as u8).collect()
}

fn torrent() -> Info {
    let bytes = bytes();
    let hashes: Vec<[u8; 20]> =
        bytes.chunks(32 << 10).map(|piece| Sha1::digest(piece).into()).collect();
    let files = FILES.map(|(name, len)| (vec![name.to_owned()], len as u64));
    Info::parse(&build_info("t", &files, 32 << 10, &hashes)).unwrap()
}

/// A folder with the torrent's files and something in a journal's place.
fn whole(info: &Info) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut rest = &bytes()[..];
    fs::create_dir(folder.path().join("t")).unwrap();
    for (name, len) in FILES {
        let (now, later) = rest.split_at(len);
        fs::write(folder.path().join("t").join(name), now).unwrap();
        rest = later;
    }
    fs::create_dir(folder.path().join(STATE_FOLDER)).unwrap();
    fs::write(in_folder(&folder, &journal_path(&info.info_hash)), "journal").unwrap();
    folder
}

fn in_folder(folder: &TempDir, path: &RelPath) -> PathBuf {
    path.iter().fold(folder.path().to_owned(), |whole, element| whole.join(element))
}

/// An empty folder on the same file system, and one on another.
fn targets() -> [TempDir; 2] {
    let here = fs::metadata(std::env::temp_dir()).unwrap().dev();
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let is_other = |path: &PathBuf| fs::metadata(path).is_ok_and(|other| other.dev() != here);
    let other = [PathBuf::from("/dev/shm"), beside].into_iter().find(is_other).unwrap();
    [TempDir::new().unwrap(), TempDir::new_in(other).unwrap()]
}

fn is_whole(folder: &TempDir, info: &Info) -> bool {
    let has_journal = in_folder(folder, &journal_path(&info.info_hash)).exists();
    has_journal && verify(info, folder.path(), |_, _| {}).unwrap().is_whole()
}

fn is_empty(folder: &TempDir) -> bool {
    fs::read_dir(folder.path()).unwrap().next().is_none()
}

/// Moves a torrent, and calls `at` before each step with its number, and whether it is to be the last.
fn run(
    info: &Info,
    [old, new]: [&TempDir; 2],
    mut at: impl FnMut(usize, &Step) -> bool,
) -> Result<Vec<DiskError>, DiskError> {
    let roots = [old, new].map(|folder| Root::open(folder.path().to_owned()).unwrap());
    let stop = AtomicBool::new(false);
    let info_hash = &info.info_hash;
    let places = Places { old: &roots[0], new: &roots[1], info_hash, stop: &stop };
    let mut moves = Moves::default();
    for file in &info.files {
        places.look(&mut moves.files, file.path.clone(), file.path.clone()).unwrap();
    }
    let journal = journal_path(info_hash);
    places.look(&mut moves.state, journal.clone(), journal).unwrap();
    let mut relocation = places.plan(&mut moves).unwrap();
    let mut number = 0;
    while let Some(step) = relocation.next_step() {
        if at(number, step) {
            break;
        }
        let result = places.execute(step);
        relocation.handle(result);
        number += 1;
    }
    relocation.end()
}

#[test]
fn a_kill_after_any_step_leaves_one_folder_whole() {
    let info = torrent();
    for last in 0.. {
        let mut is_over = true;
        for new in targets() {
            let old = whole(&info);
            let killed = run(&info, [&old, &new], |number, _| {
                is_over &= number < last;
                number == last
            });
            assert_eq!(killed, Ok(Vec::new()));
            assert!(is_whole(&old, &info) || is_whole(&new, &info), "after {last} steps");
            if is_over {
                assert!(is_whole(&new, &info) && is_empty(&old));
            }
        }
        if is_over {
            assert!(last > 15, "only {last} steps");
            break;
        }
    }
}

#[test]
fn what_comes_into_the_way_meanwhile_undoes_all_and_is_not_touched() {
    let info = torrent();
    for (n, name) in ["t/a", "t/c", ".trackerless"].into_iter().enumerate() {
        for new in targets() {
            let old = whole(&info);
            let obstacle = match name {
                ".trackerless" => in_folder(&new, &journal_path(&info.info_hash)),
                name => new.path().join(name),
            };
            let mut brought = 0;
            let ended = run(&info, [&old, &new], |_, step| {
                let Step::Bring { to, .. } = step else { return false };
                if in_folder(&new, to) == obstacle {
                    fs::write(&obstacle, "mine").unwrap();
                }
                brought += 1;
                false
            });
            let error = ended.unwrap_err();
            assert_eq!(error.kind, DiskErrorKind::Conflict);
            assert!(error.message.contains(obstacle.to_str().unwrap()), "{error}");
            assert!(brought > n && is_whole(&old, &info));
            assert_eq!(fs::read(&obstacle).unwrap(), b"mine");
            fs::remove_file(&obstacle).unwrap();
            fs::remove_dir(obstacle.parent().unwrap()).unwrap();
            assert!(is_empty(&new), "{name}");
        }
    }
}

#[test]
fn what_is_in_the_way_is_seen_before_the_first_step() {
    let info = torrent();
    let (old, [new, _]) = (whole(&info), targets());
    let roots = [&old, &new].map(|folder| Root::open(folder.path().to_owned()).unwrap());
    let (stop, info_hash) = (AtomicBool::new(false), &info.info_hash);
    let places = Places { old: &roots[0], new: &roots[1], info_hash, stop: &stop };
    // Also where there is nothing to move, and a link that leads nowhere.
    std::os::unix::fs::symlink("nowhere", new.path().join("link")).unwrap();
    fs::write(new.path().join("file"), "mine").unwrap();
    for (from, to) in [("t", "file"), ("none", "file"), ("none", "link")] {
        let mut moves = Vec::new();
        let look = places.look(&mut moves, vec![from.to_owned()], vec![to.to_owned()]);
        assert_eq!(look.unwrap_err().kind, DiskErrorKind::Conflict);
        assert_eq!(moves, []);
    }
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing() {
    let info = torrent();
    let [_, new] = targets();
    let old = whole(&info);
    let roots = [&old, &new].map(|folder| Root::open(folder.path().to_owned()).unwrap());
    let stop = AtomicBool::new(true);
    let info_hash = &info.info_hash;
    let places = Places { old: &roots[0], new: &roots[1], info_hash, stop: &stop };
    let path = ["t".to_owned(), "c".to_owned()].to_vec();
    let to = vec!["c".to_owned()];
    let error = places.copy(&path, &to).unwrap_err();
    assert!(error.message.contains("the session ends"), "{error}");
    assert!(is_empty(&new));
    let moved = move_storage(old.path(), new.path().to_owned(), &info, &stop);
    assert!(matches!(moved, Err(RelocateError::Disk(_))));
    assert!(is_empty(&new) && is_whole(&old, &info));
}

#[test]
fn holes_stay_holes_and_room_that_was_taken_is_taken() {
    let [_, new] = targets();
    let old = TempDir::new().unwrap();
    let roots = [&old, &new].map(|folder| Root::open(folder.path().to_owned()).unwrap());
    let (stop, info_hash) = (AtomicBool::new(false), &wire::Id([7; 20]));
    let places = Places { old: &roots[0], new: &roots[1], info_hash, stop: &stop };
    let len = 5 * COPY_LEN as u64;
    for is_taken in [false, true] {
        let name = vec![format!("file {is_taken}")];
        let file = File::create_new(in_folder(&old, &name)).unwrap();
        if is_taken {
            allocate(&file, len).unwrap()
        } else {
            file.set_len(len).unwrap()
        }
        write_all(&file, COPY_LEN as u64 + 5, vec![IoSlice::new(b"in the middle")]).unwrap();
        places.copy(&name, &name).unwrap();
        // Over a file that is there already it does not go.
        assert_eq!(places.copy(&name, &name).unwrap_err().kind, DiskErrorKind::Conflict);
        let [before, after] = [&old, &new].map(|folder| in_folder(folder, &name));
        assert!(fs::read(&before).unwrap() == fs::read(&after).unwrap());
        let stat = fs::metadata(after).unwrap();
        assert_eq!(stat.blocks() * STAT_BLOCK >= len, is_taken, "{} blocks", stat.blocks());
        assert_eq!(stat.mtime(), fs::metadata(before).unwrap().mtime());
    }
}

/// As where a file system has no links.
#[test]
fn a_renamed_file_can_be_put_back_and_goes_over_no_other() {
    let info = torrent();
    let [new, _] = targets();
    let old = whole(&info);
    let roots = [&old, &new].map(|folder| Root::open(folder.path().to_owned()).unwrap());
    let (stop, info_hash) = (AtomicBool::new(false), &info.info_hash);
    let places = Places { old: &roots[0], new: &roots[1], info_hash, stop: &stop };
    let (from, to) = (vec!["t".to_owned(), "a".to_owned()], vec!["a".to_owned()]);
    let rename = || {
        let (old, name) = roots[0].parent(&from).unwrap();
        let (new, new_name) = roots[1].parent(&to).unwrap();
        rename_to_nothing((&old, name), (&new, new_name))
    };
    assert!(rename().unwrap());
    assert!(in_folder(&new, &to).exists() && !in_folder(&old, &from).exists());
    places.put_back(&from, &to).unwrap();
    assert!(is_empty(&new) && is_whole(&old, &info));
    fs::write(in_folder(&new, &to), "mine").unwrap();
    assert_eq!(rename().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(in_folder(&new, &to)).unwrap(), b"mine");
}

#[test]
fn others_are_kept_out_and_a_link_is_not_moved() {
    let info = torrent();
    let (old, [new, _]) = (whole(&info), targets());
    let stop = AtomicBool::new(false);
    let go = || move_storage(old.path(), new.path().to_owned(), &info, &stop);
    let root = Root::open(old.path().to_owned()).unwrap();
    let held = lock(&root, &info.info_hash).unwrap();
    let Err(RelocateError::Disk(error)) = go() else { panic!("it was moved") };
    assert_eq!(error.kind, DiskErrorKind::Locked);
    drop(held);
    fs::remove_file(old.path().join("t/b")).unwrap();
    std::os::unix::fs::symlink("a", old.path().join("t/b")).unwrap();
    let Err(RelocateError::Disk(error)) = go() else { panic!("it was moved") };
    assert_eq!(error.kind, DiskErrorKind::Conflict);
    assert!(is_empty(&new));
}

#[test]
fn damaged_names_are_told_of_and_nothing_is_looked_for_in_the_wrong_place() {
    let info = torrent();
    let old = whole(&info);
    let stop = AtomicBool::new(false);
    rename_file(old.path(), &info, 0, "x", &stop).unwrap();
    assert!(is_whole(&old, &info));
    let path = in_folder(&old, &names_path(&info.info_hash));
    let mut names = fs::read(&path).unwrap();
    names[9] ^= 1;
    fs::write(path, names).unwrap();
    let root = Root::open(old.path().to_owned()).unwrap();
    let error = renamed_paths(&root, &info).unwrap_err();
    assert!(error.message.contains(".names: it names renamed files, and is damaged"), "{error}");
}
