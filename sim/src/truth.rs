//! What an overlay's nodes cannot know and its observer does: who was there when, and who was
//! closest to a key.

use wire::time::Time;
use wire::{Id, NodeId};

use crate::host::HostId;

/// A node from its first word to its last.
#[derive(Clone, Copy, Debug)]
struct Life {
    id: NodeId,
    joined: Time,
    ended: Option<Time>,
}

/// The lives of all nodes of a world, in the order of its hosts.
#[derive(Clone, Debug, Default)]
pub struct Lives(Vec<Life>);

impl Lives {
    /// The next host is a node with this id, from `joined` on.
    pub fn begin(&mut self, id: NodeId, joined: Time) {
        self.0.push(Life { id, joined, ended: None });
    }

    /// A node ends; the first end counts.
    pub fn end(&mut self, host: HostId, at: Time) {
        if let Some(life) = self.0.get_mut(host.0 as usize) {
            life.ended.get_or_insert(at);
        }
    }

    /// Whether a node has ended; one that never was has.
    pub fn has_ended(&self, host: HostId) -> bool {
        self.0.get(host.0 as usize).is_none_or(|life| life.ended.is_some())
    }

    /// The lives sorted for [`Truth::closest`].
    pub fn truth(&self) -> Truth {
        let mut lives = self.0.clone();
        lives.sort_unstable_by_key(|life| life.id);
        Truth(lives)
    }
}

/// Lives in the order of their ids.
#[derive(Clone, Debug)]
pub struct Truth(Vec<Life>);

impl Truth {
    /// The `count` nodes closest to `key`, nearest first, of those that were there from `from` to
    /// `to`, `but` one; fewer if there are no more.
    pub fn closest(
        &self,
        key: &Id,
        (from, to): (Time, Time),
        but: &NodeId,
        count: usize,
    ) -> Vec<NodeId> {
        let there = |life: &&Life| {
            life.joined <= from && life.ended.is_none_or(|ended| ended > to) && life.id != *but
        };
        // All that share so many bits with the key are closer to it than all others.
        let mut shared = self.0.len().max(1).ilog2();
        loop {
            let mut near: Vec<NodeId> =
                self.sharing(key, shared).iter().filter(there).map(|life| life.id).collect();
            if near.len() >= count || shared == 0 {
                near.sort_unstable_by_key(|id| id.distance_words(key));
                near.truncate(count);
                return near;
            }
            shared -= 1;
        }
    }

    /// Those whose first `bits` bits are the key's.
    fn sharing(&self, key: &Id, bits: u32) -> &[Life] {
        let (mut low, mut high) = (*key, *key);
        for bit in bits..160 {
            low.0[bit as usize / 8] &= !(0x80 >> (bit % 8));
            high.set_bit(bit, true);
        }
        let start = self.0.partition_point(|life| life.id < low);
        let end = self.0.partition_point(|life| life.id <= high);
        &self.0[start..end.max(start)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::{Rng, seed_from_u64};

    #[test]
    fn the_closest_are_those_that_a_look_at_all_finds() {
        for seed in 0..20 {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let mut lives = Lives::default();
            let nodes = [0, 1, 5, 40, 700][rng.index(5)];
            for n in 0..nodes {
                lives.begin(Id::random(&mut rng), Time::from_secs(rng.below(10).into()));
                if rng.chance(0.3) {
                    lives.end(HostId(n), Time::from_secs(u64::from(5 + rng.below(10))));
                }
            }
            let truth = lives.truth();
            for _ in 0..20 {
                let key = Id::random(&mut rng);
                let (from, to) = (Time::from_secs(6), Time::from_secs(8));
                let but = lives.0.first().map_or(Id::ZERO, |life| life.id);
                let there = |life: &&Life| {
                    life.joined <= from && life.ended.is_none_or(|at| at > to) && life.id != but
                };
                let mut want: Vec<NodeId> =
                    lives.0.iter().filter(there).map(|life| life.id).collect();
                want.sort_unstable_by_key(|id| id.distance_words(&key));
                want.truncate(8);
                assert_eq!(truth.closest(&key, (from, to), &but, 8), want, "seed {seed}");
            }
        }
    }
}
