//! The node's clock: it goes on while the machine sleeps.

use rustix::time::{ClockId, clock_gettime};
use wire::time::Time;

/// Time since [`Clock::start`], suspended time included, so that contacts and tokens age as the
/// rest of the network sees it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start_micros: u64,
}

impl Clock {
    /// A clock that is at zero now.
    pub fn start() -> Clock {
        Clock { start_micros: boot_micros() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time::from_micros(boot_micros().saturating_sub(self.start_micros))
    }
}

fn boot_micros() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
