//! The rest of a torrent that has all and of which nobody wants anything.

use wire::time::Time;

use super::{Content, Torrent, TorrentEvent};
use crate::payload::Payload;
use crate::peer::Peer;
use crate::stats::TorrentStats;
use crate::{Close, ConnId};

/// What is kept of a content that is let go.
pub(super) struct Dormant {
    name: Box<str>,
    total_len: u64,
    have_bytes: u64,
    wanted_bytes: u64,
    wake: Wake,
}

/// How far its waking is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// Nobody wants anything of it.
    No,
    /// Somebody does, and its files are being closed.
    Closing,
    /// Its info dict was asked for.
    Asked,
}

impl Dormant {
    fn new<P: Payload>(content: &Content<P>) -> Dormant {
        Dormant {
            name: content.info.name.as_str().into(),
            total_len: content.info.total_len,
            have_bytes: content.bytes(content.pieces.have()),
            wanted_bytes: content.bytes(content.wanted()),
            wake: Wake::No,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.have_bytes == self.total_len
    }

    /// The figures that would else come from the content.
    pub(super) fn tell(&self, stats: &mut TorrentStats) {
        stats.name = Some(self.name.to_string());
        stats.total_len = self.total_len;
        stats.have_bytes = self.have_bytes;
        stats.wanted_bytes = self.wanted_bytes;
        stats.started = true;
    }
}

impl<P: Payload> Torrent<P> {
    /// Whether its files are closed and its info dict is not held, because it has all that is wanted
    /// and nobody wants anything of it; or did not, and it is about to wake.
    pub fn is_dormant(&self) -> bool {
        self.dormant.is_some()
    }

    /// Whether nothing is to be done before the next announce or dial.
    pub fn is_at_rest(&self) -> bool {
        self.dormant.as_ref().is_some_and(|dormant| dormant.wake == Wake::No) && self.dials == 0
    }

    /// Lets go of the content once nobody has wanted anything of it for a while, or ever.
    pub(super) fn rest(&mut self, now: Time) {
        if self.dials > 0 || !self.peers.is_empty() {
            self.busy_at = Some(now);
            return;
        }
        if self.has_failed() || self.stopping {
            return;
        }
        let is_idle = |at: Time| now.since(at) >= self.config.dormant_after;
        if !self.busy_at.is_none_or(is_idle) || self.ops_in_flight > 0 || self.flush_wanted {
            return;
        }
        // Who comes is not to wait until all is read.
        let is_done = |content: &&mut Content<P>| {
            let storage = &content.storage;
            content.complete && storage.is_settled() && !storage.is_costly_to_start()
        };
        let Some(content) = self.content.as_deref_mut().filter(is_done) else { return };
        self.dormant = Some(Dormant::new(content));
        content.storage.close();
        self.drain_storage(now);
        self.content = None;
        self.events.push_back(TorrentEvent::Dormant);
    }

    /// Gives back the room of what was said to others, if it is at rest.
    pub fn give_back(&mut self) {
        if self.is_at_rest() {
            self.actions.shrink_to_fit();
            self.events.shrink_to_fit();
        }
    }

    /// Somebody is there who may want something.
    pub(super) fn wake(&mut self) {
        if let Some(dormant) = self.dormant.as_mut().filter(|dormant| dormant.wake == Wake::No) {
            dormant.wake = Wake::Closing;
            self.tell_wake();
        }
    }

    /// Asks for the info dict once the last file is closed.
    pub(super) fn tell_wake(&mut self) {
        let may = self.ops_in_flight == 0 && !self.stopping && !self.has_failed();
        let closing = self.dormant.as_mut().filter(|d| may && d.wake == Wake::Closing);
        if let Some(dormant) = closing {
            dormant.wake = Wake::Asked;
            self.events.push_back(TorrentEvent::WantsInfo);
        }
    }

    /// Keeps a message until it is awake: what it is answered with is not known yet.
    pub(super) fn hold_message(&mut self, now: Time, conn: ConnId, body: &[u8]) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if !peer.hold(now, body, self.config.output_bytes_max) {
            self.close(now, conn, Close::Fault("it says too much before it hears anything"));
        }
    }

    /// What the disk has is known again: tells it to who came meanwhile.
    pub(super) fn on_woken(&mut self, now: Time) {
        let Some(content) = &mut self.content else { return };
        let is_complete = content.pieces.have().contains(content.wanted());
        content.complete = is_complete;
        self.dormant = None;
        // Whoever comes and goes does not have it open and close its files over and over.
        self.busy_at = Some(now);
        let mut peers = std::mem::take(&mut self.peers);
        peers.values_mut().for_each(|peer| self.greet(peer));
        self.peers = peers;
        if is_complete {
            self.events.push_back(TorrentEvent::Woken);
        } else {
            self.events.push_back(TorrentEvent::Started);
            self.candidates.need_again();
            self.discovery.hurry(now);
        }
        let told = |peer: &mut Box<Peer>| (peer.conn, std::mem::take(&mut peer.held));
        for (conn, held) in self.peers.values_mut().map(told).collect::<Vec<_>>() {
            held.iter().for_each(|body| self.handle_message(now, conn, body));
        }
    }
}
