//! Finds out who sent a corrupt block.
//!
//! A piece whose hash is wrong names no culprit if several peers sent its blocks. So each block's
//! own hash and sender are kept; once the piece comes whole and right, whoever sent other bytes
//! for a block is known to have lied (libtorrent calls this smart ban).
//!
//! That it comes right one day is sure only if liars have no part in it each time. So a wrong piece
//! is asked of one peer at a time from then on, in turns: a liar whose turn it is sends all of it and
//! is known, an honest peer brings it right (libtorrent has the same for peers, parole mode).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use wire::time::Time;

use crate::ConnId;

/// Blocks remembered at most: 4096 are 64 MiB of corrupt data.
const SUSPECTS_MAX: usize = 4096;

/// Hash of a block's bytes.
pub type BlockDigest = [u8; 20];

/// Senders and hashes of blocks in pieces that failed.
#[derive(Default)]
pub struct SmartBan {
    /// Pieces that were wrong and are not here yet: whose turn it is, and until when.
    wrong: BTreeMap<u32, Option<(ConnId, Time)>>,
    suspects: BTreeMap<(u32, u32), Vec<(SocketAddr, BlockDigest)>>,
    count: usize,
}

impl SmartBan {
    /// Nobody is suspected.
    pub fn new() -> SmartBan {
        SmartBan::default()
    }

    /// `piece` was wrong: who is asked for it next has it alone.
    pub fn wrong(&mut self, piece: u32) {
        self.wrong.insert(piece, None);
    }

    /// Whether `piece` was wrong and has not come right since.
    pub fn suspects(&self, piece: u32) -> bool {
        self.wrong.contains_key(&piece)
    }

    /// All pieces that were wrong and have not come right since.
    pub fn all_wrong(&self) -> impl Iterator<Item = u32> + '_ {
        self.wrong.keys().copied()
    }

    /// Whether `conn` may be asked for `piece`: it was never wrong, or nobody else has his turn.
    pub fn may_ask(&self, now: Time, piece: u32, conn: ConnId) -> bool {
        match self.wrong.get(&piece) {
            Some(Some((other, until))) => *other == conn || *until <= now,
            Some(None) | None => true,
        }
    }

    /// `conn` is asked for `piece`. If it was wrong, it is its turn now, until then at most.
    pub fn asks(&mut self, now: Time, piece: u32, conn: ConnId, until: Time) {
        if let Some(turn) = self.wrong.get_mut(&piece)
            && turn.is_none_or(|(other, until)| other != conn || until <= now)
        {
            *turn = Some((conn, until));
        }
    }

    /// `conn` does not answer for `piece`: it is no longer its turn.
    pub fn gives_up(&mut self, piece: u32, conn: ConnId) {
        let turn = self.wrong.get_mut(&piece);
        turn.into_iter().for_each(|turn| *turn = turn.filter(|(other, _)| *other != conn));
    }

    /// `conn` is gone.
    pub fn leaves(&mut self, conn: ConnId) {
        let turns = self.wrong.values_mut();
        turns.for_each(|turn| *turn = turn.filter(|(other, _)| *other != conn));
    }

    /// `piece` was wrong; `from` sent its block `index`.
    pub fn failed(&mut self, piece: u32, index: u32, from: SocketAddr, digest: BlockDigest) {
        if self.count >= SUSPECTS_MAX || !self.suspects(piece) {
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
        self.wrong.remove(&piece);
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
        ban.wrong(5);
        ban.failed(5, 0, addr(1), [1; 20]);
        ban.failed(5, 1, addr(2), [9; 20]);
        assert!(ban.suspects(5) && !ban.suspects(4));
        assert_eq!(ban.passed(5, &[[1; 20], [2; 20]]), [addr(2)]);
        assert!(!ban.suspects(5));
    }

    #[test]
    fn a_wrong_piece_is_one_peers_at_a_time() {
        let (one, two) = (ConnId::new(1), ConnId::new(2));
        let (now, until) = (Time::ZERO, Time::from_secs(30));
        let mut ban = SmartBan::new();
        ban.asks(now, 5, one, until);
        assert!(ban.may_ask(now, 5, two), "it was not wrong");
        ban.wrong(5);
        assert!(ban.may_ask(now, 5, one) && ban.may_ask(now, 5, two));
        ban.asks(now, 5, one, until);
        assert!(ban.may_ask(now, 5, one) && !ban.may_ask(now, 5, two));
        ban.asks(now, 5, one, Time::from_secs(60));
        assert!(ban.may_ask(until, 5, two), "a turn grows no longer by asking on");
        ban.gives_up(5, two);
        assert!(!ban.may_ask(now, 5, two), "it has no turn to give up");
        ban.gives_up(5, one);
        ban.asks(now, 5, two, until);
        assert!(!ban.may_ask(now, 5, one));
        ban.leaves(two);
        assert!(ban.may_ask(now, 5, one));
        ban.asks(now, 5, two, until);
        ban.passed(5, &[]);
        assert!(ban.may_ask(now, 5, one) && !ban.suspects(5));
    }

    #[test]
    fn memory_is_bounded() {
        let mut ban = SmartBan::new();
        for n in 0..10_000 {
            ban.wrong(n);
            ban.failed(n, 0, SocketAddr::from(([127, 0, 0, 1], 1)), [0; 20]);
        }
        assert_eq!(ban.count, SUSPECTS_MAX);
    }
}
