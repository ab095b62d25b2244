//! What is there, told from the journal and the files' states, and what must be read to know.

use std::collections::BTreeMap;

use wire::bitfield::Bitfield;

use super::Config;
use super::journal::{FileRecord, Replay, Stamp};
use super::plan::Plan;
use crate::disk::{DiskError, DiskErrorKind, FileStat};

/// What a start comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// There, by the journal's word and without reading.
    pub(super) have: Bitfield,
    /// To be read and hashed.
    pub(super) check: Vec<u32>,
    /// Recorded as kept or dirty, and not even long enough to be checked.
    pub(super) lost: Vec<u32>,
    /// Blocks of unfinished pieces, unless a check finds the piece whole.
    pub(super) parts: BTreeMap<u32, Vec<u32>>,
    /// Files that the journal knows in their place, and whose bytes are now in the part file.
    pub(super) moved: Vec<usize>,
}

/// Decides for every piece. A file that is longer than the torrent says is an error: to cut it
/// would destroy what somebody may want, and to leave it would make a file that is not the
/// torrent's.
pub(super) fn decide(
    plan: &Plan,
    replay: &Replay,
    stats: &[Option<FileStat>],
    wanted: &Bitfield,
    config: &Config,
) -> Result<Decision, DiskError> {
    refuse_longer(plan, stats)?;
    let explained: Vec<bool> = plan
        .files
        .iter()
        .zip(stats)
        .zip(&replay.files)
        .enumerate()
        .map(|(index, ((file, stat), record))| match (stat, record) {
            _ if file.pad || file.len == 0 => true,
            _ if config.recheck => false,
            (Some(stat), Some(record)) if stat.len == file.len => {
                // The part file is never whole.
                let done = index != plan.part()
                    && plan.pieces_of(index).all(|piece| replay.kept.get(piece));
                is_explained(
                    stat,
                    record,
                    done || replay.clean,
                    replay.alive_ns,
                    config.mtime_slack_ns(),
                )
            }
            // Not there before and not there now.
            (None, None) => true,
            _ => false,
        })
        .collect();
    // The other way round a file has no record, which nothing explains.
    let is_moved = |index: &usize| plan.is_in_part(*index) && replay.files[*index].is_some();
    let moved: Vec<usize> = (0..plan.part()).filter(is_moved).collect();
    let moved_pieces = plan.pieces_of_all(|index| moved.binary_search(&index).is_ok());
    let mut decision = Decision {
        have: Bitfield::new(plan.piece_count()),
        check: Vec::new(),
        lost: Vec::new(),
        parts: BTreeMap::new(),
        moved,
    };
    for piece in 0..plan.piece_count() {
        let (kept, dirty) = (replay.kept.get(piece), replay.dirty.get(piece));
        let mut files = plan.real_extents(piece);
        let long_enough = plan.real_extents(piece).all(|(file, offset, len)| {
            let stat = stats.get(file).copied().flatten();
            stat.is_some_and(|stat| stat.len >= offset + len)
        });
        let all_explained = !moved_pieces.get(piece)
            && files.all(|(file, ..)| explained.get(file).copied().unwrap_or(false));
        let part = replay.part(piece, plan.piece_len(piece).div_ceil(config.block_len));
        if !long_enough {
            if kept || dirty || !part.is_empty() {
                decision.lost.push(piece);
            }
            continue;
        }
        let is_begun = !part.is_empty();
        if is_begun && all_explained {
            decision.parts.insert(piece, part);
        }
        if kept && all_explained {
            decision.have.set(piece);
        } else if kept || dirty || (!all_explained && (wanted.get(piece) || is_begun)) {
            decision.check.push(piece);
        }
    }
    Ok(decision)
}

/// Whether our own writes account for a file's mtime. `settled`: none of ours was under way.
fn is_explained(
    stat: &FileStat,
    record: &FileRecord,
    settled: bool,
    alive_ns: Option<i64>,
    slack_ns: i64,
) -> bool {
    if Stamp::from(*stat) == record.last {
        return true;
    }
    // Writes since the last record changed it, or it lost its last mtime in a crash.
    let latest = alive_ns.map_or(record.last.mtime_ns, |at| at.saturating_add(slack_ns));
    !settled && (record.oldest_ns..=latest.max(record.last.mtime_ns)).contains(&stat.mtime_ns)
}

fn refuse_longer(plan: &Plan, stats: &[Option<FileStat>]) -> Result<(), DiskError> {
    for (file, stat) in plan.files.iter().zip(stats) {
        let Some(stat) = stat.filter(|stat| stat.len > file.len) else { continue };
        let message = format!(
            "{} has {} bytes, but {} in the torrent",
            file.path.join("/"),
            stat.len,
            file.len,
        );
        return Err(DiskError { kind: DiskErrorKind::Conflict, message });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fixture::info;
    use crate::storage::journal::Tail;

    fn config() -> Config {
        Config { block_len: 4, mtime_slack_ms: 0, ..Config::default() }
    }

    /// Files of 32 and 24 bytes in pieces of 16: the second file has pieces 2 and 3.
    fn plan() -> Plan {
        Plan::new(&info("t", &[("a", 32), ("b", 24)], 16))
    }

    fn stat(len: u64, mtime_ns: i64) -> Option<FileStat> {
        Some(FileStat { len, mtime_ns, allocated: len })
    }

    fn replay(kept: &[u32], dirty: &[u32], clean: bool) -> Replay {
        let (_, tail) = Tail::start(&wire::Id::ZERO, b"de");
        let mut replay = Replay::empty(4, 3, tail);
        kept.iter().for_each(|piece| replay.kept.set(*piece));
        dirty.iter().for_each(|piece| replay.dirty.set(*piece));
        let record = |len| {
            let last = Stamp { len, mtime_ns: 100 };
            Some(FileRecord { last, oldest_ns: 90 })
        };
        replay.files = vec![record(32), record(24), None];
        replay.clean = clean;
        replay.alive_ns = Some(110);
        replay
    }

    /// Pieces there, to check, lost.
    fn run(replay: &Replay, a: Option<FileStat>, b: Option<FileStat>) -> [Vec<u32>; 3] {
        let decision =
            decide(&plan(), replay, &[a, b, None], &Bitfield::full(4), &config()).unwrap();
        [decision.have.ones().collect(), decision.check, decision.lost]
    }

    #[test]
    fn untouched_files_are_believed() {
        let got = run(&replay(&[0, 1, 3], &[], true), stat(32, 100), stat(24, 100));
        assert_eq!(got, [vec![0, 1, 3], vec![], vec![]]);
    }

    #[test]
    fn after_an_unclean_stop_only_what_was_being_written_is_checked() {
        let got = run(&replay(&[0, 3], &[1], false), stat(32, 109), stat(24, 100));
        assert_eq!(got, [vec![0, 3], vec![1], vec![]]);
    }

    #[test]
    fn a_file_changed_by_others_is_checked_whole() {
        for (clean, mtime) in [(true, 101), (true, 99), (false, 111), (false, 89)] {
            let got = run(&replay(&[0, 3], &[], clean), stat(32, mtime), stat(24, 100));
            assert_eq!(got, [vec![3], vec![0, 1], vec![]], "{clean} {mtime}");
        }
        // A whole file is not written any more, so nothing explains a change.
        let got = run(&replay(&[0, 1, 3], &[2], false), stat(32, 105), stat(24, 105));
        assert_eq!(got, [vec![3], vec![0, 1, 2], vec![]]);
    }

    #[test]
    fn what_is_cut_off_is_missing() {
        let got = run(&replay(&[0, 1, 2, 3], &[], true), stat(20, 100), None);
        assert_eq!(got, [vec![], vec![0], vec![1, 2, 3]]);
    }

    #[test]
    fn without_a_journal_everything_that_is_long_enough_is_checked() {
        let (_, tail) = Tail::start(&wire::Id::ZERO, b"de");
        let none = Replay::empty(4, 3, tail);
        assert_eq!(run(&none, stat(32, 1), stat(23, 1)), [vec![], vec![0, 1, 2], vec![]]);
        assert_eq!(run(&none, None, None), [vec![], vec![], vec![]]);
    }

    #[test]
    fn a_longer_file_is_left_alone() {
        let none = replay(&[], &[], true);
        let error =
            decide(&plan(), &none, &[stat(33, 1), None, None], &Bitfield::full(4), &config())
                .unwrap_err();
        assert_eq!(error.kind, DiskErrorKind::Conflict);
        assert!(error.message.contains("t/a has 33 bytes, but 32"), "{error}");
    }
}
