//! The routing table of one family (BEP 5, "Routing Table").
//!
//! Bucket `i` holds the contacts that share exactly `i` leading bits with our id; the last bucket
//! holds all that share at least as many, and splits when it is full. The contacts of all buckets
//! stand in one vector, bucket after bucket, and all buckets share one replacement cache.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use wire::rng::Rng;
use wire::scope::AddrScope;
use wire::time::Time;
use wire::{Id, NodeId};

use crate::config::SharedConfig;
use crate::contact::{Address, Contact, Status, secs};
use crate::replies::Nodes;
use crate::{NodeInfo, room};

/// A bucket's own part; its contacts stand in the table.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Where its contacts begin in the table's vector.
    start: u16,
    len: u16,
    /// When a contact in it last answered or was added: seconds on the node's clock.
    changed_secs: u32,
    /// Whether a lookup was made for an id in it.
    searched: bool,
}

/// The vector of contacts grows by this part: they come slowly, and stay.
const CONTACTS_PART: usize = 32;

/// What became of a node that answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It was listed before.
    Known,
    /// It is listed now.
    Added,
    /// Its bucket is full; it waits in the replacement cache.
    Spare,
    /// It is not listed: its address, network or id is taken, or may not be listed.
    Refused,
}

/// The contacts of one family.
#[derive(Clone)]
pub(crate) struct Table<A> {
    own: NodeId,
    rules: SharedConfig,
    contacts: Vec<Contact<A>>,
    buckets: Vec<Bucket>,
    spare: Vec<Contact<A>>,
}

/// Which contacts [`Table::closest`] may return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Those that answered and did not fail since: fit to be told to others.
    Proven,
    /// All that are not bad: fit to be asked.
    Usable,
    /// All.
    Any,
}

impl<A: Address> Table<A> {
    pub(crate) fn new(own: NodeId, config: impl Into<SharedConfig>) -> Table<A> {
        Table {
            own,
            rules: config.into(),
            contacts: Vec::new(),
            buckets: vec![Bucket::default()],
            spare: Vec::new(),
        }
    }

    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self, step: u8) -> usize {
        match step {
            1 => {
                self.contacts.len()
                    + self.buckets.len()
                    + self.spare.len()
                    + usize::from(self.own.0[0])
            }
            _ => {
                let contacts = self.contacts.iter().step_by(2).map(|c| usize::from(c.id.0[0]));
                contacts.sum::<usize>()
                    + self.buckets.iter().map(|b| usize::from(b.len)).sum::<usize>()
            }
        }
    }

    /// Our own id, around which it is.
    pub(crate) fn own(&self) -> &NodeId {
        &self.own
    }

    /// All contacts, bucket by bucket.
    pub(crate) fn contacts(&self) -> &[Contact<A>] {
        &self.contacts
    }

    /// Contacts in the replacement cache.
    pub(crate) fn spare_len(&self) -> usize {
        self.spare.len()
    }

    pub(crate) fn status(&self, contact: &Contact<A>, now: Time) -> Status {
        contact.status(now, self.rules.contact_good_secs, self.rules.contact_fails_max)
    }

    /// Whether any contact can be asked.
    pub(crate) fn has_usable(&self) -> bool {
        self.contacts.iter().any(|c| c.fails < self.rules.contact_fails_max)
    }

    fn bucket_of(&self, id: &NodeId) -> usize {
        (self.own.common_prefix(id) as usize).min(self.buckets.len() - 1)
    }

    fn range(&self, bucket: usize) -> Range<usize> {
        let Bucket { start, len, .. } = self.buckets[bucket];
        usize::from(start)..usize::from(start) + usize::from(len)
    }

    /// Contacts that a bucket holds: the first ones, which lookups start from, more than k once they
    /// are not the last, which splits.
    fn capacity(&self, bucket: usize) -> usize {
        self.rules.k << self.rules.wide_buckets.saturating_sub(bucket as u32).min(16)
    }

    /// Where in a bucket an id stands, or would.
    #[inline]
    fn spot(&self, bucket: usize, id: &NodeId) -> Result<usize, usize> {
        let range = self.range(bucket);
        let start = range.start;
        let found = self.contacts[range].binary_search_by(|c| c.id.cmp(id));
        found.map(|at| start + at).map_err(|at| start + at)
    }

    /// A bucket has one contact more or less: those behind it have moved.
    fn resize(&mut self, bucket: usize, more: bool) {
        let step = |n: u16| if more { n + 1 } else { n - 1 };
        self.buckets[bucket].len = step(self.buckets[bucket].len);
        for behind in &mut self.buckets[bucket + 1..] {
            behind.start = step(behind.start);
        }
    }

    fn find(&self, id: &NodeId) -> Option<usize> {
        self.spot(self.bucket_of(id), id).ok()
    }

    /// Where the node with this id at this address stands.
    fn position(&self, id: &NodeId, addr: &SocketAddr) -> Option<usize> {
        let addr = A::new(addr)?;
        self.find(id).filter(|&at| self.contacts[at].addr == addr)
    }

    /// The usual round trip of a contact that answered before, in milliseconds.
    pub(crate) fn rtt_ms(&self, node: &NodeInfo) -> Option<u16> {
        let contact = &self.contacts[self.position(&node.id, &node.addr)?];
        contact.answered().then(|| contact.rtt_ms())
    }

    /// A node answered a query: lists it, if it may be.
    pub(crate) fn on_reply(&mut self, now: Time, node: &NodeInfo, rtt: Duration) -> Heard {
        let Some(addr) = A::new(&node.addr) else { return Heard::Refused };
        if let Some(at) = self.find(&node.id) {
            let bad = self.status(&self.contacts[at], now) == Status::Bad;
            let contact = &mut self.contacts[at];
            if contact.addr != addr {
                // An id can be claimed by anyone: the one who had it first and lives keeps it.
                if contact.answered() && !bad {
                    return Heard::Refused;
                }
                *contact = Contact::new(node.id, addr);
            }
            contact.on_reply(now, rtt);
            let bucket = self.bucket_of(&node.id);
            self.buckets[bucket].changed_secs = secs(now);
            return Heard::Known;
        }
        let mut contact = Contact::new(node.id, addr);
        contact.on_reply(now, rtt);
        self.admit(now, contact)
    }

    /// Lists a node that did not answer yet, as from a file, if there is room.
    pub(crate) fn restore(&mut self, now: Time, node: &NodeInfo) -> Heard {
        let Some(addr) = A::new(&node.addr) else { return Heard::Refused };
        match self.find(&node.id) {
            Some(_) => Heard::Known,
            None => self.admit(now, Contact::new(node.id, addr)),
        }
    }

    /// A node asked us. Returns whether it should be asked in turn, if anybody `may_be`: it is not known
    /// to answer and could be listed if it does.
    pub(crate) fn on_query(&mut self, now: Time, node: &NodeInfo, may_be: bool) -> bool {
        let Some(addr) = A::new(&node.addr) else { return false };
        if let Some(at) = self.find(&node.id) {
            let contact = &mut self.contacts[at];
            if contact.addr == addr {
                contact.on_query(now);
            }
            return self.status(&self.contacts[at], now) != Status::Good;
        }
        if !may_be || node.id == self.own || node.id == NodeId::ZERO {
            return false;
        }
        let bucket = self.bucket_of(&node.id);
        let range = self.range(bucket);
        let room = range.len() < self.capacity(bucket)
            || self.can_split(bucket)
            || self.contacts[range].iter().any(|c| self.status(c, now) != Status::Good);
        room && !self.taken(&Contact::new(node.id, addr))
    }

    fn can_split(&self, bucket: usize) -> bool {
        bucket + 1 == self.buckets.len() && self.buckets.len() < 160
    }

    /// Whether another contact holds the address, or for Global ones the IP address.
    fn clash(&self, contact: &Contact<A>) -> Option<usize> {
        let addr = contact.addr;
        match contact.scope() {
            AddrScope::Global => self.contacts.iter().position(|c| c.addr.same_ip(&addr)),
            AddrScope::Local => self.contacts.iter().position(|c| c.addr == addr),
        }
    }

    /// Whether another node has the contact's place. Not the same one under an earlier id: whether it took
    /// a new one, its answer tells.
    fn taken(&self, contact: &Contact<A>) -> bool {
        self.clash(contact).is_some_and(|at| {
            let other = &self.contacts[at];
            other.addr != contact.addr && other.fails < self.rules.contact_fails_max
        })
    }

    fn admit(&mut self, now: Time, contact: Contact<A>) -> Heard {
        let refused = contact.id == self.own
            || contact.id == NodeId::ZERO
            || (self.rules.enforce_ids && !contact.id_fits());
        if refused {
            return Heard::Refused;
        }
        if let Some(at) = self.clash(&contact) {
            // The same endpoint under a new id replaces itself, once it has answered.
            let same = self.contacts[at].addr == contact.addr && contact.answered();
            if !same && self.contacts[at].fails < self.rules.contact_fails_max {
                return Heard::Refused;
            }
            self.remove_at(at);
        }
        loop {
            let bucket = self.bucket_of(&contact.id);
            let range = self.range(bucket);
            if contact.scope() == AddrScope::Global && self.crowded(&range, &contact) {
                return Heard::Refused;
            }
            let splits = range.len() >= self.rules.k && self.can_split(bucket);
            if range.len() < self.capacity(bucket) && !splits {
                self.insert(bucket, contact);
                self.buckets[bucket].changed_secs = secs(now);
                return Heard::Added;
            }
            if splits {
                self.split();
                continue;
            }
            return match self.worst(now, range, &contact) {
                Some(at) => {
                    self.remove_at(at);
                    self.insert(bucket, contact);
                    self.buckets[bucket].changed_secs = secs(now);
                    Heard::Added
                }
                None => {
                    self.keep_spare(contact);
                    Heard::Spare
                }
            };
        }
    }

    /// Whether the bucket has its share of the contact's network.
    fn crowded(&self, range: &Range<usize>, contact: &Contact<A>) -> bool {
        let same = |c: &&Contact<A>| c.addr.same_subnet(&contact.addr);
        self.contacts[range.clone()].iter().filter(same).count() >= self.rules.bucket_subnet_max
    }

    /// The contact of a full bucket that gives way to a new one: a bad one, else one that never
    /// answered, else one whose id does not fit its address if the new one's does.
    fn worst(&self, now: Time, range: Range<usize>, new: &Contact<A>) -> Option<usize> {
        let find = |gives_way: &dyn Fn(&Contact<A>) -> bool| {
            range.clone().find(|&i| gives_way(&self.contacts[i]))
        };
        find(&|c| self.status(c, now) == Status::Bad)
            .or_else(|| find(&|c| new.answered() && !c.answered()))
            .or_else(|| find(&|c| new.answered() && new.id_fits() && !c.id_fits()))
    }

    fn keep_spare(&mut self, contact: Contact<A>) {
        self.spare.retain(|c| c.id != contact.id && c.addr != contact.addr);
        if self.spare.len() >= self.rules.replacements_max && !self.spare.is_empty() {
            self.spare.remove(0);
        }
        if self.rules.replacements_max > 0 {
            room::make_part(&mut self.spare, CONTACTS_PART);
            self.spare.push(contact);
        }
    }

    /// Splits the last bucket in two: those that share exactly its bits, and the rest.
    fn split(&mut self) {
        let depth = self.buckets.len() - 1;
        let range = self.range(depth);
        let own = self.own;
        let part = &mut self.contacts[range];
        part.sort_by_key(|c| own.common_prefix(&c.id) as usize > depth);
        let stay = part.partition_point(|c| own.common_prefix(&c.id) as usize == depth);
        let (stay, total) = (stay as u16, part.len() as u16);
        let Bucket { start, changed_secs, .. } = self.buckets[depth];
        self.buckets[depth].len = stay;
        // The lookup that searched it was for our own id, which is in the other part now.
        self.buckets[depth].searched = false;
        let (start, len) = (start + stay, total - stay);
        room::push(&mut self.buckets, Bucket { start, len, changed_secs, searched: false });
    }

    /// Lists a contact; a replacement of its id is none any more.
    fn insert(&mut self, bucket: usize, contact: Contact<A>) {
        self.spare.retain(|c| c.id != contact.id);
        let at = self.spot(bucket, &contact.id).unwrap_or_else(|at| at);
        room::make_part(&mut self.contacts, CONTACTS_PART);
        self.contacts.insert(at, contact);
        self.resize(bucket, true);
    }

    fn remove_at(&mut self, at: usize) {
        let bucket = self.bucket_of(&self.contacts[at].id);
        self.contacts.remove(at);
        self.resize(bucket, false);
    }

    /// Makes this the table of our new id. The contacts go to where they belong now, the best first;
    /// for whom there is no room waits in the replacement cache.
    pub(crate) fn move_to(&mut self, now: Time, own: NodeId) {
        let mut contacts = std::mem::take(&mut self.contacts);
        contacts.sort_by_key(|c| (std::cmp::Reverse(self.status(c, now)), c.rtt_ms()));
        contacts.append(&mut self.spare);
        self.own = own;
        self.buckets = vec![Bucket::default()];
        for contact in contacts {
            self.admit(now, contact);
        }
    }

    /// A node at `addr` answered under another id than `id`: it is no longer listed as `id`. Returns
    /// whether it was.
    pub(crate) fn evict(&mut self, id: &NodeId, addr: &SocketAddr) -> bool {
        let at = self.position(id, addr);
        at.into_iter().for_each(|at| self.remove_at(at));
        at.is_some()
    }

    /// A contact did not answer. If that makes it bad, the best replacement takes its place.
    pub(crate) fn on_failure(&mut self, now: Time, id: &NodeId, addr: &SocketAddr) {
        let Some(own) = A::new(addr) else { return };
        self.spare.retain(|c| c.addr != own);
        let Some(at) = self.position(id, addr) else { return };
        self.contacts[at].on_failure();
        if self.status(&self.contacts[at], now) != Status::Bad {
            return;
        }
        let bucket = self.bucket_of(id);
        let fit = |c: &&(usize, &Contact<A>)| self.bucket_of(&c.1.id) == bucket;
        // The one heard last: of all it is the most likely to live.
        let spare = self.spare.iter().enumerate().collect::<Vec<_>>();
        let best = spare.iter().filter(fit).min_by_key(|(_, c)| c.idle_secs(now));
        if let Some(&(index, _)) = best {
            let contact = self.spare.remove(index);
            if !self.taken(&contact) {
                self.remove_at(at);
                self.admit(now, contact);
            }
        }
    }

    /// Appends the `n` contacts closest to `target`, closest first.
    pub(crate) fn closest(
        &self,
        target: &NodeId,
        n: usize,
        wanted: Wanted,
        out: &mut Vec<NodeInfo>,
    ) {
        let fit = |c: &Contact<A>| match wanted {
            Wanted::Proven => c.is_proven(),
            Wanted::Usable => c.fails < self.rules.contact_fails_max,
            Wanted::Any => true,
        };
        self.walk(target, n, fit, |c| out.push(c.node()));
    }

    /// Appends `n` contacts that are fit to be asked, any as likely as the others.
    pub(crate) fn sample(&self, n: usize, rng: &mut Rng, out: &mut Vec<NodeInfo>) {
        let usable = self.contacts.iter().filter(|c| c.fails < self.rules.contact_fails_max);
        let usable: Vec<_> = usable.collect();
        out.extend(rng.choose(usable.len(), n).map(|at| usable[at].node()));
    }

    /// Appends the compact node infos of the `n` contacts closest to `target` that are fit to be
    /// told and that `fit` admits, closest first.
    pub(crate) fn closest_compact(
        &self,
        target: &NodeId,
        n: usize,
        fit: impl Fn(&Contact<A>) -> bool,
        out: &mut Nodes,
    ) {
        self.walk(
            target,
            n,
            |c| c.is_proven() && fit(c),
            |c| {
                // There is room for as many as are told.
                let _ = out.try_extend_from_slice(c.id.as_bytes());
                let _ = out.try_extend_from_slice(c.addr.compact());
            },
        );
    }

    /// Tells of the `n` fit contacts closest to `target`, closest first. Visits buckets in the order
    /// of their distance: O(buckets + log of a bucket + n).
    fn walk(
        &self,
        target: &NodeId,
        n: usize,
        fit: impl Fn(&Contact<A>) -> bool,
        mut tell: impl FnMut(&Contact<A>),
    ) {
        let mut left = n;
        let mut visit = |bucket: usize| {
            left == 0
                || self.walk_bucket(bucket, target, |contact| {
                    if fit(contact) {
                        tell(contact);
                        left -= 1;
                    }
                    left == 0
                })
        };
        // Contacts beyond the target's bucket differ from it in the target's bit; among them, a
        // bucket is closer than all deeper ones if the target differs from us in its bit.
        let last = self.buckets.len() - 1;
        let home = self.bucket_of(target);
        let differs = self.own.distance(target);
        let _ = visit(home)
            || (home + 1..last).filter(|&i| differs.bit(i as u32)).any(&mut visit)
            || (home < last && visit(last))
            || (home + 1..last).rev().filter(|&i| !differs.bit(i as u32)).any(&mut visit)
            || (0..home).rev().any(visit);
    }

    /// Visits the contacts of a bucket in the order of their distance until one is the last that is
    /// wanted; returns whether one was. As they stand in the order of their ids, those that share
    /// more bits with the target are always one end of what is left.
    fn walk_bucket(
        &self,
        bucket: usize,
        target: &NodeId,
        mut visit: impl FnMut(&Contact<A>) -> bool,
    ) -> bool {
        let mut far: ArrayVec<&[Contact<A>], { Id::BITS as usize }> = ArrayVec::new();
        let mut part = &self.contacts[self.range(bucket)];
        loop {
            while let [first, .., last] = part {
                // The first bit in which they differ: neither side is empty.
                let bit = first.id.common_prefix(&last.id);
                let (zeros, ones) = part.split_at(part.partition_point(|c| !c.id.bit(bit)));
                let (near, other) = if target.bit(bit) { (ones, zeros) } else { (zeros, ones) };
                far.push(other);
                part = near;
            }
            if part.first().is_some_and(&mut visit) {
                return true;
            }
            match far.pop() {
                Some(next) => part = next,
                None => return false,
            }
        }
    }

    /// Up to `n` questionable contacts that should be pinged; they count as pinged from now on.
    pub(crate) fn questionable(&mut self, now: Time, n: usize, out: &mut Vec<NodeInfo>) {
        let rules = &self.rules;
        let due = self.contacts.iter_mut().filter(|c| {
            !c.pinged()
                && c.status(now, rules.contact_good_secs, rules.contact_fails_max)
                    == Status::Questionable
        });
        for contact in due.take(n) {
            contact.set_pinged(true);
            out.push(contact.node());
        }
    }

    /// A contact that failed too often and has room only until another comes. It counts as pinged from
    /// now on.
    pub(crate) fn bad(&mut self, now: Time, rng: &mut Rng) -> Option<NodeInfo> {
        let is_bad = |c: &Contact<A>| !c.pinged() && self.status(c, now) == Status::Bad;
        let bad = || (0..self.contacts.len()).filter(|at| is_bad(&self.contacts[*at]));
        let count = bad().count();
        let at = (count > 0).then(|| rng.index(count)).and_then(|n| bad().nth(n))?;
        self.contacts[at].set_pinged(true);
        Some(self.contacts[at].node())
    }

    /// A contact is being pinged for another table, or the ping says nothing about it.
    pub(crate) fn set_pinged(&mut self, id: &NodeId, addr: &SocketAddr, pinged: bool) {
        if let Some(at) = self.position(id, addr) {
            self.contacts[at].set_pinged(pinged);
        }
    }

    /// A lookup for our own id has ended: the last bucket needs no other.
    pub(crate) fn joined(&mut self) {
        if let Some(last) = self.buckets.last_mut() {
            last.searched = true;
        }
    }

    /// A random id in a bucket that was not changed for long, or that has room and was never
    /// searched for (Kademlia 2002, "joining": all buckets are refreshed after the self-lookup);
    /// from now on it was. With it comes whether room is the only reason.
    pub(crate) fn refresh(&mut self, now: Time, rng: &mut Rng) -> Option<(NodeId, bool)> {
        if self.contacts.is_empty() {
            return None;
        }
        let is_old = |index: usize| {
            let since = secs(now).saturating_sub(self.buckets[index].changed_secs);
            // A questionable contact is pinged first: its answer changes the bucket too.
            let contacts = &self.contacts[self.range(index)];
            let doubt = |c: &Contact<A>| self.status(c, now) == Status::Questionable;
            since >= self.rules.bucket_refresh_secs && !contacts.iter().any(doubt)
        };
        let is_open = |index: usize| !self.buckets[index].searched && self.is_open(index);
        let due = |index: &usize| is_old(*index) || is_open(*index);
        let index = (0..self.buckets.len()).find(due)?;
        let is_for_room = !is_old(index);
        self.buckets[index].changed_secs = secs(now);
        self.buckets[index].searched = true;
        let mut id = NodeId::random(rng);
        for bit in 0..index as u32 {
            id.set_bit(bit, self.own.bit(bit));
        }
        if index + 1 < self.buckets.len() {
            id.set_bit(index as u32, !self.own.bit(index as u32));
        }
        Some((id, is_for_room))
    }

    /// Whether the bucket of `id` has room for one of k.
    pub(crate) fn has_room(&self, id: &NodeId) -> bool {
        self.is_open(self.bucket_of(id))
    }

    fn is_open(&self, bucket: usize) -> bool {
        usize::from(self.buckets[bucket].len) < self.rules.k
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::contact::{V4, V6};
    use proptest::prelude::*;
    use wire::rng::{Rng, seed_from_u64};

    const RTT: Duration = Duration::from_millis(30);
    const OWN: NodeId = wire::Id([0; 20]);
    const NOW: Time = Time::from_secs(10);

    fn config() -> Config {
        Config { wide_buckets: 0, ..Config::new(vec![([127, 0, 0, 1], 1).into()]) }
    }

    fn table() -> Table<V4> {
        Table::new(OWN, &config())
    }

    /// A node whose id starts with `first`, at a Global address of a network of its own.
    fn node(first: u8, n: u16) -> NodeInfo {
        let mut id = wire::Id([0x55; 20]);
        id.0[0] = first;
        id.0[1..3].copy_from_slice(&n.to_be_bytes());
        let [a, b] = n.to_be_bytes();
        NodeInfo { id, addr: SocketAddr::from(([50 + (first & 15), a, b, first], 6881)) }
    }

    fn hear(table: &mut Table<V4>, now: Time, node: &NodeInfo) -> Heard {
        table.on_reply(now, node, RTT)
    }

    /// Every contact stands in the bucket where it belongs.
    fn check<A: Address>(table: &Table<A>) {
        let total: usize = table.buckets.iter().map(|b| usize::from(b.len)).sum();
        assert_eq!(total, table.contacts.len());
        for bucket in 0..table.buckets.len() {
            for at in table.range(bucket) {
                assert_eq!(table.bucket_of(&table.contacts[at].id), bucket);
            }
            assert!(table.range(bucket).len() <= table.capacity(bucket));
            let contacts = &table.contacts[table.range(bucket)];
            assert!(contacts.is_sorted_by(|a, b| a.id < b.id), "in order, and each id once");
        }
        assert!(table.spare.len() <= table.rules.replacements_max);
    }

    #[test]
    fn who_asks_under_another_id_is_asked_in_turn_and_takes_its_own_place() {
        let mut table = table();
        let (old, mut new) = (node(0x40, 7), node(0x41, 7));
        new.addr = old.addr;
        table.on_reply(NOW, &old, RTT);
        let mut beside = new;
        beside.addr.set_port(old.addr.port() ^ 1);
        assert!(!table.on_query(NOW, &beside, true), "another node has the address");
        assert!(table.on_query(NOW, &new, true));
        assert!(table.find(&old.id).is_some(), "a query can be forged");
        table.on_reply(NOW, &new, RTT);
        assert!(table.find(&old.id).is_none() && table.find(&new.id).is_some());
    }

    #[test]
    fn only_the_bucket_of_our_own_id_splits() {
        let mut table = table();
        for n in 0..8 {
            assert_eq!(hear(&mut table, NOW, &node(0x80, n)), Heard::Added);
        }
        assert_eq!(table.buckets.len(), 1);
        // The ninth far one splits the only bucket in vain and becomes a spare.
        assert_eq!(hear(&mut table, NOW, &node(0x80, 8)), Heard::Spare);
        assert_eq!(table.buckets.len(), 2);
        for n in 0..20 {
            assert_ne!(hear(&mut table, NOW, &node(0x40 >> (n % 6), n)), Heard::Refused);
            check(&table);
        }
        assert_eq!(table.range(0).len(), 8);
        assert_eq!(hear(&mut table, NOW, &node(0x80, 0)), Heard::Known);
    }

    #[test]
    fn a_bad_contact_gives_way_to_a_spare_and_a_good_one_does_not() {
        let mut table = table();
        for n in 0..10 {
            hear(&mut table, NOW, &node(0x80, n));
        }
        assert_eq!(table.spare_len(), 2);
        let (victim, later) = (node(0x80, 3), NOW + Duration::from_secs(60));
        table.on_failure(later, &victim.id, &victim.addr);
        assert!(table.find(&victim.id).is_some(), "one failure is no proof");
        table.on_failure(later, &victim.id, &"9.9.9.9:9".parse().unwrap());
        assert!(table.find(&victim.id).is_some(), "nor is the failure of another address");
        table.on_failure(later, &victim.id, &victim.addr);
        assert!(table.find(&victim.id).is_none());
        assert!(table.find(&node(0x80, 8).id).is_some() || table.find(&node(0x80, 9).id).is_some());
        assert_eq!((table.contacts.len(), table.spare_len()), (8, 1));
        check(&table);

        // Without a spare the bad one stays until a new one comes.
        let mut table = self::table();
        for n in 0..8 {
            hear(&mut table, NOW, &node(0x80, n));
        }
        for _ in 0..2 {
            table.on_failure(later, &victim.id, &victim.addr);
        }
        assert!(table.find(&victim.id).is_some());
        assert_eq!(hear(&mut table, later, &node(0x80, 20)), Heard::Added);
        assert!(table.find(&victim.id).is_none());
        check(&table);
    }

    #[test]
    fn a_spare_that_was_listed_since_is_not_listed_twice() {
        let mut table = table();
        for n in 0..9 {
            hear(&mut table, NOW, &node(0x80, n));
        }
        assert_eq!(table.spare_len(), 1);
        let (spare, left) = (node(0x80, 8), node(0x80, 3));
        table.evict(&left.id, &left.addr);
        let moved = NodeInfo { id: spare.id, addr: "99.1.1.1:1".parse().unwrap() };
        assert_eq!(hear(&mut table, NOW, &moved), Heard::Added);
        let victim = node(0x80, 5);
        for _ in 0..2 {
            table.on_failure(NOW, &victim.id, &victim.addr);
        }
        check(&table);
        table.move_to(NOW, wire::Id([0x80; 20]));
        check(&table);
    }

    #[test]
    fn good_turns_questionable_and_bad_as_bep_5_says() {
        let mut table = table();
        let node = node(0x80, 1);
        hear(&mut table, NOW, &node);
        let at = |min: u64| NOW + Duration::from_secs(min * 60);
        let status = |table: &Table<V4>, now| table.status(&table.contacts[0], now);
        assert_eq!(status(&table, at(14)), Status::Good);
        assert_eq!(status(&table, at(15)), Status::Questionable);
        // It asked us: good for another 15 minutes, as it answered once.
        assert!(!table.on_query(at(15), &node, true));
        assert_eq!(status(&table, at(29)), Status::Good);
        let mut due = Vec::new();
        table.questionable(at(31), 8, &mut due);
        table.questionable(at(31), 8, &mut due);
        assert_eq!(due.len(), 1, "one ping at a time");
        table.on_failure(at(31), &node.id, &node.addr);
        assert_eq!(status(&table, at(31)), Status::Questionable);
        table.questionable(at(31), 8, &mut due);
        assert_eq!(due.len(), 2);
        table.on_failure(at(31), &node.id, &node.addr);
        assert_eq!(status(&table, at(31)), Status::Bad);
        assert!(!table.has_usable());
        assert!(table.on_query(at(32), &node, true), "a bad one that asks is worth a ping");
        hear(&mut table, at(32), &node);
        assert_eq!(status(&table, at(32)), Status::Good);
    }

    #[test]
    fn an_id_is_not_taken_from_a_living_node_and_an_endpoint_has_one_id() {
        let mut table = table();
        let first = node(0x80, 1);
        hear(&mut table, NOW, &first);
        let thief = NodeInfo { id: first.id, addr: "99.1.1.1:1".parse().unwrap() };
        assert_eq!(hear(&mut table, NOW, &thief), Heard::Refused);
        for _ in 0..2 {
            table.on_failure(NOW, &first.id, &first.addr);
        }
        assert_eq!(hear(&mut table, NOW, &thief), Heard::Known);
        assert_eq!(table.contacts[0].addr.get(), thief.addr);

        let renamed = NodeInfo { id: node(0x20, 7).id, addr: thief.addr };
        assert_eq!(hear(&mut table, NOW, &renamed), Heard::Added);
        assert_eq!(table.contacts.len(), 1);
        assert_eq!(table.contacts[0].id, renamed.id);
        table.evict(&renamed.id, &first.addr);
        assert_eq!(table.contacts.len(), 1);
        table.evict(&renamed.id, &renamed.addr);
        assert!(table.contacts.is_empty());
        check(&table);
    }

    #[test]
    fn global_addresses_are_spread_and_local_ones_are_not() {
        let mut table = table();
        let at =
            |addr: &str, n: u16| NodeInfo { id: node(0x80, n).id, addr: addr.parse().unwrap() };
        assert_eq!(hear(&mut table, NOW, &at("8.8.8.8:1", 1)), Heard::Added);
        assert_eq!(hear(&mut table, NOW, &at("8.8.8.8:2", 2)), Heard::Refused);
        assert_eq!(hear(&mut table, NOW, &at("8.8.8.9:1", 3)), Heard::Refused);
        assert_eq!(hear(&mut table, NOW, &at("8.8.9.9:1", 4)), Heard::Added);
        let other_bucket = NodeInfo { id: node(0x01, 5).id, addr: "8.8.8.10:1".parse().unwrap() };
        for n in 0..8 {
            hear(&mut table, NOW, &node(0x40, n));
        }
        assert_eq!(hear(&mut table, NOW, &other_bucket), Heard::Added);
        for n in 10..14 {
            assert_eq!(hear(&mut table, NOW, &at(&format!("127.0.0.1:{n}"), n)), Heard::Added);
        }
        assert_eq!(hear(&mut table, NOW, &at("127.0.0.1:10", 20)), Heard::Added, "renamed");
        assert_eq!(hear(&mut table, NOW, &at("[::1]:10", 21)), Heard::Refused);
        check(&table);

        let mut v6 = Table::<V6>::new(OWN, &config());
        let at =
            |addr: &str, n: u16| NodeInfo { id: node(0x80, n).id, addr: addr.parse().unwrap() };
        for (addr, n, heard) in [
            ("[2001:db8::1]:1", 1, Heard::Added),
            ("[2001:db8::2]:1", 2, Heard::Refused),
            ("[2001:db8:0:1::1]:1", 3, Heard::Added),
        ] {
            assert_eq!(v6.on_reply(NOW, &at(addr, n), RTT), heard, "{addr}");
        }
        check(&v6);
    }

    #[test]
    fn ids_that_fit_their_addresses_are_preferred_or_enforced() {
        let mut rng = Rng::new(&seed_from_u64(1));
        let fitting = |rng: &mut Rng, n: u8| {
            let addr = SocketAddr::from(([60, n, 1, 1], 6881));
            loop {
                let id = crate::make_id(addr.ip(), rng);
                if id.bit(0) {
                    return NodeInfo { id, addr };
                }
            }
        };
        let mut table = table();
        for n in 0..8 {
            hear(&mut table, NOW, &node(0x80, n));
        }
        assert_eq!(hear(&mut table, NOW, &node(0x80, 30)), Heard::Spare);
        for n in 0..8 {
            assert_eq!(hear(&mut table, NOW, &fitting(&mut rng, n)), Heard::Added);
        }
        assert_eq!(hear(&mut table, NOW, &fitting(&mut rng, 9)), Heard::Spare);
        assert!(table.contacts.iter().all(Contact::id_fits));

        let mut table = Table::<V4>::new(OWN, &Config { enforce_ids: true, ..config() });
        assert_eq!(hear(&mut table, NOW, &node(0x80, 0)), Heard::Refused);
        assert_eq!(hear(&mut table, NOW, &fitting(&mut rng, 1)), Heard::Added);
        let local = NodeInfo { id: node(0x80, 3).id, addr: "10.0.0.1:1".parse().unwrap() };
        assert_eq!(hear(&mut table, NOW, &local), Heard::Added);
    }

    #[test]
    fn our_own_id_and_zero_are_never_listed() {
        let mut table = Table::<V4>::new(wire::Id([3; 20]), &config());
        for id in [wire::Id([3; 20]), wire::Id::ZERO] {
            let node = NodeInfo { id, addr: "8.8.8.8:1".parse().unwrap() };
            assert!(!table.on_query(NOW, &node, true));
            assert_eq!(hear(&mut table, NOW, &node), Heard::Refused);
        }
    }

    #[test]
    fn a_bucket_with_room_is_searched_once_and_an_old_one_again() {
        let mut rng = Rng::new(&seed_from_u64(2));
        let mut table = table();
        assert_eq!(table.refresh(NOW, &mut rng), None);
        for n in 0..9 {
            hear(&mut table, NOW, &node(0x80, n));
        }
        hear(&mut table, NOW, &node(0x40, 1));
        assert_eq!(table.buckets.len(), 2);
        let (target, _) = table.refresh(NOW, &mut rng).unwrap();
        assert!(!target.bit(0), "bucket 0 is full, bucket 1 has room");
        assert_eq!(table.refresh(NOW, &mut rng), None);
        let later = NOW + Duration::from_secs(15 * 60);
        assert_eq!(table.refresh(later, &mut rng), None, "its contacts are pinged first");
        for _ in 0..2 {
            table.on_failure(later, &node(0x40, 1).id, &node(0x40, 1).addr);
        }
        assert!(table.refresh(later, &mut rng).is_some_and(|(target, _)| !target.bit(0)));
        for n in 0..9 {
            hear(&mut table, later, &node(0x80, n));
        }
        assert_eq!(table.refresh(later + Duration::from_secs(899), &mut rng), None);
    }

    #[test]
    fn the_far_half_is_searched_though_a_lookup_for_our_own_id_ended_before_there_was_one() {
        let mut rng = Rng::new(&seed_from_u64(2));
        let mut table = table();
        hear(&mut table, NOW, &node(0x80, 0));
        table.joined();
        assert_eq!(table.refresh(NOW, &mut rng), None);
        for n in 1..9 {
            hear(&mut table, NOW, &node(0x20, n));
        }
        assert_eq!((table.range(0).len(), table.buckets.len()), (1, 2));
        assert!(table.refresh(NOW, &mut rng).is_some_and(|(target, _)| target.bit(0)));
    }

    proptest! {
        #[test]
        fn the_closest_are_those_of_a_whole_sort(
            seed: u64,
            size in 0usize..300,
            n in 1usize..20,
            near: bool,
        ) {
            let mut rng = Rng::new(&seed_from_u64(seed));
            let own = NodeId::random(&mut rng);
            let mut table = Table::<V4>::new(own, &config());
            for i in 0..size {
                let mut id = NodeId::random(&mut rng);
                // Many share a long prefix with us, to make the table deep.
                for bit in 0..rng.below(12) {
                    id.set_bit(bit, own.bit(bit));
                }
                let addr = SocketAddr::from(([10, 0, (i >> 8) as u8, i as u8], 1));
                hear(&mut table, NOW, &NodeInfo { id, addr });
            }
            check(&table);
            let mut target = NodeId::random(&mut rng);
            if near {
                for bit in 0..rng.below(14) {
                    target.set_bit(bit, own.bit(bit));
                }
            }
            let mut found = Vec::new();
            table.closest(&target, n, Wanted::Proven, &mut found);
            let mut all: Vec<_> = table.contacts.iter().map(|c| c.id).collect();
            all.sort_by_key(|id| id.distance(&target));
            all.truncate(n);
            prop_assert_eq!(found.into_iter().map(|node| node.id).collect::<Vec<_>>(), all);
        }

        #[test]
        fn no_order_of_inputs_breaks_it(
            steps in proptest::collection::vec((0u8..6, 0u8..40, 0u16..6), 0..300),
        ) {
            let mut table = Table::<V4>::new(OWN, &Config { replacements_max: 5, ..config() });
            let mut now = NOW;
            for (what, n, port) in steps {
                let mut node = node(0xff >> (n % 8), u16::from(n));
                node.addr.set_port(1 + port);
                match what {
                    0 | 1 => {
                        hear(&mut table, now, &node);
                    }
                    2 => {
                        table.restore(now, &node);
                    }
                    3 => table.on_failure(now, &node.id, &node.addr),
                    4 => {
                        table.on_query(now, &node, true);
                    }
                    _ => {
                        table.evict(&node.id, &node.addr);
                        now += Duration::from_secs(100);
                    }
                }
                check(&table);
                let mut addrs: Vec<_> = table.contacts.iter().map(|c| c.addr.get().ip()).collect();
                addrs.sort();
                addrs.dedup();
                prop_assert_eq!(addrs.len(), table.contacts.len(), "one contact an address");
            }
        }
    }
}
