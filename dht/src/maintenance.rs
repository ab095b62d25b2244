//! What a node does from time to time by itself.

use std::time::Duration;

use wire::compact::Family;

use crate::finds::Finds;
use crate::goal::Goal;
use crate::node::Node;
use crate::transactions::{Ask, Purpose};

impl Node {
    /// Forgets what others stored and did not store again in time.
    pub(crate) fn expire(&mut self) {
        self.store.expire(self.now);
        self.items.expire(self.now);
    }

    /// Brings the next round of maintenance forward.
    pub(crate) fn hasten_maintenance(&mut self, secs: u64) {
        let at = self.now + Duration::from_secs(secs);
        self.maintenance_at = self.maintenance_at.min(at);
    }

    /// A round of maintenance: pings, one refresh, expiry.
    pub(crate) fn maintain(&mut self) {
        let now = self.now;
        self.maintenance_at = now + Duration::from_millis(self.config.maintenance_ms);
        let pings_max = self.config.maintenance_pings_max.min(self.flow.room());
        self.ping_questionable(pings_max);
        self.try_links();
        // Our neighbours come first: while they were due and a bucket was refreshed, the next round
        // was due at once, and all buckets had theirs in the same moment.
        let sockets = self.own.sockets().len();
        if let Some(socket) = self.bootstrap.take_neighbours_due(now, sockets) {
            let leads = self.led_by(socket);
            self.start_by(Goal::Neighbours(socket), self.own.id(socket), leads, Finds::Nothing);
            self.hasten_maintenance(1);
        } else if let Some((socket, target, is_for_room)) = self.tables.refresh(now, &mut self.rng)
        {
            let leads = self.led_for(socket);
            let goal = if is_for_room { Goal::Fill } else { Goal::Refresh };
            self.start_by(goal(socket), target, leads, Finds::Nothing);
            self.hasten_maintenance(1);
        }
        if let Some(at) = self.bootstrap.neighbours_at() {
            self.maintenance_at = self.maintenance_at.min(at);
        }
        self.expire();
        match self.values.is_empty() {
            true => self.values = Vec::new(),
            false => self.values.clear(),
        }
        self.flow.tidy(now);
        self.quota.tidy(now);
        if !self.tables.has_any_usable() {
            // All failed, as when the network is away. Who has no other than those asks them again
            // after pauses that grow.
            let named = !self.bootstrap.contacts().is_empty();
            if named || (!self.tables.is_empty() && self.bootstrap.due().is_none()) {
                self.bootstrap.schedule(now);
            }
        }
    }

    /// Pings up to `max` questionable contacts, those of a socket's table by that socket.
    fn ping_questionable(&mut self, max: usize) {
        let (mut due, mut pinged) = (Vec::new(), 0);
        for socket in self.sockets_in_turn() {
            due.clear();
            self.tables.questionable(self.now, socket, max - pinged, &mut due);
            // One of those that failed too often is tried again: when the network was away, two sides
            // would hold each other for bad for ever.
            if pinged + due.len() < max {
                due.extend(self.tables.bad(self.now, socket, &mut self.rng));
            }
            if due.is_empty() {
                continue;
            }
            pinged += due.len();
            let leads = self.led_for(socket);
            for node in &due {
                if let Some(via) = self.route(&node.addr, leads) {
                    self.ask(node.addr, via, Some(node.id), Ask::Ping, Purpose::Maintenance);
                }
            }
        }
        if pinged >= max {
            self.hasten_maintenance(1);
        }
    }

    /// Asks somebody by each link that is down, to see when it is not (BEP 45, "Determining
    /// Connectivity").
    fn try_links(&mut self) {
        for socket in self.sockets() {
            let Some(own) = self.own.addr(socket) else { return };
            let family = Family::of(&own);
            if !self.is_down(socket) {
                continue;
            }
            let mut found = Vec::new();
            self.tables.sample(family, 1, &mut self.rng, &mut found);
            for node in found {
                self.ask(node.addr, socket, Some(node.id), Ask::Ping, Purpose::Maintenance);
            }
        }
    }
}
