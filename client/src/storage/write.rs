//! Pieces on their way to the files.

use wire::time::Time;

use super::journal::{PieceSet, Record};
use super::lane::{Step, Then};
use super::open_files::Handle;
use super::{Phase, Storage, StorageEvent};
use crate::payload::Payload;

impl<P: Payload> Storage<P> {
    pub(super) fn pump_writes(&mut self, now: Time) {
        if self.phase != Phase::Ready || self.failed {
            return;
        }
        self.record_dirty(now);
        while self.writes_in_flight < self.config.writes_in_flight_max
            && let Some((piece, blocks)) = self.to_write.pop_front()
        {
            self.writes_in_flight += 1;
            self.add_job(piece, Some(blocks));
        }
    }

    /// Tells the journal which pieces will be written; they wait for that.
    fn record_dirty(&mut self, now: Time) {
        if self.to_record.is_empty() {
            return;
        }
        if self.prepare.is_new() {
            self.begin_prepare();
        }
        // Nothing is written while a commit says that nothing is under way.
        let is_closing = self.commit.as_ref().is_some_and(|commit| commit.is_clean);
        let Some(lane) = self.lane.as_mut().filter(|lane| lane.is_idle()) else { return };
        if !self.prepare.is_done() || is_closing {
            return;
        }
        let mut pieces = std::mem::take(&mut self.to_record);
        pieces.sort_by_key(|(piece, _)| *piece);
        let mut records = std::mem::take(&mut self.records);
        let sets = PieceSet::all(pieces.iter().map(|(piece, _)| *piece));
        records.extend(sets.into_iter().map(Record::Dirty));
        let mut steps = vec![Step::Append(records)];
        let interval = self.config.alive_interval();
        if self.last_alive.is_none_or(|last| now.since(last) >= interval) {
            // On stable storage before the files change, so that a later start knows that they
            // may have.
            steps.extend([Step::Alive, Step::Sync]);
        }
        lane.push(steps, Then::Write(pieces));
    }

    pub(super) fn on_written(&mut self, now: Time, piece: u32, handles: Vec<Handle>) {
        self.writes_in_flight -= 1;
        self.unwritten.remove(&piece);
        self.add_uncommitted(now, piece, handles);
        if !self.failed {
            self.events.push_back(StorageEvent::Written { piece });
        }
    }

    /// Whether pieces are on their way to the files.
    pub(super) fn is_writing(&self) -> bool {
        !self.unwritten.is_empty() || self.writes_in_flight > 0
    }
}
