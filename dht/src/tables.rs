//! The routing tables behind one face: one for each of the node's sockets, as it has an id of its own
//! there (BEP 45, "Shared Routing Table"), and so at least one a family (BEP 32: two DHTs).
//!
//! Whoever is heard by any socket is offered to all tables of its family. So each of them alone knows
//! best whoever is close to its own id, and no question needs more than the one whose id is closest.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use wire::NodeId;
use wire::compact::Family;
use wire::rng::Rng;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::config::SharedConfig;
use crate::contact::{Address, Contact, V4, V6};
use crate::node::ContactInfo;
use crate::replies::Nodes;
use crate::table::{Heard, Table, Wanted};
use crate::{NodeInfo, SocketId};

/// A table of either family. Who is told of a node of the other family does nothing.
#[derive(Clone)]
enum Either {
    V4(Table<V4>),
    V6(Table<V6>),
}

/// Does the same with a table of either family.
macro_rules! with {
    ($either:expr, $table:ident => $then:expr) => {
        match $either {
            Either::V4($table) => $then,
            Either::V6($table) => $then,
        }
    };
}

impl Either {
    fn family(&self) -> Family {
        match self {
            Either::V4(_) => Family::V4,
            Either::V6(_) => Family::V6,
        }
    }

    fn own(&self) -> &NodeId {
        with!(self, table => table.own())
    }
}

/// A table for each socket of the node; a [`SocketId`] is an index.
#[derive(Clone)]
pub(crate) struct Tables(Vec<Either>);

impl Tables {
    /// Empty tables around these ids, one for each of `sockets`.
    pub(crate) fn new(own: &[NodeId], sockets: &[SocketAddr], config: &SharedConfig) -> Tables {
        let table = |(addr, own): (&SocketAddr, &NodeId)| match Family::of(addr) {
            Family::V4 => Either::V4(Table::new(*own, config)),
            Family::V6 => Either::V6(Table::new(*own, config)),
        };
        Tables(sockets.iter().zip(own).map(table).collect())
    }

    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self, step: u8) -> usize {
        let Some(either) = self.0.first() else { return 0 };
        with!(either, table => table.touch(step))
    }

    fn of(&self, family: Family) -> impl Iterator<Item = &Either> {
        self.0.iter().filter(move |either| either.family() == family)
    }

    /// The families that the node takes part in.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let v4 = self.of(Family::V4).next().map(Either::family);
        let v6 = self.of(Family::V6).next().map(Either::family);
        v4.into_iter().chain(v6)
    }

    /// The table of the family whose own id is closest to `target`.
    fn nearest(&self, family: Family, target: &NodeId) -> Option<&Either> {
        let mut tables = self.of(family);
        let first = tables.next()?;
        Some(tables.fold(first, |best, next| {
            let nearer = next.own().distance(target) < best.own().distance(target);
            if nearer { next } else { best }
        }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.families().all(|family| self.is_empty_of(family))
    }

    pub(crate) fn is_empty_of(&self, family: Family) -> bool {
        self.of(family).all(|either| with!(either, table => table.contacts().is_empty()))
    }

    /// Distinct contacts of `family`.
    pub(crate) fn len_of(&self, family: Family) -> usize {
        let mut tables = self.of(family);
        let len = |either: &Either| with!(either, table => table.contacts().len());
        let first = tables.next();
        let Some(second) = tables.next() else { return first.map_or(0, len) };
        let mut nodes = BTreeSet::new();
        for either in first.into_iter().chain([second]).chain(tables) {
            with!(either, table => nodes.extend(table.contacts().iter().map(Contact::node)));
        }
        nodes.len()
    }

    /// Distinct contacts.
    pub(crate) fn len(&self) -> usize {
        self.len_of(Family::V4) + self.len_of(Family::V6)
    }

    pub(crate) fn spare_len(&self) -> usize {
        self.0.iter().map(|either| with!(either, table => table.spare_len())).sum()
    }

    /// Whether anybody of `family` can be asked.
    pub(crate) fn has_usable(&self, family: Family) -> bool {
        self.of(family).any(|either| with!(either, table => table.has_usable()))
    }

    /// Whether anybody at all can be asked.
    pub(crate) fn has_any_usable(&self) -> bool {
        self.families().any(|family| self.has_usable(family))
    }

    /// A node answered. Returns whether any table lists it that did not before.
    pub(crate) fn on_reply(&mut self, now: Time, node: &NodeInfo, rtt: Duration) -> bool {
        self.0.iter_mut().fold(false, |added, either| {
            added | (with!(either, table => table.on_reply(now, node, rtt)) == Heard::Added)
        })
    }

    pub(crate) fn restore(&mut self, now: Time, node: &NodeInfo) {
        for either in &mut self.0 {
            with!(either, table => table.restore(now, node));
        }
    }

    /// A node asked us. Returns whether it should be asked in turn.
    pub(crate) fn on_query(&mut self, now: Time, node: &NodeInfo, may_be: bool) -> bool {
        self.0.iter_mut().fold(false, |wanted, either| {
            wanted | with!(either, table => table.on_query(now, node, may_be && !wanted))
        })
    }

    /// Makes the table of a socket that of its new id; the contacts stay.
    pub(crate) fn move_to(&mut self, now: Time, socket: SocketId, own: NodeId) {
        if let Some(either) = self.0.get_mut(usize::from(socket.0)) {
            with!(either, table => table.move_to(now, own));
        }
    }

    /// A node answered under another id than `id`. Returns whether any table listed it as that.
    pub(crate) fn evict(&mut self, id: &NodeId, addr: &SocketAddr) -> bool {
        self.0
            .iter_mut()
            .fold(false, |was, either| was | with!(either, table => table.evict(id, addr)))
    }

    pub(crate) fn on_failure(&mut self, now: Time, id: &NodeId, addr: &SocketAddr) {
        for either in &mut self.0 {
            with!(either, table => table.on_failure(now, id, addr));
        }
    }

    /// A contact is being pinged, or the ping was not answered and says nothing about it.
    pub(crate) fn set_pinged(&mut self, id: &NodeId, addr: &SocketAddr, pinged: bool) {
        for either in &mut self.0 {
            with!(either, table => table.set_pinged(id, addr, pinged));
        }
    }

    /// Appends the `n` contacts of `family` closest to `target`, closest first.
    pub(crate) fn closest(
        &self,
        family: Family,
        target: &NodeId,
        n: usize,
        wanted: Wanted,
        out: &mut Vec<NodeInfo>,
    ) {
        if let Some(either) = self.nearest(family, target) {
            with!(either, table => table.closest(target, n, wanted, out));
        }
    }

    /// Appends `n` contacts of one table of `family`, any as likely as the others.
    pub(crate) fn sample(&self, family: Family, n: usize, rng: &mut Rng, out: &mut Vec<NodeInfo>) {
        if let Some(either) = self.of(family).next() {
            with!(either, table => table.sample(n, rng, out));
        }
    }

    /// Appends the compact node infos of the `n` contacts of `family` closest to `target` that may
    /// be told to `asker`: itself is none of them, nor is a local one told from afar.
    pub(crate) fn closest_compact(
        &self,
        family: Family,
        target: &NodeId,
        n: usize,
        asker: &SocketAddr,
        out: &mut Nodes,
    ) {
        fn compact<A: Address>(
            table: &Table<A>,
            target: &NodeId,
            n: usize,
            asker: &SocketAddr,
            out: &mut Nodes,
        ) {
            let (own, scope) = (A::new(asker), AddrScope::of(asker.ip()));
            let fit = |c: &Contact<A>| Some(c.addr) != own && c.scope().acceptable_from(scope);
            table.closest_compact(target, n, fit, out);
        }
        if let Some(either) = self.nearest(family, target) {
            with!(either, table => compact(table, target, n, asker, out));
        }
    }

    /// The usual round trip of a contact that answered before, in milliseconds.
    pub(crate) fn rtt_ms(&self, node: &NodeInfo) -> Option<u16> {
        let mut tables = self.of(Family::of(&node.addr));
        tables.find_map(|either| with!(either, table => table.rtt_ms(node)))
    }

    /// Up to `n` contacts that should be pinged now by `socket`; they count as pinged from now on.
    pub(crate) fn questionable(
        &mut self,
        now: Time,
        socket: SocketId,
        n: usize,
        out: &mut Vec<NodeInfo>,
    ) {
        let Some(either) = self.0.get_mut(usize::from(socket.0)) else { return };
        let before = out.len();
        with!(either, table => table.questionable(now, n, out));
        for NodeInfo { id, addr } in &out[before..] {
            self.set_pinged(id, addr, true);
        }
    }

    /// A lookup for our own id at `socket` has ended.
    pub(crate) fn joined(&mut self, socket: SocketId) {
        if let Some(either) = self.0.get_mut(usize::from(socket.0)) {
            with!(either, table => table.joined());
        }
    }

    /// An id in a bucket that should be refreshed now, the socket whose table it is in, and whether
    /// room is the only reason.
    pub(crate) fn refresh(&mut self, now: Time, rng: &mut Rng) -> Option<(SocketId, NodeId, bool)> {
        self.0.iter_mut().zip(0..).find_map(|(either, socket)| {
            let (target, is_for_room) = with!(either, table => table.refresh(now, rng))?;
            Some((SocketId(socket), target, is_for_room))
        })
    }

    /// Whether the bucket of `id` has room, in the table of a socket.
    pub(crate) fn has_room(&self, socket: SocketId, id: &NodeId) -> bool {
        let table = self.0.get(usize::from(socket.0));
        table.is_some_and(|either| with!(either, table => table.has_room(id)))
    }

    /// A contact of a socket's table that failed too often; it counts as pinged from now on.
    pub(crate) fn bad(&mut self, now: Time, socket: SocketId, rng: &mut Rng) -> Option<NodeInfo> {
        let either = self.0.get_mut(usize::from(socket.0))?;
        let node = with!(either, table => table.bad(now, rng))?;
        self.set_pinged(&node.id, &node.addr, true);
        Some(node)
    }

    /// Appends what is known of each contact, of one in several tables what the first knows.
    pub(crate) fn contacts(&self, now: Time, out: &mut Vec<ContactInfo>) {
        fn describe<A: Address>(table: &Table<A>, now: Time, c: &Contact<A>) -> ContactInfo {
            ContactInfo {
                node: c.node(),
                status: table.status(c, now),
                rtt_ms: c.answered().then(|| c.rtt_ms()),
                idle_secs: c.idle_secs(now),
                id_fits: c.id_fits(),
            }
        }
        let mut seen = BTreeSet::new();
        let many = self.0.len() > 1;
        for either in &self.0 {
            with!(either, table => {
                let all = table.contacts().iter().map(|c| describe(table, now, c));
                out.extend(all.filter(|c| !many || seen.insert(c.node)));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use wire::Id;
    use wire::rng::seed_from_u64;

    const RTT: Duration = Duration::from_millis(30);

    /// Tables with so many v4 sockets and one of v6, and their ids.
    fn tables(sockets: u8) -> (Tables, Vec<NodeId>) {
        let mut addrs: Vec<_> = (0..sockets).map(|n| ([90, n, 1, 1], 1).into()).collect();
        addrs.push("[2001:db8::1]:1".parse().unwrap());
        let ids: Vec<_> = (0..=sockets).map(|n| Id([n.reverse_bits(); 20])).collect();
        let config = SharedConfig::new(Config { wide_buckets: 0, ..Config::new(vec![]) });
        (Tables::new(&ids, &addrs, &config), ids)
    }

    fn node(n: u32, rng: &mut Rng) -> NodeInfo {
        let [_, a, b, c] = n.to_be_bytes();
        NodeInfo { id: Id::random(rng), addr: ([60 + a, b, c, 1], 6881).into() }
    }

    #[test]
    fn of_several_the_table_around_the_id_that_is_nearest_knows_best() {
        let mut rng = Rng::new(&seed_from_u64(7));
        let (mut tables, ids) = tables(4);
        let nodes: Vec<_> = (0..4_000).map(|n| node(n, &mut rng)).collect();
        for node in &nodes {
            tables.on_reply(Time::ZERO, node, RTT);
        }
        for own in &ids[..4] {
            // Close to each of its ids the node knows all.
            let mut target = Id::random(&mut rng);
            (0..10).for_each(|bit| target.set_bit(bit, own.bit(bit)));
            let mut all: Vec<_> = nodes.iter().map(|node| node.id).collect();
            all.sort_unstable_by_key(|id| id.distance(&target));
            let mut found = Vec::new();
            tables.closest(Family::V4, &target, 4, Wanted::Usable, &mut found);
            assert_eq!(found.iter().map(|node| node.id).collect::<Vec<_>>(), all[..4]);
        }
        assert_eq!(tables.len(), tables.len_of(Family::V4));
        assert!(tables.families().eq([Family::V4, Family::V6]));
    }

    #[test]
    fn a_contact_of_several_tables_is_one_and_is_pinged_once() {
        let mut rng = Rng::new(&seed_from_u64(7));
        let (mut tables, _) = tables(3);
        for n in 0..5 {
            tables.on_reply(Time::ZERO, &node(n, &mut rng), RTT);
        }
        let (mut contacts, now) = (Vec::new(), Time::from_secs(1000));
        tables.contacts(now, &mut contacts);
        assert_eq!((contacts.len(), tables.len()), (5, 5));
        let mut due = Vec::new();
        (0..4).for_each(|socket| tables.questionable(now, SocketId(socket), 3, &mut due));
        assert_eq!((due.len(), due.iter().collect::<BTreeSet<_>>().len()), (5, 5));
        tables.set_pinged(&due[0].id, &due[0].addr, false);
        let mut again = Vec::new();
        (0..4).for_each(|socket| tables.questionable(now, SocketId(socket), 3, &mut again));
        assert_eq!(again, due[..1]);
    }
}
