//! Blocks to upload: who waits for one, and in which order their files are opened.
//!
//! A block can be read once all its files are open. Those that are not there yet stand in one line, one
//! for each reader, in the order in which they asked. The first of the line, and those behind it as far as
//! there is room, have their files held open; once all of a block's files are open its reader is told, and
//! they stay so until it has read, or let `read_hold_ms` pass while others wait. So nobody waits longer than
//! those before him take to have their files opened, and so long each.

use std::collections::VecDeque;

use wire::time::Time;

use super::io::Pending;
use super::jobs::Span;
use super::open_files::Handle;
use super::{BlockBytes, Phase, Storage, StorageEvent};
use crate::ConnId;
use crate::disk::{DiskOp, DiskResult};
use crate::payload::Payload;

/// The line.
pub(super) struct Reads<P> {
    line: VecDeque<Waiting<P>>,
    /// Blocks in more files than may be open that are being read.
    spread_in_flight: usize,
}

struct Waiting<P> {
    reader: ConnId,
    span: Span,
    files: Vec<usize>,
    /// Its turn came: its files are being opened, or it is being read.
    is_begun: bool,
    /// Held open for it.
    handles: Vec<Handle>,
    /// Of a block in more files than may be open, its bytes.
    block: Option<P>,
    /// When its reader was told, or left.
    told_at: Option<Time>,
}

impl<P> Waiting<P> {
    fn new(reader: ConnId, span: Span, files: Vec<usize>) -> Waiting<P> {
        let (is_begun, handles, block, told_at) = (false, Vec::new(), None, None);
        Waiting { reader, span, files, is_begun, handles, block, told_at }
    }
}

impl<P> Default for Reads<P> {
    fn default() -> Reads<P> {
        Reads { line: VecDeque::new(), spread_in_flight: 0 }
    }
}

impl<P: Payload> Storage<P> {
    /// Where a block lies, if its files are open, or the block, if it was read. None: `reader` stands in
    /// line for it, and [`StorageEvent::Readable`] tells when to ask again; or the block is not there at
    /// all. Who asks for another block instead goes to the end of the line.
    ///
    /// The files stay open at least until the next call of a `&mut` method. Padding is among the
    /// extents as [`FileId::ZEROS`](crate::disk::FileId::ZEROS).
    pub fn read_block(
        &mut self,
        now: Time,
        reader: ConnId,
        piece: u32,
        begin: u32,
        len: u32,
    ) -> Option<BlockBytes<P>> {
        let there = self.phase == Phase::Ready && self.have.get(piece);
        if !there || self.failed || !self.plan.is_inside(piece, begin, len) {
            return None;
        }
        let span = Span { piece, begin, len };
        let files = self.plan.extents(piece, begin, len).map(|(file, ..)| file);
        let files: Vec<usize> = files.filter(|file| self.plan.is_real(*file)).collect();
        let mut bytes = None;
        if files.len() <= self.open.max()
            && let Some(extents) = self.open.extents(&self.plan, piece, begin, len, false)
        {
            files.iter().for_each(|file| self.open.touch(*file));
            bytes = Some(BlockBytes::Extents(extents));
        }
        let line = &mut self.reads.line;
        let at = line.iter().position(|waiting| waiting.reader == reader);
        if let Some(waiting) = at.and_then(|at| line.get_mut(at)).filter(|w| w.span == span) {
            bytes = bytes.or_else(|| waiting.block.take().map(BlockBytes::Payload));
            bytes.as_ref()?;
        }
        if let Some(waiting) = at.and_then(|at| self.reads.line.remove(at)) {
            self.open.release_all(waiting.handles);
        }
        if bytes.is_some() {
            self.serve_line(now, &files);
        } else {
            self.reads.line.push_back(Waiting::new(reader, span, files));
            self.serve_line(now, &[]);
        }
        bytes
    }

    /// A reader is gone; whoever is behind it in line is served when [`Storage::poll_timeout`] says.
    pub fn forget_reader(&mut self, reader: ConnId) {
        let waiting = self.reads.line.iter_mut().find(|waiting| waiting.reader == reader);
        if let Some(waiting) = waiting {
            waiting.is_begun = true;
            waiting.told_at = Some(Time::ZERO);
        }
    }

    pub(super) fn pump_reads(&mut self, now: Time) {
        if !self.reads.line.is_empty() {
            self.serve_line(now, &[]);
        }
    }

    /// Begins what there is room for, in order, and tells whose block can be read. `keep` stays open.
    fn serve_line(&mut self, now: Time, keep: &[usize]) {
        while let Some(due) = self.read_due().filter(|due| *due <= now) {
            let is_due = |waiting: &Waiting<P>| {
                waiting.told_at.is_some_and(|at| at + self.config.read_hold() <= due)
            };
            let Some(at) = self.reads.line.iter().position(is_due) else { break };
            let waiting = self.reads.line.remove(at);
            self.open.release_all(waiting.map(|waiting| waiting.handles).unwrap_or_default());
        }
        for at in 0..self.reads.line.len() {
            if !self.reads.line[at].is_begun && !self.begin_read(at) {
                break;
            }
        }
        for waiting in &mut self.reads.line {
            let is_open = |handle: &Handle| self.open.id(*handle).is_some();
            let all_open = !waiting.handles.is_empty() && waiting.handles.iter().all(is_open);
            if waiting.told_at.is_none() && (all_open || waiting.block.is_some()) {
                waiting.told_at = Some(now);
                self.events.push_back(StorageEvent::Readable);
            }
        }
        self.open.evict(&mut self.io, keep);
    }

    /// Opens the files of the block in line at `at`, or has it read; false if there is no room.
    fn begin_read(&mut self, at: usize) -> bool {
        let Waiting { reader, span, ref files, .. } = self.reads.line[at];
        if files.len() > self.open.max() {
            let there = self.reads.line.iter().filter(|waiting| waiting.block.is_some()).count();
            if there + self.reads.spread_in_flight >= self.config.spread_blocks_max {
                return false;
            }
            self.reads.spread_in_flight += 1;
            let extents = self.path_extents(span);
            self.io.submit(DiskOp::ReadPaths { extents }, Pending::Spread(reader, span));
        } else {
            if !self.open.has_room_to_read(files) {
                return false;
            }
            let hold = |file: &usize| self.open.hold(&mut self.io, &self.plan, *file);
            self.reads.line[at].handles = files.iter().map(hold).collect();
        }
        self.reads.line[at].is_begun = true;
        true
    }

    /// A block in more files than may be open was read; None: it could not be.
    pub(super) fn on_spread(&mut self, reader: ConnId, span: Span, result: Option<DiskResult<P>>) {
        self.reads.spread_in_flight -= 1;
        let is_it = |waiting: &&mut Waiting<P>| waiting.reader == reader && waiting.span == span;
        // Who asked may be gone.
        let waiting = self.reads.line.iter_mut().find(is_it);
        if let (Some(waiting), Some(DiskResult::Blocks(mut blocks))) = (waiting, result) {
            waiting.block = blocks.pop();
        }
    }

    /// When the first of those who were told and have not read gives way to who waits.
    pub(super) fn read_due(&self) -> Option<Time> {
        let line = &self.reads.line;
        let told = line.iter().filter_map(|waiting| waiting.told_at);
        let due = told.min().map(|at| at + self.config.read_hold());
        due.filter(|_| line.iter().any(|waiting| !waiting.is_begun))
    }

    /// Nobody is served any more.
    pub(super) fn drop_reads(&mut self) {
        for waiting in std::mem::take(&mut self.reads.line) {
            self.open.release_all(waiting.handles);
        }
    }
}
