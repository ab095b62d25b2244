//! Results on stdout, as text or as one JSON object a line; progress on stderr.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::Common;

/// Where a command writes.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    live: bool,
    drawn: bool,
}

impl Output {
    pub(crate) fn new(common: &Common) -> Output {
        let live = !common.json && !common.quiet && io::stderr().is_terminal();
        Output { json: common.json, quiet: common.quiet, live, drawn: false }
    }

    /// Whether results are wanted alone.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A result: `text` or `json`, as was asked for.
    pub(crate) fn result(&mut self, text: &str, json: Value) -> io::Result<()> {
        self.clear();
        let mut out = io::stdout().lock();
        if self.json { writeln!(out, "{json}") } else { writeln!(out, "{text}") }
    }

    /// What a command did, after its results: JSON on stdout, or text on stderr unless quiet.
    pub(crate) fn summary(&mut self, text: &str, json: Value) -> io::Result<()> {
        self.clear();
        if self.json {
            return writeln!(io::stdout().lock(), "{json}");
        }
        if !self.quiet {
            note(&format!("{text}\n"));
        }
        Ok(())
    }

    /// A line on a terminal that the next one replaces.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.live {
            note(&format!("\r\x1b[K{text}"));
            self.drawn = true;
        }
    }

    /// Removes the line of progress.
    pub(crate) fn clear(&mut self) {
        if self.drawn {
            note("\r\x1b[K");
            self.drawn = false;
        }
    }
}

/// Writes to stderr. That nobody reads there is no reason to end otherwise than told.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
