//! Joins the DHT and the session: what the one finds, the other dials.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use dht::driver::{BindError, Driver, DriverConfig, StateError, StateFile};
use dht::{Event, LookupId, Snapshot};
use tokio::sync::{Notify, oneshot};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::sleep;
use wire::InfoHash;
use wire::compact::Family;

use super::pace::Pace;
use super::reactor::Reactor;
use crate::candidates::Source;
use crate::{Asked, TorrentKey};

/// How the DHT is entered.
#[derive(Clone, Debug, Default)]
pub(super) struct DhtOptions {
    /// Nodes to ask first, as HOST:PORT.
    pub(super) bootstrap: Vec<String>,
    /// Where id and contacts are kept from run to run; None: nowhere.
    pub(super) state_file: Option<PathBuf>,
}

impl DhtOptions {
    /// Id and contacts of an earlier run.
    pub(super) fn saved(&self) -> Result<Option<Snapshot>, StateError> {
        match &self.state_file {
            Some(path) => StateFile::new(path).load_or_set_aside(),
            None => Ok(None),
        }
    }
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
    Forget(TorrentKey),
    Save(oneshot::Sender<Result<(), StateError>>),
}

#[derive(Default)]
struct Shared {
    commands: VecDeque<Command>,
    progress: BTreeMap<TorrentKey, SearchProgress>,
    nodes: usize,
    unresolved: Vec<(String, String)>,
}

/// A handle on the task that runs the DHT node.
#[derive(Clone)]
pub(super) struct Dht {
    shared: Rc<RefCell<Shared>>,
    wake: Rc<Notify>,
}

/// A DHT node with its sockets, not running yet.
pub(super) fn bind(
    options: &DhtOptions,
    snapshot: Option<Snapshot>,
    addrs: &[SocketAddr],
) -> Result<Driver, BindError> {
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
        let pace = {
            let shared = reactor.shared.borrow();
            let config = shared.session.config();
            Pace::new(config.announce_gap, config.announce_burst)
        };
        let dht = Dht { shared: Rc::default(), wake: Rc::new(Notify::new()) };
        let task = Task {
            driver,
            reactor,
            port,
            state_file: options.state_file.map(StateFile::new),
            shared: dht.shared.clone(),
            waiting: VecDeque::new(),
            pace,
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

    /// A torrent is gone.
    pub(super) fn forget(&self, key: TorrentKey) {
        self.command(Command::Forget(key));
    }

    /// Saves id and contacts.
    pub(super) async fn save(&self) -> Result<(), StateError> {
        let (end, saved) = oneshot::channel();
        self.command(Command::Save(end));
        // A task that has ended had nothing to save.
        saved.await.unwrap_or(Ok(()))
    }

    /// Bootstrap names without an address, and why.
    pub(super) fn unresolved(&self) -> Vec<(String, String)> {
        self.shared.borrow().unresolved.clone()
    }

    /// How a search goes.
    pub(super) fn progress(&self, key: TorrentKey) -> SearchProgress {
        let shared = self.shared.borrow();
        let progress = shared.progress.get(&key).copied().unwrap_or_default();
        SearchProgress { enabled: true, nodes: shared.nodes, ..progress }
    }
}

struct Task {
    driver: Driver,
    reactor: Reactor,
    port: Option<u16>,
    state_file: Option<StateFile>,
    shared: Rc<RefCell<Shared>>,
    /// Torrents that have all, to be announced at a pace: who fetches does not wait for thousands.
    waiting: VecDeque<(TorrentKey, InfoHash)>,
    pace: Pace,
    lookups: BTreeMap<LookupId, (TorrentKey, Asked)>,
}

impl Task {
    async fn run(mut self, wake: Rc<Notify>) {
        loop {
            let wait = (!self.waiting.is_empty()).then(|| self.pace.due().since(self.driver.now()));
            tokio::select! {
                () = self.driver.turn() => {}
                () = wake.notified() => {}
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
            loop {
                let command = self.shared.borrow_mut().commands.pop_front();
                let Some(command) = command else { break };
                self.on_command(command);
            }
            self.announce_waiting();
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
            Command::Ask(key, info_hash, true) => self.waiting.push_back((key, info_hash)),
            Command::Ask(key, info_hash, false) => self.ask(key, info_hash, false),
            Command::AddNode(addr) => self.driver.node_mut().add_contact(now, addr),
            Command::Forget(key) => {
                self.waiting.retain(|(other, _)| *other != key);
                let its = self.lookups.extract_if(.., |_, (other, _)| *other == key);
                for lookup in its.map(|(lookup, _)| lookup).collect::<Vec<_>>() {
                    self.driver.node_mut().cancel(now, lookup);
                }
                self.shared.borrow_mut().progress.remove(&key);
            }
            Command::Save(end) => self.save(end),
        }
    }

    fn announce_waiting(&mut self) {
        let now = self.driver.now();
        while !self.waiting.is_empty() && self.pace.take(now) {
            let next = self.waiting.pop_front();
            next.into_iter().for_each(|(key, info_hash)| self.ask(key, info_hash, true));
        }
    }

    fn ask(&mut self, key: TorrentKey, info_hash: InfoHash, seed: bool) {
        let now = self.driver.now();
        let node = self.driver.node_mut();
        let lookup = match self.port {
            Some(port) => node.announce(now, info_hash, Some(port), seed),
            None => node.get_peers(now, info_hash),
        };
        self.lookups.insert(lookup, (key, Asked::default()));
    }

    fn save(&self, end: oneshot::Sender<Result<(), StateError>>) {
        let Some(file) = self.state_file.clone() else { return drop(end.send(Ok(()))) };
        let snapshot = self.driver.node().snapshot();
        // The disk is not waited for on the reactor's time.
        spawn_blocking(move || end.send(file.save(&snapshot)));
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
        let words = |error: &str| match error {
            "" => "the name server has not answered".to_owned(),
            error => error.to_owned(),
        };
        let unresolved = self.driver.unresolved();
        shared.unresolved =
            unresolved.map(|(name, error)| (name.to_owned(), words(error))).collect();
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
