//! The least that hashing a file takes: each thread reads every so-manieth piece and hashes it with the
//! crate `sha1`. Prints how many pieces are right.
//!
//!   bare_hash TORRENT FILE THREADS

use std::fs::File;
use std::os::unix::fs::FileExt;

use harness::bare::{Result, piece_len, read_torrent};
use sha1::{Digest, Sha1};
use wire::metainfo::Info;

/// Bytes read at a time: they are still in the cache when they are hashed.
const STEP: usize = 128 << 10;

/// How many of the pieces `first`, `first + step`, ... are right.
fn right(info: &Info, file: &File, first: usize, step: usize) -> std::io::Result<usize> {
    let (mut buf, mut right) = (vec![0; STEP], 0);
    for piece in (first..info.piece_hashes.len()).step_by(step) {
        let mut offset = piece as u64 * u64::from(info.piece_length);
        let end = offset + piece_len(info, piece as u32) as u64;
        let mut hasher = Sha1::new();
        while offset < end {
            let part = &mut buf[..STEP.min((end - offset) as usize)];
            file.read_exact_at(part, offset)?;
            hasher.update(&*part);
            offset += part.len() as u64;
        }
        right += usize::from(<[u8; 20]>::from(hasher.finalize()) == info.piece_hashes[piece]);
    }
    Ok(right)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [torrent, file, threads] = &args[..] else {
        return Err("bare_hash TORRENT FILE THREADS".into());
    };
    let (info, file, threads) = (read_torrent(torrent)?, File::open(file)?, threads.parse()?);
    let counts: Vec<_> = std::thread::scope(|scope| {
        let (info, file) = (&info, &file);
        let handles: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || right(info, file, first, threads)))
            .collect();
        handles.into_iter().map(|handle| handle.join()).collect()
    });
    let mut right = 0;
    for count in counts {
        right += count.map_err(|_| "a thread panicked")??;
    }
    if right != info.piece_hashes.len() {
        return Err(format!("{right} of {} pieces are right", info.piece_hashes.len()).into());
    }
    println!("{right}");
    Ok(())
}
