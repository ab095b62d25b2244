//! Torrent files (BEP 3, "metainfo files"), read and written. A hybrid is read by its v1 part.

mod create;
mod error;
mod info;
mod paths;

pub use create::{build_info, piece_length_for};
pub use error::MetainfoError;
pub use info::{FileEntry, Info};
pub use paths::chosen_path;

use crate::bencode::{Encoder, Limits, Value};

/// Names of nodes taken from one file (BEP 5, "Torrent File Extensions"); libtorrent takes all.
const NODES_MAX: usize = 100;

/// A torrent file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// What the info-hash names.
    pub info: Info,
    /// DHT nodes by which to find peers: host and port (BEP 5, `nodes`).
    pub nodes: Vec<(String, u16)>,
    /// Trackers that stand there and are not used.
    pub trackers_ignored: usize,
}

impl Metainfo {
    /// Reads a torrent file.
    ///
    /// # Errors
    /// It is no bencode, or no torrent that we take.
    pub fn parse(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        let file = Value::parse(bytes, Limits::METAINFO)?;
        let info = file.get(b"info").ok_or(MetainfoError::Missing("info"))?;
        let nodes = file.get(b"nodes").and_then(|nodes| nodes.as_list());
        let nodes = nodes.into_iter().flatten().filter_map(node).take(NODES_MAX).collect();
        Ok(Metainfo { info: Info::from_value(info)?, nodes, trackers_ignored: trackers(&file) })
    }

    /// Writes a torrent file of a raw info dict.
    pub fn encode(raw_info: &[u8], nodes: &[(String, u16)]) -> Vec<u8> {
        let mut out = Vec::with_capacity(raw_info.len() + 64);
        Encoder::new(&mut out).dict(|file| {
            file.key(b"info").raw(raw_info);
            if !nodes.is_empty() {
                file.key(b"nodes").list(|list| {
                    for (host, port) in nodes {
                        list.list(|node| {
                            node.bytes(host.as_bytes());
                            node.int(i64::from(*port));
                        });
                    }
                });
            }
        });
        out
    }
}

fn node(value: Value<'_>) -> Option<(String, u16)> {
    let mut pair = value.as_list()?;
    let host = pair.next()?.as_str().filter(|host| !host.is_empty() && host.len() <= 255)?;
    let port = u16::try_from(pair.next()?.as_int()?).ok().filter(|&port| port != 0)?;
    Some((host.to_string(), port))
}

/// How many distinct announce URLs there are at most: those of `announce-list` (BEP 12), else the
/// one of `announce`.
fn trackers(file: &Value<'_>) -> usize {
    let tiers = file.get(b"announce-list").and_then(|tiers| tiers.as_list());
    let listed = tiers.into_iter().flatten().filter_map(|t| t.as_list()).map(Iterator::count).sum();
    if listed > 0 { listed } else { usize::from(file.get(b"announce").is_some()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Vec<u8> {
        build_info("a.bin", &[(vec![], 20_000)], 16_384, &[[1; 20], [2; 20]])
    }

    #[test]
    fn a_written_file_reads_back() {
        let nodes = vec![("router.example".to_string(), 6881), ("::1".to_string(), 1)];
        let bytes = Metainfo::encode(&raw(), &nodes);
        let read = Metainfo::parse(&bytes).unwrap();
        assert_eq!(read.nodes, nodes);
        assert_eq!(read.info, Info::parse(&raw()).unwrap());
        assert!(Value::parse(&bytes, Limits::METAINFO).unwrap().is_canonical());
    }

    #[test]
    fn trackers_are_counted_and_odd_nodes_skipped() {
        let raw = raw();
        let mut file = b"d8:announce3:udp13:announce-listll1:a1:bel1:cee4:info".to_vec();
        file.extend_from_slice(&raw);
        file.extend_from_slice(b"5:nodesli7el0:i5eel1:hi0eel1:hi65536eel1:hi7eeee");
        let read = Metainfo::parse(&file).unwrap();
        assert_eq!(read.trackers_ignored, 3);
        assert_eq!(read.nodes, [("h".to_string(), 7)]);
    }

    #[test]
    fn what_is_no_torrent_file_is_refused() {
        for bytes in [&b""[..], b"le", b"de", b"d4:infoi5ee", b"d4:infodee", b"5:hello"] {
            assert!(Metainfo::parse(bytes).is_err());
        }
    }
}
