//! `dht-node` where names cannot be resolved: what it saved is enough, and nothing waits for a name
//! server.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use harness::lan::{Host, Lan};
use harness::ours::DhtNode;
use harness::programs::our_binary;
use harness::wait::secs;

const INFO_HASH: &str = "2c6b6858d61da9543d4231a71db4b1c9264b0685";

/// A host whose name server hears everything and says nothing.
struct Nameless {
    host: Host,
    _server: DhtNode,
    _lan: Lan,
}

impl Nameless {
    fn new() -> Nameless {
        let mut lan = Lan::new();
        let host = lan.host("nameless");
        // A DHT node drops what is no KRPC.
        let server = DhtNode::start(&host, host.at(53), &[]);
        let text = format!("nameserver {}\n", host.ip);
        std::fs::write(host.folder.join("resolv.conf"), text).unwrap();
        Nameless { host, _server: server, _lan: lan }
    }

    /// `dht-node` with these arguments, which asks that name server: each command of a host has mounts
    /// of its own.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command("sh");
        command.args(["-c", "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" \"$@\""]);
        command.arg(our_binary("dht-node")).args(args);
        command
    }

    /// Runs it to its end, and how long that took.
    fn run(&self, args: &[&str]) -> (Output, Duration) {
        let start = Instant::now();
        let output = self.command(args).output().unwrap();
        (output, start.elapsed())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_silent_name_server_holds_no_command_up() {
    let nameless = Nameless::new();
    for args in [&["lookup", INFO_HASH][..], &["ping", "nowhere.invalid:6881"]] {
        let (output, time) = nameless.run(&[args, &["--timeout", "1"]].concat());
        assert!(time < secs(4), "{args:?} took {time:?}");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("resolve"), "{args:?}: {said}");
    }
}
