//! So many at once, then one after each gap.

use std::time::Duration;

use wire::time::Time;

/// A bound on how often something is done.
#[derive(Debug)]
pub struct Pace {
    gap: Duration,
    burst: Duration,
    /// When one would be done that kept to the gap from the start.
    next: Time,
}

impl Pace {
    /// At most `burst` at once, and one each `gap` in the long run.
    pub fn new(gap: Duration, burst: u32) -> Pace {
        Pace { gap, burst: gap * burst, next: Time::ZERO }
    }

    /// When one may be done.
    pub fn due(&self) -> Time {
        let ahead = self.next.since(Time::ZERO) + self.gap;
        Time::ZERO + ahead.saturating_sub(self.burst)
    }

    /// Whether one may be done; it then counts as done.
    pub fn take(&mut self, now: Time) -> bool {
        let may = self.due() <= now;
        if may {
            self.next = self.next.max(now) + self.gap;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn ten_thousand_take_half_an_hour_and_a_few_no_time() {
        let config = Config::default();
        let mut pace = Pace::new(config.announce_gap, config.announce_burst);
        let mut now = Time::from_secs(7);
        let mut times = Vec::new();
        for _ in 0..10_000 {
            now = now.max(pace.due());
            assert!(pace.take(now));
            times.push(now.since(Time::from_secs(7)));
        }
        let at_once = times.iter().take_while(|time| time.is_zero()).count();
        assert_eq!(at_once, config.announce_burst as usize);
        assert!(
            (28 * 60..=30 * 60).contains(&times.last().unwrap().as_secs()),
            "{:?}",
            times.last()
        );
        assert!(times.windows(2).skip(at_once).all(|two| two[1] - two[0] == config.announce_gap));
    }

    #[test]
    fn what_was_not_done_is_done_at_once_later_but_no_more_than_the_burst() {
        let mut pace = Pace::new(Duration::from_secs(1), 3);
        let at = |secs| Time::from_secs(secs);
        assert_eq!(
            [0, 0, 0, 0, 1, 1].map(|secs| pace.take(at(secs))),
            [true, true, true, false, true, false]
        );
        assert_eq!([900; 4].map(|secs| pace.take(at(secs))), [true, true, true, false]);
        assert_eq!(pace.due(), at(901));
    }
}
