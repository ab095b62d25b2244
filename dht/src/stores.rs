//! The end of an announce and of a put: what was looked for is stored at the closest nodes.

use wire::compact::Family;
use wire::krpc::{CAS_MISMATCH, SEQ_TOO_LOW};

use crate::lookup::Lookup;
use crate::node::Node;
use crate::search::{Goal, Search};
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

/// An announce by each of the node's sockets in turn: others store the address that it comes from, and
/// want a token that they gave there (BEP 45, "Multi addresses announce_peer").
#[derive(Clone, Default)]
pub(crate) struct Rounds {
    /// The sockets that had their turn.
    done: Vec<SocketId>,
    /// Whom the first found: the others ask nobody else.
    nodes: Vec<NodeInfo>,
    /// The most nodes that took it in one round.
    accepted: u32,
}

impl Rounds {
    /// Whether the first is over.
    pub(crate) fn is_later(&self) -> bool {
        !self.nodes.is_empty()
    }
}

impl Node {
    /// Tells the closest nodes that gave a token. Returns whether any answer is to be waited for.
    pub(crate) fn send_stores(&mut self, id: LookupId, search: &mut Search) -> bool {
        if matches!(search.goal, Goal::Announce { .. }) && !search.rounds.is_later() {
            search.rounds.nodes = search.sides().flat_map(Lookup::reached).map(|n| n.0).collect();
        }
        let (mut pending, mut used, finds) = (0, Vec::new(), &search.finds);
        let doomed = matches!(search.goal, Goal::Put { cas: Some(cas) } if finds.is_beyond(cas));
        for (node, token) in search.sides().flat_map(Lookup::reached) {
            let Some(token) = token.map(Box::from) else { continue };
            let Some(via) = self.route(&node.addr, search.lead) else { continue };
            if !used.contains(&via) {
                used.push(via);
            }
            let ask = match search.goal {
                Goal::Announce { port, seed } => {
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
        pending > 0 || self.stored_all(id, search)
    }

    /// A node stored something, or did not.
    pub(crate) fn on_stored(&mut self, id: LookupId, outcome: Outcome) {
        let Some(storing) = self.searches.get_mut(&id).and_then(|s| s.storing.as_mut()) else {
            return;
        };
        storing.count(outcome);
        if storing.pending == 0
            && let Some(mut search) = self.searches.remove(&id)
            && self.stored_all(id, &mut search)
        {
            self.searches.insert(id, search);
        }
    }

    /// All that were told answered, or did not. Returns whether the lookup goes on.
    fn stored_all(&mut self, lookup: LookupId, search: &mut Search) -> bool {
        let Storing { accepted, cas_mismatches, outdated, .. } = search.storing.unwrap_or_default();
        let accepted = accepted.max(search.rounds.accepted);
        search.rounds.accepted = accepted;
        if self.next_round(lookup, search) {
            return true;
        }
        let target = search.target;
        self.events.push_back(match search.goal {
            Goal::Put { .. } => {
                Event::Stored { lookup, target, accepted, cas_mismatches, outdated }
            }
            _ => Event::Announced { lookup, info_hash: target, accepted },
        });
        false
    }

    /// Begins the announce by the next socket that is up. Returns whether anybody was asked.
    fn next_round(&mut self, id: LookupId, search: &mut Search) -> bool {
        if !search.rounds.is_later() {
            return false;
        }
        for lead in self.sockets() {
            let own = self.config.sockets.get(usize::from(lead.0)).map(Family::of);
            let Some(family) = own.filter(|_| !search.rounds.done.contains(&lead)) else {
                continue;
            };
            search.rounds.done.push(lead);
            if self.is_down(lead) {
                continue;
            }
            (search.lead, search.storing, search.v4, search.v6) = (lead, None, None, None);
            let mut lookup = Lookup::new(search.target, self.rules(search.goal, family));
            for node in search.rounds.nodes.iter().filter(|n| Family::of(&n.addr) == family) {
                lookup.add(*node);
            }
            search.set_side(family, lookup);
            if !self.pump_side(id, search, family) {
                return true;
            }
        }
        false
    }
}
