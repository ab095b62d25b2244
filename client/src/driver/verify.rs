//! Holds what lies in a folder against a torrent, and writes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::metainfo::{FileEntry, Info};

use super::disk::{Root, ends_too_early, error_at, open_to_read, renamed_paths, stat};
use super::hash_files::{Files, hash_files};
use crate::disk::{DiskError, FileStat, RelPath};
use crate::geometry::Geometry;

/// What became of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// All of it is there and right.
    Whole,
    /// It is not there.
    Missing,
    /// It ends too early, after so many bytes.
    Short(u64),
    /// It has so many bytes, which are more than the torrent says.
    Long(u64),
    /// Something in it is wrong.
    Wrong,
    /// What can be told of it is right; the rest shares a piece with a file that is missing, short or
    /// cannot be read.
    Unsure,
    /// Not all of it can be read, or something else lies in its place.
    Unreadable,
}

/// One file, held against the torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedFile {
    /// Its path beneath the folder.
    pub path: Vec<String>,
    /// Its bytes, as the torrent says.
    pub len: u64,
    /// What became of it.
    pub state: FileState,
    /// Pieces that have bytes of it.
    pub pieces: u32,
    /// Of these, pieces that are right.
    pub pieces_right: u32,
    /// Why it cannot be read.
    pub error: Option<DiskError>,
}

/// A folder, held against a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The torrent's files, without its padding.
    pub files: Vec<VerifiedFile>,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// Of these, pieces that are right.
    pub pieces_right: u32,
}

impl Verified {
    /// Whether all is there, and nothing beyond.
    pub fn is_whole(&self) -> bool {
        self.files.iter().all(|file| file.state == FileState::Whole)
    }
}

/// Hashes what lies beneath `root` of a torrent on all cores, and tells `progress` of bytes done and
/// in all. A file that was renamed by [`Session::rename_file`](super::Session::rename_file) is looked for
/// where it is now. It blocks, and writes nothing at all: no journal either.
///
/// # Errors
/// What the disk says of the folder. That a file is missing, of another length, or cannot be read, is
/// none.
pub fn verify(
    info: &Info,
    root: impl Into<PathBuf>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, DiskError> {
    let root = Root::open(root.into())?;
    let paths = renamed_paths(&root, info)?;
    let mut info = info.clone();
    for (file, path) in info.files.iter_mut().zip(paths) {
        file.path = path;
    }
    let found = Found::look(&info, &root);
    let geometry = Geometry { total_len: info.total_len, piece_length: info.piece_length };
    let mut states = vec![Piece::Unknown; geometry.piece_count() as usize];
    let pieces: Vec<u32> = (0..geometry.piece_count())
        .filter(|piece| found.is_readable(*piece, geometry.piece_len(*piece)))
        .collect();
    hash_files(&found, geometry, &pieces, &mut progress, |piece, hash| {
        if let Some(state) = states.get_mut(piece as usize) {
            let is_right = info.piece_hashes.get(piece as usize) == Some(&hash);
            *state = if is_right { Piece::Right } else { Piece::Wrong };
        }
    })?;
    Ok(Verified {
        files: found.judge(&states, u64::from(info.piece_length)),
        pieces: geometry.piece_count(),
        pieces_right: states.iter().filter(|state| **state == Piece::Right).count() as u32,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// Some of it cannot be read.
    Unknown,
    Right,
    Wrong,
}

/// The torrent's files, as they lie there.
struct Found<'a> {
    info: &'a Info,
    root: &'a Root,
    /// Where they lie: by their names as the info dict has them where those that were mended are not there,
    /// as whoever made the torrent has them.
    paths: Vec<RelPath>,
    stats: Vec<Option<FileStat>>,
    /// What cannot be read, and the first reason.
    errors: Mutex<BTreeMap<usize, DiskError>>,
}

impl<'a> Found<'a> {
    fn look(info: &'a Info, root: &'a Root) -> Found<'a> {
        let (paths, stats, errors) = Default::default();
        let mut found = Found { info, root, paths, stats, errors };
        let raw = info.raw_paths();
        for (index, file) in info.files.iter().enumerate() {
            let looked = if file.pad { Ok(None) } else { stat(root, &file.path) };
            let raw = raw.get(index).filter(|raw| matches!(looked, Ok(None)) && **raw != file.path);
            let other = raw.and_then(|raw| Some((raw, stat(root, raw).ok()??)));
            let path = other.map_or(&file.path, |(raw, _)| raw);
            found.paths.push(path.clone());
            found.stats.push(other.map(|(_, stat)| stat).or_else(|| match looked {
                Ok(stat) => stat,
                Err(error) => {
                    found.note(index, error_at(&root.display(path), &error));
                    None
                }
            }));
        }
        found
    }

    /// A file cannot be read.
    fn note(&self, index: usize, error: DiskError) -> DiskError {
        lock(&self.errors).entry(index).or_insert(error).clone()
    }

    /// Whether all files reach as far as a piece of so many bytes needs them.
    fn is_readable(&self, piece: u32, piece_len: u32) -> bool {
        self.info.extents(piece, 0, piece_len).all(|(file, offset, len)| {
            let is_pad = self.info.files.get(file).is_some_and(|file| file.pad);
            let stat = self.stats.get(file).copied().flatten();
            is_pad || stat.is_some_and(|stat| stat.len >= offset + len)
        })
    }

    fn judge(&self, pieces: &[Piece], piece_length: u64) -> Vec<VerifiedFile> {
        let mut errors = lock(&self.errors);
        let judge = |(index, (file, stat)): (usize, (&FileEntry, &Option<FileStat>))| {
            let error = errors.remove(&index);
            let first = (file.offset / piece_length) as usize;
            let end = (file.offset + file.len).div_ceil(piece_length) as usize;
            let its = if file.len == 0 { &[] } else { pieces.get(first..end).unwrap_or_default() };
            let state = match stat.map(|stat| stat.len) {
                _ if error.is_some() => FileState::Unreadable,
                None => FileState::Missing,
                Some(len) if len < file.len => FileState::Short(len),
                Some(len) if len > file.len => FileState::Long(len),
                Some(_) if its.contains(&Piece::Wrong) => FileState::Wrong,
                Some(_) if its.contains(&Piece::Unknown) => FileState::Unsure,
                Some(_) => FileState::Whole,
            };
            VerifiedFile {
                path: file.path.clone(),
                len: file.len,
                state,
                pieces: its.len() as u32,
                pieces_right: its.iter().filter(|state| **state == Piece::Right).count() as u32,
                error,
            }
        };
        let files = self.info.files.iter().zip(&self.stats).enumerate();
        files.filter(|(_, (file, _))| !file.pad).map(judge).collect()
    }

    fn path(&self, index: usize) -> PathBuf {
        self.paths.get(index).map_or_else(PathBuf::new, |path| self.root.display(path))
    }
}

impl Files for Found<'_> {
    type Error = DiskError;

    fn lens(&self) -> Vec<u64> {
        self.info.files.iter().map(|file| file.len).collect()
    }

    fn open(&self, index: usize) -> Result<Option<File>, DiskError> {
        match self.info.files.get(index).filter(|file| !file.pad) {
            Some(_) => open_to_read(self.root, &self.paths[index])
                .map(Some)
                .map_err(|error| self.note(index, error)),
            None => Ok(None),
        }
    }

    fn failed(&self, index: usize, error: io::Error) -> DiskError {
        let path: &Path = &self.path(index);
        let error = match error.kind() {
            io::ErrorKind::UnexpectedEof => ends_too_early(path),
            _ => error_at(path, &error),
        };
        self.note(index, error)
    }

    fn pass_over(&self, _: DiskError) -> Result<(), DiskError> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
