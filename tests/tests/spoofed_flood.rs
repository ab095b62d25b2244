//! A flood from forged addresses, in virtual time: those who proved theirs are served meanwhile, and
//! memory stays where it was.

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
const KIB: usize = 1 << 10;

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

#[test]
fn a_million_forged_sources_starve_no_verified_client() {
    let own = SocketAddr::from(([60, 1, 1, 1], 6881));
    let mut node = Node::new(Config::new(vec![own]), &seed_from_u64(1), Time::ZERO);
    let mut rng = Rng::new(&seed_from_u64(2));
    let budget = u64::from(node.config().answer_bytes_per_sec);
    let clients: Vec<SocketAddr> =
        (0..CLIENTS).map(|n| SocketAddr::from(([90, n as u8, 7, 7], 6881))).collect();
    for (n, client) in clients.iter().enumerate() {
        assert!(announce(&mut node, Time::ZERO, *client, Id([n as u8; 20])));
    }
    let mut answer = Vec::with_capacity(1_500);
    let ask = query(Method::get_peers(Id([7; 20]), Want::default()));
    let flood = query(Method::Ping);
    assert!(serve(
        &mut node,
        Time::ZERO,
        SocketAddr::from(([91, 1, 1, 1], 1)),
        &flood,
        &mut answer
    ));
    // What they ask for takes half of all that the node may answer.
    let pause = Duration::from_micros(1_000_000 * answer.len() as u64 * 2 / budget);
    let (mut now, mut client_at, mut next) = (Time::ZERO, Time::ZERO, 0);
    let (mut asked, mut answered, mut forged_answered) = (0u32, 0u32, 0u32);
    let meter = Meter::start();
    for n in 0..FORGED {
        now += pause;
        // From everywhere, and every tenth of them from the clients' own networks.
        let [a, b, c, d] = rng.bytes::<4>();
        let from = match n % 10 {
            0 => SocketAddr::from(([90, a % 100, b, c], 1024 + u16::from(d))),
            _ => SocketAddr::from(([20 + a % 50, b, c, d], 1024 + u16::from(a))),
        };
        forged_answered += u32::from(serve(&mut node, now, from, &flood, &mut answer));
        while client_at <= now {
            // Ten queries a second each, and an announce every few minutes, as clients do.
            client_at += Duration::from_micros(100_000 / u64::from(CLIENTS));
            let client = clients[next % clients.len()];
            asked += 1;
            answered += u32::from(match next / clients.len() % 2_000 {
                1_999 => announce(&mut node, now, client, Id([(next % 100) as u8; 20])),
                _ => serve(&mut node, now, client, &ask, &mut answer),
            });
            next += 1;
        }
    }
    let stats = node.stats();
    assert!(asked > 100_000, "{asked}");
    assert!(f64::from(answered) >= 0.99 * f64::from(asked), "{answered} of {asked}: {stats:?}");
    assert!(forged_answered > FORGED / 2, "strangers are served from what is left: {stats:?}");
    assert!(meter.peak() < 16 * KIB, "{} bytes more", meter.peak());
}
