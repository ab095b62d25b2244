//! A lookup policy of one's own in the node that ships, against its own: the same overlay and seeds.
//!
//! `cargo run --release -p trackerless-sim --example own_lookup`

use std::sync::Arc;

use dht::{Choice, Config, LookupPolicy, LookupView, SharedConfig, Stage};
use sim::scenario::{DhtReport, DhtScenario, Setup};

/// Kademlia as its paper has it: three of the k closest at once, and who is late is waited for until
/// its query has failed.
#[derive(Debug)]
struct Textbook;

impl LookupPolicy for Textbook {
    fn next(&self, lookup: &LookupView<'_>) -> Choice {
        let is_pending = |stage| matches!(stage, Stage::Asked | Stage::Late | Stage::Over);
        let pending = lookup.heard().filter(|node| is_pending(node.stage)).count();
        let mut closest = lookup.heard().filter(|node| node.stage != Stage::Failed);
        let next = closest.by_ref().take(lookup.rules.k).find(|node| node.stage == Stage::New);
        match next {
            Some(node) if pending < 3 => Choice::Ask(node.key),
            None if pending == 0 => Choice::Done,
            _ => Choice::Wait,
        }
    }
}

fn line(policy: &str, seed: u64, report: &DhtReport) {
    println!(
        "{policy:<10}{seed:>5}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.2}",
        report.found,
        report.asked.mean,
        report.first_peer_ms.p50,
        report.end_ms.p50,
        report.hops.mean,
    );
}

pub fn main() {
    let config = Config::new(Vec::new()).among_thousands();
    let textbook = SharedConfig::with_lookups(config, Arc::new(Textbook));
    let overlay = DhtScenario { nodes: 150, lookups: 100, dead: 0.2, ..DhtScenario::default() };
    println!("policy     seed   found     asked  first ms    end ms      hops");
    for seed in 1..=2 {
        line("shipped", seed, &overlay.run(seed, 1, |_| {}));
        let setup = Setup { nodes: Box::new(|_| textbook.clone()), ..Setup::default() };
        line("textbook", seed, &overlay.run_with(seed, 1, setup, |_| {}));
    }
}
