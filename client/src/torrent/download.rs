//! The download: which blocks to ask of whom, and what becomes of those that come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use wire::bitfield::Bitfield;
use wire::peer::{BLOCK_LEN, BlockRef, Message};
use wire::time::Time;

use super::{Action, Content, Job, Torrent, TorrentEvent};
use crate::candidates::ban_of;
use crate::disk::Ticket;
use crate::partial::runs;
use crate::payload::Payload;
use crate::peer::{Asked, Peer};
use crate::pieces::Arrival;
use crate::policy::PiecePool;
use crate::smart_ban::SmartBan;
use crate::{Close, Config, ConnId};

/// Blocks of unfinished pieces, by piece.
type Parts = BTreeMap<u32, Vec<u32>>;

/// Bytes of a `have` message.
const HAVE_LEN: usize = 9;

impl<P: Payload> Torrent<P> {
    /// Asks `conn` for as many blocks as its window and the credits allow.
    pub(super) fn fill(&mut self, now: Time, conn: ConnId) {
        let may_be_asked = |peer: &Peer| peer.we_are_interested && peer.may_be_asked();
        if !self.peers.get(&conn).is_some_and(|peer| may_be_asked(peer))
            || self.failure.is_some()
            || self.stopping
        {
            return;
        }
        let credits = self.credits();
        let Some(content) = self.content.as_mut().filter(|c| c.started && !c.complete) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let room = peer.window.room(now, &self.config).min(credits);
        if room > 0 {
            retry(now, content, peer, &self.smart_ban, &self.config);
        }
        for _ in 0..room {
            match pick(now, content, peer, &self.smart_ban, &self.config, self.backlog) {
                Some((block, duplicate)) => {
                    self.smart_ban.asks(now, block.piece, conn, now + self.config.turn_max);
                    self.counters.end_game_requests += u64::from(duplicate);
                    peer.request(now, block);
                }
                None => break,
            }
        }
        self.starved |= peer.window.is_empty() || credits == 0;
        if peer.tell_flush() {
            self.actions.push_back(Action::Flush(conn));
        }
    }

    /// Asks every peer for what it may be asked for. Another one is the first each time: where
    /// credits are few, nobody takes all of them always.
    pub(super) fn fill_all(&mut self, now: Time) {
        self.starved = false;
        self.freed = false;
        let mut conns: Vec<ConnId> = self.peers.keys().copied().collect();
        self.fill_turn = self.fill_turn.wrapping_add(1);
        let first = self.fill_turn % conns.len().max(1);
        conns.rotate_left(first);
        for conn in conns {
            self.fill(now, conn);
        }
    }

    /// Asks again who found nothing, once there may be something. What a stranger says is not
    /// enough to look through all peers.
    pub(super) fn refill(&mut self, now: Time) {
        if self.starved && self.freed {
            self.fill_all(now);
        }
    }

    /// Blocks that may still be asked for: the budget less those asked, held and being written.
    pub(super) fn credits(&self) -> usize {
        let pieces = self.content.as_ref().map(|content| &content.pieces);
        let begun = pieces.map_or(0, |pieces| pieces.asked() + pieces.held());
        let writing: usize = self.writing.values().sum();
        self.config.credits_max.saturating_sub(begun + writing)
    }

    /// A block came from `conn`.
    pub fn handle_block(&mut self, now: Time, conn: ConnId, block: BlockRef, payload: P) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let addr = peer.addr;
        self.counters.downloaded += u64::from(block.len);
        let asked: Option<Asked> = match peer.on_block(now, &block) {
            Ok(asked) => asked,
            Err(close) => return self.close(now, conn, close),
        };
        let arrival = match asked {
            Some(asked) if !self.has_failed() && self.has_room_for(&block, asked) => {
                self.content.as_mut().map_or(Arrival::Unwanted, |content| {
                    content.pieces.arrived(now, &block, conn, addr, payload)
                })
            }
            _ => Arrival::Unwanted,
        };
        match arrival {
            Arrival::Unwanted => self.counters.wasted += u64::from(block.len),
            Arrival::Kept(others) => {
                for other in others {
                    let Some(other) = self.peers.get_mut(&other) else { continue };
                    if other.window.cancel(&block) {
                        other.send(Message::Cancel(block));
                    }
                    if other.tell_flush() {
                        self.actions.push_back(Action::Flush(other.conn));
                    }
                }
                self.hash_more(now, block.piece);
                self.spare_memory(now);
            }
        }
        self.fill(now, conn);
    }

    /// Whether a block that came may be kept. One that was given up comes on top of what was asked
    /// of others since; its piece may have ended meanwhile, and begins again.
    fn has_room_for(&mut self, block: &BlockRef, asked: Asked) -> bool {
        if asked == Asked::Waiting {
            return true;
        }
        let room = self.credits() > 0;
        let max = self.config.begun_blocks_max;
        let may_begin =
            |c: &&mut Content<P>| c.picker.holds(block.piece) && c.pieces.begun_blocks() < max;
        if let Some(content) = self.content.as_deref_mut().filter(|_| room).filter(may_begin) {
            content.picker.take(block.piece);
            content.pieces.begin(block.piece);
        }
        room
    }

    /// Gives the next blocks of `piece` to a hash thread, if there are enough.
    pub(super) fn hash_more(&mut self, now: Time, piece: u32) {
        if self.has_failed() {
            return;
        }
        self.read_back(now, piece);
        let Some(content) = &mut self.content else { return };
        if let Some(work) = content.pieces.next_hash(piece, self.config.hash_batch_blocks) {
            self.queued_blocks += work.blocks.len();
            let ticket = self.ticket(Job::Piece(piece));
            self.actions.push_back(Action::Hash(ticket, work));
        }
    }

    /// A hash job is back.
    pub fn handle_hashed(
        &mut self,
        now: Time,
        ticket: Ticket,
        hasher: P::Hasher,
        blocks: Vec<P>,
        digest: Option<[u8; 20]>,
    ) {
        // Of a torrent that was paused meanwhile, or failed, nothing waits for it.
        let Some(job) = self.jobs.remove(&ticket) else { return };
        self.queued_blocks = self.queued_blocks.saturating_sub(blocks.len());
        match (job, digest) {
            (Job::Piece(piece), None) => {
                if let Some(content) = &mut self.content {
                    content.pieces.hashed(piece, hasher, blocks);
                }
                self.hash_more(now, piece);
            }
            (Job::Piece(piece), Some(digest)) => {
                self.on_piece_hashed(now, piece, blocks, digest);
            }
            (Job::Autopsy(piece, index), Some(digest)) => {
                self.on_block_hashed(now, piece, index, blocks, digest);
            }
            (Job::Autopsy(..), None) => {}
        }
        self.refill(now);
        self.pump_flush(now);
    }

    fn on_piece_hashed(&mut self, now: Time, piece: u32, last: Vec<P>, digest: [u8; 20]) {
        self.relieved_at = now;
        let Some(content) = &mut self.content else { return };
        let finished = content.pieces.finish(piece, last);
        let right = content.info.piece_hashes.get(piece as usize) == Some(&digest);
        if right && !self.smart_ban.suspects(piece) {
            return self.write(now, piece, finished.blocks);
        }
        if !right {
            self.counters.hash_failures += 1;
            self.counters.wasted += u64::from(content.pieces.geometry().piece_len(piece));
            self.events.push_back(TorrentEvent::HashFailed(piece));
            let senders = &finished.senders;
            let is_one = senders.windows(2).all(|pair| pair[0] == pair[1]);
            if let Some(liar) = senders.first().copied().flatten().filter(|_| is_one) {
                self.begin_anew(now, piece, finished.is_partly_saved());
                return self.ban(now, liar);
            }
        }
        self.dissect(now, piece, right, finished);
    }

    /// Writes what is not in the file yet of a piece that is right.
    pub(super) fn write(&mut self, now: Time, piece: u32, blocks: Vec<Option<P>>) {
        let count = blocks.iter().flatten().count();
        self.queued_blocks += count;
        self.writing.insert(piece, count);
        if let Some(content) = &mut self.content {
            let runs = runs(blocks).into_iter();
            let runs = runs.map(|(first, blocks)| (first * BLOCK_LEN, blocks)).collect();
            content.storage.write_piece(now, piece, runs);
        }
        self.drain_storage(now);
    }

    /// Ends the connections to a liar and takes none again.
    pub(super) fn ban(&mut self, now: Time, liar: SocketAddr) {
        let is_same = ban_of(liar);
        let found: Vec<ConnId> =
            self.peers.values().filter(|peer| is_same(&peer.addr)).map(|peer| peer.conn).collect();
        let is_new = self.candidates.ban(liar);
        found.into_iter().for_each(|conn| self.close(now, conn, Close::Corrupt));
        self.events.extend(is_new.then_some(TorrentEvent::Banned(liar)));
    }

    /// What the disk had is known.
    pub(super) fn on_started(&mut self, now: Time, have: Bitfield, parts: Parts) {
        let Some(content) = &mut self.content else { return };
        content.started = true;
        for piece in have.ones() {
            content.pieces.set_have(piece);
            content.picker.take(piece);
        }
        let mut to_hash = Vec::new();
        for (piece, blocks) in parts {
            if !content.wanted().get(piece) {
                continue;
            }
            content.picker.take(piece);
            if content.pieces.restore(piece, &blocks) {
                to_hash.push(piece);
            }
        }
        if self.is_dormant() {
            self.on_woken(now);
        } else {
            self.tell_started(now, &have);
        }
        to_hash.into_iter().for_each(|piece| self.hash_more(now, piece));
        self.check_complete(now);
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            self.update_interest(conn);
        }
        self.fill_all(now);
        self.dial_more(now);
    }

    /// Tells what the disk had to who is here already.
    fn tell_started(&mut self, now: Time, have: &Bitfield) {
        let is_flood = have.count() as usize * HAVE_LEN > self.config.output_bytes_max;
        let early: Vec<ConnId> = self.peers.keys().copied().filter(|_| is_flood).collect();
        for conn in early {
            self.close(now, conn, Close::Anew);
        }
        for peer in self.peers.values_mut() {
            have.ones().for_each(|piece| peer.send(Message::Have(piece)));
        }
        self.events.push_back(TorrentEvent::Started);
    }

    /// A piece can be read.
    pub(super) fn on_written(&mut self, now: Time, piece: u32) {
        let no_credit = self.credits() == 0;
        let blocks = self.writing.remove(&piece).unwrap_or(0);
        self.queued_blocks = self.queued_blocks.saturating_sub(blocks);
        let Some(content) = &mut self.content else { return };
        content.pieces.set_have(piece);
        self.events.push_back(TorrentEvent::Piece(piece));
        for peer in self.peers.values_mut() {
            if !peer.has().get(piece) {
                peer.send(Message::Have(piece));
            } else if peer.we_are_interested && !wants(content, peer) {
                peer.set_interested(false);
            }
        }
        self.check_complete(now);
        self.freed |= no_credit;
        self.refill(now);
    }

    /// Pieces that were thought written did not last.
    pub(super) fn on_lost(&mut self, pieces: &[u32]) {
        let Some(content) = &mut self.content else { return };
        for &piece in pieces {
            content.pieces.clear_have(piece);
            if content.wanted().get(piece) {
                content.picker.put_back(piece);
            }
        }
        content.complete = false;
        self.candidates.need_again();
        self.freed = true;
    }

    fn check_complete(&mut self, now: Time) {
        let Some(content) = &mut self.content else { return };
        if content.complete || !content.pieces.have().contains(content.wanted()) {
            return;
        }
        content.complete = true;
        self.events.push_back(TorrentEvent::Complete);
        self.discovery.hurry(now);
        let seeds: Vec<ConnId> = self
            .peers
            .values()
            .filter(|peer| peer.has().is_full() || peer.extensions.upload_only)
            .map(|peer| peer.conn)
            .collect();
        for conn in seeds {
            self.close(now, conn, Close::BothSeeds);
        }
        self.tell_handshake();
    }

    /// Tells a peer whether it has anything that we want.
    pub(super) fn update_interest(&mut self, conn: ConnId) {
        let (Some(content), Some(peer)) = (&self.content, self.peers.get_mut(&conn)) else {
            return;
        };
        let interested = content.started && wants(content, peer);
        peer.set_interested(interested);
    }

    /// Requests at a peer that will not be answered are free for others.
    pub(super) fn release(&mut self, conn: ConnId, blocks: &[BlockRef]) {
        let Some(content) = &mut self.content else { return };
        for block in blocks {
            self.smart_ban.gives_up(block.piece, conn);
            if content.pieces.release(block, conn) {
                content.picker.put_back(block.piece);
            }
        }
        self.freed |= !blocks.is_empty();
    }
}

/// Whether the peer has a piece that is wanted and not here.
fn wants<P: Payload>(content: &Content<P>, peer: &Peer) -> bool {
    let theirs = peer.has().as_bytes();
    let ours = content.pieces.have().as_bytes();
    let all = theirs.iter().zip(ours).zip(content.wanted().as_bytes());
    all.into_iter().any(|((theirs, ours), wanted)| theirs & wanted & !ours != 0)
}

/// Sets a peer that is done with its piece to one that was wrong, so that liars are soon found.
fn retry<P: Payload>(
    now: Time,
    content: &mut Content<P>,
    peer: &mut Peer,
    smart_ban: &SmartBan,
    config: &Config,
) {
    let Content { pieces, picker, .. } = content;
    let turn = peer.turn(config, pieces.geometry().block_count(0) as usize);
    let at = turn.unwrap_or(0);
    if peer.chokes_us || peer.current_pieces[at].is_some_and(|piece| pieces.is_open(piece)) {
        return;
    }
    let may_begin = pieces.begun_blocks() < config.begun_blocks_max;
    let wrong = smart_ban.all_wrong().find(|&piece| {
        let is_free = pieces.is_open(piece) || (may_begin && picker.holds(piece));
        let is_other = peer.current_pieces[1 - at] == Some(piece);
        is_free && !is_other && peer.has().get(piece) && smart_ban.may_ask(now, piece, peer.conn)
    });
    if let Some(piece) = wrong {
        picker.take(piece);
        pieces.begin(piece);
        peer.current_pieces[at] = Some(piece);
    }
}

/// The next block to ask of `peer`, and whether another was asked for it already. In this order:
/// the piece it is at, a begun piece (so that pieces get whole), a new one by the rule, and in the
/// end game what others owe.
fn pick<P: Payload>(
    now: Time,
    content: &mut Content<P>,
    peer: &mut Peer,
    smart_ban: &SmartBan,
    config: &Config,
    backlog: Duration,
) -> Option<(BlockRef, bool)> {
    let Content { pieces, picker, rule, .. } = content;
    let conn = peer.conn;
    let may = |piece| smart_ban.may_ask(now, piece, conn);
    let may_begin = pieces.begun_blocks() < config.begun_blocks_max;
    if peer.chokes_us {
        let piece = peer.allowed_fast().find(|&piece| {
            peer.has().get(piece)
                && !pieces.have().get(piece)
                && ((pieces.is_open(piece) && may(piece)) || (may_begin && picker.holds(piece)))
        })?;
        picker.take(piece);
        pieces.begin(piece);
        return pieces.ask(now, piece, peer.conn).map(|block| (block, false));
    }
    let piece_blocks = pieces.geometry().block_count(0) as usize;
    let turn = peer.turn(config, piece_blocks);
    let at = turn.unwrap_or(0);
    let other = turn.and_then(|turn| peer.current_pieces[1 - turn]);
    let current = peer.current_pieces[at].filter(|&piece| may(piece));
    if let Some(block) = current.and_then(|piece| pieces.ask(now, piece, peer.conn)) {
        return Some((block, false));
    }
    let is_other = |piece| Some(piece) != other && may(piece);
    let open = pieces.open().find(|&piece| peer.has().get(piece) && is_other(piece));
    let piece = open.or_else(|| {
        if !may_begin || peer.nothing_new_at == Some(picker.generation()) {
            return None;
        }
        let mut pool = PiecePool::new(peer.has(), pieces.have(), picker);
        let new = rule.pick(&mut pool).filter(|&piece| pool.is_free(piece));
        match new {
            Some(piece) => {
                picker.take(piece);
                pieces.begin(piece);
            }
            // Else there is something that the rule does not want now.
            None if picker.rarest(peer.has()).is_none() => {
                peer.nothing_new_at = Some(picker.generation());
            }
            None => {}
        }
        new
    });
    if let Some(piece) = piece {
        peer.current_pieces[at] = Some(piece);
        return pieces.ask(now, piece, peer.conn).map(|block| (block, false));
    }
    peer.current_pieces[at] = None;
    let other = other.filter(|&piece| may(piece));
    if let Some(block) = other.and_then(|piece| pieces.ask(now, piece, peer.conn)) {
        return Some((block, false));
    }
    // End game: nothing is left to begin that anybody has, nor a free block that the peer has, and it
    // has nothing to do. One block at a time, and none that may only wait for those before it to come.
    if picker.is_any_left() || !peer.window.is_empty() {
        return None;
    }
    let begun: Vec<u32> =
        pieces.begun().filter(|&piece| peer.has().get(piece) && may(piece)).collect();
    begun
        .into_iter()
        .find_map(|piece| pieces.ask_again(now, piece, peer.conn, backlog))
        .map(|block| (block, true))
}
