use std::time::Duration;

/// Bounds and intervals of one torrent's storage.
#[derive(Clone, Debug)]
pub struct Config {
    /// Longest time that a written piece waits for its commit, in milliseconds. Default 5000: ext4
    /// commits its own journal as often (`commit=` in ext4(5)), so what an unclean stop costs is
    /// what it costs any program, and a spinning disk is not kept busy by flushes.
    pub commit_interval_ms: u64,
    /// Bytes written since the last commit that call for one at once. Default 64 MiB: half a
    /// second of a gigabit link, and less than a kernel lets one file dirty before it throttles.
    pub commit_bytes: u64,
    /// Bytes of a block, the unit in which unfinished pieces are recorded. Default 16 KiB (BEP 3,
    /// `request`); tests have smaller pieces.
    pub block_len: u32,
    /// Whether files take all their room when they are made, so that the disk cannot be full later and
    /// they are in fewer parts. Default no, sparse: nothing is written twice (transmission has both,
    /// and aria2).
    pub preallocate: bool,
    /// Whether all that is there is read, whatever the journal says: who restores an mtime, or a disk
    /// that errs, changes bytes unseen. Default no.
    pub recheck: bool,
    /// Pieces read for checking at the same time. Default 8: two for each of two processors, which hash
    /// two at once, and as many that wait; of each, 128 KiB at a time.
    pub checks_in_flight_max: usize,
    /// Pieces being written at the same time; more wait in order. Default 1: the kernel lets one
    /// write into a file at a time, and those that wait for their turn spin (16 cost 40 % more CPU).
    pub writes_in_flight_max: usize,
    /// Files stated or made at the same time. Default 32.
    pub file_ops_in_flight_max: usize,
    /// Files kept open. Default 40 (libtorrent, `file_pool_size`). A piece that spans more than half as
    /// many is written and checked in runs of so many; a block to upload that spans more is read with
    /// one file open at a time.
    pub open_files_max: usize,
    /// Blocks of the latter sort that are read at the same time, or wait for who asked. Default 4: as
    /// many as there are threads to read them.
    pub spread_blocks_max: usize,
    /// How long the files of a block to upload stay open for who asked, was told that it can be read and
    /// does not come, while others wait for theirs, in milliseconds. Default 250: who comes at all does so
    /// in the same turn of the driver, or a scheduler's hiccup later.
    pub read_hold_ms: u64,
    /// Longest journal that is read, in bytes; a longer one counts as damaged. Default 512 MiB:
    /// 2^21 pieces take 64 bytes each when they come in the worst order, and the info dict 30 MB.
    pub journal_bytes_max: u64,
    /// How often the journal notes the file system's clock while pieces are written, in
    /// milliseconds. Default 15 000.
    pub alive_interval_ms: u64,
    /// How long after the last such note a write of ours may still have changed a file, in
    /// milliseconds. Default 30 000: a note may be `alive_interval_ms` old, and a write may have
    /// waited that long again for the disk. A file changed later was changed by others.
    pub mtime_slack_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            commit_interval_ms: 5_000,
            commit_bytes: 64 << 20,
            block_len: wire::peer::BLOCK_LEN,
            preallocate: false,
            recheck: false,
            checks_in_flight_max: 8,
            writes_in_flight_max: 1,
            file_ops_in_flight_max: 32,
            open_files_max: 40,
            spread_blocks_max: 4,
            read_hold_ms: 250,
            journal_bytes_max: 512 << 20,
            alive_interval_ms: 15_000,
            mtime_slack_ms: 30_000,
        }
    }
}

impl Config {
    pub(super) fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.commit_interval_ms)
    }

    pub(super) fn read_hold(&self) -> Duration {
        Duration::from_millis(self.read_hold_ms)
    }

    pub(super) fn alive_interval(&self) -> Duration {
        Duration::from_millis(self.alive_interval_ms)
    }

    pub(super) fn mtime_slack_ns(&self) -> i64 {
        i64::try_from(self.mtime_slack_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
    }
}
