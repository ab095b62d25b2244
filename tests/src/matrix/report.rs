//! Many cases, a few at a time, and the page that tells what came of each.

use std::collections::VecDeque;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::scope;

use super::case::{By, Case, Outcome};
use super::program::{Program, Stop};
use crate::process::output_of;

/// Cases that run at a time: most of their time they wait, for a program's start or one of its timers.
const AT_ONCE: usize = 12;

/// What came of a case, or why it failed.
pub type Row = (Case, Result<Outcome, String>);

/// Runs all, also after some have failed.
pub fn run_all(cases: &[Case]) -> Vec<Row> {
    let mut queue: Vec<_> = cases.iter().enumerate().collect();
    queue.sort_by_key(|(_, case)| (!case.is_slow(), case.stop.is_none()));
    let left = Mutex::new(VecDeque::from(queue));
    let rows = Mutex::new(Vec::new());
    // Half of the workers begin with the slow ones, which leave the processor to the others.
    let next = |worker: usize| {
        let mut left = lock(&left);
        if worker.is_multiple_of(2) { left.pop_front() } else { left.pop_back() }
    };
    let work = |worker| {
        while let Some((number, case)) = next(worker) {
            // All that a case makes ends with it.
            let result = catch_unwind(AssertUnwindSafe(|| case.run()));
            let result = result.map_err(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
            });
            match &result {
                Ok(Outcome { took, note }) => {
                    eprintln!("{case}: {:.1} s {note}", took.as_secs_f32())
                }
                Err(error) => eprintln!("{case}: FAILED: {error}"),
            }
            lock(&rows).push((number, (*case, result)));
        }
    };
    scope(|scope| (0..AT_ONCE).for_each(|worker| drop(scope.spawn(move || work(worker)))));
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The page, in Markdown.
pub fn page(rows: &[Row]) -> String {
    let mut page = String::from(HEAD);
    let date = output_of({
        let mut command = std::process::Command::new("date");
        command.args(["-u", "+%F"]);
        command
    });
    let _ = writeln!(page, "Run on {}, all programs on one machine, with:\n", date.trim());
    for program in Program::ALL {
        let _ = writeln!(page, "- {}: {}", program.name(), program.version());
    }
    page.push_str("\n| seed | leech | passed | slowest, s |\n| --- | --- | ---: | ---: |\n");
    let mut pairs: Vec<_> = rows.iter().map(|(case, _)| (case.seed, case.leech)).collect();
    pairs.dedup();
    for (seed, leech) in pairs {
        let of_it = rows.iter().filter(|(case, _)| (case.seed, case.leech) == (seed, leech));
        let all = of_it.clone().count();
        let good: Vec<_> = of_it.filter_map(|(_, result)| result.as_ref().ok()).collect();
        let slowest = good.iter().map(|outcome| outcome.took.as_secs_f32()).fold(0.0, f32::max);
        let (seed, leech, good) = (seed.name(), leech.name(), good.len());
        let _ = writeln!(page, "| {seed} | {leech} | {good} of {all} | {slowest:.1} |");
    }
    page.push_str("\n## Every case\n\n| seed | leech | by | content | piece, KiB | stopped | result | s | |\n");
    page.push_str("| --- | --- | --- | --- | ---: | --- | --- | ---: | --- |\n");
    for (case, result) in rows {
        let _ = writeln!(page, "{}", line(case, result));
    }
    page
}

fn line(case: &Case, result: &Result<Outcome, String>) -> String {
    let by = match case.by {
        By::Magnet => "magnet, DHT",
        By::Torrent if case.leech.takes_peers() => "torrent, peer named",
        By::Torrent => "torrent, DHT",
    };
    let stopped = match case.stop {
        None => "",
        Some(Stop::Term) => "SIGTERM",
        Some(Stop::Kill) => "SIGKILL",
    };
    let (word, seconds, note) = match result {
        Ok(outcome) => ("passed", format!("{:.1}", outcome.took.as_secs_f32()), &outcome.note),
        Err(error) => ("FAILED", String::new(), error),
    };
    let note = note.lines().next().unwrap_or_default().replace('|', "/");
    let (seed, leech) = (case.seed.name(), case.leech.name());
    let (shape, kib) = (case.shape.text(), case.piece_len / 1024);
    format!(
        "| {seed} | {leech} | {by} | {shape} | {kib} | {stopped} | {word} | {seconds} | {note} |"
    )
}

const HEAD: &str = "\
# With other programs

Who fetches what from whom, as the test `the_whole_matrix` found (`tests/tests/interop_matrix.rs`, tier 2), which wrote this
page; what a case is stands in `tests/src/matrix/`. A seed and a leech, each on a host of a network of its own, meet by
a magnet link with nothing but the info-hash and a private DHT of 14 nodes, or by a torrent file and the seed's address (by
the DHT where the leech can be told of nobody). What came is compared with what was sent, byte for byte. A leech that is
stopped gets half of a file through a relay that counts, is ended and started again; it may not fetch what lay on its disk.
Seconds count from the start of the leech, program start included.

";
