//! A leech in a small swarm: an input chooses who sends what and when, when time passes, and in
//! which order disk and hash threads do their work. Nothing wrong is ever taken for right, nobody
//! honest is banned, and an honest seed that is left alone with it ends the download.

use std::collections::VecDeque;

use client::{Close, ConnId, TorrentEvent};
use wire::peer::{BLOCK_LEN, BlockRef, Handshake, Message, Reserved};

use crate::host::Host;
use crate::input::Input;
use crate::peer::fed;
use crate::torrent::{any_block, any_message, bytes_of, held_max, tight, torrent};

/// Steps of one input, so that long inputs end.
const STEPS_MAX: usize = 600;
const PEERS: usize = 5;
const SPANS_MS: [u64; 8] = [1, 50, 300, 1_000, 2_500, 10_000, 16_000, 31_000];

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut swarm = Swarm::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        swarm.step(&mut input);
        swarm.check();
    }
    swarm.end();
}

struct Peer {
    conn: ConnId,
    /// Whether all that it sends is right.
    honest: bool,
    requests: VecDeque<BlockRef>,
}

struct Swarm {
    host: Host,
    peers: Vec<Peer>,
    /// The disk failed.
    failed: bool,
    joined: u8,
}

impl Swarm {
    fn new(input: &mut Input<'_>) -> Swarm {
        let mut host = Host::with_hash(&torrent().1, tight());
        host.set_info(&torrent().1);
        host.hold = true;
        let mut swarm = Swarm { host, peers: Vec::new(), failed: false, joined: 0 };
        for _ in 0..PEERS {
            let peer = swarm.join(input.byte());
            swarm.peers.push(peer);
        }
        swarm
    }

    /// A peer connects that has all or some, and answers or does not yet.
    fn join(&mut self, kind: u8) -> Peer {
        self.joined = self.joined.wrapping_add(1);
        let reserved = if kind & 1 == 0 { Reserved::OURS } else { Reserved::default() };
        let info_hash = torrent().1.info_hash;
        let mut peer_id = [kind; 20];
        peer_id[0] = self.joined;
        let conn = self.host.connect_with(Handshake { reserved, info_hash, peer_id });
        let has = [if kind & 2 == 0 { 0b1111_1000 } else { (kind | 8) & 0b1111_1000 }];
        self.host.say(conn, Message::Bitfield(&has));
        if kind & 4 == 0 {
            self.host.say(conn, Message::Unchoke);
        }
        Peer { conn, honest: kind & 0x10 == 0, requests: VecDeque::new() }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let n = input.below(PEERS);
        match input.byte() % 16 {
            0..=3 => self.answer(n, 0, 0),
            4 => {
                for _ in 0..input.byte() % 16 {
                    self.answer(n, 0, 0);
                }
            }
            5 | 6 => {
                let (at, change) = (usize::from(input.byte()), input.byte());
                self.answer(n, at, change);
            }
            7 => self.host.say(self.peers[n].conn, any_message(input)),
            8 => {
                let block = any_block(input);
                self.host.send_block(self.peers[n].conn, block, &bytes_of(block));
            }
            9 | 10 => {
                let at = input.below(self.host.held());
                self.work(at, false);
            }
            11 => {
                for _ in 0..self.host.held() {
                    self.work(0, false);
                }
            }
            12 => self.host.pass(SPANS_MS[input.below(SPANS_MS.len())]),
            13 => {
                let kind = input.byte();
                let conn = self.peers[n].conn;
                self.host.session.handle_closed(self.host.now, conn, Close::Remote);
                self.host.drain();
                self.peers[n] = self.join(kind);
            }
            14 => self.host.say(self.peers[n].conn, Message::Unchoke),
            _ => {
                if input.byte() == 0xff {
                    let at = input.below(self.host.held());
                    self.work(at, true);
                }
            }
        }
    }

    fn work(&mut self, at: usize, fails: bool) {
        self.host.work(at, fails);
        self.failed |= self.host.events.iter().any(|e| matches!(e, TorrentEvent::Failed(_)));
    }

    fn answer(&mut self, n: usize, at: usize, change: u8) {
        let peer = &mut self.peers[n];
        peer.requests.extend(self.host.requests(peer.conn));
        let at = at % peer.requests.len().max(1);
        let Some(block) = peer.requests.remove(at) else { return };
        let mut bytes = bytes_of(block);
        bytes[0] ^= if peer.honest { 0 } else { change };
        self.host.send_block(peer.conn, block, &bytes);
    }

    fn check(&mut self) {
        let (content, info) = torrent();
        self.host.check_pieces(content, info);
        self.host.events.retain(|event| matches!(event, TorrentEvent::Failed(_)));
        for peer in &mut self.peers {
            peer.requests.extend(self.host.requests(peer.conn));
            let closed = self.host.closed.get(&peer.conn);
            assert!(!peer.honest || closed != Some(&Close::Corrupt), "an honest peer is banned");
        }
        let stats = self.host.session.stats(self.host.now, self.host.key).expect("a torrent");
        let held = stats.held_bytes / u64::from(BLOCK_LEN);
        assert!(held <= held_max(), "{held} blocks");
    }

    /// An honest seed is left alone with it.
    fn end(mut self) {
        for peer in &self.peers {
            self.host.session.handle_closed(self.host.now, peer.conn, Close::Remote);
        }
        self.host.drain();
        self.host.hold = false;
        while self.host.held() > 0 {
            self.work(0, false);
        }
        self.check();
        if !self.failed {
            fed(&mut self.host);
        }
    }
}
