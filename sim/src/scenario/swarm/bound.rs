//! How long the best protocol would take.

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
    fn headers_count() {
        // 16,397 bytes of a block in 12 segments of at most 1,460.
        assert_eq!(wire_bytes(1, 16 << 10), 16_397 + 12 * 40);
        assert_eq!(wire_bytes(2, 5), 10 + 26 + 40);
    }
}
