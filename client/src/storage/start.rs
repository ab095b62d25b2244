//! The start: lock and read the journal, look at the files, decide.

use wire::bitfield::Bitfield;

use std::sync::Arc;

use super::decide::{Decision, decide};
use super::io::Pending;
use super::journal::{PieceSet, Record, Replay, Stamp, Tail};
use super::lane::{Lane, Step as LaneStep, Then};
use super::{Phase, STATE_FOLDER, Storage, StorageEvent, journal_path};
use crate::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, Extent, FileId, FileStat, OpenMode,
};
use crate::payload::Payload;

/// What an operation of the start is for.
#[derive(Debug)]
pub(super) enum Step {
    OpenJournal(FileId),
    /// There was no folder for it.
    MakeFolder(FileId),
    /// Once more, in the folder.
    OpenAgain(FileId),
    ReadJournal,
    StatFile(usize),
    Space,
}

/// State of the start.
#[derive(Default)]
pub(super) struct Start {
    /// The journal, open and locked.
    pub(super) journal: Option<FileId>,
    journal_len: u64,
    /// It is there, and its head says nothing of this torrent.
    is_damaged: bool,
    /// Why there can be no journal. What is whole is served without one, and never written.
    pub(super) denied: Option<DiskError>,
    replay: Option<Replay>,
    /// The journal has been looked at.
    is_read: bool,
    next_stat: usize,
    stats_in_flight: usize,
}

impl<P: Payload> Storage<P> {
    pub(super) fn begin(&mut self) {
        if self.seed {
            self.start.is_read = true;
        } else {
            let file = self.io.new_file();
            self.open_journal(file, Step::OpenJournal(file));
        }
    }

    fn open_journal(&mut self, file: FileId, step: Step) {
        let path = journal_path(&self.info_hash);
        let op = DiskOp::Open { file, path, mode: OpenMode::WriteLocked };
        self.submit_start(op, step);
    }

    /// Before the first journal in it, there is no folder.
    fn make_journals_folder(&mut self, file: FileId) {
        let path = vec![STATE_FOLDER.to_owned()];
        self.submit_start(DiskOp::MakeFolder { path }, Step::MakeFolder(file));
    }

    fn submit_start(&mut self, op: DiskOp<P>, step: Step) {
        self.io.submit(op, Pending::Start(step));
    }

    pub(super) fn on_start(&mut self, step: Step, result: DiskResult<P>) {
        match (step, result) {
            (Step::MakeFolder(file), _) => self.open_journal(file, Step::OpenAgain(file)),
            (Step::OpenJournal(file) | Step::OpenAgain(file), DiskResult::Stat(stat)) => {
                let len = stat.map_or(0, |stat| stat.len);
                self.start.journal = Some(file);
                self.start.journal_len = len;
                if len > 0 && len <= self.config.journal_bytes_max {
                    let extent = Extent { file, offset: 0, len };
                    self.submit_start(DiskOp::Read { extent }, Step::ReadJournal);
                } else {
                    self.start.is_read = true;
                }
            }
            (Step::ReadJournal, DiskResult::Bytes(bytes)) => {
                let (pieces, files) = (self.plan.piece_count(), self.plan.files.len());
                self.start.replay = Replay::read(&bytes, &self.info_hash, pieces, files);
                self.start.is_read = true;
            }
            (Step::StatFile(index), DiskResult::Stat(stat)) => {
                self.start.stats_in_flight -= 1;
                self.stats[index] = stat;
            }
            (Step::Space, DiskResult::FreeSpace(free)) => {
                if let Err(error) = self.check_space(free) {
                    return self.fail(error);
                }
                self.set_ready();
            }
            // An answer of another kind: the driver is wrong, and there is nothing to go on with.
            (step, _) => {
                let message = format!("{step:?}: unexpected answer");
                self.fail(DiskError { kind: DiskErrorKind::Other, message });
            }
        }
    }

    pub(super) fn on_start_failed(&mut self, step: &Step, error: DiskError) {
        match (step, error.kind) {
            (Step::OpenJournal(file), DiskErrorKind::NotFound) => self.make_journals_folder(*file),
            // There may be all that is wanted, in a folder that is not ours to write to.
            (
                Step::OpenJournal(_) | Step::MakeFolder(_) | Step::OpenAgain(_),
                DiskErrorKind::Denied,
            ) => {
                self.start.denied = Some(error);
                self.start.is_read = true;
            }
            _ => self.fail(error),
        }
    }

    pub(super) fn pump_start(&mut self) {
        if self.phase != Phase::Starting || !self.start.is_read || self.failed {
            return;
        }
        while self.start.stats_in_flight < self.config.file_ops_in_flight_max
            && let Some(file) = self.plan.files.get(self.start.next_stat)
        {
            let index = self.start.next_stat;
            self.start.next_stat += 1;
            let is_idle_part = index == self.plan.part() && self.selected.is_none();
            if !file.pad && !is_idle_part {
                self.start.stats_in_flight += 1;
                let path = file.path.clone();
                self.submit_start(DiskOp::Stat { path }, Step::StatFile(index));
            }
        }
        if self.start.stats_in_flight == 0 {
            if self.seed { self.start_seed() } else { self.start_download() }
        }
    }

    fn start_seed(&mut self) {
        for (file, stat) in self.plan.files.iter().zip(&self.stats).take(self.plan.part()) {
            let there = stat.map(|stat| stat.len);
            if file.pad || there == Some(file.len) {
                continue;
            }
            let path = file.path.join("/");
            let message = match there {
                None => format!("{path} is not there"),
                Some(len) => format!("{path} has {len} bytes, but {} in the torrent", file.len),
            };
            return self.fail(DiskError { kind: DiskErrorKind::Other, message });
        }
        self.have = Bitfield::full(self.plan.piece_count());
        self.set_ready();
    }

    fn start_download(&mut self) {
        let replay = self.start.replay.take();
        let is_new = replay.is_none();
        self.is_begun = replay.as_ref().is_some_and(|replay| replay.is_begun);
        self.start.is_damaged = is_new && self.start.journal_len > 0;
        if self.start.is_damaged {
            // That is ours as well, and so the next start is to know. It is recorded again, and synced,
            // before a file is made.
            self.records.push(Record::Begun);
        }
        let replay = replay.unwrap_or_else(|| {
            let (_, tail) = Tail::start(&self.info_hash, &[]);
            Replay::empty(self.plan.piece_count(), self.plan.files.len(), tail)
        });
        self.settle_selection(&replay);
        let decided = decide(&self.plan, &replay, &self.stats, &self.wanted, &self.config);
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => return self.fail(error),
        };
        if is_new || !replay.clean {
            // A run that was killed may have made files, and not have come to sync their names.
            self.folders.extend([Vec::new(), vec![STATE_FOLDER.to_owned()]]);
            let is_there = |index: &usize| self.stats.get(*index).is_some_and(Option::is_some);
            let there: Vec<usize> = (0..self.plan.files.len()).filter(is_there).collect();
            self.doubt_names(&there);
        }
        self.open_lane(&replay, is_new, &decision);
        self.seed = self.start.denied.is_some();
        for (index, (stat, record)) in self.stats.iter().zip(&replay.files).enumerate() {
            if self.plan.is_real(index) && stat.map(Stamp::from) != record.map(|record| record.last)
            {
                self.unsettled.insert(index);
            }
        }
        self.clean = replay.clean && !is_new && self.records.is_empty();
        self.have = decision.have;
        self.parts = decision.parts;
        self.check_progress = (0, decision.check.len() as u32);
        self.to_check = decision.check.into();
        self.phase = Phase::Checking;
        if self.to_check.is_empty() {
            self.on_known();
        }
    }

    /// Which files are wanted or there; what pieces have of the others is in the part file.
    fn settle_selection(&mut self, replay: &Replay) {
        if let Some(selected) = &self.selected {
            for index in 0..self.plan.part() {
                let there = self.stats[index].map(|stat| stat.len);
                let is_short = there.is_none_or(|len| len < self.plan.files[index].len);
                if is_short && !selected.get(index).copied().unwrap_or(false) {
                    self.plan.put_in_part(index);
                }
            }
        }
        let part = self.plan.part();
        self.plan.settle_part(self.stats[part].is_some(), &self.wanted);
        if !self.plan.is_real(part) && replay.files[part].is_some() {
            self.stats[part] = None;
            let path = self.plan.files[part].path.clone();
            self.io.submit(DiskOp::Unlink { path }, Pending::Ignored);
        }
    }

    /// All that is there is known. What is missing must have room before anybody is asked for it.
    pub(super) fn on_known(&mut self) {
        let is_whole = self.have.contains(&self.wanted);
        let is_final = is_whole && !self.lacks_files();
        if let Some(error) = self.start.denied.clone().filter(|_| !is_final) {
            self.fail(error);
        } else if is_whole {
            self.set_ready();
        } else if let Err(error) = self.refuse_strangers() {
            self.fail(error);
        } else {
            self.submit_start(DiskOp::FreeSpace, Step::Space);
        }
    }

    /// A file that no run of ours wrote, and of which nothing is right, may be somebody's own.
    fn refuse_strangers(&self) -> Result<(), DiskError> {
        if self.is_begun || self.start.is_damaged || self.have.count() > 0 {
            return Ok(());
        }
        for (index, file) in self.plan.files.iter().enumerate().take(self.plan.part()) {
            let is_wanted = self.selected.as_ref().is_none_or(|selected| selected[index]);
            let Some(stat) = self.stats[index].filter(|stat| stat.len > 0 && is_wanted) else {
                continue;
            };
            // As other programs make it before they write.
            let is_hole = stat.allocated == 0 && stat.len == file.len;
            if self.plan.is_real(index) && !is_hole {
                let path = file.path.join("/");
                let message = format!("{path} is there and holds nothing of this torrent");
                return Err(DiskError { kind: DiskErrorKind::Conflict, message });
            }
        }
        Ok(())
    }

    /// Prepares the journal for new records, and first takes back what is in doubt.
    fn open_lane(&mut self, replay: &Replay, is_new: bool, decision: &Decision) {
        let Some(file) = self.start.journal else { return };
        let mut lane = Lane::new(file, replay.tail);
        let mut steps = Vec::new();
        if is_new {
            steps.push(LaneStep::Header);
        } else {
            self.raw_info = Arc::default();
            if replay.tail.end < self.start.journal_len {
                steps.push(LaneStep::Cut);
            }
        }
        let check = || decision.check.iter().copied();
        let doubtful = check().filter(|piece| !replay.dirty.get(*piece));
        self.records.extend(PieceSet::all(doubtful).into_iter().map(Record::Doubt));
        self.to_rewrite = check().filter(|piece| replay.unsure.get(*piece)).collect();
        let unsure = PieceSet::all(self.to_rewrite.iter().copied());
        self.records.extend(unsure.into_iter().map(Record::Dirty));
        let lost = decision.lost.iter().copied();
        self.records.extend(PieceSet::all(lost).into_iter().map(Record::Lost));
        // Behind what is in doubt for it: a record is valid only behind those before it.
        let moved = decision.moved.iter().map(|index| Record::Apart { index: *index as u32 });
        self.records.extend(moved);
        if !self.records.is_empty() {
            steps.push(LaneStep::Append(std::mem::take(&mut self.records)));
        }
        if !self.to_rewrite.is_empty() {
            steps.extend([LaneStep::Alive, LaneStep::Sync]);
        }
        if !steps.is_empty() {
            lane.push(steps, Then::Nothing);
        }
        self.lane = Some(lane);
    }

    fn set_ready(&mut self) {
        self.phase = Phase::Ready;
        let parts = std::mem::take(&mut self.parts);
        self.events.push_back(StorageEvent::Started { have: self.have.clone(), parts });
        // A torrent with nothing to fetch may still have empty files to make.
        if !self.seed && self.have.contains(&self.wanted) && self.lacks_files() {
            self.begin_prepare();
        }
    }

    fn lacks_files(&self) -> bool {
        let missing =
            |(file, stat): (usize, &Option<FileStat>)| stat.is_none() && self.plan.is_real(file);
        self.stats.iter().enumerate().any(missing)
    }
}
