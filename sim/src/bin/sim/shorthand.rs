//! `sim dht` and `sim swarm`: one run of the scenario of that name, with a report of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sim::scenario::{DhtReport, DhtScenario, Scenario, SwarmReport, SwarmScenario, Template};

use crate::args::{Dht, Swarm};
use crate::output::{self, Progress, Table, say};

/// The scenario of a name with other values.
fn scenario(name: &str, sets: Vec<(&'static str, String)>) -> Result<Scenario, String> {
    let template = Template::shipped(name).ok_or_else(|| format!("no scenario {name}"))?;
    let told = |problem: sim::scenario::options::Problem| problem.to_string();
    let mut template = template.map_err(told)?;
    for (path, value) in sets {
        template.set(path, &value).map_err(told)?;
    }
    template.scenario(&output::read_file).map_err(told)
}

pub fn dht(args: &Dht) -> Result<bool, String> {
    let Scenario::Dht(scenario) = scenario("dht", args.sets())? else {
        return Err("the scenario dht is of another kind".to_owned());
    };
    let run = &args.run;
    let (report, wall) = watched(run.json, |progress| {
        scenario.run(run.seed, run.workers, |share| progress.show(share))
    });
    if run.json {
        say!("{}", dht_json(args, &scenario, &report, wall));
    } else {
        print_dht(&scenario, run.seed, &report, wall);
    }
    Ok(report.found == report.lookups)
}

pub fn swarm(args: &Swarm) -> Result<bool, String> {
    let Scenario::Swarm(scenario) = scenario("swarm", args.sets())? else {
        return Err("the scenario swarm is of another kind".to_owned());
    };
    let run = &args.run;
    let (report, wall) = watched(run.json, |progress| {
        scenario.run(run.seed, run.workers, |share| progress.show(share))
    });
    if run.json {
        say!("{}", swarm_json(&scenario, run.seed, &report, wall));
    } else {
        print_swarm(&scenario, run.seed, &report, wall);
    }
    Ok(report.finished == report.leeches)
}

/// What `run` gives and how long it took, with its progress shown.
fn watched<R>(json: bool, run: impl FnOnce(&mut Progress) -> R) -> (R, Duration) {
    let mut progress = Progress::new(json);
    let started = Instant::now();
    let report = run(&mut progress);
    let wall = started.elapsed();
    progress.clear();
    (report, wall)
}

fn print_dht(scenario: &DhtScenario, seed: u64, report: &DhtReport, wall: Duration) {
    say!(
        "{} nodes, {} lookups, seed {}: {} of {} found",
        scenario.nodes,
        scenario.lookups,
        seed,
        report.found,
        report.lookups
    );
    let mut table = Table::new("");
    table.row("closest found, of 8", &report.closest);
    table.row("hops", &report.hops);
    table.row("nodes asked", &report.asked);
    table.row("first peer, ms", &report.first_peer_ms);
    table.row("end, ms", &report.end_ms);
    table.row("contacts a node", &report.contacts);
    say!("{table}");
    let found = report.found_closest.map(|lookups| lookups.to_string());
    say!("lookups that found 0 to 8 of the closest: {}", found.join(" "));
    say!(
        "{} nodes left and others came; {:.1} % of the contacts were dead when the lookups began",
        report.left,
        report.dead_contacts * 100.0
    );
    say!("each announce kept by {:.1} nodes", report.kept_by_mean);
    say!(
        "{} datagrams, {:.0} a lookup; {} s of virtual time in {:.2} s",
        report.counters.sent,
        report.packets_per_lookup,
        report.virtual_time.as_secs_f64(),
        wall.as_secs_f64()
    );
    say!("trace {}", report.trace_hash);
}

fn dht_json(args: &Dht, scenario: &DhtScenario, report: &DhtReport, wall: Duration) -> Value {
    json!({
        "scenario": "dht",
        "version": env!("CARGO_PKG_VERSION"),
        "nodes": scenario.nodes,
        "lookups": scenario.lookups,
        "seed": args.run.seed,
        "loss": scenario.links.loss,
        "dead": scenario.dead,
        "churn_s": args.churn * 60.0,
        "left": report.left,
        "dead_contacts": report.dead_contacts,
        "closest_found": output::summary(&report.closest),
        "lookups_by_closest_found": report.found_closest,
        "found_ratio": f64::from(report.found) / f64::from(report.lookups.max(1)),
        "hops_mean": report.hops.mean,
        "asked_mean": report.asked.mean,
        "first_peer_ms": output::summary(&report.first_peer_ms),
        "end_ms": output::summary(&report.end_ms),
        "kept_by_mean": report.kept_by_mean,
        "contacts_mean": report.contacts.mean,
        "packets": report.counters.sent,
        "packets_per_lookup": report.packets_per_lookup,
        "virtual_s": report.virtual_time.as_secs_f64(),
        "wall_s": wall.as_secs_f64(),
        "peak_rss_bytes": output::peak_rss_bytes(),
        "trace_hash": report.trace_hash.to_string(),
    })
}

fn print_swarm(scenario: &SwarmScenario, seed: u64, report: &SwarmReport, wall: Duration) {
    say!(
        "1 seed and {} leeches, {} pieces of {} KiB, seed {}: {} finished",
        report.leeches,
        scenario.pieces,
        scenario.piece_length >> 10,
        seed,
        report.finished
    );
    let mut table = Table::new("seconds from a leech's start");
    table.row("first peer", &report.first_peer_s);
    table.row("metadata", &report.metadata_s);
    table.row("whole", &report.finish_s);
    table.row("hops of the first lookup", &report.hops);
    say!("{table}");
    say!(
        "the last piece after {:.1} s, {:.2} times the bound of {:.1} s",
        report.makespan_s,
        report.makespan_s / report.bound_s,
        report.bound_s
    );
    say!(
        "the seed sent {:.2} copies; {:.2} % of the payload was received for nothing",
        report.seed_copies,
        report.wasted_share * 100.0
    );
    say!(
        "{} datagrams, {} stream writes; {:.1} s of virtual time in {:.2} s",
        report.counters.sent,
        report.counters.chunks,
        report.virtual_time.as_secs_f64(),
        wall.as_secs_f64()
    );
    say!("trace {}", report.trace_hash);
}

fn swarm_json(scenario: &SwarmScenario, seed: u64, report: &SwarmReport, wall: Duration) -> Value {
    json!({
        "scenario": "swarm",
        "version": env!("CARGO_PKG_VERSION"),
        "peers": scenario.peers,
        "pieces": scenario.pieces,
        "piece_length": scenario.piece_length,
        "up_bytes_per_second": (scenario.access.up_mbit * 125_000.0) as u64,
        "down_bytes_per_second": (scenario.access.down_mbit * 125_000.0) as u64,
        "seed": seed,
        "loss": scenario.links.loss,
        "found_ratio": f64::from(report.found) / f64::from(report.leeches.max(1)),
        "finished": report.finished,
        "leeches": report.leeches,
        "hops_mean": report.hops.mean,
        "first_peer_s": output::summary(&report.first_peer_s),
        "metadata_s": output::summary(&report.metadata_s),
        "finish_s": output::summary(&report.finish_s),
        "makespan_s": report.makespan_s,
        "bound_s": report.bound_s,
        "seed_copies": report.seed_copies,
        "wasted_share": report.wasted_share,
        "packets": report.counters.sent,
        "stream_writes": report.counters.chunks,
        "stream_bytes": report.counters.chunk_bytes,
        "virtual_s": report.virtual_time.as_secs_f64(),
        "wall_s": wall.as_secs_f64(),
        "peak_rss_bytes": output::peak_rss_bytes(),
        "trace_hash": report.trace_hash.to_string(),
    })
}
