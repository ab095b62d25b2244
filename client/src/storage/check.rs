//! Reading pieces to know whether they are right.

use wire::time::Time;

use super::jobs::{Run, Span, Work};
use super::journal::{PieceSet, Record};
use super::{Phase, Storage, StorageEvent};
use crate::disk::DiskResult;
use crate::payload::Payload;

impl<P: Payload> Storage<P> {
    pub(super) fn pump_checks(&mut self) {
        if self.phase != Phase::Checking || self.failed || self.flush_wanted {
            return;
        }
        while self.checks_in_flight < self.config.checks_in_flight_max
            && let Some(piece) = self.to_check.pop_front()
        {
            self.checks_in_flight += 1;
            let span = Span { piece, begin: 0, len: self.plan.piece_len(piece) };
            self.add_job(span, Work::Check(None));
        }
    }

    /// Some of a piece was read.
    pub(super) fn on_hashed(&mut self, now: Time, mut run: Run, result: DiskResult<P>) {
        match result {
            DiskResult::Digest(digest) => self.on_checked(now, run, Some(digest)),
            DiskResult::Hashed(state) => {
                // Right or wrong, these are synced before others are opened.
                self.hold_dirty(0, std::mem::take(&mut run.handles));
                self.go_on(&run, Work::Check(Some(state)));
            }
            _ => self.on_checked(now, run, None),
        }
    }

    /// A piece was read; None: a file ended too early.
    pub(super) fn on_checked(
        &mut self,
        now: Time,
        Run { span: Span { piece, .. }, handles, .. }: Run,
        digest: Option<[u8; 20]>,
    ) {
        self.checks_in_flight -= 1;
        let is_right = digest.is_some() && digest.as_ref() == self.piece_hashes.get(piece as usize);
        if self.seed {
            self.open.unpin_all(&mut self.io, handles);
            if is_right {
                self.have.set(piece);
            }
        } else if is_right {
            // It may be in memory only; its commit will tell.
            self.add_uncommitted(now, piece);
            self.hold_dirty(self.plan.real_len(piece), handles);
            self.parts.remove(&piece);
        } else {
            self.open.unpin_all(&mut self.io, handles);
            if !self.parts.contains_key(&piece) {
                self.records.extend(PieceSet::all([piece]).into_iter().map(Record::Lost));
            }
        }
        if self.failed {
            return;
        }
        self.check_progress.0 += 1;
        let (done, total) = self.check_progress;
        self.events.push_back(StorageEvent::CheckProgress { done, total });
        if done == total {
            self.on_known();
        }
    }
}
