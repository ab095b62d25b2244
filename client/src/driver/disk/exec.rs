//! Executes one disk operation. Decides nothing.

use std::fs::{File, TryLockError};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, PoisonError};

use rustix::fs::OFlags;
use sha1::{Digest, Sha1};

use super::beneath::Root;
use super::{Files, Slot, error_at};
use crate::disk::{DiskError, DiskOp, DiskResult, Extent, FileId, FileStat, OpenMode, RelPath};
use crate::payload::Payload;

/// Bytes read at a time while a piece is hashed from the disk.
const READ_LEN: usize = 256 << 10;
/// Slices of one vectored write; the kernel's own bound is 1024 (UIO_MAXIOV).
const SLICES_MAX: usize = 256;

/// Executes `op` beneath `root`.
pub(super) fn execute(root: &Root, files: &Files, op: DiskOp<Slot>) -> DiskResult<Slot> {
    let fail = |path: &RelPath, error: io::Error| error_at(&root.show(path), &error);
    let result = match op {
        DiskOp::Stat { path } => stat(root, &path).map_err(|e| fail(&path, e)),
        DiskOp::FreeSpace => free_space(root).map_err(|e| fail(&Vec::new(), e)),
        DiskOp::MakeFolder { path } => {
            root.make_folder(&path).map(|()| DiskResult::Done).map_err(|e| fail(&path, e))
        }
        DiskOp::Open { file, path, mode } => {
            open(root, files, file, &path, mode).map_err(|e| fail(&path, e))
        }
        DiskOp::Close { file } => {
            files.write().unwrap_or_else(PoisonError::into_inner).remove(&file);
            Ok(DiskResult::Done)
        }
        DiskOp::SyncFolder { path } => root
            .open_beneath(&path, OFlags::DIRECTORY | OFlags::RDONLY)
            .and_then(|folder| folder.sync_all())
            .map(|()| DiskResult::Done)
            .map_err(|e| fail(&path, e)),
        DiskOp::Rename { from, to } => {
            root.rename(&from, &to).map(|()| DiskResult::Done).map_err(|e| fail(&from, e))
        }
        DiskOp::Unlink { path } => {
            root.unlink(&path).map(|()| DiskResult::Done).map_err(|e| fail(&path, e))
        }
        DiskOp::WriteBlocks { extents, blocks } => {
            return match write_blocks(files, &extents, &blocks) {
                Ok(()) => DiskResult::Blocks(blocks),
                Err(error) => DiskResult::Failed { error: fail(&Vec::new(), error), blocks },
            };
        }
        op => in_file(files, op).map_err(|e| fail(&Vec::new(), e)),
    };
    result.unwrap_or_else(|error: DiskError| DiskResult::Failed { error, blocks: Vec::new() })
}

/// The operations that name an open file.
fn in_file(files: &Files, op: DiskOp<Slot>) -> io::Result<DiskResult<Slot>> {
    match op {
        DiskOp::SetLen { file, len } => get(files, file)?.set_len(len)?,
        DiskOp::Write { file, offset, bytes } => {
            get(files, file)?.write_all_at(&bytes, offset)?;
        }
        DiskOp::Sync { file, metadata: false } => get(files, file)?.sync_data()?,
        DiskOp::Sync { file, metadata: true } => get(files, file)?.sync_all()?,
        DiskOp::Read { extent } => return read(files, extent),
        DiskOp::HashExtents { extents } => return hash_extents(files, &extents),
        DiskOp::ReadBlock { extents } => return read_block(files, &extents),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok(DiskResult::Done)
}

fn get(files: &Files, file: FileId) -> io::Result<Arc<File>> {
    let files = files.read().unwrap_or_else(PoisonError::into_inner);
    files.get(&file).cloned().ok_or_else(|| io::Error::other("a file is not open"))
}

fn stat(root: &Root, path: &RelPath) -> io::Result<DiskResult<Slot>> {
    let file = match root.open_beneath(path, OFlags::PATH) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DiskResult::Stat(None)),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mtime_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
    Ok(DiskResult::Stat(Some(FileStat { len: meta.len(), mtime_ns })))
}

fn free_space(root: &Root) -> io::Result<DiskResult<Slot>> {
    let stat = rustix::fs::fstatvfs(root.fd())?;
    Ok(DiskResult::FreeSpace(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

fn open(
    root: &Root,
    files: &Files,
    name: FileId,
    path: &RelPath,
    mode: OpenMode,
) -> io::Result<DiskResult<Slot>> {
    let flags = match mode {
        OpenMode::Read => OFlags::RDONLY,
        OpenMode::Write | OpenMode::WriteLocked => OFlags::RDWR | OFlags::CREATE,
    };
    // A FIFO in a file's place must not hold the thread.
    let file = root.open_beneath(path, flags | OFlags::NONBLOCK)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if mode == OpenMode::WriteLocked {
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "in use by another process")
            }
            TryLockError::Error(error) => error,
        })?;
    }
    files.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(file));
    Ok(DiskResult::Done)
}

fn read(files: &Files, extent: Extent) -> io::Result<DiskResult<Slot>> {
    let file = get(files, extent.file)?;
    // What is asked for may be longer than the file.
    let there = file.metadata()?.len().saturating_sub(extent.offset).min(extent.len);
    let mut out = vec![0; usize::try_from(there).map_err(|_| io::ErrorKind::OutOfMemory)?];
    file.read_exact_at(&mut out, extent.offset)?;
    Ok(DiskResult::Bytes(out))
}

/// One vectored write an extent; padding is passed over.
fn write_blocks(files: &Files, extents: &[Extent], blocks: &[Slot]) -> io::Result<()> {
    let mut blocks = blocks.iter().map(Slot::bytes);
    let mut block: &[u8] = &[];
    for extent in extents {
        let mut left = extent.len as usize;
        let mut offset = extent.offset;
        let file = match extent.file {
            FileId::ZEROS => None,
            file => Some(get(files, file)?),
        };
        while left > 0 {
            let mut slices = Vec::new();
            let mut len = 0;
            while len < left && slices.len() < SLICES_MAX {
                if block.is_empty() {
                    block = blocks.next().ok_or(io::ErrorKind::InvalidInput)?;
                }
                let (now, rest) = block.split_at(block.len().min(left - len));
                slices.push(IoSlice::new(now));
                len += now.len();
                block = rest;
            }
            if let Some(file) = &file {
                write_vectored(file, &mut slices, offset)?;
            }
            offset += len as u64;
            left -= len;
        }
    }
    Ok(())
}

fn write_vectored(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    while !slices.is_empty() {
        let len = match rustix::io::pwritev(file.as_fd(), slices, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => len,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        offset += len as u64;
        IoSlice::advance_slices(&mut slices, len);
    }
    Ok(())
}

fn hash_extents(files: &Files, extents: &[Extent]) -> io::Result<DiskResult<Slot>> {
    let mut hash = Sha1::new();
    let mut buf = vec![0; READ_LEN];
    for extent in extents {
        let mut left = extent.len;
        let mut offset = extent.offset;
        let file = match extent.file {
            FileId::ZEROS => None,
            file => Some(get(files, file)?),
        };
        while left > 0 {
            let len = left.min(READ_LEN as u64) as usize;
            let part = &mut buf[..len];
            match &file {
                Some(file) => file.read_exact_at(part, offset)?,
                None => part.fill(0),
            }
            hash.update(part);
            offset += len as u64;
            left -= len as u64;
        }
    }
    Ok(DiskResult::Digest(hash.finalize().into()))
}

fn read_block(files: &Files, extents: &[Extent]) -> io::Result<DiskResult<Slot>> {
    let len: u64 = extents.iter().map(|extent| extent.len).sum();
    let mut slot = Slot::new(usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?);
    debug_assert!(slot.len() as u64 == len);
    let mut rest = slot.bytes_mut();
    for extent in extents {
        let (now, later) = rest.split_at_mut(extent.len as usize);
        match extent.file {
            FileId::ZEROS => now.fill(0),
            file => get(files, file)?.read_exact_at(now, extent.offset)?,
        }
        rest = later;
    }
    Ok(DiskResult::Blocks(vec![slot]))
}
