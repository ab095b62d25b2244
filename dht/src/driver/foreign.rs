//! Datagrams that are not KRPC wait here for whoever shares the sockets, as uTP does.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::SocketId;

/// A datagram that did not start with `d`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// The socket that it came by.
    pub via: SocketId,
    /// Its source.
    pub from: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A queue bounded in packets and bytes; the oldest packet gives way.
pub(super) struct ForeignQueue {
    queue: VecDeque<Foreign>,
    bytes: usize,
    packets_max: usize,
    bytes_max: usize,
    dropped: u64,
}

impl ForeignQueue {
    pub(super) fn new(packets_max: usize, bytes_max: usize) -> ForeignQueue {
        ForeignQueue { queue: VecDeque::new(), bytes: 0, packets_max, bytes_max, dropped: 0 }
    }

    pub(super) fn push(&mut self, via: SocketId, from: SocketAddr, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.queue.push_back(Foreign { via, from, bytes: bytes.to_vec() });
        while self.queue.len() > self.packets_max || self.bytes > self.bytes_max {
            self.pop();
            self.dropped += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Foreign> {
        let foreign = self.queue.pop_front()?;
        self.bytes -= foreign.bytes.len();
        Some(foreign)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_to_packets_and_bytes() {
        let from: SocketAddr = "1.2.3.4:5".parse().unwrap();
        let mut queue = ForeignQueue::new(3, 100);
        for n in 0..5 {
            queue.push(SocketId(0), from, &[n; 10]);
        }
        assert_eq!(queue.dropped(), 2);
        queue.push(SocketId(0), from, &[9; 85]);
        assert_eq!(queue.dropped(), 4);
        assert_eq!(queue.pop().unwrap().bytes, [4; 10]);
        assert_eq!(queue.pop().unwrap().bytes.len(), 85);
        assert_eq!(queue.pop(), None);
        queue.push(SocketId(0), from, &[0; 101]);
        assert_eq!((queue.pop(), queue.bytes), (None, 0));
    }
}
