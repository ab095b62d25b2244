//! Randomness that replays: ChaCha8 from a 32-byte seed, with child seeds by label.
//!
//! Only the cipher's raw output comes from a crate; how it becomes numbers is decided here, so that
//! a recorded seed gives the same run years later and on any machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use sha2::{Digest, Sha256};

/// The seed of a machine, and the root of its children's seeds.
pub type Seed = [u8; 32];

/// The seed of the `instance`-th child called `label`: SHA-256(parent, label length as u8, label,
/// instance as u64 little-endian). A new child does not shift the others.
pub fn child_seed(parent: &Seed, label: &str, instance: u64) -> Seed {
    debug_assert!(label.len() <= 255);
    let mut hash = Sha256::new();
    hash.update(parent);
    hash.update([label.len() as u8]);
    hash.update(label.as_bytes());
    hash.update(instance.to_le_bytes());
    hash.finalize().into()
}

/// The seed that a number names, as given to `--seed`.
pub fn seed_from_u64(number: u64) -> Seed {
    child_seed(&[0; 32], "seed", number)
}

/// Words of a block of the cipher.
const WORDS: usize = 16;

/// A generator of reproducible random numbers. It keeps one block of the cipher's stream, a third of
/// what the cipher's own generator does: there are as many of these as simulated machines.
#[derive(Clone)]
pub struct Rng {
    seed: Seed,
    /// The block that comes after the one that is kept.
    next_block: u64,
    words: [u32; WORDS],
    /// How many of the words were drawn.
    drawn: u32,
}

impl Rng {
    /// A generator that always gives the same stream for the same seed.
    pub fn new(seed: &Seed) -> Rng {
        Rng { seed: *seed, next_block: 0, words: [0; WORDS], drawn: WORDS as u32 }
    }

    #[cold]
    fn refill(&mut self) {
        let mut cipher = ChaCha8Rng::from_seed(self.seed);
        cipher.set_word_pos(u128::from(self.next_block) * WORDS as u128);
        self.words = std::array::from_fn(|_| cipher.next_u32());
        self.next_block += 1;
        self.drawn = 0;
    }

    /// Uniform over all of `u32`.
    pub fn u32(&mut self) -> u32 {
        if self.drawn as usize >= WORDS {
            self.refill();
        }
        let word = self.words[self.drawn as usize % WORDS];
        self.drawn += 1;
        word
    }

    /// Uniform over all of `u64`.
    pub fn u64(&mut self) -> u64 {
        let low = u64::from(self.u32());
        u64::from(self.u32()) << 32 | low
    }

    /// Uniform over `0..bound`, without bias (Lemire 2019). `below(0)` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u64::from(self.u32()) * u64::from(bound);
            if wide as u32 >= threshold {
                return (wide >> 32) as u32;
            }
        }
    }

    /// Uniform over `0..len` as an index; 0 for an empty range.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// Uniform over [0, 1) with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(4) {
            part.copy_from_slice(&self.u32().to_le_bytes()[..part.len()]);
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// `n` of the numbers below `len`, or all, in their order, each set of them equally likely (Knuth,
    /// The Art of Computer Programming 2, 3.4.2, algorithm S).
    pub fn choose(&mut self, len: usize, n: usize) -> impl Iterator<Item = usize> {
        let mut wanted = n.min(len);
        (0..len).filter(move |at| {
            let chosen = self.index(len - at) < wanted;
            wanted -= usize::from(chosen);
            chosen
        })
    }

    /// Puts `items` into a uniformly random order (Fisher-Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let mut rng = Rng::new(&seed_from_u64(7));
        let numbers: Vec<u32> = (0..6).map(|_| rng.below(1000)).collect();
        let mut order: Vec<u8> = (0..10).collect();
        rng.shuffle(&mut order);
        assert_eq!(numbers, GOLDEN_BELOW);
        assert_eq!(order, GOLDEN_SHUFFLE);
    }

    #[test]
    fn the_stream_is_the_ciphers() {
        let (mut rng, mut cipher) = (Rng::new(&[5; 32]), ChaCha8Rng::from_seed([5; 32]));
        for n in 0..200 {
            assert_eq!(rng.u32(), cipher.next_u32());
            assert_eq!(rng.u64(), cipher.next_u64());
            let (mut ours, mut theirs) = ([0; 90], [0; 90]);
            rng.fill(&mut ours[..n % 90]);
            cipher.fill_bytes(&mut theirs[..n % 90]);
            assert_eq!(ours, theirs);
        }
        assert!(size_of::<Rng>() <= 112);
    }

    const GOLDEN_BELOW: [u32; 6] = [454, 462, 706, 46, 580, 620];
    const GOLDEN_SHUFFLE: [u8; 10] = [9, 2, 1, 5, 0, 3, 4, 6, 7, 8];

    #[test]
    fn children_differ_by_label_and_instance() {
        let root = seed_from_u64(1);
        assert_ne!(child_seed(&root, "node", 0), child_seed(&root, "node", 1));
        assert_ne!(child_seed(&root, "a", 0), child_seed(&root, "b", 0));
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut rng = Rng::new(&[3; 32]);
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
