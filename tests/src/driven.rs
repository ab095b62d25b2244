//! Another program that is driven line by line: one JSON request on its standard input, one JSON
//! answer on its standard output, with `ok` and, where that is false, `error`.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::lan::Host;
use crate::process::Process;
use crate::wait::secs;

/// How long one answer may take, beyond what its request asks for.
const ANSWER_LIMIT: Duration = secs(30);

/// A program that answers requests.
pub struct Driven {
    process: Process,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Driven {
    /// Starts `command`, which `host` made, under `name`.
    pub fn start(name: &str, command: Command, host: &Host) -> Self {
        let mut process = Process::spawn_piped(name, command, &host.folder);
        let child = process.child();
        let (Some(requests), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("{name} has no pipes");
        };
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, requests, answers }
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it answers to `request`; panics if it refuses.
    pub fn ask(&mut self, request: Value) -> Value {
        let name = self.process.name();
        if let Err(error) = writeln!(self.requests, "{request}") {
            panic!("{name} does not take {request}: {error}");
        }
        let answer = match self.answers.recv_timeout(ANSWER_LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{name} does not answer {request}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{name} ended at {request}: {}", self.process.stderr())
            }
        };
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("{name} said {answer:?}: {error}"));
        assert!(answer["ok"] == true, "{name} refused {request}: {}", answer["error"]);
        answer
    }
}
