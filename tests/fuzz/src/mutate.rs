//! A loop without coverage, for where libFuzzer is not: inputs of the corpus, changed at random.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use wire::rng::{Rng, seed_from_u64};

use crate::TARGETS;

const LEN_MAX: usize = 4_096;

/// Pieces that random bytes seldom make.
const WORDS: [&[u8]; 24] = [
    b"d",
    b"l",
    b"e",
    b"i0e",
    b"i-1e",
    b"1:",
    b"20:",
    b"1:a",
    b"1:e",
    b"1:q",
    b"1:r",
    b"1:t1:x",
    b"1:y1:q",
    b"1:y1:r",
    b"1:y1:e",
    b"2:id20:",
    b"4:ping",
    b"9:find_node",
    b"9:get_peers",
    b"13:announce_peer",
    b"9:info_hash20:",
    b"6:target20:",
    b"5:token",
    b"6:valuesl6:",
];

/// The inputs of a folder, in the order of their names.
pub fn corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect()
}

/// The folder of a target's committed inputs.
pub fn corpus_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// An input made from others.
pub fn next(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let of = |rng: &mut Rng| corpus.get(rng.index(corpus.len())).cloned().unwrap_or_default();
    if corpus.is_empty() || rng.below(16) == 0 {
        let mut bytes = vec![0; rng.index(256)];
        rng.fill(&mut bytes);
        return bytes;
    }
    let mut bytes = of(rng);
    for _ in 0..1 << rng.below(5) {
        change(rng, &mut bytes, &of);
    }
    bytes.truncate(LEN_MAX);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, of: &impl Fn(&mut Rng) -> Vec<u8>) {
    let at = rng.index(bytes.len() + 1);
    let end = (at + 1 + rng.index(8)).min(bytes.len());
    match rng.below(8) {
        0 => drop(bytes.drain(at.min(end)..end)),
        1 => {
            let copy = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copy);
        }
        2 => {
            let word = WORDS[rng.index(WORDS.len())];
            bytes.splice(at..at, word.iter().copied());
        }
        3 => {
            let other = of(rng);
            let from = rng.index(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        4 => bytes.insert(at, rng.u32() as u8),
        kind => {
            let Some(byte) = bytes.get_mut(at) else { return };
            *byte = match kind {
                5 => *byte ^ (1 << rng.below(8)),
                6 => byte.wrapping_add(rng.below(5) as u8).wrapping_sub(2),
                _ => rng.u32() as u8,
            };
        }
    }
}

/// Runs a target for `FUZZ_SECS` seconds, from the seed `FUZZ_SEED`; or the files that are named.
pub fn main(target: &str) -> ExitCode {
    let Some((_, body)) = TARGETS.into_iter().find(|(name, _)| *name == target) else {
        return ExitCode::from(2);
    };
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    for file in &files {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return ExitCode::from(2);
            }
        };
        body(&bytes);
        println!("{}: held", file.display());
    }
    if !files.is_empty() {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (secs, seed) = (number("FUZZ_SECS", 60), number("FUZZ_SEED", 1));
    let corpus: Vec<_> = corpus(&corpus_folder(target)).into_iter().map(|(_, b)| b).collect();
    let (start, mut rng, mut runs) = (Instant::now(), Rng::new(&seed_from_u64(seed)), 0u64);
    while start.elapsed() < Duration::from_secs(secs) {
        let bytes = next(&mut rng, &corpus);
        if catch_unwind(AssertUnwindSafe(|| body(&bytes))).is_err() {
            let path = std::env::temp_dir().join(format!("fuzz-{target}-{seed}-{runs}"));
            match fs::write(&path, &bytes) {
                Ok(()) => println!("{}", path.display()),
                Err(error) => println!("{}: {error}", path.display()),
            }
            println!("{}", hex::encode(&bytes));
            return ExitCode::FAILURE;
        }
        runs += 1;
    }
    let rate = runs as f64 / start.elapsed().as_secs_f64();
    println!("{target}: {runs} inputs, {rate:.0} a second, all held");
    ExitCode::SUCCESS
}
