//! Swarms.

use super::Value;
use super::draw::{Draw, Times};

/// At least three peers stand in the open: who does so alone keeps for the others what they announce,
/// and nobody keeps for them what it does.
pub(super) const PEERS_WITH_NAT_MIN: u32 = 7;
const INSIDE_MAX: f64 = 0.6;

const TIMES: Times = Times { within_s: 100.0, parted_s: 200.0, asleep_s: 200.0, span_s: 50.0 };

/// Lines of two classes, each for half of the leeches.
fn classes([up, down]: [f64; 2], [other_up, other_down]: [f64; 2]) -> Value {
    Value::Raw(format!(
        "[{{ share = 0.5, up_mbit = {up}, down_mbit = {down} }}, \
         {{ share = 0.5, up_mbit = {other_up}, down_mbit = {other_down} }}]"
    ))
}

impl Draw {
    /// A swarm with faults.
    pub(super) fn swarm(&mut self) {
        self.ways();
        self.peers();
        self.disks();
        self.events(30, TIMES);
        self.extents();
    }

    /// All that befalls peers is over before it heals.
    fn extents(&mut self) {
        let has_nat = self.knobs.iter().any(|knob| knob.table == "nat");
        let peers = self.size(if has_nat { PEERS_WITH_NAT_MIN } else { 2 }, 14, 2);
        let pieces = self.size(1, 80, 1);
        let piece_length = match self.half() {
            true => Value::Size(64 << 10, 16 << 10),
            false => self.size(1_000, 128 << 10, 1_000),
        };
        self.set("", vec![("peers", peers)]);
        self.set("", vec![("pieces", pieces)]);
        self.set("", vec![("piece_length", piece_length)]);
        if self.half() {
            let files = self.size(2, 9, 1);
            self.set("", vec![("files", files)]);
        }
        let end = self.end();
        let for_s = self.size(end + 30, end + 200, 10);
        self.set("chaos", vec![("for_s", for_s)]);
        self.set("chaos", vec![("heal_s", Value::Number(3_600.0))]);
    }

    fn ways(&mut self) {
        self.faults(0.1);
        if self.percent(25) {
            self.set("links", vec![("latency", Value::Text("king"))]);
        }
        if self.half() {
            let (up, down) = (self.number(0.5, 10.0), self.number(1.0, 50.0));
            self.set("access", vec![("up_mbit", up), ("down_mbit", down)]);
        }
        if self.percent(25) {
            let mut line = || [self.rate(0.5, 10.0), self.rate(1.0, 50.0)];
            let (one, other) = (line(), line());
            self.set("access", vec![("class", classes(one, other))]);
        }
    }

    fn rate(&mut self, from: f64, to: f64) -> f64 {
        if let Value::Number(rate) = self.number(from, to) { rate } else { to }
    }

    fn peers(&mut self) {
        if self.half() {
            let within_s = self.number(0.0, 60.0);
            self.set("arrival", vec![("law", Value::Text("random")), ("within_s", within_s)]);
        }
        if self.half() {
            let (stay, away) = (self.number(5.0, 120.0), self.number(1.0, 60.0));
            self.set("churn", vec![("stay_median_s", stay), ("away_median_s", away)]);
        }
        let kinds = ["full_cone", "restricted", "port_restricted", "symmetric", "cgnat"];
        self.translators(INSIDE_MAX, &kinds);
    }

    fn disks(&mut self) {
        if self.half() {
            let (rate, op_ms) = (self.number(0.2, 50.0), self.number(0.0, 20.0));
            self.set("disk", vec![("mb_per_s", rate), ("op_ms", op_ms)]);
        }
        if self.half() {
            let (sync_ms, at_once) = (self.number(0.0, 300.0), self.size(1, 8, 1));
            self.set("disk", vec![("sync_ms", sync_ms), ("at_once", at_once)]);
        }
        if self.half() {
            let (every_s, stall_s) = (self.number(1.0, 30.0), self.number(0.01, 3.0));
            self.set("disk", vec![("stall_every_s", every_s), ("stall_s", stall_s)]);
        }
        if self.percent(25) {
            let rate = self.number(0.5, 20.0);
            self.set("disk", vec![("hash_mb_per_s", rate)]);
        }
        if self.half() {
            let commit_s = self.one_of(&[0.1, 1.0, 20.0]).unwrap_or(1.0);
            self.set("disk", vec![("commit_s", Value::Number(commit_s))]);
        }
        if self.percent(25) {
            let full = self.number(0.0, 0.01);
            self.set("disk", vec![("full", full)]);
        }
        if self.percent(25) {
            let io_error = self.number(0.0, 0.01);
            self.set("disk", vec![("io_error", io_error)]);
        }
        if self.percent(75) {
            let (times, off_s) = (self.size(1, 40, 0), self.number(0.0, 20.0));
            let power = self.number(0.0, 1.0);
            self.set("crash", vec![("times", times), ("power", power), ("off_s", off_s)]);
        }
    }
}
