//! Datagrams between hosts: lines, address translators, links.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use wire::time::Time;

use super::FIRST_HOST;
use super::net::{Net, inside_addr, inside_index};
use super::shard::{Load, Shard};
use crate::capture;
use crate::host::{Host, HostId};
use crate::nat::Protocol;
use crate::packets::Ends;
use crate::queue::Event;

/// Set in the count of a datagram that is at its host: translated, and through the downlink.
const THROUGH: u32 = 1 << 31;

/// How long a packet takes inside of a home: a switched Ethernet or a good Wi-Fi (chosen).
pub(super) const INSIDE: Duration = Duration::from_micros(500);

impl<H: Host> Shard<H> {
    /// Sends what the host has to send.
    pub(super) fn drain_datagrams(&mut self, net: &Net, id: HostId) {
        loop {
            let slot = self.packets.take();
            let place = &mut self.places[net.place_of(id)];
            let Some(to) = place.host.poll_transmit(self.packets.buffer(slot)) else {
                self.packets.release(slot);
                return;
            };
            let len = self.packets.bytes(slot).len();
            self.counters.sent += 1;
            self.counters.sent_bytes += len as u64;
            let is_sent = if len > net.links.config().mtu_bytes {
                self.counters.too_long += 1;
                false
            } else if let SocketAddr::V4(to) = to {
                self.capture_sent(net, id, to, slot);
                self.send(net, id, to, slot)
            } else {
                self.counters.unroutable += 1;
                false
            };
            if !is_sent {
                self.packets.release(slot);
            }
        }
    }

    fn capture_sent(&mut self, net: &Net, id: HostId, to: SocketAddrV4, slot: u32) {
        if self.capture.is_none() {
            return;
        }
        let own = self.own_addr(net, id);
        if let Some(capture) = capture::of(&mut self.capture, id) {
            capture.datagram(self.now, own.into(), to.into(), self.packets.bytes(slot));
        }
    }

    /// Whether a datagram is on its way.
    fn send(&mut self, net: &Net, id: HostId, to: SocketAddrV4, slot: u32) -> bool {
        let now = self.now;
        let Some(home) = self.place(net, id).home.map(|home| home as usize) else {
            return self.send_out(net, id, Ends { from: net.plan.addr_v4(id), to }, slot);
        };
        let own = inside_addr(self.homes[home].index_of(id));
        if let Some(k) = inside_index(to) {
            return self.send_inside(net, id, k, Ends { from: own, to }, slot);
        }
        let nat = &mut self.homes[home].nat;
        let out = nat.outbound(now, Protocol::Udp, own.into(), to.into());
        let Some(SocketAddr::V4(from)) = out else {
            self.counters.translator_dropped += 1;
            return false;
        };
        let ends = Ends { from, to };
        if net.site_at(to).is_none_or(|site| site.0 != net.site_of(id)) {
            return self.send_out(net, id, ends, slot);
        }
        // It is turned round (RFC 4787, REQ-9).
        let inside = self.translate_in(home, Protocol::Udp, ends);
        match inside.and_then(inside_index) {
            Some(k) => self.send_inside(net, id, k, ends, slot),
            None => false,
        }
    }

    /// Sends to the `k`-th host of the same home; whether there is one.
    fn send_inside(&mut self, net: &Net, id: HostId, k: u32, ends: Ends, slot: u32) -> bool {
        let (at, site) = (self.now + INSIDE, net.site_of(id));
        let place = self.place(net, id);
        let n = place.sent;
        place.sent = n.wrapping_add(2) & !THROUGH;
        let host = place.home.and_then(|home| self.homes[home as usize].host(k));
        let Some(HostId(to)) = host else {
            self.counters.unroutable += 1;
            return false;
        };
        self.packets.set_ends(slot, ends);
        self.push(Event { site, to, at, from: id.0 + FIRST_HOST, n: n | THROUGH, slot });
        true
    }

    /// Sends by the line; whether it is on its way.
    fn send_out(&mut self, net: &Net, id: HostId, ends: Ends, slot: u32) -> bool {
        let (now, len) = (self.now, self.packets.bytes(slot).len() as u64);
        let left = match self.at(net, id).1 {
            Some(lines) => lines.up.datagram(now, len),
            None => Some(now),
        };
        let counters = &mut self.counters;
        let (Some(left), Some(to)) = (left, net.site_at(ends.to)) else {
            *if left.is_none() { &mut counters.queue_full } else { &mut counters.unroutable } += 1;
            return false;
        };
        if net.parted_until(left, id, to).is_some() {
            counters.parted += 1;
            return false;
        }
        self.packets.set_ends(slot, ends);
        self.route(net, id, to, left, slot);
        true
    }

    /// Puts a datagram that leaves its host at `left` on its way.
    fn route(&mut self, net: &Net, from: HostId, to: HostId, left: Time, slot: u32) {
        let place = self.place(net, from);
        // Each copy has a number of its own.
        let n = place.sent;
        place.sent = n.wrapping_add(2) & !THROUGH;
        let fate = net.links.fate(left, from, to, n);
        let event = |at, n| Event { site: to.0, to: to.0, at, from: from.0 + FIRST_HOST, n, slot };
        if let Some(delay) = fate.second {
            self.counters.duplicated += 1;
            self.send_copy(net, event(left + delay, n | 1), false);
        }
        match fate.first {
            Some(delay) => self.send_copy(net, event(left + delay, n), true),
            None => {
                self.counters.lost += 1;
                self.packets.release(slot);
            }
        }
    }

    /// Sends the bytes in the event's slot, or a copy of them.
    fn send_copy(&mut self, net: &Net, event: Event, is_last: bool) {
        let shard = net.shard_of(HostId(event.to));
        if shard == self.index {
            let slot = if is_last { event.slot } else { self.packets.copy(event.slot) };
            self.push(Event { slot, ..event });
            return;
        }
        let mail = &mut self.outgoing[shard];
        let (start, bytes) = (mail.bytes.len(), self.packets.bytes(event.slot));
        let load = Load::Datagram { ends: self.packets.ends(event.slot), start, len: bytes.len() };
        mail.bytes.extend_from_slice(bytes);
        mail.events.push((event, load));
        if is_last {
            self.packets.release(event.slot);
        }
    }

    /// Where inside of a home a packet from outside goes.
    pub(super) fn translate_in(
        &mut self,
        home: usize,
        protocol: Protocol,
        ends: Ends,
    ) -> Option<SocketAddrV4> {
        let nat = &mut self.homes[home].nat;
        let inside = nat.inbound(self.now, protocol, ends.from.into(), ends.to.into());
        if let Some(SocketAddr::V4(inside)) = inside {
            return Some(inside);
        }
        self.counters.translator_dropped += 1;
        None
    }

    /// Takes a datagram that is at its host's site through translator and line. Where it is then:
    /// `None` if it is lost or later.
    fn arrive(&mut self, net: &Net, event: Event) -> Option<HostId> {
        if event.n & THROUGH != 0 {
            return Some(HostId(event.to));
        }
        let (now, mut to) = (event.at, HostId(event.to));
        if let Some(home) = self.place(net, to).home {
            let ends = self.packets.ends(event.slot);
            let inside = self.translate_in(home as usize, Protocol::Udp, ends);
            let Some(host) =
                inside.and_then(inside_index).and_then(|k| self.homes[home as usize].host(k))
            else {
                self.packets.release(event.slot);
                return None;
            };
            to = host;
        }
        let len = self.packets.bytes(event.slot).len() as u64;
        let at = match self.at(net, to).1 {
            Some(lines) => lines.down.datagram(now, len),
            None => Some(now),
        };
        match at {
            Some(at) if at > now => {
                self.push(Event { at, to: to.0, n: event.n | THROUGH, ..event });
                None
            }
            Some(_) => Some(to),
            None => {
                self.counters.queue_full += 1;
                self.packets.release(event.slot);
                None
            }
        }
    }

    /// A datagram is at its host's site. Returns the host that got it.
    pub(super) fn on_datagram(&mut self, net: &Net, event: Event) -> Option<HostId> {
        let to = self.arrive(net, event)?;
        let now = event.at;
        let own = self.capture.is_some().then(|| self.own_addr(net, to));
        let place = &mut self.places[net.place_of(to)];
        let is_there = place.is_on(now);
        if is_there {
            let bytes = self.packets.bytes(event.slot);
            self.counters.delivered += 1;
            place.trace.add(now, event.from, bytes);
            let from = self.packets.ends(event.slot).from;
            if let (Some(own), Some(capture)) = (own, capture::of(&mut self.capture, to)) {
                capture.datagram(now, from.into(), own.into(), bytes);
            }
            place.host.handle_datagram(place.local(now), from.into(), bytes);
        } else {
            self.counters.unroutable += 1;
        }
        self.packets.release(event.slot);
        is_there.then_some(to)
    }
}
