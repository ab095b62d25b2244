//! The sockets that a session listens on: TCP for peers, and UDP of the same numbers for the DHT.

use std::io;
use std::net::SocketAddr;

use dht::driver::Driver;
use tokio::net::TcpListener;

use super::discovery::{self, DhtOptions};
use super::handle::SessionError;

/// TCP listeners and, where wanted, a DHT node on the same ports.
pub(super) fn bind(
    addrs: &[SocketAddr],
    dht: Option<&DhtOptions>,
) -> Result<(Vec<TcpListener>, Option<Driver>), SessionError> {
    /// With port 0 the system chooses for TCP, and the UDP port may be taken.
    const TRIES: usize = 20;
    let any_port = addrs.iter().any(|addr| addr.port() == 0);
    let snapshot = dht.map(DhtOptions::saved).transpose().map_err(SessionError::State)?.flatten();
    let mut tries = 0;
    loop {
        let mut listeners = Vec::new();
        // One port for all: the one that is announced.
        let mut port = None;
        for addr in addrs {
            let wanted = if addr.port() == 0 { port.unwrap_or(0) } else { addr.port() };
            let wanted = SocketAddr::new(addr.ip(), wanted);
            match listen(wanted) {
                Err(_) if wanted != *addr && tries < TRIES => break,
                Err(error) => return Err(SessionError::Listen(*addr, error)),
                Ok(listener) => {
                    port = port.or(listener.local_addr().ok().map(|addr| addr.port()));
                    listeners.push(listener);
                }
            }
        }
        tries += 1;
        if listeners.len() < addrs.len() {
            continue;
        }
        let Some(dht) = dht else { return Ok((listeners, None)) };
        let bound: Vec<SocketAddr> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        match discovery::bind(dht, snapshot.clone(), &bound) {
            Ok(driver) => return Ok((listeners, Some(driver))),
            Err(_) if any_port && tries < TRIES => {}
            Err(error) => return Err(SessionError::Dht(error)),
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    /// Connections that wait to be taken.
    const BACKLOG: i32 = 256;
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}
