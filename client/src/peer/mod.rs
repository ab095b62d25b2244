//! One connection to a peer, after its handshake: what each side has, wants and owes the other.
//!
//! A `Peer` knows no other peer. It checks messages against the protocol and keeps the state of the
//! connection; what follows for the torrent it tells as a [`PeerEvent`].

mod has;
mod window;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use wire::bitfield::Bitfield;
use wire::peer::{BlockRef, Handshake, Message};
use wire::time::Time;

use crate::close::Close;
use crate::geometry::Geometry;
use crate::rate::Rate;
use crate::{Config, ConnId, PeerStats};

pub use has::Has;
pub use window::{Asked, RequestWindow};

/// Pieces of a peer that it allows while it chokes us, at most; BEP 6 speaks of about ten. What it
/// allows again after a reject counts again.
const ALLOWED_FAST_MAX: u32 = 64;
/// An unchoke so soon after the last one waits for the next look at all peers. Choke rounds of
/// others take 10 s (BEP 3).
const UNCHOKE_INTERVAL: Duration = Duration::from_secs(1);
/// Blocks answered even while they are longer than BEP 3's 16 KiB (aria2 takes up to 64 KiB).
const UPLOAD_BLOCK_MAX: u32 = 64 << 10;
/// A connection that lasted this long was of use.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// Bytes of memory that a message takes beyond its own.
const HELD_OVERHEAD: usize = 48;
/// Rejects without a block after which a peer is of no use. libtorrent: max_rejects 50.
const REJECTS_MAX: u32 = 50;

/// What a message means to the torrent.
#[derive(Debug, PartialEq, Eq)]
pub enum PeerEvent<'a> {
    /// Nothing.
    None,
    /// It has other pieces than before: all told at once. What it had before.
    HasAnew(Bitfield),
    /// It has one more piece.
    Have(u32),
    /// It will answer requests.
    Unchoked,
    /// It will not; these requests will not be answered.
    Choked(Vec<BlockRef>),
    /// It wants something, or no longer does.
    Interested(bool),
    /// It asks for a block.
    Request(BlockRef),
    /// It will not answer this request.
    Rejected(BlockRef),
    /// It answers requests for this piece even while it chokes us.
    AllowedFast(u32),
    /// Its DHT node's port.
    DhtPort(u16),
    /// An extension message.
    Extended(u8, &'a [u8]),
}

/// The ids under which the peer takes extension messages (BEP 10), and what its handshake told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// `ut_metadata` (BEP 9).
    pub metadata: Option<u8>,
    /// `ut_pex` (BEP 11).
    pub pex: Option<u8>,
    /// It wants nothing (BEP 21).
    pub upload_only: bool,
}

/// One connection.
pub struct Peer {
    /// Its name within the session.
    pub conn: ConnId,
    /// The remote end.
    pub addr: SocketAddr,
    /// Where it takes connections: `addr` if we dialled it.
    pub listen_addr: Option<SocketAddr>,
    /// Where its handshake told that it takes connections, if nobody else named that address.
    pub claimed_addr: Option<SocketAddr>,
    /// Where else somebody answered under its peer id.
    pub twin_addrs: Vec<SocketAddr>,
    /// Whether we dialled it.
    pub outgoing: bool,
    /// Its handshake.
    pub handshake: Handshake,
    /// Its program, as it calls itself.
    pub client: String,
    /// Its extensions.
    pub extensions: Extensions,
    /// When its handshake came.
    pub since: Time,
    has: Has,
    /// It chokes us.
    pub chokes_us: bool,
    /// It wants something of ours.
    pub interested: bool,
    /// We choke it.
    pub choked: bool,
    /// We told it that we want something.
    pub we_are_interested: bool,
    /// Our requests.
    pub window: RequestWindow,
    /// The pieces that it is at: by turns, where it is fast, so that two are hashed at once.
    pub current_pieces: [Option<u32>; 2],
    /// Requests sent to it.
    requests: usize,
    /// Payload sent to it.
    pub sent: Rate,
    /// The picker's generation in which nothing that it has was left to begin.
    pub nothing_new_at: Option<u64>,
    allowed_fast: BTreeSet<u32>,
    allowed_told: u32,
    /// When it last unchoked us.
    unchoked_at: Option<Time>,
    /// It told all that it has at once.
    told_whole: bool,
    /// What we allow it while choked.
    pub we_allow: BTreeSet<u32>,
    uploads: VecDeque<BlockRef>,
    /// Parts of the metadata that it asked for.
    parts: VecDeque<u32>,
    out: Vec<u8>,
    flush_told: bool,
    last_in: Time,
    last_out: Time,
    /// Messages that came before its torrent was awake.
    pub held: Vec<Box<[u8]>>,
    held_bytes: usize,
    /// When a peer exchange of its last counted.
    pex_at: Option<Time>,
    faults: u32,
    faults_max: u32,
    rejects: u32,
}

impl Peer {
    /// A connection whose handshakes are done.
    pub fn new(
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        outgoing: bool,
        handshake: Handshake,
        config: &Config,
    ) -> Peer {
        Peer {
            conn,
            addr,
            listen_addr: outgoing.then_some(addr),
            claimed_addr: None,
            twin_addrs: Vec::new(),
            outgoing,
            handshake,
            client: String::new(),
            extensions: Extensions::default(),
            since: now,
            has: Has::early(),
            chokes_us: true,
            interested: false,
            choked: true,
            we_are_interested: false,
            window: RequestWindow::new(now, config),
            current_pieces: [None; 2],
            requests: 0,
            sent: Rate::new(now),
            nothing_new_at: None,
            allowed_fast: BTreeSet::new(),
            allowed_told: 0,
            unchoked_at: None,
            told_whole: false,
            we_allow: BTreeSet::new(),
            uploads: VecDeque::new(),
            parts: VecDeque::new(),
            out: Vec::new(),
            flush_told: false,
            last_in: now,
            last_out: now,
            held: Vec::new(),
            held_bytes: 0,
            pex_at: None,
            faults: 0,
            faults_max: config.faults_max,
            rejects: 0,
        }
    }

    /// The pieces it has; none while the torrent's metadata is unknown.
    pub fn has(&self) -> &Bitfield {
        self.has.bits()
    }

    /// The torrent's metadata is known: what it told so far is checked.
    pub fn set_piece_count(&mut self, pieces: u32) -> Result<(), Close> {
        self.has.set_piece_count(pieces).ok_or(Close::Fault("a bitfield that does not fit"))
    }

    /// Keeps a message for later; false if these take more than `bytes_max`.
    pub fn hold(&mut self, now: Time, body: &[u8], bytes_max: usize) -> bool {
        self.last_in = now;
        // A short one takes as much as a few words of the heap.
        self.held_bytes += body.len() + HELD_OVERHEAD;
        self.held.push(body.into());
        self.held_bytes <= bytes_max
    }

    /// Pieces that it answers for while it chokes us.
    pub fn allowed_fast(&self) -> impl Iterator<Item = u32> + '_ {
        self.allowed_fast.iter().copied()
    }

    /// Takes one message. `geometry` is None while the metadata is unknown.
    pub fn handle_message<'a>(
        &mut self,
        now: Time,
        body: &'a [u8],
        geometry: Option<&Geometry>,
    ) -> Result<PeerEvent<'a>, Close> {
        self.last_in = now;
        let message = Message::parse(body).map_err(|_| Close::Fault("a malformed message"))?;
        let fast = self.handshake.reserved.fast();
        let event = match message {
            Message::KeepAlive | Message::Unknown(_) => PeerEvent::None,
            Message::Choke => self.on_choke(),
            Message::Unchoke => self.on_unchoke(now),
            Message::Interested => self.on_interested(true),
            Message::NotInterested => self.on_interested(false),
            Message::Have(piece) => match self.has.add(piece) {
                None => return Err(Close::Fault("a piece out of range")),
                Some(true) => PeerEvent::Have(piece),
                Some(false) => PeerEvent::None,
            },
            Message::Bitfield(bytes) => self.on_has(|has| has.set_wire(bytes))?,
            Message::HaveAll | Message::HaveNone | Message::Reject(_) | Message::AllowedFast(_)
                if !fast =>
            {
                return Err(Close::Fault("a fast message without the fast extension"));
            }
            Message::HaveAll => self.on_has(Has::set_all)?,
            Message::HaveNone => self.on_has(Has::set_none)?,
            Message::Request(block) => return self.on_request(block, geometry),
            Message::Cancel(block) => self.on_cancel(&block),
            Message::Reject(block) => return self.on_reject(block),
            Message::AllowedFast(piece) => self.on_allowed_fast(piece, geometry),
            Message::Suggest(_) => PeerEvent::None,
            Message::Port(port) => PeerEvent::DhtPort(port),
            Message::Extended(id, payload) => PeerEvent::Extended(id, payload),
        };
        Ok(event)
    }

    fn on_choke(&mut self) -> PeerEvent<'static> {
        self.chokes_us = true;
        self.current_pieces = [None; 2];
        // With the fast extension each request is rejected or answered by a message of its own.
        let lost = if self.handshake.reserved.fast() { Vec::new() } else { self.window.take_all() };
        PeerEvent::Choked(lost)
    }

    fn on_unchoke(&mut self, now: Time) -> PeerEvent<'static> {
        let soon = self.unchoked_at.is_some_and(|at| now.since(at) < UNCHOKE_INTERVAL);
        let choked = std::mem::replace(&mut self.chokes_us, false);
        if !choked || soon {
            return PeerEvent::None;
        }
        self.unchoked_at = Some(now);
        PeerEvent::Unchoked
    }

    fn on_interested(&mut self, interested: bool) -> PeerEvent<'static> {
        let changed = self.interested != interested;
        self.interested = interested;
        if changed { PeerEvent::Interested(interested) } else { PeerEvent::None }
    }

    fn on_has(
        &mut self,
        set: impl FnOnce(&mut Has) -> Option<Bitfield>,
    ) -> Result<PeerEvent<'static>, Close> {
        // BEP 3: only ever the first message.
        if std::mem::replace(&mut self.told_whole, true) {
            self.fault("it tells all that it has over and over")?;
        }
        self.nothing_new_at = None;
        set(&mut self.has)
            .map(PeerEvent::HasAnew)
            .ok_or(Close::Fault("a bitfield that does not fit"))
    }

    fn on_request(
        &mut self,
        block: BlockRef,
        geometry: Option<&Geometry>,
    ) -> Result<PeerEvent<'static>, Close> {
        let fits = geometry.is_some_and(|g| g.contains(&block)) && block.len <= UPLOAD_BLOCK_MAX;
        if fits {
            return Ok(PeerEvent::Request(block));
        }
        self.fault("a request out of range")?;
        self.reject(&block);
        Ok(PeerEvent::None)
    }

    fn on_cancel(&mut self, block: &BlockRef) -> PeerEvent<'static> {
        if let Some(at) = self.uploads.iter().position(|queued| queued == block) {
            self.uploads.remove(at);
            self.reject(block);
        }
        PeerEvent::None
    }

    fn on_reject(&mut self, block: BlockRef) -> Result<PeerEvent<'static>, Close> {
        self.allowed_fast.remove(&block.piece);
        if !self.window.rejected(&block) {
            return Ok(PeerEvent::None);
        }
        self.rejects += 1;
        if self.rejects > REJECTS_MAX && !self.chokes_us {
            return Err(Close::Fault("it rejects every request"));
        }
        Ok(PeerEvent::Rejected(block))
    }

    fn on_allowed_fast(&mut self, piece: u32, geometry: Option<&Geometry>) -> PeerEvent<'static> {
        let known = geometry.is_none_or(|g| piece < g.piece_count());
        if !known || self.allowed_told >= ALLOWED_FAST_MAX || !self.allowed_fast.insert(piece) {
            return PeerEvent::None;
        }
        self.allowed_told += 1;
        PeerEvent::AllowedFast(piece)
    }

    /// A block came: how it was asked for, if at all.
    pub fn on_block(&mut self, now: Time, block: &BlockRef) -> Result<Option<Asked>, Close> {
        self.last_in = now;
        let asked = self.window.arrived(now, block);
        match asked {
            Some(_) => self.rejects = 0,
            None => self.fault("blocks that nobody asked for")?,
        }
        Ok(asked)
    }

    /// Whether it was of use: payload went over the connection, or it lasted.
    pub fn is_proven(&self, now: Time) -> bool {
        let payload = self.window.rate().total() + self.sent.total();
        payload > 0 || now.since(self.since) > GOOD_AFTER
    }

    /// When payload last went over the connection, or it began.
    pub fn used_at(&self) -> Time {
        self.window.rate().last().max(self.sent.last())
    }

    /// Whether payload came from it, and not long ago.
    pub fn gives(&self, now: Time, config: &Config) -> bool {
        let given = self.window.rate();
        given.total() > 0 && now.since(given.last()) < config.idle_max
    }

    /// Whether it answers any requests now.
    pub fn may_be_asked(&self) -> bool {
        !self.chokes_us || !self.allowed_fast.is_empty()
    }

    /// A peer exchange came: whether it counts.
    pub fn takes_pex(&mut self, now: Time, config: &Config) -> bool {
        let takes = self.pex_at.is_none_or(|at| now.since(at) >= config.pex_interval_min);
        if takes {
            self.pex_at = Some(now);
        }
        takes
    }

    /// Something that may be a race, or malice if it happens often.
    fn fault(&mut self, what: &'static str) -> Result<(), Close> {
        self.faults += 1;
        if self.faults > self.faults_max { Err(Close::Fault(what)) } else { Ok(()) }
    }

    /// Queues a message.
    pub fn send(&mut self, message: Message<'_>) {
        message.encode(&mut self.out);
    }

    /// Queues our handshake: the first thing on a connection that we took.
    pub fn send_handshake(&mut self, ours: &Handshake) {
        ours.encode(&mut self.out);
    }

    /// Bytes of messages that the peer has not taken yet.
    pub fn output_len(&self) -> usize {
        self.out.len()
    }

    /// Asks for a block.
    pub fn request(&mut self, now: Time, block: BlockRef) {
        self.requests = self.requests.wrapping_add(1);
        self.window.ask(now, block);
        self.send(Message::Request(block));
    }

    /// Which of its two pieces the next request is for, by turns of `hash_batch_blocks`. None: it is
    /// not so fast that hashing is felt, or has no room for two pieces of `piece_blocks`, and one
    /// after the other is whole sooner.
    pub fn turn(&self, config: &Config, piece_blocks: usize) -> Option<usize> {
        let enough = config.fast_window.max(piece_blocks);
        let batch = config.hash_batch_blocks.max(1);
        (self.window.len() >= enough).then(|| self.requests / batch % 2)
    }

    /// Refuses a request, where the peer understands that.
    pub fn reject(&mut self, block: &BlockRef) {
        if self.handshake.reserved.fast() {
            self.send(Message::Reject(*block));
        }
    }

    /// Tells it whether we want something.
    pub fn set_interested(&mut self, interested: bool) {
        if self.we_are_interested != interested {
            self.we_are_interested = interested;
            self.send(if interested { Message::Interested } else { Message::NotInterested });
        }
    }

    /// Chokes it, and forgets what it asked for.
    pub fn choke(&mut self) {
        if self.choked {
            return;
        }
        self.choked = true;
        self.send(Message::Choke);
        for block in std::mem::take(&mut self.uploads) {
            if self.we_allow.contains(&block.piece) {
                self.uploads.push_back(block);
            } else {
                self.reject(&block);
            }
        }
    }

    /// Unchokes it.
    pub fn unchoke(&mut self) {
        if self.choked {
            self.choked = false;
            self.send(Message::Unchoke);
        }
    }

    /// Queues a block for it; false if its queue is full.
    pub fn queue_upload(&mut self, block: BlockRef, max: usize) -> bool {
        let room = self.uploads.len() < max;
        // A request sent twice in a row is answered once.
        if room && self.uploads.back() != Some(&block) {
            self.uploads.push_back(block);
        }
        room
    }

    /// Queues a part of the metadata for it; false if its queue is full.
    pub fn queue_part(&mut self, part: u32, max: usize) -> bool {
        let room = self.parts.len() < max;
        if room {
            self.parts.push_back(part);
        }
        room
    }

    /// Takes the part of the metadata that is due: none while a message is.
    pub fn take_part(&mut self) -> Option<u32> {
        if self.out.is_empty() { self.parts.pop_front() } else { None }
    }

    /// The block that is due to be sent, left in the queue.
    pub fn next_upload(&self) -> Option<BlockRef> {
        self.uploads.front().copied()
    }

    /// Takes the block that is due; it counts as sent.
    pub fn take_upload(&mut self, now: Time) -> Option<BlockRef> {
        let block = self.uploads.pop_front()?;
        self.last_out = now;
        self.sent.add(now, u64::from(block.len));
        Some(block)
    }

    /// Takes the messages that are due; they go out before any block.
    pub fn take_messages(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.out.is_empty() {
            return None;
        }
        self.last_out = now;
        Some(std::mem::take(&mut self.out))
    }

    /// Whether there is anything to send.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.parts.is_empty() || !self.uploads.is_empty()
    }

    /// Whether the caller is to be told that there is something to send: once until
    /// [`Peer::output_drained`].
    pub fn tell_flush(&mut self) -> bool {
        let tell = self.has_output() && !self.flush_told;
        self.flush_told |= tell;
        tell
    }

    /// The caller has taken all there was.
    pub fn output_drained(&mut self) {
        self.flush_told = false;
    }

    /// For so long we did not read what it may have sent.
    pub fn was_unread(&mut self, now: Time, unread: Duration) {
        self.last_in = now.min(self.last_in + unread);
        self.window.was_unread(now, unread);
    }

    /// Once a second or so: a keep-alive if it is due, the end of who is silent, and an end to room for
    /// what is over.
    pub fn tick(&mut self, now: Time, config: &Config) -> Result<(), Close> {
        if now.since(self.last_in) > config.silence_max {
            return Err(Close::Silent);
        }
        if now.since(self.last_out) > config.keep_alive && self.out.is_empty() {
            self.send(Message::KeepAlive);
        }
        self.sent.give_back(now);
        self.window.give_back(now);
        if self.uploads.is_empty() {
            self.uploads = VecDeque::new();
        }
        Ok(())
    }

    /// Bytes per second of payload that it sends us, over the last round.
    pub fn down_rate(&self, now: Time) -> u64 {
        self.window.rate().per_second(now, Duration::from_secs(10))
    }

    /// Bytes per second of payload that it takes, over the last round.
    pub fn up_rate(&self, now: Time) -> u64 {
        self.sent.per_second(now, Duration::from_secs(10))
    }

    /// Figures of it.
    pub fn stats(&self, now: Time) -> PeerStats {
        PeerStats {
            addr: self.addr,
            outgoing: self.outgoing,
            pieces: self.has().count(),
            chokes_us: self.chokes_us,
            interested: self.interested,
            choked: self.choked,
            we_are_interested: self.we_are_interested,
            asked: self.window.len(),
            uploads: self.uploads.len(),
            down_rate: self.down_rate(now),
            up_rate: self.up_rate(now),
        }
    }
}
