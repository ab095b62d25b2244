//! What an overlay's nodes cannot know and its observer does: who was there when, and who was
//! closest to a key.

use std::collections::BTreeMap;

use wire::time::Time;
use wire::{Id, NodeId};

use crate::host::HostId;

/// A node from its first word to its last, or from one start to the next end.
#[derive(Clone, Copy, Debug)]
struct Life {
    host: HostId,
    id: NodeId,
    joined: Time,
    ended: Option<Time>,
}

/// The lives of all nodes of a world.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    lives: Vec<Life>,
    /// Which life a host is in, or was in last.
    latest: Vec<u32>,
    /// Hosts that were away for a while without an end: from when to when.
    away: BTreeMap<u32, Vec<(Time, Time)>>,
}

impl Lives {
    /// The next host is a node with this id, from `joined` on.
    pub fn begin(&mut self, id: NodeId, joined: Time) {
        let host = HostId(self.latest.len() as u32);
        self.latest.push(self.lives.len() as u32);
        self.lives.push(Life { host, id, joined, ended: None });
    }

    /// A host whose node has ended is a node again, from `joined` on.
    pub fn begin_again(&mut self, host: HostId, id: NodeId, joined: Time) {
        self.end(host, joined);
        if let Some(latest) = self.latest.get_mut(host.0 as usize) {
            *latest = self.lives.len() as u32;
            self.lives.push(Life { host, id, joined, ended: None });
        }
    }

    /// A node ends; the first end counts.
    pub fn end(&mut self, host: HostId, at: Time) {
        if let Some(life) = self.latest_mut(host) {
            life.ended.get_or_insert(at);
        }
    }

    /// A node hears nothing for a while.
    pub fn away(&mut self, host: HostId, from: Time, until: Time) {
        self.away.entry(host.0).or_default().push((from, until));
    }

    /// A node has taken another id, as if it had had it from its start.
    pub fn rename(&mut self, host: HostId, id: NodeId) {
        if let Some(life) = self.latest_mut(host) {
            life.id = id;
        }
    }

    fn latest_mut(&mut self, host: HostId) -> Option<&mut Life> {
        self.lives.get_mut(*self.latest.get(host.0 as usize)? as usize)
    }

    /// Whether a node has ended and none has begun there since; one that never was has.
    pub fn has_ended(&self, host: HostId) -> bool {
        let life = self.latest.get(host.0 as usize).map(|at| &self.lives[*at as usize]);
        life.is_none_or(|life| life.ended.is_some())
    }

    /// The lives of the hosts that `counts`, sorted for [`Truth::closest`].
    pub fn truth(&self, counts: impl Fn(HostId) -> bool) -> Truth {
        let mut lives: Vec<Life> =
            self.lives.iter().filter(|life| counts(life.host)).copied().collect();
        lives.sort_unstable_by_key(|life| life.id);
        Truth { lives, away: self.away.clone() }
    }
}

/// Lives in the order of their ids.
#[derive(Clone, Debug)]
pub struct Truth {
    lives: Vec<Life>,
    away: BTreeMap<u32, Vec<(Time, Time)>>,
}

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
            life.joined <= from
                && life.ended.is_none_or(|ended| ended > to)
                && life.id != *but
                && !self.is_away(life.host, from, to)
        };
        // All that share so many bits with the key are closer to it than all others.
        let mut shared = self.lives.len().max(1).ilog2();
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

    /// Whether a host was away at any time from `from` to `to`.
    fn is_away(&self, host: HostId, from: Time, to: Time) -> bool {
        let away = self.away.get(&host.0).into_iter().flatten();
        away.into_iter().any(|(gone, back)| *gone <= to && from < *back)
    }

    /// Those whose first `bits` bits are the key's.
    fn sharing(&self, key: &Id, bits: u32) -> &[Life] {
        let (mut low, mut high) = (*key, *key);
        for bit in bits..160 {
            low.0[bit as usize / 8] &= !(0x80 >> (bit % 8));
            high.set_bit(bit, true);
        }
        let start = self.lives.partition_point(|life| life.id < low);
        let end = self.lives.partition_point(|life| life.id <= high);
        &self.lives[start..end.max(start)]
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
            let truth = lives.truth(|_| true);
            for _ in 0..20 {
                let key = Id::random(&mut rng);
                let (from, to) = (Time::from_secs(6), Time::from_secs(8));
                let but = lives.lives.first().map_or(Id::ZERO, |life| life.id);
                let there = |life: &&Life| {
                    life.joined <= from && life.ended.is_none_or(|at| at > to) && life.id != but
                };
                let mut want: Vec<NodeId> =
                    lives.lives.iter().filter(there).map(|life| life.id).collect();
                want.sort_unstable_by_key(|id| id.distance_words(&key));
                want.truncate(8);
                assert_eq!(truth.closest(&key, (from, to), &but, 8), want, "seed {seed}");
            }
        }
    }

    #[test]
    fn who_was_not_there_all_the_time_is_not_among_the_closest() {
        let at = Time::from_secs;
        let ids = [1, 2, 3, 4].map(|n| Id([n; 20]));
        let mut lives = Lives::default();
        ids[..3].iter().for_each(|id| lives.begin(*id, at(0)));
        lives.end(HostId(0), at(5));
        lives.begin_again(HostId(0), ids[3], at(10));
        lives.away(HostId(1), at(20), at(30));
        let closest = |lives: &Lives, from, to| {
            lives.truth(|_| true).closest(&Id::ZERO, (at(from), at(to)), &Id::ZERO, 8)
        };
        assert_eq!(closest(&lives, 1, 2), ids[..3]);
        assert_eq!(closest(&lives, 6, 7), ids[1..3]);
        assert_eq!(closest(&lives, 11, 12), ids[1..]);
        assert_eq!(closest(&lives, 19, 20), ids[2..]);
        assert_eq!(closest(&lives, 29, 30), ids[2..]);
        assert_eq!(closest(&lives, 30, 31), ids[1..]);
        assert!(!lives.has_ended(HostId(0)) && lives.has_ended(HostId(9)));
        lives.rename(HostId(0), ids[0]);
        assert_eq!(closest(&lives, 11, 12), ids[..3]);
        let second = lives.truth(|host| host == HostId(1));
        assert_eq!(second.closest(&Id::ZERO, (at(1), at(2)), &Id::ZERO, 8), ids[1..2]);
    }
}
