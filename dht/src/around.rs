//! Lookups that doubt what they are told, for the DHT is as dense everywhere as around our own id.
//!
//! Where the k closest are too far, those that answered told of their own kind only: others are asked.
//! Where they are nearer than chance allows, somebody surrounded the target: they tell of nobody else,
//! and keep or give away nothing. The honest nodes that they were put in front of are found by looking
//! for ids beside the target, and are asked as well.

use std::collections::BTreeSet;

use wire::compact::Family;

use crate::estimate::{Certainty, NetworkSize, part_of_space, size_of};
use crate::finds::Finds;
use crate::goal::Goal;
use crate::lookup::Rules;
use crate::node::Node;
use crate::search::Search;
use crate::table::Wanted;
use crate::{LookupId, NodeInfo};

/// How far a lookup is with looking around.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Around {
    /// There was no occasion.
    #[default]
    Untried,
    /// It is to look around.
    Wanted,
    /// So many lookups of ids beside the target have not ended; what the others found.
    Running { pending: u32, found: BTreeSet<NodeInfo> },
    /// It has looked around.
    Done,
}

impl Around {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Around::Running { .. })
    }
}

/// Ids are looked for that differ from the target in the bit at which the k closest honest nodes part
/// from it, in the one before, and in the two after: half of these nodes, a quarter and an eighth lie
/// there, and none of those that are nearer.
const BITS: std::ops::RangeInclusive<i32> = -1..=2;

/// The k-th closest is too far beyond so many times what it should be on average, of an item and of
/// what is to be stored: what is stored has to be found. Nobody knows the average better than by a
/// half.
const FAR: f64 = 2.0;
/// ... of peers, which are wanted soon: as good as none of honest lookups.
const FAR_PEERS: f64 = 8.0;
/// Beside a target, nodes nearer to it than this part of that are not believed in: of eight honest ones
/// two are.
const SHUNNED: f64 = 0.25;

impl Node {
    /// When a lookup doubts what it is told.
    pub(crate) fn doubts(&mut self, goal: Goal, family: Family, rules: Rules) -> Rules {
        let Some(size) = self.density(family) else { return rules };
        let kth = rules.k as f64
            / size.nodes.max(self.estimates[family as usize].median(self.now, rules.k));
        let parent = match goal {
            Goal::Around { parent } => self.searches.get(&parent),
            _ => None,
        };
        let far =
            kth * if matches!(goal, Goal::Get { .. }) || goal.stores() { FAR } else { FAR_PEERS };
        Rules { far: Some(far), shunned: parent.map(|p| (p.target, SHUNNED * kth)), ..rules }
    }

    /// The size of a DHT that is everywhere as dense as around our own ids, where the tables have all: an
    /// estimate that no lookup and nobody who is asked in one has a hand in.
    pub(crate) fn density(&mut self, family: Family) -> Option<NetworkSize> {
        let k = self.config.k.max(1);
        let mut found = Vec::with_capacity(k);
        let mut kths = Vec::new();
        for (addr, own) in self.own.sockets().iter().zip(self.own.ids()) {
            if Family::of(addr) != family {
                continue;
            }
            found.clear();
            self.tables.closest(family, own, k, Wanted::Proven, &mut found);
            if let Some(kth) = found.get(k - 1) {
                kths.push(part_of_space(&kth.id.distance(own)));
            }
        }
        // Of several the lower median: who has just moved does not know all yet, and one place may be
        // crowded on purpose.
        kths.sort_unstable_by(f64::total_cmp);
        let kth = kths.get(kths.len().saturating_sub(1) / 2)?;
        size_of(1, k, *kth)
    }

    /// How sure a lookup is that ends; what it tells of the size of the DHT is kept.
    pub(crate) fn judge(&mut self, search: &Search) -> Certainty {
        let (now, k, target) = (self.now, self.config.k, search.target);
        let mut best = Certainty::default();
        for (family, side) in [(Family::V4, &search.v4), (Family::V6, &search.v6)] {
            let Some(side) = side else { continue };
            let observed = side.closest().nth(k.max(1) - 1);
            let observed = observed.map(|(node, ..)| part_of_space(&node.id.distance(&target)));
            let certainty = Certainty::of(self.density(family), k, observed);
            if best.observed.is_none_or(|best| observed.is_some_and(|o| o < best)) {
                best = certainty;
            }
            // Where an item was found at once the closest were not asked, and what is looked for
            // around a target depends on it.
            let own = self.own.has(&target);
            let whole = !own && !search.satisfied && !matches!(search.goal, Goal::Around { .. });
            if let Some(observed) = observed.filter(|_| whole) {
                self.estimates[family as usize].add(now, target, observed);
            }
        }
        best
    }

    /// Whether somebody surrounded the target of a lookup that is done, and of which all depends on
    /// whom it asked.
    pub(crate) fn wants_to_look_around(&self, search: &Search, certainty: &Certainty) -> bool {
        search.around == Around::Untried
            && !search.satisfied
            && !matches!(search.goal, Goal::FindNode | Goal::Sample)
            && certainty.chance.is_some_and(|chance| chance < self.config.surrounded_chance)
    }

    /// Looks for ids beside the target of a lookup.
    pub(crate) fn look_around(&mut self, parent: LookupId) {
        let Some(search) = self.searches.get_mut(&parent) else { return };
        let (target, leads) = (search.target, search.leads);
        self.stats.surrounded += 1;
        search.around = Around::Running { pending: 1, found: BTreeSet::new() };
        let sizes = self.tables.families().filter_map(|family| self.density(family));
        let nodes = sizes.map(|size| size.nodes).fold(0.0, f64::max);
        let bit = libm::log2((nodes / self.config.k.max(1) as f64).max(1.0)) as i32;
        for bit in BITS.map(|beside| bit + beside).filter(|bit| (0..160).contains(bit)) {
            if let Some(search) = self.searches.get_mut(&parent)
                && let Around::Running { pending, .. } = &mut search.around
            {
                *pending += 1;
            }
            let mut beside = target;
            beside.set_bit(bit as u32, !target.bit(bit as u32));
            self.start_by(Goal::Around { parent }, beside, leads, Finds::Nothing);
        }
        // The one that kept it running while they began.
        self.looked_around(parent, std::iter::empty());
    }

    /// A lookup beside the target of `parent` ended and found these nodes.
    pub(crate) fn looked_around<'a>(
        &mut self,
        parent: LookupId,
        nodes: impl Iterator<Item = (NodeInfo, Option<&'a [u8]>)>,
    ) {
        let Some(search) = self.searches.get_mut(&parent) else { return };
        let target = search.target;
        let Around::Running { pending, found } = &mut search.around else { return };
        found.extend(nodes.map(|(node, _)| node));
        *pending -= 1;
        if *pending > 0 {
            return;
        }
        let mut found: Vec<_> = std::mem::take(found).into_iter().collect();
        found.sort_unstable_by_key(|node| node.id.distance(&target));
        search.around = Around::Done;
        let max = self.config.surrounded_nodes_max;
        for family in [Family::V4, Family::V6] {
            let nodes = found.iter().filter(|node| Family::of(&node.addr) == family);
            if let Some(side) = search.side(family) {
                side.extend(nodes.take(max).copied());
            }
        }
        self.pump(parent);
    }
}
