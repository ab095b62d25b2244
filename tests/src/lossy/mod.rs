//! A disk that loses what was not synced when its power goes.
//!
//! It is a file system of its own (FUSE, in memory), so programs use it like any other, and has two
//! states of all that it holds: what is seen, and what is sure to last. What lasts is what POSIX
//! promises and no more:
//!
//! - fsync(2) of a file: its bytes, its length and its mtime, as they were when the call began;
//!   fdatasync(2): not its mtime. The name of a new file lasts when its *folder* was synced, and
//!   not before; ext4 keeps it with the file's own sync already.
//! - Of all else, chance decides at a cut. Each 4 KiB (in some cuts: each 512 bytes) may be as it was
//!   at the last sync or after any change since, so writes are torn and out of order; so may a length
//!   and an mtime; and a name may be there or not.

mod mount;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Once};

use fuser::{BackgroundSession, Config, MountOption};

use mount::{Shared, State};
pub use state::Chance;
use state::Tree;

/// What the names of our mounts start with; the test's process id follows.
const PREFIX: &str = "trackerless-lossy-";

/// First byte and length of each read, by the path of a file beneath the disk's root.
pub type Reads = BTreeMap<String, Vec<(u64, u64)>>;

/// What a disk does of what it says that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// All.
    Honest,
    /// It says that files are synced and syncs none but journals: tests are to find it out.
    ForgetsFiles,
    /// It says that folders are synced and syncs none.
    ForgetsNames,
}

impl Honesty {
    fn keeps(self, path: &str) -> bool {
        self != Honesty::ForgetsFiles || path.ends_with(".journal")
    }
}

/// A lossy disk, mounted until it is dropped. Programs that use it must have ended before.
pub struct LossyDisk {
    shared: Shared,
    mount: PathBuf,
    session: Option<BackgroundSession>,
}

impl LossyDisk {
    /// An empty disk at the folder `mount`. Needs root.
    pub fn new(mount: &Path, seed: u64, honesty: Honesty) -> LossyDisk {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        assert!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: `tests/run` says what to do"
        );
        let state = State {
            tree: Tree::new(),
            honesty,
            chance: Chance::new(seed),
            is_off: false,
            cuts: 0,
            calls: 0,
            cut_at: None,
            reads: Reads::new(),
        };
        let shared = Shared(Arc::new(Mutex::new(state)));
        let mut config = Config::default();
        let name = format!("{PREFIX}{}", std::process::id());
        config.mount_options = vec![MountOption::FSName(name)];
        let session = fuser::spawn_mount(shared.clone(), mount, &config)
            .unwrap_or_else(|error| panic!("mount a file system at {mount:?}: {error}"));
        LossyDisk { shared, mount: mount.to_owned(), session: Some(session) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Lets the power go in place of the `count`th call from here on that would change or sync
    /// something.
    pub fn cut_after(&self, count: u64) {
        let mut state = self.shared.lock();
        state.cut_at = Some(state.calls + count);
    }

    /// The power goes now: nothing is done any more.
    pub fn cut(&self) {
        self.shared.lock().is_off = true;
    }

    /// Whether the power has gone.
    pub fn is_cut(&self) -> bool {
        self.shared.lock().is_off
    }

    /// Calls so far that changed or synced something.
    pub fn calls(&self) -> u64 {
        self.shared.lock().calls
    }

    /// The power is back after a cut, and what is there is what lasted.
    pub fn power_on(&self) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let unit = if state.chance.is(1, 4) { 512 } else { 4096 };
        state.tree = state.tree.cut(unit, &mut state.chance);
        state.is_off = false;
        state.cuts += 1;
        state.cut_at = None;
    }

    /// Of the file at a path beneath the root, what no cut can take away; None if even its name
    /// may go.
    pub fn sure(&self, path: &str) -> Option<Vec<u8>> {
        self.shared.lock().tree.sure(path).map(<[u8]>::to_vec)
    }

    /// What was read since the last time that this was asked.
    pub fn take_reads(&self) -> Reads {
        std::mem::take(&mut self.shared.lock().reads)
    }

    /// An empty disk again.
    pub fn clear(&self) {
        self.shared.lock().tree = Tree::new();
    }
}

impl Drop for LossyDisk {
    fn drop(&mut self) {
        self.shared.lock().is_off = true;
        drop(self.session.take());
        if mounts().iter().any(|(_, mount)| Path::new(mount) == self.mount) {
            unmount(&self.mount);
        }
    }
}

/// Names and places of our mounts.
fn mounts() -> Vec<(String, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let name = fields.next()?.strip_prefix(PREFIX)?;
        Some((name.to_owned(), fields.next()?.to_owned()))
    });
    ours.collect()
}

/// Takes a mount away, whoever still uses it.
fn unmount(mount: &Path) {
    let _ = Command::new("umount").arg("-l").arg(mount).status();
}

/// Takes away the mounts of test processes that no longer run.
fn sweep() {
    for (owner, mount) in mounts() {
        if !Path::new("/proc").join(owner).exists() {
            unmount(Path::new(&mount));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn disk(honesty: Honesty) -> (tempfile::TempDir, LossyDisk) {
        let scratch = tempfile::tempdir().unwrap();
        let disk = LossyDisk::new(scratch.path(), 7, honesty);
        (scratch, disk)
    }

    #[test]
    fn what_was_synced_with_its_folders_lasts_and_nothing_else_is_sure() {
        let (_scratch, disk) = disk(Honesty::Honest);
        let folder = disk.path().join("a folder");
        fs::create_dir(&folder).unwrap();
        let file = File::create(folder.join("kept")).unwrap();
        file.write_all_at(&[7; 100_000], 0).unwrap();
        file.sync_all().unwrap();
        assert_eq!(disk.sure("a folder/kept"), None);
        for path in [&folder, disk.path()] {
            File::open(path).unwrap().sync_all().unwrap();
        }
        assert_eq!(disk.sure("a folder/kept"), Some(vec![7; 100_000]));
        let mtime = file.metadata().unwrap().modified().unwrap();
        drop(file);
        let mut lost = 0;
        for round in 0..20 {
            let name = format!("a folder/{round}");
            fs::write(disk.path().join(&name), [8; 9_000]).unwrap();
            disk.cut();
            assert_eq!(fs::read(folder.join("kept")).unwrap_err().raw_os_error(), Some(5));
            disk.power_on();
            assert_eq!(fs::read(folder.join("kept")).unwrap(), vec![7; 100_000]);
            let there = fs::metadata(folder.join("kept")).unwrap().modified().unwrap();
            assert_eq!(there, mtime);
            lost += u32::from(fs::read(disk.path().join(&name)).ok() != Some(vec![8; 9_000]));
        }
        assert!((1..=20).contains(&lost), "{lost}");
    }

    #[test]
    fn the_power_goes_in_place_of_a_call() {
        let (_scratch, disk) = disk(Honesty::Honest);
        let file = File::create(disk.path().join("a")).unwrap();
        disk.cut_after(3);
        file.write_all_at(b"1", 0).unwrap();
        file.sync_all().unwrap();
        assert!(!disk.is_cut());
        assert!(file.write_all_at(b"2", 0).is_err());
        assert!(disk.is_cut());
        drop(file);
        disk.power_on();
        fs::read_dir(disk.path()).unwrap();
    }

    #[test]
    fn reads_are_told_and_a_disk_that_lies_is_made() {
        let (_scratch, disk) = disk(Honesty::ForgetsFiles);
        let file = File::create(disk.path().join("a")).unwrap();
        file.write_all_at(&[1; 1000], 0).unwrap();
        file.sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        assert_eq!(disk.sure("a"), Some(vec![]));
        let mut some = [0; 10];
        File::open(disk.path().join("a")).unwrap().read_exact_at(&mut some, 990).unwrap();
        assert_eq!(disk.take_reads(), Reads::from([("a".to_owned(), vec![(990, 10)])]));
    }

    #[test]
    fn a_dropped_disk_is_no_mount_any_more() {
        let (scratch, disk) = disk(Honesty::Honest);
        fs::write(disk.path().join("a"), "1").unwrap();
        let file = File::open(disk.path().join("a")).unwrap();
        drop(disk);
        assert!(mounts().iter().all(|(_, mount)| Path::new(mount) != scratch.path()));
        drop(file);
    }
}
