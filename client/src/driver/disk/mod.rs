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
mod warm;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wire::metainfo::Info;

use crate::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, Extent, FileId, HashWork, RelPath,
};
use crate::session::JobId;
use crate::{ConnId, TorrentKey};
pub use execute::error_at;
use execute::{Files, execute, hash, hash_both, not_open};
pub(super) use execute::{
    OpenFile, ends_too_early, is_out_of_files, open_to_read, read_small, stat,
};
pub(super) use relocate::{RelocateError, move_storage, rename_file, renamed_paths};
pub(super) use root::Root;
pub use slot::Slot;
pub use warm::WarmPages;

pub use super::sha1::Hasher;

/// How long a file that there is no descriptor for is tried again: handshakes of silent peers, which
/// hold theirs, end within 10 s.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// Wait before that.
const OPEN_PAUSE: Duration = Duration::from_millis(50);

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

/// A job with all that it needs.
enum Job {
    Op {
        job: JobId,
        root: Arc<Root>,
        op: DiskOp<Slot>,
        files: Files,
        /// Since when there is no file descriptor for it.
        waits_since: Option<Instant>,
    },
    Hash {
        job: JobId,
        work: HashWork<Slot>,
    },
    /// Reads a run of a file, so that it is in the page cache.
    Warm {
        conn: ConnId,
        file: Arc<File>,
        run: (u64, u64),
    },
    /// Closing can block, so it is not done by the reactor.
    Close {
        job: JobId,
        file: Option<OpenFile>,
    },
    Refused {
        job: JobId,
        error: DiskError,
        blocks: Vec<Slot>,
    },
}

struct Finished {
    completion: Completion,
    opened: Option<(FileId, OpenFile)>,
}

impl Finished {
    fn is_out_of_files(&self) -> bool {
        let Completion::Op { result: DiskResult::Failed { error, .. }, .. } = &self.completion
        else {
            return false;
        };
        error.kind == DiskErrorKind::OutOfFiles
    }
}

/// Jobs for threads of one sort.
struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
}

struct QueueState {
    jobs: VecDeque<Job>,
    /// Threads that wait for one.
    idle: usize,
    is_closed: bool,
}

/// What all threads share.
struct Shared {
    finished: Mutex<Vec<Finished>>,
    wake: Box<dyn Fn() + Send + Sync>,
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
        let shared = Arc::new(Shared { finished: Mutex::new(Vec::new()), wake });
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
            DiskOp::Sync { .. } | DiskOp::SyncFolder { .. } => Lane::Sync,
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
            let count = batch.len();
            if count > 0 {
                let hashes = batch.iter().filter(|job| matches!(job, Job::Hash { .. })).count();
                queue.lock().jobs.extend(batch.drain(..));
                // One thread takes two of these.
                (0..count - hashes / 2).for_each(|_| queue.wake.notify_one());
            }
        }
    }

    /// Takes what is done, and knows the files that were opened from here on.
    pub fn take_completions(&mut self) -> Vec<Completion> {
        let finished = std::mem::take(&mut *lock(&self.shared.finished));
        let files = &mut self.files;
        finished
            .into_iter()
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
            | DiskOp::Sync { file, .. }
            | DiskOp::Read { extent: Extent { file, .. } } => Some(vec![open(file)?]),
            _ => Some(Vec::new()),
        }
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.lock().is_closed = true;
            queue.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn new() -> Queue {
        let state = QueueState { jobs: VecDeque::new(), idle: 0, is_closed: false };
        Queue { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }

    /// The next job, and the one after it if that is done sooner with it and no idle thread would take
    /// it; None when there will be none.
    fn next(&self) -> Option<(Job, Option<Job>)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                let spare = state.jobs.len() > state.idle;
                let pairs = state.jobs.front().is_some_and(|other| pairs(&job, other, spare));
                return Some((job, if pairs { state.jobs.pop_front() } else { None }));
            }
            if state.is_closed {
                return None;
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse(job: JobId, op: DiskOp<Slot>) -> Job {
    let blocks = match op {
        DiskOp::WriteBlocks { blocks, .. } => blocks,
        _ => Vec::new(),
    };
    Job::Refused { job, error: not_open(), blocks }
}

/// Whether two jobs are hashed together in little more time than one. Pieces that are read are as long
/// as each other, and there are others for the idle threads; of what comes from peers there is
/// seldom more, and it is to cost little.
fn pairs(one: &Job, other: &Job, spare: bool) -> bool {
    match (one, other) {
        (Job::Hash { .. }, Job::Hash { .. }) => true,
        (Job::Op { op: one, .. }, Job::Op { op: other, .. }) => {
            let len = execute::pair_len(one);
            spare && len.is_some() && len == execute::pair_len(other)
        }
        _ => false,
    }
}

/// A thread's life.
fn work(queue: &Queue, shared: &Shared) {
    let (mut scratch, mut done) = (Vec::new(), Vec::new());
    while let Some((job, other)) = queue.next() {
        match other {
            Some(other) => do_both(job, other, &mut scratch, &mut done),
            None => {
                let again = to_open(&job);
                let finished = do_one(job, &mut scratch);
                match again.filter(|_| finished.is_out_of_files()) {
                    Some(again) => {
                        thread::sleep(OPEN_PAUSE);
                        // What closes files has its turn first.
                        queue.lock().jobs.push_back(again);
                        continue;
                    }
                    None => done.push(finished),
                }
            }
        }
        let mut finished = lock(&shared.finished);
        let is_first = finished.is_empty();
        finished.append(&mut done);
        drop(finished);
        if is_first {
            (shared.wake)();
        }
    }
}

/// A file to open, once more if it may be tried again.
fn to_open(job: &Job) -> Option<Job> {
    let Job::Op { job, root, op: DiskOp::Open { file, path, mode }, files, waits_since } = job
    else {
        return None;
    };
    let waits_since = waits_since.unwrap_or_else(Instant::now);
    (waits_since.elapsed() < OPEN_PATIENCE).then(|| Job::Op {
        job: *job,
        root: root.clone(),
        op: DiskOp::Open { file: *file, path: path.clone(), mode: *mode },
        files: files.clone(),
        waits_since: Some(waits_since),
    })
}

fn do_both(one: Job, other: Job, scratch: &mut Vec<u8>, done: &mut Vec<Finished>) {
    match (one, other) {
        (Job::Hash { job, mut work }, Job::Hash { job: second, work: mut its }) => {
            let [digest, second_digest] = hash_both(&mut work, &mut its);
            done.extend([hashed(job, work, digest), hashed(second, its, second_digest)]);
        }
        (one @ Job::Op { .. }, other @ Job::Op { .. }) => {
            if let Some(digests) = read_both(&one, &other, scratch) {
                done.extend(digests);
            } else {
                done.extend([one, other].map(|job| do_one(job, scratch)));
            }
        }
        (one, other) => done.extend([one, other].map(|job| do_one(job, scratch))),
    }
}

/// Two pieces that are read and hashed at once; None if either cannot be read.
fn read_both(one: &Job, other: &Job, scratch: &mut Vec<u8>) -> Option<[Finished; 2]> {
    let (Job::Op { job, op, files, .. }, Job::Op { job: second, op: its, files: theirs, .. }) =
        (one, other)
    else {
        return None;
    };
    let [digest, its] = execute::hash_pair([(op, files), (its, theirs)], scratch)?;
    Some([(*job, digest), (*second, its)].map(|(job, digest)| {
        let completion = Completion::Op { job, result: DiskResult::Digest(digest) };
        Finished { completion, opened: None }
    }))
}

fn hashed(job: JobId, work: HashWork<Slot>, digest: Option<[u8; 20]>) -> Finished {
    let HashWork { hasher, blocks, .. } = work;
    Finished { completion: Completion::Hash { job, hasher, blocks, digest }, opened: None }
}

fn do_one(job: Job, scratch: &mut Vec<u8>) -> Finished {
    let (completion, opened) = match job {
        Job::Op { job, root, op, files, .. } => {
            let (result, opened) = execute(&root, op, &files, scratch);
            (Completion::Op { job, result }, opened)
        }
        Job::Hash { job, mut work } => {
            let digest = hash(&mut work);
            return hashed(job, work, digest);
        }
        Job::Warm { conn, file, run } => {
            execute::warm(&file, run, scratch);
            (Completion::Warm { conn }, None)
        }
        Job::Close { job, file } => {
            file.into_iter().for_each(execute::close);
            (Completion::Op { job, result: DiskResult::Done }, None)
        }
        Job::Refused { job, error, blocks } => {
            (Completion::Op { job, result: DiskResult::Failed { error, blocks } }, None)
        }
    };
    Finished { completion, opened }
}
