//! Worlds that are made, run and judged: what the `sim` program offers.

mod dht;
mod swarm;

pub use dht::{DhtReport, DhtScenario};
pub use swarm::{SwarmReport, SwarmScenario};
