//! An overlay: nodes join, some announce, others look.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sim::scenario::{DhtReport, DhtScenario, Setup};
use sim::{DhtCommand, HostId, Step};
use wire::InfoHash;
use wire::time::Time;

use super::compare::{Measure, Samples};
use super::programs::{Held, Place, With};

/// The scenario: as the real programs are started, and so slow that a busy machine matters little.
pub(crate) fn scenario(nodes: u32, lookups: u32) -> DhtScenario {
    let mut scenario = DhtScenario {
        nodes,
        lookups,
        shipped_tables: true,
        by_commands: true,
        announce_span_s: 5.0,
        lookup_span_s: 5.0,
        ..DhtScenario::default()
    };
    scenario.links.latency_min_ms = 40.0;
    scenario.links.latency_max_ms = 120.0;
    scenario
}

/// What the simulator did, and who was told what.
pub(crate) struct Simulated {
    steps: Vec<Step<DhtCommand>>,
    end: Duration,
    pub(crate) samples: Samples,
}

pub(crate) fn simulate(scenario: &DhtScenario, seed: u64) -> Simulated {
    let setup = Setup { tells: true, ..Setup::default() };
    let mut report = scenario.run_with(seed, 1, setup, |_| {});
    let mut steps = std::mem::take(&mut report.steps);
    steps.sort_by_key(|step| step.at);
    let end = report.virtual_time.since(Time::ZERO);
    Simulated { steps, end, samples: samples(&report) }
}

fn samples(report: &DhtReport) -> Samples {
    let mut samples = Samples::default();
    let of = [
        ("first_peer", Measure::FirstPeer),
        ("end", Measure::LookupEnd),
        ("asked", Measure::Asked),
    ];
    for (name, measure) in of {
        let distribution = report.distributions.iter().find(|found| &*found.name == name);
        distribution.iter().for_each(|found| samples.add_all(measure, found));
    }
    let found = f64::from(report.found) / f64::from(report.lookups);
    samples.add(Measure::Found, [found]);
    samples.add_all(Measure::KeptBy, &report.kept_by);
    samples.add(Measure::Contacts, [report.contacts.mean]);
    samples.add(Measure::Datagrams, [report.counters.sent as f64]);
    samples
}

/// Has real programs do the same.
pub(crate) fn run(
    with: &With,
    scenario: &DhtScenario,
    simulated: &Simulated,
    seed: u64,
) -> (Samples, Held) {
    let mut place = Place::new(with, &scenario.links, seed, &[]);
    let mut entries: BTreeMap<HostId, SocketAddr> = BTreeMap::new();
    let (mut owners, mut looks) = (BTreeMap::new(), BTreeMap::new());
    place.start_node(HostId(0), None);
    for step in &simulated.steps {
        place.wait_until(step.at.since(Time::ZERO));
        let host = step.host;
        match &step.command {
            DhtCommand::Bootstrap(entry) if host.0 < scenario.nodes => {
                place.start_node(host, Some(*entry));
            }
            // It comes with the command.
            DhtCommand::Bootstrap(entry) => {
                entries.insert(host, *entry);
            }
            DhtCommand::Announce(hash, port) => {
                let args = ["announce", &hash.to_string(), "--port", &port.to_string()];
                place.start(host, entries.get(&host).copied(), "dht-node", &args);
                owners.insert(*hash, SocketAddr::new(place.addr(host).ip(), *port));
            }
            DhtCommand::Lookup(hash) => {
                let args = ["lookup", &hash.to_string()];
                place.start(host, entries.get(&host).copied(), "dht-node", &args);
                looks.insert(host, *hash);
            }
            other => unreachable!("{other:?} is not of such a scenario"),
        }
    }
    place.wait_until(simulated.end);
    place.end_programs();
    let mut samples = heard(&place, &owners, &looks);
    let held = place.end();
    let probes = held.probe_us.len() as u64;
    samples.add(Measure::Datagrams, [held.counts.datagrams.saturating_sub(probes) as f64]);
    (samples, held)
}

/// What the programs told.
fn heard(
    place: &Place,
    owners: &BTreeMap<InfoHash, SocketAddr>,
    looks: &BTreeMap<HostId, InfoHash>,
) -> Samples {
    let mut samples = Samples::default();
    let (mut found, mut kept, mut contacts) = (0, Vec::new(), Vec::new());
    for program in place.programs() {
        let events = program.events();
        let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
        contacts.extend(of("stopped").filter_map(|event| event["contacts_v4"].as_f64()));
        kept.extend(of("announced").filter_map(|event| event["accepted"].as_f64()));
        let Some(owner) = looks.get(&program.host).and_then(|hash| owners.get(hash)) else {
            continue;
        };
        found += usize::from(of("peer").any(|event| event["addr"] == owner.to_string()));
        samples.add(
            Measure::FirstPeer,
            of("peer").filter_map(|event| event["elapsed_ms"].as_f64()).take(1),
        );
        for done in of("done") {
            samples.add(Measure::LookupEnd, done["elapsed_ms"].as_f64());
            samples.add(Measure::Asked, done["asked"].as_f64());
        }
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    samples.add(Measure::Found, [found as f64 / looks.len() as f64]);
    samples.add(Measure::KeptBy, kept);
    samples.add(Measure::Contacts, [mean(&contacts)]);
    samples
}
