//! The peer protocol (BEP 3, "peer protocol"): handshake, messages, and the framer that finds them
//! in a stream.

mod framer;
mod handshake;
mod message;

pub use framer::{Frame, FrameError, Framer};
pub use handshake::{HANDSHAKE_LEN, Handshake, NotAHandshake, PeerId, Reserved};
pub use message::{BLOCK_LEN, BlockRef, Message, MessageError};
