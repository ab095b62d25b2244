//! What a peer has, also before we know how many pieces there are.

use wire::bitfield::Bitfield;

/// Pieces of the largest torrent we read: 2^21 (libtorrent has the same bound).
const PIECES_MAX: u32 = 1 << 21;

/// The pieces of a peer.
pub enum Has {
    /// The metadata is not known yet.
    Early {
        /// It has all pieces, however many there are.
        all: bool,
        /// Told so far, one bit a piece as in a bitfield, as long as needed.
        bits: Vec<u8>,
        /// Length of its bitfield message, if it sent one.
        wire_len: Option<usize>,
        /// Always empty.
        none: Bitfield,
    },
    /// The metadata is known.
    Known(Bitfield),
}

impl Has {
    /// Nothing told, the number of pieces unknown.
    pub fn early() -> Has {
        Has::Early { all: false, bits: Vec::new(), wire_len: None, none: Bitfield::new(0) }
    }

    /// The pieces; none while their number is unknown.
    pub fn bits(&self) -> &Bitfield {
        match self {
            Has::Early { none, .. } => none,
            Has::Known(bits) => bits,
        }
    }

    /// One more piece: whether it is new, or None if there is no such piece.
    pub fn add(&mut self, piece: u32) -> Option<bool> {
        match self {
            Has::Early { bits, .. } => {
                if piece >= PIECES_MAX {
                    return None;
                }
                let at = piece as usize / 8;
                if bits.len() <= at {
                    bits.resize(at + 1, 0);
                }
                bits[at] |= 0x80 >> (piece % 8);
                Some(false)
            }
            Has::Known(bits) => {
                if piece >= bits.len() {
                    return None;
                }
                let new = !bits.get(piece);
                bits.set(piece);
                Some(new)
            }
        }
    }

    /// A bitfield as it came. What it had before, or None if this does not fit.
    pub fn set_wire(&mut self, bytes: &[u8]) -> Option<Bitfield> {
        match self {
            Has::Early { all, bits, wire_len, .. } => {
                if bytes.len() > PIECES_MAX as usize / 8 {
                    return None;
                }
                *all = false;
                *bits = bytes.to_vec();
                *wire_len = Some(bytes.len());
                Some(Bitfield::new(0))
            }
            Has::Known(bits) => {
                let new = Bitfield::from_wire(bytes, bits.len())?;
                Some(std::mem::replace(bits, new))
            }
        }
    }

    /// It has all pieces. What it had before.
    pub fn set_all(&mut self) -> Option<Bitfield> {
        self.set_whole(true)
    }

    /// It has no piece. What it had before.
    pub fn set_none(&mut self) -> Option<Bitfield> {
        self.set_whole(false)
    }

    fn set_whole(&mut self, whole: bool) -> Option<Bitfield> {
        match self {
            Has::Early { all, bits, wire_len, .. } => {
                *all = whole;
                *wire_len = None;
                bits.clear();
                Some(Bitfield::new(0))
            }
            Has::Known(bits) => {
                let count = bits.len();
                let new = if whole { Bitfield::full(count) } else { Bitfield::new(count) };
                Some(std::mem::replace(bits, new))
            }
        }
    }

    /// The number of pieces is known now. None if what was told does not fit it.
    pub fn set_piece_count(&mut self, pieces: u32) -> Option<()> {
        let Has::Early { all, bits, wire_len, .. } = self else { return Some(()) };
        let bytes = (pieces as usize).div_ceil(8);
        if wire_len.is_some_and(|len| len != bytes) || bits.len() > bytes {
            return None;
        }
        let known = if *all {
            Bitfield::full(pieces)
        } else {
            bits.resize(bytes, 0);
            Bitfield::from_wire(bits, pieces)?
        };
        *self = Has::Known(known);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_early_is_checked_later() {
        let mut has = Has::early();
        assert!(has.set_wire(&[0b1010_0000]).is_some());
        assert_eq!(has.add(2), Some(false));
        assert_eq!(has.bits().len(), 0);
        assert!(has.set_piece_count(5).is_some());
        assert_eq!(has.bits().ones().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(has.add(4), Some(true));
        assert_eq!(has.add(5), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (bytes, pieces) in [(&[0xff][..], 5), (&[0, 0], 5), (&[], 5), (&[0], 9)] {
            let mut has = Has::early();
            assert!(has.set_wire(bytes).is_some());
            assert!(has.set_piece_count(pieces).is_none(), "{bytes:?} for {pieces}");
        }
        let mut has = Has::early();
        has.add(8);
        assert!(has.set_piece_count(8).is_none());
        assert!(Has::early().add(1 << 21).is_none());
    }

    #[test]
    fn all_and_none_take_turns() {
        let mut has = Has::early();
        has.set_all();
        has.set_piece_count(3);
        assert!(has.bits().is_full());
        assert_eq!(has.set_none().map(|old| old.count()), Some(3));
        assert_eq!(has.set_all().map(|old| old.count()), Some(0));
        assert!(has.set_wire(&[0xff]).is_none(), "spare bits");
    }
}
