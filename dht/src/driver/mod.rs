//! The tokio driver: gives a [`Node`] its sockets, the clock and a seed.
//!
//! [`Driver`] runs on its caller's task, spawns nothing and has no channel: the caller loops over
//! [`Driver::turn`], alone or in a `select!`, and takes events in between. [`Dht`] is a handle of a
//! node whose driver has a task of its own. [`Testnet`] is a DHT on loopback, for tests.

#![allow(clippy::disallowed_types, reason = "a driver has the sockets, files and the clock")]

mod clock;
mod foreign;
mod handle;
mod outbox;
mod resolve;
mod socket;
mod state_file;
mod testnet;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};
use wire::rng::Seed;
use wire::time::Time;

use crate::{Config, Event, Node, Snapshot, SocketId};

pub use clock::Clock;
pub use foreign::Foreign;
use foreign::ForeignQueue;
pub use handle::{
    Announced, Builder, Dht, DhtError, Info, LookupSummary, Peers, Pong, Samples, Scraped, Stored,
};
use outbox::Outbox;
use resolve::Resolver;
pub use socket::BindError;
use socket::{Sent, Socket};
pub use state_file::{StateError, StateFile};
pub use testnet::Testnet;

/// Hosts by which the public DHT is entered. Other projects run them for everybody.
pub const PUBLIC_BOOTSTRAP: [&str; 3] =
    ["router.bittorrent.com:6881", "dht.libtorrent.org:25401", "dht.transmissionbt.com:6881"];

/// A [`SocketId`] is a byte.
const SOCKETS_MAX: usize = 255;

/// How a driver works, beside what the node's own [`Config`] says.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// The node's numbers; `sockets` is filled in by the driver.
    pub node: Config,
    /// Bootstrap contacts as `HOST:PORT`. Names are resolved, again and again until they are.
    pub bootstrap: Vec<String>,
    /// Ids and contacts of an earlier run.
    pub snapshot: Option<Snapshot>,
    /// The node's seed; `None` takes it from the operating system.
    pub seed: Option<Seed>,
    /// Datagrams that are read from a socket in one turn, before what they bring is sent; well below
    /// [`Config::out_max`], which drops queries. Default 64.
    pub datagrams_per_turn: usize,
    /// Foreign datagrams that may wait to be polled. Default 1,024.
    pub foreign_packets_max: usize,
    /// Bytes of these. Default 2 MiB.
    pub foreign_bytes_max: usize,
    /// Bytes that the kernel may hold for each socket to be read. Default 1 MiB: some hundred
    /// milliseconds of a busy node.
    pub receive_buffer_bytes: usize,
}

impl Default for DriverConfig {
    fn default() -> DriverConfig {
        DriverConfig {
            node: Config::new(Vec::new()),
            bootstrap: Vec::new(),
            snapshot: None,
            seed: None,
            datagrams_per_turn: 64,
            foreign_packets_max: 1024,
            foreign_bytes_max: 2 << 20,
            receive_buffer_bytes: 1 << 20,
        }
    }
}

/// What a driver counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DriverStats {
    /// Datagrams that were not sent because the socket's buffer was full.
    pub send_full: u64,
    /// Datagrams that could not be sent for another reason, as an unreachable network.
    pub send_errors: u64,
    /// Errors while reading.
    pub receive_errors: u64,
    /// Foreign datagrams that were dropped because nobody polled them.
    pub foreign_dropped: u64,
}

/// A node with sockets.
pub struct Driver {
    node: Node,
    sockets: Vec<Socket>,
    clock: Clock,
    resolver: Resolver,
    foreign: ForeignQueue,
    sleep: Pin<Box<Sleep>>,
    receive_buf: Vec<u8>,
    outbox: Outbox,
    datagrams_per_turn: usize,
    stats: DriverStats,
}

impl Driver {
    /// Binds a UDP socket to each of at most 255 addresses (v6 sockets carry v6 only) and starts a node on
    /// them.
    /// Must be called inside a tokio runtime with time and I/O enabled.
    pub fn bind(config: DriverConfig, addrs: &[SocketAddr]) -> Result<Driver, BindError> {
        let bind = |addr: &SocketAddr| Socket::bind(*addr, config.receive_buffer_bytes);
        let sockets = addrs.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        Driver::start(config, sockets)
    }

    /// Binds `port` of all addresses of each family that the host has, and starts a node there; port
    /// 0 lets the system choose.
    pub fn bind_all(config: DriverConfig, port: u16) -> Result<Driver, BindError> {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match Driver::bind(config.clone(), &[v4, v6]) {
            // A host without IPv6 is no error.
            Err(error) if error.addr == v6 => Driver::bind(config, &[v4]),
            other => other,
        }
    }

    fn start(mut config: DriverConfig, sockets: Vec<Socket>) -> Result<Driver, BindError> {
        if let Some(one_more) = sockets.get(SOCKETS_MAX) {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "a node has at most 255 sockets");
            return Err(BindError { addr: one_more.local_addr(), source });
        }
        config.node.sockets = sockets.iter().map(Socket::local_addr).collect();
        let clock = Clock::start();
        let snapshot = config.snapshot;
        let seed = config.seed.unwrap_or_else(rand::random);
        let mut node = Node::new(config.node, &seed, clock.now());
        if let Some(snapshot) = &snapshot {
            node.restore(clock.now(), snapshot);
        }
        let mut driver = Driver {
            node,
            sockets,
            clock,
            resolver: Resolver::new(config.bootstrap),
            foreign: ForeignQueue::new(config.foreign_packets_max, config.foreign_bytes_max),
            sleep: Box::pin(sleep_until(Instant::now())),
            receive_buf: vec![0; 1 << 16],
            outbox: Outbox::default(),
            datagrams_per_turn: config.datagrams_per_turn.max(1),
            stats: DriverStats::default(),
        };
        driver.name_literals();
        Ok(driver)
    }

    /// The addresses that the sockets are bound to, with the ports that the system chose.
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().map(Socket::local_addr)
    }

    /// The time on the node's clock, for commands.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The node, to look at.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node, for commands; what these have to send goes out with [`Driver::flush`] or the next
    /// turn.
    pub fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    /// What the driver counted.
    pub fn stats(&self) -> DriverStats {
        DriverStats { foreign_dropped: self.foreign.dropped(), ..self.stats }
    }

    /// Adds a bootstrap contact as `HOST:PORT`.
    pub fn bootstrap(&mut self, host_port: String) {
        self.resolver.add(host_port);
        self.name_literals();
    }

    /// Bootstrap names of which none has an address yet, with the last error: what to tell a user
    /// who waits.
    pub fn unresolved(&self) -> impl Iterator<Item = (&str, &str)> {
        self.resolver.unresolved()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.node.poll_event()
    }

    /// The next datagram that is not KRPC: it did not start with `d`.
    pub fn poll_foreign(&mut self) -> Option<Foreign> {
        self.foreign.pop()
    }

    /// Sends a datagram by one of the sockets; false if it could not be sent now.
    pub fn send_foreign(&mut self, via: SocketId, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(socket) = self.sockets.get(usize::from(via.0)) else { return false };
        socket.send(to, bytes, &mut self.stats) == Sent::Yes
    }

    /// Sends all that the node has to send. What does not fit into a socket's buffer is dropped
    /// and counted, as the network would.
    pub fn flush(&mut self) {
        let Driver { node, sockets, clock, outbox, stats, .. } = self;
        while outbox.fill(node) {
            for datagrams in outbox.by_socket() {
                if let Some(socket) = sockets.get(usize::from(datagrams[0].via.0)) {
                    let via = datagrams[0].via;
                    socket.send_all(datagrams, stats, |to| {
                        node.handle_unreachable(clock.now(), via, to);
                    });
                }
            }
        }
    }

    /// Sends what is to be sent, waits until a datagram comes, the node wants to be woken, a name was
    /// resolved or could not be, or an event is there to be polled, and does what there is to do, up
    /// to a bound. Losing it half-way, as in a `select!`, loses nothing.
    pub async fn turn(&mut self) {
        self.flush();
        poll_fn(|cx| self.poll_ready(cx)).await;
        self.work();
    }

    /// Ready when there is anything to do; takes nothing.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What a command or a failed send left behind must not wait for the network.
        let mut ready = self.resolver.poll(cx) | self.node.has_events();
        for socket in &self.sockets {
            ready |= socket.poll_readable(cx);
        }
        if ready {
            return Poll::Ready(());
        }
        let Some((deadline, _)) = self.node.poll_timeout() else { return Poll::Pending };
        let wait = deadline.since(self.clock.now());
        if wait.is_zero() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().reset(Instant::now() + wait);
        self.sleep.as_mut().poll(cx)
    }

    /// Names that are addresses need no resolver and no turn.
    fn name_literals(&mut self) {
        let now = self.clock.now();
        for addr in self.resolver.take() {
            self.node.bootstrap(now, addr);
        }
    }

    fn work(&mut self) {
        self.name_literals();
        self.flush();
        for index in 0..self.sockets.len() {
            self.receive(index);
        }
        let now = self.clock.now();
        if self.node.poll_timeout().is_some_and(|(deadline, _)| deadline <= now) {
            self.node.handle_timeout(now);
            self.flush();
        }
    }

    /// Reads what one socket holds, up to a bound; what is to be answered leaves together.
    fn receive(&mut self, index: usize) {
        let via = SocketId(index as u8);
        for _ in 0..self.datagrams_per_turn {
            let (len, from) = match self.sockets[index].receive(&mut self.receive_buf) {
                Ok(Some(datagram)) => datagram,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "cannot receive");
                    self.stats.receive_errors += 1;
                    continue;
                }
            };
            let bytes = &self.receive_buf[..len];
            if bytes.first() == Some(&b'd') {
                self.node.handle_datagram(self.clock.now(), via, from, bytes);
            } else {
                self.foreign.push(via, from, bytes);
            }
        }
        self.flush();
    }
}
