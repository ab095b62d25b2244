//! Sets of pieces as words, and how many neighbours have each piece, counted for all at once.

use super::draw::Draw;

/// Pieces of one word.
pub(super) const WORD: usize = 64;

/// Words that hold a bit for each of `pieces`.
pub(super) fn words_of(pieces: u32) -> usize {
    (pieces as usize).div_ceil(WORD)
}

/// Whether `piece` is in the set.
pub(super) fn get(set: &[u64], piece: u32) -> bool {
    set[piece as usize / WORD] >> (piece % 64) & 1 == 1
}

/// Puts `piece` into the set.
pub(super) fn insert(set: &mut [u64], piece: u32) {
    set[piece as usize / WORD] |= 1 << (piece % 64);
}

/// Takes `piece` out of the set.
pub(super) fn remove(set: &mut [u64], piece: u32) {
    set[piece as usize / WORD] &= !(1 << (piece % 64));
}

/// Puts all of `pieces` into the set.
pub(super) fn fill(set: &mut [u64], pieces: u32) {
    (0..pieces).for_each(|piece| insert(set, piece));
}

/// The lowest piece of a set.
pub fn lowest(set: &[u64]) -> Option<u32> {
    let at = set.iter().position(|word| *word != 0)?;
    Some(at as u32 * 64 + set[at].trailing_zeros())
}

/// A piece of a set, each equally likely.
pub fn random(set: &[u64], draw: &mut Draw) -> Option<u32> {
    let total: u32 = set.iter().map(|word| word.count_ones()).sum();
    if total == 0 {
        return None;
    }
    let mut nth = draw.below(total);
    for (at, &word) in set.iter().enumerate() {
        let here = word.count_ones();
        if nth < here {
            let rest = (0..nth).fold(word, |word, _| word & (word - 1));
            return Some(at as u32 * 64 + rest.trailing_zeros());
        }
        nth -= here;
    }
    None
}

/// Words that are counted together: as many as fit into vector registers.
const GROUP: usize = 4;
/// Binary digits of a count: up to 4,095 neighbours.
const DIGITS: usize = 12;

/// Counts of pieces in binary, digit by digit: the `k`-th plane holds the `k`-th digit of each.
/// A neighbour's set is added to all counts at once, a few operations a word, and only where there are
/// candidates.
#[derive(Default)]
pub(super) struct Counts {
    /// The groups of words in which there are candidates, and for every group which of these it is.
    groups: Vec<u32>,
    /// These groups of each set, set by set.
    sets: Vec<Group>,
    len: usize,
    /// The result: digit by digit of each of the groups.
    planes: Vec<Group>,
    digits: usize,
}

impl Counts {
    /// Forgets the sets; the next are counted for the pieces of `candidates`.
    pub(super) fn clear(&mut self, candidates: &[u64]) {
        self.groups.clear();
        let words = candidates.chunks(GROUP).zip(0..);
        let some = words.filter(|(words, _)| words.iter().any(|word| *word != 0));
        self.groups.extend(some.map(|(_, group)| group));
        self.sets.clear();
        self.len = 0;
    }

    /// One more set.
    pub(super) fn push(&mut self, set: &[u64]) {
        self.len += 1;
        self.sets.extend(self.groups.iter().map(|group| load(set, *group as usize * GROUP)));
    }

    /// Takes `piece` out of the `at`-th set.
    pub(super) fn remove(&mut self, at: usize, piece: u32) {
        if let Some(group) = self.place(piece) {
            take_out(&mut self.sets[at * self.groups.len() + group], piece);
        }
    }

    /// Where the group of a piece stands.
    fn place(&self, piece: u32) -> Option<usize> {
        let group = piece / (WORD * GROUP) as u32;
        self.groups.iter().position(|here| *here == group)
    }

    /// Adds the sets up.
    pub(super) fn add_up(&mut self) {
        self.digits = (usize::BITS - self.len.leading_zeros()) as usize;
        self.planes.clear();
        for at in 0..self.groups.len() {
            let sum = sum_of(&self.sets, self.groups.len(), at, self.digits);
            self.planes.extend_from_slice(&sum[..self.digits]);
        }
    }

    /// Leaves of `candidates` those with the least count.
    pub(super) fn keep_least(&self, candidates: &mut [u64]) {
        let mut kept: Vec<Group> = Vec::with_capacity(self.groups.len());
        kept.extend(self.groups.iter().map(|group| load(candidates, *group as usize * GROUP)));
        for digit in (0..self.digits).rev() {
            let plane = |at: usize| &self.planes[at * self.digits + digit];
            let without = |at: usize, i: usize| kept[at][i] & !plane(at)[i];
            let some = (0..kept.len()).any(|at| (0..GROUP).any(|i| without(at, i) != 0));
            if some {
                for (at, words) in kept.iter_mut().enumerate() {
                    (0..GROUP).for_each(|i| words[i] &= !plane(at)[i]);
                }
            }
        }
        for (group, words) in self.groups.iter().zip(&kept) {
            let place = candidates[*group as usize * GROUP..].iter_mut();
            place.zip(words).for_each(|(place, word)| *place = *word);
        }
    }

    /// How many sets hold `piece`, one of the candidates.
    pub(super) fn of(&self, piece: u32) -> u32 {
        let Some(at) = self.place(piece) else { return 0 };
        let word = piece as usize / WORD % GROUP;
        let planes = &self.planes[at * self.digits..(at + 1) * self.digits];
        let digit = |(k, plane): (usize, &Group)| ((plane[word] >> (piece % 64) & 1) as u32) << k;
        planes.iter().enumerate().map(digit).sum()
    }
}

type Group = [u64; GROUP];

/// The words of a set from `at` on; what is beyond it is empty.
fn load(set: &[u64], at: usize) -> Group {
    let mut out = [0; GROUP];
    match set.get(at..at + GROUP) {
        Some(words) => out.copy_from_slice(words),
        None => out.iter_mut().zip(&set[at..]).for_each(|(out, word)| *out = *word),
    }
    out
}

/// Takes `piece` out of the group in which it is.
fn take_out(words: &mut Group, piece: u32) {
    words[piece as usize / WORD % GROUP] &= !(1 << (piece % 64));
}

/// Adds three sets, each a digit of weight 1: the sum's two digits.
fn add3(a: Group, b: Group, c: Group) -> (Group, Group) {
    let (mut low, mut high) = ([0; GROUP], [0; GROUP]);
    for i in 0..GROUP {
        let half = a[i] ^ b[i];
        low[i] = half ^ c[i];
        high[i] = a[i] & b[i] | half & c[i];
    }
    (low, high)
}

/// The counts of the pieces of the `at`-th of `groups` groups.
fn sum_of(sets: &[Group], groups: usize, at: usize, digits: usize) -> [Group; DIGITS] {
    let mut sum = [[0; GROUP]; DIGITS];
    let rows = sets.len() / groups.max(1);
    let row = |n: usize| if n < rows { sets[n * groups + at] } else { [0; GROUP] };
    for n in (0..rows).step_by(3) {
        let (ones, twos) = add3(row(n), row(n + 1), row(n + 2));
        let (low, carry) = add3(sum[0], ones, [0; GROUP]);
        sum[0] = low;
        let (low, mut carry) = add3(sum[1], twos, carry);
        sum[1] = low;
        for digit in &mut sum[2..digits.max(2)] {
            for (digit, carry) in digit.iter_mut().zip(&mut carry) {
                (*digit, *carry) = (*digit ^ *carry, *digit & *carry);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::Rng;

    #[test]
    fn counts_are_those_of_counting_one_by_one() {
        let mut rng = Rng::new(&[1; 32]);
        let mut counts = Counts::default();
        for (pieces, sets) in [(1, 0), (1, 1), (64, 2), (65, 3), (200, 20), (1000, 31), (1000, 90)]
        {
            counts.clear(&vec![u64::MAX; words_of(pieces)]);
            let mut all = Vec::new();
            let mut plain = vec![0; pieces as usize];
            for _ in 0..sets {
                let mut set = vec![0; words_of(pieces)];
                for piece in (0..pieces).filter(|_| rng.chance(0.4)) {
                    insert(&mut set, piece);
                    plain[piece as usize] += 1;
                }
                counts.push(&set);
                all.push(set);
            }
            counts.add_up();
            (0..pieces).for_each(|piece| assert_eq!(counts.of(piece), plain[piece as usize]));
            let mut candidates = vec![0; words_of(pieces)];
            let some: Vec<u32> = (0..pieces).filter(|_| rng.chance(0.3)).collect();
            some.iter().for_each(|&piece| insert(&mut candidates, piece));
            counts.clear(&candidates);
            all.iter().for_each(|set| counts.push(set));
            // One that it has, and one that it may not.
            for piece in some.iter().take(2).filter(|_| !all.is_empty()) {
                plain[*piece as usize] -= u32::from(get(&all[0], *piece));
                counts.remove(0, *piece);
            }
            counts.add_up();
            some.iter().for_each(|&piece| assert_eq!(counts.of(piece), plain[piece as usize]));
            counts.keep_least(&mut candidates);
            let least = some.iter().map(|&piece| plain[piece as usize]).min();
            for &piece in &some {
                let is_least = Some(plain[piece as usize]) == least;
                assert_eq!(get(&candidates, piece), is_least, "{pieces} {sets} {piece}");
            }
        }
    }

    #[test]
    fn a_random_piece_is_any_of_the_set() {
        let mut set = vec![0; 3];
        [0, 63, 64, 130].into_iter().for_each(|piece| insert(&mut set, piece));
        let mut draw = Draw::new(7);
        let mut seen = [0; 131];
        (0..4000).for_each(|_| seen[random(&set, &mut draw).unwrap() as usize] += 1);
        for piece in [0, 63, 64, 130] {
            assert!((850..1150).contains(&seen[piece]), "{piece}: {}", seen[piece]);
        }
        assert_eq!(seen.iter().sum::<u32>(), 4000);
        assert_eq!(lowest(&set[1..]), Some(0));
        remove(&mut set, 0);
        assert_eq!(lowest(&set), Some(63));
        assert_eq!((lowest(&[0, 0]), random(&[0], &mut draw)), (None, None));
    }
}
