//! One direction of a host's access line: a rate, and a queue for datagrams.

use std::time::Duration;

use wire::time::Time;

/// Bytes of IP and TCP headers of a segment (RFC 791, RFC 9293: 20 each).
const TCP_HEADER: u64 = 40;
/// Bytes of IP and UDP headers (RFC 791, RFC 768: 20 and 8).
const UDP_HEADER: u64 = 28;
/// Bytes of a full IP packet (RFC 894).
const MTU: u64 = 1_500;
/// Payload of a full segment.
pub(crate) const SEGMENT: u64 = MTU - TCP_HEADER;

/// Bytes on the wire of `len` bytes of a stream, headers counted.
pub(crate) fn stream_wire_len(len: u64) -> u64 {
    len + len.div_ceil(SEGMENT) * TCP_HEADER
}

/// Bytes on the wire of the acknowledgements of `len` bytes of a stream: one for two segments
/// (RFC 9293, 3.8.6.3).
pub(crate) fn acks_wire_len(len: u64) -> u64 {
    len.div_ceil(2 * SEGMENT) * TCP_HEADER
}

/// A line. Streams wait for each other; datagrams, which are few and small, wait for each other
/// alone, as in a router that queues by flows (RFC 8290), and take their share from the streams.
#[derive(Debug)]
pub(crate) struct Line {
    /// IP bytes a second.
    rate: u64,
    /// How long a datagram waits at most before the queue is full.
    queue: Duration,
    /// When the work that it has is done, when the last run of a stream is through, and when the last
    /// datagram, in nanoseconds.
    free_ns: u64,
    through_ns: u64,
    datagrams_free_ns: u64,
    /// Since when it has had work without a break of a microsecond, in nanoseconds, and its bytes.
    busy_since_ns: u64,
    busy_bytes: u64,
}

fn ns(at: Time) -> u64 {
    at.as_micros() * 1_000
}

/// The first moment at which so many nanoseconds have passed.
fn time(ns: u64) -> Time {
    Time::from_micros(ns.div_ceil(1_000))
}

impl Line {
    /// A line of `rate` IP bytes a second.
    pub(crate) fn new(rate: u64, queue: Duration) -> Line {
        let rate = rate.max(1);
        Line {
            rate,
            queue,
            free_ns: 0,
            through_ns: 0,
            datagrams_free_ns: 0,
            busy_since_ns: 0,
            busy_bytes: 0,
        }
    }

    fn span_ns(&self, len: u64) -> u64 {
        (u128::from(len) * 1_000_000_000).div_ceil(u128::from(self.rate)) as u64
    }

    /// When it has nothing to do.
    pub(crate) fn free(&self) -> Time {
        time(self.free_ns)
    }

    /// When the last run of a stream is through.
    pub(crate) fn through(&self) -> Time {
        time(self.through_ns)
    }

    /// `len` bytes that come from `first` to `last` are through when they are returned, and have
    /// taken their share of the line.
    ///
    /// # Panics
    /// If the line would give more than its rate: that is a fault of the simulator.
    pub(crate) fn stream(&mut self, first: Time, last: Time, len: u64) -> Time {
        self.work(first, len);
        let tail = ns(last) + self.span_ns(len.min(MTU));
        self.through_ns = self.through_ns.max(self.free_ns).max(tail);
        self.through()
    }

    /// How much earlier than its last byte the first packet of `len` bytes is through.
    pub(crate) fn lead(&self, len: u64) -> Duration {
        Duration::from_nanos(self.span_ns(len) - self.span_ns(len.min(MTU)))
    }

    /// When a datagram of `len` bytes that is there `now` is through; `None` if the queue is full.
    pub(crate) fn datagram(&mut self, now: Time, len: u64) -> Option<Time> {
        let len = len + UDP_HEADER;
        let through = self.datagrams_free_ns.max(ns(now)) + self.span_ns(len);
        if through - ns(now) > u64::try_from(self.queue.as_nanos()).unwrap_or(u64::MAX) {
            return None;
        }
        self.datagrams_free_ns = through;
        self.work(now, len);
        Some(time(through))
    }

    /// `len` bytes go through that nobody waits for.
    pub(crate) fn charge(&mut self, now: Time, len: u64) {
        self.work(now, len);
    }

    fn work(&mut self, now: Time, len: u64) {
        if self.free_ns <= ns(now) {
            // Who waits until it is free comes at the next microsecond: that is no break.
            if ns(now) - self.free_ns >= 1_000 {
                self.busy_since_ns = ns(now);
                self.busy_bytes = 0;
            }
            self.free_ns = ns(now);
        }
        self.busy_bytes += len;
        self.free_ns += self.span_ns(len);
        let most = u128::from(self.rate) * u128::from(self.free_ns - self.busy_since_ns);
        assert!(
            u128::from(self.busy_bytes.saturating_sub(MTU)) * 1_000_000_000 <= most,
            "a line of {} bytes a second gave {} in {} ns",
            self.rate,
            self.busy_bytes,
            self.free_ns - self.busy_since_ns
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rate: u64) -> Line {
        Line::new(rate, Duration::from_millis(100))
    }

    #[test]
    fn bytes_take_their_time_whatever_the_rate() {
        for rate in [1_000, 1_250_000, 1_000_000_000, 12_500_000_000] {
            let mut line = line(rate);
            let last = (0..1_000).map(|_| line.stream(Time::ZERO, Time::ZERO, 16_384)).last();
            let want = 16_384_000.0 / rate as f64;
            let got = last.unwrap().as_secs_f64();
            assert!((want..want * 1.0001 + 2e-6).contains(&got), "{rate}: {got} s, not {want} s");
        }
    }

    #[test]
    fn what_comes_slowly_goes_through_as_it_comes() {
        // Two runs that come side by side over 10 s, each half as fast as the line.
        let mut line = line(10_000);
        let (first, last) = (Time::from_secs(1), Time::from_secs(11));
        let tail = Duration::from_millis(150);
        assert_eq!(line.stream(first, last, 50_000), last + tail);
        assert_eq!(line.stream(first, last, 50_000), last + tail);
        // A third one is one too many.
        assert_eq!(line.stream(first, last, 50_000), Time::from_secs(16));
    }

    #[test]
    fn a_datagram_passes_streams_by_and_takes_its_share() {
        let mut line = line(10_000);
        assert_eq!(line.stream(Time::ZERO, Time::ZERO, 10_000), Time::from_secs(1));
        assert_eq!(line.datagram(Time::ZERO, 72), Some(Time::from_millis(10)));
        assert_eq!(line.free(), Time::from_millis(1_010));
    }

    #[test]
    fn a_full_queue_drops() {
        let mut line = line(10_000);
        let taken = (0..20).filter(|_| line.datagram(Time::ZERO, 72).is_some()).count();
        assert_eq!(taken, 10);
        assert!(line.datagram(Time::from_millis(50), 72).is_some());
    }

    #[test]
    fn headers_count() {
        assert_eq!(stream_wire_len(1_460), 1_500);
        assert_eq!(stream_wire_len(1_461), 1_541);
        assert_eq!(stream_wire_len(0), 0);
        assert_eq!(acks_wire_len(2_920), 40);
    }
}
