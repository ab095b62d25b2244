//! Options that several scenarios share.

mod access;
mod day;
mod disk;
mod disturbances;
mod links;
mod nat;

pub use access::{AccessClass, AccessOptions};
pub use day::DayOptions;
pub use disk::DiskOptions;
pub use disturbances::{ClockShift, NatRestart, Partition, Sleep};
pub(super) use disturbances::{Disturbed, disturb};
pub use links::{LatencyKind, LinkOptions};
pub use nat::NatOptions;
pub(super) use nat::{Group, NatKind};

use std::time::Duration;

use wire::time::Time;

/// Seconds as a length of time.
pub(super) fn seconds(s: f64) -> Duration {
    Duration::from_micros((s * 1e6) as u64)
}

/// Minutes as a length of time.
pub(super) fn minutes(min: f64) -> Duration {
    seconds(min * 60.0)
}

/// A time in the course of a span, at a share of it.
pub(super) fn within(from: Time, span_s: f64, share: f64) -> Time {
    from + seconds(span_s * share)
}
