//! Every number of the engine, with its unit, its default and where it comes from.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::{Policies, Shipped};

/// The engine's numbers. All have defaults; most users change none.
#[derive(Clone, Debug)]
pub struct Config {
    /// Peers a torrent is connected to at most. libtorrent has 200 for a session, transmission 50
    /// a torrent: 80 leaves room for dead weight in a swarm of strangers.
    pub peers_max: usize,
    /// How long no payload goes over a connection until it gives way to a newcomer where all places are
    /// taken; three times as long while either side wants something. An optimistic unchoke comes
    /// every 30 s (BEP 3), and so does a first chance.
    pub idle_max: Duration,
    /// Time between two dials for the place of an idle peer: a leech that is full looks for better
    /// ones, and is no burden to a swarm of which all are full. libtorrent changes 4 % each 5 minutes
    /// (`peer_turnover`): of 80 one in 94 s; those were idle for 30 s before.
    pub turnover_gap: Duration,
    /// Whether IPv4 addresses are candidates. The driver says no where it is bound to given addresses,
    /// of IPv6 alone: a dial from any other would show what the user did not want to show.
    pub dials_v4: bool,
    /// Whether IPv6 addresses are, likewise.
    pub dials_v6: bool,
    /// Dials under way at a time, of a torrent. anacrolix has 25, libtorrent starts 30 a second.
    pub dials_max: usize,
    /// How long a dial may take. libtorrent: peer_connect_timeout 15 s; strangers that answer at
    /// all do so within a few.
    pub dial_timeout: Duration,
    /// How long a connection may take to complete its handshake. libtorrent: 10 s.
    pub handshake_timeout: Duration,
    /// Incoming connections that have not shown a handshake yet, at most. rqbit: 256.
    pub handshakes_pending_max: usize,
    /// How long a connection that was taken has for its handshake even while more come than there is
    /// room for. A handshake is there a round trip after the connection, or 1 s later if its packet is
    /// lost (RFC 6298, initial timeout).
    pub handshake_grace: Duration,
    /// Silence after which a peer is gone. BEP 3: keep-alives come every two minutes; libtorrent:
    /// peer_timeout 120 s.
    pub silence_max: Duration,
    /// Silence of ours after which a keep-alive is sent: below BEP 3's two minutes.
    pub keep_alive: Duration,
    /// Addresses known of a torrent, at most. libtorrent: max_peerlist_size 3000.
    pub candidates_max: usize,
    /// Wait before a failed address is tried again; doubled each time. aria2 and rqbit begin at
    /// 10 s; a fleet that starts together needs less.
    pub redial_after: Duration,
    /// Longest wait before a failed address is tried again.
    pub redial_after_max: Duration,
    /// Failures in a row after which an address is forgotten. libtorrent: max_failcount 3.
    pub dial_failures_max: u32,
    /// Peers unchoked by merit. BEP 3: 4 downloaders, one of which is optimistic; 4 regular and 1
    /// optimistic as aria2 counts them plus one.
    pub unchoke_slots: usize,
    /// Length of a choke round. BEP 3, "Choking and Optimistic Unchoking": 10 s.
    pub choke_round: Duration,
    /// How long an optimistic unchoke lasts, in rounds. BEP 3: 30 s.
    pub optimistic_rounds: u32,
    /// Requests of a peer that wait for an answer of ours, at most, in blocks; told as `reqq`
    /// (BEP 10). libtorrent: max_allowed_in_request_queue 2000.
    pub upload_queue_max: usize,
    /// Requests of ours that wait for one peer's answer, at most, in blocks. libtorrent: 500 caps
    /// it at 82 MB/s over 100 ms; 2000 is what it accepts.
    pub request_window_max: usize,
    /// Requests sent to a fresh peer before its speed is known, in blocks.
    pub request_window_start: usize,
    /// A peer's `reqq` where it tells none. BEP 10: 250 is the common implementation's value.
    pub reqq_default: usize,
    /// How much of a peer's rate the window covers beyond its round trip. libtorrent: 3 s; 250 ms
    /// ride out a disk's or scheduler's hiccup.
    pub request_slack: Duration,
    /// Blocks asked for or held in memory at a time, of a torrent, each 16 KiB: 4096 are 64 MiB
    /// (anacrolix: MaxUnverifiedBytes 64 MiB). When they are used up, unfinished pieces are written.
    pub credits_max: usize,
    /// How long blocks of an unfinished piece stay in memory alone. Then they are written, so that
    /// a restart need not fetch them again: a peer takes minutes for a piece of 16 MiB. A piece that
    /// comes faster is written once, whole.
    pub early_write_after: Duration,
    /// Blocks of begun pieces at which no other is begun, each 16 KiB: 65,536 are 1 GiB, of which
    /// the memory holds 64 bytes a block. libtorrent prefers finishing from 1.5 times the peers up.
    pub begun_blocks_max: usize,
    /// How long these may be begun while no piece gets whole; then the piece that is least far is
    /// given up. Half of libtorrent's request_timeout.
    pub unfinished_max: Duration,
    /// How long a peer has a piece alone that was wrong when several sent it, so that none holds it
    /// up by giving little: as [`Config::unfinished_max`].
    pub turn_max: Duration,
    /// Blocks that wait for hash threads and disk above which sockets are no longer read, each
    /// 16 KiB. libtorrent: max_queued_disk_bytes 100 MiB; less keeps them in the cache.
    pub disk_queue_max: usize,
    /// Blocks handed to a hash thread at a time. ARCHITECTURE: 64 KiB.
    pub hash_batch_blocks: usize,
    /// Requests at one peer, in blocks, from which on it is at two pieces by turns, so that two are
    /// hashed at once: 512 of 16 KiB within half a second are 16 MB/s.
    pub fast_window: usize,
    /// Pieces taken at random before rarest first. BEP 3 as implemented: 4.
    pub random_first_pieces: u32,
    /// Shortest wait for a requested block. libtorrent: 2 s.
    pub request_timeout_min: Duration,
    /// Longest wait for a requested block. libtorrent: request_timeout 60 s.
    pub request_timeout_max: Duration,
    /// Largest metadata accepted, in bytes. libtorrent has 30 MiB, anacrolix 16, rqbit 32.
    pub metadata_bytes_max: usize,
    /// Metadata requests under way at one peer. BEP 9 speaks of no number; transmission serves 64.
    pub metadata_requests_per_peer: usize,
    /// Wait for a metadata piece before another peer is asked.
    pub metadata_timeout: Duration,
    /// Metadata requests of a peer that wait for an answer of ours, at most, in pieces of 16 KiB; what
    /// is more is rejected (BEP 9). transmission: MetadataReqQ 64.
    pub metadata_queue_max: usize,
    /// Peer exchanges of one peer count no sooner than this after the last. BEP 11: at most one a
    /// minute; half of that forgives a hasty clock.
    pub pex_interval_min: Duration,
    /// Wait between two questions for peers while a torrent has none; doubled each time.
    pub ask_again_after: Duration,
    /// Longest such wait.
    pub ask_again_after_max: Duration,
    /// Wait between two announces while all is well. BEP 5: stored for 45 minutes by libtorrent,
    /// 30 by jech; libtorrent announces every 15.
    pub announce_every: Duration,
    /// How long nobody is connected until a torrent that has all lets go of its files and its info
    /// dict. Whoever lost a connection is back sooner, or much later.
    pub dormant_after: Duration,
    /// Time between two announces of torrents that have all, beyond the first [`Config::announce_burst`]:
    /// 180 ms spread 10,000 over half an hour, as long as they are stored by jech.
    pub announce_gap: Duration,
    /// Torrents that have all that may be announced at once.
    pub announce_burst: u32,
    /// Peers below which a leech asks for more after [`Config::ask_again_after_max`] already.
    pub peers_wanted: usize,
    /// Messages that wait for a peer to take them, at most, in bytes; one that asks on and does not
    /// read is dropped. A bitfield of 2^21 pieces takes 256 KiB.
    pub output_bytes_max: usize,
    /// Messages with nothing to them (bad requests, unasked blocks) after which a peer is dropped.
    /// transmission: 5 strikes for bad pieces; requests may race, so more.
    pub faults_max: u32,
    /// Who is unchoked and which piece is begun. Default: [`crate::Shipped`].
    pub policies: Arc<dyn Policies>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            peers_max: 80,
            idle_max: Duration::from_secs(30),
            turnover_gap: Duration::from_secs(10),
            dials_v4: true,
            dials_v6: true,
            dials_max: 30,
            dial_timeout: Duration::from_secs(8),
            handshake_timeout: Duration::from_secs(10),
            handshakes_pending_max: 256,
            handshake_grace: Duration::from_millis(1500),
            silence_max: Duration::from_secs(150),
            keep_alive: Duration::from_secs(100),
            candidates_max: 3000,
            redial_after: Duration::from_secs(2),
            redial_after_max: Duration::from_secs(600),
            dial_failures_max: 8,
            unchoke_slots: 4,
            choke_round: Duration::from_secs(10),
            optimistic_rounds: 3,
            upload_queue_max: 2000,
            request_window_max: 2000,
            request_window_start: 32,
            reqq_default: 250,
            request_slack: Duration::from_millis(250),
            credits_max: 4096,
            early_write_after: Duration::from_secs(10),
            begun_blocks_max: 65_536,
            unfinished_max: Duration::from_secs(30),
            turn_max: Duration::from_secs(30),
            disk_queue_max: 1024,
            hash_batch_blocks: 4,
            fast_window: 512,
            random_first_pieces: 4,
            request_timeout_min: Duration::from_secs(2),
            request_timeout_max: Duration::from_secs(60),
            metadata_bytes_max: 32 << 20,
            metadata_requests_per_peer: 4,
            metadata_timeout: Duration::from_secs(5),
            metadata_queue_max: 64,
            pex_interval_min: Duration::from_secs(30),
            ask_again_after: Duration::from_secs(1),
            ask_again_after_max: Duration::from_secs(60),
            announce_every: Duration::from_secs(15 * 60),
            dormant_after: Duration::from_secs(60),
            announce_gap: Duration::from_millis(180),
            announce_burst: 32,
            peers_wanted: 20,
            output_bytes_max: 1 << 20,
            faults_max: 20,
            policies: Arc::new(Shipped),
        }
    }
}
