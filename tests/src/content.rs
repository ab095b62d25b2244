//! Content to move: made from a seed, so that every run moves the same bytes, and its digests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// SHA-256 (hex) of every file of a tree by its path relative to the root, with `/` between the
/// parts. A lone file has the path "".
pub type Digests = BTreeMap<String, String>;

/// Writes `len` bytes that follow from `seed` alone and do not compress. Makes missing folders.
pub fn write_file(path: &Path, len: u64, seed: u64) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("make {parent:?}: {error}"));
    }
    let file = File::create(path).unwrap_or_else(|error| panic!("create {path:?}: {error}"));
    let mut out = BufWriter::new(file);
    let mut state = seed;
    let mut left = len;
    while left > 0 {
        let word = splitmix(&mut state).to_le_bytes();
        let take = left.min(8);
        out.write_all(&word[..take as usize])
            .unwrap_or_else(|error| panic!("write {path:?}: {error}"));
        left -= take;
    }
    out.flush().unwrap_or_else(|error| panic!("write {path:?}: {error}"));
}

/// SplitMix64 (Steele, Lea, Flood 2014): a stream of words from any seed.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One file `name` of `len` bytes in `parent`; gives its path.
pub fn single_file(parent: &Path, name: &str, len: u64, seed: u64) -> PathBuf {
    let path = parent.join(name);
    write_file(&path, len, seed);
    path
}

/// A folder `name` in `parent` of about 5 MB in 50 files: nested, some empty, sizes just beside
/// powers of two, names with spaces and letters beyond ASCII; gives its path.
pub fn folder(parent: &Path, name: &str, seed: u64) -> PathBuf {
    let root = parent.join(name);
    let odd: [(&str, u64); 12] = [
        ("empty.dat", 0),
        ("one.byte", 1),
        ("block minus one", 16_383),
        ("block.bin", 16_384),
        ("block plus one.bin", 16_385),
        ("nested/empty too", 0),
        ("nested/piece plus one.bin", 65_537),
        ("nested/a/b/c/deep.bin", 300_007),
        ("nested/ключ и naïveté.txt", 4_321),
        ("zz last/big.bin", 3 * 1024 * 1024 + 13),
        ("zz last/tail", 7),
        ("zz last/zero", 0),
    ];
    for (i, (path, len)) in odd.into_iter().enumerate() {
        write_file(&root.join(path), len, seed.wrapping_add(i as u64));
    }
    for i in 0..38_u64 {
        let len = i * 7_919 % 60_000;
        write_file(&root.join(format!("many/{i:02}.bin")), len, seed.wrapping_add(100 + i));
    }
    root
}

/// Digests of the file or tree at `root`; an `Err` says what could not be read.
pub fn try_digests(root: &Path) -> std::io::Result<Digests> {
    let mut found = Digests::new();
    let mut left = vec![(root.to_owned(), String::new())];
    while let Some((path, name)) = left.pop() {
        if !path.is_dir() {
            found.insert(name, sha256(&path)?);
            continue;
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let part = entry.file_name().to_string_lossy().into_owned();
            let name = if name.is_empty() { part } else { format!("{name}/{part}") };
            left.push((entry.path(), name));
        }
    }
    Ok(found)
}

/// Digests of the file or tree at `root`.
pub fn digests(root: &Path) -> Digests {
    try_digests(root).unwrap_or_else(|error| panic!("digests of {root:?}: {error}"))
}

/// Panics unless the file or tree at `copy` equals the one at `original`, naming what differs.
pub fn assert_same(original: &Path, copy: &Path) {
    assert_digests(&digests(original), &digests(copy), original, copy);
}

/// The same, except that the copy may lack the files without a byte: transmission 3.00 never
/// makes those.
pub fn assert_same_but_empty(original: &Path, copy: &Path) {
    let nothing = hex::encode(Sha256::digest(b""));
    let mut want = digests(original);
    want.retain(|_, digest| *digest != nothing);
    assert_digests(&want, &digests(copy), original, copy);
}

fn assert_digests(want: &Digests, have: &Digests, original: &Path, copy: &Path) {
    if want == have {
        return;
    }
    let missing: Vec<_> = want.keys().filter(|path| !have.contains_key(*path)).collect();
    let extra: Vec<_> = have.keys().filter(|path| !want.contains_key(*path)).collect();
    let differ: Vec<_> = want
        .iter()
        .filter(|(path, digest)| have.get(*path).is_some_and(|other| other != *digest))
        .map(|(path, _)| path)
        .collect();
    panic!(
        "{copy:?} is not {original:?}: missing {missing:?}, extra {extra:?}, other bytes in {differ:?}"
    );
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_every_machine() {
        let scratch = tempfile::tempdir().unwrap();
        let path = single_file(scratch.path(), "a", 100_003, 7);
        assert_eq!(fs::metadata(&path).unwrap().len(), 100_003);
        let digest = &digests(&path)[""];
        assert_eq!(digest, "45b46a3aabe3e31002da47ea764e810d0acf9fda4e7e7b005a380cb1054b0719");
        let other = single_file(scratch.path(), "b", 100_003, 8);
        assert_ne!(digest, &digests(&other)[""]);
    }

    #[test]
    fn a_folder_has_empty_odd_and_nested_files() {
        let scratch = tempfile::tempdir().unwrap();
        let root = folder(scratch.path(), "tree", 1);
        let all = digests(&root);
        assert_eq!(all.len(), 50);
        let empty = hex::encode(Sha256::digest(b""));
        assert_eq!(all["nested/empty too"], empty);
        assert!(all.contains_key("nested/a/b/c/deep.bin"));
        assert_same(&root, &folder(scratch.path(), "again", 1));
    }

    #[test]
    #[should_panic(
        expected = "missing [\"one.byte\"], extra [\"more\"], other bytes in [\"zz last/tail\"]"
    )]
    fn a_difference_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let root = folder(scratch.path(), "tree", 1);
        let copy = folder(scratch.path(), "copy", 1);
        fs::remove_file(copy.join("one.byte")).unwrap();
        fs::write(copy.join("more"), "x").unwrap();
        fs::write(copy.join("zz last/tail"), "1234567").unwrap();
        assert_same(&root, &copy);
    }
}
