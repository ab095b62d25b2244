//! The threads: which jobs they take together, and when they tell of what is done.
//!
//! A wake costs more than most jobs. So who takes a job wakes the next thread only if there are more,
//! and who has more quick ones to do tells of what is done a little later, of all at once.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::execute::{self, Files, OpenFile, execute, hash, hash_both};
use super::{Completion, Root, Slot};
use crate::ConnId;
use crate::disk::{DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, HashWork, RelPath};
use crate::session::JobId;

/// How long a file that there is no descriptor for is tried again: handshakes of silent peers, which
/// hold theirs, end within 10 s.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// Wait before that.
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// What is done is told of after so long at the latest, if what follows is quick.
const TELL_AFTER: Duration = Duration::from_micros(200);
/// Jobs that are told of together.
const TOLD_MAX: usize = 32;
/// Bytes that are read and hashed, or read, in a moment.
const QUICK_BYTES: u64 = 64 << 10;

/// A job with all that it needs.
pub(super) enum Job {
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

impl Job {
    /// Whether it is done in a moment, unless the disk is slow to find things.
    fn is_quick(&self) -> bool {
        match self {
            Job::Op { op, .. } => match op {
                DiskOp::Stat { .. }
                | DiskOp::FreeSpace
                | DiskOp::MakeFolder { .. }
                | DiskOp::Open { .. } => true,
                DiskOp::Read { extent } => extent.len <= QUICK_BYTES,
                DiskOp::HashExtents { extents, .. } => {
                    extents.iter().map(|extent| extent.len).sum::<u64>() <= QUICK_BYTES
                }
                _ => false,
            },
            Job::Hash { .. } | Job::Refused { .. } => true,
            Job::Close { .. } | Job::Warm { .. } => false,
        }
    }
}

pub(super) struct Finished {
    pub(super) completion: Completion,
    pub(super) opened: Option<(FileId, OpenFile)>,
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
pub(super) struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
}

struct QueueState {
    jobs: VecDeque<Job>,
    /// Threads that wait for one.
    idle: usize,
    /// Of these, those that are being woken.
    waking: usize,
    is_closed: bool,
}

/// What all threads share.
pub(super) struct Shared {
    finished: Mutex<Vec<Finished>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    /// `wake` is called when there are results where there were none.
    pub(super) fn new(wake: Box<dyn Fn() + Send + Sync>) -> Shared {
        Shared { finished: Mutex::new(Vec::new()), wake }
    }

    /// Takes what is done.
    pub(super) fn take(&self) -> Vec<Finished> {
        std::mem::take(&mut *lock(&self.finished))
    }

    fn tell(&self, done: &mut Vec<Finished>) {
        if done.is_empty() {
            return;
        }
        let mut finished = lock(&self.finished);
        let is_first = finished.is_empty();
        finished.append(done);
        drop(finished);
        if is_first {
            (self.wake)();
        }
    }
}

/// What a thread does next.
enum Next {
    One(Job),
    /// Done sooner together.
    Two(Job, Job),
    /// A folder to sync, and whoever else wants that.
    Folder(Job, Vec<JobId>),
}

impl Queue {
    pub(super) fn new() -> Queue {
        let state = QueueState { jobs: VecDeque::new(), idle: 0, waking: 0, is_closed: false };
        Queue { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }

    /// Takes jobs over.
    pub(super) fn push(&self, jobs: impl Iterator<Item = Job>) {
        let mut state = self.lock();
        state.jobs.extend(jobs);
        self.wake_another(state);
    }

    /// No jobs come any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_all();
    }

    /// Wakes a thread, if there is one and a job that none is on its way to. It wakes the next.
    fn wake_another(&self, mut state: MutexGuard<'_, QueueState>) {
        if state.jobs.len() > state.waking && state.idle > state.waking {
            state.waking += 1;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// What is next, if there is anything.
    fn try_next(&self) -> Option<Next> {
        let mut state = self.lock();
        let next = state.pop();
        self.wake_another(state);
        next
    }

    /// What is next, once there is anything; None when there will be nothing.
    fn next(&self) -> Option<Next> {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.pop() {
                self.wake_another(state);
                return Some(next);
            }
            if state.is_closed {
                return None;
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            state.waking = state.waking.saturating_sub(1);
        }
    }
}

impl QueueState {
    fn pop(&mut self) -> Option<Next> {
        let job = self.jobs.pop_front()?;
        if let Some(folder) = folder(&job) {
            let mut others = Vec::new();
            self.jobs.retain(|other| match other {
                Job::Op { job, .. } if is_folder(other, folder) => {
                    others.push(*job);
                    false
                }
                _ => true,
            });
            return Some(Next::Folder(job, others));
        }
        // Others are there for the idle threads.
        let spare = self.jobs.len() > self.idle;
        let pairs = self.jobs.front().is_some_and(|other| pairs(&job, other, spare));
        match self.jobs.pop_front_if(|_| pairs) {
            Some(other) => Some(Next::Two(job, other)),
            None => Some(Next::One(job)),
        }
    }
}

/// The folder that a job syncs.
fn folder(job: &Job) -> Option<(&Arc<Root>, &RelPath)> {
    match job {
        Job::Op { root, op: DiskOp::SyncFolder { path }, .. } => Some((root, path)),
        _ => None,
    }
}

fn is_folder(job: &Job, (root, path): (&Arc<Root>, &RelPath)) -> bool {
    folder(job).is_some_and(|(its, other)| Arc::ptr_eq(root, its) && path == other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(super) fn work(queue: &Queue, shared: &Shared) {
    let (mut scratch, mut done) = (Vec::new(), Vec::new());
    let mut since = Instant::now();
    loop {
        let next = match queue.try_next() {
            Some(next) => next,
            None => {
                shared.tell(&mut done);
                let Some(next) = queue.next() else { return };
                next
            }
        };
        if !next.is_quick() {
            shared.tell(&mut done);
        }
        if done.is_empty() {
            since = Instant::now();
        }
        match next {
            Next::One(job) => {
                let again = to_open(&job);
                let finished = do_one(job, &mut scratch);
                match again.filter(|_| finished.is_out_of_files()) {
                    Some(again) => {
                        shared.tell(&mut done);
                        thread::sleep(OPEN_PAUSE);
                        // What closes files has its turn first.
                        queue.lock().jobs.push_back(again);
                    }
                    None => done.push(finished),
                }
            }
            Next::Two(job, other) => do_both(job, other, &mut scratch, &mut done),
            Next::Folder(job, others) => sync_folder(job, others, &mut scratch, &mut done),
        }
        if done.len() >= TOLD_MAX || since.elapsed() >= TELL_AFTER {
            shared.tell(&mut done);
        }
    }
}

impl Next {
    fn is_quick(&self) -> bool {
        match self {
            Next::One(job) => job.is_quick(),
            Next::Two(job, other) => job.is_quick() && other.is_quick(),
            Next::Folder(..) => false,
        }
    }
}

/// Syncs a folder once for all who wanted it before.
fn sync_folder(job: Job, others: Vec<JobId>, scratch: &mut Vec<u8>, done: &mut Vec<Finished>) {
    let finished = do_one(job, scratch);
    let told = others.into_iter().map(|job| {
        let result = match &finished.completion {
            Completion::Op { result: DiskResult::Failed { error, .. }, .. } => {
                DiskResult::Failed { error: error.clone(), blocks: Vec::new() }
            }
            _ => DiskResult::Done,
        };
        Finished { completion: Completion::Op { job, result }, opened: None }
    });
    done.extend(told);
    done.push(finished);
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
