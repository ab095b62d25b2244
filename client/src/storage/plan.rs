use wire::bitfield::Bitfield;
use wire::metainfo::Info;

use super::part_path;
use crate::disk::RelPath;

/// One file of a torrent.
#[derive(Clone, Debug)]
pub(super) struct PlanFile {
    /// Beneath the root.
    pub(super) path: RelPath,
    /// Bytes.
    pub(super) len: u64,
    /// Padding (BEP 47): zeros that are on no disk.
    pub(super) pad: bool,
    /// It is not wanted, and what pieces bring of it nevertheless is in the part file.
    in_part: bool,
    /// First byte in the torrent.
    offset: u64,
}

/// Which bytes of a torrent lie in which file.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// In the info dict's order, and behind them the part file: what pieces have of files that are not
    /// wanted, each byte where it is in the torrent. It is sparse, and only there if it is needed.
    pub(super) files: Vec<PlanFile>,
    /// Files have bytes in the part file.
    has_part: bool,
    /// Bytes of a piece but the last.
    piece_length: u64,
    total_len: u64,
    piece_count: u32,
}

impl Plan {
    /// The files as the info dict names them.
    pub(super) fn new(info: &Info) -> Plan {
        let files = info.files.iter().map(|file| PlanFile {
            path: file.path.clone(),
            len: file.len,
            pad: file.pad,
            in_part: false,
            offset: file.offset,
        });
        let part = PlanFile {
            path: part_path(&info.info_hash),
            len: info.total_len,
            pad: false,
            in_part: false,
            offset: u64::MAX / 2,
        };
        Plan {
            files: files.chain([part]).collect(),
            has_part: false,
            piece_length: u64::from(info.piece_length),
            total_len: info.total_len,
            piece_count: info.piece_count(),
        }
    }

    pub(super) fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Bytes of a piece; 0 beyond the last.
    pub(super) fn piece_len(&self, piece: u32) -> u32 {
        let start = u64::from(piece) * self.piece_length;
        let len = self.total_len.saturating_sub(start).min(self.piece_length);
        // A piece length is a u32 in the info dict.
        len as u32
    }

    /// Whether these bytes lie in the piece, and are any.
    pub(super) fn is_inside(&self, piece: u32, begin: u32, len: u32) -> bool {
        let end = u64::from(begin) + u64::from(len);
        len > 0 && piece < self.piece_count && end <= u64::from(self.piece_len(piece))
    }

    /// Where bytes of a piece lie: (file, first byte in it, bytes), pad files among them.
    pub(super) fn extents(
        &self,
        piece: u32,
        begin: u32,
        len: u32,
    ) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let start = u64::from(piece) * self.piece_length + u64::from(begin);
        let end = start + u64::from(len);
        let first = self.files.partition_point(|file| file.offset + file.len <= start);
        let files = self.files.iter().enumerate().skip(first);
        files.take_while(move |(_, file)| file.offset < end).filter_map(move |(index, file)| {
            let from = start.max(file.offset);
            let to = end.min(file.offset + file.len);
            let place =
                if file.in_part { (self.part(), from) } else { (index, from - file.offset) };
            (from < to).then(|| (place.0, place.1, to - from))
        })
    }

    /// The same of a whole piece, without pad files.
    pub(super) fn real_extents(&self, piece: u32) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        // A part file that is not there lacks what it should hold.
        self.extents(piece, 0, self.piece_len(piece)).filter(|(file, ..)| !self.files[*file].pad)
    }

    /// Bytes of a piece that are on a disk.
    pub(super) fn real_len(&self, piece: u32) -> u64 {
        self.real_extents(piece).map(|(.., len)| len).sum()
    }

    /// The pieces that have bytes of a file; of the part file none.
    pub(super) fn pieces_of(&self, file: usize) -> std::ops::Range<u32> {
        let is_whole = |(index, file): &(usize, &PlanFile)| *index != self.part() && file.len > 0;
        let file = self.files.iter().enumerate().nth(file).filter(is_whole);
        let Some((_, file)) = file else { return 0..0 };
        let first = file.offset / self.piece_length;
        let end = (file.offset + file.len).div_ceil(self.piece_length);
        // Both at most the piece count.
        first as u32..end as u32
    }

    /// Whether a file is to be on the disk.
    pub(super) fn is_real(&self, file: usize) -> bool {
        let is_there = file != self.part() || self.has_part;
        is_there && self.files.get(file).is_some_and(|file| !file.pad && !file.in_part)
    }

    /// The part file's index.
    pub(super) fn part(&self) -> usize {
        self.files.len() - 1
    }

    /// A file is neither wanted nor there.
    pub(super) fn put_in_part(&mut self, file: usize) {
        if let Some(file) = self.files.get_mut(file).filter(|file| !file.pad) {
            file.in_part = true;
        }
    }

    /// Whether a file's bytes lie in the part file.
    pub(super) fn is_in_part(&self, file: usize) -> bool {
        self.files.get(file).is_some_and(|file| file.in_part)
    }

    /// Whether the part file is there or will be: `is_there`, or one of `pieces` has bytes for it.
    pub(super) fn settle_part(&mut self, is_there: bool, pieces: &Bitfield) {
        let part = self.part();
        let needs = |piece| self.extents(piece, 0, self.piece_len(piece)).any(|(f, ..)| f == part);
        self.has_part =
            self.files.iter().any(|file| file.in_part) && (is_there || pieces.ones().any(needs));
    }

    /// The pieces that have bytes of these files.
    pub(super) fn pieces_of_all(&self, wanted: impl Fn(usize) -> bool) -> Bitfield {
        let mut pieces = Bitfield::new(self.piece_count);
        for (index, file) in self.files.iter().enumerate() {
            if !file.pad && wanted(index) {
                self.pieces_of(index).for_each(|piece| pieces.set(piece));
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fixture::info;

    #[test]
    fn a_piece_lies_in_the_files_that_its_bytes_fall_into() {
        let info = info("t", &[("a", 10), ("empty", 0), ("b", 5), ("c", 20)], 16);
        let plan = Plan::new(&info);
        assert_eq!(plan.piece_count(), 3);
        let extents = |piece, begin, len| plan.extents(piece, begin, len).collect::<Vec<_>>();
        assert_eq!(extents(0, 0, 16), [(0, 0, 10), (2, 0, 5), (3, 0, 1)]);
        assert_eq!(extents(0, 10, 4), [(2, 0, 4)]);
        assert_eq!(extents(1, 0, 16), [(3, 1, 16)]);
        assert_eq!(extents(2, 0, 3), [(3, 17, 3)]);
        assert_eq!(plan.piece_len(2), 3);
        assert!(plan.is_inside(2, 0, 3) && !plan.is_inside(2, 1, 3) && !plan.is_inside(3, 0, 1));
        assert_eq!(plan.pieces_of(0), 0..1);
        assert_eq!(plan.pieces_of(1), 0..0);
        assert_eq!(plan.pieces_of(3), 0..3);
    }

    #[test]
    fn what_is_not_wanted_lies_in_the_part_file_where_it_is_in_the_torrent() {
        let mut plan = Plan::new(&info("t", &[("a", 10), ("b", 5), ("c", 20)], 16));
        assert!(!plan.is_real(plan.part()));
        plan.put_in_part(1);
        plan.put_in_part(2);
        plan.settle_part(false, &Bitfield::full(3));
        assert_eq!(
            plan.extents(0, 0, 16).collect::<Vec<_>>(),
            [(0, 0, 10), (3, 10, 5), (3, 15, 1)]
        );
        assert_eq!(plan.real_len(1), 16);
        assert!(plan.is_real(3) && !plan.is_real(1));
        assert_eq!(plan.pieces_of_all(|file| file == 1).ones().collect::<Vec<_>>(), [0]);
        assert_eq!(plan.pieces_of_all(|file| file == 2).ones().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(plan.pieces_of(3), 0..0);
    }

    #[test]
    fn no_torrent_reaches_the_journals() {
        let plan = Plan::new(&info(".Trackerless", &[("a", 10)], 16));
        assert!(!plan.files[0].path[0].eq_ignore_ascii_case(crate::storage::STATE_FOLDER));
    }
}
