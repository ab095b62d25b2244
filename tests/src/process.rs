//! A program that runs beside the test: its output is kept in files, and it dies with its value.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait::wait_for;

/// How much of a log a failing test shows, in lines.
const LOG_LINES_SHOWN: usize = 60;

/// A running program. Dropping it kills it; if the test is failing, the ends of its logs are
/// shown.
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`, with standard output and error in `NAME.stdout` and `NAME.stderr` of
    /// the folder `logs`, and nothing on standard input.
    pub fn spawn(name: &str, mut command: Command, logs: &Path) -> Self {
        command.stdin(Stdio::null());
        let stdout = logs.join(format!("{name}.stdout"));
        command.stdout(create(&stdout));
        Self::start(name, command, stdout, logs)
    }

    /// Starts `command` with standard input and output as pipes, for programs that are driven
    /// line by line; only standard error goes to a file.
    pub fn spawn_piped(name: &str, mut command: Command, logs: &Path) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::start(name, command, logs.join(format!("{name}.stdout")), logs)
    }

    fn start(name: &str, mut command: Command, stdout: PathBuf, logs: &Path) -> Self {
        let stderr = logs.join(format!("{name}.stderr"));
        command.stderr(create(&stderr));
        let child =
            command.spawn().unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// The name it was started under, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = read_lossy(Path::new(&format!("/proc/{}/status", self.id())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{} has no peak of memory: {status}", self.name))
    }

    /// The child itself, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it has written to standard output so far (empty where that is a pipe).
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        match self.child.try_wait() {
            Ok(status) => status,
            Err(error) => panic!("wait for {}: {error}", self.name),
        }
    }

    /// Panics if it is no longer running.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended early: {status}", self.name);
        }
    }

    /// Waits for its end, at most `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || self.ended().ok_or_else(|| "running".to_owned()))
    }

    /// Waits at most `limit` for its end and panics unless that is a success.
    pub fn wait_success(&mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(status.success(), "{} failed: {status}", self.name);
    }

    /// Waits until a line of standard output satisfies `pick`; gives what `pick` made of it.
    /// Panics after `limit`, or as soon as the program ends without such a line.
    pub fn wait_line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> T {
        let title = format!("{what} from {}", self.name);
        wait_for(&title, limit, || {
            let ended = self.ended();
            let output = self.stdout();
            if let Some(value) = output.lines().find_map(&pick) {
                return Ok(value);
            }
            if let Some(status) = ended {
                panic!("{} ended ({status}) without {what}", self.name);
            }
            Err(format!("last line {:?}", output.lines().last().unwrap_or("(none)")))
        })
    }

    /// Sends a signal by its name, such as "INT" or "STOP".
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.id().to_string())
            .status()
            .unwrap_or_else(|error| panic!("run kill: {error}"));
        assert!(status.success(), "kill -{signal} {}: {status}", self.name);
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let status = self.ended();
        self.kill();
        if std::thread::panicking() {
            let end = status.map_or("was running".to_owned(), |status| format!("ended: {status}"));
            eprintln!("---- {} {end}", self.name);
            for (what, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                if !text.is_empty() {
                    eprintln!("---- {} {what}\n{}", self.name, tail(&text, LOG_LINES_SHOWN));
                }
            }
        }
    }
}

/// Runs `command` to its end and gives its standard output; panics if it fails.
pub fn output_of(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn create(path: &Path) -> File {
    File::create(path).unwrap_or_else(|error| panic!("create {path:?}: {error}"))
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last `lines` lines of `text`.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::secs;

    #[test]
    fn output_is_kept_and_the_end_is_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut process = Process::spawn("shell", command, scratch.path());
        assert_eq!(process.wait(secs(10)).code(), Some(3));
        assert_eq!((process.stdout().as_str(), process.stderr().as_str()), ("one\n", "two\n"));
    }

    #[test]
    fn a_process_dies_with_its_value() {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = Process::spawn("sleep", command, scratch.path());
        let entry = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(entry.exists());
        drop(process);
        assert!(!entry.exists());
    }

    #[test]
    #[should_panic(expected = "shell ended (exit status: 0) without a magnet link")]
    fn waiting_for_a_line_ends_with_the_program() {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo nothing"]);
        let mut process = Process::spawn("shell", command, scratch.path());
        process
            .wait_line("a magnet link", secs(10), |line| line.starts_with("magnet:").then_some(()));
    }

    #[test]
    fn a_peak_of_memory_remains() {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", "print(len(bytearray(40 << 20)), flush=True); input()"]);
        let mut process = Process::spawn_piped("python3", command, scratch.path());
        let used = || process.peak_memory_kib();
        wait_for("a peak of memory", secs(10), || match used() {
            40_960.. => Ok(()),
            used => Err(format!("{used} KiB")),
        });
        process.kill();
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
