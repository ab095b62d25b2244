//! A link between two TUN devices, with a delay, a rate and a queue of a bounded size each way.
//!
//!   relay_tun DELAY_MS MBIT_PER_SEC QUEUE_KIB <>TUN_A 1<>TUN_B
//!
//! The devices are given open, as standard input and output. It runs until it is killed, or a device is
//! gone, and says on standard error how many packets it dropped.

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use harness::bare::Result;

/// Largest packet: of IP, behind the header of a device (`virtio_net_hdr`), which is passed on as it is.
const PACKET_MAX: usize = 66 << 10;
/// Packets between the threads of one direction, at most: more than fit into delay and queue.
const PACKETS_MAX: usize = 64 << 10;

#[derive(Clone, Copy)]
struct Link {
    delay: Duration,
    bytes_per_sec: f64,
    queue_bytes: f64,
}

/// A packet and when it arrives.
type Flying = (Instant, Vec<u8>);

/// Takes packets in: each waits for those before it, and is dropped if these are too many.
fn take(from: impl AsFd, link: Link, to: &SyncSender<Flying>) -> Result<()> {
    let mut buf = vec![0; PACKET_MAX];
    let mut free_at = Instant::now();
    let (mut dropped, mut told) = (0u64, free_at);
    loop {
        let len = rustix::io::read(&from, &mut buf[..])?;
        let now = Instant::now();
        let waiting = free_at.saturating_duration_since(now).as_secs_f64() * link.bytes_per_sec;
        if waiting + len as f64 > link.queue_bytes {
            dropped += 1;
        } else {
            free_at = free_at.max(now) + Duration::from_secs_f64(len as f64 / link.bytes_per_sec);
            to.send((free_at + link.delay, buf[..len].to_vec()))?;
        }
        if dropped > 0 && now - told > Duration::from_secs(1) {
            eprintln!("{dropped} packets dropped");
            (dropped, told) = (0, now);
        }
    }
}

/// Gives packets out when they have arrived.
fn give(to: impl AsFd, from: &Receiver<Flying>) {
    for (at, packet) in from {
        sleep(at.saturating_duration_since(Instant::now()));
        // A device that is down, or full, loses it.
        let _ = rustix::io::write(&to, &packet);
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [delay_ms, mbit, queue_kib] = &args[..] else {
        return Err("relay_tun DELAY_MS MBIT_PER_SEC QUEUE_KIB <>TUN_A 1<>TUN_B".into());
    };
    let link = Link {
        delay: Duration::from_secs_f64(delay_ms.parse::<f64>()? / 1e3),
        bytes_per_sec: mbit.parse::<f64>()? * 1e6 / 8.0,
        queue_bytes: queue_kib.parse::<f64>()? * 1024.0,
    };
    let (there, arrives_there) = sync_channel(PACKETS_MAX);
    let (back, arrives_back) = sync_channel(PACKETS_MAX);
    spawn(move || give(std::io::stdout(), &arrives_there));
    spawn(move || give(std::io::stdin(), &arrives_back));
    let other = spawn(move || take(std::io::stdout(), link, &back).map_err(|e| e.to_string()));
    take(std::io::stdin(), link, &there)?;
    other.join().map_err(|_| "a thread panicked")??;
    Ok(())
}
