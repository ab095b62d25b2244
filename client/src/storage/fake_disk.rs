//! A disk in memory that forgets like a real one: what was not synced may or may not be there after
//! a crash, sector by sector and name by name.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};
use wire::rng::Rng;

use crate::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, Extent, FileId, FileStat, HashState, OpenMode,
    PathExtent, RelPath,
};
use crate::payload::Payload;

/// What lands on a disk whole or not at all.
const SECTOR: usize = 64;

/// A block of real bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block(pub(super) Vec<u8>);

impl Payload for Block {
    type Hasher = Sha1;

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Clone, Default)]
struct State {
    bytes: Vec<u8>,
    mtime_ns: i64,
}

#[derive(Clone, Default)]
struct Inode {
    /// As programs see it.
    now: State,
    /// As it is after a crash, but for the sectors below.
    lasting: State,
    /// Sectors that may or may not be as programs see them.
    unsynced: BTreeSet<usize>,
    /// Sectors that it has on the disk; the others are holes.
    allocated: BTreeSet<usize>,
    /// What it is open as to be written.
    locked_by: Option<FileId>,
}

impl Inode {
    fn stat(&self) -> FileStat {
        let State { bytes, mtime_ns } = &self.now;
        let allocated = (self.allocated.len() * SECTOR) as u64;
        FileStat { len: bytes.len() as u64, mtime_ns: *mtime_ns, allocated }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

/// Names some operations.
pub(super) type Matches = fn(&DiskOp<Block>) -> bool;

#[derive(Clone)]
pub(super) struct FakeDisk {
    /// Where the operations' paths lie.
    pub(super) root: RelPath,
    names: BTreeMap<RelPath, Node>,
    lasting_names: BTreeMap<RelPath, Node>,
    inodes: Vec<Inode>,
    open: BTreeMap<FileId, usize>,
    /// The most files that were open at once.
    pub(super) open_max: usize,
    pub(super) clock_ns: i64,
    pub(super) free: u64,
    /// The next operation of this sort fails.
    pub(super) fail_next: Option<(Matches, DiskErrorKind)>,
    /// Of a thousand operations on open files so many fail, as this says; writes may be short.
    pub(super) faults: Option<(Rng, u32)>,
    /// Pieces hashed.
    pub(super) hashed: usize,
}

impl FakeDisk {
    pub(super) fn new() -> FakeDisk {
        FakeDisk {
            root: Vec::new(),
            names: BTreeMap::new(),
            lasting_names: BTreeMap::new(),
            inodes: Vec::new(),
            open: BTreeMap::new(),
            open_max: 0,
            clock_ns: 1_000_000_000_000,
            free: u64::MAX,
            fail_next: None,
            faults: None,
            hashed: 0,
        }
    }

    /// Files open now.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// A file's bytes.
    pub(super) fn bytes(&mut self, path: &[&str]) -> Option<&mut Vec<u8>> {
        let path = self.at(path.iter().map(|part| (*part).to_owned()).collect());
        match self.names.get(&path)? {
            Node::File(inode) => Some(&mut self.inodes[*inode].now.bytes),
            Node::Folder => None,
        }
    }

    /// Puts a file there, as another program would.
    pub(super) fn put(&mut self, path: &[&str], bytes: Vec<u8>) {
        let path: RelPath = path.iter().map(|part| (*part).to_owned()).collect();
        for depth in 1..path.len() {
            self.names.insert(path[..depth].to_vec(), Node::Folder);
        }
        let allocated = (0..bytes.len().div_ceil(SECTOR)).collect();
        let state = State { bytes, mtime_ns: self.clock_ns };
        let lasting = state.clone();
        self.inodes.push(Inode { now: state, lasting, allocated, ..Inode::default() });
        self.names.insert(path, Node::File(self.inodes.len() - 1));
        self.lasting_names = self.names.clone();
    }

    /// Puts a file of zeros there, of which the disk has nothing.
    pub(super) fn put_holes(&mut self, path: &[&str], len: usize) {
        self.put(path, vec![0; len]);
        self.inodes.last_mut().unwrap().allocated.clear();
    }

    pub(super) fn remove(&mut self, path: &[&str]) {
        let path: RelPath = path.iter().map(|part| (*part).to_owned()).collect();
        self.names.remove(&path);
    }

    /// When a file was last modified.
    pub(super) fn mtime_ns(&self, path: &[&str]) -> i64 {
        self.stat_at(path).mtime_ns
    }

    /// Bytes that a file has on the disk.
    pub(super) fn allocated(&self, path: &[&str]) -> u64 {
        self.stat_at(path).allocated
    }

    fn stat_at(&self, path: &[&str]) -> FileStat {
        let path: RelPath = path.iter().map(|part| (*part).to_owned()).collect();
        self.stat(&path).unwrap().unwrap()
    }

    /// Sets a file's mtime, as whoever restores one does.
    pub(super) fn set_mtime_ns(&mut self, path: &[&str], mtime_ns: i64) {
        let clock_ns = std::mem::replace(&mut self.clock_ns, mtime_ns);
        self.touch(path);
        self.clock_ns = clock_ns;
    }

    /// Sets a file's mtime to now, as a change by another program does.
    pub(super) fn touch(&mut self, path: &[&str]) {
        let path: RelPath = path.iter().map(|part| (*part).to_owned()).collect();
        if let Some(Node::File(inode)) = self.names.get(&path) {
            self.inodes[*inode].now.mtime_ns = self.clock_ns;
        }
    }

    /// All processes end; what they wrote stays.
    pub(super) fn kill(&mut self) {
        self.open.clear();
        self.inodes.iter_mut().for_each(|inode| inode.locked_by = None);
    }

    /// The power goes: of what was not synced, chance decides. One seed in three loses all of it.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        self.kill();
        let lose_all = rng.below(3) == 0;
        let mut keep = |_: &str| !lose_all && rng.below(2) == 0;
        let mut all = self.lasting_names.clone();
        all.retain(|path, _| self.names.contains_key(path) || !keep("removal"));
        for (path, node) in &self.names {
            if all.get(path) != Some(node) && keep("name") {
                all.insert(path.clone(), *node);
            }
        }
        // What a folder that is lost had in it is lost with it.
        let mut names = BTreeMap::new();
        for (path, node) in all {
            let parent = &path[..path.len() - 1];
            if parent.is_empty() || names.contains_key(parent) {
                names.insert(path, node);
            }
        }
        self.names = names.clone();
        self.lasting_names = names;
        for inode in &mut self.inodes {
            let mut state = inode.lasting.clone();
            if state.bytes.len() != inode.now.bytes.len() && keep("length") {
                state.bytes.resize(inode.now.bytes.len(), 0);
            }
            for sector in std::mem::take(&mut inode.unsynced) {
                if keep("sector") {
                    let range = sector * SECTOR..((sector + 1) * SECTOR).min(state.bytes.len());
                    if range.start < range.end && range.end <= inode.now.bytes.len() {
                        state.bytes[range.clone()].copy_from_slice(&inode.now.bytes[range]);
                    }
                }
            }
            if keep("mtime") {
                state.mtime_ns = inode.now.mtime_ns;
            }
            inode.now = state.clone();
            inode.lasting = state;
        }
    }

    pub(super) fn run(&mut self, op: DiskOp<Block>) -> DiskResult<Block> {
        self.clock_ns += 1_000;
        if let Some((matches, kind)) = self.fail_next
            && matches(&op)
        {
            self.fail_next = None;
            if let DiskOp::SyncData { file } | DiskOp::SyncAll { file, .. } = op {
                // As Linux does it: the pages count as clean and still are not on the disk.
                let inode = self.open[&file];
                self.inodes[inode].unsynced.clear();
            }
            return failed(kind, "planned");
        }
        if let Some(kind) = self.fault(&op) {
            return failed(kind, "by chance");
        }
        match self.execute(op) {
            Ok(result) => result,
            Err(kind) => failed(kind, "fake"),
        }
    }

    /// Whether chance lets an operation fail: no space after the first bytes, or an error of the disk.
    fn fault(&mut self, op: &DiskOp<Block>) -> Option<DiskErrorKind> {
        let (rng, per_mille) = self.faults.as_mut()?;
        let is_write = matches!(op, DiskOp::Write { .. } | DiskOp::WriteBlocks { .. });
        let is_sync = matches!(op, DiskOp::SyncData { .. } | DiskOp::SyncAll { .. });
        let may_fail =
            is_write || is_sync || matches!(op, DiskOp::Read { .. } | DiskOp::SetLen { .. });
        if !may_fail || rng.below(1000) >= *per_mille {
            return None;
        }
        if is_write && rng.below(2) == 0 {
            // The operation itself runs into it.
            self.free = u64::from(rng.below(100));
            return None;
        }
        if let DiskOp::SyncData { file } | DiskOp::SyncAll { file, .. } = op {
            let inode = self.open[file];
            self.inodes[inode].unsynced.clear();
        }
        Some(DiskErrorKind::Other)
    }

    fn execute(&mut self, op: DiskOp<Block>) -> Result<DiskResult<Block>, DiskErrorKind> {
        match op {
            DiskOp::Stat { path } => return Ok(DiskResult::Stat(self.stat(&self.at(path))?)),
            DiskOp::FreeSpace => return Ok(DiskResult::FreeSpace(self.free)),
            DiskOp::MakeFolder { path } => {
                let path = self.at(path);
                for depth in 1..=path.len() {
                    self.names.entry(path[..depth].to_vec()).or_insert(Node::Folder);
                }
            }
            DiskOp::Open { file, path, mode } => {
                let path = self.at(path);
                self.open_file(file, path.clone(), mode)?;
                if mode != OpenMode::Read {
                    return Ok(DiskResult::Stat(self.stat(&path)?));
                }
            }
            DiskOp::Close { file } => {
                let inode = self.open.remove(&file).expect("only open files are closed");
                self.inodes[inode].locked_by.take_if(|by| *by == file);
            }
            DiskOp::SetLen { file, len } => self.set_len(file, len as usize),
            DiskOp::Allocate { file, len } => {
                self.set_len(file, len as usize);
                self.inode(file).allocated.extend(0..(len as usize).div_ceil(SECTOR));
            }
            DiskOp::Read { extent } => return Ok(DiskResult::Bytes(self.read(extent))),
            DiskOp::Write { file, offset, bytes } => self.write(file, offset, &bytes)?,
            DiskOp::WriteBlocks { extents, blocks, skip } => {
                let all: Vec<u8> = blocks.iter().flat_map(|block| block.0.clone()).collect();
                let mut at = skip as usize;
                for extent in extents {
                    let len = extent.len as usize;
                    if extent.file != FileId::ZEROS {
                        self.write(extent.file, extent.offset, &all[at..at + len])?;
                    }
                    at += len;
                }
                assert!(at <= all.len(), "the extents are no longer than the blocks");
                return Ok(DiskResult::Blocks(blocks));
            }
            DiskOp::HashExtents { extents, after, finish, rewrite } => {
                let mut hasher = after.map_or_else(Sha1::new, |state| *state.0);
                hasher.update(self.read_all(extents.clone())?);
                if rewrite {
                    self.rewrite(extents)?;
                }
                if !finish {
                    return Ok(DiskResult::Hashed(HashState(Box::new(hasher))));
                }
                // What was just read to be checked is in memory.
                self.hashed += usize::from(!rewrite);
                return Ok(DiskResult::Digest(hasher.finalize().into()));
            }
            DiskOp::ReadPaths { extents } => return self.read_paths(extents),
            DiskOp::ReadBlock { extents } => {
                return Ok(DiskResult::Blocks(vec![Block(self.read_all(extents)?)]));
            }
            DiskOp::SyncData { file } => self.sync_data(file),
            DiskOp::SyncAll { file, path } => {
                self.sync_data(file);
                let inode = self.inode(file);
                inode.lasting.mtime_ns = inode.now.mtime_ns;
                return Ok(DiskResult::Stat(self.stat_open(file, &path)));
            }
            DiskOp::SyncFolder { path } => self.sync_folder(&self.at(path))?,
            DiskOp::Unlink { path } => {
                self.names.remove(&self.at(path));
            }
            DiskOp::Rename { .. } => unreachable!("not used"),
        }
        Ok(DiskResult::Done)
    }

    /// Writes what is there to its place.
    fn rewrite(&mut self, extents: Vec<Extent>) -> Result<(), DiskErrorKind> {
        for extent in extents.into_iter().filter(|extent| extent.file != FileId::ZEROS) {
            let bytes = self.read(extent);
            self.write(extent.file, extent.offset, &bytes)?;
        }
        Ok(())
    }

    fn sync_data(&mut self, file: FileId) {
        let inode = self.inode(file);
        let State { bytes, .. } = &inode.now;
        inode.lasting.bytes.resize(bytes.len(), 0);
        // What a failed sync left counts as clean, and is passed over.
        for sector in std::mem::take(&mut inode.unsynced) {
            let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(bytes.len()));
            if start < end {
                inode.lasting.bytes[start..end].copy_from_slice(&bytes[start..end]);
            }
        }
    }

    fn sync_folder(&mut self, path: &RelPath) -> Result<(), DiskErrorKind> {
        if !path.is_empty() && self.names.get(path) != Some(&Node::Folder) {
            return Err(DiskErrorKind::NotFound);
        }
        let is_in = |name: &RelPath| name[..name.len() - 1] == path[..];
        self.lasting_names.retain(|name, _| !is_in(name) || self.names.contains_key(name));
        for (name, node) in self.names.iter().filter(|(name, _)| is_in(name)) {
            self.lasting_names.insert(name.clone(), *node);
        }
        Ok(())
    }

    fn at(&self, path: RelPath) -> RelPath {
        [self.root.clone(), path].concat()
    }

    /// Gives a file another name beside the one it has; the paths are whole.
    pub(super) fn link(&mut self, from: &RelPath, to: &RelPath) {
        let node = self.names[from];
        assert!(self.names.insert(to.clone(), node).is_none(), "{to:?} is there already");
    }

    /// Copies a file and syncs the copy.
    pub(super) fn copy(&mut self, from: &RelPath, to: &RelPath) {
        let Node::File(inode) = self.names[from] else { panic!("{from:?} is a folder") };
        let state = self.inodes[inode].now.clone();
        self.inodes.push(Inode { now: state.clone(), lasting: state, ..Inode::default() });
        let copy = Node::File(self.inodes.len() - 1);
        assert!(self.names.insert(to.clone(), copy).is_none(), "{to:?} is there already");
    }

    /// Puts a synced file in the place of whatever is there; its name may not last.
    pub(super) fn replace(&mut self, path: &RelPath, bytes: Vec<u8>) {
        let state = State { bytes, mtime_ns: self.clock_ns };
        self.inodes.push(Inode { now: state.clone(), lasting: state, ..Inode::default() });
        self.names.insert(path.clone(), Node::File(self.inodes.len() - 1));
    }

    /// What is beneath a folder.
    pub(super) fn beneath(&self, folder: &RelPath) -> Vec<RelPath> {
        let is_in = |path: &&RelPath| path.len() > folder.len() && path.starts_with(folder);
        self.names.keys().filter(is_in).cloned().collect()
    }

    /// Removes a folder if it is empty.
    pub(super) fn remove_folder(&mut self, path: &RelPath) {
        if self.beneath(path).is_empty() {
            self.names.remove(path);
        }
    }

    fn stat(&self, path: &RelPath) -> Result<Option<FileStat>, DiskErrorKind> {
        match self.names.get(path) {
            None => Ok(None),
            Some(Node::Folder) => Err(DiskErrorKind::Conflict),
            Some(Node::File(inode)) => Ok(Some(self.inodes[*inode].stat())),
        }
    }

    /// What an open file is, if it is still at its path.
    pub(super) fn stat_open(&self, file: FileId, path: &RelPath) -> Option<FileStat> {
        let inode = self.open[&file];
        let is_there = self.names.get(&self.at(path.clone())) == Some(&Node::File(inode));
        is_there.then(|| self.inodes[inode].stat())
    }

    fn open_file(
        &mut self,
        file: FileId,
        path: RelPath,
        mode: OpenMode,
    ) -> Result<(), DiskErrorKind> {
        let inode = match (self.names.get(&path), mode) {
            (Some(Node::File(inode)), _) => *inode,
            (Some(Node::Folder), _) => return Err(DiskErrorKind::Conflict),
            (None, OpenMode::Read) => return Err(DiskErrorKind::NotFound),
            (None, _) => {
                let parent = &path[..path.len() - 1];
                if !parent.is_empty() && self.names.get(parent) != Some(&Node::Folder) {
                    return Err(DiskErrorKind::NotFound);
                }
                let mut inode = Inode::default();
                inode.now.mtime_ns = self.clock_ns;
                inode.lasting.mtime_ns = self.clock_ns;
                self.inodes.push(inode);
                self.names.insert(path, Node::File(self.inodes.len() - 1));
                self.inodes.len() - 1
            }
        };
        if mode != OpenMode::Read {
            if self.inodes[inode].locked_by.is_some() {
                return Err(match mode {
                    OpenMode::WriteLocked => DiskErrorKind::Locked,
                    _ => DiskErrorKind::Conflict,
                });
            }
            self.inodes[inode].locked_by = Some(file);
        }
        assert!(self.open.insert(file, inode).is_none(), "{file:?} is open already");
        self.open_max = self.open_max.max(self.open.len());
        Ok(())
    }

    fn set_len(&mut self, file: FileId, len: usize) {
        let clock_ns = self.clock_ns;
        let inode = self.inode(file);
        inode.now.bytes.resize(len, 0);
        inode.now.mtime_ns = clock_ns;
        inode.allocated.retain(|sector| *sector < len.div_ceil(SECTOR));
    }

    fn inode(&mut self, file: FileId) -> &mut Inode {
        let inode = *self.open.get(&file).expect("only open files are used");
        &mut self.inodes[inode]
    }

    fn read_all(&mut self, extents: Vec<Extent>) -> Result<Vec<u8>, DiskErrorKind> {
        let len: u64 = extents.iter().map(|extent| extent.len).sum();
        let bytes: Vec<u8> = extents.into_iter().flat_map(|extent| self.read(extent)).collect();
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(DiskErrorKind::NotFound) }
    }

    fn read_paths(&mut self, extents: Vec<PathExtent>) -> Result<DiskResult<Block>, DiskErrorKind> {
        let file = FileId(u64::MAX - 1);
        let mut bytes = Vec::new();
        for PathExtent { path, offset, len } in extents {
            let Some(path) = path else {
                bytes.extend(vec![0; len as usize]);
                continue;
            };
            self.open_file(file, path, OpenMode::Read)?;
            let read = self.read_all(vec![Extent { file, offset, len }]);
            self.open.remove(&file);
            bytes.extend(read?);
        }
        Ok(DiskResult::Blocks(vec![Block(bytes)]))
    }

    fn read(&mut self, extent: Extent) -> Vec<u8> {
        if extent.file == FileId::ZEROS {
            return vec![0; extent.len as usize];
        }
        let bytes = &self.inode(extent.file).now.bytes;
        let start = (extent.offset as usize).min(bytes.len());
        let end = (start + extent.len as usize).min(bytes.len());
        bytes[start..end].to_vec()
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), DiskErrorKind> {
        let clock_ns = self.clock_ns;
        let free = self.free;
        let inode = self.inode(file);
        // A full disk takes the beginning, and what has its room already.
        let start = offset as usize;
        let is_new = |at: &usize| !inode.allocated.contains(&(at / SECTOR));
        let cut = (start..start + bytes.len()).filter(is_new).nth(free as usize);
        let end = cut.unwrap_or(start + bytes.len());
        let (taken, charged) = (end - start, (start..end).filter(is_new).count());
        if inode.now.bytes.len() < end {
            inode.now.bytes.resize(end, 0);
        }
        inode.now.bytes[start..end].copy_from_slice(&bytes[..taken]);
        inode.now.mtime_ns = clock_ns;
        inode.unsynced.extend(start / SECTOR..end.div_ceil(SECTOR));
        inode.allocated.extend(start / SECTOR..end.div_ceil(SECTOR));
        if free != u64::MAX {
            self.free -= charged as u64;
        }
        if taken < bytes.len() { Err(DiskErrorKind::Full) } else { Ok(()) }
    }
}

fn failed(kind: DiskErrorKind, message: &str) -> DiskResult<Block> {
    let error = DiskError { kind, message: message.to_owned() };
    DiskResult::Failed { error, blocks: Vec::new() }
}
