//! Worlds that are made, run and judged: what the `sim` program and the tests offer.

mod dht;
mod eclipse;
mod swarm;

pub use crate::flow::{FlowReport, FlowScenario};
pub use dht::{DhtReport, DhtScenario};
pub use eclipse::{EclipseReport, EclipseScenario};
pub use swarm::{SwarmReport, SwarmScenario};
