//! Whose files are looked at, and who waits for that.

use std::collections::{BTreeSet, VecDeque};

use crate::TorrentKey;

/// Torrents that begin at a time: each holds its journal open, and reads what may be in doubt.
/// Thousands that are added at once are not to need as many open files.
const STARTS_MAX: usize = 64;
/// Beyond these, torrents that wake because somebody is connected: they are not to wait for hours of
/// checks.
const WAKES_MAX: usize = 64;
const BOTH_MAX: usize = STARTS_MAX + WAKES_MAX;

/// The order in which torrents begin.
#[derive(Default)]
pub(super) struct Starts {
    waiting: VecDeque<TorrentKey>,
    waking: VecDeque<TorrentKey>,
    going: BTreeSet<TorrentKey>,
}

impl Starts {
    /// A torrent is to begin.
    pub(super) fn push(&mut self, key: TorrentKey) {
        self.waiting.push_back(key);
    }

    /// A torrent for which somebody waits is to begin.
    pub(super) fn push_waking(&mut self, key: TorrentKey) {
        self.waking.push_back(key);
    }

    /// The next that begins; [`Starts::end`] tells when it has.
    pub(super) fn pop(&mut self) -> Option<TorrentKey> {
        let key = match self.going.len() {
            0..STARTS_MAX => self.waking.pop_front().or_else(|| self.waiting.pop_front()),
            STARTS_MAX..BOTH_MAX => self.waking.pop_front(),
            _ => None,
        };
        self.going.extend(key);
        key
    }

    /// Whether it is a torrent's turn.
    pub(super) fn is_going(&self, key: TorrentKey) -> bool {
        self.going.contains(&key)
    }

    /// A torrent has begun, or will not.
    pub(super) fn end(&mut self, key: TorrentKey) {
        if !self.going.remove(&key) {
            self.waiting.retain(|other| *other != key);
            self.waking.retain(|other| *other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(starts: &mut Starts) -> Vec<u32> {
        std::iter::from_fn(|| starts.pop()).map(|key| key.0).collect()
    }

    #[test]
    fn who_wakes_waits_for_no_check_and_nobody_begins_beyond_the_bounds() {
        let mut starts = Starts::default();
        (0..100).for_each(|n| starts.push(TorrentKey(n)));
        assert_eq!(all(&mut starts), (0..64).collect::<Vec<_>>());
        (200..300).for_each(|n| starts.push_waking(TorrentKey(n)));
        assert_eq!(all(&mut starts), (200..264).collect::<Vec<_>>());
        starts.end(TorrentKey(3));
        assert_eq!(all(&mut starts), [264], "who wakes goes first");
        // One that waits will not begin any more.
        starts.end(TorrentKey(265));
        starts.end(TorrentKey(200));
        assert_eq!(all(&mut starts), [266]);
        (200..300).for_each(|n| starts.end(TorrentKey(n)));
        assert_eq!(all(&mut starts), [64], "one of those that are checked has ended");
    }
}
