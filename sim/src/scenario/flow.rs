//! A swarm piece by piece.

use super::options::{Place, Problem, choices, options};
use super::parts::{AccessOptions, LinkOptions, seconds};
use super::{ArrivalLaw, ArrivalOptions, SwarmPromise};
use crate::Access;
use crate::flow::{Arrivals, Class, FlowReport, FlowScenario, Leaving};
use crate::results::{Better, Distribution, Figure, Outcome, RunCounters, Series};

choices! {
    /// What leeches do once they have all.
    pub enum LeaveLaw {
        /// They stay to the end.
        Stay = "stay",
        /// They go at once.
        AtOnce = "at-once",
        /// They stay for an exponential time.
        Dwell = "dwell",
    }
}

options! {
    /// What leeches do once they have all.
    pub struct LeaveOptions {
        /// They stay to the end, go at once, or stay for an exponential time.
        law: LeaveLaw = LeaveLaw::Stay;
        /// Dwell: for how long, in the mean.
        dwell_mean_s: f64 = 60.0, in 0.001..=1_000_000, "s";
    }
}

options! {
    /// A swarm of which whole transfers are reckoned and not blocks, for crowds that are too large for
    /// kind swarm: without DHT, metadata, losses and NATs. Times count from when the first leech starts.
    pub struct FlowOptions {
        /// Peers, the seeds among them.
        peers: u32 = 1_000, in 2..=1_000_000;
        /// Peers that have all from the start; each has the line of the seed.
        seeds: u32 = 1, in 1..=1_000_000;
        /// Pieces of the torrent.
        pieces: u32 = 1_000, in 1..=1_000_000;
        /// The length of a piece: whole blocks of 16 KiB, or less than one.
        piece_length: u32 = 65_536, in 1..=16_777_216, "bytes";
        /// Links of a peer, in the mean.
        degree: u32 = 20, in 2..=2_000;
        /// Blocks that are asked for and sent as one, at most; fewer are more exact and slower.
        transfer_blocks: u32 = 8, in 1..=1_000, "blocks";
        /// The virtual time after which the run is given up.
        limit_s: f64 = 100_000.0, in 1..=1_000_000, "s";
        /// When the leeches start.
        arrival: ArrivalOptions = ArrivalOptions::default();
        /// When leeches that have all go.
        leave: LeaveOptions = LeaveOptions::default();
        /// How fast the lines are.
        access: AccessOptions = AccessOptions::default();
        /// The delays between peers; packets are not modelled, so nothing else may be set.
        links: LinkOptions = LinkOptions::default();
        /// What it is to hold.
        promise: SwarmPromise = SwarmPromise::default();
    }
}

/// Points of a series, at most.
const POINTS: usize = 200;
/// Weights of classes are their shares in parts of this.
const WHOLE: f64 = 1e9;

fn problem(what: impl Into<String>) -> Problem {
    Problem::new(&Place::Whole, what)
}

impl FlowOptions {
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.arrival.check()?;
        self.access.check()?;
        let known = LinkOptions {
            latency: self.links.latency,
            latency_min_ms: self.links.latency_min_ms,
            latency_max_ms: self.links.latency_max_ms,
            king_min_ms: self.links.king_min_ms,
            king_max_ms: self.links.king_max_ms,
            matrix_file: self.links.matrix_file.clone(),
            ..LinkOptions::default()
        };
        if self.links != known {
            return Err(problem("kind flow has delays alone: of links nothing else can be set"));
        }
        self.scenario(1).check().map_err(|rule| problem(format!("kind flow needs {rule}")))
    }

    /// The swarm that it is about.
    pub(super) fn scenario(&self, seed: u64) -> FlowScenario {
        let arrivals = match self.arrival.law {
            ArrivalLaw::Even => Arrivals::Spread(seconds(self.arrival.within_s)),
            ArrivalLaw::Random => {
                Arrivals::Random(seconds(self.arrival.within_s), self.arrival.day.day())
            }
            ArrivalLaw::Flash => Arrivals::Flash(seconds(self.arrival.tau_s)),
        };
        let leaving = match self.leave.law {
            LeaveLaw::Stay => Leaving::Stay,
            LeaveLaw::AtOnce => Leaving::AtOnce,
            LeaveLaw::Dwell => Leaving::Dwell(seconds(self.leave.dwell_mean_s)),
        };
        let class = |(share, access): (f64, Access)| Class {
            weight: (share * WHOLE).round() as u32,
            access,
        };
        FlowScenario {
            peers: self.peers,
            seeds: self.seeds,
            pieces: self.pieces,
            piece_length: self.piece_length,
            degree: self.degree,
            seed_access: self.access.seed(),
            classes: self.access.classes().map(class).collect(),
            arrivals,
            leaving,
            links: self.links.config(),
            transfer_blocks: self.transfer_blocks as u16,
            limit: seconds(self.limit_s),
            seed,
            ..FlowScenario::default()
        }
    }

    /// Runs it: `seed` names the run. It has one thread. `progress` is told of the
    /// share of pieces that have come.
    ///
    /// # Panics
    /// If the run beats a bound: then the simulator is wrong.
    pub fn run(&self, seed: u64, progress: impl FnMut(f64)) -> FlowReport {
        self.scenario(seed).run_told(progress)
    }

    /// What a run gives.
    pub(super) fn outcome(&self, report: &FlowReport) -> Outcome {
        use Better::{Higher, Lower, Neither};
        let share = f64::from(report.finished) / f64::from(report.leeches.max(1));
        let if_all = |value: f64| if report.finished == report.leeches { value } else { f64::NAN };
        let finish = &report.finish_s;
        let some = |value: f64| if finish.count > 0 { value } else { f64::NAN };
        let mut distributions =
            vec![Distribution::of("finish", "s", report.finishes_s.iter().flatten().copied())];
        distributions.extend(self.by_class(report));
        let mut figures = vec![
            Figure::new("finished_share", "", share, Higher),
            Figure::new("makespan_s", "s", if_all(report.makespan_s), Lower),
            Figure::new("bound_times", "", if_all(report.bound_ratio), Lower),
            Figure::new("bound_s", "s", report.bound_s(), Neither),
            Figure::new("finish_p50_s", "s", some(finish.p50), Lower),
            Figure::new("finish_p90_s", "s", some(finish.p90), Lower),
            Figure::new("finish_p99_s", "s", some(finish.p99), Lower),
            Figure::new("seed_copies", "", report.seed_copies, Lower),
            Figure::new("utilisation", "", report.utilisation, Higher),
            Figure::new("interest", "", report.interest, Higher),
            Figure::new("wasted_share", "", report.wasted_share, Lower),
            Figure::new("links", "", report.mean_links, Neither),
        ];
        // Only swarms of equal lines have it.
        if report.mundinger_ratio > 0.0 {
            let times = report.mundinger_ratio;
            figures.push(Figure::new("mundinger_times", "", times, Lower));
        }
        Outcome {
            figures,
            distributions,
            series: vec![finished_series(report)],
            trace_hash: report.trace_hash.to_string(),
            verdict: self.verdict(report, share),
            counters: RunCounters {
                events: report.events,
                packets: report.transfers,
                virtual_s: report.virtual_s,
            },
        }
    }

    /// How long the leeches of each class took.
    fn by_class<'a>(&'a self, report: &'a FlowReport) -> impl Iterator<Item = Distribution> + 'a {
        (0..self.access.class.len()).map(|class| {
            let leeches = report.finishes_s.iter().zip(&report.classes);
            let of_class = leeches.filter(move |(_, own)| **own as usize == class);
            let times = of_class.filter_map(|(at, _)| *at);
            Distribution::of(format!("finish_class_{class}"), "s", times)
        })
    }

    fn verdict(&self, report: &FlowReport, finished: f64) -> Result<(), String> {
        if finished < self.promise.finished {
            let (all, least) = (report.leeches, self.promise.finished);
            let some = report.finished;
            return Err(format!("{some} of {all} leeches finished, not {least} of them"));
        }
        let (times, most) = (report.bound_ratio, self.promise.bound_times);
        if most > 0.0 && times > most {
            return Err(format!("the last piece took {times:.2} times the bound, not {most}"));
        }
        Ok(())
    }
}

/// How many had finished, by the time since the first leech came.
fn finished_series(report: &FlowReport) -> Series {
    let step = report.done_s.len().div_ceil(POINTS).max(1);
    let counted = report.done_s.iter().copied().zip(1..).map(|(at, n)| (at, f64::from(n)));
    let all: Vec<(f64, f64)> = counted.collect();
    let mut points = vec![(0.0, 0.0)];
    points.extend(all.iter().step_by(step).copied());
    points.extend(all.last().filter(|last| points.last() != Some(last)).copied());
    Series { name: "complete_leeches".into(), x_unit: "s".into(), y_unit: "".into(), points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, Template};

    fn read(text: &str) -> Result<Scenario, String> {
        let template = Template::parse("mine", &format!("kind = \"flow\"\n{text}")).unwrap();
        template
            .scenario(&|_| Err("no such file".to_owned()))
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_it_does_not_model_cannot_be_set() {
        for (text, want) in [
            ("links.loss = 0.1", "kind flow has delays alone: of links nothing else can be set"),
            ("peers = 5\nseeds = 5", "kind flow needs a seed and a leech at least"),
            ("piece_length = 20000", "kind flow needs a piece has 1 to 2^14 bytes or whole blocks"),
            ("nat.share = 0.1", "there is no option nat"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(want), "{text}: {told}");
        }
        assert!(read("links.latency = \"king\"").is_ok());
    }

    #[test]
    fn the_defaults_are_those_of_the_simulator() {
        let ours = FlowOptions::default().scenario(1);
        let theirs = FlowScenario::default();
        assert_eq!(ours.classes[0].access, theirs.classes[0].access);
        let of = |s: &FlowScenario| {
            (s.peers, s.seeds, s.pieces, s.piece_length, s.degree, s.transfer_blocks, s.limit)
        };
        assert_eq!(of(&ours), of(&theirs));
        assert_eq!(ours.seed_access, theirs.seed_access);
    }

    #[test]
    fn who_does_not_finish_breaks_the_promise() {
        let options = FlowOptions { peers: 10, pieces: 10, limit_s: 1.0, ..FlowOptions::default() };
        let told = options.outcome(&options.run(1, |_| {})).verdict.unwrap_err();
        assert_eq!(told, "0 of 9 leeches finished, not 1 of them");
        let promise = SwarmPromise { bound_times: 1.0, ..SwarmPromise::default() };
        let options = FlowOptions { limit_s: 1_000.0, promise, ..options };
        let told = options.outcome(&options.run(1, |_| {})).verdict.unwrap_err();
        assert!(told.contains("times the bound, not 1"), "{told}");
    }
}
