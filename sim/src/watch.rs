//! What a DHT node may never do, whatever befalls it; told from what it hears, says and reports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dht::{LookupId, Node};
use wire::Id;
use wire::krpc::{Body, GetPeersReply, Message, Method};
use wire::time::Time;

/// A lookup ends within this time: a few round trips, and patience with those who do not answer.
const LOOKUP_MAX: Duration = Duration::from_secs(180);
/// ... or so long after its node woke up and saw that it had not.
const LOOKUP_GRACE: Duration = Duration::from_secs(120);
/// A query is answered or given up within this time (`hard_timeout_ms`, and what it waits for its turn).
const WAKE_MAX: Duration = Duration::from_secs(10);
/// An answer comes at once, or never.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Queries and tokens that are remembered; then the oldest are forgotten.
const REMEMBERED_MAX: usize = 4_096;

/// What was asked.
#[derive(Clone, Debug)]
enum Asked {
    /// Something whose answer gives a token for this key.
    ForToken(Id),
    /// To store something under this key, with this token.
    ToStore(Id, Vec<u8>),
}

/// Watches one node.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The latest time that the node was told.
    now: Time,
    /// By who asked, and under which transaction id.
    asked: BTreeMap<(SocketAddr, Vec<u8>), (Time, Asked)>,
    /// By whom they were given to, and for which key.
    tokens: BTreeMap<(IpAddr, Id, Vec<u8>), Time>,
    /// Lookups that run: since when, and when they were first seen to take too long.
    lookups: BTreeMap<LookupId, (Time, Option<Time>)>,
    broken: Option<String>,
}

impl Watch {
    /// What the node did that it never may.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn found(&mut self, what: impl FnOnce() -> String) {
        self.broken.get_or_insert_with(what);
    }

    /// The node hears a datagram.
    pub(crate) fn heard(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        self.now = self.now.max(now);
        let Ok(Message { head, body: Body::Query(query) }) = Message::parse(bytes) else { return };
        let asked = match query.method {
            Method::GetPeers { info_hash, .. } => Asked::ForToken(info_hash),
            Method::Get { target, .. } => Asked::ForToken(target),
            Method::AnnouncePeer { info_hash, token, .. } => {
                Asked::ToStore(info_hash, token.to_vec())
            }
            _ => {
                self.asked.remove(&(from, head.tid.to_vec()));
                return;
            }
        };
        self.asked.insert((from, head.tid.to_vec()), (self.now, asked));
        let now = self.now;
        if self.asked.len() > REMEMBERED_MAX {
            self.asked.retain(|_, (at, _)| now.since(*at) < ANSWER_MAX);
        }
    }

    /// The node says something. `token_secs` is how long it uses a secret.
    pub(crate) fn said(&mut self, to: SocketAddr, bytes: &[u8], token_secs: u64) {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(why) => return self.found(|| format!("it sends what cannot be read: {why:?}")),
        };
        let Body::Reply(reply) = message.body else { return };
        let asked = self.asked.get(&(to, message.head.tid.to_vec()));
        let valid = Duration::from_secs(2 * token_secs);
        match asked.map(|(_, asked)| asked.clone()) {
            None => {}
            Some(Asked::ForToken(key)) => {
                let Some(token) = GetPeersReply::parse(&reply).and_then(|reply| reply.token) else {
                    return;
                };
                let now = self.now;
                self.tokens.insert((to.ip(), key, token.to_vec()), now);
                if self.tokens.len() > REMEMBERED_MAX {
                    self.tokens.retain(|_, given| now.since(*given) <= valid);
                }
            }
            Some(Asked::ToStore(key, token)) => {
                let given = self.tokens.get(&(to.ip(), key, token)).copied();
                if given.is_none_or(|given| self.now.since(given) > valid) {
                    self.found(|| {
                        format!("it stores {key} for {to}, whom it gave no such token, or long ago")
                    });
                }
            }
        }
    }

    /// A lookup of it begins.
    pub(crate) fn began(&mut self, now: Time, lookup: LookupId) {
        self.now = self.now.max(now);
        self.lookups.insert(lookup, (self.now, None));
    }

    /// It tells that a lookup is over.
    pub(crate) fn ended(&mut self, lookup: LookupId) {
        if self.lookups.remove(&lookup).is_none() {
            self.found(|| format!("it ends lookup {} twice, or one that never was", lookup.0));
        }
    }

    /// It has done all that there was to do.
    pub(crate) fn turned(&mut self, now: Time, node: &Node) {
        self.now = self.now.max(now);
        let now = self.now;
        let waits = node.in_flight() > 0 || !self.lookups.is_empty();
        let due = node.poll_timeout().map(|(due, _)| due);
        if node.in_flight() > 0 && due.is_none_or(|due| due > now + WAKE_MAX) {
            self.found(|| format!("{} queries wait, and nothing wakes it", node.in_flight()));
        }
        if !waits {
            return;
        }
        let mut stuck = None;
        for (lookup, (since, late)) in &mut self.lookups {
            if now.since(*since) > LOOKUP_MAX {
                let late = *late.get_or_insert(now);
                if now.since(late) > LOOKUP_GRACE {
                    stuck = Some((*lookup, now.since(*since)));
                }
            }
        }
        if let Some((lookup, since)) = stuck {
            self.found(|| format!("lookup {} has not ended after {since:?}", lookup.0));
        }
    }
}
