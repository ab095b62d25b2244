//! Where a host meets the network: its access line, and the ends of its streams.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use client::ConnId;
use wire::time::Time;

use crate::host::HostId;
use crate::line::{Line, SEGMENT, acks_wire_len, stream_wire_len};

/// How fast a host's line is, in IP bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Bytes a second that it sends. Default 1.25 MB/s: 10 Mbit/s.
    pub up_bytes_per_second: u64,
    /// Bytes a second that it receives. Default 6.25 MB/s: 50 Mbit/s.
    pub down_bytes_per_second: u64,
    /// Milliseconds that a datagram waits for the line at most; what would wait longer is lost.
    /// Default 100 ms, CoDel's interval (RFC 8289, 4.4).
    pub queue_ms: u32,
}

impl Default for Access {
    fn default() -> Access {
        Access { up_bytes_per_second: 1_250_000, down_bytes_per_second: 6_250_000, queue_ms: 100 }
    }
}

/// Bytes of one stream that may be on their way unacknowledged, as TCP's window: 1 MiB fills
/// 80 Mbit/s over 100 ms (Linux's `tcp_rmem` lets it grow to 6 MiB).
const WINDOW_MAX: u64 = 1 << 20;
/// A stream's first window (RFC 6928: 10 segments).
const WINDOW_FIRST: u64 = 10 * SEGMENT;
/// The least window after losses (RFC 5681, 3.1: 2 segments).
const WINDOW_MIN: u64 = 2 * SEGMENT;

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) peer: HostId,
    /// The peer's name for it, once the dial was taken.
    pub(crate) peer_conn: Option<ConnId>,
    /// Bytes sent and not acknowledged.
    in_flight: u64,
    /// Bytes that may be: doubles in a round trip up to the threshold, then grows by a segment in
    /// one (RFC 5681).
    window: u64,
    threshold: u64,
    /// When the last that was sent is there: what comes after it is not there before.
    last_at: Time,
    /// It stands in the queue for the uplink.
    queued: bool,
    /// It has something to send, and the window is full.
    blocked: bool,
    pub(crate) severed: bool,
}

/// The two directions of an access line, of a host or of a home.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) up: Line,
    pub(crate) down: Line,
}

impl Lines {
    pub(crate) fn new(access: Access) -> Lines {
        let queue = Duration::from_millis(access.queue_ms.into());
        Lines {
            up: Line::new(access.up_bytes_per_second, queue),
            down: Line::new(access.down_bytes_per_second, queue),
        }
    }

    /// A run of `len` bytes whose first packet was `lead` earlier is at the edge: when it is through
    /// the downlink. Its acknowledgements take their share of the uplink.
    pub(crate) fn receive(&mut self, now: Time, lead: Duration, len: u64) -> Time {
        self.up.charge(now, acks_wire_len(len));
        let first = Time::ZERO + now.since(Time::ZERO + lead);
        self.down.stream(first, now, stream_wire_len(len))
    }

    /// When what was received until now is through.
    pub(crate) fn received(&self, now: Time) -> Time {
        self.down.through().max(now)
    }
}

/// The streams of one host.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    ends: BTreeMap<ConnId, StreamEnd>,
    /// Streams with something to send, in turn.
    ready: VecDeque<ConnId>,
    /// A message will tell when the uplink is free.
    timer_set: bool,
}

/// When a run has left its sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Its last byte is on the way.
    pub(crate) last: Time,
    /// How much earlier its first packet was.
    pub(crate) lead: Duration,
}

impl Edge {
    pub(crate) fn open(&mut self, conn: ConnId, peer: HostId, peer_conn: Option<ConnId>) {
        let end = StreamEnd {
            peer,
            peer_conn,
            in_flight: 0,
            window: WINDOW_FIRST,
            threshold: WINDOW_MAX,
            last_at: Time::ZERO,
            queued: false,
            blocked: false,
            severed: false,
        };
        self.ends.insert(conn, end);
    }

    pub(crate) fn end(&self, conn: ConnId) -> Option<&StreamEnd> {
        self.ends.get(&conn)
    }

    /// The dial of `conn` was taken by `peer`; false if it was given up meanwhile.
    pub(crate) fn connected(&mut self, conn: ConnId, peer: HostId, peer_conn: ConnId) -> bool {
        match self.ends.get_mut(&conn) {
            Some(end) => {
                end.peer = peer;
                end.peer_conn.replace(peer_conn).is_none()
            }
            None => false,
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId) -> Option<StreamEnd> {
        self.ends.remove(&conn)
    }

    /// A stream has something to send.
    pub(crate) fn flush(&mut self, conn: ConnId) {
        if let Some(end) = self.ends.get_mut(&conn)
            && end.peer_conn.is_some()
            && !end.queued
            && !end.blocked
        {
            end.queued = true;
            self.ready.push_back(conn);
        }
    }

    /// Bytes of a stream came through: it may go on.
    pub(crate) fn acked(&mut self, conn: ConnId, len: u64) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        end.in_flight = end.in_flight.saturating_sub(len);
        let more = if end.window < end.threshold { len } else { SEGMENT * len / end.window };
        end.window = (end.window + more).min(WINDOW_MAX);
        if std::mem::take(&mut end.blocked) {
            self.flush(conn);
        }
    }

    /// The stream whose turn it is to send, if the uplink is free.
    pub(crate) fn next(&mut self, now: Time, lines: Option<&Lines>) -> Option<ConnId> {
        while lines.is_none_or(|lines| lines.up.free() <= now) {
            let conn = self.ready.pop_front()?;
            let Some(end) = self.ends.get_mut(&conn) else { continue };
            end.queued = false;
            if end.in_flight < end.window {
                return Some(conn);
            }
            end.blocked = true;
        }
        None
    }

    /// `conn` sends `len` bytes now and goes to the end of the queue: when they have left.
    pub(crate) fn send(
        &mut self,
        now: Time,
        lines: Option<&mut Lines>,
        conn: ConnId,
        len: u64,
    ) -> Sent {
        if let Some(end) = self.ends.get_mut(&conn) {
            end.in_flight += len;
        }
        self.flush(conn);
        let Some(Lines { up, .. }) = lines else {
            return Sent { last: now, lead: Duration::ZERO };
        };
        let wire = stream_wire_len(len);
        Sent { last: up.stream(now, now, wire), lead: up.lead(wire) }
    }

    /// What `conn` sent is there at `at`, or after what it sent before. A loss costs a round trip and
    /// half of the window.
    pub(crate) fn arrival(&mut self, conn: ConnId, at: Time, lost: Option<Duration>) -> Time {
        let Some(end) = self.ends.get_mut(&conn) else { return at };
        if lost.is_some() {
            end.window = (end.window / 2).max(WINDOW_MIN);
            end.threshold = end.window;
        }
        end.last_at = end.last_at.max(at + lost.unwrap_or_default());
        end.last_at
    }

    /// When to look again, if something waits for the uplink and nobody will tell.
    pub(crate) fn set_timer(&mut self, lines: Option<&Lines>) -> Option<Time> {
        let wanted = !self.ready.is_empty() && !self.timer_set;
        self.timer_set |= wanted;
        wanted.then(|| lines.map_or(Time::ZERO, |lines| lines.up.free()))
    }

    pub(crate) fn timer_fired(&mut self) {
        self.timer_set = false;
    }

    /// Nothing that its streams send arrives any more, and nothing reaches them: what stood between
    /// has forgotten them.
    pub(crate) fn sever(&mut self) {
        self.ends.values_mut().for_each(|end| end.severed = true);
    }
}
