//! A share of a world's hosts, with all that is under way to them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use wire::time::Time;

use super::net::Net;
use super::streams::STREAM;
use super::{COMMAND, Counters, FIRST_HOST, Order, TIMER};
use crate::edge::Edge;
use crate::host::{Host, HostId};
use crate::packets::Packets;
use crate::queue::{Event, Windows};
use crate::slots::Slots;
use crate::stream::Message;
use crate::trace::Trace;

/// A host that asks again and again for a timeout at one moment is broken.
const TIMEOUTS_IN_A_ROW_MAX: u32 = 1_000;

/// A host and what the world keeps for it.
#[derive(Debug)]
pub(super) struct Place<H> {
    pub(super) alive: bool,
    /// Datagrams and commands that it sent or was sent, to tell them apart.
    pub(super) sent: u32,
    pub(super) commands: u32,
    /// Timeouts one after the other at this moment.
    in_a_row: u32,
    /// The time of the queued timer that counts.
    armed: Option<Time>,
    pub(super) trace: Trace,
    /// Boxed, so that a world of many hosts is not copied when it grows.
    pub(super) host: Box<H>,
    /// Of hosts that have a line or streams.
    pub(super) edge: Option<Box<Edge>>,
}

impl<H> Place<H> {
    pub(super) fn new(host: H) -> Place<H> {
        Place {
            alive: true,
            sent: 0,
            commands: 0,
            in_a_row: 0,
            armed: None,
            trace: Trace::default(),
            host: Box::new(host),
            edge: None,
        }
    }

    pub(super) fn edge(&mut self) -> &mut Edge {
        self.edge.get_or_insert_default()
    }
}

/// What an event carries from one shard to another.
#[derive(Debug)]
pub(super) enum Load {
    /// A datagram: where its bytes stand in the mail.
    Datagram { start: usize, len: usize },
    /// What concerns a stream.
    Message(Message),
}

/// Events for the hosts of another shard.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) events: Vec<(Event, Load)>,
    pub(super) bytes: Vec<u8>,
}

/// A share of the hosts.
pub(super) struct Shard<H: Host> {
    pub(super) index: usize,
    pub(super) now: Time,
    pub(super) places: Vec<Place<H>>,
    pub(super) queue: Windows,
    packets: Packets,
    pub(super) orders: Slots<Order<H::Command>>,
    pub(super) messages: Slots<Message>,
    pub(super) counters: Counters,
    /// For each other shard, what goes there after this window.
    pub(super) outgoing: Vec<Mail>,
    /// The window's events, and those of the site at hand that it gave itself meanwhile.
    batch: Vec<Event>,
    local: BinaryHeap<Reverse<Event>>,
    site: u32,
    /// The last moment that is worked off.
    end: Time,
    /// Kept for its room.
    pub(super) scratch: Vec<u8>,
}

impl<H: Host> Shard<H> {
    pub(super) fn new(index: usize, shards: usize, shortest: Duration) -> Shard<H> {
        Shard {
            index,
            now: Time::ZERO,
            places: Vec::new(),
            queue: Windows::new(shortest),
            packets: Packets::default(),
            orders: Slots::default(),
            messages: Slots::default(),
            counters: Counters::default(),
            outgoing: (0..shards).map(|_| Mail::default()).collect(),
            batch: Vec::new(),
            local: BinaryHeap::new(),
            site: u32::MAX,
            end: Time::ZERO,
            scratch: Vec::new(),
        }
    }

    pub(super) fn place(&mut self, net: &Net, id: HostId) -> &mut Place<H> {
        &mut self.places[net.place_of(id)]
    }

    /// Works off what happens in `window` up to `end`, one site after the other: each sees its own
    /// events in their order, and what it sends arrives after the window.
    pub(super) fn run_window(&mut self, net: &Net, window: u64, end: Time) {
        let mut batch = std::mem::take(&mut self.batch);
        self.queue.take(window, end, &mut batch);
        batch.sort_unstable();
        self.end = end.min(self.queue.last_of(window));
        let mut next = 0;
        while let Some(&first) = batch.get(next) {
            self.site = first.site;
            loop {
                let given = batch.get(next).filter(|event| event.site == first.site);
                let own = self.local.peek().map(|Reverse(event)| event);
                match (given, own) {
                    (Some(given), own) if own.is_none_or(|own| given <= own) => {
                        let event = *given;
                        next += 1;
                        self.dispatch(net, event);
                    }
                    (_, Some(_)) => {
                        if let Some(Reverse(event)) = self.local.pop() {
                            self.dispatch(net, event);
                        }
                    }
                    _ => break,
                }
            }
        }
        self.site = u32::MAX;
        batch.clear();
        self.batch = batch;
    }

    /// Puts an event for a host of this shard where it will be found.
    pub(super) fn push(&mut self, event: Event) {
        if event.site == self.site && event.at <= self.end {
            self.local.push(Reverse(event));
        } else {
            debug_assert!(self.site == u32::MAX || event.site == self.site || event.at > self.end);
            self.queue.push(event);
        }
    }

    /// Takes what others sent here.
    pub(super) fn take_mail(&mut self, mail: &mut Mail) {
        for (event, load) in mail.events.drain(..) {
            let slot = match load {
                Load::Datagram { start, len } => {
                    let slot = self.packets.take();
                    let buffer = self.packets.buffer(slot);
                    buffer.clear();
                    buffer.extend_from_slice(&mail.bytes[start..start + len]);
                    slot
                }
                Load::Message(message) => self.messages.put(message),
            };
            self.queue.push(Event { slot, ..event });
        }
        mail.bytes.clear();
    }

    fn dispatch(&mut self, net: &Net, event: Event) {
        self.now = event.at;
        let worked = match event.from {
            TIMER => self.on_timer(net, event),
            COMMAND => self.on_order(net, event),
            from if from & STREAM != 0 => self.on_message(net, event),
            _ => self.on_datagram(net, event),
        };
        if worked {
            self.counters.events += 1;
            self.drain(net, HostId(event.to));
        }
    }

    /// Returns whether the host was woken.
    fn on_timer(&mut self, net: &Net, event: Event) -> bool {
        let (now, id) = (event.at, HostId(event.to));
        let place = self.place(net, id);
        if place.armed != Some(now) || !place.alive {
            return false;
        }
        place.armed = None;
        // The deadline may have moved on since.
        if place.host.poll_timeout().is_none_or(|due| due > now) {
            self.arm(net, id);
            return false;
        }
        place.in_a_row += 1;
        assert!(
            place.in_a_row < TIMEOUTS_IN_A_ROW_MAX,
            "host {} asks for a timeout at {now} again and again",
            event.to
        );
        place.trace.add(now, TIMER, b"");
        place.host.handle_timeout(now);
        self.counters.timeouts += 1;
        true
    }

    /// Returns whether the host heard it.
    fn on_order(&mut self, net: &Net, event: Event) -> bool {
        let Some(order) = self.orders.take(event.slot) else { return false };
        let place = self.place(net, HostId(event.to));
        match order {
            Order::Command(command) if place.alive => {
                place.trace.add(event.at, COMMAND, b"");
                place.host.handle_command(event.at, command);
                true
            }
            Order::Stop => {
                place.alive = false;
                false
            }
            Order::Command(_) => false,
        }
    }

    /// Returns whether the host got it.
    fn on_datagram(&mut self, net: &Net, event: Event) -> bool {
        let now = event.at;
        let place = &mut self.places[net.place_of(HostId(event.to))];
        if !place.alive {
            self.counters.unroutable += 1;
            self.packets.release(event.slot);
            return false;
        }
        let bytes = self.packets.bytes(event.slot);
        // What has come through the downlink already is not put into it again.
        if event.n & THROUGH == 0
            && let Some(edge) = &mut place.edge
        {
            match edge.receive_datagram(now, bytes.len() as u64) {
                Some(at) if at > now => {
                    self.push(Event { at, n: event.n | THROUGH, ..event });
                    return false;
                }
                Some(_) => {}
                None => {
                    self.counters.queue_full += 1;
                    self.packets.release(event.slot);
                    return false;
                }
            }
        }
        self.counters.delivered += 1;
        place.trace.add(now, event.from, bytes);
        let from = net.plan.addr(HostId(event.from - FIRST_HOST));
        place.host.handle_datagram(now, from, bytes);
        self.packets.release(event.slot);
        true
    }

    /// Sends what the host has to send, and sets its timer.
    pub(super) fn drain(&mut self, net: &Net, id: HostId) {
        self.drain_streams(net, id);
        loop {
            let slot = self.packets.take();
            let place = &mut self.places[net.place_of(id)];
            let Some(to) = place.host.poll_transmit(self.packets.buffer(slot)) else {
                self.packets.release(slot);
                break;
            };
            let len = self.packets.bytes(slot).len();
            self.counters.sent += 1;
            self.counters.sent_bytes += len as u64;
            let left = match &mut place.edge {
                Some(edge) => edge.send_datagram(self.now, len as u64),
                None => Some(self.now),
            };
            match (net.host_at(&to), left) {
                (_, None) => self.counters.queue_full += 1,
                _ if len > net.links.config().mtu_bytes => self.counters.too_long += 1,
                (None, _) => self.counters.unroutable += 1,
                (Some(to), Some(left)) => {
                    self.route(net, id, to, left, slot);
                    continue;
                }
            }
            self.packets.release(slot);
        }
        let now = self.now;
        self.place(net, id).host.end_turn(now);
        self.arm(net, id);
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
        mail.bytes.extend_from_slice(bytes);
        mail.events.push((event, Load::Datagram { start, len: bytes.len() }));
        if is_last {
            self.packets.release(event.slot);
        }
    }

    /// Queues a timer, unless an earlier one is queued: that one will see the deadline.
    pub(super) fn arm(&mut self, net: &Net, id: HostId) {
        let now = self.now;
        let place = self.place(net, id);
        let Some(due) = place.host.poll_timeout() else { return };
        let at = due.max(now);
        if at > now {
            place.in_a_row = 0;
        }
        if place.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        place.armed = Some(at);
        self.push(Event { site: id.0, to: id.0, at, from: TIMER, n: 0, slot: 0 });
    }

    /// Datagrams under way.
    #[cfg(test)]
    pub(super) fn packets_in_use(&self) -> usize {
        self.packets.in_use()
    }
}

/// Set in the count of a datagram that has come through its receiver's downlink.
const THROUGH: u32 = 1 << 31;
