//! One TCP connection: its framer and the block that is being read, and what is being written.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use wire::peer::{BLOCK_LEN, BlockRef, Framer};

use super::disk::{OpenFile, Slot, WarmPages, ends_too_early, error_at};
use crate::disk::{DiskError, FileId};

/// Room for messages between blocks, in bytes: a few hundred requests at a time.
const MESSAGES_LEN: usize = 8 << 10;
/// Blocks that one read may bring beyond the one under way, at most: 240 KiB. The fewer reads, the
/// fewer acknowledgements, and the work of the kernel for each.
const AHEAD_MAX: usize = 15;
const HEADER_LEN: usize = BlockRef::PIECE_HEADER_LEN;

/// A block whose payload is being read.
pub(super) struct Incoming {
    pub(super) block: BlockRef,
    pub(super) slot: Slot,
    pub(super) filled: usize,
}

/// What a read brought behind the block under way: what is a header if another block of the usual
/// length follows, and then what is its payload.
struct Ahead {
    header: [u8; HEADER_LEN],
    header_len: usize,
    slot: Slot,
    filled: usize,
}

impl Ahead {
    /// Room for a header and a block.
    fn new() -> Ahead {
        let slot = Slot::new(BLOCK_LEN as usize);
        Ahead { header: [0; HEADER_LEN], header_len: 0, slot, filled: 0 }
    }

    /// Whether the slot has what belongs there.
    fn is_block(&self) -> bool {
        let usual = BlockRef { piece: 0, begin: 0, len: BLOCK_LEN }.piece_header();
        self.header_len == HEADER_LEN && self.header[..5] == usual[..5]
    }
}

/// What is read: messages through the framer, payload straight into a slot.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) framer: Framer,
    incoming: Option<Incoming>,
    /// What was read behind the block under way.
    ahead: VecDeque<Ahead>,
    /// Blocks that the last read brought beyond the one under way.
    last_ahead: usize,
    /// The last message was a block, so that most likely the next is one.
    is_after_block: bool,
    /// The payload behind the header that the framer has.
    begun: Option<Ahead>,
}

impl Reading {
    /// One read: the rest of the block and the blocks that most likely follow it, or messages.
    /// Returns the bytes read, 0 at the end of the stream.
    pub(super) fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        if self.incoming.is_none() && !(self.is_after_block && self.framer.is_empty()) {
            let space = self.framer.space(MESSAGES_LEN);
            let len = stream.try_read(space)?;
            self.framer.filled(len);
            return Ok(len);
        }
        let rest = match &mut self.incoming {
            Some(incoming) => &mut incoming.slot.bytes_mut()[incoming.filled..],
            None => &mut [],
        };
        let rest_len = rest.len();
        // Room for what came last time, and as much again.
        let count = (2 * self.last_ahead + 1).min(AHEAD_MAX);
        self.ahead.extend((0..count).map(|_| Ahead::new()));
        let mut slices = Vec::with_capacity(1 + 2 * count);
        slices.push(IoSliceMut::new(rest));
        for ahead in &mut self.ahead {
            slices.push(IoSliceMut::new(&mut ahead.header));
            slices.push(IoSliceMut::new(ahead.slot.bytes_mut()));
        }
        let read = stream.try_read_vectored(&mut slices);
        let len = read.as_ref().map_or(0, |len| *len);
        let payload = len.min(rest_len);
        if let Some(incoming) = &mut self.incoming {
            incoming.filled += payload;
            self.framer.payload_read(payload);
        }
        let mut left = len - payload;
        for ahead in &mut self.ahead {
            ahead.header_len = left.min(HEADER_LEN);
            left -= ahead.header_len;
            ahead.filled = left.min(BLOCK_LEN as usize);
            left -= ahead.filled;
        }
        self.ahead.retain(|ahead| ahead.header_len > 0);
        self.last_ahead = self.ahead.len();
        self.next_header();
        read
    }

    /// Gives the framer the header behind the block that is whole; and, if it is not that of another
    /// of the usual length, all that was read behind it.
    fn next_header(&mut self) {
        let Some(next) = self.ahead.pop_front() else { return };
        self.framer.feed(&next.header[..next.header_len]);
        if next.is_block() {
            self.begun = Some(next);
            return;
        }
        self.is_after_block = false;
        self.framer.feed(&next.slot.bytes()[..next.filled]);
        for next in self.ahead.drain(..) {
            self.framer.feed(&next.header[..next.header_len]);
            self.framer.feed(&next.slot.bytes()[..next.filled]);
        }
    }

    /// A `piece` header was read: takes what was read of its payload.
    pub(super) fn begin_block(&mut self, block: BlockRef) {
        self.is_after_block = true;
        let Some(Ahead { slot, filled, .. }) = self.begun.take() else {
            let mut slot = Slot::new(block.len as usize);
            let filled = self.framer.take_payload(slot.bytes_mut());
            self.incoming = Some(Incoming { block, slot, filled });
            return;
        };
        self.framer.payload_read(filled);
        let is_whole = filled == block.len as usize;
        self.incoming = Some(Incoming { block, slot, filled });
        if is_whole {
            self.next_header();
        }
    }

    /// The block, if it is whole.
    pub(super) fn take_block(&mut self) -> Option<(BlockRef, Slot)> {
        let whole = self.incoming.as_ref().is_some_and(|i| i.filled == i.block.len as usize);
        let incoming = self.incoming.take_if(|_| whole)?;
        Some((incoming.block, incoming.slot))
    }
}

/// A run of a file that is being sent.
pub(super) struct FileRun {
    /// None: zeros, the padding of BEP 47.
    pub(super) file: Option<(FileId, OpenFile)>,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl FileRun {
    /// Sends from the page cache to the socket, without a copy through here.
    fn send(&self, stream: &TcpStream) -> io::Result<usize> {
        static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        let len = self.len as usize;
        let sent = match &self.file {
            Some((_, open)) => {
                let mut offset = self.offset;
                rustix::fs::sendfile(stream.as_fd(), open.file.as_fd(), Some(&mut offset), len)
            }
            None => {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                rustix::net::send(stream.as_fd(), &ZEROS[..len.min(ZEROS.len())], flags)
            }
        };
        sent.map_err(io::Error::from)
    }

    /// What is wrong with the file, if that is why so much was sent.
    fn trouble(&self, sent: &io::Result<usize>) -> Option<DiskError> {
        let (_, open) = self.file.as_ref()?;
        match sent {
            Ok(0) => Some(ends_too_early(&open.path)),
            Err(error)
                if FILE_ERRORS.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error())) =>
            {
                Some(error_at(&open.path, error))
            }
            _ => None,
        }
    }
}

/// What sendfile(2) says where the file is to blame, and not the socket.
const FILE_ERRORS: [Errno; 3] = [Errno::IO, Errno::INVAL, Errno::OVERFLOW];

/// What is being written.
#[derive(Default)]
pub(super) struct Writing {
    /// Bytes to send before any file: messages, or a `piece` header.
    bytes: Vec<u8>,
    sent: usize,
    /// Then these.
    runs: Vec<FileRun>,
    /// It is known which of these are in the page cache.
    is_looked_at: bool,
    /// The socket takes no more until it is writable again, or a disk is waited for.
    pub(super) blocked: bool,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All of it went out: ask for more.
    All,
    /// The socket is full.
    Blocked,
    /// A file does not have what it should; the connection is of no use any more.
    Unreadable(DiskError),
}

impl Writing {
    /// Whether the last output is not yet out.
    pub(super) fn is_busy(&self) -> bool {
        self.sent < self.bytes.len() || !self.runs.is_empty()
    }

    /// Takes messages to send.
    pub(super) fn set_bytes(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
        self.sent = 0;
    }

    /// Takes a block to send: its header, then runs of files.
    pub(super) fn set_block(&mut self, block: &BlockRef, mut runs: Vec<FileRun>) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&block.piece_header());
        self.sent = 0;
        runs.reverse();
        self.runs = runs;
        self.is_looked_at = false;
    }

    /// The next part of a file that is to be read into the page cache before it is sent, if any is.
    pub(super) fn cold(&mut self, pages: &mut WarmPages) -> Option<(Arc<File>, (u64, u64))> {
        if self.is_looked_at {
            return None;
        }
        let now = Instant::now();
        for run in &self.runs {
            let Some((id, open)) = &run.file else { continue };
            if let Some(cold) = pages.cold(now, *id, &open.file, (run.offset, run.len)) {
                return Some((open.file.clone(), cold));
            }
        }
        self.is_looked_at = true;
        None
    }

    /// Sends until the socket is full or nothing is left.
    pub(super) fn write(&mut self, stream: &TcpStream) -> io::Result<Wrote> {
        while self.sent < self.bytes.len() {
            let rest = &self.bytes[self.sent..];
            let more = if self.runs.is_empty() { SendFlags::empty() } else { SendFlags::MORE };
            let flags = more | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match stream.try_io(Interest::WRITABLE, || {
                rustix::net::send(stream.as_fd(), rest, flags).map_err(io::Error::from)
            }) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(self.block());
                }
                Err(error) => return Err(error),
            }
        }
        while let Some(run) = self.runs.last_mut() {
            let sent = stream.try_io(Interest::WRITABLE, || run.send(stream));
            if let Some(error) = run.trouble(&sent) {
                return Ok(Wrote::Unreadable(error));
            }
            match sent {
                Ok(len) => {
                    run.offset += len as u64;
                    run.len -= len as u64;
                    if run.len == 0 {
                        self.runs.pop();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(self.block());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Wrote::All)
    }

    fn block(&mut self) -> Wrote {
        self.blocked = true;
        Wrote::Blocked
    }
}

/// A connection. Its reader and its writer are told apart so that a message that is being handled
/// may cause an answer at once.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) reading: RefCell<Reading>,
    pub(super) writing: RefCell<Writing>,
    /// It ended; its tasks go.
    pub(super) closed: Cell<bool>,
    /// Wakes the writer's task, which waits for the socket.
    pub(super) write_wake: Notify,
    /// Wakes the reader's task where it waits for anything but the socket.
    pub(super) read_wake: Notify,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, addr: SocketAddr) -> Connection {
        Connection {
            stream,
            addr,
            reading: RefCell::default(),
            writing: RefCell::new(Writing::default()),
            closed: Cell::new(false),
            write_wake: Notify::new(),
            read_wake: Notify::new(),
        }
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
        self.write_wake.notify_one();
        self.read_wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use wire::peer::{Frame, Handshake, Message, Reserved};
    use wire::rng::{Rng, seed_from_u64};

    use super::*;

    /// What is sent: messages and blocks of many lengths, most of them of the usual one.
    fn stream(rng: &mut Rng) -> (Vec<u8>, Vec<String>) {
        let handshake =
            Handshake { reserved: Reserved::OURS, info_hash: wire::Id([1; 20]), peer_id: [2; 20] };
        let mut bytes = Vec::new();
        handshake.encode(&mut bytes);
        let mut said = vec!["handshake".to_owned()];
        for n in 0..400 {
            let len = match rng.below(12) {
                0 => None,
                1 => Some(1 + rng.below(32 << 10)),
                2 => Some(BLOCK_LEN - 1),
                _ => Some(BLOCK_LEN),
            };
            let Some(len) = len else {
                Message::Have(n).encode(&mut bytes);
                said.push(format!("have {n}"));
                continue;
            };
            let block = BlockRef { piece: n, begin: rng.below(1000), len };
            bytes.extend(block.piece_header());
            let payload: Vec<u8> = (0..len).map(|i| (i ^ n ^ (i >> 8)) as u8).collect();
            said.push(format!("{block:?} {:08x}", crc32c::crc32c(&payload)));
            bytes.extend(payload);
        }
        (bytes, said)
    }

    async fn read_all(stream: &TcpStream) -> Vec<String> {
        let mut reading = Reading::default();
        let mut heard = Vec::new();
        loop {
            stream.readable().await.unwrap();
            match reading.read(stream) {
                Ok(0) => return heard,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            }
            loop {
                if let Some((block, slot)) = reading.take_block() {
                    heard.push(format!("{block:?} {:08x}", crc32c::crc32c(slot.bytes())));
                }
                match reading.framer.next_frame().unwrap() {
                    None => break,
                    Some(Frame::Handshake(_)) => heard.push("handshake".to_owned()),
                    Some(Frame::Message(body)) => match Message::parse(body).unwrap() {
                        Message::Have(n) => heard.push(format!("have {n}")),
                        other => panic!("{other:?}"),
                    },
                    Some(Frame::Piece(block)) => reading.begin_block(block),
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_what_was_sent_whatever_comes_between_the_blocks() {
        for seed in 0..12 {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let (bytes, said) = stream(&mut rng);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (receiver, _) = listener.accept().await.unwrap();
            let send = async {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    // Few bytes at a time, or many.
                    let most = [20, 5_000, 300_000][rng.below(3) as usize];
                    let (now, later) = rest.split_at(rest.len().min(1 + rng.below(most) as usize));
                    sender.write_all(now).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = later;
                }
                drop(sender);
            };
            let ((), heard) = tokio::join!(send, read_all(&receiver));
            assert!(heard == said, "seed {seed}");
        }
    }
}
