//! How many blocks to have asked of one peer, and how long to wait for them.
//!
//! The window covers what the peer delivers in one round trip and a little more, twice over, so
//! that it doubles each round trip until the pipe is full and follows the rate when it falls. It
//! is measured, never a constant: a fixed one caps the speed at window / round trip.

use std::collections::VecDeque;
use std::time::Duration;

use wire::peer::{BLOCK_LEN, BlockRef};
use wire::time::Time;

use crate::Config;
use crate::rate::Rate;

/// Requests at one peer.
pub struct RequestWindow {
    asked: VecDeque<(BlockRef, Time)>,
    /// Blocks that were given up and may still come, remembered so that they are not taken for
    /// something that nobody asked: a whole window of them.
    stale: VecDeque<BlockRef>,
    stale_max: usize,
    rate: Rate,
    /// The peer's own bound (BEP 10, `reqq`).
    reqq: usize,
    /// Shortest time from a request to its block.
    latency_min: Option<Duration>,
    /// Mean and mean deviation of that time, in microseconds.
    wait_mean_us: f64,
    wait_dev_us: f64,
    /// When the last block came.
    last_block: Time,
    /// It did not answer in time: one request at a time until it does.
    snubbed: bool,
}

impl RequestWindow {
    /// No requests yet.
    pub fn new(now: Time, config: &Config) -> RequestWindow {
        RequestWindow {
            asked: VecDeque::new(),
            stale: VecDeque::new(),
            stale_max: config.request_window_max,
            rate: Rate::new(now),
            reqq: config.reqq_default,
            latency_min: None,
            wait_mean_us: 0.0,
            wait_dev_us: 0.0,
            last_block: now,
            snubbed: false,
        }
    }

    /// The peer told how many requests it queues.
    pub fn set_reqq(&mut self, reqq: u32) {
        self.reqq = (reqq as usize).max(1);
    }

    /// Bytes of payload that came from it.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Requests that may be sent now.
    pub fn room(&self, now: Time, config: &Config) -> usize {
        if self.snubbed {
            return 1usize.saturating_sub(self.asked.len());
        }
        let span = config.request_slack + self.latency_min.unwrap_or_default() * 2;
        let delivered = self.rate.within(now, span) / u64::from(BLOCK_LEN);
        let window = (2 * delivered as usize).max(config.request_window_start);
        window.min(self.reqq).min(config.request_window_max).saturating_sub(self.asked.len())
    }

    /// Gives back the room of what is not there any more.
    pub fn give_back(&mut self, now: Time) {
        self.rate.give_back(now);
        if self.asked.is_empty() {
            self.asked = VecDeque::new();
        }
        if self.stale.is_empty() {
            self.stale = VecDeque::new();
        }
    }

    /// A request is sent.
    pub fn ask(&mut self, now: Time, block: BlockRef) {
        if self.asked.is_empty() {
            self.last_block = now;
        }
        self.asked.push_back((block, now));
    }

    /// A block came: true if it was asked for and nobody gave it up.
    pub fn arrived(&mut self, now: Time, block: &BlockRef) -> Option<Asked> {
        if let Some(at) = self.asked.iter().position(|(asked, _)| asked == block) {
            let (_, sent) = self.asked.remove(at)?;
            self.measure(now, now.since(sent.max(self.last_block)), now.since(sent));
            self.rate.add(now, u64::from(block.len));
            return Some(Asked::Waiting);
        }
        let at = self.stale.iter().position(|stale| stale == block)?;
        self.stale.remove(at);
        self.snubbed = false;
        self.last_block = now;
        self.rate.add(now, u64::from(block.len));
        Some(Asked::GivenUp)
    }

    fn measure(&mut self, now: Time, gap: Duration, latency: Duration) {
        self.snubbed = false;
        self.last_block = now;
        self.latency_min = Some(self.latency_min.map_or(latency, |min| min.min(latency)));
        let sample = gap.as_micros() as f64;
        if self.wait_mean_us == 0.0 {
            self.wait_mean_us = sample;
            self.wait_dev_us = sample / 2.0;
        }
        let error = sample - self.wait_mean_us;
        self.wait_mean_us += error / 8.0;
        self.wait_dev_us += (error.abs() - self.wait_dev_us) / 4.0;
    }

    /// The peer will not answer this request: true if it waited.
    pub fn rejected(&mut self, block: &BlockRef) -> bool {
        match self.asked.iter().position(|(asked, _)| asked == block) {
            Some(at) => self.asked.remove(at).is_some(),
            None => {
                self.stale.retain(|stale| stale != block);
                false
            }
        }
    }

    /// Gives a request up because another peer was faster: true if it waited, so that a cancel is
    /// due.
    pub fn cancel(&mut self, block: &BlockRef) -> bool {
        let waited = self.rejected(block);
        if waited {
            self.remember(*block);
        }
        waited
    }

    /// Takes all requests back: the peer choked us, or is gone.
    pub fn take_all(&mut self) -> Vec<BlockRef> {
        let all: Vec<BlockRef> = self.asked.drain(..).map(|(block, _)| block).collect();
        all.iter().for_each(|block| self.remember(*block));
        all
    }

    /// When the peer counts as snubbed: mean and four deviations of the gap between its blocks
    /// after the last one, within the bounds of [`Config`] (libtorrent has the same rule).
    pub fn deadline(&self, config: &Config) -> Option<Time> {
        let (_, sent) = self.asked.front()?;
        let wait = match self.wait_mean_us {
            0.0 => config.request_timeout_max / 4,
            mean => Duration::from_micros((mean + 4.0 * self.wait_dev_us) as u64),
        };
        let wait = wait.clamp(config.request_timeout_min, config.request_timeout_max);
        Some((*sent).max(self.last_block) + wait)
    }

    /// For so long we did not read what the peer may have sent: it has as much longer to answer.
    pub fn was_unread(&mut self, now: Time, unread: Duration) {
        let waits_since = self.asked.front().map_or(self.last_block, |(_, sent)| *sent);
        self.last_block = now.min(self.last_block.max(waits_since) + unread);
    }

    /// The deadline is past: gives all requests up and returns them.
    pub fn snub(&mut self) -> Vec<BlockRef> {
        self.snubbed = true;
        self.take_all()
    }

    fn remember(&mut self, block: BlockRef) {
        if self.stale.len() >= self.stale_max {
            self.stale.pop_front();
        }
        self.stale.push_back(block);
    }
}

/// How a block that came was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its request waited.
    Waiting,
    /// Its request had been given up.
    GivenUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u32) -> BlockRef {
        BlockRef { piece: n, begin: 0, len: BLOCK_LEN }
    }

    /// Blocks in flight once the speed is steady, with this round trip and rate.
    fn steady_window(rtt_ms: u64, blocks_per_second: u64, seconds: u64) -> usize {
        let config = Config::default();
        let mut window = RequestWindow::new(Time::ZERO, &config);
        window.set_reqq(u32::MAX);
        let gap = 1_000_000 / blocks_per_second;
        let mut pipe: VecDeque<(Time, BlockRef)> = VecDeque::new();
        let (mut now, mut n, mut free_at) = (Time::ZERO, 0, Time::ZERO);
        while now < Time::from_secs(seconds) {
            for _ in 0..window.room(now, &config) {
                n += 1;
                window.ask(now, block(n));
                free_at = free_at.max(now + Duration::from_millis(rtt_ms));
                free_at += Duration::from_micros(gap);
                pipe.push_back((free_at, block(n)));
            }
            let Some((at, block)) = pipe.pop_front() else { panic!("stalled at {now}") };
            now = at;
            assert_eq!(window.arrived(now, &block), Some(Asked::Waiting));
        }
        window.asked.len()
    }

    #[test]
    fn the_window_fills_a_long_pipe_and_does_not_swamp_a_slow_one() {
        // 1000 blocks a second over 100 ms: the pipe alone holds 100.
        let window = steady_window(100, 1000, 5);
        assert!((200..=1500).contains(&window), "{window}");
        // A slow peer keeps the smallest window.
        let window = steady_window(20, 10, 5);
        assert!(window <= Config::default().request_window_start, "{window}");
        // 20,000 blocks a second over 1 ms: bounded by the configured maximum.
        let window = steady_window(1, 20_000, 2);
        assert!(window >= 1000, "{window}");
    }

    #[test]
    fn a_silent_peer_is_snubbed_and_forgiven() {
        let config = Config::default();
        let mut window = RequestWindow::new(Time::ZERO, &config);
        window.ask(Time::ZERO, block(1));
        window.ask(Time::ZERO, block(2));
        window.arrived(Time::from_millis(100), &block(1));
        assert_eq!(window.deadline(&config), Some(Time::from_millis(2100)));
        assert_eq!(window.snub(), [block(2)]);
        assert_eq!(window.room(Time::from_secs(3), &config), 1);
        assert_eq!(window.arrived(Time::from_secs(3), &block(2)), Some(Asked::GivenUp));
        assert_eq!(window.arrived(Time::from_secs(3), &block(2)), None, "not twice");
        assert!(!window.snubbed);
    }

    #[test]
    fn a_cancelled_block_that_comes_is_no_fault() {
        let config = Config::default();
        let mut window = RequestWindow::new(Time::ZERO, &config);
        window.ask(Time::ZERO, block(1));
        assert!(window.cancel(&block(1)));
        assert!(!window.cancel(&block(1)));
        for n in 0..10_000 {
            window.ask(Time::ZERO, block(n));
        }
        window.take_all();
        assert_eq!(window.stale.len(), config.request_window_max);
    }
}
