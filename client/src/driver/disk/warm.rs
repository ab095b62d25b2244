//! Which parts of files are in the page cache: what is not would hold the reactor up while it is
//! sent, and is read by the disk's threads first.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use rustix::io::{Errno, ReadWriteFlags};

use crate::disk::FileId;

/// Bytes that are asked for, and read, at once: twice what Linux reads ahead by default.
const EXTENT: u64 = 256 << 10;
/// Bytes between the places that are looked at in one extent: what Linux reads ahead by default.
const STEP: u64 = 128 << 10;
/// How long an answer is believed. Pages that are used stay for longer.
const BELIEVED: Duration = Duration::from_secs(1);
/// Extents remembered, of 256 KiB: what 1 GiB/s sends in the time that they are believed.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// `f_type` of tmpfs, statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// The extents that were found in the page cache, or read into it, of late.
pub struct WarmPages {
    found: LruCache<(FileId, u64), Instant>,
    /// Files of which nothing is anywhere else.
    in_memory: LruCache<FileId, ()>,
}

impl Default for WarmPages {
    fn default() -> WarmPages {
        let (found, in_memory) = (LruCache::new(REMEMBERED), LruCache::new(REMEMBERED));
        WarmPages { found, in_memory }
    }
}

impl WarmPages {
    /// The first extent (its first byte, and bytes) of this run of a file that is to be read before
    /// it is sent.
    pub fn cold(
        &mut self,
        now: Instant,
        id: FileId,
        file: &File,
        run: (u64, u64),
    ) -> Option<(u64, u64)> {
        let (offset, len) = run;
        if self.in_memory.get(&id).is_some() {
            return None;
        }
        let first = offset / EXTENT;
        let last = offset.saturating_add(len.saturating_sub(1)) / EXTENT;
        for extent in first..=last {
            let seen = self.found.get(&(id, extent));
            if seen.is_some_and(|at| now.saturating_duration_since(*at) < BELIEVED) {
                continue;
            }
            // Whatever the answer: once it has been read, it is warm.
            self.found.put((id, extent), now);
            match look(file, extent * EXTENT) {
                Pages::Warm => {}
                Pages::Cold => return Some((extent * EXTENT, EXTENT)),
                Pages::InMemory => {
                    self.in_memory.put(id, ());
                    return None;
                }
            }
        }
        None
    }
}

/// What was found.
enum Pages {
    Warm,
    Cold,
    /// The file system has nothing but memory.
    InMemory,
}

/// Looks at a few pages of an extent; beyond the end of the file there are none.
fn look(file: &File, start: u64) -> Pages {
    for at in (0..EXTENT / STEP).map(|step| start.saturating_add(step * STEP)) {
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(file, &mut bytes, at, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN) => return Pages::Cold,
            Err(Errno::OPNOTSUPP) => {
                let statfs = rustix::fs::fstatfs(file);
                let in_memory = statfs.is_ok_and(|statfs| statfs.f_type == TMPFS);
                return if in_memory { Pages::InMemory } else { Pages::Cold };
            }
            // What is wrong with it, sending will tell.
            Ok(_) | Err(_) => {}
        }
    }
    Pages::Warm
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::Advice;

    use super::*;

    #[test]
    fn what_is_in_the_page_cache_is_told_from_what_is_not() {
        // Beside the test program: temporary files may lie in memory.
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let mut file = tempfile::tempfile_in(folder).unwrap();
        file.write_all(&vec![7; 3 * EXTENT as usize]).unwrap();
        file.sync_all().unwrap();
        let (mut pages, start) = (WarmPages::default(), Instant::now());
        let id = FileId(1);
        assert_eq!(pages.cold(start, id, &file, (10, 2 * EXTENT)), None, "it was just written");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert_eq!(pages.cold(start, id, &file, (0, EXTENT)), None, "it was seen a moment ago");
        let later = start + BELIEVED;
        assert_eq!(pages.cold(later, id, &file, (10, EXTENT)), Some((0, EXTENT)));
        assert_eq!(pages.cold(later, id, &file, (10, EXTENT)), Some((EXTENT, EXTENT)));
        assert_eq!(pages.cold(later, id, &file, (10, EXTENT)), None, "both are being read");
        assert_eq!(pages.cold(later, id, &file, (9 * EXTENT, 1)), None, "there is nothing");
        assert_eq!(pages.cold(later, id, &file, (u64::MAX, 5)), None);
    }
}
