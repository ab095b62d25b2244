//! What the user sees while it happens: a progress line, or events as JSON.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};
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
    /// Nothing else comes of it but the answer: if that is lost, all is.
    must_answer: bool,
    /// What went wrong with standard output first.
    lost: RefCell<Option<io::Error>>,
    /// The torrent that all of this is about, if it is one alone.
    about: Cell<Option<InfoHash>>,
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
        let draws = !json && !quiet && io::stderr().is_terminal();
        let bar = draws.then(|| {
            let bar = ProgressBar::new(0);
            bar.set_style(spinner());
            bar
        });
        let started = Instant::now();
        Report {
            json,
            quiet,
            answers_only: false,
            must_answer: false,
            lost: RefCell::default(),
            about: Cell::default(),
            started,
            bar,
            last_line: started,
        }
    }

    /// The same, whose JSON is the answer alone.
    pub fn answers_only(mut self) -> Report {
        self.answers_only = true;
        self
    }

    /// Nothing else comes of it but the answer: if that is lost, it is a failure.
    pub fn must_answer(&mut self) {
        self.must_answer = true;
    }

    /// All of it is about one torrent.
    pub fn is_about(&self, info_hash: InfoHash) {
        self.about.set(Some(info_hash));
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
            "ms": (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        self.print(&line.to_string());
    }

    /// A reader that has gone has what it wanted; any other error is kept.
    fn print(&self, line: &str) {
        if let Err(error) = print_line(line)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.lost.borrow_mut().get_or_insert(error);
        }
    }

    /// A line of the program's answer, on standard output. Not in JSON.
    pub fn answer(&self, line: &str) {
        if !self.json {
            self.suspend(|| self.print(line));
        }
    }

    /// A remark for people, on standard error. Neither in JSON nor in quiet.
    pub fn note(&self, line: &str) {
        if !self.json && !self.quiet {
            self.suspend(|| print_error_line(line));
        }
    }

    /// A warning: what may come to nothing. Also in JSON, on standard error.
    pub fn warn(&self, line: &str) {
        if !self.quiet {
            self.suspend(|| print_error_line(&format!("warning: {line}")));
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
            Err(failure) => {
                let mut fields = failure_fields(failure);
                if let Some(info_hash) = self.about.get() {
                    fields["info_hash"] = json!(info_hash.to_string());
                }
                self.event("failed", fields);
            }
        }
        match self.lost.take() {
            Some(error) if self.must_answer && result.is_ok() => Err(output_lost(&error)),
            _ => result,
        }
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
            let percent =
                (100 * have).checked_div(total).unwrap_or(if stats.is_empty() { 100 } else { 0 });
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
    let up = if up > 0 { format!(", up {}/s", text::bytes(up)) } else { String::new() };
    // What matters less stands last: a terminal may cut it off.
    format!(
        "down {}/s, {time}, {} ({} copies){up}",
        text::bytes(down),
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

/// Prints a line on standard output.
pub fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush())
}

/// What was to be told is not.
pub fn output_lost(error: &io::Error) -> Failure {
    Failure::Disk(format!("standard output: {error}"))
}

/// Prints a line on standard error. A reader that is gone ends nothing.
pub fn print_error_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn failure_fields(failure: &Failure) -> Value {
    json!({ "code": failure.code(), "message": failure.to_string() })
}

fn spinner() -> ProgressStyle {
    style("{spinner} {msg}")
}

/// 29 columns at most, and the words.
pub fn bytes_bar() -> ProgressStyle {
    style("{percent:>3} % [{bar:8}] {binary_total_bytes}  {wide_msg}")
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

#[cfg(test)]
mod tests {
    use super::*;

    use client::driver::disk::Slot;
    use client::{Config, Identity, Session};
    use wire::Id;
    use wire::time::Time;

    /// A download of which half is there.
    fn stats() -> TorrentStats {
        let us = Identity { peer_id: [0; 20], listen_port: None, dht_port: None };
        let mut session = Session::<Slot>::new(Config::default(), us, [0; 32]);
        let key = session.add_torrent(Time::ZERO, Id([1; 20])).unwrap();
        let stats = session.stats(Time::ZERO, key).unwrap();
        TorrentStats {
            total_len: 64 << 20,
            left_bytes: 32 << 20,
            down_rate: 160_000,
            peers: 12,
            copies: 3.256,
            started: true,
            ..stats
        }
    }

    #[test]
    fn what_matters_fits_into_eighty_columns() {
        /// `100 % [========] 1023.99 MiB  `
        const BAR: usize = 29;
        let search = SearchProgress::default();
        let leech = words(&[stats()], &search);
        assert_eq!(leech, "down 156.2 KiB/s, 3 min 29 s left, 12 peers (3.25 copies)");
        let both = words(&[TorrentStats { up_rate: 900_000, ..stats() }], &search);
        assert_eq!(both, leech + ", up 878.9 KiB/s");
        let (seen, _) = both.split_once(" (").unwrap();
        assert!(BAR + seen.len() <= 80, "{seen}");
    }
}
