//! A choke rule of one's own, against the one that ships: the same swarm and seeds, rule by rule.
//!
//! `cargo run --release -p trackerless-sim --example own_policy`

use sim::flow::{ChokePolicy, FlowReport, FlowScenario, Me, Neighbour, RarestFirst, Shipped};
use wire::rng::Rng;

/// Pays back what came in proportion: who sent more than a tenth of all is unchoked, and two more are
/// drawn, so that newcomers get something to give.
struct Proportional;

impl ChokePolicy for Proportional {
    fn round(&mut self, me: Me, all: &[Neighbour], rng: &mut Rng, unchoked: &mut Vec<u32>) {
        let wanting: Vec<&Neighbour> = all.iter().filter(|n| n.interested).collect();
        let total: u64 = wanting.iter().map(|n| n.down_rate).sum();
        let pays = |n: &Neighbour| !me.complete && n.down_rate * 10 > total;
        unchoked.extend(wanting.iter().filter(|n| pays(n)).map(|n| n.slot));
        let rest: Vec<u32> = wanting.iter().filter(|n| !pays(n)).map(|n| n.slot).collect();
        let extra = if me.complete { 5 } else { 2 };
        unchoked.extend(rng.choose(rest.len(), extra).map(|at| rest[at]));
    }

    /// Until the first round comes, whoever asks first is served.
    fn admit(&mut self, slot: u32) -> bool {
        slot < 5
    }
}

fn swarm(seed: u64) -> FlowScenario {
    FlowScenario { peers: 100, pieces: 200, degree: 20, seed, ..FlowScenario::default() }
}

fn line(rule: &str, seed: u64, report: &FlowReport) {
    println!(
        "{rule:<14}{seed:>5}{:>10.1}{:>10.1}{:>10.2}{:>12.1}{:>10.2}",
        report.finish_s.p50,
        report.finish_s.p99,
        report.bound_ratio,
        100.0 * report.utilisation,
        report.seed_copies,
    );
}

pub fn main() {
    println!("rule           seed     p50 s     p99 s   x bound  uplinks, %    copies");
    for seed in 1..=3 {
        line("shipped", seed, &swarm(seed).run());
        let own = swarm(seed).run_with(&RarestFirst::default(), |_| Proportional);
        line("proportional", seed, &own);
        // Rules can be mixed: every other peer has its own.
        let mixed = swarm(seed).run_with(&RarestFirst::default(), |peer| -> Box<dyn ChokePolicy> {
            if peer % 2 == 0 { Box::new(Proportional) } else { Box::new(Shipped::default()) }
        });
        line("half of each", seed, &mixed);
    }
}
