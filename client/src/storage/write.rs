//! Pieces, and parts of unfinished ones, on their way to the files.

use std::collections::btree_map::Entry;

use wire::time::Time;

use super::jobs::{Run, Span, Work};
use super::journal::{PieceSet, Record};
use super::lane::{Step, Then};
use super::open_files::Handle;
use super::{Phase, Storage, StorageEvent};
use crate::disk::DiskResult;
use crate::payload::Payload;

/// What of a piece is on its way.
#[derive(Default)]
pub(super) struct Unwritten {
    /// Bytes.
    pub(super) bytes: u64,
    /// Spans.
    spans: usize,
    /// With these the piece is whole.
    is_whole: bool,
}

impl<P: Payload> Storage<P> {
    /// Takes what is missing in the files of a piece whose hash was right: runs of blocks, each
    /// with its first byte. [`StorageEvent::Written`] tells when the piece can be read. A piece
    /// that is there or under way already is dropped, as is one that comes before the start or
    /// after a failure.
    pub fn write_piece(&mut self, now: Time, piece: u32, runs: Vec<(u32, Vec<P>)>) {
        if piece >= self.plan.piece_count() || self.unwritten.contains_key(&piece) {
            return;
        }
        if runs.is_empty() && self.takes(piece) {
            self.on_whole(now, piece);
        }
        for (begin, blocks) in runs {
            self.add_write(piece, begin, blocks, true);
        }
        self.pump(now);
    }

    /// Takes blocks of a piece that is not whole, so that they need not stay in memory:
    /// [`StorageEvent::PartWritten`]. Nobody has hashed them, and they are recorded as such.
    pub fn write_part(&mut self, now: Time, piece: u32, begin: u32, blocks: Vec<P>) {
        self.add_write(piece, begin, blocks, false);
        self.pump(now);
    }

    /// Whether writes to this piece are taken.
    fn takes(&self, piece: u32) -> bool {
        self.phase == Phase::Ready && !self.failed && !self.seed && !self.have.get(piece)
    }

    fn add_write(&mut self, piece: u32, begin: u32, blocks: Vec<P>, is_whole: bool) {
        let bytes: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        // Blocks of a piece are shorter than 4 GiB.
        let len = bytes as u32;
        let fits = self.plan.is_inside(piece, begin, len);
        debug_assert!(fits, "piece {piece}: {len} bytes from {begin}");
        if fits && self.takes(piece) {
            let unwritten = self.unwritten.entry(piece).or_default();
            unwritten.bytes += bytes;
            unwritten.spans += 1;
            unwritten.is_whole |= is_whole;
            self.to_record.push((Span { piece, begin, len }, blocks));
        }
    }

    /// Wants bytes of an unfinished piece back, that [`Storage::write_part`] took or
    /// [`StorageEvent::Started`] told of: [`StorageEvent::PartRead`].
    pub fn read_part(&mut self, now: Time, piece: u32, begin: u32, len: u32) {
        let is_open = self.phase == Phase::Ready && !self.failed;
        if is_open && self.plan.is_inside(piece, begin, len) {
            self.add_job(Span { piece, begin, len }, Work::Read);
            self.pump(now);
        }
    }

    /// The blocks of an unfinished piece that were written are of no use.
    pub fn forget_part(&mut self, now: Time, piece: u32) {
        self.uncommitted_parts.remove(&piece);
        if let Some(commit) = &mut self.commit {
            commit.parts.remove(&piece);
        }
        if !self.seed {
            self.records.extend(PieceSet::all([piece]).into_iter().map(Record::Lost));
        }
        self.pump(now);
    }

    pub(super) fn on_part_read(&mut self, Run { span, handles, .. }: Run, result: DiskResult<P>) {
        self.open.unpin_all(&mut self.io, handles);
        let payload = match result {
            DiskResult::Blocks(mut blocks) => blocks.pop(),
            _ => None,
        };
        let Span { piece, begin, .. } = span;
        self.events.push_back(StorageEvent::PartRead { piece, begin, payload });
    }

    pub(super) fn pump_writes(&mut self, now: Time) {
        if self.phase != Phase::Ready || self.failed {
            return;
        }
        self.record_dirty(now);
        while self.writes_in_flight < self.config.writes_in_flight_max
            && let Some((span, blocks)) = self.to_write.pop_front()
        {
            self.writes_in_flight += 1;
            self.add_job(span, Work::Write(blocks));
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
        let mut writes = std::mem::take(&mut self.to_record);
        writes.sort_by_key(|(span, _)| *span);
        let mut records = std::mem::take(&mut self.records);
        let sets = PieceSet::all(writes.iter().map(|(span, _)| span.piece));
        records.extend(sets.into_iter().map(Record::Dirty));
        let mut steps = vec![Step::Append(records)];
        let interval = self.config.alive_interval();
        if self.last_alive.is_none_or(|last| now.since(last) >= interval) {
            // On stable storage before the files change, so that a later start knows that they
            // may have.
            steps.extend([Step::Alive, Step::Sync]);
        }
        lane.push(steps, Then::Write(writes));
    }

    pub(super) fn on_written(&mut self, now: Time, mut run: Run, result: DiskResult<P>) {
        let Span { piece, begin, len } = run.span;
        self.hold_dirty(u64::from(run.len), std::mem::take(&mut run.handles));
        if !run.is_last() {
            let blocks = match result {
                DiskResult::Blocks(blocks) => blocks,
                _ => Vec::new(),
            };
            return self.go_on(&run, Work::Write(blocks));
        }
        self.writes_in_flight -= 1;
        let Some(unwritten) = self.unwritten.get_mut(&piece) else { return };
        unwritten.bytes = unwritten.bytes.saturating_sub(u64::from(len));
        unwritten.spans -= 1;
        let (is_last, is_whole) = (unwritten.spans == 0, unwritten.is_whole);
        if is_last {
            self.unwritten.remove(&piece);
        }
        if !is_whole {
            let first = begin / self.config.block_len;
            let end = (begin + len).div_ceil(self.config.block_len);
            self.uncommitted_parts.entry(piece).or_default().extend(first..end);
            self.uncommitted_since.get_or_insert(now);
            self.events.push_back(StorageEvent::PartWritten { piece, begin, len });
        } else if is_last {
            self.on_whole(now, piece);
        }
    }

    fn on_whole(&mut self, now: Time, piece: u32) {
        self.add_uncommitted(now, piece);
        if !self.failed {
            self.events.push_back(StorageEvent::Written { piece });
        }
    }

    /// A piece can be read, and waits for its commit.
    pub(super) fn add_uncommitted(&mut self, now: Time, piece: u32) {
        self.have.set(piece);
        self.uncommitted.insert(piece);
        self.uncommitted_parts.remove(&piece);
        self.uncommitted_since.get_or_insert(now);
    }

    /// Bytes in these files may not last until the next commit.
    pub(super) fn hold_dirty(&mut self, bytes: u64, handles: Vec<Handle>) {
        self.uncommitted_bytes += bytes;
        for handle in handles {
            self.unsettled.insert(handle.file);
            // The pin stays until the file has been synced.
            match self.dirty.entry(handle.file) {
                Entry::Occupied(mut held) => {
                    let other = if handle.write { held.insert(handle) } else { handle };
                    self.open.unpin(&mut self.io, other);
                }
                Entry::Vacant(entry) => {
                    entry.insert(handle);
                }
            }
        }
    }

    /// Whether anything in the files waits for a commit.
    pub(super) fn has_uncommitted(&self) -> bool {
        !self.uncommitted.is_empty() || !self.uncommitted_parts.is_empty()
    }

    /// Whether pieces are on their way to the files.
    pub(super) fn is_writing(&self) -> bool {
        !self.unwritten.is_empty() || self.writes_in_flight > 0
    }
}
