//! What a lossy disk holds: of each file and folder what programs see, and what is sure to last.

use std::collections::BTreeMap;

use crate::content::splitmix;

/// The root folder's number, as FUSE has it.
pub(super) const ROOT: u64 = 1;

/// Names in a folder, and the numbers of what they name.
pub(super) type Names = BTreeMap<String, u64>;

/// Decisions that follow from a seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The decisions of this seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        splitmix(&mut self.0) % end.max(1)
    }

    /// True `times` times in `of`.
    pub fn is(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }
}

/// Bytes, and when they were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Nanoseconds since 1970.
    pub(super) mtime_ns: u64,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        put(&mut self.bytes, change.at, &change.bytes);
        self.bytes.resize(change.len, 0);
        self.mtime_ns = change.mtime_ns;
    }
}

/// Writes `new` at `at`, with zeros before it where there was nothing.
fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(new);
}

/// A write, or a change of length, that no sync has covered.
#[derive(Clone, Debug)]
struct Change {
    number: u64,
    at: usize,
    bytes: Vec<u8>,
    /// Of the file, from here on.
    len: usize,
    mtime_ns: u64,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// Beneath the root, for people and for the tests.
    pub(super) path: String,
    pub(super) now: Content,
    pub(super) lasting: Content,
    changes: Vec<Change>,
    /// Of the last change.
    number: u64,
}

impl File {
    pub(super) fn new(path: String, mtime_ns: u64) -> File {
        let content = Content { bytes: Vec::new(), mtime_ns };
        File { path, now: content.clone(), lasting: content, ..File::default() }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8], mtime_ns: u64) {
        let len = self.now.bytes.len().max(at + bytes.len());
        self.change(at, bytes.to_vec(), len, mtime_ns);
    }

    pub(super) fn set_len(&mut self, len: usize, mtime_ns: u64) {
        // What is cut off is zeros where the file grows again.
        let lost = self.now.bytes.len().saturating_sub(len);
        self.change(len, vec![0; lost], len, mtime_ns);
    }

    fn change(&mut self, at: usize, bytes: Vec<u8>, len: usize, mtime_ns: u64) {
        self.number += 1;
        let change = Change { number: self.number, at, bytes, len, mtime_ns };
        self.now.apply(&change);
        self.changes.push(change);
    }

    /// What a sync that begins now will cover.
    pub(super) fn mark(&self) -> u64 {
        self.number
    }

    /// A sync that began at `mark` has ended. Without `metadata` (fdatasync) the mtime may yet be
    /// lost; the length may not, or the data could not be read.
    pub(super) fn synced(&mut self, mark: u64, metadata: bool) {
        let covered = self.changes.partition_point(|change| change.number <= mark);
        let old = self.lasting.mtime_ns;
        self.changes.drain(..covered).for_each(|change| self.lasting.apply(&change));
        if !metadata {
            self.lasting.mtime_ns = old;
        }
    }

    /// The power went. Of each `unit` of bytes any state since the last sync may have lasted, and
    /// any length and mtime.
    fn cut(&self, unit: usize, chance: &mut Chance) -> Content {
        // Some files lose all that they can, and some nothing.
        let luck = chance.below(5);
        let count = self.changes.len();
        let mut pick = |count: usize| match luck {
            0 => 0,
            4 => count,
            luck if chance.is(luck, 4) => count,
            _ => chance.below(count as u64 + 1) as usize,
        };
        let mut lasted = self.lasting.clone();
        let known = pick(count);
        let len = self.changes[..known].last().map_or(lasted.bytes.len(), |change| change.len);
        // Of one inode, so no newer than the length.
        let known = pick(known);
        if let Some(change) = self.changes[..known].last() {
            lasted.mtime_ns = change.mtime_ns;
        }
        let end = self.changes.iter().map(|change| change.at + change.bytes.len()).max();
        for unit in units(end.unwrap_or(0), unit) {
            let touching: Vec<_> =
                self.changes.iter().filter_map(|change| clip(change, &unit)).collect();
            for (at, bytes) in &touching[..pick(touching.len())] {
                put(&mut lasted.bytes, *at, bytes);
            }
        }
        lasted.bytes.resize(len, 0);
        lasted
    }
}

fn units(end: usize, unit: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..end).step_by(unit).map(move |start| start..start + unit)
}

/// The part of a change that lies in `unit`.
fn clip<'a>(change: &'a Change, unit: &std::ops::Range<usize>) -> Option<(usize, &'a [u8])> {
    let (from, to) = (change.at.max(unit.start), (change.at + change.bytes.len()).min(unit.end));
    (from < to).then(|| (from, &change.bytes[from - change.at..to - change.at]))
}

/// A folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) path: String,
    pub(super) now: Names,
    pub(super) lasting: Names,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(File),
    Folder(Folder),
}

/// All of a disk.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<u64, Node>,
    last: u64,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { nodes: BTreeMap::from([(ROOT, Node::Folder(Folder::default()))]), last: ROOT }
    }

    pub(super) fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number)
    }

    pub(super) fn file(&mut self, number: u64) -> Option<&mut File> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(super) fn folder(&mut self, number: u64) -> Option<&mut Folder> {
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    pub(super) fn child(&self, folder: u64, name: &str) -> Option<u64> {
        match self.nodes.get(&folder) {
            Some(Node::Folder(folder)) => folder.now.get(name).copied(),
            _ => None,
        }
    }

    /// Makes a file (or a folder) in a folder; None if the name is taken, or no folder is there.
    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &str,
        is_file: bool,
        mtime_ns: u64,
    ) -> Option<u64> {
        let number = self.last + 1;
        let parent = self.folder(folder).filter(|parent| !parent.now.contains_key(name))?;
        parent.now.insert(name.to_owned(), number);
        let path = format!("{}/{name}", parent.path);
        let path = path.trim_start_matches('/').to_owned();
        let node = if is_file {
            Node::File(File::new(path, mtime_ns))
        } else {
            Node::Folder(Folder { path, ..Folder::default() })
        };
        self.last = number;
        self.nodes.insert(number, node);
        Some(number)
    }

    /// The bytes at a path that a cut cannot take away; None if its name may go.
    pub(super) fn sure(&self, path: &str) -> Option<&[u8]> {
        let mut at = self.nodes.get(&ROOT)?;
        for name in path.split('/') {
            let Node::Folder(folder) = at else { return None };
            at = self.nodes.get(folder.lasting.get(name)?)?;
        }
        match at {
            Node::File(file) => Some(&file.lasting.bytes),
            Node::Folder(_) => None,
        }
    }

    /// What is there after the power went. Everything gets a new number, so that nothing that a
    /// kernel remembers means it.
    pub(super) fn cut(&self, unit: usize, chance: &mut Chance) -> Tree {
        let mut lasted = Tree { nodes: BTreeMap::new(), last: self.last };
        self.cut_node(ROOT, ROOT, &mut lasted, unit, chance);
        lasted
    }

    fn cut_node(&self, old: u64, new: u64, into: &mut Tree, unit: usize, chance: &mut Chance) {
        let node = match self.nodes.get(&old) {
            Some(Node::File(file)) => {
                let content = file.cut(unit, chance);
                let path = file.path.clone();
                Node::File(File { path, now: content.clone(), lasting: content, ..File::default() })
            }
            Some(Node::Folder(folder)) => {
                let luck = chance.below(5);
                let mut names = Names::new();
                for (name, number) in &folder.now {
                    if folder.lasting.contains_key(name) || chance.is(luck, 4) {
                        into.last += 1;
                        let new = into.last;
                        names.insert(name.clone(), new);
                        self.cut_node(*number, new, into, unit, chance);
                    }
                }
                Node::Folder(Folder {
                    path: folder.path.clone(),
                    now: names.clone(),
                    lasting: names,
                })
            }
            None => return,
        };
        into.nodes.insert(new, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: usize = 4;

    /// All that a file can come to in a cut.
    fn outcomes(file: &File) -> Vec<Content> {
        let cut = |seed| file.cut(UNIT, &mut Chance::new(seed));
        let mut all: Vec<_> = (0..2_000).map(cut).collect();
        all.sort_by(|a, b| (&a.bytes, a.mtime_ns).cmp(&(&b.bytes, b.mtime_ns)));
        all.dedup();
        all
    }

    fn texts(file: &File) -> Vec<String> {
        let text = |content: &Content| String::from_utf8_lossy(&content.bytes).replace('\0', ".");
        let mut all: Vec<_> = outcomes(file).iter().map(text).collect();
        all.dedup();
        all
    }

    #[test]
    fn what_is_not_synced_may_be_torn_reordered_or_lost() {
        let mut file = File::new("a".into(), 1);
        file.write(0, b"aaaabbbb", 2);
        // Lengths 0 and 8; of each unit the old or the new.
        assert_eq!(texts(&file), ["", "........", "....bbbb", "aaaa....", "aaaabbbb"]);
        file.synced(file.mark(), true);
        assert_eq!(outcomes(&file), [Content { bytes: b"aaaabbbb".into(), mtime_ns: 2 }]);
        // Of what stands in one unit, a later write never lasts without the earlier.
        file.write(0, b"x", 3);
        file.write(1, b"y", 4);
        file.write(4, b"z", 5);
        let want = ["aaaabbbb", "aaaazbbb", "xaaabbbb", "xaaazbbb", "xyaabbbb", "xyaazbbb"];
        assert_eq!(texts(&file), want);
    }

    #[test]
    fn a_sync_covers_what_was_there_when_it_began() {
        let mut file = File::new("a".into(), 1);
        file.write(0, b"aaaa", 2);
        let mark = file.mark();
        file.write(0, b"b", 3);
        file.synced(mark, true);
        assert_eq!(texts(&file), ["aaaa", "baaa"]);
    }

    #[test]
    fn a_sync_of_data_alone_leaves_the_mtime_in_doubt_and_the_length_not() {
        let mut file = File::new("a".into(), 1);
        file.write(0, b"aaaa", 2);
        file.synced(file.mark(), false);
        assert_eq!(outcomes(&file), [Content { bytes: b"aaaa".into(), mtime_ns: 1 }]);
        assert_eq!(file.now.mtime_ns, 2);
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let mut file = File::new("a".into(), 1);
        file.write(0, b"aaaa", 2);
        file.set_len(2, 3);
        file.set_len(4, 4);
        assert_eq!(file.now.bytes, b"aa\0\0");
        file.synced(file.mark(), true);
        assert_eq!(texts(&file), ["aa.."]);
    }

    #[test]
    fn a_name_lasts_once_its_folder_was_synced() {
        let mut tree = Tree::new();
        let folder = tree.make(ROOT, "f", false, 1).unwrap();
        let file = tree.make(folder, "a", true, 1).unwrap();
        tree.file(file).unwrap().write(0, b"a", 2);
        tree.file(file).unwrap().synced(1, true);
        let lasts = |tree: &Tree| {
            (0..200)
                .filter(|seed| tree.cut(4, &mut Chance::new(*seed)).sure("f/a").is_some())
                .count()
        };
        assert_eq!(tree.sure("f/a"), None);
        assert!((1..200).contains(&lasts(&tree)));
        for number in [folder, ROOT] {
            let folder = tree.folder(number).unwrap();
            folder.lasting = folder.now.clone();
        }
        assert_eq!(tree.sure("f/a"), Some(&b"a"[..]));
        assert_eq!(lasts(&tree), 200);
        let after = tree.cut(4, &mut Chance::new(1));
        assert_ne!(after.child(ROOT, "f"), Some(folder), "numbers are new");
    }
}
