//! The session engine.
//!
//! The core is a pure state machine (a session of torrents and their peers); the driver, behind
//! the feature `driver`, gives it sockets, disks and the clock.

pub mod disk;
pub mod payload;
pub mod storage;
