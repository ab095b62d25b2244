//! What waits for its files to be open.

use super::Storage;
use super::io::Pending;
use super::open_files::Handle;
use crate::disk::{DiskOp, HashState, PathExtent};
use crate::payload::Payload;

/// A run of bytes in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) piece: u32,
    /// First byte in the piece.
    pub(super) begin: u32,
    /// Bytes.
    pub(super) len: u32,
}

/// What of a span is worked on: all of it, or as much as lies in so many files as may be open.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) span: Span,
    /// Bytes of the span that are done.
    pub(super) done: u32,
    /// Bytes behind them that are next; none until their files are open or being opened.
    pub(super) len: u32,
    pub(super) handles: Vec<Handle>,
}

impl Run {
    /// Nothing of a span is done.
    pub(super) fn new(span: Span) -> Run {
        Run { span, done: 0, len: 0, handles: Vec::new() }
    }

    /// Whether nothing of the span is left behind it.
    pub(super) fn is_last(&self) -> bool {
        self.done + self.len >= self.span.len
    }
}

/// What is to be done with a span.
pub(super) enum Work<P: Payload> {
    /// These are its bytes.
    Write(Vec<P>),
    /// It is a whole piece, to be hashed; the hash of what is done.
    Check(Option<HashState<P>>),
    /// It is part of an unfinished piece, and wanted back.
    Read,
}

/// Work on a span.
pub(super) struct Job<P: Payload> {
    pub(super) run: Run,
    pub(super) work: Work<P>,
}

impl<P: Payload> Storage<P> {
    pub(super) fn add_job(&mut self, span: Span, work: Work<P>) {
        let run = Run::new(span);
        if matches!(work, Work::Read) && self.file_count(span) > self.open.run_max() {
            let extents = self.path_extents(span);
            self.io.submit(DiskOp::ReadPaths { extents }, Pending::Read(run));
        } else {
            self.jobs.push_back(Job { run, work });
        }
    }

    /// A run is done, and the rest of its span is next.
    pub(super) fn go_on(&mut self, run: &Run, work: Work<P>) {
        let job = Job { run: Run { done: run.done + run.len, ..Run::new(run.span) }, work };
        if self.failed {
            self.drop_job(job);
        } else {
            self.jobs.push_front(job);
        }
    }

    /// A job will not be done, or done no further.
    pub(super) fn drop_job(&mut self, job: Job<P>) {
        match job.work {
            Work::Write(_) => {
                self.writes_in_flight -= 1;
                self.unwritten.remove(&job.run.span.piece);
            }
            Work::Check(_) => self.checks_in_flight -= 1,
            Work::Read => {}
        }
        self.open.unpin_all(&mut self.io, job.run.handles);
    }

    /// Whether a job writes to its files.
    fn writes(&self, job: &Job<P>) -> bool {
        match job.work {
            Work::Write(_) => true,
            Work::Check(_) => self.rewriting.contains(&job.run.span.piece),
            Work::Read => false,
        }
    }

    /// Issues the jobs whose files are all open.
    pub(super) fn pump_jobs(&mut self) {
        let mut has_room = true;
        for mut job in std::mem::take(&mut self.jobs) {
            has_room = has_room && (job.run.len > 0 || self.begin_run(&mut job));
            let is_write = self.writes(&job);
            let Span { piece, begin, .. } = job.run.span;
            let (begin, len) = (begin + job.run.done, job.run.len);
            let extents = match len {
                0 => None,
                _ => self.open.extents(&self.plan, piece, begin, len, is_write),
            };
            let Some(extents) = extents else {
                self.jobs.push_back(job);
                continue;
            };
            let Job { run, work } = job;
            if is_write {
                self.unsettled.extend(run.handles.iter().map(|handle| handle.file));
            }
            let (op, pending) = match work {
                Work::Write(blocks) => {
                    let skip = u64::from(run.done);
                    (DiskOp::WriteBlocks { extents, blocks, skip }, Pending::Write(run))
                }
                Work::Check(after) => {
                    let finish = run.is_last();
                    let op = DiskOp::HashExtents { extents, after, finish, rewrite: is_write };
                    (op, Pending::Hash(run))
                }
                Work::Read => (DiskOp::ReadBlock { extents }, Pending::Read(run)),
            };
            self.io.submit(op, pending);
        }
    }

    /// Pins the files of a job's next run, if there is room for them among those that are pinned:
    /// what was written to waits for its commit, which comes when there is no room.
    fn begin_run(&mut self, job: &mut Job<P>) -> bool {
        let Span { piece, begin, len } = job.run.span;
        let (begin, left) = (begin + job.run.done, len - job.run.done);
        let is_write = self.writes(job);
        let (mut files, mut run_len) = (Vec::new(), 0);
        for (file, _, len) in self.plan.extents(piece, begin, left) {
            if self.plan.is_real(file) {
                if files.len() >= self.open.run_max() {
                    break;
                }
                files.push(file);
            }
            run_len += len;
        }
        if !self.open.has_room(&files, is_write) {
            return false;
        }
        // At most what is left.
        job.run.len = run_len as u32;
        let pin = |file| self.open.pin(&mut self.io, &self.plan, file, is_write);
        job.run.handles = files.into_iter().map(pin).collect();
        true
    }

    /// The files that a span lies in.
    pub(super) fn file_count(&self, Span { piece, begin, len }: Span) -> usize {
        self.plan.extents(piece, begin, len).filter(|(file, ..)| self.plan.is_real(*file)).count()
    }

    /// Where a span lies, by name.
    pub(super) fn path_extents(&self, Span { piece, begin, len }: Span) -> Vec<PathExtent> {
        let extents = self.plan.extents(piece, begin, len);
        let named = |(file, offset, len)| {
            let file = self.plan.files.get(file).filter(|_| self.plan.is_real(file));
            PathExtent { path: file.map(|file| file.path.clone()), offset, len }
        };
        extents.map(named).collect()
    }
}
