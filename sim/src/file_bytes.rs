//! The bytes of a small file on a simulated disk.

use std::sync::Arc;

use crate::last::Last;

/// Bytes of a first write from which on hosts share it if they have it alike: the head of a journal has
/// the info dict of its torrent.
const SHARED_MIN: usize = 4 << 10;

static LAST: Last<Vec<u8>> = Last::new();

/// A head that other hosts may have alike, and what stands behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileBytes {
    head: Arc<Vec<u8>>,
    tail: Vec<u8>,
}

impl FileBytes {
    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Writes from `at` on; what lies between the end and there is zeros.
    pub(crate) fn write(&mut self, at: usize, bytes: Vec<u8>) {
        if at == 0 && self.len() == 0 && bytes.len() >= SHARED_MIN {
            self.head = LAST.share(bytes);
            return;
        }
        if at < self.head.len() {
            let tail = std::mem::take(&mut self.tail);
            self.tail = [&self.head[..], &tail].concat();
            self.head = Arc::default();
        }
        let start = at - self.head.len();
        let (end, len) = (start + bytes.len(), self.tail.len());
        if end > self.tail.capacity() {
            // By a quarter at most, not by as much again.
            self.tail.reserve_exact((end - len).max(len / 4));
        }
        self.tail.resize(len.max(end), 0);
        self.tail[start..end].copy_from_slice(&bytes);
    }

    /// As many of `len` bytes from `at` on as there are.
    pub(crate) fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let skip = usize::try_from(at).unwrap_or(usize::MAX);
        let take = usize::try_from(len).unwrap_or(usize::MAX);
        self.head.iter().chain(&self.tail).copied().skip(skip).take(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_it_was_written() {
        let mut file = FileBytes::default();
        let mut model = Vec::new();
        for (at, len) in
            [(0, SHARED_MIN), (SHARED_MIN, 9), (SHARED_MIN + 20, 3), (5, 7), (4, 9_000)]
        {
            let bytes: Vec<u8> = (0..len).map(|i| (i + at) as u8 | 1).collect();
            model.resize(model.len().max(at + len), 0);
            model[at..at + len].copy_from_slice(&bytes);
            file.write(at, bytes);
            assert_eq!((file.len(), file.read(0, u64::MAX)), (model.len(), model.clone()));
            assert_eq!(file.read(4_000, 200), model[4_000..4_200.min(model.len())]);
        }
        assert!(file.read(u64::MAX, 1).is_empty());
    }
}
