//! The journal's one lane: its steps never overlap, so that its records stand in the order in which
//! they became true.

use std::collections::VecDeque;
use std::sync::Arc;

use wire::time::Time;

use super::io::Pending;
use super::jobs::Span;
use super::journal::{Record, Tail};
use super::{Phase, Storage, journal_path};
use crate::disk::{DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, RelPath};
use crate::payload::Payload;

/// One operation on the journal.
pub(super) enum Step {
    /// Cuts it at its tail.
    Cut,
    /// Writes a new one's header.
    Header,
    /// Writes records behind the last.
    Append(Vec<Record>),
    /// Asks for its mtime, and records that.
    Alive,
    /// Brings it to stable storage.
    Sync,
    /// Brings the names in a folder there.
    SyncFolder(RelPath),
}

/// What waits for the steps of a task.
pub(super) enum Then<P> {
    Nothing,
    /// These may be written.
    Write(Vec<(Span, Vec<P>)>),
    /// The commit is done.
    Committed,
}

/// Steps that belong together.
pub(super) struct Task<P> {
    pub(super) steps: VecDeque<Step>,
    pub(super) then: Then<P>,
}

/// The journal, open.
pub(super) struct Lane<P> {
    file: FileId,
    tail: Tail,
    /// Where the tail is once the step in flight is done.
    next_tail: Tail,
    tasks: VecDeque<Task<P>>,
    /// The step in flight.
    current: Option<Step>,
}

impl<P> Lane<P> {
    pub(super) fn new(file: FileId, tail: Tail) -> Lane<P> {
        Lane { file, tail, next_tail: tail, tasks: VecDeque::new(), current: None }
    }

    pub(super) fn push(&mut self, steps: impl IntoIterator<Item = Step>, then: Then<P>) {
        self.tasks.push_back(Task { steps: steps.into_iter().collect(), then });
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl<P: Payload> Storage<P> {
    /// Whether nothing is on its way to the journal.
    pub(super) fn is_lane_idle(&self) -> bool {
        self.lane.as_ref().is_none_or(|lane| lane.is_idle())
    }

    /// Begins the journal's next step.
    pub(super) fn pump_lane(&mut self, now: Time) {
        while let Some(lane) = &mut self.lane
            && lane.current.is_none()
            && let Some(task) = lane.tasks.front_mut()
        {
            let Some(step) = task.steps.pop_front() else {
                let then = lane.tasks.pop_front().map(|task| task.then);
                self.on_task_done(now, then.unwrap_or(Then::Nothing));
                continue;
            };
            let file = lane.file;
            let op = match &step {
                Step::Cut => DiskOp::SetLen { file, len: lane.tail.end },
                Step::Header => {
                    let (bytes, tail) = Tail::start(&self.info_hash, &self.raw_info);
                    lane.next_tail = tail;
                    DiskOp::Write { file, offset: 0, bytes }
                }
                Step::Append(records) => {
                    let (bytes, tail) = lane.tail.encode(records);
                    lane.next_tail = tail;
                    self.clean = records.last() == Some(&Record::Clean);
                    DiskOp::Write { file, offset: lane.tail.end, bytes }
                }
                Step::Alive => DiskOp::Stat { path: journal_path(&self.info_hash) },
                Step::Sync => DiskOp::SyncData { file },
                Step::SyncFolder(path) => DiskOp::SyncFolder { path: path.clone() },
            };
            lane.current = Some(step);
            self.io.submit(op, Pending::Journal);
        }
    }

    pub(super) fn on_journal(&mut self, now: Time, result: DiskResult<P>) {
        let Some(lane) = &mut self.lane else { return };
        match lane.current.take() {
            Some(Step::Append(_)) => lane.tail = lane.next_tail,
            Some(Step::Header) => {
                lane.tail = lane.next_tail;
                self.raw_info = Arc::default();
            }
            Some(Step::Alive) => {
                let DiskResult::Stat(Some(stat)) = result else {
                    let message = "the journal was removed while it was in use".to_owned();
                    return self
                        .on_journal_failed(DiskError { kind: DiskErrorKind::NotFound, message });
                };
                self.last_alive = Some(now);
                if let Some(task) = lane.tasks.front_mut() {
                    let record = Record::Alive { mtime_ns: stat.mtime_ns };
                    task.steps.push_front(Step::Append(vec![record]));
                }
            }
            Some(Step::Cut | Step::Sync | Step::SyncFolder(_)) | None => {}
        }
        self.pump_lane(now);
    }

    /// Without its journal a storage can keep nothing more.
    pub(super) fn on_journal_failed(&mut self, error: DiskError) {
        if let Some(lane) = &mut self.lane {
            lane.current = None;
            for task in std::mem::take(&mut lane.tasks) {
                if let Then::Write(writes) = task.then {
                    self.drop_writes(writes);
                }
            }
        }
        self.halt();
        self.fail(error);
    }

    /// These will not be written.
    pub(super) fn drop_writes(&mut self, writes: Vec<(Span, Vec<P>)>) {
        for (span, _) in writes {
            self.unwritten.remove(&span.piece);
        }
    }

    fn on_task_done(&mut self, now: Time, then: Then<P>) {
        match then {
            Then::Nothing => {}
            Then::Write(writes) => {
                if !self.failed && self.phase == Phase::Ready {
                    self.to_write.extend(writes);
                    self.pump_writes(now);
                    self.pump_jobs();
                } else {
                    self.drop_writes(writes);
                }
            }
            Then::Committed => self.on_committed(now),
        }
    }
}
