//! What passes over simulated streams.

use std::net::SocketAddr;
use std::time::Duration;

use client::ConnId;
use wire::peer::BlockRef;

use crate::content::Content;
use crate::packets::Ends;

/// A run of a stream that a host sends in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes: handshake and messages, as they go over the wire.
    Bytes(Vec<u8>),
    /// A `piece` message: its header is bytes, its payload stands for them.
    Block(BlockRef, Content),
}

impl Chunk {
    /// Bytes that it takes on the wire.
    pub fn wire_len(&self) -> u64 {
        match self {
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::Block(block, _) => BlockRef::PIECE_HEADER_LEN as u64 + u64::from(block.len),
        }
    }

    /// Appends bytes that stand for it in a capture.
    pub(crate) fn bytes(&self, out: &mut Vec<u8>) {
        match self {
            Chunk::Bytes(bytes) => out.extend_from_slice(bytes),
            Chunk::Block(block, content) => {
                out.extend_from_slice(&block.piece_header());
                content.write(out);
            }
        }
    }

    /// Appends bytes that tell it from any other.
    pub(crate) fn fingerprint(&self, out: &mut Vec<u8>) {
        match self {
            Chunk::Bytes(bytes) => out.extend_from_slice(bytes),
            Chunk::Block(block, content) => {
                out.extend_from_slice(&block.piece_header());
                content.fingerprint(out);
            }
        }
    }
}

/// What a host asks of its streams. It names connections itself, as a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Connect; answered by [`StreamEvent::Connected`] or [`StreamEvent::Closed`], or by nothing.
    Dial(ConnId, SocketAddr),
    /// There is something to send: [`crate::Host::poll_chunk`].
    Flush(ConnId),
    /// End it; what was sent before still arrives.
    Close(ConnId),
}

/// What happens to a host's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The dial succeeded.
    Connected,
    /// The next run of the stream.
    Chunk(Chunk),
    /// The other side ended or refused it.
    Closed,
}

/// What travels between the edges of two hosts. Connections are named as the receiver names them.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A dial between these addresses; `dialer` is the sender's name for it.
    Syn { dialer: ConnId, ends: Ends },
    /// The dial was taken; `acceptor` is the sender's name for it.
    SynAck { to: ConnId, acceptor: ConnId },
    /// A run of the stream, at the receiver's edge; its first packet was `lead` earlier.
    Data { to: ConnId, chunk: Chunk, lead: Duration },
    /// So many bytes of a stream have come through.
    Ack { to: ConnId, len: u64 },
    /// The stream ends.
    Fin { to: ConnId },
    /// From a host's edge to itself: a run came through the downlink.
    Through { to: ConnId, chunk: Chunk },
    /// From a host's edge to itself: the end came through the downlink.
    End { to: ConnId },
    /// From a host's edge to itself: the uplink is free.
    UplinkFree,
}
