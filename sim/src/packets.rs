//! Datagrams on their way, in buffers that are used again.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Between which addresses a datagram travels, as its header says at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
}

const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// Buffers named by a slot number.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    buffers: Vec<(Ends, Vec<u8>)>,
    free: Vec<u32>,
}

impl Packets {
    /// Takes a buffer; it may hold old bytes.
    pub(crate) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.buffers.push((Ends { from: NOWHERE, to: NOWHERE }, Vec::new()));
            (self.buffers.len() - 1) as u32
        })
    }

    /// Takes a buffer with these bytes.
    pub(crate) fn put(&mut self, ends: Ends, bytes: &[u8]) -> u32 {
        let slot = self.take();
        let buffer = &mut self.buffers[slot as usize];
        buffer.0 = ends;
        buffer.1.clear();
        buffer.1.extend_from_slice(bytes);
        slot
    }

    /// Takes a buffer with the same as `slot`.
    pub(crate) fn copy(&mut self, slot: u32) -> u32 {
        let copy = self.take();
        let (mut buffer, from) =
            (std::mem::take(&mut self.buffers[copy as usize].1), slot as usize);
        buffer.clear();
        buffer.extend_from_slice(&self.buffers[from].1);
        self.buffers[copy as usize] = (self.buffers[from].0, buffer);
        copy
    }

    /// The bytes in `slot`.
    pub(crate) fn bytes(&self, slot: u32) -> &[u8] {
        &self.buffers[slot as usize].1
    }

    /// Reads each of the bytes' cache lines.
    pub(crate) fn touch(&self, slot: u32) -> usize {
        self.bytes(slot).chunks(64).map(|line| usize::from(line[0])).sum()
    }

    /// Between which addresses they travel.
    pub(crate) fn ends(&self, slot: u32) -> Ends {
        self.buffers[slot as usize].0
    }

    /// Changes the addresses.
    pub(crate) fn set_ends(&mut self, slot: u32, ends: Ends) {
        self.buffers[slot as usize].0 = ends;
    }

    /// The buffer `slot`.
    pub(crate) fn buffer(&mut self, slot: u32) -> &mut Vec<u8> {
        &mut self.buffers[slot as usize].1
    }

    /// Gives a buffer back.
    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Buffers in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.buffers.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let mut packets = Packets::default();
        let a = packets.take();
        packets.buffer(a).extend_from_slice(b"abc");
        let b = packets.copy(a);
        assert_ne!(a, b);
        assert_eq!(packets.bytes(b), b"abc");
        assert_eq!(packets.in_use(), 2);
        packets.release(a);
        assert_eq!(packets.take(), a);
        packets.release(a);
        packets.release(b);
        assert_eq!(packets.in_use(), 0);
        assert_eq!(packets.buffers.len(), 2);
    }
}
