//! A session under one peer that sends whatever an input has: it keeps its bounds, and serves an
//! honest peer afterwards.

use std::collections::VecDeque;

use client::{Close, ConnId, TorrentEvent};
use wire::ext::MetadataMessage;
use wire::peer::{BLOCK_LEN, BlockRef, Frame, Framer, Handshake, Message, Reserved};

use crate::host::Host;
use crate::input::Input;
use crate::torrent::{any_block, any_message, bytes_of, held_max, tight, torrent};

/// Steps of one input, so that long inputs end.
const STEPS_MAX: usize = 300;
/// Spans of time that matter to some timer.
const SPANS_MS: [u64; 8] = [1, 300, 1_000, 2_500, 10_000, 16_000, 31_000, 61_000];
/// Messages that go out without being asked for, beyond the bound, in bytes.
const OUTPUT_SLACK: usize = 1_024;
/// The honest peer is done after so many seconds.
const QUIET_SECS: u64 = 300;

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut stranger = Stranger::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        stranger.step(&mut input);
        stranger.check();
    }
    stranger.hear();
    match stranger.seed {
        true => served(&mut stranger.host),
        false => fed(&mut stranger.host),
    }
}

/// A session, and the one connection that it has.
struct Stranger {
    host: Host,
    seed: bool,
    conn: ConnId,
    /// The session was asked to hand a stream to the framer.
    framer: Framer,
    requests: VecDeque<BlockRef>,
}

fn handshake(name: u8, reserved: u8) -> Handshake {
    let reserved = match reserved & 3 {
        0 => Reserved([reserved; 8]),
        1 => Reserved::default(),
        _ => Reserved::OURS,
    };
    Handshake { reserved, info_hash: torrent().1.info_hash, peer_id: [name; 20] }
}

impl Stranger {
    fn new(input: &mut Input<'_>) -> Stranger {
        let (content, info) = torrent();
        let kind = input.byte();
        let mut host = Host::with_hash(info, tight());
        match kind % 3 {
            0 => host.set_info(info),
            1 => host.set_seed(info, content),
            _ => {}
        }
        let conn = host.connect_with(handshake(1, input.byte()));
        let framer = Framer::new();
        Stranger { host, seed: kind % 3 == 1, conn, framer, requests: VecDeque::new() }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=3 => self.host.say(self.conn, any_message(input)),
            4 => self.answer(0, 0),
            5 => {
                for _ in 0..input.byte() % 16 {
                    self.answer(0, 0);
                }
            }
            6 => {
                let (at, change) = (usize::from(input.byte()), input.byte());
                self.answer(at, change);
            }
            7 => {
                let block = any_block(input);
                self.host.send_block(self.conn, block, &bytes_of(block));
            }
            8 => self.host.say_raw(self.conn, input.bytes()),
            9 => {
                let id = input.byte() % 4;
                self.host.say(self.conn, Message::Extended(id, input.bytes()));
            }
            10 => self.say_handshake(input),
            11 => self.say_metadata(input),
            12 | 13 => self.host.pass(SPANS_MS[input.below(SPANS_MS.len())]),
            14 => match input.byte() % 3 {
                0 => drop(self.host.deaf.insert(self.conn)),
                1 => self.hear(),
                _ => self.connect(input),
            },
            _ => self.stream(input.bytes()),
        }
        self.host.take_metadata();
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        self.host.session.handle_closed(self.host.now, self.conn, Close::Remote);
        self.host.drain();
        self.host.deaf.remove(&self.conn);
        let (name, reserved) = (input.byte() % 4, input.byte());
        self.conn = self.host.connect_with(handshake(name, reserved));
        self.framer = Framer::new();
        self.requests.clear();
    }

    /// Answers the request at `at`, with some bits of its first byte changed.
    fn answer(&mut self, at: usize, change: u8) {
        self.requests.extend(self.host.requests(self.conn));
        let at = at % self.requests.len().max(1);
        let Some(block) = self.requests.remove(at) else { return };
        let mut bytes = bytes_of(block);
        bytes[0] ^= change;
        self.host.send_block(self.conn, block, &bytes);
    }

    fn say_handshake(&mut self, input: &mut Input<'_>) {
        let (id, size, port) = (input.byte(), input.number(), input.number());
        let raw = torrent().1.raw.len() as u16;
        let size = if size & 3 == 0 { size } else { raw };
        let only = id >> 7;
        let dict = format!(
            "d1:md11:ut_metadatai{}e6:ut_pexi{}ee13:metadata_sizei{size}e1:pi{port}e4:reqqi{}e11:\
             upload_onlyi{only}ee",
            id % 5,
            id % 3,
            port % 9,
        );
        self.host.say(self.conn, Message::Extended(0, dict.as_bytes()));
    }

    fn say_metadata(&mut self, input: &mut Input<'_>) {
        let (kind, piece) = (input.byte(), u32::from(input.byte() % 3));
        let mut data = torrent().1.raw.to_vec();
        data[0] ^= kind >> 6;
        let total_size = (kind & 0x20 == 0).then_some(data.len());
        let message = match kind % 3 {
            0 => MetadataMessage::Request { piece },
            1 => MetadataMessage::Reject { piece },
            _ => MetadataMessage::Data { piece: piece % 2, total_size, data: &data },
        };
        let mut payload = Vec::new();
        message.encode(&mut payload);
        self.host.say(self.conn, Message::Extended(1, &payload));
    }

    /// Bytes as they come from a socket, behind a handshake.
    fn stream(&mut self, bytes: &[u8]) {
        let mut stream = Vec::new();
        if self.framer.payload_left() == 0 {
            self.framer = Framer::new();
            handshake(1, 2).encode(&mut stream);
        }
        stream.extend_from_slice(bytes);
        self.framer.feed(&stream);
        loop {
            let mut payload = vec![0; self.framer.payload_left()];
            self.framer.take_payload(&mut payload);
            match self.framer.next_frame() {
                Ok(Some(Frame::Handshake(_) | Frame::Piece(_))) => {}
                Ok(Some(Frame::Message(body))) => {
                    self.host.session.handle_message(self.host.now, self.conn, body);
                }
                Ok(None) => break,
                Err(_) => {
                    let why = Close::Fault("its stream cannot be read on");
                    self.host.session.handle_closed(self.host.now, self.conn, why);
                    break;
                }
            }
        }
        self.host.drain();
    }

    /// Its socket takes what waits, which is bounded.
    fn hear(&mut self) {
        self.host.heard(self.conn);
        self.host.undeafen(self.conn);
        let (messages, blocks) = self.host.waiting(self.conn);
        let max = tight();
        // Parts of the metadata are made when they are taken.
        let parts = max.metadata_queue_max * (torrent().1.raw.len() + OUTPUT_SLACK);
        assert!(messages <= max.output_bytes_max + parts + OUTPUT_SLACK, "{messages} bytes");
        assert!(blocks <= max.upload_queue_max, "{blocks} blocks");
    }

    fn check(&mut self) {
        let stats = self.host.session.stats(self.host.now, self.host.key).expect("a torrent");
        let max = tight();
        let held = stats.held_bytes / u64::from(BLOCK_LEN);
        assert!(held <= held_max(), "{held} blocks");
        assert!(stats.candidates <= max.candidates_max && stats.peers <= 1);
        self.requests.extend(self.host.requests(self.conn));
        self.host.check_pieces(&torrent().0, &torrent().1);
        self.host.events.clear();
    }
}

fn honest(host: &mut Host) -> ConnId {
    let conn = host.connect_with(handshake(0xee, 2));
    assert!(!host.closed.contains_key(&conn), "{:?}", host.closed.get(&conn));
    conn
}

/// An honest seed gives all that is missing: the metadata, and the pieces.
pub(crate) fn fed(host: &mut Host) {
    let (content, info) = torrent();
    if host.is_complete() {
        return assert_eq!(host.files["x"], *content);
    }
    let conn = honest(host);
    let hello = format!("d1:md11:ut_metadatai3ee13:metadata_sizei{}ee", info.raw.len());
    host.say(conn, Message::Extended(0, hello.as_bytes()));
    host.say(conn, Message::HaveAll);
    host.say(conn, Message::Unchoke);
    for _ in 0..QUIET_SECS * 5 {
        for body in host.bodies(conn) {
            match Message::parse(&body) {
                Ok(Message::Request(block)) => host.send_block(conn, block, &bytes_of(block)),
                Ok(Message::Extended(3, payload)) => {
                    let Ok(MetadataMessage::Request { piece: 0 }) = MetadataMessage::parse(payload)
                    else {
                        continue;
                    };
                    let (mut out, total_size) = (Vec::new(), Some(info.raw.len()));
                    MetadataMessage::Data { piece: 0, total_size, data: &info.raw }
                        .encode(&mut out);
                    host.say(conn, Message::Extended(1, &out));
                }
                _ => {}
            }
        }
        host.take_metadata();
        host.check_pieces(content, info);
        if host.is_complete() {
            assert_eq!(host.closed.get(&conn), Some(&Close::BothSeeds));
            return assert_eq!(host.files["x"], *content);
        }
        assert!(!host.closed.contains_key(&conn), "{:?}", host.closed.get(&conn));
        host.say(conn, Message::KeepAlive);
        host.pass(200);
    }
    panic!("it never finishes: {:?}", host.session.stats(host.now, host.key));
}

/// An honest leech gets all that it asks for.
fn served(host: &mut Host) {
    let (content, info) = torrent();
    let conn = honest(host);
    host.say(conn, Message::Interested);
    let mut wanted: Vec<BlockRef> = (0..info.piece_count())
        .flat_map(|piece| {
            (0..info.piece_len(piece)).step_by(BLOCK_LEN as usize).map(move |begin| {
                let len = (info.piece_len(piece) - begin).min(BLOCK_LEN);
                BlockRef { piece, begin, len }
            })
        })
        .collect();
    for _ in 0..QUIET_SECS {
        for block in wanted.clone() {
            host.say(conn, Message::Request(block));
            let sent = format!("Piece({block:?})");
            if host.heard(conn).contains(&sent) {
                wanted.retain(|other| *other != block);
            }
        }
        assert!(!host.closed.contains_key(&conn), "{:?}", host.closed.get(&conn));
        if wanted.is_empty() {
            return assert_eq!(host.files["x"], *content);
        }
        host.pass(1_000);
    }
    panic!("it is never unchoked");
}

/// What happened since the last look, as far as a test of the bench does not do it.
impl Host {
    /// Gives the session the info dict when it is there.
    fn take_metadata(&mut self) {
        let metadata = self.events.iter().find_map(|event| match event {
            TorrentEvent::Metadata(info) => Some(info.clone()),
            _ => None,
        });
        if let Some(info) = metadata {
            assert_eq!(*info, torrent().1);
            self.events.retain(|event| !matches!(event, TorrentEvent::Metadata(_)));
            self.set_info(&info);
        }
    }
}
