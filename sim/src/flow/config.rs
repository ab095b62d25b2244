//! The swarm that is asked for.

use std::time::Duration;

use client::Config;
use wire::peer::BLOCK_LEN;

use super::maps::{PIECES_MAX, TIME_MAX};
use crate::{Access, Day, LinkConfig};

/// Some of the leeches, and their line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Class {
    /// How many there are of this class, as a share of the sum over all classes.
    pub weight: u32,
    /// Their line.
    pub access: Access,
}

/// When leeches come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arrivals {
    /// Within this time, spread evenly; zero: all at once.
    Spread(Duration),
    /// As a Poisson process with this mean gap.
    Poisson(Duration),
    /// Each at any moment within this time, more of them at one hour than at another.
    Random(Duration, Day),
    /// As a flash crowd, whose rate is down to 37 % after this time (Guo and others 2005).
    Flash(Duration),
}

/// What leeches do once they have all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// They stay to the end.
    Stay,
    /// They go at once.
    AtOnce,
    /// They stay for an exponential time of this mean.
    Dwell(Duration),
}

/// A swarm piece by piece.
#[derive(Clone, Debug)]
pub struct FlowScenario {
    /// Peers, the seeds among them; at least one more than those.
    pub peers: u32,
    /// Peers that have all from the start and never leave; at least 1.
    pub seeds: u32,
    /// Pieces of the torrent, at least 1.
    pub pieces: u32,
    /// Bytes of a piece: a multiple of 16 KiB, or less.
    pub piece_length: u32,
    /// Links of a peer on average. Each dials half as many; it takes three fifths more at most, and the
    /// client's most. If half as many are that, all places are taken, and idle links give way to others.
    pub degree: u32,
    /// The seeds' line.
    pub seed_access: Access,
    /// The leeches' lines.
    pub classes: Vec<Class>,
    /// When leeches come.
    pub arrivals: Arrivals,
    /// When leeches go.
    pub leaving: Leaving,
    /// The links; of these the latency counts.
    pub links: LinkConfig,
    /// The client's numbers: window, choke rounds, slots.
    pub client: Config,
    /// Pieces that a peer may ask for while it is choked, of whom had some when they met (BEP 6). The
    /// client has 5.
    pub allowed_fast: u32,
    /// Blocks that are asked for and sent as one, at most: a transfer is an event. Half of the smallest
    /// window, 16, is the greatest that keeps a neighbour busy.
    pub transfer_blocks: u16,
    /// Virtual time after which the run is given up.
    pub limit: Duration,
    /// Names the run.
    pub seed: u64,
}

impl Default for FlowScenario {
    /// A flash crowd of a thousand: 1,000 pieces of 64 KiB, 10 Mbit/s up and 50 down, 20 links.
    fn default() -> FlowScenario {
        FlowScenario {
            peers: 1_000,
            seeds: 1,
            pieces: 1_000,
            piece_length: 64 << 10,
            degree: 20,
            seed_access: Access::default(),
            classes: vec![Class { weight: 1, access: Access::default() }],
            arrivals: Arrivals::Spread(Duration::ZERO),
            leaving: Leaving::Stay,
            links: LinkConfig::default(),
            client: Config::default(),
            allowed_fast: 5,
            transfer_blocks: 8,
            limit: Duration::from_secs(100_000),
            seed: 1,
        }
    }
}

/// Blocks of a piece, and bytes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) blocks: u16,
    pub(super) block_len: u64,
}

impl FlowScenario {
    pub(super) fn cut(&self) -> Cut {
        let blocks = self.piece_length.div_ceil(BLOCK_LEN);
        Cut { blocks: blocks as u16, block_len: u64::from(self.piece_length / blocks.max(1)) }
    }

    /// Bytes of the torrent.
    pub fn total_len(&self) -> u64 {
        u64::from(self.pieces) * u64::from(self.piece_length)
    }

    /// Says what is wrong with it, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let is_cut = self.piece_length <= BLOCK_LEN || self.piece_length.is_multiple_of(BLOCK_LEN);
        let lines = self.classes.iter().map(|class| class.access).chain([self.seed_access]);
        let slowest = lines.map(|line| line.up_bytes_per_second.min(line.down_bytes_per_second));
        let faults = [
            (self.seeds == 0 || self.peers <= self.seeds, "a seed and a leech at least"),
            (self.peers > 1 << 30, "2^30 peers at most"),
            (self.pieces == 0 || self.pieces > PIECES_MAX, "1 to 2^24 pieces"),
            (self.piece_length == 0 || !is_cut, "a piece has 1 to 2^14 bytes or whole blocks"),
            (self.piece_length / BLOCK_LEN > 1 << 15, "512 MiB a piece at most"),
            (self.degree < 2 || self.degree > 2_000, "2 to 2,000 links"),
            (self.classes.iter().all(|class| class.weight == 0), "a class with a weight"),
            (self.classes.len() > 1_000, "1,000 classes at most"),
            (slowest.min().unwrap_or(0) < 100, "100 bytes per second at least"),
            (self.transfer_blocks == 0, "1 block a transfer at least"),
            (self.limit.as_micros() >= u128::from(TIME_MAX), "12 days at most"),
        ];
        match faults.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, rule)) => Err(rule.to_owned()),
            None => Ok(()),
        }
    }
}
