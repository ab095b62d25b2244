//! A keyed hash map that strangers cannot flood and that has no order to depend on.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::rng::Rng;

/// SipHash-1-3 with a key from the owner's seed.
#[derive(Clone)]
struct Keyed(u64, u64);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// Maps a key to the index of its entry in a dense slab. There is no way to walk it: what needs an
/// order walks the slab.
#[derive(Clone)]
pub struct IdMap<K> {
    map: HashMap<K, u32, Keyed>,
}

impl<K: Hash + Eq> IdMap<K> {
    /// An empty map whose hash is keyed from `rng`.
    pub fn new(rng: &mut Rng) -> IdMap<K> {
        IdMap { map: HashMap::with_hasher(Keyed(rng.u64(), rng.u64())) }
    }

    /// The index stored for `key`.
    pub fn get(&self, key: &K) -> Option<u32> {
        self.map.get(key).copied()
    }

    /// Stores `index` for `key`; returns what stood there before.
    pub fn insert(&mut self, key: K, index: u32) -> Option<u32> {
        self.map.insert(key, index)
    }

    /// Forgets `key`; returns its index. What a map that was full needed goes back.
    pub fn remove(&mut self, key: &K) -> Option<u32> {
        let gone = self.map.remove(key);
        if self.map.len() < self.map.capacity() / 8 {
            self.map.shrink_to(self.map.len() * 2);
        }
        gone
    }

    /// What is stored for `key`, to be changed; 0 if there was nothing.
    pub fn entry(&mut self, key: K) -> &mut u32 {
        self.map.entry(key).or_default()
    }

    /// Whether `key` is stored.
    pub fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}
