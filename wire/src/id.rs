//! The 160-bit key space of BEP 5, in which node ids and info-hashes live side by side.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::rng::Rng;

/// A 160-bit key: a node id or an info-hash (BEP 5, "Overview").
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Id(pub [u8; 20]);

/// The order of the bytes; as two numbers, for that needs no call.
impl Ord for Id {
    #[inline]
    fn cmp(&self, other: &Id) -> Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for Id {
    #[inline]
    fn partial_cmp(&self, other: &Id) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // All keys are as long: no length is needed to tell them apart.
        state.write(&self.0);
    }
}

/// The id of a DHT node.
pub type NodeId = Id;

/// The SHA-1 of a torrent's info dict.
pub type InfoHash = Id;

impl Id {
    /// Bits of a key.
    pub const BITS: u32 = 160;

    /// The key of all zero bits.
    pub const ZERO: Id = Id([0; 20]);

    /// A uniformly random key.
    pub fn random(rng: &mut Rng) -> Id {
        Id(rng.bytes())
    }

    /// The key in `bytes`, if these are exactly 20.
    pub fn from_slice(bytes: &[u8]) -> Option<Id> {
        bytes.try_into().ok().map(Id)
    }

    /// The key's 20 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The XOR distance to `other` (BEP 5, "Overview"), comparable as a number.
    pub fn distance(&self, other: &Id) -> Id {
        let mut out = [0; 20];
        for ((out, a), b) in out.iter_mut().zip(self.0).zip(other.0) {
            *out = a ^ b;
        }
        Id(out)
    }

    /// The XOR distance to `other` as two numbers that compare in its order: cheaper to sort by.
    #[inline]
    pub fn distance_words(&self, other: &Id) -> (u128, u32) {
        let ((high, low), (other_high, other_low)) = (self.words(), other.words());
        (high ^ other_high, low ^ other_low)
    }

    /// The key as two numbers that compare in its order.
    #[inline]
    fn words(&self) -> (u128, u32) {
        (u128::from_be_bytes(first(&self.0)), u32::from_be_bytes(last(&self.0)))
    }

    /// How many leading bits are zero: 0 to 160.
    pub fn leading_zeros(&self) -> u32 {
        let head = u128::from_be_bytes(first(&self.0));
        match head {
            0 => 128 + u32::from_be_bytes(last(&self.0)).leading_zeros(),
            _ => head.leading_zeros(),
        }
    }

    /// How many leading bits this key shares with `other`: 0 to 160.
    #[inline]
    pub fn common_prefix(&self, other: &Id) -> u32 {
        match self.distance_words(other) {
            (0, low) => 128 + low.leading_zeros(),
            (high, _) => high.leading_zeros(),
        }
    }

    /// Bit `index`, counted from the most significant; false beyond bit 159.
    #[inline]
    pub fn bit(&self, index: u32) -> bool {
        self.0.get(index as usize / 8).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
    }

    /// Sets bit `index`, counted from the most significant; nothing beyond bit 159.
    pub fn set_bit(&mut self, index: u32, on: bool) {
        if let Some(byte) = self.0.get_mut(index as usize / 8) {
            let mask = 0x80 >> (index % 8);
            *byte = if on { *byte | mask } else { *byte & !mask };
        }
    }
}

fn first(bytes: &[u8; 20]) -> [u8; 16] {
    std::array::from_fn(|i| bytes[i])
}

fn last(bytes: &[u8; 20]) -> [u8; 4] {
    std::array::from_fn(|i| bytes[16 + i])
}

/// A text that is not 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 40 hexadecimal digits")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for Id {
    type Err = NotAnId;

    /// Reads 40 hexadecimal digits of either case.
    fn from_str(text: &str) -> Result<Id, NotAnId> {
        let mut out = [0; 20];
        hex::decode_to_slice(text, &mut out).map_err(|_| NotAnId)?;
        Ok(Id(out))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_in_words_has_the_order_of_distance() {
        let mut rng = Rng::new(&[1; 32]);
        let target = Id::random(&mut rng);
        for _ in 0..1_000 {
            let (mut a, b) = (Id::random(&mut rng), Id::random(&mut rng));
            // Half of them share the first 16 bytes, so that the low word decides.
            if rng.chance(0.5) {
                a.0[..16].copy_from_slice(&b.0[..16]);
            }
            let order = a.distance(&target).cmp(&b.distance(&target));
            assert_eq!(a.distance_words(&target).cmp(&b.distance_words(&target)), order);
            assert_eq!(a.cmp(&b), a.0.cmp(&b.0));
            assert_eq!(a.common_prefix(&b), a.distance(&b).leading_zeros());
        }
    }

    #[test]
    fn distance_counts_from_the_first_bit() {
        let mut a = Id::ZERO;
        assert_eq!(a.leading_zeros(), 160);
        a.set_bit(159, true);
        assert_eq!(a.leading_zeros(), 159);
        a.set_bit(3, true);
        assert_eq!(a.common_prefix(&Id::ZERO), 3);
        assert!(a.bit(3) && !a.bit(4) && !a.bit(1000));
        assert_eq!(a.distance(&a), Id::ZERO);
    }

    #[test]
    fn text_goes_there_and_back() {
        let text = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
        let id: Id = text.to_uppercase().parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!("xyz".parse::<Id>(), Err(NotAnId));
        assert_eq!(text[1..].parse::<Id>(), Err(NotAnId));
    }
}
