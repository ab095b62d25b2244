//! `trackerless get` by everything that names a torrent.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::net::{SocketAddr, TcpListener};

use harness::cli::{Place, dht_node, prefixed};
use harness::content::{assert_same, digests, folder, single_file};
use harness::hand_made::HandMade;
use harness::ports::free_address;

#[test]
fn by_torrent_file_and_peer_alone() {
    let place = Place::new(10);
    let tree = folder(&place.root(), "tree", 1);
    let torrent = place.create(&tree, &[]);
    let seed = place.seed(1, &tree);
    let mut command = place.command(["get", "--no-dht", "-o", "got"]);
    command.args(["--bind", &place.any_port(2), "--peer", &seed.address.to_string()]).arg(torrent);
    let run = place.run_command(command);
    assert_eq!(run.assert_code(0).stdout, "got/tree\n");
    assert_same(&tree, &place.path("got/tree"));
}

#[test]
fn by_the_nodes_that_a_torrent_file_names() {
    let place = Place::new(11);
    let (_first, entry) = dht_node(&place, 1, &[]);
    let (_second, other) = dht_node(&place, 2, &[entry]);
    let (_third, third) = dht_node(&place, 3, &[entry]);
    let path = single_file(&place.root(), "a.bin", 1_000_003, 2);
    let torrent = place.create(&path, &["--node", &other.to_string()]);
    let mut seed = place.seed_with(4, &path, ["--bootstrap", &third.to_string()]);
    let announced = seed.program.wait_event("announced");
    assert!(announced["kept_by"].as_u64() > Some(0), "{announced}");
    let mut command = place.command(["get", "--json", "-o", "got", "--timeout", "30"]);
    command.args(["--bind", &place.any_port(5)]).arg(torrent);
    let run = place.run_command(command);
    let done = run.assert_code(0).event("done");
    assert!(done["dht"]["nodes"].as_u64() > Some(0), "{done}");
    assert_same(&path, &place.path("got/a.bin"));
}

#[test]
fn by_magnet_link_with_a_peer_in_it() {
    let place = Place::new(12);
    let path = single_file(&place.root(), "a b.bin", 300_001, 3);
    let seed = place.seed(1, &path);
    assert!(seed.magnet.ends_with("&dn=a%20b.bin"), "{}", seed.magnet);
    let link = format!("{}&x.pe={}", seed.magnet, seed.address);
    let bind = place.any_port(2);
    let run = place.run(["get", &link, "--no-dht", "-o", "got", "--bind", &bind]);
    assert_eq!(run.assert_code(0).stdout, "got/a b.bin\n");
    assert_same(&path, &place.path("got/a b.bin"));
}

#[test]
fn trackers_are_told_to_be_ignored() {
    let place = Place::new(13);
    let path = single_file(&place.root(), "a.bin", 100_000, 4);
    let seed = place.seed(1, &path);
    let link = format!("{}&tr=udp%3A%2F%2Fx.example%3A1&tr=http%3A%2F%2Fy&tr=z", seed.magnet);
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let more = ["--no-dht", "--bind", &bind, "--peer", &peer];
    let run = place.run([&["get", &link, "-o", "got"], &more[..]].concat());
    run.assert_code(0).assert_error(&["3 trackers", "ignored", "DHT"]);
    assert_same(&path, &place.path("got/a.bin"));

    let torrent = HandMade::file("b.bin", b"hand-made");
    torrent
        .write(&place.path("b.torrent"), "8:announce15:udp://x.example13:announce-listll1:a1:bee");
    let peer = torrent.serve((place.ip(3), 0)).to_string();
    let more = ["--no-dht", "--bind", &bind, "--peer", &peer];
    let run = place.run([&["get", "b.torrent", "-o", "got"], &more[..]].concat());
    run.assert_code(0).assert_error(&["2 trackers", "ignored"]);
    assert_eq!(fs::read(place.path("got/b.bin")).unwrap(), b"hand-made");
}

#[test]
fn several_at_once() {
    let place = Place::new(14);
    let tree = folder(&place.root(), "tree", 5);
    let a = single_file(&place.root(), "a.bin", 2_000_003, 6);
    let b = single_file(&place.root(), "b.bin", 1, 7);
    let torrent = place.create(&a, &[]);
    let seeds = [place.seed(1, &tree), place.seed(2, &a), place.seed(3, &b)];
    let mut command = place.command(["get", "--json", "--no-dht", "-o", "got"]);
    command.args(["--bind", &place.any_port(4)]);
    command.args([seeds[0].info_hash(), &seeds[2].magnet]).arg(&torrent);
    for seed in &seeds {
        command.args(["--peer", &seed.address.to_string()]);
    }
    let run = place.run_command(command);
    let events = run.assert_code(0).events();
    let done = events.iter().filter(|event| event["event"] == "done");
    let mut paths: Vec<_> = done.map(|event| event["paths"][0].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["got/a.bin", "got/b.bin", "got/tree"]);
    for path in [&tree, &a, &b] {
        assert_same(path, &place.path("got").join(path.file_name().unwrap()));
    }
}

#[test]
fn one_that_fails_does_not_keep_the_others() {
    let place = Place::new(15);
    let path = single_file(&place.root(), "good.bin", 3_000_000, 8);
    let seed = place.seed(1, &path);
    let bad = HandMade::private_file("private.bin", b"not for all");
    let bad_peer = bad.serve((place.ip(2), 0)).to_string();
    let link = format!("{}&x.pe={}", seed.magnet, seed.address);
    let bad_link = format!("magnet:?xt=urn:btih:{}&x.pe={bad_peer}", bad.info_hash());
    let bind = place.any_port(3);
    let run = place.run(["get", &bad_link, &link, "--no-dht", "-o", "got", "--bind", &bind]);
    run.assert_code(6).assert_error(&[&bad.info_hash(), "private (BEP 27)", "1 of 2 torrents"]);
    assert_eq!(run.stdout, "got/good.bin\n");
    assert_same(&path, &place.path("got/good.bin"));
}

#[test]
fn a_list_downloads_nothing() {
    let place = Place::new(16);
    let tree = folder(&place.root(), "tree", 9);
    let torrent = place.create(&tree, &[]);
    let seed = place.seed(1, &tree);
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let more = ["--list", "-o", "got", "--no-dht", "--bind", &bind, "--peer", &peer];
    let by_hash = place.run([&["get", seed.info_hash()], &more[..]].concat());
    let lines: Vec<_> = by_hash.assert_code(0).stdout.lines().collect();
    assert!(lines[0].starts_with(seed.info_hash()), "{by_hash}");
    assert_eq!(lines.len(), 1 + 50, "{by_hash}");
    let line = |path: &str| lines.iter().find(|line| line.ends_with(path)).copied();
    assert_eq!(line("tree/zz last/big.bin"), Some("    47        3145741  tree/zz last/big.bin"));
    assert!(line("tree/empty.dat").is_some_and(|line| line.contains(" 0  tree")), "{by_hash}");
    assert!(!place.path("got").exists());

    // What a file says can be listed without any network.
    let mut command = place.command(["get", "--list", "-o", "got", "--bind", "192.0.2.1:1"]);
    command.arg(&torrent);
    let by_file = place.run_command(command);
    assert_eq!(by_file.assert_code(0).stdout, by_hash.stdout);
    let json = place.run([&["get", "--json", seed.info_hash()], &more[..]].concat());
    let listed = json.assert_code(0).event("metadata");
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(50), "{listed}");
    assert!(!place.path("got").exists());
}

#[test]
fn each_torrent_of_a_list_is_listed_once() {
    let place = Place::new(17);
    let (a, b) = (HandMade::file("a.bin", &[1; 40_000]), HandMade::file("b.bin", &[2; 50_000]));
    let late = free_address(place.ip(2));
    let links = [(&a, a.serve((place.ip(1), 0))), (&b, late)]
        .map(|(torrent, peer)| format!("magnet:?xt=urn:btih:{}&x.pe={peer}", torrent.info_hash()));
    let bind = place.any_port(3);
    let mut get = place.start(["get", "--list", "--no-dht", "--bind", &bind, &links[0], &links[1]]);
    get.wait_words("40000  a.bin");
    b.serve(late);
    let run = get.finish();
    let lines: Vec<_> = run.assert_code(0).stdout.lines().collect();
    let (first, second) = ("     0          40000  a.bin", "     0          50000  b.bin");
    let want = [&a.info_hash(), first, &b.info_hash(), second];
    assert_eq!(lines.len(), want.len(), "{run}");
    let is_said = lines.iter().zip(want).all(|(line, words)| line.starts_with(words));
    assert!(is_said, "{run}");
}

#[test]
fn by_info_hash_once_begun_nobody_is_asked_for_the_metadata_again() {
    let place = Place::new(18);
    let path = single_file(&place.root(), "a.bin", 400_000, 12);
    let seed = place.seed(1, &path);
    let hash = seed.info_hash().to_owned();
    let (bind, peer) = (place.any_port(2), seed.address.to_string());
    let get = ["get", &hash, "--no-dht", "--bind", &bind, "-o", "got", "--json"];
    place.run([&get[..], &["--peer", &peer]].concat()).assert_code(0);
    drop(seed);
    let again = place.run(get);
    let done = again.assert_code(0).event("done");
    assert_eq!((done["downloaded"].as_u64(), done["have"].as_u64()), (Some(0), Some(400_000)));
}

#[test]
fn a_peer_is_dialled_once_it_is_there() {
    let place = Place::new(19);
    let path = single_file(&place.root(), "late.bin", 200_000, 13);
    let torrent = place.create(&path, &[]);
    let address = free_address(place.ip(1));
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "got"]);
    command.args(["--bind", &place.any_port(2), "--peer", &address.to_string()]).arg(torrent);
    let mut get = place.start_command(command);
    get.wait_event("progress");
    let _seed = place.start(["seed", "late.bin", "--no-dht", "--bind", &address.to_string()]);
    get.finish().assert_code(0);
    assert_same(&path, &place.path("got/late.bin"));
}

#[test]
fn a_seed_that_is_told_of_us_dials_us() {
    let place = Place::new(20);
    let path = single_file(&place.root(), "a.bin", 200_000, 14);
    let torrent = place.create(&path, &[]);
    let us = free_address(place.ip(1)).to_string();
    let mut command = place.command(["get", "--no-dht", "--json", "-o", "got", "--bind", &us]);
    command.arg(torrent);
    let mut get = place.start_command(command);
    get.wait_event("started");
    let _seed = place.seed_with(2, &path, ["--no-dht", "--peer", &us]);
    get.finish().assert_code(0);
    assert_same(&path, &place.path("got/a.bin"));
}

#[test]
fn a_peer_that_lies_is_banned_and_another_one_asked() {
    let place = Place::new(21);
    let content: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let honest = HandMade::file("a.bin", &content);
    let liar = honest.clone().with_a_lie(100_000).serve((place.ip(1), 0));
    let hash = honest.info_hash();
    let bind = place.any_port(2);
    let more = ["--no-dht", "--json", "-o", "got", "--bind", &bind];
    let peer = format!("--peer={liar}");
    let run = place.run([&["get", &hash, "--timeout=2", &peer], &more[..]].concat());
    run.assert_code(3).event("hash_failed");
    assert_eq!(run.event("banned")["addr"], liar.to_string());

    let peers = [liar, honest.serve((place.ip(3), 0))].map(|peer| format!("--peer={peer}"));
    let both = [&["get", &hash, &peers[0], &peers[1]], &more[..]].concat();
    place.run(both).assert_code(0);
    assert_eq!(fs::read(place.path("got/a.bin")).unwrap(), content);
}

#[test]
fn all_addresses_share_the_port_that_the_system_chose() {
    let place = Place::new(22);
    let path = single_file(&place.root(), "file.bin", 1000, 1);
    let mut command = place.command(["seed", "--json", "--no-dht"]);
    for host in [1, 2, 3] {
        command.args(["--bind", &place.any_port(host)]);
    }
    command.arg(&path);
    let mut seed = place.start_command(command);
    let serving = seed.wait_event("serving");
    let ports: Vec<u16> = serving["listen"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|addr| addr.as_str()?.parse::<SocketAddr>().ok())
        .map(|addr| addr.port())
        .collect();
    assert_eq!(ports.len(), 3);
    assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn chosen_files_alone_are_fetched_and_the_others_later() {
    let place = Place::new(26);
    let tree = folder(&place.root(), "tree", 26);
    let torrent = place.create(&tree, &[]);
    let seed = place.seed(1, &tree);
    let get = |more: &[&str]| {
        let mut command = place.command(["get", "--json", "--no-dht", "-o", "got"]);
        command.args(["--bind", &place.any_port(2), "--peer", &seed.address.to_string()]);
        command.args(more).arg(&torrent);
        place.run_command(command)
    };
    // "tree/zz last/big.bin" and "tree/zz last/zero", as --list numbers them.
    let run = get(&["--select", "47,49"]);
    let done = run.assert_code(0).event("done");
    assert_eq!(done["left"], 0, "{done}");
    assert!(done["wanted"].as_u64() < done["total"].as_u64(), "{done}");
    let (whole, part) = (digests(&tree), digests(&place.path("got/tree")));
    let names: Vec<_> = part.keys().collect();
    assert_eq!(names, ["zz last/big.bin", "zz last/zero"]);
    assert!(part.iter().all(|(path, digest)| whole.get(path) == Some(digest)));

    let rest = get(&[]);
    let done = rest.assert_code(0).event("done");
    assert!(done["downloaded"].as_u64() < done["total"].as_u64(), "{done}");
    assert_same(&tree, &place.path("got/tree"));

    get(&["--select", "50"]).assert_code(2).assert_error(&["no file 50", "0 to 49", "--list"]);
    get(&["--select", "4-2"]).assert_code(2).assert_error(&["numbers and ranges"]);
}

#[test]
fn a_magnet_link_may_choose_files_and_their_room_is_taken_at_once() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new(27);
    let tree = folder(&place.root(), "tree", 27);
    let seed = place.seed(1, &tree);
    let magnet = format!("magnet:?xt=urn:btih:{}&x.pe={}&so=47", seed.info_hash(), seed.address);
    let mut command = place.command(["get", "--no-dht", "-o", "got", "--preallocate"]);
    command.args(["--bind", &place.any_port(2), &magnet]);
    place.run_command(command).assert_code(0);
    assert_eq!(digests(&place.path("got/tree")).len(), 1);
    let file = std::fs::metadata(place.path("got/tree/zz last/big.bin")).unwrap();
    assert!(file.blocks() * 512 >= file.len());
}

#[test]
fn a_family_that_is_not_bound_is_not_dialled() {
    let place = Place::new(28);
    let path = single_file(&place.root(), "a.bin", 100_000, 28);
    let seed = place.seed(1, &path);
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    v6.set_nonblocking(true).unwrap();
    let (v4_peer, v6_peer) = (seed.address.to_string(), v6.local_addr().unwrap().to_string());
    let hash = seed.info_hash();
    let get = |bind: &str, peers: &[&str], code: i32| {
        let _ = fs::remove_dir_all(place.path("got"));
        let mut command = place.command(["get", hash, "--no-dht", "-o", "got", "--timeout", "5"]);
        command.args(["--bind", bind]);
        peers.iter().for_each(|peer| _ = command.args(["--peer", peer]));
        let run = place.run_command(command);
        run.assert_code(code);
        run
    };
    // The v6 peer was named first, and would have been dialled with the other.
    let run = get(&place.any_port(2), &[&v6_peer, &v4_peer], 0);
    run.assert_error(&["not dialled", &v6_peer]);
    assert!(v6.accept().is_err(), "it was dialled");
    let run = get("[::1]:0", &[&v4_peer], 3);
    run.assert_error(&["not dialled", &v4_peer, "no peer is known"]);
    // A wildcard says nothing of whence one may dial.
    get("0.0.0.0:0", &[&v6_peer, "[::1]:1"], 3);
    assert!(v6.accept().is_ok());
}

/// The soft and the hard limit of a process's open files.
fn open_files_limits(id: u32) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut words = line.split_whitespace().skip(3).map(String::from);
    [words.next().unwrap(), words.next().unwrap()]
}

#[test]
fn as_many_files_may_be_open_as_the_system_lets() {
    let place = Place::new(29);
    let path = single_file(&place.root(), "a.bin", 100_000, 29);
    let mut command = place.command(["seed", "--json", "--no-dht", "--bind", &place.any_port(1)]);
    command.arg(&path);
    let script = "ulimit -Sn 64 && ulimit -Hn 4000 && exec \"$0\" \"$@\"";
    let mut seed = place.start_command(prefixed(["bash", "-c", script], &command));
    seed.wait_event("serving");
    assert_eq!(open_files_limits(seed.process().id()), ["4000", "4000"]);
}

#[test]
fn what_finds_no_file_descriptor_is_tried_again() {
    let place = Place::new(30);
    let path = single_file(&place.root(), "a.bin", 300_000, 30);
    let torrent = place.create(&path, &[]);
    let seed = place.seed(1, &path);
    // They take connections, and say nothing over them.
    let silent: Vec<_> = (0..25).map(|_| TcpListener::bind((place.ip(3), 0)).unwrap()).collect();
    let mut command = place.command(["get", "-vv", "--no-dht", "--json", "-o", "got"]);
    command.args(["--bind", &place.any_port(2), "--peer", &seed.address.to_string()]).arg(&torrent);
    for peer in &silent {
        command.args(["--peer", &peer.local_addr().unwrap().to_string()]);
    }
    let script = "ulimit -n 34 && exec \"$0\" \"$@\"";
    let run = place.run_command(prefixed(["bash", "-c", script], &command));
    run.assert_code(0).assert_error(&["cannot dial", "Too many open files"]);
    assert!(!run.stderr.contains("dial failed"), "{run}");
    assert_same(&path, &place.path("got/a.bin"));
}
