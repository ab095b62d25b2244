//! What runs on the thread of a session: the reactor, the DHT node, and what was asked for of each
//! torrent.

mod dormant;
mod relocate;
mod starts;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinSet, spawn_local};
use wire::InfoHash;
use wire::metainfo::Info;
use wire::rng::Seed;

use super::bind::bind;
use super::discovery::{Dht, DhtOptions, SearchProgress};
use super::disk::{self, DiskPool, Root, Slot};
use super::handle::{Add, SessionError, What};
use super::reactor::Reactor;
use crate::candidates::Source;
use crate::disk::{DiskError, DiskErrorKind};
use crate::session::{Event, Session};
use crate::storage::{self, Storage};
use crate::torrent::{Failure, Identity, Torrent, TorrentEvent};
use crate::{Config, TorrentKey, TorrentStats};
use dormant::{Known, Loaded, WaitsForInfo};
pub(super) use relocate::Change;
use relocate::Relocating;
use starts::Starts;

/// How an engine is to run.
pub(super) struct Options {
    pub(super) config: Config,
    /// Where to listen, for peers (TCP) and the DHT (UDP).
    pub(super) bind: Vec<SocketAddr>,
    /// None: only peers that are named.
    pub(super) dht: Option<DhtOptions>,
}

/// A torrent to add, with all that had to be read for it.
pub(super) struct Prepared {
    add: Add,
    info_hash: InfoHash,
    info: Option<Arc<Info>>,
}

/// Makes the folder and reads what an earlier run saved. It may block.
pub(super) fn prepare(add: Add) -> Result<Prepared, SessionError> {
    let (info_hash, info) = match &add.what {
        What::InfoHash(info_hash) => (*info_hash, None),
        What::Info(info) | What::Seed(info) => (info.info_hash, Some(info.clone())),
    };
    if info.as_ref().is_some_and(|info| info.private) {
        return Err(SessionError::Private);
    }
    if !matches!(add.what, What::Seed(..)) && !add.metadata_only {
        std::fs::create_dir_all(&add.root)
            .map_err(|error| SessionError::Disk(disk::error_at(&add.root, &error)))?;
    }
    let info = info.or_else(|| saved_info(&add.root, &info_hash).ok().map(Arc::new));
    Ok(Prepared { add, info_hash, info })
}

/// The info dict that an earlier run saved beside the files.
fn saved_info(root: &Path, info_hash: &InfoHash) -> Result<Info, DiskError> {
    // Who can write to the folder must not stop or fill us with what he puts in the journal's place.
    let root = Root::open(root.to_path_buf())?;
    let path = storage::journal_path(info_hash);
    let bytes_max = storage::Config::default().journal_bytes_max;
    let journal = disk::read_small(&root, &path, bytes_max)?;
    let info = storage::read_info(&journal).and_then(|raw| Info::parse(&raw).ok());
    info.filter(|info| info.info_hash == *info_hash).ok_or_else(|| DiskError {
        kind: DiskErrorKind::Other,
        message: format!(
            "{}: it does not hold the info dict any more",
            root.display(&path).display()
        ),
    })
}

/// Who waits for something that can end in words.
pub(super) type Waiting = oneshot::Sender<Result<(), SessionError>>;

/// A torrent, as it was asked for.
struct Added {
    root: PathBuf,
    metadata_only: bool,
    /// The files that are wanted; None: all.
    files: Option<Vec<u32>>,
    preallocate: bool,
    /// When it begins.
    recheck: bool,
    /// It is served as it lies there.
    seed: bool,
    info: Known,
    /// It is being read.
    is_loading: bool,
    /// Who waits for that.
    asking: Vec<WaitsForInfo>,
    /// It is to be paused, and is or soon will be.
    is_stopped: bool,
    /// What went wrong since it was last asked to stop or to go on.
    trouble: Option<Failure>,
    /// Who waits for the flush under way.
    flushing: Vec<Waiting>,
    /// Who came while it was, and what came with them may be no part of it.
    flush_next: Vec<Waiting>,
    /// It was complete while it was.
    flush_again: bool,
    is_flushing: bool,
    pausing: Vec<Waiting>,
    resuming: Vec<Waiting>,
    removing: Vec<Waiting>,
}

/// A running engine.
pub(super) struct Engine {
    pub(super) reactor: Reactor,
    dht: Option<Dht>,
    added: BTreeMap<TorrentKey, Added>,
    starts: Starts,
    pub(super) loading: JoinSet<Loaded>,
    relocating: Relocating,
}

impl Engine {
    /// Listens, and enters the DHT. Must be called inside a `LocalSet`. Gives where it listens, too.
    pub(super) fn start(options: Options) -> Result<(Engine, Vec<SocketAddr>), SessionError> {
        let (listeners, dht) = bind(&options.bind, options.dht.as_ref())?;
        let listen_addrs: Vec<SocketAddr> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let seed: Seed = rand::random();
        let us = Identity {
            peer_id: peer_id(),
            listen_port: listen_addrs.first().map(SocketAddr::port),
            dht_port: dht.as_ref().and_then(|dht| dht.local_addrs().next()).map(|a| a.port()),
        };
        let wake = Arc::new(Notify::new());
        let disk = DiskPool::start({
            let wake = wake.clone();
            Box::new(move || wake.notify_one())
        });
        let dial_from: Vec<IpAddr> =
            options.bind.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()).collect();
        let mut config = options.config;
        let dials =
            |v4| dial_from.is_empty() || options.bind.iter().any(|addr| addr.is_ipv4() == v4);
        config.dials_v4 &= dials(true);
        config.dials_v6 &= dials(false);
        let session = Session::new(config, us, seed);
        let reactor = Reactor::start(session, disk, wake, dial_from);
        for listener in listeners {
            reactor.listen(listener);
        }
        let dht = options
            .dht
            .zip(dht)
            .map(|(options, driver)| Dht::start(options, driver, us.listen_port, reactor.clone()));
        let (added, starts, loading, relocating) = Default::default();
        Ok((Engine { reactor, dht, added, starts, loading, relocating }, listen_addrs))
    }

    /// Begins with a torrent.
    pub(super) fn add(&mut self, prepared: Prepared) -> Result<TorrentKey, SessionError> {
        let Prepared { add, info_hash, info } = prepared;
        let key = self
            .reactor
            .input(|session, now| session.add_torrent(now, info_hash))
            .ok_or(SessionError::Twice(info_hash))?;
        let added = Added {
            seed: matches!(add.what, What::Seed(_)),
            root: add.root,
            metadata_only: add.metadata_only,
            files: add.files,
            preallocate: add.preallocate,
            recheck: add.recheck,
            info: Known::No,
            is_loading: false,
            asking: Vec::new(),
            is_stopped: false,
            trouble: None,
            flushing: Vec::new(),
            flush_next: Vec::new(),
            flush_again: false,
            is_flushing: false,
            pausing: Vec::new(),
            resuming: Vec::new(),
            removing: Vec::new(),
        };
        self.added.insert(key, added);
        for peer in add.peers {
            spawn_local(resolve_peer(self.reactor.clone(), key, peer));
        }
        if let Some(info) = info {
            if add.metadata_only {
                let event = TorrentEvent::Metadata(Box::new((*info).clone()));
                self.reactor.tell(key, event);
            } else {
                self.set_info(key, info);
            }
        }
        Ok(key)
    }

    /// The info dict is known: begins with the files, where they are wanted.
    fn set_info(&mut self, key: TorrentKey, info: Arc<Info>) {
        let Some(added) = self.added.get_mut(&key) else { return };
        added.info = Known::Held(info);
        self.begin(key);
    }

    /// Begins with the files of a torrent, if its info dict is known and they are wanted.
    fn begin(&mut self, key: TorrentKey) {
        let Some(added) = self.added.get(&key) else { return };
        if !added.metadata_only && !added.is_stopped && !matches!(added.info, Known::No) {
            self.starts.push(key);
            self.start_next();
        }
    }

    /// Begins with the files of those whose turn it is.
    fn start_next(&mut self) {
        while let Some(key) = self.starts.pop() {
            self.start_files(key);
        }
    }

    fn start_files(&mut self, key: TorrentKey) {
        let Some(added) = self.added.get_mut(&key) else { return self.starts.end(key) };
        let info = match &added.info {
            Known::No => return self.starts.end(key),
            Known::Saved => return self.load(key),
            Known::Held(info) => info.clone(),
        };
        let files = info.files.len();
        if let Some(&file) = added.files.iter().flatten().find(|file| **file as usize >= files) {
            let failure = Failure::NoSuchFile { file, files };
            return self.reactor.input(|session, now| session.give_up(now, key, failure));
        }
        let config = storage::Config {
            preallocate: added.preallocate,
            recheck: std::mem::take(&mut added.recheck),
            ..storage::Config::default()
        };
        let storage = match &added.files {
            _ if added.seed => Storage::seed(&info, config, key.0),
            Some(files) => Storage::new(&info, config, key.0).with_selection(files.clone()),
            None => Storage::new(&info, config, key.0),
        };
        let paths = {
            let disk = &mut self.reactor.shared.borrow_mut().disk;
            let rooted = disk.set_root(key, added.root.clone());
            rooted.and_then(|()| disk.renamed_paths(key, &info))
        };
        if matches!(&paths, Err(error) if error.kind == DiskErrorKind::OutOfFiles) {
            return self.put_off(key, info);
        }
        let begins = self.reactor.input(|session, now| match paths {
            Ok(paths) => session.set_info(now, key, info, storage.with_paths(paths)),
            Err(error) => {
                session.give_up(now, key, Failure::Disk(error));
                false
            }
        });
        if !begins {
            self.starts.end(key);
        }
    }

    /// The next event that is of use to others.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.end_relocations();
        loop {
            let (key, event) = self.reactor.shared.borrow_mut().events.pop_front()?;
            match &event {
                TorrentEvent::WantsPeers => {
                    self.ask_for_peers(key);
                    continue;
                }
                TorrentEvent::DhtNode(addr) => {
                    self.dht.iter().for_each(|dht| dht.add_node(*addr));
                    continue;
                }
                TorrentEvent::Metadata(info) => self.set_info(key, Arc::new((**info).clone())),
                // What is complete is to last before anybody is told.
                TorrentEvent::Complete => self.on_complete(key),
                TorrentEvent::Flushed if !self.on_flushed(key) => continue,
                TorrentEvent::WantsInfo => {
                    self.wake(key);
                    continue;
                }
                TorrentEvent::Dormant => {
                    self.on_dormant(key);
                    continue;
                }
                TorrentEvent::Woken => {
                    self.on_begun(key);
                    continue;
                }
                TorrentEvent::Started => self.on_begun(key),
                TorrentEvent::Failed(failure) => {
                    self.on_begun(key);
                    if let Some(added) = self.added.get_mut(&key) {
                        added.trouble = Some(failure.clone());
                    }
                }
                TorrentEvent::Paused => self.on_paused(key),
                TorrentEvent::Removed => self.on_removed(key),
                _ => {}
            }
            return Some((key, event));
        }
    }

    fn ask_for_peers(&self, key: TorrentKey) {
        let is_whole = self.of(key, Torrent::is_whole);
        if let (Some(dht), Some(hash), Some(is_whole)) = (&self.dht, self.info_hash(key), is_whole)
        {
            dht.ask(key, hash, is_whole);
        }
    }

    fn info_hash(&self, key: TorrentKey) -> Option<InfoHash> {
        self.of(key, |torrent| *torrent.info_hash())
    }

    fn of<T>(&self, key: TorrentKey, f: impl FnOnce(&Torrent<Slot>) -> T) -> Option<T> {
        self.reactor.shared.borrow().session.torrent(key).map(f)
    }

    /// Brings what is there of a torrent to stable storage. `ends` are told once all that is there now
    /// has reached it.
    fn flush(&mut self, key: TorrentKey, ends: impl IntoIterator<Item = Waiting>) {
        let is_paused = self.is_paused(key);
        let Some(added) = self.added.get_mut(&key) else { return };
        if added.is_stopped {
            added.pausing.extend(ends);
            if is_paused {
                tell_all(&mut added.pausing, None);
            }
            return;
        }
        if added.is_flushing {
            added.flush_next.extend(ends);
            return;
        }
        added.flushing.extend(ends);
        added.is_flushing = true;
        added.trouble = None;
        self.reactor.input(|session, now| session.flush_torrent(now, key));
    }

    /// All is there, which a flush under way may be no part of.
    fn on_complete(&mut self, key: TorrentKey) {
        match self.added.get_mut(&key) {
            Some(added) if added.is_flushing => added.flush_again = true,
            _ => self.flush(key, None),
        }
    }

    /// A flush is over. False if it was complete only meanwhile: who listens is to hear of the next.
    fn on_flushed(&mut self, key: TorrentKey) -> bool {
        let Some(added) = self.added.get_mut(&key) else { return true };
        added.is_flushing = false;
        tell_all(&mut added.flushing, added.trouble.as_ref());
        let again = std::mem::take(&mut added.flush_again);
        let ends = std::mem::take(&mut added.flush_next);
        if again || !ends.is_empty() {
            self.flush(key, ends);
        }
        !again
    }

    /// Brings all that is there to stable storage, and saves the DHT's contacts.
    pub(super) fn save(&mut self, end: Waiting) {
        let mut waited_for = Vec::new();
        // What is dormant has long been brought there.
        let is_awake = |key: &TorrentKey| self.of(*key, Torrent::is_dormant) == Some(false);
        for key in self.added.keys().copied().filter(is_awake).collect::<Vec<_>>() {
            let (end, ended) = oneshot::channel();
            waited_for.push(ended);
            self.flush(key, Some(end));
        }
        let dht = self.dht.clone();
        spawn_local(async move {
            let mut result = Ok(());
            for ended in waited_for {
                // A torrent that was removed meanwhile is flushed as well.
                result = result.and(ended.await.unwrap_or(Ok(())));
            }
            if let Some(dht) = dht {
                result = result.and(dht.save().await.map_err(SessionError::State));
            }
            let _ = end.send(result);
        });
    }

    /// Pauses a torrent, and tells `end` once it is.
    pub(super) fn pause(&mut self, key: TorrentKey, end: Option<Waiting>) {
        let Some(added) = self.added.get_mut(&key) else { return unknown(key, end) };
        // Who asked for the opposite has been overtaken.
        tell_all(&mut added.resuming, None);
        if !added.is_stopped {
            added.is_stopped = true;
            added.trouble = None;
        }
        added.pausing.extend(end);
        if self.is_paused(key) {
            return self.on_paused(key);
        }
        self.reactor.input(|session, now| session.pause_torrent(now, key));
    }

    fn is_paused(&self, key: TorrentKey) -> bool {
        self.of(key, Torrent::is_paused).unwrap_or_default()
    }

    /// Lets a torrent go on, once it is paused if it is about to be.
    pub(super) fn resume(&mut self, key: TorrentKey, end: Waiting) {
        let staying = self.added.get_mut(&key).filter(|added| added.removing.is_empty());
        let Some(added) = staying else { return unknown(key, Some(end)) };
        added.resuming.push(end);
        if !added.is_stopped {
            tell_all(&mut added.resuming, None);
        } else if self.is_paused(key) {
            self.on_paused(key);
        }
    }

    fn on_paused(&mut self, key: TorrentKey) {
        self.on_begun(key);
        let Some(added) = self.added.get_mut(&key) else { return };
        tell_all(&mut added.pausing, added.trouble.as_ref());
        let goes_on = !added.resuming.is_empty();
        if self.is_relocating(key) || !goes_on {
            return;
        }
        let Some(added) = self.added.get_mut(&key) else { return };
        added.is_stopped = false;
        added.trouble = None;
        self.reactor.input(|session, now| session.resume_torrent(now, key));
        self.begin(key);
        if let Some(added) = self.added.get_mut(&key) {
            tell_all(&mut added.resuming, None);
        }
    }

    /// Pauses a torrent and forgets it, and tells `end` once that is done.
    pub(super) fn remove(&mut self, key: TorrentKey, end: Waiting) {
        let Some(added) = self.added.get_mut(&key) else { return unknown(key, Some(end)) };
        added.removing.push(end);
        if !added.is_stopped {
            added.is_stopped = true;
            added.trouble = None;
        }
        added.resuming.drain(..).for_each(|end| unknown(key, Some(end)));
        if self.is_relocating(key) {
            return;
        }
        self.reactor.input(|session, now| session.remove_torrent(now, key));
    }

    fn on_removed(&mut self, key: TorrentKey) {
        self.on_begun(key);
        self.reactor.shared.borrow_mut().disk.remove_root(key);
        self.dht.iter().for_each(|dht| dht.forget(key));
        let Some(mut added) = self.added.remove(&key) else { return };
        let trouble = added.trouble.as_ref();
        for waiting in [
            &mut added.flushing,
            &mut added.flush_next,
            &mut added.pausing,
            &mut added.resuming,
            &mut added.removing,
        ] {
            tell_all(waiting, trouble);
        }
    }

    /// Begins to end: pauses all torrents.
    pub(super) fn stop(&mut self) {
        self.relocating.stop();
        for added in self.added.values_mut() {
            added.trouble = None;
        }
        for key in self.added.keys().copied().collect::<Vec<_>>() {
            self.pause(key, None);
        }
    }

    /// Whether all torrents are paused, and no files on their way.
    pub(super) fn is_stopped(&self) -> bool {
        self.relocating.is_empty() && self.added.keys().all(|key| self.is_paused(*key))
    }

    /// What the first torrent that met any met since it began to stop.
    pub(super) fn trouble(&self) -> Option<&Failure> {
        self.added.values().find_map(|added| added.trouble.as_ref())
    }

    /// Saves the DHT's contacts.
    pub(super) async fn save_dht(&self) -> Result<(), SessionError> {
        match &self.dht {
            Some(dht) => dht.save().await.map_err(SessionError::State),
            None => Ok(()),
        }
    }

    /// Figures of a torrent.
    pub(super) fn stats(&self, key: TorrentKey) -> Result<TorrentStats, SessionError> {
        let now = self.reactor.now();
        let stats = self.reactor.shared.borrow().session.stats(now, key);
        stats.ok_or(SessionError::Unknown(key))
    }

    /// Those that are not at rest.
    pub(super) fn active(&self) -> Vec<(TorrentKey, TorrentStats)> {
        let active: Vec<TorrentKey> = self.reactor.shared.borrow().session.active().collect();
        active.into_iter().filter_map(|key| Some((key, self.stats(key).ok()?))).collect()
    }

    /// All torrents, in the order in which they were added.
    pub(super) fn list(&self) -> Vec<(TorrentKey, TorrentStats)> {
        self.added.keys().filter_map(|key| Some((*key, self.stats(*key).ok()?))).collect()
    }

    /// Bootstrap names of the DHT without an address, and why.
    pub(super) fn unresolved(&self) -> Vec<(String, String)> {
        self.dht.as_ref().map_or_else(Vec::new, Dht::unresolved)
    }

    /// How the search for a torrent's peers goes.
    pub(super) fn search(&self, key: TorrentKey) -> Result<SearchProgress, SessionError> {
        if !self.added.contains_key(&key) {
            return Err(SessionError::Unknown(key));
        }
        Ok(self.dht.as_ref().map_or_else(SearchProgress::default, |dht| dht.progress(key)))
    }
}

fn unknown(key: TorrentKey, end: Option<Waiting>) {
    if let Some(end) = end {
        let _ = end.send(Err(SessionError::Unknown(key)));
    }
}

/// Who waits may have gone.
fn tell_all(waiting: &mut Vec<Waiting>, trouble: Option<&Failure>) {
    for end in waiting.drain(..) {
        let _ = end.send(match trouble {
            Some(failure) => Err(SessionError::Failed(failure.clone())),
            None => Ok(()),
        });
    }
}

/// Our name: program and version (BEP 20), and random letters.
fn peer_id() -> [u8; 20] {
    let mut id = *b"-TK0100-000000000000";
    let random: [u8; 12] = rand::random();
    id[8..].copy_from_slice(&random);
    id
}

async fn resolve_peer(reactor: Reactor, key: TorrentKey, peer: String) {
    match tokio::net::lookup_host(&peer).await {
        Ok(addrs) => {
            let addrs: Vec<SocketAddr> = addrs.collect();
            let known = reactor.input(|session, now| {
                session.add_candidates(now, key, Source::User, &addrs);
                session.config().clone()
            });
            let may_dial =
                |a: &SocketAddr| if a.is_ipv4() { known.dials_v4 } else { known.dials_v6 };
            if !addrs.iter().any(may_dial) {
                tracing::warn!(%peer, "not dialled: it has no address of a family that is bound");
            }
        }
        Err(error) => tracing::warn!(%peer, %error, "cannot resolve the peer"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[tokio::test]
    async fn what_is_complete_during_a_flush_is_flushed_before_it_is_told() {
        let local = tokio::task::LocalSet::new();
        let folder = tempfile::tempdir().unwrap();
        local
            .run_until(async {
                let bind = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
                let options = Options { config: Config::default(), bind, dht: None };
                let (mut engine, _) = Engine::start(options).unwrap();
                let raw = wire::metainfo::build_info("a", &[(Vec::new(), 9)], 16_384, &[[7; 20]]);
                let add = Add::info(Info::parse(&raw).unwrap(), folder.path());
                let key = engine.add(prepare(add).unwrap()).unwrap();
                let (end, mut ended) = oneshot::channel();
                engine.flush(key, Some(end));
                engine.on_complete(key);
                assert!(!engine.on_flushed(key), "what was complete meanwhile is no part of it");
                assert!(matches!(ended.try_recv(), Ok(Ok(()))), "who came before");
                assert!(engine.added[&key].is_flushing);
                assert!(engine.on_flushed(key) && !engine.added[&key].is_flushing);
            })
            .await;
    }

    /// What is told of a journal, which must be soon.
    fn saved(root: &Path) -> Result<Info, DiskError> {
        let (tell, told) = mpsc::channel();
        let root = root.to_owned();
        std::thread::spawn(move || _ = tell.send(saved_info(&root, &wire::Id([7; 20]))));
        told.recv_timeout(Duration::from_secs(20)).expect("an answer")
    }

    #[test]
    fn what_is_put_in_a_journals_place_neither_stops_nor_fills_us() {
        let folder = tempfile::tempdir().unwrap();
        let path = storage::journal_path(&wire::Id([7; 20]))
            .iter()
            .fold(folder.path().to_owned(), |path, element| path.join(element));
        std::fs::create_dir(path.parent().unwrap()).unwrap();

        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(saved(folder.path()).unwrap_err().kind, DiskErrorKind::Conflict);

        std::fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(saved(folder.path()).unwrap_err().kind, DiskErrorKind::Denied);

        std::fs::remove_file(&path).unwrap();
        let sparse = std::fs::File::create(&path).unwrap();
        sparse.set_len(storage::Config::default().journal_bytes_max + 1).unwrap();
        let error = saved(folder.path()).unwrap_err();
        assert!(error.message.contains("at most 536870912 are read"), "{error}");
    }
}
