//! Any torrent file: what is taken makes sense, and its files stay beneath their folder.

use std::collections::BTreeSet;

use sha1::{Digest, Sha1};
use wire::metainfo::{Info, Metainfo};

/// Pieces looked at of one torrent.
const PIECES_MAX: u32 = 64;

/// One input.
pub fn run(bytes: &[u8]) {
    if let Ok(file) = Metainfo::parse(bytes) {
        let written = Metainfo::encode(&file.info.raw, &file.nodes);
        let again = Metainfo::parse(&written).expect("what we wrote");
        assert_eq!((&again.info, &again.nodes), (&file.info, &file.nodes));
        info(&file.info);
    }
    if let Ok(read) = Info::parse(bytes) {
        assert_eq!(*read.raw, *bytes);
        info(&read);
    }
}

fn info(info: &Info) {
    assert_eq!(info.info_hash.0, <[u8; 20]>::from(Sha1::digest(&info.raw)));
    assert_eq!(Info::parse(&info.raw).as_ref(), Ok(info));
    let (mut offset, mut paths) = (0, BTreeSet::new());
    for file in &info.files {
        assert_eq!(file.offset, offset);
        offset += file.len;
        assert_eq!(file.path.len() == 1, info.single_file, "{:?}", file.path);
        for element in &file.path {
            let safe = !element.is_empty()
                && element.len() <= 255
                && element != "."
                && element != ".."
                && !element.contains(['/', '\\'])
                && !element.contains(char::is_control);
            assert!(safe, "{element:?}");
        }
        assert!(!file.path[0].eq_ignore_ascii_case(".trackerless"), "our own folder");
        if !file.pad {
            assert!(paths.insert(file.path.join("/").to_lowercase()), "twice {:?}", file.path);
        }
    }
    // No file is where another has a folder.
    for path in &paths {
        let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        assert!(folders.all(|folder| !paths.contains(folder)), "{path:?}");
    }
    assert_eq!(info.total_len, offset);
    let count = info.total_len.div_ceil(u64::from(info.piece_length));
    assert_eq!(u64::from(info.piece_count()), count);
    for piece in (0..=info.piece_count()).take(PIECES_MAX as usize) {
        let len: u64 = info.extents(piece, 0, info.piece_len(piece)).map(|(.., len)| len).sum();
        assert_eq!(len, u64::from(info.piece_len(piece)));
        for (file, from, len) in info.extents(piece, 1, u32::MAX) {
            assert!(len > 0 && from + len <= info.files[file].len);
        }
    }
}
