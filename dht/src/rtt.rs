//! What round trips are usual, and so when to stop waiting for one.

use std::time::Duration;

use crate::config::SharedConfig;
use crate::lookup::Patience;

/// Samples that count.
const WINDOW: usize = 64;
/// New samples after which the quantiles are taken anew.
const STEP: u8 = 4;
/// Samples below which they say nothing: a first fast neighbour is no measure for the world.
const ENOUGH: u8 = 16;

/// Quantiles of the last round trips, and how long a lookup waits by them.
#[derive(Clone)]
pub(crate) struct RttEstimate {
    config: SharedConfig,
    patience: Patience,
    len: u8,
    next: u8,
    samples_us: [u32; WINDOW],
}

impl RttEstimate {
    pub(crate) fn new(config: impl Into<SharedConfig>) -> RttEstimate {
        let config = config.into();
        let max = Duration::from_millis(config.late_max_ms);
        let patience = Patience { late: max, over: max * 2 };
        RttEstimate { config, patience, len: 0, next: 0, samples_us: [0; WINDOW] }
    }

    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self) -> usize {
        usize::from(self.len) ^ self.samples_us[usize::from(self.next)] as usize
    }

    /// How long a lookup waits for a node.
    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn add(&mut self, rtt: Duration) {
        self.samples_us[usize::from(self.next)] =
            u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % WINDOW as u8;
        self.len = (self.len + 1).min(WINDOW as u8);
        if self.len >= ENOUGH && self.next.is_multiple_of(STEP) {
            let max = Duration::from_millis(self.config.late_max_ms);
            let min = Duration::from_millis(self.config.late_min_ms).min(max);
            let mut sorted = self.samples_us;
            let sorted = &mut sorted[..usize::from(self.len)];
            sorted.sort_unstable();
            let quantile = |percent: u32| {
                let rank = (sorted.len() * percent as usize).div_ceil(100).clamp(1, sorted.len());
                Duration::from_micros(u64::from(sorted[rank - 1]))
            };
            // An eighth more than was seen: the tail of so few samples is longer than they show.
            let wait = |percent| quantile(percent) + quantile(percent) / 8;
            let late = wait(self.config.late_percent).clamp(min, max);
            let over = wait(self.config.over_percent).clamp(late + min / 2, max * 2);
            self.patience = Patience { late, over };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn follows_the_quantiles_within_bounds() {
        let ms = Duration::from_millis;
        let mut rtt = RttEstimate::new(&Config::new(vec![]));
        assert_eq!(rtt.patience(), Patience { late: ms(1_000), over: ms(2_000) });
        for i in 0..16 {
            assert_eq!(rtt.patience().late, ms(1_000), "{i} samples are too few");
            rtt.add(Duration::from_micros(200));
        }
        assert_eq!(rtt.patience(), Patience { late: ms(30), over: ms(45) });
        for i in 0..100 {
            rtt.add(ms(1 + i));
        }
        // The last 64 are 37 to 100 ms: the 58th and the 63rd of them, and an eighth.
        let Patience { late, over } = rtt.patience();
        assert_eq!((late.as_micros(), over.as_micros()), (105_750, 120_750));
        for _ in 0..64 {
            rtt.add(Duration::from_secs(1 << 20));
        }
        assert_eq!(rtt.patience(), Patience { late: ms(1_000), over: ms(2_000) });
    }
}
