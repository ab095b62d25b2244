//! The program `trackerless` as its user has it: command lines, exit codes and what is printed.
//!
//! Everything runs on loopback addresses of the test's own and in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::json_page;
use crate::ports::free_address;
use crate::process::{Process, output_of};
use crate::programs::our_binary;
use crate::wait::{secs, wait_for};

/// How long a command may take that is to end by itself.
const RUN_LIMIT: Duration = secs(60);

/// How long it may take until a program says what is awaited.
const EVENT_LIMIT: Duration = secs(30);

/// What one test works with: a folder, and addresses of its own.
pub struct Place {
    scratch: TempDir,
    net: u8,
    started: AtomicU32,
}

impl Place {
    /// A place with the addresses 127.40.`net`.*, which no other test is to have.
    pub fn new(net: u8) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("trackerless-")
            .tempdir()
            .unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        for folder in ["files", "logs"] {
            make_folder(&scratch.path().join(folder));
        }
        Self { scratch, net, started: AtomicU32::new(0) }
    }

    /// The folder that programs run in.
    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("files")
    }

    /// A path in that folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A folder in that folder, made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        make_folder(&path);
        path
    }

    /// An address of this place.
    pub fn ip(&self, host: u8) -> IpAddr {
        Ipv4Addr::new(127, 40, self.net, host).into()
    }

    /// Any free port there, as the command line has it.
    pub fn any_port(&self, host: u8) -> String {
        SocketAddr::new(self.ip(host), 0).to_string()
    }

    /// `trackerless` with these arguments, in this place's folder.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.command_of("trackerless", arguments)
    }

    /// A program of ours with these arguments, in this place's folder.
    pub fn command_of<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(our_binary(program));
        command.args(arguments).current_dir(self.root());
        // What the test itself was told is not the program's to heed.
        command.env_remove("TRACKERLESS_LOG").env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs `trackerless` with these arguments to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        self.run_command(self.command(arguments))
    }

    /// Runs a command to its end.
    pub fn run_command(&self, command: Command) -> Run {
        self.start_command(command).finish()
    }

    /// Starts `trackerless` with these arguments.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Program {
        self.start_command(self.command(arguments))
    }

    /// Starts a command.
    pub fn start_command(&self, command: Command) -> Program {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = command.get_args().next().map(|arg| arg.to_string_lossy().into_owned());
        let name = name.filter(|name| !name.contains('/')).unwrap_or_default();
        let logs = self.scratch.path().join("logs");
        let is_documented = std::iter::once(command.get_program())
            .chain(command.get_args())
            .any(|word| Path::new(word).ends_with("trackerless"));
        let process = Process::spawn(&format!("{number}-{name}"), command, &logs);
        Program { process, is_documented }
    }

    /// Serves `path` on this address without a DHT.
    pub fn seed(&self, host: u8, path: &Path) -> Seed {
        self.seed_with(host, path, ["--no-dht"])
    }

    /// Serves `path` on this address; `more` stands at the end of the command line.
    pub fn seed_with<S: AsRef<OsStr>>(
        &self,
        host: u8,
        path: &Path,
        more: impl IntoIterator<Item = S>,
    ) -> Seed {
        let mut command = self.command(["seed", "--json", "--bind", &self.any_port(host)]);
        command.arg(path).args(more);
        let mut program = self.start_command(command);
        let serving = program.wait_event("serving");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let address = text(&serving["listen"][0]);
        let address = address.parse().unwrap_or_else(|error| panic!("{address:?}: {error}"));
        Seed { program, address, magnet: text(&serving["magnet"]) }
    }

    /// Writes a torrent file of `path` beside it and gives its path; `more` stands at the end of
    /// the command line.
    pub fn create(&self, path: &Path, more: &[&str]) -> PathBuf {
        let mut torrent = path.as_os_str().to_owned();
        torrent.push(".torrent");
        let mut command = self.command(["create"]);
        command.arg(path).arg("-o").arg(&torrent).args(more);
        self.run_command(command).assert_code(0);
        torrent.into()
    }
}

/// A `trackerless seed` that serves.
pub struct Seed {
    /// The process, to be looked at or ended.
    pub program: Program,
    /// Where it takes peers.
    pub address: SocketAddr,
    /// The link it printed.
    pub magnet: String,
}

impl Seed {
    /// The info-hash in its link.
    pub fn info_hash(&self) -> &str {
        info_hash(&self.magnet)
    }
}

/// The info-hash in a magnet link of ours.
pub fn info_hash(magnet: &str) -> &str {
    let hash = magnet.split("urn:btih:").nth(1).and_then(|rest| rest.get(..40));
    hash.unwrap_or_else(|| panic!("{magnet:?} names no info-hash"))
}

/// A program that runs.
pub struct Program {
    process: Process,
    /// It is one whose events docs/json.md tells of.
    is_documented: bool,
}

impl Program {
    /// The process, to be signalled.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has said so far as JSON, line by line; the last may be half written and is left
    /// out then.
    pub fn events(&self) -> Vec<Value> {
        let said = self.process.stdout();
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event.
    pub fn wait_event(&mut self, name: &str) -> Value {
        self.process.wait_line(&format!("the event {name:?}"), EVENT_LIMIT, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == name).then_some(event)
        })
    }

    /// Waits for a line of standard output that contains `words`.
    pub fn wait_words(&mut self, words: &str) -> String {
        self.process.wait_line(&format!("the words {words:?}"), EVENT_LIMIT, |line| {
            line.contains(words).then(|| line.to_owned())
        })
    }

    /// Waits until standard error contains `words`.
    pub fn wait_error(&self, words: &str) {
        wait_for(&format!("the words {words:?} on standard error"), EVENT_LIMIT, || {
            let said = self.process.stderr();
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    }

    /// The process that this one (strace) has started.
    fn child(&self) -> String {
        let id = self.process.id();
        let path = format!("/proc/{id}/task/{id}/children");
        let children = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {path}: {e}"));
        let child = children.split_whitespace().next();
        child.unwrap_or_else(|| panic!("{} has no child", self.process.name())).to_owned()
    }

    /// Sends a signal to the program that this one (strace) has started.
    pub fn signal_child(&self, signal: &str) {
        let mut kill = Command::new("kill");
        kill.args([&format!("-{signal}"), &self.child()]);
        output_of(kill);
    }

    /// Waits until the program that this one (strace) has started has ended, though nobody has
    /// taken note of it yet; gives its exit code.
    pub fn wait_child_code(&self) -> i32 {
        let path = format!("/proc/{}/stat", self.child());
        wait_for("the end of a child", RUN_LIMIT, || {
            // proc(5): the state stands behind the name, the wait status at the end.
            let stat = fs::read_to_string(&path).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let fields: Vec<_> = fields.split_whitespace().collect();
            match fields[..] {
                ["Z", .., status] => {
                    status.parse().map(|status: i32| status >> 8).map_err(|e| e.to_string())
                }
                _ => Err(stat),
            }
        })
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Run {
        let status = self.process.wait(RUN_LIMIT);
        if self.is_documented {
            self.events().iter().for_each(json_page::assert_has);
        }
        Run { status, stdout: self.process.stdout(), stderr: self.process.stderr() }
    }

    /// Sends a signal, by its name, and waits for the end.
    pub fn end_by(self, signal: &str) -> Run {
        self.process.signal(signal);
        self.finish()
    }
}

/// A DHT node that knows `others`, once it has joined them.
pub fn dht_node(place: &Place, host: u8, others: &[SocketAddr]) -> (Program, SocketAddr) {
    let address = free_address(place.ip(host));
    let mut command = Command::new(our_binary("dht-node"));
    command.args(["bootstrap", "--json", "--bind", &address.to_string()]);
    for other in others {
        command.args(["--bootstrap", &other.to_string()]);
    }
    let mut node = place.start_command(command);
    node.wait_words(if others.is_empty() { "\"ready\"" } else { "\"joined\"" });
    (node, address)
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Run {
    /// Its end.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Panics unless it ended with this exit code; gives itself, for more.
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}: {self}", self.status);
        self
    }

    /// Panics unless standard error has all of `words` in this order.
    pub fn assert_error(&self, words: &[&str]) -> &Self {
        let mut rest = self.stderr.as_str();
        for word in words {
            match rest.split_once(word) {
                Some((_, after)) => rest = after,
                None => panic!("no {word:?} (in this order: {words:?}): {self}"),
            }
        }
        self
    }

    /// Its standard output as events, one a line. Panics if a line is none: an object that has a
    /// name and a time.
    pub fn events(&self) -> Vec<Value> {
        let read = |line: &str| {
            let event: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}"));
            let whole =
                event["event"].is_string() && event["ms"].as_f64().is_some_and(|t| t >= 0.0);
            assert!(whole, "{line:?} has no event, or no time");
            event
        };
        self.stdout.lines().map(read).collect()
    }

    /// The one event of this name.
    pub fn event(&self, name: &str) -> Value {
        let mut events = self.events();
        events.retain(|event| event["event"] == name);
        assert_eq!(events.len(), 1, "events {name:?}: {self}");
        events.remove(0)
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n---- stdout\n{}---- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// `command`, run by another program: `prefix` is put before it.
pub fn prefixed<S: AsRef<OsStr>>(
    prefix: impl IntoIterator<Item = S>,
    command: &Command,
) -> Command {
    let mut prefix = prefix.into_iter();
    let program = prefix.next().map_or(command.get_program().to_owned(), |p| p.as_ref().to_owned());
    let mut outer = Command::new(program);
    outer.args(prefix).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    outer
}

fn make_folder(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|error| panic!("make {path:?}: {error}"));
}

/// Which whole pieces of `copy` equal those of `original`; a missing file has none.
pub fn right_pieces(original: &Path, copy: &Path, piece_len: usize) -> Vec<usize> {
    let Ok(have) = fs::read(copy) else { return Vec::new() };
    let want = fs::read(original).unwrap_or_else(|error| panic!("read {original:?}: {error}"));
    let pairs = want.chunks(piece_len).zip(have.chunks(piece_len)).enumerate();
    pairs.filter(|(_, (want, have))| want == have).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_pieces_are_found() {
        let place = Place::new(1);
        let (a, b) = (place.path("a"), place.path("b"));
        fs::write(&a, "aabbcc1").unwrap();
        assert!(right_pieces(&a, &b, 2).is_empty());
        for (text, pieces) in [
            ("", &[][..]),
            ("aabbcc1", &[0, 1, 2, 3]),
            ("aaxbcc", &[0, 2]),
            ("aabbcc2", &[0, 1, 2]),
        ] {
            fs::write(&b, text).unwrap();
            assert_eq!(right_pieces(&a, &b, 2), pieces, "{text}");
        }
    }

    #[test]
    fn a_prefix_keeps_arguments_folder_and_environment() {
        let place = Place::new(1);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $WORD; pwd"]).env("WORD", "said").current_dir(place.root());
        let run = place.run_command(prefixed(["env", "OTHER=1"], &command));
        let folder = place.root().canonicalize().unwrap();
        assert_eq!(run.stdout, format!("said\n{}\n", folder.display()));
    }

    #[test]
    #[should_panic(expected = "no \"second\" (in this order")]
    fn words_out_of_order_are_no_match() {
        let place = Place::new(1);
        let mut command = Command::new("sh");
        command.args(["-c", "echo second first >&2"]);
        place.run_command(command).assert_error(&["first", "second"]);
    }

    #[test]
    fn a_link_has_its_info_hash() {
        let hash = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
        assert_eq!(info_hash(&format!("magnet:?xt=urn:btih:{hash}&dn=x")), hash);
    }
}
