//! Real programs against the simulator: see `tests/real-against-sim`.
//!
//!   real_against_sim BINARIES SEEDS SIDE_BY_SIDE CONGESTION
//!
//! `BINARIES` is the folder of `dht-node` and `trackerless`. Prints its report in Markdown. Ends with 1 if anything is further apart
//! than it may be.

mod compare;
mod overlay;
mod programs;
mod swarm;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use compare::{Samples, compare, quantile};
use programs::{Held, With};

const NODES: u32 = 200;
const LOOKUPS: u32 = 100;
const PEERS: u32 = 20;
/// Nodes by which the peers of a swarm find each other.
const SWARM_NODES: u32 = 20;
/// 16 MiB in pieces of 256 KiB.
const PIECES: u32 = 64;
/// Between the first networks that start, so that not all of them do the same at a time.
const STAGGER: Duration = Duration::from_secs(12);

/// What is simulated before anything real starts.
enum Job {
    Overlay(u64, overlay::Simulated),
    Swarm(u64, swarm::Simulated),
}

/// What came of all seeds.
#[derive(Default)]
struct All {
    real: Samples,
    simulated: Samples,
    held: Held,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<u64>().ok());
    let (Some(binaries), Some(seeds), Some(side_by_side), Some(congestion)) =
        (args.first(), number(1), number(2), args.get(3))
    else {
        eprintln!("real_against_sim BINARIES SEEDS SIDE_BY_SIDE CONGESTION");
        return ExitCode::from(2);
    };
    let with = With { binaries: binaries.into(), congestion: congestion.clone() };
    let started = Instant::now();
    let mut all = All::default();
    let jobs = simulate(seeds, &mut all.simulated);
    let simulated_s = started.elapsed().as_secs_f64();
    let before = cpu_s();
    let all = Mutex::new(all);
    run(&with, &jobs, side_by_side, &all);
    let all = all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let real_s = started.elapsed().as_secs_f64() - simulated_s;
    let cpu = (cpu_s() - before) / real_s;
    let (table, wrong) = compare(&all.real, &all.simulated);
    let text = format!(
        "{seeds} seeds, {side_by_side} networks side by side, congestion control {congestion}: {simulated_s:.0} s to \
         simulate, {real_s:.0} s real, {cpu:.2} cores busy meanwhile with relays and programs.\n\n{table}\n{}\n{}",
        held(&all.held),
        verdict(&wrong)
    );
    println!("{text}");
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn simulate(seeds: u64, samples: &mut Samples) -> Vec<Job> {
    let (dht, swarm) = (overlay_scenario(), swarm_scenario());
    let mut jobs = Vec::new();
    for seed in 1..=seeds {
        let overlay = overlay::simulate(&dht, seed);
        let swarm = swarm::simulate(&swarm, seed);
        samples.extend(overlay.samples.clone());
        samples.extend(swarm.samples.clone());
        jobs.extend([Job::Overlay(seed, overlay), Job::Swarm(seed, swarm)]);
    }
    jobs
}

fn overlay_scenario() -> sim::scenario::DhtScenario {
    overlay::scenario(NODES, LOOKUPS)
}

fn swarm_scenario() -> sim::scenario::SwarmScenario {
    swarm::scenario(PEERS, SWARM_NODES, PIECES)
}

fn run(with: &With, jobs: &[Job], side_by_side: u64, all: &Mutex<All>) {
    let next = AtomicUsize::new(0);
    let work = |n: u64| {
        sleep(STAGGER * n as u32);
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            // On a thread of its own: it moves into a network.
            let ran = scope(|scope| scope.spawn(|| run_job(with, job)).join());
            let (samples, held) = ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            all.real.extend(samples);
            all.held.extend(held);
        }
    };
    scope(|scope| (0..side_by_side).for_each(|n| drop(scope.spawn(move || work(n)))));
}

fn run_job(with: &With, job: &Job) -> (Samples, Held) {
    let started = Instant::now();
    let (what, seed, ran) = match job {
        Job::Overlay(seed, simulated) => {
            let scenario = overlay_scenario();
            ("overlay", seed, overlay::run(with, &scenario, simulated, *seed))
        }
        Job::Swarm(seed, simulated) => {
            let scenario = swarm_scenario();
            ("swarm", seed, swarm::run(with, &scenario, simulated, *seed))
        }
    };
    eprintln!("{what} of seed {seed}: {:.0} s", started.elapsed().as_secs_f64());
    ran
}

/// How well packets were held, in words.
fn held(held: &Held) -> String {
    let counts = &held.counts;
    let mut late: Vec<f64> = counts.late_us.iter().map(|us| f64::from(*us)).collect();
    let mut probes = held.probe_us.clone();
    late.sort_by(f64::total_cmp);
    probes.sort_by(f64::total_cmp);
    let three = |of: &[f64]| {
        let ms = |share| quantile(of, share) / 1e3;
        format!("{:.2}, {:.2}, {:.2} ms", ms(0.5), ms(0.99), ms(1.0))
    };
    format!(
        "Relays held {} datagrams and {} packets of TCP, dropped {} at full lines, {} were for nobody. Packets were \
         given later than due by (median, p99, most) {}; probes from program to program took longer than \
         the delay of their pair by {} ({} probes).\n",
        counts.datagrams,
        counts.others,
        counts.dropped,
        counts.unroutable,
        three(&late),
        three(&probes),
        probes.len()
    )
}

fn verdict(wrong: &[String]) -> String {
    match wrong {
        [] => "All medians and 99th percentiles agree.".to_owned(),
        wrong => format!("Too far apart:\n\n- {}", wrong.join("\n- ")),
    }
}

/// Processor time of this process and of those that it has waited for, in seconds; clock ticks are
/// hundredths in what /proc tells (proc(5)).
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(4);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
