//! Overlays.

use super::Value;
use super::draw::{Draw, Times};

const TIMES: Times = Times { within_s: 300.0, parted_s: 600.0, asleep_s: 900.0, span_s: 100.0 };

impl Draw {
    /// An overlay with faults.
    pub(super) fn dht(&mut self) {
        self.links();
        self.hosts();
        self.events(50, TIMES);
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
        self.faults(0.3);
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
        self.translators(0.7, &["full_cone", "restricted", "port_restricted", "symmetric"]);
    }
}
