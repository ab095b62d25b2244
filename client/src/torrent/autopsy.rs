//! The autopsy of a piece: its blocks are hashed one by one, to tell who lied.

use std::collections::VecDeque;
use std::net::SocketAddr;

use wire::peer::BLOCK_LEN;
use wire::time::Time;

use super::{Action, Job, Torrent};
use crate::disk::HashWork;
use crate::payload::Payload;
use crate::pieces::Finished;
use crate::smart_ban::BlockDigest;

/// Blocks of one piece that are read back at a time: 256 KiB.
const READS_MAX: usize = 16;

/// A piece under the knife.
pub(super) struct Autopsy<P: Payload> {
    /// Whether the whole is right.
    right: bool,
    /// What is not in the file.
    blocks: Vec<Option<P>>,
    senders: Vec<Option<SocketAddr>>,
    digests: Vec<Option<BlockDigest>>,
    /// Blocks that are in the file alone.
    to_read: VecDeque<u32>,
    /// Some are in the file.
    is_partly_saved: bool,
}

impl<P: Payload> Torrent<P> {
    /// Hashes each block of a piece by itself. Nobody is asked for it meanwhile: it has one autopsy
    /// at a time.
    pub(super) fn dissect(&mut self, now: Time, piece: u32, right: bool, finished: Finished<P>) {
        let is_partly_saved = finished.is_partly_saved();
        let Finished { blocks, senders } = finished;
        let count = blocks.len();
        let mut to_read = VecDeque::new();
        for (index, block) in (0..).zip(blocks) {
            match block {
                Some(block) => self.hash_block(piece, index, block),
                None => to_read.push_back(index),
            }
        }
        let autopsy = Autopsy {
            right,
            blocks: (0..count).map(|_| None).collect(),
            senders,
            digests: vec![None; count],
            to_read,
            is_partly_saved,
        };
        self.autopsies.insert(piece, autopsy);
        for _ in 0..READS_MAX {
            self.dissect_more(now, piece);
        }
        self.drain_storage(now);
    }

    fn hash_block(&mut self, piece: u32, index: u32, block: P) {
        self.queued_blocks += 1;
        let ticket = self.ticket(Job::Autopsy(piece, index));
        let work = HashWork { hasher: P::Hasher::default(), blocks: vec![block], finish: true };
        self.actions.push_back(Action::Hash(ticket, work));
    }

    /// Reads the next block that is in the file alone.
    fn dissect_more(&mut self, now: Time, piece: u32) {
        let next = self.autopsies.get_mut(&piece).and_then(|autopsy| autopsy.to_read.pop_front());
        if let (Some(index), Some(content)) = (next, &mut self.content) {
            let block = content.pieces.geometry().block(piece, index);
            content.storage.read_part(now, piece, block.begin, block.len);
        }
    }

    /// A block came back from the file. One that did not makes the piece worthless, and nobody is to
    /// blame for that.
    pub(super) fn dissect_read(&mut self, now: Time, piece: u32, begin: u32, payload: Option<P>) {
        let index = begin / BLOCK_LEN;
        if let Some(payload) = payload {
            return self.hash_block(piece, index, payload);
        }
        if let Some(autopsy) = self.autopsies.get_mut(&piece) {
            autopsy.right = false;
            autopsy.senders.fill(None);
        }
        self.on_block_hashed(now, piece, index, Vec::new(), [0; 20]);
    }

    pub(super) fn on_block_hashed(
        &mut self,
        now: Time,
        piece: u32,
        index: u32,
        mut blocks: Vec<P>,
        digest: BlockDigest,
    ) {
        self.dissect_more(now, piece);
        self.drain_storage(now);
        let Some(autopsy) = self.autopsies.get_mut(&piece) else { return };
        let Some(slot) = autopsy.digests.get_mut(index as usize) else { return };
        *slot = Some(digest);
        autopsy.blocks[index as usize] = blocks.pop();
        if autopsy.digests.iter().any(Option::is_none) {
            return;
        }
        let Some(autopsy) = self.autopsies.remove(&piece) else { return };
        let digests: Vec<BlockDigest> = autopsy.digests.into_iter().flatten().collect();
        if autopsy.right {
            for liar in self.smart_ban.passed(piece, &digests) {
                self.ban(now, liar);
            }
            return self.write(now, piece, autopsy.blocks);
        }
        self.smart_ban.wrong(piece);
        for (index, (from, digest)) in (0..).zip(autopsy.senders.into_iter().zip(digests)) {
            if let Some(from) = from {
                self.smart_ban.failed(piece, index, from, digest);
            }
        }
        self.begin_anew(now, piece, autopsy.is_partly_saved);
    }

    /// A piece was wrong; `saved`: some of it is in the file.
    pub(super) fn begin_anew(&mut self, now: Time, piece: u32, saved: bool) {
        let Some(content) = &mut self.content else { return };
        content.picker.put_back(piece);
        if saved {
            content.storage.forget_part(now, piece);
        }
        self.freed = true;
    }
}
