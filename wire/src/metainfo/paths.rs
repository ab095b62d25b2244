//! Makes paths out of what a stranger wrote.
//!
//! What can only be an attack is refused: `..`, absolute paths, NUL. What is merely odd is mended:
//! empty elements and `.` are dropped, characters that some systems do not take and control
//! characters become `_`, too long elements are shortened, and of files that would end up in one
//! place (also when case does not count) all but the first get a number.

use std::collections::BTreeMap;

use super::MetainfoError;
use crate::bencode::List;

/// Longest element, in bytes: NAME_MAX of Linux, less room for a number.
const ELEMENT_MAX: usize = 240;
/// Most elements: libtorrent's directory depth.
const DEPTH_MAX: usize = 100;
/// Longest path, in bytes: PATH_MAX of Linux is 4096, and the download folder stands before it.
const PATH_BYTES_MAX: usize = 3000;
/// Most files of one name (libtorrent: 500).
const SAME_NAME_MAX: u32 = 500;
/// Bytes of all paths together: as many as the longest torrent file that is read has
/// (`Limits::METAINFO`). The torrent's name counts in each path, so that they may be far longer than
/// what tells them.
const ALL_PATHS_BYTES_MAX: usize = 64 << 20;
/// The folder of our own state, which no torrent may touch.
const STATE_FOLDER: &str = ".trackerless";

/// The torrent's name as an element. A single element, whatever it contains.
pub(super) fn name(bytes: &[u8]) -> Result<String, MetainfoError> {
    element(bytes)?.ok_or(MetainfoError::Missing("name"))
}

/// The path of a file in the folder `name`.
pub(super) fn elements(name: &str, path: List<'_>) -> Result<Vec<String>, MetainfoError> {
    let mut out = vec![name.to_string()];
    let mut len = name.len();
    for value in path {
        let bytes = value.as_bytes().ok_or(MetainfoError::Missing("path"))?;
        if let Some(element) = element(bytes)? {
            len += element.len() + 1;
            out.push(element);
        }
        if out.len() > DEPTH_MAX || len > PATH_BYTES_MAX {
            return Err(MetainfoError::Range("path"));
        }
    }
    if out.len() < 2 { Err(MetainfoError::Missing("path")) } else { Ok(out) }
}

/// The elements of a path that a user chose for a file, joined by `/`, if a torrent could have it as it
/// stands: what would be refused in a torrent is refused here, and so is what would be mended there.
pub fn chosen_path(path: &str) -> Option<Vec<String>> {
    let is_whole = |part: &&str| matches!(element(part.as_bytes()), Ok(Some(e)) if e == **part);
    let parts: Vec<&str> = path.split('/').collect();
    let fits = parts.len() <= DEPTH_MAX && path.len() <= PATH_BYTES_MAX;
    (fits && parts.iter().all(is_whole)).then(|| parts.into_iter().map(str::to_owned).collect())
}

/// One element, made safe; None if nothing is left of it.
fn element(bytes: &[u8]) -> Result<Option<String>, MetainfoError> {
    let text = String::from_utf8_lossy(bytes);
    if text == ".." || text.starts_with('/') || text.contains('\0') {
        return Err(MetainfoError::UnsafePath(text.into_owned()));
    }
    if text.split(['/', '\\']).any(|part| part == "..") {
        return Err(MetainfoError::UnsafePath(text.into_owned()));
    }
    if text.is_empty() || text == "." {
        return Ok(None);
    }
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c })
        .collect();
    let clean =
        if clean.eq_ignore_ascii_case(STATE_FOLDER) { "_".to_string() + &clean } else { clean };
    Ok(Some(shorten(clean)))
}

/// Cuts a long element in the middle, so that its extension stays.
fn shorten(element: String) -> String {
    if element.len() <= ELEMENT_MAX {
        return element;
    }
    let (stem, extension) = split_extension(&element);
    let keep = ELEMENT_MAX.saturating_sub(extension.len());
    let (stem, extension) =
        if extension.len() > 20 { (&element[..], "") } else { (stem, extension) };
    let keep = if extension.is_empty() { ELEMENT_MAX } else { keep };
    let end = (0..=keep.min(stem.len())).rev().find(|&at| stem.is_char_boundary(at)).unwrap_or(0);
    format!("{}{extension}", &stem[..end])
}

fn split_extension(element: &str) -> (&str, &str) {
    match element.rfind('.') {
        Some(at) if at > 0 => element.split_at(at),
        _ => (element, ""),
    }
}

/// `element`, or the one of this number that is called like it.
fn numbered(element: &str, number: u32) -> String {
    if number == 0 {
        return element.to_string();
    }
    let (stem, extension) = split_extension(element);
    format!("{stem}.{number}{extension}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

/// What stands under a name already.
#[derive(Default)]
struct Place {
    /// The index of what is in it, if it is a folder.
    folder: Option<usize>,
    /// The next number for a file that is to be called so: all below are taken.
    file_number: u32,
    /// The same for a folder: files have all below.
    folder_number: u32,
}

/// The paths of one torrent, no two of them alike.
pub(super) struct Paths {
    /// By lower case, what each folder has; the first is the download folder.
    folders: Vec<BTreeMap<String, Place>>,
    bytes: usize,
}

impl Paths {
    pub(super) fn new() -> Paths {
        Paths { folders: vec![BTreeMap::new()], bytes: 0 }
    }

    /// `path`, or one like it with a number in the element that clashes.
    pub(super) fn unique(&mut self, mut path: Vec<String>) -> Result<Vec<String>, MetainfoError> {
        let mut folder = 0;
        let last = path.len().saturating_sub(1);
        for (at, element) in path.iter_mut().enumerate() {
            let kind = if at == last { Kind::File } else { Kind::Folder };
            (*element, folder) = self.place(folder, element, kind)?;
            self.bytes += element.len();
        }
        if self.bytes > ALL_PATHS_BYTES_MAX {
            return Err(MetainfoError::LongPaths);
        }
        // Pushed one by one, a few elements take the room of four.
        path.shrink_to_fit();
        Ok(path)
    }

    /// Takes a place for `element` in a folder: its name, and the index of what is in it. What is
    /// taken stays so: no number is tried twice, however many paths clash.
    fn place(
        &mut self,
        folder: usize,
        element: &str,
        kind: Kind,
    ) -> Result<(String, usize), MetainfoError> {
        let own = element.to_lowercase();
        let first = self.folders[folder].get(&own).map_or(0, |place| match kind {
            Kind::File => place.file_number,
            Kind::Folder => place.folder_number,
        });
        for number in first..=SAME_NAME_MAX {
            let name = numbered(element, number);
            let key = name.to_lowercase();
            let inner = match self.folders[folder].get(&key) {
                None => self.take(folder, key, kind),
                // A folder holds many files.
                Some(Place { folder: Some(inner), .. }) if kind == Kind::Folder => *inner,
                Some(_) => continue,
            };
            if let Some(place) = self.folders[folder].get_mut(&own) {
                match kind {
                    Kind::File => place.file_number = number + 1,
                    Kind::Folder => place.folder_number = number,
                }
            }
            return Ok((name, inner));
        }
        Err(MetainfoError::PathClash(element.to_string()))
    }

    fn take(&mut self, folder: usize, key: String, kind: Kind) -> usize {
        let inner = self.folders.len();
        let is_folder = kind == Kind::Folder;
        self.folders.extend(is_folder.then(BTreeMap::new));
        let place = Place { folder: is_folder.then_some(inner), ..Place::default() };
        self.folders[folder].insert(key, place);
        inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode::{Encoder, Limits, Value};

    fn path(parts: &[&[u8]]) -> Result<String, MetainfoError> {
        let mut out = Vec::new();
        Encoder::new(&mut out).list(|list| parts.iter().for_each(|part| list.bytes(part)));
        let value = Value::parse(&out, Limits::METAINFO).unwrap();
        elements("top", value.as_list().unwrap()).map(|path| path.join("/"))
    }

    #[test]
    fn attacks_are_refused() {
        for parts in [
            &[&b".."[..], b"x"][..],
            &[b"a", b"..", b"..", b"x"],
            &[b"/etc", b"passwd"],
            &[b"../x"],
            &[b"a\\..\\..\\x"],
            &[b"a\0b"],
        ] {
            assert!(matches!(path(parts), Err(MetainfoError::UnsafePath(_))), "{parts:?}");
        }
        assert!(name(b"..").is_err() && name(b"/x").is_err() && name(b"").is_err());
        assert!(path(&[]).is_err() && path(&[b"", b"."]).is_err());
        assert!(path(&vec![&b"a"[..]; 200]).is_err(), "too deep");
        assert!(path(&vec![&[b'a'; 200][..]; 50]).is_err(), "too long");
    }

    #[test]
    fn oddities_are_mended() {
        assert_eq!(path(&[b"", b"a", b".", b"b"]).unwrap(), "top/a/b");
        assert_eq!(path(&[b"a\\b\x01c"]).unwrap(), "top/a_b_c");
        assert_eq!(path(&[b"a/b"]).unwrap(), "top/a_b");
        assert_eq!(path(&[b"\xff\xfe"]).unwrap(), "top/\u{fffd}\u{fffd}");
        assert_eq!(name(b".Trackerless").unwrap(), "_.Trackerless");
        let long = ["\u{e9}".repeat(300), ".tar".to_string()].concat();
        let short = path(&[long.as_bytes()]).unwrap();
        assert!(short.len() <= 4 + ELEMENT_MAX && short.ends_with("\u{e9}.tar"), "{short}");
        assert!(path(&[&[b'.'; 400]]).unwrap().len() <= 4 + ELEMENT_MAX);
    }

    #[test]
    fn a_chosen_path_is_taken_as_it_stands_or_not_at_all() {
        assert_eq!(chosen_path("a").unwrap(), ["a"]);
        assert_eq!(chosen_path("d/\u{e9} b.tar").unwrap(), ["d", "\u{e9} b.tar"]);
        let long = ["a".repeat(241), "a/".repeat(100) + "a", vec!["a".repeat(200); 16].join("/")];
        let long = long.iter().map(String::as_str);
        let odd = ["", "/", "/a", "a/", "a//b", ".", "a/./b", "..", "a/../b", "a\0", "a\n", "a\\b"];
        for path in odd.into_iter().chain([".trackerless/x", "a/.Trackerless"]).chain(long) {
            assert_eq!(chosen_path(path), None, "{path:?}");
        }
    }

    #[test]
    fn clashes_get_a_number() {
        let mut paths = Paths::new();
        let mut add = |path: &str| {
            let path = path.split('/').map(String::from).collect();
            paths.unique(path).map(|path| path.join("/"))
        };
        assert_eq!(add("t/foo.txt").unwrap(), "t/foo.txt");
        assert_eq!(add("t/FOO.txt").unwrap(), "t/FOO.1.txt");
        assert_eq!(add("t/foo.txt").unwrap(), "t/foo.2.txt");
        assert_eq!(add("t/foo.txt/x").unwrap(), "t/foo.3.txt/x", "a file is no folder");
        assert_eq!(add("t/d/x").unwrap(), "t/d/x");
        assert_eq!(add("t/d").unwrap(), "t/d.1", "a folder is no file");
        assert_eq!(add("t/D/y").unwrap(), "t/D/y");
        for _ in 0..SAME_NAME_MAX {
            add("t/same").unwrap();
        }
        add("t/same").unwrap();
        assert!(matches!(add("t/same"), Err(MetainfoError::PathClash(_))));
    }
}
