//! When to ask for peers and to announce: soon again while nobody is found, rarely once all is well.

use std::time::Duration;

use wire::time::Time;

use crate::Config;

/// What a finished question brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Peers found.
    pub found: usize,
    /// Nodes that keep our announce.
    pub kept_by: usize,
}

/// The schedule of one torrent.
#[derive(Debug)]
pub struct Discovery {
    next: Time,
    asking: bool,
    wait: Duration,
    first: Duration,
    longest: Duration,
    all_well: Duration,
}

/// Nodes that keep an announce in a grown overlay: the k closest (BEP 5).
const KEPT_BY_ALL: usize = 8;

impl Discovery {
    /// Asks as soon as it may.
    pub fn new(now: Time, config: &Config) -> Discovery {
        Discovery {
            next: now,
            asking: false,
            wait: config.ask_again_after,
            first: config.ask_again_after,
            longest: config.ask_again_after_max,
            all_well: config.announce_every,
        }
    }

    /// Whether a question is due; it then counts as asked.
    pub fn take_due(&mut self, now: Time) -> bool {
        let due = !self.asking && now >= self.next;
        self.asking |= due;
        due
    }

    /// Whether a question is under way.
    pub fn is_asking(&self) -> bool {
        self.asking
    }

    /// Something changed (a torrent completed, a node came): asks at once.
    pub fn hurry(&mut self, now: Time) {
        self.next = self.next.min(now);
        self.wait = self.first;
    }

    /// A question ended. `content` says whether the torrent has peers enough, or needs none.
    pub fn done(&mut self, now: Time, asked: Asked, content: bool) {
        self.asking = false;
        let well = asked.kept_by >= KEPT_BY_ALL && (content || asked.found > 0);
        let wait = if well && content {
            self.wait = self.first;
            self.all_well
        } else if well {
            self.longest
        } else {
            let wait = self.wait;
            self.wait = (wait * 2).min(self.longest);
            wait
        };
        self.next = now + wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_found_is_asked_again_soon() {
        let config = Config::default();
        let mut d = Discovery::new(Time::ZERO, &config);
        let mut now = Time::ZERO;
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(d.take_due(now) && !d.take_due(now));
            d.done(now, Asked { found: 0, kept_by: 8 }, false);
            let next = d.next;
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_seed_that_is_known_rests() {
        let mut d = Discovery::new(Time::ZERO, &Config::default());
        d.take_due(Time::ZERO);
        d.done(Time::ZERO, Asked { found: 0, kept_by: 8 }, true);
        assert_eq!(d.next, Time::from_secs(900));
        d.hurry(Time::from_secs(5));
        assert!(d.take_due(Time::from_secs(5)));
        d.done(Time::from_secs(5), Asked { found: 0, kept_by: 2 }, true);
        assert_eq!(d.next, Time::from_secs(6), "the overlay is young");
    }
}
