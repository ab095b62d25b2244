//! Captures, read back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use sim::scenario::{Scenario, Setup, SwarmScenario};
use sim::{Capture, HostId};
use wire::krpc::Message;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A packet of a capture.
#[derive(Clone, Debug)]
struct Packet {
    us: u64,
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// Of TCP: sequence number, acknowledgement and flags.
    tcp: Option<(u32, u32, u8)>,
    ip_len: usize,
    payload: Vec<u8>,
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The sum of all words is nothing where a checksum is right (RFC 1071).
fn adds_up(parts: &[&[u8]]) -> bool {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u64::from(*high) << 8 | u64::from(*low),
        _ => u64::from(word[0]) << 8,
    });
    let sum: u64 = words.sum();
    sum > 0 && sum.is_multiple_of(0xffff)
}

/// Reads a capture; all that can be wrong with a packet is an error.
fn read(file: &[u8]) -> Vec<Packet> {
    assert_eq!(le32(file, 0), 0xa1b2_c3d4, "microseconds");
    assert_eq!((&file[4..8], le32(file, 20)), (&[2, 0, 4, 0][..], 101), "IP packets");
    let (mut packets, mut at) = (Vec::new(), 24);
    while at < file.len() {
        let us = u64::from(le32(file, at)) * 1_000_000 + u64::from(le32(file, at + 4));
        let len = le32(file, at + 8) as usize;
        assert_eq!(le32(file, at + 12) as usize, len);
        packets.push(packet(us, &file[at + 16..at + 16 + len]));
        at += 16 + len;
    }
    assert!(packets.is_sorted_by_key(|packet| packet.us), "in the order of time");
    packets
}

fn packet(us: u64, ip: &[u8]) -> Packet {
    assert_eq!((ip[0], usize::from(be16(ip, 2))), (0x45, ip.len()));
    assert!(adds_up(&[&ip[..20]]), "the IP header's checksum");
    let (protocol, rest) = (ip[9], &ip[20..]);
    let pseudo = [&ip[12..20], &[0, protocol], &(rest.len() as u16).to_be_bytes()].concat();
    assert!(adds_up(&[&pseudo, rest]), "the packet's checksum");
    let addr = |at: usize, port| SocketAddrV4::new(Ipv4Addr::from(be32(ip, at)), port);
    let (from, to) = (addr(12, be16(rest, 0)), addr(16, be16(rest, 2)));
    let (tcp, payload) = match protocol {
        17 => {
            assert_eq!(usize::from(be16(rest, 4)), rest.len());
            (None, &rest[8..])
        }
        6 => {
            let head = usize::from(rest[12] >> 4) * 4;
            (Some((be32(rest, 4), be32(rest, 8), rest[13])), &rest[head..])
        }
        other => panic!("protocol {other}"),
    };
    Packet { us, from, to, tcp, ip_len: ip.len(), payload: payload.to_vec() }
}

/// One direction of a stream, followed as Wireshark does.
#[derive(Clone, Debug, Default)]
struct Direction {
    /// The next sequence number.
    next: Option<u32>,
    bytes: Vec<u8>,
    /// IP bytes of packets with payload.
    wire: usize,
    ended: bool,
}

type Streams = BTreeMap<(SocketAddrV4, SocketAddrV4, u32), Direction>;

/// All streams by their ends, and by how many there were before between the same.
fn follow(packets: &[Packet]) -> Streams {
    let mut streams = Streams::new();
    let mut turns: BTreeMap<(SocketAddrV4, SocketAddrV4), u32> = BTreeMap::new();
    for packet in packets {
        let Some((seq, ack, flags)) = packet.tcp else { continue };
        let (from, to) = (packet.from, packet.to);
        if flags & (SYN | ACK) == SYN {
            *turns.entry((from, to)).or_default() += 1;
            let turn = turns[&(from, to)];
            turns.insert((to, from), turn);
        }
        let turn = turns[&(from, to)];
        let other = streams.entry((to, from, turn)).or_default().clone();
        if flags & ACK != 0 && flags & RST == 0 {
            assert!(other.next.is_none_or(|next| ack <= next), "{packet:?} of {:?}", other.next);
        }
        let direction = streams.entry((from, to, turn)).or_default();
        let own = if flags & SYN != 0 { seq } else { direction.next.unwrap_or(1) };
        assert!(!direction.ended && (seq == own || flags & RST != 0), "{packet:?}, not {own}");
        let more = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        direction.next = Some(seq + packet.payload.len() as u32 + more);
        direction.ended = flags & (FIN | RST) != 0;
        direction.bytes.extend(&packet.payload);
        direction.wire += if packet.payload.is_empty() { 0 } else { packet.ip_len };
    }
    streams
}

fn swarm() -> SwarmScenario {
    SwarmScenario { peers: 5, pieces: 12, ..SwarmScenario::default() }
}

/// The capture of a host, and the trace of the run.
fn capture(scenario: &Scenario, host: u32, workers: u32) -> (Vec<u8>, String) {
    let file = Arc::new(Mutex::new(Vec::new()));
    let sink = file.clone();
    let capture = Capture::new(HostId(host), move |bytes| sink.lock().unwrap().extend(bytes));
    let setup = Setup { capture: Some(capture), ..Setup::default() };
    let trace = scenario.run_with(1, workers, setup, |_| {}).trace_hash;
    let bytes = file.lock().unwrap().clone();
    (bytes, trace)
}

#[test]
fn a_capture_changes_nothing_and_is_the_same_whoever_shares_the_work() {
    let swarm = Scenario::Swarm(Box::new(swarm()));
    let (file, trace) = capture(&swarm, 2, 1);
    assert_eq!(trace, swarm.run(1, 1, |_| {}).trace_hash);
    assert!(file == capture(&swarm, 2, 2).0);
    let nobody = capture(&swarm, 5, 1);
    assert_eq!((nobody.0.len(), nobody.1), (24, trace));
}

#[test]
fn streams_can_be_followed_and_are_the_same_at_both_ends() {
    let swarm = Scenario::Swarm(Box::new(swarm()));
    let at = |host| follow(&read(&capture(&swarm, host, 1).0));
    let (one, two) = (at(1), at(2));
    let both: Vec<_> = one.keys().filter(|key| two.contains_key(*key)).collect();
    assert!(both.len() >= 2, "{both:?}");
    let mut blocks = 0;
    for key in both {
        let (a, b) = (&one[key], &two[key]);
        // What was under way at the end is known to its sender alone.
        let len = a.bytes.len().min(b.bytes.len());
        assert!(a.bytes[..len] == b.bytes[..len], "{key:?}");
        assert!(a.bytes.is_empty() || a.bytes.starts_with(b"\x13BitTorrent protocol"));
        blocks += len >> 14;
    }
    assert!(blocks > 16, "{blocks}");
}

#[test]
fn datagrams_and_headers_are_those_that_the_world_counts() {
    let swarm = swarm();
    let report = swarm.run(1, 1, |_| {});
    let scenario = Scenario::Swarm(Box::new(swarm));
    let (mut datagrams, mut bytes, mut wire) = (0, 0, 0);
    for host in 0..5 {
        let packets = read(&capture(&scenario, host, 1).0);
        let [ip, other] = [*packets[0].from.ip(), *packets[0].to.ip()];
        let is_own = |ip| packets.iter().all(|p| *p.from.ip() == ip || *p.to.ip() == ip);
        let ip = if is_own(ip) { ip } else { other };
        assert!(is_own(ip));
        for packet in packets.iter().filter(|packet| *packet.from.ip() == ip) {
            match packet.tcp {
                None => {
                    assert!(Message::parse(&packet.payload).is_ok(), "{packet:?}");
                    assert_eq!(packet.ip_len, packet.payload.len() + 28);
                    datagrams += 1;
                }
                Some(_) if !packet.payload.is_empty() => {
                    assert_eq!(packet.ip_len, packet.payload.len() + 40);
                    assert!(packet.ip_len <= 1_500);
                    bytes += packet.payload.len() as u64;
                    wire += packet.ip_len as u64;
                }
                Some(_) => {}
            }
        }
    }
    assert_eq!(datagrams, report.counters.sent);
    // Each dials itself, as it hears of its own announce: two handshakes that no network card sees.
    let to_itself = report.counters.chunk_bytes - bytes;
    assert!(to_itself.is_multiple_of(68) && to_itself <= 2 * 68 * 5, "{to_itself}");
    // Each run has at least one segment, and none more than its bytes need.
    let segments = (wire - bytes) / 40;
    assert!((bytes / 1_460..=bytes / 1_460 + report.counters.chunks).contains(&segments));
}
