//! Memory in bytes: what strangers send makes neither a node nor a session grow beyond a bound.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use client::disk::{DiskOp, DiskResult, FileStat};
use client::storage::{self, Storage};
use client::{Action, Config as ClientConfig, ConnId, Identity, Payload, Session, TorrentKey};
use dht::{Config as NodeConfig, Node, SharedConfig, SocketId};
use harness::allocations::{Counting, Meter};
use wire::Id;
use wire::bencode::{Limits, Value};
use wire::ext::{ExtHandshake, MetadataMessage, Pex, PexPeer};
use wire::krpc::{Body, GetPeersReply, Head, Message as Krpc, Method, Put, Query, Reply, Want};
use wire::metainfo::{Info, build_info};
use wire::peer::{Handshake, Message, Reserved};
use wire::rng::{Rng, seed_from_u64};
use wire::time::Time;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A Global address of its own for each `n`.
fn stranger(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([80 + b, c, d, 9], 6881))
}

// The DHT node

fn node() -> Node {
    let config = NodeConfig::new(vec![SocketAddr::from(([60, 1, 1, 1], 6881))]).unlimited();
    Node::new(config, &seed_from_u64(1), Time::ZERO)
}

fn query(id: Id, method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Query { id, method }.encode(&Head { tid: b"tt", ..Head::default() }, &mut out);
    out
}

/// Gives the node a datagram, and drops what it sends; returns the token of a reply.
fn feed(node: &mut Node, now: Time, from: SocketAddr, bytes: &[u8]) -> Option<[u8; 8]> {
    node.handle_datagram(now, SocketId(0), from, bytes);
    let mut buf = Vec::new();
    let mut token = None;
    while node.poll_transmit(&mut buf).is_some() {
        if let Ok(Krpc { body: Body::Reply(body), .. }) = Krpc::parse(&buf) {
            token = GetPeersReply::parse(&body).and_then(|reply| reply.token?.try_into().ok());
        }
    }
    token
}

#[test]
fn a_flood_of_queries_replies_and_junk_costs_a_node_nothing() {
    let mut node = node();
    let mut rng = Rng::new(&seed_from_u64(2));
    let meter = Meter::start();
    for n in 0..100_000 {
        let (id, key, want) = (Id::random(&mut rng), Id::random(&mut rng), Want::BOTH);
        let bytes = match n % 4 {
            0 => query(id, Method::FindNode { target: key, want }),
            1 => query(id, Method::get_peers(key, want)),
            2 => {
                let (mut out, tid) = (Vec::new(), rng.bytes::<4>());
                let head = Head { tid: &tid, ..Head::default() };
                Reply { id, ..Reply::default() }.encode(&head, &mut out);
                out
            }
            _ => rng.bytes::<60>().to_vec(),
        };
        let now = Time::from_micros(u64::from(n) * 100);
        feed(&mut node, now, stranger(n), &bytes);
        node.handle_timeout(now);
    }
    assert!(node.stats().received == 100_000 && node.stats().sent >= 50_000);
    // Sixty-four pings under way, and the room of a few buffers.
    assert!(meter.peak() < 128 * KIB, "{}", meter.peak());
}

#[test]
fn a_flood_of_announces_fills_the_store_of_a_node_and_no_more() {
    let mut node = node();
    let mut rng = Rng::new(&seed_from_u64(3));
    let max = node.config().store_peers_max;
    let meter = Meter::start();
    let mut full_at = 0;
    for n in 0..(2 * max as u32) {
        let info_hash = Id([(n % 250) as u8; 20]);
        let (id, from) = (Id::random(&mut rng), stranger(n));
        let ask = query(id, Method::get_peers(info_hash, Want::default()));
        if let Some(token) = feed(&mut node, Time::ZERO, from, &ask) {
            let method = Method::announce_peer(info_hash, 1, &token);
            feed(&mut node, Time::ZERO, from, &query(id, method));
        }
        if n == max as u32 {
            full_at = meter.live();
        }
    }
    assert_eq!(node.stored(), (250, max));
    assert!(meter.peak() < 16 * MIB, "{}", meter.peak());
    assert!(meter.live() < full_at + 128 * KIB, "it grows though it is full");
    node.handle_timeout(Time::from_secs(3600));
    assert_eq!(node.stored(), (0, 0));
    assert!(meter.live() < 256 * KIB, "{}", meter.live());
}

#[test]
fn a_node_whose_caller_does_not_send_does_not_grow() {
    let mut node = node();
    let mut rng = Rng::new(&seed_from_u64(4));
    let meter = Meter::start();
    for n in 0..100_000 {
        let (id, target) = (Id::random(&mut rng), Id::random(&mut rng));
        let bytes = query(id, Method::FindNode { target, want: Want::BOTH });
        node.handle_datagram(Time::ZERO, SocketId(0), stranger(n), &bytes);
    }
    assert!(node.stats().dropped_busy > 90_000);
    assert!(meter.peak() < 512 * KIB, "{}", meter.peak());
}

/// Who answers at an address, and under which id.
type Overlay = BTreeMap<SocketAddr, Id>;

/// Lets `secs` pass for a node whose queries are answered as by nodes that know no others.
fn rest(node: &mut Node, overlay: &Overlay, from: Time, secs: u64) -> Time {
    let (end, mut now, mut buf) = (from + Duration::from_secs(secs), from, Vec::new());
    loop {
        let mut answers = Vec::new();
        while let Some(transmit) = node.poll_transmit(&mut buf) {
            let message = Krpc::parse(&buf).expect("what it writes can be read");
            if let (Body::Query(_), Some(id)) = (&message.body, overlay.get(&transmit.to)) {
                let (mut out, head) =
                    (Vec::new(), Head { tid: message.head.tid, ..Head::default() });
                Reply { id: *id, ..Reply::default() }.encode(&head, &mut out);
                answers.push((transmit.to, out));
            }
        }
        while node.poll_event().is_some() {}
        if answers.is_empty() {
            match node.poll_timeout() {
                Some((at, _)) if at <= end => now = now.max(at),
                _ => return end,
            }
            node.handle_timeout(now);
        }
        for (from, bytes) in answers {
            node.handle_datagram(now, SocketId(0), from, &bytes);
        }
    }
}

/// The nodes of an overlay of so many that a node may come to know: of those that share exactly as
/// many bits with it as many as there are, but at most `each`.
fn overlay(own: &Id, nodes: u32, each: u32, rng: &mut Rng) -> Overlay {
    let mut overlay = Overlay::new();
    for depth in 0..u32::BITS {
        for _ in 0..(nodes.unbounded_shr(depth + 1)).min(each) {
            let mut id = Id::random(rng);
            (0..depth).for_each(|bit| id.set_bit(bit, own.bit(bit)));
            id.set_bit(depth, !own.bit(depth));
            overlay.insert(stranger(overlay.len() as u32), id);
        }
    }
    overlay
}

#[test]
fn a_node_of_a_million_takes_little_at_rest() {
    let config = NodeConfig::new(Vec::new()).unlimited();
    // As wide as it is by default, and as in a process of thousands.
    at_rest(&SharedConfig::new(config.clone()), 1_000..1_150, 44 * KIB);
    at_rest(&SharedConfig::new(config.among_thousands()), 200..260, 11 * KIB);
}

fn at_rest(config: &SharedConfig, expected: std::ops::Range<usize>, most: usize) {
    let mut rng = Rng::new(&seed_from_u64(5));
    let meter = Meter::start();
    let (addr, seed) = (SocketAddr::from(([60, 1, 1, 1], 6881)), seed_from_u64(1));
    let mut node = Box::new(Node::sharing(config, vec![addr], None, &seed, Time::ZERO));
    let made = meter.live();
    let overlay = overlay(&node.id(), 1_000_000, 600, &mut rng);
    let theirs = meter.live() - made;
    for addr in overlay.keys() {
        node.add_contact(Time::ZERO, *addr);
        rest(&mut node, &overlay, Time::ZERO, 0);
    }
    let filled = meter.live() - theirs;
    let (contacts, spares) = (node.contacts().len(), node.replacements_len());
    rest(&mut node, &overlay, Time::ZERO, 3600);
    let held = meter.live() - theirs;
    assert!(expected.contains(&contacts), "{contacts}");
    assert_eq!(spares, config.replacements_max);
    assert_eq!(node.contacts().len(), contacts, "they answer");
    let inline = size_of::<Node>();
    println!("{contacts} contacts: {held} bytes");
    assert!(
        held < most,
        "{held} bytes, of which {inline} in the node itself; {made} when it was made, {filled} when \
         it was filled"
    );
}

#[test]
fn what_others_store_takes_few_bytes_more_than_it_has() {
    let mut config = NodeConfig::new(vec![SocketAddr::from(([60, 1, 1, 1], 6881))]).unlimited();
    config.store_torrents_max = 10_000;
    let mut node = Node::new(config, &seed_from_u64(1), Time::ZERO);
    let mut rng = Rng::new(&seed_from_u64(6));
    let hashes: Vec<Id> = (0..10_000).map(|_| Id::random(&mut rng)).collect();
    let whole = Meter::start();
    for n in 0..100_000u32 {
        let (id, from) = (Id::random(&mut rng), stranger(n));
        let info_hash = hashes[n as usize % hashes.len()];
        let ask = query(id, Method::get_peers(info_hash, Want::default()));
        let token = feed(&mut node, Time::ZERO, from, &ask).expect("there is room");
        feed(&mut node, Time::ZERO, from, &query(id, Method::announce_peer(info_hash, 1, &token)));
    }
    let peers = whole.live();
    assert_eq!(node.stored(), (10_000, 100_000));
    assert!(peers < 6_000_000, "{peers} bytes for 100,000 peers");

    let meter = Meter::start();
    for n in 0..10_000u32 {
        let (id, from) = (Id::random(&mut rng), stranger(n));
        let value = format!("97:{n:097}");
        let value = Value::parse(value.as_bytes(), Limits::KRPC).expect("bencode");
        let target = Put { token: b"", value, signed: None }.target();
        let ask = query(id, Method::Get { target, seq: None, want: Want::default() });
        let token = feed(&mut node, Time::ZERO, from, &ask).expect("there is room");
        let put = Put { token: &token, value, signed: None };
        feed(&mut node, Time::ZERO, from, &query(id, Method::Put(put)));
    }
    let items = meter.live();
    assert_eq!(node.stored_items(), (10_000, 1_000_000));
    assert!(items < 3_000_000, "{items} bytes for 10,000 items of 100 bytes");

    node.handle_timeout(Time::from_secs(3 * 3600));
    assert_eq!((node.stored(), node.stored_items()), ((0, 0), (0, 0)));
    assert!(whole.live() < 64 * KIB, "{} bytes are left of nothing", whole.live());
}

// The session

/// A block that nobody looks into.
struct Block(Vec<u8>);

impl Payload for Block {
    type Hasher = ();

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A session that knows one torrent by its info-hash.
struct Host {
    session: Session<Block>,
    key: TorrentKey,
    hash: Id,
    now: Time,
    /// Bytes that went out.
    sent: usize,
    closed: usize,
}

impl Host {
    fn new(hash: Id) -> Host {
        let us = Identity { peer_id: *b"-TK0100-ourselves000", listen_port: None, dht_port: None };
        let mut session = Session::new(ClientConfig::default(), us, [7; 32]);
        let key = session.add_torrent(Time::ZERO, hash).expect("the first torrent");
        Host { session, key, hash, now: Time::ZERO, sent: 0, closed: 0 }
    }

    /// Sends and closes what the session says, and dials nobody.
    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Flush(conn) => {
                    while let Some(output) = self.session.poll_output(self.now, conn) {
                        if let client::Output::Bytes(bytes) = output {
                            self.sent += bytes.len();
                        }
                    }
                }
                Action::Close(..) => self.closed += 1,
                Action::Dial(..) => {}
                Action::Disk(..) | Action::Hash(..) => panic!("there are no files"),
            }
        }
        while self.session.poll_event().is_some() {}
    }

    fn connect(&mut self, n: u32) -> Option<ConnId> {
        let conn = self.session.handle_incoming(self.now, stranger(n))?;
        let mut peer_id = [0; 20];
        peer_id[..4].copy_from_slice(&n.to_be_bytes());
        let handshake = Handshake { reserved: Reserved::OURS, info_hash: self.hash, peer_id };
        self.session.handle_handshake(self.now, conn, handshake);
        self.drain();
        Some(conn)
    }

    fn say(&mut self, conn: ConnId, message: Message<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.session.handle_message(self.now, conn, &bytes[4..]);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.drain();
    }

    /// As many connections as the torrent takes, all past their handshake.
    fn full(&mut self) -> Vec<ConnId> {
        let max = self.session.config().peers_max as u32;
        (0..max).filter_map(|n| self.connect(n)).collect()
    }
}

#[test]
fn connections_without_a_handshake_are_few_and_small() {
    let mut host = Host::new(Id([7; 20]));
    let meter = Meter::start();
    let mut taken = 0;
    for n in 0..100_000 {
        taken += usize::from(host.session.handle_incoming(host.now, stranger(n)).is_some());
        host.drain();
        if n % 1000 == 0 {
            host.pass(Duration::from_secs(1));
        }
    }
    let (max, grace) =
        (host.session.config().handshakes_pending_max, host.session.config().handshake_grace);
    // In 100 s all places change hands so often at most.
    let turns = Duration::from_secs(100).as_millis() / grace.as_millis() + 1;
    assert!((max..=turns as usize * max).contains(&taken), "{taken}");
    assert!(meter.peak() < 256 * KIB, "{}", meter.peak());
    host.pass(Duration::from_secs(60));
    assert_eq!(host.closed, taken);
    assert!(meter.live() < 32 * KIB, "{}", meter.live());
}

#[test]
fn pieces_told_before_the_metadata_cost_a_bounded_bitfield_a_peer() {
    let mut host = Host::new(Id([7; 20]));
    let conns = host.full();
    let meter = Meter::start();
    let all = vec![0xff; (1 << 21) / 8];
    for &conn in &conns {
        for piece in (0..1 << 21).step_by(4096) {
            host.say(conn, Message::Have(piece));
        }
        host.say(conn, Message::Have((1 << 21) - 1));
        for piece in 0..1000 {
            host.say(conn, Message::AllowedFast(piece * 7));
            host.say(conn, Message::Suggest(piece));
        }
        host.say(conn, Message::HaveAll);
        host.say(conn, Message::Bitfield(&all));
    }
    assert_eq!(host.closed, 0);
    // 2^21 pieces are 256 KiB of bits, and a vector that grew may have twice the room.
    let bound = conns.len() * (512 + 16) * KIB;
    assert!(meter.live() < bound, "{} of {bound}", meter.live());
    host.say(conns[0], Message::Have(1 << 21));
    host.say(conns[1], Message::Bitfield(&[&all[..], &[0]].concat()));
    assert_eq!(host.closed, 2, "a piece beyond the largest torrent");
}

#[test]
fn extension_handshakes_again_and_again_leave_one() {
    let mut host = Host::new(Id([7; 20]));
    let conn = host.connect(1).expect("room");
    let meter = Meter::start();
    let sent = host.sent;
    for n in 0..20_000u32 {
        let mut payload = Vec::new();
        ExtHandshake {
            metadata_id: Some(1 + (n % 200) as u8),
            pex_id: Some(1 + (n % 100) as u8),
            reqq: Some(n),
            client: Some(format!("{n:0>100}")),
            listen_port: Some(1 + n as u16),
            ..ExtHandshake::default()
        }
        .encode(&mut payload);
        host.say(conn, Message::Extended(0, &payload));
    }
    assert_eq!((host.closed, host.sent - sent), (0, 0));
    let stats = host.session.stats(host.now, host.key).expect("its figures");
    assert_eq!(stats.candidates, 1, "of many ports the first counts");
    assert!(meter.live() < 8 * KIB, "{}", meter.live());
}

#[test]
fn floods_of_peer_exchanges_fill_the_list_of_addresses_and_no_more() {
    let mut host = Host::new(Id([7; 20]));
    let conns = host.full();
    let meter = Meter::start();
    for round in 0..500u32 {
        for (at, &conn) in conns.iter().enumerate() {
            let first = (round * 100 + at as u32) * 50;
            let added = (first..first + 50)
                .map(|n| PexPeer { addr: stranger(0x10_0000 + n), flags: 0 })
                .collect();
            let mut payload = Vec::new();
            Pex { added, dropped: Vec::new() }.encode(&mut payload);
            host.say(conn, Message::Extended(2, &payload));
        }
        host.pass(Duration::from_millis(500));
    }
    let stats = host.session.stats(host.now, host.key).expect("its figures");
    let max = host.session.config().candidates_max;
    assert!((max / 2..=max).contains(&stats.candidates), "{}", stats.candidates);
    assert!(meter.peak() < MIB, "{}", meter.peak());
}

#[test]
fn claims_of_metadata_cost_nothing_until_it_comes() {
    let mut host = Host::new(Id([7; 20]));
    let conns = host.full();
    let meter = Meter::start();
    let max = host.session.config().metadata_bytes_max;
    for (n, &conn) in conns.iter().enumerate() {
        let size = (max - n) as u64;
        let mut payload = Vec::new();
        ExtHandshake { metadata_id: Some(3), metadata_size: Some(size), ..ExtHandshake::default() }
            .encode(&mut payload);
        host.say(conn, Message::Extended(0, &payload));
    }
    for _ in 0..300 {
        host.pass(Duration::from_secs(1));
        for &conn in &conns {
            host.say(conn, Message::KeepAlive);
        }
    }
    assert_eq!(host.closed, 0);
    assert!(meter.peak() < 2 * MIB, "{}", meter.peak());
}

#[test]
fn metadata_costs_its_size_and_not_its_square() {
    // Parts of 16 KiB, the last of which is shorter.
    let size = 8 * MIB - 5;
    let mut host = Host::new(Id([7; 20]));
    let conn = host.connect(1).expect("room");
    let mut payload = Vec::new();
    ExtHandshake {
        metadata_id: Some(3),
        metadata_size: Some(size as u64),
        ..ExtHandshake::default()
    }
    .encode(&mut payload);
    host.say(conn, Message::Extended(0, &payload));
    let data = vec![b'x'; 16 * KIB];
    let meter = Meter::start();
    let parts = size.div_ceil(data.len());
    for piece in 0..parts as u32 {
        let len = (size - piece as usize * data.len()).min(data.len());
        let mut payload = Vec::new();
        MetadataMessage::Data { piece, total_size: None, data: &data[..len] }.encode(&mut payload);
        host.say(conn, Message::Extended(1, &payload));
    }
    assert_eq!(host.closed, 1, "it was all wrong");
    // Each part is written and framed by the test (four times at most, as buffers grow), kept, and
    // in the end put together.
    assert!(meter.total() < 8 * size, "{} for {size}", meter.total());
    assert!(meter.peak() < 3 * size, "{} for {size}", meter.peak());
}

/// A torrent of one file that is there, with nobody who asks for it.
fn seed_of(session: &mut Session<Block>, n: u32) -> TorrentKey {
    let hashes: Vec<[u8; 20]> = (0..100).map(|_| [n as u8; 20]).collect();
    let raw = build_info(&format!("file number {n}"), &[(vec![], 100 << 14)], 1 << 14, &hashes);
    let info = Info::parse(&raw).expect("an info dict");
    let key = session.add_torrent(Time::ZERO, info.info_hash).expect("it is new");
    let storage = Storage::seed(&info, storage::Config::default(), key.0);
    session.set_info(Time::ZERO, key, info, storage);
    key
}

#[test]
fn ten_thousand_torrents_that_nobody_asks_for_cost_little_memory_and_no_time() {
    let us = Identity { peer_id: *b"-TK0100-ourselves000", listen_port: None, dht_port: None };
    let mut session: Session<Block> = Session::new(ClientConfig::default(), us, [7; 32]);
    let meter = Meter::start();
    let count = 10_000;
    for n in 0..count {
        let key = seed_of(&mut session, n);
        while let Some(action) = session.poll_action() {
            let Action::Disk(job, op) = action else { panic!("nobody is there") };
            let result = match op {
                DiskOp::Stat { .. } => DiskResult::Stat(Some(FileStat {
                    len: 100 << 14,
                    mtime_ns: 1,
                    allocated: 100 << 14,
                })),
                _ => DiskResult::Done,
            };
            session.handle_disk(Time::ZERO, job, result);
        }
        session.flush_torrent(Time::ZERO, key);
        while session.poll_event().is_some() {}
    }
    session.handle_timeout(Time::from_secs(2));
    while session.poll_event().is_some() {}
    assert_eq!(session.active().count(), 0);
    assert_eq!(session.poll_timeout(), None, "all have asked for peers");
    let each = meter.live() / count as usize;
    // What the driver keeps beside it is another few hundred: paths and who waits.
    assert!(each < 5 * KIB / 2, "{each} bytes each");
}
