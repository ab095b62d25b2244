//! The end of an announce and of a put: what was looked for is stored at the closest nodes.

use wire::compact::Family;
use wire::krpc::{CAS_MISMATCH, SEQ_TOO_LOW};

use crate::finds::Finds;
use crate::goal::Goal;
use crate::lookup::Lookup;
use crate::node::Node;
use crate::search::Search;
use crate::transactions::{Ask, Purpose};
use crate::{Event, LookupId, NodeInfo, SocketId};

/// How a node took what it was to store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Accepted,
    CasMismatch,
    Outdated,
    Failed,
}

impl Outcome {
    pub(crate) fn of_error(code: i64) -> Outcome {
        match code {
            CAS_MISMATCH => Outcome::CasMismatch,
            SEQ_TOO_LOW => Outcome::Outdated,
            _ => Outcome::Failed,
        }
    }
}

/// How many nodes took it so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Storing {
    pub(crate) pending: u32,
    pub(crate) accepted: u32,
    pub(crate) cas_mismatches: u32,
    pub(crate) outdated: u32,
}

impl Storing {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.pending = self.pending.saturating_sub(1);
        *match outcome {
            Outcome::Accepted => &mut self.accepted,
            Outcome::CasMismatch => &mut self.cas_mismatches,
            Outcome::Outdated => &mut self.outdated,
            Outcome::Failed => return,
        } += 1;
    }
}

/// An announce by each of the node's sockets, one after the other: others store the address that it comes
/// from, and want a token that they gave there (BEP 45, "Multi addresses announce_peer").
#[derive(Clone, Default)]
pub(crate) struct Rounds {
    /// The sockets that had their turn.
    done: Vec<SocketId>,
    /// Whom the first found: nobody else is told.
    nodes: Vec<NodeInfo>,
}

impl Node {
    /// Tells the closest nodes that gave a token. Returns whether any answer is to be waited for.
    pub(crate) fn send_stores(&mut self, id: LookupId, search: &mut Search) -> bool {
        let (mut pending, mut used, finds) = (0, Vec::new(), &search.finds);
        let doomed = matches!(search.goal, Goal::Put { cas: Some(cas) } if finds.is_beyond(cas));
        for (node, token) in search.sides().flat_map(Lookup::reached) {
            let Some(token) = token.map(Box::from) else { continue };
            let Some(via) = self.route(&node.addr, search.leads) else { continue };
            if !used.contains(&via) {
                used.push(via);
            }
            let ask = match search.goal {
                Goal::Announce { port, seed, .. } => {
                    Ask::Announce { info_hash: search.target, port, seed, token }
                }
                // BEP 44, "CAS": not to those that have nothing to compare with. Where some will
                // refuse, the others must not take it.
                Goal::Put { cas } => {
                    let has = finds.seq_of(&node.addr);
                    if doomed && (has.is_none() || has == cas) {
                        continue;
                    }
                    let cas = cas.filter(|_| has.is_some());
                    Ask::Put { lookup: id, cas, token }
                }
                _ => return false,
            };
            self.ask(node.addr, via, Some(node.id), ask, Purpose::Store(id));
            pending += 1;
        }
        search.rounds.done.append(&mut used);
        search.storing = Some(Storing { pending, ..Storing::default() });
        if pending == 0 {
            self.stored_all(id, search);
        }
        pending > 0
    }

    /// A node stored something, or did not.
    pub(crate) fn on_stored(&mut self, id: LookupId, outcome: Outcome) {
        let Some(storing) = self.searches.get_mut(&id).and_then(|s| s.storing.as_mut()) else {
            return;
        };
        storing.count(outcome);
        if storing.pending == 0
            && let Some(mut search) = self.searches.remove(&id)
        {
            self.stored_all(id, &mut search);
        }
    }

    fn stored_all(&mut self, lookup: LookupId, search: &mut Search) {
        let Storing { accepted, cas_mismatches, outdated, .. } = search.storing.unwrap_or_default();
        let target = search.target;
        match search.goal {
            Goal::Put { .. } => {
                let stored = Event::Stored { lookup, target, accepted, cas_mismatches, outdated };
                self.events.push_back(stored);
            }
            goal if goal.is_further() => self.announce_too(search),
            _ => {
                self.events.push_back(Event::Announced { lookup, info_hash: target, accepted });
                search.rounds.nodes =
                    search.sides().flat_map(Lookup::reached).map(|(node, _)| node).collect();
                self.announce_too(search);
            }
        }
    }

    /// Announces by the next socket that is up and reaches any of those who were told.
    fn announce_too(&mut self, before: &mut Search) {
        let Goal::Announce { port, seed, .. } = before.goal else { return };
        let mut rounds = std::mem::take(&mut before.rounds);
        for socket in self.sockets() {
            if rounds.done.contains(&socket) {
                continue;
            }
            rounds.done.push(socket);
            let leads = self.led_by(socket);
            let by_it = |node: &NodeInfo| self.route(&node.addr, leads) == Some(socket);
            let nodes: Vec<_> = rounds.nodes.iter().copied().filter(by_it).collect();
            let Some(first) = nodes.first().filter(|_| !self.is_down(socket)) else { continue };
            let (goal, family) =
                (Goal::Announce { port, seed, too: true }, Family::of(&first.addr));
            let mut lookup = Lookup::new(before.target, self.rules(goal, family));
            lookup.extend(nodes.into_iter());
            let mut search = self.search(goal, before.target, leads, Finds::Nothing);
            search.set_side(family, lookup);
            search.rounds = rounds;
            self.run(search);
            return;
        }
    }
}
