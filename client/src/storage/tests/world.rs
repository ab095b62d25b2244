//! A storage on a fake disk, driven in every order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::rng::{Rng, seed_from_u64};
use wire::time::Time;

use crate::disk::{DiskError, DiskOp, Ticket};
use crate::storage::fake_disk::{Block, FakeDisk};
use crate::storage::fixture::{content, info};
use crate::storage::{Config, Storage, StorageEvent, journal_path};

/// Between one operation and the next.
const STEP: Duration = Duration::from_millis(1);

/// A storage, its disk and what it told.
pub(super) struct World {
    pub(super) info: Info,
    pub(super) disk: FakeDisk,
    pub(super) storage: Storage<Block>,
    pub(super) now: Time,
    pub(super) rng: Rng,
    /// Operations taken and not executed.
    pub(super) ops: Vec<(Ticket, DiskOp<Block>)>,
    pub(super) ops_done: usize,
    pub(super) have: Option<Bitfield>,
    pub(super) written: BTreeMap<u32, Time>,
    pub(super) kept: BTreeSet<u32>,
    pub(super) lost: BTreeSet<u32>,
    pub(super) failed: Option<DiskError>,
    pub(super) flushed: usize,
    pub(super) progress: Vec<(u32, u32)>,
    pub(super) readable: usize,
}

/// Three files and an empty one, pieces over their borders: 11 pieces.
pub(super) fn three_files() -> Info {
    info("t", &[("a", 500), ("b", 70), ("empty", 0), ("c", 1_100)], 160)
}

pub(super) fn small_config() -> Config {
    Config {
        writes_in_flight_max: 3,
        checks_in_flight_max: 2,
        open_files_max: 4,
        ..Config::default()
    }
}

impl World {
    pub(super) fn new(info: Info, seed: u64) -> World {
        World {
            storage: Storage::new(&info, small_config(), 7),
            info,
            disk: FakeDisk::new(),
            now: Time::from_secs(1),
            rng: Rng::new(&seed_from_u64(seed)),
            ops: Vec::new(),
            ops_done: 0,
            have: None,
            written: BTreeMap::new(),
            kept: BTreeSet::new(),
            lost: BTreeSet::new(),
            failed: None,
            flushed: 0,
            progress: Vec::new(),
            readable: 0,
        }
    }

    /// A new storage on the same disk.
    pub(super) fn restart(&mut self) {
        self.restart_with(Storage::new(&self.info, small_config(), 7));
    }

    pub(super) fn restart_with(&mut self, storage: Storage<Block>) {
        self.storage = storage;
        self.ops.clear();
        self.have = None;
        self.written.clear();
        self.kept.clear();
        self.lost.clear();
        self.failed = None;
        self.flushed = 0;
        self.progress.clear();
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
                StorageEvent::Started { have } => {
                    assert!(self.have.replace(have).is_none(), "started twice");
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
        self.pass(STEP);
        if self.ops.is_empty() {
            return false;
        }
        let (ticket, op) = self.ops.remove(self.rng.index(self.ops.len()));
        let result = self.disk.run(op);
        self.ops_done += 1;
        self.storage.handle_disk(self.now, ticket, result);
        self.drain();
        true
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now += span;
        self.disk.clock_ns += span.as_nanos() as i64;
        if self.storage.poll_timeout().is_some_and(|due| due <= self.now) {
            self.storage.handle_timeout(self.now);
            self.drain();
        }
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
        self.storage.write_piece(self.now, piece, blocks);
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
        let mut got: Vec<u8> = Vec::new();
        for (file, offset, len) in self.info.extents(piece, 0, self.info.piece_len(piece)) {
            let path: Vec<&str> = self.info.files[file].path.iter().map(String::as_str).collect();
            let bytes = self.disk.bytes(&path).expect("the file is there");
            got.extend(&bytes[offset as usize..(offset + len) as usize]);
        }
        assert_eq!(got, self.piece(piece), "piece {piece}");
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
