//! The torrent that the peers of a fuzzed session have, and the bounds of that session.

use std::sync::OnceLock;

use client::Config;
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef, Message};

use crate::host::{content, info};
use crate::input::Input;

/// Bytes of a piece: few blocks, so that pieces of several peers are common.
pub(crate) const PIECE: u32 = 3 * BLOCK_LEN;
const LEN: usize = 4 * PIECE as usize + 20_000;

/// Its bytes, and its info dict.
pub(crate) fn torrent() -> &'static (Vec<u8>, Info) {
    static TORRENT: OnceLock<(Vec<u8>, Info)> = OnceLock::new();
    TORRENT.get_or_init(|| {
        let content = content(LEN);
        let info = info(&content, PIECE);
        (content, info)
    })
}

/// Every number that bounds something small enough to be reached.
pub(crate) fn tight() -> Config {
    Config {
        peers_max: 6,
        dials_max: 3,
        candidates_max: 20,
        upload_queue_max: 10,
        request_window_max: 8,
        request_window_start: 4,
        credits_max: 7,
        begun_blocks_max: 9,
        disk_queue_max: 6,
        hash_batch_blocks: 2,
        random_first_pieces: 1,
        metadata_bytes_max: 40_000,
        output_bytes_max: 4_096,
        metadata_queue_max: 4,
        unchoke_slots: 2,
        ..Config::default()
    }
}

/// Blocks in memory at most: the budget, and what each piece reads back for its next hash job.
pub(crate) fn held_max() -> u64 {
    let config = tight();
    (config.credits_max + config.hash_batch_blocks * torrent().1.piece_count() as usize) as u64
}

/// The right bytes of a block, of which the part beyond its piece is zeros.
pub(crate) fn bytes_of(block: BlockRef) -> Vec<u8> {
    let (content, info) = torrent();
    let mut bytes = vec![0; block.len.min(2 * BLOCK_LEN) as usize];
    let end = info.piece_len(block.piece).min(block.begin.saturating_add(bytes.len() as u32));
    if block.begin < end {
        let start = block.piece as usize * PIECE as usize + block.begin as usize;
        let len = (end - block.begin) as usize;
        bytes[..len].copy_from_slice(&content[start..start + len]);
    }
    bytes
}

/// A block, mostly one that there is.
pub(crate) fn any_block(input: &mut Input<'_>) -> BlockRef {
    let (place, odd) = (input.byte(), input.byte());
    let piece = u32::from(place % 5);
    let begin = u32::from(place / 5 % 3) * BLOCK_LEN;
    let rest = torrent().1.piece_len(piece).saturating_sub(begin);
    let block = BlockRef { piece, begin, len: rest.min(BLOCK_LEN) };
    match odd {
        0..0xc0 => block,
        0xc0..0xc8 => BlockRef { piece: u32::MAX - place as u32, ..block },
        0xc8..0xd0 => BlockRef { begin: u32::MAX - place as u32, ..block },
        0xd0..0xd8 => BlockRef { len: u32::MAX - place as u32, ..block },
        0xd8..0xe0 => BlockRef { begin: begin + 1, ..block },
        0xe0..0xe8 => BlockRef { len: 0, ..block },
        0xe8..0xf0 => BlockRef { piece: 5, ..block },
        0xf0..0xf8 => BlockRef { len: block.len + 1, ..block },
        _ => BlockRef { len: block.len.saturating_sub(1), ..block },
    }
}

/// A message but for extension messages, mostly of what there is.
pub(crate) fn any_message<'a>(input: &mut Input<'a>) -> Message<'a> {
    let kind = input.byte();
    let piece = u32::from(input.byte() % 6);
    match kind % 18 {
        0 => Message::KeepAlive,
        1 => Message::Choke,
        2 | 3 => Message::Unchoke,
        4 => Message::Interested,
        5 => Message::NotInterested,
        6 | 7 => Message::Have(piece),
        8 => Message::Bitfield(match piece {
            0 => &[0],
            1 => &[0b1010_1000],
            2 => &[0b1111_1000],
            3 => &[0b0100_0000],
            _ => input.bytes(),
        }),
        9 | 10 => Message::Request(any_block(input)),
        11 => Message::Cancel(any_block(input)),
        12 => Message::Port(u16::from(kind)),
        13 => Message::Suggest(piece),
        14 => Message::HaveAll,
        15 => Message::HaveNone,
        16 => Message::Reject(any_block(input)),
        _ => Message::AllowedFast(piece),
    }
}
