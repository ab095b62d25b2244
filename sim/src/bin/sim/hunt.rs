//! `sim hunt`: draws faults until something goes wrong.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sim::hunt::{Case, Failure};

use crate::args::Hunt;
use crate::output::say;

/// The longest that one failure is made smaller.
const SHRINK_MAX: Duration = Duration::from_secs(120);

pub fn hunt(args: &Hunt) -> Result<bool, String> {
    // The words of a panic are told with the case.
    std::panic::set_hook(Box::new(|_| {}));
    let (started, span) = (Instant::now(), Duration::from_secs_f64(args.minutes * 60.0));
    let mut found = Vec::new();
    let mut runs = 0u64;
    for seed in args.seed.. {
        if started.elapsed() >= span || found.len() >= args.most as usize {
            break;
        }
        let case = Case::draw(seed);
        runs += 1;
        let Err(failure) = case.run() else { continue };
        eprintln!("seed {seed}: {}; making it smaller", failure.why);
        let shrinking = Instant::now();
        let (small, how) = case.shrink(failure, || shrinking.elapsed() < SHRINK_MAX);
        let path = write(&args.out, &small, &how)?;
        if !args.json {
            say!("{}", how.why);
            say!("  sim run {path} --seed {seed}");
        }
        found.push(json!({ "seed": seed, "why": how.why, "file": path }));
    }
    let secs = started.elapsed().as_secs_f64();
    if args.json {
        say!("{}", json!({ "runs": runs, "secs": secs, "found": found }));
    } else {
        say!("{runs} runs in {secs:.0} s, {} went wrong", found.len());
    }
    Ok(found.is_empty())
}

/// Writes a case where it can be run from; its path.
fn write(folder: &Path, case: &Case, how: &Failure) -> Result<String, String> {
    let path = folder.join(format!("hunt-{}.toml", case.seed()));
    let told = path.display().to_string();
    let text = format!(
        "# Found by sim hunt. Run it: sim run {told} --seed {}\n# {}\n{}",
        case.seed(),
        how.why.replace('\n', " "),
        case.to_toml("Found by sim hunt.")
    );
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).map_err(|error| {
        format!("{told} cannot be written: {error}; name another folder with --out")
    })?;
    Ok(told)
}
