//! Figures of a torrent and of its connections.

use wire::time::Time;

use super::Torrent;
use crate::PeerStats;
use crate::payload::Payload;
use crate::stats::TorrentStats;

impl<P: Payload> Torrent<P> {
    /// Figures for progress and logs.
    pub fn stats(&self, now: Time) -> TorrentStats {
        let content = self.content.as_ref();
        let mut stats = TorrentStats {
            info_hash: self.info_hash,
            name: content.map(|content| content.info.name.clone()),
            total_len: content.map_or(0, |content| content.info.total_len),
            have_bytes: content.map_or(0, |content| content.bytes(content.pieces.have())),
            wanted_bytes: content.map_or(0, |content| content.bytes(content.wanted())),
            left_bytes: content.map_or(0, |content| content.bytes(&content.left())),
            partial_bytes: content.map_or(0, |content| content.pieces.partial_bytes()),
            held_bytes: content.map_or(0, |content| content.pieces.held_bytes()),
            downloaded: self.counters.downloaded,
            uploaded: self.counters.uploaded,
            wasted: self.counters.wasted,
            down_rate: self.peers.values().map(|peer| peer.down_rate(now)).sum(),
            up_rate: self.peers.values().map(|peer| peer.up_rate(now)).sum(),
            peers: self.peers.len(),
            seeds: self.peers.values().filter(|peer| peer.has().is_full()).count(),
            unchoked_us: self.peers.values().filter(|peer| !peer.chokes_us).count(),
            unchoked: self.peers.values().filter(|peer| !peer.choked).count(),
            dials: self.dials,
            candidates: self.candidates.len(),
            copies: content.map_or(0.0, |content| content.picker.distributed_copies()),
            metadata: self.metadata.progress(),
            metadata_peers: self.metadata.peers(),
            checked: content.map_or((0, 0), |content| content.storage.check_progress()),
            started: content.is_some_and(|content| content.started),
            complete: self.is_complete(),
            paused: self.is_paused(),
            dormant: self.is_dormant(),
            failure: self.failure.clone(),
            asking: self.discovery.is_asking(),
            hash_failures: self.counters.hash_failures,
            end_game_requests: self.counters.end_game_requests,
            written_early: self.counters.written_early,
            read_back: self.counters.read_back,
        };
        self.dormant.iter().for_each(|dormant| dormant.tell(&mut stats));
        stats
    }

    /// Its connections, in the order in which they were made.
    pub fn peer_stats(&self, now: Time) -> impl Iterator<Item = PeerStats> {
        self.peers.values().map(move |peer| peer.stats(now))
    }
}
