//! Overlays.

use super::Value;
use super::draw::Draw;

impl Draw {
    /// An overlay with faults.
    pub(super) fn dht(&mut self) {
        self.links();
        self.hosts();
        self.events();
        self.sizes();
    }

    fn sizes(&mut self) {
        let nodes = self.size(20, 150, 4);
        let lookups = self.size(20, 60, 1);
        // All that befalls hosts is over before it heals.
        let end = self.end();
        let for_s = self.size(end + 60, end + 1_000, 10);
        let operations = self.size(50, 400, 0);
        self.set("", vec![("nodes", nodes)]);
        self.set("", vec![("lookups", lookups)]);
        self.set("chaos", vec![("for_s", for_s)]);
        self.set("chaos", vec![("operations", operations)]);
        self.set("promise", vec![("found", Value::Number(0.95)), ("end_s", Value::Number(30.0))]);
    }

    fn links(&mut self) {
        for (name, most) in [("loss", 0.3), ("duplicate", 0.3), ("reorder", 0.3)] {
            if self.half() {
                let share = self.number(0.0, most);
                self.set("links", vec![(name, share)]);
            }
        }
        if self.half() {
            let (share, bad_ms) = (self.number(0.1, 1.0), self.size(10, 20_000, 10));
            self.set("links", vec![("burst_loss", share), ("burst_bad_ms", bad_ms)]);
        }
        if self.half() {
            let mean_ms = self.number(0.0, 300.0);
            let most = Value::Number(2_000.0);
            self.set("links", vec![("jitter_mean_ms", mean_ms), ("jitter_max_ms", most)]);
        }
        if self.half() {
            self.set("links", vec![("latency", Value::Text("king"))]);
        }
    }

    fn hosts(&mut self) {
        if self.half() {
            let rude = self.number(0.0, 0.3);
            self.set("chaos", vec![("rude", rude)]);
        }
        if self.half() {
            let (on, off) = (self.number(2.0, 60.0), self.number(1.0, 30.0));
            let law = ("law", Value::Text("measured"));
            self.set("churn", vec![law, ("on_scale_min", on), ("off_scale_min", off)]);
        }
        if self.half() {
            let share = self.number(0.1, 0.7);
            let kinds = ["full_cone", "restricted", "port_restricted", "symmetric"];
            let kind = self.one_of(&kinds).unwrap_or("full_cone");
            self.set("nat", vec![("share", share), (kind, Value::Number(1.0))]);
        }
    }

    fn events(&mut self) {
        let at = |draw: &mut Draw| ("at_s", draw.number(0.0, 300.0));
        if self.half() {
            let (at, for_s, share) = (at(self), self.number(1.0, 600.0), self.number(0.0, 0.5));
            self.set("[partition]", vec![at, ("for_s", for_s), ("share", share)]);
        }
        if self.half() {
            let (at, for_s, share) = (at(self), self.number(1.0, 900.0), self.number(0.0, 0.5));
            let span = ("span_s", Value::Number(100.0));
            self.set("[sleep]", vec![at, span, ("for_s", for_s), ("share", share)]);
        }
        if self.half() {
            let (at, by_s, share) = (at(self), self.number(0.0, 7_200.0), self.number(0.0, 0.5));
            let span = ("span_s", Value::Number(100.0));
            self.set("[clock]", vec![at, span, ("by_s", by_s), ("share", share)]);
        }
        if self.half() {
            let (at, share) = (at(self), self.number(0.0, 1.0));
            self.set("[nat_restart]", vec![at, ("share", share)]);
        }
    }
}
