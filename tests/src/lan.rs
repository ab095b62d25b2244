//! A local network of this test's own: one namespace a host, all joined by a bridge.
//!
//! Loopback will not do for every client: transmission refuses 127.0.0.0/8 wherever it hears of
//! it, and programs that bind the wildcard address answer from another address than the one they
//! were asked at. A host of a [`Lan`] has an address of its own that everything it sends bears,
//! and no route leads out.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::scope;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::process::output_of;

/// What the names of all our namespaces start with; the test's process id follows.
pub(crate) const PREFIX: &str = "trackerless-";

/// Where `ip netns` keeps namespaces by name.
const NAMESPACES: &str = "/run/netns";

/// A network: it ends, with all that runs in it and its files, when the value is dropped.
///
/// Needs root. Declare it before the processes that run in it, so that it is dropped after them.
pub struct Lan {
    /// The namespace of the bridge, which has no address: nothing but frames passes there.
    switch: String,
    hosts: Vec<String>,
    /// How many /24 were given out by [`Self::add_networks`].
    networks: u8,
    scratch: TempDir,
}

/// One machine of a [`Lan`].
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    /// Its (first) address.
    pub ip: Ipv4Addr,
    /// A folder for its files, already made.
    pub folder: PathBuf,
}

impl Lan {
    /// An empty network.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep_once();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let switch = format!("{PREFIX}{}-{n}", std::process::id());
        let scratch = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let lan = Self { switch, hosts: Vec::new(), networks: 0, scratch };
        ip(&["netns", "add", &lan.switch]);
        ip(&["-n", &lan.switch, "link", "add", "bridge0", "type", "bridge"]);
        ip(&["-n", &lan.switch, "link", "set", "bridge0", "up"]);
        lan
    }

    /// Adds a host with one address.
    pub fn host(&mut self, name: &str) -> Host {
        self.host_with_addresses(name, 1).0
    }

    /// Adds a host with `count` addresses (for many nodes in one namespace), which are given too.
    pub fn host_with_addresses(&mut self, name: &str, count: u8) -> (Host, Vec<Ipv4Addr>) {
        let number = self.hosts.len() as u8 + 1;
        let namespace = format!("{}-{number}", self.switch);
        let port = format!("port{number}");
        // A /16 for all and a /24 for each, so that rules about prefixes see distinct hosts.
        let addresses: Vec<_> = (1..=count).map(|i| Ipv4Addr::new(10, 77, number, i)).collect();
        ip(&["netns", "add", &namespace]);
        self.hosts.push(namespace.clone());
        let link = ["link", "add", &port, "type", "veth", "peer", "name", "eth0"];
        ip(&[&["-n", &self.switch], &link[..], &["netns", &namespace]].concat());
        ip(&["-n", &self.switch, "link", "set", &port, "master", "bridge0", "up"]);
        for address in &addresses {
            ip(&["-n", &namespace, "addr", "add", &format!("{address}/16"), "dev", "eth0"]);
        }
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("make {folder:?}: {error}"));
        (Host { namespace, ip: addresses[0], folder }, addresses)
    }

    /// Gives `host` so many addresses more, each in a /24 of its own: programs that suspect many nodes of
    /// one network take these for what they are.
    pub fn add_networks(&mut self, host: &Host, count: u8) -> Vec<Ipv4Addr> {
        let first = 128 + self.networks;
        self.networks += count;
        let addresses: Vec<_> =
            (first..first + count).map(|i| Ipv4Addr::new(10, 77, i, 1)).collect();
        for address in &addresses {
            ip(&["-n", &host.namespace, "addr", "add", &format!("{address}/16"), "dev", "eth0"]);
        }
        addresses
    }

    /// Gives `host` so many IPv6 addresses too.
    pub fn add_v6(&self, host: &Host, count: u16) -> Vec<Ipv6Addr> {
        host.add_v6((1..=count).map(|i| host.v6(i)).collect())
    }

    /// Gives `host` so many IPv6 addresses that are Global, and a route to all that are, for programs that
    /// use no others.
    pub fn add_global_v6(&self, host: &Host, count: u16) -> Vec<Ipv6Addr> {
        let number = host.ip.octets()[2].into();
        let address = |i| Ipv6Addr::new(0x2001, 0xdb8, number, i, 0, 0, 0, 1);
        let addresses = host.add_v6((1..=count).map(address).collect());
        ip(&["-n", &host.namespace, "-6", "route", "add", "default", "dev", "eth0"]);
        addresses
    }

    /// Lets nothing pass between two hosts.
    pub fn separate(&self, one: &Host, other: &Host) {
        for (host, to) in [(one, other), (other, one)] {
            let route = ["route", "add", "blackhole", &format!("{}/32", to.ip)];
            ip(&[&["-n", &host.namespace], &route[..]].concat());
        }
    }

    /// Gives `host` a Global address, with a port, and lets `outside` be all others that there are: what is
    /// sent from any address comes from there, and what is sent to it is received there.
    pub fn face(&self, host: &Host, outside: &Host) -> SocketAddr {
        let (own, gateway) = (Ipv4Addr::new(198, 51, 100, 7), "198.51.100.1");
        let in_host = |args: &[&str]| ip(&[&["-n", &host.namespace], args].concat());
        let in_outside = |args: &[&str]| ip(&[&["-n", &outside.namespace], args].concat());
        in_host(&["addr", "add", &format!("{own}/24"), "dev", "eth0"]);
        in_outside(&["addr", "add", &format!("{gateway}/24"), "dev", "eth0"]);
        in_host(&["route", "add", "default", "via", gateway]);
        in_outside(&["route", "add", "local", "default", "dev", "lo", "table", "main"]);
        SocketAddr::new(own.into(), 6881)
    }

    /// A folder for the files of the test; removed with the network.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in self.hosts.iter().chain([&self.switch]) {
            remove(namespace);
        }
        if std::thread::panicking() && std::env::var_os("KEEP_FILES").is_some() {
            self.scratch.disable_cleanup(true);
            eprintln!("---- files kept in {:?}", self.scratch.path());
        }
    }
}

impl Host {
    /// `program`, to be run on this host, in its folder.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command.current_dir(&self.folder);
        command
    }

    /// Does `work` with the sockets of this host: on a thread of its own, as are all that it starts.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            enter_namespace(&self.namespace);
            work()
        };
        scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Its IPv6 address of this number, once it has so many: a /32 for all hosts and a /64 for each.
    pub fn v6(&self, number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, self.ip.octets()[2].into(), 0, 0, 0, number)
    }

    fn add_v6(&self, addresses: Vec<Ipv6Addr>) -> Vec<Ipv6Addr> {
        for address in &addresses {
            // `nodad`: it can be bound at once.
            let add = ["addr", "add", &format!("{address}/32"), "dev", "eth0", "nodad"];
            ip(&[&["-n", &self.namespace], &add[..]].concat());
        }
        addresses
    }

    /// Its address with `port`.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip.into(), port)
    }
}

/// Moves the calling thread, and what it will start, into a namespace.
pub(crate) fn enter_namespace(name: &str) {
    let path = Path::new(NAMESPACES).join(name);
    let namespace = File::open(&path).unwrap_or_else(|error| panic!("open {path:?}: {error}"));
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|error| panic!("enter {path:?}: {error}"));
}

pub(crate) fn ip(arguments: &[&str]) {
    let mut command = Command::new("ip");
    command.args(arguments);
    output_of(command);
}

/// Kills what runs in a namespace and removes it. Best effort: it may be gone already.
pub(crate) fn remove(namespace: &str) {
    if let Ok(pids) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
    }
    let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
}

/// Removes what earlier test processes left, the first time.
pub(crate) fn sweep_once() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
}

/// Removes the namespaces of test processes that no longer run.
fn sweep() {
    let Ok(list) = Command::new("ip").args(["netns", "list"]).output() else {
        panic!("`ip` is missing: run `tests/run` once, it installs iproute2");
    };
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use crate::wait::{secs, wait_until};

    fn namespaces() -> String {
        String::from_utf8_lossy(
            &Command::new("ip").args(["netns", "list"]).output().unwrap().stdout,
        )
        .into_owned()
    }

    #[test]
    fn hosts_reach_each_other_by_their_own_addresses_and_nothing_is_left() {
        let mut lan = Lan::new();
        let (a, b) = (lan.host("a"), lan.host("b"));
        let serve = "import socket; s = socket.create_server(('', 7)); print('up', flush=True); \
                     c, who = s.accept(); c.sendall(who[0].encode())";
        let mut command = a.command("python3");
        command.args(["-c", serve]);
        let mut server = Process::spawn("server", command, &a.folder);
        server.wait_line("a greeting", secs(10), |line| (line == "up").then_some(()));
        let mut client = b.command("python3");
        client.args([
            "-c",
            &format!(
                "import socket; print(socket.create_connection(('{}', 7), 5).recv(99).decode())",
                a.ip
            ),
        ]);
        assert_eq!(output_of(client).trim(), b.ip.to_string());
        let (switch, folder) = (lan.switch.clone(), lan.path().to_owned());
        assert!(namespaces().contains(&switch));
        drop(lan);
        assert!(!namespaces().contains(&switch));
        assert!(!folder.exists());
        wait_until("the end of the server", secs(5), || server.ended().is_some());
    }

    #[test]
    fn a_thread_inside_has_the_addresses_of_its_host() {
        let mut lan = Lan::new();
        let host = lan.host("a");
        let bind = || std::net::TcpListener::bind(host.at(7)).map(|_| ());
        assert_eq!(bind().unwrap_err().kind(), std::io::ErrorKind::AddrNotAvailable);
        host.enter(bind).unwrap();
    }

    #[test]
    fn hosts_that_are_separate_reach_others_alone() {
        let mut lan = Lan::new();
        let (a, b, c) = (lan.host("a"), lan.host("b"), lan.host("c"));
        let _server = b.enter(|| std::net::TcpListener::bind(b.at(7))).unwrap();
        let connect = |from: &Host| from.enter(|| std::net::TcpStream::connect(b.at(7)).is_ok());
        assert!(connect(&a));
        lan.separate(&a, &b);
        assert_eq!((connect(&a), connect(&c)), (false, true));
    }

    #[test]
    fn no_route_leads_out() {
        let mut lan = Lan::new();
        let host = lan.host("a");
        let mut command = host.command("ip");
        command.args(["route", "get", "192.0.2.1"]);
        let output = command.output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("unreachable"));
    }

    #[test]
    fn what_a_dead_test_left_is_swept() {
        // A process id above the largest that Linux gives out.
        let name = format!("{PREFIX}4194999-0");
        ip(&["netns", "add", &name]);
        sweep();
        assert!(!namespaces().contains(&name));
    }
}
