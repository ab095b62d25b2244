//! A disk in memory: payload as content, small files as bytes. It may take its time, fail, and lose
//! what was not synced.

mod config;
mod file;
mod jobs;
mod runs;

use std::collections::BTreeMap;

use client::Payload;
use client::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, Extent, FileId, FileStat, HashState, OpenMode,
    PathExtent, RelPath,
};
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use crate::content::{Content, ContentHasher, Run};
pub use config::DiskConfig;
use file::File;
pub(crate) use jobs::{Done, Fault, Jobs};

/// How a program ends that nobody asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The process is killed: what it wrote stays.
    Kill,
    /// The power goes: of what was not synced chance decides, sector by sector and name by name.
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

/// The disk of one host.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    names: BTreeMap<RelPath, Node>,
    /// Names that are not certain to last, with what a power cut leaves at least.
    unsynced: BTreeMap<RelPath, Option<Node>>,
    files: Vec<File>,
    open: BTreeMap<FileId, usize>,
    /// The clock of its mtimes: it goes on with each operation.
    clock_ns: i64,
}

type Outcome = Result<DiskResult<Content>, DiskErrorKind>;

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// Puts a file there, which lasts.
    pub fn put(&mut self, path: RelPath, content: &Content) {
        for depth in 1..path.len() {
            self.names.insert(path[..depth].to_vec(), Node::Folder);
        }
        self.files.push(File::lasting(content, self.clock_ns));
        self.unsynced.remove(&path);
        self.names.insert(path, Node::File(self.files.len() - 1));
    }

    fn file(&self, path: &RelPath) -> Option<&File> {
        match self.names.get(path)? {
            Node::File(file) => self.files.get(*file),
            Node::Folder => None,
        }
    }

    /// A file's content.
    pub fn content(&self, path: &RelPath) -> Option<Content> {
        let file = self.file(path)?;
        let mut out = Content::new();
        file.read(0, file.len, &mut out);
        Some(out)
    }

    /// The bytes of a small file.
    pub fn bytes(&self, path: &RelPath) -> Option<Vec<u8>> {
        self.file(path).map(|file| file.read_bytes(0, u64::MAX))
    }

    /// The bytes of a small file that a power cut leaves at least; none: not even its name.
    pub fn lasting_bytes(&self, path: &RelPath) -> Option<Vec<u8>> {
        let file = self.file(path).filter(|_| self.is_name_certain(path))?;
        Some(file.lasting_bytes())
    }

    /// A line for each file: how long it is, how much was written to it, and what a power cut may take.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let files = self.names.iter().filter_map(|(path, node)| match node {
            Node::File(index) => Some((path, self.files.get(*index)?)),
            Node::Folder => None,
        });
        files.map(|(path, file)| {
            let name = if self.is_name_certain(path) { "" } else { ", its name as well" };
            let (path, stat) = (path.join("/"), file.stat());
            let unsynced = file.unsynced_bytes();
            format!(
                "{path}: {} B, {} of them written; a power cut may take {unsynced}{name}",
                stat.len, stat.allocated
            )
        })
    }

    /// Whether a file has this content at `offset`, as programs see it.
    pub fn has(&self, path: &RelPath, offset: u64, content: &Content) -> bool {
        let len = content.len() as u64;
        let Some(file) = self.file(path).filter(|file| offset + len <= file.len) else {
            return false;
        };
        let mut there = Content::new();
        file.read(offset, len, &mut there);
        there == *content
    }

    /// Whether a file has this content at `offset` whatever a power cut takes.
    pub fn keeps(&self, path: &RelPath, offset: u64, content: &Content) -> bool {
        self.is_name_certain(path)
            && self.file(path).is_some_and(|file| file.is_certain(offset, content))
    }

    fn is_name_certain(&self, path: &RelPath) -> bool {
        (1..=path.len()).all(|depth| !self.unsynced.contains_key(&path[..depth]))
    }

    /// The program that used it ends: nothing is open or locked any more, and after a power cut what
    /// was not synced may be gone.
    pub fn cut(&mut self, cut: Cut, seed: &Seed) {
        self.open.clear();
        self.files.iter_mut().for_each(|file| file.locked_by = None);
        if cut == Cut::Kill {
            return;
        }
        let mut rng = Rng::new(&child_seed(seed, "power cut", 0));
        let mut keeps = file::chance(&mut rng);
        for (path, before) in std::mem::take(&mut self.unsynced) {
            if !keeps() {
                match before {
                    Some(node) => _ = self.names.insert(path, node),
                    None => _ = self.names.remove(&path),
                }
            }
        }
        // What a folder that is lost had in it is lost with it.
        for (path, node) in std::mem::take(&mut self.names) {
            let parent = &path[..path.len() - 1];
            if parent.is_empty() || self.names.get(parent) == Some(&Node::Folder) {
                self.names.insert(path, node);
            }
        }
        self.files.iter_mut().for_each(|file| file.cut(&mut keeps));
    }

    /// Gives a path a node, or none; that may not last.
    fn name(&mut self, path: RelPath, node: Option<Node>) {
        let before = match node {
            Some(node) => self.names.insert(path.clone(), node),
            None => self.names.remove(&path),
        };
        if before != node {
            self.unsynced.entry(path).or_insert(before);
        }
    }

    /// What lies at these extents.
    pub fn read(&self, extents: &[Extent]) -> Option<Content> {
        let mut out = Content::new();
        for extent in extents {
            if extent.file == FileId::ZEROS {
                out.push(Run { tag: Run::ZEROS, offset: 0, len: extent.len });
                continue;
            }
            let file = self.files.get(*self.open.get(&extent.file)?)?;
            if extent.offset + extent.len > file.len {
                return None;
            }
            file.read(extent.offset, extent.len, &mut out);
        }
        Some(out)
    }

    fn read_paths(&self, extents: &[PathExtent]) -> Option<Content> {
        let mut out = Content::new();
        for PathExtent { path, offset, len } in extents {
            let Some(path) = path else {
                out.push(Run { tag: Run::ZEROS, offset: 0, len: *len });
                continue;
            };
            let file = self.file(path).filter(|file| offset + len <= file.len)?;
            file.read(*offset, *len, &mut out);
        }
        Some(out)
    }

    /// Executes an operation, at once.
    pub fn run(&mut self, now: Time, op: DiskOp<Content>) -> DiskResult<Content> {
        self.run_with(now, op, None)
    }

    /// Executes an operation with which something may go wrong.
    pub(crate) fn run_with(
        &mut self,
        now: Time,
        op: DiskOp<Content>,
        fault: Option<Fault>,
    ) -> DiskResult<Content> {
        let now_ns = i64::try_from(now.as_micros().saturating_mul(1_000)).unwrap_or(i64::MAX);
        self.clock_ns = now_ns.max(self.clock_ns + 1);
        let outcome = match fault {
            None => self.execute(op),
            Some(fault) => return failed(self.fail(op, fault)),
        };
        outcome.unwrap_or_else(|kind| failed((kind, Vec::new())))
    }

    /// What a fault leaves of an operation; gives the blocks back.
    fn fail(&mut self, op: DiskOp<Content>, fault: Fault) -> (DiskErrorKind, Vec<Content>) {
        let kind = if fault == Fault::Io { DiskErrorKind::Other } else { DiskErrorKind::Full };
        let taken = |len: u64| match fault {
            Fault::Io => 0,
            Fault::Full(share) => (len as f64 * share) as u64,
        };
        match op {
            DiskOp::Write { file, offset, mut bytes } => {
                bytes.truncate(taken(bytes.len() as u64) as usize);
                if !bytes.is_empty() {
                    _ = self.execute(DiskOp::Write { file, offset, bytes });
                }
                (kind, Vec::new())
            }
            DiskOp::WriteBlocks { extents, blocks, skip } => {
                let len = extents.iter().map(|extent| extent.len).sum();
                self.write_blocks(&extents, &blocks, skip, taken(len));
                (kind, blocks)
            }
            DiskOp::SyncData { file } | DiskOp::SyncAll { file, .. } => {
                if let Some(file) = self.open.get(&file).and_then(|i| self.files.get_mut(*i)) {
                    file.fail_sync();
                }
                (kind, Vec::new())
            }
            _ => (kind, Vec::new()),
        }
    }

    fn execute(&mut self, op: DiskOp<Content>) -> Outcome {
        let missing = DiskErrorKind::NotFound;
        let blocks = |content: Option<Content>| match content {
            Some(content) => Ok(DiskResult::Blocks(vec![content])),
            None => Err(missing),
        };
        match op {
            DiskOp::Stat { path } => return self.stat(&path).map(DiskResult::Stat),
            DiskOp::FreeSpace => return Ok(DiskResult::FreeSpace(u64::MAX)),
            DiskOp::MakeFolder { path } => {
                for depth in 1..=path.len() {
                    if !self.names.contains_key(&path[..depth]) {
                        self.name(path[..depth].to_vec(), Some(Node::Folder));
                    }
                }
            }
            DiskOp::Open { file, path, mode } => return self.open_file(file, &path, mode),
            DiskOp::Close { file } => self.close(file),
            DiskOp::Rename { from, to } => {
                let node = self.names.get(&from).copied().ok_or(missing)?;
                self.name(from, None);
                self.name(to, Some(node));
            }
            DiskOp::Unlink { path } => self.name(path, None),
            DiskOp::HashExtents { extents, after, finish, rewrite } => {
                let content = self.read(&extents).ok_or(missing)?;
                if rewrite {
                    self.write_blocks(&extents, std::slice::from_ref(&content), 0, u64::MAX);
                }
                let mut hasher = after.map_or_else(ContentHasher::default, |state| *state.0);
                hasher.update(&content);
                return Ok(match finish {
                    true => DiskResult::Digest(hasher.digest()),
                    false => DiskResult::Hashed(HashState(Box::new(hasher))),
                });
            }
            DiskOp::ReadPaths { extents } => return blocks(self.read_paths(&extents)),
            DiskOp::ReadBlock { extents } => return blocks(self.read(&extents)),
            DiskOp::WriteBlocks { extents, blocks, skip } => {
                self.write_blocks(&extents, &blocks, skip, u64::MAX);
                return Ok(DiskResult::Blocks(blocks));
            }
            DiskOp::SetLen { file, len } | DiskOp::Allocate { file, len } => {
                self.on_file(file, |file| file.set_len(len));
            }
            DiskOp::Write { file, offset, bytes } => {
                self.on_file(file, |file| file.write_bytes(offset, bytes));
            }
            DiskOp::Read { extent } => {
                let index = self.open.get(&extent.file).ok_or(missing)?;
                return Ok(DiskResult::Bytes(
                    self.files[*index].read_bytes(extent.offset, extent.len),
                ));
            }
            DiskOp::SyncData { file } => self.sync(file, false),
            DiskOp::SyncAll { file, path } => {
                self.sync(file, true);
                let there = self.names.get(&path).copied();
                let index = self.open.get(&file).copied();
                let is_there = index.is_some_and(|index| there == Some(Node::File(index)));
                let file = index.filter(|_| is_there).and_then(|index| self.files.get(index));
                return Ok(DiskResult::Stat(file.map(File::stat)));
            }
            DiskOp::SyncFolder { path } => {
                if !path.is_empty() && self.names.get(&path) != Some(&Node::Folder) {
                    return Err(missing);
                }
                self.unsynced.retain(|name, _| name[..name.len() - 1] != path[..]);
            }
        }
        Ok(DiskResult::Done)
    }

    fn stat(&self, path: &RelPath) -> Result<Option<FileStat>, DiskErrorKind> {
        match self.names.get(path) {
            None => Ok(None),
            Some(Node::Folder) => Err(DiskErrorKind::Conflict),
            Some(Node::File(file)) => Ok(self.files.get(*file).map(File::stat)),
        }
    }

    fn open_file(&mut self, id: FileId, path: &RelPath, mode: OpenMode) -> Outcome {
        let index = match (self.names.get(path), mode) {
            (Some(Node::File(index)), _) => *index,
            (Some(Node::Folder), _) => return Err(DiskErrorKind::Conflict),
            (None, OpenMode::Read) => return Err(DiskErrorKind::NotFound),
            (None, _) => {
                let parent = &path[..path.len() - 1];
                if !parent.is_empty() && self.names.get(parent) != Some(&Node::Folder) {
                    return Err(DiskErrorKind::NotFound);
                }
                self.files.push(File::new(self.clock_ns));
                self.name(path.clone(), Some(Node::File(self.files.len() - 1)));
                self.files.len() - 1
            }
        };
        let file = &mut self.files[index];
        if mode != OpenMode::Read {
            match (file.locked_by, mode) {
                (None, _) => file.locked_by = Some(id),
                (Some(_), OpenMode::WriteLocked) => return Err(DiskErrorKind::Locked),
                (Some(_), _) => return Err(DiskErrorKind::Conflict),
            }
        }
        self.open.insert(id, index);
        let is_told = mode != OpenMode::Read;
        Ok(if is_told { DiskResult::Stat(Some(file.stat())) } else { DiskResult::Done })
    }

    fn close(&mut self, id: FileId) {
        if let Some(file) = self.open.remove(&id).and_then(|index| self.files.get_mut(index)) {
            file.locked_by.take_if(|by| *by == id);
        }
    }

    fn sync(&mut self, file: FileId, with_mtime: bool) {
        if let Some(file) = self.open.get(&file).and_then(|index| self.files.get_mut(*index)) {
            file.sync(with_mtime);
        }
    }

    fn on_file(&mut self, file: FileId, f: impl FnOnce(&mut File)) {
        let clock_ns = self.clock_ns;
        if let Some(file) = self.open.get(&file).and_then(|index| self.files.get_mut(*index)) {
            f(file);
            file.mtime_ns = clock_ns;
        }
    }

    /// Writes no more than `limit` bytes.
    fn write_blocks(&mut self, extents: &[Extent], blocks: &[Content], skip: u64, limit: u64) {
        let all: Content = blocks.iter().flat_map(|block| block.runs().iter().copied()).collect();
        let (mut at, mut left) = (skip, limit);
        for extent in extents {
            let len = extent.len.min(left);
            let part = all.slice(at, len);
            at += len;
            left -= len;
            if len > 0 {
                self.on_file(extent.file, |file| file.write(extent.offset, &part));
            }
        }
    }
}

fn failed((kind, blocks): (DiskErrorKind, Vec<Content>)) -> DiskResult<Content> {
    // As strerror(3) has them.
    let message = match kind {
        DiskErrorKind::Full => "No space left on device (os error 28)",
        DiskErrorKind::Other => "Input/output error (os error 5)",
        DiskErrorKind::NotFound => "No such file or directory (os error 2)",
        DiskErrorKind::Locked | DiskErrorKind::Conflict => "in use by another",
        _ => "failed",
    };
    DiskResult::Failed { error: DiskError { kind, message: message.to_owned() }, blocks }
}
