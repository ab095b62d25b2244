//! Payload as the brain sees it: values that move, never bytes.

/// One block's payload, which moves by value: reader, piece, hash job, write job, and back to its
/// owner's pool when dropped. In production a buffer of bytes, in the simulator a length and a
/// content tag.
pub trait Payload: Sized + 'static {
    /// Running SHA-1 over the blocks of a piece, from its first block on.
    type Hasher: Default + 'static;

    /// Bytes of payload.
    fn len(&self) -> usize;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
