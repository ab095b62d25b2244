//! The examples do what they say.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

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
fn a_node_runs_without_tokio() {
    assert!(run("without_tokio", &[]).ends_with("found 127.0.0.1:6881\n"));
}

#[cfg(feature = "driver")]
#[test]
fn a_testnet_is_enough_for_a_test() {
    assert!(run("testnet", &[]).ends_with("found 127.0.0.1:6881\n"));
}

#[cfg(feature = "driver")]
#[tokio::test]
async fn what_the_one_example_announces_the_other_prints() {
    let testnet = dht::driver::Testnet::new(8).await.unwrap();
    let entry = testnet.bootstrap_addrs()[3].to_string();
    let hash = "7777777777777777777777777777777777777777";
    let told = tokio::task::spawn_blocking(move || {
        (run("announce", &[hash, "6881", &entry]), run("get_peers", &[hash, &entry]))
    });
    let (announced, found) = told.await.unwrap();
    assert_eq!(announced, "announced to 8 nodes, 0 peers met\n");
    assert!(found.lines().any(|peer| peer.ends_with(":6881")), "{found}");
}
