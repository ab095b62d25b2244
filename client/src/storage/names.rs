//! Files that were given other paths than their torrent names.
//!
//! ```text
//! magic 8 | crc32c of what follows u32, little-endian | bencode: a list of [file, [elements]]
//! ```
//!
//! It lies beside the journal, also where a torrent has none because it is only served, and is
//! replaced as a whole, so it is never half written. Without it all paths are the torrent's.

use std::collections::BTreeMap;
use std::fmt;

use wire::InfoHash;
use wire::bencode::{Encoder, Limits, Value};
use wire::metainfo::{Info, chosen_path};

use super::STATE_FOLDER;
use crate::disk::RelPath;

const MAGIC: [u8; 8] = *b"TRKLSNAM";
/// Before the bencode.
const HEAD_LEN: usize = 8 + 4;

/// Where the names of a torrent's files are kept, beneath its root.
pub fn names_path(info_hash: &InfoHash) -> RelPath {
    vec![STATE_FOLDER.to_owned(), format!("{info_hash}.names")]
}

/// The files of a torrent that were renamed, by their number in the info dict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<u32, RelPath>);

/// Why a file cannot have a path, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The torrent has no such file.
    NoSuchFile {
        /// The number that was named.
        file: u32,
        /// How many it has; the first is 0.
        files: usize,
    },
    /// The file is padding (BEP 47), which is on no disk.
    Padding(u32),
    /// It is no relative path of plain names.
    Unsafe(String),
    /// Another file of the torrent has that path, or needs it as a folder, or is in the way of one.
    Taken(String),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::NoSuchFile { file, files } => {
                let last = files.saturating_sub(1);
                write!(f, "there is no file {file}: the torrent has the files 0 to {last}")
            }
            NameError::Padding(file) => {
                write!(f, "file {file} is padding, which is on no disk: choose another")
            }
            NameError::Unsafe(path) => write!(
                f,
                "{path:?} is no path for a file: name one beneath the torrent's folder, without \
                 `..`, empty or very long elements, `\\` and control characters, and not in \
                 {STATE_FOLDER}"
            ),
            NameError::Taken(path) => {
                write!(f, "{path}: another file of the torrent is there; choose another path")
            }
        }
    }
}

impl std::error::Error for NameError {}

impl Names {
    /// Reads what [`Names::encode`] wrote; `None` if it is damaged or fits another torrent.
    pub fn read(bytes: &[u8], info: &Info) -> Option<Names> {
        let crc = u32::from_le_bytes(bytes.get(8..HEAD_LEN)?.try_into().ok()?);
        let bencode = bytes.get(HEAD_LEN..)?;
        if bytes.get(..8)? != MAGIC || crc32c::crc32c(bencode) != crc {
            return None;
        }
        let mut names = Names::default();
        for entry in Value::parse(bencode, Limits::METAINFO).ok()?.as_list()? {
            let mut entry = entry.as_list()?;
            let file = u32::try_from(entry.next()?.as_int()?).ok()?;
            let elements = entry.next()?.as_list()?.map(|element| element.as_str());
            let path = elements.collect::<Option<Vec<_>>>()?.join("/");
            names.0.insert(file, names.check(info, file, &path).ok()?);
        }
        (!names.clash(info)).then_some(names)
    }

    /// The bytes to keep.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [MAGIC.as_slice(), &[0; 4]].concat();
        Encoder::new(&mut out).list(|list| {
            for (file, path) in &self.0 {
                list.list(|entry| {
                    entry.int(i64::from(*file));
                    entry.list(|path_list| path.iter().for_each(|e| path_list.bytes(e.as_bytes())));
                });
            }
        });
        let crc = crc32c::crc32c(&out[HEAD_LEN..]);
        out[8..HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Where all files of the torrent are, in the order of the info dict.
    pub fn paths(&self, info: &Info) -> Vec<RelPath> {
        let path = |(file, entry): (u32, &wire::metainfo::FileEntry)| {
            self.0.get(&file).unwrap_or(&entry.path).clone()
        };
        (0..).zip(&info.files).map(path).collect()
    }

    /// Gives a file another path, its elements joined by `/`.
    ///
    /// # Errors
    /// There is no such file on a disk; the path is none that a torrent could have, or another file
    /// is there. Nothing has changed then.
    pub fn rename(&mut self, info: &Info, file: u32, path: &str) -> Result<(), NameError> {
        let path_for_people = path;
        let path = self.check(info, file, path)?;
        let before = self.clone();
        self.0.insert(file, path);
        if self.clash(info) {
            *self = before;
            return Err(NameError::Taken(path_for_people.to_owned()));
        }
        Ok(())
    }

    fn check(&self, info: &Info, file: u32, path: &str) -> Result<RelPath, NameError> {
        let files = info.files.len();
        match info.files.get(file as usize) {
            None => Err(NameError::NoSuchFile { file, files }),
            Some(entry) if entry.pad => Err(NameError::Padding(file)),
            Some(_) => chosen_path(path).ok_or_else(|| NameError::Unsafe(path.to_owned())),
        }
    }

    /// Whether two files are in one place, also where case does not count, or one is where another
    /// needs a folder.
    fn clash(&self, info: &Info) -> bool {
        let real = self.paths(info).into_iter().zip(&info.files).filter(|(_, file)| !file.pad);
        let mut keys: Vec<String> =
            real.map(|(path, _)| path.join("/").to_lowercase() + "/").collect();
        keys.sort_unstable();
        // What begins with a path stands right behind it.
        keys.windows(2).any(|pair| pair[1].starts_with(&pair[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fixture::info;

    fn torrent() -> Info {
        info("t", &[("a", 10), ("b", 5), ("c", 20)], 16)
    }

    fn joined(names: &Names) -> Vec<String> {
        names.paths(&torrent()).iter().map(|path| path.join("/")).collect()
    }

    #[test]
    fn renamed_files_are_known_again_and_the_others_stay() {
        let mut names = Names::default();
        names.rename(&torrent(), 1, "d/\u{e9}/x").unwrap();
        names.rename(&torrent(), 0, "t/A").unwrap();
        assert_eq!(joined(&names), ["t/A", "d/\u{e9}/x", "t/c"]);
        assert_eq!(Names::read(&names.encode(), &torrent()), Some(names.clone()));
        // Two change places, by a third.
        for (file, path) in [(0, "y"), (1, "t/A"), (0, "d/\u{e9}/x"), (2, "t/b")] {
            names.rename(&torrent(), file, path).unwrap();
        }
        assert_eq!(joined(&names), ["d/\u{e9}/x", "t/A", "t/b"]);
        assert_eq!(Names::read(&names.encode(), &torrent()), Some(names));
    }

    #[test]
    fn a_place_that_is_taken_or_no_place_is_refused_and_nothing_changes() {
        let mut names = Names::default();
        names.rename(&torrent(), 2, "d/c").unwrap();
        for path in ["t/b", "T/B", "t", "t/b/x", "D", "d/C/x"] {
            assert_eq!(names.rename(&torrent(), 0, path), Err(NameError::Taken(path.into())));
        }
        for path in ["", "..", "/a", "a/../b", "a\0", ".trackerless/x", ".Trackerless/x"] {
            let error = names.rename(&torrent(), 0, path).unwrap_err();
            assert_eq!(error, NameError::Unsafe(path.into()));
        }
        let error = names.rename(&torrent(), 3, "x").unwrap_err();
        assert_eq!(error, NameError::NoSuchFile { file: 3, files: 3 });
        assert_eq!(joined(&names), ["t/a", "t/b", "d/c"]);
        let mut padded = torrent();
        padded.files[1].pad = true;
        assert_eq!(names.rename(&padded, 1, "x"), Err(NameError::Padding(1)));
        // Padding is in nobody's way.
        names.rename(&padded, 0, "t/b").unwrap();
    }

    #[test]
    fn what_is_damaged_or_unsafe_is_not_believed() {
        let mut names = Names::default();
        names.rename(&torrent(), 0, "x").unwrap();
        let bytes = names.encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert_eq!(Names::read(&bad, &torrent()), None, "byte {at}");
            assert_eq!(Names::read(&bytes[..at], &torrent()), None, "{at} bytes");
        }
        for (file, path) in [(0, ".."), (9, "x"), (1, "t/a"), (0, ".trackerless")] {
            let forged = Names([(file, vec![path.to_owned()])].into());
            let forged = if path == "t/a" {
                Names([(file, vec!["t".to_owned(), "a".to_owned()])].into())
            } else {
                forged
            };
            assert_eq!(Names::read(&forged.encode(), &torrent()), None, "{path}");
        }
    }
}
