//! One torrent: its peers, its pieces and what it wants from them.
//!
//! A `Torrent` owns its peers. Connections, disk and hash jobs and the DHT are its caller's; it
//! talks to them by [`Action`]s and [`TorrentEvent`]s, and is tested alone.

mod autopsy;
mod dormant;
mod download;
mod extension;
mod figures;
mod parts;
mod pause;
mod swarm;
mod upload;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::InfoHash;
use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::peer::{BlockRef, PeerId};
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use crate::candidates::{Candidates, Source};
use crate::close::Close;
use crate::discovery::{Asked, Discovery, Swarm};
use crate::disk::HashWork;
use crate::disk::{DiskError, DiskOp, DiskResult, Ticket};
use crate::geometry::Geometry;
use crate::metadata::MetadataFetch;
use crate::payload::Payload;
use crate::peer::Peer;
use crate::picker::Picker;
use crate::pieces::Pieces;
use crate::policy::{ChokeRule, PieceRule};
use crate::smart_ban::SmartBan;
use crate::storage::{BlockBytes, Storage, StorageEvent};
use crate::{Config, ConnId};

use autopsy::Autopsy;
use dormant::Dormant;

/// How often a torrent looks at its peers.
const TICK: Duration = Duration::from_secs(1);

/// What a torrent asks of its session.
pub enum Action<P: Payload> {
    /// Connect to this address.
    Dial(SocketAddr),
    /// End this connection.
    Close(ConnId, Close),
    /// There is something to send on this connection.
    Flush(ConnId),
    /// A disk operation.
    Disk(Ticket, DiskOp<P>),
    /// A hash job.
    Hash(Ticket, HashWork<P>),
}

/// What a torrent tells its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TorrentEvent {
    /// Ask for peers, and announce; answered by [`Torrent::handle_asked`].
    WantsPeers,
    /// The info dict came from the peers, and is right; answered by [`Torrent::set_info`].
    Metadata(Box<Info>),
    /// What the disk had is known.
    Started,
    /// A piece is there and can be read.
    Piece(u32),
    /// All pieces are there.
    Complete,
    /// All that is there has reached stable storage.
    Flushed,
    /// A question for peers ended; so many nodes keep our announce.
    Announced {
        /// Nodes.
        kept_by: usize,
    },
    /// A connection's handshakes are done.
    Connected(SocketAddr),
    /// A connection ended.
    Disconnected(SocketAddr, Close),
    /// A peer has a DHT node at this address.
    DhtNode(SocketAddr),
    /// A piece's hash was wrong.
    HashFailed(u32),
    /// A peer sent corrupt data and is banned.
    Banned(SocketAddr),
    /// It cannot go on.
    Failed(Failure),
    /// It is paused: nobody is connected, all that is there has reached stable storage unless
    /// [`TorrentEvent::Failed`] said otherwise, and its files are closed.
    Paused,
    /// It is paused, and its session has forgotten it.
    Removed,
    /// Nobody wants anything of it: its files are closed, its info dict is not held, and nothing of it
    /// is to be.
    Dormant,
    /// Somebody wants something of it: [`Torrent::set_info`] is to be called again.
    WantsInfo,
    /// It is no longer dormant, and as whole as it was; [`TorrentEvent::Started`] comes instead if not.
    Woken,
}

/// Why a torrent cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The disk.
    Disk(DiskError),
    /// The metadata is not a torrent that we take; the words for the user.
    Metadata(String),
    /// The torrent is private (BEP 27), which forbids the DHT.
    Private,
    /// A file was chosen that it does not have.
    NoSuchFile {
        /// The number of the file that was chosen.
        file: u32,
        /// How many it has; the first is 0.
        files: usize,
    },
}

/// What goes out on a connection next.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Messages.
    Bytes(Vec<u8>),
    /// A `piece` message: its header, then these bytes.
    Block(BlockRef, BlockBytes<P>),
}

/// Who we are to the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our name.
    pub peer_id: PeerId,
    /// Where we take connections (TCP).
    pub listen_port: Option<u16>,
    /// Where our DHT node listens (UDP).
    pub dht_port: Option<u16>,
}

/// What stands once the info dict is known.
struct Content<P: Payload> {
    info: Arc<Info>,
    pieces: Pieces<P>,
    picker: Picker,
    rule: Box<dyn PieceRule>,
    storage: Storage<P>,
    /// The disk has told what it has.
    started: bool,
    complete: bool,
}

impl<P: Payload> Content<P> {
    /// The pieces to fetch.
    fn wanted(&self) -> &Bitfield {
        self.storage.wanted()
    }

    /// The pieces that are to be fetched and not there.
    fn left(&self) -> Bitfield {
        let mut left = self.wanted().clone();
        self.pieces.have().ones().for_each(|piece| left.clear(piece));
        left
    }

    /// Bytes of these pieces.
    fn bytes(&self, pieces: &Bitfield) -> u64 {
        let geometry = self.pieces.geometry();
        let full = u64::from(pieces.count()) * u64::from(geometry.piece_length);
        let last = geometry.piece_count().saturating_sub(1);
        let short = u64::from(geometry.piece_length) - u64::from(geometry.piece_len(last));
        full - if pieces.get(last) { short } else { 0 }
    }
}

/// What a hash ticket was for.
enum Job {
    Piece(u32),
    Autopsy(u32, u32),
}

/// One torrent.
pub struct Torrent<P: Payload> {
    config: Arc<Config>,
    info_hash: InfoHash,
    our_id: PeerId,
    listen_port: Option<u16>,
    dht_port: Option<u16>,
    rng: Rng,
    seed: Seed,
    /// On the heap: most torrents of thousands have none.
    content: Option<Box<Content<P>>>,
    metadata: MetadataFetch,
    /// Each on its own: a node of the map is half empty.
    peers: BTreeMap<ConnId, Box<Peer>>,
    dials: usize,
    /// When somebody may be dialled for the place of an idle peer.
    next_turnover: Time,
    candidates: Candidates,
    choker: Box<dyn ChokeRule>,
    smart_ban: SmartBan,
    autopsies: BTreeMap<u32, Autopsy<P>>,
    jobs: BTreeMap<Ticket, Job>,
    next_ticket: u64,
    discovery: Discovery,
    /// It cannot go on.
    failure: Option<Failure>,
    /// It is paused, or about to be.
    stopping: bool,
    flush_wanted: bool,
    files: pause::Files,
    dormant: Option<Dormant>,
    /// When somebody was last connected or dialled.
    busy_at: Option<Time>,
    /// Disk operations without a result yet.
    ops_in_flight: usize,
    next_tick: Time,
    next_choke: Time,
    /// Blocks in hash and write jobs.
    queued_blocks: usize,
    unread: swarm::Unread,
    /// Blocks that were finished and are being written.
    writing: BTreeMap<u32, usize>,
    /// Somebody found no block to ask for, or no credit.
    starved: bool,
    /// In so long all that was asked for comes, at the rate of the last seconds: a block that takes less
    /// waits for others on its way, be it on our own line.
    backlog: Duration,
    /// There may be blocks or credits since that nobody was asked for yet.
    freed: bool,
    /// Who is the first to be asked for blocks.
    fill_turn: usize,
    /// When a piece last came whole, or gave its blocks back.
    relieved_at: Time,
    counters: Counters,
    actions: VecDeque<Action<P>>,
    events: VecDeque<TorrentEvent>,
}

/// Bytes and events since the start.
#[derive(Default)]
struct Counters {
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    hash_failures: u64,
    end_game_requests: u64,
    /// Blocks.
    written_early: u64,
    /// Blocks.
    read_back: u64,
}

impl<P: Payload> Torrent<P> {
    /// A torrent that is known by its info-hash alone; [`Torrent::set_info`] gives it more.
    pub fn new(
        now: Time,
        config: Arc<Config>,
        info_hash: InfoHash,
        us: Identity,
        seed: Seed,
    ) -> Torrent<P> {
        Torrent {
            info_hash,
            our_id: us.peer_id,
            listen_port: us.listen_port,
            dht_port: us.dht_port,
            rng: Rng::new(&child_seed(&seed, "torrent", 0)),
            content: None,
            metadata: MetadataFetch::new(info_hash, &config),
            peers: BTreeMap::new(),
            dials: 0,
            next_turnover: now,
            candidates: Candidates::new(&config, Rng::new(&child_seed(&seed, "candidates", 0))),
            choker: config.policies.choke_rule(&config),
            smart_ban: SmartBan::new(),
            autopsies: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_ticket: 0,
            discovery: Discovery::new(now, &config),
            failure: None,
            stopping: false,
            flush_wanted: false,
            files: pause::Files::Open,
            dormant: None,
            busy_at: None,
            ops_in_flight: 0,
            next_tick: now,
            next_choke: now + config.choke_round,
            queued_blocks: 0,
            unread: swarm::Unread::default(),
            writing: BTreeMap::new(),
            starved: false,
            backlog: Duration::ZERO,
            freed: false,
            fill_turn: 0,
            relieved_at: now,
            counters: Counters::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            seed,
            config,
        }
    }

    /// The info dict is known: from a file, a journal or the peers. Its files are `storage`'s. False if
    /// it has them, or does not go on.
    pub fn set_info(&mut self, now: Time, info: Arc<Info>, storage: Storage<P>) -> bool {
        if self.content.is_some() || self.has_failed() || self.stopping {
            return false;
        }
        let geometry = Geometry { total_len: info.total_len, piece_length: info.piece_length };
        let none = Bitfield::new(geometry.piece_count());
        let rng = Rng::new(&child_seed(&self.seed, "picker", 0));
        let mut left_out = Bitfield::new(geometry.piece_count());
        storage.wanted().zeros().for_each(|piece| left_out.set(piece));
        let picker = Picker::new(geometry.piece_count(), &left_out, rng);
        let pieces = Pieces::new(geometry, none);
        let rule = self.config.policies.piece_rule(&self.config);
        let (started, complete) = (false, false);
        let content = Content { info, pieces, picker, rule, storage, started, complete };
        self.content = Some(Box::new(content));
        self.metadata.give_back();
        let misfits: Vec<(ConnId, Close)> = self
            .peers
            .values_mut()
            .filter_map(|peer| {
                let result = peer.set_piece_count(geometry.piece_count());
                result.err().map(|close| (peer.conn, close))
            })
            .collect();
        for (conn, close) in misfits {
            self.close(now, conn, close);
        }
        if let Some(content) = &mut self.content {
            self.peers.values().for_each(|peer| content.picker.add_peer(peer.has()));
            content.storage.start(now);
        }
        if self.dormant.is_none() {
            self.tell_handshake();
        }
        self.drain_storage(now);
        self.tell_flushes();
        true
    }

    /// The info-hash.
    pub fn info_hash(&self) -> &InfoHash {
        &self.info_hash
    }

    /// The info dict, once it is known.
    pub fn info(&self) -> Option<&Info> {
        self.content.as_ref().map(|content| &*content.info)
    }

    /// The pieces that peers are told of, while its content is held.
    pub fn have(&self) -> Option<&Bitfield> {
        self.content.as_ref().map(|content| content.pieces.have())
    }

    /// Whether all pieces are there, wanted or not.
    pub fn is_whole(&self) -> bool {
        match &self.dormant {
            Some(dormant) => dormant.is_whole(),
            None => self.content.as_ref().is_some_and(|c| c.pieces.have().is_full()),
        }
    }

    /// Whether all pieces are there that are wanted.
    pub fn is_complete(&self) -> bool {
        self.dormant.is_some() || self.content.as_ref().is_some_and(|content| content.complete)
    }

    /// Whether more may be read from the peers: false while hash threads and disk are behind. One that
    /// failed waits for neither.
    pub fn wants_read(&self) -> bool {
        self.has_failed() || self.queued_blocks < self.config.disk_queue_max
    }

    /// Addresses that may have the torrent.
    pub fn add_candidates(&mut self, now: Time, source: Source, addrs: &[SocketAddr]) {
        for addr in addrs {
            self.candidates.add(now, *addr, source);
        }
        self.dial_more(now);
    }

    /// A question for peers ended.
    pub fn handle_asked(&mut self, now: Time, asked: Asked) {
        let swarm = match self.peers.len() {
            n if self.is_complete() || n >= self.config.peers_wanted => Swarm::Enough,
            0 => Swarm::Nobody,
            _ => Swarm::Some,
        };
        self.discovery.done(now, asked, swarm);
        self.events.push_back(TorrentEvent::Announced { kept_by: asked.kept_by });
    }

    /// The way to ask for peers changed (a DHT node joined its overlay): asks again at once.
    pub fn hurry_discovery(&mut self, now: Time) {
        self.discovery.hurry(now);
        self.handle_timeout(now);
    }

    /// A disk operation ended.
    pub fn handle_disk(&mut self, now: Time, ticket: Ticket, result: DiskResult<P>) {
        self.ops_in_flight = self.ops_in_flight.saturating_sub(1);
        if let Some(content) = &mut self.content {
            content.storage.handle_disk(now, ticket, result);
        }
        self.drain_storage(now);
    }

    /// A deadline may be past. Early, late and repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(content) = &mut self.content {
            content.storage.handle_timeout(now);
        }
        self.drain_storage(now);
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        if self.has_failed() || self.stopping {
            return;
        }
        self.tick_peers(now);
        if self.dormant.is_none() {
            self.tick_content(now);
        }
        self.dial_more(now);
        if self.discovery.take_due(now) {
            self.events.push_back(TorrentEvent::WantsPeers);
        }
        self.rest(now);
        self.tell_flushes();
    }

    fn tick_content(&mut self, now: Time) {
        self.relieve(now);
        self.write_old(now);
        if now >= self.next_choke {
            self.next_choke = now + self.config.choke_round;
            self.choke_round(now);
        }
        self.request_metadata(now);
        self.fill_all(now);
    }

    /// When [`Torrent::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let storage = self.content.as_ref().and_then(|content| content.storage.poll_timeout());
        let due = || [self.discovery.due(), self.candidates.next_at()].into_iter().flatten().min();
        let tick = match self.is_at_rest() {
            true => due().map(|due| due.max(self.next_tick)),
            false => Some(self.next_tick),
        };
        let tick = tick.filter(|_| !self.has_failed() && !self.stopping);
        [storage, tick].into_iter().flatten().min()
    }

    /// Brings all that is there to stable storage; [`TorrentEvent::Flushed`] tells when.
    pub fn flush(&mut self, now: Time) {
        self.flush_wanted = true;
        if self.content.is_none() {
            self.flush_wanted = false;
            self.events.push_back(TorrentEvent::Flushed);
        }
        self.pump_flush(now);
    }

    /// Whether there is an action or an event to take.
    pub fn has_said(&self) -> bool {
        !self.actions.is_empty() || !self.events.is_empty()
    }

    /// What the session has to do next.
    pub fn poll_action(&mut self) -> Option<Action<P>> {
        self.actions.pop_front()
    }

    /// What the user may want to know next.
    pub fn poll_event(&mut self) -> Option<TorrentEvent> {
        self.events.pop_front()
    }

    fn ticket(&mut self, job: Job) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.jobs.insert(ticket, job);
        ticket
    }

    fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    fn fail(&mut self, now: Time, failure: Failure) {
        if self.has_failed() {
            return;
        }
        self.failure = Some(failure.clone());
        self.drop_jobs();
        self.close_all(now);
        self.events.push_back(TorrentEvent::Failed(failure));
    }

    /// Takes what the storage has to say, and passes its operations on.
    fn drain_storage(&mut self, now: Time) {
        let mut has_heard = false;
        while let Some(content) = &mut self.content {
            while let Some((ticket, op)) = content.storage.poll_op() {
                self.ops_in_flight += 1;
                self.actions.push_back(Action::Disk(ticket, op));
            }
            let Some(event) = content.storage.poll_event() else { break };
            has_heard = true;
            match event {
                StorageEvent::Started { have, parts } => self.on_started(now, have, parts),
                StorageEvent::PartWritten { piece, begin, len } => {
                    self.on_part_written(now, piece, begin, len);
                }
                StorageEvent::PartRead { piece, begin, payload } => {
                    self.on_part_read(now, piece, begin, payload);
                }
                StorageEvent::Written { piece } => self.on_written(now, piece),
                StorageEvent::Lost { pieces } => self.on_lost(&pieces),
                StorageEvent::Readable => {
                    self.peers.values_mut().for_each(|peer| peer.output_drained());
                }
                StorageEvent::Flushed => self.on_flushed(now),
                StorageEvent::Failed { error } => self.fail(now, Failure::Disk(error)),
                StorageEvent::CheckProgress { .. } | StorageEvent::Kept { .. } => {}
            }
        }
        self.tell_paused();
        self.tell_wake();
        if has_heard {
            self.tell_flushes();
        }
    }

    /// Tells the session of every connection that has something to send.
    fn tell_flushes(&mut self) {
        for peer in self.peers.values_mut() {
            if peer.tell_flush() {
                self.actions.push_back(Action::Flush(peer.conn));
            }
        }
    }
}
