//! The lossy disk as the kernel asks for it.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::state::{Chance, Content, Node, Tree};
use super::{Honesty, Reads};

/// Nothing is remembered by the kernel: each question comes to us.
const TTL: Duration = Duration::ZERO;
/// No file is read or written by way of the kernel's page cache.
const DIRECT: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;
/// Longest time that a sync takes, in milliseconds; meanwhile other calls go on.
const SYNC_MS_MAX: u64 = 8;
/// Steps of the disk's clock, in nanoseconds: a tick of a kernel of 250 Hz.
const TICK_NS: u64 = 4_000_000;
const BLOCK_LEN: u32 = 4096;
/// Free blocks, as statfs(2) tells.
const BLOCKS_FREE: u64 = 1 << 20;

/// What the file system and the test share.
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) honesty: Honesty,
    pub(super) chance: Chance,
    /// The power is off: nothing is done any more.
    pub(super) is_off: bool,
    /// Times that it went.
    pub(super) cuts: u64,
    /// Calls since the start that changed or synced something.
    pub(super) calls: u64,
    /// The call that is not done any more because the power goes.
    pub(super) cut_at: Option<u64>,
    pub(super) reads: Reads,
}

#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<Mutex<State>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a call that changes nothing.
    fn look(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let state = self.lock();
        if state.is_off { Err(Errno::EIO) } else { Ok(state) }
    }

    /// The state, for a call that changes or syncs something.
    fn change(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.look()?;
        state.calls += 1;
        if state.cut_at.is_some_and(|at| at <= state.calls) {
            state.is_off = true;
            return Err(Errno::EIO);
        }
        Ok(state)
    }

    /// Answers a sync a little later, and lets it take effect just then, unless the power goes.
    fn sync(
        &self,
        reply: ReplyEmpty,
        begin: impl FnOnce(&mut State) -> Option<Box<dyn FnOnce(&mut State) + Send>>,
    ) {
        let begun = self.change().and_then(|mut state| {
            let end = begin(&mut state).ok_or(Errno::ENOENT)?;
            let pause = Duration::from_millis(state.chance.below(SYNC_MS_MAX + 1));
            Ok((end, pause, state.cuts))
        });
        let (end, pause, cuts) = match begun {
            Ok(begun) => begun,
            Err(error) => return reply.error(error),
        };
        let shared = self.clone();
        spawn(move || {
            sleep(pause);
            match shared.look().ok().filter(|state| state.cuts == cuts) {
                Some(mut state) => {
                    end(&mut state);
                    reply.ok();
                }
                None => reply.error(Errno::EIO),
            }
        });
    }
}

impl State {
    fn attr(&self, number: u64) -> Result<FileAttr, Errno> {
        let (kind, perm, now) = match self.tree.node(number).ok_or(Errno::ENOENT)? {
            Node::File(file) => (FileType::RegularFile, 0o644, &file.now),
            Node::Folder(_) => (FileType::Directory, 0o755, &Content::default()),
        };
        let (size, mtime_ns) = (now.bytes.len() as u64, now.mtime_ns);
        // Zeros are holes.
        let is_held = |block: &&[u8]| block.iter().any(|byte| *byte != 0);
        let mtime = UNIX_EPOCH + Duration::from_nanos(mtime_ns);
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: now.bytes.chunks(512).filter(is_held).count() as u64,
            atime: mtime,
            mtime,
            ctime: mtime,
            crtime: mtime,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_LEN,
            flags: 0,
        })
    }

    fn make(&mut self, parent: INodeNo, name: &OsStr, is_file: bool) -> Result<FileAttr, Errno> {
        let name = name.to_str().ok_or(Errno::EINVAL)?;
        let made = self.tree.make(parent.0, name, is_file, clock_ns()).ok_or(Errno::EEXIST)?;
        self.attr(made)
    }
}

fn clock_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    now - now % TICK_NS
}

fn place(offset: u64) -> Result<usize, Errno> {
    usize::try_from(offset).map_err(|_| Errno::EINVAL)
}

/// `answer!(reply, method(value...), result)`: the value to its method, an error to `error`.
macro_rules! answer {
    ($reply:expr, $result:expr, |$value:pat_param| $method:ident($($with:expr),*)) => {
        match $result {
            Ok($value) => $reply.$method($($with),*),
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.look().and_then(|state| {
            let name = name.to_str().ok_or(Errno::ENOENT)?;
            state.attr(state.tree.child(parent.0, name).ok_or(Errno::ENOENT)?)
        });
        answer!(reply, found, |attr| entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attr = self.look().and_then(|state| state.attr(ino.0));
        answer!(reply, attr, |attr| attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let Some(len) = size else { return reply.error(Errno::EPERM) };
        let attr = self.change().and_then(|mut state| {
            let file = state.tree.file(ino.0).ok_or(Errno::EISDIR)?;
            file.set_len(place(len)?, clock_ns());
            state.attr(ino.0)
        });
        answer!(reply, attr, |attr| attr(&TTL, &attr));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.change().and_then(|mut state| state.make(parent, name, false));
        answer!(reply, made, |attr| entry(&TTL, &attr, Generation(0)));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.change().and_then(|mut state| state.make(parent, name, true));
        answer!(reply, made, |attr| created(&TTL, &attr, Generation(0), FileHandle(0), DIRECT));
    }

    fn open(&self, _: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let state = self.look().map(drop);
        answer!(reply, state, |()| opened(FileHandle(0), DIRECT));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.look().and_then(|mut state| {
            let file = state.tree.file(ino.0).ok_or(Errno::EISDIR)?;
            let bytes = file.now.bytes.get(place(offset)?..).unwrap_or_default();
            let bytes = bytes[..bytes.len().min(size as usize)].to_vec();
            let path = file.path.clone();
            state.reads.entry(path).or_default().push((offset, bytes.len() as u64));
            Ok(bytes)
        });
        answer!(reply, read, |bytes| data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.change().and_then(|mut state| {
            let file = state.tree.file(ino.0).ok_or(Errno::EISDIR)?;
            file.write(place(offset)?, data, clock_ns());
            Ok(())
        });
        // The kernel sends no more at once than a u32 counts.
        answer!(reply, written, |()| written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // close(2) syncs nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.sync(reply, |state| {
            let honesty = state.honesty;
            let file = state.tree.file(ino.0)?;
            let (mark, is_kept) = (file.mark(), honesty.keeps(&file.path));
            Some(Box::new(move |state| {
                if let Some(file) = state.tree.file(ino.0).filter(|_| is_kept) {
                    file.synced(mark, !data_only);
                }
            }))
        });
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(reply, |state| {
            let is_kept = state.honesty != Honesty::ForgetsNames;
            let names = state.tree.folder(ino.0)?.now.clone();
            Some(Box::new(move |state| {
                if let Some(folder) = state.tree.folder(ino.0).filter(|_| is_kept) {
                    folder.lasting.extend(names);
                }
            }))
        });
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = self.look().and_then(|state| match state.tree.node(ino.0) {
            Some(Node::Folder(folder)) => Ok(folder.now.clone()),
            _ => Err(Errno::ENOTDIR),
        });
        let names = match names {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, number)) in names.iter().enumerate().skip(skipped) {
            let kind = match self.lock().tree.node(*number) {
                Some(Node::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(*number), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = BLOCKS_FREE;
        reply.statfs(2 * free, free, free, free, free, BLOCK_LEN, 255, BLOCK_LEN);
    }
}
