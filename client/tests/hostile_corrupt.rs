//! Peers that send corrupt blocks, or claim what they never give: they are told from the honest
//! ones, and the download ends right.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::VecDeque;

use client::{Close, Config, ConnId};
use common::{Host, content, info};
use wire::peer::{BLOCK_LEN, BlockRef, Message};

/// What a peer makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Honest,
    /// Each block that it sends is wrong.
    Corrupt,
    /// One block in so many is wrong.
    Sometimes(u32),
    /// As `Corrupt`, and it says nothing of a piece that was wrong before.
    Coward,
    Reject,
    Silent,
}

/// A leech among peers of which each has a queue of what it was asked for.
struct Swarm {
    host: Host,
    content: Vec<u8>,
    piece: u32,
    peers: Vec<(ConnId, Kind, VecDeque<BlockRef>)>,
}

impl Swarm {
    fn new(len: usize, piece: u32, kinds: &[Kind], config: Config) -> Swarm {
        let content = content(len);
        let info = info(&content, piece);
        let mut host = Host::with_hash(&info, config);
        host.set_info(&info);
        let mut peers = Vec::new();
        for (name, kind) in (1..).zip(kinds) {
            let conn = host.connect(&info, name);
            host.say(conn, Message::HaveAll);
            peers.push((conn, *kind, VecDeque::new()));
        }
        peers.iter().for_each(|(conn, ..)| host.say(*conn, Message::Unchoke));
        Swarm { host, content, piece, peers }
    }

    /// Each peer answers up to `each` of its requests, and 50 ms go by.
    fn round(&mut self, each: usize) {
        for _ in 0..each {
            for (conn, kind, queue) in &mut self.peers {
                queue.extend(self.host.requests(*conn));
                let Some(block) = queue.pop_front() else { continue };
                let start = block.piece as usize * self.piece as usize + block.begin as usize;
                let mut bytes = self.content[start..start + block.len as usize].to_vec();
                let nth = block.piece * (self.piece / BLOCK_LEN) + block.begin / BLOCK_LEN;
                let failed = client::TorrentEvent::HashFailed(block.piece);
                match kind {
                    Kind::Silent => continue,
                    Kind::Coward if self.host.events.contains(&failed) => continue,
                    Kind::Reject => {
                        self.host.say(*conn, Message::Reject(block));
                        continue;
                    }
                    Kind::Corrupt | Kind::Coward => bytes[0] ^= 1,
                    Kind::Sometimes(n) if nth.is_multiple_of(*n) => bytes[0] ^= 1,
                    Kind::Sometimes(_) | Kind::Honest => {}
                }
                self.host.send_block(*conn, block, &bytes);
            }
        }
        for (conn, ..) in &self.peers {
            if !self.host.closed.contains_key(conn) {
                self.host.say(*conn, Message::KeepAlive);
            }
        }
        self.host.pass(50);
    }

    /// Until all is there; how many seconds that took.
    fn finish(&mut self, each: usize, secs_max: u64) -> u64 {
        for round in 0..secs_max * 20 {
            if self.host.is_complete() {
                assert_eq!(self.host.files["x"], self.content);
                return round / 20;
            }
            self.round(each);
        }
        panic!("not whole after {secs_max} s: {:?}", self.host.closed);
    }

    fn banned(&self, is: impl Fn(Kind) -> bool) -> usize {
        let closed = |conn| self.host.closed.get(conn) == Some(&Close::Corrupt);
        self.peers.iter().filter(|(conn, kind, _)| is(*kind) && closed(conn)).count()
    }

    /// Blocks that came for nothing.
    fn wasted(&self) -> u64 {
        let stats = self.host.session.stats(self.host.now, self.host.key).unwrap();
        stats.wasted.div_ceil(u64::from(BLOCK_LEN))
    }
}

/// Thirty peers, ten of them of this kind, and a torrent of 2,000 blocks with so many a piece.
fn ten_of_thirty(kind: Kind, piece_blocks: u32) -> Swarm {
    let kinds: Vec<Kind> = (0..30).map(|n| if n % 3 == 1 { kind } else { Kind::Honest }).collect();
    let piece = piece_blocks * BLOCK_LEN;
    Swarm::new(2_000 * BLOCK_LEN as usize - 5_000, piece, &kinds, Config::default())
}

#[test]
fn liars_are_banned_and_nobody_else_whatever_the_length_of_pieces() {
    for kind in [Kind::Corrupt, Kind::Sometimes(5)] {
        for piece_blocks in [4, 16, 64, 128] {
            let mut swarm = ten_of_thirty(kind, piece_blocks);
            let secs = swarm.finish(4, 60);
            let wasted = swarm.wasted();
            println!("{kind:?}, {piece_blocks} blocks a piece: {secs} s, {wasted} blocks wasted");
            assert_eq!(swarm.banned(|kind| kind == Kind::Honest), 0);
            assert!(swarm.banned(|kind| kind != Kind::Honest) >= 9, "who is asked lies");
            // However long the torrent is.
            assert!(wasted <= 10 * 5 * u64::from(piece_blocks), "{wasted}");
        }
    }
}

#[test]
fn liars_that_fall_silent_when_they_would_be_found_do_not_stop_the_download() {
    for piece_blocks in [16, 64] {
        let mut swarm = ten_of_thirty(Kind::Coward, piece_blocks);
        let secs = swarm.finish(4, 120);
        println!("{piece_blocks} blocks a piece: {secs} s, {} blocks wasted", swarm.wasted());
        assert_eq!(swarm.banned(|kind| kind == Kind::Honest), 0);
    }
}

#[test]
fn who_claims_to_have_all_and_gives_nothing_holds_nobody_up() {
    for kind in [Kind::Reject, Kind::Silent] {
        let mut swarm = ten_of_thirty(kind, 16);
        let secs = swarm.finish(4, 60);
        let wasted = swarm.wasted();
        println!("{kind:?}: {secs} s, {wasted} wasted");
        assert_eq!(swarm.banned(|_| true), 0, "{kind:?}");
    }
    // Most of them, in the end game as well.
    let mut kinds = vec![Kind::Silent; 20];
    kinds.extend([Kind::Reject; 9]);
    kinds.push(Kind::Honest);
    let mut swarm = Swarm::new(2_000_000, 4 * BLOCK_LEN, &kinds, Config::default());
    swarm.finish(4, 60);
    assert_eq!(swarm.wasted(), 0);
}
