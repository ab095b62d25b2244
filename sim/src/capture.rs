//! What one host sends and receives, as a pcap file.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};

use client::ConnId;
use wire::time::Time;

use crate::addresses::PORT;
use crate::host::HostId;
use crate::line::SEGMENT;
use crate::pcap::{self, Segment, flags};
use crate::stream::Chunk;

/// Ports from which a host dials (RFC 6335, 6).
const DIAL_PORT: u16 = 49_152;
const DIAL_PORTS: u64 = 16_384;

/// A capture at the network card of a host: datagrams as the host says and hears them, and its streams
/// as TCP segments that are made for it, of at most 1,460 bytes, with headers of 40 bytes and an
/// acknowledgement for two of them, as lines count them.
///
/// All segments of a run have the time at which it was handed over or had come through the line. What a
/// link loses was sent, and does not come; a stream makes up for it by coming later, which is not to be
/// seen as another segment. A stream ends at both sides at once. Payload stands for bytes that are made
/// here, the same for the same part of a file; they do not have the hashes of the torrent.
///
/// What a host sends to itself does not come by a network card. It holds a few bytes for each open stream;
/// packets go on at once.
pub struct Capture {
    host: HostId,
    sink: Box<Sink>,
    out: Vec<u8>,
    bytes: Vec<u8>,
    ident: u16,
    flows: BTreeMap<ConnId, Flow>,
}

type Sink = dyn FnMut(&[u8]) + Send;

/// A stream of the host.
#[derive(Clone, Copy, Debug)]
struct Flow {
    own: SocketAddr,
    peer: SocketAddr,
    /// The next of ours, the next of theirs, and the next of ours that they wait for.
    sent: u32,
    got: u32,
    acked: u32,
    is_open: bool,
}

/// The capture, if it is one of `id`.
pub(crate) fn of(capture: &mut Option<Box<Capture>>, id: HostId) -> Option<&mut Capture> {
    capture.as_deref_mut().filter(|capture| capture.host == id)
}

/// From where a dial that its sender calls `dialer` comes. A simulated host has one port, from which all
/// would come; a translator gave it another.
pub(crate) fn dial_from(from: SocketAddrV4, dialer: ConnId) -> SocketAddrV4 {
    match from.port() {
        PORT => {
            let port = DIAL_PORT + (dialer.number() % DIAL_PORTS) as u16;
            SocketAddrV4::new(*from.ip(), port)
        }
        _ => from,
    }
}

impl Capture {
    /// A capture at `host`; `sink` is given the parts of the file one after the other, from its head on.
    pub fn new(host: HostId, mut sink: impl FnMut(&[u8]) + Send + 'static) -> Capture {
        sink(&pcap::file_head());
        Capture {
            host,
            sink: Box::new(sink),
            out: Vec::new(),
            bytes: Vec::new(),
            ident: 0,
            flows: BTreeMap::new(),
        }
    }

    /// At which host it is.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Another program started on the host: what it had open is gone.
    pub(crate) fn restarted(&mut self) {
        self.flows.clear();
    }

    fn write(&mut self) {
        self.ident = self.ident.wrapping_add(1);
        (self.sink)(&self.out);
        self.out.clear();
    }

    /// A datagram goes out or comes in.
    pub(crate) fn datagram(&mut self, at: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if from.ip() == to.ip() {
            return;
        }
        pcap::udp(&mut self.out, at, self.ident, (from, to), bytes);
        self.write();
    }

    fn segment(&mut self, at: Time, ends: (SocketAddr, SocketAddr), segment: Segment<'_>) {
        pcap::tcp(&mut self.out, at, self.ident, ends, segment);
        self.write();
    }

    /// A segment of ours, which takes `more` sequence numbers beside its payload.
    fn says(&mut self, at: Time, conn: ConnId, flags: u8, payload: &[u8], more: u32) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        let (seq, ack, ends) = (flow.sent, flow.got, (flow.own, flow.peer));
        flow.sent = seq.wrapping_add(payload.len() as u32 + more);
        self.segment(at, ends, Segment { seq, ack, flags, payload });
    }

    /// ... and of theirs.
    fn hears(&mut self, at: Time, conn: ConnId, flags: u8, payload: &[u8], more: u32) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        let (seq, ack, ends) = (flow.got, flow.acked, (flow.peer, flow.own));
        flow.got = seq.wrapping_add(payload.len() as u32 + more);
        self.segment(at, ends, Segment { seq, ack, flags, payload });
    }

    fn open(&mut self, conn: ConnId, own: SocketAddrV4, peer: SocketAddrV4) {
        let (own, peer) = (own.into(), peer.into());
        let flow = Flow { own, peer, sent: 0, got: 0, acked: 0, is_open: false };
        self.flows.insert(conn, flow);
    }

    /// The host dials.
    pub(crate) fn dial(&mut self, at: Time, conn: ConnId, own: SocketAddrV4, to: SocketAddrV4) {
        if own.ip() == to.ip() {
            return;
        }
        self.open(conn, own, to);
        let flow = self.flows.get(&conn).copied();
        let Some(Flow { own, peer, .. }) = flow else { return };
        self.segment(at, (own, peer), Segment { seq: 0, ack: 0, flags: flags::SYN, payload: b"" });
        self.flows.entry(conn).and_modify(|flow| flow.sent = 1);
    }

    /// Its dial was taken.
    pub(crate) fn connected(&mut self, at: Time, conn: ConnId) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        (flow.acked, flow.is_open) = (1, true);
        self.hears(at, conn, flags::SYN | flags::ACK, b"", 1);
        self.says(at, conn, flags::ACK, b"", 0);
    }

    /// It is dialled and takes it as `conn`, or refuses.
    pub(crate) fn incoming(
        &mut self,
        at: Time,
        conn: Option<ConnId>,
        own: SocketAddrV4,
        from: SocketAddrV4,
    ) {
        if own.ip() == from.ip() {
            return;
        }
        let syn = Segment { seq: 0, ack: 0, flags: flags::SYN, payload: b"" };
        self.segment(at, (from.into(), own.into()), syn);
        let Some(conn) = conn else {
            let refusal = Segment { ack: 1, flags: flags::RST | flags::ACK, ..syn };
            return self.segment(at, (own.into(), from.into()), refusal);
        };
        self.open(conn, own, from);
        self.flows.entry(conn).and_modify(|flow| {
            // The third packet of the handshake is the first with payload.
            (flow.got, flow.acked, flow.is_open) = (1, 1, true);
        });
        self.says(at, conn, flags::SYN | flags::ACK, b"", 1);
    }

    /// A run goes out.
    pub(crate) fn sent(&mut self, at: Time, conn: ConnId, chunk: &Chunk) {
        self.run(chunk, |capture, payload, flags, _| {
            capture.says(at, conn, flags, payload, 0);
        });
    }

    /// A run has come in, and is acknowledged.
    pub(crate) fn received(&mut self, at: Time, conn: ConnId, chunk: &Chunk) {
        self.run(chunk, |capture, payload, flags, n| {
            capture.hears(at, conn, flags, payload, 0);
            if n % 2 == 1 || flags & flags::PSH != 0 {
                capture.says(at, conn, flags::ACK, b"", 0);
            }
        });
    }

    /// Cuts a run into segments; `each` gets payload, flags and number of each.
    fn run(&mut self, chunk: &Chunk, mut each: impl FnMut(&mut Capture, &[u8], u8, usize)) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        chunk.bytes(&mut bytes);
        let last = bytes.len().div_ceil(SEGMENT as usize);
        for (n, payload) in bytes.chunks(SEGMENT as usize).enumerate() {
            let push = if n + 1 == last { flags::PSH } else { 0 };
            each(self, payload, flags::ACK | push, n);
        }
        self.bytes = bytes;
    }

    /// So many bytes of a run of ours have come through.
    pub(crate) fn acked(&mut self, at: Time, conn: ConnId, mut len: u64) {
        while len > 0 {
            let step = len.min(2 * SEGMENT);
            len -= step;
            let Some(flow) = self.flows.get_mut(&conn) else { return };
            flow.acked = flow.acked.wrapping_add(step as u32);
            self.hears(at, conn, flags::ACK, b"", 0);
        }
    }

    /// The host ends a stream, or gives a dial up.
    pub(crate) fn closed(&mut self, at: Time, conn: ConnId) {
        if self.flows.get(&conn).is_some_and(|flow| flow.is_open) {
            self.says(at, conn, flags::FIN | flags::ACK, b"", 1);
        }
        self.flows.remove(&conn);
    }

    /// The other side ended a stream, or refused it.
    pub(crate) fn ended(&mut self, at: Time, conn: ConnId) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        if flow.is_open {
            self.hears(at, conn, flags::FIN | flags::ACK, b"", 1);
            self.says(at, conn, flags::FIN | flags::ACK, b"", 1);
        } else {
            flow.acked = 1;
            self.hears(at, conn, flags::RST | flags::ACK, b"", 0);
        }
        self.flows.remove(&conn);
    }
}
