//! The half of the node that answers queries.

use std::net::SocketAddr;
use std::ops::Deref;

use arrayvec::ArrayVec;
use wire::krpc::{
    CAS_MISMATCH, Head, INVALID_SIGNATURE, METHOD_UNKNOWN, Method, PROTOCOL_ERROR, Put, Query,
    SALT_TOO_BIG, SEQ_TOO_LOW, SERVER_ERROR, TID_LEN_MAX, VALUE_TOO_BIG, Want,
};
use wire::{Id, InfoHash, NodeId};

use crate::NodeInfo;
use crate::asker::Asker;
use crate::item::{Item, ItemError, SALT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::item_store::Refused;
use crate::node::{Node, Outgoing};
use crate::replies;

/// An answer to be written when it is polled.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) asker: Asker,
    pub(crate) tid: Tid,
    pub(crate) says: Says,
}

/// A transaction id of another node: that of most fits into what a pointer to a longer one takes.
#[derive(Clone, Debug)]
pub(crate) enum Tid {
    Short(ArrayVec<u8, 11>),
    Long(Box<[u8]>),
}

impl Tid {
    fn new(tid: &[u8]) -> Tid {
        match ArrayVec::try_from(tid) {
            Ok(tid) => Tid::Short(tid),
            Err(_) => Tid::Long(tid.into()),
        }
    }
}

impl Deref for Tid {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Tid::Short(tid) => tid,
            Tid::Long(tid) => tid,
        }
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Id,
    Nodes {
        target: Id,
        want: Want,
    },
    Peers {
        info_hash: InfoHash,
        want: Want,
        noseed: bool,
        scrape: bool,
    },
    /// `shown`: with the value, for it is newer than what the asker has, and may be told.
    Item {
        target: Id,
        want: Want,
        shown: bool,
    },
    Samples {
        target: Id,
        want: Want,
    },
    Error {
        code: i64,
        text: &'static str,
    },
}

const BAD_TOKEN: Says = Says::Error { code: PROTOCOL_ERROR, text: "bad token" };
const NO_ROOM: Says = Says::Error { code: SERVER_ERROR, text: "no room" };

impl Node {
    /// Serves a query.
    pub(crate) fn on_query(&mut self, asker: &Asker, head: &Head<'_>, query: &Query<'_>) {
        let Asker { via, from, .. } = *asker;
        if query.id == self.own.id(via) {
            self.stats.dropped_own_id += 1;
            return;
        }
        let mut asker = *asker;
        let says = self.serve(&mut asker, head, &query.method);
        self.answer(&asker, head, says);
        // Who asks under an id that we have elsewhere is not told so by silence.
        if !head.read_only && query.id != NodeId::ZERO && !self.own.has(&query.id) {
            let node = NodeInfo { id: query.id, addr: from };
            // Most strangers come while as many as may be are being asked: they cost nothing more.
            let may_be = self.may_verify();
            if self.tables.on_query(self.now, &node, may_be) {
                self.verify(from, via, Some(query.id));
            }
        }
    }

    /// Refuses a query that says `reason` wrong.
    pub(crate) fn refuse(&mut self, asker: &Asker, head: &Head<'_>, reason: &'static str) {
        self.stats.queries_malformed += 1;
        self.answer(asker, head, Says::Error { code: PROTOCOL_ERROR, text: reason });
    }

    fn answer(&mut self, asker: &Asker, head: &Head<'_>, says: Says) {
        // None is longer: such a message was dropped.
        debug_assert!(head.tid.len() <= TID_LEN_MAX);
        let tid = Tid::new(head.tid);
        self.out.push(Outgoing::Answer(Answer { asker: *asker, tid, says }));
    }

    fn serve(&mut self, asker: &mut Asker, head: &Head<'_>, method: &Method<'_>) -> Says {
        let from = asker.from;
        match *method {
            Method::Ping => {
                self.stats.queries_ping += 1;
                Says::Id
            }
            Method::FindNode { target, want }
            | Method::Unknown { target: Some(target), want, .. } => {
                self.stats.queries_find_node += 1;
                Says::Nodes { target, want }
            }
            Method::GetPeers { info_hash, want, noseed, scrape } => {
                self.stats.queries_get_peers += 1;
                Says::Peers { info_hash, want, noseed, scrape }
            }
            Method::SampleInfohashes { target, want } => {
                self.stats.queries_sample += 1;
                Says::Samples { target, want }
            }
            Method::Unknown { target: None, .. } => {
                self.stats.queries_unknown += 1;
                Says::Error { code: METHOD_UNKNOWN, text: "method unknown" }
            }
            Method::AnnouncePeer { info_hash, port, implied_port, seed, token } => {
                self.stats.queries_announce += 1;
                let peer =
                    SocketAddr::new(from.ip(), if implied_port { from.port() } else { port });
                if !self.is_token(asker, &info_hash, token) {
                    return BAD_TOKEN;
                }
                if !self.store.announce(self.now, &info_hash, peer, seed) {
                    self.stats.store_full += 1;
                    return NO_ROOM;
                }
                Says::Id
            }
            Method::Get { target, seq, want } => {
                self.serve_get(asker, head.tid.len(), target, seq, want)
            }
            Method::Put(put) => self.serve_put(asker, &put),
        }
    }

    /// Whether the token is ours for this asker and key, which also proves the asker's address.
    fn is_token(&mut self, asker: &Asker, target: &Id, token: &[u8]) -> bool {
        let ip = asker.from.ip();
        let ours = self.tokens.check(self.now, asker.via, ip, target, token);
        match ours {
            true => self.quota.verify(self.now, ip),
            false => self.stats.bad_tokens += 1,
        }
        ours
    }

    /// Serves `get` (BEP 44). An item that fits into what the asker may get leaves the rest to nodes.
    /// A larger one goes to those who are verified, and without nodes to some others.
    fn serve_get(
        &mut self,
        asker: &mut Asker,
        tid_len: usize,
        target: Id,
        seq: Option<i64>,
        want: Want,
    ) -> Says {
        self.stats.queries_get += 1;
        let Some(item) = self.items.get(self.now, &target) else {
            return Says::Item { target, want, shown: false };
        };
        let newer = seq.is_none_or(|seq| item.seq().is_none_or(|stored| stored > seq));
        let len = replies::item_len(item, tid_len);
        let shown = newer
            && (len <= usize::from(asker.grant.bytes_max)
                || self.quota.admit_item(self.now, asker.from.ip(), &mut asker.grant, len));
        self.stats.items_withheld += u64::from(newer && !shown);
        Says::Item { target, want, shown }
    }

    /// Serves `put` (BEP 44).
    fn serve_put(&mut self, asker: &Asker, put: &Put<'_>) -> Says {
        self.stats.queries_put += 1;
        let error = |code, text| Says::Error { code, text };
        // What costs nothing to see comes before what does.
        if put.value.raw().len() > VALUE_BYTES_MAX {
            self.stats.bad_items += 1;
            return error(VALUE_TOO_BIG, "v has more than 1000 bytes");
        }
        if put.signed.is_some_and(|signed| signed.salt.len() > SALT_BYTES_MAX) {
            self.stats.bad_items += 1;
            return error(SALT_TOO_BIG, "salt has more than 64 bytes");
        }
        if !self.is_token(asker, &put.target(), put.token) {
            return BAD_TOKEN;
        }
        let item = match Item::from_put(put) {
            Ok(item) => item,
            Err(why) => {
                self.stats.bad_items += 1;
                return match why {
                    ItemError::InvalidSignature => error(INVALID_SIGNATURE, "invalid signature"),
                    _ => error(PROTOCOL_ERROR, "no valid item"),
                };
            }
        };
        let cas = put.signed.and_then(|signed| signed.cas);
        let (from, own) = (asker.from.ip(), self.own.ids());
        match self.items.put(self.now, item, cas, from, own, &mut self.rng) {
            Ok(()) => Says::Id,
            Err(Refused::Full) => {
                self.stats.store_full += 1;
                NO_ROOM
            }
            Err(why) => {
                self.stats.old_items += 1;
                match why {
                    Refused::CasMismatch => error(CAS_MISMATCH, "cas is not the stored seq"),
                    _ => error(SEQ_TOO_LOW, "seq is not above the stored one"),
                }
            }
        }
    }
}
