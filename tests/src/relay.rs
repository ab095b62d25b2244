//! A relay between a peer and a seed that lets through as many bytes as the test says: a download
//! is stopped at any byte, without a change to either side.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// Most bytes moved at a time.
const STEP: usize = 16 * 1024;

/// A relay that runs until it is dropped.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    socket: Arc<TcpListener>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that may still pass from the seed.
    allowed: u64,
    /// Bytes that have passed from the seed.
    passed: u64,
    /// All connections so far.
    links: Vec<Arc<Link>>,
    is_closed: bool,
}

impl Relay {
    /// Listens on `ip` and connects to `to` for each who comes. At first nothing passes from
    /// there; what goes the other way always does.
    pub fn start(ip: IpAddr, to: SocketAddr) -> Self {
        Self::start_at(SocketAddr::new(ip, 0), to)
    }

    /// The same at an address with a port: that of the seed on another host, if somebody may believe what a
    /// seed says of its port (BEP 10, `p`).
    pub fn start_at(at: SocketAddr, to: SocketAddr) -> Self {
        let socket = TcpListener::bind(at).unwrap_or_else(|e| panic!("listen on {at}: {e}"));
        let socket = Arc::new(socket);
        let address = socket.local_addr().unwrap_or_else(|e| panic!("no local address: {e}"));
        let shared = Arc::new(Shared { to, state: Mutex::default(), changed: Condvar::new() });
        let listener = spawn({
            let (shared, socket) = (shared.clone(), socket.clone());
            move || shared.listen(&socket)
        });
        Self { address, shared, socket, listener: Some(listener) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets so many more bytes through from the seed.
    pub fn allow(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.allowed = state.allowed.saturating_add(bytes);
        self.shared.changed.notify_all();
    }

    /// Lets everything through from here on.
    pub fn open(&self) {
        self.allow(u64::MAX);
    }

    /// Ends all connections that pass through it.
    pub fn cut(&self) {
        let links = std::mem::take(&mut self.shared.lock().links);
        links.iter().for_each(|link| link.end());
        self.shared.changed.notify_all();
    }

    /// Bytes that have passed from the seed since the start.
    pub fn passed(&self) -> u64 {
        self.shared.lock().passed
    }

    /// Waits until so many bytes have passed from the seed since the start.
    pub fn wait_passed(&self, bytes: u64, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        while state.passed < bytes {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {} of {bytes} bytes passed in {limit:?}", state.passed);
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        // Wakes the listener, which then sees that it is over. To connect would not do: this thread may be
        // of another network.
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Both);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.lock().is_closed {
                return;
            }
            let (Ok(client), Ok(seed)) = (client, TcpStream::connect(self.to)) else { continue };
            let link = Arc::new(Link { client, seed, is_over: AtomicBool::new(false) });
            self.lock().links.push(link.clone());
            spawn({
                let (shared, link) = (self.clone(), link.clone());
                move || {
                    link.carry_up();
                    link.end();
                    shared.changed.notify_all();
                }
            });
            spawn({
                let shared = self.clone();
                move || {
                    shared.carry_down(&link);
                    link.end();
                }
            });
        }
    }

    /// From the seed, as far as it is allowed.
    fn carry_down(&self, link: &Link) {
        let mut buffer = [0; STEP];
        while let Some(granted) = self.take(link) {
            let read = read_some(&link.seed, &mut buffer[..granted]);
            let written = (&link.client).write_all(&buffer[..read]).is_ok() && read > 0;
            let mut state = self.lock();
            let moved = if written { read } else { 0 };
            state.passed += moved as u64;
            state.allowed = state.allowed.saturating_add((granted - moved) as u64);
            self.changed.notify_all();
            if !written {
                return;
            }
        }
    }

    /// Waits until some bytes may pass, and takes them; None when there is nobody to take them for.
    fn take(&self, link: &Link) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.is_closed || link.is_over.load(Ordering::Acquire) {
                return None;
            }
            if state.allowed > 0 {
                let granted = state.allowed.min(STEP as u64);
                state.allowed -= granted;
                return Some(granted as usize);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One who came, and the seed.
struct Link {
    client: TcpStream,
    seed: TcpStream,
    is_over: AtomicBool,
}

impl Link {
    fn carry_up(&self) {
        let mut buffer = [0; STEP];
        loop {
            let read = read_some(&self.client, &mut buffer);
            if read == 0 || (&self.seed).write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        for stream in [&self.client, &self.seed] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Reads what is there; 0 at the end or on an error.
fn read_some(mut stream: &TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        match stream.read(buffer) {
            Ok(read) => return read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::secs;
    use std::net::Ipv4Addr;

    #[test]
    fn as_many_bytes_pass_as_are_allowed() {
        let ip = IpAddr::from(Ipv4Addr::new(127, 40, 0, 1));
        let seed = TcpListener::bind((ip, 0)).unwrap();
        let relay = Relay::start(ip, seed.local_addr().unwrap());
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let (mut server, _) = seed.accept().unwrap();
        client.write_all(b"ask").unwrap();
        let mut asked = [0; 3];
        server.read_exact(&mut asked).unwrap();
        server.write_all(&[7; 100_000]).unwrap();
        relay.allow(50_001);
        relay.wait_passed(50_001, secs(10));
        let mut got = vec![0; 50_001];
        client.read_exact(&mut got).unwrap();
        client.set_nonblocking(true).unwrap();
        let more = client.read(&mut got).unwrap_err();
        assert_eq!((more.kind(), relay.passed()), (ErrorKind::WouldBlock, 50_001));
        client.set_nonblocking(false).unwrap();
        relay.open();
        drop(server);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 100_000 - 50_001);
    }
}
