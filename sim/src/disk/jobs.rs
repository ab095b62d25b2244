//! Operations that take time: which is next, when it is done, and whether it fails.

use std::collections::BTreeMap;
use std::time::Duration;

use client::disk::{DiskOp, Extent};
use client::{HashWork, JobId, Payload};
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use super::DiskConfig;
use crate::content::Content;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// EIO.
    Io,
    /// ENOSPC, after such a share of the bytes.
    Full(f64),
}

/// What is done, once it is.
pub(crate) enum Done {
    /// To be executed now.
    Op(JobId, DiskOp<Content>),
    /// To be hashed now.
    Hash(JobId, HashWork<Content>),
}

/// What one host's disk and hash thread have to do.
pub(crate) struct Jobs {
    config: DiskConfig,
    rng: Rng,
    waiting: Vec<(JobId, DiskOp<Content>)>,
    /// By when they are done, and their number.
    under_way: BTreeMap<(Time, u64), Done>,
    /// Of these, operations.
    ops: usize,
    next: u64,
    /// When the disk has moved the bytes of all that was begun.
    moved_at: Time,
    hashed_at: Time,
    /// From when to when nothing gets done, next or now.
    stall: Option<(Time, Time)>,
}

fn span(bytes: u64, per_second: Option<u64>) -> Duration {
    let us = |per_second: u64| bytes.saturating_mul(1_000_000) / per_second.max(1);
    Duration::from_micros(per_second.map_or(0, us))
}

fn len(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.len).sum()
}

fn bytes_of(op: &DiskOp<Content>) -> u64 {
    match op {
        DiskOp::Read { extent } => extent.len,
        DiskOp::Write { bytes, .. } => bytes.len() as u64,
        DiskOp::WriteBlocks { extents, .. }
        | DiskOp::HashExtents { extents, .. }
        | DiskOp::ReadBlock { extents } => len(extents),
        DiskOp::ReadPaths { extents } => extents.iter().map(|extent| extent.len).sum(),
        _ => 0,
    }
}

fn is_sync(op: &DiskOp<Content>) -> bool {
    matches!(op, DiskOp::SyncData { .. } | DiskOp::SyncAll { .. } | DiskOp::SyncFolder { .. })
}

impl Jobs {
    pub(crate) fn new(config: DiskConfig, seed: &Seed) -> Jobs {
        Jobs {
            config,
            rng: Rng::new(&child_seed(seed, "disk", 0)),
            waiting: Vec::new(),
            under_way: BTreeMap::new(),
            ops: 0,
            next: 0,
            moved_at: Time::ZERO,
            hashed_at: Time::ZERO,
            stall: None,
        }
    }

    pub(crate) fn config(&self) -> &DiskConfig {
        &self.config
    }

    /// From here on nothing fails.
    pub(crate) fn mend(&mut self) {
        (self.config.io_error, self.config.full) = (0.0, 0.0);
    }

    /// Operations that wait, and those under way; hash jobs count as under way.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.waiting.len(), self.under_way.len())
    }

    /// Takes an operation.
    pub(crate) fn push(&mut self, now: Time, job: JobId, op: DiskOp<Content>) {
        self.waiting.push((job, op));
        self.begin(now);
    }

    /// Takes a hash job; they are done one after the other.
    pub(crate) fn push_hash(&mut self, now: Time, job: JobId, work: HashWork<Content>) {
        let bytes: usize = work.blocks.iter().map(Payload::len).sum();
        let span = span(bytes as u64, self.config.hash_bytes_per_second);
        self.hashed_at = self.hashed_at.max(now) + span;
        self.add(self.hashed_at, Done::Hash(job, work));
    }

    fn add(&mut self, at: Time, done: Done) {
        self.under_way.insert((at, self.next), done);
        self.next += 1;
    }

    /// Begins what waits, whichever, as far as there is room.
    fn begin(&mut self, now: Time) {
        while self.ops < self.config.at_once.max(1) && !self.waiting.is_empty() {
            let (job, op) = self.waiting.swap_remove(self.rng.index(self.waiting.len()));
            let sync = if is_sync(&op) { self.config.sync_us } else { 0 };
            let at = self.done_at(now, bytes_of(&op), self.config.op_us + sync);
            self.ops += 1;
            self.add(at, Done::Op(job, op));
        }
    }

    /// When so many bytes have passed, and the latency behind them.
    fn done_at(&mut self, now: Time, bytes: u64, latency_us: u64) -> Time {
        self.moved_at = self.moved_at.max(now) + span(bytes, self.config.bytes_per_second);
        // Head and platter are somewhere: between half and one and a half of it.
        let latency = latency_us as f64 * (0.5 + self.rng.unit());
        let at = self.moved_at + Duration::from_micros(latency as u64);
        let Some((from, until)) = self.stall_at(now) else { return at };
        if at < from {
            return at;
        }
        let late = until.since(from.max(now));
        self.moved_at += late;
        at + late
    }

    /// The stall that is now, or the next.
    fn stall_at(&mut self, now: Time) -> Option<(Time, Time)> {
        if !self.config.stalls() {
            return None;
        }
        let mut mean = |ms: u64| {
            let us = -libm::log(1.0 - self.rng.unit()) * ms as f64 * 1_000.0;
            Duration::from_micros(us as u64)
        };
        while self.stall.is_none_or(|(_, until)| until <= now) {
            let from = self.stall.map_or(Time::ZERO, |(_, until)| until);
            let from = from + mean(self.config.stall_every_ms) + Duration::from_micros(1);
            self.stall = Some((from, from + mean(self.config.stall_ms)));
        }
        self.stall
    }

    /// When a block that is read to be sent is there.
    pub(crate) fn read_at(&mut self, now: Time, bytes: u64) -> Time {
        self.done_at(now, bytes, self.config.op_us)
    }

    /// When something is done next.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// What is done by now.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Done> {
        self.next_due().filter(|at| *at <= now)?;
        let (_, done) = self.under_way.pop_first()?;
        if matches!(done, Done::Op(..)) {
            self.ops -= 1;
            self.begin(now);
        }
        Some(done)
    }

    /// Whether chance lets an operation fail.
    pub(crate) fn fault(&mut self, op: &DiskOp<Content>) -> Option<Fault> {
        let is_write = matches!(op, DiskOp::Write { .. } | DiskOp::WriteBlocks { .. });
        if !is_write && !is_sync(op) && bytes_of(op) == 0 {
            return None;
        }
        if is_write && self.config.full > 0.0 && self.rng.chance(self.config.full) {
            return Some(Fault::Full(self.rng.unit()));
        }
        (self.config.io_error > 0.0 && self.rng.chance(self.config.io_error)).then_some(Fault::Io)
    }

    /// Writes that are under way; who ends a process does not know how many of them are done.
    pub(crate) fn writes_under_way(&self) -> impl Iterator<Item = (&JobId, &DiskOp<Content>)> {
        self.under_way.values().filter_map(|done| match done {
            Done::Op(job, op @ (DiskOp::Write { .. } | DiskOp::WriteBlocks { .. })) => {
                Some((job, op))
            }
            _ => None,
        })
    }
}
