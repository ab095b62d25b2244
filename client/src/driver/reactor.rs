//! The reactor: one thread that owns every socket, peer and torrent of a session.
//!
//! All of it runs on one current-thread runtime, so nothing is locked. A connection has
//! two small tasks that wait for its socket; what they find goes through the session at once, on
//! the same stack. Only hash and disk jobs cross threads.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use wire::peer::Frame;
use wire::time::Time;

use super::connection::{Connection, FileRun, Writing, Wrote};
use super::disk::{self, Completion, DiskPool, Slot, WarmPages};
use crate::disk::FileId;
use crate::session::{Action, Event, Session};
use crate::storage::BlockBytes;
use crate::torrent::{Output, TorrentEvent};
use crate::{Close, ConnId, TorrentKey};

/// Reads of one connection before the others have their turn: 8 of 256 KiB are what comes at 1 GB/s
/// while it rests.
const READS_PER_TURN: usize = 8;
/// Bytes of a turn after which a rest is worth it: from 4 blocks on, as many as are hashed at a time;
/// one that brings a MiB comes so fast that a rest would leave the sender waiting.
const REST_WORTH: Range<usize> = 64 << 10..1 << 20;
/// How long a connection rests that was read empty: the timer's least step. What comes meanwhile is
/// read with fewer wakes and acknowledgements; it fits into the socket's buffer (tcp_rmem, 6 MB by
/// default).
const REST: Duration = Duration::from_millis(1);
/// How long a dial without a file descriptor waits until another may be tried.
const DESCRIPTOR_PAUSE: Duration = Duration::from_secs(1);
/// Outputs of one connection before the others have their turn: 64 blocks are 1 MiB.
const WRITES_PER_TURN: usize = 64;

/// Everything that the tasks share. Borrowed for the length of one input, never across an await.
pub(super) struct Shared {
    pub(super) session: Session<Slot>,
    pub(super) disk: DiskPool,
    pub(super) pages: WarmPages,
    conns: BTreeMap<ConnId, Rc<Connection>>,
    flushes: Vec<ConnId>,
    pub(super) events: VecDeque<Event>,
    started: Instant,
    /// The session wanted no more to read; tasks wait for it.
    reads_paused: bool,
}

/// A handle on the reactor.
#[derive(Clone)]
pub(super) struct Reactor {
    pub(super) shared: Rc<RefCell<Shared>>,
    /// Something happened that the owner waits for.
    pub(super) event_wake: Rc<Notify>,
    /// Jobs may wait to be handed over, and the timer to be set.
    turn_end: Rc<Notify>,
    /// The address that dials leave from, where one is set.
    dial_from: Rc<Vec<IpAddr>>,
}

impl Reactor {
    /// A reactor whose disk jobs report through `disk_wake`. Its tasks run on the current
    /// `LocalSet`.
    pub(super) fn start(
        session: Session<Slot>,
        disk: DiskPool,
        disk_wake: std::sync::Arc<Notify>,
        dial_from: Vec<IpAddr>,
    ) -> Reactor {
        let shared = Shared {
            session,
            disk,
            pages: WarmPages::default(),
            conns: BTreeMap::new(),
            flushes: Vec::new(),
            events: VecDeque::new(),
            started: Instant::now(),
            reads_paused: false,
        };
        let reactor = Reactor {
            shared: Rc::new(RefCell::new(shared)),
            event_wake: Rc::new(Notify::new()),
            turn_end: Rc::new(Notify::new()),
            dial_from: Rc::new(dial_from),
        };
        spawn_local(reactor.clone().run_turns());
        spawn_local(reactor.clone().run_disk(disk_wake));
        reactor
    }

    /// The time on the session's clock.
    pub(super) fn now(&self) -> Time {
        let micros = self.shared.borrow().started.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Tells of something that is no doing of the session's.
    pub(super) fn tell(&self, key: TorrentKey, event: TorrentEvent) {
        self.shared.borrow_mut().events.push_back((key, event));
        self.event_wake.notify_one();
    }

    /// Takes connections.
    pub(super) fn listen(&self, listener: TcpListener) {
        spawn_local(self.clone().run_listener(listener));
    }

    /// Gives the session one input, then does all that it asks for.
    pub(super) fn input<R>(&self, f: impl FnOnce(&mut Session<Slot>, Time) -> R) -> R {
        let result = self.feed(f);
        self.settle();
        result
    }

    /// Gives the session one input and takes its actions; [`Reactor::settle`] sends what they
    /// queued.
    fn feed<R>(&self, f: impl FnOnce(&mut Session<Slot>, Time) -> R) -> R {
        let now = self.now();
        let result = f(&mut self.shared.borrow_mut().session, now);
        self.take_actions();
        result
    }

    fn take_actions(&self) {
        let shared = &mut *self.shared.borrow_mut();
        while let Some(action) = shared.session.poll_action() {
            match action {
                Action::Dial(conn, addr) => {
                    spawn_local(self.clone().run_dial(conn, addr));
                }
                Action::Close(conn, why) => {
                    if let Some(connection) = shared.conns.remove(&conn) {
                        tracing::debug!(addr = %connection.addr, %why, "connection closed");
                        connection.close();
                    }
                }
                Action::Flush(conn) => shared.flushes.push(conn),
                Action::Disk(job, op) => shared.disk.submit_op(job, op),
                Action::Hash(job, work) => shared.disk.submit_hash(job, work),
            }
        }
        let mut told = false;
        while let Some(event) = shared.session.poll_event() {
            shared.events.push_back(event);
            told = true;
        }
        if told {
            self.event_wake.notify_one();
        }
    }

    /// Sends what inputs queued; at the end of the turn jobs go to the threads, and the timer is set anew.
    fn settle(&self) {
        loop {
            let flushes = std::mem::take(&mut self.shared.borrow_mut().flushes);
            if flushes.is_empty() {
                break;
            }
            for conn in flushes {
                self.write(conn);
            }
        }
        let shared = &mut *self.shared.borrow_mut();
        if shared.reads_paused && shared.session.wants_read() {
            shared.reads_paused = false;
            shared.conns.values().for_each(|connection| connection.read_wake.notify_one());
        }
        self.turn_end.notify_one();
    }

    /// Sends on one connection until its socket is full, nothing is left, or its turn is over.
    fn write(&self, conn: ConnId) {
        let Some(connection) = self.shared.borrow().conns.get(&conn).cloned() else { return };
        let mut writing = connection.writing.borrow_mut();
        if writing.blocked {
            return;
        }
        for _ in 0..WRITES_PER_TURN {
            if !writing.is_busy() && !self.next_output(conn, &mut writing) {
                return;
            }
            {
                let shared = &mut *self.shared.borrow_mut();
                if let Some((file, run)) = writing.cold(&mut shared.pages) {
                    writing.blocked = true;
                    return shared.disk.submit_warm(conn, file, run);
                }
            }
            match writing.write(&connection.stream) {
                Ok(Wrote::All) => {}
                Ok(Wrote::Blocked) => return connection.write_wake.notify_one(),
                Ok(Wrote::Unreadable(error)) => {
                    drop(writing);
                    tracing::debug!(%error, "a file that is served cannot be read");
                    // Ends this connection with all others.
                    self.feed(|session, now| session.handle_unreadable(now, conn, error));
                    return;
                }
                Err(error) => {
                    drop(writing);
                    return self.on_closed(conn, &connection, &error);
                }
            }
        }
        // More is left than one turn may send: the writer's task goes on after the others.
        writing.blocked = true;
        connection.write_wake.notify_one();
    }

    /// Takes the next output of a connection; false if there is none.
    fn next_output(&self, conn: ConnId, writing: &mut Writing) -> bool {
        let now = self.now();
        let output = self.shared.borrow_mut().session.poll_output(now, conn);
        self.take_actions();
        match output {
            None => false,
            Some(Output::Bytes(bytes)) => {
                writing.set_bytes(bytes);
                true
            }
            Some(Output::Block(block, BlockBytes::Payload(slot))) => {
                writing.set_bytes([&block.piece_header(), slot.bytes()].concat());
                true
            }
            Some(Output::Block(block, BlockBytes::Extents(extents))) => {
                let shared = self.shared.borrow();
                let runs: Option<Vec<FileRun>> = extents
                    .into_iter()
                    .map(|extent| {
                        let file = match extent.file {
                            FileId::ZEROS => None,
                            file => Some((file, shared.disk.file(file)?)),
                        };
                        Some(FileRun { file, offset: extent.offset, len: extent.len })
                    })
                    .collect();
                match runs {
                    Some(runs) => writing.set_block(&block, runs),
                    None => tracing::warn!(?block, "a block's file is not open"),
                }
                true
            }
        }
    }

    fn on_closed(&self, conn: ConnId, connection: &Connection, error: &io::Error) {
        if connection.closed.get() {
            return;
        }
        tracing::debug!(addr = %connection.addr, %error, "connection lost");
        connection.close();
        self.shared.borrow_mut().conns.remove(&conn);
        let why = match error.kind() {
            io::ErrorKind::InvalidData => Close::Fault("its stream cannot be read on"),
            _ => Close::Remote,
        };
        self.feed(|session, now| session.handle_closed(now, conn, why));
    }

    async fn run_turns(self) {
        loop {
            // Once for all that happened since.
            self.shared.borrow_mut().disk.kick();
            let deadline = self.shared.borrow().session.poll_timeout();
            let started = self.shared.borrow().started;
            let at = deadline.map(|at| started + Duration::from_micros(at.as_micros()));
            tokio::select! {
                () = self.turn_end.notified() => {}
                () = tokio::time::sleep_until(at.unwrap_or(started).into()), if at.is_some() => {
                    self.input(|session, now| session.handle_timeout(now));
                }
            }
        }
    }

    async fn run_disk(self, wake: std::sync::Arc<Notify>) {
        loop {
            wake.notified().await;
            loop {
                let done = self.shared.borrow_mut().disk.take_completions();
                if done.is_empty() {
                    break;
                }
                for completion in done {
                    self.on_done(completion);
                }
                self.settle();
                tokio::task::yield_now().await;
            }
        }
    }

    fn on_done(&self, completion: Completion) {
        match completion {
            Completion::Op { job, result } => {
                self.feed(|session, now| session.handle_disk(now, job, result));
            }
            Completion::Hash { job, hasher, blocks, digest } => {
                self.feed(|session, now| session.handle_hashed(now, job, hasher, blocks, digest));
            }
            Completion::Warm { conn } => {
                let connection = self.shared.borrow().conns.get(&conn).cloned();
                if let Some(connection) = connection {
                    connection.writing.borrow_mut().blocked = false;
                    self.write(conn);
                }
            }
        }
    }

    async fn run_listener(self, listener: TcpListener) {
        let mut is_told = false;
        loop {
            match listener.accept().await {
                // Who is turned away may come again.
                Ok((stream, _)) if !leaves_room(&stream) => {
                    tracing::debug!("too many open files for another connection");
                }
                Ok((stream, addr)) => {
                    is_told = false;
                    let conn = self.input(|session, now| session.handle_incoming(now, addr));
                    if let Some(conn) = conn {
                        self.add_connection(conn, stream, addr);
                    }
                }
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already. A user is told once until
                    // it goes again.
                    if std::mem::replace(&mut is_told, true) {
                        tracing::debug!(%error, "still cannot take a connection");
                    } else {
                        tracing::warn!(%error, "cannot take a connection");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn run_dial(self, conn: ConnId, addr: SocketAddr) {
        let timeout = self.shared.borrow().session.config().dial_timeout;
        let dial = tokio::time::timeout(timeout, self.dial(addr)).await;
        match dial {
            Ok(Ok(stream)) => {
                self.add_connection(conn, stream, addr);
                self.input(|session, now| session.handle_connected(now, conn));
            }
            Ok(Err(error)) if disk::is_out_of_files(&error) => {
                tracing::debug!(%addr, %error, "cannot dial");
                // The place is kept meanwhile, or all others would be tried as well, for nothing.
                tokio::time::sleep(DESCRIPTOR_PAUSE).await;
                self.input(|session, now| session.handle_closed(now, conn, Close::NoDescriptor));
            }
            Ok(Err(error)) => {
                tracing::debug!(%addr, %error, "dial failed");
                self.input(|session, now| session.handle_closed(now, conn, Close::DialFailed));
            }
            Err(_) => {
                self.input(|session, now| session.handle_closed(now, conn, Close::DialFailed));
            }
        }
    }

    async fn dial(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if !leaves_room(&socket) {
            return Err(Errno::MFILE.into());
        }
        if let Some(ip) = self.dial_from.iter().find(|ip| ip.is_ipv4() == addr.is_ipv4()) {
            socket.bind(SocketAddr::new(*ip, 0))?;
        }
        socket.connect(addr).await
    }

    fn add_connection(&self, conn: ConnId, stream: TcpStream, addr: SocketAddr) {
        // Headers wait for their payload by MSG_MORE; nothing else is to wait.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let connection = Rc::new(Connection::new(stream, addr));
        self.shared.borrow_mut().conns.insert(conn, connection.clone());
        spawn_local(self.clone().run_reader(conn, connection.clone()));
        spawn_local(self.clone().run_writer(conn, connection));
    }

    async fn run_writer(self, conn: ConnId, connection: Rc<Connection>) {
        loop {
            connection.write_wake.notified().await;
            if connection.closed.get() {
                return;
            }
            // The other side may never read; the end of the connection does not wait for that.
            tokio::select! {
                ready = connection.stream.writable() => if ready.is_err() { return },
                () = connection.write_wake.notified() => {}
            }
            if connection.closed.get() {
                return;
            }
            tokio::task::yield_now().await;
            connection.writing.borrow_mut().blocked = false;
            self.write(conn);
            self.settle();
        }
    }

    async fn run_reader(self, conn: ConnId, connection: Rc<Connection>) {
        loop {
            while !self.shared.borrow().session.wants_read() && !connection.closed.get() {
                self.shared.borrow_mut().reads_paused = true;
                connection.read_wake.notified().await;
            }
            tokio::select! {
                ready = connection.stream.readable() => {
                    if let Err(error) = ready {
                        return self.on_closed(conn, &connection, &error);
                    }
                }
                () = connection.read_wake.notified() => {}
            }
            if connection.closed.get() {
                return;
            }
            let result = self.read(conn, &connection);
            let rests = match result {
                Ok(rests) => rests,
                Err(error) => {
                    self.on_closed(conn, &connection, &error);
                    return self.settle();
                }
            };
            self.settle();
            if rests {
                tokio::time::sleep(REST).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One turn of reading: until the socket is empty, or others have their turn. Whether to rest
    /// after it.
    fn read(&self, conn: ConnId, connection: &Connection) -> io::Result<bool> {
        let mut came = 0;
        for _ in 0..READS_PER_TURN {
            let mut reading = connection.reading.borrow_mut();
            match reading.read(&connection.stream) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => came += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(REST_WORTH.contains(&came));
                }
                Err(error) => return Err(error),
            }
            drop(reading);
            self.handle_frames(conn, connection)?;
            if connection.closed.get() || !self.shared.borrow().session.wants_read() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Hands every frame that is whole to the session.
    fn handle_frames(&self, conn: ConnId, connection: &Connection) -> io::Result<()> {
        let reading = &mut *connection.reading.borrow_mut();
        loop {
            if let Some((block, slot)) = reading.take_block() {
                self.feed(|session, now| session.handle_block(now, conn, block, slot));
            }
            if connection.closed.get() {
                return Ok(());
            }
            let frame = reading
                .framer
                .next_frame()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match frame {
                None => return Ok(()),
                Some(Frame::Handshake(handshake)) => {
                    self.feed(|session, now| session.handle_handshake(now, conn, handshake));
                }
                Some(Frame::Message(body)) => {
                    self.feed(|session, now| session.handle_message(now, conn, body));
                }
                Some(Frame::Piece(block)) => reading.begin_block(block),
            }
        }
    }
}

/// Whether a new socket leaves file descriptors for the files: connections, which take each that gets
/// free, would starve them. The least that is free is given, so its number says how many are in use.
fn leaves_room(socket: &impl AsRawFd) -> bool {
    /// Files and folders of a torrent or two, and of the threads that open them.
    const RESERVE_MAX: u64 = 64;
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let number = u64::try_from(socket.as_raw_fd()).unwrap_or_default();
    number < most - (most / 8).min(RESERVE_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{Level, Metadata, span};

    use super::*;
    use crate::torrent::Identity;

    /// Counts what is said, by level.
    #[derive(Clone, Default)]
    struct Said(Arc<[AtomicUsize; 2]>);

    impl Said {
        /// Warnings, and what is for debugging.
        fn counts(&self) -> (usize, usize) {
            (self.0[0].load(Ordering::Relaxed), self.0[1].load(Ordering::Relaxed))
        }
    }

    impl tracing::Subscriber for Said {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == module_path!().trim_end_matches("::tests")
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let at = usize::from(*event.metadata().level() != Level::WARN);
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_listener_that_cannot_take_connections_says_so_once() {
        let said = Said::default();
        let _guard = tracing::subscriber::set_default(said.clone());
        let us = Identity { peer_id: [1; 20], listen_port: None, dht_port: None };
        let session = Session::new(crate::Config::default(), us, [7; 32]);
        let wake = Arc::new(Notify::new());
        let disk = DiskPool::start(Box::new(|| {}));
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(socket.try_clone().unwrap()).unwrap();
        let test = async move {
            let reactor = Reactor::start(session, disk, wake, Vec::new());
            reactor.listen(listener);
            // Nothing is taken of a socket that was shut down.
            socket2::SockRef::from(&socket).shutdown(Shutdown::Both).unwrap();
            until(|| said.counts().1 >= 2).await;
            assert_eq!(said.counts().0, 1);
        };
        let local = tokio::task::LocalSet::new();
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, local.run_until(test)).await.unwrap();
    }
}
