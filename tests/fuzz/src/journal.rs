//! The journal of a torrent as a crash or a stranger may have left it: it says nothing that no
//! record said, and ends where its valid part does.

use client::storage::journal::read_kept;
use wire::Id;

use crate::input::Input;

const HASH: Id = Id([7; 20]);
const PIECES: u32 = 300;
const FILES: usize = 3;
const RECORD_LEN: usize = 32;
/// Kind of a record that says what is kept, and pieces in one.
const KEPT: u8 = 2;
const SET_LEN: usize = 128;

/// One input: records with right checksums, of which some are damaged, and what stands behind them.
pub fn run(bytes: &[u8]) {
    // As a header and as a whole.
    let _ = read_kept(bytes, &HASH, PIECES, FILES);
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let (mut journal, mut chain) = header(input.bytes());
    let start = journal.len();
    let mut named = [false; PIECES as usize];
    while !input.is_empty() && journal.len() < 64 * RECORD_LEN {
        let damage = input.byte();
        let mut record = record(&mut input);
        chain = crc32c::crc32c_append(chain, &record[..28]);
        record[28..].copy_from_slice(&chain.to_le_bytes());
        if record[0] == KEPT {
            name(&record, &mut named);
        }
        if damage >= 0xf0 {
            record[usize::from(input.byte()) % RECORD_LEN] ^= damage & 0xf;
        }
        journal.extend_from_slice(&record);
    }
    let whole = journal.len();
    if kind & 1 != 0 {
        journal.truncate(whole - usize::from(kind) % (whole + 1 - start));
    }
    let (kept, end) = read_kept(&journal, &HASH, PIECES, FILES).expect("a header");
    assert_eq!(kept.len(), PIECES);
    assert!(kept.ones().all(|piece| named[piece as usize]), "nobody said so");
    let end = usize::try_from(end).expect("within the journal");
    assert!((start..=journal.len()).contains(&end) && (end - start).is_multiple_of(RECORD_LEN));
    // What lies behind the end changes nothing.
    journal.truncate(end);
    assert_eq!(read_kept(&journal, &HASH, PIECES, FILES), Some((kept.clone(), end as u64)));
    journal.extend_from_slice(bytes);
    let (again, end_again) = read_kept(&journal, &HASH, PIECES, FILES).expect("a header");
    assert_eq!((again, end_again), (kept, end as u64));
    assert_eq!(read_kept(&journal, &Id([8; 20]), PIECES, FILES), None, "another torrent's");
}

/// A journal without records, and the checksum that the first goes on from.
fn header(info: &[u8]) -> (Vec<u8>, u32) {
    let mut out = b"TRKLSJNL".to_vec();
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&(info.len() as u32).to_le_bytes());
    out.extend_from_slice(&HASH.0);
    out.extend_from_slice(info);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    (out, crc)
}

/// A record without its checksum: its kind and place as an input has them, most of them real ones.
fn record(input: &mut Input<'_>) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    let kind = input.byte();
    record[0] = if kind < 0xf0 { 1 + kind % 6 } else { kind };
    record[4] = input.byte() % 4;
    if kind & 0x80 != 0 {
        record[5..8].fill(input.byte());
    }
    record[8..28].iter_mut().for_each(|byte| *byte = input.byte());
    if kind & 0x40 == 0 && record[4] == 2 {
        // So that most sets name pieces that there are.
        record[8 + (PIECES as usize % SET_LEN) / 8..24].fill(0);
    }
    record
}

/// The pieces of a set.
fn name(record: &[u8; RECORD_LEN], named: &mut [bool]) {
    let group = u32::from_le_bytes([record[4], record[5], record[6], record[7]]) as usize;
    for bit in 0..SET_LEN {
        let is_in = record[8 + bit / 8] >> (bit % 8) & 1 == 1;
        let piece = group.saturating_mul(SET_LEN).saturating_add(bit);
        if let Some(slot) = named.get_mut(piece).filter(|_| is_in) {
            *slot = true;
        }
    }
}
