//! SHA-1, of one stream or of two at once on one core.
//!
//! Each SHA instruction of x86 waits four to six cycles for the one before: of one stream they leave half
//! of the processor idle, of two not. Where there are none, an ordinary hasher does.

use sha1::{Digest, Sha1};

/// The hash of one stream, whose next bytes may be taken together with another's.
#[derive(Clone)]
pub struct Hasher(Inner);

#[derive(Clone)]
enum Inner {
    #[cfg(target_arch = "x86_64")]
    Instructions(State),
    Ordinary(Sha1),
}

/// A hash under way.
#[cfg(target_arch = "x86_64")]
#[derive(Clone)]
struct State {
    words: [u32; 5],
    /// Bytes so far.
    len: u64,
    /// The last of them, which do not make a block yet.
    rest: [u8; BLOCK],
}

/// FIPS 180-4, 5.3.1.
#[cfg(target_arch = "x86_64")]
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

impl Default for Hasher {
    fn default() -> Hasher {
        #[cfg(target_arch = "x86_64")]
        if x86::is_there() {
            return Hasher(Inner::Instructions(State { words: INITIAL, len: 0, rest: [0; BLOCK] }));
        }
        Hasher(Inner::Ordinary(Sha1::new()))
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            #[cfg(target_arch = "x86_64")]
            Inner::Instructions(state) => state.update(bytes),
            Inner::Ordinary(hasher) => hasher.update(bytes),
        }
    }

    /// Takes the next bytes of two, together as far as both have whole blocks.
    pub fn update_both([one, other]: [&mut Hasher; 2], [a, b]: [&[u8]; 2]) {
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if let (Inner::Instructions(one), Inner::Instructions(other)) = (&mut one.0, &mut other.0)
            && one.rest_len() == 0
            && other.rest_len() == 0
        {
            done = a.len().min(b.len()) / BLOCK * BLOCK;
            let blocks = [a[..done].as_chunks().0, b[..done].as_chunks().0];
            x86::compress_two([&mut one.words, &mut other.words], blocks);
            one.len += done as u64;
            other.len += done as u64;
        }
        one.update(&a[done..]);
        other.update(&b[done..]);
    }

    /// The hash.
    pub fn finish(self) -> [u8; 20] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Inner::Instructions(state) => state.finish(),
            Inner::Ordinary(hasher) => hasher.finalize().into(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl State {
    fn rest_len(&self) -> usize {
        (self.len % BLOCK as u64) as usize
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let rest_len = self.rest_len();
        self.len += bytes.len() as u64;
        if rest_len > 0 {
            let taken = bytes.len().min(BLOCK - rest_len);
            self.rest[rest_len..rest_len + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if rest_len + taken < BLOCK {
                return;
            }
            x86::compress(&mut self.words, &[self.rest]);
        }
        let (blocks, rest) = bytes.as_chunks();
        x86::compress(&mut self.words, blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    fn finish(mut self) -> [u8; 20] {
        // FIPS 180-4, 5.1.1: a one, zeros, and the length in bits fill the last block.
        let (bits, rest_len) = (self.len * 8, self.rest_len());
        let zeros = (BLOCK + BLOCK - 9 - rest_len) % BLOCK;
        let padding = [0x80; 1].into_iter().chain(std::iter::repeat_n(0, zeros));
        let padding: Vec<u8> = padding.chain(bits.to_be_bytes()).collect();
        self.update(&padding);
        let mut hash = [0; 20];
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(self.words) {
            *bytes = word.to_be_bytes();
        }
        hash
    }
}

/// The SHA instructions.
///
/// The only `unsafe` here are a call of what is compiled for processors that have them, after
/// [`is_there`] has said that this one does, and unaligned loads of 16 bytes within a block of 64.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "the instructions are there and the loads are in bounds: see above")]
mod x86 {
    use std::arch::x86_64::*;

    use super::BLOCK;

    /// Whether this processor has what `compress_both` is compiled for.
    pub(super) fn is_there() -> bool {
        is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1")
    }

    /// Takes blocks into a state.
    pub(super) fn compress(state: &mut [u32; 5], blocks: &[[u8; BLOCK]]) {
        assert!(is_there());
        // SAFETY: the processor has the features, as was just asked.
        unsafe { compress_one(state, blocks) }
    }

    /// Takes as many blocks as both have into the states.
    pub(super) fn compress_two(states: [&mut [u32; 5]; 2], blocks: [&[[u8; BLOCK]]; 2]) {
        assert!(is_there());
        // SAFETY: the processor has the features, as was just asked.
        unsafe { compress_both(states, blocks) }
    }

    /// One stream: the state as the instructions take it, a to d in one register, e at the top of
    /// another, and the last 16 words of the schedule.
    #[derive(Clone, Copy)]
    struct Lane {
        abcd: __m128i,
        e: __m128i,
        words: [__m128i; 4],
        before: (__m128i, __m128i),
    }

    /// Four rounds of each lane.
    macro_rules! rounds {
        ($n:expr, $function:expr; $($lane:ident)+) => {$(
            // Words 4n to 4n + 3: of the block, and then of the schedule.
            if $n >= 4 {
                let old = _mm_sha1msg1_epu32($lane.words[$n % 4], $lane.words[($n + 1) % 4]);
                let old = _mm_xor_si128(old, $lane.words[($n + 2) % 4]);
                $lane.words[$n % 4] = _mm_sha1msg2_epu32(old, $lane.words[($n + 3) % 4]);
            }
            // The e of these rounds is the a of four rounds ago, rotated, which only the first lack.
            let e = match $n {
                0 => _mm_add_epi32($lane.e, $lane.words[0]),
                _ => _mm_sha1nexte_epu32($lane.e, $lane.words[$n % 4]),
            };
            let next = _mm_sha1rnds4_epu32($lane.abcd, e, $function);
            ($lane.e, $lane.abcd) = ($lane.abcd, next);
        )+};
    }

    /// All 80 rounds of each lane, four of one after four of the other.
    macro_rules! all_rounds {
        ($($lane:ident)+) => {
            rounds!(0, 0; $($lane)+); rounds!(1, 0; $($lane)+); rounds!(2, 0; $($lane)+);
            rounds!(3, 0; $($lane)+); rounds!(4, 0; $($lane)+); rounds!(5, 1; $($lane)+);
            rounds!(6, 1; $($lane)+); rounds!(7, 1; $($lane)+); rounds!(8, 1; $($lane)+);
            rounds!(9, 1; $($lane)+); rounds!(10, 2; $($lane)+); rounds!(11, 2; $($lane)+);
            rounds!(12, 2; $($lane)+); rounds!(13, 2; $($lane)+); rounds!(14, 2; $($lane)+);
            rounds!(15, 3; $($lane)+); rounds!(16, 3; $($lane)+); rounds!(17, 3; $($lane)+);
            rounds!(18, 3; $($lane)+); rounds!(19, 3; $($lane)+);
        };
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn compress_one(state: &mut [u32; 5], blocks: &[[u8; BLOCK]]) {
        let mut one = load(state);
        for block in blocks {
            begin(&mut one, block);
            all_rounds!(one);
            end(&mut one);
        }
        *state = store(&one);
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn compress_both(states: [&mut [u32; 5]; 2], [a, b]: [&[[u8; BLOCK]]; 2]) {
        let [mut one, mut two] = [load(states[0]), load(states[1])];
        for (a, b) in a.iter().zip(b) {
            begin(&mut one, a);
            begin(&mut two, b);
            all_rounds!(one two);
            end(&mut one);
            end(&mut two);
        }
        *states[0] = store(&one);
        *states[1] = store(&two);
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn load(&[a, b, c, d, e]: &[u32; 5]) -> Lane {
        let abcd = _mm_set_epi32(a as i32, b as i32, c as i32, d as i32);
        let e = _mm_set_epi32(e as i32, 0, 0, 0);
        Lane { abcd, e, words: [_mm_setzero_si128(); 4], before: (abcd, e) }
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn begin(lane: &mut Lane, block: &[u8; BLOCK]) {
        // Words are big-endian, the first at the top.
        let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        for (words, bytes) in lane.words.iter_mut().zip(block.as_chunks::<16>().0) {
            // SAFETY: the 16 bytes are there, and need not be aligned.
            let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            *words = _mm_shuffle_epi8(bytes, order);
        }
        lane.before = (lane.abcd, lane.e);
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn end(lane: &mut Lane) {
        let (abcd, e) = lane.before;
        lane.e = _mm_sha1nexte_epu32(lane.e, e);
        lane.abcd = _mm_add_epi32(lane.abcd, abcd);
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn store(lane: &Lane) -> [u32; 5] {
        let word = |n: i32| n as u32;
        [
            word(_mm_extract_epi32(lane.abcd, 3)),
            word(_mm_extract_epi32(lane.abcd, 2)),
            word(_mm_extract_epi32(lane.abcd, 1)),
            word(_mm_extract_epi32(lane.abcd, 0)),
            word(_mm_extract_epi32(lane.e, 3)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize, seed: u8) -> Vec<u8> {
        let mut x = u32::from(seed) + 1;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn ordinary() -> Hasher {
        Hasher(Inner::Ordinary(Sha1::new()))
    }

    fn hash(bytes: &[u8]) -> [u8; 20] {
        Sha1::digest(bytes).into()
    }

    #[test]
    fn a_hash_is_that_of_the_bytes_whatever_the_steps() {
        for len in [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1_000, 16_384] {
            let bytes = content(len, 1);
            for step in [1, 7, 63, 64, 65, 200, 4096] {
                for mut hasher in [Hasher::default(), ordinary()] {
                    bytes.chunks(step).for_each(|bytes| hasher.update(bytes));
                    assert_eq!(hasher.finish(), hash(&bytes), "{len} by {step}");
                }
            }
        }
    }

    #[test]
    fn two_at_once_are_as_each_alone_whatever_the_lengths() {
        for (a_len, b_len) in [(0, 0), (64, 64), (640, 64), (100, 100), (4_096, 1), (1_000, 9_999)]
        {
            let (a, b) = (content(a_len, 1), content(b_len, 2));
            for step in [BLOCK, 3 * BLOCK, 100, 64 * BLOCK] {
                for make in [Hasher::default, ordinary] {
                    let (mut one, mut other) = (make(), make());
                    let (mut a_chunks, mut b_chunks) = (a.chunks(step), b.chunks(step));
                    loop {
                        let both = [a_chunks.next(), b_chunks.next()];
                        if both == [None, None] {
                            break;
                        }
                        let both = both.map(Option::unwrap_or_default);
                        Hasher::update_both([&mut one, &mut other], both);
                    }
                    let got = [one.finish(), other.finish()];
                    assert_eq!(got, [hash(&a), hash(&b)], "{a_len} and {b_len} by {step}");
                }
            }
        }
    }

    #[test]
    fn the_instructions_are_used_where_they_are() {
        #[cfg(target_arch = "x86_64")]
        assert_eq!(matches!(Hasher::default().0, Inner::Instructions(_)), x86::is_there());
    }
}
