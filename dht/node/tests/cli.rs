//! The binary as a user runs it, on loopback.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const HASH: &str = "2c6b6858d61da9543d4231a71db4b1c9264b0685";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dht-node"));
    command.args(args).env_remove("RUST_LOG").stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running node; it is killed when the test ends.
struct Running {
    child: Child,
    id: String,
    addr: String,
}

impl Running {
    fn start(folder: &Path, bootstrap: Option<&str>) -> Running {
        let (running, _) = Running::start_at(&["127.0.0.1:0"], folder, bootstrap);
        running
    }

    /// Starts a node at these addresses; what it says when it is ready comes with it.
    fn start_at(
        binds: &[&str],
        folder: &Path,
        bootstrap: Option<&str>,
    ) -> (Running, serde_json::Value) {
        let folder = folder.to_str().unwrap();
        let mut args = vec!["bootstrap", "--data-dir", folder, "--json"];
        args.extend(binds.iter().flat_map(|addr| ["--bind", addr]));
        if let Some(bootstrap) = bootstrap {
            args.extend(["--bootstrap", bootstrap]);
        }
        let mut child = command(&args).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["event"], "ready");
        let string = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        let (id, addr) = (string(&ready["ids"][0]), string(&ready["addrs"][0]));
        (Running { child, id, addr }, ready)
    }

    /// Stops it as an operator would, and waits until it has ended.
    fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command until it exits with 0: a new node needs a moment to be known to others.
fn run_until_done(args: &[&str]) -> Output {
    run_until(args, |out| out.status.success())
}

/// Runs a command until its output is as wished.
fn run_until(args: &[&str], done: impl Fn(&Output) -> bool) -> Output {
    let start = Instant::now();
    loop {
        let out = run(args);
        if done(&out) || start.elapsed() > Duration::from_secs(20) {
            return out;
        }
    }
}

#[test]
fn an_overlay_is_founded_joined_asked_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let first = Running::start(&path("0"), None);
    let others: Vec<_> =
        (1..8).map(|n| Running::start(&path(&n.to_string()), Some(&first.addr))).collect();
    let last = &others[6].addr;

    let ping = run(&["ping", last]);
    assert!(ping.status.success());
    assert!(text(&ping.stdout).starts_with(&format!("{} {last} ", others[6].id)));

    let announced = run_until_done(&["announce", "--bootstrap", last, "--port", "7001", HASH]);
    assert!(announced.status.success(), "{}", text(&announced.stderr));
    let found = run_until_done(&["lookup", "--bootstrap", &others[2].addr, HASH]);
    assert_eq!(text(&found.stdout), "127.0.0.1:7001\n");
    assert!(text(&found.stderr).contains("1 peer found"));

    let found = run(&["lookup", "--json", "--bootstrap", &others[3].addr, HASH]);
    let stdout = text(&found.stdout);
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert_eq!((&lines[0]["event"], &lines[0]["addr"]), (&"peer".into(), &"127.0.0.1:7001".into()));
    assert_eq!((&lines[1]["event"], &lines[1]["peers"]), (&"done".into(), &1.into()));

    let nodes = run(&["find-node", "-q", "--bootstrap", last, &first.id]);
    let expected = format!("{} {}\n", first.id, first.addr);
    assert!(text(&nodes.stdout).starts_with(&expected), "closest first: {}", text(&nodes.stdout));

    let nothing = run(&["lookup", "--bootstrap", last, &HASH.replace("2c", "3c")]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(text(&nothing.stderr).contains("no peers found"));

    // Stopped, a node keeps its id and finds the others without any bootstrap contact.
    let id = others[6].id.clone();
    let mut others = others;
    assert_eq!(others.pop().unwrap().stop(), 0);
    assert_eq!(first.stop(), 0);
    let again = Running::start(&path("7"), None);
    assert_eq!(again.id, id);
    let found = run_until_done(&["lookup", "--bootstrap", &again.addr, HASH]);
    assert_eq!(text(&found.stdout), "127.0.0.1:7001\n");

    // What it saved is enough for other commands too, while it runs.
    let kept = path("7");
    let found = run(&["lookup", "--data-dir", kept.to_str().unwrap(), HASH]);
    assert_eq!(text(&found.stdout), "127.0.0.1:7001\n", "{}", text(&found.stderr));

    let second =
        run(&["bootstrap", "--bind", "127.0.0.1:0", "--data-dir", path("7").to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("in use by another dht-node"));
}

#[test]
fn failures_have_their_exit_codes_and_say_what_to_do() {
    let long = format!("{}:1", "x".repeat(70));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Running::start(folder.path(), None).stop(), 0);
    let alone = folder.path().to_str().unwrap();
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = free.local_addr().unwrap().to_string();
    for (args, code, hint) in [
        (vec!["lookup", "xyz"], 2, "40 hexadecimal digits"),
        (vec!["lookup", "--bootstrap", "host", HASH], 2, "a port is missing, as in host:6881"),
        (vec!["announce", HASH], 2, "--port"),
        (vec!["announce", "--port", "0", HASH], 2, "1..=65535"),
        (vec!["nonsense"], 2, "--help"),
        (
            vec!["lookup", "--bootstrap", &silent, "--timeout", "0.3", HASH],
            3,
            "--bootstrap HOST:PORT",
        ),
        (vec!["find-node", "--bootstrap", &silent, "--timeout", "0.3", HASH], 3, "no nodes found"),
        (
            vec!["announce", "--bootstrap", &silent, "--timeout", "0.3", "--port", "1", HASH],
            3,
            "no node",
        ),
        (vec!["ping", &silent, "--timeout", "0.3"], 3, "no answer from"),
        (vec!["contacts"], 2, "--data-dir DIR"),
        (vec!["contacts", "--data-dir", "/none"], 1, "no contacts are saved in /none"),
        (vec!["contacts", "import", "--data-dir", alone, "/none"], 1, "/none: No such file"),
        (
            vec!["contacts", "import", "--data-dir", alone, "/dev/zero"],
            2,
            "more than 4194304 bytes",
        ),
        (vec!["lookup", "--data-dir", "/none", HASH], 1, "no contacts are saved in /none"),
        (vec!["lookup", "--data-dir", alone, HASH], 1, "no contacts are saved"),
        (vec!["lookup", "--bind", &silent, "--bootstrap", &silent, HASH], 4, "another --bind"),
        (vec!["lookup", "--bootstrap", &long, HASH], 4, "by address"),
        (vec!["ping", &long], 4, "IP address"),
    ] {
        let out = run(&args);
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(hint), "{args:?}: {stderr}");
        assert!(out.stdout.is_empty());
    }
}

#[test]
fn contacts_go_from_one_node_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let first = Running::start(Path::new(&path("first")), None);
    let second = Running::start(Path::new(&path("second")), Some(&first.addr));
    let id = second.id.clone();
    assert!(
        run_until_done(&["find-node", "--bootstrap", &second.addr, &first.id]).status.success()
    );
    assert_eq!(second.stop(), 0);
    let printed = run(&["contacts", "--data-dir", &path("second")]);
    assert_eq!(text(&printed.stdout), format!("{} {}\n", first.id, first.addr));
    assert_eq!(text(&printed.stderr), format!("1 contact of node {id}\n"));
    let printed = text(&run(&["contacts", "--data-dir", &path("second"), "--json"]).stdout);
    let told: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&told[0]["id"], &told[0]["addr"]), (&first.id[..].into(), &first.addr[..].into()));
    assert_eq!((&told[1]["ids"][0], &told[1]["contacts"]), (&id.into(), &1.into()));

    // By standard input into a folder that is not there yet, by a file into one that is.
    let list = format!("# known\n{} {}\n\n{HASH} 127.0.0.1:9", first.id, first.addr);
    let mut child = command(&["contacts", "import", "--data-dir", &path("third")])
        .stdin(Stdio::piped())
        .spawn();
    let child = child.as_mut().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), list.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::write(path("list"), &list).unwrap();
    let again = run(&["contacts", "import", "--data-dir", &path("third"), &path("list"), "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&told["imported"], &told["contacts"]), (&2.into(), &2.into()));

    let third = Running::start(Path::new(&path("third")), None);
    assert_eq!(told["ids"][0], third.id);
    // It tells of it once it has answered.
    let found =
        |out: &Output| text(&out.stdout).starts_with(&format!("{} {}\n", first.id, first.addr));
    let find = ["find-node", "-q", "--bootstrap", &third.addr, &first.id];
    assert!(found(&run_until(&find, found)));
    // Who names a node needs no contacts yet.
    let asked = run(&["lookup", "--data-dir", &path("new"), "--bootstrap", &third.addr, HASH]);
    assert_eq!(asked.status.code(), Some(3), "{}", text(&asked.stderr));
    let refused = run(&["contacts", "import", "--data-dir", &path("third"), &path("list")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("in use by another dht-node"));

    // A wrong list changes nothing, and is told by its lines.
    std::fs::write(path("wrong"), format!("{list}\n{HASH}\n{HASH} 1.2.3.4:0\nxyz 1.2.3.4:5"))
        .unwrap();
    for name in ["second", "fourth"] {
        let wrong = run(&["contacts", "import", "--data-dir", &path(name), &path("wrong")]);
        let said = text(&wrong.stderr);
        assert_eq!(wrong.status.code(), Some(2), "{said}");
        for line in ["line 5: not an id", "line 6: no node can", "line 7: ", "nothing is imported"]
        {
            assert!(said.contains(line), "{said}");
        }
    }
    assert!(
        text(&run(&["contacts", "--data-dir", &path("second")]).stderr).starts_with("1 contact ")
    );
    assert!(!Path::new(&path("fourth")).exists());
}

#[test]
fn a_damaged_state_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dht.state"), b"garbage").unwrap();
    let node = Running::start(folder.path(), None);
    assert_eq!(node.stop(), 0);
    assert_eq!(std::fs::read(folder.path().join("dht.damaged")).unwrap(), b"garbage");
    assert!(std::fs::read(folder.path().join("dht.state")).unwrap().starts_with(b"TLDHTSNP"));
}

#[test]
fn items_are_stored_found_and_changed_by_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(&dir.path().join("node"), None);
    let key = dir.path().join("my.key");
    let key = key.to_str().unwrap();
    let dht = |args: &[&str]| {
        let common = ["--bootstrap", &node.addr, "--bind", "127.0.0.1:0", "--timeout", "5"];
        run(&[args, &common].concat())
    };
    let says = |out: &Output, code: i32, word: &str| {
        let said = text(&out.stdout) + &text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    };
    let hello = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
    says(&dht(&["get", hello]), 3, "no node has this item");
    says(&dht(&["put", "Hello World!", "--check"]), 0, "1 have it on asking");
    assert_eq!(text(&dht(&["get", hello]).stdout), "Hello World!\n");
    assert_eq!(text(&dht(&["get", hello, "--bencode"]).stdout), "12:Hello World!");
    says(&dht(&["put", "--bencode", "i03e"]), 2, "no canonical bencode");
    says(&dht(&["put", &"x".repeat(1000)]), 2, "more than 1000 bytes");
    says(&dht(&["put", "--key", "/none", "x"]), 1, "dht-node keygen");

    let public = text(&run(&["keygen", key]).stdout).trim().to_owned();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    says(&run(&["keygen", key]), 1, "exists");
    for version in 0..3 {
        let number = format!("sequence number {version}");
        says(&dht(&["put", "--key", key, "--salt", "news", &format!("v{version}")]), 0, &number);
    }
    assert_eq!(text(&dht(&["get", &public, "--salt", "news"]).stdout), "v2\n");
    says(&dht(&["get", &public]), 3, "no node has this item of the key");
    let put = dht(&["put", "--key", key, "--salt", "more", "x", "--quiet"]);
    assert_eq!(text(&put.stdout), format!("{public}\n"), "what `get` takes");
    says(&dht(&["put", "--key", key, "--salt", "news", "--seq", "1", "x"]), 5, "newer item");
    let stale = ["put", "--key", key, "--salt", "news", "--seq", "9", "--cas", "1", "x"];
    says(&dht(&stale), 5, "somebody else changed it");

    let status =
        run(&["status", "--data-dir", dir.path().join("node").to_str().unwrap(), "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["ids"][0], &status["items"]), (&node.id.clone().into(), &3.into()));
    says(&run(&["status", "--data-dir", dir.path().to_str().unwrap()]), 3, "running?");
    says(&run(&["status"]), 2, "--data-dir");
}

#[test]
fn an_announce_that_is_repeated_ends_by_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(dir.path(), None);
    for signal in ["-INT", "-TERM"] {
        let args = ["announce", HASH, "--port", "7001", "--every", "10", "--bind", "127.0.0.1:0"];
        let mut child = command(&args).args(["--bootstrap", &node.addr]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("announced to 1 node"), "{line}");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("announced 1 times of 1; again in "), "{said}");
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_node_with_several_addresses_is_one_at_each() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let first = Running::start(folders[0].path(), None);
    let binds = ["127.0.0.2:0", "127.0.0.3:0", "[::1]:0"];
    let (several, ready) = Running::start_at(&binds, folders[1].path(), Some(&first.addr));
    let list = |key: &str| -> Vec<String> {
        let values = ready[key].as_array().unwrap();
        values.iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let (ids, addrs) = (list("ids"), list("addrs"));
    assert_eq!((ids.len(), addrs.len()), (3, 3));
    for (id, addr) in ids.iter().zip(&addrs) {
        let pong = run(&["ping", addr]);
        assert!(text(&pong.stdout).starts_with(&format!("{id} {addr} ")), "{}", text(&pong.stdout));
    }
    // Its neighbour knows it at both addresses of its family.
    for n in 0..2 {
        let line = format!("{} {}\n", ids[n], addrs[n]);
        let args = ["find-node", "-q", "--bootstrap", &first.addr, &ids[n]];
        let found = run_until(&args, |out| text(&out.stdout).starts_with(&line));
        assert!(text(&found.stdout).starts_with(&line), "{}", text(&found.stdout));
    }
    // An announce of such a node tells of each address.
    let announce = ["announce", "-q", "--bootstrap", &first.addr, "--port", "7777", HASH];
    let binds = ["--bind", "127.0.0.4:0", "--bind", "127.0.0.5:0"];
    assert!(run(&[&announce[..], &binds[..]].concat()).status.success());
    let peers = run_until_done(&["lookup", "-q", "--bootstrap", &first.addr, HASH]);
    let mut found: Vec<_> = text(&peers.stdout).lines().map(str::to_owned).collect();
    found.sort_unstable();
    assert_eq!(found, ["127.0.0.4:7777", "127.0.0.5:7777"]);
    // The ids are the same the next time.
    assert_eq!(several.stop(), 0);
    let binds: Vec<_> = addrs.iter().map(String::as_str).collect();
    let (_again, ready) = Running::start_at(&binds, folders[1].path(), Some(&first.addr));
    let ids_again = ready["ids"].as_array().unwrap();
    assert!(ids_again.iter().zip(&ids).all(|(again, id)| again.as_str() == Some(id)));
    let status = run(&["status", "--json", "--data-dir", folders[1].path().to_str().unwrap()]);
    let status: serde_json::Value = serde_json::from_str(&text(&status.stdout)).unwrap();
    assert_eq!((&status["ids"], &status["addrs"]), (&ready["ids"], &ready["addrs"]));
}

#[test]
fn more_sockets_than_a_node_can_have_are_refused() {
    let binds = ["--bind", "127.0.0.1:0"].repeat(256);
    let out = run(&[&["lookup", "--bootstrap", "127.0.0.1:1", HASH][..], &binds[..]].concat());
    assert_eq!(out.status.code(), Some(4));
    assert!(text(&out.stderr).contains("at most 255 sockets"), "{}", text(&out.stderr));
}

#[test]
fn what_cannot_be_is_refused_before_anybody_is_asked() {
    let cases: [(&[&str], &str); 3] = [
        (&["--bind", "127.0.0.1:6999", "--bind", "127.0.0.1:6999"], "given twice"),
        (&["--bind", "[::1]:0"], "a node of the same family"),
        (&["--bootstrap", "127.0.0.1:0", "--bind", "[::1]:0"], "a node of the same family"),
    ];
    for (args, words) in cases {
        let out = run(&[&["lookup", "--bootstrap", "127.0.0.1:1", HASH], args].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(text(&out.stderr).contains(words), "{}", text(&out.stderr));
    }
}

#[test]
fn a_node_that_cannot_join_says_so_and_one_whose_terminal_closes_saves() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let args = ["bootstrap", "--bind", "127.0.0.1:0", "--bootstrap", "127.0.0.1:1", "--data-dir"];
    let mut child = command(&[&args[..], &[data]].concat()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("nobody whom this node asked has answered yet"), "{said}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(folder.path().join("dht.state").exists());
}
