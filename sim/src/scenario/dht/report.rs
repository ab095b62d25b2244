//! How an overlay did.

use std::collections::BTreeMap;

use wire::time::Time;
use wire::{InfoHash, NodeId};

use super::overlay::{Overlay, Tally};
use super::seats::Owner;
use super::{CLOSEST, DhtScenario};
use crate::results::{Better, Distribution, Figure, Outcome, RunCounters, Series};
use crate::truth::Truth;
use crate::{
    Counters, DhtCommand, DhtHost, HostId, LookupOutcome, Step, Summary, TraceHash, Violation,
};

/// Points of a series.
const POINTS: u32 = 30;

/// How it went.
#[derive(Clone, Debug)]
pub struct DhtReport {
    /// Lookups that found the peer that was announced.
    pub found: u32,
    /// All lookups.
    pub lookups: u32,
    /// Lookups that ended, by how many of the [`closest`](Self::closest) they found.
    pub found_closest: [u32; CLOSEST + 1],
    /// How many of the 8 nodes that are closest to the key, of those that lived from its start to its
    /// end in the open, a lookup found.
    pub closest: Summary,
    /// Times that a node left, before the lookups and during them.
    pub left: u32,
    /// Share of the contacts of living nodes that were dead when the lookups began.
    pub dead_contacts: f64,
    /// Queries one after the other that led to the closest node.
    pub hops: Summary,
    /// Nodes asked in a lookup.
    pub asked: Summary,
    /// Milliseconds to the first peer, of the lookups that found any.
    pub first_peer_ms: Summary,
    /// Milliseconds to the end.
    pub end_ms: Summary,
    /// Nodes that kept each announce.
    pub kept_by_mean: f64,
    /// The same of each host that announced, in the mean of its announces.
    pub kept_by: Distribution,
    /// Contacts in a routing table of a living node.
    pub contacts: Summary,
    /// Datagrams sent from the start of the lookups on, a lookup.
    pub packets_per_lookup: f64,
    /// Of the queries from the start of the lookups on, the share that was not answered in time.
    pub timeout_share: f64,
    /// What became of those behind address translators, if there are any.
    pub nat: Option<NatReport>,
    /// What was said of hosts that were looked at.
    pub descriptions: Vec<(Time, HostId, String)>,
    /// Who was told what, if that was to be told.
    pub steps: Vec<Step<DhtCommand>>,
    /// The first that a node did and never may.
    pub violation: Option<Violation>,
    /// How the lookups' figures were spread.
    pub distributions: Vec<Distribution>,
    /// How lookups went, by when they began.
    pub series: Vec<Series>,
    /// The world's counts, of the whole run.
    pub counters: Counters,
    /// Virtual time at the end.
    pub virtual_time: Time,
    /// The fingerprint of the run.
    pub trace_hash: TraceHash,
}

/// What became of nodes behind address translators.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NatReport {
    /// Living nodes behind one.
    pub inside: u32,
    /// Share of them whose id fits their address outside, which they had to learn.
    pub know_address: f64,
    /// Share of the lookups from behind one that found what they looked for.
    pub found_from_inside: f64,
    /// Share of what was announced from behind one that was found.
    pub found_of_inside: f64,
    /// Share of the contacts of nodes in the open that are behind one.
    pub contacts_inside: f64,
}

/// A lookup, judged.
struct Judged<'a> {
    asker: HostId,
    is_found: bool,
    owner_inside: bool,
    closest: Option<usize>,
    outcome: &'a LookupOutcome,
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64
}

impl DhtScenario {
    pub(super) fn report(
        &self,
        overlay: &Overlay<'_>,
        owners: &BTreeMap<InfoHash, Owner>,
        before: &Tally,
        began: Time,
    ) -> DhtReport {
        let world = &overlay.world;
        let judged = judge(overlay, owners);
        let living = || world.hosts().filter(|(_, _, alive)| *alive).map(|(_, host, _)| host);
        let (announces, kept) = world
            .hosts()
            .map(|(_, host, _)| host.announces())
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let kept_by = world.hosts().map(|(_, host, _)| host.announces());
        let kept_by = kept_by.map(|(announces, kept)| f64::from(kept) / f64::from(announces));
        let mut found_closest = [0; CLOSEST + 1];
        judged.iter().filter_map(|j| j.closest).for_each(|n| found_closest[n] += 1);
        let ended = || judged.iter().filter(|j| j.outcome.ended.is_some()).map(|j| j.outcome);
        let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
        let first = || judged.iter().filter_map(|j| j.outcome.first_peer).map(ms);
        let end = || judged.iter().filter_map(|j| j.outcome.ended).map(ms);
        let closest = || judged.iter().filter_map(|j| j.closest).map(|n| n as f64);
        let hops = || ended().map(|o| f64::from(o.hops));
        let asked = || ended().map(|o| f64::from(o.asked));
        let after = overlay.tally();
        let queries = after.asked.saturating_sub(before.asked);
        let timeouts = after.timeouts.saturating_sub(before.timeouts);
        DhtReport {
            found: judged.iter().filter(|j| j.is_found).count() as u32,
            lookups: self.lookups,
            found_closest,
            closest: Summary::of(closest()),
            left: overlay.left,
            descriptions: world.descriptions(),
            steps: Vec::new(),
            violation: world.violation().cloned(),
            dead_contacts: 0.0,
            hops: Summary::of(hops()),
            asked: Summary::of(asked()),
            first_peer_ms: Summary::of(first()),
            end_ms: Summary::of(end()),
            kept_by_mean: f64::from(kept) / f64::from(announces.max(1)),
            kept_by: Distribution::of("kept_by", "", kept_by),
            contacts: Summary::of(living().map(|h| h.node().contacts().len() as f64)),
            packets_per_lookup: (world.counters().sent - before.sent) as f64
                / f64::from(self.lookups.max(1)),
            timeout_share: timeouts as f64 / queries.max(1) as f64,
            nat: nat_report(overlay, &judged),
            distributions: vec![
                Distribution::of("first_peer", "ms", first()),
                Distribution::of("end", "ms", end()),
                Distribution::of("hops", "", hops()),
                Distribution::of("asked", "", asked()),
                Distribution::of("closest_found", "", closest()),
            ],
            series: series(&judged, began),
            counters: world.counters(),
            virtual_time: world.now(),
            trace_hash: world.trace_hash(),
        }
    }

    /// What a run gives.
    pub(in crate::scenario) fn outcome(&self, report: &DhtReport) -> Outcome {
        use Better::{Higher, Lower, Neither};
        let found = f64::from(report.found) / f64::from(report.lookups.max(1));
        let figure = |name: &'static str, unit: &'static str, value: f64, better| {
            Figure::new(name, unit, value, better)
        };
        let some = |summary: &Summary, value: f64| if summary.count > 0 { value } else { f64::NAN };
        let (first, end) = (&report.first_peer_ms, &report.end_ms);
        let mut figures = vec![
            figure("found_share", "", found, Higher),
            figure("closest_found", "", some(&report.closest, report.closest.mean), Higher),
            figure("first_peer_p50_ms", "ms", some(first, first.p50), Lower),
            figure("end_p50_ms", "ms", some(end, end.p50), Lower),
            figure("end_p99_ms", "ms", some(end, end.p99), Lower),
            figure("hops", "", some(&report.hops, report.hops.mean), Lower),
            figure("asked", "", some(&report.asked, report.asked.mean), Lower),
            figure("timeout_share", "", report.timeout_share, Lower),
            figure("kept_by", "", report.kept_by_mean, Higher),
            figure("packets_per_lookup", "", report.packets_per_lookup, Lower),
            figure("contacts", "", report.contacts.mean, Neither),
            figure("dead_contacts_share", "", report.dead_contacts, Neither),
            figure("left", "", f64::from(report.left), Neither),
        ];
        if let Some(nat) = &report.nat {
            figures.extend([
                figure("nat_found_from_inside", "", nat.found_from_inside, Higher),
                figure("nat_found_of_inside", "", nat.found_of_inside, Higher),
                figure("nat_know_address", "", nat.know_address, Higher),
                figure("nat_contacts_inside", "", nat.contacts_inside, Neither),
            ]);
        }
        Outcome {
            figures,
            distributions: report.distributions.clone(),
            series: report.series.clone(),
            trace_hash: report.trace_hash.to_string(),
            verdict: self.verdict(report, found),
            counters: RunCounters {
                events: report.counters.events,
                packets: report.counters.sent,
                virtual_s: report.virtual_time.as_secs_f64(),
            },
        }
    }

    fn verdict(&self, report: &DhtReport, found: f64) -> Result<(), String> {
        let promise = &self.promise;
        if let Some(violation) = &report.violation {
            return Err(violation.to_string());
        }
        if found < promise.found {
            let (all, least) = (report.lookups, promise.found);
            return Err(format!("{} of {all} lookups found, not {least} of them", report.found));
        }
        if report.closest.mean < promise.closest {
            let (mean, least) = (report.closest.mean, promise.closest);
            return Err(format!("{mean:.2} of the 8 closest found in the mean, not {least}"));
        }
        let longest_s = report.end_ms.max / 1e3;
        if promise.end_s > 0.0 && longest_s > promise.end_s {
            return Err(format!("the longest lookup took {longest_s:.1} s, not {}", promise.end_s));
        }
        Ok(())
    }
}

/// Looks at each lookup, of nodes that are there and of those whose place others took.
fn judge<'a>(overlay: &'a Overlay, owners: &BTreeMap<InfoHash, Owner>) -> Vec<Judged<'a>> {
    let truth = overlay.lives.truth(|host| !overlay.seats.is_inside(host));
    let of_hosts =
        overlay.world.hosts().flat_map(|(id, host, _)| host.lookups().map(move |o| (id, o)));
    let earlier = overlay.earlier.iter().map(|(host, outcome)| (*host, outcome));
    // Lookups for what is not among them are of another phase.
    let known = |outcome: &LookupOutcome| owners.contains_key(&outcome.info_hash);
    let all = of_hosts.chain(earlier).filter(|(_, outcome)| known(outcome));
    let judged = all.map(|(asker, outcome)| {
        let owner = owners.get(&outcome.info_hash);
        let id = overlay.world.host(asker).node().id();
        Judged {
            asker,
            is_found: owner.is_some_and(|owner| owner.is_among(&outcome.peers)),
            owner_inside: owner.is_some_and(|owner| owner.is_inside),
            closest: outcome.ended.map(|_| closest_found(&truth, &id, outcome)),
            outcome,
        }
    });
    judged.collect()
}

/// How many of the nodes that are closest to its key, but for the one that looks, a lookup found. One
/// that lies behind 8 that answered was not to be found.
fn closest_found(truth: &Truth, asker: &NodeId, outcome: &LookupOutcome) -> usize {
    let span = (outcome.started, outcome.started + outcome.ended.unwrap_or_default());
    let key = &outcome.info_hash;
    let last = outcome.closest.iter().map(|id| id.distance_words(key)).max();
    let last = last.filter(|_| outcome.closest.len() >= CLOSEST);
    let is_found = |id: &&NodeId| {
        outcome.closest.contains(id) || last.is_some_and(|last| id.distance_words(key) > last)
    };
    truth.closest(key, span, asker, CLOSEST).iter().filter(is_found).count()
}

fn nat_report(overlay: &Overlay<'_>, judged: &[Judged<'_>]) -> Option<NatReport> {
    let seats = &overlay.seats;
    let inside: Vec<HostId> =
        overlay.living.iter().copied().filter(|host| seats.is_inside(*host)).collect();
    if seats.homes().is_empty() {
        return None;
    }
    let knows = |host: &&HostId| {
        let id = overlay.world.host(**host).node().id();
        seats.ips(overlay.world.addresses(), **host).iter().any(|ip| dht::fits(&id, *ip))
    };
    let found = |counts: &dyn Fn(&Judged<'_>) -> bool| {
        let all = judged.iter().filter(|j| counts(j));
        let (found, all) =
            all.fold((0, 0), |(found, all), j| (found + usize::from(j.is_found), all + 1));
        share(found, all)
    };
    let (mut contacts, mut behind) = (0, 0);
    for host in overlay.living.iter().filter(|host| !seats.is_inside(**host)) {
        for contact in DhtHost::node(overlay.world.host(*host)).contacts() {
            contacts += 1;
            let of = overlay.world.addresses().host(&contact.node.addr);
            behind += usize::from(of.is_none_or(|of| seats.is_inside(of)));
        }
    }
    Some(NatReport {
        inside: inside.len() as u32,
        know_address: share(inside.iter().filter(knows).count(), inside.len()),
        found_from_inside: found(&|j| seats.is_inside(j.asker)),
        found_of_inside: found(&|j| j.owner_inside),
        contacts_inside: share(behind, contacts),
    })
}

/// The lookups that began within some time.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    all: f64,
    found: f64,
    ended: f64,
    closest: f64,
}

/// How lookups went, by when they began.
fn series(judged: &[Judged<'_>], began: Time) -> Vec<Series> {
    let since = |j: &Judged<'_>| j.outcome.started.since(began).as_secs_f64();
    let span = judged.iter().map(since).fold(0.0, f64::max).max(1e-6);
    let points = (judged.len() as u32 / 5).clamp(1, POINTS);
    let width = span / f64::from(points);
    let mut buckets = vec![Bucket::default(); points as usize];
    for j in judged {
        let at = ((since(j) / width) as usize).min(buckets.len() - 1);
        let bucket = &mut buckets[at];
        bucket.all += 1.0;
        bucket.found += f64::from(j.is_found);
        bucket.ended += f64::from(j.closest.is_some());
        bucket.closest += j.closest.map_or(0.0, |n| n as f64);
    }
    let series = |name: &'static str, y: fn(&Bucket) -> f64| Series {
        name: name.into(),
        x_unit: "s".into(),
        y_unit: "".into(),
        points: (0..)
            .zip(&buckets)
            .map(|(n, bucket)| (width * (f64::from(n) + 0.5), y(bucket)))
            .filter(|(_, y)| y.is_finite())
            .collect(),
    };
    vec![
        series("found_share", |bucket| bucket.found / bucket.all),
        series("closest_found", |bucket| bucket.closest / bucket.ended),
    ]
}
