//! The programs, each of which can be either side of a case.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::aria2::Aria2;
use crate::lan::Host;
use crate::libtorrent::{Libtorrent, TorrentId};
use crate::ours::Trackerless;
use crate::process::{Process, output_of};
use crate::programs::{our_binary, peers_python, rqbit};
use crate::qbittorrent::Qbittorrent;
use crate::rqbit::Rqbit;
use crate::transmission::Transmission;

/// A program of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// `trackerless`.
    Ours,
    /// libtorrent, by its Python binding.
    Libtorrent,
    /// transmission's daemon.
    Transmission,
    /// aria2.
    Aria2,
    /// qBittorrent without a window.
    Qbittorrent,
    /// rqbit.
    Rqbit,
}

/// What a side is started with.
pub struct Start<'a> {
    /// Where.
    pub host: &'a Host,
    /// Nodes of the DHT; none: it is to enter none.
    pub entries: &'a [SocketAddr],
    /// What it is about.
    pub torrent: &'a Torrent,
    /// The folder in which the content lies, or to which it comes.
    pub folder: &'a Path,
}

/// What a leech is started with besides.
pub struct Fetch {
    /// A magnet link or a torrent file.
    pub source: String,
    /// Whom it is told of.
    pub peer: Option<SocketAddr>,
    /// Whether it was started before, with the same folder, and how that ended.
    pub stopped: Option<Stop>,
}

/// How a leech is stopped in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It is asked to end (SIGTERM).
    Term,
    /// It is ended (SIGKILL).
    Kill,
}

/// A torrent of a case.
pub struct Torrent {
    /// The file or folder.
    pub original: PathBuf,
    /// The torrent file.
    pub file: PathBuf,
    /// In hexadecimal digits.
    pub info_hash: String,
    /// In bytes.
    pub piece_len: u32,
}

/// A program that runs.
pub trait Side {
    /// Where it takes peers.
    fn address(&self) -> SocketAddr;

    /// Waits until it has all.
    fn wait_complete(&mut self, limit: Duration);

    /// Has it look for peers if it has none and would wait for long.
    fn look_for_peers(&mut self) {}

    /// Its process.
    fn process(&mut self) -> &mut Process;
}

impl Program {
    /// All of them, ours first.
    pub const ALL: [Self; 6] = [
        Self::Ours,
        Self::Libtorrent,
        Self::Transmission,
        Self::Aria2,
        Self::Qbittorrent,
        Self::Rqbit,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Libtorrent => "libtorrent",
            Self::Transmission => "transmission",
            Self::Aria2 => "aria2",
            Self::Qbittorrent => "qbittorrent",
            Self::Rqbit => "rqbit",
        }
    }

    /// What it says of its version.
    pub fn version(self) -> String {
        let (program, argument) = match self {
            Self::Ours => (our_binary("trackerless"), "--version"),
            Self::Libtorrent => (peers_python(), "-cimport libtorrent as l; print(l.__version__)"),
            Self::Transmission => ("transmission-daemon".into(), "--version"),
            Self::Aria2 => ("aria2c".into(), "--version"),
            Self::Qbittorrent => ("qbittorrent-nox".into(), "--version"),
            Self::Rqbit => (rqbit(), "--version"),
        };
        // Some say it on standard error.
        let mut command = Command::new("sh");
        command.args(["-c", "\"$0\" \"$1\" 2>&1"]).arg(program).arg(argument);
        output_of(command).lines().next().unwrap_or_default().to_owned()
    }

    /// Whether a leech of it can be told of a peer.
    pub fn takes_peers(self) -> bool {
        !matches!(self, Self::Transmission | Self::Aria2)
    }

    /// Whether it announces itself in a network of a few nodes: rqbit 9.1 tells only nodes whose ids begin
    /// with the same 16 bits as the info-hash (`min_distance_to_announce` in its `dht.rs`), one in 65,536.
    pub fn announces_to_few(self) -> bool {
        self != Self::Rqbit
    }

    /// Starts it as a seed of content that lies there; it serves when this returns.
    pub fn seed(self, start: &Start<'_>) -> Box<dyn Side> {
        let Start { host, entries, torrent, folder } = *start;
        let file = &torrent.file;
        match self {
            Self::Ours => {
                let piece_len = torrent.piece_len.to_string();
                let mut more = vec!["--piece-length", &piece_len];
                if entries.is_empty() {
                    more.push("--no-dht");
                }
                let entry = first(entries, host);
                let path = torrent.original.as_path();
                let (seed, magnets) = Trackerless::seed(host, &[path], entry, &more);
                let is_it = magnets[0].contains(&torrent.info_hash);
                assert!(is_it, "{magnets:?} is not {}", torrent.info_hash);
                Box::new(Ours { host: host.clone(), trackerless: seed })
            }
            Self::Libtorrent => {
                let mut libtorrent = start_libtorrent(host, entries);
                let id = libtorrent.seed(file, folder, 0);
                Box::new(OfLibtorrent { libtorrent, id })
            }
            Self::Transmission => {
                let seed = Transmission::start(host, entries, 0);
                seed.seed(file, folder);
                Box::new(seed)
            }
            Self::Aria2 => {
                let aria2 = Aria2::seed(host, first(entries, host), &[file], folder, 0);
                Box::new(OfAria2 { host: host.clone(), aria2 })
            }
            Self::Qbittorrent => {
                let mut seed = Qbittorrent::start(host, entries);
                seed.add(&file.to_string_lossy(), folder);
                seed.wait_complete(SEED_LIMIT);
                Box::new(seed)
            }
            Self::Rqbit => {
                let source = file.to_string_lossy();
                let mut rqbit = Rqbit::start(host, entries, &source, folder, None);
                rqbit.wait_complete(SEED_LIMIT);
                Box::new(OfRqbit { host: host.clone(), rqbit })
            }
        }
    }

    /// Starts it as a leech.
    pub fn fetch(self, start: &Start<'_>, fetch: &Fetch) -> Box<dyn Side> {
        let Start { host, entries, torrent, folder } = *start;
        let Fetch { ref source, peer, stopped } = *fetch;
        match self {
            Self::Ours => {
                let peer = peer.map(|peer| peer.to_string());
                let mut more = peer.as_deref().map_or(vec![], |peer| vec!["--peer", peer]);
                if entries.is_empty() {
                    more.push("--no-dht");
                }
                let entry = first(entries, host);
                let trackerless = Trackerless::get(host, source, folder, entry, &more);
                Box::new(Ours { host: host.clone(), trackerless })
            }
            Self::Libtorrent => {
                let mut libtorrent = start_libtorrent(host, entries);
                let id = libtorrent.add(source, folder, 0);
                if let Some(peer) = peer {
                    libtorrent.connect(id, peer);
                }
                Box::new(OfLibtorrent { libtorrent, id })
            }
            Self::Transmission => {
                let leech = Transmission::start(host, entries, 0);
                if stopped == Some(Stop::Kill) {
                    // What it has, and where, it saves when it ends; what is added is looked for.
                    leech.forget();
                }
                if stopped != Some(Stop::Term) {
                    leech.add(source, folder);
                }
                Box::new(leech)
            }
            Self::Aria2 => {
                let aria2 = Aria2::fetch(host, first(entries, host), source, folder);
                Box::new(OfAria2 { host: host.clone(), aria2 })
            }
            Self::Qbittorrent => {
                let leech = Qbittorrent::start(host, entries);
                if stopped == Some(Stop::Kill) {
                    leech.forget();
                }
                if stopped != Some(Stop::Term) {
                    leech.add(source, folder);
                }
                if let Some(peer) = peer {
                    leech.connect(&torrent.info_hash, peer);
                }
                Box::new(leech)
            }
            Self::Rqbit => {
                let rqbit = Rqbit::start(host, entries, source, folder, peer);
                Box::new(OfRqbit { host: host.clone(), rqbit })
            }
        }
    }
}

/// How long a seed may take to check what lies there.
const SEED_LIMIT: Duration = Duration::from_secs(30);

/// A node to enter by; where the DHT is not to be entered, an address at which nobody is.
fn first(entries: &[SocketAddr], host: &Host) -> SocketAddr {
    entries.first().copied().unwrap_or_else(|| host.at(9))
}

fn start_libtorrent(host: &Host, entries: &[SocketAddr]) -> Libtorrent {
    let mut libtorrent = Libtorrent::start(host, 6881);
    if let Some(&entry) = entries.first() {
        libtorrent.join(entry);
    }
    libtorrent
}

struct Ours {
    host: Host,
    trackerless: Trackerless,
}

impl Side for Ours {
    fn address(&self) -> SocketAddr {
        Trackerless::address(&self.host)
    }

    fn wait_complete(&mut self, limit: Duration) {
        self.trackerless.wait_complete(limit);
    }

    fn process(&mut self) -> &mut Process {
        self.trackerless.process()
    }
}

struct OfLibtorrent {
    libtorrent: Libtorrent,
    id: TorrentId,
}

impl Side for OfLibtorrent {
    fn address(&self) -> SocketAddr {
        self.libtorrent.address(0)
    }

    fn wait_complete(&mut self, limit: Duration) {
        self.libtorrent.wait_complete(self.id, limit);
    }

    fn process(&mut self) -> &mut Process {
        self.libtorrent.process()
    }
}

impl Side for Transmission {
    fn address(&self) -> SocketAddr {
        Transmission::address(self)
    }

    fn wait_complete(&mut self, limit: Duration) {
        Transmission::wait_complete(self, limit);
    }

    fn process(&mut self) -> &mut Process {
        Transmission::process(self)
    }
}

struct OfAria2 {
    host: Host,
    aria2: Aria2,
}

impl Side for OfAria2 {
    fn address(&self) -> SocketAddr {
        Aria2::peer_address(&self.host)
    }

    fn wait_complete(&mut self, limit: Duration) {
        self.aria2.wait_complete(limit);
    }

    fn process(&mut self) -> &mut Process {
        self.aria2.process()
    }
}

impl Side for Qbittorrent {
    fn address(&self) -> SocketAddr {
        Qbittorrent::address(self)
    }

    fn wait_complete(&mut self, limit: Duration) {
        Qbittorrent::wait_complete(self, limit);
    }

    fn look_for_peers(&mut self) {
        Qbittorrent::look_for_peers(self);
    }

    fn process(&mut self) -> &mut Process {
        Qbittorrent::process(self)
    }
}

struct OfRqbit {
    host: Host,
    rqbit: Rqbit,
}

impl Side for OfRqbit {
    fn address(&self) -> SocketAddr {
        Rqbit::address(&self.host)
    }

    fn wait_complete(&mut self, limit: Duration) {
        self.rqbit.wait_complete(limit);
    }

    fn process(&mut self) -> &mut Process {
        self.rqbit.process()
    }
}
