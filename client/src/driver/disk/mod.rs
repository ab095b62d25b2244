//! Hash threads and disk: a small pool that executes what the core decides.
//!
//! The reactor collects jobs and hands them over in batches, one lock and one wake a batch; what
//! is done comes back the same way.

mod beneath;
mod exec;
mod slot;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use sha1::{Digest, Sha1};

use crate::TorrentKey;
use crate::disk::{DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, HashWork};
use crate::session::JobId;

use beneath::Root;
pub use slot::Slot;

/// Threads that hash and write at most; one a core up to this many keeps up with 10 Gbit/s.
const THREADS_MAX: usize = 4;

/// A job that is done.
pub enum Completion {
    /// A disk operation.
    Op {
        /// Which.
        job: JobId,
        /// What it came to.
        result: DiskResult<Slot>,
    },
    /// A hash job.
    Hash {
        /// Which.
        job: JobId,
        /// The state it ended with.
        hasher: Sha1,
        /// The blocks it was given.
        blocks: Vec<Slot>,
        /// The digest, if it finished a piece.
        digest: Option<[u8; 20]>,
    },
}

enum Job {
    Op(JobId, Option<Arc<Root>>, DiskOp<Slot>),
    Hash(JobId, HashWork<Slot>),
}

/// Open files by the core's names for them.
pub(super) type Files = RwLock<BTreeMap<FileId, Arc<File>>>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    done: Mutex<Vec<Completion>>,
    files: Files,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The pool. Its threads end with it, when the jobs they have are done.
pub struct DiskPool {
    shared: Arc<Shared>,
    batch: Vec<Job>,
    roots: BTreeMap<TorrentKey, Arc<Root>>,
}

impl DiskPool {
    /// Starts the threads. `wake` is called from them when something is done.
    pub fn start(wake: Box<dyn Fn() + Send + Sync>) -> DiskPool {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            more: Condvar::new(),
            done: Mutex::default(),
            files: Files::default(),
            wake,
        });
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        for number in 0..threads {
            let shared = shared.clone();
            let name = format!("disk-{number}");
            let spawned = std::thread::Builder::new().name(name).spawn(move || work(&shared));
            if let Err(error) = spawned {
                tracing::error!(%error, "cannot start a disk thread");
            }
        }
        DiskPool { shared, batch: Vec::new(), roots: BTreeMap::new() }
    }

    /// The folder beneath which a torrent's paths lie.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn set_root(&mut self, torrent: TorrentKey, path: PathBuf) -> Result<(), DiskError> {
        let root = Root::open(&path).map_err(|error| error_at(&path, &error))?;
        self.roots.insert(torrent, Arc::new(root));
        Ok(())
    }

    /// Takes a disk operation; it begins with the next [`DiskPool::kick`].
    pub fn submit_op(&mut self, job: JobId, op: DiskOp<Slot>) {
        let root = self.roots.get(&job.torrent).cloned();
        self.batch.push(Job::Op(job, root, op));
    }

    /// Takes a hash job; it begins with the next [`DiskPool::kick`].
    pub fn submit_hash(&mut self, job: JobId, work: HashWork<Slot>) {
        self.batch.push(Job::Hash(job, work));
    }

    /// Hands all that was taken to the threads.
    pub fn kick(&mut self) {
        let count = self.batch.len();
        if count == 0 {
            return;
        }
        lock(&self.shared.queue).jobs.extend(self.batch.drain(..));
        match count {
            1 => self.shared.more.notify_one(),
            _ => self.shared.more.notify_all(),
        }
    }

    /// What is done since the last look.
    pub fn take_completions(&mut self) -> Vec<Completion> {
        std::mem::take(&mut lock(&self.shared.done))
    }

    /// An open file.
    pub fn file(&self, file: FileId) -> Option<Arc<File>> {
        let files = self.shared.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&file).cloned()
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.more.notify_all();
    }
}

/// A thread that panicked left data that is still whole: it holds plain values only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(shared: &Shared) {
    loop {
        let mut queue = lock(&shared.queue);
        let job = loop {
            match queue.jobs.pop_front() {
                Some(job) => break job,
                None if queue.closed => return,
                None => queue = shared.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(queue);
        let completion = match job {
            Job::Hash(job, work) => hash(job, work),
            Job::Op(job, Some(root), op) => {
                Completion::Op { job, result: exec::execute(&root, &shared.files, op) }
            }
            Job::Op(job, None, _) => {
                let message = "the torrent has no folder".to_string();
                let error = DiskError { kind: DiskErrorKind::Other, message };
                Completion::Op { job, result: DiskResult::Failed { error, blocks: Vec::new() } }
            }
        };
        let mut done = lock(&shared.done);
        let first = done.is_empty();
        done.push(completion);
        drop(done);
        // Who is woken takes all there is.
        if first {
            (shared.wake)();
        }
    }
}

fn hash(job: JobId, work: HashWork<Slot>) -> Completion {
    let HashWork { mut hasher, blocks, finish } = work;
    for block in &blocks {
        hasher.update(block.bytes());
    }
    let digest = finish.then(|| std::mem::take(&mut hasher).finalize().into());
    Completion::Hash { job, hasher, blocks, digest }
}

/// An error with the path that it is about.
pub(super) fn error_at(path: &Path, error: &io::Error) -> DiskError {
    DiskError { kind: kind_of(error), message: format!("{}: {error}", path.display()) }
}

fn kind_of(error: &io::Error) -> DiskErrorKind {
    use io::ErrorKind as E;
    // A symbolic link where none is followed.
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return DiskErrorKind::Denied;
    }
    match error.kind() {
        E::StorageFull | E::QuotaExceeded => DiskErrorKind::Full,
        E::NotFound | E::UnexpectedEof => DiskErrorKind::NotFound,
        E::PermissionDenied | E::ReadOnlyFilesystem | E::CrossesDevices => DiskErrorKind::Denied,
        E::WouldBlock => DiskErrorKind::Locked,
        E::IsADirectory | E::NotADirectory | E::AlreadyExists => DiskErrorKind::Conflict,
        _ => DiskErrorKind::Other,
    }
}
