//! `sim run`, `sim list` and `sim explain`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use signal_hook::consts::SIGINT;
use sim::results::{Machine, Results};
use sim::scenario::{self, Plan, SHIPPED, Setup, Template};
use sim::{Capture, HostId};
use wire::time::Time;

use crate::End;
use crate::args::{Explain, List, Replay, RunArgs};
use crate::folder::Folder;
use crate::output::{cpu_s, peak_rss_bytes, read_file, say};
use crate::pcap::Pcap;
use crate::runner::{self, Threads};

/// Writing results takes at most this share of the time.
const WRITING_SHARE: u32 = 20;

/// A scenario by its name, or out of a file.
fn template(name: &str) -> Result<Template, String> {
    if let Some(template) = Template::shipped(name) {
        return template.map_err(|problem| format!("{name}: {problem}"));
    }
    let path = Path::new(name);
    if path.extension().is_none() && !path.exists() {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "there is no scenario {name}; there are {}, and files",
            names.join(", ")
        ));
    }
    let text = read_file(name).map_err(|error| format!("{name}: {error}"))?;
    let stem = path.file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy());
    Template::parse(&stem, &text).map_err(|problem| format!("{name}: {problem}"))
}

/// The same with other values.
fn template_with(name: &str, sets: &[(String, String)]) -> Result<Template, String> {
    let mut template = template(name)?;
    for (path, value) in sets {
        template.set(path, value).map_err(|problem| format!("{name}: {problem}"))?;
    }
    Ok(template)
}

pub fn list(args: &List) -> Result<bool, String> {
    let mut all = Vec::new();
    for (name, _) in SHIPPED {
        all.push(template(name)?);
    }
    if args.json {
        let of = |t: &Template| json!({ "name": t.name, "kind": t.kind(), "about": t.about });
        say!("{}", json!({ "scenarios": all.iter().map(of).collect::<Vec<_>>() }));
    } else {
        let width = all.iter().map(|template| template.name.len()).max().unwrap_or(0);
        for template in &all {
            say!("{:width$}  {}", template.name, template.about);
        }
    }
    Ok(true)
}

pub fn explain(args: &Explain) -> Result<bool, String> {
    let template = template_with(&args.scenario, &args.set)?;
    let scenario =
        template.scenario(&read_file).map_err(|problem| format!("{}: {problem}", args.scenario))?;
    if args.json {
        let options = scenario.entries().into_iter().filter(|entry| entry.is_option());
        let options = options.map(|entry| {
            json!({
                "path": entry.path,
                "about": entry.about,
                "unit": entry.unit,
                "takes": entry.takes,
                "default": entry.default,
                "value": (!entry.is_example).then_some(entry.value),
            })
        });
        let options: Vec<_> = options.collect();
        say!(
            "{}",
            json!({
                "name": template.name,
                "kind": template.kind(),
                "about": template.about,
                "options": options,
            })
        );
    } else {
        say!("{}", scenario::explain(&template, &scenario).trim_end());
    }
    Ok(true)
}

pub fn run(args: &RunArgs) -> Result<End, String> {
    let template = template_with(&args.scenario, &args.set)?;
    let sweeps: Vec<(String, Vec<String>)> = args
        .sweep
        .iter()
        .map(|(path, values)| {
            (path.clone(), values.split(',').map(|value| value.trim().to_owned()).collect())
        })
        .collect();
    let last = args.seed.checked_add(u64::from(args.seeds) - 1);
    let last = last.ok_or("there are not so many seeds")?;
    let plan = Plan::new(&template, &sweeps, (args.seed..=last).collect(), &read_file)
        .map_err(|problem| format!("{}: {problem}", args.scenario))?;
    let (plan, interrupted) = (Arc::new(plan), interrupts().map_err(|error| error.to_string())?);
    let folder = args.out.as_deref().map(Folder::take).transpose()?;
    let cores = thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let threads = Threads::spread(&plan.jobs(), args.workers, cores);
    let pcap = args.pcap.as_deref().map(|file| pcap(&plan, file, args.pcap_host)).transpose()?;
    let (pcap, capture) = pcap.unzip();
    let started = Instant::now();
    let machine = |started: Instant| Machine {
        cores: (threads.runs as u32 * threads.each).min(cores),
        wall_s: started.elapsed().as_secs_f64(),
        cpu_s: cpu_s(),
        peak_rss_bytes: peak_rss_bytes(),
    };
    let (mut written, mut cost) = (Instant::now(), Duration::ZERO);
    let outcomes = runner::make(&plan, threads, args.quiet, capture, &interrupted, |outcomes| {
        let Some(folder) = &folder else { return };
        if written.elapsed() >= cost * WRITING_SHARE {
            let began = Instant::now();
            // What cannot be written now is told of at the end, if it cannot be written then.
            let _ = folder.write(&plan.results(outcomes), &machine(started));
            (written, cost) = (Instant::now(), began.elapsed());
        }
    });
    let (results, machine) = (plan.results(&outcomes), machine(started));
    if let Some(folder) = &folder {
        folder.write(&results, &machine)?;
        folder.draw(&results)?;
    }
    pcap.map(Pcap::end).transpose()?;
    if args.json {
        say!("{}", results.to_json(Some(&machine)).trim_end());
    } else {
        print(&plan, &results, &machine, args.out.as_deref());
    }
    let held = results.runs().all(|(_, run)| run.outcome.verdict.is_ok());
    let held = held && results.diverged == 0;
    Ok(if results.missing > 0 { End::Interrupted } else { End::from(held) })
}

/// Set by the first Ctrl-C; the second ends the program at once.
fn interrupts() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let code = i32::from(crate::INTERRUPTED);
    signal_hook::flag::register_conditional_shutdown(SIGINT, code, flag.clone())?;
    signal_hook::flag::register(SIGINT, flag.clone())?;
    Ok(flag)
}

/// The file for a capture of the one run of a plan.
fn pcap(plan: &Plan, file: &Path, host: u32) -> Result<(Pcap, Capture), String> {
    let jobs = plan.jobs();
    let [job] = &jobs[..] else {
        return Err(format!("--pcap is of one run, and these are {}", jobs.len()));
    };
    if !job.scenario.has_packets() {
        return Err(format!("--pcap: there are no packets in kind {}", job.scenario.kind()));
    }
    Pcap::begin(file, host, job.scenario.hosts())
}

fn print(plan: &Plan, results: &Results, machine: &Machine, out: Option<&Path>) {
    let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let runs = results.runs().count();
    say!(
        "{}: {}, {} in {:.1} s",
        plan.name(),
        many(results.settings.len(), "setting"),
        match results.missing {
            0 => many(runs, "run"),
            missing => format!("incomplete: {runs} of {}", many(runs + missing, "run")),
        },
        machine.wall_s
    );
    if runs == 0 {
        return;
    }
    say!("{}", results.table().trim_end());
    if let (1, Some((_, run))) = (runs, results.runs().next()) {
        say!("seed {}, trace {}", run.seed, run.outcome.trace_hash);
    }
    if let Some(out) = out {
        say!("written to {}", out.display());
    }
}

/// Runs a scenario, and again as far as it is of interest.
pub fn replay(args: &Replay) -> Result<bool, String> {
    let name = &args.scenario;
    let template = template_with(name, &args.set)?;
    let scenario = template.scenario(&read_file).map_err(|problem| format!("{name}: {problem}"))?;
    let run = |looks: Vec<(Time, HostId)>, capture: Option<Capture>| {
        let kind = || format!("{name} is of kind {}, which cannot be replayed", scenario.kind());
        scenario.replay(args.seed, Setup { looks, capture, ..Setup::default() }).ok_or_else(kind)
    };
    let (at, host) = match args.until.as_str() {
        "violation" => {
            let violation = run(Vec::new(), None)?.violation;
            let none =
                "nobody did what it never may: name a moment with --until SECONDS, or --until end";
            let violation = violation.ok_or(none)?;
            say!("{violation}");
            (violation.at, violation.host)
        }
        "end" => {
            let replay = run(Vec::new(), None)?;
            (replay.end, replay.unfinished.unwrap_or(HostId(0)))
        }
        until => {
            let secs = until.parse().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
            let secs = secs.ok_or_else(|| format!("{until} is no number of seconds"))?;
            (Time::ZERO + secs, HostId(0))
        }
    };
    let host = args.host.map_or(host, HostId);
    let pcap = args.pcap.as_deref().map(|file| Pcap::begin(file, host.0, scenario.hosts()));
    let (pcap, capture) = pcap.transpose()?.unzip();
    let descriptions = run(vec![(at, host)], capture)?.descriptions;
    pcap.map(Pcap::end).transpose()?;
    let nobody = || format!("there is no host {} at {at}; hosts count from 0", host.0);
    let (at, host, text) = descriptions.into_iter().next().ok_or_else(nobody)?;
    say!("host {} at {at}: {text}", host.0);
    Ok(true)
}
