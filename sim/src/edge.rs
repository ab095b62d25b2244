//! Where a host meets the network: its access bandwidth, and the ends of its streams.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use client::ConnId;
use wire::time::Time;

use crate::host::HostId;

/// How fast a host's line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Bytes per second that it sends over streams. Default 1.25 MB/s: 10 Mbit/s.
    pub up_bytes_per_second: u64,
    /// Bytes per second that it receives over streams. Default 6.25 MB/s: 50 Mbit/s.
    pub down_bytes_per_second: u64,
}

impl Default for Access {
    fn default() -> Access {
        Access { up_bytes_per_second: 1_250_000, down_bytes_per_second: 6_250_000 }
    }
}

/// Bytes of one stream that may be on their way unacknowledged, as TCP's window: 1 MiB fills
/// 80 Mbit/s over 100 ms (Linux's `tcp_rmem` lets it grow to 6 MiB).
const WINDOW: u64 = 1 << 20;

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) peer: HostId,
    /// The peer's name for it, once the dial was taken.
    pub(crate) peer_conn: Option<ConnId>,
    /// Bytes sent and not acknowledged.
    in_flight: u64,
    /// It stands in the queue for the uplink.
    queued: bool,
    /// It has something to send, and the window is full.
    blocked: bool,
}

/// The edge of one host.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    access: Access,
    up_free: Time,
    down_free: Time,
    ends: BTreeMap<ConnId, StreamEnd>,
    /// Streams with something to send, in turn.
    ready: VecDeque<ConnId>,
    /// A message will tell when the uplink is free.
    timer_set: bool,
}

/// How long `len` bytes take, rounded up to a microsecond.
fn span(len: u64, bytes_per_second: u64) -> Duration {
    Duration::from_micros((len * 1_000_000).div_ceil(bytes_per_second.max(1)))
}

impl Edge {
    pub(crate) fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    pub(crate) fn open(&mut self, conn: ConnId, peer: HostId, peer_conn: Option<ConnId>) {
        let end = StreamEnd { peer, peer_conn, in_flight: 0, queued: false, blocked: false };
        self.ends.insert(conn, end);
    }

    pub(crate) fn end(&self, conn: ConnId) -> Option<&StreamEnd> {
        self.ends.get(&conn)
    }

    /// The dial of `conn` was taken; false if it was given up meanwhile.
    pub(crate) fn connected(&mut self, conn: ConnId, peer_conn: ConnId) -> bool {
        match self.ends.get_mut(&conn) {
            Some(end) => end.peer_conn.replace(peer_conn).is_none(),
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
        if std::mem::take(&mut end.blocked) {
            self.flush(conn);
        }
    }

    /// The stream whose turn it is to send, if the uplink is free.
    pub(crate) fn next(&mut self, now: Time) -> Option<ConnId> {
        while self.up_free <= now {
            let conn = self.ready.pop_front()?;
            let Some(end) = self.ends.get_mut(&conn) else { continue };
            end.queued = false;
            if end.in_flight < WINDOW {
                return Some(conn);
            }
            end.blocked = true;
        }
        None
    }

    /// `conn` sends `len` bytes now and goes to the end of the queue: when they have left.
    pub(crate) fn send(&mut self, now: Time, conn: ConnId, len: u64) -> Time {
        self.up_free = now + span(len, self.access.up_bytes_per_second);
        if let Some(end) = self.ends.get_mut(&conn) {
            end.in_flight += len;
        }
        self.flush(conn);
        self.up_free
    }

    /// When to look again, if something waits for the uplink and nobody will tell.
    pub(crate) fn set_timer(&mut self) -> Option<Time> {
        let wanted = !self.ready.is_empty() && !self.timer_set;
        self.timer_set |= wanted;
        wanted.then_some(self.up_free)
    }

    pub(crate) fn timer_fired(&mut self) {
        self.timer_set = false;
    }

    /// `len` bytes are at the edge: when they are through the downlink.
    pub(crate) fn receive(&mut self, now: Time, len: u64) -> Time {
        self.down_free = self.down_free.max(now) + span(len, self.access.down_bytes_per_second);
        self.down_free
    }
}
