//! In which order a download writes, syncs and says so, by a log of strace(1).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::cli::prefixed;
use crate::journal::{Journal, Record};
use crate::pieces::Pieces;

/// The calls that tell.
const CALLS: &str = "trace=pwrite64,pwritev,pwritev2,fsync,fdatasync,write,writev";

/// `command` under strace, which writes its log to `log`.
pub fn traced(command: &Command, log: &Path) -> Command {
    let log = log.to_string_lossy();
    prefixed(["strace", "-f", "-qq", "-y", "-s", "100", "-e", CALLS, "-o", &log], command)
}

/// A call that came to its end. Its places are lines of the log: strace writes a line before it
/// lets a call go on, so what waited for a call's end begins in a later line.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    /// Of the file that it is about.
    path: String,
    begin: usize,
    end: usize,
    /// First byte, and how many: of a write.
    range: (u64, u64),
    text: String,
}

impl Call {
    fn is_sync(&self) -> bool {
        self.name == "fsync" || self.name == "fdatasync"
    }

    fn is_write(&self) -> bool {
        self.name.starts_with("pwrite")
    }

    fn overlaps(&self, path: &str, offset: u64, len: u64) -> bool {
        let (first, count) = self.range;
        self.path == path && first < offset + len && offset < first + count
    }
}

/// What was looked at, so that a test knows that there was something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Writes of data.
    pub writes: usize,
    /// Pieces that were recorded as kept.
    pub kept: usize,
    /// Blocks of unfinished pieces that were.
    pub parts: usize,
    /// Whether the program said that all is saved.
    pub is_saved: bool,
}

/// The calls of one run.
pub struct CallOrder<'a> {
    calls: Vec<Call>,
    pieces: &'a Pieces,
    root: String,
    journal: &'a Journal,
}

impl<'a> CallOrder<'a> {
    /// Those of `log`, of a run that fetched `pieces` into `root`; `journal` is what it left.
    pub fn new(log: &str, pieces: &'a Pieces, root: &Path, journal: &'a Journal) -> Self {
        CallOrder { calls: calls(log), pieces, root: root.to_string_lossy().into_owned(), journal }
    }

    /// Checks that
    /// - before data of a piece was written, the journal said that it will be;
    /// - before it was recorded as kept, each of its files was synced after the last of its data
    ///   had been written;
    /// - records of pieces that are kept were synced themselves, before all was said to be saved.
    ///
    /// # Errors
    /// The first that is not so.
    pub fn check(&self) -> Result<Seen, String> {
        let mut seen = Seen::default();
        for write in self.data_writes() {
            seen.writes += 1;
            self.check_recorded(write)?;
        }
        for write in self.journal_writes() {
            let kept: Vec<u32> = self.kept_by(write).collect();
            seen.kept += kept.len();
            for piece in &kept {
                for block in 0..self.pieces.block_count(*piece) {
                    if !self.was_kept_before(*piece, block, write) {
                        self.check_kept(*piece, block, write)?;
                    }
                }
            }
            let parts: Vec<(u32, u32)> = self.parts_by(write).collect();
            seen.parts += parts.len();
            for (piece, block) in &parts {
                self.check_kept(*piece, *block, write)?;
            }
            if !kept.is_empty() || !parts.is_empty() {
                seen.is_saved |= self.check_saved(write)?;
            }
        }
        Ok(seen)
    }

    /// Checks that the names of a file, of the folders that it lies in and of the journal were
    /// synced before a piece was recorded as kept.
    ///
    /// # Errors
    /// The first that was not.
    pub fn check_names(&self) -> Result<(), String> {
        let Some(first) = self.journal_writes().find(|write| self.kept_by(write).next().is_some())
        else {
            return Err("nothing was kept".into());
        };
        let kept = self.kept_by(first);
        let files = kept.flat_map(|piece| self.pieces.extents(piece)).map(|(path, ..)| path);
        for file in files.chain([self.pieces.journal()]) {
            for folder in Path::new(&file).ancestors().skip(1) {
                let path = Path::new(&self.root).join(folder);
                let path = path.to_string_lossy();
                let path = path.trim_end_matches('/');
                let is_synced = |call: &Call| call.path == path && call.end < first.begin;
                if !self.syncs().any(is_synced) {
                    return Err(format!("{path} was not synced before line {}", first.begin + 1));
                }
            }
        }
        Ok(())
    }

    fn journal_path(&self) -> String {
        format!("{}/{}", self.root, self.pieces.journal())
    }

    fn journal_writes(&self) -> impl Iterator<Item = &Call> {
        let path = self.journal_path();
        self.calls.iter().filter(move |call| call.is_write() && call.path == path)
    }

    fn data_writes(&self) -> impl Iterator<Item = &Call> {
        let journal = self.journal_path();
        let is_data = move |path: &str| path.starts_with(&self.root) && path != journal;
        self.calls.iter().filter(move |call| call.is_write() && is_data(&call.path))
    }

    fn syncs(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.is_sync())
    }

    fn records_of(&self, write: &Call) -> impl Iterator<Item = &Record> {
        let (first, len) = write.range;
        let records = self.journal.records.iter();
        let is_in = move |place: u64| (first..first + len).contains(&place);
        records.filter(move |(place, _)| is_in(*place)).map(|(_, record)| record)
    }

    fn kept_by(&self, write: &Call) -> impl Iterator<Item = u32> {
        self.records_of(write).flat_map(|record| match record {
            Record::Kept(pieces) => pieces.clone(),
            _ => Vec::new(),
        })
    }

    fn parts_by(&self, write: &Call) -> impl Iterator<Item = (u32, u32)> {
        self.records_of(write).flat_map(|record| match record {
            Record::Part(piece, blocks) => blocks.iter().map(|block| (*piece, *block)).collect(),
            _ => Vec::new(),
        })
    }

    fn check_recorded(&self, write: &Call) -> Result<(), String> {
        let path = write.path[self.root.len()..].trim_start_matches('/');
        for piece in self.pieces.touched(path, write.range.0, write.range.1) {
            let mut is_dirty = false;
            for record in self.journal_writes().filter(|record| record.begin < write.begin) {
                for fact in self.records_of(record) {
                    match fact {
                        Record::Dirty(pieces) if pieces.contains(&piece) => {
                            is_dirty = record.end < write.begin;
                        }
                        Record::Kept(pieces) | Record::Lost(pieces) if pieces.contains(&piece) => {
                            is_dirty = false;
                        }
                        _ => {}
                    }
                }
            }
            if !is_dirty {
                let line = write.begin + 1;
                return Err(format!("line {line}: piece {piece} is written and not recorded"));
            }
        }
        Ok(())
    }

    /// Whether a block that this run did not write was recorded by one before.
    fn was_kept_before(&self, piece: u32, block: u32, record: &Call) -> bool {
        let mut earlier = self.journal.records.iter().filter(|(at, _)| *at < record.range.0);
        let extents = self.pieces.block_extents(piece, block);
        let is_written = |write: &Call| {
            extents.iter().any(|(path, offset, len)| {
                write.overlaps(&format!("{}/{path}", self.root), *offset, *len)
            })
        };
        let is_part = |record: &Record| match record {
            Record::Part(part, blocks) => *part == piece && blocks.contains(&block),
            _ => false,
        };
        earlier.any(|(_, record)| is_part(record)) && !self.data_writes().any(is_written)
    }

    fn check_kept(&self, piece: u32, block: u32, record: &Call) -> Result<(), String> {
        for (path, offset, len) in self.pieces.block_extents(piece, block) {
            let path = format!("{}/{path}", self.root);
            let writes = self.data_writes().filter(|write| write.begin < record.begin);
            // What an earlier run wrote may be in memory only, too.
            let last = writes.filter(|write| write.overlaps(&path, offset, len)).map(|w| w.end);
            let last = last.max();
            let is_synced = |sync: &Call| {
                sync.path == path
                    && last.is_none_or(|last| last < sync.begin)
                    && sync.end < record.begin
            };
            if !self.syncs().any(is_synced) {
                let line = record.begin + 1;
                return Err(format!("line {line}: piece {piece} is kept, and {path} not synced"));
            }
        }
        Ok(())
    }

    /// True if it was said that all is saved.
    fn check_saved(&self, record: &Call) -> Result<bool, String> {
        let journal = self.journal_path();
        let mut after = self.syncs().filter(|sync| sync.path == journal && record.end < sync.begin);
        let synced = after.next().map(|sync| sync.end);
        let is_said = |call: &&Call| call.text.contains("what is verified is saved");
        let saved = self.calls.iter().find(is_said).map(|call| call.begin);
        match (synced, saved) {
            (Some(synced), Some(saved)) if synced < saved => Ok(true),
            (Some(_), None) => Ok(false),
            _ => Err(format!("the record of line {} is not synced in time", record.begin + 1)),
        }
    }
}

/// The calls of a log that came to a good end.
fn calls(log: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (line, text) in log.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(head) = text.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (line, head));
        } else if let Some((_, tail)) =
            text.split_once(" resumed>").filter(|_| text.starts_with("<..."))
        {
            if let Some((begin, head)) = unfinished.remove(thread) {
                calls.extend(call(&format!("{head}{tail}"), begin, line));
            }
        } else {
            calls.extend(call(text, line, line));
        }
    }
    calls
}

/// `pwritev(9</a>, [{iov_base="..."..., iov_len=5}], 1, 10) = 5`; None if it failed.
fn call(text: &str, begin: usize, end: usize) -> Option<Call> {
    let (head, result) = text.rsplit_once(" = ")?;
    let result = result.split_whitespace().next()?.parse().ok()?;
    let (name, arguments) = head.trim_end().strip_suffix(')')?.split_once('(')?;
    let path = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    let path = path.map_or(String::new(), |(path, _)| path.to_owned());
    let offset = arguments.rsplit_once(", ").and_then(|(_, last)| last.trim().parse().ok());
    let range = (offset.unwrap_or(0), result);
    Some(Call { name: name.to_owned(), path, begin, end, range, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Place;
    use crate::journal::tests::journal;
    use std::fs;

    /// Of the pieces 0 to 2 of two files, recorded, written, synced, kept, and said to be saved.
    const RIGHT: &str = r#"10 pwritev(5</got/JOURNAL>, [{iov_base="\1\0"..., iov_len=32}], 1, 42) = 32
11 pwritev(6</got/t/a>, [{iov_base=" = (", iov_len=20000}], 1, 0 <unfinished ...>
12 pwritev(7</got/t/b>, [{iov_base="x"..., iov_len=20000}], 1, 0) = 20000
11 <... pwritev resumed>) = 20000
13 fsync(6</got/t/a> <unfinished ...>
14 fsync(7</got/t/b>)  = 0
13 <... fsync resumed>)  = 0
13 fsync(8</got/t>)  = 0
13 fsync(9</got>)  = 0
14 fsync(8</got/.trackerless>)  = 0
10 pwritev(5</got/JOURNAL>, [{iov_base="\2\0"..., iov_len=32}], 1, 74) = 32
13 fdatasync(5</got/JOURNAL>) = 0
9 write(2</dev/pts/0>, "trackerless: interrupted; what is verified is saved\n", 52) = 52"#;

    /// What is found in the log with these lines, from 1.
    fn check(lines: &[usize]) -> Result<Seen, String> {
        let place = Place::new(1);
        let tree = place.folder("t");
        fs::write(tree.join("a"), vec![1; 20_000]).unwrap();
        fs::write(tree.join("b"), vec![2; 20_000]).unwrap();
        let pieces = Pieces::of(&place.create(&tree, &["--piece-length", "16384"]));
        let journal = Journal::read(&journal(&[(1, &[0, 1, 2]), (2, &[0, 1, 2])]));
        let all: Vec<_> = RIGHT.lines().collect();
        let log: Vec<_> = lines.iter().map(|line| all[line - 1]).collect();
        let log = log.join("\n").replace("JOURNAL", &pieces.journal());
        let order = CallOrder::new(&log, &pieces, Path::new("/got"), &journal);
        let seen = order.check()?;
        order.check_names().map(|()| seen)
    }

    #[test]
    fn the_right_order_is_right() {
        let want = Seen { writes: 2, kept: 3, parts: 0, is_saved: true };
        assert_eq!(check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]), Ok(want));
    }

    #[test]
    fn each_wrong_order_is_found() {
        for (lines, wrong) in [
            // A sync that begins before the write has ended, is not there, or ends too late.
            (&[1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11, 12, 13][..], "kept, and /got/t/a not synced"),
            (&[1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13], "kept, and /got/t/b not synced"),
            (&[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 7, 12, 13], "kept, and /got/t/a not synced"),
            // A write that no record precedes.
            (&[2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], "line 1: piece 0 is written and not"),
            // A record that is not synced, or too late.
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13], "line 11 is not synced in time"),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 12], "line 11 is not synced in time"),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 11, 13], "line 12 is not synced in time"),
            // Names.
            (&[1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13], "/got/t was not synced"),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 10, 12, 13], "/got/.trackerless was not synced"),
        ] {
            let found = check(lines).unwrap_err();
            assert!(found.contains(wrong), "{found}, not {wrong}");
        }
    }

    #[test]
    fn a_sync_that_failed_is_none() {
        assert!(call("fsync(6</got/t/a>) = -1 EIO (Input/output error)", 0, 0).is_none());
        assert!(call("fsync(6</got/t/a>) = 0", 0, 0).unwrap().is_sync());
    }
}
