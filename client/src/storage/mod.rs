//! One torrent's files: what is there, where it goes, and when it is certain.
//!
//! [`Storage`] decides; whoever drives it executes. Beside the files, in the folder
//! [`STATE_FOLDER`], it keeps a journal per torrent ([`journal`]) that says which pieces are on
//! stable storage. A piece goes this way:
//!
//! 1. The journal is told that it will be written, and the write waits for that. Before the first
//!    file is made, the journal and its name are brought to stable storage.
//! 2. It is written: [`StorageEvent::Written`], readable from here on.
//! 3. At most `commit_interval_ms` later all files written to are brought to stable storage
//!    together, then the journal is told that the piece is kept, and is brought there too:
//!    [`StorageEvent::Kept`].
//!
//! So the journal never claims what a crash can take away, a crash costs one interval at most, and
//! after a crash only the pieces of step 1 that have not reached step 3 are read again. A file that
//! was changed by others is told by its length and mtime, and then its pieces are all read again.

mod check;
mod commit;
mod config;
mod decide;
mod event;
mod io;
mod jobs;
pub mod journal;
mod lane;
pub mod names;
mod open_files;
mod plan;
mod prepare;
mod reads;
pub mod relocate;
mod start;
mod write;

#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use wire::InfoHash;
use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::time::Time;

use crate::disk::{DiskError, DiskOp, DiskResult, Extent, FileStat, RelPath, Ticket};
use crate::payload::Payload;
use commit::Commit;
pub use config::Config;
pub use event::StorageEvent;
use io::{Io, Pending};
use jobs::{Job, Span, Work};
use journal::Record;
pub use journal::{read_header, read_info};
use lane::Lane;
use open_files::{Handle, OpenFiles};
use plan::Plan;
use prepare::Prepare;
#[cfg(feature = "driver")]
pub(crate) use prepare::not_enough_space;
use reads::Reads;
use start::Start;
use write::Unwritten;

/// The folder beneath a torrent's root where journals are.
pub const STATE_FOLDER: &str = ".trackerless";

/// Where a torrent's journal is, beneath its root.
pub fn journal_path(info_hash: &InfoHash) -> RelPath {
    vec![STATE_FOLDER.to_owned(), format!("{info_hash}.journal")]
}

/// Where what pieces have of files that are not wanted is kept, beneath a torrent's root.
pub fn part_path(info_hash: &InfoHash) -> RelPath {
    vec![STATE_FOLDER.to_owned(), format!("{info_hash}.part")]
}

/// A block to upload.
#[derive(Debug, PartialEq, Eq)]
pub enum BlockBytes<P> {
    /// It lies there.
    Extents(Vec<Extent>),
    /// It was read: it lies in more files than may be open.
    Payload(P),
}

/// How far a storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Made, not started.
    New,
    /// Finds out what is there.
    Starting,
    /// Reads pieces to know whether they are right.
    Checking,
    /// Takes and gives pieces.
    Ready,
    /// All files are closed.
    Closed,
}

/// The pure brain of one torrent's files.
///
/// After every call its outputs are drained: [`Storage::poll_op`], [`Storage::poll_event`]. Results
/// of operations come back by [`Storage::handle_disk`].
pub struct Storage<P: Payload> {
    config: Config,
    plan: Plan,
    info_hash: InfoHash,
    /// The info dict, until it is in the journal.
    raw_info: Arc<[u8]>,
    piece_hashes: Arc<[[u8; 20]]>,
    /// The files are there, whole or about to be found so, and never written to.
    seed: bool,
    /// Which files are wanted; None: all.
    selected: Option<Vec<bool>>,
    /// The pieces that have bytes of these.
    wanted: Bitfield,
    phase: Phase,
    /// Told [`StorageEvent::Failed`].
    failed: bool,
    /// After a failed sync or journal write nothing is committed any more.
    halted: bool,
    io: Io<P>,
    events: VecDeque<StorageEvent<P>>,
    open: OpenFiles,
    start: Start,
    /// By file, as last seen.
    stats: Vec<Option<FileStat>>,
    /// Readable pieces.
    have: Bitfield,
    lane: Option<Lane<P>>,
    /// To be recorded with whatever is recorded next.
    records: Vec<Record>,
    /// Whether the journal's last word is that all is as it says.
    clean: bool,
    last_alive: Option<Time>,
    /// What lies in the files may be ours, as the journal says.
    is_begun: bool,
    prepare: Prepare,
    /// Folders with names that may not last yet.
    folders: BTreeSet<RelPath>,
    to_check: VecDeque<u32>,
    /// Of these, what is written again if it is right, for what is there may be in memory alone.
    to_rewrite: BTreeSet<u32>,
    /// What is right, and being read and written again.
    rewriting: BTreeSet<u32>,
    check_progress: (u32, u32),
    /// Blocks of unfinished pieces that were found at the start.
    parts: BTreeMap<u32, Vec<u32>>,
    /// Handed in, not recorded as dirty yet.
    to_record: Vec<(Span, Vec<P>)>,
    /// Recorded, not begun.
    to_write: VecDeque<(Span, Vec<P>)>,
    /// Handed in, not written yet, by piece.
    unwritten: BTreeMap<u32, Unwritten>,
    jobs: VecDeque<Job<P>>,
    reads: Reads<P>,
    writes_in_flight: usize,
    checks_in_flight: usize,
    /// Readable, not in a commit yet.
    uncommitted: BTreeSet<u32>,
    /// Blocks of unfinished pieces that are in the files and not in a commit yet.
    uncommitted_parts: BTreeMap<u32, BTreeSet<u32>>,
    uncommitted_bytes: u64,
    uncommitted_since: Option<Time>,
    /// Something was written again: whoever is killed before its commit would have that to do again, and
    /// if it is killed soon each time, for ever.
    has_rewritten: bool,
    /// Files with bytes that may not last yet, and what they are open as.
    dirty: BTreeMap<usize, Handle>,
    /// Files whose recorded state may not be their last.
    unsettled: BTreeSet<usize>,
    commit: Option<Commit>,
    flush_wanted: bool,
}

impl<P: Payload> Storage<P> {
    /// The storage of a torrent to download; it also finds what is there already.
    ///
    /// `space` tells this storage's tickets and files from those of the session's others: it stands
    /// in their upper 32 bits. `u32::MAX` is not to be used.
    pub fn new(info: &Info, config: Config, space: u32) -> Storage<P> {
        let plan = Plan::new(info);
        Storage {
            have: Bitfield::new(plan.piece_count()),
            wanted: Bitfield::full(plan.piece_count()),
            selected: None,
            stats: vec![None; plan.files.len()],
            open: OpenFiles::new(config.open_files_max),
            info_hash: info.info_hash,
            raw_info: info.raw.clone(),
            piece_hashes: info.piece_hashes.clone(),
            plan,
            config,
            seed: false,
            phase: Phase::New,
            failed: false,
            halted: false,
            io: Io::new(space),
            events: VecDeque::new(),
            start: Start::default(),
            lane: None,
            records: Vec::new(),
            clean: false,
            last_alive: None,
            is_begun: false,
            prepare: Prepare::default(),
            folders: BTreeSet::new(),
            to_check: VecDeque::new(),
            to_rewrite: BTreeSet::new(),
            rewriting: BTreeSet::new(),
            check_progress: (0, 0),
            parts: BTreeMap::new(),
            to_record: Vec::new(),
            to_write: VecDeque::new(),
            unwritten: BTreeMap::new(),
            jobs: VecDeque::new(),
            reads: Reads::default(),
            writes_in_flight: 0,
            checks_in_flight: 0,
            uncommitted: BTreeSet::new(),
            uncommitted_parts: BTreeMap::new(),
            uncommitted_bytes: 0,
            uncommitted_since: None,
            has_rewritten: false,
            dirty: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            commit: None,
            flush_wanted: false,
        }
    }

    /// The storage of a torrent whose files are there and right: nothing is read but what is
    /// uploaded, nothing written, and there is no journal. Only the files' lengths are compared.
    pub fn seed(info: &Info, config: Config, space: u32) -> Storage<P> {
        let mut storage = Storage::new(info, config, space);
        storage.seed = true;
        storage.raw_info = Arc::default();
        storage.piece_hashes = Arc::default();
        storage
    }

    /// Where the files really are, by their place in the info dict, instead of where it says.
    pub fn with_paths(mut self, paths: impl IntoIterator<Item = RelPath>) -> Storage<P> {
        for (file, path) in self.plan.files.iter_mut().zip(paths) {
            file.path = path;
        }
        self
    }

    /// Only these files are wanted, by their place in the info dict. Others that are there are used;
    /// others that are not are not made, and what the wanted pieces have of them is kept in a file
    /// beside the journal.
    pub fn with_selection(mut self, files: impl IntoIterator<Item = u32>) -> Storage<P> {
        let mut selected = vec![false; self.plan.part()];
        for file in files {
            if let Some(selected) = selected.get_mut(file as usize) {
                *selected = true;
            }
        }
        self.wanted = self.plan.pieces_of_all(|file| selected.get(file).copied().unwrap_or(false));
        self.selected = Some(selected);
        self
    }

    /// The pieces that have bytes of the files that are wanted.
    pub fn wanted(&self) -> &Bitfield {
        &self.wanted
    }

    /// Begins: [`StorageEvent::Started`] or [`StorageEvent::Failed`] tells how that went.
    pub fn start(&mut self, now: Time) {
        if self.phase == Phase::New {
            self.phase = Phase::Starting;
            self.begin();
            self.pump(now);
        }
    }

    /// Brings all that was written to stable storage and records the files' states, so that the
    /// next start reads nothing: [`StorageEvent::Flushed`]. A check under way is left for later.
    /// The storage goes on afterwards.
    pub fn flush(&mut self, now: Time) {
        self.flush_wanted = true;
        self.pump(now);
    }

    /// Closes all files and lets go of the lock, once what is under way is done. What is not flushed
    /// is checked at the next start.
    pub fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.to_record.clear();
            self.to_write.clear();
            self.jobs.clear();
            self.to_check.clear();
            self.lane = None;
            self.close_idle();
        }
    }

    /// The result of an operation.
    pub fn handle_disk(&mut self, now: Time, ticket: Ticket, result: DiskResult<P>) {
        let Some(pending) = self.io.take(ticket) else { return };
        if self.phase == Phase::Closed {
            self.on_closed(pending, &result);
            return;
        }
        match result {
            DiskResult::Failed { error, .. } => self.on_failed(now, pending, error),
            result => self.on_done(now, pending, result),
        }
        self.pump(now);
    }

    /// The deadline may be past.
    pub fn handle_timeout(&mut self, now: Time) {
        self.pump(now);
    }

    /// The next operation to execute.
    pub fn poll_op(&mut self) -> Option<(Ticket, DiskOp<P>)> {
        self.io.poll()
    }

    /// What the torrent is to know.
    pub fn poll_event(&mut self) -> Option<StorageEvent<P>> {
        self.events.pop_front()
    }

    /// When [`Storage::handle_timeout`] is to be called: the next commit is due, or somebody's turn to
    /// read.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.phase == Phase::Closed {
            return None;
        }
        let may_commit = self.commit.is_none() && !self.halted && self.has_uncommitted();
        let since = self.uncommitted_since.filter(|_| may_commit);
        let commit = since.map(|since| since + self.config.commit_interval());
        [commit, self.read_due()].into_iter().flatten().min()
    }

    /// Pieces checked, and pieces to check in all.
    pub fn check_progress(&self) -> (u32, u32) {
        self.check_progress
    }

    /// Bytes handed in and not written yet.
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten.values().map(|piece| piece.bytes).sum()
    }

    /// Whether all that can be read is on stable storage and recorded.
    pub fn is_settled(&self) -> bool {
        self.unwritten.is_empty() && !self.has_uncommitted() && self.commit.is_none()
    }

    /// Whether a start reads all that is there, because there can be no journal.
    pub fn is_costly_to_start(&self) -> bool {
        self.start.denied.is_some()
    }

    fn on_done(&mut self, now: Time, pending: Pending, result: DiskResult<P>) {
        match pending {
            Pending::Ignored => {}
            Pending::Start(step) => self.on_start(step, result),
            Pending::Open(handle) => {
                if let DiskResult::Stat(Some(stat)) = result
                    && !self.failed
                    && !self.is_as_left(handle.file, stat)
                {
                    self.doubt(handle.file, stat);
                }
                self.open.opened(handle);
            }
            Pending::Close(handle) => self.open.closed(&mut self.io, &self.plan, handle),
            Pending::Hash(run) => self.on_hashed(now, run, result),
            Pending::Prepare(step) => self.on_prepared(step, result),
            Pending::Write(run) => self.on_written(now, run, result),
            Pending::Read(run) => self.on_part_read(run, result),
            Pending::Spread(reader, span) => self.on_spread(reader, span, Some(result)),
            Pending::Journal => self.on_journal(now, result),
            Pending::Commit(step) => self.on_commit(now, step, result),
        }
    }

    fn on_failed(&mut self, now: Time, pending: Pending, error: DiskError) {
        match pending {
            Pending::Ignored => {}
            Pending::Hash(run) if error.kind == crate::disk::DiskErrorKind::NotFound => {
                self.on_checked(now, run, None);
            }
            Pending::Hash(run) => {
                self.drop_job(Job { run, work: Work::Check(None) });
                self.fail(error);
            }
            Pending::Spread(reader, span) => {
                self.on_spread(reader, span, None);
                self.fail(error);
            }
            Pending::Read(run) => {
                let is_gone = error.kind == crate::disk::DiskErrorKind::NotFound;
                self.on_part_read(run, DiskResult::Done);
                if !is_gone {
                    self.fail(error);
                }
            }
            Pending::Write(run) => {
                self.drop_job(Job { run, work: Work::Write(Vec::new()) });
                self.fail(error);
            }
            Pending::Open(handle) => {
                self.open.failed(handle);
                self.fail(error);
            }
            Pending::Close(handle) => self.open.closed(&mut self.io, &self.plan, handle),
            Pending::Journal => self.on_journal_failed(error),
            Pending::Commit(step) => self.on_commit_failed(now, step, error),
            Pending::Start(step) => self.on_start_failed(&step, error),
            Pending::Prepare(step) => {
                self.close_prepared(&step, false);
                self.fail(error);
            }
        }
    }

    /// Stops; what was written before is still committed.
    fn fail(&mut self, error: DiskError) {
        let dropped = self.to_record.drain(..).chain(self.to_write.drain(..)).collect();
        self.drop_writes(dropped);
        self.to_check.clear();
        self.drop_reads();
        for job in std::mem::take(&mut self.jobs) {
            self.drop_job(job);
        }
        if !self.failed {
            self.failed = true;
            self.events.push_back(StorageEvent::Failed { error });
        }
    }

    /// Does all that can be done now.
    fn pump(&mut self, now: Time) {
        if self.phase == Phase::Closed {
            return;
        }
        self.pump_start();
        self.pump_checks();
        self.pump_prepare();
        self.pump_writes(now);
        self.pump_jobs();
        self.pump_reads(now);
        self.pump_commit(now);
        self.pump_flush();
        self.pump_lane(now);
    }

    /// A result that comes after the end.
    fn on_closed(&mut self, pending: Pending, result: &DiskResult<P>) {
        let is_done = !matches!(result, DiskResult::Failed { .. });
        match pending {
            Pending::Open(handle) if is_done => {
                self.open.opened(handle);
            }
            Pending::Open(handle) => self.open.failed(handle),
            Pending::Start(start::Step::OpenJournal(file) | start::Step::OpenAgain(file))
                if is_done =>
            {
                self.start.journal = Some(file);
            }
            Pending::Prepare(step) => self.close_prepared(&step, is_done),
            _ => {}
        }
        self.close_idle();
    }

    /// Closes everything if nothing is under way.
    fn close_idle(&mut self) {
        if self.io.is_idle() {
            self.open.close_all(&mut self.io);
            if let Some(file) = self.start.journal.take() {
                self.io.submit(DiskOp::Close { file }, Pending::Ignored);
            }
        }
    }
}
