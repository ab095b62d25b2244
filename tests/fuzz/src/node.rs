//! One node under datagrams, commands and time as the input has them.

use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, NodeInfo, SocketId};
use wire::compact::Family;
use wire::krpc::{Method, Want};

use crate::input::Input;
use crate::items::SAMPLES;
use crate::messages::{self, Speaker};
use crate::places;
use crate::watch::{Asked, Ends, Watch};

/// Steps of one input, so that long inputs end.
const STEPS_MAX: usize = 400;

/// Moments at which something is due, of one input.
const WAKES_MAX: usize = 4_000;

/// Spans of time that matter to some timer.
const SPANS_MS: [u64; 8] = [1, 40, 700, 2_500, 5_000, 61_000, 301_000, 2_710_000];

/// After so long without an answer every lookup and ping has ended.
const QUIET_SECS: u64 = 600;

/// One input.
pub fn run(bytes: &[u8]) {
    let trace = play(bytes);
    // Half of them, as the second run tells nothing else.
    if bytes.len().is_multiple_of(2) {
        assert_eq!(play(bytes), trace, "the same input gives something else");
    }
}

/// Every number that bounds something small enough to be reached.
pub(crate) fn tight(config: Config) -> Config {
    Config {
        k: 4,
        wide_buckets: 1,
        lookup_candidates_max: 12,
        reply_nodes_max: 6,
        lookup_peers_max: 5,
        replacements_max: 4,
        verifying_max: 3,
        votes_min: 3,
        votes_max: 5,
        bootstrap_contacts_max: 3,
        store_torrents_max: 3,
        store_peers_per_torrent_max: 4,
        store_peers_max: 7,
        store_peers_per_ip_max: 4,
        store_ports_per_ip_max: 2,
        store_peers_per_prefix_max: 5,
        store_items_max: 3,
        store_item_bytes_max: 1_500,
        store_items_per_ip_max: 2,
        store_items_per_prefix_max: 2,
        samples_max: 2,
        sampled_max: 3,
        quota_item_bytes: [400, 800, 1_600],
        token_bytes_max: 12,
        reply_bytes_max: 300,
        reply_factor_max: 3,
        quota_counters: 8,
        verified_max: 16,
        queries_per_sec: 5,
        flows_per_sec: 2,
        query_burst_ms: 2_000,
        flows_remembered_max: 16,
        queries_held_max: 6,
        ..config
    }
}

fn config(input: &mut Input<'_>) -> Config {
    let (kind, sockets) = (input.byte(), places::own_sockets());
    let own = match kind & 3 {
        0 => sockets[..1].to_vec(),
        1 => sockets[1..2].to_vec(),
        2 => sockets[..2].to_vec(),
        _ => sockets,
    };
    let mut config = Config::new(own).among_thousands();
    if kind & 4 != 0 {
        config = tight(config);
    }
    if kind & 8 != 0 {
        config = config.unlimited();
    }
    config.enforce_ids = kind & 0x10 != 0;
    config.read_only = kind & 0xe0 == 0x20;
    if kind & 0x40 != 0 {
        config.external_ip = config.sockets.first().map(SocketAddr::ip);
    }
    config
}

fn play(bytes: &[u8]) -> u64 {
    let mut input = Input::new(bytes);
    let config = config(&mut input);
    let mut play = Play {
        watch: Watch::new(config, u64::from(input.byte())),
        input,
        last: None,
        wakes_left: WAKES_MAX,
    };
    let mut steps = 0;
    while !play.input.is_empty() && steps < STEPS_MAX {
        play.step();
        steps += 1;
    }
    play.watch.check_contacts();
    play.settle();
    play.watch.check_contacts();
    play.watch.trace()
}

struct Play<'a> {
    watch: Watch,
    input: Input<'a>,
    /// The last datagram handed in.
    last: Option<(SocketId, SocketAddr, Vec<u8>)>,
    wakes_left: usize,
}

impl Play<'_> {
    fn step(&mut self) {
        match self.input.byte() % 24 {
            0 => {
                let (from, bytes) = (self.address(), self.input.bytes());
                self.hand_in(from, bytes.to_vec());
            }
            1..=4 => {
                let from = self.address();
                self.query(from);
            }
            5 => {
                let first = self.input.byte();
                for n in 0..self.input.byte() % 32 {
                    self.query(places::address(first.wrapping_add(n)));
                }
            }
            6..=9 => {
                let back = self.input.below(8);
                self.answer(back);
            }
            10 => {
                for _ in 0..self.input.byte() % 32 {
                    self.answer(0);
                }
            }
            11 => self.refuse(),
            12 => self.answer_from_elsewhere(),
            13 => {
                let Some((via, from, bytes)) = self.last.clone() else { return };
                self.watch.datagram(via, from, &bytes);
            }
            14 | 15 => self.command(),
            16 => {
                let addr = self.address();
                self.watch.unreachable(addr);
            }
            17 => {
                let end = self.watch.now + Duration::from_secs(3_600);
                self.watch.step(end);
            }
            18 | 19 => {
                let from = self.address();
                self.put(from);
            }
            20 | 21 => self.store(),
            22 => {
                let span = Duration::from_millis(u64::from(self.input.number()));
                self.watch.wake_early(span);
                self.watch.wake();
            }
            _ => self.pass(),
        }
    }

    fn address(&mut self) -> SocketAddr {
        places::address(self.input.byte())
    }

    fn hand_in(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        // Now and then by a socket that it cannot have come by.
        let via = match self.input.byte() {
            n @ 0..0xf0 => self.watch.socket_of(Family::of(&from), n.into()),
            n => SocketId(n & 3),
        };
        self.watch.datagram(via, from, &bytes);
        self.last = Some((via, from, bytes));
    }

    fn query(&mut self, from: SocketAddr) {
        let tokens = self.watch.tokens_of(from.ip());
        let speaker = Speaker { from, to: self.watch.node.id(), tokens: &tokens };
        let bytes = messages::query(&mut self.input, &speaker);
        self.hand_in(from, bytes);
    }

    fn put(&mut self, from: SocketAddr) {
        let tokens = self.watch.tokens_of(from.ip());
        let speaker = Speaker { from, to: self.watch.node.id(), tokens: &tokens };
        let bytes = messages::put(&mut self.input, &speaker);
        self.hand_in(from, bytes);
    }

    /// Asks for a token and shows it: whoever does nothing wrong fills the stores.
    fn store(&mut self) {
        let (from, own) = (self.address(), self.watch.node.id());
        let (id, n) = (places::id_at(from), self.input.byte());
        let key = places::key(n, &own);
        let item = SAMPLES.iter().find(|sample| sample.target == key);
        let ask = match item {
            None => Method::get_peers(key, Want::default()),
            Some(_) => Method::Get { target: key, seq: None, want: Want::default() },
        };
        self.hand_in(from, messages::written(id, ask));
        let tokens = self.watch.tokens_of(from.ip());
        let Some((_, token)) = tokens.first() else { return };
        let implied_port = n & 1 == 0;
        let announce = Method::AnnouncePeer {
            info_hash: key,
            port: 1 + u16::from(n),
            implied_port,
            seed: n & 2 == 0,
            token,
        };
        let put = item.and_then(|sample| sample.put(token, None));
        self.hand_in(from, messages::written(id, put.map_or(announce, Method::Put)));
    }

    /// The query that was sent so many before the last one.
    fn asked(&mut self, back: usize) -> Option<Asked> {
        let at = self.watch.asked.len().checked_sub(1 + back)?;
        self.watch.asked.get(at).cloned()
    }

    fn reply_to(&mut self, asked: &Asked, from: SocketAddr) -> Vec<u8> {
        let speaker = Speaker { from, to: self.watch.node.id(), tokens: &[] };
        let sockets = self.watch.node.local_addrs();
        let seen = match self.input.byte() {
            n @ 0xe0.. => places::address(n & 0x1f),
            _ => sockets[usize::from(asked.via.0) % sockets.len()],
        };
        messages::reply(&mut self.input, &speaker, &asked.method, &asked.tid, seen)
    }

    fn answer(&mut self, back: usize) {
        let Some(asked) = self.asked(back) else { return };
        let bytes = self.reply_to(&asked, asked.to);
        self.watch.datagram(asked.via, asked.to, &bytes);
        self.last = Some((asked.via, asked.to, bytes));
    }

    fn refuse(&mut self) {
        let back = self.input.below(8);
        let Some(asked) = self.asked(back) else { return };
        let bytes = messages::error(&mut self.input, &asked.tid);
        self.watch.datagram(asked.via, asked.to, &bytes);
    }

    fn answer_from_elsewhere(&mut self) {
        let (back, from) = (self.input.below(8), self.address());
        let Some(asked) = self.asked(back) else { return };
        let bytes = self.reply_to(&asked, asked.to);
        self.hand_in(from, bytes);
    }

    fn command(&mut self) {
        match self.input.byte() % 12 {
            0 | 1 => {
                let addr = self.address();
                self.watch.bootstrap(addr);
            }
            2 => {
                let addr = self.address();
                self.watch.add_contact(addr);
            }
            3 => {
                let addr = self.address();
                self.watch.ping(addr);
            }
            4..=8 => self.lookup(),
            9 => {
                let n = self.input.below(8);
                self.watch.cancel(n);
            }
            _ => {
                let (first, count) = (self.input.byte(), self.input.byte() % 40);
                let nodes = (0..count).map(|n| places::address(first.wrapping_add(n)));
                let nodes = nodes.map(|addr| NodeInfo { id: places::id_at(addr), addr });
                self.watch.restore(&nodes.collect::<Vec<_>>());
            }
        }
    }

    /// Starts a lookup of some kind.
    fn lookup(&mut self) {
        let (kind, n) = (self.input.byte(), self.input.byte());
        let target = places::key(n, &self.watch.node.id());
        let sample = &SAMPLES[usize::from(n) % SAMPLES.len()];
        let (watch, number) = (&mut self.watch, i64::from(kind >> 5));
        match kind % 9 {
            0 => watch.find_node(target),
            1 => watch.get_peers(target),
            2 => watch.announce(target, (kind & 0x10 == 0).then_some(kind.into())),
            3 => watch.start(Ends::Scraped, target, |node, now| node.scrape(now, target)),
            4 => watch.start(Ends::Done, target, |node, now| node.sample_infohashes(now, target)),
            5 => watch.start(Ends::Done, sample.target, |node, now| {
                node.get(now, &sample.key(), (number > 3).then_some(number - 4))
            }),
            6 => {
                let Some(item) = sample.item() else { return };
                let cas = (number > 3).then_some(number - 4);
                watch.start(Ends::Stored, sample.target, |node, now| node.put(now, item, cas))
            }
            7 => watch
                .start(Ends::Done, sample.target, |node, now| node.count_item(now, &sample.key())),
            _ => watch.start(Ends::Done, target, |node, now| node.count_peer(now, target, 1)),
        };
    }

    /// Lets time pass, with a wake at each moment that the node asked for, or with one that is late.
    fn pass(&mut self) {
        let span = self.input.byte();
        let end = self.watch.now + Duration::from_millis(SPANS_MS[usize::from(span & 7)]);
        if span < 0xc0 {
            while self.watch.now < end && self.wakes_left > 0 {
                self.wakes_left -= 1;
                self.watch.step(end);
            }
        }
        self.watch.now = end;
        self.watch.wake();
    }

    /// Nobody speaks any more: whatever the caller started has to end.
    fn settle(&mut self) {
        let end = self.watch.now + Duration::from_secs(QUIET_SECS);
        while !self.watch.is_idle() {
            assert!(self.watch.now < end, "a lookup or a ping has no end");
            self.watch.step(end);
        }
    }
}
