//! The routing table of one family (BEP 5, "Routing Table").
//!
//! Bucket `i` holds the contacts that share exactly `i` leading bits with our id; the last bucket
//! holds all that share at least as many, and splits when it is full. The contacts of all buckets
//! stand in one vector, bucket after bucket, and all buckets share one replacement cache.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use wire::NodeId;
use wire::rng::Rng;
use wire::scope::AddrScope;
use wire::time::Time;

use crate::config::Config;
use crate::contact::{Address, Contact, Status, secs};
use crate::{NodeInfo, SocketId};

/// A bucket's own part; its contacts stand in the table.
#[derive(Clone, Copy, Default)]
struct Bucket {
    len: u16,
    /// When a contact in it last answered or was added: seconds on the node's clock.
    changed_secs: u32,
    /// Whether a lookup was made for an id in it.
    searched: bool,
}

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
    rules: Rules,
    contacts: Vec<Contact<A>>,
    buckets: Vec<Bucket>,
    spare: Vec<Contact<A>>,
}

/// The numbers of [`Config`] that a table needs.
#[derive(Clone, Copy)]
struct Rules {
    k: usize,
    good_secs: u32,
    fails_max: u8,
    refresh_secs: u32,
    spare_max: usize,
    subnet_max: usize,
    enforce_ids: bool,
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
    pub(crate) fn new(own: NodeId, config: &Config) -> Table<A> {
        Table {
            own,
            rules: Rules {
                k: config.k,
                good_secs: config.contact_good_secs,
                fails_max: config.contact_fails_max,
                refresh_secs: config.bucket_refresh_secs,
                spare_max: config.replacements_max,
                subnet_max: config.bucket_subnet_max,
                enforce_ids: config.enforce_ids,
            },
            contacts: Vec::new(),
            buckets: vec![Bucket::default()],
            spare: Vec::new(),
        }
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
        contact.status(now, self.rules.good_secs, self.rules.fails_max)
    }

    /// Whether any contact can be asked.
    pub(crate) fn has_usable(&self) -> bool {
        self.contacts.iter().any(|c| c.fails < self.rules.fails_max)
    }

    fn bucket_of(&self, id: &NodeId) -> usize {
        (self.own.common_prefix(id) as usize).min(self.buckets.len() - 1)
    }

    fn range(&self, bucket: usize) -> Range<usize> {
        let start = self.buckets[..bucket].iter().map(|b| usize::from(b.len)).sum();
        start..start + usize::from(self.buckets[bucket].len)
    }

    fn find(&self, id: &NodeId) -> Option<usize> {
        self.range(self.bucket_of(id)).find(|&i| self.contacts[i].id == *id)
    }

    /// A node answered a query: lists it, if it may be.
    pub(crate) fn on_reply(
        &mut self,
        now: Time,
        node: &NodeInfo,
        via: SocketId,
        rtt: Duration,
    ) -> Heard {
        let Some(addr) = A::new(&node.addr) else { return Heard::Refused };
        if let Some(at) = self.find(&node.id) {
            let bad = self.status(&self.contacts[at], now) == Status::Bad;
            let contact = &mut self.contacts[at];
            if contact.addr != addr {
                // An id can be claimed by anyone: the one who had it first and lives keeps it.
                if contact.answered() && !bad {
                    return Heard::Refused;
                }
                *contact = Contact::new(node.id, addr, via);
            }
            contact.on_reply(now, rtt);
            let bucket = self.bucket_of(&node.id);
            self.buckets[bucket].changed_secs = secs(now);
            return Heard::Known;
        }
        let mut contact = Contact::new(node.id, addr, via);
        contact.on_reply(now, rtt);
        self.admit(now, contact)
    }

    /// Lists a node that did not answer yet, as from a file, if there is room.
    pub(crate) fn restore(&mut self, now: Time, node: &NodeInfo, via: SocketId) -> Heard {
        let Some(addr) = A::new(&node.addr) else { return Heard::Refused };
        match self.find(&node.id) {
            Some(_) => Heard::Known,
            None => self.admit(now, Contact::new(node.id, addr, via)),
        }
    }

    /// A node asked us. Returns whether it should be asked in turn: it is not known to answer and
    /// could be listed if it does.
    pub(crate) fn on_query(&mut self, now: Time, node: &NodeInfo) -> bool {
        let Some(addr) = A::new(&node.addr) else { return false };
        if let Some(at) = self.find(&node.id) {
            let contact = &mut self.contacts[at];
            if contact.addr == addr {
                contact.on_query(now);
            }
            return self.status(&self.contacts[at], now) != Status::Good;
        }
        if node.id == self.own || node.id == NodeId::ZERO {
            return false;
        }
        let bucket = self.bucket_of(&node.id);
        let range = self.range(bucket);
        let room = range.len() < self.rules.k
            || self.can_split(bucket)
            || self.contacts[range].iter().any(|c| self.status(c, now) != Status::Good);
        room && !self.taken(&Contact::new(node.id, addr, SocketId(0)))
    }

    fn can_split(&self, bucket: usize) -> bool {
        bucket + 1 == self.buckets.len() && self.buckets.len() < 160
    }

    /// Whether another contact holds the address, or for Global ones the IP address.
    fn clash(&self, contact: &Contact<A>) -> Option<usize> {
        let global = contact.scope() == AddrScope::Global;
        self.contacts.iter().position(|c| {
            c.addr == contact.addr || (global && c.addr.ip_bytes() == contact.addr.ip_bytes())
        })
    }

    fn taken(&self, contact: &Contact<A>) -> bool {
        self.clash(contact).is_some_and(|at| self.contacts[at].fails < self.rules.fails_max)
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
            if !same && self.contacts[at].fails < self.rules.fails_max {
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
            if range.len() < self.rules.k {
                self.contacts.insert(range.end, contact);
                self.buckets[bucket].len += 1;
                self.buckets[bucket].changed_secs = secs(now);
                return Heard::Added;
            }
            if self.can_split(bucket) {
                self.split();
                continue;
            }
            return match self.worst(now, range, &contact) {
                Some(at) => {
                    self.contacts[at] = contact;
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
        let net = contact.addr.subnet();
        let same = self.contacts[range.clone()].iter().filter(|c| c.addr.subnet() == net).count();
        same >= self.rules.subnet_max
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
        if self.spare.len() >= self.rules.spare_max && !self.spare.is_empty() {
            self.spare.remove(0);
        }
        if self.rules.spare_max > 0 {
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
        let total = part.len();
        let changed_secs = self.buckets[depth].changed_secs;
        self.buckets[depth].len = stay as u16;
        self.buckets.push(Bucket { len: (total - stay) as u16, changed_secs, searched: false });
    }

    fn remove_at(&mut self, at: usize) {
        let bucket = self.bucket_of(&self.contacts[at].id);
        self.contacts.remove(at);
        self.buckets[bucket].len -= 1;
    }

    /// A node at `addr` answered under another id than `id`: it is no longer listed as `id`.
    pub(crate) fn evict(&mut self, id: &NodeId, addr: &SocketAddr) {
        let Some(addr) = A::new(addr) else { return };
        if let Some(at) = self.find(id).filter(|&at| self.contacts[at].addr == addr) {
            self.remove_at(at);
        }
    }

    /// A contact did not answer. If that makes it bad, the best replacement takes its place.
    pub(crate) fn on_failure(&mut self, now: Time, id: &NodeId, addr: &SocketAddr) {
        let Some(addr) = A::new(addr) else { return };
        self.spare.retain(|c| c.addr != addr);
        let Some(at) = self.find(id).filter(|&at| self.contacts[at].addr == addr) else { return };
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

    /// Appends the `n` contacts closest to `target`, closest first. Visits buckets in the order of
    /// their distance and sorts only inside those that it needs.
    pub(crate) fn closest(
        &self,
        target: &NodeId,
        n: usize,
        wanted: Wanted,
        out: &mut Vec<(NodeInfo, SocketId)>,
    ) {
        let end = out.len() + n;
        let mut visit = |bucket: usize| {
            let start = out.len();
            let fit = self.contacts[self.range(bucket)].iter().filter(|c| match wanted {
                Wanted::Proven => c.answered() && c.fails == 0,
                Wanted::Usable => c.fails < self.rules.fails_max,
                Wanted::Any => true,
            });
            out.extend(fit.map(|c| (NodeInfo { id: c.id, addr: c.addr.get() }, c.via)));
            out[start..].sort_unstable_by_key(|(node, _)| node.id.distance(target));
            out.truncate(end);
            out.len() == end
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

    /// Up to `n` questionable contacts that should be pinged; they count as pinged from now on.
    pub(crate) fn questionable(
        &mut self,
        now: Time,
        n: usize,
        out: &mut Vec<(NodeInfo, SocketId)>,
    ) {
        let rules = self.rules;
        let due = self.contacts.iter_mut().filter(|c| {
            !c.pinged() && c.status(now, rules.good_secs, rules.fails_max) == Status::Questionable
        });
        for contact in due.take(n) {
            contact.set_pinged();
            out.push((NodeInfo { id: contact.id, addr: contact.addr.get() }, contact.via));
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
    /// from now on it was.
    pub(crate) fn refresh(&mut self, now: Time, rng: &mut Rng) -> Option<NodeId> {
        if self.contacts.is_empty() {
            return None;
        }
        let due = |b: &Bucket| {
            let old = secs(now).saturating_sub(b.changed_secs) >= self.rules.refresh_secs;
            old || (!b.searched && usize::from(b.len) < self.rules.k)
        };
        let index = self.buckets.iter().position(due)?;
        self.buckets[index].changed_secs = secs(now);
        self.buckets[index].searched = true;
        let mut id = NodeId::random(rng);
        for bit in 0..index as u32 {
            id.set_bit(bit, self.own.bit(bit));
        }
        if index + 1 < self.buckets.len() {
            id.set_bit(index as u32, !self.own.bit(index as u32));
        }
        Some(id)
    }
}
