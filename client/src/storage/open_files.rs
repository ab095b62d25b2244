use std::collections::BTreeSet;

use lru::LruCache;

use super::io::{Io, Pending};
use super::plan::Plan;
use crate::disk::{DiskOp, Extent, FileId, OpenMode};
use crate::payload::Payload;

/// A file of the torrent, open one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle {
    /// Its place in the info dict.
    pub(super) file: usize,
    pub(super) write: bool,
}

struct OpenFile {
    id: FileId,
    /// The operation is done.
    is_open: bool,
    /// Jobs that read, write or will sync it.
    pins: u32,
    /// Blocks to upload that it is held open for.
    reads: u32,
}

/// The files that are open, least recently used first to go. What is pinned stays, as does what is held or
/// being opened for blocks to upload: of each of the two there are at most as many as the bound, so for a
/// while there can be twice as many in all.
pub(super) struct OpenFiles {
    files: LruCache<Handle, OpenFile>,
    /// Open to be written until a moment ago, and locked until that is over: they are not opened
    /// again before.
    closing: BTreeSet<Handle>,
    max: usize,
}

impl OpenFiles {
    pub(super) fn new(max: usize) -> OpenFiles {
        OpenFiles { files: LruCache::unbounded(), closing: BTreeSet::new(), max }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Files that one run of a job may have open: while as many are being synced, others can be
    /// written to.
    pub(super) fn run_max(&self) -> usize {
        (self.max / 2).max(1)
    }

    /// Whether these can be pinned and no more files are than may be open. If nothing is pinned they can.
    pub(super) fn has_room(&self, files: &[usize], write: bool) -> bool {
        let is_pinned = |handle: &Handle| self.files.peek(handle).is_some_and(|open| open.pins > 0);
        let pinned = self.files.iter().filter(|(_, open)| open.pins > 0).count();
        let more = files.iter().filter(|file| !is_pinned(&self.handle(**file, write))).count();
        pinned == 0 || pinned + more <= self.max
    }

    /// What `file` is open as, for reading or for writing.
    fn handle(&self, file: usize, write: bool) -> Handle {
        let (read, wide) = (Handle { file, write: false }, Handle { file, write: true });
        if write || (self.files.contains(&wide) && !self.files.contains(&read)) {
            wide
        } else {
            read
        }
    }

    /// Keeps a file open until it is unpinned, and opens it if need be.
    pub(super) fn pin<P: Payload>(
        &mut self,
        io: &mut Io<P>,
        plan: &Plan,
        file: usize,
        write: bool,
    ) -> Handle {
        let handle = self.handle(file, write);
        self.open(io, plan, handle).pins += 1;
        self.evict(io, &[]);
        handle
    }

    /// Undoes one pin.
    pub(super) fn unpin<P: Payload>(&mut self, io: &mut Io<P>, handle: Handle) {
        if let Some(open) = self.files.peek_mut(&handle) {
            open.pins = open.pins.saturating_sub(1);
        }
        self.evict(io, &[]);
    }

    pub(super) fn unpin_all<P: Payload>(&mut self, io: &mut Io<P>, handles: Vec<Handle>) {
        handles.into_iter().for_each(|handle| self.unpin(io, handle));
    }

    /// Whether these can be held open and no more files are, or are being opened, for blocks to upload
    /// than may be open. If there are none they can.
    pub(super) fn has_room_to_read(&self, files: &[usize]) -> bool {
        let is_read = |open: &OpenFile| open.reads > 0 || (open.pins == 0 && !open.is_open);
        let is_held =
            |file: &&usize| self.files.peek(&self.handle(**file, false)).is_some_and(is_read);
        let read = self.files.iter().filter(|(_, open)| is_read(open)).count();
        let more = files.len() - files.iter().filter(is_held).count();
        read == 0 || read + more <= self.max
    }

    /// Keeps a file open until it is released, and opens it to be read if need be.
    pub(super) fn hold<P: Payload>(&mut self, io: &mut Io<P>, plan: &Plan, file: usize) -> Handle {
        let handle = self.handle(file, false);
        self.open(io, plan, handle).reads += 1;
        handle
    }

    /// Undoes one hold of each.
    pub(super) fn release_all(&mut self, handles: Vec<Handle>) {
        for handle in handles {
            if let Some(open) = self.files.peek_mut(&handle) {
                open.reads = open.reads.saturating_sub(1);
            }
        }
    }

    /// A file was used.
    pub(super) fn touch(&mut self, file: usize) {
        self.files.promote(&self.handle(file, false));
    }

    fn open<P: Payload>(&mut self, io: &mut Io<P>, plan: &Plan, handle: Handle) -> &mut OpenFile {
        let is_closing = self.closing.contains(&handle);
        self.files.get_or_insert_mut(handle, || {
            let id = io.new_file();
            if !is_closing {
                submit_open(io, plan, handle, id);
            }
            OpenFile { id, is_open: false, pins: 0, reads: 0 }
        })
    }

    /// A file that was open to be written is closed.
    pub(super) fn closed<P: Payload>(&mut self, io: &mut Io<P>, plan: &Plan, handle: Handle) {
        self.closing.remove(&handle);
        // Somebody wanted it again meanwhile.
        if let Some(open) = self.files.peek(&handle) {
            submit_open(io, plan, handle, open.id);
        }
    }

    /// A file is open now.
    pub(super) fn opened(&mut self, handle: Handle) {
        if let Some(open) = self.files.peek_mut(&handle) {
            open.is_open = true;
        }
    }

    /// A file could not be opened.
    pub(super) fn failed(&mut self, handle: Handle) {
        self.files.pop(&handle);
    }

    /// Whether it is open to be written, which nobody else has it then, or was until a moment ago.
    pub(super) fn is_written(&self, file: usize) -> bool {
        let handle = Handle { file, write: true };
        self.files.contains(&handle) || self.closing.contains(&handle)
    }

    /// Its name, once it is open.
    pub(super) fn id(&self, handle: Handle) -> Option<FileId> {
        self.files.peek(&handle).filter(|open| open.is_open).map(|open| open.id)
    }

    /// Where bytes of a piece lie, if all its files are open.
    pub(super) fn extents(
        &self,
        plan: &Plan,
        piece: u32,
        begin: u32,
        len: u32,
        write: bool,
    ) -> Option<Vec<Extent>> {
        plan.extents(piece, begin, len)
            .map(|(index, offset, len)| {
                let file = if plan.is_real(index) {
                    self.id(self.handle(index, write))?
                } else {
                    FileId::ZEROS
                };
                Some(Extent { file, offset, len })
            })
            .collect()
    }

    /// Closes what is over the bound, but nothing of `keep`.
    pub(super) fn evict<P: Payload>(&mut self, io: &mut Io<P>, keep: &[usize]) {
        while self.files.len() > self.max {
            let idle = self.files.iter().rev().find(|(handle, open)| {
                let is_idle = open.is_open && open.pins == 0 && open.reads == 0;
                is_idle && keep.binary_search(&handle.file).is_err()
            });
            let Some(handle) = idle.map(|(handle, _)| *handle) else { return };
            if let Some(open) = self.files.pop(&handle) {
                let pending = if handle.write {
                    self.closing.insert(handle);
                    Pending::Close(handle)
                } else {
                    Pending::Ignored
                };
                io.submit(DiskOp::Close { file: open.id }, pending);
            }
        }
    }

    /// Closes everything.
    pub(super) fn close_all<P: Payload>(&mut self, io: &mut Io<P>) {
        while let Some((_, open)) = self.files.pop_lru() {
            if open.is_open {
                io.submit(DiskOp::Close { file: open.id }, Pending::Ignored);
            }
        }
    }
}

fn submit_open<P: Payload>(io: &mut Io<P>, plan: &Plan, handle: Handle, id: FileId) {
    let path = plan.files.get(handle.file).map(|file| file.path.clone());
    let mode = if handle.write { OpenMode::Write } else { OpenMode::Read };
    let op = DiskOp::Open { file: id, path: path.unwrap_or_default(), mode };
    io.submit(op, Pending::Open(handle));
}
