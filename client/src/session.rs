//! All torrents and connections of one process: the one machine that a driver talks to.
//!
//! A session owns a connection until its handshake names a torrent; from then on the torrent has
//! it. See ARCHITECTURE, "The contract of a pure machine": one input, then drain every output.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::InfoHash;
use wire::metainfo::Info;
use wire::peer::{BlockRef, Handshake, Reserved};
use wire::rng::{Seed, child_seed};
use wire::scope::owner;
use wire::time::Time;

use crate::candidates::Source;
use crate::crowd::Crowd;
use crate::discovery::Asked;
use crate::disk::HashWork;
use crate::disk::{DiskError, DiskOp, DiskResult, Ticket};
use crate::payload::Payload;
use crate::stats::TorrentStats;
use crate::storage::Storage;
use crate::torrent::{Action as TorrentAction, Failure, Identity, Output, Torrent, TorrentEvent};
use crate::{Close, Config, ConnId, TorrentKey};

/// Names one disk or hash job of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    /// The torrent that asked.
    pub torrent: TorrentKey,
    /// Its own ticket.
    pub ticket: Ticket,
}

/// What a session asks of its driver.
pub enum Action<P: Payload> {
    /// Connect; answered by [`Session::handle_connected`] or [`Session::handle_closed`].
    Dial(ConnId, SocketAddr),
    /// End this connection; it is not to be mentioned again.
    Close(ConnId, Close),
    /// [`Session::poll_output`] has something for this connection.
    Flush(ConnId),
    /// A disk operation, answered by [`Session::handle_disk`].
    Disk(JobId, DiskOp<P>),
    /// A hash job, answered by [`Session::handle_hashed`].
    Hash(JobId, HashWork<P>),
}

/// What a session tells its user: something about one torrent.
pub type Event = (TorrentKey, TorrentEvent);

/// A connection that is not a torrent's yet, or which one it is.
enum Conn {
    Dialing {
        torrent: TorrentKey,
        addr: SocketAddr,
        since: Time,
    },
    /// Connected; the other side's handshake is awaited.
    Greeting {
        torrent: Option<TorrentKey>,
        addr: SocketAddr,
        /// Less what was [`Session::unread`] by then.
        since: Time,
        out: Vec<u8>,
    },
    Of(TorrentKey),
}

/// A torrent, and what of it stands in the session's lists.
struct Entry<P: Payload> {
    torrent: Box<Torrent<P>>,
    due: Option<Time>,
    is_active: bool,
    is_behind: bool,
}

/// All torrents and connections of one process.
pub struct Session<P: Payload> {
    config: Arc<Config>,
    us: Identity,
    seed: Seed,
    torrents: BTreeMap<TorrentKey, Entry<P>>,
    by_hash: BTreeMap<InfoHash, TorrentKey>,
    /// When each torrent is due: an idle one costs nothing until then.
    due: BTreeSet<(Time, TorrentKey)>,
    /// Torrents that are not at rest.
    active: BTreeSet<TorrentKey>,
    /// Torrents whose hash threads and disks are behind.
    behind: BTreeSet<TorrentKey>,
    /// How long nothing was read for that, before `unread_since`.
    unread: Duration,
    /// Since when nothing is read for that.
    unread_since: Option<Time>,
    conns: BTreeMap<ConnId, Conn>,
    /// Connections in `Dialing` or `Greeting`.
    unsettled: BTreeSet<ConnId>,
    next_conn: u64,
    next_torrent: u32,
    /// Torrents that are forgotten once they are paused.
    leaving: BTreeSet<TorrentKey>,
    actions: VecDeque<Action<P>>,
    events: VecDeque<Event>,
}

impl<P: Payload> Session<P> {
    /// A session without torrents.
    pub fn new(config: Config, us: Identity, seed: Seed) -> Session<P> {
        Session {
            config: Arc::new(config),
            us,
            seed,
            torrents: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            due: BTreeSet::new(),
            active: BTreeSet::new(),
            behind: BTreeSet::new(),
            unread: Duration::ZERO,
            unread_since: None,
            conns: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            next_conn: 0,
            next_torrent: 0,
            leaving: BTreeSet::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The engine's numbers.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a torrent that is known by its info-hash; None if it is there already.
    pub fn add_torrent(&mut self, now: Time, info_hash: InfoHash) -> Option<TorrentKey> {
        if self.by_hash.contains_key(&info_hash) {
            return None;
        }
        let key = TorrentKey(self.next_torrent);
        self.next_torrent += 1;
        let seed = child_seed(&self.seed, "torrent", u64::from(key.0));
        let torrent = Torrent::new(now, self.config.clone(), info_hash, self.us, seed);
        let torrent = Box::new(torrent);
        let entry = Entry { torrent, due: None, is_active: false, is_behind: false };
        self.torrents.insert(key, entry);
        self.by_hash.insert(info_hash, key);
        self.note(key);
        Some(key)
    }

    /// Gives a torrent its info dict and its files. False if it has them, or does not go on.
    pub fn set_info(
        &mut self,
        now: Time,
        key: TorrentKey,
        info: impl Into<Arc<Info>>,
        storage: Storage<P>,
    ) -> bool {
        let (info, mut begins) = (info.into(), false);
        self.with(now, key, |torrent| begins = torrent.set_info(now, info, storage));
        begins
    }

    /// Addresses that may have a torrent.
    pub fn add_candidates(
        &mut self,
        now: Time,
        key: TorrentKey,
        source: Source,
        addrs: &[SocketAddr],
    ) {
        self.with(now, key, |torrent| torrent.add_candidates(now, source, addrs));
    }

    /// A question for peers ended.
    pub fn handle_asked(&mut self, now: Time, key: TorrentKey, asked: Asked) {
        self.with(now, key, |torrent| torrent.handle_asked(now, asked));
    }

    /// The way to ask for peers got better: all torrents ask again.
    pub fn hurry_discovery(&mut self, now: Time) {
        let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
        for key in keys {
            self.with(now, key, |torrent| torrent.hurry_discovery(now));
        }
    }

    /// Pauses a torrent: its connections end, nobody is dialled and nobody asked for peers, what is
    /// there is brought to stable storage and its files are closed. [`TorrentEvent::Paused`] tells
    /// when.
    pub fn pause_torrent(&mut self, now: Time, key: TorrentKey) {
        let is_its = |conn: &ConnId| match self.conns.get(conn) {
            Some(Conn::Dialing { torrent, .. }) => *torrent == key,
            Some(Conn::Greeting { torrent, .. }) => *torrent == Some(key),
            _ => false,
        };
        let begun: Vec<ConnId> = self.unsettled.iter().copied().filter(is_its).collect();
        self.with(now, key, |torrent| torrent.pause(now));
        for conn in begun {
            self.end(now, conn, Close::Stopped);
        }
    }

    /// Goes on with a torrent that is paused, as if it had just been added:
    /// [`Session::set_info`] is to be called again, if the info dict is known. False if it is not
    /// paused.
    pub fn resume_torrent(&mut self, now: Time, key: TorrentKey) -> bool {
        let mut resumed = false;
        if !self.leaving.contains(&key) {
            self.with(now, key, |torrent| resumed = torrent.resume(now));
        }
        resumed
    }

    /// Pauses a torrent and forgets it; [`TorrentEvent::Removed`] tells when. Its files stay.
    pub fn remove_torrent(&mut self, now: Time, key: TorrentKey) {
        self.leaving.insert(key);
        self.pause_torrent(now, key);
        self.forget_paused(key);
    }

    fn forget_paused(&mut self, key: TorrentKey) {
        let paused = self.torrent(key).is_none_or(Torrent::is_paused);
        if paused
            && self.leaving.remove(&key)
            && let Some(Entry { torrent, due, .. }) = self.torrents.remove(&key)
        {
            self.by_hash.remove(torrent.info_hash());
            due.into_iter().for_each(|due| _ = self.due.remove(&(due, key)));
            self.active.remove(&key);
            self.behind.remove(&key);
            self.events.push_back((key, TorrentEvent::Removed));
        }
    }

    /// A file that is served over a connection cannot be read as the torrent says.
    pub fn handle_unreadable(&mut self, now: Time, conn: ConnId, error: DiskError) {
        if let Some(&Conn::Of(key)) = self.conns.get(&conn) {
            self.give_up(now, key, Failure::Disk(error));
        }
    }

    /// A torrent cannot go on, for a reason that the driver found.
    pub fn give_up(&mut self, now: Time, key: TorrentKey, failure: Failure) {
        self.with(now, key, |torrent| torrent.give_up(now, failure));
    }

    /// Brings what is there of a torrent to stable storage.
    pub fn flush_torrent(&mut self, now: Time, key: TorrentKey) {
        self.with(now, key, |torrent| torrent.flush(now));
    }

    /// The torrent named `key`.
    pub fn torrent(&self, key: TorrentKey) -> Option<&Torrent<P>> {
        self.torrents.get(&key).map(|entry| &*entry.torrent)
    }

    /// Torrents of which anything may change but their announces.
    pub fn active(&self) -> impl Iterator<Item = TorrentKey> + '_ {
        self.active.iter().copied()
    }

    /// Figures of one torrent.
    pub fn stats(&self, now: Time, key: TorrentKey) -> Option<TorrentStats> {
        self.torrent(key).map(|torrent| torrent.stats(now))
    }

    /// Whether sockets are to be read: false while hash threads and disks are behind.
    pub fn wants_read(&self) -> bool {
        self.behind.is_empty()
    }

    /// How long sockets have not been read because hash threads and disks were behind. What peers said
    /// in that time is no fault of theirs, and their deadlines wait.
    fn unread(&self, now: Time) -> Duration {
        self.unread + self.unread_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Somebody connected to us: the connection's name, or None if there are too many that have
    /// not shown a handshake. Of these the host with the most makes room for one with fewer, else the
    /// oldest that had time to show one.
    pub fn handle_incoming(&mut self, now: Time, addr: SocketAddr) -> Option<ConnId> {
        let pending = self.pending();
        let read_until = now - self.unread(now);
        if pending.len() >= self.config.handshakes_pending_max {
            let mut hosts = Crowd::new();
            pending.iter().for_each(|(_, addr, _)| hosts.add(addr.ip()));
            let own = hosts.count(addr.ip());
            let most = hosts.gives_way_to(addr.ip());
            let gives_way = |(_, addr, since): &(ConnId, SocketAddr, Time)| match most {
                Some(most) => owner(addr.ip()) == most,
                None => {
                    read_until.since(*since) >= self.config.handshake_grace
                        && hosts.count(addr.ip()) >= own
                }
            };
            let (oldest, ..) = pending.into_iter().find(gives_way)?;
            self.end(now, oldest, Close::NoHandshake);
        }
        let conn = self.new_conn();
        let greeting = Conn::Greeting { torrent: None, addr, since: read_until, out: Vec::new() };
        self.conns.insert(conn, greeting);
        self.unsettled.insert(conn);
        Some(conn)
    }

    /// A dial succeeded; [`Action::Close`] answers if it was given up meanwhile.
    pub fn handle_connected(&mut self, now: Time, conn: ConnId) {
        let (key, addr) = match self.conns.get(&conn) {
            Some(Conn::Dialing { torrent, addr, .. }) => (*torrent, *addr),
            Some(_) => return,
            None => return self.actions.push_back(Action::Close(conn, Close::DialFailed)),
        };
        let Some(torrent) = self.torrent(key) else { return };
        let mut out = Vec::new();
        Handshake {
            reserved: Reserved::OURS,
            info_hash: *torrent.info_hash(),
            peer_id: self.us.peer_id,
        }
        .encode(&mut out);
        let since = now - self.unread(now);
        let greeting = Conn::Greeting { torrent: Some(key), addr, since, out };
        self.conns.insert(conn, greeting);
        self.actions.push_back(Action::Flush(conn));
    }

    /// A connection's first 68 bytes.
    pub fn handle_handshake(&mut self, now: Time, conn: ConnId, handshake: Handshake) {
        let (dialled, addr, sent) = match self.conns.get(&conn) {
            Some(Conn::Greeting { torrent, addr, out, .. }) => (*torrent, *addr, out.is_empty()),
            Some(_) => return self.end(now, conn, Close::Fault("a handshake out of turn")),
            None => return,
        };
        // The caller has sent ours before it reads theirs, unless the network is stuck.
        if !sent {
            return self.end(now, conn, Close::NoHandshake);
        }
        let key = dialled.or_else(|| self.by_hash.get(&handshake.info_hash).copied());
        let Some(key) = key else {
            return self.end(now, conn, Close::UnknownTorrent);
        };
        self.unsettled.remove(&conn);
        self.conns.insert(conn, Conn::Of(key));
        let mut refused = None;
        self.with(now, key, |torrent| {
            refused = torrent.handle_handshake(now, conn, addr, dialled.is_some(), handshake).err();
        });
        if let Some(close) = refused {
            self.close(conn, close);
        }
    }

    /// A message: its id and payload.
    pub fn handle_message(&mut self, now: Time, conn: ConnId, body: &[u8]) {
        match self.conns.get(&conn) {
            Some(&Conn::Of(key)) => self.with(now, key, |t| t.handle_message(now, conn, body)),
            Some(_) => self.end(now, conn, Close::NoHandshake),
            None => {}
        }
    }

    /// A block, whole.
    pub fn handle_block(&mut self, now: Time, conn: ConnId, block: BlockRef, payload: P) {
        if let Some(&Conn::Of(key)) = self.conns.get(&conn) {
            self.with(now, key, |torrent| torrent.handle_block(now, conn, block, payload));
        }
    }

    /// A connection ended, or a dial failed, or its bytes are not the protocol.
    pub fn handle_closed(&mut self, now: Time, conn: ConnId, why: Close) {
        match self.conns.remove(&conn) {
            Some(Conn::Of(key)) => {
                self.with(now, key, |torrent| torrent.handle_closed(now, conn, why))
            }
            Some(
                Conn::Dialing { torrent: key, addr, .. }
                | Conn::Greeting { torrent: Some(key), addr, .. },
            ) => self.with(now, key, |torrent| match why {
                Close::NoDescriptor => torrent.handle_not_dialled(now, addr),
                _ => torrent.handle_dial_failed(now, addr),
            }),
            Some(Conn::Greeting { torrent: None, .. }) | None => {}
        }
        self.unsettled.remove(&conn);
    }

    /// A disk operation ended.
    pub fn handle_disk(&mut self, now: Time, job: JobId, result: DiskResult<P>) {
        self.with(now, job.torrent, |torrent| torrent.handle_disk(now, job.ticket, result));
    }

    /// A hash job ended: the state and blocks it was given, and the digest if it finished a piece.
    pub fn handle_hashed(
        &mut self,
        now: Time,
        job: JobId,
        hasher: P::Hasher,
        blocks: Vec<P>,
        digest: Option<[u8; 20]>,
    ) {
        self.with(now, job.torrent, |torrent| {
            torrent.handle_hashed(now, job.ticket, hasher, blocks, digest);
        });
    }

    /// A deadline may be past. Early, late and repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        let config = &self.config;
        let read_time = now - self.unread(now);
        let late: Vec<(ConnId, Close)> = self
            .unsettled
            .iter()
            .filter_map(|conn| match self.conns.get(conn)? {
                Conn::Dialing { since, .. } if now.since(*since) >= config.dial_timeout => {
                    Some((*conn, Close::DialFailed))
                }
                Conn::Greeting { since, .. }
                    if read_time.since(*since) >= config.handshake_timeout =>
                {
                    Some((*conn, Close::NoHandshake))
                }
                _ => None,
            })
            .collect();
        for (conn, close) in late {
            self.end(now, conn, close);
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key);
        for key in due.collect::<Vec<_>>() {
            self.with(now, key, |torrent| torrent.handle_timeout(now));
        }
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        // Ids grow with time, so the oldest unsettled connection is the first.
        let settle = self.unsettled.first().and_then(|conn| match self.conns.get(conn)? {
            Conn::Dialing { since, .. } => Some(*since + self.config.dial_timeout),
            Conn::Greeting { since, .. } if self.wants_read() => {
                Some(*since + self.unread + self.config.handshake_timeout)
            }
            Conn::Greeting { .. } | Conn::Of(_) => None,
        });
        self.due.first().map(|(at, _)| *at).into_iter().chain(settle).min()
    }

    /// What the driver has to do next.
    pub fn poll_action(&mut self) -> Option<Action<P>> {
        self.actions.pop_front()
    }

    /// What the user may want to know next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What goes out on `conn` next; None until the next [`Action::Flush`].
    pub fn poll_output(&mut self, now: Time, conn: ConnId) -> Option<Output<P>> {
        match self.conns.get_mut(&conn)? {
            Conn::Dialing { .. } => None,
            Conn::Greeting { out, .. } => {
                (!out.is_empty()).then(|| Output::Bytes(std::mem::take(out)))
            }
            Conn::Of(key) => {
                let key = *key;
                let unread = self.unread(now);
                let Entry { torrent, .. } = self.torrents.get_mut(&key)?;
                torrent.set_unread(unread);
                let output = torrent.poll_output(now, conn);
                // Most often there is nothing to drain, and when it is due does not change by this.
                if torrent.has_said() {
                    self.with(now, key, |_| ());
                }
                output
            }
        }
    }

    /// Incoming connections that have not shown a handshake yet and since when, the oldest first.
    fn pending(&self) -> Vec<(ConnId, SocketAddr, Time)> {
        let incoming = |conn: &ConnId| match self.conns.get(conn)? {
            Conn::Greeting { torrent: None, addr, since, .. } => Some((*conn, *addr, *since)),
            _ => None,
        };
        self.unsettled.iter().filter_map(incoming).collect()
    }

    fn new_conn(&mut self) -> ConnId {
        let conn = ConnId::new(self.next_conn);
        self.next_conn += 1;
        conn
    }

    /// Ends a connection from our side that its torrent did not take.
    fn close(&mut self, conn: ConnId, why: Close) {
        if self.conns.remove(&conn).is_some() {
            self.unsettled.remove(&conn);
            self.actions.push_back(Action::Close(conn, why));
        }
    }

    /// Ends a connection from our side, and tells the torrent that it is for.
    fn end(&mut self, now: Time, conn: ConnId, why: Close) {
        self.actions.push_back(Action::Close(conn, why));
        self.handle_closed(now, conn, why);
    }

    /// Keeps in mind when a torrent is due, and whether it is at rest or behind.
    fn note(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else { return };
        let due = entry.torrent.poll_timeout();
        if due != entry.due {
            let before = std::mem::replace(&mut entry.due, due);
            before.into_iter().for_each(|before| _ = self.due.remove(&(before, key)));
            self.due.extend(due.map(|due| (due, key)));
        }
        let is_active = !entry.torrent.is_at_rest();
        let is_behind = !entry.torrent.wants_read();
        let lists = [
            (is_active, &mut entry.is_active, &mut self.active),
            (is_behind, &mut entry.is_behind, &mut self.behind),
        ];
        for (is_in, was_in, list) in lists {
            if std::mem::replace(was_in, is_in) != is_in {
                match is_in {
                    true => _ = list.insert(key),
                    false => _ = list.remove(&key),
                }
            }
        }
    }

    /// Runs `f` on a torrent, then drains what it has to say.
    fn with(&mut self, now: Time, key: TorrentKey, f: impl FnOnce(&mut Torrent<P>)) {
        let unread = self.unread(now);
        let Some(Entry { torrent, .. }) = self.torrents.get_mut(&key) else { return };
        torrent.set_unread(unread);
        f(torrent);
        while let Some(event) = torrent.poll_event() {
            self.events.push_back((key, event));
        }
        let mut dials = Vec::new();
        while let Some(action) = torrent.poll_action() {
            let job = |ticket| JobId { torrent: key, ticket };
            self.actions.push_back(match action {
                TorrentAction::Dial(addr) => {
                    dials.push(addr);
                    continue;
                }
                TorrentAction::Close(conn, why) => {
                    self.conns.remove(&conn);
                    Action::Close(conn, why)
                }
                TorrentAction::Flush(conn) => Action::Flush(conn),
                TorrentAction::Disk(ticket, op) => Action::Disk(job(ticket), op),
                TorrentAction::Hash(ticket, work) => Action::Hash(job(ticket), work),
            });
        }
        torrent.give_back();
        for addr in dials {
            let conn = self.new_conn();
            self.conns.insert(conn, Conn::Dialing { torrent: key, addr, since: now });
            self.unsettled.insert(conn);
            self.actions.push_back(Action::Dial(conn, addr));
        }
        self.note(key);
        match (self.behind.is_empty(), self.unread_since) {
            (false, None) => self.unread_since = Some(now),
            (true, Some(_)) => {
                self.unread = self.unread(now);
                self.unread_since = None;
            }
            _ => {}
        }
        if !self.leaving.is_empty() {
            self.forget_paused(key);
        }
    }
}
