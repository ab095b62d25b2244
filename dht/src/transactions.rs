//! Queries that wait for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wire::krpc::Want;
use wire::rng::Rng;
use wire::time::Time;
use wire::{Id, InfoHash, NodeId};

use crate::lookup::{Key, Patience};
use crate::{LookupId, PingId, SocketId};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Ping,
    FindNode {
        target: Id,
        want: Want,
    },
    GetPeers {
        info_hash: InfoHash,
        want: Want,
        noseed: bool,
        scrape: bool,
    },
    Announce {
        info_hash: InfoHash,
        port: Option<u16>,
        seed: bool,
        token: Box<[u8]>,
    },
    Get {
        target: Id,
        seq: Option<i64>,
        want: Want,
    },
    /// The item is that of the lookup.
    Put {
        lookup: LookupId,
        cas: Option<i64>,
        token: Box<[u8]>,
    },
    Sample {
        target: Id,
        want: Want,
    },
}

impl Ask {
    /// Whether a node may be up and not know the method: its silence says nothing.
    pub(crate) fn is_optional(&self) -> bool {
        matches!(self, Ask::Get { .. } | Ask::Put { .. } | Ask::Sample { .. })
    }
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The caller.
    Ping(PingId),
    /// A node that asked us, or that the caller named: it is listed if it answers.
    Verify,
    /// A questionable contact.
    Maintenance,
    /// A lookup.
    Lookup(LookupId, Key),
    /// The end of an announce or a put.
    Store(LookupId),
}

/// One query on its way.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) to: SocketAddr,
    pub(crate) via: SocketId,
    /// The id that must answer, if it is known.
    pub(crate) expected: Option<NodeId>,
    pub(crate) sent: Time,
    pub(crate) ask: Ask,
    pub(crate) purpose: Purpose,
    /// How long its lookup waits for it.
    pub(crate) patience: Option<Patience>,
    /// When its lookup wants to be told that it is late, and then that it is over.
    pub(crate) late_at: Option<Time>,
    pub(crate) over_at: Option<Time>,
    pub(crate) fails_at: Time,
    /// It waits for its turn, or will never have one.
    pub(crate) unsent: bool,
}

impl Transaction {
    /// Its time begins.
    pub(crate) fn run(&mut self, sent: Time, fails_at: Time) {
        (self.sent, self.fails_at) = (sent, fails_at);
        self.late_at = self.patience.map(|patience| sent + patience.late);
        self.over_at = self.patience.map(|patience| sent + patience.over);
    }

    fn deadline(&self) -> Time {
        self.late_at.or(self.over_at).unwrap_or(self.fails_at).min(self.fails_at)
    }
}

/// A deadline that passed.
#[derive(Debug)]
pub(crate) enum Overdue {
    /// A lookup's query is late or over; an answer still counts.
    Late(LookupId),
    /// A query failed and is forgotten.
    Failed(Box<Transaction>),
}

/// All queries that wait, by an unpredictable id of 4 bytes: the one length that every
/// implementation measured accepts. While there are none, they take no room.
#[derive(Clone, Default)]
pub(crate) struct Transactions {
    open: BTreeMap<u32, Box<Transaction>>,
    deadlines: BTreeSet<(Time, u32)>,
}

impl Transactions {
    pub(crate) fn open(&mut self, rng: &mut Rng, transaction: Transaction) -> u32 {
        let mut tid = rng.u32();
        while self.open.contains_key(&tid) {
            tid = rng.u32();
        }
        self.deadlines.insert((transaction.deadline(), tid));
        self.open.insert(tid, Box::new(transaction));
        tid
    }

    fn remove(&mut self, tid: u32) -> Option<Box<Transaction>> {
        let transaction = self.open.remove(&tid)?;
        if self.open.is_empty() {
            *self = Transactions::default();
        } else {
            self.deadlines.remove(&(transaction.deadline(), tid));
        }
        Some(transaction)
    }

    pub(crate) fn get(&self, tid: u32) -> Option<&Transaction> {
        self.open.get(&tid).map(|open| &**open)
    }

    /// Ends a query of which nobody is to hear.
    pub(crate) fn forget(&mut self, tid: u32) {
        self.remove(tid);
    }

    /// A query that waited for its turn is sent.
    pub(crate) fn start(&mut self, tid: u32, sent: Time, fails_at: Time) -> Option<&Transaction> {
        let transaction = self.open.get_mut(&tid)?;
        self.deadlines.remove(&(transaction.deadline(), tid));
        transaction.unsent = false;
        transaction.run(sent, fails_at);
        self.deadlines.insert((transaction.deadline(), tid));
        Some(transaction)
    }

    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self, step: u8) -> usize {
        let first = self.open.first_key_value();
        let due = self.deadline().map_or(0, |at| at.as_micros() as usize);
        due ^ match step {
            1 => first.map_or(0, |(tid, _)| *tid as usize),
            _ => self.open.values().map(|open| usize::from(open.unsent)).sum(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Ends the query that this answer belongs to; `None` if it was not asked of that address.
    pub(crate) fn answer(
        &mut self,
        tid: &[u8],
        from: SocketAddr,
        via: SocketId,
    ) -> Option<Box<Transaction>> {
        let tid = u32::from_be_bytes(tid.try_into().ok()?);
        let asked = self.open.get(&tid)?;
        if asked.to != from || asked.via != via || asked.unsent {
            return None;
        }
        self.remove(tid)
    }

    /// The next deadline.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// Ends a query to `to` by `via`; call again until `None`. Walks all: for rare events only.
    pub(crate) fn fail_to(&mut self, via: SocketId, to: SocketAddr) -> Option<Box<Transaction>> {
        let is_it = |asked: &Transaction| asked.to == to && asked.via == via;
        let tid = *self.open.iter().find(|(_, asked)| is_it(asked))?.0;
        self.remove(tid)
    }

    /// A deadline that has passed by `now`; call again until `None`.
    pub(crate) fn overdue(&mut self, now: Time) -> Option<Overdue> {
        let &(time, tid) = self.deadlines.first()?;
        if time > now {
            return None;
        }
        self.deadlines.pop_first();
        let transaction = self.open.get_mut(&tid)?;
        if transaction.fails_at > now
            && let Purpose::Lookup(lookup, _) = transaction.purpose
        {
            if transaction.late_at.take().is_none() {
                transaction.over_at = None;
            }
            self.deadlines.insert((transaction.deadline(), tid));
            return Some(Overdue::Late(lookup));
        }
        self.remove(tid).map(Overdue::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    #[test]
    fn what_one_socket_cannot_send_fails_and_what_another_sent_does_not() {
        let (mut open, mut rng) = (Transactions::default(), Rng::new(&seed_from_u64(1)));
        let to = SocketAddr::from(([1, 2, 3, 4], 5));
        for via in [0, 1, 0].map(SocketId) {
            let (sent, fails_at) = (Time::ZERO, Time::from_secs(4));
            let (ask, purpose) = (Ask::Ping, Purpose::Maintenance);
            open.open(
                &mut rng,
                Transaction {
                    to,
                    via,
                    expected: None,
                    sent,
                    ask,
                    purpose,
                    patience: None,
                    late_at: None,
                    over_at: None,
                    fails_at,
                    unsent: false,
                },
            );
        }
        let failed: Vec<_> =
            std::iter::from_fn(|| open.fail_to(SocketId(0), to)).map(|t| t.via).collect();
        assert_eq!((failed, open.len()), (vec![SocketId(0); 2], 1));
    }
}
