//! How a run went.

use super::bounds::{Bounds, Presence};
use super::state::{BLOCK_HEADER, Stage, Swarm};
use crate::{Summary, TraceHash};

/// How a run went. Times are in seconds.
#[derive(Clone, PartialEq, Debug)]
pub struct FlowReport {
    /// Peers that fetch.
    pub leeches: u32,
    /// Leeches that have all.
    pub finished: u32,
    /// From a leech's start to its last piece.
    pub finish_s: Summary,
    /// The same, each in the order of the peers; none: it did not finish.
    pub finishes_s: Vec<Option<f64>>,
    /// The same from when the first leech came, of those that finished, in the order of time.
    pub done_s: Vec<f64>,
    /// The leeches' classes, in the order of the peers.
    pub classes: Vec<u16>,
    /// When the first leech came, on the clock of the run, whose zero is the seeds' start.
    pub first_s: f64,
    /// From the first leech's start to the last piece of the last.
    pub makespan_s: f64,
    /// What no protocol can beat, on the clock of the run.
    pub bounds: Bounds,
    /// The makespan as a multiple of the greatest bound that holds for the run.
    pub bound_ratio: f64,
    /// The makespan as a multiple of Mundinger's optimum; 0: it does not apply.
    pub mundinger_ratio: f64,
    /// Payload that went out until the last finish, as a share of what the uplinks of those that were
    /// there could have sent.
    pub utilisation: f64,
    /// Copies of the torrent that the seeds sent.
    pub seed_copies: f64,
    /// Payload that came for nothing, as a share of all.
    pub wasted_share: f64,
    /// Share of the time and of pairs of a leech and a neighbour in which the neighbour has something
    /// that the leech wants (Legout 2006, a/b).
    pub interest: f64,
    /// Transfers that arrived.
    pub transfers: u64,
    /// Events that were worked off.
    pub events: u64,
    /// Mean links of a peer at the end.
    pub mean_links: f64,
    /// Virtual time at the end.
    pub virtual_s: f64,
    /// The fingerprint of the run.
    pub trace_hash: TraceHash,
}

const MICRO: f64 = 1e-6;

impl FlowReport {
    /// The greatest bound on the makespan, in seconds from the first leech's start.
    pub fn bound_s(&self) -> f64 {
        self.bounds.makespan_s() - self.first_s
    }
}

impl<P, C> Swarm<'_, P, C> {
    /// Judges the run, and stops it if it beat what cannot be beaten.
    pub(super) fn report(&mut self) -> FlowReport {
        self.sum_pairs();
        let presence = self.presence();
        let config = self.config;
        let cut = self.cut;
        let blocks = u64::from(config.pieces) * u64::from(cut.blocks);
        let total_len = blocks * (cut.block_len + BLOCK_HEADER);
        let parts = if self.tally.split > 0 { blocks } else { u64::from(config.pieces) };
        let bounds = Bounds::of(&presence, total_len, config.pieces, parts);
        bounds.assert(&presence, total_len);
        self.assert_uplinks();
        let leeches = &presence[config.seeds as usize..];
        let first = leeches.iter().map(|peer| peer.came).fold(f64::INFINITY, f64::min);
        let last = leeches.iter().filter_map(|peer| peer.finished).fold(0.0, f64::max);
        let finishes_s: Vec<Option<f64>> =
            leeches.iter().map(|peer| peer.finished.map(|at| at - peer.came)).collect();
        let mut done_s: Vec<f64> =
            leeches.iter().filter_map(|peer| Some(peer.finished? - first)).collect();
        done_s.sort_by(f64::total_cmp);
        let seed_blocks: u64 =
            self.peers.iter().filter(|peer| peer.is_seed).map(|peer| peer.up.blocks).sum();
        let blocks: u64 = self.peers.iter().map(|peer| peer.up.blocks).sum();
        let wasted: u64 = self.minds.iter().map(|mind| mind.wasted).sum();
        let could: f64 = presence
            .iter()
            .map(|peer| peer.up * (peer.left.unwrap_or(last).min(last) - peer.came).max(0.0))
            .sum();
        let block_len = self.cut.block_len as f64;
        let all_blocks = f64::from(config.pieces) * f64::from(self.cut.blocks);
        let links: u64 = self.minds.iter().map(|mind| u64::from(mind.links)).sum();
        let ratio = |bound: f64| if bound > 0.0 { (last - first) / (bound - first) } else { 0.0 };
        FlowReport {
            leeches: config.peers - config.seeds,
            finished: finishes_s.iter().flatten().count() as u32,
            finish_s: Summary::of(finishes_s.iter().flatten().copied()),
            finishes_s,
            done_s,
            classes: self.classes.clone(),
            first_s: first,
            makespan_s: (last - first).max(0.0),
            bounds,
            bound_ratio: ratio(bounds.makespan_s()),
            mundinger_ratio: ratio(bounds.mundinger_s),
            utilisation: blocks as f64 * block_len / could.max(1.0),
            seed_copies: seed_blocks as f64 / all_blocks,
            wasted_share: wasted as f64 / blocks.max(1) as f64,
            interest: self.tally.want_time as f64 / self.tally.pair_time.max(1) as f64,
            transfers: self.tally.transfers,
            events: self.tally.events,
            mean_links: links as f64 / f64::from(config.peers),
            virtual_s: self.now as f64 * MICRO,
            trace_hash: TraceHash::of(self.peers.iter().map(|peer| peer.trace)),
        }
    }

    fn presence(&self) -> Vec<Presence> {
        let peers = self.peers.iter().zip(&self.minds);
        let presence = peers.map(|(peer, mind)| Presence {
            up: peer.access.up_bytes_per_second as f64,
            down: peer.access.down_bytes_per_second as f64,
            came: mind.came as f64 * MICRO,
            left: mind.left.map(|at| at as f64 * MICRO),
            finished: mind.finished.map(|at| at as f64 * MICRO),
            is_seed: peer.is_seed,
        });
        presence.collect()
    }

    /// No uplink sends more than its rate times the time that it was there, and one piece.
    fn assert_uplinks(&self) {
        for (n, (peer, mind)) in self.peers.iter().zip(&self.minds).enumerate() {
            let end = mind.left.unwrap_or(self.now);
            let span = if peer.stage == Stage::Away { 0 } else { end - mind.came };
            let sent = peer.up.blocks * self.cut.block_len;
            let rate = peer.access.up_bytes_per_second;
            let most = u128::from(rate) * u128::from(span) / 1_000_000;
            let most = most + u128::from(self.config.piece_length);
            assert!(
                u128::from(sent) <= most,
                "peer {n} sent {sent} bytes in {span} µs at {rate} bytes/s: {most} at most"
            );
        }
    }
}
