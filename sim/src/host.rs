//! What the world asks of a simulated host.

use std::net::SocketAddr;

use wire::time::Time;

/// One host of a world: an index, in the order in which they were added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(pub u32);

/// A program on a simulated host with one UDP socket: a pure machine, or several and what the
/// scenario wants to know of them. The world gives one input, then drains all outputs.
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

    /// The input is worked off and all datagrams are taken: hear what the machine has to tell.
    fn end_turn(&mut self, now: Time);
}
