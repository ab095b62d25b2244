//! One case: a torrent goes from a seed to a leech, in a network of its own.

use std::fmt::{self, Display};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::program::{Fetch, Program, Side, Start, Stop, Torrent};
use super::shape::Shape;
use crate::cli::right_pieces;
use crate::content::{assert_same, assert_same_but_empty};
use crate::lan::{Host, Lan};
use crate::libtorrent::Libtorrent;
use crate::network::Network;
use crate::ours;
use crate::process::output_of;
use crate::programs::our_binary;
use crate::relay::Relay;
use crate::wait::{secs, wait_for, wait_until};

/// How a leech learns of the torrent and of the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// A magnet link with nothing but the info-hash; the DHT leads to the seed.
    Magnet,
    /// A torrent file; the seed is named, or found by the DHT if the leech can be told of nobody.
    Torrent,
}

/// A row of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// Who gives.
    pub seed: Program,
    /// Who takes.
    pub leech: Program,
    /// How the two meet.
    pub by: By,
    /// What goes over.
    pub shape: Shape,
    /// In bytes.
    pub piece_len: u32,
    /// Whether the leech is stopped in the middle and started again.
    pub stop: Option<Stop>,
}

/// What came of a case that did not fail.
pub struct Outcome {
    /// From the first start of the leech until it had all.
    pub took: Duration,
    /// What else there is to say of it.
    pub note: String,
}

/// How long a leech may take.
const LIMIT: Duration = secs(45);

/// The same with transmission: its DHT is of use late ([`crate::transmission`]), and it answers and unchokes
/// by timers of seconds.
const TRANSMISSION_LIMIT: Duration = secs(100);

/// What passes a relay besides payload: a header a block, metadata, handshakes, bitfields. Less than a piece,
/// so that no piece that comes twice is overlooked.
const OVERHEAD_BYTES: u64 = 24 * 1024;

/// What two programs do not do, which is no fault of the other side.
const NO_EMPTY_FILES: &str = "all but the empty files, which transmission 3.00 never makes";
const NO_ANNOUNCE: &str =
    "announced by dht-node, as rqbit tells only nodes that share 16 bits with the info-hash";

impl Case {
    /// Runs it; panics if anything is not as it should be.
    pub fn run(&self) -> Outcome {
        let mut lan = Lan::new();
        let mut network = self.wants_dht().then(|| Network::spread(&mut lan));
        let (seed_host, leech_host) = (lan.host("seed"), lan.host("leech"));
        let torrent = self.make(&lan, &seed_host);
        let entries = network.as_ref().map(|network| network.nodes.clone()).unwrap_or_default();
        let content = torrent.original.parent().unwrap_or(Path::new("."));
        // A seed behind a relay must not be met elsewhere.
        let seed_entries = if self.stop.is_some() { &[] } else { &entries[..] };
        let start =
            Start { host: &seed_host, entries: seed_entries, torrent: &torrent, folder: content };
        let seed = self.seed.seed(&start);
        let relay_host = lan.host("relay");
        let relay = self.stop.map(|_| relay(&relay_host, seed.address()));
        if relay.is_some() {
            // The leech is told the seed's port, and by PEX may tell the seed of itself.
            lan.separate(&seed_host, &leech_host);
        }
        let address = relay.as_ref().map_or(seed.address(), Relay::address);
        let mut notes = Vec::new();
        if let Some(network) = &mut network {
            if relay.is_some() {
                ours::announce(&relay_host, &torrent.info_hash, address.port(), entries[9]);
            } else if !self.seed.announces_to_few() {
                ours::announce(&seed_host, &torrent.info_hash, address.port(), entries[9]);
                notes.push(NO_ANNOUNCE.to_owned());
            }
            wait_found(network, &torrent, address);
        }
        let folder = leech_host.folder.join("got");
        let leech = Leech {
            case: self,
            start: Start {
                host: &leech_host,
                entries: &entries,
                torrent: &torrent,
                folder: &folder,
            },
            copy: folder.join(torrent.original.file_name().unwrap_or_default()),
            seed: address,
        };
        let took = leech.run(relay.as_ref(), &mut notes);
        if self.leech == Program::Transmission && self.shape.has_empty_files() {
            assert_same_but_empty(&torrent.original, &leech.copy);
            notes.push(NO_EMPTY_FILES.to_owned());
        } else {
            assert_same(&torrent.original, &leech.copy);
        }
        Outcome { took, note: notes.join("; ") }
    }

    /// Whether the DHT is what the leech finds the seed by.
    fn wants_dht(&self) -> bool {
        self.by == By::Magnet || !self.leech.takes_peers()
    }

    /// Whether it is slow by a timer of one side.
    pub(super) fn is_slow(&self) -> bool {
        [self.seed, self.leech].contains(&Program::Transmission)
    }

    fn limit(&self) -> Duration {
        if self.is_slow() { TRANSMISSION_LIMIT } else { LIMIT }
    }

    /// Writes the content where the seed has it, and its torrent file: by libtorrent, or by ours where that
    /// seeds, as it makes its own.
    fn make(&self, lan: &Lan, seed_host: &Host) -> Torrent {
        let content = seed_host.folder.join("content");
        let original = self.shape.write(&content, self.piece_len, 7);
        let file = lan.path().join("a.torrent");
        let piece_len = self.piece_len;
        let info_hash = if self.seed == Program::Ours {
            create(&original, &file, piece_len)
        } else {
            Libtorrent::start(seed_host, 6880).create(&original, &file, piece_len)
        };
        Torrent { original, file, info_hash, piece_len }
    }
}

/// Makes a torrent file by `trackerless create`; gives the info-hash.
fn create(original: &Path, file: &Path, piece_len: u32) -> String {
    let mut command = std::process::Command::new(our_binary("trackerless"));
    command.arg("create").arg(original).arg("-o").arg(file);
    command.args(["--json", "--piece-length", &piece_len.to_string()]);
    let created: Value = serde_json::from_str(&output_of(command)).unwrap_or_default();
    created["info_hash"].as_str().unwrap_or_default().to_owned()
}

/// A relay on `host` to a seed, of whose port others believe what the seed says.
fn relay(host: &Host, to: SocketAddr) -> Relay {
    host.enter(|| Relay::start_at(host.at(to.port()), to))
}

/// Waits until the DHT names `address` for the torrent: what follows is the leech's doing alone.
fn wait_found(network: &mut Network, torrent: &Torrent, address: SocketAddr) {
    wait_for("the seed to be found by the DHT", secs(90), || {
        let found = network.libtorrent.get_peers(&torrent.info_hash, secs(1));
        if found.contains(&address) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// The taking side of a case.
struct Leech<'a> {
    case: &'a Case,
    start: Start<'a>,
    copy: PathBuf,
    /// Where the seed, or the relay before it, is.
    seed: SocketAddr,
}

impl Leech<'_> {
    fn run(&self, relay: Option<&Relay>, notes: &mut Vec<String>) -> Duration {
        let started = Instant::now();
        let mut leech = self.begin(None);
        let (Some(stop), Some(relay)) = (self.case.stop, relay) else {
            leech.wait_complete(self.case.limit());
            return started.elapsed();
        };
        let (kept, passed) = self.stop_half_way(leech, stop, relay);
        let mut leech = self.begin(Some(stop));
        relay.open();
        leech.wait_complete(self.case.limit());
        let took = started.elapsed();
        let (total, fetched) = (self.total(), relay.passed() - passed);
        let note = format!("stopped with {kept} of {total} bytes on disk, then fetched {fetched}");
        assert!(fetched <= total - kept + OVERHEAD_BYTES, "{note}: some of it again");
        assert!(relay.passed() >= total, "{note}: some of it past the relay");
        notes.push(note);
        took
    }

    fn begin(&self, stopped: Option<Stop>) -> Box<dyn Side> {
        let Torrent { file, info_hash, .. } = self.start.torrent;
        let source = match self.case.by {
            By::Magnet => format!("magnet:?xt=urn:btih:{info_hash}"),
            By::Torrent => file.to_string_lossy().into_owned(),
        };
        let names_it = self.case.by == By::Torrent && self.case.leech.takes_peers();
        let fetch = Fetch { source, peer: names_it.then_some(self.seed), stopped };
        self.case.leech.fetch(&self.start, &fetch)
    }

    /// Lets half of the content through and ends the leech once a good part of that lies in the file. Gives
    /// the bytes of right pieces in it, and how many bytes had passed.
    fn stop_half_way(&self, mut leech: Box<dyn Side>, stop: Stop, relay: &Relay) -> (u64, u64) {
        let half = self.total() / 2;
        relay.allow(half);
        wait_for("half of it to pass the relay", self.case.limit(), || {
            leech.look_for_peers();
            let passed = relay.passed();
            if passed >= half { Ok(()) } else { Err(format!("{passed} of {half} bytes")) }
        });
        wait_until("a quarter to lie in the file", secs(20), || self.kept() >= half / 2);
        leech.process().signal(stop.signal());
        leech.process().wait(secs(20));
        (self.kept(), relay.passed())
    }

    /// Bytes of right pieces in the file.
    fn kept(&self) -> u64 {
        let Torrent { original, piece_len, .. } = self.start.torrent;
        let (piece_len, total) = (u64::from(*piece_len), self.total());
        let pieces = right_pieces(original, &self.copy, piece_len as usize).into_iter();
        pieces.map(|piece| piece_len.min(total - piece as u64 * piece_len)).sum()
    }

    fn total(&self) -> u64 {
        fs::metadata(&self.start.torrent.original).map_or(0, |metadata| metadata.len())
    }
}

impl Stop {
    /// The signal's name.
    fn signal(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
        }
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Magnet => "magnet",
            By::Torrent => "torrent",
        };
        let (seed, leech) = (self.seed.name(), self.leech.name());
        let (shape, kib) = (self.shape.text(), self.piece_len / 1024);
        write!(f, "{seed} -> {leech}, {by}, {shape}, {kib} KiB")?;
        match self.stop {
            None => Ok(()),
            Some(stop) => write!(f, ", {}", stop.signal()),
        }
    }
}
