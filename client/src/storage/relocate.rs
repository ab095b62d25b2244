//! The steps by which files get other places, so that at any moment all of them can be found in one.
//!
//! 1. Each file gets its new name beside the old one (a link), or a durable copy where the new place is
//!    on another file system; then the folders with the new names are synced.
//! 2. What makes the new place the one that counts comes last: the journal is brought there, or the
//!    names are recorded; and its folder is synced.
//! 3. Only then do the old names go.
//!
//! What fails in 1 or 2 is undone, and the old place has all that it had. A crash leaves the old place
//! whole before the end of 2, and the new one after it; what was left in the other is not believed
//! blindly: without a journal it is hashed, and by a journal what is missing counts as lost. Only
//! where a file system has no links a file is renamed at once in 1, and a crash before the end of 2
//! can leave some files in each place.

use std::collections::{BTreeSet, VecDeque};

use super::STATE_FOLDER;
use crate::disk::{DiskError, RelPath};

/// Which of the two roots; when a file is renamed beneath its root both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the files are.
    Old,
    /// Where they go.
    New,
}

/// One step, to be executed before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a folder of the new place.
    MakeFolder(RelPath),
    /// Gives a file its new name as well, over no other: links it; or copies it, data and mtime, and
    /// syncs the copy; or, without links, renames it ([`Did::Renamed`]). It leaves nothing if it fails.
    Bring {
        /// In the old place.
        from: RelPath,
        /// In the new place.
        to: RelPath,
    },
    /// Makes the names in a folder last; empty is the root.
    SyncFolder(Place, RelPath),
    /// Replaces the bytes of the file of names; `None`: there is none. It changes nothing if it fails.
    Record {
        /// From here on.
        now: Option<Vec<u8>>,
        /// So far.
        before: Option<Vec<u8>>,
    },
    /// Removes a file, if it is there.
    Unlink(Place, RelPath),
    /// Renames a file back, over no other.
    PutBack {
        /// In the old place.
        from: RelPath,
        /// In the new place.
        to: RelPath,
    },
    /// Removes a folder if nothing is in it.
    RemoveFolder(Place, RelPath),
}

/// What became of a step that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// What it says.
    Done,
    /// A file was renamed, and its old name is gone.
    Renamed,
}

/// What is to get another place. Only what is there.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// From where to where.
    pub files: Vec<(RelPath, RelPath)>,
    /// The same of what makes the new place count: the journal.
    pub state: Vec<(RelPath, RelPath)>,
    /// The bytes of the file of names, and those so far.
    pub record: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Folders of the new place that are not there, outer ones first.
    pub missing: Vec<RelPath>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Bringing,
    Undoing,
    Dropping,
}

/// Files on their way: hands out the steps, and takes what became of each.
pub struct Relocation {
    phase: Phase,
    steps: VecDeque<Step>,
    /// To be done once all is in the new place.
    after: VecDeque<Step>,
    /// To be done, from the last to the first, if something fails before that.
    undo: Vec<Step>,
    error: Option<DiskError>,
    left_behind: Vec<DiskError>,
}

impl Relocation {
    /// Plans it.
    pub fn new(moves: Moves) -> Relocation {
        let Moves { files, state, record, missing } = moves;
        let bring = |(from, to): &(RelPath, RelPath)| {
            let (from, to) = (from.clone(), to.clone());
            Step::Bring { from, to }
        };
        let mut steps: VecDeque<Step> = missing.into_iter().map(Step::MakeFolder).collect();
        steps.extend(files.iter().map(bring));
        let new_folders = folders(files.iter().map(|(_, to)| to));
        steps.extend(new_folders.into_iter().map(|path| Step::SyncFolder(Place::New, path)));
        steps.extend(state.iter().map(bring));
        let has_record = record.is_some();
        steps.extend(record.map(|(now, before)| Step::Record { now: Some(now), before }));
        if has_record || !state.is_empty() {
            let folders = [vec![STATE_FOLDER.to_owned()], Vec::new()];
            steps.extend(folders.map(|path| Step::SyncFolder(Place::New, path)));
        }
        let olds = || files.iter().chain(&state).map(|(from, _)| from);
        let mut after: VecDeque<Step> =
            olds().map(|from| Step::Unlink(Place::Old, from.clone())).collect();
        let old_folders = folders(olds());
        after.extend(old_folders.iter().map(|path| Step::SyncFolder(Place::Old, path.clone())));
        let emptied = old_folders.into_iter().rev().filter(|path| !path.is_empty());
        after.extend(emptied.map(|path| Step::RemoveFolder(Place::Old, path)));
        let mut relocation = Relocation {
            phase: Phase::Bringing,
            steps,
            after,
            undo: Vec::new(),
            error: None,
            left_behind: Vec::new(),
        };
        relocation.end_bringing();
        relocation
    }

    /// The step to execute; `None`: it is over.
    pub fn next_step(&self) -> Option<&Step> {
        self.steps.front()
    }

    /// What became of [`Relocation::next_step`].
    pub fn handle(&mut self, result: Result<Did, DiskError>) {
        let Some(step) = self.steps.pop_front() else { return };
        match (self.phase, result) {
            (Phase::Bringing, Ok(did)) => {
                if let (Step::Bring { from, .. }, Did::Renamed) = (&step, did) {
                    let its_old = Step::Unlink(Place::Old, from.clone());
                    self.after.retain(|step| *step != its_old);
                }
                self.undo.extend(undo(step, did));
                self.end_bringing();
            }
            (Phase::Bringing, Err(error)) => {
                self.error = Some(error);
                self.phase = Phase::Undoing;
                self.steps = std::mem::take(&mut self.undo).into_iter().rev().collect();
            }
            (Phase::Undoing | Phase::Dropping, Err(error)) => self.left_behind.push(error),
            (Phase::Undoing | Phase::Dropping, Ok(_)) => {}
        }
    }

    fn end_bringing(&mut self) {
        if self.steps.is_empty() && self.phase == Phase::Bringing {
            self.phase = Phase::Dropping;
            self.steps = std::mem::take(&mut self.after);
        }
    }

    /// How it ended: all is in the new place, and what kept old names from being removed; or all is in
    /// the old place.
    ///
    /// # Errors
    /// Why it was undone, and what could not be.
    pub fn end(self) -> Result<Vec<DiskError>, DiskError> {
        let Some(mut error) = self.error else { return Ok(self.left_behind) };
        for other in self.left_behind {
            error.message += &format!("; and it could not be undone: {other}");
        }
        Err(error)
    }
}

/// What undoes a step, the last first.
fn undo(step: Step, did: Did) -> Vec<Step> {
    match (step, did) {
        (Step::MakeFolder(path), _) => vec![Step::RemoveFolder(Place::New, path)],
        (Step::Bring { to, .. }, Did::Done) => vec![Step::Unlink(Place::New, to)],
        (Step::Bring { from, to }, Did::Renamed) => {
            let folder = from.split_last().map_or_else(Vec::new, |(_, folder)| folder.to_vec());
            vec![Step::SyncFolder(Place::Old, folder), Step::PutBack { from, to }]
        }
        (Step::Record { now, before }, _) => vec![Step::Record { now: before, before: now }],
        _ => Vec::new(),
    }
}

/// The folders that these lie in, and those above them.
pub(crate) fn folders<'a>(paths: impl IntoIterator<Item = &'a RelPath>) -> BTreeSet<RelPath> {
    paths.into_iter().flat_map(|path| (0..path.len()).map(|len| path[..len].to_vec())).collect()
}
