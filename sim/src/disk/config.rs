//! How fast a disk is, and how often it fails.

/// What a disk and the processor behind it take, and what goes wrong. The default is a disk that
/// takes no time and never fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskConfig {
    /// Bytes a second that are read and written, of all operations together; none: as many as one
    /// likes. Default none.
    pub bytes_per_second: Option<u64>,
    /// Latency of an operation, in microseconds. Default 0.
    pub op_us: u64,
    /// Latency of a sync besides, in microseconds. Default 0.
    pub sync_us: u64,
    /// Operations under way at a time; of those that wait any may be the next. Default 4, as the
    /// client's driver has threads.
    pub at_once: usize,
    /// Mean time between two stalls, in milliseconds; 0: none. Default 0.
    pub stall_every_ms: u64,
    /// Mean length of a stall, in which nothing gets done, in milliseconds. Default 0.
    pub stall_ms: u64,
    /// Chance that a read, a write or a sync fails with EIO. Default 0.
    pub io_error: f64,
    /// Chance that a write is cut short by ENOSPC. Default 0.
    pub full: f64,
    /// Bytes a second that are hashed; none: as many as one likes. Default none.
    pub hash_bytes_per_second: Option<u64>,
}

impl Default for DiskConfig {
    fn default() -> DiskConfig {
        DiskConfig {
            bytes_per_second: None,
            op_us: 0,
            sync_us: 0,
            at_once: 4,
            stall_every_ms: 0,
            stall_ms: 0,
            io_error: 0.0,
            full: 0.0,
            hash_bytes_per_second: None,
        }
    }
}

impl DiskConfig {
    /// A drive with platters of 7,200 rpm: 150 MB/s, half a turn (4.2 ms) and a seek (4 ms) an
    /// operation, twice that for a sync, which writes its file system's journal as well.
    pub fn hard_drive() -> DiskConfig {
        let bytes_per_second = Some(150_000_000);
        DiskConfig { bytes_per_second, op_us: 8_200, sync_us: 16_400, ..DiskConfig::default() }
    }

    /// A memory card in a small computer: 10 MB/s (class 10), 2 ms an operation, and each minute
    /// half a second in which it tidies up.
    pub fn memory_card() -> DiskConfig {
        DiskConfig {
            bytes_per_second: Some(10_000_000),
            op_us: 2_000,
            sync_us: 20_000,
            stall_every_ms: 60_000,
            stall_ms: 500,
            ..DiskConfig::default()
        }
    }

    /// Whether nothing takes time.
    pub(crate) fn is_instant(&self) -> bool {
        let slow = [self.bytes_per_second, self.hash_bytes_per_second];
        slow.iter().all(Option::is_none) && self.op_us == 0 && self.sync_us == 0 && !self.stalls()
    }

    pub(crate) fn stalls(&self) -> bool {
        self.stall_every_ms > 0 && self.stall_ms > 0
    }
}
