//! The examples do what they say.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;
use std::process::Command;

use client::TorrentEvent;
use client::driver::{Add, Event, Session, hash_path};
use dht::driver::Testnet;

/// What an example printed; it must have ended well.
fn run(name: &str, args: &[&str]) -> String {
    // target/PROFILE/deps/TEST-HASH, target/PROFILE/examples/NAME
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{path:?} is missing: build it with `cargo build --examples`");
    let output = Command::new(path).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{told}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_swarm_fits_into_one_process() {
    let told = run("swarm", &[]);
    assert!(told.contains("is served and announced\nfetched "), "{told}");
    assert!(told.ends_with(" pieces, the same byte for byte\n"), "{told}");
}

#[tokio::test]
async fn a_magnet_link_is_fetched_by_the_nodes_that_are_named() {
    let testnet = Testnet::new(8).await.unwrap();
    let entry = testnet.bootstrap_addrs()[3].to_string();
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared.bin");
    std::fs::write(&shared, vec![7; 300_000]).unwrap();
    let seed = Session::builder().bind("127.0.0.1:0".parse().unwrap()).bootstrap(&entry);
    let seed = seed.start().unwrap();
    let mut events = seed.events();
    let hashed = hash_path(&shared, None, |_, _| {}).unwrap();
    let link = format!("magnet:?xt=urn:btih:{}", hashed.info.info_hash);
    seed.add(Add::seed(hashed)).await.unwrap();
    let kept = |event| matches!(event, Event::Torrent(_, TorrentEvent::Announced { kept_by: 1.. }));
    while !kept(events.next().await.unwrap()) {}
    let fetched = folder.path().join("fetched").to_str().unwrap().to_owned();
    let file = Path::new(&fetched).join("shared.bin");
    let told = tokio::task::spawn_blocking(move || run("get", &[&link, &fetched, &entry]));
    assert_eq!(told.await.unwrap(), "shared.bin\n");
    assert_eq!(std::fs::read(file).unwrap(), vec![7; 300_000]);
}
