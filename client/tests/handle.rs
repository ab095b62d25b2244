//! The handle of a session, on loopback sockets and real files.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use client::driver::{Add, Builder, Event, Events, HashedPath, Session, SessionError, hash_path};
use client::{Failure, TorrentEvent, TorrentKey};
use dht::driver::Testnet;
use tempfile::TempDir;
use tokio::time::timeout;
use wire::InfoHash;

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const LEN: usize = 1_000_003;
const PIECE_LEN: u32 = 16_384;

fn local() -> Builder {
    Session::builder().bind(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn alone() -> Session {
    local().without_dht().start().unwrap()
}

/// A folder with a file in it, and what that is as a torrent.
fn shared(name: &str) -> (TempDir, HashedPath) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content()).unwrap();
    let hashed = hash_path(&path, Some(PIECE_LEN), |_, _| {}).unwrap();
    (folder, hashed)
}

fn content() -> Vec<u8> {
    (0..LEN).map(|n| (n / 251) as u8 ^ (n % 251) as u8).collect()
}

/// Runs a test with an end.
async fn run<T>(test: impl Future<Output = T>) -> T {
    timeout(PATIENCE, test).await.expect("it hangs")
}

/// The next event of a torrent that is awaited.
async fn until(events: &mut Events, is_it: impl Fn(&TorrentEvent) -> bool) -> TorrentEvent {
    loop {
        match events.next().await.expect("the session has ended") {
            Event::Torrent(_, event) if is_it(&event) => return event,
            Event::Torrent(..) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What a torrent failed of.
async fn failure(events: &mut Events) -> Failure {
    match until(events, |event| matches!(event, TorrentEvent::Failed(_))).await {
        TorrentEvent::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// Polls a future once, so that its command is sent, and drops it.
async fn begin_and_drop(future: impl Future) {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        // The other thread may be so quick as to have answered.
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Files of this process that are open beneath a folder.
fn open_beneath(folder: &Path) -> Vec<std::path::PathBuf> {
    let folder = folder.canonicalize().unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let paths = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    paths.filter(|path| path.starts_with(&folder)).collect()
}

#[test]
fn a_handle_can_go_to_any_thread() {
    fn sendable<T: Send + Sync + 'static>() {}
    sendable::<Session>();
    sendable::<SessionError>();
    fn movable<T: Send + 'static>(_: T) {}
    movable(|session: Session, add: Add| async move { session.add(add).await });
    movable(|mut events: Events| async move { events.next().await });
}

#[tokio::test]
async fn what_one_serves_another_finds_by_the_dht_and_fetches() {
    run(async {
        let testnet = Testnet::new(8).await.unwrap();
        let entry = |n: usize| testnet.bootstrap_addrs()[n].to_string();
        let (_folder, hashed) = shared("a.bin");
        let (info_hash, pieces) = (hashed.info.info_hash, hashed.info.piece_count() as usize);
        let seed = local().bootstrap(entry(1)).start().unwrap();
        let mut told = seed.events();
        let served = seed.add(Add::seed(hashed)).await.unwrap();
        let is_announced = |e: &TorrentEvent| matches!(e, TorrentEvent::Announced { kept_by: 1.. });
        until(&mut told, is_announced).await;

        let output = TempDir::new().unwrap();
        let leech = local().bootstrap(entry(5)).start().unwrap();
        let (mut events, mut all) = (leech.events(), leech.events_and_pieces());
        let key = leech.add(Add::info_hash(info_hash, output.path())).await.unwrap();
        assert_eq!(leech.info(key).await.unwrap(), None);
        until(&mut events, |event| matches!(event, TorrentEvent::Metadata(_))).await;
        assert_eq!(leech.info(key).await.unwrap().unwrap().info_hash, info_hash);
        until(&mut events, |event| *event == TorrentEvent::Complete).await;
        until(&mut events, |event| *event == TorrentEvent::Flushed).await;
        assert_eq!(fs::read(output.path().join("a.bin")).unwrap(), content());

        let search = leech.search(key).await.unwrap();
        assert!(search.enabled && search.found >= 1, "{search:?}");
        let listed = leech.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].0, listed[0].1.complete), (1, key, true));
        assert_eq!(seed.stats(served).await.unwrap().uploaded, LEN as u64);

        leech.shutdown().await.unwrap();
        let (mut each, mut fewer) = (0, 0);
        while let Some(event) = all.next().await {
            each += usize::from(matches!(event, Event::Torrent(_, TorrentEvent::Piece(_))));
        }
        while let Some(event) = events.next().await {
            fewer += usize::from(matches!(event, Event::Torrent(_, TorrentEvent::Piece(_))));
        }
        assert_eq!((each, fewer), (pieces, 0));
    })
    .await;
}

#[tokio::test]
async fn a_paused_torrent_lets_go_of_its_folder_and_goes_on_when_it_is_resumed() {
    run(async {
        let (_folder, hashed) = shared("a.bin");
        let info = hashed.info.clone();
        let seed = alone();
        let served = seed.add(Add::seed(hashed)).await.unwrap();
        let output = TempDir::new().unwrap();
        let add = || Add::info(info.clone(), output.path());
        let (first, second) = (alone(), alone());
        let (mut events, mut others) = (first.events(), second.events());
        let key = first.add(add()).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Started).await;
        assert_eq!(open_beneath(output.path()).len(), 1 + 1, "the folder and the journal");

        // Another session is kept out, until the first is paused.
        let its = second.add(add().peer(seed.listen_addrs()[0].to_string())).await.unwrap();
        assert!(failure(&mut others).await.to_string().contains("in use by process"));
        first.pause(key).await.unwrap();
        first.pause(key).await.unwrap();
        assert!(first.stats(key).await.unwrap().paused);
        second.pause(its).await.unwrap();
        second.resume(its).await.unwrap();
        until(&mut others, |event| *event == TorrentEvent::Complete).await;

        // One that serves is left by all.
        seed.pause(served).await.unwrap();
        while second.stats(its).await.unwrap().peers > 0 {
            tokio::task::yield_now().await;
        }
        second.remove(its).await.unwrap();
        first.resume(key).await.unwrap();
        first.resume(key).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Complete).await;
        let stats = first.stats(key).await.unwrap();
        assert_eq!((stats.checked, stats.downloaded, stats.paused), ((0, 0), 0, false));
    })
    .await;
}

#[tokio::test]
async fn of_pause_and_resume_the_last_word_counts() {
    run(async {
        let (_folder, hashed) = shared("a.bin");
        let output = TempDir::new().unwrap();
        let session = alone();
        let mut events = session.events();
        let key = session.add(Add::info(hashed.info, output.path())).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Started).await;
        for _ in 0..20 {
            let (paused, resumed) = tokio::join!(session.pause(key), session.resume(key));
            assert!(paused.is_ok() && resumed.is_ok());
            assert!(!session.stats(key).await.unwrap().paused);
            let (resumed, paused) = tokio::join!(session.resume(key), session.pause(key));
            assert!(paused.is_ok() && resumed.is_ok());
            assert!(session.stats(key).await.unwrap().paused);
            let (resumed, paused, saved) =
                tokio::join!(session.resume(key), session.pause(key), session.save());
            assert!(paused.is_ok() && resumed.is_ok() && saved.is_ok());
            session.resume(key).await.unwrap();
        }
        let (paused, removed, late) =
            tokio::join!(session.pause(key), session.remove(key), session.resume(key));
        assert!(paused.is_ok() && removed.is_ok());
        assert!(matches!(late, Err(SessionError::Unknown(other)) if other == key));
    })
    .await;
}

#[tokio::test]
async fn a_removed_torrent_leaves_its_files_and_may_come_again_at_once() {
    run(async {
        let (folder, hashed) = shared("a.bin");
        let session = alone();
        let mut events = session.events();
        let mut last = None;
        for _ in 0..20 {
            let add = Add::info(hashed.info.clone(), folder.path());
            let key = session.add(add).await.unwrap();
            assert!(last.replace(key) < Some(key), "no name is used twice");
            until(&mut events, |event| *event == TorrentEvent::Started).await;
            session.remove(key).await.unwrap();
            assert_eq!(open_beneath(folder.path()), [""; 0].map(std::path::PathBuf::from));
            assert!(matches!(session.stats(key).await, Err(SessionError::Unknown(_))));
        }
        assert_eq!(session.list().await.unwrap(), []);
        assert_eq!(fs::read(folder.path().join("a.bin")).unwrap(), content());
    })
    .await;
}

#[tokio::test]
async fn what_is_complete_is_kept_by_a_save_and_by_the_end() {
    run(async {
        let (folder, hashed) = shared("a.bin");
        let state = folder.path().join("dht.state");
        let session = local().dht_state_file(&state).start().unwrap();
        let mut events = session.events();
        session.add(Add::info(hashed.info.clone(), folder.path())).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Started).await;
        let journal = folder.path().join(".trackerless");
        session.save().await.unwrap();
        assert!(state.is_file() && fs::read_dir(&journal).unwrap().count() == 1);
        // Dropped, it ends: its events do, and its folder and port are free.
        let addr = session.listen_addrs()[0];
        drop(session);
        while events.next().await.is_some() {}
        assert_eq!(open_beneath(folder.path()), [""; 0].map(std::path::PathBuf::from));
        let session = Session::builder().bind(addr).dht_state_file(&state).start().unwrap();
        let mut events = session.events();
        let key = session.add(Add::info(hashed.info, folder.path())).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Complete).await;
        assert_eq!(session.stats(key).await.unwrap().checked, (0, 0), "nothing is read again");
    })
    .await;
}

#[tokio::test]
async fn the_end_is_told_to_all_who_ask() {
    run(async {
        let session = alone();
        let (other, mut events) = (session.clone(), session.events());
        session.shutdown().await.unwrap();
        assert_eq!(events.next().await, None);
        assert_eq!(other.events().next().await, None);
        assert!(matches!(other.list().await, Err(SessionError::Stopped)));
        assert!(matches!(other.pause(TorrentKey(0)).await, Err(SessionError::Stopped)));
        other.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_waits_no_longer_changes_nothing() {
    run(async {
        let (_folder, hashed) = shared("a.bin");
        let output = TempDir::new().unwrap();
        let session = alone();
        let mut events = session.events();
        begin_and_drop(session.add(Add::info(hashed.info, output.path()))).await;
        until(&mut events, |event| *event == TorrentEvent::Started).await;
        let (key, _) = session.list().await.unwrap()[0];
        begin_and_drop(session.pause(key)).await;
        until(&mut events, |event| *event == TorrentEvent::Paused).await;
        begin_and_drop(session.remove(key)).await;
        until(&mut events, |event| *event == TorrentEvent::Removed).await;
        begin_and_drop(session.clone().shutdown()).await;
        while events.next().await.is_some() {}
        session.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn errors_say_what_to_do() {
    run(async {
        let session = alone();
        let (folder, hashed) = shared("a.bin");
        let info = hashed.info.clone();
        session.add(Add::seed(hashed)).await.unwrap();
        let twice = session.add(Add::info(info, folder.path())).await.unwrap_err();
        assert!(matches!(twice, SessionError::Twice(_)), "{twice}");
        let in_use = Session::builder().bind(session.listen_addrs()[0]).start().unwrap_err();
        let nowhere = local().bind("192.0.2.1:0".parse().unwrap()).start().unwrap_err();
        let hash = InfoHash::from_slice(&[7; 20]).unwrap();
        let file = folder.path().join("a.bin");
        let no_folder = session.add(Add::info_hash(hash, file.join("x"))).await.unwrap_err();
        let no_state = local().dht_state_file(folder.path()).start().unwrap_err();
        for (error, words) in [
            (twice, ["there already", "remove it first"]),
            (in_use, ["another socket has it", "choose another port"]),
            (nowhere, ["192.0.2.1:0", "this host does not have that address"]),
            (no_folder, ["a.bin", "Not a directory"]),
            (no_state, ["directory", "name a state file"]),
            (session.resume(TorrentKey(9)).await.unwrap_err(), ["no torrent 9", "removed"]),
        ] {
            let told = error.to_string();
            assert!(words.iter().all(|word| told.contains(word)), "{told:?} lacks {words:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn torrents_that_nobody_asks_hold_nothing_open_and_wake_for_who_comes() {
    run(async {
        let (_folder, hashed) = shared("a.bin");
        let info_hash = hashed.info.info_hash;
        let first = alone();
        first.add(Add::seed(hashed)).await.unwrap();
        let output = TempDir::new().unwrap();
        let second =
            local().without_dht().config(|c| c.dormant_after = Duration::ZERO).start().unwrap();
        let mut events = second.events();
        let peer = first.listen_addrs()[0].to_string();
        let key = second.add(Add::info_hash(info_hash, output.path()).peer(peer)).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Complete).await;
        until(&mut events, |event| *event == TorrentEvent::Flushed).await;
        first.shutdown().await.unwrap();
        while !second.stats(key).await.unwrap().dormant {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while open_beneath(output.path()) != [""; 0].map(std::path::PathBuf::from) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(second.active().await.unwrap(), []);
        let info = second.info(key).await.unwrap().expect("it is read from the journal");
        assert_eq!(info.info_hash, info_hash);
        // One more asks.
        let third = alone();
        let mut told = third.events();
        let got = TempDir::new().unwrap();
        let peer = second.listen_addrs()[0].to_string();
        third.add(Add::info_hash(info_hash, got.path()).peer(peer)).await.unwrap();
        until(&mut told, |event| *event == TorrentEvent::Complete).await;
        third.shutdown().await.unwrap();
        assert_eq!(fs::read(got.path().join("a.bin")).unwrap(), content());
        second.pause(key).await.unwrap();
        second.resume(key).await.unwrap();
        second.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_cut_while_it_is_served_fails_the_torrent() {
    run(async {
        let (folder, hashed) = shared("a.bin");
        let info_hash = hashed.info.info_hash;
        let (seed, leech) = (alone(), alone());
        let mut events = seed.events();
        let key = seed.add(Add::seed(hashed)).await.unwrap();
        until(&mut events, |event| *event == TorrentEvent::Started).await;
        // Who is connected keeps it awake.
        let (output, peer) = (TempDir::new().unwrap(), seed.listen_addrs()[0].to_string());
        let watcher = alone();
        let mut told = watcher.events();
        let watch = Add::info_hash(info_hash, output.path()).metadata_only();
        watcher.add(watch.peer(peer.clone())).await.unwrap();
        until(&mut told, |event| matches!(event, TorrentEvent::Metadata(_))).await;
        let path = folder.path().join("a.bin");
        fs::write(&path, &content()[..LEN / 2]).unwrap();
        leech.add(Add::info_hash(info_hash, output.path()).peer(peer)).await.unwrap();
        let told = failure(&mut events).await;
        assert!(told.to_string().ends_with("a.bin: ends too early"), "{told}");
        assert_eq!(seed.stats(key).await.unwrap().failure, Some(told));
        // That is no news when it ends.
        seed.shutdown().await.unwrap();
    })
    .await;
}
