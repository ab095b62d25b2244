//! A share of a world's hosts, with all that is under way to them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::net::SocketAddrV4;
use std::time::Duration;

use wire::time::Time;

use super::home::Home;
use super::net::{Net, inside_addr};
use super::streams::STREAM;
use super::{COMMAND, Counters, Order, TIMER, Violation};
use crate::capture::Capture;
use crate::edge::{Access, Edge, Lines};
use crate::host::{Host, HostId};
use crate::packets::{Ends, Packets};
use crate::queue::{Event, Windows};
use crate::slots::Slots;
use crate::stream::Message;
use crate::trace::Trace;

/// A host that asks again and again for a timeout at one moment is broken.
const TIMEOUTS_IN_A_ROW_MAX: u32 = 1_000;

/// Events whose hosts are brought into the cache together: a core waits for about ten reads at a time.
const TOUCHED_AT_ONCE: usize = 8;

/// A host and what the world keeps for it.
#[derive(Debug)]
pub(super) struct Place<H> {
    pub(super) alive: bool,
    /// Until when it sleeps.
    asleep_until: Time,
    /// How far its clock is ahead, in microseconds.
    ahead_us: i64,
    /// Its line and its home among those of its shard.
    pub(super) line: Option<u32>,
    pub(super) home: Option<u32>,
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
    /// Of hosts that have streams.
    pub(super) edge: Option<Box<Edge>>,
}

impl<H> Place<H> {
    pub(super) fn new(host: H, home: Option<u32>) -> Place<H> {
        Place {
            alive: true,
            asleep_until: Time::ZERO,
            ahead_us: 0,
            line: None,
            home,
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

    /// Another program takes its place; what it had open is gone.
    pub(super) fn restart(&mut self, host: H) {
        (*self.host, self.edge) = (host, None);
        (self.alive, self.armed, self.in_a_row) = (true, None, 0);
    }

    /// Whether it hears anything.
    pub(super) fn is_on(&self, now: Time) -> bool {
        self.alive && self.asleep_until <= now
    }

    /// What its clock says at `now`.
    pub(super) fn local(&self, now: Time) -> Time {
        Time::from_micros(now.as_micros().saturating_add_signed(self.ahead_us))
    }

    /// When its clock says `local`.
    fn global(&self, local: Time) -> Time {
        Time::from_micros(local.as_micros().saturating_add_signed(-self.ahead_us))
    }
}

/// What an event carries from one shard to another.
#[derive(Debug)]
pub(super) enum Load {
    /// A datagram: where its bytes stand in the mail.
    Datagram { ends: Ends, start: usize, len: usize },
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
    pub(super) lines: Vec<Lines>,
    pub(super) homes: Vec<Home>,
    pub(super) packets: Packets,
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
    /// The first that a host did and never may.
    pub(super) violation: Option<Violation>,
    pub(super) descriptions: Vec<(Time, HostId, String)>,
    /// Of one of its hosts.
    pub(super) capture: Option<Box<Capture>>,
}

impl<H: Host> Shard<H> {
    pub(super) fn new(index: usize, shards: usize, shortest: Duration) -> Shard<H> {
        Shard {
            index,
            now: Time::ZERO,
            places: Vec::new(),
            queue: Windows::new(shortest),
            lines: Vec::new(),
            homes: Vec::new(),
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
            violation: None,
            descriptions: Vec::new(),
            capture: None,
        }
    }

    pub(super) fn place(&mut self, net: &Net, id: HostId) -> &mut Place<H> {
        &mut self.places[net.place_of(id)]
    }

    /// The address that a host has itself.
    pub(super) fn own_addr(&self, net: &Net, id: HostId) -> SocketAddrV4 {
        match self.places[net.place_of(id)].home {
            Some(home) => inside_addr(self.homes[home as usize].index_of(id)),
            None => net.plan.addr_v4(id),
        }
    }

    /// A host and its line.
    pub(super) fn at(&mut self, net: &Net, id: HostId) -> (&mut Place<H>, Option<&mut Lines>) {
        let place = &mut self.places[net.place_of(id)];
        let lines = place.line.map(|line| &mut self.lines[line as usize]);
        (place, lines)
    }

    /// Gives hosts a line that they share.
    pub(super) fn set_access(&mut self, net: &Net, hosts: &[HostId], access: Access) {
        let line = self.lines.len() as u32;
        self.lines.push(Lines::new(access));
        hosts.iter().for_each(|host| self.place(net, *host).line = Some(line));
    }

    /// Works off what happens in `window` up to `end`, one site after the other: each sees its own
    /// events in their order, and what it sends arrives after the window.
    pub(super) fn run_window(&mut self, net: &Net, window: u64, end: Time) {
        let mut batch = std::mem::take(&mut self.batch);
        self.queue.take(window, end, &mut batch);
        batch.sort_unstable();
        self.end = end.min(self.queue.last_of(window));
        let (mut next, mut touched) = (0, 0);
        while let Some(&first) = batch.get(next) {
            if next >= touched {
                touched = (next + TOUCHED_AT_ONCE).min(batch.len());
                black_box(self.touch(net, &batch[next..touched]));
            }
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

    /// Brings what some events will read into the cache.
    fn touch(&self, net: &Net, events: &[Event]) -> usize {
        let seats = events.iter().map(|event| net.place_of(HostId(event.to))).sum::<usize>();
        let places = || events.iter().map(|event| &self.places[net.place_of(HostId(event.to))]);
        let packets = || events.iter().filter(|e| e.from > COMMAND && e.from & STREAM == 0);
        let mut sum = seats + places().filter(|place| place.alive).count();
        sum += packets().map(|event| self.packets.bytes(event.slot).len()).sum::<usize>();
        sum += packets().map(|event| self.packets.touch(event.slot)).sum::<usize>();
        for step in 0..3 {
            sum += places().map(|place| place.host.touch(step)).sum::<usize>();
        }
        sum
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
                Load::Datagram { ends, start, len } => {
                    self.packets.put(ends, &mail.bytes[start..start + len])
                }
                Load::Message(message) => self.messages.put(message),
            };
            self.queue.push(Event { slot, ..event });
        }
        mail.bytes.clear();
    }

    fn dispatch(&mut self, net: &Net, event: Event) {
        self.now = event.at;
        let awake_at = self.place(net, HostId(event.to)).asleep_until;
        let is_worked = |worked: bool| worked.then_some(HostId(event.to));
        let worked = match event.from {
            COMMAND => is_worked(self.on_order(net, event)),
            // A datagram that finds it asleep is lost; all else waits.
            from if awake_at > event.at && (from == TIMER || from & STREAM != 0) => {
                self.push(Event { at: awake_at, ..event });
                None
            }
            TIMER => is_worked(self.on_timer(net, event)),
            from if from & STREAM != 0 => self.on_message(net, event),
            _ => self.on_datagram(net, event),
        };
        if let Some(host) = worked {
            self.counters.events += 1;
            self.drain(net, host);
        }
    }

    /// Returns whether the host was woken.
    fn on_timer(&mut self, net: &Net, event: Event) -> bool {
        let (now, id) = (event.at, HostId(event.to));
        let place = self.place(net, id);
        if place.armed.is_none_or(|armed| armed > now) || !place.alive {
            return false;
        }
        place.armed = None;
        // The deadline may have moved on since.
        let local = place.local(now);
        if place.host.poll_timeout().is_none_or(|due| due > local) {
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
        place.host.handle_timeout(local);
        self.counters.timeouts += 1;
        true
    }

    /// Returns whether the host is to be drained.
    fn on_order(&mut self, net: &Net, event: Event) -> bool {
        let (now, id) = (event.at, HostId(event.to));
        let Some(order) = self.orders.take(event.slot) else { return false };
        let place = self.place(net, id);
        match order {
            Order::Command(command) if place.alive && place.asleep_until > now => {
                let (at, command) = (place.asleep_until, Order::Command(command));
                let slot = self.orders.put(command);
                self.push(Event { at, slot, ..event });
            }
            Order::Command(command) if place.alive => {
                place.trace.add(now, COMMAND, b"");
                place.host.handle_command(place.local(now), command);
                return true;
            }
            Order::Command(_) => {}
            Order::Stop => place.alive = false,
            Order::Sleep(span) => {
                place.trace.add(now, COMMAND, b"sleep");
                place.asleep_until = place.asleep_until.max(now + span);
            }
            Order::ShiftClock(us) => {
                place.trace.add(now, COMMAND, b"clock");
                place.ahead_us = place.ahead_us.saturating_add(us);
                self.arm(net, id);
            }
            Order::RestartNat => self.restart_nat(net, id),
            Order::Describe => {
                let text = place.host.describe();
                self.descriptions.push((now, id, text));
            }
        }
        false
    }

    /// Sends what the host has to send, and sets its timer.
    fn drain(&mut self, net: &Net, id: HostId) {
        self.drain_streams(net, id);
        self.drain_datagrams(net, id);
        let now = self.now;
        let place = self.place(net, id);
        place.host.end_turn(place.local(now));
        if let Some(what) = place.host.violation() {
            let violation = Violation { at: now, host: id, what: what.to_owned() };
            if self.violation.as_ref().is_none_or(|first| violation < *first) {
                self.violation = Some(violation);
            }
        }
        self.arm(net, id);
    }

    /// Queues a timer, unless an earlier one is queued: that one will see the deadline.
    pub(super) fn arm(&mut self, net: &Net, id: HostId) {
        let now = self.now;
        let site = net.site_of(id);
        let place = self.place(net, id);
        let Some(due) = place.host.poll_timeout() else { return };
        let at = place.global(due).max(now);
        if at > now {
            place.in_a_row = 0;
        }
        if place.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        place.armed = Some(at);
        self.push(Event { site, to: id.0, at, from: TIMER, n: 0, slot: 0 });
    }

    /// Datagrams under way.
    #[cfg(test)]
    pub(super) fn packets_in_use(&self) -> usize {
        self.packets.in_use()
    }
}
