//! What must be true of a peer at any moment, held against the torrent's own content.

use std::sync::Arc;

use client::disk::RelPath;
use client::storage::{journal, journal_path};
use client::{Config, TorrentStats};
use wire::bitfield::Bitfield;
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, BlockRef};

use crate::content::Content;
use crate::disk::{Cut, Disk};

/// Turns between two looks at what a peer holds in memory.
const BOUNDS_EVERY: u64 = 64;

/// Knows what a torrent's files are to hold, and looks whether a peer tells lies about them.
#[derive(Clone)]
pub(crate) struct Oracle {
    info: Arc<Info>,
    truth: Content,
    /// What the journal said before the last crash, at least.
    kept_before: Bitfield,
    /// Pieces that the journal was found to be right about.
    kept_seen: Bitfield,
    /// It had all that there is.
    is_complete: bool,
    journal_changed: bool,
    turns: u64,
    /// The first lie.
    fault: Option<String>,
}

impl Oracle {
    pub(crate) fn new(info: Arc<Info>, truth: Content) -> Oracle {
        let none = Bitfield::new(info.piece_count());
        Oracle {
            info,
            truth,
            kept_before: none.clone(),
            kept_seen: none,
            is_complete: false,
            journal_changed: false,
            turns: 0,
            fault: None,
        }
    }

    /// For the program after the next: what it may not fetch again.
    pub(crate) fn after(&self, cut: Cut, disk: &Disk) -> Oracle {
        let path = journal_path(&self.info.info_hash);
        let bytes = match cut {
            Cut::Kill => disk.bytes(&path),
            Cut::Power => disk.lasting_bytes(&path),
        };
        let none = Bitfield::new(self.info.piece_count());
        let kept_before = bytes.and_then(|bytes| self.kept(&bytes)).unwrap_or(none);
        let new = Oracle::new(self.info.clone(), self.truth.clone());
        Oracle { kept_before, fault: self.fault.clone(), ..new }
    }

    /// Pieces that the journal's bytes call kept.
    fn kept(&self, bytes: &[u8]) -> Option<Bitfield> {
        let Info { info_hash, files, .. } = &*self.info;
        // A storage has one more, for what pieces have of files that are not wanted.
        let kept = journal::read_kept(bytes, info_hash, self.info.piece_count(), files.len() + 1)?;
        Some(kept.0)
    }

    /// Whether each part of a piece is as `is_so` wants it.
    fn is_right(&self, piece: u32, is_so: impl Fn(&RelPath, u64, &Content) -> bool) -> bool {
        let info = &self.info;
        info.extents(piece, 0, info.piece_len(piece)).all(|(file, offset, len)| {
            let file = &info.files[file];
            let content = || self.truth.slice(file.offset + offset, len);
            file.pad || is_so(&file.path, offset, &content())
        })
    }

    /// Peers are told that a piece is there.
    fn claim(&self, disk: &Disk, piece: u32) -> Result<(), String> {
        match self.is_right(piece, |path, offset, content| disk.has(path, offset, content)) {
            true => Ok(()),
            false => Err(format!("piece {piece} is claimed, and is not on the disk")),
        }
    }

    /// The journal, as it is or as a power cut leaves it, must call kept what no cut takes.
    fn journal(&self, disk: &Disk, seen: &Bitfield) -> Result<Bitfield, String> {
        let path = journal_path(&self.info.info_hash);
        let mut all = seen.clone();
        for bytes in [disk.bytes(&path), disk.lasting_bytes(&path)].into_iter().flatten() {
            let Some(kept) = self.kept(&bytes) else { continue };
            for piece in kept.ones().filter(|piece| !seen.get(*piece)) {
                if !self.is_right(piece, |path, at, content| disk.keeps(path, at, content)) {
                    return Err(format!(
                        "piece {piece} is recorded as kept, and a cut may take it"
                    ));
                }
                all.set(piece);
            }
        }
        Ok(all)
    }

    fn note(&mut self, outcome: Result<(), String>) {
        if let Err(fault) = outcome {
            self.fault.get_or_insert(fault);
        }
    }

    /// A piece is there now.
    pub(crate) fn on_piece(&mut self, disk: &Disk, piece: u32) {
        let outcome = self.claim(disk, piece);
        self.note(outcome);
        if self.kept_before.get(piece) {
            self.note(Err(format!("piece {piece} was kept, and was fetched again")));
        }
    }

    /// The disk has told what it has.
    pub(crate) fn on_started(&mut self, disk: &Disk, have: &Bitfield) {
        let lost = self.kept_before.ones().find(|piece| !have.get(*piece));
        if let Some(piece) = lost {
            self.note(Err(format!("piece {piece} was kept, and is not there after a restart")));
        }
        let outcome = have.ones().try_for_each(|piece| self.claim(disk, piece));
        self.note(outcome);
    }

    /// It has all.
    pub(crate) fn on_complete(&mut self, disk: &Disk) {
        self.is_complete = true;
        let outcome = self.whole(disk);
        self.note(outcome);
    }

    fn whole(&self, disk: &Disk) -> Result<(), String> {
        (0..self.info.piece_count()).try_for_each(|piece| self.claim(disk, piece))
    }

    /// A block is sent to a peer.
    pub(crate) fn on_served(&mut self, block: &BlockRef, content: &Content) {
        let at = u64::from(block.piece) * u64::from(self.info.piece_length);
        let truth = self.truth.slice(at + u64::from(block.begin), block.len.into());
        if *content != truth {
            self.note(Err(format!("it serves what piece {} has not", block.piece)));
        }
    }

    /// The first lie.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Something was written to a small file, or synced.
    pub(crate) fn on_journal(&mut self) {
        self.journal_changed = true;
    }

    /// A look each turn: at what is new in the journal, one piece in turn, and now and then memory.
    pub(crate) fn on_turn(
        &mut self,
        disk: &Disk,
        have: Option<&Bitfield>,
        bounds: impl FnOnce() -> Result<(), String>,
    ) {
        self.turns += 1;
        if std::mem::take(&mut self.journal_changed) {
            let seen = std::mem::replace(&mut self.kept_seen, Bitfield::new(0));
            match self.journal(disk, &seen) {
                Ok(all) => self.kept_seen = all,
                Err(fault) => {
                    self.kept_seen = seen;
                    self.note(Err(fault));
                }
            }
        }
        let piece = (self.turns % u64::from(self.info.piece_count().max(1))) as u32;
        if have.is_some_and(|have| have.get(piece)) {
            let outcome = self.claim(disk, piece);
            self.note(outcome);
        }
        if self.turns.is_multiple_of(BOUNDS_EVERY) {
            self.note(bounds());
        }
    }

    /// A look at everything.
    pub(crate) fn check(&self, disk: &Disk, have: Option<&Bitfield>) -> Result<(), String> {
        self.fault.clone().map_or(Ok(()), Err)?;
        let none = Bitfield::new(self.info.piece_count());
        self.journal(disk, &none)?;
        match have {
            Some(have) => have.ones().try_for_each(|piece| self.claim(disk, piece)),
            // Dormant.
            None if self.is_complete => self.whole(disk),
            None => Ok(()),
        }
    }
}

/// What a peer holds in memory is within the bounds of its configuration.
pub(crate) fn check_bounds(stats: &TorrentStats, config: &Config) -> Result<(), String> {
    let blocks = stats.held_bytes.div_ceil(u64::from(BLOCK_LEN)) as usize;
    let bounds = [
        ("peers", stats.peers, config.peers_max),
        ("dials", stats.dials, config.dials_max),
        ("candidates", stats.candidates, config.candidates_max),
        ("blocks in memory", blocks, config.credits_max),
    ];
    match bounds.iter().find(|(_, number, bound)| number > bound) {
        None => Ok(()),
        Some((what, number, bound)) => Err(format!("{number} {what}, and the bound is {bound}")),
    }
}
