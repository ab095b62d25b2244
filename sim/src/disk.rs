//! A disk in memory that never fails: payload as content, small files as bytes.

use std::collections::BTreeMap;

use client::Payload;
use client::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, Extent, FileId, FileStat, HashState, OpenMode,
    PathExtent, RelPath,
};

use crate::content::{Content, ContentHasher, Run};
use crate::file_bytes::FileBytes;

/// Runs by their first byte; they do not overlap, no two that touch could be one, and what lies
/// between them is zeros.
#[derive(Debug, Default)]
struct Runs {
    by_start: BTreeMap<u64, Run>,
    /// Bytes of all.
    len: u64,
}

impl Runs {
    fn write(&mut self, offset: u64, content: &Content) {
        let end = offset + content.len() as u64;
        self.cut(offset);
        self.cut(end);
        while let Some((&at, run)) = self.by_start.range(offset..end).next() {
            self.len -= run.len;
            self.by_start.remove(&at);
        }
        let mut at = offset;
        for run in content.runs() {
            self.insert(at, *run);
            at += run.len;
        }
        if let Some(behind) = self.by_start.remove(&end) {
            self.len -= behind.len;
            self.insert(end, behind);
        }
    }

    /// Puts a run where none is; it goes on from the one before it if it can.
    fn insert(&mut self, at: u64, run: Run) {
        self.len += run.len;
        match self.by_start.range_mut(..at).next_back() {
            Some((&start, last)) if start + last.len == at && run.continues(*last) => {
                last.len += run.len;
            }
            _ => _ = self.by_start.insert(at, run),
        }
    }

    /// Makes `at` a border between runs.
    fn cut(&mut self, at: u64) {
        if let Some((&start, run)) = self.by_start.range_mut(..at).next_back()
            && at < start + run.len
        {
            let tail = run.part(at - start, run.len);
            run.len = at - start;
            self.by_start.insert(at, tail);
        }
    }

    fn read(&self, offset: u64, len: u64, out: &mut Content) {
        let zeros = |len| Run { tag: Run::ZEROS, offset: 0, len };
        let (mut at, end) = (offset, offset + len);
        let first = self.by_start.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (&start, run) in self.by_start.range(first..end) {
            if start + run.len <= at {
                continue;
            }
            if start > at {
                out.push(zeros(start - at));
                at = start;
            }
            let part = run.part(at - start, end - at);
            out.push(part);
            at += part.len;
        }
        out.push(zeros(end - at));
    }
}

#[derive(Debug, Default)]
struct File {
    len: u64,
    mtime_ns: i64,
    /// What was written as payload.
    runs: Runs,
    /// What was written as bytes: journals.
    bytes: FileBytes,
}

impl File {
    fn stat(&self) -> FileStat {
        let allocated = self.runs.len + self.bytes.len() as u64;
        FileStat { len: self.len, mtime_ns: self.mtime_ns, allocated }
    }
}

/// The disk of one host.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<RelPath, File>,
    open: BTreeMap<FileId, RelPath>,
    /// Counts operations: the clock of its mtimes.
    clock_ns: i64,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// Puts a file there.
    pub fn put(&mut self, path: RelPath, content: &Content) {
        let mut file = File { len: content.len() as u64, ..File::default() };
        file.runs.write(0, content);
        self.files.insert(path, file);
    }

    /// A file's content.
    pub fn content(&self, path: &RelPath) -> Option<Content> {
        let file = self.files.get(path)?;
        let mut out = Content::new();
        file.runs.read(0, file.len, &mut out);
        Some(out)
    }

    /// What lies at these extents.
    pub fn read(&self, extents: &[Extent]) -> Option<Content> {
        let mut out = Content::new();
        for extent in extents {
            if extent.file == FileId::ZEROS {
                out.push(Run { tag: Run::ZEROS, offset: 0, len: extent.len });
                continue;
            }
            let file = self.files.get(self.open.get(&extent.file)?)?;
            if extent.offset + extent.len > file.len {
                return None;
            }
            file.runs.read(extent.offset, extent.len, &mut out);
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
            let file = self.files.get(path).filter(|file| offset + len <= file.len)?;
            file.runs.read(*offset, *len, &mut out);
        }
        Some(out)
    }

    /// Executes an operation, at once.
    pub fn run(&mut self, op: DiskOp<Content>) -> DiskResult<Content> {
        self.clock_ns += 1;
        let missing = || DiskResult::Failed {
            error: DiskError { kind: DiskErrorKind::NotFound, message: "not there".to_owned() },
            blocks: Vec::new(),
        };
        let blocks = |content: Option<Content>| match content {
            Some(content) => DiskResult::Blocks(vec![content]),
            None => missing(),
        };
        match op {
            DiskOp::Stat { path } => DiskResult::Stat(self.files.get(&path).map(File::stat)),
            DiskOp::FreeSpace => DiskResult::FreeSpace(u64::MAX),
            DiskOp::MakeFolder { .. } | DiskOp::SyncData { .. } | DiskOp::SyncFolder { .. } => {
                DiskResult::Done
            }
            DiskOp::Open { path, mode: OpenMode::Read, .. } if !self.files.contains_key(&path) => {
                missing()
            }
            DiskOp::Open { file, path, mode } => {
                self.files.entry(path.clone()).or_default();
                self.open.insert(file, path);
                let is_told = mode != OpenMode::Read;
                if is_told { DiskResult::Stat(self.stat_open(file)) } else { DiskResult::Done }
            }
            DiskOp::SyncAll { file, .. } => DiskResult::Stat(self.stat_open(file)),
            DiskOp::Close { file } => {
                self.open.remove(&file);
                DiskResult::Done
            }
            DiskOp::Rename { from, to } => {
                let Some(file) = self.files.remove(&from) else { return missing() };
                self.files.insert(to, file);
                DiskResult::Done
            }
            DiskOp::Unlink { path } => {
                self.files.remove(&path);
                DiskResult::Done
            }
            DiskOp::HashExtents { extents, after, finish } => {
                let Some(content) = self.read(&extents) else { return missing() };
                let mut hasher = after.map_or_else(ContentHasher::default, |state| *state.0);
                hasher.update(&content);
                match finish {
                    true => DiskResult::Digest(hasher.digest()),
                    false => DiskResult::Hashed(HashState(Box::new(hasher))),
                }
            }
            DiskOp::ReadPaths { extents } => blocks(self.read_paths(&extents)),
            DiskOp::ReadBlock { extents } => blocks(self.read(&extents)),
            DiskOp::WriteBlocks { extents, blocks, skip } => {
                self.write_blocks(&extents, &blocks, skip);
                DiskResult::Blocks(blocks)
            }
            DiskOp::SetLen { file, len } | DiskOp::Allocate { file, len } => {
                self.on_file(file, |file| file.len = len)
            }
            DiskOp::Write { file, offset, bytes } => self.on_file(file, |file| {
                file.len = file.len.max(offset + bytes.len() as u64);
                file.bytes.write(offset as usize, bytes);
            }),
            DiskOp::Read { extent } => {
                let Some(path) = self.open.get(&extent.file) else { return missing() };
                let file = self.files.get(path);
                let read = |file: &File| file.bytes.read(extent.offset, extent.len);
                DiskResult::Bytes(file.map_or_else(Vec::new, read))
            }
        }
    }

    fn stat_open(&self, file: FileId) -> Option<FileStat> {
        self.open.get(&file).and_then(|path| self.files.get(path)).map(File::stat)
    }

    fn on_file(&mut self, file: FileId, f: impl FnOnce(&mut File)) -> DiskResult<Content> {
        let clock_ns = self.clock_ns;
        if let Some(file) = self.open.get(&file).and_then(|path| self.files.get_mut(path)) {
            f(file);
            file.mtime_ns = clock_ns;
        }
        DiskResult::Done
    }

    fn write_blocks(&mut self, extents: &[Extent], blocks: &[Content], skip: u64) {
        let all: Content = blocks.iter().flat_map(|block| block.runs().iter().copied()).collect();
        let mut at = skip;
        for extent in extents {
            let part = all.slice(at, extent.len);
            at += extent.len;
            self.on_file(extent.file, |file| {
                file.runs.write(extent.offset, &part);
                file.len = file.len.max(extent.offset + extent.len);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_agree_with_bytes(
            writes in proptest::collection::vec((0u64..60, 0u64..20, 1u64..4), 0..20),
            read in (0u64..70, 0u64..30),
        ) {
            // Each byte of the model is the run of length one that stands for it.
            let zero = Run { tag: Run::ZEROS, offset: 0, len: 1 };
            let mut model = vec![zero; 100];
            let mut runs = Runs::default();
            for (offset, len, tag) in writes {
                let run = Run { tag, offset: offset * 3, len };
                runs.write(offset, &[run].into_iter().collect());
                for i in 0..len {
                    model[(offset + i) as usize] = run.part(i, 1);
                }
            }
            let (offset, len) = read;
            let mut got = Content::new();
            runs.read(offset, len, &mut got);
            let want: Content =
                model[offset as usize..(offset + len) as usize].iter().copied().collect();
            prop_assert_eq!(got, want);
            let sum: u64 = runs.by_start.values().map(|run| run.len).sum();
            prop_assert_eq!(runs.len, sum);
            let pairs: Vec<_> = runs.by_start.iter().collect();
            let could_be_one = |pair: &[(&u64, &Run)]| {
                pair[0].0 + pair[0].1.len == *pair[1].0 && pair[1].1.continues(*pair[0].1)
            };
            prop_assert!(!pairs.windows(2).any(could_be_one));
        }
    }
}
