//! What happens to the peers of a swarm while anything may fail, and that nothing is wrong meanwhile.

use wire::time::Time;

use super::Swarm;
use super::crashes::Turn;
use crate::{Cut, HostId, PeerCommand, PeerHost, Violation};

impl Swarm {
    /// A peer is told at `at` to serve the torrent, or to fetch it.
    pub(super) fn begin(&mut self, at: Time, id: HostId) {
        let command = match id.0 {
            0 => PeerCommand::Seed(Box::new((*self.info).clone()), self.content.clone()),
            _ => PeerCommand::Fetch(self.info.info_hash),
        };
        self.tell(at, id, command);
    }

    /// From `at` on no disk fails.
    pub(super) fn heal_at(&mut self, at: Time) {
        for id in (0..self.world.len() as u32).map(HostId) {
            self.world.command(at, id, PeerCommand::MendDisk);
        }
        self.healed = Some(at);
    }

    /// Lets time pass until `to`; programs end and start meanwhile.
    pub(super) fn pass(&mut self, to: Time) {
        while let Some(at) = self.crashes.next_due().filter(|at| *at <= to) {
            self.world.run_until(at);
            while let Some(turn) = self.crashes.pop(at) {
                match turn {
                    Turn::End(id) => self.end(id),
                    Turn::Start(id, cut) => self.start_again(id, cut),
                }
            }
        }
        self.world.run_until(to);
    }

    /// A peer's program ends now, if it runs.
    fn end(&mut self, id: HostId) {
        if !self.off.insert(id) {
            return;
        }
        self.check(id);
        self.world.stop_host(id);
        self.ended += 1;
        self.crashes.ended(self.world.now(), id);
        if let Some(whole) = (id.0 as usize).checked_sub(1).and_then(|n| self.whole.get_mut(n)) {
            *whole = false;
        }
    }

    /// Programs end whose torrent has stopped: who runs them starts them again.
    pub(super) fn end_stopped(&mut self) {
        let now = self.world.now();
        let has_stopped = |(id, host, is_on): (HostId, &PeerHost, bool)| {
            (is_on && host.stats(now)?.failure.is_some()).then_some(id)
        };
        let stopped: Vec<HostId> = self.world.hosts().filter_map(has_stopped).collect();
        stopped.into_iter().for_each(|id| self.end(id));
        // Whoever is off at the end of the chaos starts at once.
        self.pass(now);
    }

    /// The next program starts on what the last left.
    fn start_again(&mut self, id: HostId, cut: Cut) {
        let seed = self.crashes.seed();
        let next = self.world.host(id).restarted(cut, &seed);
        self.world.restart_host(id, next);
        self.off.remove(&id);
        let now = self.world.now();
        if self.healed.is_some_and(|healed| healed <= now) {
            self.world.command(now, id, PeerCommand::MendDisk);
        }
        // One that is off comes back, and is asked until then.
        let others = || self.entries.iter().filter(|entry| **entry != id);
        let entry = others().find(|entry| !self.off.contains(entry)).or_else(|| others().next());
        if let Some(entry) = entry.copied() {
            self.bootstrap(now, id, entry);
        }
        if self.told_at.get(id.0 as usize).is_some_and(|at| *at <= now) {
            self.begin(now, id);
        }
    }

    /// Looks at everything that a peer claims.
    fn check(&mut self, host: HostId) {
        if let Err(what) = self.world.host(host).check() {
            self.violation.get_or_insert(Violation { at: self.world.now(), host, what });
        }
    }

    /// ... and at that of all.
    pub(super) fn check_all(&mut self) {
        (0..self.world.len() as u32).map(HostId).for_each(|id| self.check(id));
    }
}
