//! What must be there before the first write: space, folders, and the files at their full length.

use std::collections::{BTreeSet, VecDeque};

use super::io::Pending;
use super::journal::Record;
use super::lane::{Step as LaneStep, Then};
use super::{STATE_FOLDER, Storage, plan::Plan};
use crate::disk::{DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, OpenMode, RelPath};
use crate::payload::Payload;

/// What an operation of the preparation is for.
#[derive(Debug)]
pub(super) enum Step {
    Space,
    Folder,
    Open {
        file: (usize, FileId),
    },
    Len {
        file: (usize, FileId),
    },
    Stat {
        file: (usize, FileId),
    },
    /// Until then it is locked.
    Close,
}

impl Step {
    /// The file that it works on.
    pub(super) fn file(&self) -> Option<FileId> {
        match self {
            Step::Space | Step::Folder | Step::Close => None,
            Step::Open { file } | Step::Len { file } | Step::Stat { file } => Some(file.1),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Step::Open { .. })
    }
}

/// How far the preparation is.
#[derive(Default)]
pub(super) struct Prepare {
    stage: Stage,
    folders: VecDeque<RelPath>,
    files: VecDeque<usize>,
    in_flight: usize,
}

#[derive(Default, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Space,
    Folders,
    Files,
    Done,
}

impl Prepare {
    pub(super) fn is_new(&self) -> bool {
        self.stage == Stage::New
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether there is nothing under way.
    pub(super) fn is_idle(&self) -> bool {
        self.is_new() || self.is_done()
    }
}

impl<P: Payload> Storage<P> {
    pub(super) fn begin_prepare(&mut self) {
        self.prepare.stage = Stage::Space;
        self.prepare.in_flight = 1;
        self.submit_prepare(DiskOp::FreeSpace, Step::Space);
        if let Some(lane) = self.lane.as_mut().filter(|_| !self.is_begun) {
            // Whatever becomes of this run, the next is to know whose the files are.
            let names = [Vec::new(), vec![STATE_FOLDER.to_owned()]].map(LaneStep::SyncFolder);
            let begun = [LaneStep::Append(vec![Record::Begun]), LaneStep::Sync];
            lane.push(names.into_iter().chain(begun), Then::Nothing);
            self.is_begun = true;
        }
    }

    fn submit_prepare(&mut self, op: DiskOp<P>, step: Step) {
        self.io.submit(op, Pending::Prepare(step));
    }

    pub(super) fn pump_prepare(&mut self) {
        if self.prepare.is_idle() || self.failed {
            return;
        }
        let max = self.config.file_ops_in_flight_max;
        if self.prepare.stage == Stage::Folders {
            while self.prepare.in_flight < max
                && let Some(path) = self.prepare.folders.pop_front()
            {
                self.prepare.in_flight += 1;
                self.submit_prepare(DiskOp::MakeFolder { path }, Step::Folder);
            }
            if self.prepare.in_flight == 0 {
                self.prepare.stage = Stage::Files;
            }
        }
        if self.prepare.stage == Stage::Files && self.is_lane_idle() {
            while self.prepare.in_flight < max
                && let Some(index) = self.prepare.files.pop_front()
            {
                self.prepare.in_flight += 1;
                let file = (index, self.io.new_file());
                let path = self.plan.files[index].path.clone();
                let op = DiskOp::Open { file: file.1, path, mode: OpenMode::Write };
                self.submit_prepare(op, Step::Open { file });
            }
            if self.prepare.in_flight == 0 {
                self.prepare.stage = Stage::Done;
            }
        }
    }

    pub(super) fn on_prepared(&mut self, step: Step, result: DiskResult<P>) {
        match step {
            Step::Space => {
                self.prepare.in_flight -= 1;
                if let DiskResult::FreeSpace(free) = result {
                    self.on_space(free);
                }
            }
            Step::Folder | Step::Close => self.prepare.in_flight -= 1,
            Step::Open { file } => {
                // Only now: a commit under way since before would sync folders without its name.
                self.doubt_names(&[file.0]);
                let len = self.plan.files[file.0].len;
                if len == 0 {
                    self.stat_prepared(file);
                } else if self.config.preallocate && file.0 != self.plan.part() {
                    self.submit_prepare(DiskOp::Allocate { file: file.1, len }, Step::Len { file });
                } else {
                    self.submit_prepare(DiskOp::SetLen { file: file.1, len }, Step::Len { file });
                }
            }
            Step::Len { file } => self.stat_prepared(file),
            Step::Stat { file } => {
                self.submit_prepare(DiskOp::Close { file: file.1 }, Step::Close);
                if let DiskResult::Stat(Some(stat)) = result {
                    self.stats[file.0] = Some(stat);
                    let index = file.0 as u32;
                    self.records.push(Record::File { index, stamp: stat.into() });
                }
                self.unsettled.insert(file.0);
            }
        }
    }

    /// Closes the file of a step that none follows, if it is open.
    pub(super) fn close_prepared(&mut self, step: &Step, is_done: bool) {
        if let Some(file) = step.file().filter(|_| is_done || !step.is_open()) {
            self.io.submit(DiskOp::Close { file }, Pending::Ignored);
        }
    }

    fn stat_prepared(&mut self, file: (usize, FileId)) {
        let path = self.plan.files[file.0].path.clone();
        self.submit_prepare(DiskOp::Stat { path }, Step::Stat { file });
    }

    /// Whether what is missing fits into `free` bytes and the room that the files have for it.
    pub(super) fn check_space(&self, free: u64) -> Result<(), DiskError> {
        let mut missing = vec![0; self.plan.files.len()];
        for piece in self.wanted.ones().filter(|piece| !self.have.get(*piece)) {
            self.plan.real_extents(piece).for_each(|(file, _, len)| missing[file] += len);
        }
        let files = self.plan.files.iter().zip(&self.stats).zip(missing);
        let needed: u64 = files
            .map(|((file, stat), missing)| {
                // Of a file's room, what is not missing has as much as it is long at most. What is
                // allocated behind the end may be for something else.
                let room = stat.map_or(0, |stat| stat.allocated.min(stat.len));
                missing.saturating_sub(room.saturating_sub(file.len.saturating_sub(missing)))
            })
            .sum();
        if needed > free {
            return Err(not_enough_space(needed, free));
        }
        Ok(())
    }

    /// The names of these files, which are there, may not last yet, until the next commit.
    pub(super) fn doubt_names(&mut self, files: &[usize]) {
        for parent in parents(&self.plan, files) {
            // The folder's own name lasts when the folder above it is synced.
            self.folders.extend((0..=parent.len()).map(|depth| parent[..depth].to_vec()));
        }
    }

    /// Plans the rest, if the space is still enough.
    fn on_space(&mut self, free: u64) {
        if let Err(error) = self.check_space(free) {
            return self.fail(error);
        }
        let to_make: Vec<usize> = (0..self.plan.files.len())
            .filter(|index| {
                let len = self.stats[*index].map(|stat| stat.len);
                self.plan.is_real(*index) && len.is_none_or(|len| len < self.plan.files[*index].len)
            })
            .collect();
        let parents = parents(&self.plan, &to_make).into_iter();
        self.prepare.folders = parents.filter(|path| !path.is_empty()).collect();
        self.prepare.files = to_make.into();
        self.prepare.stage = Stage::Folders;
    }
}

/// The folders that files lie in.
fn parents(plan: &Plan, files: &[usize]) -> BTreeSet<RelPath> {
    let paths = files.iter().filter_map(|index| plan.files.get(*index));
    paths.filter_map(|file| file.path.split_last()).map(|(_, parent)| parent.to_vec()).collect()
}

/// So many bytes are needed, and so many are free.
pub(crate) fn not_enough_space(needed: u64, free: u64) -> DiskError {
    let message = format!(
        "not enough space: {} more are needed, {} are free",
        bytes_text(needed),
        bytes_text(free)
    );
    DiskError { kind: DiskErrorKind::Full, message }
}

/// "1.5 GiB (1610612736 bytes)".
fn bytes_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            format!("{}.{} {unit} ({bytes} bytes)", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}
