//! Worlds that are made, run and judged: what the `sim` program and the tests offer.
//!
//! A scenario is a text ([`Template`]): a kind, what it is about, and options. Each kind's options are
//! one struct, whose default, ranges, units and words are said there and nowhere else. A [`Plan`] is a
//! scenario with what is swept and the seeds; it names the runs, and whoever makes them hands the
//! outcomes back.

mod dht;
mod eclipse;
mod explain;
mod flow;
mod kind;
pub mod options;
mod parts;
mod plan;
mod setup;
mod shipped;
mod swarm;
mod template;

pub use crate::flow::{FlowReport, FlowScenario};
pub use dht::{
    ChaosOptions, ChurnLaw, ChurnOptions, DhtPromise, DhtReport, DhtScenario, NatReport,
};
pub use eclipse::{EclipsePromise, EclipseReport, EclipseScenario};
pub use explain::explain;
pub use flow::{FlowOptions, LeaveLaw, LeaveOptions};
pub use kind::{Replay, Scenario};
pub use parts::{
    AccessClass, AccessOptions, ClockShift, DayOptions, DiskOptions, LatencyKind, LinkOptions,
    NatOptions, NatRestart, Partition, Sleep,
};
pub use plan::{Job, Plan};
pub use setup::Setup;
pub use shipped::SHIPPED;
pub use swarm::{
    ArrivalLaw, ArrivalOptions, AwayOptions, CrashOptions, SwarmChaos, SwarmPromise, SwarmReport,
    SwarmScenario,
};
pub use template::Template;
