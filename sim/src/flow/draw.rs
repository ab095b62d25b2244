//! Draws that are made often.

/// A small generator, one a peer: what one draws does not shift the others. SplitMix64 (Steele, Lea,
/// Flood 2014); its numbers are the same on every machine.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The generator that `seed` names.
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// Uniform over all of `u64`.
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform over `0..bound` up to one part in 2^32; 0 if that is empty.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u32
    }

    /// Uniform over [0, 1) with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix() {
        // The first of seed 1234567 as published with the algorithm's C source.
        let mut draw = Draw::new(1_234_567);
        assert_eq!(
            [draw.u64(), draw.u64()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
        assert_eq!(draw.below(0), 0);
        assert!((0..1000).all(|_| draw.below(10) < 10 && draw.unit() < 1.0));
    }
}
