//! Hashes pieces of files on all cores, two pieces at once on each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::sha1::Hasher;
use crate::geometry::Geometry;

/// Bytes of each of two pieces that are read and hashed at a time: they stay in the processor's cache.
const STEP: usize = 128 << 10;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// The files of a torrent in their order, one after the other.
pub(super) trait Files: Sync {
    /// What can go wrong.
    type Error: Send;

    /// Bytes of each.
    fn lens(&self) -> Vec<u64>;

    /// Opens one of them to be read; `None`: zeros, the padding of BEP 47.
    fn open(&self, index: usize) -> Result<Option<File>, Self::Error>;

    /// One of them cannot be read on.
    fn failed(&self, index: usize, error: io::Error) -> Self::Error;

    /// A piece cannot be read: `Ok` passes it over, else all ends.
    fn pass_over(&self, error: Self::Error) -> Result<(), Self::Error> {
        Err(error)
    }
}

/// Hands the SHA-1 of each of `pieces` to `each`, in any order, and tells `progress` of bytes done
/// and in all. Threads take the next two pieces each until none is left, or something goes wrong
/// that is not passed over.
pub(super) fn hash_files<F: Files + ?Sized>(
    files: &F,
    geometry: Geometry,
    pieces: &[u32],
    progress: &mut impl FnMut(u64, u64),
    mut each: impl FnMut(u32, [u8; 20]),
) -> Result<(), F::Error> {
    let shared = Shared {
        files,
        starts: starts(&files.lens()),
        geometry,
        pieces,
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let total = pieces.iter().map(|piece| u64::from(geometry.piece_len(*piece))).sum();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let (sender, hashes) = channel();
        for _ in 0..threads {
            let (shared, sender) = (&shared, sender.clone());
            scope.spawn(move || {
                if let Err(error) = shared.work(&sender) {
                    shared.is_over.store(true, Ordering::Relaxed);
                    let _ = sender.send(Err(error));
                }
            });
        }
        drop(sender);
        loop {
            match hashes.recv_timeout(TELL_EVERY) {
                Ok(Ok((piece, hash))) => each(piece, hash),
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // What is passed over may have been read twice.
            progress(shared.done.load(Ordering::Relaxed).min(total), total);
        }
        progress(total, total);
        Ok(())
    })
}

fn starts(lens: &[u64]) -> Vec<u64> {
    let start = |at: &mut u64, len: &u64| {
        let start = *at;
        *at += len;
        Some(start)
    };
    lens.iter().scan(0, start).collect()
}

type Hashed<E> = Result<(u32, [u8; 20]), E>;

/// What the threads share.
struct Shared<'a, F: Files + ?Sized> {
    files: &'a F,
    starts: Vec<u64>,
    geometry: Geometry,
    pieces: &'a [u32],
    next: AtomicUsize,
    done: AtomicU64,
    /// Something went wrong: what else is hashed is of no use.
    is_over: AtomicBool,
}

impl<F: Files + ?Sized> Shared<'_, F> {
    /// A thread's work.
    fn work(&self, hashes: &Sender<Hashed<F::Error>>) -> Result<(), F::Error> {
        let mut readers = [self.reader(), self.reader()];
        let mut bufs = [vec![0; STEP], vec![0; STEP]];
        while !self.is_over.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(2, Ordering::Relaxed);
            let two = self.pieces.get(at..self.pieces.len().min(at + 2)).unwrap_or_default();
            let len = |piece: &u32| self.geometry.piece_len(*piece) as usize;
            if two.is_empty() {
                break;
            }
            if let [a, b] = two
                && len(a) == len(b)
            {
                match self.hash_two(&mut readers, [*a, *b], &mut bufs) {
                    Ok(both) => {
                        for (piece, hash) in [*a, *b].into_iter().zip(both) {
                            let _ = hashes.send(Ok((piece, hash)));
                        }
                        continue;
                    }
                    // One of them may be read all the same.
                    Err(error) => self.files.pass_over(error)?,
                }
            }
            for piece in two {
                match self.hash_one(&mut readers[0], *piece, &mut bufs[0]) {
                    Ok(hash) => _ = hashes.send(Ok((*piece, hash))),
                    Err(error) => self.files.pass_over(error)?,
                }
            }
        }
        Ok(())
    }

    fn reader(&self) -> Reader<'_, F> {
        Reader { files: self.files, starts: &self.starts, open: None }
    }

    fn start(&self, piece: u32) -> u64 {
        u64::from(piece) * u64::from(self.geometry.piece_length)
    }

    fn hash_two(
        &self,
        readers: &mut [Reader<'_, F>; 2],
        pieces: [u32; 2],
        bufs: &mut [Vec<u8>; 2],
    ) -> Result<[[u8; 20]; 2], F::Error> {
        let len = self.geometry.piece_len(pieces[0]) as usize;
        let [mut one, mut other] = [Hasher::default(), Hasher::default()];
        for at in (0..len).step_by(STEP) {
            let now = STEP.min(len - at);
            for ((reader, piece), buf) in readers.iter_mut().zip(pieces).zip(bufs.iter_mut()) {
                reader.read(self.start(piece) + at as u64, &mut buf[..now])?;
            }
            Hasher::update_both([&mut one, &mut other], [&bufs[0][..now], &bufs[1][..now]]);
            self.done.fetch_add(2 * now as u64, Ordering::Relaxed);
        }
        Ok([one.finish(), other.finish()])
    }

    fn hash_one(
        &self,
        reader: &mut Reader<'_, F>,
        piece: u32,
        buf: &mut [u8],
    ) -> Result<[u8; 20], F::Error> {
        let len = self.geometry.piece_len(piece) as usize;
        let mut hasher = Hasher::default();
        for at in (0..len).step_by(STEP) {
            let buf = &mut buf[..STEP.min(len - at)];
            reader.read(self.start(piece) + at as u64, buf)?;
            hasher.update(buf);
            self.done.fetch_add(buf.len() as u64, Ordering::Relaxed);
        }
        Ok(hasher.finish())
    }
}

/// Reads runs of the torrent across its files, with one file open at a time.
struct Reader<'a, F: Files + ?Sized> {
    files: &'a F,
    starts: &'a [u64],
    open: Option<(usize, Option<File>)>,
}

impl<F: Files + ?Sized> Reader<'_, F> {
    fn read(&mut self, mut at: u64, mut out: &mut [u8]) -> Result<(), F::Error> {
        let mut index = self.starts.partition_point(|&start| start <= at).saturating_sub(1);
        while !out.is_empty() {
            let start = self.starts.get(index).copied().unwrap_or(at);
            let end = self.starts.get(index + 1).copied().unwrap_or(u64::MAX);
            let len = (end - at).min(out.len() as u64) as usize;
            if len > 0 {
                let (now, rest) = out.split_at_mut(len);
                self.read_file(index, at - start, now)?;
                out = rest;
                at += len as u64;
            }
            index += 1;
        }
        Ok(())
    }

    fn read_file(&mut self, index: usize, offset: u64, out: &mut [u8]) -> Result<(), F::Error> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            self.open = Some((index, self.files.open(index)?));
        }
        match &self.open {
            Some((_, Some(file))) => {
                file.read_exact_at(out, offset).map_err(|error| self.files.failed(index, error))
            }
            _ => {
                out.fill(0);
                Ok(())
            }
        }
    }
}
