//! Floods a DHT node from forged addresses and asks it as honest clients do meanwhile; prints what came
//! back as JSON. Needs root, a route by which all addresses are this host's, and `secs` of time:
//!
//!   forge NODE QUERIES_PER_SEC SECS     QUERIES_PER_SEC 0: none; `max`: as many as go out
#![allow(clippy::disallowed_types, reason = "it measures a program from outside")]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query};
use wire::{Id, InfoHash};

const FORGED: u32 = 1_000_000;
const CLIENTS: u32 = 100;
/// The ports that the forged, the clients that showed a token and those that did not ask from.
const PORTS: [u16; 3] = [7_001, 7_002, 7_003];
/// Each client asks so often.
const PAUSE: Duration = Duration::from_millis(100);
/// An answer that comes later is none.
const LATE: Duration = Duration::from_secs(1);
/// Packets between two looks at the clock.
const BATCH: u32 = 32;

/// Sends UDP packets from any address.
struct Forge {
    raw: Socket,
    node: SocketAddrV4,
    packet: Vec<u8>,
}

impl Forge {
    fn send(&mut self, from: SocketAddrV4, payload: &[u8]) {
        let len = (28 + payload.len()) as u16;
        let udp_len = (8 + payload.len()) as u16;
        self.packet.clear();
        // RFC 791; the kernel fills the checksum in. A UDP checksum of 0 is none (RFC 768).
        self.packet.extend_from_slice(&[0x45, 0]);
        self.packet.extend_from_slice(&len.to_be_bytes());
        self.packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
        self.packet.extend_from_slice(&from.ip().octets());
        self.packet.extend_from_slice(&self.node.ip().octets());
        self.packet.extend_from_slice(&from.port().to_be_bytes());
        self.packet.extend_from_slice(&self.node.port().to_be_bytes());
        self.packet.extend_from_slice(&udp_len.to_be_bytes());
        self.packet.extend_from_slice(&[0, 0]);
        self.packet.extend_from_slice(payload);
        // A full queue drops, as a router would.
        let _ = self.raw.send_to(&self.packet, &SocketAddr::V4(self.node).into());
    }
}

fn query(tid: u32, method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let tid = tid.to_be_bytes();
    let head = Head { tid: &tid, read_only: true, ..Head::default() };
    Query { id: Id([9; 20]), method }.encode(&head, &mut out);
    out
}

fn get_peers(tid: u32) -> Vec<u8> {
    let mut info_hash = InfoHash::default();
    info_hash.0[..4].copy_from_slice(&tid.wrapping_mul(0x9e37_79b9).to_be_bytes());
    query(tid, Method::get_peers(info_hash, Default::default()))
}

/// Client `n` of a group: each in a network of its own.
fn client(group: usize, n: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(90 + group as u8, n as u8, 1, 1), PORTS[group])
}

/// Who asks as an honest client does.
struct Group {
    number: usize,
    socket: UdpSocket,
    open: BTreeMap<u32, Instant>,
    next: Instant,
    asked: u32,
    answered: u32,
}

impl Group {
    fn new(number: usize) -> Result<Group, Box<dyn Error>> {
        Ok(Group {
            number,
            socket: listen(number)?,
            open: BTreeMap::new(),
            next: Instant::now(),
            asked: 0,
            answered: 0,
        })
    }

    fn turn(&mut self, forge: &mut Forge, now: Instant) {
        let mut buf = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buf) {
            let Ok(message) = Message::parse(&buf[..len]) else { continue };
            let Ok(tid) = <[u8; 4]>::try_from(message.head.tid) else { continue };
            let asked = self.open.remove(&u32::from_be_bytes(tid));
            self.answered += u32::from(asked.is_some_and(|at| now - at < LATE));
        }
        while self.next <= now {
            self.next += PAUSE / CLIENTS;
            let tid = self.asked;
            self.asked += 1;
            self.open.insert(tid, now);
            forge.send(client(self.number, tid % CLIENTS), &get_peers(tid));
        }
    }
}

fn listen(group: usize) -> Result<UdpSocket, Box<dyn Error>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORTS[group]))?;
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    Ok(socket)
}

/// Each client of the first group announces with the token that it is given.
fn verify(forge: &mut Forge, group: &Group) -> Result<u32, Box<dyn Error>> {
    let mut verified = 0;
    let mut buf = [0; 2048];
    for n in 0..CLIENTS {
        let info_hash = Id([7; 20]);
        let ask = query(n, Method::get_peers(info_hash, Default::default()));
        forge.send(client(group.number, n), &ask);
        let token = answer(&group.socket, &mut buf).and_then(|len| {
            let Ok(Message { body: Body::Reply(body), .. }) = Message::parse(&buf[..len]) else {
                return None;
            };
            GetPeersReply::parse(&body)?.token.map(<[u8]>::to_vec)
        });
        let Some(token) = token else { continue };
        let (port, implied_port, seed) = (1, true, false);
        let announce = Method::AnnouncePeer { info_hash, port, implied_port, seed, token: &token };
        forge.send(client(group.number, n), &query(n, announce));
        verified += u32::from(answer(&group.socket, &mut buf).is_some());
    }
    Ok(verified)
}

/// The next datagram, if one comes soon.
fn answer(socket: &UdpSocket, buf: &mut [u8]) -> Option<usize> {
    let start = Instant::now();
    while start.elapsed() < LATE {
        if let Ok(len) = socket.recv(buf) {
            return Some(len);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    None
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [node, rate, secs] = &args[..] else {
        return Err("forge NODE QUERIES_PER_SEC SECS".into());
    };
    let SocketAddr::V4(node) = node.parse()? else { return Err("an IPv4 address".into()) };
    let rate: f64 = if rate == "max" { f64::INFINITY } else { rate.parse()? };
    let secs = Duration::from_secs_f64(secs.parse()?);
    // IPPROTO_RAW: we write the header.
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
    raw.set_nonblocking(true)?;
    let mut forge = Forge { raw, node, packet: Vec::new() };
    let answers = listen(0)?;
    let mut groups = [Group::new(1)?, Group::new(2)?];
    let verified = verify(&mut forge, &groups[0])?;

    let start = Instant::now();
    groups.iter_mut().for_each(|group| group.next = start);
    let (mut sent, mut answered, mut bytes) = (0u32, 0u32, 0u64);
    let mut buf = [0; 2048];
    while start.elapsed() < secs {
        let now = Instant::now();
        groups.iter_mut().for_each(|group| group.turn(&mut forge, now));
        while let Ok(len) = answers.recv(&mut buf) {
            answered += 1;
            bytes += len as u64;
        }
        if f64::from(sent) >= rate * (now - start).as_secs_f64() {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        for _ in 0..BATCH {
            // Each of a million addresses, in networks of their own, in no order.
            let n = (u64::from(sent) * 611_953 % u64::from(FORGED)) as u32;
            let ip = Ipv4Addr::from_bits(0x2000_0000 + n * 512 + 1);
            forge.send(SocketAddrV4::new(ip, PORTS[0]), &get_peers(sent));
            sent += 1;
        }
    }
    // What is still on its way.
    std::thread::sleep(Duration::from_millis(300));
    let now = Instant::now();
    for group in &mut groups {
        group.next = now + LATE;
        group.turn(&mut forge, now);
    }
    let told = |group: &Group| json!({"asked": group.asked, "answered": group.answered});
    println!(
        "{}",
        json!({
            "verified": verified, "forged": sent, "forged_answered": answered, "forged_bytes": bytes,
            "known": told(&groups[0]), "new": told(&groups[1]), "secs": secs.as_secs_f64(),
        })
    );
    Ok(())
}
