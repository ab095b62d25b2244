//! One bit a piece, as on the wire: the first piece is the high bit of the first byte (BEP 3,
//! "bitfield").

/// A set of pieces of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bitfield {
    bytes: Vec<u8>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// No piece of `len`.
    pub fn new(len: u32) -> Bitfield {
        Bitfield { bytes: vec![0; (len as usize).div_ceil(8)], len, count: 0 }
    }

    /// Every piece of `len`.
    pub fn full(len: u32) -> Bitfield {
        let mut bytes = vec![0xff; (len as usize).div_ceil(8)];
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_bits(len);
        }
        Bitfield { bytes, len, count: len }
    }

    /// Reads a `bitfield` message's payload. None unless it has the one length that `len` pieces
    /// take, with spare bits zero (BEP 3: "Spare bits at the end are set to zero").
    pub fn from_wire(bytes: &[u8], len: u32) -> Option<Bitfield> {
        if bytes.len() != (len as usize).div_ceil(8) {
            return None;
        }
        if bytes.last().is_some_and(|last| last & spare_bits(len) != 0) {
            return None;
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Some(Bitfield { bytes: bytes.to_vec(), len, count })
    }

    /// The bytes as they go on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of pieces that it speaks of.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it speaks of no piece.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pieces in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether all pieces are in the set, of which there must be one.
    pub fn is_full(&self) -> bool {
        self.len > 0 && self.count == self.len
    }

    /// Whether all bits that `other` has are set, of as many pieces.
    pub fn contains(&self, other: &Bitfield) -> bool {
        self.bytes.iter().zip(&other.bytes).all(|(ours, theirs)| theirs & !ours == 0)
    }

    /// Whether `piece` is in the set; false for one that does not exist.
    pub fn get(&self, piece: u32) -> bool {
        piece < self.len && self.bytes[piece as usize / 8] & mask(piece) != 0
    }

    /// Puts `piece` into the set; nothing for one that does not exist.
    pub fn set(&mut self, piece: u32) {
        if piece < self.len && !self.get(piece) {
            self.bytes[piece as usize / 8] |= mask(piece);
            self.count += 1;
        }
    }

    /// Takes `piece` out of the set.
    pub fn clear(&mut self, piece: u32) {
        if self.get(piece) {
            self.bytes[piece as usize / 8] &= !mask(piece);
            self.count -= 1;
        }
    }

    /// The pieces in the set, lowest first.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().zip(0u32..).filter(|(byte, _)| **byte != 0).flat_map(|(byte, at)| {
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit)
        })
    }

    /// The pieces not in the set, lowest first.
    pub fn zeros(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|&piece| !self.get(piece))
    }
}

fn mask(piece: u32) -> u8 {
    0x80 >> (piece % 8)
}

/// The bits of the last byte that stand for no piece.
fn spare_bits(len: u32) -> u8 {
    match len % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_walks() {
        let mut b = Bitfield::new(11);
        for piece in [0, 7, 8, 10, 11, 400] {
            b.set(piece);
            b.set(piece);
        }
        assert_eq!((b.count(), b.as_bytes()), (4, &[0x81, 0xa0][..]));
        assert_eq!(b.ones().collect::<Vec<_>>(), [0, 7, 8, 10]);
        assert_eq!(b.zeros().count(), 7);
        b.clear(8);
        b.clear(9);
        assert_eq!(b.count(), 3);
        assert!(!b.is_full() && !Bitfield::full(0).is_full());
    }

    #[test]
    fn the_wire_form_is_exact() {
        for len in [0, 1, 7, 8, 9, 64] {
            let full = Bitfield::full(len);
            assert_eq!(full.ones().count() as u32, len);
            assert_eq!(Bitfield::from_wire(full.as_bytes(), len), Some(full));
        }
        assert!(Bitfield::from_wire(&[0xff], 7).is_none(), "a spare bit");
        assert!(Bitfield::from_wire(&[0, 0], 8).is_none(), "too long");
        assert!(Bitfield::from_wire(&[], 1).is_none(), "too short");
    }
}
