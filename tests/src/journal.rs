//! What a torrent's journal says, read by its format alone.
//!
//! Nothing here is the project's own code: it would share its mistakes.

use std::collections::BTreeSet;

/// Bytes before the info dict: magic, version, its length, the info-hash.
const HEAD_LEN: usize = 36;
const RECORD_LEN: usize = 32;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// These pieces may be half written.
    Dirty(Vec<u32>),
    /// These pieces are on stable storage.
    Kept(Vec<u32>),
    /// These pieces are not there.
    Lost(Vec<u32>),
    /// These blocks of an unfinished piece are on stable storage.
    Part(u32, Vec<u32>),
    /// All is as it says.
    Clean,
    /// A file's state, or the time.
    Other,
}

/// All that a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The records with the places of their first bytes.
    pub records: Vec<(u64, Record)>,
    /// Pieces on stable storage, after the last record.
    pub kept: BTreeSet<u32>,
    /// Blocks of unfinished pieces on stable storage: piece and block.
    pub parts: BTreeSet<(u32, u32)>,
}

impl Journal {
    /// What `bytes` say, up to the first damage. Without a whole header they say nothing.
    pub fn read(bytes: &[u8]) -> Journal {
        read(bytes).unwrap_or_default()
    }

    fn add(&mut self, place: usize, record: Record) {
        match &record {
            Record::Kept(pieces) => self.kept.extend(pieces),
            Record::Dirty(pieces) | Record::Lost(pieces) => {
                self.kept.retain(|piece| !pieces.contains(piece));
            }
            Record::Part(piece, blocks) if !self.kept.contains(piece) => {
                self.parts.extend(blocks.iter().map(|block| (*piece, *block)));
            }
            Record::Part(..) | Record::Clean | Record::Other => {}
        }
        if let Record::Kept(pieces) | Record::Lost(pieces) = &record {
            self.parts.retain(|(piece, _)| !pieces.contains(piece));
        }
        self.records.push((place as u64, record));
    }
}

fn read(bytes: &[u8]) -> Option<Journal> {
    let info_len = number(bytes, 12)? as usize;
    let head = bytes.get(..HEAD_LEN + info_len)?;
    let mut chain = crc32c::crc32c(head);
    if !head.starts_with(b"TRKLSJNL") || number(bytes, head.len())? != chain {
        return None;
    }
    let (mut journal, mut place) = (Journal::default(), head.len() + 4);
    while let Some(record) = bytes.get(place..place + RECORD_LEN) {
        chain = crc32c::crc32c_append(chain, &record[..28]);
        if number(record, 28)? != chain {
            break;
        }
        let index = number(record, 4)?;
        let is_set = |bit: &u32| record[8 + *bit as usize / 8] >> (bit % 8) & 1 == 1;
        let set = |group: u32| (0..128).filter(is_set).map(move |bit| group * 128 + bit);
        let pieces = set(index);
        let record = match record[0] {
            1 => Record::Dirty(pieces.collect()),
            2 => Record::Kept(pieces.collect()),
            3 => Record::Lost(pieces.collect()),
            6 => Record::Clean,
            7 => Record::Part(index, set(number(record, 24)?).collect()),
            _ => Record::Other,
        };
        journal.add(place, record);
        place += RECORD_LEN;
    }
    Some(journal)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A journal of an empty info dict with these records: kind and pieces, all below 128.
    pub(crate) fn journal(records: &[(u8, &[u32])]) -> Vec<u8> {
        let mut bytes =
            [b"TRKLSJNL\x01\0\0\0\x02\0\0\0".to_vec(), vec![9; 20], b"de".to_vec()].concat();
        let mut chain = crc32c::crc32c(&bytes);
        bytes.extend(chain.to_le_bytes());
        for (kind, pieces) in records {
            let mut record = [0; 28];
            record[0] = *kind;
            let bits = pieces.iter().fold(0u128, |bits, piece| bits | 1 << piece);
            record[8..24].copy_from_slice(&bits.to_le_bytes());
            chain = crc32c::crc32c_append(chain, &record);
            bytes.extend(record);
            bytes.extend(chain.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_last_word_on_a_piece_counts() {
        let bytes = journal(&[(1, &[0, 1, 2]), (2, &[0, 1, 127]), (3, &[1]), (5, &[]), (6, &[])]);
        let journal = Journal::read(&bytes);
        assert_eq!(journal.kept, BTreeSet::from([0, 127]));
        let places: Vec<_> = journal.records.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [42, 74, 106, 138, 170]);
        assert_eq!(journal.records[4].1, Record::Clean);
    }

    #[test]
    fn blocks_are_parts_until_their_piece_is_kept_or_lost() {
        // The piece of a part stands where a set has its group: 0 here.
        let parts = |records: &[(u8, &[u32])]| Journal::read(&journal(records)).parts;
        assert_eq!(parts(&[(1, &[0]), (7, &[1, 3]), (1, &[0])]), BTreeSet::from([(0, 1), (0, 3)]));
        for kind in [2, 3] {
            assert!(parts(&[(7, &[1, 3]), (kind, &[0])]).is_empty());
        }
        assert!(parts(&[(2, &[0]), (7, &[1])]).is_empty());
    }

    #[test]
    fn what_follows_damage_does_not_count() {
        let mut bytes = journal(&[(2, &[0]), (2, &[1]), (2, &[2])]);
        bytes[74 + 9] ^= 1;
        assert_eq!(Journal::read(&bytes).kept, BTreeSet::from([0]));
        bytes[20] ^= 1;
        assert_eq!(Journal::read(&bytes), Journal::default());
        assert_eq!(Journal::read(&[]), Journal::default());
    }
}
