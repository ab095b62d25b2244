//! Whose files are looked at, and who waits for that.

use std::collections::{BTreeSet, VecDeque};

use crate::TorrentKey;

/// Torrents that begin at a time: each holds its journal open, and reads what may be in doubt.
/// Thousands that are added at once are not to need as many open files.
const STARTS_MAX: usize = 64;

/// The order in which torrents begin.
#[derive(Default)]
pub(super) struct Starts {
    waiting: VecDeque<TorrentKey>,
    going: BTreeSet<TorrentKey>,
}

impl Starts {
    /// A torrent is to begin.
    pub(super) fn push(&mut self, key: TorrentKey) {
        self.waiting.push_back(key);
    }

    /// A torrent for which somebody waits is to begin.
    pub(super) fn push_first(&mut self, key: TorrentKey) {
        self.waiting.push_front(key);
    }

    /// The next that begins; [`Starts::end`] tells when it has.
    pub(super) fn pop(&mut self) -> Option<TorrentKey> {
        if self.going.len() >= STARTS_MAX {
            return None;
        }
        let key = self.waiting.pop_front()?;
        self.going.insert(key);
        Some(key)
    }

    /// Whether it is a torrent's turn.
    pub(super) fn is_going(&self, key: TorrentKey) -> bool {
        self.going.contains(&key)
    }

    /// A torrent has begun, or will not.
    pub(super) fn end(&mut self, key: TorrentKey) {
        if !self.going.remove(&key) {
            self.waiting.retain(|other| *other != key);
        }
    }
}
