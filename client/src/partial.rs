//! A piece that is begun, block by block.

use std::net::SocketAddr;

use wire::time::Time;

use crate::ConnId;
use crate::payload::Payload;

/// Where one block of a begun piece stands.
pub enum Block<P> {
    /// Nobody is asked for it.
    Free,
    /// It is asked for.
    Asked {
        /// Of whom.
        first: ConnId,
        /// When, the last time.
        at: Time,
        /// End game: the others that were asked too.
        more: Vec<ConnId>,
    },
    /// It came.
    Here {
        /// And is here.
        place: Place<P>,
        /// The file has its bytes too.
        saved: bool,
        /// None: an earlier run got it.
        from: Option<SocketAddr>,
    },
}

/// Where the bytes of a block are.
pub enum Place<P> {
    /// In memory.
    Memory(P),
    /// A hash job has them.
    Hashing,
    /// A disk job writes them.
    Writing,
    /// In the file and nowhere else.
    Disk,
    /// A disk job reads them back.
    Reading,
}

/// A begun piece.
pub struct Partial<P: Payload> {
    /// In order.
    pub blocks: Vec<Block<P>>,
    /// Blocks that nobody is asked for.
    pub free: u32,
    /// No block before this one is free.
    pub first_free: usize,
    /// Blocks that came.
    pub here: u32,
    /// Of these, in memory or with a job.
    pub held: u32,
    /// Of these, in memory and not in the file.
    pub unsaved: u32,
    /// Blocks that a disk job has.
    pub on_disk_jobs: u32,
    /// Since when there are unsaved blocks.
    pub unsaved_since: Option<Time>,
    /// Blocks from the first on that went through the hasher, or are in it now.
    pub hashed: u32,
    /// None while a hash job has it.
    pub hasher: Option<P::Hasher>,
}

impl<P: Payload> Partial<P> {
    /// A piece of so many blocks, of which none is here.
    pub fn new(count: u32) -> Partial<P> {
        Partial {
            blocks: (0..count).map(|_| Block::Free).collect(),
            free: count,
            first_free: 0,
            here: 0,
            held: 0,
            unsaved: 0,
            on_disk_jobs: 0,
            unsaved_since: None,
            hashed: 0,
            hasher: Some(P::Hasher::default()),
        }
    }

    /// Whether its last hash job is under way: it is about to be written whole, or to begin anew.
    pub fn is_finishing(&self) -> bool {
        self.hasher.is_none() && self.hashed as usize == self.blocks.len()
    }

    /// Whether some of its blocks are with a job.
    pub fn is_busy(&self) -> bool {
        self.hasher.is_none() || self.on_disk_jobs > 0
    }
}

/// Blocks that follow each other in a piece: the first one's index, and all.
pub type Run<P> = (u32, Vec<P>);

/// What is in memory of these blocks, as runs.
pub fn runs<P>(blocks: Vec<Option<P>>) -> Vec<Run<P>> {
    let mut runs: Vec<Run<P>> = Vec::new();
    for (index, block) in (0..).zip(blocks) {
        let Some(block) = block else { continue };
        match runs.last_mut() {
            Some((first, run)) if *first as usize + run.len() == index as usize => run.push(block),
            _ => runs.push((index, vec![block])),
        }
    }
    runs
}
