//! A host that runs what `trackerless` runs: a session of one torrent, a DHT node and a disk.

mod describe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use client::candidates::Source;
use client::disk::{DiskOp, Extent};
use client::storage::{self, BlockBytes, Storage, journal_path};
use client::{
    Action, Asked, Close, Config, ConnId, HashWork, Identity, JobId, Output, Session, TorrentEvent,
    TorrentKey, TorrentStats,
};
use dht::{LookupId, Node, SocketId};
use wire::InfoHash;
use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::peer::{BlockRef, Frame, FrameError, Framer};
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use crate::content::Content;
use crate::dht_host::DhtHost;
use crate::disk::{Cut, Disk, DiskConfig, Done, Jobs};
use crate::host::Host;
use crate::last::Last;
use crate::oracle::{Oracle, check_bounds};
use crate::stream::{Chunk, StreamAction, StreamEvent};

/// What a scenario tells a [`PeerHost`].
#[derive(Clone, Debug)]
pub enum PeerCommand {
    /// Join the DHT by this node.
    Bootstrap(SocketAddr),
    /// Fetch a torrent, known by its info-hash alone.
    Fetch(InfoHash),
    /// Serve a torrent whose content is this, file behind file.
    Seed(Box<Info>, Content),
    /// From now on its disk does not fail.
    MendDisk,
}

/// When what happened to a host's torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Milestones {
    /// It was told to fetch or seed.
    pub started: Option<Time>,
    /// The DHT gave a first peer.
    pub first_peer: Option<Time>,
    /// The metadata was there.
    pub metadata: Option<Time>,
    /// All pieces were there.
    pub complete: Option<Time>,
    /// The hops of its first lookup.
    pub hops: Option<u32>,
}

/// Bytes of room that a framer keeps while nothing stands in it: enough for the messages that come
/// all the time.
const FRAMER_KEEPS: usize = 128;

type NewStorage = fn(&Info, storage::Config, u32) -> Storage<Content>;

/// Info dicts, of which each host gets its own by the network.
static LAST_INFO: Last<Info> = Last::new();

/// A peer on a host of a world.
pub struct PeerHost {
    node: Node,
    session: Session<Content>,
    addr: SocketAddr,
    /// Its address outside, if nobody has to tell it.
    outside: Option<IpAddr>,
    disk: Disk,
    jobs: Jobs,
    /// Blocks that are read to be sent, by when they are there.
    reading: BTreeMap<ConnId, (Time, Chunk)>,
    reads_due: BTreeSet<(Time, ConnId)>,
    /// What streams call the session's first connection: those of programs before it had others.
    first_conn: u64,
    oracle: Option<Box<Oracle>>,
    /// When its last turn was.
    now: Time,
    /// Programs that ran here before.
    restarts: u32,
    torrent: Option<TorrentKey>,
    storage: storage::Config,
    /// How its torrent's files are found.
    files: Option<(Arc<Info>, NewStorage)>,
    lookups: BTreeMap<LookupId, (TorrentKey, Asked)>,
    framers: BTreeMap<ConnId, Framer>,
    stream: VecDeque<StreamAction>,
    milestones: Milestones,
}

impl PeerHost {
    /// A peer at `addr` with the default numbers.
    pub fn new(addr: SocketAddr, seed: &Seed, config: Config) -> PeerHost {
        PeerHost::started(Time::ZERO, addr, Some(addr.ip()), seed, config)
    }

    /// A peer at `addr` behind an address translator: its node has to learn from others what its address
    /// outside is, and takes an id that fits it then (BEP 42).
    pub fn inside(addr: SocketAddr, seed: &Seed, config: Config) -> PeerHost {
        PeerHost::started(Time::ZERO, addr, None, seed, config)
    }

    fn started(
        now: Time,
        addr: SocketAddr,
        outside: Option<IpAddr>,
        seed: &Seed,
        config: Config,
    ) -> PeerHost {
        let (dht, dht_seed) = (DhtHost::shipped(), child_seed(seed, "dht", 0));
        let peer_id = Rng::new(&child_seed(seed, "peer id", 0)).bytes();
        let (listen_port, dht_port) = (Some(addr.port()), Some(addr.port()));
        let us = Identity { peer_id, listen_port, dht_port };
        PeerHost {
            node: Node::sharing(&dht, vec![addr], outside, &dht_seed, now),
            session: Session::new(config, us, child_seed(seed, "session", 0)),
            addr,
            outside,
            disk: Disk::new(),
            jobs: Jobs::new(DiskConfig::default(), seed),
            reading: BTreeMap::new(),
            reads_due: BTreeSet::new(),
            first_conn: 0,
            oracle: None,
            now,
            restarts: 0,
            torrent: None,
            storage: storage::Config::default(),
            files: None,
            lookups: BTreeMap::new(),
            framers: BTreeMap::new(),
            stream: VecDeque::new(),
            milestones: Milestones::default(),
        }
    }

    /// Gives it a disk that takes its time, or fails.
    pub fn with_disk(mut self, config: DiskConfig, seed: &Seed) -> PeerHost {
        self.jobs = Jobs::new(config, seed);
        self
    }

    /// Gives the storage of its torrent other numbers.
    pub fn with_storage(mut self, config: storage::Config) -> PeerHost {
        self.storage = config;
        self
    }

    /// Tells it what the torrent's content is, file behind file: from here on it looks each turn
    /// whether what it claims is so. See [`PeerHost::check`].
    pub fn with_truth(mut self, info: Arc<Info>, truth: Content) -> PeerHost {
        self.oracle = Some(Box::new(Oracle::new(info, truth)));
        self
    }

    /// Whether nothing that it was ever asked to look at was wrong, and nothing is now: peers are told
    /// of what is on the disk alone; what the journal calls kept no cut takes, and nobody fetches it
    /// again after one; memory is within the bounds. Without a truth there is nothing to look at.
    pub fn check(&self) -> Result<(), String> {
        let Some(oracle) = &self.oracle else { return Ok(()) };
        self.check_memory()?;
        oracle.check(&self.disk, self.have())
    }

    fn check_memory(&self) -> Result<(), String> {
        let stats = self.torrent.and_then(|key| self.session.stats(self.now, key));
        stats.map_or(Ok(()), |stats| check_bounds(&stats, self.session.config()))
    }

    /// The pieces that peers are told of.
    pub fn have(&self) -> Option<&Bitfield> {
        self.session.torrent(self.torrent?)?.have()
    }

    /// What is on the disk once the program was ended so: a write that was under way may be done or
    /// not, and after a power cut what was not synced may be there or not.
    pub fn crash(&self, cut: Cut, seed: &Seed) -> Disk {
        let mut disk = self.disk.clone();
        let mut rng = Rng::new(&child_seed(seed, "writes under way", 0));
        for (_, op) in self.jobs.writes_under_way() {
            let op = match op {
                DiskOp::Write { file, offset, bytes } => {
                    DiskOp::Write { file: *file, offset: *offset, bytes: bytes.clone() }
                }
                DiskOp::WriteBlocks { extents, blocks, skip } => {
                    let (extents, blocks) = (extents.clone(), blocks.clone());
                    DiskOp::WriteBlocks { extents, blocks, skip: *skip }
                }
                _ => continue,
            };
            if rng.below(2) == 0 {
                disk.run(self.now, op);
            }
        }
        disk.cut(cut, seed);
        disk
    }

    /// The program that starts when this one was ended so: on the same address, with what is left on
    /// the disk, another peer id and another node, which has to be told whom to join, and the torrent,
    /// which has to be named again.
    pub fn restarted(&self, cut: Cut, seed: &Seed) -> PeerHost {
        let config = self.session.config().clone();
        let oracle = self.oracle.as_ref().map(|oracle| Box::new(oracle.after(cut, &self.disk)));
        PeerHost {
            disk: self.crash(cut, seed),
            jobs: Jobs::new(*self.jobs.config(), seed),
            storage: self.storage.clone(),
            first_conn: self.first_conn + (1 << 32),
            restarts: self.restarts + 1,
            oracle,
            milestones: Milestones { started: self.milestones.started, ..Milestones::default() },
            ..PeerHost::started(self.now, self.addr, self.outside, seed, config)
        }
    }

    /// When what happened.
    pub fn milestones(&self) -> Milestones {
        self.milestones
    }

    /// The DHT node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The torrent's figures.
    pub fn stats(&self, now: Time) -> Option<TorrentStats> {
        self.session.stats(now, self.torrent?)
    }

    /// What the disk has of the torrent's one file.
    pub fn content(&self) -> Option<Content> {
        let info = self.session.torrent(self.torrent?)?.info()?;
        self.disk.content(&info.files.first()?.path)
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Does all that session and node ask for, until both are quiet.
    fn settle(&mut self, now: Time) {
        loop {
            if let Some(action) = self.session.poll_action() {
                self.on_action(now, action);
            } else if let Some((key, event)) = self.session.poll_event() {
                self.on_event(now, key, event);
            } else if let Some(event) = self.node.poll_event() {
                self.on_dht_event(now, event);
            } else if let Some(done) = self.jobs.pop(now) {
                match done {
                    Done::Op(job, op) => self.execute(now, job, op),
                    Done::Hash(job, work) => self.hash(now, job, work),
                }
            } else {
                return;
            }
        }
    }

    fn on_action(&mut self, now: Time, action: Action<Content>) {
        match action {
            Action::Dial(conn, addr) => {
                let conn = self.stream_conn(conn);
                self.stream.push_back(StreamAction::Dial(conn, addr));
            }
            Action::Close(conn, _) => {
                self.forget(conn);
                let conn = self.stream_conn(conn);
                self.stream.push_back(StreamAction::Close(conn));
            }
            Action::Flush(conn) => {
                let conn = self.stream_conn(conn);
                self.stream.push_back(StreamAction::Flush(conn));
            }
            Action::Disk(job, op) if self.jobs.config().is_instant() => self.execute(now, job, op),
            Action::Disk(job, op) => self.jobs.push(now, job, op),
            Action::Hash(job, work) if self.jobs.config().is_instant() => {
                self.hash(now, job, work);
            }
            Action::Hash(job, work) => self.jobs.push_hash(now, job, work),
        }
    }

    /// Executes an operation.
    fn execute(&mut self, now: Time, job: JobId, op: DiskOp<Content>) {
        let is_small = matches!(op, DiskOp::Write { .. } | DiskOp::SyncData { .. });
        let fault = self.jobs.fault(&op);
        let result = self.disk.run_with(now, op, fault);
        if let Some(oracle) = self.oracle.as_mut().filter(|_| is_small) {
            oracle.on_journal();
        }
        self.session.handle_disk(now, job, result);
    }

    fn hash(&mut self, now: Time, job: JobId, work: HashWork<Content>) {
        let HashWork { mut hasher, blocks, finish } = work;
        blocks.iter().for_each(|block| hasher.update(block));
        let digest = finish.then(|| hasher.digest());
        self.session.handle_hashed(now, job, hasher, blocks, digest);
    }

    /// What streams call a connection of the session.
    fn stream_conn(&self, conn: ConnId) -> ConnId {
        ConnId::new(self.first_conn + conn.number())
    }

    /// What the session calls a stream's connection; none of one from before its start.
    fn session_conn(&self, conn: ConnId) -> Option<ConnId> {
        conn.number().checked_sub(self.first_conn).map(ConnId::new)
    }

    fn forget(&mut self, conn: ConnId) {
        self.framers.remove(&conn);
        if let Some((at, _)) = self.reading.remove(&conn) {
            self.reads_due.remove(&(at, conn));
        }
    }

    fn on_event(&mut self, now: Time, key: TorrentKey, event: TorrentEvent) {
        match event {
            TorrentEvent::WantsPeers => {
                let torrent = self.session.torrent(key);
                if let Some((hash, seed)) = torrent.map(|t| (*t.info_hash(), t.is_complete())) {
                    let lookup = self.node.announce(now, hash, Some(self.addr.port()), seed);
                    self.lookups.insert(lookup, (key, Asked::default()));
                }
            }
            TorrentEvent::DhtNode(addr) => self.node.add_contact(now, addr),
            TorrentEvent::Metadata(info) => {
                self.milestones.metadata = Some(now);
                self.files = Some((LAST_INFO.share(*info), Storage::new));
                self.set_info(now, key);
            }
            TorrentEvent::WantsInfo => self.set_info(now, key),
            TorrentEvent::Started => {
                let have = self.session.torrent(key).and_then(|torrent| torrent.have());
                if let (Some(oracle), Some(have)) = (&mut self.oracle, have) {
                    oracle.on_started(&self.disk, have);
                }
            }
            TorrentEvent::Piece(piece) => {
                if let Some(oracle) = &mut self.oracle {
                    oracle.on_piece(&self.disk, piece);
                }
            }
            TorrentEvent::Complete => {
                self.milestones.complete = Some(now);
                if let Some(oracle) = &mut self.oracle {
                    oracle.on_complete(&self.disk);
                }
                self.session.flush_torrent(now, key);
            }
            _ => {}
        }
    }

    fn set_info(&mut self, now: Time, key: TorrentKey) {
        if let Some((info, storage)) = &self.files {
            let storage = storage(info, self.storage.clone(), key.0);
            self.session.set_info(now, key, info.clone(), storage);
        }
    }

    /// The info dict of a torrent that was begun before a restart: its journal has it.
    fn begun(&self, info_hash: &InfoHash) -> Option<Info> {
        let bytes = self.disk.bytes(&journal_path(info_hash))?;
        let info = Info::parse(&storage::read_info(&bytes)?).ok()?;
        (info.info_hash == *info_hash).then_some(info)
    }

    fn on_dht_event(&mut self, now: Time, event: dht::Event) {
        match event {
            dht::Event::PeersFound { lookup, peers, .. } => {
                let Some((key, asked)) = self.lookups.get_mut(&lookup) else { return };
                asked.found += peers.len();
                self.milestones.first_peer.get_or_insert(now);
                self.session.add_candidates(now, *key, Source::Dht, &peers);
            }
            dht::Event::LookupDone { hops, .. } => {
                self.milestones.hops.get_or_insert(hops);
            }
            dht::Event::Announced { lookup, accepted, .. } => {
                let Some((key, asked)) = self.lookups.remove(&lookup) else { return };
                let asked = Asked { kept_by: accepted as usize, ..asked };
                self.session.handle_asked(now, key, asked);
            }
            dht::Event::Bootstrapped { .. } => self.session.hurry_discovery(now),
            _ => {}
        }
    }

    /// Reads a block that is to be sent: it is there at once, or keeps its connection waiting.
    fn read(&mut self, now: Time, conn: ConnId, extents: &[Extent], chunk: Chunk) -> Option<Chunk> {
        if self.jobs.config().is_instant() {
            return Some(chunk);
        }
        let at = self.jobs.read_at(now, extents.iter().map(|extent| extent.len).sum());
        if at <= now {
            return Some(chunk);
        }
        self.reading.insert(conn, (at, chunk));
        self.reads_due.insert((at, conn));
        None
    }

    fn look_at_served(&mut self, block: &BlockRef, content: &Content) {
        if let Some(oracle) = &mut self.oracle {
            oracle.on_served(block, content);
        }
    }

    fn on_chunk(&mut self, now: Time, conn: ConnId, chunk: Chunk) -> Result<(), FrameError> {
        let Some(framer) = self.framers.get_mut(&conn) else { return Ok(()) };
        match chunk {
            Chunk::Bytes(bytes) => framer.feed(&bytes),
            Chunk::Block(block, content) => {
                framer.feed(&block.piece_header());
                let Some(Frame::Piece(block)) = framer.next_frame()? else {
                    return Ok(());
                };
                framer.payload_read(block.len as usize);
                self.session.handle_block(now, conn, block, content);
                return Ok(());
            }
        }
        while let Some(frame) = framer.next_frame()? {
            match frame {
                Frame::Handshake(handshake) => {
                    self.session.handle_handshake(now, conn, handshake);
                }
                Frame::Message(body) => self.session.handle_message(now, conn, body),
                // A block comes as a chunk of its own.
                Frame::Piece(_) => return Err(FrameError::EmptyPiece),
            }
        }
        framer.give_back(FRAMER_KEEPS);
        Ok(())
    }
}

impl Host for PeerHost {
    type Command = PeerCommand;

    fn handle_command(&mut self, now: Time, command: PeerCommand) {
        match command {
            PeerCommand::Bootstrap(addr) => self.node.bootstrap(now, addr),
            PeerCommand::MendDisk => self.jobs.mend(),
            // Who slept through a restart may be told once more.
            PeerCommand::Fetch(_) | PeerCommand::Seed(..) if self.torrent.is_some() => {}
            PeerCommand::Fetch(info_hash) => {
                self.milestones.started.get_or_insert(now);
                self.torrent = self.session.add_torrent(now, info_hash);
                if let (Some(key), Some(info)) = (self.torrent, self.begun(&info_hash)) {
                    self.milestones.metadata = Some(now);
                    self.files = Some((LAST_INFO.share(info), Storage::new));
                    self.set_info(now, key);
                }
            }
            PeerCommand::Seed(info, content) => {
                self.milestones.started = Some(now);
                self.torrent = self.session.add_torrent(now, info.info_hash);
                if let Some(key) = self.torrent {
                    for file in info.files.iter().filter(|file| !file.pad) {
                        self.disk.put(file.path.clone(), &content.slice(file.offset, file.len));
                    }
                    self.files = Some((info.into(), Storage::seed));
                    self.set_info(now, key);
                }
            }
        }
        self.settle(now);
    }

    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        self.node.handle_datagram(now, SocketId(0), from, bytes);
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.node.handle_timeout(now);
        self.session.handle_timeout(now);
        while let Some(&(at, conn)) = self.reads_due.first().filter(|(at, _)| *at <= now) {
            self.reads_due.remove(&(at, conn));
            let conn = self.stream_conn(conn);
            self.stream.push_back(StreamAction::Flush(conn));
        }
        self.settle(now);
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.node.poll_transmit(buf).map(|transmit| transmit.to)
    }

    fn poll_timeout(&self) -> Option<Time> {
        let node = self.node.poll_timeout().map(|(at, _)| at);
        let read = self.reads_due.first().map(|(at, _)| *at);
        let all = [node, self.session.poll_timeout(), self.jobs.next_due(), read];
        all.into_iter().flatten().min()
    }

    fn accept(&mut self, now: Time, from: SocketAddr) -> Option<ConnId> {
        let conn = self.session.handle_incoming(now, from)?;
        self.framers.insert(conn, Framer::new());
        Some(self.stream_conn(conn))
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, event: StreamEvent) {
        let Some(conn) = self.session_conn(conn) else { return };
        match event {
            StreamEvent::Connected => {
                self.framers.insert(conn, Framer::new());
                self.session.handle_connected(now, conn);
            }
            StreamEvent::Chunk(chunk) => {
                if self.on_chunk(now, conn, chunk).is_err() {
                    self.forget(conn);
                    let outside = self.stream_conn(conn);
                    self.stream.push_back(StreamAction::Close(outside));
                    let why = Close::Fault("its stream cannot be read on");
                    self.session.handle_closed(now, conn, why);
                }
            }
            StreamEvent::Closed => {
                self.forget(conn);
                self.session.handle_closed(now, conn, Close::Remote);
            }
        }
        self.settle(now);
    }

    fn poll_stream(&mut self) -> Option<StreamAction> {
        self.stream.pop_front()
    }

    fn poll_chunk(&mut self, now: Time, conn: ConnId) -> Option<Chunk> {
        let conn = self.session_conn(conn)?;
        if let Some((at, _)) = self.reading.get(&conn) {
            if *at > now {
                return None;
            }
            let (at, chunk) = self.reading.remove(&conn)?;
            self.reads_due.remove(&(at, conn));
            return Some(chunk);
        }
        let output = self.session.poll_output(now, conn);
        self.settle(now);
        match output? {
            Output::Bytes(bytes) => Some(Chunk::Bytes(bytes)),
            Output::Block(block, BlockBytes::Extents(extents)) => {
                let content = self.disk.read(&extents)?;
                self.look_at_served(&block, &content);
                self.read(now, conn, &extents, Chunk::Block(block, content))
            }
            Output::Block(block, BlockBytes::Payload(content)) => {
                self.look_at_served(&block, &content);
                Some(Chunk::Block(block, content))
            }
        }
    }

    fn violation(&self) -> Option<&str> {
        self.oracle.as_ref()?.fault()
    }

    fn describe(&self) -> String {
        self.text()
    }

    fn end_turn(&mut self, now: Time) {
        self.now = now;
        if let Some(mut oracle) = self.oracle.take() {
            oracle.on_turn(&self.disk, self.have(), || self.check_memory());
            self.oracle = Some(oracle);
        }
    }
}
