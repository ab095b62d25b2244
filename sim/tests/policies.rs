//! Policies of one's own in the node and the session that ship.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use client::{ChokeRound, ChokeRule, Choker, ConnId, PiecePool, PieceRule, Policies, RarestFirst};
use dht::{Choice, Config, Heard, LookupPolicy, LookupView, SharedConfig, Stage};
use sim::scenario::{DhtScenario, Setup, SwarmScenario};
use wire::rng::Rng;

#[path = "../examples/own_choke.rs"]
mod own_choke;
#[path = "../examples/own_lookup.rs"]
mod own_lookup;

#[test]
fn the_examples_run() {
    own_lookup::main();
    own_choke::main();
}

/// The rule that ships, where no lookup asks more than it would ([`Config::lookup_more_max`] is 0).
#[derive(Debug)]
struct Again;

impl LookupPolicy for Again {
    fn next(&self, lookup: &LookupView<'_>) -> Choice {
        let rules = lookup.rules;
        let reach = rules.k + if lookup.converged { rules.spare } else { 0 };
        let places = if lookup.converged { reach } else { rules.alpha };
        if lookup.answered == 0 && lookup.in_time() < rules.alpha {
            let new = |node: &Heard| node.stage == Stage::New && node.rtt_ms.is_some();
            let quickest = lookup.heard().take(rules.k).filter(new).min_by_key(|n| n.rtt_ms);
            if let Some(node) = quickest {
                return Choice::Ask(node.key);
            }
        }
        let (mut ranked, mut answered) = (0, 0);
        let mut waiting = lookup.patient && lookup.heard().any(|node| node.stage == Stage::Over);
        for node in lookup.heard() {
            match node.stage {
                Stage::Failed | Stage::Over => continue,
                Stage::Late => {
                    waiting = true;
                    continue;
                }
                Stage::Answered => answered += 1,
                Stage::Asked => waiting = true,
                Stage::New if lookup.in_time() < places => return Choice::Ask(node.key),
                Stage::New => return Choice::Wait,
            }
            ranked += 1;
            if ranked == reach || answered == rules.k {
                break;
            }
        }
        if waiting { Choice::Wait } else { Choice::Done }
    }
}

#[test]
fn the_rule_that_ships_can_be_written_as_a_policy() {
    let config = || Config { lookup_more_max: 0, ..Config::new(Vec::new()).among_thousands() };
    let scenario = DhtScenario { nodes: 100, lookups: 60, dead: 0.2, ..DhtScenario::default() };
    let run = |config: SharedConfig| {
        let setup = Setup { nodes: Box::new(move |_| config.clone()), ..Setup::default() };
        scenario.run_with(3, 2, setup, |_| {})
    };
    let shipped = run(SharedConfig::new(config()));
    let again = run(SharedConfig::with_lookups(config(), Arc::new(Again)));
    assert_eq!(shipped.trace_hash, again.trace_hash);
    assert_eq!(scenario.run(3, 1, |_| {}).found, 60);
}

/// Breaks every rule that a policy can break.
#[derive(Debug)]
struct Wild;

impl LookupPolicy for Wild {
    fn next(&self, lookup: &LookupView<'_>) -> Choice {
        match lookup.asked % 3 {
            0 => Choice::Wait,
            // Somebody who was asked already, if there is one.
            _ => lookup.heard().last().map_or(Choice::Wait, |node| Choice::Ask(node.key)),
        }
    }
}

#[test]
fn no_policy_makes_lookups_hang_or_ask_twice() {
    let scenario = DhtScenario { nodes: 40, lookups: 20, ..DhtScenario::default() };
    let config = Config::new(Vec::new()).among_thousands();
    let wild = SharedConfig::with_lookups(config, Arc::new(Wild));
    let setup = Setup { nodes: Box::new(|_| wild.clone()), ..Setup::default() };
    let report = scenario.run_with(1, 1, setup, |_| {});
    assert_eq!(report.end_ms.count, 20, "each ends");
    assert!(report.asked.max <= 2.0, "{:?}", report.asked);
}

/// What the rules of one's own were asked.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(u32, bool)>>>);

/// The lowest piece first; for a while it wants none at all.
struct InOrder {
    seen: Seen,
    declines: u32,
}

impl PieceRule for InOrder {
    fn pick(&mut self, pool: &mut PiecePool<'_>) -> Option<u32> {
        if self.declines > 0 {
            self.declines -= 1;
            return None;
        }
        let piece = pool.free().min()?;
        assert!(pool.is_free(piece) && pool.copies(piece) > 0);
        self.seen.0.lock().unwrap().push((piece, pool.rarest() == Some(piece)));
        Some(piece)
    }
}

impl Policies for Seen {
    fn piece_rule(&self, _: &client::Config) -> Box<dyn PieceRule> {
        Box::new(InOrder { seen: self.clone(), declines: 20 })
    }
}

fn swarm(peers: u32, policies: impl Fn(u32) -> Arc<dyn Policies>) -> sim::scenario::SwarmReport {
    let scenario = SwarmScenario { peers, pieces: 40, ..SwarmScenario::default() };
    let peers =
        |host: sim::HostId| client::Config { policies: policies(host.0), ..Default::default() };
    scenario.run_with(1, 1, Setup { peers: Box::new(peers), ..Setup::default() }, |_| {})
}

#[test]
fn a_piece_rule_says_which_piece_is_begun() {
    let seen = Seen::default();
    // The one peer that it has is the seed.
    let report = swarm(2, |_| Arc::new(seen.clone()));
    assert_eq!(report.finished, 1, "also who wants nothing at first");
    let (begun, rarest): (Vec<u32>, Vec<bool>) = seen.0.lock().unwrap().iter().copied().unzip();
    // In order, but for what came while it was choked, and what it had begun before it was.
    let steps_back = begun.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    assert!(begun.len() >= 36 && steps_back <= 2, "{begun:?}");
    assert!(rarest.contains(&false));
}

/// Names pieces that nobody may be asked for, and unchokes nobody.
#[derive(Debug)]
struct Unfit;

impl PieceRule for Unfit {
    fn pick(&mut self, _: &mut PiecePool<'_>) -> Option<u32> {
        Some(u32::MAX)
    }
}

impl ChokeRule for Unfit {
    fn round(&mut self, _: ChokeRound<'_>, _: &mut Rng, _: &mut Vec<ConnId>) {}
}

impl Policies for Unfit {
    fn piece_rule(&self, _: &client::Config) -> Box<dyn PieceRule> {
        Box::new(Unfit)
    }

    fn choke_rule(&self, _: &client::Config) -> Box<dyn ChokeRule> {
        Box::new(Unfit)
    }
}

/// The rules that ship, made by hand.
#[derive(Debug)]
struct ByHand;

impl Policies for ByHand {
    fn piece_rule(&self, config: &client::Config) -> Box<dyn PieceRule> {
        Box::new(RarestFirst { random_first: config.random_first_pieces })
    }

    fn choke_rule(&self, config: &client::Config) -> Box<dyn ChokeRule> {
        Box::new(Choker::new(config.unchoke_slots, config.optimistic_rounds))
    }
}

#[test]
fn who_has_unfit_rules_harms_itself_alone() {
    let report = swarm(6, |host| match host {
        1 => Arc::new(Unfit),
        _ => Arc::new(client::Shipped),
    });
    assert_eq!(report.finished, 4);
    let by_hand = swarm(6, |_| Arc::new(ByHand));
    assert_eq!(by_hand.trace_hash, swarm(6, |_| Arc::new(client::Shipped)).trace_hash);
}
