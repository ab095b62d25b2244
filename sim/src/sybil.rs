//! A node that lies: it stands before a key and hides what honest nodes keep there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::compact;
use wire::krpc::{Body, Head, Message, Method, Query, Reply, Want};
use wire::time::Time;
use wire::{Id, NodeId};

use crate::host::Host;

/// Nodes told in a reply (BEP 5: 8).
const TOLD: usize = 8;
/// A sybil shows itself to some honest nodes so often, so that it stays in their tables.
const SHOW_EVERY: Duration = Duration::from_secs(5);
/// ... to so many each time.
const SHOWN_TO: usize = 16;

/// What all sybils of a world know.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// The sybils.
    pub nodes: Vec<(NodeId, SocketAddr)>,
    /// Whom they show themselves to.
    pub honest: Vec<SocketAddr>,
}

/// A sybil: it answers like a good node, names sybils only, takes whatever it is given and gives back
/// nothing.
pub struct Sybil {
    id: NodeId,
    target: Id,
    ring: Arc<Ring>,
    shown: usize,
    next_at: Option<Time>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Sybil {
    /// A sybil that starts with the world.
    pub fn new(id: NodeId, target: Id, ring: Arc<Ring>, start: Time) -> Sybil {
        let shown = usize::from(u16::from_be_bytes([id.0[18], id.0[19]]));
        Sybil { id, target, ring, shown, next_at: Some(start), out: VecDeque::new() }
    }

    fn answer(&self, from: SocketAddr, tid: &[u8], method: &Method<'_>) -> Option<Vec<u8>> {
        let target = match *method {
            Method::FindNode { target, .. }
            | Method::Get { target, .. }
            | Method::SampleInfohashes { target, .. } => Some(target),
            Method::GetPeers { info_hash, .. } => Some(info_hash),
            Method::Ping | Method::AnnouncePeer { .. } | Method::Put(_) => None,
            Method::Unknown { .. } => return None,
        };
        let mut nodes = Vec::new();
        if let Some(target) = target {
            let mut near: Vec<_> =
                self.ring.nodes.iter().filter(|(id, _)| *id != self.id).collect();
            near.sort_unstable_by_key(|(id, _)| id.distance(&target));
            near.iter().take(TOLD).for_each(|(id, addr)| compact::put_node(&mut nodes, id, addr));
        }
        let head = Head { tid, ip: Some(from), ..Head::default() };
        let token = target.map(|_| &b"sybil"[..]);
        let nodes = target.map(|_| &nodes[..]);
        let mut out = Vec::new();
        Reply { id: self.id, nodes, token, ..Reply::default() }.encode(&head, &mut out);
        Some(out)
    }
}

impl Host for Sybil {
    type Command = ();

    fn handle_command(&mut self, _now: Time, (): ()) {}

    fn handle_datagram(&mut self, _now: Time, from: SocketAddr, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else { return };
        if let Body::Query(query) = &message.body
            && let Some(answer) = self.answer(from, message.head.tid, &query.method)
        {
            self.out.push_back((from, answer));
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.next_at = Some(now + SHOW_EVERY);
        let method = Method::FindNode { target: self.target, want: Want::default() };
        let mut query = Vec::new();
        Query { id: self.id, method }.encode(&Head { tid: b"shew", ..Head::default() }, &mut query);
        let honest = &self.ring.honest;
        for n in 0..SHOWN_TO.min(honest.len()) {
            self.out.push_back((honest[(self.shown + n) % honest.len()], query.clone()));
        }
        self.shown += SHOWN_TO;
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, bytes) = self.out.pop_front()?;
        *buf = bytes;
        Some(to)
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.next_at
    }

    fn end_turn(&mut self, _now: Time) {}
}
