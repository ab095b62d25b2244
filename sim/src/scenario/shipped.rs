//! The scenarios that come with the program.

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// Their names and texts.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "dht",
    "dht-chaos",
    "dht-churn",
    "dht-king",
    "dht-nat",
    "dht-partition",
    "dht-million",
    "eclipse",
    "swarm",
    "swarm-classes",
    "swarm-flash-crowd",
    "swarm-churn",
    "swarm-nat",
    "swarm-chaos",
    "flow",
    "flow-100k",
];
