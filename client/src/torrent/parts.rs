//! Unfinished pieces that are written early: when memory is used up, when they take long, and at
//! the end. Nobody has hashed them, so nobody is told of them.

use wire::peer::BLOCK_LEN;
use wire::time::Time;

use super::Torrent;
use crate::payload::Payload;

impl<P: Payload> Torrent<P> {
    /// Writes what is in memory of an unfinished piece.
    fn write_early(&mut self, now: Time, piece: u32) {
        let Some(content) = &mut self.content else { return };
        for (first, blocks) in content.pieces.take_unsaved(piece) {
            self.counters.written_early += blocks.len() as u64;
            self.queued_blocks += blocks.len();
            content.storage.write_part(now, piece, first * BLOCK_LEN, blocks);
        }
    }

    /// Where unfinished pieces have used the budget up, writes the largest of them.
    pub(super) fn spare_memory(&mut self, now: Time) {
        // Where jobs have most of it, it is free again soon.
        let enough = self.config.credits_max / 8;
        let unsaved = |torrent: &Self| torrent.content.as_ref().map_or(0, |c| c.pieces.unsaved());
        if unsaved(self) <= enough || self.has_failed() || self.credits() > 0 {
            return;
        }
        while unsaved(self) > enough
            && let Some(piece) = self.content.as_ref().and_then(|c| c.pieces.most_unsaved())
        {
            self.write_early(now, piece);
        }
        self.drain_storage(now);
    }

    /// Writes what has been in memory for long.
    pub(super) fn write_old(&mut self, now: Time) {
        let Some(content) = &self.content else { return };
        for piece in content.pieces.unsaved_for(now, self.config.early_write_after) {
            self.write_early(now, piece);
        }
        self.drain_storage(now);
    }

    /// Brings all that is there to stable storage, once no hash job is under way that has some of
    /// it: after a stop none begins.
    pub(super) fn pump_flush(&mut self, now: Time) {
        if !self.flush_wanted || (self.stopping && !self.has_failed() && !self.jobs.is_empty()) {
            return;
        }
        self.flush_wanted = false;
        while !self.has_failed()
            && let Some(piece) = self.content.as_ref().and_then(|c| c.pieces.most_unsaved())
        {
            self.write_early(now, piece);
        }
        // Also after a failure: what was written before it is to last.
        if let Some(content) = &mut self.content {
            content.storage.flush(now);
        }
        self.drain_storage(now);
    }

    /// Blocks of an unfinished piece are in the file.
    pub(super) fn on_part_written(&mut self, now: Time, piece: u32, begin: u32, len: u32) {
        let Some(content) = &mut self.content else { return };
        content.pieces.part_written(piece, begin, len);
        let blocks = len.div_ceil(BLOCK_LEN) as usize;
        self.queued_blocks = self.queued_blocks.saturating_sub(blocks);
        self.freed = true;
        self.hash_more(now, piece);
        self.refill(now);
    }

    /// Asks for the blocks that the hasher needs next and that are in the file.
    pub(super) fn read_back(&mut self, now: Time, piece: u32) {
        let Some(content) = &mut self.content else { return };
        let reads = content.pieces.next_reads(piece, self.config.hash_batch_blocks);
        if reads.is_empty() {
            return;
        }
        self.counters.read_back += reads.len() as u64;
        for block in reads {
            content.storage.read_part(now, piece, block.begin, block.len);
        }
        self.drain_storage(now);
    }

    /// A block is back from the file, or is not there any more.
    pub(super) fn on_part_read(&mut self, now: Time, piece: u32, begin: u32, payload: Option<P>) {
        if self.autopsies.contains_key(&piece) {
            return self.dissect_read(now, piece, begin, payload);
        }
        let Some(content) = &mut self.content else { return };
        match payload {
            Some(payload) => content.pieces.read_back(piece, begin, payload),
            None => {
                content.pieces.unreadable(piece, begin);
                self.freed = true;
                self.refill(now);
            }
        }
        self.hash_more(now, piece);
    }

    /// Begun pieces that nobody finishes have used their number up: the one that is least far is
    /// given up, so that others get whole.
    pub(super) fn relieve(&mut self, now: Time) {
        let is_stuck = now.since(self.relieved_at) >= self.config.unfinished_max;
        let Some(content) = self.content.as_mut().filter(|_| is_stuck) else { return };
        if content.pieces.begun_blocks() < self.config.begun_blocks_max {
            return;
        }
        self.relieved_at = now;
        let Some(dropped) = content.pieces.drop_least() else { return };
        self.counters.wasted += dropped.blocks as u64 * u64::from(BLOCK_LEN);
        if dropped.ended {
            content.picker.put_back(dropped.piece);
        }
        if dropped.saved {
            content.storage.forget_part(now, dropped.piece);
        }
        self.freed = true;
        self.drain_storage(now);
    }
}
