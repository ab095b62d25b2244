//! One iterative lookup (Kademlia 2002, "node lookup"; BEP 5, "Overview"), as a value.
//!
//! It keeps the candidates that it heard of in the order of their distance to the target and says
//! whom to ask next. While it converges, at most alpha queries wait for an answer, and one on each
//! further path. Once a reply brings nothing new among the k closest, all of these that were not
//! asked are asked at once. A query that is late frees its place, and still counts if its answer
//! comes.
//!
//! It may take further paths beside this one (Baumgart and Mies 2007, "S/Kademlia: A practicable
//! approach towards secure key-based routing"): each begins at contacts of its own, and follows only
//! what those tell whom it asked. Whoever leads one path astray has no part in the others. When all
//! have ended, their candidates become those of one lookup.

use std::net::SocketAddr;
use std::time::Duration;

use wire::time::Time;
use wire::{Id, NodeId};

use crate::NodeInfo;
pub use crate::candidates::Key;
use crate::candidates::{Candidate, Candidates, Pending, State};
use crate::estimate::part_of_space;
use crate::lookup_policy::{Choice, LookupPolicy, LookupView};

/// The numbers of a lookup.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Nodes that end it, and nodes of a reply that it takes.
    pub k: usize,
    /// Queries that may wait for an answer at once while it converges.
    pub alpha: usize,
    /// Once it converges, so many beyond the k closest are asked with them.
    pub spare: usize,
    /// Candidates that each of its paths remembers; it asks at most twice as many.
    pub candidates_max: usize,
    /// If the k-th closest node is farther away than this part of the key space, some are missing;
    /// `None` if nobody knows how far it should be.
    pub far: Option<f64>,
    /// So many more are asked then, whatever their rank.
    pub more: u32,
    /// Nodes nearer to this id than this part of the key space are not believed in.
    pub shunned: Option<(Id, f64)>,
    /// Paths beside the first.
    pub paths: u8,
}

/// A path beside the first asks one node at a time, and ends once so many of its closest answered.
const PATH_ANSWERS: usize = 2;

/// How long a query is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// It is late then: another node is asked in its place, and both are waited for.
    pub late: Duration,
    /// The lookup can end without it then; at least `late`.
    pub over: Duration,
}

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
    },
    /// Wait for an answer, a failure, or this moment: a query will be late then, or over.
    Wait(Option<Time>),
    /// The k closest have answered, or nobody is left to ask.
    Done,
}

impl Candidate {
    fn ask(&mut self, target: &Id, now: Time, patience: Patience) -> Step {
        let (late_at, over_at) = (now + patience.late, now + patience.over);
        self.state = State::Asked { late_at, over_at };
        Step::Ask {
            key: self.key,
            id: self.known.then(|| self.distance.distance(target)),
            addr: self.addr,
        }
    }
}

/// A lookup of one family.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: Id,
    rules: Rules,
    candidates: Candidates,
    converged: bool,
    extended: bool,
    more_asked: u32,
    asked: u32,
    answered: u32,
}

impl Lookup {
    /// A lookup of `target` that knows nobody yet.
    pub fn new(target: Id, rules: Rules) -> Lookup {
        Lookup {
            target,
            rules,
            candidates: Candidates::new(target, rules.candidates_max, rules.paths > 0),
            converged: false,
            extended: false,
            more_asked: 0,
            asked: 0,
            answered: 0,
        }
    }

    /// Hears of a node. Returns whether it is now among the k closest that may answer.
    pub fn add(&mut self, node: NodeInfo) -> bool {
        self.add_after(node, 0, 0)
    }

    /// Hears of a contact of ours from which one of the paths begins; 0 is the first.
    pub fn add_to_path(&mut self, path: u8, node: NodeInfo) {
        self.add_after(node, 0, path);
    }

    /// Hears of a contact of ours with this usual round trip.
    pub fn add_contact(&mut self, node: NodeInfo, rtt_ms: Option<u16>) {
        let key = self.candidates.next_key();
        self.add_after(node, 0, 0);
        if let Some(candidate) = self.candidates.list.iter_mut().find(|c| c.key == key) {
            candidate.rtt_ms = rtt_ms;
        }
    }

    /// Hears of a node from one of this path that is `hops` queries away.
    fn add_after(&mut self, node: NodeInfo, hops: u32, path: u8) -> bool {
        let shunned = self
            .rules
            .shunned
            .is_some_and(|(id, near)| part_of_space(&node.id.distance(&id)) < near);
        if shunned || self.candidates.knows(&node, path) {
            return false;
        }
        let distance = node.id.distance(&self.target);
        let rank = self.candidates.insert(distance, true, node.addr, hops + 1, path);
        rank < self.candidates.list.len() && self.candidates.alive_before(rank) < self.rules.k
    }

    /// Hears of a bootstrap contact, whose id nobody knows; it is asked before all others or after them.
    pub fn add_seed(&mut self, addr: SocketAddr, first: bool) {
        if !self.candidates.list.iter().any(|c| c.addr == addr) {
            let distance = Id([if first { 0 } else { 0xff }; 20]);
            self.candidates.insert(distance, false, addr, 1, 0);
        }
    }

    /// What to do now. A query that is asked now is late and over by `patience`; a `patient` lookup
    /// waits on even then.
    pub fn next(&mut self, now: Time, patience: Patience, patient: bool) -> Step {
        self.next_by(None, now, patience, patient)
    }

    /// ... as `policy` says on the first path, if there is one.
    pub(crate) fn next_by(
        &mut self,
        policy: Option<&dyn LookupPolicy>,
        now: Time,
        patience: Patience,
        patient: bool,
    ) -> Step {
        let pending = self.candidates.pending(now);
        if self.extended {
            return self.next_extra(now, patience, &pending);
        }
        if self.asked as usize >= 2 * self.rules.candidates_max {
            // Whoever has enough networks could name a nearer node without end.
            return pending.next.map_or(Step::Done, |next| Step::Wait(Some(next)));
        }
        let step = match policy {
            None => self.next_of_first(now, patience, patient, &pending),
            Some(policy) => self.next_of_policy(policy, now, patience, patient, &pending),
        };
        if !self.candidates.split || matches!(step, Step::Ask { .. }) {
            return step;
        }
        match (self.next_beside(now, patience, pending.next), step) {
            (Some(beside), _) => beside,
            (None, Step::Done) => {
                self.candidates.unite();
                self.next_by(policy, now, patience, patient)
            }
            (None, step) => step,
        }
    }

    /// What to do on the first path, or on the only one.
    fn next_of_first(
        &mut self,
        now: Time,
        patience: Patience,
        patient: bool,
        pending: &Pending,
    ) -> Step {
        let &Pending { in_time, over, next } = pending;
        // Some of the closest will not answer: the next in line are asked with them.
        let reach = self.rules.k + if self.converged { self.rules.spare } else { 0 };
        let places = if self.converged { reach } else { self.rules.alpha };
        if let Some(step) = self.first_step(now, patience, in_time) {
            return step;
        }
        let (mut ranked, mut answered) = (0, 0);
        let mut waiting = over && patient;
        let split = self.candidates.split;
        for candidate in self.candidates.list.iter_mut().filter(|c| !split || c.path == 0) {
            match candidate.state {
                State::Failed | State::Over => continue,
                // The next in line stands in for a late one, and both are waited for.
                State::Late { .. } => {
                    waiting = true;
                    continue;
                }
                State::Answered => {}
                State::Asked { .. } => waiting = true,
                State::New if in_time < places => {
                    self.asked += 1;
                    return candidate.ask(&self.target, now, patience);
                }
                State::New => return Step::Wait(next),
            }
            ranked += 1;
            answered += usize::from(candidate.state == State::Answered);
            if ranked == reach || answered == self.rules.k {
                break;
            }
        }
        if waiting {
            return Step::Wait(next);
        }
        match self.ask_more(now, patience, in_time) {
            Some(step) => step,
            // Those that were asked beyond the k closest may know better.
            None if in_time > 0 && self.more_asked > 0 => Step::Wait(next),
            None => Step::Done,
        }
    }

    /// What a policy does on the first path, or on the only one. It can ask nobody twice, and wait for
    /// nobody.
    fn next_of_policy(
        &mut self,
        policy: &dyn LookupPolicy,
        now: Time,
        patience: Patience,
        patient: bool,
        pending: &Pending,
    ) -> Step {
        let Lookup { target, rules, candidates, .. } = &*self;
        let so_far = (self.asked, self.answered, self.converged);
        let view = LookupView::new(candidates, target, rules, patient, so_far);
        match policy.next(&view) {
            Choice::Ask(key) => {
                let new = |c: &&mut Candidate| c.key == key && c.state == State::New;
                match self.candidates.list.iter_mut().find(new) {
                    Some(candidate) => {
                        self.asked += 1;
                        candidate.ask(&self.target, now, patience)
                    }
                    None => Step::Done,
                }
            }
            Choice::Wait if self.is_asking() => Step::Wait(pending.next),
            Choice::Wait | Choice::Done => Step::Done,
        }
    }

    /// What to do on the paths beside the first; `None` once they have ended.
    fn next_beside(&mut self, now: Time, patience: Patience, next: Option<Time>) -> Option<Step> {
        let mut waiting = false;
        for path in 1..=self.rules.paths {
            let asking = |c: &Candidate| c.path == path && matches!(c.state, State::Asked { .. });
            if self.candidates.list.iter().any(asking) {
                waiting = true;
                continue;
            }
            let alive = |c: &&mut Candidate| {
                c.path == path && matches!(c.state, State::New | State::Answered)
            };
            let mut closest = self.candidates.list.iter_mut().filter(alive).take(PATH_ANSWERS);
            if let Some(candidate) = closest.find(|c| c.state == State::New) {
                self.asked += 1;
                return Some(candidate.ask(&self.target, now, patience));
            }
        }
        waiting.then_some(Step::Wait(next))
    }

    /// Whether the k-th closest that answered is farther away than it should be.
    fn is_far(&self) -> bool {
        let mut answered = self.candidates.list.iter().filter(|c| c.state == State::Answered);
        let kth = answered.nth(self.rules.k.max(1) - 1);
        kth.zip(self.rules.far).is_some_and(|(kth, far)| part_of_space(&kth.distance) > far)
    }

    /// Whoever answered may have been in league, and have told of their own kind only: while there are
    /// fewer nodes than there should be, others are asked, alpha at once.
    fn ask_more(&mut self, now: Time, patience: Patience, in_time: usize) -> Option<Step> {
        let full = in_time >= self.rules.alpha || self.more_asked >= self.rules.more;
        if full || self.candidates.split || !self.is_far() {
            return None;
        }
        let next = self.candidates.list.iter_mut().find(|c| c.state == State::New)?;
        self.more_asked += 1;
        self.asked += 1;
        Some(next.ask(&self.target, now, patience))
    }

    /// Takes these nodes in, whatever their rank, and forgets those that need not be asked any more. The
    /// lookup is done once they have answered.
    pub fn extend(&mut self, nodes: impl Iterator<Item = NodeInfo>) {
        self.extended = true;
        self.candidates.list.retain(|c| c.state != State::New);
        for node in nodes {
            let key = self.candidates.next_key();
            self.add_after(node, 0, 0);
            if let Some(candidate) = self.candidates.list.iter_mut().find(|c| c.key == key) {
                candidate.extra = true;
            }
        }
    }

    fn next_extra(&mut self, now: Time, patience: Patience, pending: &Pending) -> Step {
        let &Pending { in_time, next, .. } = pending;
        let extras = || self.candidates.list.iter().filter(|c| c.extra);
        let waiting = extras().any(|c| matches!(c.state, State::Asked { .. } | State::Late { .. }));
        let new = self.candidates.list.iter_mut().find(|c| c.extra && c.state == State::New);
        match new {
            Some(candidate) if in_time < self.rules.k => {
                self.asked += 1;
                candidate.ask(&self.target, now, patience)
            }
            Some(_) => Step::Wait(next),
            None if waiting => Step::Wait(next),
            None => Step::Done,
        }
    }

    /// Of our own contacts that are all about as close the quickest are asked first: whoever answers
    /// first leads on.
    fn first_step(&mut self, now: Time, patience: Patience, in_time: usize) -> Option<Step> {
        if self.answered > 0 || in_time >= self.rules.alpha {
            return None;
        }
        let closest = self.candidates.list.iter_mut().filter(|c| c.path == 0).take(self.rules.k);
        let quickest = closest
            .filter(|c| c.state == State::New && c.rtt_ms.is_some())
            .min_by_key(|c| c.rtt_ms)?;
        self.asked += 1;
        Some(quickest.ask(&self.target, now, patience))
    }

    /// Whether it asked as many as it may at once, and all of them are late.
    pub fn is_silent(&mut self, now: Time) -> bool {
        let full = self.asked as usize >= self.rules.alpha;
        full && self.answered == 0 && self.candidates.pending(now).in_time == 0
    }

    /// Forgets those that did not answer, so that they can be asked again when they are heard of.
    pub fn forget_failed(&mut self) {
        self.candidates.list.retain(|c| c.state != State::Failed);
    }

    /// Whether any query is out.
    pub fn is_asking(&self) -> bool {
        self.candidates.list.iter().any(|c| c.state.is_pending())
    }

    /// The node named by `key` answered: under which id, with which token, and which nodes it told
    /// of. Only the k of these that are closest to the target are taken.
    pub fn on_reply(
        &mut self,
        key: Key,
        id: NodeId,
        token: Option<&[u8]>,
        nodes: &mut Vec<NodeInfo>,
    ) {
        let Some(at) = self.candidates.position(key) else { return };
        if !self.candidates.list[at].state.is_pending() {
            return;
        }
        self.answered += 1;
        let was_known = self.candidates.list[at].known;
        let candidate = self.candidates.answered(at, id.distance(&self.target));
        candidate.state = State::Answered;
        candidate.token = token.map(Box::from);
        let (hops, path) = (candidate.hops, candidate.path);

        if self.extended {
            return;
        }
        nodes.sort_unstable_by_key(|node| node.id.distance_words(&self.target));
        nodes.truncate(self.rules.k);
        let mut closer = false;
        for node in nodes.iter() {
            closer |= self.add_after(*node, hops, path);
        }
        if path == 0 || !self.candidates.split {
            self.converged = was_known && !closer;
        }
    }

    /// The node named by `key` answered, and is none of the closest, wherever its id would be.
    pub fn leave_out(&mut self, key: Key) {
        self.candidates.list.retain(|c| c.key != key);
    }

    /// The query to the node named by `key` waits for its turn: it has a place, and is not late.
    pub fn on_held(&mut self, key: Key) {
        const NEVER: Time = Time::from_micros(u64::MAX);
        self.on_sent(key, NEVER, NEVER);
    }

    /// The query to the node named by `key` was sent: it will be late and over at these moments.
    pub fn on_sent(&mut self, key: Key, late_at: Time, over_at: Time) {
        if let Some(at) = self.candidates.position(key)
            && self.candidates.list[at].state.is_pending()
        {
            self.candidates.list[at].state = State::Asked { late_at, over_at };
        }
    }

    /// The node named by `key` will not answer.
    pub fn on_failure(&mut self, key: Key) {
        if let Some(at) = self.candidates.position(key) {
            let state = &mut self.candidates.list[at].state;
            if state.is_pending() {
                *state = State::Failed;
            }
        }
    }

    /// The closest nodes that answered, closest first, at most k; with their tokens.
    pub fn closest(&self) -> impl Iterator<Item = (NodeInfo, Option<&[u8]>)> {
        self.answers(|_, rank| rank < self.rules.k)
    }

    /// Those, and the ones that the lookup was extended by.
    pub fn reached(&self) -> impl Iterator<Item = (NodeInfo, Option<&[u8]>)> {
        self.answers(|candidate, rank| rank < self.rules.k || candidate.extra)
    }

    fn answers(
        &self,
        wanted: impl Fn(&Candidate, usize) -> bool,
    ) -> impl Iterator<Item = (NodeInfo, Option<&[u8]>)> {
        let answered = self.candidates.list.iter().filter(|c| c.state == State::Answered);
        answered.enumerate().filter(move |(rank, c)| wanted(c, *rank)).map(|(_, c)| {
            let id = c.distance.distance(&self.target);
            (NodeInfo { id, addr: c.addr }, c.token.as_deref())
        })
    }

    /// Queries one after the other that led to the closest node that answered; 0 if none did.
    pub fn hops(&self) -> u32 {
        self.candidates.list.iter().find(|c| c.state == State::Answered).map_or(0, |c| c.hops)
    }

    /// Paths beside the first.
    pub fn paths(&self) -> u8 {
        self.rules.paths
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use wire::rng::{Rng, seed_from_u64};

    const RULES: Rules = Rules {
        k: 8,
        alpha: 4,
        spare: 2,
        candidates_max: 100,
        far: None,
        more: 16,
        shunned: None,
        paths: 0,
    };
    const LATE: Duration = Duration::from_millis(200);
    const SOFT: Patience = Patience { late: LATE, over: Duration::from_millis(400) };
    const HARD: Duration = Duration::from_secs(4);

    fn node(n: u32, rng: &mut Rng) -> NodeInfo {
        let [_, a, b, c] = n.to_be_bytes();
        // Global addresses of distinct networks, of each of which one is taken.
        NodeInfo { id: Id::random(rng), addr: SocketAddr::from(([20 + a, b, c, 1], 6881)) }
    }

    /// How a simulated node takes a query.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Manner {
        Answers(Duration),
        Silent,
    }

    /// A whole network in which each node knows those closest to itself and some others.
    struct World {
        nodes: Vec<NodeInfo>,
        manners: BTreeMap<SocketAddr, Manner>,
    }

    impl World {
        fn new(seed: u64, size: u32, silent_percent: u32) -> World {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let nodes: Vec<_> = (0..size).map(|n| node(n, &mut rng)).collect();
            let mut manners = BTreeMap::new();
            for node in &nodes {
                let ms = u64::from(10 + rng.below(300));
                let silent = rng.below(100) < silent_percent;
                let answers = Manner::Answers(Duration::from_millis(ms));
                manners.insert(node.addr, if silent { Manner::Silent } else { answers });
            }
            World { nodes, manners }
        }

        fn closest(&self, target: &Id, n: usize, alive: bool) -> Vec<NodeInfo> {
            let mut nodes: Vec<_> = self.nodes.clone();
            nodes.retain(|node| !alive || self.manners[&node.addr] != Manner::Silent);
            nodes.sort_by_key(|node| node.id.distance(target));
            nodes.truncate(n);
            nodes
        }

        /// What `asked` tells: of its buckets' view, the eight closest.
        fn told(&self, target: &Id, asked: &Id) -> Vec<NodeInfo> {
            let mut known = BTreeMap::<u32, Vec<NodeInfo>>::new();
            for node in self.nodes.iter().filter(|node| node.id != *asked) {
                let bucket = known.entry(node.id.common_prefix(asked)).or_default();
                if bucket.len() < 8 {
                    bucket.push(*node);
                }
            }
            let mut nodes: Vec<_> = known.into_values().flatten().collect();
            nodes.sort_by_key(|node| node.id.distance(target));
            nodes.truncate(8);
            nodes
        }
    }

    struct Run {
        asked: Vec<SocketAddr>,
        time: Duration,
        lookup: Lookup,
    }

    /// Drives a lookup against a world and checks what must always hold. Paths beside the first begin
    /// at the last nodes of the world.
    fn run(world: &World, target: Id, start: &[NodeInfo], paths: u8) -> Run {
        let mut lookup = Lookup::new(target, Rules { paths, ..RULES });
        for node in start {
            lookup.add(*node);
        }
        for (path, node) in (1..=paths).zip(world.nodes.iter().rev()) {
            lookup.add_to_path(path, *node);
        }
        let mut now = Time::from_secs(1);
        let begin = now;
        let mut asked = Vec::new();
        // What will happen: (when, key, answer).
        let mut pending: Vec<(Time, Key, Option<NodeId>)> = Vec::new();
        let mut sent: Vec<(Time, Key)> = Vec::new();
        loop {
            let wake = match lookup.next(now, SOFT, lookup.answered() == 0) {
                Step::Done => break,
                Step::Ask { key, id, addr, .. } => {
                    assert!(!asked.contains(&addr), "asked twice");
                    asked.push(addr);
                    let in_time = sent.iter().filter(|(at, _)| *at + LATE > now).count();
                    let k = RULES.k + RULES.spare;
                    // A path asks however many the first has asked at once.
                    let places = if lookup.converged() || paths > 0 { k } else { RULES.alpha };
                    assert!(in_time < places + usize::from(paths), "{in_time} in flight");
                    sent.push((now, key));
                    pending.push(match world.manners[&addr] {
                        Manner::Answers(rtt) => (now + rtt, key, id),
                        Manner::Silent => (now + HARD, key, None),
                    });
                    continue;
                }
                Step::Wait(wake) => wake,
            };
            pending.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
            let next = pending.last().map(|(at, ..)| *at);
            let soonest = wake.into_iter().chain(next).min().expect("it waits for something");
            assert!(soonest >= now);
            now = soonest;
            if next == Some(now)
                && let Some((_, key, answer)) = pending.pop()
            {
                sent.retain(|(_, other)| *other != key);
                match answer {
                    Some(id) => {
                        let mut told = world.told(&target, &id);
                        lookup.on_reply(key, id, None, &mut told);
                    }
                    None => lookup.on_failure(key),
                }
            }
            assert!(asked.len() <= 400, "it ends");
        }
        Run { asked, time: now.since(begin), lookup }
    }

    fn ids(nodes: &[NodeInfo]) -> Vec<Id> {
        nodes.iter().map(|node| node.id).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn it_ends_with_the_closest_that_answer(
            seed: u64,
            size in 1u32..150,
            silent in prop_oneof![Just(0u32), 0u32..60],
            first in 1usize..8,
            paths in 0u8..4,
        ) {
            let world = World::new(seed, size, silent);
            let target = Id::random(&mut Rng::new(&seed_from_u64(seed ^ 1)));
            let start: Vec<_> = world.nodes.iter().take(first).copied().collect();
            let done = run(&world, target, &start, paths);
            let closest: Vec<_> = done.lookup.closest().map(|(node, ..)| node).collect();
            prop_assert!(closest.len() <= RULES.k);
            for pair in closest.windows(2) {
                prop_assert!(pair[0].id.distance(&target) < pair[1].id.distance(&target));
            }
            for node in &closest {
                prop_assert!(done.asked.contains(&node.addr));
                prop_assert!(world.manners[&node.addr] != Manner::Silent);
            }
            if silent == 0 {
                prop_assert_eq!(ids(&closest), ids(&world.closest(&target, 8, true)));
            }
        }

        #[test]
        fn no_order_of_calls_makes_it_panic(
            seed: u64,
            calls in proptest::collection::vec((0u8..6, 0u32..20), 0..120),
        ) {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let nodes: Vec<_> = (0..20).map(|n| node(n, &mut rng)).collect();
            let rules = Rules { k: 3, alpha: 2, spare: 1, candidates_max: 10, ..RULES };
            let mut lookup = Lookup::new(Id::random(&mut rng), rules);
            let mut now = Time::ZERO;
            for (call, n) in calls {
                let node = nodes[n as usize];
                match call {
                    0 => {
                        lookup.add(node);
                    }
                    1 => lookup.add_seed(node.addr, false),
                    2 => {
                        let mut told = nodes[..n as usize].to_vec();
                        lookup.on_reply(Key(n), node.id, Some(b"t"), &mut told);
                    }
                    3 => lookup.on_failure(Key(n)),
                    4 => now += LATE,
                    _ => {
                        let _ = lookup.next(now, SOFT, true);
                    }
                }
                prop_assert!(lookup.candidates.list.len() <= 10);
                prop_assert!(lookup.closest().count() <= 3);
            }
        }
    }

    #[test]
    fn a_fast_network_needs_few_round_trips() {
        let mut world = World::new(5, 2000, 0);
        for manner in world.manners.values_mut() {
            *manner = Manner::Answers(Duration::from_millis(50));
        }
        let target = Id([0x5a; 20]);
        let done = run(&world, target, &world.nodes[..8], 0);
        assert!(done.time <= Duration::from_millis(400), "{:?}", done.time);
        assert!(done.asked.len() <= 40, "{}", done.asked.len());
    }

    #[test]
    fn once_it_converged_the_rest_go_out_at_once() {
        let mut rng = Rng::new(&seed_from_u64(9));
        let mut lookup = Lookup::new(Id::random(&mut rng), RULES);
        for n in 0..12 {
            lookup.add(node(n, &mut rng));
        }
        let mut out = Vec::new();
        let mut drain = |lookup: &mut Lookup| {
            let before = out.len();
            while let Step::Ask { key, id, .. } = lookup.next(Time::ZERO, SOFT, true) {
                out.push((key, id.unwrap()));
            }
            (out.len() - before, out[0])
        };
        let (asked, (key, id)) = drain(&mut lookup);
        assert_eq!(asked, 4);
        lookup.on_reply(key, id, Some(b"tok"), &mut Vec::new());
        assert!(lookup.converged());
        assert_eq!(drain(&mut lookup).0, 4 + RULES.spare);
        let (_, token) = lookup.closest().next().unwrap();
        assert_eq!(token, Some(&b"tok"[..]));
    }

    #[test]
    fn what_leads_one_path_astray_leaves_the_others_alone() {
        let mut rng = Rng::new(&seed_from_u64(6));
        let target = Id::random(&mut rng);
        let near = |bits: u32, rng: &mut Rng, n| {
            let mut node = node(n, rng);
            (0..bits).for_each(|bit| node.id.set_bit(bit, target.bit(bit)));
            node
        };
        let liar = near(0, &mut rng, 1);
        let mut league: Vec<_> = (10..18).map(|n| near(8, &mut rng, n)).collect();
        league.iter_mut().for_each(|node| node.id.set_bit(8, !target.bit(8)));
        let honest = near(0, &mut rng, 2);
        // Nearer to it, and known to the honest only.
        let hidden: Vec<_> = (20..28).map(|n| near(12, &mut rng, n)).collect();
        let found = |paths: u8| {
            let mut lookup = Lookup::new(target, Rules { paths, ..RULES });
            lookup.add(liar);
            if paths > 0 {
                lookup.add_to_path(1, honest);
            }
            while let Step::Ask { key, id: Some(id), .. } = lookup.next(Time::ZERO, SOFT, true) {
                let mut told = if id == liar.id || league.iter().any(|n| n.id == id) {
                    league.clone()
                } else {
                    hidden.clone()
                };
                lookup.on_reply(key, id, None, &mut told);
            }
            lookup.closest().filter(|(node, ..)| hidden.contains(node)).count()
        };
        assert_eq!((found(0), found(1)), (0, 8));
    }

    #[test]
    fn nobody_makes_it_ask_without_end_by_nodes_ever_nearer() {
        let mut rng = Rng::new(&seed_from_u64(7));
        let mut lookup = Lookup::new(Id::ZERO, RULES);
        let mut n = 0;
        let mut nearer = |rng: &mut Rng| {
            n += 1;
            let mut node = node(n, rng);
            node.id.0[..4].copy_from_slice(&(u32::MAX - n).to_be_bytes());
            node
        };
        lookup.add(nearer(&mut rng));
        let mut now = Time::ZERO;
        for _ in 0..2_000 {
            match lookup.next(now, SOFT, false) {
                Step::Ask { key, id, .. } => {
                    let mut told = vec![nearer(&mut rng)];
                    lookup.on_reply(key, id.unwrap(), None, &mut told);
                }
                Step::Wait(_) => now += LATE,
                Step::Done => break,
            }
        }
        assert!(lookup.next(now, SOFT, false) == Step::Done && lookup.asked() <= 200);
        // Nor does it keep it from asking whom it is told of beside.
        let beside = node(5_000, &mut rng);
        lookup.extend(std::iter::once(beside));
        let Step::Ask { addr, .. } = lookup.next(now, SOFT, false) else { panic!() };
        assert_eq!(addr, beside.addr);
    }

    #[test]
    fn what_is_named_and_not_there_holds_no_place_on_other_paths_and_pushes_nobody_out() {
        let mut rng = Rng::new(&seed_from_u64(8));
        let target = Id::random(&mut rng);
        let (liar, honest) = (node(1, &mut rng), node(2, &mut rng));
        let mut hidden: Vec<_> = (20..28).map(|n| node(n, &mut rng)).collect();
        for node in &mut hidden {
            (0..12).for_each(|bit| node.id.set_bit(bit, target.bit(bit)));
        }
        // In their networks and at their addresses, but nearer; with their ids; and many that are nearer.
        let fakes = (0..).zip(&hidden).map(|(n, hidden)| {
            let nearer = near(&target, 60, &mut rng).id;
            match n % 3 {
                0 => NodeInfo { id: hidden.id, addr: SocketAddr::from(([9, 9, n, 9], 1)) },
                1 => NodeInfo { id: nearer, addr: hidden.addr },
                _ => NodeInfo { id: nearer, addr: SocketAddr::new(hidden.addr.ip(), 9) },
            }
        });
        let fakes: Vec<NodeInfo> = fakes.collect();
        let nearer: Vec<_> = (0..30).map(|n| near(&target, 30 + n, &mut rng)).collect();
        for told in [fakes, nearer] {
            let rules = Rules { paths: 1, candidates_max: 20, ..RULES };
            let mut lookup = Lookup::new(target, rules);
            lookup.add(liar);
            lookup.add_to_path(1, honest);
            let mut now = Time::ZERO;
            loop {
                let (key, id, addr) = match lookup.next(now, SOFT, false) {
                    Step::Ask { key, id: Some(id), addr, .. } => (key, id, addr),
                    Step::Done => break,
                    _ => {
                        now += LATE;
                        continue;
                    }
                };
                let is = |node: &NodeInfo| (node.id, node.addr) == (id, addr);
                let mut nodes = match () {
                    () if is(&liar) => {
                        // As by several of its kind.
                        for node in &told {
                            lookup.add(*node);
                        }
                        Vec::new()
                    }
                    () if is(&honest) => hidden.clone(),
                    () if hidden.iter().any(is) => Vec::new(),
                    () => {
                        lookup.on_failure(key);
                        continue;
                    }
                };
                lookup.on_reply(key, id, None, &mut nodes);
            }
            let found: Vec<_> = lookup.closest().map(|(node, ..)| node).collect();
            assert_eq!(hidden.iter().filter(|node| found.contains(node)).count(), 8, "{told:?}");
        }
    }

    /// A node next to `target`.
    fn near(target: &Id, n: u32, rng: &mut Rng) -> NodeInfo {
        let mut node = node(n, rng);
        (0..20).for_each(|bit| node.id.set_bit(bit, target.bit(bit)));
        node
    }

    #[test]
    fn one_address_holds_one_candidate() {
        let mut rng = Rng::new(&seed_from_u64(9));
        let mut lookup = Lookup::new(Id::ZERO, RULES);
        for n in 0..26u16 {
            let global = SocketAddr::from(([8, 8, 8, 8], 1000 + n));
            lookup.add(NodeInfo { id: Id::random(&mut rng), addr: global });
        }
        assert_eq!(lookup.candidates.list.len(), 1);
        for n in 0..26u16 {
            let local = SocketAddr::from(([127, 0, 0, 1], 1000 + n));
            lookup.add(NodeInfo { id: Id::random(&mut rng), addr: local });
        }
        assert_eq!(lookup.candidates.list.len(), 27);
    }

    #[test]
    fn late_answers_count_and_failures_free_their_place() {
        let mut rng = Rng::new(&seed_from_u64(4));
        let mut lookup = Lookup::new(Id::ZERO, RULES);
        let only = node(1, &mut rng);
        lookup.add(only);
        let Step::Ask { key, .. } = lookup.next(Time::ZERO, SOFT, true) else { panic!() };
        assert_eq!(lookup.next(Time::ZERO, SOFT, true), Step::Wait(Some(Time::ZERO + LATE)));
        let later = Time::from_secs(3);
        assert_eq!(lookup.next(later, SOFT, true), Step::Wait(None));
        assert_eq!(lookup.next(later, SOFT, false), Step::Done);
        lookup.on_reply(key, only.id, None, &mut Vec::new());
        assert_eq!(lookup.next(later, SOFT, true), Step::Done);
        assert_eq!(lookup.closest().count(), 1);
        lookup.on_failure(key);
        assert_eq!((lookup.closest().count(), lookup.answered()), (1, 1));
    }

    #[test]
    fn a_seed_takes_its_place_when_its_id_is_known() {
        let mut rng = Rng::new(&seed_from_u64(4));
        let mut lookup = Lookup::new(Id::ZERO, RULES);
        let (seed, other) = (node(1, &mut rng), node(2, &mut rng));
        lookup.add_seed(seed.addr, false);
        lookup.add_seed(seed.addr, false);
        let Step::Ask { key, id: None, .. } = lookup.next(Time::ZERO, SOFT, true) else { panic!() };
        lookup.on_reply(key, seed.id, None, &mut vec![other, seed]);
        assert!(!lookup.converged());
        let Step::Ask { id: Some(id), .. } = lookup.next(Time::ZERO, SOFT, true) else { panic!() };
        assert_eq!(id, other.id);
        assert_eq!(lookup.closest().next().map(|(node, ..)| node), Some(seed));
    }
}
