//! The torrent that a swarm fetches.

use wire::metainfo::{Info, build_info};
use wire::rng::{Rng, Seed, child_seed};

use super::SwarmScenario;
use crate::{Content, ContentHasher, Disk, Run};

impl SwarmScenario {
    /// A torrent of one file, or of several whose lengths `seed` names.
    pub(super) fn torrent(&self, seed: &Seed) -> (Info, Content) {
        let piece = u64::from(self.piece_length);
        let total = self.total();
        let content: Content = [Run { tag: 1, offset: 0, len: total }].into_iter().collect();
        let hash = |n: u32| {
            let mut hasher = ContentHasher::default();
            hasher.update(&content.slice(u64::from(n) * piece, piece));
            hasher.digest()
        };
        let hashes: Vec<[u8; 20]> = (0..self.pieces).map(hash).collect();
        let raw = build_info("simulated", &self.files(total, seed), self.piece_length, &hashes);
        match Info::parse(&raw) {
            Ok(info) => (info, content),
            Err(error) => unreachable!("our own info dict: {error}"),
        }
    }

    /// Paths and lengths; every third file is in a folder, and some may be empty.
    fn files(&self, total: u64, seed: &Seed) -> Vec<(Vec<String>, u64)> {
        if self.files == 1 {
            return vec![(Vec::new(), total)];
        }
        let mut rng = Rng::new(&child_seed(seed, "files", 0));
        let mut ends: Vec<u64> =
            (1..self.files).map(|_| (rng.unit() * total as f64) as u64).collect();
        ends.push(total);
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let path = |n: u32| match n % 3 {
            0 => vec!["folder".to_owned(), format!("file {n}")],
            _ => vec![format!("file {n}")],
        };
        (0..).zip(starts.zip(&ends)).map(|(n, (start, end))| (path(n), end - start)).collect()
    }
}

/// Whether a disk has all files as they are to be.
pub(super) fn is_whole(disk: &Disk, info: &Info, content: &Content) -> bool {
    info.files.iter().filter(|file| !file.pad).all(|file| {
        let there = disk.content(&file.path);
        there.is_some_and(|there| there == content.slice(file.offset, file.len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Payload;
    use wire::rng::seed_from_u64;

    #[test]
    fn files_have_all_bytes_between_them() {
        for files in [1, 2, 9] {
            let scenario = SwarmScenario { files, ..SwarmScenario::default() };
            let (info, content) = scenario.torrent(&seed_from_u64(files.into()));
            assert_eq!(info.files.len(), files as usize);
            assert_eq!(info.total_len, scenario.total());
            assert_eq!(content.len() as u64, info.total_len);
            assert_eq!(info.piece_count(), scenario.pieces);
        }
    }
}
