//! Any text as a magnet link: what is read is printed and reads the same again.

use wire::magnet::Magnet;

/// Peers and files taken of one link.
const PEERS_MAX: usize = 100;
const SELECT_MAX: usize = 100_000;

/// One input.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(read) = Magnet::from_user(&text) else { return };
    assert!(read.peers.len() <= PEERS_MAX);
    assert!(read.peers.iter().all(|(host, port)| !host.is_empty() && *port != 0));
    if let Some(select) = &read.select {
        assert!(select.len() <= SELECT_MAX && select.is_sorted_by(|a, b| a < b));
    }
    // What we do not use is not printed.
    let said = Magnet { select: None, trackers_ignored: 0, ..read };
    assert_eq!(Magnet::parse(&said.to_string()).as_ref(), Ok(&said), "{said}");
}
