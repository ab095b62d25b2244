//! What a node keeps between two runs: its ids and its contacts.

use std::fmt;

use wire::compact::{self, Family};

use crate::NodeInfo;

const MAGIC: &[u8; 8] = b"TLDHTSNP";
/// In version 1 an id stood where nodes of our own stand since.
const VERSION: u8 = 2;
/// Contacts of a family that a snapshot keeps, the first: four times what the table of one socket holds
/// in an overlay of a million nodes.
pub const SNAPSHOT_CONTACTS_MAX: usize = 4096;
/// Bytes of a file: everything else is refused before it is looked at.
pub const SNAPSHOT_BYTES_MAX: usize = 8 + 1 + 8 + (255 + SNAPSHOT_CONTACTS_MAX) * (26 + 38) + 4;

/// What a node is at each of its sockets, and its contacts.
///
/// As bytes: magic, version; number of our nodes and of contacts, of IPv4 and of IPv6 each (four u16
/// big-endian); all these as compact node infos in this order, and the crc32c of all that (u32
/// big-endian).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// The node's id at each of its sockets, at most 255 a family.
    pub own: Vec<NodeInfo>,
    /// Its contacts.
    pub contacts: Vec<NodeInfo>,
}

/// Why bytes are no snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    /// The magic is missing: this is another kind of file.
    Foreign,
    /// A version that this code does not know.
    Version(u8),
    /// The length or the checksum does not fit: the file is damaged.
    Damaged,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Foreign => f.write_str("not a snapshot of a DHT node"),
            SnapshotError::Version(version) => write!(f, "snapshot of unknown version {version}"),
            SnapshotError::Damaged => f.write_str("damaged snapshot"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl Snapshot {
    /// The snapshot as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.contacts.len() * 38);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        let lists = [(&self.own, 255), (&self.contacts, SNAPSHOT_CONTACTS_MAX)];
        let lists = lists.into_iter().flat_map(|(list, max)| {
            [Family::V4, Family::V6].map(|family| {
                let of = list.iter().filter(move |node| Family::of(&node.addr) == family);
                of.take(max).collect::<Vec<_>>()
            })
        });
        let lists: Vec<_> = lists.collect();
        for list in &lists {
            out.extend_from_slice(&(list.len() as u16).to_be_bytes());
        }
        for node in lists.into_iter().flatten() {
            compact::put_node(&mut out, &node.id, &node.addr);
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// Reads what [`Snapshot::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Foreign)?;
        let (&version, _) = rest.split_first().ok_or(SnapshotError::Damaged)?;
        if !(1..=VERSION).contains(&version) {
            return Err(SnapshotError::Version(version));
        }
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(SnapshotError::Damaged)?;
        if bytes.len() > SNAPSHOT_BYTES_MAX || crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return Err(SnapshotError::Damaged);
        }
        Snapshot::decode_body(version, &body[MAGIC.len() + 1..]).ok_or(SnapshotError::Damaged)
    }

    fn decode_body(version: u8, body: &[u8]) -> Option<Snapshot> {
        let (mut own, mut body) = (Vec::new(), body);
        let mut lens = [0; 4];
        if version == 1 {
            let (id, rest) = body.split_first_chunk::<20>()?;
            own.push(NodeInfo { id: wire::Id(*id), addr: ([0; 4], 0).into() });
            body = rest;
        }
        for len in &mut lens[if version == 1 { 2 } else { 0 }..] {
            let (bytes, rest) = body.split_first_chunk::<2>()?;
            (*len, body) = (usize::from(u16::from_be_bytes(*bytes)), rest);
        }
        let mut contacts = Vec::new();
        for (n, len) in lens.into_iter().enumerate() {
            let family = if n % 2 == 0 { Family::V4 } else { Family::V6 };
            let (bytes, rest) = body.split_at_checked(len * family.node_len())?;
            let nodes = compact::nodes(bytes, family)?.map(|(id, addr)| NodeInfo { id, addr });
            if n < 2 {
                own.extend(nodes)
            } else {
                contacts.extend(nodes)
            }
            body = rest;
        }
        body.is_empty().then_some(Snapshot { own, contacts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;

    fn example() -> Snapshot {
        let contact = |n: u8, addr: &str| NodeInfo { id: Id([n; 20]), addr: addr.parse().unwrap() };
        Snapshot {
            own: vec![contact(7, "0.0.0.0:1"), contact(8, "[::]:1")],
            contacts: vec![
                contact(1, "1.2.3.4:5"),
                contact(2, "8.8.8.8:53"),
                contact(3, "[::1]:9"),
            ],
        }
    }

    #[test]
    fn goes_there_and_back() {
        let bytes = example().encode();
        assert_eq!(Snapshot::decode(&bytes), Ok(example()));
        let empty = Snapshot::default();
        assert_eq!(Snapshot::decode(&empty.encode()), Ok(empty));
    }

    /// What version 1 wrote of the id 0707... and the first contact.
    #[test]
    fn the_version_before_is_read() {
        let mut bytes = b"TLDHTSNP\x01".to_vec();
        bytes.extend_from_slice(&[7; 20]);
        bytes.extend_from_slice(&[0, 1, 0, 0]);
        bytes.extend_from_slice(&[1; 20]);
        bytes.extend_from_slice(&[1, 2, 3, 4, 0, 5]);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        let snapshot = Snapshot::decode(&bytes).unwrap();
        assert_eq!(snapshot.own[0].id, Id([7; 20]));
        assert_eq!((snapshot.own.len(), &snapshot.contacts[..]), (1, &example().contacts[..1]));
    }

    #[test]
    fn any_damage_is_an_error() {
        let bytes = example().encode();
        for len in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..len]).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert!(Snapshot::decode(&damaged).is_err(), "byte {at}");
        }
        assert_eq!(Snapshot::decode(b"something else"), Err(SnapshotError::Foreign));
        let mut newer = bytes;
        newer[8] = 9;
        assert_eq!(Snapshot::decode(&newer), Err(SnapshotError::Version(9)));
    }

    #[test]
    fn more_contacts_than_allowed_are_left_out() {
        let contacts: Vec<_> = (0..9000u32)
            .map(|n| NodeInfo { id: Id::ZERO, addr: (n.to_be_bytes(), 1).into() })
            .collect();
        let bytes = Snapshot { own: contacts.clone(), contacts }.encode();
        assert!(bytes.len() <= SNAPSHOT_BYTES_MAX);
        assert_eq!(Snapshot::decode(&bytes).unwrap().contacts.len(), SNAPSHOT_CONTACTS_MAX);
    }
}
