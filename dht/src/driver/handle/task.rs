//! The task that owns the node of a handle.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use wire::compact::Family;

use super::command::{
    Announced, Command, Info, LookupSummary, Pong, Reply, Samples, Scraped, Stored,
};
use super::error::DhtError;
use super::saver::{Saver, due, warn_unsaved};
use crate::driver::Driver;
use crate::{Event, Item, LookupId, PingId};

/// Whether the node has joined the DHT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joining {
    /// Not yet.
    Asking,
    /// It cannot: there is nobody to ask.
    Alone,
    Joined,
}

/// Who waits for a lookup.
enum Waiter {
    Peers {
        peers: mpsc::Sender<SocketAddr>,
        end: Reply<Result<LookupSummary, DhtError>>,
    },
    Nodes(Reply<Result<LookupSummary, DhtError>>),
    Announce {
        peers: Vec<SocketAddr>,
        lookup: Option<LookupSummary>,
        end: Reply<Result<Announced, DhtError>>,
    },
    Item {
        found: Option<Item>,
        end: Reply<Result<Option<Item>, DhtError>>,
    },
    Put {
        lookup: Option<LookupSummary>,
        end: Reply<Result<Stored, DhtError>>,
    },
    Scrape {
        lookup: Option<LookupSummary>,
        end: Reply<Result<Scraped, DhtError>>,
    },
    Samples {
        found: Vec<Samples>,
        end: Reply<Result<Vec<Samples>, DhtError>>,
    },
}

impl Waiter {
    fn is_gone(&self) -> bool {
        match self {
            Waiter::Item { end, .. } => end.is_closed(),
            Waiter::Put { end, .. } => end.is_closed(),
            Waiter::Scrape { end, .. } => end.is_closed(),
            Waiter::Samples { end, .. } => end.is_closed(),
            Waiter::Peers { end, .. } | Waiter::Nodes(end) => end.is_closed(),
            Waiter::Announce { end, .. } => end.is_closed(),
        }
    }
}

/// The node, and who waits for what.
pub(super) struct Task {
    driver: Driver,
    lookups: BTreeMap<LookupId, Waiter>,
    pings: BTreeMap<PingId, Reply<Result<Pong, DhtError>>>,
    /// Who waits until the node has joined.
    joining: Vec<Reply<Result<(), DhtError>>>,
    /// Somebody waits no longer.
    gone: Arc<Notify>,
    saver: Option<Saver>,
}

impl Task {
    pub(super) fn new(driver: Driver, gone: Arc<Notify>, saver: Option<Saver>) -> Task {
        let (lookups, pings, joining) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Task { driver, lookups, pings, joining, gone, saver }
    }

    /// Runs until it is told to end, or nobody is left to tell it anything.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let told = loop {
            tokio::select! {
                () = self.driver.turn() => {}
                command = commands.recv() => match command {
                    None => break None,
                    Some(Command::Shutdown(end)) => break Some(end),
                    Some(command) => self.on_command(command),
                },
                () = self.gone.notified() => self.cancel_forsaken(),
                () = due(self.saver.as_ref()) => self.save_again(),
            }
            while let Some(event) = self.driver.poll_event() {
                self.on_event(event);
            }
            // Nobody shares the sockets.
            while self.driver.poll_foreign().is_some() {}
            self.settle_joining();
        };
        let (snapshot, saver) = (self.driver.node().snapshot(), self.saver.take());
        // Who waits hears of the end, and the sockets are closed, before the disk is waited for.
        drop((self, commands));
        let saved = match saver {
            Some(saver) => saver.save_last(snapshot).await,
            None => Ok(()),
        };
        match told {
            Some(end) => drop(end.send(saved)),
            None => warn_unsaved(&saved),
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = self.driver.now();
        let node = self.driver.node_mut();
        match command {
            Command::GetPeers { info_hash, peers, end } => {
                let lookup = node.get_peers(now, info_hash);
                self.wait(lookup, Waiter::Peers { peers, end });
            }
            Command::Announce { info_hash, port, seed, end } => {
                let lookup = node.announce(now, info_hash, port, seed);
                self.wait(lookup, Waiter::Announce { peers: Vec::new(), lookup: None, end });
            }
            Command::FindNode { target, end } => {
                let lookup = node.find_node(now, target);
                self.wait(lookup, Waiter::Nodes(end));
            }
            Command::Get { key, seq, end } => {
                let lookup = node.get(now, &key, seq);
                self.wait(lookup, Waiter::Item { found: None, end });
            }
            Command::Put { item, cas, end } => {
                let lookup = node.put(now, item, cas);
                self.wait(lookup, Waiter::Put { lookup: None, end });
            }
            Command::Scrape { info_hash, end } => {
                let lookup = node.scrape(now, info_hash);
                self.wait(lookup, Waiter::Scrape { lookup: None, end });
            }
            Command::Sample { target, end } => {
                let lookup = node.sample_infohashes(now, target);
                self.wait(lookup, Waiter::Samples { found: Vec::new(), end });
            }
            Command::Ping { addr, end } => {
                let ping = node.ping(now, addr);
                self.pings.insert(ping, end);
            }
            Command::Bootstrap(host_port) => self.driver.bootstrap(host_port),
            Command::AddNode(addr) => node.add_contact(now, addr),
            Command::Joined(end) => self.joining.push(end),
            // Who asked may be gone by now.
            Command::WhyNotJoined(end) => drop(end.send(self.why_not_joined())),
            Command::Info(end) => drop(end.send(self.info())),
            Command::Contacts(end) => drop(end.send(node.contacts())),
            Command::Snapshot(end) => drop(end.send(node.snapshot())),
            Command::Save(end) => self.save(end),
            Command::Shutdown(_) => {}
        }
        self.driver.flush();
    }

    fn wait(&mut self, lookup: LookupId, waiter: Waiter) {
        self.lookups.insert(lookup, waiter);
        // Whoever left before it was started has left no other trace.
        self.cancel_if_forsaken(lookup);
    }

    fn cancel_if_forsaken(&mut self, lookup: LookupId) {
        if self.lookups.get(&lookup).is_some_and(Waiter::is_gone) {
            self.lookups.remove(&lookup);
            let now = self.driver.now();
            self.driver.node_mut().cancel(now, lookup);
        }
    }

    /// Cancels what nobody waits for any longer.
    fn cancel_forsaken(&mut self) {
        self.pings.retain(|_, end| !end.is_closed());
        self.joining.retain(|end| !end.is_closed());
        let gone: Vec<_> =
            self.lookups.iter().filter(|(_, waiter)| waiter.is_gone()).map(|(id, _)| *id).collect();
        for lookup in gone {
            self.cancel_if_forsaken(lookup);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::PeersFound { lookup, peers, .. } => self.on_peers(lookup, peers),
            Event::LookupDone { lookup, asked, answered, peers_found, hops, closest, .. } => {
                let summary = LookupSummary { asked, answered, peers_found, hops, closest };
                self.on_lookup_done(lookup, summary);
            }
            Event::Announced { lookup, accepted, .. } => self.on_announced(lookup, accepted),
            Event::ItemFound { lookup, item } => {
                if let Some(Waiter::Item { found, .. }) = self.lookups.get_mut(&lookup) {
                    *found = Some(item);
                }
            }
            Event::Stored { lookup, accepted, cas_mismatches, outdated, .. } => {
                let stored = Stored { accepted, cas_mismatches, outdated };
                self.on_stored(lookup, stored);
            }
            Event::Scraped { lookup, nodes, seeds, peers, .. } => {
                self.on_scraped(lookup, Scraped { nodes, seeds, peers });
            }
            Event::SamplesFound { lookup, from, num, interval_secs, info_hashes } => {
                if let Some(Waiter::Samples { found, .. }) = self.lookups.get_mut(&lookup) {
                    let interval = Duration::from_secs(interval_secs.into());
                    found.push(Samples { from, num, interval, info_hashes });
                }
            }
            Event::PingReply { ping, node, rtt } => self.on_ping(ping, Ok(Pong { node, rtt })),
            Event::PingFailed { ping, addr } => {
                self.on_ping(ping, Err(DhtError::PingUnanswered(addr)));
            }
            Event::Bootstrapped { contacts } => tracing::debug!(contacts, "joined the DHT"),
            Event::ExternalAddress { ip } => tracing::debug!(%ip, "the DHT sees us at"),
        }
    }

    fn on_peers(&mut self, lookup: LookupId, found: Vec<SocketAddr>) {
        match self.lookups.get_mut(&lookup) {
            Some(Waiter::Peers { peers, .. }) => {
                // There is room for all that a lookup reports; what were more, or has no taker, is
                // dropped.
                for peer in found {
                    let _ = peers.try_send(peer);
                }
            }
            Some(Waiter::Announce { peers, .. }) => {
                let max = self.driver.node().config().lookup_peers_max;
                peers.extend(found.into_iter().take(max.saturating_sub(peers.len())));
            }
            _ => {}
        }
    }

    fn on_lookup_done(&mut self, lookup: LookupId, summary: LookupSummary) {
        match self.lookups.remove(&lookup) {
            Some(Waiter::Peers { end, .. } | Waiter::Nodes(end)) => {
                let _ = end.send(match (summary.answered, summary.peers_found) {
                    (0, 0) => Err(self.why_unanswered(u64::from(summary.asked))),
                    _ => Ok(summary),
                });
            }
            Some(Waiter::Announce { peers, end, .. }) => {
                let waiter = Waiter::Announce { peers, lookup: Some(summary), end };
                self.lookups.insert(lookup, waiter);
            }
            Some(Waiter::Item { found, end }) => {
                let _ = end.send(match (found, summary.answered) {
                    (None, 0) => Err(self.why_unanswered(u64::from(summary.asked))),
                    (found, _) => Ok(found),
                });
            }
            Some(Waiter::Put { end, .. }) => {
                self.lookups.insert(lookup, Waiter::Put { lookup: Some(summary), end });
            }
            Some(Waiter::Scrape { end, .. }) => {
                self.lookups.insert(lookup, Waiter::Scrape { lookup: Some(summary), end });
            }
            Some(Waiter::Samples { found, end }) => {
                let _ = end.send(self.unless_unanswered(&summary, found));
            }
            None => {}
        }
    }

    fn on_announced(&mut self, lookup: LookupId, accepted: u32) {
        let waiter = self.lookups.remove(&lookup);
        let Some(Waiter::Announce { peers, lookup: Some(lookup), end }) = waiter else { return };
        let _ = end.send(match (accepted, lookup.answered) {
            (0, 0) => Err(self.why_unanswered(u64::from(lookup.asked))),
            (0, answered) => Err(DhtError::NotAccepted { answered }),
            _ => Ok(Announced { accepted, lookup, peers }),
        });
    }

    fn on_stored(&mut self, lookup: LookupId, stored: Stored) {
        let waiter = self.lookups.remove(&lookup);
        let Some(Waiter::Put { lookup: Some(lookup), end }) = waiter else { return };
        let _ = end.send(self.unless_unanswered(&lookup, stored));
    }

    fn on_scraped(&mut self, lookup: LookupId, scraped: Scraped) {
        let waiter = self.lookups.remove(&lookup);
        let Some(Waiter::Scrape { lookup: Some(lookup), end }) = waiter else { return };
        let _ = end.send(self.unless_unanswered(&lookup, scraped));
    }

    fn unless_unanswered<T>(&self, lookup: &LookupSummary, result: T) -> Result<T, DhtError> {
        match lookup.answered {
            0 => Err(self.why_unanswered(u64::from(lookup.asked))),
            _ => Ok(result),
        }
    }

    fn on_ping(&mut self, ping: PingId, outcome: Result<Pong, DhtError>) {
        if let Some(end) = self.pings.remove(&ping) {
            let _ = end.send(outcome);
        }
    }

    fn info(&self) -> Info {
        let node = self.driver.node();
        let (stored_torrents, stored_peers) = node.stored();
        let (stored_items, _) = node.stored_items();
        Info {
            local_addrs: self.driver.local_addrs().collect(),
            ids: node.ids().to_vec(),
            external_ips: node.sockets().map(|socket| node.external_ip(socket)).collect(),
            down: node.sockets().map(|socket| node.is_down(socket)).collect(),
            bootstrapped: node.is_bootstrapped(),
            contacts_v4: node.table_len(Family::V4),
            contacts_v6: node.table_len(Family::V6),
            stored_torrents,
            stored_peers,
            stored_items,
            lookups: node.searches.len(),
            stats: *node.stats(),
            driver_stats: self.driver.stats(),
        }
    }

    fn joining(&self) -> Joining {
        let node = self.driver.node();
        // A name without an error is being resolved.
        let asking = !node.bootstrap.contacts().is_empty()
            || !node.tables.is_empty()
            || self.driver.unresolved().any(|(_, error)| error.is_empty());
        match (node.is_bootstrapped(), asking) {
            (true, _) => Joining::Joined,
            (false, true) => Joining::Asking,
            (false, false) => Joining::Alone,
        }
    }

    /// Tells those who wait for it that the node has joined, or why it cannot.
    fn settle_joining(&mut self) {
        if self.joining.is_empty() || self.joining() == Joining::Asking {
            return;
        }
        for end in std::mem::take(&mut self.joining) {
            let _ = end.send(self.why_not_joined());
        }
    }

    fn why_not_joined(&self) -> Result<(), DhtError> {
        match self.joining() {
            Joining::Joined => Ok(()),
            _ => Err(self.why_unanswered(self.driver.node().stats().asked)),
        }
    }

    /// Why none of so many queries was answered.
    fn why_unanswered(&self, asked: u64) -> DhtError {
        if self.joining() != Joining::Alone {
            return DhtError::Unanswered { asked, unsent: self.driver.stats().send_errors };
        }
        let names: Vec<_> =
            self.driver.unresolved().map(|(name, error)| (name.into(), error.into())).collect();
        match names.is_empty() {
            true => DhtError::NobodyToAsk,
            false => DhtError::Unresolved(names),
        }
    }

    fn save(&mut self, end: Reply<Result<(), DhtError>>) {
        let snapshot = self.driver.node().snapshot();
        match &mut self.saver {
            Some(saver) => saver.save(snapshot, end),
            None => drop(end.send(Err(DhtError::NoStateFile))),
        }
    }

    fn save_again(&mut self) {
        if let Some(saver) = &mut self.saver {
            saver.save_again(self.driver.node().snapshot());
        }
    }
}
