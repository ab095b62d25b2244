//! A swarm: one seed, and leeches that know an info-hash and a node of the DHT.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use harness::content::single_file;
use harness::delayed::Rates;
use sim::scenario::{Setup, SwarmScenario};
use sim::{HostId, PeerCommand, Step};
use wire::time::Time;

use super::compare::{Measure, Samples};
use super::programs::{Held, Place, With};

/// The longest that a leech takes to have all, and its seed to hash the file.
const LIMIT: Duration = Duration::from_secs(300);
const HASH_LIMIT: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The scenario: lines that keep a fraction of a core busy, and delays as in the overlay.
pub(crate) fn scenario(peers: u32, nodes: u32, pieces: u32) -> SwarmScenario {
    let mut scenario = SwarmScenario { peers, nodes, pieces, ..SwarmScenario::default() };
    scenario.links.latency_min_ms = 40.0;
    scenario.links.latency_max_ms = 120.0;
    scenario
}

/// What the simulator did, and who was told what.
pub(crate) struct Simulated {
    steps: Vec<Step<PeerCommand>>,
    pub(crate) samples: Samples,
}

pub(crate) fn simulate(scenario: &SwarmScenario, seed: u64) -> Simulated {
    let setup = Setup { tells: true, ..Setup::default() };
    let mut report = scenario.run_with(seed, 1, setup, |_| {});
    let mut steps = std::mem::take(&mut report.steps);
    steps.sort_by_key(|step| step.at);
    let mut samples = Samples::default();
    for (name, measure) in [("metadata", Measure::Metadata), ("finish", Measure::Finish)] {
        let distribution = report.distributions.iter().find(|found| &*found.name == name);
        distribution.iter().for_each(|found| samples.add_all(measure, found));
    }
    let finished = f64::from(report.finished) / f64::from(report.leeches);
    samples.add(Measure::Finished, [finished]);
    Simulated { steps, samples }
}

/// The lines of the peers; nodes have none.
fn lines(scenario: &SwarmScenario) -> Vec<Option<Rates>> {
    let rate = |mbit: f64| (mbit * 125_000.0) as u64;
    let access = &scenario.access;
    let rates = Rates {
        up: rate(access.up_mbit),
        down: rate(access.down_mbit),
        queue: Duration::from_millis(access.queue_ms.into()),
    };
    vec![Some(rates); scenario.peers as usize]
}

/// Has real programs do the same.
pub(crate) fn run(
    with: &With,
    scenario: &SwarmScenario,
    simulated: &Simulated,
    seed: u64,
) -> (Samples, Held) {
    let mut place = Place::new(with, &scenario.links, seed, &lines(scenario));
    let len = u64::from(scenario.pieces) * u64::from(scenario.piece_length);
    let file = single_file(place.folder(), "content.bin", len, seed);
    let mut entry: Option<SocketAddr> = None;
    let mut info_hash = None;
    let piece_length = scenario.piece_length.to_string();
    place.start_node(HostId(scenario.peers), None);
    for step in &simulated.steps {
        place.wait_until(step.at.since(Time::ZERO));
        let host = step.host;
        match &step.command {
            PeerCommand::Bootstrap(by) if host.0 >= scenario.peers => {
                place.start_node(host, Some(*by));
            }
            // Its peer starts now.
            PeerCommand::Bootstrap(by) => entry = Some(*by),
            PeerCommand::Seed(..) => {
                let args = ["seed", &text(&file), "--piece-length", &piece_length];
                place.start(host, entry.take(), "trackerless", &args);
            }
            PeerCommand::Fetch(_) => {
                let hash = info_hash.get_or_insert_with(|| served(&place)).clone();
                let folder = place.folder().join(format!("leech-{}", host.0));
                let args = ["get", &hash, "--seed", "-o", &text(&folder)];
                place.start(host, entry.take(), "trackerless", &args);
            }
            // None of its disks fails.
            PeerCommand::MendDisk => {}
        }
    }
    let leeches = scenario.peers - 1;
    let started = place.elapsed();
    while finished(&place) < leeches as usize && place.elapsed() - started < LIMIT {
        std::thread::sleep(LOOK_EVERY);
    }
    place.end_programs();
    let samples = heard(&place, leeches, len);
    (samples, place.end())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The info-hash that the seed serves.
fn served(place: &Place) -> String {
    let begin = place.elapsed();
    while place.elapsed() - begin < HASH_LIMIT {
        let seed = place.programs().iter().find(|program| program.host == HostId(0));
        let event = seed.and_then(|seed| seed.event("serving"));
        if let Some(hash) = event.as_ref().and_then(|event| event["info_hash"].as_str()) {
            return hash.to_owned();
        }
        std::thread::sleep(LOOK_EVERY);
    }
    panic!("the seed does not serve within {HASH_LIMIT:?}")
}

fn leeches(place: &Place) -> impl Iterator<Item = &super::programs::Program> {
    place.programs().iter().filter(|program| program.is("get"))
}

fn finished(place: &Place) -> usize {
    leeches(place).filter(|leech| leech.event("done").is_some()).count()
}

/// What the leeches told.
fn heard(place: &Place, count: u32, len: u64) -> Samples {
    let mut samples = Samples::default();
    let mut whole = 0;
    for leech in leeches(place) {
        let seconds = |event: &serde_json::Value| event["ms"].as_f64().map(|ms| ms / 1e3);
        let (metadata, done) = (leech.event("metadata"), leech.event("done"));
        samples.add(Measure::Metadata, metadata.as_ref().and_then(seconds));
        samples.add(Measure::Finish, done.as_ref().and_then(seconds));
        whole += u32::from(done.is_some_and(|done| done["have"].as_u64() == Some(len)));
    }
    samples.add(Measure::Finished, [f64::from(whole) / f64::from(count)]);
    samples
}
