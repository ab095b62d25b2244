//! A tiny network of nodes in one thread: every datagram takes the same time.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, Event, Node, SocketId, Transmit};
use wire::rng::seed_from_u64;
use wire::time::Time;

pub struct Host {
    pub node: Node,
    pub sockets: Vec<SocketAddr>,
    pub up: bool,
    /// Whether nothing goes to it or comes from it, while it runs.
    pub cut: bool,
    pub events: Vec<Event>,
    /// How far its clock is before the others', and how far behind.
    pub ahead: Duration,
    pub behind: Duration,
}

impl Host {
    /// What its clock shows when the others' show `now`.
    pub fn clock(&self, now: Time) -> Time {
        let micros = (now + self.ahead).as_micros();
        Time::from_micros(micros.saturating_sub(self.behind.as_micros() as u64))
    }

    /// When it wants to be woken, on the others' clocks.
    fn timeout(&self) -> Option<Time> {
        let (at, _) = self.node.poll_timeout()?;
        let micros = (at + self.behind).as_micros();
        Some(Time::from_micros(micros.saturating_sub(self.ahead.as_micros() as u64)))
    }
}

pub struct Net {
    pub hosts: Vec<Host>,
    pub now: Time,
    pub latency: Duration,
    /// Every datagram that was sent.
    pub log: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Addresses that nothing goes from or comes to.
    pub unplugged: BTreeSet<SocketAddr>,
    /// Addresses by which the system refuses to send.
    pub refused: BTreeSet<SocketAddr>,
    routes: BTreeMap<SocketAddr, (usize, SocketId)>,
    flying: BTreeMap<(Time, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
}

impl Net {
    pub fn new() -> Net {
        Net {
            hosts: Vec::new(),
            now: Time::from_secs(100),
            latency: Duration::from_millis(20),
            log: Vec::new(),
            unplugged: BTreeSet::new(),
            refused: BTreeSet::new(),
            routes: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Adds a node with the defaults at a local v4 address of its own.
    pub fn add(&mut self) -> usize {
        let n = self.hosts.len() as u16;
        let addr = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 6881));
        self.add_with(Config::new(vec![addr]))
    }

    pub fn add_with(&mut self, config: Config) -> usize {
        let index = self.hosts.len();
        let sockets = config.sockets.clone();
        for (id, addr) in sockets.iter().enumerate() {
            self.routes.insert(*addr, (index, SocketId(id as u8)));
        }
        let node = Node::new(config, &seed_from_u64(index as u64), self.now);
        let (events, none) = (Vec::new(), Duration::ZERO);
        self.hosts.push(Host {
            node,
            sockets,
            up: true,
            cut: false,
            events,
            ahead: none,
            behind: none,
        });
        index
    }

    /// From now on datagrams of a node come from this address, and go there.
    pub fn move_to(&mut self, index: usize, addr: SocketAddr) {
        let old = std::mem::replace(&mut self.hosts[index].sockets[0], addr);
        self.routes.remove(&old);
        self.routes.insert(addr, (index, SocketId(0)));
    }

    /// `count` nodes that all bootstrap from the first, and the time to do so.
    pub fn joined(count: usize) -> Net {
        let mut net = Net::new();
        for _ in 0..count {
            let index = net.add();
            if index > 0 {
                let (now, first) = (net.now, net.addr(0));
                net.hosts[index].node.bootstrap(now, first);
            }
            net.run_for(Duration::from_millis(300));
        }
        net.run_for(Duration::from_secs(5));
        net
    }

    /// `count` nodes that all start at once and know the first; just started.
    pub fn started_together(count: usize) -> Net {
        let mut net = Net::new();
        for _ in 0..count {
            net.add();
        }
        let first = net.addr(0);
        for index in 1..count {
            net.command(index, |node, now| node.bootstrap(now, first));
        }
        net
    }

    pub fn addr(&self, index: usize) -> SocketAddr {
        self.hosts[index].sockets[0]
    }

    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.hosts[index].node
    }

    /// Does to a node what `command` says, now.
    pub fn command<T>(&mut self, index: usize, command: impl FnOnce(&mut Node, Time) -> T) -> T {
        let now = self.hosts[index].clock(self.now);
        let out = command(&mut self.hosts[index].node, now);
        self.drain(index);
        out
    }

    pub fn take_events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.hosts[index].events)
    }

    fn drain(&mut self, index: usize) {
        let mut buf = Vec::new();
        let host = &mut self.hosts[index];
        while let Some(Transmit { via, to, len }) = host.node.poll_transmit(&mut buf) {
            assert_eq!(len, buf.len());
            assert!(len <= 1024, "datagram of {len} bytes");
            if !host.up || host.cut {
                continue;
            }
            let from = host.sockets[usize::from(via.0)];
            if self.refused.contains(&from) {
                host.node.handle_unreachable(host.clock(self.now), via, to);
                continue;
            }
            self.log.push((from, to, buf.clone()));
            self.sent += 1;
            self.flying.insert((self.now + self.latency, self.sent), (from, to, buf.clone()));
        }
        while let Some(event) = host.node.poll_event() {
            host.events.push(event);
        }
    }

    /// Does what comes next, if that is before `end`.
    fn step(&mut self, end: Time) -> bool {
        let datagram = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timers = self.hosts.iter().enumerate().filter(|(_, host)| host.up);
        let timer = timers.filter_map(|(i, h)| h.timeout().map(|at| (at, i))).min();
        let next = datagram.into_iter().chain(timer.map(|(at, _)| at)).min();
        let Some(at) = next.filter(|at| *at <= end) else { return false };
        self.now = self.now.max(at);
        if datagram == Some(at) {
            if let Some((_, (from, to, bytes))) = self.flying.pop_first()
                && let Some(&(index, local)) = self.routes.get(&to)
                && self.hosts[index].up
                && !self.hosts[index].cut
                && !self.unplugged.contains(&from)
                && !self.unplugged.contains(&to)
            {
                let now = self.hosts[index].clock(self.now);
                self.hosts[index].node.handle_datagram(now, local, from, &bytes);
                self.drain(index);
            }
        } else if let Some((_, index)) = timer {
            let now = self.hosts[index].clock(self.now);
            self.hosts[index].node.handle_timeout(now);
            self.drain(index);
        }
        true
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for index in 0..self.hosts.len() {
            self.drain(index);
        }
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done` says so of a node's events; panics after a minute.
    pub fn run_until(&mut self, index: usize, done: impl Fn(&Event) -> bool) -> Duration {
        let start = self.now;
        let end = start + Duration::from_secs(60);
        self.drain(index);
        while !self.hosts[index].events.iter().any(&done) {
            assert!(self.step(end), "nothing came within a minute");
        }
        self.now.since(start)
    }
}
