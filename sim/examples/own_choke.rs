//! A choke rule of one's own in the session that ships, against its own: the same swarm and seeds.
//!
//! `cargo run --release -p trackerless-sim --example own_choke`

use std::sync::Arc;

use client::{ChokeRound, ChokeRule, Config, ConnId, Policies};
use sim::scenario::{Setup, SwarmReport, SwarmScenario};
use wire::rng::Rng;

/// Five who want something, in turn, whatever they give.
#[derive(Default)]
struct InTurn(Option<ConnId>);

impl ChokeRule for InTurn {
    fn round(&mut self, round: ChokeRound<'_>, _: &mut Rng, unchoked: &mut Vec<ConnId>) {
        let wanting = round.contenders.iter().filter(|peer| peer.interested).map(|peer| peer.conn);
        let (after, before): (Vec<_>, Vec<_>) = wanting.partition(|conn| Some(*conn) > self.0);
        unchoked.extend(after.into_iter().chain(before).take(5));
        self.0 = unchoked.last().copied();
    }
}

#[derive(Debug)]
struct Mine;

impl Policies for Mine {
    fn choke_rule(&self, _: &Config) -> Box<dyn ChokeRule> {
        Box::new(InTurn::default())
    }
}

fn line(rule: &str, seed: u64, report: &SwarmReport) {
    let (finish, copies) = (&report.finish_s, report.seed_copies);
    println!("{rule:<14}{seed:>5}{:>9.1}{:>9.1}{copies:>9.2}", finish.p50, finish.max);
}

pub fn main() {
    let mine = || Config { policies: Arc::new(Mine), ..Config::default() };
    let swarm = SwarmScenario { peers: 16, pieces: 40, ..SwarmScenario::default() };
    println!("rule           seed    p50 s    max s   copies");
    for seed in 1..=2 {
        line("shipped", seed, &swarm.run(seed, 1, |_| {}));
        let all = Setup { peers: Box::new(|_| mine()), ..Setup::default() };
        line("in turn", seed, &swarm.run_with(seed, 1, all, |_| {}));
        let mix = |host: sim::HostId| if host.0 & 1 == 0 { mine() } else { Config::default() };
        let half = Setup { peers: Box::new(mix), ..Setup::default() };
        line("half of each", seed, &swarm.run_with(seed, 1, half, |_| {}));
    }
}
