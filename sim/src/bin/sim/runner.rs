//! Makes the runs of a plan, several at a time where they are small.

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sim::Capture;
use sim::results::{Outcome, RunCounters};
use sim::scenario::{Job, Plan, Setup};

/// Hosts of a world that is large: what a thread gains is then more than what meeting another costs, and
/// several at once would take too much memory.
const LARGE_HOSTS: u32 = 20_000;
/// Time between two looks at how far all are, and on what is no terminal between two lines about it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TELL_EVERY: Duration = Duration::from_secs(30);
/// The whole of a run, as its thread tells how far it is.
const WHOLE: f64 = 1e6;

/// How many runs are made at a time, and how many threads each has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads {
    pub runs: usize,
    pub each: u32,
}

impl Threads {
    /// How so many threads are spread over so many runs; `workers` is what the user said.
    pub fn spread(jobs: &[Job<'_>], workers: Option<u32>, cores: u32) -> Threads {
        let is_large = jobs.iter().any(|job| job.scenario.hosts() > LARGE_HOSTS);
        let threads = workers.unwrap_or(cores).max(1);
        match () {
            () if is_large => Threads { runs: 1, each: threads },
            // One thread a world takes the least, unless there is only one world.
            () if jobs.len() == 1 => Threads { runs: 1, each: workers.unwrap_or(1) },
            () => Threads { runs: (threads as usize).min(jobs.len()), each: 1 },
        }
    }
}

/// What the threads share.
struct Work {
    plan: Arc<Plan>,
    next: AtomicUsize,
    /// How far each run is.
    shares: Vec<AtomicU32>,
    capture: Mutex<Option<Capture>>,
}

/// Makes all runs and gives their outcomes in the order of the plan, or those that are there once
/// `interrupted` is set: what is under way then goes on until the process ends. `done` is told of what is
/// there after each. A capture is of the first run that begins.
pub fn make(
    plan: &Arc<Plan>,
    threads: Threads,
    quiet: bool,
    capture: Option<Capture>,
    interrupted: &AtomicBool,
    mut done: impl FnMut(&[Option<Outcome>]),
) -> Vec<Option<Outcome>> {
    let jobs = plan.jobs().len();
    let work = Arc::new(Work {
        plan: plan.clone(),
        next: AtomicUsize::new(0),
        shares: (0..jobs).map(|_| AtomicU32::new(0)).collect(),
        capture: Mutex::new(capture),
    });
    let mut outcomes: Vec<Option<Outcome>> = vec![None; jobs];
    let mut progress = Progress::new(quiet, jobs);
    let (tell, told) = mpsc::channel();
    for _ in 0..threads.runs {
        let (tell, work) = (tell.clone(), work.clone());
        thread::spawn(move || work.make(threads.each, &tell));
    }
    drop(tell);
    while !interrupted.load(Ordering::Relaxed) {
        match told.recv_timeout(LOOK_EVERY) {
            Ok((at, outcome)) => {
                outcomes[at] = Some(outcome);
                work.shares[at].store(WHOLE as u32, Ordering::Relaxed);
                done(&outcomes);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let share = |share: &AtomicU32| f64::from(share.load(Ordering::Relaxed)) / WHOLE;
        progress.show(outcomes.iter().flatten().count(), work.shares.iter().map(share).sum());
    }
    progress.clear();
    outcomes
}

impl Work {
    /// Makes one run after the other, until none is left or nobody listens.
    fn make(&self, workers: u32, tell: &mpsc::Sender<(usize, Outcome)>) {
        let jobs = self.plan.jobs();
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some(job), Some(share)) = (jobs.get(at), self.shares.get(at)) else { return };
            let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner).take();
            if tell.send((at, make_one(job, workers, share, capture))).is_err() {
                return;
            }
        }
    }
}

/// A run that breaks, as by an assertion of the simulator, has not held what it promises; the others go on.
fn make_one(job: &Job<'_>, workers: u32, share: &AtomicU32, capture: Option<Capture>) -> Outcome {
    let tell = |done: f64| {
        share.store((done.clamp(0.0, 0.999) * WHOLE) as u32, Ordering::Relaxed);
    };
    let setup = Setup { capture, ..Setup::default() };
    let run = || job.scenario.run_with(job.seed, workers, setup, tell);
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome {
            figures: Vec::new(),
            distributions: Vec::new(),
            series: Vec::new(),
            trace_hash: String::new(),
            verdict: Err(format!("the run broke: {}", text.unwrap_or_default())),
            counters: RunCounters::default(),
        }
    })
}

/// What is told on stderr of how far all are.
struct Progress {
    quiet: bool,
    is_terminal: bool,
    jobs: usize,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(quiet: bool, jobs: usize) -> Progress {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        Progress { quiet, is_terminal, jobs, started: now, told: now }
    }

    fn show(&mut self, done: usize, whole: f64) {
        let every = if self.is_terminal { LOOK_EVERY } else { TELL_EVERY };
        if self.quiet || self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let line = line(self.jobs, done, whole, self.started.elapsed().as_secs_f64());
        let mut stderr = std::io::stderr();
        let _ = match self.is_terminal {
            true => write!(stderr, "\r{line}\x1b[K"),
            false => writeln!(stderr, "{line}"),
        };
        let _ = stderr.flush();
    }

    fn clear(&self) {
        if self.is_terminal && !self.quiet {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// "12 of 90 runs, 3.1 a second, about 25 s left".
fn line(jobs: usize, done: usize, whole: f64, spent_s: f64) -> String {
    let share = whole / jobs.max(1) as f64;
    let mut line = match jobs {
        1 => format!("{:3.0} %", share * 100.0),
        _ => format!("{done} of {jobs} runs"),
    };
    if jobs > 1 && done > 0 && spent_s > 0.0 {
        let rate = done as f64 / spent_s;
        line += &match rate {
            rate if rate >= 1.0 => format!(", {rate:.1} a second"),
            rate => format!(", {:.1} a minute", rate * 60.0),
        };
    }
    if share > 0.001 {
        let left = spent_s / share - spent_s;
        line += &match left {
            left if left < 120.0 => format!(", about {left:.0} s left"),
            left if left < 7_200.0 => format!(", about {:.0} min left", left / 60.0),
            left => format!(", about {:.1} h left", left / 3_600.0),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_what_is_known() {
        assert_eq!(line(90, 0, 0.0, 3.0), "0 of 90 runs");
        assert_eq!(line(90, 12, 13.5, 6.0), "12 of 90 runs, 2.0 a second, about 34 s left");
        assert_eq!(line(90, 1, 1.5, 600.0), "1 of 90 runs, 0.1 a minute, about 9.8 h left");
        assert_eq!(line(1, 0, 0.25, 600.0), " 25 %, about 30 min left");
    }
}
