//! What was run, so that it can be run again.

use super::outcome::Name;

/// What the results follow from. Two sets of runs with the same manifest are the same, on any machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The program, "sim".
    pub program: Name,
    /// Its version.
    pub version: Name,
    /// "debug" or "release": whether it was built with assertions, which change its speed alone.
    pub build_profile: Name,
    /// The scenario.
    pub scenario: Name,
    /// All options of the scenario with their values, in the program's order, those that were left
    /// at their default among them. What is swept has all its values, joined by commas.
    pub options: Vec<(String, String)>,
    /// The seeds, each of which is run with each setting.
    pub seeds: Vec<u64>,
}

impl Manifest {
    /// A manifest of this build, without options and seeds.
    pub fn new(scenario: impl Into<Name>) -> Manifest {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        Manifest {
            program: "sim".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            build_profile: profile.into(),
            scenario: scenario.into(),
            options: Vec::new(),
            seeds: Vec::new(),
        }
    }

    /// Adds an option, or gives it another value.
    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        let (name, value) = (name.into(), value.to_string());
        match self.options.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.options.push((name, value)),
        }
    }
}

/// Where and how long it ran: what the results do not follow from, and differ by between two runs of
/// the same manifest.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Machine {
    /// Cores that the runs were spread over.
    pub cores: u32,
    /// Seconds from the first run's start to the last one's end.
    pub wall_s: f64,
    /// Seconds of processor time, where the system tells.
    pub cpu_s: Option<f64>,
    /// The most memory that the process had, in bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_keep_their_order_and_their_last_value() {
        let mut manifest = Manifest::new("dht");
        manifest.set("nodes", 1000);
        manifest.set("loss", 0.5);
        manifest.set("nodes", "100,1000");
        let options: Vec<_> =
            manifest.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(options, [("nodes", "100,1000"), ("loss", "0.5")]);
    }
}
