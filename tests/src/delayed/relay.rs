//! The thread through which all packets of a [`super::Delayed`] pass.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::setpriority_process;

use super::line::{Line, Packet, ends, is_datagram};

/// Longest packet; the device's MTU is less.
const PACKET_MAX: usize = 2_048;
/// Packets that are read before those that are due are given.
const READS_MAX: usize = 64;
/// Of the thread: a nice value.
const PRIORITY: i32 = -15;
/// It looks at least so often whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whose an address is.
pub type HostOf = Box<dyn Fn(Ipv4Addr) -> Option<u32> + Send>;
/// How long the way between two hosts is.
pub type DelayOf = Box<dyn Fn(u32, u32) -> Duration + Send>;

/// An access line.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Bytes a second that leave the host, IP headers counted.
    pub up: u64,
    /// Bytes a second that reach it.
    pub down: u64,
    /// How long datagrams wait at most; streams wait as long as they have to.
    pub queue: Duration,
}

/// What a relay counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Datagrams that hosts sent.
    pub datagrams: u64,
    /// Other packets.
    pub others: u64,
    /// Packets for which a line had no room.
    pub dropped: u64,
    /// Packets to or from nobody.
    pub unroutable: u64,
    /// How much later than it was due each packet was given, in microseconds.
    pub late_us: Vec<u32>,
}

#[derive(Debug)]
enum What {
    /// A line has sent what it was sending.
    UpFree(u32),
    DownFree(u32),
    /// A packet is at its receiver's line.
    AtEdge(u32, Packet),
}

/// Ordered by time, and then as they came.
struct Event {
    at: Instant,
    n: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.n).cmp(&(other.at, other.n))
    }
}

pub(super) struct Relay {
    pub(super) tun: OwnedFd,
    pub(super) host_of: HostOf,
    pub(super) delay_of: DelayOf,
    /// Both directions of the line of each host that has one.
    pub(super) lines: Vec<Option<[Line; 2]>>,
    pub(super) ends: Arc<AtomicBool>,
    due: BinaryHeap<Reverse<Event>>,
    events: u64,
    counts: Counts,
}

impl Relay {
    pub(super) fn new(
        tun: OwnedFd,
        host_of: HostOf,
        delay_of: DelayOf,
        rates: &[Option<Rates>],
    ) -> Relay {
        let lines = |rates: &Option<Rates>| {
            let Rates { up, down, queue } = (*rates)?;
            Some([Line::new(up, queue), Line::new(down, queue)])
        };
        Relay {
            tun,
            host_of,
            delay_of,
            lines: rates.iter().map(lines).collect(),
            ends: Arc::default(),
            due: BinaryHeap::new(),
            events: 0,
            counts: Counts::default(),
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) -> Counts {
        // It stands for routers, which no program slows down. Where it may not, it is seen how late it was.
        let _ = setpriority_process(None, PRIORITY);
        let mut buf = vec![0; PACKET_MAX];
        while !self.ends.load(Ordering::Acquire) {
            self.read(&mut buf);
            while let Some(Reverse(event)) = self.due.peek()
                && event.at <= Instant::now()
            {
                if let Some(Reverse(event)) = self.due.pop() {
                    self.handle(event);
                }
            }
            let next = self.due.peek().map(|Reverse(event)| event.at);
            let wait = next.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()));
            self.wait(wait.min(LOOK_EVERY));
        }
        self.counts
    }

    fn wait(&self, span: Duration) {
        let timeout =
            Timespec { tv_sec: span.as_secs() as i64, tv_nsec: span.subsec_nanos().into() };
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(&self.tun, PollFlags::IN)], Some(&timeout));
    }

    fn read(&mut self, buf: &mut [u8]) {
        for _ in 0..READS_MAX {
            match rustix::io::read(&self.tun, &mut *buf) {
                Ok(len) => self.take(Instant::now(), buf[..len].to_vec()),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// A host sent a packet.
    fn take(&mut self, now: Instant, packet: Packet) {
        // What is not IPv4 the kernel sends of itself.
        let Some((from, to)) = ends(&packet) else { return };
        let (Some(from), Some(_)) = ((self.host_of)(from), (self.host_of)(to)) else {
            self.counts.unroutable += 1;
            return;
        };
        *(if is_datagram(&packet) {
            &mut self.counts.datagrams
        } else {
            &mut self.counts.others
        }) += 1;
        self.enter(now, from, 0, packet);
    }

    /// A packet is at a line, or where a line would be.
    fn enter(&mut self, at: Instant, host: u32, direction: usize, packet: Packet) {
        let Some(Some(lines)) = self.lines.get_mut(host as usize) else {
            return self.leave(at, direction, packet);
        };
        if !lines[direction].push(packet) {
            self.counts.dropped += 1;
        }
        self.start(at, host, direction);
    }

    fn start(&mut self, at: Instant, host: u32, direction: usize) {
        let line = self.lines.get_mut(host as usize).and_then(Option::as_mut);
        if let Some(span) = line.and_then(|lines| lines[direction].start()) {
            let what = if direction == 0 { What::UpFree(host) } else { What::DownFree(host) };
            self.push(at + span, what);
        }
    }

    /// A packet is through a line.
    fn leave(&mut self, at: Instant, direction: usize, packet: Packet) {
        if direction == 1 {
            // A device that is full loses it.
            let _ = rustix::io::write(&self.tun, &packet);
            let late = Instant::now().saturating_duration_since(at).as_micros();
            self.counts.late_us.push(late as u32);
            return;
        }
        let Some((from, to)) = ends(&packet) else { return };
        if let (Some(from), Some(to)) = ((self.host_of)(from), (self.host_of)(to)) {
            self.push(at + (self.delay_of)(from, to), What::AtEdge(to, packet));
        }
    }

    fn push(&mut self, at: Instant, what: What) {
        self.events += 1;
        self.due.push(Reverse(Event { at, n: self.events, what }));
    }

    /// What is due happens at the time at which it was due: lateness does not add up.
    fn handle(&mut self, Event { at, what, .. }: Event) {
        let (host, direction) = match what {
            What::AtEdge(to, packet) => return self.enter(at, to, 1, packet),
            What::UpFree(host) => (host, 0),
            What::DownFree(host) => (host, 1),
        };
        let line = self.lines.get_mut(host as usize).and_then(Option::as_mut);
        if let Some(packet) = line.and_then(|lines| lines[direction].through()) {
            self.leave(at, direction, packet);
        }
        self.start(at, host, direction);
    }
}
