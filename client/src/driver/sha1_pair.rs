//! SHA-1 of two streams at once on one core.
//!
//! Each SHA instruction of x86 waits four to six cycles for the one before: of one stream they leave half
//! of the processor idle, of two not. Where there are none, two ordinary hashers do.

use sha1::{Digest, Sha1};

/// The hashes of two streams of the same length, whole blocks of 64 bytes.
pub(super) enum Sha1Pair {
    #[cfg(target_arch = "x86_64")]
    Instructions {
        states: [[u32; 5]; 2],
        len: u64,
    },
    Ordinary(Box<[Sha1; 2]>),
}

/// FIPS 180-4, 5.3.1.
#[cfg(target_arch = "x86_64")]
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

impl Sha1Pair {
    pub(super) fn new() -> Sha1Pair {
        #[cfg(target_arch = "x86_64")]
        if x86::is_there() {
            return Sha1Pair::Instructions { states: [INITIAL; 2], len: 0 };
        }
        Sha1Pair::Ordinary(Box::default())
    }

    /// Takes the next bytes of both: as many of each, and whole blocks; what is beyond is left out.
    pub(super) fn update(&mut self, [a, b]: [&[u8]; 2]) {
        let len = a.len().min(b.len()) / BLOCK * BLOCK;
        debug_assert_eq!((a.len(), b.len()), (len, len), "whole blocks, as many of each");
        let (a, b) = (&a[..len], &b[..len]);
        match self {
            #[cfg(target_arch = "x86_64")]
            Sha1Pair::Instructions { states, len: total } => {
                *total += len as u64;
                x86::compress(states, a.as_chunks().0, b.as_chunks().0);
            }
            Sha1Pair::Ordinary(hashers) => {
                hashers[0].update(a);
                hashers[1].update(b);
            }
        }
    }

    /// The hashes.
    pub(super) fn finish(self) -> [[u8; 20]; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Sha1Pair::Instructions { mut states, len } => {
                // FIPS 180-4, 5.1.1: of whole blocks the padding is one more.
                let mut padding = [0; BLOCK];
                padding[0] = 0x80;
                padding[BLOCK - 8..].copy_from_slice(&(len * 8).to_be_bytes());
                x86::compress(&mut states, &[padding], &[padding]);
                states.map(|state| {
                    let mut hash = [0; 20];
                    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
                        *bytes = word.to_be_bytes();
                    }
                    hash
                })
            }
            Sha1Pair::Ordinary(hashers) => hashers.map(|hasher| hasher.finalize().into()),
        }
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

    /// Takes as many blocks as both have into the states.
    pub(super) fn compress(states: &mut [[u32; 5]; 2], a: &[[u8; BLOCK]], b: &[[u8; BLOCK]]) {
        assert!(is_there());
        // SAFETY: the processor has the features, as was just asked.
        unsafe { compress_both(states, a, b) }
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
    fn compress_both(states: &mut [[u32; 5]; 2], a: &[[u8; BLOCK]], b: &[[u8; BLOCK]]) {
        let [mut one, mut two] = [load(&states[0]), load(&states[1])];
        for (a, b) in a.iter().zip(b) {
            begin(&mut one, a);
            begin(&mut two, b);
            all_rounds!(one two);
            end(&mut one);
            end(&mut two);
        }
        *states = [store(&one), store(&two)];
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

    fn hashes(mut pair: Sha1Pair, a: &[u8], b: &[u8], step: usize) -> [[u8; 20]; 2] {
        for (a, b) in a.chunks(step).zip(b.chunks(step)) {
            pair.update([a, b]);
        }
        pair.finish()
    }

    #[test]
    fn both_hashes_are_those_of_each_alone_whatever_the_steps() {
        for blocks in [0, 1, 2, 3, 64, 257] {
            let (a, b) = (content(blocks * BLOCK, 1), content(blocks * BLOCK, 2));
            let alone = [&a, &b].map(|bytes| <[u8; 20]>::from(Sha1::digest(bytes)));
            for step in [BLOCK, 3 * BLOCK, 64 * BLOCK] {
                assert_eq!(hashes(Sha1Pair::new(), &a, &b, step), alone, "{blocks} by {step}");
                let ordinary = Sha1Pair::Ordinary(Box::default());
                assert_eq!(hashes(ordinary, &a, &b, step), alone);
            }
        }
    }

    #[test]
    fn the_instructions_are_used_where_they_are() {
        #[cfg(target_arch = "x86_64")]
        assert_eq!(matches!(Sha1Pair::new(), Sha1Pair::Instructions { .. }), x86::is_there());
    }
}
