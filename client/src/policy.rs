//! What a researcher may replace in the session: who may ask us for blocks, and which piece is begun.
//!
//! [`Policies`] stands in [`Config::policies`] and makes a rule of each kind for each torrent. The
//! engine asks it, and keeps to the protocol and its own bounds whatever it says.

use std::fmt;

use wire::bitfield::Bitfield;
use wire::rng::Rng;

use crate::{Choker, Config, ConnId, Contender, Picker};

/// Makes the rules of each torrent; without anything of its own, those that ship.
pub trait Policies: fmt::Debug + Send + Sync {
    /// Who may ask a torrent for blocks.
    fn choke_rule(&self, config: &Config) -> Box<dyn ChokeRule> {
        Box::new(Choker::new(config.unchoke_slots, config.optimistic_rounds))
    }

    /// Which piece a torrent begins. It is made when the info dict is known.
    fn piece_rule(&self, config: &Config) -> Box<dyn PieceRule> {
        Box::new(RarestFirst { random_first: config.random_first_pieces })
    }
}

/// The rules that ship.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shipped;

impl Policies for Shipped {}

/// A choke round (BEP 3, "Choking and Optimistic Unchoking").
#[derive(Clone, Copy, Debug)]
pub struct ChokeRound<'a> {
    /// We have all that we want.
    pub complete: bool,
    /// All who are connected, in the order in which they came.
    pub contenders: &'a [Contender],
}

/// Whom one torrent unchokes.
pub trait ChokeRule: Send {
    /// A round, each [`Config::choke_round`]: puts those who are unchoked until the next into `unchoked`,
    /// which is empty. Who wants nothing may be named, and may then ask as soon as it does.
    fn round(&mut self, round: ChokeRound<'_>, rng: &mut Rng, unchoked: &mut Vec<ConnId>);

    /// A peer became interested between two rounds: whether it is unchoked at once.
    fn admit(&mut self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// A peer is gone or no longer interested: it is choked.
    fn leave(&mut self, conn: ConnId) {
        let _ = conn;
    }
}

/// Which piece is begun next. Pieces that were begun are finished first, whatever it says.
pub trait PieceRule: Send {
    /// A peer may be asked for a piece that is not begun: one of the free pieces that it has, else
    /// nothing is begun. While there is one and it names none, it is asked again with what comes from
    /// the peer, and each second.
    fn pick(&mut self, pool: &mut PiecePool<'_>) -> Option<u32>;
}

/// What may be begun at a peer.
pub struct PiecePool<'a> {
    /// The pieces that the peer has.
    pub has: &'a Bitfield,
    /// The pieces that are here.
    pub have: &'a Bitfield,
    picker: &'a mut Picker,
}

impl<'a> PiecePool<'a> {
    pub(crate) fn new(has: &'a Bitfield, have: &'a Bitfield, picker: &'a mut Picker) -> Self {
        PiecePool { has, have, picker }
    }

    /// The free pieces that the peer has, those of fewest copies first, in a random order among equals.
    pub fn free(&self) -> impl Iterator<Item = u32> {
        self.picker.free().filter(|&piece| self.has.get(piece))
    }

    /// Whether a piece is wanted, not here and not begun, and the peer has it.
    pub fn is_free(&self, piece: u32) -> bool {
        self.picker.holds(piece) && self.has.get(piece)
    }

    /// How many peers have a piece.
    pub fn copies(&self, piece: u32) -> u32 {
        self.picker.copies(piece)
    }

    /// The free piece of the fewest copies.
    pub fn rarest(&self) -> Option<u32> {
        self.picker.rarest(self.has)
    }

    /// Any free piece.
    pub fn random(&mut self) -> Option<u32> {
        self.picker.random(self.has)
    }
}

/// The rarest piece, after a few at random (Cohen 2003, "rarest first", "random first piece").
#[derive(Clone, Copy, Debug)]
pub struct RarestFirst {
    /// Pieces taken at random before; see [`Config::random_first_pieces`].
    pub random_first: u32,
}

impl PieceRule for RarestFirst {
    fn pick(&mut self, pool: &mut PiecePool<'_>) -> Option<u32> {
        if pool.have.count() < self.random_first { pool.random() } else { pool.rarest() }
    }
}
