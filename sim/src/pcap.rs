//! Packets as a pcap file has them (IETF draft-ietf-opsawg-pcap), from IP up: what `tcpdump` writes and
//! Wireshark reads.

use std::net::{IpAddr, SocketAddr};

use wire::time::Time;

/// Microseconds (pcap, 4: magic number).
const MAGIC: u32 = 0xa1b2_c3d4;
/// Packets begin with an IP header (LINKTYPE_RAW).
const LINK_TYPE: u32 = 101;
/// No packet is cut.
const SNAP_LEN: u32 = 65_535;
const TTL: u8 = 64;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
/// What is told in `SYN`s (RFC 9293, 3.2; RFC 7323, 2): segments of 1,460 bytes, and windows in units of
/// 128 bytes.
const SYN_OPTIONS: [u8; 8] = [2, 4, (1_460 >> 8) as u8, (1_460 & 0xff) as u8, 3, 3, 7, 1];

/// Flags of a segment (RFC 9293, 3.1).
pub(crate) mod flags {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const PSH: u8 = 8;
    pub(crate) const ACK: u8 = 16;
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
}

/// The head of a file.
pub(crate) fn file_head() -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    // Version 2.4, and twice nothing.
    out.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&SNAP_LEN.to_le_bytes());
    out.extend_from_slice(&LINK_TYPE.to_le_bytes());
    out
}

/// Appends a UDP datagram between two addresses of one family; `ident` tells IPv4 packets apart.
pub(crate) fn udp(
    out: &mut Vec<u8>,
    at: Time,
    ident: u16,
    (from, to): (SocketAddr, SocketAddr),
    payload: &[u8],
) {
    let len = UDP_HEADER + payload.len();
    let start = begin(out, at, ident, (from.ip(), to.ip()), UDP, len);
    for field in [from.port(), to.port(), len as u16, 0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(payload);
    // None at all would be written as zero (RFC 768).
    let sum = match checksum(pseudo(from.ip(), to.ip(), UDP, len), &out[start..]) {
        0 => 0xffff,
        sum => sum,
    };
    out[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
}

/// Appends a TCP segment, likewise.
pub(crate) fn tcp(
    out: &mut Vec<u8>,
    at: Time,
    ident: u16,
    (from, to): (SocketAddr, SocketAddr),
    segment: Segment<'_>,
) {
    let options = if segment.flags & flags::SYN != 0 { &SYN_OPTIONS[..] } else { &[] };
    let header = TCP_HEADER + options.len();
    let len = header + segment.payload.len();
    let start = begin(out, at, ident, (from.ip(), to.ip()), TCP, len);
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out.extend_from_slice(&segment.seq.to_be_bytes());
    out.extend_from_slice(&segment.ack.to_be_bytes());
    // The window is as wide as can be; checksum and urgent pointer follow.
    out.extend_from_slice(&[(header as u8 / 4) << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend_from_slice(options);
    out.extend_from_slice(segment.payload);
    let sum = checksum(pseudo(from.ip(), to.ip(), TCP, len), &out[start..]);
    out[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
}

/// Appends the record's head and the IP header of a packet with `len` bytes behind it. Returns where
/// those begin.
fn begin(
    out: &mut Vec<u8>,
    at: Time,
    ident: u16,
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    len: usize,
) -> usize {
    let header = if from.is_ipv4() { 20 } else { 40 };
    let total = header + len;
    let us = at.as_micros();
    for field in [(us / 1_000_000) as u32, (us % 1_000_000) as u32, total as u32, total as u32] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let start = out.len();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&(total as u16).to_be_bytes());
            out.extend_from_slice(&ident.to_be_bytes());
            // It is not to be split (RFC 791).
            out.extend_from_slice(&[0x40, 0, TTL, protocol, 0, 0]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            let sum = checksum(0, &out[start..]);
            out[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&(len as u16).to_be_bytes());
            out.extend_from_slice(&[protocol, TTL]);
            out.extend_from_slice(&octets_v6(from));
            out.extend_from_slice(&octets_v6(to));
        }
    }
    out.len()
}

fn octets_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The sum of what is said of addresses, protocol and length beside the packet itself (RFC 9293, 3.1;
/// RFC 8200, 8.1).
fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> u32 {
    let ips = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (from, to) => sum(&octets_v6(from)) + sum(&octets_v6(to)),
    };
    ips + u32::from(protocol) + len as u32
}

/// The sum of the words; of at most 128 KiB it cannot run over.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last
}

/// The Internet checksum (RFC 1071) of `bytes` and what `before` has added up.
fn checksum(before: u32, bytes: &[u8]) -> u16 {
    let mut sum = before + sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn datagrams_are_as_the_rfcs_say() {
        // Its checksums were made by another program.
        let mut out = Vec::new();
        let ends = |a: &str, b: &str| (a.parse().unwrap(), b.parse().unwrap());
        let at = Time::from_micros(7_000_009);
        udp(&mut out, at, 0x1234, ends("192.0.2.1:6881", "198.51.100.7:53"), b"abc");
        let record = "07000000 09000000 1f000000 1f000000";
        let ip = "4500001f 1234 4000 40 11 3c5e c0000201 c6336407";
        let udp_header = "1ae1 0035 000b 3423";
        let want = format!("{record}{ip}{udp_header}616263").replace(' ', "");
        assert_eq!(hex(&out), want);
        out.clear();
        udp(&mut out, at, 1, ends("[2001:db8::1]:6881", "[2001:db8::2]:53"), b"abc");
        assert_eq!(hex(&out[16..24]), "60000000000b1140");
        assert_eq!(out.len(), 16 + 40 + 8 + 3);
        // All words with their checksum add up to nothing.
        let packet = &out[16..];
        let ends = sum(&packet[8..40]) + u32::from(UDP) + 11;
        assert_eq!(checksum(ends, &packet[40..]), 0);
    }

    #[test]
    fn a_checksum_of_nothing_is_written_as_all_ones() {
        // Found by trying: what adds up to all ones.
        let from: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let (mut out, mut seen) = (Vec::new(), false);
        for n in 0..=u16::MAX {
            out.clear();
            udp(&mut out, Time::ZERO, 0, (from, from), &n.to_be_bytes());
            assert_ne!(out[16 + 26..16 + 28], [0, 0]);
            seen |= out[16 + 26..16 + 28] == [0xff, 0xff];
        }
        assert!(seen);
    }
}
