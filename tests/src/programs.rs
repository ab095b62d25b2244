//! Where the programs are: ours beside the test binaries, other people's in the search path.

use std::env;
use std::path::{Path, PathBuf};

/// The repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// One of the project's binaries, of the profile that this test was built with.
pub fn our_binary(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap_or_else(|error| panic!("no path of this test: {error}"));
    // target/PROFILE/deps/TEST-HASH
    let folder = test.parent().and_then(Path::parent).unwrap_or(&test);
    let path = folder.join(name);
    assert!(path.exists(), "{path:?} is missing: build it with `cargo build -p {name}`");
    path
}

/// A Python that can import libtorrent: `PEERS_PYTHON`, else the environment that `tests/run`
/// makes.
pub fn peers_python() -> PathBuf {
    let path = env::var_os("PEERS_PYTHON")
        .map_or_else(|| repository().join("target/peers-venv/bin/python"), PathBuf::from);
    assert!(path.exists(), "{path:?} is missing: run `tests/run` once, it installs libtorrent");
    path
}

/// A script of `tests/peers`.
pub fn peer_script(name: &str) -> PathBuf {
    repository().join("tests/peers").join(name)
}

/// The folder whose `node_modules` hold the peers of the npm registry, which `tests/run` makes.
pub fn npm_peers() -> PathBuf {
    let path = repository().join("target/peers-npm");
    assert!(
        path.join("node_modules").exists(),
        "{path:?} is missing: run `tests/run` once, it installs bittorrent-dht"
    );
    path
}

/// The program of `tests/peers/mainline`, which `tests/run --all` builds.
pub fn mainline_node() -> PathBuf {
    let path = repository().join("target/peers-mainline/release/mainline-node");
    assert!(path.exists(), "{path:?} is missing: run `tests/run --all` once, it builds it");
    path
}

/// rqbit, which `tests/run --all` builds.
pub fn rqbit() -> PathBuf {
    let path = repository().join("target/peers-rqbit/bin/rqbit");
    assert!(path.exists(), "{path:?} is missing: run `tests/run --all` once, it builds it");
    path
}
