//! One direction of an access line, as a router that queues by flows has it (RFC 8290): datagrams go
//! first, and streams in turn.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Bytes that a stream may send in its turn: a full packet (RFC 8290, 5.2).
const QUANTUM: i64 = 1_514;

/// A packet of IPv4.
pub(super) type Packet = Vec<u8>;

/// Addresses and ports.
type Flow = ([u8; 8], [u8; 4]);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The header's source and destination; `None` if it is no packet of IPv4.
pub(super) fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let at = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    if packet.first()? >> 4 != 4 { None } else { Some((at(12)?, at(16)?)) }
}

/// Whether it is a datagram.
pub(super) fn is_datagram(packet: &[u8]) -> bool {
    packet.get(9) == Some(&UDP)
}

/// The stream that a packet belongs to, if it is of one.
fn flow(packet: &[u8]) -> Option<Flow> {
    let header = usize::from(packet.first()? & 15) * 4;
    let ports = packet.get(header..header + 4)?.try_into().ok()?;
    (packet[9] == TCP).then_some((packet.get(12..20)?.try_into().ok()?, ports))
}

/// A line; the caller says when the packet that it sends is through.
#[derive(Debug)]
pub(super) struct Line {
    bytes_per_second: u64,
    /// Bytes of datagrams that may wait.
    queue_bytes: usize,
    datagrams: VecDeque<Packet>,
    datagram_bytes: usize,
    streams: BTreeMap<Flow, Waiting>,
    /// Streams with something to send.
    turns: VecDeque<Flow>,
    sending: Option<Packet>,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<Packet>,
    deficit: i64,
}

impl Line {
    /// A line on which datagrams wait for so long at most. Streams wait as long as they have to, as in the
    /// simulator: what a stream has on its way is bounded by its window.
    pub(super) fn new(bytes_per_second: u64, queue: Duration) -> Line {
        Line {
            bytes_per_second,
            queue_bytes: (bytes_per_second as f64 * queue.as_secs_f64()) as usize,
            datagrams: VecDeque::new(),
            datagram_bytes: 0,
            streams: BTreeMap::new(),
            turns: VecDeque::new(),
            sending: None,
        }
    }

    /// Takes a packet, or drops it: whether it was taken.
    pub(super) fn push(&mut self, packet: Packet) -> bool {
        let len = packet.len();
        let Some(flow) = flow(&packet) else {
            if self.datagram_bytes + len > self.queue_bytes {
                return false;
            }
            self.datagram_bytes += len;
            self.datagrams.push_back(packet);
            return true;
        };
        let stream = self.streams.entry(flow).or_default();
        if stream.packets.is_empty() {
            self.turns.push_back(flow);
        }
        stream.packets.push_back(packet);
        true
    }

    /// If it sends nothing and something waits: begins with that, and says how long it takes.
    pub(super) fn start(&mut self) -> Option<Duration> {
        if self.sending.is_some() {
            return None;
        }
        let packet = self.pop()?;
        let span = packet.len() as u64 * 1_000_000_000 / self.bytes_per_second.max(1);
        self.sending = Some(packet);
        Some(Duration::from_nanos(span))
    }

    /// What it sent is through.
    pub(super) fn through(&mut self) -> Option<Packet> {
        self.sending.take()
    }

    fn pop(&mut self) -> Option<Packet> {
        if let Some(packet) = self.datagrams.pop_front() {
            self.datagram_bytes -= packet.len();
            return Some(packet);
        }
        loop {
            let flow = *self.turns.front()?;
            let Some(stream) = self.streams.get_mut(&flow) else {
                self.turns.pop_front();
                continue;
            };
            let Some(len) = stream.packets.front().map(Vec::len) else {
                // Nothing waits: it begins anew when something does.
                self.streams.remove(&flow);
                self.turns.pop_front();
                continue;
            };
            if stream.deficit < len as i64 {
                stream.deficit += QUANTUM;
                self.turns.rotate_left(1);
                continue;
            }
            stream.deficit -= len as i64;
            let packet = stream.packets.pop_front();
            if stream.packets.is_empty() {
                self.streams.remove(&flow);
                self.turns.pop_front();
            }
            return packet;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of a protocol from a port.
    fn packet(protocol: u8, port: u8, len: usize) -> Packet {
        let mut packet = vec![0; len];
        (packet[0], packet[9], packet[21]) = (0x45, protocol, port);
        packet
    }

    fn order(line: &mut Line) -> Vec<u8> {
        std::iter::from_fn(|| {
            line.start()?;
            line.through().map(|packet| packet[21])
        })
        .collect()
    }

    fn line() -> Line {
        Line::new(100_000, Duration::from_millis(100))
    }

    #[test]
    fn a_packet_takes_its_time_and_one_goes_after_the_other() {
        let mut line = line();
        assert!(line.push(packet(TCP, 1, 1_500)) && line.push(packet(TCP, 1, 1_500)));
        assert_eq!(line.start(), Some(Duration::from_millis(15)));
        assert_eq!(line.start(), None);
        assert!(line.through().is_some() && line.start().is_some());
    }

    #[test]
    fn streams_take_turns_and_datagrams_go_first() {
        let mut line = line();
        for _ in 0..3 {
            assert!(line.push(packet(TCP, 1, 1_500)));
        }
        for _ in 0..3 {
            assert!(line.push(packet(TCP, 2, 1_500)));
        }
        assert!(line.push(packet(UDP, 3, 100)));
        assert_eq!(order(&mut line), [3, 1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn small_packets_of_a_stream_have_as_many_bytes_as_full_ones() {
        let mut line = line();
        for _ in 0..30 {
            assert!(line.push(packet(TCP, 1, 150)));
        }
        for _ in 0..3 {
            assert!(line.push(packet(TCP, 2, 1_500)));
        }
        let order = order(&mut line);
        let last_of_2 = order.iter().rposition(|&port| port == 2).unwrap();
        assert!((20..=33).contains(&last_of_2), "{order:?}");
    }

    #[test]
    fn datagrams_wait_no_longer_than_they_may() {
        let mut line = line();
        let mut taken =
            |protocol, port| (0..20).filter(|_| line.push(packet(protocol, port, 1_000))).count();
        assert_eq!([(TCP, 1), (UDP, 2), (UDP, 3)].map(|(p, n)| taken(p, n)), [20, 10, 0]);
    }
}
