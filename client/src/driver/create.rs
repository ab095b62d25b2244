//! Hashes files on disk into an info dict, on all cores.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use wire::metainfo::{self, Info};

use super::hash_files::{Files, hash_files};
use crate::geometry::Geometry;

/// What a path holds, as a torrent.
#[derive(Debug)]
pub struct HashedPath {
    /// Its info dict. Its files' paths are those on the disk, also where others mend a name.
    pub info: Info,
    /// The folder that the torrent's paths lie beneath.
    pub root: PathBuf,
    /// What was left out, as it is neither a file nor a folder: symbolic links, pipes and the like.
    pub skipped: Vec<PathBuf>,
}

/// One file, as found.
struct Found {
    /// Beneath the torrent's folder; empty for a single file.
    path: Vec<String>,
    real: PathBuf,
    len: u64,
}

/// Hashes a file, or a folder with all beneath it in the order of its paths, and tells `progress`
/// of bytes done and in all. Symbolic links are not followed, but told of; names must be UTF-8.
///
/// # Errors
/// What the disk says, a folder without a byte in it, or a piece length that is no power of two: with
/// the path, in words for the user.
pub fn hash_path(
    path: &Path,
    piece_length: Option<u32>,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<HashedPath> {
    let real = path.canonicalize().map_err(named(path))?;
    let name = name_of(&real)?;
    let root = real.parent().unwrap_or(Path::new("/")).to_path_buf();
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    let metadata = real.metadata().map_err(named(path))?;
    if metadata.is_file() {
        found.push(Found { path: Vec::new(), len: metadata.len(), real: real.clone() });
    } else if metadata.is_dir() {
        walk(&real, &mut Vec::new(), &mut found, &mut skipped)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        skipped.sort();
    } else {
        return Err(named(path)(invalid("it is neither a file nor a folder")));
    }
    let total: u64 = found.iter().map(|file| file.len).sum();
    if total == 0 {
        return Err(named(path)(invalid("there is nothing in it to share")));
    }
    let piece_length = piece_length.unwrap_or_else(|| metainfo::piece_length_for(total));
    if !piece_length.is_power_of_two() || piece_length < 16 * 1024 {
        return Err(invalid("a piece length must be a power of two, 16384 or more"));
    }
    let hashes = hash_pieces(&found, total, piece_length, &mut progress)?;
    let files: Vec<(Vec<String>, u64)> =
        found.into_iter().map(|file| (file.path, file.len)).collect();
    let raw = metainfo::build_info(&name, &files, piece_length, &hashes);
    let mut info = Info::parse(&raw).map_err(|error| named(path)(invalid(&error.to_string())))?;
    // Reading mends names that other systems do not take; these are there.
    for (file, (path, _)) in info.files.iter_mut().zip(files) {
        file.path = [vec![name.clone()], path].concat();
    }
    Ok(HashedPath { info, root, skipped })
}

fn name_of(path: &Path) -> io::Result<String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .map(String::from)
        .ok_or_else(|| named(path)(invalid("its name is not UTF-8, or it has none")))
}

fn walk(
    folder: &Path,
    prefix: &mut Vec<String>,
    found: &mut Vec<Found>,
    skipped: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder).map_err(named(folder))? {
        let entry = entry.map_err(named(folder))?;
        let kind = entry.file_type().map_err(named(&entry.path()))?;
        if !kind.is_dir() && !kind.is_file() {
            skipped.push(entry.path());
            continue;
        }
        let name = name_of(&entry.path())?;
        // Our own state is no part of what is shared.
        if name == crate::storage::STATE_FOLDER && kind.is_dir() {
            continue;
        }
        prefix.push(name);
        if kind.is_dir() {
            walk(&entry.path(), prefix, found, skipped)?;
        } else {
            let len = entry.metadata().map_err(named(&entry.path()))?.len();
            found.push(Found { path: prefix.clone(), real: entry.path(), len });
        }
        prefix.pop();
    }
    Ok(())
}

/// SHA-1 of every piece.
fn hash_pieces(
    files: &[Found],
    total: u64,
    piece_length: u32,
    progress: &mut impl FnMut(u64, u64),
) -> io::Result<Vec<[u8; 20]>> {
    let count = u32::try_from(total.div_ceil(u64::from(piece_length)))
        .map_err(|_| invalid("too many pieces: choose longer ones"))?;
    let pieces: Vec<u32> = (0..count).collect();
    let mut hashes = vec![[0; 20]; count as usize];
    let geometry = Geometry { total_len: total, piece_length };
    hash_files(files, geometry, &pieces, progress, |piece, hash| {
        if let Some(slot) = hashes.get_mut(piece as usize) {
            *slot = hash;
        }
    })?;
    Ok(hashes)
}

impl Files for [Found] {
    type Error = io::Error;

    fn lens(&self) -> Vec<u64> {
        self.iter().map(|file| file.len).collect()
    }

    fn open(&self, index: usize) -> io::Result<Option<File>> {
        let real = &self[index].real;
        File::open(real).map(Some).map_err(named(real))
    }

    fn failed(&self, index: usize, error: io::Error) -> io::Error {
        named(&self[index].real)(error)
    }
}

/// Puts the path before what the system says.
fn named(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
