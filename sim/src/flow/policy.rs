//! What a researcher may replace: which piece is asked for, and who is unchoked.

use client::{ChokeRound, ChokeRule, Choker, Config, ConnId, Contender};
use wire::rng::Rng;

use super::bits::{self, Counts};
use super::draw::Draw;
use super::maps::Maps;

/// A peer's view when it may ask a neighbour for another piece.
pub struct PieceView<'a> {
    /// The peer.
    pub peer: u32,
    /// Whom it asks.
    pub neighbour: u32,
    /// Pieces that it has.
    pub have: u32,
    /// Its draws.
    pub draw: &'a mut Draw,
    pub(super) now: u64,
    pub(super) candidates: &'a mut [u64],
    pub(super) counts: &'a mut Counts,
    pub(super) maps: &'a Maps,
    /// Neighbours, and how far they are in microseconds.
    pub(super) neighbours: (&'a [u32], &'a [u32]),
}

impl PieceView<'_> {
    /// What may be chosen: pieces that the neighbour told of and that are neither here nor asked for.
    /// A bit each, the lowest in the low bit of the first word. Never empty.
    pub fn candidates(&self) -> &[u64] {
        self.candidates
    }

    /// A candidate, each equally likely.
    pub fn random(&mut self) -> Option<u32> {
        bits::random(self.candidates, self.draw)
    }

    /// Counts how many neighbours told of each candidate, for [`PieceView::count`].
    pub fn count_all(&mut self) {
        self.counts.clear(self.candidates);
        // First all that is to be fetched from memory, which goes side by side.
        for &peer in self.neighbours.0 {
            self.counts.push(self.maps.of(peer));
        }
        for (at, (&peer, &latency)) in self.neighbours.0.iter().zip(self.neighbours.1).enumerate() {
            for piece in self.maps.late(peer, self.now, latency) {
                self.counts.remove(at, piece);
            }
        }
        self.counts.add_up();
    }

    /// How many neighbours told of a candidate, once they were counted by [`PieceView::count_all`].
    pub fn count(&self, piece: u32) -> u32 {
        self.counts.of(piece)
    }

    /// A candidate of which the fewest neighbours told, each of these equally likely.
    pub fn rarest(&mut self) -> Option<u32> {
        let total: u32 = self.candidates.iter().map(|word| word.count_ones()).sum();
        if total > 1 {
            self.count_all();
            self.counts.keep_least(self.candidates);
        }
        self.random()
    }
}

/// Which piece a peer asks for next.
pub trait PiecePolicy {
    /// One of the candidates of `view`; none asks for nothing until the neighbour has more.
    fn pick(&self, view: &mut PieceView<'_>) -> Option<u32>;
}

/// As the shipped `Picker` chooses: the rarest among the neighbours' with random ties, after a few at
/// random.
#[derive(Clone, Copy, Debug)]
pub struct RarestFirst {
    /// Pieces taken at random before; default 4, as [`Config::random_first_pieces`].
    pub random_first: u32,
}

impl Default for RarestFirst {
    fn default() -> RarestFirst {
        RarestFirst { random_first: Config::default().random_first_pieces }
    }
}

impl PiecePolicy for RarestFirst {
    fn pick(&self, view: &mut PieceView<'_>) -> Option<u32> {
        if view.have < self.random_first { view.random() } else { view.rarest() }
    }
}

/// Any piece, each equally likely.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomPiece;

impl PiecePolicy for RandomPiece {
    fn pick(&self, view: &mut PieceView<'_>) -> Option<u32> {
        view.random()
    }
}

/// The lowest piece, as who watches a film needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl PiecePolicy for Sequential {
    fn pick(&self, view: &mut PieceView<'_>) -> Option<u32> {
        bits::lowest(view.candidates())
    }
}

/// A neighbour at a choke round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The link to it: its name at this peer.
    pub slot: u32,
    /// The peer.
    pub peer: u32,
    /// Whether it wants anything of ours.
    pub interested: bool,
    /// Bytes per second that came from it since the last round.
    pub down_rate: u64,
    /// Bytes per second that went to it since the last round.
    pub up_rate: u64,
    /// Connected within the last two rounds.
    pub newcomer: bool,
}

/// The peer that decides, at a choke round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Me {
    /// The peer.
    pub peer: u32,
    /// It has all pieces.
    pub complete: bool,
}

/// Whom one peer unchokes; each peer has its own.
pub trait ChokePolicy {
    /// A round: puts the slots of those that are unchoked until the next into `unchoked`, which is
    /// empty. Neighbours that are not interested may be named; it has no effect.
    fn round(&mut self, me: Me, all: &[Neighbour], rng: &mut Rng, unchoked: &mut Vec<u32>);

    /// A neighbour became interested between rounds: whether it is unchoked at once.
    fn admit(&mut self, slot: u32) -> bool {
        let _ = slot;
        false
    }

    /// A neighbour is gone or no longer interested.
    fn leave(&mut self, slot: u32) {
        let _ = slot;
    }
}

impl<C: ChokePolicy + ?Sized> ChokePolicy for Box<C> {
    fn round(&mut self, me: Me, all: &[Neighbour], rng: &mut Rng, unchoked: &mut Vec<u32>) {
        (**self).round(me, all, rng, unchoked);
    }

    fn admit(&mut self, slot: u32) -> bool {
        (**self).admit(slot)
    }

    fn leave(&mut self, slot: u32) {
        (**self).leave(slot);
    }
}

/// A rule of the client: what was written for the simulation by blocks runs in this one, too.
pub struct OfClient<C>(pub C);

/// The rule that ships, run by the shipped [`Choker`] itself.
pub type Shipped = OfClient<Choker>;

impl Shipped {
    /// With the numbers of `config`.
    pub fn new(config: &Config) -> Shipped {
        OfClient(Choker::new(config.unchoke_slots, config.optimistic_rounds))
    }
}

impl Default for Shipped {
    fn default() -> Shipped {
        Shipped::new(&Config::default())
    }
}

impl<C: ChokeRule> ChokePolicy for OfClient<C> {
    fn round(&mut self, me: Me, all: &[Neighbour], rng: &mut Rng, unchoked: &mut Vec<u32>) {
        let contender = |n: &Neighbour| Contender {
            conn: ConnId::new(n.slot.into()),
            interested: n.interested,
            down_rate: n.down_rate,
            up_rate: n.up_rate,
            newcomer: n.newcomer,
        };
        let contenders: Vec<Contender> = all.iter().map(contender).collect();
        let mut chosen = Vec::new();
        let round = ChokeRound { complete: me.complete, contenders: &contenders };
        self.0.round(round, rng, &mut chosen);
        unchoked.extend(chosen.iter().map(|conn| conn.number() as u32));
    }

    fn admit(&mut self, slot: u32) -> bool {
        self.0.admit(ConnId::new(slot.into()))
    }

    fn leave(&mut self, slot: u32) {
        self.0.leave(ConnId::new(slot.into()));
    }
}

/// Cohen's rule as papers have it (BEP 3, IPTPS 2003): the best four by what they send, of a seed by
/// what they take, and one at random for three rounds. Nobody is unchoked between rounds.
#[derive(Clone, Debug, Default)]
pub struct TitForTat {
    rounds: u32,
    optimistic: Option<u32>,
}

impl ChokePolicy for TitForTat {
    fn round(&mut self, me: Me, all: &[Neighbour], rng: &mut Rng, unchoked: &mut Vec<u32>) {
        let rate = |n: &Neighbour| if me.complete { n.up_rate } else { n.down_rate };
        let mut ranked: Vec<&Neighbour> = all.iter().filter(|n| n.interested).collect();
        ranked.sort_by_key(|n| (std::cmp::Reverse(rate(n)), n.slot));
        let (best, rest) = ranked.split_at(ranked.len().min(4));
        let stays = self.optimistic.is_some_and(|slot| rest.iter().any(|n| n.slot == slot));
        if !stays || self.rounds.is_multiple_of(3) {
            self.optimistic = rest.get(rng.index(rest.len())).map(|n| n.slot);
        }
        self.rounds += 1;
        unchoked.extend(best.iter().map(|n| n.slot).chain(self.optimistic));
    }
}

/// Five at random each round.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomChoke;

impl ChokePolicy for RandomChoke {
    fn round(&mut self, _: Me, all: &[Neighbour], rng: &mut Rng, unchoked: &mut Vec<u32>) {
        let wanting: Vec<u32> = all.iter().filter(|n| n.interested).map(|n| n.slot).collect();
        unchoked.extend(rng.choose(wanting.len(), 5).map(|at| wanting[at]));
    }
}

/// Everybody is unchoked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChoke;

impl ChokePolicy for NoChoke {
    fn round(&mut self, _: Me, all: &[Neighbour], _: &mut Rng, unchoked: &mut Vec<u32>) {
        unchoked.extend(all.iter().map(|n| n.slot));
    }

    fn admit(&mut self, _: u32) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Picker;
    use client::wire::bitfield::Bitfield;

    const PIECES: u32 = 150;

    /// Neighbours with random pieces, some of them told just now, and what is begun here.
    fn swarm(rng: &mut Rng) -> (Maps, Vec<u32>, Vec<Bitfield>, Bitfield) {
        let mut maps = Maps::new(12, PIECES, 4);
        let mut known = Vec::new();
        let mut latency = Vec::new();
        for peer in 0..12 {
            let share = [0.0, 0.1, 0.5, 0.9, 1.0][rng.index(5)];
            let mut set = Bitfield::new(PIECES);
            latency.push(rng.below(1_000));
            for piece in (0..PIECES).filter(|_| rng.chance(share)) {
                // Known by 2,000 at the latest, but for four late ones.
                bits::insert(maps.of_mut(peer), piece);
                set.set(piece);
            }
            let mut at = 1_000;
            for _ in 0..rng.below(4) {
                let piece = rng.below(PIECES);
                at += u64::from(rng.below(400));
                if !set.get(piece) {
                    maps.add(peer, piece, at);
                    if at + u64::from(latency[peer as usize]) <= 2_000 {
                        set.set(piece);
                    }
                }
            }
            known.push(set);
        }
        let mut busy = Bitfield::new(PIECES);
        (0..PIECES).filter(|_| rng.chance(0.4)).for_each(|piece| busy.set(piece));
        (maps, latency, known, busy)
    }

    #[test]
    fn rarest_first_chooses_as_the_shipped_picker_does() {
        let mut rng = Rng::new(&[4; 32]);
        let mut counts = Counts::default();
        let (mut ties, mut hits) = (0, 0);
        for _ in 0..300 {
            let (maps, latency, known, busy) = swarm(&mut rng);
            let neighbour = rng.below(12);
            let has = &known[neighbour as usize];
            let free: Vec<u32> = has.ones().filter(|&piece| !busy.get(piece)).collect();
            let mut draw = Draw::new(rng.u64());
            let mut rarest = |draw: &mut Draw| {
                let mut candidates = vec![0; maps.words];
                free.iter().for_each(|&piece| bits::insert(&mut candidates, piece));
                let mut view = PieceView {
                    peer: 12,
                    neighbour,
                    have: 4,
                    draw,
                    now: 2_000,
                    candidates: &mut candidates,
                    counts: &mut counts,
                    maps: &maps,
                    neighbours: (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], &latency),
                };
                let chosen = RarestFirst::default().pick(&mut view);
                // What is left of the candidates is what it drew from.
                (chosen, candidates)
            };
            let mut picker = Picker::new(PIECES, &busy, Rng::new(&rng.bytes()));
            known.iter().for_each(|set| picker.add_peer(set));
            let shipped = picker.take_rarest(has);
            let (chosen, set) = rarest(&mut draw);
            assert_eq!(chosen.is_some(), shipped.is_some());
            let (Some(chosen), Some(shipped)) = (chosen, shipped) else { continue };
            assert!(bits::get(&set, shipped) && bits::get(&set, chosen), "{chosen} {shipped}");
            // Both draw anew among equals, so they differ at times.
            ties += u32::from(set.iter().map(|word| word.count_ones()).sum::<u32>() > 4);
            hits += u32::from(chosen == shipped);
        }
        assert!(ties > 30 && hits < 290, "{ties} {hits}");
    }

    #[test]
    fn tit_for_tat_unchokes_the_best_four_and_one_more() {
        let all: Vec<Neighbour> = (0..8)
            .map(|slot| Neighbour {
                slot,
                peer: slot,
                interested: slot != 7,
                down_rate: u64::from(slot),
                up_rate: u64::from(9 - slot),
                newcomer: false,
            })
            .collect();
        let mut rng = Rng::new(&[1; 32]);
        let round = |policy: &mut TitForTat, complete, rng: &mut Rng| {
            let mut unchoked = Vec::new();
            policy.round(Me { peer: 9, complete }, &all, rng, &mut unchoked);
            unchoked
        };
        let mut policy = TitForTat::default();
        let first = round(&mut policy, false, &mut rng);
        assert_eq!((first.len(), &first[..4]), (5, &[6, 5, 4, 3][..]));
        assert_eq!(round(&mut policy, false, &mut rng), first);
        assert_eq!(round(&mut TitForTat::default(), true, &mut rng)[..4], [0, 1, 2, 3]);
    }
}
