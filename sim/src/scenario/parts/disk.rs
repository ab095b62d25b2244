//! How fast the disks of a scenario's hosts are, and how often they fail.

use std::time::Duration;

use super::seconds;
use crate::DiskConfig;
use crate::scenario::options::options;

options! {
    /// Everyone's disk, and the processor behind it.
    pub struct DiskOptions {
        /// What it reads and writes, of all operations together; 0: as much as one likes.
        mb_per_s: f64 = 0.0, in 0..=1_000_000, "MB/s";
        /// Latency of an operation.
        op_ms: f64 = 0.0, in 0..=100_000, "ms";
        /// Latency of a sync, besides.
        sync_ms: f64 = 0.0, in 0..=100_000, "ms";
        /// Operations under way at a time; of those that wait any may be the next.
        at_once: u32 = 4, in 1..=1_000;
        /// The mean time between two stalls; 0: there are none.
        stall_every_s: f64 = 0.0, in 0..=1_000_000, "s";
        /// The mean length of a stall, in which nothing gets done.
        stall_s: f64 = 1.0, in 0.001..=1_000_000, "s";
        /// What is hashed; 0: as much as one likes.
        hash_mb_per_s: f64 = 0.0, in 0..=1_000_000, "MB/s";
        /// The chance that a read, a write or a sync fails with EIO, while there is chaos.
        io_error: f64 = 0.0, in 0..=1;
        /// The chance that a write is cut short by ENOSPC, while there is chaos.
        full: f64 = 0.0, in 0..=1;
        /// How long what is written waits for a commit at most.
        commit_s: f64 = 5.0, in 0.001..=1_000_000, "s";
    }
}

fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl DiskOptions {
    /// Whether anything fails.
    pub(in crate::scenario) fn fails(&self) -> bool {
        self.io_error > 0.0 || self.full > 0.0
    }

    /// The disk.
    pub(in crate::scenario) fn config(&self) -> DiskConfig {
        let rate = |mb: f64| (mb > 0.0).then_some(((mb * 1e6) as u64).max(1));
        let ms = |s: f64| us(seconds(s)).div_ceil(1_000);
        DiskConfig {
            bytes_per_second: rate(self.mb_per_s),
            op_us: us(seconds(self.op_ms / 1e3)),
            sync_us: us(seconds(self.sync_ms / 1e3)),
            at_once: self.at_once as usize,
            stall_every_ms: ms(self.stall_every_s),
            stall_ms: ms(self.stall_s),
            io_error: self.io_error,
            full: self.full,
            hash_bytes_per_second: rate(self.hash_mb_per_s),
        }
    }

    /// The numbers of a storage on it.
    pub(in crate::scenario) fn storage(&self) -> client::storage::Config {
        let commit_interval_ms = us(seconds(self.commit_s)).div_ceil(1_000);
        client::storage::Config { commit_interval_ms, ..client::storage::Config::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_disk_that_takes_no_time() {
        let options = DiskOptions::default();
        assert!(options.config().is_instant() && !options.fails());
        let known = client::storage::Config::default().commit_interval_ms;
        assert_eq!(options.storage().commit_interval_ms, known);
    }
}
