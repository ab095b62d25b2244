//! Lookups as the node runs them: one [`Lookup`] a family, and what its end means.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use wire::compact::Family;
use wire::krpc::Want;
use wire::scope::{AddrScope, is_unicast};
use wire::time::Time;
use wire::{Id, InfoHash};

use crate::around::Around;
use crate::finds::Finds;
use crate::flow::Turn;
use crate::goal::Goal;
use crate::item::Item;
use crate::lookup::{Key, Lookup, Rules, Step};
use crate::node::Node;
use crate::own::Leads;
use crate::stores::{Rounds, Storing};
use crate::table::Wanted;
use crate::transactions::{Ask, Purpose, Transaction};
use crate::{Event, LookupId, NodeInfo, Progress, SocketId, security};

/// Contacts that a path begins at: one may not answer.
const PATH_CONTACTS: usize = 2;

/// A lookup of one or two families.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) goal: Goal,
    pub(crate) target: Id,
    /// The sockets that it goes by where they reach.
    pub(crate) leads: Leads,
    pub(crate) v4: Option<Lookup>,
    pub(crate) v6: Option<Lookup>,
    peers: BTreeSet<SocketAddr>,
    pub(crate) finds: Finds,
    /// Nodes that had what is looked for.
    pub(crate) holders: u32,
    /// It found all that there is.
    pub(crate) satisfied: bool,
    pub(crate) around: Around,
    /// When it ends if nobody answered by then.
    pub(crate) give_up: Time,
    waiting: bool,
    pub(crate) storing: Option<Storing>,
    pub(crate) rounds: Rounds,
}

impl Search {
    pub(crate) fn side(&mut self, family: Family) -> Option<&mut Lookup> {
        match family {
            Family::V4 => self.v4.as_mut(),
            Family::V6 => self.v6.as_mut(),
        }
    }

    pub(crate) fn set_side(&mut self, family: Family, lookup: Lookup) {
        match family {
            Family::V4 => self.v4 = Some(lookup),
            Family::V6 => self.v6 = Some(lookup),
        }
    }

    pub(crate) fn sides(&self) -> impl Iterator<Item = &Lookup> {
        self.v4.iter().chain(self.v6.iter())
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        self.peers.iter().copied()
    }

    /// Whether the caller does not have this item yet.
    pub(crate) fn is_wanted(&self, item: &Item) -> bool {
        match self.goal {
            Goal::Get { seq: Some(seq) } => item.seq().is_none_or(|found| found > seq),
            _ => true,
        }
    }

    /// Whether one item is all that is wanted.
    pub(crate) fn wants_one(&self) -> bool {
        matches!(self.goal, Goal::Get { .. })
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            asked: self.sides().map(Lookup::asked).sum(),
            answered: self.sides().map(Lookup::answered).sum(),
            peers_found: self.peers.len() as u32,
            waiting: self.waiting,
        }
    }
}

/// Contacts from anywhere that a look for our neighbours asks. In 24 simulated overlays of 150 that began
/// with a fifth of the datagrams lost, lookups a quarter of an hour later found 99.1 % instead of 97.1 %.
const BEYOND: usize = 2;

impl Node {
    /// Starts a lookup from the closest contacts, or from the bootstrap contacts if there are none.
    pub(crate) fn start(&mut self, goal: Goal, target: Id) -> LookupId {
        self.start_with(goal, target, Finds::Nothing)
    }

    pub(crate) fn start_with(&mut self, goal: Goal, target: Id, finds: Finds) -> LookupId {
        let leads = self.next_leads();
        self.start_by(goal, target, leads, finds)
    }

    /// ... led by these sockets.
    pub(crate) fn start_by(
        &mut self,
        goal: Goal,
        target: Id,
        leads: Leads,
        finds: Finds,
    ) -> LookupId {
        let mut search = self.search(goal, target, leads, finds);
        for family in self.families(goal) {
            search.set_side(family, Lookup::new(target, self.rules(goal, family)));
        }
        self.fill(&mut search);
        let id = LookupId(self.next_lookup);
        match goal {
            Goal::GetPeers | Goal::Announce { .. } => self.own_peers(id, &mut search),
            Goal::Get { .. } => self.own_item(id, &mut search),
            _ => {}
        }
        self.run(search)
    }

    /// A lookup that knows nobody yet.
    pub(crate) fn search(&self, goal: Goal, target: Id, leads: Leads, finds: Finds) -> Box<Search> {
        Box::new(Search {
            goal,
            target,
            leads,
            v4: None,
            v6: None,
            peers: BTreeSet::new(),
            finds,
            holders: 0,
            satisfied: false,
            around: Around::default(),
            give_up: self.now + Duration::from_millis(self.config.lookup_wait_ms),
            waiting: false,
            storing: None,
            rounds: Rounds::default(),
        })
    }

    pub(crate) fn run(&mut self, search: Box<Search>) -> LookupId {
        let id = LookupId(self.next_lookup);
        self.next_lookup += 1;
        self.searches.insert(id, search);
        self.pump(id);
        id
    }

    /// The numbers of a lookup.
    pub(crate) fn rules(&mut self, goal: Goal, family: Family) -> Rules {
        let rules = Rules {
            k: self.config.k,
            alpha: self.config.alpha,
            spare: self.config.lookup_spare,
            candidates_max: self.config.lookup_candidates_max,
            far: None,
            more: self.config.lookup_more_max,
            shunned: None,
            paths: match goal.is_of_items() {
                true => self.config.lookup_paths_items,
                false => self.config.lookup_paths,
            },
        };
        self.doubts(goal, family, rules)
    }

    /// The families in which a lookup runs. What is for the table of one socket runs in its own; but while
    /// nobody in a family can be asked, whoever joins asks the other for those of both (BEP 32,
    /// "Bootstrapping", "Steady-state operation").
    fn families(&self, goal: Goal) -> impl Iterator<Item = Family> + use<> {
        let whole = self.tables.families().all(|family| self.tables.has_usable(family));
        let table = match goal {
            Goal::Bootstrap(socket) | Goal::Neighbours(socket) => Some(socket).filter(|_| whole),
            Goal::Refresh(socket) | Goal::Fill(socket) => Some(socket),
            _ => None,
        };
        let own = table.and_then(|socket| self.own.addr(socket)).map(|own| Family::of(&own));
        self.tables.families().filter(move |family| own.is_none_or(|own| own == *family))
    }

    /// Tells a lookup of the closest contacts, and of the bootstrap contacts if there are none. While
    /// nobody in one family can be asked, only who joins tries those that failed.
    fn fill(&mut self, search: &mut Search) {
        let all = search.goal.joins() || !self.tables.has_any_usable();
        // The closest may be in league: the others are for when they tell of nobody else.
        let n = self.config.k * if matches!(search.goal, Goal::Around { .. }) { 8 } else { 2 };
        let mut found = Vec::with_capacity(n);
        for family in self.tables.families() {
            found.clear();
            let target = search.target;
            let Some(side) = search.side(family) else { continue };
            let usable = self.tables.has_usable(family) || !all;
            let wanted = if usable { Wanted::Usable } else { Wanted::Any };
            self.tables.closest(family, &target, n, wanted, &mut found);
            for node in found.drain(..) {
                side.add_contact(node, self.tables.rtt_ms(&node));
            }
        }
        self.begin_paths(search);
        self.look_beyond(search);
        for &seed in self.bootstrap.contacts() {
            let family = Family::of(&seed);
            // Those who came to us may be an overlay apart: whoever joins asks the contacts that it was
            // given before them, or it would never hear of the others.
            let first = matches!(search.goal, Goal::Bootstrap(_));
            let asked = first || (all && !self.tables.has_usable(family));
            if let Some(side) = search.side(family).filter(|_| asked) {
                side.add_seed(seed, first);
            }
        }
    }

    /// Who looks for its neighbours asks some of its contacts from anywhere as well: where two overlays
    /// touch each other in a few nodes only, those closest to us are all of ours.
    fn look_beyond(&mut self, search: &mut Search) {
        if !matches!(search.goal, Goal::Neighbours(_)) {
            return;
        }
        let mut found = Vec::new();
        for family in self.tables.families() {
            let Some(side) = search.side(family) else { continue };
            self.tables.sample(family, BEYOND, &mut self.rng, &mut found);
            found.drain(..).for_each(|node| side.add_seed(node.addr, true));
        }
    }

    /// Lets the paths beside the first begin at contacts anywhere in the table: whoever crowds the part
    /// of it that is close to the target is as rare there as everywhere.
    fn begin_paths(&mut self, search: &mut Search) {
        for family in self.tables.families() {
            let Some(side) = search.side(family) else { continue };
            let paths = usize::from(side.paths());
            if paths > 0 {
                let mut found = Vec::new();
                self.tables.sample(family, paths * PATH_CONTACTS, &mut self.rng, &mut found);
                for (n, node) in found.into_iter().enumerate() {
                    side.add_to_path(1 + (n % paths) as u8, node);
                }
            }
        }
    }

    /// Reports the peers that were announced to ourselves.
    fn own_peers(&mut self, id: LookupId, search: &mut Search) {
        let Some(from) = self.own.addr(SocketId(0)) else { return };
        let Some(swarm) = self.store.find(&search.target) else { return };
        let (mut peers, n) = (Vec::new(), self.config.lookup_peers_max);
        for family in self.tables.families() {
            let (rng, left) = (&mut self.rng, n - peers.len());
            self.store.sample(self.now, swarm, family, left, false, rng, &mut peers);
        }
        if !peers.is_empty() {
            search.peers.extend(&peers);
            let info_hash = search.target;
            self.events.push_back(Event::PeersFound { lookup: id, info_hash, from, peers });
        }
    }

    /// Starts the lookups for our own ids, if there is anybody to ask.
    pub(crate) fn start_bootstrap(&mut self) {
        if self.tables.is_empty() && self.bootstrap.contacts().is_empty() {
            self.bootstrap.idle();
            return;
        }
        if self.bootstrap.is_unreached() && !self.tables.is_empty() {
            // A lookup asks them last, after all who came to us.
            let contacts = self.bootstrap.contacts().to_vec();
            for addr in contacts {
                if let Some(via) = self.route_any(&addr) {
                    self.verify(addr, via, None);
                }
            }
        }
        self.bootstrap.begin();
        self.join(SocketId(0));
    }

    /// Looks for our own id at a socket, so that our neighbours there hear of us.
    fn join(&mut self, socket: SocketId) {
        // The id is taken before, as the lookup may end at once.
        self.bootstrap.started(LookupId(self.next_lookup));
        let leads = self.led_by(socket);
        self.start_by(Goal::Bootstrap(socket), self.own.id(socket), leads, Finds::Nothing);
    }

    /// Lets a lookup ask whom it may, and ends it if it is done.
    pub(crate) fn pump(&mut self, id: LookupId) {
        let Some(mut search) = self.searches.remove(&id) else { return };
        if search.storing.is_some() || search.waiting || search.around.is_running() {
            self.searches.insert(id, search);
            return;
        }
        let is_filled = |socket| !self.tables.has_room(socket, &search.target);
        let filled = matches!(search.goal, Goal::Fill(socket) if is_filled(socket));
        let done = filled || search.satisfied || self.pump_sides(id, &mut search);
        if !done || self.finish(id, &mut search) {
            let surrounded = search.around == Around::Wanted;
            self.searches.insert(id, search);
            if surrounded {
                self.look_around(id);
            }
        }
        self.forget_searches();
    }

    /// Gives back the room of the lookups when the last has ended.
    pub(crate) fn forget_searches(&mut self) {
        if self.searches.is_empty() {
            self.searches = BTreeMap::new();
            self.waiting = BTreeSet::new();
        }
    }

    /// Returns whether the lookup is done in both families. If nobody answers in one of them, as on a
    /// host without IPv6, the other is enough.
    fn pump_sides(&mut self, id: LookupId, search: &mut Search) -> bool {
        let now = self.now;
        let answered = search.progress().answered > 0;
        let v4 = self.pump_side(id, search, Family::V4);
        let v6 = self.pump_side(id, search, Family::V6);
        let silent = |side: &mut Option<Lookup>| side.as_mut().is_some_and(|s| s.is_silent(now));
        match (v4, v6) {
            (true, true) => true,
            (true, false) => answered && silent(&mut search.v6),
            (false, true) => answered && silent(&mut search.v4),
            (false, false) => false,
        }
    }

    /// Returns whether the lookup of this family is done.
    fn pump_side(&mut self, id: LookupId, search: &mut Search, family: Family) -> bool {
        let Search { goal, target, leads, .. } = *search;
        // BEP 32, "Bootstrapping": a node of both families asks for both until it is part of them.
        let cold = goal.joins() || !self.bootstrap.announced;
        let both = cold && search.v4.is_some() && search.v6.is_some();
        let want = if both { Want::BOTH } else { Want::default() };
        let answered = search.progress().answered > 0;
        let mut patience = self.rtt.patience();
        if goal.stores() {
            patience.over = patience.over.max(Duration::from_millis(self.config.late_max_ms));
        }
        let Some(lookup) = search.side(family) else { return true };
        if answered && lookup.is_silent(self.now) {
            return false;
        }
        loop {
            let policy = self.config.common().lookups.as_deref();
            match lookup.next_by(policy, self.now, patience, !answered) {
                Step::Wait(_) => return false,
                Step::Done => return true,
                Step::Ask { key, id: expected, addr } => {
                    let Some(via) = self.route(&addr, leads) else {
                        lookup.on_failure(key);
                        continue;
                    };
                    let ask = match goal {
                        Goal::GetPeers
                        | Goal::CountPeer { .. }
                        | Goal::Announce { .. }
                        | Goal::Scrape => Ask::GetPeers {
                            info_hash: target,
                            want,
                            noseed: matches!(goal, Goal::Announce { seed: true, .. }),
                            scrape: goal == Goal::Scrape,
                        },
                        Goal::Get { seq } => Ask::Get { target, seq, want },
                        Goal::CountItem | Goal::Put { .. } => Ask::Get { target, seq: None, want },
                        Goal::Sample if self.may_sample(&addr) => Ask::Sample { target, want },
                        _ => Ask::FindNode { target, want },
                    };
                    let purpose = Purpose::Lookup(id, key);
                    let turn = self.ask_with(addr, via, expected, ask, purpose, Some(patience));
                    if turn == Turn::Later {
                        lookup.on_held(key);
                    }
                }
            }
        }
    }

    /// A lookup is done. Returns whether it goes on, waiting or announcing.
    fn finish(&mut self, id: LookupId, search: &mut Search) -> bool {
        if search.goal.is_further() {
            return self.send_stores(id, search);
        }
        let progress = search.progress();
        let certainty = self.judge(search);
        match search.goal {
            Goal::Neighbours(_) | Goal::Refresh(_) | Goal::Fill(_) => return false,
            Goal::Around { parent } => {
                self.looked_around(parent, search.sides().flat_map(Lookup::closest));
                return false;
            }
            Goal::Bootstrap(socket) => {
                self.bootstrap_ended(socket, progress.answered > 0);
                return false;
            }
            _ => {}
        }
        if progress.answered == 0 && !search.satisfied && self.now < search.give_up {
            self.go_on_or_wait(id, search);
            return true;
        }
        if self.wants_to_look_around(search, &certainty) {
            search.around = Around::Wanted;
            return true;
        }
        let closest = search.sides().flat_map(Lookup::closest).map(|(node, _)| node).collect();
        self.events.push_back(Event::LookupDone {
            lookup: id,
            target: search.target,
            asked: progress.asked,
            answered: progress.answered,
            peers_found: progress.peers_found,
            holders: search.holders,
            hops: search.sides().map(Lookup::hops).max().unwrap_or(0),
            closest,
            certainty,
        });
        if search.goal == Goal::Scrape {
            self.scraped(id, search);
        }
        search.goal.stores() && self.send_stores(id, search)
    }

    /// Nobody answered a lookup: it asks the contacts that became usable since, or waits for one.
    /// Those that failed it are not asked at once again: they may fail in the same moment, without
    /// end.
    fn go_on_or_wait(&mut self, id: LookupId, search: &mut Search) {
        if self.tables.has_any_usable() {
            self.fill(search);
            self.pump_side(id, search, Family::V4);
            self.pump_side(id, search, Family::V6);
            if search.sides().any(Lookup::is_asking) {
                return;
            }
        }
        search.waiting = true;
        self.waiting.insert((search.give_up, id));
        let retry = Duration::from_millis(self.config.bootstrap_retry_ms);
        if !self.bootstrap.contacts().is_empty() || !self.tables.is_empty() {
            self.bootstrap.schedule(self.now + retry);
        }
    }

    fn bootstrap_ended(&mut self, socket: SocketId, success: bool) {
        if success {
            self.tables.joined(socket);
            self.hasten_maintenance(1);
        }
        if success && !self.bootstrap.announced {
            self.bootstrap.announced = true;
            self.events.push_back(Event::Bootstrapped { contacts: self.tables.len() });
        }
        match self.bootstrap.next(socket, success, self.own.sockets().len()) {
            Some(next) => self.join(next),
            None => self.bootstrap.ended(self.now),
        }
    }

    /// A node that a lookup asked has replied, with these nodes of its family and of the other.
    pub(crate) fn on_lookup_reply(
        &mut self,
        id: LookupId,
        key: Key,
        node: NodeInfo,
        token: Option<&[u8]>,
        same: &mut Vec<NodeInfo>,
        other: &[NodeInfo],
    ) {
        let Some(search) = self.searches.get_mut(&id) else { return };
        let family = Family::of(&node.addr);
        if let Some(side) = search.side(family) {
            side.on_reply(key, node.id, token, same);
            // A bootstrap contact: the id of others was looked at before they were asked.
            if self.config.enforce_ids && !security::fits(&node.id, node.addr.ip()) {
                side.leave_out(key);
            }
        }
        let other_family = if family == Family::V4 { Family::V6 } else { Family::V4 };
        if let Some(side) = search.side(other_family) {
            for node in other.iter().take(8) {
                side.add(*node);
            }
        }
    }

    /// A query of a lookup that waited for its turn was sent.
    pub(crate) fn on_lookup_sent(
        &mut self,
        id: LookupId,
        key: Key,
        addr: SocketAddr,
        late_at: Time,
        over_at: Time,
    ) {
        if let Some(side) = self.searches.get_mut(&id).and_then(|s| s.side(Family::of(&addr))) {
            side.on_sent(key, late_at, over_at);
        }
    }

    /// A node that a lookup asked did not answer.
    pub(crate) fn on_lookup_failure(&mut self, id: LookupId, key: Key, addr: SocketAddr) {
        if let Some(side) = self.searches.get_mut(&id).and_then(|s| s.side(Family::of(&addr))) {
            side.on_failure(key);
        }
    }

    /// A node gave peers for a torrent. Returns whether there was any.
    pub(crate) fn on_peers(
        &mut self,
        id: LookupId,
        transaction: &Transaction,
        peers: impl Iterator<Item = SocketAddr>,
    ) -> bool {
        let Some(search) = self.searches.get_mut(&id) else { return false };
        let (from, source) = (transaction.to, AddrScope::of(transaction.to.ip()));
        let (mut new, mut any) = (Vec::new(), false);
        for peer in peers {
            any |= match search.goal {
                Goal::CountPeer { port } => peer.port() == port,
                _ => true,
            };
            if !is_unicast(peer) || !AddrScope::of(peer.ip()).acceptable_from(source) {
                self.stats.refused_peers += 1;
            } else if search.peers.len() < self.config.lookup_peers_max && search.peers.insert(peer)
            {
                new.push(peer);
            }
        }
        let told = matches!(search.goal, Goal::GetPeers | Goal::Announce { too: false, .. });
        if told && !new.is_empty() {
            let info_hash: InfoHash = search.target;
            self.events.push_back(Event::PeersFound { lookup: id, info_hash, from, peers: new });
        }
        any
    }

    /// A node has what a lookup looks for.
    pub(crate) fn on_holder(&mut self, id: LookupId) {
        if let Some(search) = self.searches.get_mut(&id) {
            search.holders += 1;
        }
    }

    /// A contact became usable: lookups that wait start from it.
    pub(crate) fn wake_waiting(&mut self, node: NodeInfo) {
        for (_, id) in std::mem::take(&mut self.waiting) {
            let Some(search) = self.searches.get_mut(&id) else { continue };
            search.waiting = false;
            if let Some(side) = search.side(Family::of(&node.addr)) {
                side.forget_failed();
                side.add(node);
            }
            self.pump(id);
        }
    }

    /// A bootstrap contact was named: lookups that nobody answered yet ask it.
    pub(crate) fn seed_searches(&mut self, addr: SocketAddr) {
        let silent = |search: &Search| search.progress().answered == 0 && !search.goal.is_further();
        let ids: Vec<_> =
            self.searches.iter().filter(|(_, search)| silent(search)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(search) = self.searches.get_mut(&id) else { continue };
            search.waiting = false;
            self.waiting.remove(&(search.give_up, id));
            if let Some(side) = search.side(Family::of(&addr)) {
                side.add_seed(addr, false);
            }
            self.pump(id);
        }
    }

    /// A lookup has waited long enough.
    pub(crate) fn give_up(&mut self, id: LookupId) {
        self.waiting.retain(|(_, waiting)| *waiting != id);
        if let Some(search) = self.searches.get_mut(&id) {
            search.waiting = false;
            search.give_up = Time::ZERO;
            self.pump(id);
        }
    }
}
