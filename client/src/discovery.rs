//! When to ask for peers and to announce: soon again while nobody is found, and rarely once all has
//! been well for a while.

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

/// Whom a torrent is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swarm {
    /// Nobody.
    Nobody,
    /// Some peers.
    Some,
    /// Peers enough, or it needs none.
    Enough,
}

/// The schedule of one torrent.
#[derive(Debug)]
pub struct Discovery {
    next: Time,
    asking: bool,
    /// The next wait while not all is well.
    wait: Duration,
    /// The next wait while all is well.
    rest: Duration,
    first: Duration,
    longest: Duration,
    all_well: Duration,
}

/// Nodes that keep an announce in a grown overlay: the k closest (BEP 5).
const KEPT_BY_ALL: usize = 8;

/// How much longer each rest is than the one before. In an overlay that was founded a moment ago, or
/// that we have just entered, those that seem to be the k closest may be others than those whom the
/// next one asks: what is announced soon again goes to the right ones.
const REST_GROWTH: u32 = 4;

impl Discovery {
    /// Asks as soon as it may.
    pub fn new(now: Time, config: &Config) -> Discovery {
        Discovery {
            next: now,
            asking: false,
            wait: config.ask_again_after,
            rest: config.ask_again_after,
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

    /// When a question is due; None while one is under way.
    pub fn due(&self) -> Option<Time> {
        (!self.asking).then_some(self.next)
    }

    /// Whether a question is under way.
    pub fn is_asking(&self) -> bool {
        self.asking
    }

    /// Something changed (a torrent completed, a node came): asks at once.
    pub fn hurry(&mut self, now: Time) {
        self.next = self.next.min(now);
        self.wait = self.first;
        self.rest = self.first;
    }

    /// A question ended. Whom it found counts once we are connected: it may be ourselves alone.
    pub fn done(&mut self, now: Time, asked: Asked, swarm: Swarm) {
        self.asking = false;
        let kept = asked.kept_by >= KEPT_BY_ALL;
        let wait = match swarm {
            Swarm::Enough if kept => {
                self.wait = self.first;
                let rest = self.rest;
                self.rest = (rest * REST_GROWTH).min(self.all_well);
                rest
            }
            Swarm::Some if kept => self.longest,
            _ => {
                let wait = self.wait;
                self.wait = (wait * 2).min(self.longest);
                wait
            }
        };
        self.next = now + wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Asked = Asked { found: 1, kept_by: 8 };

    /// The waits in seconds that follow from questions with this end.
    fn waits(d: &mut Discovery, count: usize, asked: Asked, swarm: Swarm) -> Vec<u64> {
        let mut now = d.next;
        let mut wait = || {
            assert!(d.take_due(now) && !d.take_due(now));
            d.done(now, asked, swarm);
            let span = d.next.since(now).as_secs();
            now = d.next;
            span
        };
        (0..count).map(|_| wait()).collect()
    }

    #[test]
    fn while_nobody_is_connected_it_asks_again_soon() {
        let mut d = Discovery::new(Time::ZERO, &Config::default());
        // That somebody was found is nothing yet.
        assert_eq!(waits(&mut d, 8, KEPT, Swarm::Nobody), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits(&mut d, 2, KEPT, Swarm::Some), [60, 60]);
    }

    #[test]
    fn a_seed_that_is_known_rests_longer_and_longer() {
        let mut d = Discovery::new(Time::ZERO, &Config::default());
        assert_eq!(waits(&mut d, 7, KEPT, Swarm::Enough), [1, 4, 16, 64, 256, 900, 900]);
        d.hurry(Time::from_secs(5));
        assert_eq!(waits(&mut d, 2, KEPT, Swarm::Enough), [1, 4]);
        let few = Asked { found: 0, kept_by: 2 };
        assert_eq!(waits(&mut d, 3, few, Swarm::Enough), [1, 2, 4], "the overlay is young");
    }
}
