//! Streams between hosts: dials, runs in order, bandwidth and windows.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use client::ConnId;
use wire::time::Time;

use super::FIRST_HOST;
use super::datagrams::INSIDE;
use super::net::{Net, inside_addr, inside_index};
use super::shard::{Load, Shard};
use crate::capture;
use crate::host::{Host, HostId};
use crate::line::SEGMENT;
use crate::nat::Protocol;
use crate::packets::Ends;
use crate::queue::Event;
use crate::stream::{Message, StreamAction, StreamEvent};

/// Set in an event's sender if it is about a stream.
pub(super) const STREAM: u32 = 1 << 31;

/// The first wait for an acknowledgement, which doubles each time (RFC 6298, 2.1 and 5.5).
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Waits after which a stream is tried no more within a run of the world: 18 hours.
const RETRANSMITS_MAX: u32 = 16;

impl<H: Host> Shard<H> {
    /// Puts a message on its way: it is there at `at`.
    fn post(&mut self, net: &Net, at: Time, from: HostId, to: HostId, message: Message) {
        let place = self.place(net, from);
        let n = place.sent;
        place.sent = n.wrapping_add(2) & !STREAM;
        let from = (from.0 + FIRST_HOST) | STREAM;
        let event = Event { site: net.site_of(to), to: to.0, at, from, n, slot: 0 };
        let shard = net.shard_of(to);
        if shard == self.index {
            let slot = self.messages.put(message);
            self.push(Event { slot, ..event });
        } else {
            self.outgoing[shard].events.push((event, Load::Message(message)));
        }
    }

    /// Sends a message that takes no bandwidth to speak of.
    fn tell(&mut self, net: &Net, from: HostId, to: HostId, message: Message) {
        let at = passes(net, self.now, from, to) + latency(net, from, to);
        self.post(net, at, from, to, message);
    }

    /// Does what streams of a host have to do, until it asks for nothing more.
    pub(super) fn drain_streams(&mut self, net: &Net, id: HostId) {
        loop {
            let now = self.now;
            let (place, lines) = self.at(net, id);
            if let Some(action) = place.host.poll_stream() {
                self.on_action(net, id, action);
                continue;
            }
            let local = place.local(now);
            let Some(edge) = &mut place.edge else { return };
            let Some(conn) = edge.next(now, lines.as_deref()) else { break };
            let Some(chunk) = place.host.poll_chunk(local, conn) else { continue };
            let Some(end) = edge.end(conn) else { continue };
            let (peer, is_severed) = (end.peer, end.severed);
            let Some(to) = end.peer_conn else { continue };
            let len = chunk.wire_len();
            let sent = edge.send(now, lines, conn, len);
            self.counters.chunks += 1;
            self.counters.chunk_bytes += len;
            if let Some(capture) = capture::of(&mut self.capture, id) {
                capture.sent(now, conn, &chunk);
            }
            if is_severed {
                continue;
            }
            let latency = latency(net, id, peer);
            let place = self.place(net, id);
            let lost = loses(net, sent.last, id, peer, place.sent, len).then_some(2 * latency);
            let at = passes(net, sent.last, id, peer) + latency;
            let at = place.edge().arrival(conn, at, lost);
            self.post(net, at, id, peer, Message::Data { to, chunk, lead: sent.lead });
        }
        let now = self.now;
        let (place, lines) = self.at(net, id);
        if let Some(at) = place.edge().set_timer(lines.as_deref()) {
            self.post(net, at.max(now), id, id, Message::UplinkFree);
        }
    }

    fn on_action(&mut self, net: &Net, id: HostId, action: StreamAction) {
        let now = self.now;
        match action {
            StreamAction::Flush(conn) => self.place(net, id).edge().flush(conn),
            StreamAction::Dial(dialer, SocketAddr::V4(to)) => self.dial(net, id, dialer, to),
            StreamAction::Dial(..) => {}
            StreamAction::Close(conn) => {
                if let Some(capture) = capture::of(&mut self.capture, id) {
                    capture.closed(now, conn);
                }
                let edge = self.place(net, id).edge();
                let Some(end) = edge.end(conn) else { return };
                let (peer, to) = (end.peer, end.peer_conn.filter(|_| !end.severed));
                // After what was sent before it.
                let at = passes(net, now, id, peer) + latency(net, id, peer);
                let at = edge.arrival(conn, at, None);
                edge.close(conn);
                if let Some(to) = to {
                    self.post(net, at, id, peer, Message::Fin { to });
                }
            }
        }
    }

    /// Dials; where nobody is, or the translator has no room, the dialer waits in vain.
    fn dial(&mut self, net: &Net, id: HostId, dialer: ConnId, to: SocketAddrV4) {
        let home = self.place(net, id).home.map(|home| home as usize);
        let own = self.own_addr(net, id);
        if let Some(capture) = capture::of(&mut self.capture, id) {
            capture.dial(self.now, dialer, capture::dial_from(own, dialer), to);
        }
        let mut from = net.plan.addr_v4(id);
        let mut peer = net.site_at(to);
        if let Some(home) = home {
            from = inside_addr(self.homes[home].index_of(id));
            match inside_index(to) {
                Some(k) => peer = self.homes[home].host(k),
                None => {
                    let nat = &mut self.homes[home].nat;
                    let out = nat.outbound(self.now, Protocol::Tcp, from.into(), to.into());
                    let Some(SocketAddr::V4(out)) = out else {
                        self.counters.translator_dropped += 1;
                        return;
                    };
                    from = out;
                }
            }
        }
        let Some(peer) = peer else { return };
        self.place(net, id).edge().open(dialer, peer, None);
        self.tell(net, id, peer, Message::Syn { dialer, ends: Ends { from, to } });
    }

    /// A message is at a host's edge. Returns the host that is to be drained.
    pub(super) fn on_message(&mut self, net: &Net, event: Event) -> Option<HostId> {
        let id = HostId(event.to);
        let from = HostId((event.from & !STREAM) - FIRST_HOST);
        let message = self.messages.take(event.slot)?;
        let now = self.now;
        if let Message::Syn { dialer, ends } = message {
            return self.on_syn(net, id, from, dialer, ends);
        }
        let (place, lines) = self.at(net, id);
        if !place.alive {
            return None;
        }
        match message {
            Message::Syn { .. } => return None,
            Message::SynAck { to, acceptor } => {
                if place.edge().connected(to, from, acceptor) {
                    if let Some(capture) = capture::of(&mut self.capture, id) {
                        capture.connected(now, to);
                    }
                    self.give(net, id, from, to, StreamEvent::Connected);
                } else {
                    // It was given up meanwhile.
                    self.tell(net, id, from, Message::Fin { to: acceptor });
                }
            }
            Message::Data { to, chunk, lead } => {
                let len = chunk.wire_len();
                let at = lines.map_or(now, |lines| lines.receive(now, lead, len));
                self.post(net, at, id, id, Message::Through { to, chunk });
                return None;
            }
            Message::Fin { to } => {
                // What was sent before it goes through the downlink first.
                let at = lines.map_or(now, |lines| lines.received(now));
                self.post(net, at, id, id, Message::End { to });
                return None;
            }
            Message::Ack { to, len } => {
                place.edge().acked(to, len);
                if let Some(capture) = capture::of(&mut self.capture, id) {
                    capture.acked(now, to, len);
                }
            }
            Message::Through { to, chunk } => {
                let end = place.edge().end(to).filter(|end| !end.severed)?;
                let (peer, peer_conn) = (end.peer, end.peer_conn?);
                let len = chunk.wire_len();
                if let Some(capture) = capture::of(&mut self.capture, id) {
                    capture.received(now, to, &chunk);
                }
                self.tell(net, id, peer, Message::Ack { to: peer_conn, len });
                self.give(net, id, peer, to, StreamEvent::Chunk(chunk));
            }
            Message::End { to } => {
                let end = place.edge().end(to).filter(|end| !end.severed)?;
                let peer = end.peer;
                place.edge().close(to);
                if let Some(capture) = capture::of(&mut self.capture, id) {
                    capture.ended(now, to);
                }
                self.give(net, id, peer, to, StreamEvent::Closed);
            }
            Message::UplinkFree => place.edge().timer_fired(),
        }
        Some(id)
    }

    /// A dial is at a site. Returns the host that is to be drained.
    fn on_syn(
        &mut self,
        net: &Net,
        site: HostId,
        from: HostId,
        dialer: ConnId,
        ends: Ends,
    ) -> Option<HostId> {
        let mut id = site;
        if let Some(home) = self.place(net, site).home
            && inside_index(ends.to).is_none()
        {
            let inside = self.translate_in(home as usize, Protocol::Tcp, ends)?;
            id = self.homes[home as usize].host(inside_index(inside)?)?;
        }
        let now = self.now;
        let place = self.place(net, id);
        if !place.is_on(now) {
            return None;
        }
        let taken = place.host.accept(place.local(now), ends.from.into());
        let own = self.own_addr(net, id);
        if let Some(capture) = capture::of(&mut self.capture, id) {
            capture.incoming(now, taken, own, capture::dial_from(ends.from, dialer));
        }
        match taken {
            Some(acceptor) => {
                self.place(net, id).edge().open(acceptor, from, Some(dialer));
                self.tell(net, id, from, Message::SynAck { to: dialer, acceptor });
            }
            None => self.tell(net, id, from, Message::Fin { to: dialer }),
        }
        Some(id)
    }

    /// Tells a host what happened to its stream, and the trace.
    fn give(&mut self, net: &Net, id: HostId, from: HostId, conn: ConnId, event: StreamEvent) {
        let now = self.now;
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        match &event {
            StreamEvent::Chunk(chunk) => chunk.fingerprint(&mut bytes),
            StreamEvent::Connected => bytes.push(b'+'),
            StreamEvent::Closed => bytes.push(b'-'),
        }
        let place = self.place(net, id);
        place.trace.add(now, (from.0 + FIRST_HOST) | STREAM, &bytes);
        place.host.handle_stream(place.local(now), conn, event);
        self.scratch = bytes;
    }
}

/// How long the way between two hosts is, of one home or not.
fn latency(net: &Net, from: HostId, to: HostId) -> Duration {
    let is_inside = net.site_of(from) == net.site_of(to);
    if is_inside { INSIDE } else { net.links.latency(from, to) }
}

/// When what is sent at `at` passes: now, or if the network is parted, when it is sent again after it
/// has healed.
fn passes(net: &Net, at: Time, from: HostId, to: HostId) -> Time {
    let again = |tries: u32| at + RETRANSMIT * ((1 << tries) - 1);
    (0..RETRANSMITS_MAX)
        .map(again)
        .find(|at| net.parted_until(*at, from, to).is_none())
        .unwrap_or(again(RETRANSMITS_MAX))
}

/// Whether a packet of the sender's `n`-th run is lost at first.
fn loses(net: &Net, at: Time, from: HostId, to: HostId, n: u32, len: u64) -> bool {
    let packet = |k| STREAM | n.wrapping_mul(16).wrapping_add(k);
    let packets = len.div_ceil(SEGMENT) as u32;
    net.links.is_lossy()
        && (0..packets).any(|k| net.links.fate(at, from, to, packet(k)).first.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Chunk;
    use crate::{Access, LinkConfig, World};
    use std::net::SocketAddr;
    use std::time::Duration;
    use wire::rng::seed_from_u64;

    /// Takes connections unless told not to, sends what it is told to, and notes what it hears.
    #[derive(Default)]
    struct Talker {
        refuses: bool,
        next: u64,
        actions: Vec<StreamAction>,
        /// Chunks of 1,000 bytes that it has still to send on each stream, and bytes polled.
        to_send: std::collections::BTreeMap<ConnId, u32>,
        polled: u64,
        heard: Vec<(Time, ConnId, StreamEvent)>,
    }

    enum Say {
        /// Dial, and send so many chunks once connected.
        Dial(SocketAddr, u32),
        Close(ConnId),
    }

    impl Talker {
        fn name(&mut self) -> ConnId {
            self.next += 1;
            ConnId::new(self.next)
        }
    }

    impl Host for Talker {
        type Command = Say;

        fn handle_command(&mut self, _: Time, command: Say) {
            match command {
                Say::Dial(addr, chunks) => {
                    let conn = self.name();
                    self.to_send.insert(conn, chunks);
                    self.actions.push(StreamAction::Dial(conn, addr));
                }
                Say::Close(conn) => self.actions.push(StreamAction::Close(conn)),
            }
        }

        fn handle_datagram(&mut self, _: Time, _: SocketAddr, _: &[u8]) {}

        fn handle_timeout(&mut self, _: Time) {}

        fn poll_transmit(&mut self, _: &mut Vec<u8>) -> Option<SocketAddr> {
            None
        }

        fn poll_timeout(&self) -> Option<Time> {
            None
        }

        fn accept(&mut self, _: Time, _: SocketAddr) -> Option<ConnId> {
            (!self.refuses).then(|| self.name())
        }

        fn handle_stream(&mut self, now: Time, conn: ConnId, event: StreamEvent) {
            if event == StreamEvent::Connected {
                self.actions.push(StreamAction::Flush(conn));
            }
            self.heard.push((now, conn, event));
        }

        fn poll_stream(&mut self) -> Option<StreamAction> {
            self.actions.pop()
        }

        fn poll_chunk(&mut self, _: Time, conn: ConnId) -> Option<Chunk> {
            let left = self.to_send.get_mut(&conn).filter(|left| **left > 0)?;
            *left -= 1;
            self.polled += 1_000;
            Some(Chunk::Bytes(vec![*left as u8; 1_000]))
        }

        fn end_turn(&mut self, _: Time) {}
    }

    fn world(hosts: u32) -> World<Talker> {
        let mut world = World::new(LinkConfig::default(), &seed_from_u64(1));
        for _ in 0..hosts {
            let id = world.add_host(Talker::default());
            let access = Access {
                up_bytes_per_second: 100_000,
                down_bytes_per_second: 1_000_000,
                ..Access::default()
            };
            world.set_access(id, access);
        }
        world
    }

    fn dial(world: &mut World<Talker>, from: u32, to: u32, chunks: u32) {
        let addr = world.addresses().addr(HostId(to));
        world.command(Time::ZERO, HostId(from), Say::Dial(addr, chunks));
    }

    /// When each chunk was heard, and its first byte.
    fn chunks(world: &World<Talker>, host: u32) -> Vec<(Time, u8)> {
        let first = |(at, _, event): &(Time, ConnId, StreamEvent)| match event {
            StreamEvent::Chunk(Chunk::Bytes(bytes)) => Some((*at, bytes[0])),
            _ => None,
        };
        world.host(HostId(host)).heard.iter().filter_map(first).collect()
    }

    #[test]
    fn a_stream_arrives_in_order_at_the_speed_of_the_slower_line() {
        let mut world = world(2);
        dial(&mut world, 0, 1, 25_000);
        world.run_until(Time::from_secs(300));
        let latency = world.net.links.latency(HostId(0), HostId(1));
        let heard = chunks(&world, 1);
        assert!(heard.iter().map(|(_, n)| *n).eq((0..25_000u32).rev().map(|n| n as u8)));
        // Dial and answer, 25 MB and as many headers at 100 kB/s, the way there, and a packet at 1 MB/s.
        let bound = latency * 3 + Duration::from_millis(260_001);
        let took = heard.last().unwrap().0.since(Time::ZERO);
        assert!(took >= bound && took < bound.mul_f64(1.005), "{took:?}, bound {bound:?}");
        assert_eq!((world.counters().chunks, world.counters().chunk_bytes), (25_000, 25_000_000));
    }

    #[test]
    fn streams_of_a_host_share_its_line_by_turns() {
        let mut world = world(3);
        dial(&mut world, 0, 1, 40);
        dial(&mut world, 0, 2, 40);
        world.run_until(Time::from_secs(10));
        let last = |host| chunks(&world, host).last().map(|(at, _)| at.as_micros()).unwrap();
        // Both end near the end of 80 kB at 100 kB/s, neither after half of it.
        for host in [1, 2] {
            assert!((700_000..1_300_000).contains(&last(host)), "{}", last(host));
        }
    }

    #[test]
    fn an_end_comes_after_what_was_sent_before_it() {
        let mut world = world(2);
        dial(&mut world, 0, 1, 50);
        world.command(Time::from_secs(5), HostId(0), Say::Close(ConnId::new(1)));
        world.run_until(Time::from_secs(10));
        let heard = &world.host(HostId(1)).heard;
        assert_eq!(chunks(&world, 1).len(), 50);
        assert_eq!(heard.last().map(|(_, _, event)| event), Some(&StreamEvent::Closed));
    }

    #[test]
    fn a_dial_that_is_refused_is_told_and_one_to_nobody_is_not() {
        let mut world = world(2);
        world.place_mut(HostId(1)).host.refuses = true;
        dial(&mut world, 0, 1, 1);
        dial(&mut world, 0, 77, 1);
        world.run_until(Time::from_secs(10));
        let heard = &world.host(HostId(0)).heard;
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].2, StreamEvent::Closed);
        assert!(world.host(HostId(1)).heard.is_empty());
    }

    #[test]
    fn a_slow_reader_holds_its_sender_back() {
        let mut world = world(2);
        let fast = Access {
            up_bytes_per_second: 1 << 30,
            down_bytes_per_second: 1 << 30,
            ..Access::default()
        };
        world.set_access(HostId(0), fast);
        let slow = Access { down_bytes_per_second: 10_000, ..fast };
        world.set_access(HostId(1), slow);
        dial(&mut world, 0, 1, 100_000);
        world.run_until(Time::from_secs(1));
        let polled = world.host(HostId(0)).polled;
        assert!((14_600..40_000).contains(&polled), "{polled}");
        world.run_until(Time::from_secs(21));
        // 20 s of 10 kB/s with headers, and a window that has grown by as much.
        let more = world.host(HostId(0)).polled - polled;
        assert!((370_000..400_000).contains(&more), "{more}");
    }
}
