//! What round trips are usual, and so when to stop waiting for one.

use std::time::Duration;

use crate::config::Config;

/// Samples that count.
const WINDOW: usize = 32;

/// The median of the last round trips, and the soft timeout that follows from it.
#[derive(Clone)]
pub(crate) struct RttEstimate {
    samples_us: [u32; WINDOW],
    len: usize,
    next: usize,
    soft: Duration,
    factor: u32,
    min: Duration,
    max: Duration,
}

impl RttEstimate {
    pub(crate) fn new(config: &Config) -> RttEstimate {
        let max = Duration::from_millis(config.soft_timeout_max_ms);
        RttEstimate {
            samples_us: [0; WINDOW],
            len: 0,
            next: 0,
            soft: max,
            factor: config.soft_timeout_rtts,
            min: Duration::from_millis(config.soft_timeout_min_ms).min(max),
            max,
        }
    }

    /// How long a lookup waits for a node before it asks another one in its place.
    pub(crate) fn soft_timeout(&self) -> Duration {
        self.soft
    }

    pub(crate) fn add(&mut self, rtt: Duration) {
        self.samples_us[self.next] = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
        // The median moves slowly: after the first window it is taken at every fourth sample.
        if self.len < WINDOW || self.next.is_multiple_of(4) {
            let mut sorted = self.samples_us;
            let (_, median, _) = sorted[..self.len].select_nth_unstable(self.len / 2);
            let median = Duration::from_micros(u64::from(*median));
            self.soft = (median * self.factor).clamp(self.min, self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_median_within_bounds() {
        let mut rtt = RttEstimate::new(&Config::new(vec![]));
        assert_eq!(rtt.soft_timeout(), Duration::from_secs(1));
        rtt.add(Duration::from_micros(200));
        assert_eq!(rtt.soft_timeout(), Duration::from_millis(100));
        for i in 0..40 {
            rtt.add(Duration::from_millis(if i % 4 == 0 { 5_000 } else { 80 }));
        }
        assert_eq!(rtt.soft_timeout(), Duration::from_millis(240));
        for _ in 0..40 {
            rtt.add(Duration::from_secs(1 << 20));
        }
        assert_eq!(rtt.soft_timeout(), Duration::from_secs(1));
    }
}
