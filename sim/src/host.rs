//! What the world asks of a simulated host.

use std::net::SocketAddr;

use client::ConnId;
use wire::time::Time;

use crate::stream::{Chunk, StreamAction, StreamEvent};

/// One host of a world: an index, in the order in which they were added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(pub u32);

/// A scenario's word to a host.
#[derive(Clone, Debug)]
pub struct Step<C> {
    /// When.
    pub at: Time,
    /// To whom.
    pub host: HostId,
    /// What.
    pub command: C,
}

/// A program on a simulated host with one UDP socket, and streams if it wants any: a pure machine,
/// or several and what the scenario wants to know of them. The world gives one input, then drains
/// all outputs.
pub trait Host {
    /// What the scenario can tell it to do.
    type Command;

    /// The scenario's word.
    fn handle_command(&mut self, now: Time, command: Self::Command);

    /// A datagram from `from`.
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]);

    /// Its deadline has come.
    fn handle_timeout(&mut self, now: Time);

    /// The next datagram, written into `buf` in place of what was there; returns its receiver.
    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr>;

    /// When it wants [`Host::handle_timeout`].
    fn poll_timeout(&self) -> Option<Time>;

    /// `from` dials: the name under which the connection is taken, or `None` if it is not.
    fn accept(&mut self, now: Time, from: SocketAddr) -> Option<ConnId> {
        let _ = (now, from);
        None
    }

    /// Something happened to a stream.
    fn handle_stream(&mut self, now: Time, conn: ConnId, event: StreamEvent) {
        let _ = (now, conn, event);
    }

    /// The next thing that its streams are to do.
    fn poll_stream(&mut self) -> Option<StreamAction> {
        None
    }

    /// What it sends next over a stream; `None` until the next [`StreamAction::Flush`].
    fn poll_chunk(&mut self, now: Time, conn: ConnId) -> Option<Chunk> {
        let _ = (now, conn);
        None
    }

    /// The input is worked off and all outputs are taken: hear what the machine has to tell.
    fn end_turn(&mut self, now: Time);

    /// What it did that may never happen, if it watches itself; asked after each turn.
    fn violation(&self) -> Option<&str> {
        None
    }

    /// Reads a part of what its next turn will read, for nothing but that this is in the cache then, and
    /// returns some number that depends on it. Of many hosts none is in a cache; the reads of several hosts
    /// do not wait for each other, as those of a turn do. `step` 0 is what stands in the host itself, 1 and
    /// 2 what that leads to.
    fn touch(&self, step: u8) -> usize {
        let _ = step;
        0
    }

    /// What there is to say of it, for who looks into a run.
    fn describe(&self) -> String {
        String::new()
    }
}
