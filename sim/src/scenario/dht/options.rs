//! What can be set in an overlay.

use std::time::Duration;

use wire::time::Time;

use super::{GROWTH_A_SECOND, JOIN_EVERY, JOIN_WITHIN};
use crate::scenario::options::{Place, Problem, choices, options};
use crate::scenario::parts::{
    ClockShift, DayOptions, Disturbed, LinkOptions, NatOptions, NatRestart, Partition, Sleep,
    minutes,
};
use crate::{Churn, Weibull};

choices! {
    /// How nodes come and go.
    pub enum ChurnLaw {
        /// All stay.
        None = "none",
        /// Each is as likely to leave at any moment; for each that leaves another one comes.
        Exponential = "exponential",
        /// Each comes and goes by measured laws, with its address, its id and the contacts that it saved.
        Measured = "measured",
    }
}

options! {
    /// How nodes come and go, from when the overlay has settled to the end.
    pub struct ChurnOptions {
        /// By which law: none; exponential, where for each node that leaves another one comes; or
        /// measured, where each comes and goes and keeps its contacts.
        law: ChurnLaw = ChurnLaw::None;
        /// Exponential: the time within which half of the nodes leave.
        median_min: f64 = 60.0, in 0.1..=100_000, "min";
        /// Measured: the scale of Weibull's law for the time that one is on: half are on for less than 0.42
        /// times as long (Wang and Kangasharju 2013: 200 min).
        on_scale_min: f64 = 472.925, in 0.1..=1_000_000, "min";
        /// Measured: the shape of that law; below 1 many are short and some very long.
        on_shape: f64 = 0.425871, in 0.1..=10;
        /// Measured: the scale of Weibull's law for the time that one is off.
        off_scale_min: f64 = 472.925, in 0.1..=1_000_000, "min";
        /// Measured: the shape of that law.
        off_shape: f64 = 0.425871, in 0.1..=10;
        /// Measured: who comes back knows the contacts that it had, as from a file; else it joins as new.
        saves_contacts: bool = true;
        /// Measured: more come back at one hour than at another.
        day: DayOptions = DayOptions::default();
        /// How long nodes come and go before the announces; 0: exponential as long as the median,
        /// measured an hour.
        before_min: f64 = 0.0, in 0..=1_000_000, "min";
    }
}

options! {
    /// A first phase in which anything may fail and nothing may ever be wrong. Then all heals, and what
    /// the scenario promises is to hold again.
    pub struct ChaosOptions {
        /// How long it lasts, from when the overlay has settled; 0: there is none. Until its end links
        /// have their faults, and nodes come and go.
        for_s: f64 = 0.0, in 0..=1_000_000, "s";
        /// Announces and lookups of a few torrents meanwhile, by whoever is there.
        operations: u32 = 200, in 0..=1_000_000;
        /// The share of the nodes with bad manners: they repeat and replay datagrams, garble them, and
        /// show tokens that were given for something else.
        rude: f64 = 0.0, in 0..=1;
        /// How long after it the announces begin.
        heal_s: f64 = 960.0, in 0..=1_000_000, "s";
    }
}

options! {
    /// What a run is to hold; else its verdict is that it did not, and the program ends with 3.
    pub struct DhtPromise {
        /// The share of the lookups that find the peer that was announced, at least.
        found: f64 = 1.0, in 0..=1;
        /// How many of the 8 closest nodes a lookup finds in the mean, at least.
        closest: f64 = 0.0, in 0..=8;
        /// How long the longest lookup takes at most; 0: as long as it likes.
        end_s: f64 = 0.0, in 0..=1_000, "s";
    }
}

options! {
    /// An overlay: each node joins by one that is there; then each info-hash is announced by one node
    /// and looked for by another. Times count from when the overlay has settled, 30 s after the last
    /// has joined.
    pub struct DhtScenario {
        /// DHT nodes; with measured churn those that are off among them.
        nodes: u32 = 1_000, in 2..=1_000_000;
        /// Info-hashes, each announced by one node and looked for by another.
        lookups: u32 = 1_000, in 1..=1_000_000;
        /// The share of the nodes that fall silent for good between the announces and the lookups; who
        /// looks is none of them.
        dead: f64 = 0.0, in 0..=1;
        /// Between the last announce and the first lookup, besides 20 s.
        rest_s: f64 = 0.0, in 0..=10_000_000, "s";
        /// Nodes have tables as `dht-node` has them, alone on its machine; else smaller ones, of which many
        /// thousands fit into one world.
        shipped_tables: bool = false;
        /// Announces and lookups come from hosts of their own, as by `dht-node announce` and `lookup`: each
        /// is read-only, knows one node and stays for that alone. Else the nodes themselves ask.
        by_commands: bool = false;
        /// The announces begin within this time, spread evenly; 0: 10 ms after each other, or within 100 s.
        announce_span_s: f64 = 0.0, in 0..=10_000_000, "s";
        /// The lookups begin within this time, spread evenly; 0: 10 ms after each other, or within 100 s.
        lookup_span_s: f64 = 0.0, in 0..=10_000_000, "s";
        /// What happens to packets.
        links: LinkOptions = LinkOptions::default();
        /// Nodes that come and go.
        churn: ChurnOptions = ChurnOptions::default();
        /// Nodes behind address translators; they announce the port that others see.
        nat: NatOptions = NatOptions::default();
        /// Times in which the network is in two.
        partition: Vec<Partition> = Vec::new();
        /// Nodes that are suspended.
        sleep: Vec<Sleep> = Vec::new();
        /// Clocks that jump.
        clock: Vec<ClockShift> = Vec::new();
        /// Translators that restart.
        nat_restart: Vec<NatRestart> = Vec::new();
        /// A phase of faults before.
        chaos: ChaosOptions = ChaosOptions::default();
        /// What it is to hold.
        promise: DhtPromise = DhtPromise::default();
    }
}

impl ChurnOptions {
    /// How long nodes come and go before the announces.
    pub(super) fn before(&self) -> Duration {
        match self.law {
            ChurnLaw::None => Duration::ZERO,
            _ if self.before_min > 0.0 => minutes(self.before_min),
            ChurnLaw::Exponential => minutes(self.median_min),
            ChurnLaw::Measured => minutes(60.0),
        }
    }

    /// The measured laws.
    pub(super) fn measured(&self) -> Churn {
        let law = |scale_min: f64, shape| Weibull { scale_secs: scale_min * 60.0, shape };
        Churn {
            online: law(self.on_scale_min, self.on_shape),
            offline: law(self.off_scale_min, self.off_shape),
        }
    }
}

impl DhtScenario {
    pub(in crate::scenario) fn check(&self) -> Result<(), Problem> {
        if self.churn.law != ChurnLaw::Measured && self.churn.day != DayOptions::default() {
            let what = "churn.day is for churn.law = \"measured\"";
            return Err(Problem::new(&Place::Whole, what));
        }
        self.nat.check()
    }

    pub(super) fn disturbed(&self) -> Disturbed<'_> {
        Disturbed {
            partitions: &self.partition,
            sleeps: &self.sleep,
            clocks: &self.clock,
            nat_restarts: &self.nat_restart,
        }
    }

    /// When all have joined.
    pub(super) fn joined_at(&self) -> Time {
        (0..self.nodes).fold(Time::ZERO, |at, n| at + self.join_gap(n))
    }

    /// Time between the `n`-th node that joins and the next.
    pub(super) fn join_gap(&self, n: u32) -> Duration {
        let growth = Duration::from_secs(1) * GROWTH_A_SECOND / n.max(1);
        JOIN_EVERY.min(growth.max(JOIN_WITHIN / self.nodes))
    }
}
