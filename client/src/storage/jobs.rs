//! What waits for its files to be open.

use super::Storage;
use super::io::Pending;
use super::open_files::Handle;
use crate::disk::DiskOp;
use crate::payload::Payload;

/// A run of bytes in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) piece: u32,
    /// First byte in the piece.
    pub(super) begin: u32,
    /// Bytes.
    pub(super) len: u32,
}

/// What is to be done with a span.
pub(super) enum Work<P> {
    /// These are its bytes.
    Write(Vec<P>),
    /// It is a whole piece, to be hashed.
    Check,
    /// It is part of an unfinished piece, and wanted back.
    Read,
}

/// Work on a span.
pub(super) struct Job<P> {
    pub(super) span: Span,
    pub(super) handles: Vec<Handle>,
    pub(super) work: Work<P>,
}

impl<P: Payload> Storage<P> {
    pub(super) fn add_job(&mut self, span: Span, work: Work<P>) {
        let is_write = matches!(work, Work::Write(_));
        let Span { piece, begin, len } = span;
        let extents = self.plan.extents(piece, begin, len);
        let files: Vec<usize> =
            extents.map(|(file, ..)| file).filter(|file| self.plan.is_real(*file)).collect();
        let handles = files
            .into_iter()
            .map(|file| self.open.pin(&mut self.io, &self.plan, file, is_write))
            .collect();
        self.jobs.push(Job { span, handles, work });
    }

    /// Issues the jobs whose files are all open.
    pub(super) fn pump_jobs(&mut self) {
        let mut waiting = Vec::new();
        for job in std::mem::take(&mut self.jobs) {
            let Span { piece, begin, len } = job.span;
            let is_write = matches!(job.work, Work::Write(_));
            let Some(extents) = self.open.extents(&self.plan, piece, begin, len, is_write) else {
                waiting.push(job);
                continue;
            };
            let Job { span, handles, work } = job;
            let (op, pending) = match work {
                Work::Write(blocks) => {
                    self.unsettled.extend(handles.iter().map(|handle| handle.file));
                    (DiskOp::WriteBlocks { extents, blocks }, Pending::Write { span, handles })
                }
                Work::Check => (DiskOp::HashExtents { extents }, Pending::Hash { piece, handles }),
                Work::Read => (DiskOp::ReadBlock { extents }, Pending::Read { span, handles }),
            };
            self.io.submit(op, pending);
        }
        self.jobs = waiting;
    }
}
