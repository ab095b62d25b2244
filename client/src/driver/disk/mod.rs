//! Threads that execute what the core asks of disks and hashes.
//!
//! The reactor hands jobs over in batches ([`DiskPool::kick`]) and takes results in batches
//! ([`DiskPool::take_completions`]), so that a lock and a wake cost once a batch. The table of open
//! files belongs to the reactor alone: a job takes its files along.

mod execute;
mod relocate;
mod root;
mod slot;
#[cfg(test)]
mod tests;
mod threads;
mod warm;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use wire::metainfo::Info;

use crate::disk::{DiskError, DiskOp, DiskResult, Extent, FileId, HashWork, RelPath};
use crate::session::JobId;
use crate::{ConnId, TorrentKey};
pub use execute::error_at;
use execute::{Files, not_open};
pub(super) use execute::{
    OpenFile, ends_too_early, is_out_of_files, open_to_read, read_small, stat,
};
pub(super) use relocate::{RelocateError, move_storage, rename_file, renamed_paths};
pub(super) use root::Root;
pub use slot::Slot;
use threads::{Job, Queue, Shared, work};
pub use warm::WarmPages;

pub use super::sha1::Hasher;

/// How many threads.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// Threads that hash blocks, and pieces that are being checked. Default: one a processor, at
    /// most 4 (libtorrent's `hashing_threads` is 1, and its users ask for more).
    pub hash_threads: usize,
    /// Threads that read and write. Default 4 (libtorrent's `aio_threads` is 10).
    pub disk_threads: usize,
    /// Threads that wait for stable storage, so that reads and writes do not. Default 2.
    pub sync_threads: usize,
}

impl Default for DiskConfig {
    fn default() -> DiskConfig {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        DiskConfig { hash_threads: processors.min(4), disk_threads: 4, sync_threads: 2 }
    }
}

/// A job that is done, under the name that it was submitted with.
pub enum Completion {
    /// Of [`DiskPool::submit_op`].
    Op {
        /// Which.
        job: JobId,
        /// What it came to.
        result: DiskResult<Slot>,
    },
    /// Of [`DiskPool::submit_hash`].
    Hash {
        /// Which.
        job: JobId,
        /// State after the blocks; fresh after the last.
        hasher: Hasher,
        /// The blocks.
        blocks: Vec<Slot>,
        /// The piece's SHA-1, after its last block.
        digest: Option<[u8; 20]>,
    },
    /// Of [`DiskPool::submit_warm`].
    Warm {
        /// Who waits for it.
        conn: ConnId,
    },
}

/// Which threads a job is for.
#[derive(Clone, Copy)]
enum Lane {
    Hash,
    Disk,
    Sync,
}

/// The threads. Dropped, it finishes what was handed over.
pub struct DiskPool {
    queues: [Arc<Queue>; 3],
    /// Not yet handed over.
    batches: [Vec<Job>; 3],
    shared: Arc<Shared>,
    files: BTreeMap<FileId, OpenFile>,
    roots: BTreeMap<TorrentKey, Arc<Root>>,
    threads: Vec<JoinHandle<()>>,
}

impl DiskPool {
    /// Starts the threads. They call `wake` when there are results where there were none.
    pub fn start(wake: Box<dyn Fn() + Send + Sync>) -> DiskPool {
        DiskPool::start_with(&DiskConfig::default(), wake)
    }

    /// The same with other numbers.
    pub fn start_with(config: &DiskConfig, wake: Box<dyn Fn() + Send + Sync>) -> DiskPool {
        let shared = Arc::new(Shared::new(wake));
        let mut pool = DiskPool {
            queues: std::array::from_fn(|_| Arc::new(Queue::new())),
            batches: std::array::from_fn(|_| Vec::new()),
            shared,
            files: BTreeMap::new(),
            roots: BTreeMap::new(),
            threads: Vec::new(),
        };
        let counts = [
            (Lane::Hash, "hash", config.hash_threads),
            (Lane::Disk, "disk", config.disk_threads),
            (Lane::Sync, "sync", config.sync_threads),
        ];
        for (lane, name, count) in counts {
            for _ in 0..count.max(1) {
                let queue = pool.queues[lane as usize].clone();
                let shared = pool.shared.clone();
                let thread = thread::Builder::new().name(name.to_owned());
                match thread.spawn(move || work(&queue, &shared)) {
                    Ok(thread) => pool.threads.push(thread),
                    Err(error) => tracing::error!(%error, name, "cannot start a thread"),
                }
            }
        }
        pool
    }

    /// The folder beneath which a torrent's paths lie. It must be there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn set_root(&mut self, torrent: TorrentKey, path: PathBuf) -> Result<(), DiskError> {
        // Thousands of torrents in one folder come one after the other.
        let last = self.roots.values().next_back().filter(|root| root.is_at(&path));
        let root = match last {
            Some(root) => root.clone(),
            None => Arc::new(Root::open(path)?),
        };
        self.roots.insert(torrent, root);
        Ok(())
    }

    /// Where a torrent's files lie beneath its folder if any were renamed, in the order of the info dict;
    /// else nothing.
    pub(super) fn renamed_paths(
        &self,
        torrent: TorrentKey,
        info: &Info,
    ) -> Result<Vec<RelPath>, DiskError> {
        self.roots.get(&torrent).map_or(Ok(Vec::new()), |root| renamed_paths(root, info))
    }

    /// Forgets a torrent's folder; jobs taken before still find it.
    pub fn remove_root(&mut self, torrent: TorrentKey) {
        self.roots.remove(&torrent);
    }

    /// Takes an operation, to be handed over at the next [`DiskPool::kick`].
    pub fn submit_op(&mut self, job: JobId, op: DiskOp<Slot>) {
        let lane = match &op {
            DiskOp::HashExtents { .. } => Lane::Hash,
            DiskOp::SyncData { .. } | DiskOp::SyncAll { .. } | DiskOp::SyncFolder { .. } => {
                Lane::Sync
            }
            _ => Lane::Disk,
        };
        let entry = match (op, self.roots.get(&job.torrent)) {
            (DiskOp::Close { file }, _) => Job::Close { job, file: self.files.remove(&file) },
            (op, Some(root)) => match self.files_of(&op) {
                Some(files) => Job::Op { job, root: root.clone(), op, files, waits_since: None },
                None => refuse(job, op),
            },
            (op, None) => refuse(job, op),
        };
        self.batches[lane as usize].push(entry);
    }

    /// Takes blocks to hash, to be handed over at the next [`DiskPool::kick`].
    pub fn submit_hash(&mut self, job: JobId, work: HashWork<Slot>) {
        self.batches[Lane::Hash as usize].push(Job::Hash { job, work });
    }

    /// Takes a run of a file (its first byte, and bytes) to be read into the page cache for `conn`, to
    /// be handed over at the next [`DiskPool::kick`].
    pub fn submit_warm(&mut self, conn: ConnId, file: Arc<File>, run: (u64, u64)) {
        self.batches[Lane::Disk as usize].push(Job::Warm { conn, file, run });
    }

    /// Hands over what was submitted.
    pub fn kick(&mut self) {
        for (queue, batch) in self.queues.iter().zip(&mut self.batches) {
            if !batch.is_empty() {
                queue.push(batch.drain(..));
            }
        }
    }

    /// Takes what is done, and knows the files that were opened from here on.
    pub fn take_completions(&mut self) -> Vec<Completion> {
        let files = &mut self.files;
        let finished = self.shared.take().into_iter();
        finished
            .map(|finished| {
                files.extend(finished.opened);
                finished.completion
            })
            .collect()
    }

    /// An open file, for who sends from it. [`FileId::ZEROS`] is none.
    pub(super) fn file(&self, file: FileId) -> Option<OpenFile> {
        self.files.get(&file).cloned()
    }

    /// The files that an operation works on; None if one is not open.
    fn files_of(&self, op: &DiskOp<Slot>) -> Option<Files> {
        let open = |file: &FileId| match *file {
            FileId::ZEROS => Some(None),
            file => self.files.get(&file).map(|open| Some(open.clone())),
        };
        let all = |extents: &[Extent]| extents.iter().map(|extent| open(&extent.file)).collect();
        match op {
            DiskOp::WriteBlocks { extents, .. }
            | DiskOp::HashExtents { extents, .. }
            | DiskOp::ReadBlock { extents } => all(extents),
            DiskOp::SetLen { file, .. }
            | DiskOp::Allocate { file, .. }
            | DiskOp::Write { file, .. }
            | DiskOp::SyncData { file }
            | DiskOp::SyncAll { file, .. }
            | DiskOp::Read { extent: Extent { file, .. } } => Some(vec![open(file)?]),
            _ => Some(Vec::new()),
        }
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close());
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

fn refuse(job: JobId, op: DiskOp<Slot>) -> Job {
    let blocks = match op {
        DiskOp::WriteBlocks { blocks, .. } => blocks,
        _ => Vec::new(),
    };
    Job::Refused { job, error: not_open(), blocks }
}
