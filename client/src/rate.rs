//! How fast bytes go by.

use std::time::Duration;

use wire::time::Time;

/// Length of one bucket, in milliseconds.
const BUCKET_MS: u64 = 50;
/// Buckets kept: 10 s, a choke round (BEP 3).
const BUCKETS: usize = 200;

/// Bytes per 50 ms over the last 10 s.
pub struct Rate {
    /// None: none went by for that long.
    buckets: Option<Box<[u32; BUCKETS]>>,
    /// Number of the newest bucket since the start of time.
    newest: u64,
    total: u64,
    since: Time,
}

impl Rate {
    /// A meter that starts empty.
    pub fn new(now: Time) -> Rate {
        Rate { buckets: None, newest: now.as_millis() / BUCKET_MS, total: 0, since: now }
    }

    /// `bytes` went by.
    pub fn add(&mut self, now: Time, bytes: u64) {
        self.forget_old(now);
        self.total += bytes;
        let buckets = self.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let bucket = &mut buckets[(self.newest % BUCKETS as u64) as usize];
        *bucket = bucket.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Bytes since the start.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When bytes last went by, to 50 ms; the start if none did.
    pub fn last(&self) -> Time {
        Time::from_millis(self.newest * BUCKET_MS)
    }

    /// Bytes within the last `span`, at most 10 s, rounded up to buckets.
    pub fn within(&self, now: Time, span: Duration) -> u64 {
        let Some(buckets) = &self.buckets else { return 0 };
        let current = now.as_millis() / BUCKET_MS;
        let wanted = (span.as_millis() as u64 / BUCKET_MS + 1).min(BUCKETS as u64);
        let oldest = (current + 1).saturating_sub(wanted);
        let first_kept = (self.newest + 1).saturating_sub(BUCKETS as u64);
        (oldest.max(first_kept)..=self.newest)
            .map(|n| u64::from(buckets[(n % BUCKETS as u64) as usize]))
            .sum()
    }

    /// Bytes per second over the last `span`, or since the start if that is less.
    pub fn per_second(&self, now: Time, span: Duration) -> u64 {
        let span = span.min(now.since(self.since)).max(Duration::from_millis(BUCKET_MS));
        (self.within(now, span) as u128 * 1_000_000 / span.as_micros().max(1)) as u64
    }

    fn forget_old(&mut self, now: Time) {
        let current = now.as_millis() / BUCKET_MS;
        if current <= self.newest {
            return;
        }
        if let Some(buckets) = &mut self.buckets {
            for n in (self.newest + 1..=current).take(BUCKETS) {
                buckets[(n % BUCKETS as u64) as usize] = 0;
            }
        }
        self.newest = current;
    }

    /// Gives back the room of what went by, once it was all too long ago.
    pub fn give_back(&mut self, now: Time) {
        if now.as_millis() / BUCKET_MS >= self.newest + BUCKETS as u64 {
            self.buckets = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_lies_within_the_span() {
        let mut rate = Rate::new(Time::ZERO);
        for ms in (0..2000).step_by(100) {
            rate.add(Time::from_millis(ms), 1000);
        }
        let now = Time::from_millis(1999);
        assert_eq!(rate.total(), 20_000);
        assert_eq!(rate.within(now, Duration::from_secs(10)), 20_000);
        assert_eq!(rate.within(now, Duration::from_millis(499)), 5_000);
        let speed = rate.per_second(now, Duration::from_secs(1));
        assert!((9_000..=11_000).contains(&speed), "{speed}");
    }

    #[test]
    fn forgets_after_a_pause() {
        let mut rate = Rate::new(Time::ZERO);
        rate.add(Time::ZERO, 500);
        rate.give_back(Time::from_secs(9));
        assert_eq!(rate.within(Time::from_secs(9), Duration::from_secs(10)), 500);
        rate.give_back(Time::from_secs(20));
        assert!(rate.buckets.is_none());
        assert_eq!(rate.within(Time::from_secs(20), Duration::from_secs(10)), 0);
        rate.add(Time::from_secs(20), 7);
        assert_eq!(rate.within(Time::from_secs(20), Duration::from_secs(10)), 7);
        assert_eq!(rate.total(), 507);
    }
}
