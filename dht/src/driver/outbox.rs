//! Datagrams that leave together: a system call for each costs as much as all that the node does for a
//! query.

use std::net::SocketAddr;

use crate::{Node, SocketId};

/// Datagrams that leave with one system call: half of what is read in a turn.
pub(super) const BATCH: usize = 32;

/// A datagram to be sent.
pub(super) struct Datagram {
    pub(super) via: SocketId,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// Datagrams to be sent, and the room of those that were.
#[derive(Default)]
pub(super) struct Outbox {
    datagrams: Vec<Datagram>,
    len: usize,
}

impl Outbox {
    /// Takes what the node has to send, up to a batch, in place of what was there. Returns whether
    /// there is anything.
    pub(super) fn fill(&mut self, node: &mut Node) -> bool {
        self.len = 0;
        while self.len < BATCH {
            if self.len == self.datagrams.len() {
                let (via, to) = (SocketId(0), SocketAddr::from(([0; 4], 0)));
                self.datagrams.push(Datagram { via, to, bytes: Vec::new() });
            }
            let datagram = &mut self.datagrams[self.len];
            let Some(transmit) = node.poll_transmit(&mut datagram.bytes) else { break };
            (datagram.via, datagram.to) = (transmit.via, transmit.to);
            self.len += 1;
        }
        self.len > 0
    }

    /// The datagrams, those one after the other by the same socket together.
    pub(super) fn by_socket(&self) -> impl Iterator<Item = &[Datagram]> {
        self.datagrams[..self.len].chunk_by(|a, b| a.via == b.via)
    }
}
