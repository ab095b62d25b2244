//! Files that get other places, executed on a thread that may block.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps, UTIME_OMIT,
};
use rustix::io::Errno;
use wire::InfoHash;
use wire::metainfo::Info;

use super::Root;
use super::execute::{
    OpenFile, allocate, error_at, is_missing, open, open_to_read, read_exact, read_small, rename,
    stat, unlink, write_all,
};
use crate::disk::{DiskError, DiskErrorKind, OpenMode, RelPath};
use crate::storage::names::{NameError, Names, names_path};
use crate::storage::relocate::{Did, Moves, Place, Relocation, Step, folders};
use crate::storage::{STATE_FOLDER, journal_path, not_enough_space, part_path};

/// Bytes copied at a time.
const COPY_LEN: usize = 1 << 20;
/// Bytes of a block in `st_blocks`, stat(2).
const STAT_BLOCK: u64 = 512;
/// Longest file of names that is read, in bytes: what a metainfo file may have.
const NAMES_MAX: u64 = wire::bencode::Limits::METAINFO.bytes_max as u64;

/// Why files are where they were.
#[derive(Debug)]
pub(in crate::driver) enum RelocateError {
    Disk(DiskError),
    Name(NameError),
}

impl From<DiskError> for RelocateError {
    fn from(error: DiskError) -> RelocateError {
        RelocateError::Disk(error)
    }
}

/// Moves what is there of a torrent beneath `old` to `new`, which is made. Once `stop` is set it is
/// undone. Its storage must be closed.
pub(in crate::driver) fn move_storage(
    old: &Path,
    new: PathBuf,
    info: &Info,
    stop: &AtomicBool,
) -> Result<(), RelocateError> {
    let old = Root::open(old.to_owned())?;
    let new = Root::open(new)?;
    let info_hash = &info.info_hash;
    let places = Places { old: &old, new: &new, info_hash, stop };
    if places.are_one()? {
        return Ok(());
    }
    let _lock = lock(&old, info_hash)?;
    let names = read_names(&old, info)?.0;
    let real = names.paths(info).into_iter().zip(&info.files).filter(|(_, file)| !file.pad);
    let files = real.map(|(path, _)| path);
    let mut moves = Moves::default();
    for path in files.chain([part_path(info_hash), names_path(info_hash)]) {
        places.look(&mut moves.files, path.clone(), path)?;
    }
    places.look(&mut moves.state, journal_path(info_hash), journal_path(info_hash))?;
    places.check_space(&moves)?;
    Ok(places.run(moves)?)
}

/// Gives a file of the torrent beneath `root` another path, its elements joined by `/`, whether it is
/// there already or not. Its storage must be closed.
pub(in crate::driver) fn rename_file(
    root: &Path,
    info: &Info,
    file: u32,
    path: &str,
    stop: &AtomicBool,
) -> Result<(), RelocateError> {
    let root = Root::open(root.to_owned())?;
    let info_hash = &info.info_hash;
    let _lock = lock(&root, info_hash)?;
    let (mut names, before) = read_names(&root, info)?;
    let path_in = |names: &Names| names.paths(info).into_iter().nth(file as usize);
    let from = path_in(&names);
    names.rename(info, file, path).map_err(RelocateError::Name)?;
    let (Some(from), Some(to)) = (from, path_in(&names)) else { return Ok(()) };
    if from == to {
        return Ok(());
    }
    let places = Places { old: &root, new: &root, info_hash, stop };
    let mut moves = Moves { record: Some((names.encode(), before)), ..Moves::default() };
    places.look(&mut moves.files, from, to)?;
    Ok(places.run(moves)?)
}

/// Where the files of a torrent lie beneath `root` if any were renamed, in the order of the info dict;
/// else nothing.
pub(in crate::driver) fn renamed_paths(
    root: &Root,
    info: &Info,
) -> Result<Vec<RelPath>, DiskError> {
    let (names, bytes) = read_names(root, info)?;
    Ok(bytes.map(|_| names.paths(info)).unwrap_or_default())
}

/// The names of a torrent's files, and their bytes, if any were renamed.
fn read_names(root: &Root, info: &Info) -> Result<(Names, Option<Vec<u8>>), DiskError> {
    let path = names_path(&info.info_hash);
    let bytes = match read_small(root, &path, NAMES_MAX) {
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok((Names::default(), None)),
        read => read?,
    };
    let Some(names) = Names::read(&bytes, info) else {
        let shown = root.display(&path);
        let message = format!("{}: it names renamed files, and is damaged", shown.display());
        return Err(DiskError { kind: DiskErrorKind::Conflict, message });
    };
    Ok((names, Some(bytes)))
}

/// Keeps others from the torrent in this folder while its files are on their way, if it has a journal.
fn lock(root: &Root, info_hash: &InfoHash) -> Result<Option<OpenFile>, DiskError> {
    let path = journal_path(info_hash);
    match stat(root, &path).map_err(|error| error_at(&root.display(&path), &error))? {
        Some(_) => open(root, &path, OpenMode::WriteLocked).map(Some),
        None => Ok(None),
    }
}

/// Where files of a torrent are, and where they go.
struct Places<'a> {
    old: &'a Root,
    new: &'a Root,
    info_hash: &'a InfoHash,
    /// Once set, all is undone.
    stop: &'a AtomicBool,
}

impl Places<'_> {
    fn root(&self, place: Place) -> &Root {
        match place {
            Place::Old => self.old,
            Place::New => self.new,
        }
    }

    /// Whether both are the same folder.
    fn are_one(&self) -> Result<bool, DiskError> {
        let id = |root: &Root| match rustix::fs::fstat(root.as_fd()) {
            Ok(stat) => Ok((stat.st_dev, stat.st_ino)),
            Err(error) => Err(error_at(&root.display(&Vec::new()), &error.into())),
        };
        Ok(id(self.old)? == id(self.new)?)
    }

    /// Adds a file to those that go, if it is there and its new place is free.
    fn look(
        &self,
        moves: &mut Vec<(RelPath, RelPath)>,
        from: RelPath,
        to: RelPath,
    ) -> Result<(), DiskError> {
        let old = entry(self.old, &from)?;
        if entry(self.new, &to)?.is_some() {
            return Err(in_the_way(self.new, &to));
        }
        let Some(stat) = old else { return Ok(()) };
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(error_at(&self.old.display(&from), &Errno::ISDIR.into()));
        }
        moves.push((from, to));
        Ok(())
    }

    /// Whether there is room for what has to be copied.
    fn check_space(&self, moves: &Moves) -> Result<(), DiskError> {
        let at = |error: Errno| error_at(&self.new.display(&Vec::new()), &error.into());
        let device = rustix::fs::fstat(self.new.as_fd()).map_err(at)?.st_dev;
        let mut needed: u64 = 0;
        for (from, _) in moves.files.iter().chain(&moves.state) {
            let stat = entry(self.old, from)?.filter(|stat| stat.st_dev != device);
            needed = needed.saturating_add(stat.map_or(0, |stat| bytes_held(&stat)));
        }
        let free = rustix::fs::fstatvfs(self.new.as_fd()).map_err(at)?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if needed > free { Err(not_enough_space(needed, free)) } else { Ok(()) }
    }

    /// Does all of it, or undoes it.
    fn run(&self, mut moves: Moves) -> Result<(), DiskError> {
        let mut relocation = self.plan(&mut moves)?;
        while let Some(step) = relocation.next_step() {
            let result = self.execute(step);
            relocation.handle(result);
        }
        for error in relocation.end()? {
            tracing::warn!(%error, "it was left in the old place");
        }
        Ok(())
    }

    fn plan(&self, moves: &mut Moves) -> Result<Relocation, DiskError> {
        let state = moves.record.as_ref().map(|_| names_path(self.info_hash));
        let new = moves.files.iter().chain(&moves.state).map(|(_, to)| to).chain(&state);
        for folder in folders(new).into_iter().filter(|path| !path.is_empty()) {
            // Beneath one that is missing there is none.
            if moves.missing.iter().any(|missing| folder.starts_with(missing))
                || entry(self.new, &folder)?.is_none()
            {
                moves.missing.push(folder);
            }
        }
        Ok(Relocation::new(std::mem::take(moves)))
    }

    fn execute(&self, step: &Step) -> Result<Did, DiskError> {
        let (place, path, result) = match step {
            Step::MakeFolder(path) => (Place::New, path, self.new.make_folder(path)),
            Step::Bring { from, to } => return self.bring(from, to),
            Step::SyncFolder(place, path) => (*place, path, self.root(*place).sync_folder(path)),
            Step::Record { now, .. } => {
                let path = names_path(self.info_hash);
                let result = record(self.new, &path, now.as_deref());
                return result
                    .map(|()| Did::Done)
                    .map_err(|e| error_at(&self.new.display(&path), &e));
            }
            Step::Unlink(place, path) => (*place, path, unlink(self.root(*place), path)),
            Step::PutBack { from, to } => return self.put_back(from, to),
            Step::RemoveFolder(place, path) => {
                // One that is not empty stays.
                let _ = remove_folder(self.root(*place), path);
                return Ok(Did::Done);
            }
        };
        let at = |error| error_at(&self.root(place).display(path), &error);
        result.map(|()| Did::Done).map_err(at)
    }

    /// Gives a file its new name; see [`Step::Bring`].
    fn bring(&self, from: &RelPath, to: &RelPath) -> Result<Did, DiskError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(error_at(&self.new.display(to), &stopped()));
        }
        let at_old = |error: io::Error| error_at(&self.old.display(from), &error);
        let (old, old_name) = self.old.parent(from).map_err(at_old)?;
        let at_new = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => in_the_way(self.new, to),
            _ => error_at(&self.new.display(to), &error),
        };
        let (new, new_name) = self.new.parent(to).map_err(at_new)?;
        match rustix::fs::linkat(&old, old_name, &new, new_name, AtFlags::empty()) {
            Ok(()) => return Ok(Did::Done),
            Err(Errno::XDEV) => {}
            // There are no links, or none of this file.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                if rename_to_nothing((&old, old_name), (&new, new_name)).map_err(at_new)? {
                    return Ok(Did::Renamed);
                }
            }
            Err(error) => return Err(at_new(error.into())),
        }
        self.copy(from, to)?;
        Ok(Did::Done)
    }

    fn put_back(&self, from: &RelPath, to: &RelPath) -> Result<Did, DiskError> {
        let at = |error: io::Error| error_at(&self.new.display(to), &error);
        let (old, old_name) = self.old.parent(from).map_err(at)?;
        let (new, new_name) = self.new.parent(to).map_err(at)?;
        match rename_to_nothing((&new, new_name), (&old, old_name)).map_err(at)? {
            true => Ok(Did::Done),
            false => Err(at(Errno::OPNOTSUPP.into())),
        }
    }

    /// Makes a durable copy, or nothing.
    fn copy(&self, from: &RelPath, to: &RelPath) -> Result<(), DiskError> {
        let source = open_to_read(self.old, from)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let copied = self.new.open_at(to, flags).and_then(|target| {
            let copied = copy_file(&source, &File::from(target), self.stop);
            if copied.is_err() {
                let _ = unlink(self.new, to);
            }
            copied
        });
        copied.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => in_the_way(self.new, to),
            _ => error_at(&self.new.display(to), &error),
        })
    }
}

/// What lies at a path, itself and not where it leads; `None`: nothing.
fn entry(root: &Root, path: &RelPath) -> Result<Option<Stat>, DiskError> {
    let found = root.parent(path).and_then(|(parent, name)| {
        Ok(rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
    });
    match found {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error_at(&root.display(path), &error)),
    }
}

/// Bytes that a file takes on its disk.
fn bytes_held(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(STAT_BLOCK)
}

fn in_the_way(root: &Root, path: &RelPath) -> DiskError {
    let message = format!("{}: there is something already", root.display(path).display());
    DiskError { kind: DiskErrorKind::Conflict, message }
}

fn stopped() -> io::Error {
    io::Error::other("given up, because the session ends")
}

/// Renames over nothing; false if the file system cannot.
fn rename_to_nothing(
    (old, from): (impl std::os::fd::AsFd, &str),
    (new, to): (impl std::os::fd::AsFd, &str),
) -> io::Result<bool> {
    match rustix::fs::renameat_with(old, from, new, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a small file as a whole.
fn record(root: &Root, path: &RelPath, bytes: Option<&[u8]>) -> io::Result<()> {
    let Some(bytes) = bytes else { return unlink(root, path) };
    let mut aside = path.clone();
    if let Some(name) = aside.last_mut() {
        name.push_str(".new");
    }
    root.make_folder(&[STATE_FOLDER.to_owned()])?;
    let file = root.open_at(&aside, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)?;
    let file = File::from(file);
    write_all(&file, 0, vec![IoSlice::new(bytes)])?;
    file.sync_all()?;
    rename(root, &aside, path)
}

fn remove_folder(root: &Root, path: &RelPath) -> io::Result<()> {
    let (parent, name) = root.parent(path)?;
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

/// Copies a file's bytes but for its holes, its mode and its mtime, and brings them to stable storage.
fn copy_file(source: &File, target: &File, stop: &AtomicBool) -> io::Result<()> {
    let stat = rustix::fs::fstat(source)?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    // What had all its room has all its room.
    if len > 0 && bytes_held(&stat) >= len {
        allocate(target, len)?
    } else {
        target.set_len(len)?
    }
    let mut buffer = vec![0; COPY_LEN];
    let mut at = 0;
    while let Some(start) = seek(source, SeekFrom::Data(at))? {
        let end = seek(source, SeekFrom::Hole(start))?.unwrap_or(len);
        at = start;
        while at < end {
            if stop.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            let now = usize::try_from(end - at).unwrap_or(COPY_LEN).min(COPY_LEN);
            let read = read_exact(source, at, &mut buffer[..now])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            write_all(target, at, vec![IoSlice::new(&buffer[..read])])?;
            at += read as u64;
        }
    }
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode))?;
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let mtime = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    rustix::fs::futimens(target, &Timestamps { last_access: omit, last_modification: mtime })?;
    target.sync_all()
}

/// `None`: there is nothing behind that.
fn seek(file: &File, to: SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, to) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
