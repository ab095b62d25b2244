use std::collections::BTreeMap;

use wire::bitfield::Bitfield;

use crate::disk::DiskError;

/// What a storage has to tell its torrent.
#[derive(Debug)]
pub enum StorageEvent<P> {
    /// Files are being checked.
    CheckProgress {
        /// Pieces checked.
        done: u32,
        /// Pieces to check in all.
        total: u32,
    },
    /// What is there is known; pieces may be written and read from here on.
    Started {
        /// Pieces that are there and right.
        have: Bitfield,
        /// Blocks of unfinished pieces that lie in the files, by piece. Nobody has hashed them.
        parts: BTreeMap<u32, Vec<u32>>,
    },
    /// Blocks of an unfinished piece have been handed to the file system.
    PartWritten {
        /// The piece.
        piece: u32,
        /// First byte in the piece.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// Bytes of an unfinished piece that were asked for.
    PartRead {
        /// The piece.
        piece: u32,
        /// First byte in the piece.
        begin: u32,
        /// The bytes; none: the file has them no more.
        payload: Option<P>,
    },
    /// A piece has been handed to the file system and can be read. It is not yet certain to outlive
    /// a crash of the machine.
    Written {
        /// The piece.
        piece: u32,
    },
    /// These pieces are on stable storage and recorded as such.
    Kept {
        /// The pieces.
        pieces: Vec<u32>,
    },
    /// Pieces that were announced as written are not certain any more, because the disk did not
    /// take them; they count as missing. [`StorageEvent::Failed`] follows.
    Lost {
        /// The pieces.
        pieces: Vec<u32>,
    },
    /// A block that [`read_block`](super::Storage::read_block) was asked for can be read: ask again.
    Readable,
    /// Everything written is kept, and the journal says so.
    Flushed,
    /// The storage stopped. It takes no more pieces; what was kept stays kept, and what was written
    /// before is still brought to stable storage if the disk lets it.
    Failed {
        /// Why, in words for the user.
        error: DiskError,
    },
}
