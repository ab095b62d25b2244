//! One file: as programs see it, and what a power cut would leave of it.

use std::collections::BTreeMap;

use client::Payload;
use client::disk::{FileId, FileStat};
use wire::rng::Rng;

use super::runs::Runs;
use crate::content::{Content, Run};
use crate::file_bytes::FileBytes;

/// What lands on a disk whole or not at all: a logical sector of ATA and NVMe drives.
const SECTOR: u64 = 512;

/// What of a file is not certain to last: where it was written to since its last sync, what was there
/// before.
#[derive(Clone, Debug, Default)]
struct Unsynced {
    len: u64,
    mtime_ns: i64,
    /// Payload as it was.
    runs: Runs,
    /// Payload as it was, of which a sync failed: what was written over it is in memory alone, and
    /// counts as clean.
    lost: Runs,
    /// Sectors of bytes as they were, and whether a sync of them failed.
    sectors: BTreeMap<u64, (Vec<u8>, bool)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) len: u64,
    pub(super) mtime_ns: i64,
    /// What was written as payload.
    runs: Runs,
    /// What was written as bytes: journals.
    bytes: FileBytes,
    unsynced: Unsynced,
    /// What it is open as to be written.
    pub(super) locked_by: Option<FileId>,
}

impl File {
    /// A new one.
    pub(super) fn new(now_ns: i64) -> File {
        let unsynced = Unsynced { mtime_ns: now_ns, ..Unsynced::default() };
        File { mtime_ns: now_ns, unsynced, ..File::default() }
    }

    /// One with content, that lasts.
    pub(super) fn lasting(content: &Content, now_ns: i64) -> File {
        let mut file = File { len: content.len() as u64, mtime_ns: now_ns, ..File::default() };
        file.runs.write(0, content);
        file.sync(true);
        file
    }

    pub(super) fn stat(&self) -> FileStat {
        let allocated = self.runs.bytes() + self.bytes.len() as u64;
        FileStat { len: self.len, mtime_ns: self.mtime_ns, allocated }
    }

    /// Bytes that are not certain to last, those of small files by whole sectors.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        let Unsynced { runs, lost, sectors, .. } = &self.unsynced;
        runs.bytes() + lost.bytes() + sectors.len() as u64 * SECTOR
    }

    /// What lies there, zeros where nothing does.
    pub(super) fn read(&self, offset: u64, len: u64, out: &mut Content) {
        self.runs.read(offset, len, out);
    }

    /// As many of the bytes as there are.
    pub(super) fn read_bytes(&self, offset: u64, len: u64) -> Vec<u8> {
        self.bytes.read(offset, len.min(self.len.saturating_sub(offset)))
    }

    pub(super) fn write(&mut self, offset: u64, content: &Content) {
        let end = offset + content.len() as u64;
        let Unsynced { runs, lost, .. } = &mut self.unsynced;
        for (at, run) in lost.take(offset, end) {
            runs.write(at, &[run].into_iter().collect());
        }
        for (from, to) in runs.gaps(offset, end) {
            let mut before = Content::new();
            self.runs.read(from, to - from, &mut before);
            runs.write(from, &before);
        }
        self.runs.write(offset, content);
        self.len = self.len.max(end);
    }

    pub(super) fn write_bytes(&mut self, offset: u64, bytes: Vec<u8>) {
        let end = offset + bytes.len() as u64;
        self.note_sectors(offset, end);
        self.bytes.write(offset as usize, bytes);
        self.len = self.len.max(end);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let bytes = self.bytes.len() as u64;
        if len < bytes {
            self.note_sectors(len, bytes);
            let head = self.bytes.read(0, len);
            self.bytes = FileBytes::default();
            self.bytes.write(0, head);
        }
        self.len = len;
    }

    fn note_sectors(&mut self, offset: u64, end: u64) {
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            match self.unsynced.sectors.get_mut(&sector) {
                Some((_, is_lost)) => *is_lost = false,
                None => {
                    let before = self.bytes.read(sector * SECTOR, SECTOR);
                    self.unsynced.sectors.insert(sector, (before, false));
                }
            }
        }
    }

    /// What was written lasts from here on, and its mtime if that is wanted.
    pub(super) fn sync(&mut self, with_mtime: bool) {
        self.unsynced.runs = Runs::default();
        self.unsynced.sectors.retain(|_, (_, is_lost)| *is_lost);
        self.unsynced.len = self.len;
        if with_mtime {
            self.unsynced.mtime_ns = self.mtime_ns;
        }
    }

    /// A sync failed. As Linux does it: what was written counts as clean and still is not on the disk.
    pub(super) fn fail_sync(&mut self) {
        for (at, run) in std::mem::take(&mut self.unsynced.runs).within(0, u64::MAX) {
            self.unsynced.lost.write(at, &[run].into_iter().collect());
        }
        self.unsynced.sectors.values_mut().for_each(|(_, is_lost)| *is_lost = true);
    }

    /// The power goes: chance decides for each sector that was not synced.
    pub(super) fn cut(&mut self, keeps: &mut impl FnMut() -> bool) {
        let Unsynced { len, mtime_ns, runs, lost, sectors } = std::mem::take(&mut self.unsynced);
        if self.len != len && !keeps() {
            self.len = len;
        }
        if self.mtime_ns != mtime_ns && !keeps() {
            self.mtime_ns = mtime_ns;
        }
        let unsynced: Vec<(u64, Run)> = runs.within(0, u64::MAX).collect();
        for (at, run) in unsynced {
            let (mut from, end) = (at, at + run.len);
            while from < end {
                let to = end.min((from / SECTOR + 1) * SECTOR);
                if !keeps() {
                    self.restore(from, run.part(from - at, to - from));
                }
                from = to;
            }
        }
        for (at, run) in lost.within(0, u64::MAX) {
            self.restore(at, run);
        }
        self.runs.take(self.len, u64::MAX);
        if !sectors.is_empty() || self.bytes.len() > 0 {
            self.cut_bytes(sectors, keeps);
        }
        self.unsynced.len = self.len;
        self.unsynced.mtime_ns = self.mtime_ns;
        self.locked_by = None;
    }

    fn restore(&mut self, at: u64, run: Run) {
        self.runs.take(at, at + run.len);
        if run.tag != Run::ZEROS {
            self.runs.write(at, &[run].into_iter().collect());
        }
    }

    fn cut_bytes(
        &mut self,
        sectors: BTreeMap<u64, (Vec<u8>, bool)>,
        keeps: &mut impl FnMut() -> bool,
    ) {
        let mut bytes = self.bytes.read(0, u64::MAX);
        for (sector, (before, is_lost)) in sectors {
            if !is_lost && keeps() {
                continue;
            }
            let start = (sector * SECTOR) as usize;
            bytes.resize(bytes.len().max(start + before.len()), 0);
            let end = bytes.len().min(start + SECTOR as usize);
            bytes[start.min(end)..end].fill(0);
            bytes[start..start + before.len()].copy_from_slice(&before);
        }
        bytes.resize(self.len as usize, 0);
        self.bytes = FileBytes::default();
        self.bytes.write(0, bytes);
    }

    /// The bytes that a power cut leaves at least.
    pub(super) fn lasting_bytes(&self) -> Vec<u8> {
        let mut file = self.clone();
        file.cut(&mut || false);
        file.bytes.read(0, u64::MAX)
    }

    /// Whether these bytes are so, whatever a power cut takes.
    pub(super) fn is_certain(&self, offset: u64, content: &Content) -> bool {
        let (len, end) = (content.len() as u64, offset + content.len() as u64);
        let same = |(at, run): (u64, Run)| {
            let before: Content = [run].into_iter().collect();
            before == content.slice(at - offset, run.len)
        };
        let mut now = Content::new();
        self.runs.read(offset, len, &mut now);
        end <= self.len.min(self.unsynced.len)
            && now == *content
            && self.unsynced.runs.within(offset, end).all(same)
            && self.unsynced.lost.within(offset, end).all(same)
    }
}

/// Who decides what of a disk survives a power cut: one in three loses all that was not synced.
pub(super) fn chance(rng: &mut Rng) -> impl FnMut() -> bool + '_ {
    let loses_all = rng.below(3) == 0;
    move || !loses_all && rng.below(2) == 0
}
