//! A few nodes among themselves, whose datagrams meet the fate that the input has for them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, SocketId};
use wire::Id;
use wire::compact::Family;
use wire::time::Time;

use crate::input::Input;
use crate::items::SAMPLES;
use crate::node::tight;
use crate::watch::{Ends, Sent, Watch};

const STEPS_MAX: usize = 300;
/// Moments at which something is due while the input says what happens.
const WAKES_MAX: usize = 3_000;
const LATENCY: Duration = Duration::from_millis(20);
/// After so long without harm every lookup has ended.
const QUIET: Duration = Duration::from_secs(600);
/// Datagrams on their way: what a few nodes send each other within a latency stays far below.
const FLIGHT_MAX: usize = 1_000;

/// One input.
pub fn run(bytes: &[u8]) {
    let trace = play(bytes);
    if bytes.len().is_multiple_of(2) {
        assert_eq!(play(bytes), trace, "the same input gives something else");
    }
}

fn play(bytes: &[u8]) -> Vec<u64> {
    let mut network = Network::new(Input::new(bytes));
    let mut steps = 0;
    while !network.input.is_empty() && steps < STEPS_MAX {
        network.step();
        steps += 1;
    }
    network.settle();
    network.nodes.iter().map(Watch::trace).collect()
}

#[derive(Clone)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Network<'a> {
    nodes: Vec<Watch>,
    flight: VecDeque<Packet>,
    input: Input<'a>,
    now: Time,
    wakes_left: usize,
}

fn sockets(n: usize, both: bool) -> Vec<SocketAddr> {
    let n = n as u8;
    let mut own = vec![SocketAddr::from(([60 + n, 1, 1, 1], 6881))];
    if both {
        own.push(SocketAddr::from(([0x2001, 0xdb8, n.into(), 0, 0, 0, 0, 1], 6881)));
    }
    own
}

impl<'a> Network<'a> {
    fn new(mut input: Input<'a>) -> Network<'a> {
        let (kind, seed) = (input.byte(), input.byte());
        let count = 3 + usize::from(kind & 3);
        let nodes = (0..count).map(|n| {
            let mut config = Config::new(sockets(n, kind & 4 != 0)).among_thousands();
            if kind & 8 != 0 {
                config = tight(config);
            }
            if kind & 0x10 != 0 {
                config.external_ip = config.sockets.first().map(SocketAddr::ip);
            }
            config.read_only = kind & 0x20 != 0 && n == count - 1;
            Watch::new(config, u64::from(seed) * 8 + n as u64)
        });
        let nodes: Vec<_> = nodes.collect();
        let now = nodes[0].now;
        let mut network =
            Network { nodes, flight: VecDeque::new(), input, now, wakes_left: WAKES_MAX };
        for n in 1..count {
            network.bootstrap(n, n - 1, Family::V4);
        }
        network
    }

    fn step(&mut self) {
        match self.input.byte() % 16 {
            0..=3 => self.deliver(0),
            4 => {
                for _ in 0..self.input.byte() % 64 {
                    self.deliver(0);
                }
            }
            5 => {
                let at = self.packet();
                self.deliver(at);
            }
            6 => {
                let at = self.packet();
                self.flight.remove(at);
            }
            7 => {
                let at = self.packet();
                if let Some(copy) = self.flight.get(at).cloned() {
                    self.flight.push_back(copy);
                }
            }
            8 => self.corrupt(),
            9 => self.forge(),
            10 | 11 => self.command(),
            12 => {
                let (n, other) = (self.node(), self.node());
                let sent = self.nodes[n].unreachable(sockets(other, false)[0]);
                self.post(n, sent);
            }
            13 => {
                let span = Duration::from_millis(u64::from(self.input.number()));
                self.pass(span);
            }
            14 => self.pass(Duration::from_secs(61)),
            _ => self.pass(LATENCY),
        }
    }

    fn node(&mut self) -> usize {
        self.input.below(self.nodes.len())
    }

    fn packet(&mut self) -> usize {
        self.input.below(self.flight.len())
    }

    fn command(&mut self) {
        let (n, kind) = (self.node(), self.input.byte());
        let key = Id([0x70 + (kind >> 6); 20]);
        let sample = &SAMPLES[usize::from(kind) % SAMPLES.len()];
        let sent = match kind % 9 {
            0 => {
                let (other, family) = (self.node(), self.input.byte() & 1);
                let family = if family == 0 { Family::V4 } else { Family::V6 };
                return self.bootstrap(n, other, family);
            }
            1 => self.nodes[n].announce(key, Some(1 + u16::from(kind))),
            2 => self.nodes[n].get_peers(key),
            3 => self.nodes[n].find_node(key),
            4 => {
                let other = self.node();
                self.nodes[n].ping(sockets(other, false)[0])
            }
            5 => self.nodes[n].cancel(usize::from(kind)),
            6 => self.nodes[n].start(Ends::Scraped, key, |node, now| node.scrape(now, key)),
            7 => self.nodes[n]
                .start(Ends::Done, sample.target, |node, now| node.get(now, &sample.key(), None)),
            _ => {
                let Some(item) = sample.item() else { return };
                let put = |node: &mut dht::Node, now| node.put(now, item, None);
                self.nodes[n].start(Ends::Stored, sample.target, put)
            }
        };
        self.post(n, sent);
    }

    fn bootstrap(&mut self, n: usize, other: usize, family: Family) {
        let addr = sockets(other, true).into_iter().find(|addr| Family::of(addr) == family);
        let Some(addr) = addr else { return };
        let sent = self.nodes[n].bootstrap(addr);
        self.post(n, sent);
    }

    /// Changes some bytes of a datagram on its way.
    fn corrupt(&mut self) {
        let at = self.packet();
        let (place, change) = (usize::from(self.input.number()), self.input.byte());
        let Some(packet) = self.flight.get_mut(at) else { return };
        let place = place % packet.bytes.len().max(1);
        match change & 3 {
            0 => packet.bytes.truncate(place),
            _ => {
                if let Some(byte) = packet.bytes.get_mut(place) {
                    *byte ^= change;
                }
            }
        }
    }

    /// Any bytes, as if from a node to another.
    fn forge(&mut self) {
        let (from, to) = (self.node(), self.node());
        let bytes = self.input.bytes().to_vec();
        let (from, to) = (sockets(from, false)[0], sockets(to, false)[0]);
        self.flight.push_back(Packet { from, to, bytes });
    }

    /// Puts what a node sent on its way.
    fn post(&mut self, n: usize, sent: Vec<Sent>) {
        let own = self.nodes[n].node.local_addrs().to_vec();
        for Sent { via, to, bytes } in sent {
            self.flight.push_back(Packet { from: own[usize::from(via.0)], to, bytes });
        }
    }

    fn deliver(&mut self, at: usize) {
        let Some(Packet { from, to, bytes }) = self.flight.remove(at) else { return };
        let place = self.nodes.iter().enumerate().find_map(|(n, watch)| {
            let sockets = watch.node.local_addrs();
            Some((n, sockets.iter().position(|own| *own == to)?))
        });
        let Some((n, socket)) = place else { return };
        let sent = self.nodes[n].datagram(SocketId(socket as u8), from, &bytes);
        self.post(n, sent);
    }

    /// What the input left on its way for too long is lost.
    fn lose(&mut self) {
        let too_many = self.flight.len().saturating_sub(FLIGHT_MAX / 2);
        self.flight.drain(..too_many);
    }

    /// The next moment at which anything is due, up to `end`.
    fn next_due(&self, end: Time) -> Time {
        let due = self.nodes.iter().filter_map(|watch| watch.node.poll_timeout());
        due.map(|(at, _)| at).min().unwrap_or(end).clamp(self.now, end)
    }

    fn go_to(&mut self, now: Time) {
        self.now = now;
        for n in 0..self.nodes.len() {
            self.nodes[n].now = now;
            if self.nodes[n].node.poll_timeout().is_some_and(|(at, _)| at <= now) {
                let sent = self.nodes[n].wake();
                self.post(n, sent);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end && self.wakes_left > 0 {
            self.wakes_left -= 1;
            self.go_to(self.next_due(end));
        }
        self.go_to(end);
        self.lose();
    }

    /// All datagrams arrive from now on: whatever was started ends.
    fn settle(&mut self) {
        let end = self.now + QUIET;
        self.lose();
        while !self.nodes.iter().all(Watch::is_idle) {
            assert!(self.now < end, "a lookup or a ping has no end");
            self.round(end);
        }
        for watch in &self.nodes {
            watch.check_contacts();
        }
    }

    /// All that is on its way arrives after a latency; without any, time goes to what is due.
    fn round(&mut self, end: Time) {
        let waiting = self.flight.len();
        assert!(waiting <= FLIGHT_MAX, "ever more datagrams");
        let now = if waiting > 0 { self.now + LATENCY } else { self.next_due(end) };
        self.go_to(now);
        for _ in 0..waiting {
            self.deliver(0);
        }
    }
}
