//! Swarms of a hundred thousand, piece by piece.
//!
//! [`crate::World`] moves every block and every message of the client that ships. This is a second,
//! coarser simulator for swarms that are too large for that: an event is a transfer of a few blocks.
//! What decides is taken from the client where it can be: the shipped choker runs in it, and the choice
//! of pieces is tested to be one that the shipped picker makes. The rest follows the client's rules at
//! the level of transfers, and is checked against the simulator of blocks
//! (`sim/tests/flow.rs`):
//!
//! - An uplink sends a block of each of its streams in turn, a downlink takes what comes in the order in
//!   which it comes, and headers, requests and `have`s take their share of the uplink.
//! - A neighbour is asked for a window of blocks, measured as the client's. A request takes its way,
//!   after the blocks whose turn it is.
//! - A `have` takes the pair's latency. It is no event: who looks leaves out what cannot be known.
//! - Where all places are taken, a link that is idle gives way to another.
//! - Choke rounds, interest, rejected requests, pieces allowed to choked peers, pieces begun and left,
//!   and the end game are as in the client.
//!
//! Not modelled: the DHT, metadata, peer exchange, wrong pieces, snubbing, keep-alives, loss.
//!
//! All times are integers of microseconds. Events are ordered by time, receiver, sender and the
//! sender's own count, so the same scenario gives the same run on any machine.

mod bits;
mod bounds;
mod config;
mod download;
mod draw;
mod links;
mod maps;
mod policy;
mod report;
mod state;
mod uplink;
mod upload;
mod wheel;

pub use bounds::{Bounds, Presence};
pub(crate) use bounds::{mundinger_times, whole_pieces_times};
pub use config::{Arrivals, Class, FlowScenario, Leaving};
pub use draw::Draw;
pub use policy::{
    ChokePolicy, Me, Neighbour, NoChoke, OfClient, PiecePolicy, PieceView, RandomChoke,
    RandomPiece, RarestFirst, Sequential, Shipped, TitForTat,
};
pub use report::FlowReport;

use state::{Swarm, What};
use wheel::{Event, Kind};

/// Events between two times that progress is told.
const TELL_EVERY: u64 = 1 << 18;

impl FlowScenario {
    /// Runs it by the rules that ship.
    ///
    /// # Panics
    /// If [`FlowScenario::check`] finds a fault, or the run beats a bound.
    pub fn run(&self) -> FlowReport {
        let pieces = RarestFirst { random_first: self.client.random_first_pieces };
        self.run_with(&pieces, |_| Shipped::new(&self.client))
    }

    /// The same; `progress` is told now and then which share of all pieces is where it is to go.
    ///
    /// # Panics
    /// As [`FlowScenario::run`].
    pub fn run_told(&self, mut progress: impl FnMut(f64)) -> FlowReport {
        let pieces = RarestFirst { random_first: self.client.random_first_pieces };
        self.run_by(&pieces, |_| Shipped::new(&self.client), &mut progress)
    }

    /// Runs it by other rules: which piece is asked for, and for each peer whom it unchokes.
    ///
    /// # Panics
    /// If [`FlowScenario::check`] finds a fault, or the run beats a bound, or `pieces` picks what
    /// is no candidate.
    pub fn run_with<P, C>(&self, pieces: &P, chokes: impl FnMut(u32) -> C) -> FlowReport
    where
        P: PiecePolicy,
        C: ChokePolicy,
    {
        self.run_by(pieces, chokes, &mut |_| {})
    }

    fn run_by<P: PiecePolicy, C: ChokePolicy>(
        &self,
        pieces: &P,
        chokes: impl FnMut(u32) -> C,
        progress: &mut dyn FnMut(f64),
    ) -> FlowReport {
        if let Err(rule) = self.check() {
            panic!("a swarm needs {rule}");
        }
        let mut swarm = Swarm::new(self, pieces, chokes);
        swarm.run(progress);
        swarm.report()
    }
}

impl<P: PiecePolicy, C: ChokePolicy> Swarm<'_, P, C> {
    fn run(&mut self, progress: &mut dyn FnMut(f64)) {
        let leeches = u64::from(self.config.peers - self.config.seeds);
        let all = (leeches * u64::from(self.config.pieces)) as f64;
        for p in 0..self.config.peers {
            let came = self.minds[p as usize].came;
            self.post(p, p, came, Kind::Start, What::default());
        }
        let end = self.config.limit.as_micros() as u64;
        while self.tally.waiting > 0 {
            let Some(event) = self.wheel.pop() else { break };
            if event.at > end {
                break;
            }
            self.now = event.at;
            self.tally.events += 1;
            if self.tally.events.is_multiple_of(TELL_EVERY) {
                progress(self.tally.pieces as f64 / all);
            }
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        let Event { to, from, slot, piece, blocks, .. } = event;
        match event.kind {
            Kind::Start => self.start(to),
            Kind::Dial => self.dial(to, blocks == 0),
            Kind::Leave => self.go(to),
            Kind::Link => self.link(to, from, slot),
            Kind::Round => self.round(to),
            Kind::Uplink => self.uplink(to, piece),
            Kind::Wake => self.wake(to, slot),
            Kind::Arrive => self.arrive(event),
            Kind::Have => self.have(to, from, slot, piece),
            Kind::Interest => self.interest(to, from, slot),
            Kind::Choked => self.choked(to, from, slot),
            Kind::Rejected => self.rejected(event),
            Kind::Cancel => self.cancelled(event),
        }
    }
}
