//! One of ours, or somebody who says what bytes he is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;

use client::ConnId;
use sim::{Chunk, Host, StreamAction, StreamEvent};
use wire::peer::BlockRef;
use wire::time::Time;

/// Says what it is told to, in bytes that nobody's encoder made, and keeps what it hears.
#[derive(Default)]
pub struct Stranger {
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    pub heard: Vec<Vec<u8>>,
    actions: VecDeque<StreamAction>,
    unsent: VecDeque<Vec<u8>>,
    pub stream: Vec<u8>,
    pub blocks: Vec<BlockRef>,
    pub closed_at: Option<Time>,
}

/// The stranger's name for the one connection that he makes.
fn dialled() -> ConnId {
    ConnId::new(1)
}

/// A host of a world in which there is both.
pub enum Side<H> {
    Ours(Box<H>),
    Stranger(Stranger),
}

/// What a scenario tells them.
pub enum Say<C> {
    Ours(C),
    To(SocketAddr, Vec<u8>),
    Dial(SocketAddr),
    Over(Vec<u8>),
}

impl<H: Host> Side<H> {
    pub fn ours(host: H) -> Side<H> {
        Side::Ours(Box::new(host))
    }

    pub fn host(&self) -> &H {
        match self {
            Side::Ours(host) => host,
            Side::Stranger(_) => panic!("a stranger"),
        }
    }

    pub fn stranger(&self) -> &Stranger {
        match self {
            Side::Ours(_) => panic!("one of ours"),
            Side::Stranger(stranger) => stranger,
        }
    }
}

impl<H: Host> Host for Side<H> {
    type Command = Say<H::Command>;

    fn handle_command(&mut self, now: Time, command: Self::Command) {
        match (self, command) {
            (Side::Ours(host), Say::Ours(command)) => host.handle_command(now, command),
            (Side::Stranger(stranger), Say::To(to, bytes)) => stranger.out.push_back((to, bytes)),
            (Side::Stranger(stranger), Say::Dial(to)) => {
                stranger.actions.push_back(StreamAction::Dial(dialled(), to));
            }
            (Side::Stranger(stranger), Say::Over(bytes)) => {
                stranger.unsent.push_back(bytes);
                stranger.actions.push_back(StreamAction::Flush(dialled()));
            }
            _ => panic!("that is not for this host"),
        }
    }

    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        match self {
            Side::Ours(host) => host.handle_datagram(now, from, bytes),
            Side::Stranger(stranger) => stranger.heard.push(bytes.to_vec()),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if let Side::Ours(host) = self {
            host.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Side::Ours(host) => host.poll_transmit(buf),
            Side::Stranger(stranger) => {
                let (to, bytes) = stranger.out.pop_front()?;
                *buf = bytes;
                Some(to)
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        match self {
            Side::Ours(host) => host.poll_timeout(),
            Side::Stranger(_) => None,
        }
    }

    fn accept(&mut self, now: Time, from: SocketAddr) -> Option<ConnId> {
        match self {
            Side::Ours(host) => host.accept(now, from),
            Side::Stranger(_) => None,
        }
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, event: StreamEvent) {
        match (self, event) {
            (Side::Ours(host), event) => host.handle_stream(now, conn, event),
            (Side::Stranger(_), StreamEvent::Connected) => {}
            (Side::Stranger(stranger), StreamEvent::Chunk(Chunk::Bytes(bytes))) => {
                stranger.stream.extend_from_slice(&bytes);
            }
            (Side::Stranger(stranger), StreamEvent::Chunk(Chunk::Block(block, _))) => {
                stranger.blocks.push(block);
            }
            (Side::Stranger(stranger), StreamEvent::Closed) => stranger.closed_at = Some(now),
        }
    }

    fn poll_stream(&mut self) -> Option<StreamAction> {
        match self {
            Side::Ours(host) => host.poll_stream(),
            Side::Stranger(stranger) => stranger.actions.pop_front(),
        }
    }

    fn poll_chunk(&mut self, now: Time, conn: ConnId) -> Option<Chunk> {
        match self {
            Side::Ours(host) => host.poll_chunk(now, conn),
            Side::Stranger(stranger) => stranger.unsent.pop_front().map(Chunk::Bytes),
        }
    }

    fn end_turn(&mut self, now: Time) {
        if let Side::Ours(host) = self {
            host.end_turn(now);
        }
    }
}
