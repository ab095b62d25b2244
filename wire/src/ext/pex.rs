//! Peer exchange (BEP 11).

use std::net::SocketAddr;

use crate::bencode::{Encoder, Error, Limits, Value};
use crate::compact::{self, Family};

/// Peers read of each list (libtorrent: at most 100 of one message).
const PEERS_MAX: usize = 100;

/// A peer that another tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PexPeer {
    /// Where it is.
    pub addr: SocketAddr,
    /// BEP 11, "added.f": 1 prefers encryption, 2 seed, 4 uTP, 8 holepunch, 16 outgoing.
    pub flags: u8,
}

/// Who came to and left a peer's set since its last message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pex {
    /// Came.
    pub added: Vec<PexPeer>,
    /// Left.
    pub dropped: Vec<SocketAddr>,
}

impl Pex {
    /// Reads a message. Lists of wrong type or length count as missing.
    ///
    /// # Errors
    /// It is no bencoded dict.
    pub fn parse(payload: &[u8]) -> Result<Pex, Error> {
        let (dict, _) = Value::parse_prefix(payload, Limits::EXTENSION)?;
        if dict.as_dict().is_none() {
            return Err(Error::Unexpected(0));
        }
        let bytes = |key: &[u8]| dict.get(key).and_then(|v| v.as_bytes()).unwrap_or_default();
        let mut pex = Pex::default();
        for (added, flags, dropped, family) in [
            (&b"added"[..], &b"added.f"[..], &b"dropped"[..], Family::V4),
            (b"added6", b"added6.f", b"dropped6", Family::V6),
        ] {
            let flags = bytes(flags);
            let peers = compact::addrs(bytes(added), family).into_iter().flatten();
            pex.added.extend(
                peers
                    .take(PEERS_MAX)
                    .enumerate()
                    .map(|(at, addr)| PexPeer { addr, flags: flags.get(at).copied().unwrap_or(0) }),
            );
            let gone = compact::addrs(bytes(dropped), family).into_iter().flatten();
            pex.dropped.extend(gone.take(PEERS_MAX));
        }
        Ok(pex)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let of = |family| move |addr: &&SocketAddr| Family::of(addr) == family;
        let list = |addrs: &mut dyn Iterator<Item = &SocketAddr>| {
            let mut bytes = Vec::new();
            addrs.for_each(|addr| compact::put_addr(&mut bytes, addr));
            bytes
        };
        let added = |family| list(&mut self.added.iter().map(|p| &p.addr).filter(of(family)));
        let dropped = |family| list(&mut self.dropped.iter().filter(of(family)));
        let flags = |family| -> Vec<u8> {
            let peers = self.added.iter().filter(|p| Family::of(&p.addr) == family);
            peers.map(|peer| peer.flags).collect()
        };
        Encoder::new(out).dict(|dict| {
            dict.key(b"added").bytes(&added(Family::V4));
            dict.key(b"added.f").bytes(&flags(Family::V4));
            dict.key(b"added6").bytes(&added(Family::V6));
            dict.key(b"added6.f").bytes(&flags(Family::V6));
            dict.key(b"dropped").bytes(&dropped(Family::V4));
            dict.key(b"dropped6").bytes(&dropped(Family::V6));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let pex = Pex {
            added: vec![
                PexPeer { addr: addr("1.2.3.4:5"), flags: 2 },
                PexPeer { addr: addr("[2001:db8::1]:6"), flags: 0x10 },
            ],
            dropped: vec![addr("9.8.7.6:5"), addr("[::1]:1")],
        };
        let mut out = Vec::new();
        pex.encode(&mut out);
        assert_eq!(Pex::parse(&out), Ok(pex));
    }

    #[test]
    fn odd_lists_count_as_missing_and_long_ones_are_cut() {
        assert_eq!(Pex::parse(b"d5:added5:abcdee"), Ok(Pex::default()));
        assert_eq!(Pex::parse(b"d5:addedi5ee"), Ok(Pex::default()));
        assert!(Pex::parse(b"i5e").is_err());
        let long = format!("d5:added6000:{}e", "abcdef".repeat(1000));
        assert_eq!(Pex::parse(long.as_bytes()).unwrap().added.len(), PEERS_MAX);
    }
}
