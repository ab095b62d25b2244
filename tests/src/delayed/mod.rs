//! Many hosts in one network namespace, each at an address of its own, between which packets are on
//! their way for as long as a test says, and go through lines as fast as it says.
//!
//! The kernel needs no qdisc for that. All addresses are local; a rule of routing sends what local
//! sockets send to a TUN device all the same, and a thread holds each packet until it is due and
//! gives it back to be received. A program has to bind its address, as it would have any other.

mod line;
mod relay;
mod tun;

pub use relay::{Counts, DelayOf, HostOf, Rates};

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::lan::{self, PREFIX};
use relay::Relay;

const DEVICE: &str = "relay0";
/// Routes of what local sockets send.
const TABLE: &str = "100";
/// Packets that may wait for the relay's thread to read them.
const DEVICE_QUEUE: &str = "10000";
/// The longest wait for a probe, beyond what it should take.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// A network that ends, with all that runs in it, when the value is dropped. Needs root.
pub struct Delayed {
    namespace: String,
    ends: Arc<AtomicBool>,
    relay: Option<JoinHandle<Counts>>,
}

impl Delayed {
    /// A network for the calling thread and what it starts from now on. `rates` are those of hosts with
    /// a line; all others send and receive at once. `congestion` is what TCP uses: one that
    /// the kernel lets namespaces choose, such as "reno".
    pub fn enter(
        host_of: HostOf,
        delay_of: DelayOf,
        rates: &[Option<Rates>],
        congestion: &str,
    ) -> Delayed {
        lan::sweep_once();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{PREFIX}{}-delayed{n}", std::process::id());
        lan::ip(&["netns", "add", &namespace]);
        let mut network = Delayed { namespace, ends: Arc::default(), relay: None };
        lan::enter_namespace(&network.namespace);
        let tun = tun::open(DEVICE).unwrap_or_else(|error| panic!("open a TUN device: {error}"));
        network.route(congestion);
        let relay = Relay::new(tun, host_of, delay_of, rates);
        network.ends = relay.ends.clone();
        network.relay = Some(spawn(move || relay.run()));
        network
    }

    fn route(&self, congestion: &str) {
        let inside = |args: &str| {
            let args: Vec<&str> = args.split(' ').collect();
            lan::ip(&[&["-n", &self.namespace], &args[..]].concat());
        };
        inside("link set lo up");
        inside(&format!("link set {DEVICE} up mtu 1500 txqueuelen {DEVICE_QUEUE}"));
        // All addresses are ours, and what our sockets send goes to the device first.
        inside("route add local default dev lo table local");
        inside(&format!("route add default dev {DEVICE} table {TABLE}"));
        inside("rule add pref 20 lookup local");
        inside(&format!("rule add pref 10 iif lo lookup {TABLE}"));
        inside("rule del pref 0");
        let set = |name: &str, value: &str| {
            let path = format!("/proc/sys/net/ipv4/{name}");
            std::fs::write(&path, value).unwrap_or_else(|error| panic!("write {path}: {error}"));
        };
        // What comes out of the device is from ourselves.
        set(&format!("conf/{DEVICE}/accept_local"), "1");
        set(&format!("conf/{DEVICE}/rp_filter"), "0");
        set("conf/all/rp_filter", "0");
        set("tcp_congestion_control", congestion);
        // Or a host would remember of an earlier run how a way is.
        set("tcp_no_metrics_save", "1");
    }

    /// Ends it: what the relay counted.
    pub fn end(mut self) -> Counts {
        self.stop().unwrap_or_default()
    }

    fn stop(&mut self) -> Option<Counts> {
        self.ends.store(true, Ordering::Release);
        self.relay.take()?.join().ok()
    }
}

impl Drop for Delayed {
    fn drop(&mut self) {
        self.stop();
        lan::remove(&self.namespace);
    }
}

/// Sends datagrams from one address to another of the calling thread's network until `ends`, `every` so
/// often, and gives how much longer than `expected` each was on its way, in microseconds: the error of
/// all there is between two programs.
pub fn probe(
    from: Ipv4Addr,
    to: Ipv4Addr,
    expected: Duration,
    every: Duration,
    ends: &AtomicBool,
) -> Vec<f64> {
    let bind = |ip: Ipv4Addr| {
        UdpSocket::bind((ip, 9)).unwrap_or_else(|error| panic!("bind {ip}: {error}"))
    };
    let (sender, receiver) = (bind(from), bind(to));
    let limit = Some(expected + PROBE_LIMIT);
    receiver.set_read_timeout(limit).unwrap_or_else(|error| panic!("set a timeout: {error}"));
    let mut errors = Vec::new();
    let mut buf = [0; 16];
    while !ends.load(Ordering::Acquire) {
        let sent = Instant::now();
        let _ = sender.send_to(b"probe", SocketAddr::from((to, 9)));
        if receiver.recv_from(&mut buf).is_ok() {
            errors.push((sent.elapsed().as_secs_f64() - expected.as_secs_f64()) * 1e6);
        }
        std::thread::sleep(every.saturating_sub(sent.elapsed()));
    }
    errors
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::scope;

    const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(20, 0, 0, 1), Ipv4Addr::new(21, 0, 0, 1)];
    const DELAY: Duration = Duration::from_millis(60);

    /// Does `work` on a thread in a network of two hosts.
    fn inside<T: Send>(rates: [Option<Rates>; 2], work: impl FnOnce() -> T + Send) -> (T, Counts) {
        let host_of = |ip| HOSTS.iter().position(|host| *host == ip).map(|n| n as u32);
        let network = || {
            let network = Delayed::enter(Box::new(host_of), Box::new(|_, _| DELAY), &rates, "reno");
            let result = work();
            (result, network.end())
        };
        scope(|scope| scope.spawn(network).join().unwrap())
    }

    #[test]
    fn a_datagram_is_on_its_way_for_as_long_as_was_said() {
        let ends = AtomicBool::new(false);
        let probes = || {
            scope(|scope| {
                let probe = scope.spawn(|| probe(HOSTS[0], HOSTS[1], DELAY, Duration::ZERO, &ends));
                std::thread::sleep(Duration::from_secs(1));
                ends.store(true, Ordering::Release);
                probe.join().unwrap()
            })
        };
        let (mut errors, counts) = inside([None; 2], probes);
        errors.sort_by(f64::total_cmp);
        // Never too early; the median of them soon, whatever else the machine does.
        assert!(errors.len() > 5 && errors[0] >= 0.0, "{errors:?}");
        assert!(errors[errors.len() / 2] < 20_000.0, "{errors:?}");
        assert!(counts.datagrams >= errors.len() as u64 && counts.dropped == 0);
    }

    #[test]
    fn a_stream_goes_as_fast_as_its_line() {
        let rates = Rates { up: 250_000, down: 10_000_000, queue: Duration::from_millis(200) };
        let transfer = || {
            let listener = TcpListener::bind((HOSTS[1], 80)).unwrap();
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.bind(&SocketAddr::from((HOSTS[0], 0)).into()).unwrap();
            let started = Instant::now();
            scope(|scope| {
                scope.spawn(|| {
                    socket.connect(&SocketAddr::from((HOSTS[1], 80)).into()).unwrap();
                    TcpStream::from(socket).write_all(&vec![7; 500_000]).unwrap();
                });
                let (mut stream, from) = listener.accept().unwrap();
                assert_eq!(from.ip(), HOSTS[0]);
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), 500_000);
            });
            started.elapsed()
        };
        let (took, _) = inside([Some(rates), None], transfer);
        let least = Duration::from_secs_f64(500_000.0 / 250_000.0);
        assert!(took > least && took < least * 3, "{took:?}");
    }
}
