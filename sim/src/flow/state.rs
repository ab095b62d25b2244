//! The state of a swarm, and what all its parts need.

use crate::line::{SEGMENT, stream_wire_len};
use wire::rng::{Rng, Seed, child_seed, seed_from_u64};
use wire::time::Time;

use super::bits::Counts;
use super::config::{Arrivals, Cut, FlowScenario};
use super::draw::Draw;
use super::maps::Maps;
use super::uplink::Uplink;
use super::wheel::{Event, Kind, Wheel};
use crate::{Access, HostId, Links, Trace};

/// No piece: nothing is wanted.
pub(super) const NONE: u32 = u32::MAX;
/// In a transfer's piece: others were asked for the block too.
pub(super) const AGAIN: u32 = 1 << 31;

/// Flags of a link, as its owner sees it.
pub(super) mod flag {
    /// Both ends know each other.
    pub const UP: u8 = 1;
    /// The other end answers our requests.
    pub const ASKS: u8 = 2;
    /// We unchoke the other end.
    pub const UNCHOKED: u8 = 4;
    /// The other end wants something of ours, as it told us.
    pub const INTERESTED: u8 = 8;
    /// The other end answers requests for a few pieces though it chokes us.
    pub const FAST: u8 = 16;
    /// The other end is to hear of our next piece: it wants nothing yet, or has nothing to ask for.
    pub const HEARS: u8 = 32;
    /// We are to hear of the other end's.
    pub const LISTENS: u8 = 64;
    /// It has nothing that we could begin, not even what it is still telling of.
    pub const DRY: u8 = 128;
}

/// One end of a link.
#[derive(Clone, Copy, Default)]
pub(super) struct Edge {
    /// The other end.
    pub(super) to: u32,
    /// How far it is, in microseconds.
    pub(super) latency: u32,
    /// When the other end last sent something, in microseconds.
    pub(super) last: u64,
    /// When both ends knew each other, in microseconds.
    pub(super) since: u64,
    /// Bytes that came from it since our last choke round.
    pub(super) got: u32,
    /// Bytes that went to it since our last choke round.
    pub(super) sent: u32,
    /// Microseconds from block to block, of those that come from it, on average; 0: not known.
    pub(super) gap: u32,
    /// The piece that it is at, of those that take several transfers.
    pub(super) current: u32,
    /// Blocks asked of it that have not come.
    pub(super) asked: u16,
    /// The slot of the other end.
    pub(super) back: u16,
    pub(super) flags: u8,
}

/// A begun piece that is more than one transfer that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    pub(super) piece: u32,
    /// Blocks that are not here.
    pub(super) missing: u16,
    /// Of these, blocks that nobody is asked for.
    pub(super) free: u16,
    /// Blocks were asked for again.
    pub(super) again: bool,
}

/// What a peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Away,
    Here,
    Gone,
}

/// What is often looked at of a peer.
pub(super) struct Peer {
    pub(super) up: Uplink,
    pub(super) access: Access,
    /// When the downlink is free, in microseconds.
    pub(super) down_free: u64,
    /// Microseconds that a block takes through the downlink.
    pub(super) down_span: u64,
    pub(super) partials: Vec<Partial>,
    pub(super) draw: Draw,
    pub(super) trace: Trace,
    /// Pieces that are here.
    pub(super) count: u32,
    /// Pieces that are here or begun.
    pub(super) begun: u32,
    /// Its own count of events.
    pub(super) n: u32,
    /// Slots in use, with those that became free.
    pub(super) slots: u16,
    /// Links that are to hear of the next piece.
    pub(super) hearers: u16,
    pub(super) stage: Stage,
    /// Somebody found nothing to ask for.
    pub(super) starved: bool,
    pub(super) is_seed: bool,
}

/// What is looked at now and then.
pub(super) struct Mind<C> {
    pub(super) choker: C,
    pub(super) rng: Rng,
    /// When it came, had all, and went, in microseconds.
    pub(super) came: u64,
    pub(super) finished: Option<u64>,
    pub(super) left: Option<u64>,
    /// When its last choke round was.
    pub(super) round: u64,
    /// Links that are up or about to be.
    pub(super) links: u16,
    /// When it may dial for the place of an idle link, in microseconds.
    pub(super) turnover: u64,
    /// Payload that came for nothing, in blocks.
    pub(super) wasted: u64,
}

/// Sums over all peers.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) events: u64,
    pub(super) transfers: u64,
    /// Leeches that have not finished.
    pub(super) waiting: u32,
    /// Pairs of a leech and a neighbour, and of these those in which it wants something.
    pub(super) pairs: u64,
    pub(super) wanting: u64,
    /// The same times microseconds, until `summed`.
    pub(super) pair_time: u128,
    pub(super) want_time: u128,
    pub(super) summed: u64,
    /// Pieces that leeches have.
    pub(super) pieces: u64,
    /// Pieces of which blocks may have come from more than one neighbour, or more.
    pub(super) split: u64,
}

/// The swarm while it runs.
pub(super) struct Swarm<'a, P, C> {
    pub(super) config: &'a FlowScenario,
    pub(super) cut: Cut,
    /// Blocks of a transfer.
    pub(super) unit: u16,
    /// Slots of a peer.
    pub(super) stride: usize,
    pub(super) now: u64,
    pub(super) wheel: Wheel,
    pub(super) links: Links,
    pub(super) maps: Maps,
    /// Pieces that are here or begun, of all peers.
    pub(super) busy: Vec<u64>,
    /// The other end of each link and how far it is, once more, for who looks at all of a peer's:
    /// nobody, a peer without pieces, where there is none.
    pub(super) to: Vec<u32>,
    pub(super) latency: Vec<u32>,
    /// A piece that it has and we lack.
    pub(super) wants: Vec<u32>,
    pub(super) edges: Vec<Edge>,
    pub(super) peers: Vec<Peer>,
    pub(super) minds: Vec<Mind<C>>,
    /// The leeches' classes.
    pub(super) classes: Vec<u16>,
    /// Peers that are there, and where each stands in that list.
    pub(super) present: Vec<u32>,
    pub(super) standing: Vec<u32>,
    pub(super) policy: &'a P,
    pub(super) counts: Counts,
    pub(super) candidates: Vec<u64>,
    pub(super) tally: Tally,
}

impl<'a, P, C> Swarm<'a, P, C> {
    /// The swarm before anybody is there.
    pub(super) fn new(
        config: &'a FlowScenario,
        policy: &'a P,
        mut choker: impl FnMut(u32) -> C,
    ) -> Swarm<'a, P, C> {
        let seed = seed_from_u64(config.seed);
        let mut rng = Rng::new(&child_seed(&seed, "flow", 0));
        let peers = config.peers as usize;
        let places = config.client.peers_max.min(peers - 1);
        let stride = (config.degree as usize * 8 / 5).min(places);
        let cut = config.cut();
        let classes = classes(config, &mut rng);
        let seeds = std::iter::repeat_n(config.seed_access, config.seeds as usize);
        let lines = classes.iter().map(|class| config.classes[*class as usize].access);
        let accesses: Vec<Access> = seeds.chain(lines).map(payload_of).collect();
        let came = arrivals(config, &mut rng);
        // As many pieces as come while a `have` is under way, if all of the downlink is used.
        let fastest = accesses.iter().map(|access| access.down_bytes_per_second).max();
        let per_second = fastest.unwrap_or(0) / u64::from(config.piece_length);
        let notes = per_second * u64::from(config.links.latency.max_us()) / 1_000_000 + 1;
        let maps = Maps::new(peers + 1, config.pieces, notes.clamp(4, 64) as usize);
        let words = maps.words;
        Swarm {
            cut,
            unit: cut.blocks.min(config.transfer_blocks),
            stride,
            now: 0,
            wheel: Wheel::new(),
            links: Links::new(config.links.clone(), &seed),
            maps,
            busy: vec![0; peers * words],
            to: vec![config.peers; peers * stride],
            latency: vec![0; peers * stride],
            wants: vec![NONE; peers * stride],
            edges: vec![Edge { to: config.peers, ..Edge::default() }; peers * stride],
            peers: accesses.iter().map(|access| peer(*access, cut, rng.u64())).collect(),
            minds: (0..config.peers).map(|p| mind(choker(p), came[p as usize], &seed, p)).collect(),
            classes,
            present: Vec::new(),
            standing: vec![NONE; peers],
            policy,
            counts: Counts::default(),
            candidates: vec![0; words],
            tally: Tally { waiting: config.peers - config.seeds, ..Tally::default() },
            config,
        }
    }

    /// Sends an event from `from` to `to`.
    pub(super) fn post(&mut self, from: u32, to: u32, at: u64, kind: Kind, what: What) {
        let sender = &mut self.peers[from as usize];
        let n = sender.n;
        sender.n = n.wrapping_add(1);
        let What { slot, piece, blocks } = what;
        self.wheel.push(Event { at, to, from, n, kind, slot, piece, blocks });
    }

    /// A message of `p` to the other end of its link `slot`: it waits for its stream's turn.
    pub(super) fn tell(&mut self, p: u32, slot: u16, kind: Kind, piece: u32, blocks: u16) {
        let e = self.edge_at(p, slot);
        let (to, back, latency) = (self.edges[e].to, self.edges[e].back, self.edges[e].latency);
        let at = self.peers[p as usize].up.turn_at(self.now, slot) + u64::from(latency);
        self.post(p, to, at, kind, What { slot: back, piece, blocks });
    }

    /// Where a link's end stands.
    pub(super) fn edge_at(&self, p: u32, slot: u16) -> usize {
        p as usize * self.stride + slot as usize
    }

    /// Whether a link is up.
    pub(super) fn is_up(&self, p: u32, slot: u16) -> bool {
        self.edges[self.edge_at(p, slot)].flags & flag::UP != 0
    }

    /// The slots of a peer.
    pub(super) fn slots(&self, p: u32) -> std::ops::Range<u16> {
        0..self.peers[p as usize].slots
    }

    pub(super) fn is_complete(&self, p: u32) -> bool {
        self.peers[p as usize].count == self.config.pieces
    }

    pub(super) fn busy_of(&mut self, p: u32) -> &mut [u64] {
        let words = self.maps.words;
        &mut self.busy[p as usize * words..(p as usize + 1) * words]
    }

    pub(super) fn latency_of(&self, a: u32, b: u32) -> u32 {
        self.links.latency(HostId(a), HostId(b)).as_micros() as u32
    }

    /// Sums the pairs up to now, before their number changes.
    pub(super) fn sum_pairs(&mut self) {
        let span = u128::from(self.now - self.tally.summed);
        self.tally.pair_time += span * u128::from(self.tally.pairs);
        self.tally.want_time += span * u128::from(self.tally.wanting);
        self.tally.summed = self.now;
    }

    /// Notes in the trace of `p` that something happened to it.
    pub(super) fn note(&mut self, p: u32, from: u32, kind: Kind, what: u64) {
        let bytes = (what << 8 | kind as u64).to_le_bytes();
        self.peers[p as usize].trace.add(Time::from_micros(self.now), from, &bytes);
    }
}

/// What an event is about.
#[derive(Clone, Copy, Default)]
pub(super) struct What {
    pub(super) slot: u16,
    pub(super) piece: u32,
    pub(super) blocks: u16,
}

/// Bytes before the payload of a block (BEP 3, `piece`).
pub(super) const BLOCK_HEADER: u64 = 13;

/// Microseconds that `len` bytes take, rounded up as the simulator of blocks does.
pub(super) fn span_of(len: u64, bytes_per_second: u64) -> u64 {
    (len * 1_000_000).div_ceil(bytes_per_second.max(1))
}

fn peer(access: Access, cut: Cut, draw: u64) -> Peer {
    let len = cut.block_len + BLOCK_HEADER;
    Peer {
        up: Uplink::new(span_of(len, access.up_bytes_per_second)),
        access,
        down_free: 0,
        down_span: span_of(len, access.down_bytes_per_second),
        partials: Vec::new(),
        draw: Draw::new(draw),
        trace: Trace::default(),
        count: 0,
        begun: 0,
        n: 0,
        slots: 0,
        hearers: 0,
        stage: Stage::Away,
        starved: false,
        is_seed: false,
    }
}

fn mind<C>(choker: C, came: u64, seed: &Seed, p: u32) -> Mind<C> {
    Mind {
        choker,
        rng: Rng::new(&child_seed(seed, "choke", p.into())),
        came,
        finished: None,
        left: None,
        round: came,
        links: 0,
        turnover: 0,
        wasted: 0,
    }
}

/// The classes of the leeches, in shares that are exact up to one peer and in random order.
fn classes(config: &FlowScenario, rng: &mut Rng) -> Vec<u16> {
    let leeches = u64::from(config.peers - config.seeds);
    let weights: u64 = config.classes.iter().map(|class| u64::from(class.weight)).sum();
    let (mut out, mut upto) = (Vec::new(), 0);
    for (n, class) in (0..).zip(&config.classes) {
        upto += u64::from(class.weight);
        out.resize((leeches * upto / weights) as usize, n);
    }
    rng.shuffle(&mut out);
    out
}

/// What a line has for payload: headers take the rest.
fn payload_of(access: Access) -> Access {
    let share = |rate: u64| (rate * SEGMENT / stream_wire_len(SEGMENT)).max(1);
    Access {
        up_bytes_per_second: share(access.up_bytes_per_second),
        down_bytes_per_second: share(access.down_bytes_per_second),
        ..access
    }
}

fn sorted(times: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    times
}

/// When each peer comes, in microseconds.
fn arrivals(config: &FlowScenario, rng: &mut Rng) -> Vec<u64> {
    let leeches = u64::from(config.peers - config.seeds);
    let seeds = std::iter::repeat_n(0, config.seeds as usize);
    match config.arrivals {
        Arrivals::Spread(span) => {
            let span = span.as_micros() as u64;
            seeds.chain((0..leeches).map(|n| span * n / leeches)).collect()
        }
        Arrivals::Poisson(gap) => {
            let mut at = 0.0;
            let mut next = || {
                at -= libm::log(1.0 - rng.unit()) * gap.as_micros() as f64;
                at as u64
            };
            seeds.chain((0..leeches).map(|_| next())).collect()
        }
        Arrivals::Random(span, day) => {
            let at = |_| (day.moment_s(span.as_secs_f64(), rng.unit()) * 1e6) as u64;
            seeds.chain(sorted((0..leeches).map(at))).collect()
        }
        Arrivals::Flash(mean) => {
            // Of a known number each comes at an exponential time.
            let at = |_| (-libm::log(1.0 - rng.unit()) * mean.as_micros() as f64) as u64;
            seeds.chain(sorted((0..leeches).map(at))).collect()
        }
    }
}
