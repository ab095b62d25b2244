//! Joins the DHT and the session: what the one finds, the other dials.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use dht::driver::{BindError, Driver, DriverConfig, StateFile};
use dht::{Event, LookupId};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use wire::InfoHash;
use wire::compact::Family;

use super::reactor::Reactor;
use crate::candidates::Source;
use crate::{Asked, TorrentKey};

/// How the DHT is entered.
#[derive(Clone, Debug, Default)]
pub struct DhtOptions {
    /// Nodes to ask first, as HOST:PORT.
    pub bootstrap: Vec<String>,
    /// Where id and contacts are kept from run to run; None: nowhere.
    pub state_file: Option<PathBuf>,
}

/// How the search for peers goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchProgress {
    /// The DHT is in use.
    pub enabled: bool,
    /// Nodes in our routing table.
    pub nodes: usize,
    /// Nodes asked, in this question or the last.
    pub asked: usize,
    /// Nodes that answered.
    pub answered: usize,
    /// Peers they gave.
    pub found: usize,
}

enum Command {
    Ask(TorrentKey, InfoHash, bool),
    AddNode(SocketAddr),
    Save,
}

#[derive(Default)]
struct Shared {
    commands: VecDeque<Command>,
    progress: BTreeMap<TorrentKey, SearchProgress>,
    nodes: usize,
}

/// A handle on the task that runs the DHT node.
pub(super) struct Dht {
    shared: Rc<RefCell<Shared>>,
    wake: Rc<Notify>,
    saved: Rc<Notify>,
}

/// A DHT node with its sockets, not running yet.
pub(super) fn bind(options: &DhtOptions, addrs: &[SocketAddr]) -> Result<Driver, BindError> {
    let snapshot = options.state_file.as_ref().and_then(|path| {
        StateFile::new(path)
            .load_or_set_aside()
            .inspect_err(|error| tracing::warn!(%error, "the saved DHT contacts are of no use"))
            .ok()
            .flatten()
    });
    let config =
        DriverConfig { bootstrap: options.bootstrap.clone(), snapshot, ..DriverConfig::default() };
    Driver::bind(config, addrs)
}

impl Dht {
    /// Runs the node on the current `LocalSet`. `port` is where we take peers' connections.
    pub(super) fn start(
        options: DhtOptions,
        driver: Driver,
        port: Option<u16>,
        reactor: Reactor,
    ) -> Dht {
        let dht = Dht {
            shared: Rc::default(),
            wake: Rc::new(Notify::new()),
            saved: Rc::new(Notify::new()),
        };
        let task = Task {
            driver,
            reactor,
            port,
            state_file: options.state_file.map(StateFile::new),
            shared: dht.shared.clone(),
            saved: dht.saved.clone(),
            lookups: BTreeMap::new(),
        };
        spawn_local(task.run(dht.wake.clone()));
        dht
    }

    fn command(&self, command: Command) {
        self.shared.borrow_mut().commands.push_back(command);
        self.wake.notify_one();
    }

    /// Asks for a torrent's peers and announces it, by BEP 33 as a `seed`.
    pub(super) fn ask(&self, key: TorrentKey, info_hash: InfoHash, seed: bool) {
        self.command(Command::Ask(key, info_hash, seed));
    }

    /// A peer has a node there.
    pub(super) fn add_node(&self, addr: SocketAddr) {
        self.command(Command::AddNode(addr));
    }

    /// Saves id and contacts.
    pub(super) async fn save(&self) {
        self.command(Command::Save);
        self.saved.notified().await;
    }

    /// How a search goes; without a key that of any torrent.
    pub(super) fn progress(&self, key: Option<TorrentKey>) -> SearchProgress {
        let shared = self.shared.borrow();
        let progress = match key {
            Some(key) => shared.progress.get(&key),
            None => shared.progress.values().next(),
        };
        let progress = progress.copied().unwrap_or_default();
        SearchProgress { enabled: true, nodes: shared.nodes, ..progress }
    }
}

struct Task {
    driver: Driver,
    reactor: Reactor,
    port: Option<u16>,
    state_file: Option<StateFile>,
    shared: Rc<RefCell<Shared>>,
    saved: Rc<Notify>,
    lookups: BTreeMap<LookupId, (TorrentKey, Asked)>,
}

impl Task {
    async fn run(mut self, wake: Rc<Notify>) {
        loop {
            tokio::select! {
                () = self.driver.turn() => {}
                () = wake.notified() => {}
            }
            loop {
                let command = self.shared.borrow_mut().commands.pop_front();
                let Some(command) = command else { break };
                self.on_command(command);
            }
            self.driver.flush();
            while let Some(event) = self.driver.poll_event() {
                self.on_event(event);
            }
            while self.driver.poll_foreign().is_some() {}
            self.update_progress();
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = self.driver.now();
        match command {
            Command::Ask(key, info_hash, seed) => {
                let node = self.driver.node_mut();
                let lookup = match self.port {
                    Some(port) => node.announce(now, info_hash, Some(port), seed),
                    None => node.get_peers(now, info_hash),
                };
                self.lookups.insert(lookup, (key, Asked::default()));
            }
            Command::AddNode(addr) => self.driver.node_mut().add_contact(now, addr),
            Command::Save => {
                if let Some(file) = &self.state_file
                    && let Err(error) = file.save(&self.driver.node().snapshot())
                {
                    tracing::warn!(%error, "cannot save the DHT contacts");
                }
                self.saved.notify_one();
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::PeersFound { lookup, peers, .. } => {
                let Some((key, asked)) = self.lookups.get_mut(&lookup) else { return };
                asked.found += peers.len();
                let key = *key;
                self.update_progress();
                self.reactor.input(|session, now| {
                    session.add_candidates(now, key, Source::Dht, &peers);
                });
            }
            Event::LookupDone { lookup, .. } if self.port.is_none() => self.finish(lookup, 0),
            Event::Announced { lookup, accepted, .. } => self.finish(lookup, accepted as usize),
            Event::Bootstrapped { contacts } => {
                tracing::info!(contacts, "in the DHT");
                self.reactor.input(crate::Session::hurry_discovery);
            }
            Event::ExternalAddress { ip } => tracing::info!(%ip, "the DHT sees us at"),
            _ => {}
        }
    }

    fn finish(&mut self, lookup: LookupId, kept_by: usize) {
        let Some((key, asked)) = self.lookups.remove(&lookup) else { return };
        let asked = Asked { kept_by, ..asked };
        self.reactor.input(|session, now| session.handle_asked(now, key, asked));
    }

    fn update_progress(&self) {
        let mut shared = self.shared.borrow_mut();
        let node = self.driver.node();
        shared.nodes = node.table_len(Family::V4) + node.table_len(Family::V6);
        for (lookup, (key, asked)) in &self.lookups {
            if let Some(progress) = node.progress(*lookup) {
                let search = SearchProgress {
                    enabled: true,
                    nodes: 0,
                    asked: progress.asked as usize,
                    answered: progress.answered as usize,
                    found: asked.found,
                };
                shared.progress.insert(*key, search);
            }
        }
    }
}
