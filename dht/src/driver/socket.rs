//! One UDP socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::Context;

use arrayvec::ArrayVec;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::UdpSocket;

use super::DriverStats;
use super::outbox::{BATCH, Datagram};

/// An address that no socket could be bound to.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind UDP {}: {}", self.addr, self.source)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

pub(super) struct Socket {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Socket {
    pub(super) fn bind(addr: SocketAddr, receive_buffer: usize) -> Result<Socket, BindError> {
        let socket = open(addr).and_then(|socket| Socket::new(socket, receive_buffer));
        socket.map_err(|source| BindError { addr, source })
    }

    /// Takes a socket that is bound.
    pub(super) fn new(socket: UdpSocket, receive_buffer: usize) -> io::Result<Socket> {
        let local = socket.local_addr()?;
        let system = SockRef::from(&socket);
        if local.is_ipv6() && !system.only_v6()? {
            let text = "it carries IPv4 too; set IPV6_V6ONLY before it is bound, and give one \
                        socket a family";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // The system grants what its limits allow; less is no error.
        let _ = system.set_recv_buffer_size(receive_buffer);
        Ok(Socket { socket, local })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether a datagram may be there; else wakes the task when one comes.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> bool {
        self.socket.poll_recv_ready(cx).is_ready()
    }

    /// The next datagram's length and source; `None` if there is none.
    pub(super) fn receive(&self, buf: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        match self.socket.try_recv_from(buf) {
            Ok(datagram) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends at once or not at all. Not by tokio, which would wait for its first look at the
    /// socket.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8], stats: &mut DriverStats) -> Sent {
        match SockRef::from(&self.socket).send_to(bytes, &to.into()) {
            Ok(_) => Sent::Yes,
            Err(error) => failed(&error, to, stats),
        }
    }

    /// Sends each of at most [`BATCH`] datagrams at once or not at all, with as few system calls as may
    /// be; `refused` hears of each address that the system refuses.
    pub(super) fn send_all(
        &self,
        datagrams: &[Datagram],
        stats: &mut DriverStats,
        mut refused: impl FnMut(SocketAddr),
    ) {
        debug_assert!(datagrams.len() <= BATCH);
        let datagrams = &datagrams[..datagrams.len().min(BATCH)];
        let addrs: ArrayVec<SocketAddrAny, BATCH> =
            datagrams.iter().map(|datagram| datagram.to.as_any()).collect();
        let slices: ArrayVec<[IoSlice<'_>; 1], BATCH> =
            datagrams.iter().map(|datagram| [IoSlice::new(&datagram.bytes)]).collect();
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] = Default::default();
        let parts = addrs.iter().zip(&slices).zip(&mut controls);
        let mut messages: ArrayVec<MMsgHdr<'_>, BATCH> = parts
            .map(|((addr, slice), control)| MMsgHdr::new_with_addr(addr, slice, control))
            .collect();
        let mut at = 0;
        while at < datagrams.len() {
            match sendmmsg(&self.socket, &mut messages[at..], SendFlags::empty()) {
                Ok(sent @ 1..) => at += sent,
                // A full buffer has no room for the others either.
                Ok(0) | Err(Errno::WOULDBLOCK) => {
                    stats.send_full += (datagrams.len() - at) as u64;
                    return;
                }
                // It ends before the first that fails, and tells why when that comes first.
                Err(error) => {
                    let to = datagrams[at].to;
                    if failed(&error.into(), to, stats) == Sent::Unreachable {
                        refused(to);
                    }
                    at += 1;
                }
            }
        }
    }
}

/// What became of a datagram that was not sent.
fn failed(error: &io::Error, to: SocketAddr, stats: &mut DriverStats) -> Sent {
    if error.kind() == io::ErrorKind::WouldBlock {
        stats.send_full += 1;
        return Sent::No;
    }
    tracing::trace!(%to, %error, "cannot send");
    stats.send_errors += 1;
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::PermissionDenied => Sent::Unreachable,
        _ => Sent::No,
    }
}

/// Binds a UDP socket; one of IPv6 carries IPv6 only.
fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    Yes,
    /// Not this time: a buffer is full.
    No,
    /// The system refuses the address.
    Unreachable,
}
