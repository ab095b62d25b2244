//! The info dict (BEP 3, "info dictionary").

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::MetainfoError;
use super::paths::{self, Paths};
use crate::bencode::{Limits, List, Value};
use crate::id::{Id, InfoHash};

/// Longest piece: 32,767 blocks of 16 KiB, rounded up (libtorrent, torrent_info.cpp).
const PIECE_LENGTH_MAX: i64 = 512 << 20;
/// Most pieces (libtorrent: max_piece_count).
const PIECES_MAX: usize = 1 << 21;
/// Longest torrent: what the two bounds above allow is beyond any disk; 2^50 bytes are 1 PiB.
const TOTAL_MAX: u64 = 1 << 50;

/// A file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it goes beneath the download folder. In a torrent of several files the first element
    /// is the torrent's name. Each element is safe to join.
    pub path: Vec<String>,
    /// Bytes.
    pub len: u64,
    /// Its first byte in the torrent.
    pub offset: u64,
    /// Zeros between files, never on the disk (BEP 47).
    pub pad: bool,
}

/// What an info-hash names: the files, and the hashes of the pieces that they make. Clones share what
/// is large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The dict as it stands in the file.
    pub raw: Arc<[u8]>,
    /// Its SHA-1.
    pub info_hash: InfoHash,
    /// Suggested name of the file or folder.
    pub name: String,
    /// Bytes of each piece but the last.
    pub piece_length: u32,
    /// SHA-1 of each piece.
    pub piece_hashes: Arc<[[u8; 20]]>,
    /// The files, in the order of their bytes.
    pub files: Vec<FileEntry>,
    /// Bytes of all files.
    pub total_len: u64,
    /// Whether it is one file and no folder.
    pub single_file: bool,
    /// Peers may only come from the torrent's own trackers (BEP 27).
    pub private: bool,
}

impl Info {
    /// Reads an info dict.
    ///
    /// # Errors
    /// It is no bencode, or no torrent that we take.
    pub fn parse(raw: &[u8]) -> Result<Info, MetainfoError> {
        Info::from_value(Value::parse(raw, Limits::METAINFO)?)
    }

    pub(super) fn from_value(info: Value<'_>) -> Result<Info, MetainfoError> {
        if info.as_dict().is_none() {
            return Err(MetainfoError::Missing("info"));
        }
        let hashes = info.get(b"pieces").and_then(|pieces| pieces.as_bytes());
        let Some(hashes) = hashes else {
            let v2 = info.get(b"meta version").and_then(|v| v.as_int()) == Some(2);
            return Err(if v2 { MetainfoError::OnlyV2 } else { MetainfoError::Missing("pieces") });
        };
        let piece_length = int(&info, b"piece length", "piece length")?;
        if !(1..=PIECE_LENGTH_MAX).contains(&piece_length) {
            return Err(MetainfoError::Range("piece length"));
        }
        let raw_name = text(&info, b"name.utf-8", b"name").ok_or(MetainfoError::Missing("name"))?;
        let name = paths::name(raw_name)?;
        let (files, single_file) = read_files(&info, &name)?;
        let total_len = files.last().map_or(0, |file| file.offset + file.len);
        if total_len == 0 {
            return Err(MetainfoError::Range("length"));
        }
        let count = total_len.div_ceil(piece_length as u64);
        if !hashes.len().is_multiple_of(20)
            || hashes.len() / 20 > PIECES_MAX
            || (hashes.len() / 20) as u64 != count
        {
            return Err(MetainfoError::PieceCount);
        }
        let piece_hashes = hashes.chunks_exact(20).filter_map(|h| h.try_into().ok()).collect();
        Ok(Info {
            raw: info.raw().into(),
            info_hash: Id(Sha1::digest(info.raw()).into()),
            name,
            piece_length: piece_length as u32,
            piece_hashes,
            files,
            total_len,
            single_file,
            private: info.get(b"private").and_then(|p| p.as_int()).is_some_and(|p| p != 0),
        })
    }

    /// The paths of the files as the dict has them, with nothing mended: names only to look for, no
    /// path of them is safe to join.
    pub fn raw_paths(&self) -> Vec<Vec<String>> {
        let Ok(info) = Value::parse(&self.raw, Limits::METAINFO) else { return Vec::new() };
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = text(&info, b"name.utf-8", b"name").map(lossy).unwrap_or_default();
        let Some(files) = info.get(b"files").and_then(|files| files.as_list()) else {
            return vec![vec![name]];
        };
        let path = |file: Value<'_>| {
            let elements = path_of(&file).into_iter().flatten();
            let elements = elements.filter_map(|element| element.as_bytes().map(lossy));
            std::iter::once(name.clone()).chain(elements).collect()
        };
        files.map(path).collect()
    }

    /// Number of pieces.
    pub fn piece_count(&self) -> u32 {
        self.piece_hashes.len() as u32
    }

    /// Bytes of `piece`; 0 if there is none such.
    pub fn piece_len(&self, piece: u32) -> u32 {
        let start = u64::from(piece) * u64::from(self.piece_length);
        self.total_len.saturating_sub(start).min(u64::from(self.piece_length)) as u32
    }

    /// Where a run of a piece lies: index of the file, first byte in it, bytes. Empty files are
    /// passed over; what lies beyond the torrent is left out.
    pub fn extents(
        &self,
        piece: u32,
        begin: u32,
        len: u32,
    ) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let start = u64::from(piece) * u64::from(self.piece_length) + u64::from(begin);
        let end = start + u64::from(len);
        let first = self.files.partition_point(|file| file.offset + file.len <= start);
        self.files[first..]
            .iter()
            .zip(first..)
            .take_while(move |(file, _)| file.offset < end)
            .filter_map(move |(file, index)| {
                let from = start.max(file.offset);
                let to = end.min(file.offset + file.len);
                (from < to).then(|| (index, from - file.offset, to - from))
            })
    }
}

fn read_files(info: &Value<'_>, name: &str) -> Result<(Vec<FileEntry>, bool), MetainfoError> {
    let mut paths = Paths::new();
    let Some(list) = info.get(b"files") else {
        let len = length(info)?;
        let path = paths.unique(vec![name.to_string()])?;
        return Ok((vec![FileEntry { path, len, offset: 0, pad: false }], true));
    };
    let list = list.as_list().ok_or(MetainfoError::Missing("files"))?;
    let mut files = Vec::new();
    let mut offset = 0u64;
    for file in list {
        let len = length(&file)?;
        let pad = file
            .get(b"attr")
            .and_then(|attr| attr.as_bytes())
            .is_some_and(|attr| attr.contains(&b'p'));
        let path = match path_of(&file) {
            Some(elements) => paths::elements(name, elements)?,
            None if pad => vec![name.to_string(), ".pad".to_string()],
            None => return Err(MetainfoError::Missing("path")),
        };
        let path = if pad { path } else { paths.unique(path)? };
        files.push(FileEntry { path, len, offset, pad });
        offset = offset
            .checked_add(len)
            .filter(|&total| total <= TOTAL_MAX)
            .ok_or(MetainfoError::Range("length"))?;
    }
    if files.is_empty() {
        return Err(MetainfoError::Missing("files"));
    }
    files.shrink_to_fit();
    Ok((files, false))
}

fn path_of<'a>(file: &Value<'a>) -> Option<List<'a>> {
    let better = file.get(b"path.utf-8").and_then(|path| path.as_list());
    better.or_else(|| file.get(b"path")?.as_list())
}

fn length(file: &Value<'_>) -> Result<u64, MetainfoError> {
    u64::try_from(int(file, b"length", "length")?)
        .ok()
        .filter(|&len| len <= TOTAL_MAX)
        .ok_or(MetainfoError::Range("length"))
}

fn int(dict: &Value<'_>, key: &[u8], name: &'static str) -> Result<i64, MetainfoError> {
    dict.get(key).and_then(|value| value.as_int()).ok_or(MetainfoError::Missing(name))
}

fn text<'a>(dict: &Value<'a>, better: &[u8], key: &[u8]) -> Option<&'a [u8]> {
    let better = dict.get(better).and_then(|value| value.as_bytes());
    better.or_else(|| dict.get(key)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::build_info;

    fn parse(bencode: &str) -> Result<Info, MetainfoError> {
        Info::parse(bencode.as_bytes())
    }

    const H: &str = "6:pieces20:aaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn one_file() {
        let info = parse(&format!("d6:lengthi5e4:name1:x12:piece lengthi16384e{H}e")).unwrap();
        assert!(info.single_file && !info.private);
        assert_eq!(info.files[0].path, ["x"]);
        assert_eq!((info.piece_count(), info.piece_len(0), info.piece_len(1)), (1, 5, 0));
    }

    #[test]
    fn many_files_and_their_extents() {
        let path = |name: &str| vec!["d".to_string(), name.to_string()];
        let files = [(path("a"), 10), (path("empty"), 0), (path("b"), 20), (path("c"), 5)];
        let raw = build_info("top", &files, 16, &[[0; 20]; 3]);
        let info = Info::parse(&raw).unwrap();
        assert_eq!(info.files[2].path, ["top", "d", "b"]);
        let extents = |piece, begin, len| info.extents(piece, begin, len).collect::<Vec<_>>();
        assert_eq!(extents(0, 0, 16), [(0, 0, 10), (2, 0, 6)]);
        assert_eq!(extents(1, 0, 16), [(2, 6, 14), (3, 0, 2)]);
        assert_eq!(extents(2, 0, 3), [(3, 2, 3)]);
        assert_eq!(extents(2, 0, 99), [(3, 2, 3)]);
        assert_eq!(extents(9, 0, 9), []);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use MetainfoError::{Missing, OnlyV2, PieceCount, Range};
        for (dict, error) in [
            (format!("d4:name1:x12:piece lengthi1e{H}e"), Missing("length")),
            (format!("d6:lengthi5e12:piece lengthi9e{H}e"), Missing("name")),
            (format!("d6:lengthi5e4:name1:x{H}e"), Missing("piece length")),
            ("d6:lengthi5e4:name1:x12:piece lengthi9ee".into(), Missing("pieces")),
            (format!("d6:lengthi5e4:namei5e12:piece lengthi9e{H}e"), Missing("name")),
            (format!("d6:lengthi5e4:name1:x12:piece lengthi0e{H}e"), Range("piece length")),
            (format!("d6:lengthi5e4:name1:x12:piece lengthi-9e{H}e"), Range("piece length")),
            (
                format!("d6:lengthi5e4:name1:x12:piece lengthi9999999999e{H}e"),
                Range("piece length"),
            ),
            (format!("d6:lengthi-5e4:name1:x12:piece lengthi9e{H}e"), Range("length")),
            (format!("d6:lengthi0e4:name1:x12:piece lengthi9e{H}e"), Range("length")),
            (format!("d6:lengthi10e4:name1:x12:piece lengthi9e{H}e"), PieceCount),
            ("d6:lengthi5e4:name1:x12:piece lengthi9e6:pieces3:abce".into(), PieceCount),
            (format!("d5:filesle4:name1:x12:piece lengthi9e{H}e"), Missing("files")),
            (format!("d5:filesi1e4:name1:x12:piece lengthi9e{H}e"), Missing("files")),
            (format!("d5:filesld6:lengthi5eee4:name1:x12:piece lengthi9e{H}e"), Missing("path")),
            (
                format!(
                    "d5:filesld6:lengthi9223372036854775807e4:pathl1:aeee4:name1:x12:piece \
                     lengthi9e{H}e"
                ),
                Range("length"),
            ),
            ("d9:file treede12:meta versioni2e4:name1:x12:piece lengthi9ee".into(), OnlyV2),
            ("le".into(), Missing("info")),
        ] {
            assert_eq!(parse(&dict), Err(error), "{dict}");
        }
    }

    #[test]
    fn a_hybrid_is_read_by_its_v1_part() {
        let info = parse(&format!(
            "d9:file treed1:xd0:d6:lengthi5e11:pieces root32:{}eee6:lengthi5e12:meta versioni2e\
             4:name1:x12:piece lengthi16384e{H}e",
            "r".repeat(32)
        ))
        .unwrap();
        assert_eq!((info.total_len, info.piece_count(), info.single_file), (5, 1, true));
    }

    #[test]
    fn pads_and_private_are_told() {
        let info = parse(
            "d5:filesld6:lengthi3e4:pathl1:aeed4:attr1:p6:lengthi5eed6:lengthi2e4:pathl1:bee\
             e4:name1:x12:piece lengthi16e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei1ee",
        )
        .unwrap();
        assert_eq!(info.files.iter().map(|f| f.pad).collect::<Vec<_>>(), [false, true, false]);
        assert!(info.private);
    }
}
