//! What `trackerless` does not take, and the exit codes and words it says so with.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use harness::cli::{Place, prefixed};
use harness::content::single_file;
use harness::hand_made::HandMade;
use harness::ports::free_address;
use std::time::Instant;

use harness::wait::secs;

#[test]
fn a_private_torrent_is_refused_wherever_it_comes_from() {
    let place = Place::new(70);
    let torrent = HandMade::private_file("private.bin", b"for the tracker's friends only");
    torrent.write(&place.path("private.torrent"), "8:announce15:udp://x.example");
    let (peer, bind) = (torrent.serve((place.ip(1), 0)).to_string(), place.any_port(2));
    let hash = torrent.info_hash();
    for target in ["private.torrent", &hash] {
        for list in [&["--list"][..], &[]] {
            let get = ["get", target, "--no-dht", "--bind", &bind, "--peer", &peer, "-o", "got"];
            let run = place.run([&get[..], list].concat());
            run.assert_code(6).assert_error(&["private (BEP 27)", "forbids the DHT"]);
            assert_eq!(run.stdout, "");
        }
    }
    assert!(!place.path("got/private.bin").exists());
}

#[test]
fn nonsense_is_refused_with_what_would_do() {
    let place = Place::new(71);
    single_file(&place.root(), "a.bin", 100_000, 71);
    place.folder("folder");
    fs::write(place.path("text.torrent"), "hello").unwrap();
    let v2 =
        "magnet:?xt=urn:btmh:1220caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let a_target = "give a magnet link, an info-hash or a .torrent file";
    let cases: [(&[&str], i32, &[&str]); 21] = [
        (&["get", "hello"], 2, &["hello", "neither", a_target]),
        (&["get", "αβγδεζη"], 2, &["αβγδεζη", "neither", a_target]),
        (&["get", ""], 2, &["neither", a_target]),
        (&["get", "folder"], 2, &["folder", "neither", a_target]),
        (&["get", &hash[1..]], 2, &["neither", a_target]),
        (&["get", &hash.replace('4', "x")], 2, &["40 hexadecimal or 32 base32", a_target]),
        (&["get", "magnet:?dn=x"], 2, &["names no torrent", "urn:btih", a_target]),
        (&["get", v2], 2, &["v2 torrents", "BEP 52", "not supported"]),
        (&["get", "missing.torrent"], 5, &["missing.torrent", "No such file", "info-hash"]),
        (&["get", "text.torrent"], 6, &["text.torrent", "not a torrent"]),
        (&["get", "a.bin"], 6, &["a.bin", "not a torrent"]),
        (&["get", hash, hash, "--no-dht"], 2, &["named twice"]),
        (&["get", hash, "--peer", "nowhere"], 2, &["--peer", "port is missing"]),
        (&["get", hash, "--bootstrap", "[::1]:0"], 2, &["--bootstrap", "1 to 65535"]),
        (&["get", hash, "--bind", "127.0.0.1"], 2, &["--bind"]),
        (&["get", hash, "--timeout", "soon"], 2, &["--timeout"]),
        (&["seed", "a.bin", "a.bin", "--no-dht"], 2, &["hold the same"]),
        (&["seed", "a.bin", "--piece-length", "20000"], 2, &["--piece-length", "power of two"]),
        (&["create", "a.bin", "-o", "x", "--node", "a:b"], 2, &["--node", "1 to 65535"]),
        (&["create", "a.bin", "-o", "no/x"], 5, &["no/x", "No such file", "-o"]),
        (&["fetch"], 2, &["unrecognized subcommand"]),
    ];
    for (arguments, code, words) in cases {
        let run = place.run(arguments);
        run.assert_code(code).assert_error(words);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
}

#[test]
fn an_address_in_use_is_told_with_the_way_out() {
    let place = Place::new(72);
    single_file(&place.root(), "a.bin", 100_000, 72);
    let tcp = TcpListener::bind((place.ip(1), 0)).unwrap();
    let udp = UdpSocket::bind((place.ip(2), 0)).unwrap();
    let (tcp, udp) = (tcp.local_addr().unwrap().to_string(), udp.local_addr().unwrap().to_string());
    let held = TcpListener::bind(free_address(place.ip(3))).unwrap();
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let own = held.local_addr().unwrap().to_string();
    for (bind, words) in [
        (&own, [&own[..], "TCP", "in use", "another address or port with --bind"]),
        (&udp, [&udp[..], "", "in use", "another address or port with --bind"]),
        (&"192.0.2.1:6881".into(), ["192.0.2.1:6881", "TCP", "assign", "--bind"]),
    ] {
        for command in [&["get", hash][..], &["seed", "a.bin"]] {
            let more = ["--bootstrap", &tcp, "--bind", bind];
            place.run([command, &more].concat()).assert_code(4).assert_error(&words);
        }
    }
}

#[test]
fn out_of_time_says_what_was_waited_for() {
    let place = Place::new(73);
    let torrent = HandMade::file("a.bin", &[1; 50_000]);
    torrent.write(&place.path("a.torrent"), "");
    let hash = torrent.info_hash();
    let honest = torrent.serve((place.ip(6), 0)).to_string();
    let (bind, nobody) = (place.any_port(1), free_address(place.ip(2)).to_string());
    let silent = TcpListener::bind((place.ip(3), 0)).unwrap();
    let deaf = silent.local_addr().unwrap().to_string();
    let dht = UdpSocket::bind((place.ip(4), 0)).unwrap();
    let no_node = dht.local_addr().unwrap().to_string();
    let stranger = HandMade::file("other", b"another torrent").serve((place.ip(5), 0)).to_string();
    let cases = [
        (vec!["--no-dht"], "no peer is known, and the DHT is off: name one with --peer"),
        (vec!["--no-dht", "--peer", &nobody], "no peer answers, and the DHT is off"),
        (vec!["--no-dht", "--peer", &deaf], "connecting to 1 peer"),
        (vec!["--no-dht", "--peer", &stranger], "no peer answers, and the DHT is off"),
        (vec!["--bootstrap", &no_node], "entering the DHT: no node has answered yet"),
    ];
    let mut running = Vec::new();
    for (i, (more, words)) in cases.iter().enumerate() {
        for target in [&hash[..], "a.torrent"] {
            // Two that get one torrent need a folder each.
            let output = format!("{i}-{target}");
            let get = ["get", target, "--bind", &bind, "-o", &output, "--timeout=1"];
            running.push((place.start([&get[..], more].concat()), words));
        }
    }
    for (program, words) in running {
        program.finish().assert_code(3).assert_error(&["out of time", words]);
    }
    // More seconds than a clock can count.
    let forever = u64::MAX.to_string();
    let get = ["get", "a.torrent", "--no-dht", "--bind", &bind, "--peer", &honest];
    place.run([&get[..], &["--timeout", &forever]].concat()).assert_code(0);
}

#[test]
fn a_silent_name_server_does_not_keep_the_program_from_ending() {
    let place = Place::new(74);
    let server = UdpSocket::bind((place.ip(53), 53)).unwrap();
    let config = format!("nameserver {}\n", server.local_addr().unwrap().ip());
    fs::write(place.path("resolv.conf"), config).unwrap();
    let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    let command = place.command(["get", hash, "--timeout", "1", "--bind", &place.any_port(1)]);
    let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" \"$@\"";
    let prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script];
    let start = Instant::now();
    let run = place.run_command(prefixed(prefix, &command));
    run.assert_code(3).assert_error(&["out of time", "no node has answered yet"]);
    assert!(start.elapsed() < secs(4), "it took {:?}", start.elapsed());
}
