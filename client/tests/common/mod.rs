//! A session driven by calls alone: its disk is a map in memory, its peers are what the test says.
#![allow(dead_code, clippy::unwrap_used, reason = "test code, of which each file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use client::disk::{
    DiskError, DiskErrorKind, DiskOp, DiskResult, Extent, FileId, FileStat, HashState, OpenMode,
};
use client::storage::{self, Storage};
use client::{
    Action, Close, Config, ConnId, HashWork, Identity, Output, Payload, Session, TorrentEvent,
    TorrentKey,
};
use sha1::{Digest, Sha1};
use wire::metainfo::{Info, build_info};
use wire::peer::{BLOCK_LEN, BlockRef, Handshake, Message, Reserved};
use wire::time::Time;

/// A block of real bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Payload for Bytes {
    type Hasher = Sha1;

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// How a torrent's files are found.
type NewStorage = fn(&Info, storage::Config, u32) -> Storage<Bytes>;

/// A session with a disk in memory.
pub struct Host {
    pub now: Time,
    pub session: Session<Bytes>,
    pub key: TorrentKey,
    pub events: Vec<TorrentEvent>,
    pub closed: BTreeMap<ConnId, Close>,
    pub dials: Vec<(ConnId, SocketAddr)>,
    /// By path, joined with `/`.
    pub files: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<FileId, String>,
    outputs: BTreeMap<ConnId, Vec<Output<Bytes>>>,
    /// Writes fail with this.
    pub disk_full: bool,
    /// Hash threads take their time: jobs wait for [`Host::hash_held`].
    pub hold_hashes: bool,
    /// All jobs wait for [`Host::work`].
    pub hold: bool,
    held: Vec<Action<Bytes>>,
    /// Whose sockets take nothing.
    pub deaf: BTreeSet<ConnId>,
    next_port: u16,
    /// How its torrent's files are found again.
    info: Option<(Info, NewStorage)>,
    /// What a dormant torrent wants is not given.
    pub hold_info: bool,
}

/// Content of `len` bytes that is not the same in any two blocks.
pub fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i / 251) ^ (i % 251)) as u8).collect()
}

/// A torrent of one file, `x`, with these bytes.
pub fn info(content: &[u8], piece_length: u32) -> Info {
    let hashes: Vec<[u8; 20]> =
        content.chunks(piece_length as usize).map(|piece| Sha1::digest(piece).into()).collect();
    let raw = build_info("x", &[(vec![], content.len() as u64)], piece_length, &hashes);
    Info::parse(&raw).unwrap()
}

/// A block, by its numbers.
pub fn block(piece: u32, begin: u32, len: u32) -> BlockRef {
    BlockRef { piece, begin, len }
}

/// The bytes of a block of a torrent in pieces of two blocks.
pub fn bytes_of(content: &[u8], block: BlockRef) -> &[u8] {
    let start = (block.piece * 2 * BLOCK_LEN + block.begin) as usize;
    &content[start..start + block.len as usize]
}

/// What a peer was closed for.
pub fn fault(host: &Host, conn: ConnId) -> &'static str {
    match host.closed.get(&conn) {
        Some(Close::Fault(what)) => what,
        other => panic!("{other:?}"),
    }
}

impl Host {
    /// A session that knows the torrent by its info-hash alone.
    pub fn with_hash(info: &Info, config: Config) -> Host {
        let us =
            Identity { peer_id: *b"-TK0100-ourselves000", listen_port: Some(1), dht_port: None };
        let mut session = Session::new(config, us, [7; 32]);
        let key = session.add_torrent(Time::ZERO, info.info_hash).unwrap();
        Host {
            now: Time::ZERO,
            session,
            key,
            events: Vec::new(),
            closed: BTreeMap::new(),
            dials: Vec::new(),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            outputs: BTreeMap::new(),
            disk_full: false,
            hold_hashes: false,
            hold: false,
            held: Vec::new(),
            deaf: BTreeSet::new(),
            next_port: 2000,
            info: None,
            hold_info: false,
        }
    }

    /// A session that fetches.
    pub fn leech(info: &Info) -> Host {
        let mut host = Host::with_hash(info, Config::default());
        host.set_info(info);
        host
    }

    /// A session that has the whole.
    pub fn seed(info: &Info, content: &[u8]) -> Host {
        let mut host = Host::with_hash(info, Config::default());
        host.set_seed(info, content);
        host
    }

    /// Another run of the same program, on the files that this one leaves.
    pub fn restart(mut self, info: &Info) -> Host {
        self.session.pause_torrent(self.now, self.key);
        self.drain();
        let mut next = Host::with_hash(info, Config::default());
        next.files = std::mem::take(&mut self.files);
        next.set_info(info);
        next
    }

    pub fn set_seed(&mut self, info: &Info, content: &[u8]) {
        self.files.insert("x".into(), content.to_vec());
        self.info = Some((info.clone(), Storage::seed));
        self.give_info();
    }

    pub fn set_info(&mut self, info: &Info) {
        self.info = Some((info.clone(), Storage::new));
        self.give_info();
    }

    pub fn give_info(&mut self) {
        let (info, storage) = self.info.clone().unwrap();
        let storage = storage(&info, storage::Config::default(), 0);
        self.session.set_info(self.now, self.key, info, storage);
        self.drain();
    }

    /// The paths of files that are open, the journal among them.
    pub fn open_files(&self) -> Vec<&str> {
        self.open.values().map(String::as_str).collect()
    }

    /// Lets `millis` go by.
    pub fn pass(&mut self, millis: u64) {
        let end = self.now + std::time::Duration::from_millis(millis);
        while self.now < end {
            let next = self.session.poll_timeout().unwrap_or(end);
            self.now = next.max(self.now + std::time::Duration::from_millis(1)).min(end);
            self.session.handle_timeout(self.now);
            self.drain();
        }
    }

    /// A peer connects and shows its handshake.
    pub fn connect(&mut self, info: &Info, name: u8) -> ConnId {
        self.connect_with(Handshake {
            reserved: Reserved::OURS,
            info_hash: info.info_hash,
            peer_id: [name; 20],
        })
    }

    /// A dial succeeds, and the peer shows its handshake.
    pub fn answer_dial(&mut self, conn: ConnId, info: &Info, name: u8) {
        self.session.handle_connected(self.now, conn);
        self.drain();
        let info_hash = info.info_hash;
        let handshake = Handshake { reserved: Reserved::OURS, info_hash, peer_id: [name; 20] };
        self.session.handle_handshake(self.now, conn, handshake);
        self.drain();
    }

    pub fn connect_with(&mut self, handshake: Handshake) -> ConnId {
        self.next_port += 1;
        let addr = SocketAddr::from(([127, 0, 0, 1], self.next_port));
        let conn = self.session.handle_incoming(self.now, addr).unwrap();
        self.session.handle_handshake(self.now, conn, handshake);
        self.drain();
        conn
    }

    /// A peer sends a message.
    pub fn say(&mut self, conn: ConnId, message: Message<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.say_raw(conn, &bytes[4..]);
    }

    /// A peer sends a message's id and payload.
    pub fn say_raw(&mut self, conn: ConnId, body: &[u8]) {
        self.session.handle_message(self.now, conn, body);
        self.drain();
    }

    /// A peer sends a block.
    pub fn send_block(&mut self, conn: ConnId, block: BlockRef, bytes: &[u8]) {
        self.session.handle_block(self.now, conn, block, Bytes(bytes.to_vec()));
        self.drain();
    }

    /// Goes through what went out to a peer since the last look, without its handshake: messages
    /// by id and payload, and blocks.
    fn take_out(&mut self, conn: ConnId, mut each: impl FnMut(Result<&[u8], BlockRef>)) {
        for output in self.outputs.remove(&conn).unwrap_or_default() {
            let bytes = match output {
                Output::Block(block, _) => {
                    each(Err(block));
                    continue;
                }
                Output::Bytes(bytes) => bytes,
            };
            let mut rest =
                bytes.strip_prefix(b"\x13BitTorrent protocol").map_or(&bytes[..], |b| &b[48..]);
            while let Some((len, tail)) = rest.split_first_chunk::<4>() {
                let (body, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
                each(Ok(body));
                rest = tail;
            }
        }
    }

    /// The messages for a peer since the last look, without its handshake.
    pub fn heard(&mut self, conn: ConnId) -> Vec<String> {
        let mut out = Vec::new();
        self.take_out(conn, |message| {
            out.push(match message {
                Err(block) => format!("Piece({block:?})"),
                Ok(body) => format!("{:?}", Message::parse(body).unwrap()),
            });
        });
        out
    }

    /// The ids and payloads of these.
    pub fn bodies(&mut self, conn: ConnId) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.take_out(conn, |message| out.extend(message.ok().map(<[u8]>::to_vec)));
        out
    }

    /// The requests for a peer since the last look.
    pub fn requests(&mut self, conn: ConnId) -> Vec<BlockRef> {
        let mut out = Vec::new();
        self.take_out(conn, |message| {
            if let Ok(Ok(Message::Request(block))) = message.map(Message::parse) {
                out.push(block);
            }
        });
        out
    }

    /// Bytes of messages and number of blocks that went out to a peer since the last look.
    pub fn waiting(&self, conn: ConnId) -> (usize, usize) {
        let outputs = self.outputs.get(&conn).into_iter().flatten();
        outputs.fold((0, 0), |(bytes, blocks), output| match output {
            Output::Bytes(more) => (bytes + more.len(), blocks),
            Output::Block(..) => (bytes, blocks + 1),
        })
    }

    /// Every piece that was told of is on the disk as it should be.
    pub fn check_pieces(&self, content: &[u8], info: &Info) {
        for event in &self.events {
            let TorrentEvent::Piece(piece) = event else { continue };
            let start = *piece as usize * info.piece_length as usize;
            let end = start + info.piece_len(*piece) as usize;
            let there = self.files.get("x").and_then(|bytes| bytes.get(start..end));
            assert_eq!(there, Some(&content[start..end]), "piece {piece}");
        }
    }

    pub fn is_complete(&self) -> bool {
        self.session.stats(self.now, self.key).unwrap().complete
    }

    /// Does all that the session asks for.
    pub fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Dial(conn, addr) => self.dials.push((conn, addr)),
                Action::Close(conn, why) => {
                    self.closed.insert(conn, why);
                }
                Action::Flush(conn) => {
                    while !self.deaf.contains(&conn)
                        && let Some(output) = self.session.poll_output(self.now, conn)
                    {
                        self.outputs.entry(conn).or_default().push(output);
                    }
                }
                job @ Action::Hash(..) if self.hold_hashes => self.held.push(job),
                job if self.hold => self.held.push(job),
                job => self.execute(job),
            }
        }
        while let Some((_, event)) = self.session.poll_event() {
            let is_wanted = event == TorrentEvent::WantsInfo && !self.hold_info;
            self.events.push(event);
            if is_wanted {
                self.give_info();
            }
        }
    }

    /// Does the hash jobs that waited, and all that comes of it.
    pub fn hash_held(&mut self) {
        self.hold_hashes = false;
        for job in std::mem::take(&mut self.held) {
            self.execute(job);
        }
        self.drain();
    }

    /// Does a disk or hash job.
    fn execute(&mut self, job: Action<Bytes>) {
        match job {
            Action::Disk(job, op) => {
                let result = self.run(op);
                self.session.handle_disk(self.now, job, result);
            }
            Action::Hash(job, HashWork { mut hasher, blocks, finish }) => {
                blocks.iter().for_each(|block: &Bytes| hasher.update(&block.0));
                let digest = finish.then(|| hasher.clone().finalize().into());
                self.session.handle_hashed(self.now, job, hasher, blocks, digest);
            }
            Action::Dial(..) | Action::Close(..) | Action::Flush(_) => {}
        }
    }

    /// Jobs that wait.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Does one job that waits; it fails if it is the disk's and is to.
    pub fn work(&mut self, at: usize, fails: bool) {
        if at >= self.held.len() {
            return;
        }
        match self.held.remove(at) {
            Action::Disk(job, op) if fails => {
                let blocks = match op {
                    DiskOp::WriteBlocks { blocks, .. } => blocks,
                    _ => Vec::new(),
                };
                let message = "input/output error".to_string();
                let error = DiskError { kind: DiskErrorKind::Other, message };
                self.session.handle_disk(self.now, job, DiskResult::Failed { error, blocks });
            }
            job => self.execute(job),
        }
        self.drain();
    }

    /// A peer whose socket took nothing reads again.
    pub fn undeafen(&mut self, conn: ConnId) {
        self.deaf.remove(&conn);
        while let Some(output) = self.session.poll_output(self.now, conn) {
            self.outputs.entry(conn).or_default().push(output);
        }
        self.drain();
    }

    fn stat(&self, path: &str) -> Option<FileStat> {
        self.files.get(path).map(|bytes| FileStat {
            len: bytes.len() as u64,
            mtime_ns: 1,
            // Zeros are holes.
            allocated: bytes.iter().filter(|byte| **byte != 0).count() as u64,
        })
    }

    fn run(&mut self, op: DiskOp<Bytes>) -> DiskResult<Bytes> {
        match op {
            DiskOp::Stat { path } => DiskResult::Stat(self.stat(&path.join("/"))),
            DiskOp::FreeSpace => DiskResult::FreeSpace(1 << 40),
            DiskOp::Open { file, path, mode } => {
                let path = path.join("/");
                self.files.entry(path.clone()).or_default();
                self.open.insert(file, path.clone());
                match mode {
                    OpenMode::Read => DiskResult::Done,
                    _ => DiskResult::Stat(self.stat(&path)),
                }
            }
            DiskOp::SyncAll { file, .. } => {
                let path = self.open.get(&file).cloned().unwrap();
                DiskResult::Stat(self.stat(&path))
            }
            DiskOp::Close { file } => {
                self.open.remove(&file);
                DiskResult::Done
            }
            DiskOp::SetLen { file, len } | DiskOp::Allocate { file, len } => {
                self.bytes(file).resize(len as usize, 0);
                DiskResult::Done
            }
            DiskOp::Read { extent } => {
                let bytes = self.bytes(extent.file);
                let start = (extent.offset as usize).min(bytes.len());
                let end = (start + extent.len as usize).min(bytes.len());
                DiskResult::Bytes(bytes[start..end].to_vec())
            }
            DiskOp::Write { file, offset, bytes } => {
                self.put(file, offset, &bytes);
                DiskResult::Done
            }
            DiskOp::WriteBlocks { blocks, .. } if self.disk_full => {
                let message = "no space left on device".to_string();
                let error = DiskError { kind: DiskErrorKind::Full, message };
                DiskResult::Failed { error, blocks }
            }
            DiskOp::WriteBlocks { extents, blocks, skip } => {
                let all: Vec<u8> = blocks.iter().flat_map(|block| block.0.clone()).collect();
                let mut at = skip as usize;
                for extent in extents {
                    let len = extent.len as usize;
                    self.put(extent.file, extent.offset, &all[at..at + len]);
                    at += len;
                }
                DiskResult::Blocks(blocks)
            }
            DiskOp::HashExtents { extents, after, finish, .. } => {
                let mut hash = after.map_or_else(Sha1::new, |state| *state.0);
                for extent in extents {
                    let (start, len) = (extent.offset as usize, extent.len as usize);
                    let bytes = self.bytes(extent.file);
                    hash.update(&bytes[start..(start + len).min(bytes.len())]);
                }
                match finish {
                    true => DiskResult::Digest(hash.finalize().into()),
                    false => DiskResult::Hashed(HashState(Box::new(hash))),
                }
            }
            DiskOp::ReadBlock { extents } => self.read_block(&extents),
            _ => DiskResult::Done,
        }
    }

    fn read_block(&mut self, extents: &[Extent]) -> DiskResult<Bytes> {
        let mut out = Vec::new();
        for extent in extents {
            let (start, len) = (extent.offset as usize, extent.len as usize);
            let Some(bytes) = self.bytes(extent.file).get(start..start + len) else {
                let message = "it ends too early".to_string();
                let error = DiskError { kind: DiskErrorKind::NotFound, message };
                return DiskResult::Failed { error, blocks: Vec::new() };
            };
            out.extend(bytes);
        }
        DiskResult::Blocks(vec![Bytes(out)])
    }

    fn bytes(&mut self, file: FileId) -> &mut Vec<u8> {
        let path = self.open.get(&file).cloned().unwrap();
        self.files.entry(path).or_default()
    }

    fn put(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let file = self.bytes(file);
        file.resize(file.len().max(end), 0);
        file[start..end].copy_from_slice(bytes);
    }
}
