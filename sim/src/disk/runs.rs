//! Runs of content by their place.

use std::collections::BTreeMap;

use client::Payload;

use crate::content::{Content, Run};

/// Runs by their first byte; they do not overlap, no two that touch could be one, and what lies
/// between them is zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    by_start: BTreeMap<u64, Run>,
    /// Bytes of all.
    len: u64,
}

impl Runs {
    pub(crate) fn write(&mut self, offset: u64, content: &Content) {
        let end = offset + content.len() as u64;
        self.cut(offset);
        self.cut(end);
        while let Some((&at, run)) = self.by_start.range(offset..end).next() {
            self.len -= run.len;
            self.by_start.remove(&at);
        }
        let mut at = offset;
        for run in content.runs() {
            self.insert(at, *run);
            at += run.len;
        }
        if let Some(behind) = self.by_start.remove(&end) {
            self.len -= behind.len;
            self.insert(end, behind);
        }
    }

    /// Puts a run where none is; it goes on from the one before it if it can.
    fn insert(&mut self, at: u64, run: Run) {
        self.len += run.len;
        match self.by_start.range_mut(..at).next_back() {
            Some((&start, last)) if start + last.len == at && run.continues(*last) => {
                last.len += run.len;
            }
            _ => _ = self.by_start.insert(at, run),
        }
    }

    /// Makes `at` a border between runs.
    fn cut(&mut self, at: u64) {
        if let Some((&start, run)) = self.by_start.range_mut(..at).next_back()
            && at < start + run.len
        {
            let tail = run.part(at - start, run.len);
            run.len = at - start;
            self.by_start.insert(at, tail);
        }
    }

    pub(crate) fn read(&self, offset: u64, len: u64, out: &mut Content) {
        let zeros = |len| Run { tag: Run::ZEROS, offset: 0, len };
        let (mut at, end) = (offset, offset + len);
        let first = self.by_start.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (&start, run) in self.by_start.range(first..end) {
            if start + run.len <= at {
                continue;
            }
            if start > at {
                out.push(zeros(start - at));
                at = start;
            }
            let part = run.part(at - start, end - at);
            out.push(part);
            at += part.len;
        }
        out.push(zeros(end - at));
    }

    /// Bytes of all runs.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }

    /// Takes out what lies in a range.
    pub(crate) fn take(&mut self, offset: u64, end: u64) -> Vec<(u64, Run)> {
        if self.by_start.is_empty() || offset >= end {
            return Vec::new();
        }
        self.cut(offset);
        self.cut(end);
        let mut out = Vec::new();
        while let Some((&at, run)) = self.by_start.range(offset..end).next() {
            self.len -= run.len;
            out.push((at, *run));
            self.by_start.remove(&at);
        }
        out
    }

    /// What lies in a range, run by run.
    pub(crate) fn within(&self, offset: u64, end: u64) -> impl Iterator<Item = (u64, Run)> + '_ {
        let first = self.by_start.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        let runs = self.by_start.range(first..end.max(first));
        runs.filter_map(move |(&start, run)| {
            let skip = offset.saturating_sub(start);
            let part = run.part(skip, end.saturating_sub(start + skip.min(run.len)));
            (part.len > 0).then_some((start + skip, part))
        })
    }

    /// What of a range is in no run.
    pub(crate) fn gaps(&self, offset: u64, end: u64) -> Vec<(u64, u64)> {
        let (mut gaps, mut at) = (Vec::new(), offset);
        for (start, run) in self.within(offset, end) {
            if start > at {
                gaps.push((at, start));
            }
            at = start + run.len;
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_agree_with_bytes(
            writes in proptest::collection::vec((0u64..60, 0u64..20, 1u64..4), 0..20),
            read in (0u64..70, 0u64..30),
        ) {
            // Each byte of the model is the run of length one that stands for it.
            let zero = Run { tag: Run::ZEROS, offset: 0, len: 1 };
            let mut model = vec![zero; 100];
            let mut runs = Runs::default();
            for (offset, len, tag) in writes {
                let run = Run { tag, offset: offset * 3, len };
                runs.write(offset, &[run].into_iter().collect());
                for i in 0..len {
                    model[(offset + i) as usize] = run.part(i, 1);
                }
            }
            let (offset, len) = read;
            let mut got = Content::new();
            runs.read(offset, len, &mut got);
            let want: Content =
                model[offset as usize..(offset + len) as usize].iter().copied().collect();
            prop_assert_eq!(got, want);
            let got: Content = runs.within(offset, offset + len).map(|(_, run)| run).collect();
            let filled: u64 = runs.within(offset, offset + len).map(|(_, run)| run.len).sum();
            let empty: u64 = runs.gaps(offset, offset + len).iter().map(|(a, b)| b - a).sum();
            prop_assert_eq!((got.runs().iter().map(|run| run.len).sum::<u64>(), filled + empty), (filled, len));
            let mut rest = runs.clone();
            let taken: u64 = rest.take(offset, offset + len).iter().map(|(_, run)| run.len).sum();
            prop_assert_eq!((taken, rest.bytes()), (filled, runs.bytes() - filled));
            let sum: u64 = runs.by_start.values().map(|run| run.len).sum();
            prop_assert_eq!(runs.len, sum);
            let pairs: Vec<_> = runs.by_start.iter().collect();
            let could_be_one = |pair: &[(&u64, &Run)]| {
                pair[0].0 + pair[0].1.len == *pair[1].0 && pair[1].1.continues(*pair[0].1)
            };
            prop_assert!(!pairs.windows(2).any(could_be_one));
        }
    }
}
