//! Fetches the info dict from several peers at once (BEP 9), and drops who lies.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sha1::{Digest, Sha1};
use wire::InfoHash;
use wire::time::Time;

use crate::{Config, ConnId};

/// Bytes of a metadata piece, but for the last (BEP 9).
pub const METADATA_PIECE_LEN: usize = 16 * 1024;

/// Different sizes that peers claim at a time: each costs an assembly.
const ASSEMBLIES_MAX: usize = 4;

/// What came of a metadata piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// More is needed.
    Wait,
    /// The whole was wrong, and which of its senders lied is not known.
    Again,
    /// The raw info dict: its SHA-1 is the info-hash.
    Done(Vec<u8>),
    /// These peers sent what they must have known to be wrong.
    Liars(Vec<ConnId>),
}

/// A part counts for this many timeouts after it was asked for; another peer is asked after one.
const LATE_TIMEOUTS: u32 = 12;
/// Nothing came for this many timeouts: another peer, or another size, has its turn. However much
/// comes, a size gives way to those that wait after as many, and twice as many each time.
const PATIENCE_TIMEOUTS: u32 = 3;
/// A turn is doubled this often, at most: 16 minutes.
const DOUBLED_MAX: u32 = 6;
/// Bytes a second by which the one peer that all is taken from has to bring it: a slow home uplink.
const LEAST_RATE: usize = 32 * 1024;

struct Part {
    data: Option<(Vec<u8>, ConnId)>,
    asked: Vec<(ConnId, Time)>,
}

/// All parts are taken from one peer, so that who lies is known.
#[derive(Clone, Copy)]
struct Solo {
    conn: ConnId,
    /// Peers that may have their turn after it.
    turns_left: usize,
}

/// The attempt to gather a dict of one size.
struct Assembly {
    /// None while it waits for its turn.
    parts: Vec<Part>,
    /// After a wrong whole that several peers made.
    solo: Option<Solo>,
    /// Turns that it had.
    turns: u32,
    /// When its turn began.
    turn_at: Time,
    /// When parts were last gathered from the start.
    restarted_at: Time,
    /// The same, or when a part last came.
    moved_at: Time,
}

impl Assembly {
    fn new(now: Time) -> Assembly {
        Assembly {
            parts: Vec::new(),
            solo: None,
            turns: 0,
            turn_at: now,
            restarted_at: now,
            moved_at: now,
        }
    }

    fn begin(&mut self, now: Time, size: usize) {
        let parts = size.div_ceil(METADATA_PIECE_LEN);
        self.parts = (0..parts).map(|_| Part { data: None, asked: Vec::new() }).collect();
        self.turn_at = now;
        self.restart(now, self.solo);
    }

    fn restart(&mut self, now: Time, solo: Option<Solo>) {
        self.solo = solo;
        self.restarted_at = now;
        self.moved_at = now;
        for part in &mut self.parts {
            part.data = None;
            part.asked.clear();
        }
    }
}

/// The fetch of one torrent's info dict.
pub struct MetadataFetch {
    info_hash: InfoHash,
    bytes_max: usize,
    requests_max: usize,
    timeout: Duration,
    /// The size that each peer claims.
    peers: BTreeMap<ConnId, usize>,
    /// By size: all that are claimed.
    assemblies: BTreeMap<usize, Assembly>,
    /// All sizes: the first [`ASSEMBLIES_MAX`] are gathered, the others wait for their turn. Who had
    /// one, and who claims a new size, stands at the end, so that everybody's turn comes.
    queue: VecDeque<usize>,
}

impl MetadataFetch {
    /// A fetch that knows no peer yet.
    pub fn new(info_hash: InfoHash, config: &Config) -> MetadataFetch {
        MetadataFetch {
            info_hash,
            bytes_max: config.metadata_bytes_max,
            requests_max: config.metadata_requests_per_peer,
            timeout: config.metadata_timeout,
            peers: BTreeMap::new(),
            assemblies: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// A peer says that it has a dict of `size` bytes. False if that is absurd or changes what it
    /// said before.
    pub fn add_peer(&mut self, now: Time, conn: ConnId, size: usize) -> bool {
        if size == 0 || size > self.bytes_max {
            return false;
        }
        if *self.peers.entry(conn).or_insert(size) != size {
            return false;
        }
        if let Entry::Vacant(entry) = self.assemblies.entry(size) {
            entry.insert(Assembly::new(now));
            self.queue.push_back(size);
            self.begin_waiting(now);
        }
        true
    }

    /// A peer is gone.
    pub fn remove_peer(&mut self, now: Time, conn: ConnId) {
        let Some(size) = self.peers.remove(&conn) else { return };
        if !self.peers.values().any(|&other| other == size) {
            self.assemblies.remove(&size);
            self.queue.retain(|other| *other != size);
            return self.begin_waiting(now);
        }
        let Some(assembly) = self.assemblies.get_mut(&size) else { return };
        for part in &mut assembly.parts {
            part.asked.retain(|(other, _)| *other != conn);
        }
        if assembly.solo.is_some_and(|solo| solo.conn == conn) {
            self.pass_turn(now, size);
        }
    }

    /// Peers that have the dict.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// The whole is known: gives back the room of the parts, and counts them as here.
    pub fn give_back(&mut self) {
        let parts = self.assemblies.values_mut().flat_map(|assembly| &mut assembly.parts);
        parts.filter_map(|part| part.data.as_mut()).for_each(|(data, _)| *data = Vec::new());
    }

    /// Parts here and parts in all, of the assembly that is furthest.
    pub fn progress(&self) -> (usize, usize) {
        self.assemblies
            .values()
            .map(|a| (a.parts.iter().filter(|p| p.data.is_some()).count(), a.parts.len()))
            .max()
            .unwrap_or((0, 0))
    }

    /// Sizes whose turn came begin.
    fn begin_waiting(&mut self, now: Time) {
        for &size in self.queue.iter().take(ASSEMBLIES_MAX) {
            let assembly = self.assemblies.get_mut(&size);
            if let Some(assembly) = assembly.filter(|assembly| assembly.parts.is_empty()) {
                assembly.begin(now, size);
            }
        }
    }

    /// The one peer that parts of `size` are taken from brought nothing: the next one in the circle
    /// has its turn, and after all had it everybody is asked again.
    fn pass_turn(&mut self, now: Time, size: usize) {
        let Some(assembly) = self.assemblies.get_mut(&size) else { return };
        let Some(Solo { conn, turns_left }) = assembly.solo else { return };
        let others = || self.peers.iter().filter(|(c, s)| **s == size && **c != conn);
        let next = others().find(|(c, _)| **c > conn).or_else(|| others().next());
        let solo = match (next, turns_left.checked_sub(1)) {
            (Some((&conn, _)), Some(turns_left)) => Some(Solo { conn, turns_left }),
            _ => None,
        };
        assembly.turns += u32::from(solo.is_none());
        assembly.restart(now, solo);
    }

    /// Who brings nothing gives way to another, and in the end who brings little, so that neither
    /// silent peers nor those that let it drip hold anybody up.
    fn rotate(&mut self, now: Time) {
        let patience = self.timeout * PATIENCE_TIMEOUTS;
        let active: Vec<usize> = self.queue.iter().copied().take(ASSEMBLIES_MAX).collect();
        for size in active {
            let Some(assembly) = self.assemblies.get(&size) else { continue };
            let is_stuck = now.since(assembly.moved_at) >= patience;
            let is_solo = assembly.solo.is_some();
            let times = 1 << assembly.turns.min(DOUBLED_MAX);
            let is_over = now.since(assembly.turn_at) >= patience * times || (is_stuck && !is_solo);
            let solo_turn = patience + Duration::from_secs((size / LEAST_RATE) as u64);
            let is_waited_for = self.queue.len() > ASSEMBLIES_MAX && is_over;
            if is_solo
                && (is_waited_for
                    || is_stuck
                    || now.since(assembly.restarted_at) >= solo_turn * times)
            {
                self.pass_turn(now, size);
            }
            if is_waited_for {
                self.give_way(now, size);
            }
        }
    }

    fn give_way(&mut self, now: Time, size: usize) {
        if let Some(assembly) = self.assemblies.get_mut(&size) {
            assembly.parts = Vec::new();
            assembly.turns += 1;
        }
        self.queue.retain(|other| *other != size);
        self.queue.push_back(size);
        self.begin_waiting(now);
    }

    /// The next part to ask `conn` for: not there, least asked for, and not from it already.
    pub fn next_request(&mut self, now: Time, conn: ConnId) -> Option<u32> {
        self.rotate(now);
        let assembly = self.assemblies.get_mut(self.peers.get(&conn)?)?;
        if assembly.solo.is_some_and(|solo| solo.conn != conn) {
            return None;
        }
        let timeout = self.timeout;
        let waits = |(_, at): &&(ConnId, Time)| now.since(*at) < timeout;
        let waits_for = |part: &Part| part.asked.iter().filter(waits).any(|(c, _)| *c == conn);
        if assembly.parts.iter().filter(|part| waits_for(part)).count() >= self.requests_max {
            return None;
        }
        let (index, part) = assembly
            .parts
            .iter_mut()
            .enumerate()
            .filter(|(_, part)| part.data.is_none() && !waits_for(part))
            .min_by_key(|(_, part)| part.asked.iter().filter(waits).count())?;
        part.asked.retain(|(c, at)| *c != conn && now.since(*at) < timeout * LATE_TIMEOUTS);
        part.asked.push((conn, now));
        Some(index as u32)
    }

    /// The peer has not got the part, or will not send it.
    pub fn handle_reject(&mut self, now: Time, conn: ConnId, part: u32) {
        let Some(&size) = self.peers.get(&conn) else { return };
        let Some(assembly) = self.assemblies.get_mut(&size) else { return };
        if let Some(part) = assembly.parts.get_mut(part as usize) {
            part.asked.retain(|(other, _)| *other != conn);
        }
        if assembly.solo.is_some_and(|solo| solo.conn == conn) {
            self.pass_turn(now, size);
        }
    }

    /// A part came. Unasked ones count as nothing.
    pub fn handle_data(
        &mut self,
        now: Time,
        conn: ConnId,
        part: u32,
        total_size: Option<usize>,
        data: &[u8],
    ) -> Outcome {
        let Some(&size) = self.peers.get(&conn) else { return Outcome::Wait };
        if total_size.is_some_and(|total| total != size) {
            return Outcome::Liars(vec![conn]);
        }
        let Some(assembly) = self.assemblies.get_mut(&size) else { return Outcome::Wait };
        if part as usize >= size.div_ceil(METADATA_PIECE_LEN) {
            return Outcome::Liars(vec![conn]);
        }
        // It came too late for its turn.
        let Some(slot) = assembly.parts.get_mut(part as usize) else { return Outcome::Wait };
        if !slot.asked.iter().any(|(other, _)| *other == conn) || slot.data.is_some() {
            return Outcome::Wait;
        }
        let start = part as usize * METADATA_PIECE_LEN;
        if data.len() != (size - start).min(METADATA_PIECE_LEN) {
            return Outcome::Liars(vec![conn]);
        }
        slot.data = Some((data.to_vec(), conn));
        slot.asked.clear();
        assembly.moved_at = now;
        self.try_finish(now, size)
    }

    fn try_finish(&mut self, now: Time, size: usize) -> Outcome {
        let Some(assembly) = self.assemblies.get_mut(&size) else { return Outcome::Wait };
        if assembly.parts.iter().any(|part| part.data.is_none()) {
            return Outcome::Wait;
        }
        let mut whole = Vec::with_capacity(size);
        let mut senders = BTreeSet::new();
        for (data, from) in assembly.parts.iter().filter_map(|part| part.data.as_ref()) {
            whole.extend_from_slice(data);
            senders.insert(*from);
        }
        if <[u8; 20]>::from(Sha1::digest(&whole)) == *self.info_hash.as_bytes() {
            return Outcome::Done(whole);
        }
        if senders.len() == 1 {
            assembly.restart(now, None);
            return Outcome::Liars(senders.into_iter().collect());
        }
        let turns_left = self.peers.values().filter(|&&claimed| claimed == size).count();
        assembly.restart(now, senders.first().map(|&conn| Solo { conn, turns_left }));
        Outcome::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;

    fn dict() -> Vec<u8> {
        (0..40_000u32).map(|i| (i % 251) as u8).collect()
    }

    fn fetch() -> MetadataFetch {
        MetadataFetch::new(Id(Sha1::digest(dict()).into()), &Config::default())
    }

    fn conn(n: u64) -> ConnId {
        ConnId::new(n)
    }

    fn part(n: u32) -> Vec<u8> {
        dict().chunks(METADATA_PIECE_LEN).nth(n as usize).unwrap().to_vec()
    }

    #[test]
    fn parts_come_from_several_peers_at_once() {
        let mut f = fetch();
        assert!(f.add_peer(Time::ZERO, conn(1), 40_000) && f.add_peer(Time::ZERO, conn(2), 40_000));
        let asked: Vec<_> = [1, 2, 1].map(|n| f.next_request(Time::ZERO, conn(n)).unwrap()).into();
        assert_eq!(asked, [0, 1, 2]);
        assert_eq!(f.handle_data(Time::ZERO, conn(1), 0, Some(40_000), &part(0)), Outcome::Wait);
        assert_eq!(f.handle_data(Time::ZERO, conn(2), 1, Some(40_000), &part(1)), Outcome::Wait);
        assert_eq!(f.progress(), (2, 3));
        assert_eq!(
            f.handle_data(Time::ZERO, conn(1), 2, Some(40_000), &part(2)),
            Outcome::Done(dict())
        );
    }

    #[test]
    fn a_liar_among_honest_peers_is_found() {
        let mut f = fetch();
        let mut dropped = Vec::new();
        for n in 1..=3 {
            f.add_peer(Time::ZERO, conn(n), 40_000);
        }
        'fetch: for round in 0..20 {
            let now = Time::from_secs(round * 10);
            for n in 1..=3 {
                let Some(index) = f.next_request(now, conn(n)) else { continue };
                let mut data = part(index);
                if n == 2 {
                    data[0] ^= 1;
                }
                match f.handle_data(now, conn(n), index, None, &data) {
                    Outcome::Wait | Outcome::Again => {}
                    Outcome::Done(whole) => {
                        assert_eq!(whole, dict());
                        break 'fetch;
                    }
                    Outcome::Liars(liars) => {
                        liars.iter().for_each(|liar| f.remove_peer(now, *liar));
                        dropped.extend(liars);
                    }
                }
            }
            assert!(round < 19, "never done");
        }
        assert!(dropped.is_empty() || dropped == [conn(2)], "{dropped:?}");
    }

    #[test]
    fn a_lone_liar_is_dropped() {
        let mut f = fetch();
        f.add_peer(Time::ZERO, conn(1), 40_000);
        let mut last = Outcome::Wait;
        while let Some(index) = f.next_request(Time::ZERO, conn(1)) {
            let len = part(index).len();
            last = f.handle_data(Time::ZERO, conn(1), index, Some(40_000), &vec![0; len]);
            if last != Outcome::Wait {
                break;
            }
        }
        assert_eq!(last, Outcome::Liars(vec![conn(1)]));
    }

    #[test]
    fn absurd_claims_are_refused() {
        let mut f = fetch();
        assert!(!f.add_peer(Time::ZERO, conn(1), 0));
        assert!(!f.add_peer(Time::ZERO, conn(1), usize::MAX));
        assert!(f.add_peer(Time::ZERO, conn(1), 40_000));
        assert!(!f.add_peer(Time::ZERO, conn(1), 40_001), "a size that changes");
        let index = f.next_request(Time::ZERO, conn(1)).unwrap();
        let liar = Outcome::Liars(vec![conn(1)]);
        assert_eq!(f.handle_data(Time::ZERO, conn(1), index, Some(39_999), &part(0)), liar);
        assert_eq!(
            f.handle_data(Time::ZERO, conn(1), 3, None, &part(0)),
            liar,
            "an index equal to the count"
        );
        assert_eq!(f.handle_data(Time::ZERO, conn(1), index, None, &part(0)[1..]), liar);
        assert_eq!(
            f.handle_data(Time::ZERO, conn(9), 0, None, &part(0)),
            Outcome::Wait,
            "never introduced"
        );
        for n in 2..20 {
            f.add_peer(Time::ZERO, conn(n), n as usize);
        }
        let begun = f.assemblies.values().filter(|assembly| !assembly.parts.is_empty());
        assert_eq!(begun.count(), ASSEMBLIES_MAX);
    }

    #[test]
    fn what_is_not_answered_goes_to_another() {
        let mut f = fetch();
        f.add_peer(Time::ZERO, conn(1), 40_000);
        while f.next_request(Time::ZERO, conn(1)).is_some() {}
        f.add_peer(Time::ZERO, conn(2), 40_000);
        let asked: Vec<_> = std::iter::from_fn(|| f.next_request(Time::ZERO, conn(2))).collect();
        assert_eq!(asked, [0, 1, 2], "asked twice rather than waited for");
        f.remove_peer(Time::ZERO, conn(1));
        assert_eq!(f.handle_data(Time::ZERO, conn(2), 1, None, &part(1)), Outcome::Wait);
        assert_eq!(f.progress(), (1, 3));
    }
}
