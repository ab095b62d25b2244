//! `dht-node` where names cannot be resolved: what it saved is enough, and nothing waits for a name
//! server.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::lan::{Host, Lan};
use harness::network::addresses as addresses_of;
use harness::ours::{DhtNode, announce};
use harness::process::Process;
use harness::programs::our_binary;
use harness::wait::secs;

const INFO_HASH: &str = "2c6b6858d61da9543d4231a71db4b1c9264b0685";

/// A host whose name server hears everything and says nothing.
struct Nameless {
    host: Host,
    /// Its addresses but the first, each with a port.
    addresses: Vec<SocketAddr>,
    _server: DhtNode,
    _lan: Lan,
}

impl Nameless {
    fn new(addresses: u8) -> Nameless {
        let mut lan = Lan::new();
        let (host, mut addresses) = addresses_of(&mut lan, "nameless", addresses + 1);
        // A DHT node drops what is no KRPC.
        let server = DhtNode::start(&host, SocketAddr::new(addresses.remove(0).ip(), 53), &[]);
        let text = format!("nameserver {}\n", host.ip);
        std::fs::write(host.folder.join("resolv.conf"), text).unwrap();
        Nameless { host, addresses, _server: server, _lan: lan }
    }

    /// `dht-node` with these arguments, which asks that name server: each command of a host has mounts
    /// of its own.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command("sh");
        command.args(["-c", "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" \"$@\""]);
        command.arg(our_binary("dht-node")).args(args);
        command
    }

    /// Starts it; it dies with the value.
    fn start(&self, name: &str, args: &[&str]) -> Process {
        Process::spawn(name, self.command(args), &self.host.folder)
    }

    /// Runs it to its end, and how long that took.
    fn run(&self, args: &[&str]) -> (Output, Duration) {
        let start = Instant::now();
        let output = self.command(args).output().unwrap();
        (output, start.elapsed())
    }
}

/// The shortest of three times: the machine has other things to do.
fn best_of_three(mut time: impl FnMut() -> Duration) -> Duration {
    [time(), time(), time()].into_iter().min().unwrap()
}

/// The first peer that a lookup prints.
fn first_peer(mut command: Command) -> Option<String> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next();
    let _ = child.kill();
    child.wait().unwrap();
    line.map(Result::unwrap)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_silent_name_server_holds_no_command_up() {
    let nameless = Nameless::new(0);
    for args in [&["lookup", INFO_HASH][..], &["ping", "nowhere.invalid:6881"]] {
        let (output, time) = nameless.run(&[args, &["--timeout", "1"]].concat());
        assert!(time < secs(4), "{args:?} took {time:?}");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("resolve"), "{args:?}: {said}");
    }
}

#[test]
fn what_a_node_saved_answers_within_a_second_without_any_name() {
    let nameless = Nameless::new(12);
    let (host, addresses) = (&nameless.host, &nameless.addresses);
    let mut nodes: Vec<_> = Vec::new();
    for address in addresses {
        nodes.push(DhtNode::start(
            host,
            *address,
            if nodes.is_empty() { &[] } else { &addresses[..1] },
        ));
    }
    announce(host, INFO_HASH, 7001, addresses[0]);
    let peer = format!("{}:7001", host.ip);
    // It ends and saves; three of those that it knows are gone when it comes back, and so is the one
    // that it joined by.
    let mut last = nodes.pop().unwrap();
    last.process().signal("TERM");
    assert_eq!(last.process().wait(secs(10)).code(), Some(0));
    nodes.drain(..3);
    let folder = format!("dht-node-{}", addresses[11].ip());

    let lookup = ["lookup", INFO_HASH, "--data-dir", &folder];
    let time = best_of_three(|| {
        let start = Instant::now();
        assert_eq!(first_peer(nameless.command(&lookup)).as_ref(), Some(&peer));
        start.elapsed()
    });
    println!("the first peer {time:?} after the start of a lookup");
    assert!(time < secs(1), "{time:?}");

    let bind = addresses[11].to_string();
    let args = ["bootstrap", "--public", "--bind", &bind, "--data-dir", &folder, "--json"];
    let time = best_of_three(|| {
        let start = Instant::now();
        let mut node = nameless.start("warm", &args);
        // Asked before it heard of anybody, it can tell of nobody.
        let ask = ["lookup", INFO_HASH, "--bootstrap", &bind, "--timeout", "0.2"];
        while first_peer(nameless.command(&ask)).as_ref() != Some(&peer) {
            assert!(start.elapsed() < secs(20), "it finds nothing");
            node.assert_running();
        }
        let time = start.elapsed();
        // The name server is silent still.
        node.signal("TERM");
        assert_eq!(node.wait(secs(4)).code(), Some(0));
        time
    });
    println!("the first peer {time:?} after the start of the node that is asked");
    assert!(time < secs(1), "{time:?}");
}

/// K185: a name that has no address at first is asked for again, after pauses that grow.
#[test]
fn a_bootstrap_name_that_gets_an_address_later_is_joined_then() {
    let nameless = Nameless::new(2);
    let (host, addresses) = (&nameless.host, &nameless.addresses);
    let _first = DhtNode::start(host, addresses[0], &[]);
    let hosts = host.folder.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    std::fs::write(host.folder.join("nsswitch.conf"), "hosts: files\n").unwrap();
    let mut command = host.command("sh");
    let script = "mount --bind hosts /etc/hosts && mount --bind nsswitch.conf /etc/nsswitch.conf \
                  && exec \"$0\" \"$@\"";
    let name = format!("first.test:{}", addresses[0].port());
    let bind = addresses[1].to_string();
    command.args(["-c", script]).arg(our_binary("dht-node"));
    command.args(["bootstrap", "--bind", &bind, "--bootstrap", &name, "--json"]);
    let mut node = Process::spawn("second", command, &host.folder);
    let event = |name: &'static str| {
        move |line: &str| line.contains(&format!("\"event\":\"{name}\"")).then_some(())
    };
    node.wait_line("that it is ready", secs(20), event("ready"));
    std::thread::sleep(secs(3));
    assert!(!node.stdout().contains("joined"), "{}", node.stdout());
    std::fs::write(&hosts, format!("{} first.test\n", addresses[0].ip())).unwrap();
    node.wait_line("that it has joined", secs(20), event("joined"));
}
