//! What no swarm can beat, whatever its rules. A run that does has a fault, and is stopped.
//!
//! All bounds are about uplinks, downlinks and whole pieces alone; latency and headers only add to
//! them. `F` is the torrent's length, `M` its pieces.

/// A peer as the bounds see it: times in seconds, rates in bytes per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Presence {
    /// Upload.
    pub up: f64,
    /// Download.
    pub down: f64,
    /// When it came.
    pub came: f64,
    /// When it went.
    pub left: Option<f64>,
    /// When it had all; none: not, or it had all from the start.
    pub finished: Option<f64>,
    /// It had all from the start.
    pub is_seed: bool,
}

/// Lower bounds for one run, in seconds of its clock. Zero: it does not apply.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bounds {
    /// For the first finish, and so for all: whatever leeches have left a seed once. `F / u_s` after
    /// the first leech came, with `u_s` all seeds' uplinks (Kumar and Ross 2006, first term). Holds for
    /// any arrivals and departures as seeds stay.
    pub source_s: f64,
    /// For the makespan: the slowest single download, over all that finished. A leech's own `F / d`
    /// after it came (second term, leech by leech); holds always.
    pub downlink_s: f64,
    /// For the last finish: the earliest time at which all uplinks can have sent `F` to every leech
    /// that finished: each sends from when it came until it went. For peers that are all there from
    /// the start and stay it is `N F / (u_s + sum of u)` (third term). Given when peers went, holds for
    /// any arrivals and departures.
    pub uplinks_s: f64,
    /// For the last finish, of one seed and leeches of one upload that stay, whenever they come: the
    /// last piece to leave the seed leaves it after `F / u`, and then the `k`-th copy of it takes `1/k`
    /// of a piece's time at best, all holders together sending to one: `(F / u) (1 + (H_N - 1) / M)`.
    /// The seed sends its first copies in `F / u`, and who has no whole piece cannot send of it.
    pub whole_pieces_s: f64,
    /// For the same swarms: `(F / u) (1 + floor(log2 N) / M)` (Mundinger, Weber, Weiss 2008), with `M`
    /// the parts of which each comes from one neighbour: pieces, or blocks in a run in which some pieces
    /// came from several, which can beat the bound of whole pieces.
    pub mundinger_s: f64,
}

impl Bounds {
    /// The bounds for these peers and a torrent of `total_len` bytes with headers and `pieces` pieces,
    /// that went in `parts` of which each came from one neighbour.
    pub fn of(peers: &[Presence], total_len: u64, pieces: u32, parts: u64) -> Bounds {
        let total = total_len as f64;
        let leeches = || peers.iter().filter(|peer| !peer.is_seed);
        let first = leeches().map(|peer| peer.came).fold(f64::INFINITY, f64::min);
        let seeds: Vec<&Presence> = peers.iter().filter(|peer| peer.is_seed).collect();
        let source: f64 = seeds.iter().map(|peer| peer.up).sum();
        let done = leeches().filter(|peer| peer.finished.is_some());
        let downlink = done.map(|peer| peer.came + total / peer.down).fold(0.0, f64::max);
        let mut bounds = Bounds {
            source_s: first + total / source,
            downlink_s: downlink,
            uplinks_s: uplinks(peers, total, first),
            ..Bounds::default()
        };
        let up = seeds.first().map_or(0.0, |seed| seed.up);
        let equal = seeds.len() == 1 && peers.iter().all(|peer| peer.up == up);
        let all_done = leeches().all(|peer| peer.finished.is_some());
        if equal && all_done && peers.iter().all(|peer| peer.left.is_none()) {
            let n = leeches().count() as u32;
            bounds.whole_pieces_s = first + total / up * whole_pieces_times(n, pieces);
            bounds.mundinger_s = first + total / up * mundinger_times(n, parts);
        }
        bounds
    }

    /// The greatest that binds the last finish of any run.
    pub fn makespan_s(&self) -> f64 {
        let all = [self.source_s, self.downlink_s, self.uplinks_s];
        let equal = [self.whole_pieces_s, self.mundinger_s];
        all.into_iter().chain(equal).fold(0.0, f64::max)
    }

    /// Stops a run that beat a bound: the simulator is wrong.
    pub(super) fn assert(&self, peers: &[Presence], total_len: u64) {
        // A part in a million is for rounding.
        let holds = |time: f64, bound: f64| time * (1.0 + 1e-6) >= bound;
        let mut last = 0.0f64;
        for (n, peer) in peers.iter().enumerate() {
            let Some(at) = peer.finished else { continue };
            last = last.max(at);
            let own = peer.came + total_len as f64 / peer.down;
            assert!(
                holds(at, own),
                "peer {n} finished at {at} s, its downlink takes until {own} s"
            );
            let source = self.source_s;
            assert!(
                holds(at, source),
                "peer {n} finished at {at} s, the seeds' first copy at {source}"
            );
        }
        if last > 0.0 {
            assert!(
                holds(last, self.makespan_s()),
                "all finished at {last} s, bounds are {self:?}"
            );
        }
    }
}

/// How many times longer than one copy all `n` copies take of one seed and `n` leeches of the same upload,
/// of `pieces` pieces that can be sent once they are whole: [`Bounds::whole_pieces_s`].
pub(crate) fn whole_pieces_times(n: u32, pieces: u32) -> f64 {
    let copies: f64 = (2..=n).map(|k| 1.0 / f64::from(k)).sum();
    1.0 + copies / f64::from(pieces)
}

/// The same for `parts` of which each comes from one neighbour: [`Bounds::mundinger_s`].
pub(crate) fn mundinger_times(n: u32, parts: u64) -> f64 {
    1.0 + f64::from(n.max(1).ilog2()) / parts as f64
}

/// When all uplinks together can have sent `total` to each leech that finished.
fn uplinks(peers: &[Presence], total: f64, first: f64) -> f64 {
    let done = peers.iter().filter(|peer| peer.finished.is_some()).count();
    let mut left = total * done as f64;
    // Rates that begin and end, in the order of time.
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for peer in peers {
        steps.push((peer.came.max(first), peer.up));
        steps.extend(peer.left.map(|at| (at.max(first), -peer.up)));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (mut now, mut rate) = (first, 0.0);
    for (at, change) in steps {
        if rate > 0.0 && left <= rate * (at - now) {
            break;
        }
        left -= rate * (at - now);
        now = at;
        rate += change;
    }
    now + if rate > 0.0 { left.max(0.0) / rate } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(up: f64, came: f64) -> Presence {
        Presence { up, down: 50.0, came, left: None, finished: Some(1e9), is_seed: false }
    }

    #[test]
    fn for_peers_that_stay_they_are_those_of_the_papers() {
        let mut peers = vec![peer(10.0, 0.0); 9];
        peers[0] = Presence { is_seed: true, finished: None, ..peers[0] };
        let bounds = Bounds::of(&peers, 1000, 100, 100);
        assert_eq!(bounds.source_s, 100.0);
        assert_eq!(bounds.downlink_s, 20.0);
        assert!((bounds.uplinks_s - 8.0 * 1000.0 / 90.0).abs() < 1e-9);
        assert!((bounds.mundinger_s - 100.0 * 1.03).abs() < 1e-9);
        assert!(bounds.whole_pieces_s > 101.0 && bounds.whole_pieces_s < bounds.mundinger_s);
        assert_eq!(bounds.makespan_s(), bounds.mundinger_s);
        let blocks = Bounds::of(&peers, 1000, 100, 1600);
        assert_eq!(blocks.makespan_s(), bounds.whole_pieces_s);
    }

    #[test]
    fn who_comes_late_or_goes_early_sends_less() {
        // 20 bytes to send: 1 a second, 2 from the fifth second on, 1 from the tenth.
        let seed = Presence { is_seed: true, finished: None, ..peer(1.0, 0.0) };
        let helper = Presence { left: Some(10.0), ..peer(1.0, 5.0) };
        let idle = peer(0.0, 0.0);
        assert_eq!(Bounds::of(&[seed, helper, idle], 10, 10, 10).uplinks_s, 15.0);
        let stays = Presence { left: None, ..helper };
        assert_eq!(Bounds::of(&[seed, stays, idle], 10, 10, 10).uplinks_s, 12.5);
    }

    /// Each bound on all stops the run that beats it alone, and no run that just holds it.
    #[test]
    fn each_bound_stops_who_beats_it() {
        let stopped = |peers: &[Presence], pieces, parts, last: f64| {
            let mut peers = peers.to_vec();
            peers.iter_mut().filter(|p| !p.is_seed).for_each(|p| p.finished = Some(last));
            let bounds = Bounds::of(&peers, 1000, pieces, parts);
            std::panic::catch_unwind(|| bounds.assert(&peers, 1000)).is_err()
        };
        let seed = |up| Presence { is_seed: true, finished: None, ..peer(up, 0.0) };
        let swarm = |seed_up, up, down, n| {
            let leech = Presence { down, ..peer(up, 0.0) };
            std::iter::once(seed(seed_up)).chain(vec![leech; n]).collect::<Vec<_>>()
        };
        for (what, peers, pieces, parts, bound) in [
            ("source", swarm(1.0, 90.0, 500.0, 3), 1_000_000, 1_000_000, 1000.0),
            ("downlink", swarm(100.0, 90.0, 5.0, 3), 100, 100, 200.0),
            ("uplinks", swarm(20.0, 5.0, 500.0, 8), 100, 100, 8.0 * 1000.0 / 60.0),
            ("whole pieces", swarm(10.0, 10.0, 500.0, 2), 10, 1_000, 105.0),
            ("Mundinger", swarm(10.0, 10.0, 500.0, 8), 10, 10, 130.0),
        ] {
            assert!(stopped(&peers, pieces, parts, bound * 0.999), "{what}");
            assert!(!stopped(&peers, pieces, parts, bound * 1.001), "{what}");
        }
    }

    #[test]
    #[should_panic(expected = "its downlink takes until 20 s")]
    fn a_run_that_beats_a_bound_is_stopped() {
        let fast = Presence { finished: Some(19.0), ..peer(10.0, 0.0) };
        let seed = Presence { is_seed: true, finished: None, ..peer(1e9, 0.0) };
        Bounds::of(&[seed, fast], 1000, 10, 10).assert(&[seed, fast], 1000);
    }
}
