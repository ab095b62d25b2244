//! `sim`: tries an overlay or a swarm in virtual time, on the code that ships.
#![allow(clippy::disallowed_types, reason = "a program tells its user how long it took")]

mod args;
mod output;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use sim::scenario::{DhtReport, DhtScenario, SwarmReport, SwarmScenario};
use sim::{Access, LatencyLaw, LinkConfig};

use args::{Cli, Command, Dht, Run, Swarm};
use output::{Progress, Table};

/// Prints a line. A reader that is gone ends nothing.
macro_rules! say {
    ($($text:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($text)*);
    };
}

/// Exit code where not everything was found, or not everyone finished.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let complete = match cli.command {
        Command::Dht(args) => dht(&args),
        Command::Swarm(args) => swarm(&args),
    };
    if complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) }
}

fn dht(args: &Dht) -> bool {
    let scenario = DhtScenario {
        nodes: args.nodes,
        lookups: args.lookups,
        dead: args.dead,
        churn: Duration::from_secs_f64(args.churn * 60.0),
        seed: args.run.seed,
        links: links(&args.run),
        workers: args.run.workers,
    };
    let (report, wall) =
        watched(args.run.json, |progress| scenario.run(|share| progress.show(share)));
    if args.run.json {
        say!("{}", dht_json(&scenario, &report, wall));
    } else {
        print_dht(&scenario, &report, wall);
    }
    report.found == report.lookups
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

fn links(run: &Run) -> LinkConfig {
    LinkConfig {
        loss: run.loss,
        latency: LatencyLaw::Uniform {
            min_us: run.latency_min_ms * 1_000,
            max_us: run.latency_max_ms.max(run.latency_min_ms) * 1_000,
        },
        ..LinkConfig::default()
    }
}

fn print_dht(scenario: &DhtScenario, report: &DhtReport, wall: Duration) {
    say!(
        "{} nodes, {} lookups, seed {}: {} of {} found",
        scenario.nodes,
        scenario.lookups,
        scenario.seed,
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

fn dht_json(scenario: &DhtScenario, report: &DhtReport, wall: Duration) -> Value {
    json!({
        "scenario": "dht",
        "version": env!("CARGO_PKG_VERSION"),
        "nodes": scenario.nodes,
        "lookups": scenario.lookups,
        "seed": scenario.seed,
        "loss": scenario.links.loss,
        "dead": scenario.dead,
        "churn_s": scenario.churn.as_secs_f64(),
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

fn swarm(args: &Swarm) -> bool {
    let bytes_per_second = |mbit: f64| (mbit * 125_000.0) as u64;
    let scenario = SwarmScenario {
        peers: args.peers,
        pieces: args.pieces,
        piece_length: args.piece_length,
        access: Access {
            up_bytes_per_second: bytes_per_second(args.up_mbit),
            down_bytes_per_second: bytes_per_second(args.down_mbit),
            ..Access::default()
        },
        arrival: Duration::from_secs(args.arrival),
        limit: Duration::from_secs(args.limit),
        seed: args.run.seed,
        links: links(&args.run),
        workers: args.run.workers,
    };
    let (report, wall) =
        watched(args.run.json, |progress| scenario.run(|share| progress.show(share)));
    if args.run.json {
        say!("{}", swarm_json(&scenario, &report, wall));
    } else {
        print_swarm(&scenario, &report, wall);
    }
    report.finished == report.leeches
}

fn print_swarm(scenario: &SwarmScenario, report: &SwarmReport, wall: Duration) {
    say!(
        "1 seed and {} leeches, {} pieces of {} KiB, seed {}: {} finished",
        report.leeches,
        scenario.pieces,
        scenario.piece_length >> 10,
        scenario.seed,
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

fn swarm_json(scenario: &SwarmScenario, report: &SwarmReport, wall: Duration) -> Value {
    json!({
        "scenario": "swarm",
        "version": env!("CARGO_PKG_VERSION"),
        "peers": scenario.peers,
        "pieces": scenario.pieces,
        "piece_length": scenario.piece_length,
        "up_bytes_per_second": scenario.access.up_bytes_per_second,
        "down_bytes_per_second": scenario.access.down_bytes_per_second,
        "seed": scenario.seed,
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
