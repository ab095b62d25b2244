//! What the core asks of hash threads and disks: every operation an action with a ticket.
//!
//! The driver executes and decides nothing. Two operations without a completed ticket between them
//! may run in any order; whoever needs an order waits for the ticket.

use crate::payload::Payload;

/// Names one operation; its result comes back under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a file that the core has asked to open. Unique within a session while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

impl FileId {
    /// Not a file: padding (BEP 47), which is on no disk. Reads give zeros, writes go nowhere. It is
    /// always open.
    pub const ZEROS: FileId = FileId(u64::MAX);
}

/// The folder that all paths of one torrent lie beneath: an index the driver resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootId(pub u32);

/// A path beneath a root: its elements, each checked (no separator, no `..`, not empty).
pub type RelPath = Vec<String>;

/// A run of bytes in one open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub file: FileId,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A run of bytes in a file that need not be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathExtent {
    /// The file; None: padding.
    pub path: Option<RelPath>,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A piece's SHA-1 so far; on the heap, since few operations have one and all are as large.
pub struct HashState<P: Payload>(pub Box<P::Hasher>);

impl<P: Payload> std::fmt::Debug for HashState<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashState")
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; only reads.
    Read,
    /// Created where missing, never truncated; reads and writes. It is locked until it is closed:
    /// `DiskErrorKind::Conflict` if anybody else holds it, another torrent of this process among them.
    Write,
    /// As `Write`, for the journal; `DiskErrorKind::Locked` if another holds it.
    WriteLocked,
}

/// One operation. Paths are beneath the root that the storage was made with.
#[derive(Debug)]
pub enum DiskOp<P: Payload> {
    /// Answered by `Stat`: `None` if there is no such file.
    Stat {
        /// The file.
        path: RelPath,
    },
    /// Answered by `FreeSpace`.
    FreeSpace,
    /// Makes a folder and those above it. `Done` also if it exists.
    MakeFolder {
        /// The folder.
        path: RelPath,
    },
    /// Opens `path` as `file`. Symbolic links do not lead out of the root. Answered by `Stat`, as it is
    /// once it is locked, if it is opened to be written.
    Open {
        /// The name that later operations use.
        file: FileId,
        /// The file.
        path: RelPath,
        /// How.
        mode: OpenMode,
    },
    /// Forgets an open file; what still reads from it may finish. Once it is done, so is its lock.
    Close {
        /// The file.
        file: FileId,
    },
    /// Sets the length, sparse where it grows.
    SetLen {
        /// The file.
        file: FileId,
        /// Bytes.
        len: u64,
    },
    /// Sets the length of a file that is not longer, and takes the room for all of it at once, where
    /// the file system can.
    Allocate {
        /// The file.
        file: FileId,
        /// Bytes.
        len: u64,
    },
    /// Reads small things (a journal) whole; answered by `Bytes`, which is short at the end of the
    /// file.
    Read {
        /// Where.
        extent: Extent,
    },
    /// Writes small things (journal records).
    Write {
        /// The file.
        file: FileId,
        /// First byte in the file.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Writes the blocks one after the other, from byte `skip` of them on, over the extents, which are
    /// no longer. Answered by `Blocks`, which gives the blocks back.
    WriteBlocks {
        /// Where.
        extents: Vec<Extent>,
        /// What.
        blocks: Vec<P>,
        /// Bytes of the blocks that are written already.
        skip: u64,
    },
    /// Reads the extents and answers with their SHA-1 as `Digest`, or with its state as `Hashed`;
    /// `DiskErrorKind::NotFound` if a file ends before its extent does.
    HashExtents {
        /// Where.
        extents: Vec<Extent>,
        /// What was hashed before them; None: nothing.
        after: Option<HashState<P>>,
        /// Whether the digest is wanted.
        finish: bool,
        /// Whether what is read is written to its place again, so that the next sync of its files, which
        /// are open to be written, brings it to stable storage: what a failed sync left in memory counts as
        /// clean, and a later one passes it over.
        rewrite: bool,
    },
    /// Reads one block over files into payload, each of which is opened and closed in its turn;
    /// answered by `Blocks` of one.
    ReadPaths {
        /// Where.
        extents: Vec<PathExtent>,
    },
    /// Reads one block over the extents into payload; answered by `Blocks` of one.
    ReadBlock {
        /// Where.
        extents: Vec<Extent>,
    },
    /// fdatasync of one file.
    SyncData {
        /// The file.
        file: FileId,
    },
    /// fsync of one file: its mtime is to last as well. Answered by `Stat`, as it is then; `None` if it is no
    /// longer at its path.
    SyncAll {
        /// The file.
        file: FileId,
        /// Where it was opened.
        path: RelPath,
    },
    /// fsync of a folder, so that the names in it last.
    SyncFolder {
        /// The folder; empty is the root.
        path: RelPath,
    },
    /// Renames a file, over another if there is one.
    Rename {
        /// From.
        from: RelPath,
        /// To.
        to: RelPath,
    },
    /// Removes a file. `Done` also if it does not exist.
    Unlink {
        /// The file.
        path: RelPath,
    },
}

/// A file's state, by which a later start tells whether it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Bytes.
    pub len: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Bytes of the disk that it takes: fewer than `len` where it has holes, more where they come by
    /// the block. (stat(2), `st_blocks`.)
    pub allocated: u64,
}

/// Work for a hash thread: the next blocks of a piece, in order.
pub struct HashWork<P: Payload> {
    /// State after all blocks before these.
    pub hasher: P::Hasher,
    /// The blocks.
    pub blocks: Vec<P>,
    /// Whether these are the last of the piece, so that the digest is wanted.
    pub finish: bool,
}

/// What an operation came to.
#[derive(Debug)]
pub enum DiskResult<P: Payload> {
    /// Done, nothing to tell.
    Done,
    /// Of `Stat`, `SyncAll`, and `Open` to be written.
    Stat(Option<FileStat>),
    /// Of `FreeSpace`, in bytes.
    FreeSpace(u64),
    /// Of `Read`.
    Bytes(Vec<u8>),
    /// Of `WriteBlocks` (the same blocks), `ReadBlock` and `ReadPaths` (a new one).
    Blocks(Vec<P>),
    /// Of `HashExtents`, at the end.
    Digest([u8; 20]),
    /// Of `HashExtents`, before the end.
    Hashed(HashState<P>),
    /// It failed. Blocks that it was given come back.
    Failed {
        /// Why.
        error: DiskError,
        /// The blocks of a failed `WriteBlocks`.
        blocks: Vec<P>,
    },
}

/// What sort of failure, as far as the core acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No space or quota left.
    Full,
    /// No such file, or it ends too early.
    NotFound,
    /// Not allowed.
    Denied,
    /// Another process holds the lock.
    Locked,
    /// What lies there is not ours to change: a file longer than the torrent's, a folder in its
    /// place, a file that another torrent or program writes to.
    Conflict,
    /// The process, or the system, has no file descriptor left.
    OutOfFiles,
    /// Anything else.
    Other,
}

/// A failed operation, with the words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What sort.
    pub kind: DiskErrorKind,
    /// The system's words, with the path where there is one.
    pub message: String,
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DiskError {}
