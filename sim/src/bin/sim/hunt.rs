//! `sim hunt`: draws faults until something goes wrong.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sim::hunt::{Case, Failure, Kind};

use crate::args::Hunt;
use crate::output::say;

/// The longest that one failure is made smaller.
const SHRINK_MAX: Duration = Duration::from_secs(120);

pub fn hunt(args: &Hunt) -> Result<bool, String> {
    // The words of a panic are told with the case.
    std::panic::set_hook(Box::new(|_| {}));
    let (started, span) = (Instant::now(), Duration::from_secs_f64(args.minutes * 60.0));
    let kinds = args.kind.map_or(&Kind::ALL[..], |kind| kind.kinds());
    let mut found = Vec::new();
    let mut runs = 0u64;
    for seed in args.seed.. {
        if started.elapsed() >= span || found.len() >= args.most as usize {
            break;
        }
        let case = Case::draw(seed, kinds);
        runs += 1;
        let Err(failure) = case.run() else { continue };
        let found_s = started.elapsed().as_secs_f64();
        eprintln!("seed {seed}: {}; making it smaller", failure.why);
        let (shrinking, drawn) = (Instant::now(), case.extent());
        let (small, how) = case.shrink(failure, || shrinking.elapsed() < SHRINK_MAX);
        let (path, extent) = (write(&args.out, &small, &how)?, small.extent());
        let shrunk_s = shrinking.elapsed().as_secs_f64();
        if !args.json {
            say!("{}", how.why);
            say!(
                "  {} options of {} are left, after {found_s:.0} s and {shrunk_s:.0} s to make it smaller",
                extent.0,
                drawn.0
            );
            say!("  sim run {path} --seed {seed}");
        }
        found.push(json!({
            "seed": seed,
            "kind": small.kind().word(),
            "why": how.why,
            "file": path,
            "run": runs,
            "found_s": found_s,
            "shrunk_s": shrunk_s,
            "options_drawn": drawn.0,
            "options": extent.0,
            "sizes_drawn": drawn.1,
            "sizes": extent.1,
        }));
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
    let path = folder.join(format!("hunt-{}-{}.toml", case.kind().word(), case.seed()));
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
