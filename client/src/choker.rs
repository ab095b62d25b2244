//! Who may ask us for blocks (BEP 3, "Choking and Optimistic Unchoking").
//!
//! Every round the interested peers with the best rates get the regular slots: while we leech by
//! what they send us, as a seed by what they take. One more, drawn at random every third round,
//! shows what it can do; newcomers are three times as likely to be drawn.

use wire::rng::Rng;

use crate::ConnId;
use crate::policy::{ChokeRound, ChokeRule};

/// A peer as the choker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The peer.
    pub conn: ConnId,
    /// Whether it wants anything of ours.
    pub interested: bool,
    /// Bytes per second that came from it over the last 10 s.
    pub down_rate: u64,
    /// Bytes per second that went to it over the last 10 s.
    pub up_rate: u64,
    /// Connected within the last round or two.
    pub newcomer: bool,
}

/// The rule that ships. It remembers the optimistic unchoke between rounds.
pub struct Choker {
    slots: usize,
    optimistic_rounds: u32,
    optimistic: Option<ConnId>,
    rounds_left: u32,
    unchoked: Vec<ConnId>,
}

impl Choker {
    /// A choker of `slots` regular slots whose optimistic unchoke lasts `optimistic_rounds`.
    pub fn new(slots: usize, optimistic_rounds: u32) -> Choker {
        Choker { slots, optimistic_rounds, optimistic: None, rounds_left: 0, unchoked: Vec::new() }
    }
}

impl ChokeRule for Choker {
    /// Decides anew. Ties go to who connected first.
    fn round(&mut self, round: ChokeRound<'_>, rng: &mut Rng, unchoked: &mut Vec<ConnId>) {
        let rate = |c: &Contender| if round.complete { c.up_rate } else { c.down_rate };
        let mut ranked: Vec<_> = round.contenders.iter().filter(|c| c.interested).collect();
        ranked.sort_by_key(|c| (std::cmp::Reverse(rate(c)), c.conn));
        let split = self.slots.min(ranked.len());
        let (regular, rest) = ranked.split_at(split);
        self.unchoked = regular.iter().map(|c| c.conn).collect();
        self.rounds_left = self.rounds_left.saturating_sub(1);
        let still = self.optimistic.filter(|conn| rest.iter().any(|c| c.conn == *conn));
        if still.is_none() || self.rounds_left == 0 {
            self.optimistic = draw(rest, rng);
            self.rounds_left = self.optimistic_rounds;
        }
        self.unchoked.extend(self.optimistic);
        unchoked.extend_from_slice(&self.unchoked);
    }

    /// True if a slot is free, and it has it now.
    fn admit(&mut self, conn: ConnId) -> bool {
        if self.unchoked.contains(&conn) {
            return true;
        }
        let free = self.unchoked.len() <= self.slots;
        if free {
            self.unchoked.push(conn);
        }
        free
    }

    /// Its slot is free.
    fn leave(&mut self, conn: ConnId) {
        self.unchoked.retain(|c| *c != conn);
        if self.optimistic == Some(conn) {
            self.optimistic = None;
        }
    }
}

fn draw(rest: &[&Contender], rng: &mut Rng) -> Option<ConnId> {
    let weight = |c: &Contender| if c.newcomer { 3 } else { 1 };
    let total: u32 = rest.iter().map(|c| weight(c)).sum();
    let mut ticket = rng.below(total);
    rest.iter()
        .find(|c| match ticket.checked_sub(weight(c)) {
            Some(left) => {
                ticket = left;
                false
            }
            None => true,
        })
        .map(|c| c.conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(choker: &mut Choker, contenders: &[Contender], rng: &mut Rng) -> Vec<ConnId> {
        let mut unchoked = Vec::new();
        choker.round(ChokeRound { complete: false, contenders }, rng, &mut unchoked);
        unchoked
    }

    fn peers(rates: &[u64]) -> Vec<Contender> {
        rates
            .iter()
            .enumerate()
            .map(|(i, &rate)| Contender {
                conn: ConnId::new(i as u64),
                interested: true,
                down_rate: rate,
                up_rate: 0,
                newcomer: false,
            })
            .collect()
    }

    #[test]
    fn the_best_get_the_slots_and_one_more_is_drawn() {
        let mut choker = Choker::new(4, 3);
        let mut rng = Rng::new(&[1; 32]);
        let contenders = peers(&[5, 50, 10, 40, 30, 20, 0, 0]);
        let unchoked = round(&mut choker, &contenders, &mut rng);
        let best: Vec<ConnId> = [1, 3, 4, 5].map(ConnId::new).to_vec();
        assert_eq!(unchoked[..4], best[..]);
        assert_eq!(unchoked.len(), 5);
        let optimistic = unchoked[4];
        for _ in 0..2 {
            assert_eq!(round(&mut choker, &contenders, &mut rng)[4], optimistic);
        }
        let drawn: std::collections::BTreeSet<_> =
            (0..60).map(|_| round(&mut choker, &contenders, &mut rng)[4]).collect();
        assert_eq!(drawn.len(), 4, "all of the rest have their turn");
    }

    #[test]
    fn who_wants_nothing_gets_nothing() {
        let mut choker = Choker::new(4, 3);
        let mut contenders = peers(&[5, 6]);
        contenders[1].interested = false;
        assert_eq!(round(&mut choker, &contenders, &mut Rng::new(&[1; 32])), [ConnId::new(0)]);
    }

    #[test]
    fn a_free_slot_is_given_between_rounds() {
        let mut choker = Choker::new(1, 3);
        assert!(choker.admit(ConnId::new(1)));
        assert!(choker.admit(ConnId::new(2)), "the optimistic slot");
        assert!(!choker.admit(ConnId::new(3)));
        choker.leave(ConnId::new(1));
        assert!(choker.admit(ConnId::new(3)));
    }
}
