//! What there is to say of a peer, for who looks into a run.

use std::fmt::Write as _;

use client::storage::{journal, journal_path};
use client::{PeerStats, TorrentStats};
use wire::bitfield::Bitfield;
use wire::metainfo::Info;

use super::PeerHost;

/// `0-4 7`.
fn ranges(pieces: &Bitfield) -> String {
    let mut out = String::new();
    let mut ones = pieces.ones().peekable();
    while let Some(first) = ones.next() {
        let mut last = first;
        while let Some(next) = ones.next_if_eq(&(last + 1)) {
            last = next;
        }
        let space = if out.is_empty() { "" } else { " " };
        let _ = match first == last {
            true => write!(out, "{space}{first}"),
            false => write!(out, "{space}{first}-{last}"),
        };
    }
    if out.is_empty() { "none".to_owned() } else { out }
}

fn state(stats: &TorrentStats) -> String {
    match &stats.failure {
        Some(failure) => format!("stopped: {failure:?}"),
        None if stats.dormant => "dormant: it has all, and nobody wants anything".to_owned(),
        None if stats.paused => "paused".to_owned(),
        None if stats.complete => "complete".to_owned(),
        None if stats.started => "fetches".to_owned(),
        None if stats.name.is_some() => format!("checks {:?}", stats.checked),
        None => format!("metadata {:?}", stats.metadata),
    }
}

fn connection(peer: &PeerStats) -> String {
    let way = if peer.outgoing { "dialled" } else { "came" };
    let mut out = format!("  {} {way}, has {} pieces", peer.addr, peer.pieces);
    for (is_so, words) in [
        (peer.we_are_interested, "we want"),
        (peer.chokes_us, "chokes us"),
        (peer.interested, "it wants"),
        (peer.choked, "choked"),
    ] {
        if is_so {
            let _ = write!(out, ", {words}");
        }
    }
    let PeerStats { asked, uploads, down_rate, up_rate, .. } = peer;
    let _ =
        write!(out, "; {asked} blocks asked, {uploads} to send; {down_rate} B/s in, {up_rate} out");
    out
}

impl PeerHost {
    /// Its torrent, its connections, its disk and its node.
    pub(super) fn text(&self) -> String {
        let mut out = format!(
            "peer at {}, told {}, after {} programs before it\n",
            self.addr, self.now, self.restarts
        );
        match self.torrent.and_then(|key| self.session.torrent(key)) {
            None => out += "no torrent\n",
            Some(torrent) => {
                let stats = torrent.stats(self.now);
                let _ = writeln!(out, "torrent {}: {}", torrent.info_hash(), state(&stats));
                if let Some(have) = torrent.have() {
                    let _ = writeln!(
                        out,
                        "pieces: {} of {}: {}",
                        have.count(),
                        have.len(),
                        ranges(have)
                    );
                }
                let info = self.files.as_ref().map(|(info, _)| &**info);
                if let Some(kept) = info.and_then(|info| self.kept(info)) {
                    let _ = writeln!(out, "kept: {}", ranges(&kept));
                }
                let _ = writeln!(
                    out,
                    "{} connections, {} dials, {} addresses",
                    stats.peers, stats.dials, stats.candidates
                );
                for peer in torrent.peer_stats(self.now) {
                    out += &connection(&peer);
                    out.push('\n');
                }
                let _ = writeln!(out, "{stats:#?}");
            }
        }
        self.disk_text(&mut out);
        let node = &self.node;
        let _ = write!(
            out,
            "node {}: {} contacts, {} queries wait",
            node.id(),
            node.contacts().len(),
            node.in_flight()
        );
        out
    }

    /// What its journal calls kept.
    fn kept(&self, info: &Info) -> Option<Bitfield> {
        let bytes = self.disk.bytes(&journal_path(&info.info_hash))?;
        let files = info.files.len() + 1;
        Some(journal::read_kept(&bytes, &info.info_hash, info.piece_count(), files)?.0)
    }

    fn disk_text(&self, out: &mut String) {
        let (waiting, under_way) = self.jobs.len();
        let _ = write!(out, "disk: {waiting} operations wait, {under_way} under way");
        let _ = match self.jobs.next_due() {
            Some(due) => {
                writeln!(out, ", one done at {due}; {} blocks are read", self.reading.len())
            }
            None => writeln!(out),
        };
        for line in self.disk.lines() {
            let _ = writeln!(out, "  {line}");
        }
        if let Some(fault) = self.oracle.as_ref().and_then(|oracle| oracle.fault()) {
            let _ = writeln!(out, "wrong: {fault}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_told_in_ranges() {
        let mut pieces = Bitfield::new(12);
        assert_eq!(ranges(&pieces), "none");
        [0, 1, 2, 5, 10, 11].iter().for_each(|piece| pieces.set(*piece));
        assert_eq!(ranges(&pieces), "0-2 5 10-11");
    }
}
