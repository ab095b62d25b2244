//! The end of a torrent's work, for now or for good.

use wire::time::Time;

use super::{Failure, Torrent, TorrentEvent};
use crate::metadata::MetadataFetch;
use crate::payload::Payload;
use crate::{Close, ConnId};

/// The files of a torrent that is paused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// In use, or not known yet.
    Open,
    Closing,
    Closed,
}

impl<P: Payload> Torrent<P> {
    /// Ends all connections, brings all that is there to stable storage and closes the files;
    /// [`TorrentEvent::Paused`] tells when.
    pub fn pause(&mut self, now: Time) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.close_all(now);
        self.flush(now);
        if self.content.is_none() {
            self.files = Files::Closing;
            self.tell_paused();
        }
    }

    /// Goes on after [`TorrentEvent::Paused`] as if it had just been added: [`Torrent::set_info`] is
    /// to be called again, if the info dict is known. False if it is not paused.
    pub fn resume(&mut self, now: Time) -> bool {
        if !self.is_paused() {
            return false;
        }
        self.stopping = false;
        self.files = Files::Open;
        self.failure = None;
        self.content = None;
        self.dormant = None;
        self.candidates.need_again();
        self.metadata = MetadataFetch::new(self.info_hash, &self.config);
        self.next_tick = now;
        self.relieved_at = now;
        self.hurry_discovery(now);
        true
    }

    /// Whether it is paused, and its files are closed.
    pub fn is_paused(&self) -> bool {
        self.files == Files::Closed
    }

    /// It cannot go on, for a reason that others found.
    pub fn give_up(&mut self, now: Time, failure: Failure) {
        self.fail(now, failure);
        self.tell_flushes();
    }

    pub(super) fn close_all(&mut self, now: Time) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            self.close(now, conn, Close::Stopped);
        }
    }

    /// All that was written has reached stable storage, or will never do so.
    pub(super) fn on_flushed(&mut self, now: Time) {
        self.events.push_back(TorrentEvent::Flushed);
        self.rest(now);
        let closes = self.stopping && self.files == Files::Open;
        let Some(content) = self.content.as_mut().filter(|_| closes) else { return };
        if self.failure.is_none() && !content.storage.is_settled() {
            // That was a flush from before, and pieces were written since.
            return content.storage.flush(now);
        }
        content.storage.close();
        self.files = Files::Closing;
        self.drop_jobs();
    }

    /// Nothing waits for hash threads and disk any more: of what is with them nothing is made.
    pub(super) fn drop_jobs(&mut self) {
        self.jobs.clear();
        self.autopsies.clear();
        self.writing.clear();
        self.queued_blocks = 0;
    }

    /// Tells of the pause once the last file is closed.
    pub(super) fn tell_paused(&mut self) {
        if self.files == Files::Closing && self.ops_in_flight == 0 {
            self.files = Files::Closed;
            self.events.push_back(TorrentEvent::Paused);
        }
    }
}
