//! Torrents whose files are moved or renamed while their session runs.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::driver::{Add, Event, Events, HashedPath, Session, SessionError, hash_path, verify};
use client::storage::names::NameError;
use client::{TorrentEvent, TorrentKey};
use tempfile::TempDir;
use tokio::time::timeout;
use wire::metainfo::Info;

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const PIECE_LEN: u32 = 16_384;
/// Its files, by their paths, and bytes; pieces lie over their borders.
const FILES: [(&str, usize); 4] = [("a", 300_000), ("b", 5), ("d/c", 1_200_003), ("d/empty", 0)];

fn alone() -> Session {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    // Who comes between two rounds is unchoked soon.
    let choke = |config: &mut client::Config| config.choke_round = Duration::from_millis(1);
    Session::builder().bind(loopback).without_dht().config(choke).start().unwrap()
}

fn bytes(name: &str, len: usize) -> Vec<u8> {
    let first = usize::from(name.as_bytes()[0]);
    (0..len).map(|n| (n / 251 + first) as u8 ^ (n % 251) as u8).collect()
}

/// A folder with the torrent `t`, and what that is.
fn shared() -> (TempDir, HashedPath) {
    let folder = TempDir::new().unwrap();
    for (name, len) in FILES {
        let path = folder.path().join("t").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes(name, len)).unwrap();
    }
    let hashed = hash_path(&folder.path().join("t"), Some(PIECE_LEN), |_, _| {}).unwrap();
    (folder, hashed)
}

/// The number of a file in the info dict.
fn number(info: &Info, name: &str) -> u32 {
    let is_it = |path: &[String]| path.join("/") == format!("t/{name}");
    info.files.iter().position(|file| is_it(&file.path)).unwrap() as u32
}

/// Asserts that all files are there and right.
fn assert_whole(root: &Path) {
    for (name, len) in FILES {
        let path = root.join("t").join(name);
        assert!(fs::read(&path).unwrap() == bytes(name, len), "{path:?}");
    }
}

/// What lies beneath a folder.
fn beneath(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(beneath(&path));
        }
        all.push(path);
    }
    all
}

/// Files of this process that are open beneath a folder.
fn open_beneath(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let paths = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    paths.filter(|path| path.starts_with(&folder)).count()
}

async fn run<T>(test: impl Future<Output = T>) -> T {
    timeout(PATIENCE, test).await.expect("it hangs")
}

async fn until(events: &mut Events, is_it: impl Fn(&TorrentEvent) -> bool) {
    loop {
        match events.next().await.expect("the session has ended") {
            Event::Torrent(_, event) if is_it(&event) => return,
            Event::Torrent(_, TorrentEvent::Failed(failure)) => panic!("{failure}"),
            _ => {}
        }
    }
}

async fn until_complete(events: &mut Events) {
    until(events, |event| *event == TorrentEvent::Complete).await;
    until(events, |event| *event == TorrentEvent::Flushed).await;
}

/// A session that downloads, for now from a peer that has one file of the torrent.
struct Download {
    peer: Session,
    its: TorrentKey,
    leech: Session,
    key: TorrentKey,
    events: Events,
    info: Info,
    /// What a seed has that has not come yet.
    rest: Option<HashedPath>,
    seed: Session,
    _folders: [TempDir; 2],
}

impl Download {
    async fn begin(root: &Path) -> Download {
        Download::begin_with(root, |add| add).await
    }

    async fn begin_with(root: &Path, with: impl FnOnce(Add) -> Add) -> Download {
        let (folder, hashed) = shared();
        let (info, some) = (hashed.info.clone(), TempDir::new().unwrap());
        fs::create_dir(some.path().join("t")).unwrap();
        fs::write(some.path().join("t/a"), bytes("a", 300_000)).unwrap();
        let (peer, leech) = (alone(), alone());
        let its = peer.add(Add::info(info.clone(), some.path())).await.unwrap();
        let events = leech.events_and_pieces();
        let add = with(Add::info(info.clone(), root));
        let key = leech.add(add.peer(peer.listen_addrs()[0].to_string())).await.unwrap();
        let (rest, seed, _folders) = (Some(hashed), alone(), [folder, some]);
        Download { peer, its, leech, key, events, info, rest, seed, _folders }
    }

    /// Some of it has come, and more is coming.
    async fn some(&mut self) {
        until(&mut self.events, |event| matches!(event, TorrentEvent::Piece(_))).await;
    }

    /// All of it has come, by a seed that was not there before.
    async fn whole(&mut self) {
        let stats = self.leech.stats(self.key).await.unwrap();
        assert!(stats.downloaded > 0 && stats.left_bytes > 0, "{stats:?}");
        let leech = self.leech.listen_addrs()[0].to_string();
        self.seed.add(Add::seed(self.rest.take().unwrap()).peer(leech)).await.unwrap();
        until_complete(&mut self.events).await;
        let stats = self.leech.stats(self.key).await.unwrap();
        assert_eq!((stats.hash_failures, stats.failure), (0, None));
        assert_eq!(self.peer.stats(self.its).await.unwrap().failure, None);
    }

    async fn end(mut self, root: &Path) {
        self.whole().await;
        assert_whole(root);
        self.leech.shutdown().await.unwrap();
        assert_nothing_is_read_again(Add::info(self.info, root)).await;
    }
}

async fn assert_nothing_is_read_again(add: Add) {
    let session = alone();
    let mut events = session.events();
    let key = session.add(add).await.unwrap();
    until_complete(&mut events).await;
    assert_eq!(session.stats(key).await.unwrap().checked, (0, 0));
}

/// A folder that is on another file system than temporary files are, for all of which it is empty.
fn elsewhere() -> TempDir {
    let here = fs::metadata(std::env::temp_dir()).unwrap().dev();
    // Beside the test program, should temporary files be in memory.
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let other = |path: &PathBuf| fs::metadata(path).is_ok_and(|other| other.dev() != here);
    let other = [PathBuf::from("/dev/shm"), beside].into_iter().find(other);
    TempDir::new_in(other.expect("there is another file system")).unwrap()
}

#[tokio::test]
async fn a_download_goes_on_and_ends_where_it_was_moved_to() {
    run(async {
        for other in [TempDir::new().unwrap(), elsewhere()] {
            let old = TempDir::new().unwrap();
            let new = other.path().join("not/yet");
            let mut download = Download::begin(old.path()).await;
            download.some().await;
            download.leech.move_storage(download.key, &new).await.unwrap();
            assert_eq!(beneath(old.path()), [""; 0].map(PathBuf::from));
            assert_eq!(open_beneath(old.path()), 0);
            assert!(!download.leech.stats(download.key).await.unwrap().paused);
            download.end(&new).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_seed_serves_on_from_where_it_was_moved_to() {
    run(async {
        for other in [TempDir::new().unwrap(), elsewhere()] {
            let output = TempDir::new().unwrap();
            let (folder, hashed) = shared();
            let info = hashed.info.clone();
            let inode = fs::metadata(folder.path().join("t/a")).unwrap().ino();
            let (seed, leech) = (alone(), alone());
            let mut told = seed.events();
            let served = seed.add(Add::seed(hashed)).await.unwrap();
            until(&mut told, |event| *event == TorrentEvent::Started).await;
            seed.move_storage(served, other.path()).await.unwrap();
            until(&mut told, |event| *event == TorrentEvent::Started).await;
            assert_whole(other.path());
            assert_eq!(beneath(folder.path()), [""; 0].map(PathBuf::from));
            let new = fs::metadata(other.path().join("t/a")).unwrap();
            let here = fs::metadata(folder.path()).unwrap().dev();
            assert_eq!(new.dev() == here, new.ino() == inode, "what can be renamed is");
            let mut events = leech.events();
            let add = Add::info(info, output.path());
            leech.add(add.peer(seed.listen_addrs()[0].to_string())).await.unwrap();
            until_complete(&mut events).await;
            assert_whole(output.path());
        }
    })
    .await;
}

#[tokio::test]
async fn a_seed_of_names_that_others_mend_is_moved_and_renamed_by_its_own() {
    run(async {
        let (folder, other) = (TempDir::new().unwrap(), elsewhere());
        fs::create_dir(folder.path().join("t")).unwrap();
        for name in ["a\\b", "c\td", "plain"] {
            fs::write(folder.path().join("t").join(name), bytes(name, 20_000)).unwrap();
        }
        let hashed = hash_path(&folder.path().join("t"), Some(16_384), |_, _| {}).unwrap();
        let tab = number(&hashed.info, "c\td");
        let seed = alone();
        let mut told = seed.events();
        let key = seed.add(Add::seed(hashed)).await.unwrap();
        until(&mut told, |event| *event == TorrentEvent::Started).await;
        seed.rename_file(key, tab, "t/e").await.unwrap();
        until(&mut told, |event| *event == TorrentEvent::Started).await;
        seed.move_storage(key, other.path()).await.unwrap();
        until(&mut told, |event| *event == TorrentEvent::Started).await;
        for (name, new) in [("a\\b", "a\\b"), ("c\td", "e"), ("plain", "plain")] {
            let there = fs::read(other.path().join("t").join(new)).unwrap();
            assert_eq!(there, bytes(name, 20_000), "{name:?}");
        }
        assert_eq!(beneath(folder.path()), [""; 0].map(PathBuf::from));
        assert_eq!(seed.stats(key).await.unwrap().failure, None);
    })
    .await;
}

#[tokio::test]
async fn a_paused_torrent_stays_paused_and_the_last_word_counts() {
    run(async {
        let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let third = TempDir::new().unwrap();
        let mut download = Download::begin(old.path()).await;
        download.some().await;
        download.whole().await;
        let (leech, key) = (download.leech.clone(), download.key);
        leech.pause(key).await.unwrap();
        leech.move_storage(key, new.path()).await.unwrap();
        assert!(leech.stats(key).await.unwrap().paused);
        assert_whole(new.path());
        // What is asked for meanwhile is done when the files have arrived.
        let (moved, resumed) =
            tokio::join!(leech.move_storage(key, third.path()), leech.resume(key));
        assert!(moved.is_ok() && resumed.is_ok());
        assert!(!leech.stats(key).await.unwrap().paused);
        let (moved, second, paused) = tokio::join!(
            leech.move_storage(key, old.path()),
            leech.move_storage(key, new.path()),
            leech.pause(key)
        );
        assert!(moved.is_ok() && paused.is_ok(), "{moved:?} {second:?} {paused:?}");
        assert!(second.unwrap_err().to_string().contains("wait until"));
        assert!(leech.stats(key).await.unwrap().paused);
        // It is removed when its files have arrived.
        let other = elsewhere();
        let removed = async {
            leech.remove(key).await.unwrap();
            assert_whole(other.path());
            assert_eq!(beneath(old.path()), [""; 0].map(PathBuf::from));
        };
        let (moved, ()) = tokio::join!(leech.move_storage(key, other.path()), removed);
        moved.unwrap();
        assert!(matches!(leech.stats(key).await, Err(SessionError::Unknown(_))));
        let error = leech.move_storage(key, new.path()).await.unwrap_err();
        assert!(matches!(error, SessionError::Unknown(_)));
    })
    .await;
}

#[tokio::test]
async fn a_place_where_something_is_in_the_way_is_refused_before_anything_moves() {
    run(async {
        let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut download = Download::begin(old.path()).await;
        download.some().await;
        let journal = format!(".trackerless/{}.journal", download.info.info_hash);
        for name in ["t/d/c", "t/d/empty", &journal] {
            let other = new.path().join(name);
            fs::create_dir_all(other.parent().unwrap()).unwrap();
            fs::write(&other, "mine").unwrap();
            let before = beneath(new.path());
            let moved = download.leech.move_storage(download.key, new.path()).await;
            let told = moved.unwrap_err().to_string();
            assert!(told.contains(other.to_str().unwrap()), "{told}");
            assert!(told.ends_with("move it away, or choose another folder"), "{told}");
            assert_eq!(beneath(new.path()), before);
            assert_eq!(fs::read(&other).unwrap(), b"mine");
            fs::remove_file(other).unwrap();
        }
        fs::remove_dir_all(new.path().join(".trackerless")).unwrap();
        fs::write(new.path().join(".trackerless"), "mine").unwrap();
        let moved = download.leech.move_storage(download.key, new.path()).await;
        assert!(moved.unwrap_err().to_string().contains("Not a directory"));
        // To where it is already: nothing is to be done.
        let same = old.path().join("t/..");
        download.leech.move_storage(download.key, same).await.unwrap();
        download.end(old.path()).await;
    })
    .await;
}

#[tokio::test]
async fn renamed_files_are_found_by_the_next_start() {
    run(async {
        let root = TempDir::new().unwrap();
        let mut download = Download::begin(root.path()).await;
        download.some().await;
        let (leech, key, info) = (download.leech.clone(), download.key, download.info.clone());
        // While it is downloaded, and again, and into the place of another that has left it.
        leech.rename_file(key, number(&info, "a"), "x/y/first").await.unwrap();
        leech.rename_file(key, number(&info, "d/c"), "t/a").await.unwrap();
        leech.rename_file(key, number(&info, "a"), "x/\u{e9}").await.unwrap();
        leech.rename_file(key, number(&info, "a"), "x/\u{e9}").await.unwrap();
        let is_right = |root: &Path| {
            let same = |path: &str, name: &str, len| {
                assert!(fs::read(root.join(path)).unwrap() == bytes(name, len), "{path}");
            };
            same("x/\u{e9}", "a", 300_000);
            same("t/a", "d/c", 1_200_003);
            assert!(!root.join("x/y").exists() && !root.join("t/d/c").exists());
        };
        download.whole().await;
        is_right(root.path());
        assert!(verify(&info, root.path(), |_, _| {}).unwrap().is_whole());
        // The names go along.
        let new = elsewhere();
        leech.move_storage(key, new.path()).await.unwrap();
        is_right(new.path());
        leech.shutdown().await.unwrap();
        assert_nothing_is_read_again(Add::info(info, new.path())).await;
        is_right(new.path());
    })
    .await;
}

#[tokio::test]
async fn a_file_that_has_not_begun_comes_under_its_new_name() {
    run(async {
        let root = TempDir::new().unwrap();
        let (folder, hashed) = shared();
        let (info, session) = (hashed.info.clone(), alone());
        let key = session.add(Add::info(info.clone(), root.path())).await.unwrap();
        session.rename_file(key, number(&info, "d/c"), "other/c").await.unwrap();
        assert!(!root.path().join("other").join("c").exists());
        session.remove(key).await.unwrap();
        let seed = alone();
        seed.add(Add::seed(hashed)).await.unwrap();
        let mut events = session.events();
        let add = Add::info(info, root.path()).peer(seed.listen_addrs()[0].to_string());
        session.add(add).await.unwrap();
        until_complete(&mut events).await;
        let c = fs::read(root.path().join("other/c")).unwrap();
        assert!(c == bytes("d/c", 1_200_003));
        assert!(!root.path().join("t/d/c").exists());
        drop(folder);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_no_file_can_have_is_refused_and_nothing_changes() {
    run(async {
        let root = TempDir::new().unwrap();
        let mut download = Download::begin(root.path()).await;
        download.some().await;
        let (leech, key) = (download.leech.clone(), download.key);
        let a = number(&download.info, "a");
        let info_hash = download.info.info_hash;
        let part = format!(".trackerless/{info_hash}.part");
        for path in ["", "/etc/x", "../x", "t/../../x", "a\0", &part] {
            let error = leech.rename_file(key, a, path).await.unwrap_err();
            assert!(matches!(error, SessionError::Name(NameError::Unsafe(_))), "{path}: {error}");
        }
        for path in ["t/b", "T/B", "t", "t/b/x", "t/d/c"] {
            let error = leech.rename_file(key, a, path).await.unwrap_err();
            assert!(matches!(error, SessionError::Name(NameError::Taken(_))), "{path}: {error}");
        }
        let error = leech.rename_file(key, 9, "x").await.unwrap_err();
        assert!(error.to_string().contains("there is no file 9"), "{error}");
        // Something else has the place, and a link leads out.
        fs::write(root.path().join("mine"), "mine").unwrap();
        let outside = TempDir::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        for (path, words) in [("mine", "there is something already"), ("out/x", "leads out of")] {
            let error = leech.rename_file(key, a, path).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(fs::read(root.path().join("mine")).unwrap(), b"mine");
        assert_eq!(beneath(outside.path()), [""; 0].map(PathBuf::from));
        assert!(!root.path().join(format!(".trackerless/{info_hash}.names")).exists());
        download.end(root.path()).await;

        let session = alone();
        let hash = wire::InfoHash::from_slice(&[7; 20]).unwrap();
        let key = session.add(Add::info_hash(hash, root.path())).await.unwrap();
        let error = session.rename_file(key, 0, "x").await.unwrap_err();
        assert!(matches!(error, SessionError::NoInfo(_)), "{error}");
        let new = outside.path().join("new");
        session.move_storage(key, &new).await.unwrap();
        assert!(new.is_dir());
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_of_unwanted_files_is_moved_too() {
    run(async {
        let old = TempDir::new().unwrap();
        let new = elsewhere();
        // Its last piece has bytes of the files behind it.
        let mut download = Download::begin_with(old.path(), |add| add.files([0])).await;
        download.some().await;
        download.whole().await;
        let info = download.info.clone();
        let part = format!(".trackerless/{}.part", info.info_hash);
        let before = fs::read(old.path().join(&part)).unwrap();
        let held = |root: &Path| fs::metadata(root.join(&part)).unwrap().blocks() * 512;
        let held_before = held(old.path());
        download.leech.move_storage(download.key, new.path()).await.unwrap();
        assert!(fs::read(new.path().join(&part)).unwrap() == before);
        assert!(held_before < before.len() as u64 && held(new.path()) <= held_before);
        download.leech.shutdown().await.unwrap();
        assert_nothing_is_read_again(Add::info(info, new.path()).files([0])).await;
    })
    .await;
}

#[tokio::test]
async fn a_copy_has_the_mode_and_the_mtime() {
    run(async {
        let (folder, hashed) = shared();
        let other = elsewhere();
        let a = folder.path().join("t/a");
        fs::set_permissions(&a, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&a).unwrap();
        let session = alone();
        let key = session.add(Add::seed(hashed)).await.unwrap();
        session.move_storage(key, other.path()).await.unwrap();
        let after = fs::metadata(other.path().join("t/a")).unwrap();
        assert_eq!(after.mode(), before.mode());
        assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_of_a_move_leaves_all_in_one_place() {
    run(async {
        for _ in 0..10 {
            let (folder, hashed) = shared();
            let other = elsewhere();
            let session = alone();
            let key = session.add(Add::seed(hashed)).await.unwrap();
            let (moved, ended) =
                tokio::join!(session.move_storage(key, other.path()), session.clone().shutdown());
            ended.unwrap();
            match moved {
                Ok(()) => assert_whole(other.path()),
                Err(error) => {
                    assert!(error.to_string().contains("ends"), "{error}");
                    assert_whole(folder.path());
                    assert_eq!(beneath(other.path()), [""; 0].map(PathBuf::from));
                }
            }
        }
    })
    .await;
}
