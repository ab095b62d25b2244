//! One iterative lookup (Kademlia 2002, "node lookup"; BEP 5, "Overview"), as a value.
//!
//! It keeps the candidates that it heard of in the order of their distance to the target and says
//! whom to ask next. While it converges, at most alpha queries wait for an answer. Once a reply
//! brings nothing new among the k closest, all of these that were not asked are asked at once. A
//! query that is late frees its place, and still counts if its answer comes.

use std::net::SocketAddr;
use std::time::Duration;

use wire::scope::AddrScope;
use wire::time::Time;
use wire::{Id, NodeId};

use crate::{NodeInfo, SocketId};

/// The three numbers of a lookup.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Nodes that end it, and nodes of a reply that it takes.
    pub k: usize,
    /// Queries that may wait for an answer at once while it converges.
    pub alpha: usize,
    /// Candidates that it remembers.
    pub candidates_max: usize,
}

/// Names a candidate of one lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u32);

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Ask this node; then ask for the next step.
    Ask {
        /// Names the node in what follows.
        key: Key,
        /// Its id, unless it is a bootstrap contact.
        id: Option<NodeId>,
        /// Where it is.
        addr: SocketAddr,
        /// The socket by which it was heard of.
        via: SocketId,
    },
    /// Wait for an answer, a failure, or this moment: a query will be late then, or over.
    Wait(Option<Time>),
    /// The k closest have answered, or nobody is left to ask.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    New,
    Asked {
        late_at: Time,
        over_at: Time,
    },
    /// Another node is asked in its place.
    Late {
        over_at: Time,
    },
    /// The lookup does not wait for it any more, unless nobody has answered.
    Over,
    Answered,
    Failed,
}

impl State {
    fn is_pending(self) -> bool {
        matches!(self, State::Asked { .. } | State::Late { .. } | State::Over)
    }
}

/// The queries of a lookup that have no answer.
struct Pending {
    /// Those that are not late.
    in_time: usize,
    /// Whether any late one is waited for.
    late: bool,
    /// When the next one becomes late, or over.
    next: Option<Time>,
}

#[derive(Clone, Debug)]
struct Candidate {
    distance: Id,
    known: bool,
    addr: SocketAddr,
    via: SocketId,
    key: Key,
    state: State,
    token: Option<Box<[u8]>>,
}

/// A lookup of one family.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: Id,
    rules: Rules,
    candidates: Vec<Candidate>,
    converged: bool,
    next_key: u32,
    asked: u32,
    answered: u32,
}

impl Lookup {
    /// A lookup of `target` that knows nobody yet.
    pub fn new(target: Id, rules: Rules) -> Lookup {
        Lookup {
            target,
            rules,
            candidates: Vec::new(),
            converged: false,
            next_key: 0,
            asked: 0,
            answered: 0,
        }
    }

    /// Hears of a node. Returns whether it is now among the k closest that may answer.
    pub fn add(&mut self, node: NodeInfo, via: SocketId) -> bool {
        if self.knows(&node) {
            return false;
        }
        let distance = node.id.distance(&self.target);
        let rank = self.insert(distance, true, node.addr, via);
        rank < self.rules.candidates_max && self.alive_before(rank) < self.rules.k
    }

    /// Hears of a bootstrap contact, whose id nobody knows; it is asked after all others.
    pub fn add_seed(&mut self, addr: SocketAddr, via: SocketId) {
        if !self.candidates.iter().any(|c| c.addr == addr) {
            self.insert(Id([0xff; 20]), false, addr, via);
        }
    }

    fn knows(&self, node: &NodeInfo) -> bool {
        // One owner of an address could invent any number of ids for it.
        let global = AddrScope::of(node.addr.ip()) == AddrScope::Global;
        let distance = node.id.distance(&self.target);
        self.candidates.iter().any(|c| {
            c.addr == node.addr
                || (c.known && c.distance == distance)
                || (global && c.known && c.addr.ip() == node.addr.ip())
        })
    }

    fn insert(&mut self, distance: Id, known: bool, addr: SocketAddr, via: SocketId) -> usize {
        let rank = self.candidates.partition_point(|c| c.distance <= distance);
        let key = Key(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        let state = State::New;
        let candidate = Candidate { distance, known, addr, via, key, state, token: None };
        self.candidates.insert(rank, candidate);
        self.candidates.truncate(self.rules.candidates_max);
        rank
    }

    fn alive_before(&self, rank: usize) -> usize {
        self.candidates.iter().take(rank).filter(|c| c.state != State::Failed).count()
    }

    /// What to do now. A query that is asked now is late after `soft_timeout`; after two of these
    /// the lookup can end without it.
    pub fn next(&mut self, now: Time, soft_timeout: Duration) -> Step {
        let Pending { in_time, late, next } = self.pending(now);
        let places = if self.converged { self.rules.k } else { self.rules.alpha };
        // Late ones are passed over: the next in line stands in until they answer.
        let mut ranked = 0;
        let mut waiting = false;
        for candidate in &mut self.candidates {
            match candidate.state {
                State::Failed | State::Late { .. } | State::Over => continue,
                State::Answered => {}
                State::Asked { .. } => waiting = true,
                State::New if in_time < places => {
                    let late_at = now + soft_timeout;
                    candidate.state = State::Asked { late_at, over_at: late_at + soft_timeout };
                    self.asked += 1;
                    return Step::Ask {
                        key: candidate.key,
                        id: candidate.known.then(|| candidate.distance.distance(&self.target)),
                        addr: candidate.addr,
                        via: candidate.via,
                    };
                }
                State::New => return Step::Wait(next),
            }
            ranked += 1;
            if ranked == self.rules.k {
                break;
            }
        }
        if waiting || (late && ranked < self.rules.k) { Step::Wait(next) } else { Step::Done }
    }

    /// Moves queries on that are overdue, and counts those that are waited for.
    fn pending(&mut self, now: Time) -> Pending {
        let mut pending = Pending { in_time: 0, late: false, next: None };
        let mut over = false;
        for candidate in &mut self.candidates {
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
                    pending.in_time += 1;
                    late_at
                }
                State::Late { over_at } => {
                    pending.late = true;
                    over_at
                }
                State::Over => {
                    over = true;
                    continue;
                }
                _ => continue,
            };
            pending.next = Some(pending.next.map_or(due, |next| next.min(due)));
        }
        pending.late |= over && self.answered == 0;
        pending
    }

    fn position(&self, key: Key) -> Option<usize> {
        self.candidates.iter().position(|c| c.key == key)
    }

    /// The node named by `key` answered: under which id, with which token, and which nodes it told
    /// of. Only the k of these that are closest to the target are taken.
    pub fn on_reply(
        &mut self,
        key: Key,
        id: NodeId,
        token: Option<&[u8]>,
        nodes: &mut Vec<NodeInfo>,
        via: SocketId,
    ) {
        let Some(at) = self.position(key) else { return };
        if !self.candidates[at].state.is_pending() {
            return;
        }
        self.answered += 1;
        let mut candidate = self.candidates.remove(at);
        let was_known = candidate.known;
        candidate.distance = id.distance(&self.target);
        candidate.known = true;
        candidate.state = State::Answered;
        candidate.token = token.map(Box::from);
        if !was_known {
            // A bootstrap contact may turn out to be a node that was known by its id.
            self.candidates.retain(|c| c.distance != candidate.distance);
        }
        let rank = self.candidates.partition_point(|c| c.distance < candidate.distance);
        self.candidates.insert(rank, candidate);

        nodes.sort_unstable_by_key(|node| node.id.distance(&self.target));
        nodes.truncate(self.rules.k);
        let mut closer = false;
        for node in nodes.iter() {
            closer |= self.add(*node, via);
        }
        self.converged = was_known && !closer;
    }

    /// The node named by `key` will not answer.
    pub fn on_failure(&mut self, key: Key) {
        if let Some(at) = self.position(key) {
            let state = &mut self.candidates[at].state;
            if state.is_pending() {
                *state = State::Failed;
            }
        }
    }

    /// The closest nodes that answered, closest first, at most k; with their tokens.
    pub fn closest(&self) -> impl Iterator<Item = (NodeInfo, SocketId, Option<&[u8]>)> {
        let answered = self.candidates.iter().filter(|c| c.state == State::Answered);
        answered.take(self.rules.k).map(|c| {
            let id = c.distance.distance(&self.target);
            (NodeInfo { id, addr: c.addr }, c.via, c.token.as_deref())
        })
    }

    /// The key that is looked for.
    pub fn target(&self) -> Id {
        self.target
    }

    /// Whether the k closest are known, as far as the replies tell.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Queries so far.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// Replies so far.
    pub fn answered(&self) -> u32 {
        self.answered
    }
}
