//! Items that others stored with us (BEP 44), bounded in number, bytes and by who stored them.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use wire::map::IdMap;
use wire::rng::Rng;
use wire::scope::owner;
use wire::time::Time;
use wire::{Id, NodeId};

use crate::config::{Config, SharedConfig};
use crate::contact::secs;
use crate::item::Item;
use crate::room;
use crate::shares::Shares;

#[derive(Clone)]
struct Stored {
    target: Id,
    item: Item,
    put_secs: u32,
    /// Who stored it first: it counts against that address.
    by: IpAddr,
    /// A bit of 64 for each owner of an address that stored it.
    putters: u64,
}

impl Stored {
    /// What it is worth to keep it: how many put it again, how near it is to us, where others look
    /// for it, and how lately it came. A bit of distance counts as much as a quarter of an hour, and
    /// a fourth of a putter.
    fn worth(&self, now: Time, own: &[NodeId]) -> i64 {
        let age = secs(now).saturating_sub(self.put_secs) / 900;
        i64::from(self.putters.count_ones()) * PUTTER + near(&self.target, own) - i64::from(age)
    }
}

/// What a putter adds to the worth of an item: one who floods has to grind keys four bits nearer.
const PUTTER: i64 = 4;

/// What its place in the key space adds to the worth of an item.
fn near(target: &Id, own: &[NodeId]) -> i64 {
    own.iter().map(|own| i64::from(target.common_prefix(own))).max().unwrap_or(0)
}

/// Why an item was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// `cas` names another sequence number than the stored item has.
    CasMismatch,
    /// The stored item is newer, or as new and another one.
    SeqTooLow,
    /// There is no room for it.
    Full,
}

/// All items.
#[derive(Clone)]
pub(crate) struct ItemStore {
    config: SharedConfig,
    key: [u64; 2],
    /// None while there are none.
    kept: Option<Box<Kept>>,
}

#[derive(Clone)]
struct Kept {
    /// In no order; `places` says where each stands.
    items: Vec<Stored>,
    places: IdMap<Id>,
    shares: Shares,
    bytes: usize,
    items_max: usize,
    bytes_max: usize,
    item_secs: u32,
}

/// Items that are looked at to find one that gives way: the worst of a few is nearly the worst.
const LOOKED_AT: usize = 32;

impl ItemStore {
    /// An empty store; the key of its hashes comes from `rng`.
    pub(crate) fn new(config: impl Into<SharedConfig>, rng: &mut Rng) -> ItemStore {
        ItemStore { config: config.into(), key: [rng.u64(), rng.u64()], kept: None }
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_with(|| Box::new(Kept::new(&self.config, self.key)))
    }

    /// Items, and bytes of their values.
    pub(crate) fn len(&self) -> (usize, usize) {
        self.kept.as_ref().map_or((0, 0), |kept| (kept.items.len(), kept.bytes))
    }

    /// The item stored under `target`.
    pub(crate) fn get(&self, now: Time, target: &Id) -> Option<&Item> {
        self.kept.as_ref()?.get(now, target)
    }

    /// Whether an item could be stored under `target`, be it in place of another one.
    pub(crate) fn has_room(&self, now: Time, target: &Id, own: &[NodeId], rng: &mut Rng) -> bool {
        match &self.kept {
            Some(kept) => kept.has_room(now, target, own, rng),
            None => self.config.store_items_max > 0 && self.config.store_item_bytes_max > 0,
        }
    }

    /// Stores an item that came from `from` (BEP 44, "put message"). One of the same key gives way
    /// if it is older; others if there is no room and they are worth less.
    pub(crate) fn put(
        &mut self,
        now: Time,
        item: Item,
        cas: Option<i64>,
        from: IpAddr,
        own: &[NodeId],
        rng: &mut Rng,
    ) -> Result<(), Refused> {
        self.kept().put(now, item, cas, from, own, rng)
    }

    /// Forgets items that nobody put again in time (BEP 44, "Expiration").
    pub(crate) fn expire(&mut self, now: Time) {
        if let Some(kept) = &mut self.kept {
            kept.expire(now);
            if kept.items.is_empty() {
                self.kept = None;
            }
        }
    }
}

impl Kept {
    fn new(config: &Config, key: [u64; 2]) -> Kept {
        let rng = &mut crate::keyed::rng(key);
        Kept {
            items: Vec::new(),
            places: IdMap::new(rng),
            shares: Shares::new(
                config.store_items_per_ip_max,
                config.store_items_per_prefix_max,
                rng,
            ),
            bytes: 0,
            items_max: config.store_items_max,
            bytes_max: config.store_item_bytes_max,
            item_secs: config.store_item_secs,
        }
    }

    fn place(&self, target: &Id) -> Option<usize> {
        self.places.get(target).map(|at| at as usize)
    }

    fn get(&self, now: Time, target: &Id) -> Option<&Item> {
        let stored = &self.items[self.place(target)?];
        (secs(now).saturating_sub(stored.put_secs) < self.item_secs).then_some(&stored.item)
    }

    fn has_room(&self, now: Time, target: &Id, own: &[NodeId], rng: &mut Rng) -> bool {
        let full = self.items.len() >= self.items_max || self.bytes >= self.bytes_max;
        !full
            || self.place(target).is_some()
            || self
                .worst(now, own, rng)
                .first()
                .is_some_and(|(w, _)| *w < near(target, own) + PUTTER)
    }

    fn put(
        &mut self,
        now: Time,
        item: Item,
        cas: Option<i64>,
        from: IpAddr,
        own: &[NodeId],
        rng: &mut Rng,
    ) -> Result<(), Refused> {
        let target = item.target();
        let known = self.place(&target).filter(|_| self.get(now, &target).is_some());
        if let Some(at) = known {
            return self.renew(now, at, item, cas, from);
        }
        self.remove(&target);
        if !self.shares.take(from) {
            return Err(Refused::Full);
        }
        let len = item.value().len();
        if !self.make_room(now, len, near(&target, own) + PUTTER, own, rng) {
            self.shares.give_back(from);
            return Err(Refused::Full);
        }
        self.bytes += len;
        self.places.insert(target, self.items.len() as u32);
        let (put_secs, putters) = (secs(now), putter_bit(from));
        room::push(&mut self.items, Stored { target, item, put_secs, by: from, putters });
        Ok(())
    }

    /// An item comes for a target that has one.
    fn renew(
        &mut self,
        now: Time,
        at: usize,
        item: Item,
        cas: Option<i64>,
        from: IpAddr,
    ) -> Result<(), Refused> {
        let stored = &mut self.items[at];
        // Who puts the same again did not see that it was stored, as when the answer was lost.
        if let (Some(cas), Some(seq)) = (cas, stored.item.seq())
            && cas != seq
            && stored.item != item
        {
            return Err(Refused::CasMismatch);
        }
        if stored.item != item {
            match (stored.item.seq(), item.seq()) {
                (Some(old), Some(new)) if new > old => {}
                // A key of 32 bytes can be made to be bencode; what nobody can change wins.
                (Some(_), None) => {}
                // Two signatures of the same are one item.
                (Some(old), Some(new)) if new == old && stored.item.value() == item.value() => {}
                _ => return Err(Refused::SeqTooLow),
            }
        }
        let bytes = self.bytes - stored.item.value().len() + item.value().len();
        if bytes > self.bytes_max.max(self.bytes) {
            return Err(Refused::Full);
        }
        self.bytes = bytes;
        stored.item = item;
        stored.put_secs = secs(now);
        stored.putters |= putter_bit(from);
        Ok(())
    }

    /// Some items, those that are worth least first, and what each is worth.
    fn worst(&self, now: Time, own: &[NodeId], rng: &mut Rng) -> ArrayVec<(i64, usize), LOOKED_AT> {
        let len = self.items.len();
        let picks = (0..LOOKED_AT.min(len)).map(|_| rng.index(len));
        let mut worst: ArrayVec<_, LOOKED_AT> =
            picks.map(|at| (self.items[at].worth(now, own), at)).collect();
        worst.sort_unstable();
        worst
    }

    /// Removes what has to give way to an item of so many bytes that is worth so much; nothing if that
    /// is not enough.
    fn make_room(
        &mut self,
        now: Time,
        len: usize,
        worth: i64,
        own: &[NodeId],
        rng: &mut Rng,
    ) -> bool {
        let (mut items, mut bytes) = (self.items.len(), self.bytes);
        let fits =
            |items: usize, bytes: usize| items < self.items_max && bytes + len <= self.bytes_max;
        let mut gone: ArrayVec<Id, LOOKED_AT> = ArrayVec::new();
        if !fits(items, bytes) {
            for (_, at) in self.worst(now, own, rng).into_iter().take_while(|(w, _)| *w < worth) {
                let Stored { target, item, .. } = &self.items[at];
                if !fits(items, bytes) && !gone.contains(target) {
                    (items, bytes) = (items - 1, bytes - item.value().len());
                    gone.push(*target);
                }
            }
        }
        let room = fits(items, bytes);
        if room {
            gone.iter().for_each(|target| self.remove(target));
        }
        room
    }

    fn remove(&mut self, target: &Id) {
        let Some(at) = self.place(target) else { return };
        self.places.remove(target);
        let gone = self.items.swap_remove(at);
        self.bytes -= gone.item.value().len();
        self.shares.give_back(gone.by);
        if let Some(moved) = self.items.get(at) {
            self.places.insert(moved.target, at as u32);
        }
    }

    fn expire(&mut self, now: Time) {
        for at in (0..self.items.len()).rev() {
            let Stored { target, put_secs, .. } = self.items[at];
            if secs(now).saturating_sub(put_secs) >= self.item_secs {
                self.remove(&target);
            }
        }
        room::give_back(&mut self.items);
    }
}

/// A rough count of putters that nobody raises from one address.
fn putter_bit(ip: IpAddr) -> u64 {
    let bits = match owner(ip) {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    };
    // Fibonacci hashing spreads neighbours.
    1 << (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::SigningKey;
    use std::time::Duration;

    const NOW: Time = Time::from_secs(100);
    const OWN: [NodeId; 1] = [Id([0; 20])];

    struct Bench {
        store: ItemStore,
        rng: Rng,
        now: Time,
    }

    impl Bench {
        fn new(change: impl FnOnce(&mut Config)) -> Bench {
            let mut config = Config::new(vec![]);
            change(&mut config);
            let mut rng = Rng::new(&[1; 32]);
            Bench { store: ItemStore::new(&config, &mut rng), rng, now: NOW }
        }

        fn put(&mut self, item: &Item, cas: Option<i64>, from: [u8; 4]) -> Result<(), Refused> {
            self.store.put(self.now, item.clone(), cas, from.into(), &OWN, &mut self.rng)
        }

        fn has(&self, item: &Item) -> bool {
            self.store.get(self.now, &item.target()) == Some(item)
        }
    }

    fn number(n: u32) -> Item {
        Item::immutable(format!("i{n}e").as_bytes()).unwrap()
    }

    fn signed(seq: i64, value: &str) -> Item {
        let signer = SigningKey::from_bytes(&[7; 32]);
        Item::sign(&signer, b"", seq, value.as_bytes()).unwrap()
    }

    #[test]
    fn newer_takes_the_place_of_older_and_cas_is_checked_first() {
        let mut b = Bench::new(|_| {});
        let from = [8, 1, 1, 1];
        assert_eq!(b.put(&signed(5, "i1e"), Some(99), from), Ok(()), "nothing to compare with");
        for (seq, value, cas, outcome) in [
            (5, "i1e", None, Ok(())),
            (5, "i1e", Some(4), Ok(())),
            (5, "i2e", None, Err(Refused::SeqTooLow)),
            (4, "i1e", None, Err(Refused::SeqTooLow)),
            (4, "i1e", Some(3), Err(Refused::CasMismatch)),
            (6, "i1e", Some(4), Err(Refused::CasMismatch)),
            (6, "i3e", Some(5), Ok(())),
            (7, "i3e", None, Ok(())),
            (i64::MAX, "i4e", None, Ok(())),
        ] {
            assert_eq!(b.put(&signed(seq, value), cas, from), outcome, "{seq} {value} {cas:?}");
        }
        assert!(b.has(&signed(i64::MAX, "i4e")));
        assert_eq!(b.store.len(), (1, 3));
    }

    #[test]
    fn items_expire_after_two_hours_unless_they_are_put_again() {
        let mut b = Bench::new(|_| {});
        b.put(&number(1), None, [8, 1, 1, 1]).unwrap();
        b.put(&number(2), None, [8, 1, 1, 1]).unwrap();
        b.now = NOW + Duration::from_secs(3600);
        b.put(&number(2), None, [8, 1, 1, 2]).unwrap();
        b.now = NOW + Duration::from_secs(7200);
        assert!(!b.has(&number(1)) && b.has(&number(2)));
        b.store.expire(b.now);
        assert_eq!(b.store.len().0, 1);
        b.put(&signed(9, "i1e"), None, [8, 1, 1, 1]).unwrap();
        b.now = NOW + Duration::from_secs(20_000);
        assert_eq!(b.put(&signed(1, "i1e"), None, [8, 1, 1, 1]), Ok(()), "the old one is gone");
        b.store.expire(b.now + Duration::from_secs(20_000));
        assert_eq!((b.store.len(), b.store.kept.is_none()), ((0, 0), true));
    }

    #[test]
    fn number_bytes_and_shares_are_bounded() {
        let mut b = Bench::new(|c| {
            (c.store_items_max, c.store_item_bytes_max) = (50, 1_500);
            (c.store_items_per_ip_max, c.store_items_per_prefix_max) = (10, 20);
        });
        let stored = (0..40).filter(|&n| b.put(&number(n), None, [8, 1, 1, 1]).is_ok()).count();
        assert_eq!(stored, 10);
        let stored = (100..140).filter(|&n| b.put(&number(n), None, [8, 1, 1, 2]).is_ok()).count();
        assert_eq!(stored, 10);
        assert!(b.put(&number(200), None, [8, 1, 1, 3]).is_err(), "the /24 has its share");
        for n in 0..10_000u32 {
            let _ = b.put(&number(1_000 + n), None, [9, (n >> 8) as u8, n as u8, 1]);
            let (items, bytes) = b.store.len();
            assert!(items <= 50 && bytes <= 1_500);
        }
        // What is stored may grow only within the bounds, too.
        let long = format!("990:{}", "x".repeat(990));
        let small: Vec<_> = (0..40).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
        for (n, key) in small.iter().enumerate() {
            let from = [10, 0, 0, n as u8];
            let _ = b.put(&Item::sign(key, b"", 1, b"i1e").unwrap(), None, from);
            let _ = b.put(&Item::sign(key, b"", 2, long.as_bytes()).unwrap(), None, from);
            assert!(b.store.len().1 <= 1_500);
        }
    }

    #[test]
    fn what_is_refused_pushes_nothing_out() {
        let text =
            |n: u32, len: usize| Item::immutable(format!("{len}:{n:0len$}").as_bytes()).unwrap();
        let mut b = Bench::new(|c| c.store_item_bytes_max = 1_000);
        // One that many want takes most of the room, small ones of less worth the rest.
        let wanted = text(1, 950);
        for host in 1..=30 {
            b.put(&wanted, None, [20, host, 1, 1]).unwrap();
        }
        let small: Vec<_> = (0..8).map(number).collect();
        small.iter().for_each(|item| b.put(item, None, [9, 1, 1, 1]).unwrap());
        let before = b.store.len();
        b.now = NOW + Duration::from_secs(6_000);
        for n in 2..50 {
            assert_eq!(b.put(&text(n, 900), None, [8, n as u8, 1, 1]), Err(Refused::Full));
        }
        assert_eq!(b.store.len(), before);
        assert!(b.has(&wanted) && small.iter().all(|item| b.has(item)));
    }

    #[test]
    fn a_flood_does_not_push_out_what_is_near_or_wanted_by_many() {
        let mut b = Bench::new(|c| c.store_items_max = 400);
        // Ordinary items, each kept alive by three hosts.
        for n in 0..200 {
            for host in 1..=3 {
                b.put(&number(n), None, [20 + host, n as u8, 1, 1]).unwrap();
            }
        }
        for n in 0..20_000u32 {
            let _ = b.put(&number(1_000 + n), None, [9, (n >> 8) as u8, n as u8, 1]);
        }
        let kept = (0..200).filter(|&n| b.has(&number(n))).count();
        assert!(kept >= 190, "{kept}");
        // One that is nearer than most finds room; one that is not has no token.
        let nearest =
            (50_000..200_000).map(number).max_by_key(|i| near(&i.target(), &OWN)).unwrap();
        assert!(b.store.has_room(b.now, &nearest.target(), &OWN, &mut b.rng));
        assert!(!b.store.has_room(b.now, &Id([0xff; 20]), &OWN, &mut b.rng));
        assert_eq!(b.put(&nearest, None, [7, 7, 7, 7]), Ok(()));
    }

    #[test]
    fn an_immutable_item_wins_over_a_mutable_one_of_the_same_target() {
        // Nothing but a collision can make them meet, so the store is told.
        let mut b = Bench::new(|_| {});
        let mutable = signed(5, "i1e");
        b.put(&mutable, None, [8, 1, 1, 1]).unwrap();
        let at = b.store.kept().place(&mutable.target()).unwrap();
        let immutable = number(1);
        assert_eq!(
            b.store.kept().renew(NOW, at, immutable.clone(), Some(9), [8; 4].into()),
            Err(Refused::CasMismatch)
        );
        assert_eq!(b.store.kept().renew(NOW, at, immutable, None, [8; 4].into()), Ok(()));
        assert_eq!(
            b.store.kept().renew(NOW, at, mutable, None, [8; 4].into()),
            Err(Refused::SeqTooLow)
        );
    }
}
