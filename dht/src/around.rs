//! Lookups whose target somebody surrounded: k nodes nearer than chance allows tell of nobody else,
//! and keep or give away nothing. The honest nodes that they were put in front of are found by looking
//! for ids beside the target, and are asked as well.

use std::collections::BTreeMap;

use wire::compact::Family;

use crate::node::Node;
use crate::search::Goal;
use crate::{LookupId, NodeInfo, SocketId};

/// How far a lookup is with looking around.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Around {
    /// There was no occasion.
    #[default]
    Untried,
    /// It is to look around.
    Wanted,
    /// So many lookups of ids beside the target have not ended; what the others found.
    Running { pending: u32, found: BTreeMap<NodeInfo, SocketId> },
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

impl Node {
    /// Looks for ids beside the target of a lookup.
    pub(crate) fn look_around(&mut self, parent: LookupId) {
        let Some(search) = self.searches.get_mut(&parent) else { return };
        let target = search.target();
        self.stats.surrounded += 1;
        search.around = Around::Running { pending: 1, found: BTreeMap::new() };
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
            self.start(Goal::Around { parent }, beside);
        }
        // The one that kept it running while they began.
        self.looked_around(parent, std::iter::empty());
    }

    /// A lookup beside the target of `parent` ended and found these nodes.
    pub(crate) fn looked_around<'a>(
        &mut self,
        parent: LookupId,
        nodes: impl Iterator<Item = (NodeInfo, SocketId, Option<&'a [u8]>)>,
    ) {
        let Some(search) = self.searches.get_mut(&parent) else { return };
        let target = search.target();
        let Around::Running { pending, found } = &mut search.around else { return };
        found.extend(nodes.map(|(node, via, _)| (node, via)));
        *pending -= 1;
        if *pending > 0 {
            return;
        }
        let mut found: Vec<_> = std::mem::take(found).into_iter().collect();
        found.sort_unstable_by_key(|(node, _)| node.id.distance(&target));
        search.around = Around::Done;
        let max = self.config.surrounded_nodes_max;
        for family in [Family::V4, Family::V6] {
            let nodes = found.iter().filter(|(node, _)| Family::of(&node.addr) == family);
            if let Some(side) = search.side(family) {
                side.extend(nodes.take(max).copied());
            }
        }
        self.pump(parent);
    }
}
