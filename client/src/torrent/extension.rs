//! Extension messages (BEP 10): the handshake, metadata (BEP 9) and peer exchange (BEP 11).

use std::net::SocketAddr;

use wire::ext::{ExtHandshake, MetadataMessage, Pex};
use wire::metainfo::Info;
use wire::peer::Message;
use wire::scope::AddrScope;
use wire::time::Time;

use super::{Failure, Torrent, TorrentEvent};
use crate::candidates::Source;
use crate::metadata::{METADATA_PIECE_LEN, MetadataFetch, Outcome};
use crate::payload::Payload;
use crate::peer::Peer;
use crate::{Close, ConnId};

/// Ids under which we take extension messages.
const OUR_METADATA: u8 = 1;
const OUR_PEX: u8 = 2;
/// Addresses taken of one peer-exchange message (BEP 11: at most 50 added).
const PEX_MAX: usize = 50;

/// Asks a peer for one more part of the metadata, if it may be asked.
fn ask_metadata(now: Time, metadata: &mut MetadataFetch, peer: &mut Peer) -> bool {
    let Some(id) = peer.extensions.metadata else { return false };
    let Some(part) = metadata.next_request(now, peer.conn) else { return false };
    let mut payload = Vec::new();
    MetadataMessage::Request { piece: part }.encode(&mut payload);
    peer.send(Message::Extended(id, &payload));
    true
}

/// A handshake names an id anew, or 0 to switch its extension off (BEP 10).
fn change_id(id: &mut Option<u8>, told: Option<u8>) {
    if let Some(told) = told {
        *id = Some(told).filter(|&id| id != 0);
    }
}

impl<P: Payload> Torrent<P> {
    /// Our extension handshake for a peer at `to`.
    pub(super) fn extension_handshake(&self, to: SocketAddr) -> Vec<u8> {
        let mut out = Vec::new();
        ExtHandshake {
            metadata_id: Some(OUR_METADATA),
            pex_id: Some(OUR_PEX),
            metadata_size: self.info().map(|info| info.raw.len() as u64),
            reqq: Some(self.config.upload_queue_max as u32),
            client: Some(crate::CLIENT_NAME.into()),
            listen_port: self.listen_port,
            your_ip: Some(to.ip()),
            upload_only: self.is_complete(),
            ..ExtHandshake::default()
        }
        .encode(&mut out);
        out
    }

    /// The metadata is known now, or all that is wanted is there: peers that came before are told.
    pub(super) fn tell_handshake(&mut self) {
        let conns: Vec<(ConnId, SocketAddr)> = self
            .peers
            .values()
            .filter(|peer| peer.handshake.reserved.extensions())
            .map(|peer| (peer.conn, peer.addr))
            .collect();
        for (conn, addr) in conns {
            let payload = self.extension_handshake(addr);
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.send(Message::Extended(0, &payload));
            }
        }
    }

    pub(super) fn on_extended(
        &mut self,
        now: Time,
        conn: ConnId,
        id: u8,
        payload: &[u8],
    ) -> Result<(), Close> {
        match id {
            0 => self.on_extension_handshake(now, conn, payload),
            OUR_METADATA => self.on_metadata(now, conn, payload),
            OUR_PEX => self.on_pex(now, conn, payload),
            _ => Ok(()),
        }
    }

    fn on_extension_handshake(
        &mut self,
        now: Time,
        conn: ConnId,
        payload: &[u8],
    ) -> Result<(), Close> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let handshake = ExtHandshake::parse(payload)
            .map_err(|_| Close::Fault("a malformed extension handshake"))?;
        change_id(&mut peer.extensions.metadata, handshake.metadata_id);
        change_id(&mut peer.extensions.pex, handshake.pex_id);
        let has_metadata = peer.extensions.metadata.is_some();
        peer.extensions.upload_only = handshake.upload_only;
        if handshake.upload_only && self.content.as_ref().is_some_and(|content| content.complete) {
            // BEP 21: neither side wants anything of the other.
            return Err(Close::BothSeeds);
        }
        if let Some(client) = handshake.client {
            peer.client = client;
        }
        if let Some(reqq) = handshake.reqq {
            peer.window.set_reqq(reqq);
        }
        if let Some(port) = handshake.listen_port {
            self.on_listen_port(now, conn, port);
        }
        if self.wants_metadata()
            && let Some(size) = handshake.metadata_size.filter(|_| has_metadata)
        {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if !self.metadata.add_peer(now, conn, size) {
                return Err(Close::Fault("an absurd metadata size"));
            }
            self.request_metadata_of(now, conn);
        }
        Ok(())
    }

    fn wants_metadata(&self) -> bool {
        self.content.is_none() && !self.has_failed() && !self.stopping
    }

    /// Asks every peer that has it for the metadata's parts that are missing.
    pub(super) fn request_metadata(&mut self, now: Time) {
        if !self.wants_metadata() {
            return;
        }
        // Each in turn, so that the parts are spread over all.
        let mut asked = true;
        while std::mem::take(&mut asked) {
            for peer in self.peers.values_mut() {
                asked |= ask_metadata(now, &mut self.metadata, peer);
            }
        }
        self.tell_flushes();
    }

    /// Asks one peer, so that what a stranger says is not enough to look through all peers.
    fn request_metadata_of(&mut self, now: Time, conn: ConnId) {
        if !self.wants_metadata() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        while ask_metadata(now, &mut self.metadata, peer) {}
        self.tell_flushes();
    }

    fn on_metadata(&mut self, now: Time, conn: ConnId, payload: &[u8]) -> Result<(), Close> {
        let message = MetadataMessage::parse(payload)
            .map_err(|_| Close::Fault("a malformed metadata message"))?;
        match message {
            MetadataMessage::Request { piece } => self.serve_metadata(conn, piece),
            MetadataMessage::Reject { piece } => {
                self.metadata.handle_reject(now, conn, piece);
                // Whoever rejects has not got it yet: it is asked again when the tick comes.
            }
            MetadataMessage::Data { piece, total_size, data } if self.wants_metadata() => {
                match self.metadata.handle_data(now, conn, piece, total_size, data) {
                    Outcome::Wait => self.request_metadata_of(now, conn),
                    Outcome::Again => self.request_metadata(now),
                    Outcome::Done(raw) => self.on_info_dict(now, &raw),
                    Outcome::Liars(liars) => {
                        for liar in liars {
                            self.close(now, liar, Close::Corrupt);
                        }
                        self.request_metadata(now);
                    }
                }
            }
            MetadataMessage::Data { .. } | MetadataMessage::Unknown => {}
        }
        Ok(())
    }

    fn on_info_dict(&mut self, now: Time, raw: &[u8]) {
        match Info::parse(raw) {
            Ok(info) if info.private => {
                self.fail(now, Failure::Private);
            }
            Ok(info) => self.events.push_back(TorrentEvent::Metadata(Box::new(info))),
            Err(error) => self.fail(now, Failure::Metadata(error.to_string())),
        }
    }

    /// The `piece`th part of the info dict.
    fn metadata_part(&self, piece: u32) -> Option<MetadataMessage<'_>> {
        let raw = &self.info()?.raw[..];
        let data = raw.chunks(METADATA_PIECE_LEN).nth(piece as usize)?;
        Some(MetadataMessage::Data { piece, total_size: Some(raw.len()), data })
    }

    /// A peer asks for a part of the info dict: 16 KiB for a few bytes, so it waits as a number.
    fn serve_metadata(&mut self, conn: ConnId, piece: u32) {
        let is_there = self.metadata_part(piece).is_some();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(id) = peer.extensions.metadata else { return };
        if !is_there || !peer.queue_part(piece, self.config.metadata_queue_max) {
            let mut payload = Vec::new();
            MetadataMessage::Reject { piece }.encode(&mut payload);
            peer.send(Message::Extended(id, &payload));
        }
    }

    /// Sends a part that was asked for, unless the peer takes none any more.
    pub(super) fn send_metadata(&mut self, conn: ConnId, piece: u32) {
        let mut payload = Vec::new();
        self.metadata_part(piece).iter().for_each(|part| part.encode(&mut payload));
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if let Some(id) = peer.extensions.metadata.filter(|_| !payload.is_empty()) {
            peer.send(Message::Extended(id, &payload));
        }
    }

    fn on_pex(&mut self, now: Time, conn: ConnId, payload: &[u8]) -> Result<(), Close> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if !peer.takes_pex(now, &self.config) {
            return Ok(());
        }
        let pex = Pex::parse(payload).map_err(|_| Close::Fault("a malformed peer exchange"))?;
        let from = AddrScope::of(peer.addr.ip());
        let added: Vec<SocketAddr> = pex
            .added
            .iter()
            .map(|peer| peer.addr)
            .filter(|addr| AddrScope::of(addr.ip()).acceptable_from(from))
            .take(PEX_MAX)
            .collect();
        self.add_candidates(now, Source::Pex, &added);
        Ok(())
    }
}
