use std::collections::{BTreeMap, VecDeque};

use super::jobs::{Run, Span};
use super::open_files::Handle;
use super::{commit, prepare, start};
use crate::ConnId;
use crate::disk::{DiskOp, FileId, Ticket};
use crate::payload::Payload;

/// What an operation is for.
#[derive(Debug)]
pub(super) enum Pending {
    /// Nothing waits for it.
    Ignored,
    Start(start::Step),
    Open(Handle),
    /// A file that was open to be written.
    Close(Handle),
    Hash(Run),
    Prepare(prepare::Step),
    Write(Run),
    Read(Run),
    /// A block to upload.
    Spread(ConnId, Span),
    /// The journal's current step.
    Journal,
    Commit(commit::Step),
}

/// Operations that wait to be taken, and those that wait for their result.
pub(super) struct Io<P: Payload> {
    space: u32,
    next_ticket: u32,
    next_file: u32,
    ops: VecDeque<(Ticket, DiskOp<P>)>,
    pending: BTreeMap<Ticket, Pending>,
}

impl<P: Payload> Io<P> {
    pub(super) fn new(space: u32) -> Io<P> {
        Io { space, next_ticket: 0, next_file: 0, ops: VecDeque::new(), pending: BTreeMap::new() }
    }

    pub(super) fn submit(&mut self, op: DiskOp<P>, pending: Pending) {
        // Long before the counter comes round, what had its number is done.
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = Ticket(u64::from(self.space) << 32 | u64::from(self.next_ticket));
        self.pending.insert(ticket, pending);
        self.ops.push_back((ticket, op));
    }

    /// A name for a file to be opened.
    pub(super) fn new_file(&mut self) -> FileId {
        self.next_file = self.next_file.wrapping_add(1);
        FileId(u64::from(self.space) << 32 | u64::from(self.next_file))
    }

    pub(super) fn poll(&mut self) -> Option<(Ticket, DiskOp<P>)> {
        self.ops.pop_front()
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Pending> {
        self.pending.remove(&ticket)
    }

    /// Whether nothing is under way that anybody waits for.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.values().all(|pending| matches!(pending, Pending::Ignored))
    }
}
