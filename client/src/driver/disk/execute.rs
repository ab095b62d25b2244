//! One operation, executed on a thread that may block.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FileType, FlockOperation, OFlags, Stat};
use rustix::io::Errno;

use super::root::Root;
use super::slot::Slot;
use crate::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, FileStat, HashState, HashWork, OpenMode,
    PathExtent, RelPath,
};
use crate::driver::sha1::{BLOCK, Hasher};

/// Bytes read at a time for hashing.
const READ_LEN: usize = 256 << 10;
/// Most buffers in one write (IOV_MAX).
const BUFFERS_MAX: usize = 1024;

/// An open file and its name for people.
#[derive(Clone)]
pub(in crate::driver) struct OpenFile {
    pub(in crate::driver) file: Arc<File>,
    pub(in crate::driver) path: Arc<Path>,
}

/// What an operation works on: its extents' files in order, or its one file. None is padding.
pub(super) type Files = Vec<Option<OpenFile>>;

/// The result, and the file that was opened.
pub(super) type Executed = (DiskResult<Slot>, Option<(FileId, OpenFile)>);

/// Executes an operation. `scratch` is kept by the thread from one to the next.
pub(super) fn execute(
    root: &Root,
    op: DiskOp<Slot>,
    files: &Files,
    scratch: &mut Vec<u8>,
) -> Executed {
    let result = match op {
        DiskOp::Open { file, path, mode } => match open(root, &path, mode) {
            Ok(opened) if mode == OpenMode::Read => {
                return (DiskResult::Done, Some((file, opened)));
            }
            Ok(opened) => match rustix::fs::fstat(&opened.file) {
                Ok(stat) => return (DiskResult::Stat(Some(told(&stat))), Some((file, opened))),
                Err(error) => Err(error_at(&opened.path, &error.into())),
            },
            Err(error) => Err(error),
        },
        DiskOp::WriteBlocks { extents, blocks, skip } => {
            let lens = extents.iter().map(|extent| (extent.offset, extent.len));
            match write_blocks(files.iter().zip(lens), &blocks, skip) {
                Ok(()) => Ok(DiskResult::Blocks(blocks)),
                Err(error) => return (DiskResult::Failed { error, blocks }, None),
            }
        }
        DiskOp::HashExtents { extents, after, finish, rewrite } => {
            let lens = extents.iter().map(|extent| (extent.offset, extent.len));
            let hasher = after.map_or_else(Hasher::default, |state| *state.0);
            let runs = Runs::new(files.iter().zip(lens), rewrite);
            hash_extents(runs, hasher, scratch).map(|hasher| match finish {
                true => DiskResult::Digest(hasher.finish()),
                false => DiskResult::Hashed(HashState(Box::new(hasher))),
            })
        }
        DiskOp::ReadPaths { extents } => {
            read_paths(root, &extents).map(|slot| DiskResult::Blocks(vec![slot]))
        }
        DiskOp::ReadBlock { extents } => {
            let lens = extents.iter().map(|extent| (extent.offset, extent.len));
            read_block(files.iter().zip(lens)).map(|slot| DiskResult::Blocks(vec![slot]))
        }
        DiskOp::SyncAll { path, .. } => sync_all(root, &path, files).map(DiskResult::Stat),
        op => on_path(root, &op).unwrap_or_else(|| on_file(&op, files)),
    };
    let failed = |error| DiskResult::Failed { error, blocks: Vec::new() };
    (result.unwrap_or_else(failed), None)
}

/// Operations that name a path.
fn on_path(root: &Root, op: &DiskOp<Slot>) -> Option<Result<DiskResult<Slot>, DiskError>> {
    let (path, result) = match op {
        DiskOp::Stat { path } => (path, stat(root, path).map(DiskResult::Stat)),
        DiskOp::MakeFolder { path } => (path, root.make_folder(path).map(|()| DiskResult::Done)),
        DiskOp::SyncFolder { path } => (path, root.sync_folder(path).map(|()| DiskResult::Done)),
        DiskOp::Unlink { path } => (path, unlink(root, path).map(|()| DiskResult::Done)),
        DiskOp::Rename { from, to } => (to, rename(root, from, to).map(|()| DiskResult::Done)),
        DiskOp::FreeSpace => {
            let free = rustix::fs::fstatvfs(root.as_fd())
                .map(|stat| DiskResult::FreeSpace(stat.f_bavail.saturating_mul(stat.f_frsize)));
            return Some(free.map_err(|error| error_at(&root.display(&Vec::new()), &error.into())));
        }
        _ => return None,
    };
    Some(result.map_err(|error| error_at(&root.display(path), &error)))
}

/// Operations on one open file.
fn on_file(op: &DiskOp<Slot>, files: &Files) -> Result<DiskResult<Slot>, DiskError> {
    let Some(Some(open)) = files.first() else { return Err(not_open()) };
    let file = &open.file;
    let result = match op {
        DiskOp::SetLen { len, .. } => file.set_len(*len).map(|()| DiskResult::Done),
        DiskOp::Allocate { len, .. } => allocate(file, *len).map(|()| DiskResult::Done),
        DiskOp::Read { extent } => {
            let mut bytes = Vec::new();
            read_all(file, extent.offset, extent.len, &mut bytes).map(|()| DiskResult::Bytes(bytes))
        }
        DiskOp::Write { offset, bytes, .. } => {
            write_all(file, *offset, vec![IoSlice::new(bytes)]).map(|()| DiskResult::Done)
        }
        DiskOp::SyncData { .. } => file.sync_data().map(|()| DiskResult::Done),
        _ => return Err(not_open()),
    };
    result.map_err(|error| error_at(&open.path, &error))
}

/// What it is then; `None` if it is no longer at `path`.
fn sync_all(root: &Root, path: &RelPath, files: &Files) -> Result<Option<FileStat>, DiskError> {
    let Some(Some(open)) = files.first() else { return Err(not_open()) };
    let at = |error: io::Error| error_at(&open.path, &error);
    open.file.sync_all().map_err(at)?;
    let ours = rustix::fs::fstat(&open.file).map_err(|error| at(error.into()))?;
    let is_ours = |its: &Stat| (ours.st_dev, ours.st_ino) == (its.st_dev, its.st_ino);
    Ok(look(root, path).map_err(at)?.filter(is_ours).map(|_| told(&ours)))
}

/// Opens a file to be read.
pub(in crate::driver) fn open_to_read(root: &Root, path: &RelPath) -> Result<File, DiskError> {
    let OpenFile { file, path } = open(root, path, OpenMode::Read)?;
    file.try_clone().map_err(|error| error_at(&path, &error))
}

/// Reads a small file whole. One of more than `bytes_max` bytes is refused.
pub(in crate::driver) fn read_small(
    root: &Root,
    path: &RelPath,
    bytes_max: u64,
) -> Result<Vec<u8>, DiskError> {
    let OpenFile { file, path } = open(root, path, OpenMode::Read)?;
    let at = |error: io::Error| error_at(&path, &error);
    let len = file.metadata().map_err(at)?.len();
    if len > bytes_max {
        let message =
            format!("{}: it has {len} bytes, but at most {bytes_max} are read", path.display());
        return Err(DiskError { kind: DiskErrorKind::Other, message });
    }
    let mut bytes = Vec::new();
    read_all(&file, 0, len, &mut bytes).map_err(at)?;
    Ok(bytes)
}

pub(super) fn open(root: &Root, path: &RelPath, mode: OpenMode) -> Result<OpenFile, DiskError> {
    let shown = root.display(path);
    let flags = match mode {
        OpenMode::Read => OFlags::RDONLY,
        OpenMode::Write | OpenMode::WriteLocked => OFlags::RDWR | OFlags::CREATE,
    };
    // A pipe in the file's place must not stop this thread.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let at = |error: io::Error| error_at(&shown, &error);
    let fd: OwnedFd = root.open_at(path, flags).map_err(at)?;
    if !is_regular(&fd).map_err(at)? {
        return Err(not_a_file(&shown));
    }
    if mode != OpenMode::Read {
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            match error {
                Errno::WOULDBLOCK => held(&shown, lock_holder(&fd), mode),
                error => at(error.into()),
            }
        })?;
    }
    Ok(OpenFile { file: Arc::new(File::from(fd)), path: shown.into() })
}

/// Somebody else holds a file's lock.
fn held(path: &Path, holder: Option<u32>, mode: OpenMode) -> DiskError {
    let path = path.display();
    let process = |id| format!("process {id}");
    if mode == OpenMode::WriteLocked {
        let who = holder.map_or("another process".to_owned(), process);
        let message = format!("{path}: in use by {who}");
        return DiskError { kind: DiskErrorKind::Locked, message };
    }
    let who = match holder {
        Some(id) if id == std::process::id() => "another torrent".to_owned(),
        holder => holder.map_or("another torrent or program".to_owned(), process),
    };
    let advice = "wait until it is done, or choose another folder for one of the two";
    let message = format!("{path}: {who} writes to it; {advice}");
    DiskError { kind: DiskErrorKind::Conflict, message }
}

/// Closes a file. Its lock goes at once, though somebody may still read from it.
pub(super) fn close(open: OpenFile) {
    if let Err(error) = rustix::fs::flock(&open.file, FlockOperation::Unlock) {
        tracing::debug!(%error, path = %open.path.display(), "cannot unlock");
    }
}

/// The process that holds a file's lock, as far as proc(5), `/proc/locks`, tells.
fn lock_holder(fd: &OwnedFd) -> Option<u32> {
    let stat = rustix::fs::fstat(fd).ok()?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let file = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 708 08:02:131 0 EOF
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, id, of, ..] = fields[..] else { return None };
        // Of a process in another namespace it is not known.
        id.parse().ok().filter(|id| of == file && *id != 0)
    })
}

fn is_regular(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode).is_file())
}

/// The file at a path; `None`: nothing is there.
pub(in crate::driver) fn stat(root: &Root, path: &RelPath) -> io::Result<Option<FileStat>> {
    match look(root, path)? {
        Some(stat) if !FileType::from_raw_mode(stat.st_mode).is_file() => Err(Errno::ISDIR.into()),
        found => Ok(found.as_ref().map(told)),
    }
}

/// What lies at a path, of whatever kind; `None`: nothing.
fn look(root: &Root, path: &RelPath) -> io::Result<Option<Stat>> {
    match root.open_at(path, OFlags::PATH) {
        Ok(fd) => Ok(Some(rustix::fs::fstat(&fd)?)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn told(stat: &Stat) -> FileStat {
    let mtime_ns = stat.st_mtime.saturating_mul(1_000_000_000);
    let mtime_ns = mtime_ns.saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
    FileStat {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns,
        // Of 512 bytes, whatever the file system has.
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
    }
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

pub(super) fn unlink(root: &Root, path: &RelPath) -> io::Result<()> {
    let result = root.parent(path).and_then(|(parent, name)| {
        Ok(rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty())?)
    });
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        result => result,
    }
}

pub(super) fn rename(root: &Root, from: &RelPath, to: &RelPath) -> io::Result<()> {
    let (from_parent, from_name) = root.parent(from)?;
    let (to_parent, to_name) = root.parent(to)?;
    Ok(rustix::fs::renameat(&from_parent, from_name, &to_parent, to_name)?)
}

/// An extent's file (None: padding), its first byte and its length.
type Run<'a> = (&'a Option<OpenFile>, (u64, u64));

fn write_blocks<'a>(
    runs: impl Iterator<Item = Run<'a>>,
    blocks: &[Slot],
    skip: u64,
) -> Result<(), DiskError> {
    let mut rest = blocks.iter().map(Slot::bytes);
    let mut block: &[u8] = &[];
    let mut skip = usize::try_from(skip).unwrap_or(usize::MAX);
    while skip > 0 {
        block = rest.next().ok_or_else(not_open)?;
        let skipped = skip.min(block.len());
        (skip, block) = (skip - skipped, &block[skipped..]);
    }
    for (open, (offset, len)) in runs {
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        let mut slices = Vec::new();
        while left > 0 {
            if block.is_empty() {
                block = rest.next().ok_or_else(not_open)?;
                continue;
            }
            let (now, later) = block.split_at(left.min(block.len()));
            left -= now.len();
            block = later;
            slices.push(IoSlice::new(now));
        }
        if let Some(open) = open {
            write_all(&open.file, offset, slices).map_err(|error| error_at(&open.path, &error))?;
        }
    }
    Ok(())
}

pub(super) fn write_all(file: &File, offset: u64, mut slices: Vec<IoSlice<'_>>) -> io::Result<()> {
    let mut at = offset;
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let now = &slices[..slices.len().min(BUFFERS_MAX)];
        match rustix::io::pwritev(file, now, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => {
                at += len as u64;
                IoSlice::advance_slices(&mut slices, len);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(super) fn allocate(file: &File, len: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            Err(Errno::INTR) => {}
            // Some file systems have no such call.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return file.set_len(len),
            result => return Ok(result?),
        }
    }
}

/// Reads up to `len` bytes; fewer at the end of the file.
fn read_all(file: &File, offset: u64, len: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| Errno::OVERFLOW)?;
    out.resize(len, 0);
    let read = read_exact(file, offset, out)?;
    out.truncate(read);
    Ok(())
}

/// Fills `out`, but for the end of the file; returns the bytes read.
pub(super) fn read_exact(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = out.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset + read as u64) {
            Ok(0) => break,
            Ok(len) => read += len,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read)
}

/// Runs of files, read one after the other.
struct Runs<'a, I: Iterator<Item = Run<'a>>> {
    rest: I,
    now: Option<Run<'a>>,
    /// What was read is written to its place again.
    rewrite: bool,
}

impl<'a, I: Iterator<Item = Run<'a>>> Runs<'a, I> {
    fn new(mut runs: I, rewrite: bool) -> Runs<'a, I> {
        let now = runs.next();
        Runs { rest: runs, now, rewrite }
    }

    /// Fills `out`, but for the end of the last; returns the bytes read.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, DiskError> {
        let mut read = 0;
        while let Some((open, (offset, len))) = self.now
            && let Some(rest) = out.get_mut(read..).filter(|rest| !rest.is_empty())
        {
            let now = usize::try_from(len).unwrap_or(rest.len()).min(rest.len());
            let Some(rest) = rest.get_mut(..now) else { break };
            fill(open, offset, rest)?;
            if let Some(open) = open.as_ref().filter(|_| self.rewrite) {
                let written = write_all(&open.file, offset, vec![IoSlice::new(rest)]);
                written.map_err(|error| error_at(&open.path, &error))?;
            }
            read += now;
            self.now = match len - now as u64 {
                0 => self.rest.next(),
                left => Some((open, (offset + now as u64, left))),
            };
        }
        Ok(read)
    }
}

fn hash_extents<'a, I: Iterator<Item = Run<'a>>>(
    mut runs: Runs<'a, I>,
    mut hasher: Hasher,
    scratch: &mut Vec<u8>,
) -> Result<Hasher, DiskError> {
    scratch.resize(READ_LEN, 0);
    loop {
        let read = runs.read(scratch)?;
        match scratch.get(..read) {
            Some(bytes) if read > 0 => hasher.update(bytes),
            _ => return Ok(hasher),
        }
    }
}

/// The bytes of a whole piece that two of as many can be hashed together: whole blocks of SHA-1.
pub(super) fn pair_len(op: &DiskOp<Slot>) -> Option<u64> {
    let DiskOp::HashExtents { extents, after: None, finish: true, rewrite: false } = op else {
        return None;
    };
    let len = extents.iter().map(|extent| extent.len).sum();
    (len > 0 && len % BLOCK as u64 == 0).then_some(len)
}

/// Hashes two pieces of the same [`pair_len`]; None if either cannot be read, which each alone will tell.
pub(super) fn hash_pair(
    ops: [(&DiskOp<Slot>, &Files); 2],
    scratch: &mut Vec<u8>,
) -> Option<[[u8; 20]; 2]> {
    let runs = ops.map(|(op, files)| {
        let extents = match op {
            DiskOp::HashExtents { extents, .. } => &extents[..],
            _ => &[],
        };
        let lens = extents.iter().map(|extent| (extent.offset, extent.len));
        Runs::new(files.iter().zip(lens), false)
    });
    let [mut a, mut b] = runs;
    scratch.resize(READ_LEN, 0);
    let [mut one, mut other] = [Hasher::default(), Hasher::default()];
    loop {
        let (first, second) = scratch.split_at_mut(READ_LEN / 2);
        let read = [a.read(first).ok()?, b.read(second).ok()?];
        if read == [0, 0] {
            return Some([one.finish(), other.finish()]);
        }
        let both = [first.get(..read[0])?, second.get(..read[1])?];
        Hasher::update_both([&mut one, &mut other], both);
    }
}

fn read_block<'a>(runs: impl Iterator<Item = Run<'a>> + Clone) -> Result<Slot, DiskError> {
    let total: u64 = runs.clone().map(|(_, (_, len))| len).sum();
    let mut slot = Slot::new(usize::try_from(total).map_err(|_| not_open())?);
    let mut rest = slot.bytes_mut();
    for (open, (offset, len)) in runs {
        let now;
        (now, rest) = rest.split_at_mut(usize::try_from(len).unwrap_or(0).min(rest.len()));
        fill(open, offset, now)?;
    }
    Ok(slot)
}

/// The same with one file open at a time.
fn read_paths(root: &Root, extents: &[PathExtent]) -> Result<Slot, DiskError> {
    let total: u64 = extents.iter().map(|extent| extent.len).sum();
    let mut slot = Slot::new(usize::try_from(total).map_err(|_| not_open())?);
    let mut rest = slot.bytes_mut();
    for PathExtent { path, offset, len } in extents {
        let now;
        (now, rest) = rest.split_at_mut(usize::try_from(*len).unwrap_or(0).min(rest.len()));
        let open = path.as_ref().map(|path| open(root, path, OpenMode::Read)).transpose()?;
        fill(&open, *offset, now)?;
    }
    Ok(slot)
}

/// Reads exactly `out`; a file that ends before is an error.
fn fill(open: &Option<OpenFile>, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
    let Some(open) = open else {
        out.fill(0);
        return Ok(());
    };
    let read = read_exact(&open.file, offset, out).map_err(|error| error_at(&open.path, &error))?;
    if read == out.len() {
        return Ok(());
    }
    Err(ends_too_early(&open.path))
}

/// A file is shorter than it was.
pub(in crate::driver) fn ends_too_early(path: &Path) -> DiskError {
    let message = format!("{}: ends too early", path.display());
    DiskError { kind: DiskErrorKind::NotFound, message }
}

/// Reads a run of a file into the page cache. What is wrong with it, who sends it will see.
pub(super) fn warm(file: &File, (offset, len): (u64, u64), scratch: &mut Vec<u8>) {
    if let Err(error) = read_all(file, offset, len, scratch) {
        tracing::debug!(%error, "a block cannot be read");
    }
}

/// Hashes the next blocks of a piece.
pub(super) fn hash(work: &mut HashWork<Slot>) -> Option<[u8; 20]> {
    work.blocks.iter().for_each(|block| work.hasher.update(block.bytes()));
    digest(work)
}

/// Hashes the next blocks of two pieces.
pub(super) fn hash_both(
    one: &mut HashWork<Slot>,
    other: &mut HashWork<Slot>,
) -> [Option<[u8; 20]>; 2] {
    let both = one.blocks.len().min(other.blocks.len());
    for (a, b) in one.blocks.iter().zip(&other.blocks) {
        Hasher::update_both([&mut one.hasher, &mut other.hasher], [a.bytes(), b.bytes()]);
    }
    for work in [&mut *one, &mut *other] {
        work.blocks.iter().skip(both).for_each(|block| work.hasher.update(block.bytes()));
    }
    [digest(one), digest(other)]
}

fn digest(work: &mut HashWork<Slot>) -> Option<[u8; 20]> {
    work.finish.then(|| std::mem::take(&mut work.hasher).finish())
}

fn not_a_file(path: &Path) -> DiskError {
    let message = format!("{}: there is something else in the file's place", path.display());
    DiskError { kind: DiskErrorKind::Conflict, message }
}

pub(super) fn not_open() -> DiskError {
    DiskError { kind: DiskErrorKind::Other, message: "a file is not open".to_owned() }
}

/// Whether it is for want of a file descriptor, which somebody may close.
pub(in crate::driver) fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// What the system said about a path, sorted.
pub fn error_at(path: &Path, error: &io::Error) -> DiskError {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let kind = match errno {
        Some(Errno::NOSPC | Errno::DQUOT) => DiskErrorKind::Full,
        Some(Errno::NOENT) => DiskErrorKind::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::XDEV | Errno::LOOP) => {
            DiskErrorKind::Denied
        }
        Some(Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::NXIO) => DiskErrorKind::Conflict,
        _ if is_out_of_files(error) => DiskErrorKind::OutOfFiles,
        _ => DiskErrorKind::Other,
    };
    let path = path.display();
    let message = match errno {
        Some(Errno::XDEV | Errno::LOOP) => {
            format!("{path}: a symbolic link leads out of the download folder")
        }
        Some(Errno::EXIST) => format!("{path}: it is there, and not a folder"),
        Some(Errno::ISDIR | Errno::NXIO) => {
            format!("{path}: there is something else in the file's place")
        }
        _ => format!("{path}: {error}"),
    };
    DiskError { kind, message }
}
