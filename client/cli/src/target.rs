//! Things to fetch, as they are typed: .torrent files, magnet links and info-hashes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use client::driver::Add;
use wire::InfoHash;
use wire::bencode::Limits;
use wire::magnet::Magnet;
use wire::metainfo::{Info, Metainfo};

use crate::exit::Failure;
use crate::text;

/// What a target may be.
const ALLOWED: &str = "give a magnet link, an info-hash or a .torrent file";

/// What a torrent is known by.
pub enum What {
    /// Its info-hash alone.
    InfoHash(InfoHash),
    /// Its info dict.
    Info(Arc<Info>),
}

/// One thing to fetch.
pub struct Target {
    /// Which torrent.
    pub what: What,
    /// Peers that it names, as HOST:PORT.
    pub peers: Vec<String>,
    /// DHT nodes that it names, as HOST:PORT.
    pub nodes: Vec<String>,
    /// The files that it chooses (BEP 53); None: all.
    pub files: Option<Vec<u32>>,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

impl Target {
    /// Its info-hash.
    pub fn info_hash(&self) -> &InfoHash {
        match &self.what {
            What::InfoHash(info_hash) => info_hash,
            What::Info(info) => &info.info_hash,
        }
    }

    /// Its info dict, if that is known.
    pub fn info(&self) -> Option<&Arc<Info>> {
        match &self.what {
            What::InfoHash(_) => None,
            What::Info(info) => Some(info),
        }
    }

    /// What a session is to be told; `peers` are asked too.
    pub fn add(self, root: &Path, peers: &[String]) -> Add {
        let add = match self.what {
            What::InfoHash(info_hash) => Add::info_hash(info_hash, root),
            What::Info(info) => Add::info(info, root),
        };
        let add = self.files.into_iter().fold(add, Add::files);
        peers.iter().cloned().chain(self.peers).fold(add, Add::peer)
    }
}

/// Reads a target as typed.
pub fn read(text: &str) -> Result<Target, Failure> {
    const URLS: [&str; 4] = ["http://", "https://", "ftp://", "udp://"];
    let starts = |with: &&str| text.get(..with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with));
    if URLS.iter().any(starts) {
        return Err(Failure::Usage(format!(
            "{text}: URLs are not fetched; fetch the .torrent file by other means, and name it here"
        )));
    }
    let path = Path::new(text);
    let is_magnet = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"));
    if !is_magnet && (path.extension().is_some_and(|e| e == "torrent") || path.is_file()) {
        return read_file(path);
    }
    let magnet = Magnet::from_user(text)
        .map_err(|error| Failure::Usage(format!("{text}: {error}; {ALLOWED}")))?;
    let mut notes = Vec::new();
    if magnet.trackers_ignored > 0 {
        notes.push(format!(
            "{} of the magnet link ignored (tr=): the DHT finds the peers",
            text::count(magnet.trackers_ignored, "tracker")
        ));
    }
    Ok(Target {
        what: What::InfoHash(magnet.info_hash),
        peers: magnet.peers.iter().map(|(host, port)| host_port(host, *port)).collect(),
        nodes: Vec::new(),
        files: magnet.select,
        notes,
    })
}

/// The info dict of a .torrent file, whoever may fetch it.
pub fn read_info(path: &Path) -> Result<Info, Failure> {
    read_metainfo(path).map(|metainfo| metainfo.info)
}

fn read_metainfo(path: &Path) -> Result<Metainfo, Failure> {
    // One byte more than is taken, so that a longer file is refused as such.
    let most = Limits::METAINFO.bytes_max as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| Failure::Disk(format!("{}: {error}; {ALLOWED}", path.display())))?;
    Metainfo::parse(&bytes)
        .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
}

fn read_file(path: &Path) -> Result<Target, Failure> {
    let metainfo = read_metainfo(path)?;
    if metainfo.info.private {
        return Err(client::Failure::Private.into());
    }
    let mut notes = Vec::new();
    if metainfo.trackers_ignored > 0 {
        notes.push(format!(
            "{} of the torrent ignored: the DHT finds the peers",
            text::count(metainfo.trackers_ignored, "tracker")
        ));
    }
    Ok(Target {
        nodes: metainfo.nodes.iter().map(|(host, port)| host_port(host, *port)).collect(),
        what: What::Info(Arc::new(metainfo.info)),
        peers: Vec::new(),
        files: None,
        notes,
    })
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
