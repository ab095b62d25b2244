//! Buffers for blocks, used again and again.

use std::cell::RefCell;

use wire::peer::BLOCK_LEN;

use super::Hasher;
use crate::payload::Payload;

/// Buffers that a thread keeps for the next blocks: 1024 are 16 MiB.
const KEPT_MAX: usize = 1024;

thread_local! {
    /// Free buffers of this thread. Slots are taken and dropped by the reactor's thread, so the
    /// pool needs no lock.
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// One block's bytes.
#[derive(Debug)]
pub struct Slot {
    buffer: Box<[u8]>,
    len: usize,
}

impl Slot {
    /// A buffer of `len` bytes, of whatever content.
    pub fn new(len: usize) -> Slot {
        let usual = BLOCK_LEN as usize;
        let kept = if len <= usual { FREE.with_borrow_mut(Vec::pop) } else { None };
        let buffer = kept.unwrap_or_else(|| vec![0; len.max(usual)].into_boxed_slice());
        Slot { buffer, len }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

impl From<&[u8]> for Slot {
    fn from(bytes: &[u8]) -> Slot {
        let mut slot = Slot::new(bytes.len());
        slot.bytes_mut().copy_from_slice(bytes);
        slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.buffer.len() == BLOCK_LEN as usize {
            let buffer = std::mem::take(&mut self.buffer);
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT_MAX {
                    free.push(buffer);
                }
            });
        }
    }
}

impl Payload for Slot {
    type Hasher = Hasher;

    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let mut slot = Slot::new(100);
        slot.bytes_mut().fill(7);
        let place = slot.bytes().as_ptr();
        drop(slot);
        let slot = Slot::new(16_384);
        assert_eq!((slot.bytes().as_ptr(), slot.len()), (place, 16_384));
        assert_eq!(Slot::new(40_000).bytes().len(), 40_000);
    }
}
