//! The swarm: who is dialled, connected and dropped, and what peers tell.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::peer::{BLOCK_LEN, Handshake, Message, PeerId, Reserved};
use wire::scope::owner;
use wire::time::Time;

use super::{Action, Torrent, TorrentEvent};
use crate::allowed_fast::allowed_fast_set;
use crate::crowd::Crowd;
use crate::payload::Payload;
use crate::peer::{Peer, PeerEvent};
use crate::{Close, ConnId};

/// Addresses of a peer's twins that are remembered; most have one, its other address family.
const TWINS_MAX: usize = 8;
/// Pieces allowed to a choked peer. BEP 6 suggests 10 as "allowed fast" set size; libtorrent has 5.
const ALLOWED_FAST_COUNT: usize = 5;

/// How long peers were not read, in all.
#[derive(Default)]
pub(super) struct Unread {
    /// Until now.
    now: Duration,
    /// Of this, what their deadlines have been moved by.
    moved: Duration,
}

fn is_same_host(peer: &Peer, addr: SocketAddr) -> bool {
    owner(peer.addr.ip()) == owner(addr.ip())
}

impl<P: Payload> Torrent<P> {
    /// How long no peer of any torrent was read in all, because hash threads and disks were behind: what
    /// peers said meanwhile is not known yet, and is not held against them.
    pub fn set_unread(&mut self, unread: Duration) {
        self.unread.now = unread;
    }

    /// Dials more addresses while there are some worth it and connections are wanted.
    pub(super) fn dial_more(&mut self, now: Time) {
        let ready = self.content.as_ref().is_none_or(|content| content.started);
        if self.has_failed() || self.stopping || !ready {
            return;
        }
        while self.dials < self.config.dials_max {
            let full = self.dials + self.peers.len() >= self.config.peers_max;
            let turnover = full && self.may_turn_over(now);
            let crowd = (full && !turnover).then(|| self.crowd());
            if crowd.as_ref().is_some_and(|crowd| !crowd.gives_way()) {
                return;
            }
            let has_place = |addr: &SocketAddr| {
                crowd.as_ref().is_none_or(|crowd| crowd.gives_way_to(addr.ip()).is_some())
            };
            let Some(addr) = self.candidates.next(now, has_place) else { return };
            if turnover {
                self.next_turnover = now + self.config.turnover_gap;
            }
            self.dials += 1;
            self.actions.push_back(Action::Dial(addr));
        }
    }

    /// Whether somebody may be dialled for the place of an idle peer. Who has all waits to be dialled.
    fn may_turn_over(&self, now: Time) -> bool {
        now >= self.next_turnover && !self.is_complete() && self.idle(now).is_some()
    }

    /// The peer that is idle for the longest, of those that nobody wants anything of the first. Those
    /// that have been useful just now are safe, as is whoever came just now.
    fn idle(&self, now: Time) -> Option<ConnId> {
        let wants = |peer: &Peer| peer.interested || peer.we_are_interested;
        let is_idle = |peer: &&Peer| {
            let patience = if wants(peer) { 3 } else { 1 };
            now.since(peer.used_at()) >= self.config.idle_max * patience
        };
        let idle = self.peers.values().map(Box::as_ref).filter(is_idle);
        idle.min_by_key(|peer| (wants(peer), peer.used_at())).map(|peer| peer.conn)
    }

    fn crowd(&self) -> Crowd {
        let mut crowd = Crowd::new();
        self.peers.values().for_each(|peer| crowd.add(peer.addr.ip()));
        crowd
    }

    /// All places are taken: of the host with the most the peer that was of the least use goes, if
    /// `ip` has fewer, else one that is idle.
    fn make_place(&mut self, now: Time, ip: IpAddr) -> bool {
        let host = self.crowd().gives_way_to(ip);
        let use_of = |peer: &&Peer| peer.window.rate().total() + peer.sent.total();
        let of_host = |peer: &&Peer| Some(owner(peer.addr.ip())) == host;
        let all = self.peers.values().map(Box::as_ref);
        let least = all.filter(of_host).min_by_key(use_of).map(|peer| peer.conn);
        let Some(conn) = least.or_else(|| self.idle(now)) else { return false };
        self.close(now, conn, Close::Full);
        true
    }

    /// A dial failed, or no handshake came over it.
    pub fn handle_dial_failed(&mut self, now: Time, addr: SocketAddr) {
        self.dials = self.dials.saturating_sub(1);
        self.candidates.failed(now, addr);
        self.dial_more(now);
    }

    /// We could not dial, and will not be able to dial another: that is left to the next tick.
    pub fn handle_not_dialled(&mut self, now: Time, addr: SocketAddr) {
        self.dials = self.dials.saturating_sub(1);
        self.candidates.put_off(now, addr);
    }

    /// A handshake for this torrent came over `conn`. On success the connection is this torrent's;
    /// our own handshake was sent already if we dialled. An error says why it is to be closed.
    pub fn handle_handshake(
        &mut self,
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        outgoing: bool,
        handshake: Handshake,
    ) -> Result<(), Close> {
        let twin = self.twin(now, addr, &handshake.peer_id);
        let claimed_addr = twin.and_then(|twin| twin.claimed_addr);
        let twin_addrs = twin.map_or_else(Vec::new, |twin| {
            twin.listen_addr.into_iter().chain(twin.twin_addrs.iter().copied()).collect()
        });
        // The place that is made for it is not for somebody else to be dialled.
        self.dials += usize::from(!outgoing);
        let refused = self.refuses(now, addr, outgoing, &handshake);
        self.dials = self.dials.saturating_sub(1);
        if let Some(close) = refused {
            if outgoing {
                match close {
                    Close::Ourselves => self.candidates.forget(addr),
                    Close::Duplicate => self.add_twin(now, addr, &handshake.peer_id),
                    _ => self.candidates.failed(now, addr),
                }
            }
            return Err(close);
        }
        let mut peer = Peer::new(now, conn, addr, outgoing, handshake, &self.config);
        peer.twin_addrs = twin_addrs;
        peer.claimed_addr = claimed_addr;
        if !outgoing {
            let ours = Handshake {
                reserved: Reserved::OURS,
                info_hash: self.info_hash,
                peer_id: self.our_id,
            };
            peer.send_handshake(&ours);
        }
        if self.is_dormant() {
            // What it has stands first, and is known only once it is awake.
            self.wake();
        } else {
            self.greet(&mut peer);
        }
        self.peers.insert(conn, Box::new(peer));
        self.events.push_back(TorrentEvent::Connected(addr));
        self.tell_flushes();
        Ok(())
    }

    fn refuses(
        &mut self,
        now: Time,
        addr: SocketAddr,
        outgoing: bool,
        handshake: &Handshake,
    ) -> Option<Close> {
        if handshake.info_hash != self.info_hash {
            return Some(Close::UnknownTorrent);
        }
        if handshake.peer_id == self.our_id {
            return Some(Close::Ourselves);
        }
        if self.candidates.is_banned(&addr) {
            return Some(Close::Corrupt);
        }
        if self.has_failed() || self.stopping {
            return Some(Close::Stopped);
        }
        if let Some(twin) = self.twin(now, addr, &handshake.peer_id) {
            // Both sides keep the same one of two: the one that the greater peer id dialled.
            let (conn, keep_new) = (
                twin.conn,
                is_same_host(twin, addr)
                    && twin.outgoing != outgoing
                    && outgoing == (self.our_id > handshake.peer_id),
            );
            if !keep_new {
                return Some(Close::Duplicate);
            }
            self.close(now, conn, Close::Duplicate);
        }
        let full = self.peers.len() >= self.config.peers_max;
        (full && !self.make_place(now, addr.ip())).then_some(Close::Full)
    }

    /// The peer that somebody is who calls itself so at `addr`: one of the same host, or one that gives
    /// payload. A peer id can be copied: one of elsewhere that gives nothing hides nobody.
    fn twin(&self, now: Time, addr: SocketAddr, peer_id: &PeerId) -> Option<&Peer> {
        let all = || self.peers.values().map(Box::as_ref);
        let alike = || all().filter(|peer| peer.handshake.peer_id == *peer_id);
        let same = alike().find(|peer| is_same_host(peer, addr));
        same.or_else(|| alike().find(|peer| peer.gives(now, &self.config)))
    }

    /// Somebody at `addr` is one that we are connected to, most likely, and need not be dialled while
    /// that lasts.
    fn add_twin(&mut self, now: Time, addr: SocketAddr, peer_id: &PeerId) {
        let twin = self.twin(now, addr, peer_id).map(|peer| peer.conn);
        let twin = twin.and_then(|conn| self.peers.get_mut(&conn));
        match twin {
            Some(twin) if twin.listen_addr == Some(addr) => {}
            Some(twin) if twin.twin_addrs.len() < TWINS_MAX => twin.twin_addrs.push(addr),
            _ => self.candidates.failed(now, addr),
        }
    }

    /// The first messages: what we can do and what we have.
    pub(super) fn greet(&mut self, peer: &mut Peer) {
        if peer.handshake.reserved.extensions() {
            let payload = self.extension_handshake(peer.addr);
            peer.send(Message::Extended(0, &payload));
        }
        let fast = peer.handshake.reserved.fast();
        match &self.content {
            Some(content) => {
                // Its length was checked when the info dict was read.
                let fits = peer.set_piece_count(content.info.piece_count());
                debug_assert!(fits.is_ok());
                let have = content.pieces.have();
                match have.count() {
                    0 if fast => peer.send(Message::HaveNone),
                    0 => {}
                    _ if fast && have.is_full() => peer.send(Message::HaveAll),
                    _ => peer.send(Message::Bitfield(have.as_bytes())),
                }
            }
            None if fast => peer.send(Message::HaveNone),
            None => {}
        }
        if let Some(port) = self.dht_port.filter(|_| peer.handshake.reserved.dht()) {
            peer.send(Message::Port(port));
        }
        if fast {
            self.allow_fast(peer);
        }
    }

    fn allow_fast(&self, peer: &mut Peer) {
        let Some(content) = &self.content else { return };
        if content.pieces.have().count() == 0 {
            return;
        }
        let pieces = content.info.piece_count();
        let set = allowed_fast_set(&self.info_hash, peer.addr.ip(), pieces, ALLOWED_FAST_COUNT);
        for piece in set {
            peer.we_allow.insert(piece);
            peer.send(Message::AllowedFast(piece));
        }
    }

    /// The connection ended.
    pub fn handle_closed(&mut self, now: Time, conn: ConnId, why: Close) {
        let Some(mut peer) = self.peers.remove(&conn) else { return };
        let blocks = peer.window.take_all();
        self.release(conn, &blocks);
        self.smart_ban.leaves(conn);
        if let Some(content) = &mut self.content {
            content.picker.remove_peer(peer.has());
            content.storage.forget_reader(conn);
        }
        self.choker.leave(conn);
        self.metadata.remove_peer(now, conn);
        self.settle_candidate(now, &peer, why);
        if why != Close::Duplicate {
            peer.twin_addrs.iter().for_each(|addr| self.candidates.twin_ended(now, *addr));
        }
        self.events.push_back(TorrentEvent::Disconnected(peer.addr, why));
        self.refill(now);
        self.request_metadata(now);
        self.dial_more(now);
        self.tell_flushes();
    }

    fn settle_candidate(&mut self, now: Time, peer: &Peer, why: Close) {
        // What it claims passes to the twin that stays.
        let claimed = peer.claimed_addr.filter(|_| why != Close::Duplicate);
        let claimed = claimed.filter(|addr| self.candidates.unclaim(*addr));
        for addr in peer.listen_addr.into_iter().chain(claimed) {
            self.settle_addr(now, addr, peer, why);
        }
    }

    fn settle_addr(&mut self, now: Time, addr: SocketAddr, peer: &Peer, why: Close) {
        match why {
            Close::BothSeeds => self.candidates.needless(addr),
            Close::Ourselves => self.candidates.forget(addr),
            Close::Remote | Close::Silent if peer.is_proven(now) => {
                self.candidates.ended(now, addr);
            }
            Close::Duplicate => {}
            Close::Anew => self.candidates.ended(now, addr),
            _ => self.candidates.failed(now, addr),
        }
    }

    /// Ends a connection from our side.
    pub(super) fn close(&mut self, now: Time, conn: ConnId, why: Close) {
        if self.peers.contains_key(&conn) {
            self.actions.push_back(Action::Close(conn, why));
            self.handle_closed(now, conn, why);
        }
    }

    /// A message came over `conn`: its id and payload.
    pub fn handle_message(&mut self, now: Time, conn: ConnId, body: &[u8]) {
        if self.is_dormant() {
            return self.hold_message(now, conn, body);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let geometry = self.content.as_ref().map(|content| *content.pieces.geometry());
        let result = match peer.handle_message(now, body, geometry.as_ref()) {
            Ok(event) => self.on_event(now, conn, event),
            Err(close) => Err(close),
        };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let unread = peer.output_len() > self.config.output_bytes_max;
        if peer.tell_flush() {
            self.actions.push_back(Action::Flush(conn));
        }
        match result {
            Err(close) => self.close(now, conn, close),
            Ok(()) if unread => self.close(now, conn, Close::Fault("it asks and does not read")),
            Ok(()) => {}
        }
        self.refill(now);
    }

    fn on_event(&mut self, now: Time, conn: ConnId, event: PeerEvent<'_>) -> Result<(), Close> {
        match event {
            PeerEvent::None => {}
            PeerEvent::HasAnew(old) => {
                let (Some(content), Some(peer)) = (&mut self.content, self.peers.get(&conn)) else {
                    return Ok(());
                };
                content.picker.remove_peer(&old);
                content.picker.add_peer(peer.has());
                self.on_has_more(now, conn)?;
            }
            PeerEvent::Have(piece) => {
                let (Some(content), Some(peer)) = (&mut self.content, self.peers.get_mut(&conn))
                else {
                    return Ok(());
                };
                content.picker.peer_has(peer.has(), piece);
                // Else it adds nothing to begin; but where pieces are drawn, whoever looks draws.
                let draws = content.pieces.have().count() < self.config.random_first_pieces;
                if draws || content.picker.holds(piece) {
                    peer.nothing_new_at = None;
                }
                if peer.has().is_full() {
                    self.on_has_more(now, conn)?;
                } else if content.wanted().get(piece) && !content.pieces.have().get(piece) {
                    // It is looked through once: what it has more keeps us interested.
                    if !peer.we_are_interested {
                        self.update_interest(conn);
                    }
                    self.fill(now, conn);
                }
            }
            PeerEvent::Unchoked | PeerEvent::AllowedFast(_) => self.fill(now, conn),
            PeerEvent::Choked(lost) => self.release(conn, &lost),
            PeerEvent::Rejected(block) => self.release(conn, &[block]),
            PeerEvent::Interested(interested) => self.on_interested(conn, interested),
            PeerEvent::Request(block) => self.on_request(conn, block),
            PeerEvent::DhtPort(port) => {
                if let Some(peer) = self.peers.get(&conn).filter(|_| port != 0) {
                    let node = SocketAddr::new(peer.addr.ip(), port);
                    self.events.push_back(TorrentEvent::DhtNode(node));
                }
            }
            PeerEvent::Extended(id, payload) => return self.on_extended(now, conn, id, payload),
        }
        Ok(())
    }

    fn on_has_more(&mut self, now: Time, conn: ConnId) -> Result<(), Close> {
        let full = self.peers.get(&conn).is_some_and(|peer| peer.has().is_full());
        if full && self.is_complete() {
            return Err(Close::BothSeeds);
        }
        self.update_interest(conn);
        self.fill(now, conn);
        Ok(())
    }

    /// Where an incoming peer takes connections, as its extension handshake tells. It may be another's
    /// port.
    pub(super) fn on_listen_port(&mut self, now: Time, conn: ConnId, port: u16) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if !peer.outgoing && peer.claimed_addr.is_none() && port != 0 {
            let addr = SocketAddr::new(peer.addr.ip(), port);
            peer.claimed_addr = self.candidates.claim(now, addr).then_some(addr);
        }
    }

    /// Once a second: who is silent goes, whose blocks do not come is not waited for, and who gives
    /// nothing hides nobody.
    pub(super) fn tick_peers(&mut self, now: Time) {
        let unread = self.unread.now.saturating_sub(self.unread.moved);
        self.unread.moved += unread;
        self.backlog = self.backlog(now);
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            if !unread.is_zero() {
                peer.was_unread(now, unread);
            }
            if let Err(close) = peer.tick(now, &self.config) {
                self.close(now, conn, close);
                continue;
            }
            if !peer.gives(now, &self.config) {
                let hidden = peer
                    .twin_addrs
                    .extract_if(.., |addr| owner(addr.ip()) != owner(peer.addr.ip()));
                hidden.for_each(|addr| self.candidates.twin_ended(now, addr));
            }
            let deadline = peer.window.deadline(&self.config);
            if deadline.is_some_and(|deadline| deadline + self.backlog <= now) {
                let blocks = peer.window.snub();
                peer.current_pieces = [None; 2];
                // Others are asked for them now.
                blocks.iter().for_each(|block| peer.send(Message::Cancel(*block)));
                if peer.tell_flush() {
                    self.actions.push_back(Action::Flush(conn));
                }
                self.release(conn, &blocks);
            }
        }
    }

    /// How long it takes until all that was asked for has come; none if nothing comes at all.
    fn backlog(&self, now: Time) -> Duration {
        let rate: u64 = self.peers.values().map(|peer| peer.down_rate(now)).sum();
        let asked = self.content.as_ref().map_or(0, |content| content.pieces.asked()) as u64;
        let us = (asked * u64::from(BLOCK_LEN) * 1_000_000).checked_div(rate).unwrap_or(0);
        Duration::from_micros(us).min(self.config.request_timeout_max)
    }
}
