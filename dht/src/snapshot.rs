//! What a node keeps between two runs: its ids and its contacts.

use std::fmt;

use wire::NodeId;
use wire::compact::{self, Family};

use crate::NodeInfo;

const MAGIC: &[u8; 8] = b"TLDHTSNP";
/// What follows the version is as here since 2; in 1 one id without a number.
const VERSION: u8 = 2;
/// Contacts of a family that a snapshot keeps, the first: far above what two tables of 160 buckets of 8
/// hold in any network.
pub const SNAPSHOT_CONTACTS_MAX: usize = 4096;
/// Bytes of a file: everything else is refused before it is looked at.
pub const SNAPSHOT_BYTES_MAX: usize =
    8 + 1 + 1 + 255 * 20 + 2 + 2 + SNAPSHOT_CONTACTS_MAX * (26 + 38) + 4;

/// A node's ids and contacts.
///
/// As bytes: magic, version, number of ids (u8), the ids, number of v4 contacts and of v6 contacts (u16 big-endian each),
/// the contacts as compact node infos, and the crc32c of all that (u32 big-endian).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The node's id at each of its sockets, at most 255.
    pub ids: Vec<NodeId>,
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
        let ids = &self.ids[..self.ids.len().min(255)];
        out.push(ids.len() as u8);
        ids.iter().for_each(|id| out.extend_from_slice(id.as_bytes()));
        let of = |family| {
            let fits = move |c: &&NodeInfo| Family::of(&c.addr) == family;
            self.contacts.iter().filter(fits).take(SNAPSHOT_CONTACTS_MAX)
        };
        for family in [Family::V4, Family::V6] {
            out.extend_from_slice(&(of(family).count() as u16).to_be_bytes());
        }
        for contact in of(Family::V4).chain(of(Family::V6)) {
            compact::put_node(&mut out, &contact.id, &contact.addr);
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
        let (ids, body) = match version {
            1 => (1, body),
            _ => body.split_first().map(|(ids, body)| (usize::from(*ids), body))?,
        };
        let (ids, body) = body.split_at_checked(20 * ids)?;
        let (v4, body) = body.split_first_chunk::<2>()?;
        let (v6, body) = body.split_first_chunk::<2>()?;
        let v4_len = usize::from(u16::from_be_bytes(*v4)) * Family::V4.node_len();
        let v6_len = usize::from(u16::from_be_bytes(*v6)) * Family::V6.node_len();
        if body.len() != v4_len + v6_len {
            return None;
        }
        let (v4, v6) = body.split_at(v4_len);
        let nodes = compact::nodes(v4, Family::V4)?.chain(compact::nodes(v6, Family::V6)?);
        let contacts = nodes.map(|(id, addr)| NodeInfo { id, addr }).collect();
        let (ids, _) = ids.as_chunks::<20>();
        Some(Snapshot { ids: ids.iter().map(|id| wire::Id(*id)).collect(), contacts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;

    fn example() -> Snapshot {
        let contact = |n: u8, addr: &str| NodeInfo { id: Id([n; 20]), addr: addr.parse().unwrap() };
        Snapshot {
            ids: vec![Id([7; 20]), Id([8; 20])],
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
        let empty = Snapshot { ids: vec![], contacts: vec![] };
        assert_eq!(Snapshot::decode(&empty.encode()), Ok(empty));
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
        let bytes = Snapshot { ids: vec![Id::ZERO; 300], contacts }.encode();
        assert!(bytes.len() <= SNAPSHOT_BYTES_MAX);
        assert_eq!(Snapshot::decode(&bytes).unwrap().contacts.len(), SNAPSHOT_CONTACTS_MAX);
    }
}
