//! Torrents whose files get other places while the session runs: paused for as long as it takes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, spawn_local};
use wire::metainfo::Info;

use super::dormant::Known;
use super::{Engine, Waiting, unknown};
use crate::TorrentKey;
use crate::disk::{DiskError, DiskErrorKind};
use crate::driver::disk::{self, RelocateError, WarmPages};
use crate::driver::handle::SessionError;

/// What is to change.
pub(in crate::driver) enum Change {
    /// The folder that all of it lies beneath.
    Root(PathBuf),
    /// One file's path.
    Name { file: u32, path: String },
}

/// The new root, if that is what changed.
type Changed = Result<Option<PathBuf>, SessionError>;

/// The torrents whose files are on their way.
#[derive(Default)]
pub(super) struct Relocating {
    torrents: BTreeMap<TorrentKey, Running>,
    done: Rc<RefCell<Vec<(TorrentKey, Changed)>>>,
    /// The session ends, and so do they.
    stop: Arc<AtomicBool>,
}

struct Running {
    /// None: it is under way.
    change: Option<Change>,
    end: Waiting,
}

impl Relocating {
    /// Undoes all that is under way.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.torrents.is_empty()
    }
}

impl Engine {
    /// Pauses a torrent, changes where its files are, and lets it go on if it was not paused; tells
    /// `end` then.
    pub(in crate::driver) fn relocate(&mut self, key: TorrentKey, change: Change, end: Waiting) {
        let staying = self.added.get_mut(&key).filter(|added| added.removing.is_empty());
        let Some(added) = staying else { return unknown(key, Some(end)) };
        let refused = match &change {
            _ if self.relocating.torrents.contains_key(&key) => Some(SessionError::Busy(key)),
            Change::Name { .. } if matches!(added.info, Known::No) => {
                Some(SessionError::NoInfo(key))
            }
            _ => None,
        };
        if let Some(error) = refused {
            let _ = end.send(Err(error));
            return;
        }
        // As if somebody had asked at once that it goes on; a pause from now on overtakes that.
        let mut resuming = std::mem::take(&mut added.resuming);
        if !added.is_stopped {
            resuming.push(oneshot::channel().0);
        }
        self.relocating.torrents.insert(key, Running { change: Some(change), end });
        self.pause(key, None);
        if let Some(added) = self.added.get_mut(&key) {
            added.resuming = resuming;
        }
    }

    /// Whether a torrent has to stay paused because its files are on their way, or will be now that it
    /// is paused.
    pub(super) fn is_relocating(&mut self, key: TorrentKey) -> bool {
        let is_paused = self.is_paused(key);
        let running = self.relocating.torrents.get_mut(&key);
        let (Some(running), Some(added)) = (running, self.added.get(&key)) else { return false };
        if is_paused && let Some(change) = running.change.take() {
            let (root, info) = (added.root.clone(), added.info.clone());
            let info_hash = self.info_hash(key).unwrap_or_default();
            let (done, stop) = (self.relocating.done.clone(), self.relocating.stop.clone());
            let wake = self.reactor.event_wake.clone();
            spawn_local(async move {
                let changed = spawn_blocking(move || {
                    let info = info.read(&root, &info_hash).map_err(SessionError::Disk)?;
                    run(change, &root, info.as_deref(), &stop)
                });
                let changed = changed.await.unwrap_or_else(|error| {
                    let message = format!("the thread that moved the files ended: {error}");
                    let kind = DiskErrorKind::Other;
                    Err(SessionError::Disk(DiskError { kind, message }))
                });
                done.borrow_mut().push((key, changed));
                wake.notify_one();
            });
        }
        true
    }

    /// Goes on with the torrents whose files have arrived.
    pub(super) fn end_relocations(&mut self) {
        let done = std::mem::take(&mut *self.relocating.done.borrow_mut());
        for (key, changed) in done {
            let Some(running) = self.relocating.torrents.remove(&key) else { continue };
            // Its files will be open under the same names, and be others.
            self.reactor.shared.borrow_mut().pages = WarmPages::default();
            let added = self.added.get_mut(&key);
            let is_leaving = added.as_ref().is_some_and(|added| !added.removing.is_empty());
            let result = changed.map(|root| {
                if let (Some(added), Some(root)) = (added, root) {
                    added.root = root;
                }
            });
            if is_leaving {
                self.reactor.input(|session, now| session.remove_torrent(now, key));
            } else {
                self.on_paused(key);
            }
            let _ = running.end.send(result);
        }
    }
}

/// May block.
fn run(change: Change, root: &Path, info: Option<&Info>, stop: &AtomicBool) -> Changed {
    let changed = match (change, info) {
        (Change::Root(new), info) => {
            std::fs::create_dir_all(&new)
                .map_err(|error| SessionError::Disk(disk::error_at(&new, &error)))?;
            // Of a torrent whose info dict is not known there is nothing to move.
            let moved =
                info.map_or(Ok(()), |info| disk::move_storage(root, new.clone(), info, stop));
            moved.map(|()| Some(new))
        }
        (Change::Name { file, path }, Some(info)) => {
            disk::rename_file(root, info, file, &path, stop).map(|()| None)
        }
        (Change::Name { .. }, None) => Ok(None),
    };
    changed.map_err(|error| match error {
        RelocateError::Disk(error) => SessionError::Disk(error),
        RelocateError::Name(error) => SessionError::Name(error),
    })
}
