//! `trackerless get` on a disk whose power goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::call_order::{CallOrder, traced};
use harness::cli::{Place, Run, Seed};
use harness::content::{assert_same, write_file};
use harness::journal::{Journal, Record};
use harness::lossy::{Chance, Honesty, LossyDisk};
use harness::pieces::Pieces;
use harness::relay::Relay;
use harness::wait::{secs, wait_until};
use serde_json::Value;

/// Files of the torrent: a commit is due when 20 are open, so that many come in a download.
const FILES: u64 = 60;
/// Longest of them, in bytes.
const FILE_LEN_MAX: u64 = 100_000;
/// Calls that change or sync something: a download makes about twice as many.
const CALLS_MAX: u64 = 450;
/// Bytes that the seed may be ahead: the disk is to keep up, as it does with a slower network.
const AHEAD_MAX: u64 = 32 << 10;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The power goes, and the process with it.
    Cut,
    /// The process is killed.
    Kill,
    /// It is interrupted, says that all is saved, and then the power goes.
    Interrupt,
}

/// What lies on the disk.
struct Found {
    kept: BTreeSet<u32>,
    parts: BTreeSet<(u32, u32)>,
    right: BTreeSet<u32>,
}

/// Downloads of one torrent to a lossy disk.
struct Downloads {
    // First, as it is mounted in the place.
    disk: LossyDisk,
    _seed: Seed,
    relay: Relay,
    allowed: u64,
    original: PathBuf,
    torrent: PathBuf,
    pieces: Pieces,
    chance: Chance,
    place: Place,
}

impl Downloads {
    fn new(net: u8, seed: u64, honesty: Honesty) -> Downloads {
        Downloads::of(FILES, FILE_LEN_MAX, net, seed, honesty)
    }

    /// Of a torrent with so many files, each shorter than `len_max`.
    fn of(files: u64, len_max: u64, net: u8, seed: u64, honesty: Honesty) -> Downloads {
        let place = Place::new(net);
        let mut chance = Chance::new(seed);
        let original = place.path("t");
        for i in 0..files {
            // Most pieces lie in more than one file.
            write_file(&original.join(format!("{}/{i}", i % 3)), chance.below(len_max), seed + i);
        }
        let piece_len = ["--piece-length", "32768"];
        let torrent = place.create(&original, &piece_len);
        let pieces = Pieces::of(&torrent);
        let more = ["--no-dht"].into_iter().chain(piece_len);
        let _seed = place.seed_with(1, &original, more);
        let relay = Relay::start(place.ip(2), _seed.address);
        let disk = LossyDisk::new(&place.folder("disk"), seed, honesty);
        Downloads { disk, _seed, relay, allowed: 0, original, torrent, pieces, chance, place }
    }

    fn command(&self) -> Command {
        let mut command = self.place.command(["get", "--no-dht", "--json", "-o", "disk/got"]);
        command.args(["--bind", &self.place.any_port(3)]).arg(&self.torrent);
        command.args(["--peer", &self.relay.address().to_string()]);
        command
    }

    /// Lets the seed send a little more.
    fn feed(&mut self) {
        let more = (self.relay.passed() + AHEAD_MAX).saturating_sub(self.allowed);
        self.relay.allow(more);
        self.allowed += more;
    }

    fn got(&self) -> PathBuf {
        self.disk.path().join("got")
    }

    /// The journal as it is seen.
    fn journal(&self) -> Journal {
        Journal::read(&fs::read(self.got().join(self.pieces.journal())).unwrap_or_default())
    }

    /// The journal as it is after any cut.
    fn sure_journal(&self) -> Journal {
        let path = format!("got/{}", self.pieces.journal());
        Journal::read(&self.disk.sure(&path).unwrap_or_default())
    }

    /// Looks at the disk; an error if the journal calls a piece kept that is not right.
    fn look(&self) -> Result<Found, String> {
        let Journal { kept, parts, .. } = self.journal();
        let right = self.pieces.right(&self.got());
        let falsely: Vec<_> = kept.difference(&right).collect();
        let is_wrong = |&&(piece, block): &&(u32, u32)| {
            !self.pieces.is_same_block(piece, block, &self.got(), &self.place.root())
        };
        let blocks: Vec<_> = parts.iter().filter(is_wrong).collect();
        if falsely.is_empty() && blocks.is_empty() {
            return Ok(Found { kept, parts, right });
        }
        Err(format!("falsely kept: {falsely:?}, blocks {blocks:?}"))
    }

    /// One run of the program, which `end` ends somewhere in the middle; true if it was complete
    /// before.
    fn run(&mut self, end: End) -> Result<bool, String> {
        let before = self.look()?;
        let blocks = if end == End::Interrupt { self.right_blocks() } else { BTreeSet::new() };
        self.disk.take_reads();
        // What a kill leaves is all there: many of them are to be in one download.
        let most = if end == End::Kill { CALLS_MAX / 4 } else { CALLS_MAX };
        let calls = 1 + self.chance.below(most);
        let last = self.disk.calls() + calls;
        if end == End::Cut {
            self.disk.cut_after(calls);
        }
        let mut get = self.place.start_command(self.command());
        while !self.disk.is_cut() && self.disk.calls() < last && get.process().ended().is_none() {
            self.feed();
            sleep(Duration::from_millis(1));
        }
        let run = match get.process().ended() {
            Some(_) => get.finish(),
            None if end == End::Interrupt => get.end_by("INT"),
            None => get.end_by("KILL"),
        };
        let known = self.known(&before, &run)?;
        if run.status.code() == Some(0) {
            return self.after_completion().map(|()| true);
        }
        match end {
            End::Cut => self.after_cut(&run),
            End::Kill => self.after_kill(&before),
            End::Interrupt => self.after_interrupt(&before, &blocks, &known, &run),
        }
        .map(|()| false)
    }

    /// The pieces that a run knew when it had started: right, and by the journal's word or read. An
    /// error if it told more or fewer.
    fn known(&self, before: &Found, run: &Run) -> Result<BTreeSet<u32>, String> {
        let read = self.pieces.read(&self.disk.take_reads(), "got");
        let known = before.kept.union(&read).filter(|piece| before.right.contains(piece));
        let mut known: BTreeSet<u32> = known.copied().collect();
        let started = run.stdout.lines().find(|line| line.contains("\"started\""));
        // What it does not know yet when it is ended it does not tell.
        let Some(started) = started else { return Ok(before.kept.clone()) };
        let most = self.pieces.len(&known);
        // Blocks of an unfinished piece are read after the start, too.
        let parts: BTreeSet<u32> = before.parts.iter().map(|(piece, _)| *piece).collect();
        known.retain(|piece| !parts.contains(piece));
        let least = self.pieces.len(&known);
        let event: Value = serde_json::from_str(started).map_err(|error| error.to_string())?;
        if event["have"].as_u64().is_some_and(|have| (least..=most).contains(&have)) {
            return Ok(known);
        }
        Err(format!("{least} to {most} bytes were known: {started}"))
    }

    fn after_cut(&self, run: &Run) -> Result<(), String> {
        assert!(self.disk.is_cut(), "{run}");
        let sure = self.sure_journal();
        self.disk.power_on();
        let after = self.look()?;
        let lost: Vec<_> = sure.kept.difference(&after.kept).collect();
        let is_gone =
            |part: &&(u32, u32)| !after.kept.contains(&part.0) && !after.parts.contains(part);
        let blocks: Vec<_> = sure.parts.iter().filter(is_gone).collect();
        if lost.is_empty() && blocks.is_empty() {
            return Ok(());
        }
        Err(format!("kept before the cut: {lost:?}, blocks {blocks:?}"))
    }

    fn after_kill(&self, before: &Found) -> Result<(), String> {
        let after = self.look()?;
        let lost: Vec<_> = before.right.difference(&after.right).collect();
        if lost.is_empty() { Ok(()) } else { Err(format!("right before the kill: {lost:?}")) }
    }

    /// The blocks that are as they should be, whoever knows.
    fn right_blocks(&self) -> BTreeSet<(u32, u32)> {
        let blocks = |piece| (0..self.pieces.block_count(piece)).map(move |block| (piece, block));
        let is_right = |&(piece, block): &(u32, u32)| {
            self.pieces.is_same_block(piece, block, &self.got(), &self.place.root())
        };
        (0..self.pieces.count()).flat_map(blocks).filter(is_right).collect()
    }

    /// `blocks` were right before, and `known` was known then.
    fn after_interrupt(
        &self,
        before: &Found,
        blocks: &BTreeSet<(u32, u32)>,
        known: &BTreeSet<u32>,
        run: &Run,
    ) -> Result<(), String> {
        let mut new = self.look()?.right;
        new.retain(|piece| !before.right.contains(piece));
        self.disk.cut();
        self.disk.power_on();
        let after = self.look()?;
        if run.status.code().is_none() {
            // It did not heed signals yet.
            return Ok(());
        }
        run.assert_code(130).assert_error(&["what is verified is saved"]);
        // What the hasher had not come to is saved block by block, but for blocks that lasted in an
        // earlier cut and nobody knows of.
        let is_saved = |piece: &u32| {
            let mut all = (0..self.pieces.block_count(*piece)).map(|block| (*piece, block));
            after.kept.contains(piece)
                || all.all(|block| after.parts.contains(&block) || blocks.contains(&block))
        };
        let lost: Vec<_> = known.difference(&after.kept).collect();
        let lost_new: Vec<_> = new.iter().filter(|piece| !is_saved(piece)).collect();
        if lost.is_empty() && lost_new.is_empty() {
            return Ok(());
        }
        Err(format!("said to be saved: {lost:?}, and of this run {lost_new:?}, {run}"))
    }

    /// All is there, whatever comes, and the next run knows that without reading.
    fn after_completion(&self) -> Result<(), String> {
        assert_same(&self.original, &self.got().join("t"));
        self.disk.cut();
        self.disk.power_on();
        if self.look()?.kept.len() != self.pieces.count() as usize {
            return Err("not all is kept of what was complete".into());
        }
        assert_same(&self.original, &self.got().join("t"));
        self.disk.take_reads();
        let run = self.place.run_command(self.command());
        let done = run.assert_code(0).event("done");
        assert_eq!(done["downloaded"].as_u64(), Some(0), "{run}");
        let read = self.disk.take_reads();
        let read: Vec<_> = read.keys().filter(|path| !path.ends_with(".journal")).collect();
        if read.is_empty() { Ok(()) } else { Err(format!("read again: {read:?}")) }
    }

    /// Kills `kills` runs in the middle. All that was written is known to the next, which fetches
    /// none of it again, and writes again only what was not kept.
    fn kills(&mut self, kills: usize) -> Result<(), String> {
        let (mut done, mut kept) = (0, 0);
        while done < kills {
            let (before, records) = (self.look()?.kept, self.journal().records.len());
            if self.run(End::Kill)? {
                self.disk.clear();
                continue;
            }
            done += 1;
            let journal = self.journal();
            kept += usize::from(!journal.kept.is_empty());
            for (_, record) in journal.records.iter().skip(records) {
                if let Record::Dirty(pieces) = record
                    && let Some(piece) = pieces.iter().find(|piece| before.contains(piece))
                {
                    return Err(format!("kill {done}: piece {piece} was written again"));
                }
            }
        }
        eprintln!("{done} kills, {kept} with pieces kept");
        assert!(kept * 4 > kills, "only {kept} kills of {kills} with pieces kept");
        self.relay.open();
        self.place.run_command(self.command()).assert_code(0);
        self.after_completion()
    }

    /// Runs until the power went `cuts` times in the middle of one, and then to the end.
    fn cuts(&mut self, cuts: usize) -> Result<(), String> {
        let (mut done, mut with_some, mut with_parts, mut complete) = (0, 0, 0, 0);
        while done < cuts {
            let end = match self.chance.below(10) {
                0 | 1 => End::Kill,
                2 | 3 => End::Interrupt,
                _ => End::Cut,
            };
            if self.run(end).map_err(|error| format!("{end:?}, cut {done}: {error}"))? {
                complete += 1;
                self.disk.clear();
            } else if end == End::Cut {
                done += 1;
                let journal = self.journal();
                with_some += usize::from(!journal.kept.is_empty());
                with_parts += usize::from(!journal.parts.is_empty());
            }
        }
        eprintln!(
            "{done} cuts, {with_some} with pieces kept, {with_parts} with parts, {complete} downloads"
        );
        self.relay.open();
        self.place.run_command(self.command()).assert_code(0);
        assert!(with_some * 10 >= cuts, "only {with_some} cuts of {cuts} with pieces kept before");
        self.after_completion()
    }
}

#[test]
fn a_disk_that_loses_what_it_may_costs_no_piece_that_was_kept() {
    Downloads::new(41, 1, Honesty::Honest).cuts(10).unwrap();
}

#[test]
fn each_piece_is_recorded_written_synced_and_called_kept_in_this_order() {
    let downloads = Downloads::new(47, 7, Honesty::Honest);
    let log = downloads.place.path("calls");
    let check = |downloads: &Downloads, is_first: bool| {
        let (text, journal) = (fs::read_to_string(&log).unwrap(), downloads.journal());
        let order = CallOrder::new(&text, &downloads.pieces, &downloads.got(), &journal);
        if is_first {
            order.check_names().unwrap();
        }
        order.check().unwrap()
    };
    let get = downloads.place.start_command(traced(&downloads.command(), &log));
    downloads.relay.allow(downloads.pieces.total_len() / 2);
    wait_until("a commit", secs(20), || !downloads.journal().kept.is_empty());
    get.signal_child("INT");
    get.finish().assert_code(130);
    let seen = check(&downloads, true);
    assert!(seen.is_saved && seen.writes > 20 && seen.kept > 20, "{seen:?}");

    downloads.relay.open();
    downloads.place.run_command(traced(&downloads.command(), &log)).assert_code(0);
    let more = check(&downloads, false);
    assert_eq!(seen.kept + more.kept, downloads.pieces.count() as usize);
    assert!(more.writes > 20, "{more:?}");
}

#[test]
#[ignore = "tier 2: a thousand runs"]
fn a_thousand_kills_cost_nothing_that_was_written() {
    Downloads::new(45, 5, Honesty::Honest).kills(1_000).unwrap();
}

#[test]
fn a_cut_costs_an_interval_at_most() {
    // Fewer files than make a commit due at once.
    let downloads = Downloads::of(6, 900_000, 46, 6, Honesty::Honest);
    let mut get = downloads.place.start_command(downloads.command());
    downloads.relay.allow(1 << 20);
    let right = || downloads.pieces.right(&downloads.got());
    wait_until("pieces in the files", secs(30), || right().len() >= 25);
    let (written, since) = (right(), Instant::now());
    // The interval, and what the syncs themselves take on a busy machine.
    let limit = secs(5) + secs(2);
    wait_until("a commit", limit, || downloads.sure_journal().kept.is_superset(&written));
    eprintln!("{} pieces kept after {:?}", written.len(), since.elapsed());
    downloads.disk.cut();
    get.process().kill();
    downloads.disk.power_on();
    assert!(downloads.look().unwrap().kept.is_superset(&written));
}

#[test]
#[ignore = "tier 2: minutes"]
fn two_hundred_cuts_make_no_piece_kept_that_is_not_and_lose_none_that_was() {
    Downloads::new(42, 2, Honesty::Honest).cuts(200).unwrap();
}

/// The first thing that is found wrong on a disk that lies.
fn first_wrong(net: u8, honesty: Honesty) -> String {
    let found = Downloads::new(net, 3, honesty).cuts(20);
    found.expect_err("a disk that lies is to be found out")
}

#[test]
fn a_disk_that_forgets_what_it_says_is_synced_is_found_out() {
    let wrong = first_wrong(43, Honesty::ForgetsFiles);
    assert!(wrong.contains("falsely kept"), "{wrong}");
}

#[test]
fn a_disk_that_forgets_names_is_found_out() {
    let wrong = first_wrong(44, Honesty::ForgetsNames);
    assert!(wrong.contains("falsely kept") || wrong.contains("saved"), "{wrong}");
}
