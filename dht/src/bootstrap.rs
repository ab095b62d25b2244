//! How a node finds its first contacts, and when it tries again.

use std::net::SocketAddr;
use std::time::Duration;

use wire::time::Time;

use crate::config::SharedConfig;
use crate::{LookupId, SocketId};

/// The bootstrap contacts and the state of asking them.
#[derive(Clone, Debug)]
pub(crate) struct Bootstrap {
    contacts: Vec<SocketAddr>,
    config: SharedConfig,
    /// Whether any of them ever answered: else those who came to us may be an overlay apart.
    reached: bool,
    backoff: Backoff,
    /// When the lookups for our own ids start, one after the other.
    due: Option<Time>,
    /// The one that runs.
    pub(crate) running: Option<LookupId>,
    /// Whether any of them was answered.
    answered: bool,
    /// Whether the caller was told that it succeeded.
    pub(crate) announced: bool,
    /// When our neighbours are looked for again, and how long after that the next time.
    neighbours_at: Option<Time>,
    /// The socket whose neighbours are next: of one at a time.
    neighbours_of: Option<SocketId>,
    neighbours: Backoff,
}

impl Bootstrap {
    pub(crate) fn new(config: impl Into<SharedConfig>) -> Bootstrap {
        Bootstrap {
            contacts: Vec::new(),
            config: config.into(),
            reached: false,
            backoff: Backoff::default(),
            due: None,
            running: None,
            answered: false,
            announced: false,
            neighbours_at: None,
            neighbours_of: None,
            neighbours: Backoff::default(),
        }
    }

    /// The pause before the bootstrap contacts are asked again.
    fn pause(&mut self) -> Duration {
        self.backoff.next(self.config.bootstrap_retry_ms, self.config.bootstrap_retry_max_ms)
    }

    /// The pause before our neighbours are looked for again.
    fn neighbours_pause(&mut self) -> Duration {
        let max_ms = u64::from(self.config.bucket_refresh_secs) * 1000;
        self.neighbours.next(self.config.neighbours_retry_ms, max_ms)
    }

    /// The addresses to ask.
    pub(crate) fn contacts(&self) -> &[SocketAddr] {
        &self.contacts
    }

    /// Remembers an address; the oldest gives way.
    pub(crate) fn add(&mut self, addr: SocketAddr) {
        if self.contacts.contains(&addr) {
            return;
        }
        if self.contacts.len() >= self.config.bootstrap_contacts_max && !self.contacts.is_empty() {
            self.contacts.remove(0);
        }
        self.contacts.reserve_exact(1);
        self.contacts.push(addr);
    }

    /// Whether there are bootstrap contacts and none has answered yet.
    pub(crate) fn is_unreached(&self) -> bool {
        !self.reached && !self.contacts.is_empty()
    }

    /// A node answered: whether it is the first bootstrap contact to do so.
    pub(crate) fn heard(&mut self, addr: &SocketAddr) -> bool {
        let first = !self.reached && self.contacts.contains(addr);
        self.reached |= first;
        first
    }

    /// Wants to start at `at`, or earlier if that was wanted; not while it runs.
    pub(crate) fn schedule(&mut self, at: Time) {
        if self.running.is_none() {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// There is nobody to ask: waits until somebody is named or heard.
    pub(crate) fn idle(&mut self) {
        self.due = None;
    }

    /// The first of the lookups begins.
    pub(crate) fn begin(&mut self) {
        self.due = None;
        self.answered = false;
    }

    pub(crate) fn started(&mut self, lookup: LookupId) {
        self.running = Some(lookup);
    }

    /// The one for our id at `socket` ended. Returns the socket whose id is to be looked for next.
    pub(crate) fn next(
        &mut self,
        socket: SocketId,
        answered: bool,
        sockets: usize,
    ) -> Option<SocketId> {
        self.answered |= answered;
        following(socket, sockets)
    }

    /// All lookups ended; if nobody answered, or no bootstrap contact ever did, they are repeated after
    /// a pause.
    pub(crate) fn ended(&mut self, now: Time) {
        let success = self.answered;
        self.running = None;
        if success {
            self.neighbours.reset();
            self.neighbours_at = Some(now + self.neighbours_pause());
        }
        if success && !self.is_unreached() {
            self.backoff.reset();
        } else {
            self.due = Some(now + self.pause());
        }
    }

    /// When our neighbours are to be looked for again.
    pub(crate) fn neighbours_at(&self) -> Option<Time> {
        self.neighbours_at
    }

    /// The socket whose neighbours are to be looked for now; after the last, not again before a pause.
    ///
    /// Nodes that start together find only those who were there before them: whoever comes at the
    /// same moment is found soon after, or not until somebody happens to look for it.
    pub(crate) fn take_neighbours_due(&mut self, now: Time, sockets: usize) -> Option<SocketId> {
        if self.neighbours_at.is_some_and(|at| at <= now) {
            self.neighbours_at = Some(now + self.neighbours_pause());
            self.neighbours_of.get_or_insert(SocketId(0));
        }
        let socket = self.neighbours_of.take()?;
        self.neighbours_of = following(socket, sockets);
        Some(socket)
    }
}

fn following(socket: SocketId, sockets: usize) -> Option<SocketId> {
    let next = usize::from(socket.0) + 1;
    (next < sockets).then_some(SocketId(next as u8))
}

/// Pauses that double: 1, 2, 4, 8 ... up to a bound.
#[derive(Clone, Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self, first_ms: u64, max_ms: u64) -> Duration {
        let pause = first_ms.saturating_mul(1 << self.failures.min(30)).min(max_ms);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(pause)
    }

    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let secs: Vec<_> = (0..9).map(|_| backoff.next(1_000, 60_000).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(1_000, 60_000).as_secs(), 60);
        backoff.reset();
        assert_eq!(backoff.next(1_000, 60_000).as_secs(), 1);
    }

    #[test]
    fn contacts_are_bounded_and_distinct() {
        let mut config = Config::new(vec![]);
        config.bootstrap_contacts_max = 3;
        let mut bootstrap = Bootstrap::new(&config);
        for port in [1, 1, 2, 3, 4] {
            bootstrap.add(([1, 1, 1, 1], port).into());
        }
        let ports: Vec<_> = bootstrap.contacts().iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [2, 3, 4]);
    }
}
