//! How time passes: window by window, with a thread for each shard.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use wire::time::Time;

use super::World;
use super::net::Net;
use super::shard::{Mail, Shard};
use crate::host::Host;

/// Looks at the others before a thread lets another one run: with a core each they come within a few
/// hundred.
const LOOKS: u32 = 2_000;

impl<H: Host + Send> World<H>
where
    H::Command: Send,
{
    /// Lets everything happen up to and including `end`.
    ///
    /// # Panics
    /// If a host never stops to ask for a timeout that is due.
    pub fn run_until(&mut self, end: Time) {
        let (net, meeting) = (&self.net, Meeting::new(self.shards.len()));
        match &mut self.shards[..] {
            [shard] => pass(shard, net, end, &meeting),
            shards => thread::scope(|scope| {
                for shard in shards {
                    scope.spawn(|| pass(shard, net, end, &meeting));
                }
            }),
        }
        self.now = self.now.max(end);
        self.shards.iter_mut().for_each(|shard| shard.now = self.now);
    }
}

/// Takes one shard through all windows up to `end`. All shards are in one window at a time: the
/// first in which anything happens anywhere. What they send to each other arrives later, and is
/// handed over in between.
fn pass<H: Host>(shard: &mut Shard<H>, net: &Net, end: Time, meeting: &Meeting) {
    let _guard = Guard(meeting);
    let mut round = 0;
    let mut done = None;
    loop {
        let mail = shard.outgoing.iter().flat_map(|mail| &mail.events);
        let first_sent = mail.map(|(event, _)| shard.queue.window_of(event.at)).min();
        let first = [shard.queue.first().filter(|window| Some(*window) != done), first_sent];
        let first = first.into_iter().flatten().min().unwrap_or(u64::MAX);
        for (to, mail) in shard.outgoing.iter_mut().enumerate() {
            meeting.hand_over(round, shard.index, to, mail);
        }
        let Some(window) = meeting.agree(round, first) else { return };
        for from in 0..meeting.of {
            meeting.take(round, from, shard);
        }
        if window > shard.queue.window_of(end) {
            return;
        }
        shard.run_window(net, window, end);
        // A window that `end` cuts keeps what is later.
        done = (shard.queue.last_of(window) > end).then_some(window);
        round ^= 1;
    }
}

/// Where shards meet between two windows. All is there twice, for even and for odd rounds: nobody
/// is two rounds ahead of another.
struct Meeting {
    of: usize,
    arrived: AtomicU32,
    rounds: AtomicU32,
    /// The first window that anyone has something in.
    first: [AtomicU64; 2],
    /// By round, sender and receiver.
    mail: [Vec<Mutex<Mail>>; 2],
    broken: AtomicBool,
}

impl Meeting {
    fn new(of: usize) -> Meeting {
        let mail = || (0..of * of).map(|_| Mutex::default()).collect();
        Meeting {
            of,
            arrived: AtomicU32::new(0),
            rounds: AtomicU32::new(0),
            first: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            mail: [mail(), mail()],
            broken: AtomicBool::new(false),
        }
    }

    fn hand_over(&self, round: usize, from: usize, to: usize, mail: &mut Mail) {
        if !mail.events.is_empty() {
            let mut there = lock(&self.mail[round][from * self.of + to]);
            std::mem::swap(&mut *there, mail);
        }
    }

    fn take<H: Host>(&self, round: usize, from: usize, shard: &mut Shard<H>) {
        if from != shard.index {
            let mut mail = lock(&self.mail[round][from * self.of + shard.index]);
            shard.take_mail(&mut mail);
        }
    }

    /// Waits for all, and gives the first window of any; `None` if one of them is broken.
    fn agree(&self, round: usize, first: u64) -> Option<u64> {
        self.first[round].fetch_min(first, Ordering::AcqRel);
        let now = self.rounds.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.of as u32 {
            self.arrived.store(0, Ordering::Release);
            // Nobody reads the other round's any more, and nobody writes it before this is over.
            self.first[round ^ 1].store(u64::MAX, Ordering::Release);
            self.rounds.store(now.wrapping_add(1), Ordering::Release);
        }
        let mut looks = 0;
        while self.rounds.load(Ordering::Acquire) == now {
            if self.broken.load(Ordering::Acquire) {
                return None;
            }
            looks += 1;
            if looks < LOOKS { std::hint::spin_loop() } else { thread::yield_now() }
        }
        Some(self.first[round].load(Ordering::Acquire))
    }
}

/// Nobody else panics while holding one.
fn lock(mail: &Mutex<Mail>) -> std::sync::MutexGuard<'_, Mail> {
    mail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the others if this thread ends by a panic.
struct Guard<'a>(&'a Meeting);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
        }
    }
}
