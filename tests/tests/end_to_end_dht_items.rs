//! `dht-node put`, `get`, `keygen`, `scrape`, `sample` and `size` as their user has them, in an overlay
//! on loopback.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use harness::cli::{Place, Program, Run, prefixed};
use serde_json::Value;

const HELLO: &str = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
const INFO_HASH: &str = "5f2e6a0b9c1d4837e6f5a4b3c2d1e0f9a8b7c6d5";

/// An overlay of nine nodes, and commands that enter it by the first.
struct Overlay {
    place: Place,
    entry: String,
    _nodes: Vec<Program>,
}

impl Overlay {
    fn new(net: u8) -> Self {
        let mut overlay = Self { place: Place::new(net), entry: String::new(), _nodes: Vec::new() };
        for host in 1..=9 {
            let bind = overlay.place.any_port(host);
            let mut arguments = vec!["bootstrap", "--json", "--bind", &bind];
            if host > 1 {
                arguments.extend(["--bootstrap", &overlay.entry]);
            }
            let command = overlay.place.command_of("dht-node", arguments);
            let mut node = overlay.place.start_command(command);
            let ready = node.wait_event("ready");
            if host == 1 {
                overlay.entry = ready["addrs"][0].as_str().unwrap_or_default().to_owned();
            } else {
                node.wait_event("joined");
            }
            overlay._nodes.push(node);
        }
        overlay
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let bind = self.place.any_port(100);
        let more = ["--bind", &bind, "--bootstrap", &self.entry];
        self.place.command_of("dht-node", arguments.iter().chain(&more))
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.place.run_command(self.command(arguments))
    }

    /// What a command prints that does what it should.
    fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        run.assert_code(0);
        assert_eq!(run.stderr, "", "{run}");
        run.stdout
    }

    /// The one object that a command prints with `--json`.
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.done(&[arguments, &["--json"]].concat());
        assert_eq!(said.lines().count(), 1, "{said}");
        let value: Value = serde_json::from_str(&said).unwrap_or_default();
        assert!(value["elapsed_ms"].is_u64(), "{said}");
        value
    }
}

#[test]
fn a_value_comes_back_as_it_was_put() {
    let overlay = Overlay::new(110);
    let said = overlay.done(&["put", "Hello World!"]);
    assert!(said.starts_with(&format!("{HELLO} stored by 8 nodes in ")), "{said}");
    let said = overlay.done(&["put", "--check", "Hello World!"]);
    assert!(said.ends_with("; 8 have it on asking\n"), "{said}");
    assert_eq!(overlay.done(&["get", HELLO]), "Hello World!\n");
    assert_eq!(overlay.done(&["get", "--bencode", HELLO]), "12:Hello World!");

    let put = overlay.json(&["put", "--check", "Hello World!"]);
    let told = |value: &Value, keys: &[&str]| {
        keys.iter().map(|key| value[key].to_string()).collect::<Vec<_>>()
    };
    let target = format!("{HELLO:?}");
    let keys = ["event", "target", "seq", "accepted", "holders"];
    assert_eq!(told(&put, &keys), ["\"stored\"", &target, "null", "8", "8"]);
    let got = overlay.json(&["get", HELLO]);
    let (keys, hex) = (["event", "target", "value", "bencode", "seq"], hex("12:Hello World!"));
    assert_eq!(told(&got, &keys), ["\"item\"", &target, "\"Hello World!\"", &hex, "null"]);
    assert!(got["holders"].as_u64() > Some(0), "{got}");

    // All kinds of bencode, from files and standard input; the largest too.
    let large = "x".repeat(996);
    let cases: [(&[u8], bool, Value, &str); 7] = [
        (b"", false, "".into(), "\n"),
        (b"a\nb\n", false, "a\nb\n".into(), "a\nb\n\n"),
        (large.as_bytes(), false, large.as_str().into(), &format!("{large}\n")),
        (b"\xff\x00", false, Value::Null, "\u{fffd}\0\n"),
        (b"i-42e", true, (-42).into(), "i-42e\n"),
        (b"l4:spami1ee", true, Value::Null, "l4:spami1ee\n"),
        (b"d1:ai1e1:ble4:listl1:xee", true, Value::Null, "d1:ai1e1:ble4:listl1:xee\n"),
    ];
    for (bytes, bencode, value, printed) in cases {
        fs::write(overlay.place.path("value"), bytes).unwrap();
        let more = if bencode { &["--bencode"][..] } else { &[] };
        let said = overlay.done(&[&["put", "--file", "value"], more].concat());
        let target = &said[..40];
        let input = ["sh", "-c", "exec \"$0\" \"$@\" < value"];
        let put = overlay.command(&[&["put", "--file", "-"], more].concat());
        let again = overlay.place.run_command(prefixed(input, &put));
        again.assert_code(0);
        assert_eq!(&again.stdout[..40], target);
        assert_eq!(overlay.done(&["get", target]), printed);
        assert_eq!(overlay.json(&["get", target])["value"], value, "{printed:?}");
    }
}

fn hex(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:?}")
}

#[test]
fn the_owner_of_a_key_changes_what_it_stored() {
    let overlay = Overlay::new(111);
    let public = overlay.done(&["keygen", "my.key"]).trim().to_owned();
    assert_eq!(public.len(), 64, "{public}");
    let put = |more: &[&str]| overlay.run(&[&["put", "--key", "my.key"], more].concat());
    for seq in 0..3 {
        let run = put(&["--salt", "news", &format!("version {seq}")]);
        let words = format!("stored by 8 nodes with sequence number {seq} in ");
        assert!(run.assert_code(0).stdout.contains(&words), "{run}");
    }
    let get = ["get", "--salt", "news", &public];
    assert_eq!(overlay.done(&get), "version 2\n");
    let got = overlay.json(&get);
    assert_eq!((&got["seq"], &got["value"]), (&2.into(), &"version 2".into()));

    // One salt is not another, and no salt is none.
    for other in [&["get", "--salt", "New", &public][..], &["get", &public]] {
        overlay.run(other).assert_code(3).assert_error(&["error: no node has this item"]);
    }
    // Older, or not what was to be replaced.
    let run = put(&["--salt", "news", "--seq", "1", "older"]);
    run.assert_code(5).assert_error(&["a newer item is stored", "leave --seq out"]);
    for more in [&["--cas", "1"][..], &["--cas", "1", "--seq", "3"]] {
        let run = put(&[&["--salt", "news", "conflict"], more].concat());
        let words = ["another one than --cas says", "get it, and put again"];
        assert_eq!(run.assert_code(5).assert_error(&words).stdout, "");
    }
    assert_eq!(overlay.done(&get), "version 2\n");
    put(&["--salt", "news", "--cas", "2", "--seq", "10", "version 10"]).assert_code(0);
    assert_eq!(overlay.json(&get)["seq"], 10);
    // There is none after the last.
    let last = i64::MAX.to_string();
    put(&["--seq", &last, "the last word"]).assert_code(0);
    assert_eq!(overlay.done(&["get", &public]), "the last word\n");
    let run = put(&["one more"]);
    run.assert_code(5).assert_error(&["highest sequence number", "choose another --salt"]);
}

#[test]
fn a_key_is_kept_for_its_owner_and_never_overwritten() {
    let overlay = Overlay::new(112);
    let made =
        overlay.place.run_command(overlay.place.command_of("dht-node", ["keygen", "my.key"]));
    made.assert_code(0);
    let path = overlay.place.path("my.key");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(made.stdout.trim()), "the public key is in the file");

    let again = overlay.run(&["keygen", "my.key"]);
    again.assert_code(1).assert_error(&["my.key", "exists", "another name"]);
    assert_eq!((again.stdout.as_str(), fs::read_to_string(&path).unwrap()), ("", text.clone()));
    overlay.run(&["keygen", "no/my.key"]).assert_code(1).assert_error(&["no/my.key", "No such"]);
    let other = overlay.run(&["keygen", "--json", "other.key"]);
    let event: Value = serde_json::from_str(&other.assert_code(0).stdout).unwrap();
    assert_eq!((&event["event"], &event["file"]), (&"key".into(), &"other.key".into()));

    let other_text = fs::read_to_string(overlay.place.path("other.key")).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (mine, others) = (lines(&text), lines(&other_text));
    let mixed = format!("{}\n{}\n{}\n", mine[0], mine[1], others[2]);
    for (bytes, words) in [
        (&b""[..], "no key file"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "no key file"),
        (b"\xff\xfe\0", "valid UTF-8"),
        (&text.as_bytes()[..60], "cut or damaged"),
        (mixed.as_bytes(), "do not belong together"),
    ] {
        fs::write(overlay.place.path("bad.key"), bytes).unwrap();
        let run = overlay.run(&["put", "--key", "bad.key", "text"]);
        run.assert_code(1).assert_error(&["bad.key", words, "dht-node keygen FILE"]);
    }
    let run = overlay.run(&["put", "--key", "missing.key", "text"]);
    run.assert_code(1).assert_error(&["missing.key", "No such file", "dht-node keygen FILE"]);
}

#[test]
fn what_is_no_item_is_refused_before_anybody_is_asked() {
    let place = Place::new(113);
    place.run_command(place.command_of("dht-node", ["keygen", "my.key"])).assert_code(0);
    let long = "x".repeat(997);
    fs::write(place.path("long"), &long).unwrap();
    fs::write(place.path("endless"), vec![b'x'; 10_000_000]).unwrap();
    let (key, salt) = ("a5".repeat(32), "s".repeat(65));
    let too_big = "more than 1000 bytes as bencode";
    let cases: [(&[&str], &[&str]); 19] = [
        (&["put", &long], &[too_big]),
        (&["put", "--file", "long"], &[too_big]),
        (&["put", "--file", "endless"], &[too_big]),
        (&["put", "--file", "/dev/zero"], &[too_big]),
        (&["put", "--key", "my.key", &long], &[too_big]),
        (&["put", "--bencode", "hello"], &["no canonical bencode", "5:hello"]),
        (&["put", "--bencode", "d1:b0:1:a0:e"], &["no canonical bencode"]),
        (&["put", "--bencode", ""], &["no canonical bencode"]),
        (&["put"], &["TEXT"]),
        (&["put", "text", "--file", "long"], &["cannot be used with"]),
        (&["put", "text", "--salt", "news"], &["--key"]),
        (&["put", "text", "--seq", "1"], &["--key"]),
        (&["put", "text", "--cas", "1"], &["--key"]),
        (&["put", "text", "--key", "my.key", "--salt", &salt], &["65 bytes", "64"]),
        (&["put", "text", "--key", "my.key", "--seq=-1"], &["-1", "0.."]),
        (&["get"], &["HASH|KEY"]),
        (&["get", &HELLO[1..]], &["40 hexadecimal digits", "64"]),
        (&["get", HELLO, "--salt", "news"], &["--salt belongs to a public key"]),
        (&["get", &key, "--salt", &salt], &["65 bytes", "64"]),
    ];
    // A node that is there, and hears nothing.
    let deaf = UdpSocket::bind((place.ip(1), 0)).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let entry = deaf.local_addr().unwrap().to_string();
    for (arguments, words) in cases {
        let more = ["--bootstrap", &entry];
        let run = place.run_command(place.command_of("dht-node", arguments.iter().chain(&more)));
        run.assert_code(2).assert_error(words);
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert!(deaf.recv_from(&mut [0; 1500]).is_err(), "{arguments:?} asked");
    }
    let put = place.command_of("dht-node", ["put", "--file", "missing", "--bootstrap", &entry]);
    place.run_command(put).assert_code(1).assert_error(&["missing", "No such file"]);
}

#[test]
fn nothing_found_and_nobody_there_are_told_apart() {
    let overlay = Overlay::new(114);
    let key = "a5".repeat(32);
    for (arguments, words) in [
        (vec!["get", HELLO], "no node has this item"),
        (vec!["get", &key, "--salt", "news"], "no node has this item"),
        (vec!["scrape", INFO_HASH], "no node knows of this torrent"),
        (vec!["sample"], "no node gave samples"),
    ] {
        let run = overlay.run(&[&arguments[..], &["--quiet"]].concat());
        assert_eq!(run.assert_code(3).assert_error(&[words]).stdout, "", "{arguments:?}");
        assert!(!run.stderr.contains("queries answered"), "they answered: {run}");
    }
    overlay.run(&["keygen", "my.key"]).assert_code(0);
    let deaf = UdpSocket::bind((overlay.place.ip(50), 0)).unwrap();
    let entry = deaf.local_addr().unwrap().to_string();
    for arguments in [
        &["get", HELLO][..],
        &["put", "text"],
        &["put", "text", "--key", "my.key"],
        &["scrape", INFO_HASH],
        &["sample"],
        &["size"],
    ] {
        let more = ["--timeout", "0.3", "--bootstrap", &entry];
        let all = arguments.iter().chain(&more);
        let run = overlay.place.run_command(overlay.place.command_of("dht-node", all));
        let words = ["queries answered in 0.3 s", "is the bootstrap contact up?", "--bootstrap"];
        assert_eq!(run.assert_code(3).assert_error(&words).stdout, "", "{arguments:?}");
    }
}

#[test]
fn swarms_are_counted_sampled_and_the_overlay_measured() {
    let overlay = Overlay::new(115);
    overlay.done(&["announce", INFO_HASH, "--port", "7001"]);
    let said = overlay.done(&["scrape", INFO_HASH]);
    assert!(said.starts_with("about 0 seeds and 1 other peer, as "), "{said}");
    let said = overlay.done(&["announce", INFO_HASH, "--port", "7001", "--seed", "--check"]);
    assert!(said.ends_with(" tell of it on asking\n") && !said.contains("; 0 "), "{said}");
    let counted = overlay.json(&["scrape", INFO_HASH]);
    let keys = ["event", "info_hash", "seeds", "peers"];
    let told = keys.map(|key| counted[key].to_string());
    assert_eq!(told, ["\"scrape\"", &format!("{INFO_HASH:?}"), "1", "0"]);

    assert_eq!(overlay.done(&["sample", "--quiet"]), format!("{INFO_HASH}\n"));
    let said = overlay.done(&["sample", "--json"]);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [sample, done] = &lines[..] else { panic!("{said}") };
    assert_eq!((&sample["event"], &sample["info_hash"]), (&"sample".into(), &INFO_HASH.into()));
    assert!(sample["from"].as_str().is_some_and(|from| from.parse::<SocketAddr>().is_ok()));
    assert_eq!((&done["event"], &done["info_hashes"]), (&"done".into(), &1.into()));

    let size = overlay.json(&["size"]);
    let number = |key: &str| size[key].as_u64().unwrap();
    let (low, nodes, high) = (number("low"), number("nodes"), number("high"));
    // Of so few it is rough.
    assert!(low <= nodes && nodes <= high && (3..=27).contains(&nodes), "{size}");
}

#[test]
fn a_reader_that_is_gone_is_no_failure_and_a_full_disk_is_one() {
    let overlay = Overlay::new(116);
    overlay.done(&["put", "Hello World!"]);
    for arguments in [&["get", HELLO][..], &["get", HELLO, "--json"], &["get", HELLO, "--bencode"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = overlay.command(arguments);
        let gone = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8_lossy(&gone.stderr);
        assert_eq!((gone.status.code(), &*error), (Some(0), ""), "{arguments:?}");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = overlay.command(arguments);
        let lost = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8_lossy(&lost.stderr);
        assert_eq!(lost.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("No space left"), "{arguments:?}: {error}");
    } // The exit code is the same when nobody hears why.
    let key = "a5".repeat(32);
    for (arguments, code) in [
        (vec!["get", &key], 3),
        (vec!["get", &key, "-vvv"], 3),
        (vec!["sample"], 3),
        (vec!["size"], 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = overlay.command(&arguments);
        let unheard = command.stdout(Stdio::null()).stderr(writer).status().unwrap();
        assert_eq!(unheard.code(), Some(code), "{arguments:?}");
    }
}
