//! The routing tables of both families behind one face (BEP 32: two DHTs, two tables).

use std::net::SocketAddr;
use std::time::Duration;

use wire::NodeId;
use wire::compact::Family;
use wire::rng::Rng;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::config::Config;
use crate::contact::{Address, Contact, V4, V6};
use crate::node::ContactInfo;
use crate::table::{Heard, Table, Wanted};
use crate::{NodeInfo, SocketId};

/// Nodes with the socket to reach them by.
pub(crate) type Found = Vec<(NodeInfo, SocketId)>;

/// A table for each family that the node has a socket of.
#[derive(Clone)]
pub(crate) struct Tables {
    v4: Option<Table<V4>>,
    v6: Option<Table<V6>>,
}

impl Tables {
    pub(crate) fn new(own: NodeId, config: &Config) -> Tables {
        let has = |family| config.sockets.iter().any(|addr| Family::of(addr) == family);
        Tables {
            v4: has(Family::V4).then(|| Table::new(own, config)),
            v6: has(Family::V6).then(|| Table::new(own, config)),
        }
    }

    /// The families that the node takes part in.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let v4 = self.v4.is_some().then_some(Family::V4);
        let v6 = self.v6.is_some().then_some(Family::V6);
        v4.into_iter().chain(v6)
    }

    pub(crate) fn len(&self) -> usize {
        self.len_of(Family::V4) + self.len_of(Family::V6)
    }

    pub(crate) fn len_of(&self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4.as_ref().map_or(0, |t| t.contacts().len()),
            Family::V6 => self.v6.as_ref().map_or(0, |t| t.contacts().len()),
        }
    }

    pub(crate) fn spare_len(&self) -> usize {
        self.v4.as_ref().map_or(0, Table::spare_len) + self.v6.as_ref().map_or(0, Table::spare_len)
    }

    pub(crate) fn has_usable(&self) -> bool {
        self.v4.as_ref().is_some_and(Table::has_usable)
            || self.v6.as_ref().is_some_and(Table::has_usable)
    }

    pub(crate) fn on_reply(
        &mut self,
        now: Time,
        node: &NodeInfo,
        via: SocketId,
        rtt: Duration,
    ) -> Heard {
        match (&mut self.v4, &mut self.v6, node.addr) {
            (Some(table), _, SocketAddr::V4(_)) => table.on_reply(now, node, via, rtt),
            (_, Some(table), SocketAddr::V6(_)) => table.on_reply(now, node, via, rtt),
            _ => Heard::Refused,
        }
    }

    pub(crate) fn restore(&mut self, now: Time, node: &NodeInfo, via: SocketId) -> Heard {
        match (&mut self.v4, &mut self.v6, node.addr) {
            (Some(table), _, SocketAddr::V4(_)) => table.restore(now, node, via),
            (_, Some(table), SocketAddr::V6(_)) => table.restore(now, node, via),
            _ => Heard::Refused,
        }
    }

    pub(crate) fn on_query(&mut self, now: Time, node: &NodeInfo, may_be: bool) -> bool {
        match (&mut self.v4, &mut self.v6, node.addr) {
            (Some(table), _, SocketAddr::V4(_)) => table.on_query(now, node, may_be),
            (_, Some(table), SocketAddr::V6(_)) => table.on_query(now, node, may_be),
            _ => false,
        }
    }

    /// Makes the tables those of our new id; the contacts stay.
    pub(crate) fn move_to(&mut self, now: Time, own: NodeId) {
        if let Some(table) = &mut self.v4 {
            table.move_to(now, own);
        }
        if let Some(table) = &mut self.v6 {
            table.move_to(now, own);
        }
    }

    pub(crate) fn evict(&mut self, id: &NodeId, addr: &SocketAddr) {
        match (&mut self.v4, &mut self.v6, addr) {
            (Some(table), _, SocketAddr::V4(_)) => table.evict(id, addr),
            (_, Some(table), SocketAddr::V6(_)) => table.evict(id, addr),
            _ => {}
        }
    }

    pub(crate) fn on_failure(&mut self, now: Time, id: &NodeId, addr: &SocketAddr) {
        match (&mut self.v4, &mut self.v6, addr) {
            (Some(table), _, SocketAddr::V4(_)) => table.on_failure(now, id, addr),
            (_, Some(table), SocketAddr::V6(_)) => table.on_failure(now, id, addr),
            _ => {}
        }
    }

    /// Appends the `n` contacts of `family` closest to `target`, closest first.
    pub(crate) fn closest(
        &self,
        family: Family,
        target: &NodeId,
        n: usize,
        wanted: Wanted,
        out: &mut Found,
    ) {
        match (family, &self.v4, &self.v6) {
            (Family::V4, Some(table), _) => table.closest(target, n, wanted, out),
            (Family::V6, _, Some(table)) => table.closest(target, n, wanted, out),
            _ => {}
        }
    }

    /// Appends `n` contacts of `family`, any as likely as the others.
    pub(crate) fn sample(&self, family: Family, n: usize, rng: &mut Rng, out: &mut Found) {
        match (family, &self.v4, &self.v6) {
            (Family::V4, Some(table), _) => table.sample(n, rng, out),
            (Family::V6, _, Some(table)) => table.sample(n, rng, out),
            _ => {}
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
        out: &mut Vec<u8>,
    ) {
        fn compact<A: Address>(
            table: &Table<A>,
            target: &NodeId,
            n: usize,
            asker: &SocketAddr,
            out: &mut Vec<u8>,
        ) {
            let (own, scope) = (A::new(asker), AddrScope::of(asker.ip()));
            let fit = |c: &Contact<A>| Some(c.addr) != own && c.scope().acceptable_from(scope);
            table.closest_compact(target, n, fit, out);
        }
        match (family, &self.v4, &self.v6) {
            (Family::V4, Some(table), _) => compact(table, target, n, asker, out),
            (Family::V6, _, Some(table)) => compact(table, target, n, asker, out),
            _ => {}
        }
    }

    /// The usual round trip of a contact that answered before, in milliseconds.
    pub(crate) fn rtt_ms(&self, node: &NodeInfo) -> Option<u16> {
        match (&self.v4, &self.v6, node.addr) {
            (Some(table), _, SocketAddr::V4(_)) => table.rtt_ms(&node.id),
            (_, Some(table), SocketAddr::V6(_)) => table.rtt_ms(&node.id),
            _ => None,
        }
    }

    /// Up to `n` contacts that should be pinged now.
    pub(crate) fn questionable(&mut self, now: Time, n: usize, out: &mut Found) {
        if let Some(table) = &mut self.v4 {
            table.questionable(now, n, out);
        }
        if let Some(table) = &mut self.v6 {
            table.questionable(now, n.saturating_sub(out.len()), out);
        }
    }

    /// A lookup for our own id has ended.
    pub(crate) fn joined(&mut self) {
        if let Some(table) = &mut self.v4 {
            table.joined();
        }
        if let Some(table) = &mut self.v6 {
            table.joined();
        }
    }

    /// An id in a bucket that should be refreshed now.
    pub(crate) fn refresh(&mut self, now: Time, rng: &mut Rng) -> Option<NodeId> {
        let v4 = self.v4.as_mut().and_then(|table| table.refresh(now, rng));
        v4.or_else(|| self.v6.as_mut().and_then(|table| table.refresh(now, rng)))
    }

    /// Appends what is known of each contact.
    pub(crate) fn contacts(&self, now: Time, out: &mut Vec<ContactInfo>) {
        fn describe<A: Address>(table: &Table<A>, now: Time, out: &mut Vec<ContactInfo>) {
            out.extend(table.contacts().iter().map(|c| ContactInfo {
                node: c.node(),
                status: table.status(c, now),
                rtt_ms: c.answered().then(|| c.rtt_ms()),
                idle_secs: c.idle_secs(now),
                id_fits: c.id_fits(),
            }));
        }
        if let Some(table) = &self.v4 {
            describe(table, now, out);
        }
        if let Some(table) = &self.v6 {
            describe(table, now, out);
        }
    }
}
