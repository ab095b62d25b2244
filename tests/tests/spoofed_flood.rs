//! A flood from forged addresses, in virtual time: who asks a node meanwhile is served, or soon after if
//! there are too many, and memory stays where it was.

use std::net::SocketAddr;
use std::time::Duration;

use dht::{Config, Node, SocketId};
use harness::allocations::{Counting, Meter};
use wire::krpc::{Body, GetPeersReply, Head, Message, Method, Query, Want};
use wire::rng::{Rng, seed_from_u64};
use wire::time::Time;
use wire::{Id, InfoHash};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: u32 = 100;
const FORGED: u32 = 1_000_000;

fn query(method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head { tid: b"tttt", read_only: true, ..Head::default() };
    Query { id: Id([9; 20]), method }.encode(&head, &mut out);
    out
}

/// What the node answered, in `answer`; whether it did.
fn serve(node: &mut Node, now: Time, from: SocketAddr, bytes: &[u8], answer: &mut Vec<u8>) -> bool {
    node.handle_datagram(now, SocketId(0), from, bytes);
    node.poll_transmit(answer).is_some_and(|transmit| transmit.to == from)
}

/// Asks for peers and announces with the token: the asker is verified then.
fn announce(node: &mut Node, now: Time, from: SocketAddr, info_hash: InfoHash) -> bool {
    let (mut answer, want) = (Vec::new(), Want::default());
    if !serve(node, now, from, &query(Method::get_peers(info_hash, want)), &mut answer) {
        return false;
    }
    let Ok(Message { body: Body::Reply(body), .. }) = Message::parse(&answer) else { return false };
    let token = GetPeersReply::parse(&body).and_then(|reply| reply.token).map(<[u8]>::to_vec);
    let Some(token) = token else { return false };
    let method =
        Method::AnnouncePeer { info_hash, port: 1, implied_port: true, seed: false, token: &token };
    serve(node, now, from, &query(method), &mut answer)
}

/// What the node was asked and answered.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    asked: u32,
    answered: u32,
    bytes: u64,
}

impl Count {
    fn add(&mut self, answered: bool, answer: &[u8]) {
        self.asked += 1;
        if answered {
            self.answered += 1;
            self.bytes += answer.len() as u64;
        }
    }

    fn share(&self) -> f64 {
        f64::from(self.answered) / f64::from(self.asked)
    }
}

/// Who asked in a stretch of time.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    /// A hundred that showed a token, ten times a second each.
    clients: Count,
    /// A hundred that did not, as often.
    newcomers: Count,
    forged: Count,
}

/// A node, its clients and its flood.
struct Bench {
    node: Node,
    now: Time,
    rng: Rng,
    clients: Vec<SocketAddr>,
    newcomers: Vec<SocketAddr>,
    /// When the next of either asks, and how many have.
    next_at: Time,
    next: usize,
    ask: Vec<u8>,
    forged: Vec<u8>,
    answer: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let own = SocketAddr::from(([60, 1, 1, 1], 6881));
        let at = |net, n: u32| SocketAddr::from(([net, n as u8, 7, 7], 6881));
        let mut bench = Bench {
            node: Node::new(Config::new(vec![own]), &seed_from_u64(1), Time::ZERO),
            now: Time::ZERO,
            rng: Rng::new(&seed_from_u64(2)),
            clients: (0..CLIENTS).map(|n| at(90, n)).collect(),
            newcomers: (0..CLIENTS).map(|n| at(91, n)).collect(),
            next_at: Time::ZERO,
            next: 0,
            ask: query(Method::get_peers(Id([7; 20]), Want::default())),
            forged: query(Method::Ping),
            answer: Vec::with_capacity(1_500),
        };
        for n in 0..bench.clients.len() {
            assert!(announce(&mut bench.node, Time::ZERO, bench.clients[n], Id([n as u8; 20])));
        }
        bench
    }

    /// Lets so many forged queries come, one each `pause`, and those who ask meanwhile.
    fn flood(&mut self, forged: u32, pause: Duration) -> Counts {
        let mut counts = Counts::default();
        for n in 0..forged {
            self.pass(pause, &mut counts);
            // From everywhere, and every tenth of them from the clients' own networks.
            let [a, b, c, d] = self.rng.bytes::<4>();
            let from = match n % 10 {
                0 => SocketAddr::from(([90, a % 100, b, c], 1024 + u16::from(d))),
                _ => SocketAddr::from(([20 + a % 50, b, c, d], 1024 + u16::from(a))),
            };
            let answered = serve(&mut self.node, self.now, from, &self.forged, &mut self.answer);
            counts.forged.add(answered, &self.answer);
        }
        counts
    }

    /// Lets time pass without a flood.
    fn quiet(&mut self, time: Duration) -> Counts {
        let mut counts = Counts::default();
        self.pass(time, &mut counts);
        counts
    }

    fn pass(&mut self, time: Duration, counts: &mut Counts) {
        let end = self.now + time;
        while self.next_at <= end {
            self.now = self.now.max(self.next_at);
            self.next_at += Duration::from_micros(100_000 / u64::from(CLIENTS));
            let at = self.next % self.clients.len();
            self.next += 1;
            for (who, count) in [
                (self.clients[at], &mut counts.clients),
                (self.newcomers[at], &mut counts.newcomers),
            ] {
                let answered = serve(&mut self.node, self.now, who, &self.ask, &mut self.answer);
                count.add(answered, &self.answer);
            }
        }
        self.now = end;
        while self.node.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.node.handle_timeout(self.now);
        }
    }
}

/// Forged queries a second that are answered, however many more come.
fn saturation() -> f64 {
    const PAUSE: Duration = Duration::from_micros(20);
    let mut bench = Bench::new();
    // What may come at once is used up.
    bench.flood(300_000, PAUSE);
    let Counts { forged, .. } = bench.flood(200_000, PAUSE);
    assert!((0.01..0.5).contains(&forged.share()), "{forged:?}");
    f64::from(forged.answered) / (PAUSE * forged.asked).as_secs_f64()
}

#[test]
fn a_million_forged_sources_starve_no_client() {
    let pause = Duration::from_secs_f64(1.0 / (saturation() / 2.0));
    let mut bench = Bench::new();
    bench.flood(FORGED / 10, pause);
    let meter = Meter::start();
    let Counts { clients, newcomers, forged } = bench.flood(FORGED, pause);
    let (live, total) = (meter.live(), meter.total());
    assert!(clients.asked > 100_000, "{clients:?}");
    assert!(clients.share() >= 0.99 && newcomers.share() >= 0.99, "{clients:?}, {newcomers:?}");
    assert!(forged.share() > 0.9, "strangers are served from what is left: {forged:?}");
    // Half of the budget is for those who showed a token.
    let rate = f64::from(bench.node.config().answer_bytes_per_sec) / 2.0;
    let secs = (pause * forged.asked).as_secs_f64();
    let strangers = (forged.bytes + newcomers.bytes) as f64;
    assert!(strangers < rate * secs, "{strangers} bytes in {secs} s: {:?}", bench.node.stats());
    assert_eq!((live, total), (0, 0), "bytes that a flood takes, and that it ever took");
}

#[test]
fn a_flood_twice_as_large_as_can_be_served_is_over_when_it_ends() {
    let pause = Duration::from_secs_f64(1.0 / (saturation() * 2.0));
    let mut bench = Bench::new();
    let during = bench.flood(FORGED, pause);
    let shares = [during.clients, during.newcomers, during.forged].map(|count| count.share());
    println!(
        "clients {:.3}, newcomers {:.3}, forged {:.3} served",
        shares[0], shares[1], shares[2]
    );
    bench.quiet(Duration::from_secs(1));
    let after = bench.quiet(Duration::from_secs(1));
    assert!(after.clients.asked >= 999, "{after:?}");
    for served in [after.clients, after.newcomers] {
        assert!(served.share() >= 0.99, "{after:?}, {shares:?} before");
    }
}
