//! What the user sees.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sim::Summary;

/// Prints a line. A reader that is gone ends nothing.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub(crate) use say;

/// The text of a file that a scenario names.
pub fn read_file(name: &str) -> Result<String, String> {
    std::fs::read_to_string(name).map_err(|error| error.to_string())
}

/// Rows of numbers under one head.
pub struct Table {
    title: String,
    rows: Vec<(String, Summary)>,
}

impl Table {
    pub fn new(title: &str) -> Table {
        Table { title: title.to_owned(), rows: Vec::new() }
    }

    pub fn row(&mut self, name: &str, summary: &Summary) {
        self.rows.push((name.to_owned(), *summary));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let width = width.max(self.title.len());
        write!(f, "{:width$}", self.title)?;
        for head in ["mean", "min", "p50", "p90", "p99", "max"] {
            write!(f, "{head:>9}")?;
        }
        for (name, s) in &self.rows {
            write!(f, "\n{name:width$}")?;
            for value in [s.mean, s.min, s.p50, s.p90, s.p99, s.max] {
                write!(f, "{value:>9.2}")?;
            }
        }
        Ok(())
    }
}

/// A summary as JSON.
pub fn summary(s: &Summary) -> Value {
    json!({
        "count": s.count, "mean": s.mean, "min": s.min, "p50": s.p50, "p90": s.p90,
        "p99": s.p99, "max": s.max,
    })
}

/// The most memory that this process had, in bytes (`VmHWM` of proc(5)); `None` where the system
/// does not tell.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The processor time that this process has taken, in seconds (`utime` and `stime` of proc_pid_stat(5), in
/// hundredths on every Linux); `None` where the system does not tell.
pub fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok());
    Some(ticks.sum::<Option<u64>>()? as f64 / 100.0)
}

/// Time between two redraws.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// A line on a terminal that tells how far the run is.
pub struct Progress {
    draws: bool,
    started: Instant,
    drawn: Instant,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        let now = Instant::now();
        Progress { draws: !quiet && std::io::stderr().is_terminal(), started: now, drawn: now }
    }

    pub fn show(&mut self, share: f64) {
        if !self.draws || self.drawn.elapsed() < REDRAW_EVERY {
            return;
        }
        self.drawn = Instant::now();
        let spent = self.started.elapsed().as_secs_f64();
        let left = if share > 0.0 { spent / share - spent } else { f64::NAN };
        eprint!("\r{:3.0} %, about {left:.0} s left\x1b[K", share * 100.0);
        let _ = std::io::stderr().flush();
    }

    pub fn clear(&self) {
        if self.draws {
            eprint!("\r\x1b[K");
        }
    }
}
