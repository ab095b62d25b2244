//! The upload: who is unchoked, and the blocks they ask for.

use wire::peer::BlockRef;
use wire::time::Time;

use super::{Output, Torrent};
use crate::ConnId;
use crate::choker::Contender;
use crate::payload::Payload;
use crate::policy::ChokeRound;

impl<P: Payload> Torrent<P> {
    /// Has the rule decide who may ask (BEP 3).
    pub(super) fn choke_round(&mut self, now: Time) {
        let complete = self.is_complete();
        let newcomer = self.config.choke_round * 2;
        let contenders: Vec<Contender> = self
            .peers
            .values()
            .map(|peer| Contender {
                conn: peer.conn,
                interested: peer.interested,
                down_rate: peer.down_rate(now),
                up_rate: peer.up_rate(now),
                newcomer: now.since(peer.since) < newcomer,
            })
            .collect();
        let mut unchoked = Vec::new();
        let round = ChokeRound { complete, contenders: &contenders };
        self.choker.round(round, &mut self.rng, &mut unchoked);
        for peer in self.peers.values_mut() {
            if unchoked.contains(&peer.conn) {
                peer.unchoke();
            } else {
                peer.choke();
            }
        }
    }

    /// A peer began or ceased to want something.
    pub(super) fn on_interested(&mut self, conn: ConnId, interested: bool) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if !interested {
            self.choker.leave(conn);
            peer.choke();
        } else if self.choker.admit(conn) {
            peer.unchoke();
        }
    }

    /// A peer asks for a block that lies within its piece.
    pub(super) fn on_request(&mut self, conn: ConnId, block: BlockRef) {
        let (Some(content), Some(peer)) = (&self.content, self.peers.get_mut(&conn)) else {
            return;
        };
        let allowed = !peer.choked || peer.we_allow.contains(&block.piece);
        let here = content.pieces.have().get(block.piece);
        if !allowed || !here || !peer.queue_upload(block, self.config.upload_queue_max) {
            peer.reject(&block);
        }
    }

    /// What goes out on `conn` next: messages first, then the oldest part of the metadata asked for,
    /// then the oldest block.
    pub fn poll_output(&mut self, now: Time, conn: ConnId) -> Option<Output<P>> {
        while let Some(part) = self.peers.get_mut(&conn)?.take_part() {
            self.send_metadata(conn, part);
        }
        let peer = self.peers.get_mut(&conn)?;
        if let Some(bytes) = peer.take_messages(now) {
            return Some(Output::Bytes(bytes));
        }
        let Some(block) = peer.next_upload() else {
            peer.output_drained();
            return None;
        };
        let content = self.content.as_mut()?;
        let bytes = content.storage.read_block(now, conn, block.piece, block.begin, block.len);
        if bytes.is_some() {
            peer.take_upload(now);
            self.counters.uploaded += u64::from(block.len);
        }
        // Files are being opened for this one or for who waits behind it; `Readable` flushes again.
        self.drain_storage(now);
        bytes.map(|bytes| Output::Block(block, bytes))
    }
}
