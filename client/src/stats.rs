//! Figures of a torrent, for progress lines, logs and tests.

use std::net::SocketAddr;

use wire::InfoHash;

use crate::torrent::Failure;

/// A torrent at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct TorrentStats {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Its name, once the metadata is known.
    pub name: Option<String>,
    /// Bytes in all; 0 while unknown.
    pub total_len: u64,
    /// Bytes that are there, hashed right.
    pub have_bytes: u64,
    /// Bytes of the pieces that are wanted: all, or those of the files that were chosen.
    pub wanted_bytes: u64,
    /// Of these, bytes that are not there.
    pub left_bytes: u64,
    /// Bytes of unfinished pieces, in memory and in the files.
    pub partial_bytes: u64,
    /// Bytes of unfinished pieces in memory.
    pub held_bytes: u64,
    /// Payload received, wasted bytes included.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload received for nothing: duplicates, corrupt and unasked blocks.
    pub wasted: u64,
    /// Bytes per second received, over the last 10 s.
    pub down_rate: u64,
    /// Bytes per second sent, over the last 10 s.
    pub up_rate: u64,
    /// Peers connected.
    pub peers: usize,
    /// Of these, peers that have all.
    pub seeds: usize,
    /// Peers that do not choke us.
    pub unchoked_us: usize,
    /// Peers that we do not choke.
    pub unchoked: usize,
    /// Dials under way.
    pub dials: usize,
    /// Addresses known.
    pub candidates: usize,
    /// Copies of the torrent among the peers.
    pub copies: f64,
    /// Metadata pieces here, and in all.
    pub metadata: (usize, usize),
    /// Peers that have the metadata.
    pub metadata_peers: usize,
    /// Pieces checked on the disk, and to be checked.
    pub checked: (u32, u32),
    /// Whether what the disk has is known.
    pub started: bool,
    /// Whether all pieces are there that are wanted.
    pub complete: bool,
    /// Whether it is paused, and its files are closed.
    pub paused: bool,
    /// Whether it has all, nobody wants anything of it, and its files are closed.
    pub dormant: bool,
    /// Why it cannot go on.
    pub failure: Option<Failure>,
    /// Whether a question for peers is under way.
    pub asking: bool,
    /// Pieces whose hash was wrong.
    pub hash_failures: u64,
    /// Blocks asked of more than one peer.
    pub end_game_requests: u64,
    /// Blocks written before their piece was whole.
    pub written_early: u64,
    /// Of these, blocks read back to be hashed.
    pub read_back: u64,
}

/// A connection of a torrent at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// The remote end.
    pub addr: SocketAddr,
    /// Whether we dialled it.
    pub outgoing: bool,
    /// Pieces that it has.
    pub pieces: u32,
    /// It chokes us.
    pub chokes_us: bool,
    /// It wants something of ours.
    pub interested: bool,
    /// We choke it.
    pub choked: bool,
    /// We told it that we want something.
    pub we_are_interested: bool,
    /// Blocks that we asked it for and that have not come.
    pub asked: usize,
    /// Blocks that it asked us for and that have not gone.
    pub uploads: usize,
    /// Bytes per second received, over the last 10 s.
    pub down_rate: u64,
    /// Bytes per second sent, over the last 10 s.
    pub up_rate: u64,
}
