//! Finds out who sent a corrupt block.
//!
//! A piece whose hash is wrong names no culprit if several peers sent its blocks. So each block's
//! own hash and sender are kept; once the piece comes whole and right, whoever sent other bytes
//! for a block is known to have lied (libtorrent calls this smart ban).

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Blocks remembered at most: 4096 are 64 MiB of corrupt data.
const SUSPECTS_MAX: usize = 4096;

/// Hash of a block's bytes.
pub type BlockDigest = [u8; 20];

/// Senders and hashes of blocks in pieces that failed.
#[derive(Default)]
pub struct SmartBan {
    suspects: BTreeMap<(u32, u32), Vec<(SocketAddr, BlockDigest)>>,
    count: usize,
}

impl SmartBan {
    /// Nobody is suspected.
    pub fn new() -> SmartBan {
        SmartBan::default()
    }

    /// Whether blocks of `piece` are remembered.
    pub fn suspects(&self, piece: u32) -> bool {
        self.suspects.range((piece, 0)..=(piece, u32::MAX)).next().is_some()
    }

    /// `piece` was wrong; `from` sent its block `index`.
    pub fn failed(&mut self, piece: u32, index: u32, from: SocketAddr, digest: BlockDigest) {
        if self.count >= SUSPECTS_MAX {
            return;
        }
        let seen = self.suspects.entry((piece, index)).or_default();
        if !seen.contains(&(from, digest)) {
            seen.push((from, digest));
            self.count += 1;
        }
    }

    /// `piece` is right now, and these are its blocks' hashes: who sent others.
    pub fn passed(&mut self, piece: u32, digests: &[BlockDigest]) -> Vec<SocketAddr> {
        let mut liars = Vec::new();
        for (index, right) in digests.iter().enumerate() {
            let Some(seen) = self.suspects.remove(&(piece, index as u32)) else { continue };
            self.count -= seen.len();
            liars.extend(seen.into_iter().filter(|(_, d)| d != right).map(|(from, _)| from));
        }
        liars.sort_unstable();
        liars.dedup();
        liars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_sent_other_bytes_is_named() {
        let addr = |n| SocketAddr::from(([127, 0, 0, n], 1));
        let mut ban = SmartBan::new();
        ban.failed(5, 0, addr(1), [1; 20]);
        ban.failed(5, 1, addr(2), [9; 20]);
        assert!(ban.suspects(5) && !ban.suspects(4));
        assert_eq!(ban.passed(5, &[[1; 20], [2; 20]]), [addr(2)]);
        assert!(!ban.suspects(5));
    }

    #[test]
    fn memory_is_bounded() {
        let mut ban = SmartBan::new();
        for n in 0..10_000 {
            ban.failed(n, 0, SocketAddr::from(([127, 0, 0, 1], 1)), [0; 20]);
        }
        assert_eq!(ban.count, SUSPECTS_MAX);
    }
}
