//! The journal: what of a torrent is on stable storage, beside its info dict.
//!
//! ```text
//! header  magic 8 | version u32 | length of the info dict u32 | info-hash 20 | info dict | crc32c
//! record  kind u8 | 0 0 0 | index u32 | body 20 | crc32c          32 bytes, appended only
//! ```
//!
//! All numbers little-endian. Each checksum goes on from the one before it, so a record is valid
//! only behind exactly the records that it was written behind: what follows the first bad record is
//! cut, and nothing that an earlier run left beyond the cut can come to life again.

use std::collections::BTreeMap;

use wire::bitfield::Bitfield;
use wire::{Id, InfoHash};

use crate::disk::FileStat;

const MAGIC: [u8; 8] = *b"TRKLSJNL";
const VERSION: u32 = 1;
/// Header before the info dict.
const HEAD_LEN: usize = 8 + 4 + 4 + 20;
const CRC_LEN: usize = 4;
/// Bytes of a record.
pub(super) const RECORD_LEN: usize = 32;
/// Pieces in one record of a set.
const SET_LEN: u32 = 128;

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// These pieces may be half written from here on; they are not kept.
    Dirty(PieceSet),
    /// These pieces are on stable storage.
    Kept(PieceSet),
    /// These pieces are not there, whatever was said before.
    Lost(PieceSet),
    /// A file's state when all that was kept so far lay in it.
    File {
        /// Its place in the info dict.
        index: u32,
        /// Its state.
        stamp: Stamp,
    },
    /// The file system's clock, by the journal's own mtime, shortly before pieces are written.
    Alive {
        /// Nanoseconds since 1970.
        mtime_ns: i64,
    },
    /// Nothing is under way: every file is as its last record says.
    Clean,
    /// These blocks of an unfinished piece are on stable storage, and nobody knows whether they
    /// are right.
    Part {
        /// The piece.
        piece: u32,
        /// Which blocks.
        blocks: BlockSet,
    },
    /// A file is not in its place: what is kept of it from here on lies in the part file.
    Apart {
        /// Its place in the info dict.
        index: u32,
    },
    /// From here on files are made and written.
    Begun,
    /// These pieces are to be read: they count as kept no more, and we have not written to them.
    Doubt(PieceSet),
}

/// What of a file's state tells whether somebody changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) len: u64,
    /// Nanoseconds since 1970.
    pub(super) mtime_ns: i64,
}

impl From<FileStat> for Stamp {
    fn from(stat: FileStat) -> Stamp {
        Stamp { len: stat.len, mtime_ns: stat.mtime_ns }
    }
}

/// Up to 128 blocks of one piece, from `group` x 128 on.
pub(super) type BlockSet = PieceSet;

/// Up to 128 pieces, from `group` x 128 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceSet {
    group: u32,
    bits: u128,
}

impl PieceSet {
    /// All of `pieces`, in as few sets as it takes if they are in order.
    pub(super) fn all(pieces: impl IntoIterator<Item = u32>) -> Vec<PieceSet> {
        let mut sets: Vec<PieceSet> = Vec::new();
        for piece in pieces {
            let (group, bit) = (piece / SET_LEN, 1u128 << (piece % SET_LEN));
            match sets.last_mut() {
                Some(last) if last.group == group => last.bits |= bit,
                _ => sets.push(PieceSet { group, bits: bit }),
            }
        }
        sets
    }

    fn pieces(self) -> impl Iterator<Item = u32> {
        (0..SET_LEN)
            .filter(move |i| self.bits >> i & 1 == 1)
            .map(move |i| self.group.saturating_mul(SET_LEN).saturating_add(i))
    }
}

impl Record {
    fn encode(self, chain: u32) -> ([u8; RECORD_LEN], u32) {
        let mut body = [0; 20];
        let (kind, index) = match self {
            Record::Dirty(set) | Record::Kept(set) | Record::Lost(set) | Record::Doubt(set) => {
                body[..16].copy_from_slice(&set.bits.to_le_bytes());
                let kind = match self {
                    Record::Dirty(_) => 1,
                    Record::Kept(_) => 2,
                    Record::Lost(_) => 3,
                    _ => 10,
                };
                (kind, set.group)
            }
            Record::File { index, stamp } => {
                body[..8].copy_from_slice(&stamp.len.to_le_bytes());
                body[8..16].copy_from_slice(&stamp.mtime_ns.to_le_bytes());
                (4, index)
            }
            Record::Alive { mtime_ns } => {
                body[..8].copy_from_slice(&mtime_ns.to_le_bytes());
                (5, 0)
            }
            Record::Clean => (6, 0),
            Record::Part { piece, blocks } => {
                body[..16].copy_from_slice(&blocks.bits.to_le_bytes());
                body[16..].copy_from_slice(&blocks.group.to_le_bytes());
                (7, piece)
            }
            Record::Apart { index } => (8, index),
            Record::Begun => (9, 0),
        };
        let mut out = [0; RECORD_LEN];
        out[0] = kind;
        out[4..8].copy_from_slice(&index.to_le_bytes());
        out[8..28].copy_from_slice(&body);
        let crc = crc32c::crc32c_append(chain, &out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// The record in `bytes` and the checksum to go on from, or None if it does not stand behind
    /// `chain`.
    fn decode(bytes: &[u8; RECORD_LEN], chain: u32) -> Option<(Record, u32)> {
        let crc = crc32c::crc32c_append(chain, &bytes[..28]);
        if u32_at(bytes, 28)? != crc {
            return None;
        }
        let index = u32_at(bytes, 4)?;
        let set = || Some(PieceSet { group: index, bits: u128_at(bytes, 8)? });
        let record = match bytes[0] {
            1 => Record::Dirty(set()?),
            2 => Record::Kept(set()?),
            3 => Record::Lost(set()?),
            4 => {
                let stamp = Stamp { len: u64_at(bytes, 8)?, mtime_ns: i64_at(bytes, 16)? };
                Record::File { index, stamp }
            }
            5 => Record::Alive { mtime_ns: i64_at(bytes, 8)? },
            6 => Record::Clean,
            7 => {
                let blocks = BlockSet { group: u32_at(bytes, 24)?, bits: u128_at(bytes, 8)? };
                Record::Part { piece: index, blocks }
            }
            8 => Record::Apart { index },
            9 => Record::Begun,
            10 => Record::Doubt(set()?),
            _ => return None,
        };
        Some((record, crc))
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    array_at(bytes, at).map(i64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    array_at(bytes, at).map(u128::from_le_bytes)
}

/// A journal's header, checked against its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its info dict, as it was bencoded.
    pub info: &'a [u8],
    crc: u32,
}

/// Reads the header of a journal's bytes; None if it is damaged or of another version.
pub fn read_header(bytes: &[u8]) -> Option<Header<'_>> {
    if bytes.get(..8)? != MAGIC || u32_at(bytes, 8)? != VERSION {
        return None;
    }
    let info_end = HEAD_LEN.checked_add(usize::try_from(u32_at(bytes, 12)?).ok()?)?;
    let crc = crc32c::crc32c(bytes.get(..info_end)?);
    if u32_at(bytes, info_end)? != crc {
        return None;
    }
    let info_hash = Id(array_at(bytes, 16)?);
    Some(Header { info_hash, info: bytes.get(HEAD_LEN..info_end)?, crc })
}

/// The info dict in a journal's bytes, for a magnet link that was begun in an earlier run. The
/// caller compares its hash.
pub fn read_info(bytes: &[u8]) -> Option<Vec<u8>> {
    read_header(bytes).map(|header| header.info.to_vec())
}

/// The pieces that a journal's bytes say are kept, of a torrent with so many pieces and files, and
/// where its valid part ends. None if its header is bad or another torrent's.
pub fn read_kept(
    bytes: &[u8],
    info_hash: &InfoHash,
    pieces: u32,
    files: usize,
) -> Option<(Bitfield, u64)> {
    Replay::read(bytes, info_hash, pieces, files).map(|replay| (replay.kept, replay.tail.end))
}

/// Where the next record goes, and the checksum that it goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Bytes of the journal so far.
    pub(super) end: u64,
    chain: u32,
}

impl Tail {
    /// A new journal's header, and the tail behind it.
    pub(super) fn start(info_hash: &InfoHash, info: &[u8]) -> (Vec<u8>, Tail) {
        let mut out = Vec::with_capacity(HEAD_LEN + info.len() + CRC_LEN);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        // An info dict is bounded far below 4 GiB where it is read.
        out.extend((info.len() as u32).to_le_bytes());
        out.extend(info_hash.as_bytes());
        out.extend(info);
        let chain = crc32c::crc32c(&out);
        out.extend(chain.to_le_bytes());
        let tail = Tail { end: out.len() as u64, chain };
        (out, tail)
    }

    /// The bytes of `records` for the place `self.end`, and the tail behind them.
    pub(super) fn encode(self, records: &[Record]) -> (Vec<u8>, Tail) {
        let mut tail = self;
        let mut out = Vec::with_capacity(records.len() * RECORD_LEN);
        for record in records {
            let (bytes, chain) = record.encode(tail.chain);
            out.extend(bytes);
            tail = Tail { end: tail.end + RECORD_LEN as u64, chain };
        }
        (out, tail)
    }
}

/// A file's recorded states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileRecord {
    /// The last.
    pub(super) last: Stamp,
    /// The lowest mtime since the journal was last clean, in nanoseconds since 1970.
    pub(super) oldest_ns: i64,
}

/// All that a journal says.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    /// Pieces on stable storage.
    pub(super) kept: Bitfield,
    /// Pieces that may be there or not.
    pub(super) dirty: Bitfield,
    /// Pieces that were written to and not kept since: a sync that failed may have left them in memory
    /// alone, and what is read of them proves nothing.
    pub(super) unsure: Bitfield,
    /// Blocks of unfinished pieces, by piece and group.
    pub(super) parts: BTreeMap<(u32, u32), u128>,
    /// By file. None of a file that was left out: what was kept of it lies in the part file.
    pub(super) files: Vec<Option<FileRecord>>,
    /// The file system's clock at the last note, in nanoseconds since 1970.
    pub(super) alive_ns: Option<i64>,
    /// Whether it ends with a clean stop.
    pub(super) clean: bool,
    /// Whether what lies in the files may be ours, by any of its records.
    pub(super) is_begun: bool,
    /// Where it goes on.
    pub(super) tail: Tail,
}

impl Replay {
    /// What a journal without records says.
    pub(super) fn empty(pieces: u32, files: usize, tail: Tail) -> Replay {
        Replay {
            kept: Bitfield::new(pieces),
            dirty: Bitfield::new(pieces),
            unsure: Bitfield::new(pieces),
            parts: BTreeMap::new(),
            files: vec![None; files],
            alive_ns: None,
            clean: false,
            is_begun: false,
            tail,
        }
    }

    /// Reads a journal up to its first bad record. None if the header is bad or another torrent's.
    pub(super) fn read(
        bytes: &[u8],
        info_hash: &InfoHash,
        pieces: u32,
        files: usize,
    ) -> Option<Replay> {
        let header = read_header(bytes).filter(|header| header.info_hash == *info_hash)?;
        let start = HEAD_LEN + header.info.len() + CRC_LEN;
        let tail = Tail { end: start as u64, chain: header.crc };
        let mut replay = Replay::empty(pieces, files, tail);
        for bytes in bytes.get(start..)?.chunks_exact(RECORD_LEN) {
            let Ok(bytes) = bytes.try_into() else { break };
            let Some((record, chain)) = Record::decode(bytes, replay.tail.chain) else { break };
            if !replay.apply(record) {
                break;
            }
            let end = replay.tail.end + RECORD_LEN as u64;
            replay.tail = Tail { end, chain };
        }
        Some(replay)
    }

    /// False if the record speaks of what the torrent does not have.
    fn apply(&mut self, record: Record) -> bool {
        self.clean = record == Record::Clean;
        // Journals of earlier versions have no record of its own for that.
        self.is_begun |= matches!(record, Record::Begun | Record::Kept(_) | Record::Alive { .. });
        match record {
            Record::Dirty(set) => self.each(set, |replay, piece| {
                replay.kept.clear(piece);
                replay.dirty.set(piece);
                replay.unsure.set(piece);
            }),
            Record::Doubt(set) => self.each(set, |replay, piece| {
                replay.kept.clear(piece);
                replay.dirty.set(piece);
            }),
            Record::Kept(set) => self.each(set, |replay, piece| {
                replay.kept.set(piece);
                replay.dirty.clear(piece);
                replay.unsure.clear(piece);
                replay.forget_part(piece);
            }),
            Record::Lost(set) => self.each(set, |replay, piece| {
                replay.kept.clear(piece);
                replay.dirty.clear(piece);
                replay.forget_part(piece);
            }),
            Record::Part { piece, blocks } => {
                let is_there = piece < self.kept.len();
                if is_there && !self.kept.get(piece) {
                    *self.parts.entry((piece, blocks.group)).or_default() |= blocks.bits;
                }
                is_there
            }
            Record::File { index, stamp } => {
                let Some(file) = self.files.get_mut(index as usize) else { return false };
                let oldest = file.map_or(i64::MAX, |file| file.oldest_ns).min(stamp.mtime_ns);
                *file = Some(FileRecord { last: stamp, oldest_ns: oldest });
                true
            }
            Record::Apart { index } => self.files.get_mut(index as usize).is_some_and(|file| {
                *file = None;
                true
            }),
            Record::Begun => true,
            Record::Alive { mtime_ns } => {
                self.alive_ns = Some(mtime_ns);
                true
            }
            Record::Clean => {
                self.dirty = Bitfield::new(self.dirty.len());
                self.alive_ns = None;
                for file in self.files.iter_mut().flatten() {
                    file.oldest_ns = file.last.mtime_ns;
                }
                true
            }
        }
    }

    fn each(&mut self, set: PieceSet, f: impl Fn(&mut Replay, u32)) -> bool {
        let count = self.kept.len();
        if set.pieces().any(|piece| piece >= count) {
            return false;
        }
        set.pieces().for_each(|piece| f(self, piece));
        true
    }

    fn forget_part(&mut self, piece: u32) {
        while let Some((&key, _)) = self.parts.range((piece, 0)..=(piece, u32::MAX)).next() {
            self.parts.remove(&key);
        }
    }

    /// The blocks of an unfinished piece that are on stable storage, of those before `count`.
    pub(super) fn part(&self, piece: u32, count: u32) -> Vec<u32> {
        self.parts
            .range((piece, 0)..=(piece, u32::MAX))
            .flat_map(|(&(_, group), &bits)| BlockSet { group, bits }.pieces())
            .filter(|block| *block < count)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Id = Id([7; 20]);
    const STAMP: Stamp = Stamp { len: 9, mtime_ns: 1_000 };

    fn sets(pieces: &[u32]) -> Vec<PieceSet> {
        PieceSet::all(pieces.iter().copied())
    }

    fn journal(records: &[Record]) -> Vec<u8> {
        let (mut bytes, tail) = Tail::start(&HASH, b"de");
        let (more, tail) = tail.encode(records);
        bytes.extend(more);
        assert_eq!(tail.end, bytes.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Replay> {
        Replay::read(bytes, &HASH, 300, 2)
    }

    fn sample() -> Vec<u8> {
        let mut records = vec![Record::Alive { mtime_ns: 5 }];
        records.extend(sets(&[1, 2, 299]).into_iter().map(Record::Dirty));
        records.extend(sets(&[2]).into_iter().map(Record::Kept));
        records.push(Record::File { index: 1, stamp: STAMP });
        records.extend(sets(&[299]).into_iter().map(Record::Lost));
        journal(&records)
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let replay = read(&sample()).unwrap();
        assert_eq!(replay.kept.ones().collect::<Vec<_>>(), [2]);
        assert_eq!(replay.dirty.ones().collect::<Vec<_>>(), [1]);
        assert_eq!(replay.files, [None, Some(FileRecord { last: STAMP, oldest_ns: 1_000 })]);
        assert_eq!(replay.alive_ns, Some(5));
        assert!(!replay.clean);
        assert_eq!(replay.tail.end, sample().len() as u64);
        assert_eq!(read_info(&sample()).unwrap(), b"de");
        assert_eq!(read_header(&sample()).unwrap().info_hash, HASH);
    }

    #[test]
    fn a_clean_stop_leaves_nothing_dirty_and_the_next_record_undoes_it() {
        let mut records: Vec<_> = sets(&[1]).into_iter().map(Record::Dirty).collect();
        records.push(Record::File { index: 0, stamp: STAMP });
        records.push(Record::File { index: 0, stamp: Stamp { mtime_ns: 2_000, ..STAMP } });
        records.push(Record::Clean);
        let replay = read(&journal(&records)).unwrap();
        assert!(replay.clean && replay.dirty.count() == 0);
        assert_eq!(replay.files[0].unwrap().oldest_ns, 2_000);
        records.push(Record::Alive { mtime_ns: 3 });
        assert!(!read(&journal(&records)).unwrap().clean);
    }

    #[test]
    fn a_file_that_went_into_the_part_file_has_no_state_until_it_is_recorded_anew() {
        let mut records = vec![Record::File { index: 1, stamp: STAMP }, Record::Apart { index: 1 }];
        assert_eq!(read(&journal(&records)).unwrap().files, [None, None]);
        let later = Stamp { mtime_ns: 2_000, ..STAMP };
        records.push(Record::File { index: 1, stamp: later });
        let anew = FileRecord { last: later, oldest_ns: 2_000 };
        assert_eq!(read(&journal(&records)).unwrap().files, [None, Some(anew)]);
        let beyond = [Record::Apart { index: 2 }, Record::Clean];
        assert!(!read(&journal(&beyond)).unwrap().clean);
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_length() {
        let bytes = sample();
        let start = HEAD_LEN + 2 + CRC_LEN;
        for len in 0..bytes.len() {
            match read(&bytes[..len]) {
                None => assert!(len < start),
                Some(replay) => {
                    let whole = (len - start) / RECORD_LEN * RECORD_LEN;
                    assert_eq!(replay.tail.end as usize, start + whole);
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_ends_the_journal_there_or_damages_its_header() {
        let bytes = sample();
        let start = HEAD_LEN + 2 + CRC_LEN;
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            match read(&bad) {
                None => assert!(at < start),
                Some(replay) => {
                    let whole = (at - start) / RECORD_LEN * RECORD_LEN;
                    assert_eq!(replay.tail.end as usize, start + whole, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn records_behind_a_cut_do_not_come_back() {
        let kept: Vec<_> = (0..4).flat_map(|piece| sets(&[piece])).map(Record::Kept).collect();
        let old = journal(&kept);
        // The second record was torn; a new one is written in its place, and the old third and
        // fourth are still behind it.
        let replay = read(&old[..old.len() - 3 * RECORD_LEN]).unwrap();
        let (new, _) = replay.tail.encode(&[Record::Alive { mtime_ns: 1 }]);
        let at = replay.tail.end as usize;
        let mut bytes = old;
        bytes[at..at + RECORD_LEN].copy_from_slice(&new);
        assert_eq!(read(&bytes).unwrap().kept.count(), 1);
    }

    #[test]
    fn what_the_torrent_does_not_have_ends_the_journal() {
        let records: Vec<_> = sets(&[300]).into_iter().map(Record::Kept).collect();
        assert_eq!(read(&journal(&records)).unwrap().kept.count(), 0);
        let records = [Record::File { index: 2, stamp: STAMP }, Record::Clean];
        assert!(!read(&journal(&records)).unwrap().clean);
        assert!(Replay::read(&sample(), &Id([8; 20]), 300, 2).is_none());
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut journal = sample();
            journal.extend(&bytes);
            assert!(read(&journal).is_some());
            let _ = read(&bytes);
        }
    }
}
