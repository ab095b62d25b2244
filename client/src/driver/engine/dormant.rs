//! Info dicts that are let go, and read again when they are wanted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use wire::InfoHash;
use wire::metainfo::Info;

use super::{Engine, saved_info};
use crate::TorrentKey;
use crate::disk::{DiskError, DiskErrorKind};
use crate::driver::SessionError;
use crate::torrent::Failure;

/// Wait until a folder or a journal is opened that there is no file descriptor for.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a journal is tried again.
const LOADS_MAX: usize = 30;

/// What is known of a torrent's info dict.
#[derive(Clone)]
pub(super) enum Known {
    /// Nothing yet.
    No,
    /// All of it.
    Held(Arc<Info>),
    /// It stands in the journal.
    Saved,
}

impl Known {
    /// The info dict, from the journal beneath `root` if need be; None if it is not known. It may block.
    pub(super) fn read(
        self,
        root: &Path,
        info_hash: &InfoHash,
    ) -> Result<Option<Arc<Info>>, DiskError> {
        match self {
            Known::No => Ok(None),
            Known::Held(info) => Ok(Some(info)),
            Known::Saved => saved_info(root, info_hash).map(|info| Some(Arc::new(info))),
        }
    }
}

/// Who waits for an info dict.
pub(super) type WaitsForInfo = oneshot::Sender<Result<Option<Arc<Info>>, SessionError>>;

/// An info dict that was read, or why it was not.
pub(in crate::driver) type Loaded = (TorrentKey, Result<Arc<Info>, DiskError>);

impl Engine {
    /// Nobody wants anything of a torrent: its folder is closed, and its info dict let go if it stands
    /// in the journal.
    pub(super) fn on_dormant(&mut self, key: TorrentKey) {
        self.reactor.shared.borrow_mut().disk.remove_root(key);
        if let Some(added) = self.added.get_mut(&key).filter(|added| !added.seed) {
            added.info = Known::Saved;
        }
    }

    /// Somebody who is connected waits for a torrent.
    pub(super) fn wake(&mut self, key: TorrentKey) {
        self.starts.push_waking(key);
        self.start_next();
    }

    /// A torrent's turn to begin is over.
    pub(super) fn on_begun(&mut self, key: TorrentKey) {
        self.starts.end(key);
        self.start_next();
    }

    /// Gives `end` the info dict of a torrent; None while it is not known.
    pub(in crate::driver) fn info(&mut self, key: TorrentKey, end: WaitsForInfo) {
        // Who asked may be gone by now.
        let _ = match self.added.get_mut(&key) {
            None => end.send(Err(SessionError::Unknown(key))),
            Some(added) => match &added.info {
                Known::No => end.send(Ok(None)),
                Known::Held(info) => end.send(Ok(Some(info.clone()))),
                Known::Saved => {
                    added.asking.push(end);
                    return self.load(key);
                }
            },
        };
    }

    /// Reads an info dict from its journal; [`Engine::on_loaded`] is told.
    pub(super) fn load(&mut self, key: TorrentKey) {
        let Some(added) = self.added.get_mut(&key) else { return };
        if std::mem::replace(&mut added.is_loading, true) {
            return;
        }
        let root = added.root.clone();
        let Some(info_hash) = self.info_hash(key) else { return };
        self.loading.spawn_blocking(move || {
            let mut more = 0..LOADS_MAX;
            loop {
                match saved_info(&root, &info_hash) {
                    Err(error)
                        if error.kind == DiskErrorKind::OutOfFiles && more.next().is_some() =>
                    {
                        std::thread::sleep(PAUSE);
                    }
                    loaded => return (key, loaded.map(Arc::new)),
                }
            }
        });
    }

    /// There is no file descriptor for a torrent's folder: it begins a little later.
    pub(super) fn put_off(&mut self, key: TorrentKey, info: Arc<Info>) {
        self.loading.spawn(async move {
            tokio::time::sleep(PAUSE).await;
            (key, Ok(info))
        });
    }

    /// An info dict was read.
    pub(in crate::driver) fn on_loaded(
        &mut self,
        key: TorrentKey,
        info: Result<Arc<Info>, DiskError>,
    ) {
        let Some(added) = self.added.get_mut(&key) else { return };
        added.is_loading = false;
        for end in added.asking.drain(..) {
            let _ = end.send(info.clone().map(Some).map_err(SessionError::Disk));
        }
        if !self.starts.is_going(key) {
            return;
        }
        match info {
            Ok(info) => {
                added.info = Known::Held(info);
                self.start_files(key);
            }
            Err(error) => {
                let failure = Failure::Disk(error);
                self.reactor.input(|session, now| session.give_up(now, key, failure));
            }
        }
    }
}
