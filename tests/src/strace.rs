//! What a program asks of the system, counted or made to fail by strace(1).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{Place, Run, prefixed};
use crate::process::Process;
use crate::wait::{secs, wait_until};

/// The calls by which files are read.
const READS: &str = "trace=read,pread64,readv,preadv,preadv2,sendfile";

/// What was read from one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Bytes, again for each time that they were read.
    pub bytes: u64,
    /// First byte and length of each read that names its place.
    pub places: Vec<(u64, u64)>,
}

/// Runs `command` to its end; gives what it read from files whose path ends in `name`.
pub fn run_counting_reads(place: &Place, command: &Command, name: &str) -> (Run, Reads) {
    let scratch = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let out = scratch.path().join("calls");
    let out = out.to_string_lossy();
    // A file a thread, so that no call is split over two lines.
    let strace = ["strace", "-ff", "-qq", "-y", "-s", "0", "-e", READS, "-o", &out];
    let run = place.run_command(prefixed(strace, command));
    (run, reads(scratch.path(), name))
}

/// How often each call was made.
pub type Counts = BTreeMap<String, u64>;

/// Runs `command` to its end; gives the calls that all its threads made.
pub fn run_counting_calls(place: &Place, command: &Command) -> (Run, Counts) {
    let out = place.path("calls");
    let strace = COUNT.into_iter().map(PathBuf::from).chain([out.clone()]);
    let run = place.run_command(prefixed(strace, command));
    (run, counts(&out))
}

/// Counts the calls of a program that runs already.
pub struct Counter {
    strace: Process,
    out: PathBuf,
}

impl Counter {
    /// Counts from here on.
    pub fn start(place: &Place, process: &Process) -> Counter {
        let out = place.path("calls");
        let mut command = Command::new("strace");
        command.args(&COUNT[1..]).arg(&out).args(["-p", &process.id().to_string()]);
        let strace = Process::spawn("strace", command, &place.root());
        wait_until("strace to be there", secs(20), || strace.stderr().contains("attached"));
        Counter { strace, out }
    }

    /// Leaves the program alone and gives the calls that all its threads have made since.
    pub fn finish(mut self) -> Counts {
        self.strace.signal("INT");
        self.strace.wait(secs(20));
        counts(&self.out)
    }
}

/// What counts the calls of all threads, into the file that comes next.
const COUNT: [&str; 6] = ["strace", "-f", "-c", "-U", "name,calls", "-o"];

/// Reads the table of `strace -c -U name,calls`.
fn counts(path: &Path) -> Counts {
    let table = fs::read_to_string(path).unwrap_or_else(|e| panic!("read {path:?}: {e}"));
    let rows = table.lines().filter_map(|line| {
        let (name, calls) = line.trim().split_once(char::is_whitespace)?;
        Some((name.to_owned(), calls.trim().parse().ok()?))
    });
    let counts: Counts = rows.filter(|(name, _)| name != "total").collect();
    assert!(!counts.is_empty(), "strace has counted nothing:\n{table}");
    counts
}

/// `command` with faults: `what` as strace's `inject=` has it.
pub fn with_fault(command: &Command, what: &str) -> Command {
    let inject = format!("inject={what}");
    prefixed(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject], command)
}

/// The same, for the file `path` alone.
pub fn with_fault_at(command: &Command, what: &str, path: &Path) -> Command {
    let (inject, path) = (format!("inject={what}"), path.to_string_lossy());
    prefixed(["strace", "-f", "-qq", "-o", "/dev/null", "-P", &path, "-e", &inject], command)
}

fn reads(folder: &Path, name: &str) -> Reads {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("read {folder:?}: {e}"));
    let files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    assert!(!files.is_empty(), "strace wrote nothing");
    let mark = format!("{name}>, ");
    let mut all = Reads::default();
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {path:?}: {e}"));
        for line in text.lines().filter(|line| line.contains(&mark)) {
            let (read, at) = result(line);
            all.bytes += read;
            all.places.extend(at.map(|at| (at, read)));
        }
    }
    all
}

/// Bytes and, of `pread` and its like, the first: `pread64(3</a>, ""..., 5, 10) = 5`.
fn result(line: &str) -> (u64, Option<u64>) {
    let (call, result) = line.rsplit_once(" = ").unwrap_or_default();
    let first = result.split_whitespace().next().unwrap_or_default();
    let at = call.trim_end().strip_suffix(')').and_then(|call| call.rsplit_once(", "));
    let at = at.filter(|_| line.starts_with("pread")).and_then(|(_, at)| at.parse().ok());
    // What failed has read nothing.
    (first.parse().unwrap_or(0), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_counted() {
        let place = Place::new(1);
        fs::write(place.path("a"), vec![1; 300_000]).unwrap();
        fs::write(place.path("b"), vec![1; 100_000]).unwrap();
        let mut command = Command::new("sha256sum");
        command.args(["a", "b"]).current_dir(place.root());
        let (run, read) = run_counting_reads(&place, &command, "/a");
        assert_eq!((run.stdout.lines().count(), read.bytes), (2, 300_000));
    }

    #[test]
    fn a_line_has_bytes_and_place() {
        assert_eq!(result("pread64(3</a>, \"\"..., 5, 10) = 5"), (5, Some(10)));
        assert_eq!(result("read(3</a>, \"\"..., 5)    = 4"), (4, None));
        assert_eq!(result("read(3</a>, 0x1, 5) = -1 EAGAIN (words)"), (0, None));
    }

    #[test]
    fn calls_are_counted_from_the_start_or_from_when_it_is_wanted() {
        let place = Place::new(1);
        let script = "import os\nfor _ in range(1000): os.getpgid(0)\nprint('done', flush=True)";
        let mut command = Command::new("python3");
        command.args(["-c", script]).current_dir(place.root());
        let (run, counts) = run_counting_calls(&place, &command);
        assert_eq!((run.stdout.as_str(), counts["getpgid"]), ("done\n", 1000));

        let mut command = Command::new("python3");
        let waits = format!(
            "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n{script}\ntime.sleep(60)"
        );
        command.args(["-c", &waits]).current_dir(place.root());
        let mut program = place.start_command(command);
        let counter = Counter::start(&place, program.process());
        fs::write(place.path("go"), "").unwrap();
        program.wait_words("done");
        assert_eq!(counter.finish()["getpgid"], 1000);
        program.process().assert_running();
    }

    #[test]
    fn a_fault_is_seen() {
        let place = Place::new(1);
        let mut command = Command::new("cat");
        command.arg("/dev/null");
        let run = place.run_command(with_fault(&command, "read:error=EIO"));
        assert!(!run.status.success(), "{run}");
    }
}
