//! The pure node with sockets and threads of the standard library: no tokio, no feature `driver`.
//!
//! `cargo run -p trackerless-dht --example without_tokio`
//!
//! Two nodes run in one process; the second joins the first, announces a torrent to it and finds it
//! again.

#![allow(clippy::disallowed_types, reason = "a driver has the socket and the clock")]

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht::wire::{Id, rng::Seed, time::Time};
use dht::{Config, Event, Node, SocketId};

/// A node with what it has not of itself: a socket and a clock.
struct Driver {
    node: Node,
    socket: UdpSocket,
    start: Instant,
    buf: Vec<u8>,
}

impl Driver {
    fn bind(addr: &str) -> io::Result<Driver> {
        let socket = UdpSocket::bind(addr)?;
        let mut seed = Seed::default();
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let node = Node::new(Config::new(vec![socket.local_addr()?]), &seed, Time::ZERO);
        Ok(Driver { node, socket, start: Instant::now(), buf: Vec::new() })
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// Sends what is to be sent, waits for a datagram or the node's deadline, but not for long, and
    /// tells the node.
    fn turn(&mut self) -> io::Result<()> {
        while let Some(transmit) = self.node.poll_transmit(&mut self.buf) {
            // UDP may lose it anyway: the node asks again, or others.
            let _ = self.socket.send_to(&self.buf, transmit.to);
        }
        let deadline = self.node.poll_timeout().map(|(at, _)| at.since(self.now()));
        let wait =
            deadline.unwrap_or_default().clamp(Duration::from_millis(1), Duration::from_millis(50));
        self.socket.set_read_timeout(Some(wait))?;
        let mut datagram = [0; 2048];
        match self.socket.recv_from(&mut datagram) {
            Ok((len, from)) => {
                let now = self.now();
                self.node.handle_datagram(now, SocketId(0), from, &datagram[..len]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        // It does nothing when nothing is due.
        let now = self.now();
        self.node.handle_timeout(now);
        Ok(())
    }

    /// Turns until there is an event that `wanted` makes something of, or fails after 10 s.
    fn until<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> io::Result<T> {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            self.turn()?;
            while let Some(event) = self.node.poll_event() {
                if let Some(found) = wanted(event) {
                    return Ok(found);
                }
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, "nothing came"))
    }
}

fn main() -> io::Result<()> {
    let (mut first, mut second) = (Driver::bind("127.0.0.1:0")?, Driver::bind("127.0.0.1:0")?);
    let entry = first.socket.local_addr()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                first.turn()?;
                while first.node.poll_event().is_some() {}
            }
            Ok(())
        });
        let asked = ask(&mut second, entry);
        done.store(true, Ordering::Relaxed);
        asked.and(serving.join().unwrap_or_else(|_| Err(io::Error::other("the first node failed"))))
    })
}

/// Joins by `entry`, announces a torrent there and looks for its peers.
fn ask(driver: &mut Driver, entry: std::net::SocketAddr) -> io::Result<()> {
    let info_hash = Id([0x77; 20]);
    driver.node.bootstrap(driver.now(), entry);
    let contacts = driver.until(|event| match event {
        Event::Bootstrapped { contacts } => Some(contacts),
        _ => None,
    })?;
    println!("joined by {entry}: {contacts} contact");

    let announce = driver.node.announce(driver.now(), info_hash, Some(6881), false);
    let accepted = driver.until(|event| match event {
        Event::Announced { lookup, accepted, .. } if lookup == announce => Some(accepted),
        _ => None,
    })?;
    println!("announced to {accepted} node");

    let get_peers = driver.node.get_peers(driver.now(), info_hash);
    let found = driver.until(|event| match event {
        Event::PeersFound { lookup, peers, .. } if lookup == get_peers => Some(peers),
        _ => None,
    })?;
    assert_eq!(found, [([127, 0, 0, 1], 6881).into()]);
    println!("found {}", found[0]);
    Ok(())
}
