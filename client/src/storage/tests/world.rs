//! A storage on a fake disk, driven in every order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::rng::{Rng, seed_from_u64};
use wire::time::Time;

use crate::ConnId;
use crate::disk::{DiskError, DiskOp, DiskResult, Extent, Ticket};
use crate::storage::fake_disk::{Block, FakeDisk};
use crate::storage::fixture::{content, info};
use crate::storage::{BlockBytes, Config, STATE_FOLDER, Storage, StorageEvent, journal_path};

/// Between one operation and the next.
const STEP: Duration = Duration::from_millis(1);

/// A storage, its disk and what it told.
pub(super) struct World {
    pub(super) info: Info,
    /// The files that are wanted; None: all.
    pub(super) selection: Option<Vec<u32>>,
    pub(super) disk: FakeDisk,
    pub(super) storage: Storage<Block>,
    pub(super) now: Time,
    pub(super) rng: Rng,
    /// Operations taken and not executed.
    pub(super) ops: Vec<(Ticket, DiskOp<Block>)>,
    pub(super) ops_done: usize,
    /// What an operation takes.
    pub(super) op_time: Duration,
    /// One operation in so many hangs until nothing else is left to do.
    pub(super) stalls: Option<u32>,
    stalled: Vec<(Ticket, DiskOp<Block>)>,
    /// A planted fault: files are synced only after the journal was told that they are.
    pub(super) syncs_late: bool,
    late: Vec<DiskOp<Block>>,
    pub(super) have: Option<Bitfield>,
    pub(super) written: BTreeMap<u32, Time>,
    pub(super) kept: BTreeSet<u32>,
    pub(super) lost: BTreeSet<u32>,
    pub(super) failed: Option<DiskError>,
    pub(super) flushed: usize,
    pub(super) progress: Vec<(u32, u32)>,
    pub(super) readable: usize,
    /// Blocks of unfinished pieces that were found at the start.
    pub(super) parts: BTreeMap<u32, Vec<u32>>,
    /// Blocks of unfinished pieces that were written.
    pub(super) parts_written: BTreeMap<(u32, u32), Time>,
    /// Bytes of unfinished pieces that were read back.
    pub(super) parts_read: Vec<(u32, u32, Option<Vec<u8>>)>,
}

/// Where a block lies, whose files are open.
pub(super) fn extents(block: Option<BlockBytes<Block>>) -> Vec<Extent> {
    match block {
        Some(BlockBytes::Extents(extents)) => extents,
        block => panic!("{block:?}"),
    }
}

/// Of the small torrents here: a piece has four.
pub(super) const BLOCK_LEN: u32 = 40;

/// Three files and an empty one, pieces over their borders: 11 pieces.
pub(super) fn three_files() -> Info {
    info("t", &[("a", 500), ("b", 70), ("empty", 0), ("c", 1_100)], 160)
}

pub(super) fn small_config() -> Config {
    Config {
        writes_in_flight_max: 3,
        checks_in_flight_max: 2,
        open_files_max: 4,
        block_len: BLOCK_LEN,
        ..Config::default()
    }
}

impl World {
    pub(super) fn new(info: Info, seed: u64) -> World {
        World {
            storage: Storage::new(&info, small_config(), 7),
            info,
            selection: None,
            disk: FakeDisk::new(),
            now: Time::from_secs(1),
            rng: Rng::new(&seed_from_u64(seed)),
            ops: Vec::new(),
            ops_done: 0,
            op_time: STEP,
            stalls: None,
            stalled: Vec::new(),
            syncs_late: false,
            late: Vec::new(),
            have: None,
            written: BTreeMap::new(),
            kept: BTreeSet::new(),
            lost: BTreeSet::new(),
            failed: None,
            flushed: 0,
            progress: Vec::new(),
            readable: 0,
            parts: BTreeMap::new(),
            parts_written: BTreeMap::new(),
            parts_read: Vec::new(),
        }
    }

    /// A new storage on the same disk.
    pub(super) fn restart(&mut self) {
        let storage = Storage::new(&self.info, small_config(), 7);
        self.restart_with(match &self.selection {
            Some(files) => storage.with_selection(files.clone()),
            None => storage,
        });
    }

    /// A new storage on the same disk, which wants these files.
    pub(super) fn select(&mut self, files: &[u32]) {
        self.selection = Some(files.to_vec());
        self.restart();
    }

    pub(super) fn restart_with(&mut self, storage: Storage<Block>) {
        self.storage = storage;
        self.ops.clear();
        self.stalled.clear();
        self.late.clear();
        self.have = None;
        self.written.clear();
        self.kept.clear();
        self.lost.clear();
        self.failed = None;
        self.flushed = 0;
        self.progress.clear();
        self.parts.clear();
        self.parts_written.clear();
        self.parts_read.clear();
        self.disk.hashed = 0;
        self.now += Duration::from_secs(1);
        self.disk.clock_ns += 1_000_000_000;
    }

    pub(super) fn drain(&mut self) {
        while let Some(op) = self.storage.poll_op() {
            self.ops.push(op);
        }
        while let Some(event) = self.storage.poll_event() {
            match event {
                StorageEvent::CheckProgress { done, total } => self.progress.push((done, total)),
                StorageEvent::Started { have, parts } => {
                    assert!(self.have.replace(have).is_none(), "started twice");
                    self.parts = parts;
                }
                StorageEvent::PartWritten { piece, begin, len } => {
                    for block in begin / BLOCK_LEN..(begin + len).div_ceil(BLOCK_LEN) {
                        self.parts_written.insert((piece, block), self.now);
                    }
                }
                StorageEvent::PartRead { piece, begin, payload } => {
                    self.parts_read.push((piece, begin, payload.map(|block| block.0)));
                }
                StorageEvent::Written { piece } => {
                    assert!(self.written.insert(piece, self.now).is_none(), "{piece} twice");
                }
                StorageEvent::Kept { pieces } => self.kept.extend(pieces),
                StorageEvent::Lost { pieces } => self.lost.extend(pieces),
                StorageEvent::Readable => self.readable += 1,
                StorageEvent::Flushed => self.flushed += 1,
                StorageEvent::Failed { error } => {
                    assert!(self.failed.replace(error).is_none(), "failed twice");
                }
            }
        }
    }

    /// Executes one of the operations under way, whichever, and hands its result back. False if
    /// there is none.
    pub(super) fn step(&mut self) -> bool {
        self.drain();
        self.pass(self.op_time);
        if self.ops.is_empty() {
            self.ops.append(&mut self.stalled);
        }
        if self.ops.is_empty() {
            return false;
        }
        let (ticket, op) = self.ops.remove(self.rng.index(self.ops.len()));
        if self.stalls.is_some_and(|one_in| self.rng.below(one_in) == 0) {
            self.stalled.push((ticket, op));
            return true;
        }
        let result = self.execute(op);
        self.ops_done += 1;
        self.storage.handle_disk(self.now, ticket, result);
        self.drain();
        true
    }

    fn execute(&mut self, op: DiskOp<Block>) -> DiskResult<Block> {
        match op {
            DiskOp::SyncAll { file, ref path } if self.syncs_late => {
                let stat = self.disk.stat_open(file, path);
                self.late.push(op);
                DiskResult::Stat(stat)
            }
            // The journal's own.
            DiskOp::SyncData { .. } => {
                let result = self.disk.run(op);
                for op in std::mem::take(&mut self.late) {
                    self.disk.run(op);
                }
                result
            }
            op => self.disk.run(op),
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now += span;
        self.disk.clock_ns += span.as_nanos() as i64;
        if self.storage.poll_timeout().is_some_and(|due| due <= self.now) {
            self.storage.handle_timeout(self.now);
            self.drain();
        }
    }

    /// A reader asks for a block.
    pub(super) fn read(
        &mut self,
        reader: u64,
        piece: u32,
        begin: u32,
        len: u32,
    ) -> Option<BlockBytes<Block>> {
        self.storage.read_block(self.now, ConnId::new(reader), piece, begin, len)
    }

    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    /// Lets time pass and does all that comes of it.
    pub(super) fn wait(&mut self, span: Duration) {
        self.run();
        self.pass(span);
        self.run();
    }

    pub(super) fn start(&mut self) -> Vec<u32> {
        self.storage.start(self.now);
        self.run();
        self.have()
    }

    pub(super) fn have(&self) -> Vec<u32> {
        self.have.iter().flat_map(Bitfield::ones).collect()
    }

    pub(super) fn piece(&self, piece: u32) -> Vec<u8> {
        let start = u64::from(piece) * u64::from(self.info.piece_length);
        (start..start + u64::from(self.info.piece_len(piece))).map(content).collect()
    }

    /// Hands a piece in, as blocks of 100 bytes.
    pub(super) fn write(&mut self, piece: u32) {
        let blocks = self.piece(piece).chunks(100).map(|block| Block(block.to_vec())).collect();
        self.storage.write_piece(self.now, piece, vec![(0, blocks)]);
        self.drain();
    }

    /// Blocks of a piece, each for itself, with its first byte.
    fn runs(&self, piece: u32, blocks: &[u32]) -> Vec<(u32, Vec<Block>)> {
        let bytes = self.piece(piece);
        let mut all = (0u32..).zip(bytes.chunks(BLOCK_LEN as usize));
        blocks
            .iter()
            .filter_map(|wanted| all.find(|(index, _)| index == wanted))
            .map(|(index, block)| (index * BLOCK_LEN, vec![Block(block.to_vec())]))
            .collect()
    }

    /// Hands in blocks of an unfinished piece, in order.
    pub(super) fn write_part(&mut self, piece: u32, blocks: &[u32]) {
        for (begin, blocks) in self.runs(piece, blocks) {
            self.storage.write_part(self.now, piece, begin, blocks);
        }
        self.drain();
    }

    /// Hands in the rest of a piece of which these blocks are in the files.
    pub(super) fn write_rest(&mut self, piece: u32, there: &[u32]) {
        let count = self.info.piece_len(piece).div_ceil(BLOCK_LEN);
        let rest: Vec<u32> = (0..count).filter(|block| !there.contains(block)).collect();
        let runs = self.runs(piece, &rest);
        self.storage.write_piece(self.now, piece, runs);
        self.drain();
    }

    pub(super) fn write_all(&mut self) {
        (0..self.info.piece_count()).for_each(|piece| self.write(piece));
        self.run();
    }

    pub(super) fn flush(&mut self) {
        self.storage.flush(self.now);
        self.drain();
        self.run();
    }

    pub(super) fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.disk.bytes(&["t", name]).expect("the file is there")
    }

    pub(super) fn assert_piece_is_right(&mut self, piece: u32) {
        let got = self.on_disk(piece);
        assert_eq!(got, self.piece(piece), "piece {piece}");
    }

    pub(super) fn assert_block_is_right(&mut self, piece: u32, block: u32) {
        let (begin, wanted) = ((block * BLOCK_LEN) as usize, self.piece(piece));
        let end = wanted.len().min(begin + BLOCK_LEN as usize);
        assert_eq!(self.on_disk(piece)[begin..end], wanted[begin..end], "{piece} {block}");
    }

    /// The bytes of a piece as the files have them.
    fn on_disk(&mut self, piece: u32) -> Vec<u8> {
        let mut got: Vec<u8> = Vec::new();
        for (file, offset, len) in self.info.extents(piece, 0, self.info.piece_len(piece)) {
            let path: Vec<&str> = self.info.files[file].path.iter().map(String::as_str).collect();
            // One that is short was left out, and is left as it is.
            let whole = self.info.files[file].len as usize;
            if let Some(bytes) = self.disk.bytes(&path).filter(|bytes| bytes.len() == whole) {
                got.extend(&bytes[offset as usize..(offset + len) as usize]);
                continue;
            }
            let at = self.info.files[file].offset + offset;
            let name = format!("{}.part", self.info.info_hash);
            let part = self.disk.bytes(&[STATE_FOLDER, &name]).expect("the file is there");
            got.extend(&part[at as usize..(at + len) as usize]);
        }
        got
    }

    pub(super) fn assert_complete(&mut self) {
        (0..self.info.piece_count()).for_each(|piece| self.assert_piece_is_right(piece));
        assert_eq!(self.file("empty").len(), 0);
    }

    pub(super) fn journal(&mut self) -> Vec<u8> {
        let path = journal_path(&self.info.info_hash);
        self.disk.bytes(&[&path[0], &path[1]]).expect("the journal is there").clone()
    }
}

/// A finished and flushed download.
pub(super) fn complete() -> World {
    let mut world = World::new(three_files(), 1);
    assert!(world.start().is_empty());
    world.write_all();
    world.flush();
    assert_eq!((world.flushed, world.kept.len(), world.failed.clone()), (1, 11, None));
    world.disk.kill();
    world
}

pub(super) fn all() -> Vec<u32> {
    (0..11).collect()
}
