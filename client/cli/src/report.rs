//! What the user sees while it happens: a progress line, or events as JSON.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use client::TorrentStats;
use client::driver::SearchProgress;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use wire::InfoHash;

use crate::exit::Failure;
use crate::text;

/// Where events go.
pub struct Report {
    json: bool,
    quiet: bool,
    /// Progress is no event.
    answers_only: bool,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

/// How often a progress line is drawn anew on a terminal, and looked at where there is none.
const REDRAW_EVERY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Time between two progress lines where there is no terminal to redraw.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The least time between two that are events.
const JSON_EVERY: Duration = Duration::from_millis(900);

impl Report {
    /// A report that prints JSON on standard output, or a progress line on standard error.
    pub fn new(json: bool, quiet: bool) -> Report {
        let draws = !json && !quiet && std::io::stderr().is_terminal();
        let bar = draws.then(|| {
            let bar = ProgressBar::new(0);
            bar.set_style(spinner());
            bar
        });
        let started = Instant::now();
        Report { json, quiet, answers_only: false, started, bar, last_line: started }
    }

    /// The same, whose JSON is the answer alone.
    pub fn answers_only(mut self) -> Report {
        self.answers_only = true;
        self
    }

    /// Whether a progress bar is of use to anybody.
    pub fn draws(&self) -> bool {
        self.bar.is_some()
    }

    /// How often [`Report::progress`] is to be called.
    pub fn redraw_every(&self) -> Duration {
        let [drawn, written] = REDRAW_EVERY;
        if self.draws() { drawn } else { written }
    }

    /// An event. `fields` is an object; the event's name and the time go with it.
    pub fn event(&self, name: &str, fields: Value) {
        if !self.json {
            return;
        }
        let mut line = json!({
            "event": name,
            "ms": self.started.elapsed().as_secs_f64() * 1000.0,
        });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        print_line(&line.to_string());
    }

    /// A line of the program's answer, on standard output. Not in JSON.
    pub fn answer(&self, line: &str) {
        if !self.json {
            self.suspend(|| print_line(line));
        }
    }

    /// A remark for people, on standard error. Neither in JSON nor in quiet.
    pub fn note(&self, line: &str) {
        if !self.json && !self.quiet {
            self.suspend(|| print_error_line(line));
        }
    }

    /// One of several torrents failed.
    pub fn failure(&self, info_hash: &InfoHash, failure: &Failure) {
        let hash = info_hash.to_string();
        self.suspend(|| print_error_line(&format!("trackerless: {hash}: {failure}")));
        let mut fields = failure_fields(failure);
        fields["info_hash"] = json!(hash);
        self.event("failed", fields);
    }

    /// Takes the progress line away; the end is an event if it is a failure that no other event
    /// tells of.
    pub fn close<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.clear();
        match &result {
            Ok(_) | Err(Failure::Signal(..) | Failure::Several { .. }) => {}
            Err(failure) => self.event("failed", failure_fields(failure)),
        }
        result
    }

    /// Redraws the progress line.
    pub fn progress(&mut self, stats: &[TorrentStats], search: &SearchProgress) {
        if self.json {
            return self.json_progress(stats, search);
        }
        let (have, total) = stats
            .iter()
            .fold((0, 0), |(h, t), s| (h + s.wanted_bytes - s.left_bytes, t + s.wanted_bytes));
        let words = words(stats, search);
        if let Some(bar) = &self.bar {
            bar.set_style(if total > 0 { bytes_bar() } else { spinner() });
            bar.set_length(total);
            bar.set_position(have);
            bar.set_message(words);
            bar.tick();
        } else if !self.quiet && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let percent = (100 * have).checked_div(total).unwrap_or(0);
            print_error_line(&format!("{percent:3} %  {words}"));
        }
    }

    /// Redraws the progress of hashing, in bytes.
    pub fn hashing(&mut self, done: u64, total: u64) {
        if self.json {
            if self.last_line.elapsed() >= Duration::from_secs(1) {
                self.last_line = Instant::now();
                self.event("hashing", json!({ "done": done, "total": total }));
            }
        } else if let Some(bar) = &self.bar {
            bar.set_style(bytes_bar());
            bar.set_length(total);
            bar.set_position(done);
            bar.tick();
        } else if !self.quiet && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let percent = (100 * done).checked_div(total).unwrap_or(0);
            print_error_line(&format!("{percent:3} %  of {} hashed", text::bytes(total)));
        }
    }

    fn json_progress(&mut self, stats: &[TorrentStats], search: &SearchProgress) {
        if self.answers_only || self.last_line.elapsed() < JSON_EVERY {
            return;
        }
        self.last_line = Instant::now();
        for s in stats {
            self.event("progress", progress_fields(s, search));
        }
    }

    /// Takes the progress line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn suspend(&self, f: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(f),
            None => f(),
        }
    }
}

/// A torrent's figures as JSON.
pub fn progress_fields(s: &TorrentStats, search: &SearchProgress) -> Value {
    json!({
        "info_hash": s.info_hash.to_string(),
        "state": state(s),
        "have": s.have_bytes,
        "total": s.total_len,
        "wanted": s.wanted_bytes,
        "left": s.left_bytes,
        "down_rate": s.down_rate,
        "up_rate": s.up_rate,
        "downloaded": s.downloaded,
        "uploaded": s.uploaded,
        "wasted": s.wasted,
        "peers": s.peers,
        "seeds": s.seeds,
        "copies": s.copies,
        "dht": {
            "nodes": search.nodes,
            "asked": search.asked,
            "answered": search.answered,
            "peers_found": search.found,
        },
    })
}

fn state(s: &TorrentStats) -> &'static str {
    match s {
        s if s.complete => "seeding",
        s if s.started => "downloading",
        s if s.total_len > 0 => "checking",
        _ => "metadata",
    }
}

/// What is going on, or waited for, in words.
fn words(stats: &[TorrentStats], search: &SearchProgress) -> String {
    let sum = |f: fn(&TorrentStats) -> u64| stats.iter().map(f).sum::<u64>();
    let (down, up) = (sum(|s| s.down_rate), sum(|s| s.up_rate));
    let peers: usize = stats.iter().map(|s| s.peers).sum();
    let Some(s) = stats.iter().find(|s| !s.complete) else {
        return format!(
            "{}, up {}/s, {} sent in all",
            text::count(peers, "peer"),
            text::bytes(up),
            text::bytes(sum(|s| s.uploaded)),
        );
    };
    if s.total_len > 0 && !s.started {
        return format!("checking files: {} of {} pieces", s.checked.0, s.checked.1);
    }
    if s.peers == 0 {
        return waiting_words(s, search);
    }
    if s.total_len == 0 {
        let (here, all) = s.metadata;
        return match s.metadata_peers {
            0 => format!("{} connected, none has the metadata yet", text::count(peers, "peer")),
            n => format!("fetching metadata from {}: {here} of {all}", text::count(n, "peer")),
        };
    }
    let left = sum(|s| s.left_bytes);
    let time = match left.checked_div(down) {
        Some(secs) => text::span(Duration::from_secs(secs)) + " left",
        None if s.unchoked_us == 0 => "waiting for a peer to unchoke us".into(),
        None => "waiting for blocks".into(),
    };
    format!(
        "down {}/s, up {}/s, {} ({} copies), {time}",
        text::bytes(down),
        text::bytes(up),
        text::count(peers, "peer"),
        (s.copies * 100.0).floor() / 100.0,
    )
}

fn waiting_words(s: &TorrentStats, search: &SearchProgress) -> String {
    if s.dials > 0 {
        return format!("connecting to {}", text::count(s.dials, "peer"));
    }
    if !search.enabled {
        return match s.candidates {
            0 => "no peer is known, and the DHT is off: name one with --peer".into(),
            _ => "no peer answers, and the DHT is off: name others with --peer".into(),
        };
    }
    if search.answered == 0 && search.nodes == 0 {
        return "entering the DHT: no node has answered yet".into();
    }
    format!(
        "asking the DHT: {} asked, {} answered, {} found",
        text::count(search.asked, "node"),
        search.answered,
        text::count(search.found, "peer"),
    )
}

/// Prints a line on standard output. A reader that is gone ends nothing.
pub fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Prints a line on standard error. A reader that is gone ends nothing.
pub fn print_error_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn failure_fields(failure: &Failure) -> Value {
    json!({ "code": failure.code(), "message": failure.to_string() })
}

fn spinner() -> ProgressStyle {
    style("{spinner} {msg}")
}

fn bytes_bar() -> ProgressStyle {
    style("{percent:>3} % [{bar:20}] {binary_bytes} of {binary_total_bytes}  {wide_msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// What a torrent waits for, in words.
pub fn waits_for(stats: &TorrentStats, search: &SearchProgress) -> String {
    words(std::slice::from_ref(stats), search)
}
