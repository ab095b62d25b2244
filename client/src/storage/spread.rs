//! Blocks to upload that lie in more files than may be open at once.

use std::collections::BTreeMap;

use super::io::Pending;
use super::jobs::Span;
use super::{BlockBytes, Storage, StorageEvent};
use crate::disk::{DiskError, DiskOp, DiskResult};
use crate::payload::Payload;

/// Such blocks, on their way to who asked for them.
pub(super) struct Spread<P> {
    /// None: it is being read.
    blocks: BTreeMap<Span, Option<P>>,
}

impl<P> Default for Spread<P> {
    fn default() -> Spread<P> {
        Spread { blocks: BTreeMap::new() }
    }
}

impl<P: Payload> Storage<P> {
    /// Gives a block that was read, or has it read; [`StorageEvent::Readable`] tells when to ask again.
    pub(super) fn read_spread(&mut self, span: Span) -> Option<BlockBytes<P>> {
        let blocks = &mut self.spread.blocks;
        match blocks.get(&span) {
            Some(Some(_)) => return blocks.remove(&span).flatten().map(BlockBytes::Payload),
            Some(None) => return None,
            None => {}
        }
        if blocks.len() >= self.config.spread_blocks_max {
            // Who asked for one that is there may be gone.
            let there = blocks.iter().find(|(_, block)| block.is_some()).map(|(span, _)| *span);
            blocks.remove(&there?);
        }
        blocks.insert(span, None);
        let extents = self.path_extents(span);
        self.io.submit(DiskOp::ReadPaths { extents }, Pending::Spread(span));
        None
    }

    pub(super) fn on_spread(&mut self, span: Span, result: DiskResult<P>) {
        let block = match result {
            DiskResult::Blocks(mut blocks) => blocks.pop(),
            _ => None,
        };
        match block {
            Some(block) => self.spread.blocks.insert(span, Some(block)),
            None => self.spread.blocks.remove(&span),
        };
        self.events.push_back(StorageEvent::Readable);
    }

    pub(super) fn on_spread_failed(&mut self, span: Span, error: DiskError) {
        self.spread.blocks.remove(&span);
        self.fail(error);
    }
}
