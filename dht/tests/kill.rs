//! The state file of a node that is killed while it saves.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_types, reason = "the moment of a kill is chosen by the clock")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dht::driver::StateFile;
use dht::wire::Id;
use dht::{NodeInfo, Snapshot};
use wire::rng::{Rng, seed_from_u64};

/// Names the file to the process that saves.
const FILE: &str = "TRACKERLESS_SAVE_INTO";
/// The test that this process is an instance of.
const SAVES: &str = "a_killed_node_leaves_a_whole_state_file";
const FILE_NAME: &str = "dht.state";
/// Contacts that are more in each snapshot than in the one before, up to as many as a file takes.
const STEP: u64 = 997;
const CONTACTS: u64 = 4096;

/// The snapshot of this number: no two have the same content.
fn snapshot(number: u64) -> Snapshot {
    let mut id = Id([0x5a; 20]);
    id.0[..8].copy_from_slice(&number.to_be_bytes());
    let contact = |n: u64| {
        let [.., a, b] = n.to_be_bytes();
        NodeInfo { id: Id([a ^ b ^ number as u8; 20]), addr: ([10, 0, a, b], 6881).into() }
    };
    Snapshot {
        own: vec![NodeInfo { id, addr: ([0; 4], 1).into() }],
        contacts: (0..1 + number * STEP % CONTACTS).map(contact).collect(),
    }
}

/// The number of a snapshot that must be one of those.
fn number_of(found: &Snapshot) -> u64 {
    let number = u64::from_be_bytes(found.own[0].id.0[..8].try_into().unwrap());
    assert!(*found == snapshot(number), "number {number} is not as it was written");
    number
}

/// What the killed process does: saves what follows the snapshot that it finds, and tells each number
/// that is kept.
fn save_without_end(path: &Path) {
    let file = StateFile::new(path);
    let mut number = file.load().unwrap().map_or(0, |found| number_of(&found));
    loop {
        number += 1;
        file.save(&snapshot(number)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nkept {number}").and_then(|()| out.flush()).unwrap();
    }
}

/// This test again, in a process of its own that saves until it is killed.
struct Saving(Child);

impl Saving {
    fn start(path: &Path) -> Saving {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([SAVES, "--exact", "--nocapture"]).env(FILE, path);
        Saving(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for `saves` saves and this much of the next, kills the process by SIGKILL, and returns
    /// the number of the last save that it told of.
    fn kill_after(&mut self, saves: usize, share: f64) -> u64 {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let mut kept = std::iter::from_fn(|| lines.next())
            .filter_map(|line| line.unwrap().strip_prefix("kept ").map(|n| n.parse().unwrap()));
        let first = kept.next().expect("the first save is told");
        let start = Instant::now();
        let last = kept.by_ref().take(saves).last().unwrap_or(first);
        let one = start.elapsed() / saves.max(1) as u32;
        let moment = Instant::now() + one.min(Duration::from_millis(50)).mul_f64(share);
        // Not slept through: a save is shorter than what a sleep is late by.
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        kept.last().unwrap_or(last)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills so many processes at moments that `seed` chooses. What a process told to be kept is there
/// or the next, and nothing else.
fn kill_many(kills: u32, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let (mut rng, mut amid) = (Rng::new(&seed_from_u64(seed)), 0);
    for kill in 0..kills {
        let (saves, share) = (1 + rng.index(8), f64::from(rng.below(1_000)) / 1_000.0);
        let kept = Saving::start(&path).kill_after(saves, share);
        let found = StateFile::new(&path).load();
        let found = found.unwrap_or_else(|error| panic!("kill {kill} of seed {seed}: {error}"));
        let number = number_of(&found.unwrap());
        assert!((kept..=kept + 1).contains(&number), "kill {kill}: {number} after {kept}");
        // More than the file itself: it was killed between the first byte and the last step.
        amid += u32::from(std::fs::read_dir(folder.path()).unwrap().count() > 1);
    }
    println!("{amid} of {kills} were killed amid a save");
    assert!(amid > 0, "none of {kills} was killed amid a save");
}

#[test]
fn a_killed_node_leaves_a_whole_state_file() {
    match std::env::var_os(FILE) {
        Some(path) => save_without_end(Path::new(&path)),
        None => kill_many(25, 1),
    }
}

#[test]
#[ignore = "tier 2: a thousand processes"]
fn a_thousand_killed_nodes_leave_whole_state_files() {
    kill_many(1_000, 2);
}
