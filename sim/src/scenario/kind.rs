//! The kinds of scenarios.

use super::options::{Entry, Field, Node, Problem, entries, read};
use super::{DhtScenario, EclipseScenario, FlowOptions, Setup, SwarmScenario};
use wire::time::Time;

use crate::results::Outcome;
use crate::{HostId, Violation};

/// A scenario with all its options.
#[derive(Clone, PartialEq, Debug)]
pub enum Scenario {
    /// An overlay.
    Dht(Box<DhtScenario>),
    /// A swarm.
    Swarm(Box<SwarmScenario>),
    /// An overlay with adversaries.
    Eclipse(Box<EclipseScenario>),
    /// A swarm piece by piece.
    Flow(Box<FlowOptions>),
}

/// What a run that is looked into gives.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What was said of hosts that were looked at.
    pub descriptions: Vec<(Time, HostId, String)>,
    /// The first that a host did and never may.
    pub violation: Option<Violation>,
    /// When it ended.
    pub end: Time,
    /// The first peer of a swarm that has not all.
    pub unfinished: Option<HostId>,
}

/// Does the same with whichever it is.
macro_rules! each {
    ($self:expr, $scenario:ident => $call:expr) => {
        match $self {
            Scenario::Dht($scenario) => $call,
            Scenario::Swarm($scenario) => $call,
            Scenario::Eclipse($scenario) => $call,
            Scenario::Flow($scenario) => $call,
        }
    };
}

fn read_into<T: Field + Default>(mut options: Box<T>, node: &Node) -> Result<Box<T>, Problem> {
    read(&mut *options, node)?;
    Ok(options)
}

impl Scenario {
    /// The words for them.
    pub const KINDS: [&'static str; 4] = ["dht", "swarm", "eclipse", "flow"];

    /// The scenario of a kind with its defaults; `None` for a word that is none.
    pub fn of_kind(kind: &str) -> Option<Scenario> {
        match kind {
            "dht" => Some(Scenario::Dht(Box::default())),
            "swarm" => Some(Scenario::Swarm(Box::default())),
            "eclipse" => Some(Scenario::Eclipse(Box::default())),
            "flow" => Some(Scenario::Flow(Box::default())),
            _ => None,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Scenario::Dht(_) => "dht",
            Scenario::Swarm(_) => "swarm",
            Scenario::Eclipse(_) => "eclipse",
            Scenario::Flow(_) => "flow",
        }
    }

    /// What all of its kind are.
    pub fn kind_about(&self) -> &'static str {
        match self {
            Scenario::Dht(_) => DhtScenario::ABOUT,
            Scenario::Swarm(_) => SwarmScenario::ABOUT,
            Scenario::Eclipse(_) => EclipseScenario::ABOUT,
            Scenario::Flow(_) => FlowOptions::ABOUT,
        }
    }

    /// Takes the options of a text, and the files that it names: `file` gives the text of one or says
    /// why not.
    pub(super) fn read(
        self,
        node: &Node,
        file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Scenario, Problem> {
        let mut scenario = match self {
            Scenario::Dht(scenario) => Scenario::Dht(read_into(scenario, node)?),
            Scenario::Swarm(scenario) => Scenario::Swarm(read_into(scenario, node)?),
            Scenario::Eclipse(scenario) => Scenario::Eclipse(read_into(scenario, node)?),
            Scenario::Flow(scenario) => Scenario::Flow(read_into(scenario, node)?),
        };
        match &scenario {
            Scenario::Dht(scenario) => scenario.check()?,
            Scenario::Swarm(scenario) => scenario.check()?,
            Scenario::Flow(scenario) => scenario.check()?,
            Scenario::Eclipse(_) => {}
        }
        each!(&mut scenario, scenario => scenario.links.load(file)?);
        Ok(scenario)
    }

    /// All its options, and the heads of their tables.
    pub fn entries(&self) -> Vec<Entry> {
        each!(self, scenario => entries(&**scenario))
    }

    /// How many hosts its world has at its start.
    pub fn hosts(&self) -> u32 {
        match self {
            Scenario::Dht(scenario) => scenario.nodes,
            Scenario::Swarm(scenario) => scenario.peers,
            Scenario::Eclipse(scenario) => scenario.nodes + scenario.sybils,
            Scenario::Flow(scenario) => scenario.peers,
        }
    }

    /// Whether its hosts send packets: a capture of one, and peers of one's own, are for nothing if not.
    pub fn has_packets(&self) -> bool {
        !matches!(self, Scenario::Flow(_))
    }

    /// Runs it as [`Scenario::run_with`] does, and tells what was to be said of hosts. None for a kind that
    /// cannot.
    pub fn replay(&self, seed: u64, setup: Setup<'_>) -> Option<Replay> {
        match self {
            Scenario::Dht(scenario) => {
                let report = scenario.run_with(seed, 1, setup, |_| {});
                Some(Replay {
                    descriptions: report.descriptions,
                    violation: report.violation,
                    end: report.virtual_time,
                    unfinished: None,
                })
            }
            Scenario::Swarm(scenario) => {
                let report = scenario.run_with(seed, 1, setup, |_| {});
                Some(Replay {
                    descriptions: report.descriptions,
                    violation: report.violation,
                    end: report.virtual_time,
                    unfinished: report.unfinished,
                })
            }
            Scenario::Eclipse(_) | Scenario::Flow(_) => None,
        }
    }

    /// Runs it: `seed` names the run, and `workers` threads share it, which changes nothing but its time.
    /// `progress` is told of the share that is done.
    pub fn run(&self, seed: u64, workers: u32, progress: impl FnMut(f64)) -> Outcome {
        self.run_with(seed, workers, Setup::default(), progress)
    }

    /// ... with what is not among its options.
    pub fn run_with(
        &self,
        seed: u64,
        workers: u32,
        setup: Setup<'_>,
        progress: impl FnMut(f64),
    ) -> Outcome {
        match self {
            Scenario::Dht(scenario) => {
                scenario.outcome(&scenario.run_with(seed, workers, setup, progress))
            }
            Scenario::Swarm(scenario) => {
                scenario.outcome(&scenario.run_with(seed, workers, setup, progress))
            }
            Scenario::Eclipse(scenario) => {
                scenario.outcome(&scenario.run_with(seed, workers, setup, progress))
            }
            Scenario::Flow(scenario) => scenario.outcome(&scenario.run(seed, progress)),
        }
    }
}
