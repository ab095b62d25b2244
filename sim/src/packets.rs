//! Datagrams on their way, in buffers that are used again.

/// Buffers named by a slot number.
#[derive(Debug, Default)]
pub struct Packets {
    buffers: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Packets {
    /// Takes a buffer; it may hold old bytes.
    pub fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::new());
            (self.buffers.len() - 1) as u32
        })
    }

    /// Takes a buffer with the same bytes as `slot`.
    pub fn copy(&mut self, slot: u32) -> u32 {
        let copy = self.take();
        let mut buffer = std::mem::take(&mut self.buffers[copy as usize]);
        buffer.clear();
        buffer.extend_from_slice(&self.buffers[slot as usize]);
        self.buffers[copy as usize] = buffer;
        copy
    }

    /// The bytes in `slot`.
    pub fn bytes(&self, slot: u32) -> &[u8] {
        &self.buffers[slot as usize]
    }

    /// The buffer `slot`.
    pub fn buffer(&mut self, slot: u32) -> &mut Vec<u8> {
        &mut self.buffers[slot as usize]
    }

    /// Gives a buffer back.
    pub fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Buffers in use.
    pub fn in_use(&self) -> usize {
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
