//! The shipped scenarios at a small size: what they promise, and that a seed replays.

use std::collections::{BTreeMap, BTreeSet};

use sim::scenario::{
    AccessOptions, ArrivalOptions, ChurnLaw, ChurnOptions, DayOptions, DhtReport, DhtScenario,
    LinkOptions, Setup, SwarmReport, SwarmScenario,
};
use sim::{DhtCommand, PeerCommand};

fn dht(loss: f64) -> DhtScenario {
    let links = LinkOptions { loss, ..LinkOptions::default() };
    DhtScenario { nodes: 100, lookups: 50, links, ..DhtScenario::default() }
}

fn churn(median_min: f64) -> ChurnOptions {
    ChurnOptions { law: ChurnLaw::Exponential, median_min, ..ChurnOptions::default() }
}

fn swarm() -> SwarmScenario {
    SwarmScenario {
        peers: 12,
        pieces: 60,
        arrival: ArrivalOptions { within_s: 5.0, ..ArrivalOptions::default() },
        limit_s: 600.0,
        ..SwarmScenario::default()
    }
}

fn run_dht(scenario: &DhtScenario, seed: u64) -> DhtReport {
    scenario.run(seed, 1, |_| {})
}

fn run(scenario: &SwarmScenario, seed: u64) -> SwarmReport {
    scenario.run(seed, 1, |_| {})
}

#[test]
fn every_announced_info_hash_is_found() {
    for (seed, loss) in [(1, 0.0), (2, 0.0), (3, 0.05)] {
        let report = run_dht(&dht(loss), seed);
        assert_eq!(report.found, 50, "seed {seed}: {report:?}");
        assert!((1.0..4.0).contains(&report.hops.mean), "seed {seed}: {:?}", report.hops);
        if loss == 0.0 {
            assert_eq!(report.kept_by_mean, 8.0, "seed {seed}");
            assert!(report.closest.mean > 7.95, "seed {seed}: {:?}", report.found_closest);
            assert_eq!((report.counters.lost, report.counters.unroutable), (0, 0));
        } else {
            assert!(report.counters.lost > 0);
        }
    }
}

#[test]
fn more_nodes_are_there_in_the_evening_than_in_the_morning() {
    let contacts_at = |hour: f64| {
        let churn = ChurnOptions {
            law: ChurnLaw::Measured,
            on_scale_min: 30.0,
            on_shape: 1.0,
            off_scale_min: 60.0,
            off_shape: 1.0,
            day: DayOptions { peak_to_mean: 1.8, ..DayOptions::default() },
            before_min: hour * 60.0,
            ..ChurnOptions::default()
        };
        let scenario = DhtScenario { nodes: 40, lookups: 5, churn, ..DhtScenario::default() };
        run_dht(&scenario, 1).contacts.mean
    };
    let [morning, evening] = [9.0, 20.5].map(contacts_at);
    assert!(evening > 1.5 * morning, "{morning} contacts at 9, {evening} at half past 8");
}

#[test]
fn a_fifth_of_silent_nodes_hides_nothing() {
    for seed in 1..4 {
        let report = run_dht(&DhtScenario { dead: 0.2, ..dht(0.0) }, seed);
        assert_eq!(report.found, 50, "seed {seed}: {report:?}");
        assert!(report.end_ms.max < 4_000.0, "nobody waits for the hard timeout: {report:?}");
    }
}

/// Half of the nodes stay for half an hour, a quarter of those that are there falls silent at once,
/// and two datagrams of a hundred are lost.
fn restless(nodes: u32, lookups: u32) -> DhtScenario {
    DhtScenario { nodes, lookups, dead: 0.25, churn: churn(30.0), ..dht(0.02) }
}

fn finds_most_of_the_closest(scenario: &DhtScenario) {
    let report = run_dht(scenario, 7);
    // Of those that were there, half left in half an hour.
    let left = f64::from(report.left) / f64::from(scenario.nodes);
    assert!((0.69..0.8).contains(&left), "{report:?}");
    assert!((0.38..0.5).contains(&report.dead_contacts), "{report:?}");
    // Who looks may leave before the end.
    assert!(report.closest.count as u32 >= scenario.lookups * 99 / 100, "{report:?}");
    assert!(report.closest.mean >= 7.0, "{report:?}");
    assert!(report.found >= scenario.lookups * 98 / 100, "{report:?}");
}

#[test]
fn lookups_find_most_of_the_closest_though_nodes_come_and_go() {
    finds_most_of_the_closest(&restless(500, 500));
}

#[test]
#[ignore = "tier 2: 84 s in release mode"]
fn lookups_among_ten_thousand_find_most_of_the_closest_though_nodes_come_and_go() {
    finds_most_of_the_closest(&restless(10_000, 1_000));
}

#[test]
fn every_leech_finishes_and_pays_its_share() {
    let report = run(&swarm(), 7);
    assert_eq!((report.found, report.finished), (11, 11), "{report:?}");
    assert!(report.makespan_s >= report.bound_s, "{report:?}");
    assert!(report.makespan_s < 3.0 * report.bound_s, "{report:?}");
    // Alone, the seed would have sent 11 copies.
    assert!((1.0..4.0).contains(&report.seed_copies), "{report:?}");
    assert!(report.wasted_share < 0.05, "{report:?}");
}

#[test]
fn a_seed_replays_and_another_does_not() {
    let dht_trace = |seed| run_dht(&dht(0.02), seed).trace_hash;
    assert_eq!(dht_trace(5), dht_trace(5));
    assert_ne!(dht_trace(5), dht_trace(6));
    let churned = |seed| {
        let report = run_dht(&DhtScenario { churn: churn(2.0), ..dht(0.02) }, seed);
        (report.trace_hash, report.found_closest)
    };
    assert_eq!(churned(5), churned(5));
    assert_ne!(churned(5), churned(6));
    let swarm_trace = |seed| run(&swarm(), seed).trace_hash;
    assert_eq!(swarm_trace(5), swarm_trace(5));
    assert_ne!(swarm_trace(5), swarm_trace(6));
}

#[test]
fn commands_come_from_hosts_of_their_own_and_end() {
    let scenario =
        DhtScenario { nodes: 60, lookups: 20, shipped_tables: true, by_commands: true, ..dht(0.0) };
    let report = scenario.run_with(4, 1, Setup { tells: true, ..Setup::default() }, |_| {});
    let steps = &report.steps;
    assert_eq!(report.found, 20, "{report:?}");
    // No node knows the host of a command: they are read-only.
    assert!(report.contacts.max <= 59.0, "{:?}", report.contacts);
    let of = |is: fn(&DhtCommand) -> bool| {
        let hosts = steps.iter().filter(|step| is(&step.command)).map(|step| step.host.0);
        hosts.collect::<BTreeSet<u32>>()
    };
    assert!(of(|c| matches!(c, DhtCommand::Bootstrap(_))).into_iter().eq(1..100));
    assert!(of(|c| matches!(c, DhtCommand::Announce(..))).into_iter().eq(60..80));
    assert!(of(|c| matches!(c, DhtCommand::Lookup(_))).into_iter().eq(80..100));
    // Telling changes nothing.
    assert_eq!(report.trace_hash, run_dht(&scenario, 4).trace_hash);
    // Nor do those that have ended send anything: resting long costs what the nodes cost.
    let sent = |by_commands, rest_s| {
        let scenario = DhtScenario { by_commands, rest_s, ..scenario.clone() };
        run_dht(&scenario, 4).counters.sent
    };
    let (with, without) = (sent(true, 1e3) - sent(true, 0.0), sent(false, 1e3) - sent(false, 0.0));
    assert!(with.abs_diff(without) < without / 10, "{with} and {without} datagrams in 1,000 s");
}

#[test]
fn peers_come_by_nodes_when_they_start() {
    let scenario = SwarmScenario { peers: 6, pieces: 8, nodes: 10, ..swarm() };
    let report = scenario.run_with(4, 1, Setup { tells: true, ..Setup::default() }, |_| {});
    let steps = &report.steps;
    assert_eq!((report.found, report.finished), (5, 5), "{report:?}");
    let (plan, _) = scenario.links.network(4);
    let mut joined = BTreeMap::new();
    for step in steps {
        match step.command {
            PeerCommand::Bootstrap(entry) => {
                assert!(plan.host(&entry).is_some_and(|entry| (6..16).contains(&entry.0)));
                joined.insert(step.host.0, step.at);
            }
            PeerCommand::Seed(..) | PeerCommand::Fetch(_) => {
                assert_eq!(joined.get(&step.host.0), Some(&step.at));
            }
            PeerCommand::MendDisk => panic!("no disk is to fail"),
        }
    }
    assert!(joined.into_keys().eq((0..6).chain(7..16)));
}

#[test]
fn a_line_twice_as_slow_takes_twice_as_long() {
    let fast = swarm();
    let access = AccessOptions { up_mbit: 2.5, down_mbit: 12.5, ..AccessOptions::default() };
    let slow = SwarmScenario { access, ..fast.clone() };
    let ratio = run(&slow, 3).makespan_s / run(&fast, 3).makespan_s;
    assert!((2.0..6.0).contains(&ratio), "{ratio}");
}

#[test]
#[ignore = "tier 2"]
fn swarms_of_fifty_finish_whatever_the_seed() {
    for seed in 1..=20 {
        let scenario = SwarmScenario {
            peers: 50,
            pieces: 200,
            links: LinkOptions { loss: 0.01, ..LinkOptions::default() },
            ..swarm()
        };
        let report = run(&scenario, seed);
        assert_eq!((report.found, report.finished), (49, 49), "seed {seed}: {report:?}");
        assert!(report.makespan_s < 2.5 * report.bound_s, "seed {seed}: {report:?}");
        assert!(report.wasted_share < 0.02, "seed {seed}: {report:?}");
    }
}

#[test]
#[ignore = "tier 2"]
fn ten_thousand_nodes_find_what_each_other_announced() {
    let scenario = DhtScenario { nodes: 10_000, lookups: 2_000, dead: 0.2, ..dht(0.0) };
    let report = run_dht(&scenario, 7);
    assert_eq!(report.found, 2_000, "{report:?}");
    assert!(report.hops.mean < 5.0, "{report:?}");
}
