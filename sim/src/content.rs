//! What stands for bytes: runs that say which bytes they are, and cost nothing to copy.
//!
//! Two contents are equal if and only if the bytes that they stand for are, however they were cut
//! and put together, so splits over files, torn writes and corruption exist as they do in bytes.

use client::Payload;
use sha1::{Digest, Sha1};

/// Bytes `offset..offset + len` of an endless stream named `tag`. Different tags share no byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The stream. [`Run::ZEROS`] is zeros throughout.
    pub tag: u64,
    /// The first byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Run {
    /// The tag of zeros.
    pub const ZEROS: u64 = 0;

    /// The part of it that begins `skip` bytes in and is at most `len` long.
    pub fn part(self, skip: u64, len: u64) -> Run {
        let skip = skip.min(self.len);
        Run { tag: self.tag, offset: self.offset + skip, len: len.min(self.len - skip) }
    }

    pub(crate) fn continues(self, before: Run) -> bool {
        self.tag == before.tag
            && (self.tag == Run::ZEROS || self.offset == before.offset + before.len)
    }
}

/// A sequence of runs, of which no two could be one.
#[derive(Clone, Debug)]
pub struct Content(Runs);

/// Most contents are one run, and take nothing on the heap.
#[derive(Clone, Debug)]
enum Runs {
    One(Run),
    /// Any number but one.
    Many(Vec<Run>),
}

impl Default for Content {
    fn default() -> Content {
        Content(Runs::Many(Vec::new()))
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Content) -> bool {
        self.runs() == other.runs()
    }
}

impl Eq for Content {}

impl Content {
    /// Nothing.
    pub fn new() -> Content {
        Content::default()
    }

    /// Puts a run at the end.
    pub fn push(&mut self, mut run: Run) {
        if run.len == 0 {
            return;
        }
        if run.tag == Run::ZEROS {
            run.offset = 0;
        }
        match &mut self.0 {
            Runs::One(last) if run.continues(*last) => last.len += run.len,
            Runs::One(last) => self.0 = Runs::Many(vec![*last, run]),
            Runs::Many(runs) => match runs.last_mut() {
                None => self.0 = Runs::One(run),
                Some(last) if run.continues(*last) => last.len += run.len,
                Some(_) => runs.push(run),
            },
        }
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[Run] {
        match &self.0 {
            Runs::One(run) => std::slice::from_ref(run),
            Runs::Many(runs) => runs,
        }
    }

    /// Bytes.
    fn bytes(&self) -> u64 {
        self.runs().iter().map(|run| run.len).sum()
    }

    /// Bytes `start..start + len` of it.
    pub fn slice(&self, start: u64, len: u64) -> Content {
        let mut out = Content::new();
        let (mut at, end) = (0, start + len);
        for run in self.runs() {
            let (from, to) = (start.max(at), end.min(at + run.len));
            if from < to {
                out.push(run.part(from - at, to - from));
            }
            at += run.len;
        }
        out
    }

    /// Appends bytes that stand for it: zeros for zeros, and others for each place of each stream.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for run in self.runs() {
            let byte = |at: u64| match run.tag {
                Run::ZEROS => 0,
                tag => (mix(tag ^ mix(at / 8)) >> (8 * (at % 8))) as u8,
            };
            out.extend((run.offset..run.offset + run.len).map(byte));
        }
    }

    /// Appends bytes that tell it from any other.
    pub(crate) fn fingerprint(&self, out: &mut Vec<u8>) {
        for run in self.runs() {
            let mut bytes = [0; 24];
            for (to, word) in bytes.chunks_exact_mut(8).zip([run.tag, run.offset, run.len]) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&bytes);
        }
    }
}

/// One round of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl FromIterator<Run> for Content {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Content {
        let mut out = Content::new();
        runs.into_iter().for_each(|run| out.push(run));
        out
    }
}

impl Payload for Content {
    type Hasher = ContentHasher;

    fn len(&self) -> usize {
        self.bytes() as usize
    }
}

/// What stands for a running SHA-1.
#[derive(Clone, Default)]
pub struct ContentHasher(Content);

impl ContentHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, content: &Content) {
        content.runs().iter().for_each(|run| self.0.push(*run));
    }

    /// What stands for the digest: equal for equal bytes, and only for those.
    pub fn digest(&self) -> [u8; 20] {
        let mut bytes = Vec::new();
        self.0.fingerprint(&mut bytes);
        Sha1::digest(&bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Real bytes for a content: two streams of random bytes, and zeros.
    fn bytes(content: &Content) -> Vec<u8> {
        let byte = |tag: u64, at: u64| match tag {
            Run::ZEROS => 0,
            tag => (tag * 101 + at * 7 + at / 13) as u8 | 1,
        };
        let of = |run: &Run| {
            let (tag, offset) = (run.tag, run.offset);
            (0..run.len).map(move |i| byte(tag, offset + i)).collect::<Vec<u8>>()
        };
        content.runs().iter().flat_map(of).collect()
    }

    fn digest(parts: &[Content]) -> [u8; 20] {
        let mut hasher = ContentHasher::default();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.digest()
    }

    #[test]
    fn zeros_are_zeros_wherever_they_come_from() {
        let zeros = |offset, len| Run { tag: Run::ZEROS, offset, len };
        let one: Content = [zeros(5, 10)].into_iter().collect();
        let two: Content = [zeros(90, 3), zeros(0, 7)].into_iter().collect();
        assert_eq!(one, two);
    }

    proptest! {
        #[test]
        fn cut_and_put_together_it_is_the_same(
            runs in proptest::collection::vec((0u64..3, 0u64..50, 0u64..20), 0..8),
            cut in 0u64..100,
        ) {
            let whole: Content =
                runs.iter().map(|&(tag, offset, len)| Run { tag, offset, len }).collect();
            let cut = cut.min(whole.bytes());
            let (head, tail) = (whole.slice(0, cut), whole.slice(cut, whole.bytes() - cut));
            prop_assert_eq!(digest(&[head.clone(), tail.clone()]), digest(std::slice::from_ref(&whole)));
            prop_assert_eq!([bytes(&head), bytes(&tail)].concat(), bytes(&whole));
            prop_assert_eq!(head.bytes() + tail.bytes(), whole.bytes());
        }
    }
}
