//! What can be set in a swarm.

use crate::scenario::options::{Place, Problem, choices, options};
use crate::scenario::parts::{
    AccessOptions, ClockShift, DayOptions, DiskOptions, Disturbed, LinkOptions, NatOptions,
    NatRestart, Partition, Sleep,
};

choices! {
    /// When leeches start.
    pub enum ArrivalLaw {
        /// At equal distances.
        Even = "even",
        /// Each at any moment of the time.
        Random = "random",
        /// Many at first and then fewer and fewer.
        Flash = "flash",
    }
}

options! {
    /// When the leeches start, after the seed.
    pub struct ArrivalOptions {
        /// Evenly within a time, at random within it, or as a flash crowd whose rate falls exponentially
        /// (Guo and others 2005).
        law: ArrivalLaw = ArrivalLaw::Even;
        /// Even and random: within this time.
        within_s: f64 = 1.0, in 0..=1_000_000, "s";
        /// Flash: after this time the rate is down to 37 %.
        tau_s: f64 = 60.0, in 0.001..=1_000_000, "s";
        /// Random: more at one hour than at another.
        day: DayOptions = DayOptions::default();
    }
}

impl ArrivalOptions {
    pub(in crate::scenario) fn check(&self) -> Result<(), Problem> {
        if self.law != ArrivalLaw::Random && self.day != DayOptions::default() {
            let what = "arrival.day is for arrival.law = \"random\"";
            return Err(Problem::new(&Place::Whole, what));
        }
        Ok(())
    }
}

options! {
    /// Leeches that go away and come back with what they have, as machines that are suspended; both
    /// times are exponential.
    pub struct AwayOptions {
        /// The time within which half of those that are there go; 0: all stay.
        stay_median_s: f64 = 0.0, in 0..=100_000_000, "s";
        /// The time within which half of those that went come back.
        away_median_s: f64 = 60.0, in 1..=100_000_000, "s";
    }
}

options! {
    /// Programs that end at any moment of the chaos, whoever they are, and start again on what is left.
    pub struct CrashOptions {
        /// How many do.
        times: u32 = 0, in 0..=1_000_000;
        /// The share of them, and of those that start again as their disk failed, whose power is cut, so
        /// that what was not synced may be gone; the others are killed.
        power: f64 = 0.5, in 0..=1;
        /// How long a host is off before the next starts, exponential.
        off_s: f64 = 2.0, in 0..=1_000_000, "s";
    }
}

options! {
    /// A first phase in which anything may fail, and at no time may anything be announced, kept or served
    /// that is not right. Then all heals, and all are to have all.
    pub struct SwarmChaos {
        /// How long it lasts, from when the first leech starts; 0: there is none. Until its end links and
        /// disks have their faults, programs end, and leeches go away. Who stops for a disk that failed
        /// starts again.
        for_s: f64 = 0.0, in 0..=1_000_000, "s";
        /// How long after it all have what is promised, at most, instead of limit_s.
        heal_s: f64 = 1_800.0, in 1..=1_000_000, "s";
    }
}

options! {
    /// What a run is to hold; else its verdict is that it did not, and the program ends with 3.
    pub struct SwarmPromise {
        /// The share of the leeches that have all in the end, at least.
        finished: f64 = 1.0, in 0..=1;
        /// How many times longer than the bound the last piece takes, at most; 0: as long as it likes.
        bound_times: f64 = 0.0, in 0..=1_000;
    }
}

options! {
    /// A swarm that forms by the DHT alone: one seed, and leeches that know an info-hash. Times count
    /// from when the first leech starts.
    pub struct SwarmScenario {
        /// Peers, the seed among them.
        peers: u32 = 50, in 2..=100_000;
        /// Pieces of the torrent.
        pieces: u32 = 200, in 1..=1_000_000;
        /// The length of a piece.
        piece_length: u32 = 262_144, in 1..=16_777_216, "bytes";
        /// Its files; where they are several, their lengths are drawn.
        files: u32 = 1, in 1..=10_000;
        /// The virtual time after which the run is given up.
        limit_s: f64 = 3_600.0, in 1..=10_000_000, "s";
        /// Peers that one is connected to, at most; 0: as many as it ships with.
        peers_max: u32 = 0, in 0..=10_000;
        /// Hosts without a line that are DHT nodes and nothing else. If there are any, peers join the DHT by
        /// one of them when they start; else all peers have joined before.
        nodes: u32 = 0, in 0..=100_000;
        /// When the leeches start.
        arrival: ArrivalOptions = ArrivalOptions::default();
        /// How fast the lines are.
        access: AccessOptions = AccessOptions::default();
        /// What happens to packets.
        links: LinkOptions = LinkOptions::default();
        /// Leeches that go and come back.
        churn: AwayOptions = AwayOptions::default();
        /// Leeches behind address translators, each of which has one line.
        nat: NatOptions = NatOptions::default();
        /// Times in which the network is in two.
        partition: Vec<Partition> = Vec::new();
        /// Peers that are suspended.
        sleep: Vec<Sleep> = Vec::new();
        /// Clocks that jump.
        clock: Vec<ClockShift> = Vec::new();
        /// Translators that restart.
        nat_restart: Vec<NatRestart> = Vec::new();
        /// How fast disks are, and how they fail.
        disk: DiskOptions = DiskOptions::default();
        /// Programs that end.
        crash: CrashOptions = CrashOptions::default();
        /// A phase of faults.
        chaos: SwarmChaos = SwarmChaos::default();
        /// What it is to hold.
        promise: SwarmPromise = SwarmPromise::default();
    }
}

impl SwarmScenario {
    pub(in crate::scenario) fn check(&self) -> Result<(), Problem> {
        self.arrival.check()?;
        self.nat.check()?;
        self.access.check()?;
        if self.chaos.for_s == 0.0 && (self.crash.times > 0 || self.disk.fails()) {
            let what = "crash.times, disk.io_error and disk.full are for a time of chaos: \
                        chaos.for_s must be above 0";
            return Err(Problem::new(&Place::Whole, what));
        }
        Ok(())
    }

    /// Whether there is a phase of faults.
    pub(super) fn has_chaos(&self) -> bool {
        self.chaos.for_s > 0.0
    }

    /// How long it goes on at most, in seconds.
    pub(super) fn span_s(&self) -> f64 {
        match self.has_chaos() {
            true => self.chaos.for_s + self.chaos.heal_s,
            false => self.limit_s,
        }
    }

    pub(super) fn disturbed(&self) -> Disturbed<'_> {
        Disturbed {
            partitions: &self.partition,
            sleeps: &self.sleep,
            clocks: &self.clock,
            nat_restarts: &self.nat_restart,
        }
    }

    /// Bytes of the torrent.
    pub(super) fn total(&self) -> u64 {
        u64::from(self.piece_length) * u64::from(self.pieces)
    }
}
