//! One entry of a routing table, small enough for millions of simulated ones.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use wire::NodeId;
use wire::compact;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::NodeInfo;

/// An address of one family, stored compactly.
pub(crate) trait Address: Copy + Eq + Debug {
    /// The compact form of `addr`, if it is of this family.
    fn new(addr: &SocketAddr) -> Option<Self>;

    /// The address as sockets take it.
    fn get(&self) -> SocketAddr;

    /// Its compact form (BEP 5, "Contact Encoding").
    fn compact(&self) -> &[u8];

    /// Whether both have the same IP address, whatever their ports.
    fn same_ip(&self, other: &Self) -> bool;

    /// Whether both are in a network that one owner is likely to hold: a /24 or a /64.
    fn same_subnet(&self, other: &Self) -> bool;
}

/// IPv4 address and port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct V4([u8; 6]);

/// IPv6 address and port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct V6([u8; 18]);

impl Address for V4 {
    fn new(addr: &SocketAddr) -> Option<V4> {
        let SocketAddr::V4(addr) = addr else { return None };
        let ([a, b, c, d], [e, f]) = (addr.ip().octets(), addr.port().to_be_bytes());
        Some(V4([a, b, c, d, e, f]))
    }

    fn get(&self) -> SocketAddr {
        let [a, b, c, d, e, f] = self.0;
        SocketAddr::from(([a, b, c, d], u16::from_be_bytes([e, f])))
    }

    fn compact(&self) -> &[u8] {
        &self.0
    }

    fn same_ip(&self, other: &V4) -> bool {
        self.0.first_chunk::<4>() == other.0.first_chunk::<4>()
    }

    fn same_subnet(&self, other: &V4) -> bool {
        self.0.first_chunk::<3>() == other.0.first_chunk::<3>()
    }
}

impl Address for V6 {
    fn new(addr: &SocketAddr) -> Option<V6> {
        let SocketAddr::V6(addr) = addr else { return None };
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&addr.ip().octets());
        bytes[16..].copy_from_slice(&addr.port().to_be_bytes());
        Some(V6(bytes))
    }

    fn get(&self) -> SocketAddr {
        compact::addr(&self.0).unwrap_or(SocketAddr::from(([0u8; 16], 0)))
    }

    fn compact(&self) -> &[u8] {
        &self.0
    }

    fn same_ip(&self, other: &V6) -> bool {
        self.0.first_chunk::<16>() == other.0.first_chunk::<16>()
    }

    fn same_subnet(&self, other: &V6) -> bool {
        self.0.first_chunk::<8>() == other.0.first_chunk::<8>()
    }
}

/// How much a contact can be relied on (BEP 5, "Routing Table").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// It failed several times in a row.
    Bad,
    /// It was not heard for some time, or never.
    Questionable,
    /// It answered lately, or answered once and asked us lately.
    Good,
}

/// A node in a routing table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact<A> {
    pub(crate) id: NodeId,
    pub(crate) addr: A,
    /// Smoothed round trip in milliseconds.
    rtt_ms: u16,
    /// When it last answered, or asked after it had answered once: seconds on the node's clock, in two
    /// halves, so that a contact needs no room to begin at a multiple of four.
    seen_secs: [u16; 2],
    /// Queries in a row that it did not answer.
    pub(crate) fails: u8,
    flags: u8,
}

const _: () = assert!(size_of::<Contact<V4>>() <= 34);
const _: () = assert!(size_of::<Contact<V6>>() <= 46);

const ANSWERED: u8 = 1;
const ID_FITS: u8 = 2;
const PINGED: u8 = 4;
const LOCAL: u8 = 8;

impl<A: Address> Contact<A> {
    /// Whether it answered and did not fail since: fit to be told to others.
    pub(crate) fn is_proven(&self) -> bool {
        self.answered() && self.fails == 0
    }

    /// A node that was only heard of.
    pub(crate) fn new(id: NodeId, addr: A) -> Contact<A> {
        let ip = addr.get().ip();
        let fits = if crate::security::fits(&id, ip) { ID_FITS } else { 0 };
        let flags = fits | if AddrScope::of(ip) == AddrScope::Local { LOCAL } else { 0 };
        Contact { id, addr, rtt_ms: 0, seen_secs: [0; 2], fails: 0, flags }
    }

    pub(crate) fn status(&self, now: Time, good_secs: u32, fails_max: u8) -> Status {
        if self.fails >= fails_max {
            Status::Bad
        } else if self.answered() && self.fails == 0 && self.idle_secs(now) < good_secs {
            Status::Good
        } else {
            Status::Questionable
        }
    }

    /// Seconds since it was heard.
    pub(crate) fn idle_secs(&self, now: Time) -> u32 {
        secs(now).saturating_sub(self.seen_secs())
    }

    fn seen_secs(&self) -> u32 {
        let [high, low] = self.seen_secs.map(u32::from);
        high << 16 | low
    }

    fn set_seen(&mut self, now: Time) {
        let secs = secs(now);
        self.seen_secs = [(secs >> 16) as u16, secs as u16];
    }

    /// Whether it ever answered a query of ours.
    pub(crate) fn answered(&self) -> bool {
        self.flags & ANSWERED != 0
    }

    /// Whether its id fits its address (BEP 42).
    pub(crate) fn id_fits(&self) -> bool {
        self.flags & ID_FITS != 0
    }

    /// Whether a maintenance ping is on its way.
    pub(crate) fn pinged(&self) -> bool {
        self.flags & PINGED != 0
    }

    pub(crate) fn set_pinged(&mut self, pinged: bool) {
        self.flags = if pinged { self.flags | PINGED } else { self.flags & !PINGED };
    }

    /// Id and address.
    pub(crate) fn node(&self) -> NodeInfo {
        NodeInfo { id: self.id, addr: self.addr.get() }
    }

    pub(crate) fn scope(&self) -> AddrScope {
        if self.flags & LOCAL != 0 { AddrScope::Local } else { AddrScope::Global }
    }

    /// It answered.
    pub(crate) fn on_reply(&mut self, now: Time, rtt: Duration) {
        let rtt = u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX);
        self.rtt_ms = match self.answered() {
            true => ((u32::from(self.rtt_ms) * 2 + u32::from(rtt)) / 3) as u16,
            false => rtt,
        };
        self.flags = (self.flags | ANSWERED) & !PINGED;
        self.fails = 0;
        self.set_seen(now);
    }

    /// It asked us something.
    pub(crate) fn on_query(&mut self, now: Time) {
        if self.answered() {
            self.set_seen(now);
        }
    }

    /// It did not answer.
    pub(crate) fn on_failure(&mut self) {
        self.fails = self.fails.saturating_add(1);
        self.flags &= !PINGED;
    }

    /// Smoothed round trip, if one was measured.
    pub(crate) fn rtt_ms(&self) -> u16 {
        self.rtt_ms
    }
}

/// Whole seconds on the node's clock.
pub(crate) fn secs(now: Time) -> u32 {
    u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX)
}
