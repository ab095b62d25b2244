//! Compact addresses: 6 bytes for v4, 18 for v6 (BEP 5, "Contact Encoding"; BEP 32).

use std::net::{IpAddr, SocketAddr};

use crate::id::{Id, NodeId};

/// Address family, which decides the length of a compact address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// 4-byte addresses.
    V4,
    /// 16-byte addresses.
    V6,
}

impl Family {
    /// The family of `addr`.
    pub fn of(addr: &SocketAddr) -> Family {
        if addr.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bytes of a compact address: 6 or 18.
    pub const fn addr_len(self) -> usize {
        match self {
            Family::V4 => 6,
            Family::V6 => 18,
        }
    }

    /// Bytes of a compact node info: 26 or 38.
    pub const fn node_len(self) -> usize {
        20 + self.addr_len()
    }
}

/// Appends the compact form of `addr`.
pub fn put_addr(out: &mut Vec<u8>, addr: &SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// Reads one compact address of 6 or 18 bytes; `None` for any other length.
pub fn addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    if let Ok(ip) = <[u8; 4]>::try_from(ip) {
        return Some(SocketAddr::from((ip, port)));
    }
    Some(SocketAddr::from((<[u8; 16]>::try_from(ip).ok()?, port)))
}

/// Reads a run of compact addresses; `None` if the length does not fit the family.
pub fn addrs(bytes: &[u8], family: Family) -> Option<impl Iterator<Item = SocketAddr> + '_> {
    let len = family.addr_len();
    bytes.len().is_multiple_of(len).then(|| bytes.chunks_exact(len).filter_map(addr))
}

/// Appends a compact node info: id, then address (BEP 5, "Contact Encoding").
pub fn put_node(out: &mut Vec<u8>, id: &NodeId, addr: &SocketAddr) {
    out.extend_from_slice(id.as_bytes());
    put_addr(out, addr);
}

/// Reads one compact node info of 26 or 38 bytes; `None` for any other length.
pub fn node(bytes: &[u8]) -> Option<(NodeId, SocketAddr)> {
    let (id, rest) = bytes.split_first_chunk::<20>()?;
    Some((Id(*id), addr(rest)?))
}

/// Reads a run of compact node infos; `None` if the length does not fit the family.
pub fn nodes(
    bytes: &[u8],
    family: Family,
) -> Option<impl Iterator<Item = (NodeId, SocketAddr)> + '_> {
    let len = family.node_len();
    bytes.len().is_multiple_of(len).then(|| bytes.chunks_exact(len).filter_map(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for text in ["1.2.3.4:6881", "[2001:db8::7]:1"] {
            let a: SocketAddr = text.parse().unwrap();
            let mut bytes = Vec::new();
            put_addr(&mut bytes, &a);
            assert_eq!(addr(&bytes), Some(a));
            put_addr(&mut bytes, &a);
            assert_eq!(addrs(&bytes, Family::of(&a)).unwrap().collect::<Vec<_>>(), [a, a]);
        }
        assert_eq!(addr(&[1; 7]), None);
        assert_eq!(addr(&[]), None);
    }

    #[test]
    fn a_list_of_odd_length_is_refused() {
        assert!(nodes(&[0; 25], Family::V4).is_none());
        assert!(nodes(&[0; 52], Family::V4).is_some_and(|n| n.count() == 2));
        assert!(nodes(&[0; 38], Family::V6).is_some_and(|n| n.count() == 1));
        assert!(nodes(&[], Family::V6).is_some_and(|n| n.count() == 0));
    }
}
