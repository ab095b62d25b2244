//! Saves a node's ids and contacts while it runs.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::command::Reply;
use super::error::DhtError;
use crate::Snapshot;
use crate::driver::StateFile;

/// The shortest time between two saves.
const SAVE_EVERY_MIN: Duration = Duration::from_millis(10);

/// Saves snapshots one after the other, and never on the node's time.
pub(super) struct Saver {
    file: StateFile,
    every: Duration,
    /// When to save; never, if that is further away than the clock goes.
    next: Option<Instant>,
    last: Option<JoinHandle<()>>,
}

impl Saver {
    pub(super) fn new(file: StateFile, every: Duration) -> Saver {
        let every = every.max(SAVE_EVERY_MIN);
        Saver { file, every, next: Instant::now().checked_add(every), last: None }
    }

    /// Saves because somebody asked for it.
    pub(super) fn save(&mut self, snapshot: Snapshot, end: Reply<Result<(), DhtError>>) {
        self.begin(snapshot, |saved| drop(end.send(saved)));
    }

    /// Saves because it is time, unless the disk has still to do with the last time.
    pub(super) fn save_again(&mut self, snapshot: Snapshot) {
        self.next = Instant::now().checked_add(self.every);
        if self.last.as_ref().is_none_or(JoinHandle::is_finished) {
            self.begin(snapshot, |saved| warn_unsaved(&saved));
        }
    }

    fn begin(
        &mut self,
        snapshot: Snapshot,
        then: impl FnOnce(Result<(), DhtError>) + Send + 'static,
    ) {
        let (file, before) = (self.file.clone(), self.last.take());
        let save = async move { then(save_after(before, file, snapshot).await) };
        self.last = Some(tokio::spawn(save));
    }

    pub(super) async fn save_last(self, snapshot: Snapshot) -> Result<(), DhtError> {
        save_after(self.last, self.file, snapshot).await
    }
}

async fn save_after(
    before: Option<JoinHandle<()>>,
    file: StateFile,
    snapshot: Snapshot,
) -> Result<(), DhtError> {
    if let Some(before) = before {
        let _ = before.await;
    }
    match spawn_blocking(move || file.save(&snapshot)).await {
        Ok(saved) => Ok(saved?),
        // The runtime ends.
        Err(_) => Err(DhtError::Stopped),
    }
}

/// Nobody else hears of it.
pub(super) fn warn_unsaved(saved: &Result<(), DhtError>) {
    if let Err(error) = saved {
        tracing::warn!(%error, "the DHT contacts are not saved");
    }
}

/// Waits until it is time to save.
pub(super) async fn due(saver: Option<&Saver>) {
    match saver.and_then(|saver| saver.next) {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}
