//! Reading pieces to know whether they are right.

use wire::time::Time;

use super::jobs::{Run, Span, Work};
use super::journal::{PieceSet, Record};
use super::{Phase, Storage, StorageEvent};
use crate::disk::{DiskError, DiskErrorKind, DiskResult, FileStat};
use crate::payload::Payload;

impl<P: Payload> Storage<P> {
    pub(super) fn pump_checks(&mut self) {
        let is_due = match self.phase {
            Phase::Checking => !self.flush_wanted,
            phase => phase == Phase::Ready,
        };
        // A later start is to know that the files may have changed.
        let is_told = self.to_rewrite.is_empty() || self.is_lane_idle();
        if !is_due || self.failed || !is_told {
            return;
        }
        while self.checks_in_flight < self.config.checks_in_flight_max
            && let Some(piece) = self.to_check.pop_front()
        {
            self.checks_in_flight += 1;
            self.add_check(piece);
        }
    }

    fn add_check(&mut self, piece: u32) {
        let span = Span { piece, begin: 0, len: self.plan.piece_len(piece) };
        self.add_job(span, Work::Check(None));
    }

    /// Some of a piece was read.
    pub(super) fn on_hashed(&mut self, now: Time, mut run: Run, result: DiskResult<P>) {
        match result {
            DiskResult::Digest(digest) => self.on_checked(now, run, Some(digest)),
            DiskResult::Hashed(state) => {
                let handles = std::mem::take(&mut run.handles);
                match self.seed {
                    true => self.open.unpin_all(&mut self.io, handles),
                    // Right or wrong, these are synced before others are opened.
                    false => self.hold_dirty(0, handles),
                }
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
        let is_right = digest.is_some() && digest.as_ref() == self.piece_hashes.get(piece as usize);
        if self.to_rewrite.remove(&piece) && is_right && !self.failed {
            // Wrong ones are not written to: what was never there would take room.
            self.open.unpin_all(&mut self.io, handles);
            self.rewriting.insert(piece);
            return self.add_check(piece);
        }
        self.checks_in_flight -= 1;
        let was_rewritten = self.rewriting.remove(&piece);
        if self.phase == Phase::Ready {
            self.open.unpin_all(&mut self.io, handles);
            if !is_right && !self.failed {
                self.on_changed(piece);
            }
            return;
        }
        if self.seed {
            self.open.unpin_all(&mut self.io, handles);
            if is_right {
                self.have.set(piece);
            }
        } else if is_right {
            // It may be in memory only; its commit will tell.
            self.add_uncommitted(now, piece);
            self.has_rewritten |= was_rewritten;
            self.hold_dirty(self.plan.real_len(piece), handles);
            self.parts.remove(&piece);
        } else {
            match was_rewritten {
                true => self.hold_dirty(0, handles),
                false => self.open.unpin_all(&mut self.io, handles),
            }
            self.forget_piece(piece);
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

    /// Whether a file is as we left it, or found it.
    pub(super) fn is_as_left(&self, file: usize, stat: FileStat) -> bool {
        self.stats.get(file).copied().flatten().is_none_or(|last| last == stat)
    }

    /// Others have changed a file since it was closed: what is there of it is read again.
    pub(super) fn doubt(&mut self, file: usize, stat: FileStat) {
        self.stats[file] = Some(stat);
        self.unsettled.insert(file);
        let there = self.plan.pieces_of(file).filter(|piece| self.have.get(*piece));
        let before = self.to_check.len();
        self.to_check.extend(there);
        if self.phase == Phase::Checking {
            self.check_progress.1 += (self.to_check.len() - before) as u32;
        }
        if let Some(commit) = &mut self.commit {
            commit.is_clean = false;
        }
    }

    /// Whether pieces that were there are being read again, or are still being checked.
    pub(super) fn is_checking(&self) -> bool {
        self.checks_in_flight > 0
            || (self.phase == Phase::Ready && !self.failed && !self.to_check.is_empty())
    }

    /// A piece that was there is not any more.
    fn on_changed(&mut self, piece: u32) {
        self.forget_piece(piece);
        self.records.extend(PieceSet::all([piece]).into_iter().map(Record::Lost));
        self.events.push_back(StorageEvent::Lost { pieces: vec![piece] });
        let mut files = self.plan.real_extents(piece);
        let file = files.next().and_then(|(file, ..)| self.plan.files.get(file));
        let path = file.map(|file| file.path.join("/")).unwrap_or_default();
        let message = format!(
            "{path} was changed by another torrent or program while it was in use; \
             choose another folder for one of the two"
        );
        drop(files);
        self.fail(DiskError { kind: DiskErrorKind::Conflict, message });
    }

    fn forget_piece(&mut self, piece: u32) {
        self.have.clear(piece);
        self.uncommitted.remove(&piece);
        if let Some(commit) = &mut self.commit {
            commit.pieces.remove(&piece);
        }
    }
}
