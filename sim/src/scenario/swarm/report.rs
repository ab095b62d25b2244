//! How a swarm did.

use std::collections::BTreeSet;

use client::{Failure, Payload};
use wire::time::Time;

use super::bound::{Line, piecewise_bound_s};
use super::{Swarm, SwarmScenario};
use crate::results::{Better, Distribution, Figure, Outcome, RunCounters, Series};
use crate::{Counters, HostId, PeerCommand, PeerHost, Step, Summary, TraceHash, Violation};

/// Points of a series, at most.
const POINTS: usize = 200;

/// How it went.
#[derive(Clone, Debug)]
pub struct SwarmReport {
    /// Peers that fetch.
    pub leeches: u32,
    /// Leeches to which the DHT gave a peer.
    pub found: u32,
    /// Leeches that have all, byte for byte.
    pub finished: u32,
    /// Seconds from a leech's start to its first peer by the DHT.
    pub first_peer_s: Summary,
    /// Seconds from a leech's start to its metadata.
    pub metadata_s: Summary,
    /// Seconds from a leech's start to its last piece.
    pub finish_s: Summary,
    /// Seconds that no protocol can beat: the seed's or all uplinks together, or a downlink, with all
    /// headers; and where all send alike, the copies of the last piece.
    pub bound_s: f64,
    /// The same for those that finished: less than [`makespan_s`](Self::makespan_s), or the simulator
    /// is broken.
    pub bound_of_finished_s: f64,
    /// Seconds from the first leech's start to the last piece of the last.
    pub makespan_s: f64,
    /// Copies of the torrent that the seed sent.
    pub seed_copies: f64,
    /// Payload received for nothing, as a share of all.
    pub wasted_share: f64,
    /// Hops of the first lookups.
    pub hops: Summary,
    /// How the leeches' times were spread; with classes of lines also class by class.
    pub distributions: Vec<Distribution>,
    /// How many were complete, by time.
    pub series: Vec<Series>,
    /// Programs that ended before their time.
    pub ended: u32,
    /// The first that a peer did and never may.
    pub violation: Option<Violation>,
    /// Who stopped, and why.
    pub stopped: Vec<(HostId, Failure)>,
    /// The first leech that has not all.
    pub unfinished: Option<HostId>,
    /// What was said of hosts that were looked at.
    pub descriptions: Vec<(Time, HostId, String)>,
    /// Who was told what, if that was to be told.
    pub steps: Vec<Step<PeerCommand>>,
    /// The world's counts.
    pub counters: Counters,
    /// Virtual time at the end.
    pub virtual_time: Time,
    /// The fingerprint of the run.
    pub trace_hash: TraceHash,
}

/// Seconds from a host's start to something.
fn since_start(host: &PeerHost, at: Option<Time>) -> Option<f64> {
    Some(at?.since(host.milestones().started?).as_secs_f64())
}

impl SwarmScenario {
    pub(super) fn report(&self, swarm: &Swarm) -> SwarmReport {
        let (world, now) = (&swarm.world, swarm.world.now());
        let stats: Vec<_> = world.hosts().filter_map(|(_, host, _)| host.stats(now)).collect();
        let wasted: u64 = stats.iter().map(|s| s.wasted).sum();
        let downloaded: u64 = stats.iter().map(|s| s.downloaded).sum();
        let last = swarm.leeches().filter_map(|host| host.milestones().complete).max();
        let times = |at: fn(&PeerHost) -> Option<Time>| {
            swarm.leeches().filter_map(move |host| since_start(host, at(host)))
        };
        let first_peer = || times(|host| host.milestones().first_peer);
        let metadata = || times(|host| host.milestones().metadata);
        let finish = || times(|host| host.milestones().complete);
        let mut distributions = vec![
            Distribution::of("first_peer", "s", first_peer()),
            Distribution::of("metadata", "s", metadata()),
            Distribution::of("finish", "s", finish()),
        ];
        distributions.extend(self.by_class(swarm));
        let hops = swarm.leeches().filter_map(|h| h.milestones().hops).map(f64::from);
        let stopped =
            world.hosts().filter_map(|(id, host, _)| Some((id, host.stats(now)?.failure?)));
        let violations = world.violation().into_iter().chain(&swarm.violation);
        let unfinished = swarm.whole.iter().position(|whole| !whole);
        SwarmReport {
            leeches: self.peers - 1,
            found: first_peer().count() as u32,
            finished: swarm.whole.iter().filter(|whole| **whole).count() as u32,
            first_peer_s: Summary::of(first_peer()),
            metadata_s: Summary::of(metadata()),
            finish_s: Summary::of(finish()),
            bound_s: self.bound(swarm, |_| true),
            bound_of_finished_s: self.bound(swarm, |leech| swarm.whole[leech]),
            makespan_s: last.map_or(0.0, |at| at.since(swarm.start).as_secs_f64()),
            seed_copies: stats.first().map_or(0, |s| s.uploaded) as f64
                / swarm.content.len() as f64,
            wasted_share: wasted as f64 / downloaded.max(1) as f64,
            hops: Summary::of(hops),
            distributions,
            series: vec![complete_series(&swarm.complete)],
            ended: swarm.ended,
            violation: violations.min().cloned(),
            stopped: stopped.collect(),
            unfinished: unfinished.map(|leech| HostId(leech as u32 + 1)),
            descriptions: world.descriptions(),
            steps: Vec::new(),
            counters: world.counters(),
            virtual_time: now,
            trace_hash: world.trace_hash(),
        }
    }

    /// The bound for those of the leeches that `counts`.
    fn bound(&self, swarm: &Swarm, counts: impl Fn(usize) -> bool) -> f64 {
        let reached = swarm.lines.iter().skip(1).enumerate().filter(|(leech, _)| counts(*leech));
        let reached: BTreeSet<usize> = reached.map(|(_, line)| *line).collect();
        let lines: Vec<Line> = reached.iter().map(|line| swarm.accesses[*line]).collect();
        let torrent = (self.pieces, self.piece_length);
        piecewise_bound_s(torrent, swarm.accesses[0], &lines, &swarm.accesses[1..])
    }

    /// How long the leeches of each class took.
    fn by_class(&self, swarm: &Swarm) -> Vec<Distribution> {
        let of = |(n, class): (usize, &crate::scenario::AccessClass)| {
            let rate = |mbit: f64| (mbit * 125_000.0) as u64 as f64;
            let line = Line { up: rate(class.up_mbit), down: rate(class.down_mbit) };
            let leeches = swarm.leeches().zip(swarm.lines.iter().skip(1));
            let leeches = leeches.filter(|(_, at)| swarm.accesses[**at] == line);
            let times =
                leeches.filter_map(|(host, _)| since_start(host, host.milestones().complete));
            Distribution::of(format!("finish_class_{n}"), "s", times)
        };
        self.access.class.iter().enumerate().map(of).collect()
    }

    /// What a run gives.
    pub(in crate::scenario) fn outcome(&self, report: &SwarmReport) -> Outcome {
        use Better::{Higher, Lower, Neither};
        let share = |part: u32| f64::from(part) / f64::from(report.leeches.max(1));
        let figure = |name: &'static str, unit: &'static str, value: f64, better| {
            Figure::new(name, unit, value, better)
        };
        let some = |summary: &Summary, value: f64| if summary.count > 0 { value } else { f64::NAN };
        let all = report.finished == report.leeches;
        let if_all = |value: f64| if all { value } else { f64::NAN };
        let (first, finish) = (&report.first_peer_s, &report.finish_s);
        let mut figures = vec![
            figure("found_share", "", share(report.found), Higher),
            figure("finished_share", "", share(report.finished), Higher),
            figure("makespan_s", "s", if_all(report.makespan_s), Lower),
            figure("bound_times", "", if_all(report.makespan_s / report.bound_s), Lower),
            figure("bound_s", "s", report.bound_s, Neither),
            figure("finish_p50_s", "s", some(finish, finish.p50), Lower),
            figure("finish_p90_s", "s", some(finish, finish.p90), Lower),
            figure("first_peer_p50_s", "s", some(first, first.p50), Lower),
            figure("metadata_p50_s", "s", some(&report.metadata_s, report.metadata_s.p50), Lower),
            figure("seed_copies", "", report.seed_copies, Lower),
            figure("wasted_share", "", report.wasted_share, Lower),
            figure("hops", "", some(&report.hops, report.hops.mean), Lower),
        ];
        if self.has_chaos() {
            figures.push(figure("ended", "", f64::from(report.ended), Neither));
        }
        Outcome {
            figures,
            distributions: report.distributions.clone(),
            series: report.series.clone(),
            trace_hash: report.trace_hash.to_string(),
            verdict: self.verdict(report, share(report.finished)),
            counters: RunCounters {
                events: report.counters.events,
                packets: report.counters.sent + report.counters.chunks,
                virtual_s: report.virtual_time.as_secs_f64(),
            },
        }
    }

    fn verdict(&self, report: &SwarmReport, finished: f64) -> Result<(), String> {
        if let Some(violation) = &report.violation {
            return Err(violation.to_string());
        }
        let (makespan, bound) = (report.makespan_s, report.bound_of_finished_s);
        if report.finished > 0 && makespan < bound {
            return Err(format!(
                "{makespan:.3} s is below the bound of {bound:.3} s: the simulator is broken"
            ));
        }
        if finished < self.promise.finished {
            let (all, least) = (report.leeches, self.promise.finished);
            let why = report.stopped.first();
            let why = why.map(|(host, failure)| format!("; host {} stopped: {failure:?}", host.0));
            return Err(format!(
                "{} of {all} leeches finished, not {least} of them{}",
                report.finished,
                why.unwrap_or_default()
            ));
        }
        let times = makespan / report.bound_s;
        if self.promise.bound_times > 0.0 && times > self.promise.bound_times {
            let most = self.promise.bound_times;
            return Err(format!("the last piece took {times:.2} times the bound, not {most}"));
        }
        Ok(())
    }
}

/// How many were complete, at equal distances.
fn complete_series(complete: &[(f64, f64)]) -> Series {
    let step = complete.len().div_ceil(POINTS).max(1);
    let mut points: Vec<(f64, f64)> = complete.iter().step_by(step).copied().collect();
    if let Some(last) = complete.last().filter(|last| points.last() != Some(last)) {
        points.push(*last);
    }
    Series { name: "complete_leeches".into(), x_unit: "s".into(), y_unit: "".into(), points }
}
