//! The matrix of programs, torrents and ways in which a seed and a leech meet.
//!
//! A [`Case`] is one row; [`whole`] are all. To add a program, write a module for it and an arm for it in
//! [`program`]; to add a shape, an arm in [`shape`].

pub mod case;
pub mod program;
pub mod report;
pub mod shape;

pub use case::{By, Case, Outcome};
pub use program::{Program, Stop};
pub use shape::Shape;

/// The lengths of pieces that the rows take in turn.
const PIECE_LENS: [u32; 5] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];

/// The length of a piece where a leech is stopped.
const LONG_PIECE_LEN: u32 = 64 << 10;

/// Every pair with ours in it, each way; every shape by magnet and by torrent file; pieces of every length
/// in turn, so that each shape is met with each; and each leech stopped in the middle and started again.
pub fn whole() -> Vec<Case> {
    let others = Program::ALL.into_iter().filter(|&program| program != Program::Ours);
    let pairs = others.flat_map(|other| [(other, Program::Ours), (Program::Ours, other)]);
    let pairs = std::iter::once((Program::Ours, Program::Ours)).chain(pairs);
    let mut cases = Vec::new();
    for (p, (seed, leech)) in pairs.enumerate() {
        for (b, by) in [By::Magnet, By::Torrent].into_iter().enumerate() {
            for (s, shape) in Shape::ALL.into_iter().enumerate() {
                let piece_len = PIECE_LENS[(p + 2 * b + s) % PIECE_LENS.len()];
                cases.push(Case { seed, leech, by, shape, piece_len, stop: None });
            }
            let (shape, piece_len) = (Shape::Long, LONG_PIECE_LEN);
            cases.extend([Stop::Term, Stop::Kill].map(|stop| Case {
                stop: Some(stop),
                ..Case { seed, leech, by, shape, piece_len, stop: None }
            }));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_meets_every_length_of_pieces_and_every_pair_is_stopped() {
        let cases = whole();
        assert_eq!(cases.len(), 11 * (2 * 8 + 4));
        for shape in Shape::ALL {
            for piece_len in PIECE_LENS {
                let is_it = |case: &&Case| case.shape == shape && case.piece_len == piece_len;
                assert!(cases.iter().filter(is_it).count() >= 2, "{shape:?} of {piece_len}");
            }
        }
        for program in Program::ALL {
            let stopped = |case: &&Case| case.leech == program && case.stop.is_some();
            assert!(cases.iter().filter(stopped).count() >= 4, "{program:?}");
        }
    }
}
