//! A host that runs what `trackerless` runs: a session of one torrent, a DHT node and a disk.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use client::candidates::Source;
use client::storage::{self, BlockBytes, Storage};
use client::{
    Action, Asked, Close, Config, ConnId, HashWork, Identity, Output, Session, TorrentEvent,
    TorrentKey, TorrentStats,
};
use dht::{LookupId, Node, SocketId};
use wire::InfoHash;
use wire::metainfo::Info;
use wire::peer::{Frame, FrameError, Framer};
use wire::rng::{Rng, Seed, child_seed};
use wire::time::Time;

use crate::content::Content;
use crate::disk::Disk;
use crate::host::Host;
use crate::last::Last;
use crate::stream::{Chunk, StreamAction, StreamEvent};

/// What a scenario tells a [`PeerHost`].
#[derive(Clone, Debug)]
pub enum PeerCommand {
    /// Join the DHT by this node.
    Bootstrap(SocketAddr),
    /// Fetch a torrent, known by its info-hash alone.
    Fetch(InfoHash),
    /// Serve a torrent of one file whose content is this.
    Seed(Box<Info>, Content),
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
    port: u16,
    disk: Disk,
    torrent: Option<TorrentKey>,
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
        let dht = dht::Config { external_ip: Some(addr.ip()), ..dht::Config::new(vec![addr]) };
        let dht = dht.among_thousands();
        let peer_id = Rng::new(&child_seed(seed, "peer id", 0)).bytes();
        let (listen_port, dht_port) = (Some(addr.port()), Some(addr.port()));
        let us = Identity { peer_id, listen_port, dht_port };
        PeerHost {
            node: Node::new(dht, &child_seed(seed, "dht", 0), Time::ZERO),
            session: Session::new(config, us, child_seed(seed, "session", 0)),
            port: addr.port(),
            disk: Disk::new(),
            torrent: None,
            files: None,
            lookups: BTreeMap::new(),
            framers: BTreeMap::new(),
            stream: VecDeque::new(),
            milestones: Milestones::default(),
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

    /// Does all that session and node ask for, until both are quiet.
    fn settle(&mut self, now: Time) {
        loop {
            if let Some(action) = self.session.poll_action() {
                self.on_action(now, action);
            } else if let Some((key, event)) = self.session.poll_event() {
                self.on_event(now, key, event);
            } else if let Some(event) = self.node.poll_event() {
                self.on_dht_event(now, event);
            } else {
                return;
            }
        }
    }

    fn on_action(&mut self, now: Time, action: Action<Content>) {
        match action {
            Action::Dial(conn, addr) => self.stream.push_back(StreamAction::Dial(conn, addr)),
            Action::Close(conn, _) => {
                self.framers.remove(&conn);
                self.stream.push_back(StreamAction::Close(conn));
            }
            Action::Flush(conn) => self.stream.push_back(StreamAction::Flush(conn)),
            Action::Disk(job, op) => {
                let result = self.disk.run(op);
                self.session.handle_disk(now, job, result);
            }
            Action::Hash(job, HashWork { mut hasher, blocks, finish }) => {
                blocks.iter().for_each(|block| hasher.update(block));
                let digest = finish.then(|| hasher.digest());
                self.session.handle_hashed(now, job, hasher, blocks, digest);
            }
        }
    }

    fn on_event(&mut self, now: Time, key: TorrentKey, event: TorrentEvent) {
        match event {
            TorrentEvent::WantsPeers => {
                let torrent = self.session.torrent(key);
                if let Some((hash, seed)) = torrent.map(|t| (*t.info_hash(), t.is_complete())) {
                    let lookup = self.node.announce(now, hash, Some(self.port), seed);
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
            TorrentEvent::Complete => {
                self.milestones.complete = Some(now);
                self.session.flush_torrent(now, key);
            }
            _ => {}
        }
    }

    fn set_info(&mut self, now: Time, key: TorrentKey) {
        if let Some((info, storage)) = &self.files {
            let storage = storage(info, storage::Config::default(), key.0);
            self.session.set_info(now, key, info.clone(), storage);
        }
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
            PeerCommand::Fetch(info_hash) => {
                self.milestones.started = Some(now);
                self.torrent = self.session.add_torrent(now, info_hash);
            }
            PeerCommand::Seed(info, content) => {
                self.milestones.started = Some(now);
                self.torrent = self.session.add_torrent(now, info.info_hash);
                let file = info.files.first().map(|file| file.path.clone());
                if let (Some(key), Some(path)) = (self.torrent, file) {
                    self.disk.put(path, &content);
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
        self.settle(now);
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.node.poll_transmit(buf).map(|transmit| transmit.to)
    }

    fn poll_timeout(&self) -> Option<Time> {
        let node = self.node.poll_timeout().map(|(at, _)| at);
        [node, self.session.poll_timeout()].into_iter().flatten().min()
    }

    fn accept(&mut self, now: Time, from: SocketAddr) -> Option<ConnId> {
        let conn = self.session.handle_incoming(now, from)?;
        self.framers.insert(conn, Framer::new());
        Some(conn)
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, event: StreamEvent) {
        match event {
            StreamEvent::Connected => {
                self.framers.insert(conn, Framer::new());
                self.session.handle_connected(now, conn);
            }
            StreamEvent::Chunk(chunk) => {
                if self.on_chunk(now, conn, chunk).is_err() {
                    self.framers.remove(&conn);
                    self.stream.push_back(StreamAction::Close(conn));
                    let why = Close::Fault("its stream cannot be read on");
                    self.session.handle_closed(now, conn, why);
                }
            }
            StreamEvent::Closed => {
                self.framers.remove(&conn);
                self.session.handle_closed(now, conn, Close::Remote);
            }
        }
        self.settle(now);
    }

    fn poll_stream(&mut self) -> Option<StreamAction> {
        self.stream.pop_front()
    }

    fn poll_chunk(&mut self, now: Time, conn: ConnId) -> Option<Chunk> {
        let output = self.session.poll_output(now, conn);
        self.settle(now);
        match output? {
            Output::Bytes(bytes) => Some(Chunk::Bytes(bytes)),
            Output::Block(block, BlockBytes::Extents(extents)) => {
                self.disk.read(&extents).map(|content| Chunk::Block(block, content))
            }
            Output::Block(block, BlockBytes::Payload(content)) => {
                Some(Chunk::Block(block, content))
            }
        }
    }

    fn end_turn(&mut self, _: Time) {}
}
