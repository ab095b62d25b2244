//! Hashes files on disk into an info dict, on all cores.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wire::metainfo::{self, Info};

use super::sha1::Hasher;

/// What a path holds, as a torrent.
#[derive(Debug)]
pub struct HashedPath {
    /// Its info dict.
    pub info: Info,
    /// The folder that the torrent's paths lie beneath.
    pub root: PathBuf,
}

/// One file, as found.
struct Found {
    /// Beneath the torrent's folder; empty for a single file.
    path: Vec<String>,
    real: PathBuf,
    len: u64,
}

/// Hashes a file, or a folder with all beneath it in the order of its paths, and tells `progress`
/// of bytes done and in all. Symbolic links are not followed; names must be UTF-8.
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
    let mut found = Vec::new();
    let metadata = real.metadata().map_err(named(path))?;
    if metadata.is_file() {
        found.push(Found { path: Vec::new(), len: metadata.len(), real: real.clone() });
    } else if metadata.is_dir() {
        walk(&real, &mut Vec::new(), &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
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
    let info = Info::parse(&raw).map_err(|error| named(path)(invalid(&error.to_string())))?;
    Ok(HashedPath { info, root })
}

fn name_of(path: &Path) -> io::Result<String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .map(String::from)
        .ok_or_else(|| named(path)(invalid("its name is not UTF-8, or it has none")))
}

fn walk(folder: &Path, prefix: &mut Vec<String>, found: &mut Vec<Found>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder).map_err(named(folder))? {
        let entry = entry.map_err(named(folder))?;
        let kind = entry.file_type().map_err(named(&entry.path()))?;
        let name = name_of(&entry.path())?;
        // Our own state is no part of what is shared.
        if name == crate::storage::STATE_FOLDER && kind.is_dir() {
            continue;
        }
        prefix.push(name);
        if kind.is_dir() {
            walk(&entry.path(), prefix, found)?;
        } else if kind.is_file() {
            let len = entry.metadata().map_err(named(&entry.path()))?.len();
            found.push(Found { path: prefix.clone(), real: entry.path(), len });
        }
        prefix.pop();
    }
    Ok(())
}

/// Bytes of each of two pieces that are read and hashed at a time: they stay in the processor's cache.
const STEP: usize = 128 << 10;

/// SHA-1 of every piece. Threads take the next two pieces each until none is left.
fn hash_pieces(
    files: &[Found],
    total: u64,
    piece_length: u32,
    progress: &mut impl FnMut(u64, u64),
) -> io::Result<Vec<[u8; 20]>> {
    let count = u32::try_from(total.div_ceil(u64::from(piece_length)))
        .map_err(|_| invalid("too many pieces: choose longer ones"))?;
    let next = AtomicU32::new(0);
    let done = AtomicU64::new(0);
    let hashes = Mutex::new(vec![[0; 20]; count as usize]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || -> io::Result<()> {
            let mut readers = [Reader::new(files), Reader::new(files)];
            let mut bufs = [vec![0; STEP], vec![0; STEP]];
            loop {
                let first = next.fetch_add(2, Ordering::Relaxed);
                if first >= count {
                    return Ok(());
                }
                let start = |piece| u64::from(piece) * u64::from(piece_length);
                let len = |piece| total.saturating_sub(start(piece)).min(u64::from(piece_length));
                let two = [start(first), start(first + 1)];
                if len(first + 1) == u64::from(piece_length) {
                    let both = hash_two(&mut readers, two, piece_length, &mut bufs, &done)?;
                    if let Ok(mut hashes) = hashes.lock() {
                        hashes[first as usize..][..2].copy_from_slice(&both);
                    }
                    continue;
                }
                for piece in first..count.min(first + 2) {
                    let [reader, _] = &mut readers;
                    let hash = hash_one(reader, start(piece), len(piece), &mut bufs[0], &done)?;
                    if let Ok(mut hashes) = hashes.lock() {
                        hashes[piece as usize] = hash;
                    }
                }
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        while handles.iter().any(|handle| !handle.is_finished()) {
            progress(done.load(Ordering::Relaxed), total);
            std::thread::sleep(std::time::Duration::from_millis(if total < 64 << 20 {
                1
            } else {
                50
            }));
        }
        handles
            .into_iter()
            .try_for_each(|handle| handle.join().map_err(|_| invalid("a hash thread died"))?)
    })?;
    progress(total, total);
    hashes.into_inner().map_err(|_| invalid("a hash thread died"))
}

/// The hashes of two whole pieces, which begin at these bytes of the torrent.
fn hash_two(
    readers: &mut [Reader<'_>; 2],
    starts: [u64; 2],
    piece_length: u32,
    bufs: &mut [Vec<u8>; 2],
    done: &AtomicU64,
) -> io::Result<[[u8; 20]; 2]> {
    let [mut one, mut other] = [Hasher::default(), Hasher::default()];
    for at in (0..piece_length as usize).step_by(STEP) {
        let now = STEP.min(piece_length as usize - at);
        for ((reader, start), buf) in readers.iter_mut().zip(starts).zip(bufs.iter_mut()) {
            reader.read(start + at as u64, &mut buf[..now])?;
        }
        Hasher::update_both([&mut one, &mut other], [&bufs[0][..now], &bufs[1][..now]]);
        done.fetch_add(2 * now as u64, Ordering::Relaxed);
    }
    Ok([one.finish(), other.finish()])
}

/// The hash of one run of the torrent.
fn hash_one(
    reader: &mut Reader<'_>,
    start: u64,
    len: u64,
    buf: &mut [u8],
    done: &AtomicU64,
) -> io::Result<[u8; 20]> {
    let mut hasher = Hasher::default();
    for at in (0..len).step_by(STEP) {
        let buf = &mut buf[..STEP.min((len - at) as usize)];
        reader.read(start + at, buf)?;
        hasher.update(buf);
        done.fetch_add(buf.len() as u64, Ordering::Relaxed);
    }
    Ok(hasher.finish())
}

/// Reads runs of the torrent across its files, with one file open at a time.
struct Reader<'a> {
    files: &'a [Found],
    starts: Vec<u64>,
    open: Option<(usize, File)>,
}

impl<'a> Reader<'a> {
    fn new(files: &'a [Found]) -> Reader<'a> {
        let starts = files
            .iter()
            .scan(0, |at, file| {
                let start = *at;
                *at += file.len;
                Some(start)
            })
            .collect();
        Reader { files, starts, open: None }
    }

    fn read(&mut self, mut at: u64, mut out: &mut [u8]) -> io::Result<()> {
        let mut index = self.starts.partition_point(|&start| start <= at).saturating_sub(1);
        while !out.is_empty() {
            let Some(file) = self.files.get(index) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let offset = at - self.starts[index];
            let len = (file.len.saturating_sub(offset)).min(out.len() as u64) as usize;
            if len > 0 {
                let (now, rest) = out.split_at_mut(len);
                let real = &self.files[index].real;
                self.file(index)?.read_exact_at(now, offset).map_err(named(real))?;
                out = rest;
                at += len as u64;
            }
            index += 1;
        }
        Ok(())
    }

    fn file(&mut self, index: usize) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let real = &self.files[index].real;
            self.open = Some((index, File::open(real).map_err(named(real))?));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Puts the path before what the system says.
fn named(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
