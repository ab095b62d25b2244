//! One TCP connection: its framer and the block that is being read, and what is being written.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use wire::peer::{BlockRef, Framer};

use super::disk::Slot;

/// Room for messages between blocks, in bytes: a few hundred requests at a time.
const MESSAGES_LEN: usize = 8 << 10;

/// A block whose payload is being read.
pub(super) struct Incoming {
    pub(super) block: BlockRef,
    pub(super) slot: Slot,
    pub(super) filled: usize,
}

/// What is read: messages through the framer, payload straight into a slot.
pub(super) struct Reading {
    pub(super) framer: Framer,
    pub(super) incoming: Option<Incoming>,
}

impl Reading {
    /// One read: the rest of the block and exactly the header that follows it, or messages.
    /// Returns the bytes read, 0 at the end of the stream.
    pub(super) fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let Some(incoming) = &mut self.incoming else {
            let space = self.framer.space(MESSAGES_LEN);
            let len = stream.try_read(space)?;
            self.framer.filled(len);
            return Ok(len);
        };
        let rest = &mut incoming.slot.bytes_mut()[incoming.filled..];
        let rest_len = rest.len();
        let header = self.framer.space(BlockRef::PIECE_HEADER_LEN);
        let header = &mut header[..BlockRef::PIECE_HEADER_LEN];
        let len =
            stream.try_read_vectored(&mut [IoSliceMut::new(rest), IoSliceMut::new(header)])?;
        let payload = len.min(rest_len);
        incoming.filled += payload;
        self.framer.payload_read(payload);
        self.framer.filled(len - payload);
        Ok(len)
    }

    /// A `piece` header was read: takes a slot and what the framer has of its payload.
    pub(super) fn begin_block(&mut self, block: BlockRef) {
        let mut slot = Slot::new(block.len as usize);
        let filled = self.framer.take_payload(slot.bytes_mut());
        self.incoming = Some(Incoming { block, slot, filled });
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
    pub(super) file: Option<Arc<File>>,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl FileRun {
    /// Sends from the page cache to the socket, without a copy through here.
    fn send(&self, stream: &TcpStream) -> io::Result<usize> {
        static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        let len = self.len as usize;
        let sent = match &self.file {
            Some(file) => {
                let mut offset = self.offset;
                rustix::fs::sendfile(stream.as_fd(), file.as_fd(), Some(&mut offset), len)
            }
            None => {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                rustix::net::send(stream.as_fd(), &ZEROS[..len.min(ZEROS.len())], flags)
            }
        };
        sent.map_err(io::Error::from)
    }
}

/// What is being written.
#[derive(Default)]
pub(super) struct Writing {
    /// Bytes to send before any file: messages, or a `piece` header.
    bytes: Vec<u8>,
    sent: usize,
    /// Then these.
    runs: Vec<FileRun>,
    /// The socket takes no more until it is writable again.
    pub(super) blocked: bool,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All of it went out: ask for more.
    All,
    /// The socket is full.
    Blocked,
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
            match stream.try_io(Interest::WRITABLE, || run.send(stream)) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a file is shorter than the torrent says",
                    ));
                }
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
            reading: RefCell::new(Reading { framer: Framer::new(), incoming: None }),
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
