//! Group commit: what is written becomes certain, all at once.

use std::collections::{BTreeMap, BTreeSet};

use wire::time::Time;

use super::io::Pending;
use super::journal::{BlockSet, PieceSet, Record};
use super::lane::{Step as LaneStep, Then};
use super::open_files::Handle;
use super::{Phase, Storage, StorageEvent};
use crate::disk::{DiskError, DiskErrorKind, DiskOp, DiskResult, FileStat};
use crate::payload::Payload;

/// What an operation of a commit is for.
#[derive(Debug)]
pub(super) enum Step {
    Sync(Handle),
    Folder,
    Stat(usize),
}

/// A commit under way.
pub(super) struct Commit {
    pub(super) pieces: BTreeSet<u32>,
    /// Blocks of unfinished pieces.
    pub(super) parts: BTreeMap<u32, BTreeSet<u32>>,
    stats: BTreeMap<usize, FileStat>,
    in_flight: usize,
    /// It ends with a record that nothing is under way.
    pub(super) is_clean: bool,
    for_flush: bool,
}

impl<P: Payload> Storage<P> {
    pub(super) fn pump_commit(&mut self, now: Time) {
        if self.commit.is_some() || self.halted {
            return;
        }
        // Of a piece over many files some may be on their way, and the others wait for room.
        let is_crowded = self.dirty.len() >= self.open.max().div_ceil(2).max(1);
        if !self.has_uncommitted() && !is_crowded {
            return;
        }
        let interval = self.config.commit_interval();
        let is_old = self.uncommitted_since.is_some_and(|since| now.since(since) >= interval);
        let is_due = is_old || self.has_rewritten;
        let is_big = self.uncommitted_bytes >= self.config.commit_bytes || is_crowded;
        if is_due || is_big || (self.failed && self.writes_in_flight == 0) {
            self.begin_commit(false, false);
        }
    }

    pub(super) fn pump_flush(&mut self) {
        if !self.flush_wanted || self.commit.is_some() {
            return;
        }
        let is_begun = matches!(self.phase, Phase::Checking | Phase::Ready) && !self.seed;
        if !is_begun || self.halted {
            return self.set_flushed();
        }
        let is_lane_idle = self.is_lane_idle();
        let is_preparing = !self.prepare.is_idle() && !self.failed;
        if self.is_writing() || self.is_checking() || is_preparing || !is_lane_idle {
            return;
        }
        if self.clean && !self.has_uncommitted() && self.records.is_empty() {
            return self.set_flushed();
        }
        self.begin_commit(self.to_check.is_empty() && !self.failed, true);
    }

    fn set_flushed(&mut self) {
        self.flush_wanted = false;
        self.events.push_back(StorageEvent::Flushed);
        self.pump_checks();
        self.pump_jobs();
    }

    fn begin_commit(&mut self, is_clean: bool, for_flush: bool) {
        let pieces = std::mem::take(&mut self.uncommitted);
        let parts = std::mem::take(&mut self.uncommitted_parts);
        self.uncommitted_bytes = 0;
        self.uncommitted_since = None;
        self.has_rewritten = false;
        let dirty = std::mem::take(&mut self.dirty);
        let is_rest = |file: &&usize| for_flush && !dirty.contains_key(file);
        let to_stat: Vec<usize> = self.unsettled.iter().filter(is_rest).copied().collect();
        let mut in_flight = 0;
        for handle in dirty.into_values() {
            // Pinned since it was written to, so it is open.
            let Some(file) = self.open.id(handle) else { continue };
            // With its mtime, or the next start could not tell our writes from others'. Where blocks
            // are allocated, which is what a download does, fsync costs what fdatasync does.
            let path = self.plan.files[handle.file].path.clone();
            let op = DiskOp::SyncAll { file, path };
            self.io.submit(op, Pending::Commit(Step::Sync(handle)));
            in_flight += 1;
        }
        for path in std::mem::take(&mut self.folders) {
            self.io.submit(DiskOp::SyncFolder { path }, Pending::Commit(Step::Folder));
            in_flight += 1;
        }
        for index in to_stat {
            let path = self.plan.files[index].path.clone();
            self.io.submit(DiskOp::Stat { path }, Pending::Commit(Step::Stat(index)));
            in_flight += 1;
        }
        let stats = BTreeMap::new();
        self.commit = Some(Commit { pieces, parts, stats, in_flight, is_clean, for_flush });
        self.record_commit();
    }

    pub(super) fn on_commit(&mut self, now: Time, step: Step, result: DiskResult<P>) {
        let index = match step {
            Step::Sync(handle) => handle.file,
            Step::Stat(index) => index,
            Step::Folder => return self.go_on_commit(),
        };
        // What was only read when it was found may be written to by now.
        let is_written = matches!(step, Step::Sync(_)) && self.open.is_written(index);
        if let Step::Sync(handle) = step {
            self.open.unpin(&mut self.io, handle);
        }
        match result {
            DiskResult::Stat(Some(stat)) => {
                if !is_written && !self.failed && !self.is_as_left(index, stat) {
                    self.doubt(index, stat);
                } else {
                    self.stats[index] = Some(stat);
                    if let Some(commit) = &mut self.commit {
                        commit.stats.insert(index, stat);
                    }
                }
            }
            // Before the first write a file need not be there.
            _ => {
                if self.plan.pieces_of(index).any(|piece| self.have.get(piece)) {
                    let path = self.plan.files[index].path.join("/");
                    let message = format!("{path} was removed while it was in use");
                    let error = DiskError { kind: DiskErrorKind::NotFound, message };
                    return self.on_commit_failed(now, Step::Stat(index), error);
                }
            }
        }
        self.go_on_commit();
    }

    fn go_on_commit(&mut self) {
        if let Some(commit) = &mut self.commit {
            commit.in_flight -= 1;
            self.record_commit();
        }
    }

    /// Once all is on stable storage, the journal is told.
    fn record_commit(&mut self) {
        let (Some(commit), Some(lane)) = (&mut self.commit, &mut self.lane) else { return };
        if commit.in_flight > 0 {
            return;
        }
        let mut records = std::mem::take(&mut self.records);
        // Before what is kept in them: it is kept there, and not in the part file.
        records.extend(
            std::mem::take(&mut commit.stats)
                .into_iter()
                .map(|(index, stat)| Record::File { index: index as u32, stamp: stat.into() }),
        );
        let kept = PieceSet::all(commit.pieces.iter().copied());
        records.extend(kept.into_iter().map(Record::Kept));
        for (piece, blocks) in std::mem::take(&mut commit.parts) {
            let sets = BlockSet::all(blocks).into_iter();
            records.extend(sets.map(|blocks| Record::Part { piece, blocks }));
        }
        if commit.is_clean {
            records.push(Record::Clean);
        }
        lane.push([LaneStep::Append(records), LaneStep::Sync], Then::Committed);
    }

    pub(super) fn on_committed(&mut self, now: Time) {
        let Some(commit) = self.commit.take() else { return };
        if commit.is_clean {
            self.unsettled.clear();
            self.last_alive = None;
        }
        if !commit.pieces.is_empty() {
            let pieces = commit.pieces.into_iter().collect();
            self.events.push_back(StorageEvent::Kept { pieces });
        }
        if commit.for_flush && self.flush_wanted && !self.is_checking() {
            self.set_flushed();
        }
        self.pump_writes(now);
        self.pump_jobs();
        self.pump_commit(now);
        self.pump_flush();
    }

    /// A sync failed: nothing written since the last good one is certain, and reading it would only
    /// show what is in memory. All of it counts as missing.
    pub(super) fn on_commit_failed(&mut self, now: Time, step: Step, error: DiskError) {
        if let Step::Sync(handle) = step {
            self.open.unpin(&mut self.io, handle);
        }
        let already = self.halted;
        self.halt();
        if !already && let Some(lane) = &mut self.lane {
            let mut records = std::mem::take(&mut self.records);
            let mut lost = std::mem::take(&mut self.uncommitted);
            lost.extend(std::mem::take(&mut self.uncommitted_parts).into_keys());
            records.extend(PieceSet::all(lost).into_iter().map(Record::Lost));
            lane.push([LaneStep::Append(records), LaneStep::Sync], Then::Nothing);
            self.pump_lane(now);
        }
        self.fail(error);
    }

    /// Commits nothing more. What was not kept is told as lost.
    pub(super) fn halt(&mut self) {
        self.halted = true;
        self.uncommitted_since = None;
        if let Some(commit) = self.commit.take() {
            self.uncommitted.extend(commit.pieces);
            self.uncommitted_parts.extend(commit.parts);
        }
        let pieces: Vec<u32> = self.uncommitted.iter().copied().collect();
        for piece in &pieces {
            self.have.clear(*piece);
        }
        if !pieces.is_empty() && !self.failed {
            self.events.push_back(StorageEvent::Lost { pieces });
        }
    }
}
