//! Whom a lookup heard of, by their distance to its target, and on which of its paths.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use wire::Id;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::NodeInfo;
use crate::keyed::network;

/// Names a candidate of one lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(pub(crate) u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    New,
    Asked {
        late_at: Time,
        over_at: Time,
    },
    /// Another node is asked in its place.
    Late {
        over_at: Time,
    },
    /// Only a patient lookup still waits for it.
    Over,
    Answered,
    Failed,
}

impl State {
    pub(crate) fn is_pending(self) -> bool {
        matches!(self, State::Asked { .. } | State::Late { .. } | State::Over)
    }
}

/// The queries of a lookup that have no answer.
pub(crate) struct Pending {
    /// Those of the first path that are not late.
    pub(crate) in_time: usize,
    /// Whether any is over.
    pub(crate) over: bool,
    /// When the next one becomes late, or over.
    pub(crate) next: Option<Time>,
}

/// A node that was heard of.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) distance: Id,
    pub(crate) known: bool,
    pub(crate) addr: SocketAddr,
    /// That of the address, as whoever holds it counts once.
    pub(crate) network: u64,
    pub(crate) key: Key,
    pub(crate) state: State,
    /// It is asked whatever its rank.
    pub(crate) extra: bool,
    pub(crate) token: Option<Box<[u8]>>,
    /// Queries on the way from our own contacts to it, itself included.
    pub(crate) hops: u32,
    /// Its usual round trip in milliseconds, if it is a contact of ours that answered before.
    pub(crate) rtt_ms: Option<u16>,
    /// The path that heard of it: 0 is the first.
    pub(crate) path: u8,
}

/// The candidates of a lookup, closest first.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    pub(crate) list: Vec<Candidate>,
    target: Id,
    /// Of each path while these are apart.
    max: usize,
    /// Whether paths beside the first have not ended.
    pub(crate) split: bool,
    next_key: u32,
}

impl Candidates {
    /// None yet, at most `max` on each of the paths.
    pub(crate) fn new(target: Id, max: usize, split: bool) -> Candidates {
        Candidates { list: Vec::new(), target, max, split, next_key: 0 }
    }

    /// The key of the next one that is inserted.
    pub(crate) fn next_key(&self) -> Key {
        Key(self.next_key)
    }

    pub(crate) fn position(&self, key: Key) -> Option<usize> {
        self.list.iter().position(|c| c.key == key)
    }

    pub(crate) fn alive_before(&self, rank: usize) -> usize {
        self.list.iter().take(rank).filter(|c| c.state != State::Failed).count()
    }

    /// Whether it has this node, or another in its place: with its id, at its address or, as who has a
    /// network can put a node with any id at each of its addresses, in its network. Another that did
    /// not answer holds no place, and one that may not holds none on other paths: anybody can name
    /// what is not there.
    pub(crate) fn knows(&self, node: &NodeInfo, path: u8) -> bool {
        let global = AddrScope::of(node.addr.ip()) == AddrScope::Global;
        let own = network(node.addr.ip());
        let distance = node.id.distance(&self.target);
        self.list.iter().any(|c| {
            // What is cheap and rare to be the same is looked at first.
            let near = c.network == own;
            let same_id = c.distance.0[19] == distance.0[19] && c.known && c.distance == distance;
            if !near && !same_id {
                return false;
            }
            let same_addr = near && c.addr == node.addr;
            let counts = match c.state {
                State::Failed => false,
                State::Answered => true,
                _ => c.path == path || !self.split,
            };
            let same_network = global && c.known && near;
            (same_addr && same_id) || (counts && (same_addr || same_id || same_network))
        })
    }

    /// The candidate at this rank answered; `distance` is that of its id.
    pub(crate) fn answered(&mut self, at: usize, distance: Id) -> &mut Candidate {
        let candidate = &self.list[at];
        let in_place = candidate.known
            && candidate.distance == distance
            && (at == 0 || self.list[at - 1].distance < distance);
        if in_place {
            return &mut self.list[at];
        }
        let mut candidate = self.list.remove(at);
        if !candidate.known {
            // A bootstrap contact may turn out to be a node that was known by its id.
            self.list.retain(|c| c.distance != distance);
        }
        (candidate.distance, candidate.known) = (distance, true);
        let rank = self.list.partition_point(|c| c.distance < distance);
        self.list.insert(rank, candidate);
        &mut self.list[rank]
    }

    pub(crate) fn insert(
        &mut self,
        distance: Id,
        known: bool,
        addr: SocketAddr,
        hops: u32,
        path: u8,
    ) -> usize {
        let rank = self.list.partition_point(|c| c.distance <= distance);
        let key = Key(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        let state = State::New;
        let (token, rtt_ms, extra, network) = (None, None, false, network(addr.ip()));
        let candidate = Candidate {
            distance,
            known,
            addr,
            network,
            key,
            state,
            extra,
            token,
            hops,
            rtt_ms,
            path,
        };
        self.list.insert(rank, candidate);
        self.forget_one(rank, path)
    }

    /// If the path of the candidate at `rank` has too many, forgets the farthest behind it that is not
    /// needed, or that one itself: no path pushes out what another found. Returns its rank.
    fn forget_one(&mut self, rank: usize, path: u8) -> usize {
        let of_path = |c: &Candidate| c.path == path || !self.split;
        if self.list.iter().filter(|c| of_path(c)).count() <= self.max {
            return rank;
        }
        let behind = &self.list[rank + 1..];
        let last = |fit: &dyn Fn(&Candidate) -> bool| {
            behind.iter().rposition(|c| of_path(c) && fit(c)).map(|at| rank + 1 + at)
        };
        let gone = last(&|c| matches!(c.state, State::New | State::Failed))
            .or_else(|| last(&|c| !c.state.is_pending()))
            .unwrap_or(rank);
        self.list.remove(gone);
        if gone == rank { self.list.len() } else { rank }
    }

    /// The paths have ended: their candidates are those of one lookup. Who answered has its network
    /// for itself.
    pub(crate) fn unite(&mut self) {
        self.split = false;
        let is_global = |c: &Candidate| AddrScope::of(c.addr.ip()) == AddrScope::Global;
        let answered = |c: &&Candidate| c.state == State::Answered && is_global(c);
        let mut taken = BTreeMap::new();
        for candidate in self.list.iter().filter(answered) {
            taken.entry(candidate.network).or_insert(candidate.key);
        }
        self.list.retain(|c| {
            let by = taken.get(&c.network).filter(|_| c.known && is_global(c));
            by.is_none_or(|key| *key == c.key)
        });
    }

    /// Moves queries on that are overdue, and counts those that are waited for.
    pub(crate) fn pending(&mut self, now: Time) -> Pending {
        let mut pending = Pending { in_time: 0, over: false, next: None };
        for candidate in &mut self.list {
            if let State::Asked { late_at, over_at } = candidate.state
                && late_at <= now
            {
                candidate.state = State::Late { over_at };
            }
            if let State::Late { over_at } = candidate.state
                && over_at <= now
            {
                candidate.state = State::Over;
            }
            let due = match candidate.state {
                State::Asked { late_at, .. } => {
                    pending.in_time += usize::from(!self.split || candidate.path == 0);
                    late_at
                }
                State::Late { over_at } => over_at,
                State::Over => {
                    pending.over = true;
                    continue;
                }
                _ => continue,
            };
            pending.next = Some(pending.next.map_or(due, |next| next.min(due)));
        }
        pending
    }
}
