//! Seeds that are slow and answer what they are asked in a random order: many pieces are begun, and
//! none is soon whole.
//!
//!   slow_peers TORRENT FILE FIRST COUNT KIB_PER_SEC
//!
//! listens at COUNT addresses of which FIRST (an address and port) is the first and prints `ready`.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use harness::bare::{Requests, Result, greet, offer_all, offset, read_torrent};
use harness::content::splitmix;
use wire::metainfo::Info;
use wire::peer::BlockRef;

struct Seed {
    info: Info,
    file: File,
    kib_per_sec: f64,
}

/// What a peer waits for; `None` once it is gone.
type Asked = Arc<(Mutex<Option<Vec<BlockRef>>>, Condvar)>;

/// Answers until the peer is gone.
fn answer(seed: &Seed, stream: &mut TcpStream, asked: &Asked, mut random: u64) -> Result<()> {
    let mut due = Instant::now();
    let mut message = Vec::new();
    loop {
        let (lock, changed) = &**asked;
        let waits = |asked: &mut Option<Vec<BlockRef>>| asked.as_ref().is_some_and(Vec::is_empty);
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut guard = changed.wait_while(guard, waits).unwrap_or_else(PoisonError::into_inner);
        let Some(blocks) = guard.as_mut() else { return Ok(()) };
        let block = blocks.swap_remove((splitmix(&mut random) % blocks.len() as u64) as usize);
        drop(guard);
        message.clear();
        message.extend_from_slice(&block.piece_header());
        message.resize(message.len() + block.len as usize, 0);
        let payload = &mut message[BlockRef::PIECE_HEADER_LEN..];
        seed.file.read_exact_at(payload, offset(&seed.info, &block)?)?;
        let now = Instant::now();
        due = due.max(now) + Duration::from_secs_f64(16.0 / seed.kib_per_sec);
        sleep(due - now);
        stream.write_all(&message)?;
    }
}

/// One peer, until it is gone.
fn talk(seed: &Arc<Seed>, mut stream: TcpStream, number: u32) -> Result<()> {
    stream.set_nodelay(true)?;
    greet(&mut stream, &seed.info, b"-SLOW01-", number)?;
    offer_all(&mut stream, &seed.info)?;
    let asked = Asked::new((Mutex::new(Some(Vec::new())), Condvar::new()));
    let (mut writer, queue, its) = (stream.try_clone()?, asked.clone(), seed.clone());
    spawn(move || answer(&its, &mut writer, &queue, number.into()).map_err(|e| e.to_string()));
    let mut requests = Requests::default();
    // The end may come as a reset.
    while let Ok(Some(block)) = requests.next(&mut stream) {
        if let Some(blocks) = &mut *asked.0.lock().unwrap_or_else(PoisonError::into_inner) {
            blocks.push(block);
        }
        asked.1.notify_one();
    }
    *asked.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    asked.1.notify_one();
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [torrent, file, first, count, kib_per_sec] = &args[..] else {
        return Err("slow_peers TORRENT FILE FIRST COUNT KIB_PER_SEC".into());
    };
    let (info, file) = (read_torrent(torrent)?, File::open(file)?);
    let seed = Arc::new(Seed { info, file, kib_per_sec: kib_per_sec.parse()? });
    let first: SocketAddr = first.parse()?;
    let IpAddr::V4(ip) = first.ip() else { return Err("an IPv4 address".into()) };
    let mut threads = Vec::new();
    for number in 0..count.parse()? {
        let ip = Ipv4Addr::from_bits(ip.to_bits() + number);
        let (listener, seed) = (TcpListener::bind((ip, first.port()))?, seed.clone());
        threads.push(spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                if let Err(error) = talk(&seed, stream, number) {
                    eprintln!("slow_peers: {error}");
                }
            }
        }));
    }
    println!("ready");
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    Ok(())
}
