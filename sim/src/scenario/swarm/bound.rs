//! How long the best protocol would take.

use crate::flow::{mundinger_times, whole_pieces_times};
use crate::line::stream_wire_len;

/// A line, in IP bytes a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Line {
    pub(super) up: f64,
    pub(super) down: f64,
}

/// Bytes of a block, and of the header that comes before each (BEP 3: length, kind, piece, begin).
const BLOCK: u64 = 16 << 10;
const PIECE_HEADER: u64 = 4 + 1 + 8;

/// IP bytes that a peer has to receive for pieces of this length: blocks with their headers, in full
/// segments.
pub(super) fn wire_bytes(pieces: u32, piece_length: u32) -> u64 {
    let blocks = u64::from(pieces) * u64::from(piece_length).div_ceil(BLOCK);
    stream_wire_len(u64::from(pieces) * u64::from(piece_length) + blocks * PIECE_HEADER)
}

/// Seconds that no protocol can beat (Kumar and Ross 2006, Mundinger, Weber and Weiss 2008): every byte
/// leaves the seed once, goes through the slowest downlink once, and through all uplinks together as
/// often as there are `lines` to be reached. Who shares a line counts as one; uplinks of all in
/// `helpers` may help, whenever they come.
pub(super) fn bound_s(bytes: u64, seed: Line, lines: &[Line], helpers: &[Line]) -> f64 {
    let bytes = bytes as f64;
    if lines.is_empty() {
        return 0.0;
    }
    let down = lines.iter().map(|line| line.down).fold(f64::INFINITY, f64::min);
    let up: f64 = seed.up + helpers.iter().map(|line| line.up).sum::<f64>();
    (bytes / seed.up).max(bytes / down).max(lines.len() as f64 * bytes / up)
}

/// The same for who sends in whole pieces: as above, and where the seed and all `lines` send at the same
/// rate and nobody else helps, the last piece has to be copied on once it left the seed, and each block
/// comes from one neighbour (Mundinger, Weber and Weiss 2008, with blocks as parts: those of one piece may
/// come from several).
pub(super) fn piecewise_bound_s(
    (pieces, piece_length): (u32, u32),
    seed: Line,
    lines: &[Line],
    helpers: &[Line],
) -> f64 {
    let bytes = wire_bytes(pieces, piece_length);
    let bound = bound_s(bytes, seed, lines, helpers);
    let equal = lines.len() == helpers.len() && helpers.iter().all(|line| line.up == seed.up);
    if !equal || lines.is_empty() {
        return bound;
    }
    let blocks = u64::from(pieces) * u64::from(piece_length).div_ceil(BLOCK);
    let n = lines.len() as u32;
    let times = whole_pieces_times(n, pieces).max(mundinger_times(n, blocks));
    bound.max(bytes as f64 / seed.up * times)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Line = Line { up: 10.0, down: 100.0 };

    #[test]
    fn the_narrowest_place_decides() {
        let peer = |up, down| Line { up, down };
        let slow_down = [peer(50.0, 4.0), peer(50.0, 100.0)];
        assert_eq!(bound_s(1_000, SEED, &slow_down, &slow_down), 250.0);
        let fast = [peer(50.0, 100.0), peer(50.0, 100.0)];
        assert_eq!(bound_s(1_000, SEED, &fast, &fast), 100.0);
        let leeching = [peer(1.0, 100.0), peer(1.0, 100.0)];
        assert_eq!(bound_s(1_200, SEED, &leeching, &leeching), 200.0);
        assert_eq!(bound_s(1_200, SEED, &[], &leeching), 0.0);
    }

    #[test]
    fn the_last_piece_is_copied_on() {
        let bytes = wire_bytes(10, 32 << 10) as f64;
        let lines = |up, n| vec![Line { up, down: 1e9 }; n];
        let of = |lines: &[Line], helpers: &[Line]| {
            piecewise_bound_s((10, 32 << 10), Line { up: 10.0, down: 100.0 }, lines, helpers)
        };
        // 1/2 + 1/3 of a piece's time; of 8, three doublings of a block's time are less.
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(close(of(&lines(10.0, 3), &lines(10.0, 3)), bytes / 10.0 * (1.0 + 5.0 / 60.0)));
        // Who helps and is not reached, or sends faster, may copy faster.
        assert!(close(of(&lines(10.0, 3), &lines(10.0, 4)), bytes / 10.0));
        assert!(close(of(&lines(20.0, 3), &lines(20.0, 3)), bytes / 10.0));
        // With pieces of a block the doublings count.
        let one = piecewise_bound_s((4, 16 << 10), SEED, &lines(10.0, 8), &lines(10.0, 8));
        assert!(close(one, wire_bytes(4, 16 << 10) as f64 / 10.0 * (1.0 + 3.0 / 4.0)));
    }

    #[test]
    fn headers_count() {
        // 16,397 bytes of a block in 12 segments of at most 1,460.
        assert_eq!(wire_bytes(1, 16 << 10), 16_397 + 12 * 40);
        assert_eq!(wire_bytes(2, 5), 10 + 26 + 40);
    }
}
