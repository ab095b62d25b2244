//! The driver: gives the session sockets, disks, the DHT and the clock.
//!
//! Runs on a current-thread tokio runtime, inside a `LocalSet`. [`Client`] is what a program holds.
#![allow(clippy::disallowed_types, reason = "the driver is where the clock, sockets and files are")]

mod connection;
mod create;
mod discovery;
pub mod disk;
mod reactor;
mod sha1;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use wire::InfoHash;
use wire::metainfo::Info;
use wire::rng::Seed;

use crate::candidates::Source;
use crate::disk::DiskError;
use crate::session::{Event, Session};
use crate::storage::{self, Storage};
use crate::torrent::{Failure, Identity, TorrentEvent};
use crate::{Config, TorrentKey, TorrentStats};

pub use create::{HashedPath, hash_path};
use dht::driver::{BindError, Driver};
use discovery::Dht;
pub use discovery::{DhtOptions, SearchProgress};
use disk::DiskPool;
use reactor::Reactor;

/// How a client is to run.
#[derive(Default)]
pub struct Options {
    /// The engine's numbers.
    pub config: Config,
    /// Where to listen, for peers (TCP) and the DHT (UDP). Port 0 is any free one.
    pub bind: Vec<SocketAddr>,
    /// The DHT; None: only peers that are named.
    pub dht: Option<DhtOptions>,
}

/// What a torrent is known by.
pub enum What {
    /// Its info-hash alone; the peers have the rest.
    InfoHash(InfoHash),
    /// Its info dict.
    Info(Box<Info>),
    /// Its info dict, and the files are there, whole and not to be written.
    Seed(Box<Info>),
}

/// A torrent to add.
pub struct Add {
    /// Which.
    pub what: What,
    /// The folder that its files lie beneath.
    pub root: PathBuf,
    /// Peers to ask, as HOST:PORT.
    pub peers: Vec<String>,
    /// Fetch the info dict and nothing else.
    pub metadata_only: bool,
}

/// Why a torrent cannot be added.
#[derive(Debug)]
pub enum AddError {
    /// It is there already.
    Twice,
    /// Its folder cannot be used.
    Disk(DiskError),
}

/// Why a client cannot start.
#[derive(Debug)]
pub enum StartError {
    /// It cannot take connections there.
    Tcp(SocketAddr, io::Error),
    /// The DHT cannot listen there.
    Udp(BindError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Tcp(addr, error) => write!(f, "cannot listen on {addr} (TCP): {error}"),
            StartError::Udp(error) => write!(f, "the DHT: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the driver keeps of a torrent.
struct Added {
    root: PathBuf,
    metadata_only: bool,
    seed: bool,
    /// The info dict, once known, for who asks.
    info: Option<Info>,
}

/// A running engine.
pub struct Client {
    reactor: Reactor,
    dht: Option<Dht>,
    listen_addrs: Vec<SocketAddr>,
    added: RefCell<BTreeMap<TorrentKey, Added>>,
}

impl Client {
    /// Listens, and enters the DHT. Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn start(options: Options) -> Result<Client, StartError> {
        let (listeners, dht) = bind(&options)?;
        let listen_addrs: Vec<SocketAddr> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let seed: Seed = rand::random();
        let us = Identity {
            peer_id: peer_id(),
            listen_port: listen_addrs.first().map(SocketAddr::port),
            dht_port: dht.as_ref().and_then(|dht| dht.local_addrs().next()).map(|a| a.port()),
        };
        let wake = Arc::new(Notify::new());
        let disk = DiskPool::start({
            let wake = wake.clone();
            Box::new(move || wake.notify_one())
        });
        let dial_from: Vec<IpAddr> =
            options.bind.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()).collect();
        let session = Session::new(options.config, us, seed);
        let reactor = Reactor::start(session, disk, wake, dial_from);
        for listener in listeners {
            reactor.listen(listener);
        }
        let dht = options
            .dht
            .zip(dht)
            .map(|(options, driver)| Dht::start(options, driver, us.listen_port, reactor.clone()));
        Ok(Client { reactor, dht, listen_addrs, added: RefCell::default() })
    }

    /// Where it listens.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen_addrs
    }

    /// Adds a torrent and begins.
    ///
    /// # Errors
    /// It is there already; its folder cannot be made or read.
    pub fn add(&self, add: Add) -> Result<TorrentKey, AddError> {
        let Add { what, root, peers, metadata_only } = add;
        let seed = matches!(what, What::Seed(_));
        if !seed && !metadata_only {
            std::fs::create_dir_all(&root)
                .map_err(|error| AddError::Disk(disk::error_at(&root, &error)))?;
        }
        let (info_hash, info) = match what {
            What::InfoHash(info_hash) => (info_hash, saved_info(&root, &info_hash)),
            What::Info(info) | What::Seed(info) => (info.info_hash, Some(*info)),
        };
        let key = self
            .reactor
            .input(|session, now| session.add_torrent(now, info_hash))
            .ok_or(AddError::Twice)?;
        self.added.borrow_mut().insert(key, Added { root, metadata_only, seed, info: None });
        for peer in peers {
            spawn_local(resolve_peer(self.reactor.clone(), key, peer));
        }
        if let Some(info) = info {
            self.on_info(key, info);
        }
        Ok(key)
    }

    /// The info dict is known: makes the storage.
    fn on_info(&self, key: TorrentKey, info: Info) {
        let mut added = self.added.borrow_mut();
        let Some(added) = added.get_mut(&key) else { return };
        added.info = Some(info.clone());
        if added.metadata_only {
            return self.tell(key, TorrentEvent::Started);
        }
        let storage = if added.seed {
            Storage::seed(&info, storage::Config::default(), key.0)
        } else {
            Storage::new(&info, storage::Config::default(), key.0)
        };
        let rooted = self.reactor.shared.borrow_mut().disk.set_root(key, added.root.clone());
        match rooted {
            Ok(()) => self.reactor.input(|session, now| session.set_info(now, key, info, storage)),
            Err(error) => self.tell(key, TorrentEvent::Failed(Failure::Disk(error))),
        }
    }

    fn tell(&self, key: TorrentKey, event: TorrentEvent) {
        self.reactor.shared.borrow_mut().events.push_back((key, event));
        self.reactor.event_wake.notify_one();
    }

    /// The info dict of a torrent, once it is known.
    pub fn info(&self, key: TorrentKey) -> Option<Info> {
        self.added.borrow().get(&key)?.info.clone()
    }

    /// Figures of a torrent.
    pub fn stats(&self, key: TorrentKey) -> Option<TorrentStats> {
        let now = self.reactor.now();
        self.reactor.shared.borrow().session.stats(now, key)
    }

    /// Whether all of a torrent is there.
    pub fn is_complete(&self, key: TorrentKey) -> bool {
        let shared = self.reactor.shared.borrow();
        shared.session.torrent(key).is_some_and(crate::torrent::Torrent::is_complete)
    }

    /// How the search for a torrent's peers goes; of any torrent without a key.
    pub fn search(&self, key: Option<TorrentKey>) -> SearchProgress {
        self.dht.as_ref().map_or_else(SearchProgress::default, |dht| dht.progress(key))
    }

    /// Waits for the next event. Cancel-safe.
    pub async fn event(&self) -> Event {
        loop {
            let event = self.reactor.shared.borrow_mut().events.pop_front();
            let Some((key, event)) = event else {
                self.reactor.event_wake.notified().await;
                continue;
            };
            match event {
                TorrentEvent::WantsPeers => self.ask_for_peers(key),
                TorrentEvent::DhtNode(addr) => {
                    if let Some(dht) = &self.dht {
                        dht.add_node(addr);
                    }
                }
                TorrentEvent::Metadata(info) => {
                    self.on_info(key, (*info).clone());
                    return (key, TorrentEvent::Metadata(info));
                }
                // What is complete is to last before anybody is told.
                TorrentEvent::Complete => {
                    self.reactor.input(|session, now| session.flush_torrent(now, key));
                    return (key, TorrentEvent::Complete);
                }
                event => return (key, event),
            }
        }
    }

    fn ask_for_peers(&self, key: TorrentKey) {
        let asked = {
            let shared = self.reactor.shared.borrow();
            let torrent = shared.session.torrent(key);
            torrent.map(|torrent| (*torrent.info_hash(), torrent.is_complete()))
        };
        if let (Some(dht), Some((hash, seed))) = (&self.dht, asked) {
            dht.ask(key, hash, seed);
        }
    }

    /// Ends all connections and brings all that is there to stable storage.
    ///
    /// # Errors
    /// What the disk said against it.
    pub async fn shutdown(&self) -> Result<(), Failure> {
        let mut waiting: Vec<TorrentKey> = self.added.borrow().keys().copied().collect();
        self.reactor.shared.borrow_mut().events.clear();
        for key in &waiting {
            self.reactor.input(|session, now| session.stop_torrent(now, *key));
        }
        let mut result = Ok(());
        while !waiting.is_empty() {
            match self.event().await {
                (key, TorrentEvent::Flushed) => waiting.retain(|other| *other != key),
                (key, TorrentEvent::Failed(failure)) => {
                    waiting.retain(|other| *other != key);
                    result = Err(failure);
                }
                _ => {}
            }
        }
        if let Some(dht) = &self.dht {
            dht.save().await;
        }
        result
    }
}

/// TCP listeners and, where wanted, a DHT node on the same ports.
fn bind(options: &Options) -> Result<(Vec<TcpListener>, Option<Driver>), StartError> {
    /// With port 0 the system chooses for TCP, and the UDP port may be taken.
    const TRIES: usize = 20;
    let any_port = options.bind.iter().any(|addr| addr.port() == 0);
    let mut tries = 0;
    loop {
        let mut listeners = Vec::new();
        // One port for all: the one that is announced.
        let mut port = None;
        for addr in &options.bind {
            let wanted = if addr.port() == 0 { port.unwrap_or(0) } else { addr.port() };
            let wanted = SocketAddr::new(addr.ip(), wanted);
            match listen(wanted) {
                Err(_) if wanted != *addr && tries < TRIES => break,
                Err(error) => return Err(StartError::Tcp(*addr, error)),
                Ok(listener) => {
                    port = port.or(listener.local_addr().ok().map(|addr| addr.port()));
                    listeners.push(listener);
                }
            }
        }
        tries += 1;
        if listeners.len() < options.bind.len() {
            continue;
        }
        let Some(dht) = &options.dht else { return Ok((listeners, None)) };
        let addrs: Vec<SocketAddr> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        match discovery::bind(dht, &addrs) {
            Ok(driver) => return Ok((listeners, Some(driver))),
            Err(_) if any_port && tries < TRIES => {}
            Err(error) => return Err(StartError::Udp(error)),
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    /// Connections that wait to be taken.
    const BACKLOG: i32 = 256;
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Our name: program and version (BEP 20), and random letters.
fn peer_id() -> [u8; 20] {
    let mut id = *b"-TK0100-000000000000";
    let random: [u8; 12] = rand::random();
    id[8..].copy_from_slice(&random);
    id
}

/// The info dict that an earlier run saved beside the files.
fn saved_info(root: &Path, info_hash: &InfoHash) -> Option<Info> {
    let path =
        storage::journal_path(info_hash).into_iter().fold(root.to_path_buf(), |p, e| p.join(e));
    let raw = storage::read_info(&std::fs::read(path).ok()?)?;
    Info::parse(&raw).ok().filter(|info| info.info_hash == *info_hash)
}

async fn resolve_peer(reactor: Reactor, key: TorrentKey, peer: String) {
    match tokio::net::lookup_host(&peer).await {
        Ok(addrs) => {
            let addrs: Vec<SocketAddr> = addrs.collect();
            reactor.input(|session, now| {
                session.add_candidates(now, key, Source::User, &addrs);
            });
        }
        Err(error) => tracing::warn!(%peer, %error, "cannot resolve the peer"),
    }
}
