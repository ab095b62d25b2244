//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use sim::hunt::Kind;
use sim::scenario::{ArrivalOptions, DhtScenario, SwarmScenario};

/// Try a DHT or a swarm in virtual time, on the code that ships.
///
/// The same seed and options give the same run on any machine: the same trace, bit for bit.
#[derive(Parser, Debug)]
#[command(name = "sim", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sim list
  sim explain dht-nat
  sim run dht-churn --seeds 10
  sim hunt --minutes 10
  sim run dht --sweep nodes=100,300,1000 --sweep links.loss=0,0.05 --seeds 30 --out results
  sim dht --nodes 1000 --lookups 1000 --churn 30 --dead 0.4 --loss 0.02
  sim swarm --peers 50 --pieces 200 --seed 7 --json

Exit codes:
  0 all held what it promises: everything was found, everyone finished
  2 wrong usage   3 not so, as when nodes leave";

const RUN_EXAMPLES: &str = "\
Examples:
  sim run dht-nat
  sim run swarm --set access.up_mbit=2 --set links.latency=king --seed 7
  sim run swarm-churn --sweep churn.stay_median_s=30,60,120 --seeds 10 --out results
  sim run mine.toml --set partition.0.for_s=300 --json
  sim run swarm --set peers=10 --pcap leech.pcap --pcap-host 3 && wireshark leech.pcap

A capture has datagrams as they are, and streams as TCP segments that are made for it. It begins at
1970-01-01 00:00, the start of virtual time.

A file of your own says a kind and as many options as it likes:
  kind = \"dht\"
  about = \"Two thousand nodes, a third of them gone.\"
  nodes = 2000
  dead = 0.33
  [links]
  loss = 0.01

Ctrl-C ends it with the results of the runs that are done, marked as incomplete; a second one ends it at
once. With --out they are in the folder at any time.

Exit codes:
  0 all runs held what their scenario promises   2 wrong usage   3 not so
  130 interrupted: results are of the runs that were done";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// A scenario, with as many settings and seeds as wanted
    Run(RunArgs),
    /// The scenarios that come with the program
    List(List),
    /// What a scenario is, and what each of its options means
    Explain(Explain),
    /// Draws overlays and swarms with faults at random until something goes wrong, and makes that smaller
    Hunt(Hunt),
    /// Runs a scenario again and describes a node or a peer at a moment of it
    Replay(Replay),
    /// An overlay in which info-hashes are announced by some and looked for by others
    Dht(Dht),
    /// One seed, and leeches that know an info-hash and find each other by the DHT
    Swarm(Swarm),
}

#[derive(Args, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// The name of a scenario (sim list), or a file
    pub scenario: String,
    /// Names the run, or the first of several
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Runs each setting with so many seeds, from --seed on
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = value_parser!(u32).range(1..=100_000))]
    pub seeds: u32,
    /// Gives an option another value, by its dotted path
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Runs an option with several values; two of these give the product
    #[arg(long, value_name = "KEY=A,B,C", value_parser = pair)]
    pub sweep: Vec<(String, String)>,
    /// Threads: so many small worlds at a time, or so many that share a large one; they change nothing
    /// but its time. Default as many as there are cores
    #[arg(long, value_parser = value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// Print one JSON object, last
    #[arg(long)]
    pub json: bool,
    /// Write results.json, tables as CSV and figures as SVG into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write what one host sends and receives into this file, as pcap; of one run alone
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// That host's number; they count from 0
    #[arg(long, value_name = "N", default_value_t = 0, requires = "pcap")]
    pub pcap_host: u32,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args, Debug)]
pub struct Replay {
    /// The name of a scenario (sim list), or a file
    pub scenario: String,
    /// The seed of the run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Gives an option another value, by its dotted path
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// The moment: seconds of virtual time, "violation" for when somebody first did what it never may,
    /// or "end"
    #[arg(long, value_name = "SECONDS", default_value = "violation")]
    pub until: String,
    /// The host's number. Default, with a violation, that of who did it; at the end of a swarm, of the
    /// first that has not all; else the first
    #[arg(long)]
    pub host: Option<u32>,
    /// Write what that node sends and receives into this file, as pcap, from the start to the end of the
    /// run
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

const HUNT_EXAMPLES: &str = "\
Examples:
  sim hunt --minutes 10
  sim hunt --kind swarm --minutes 60 --seed 1000000 --out found --json

Each seed draws an overlay or a swarm: sizes, links, churn, translators, partitions, sleep and clocks; of
an overlay bad manners as well, of a swarm lines, disks and programs that end. While they last, nothing
may ever be wrong; then all heals, what is announced must be found again, and all must have all. What
fails is made smaller and written as a scenario: sim run FILE --seed N shows it again.

Exit codes:
  0 nothing went wrong   2 wrong usage   3 something did";

#[derive(Args, Debug)]
#[command(after_help = HUNT_EXAMPLES)]
pub struct Hunt {
    /// How long to look, in minutes; what is found is made smaller for up to two more each
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    pub minutes: f64,
    /// Draws only of this kind
    #[arg(long)]
    pub kind: Option<HuntKind>,
    /// The first seed; the others follow
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Ends after so many that went wrong
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub most: u32,
    /// The folder for what is found
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Print one JSON object, last
    #[arg(long)]
    pub json: bool,
}

/// What is hunted over.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum HuntKind {
    /// Overlays
    Dht,
    /// Swarms
    Swarm,
}

impl HuntKind {
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            HuntKind::Dht => &[Kind::Dht],
            HuntKind::Swarm => &[Kind::Swarm],
        }
    }
}

#[derive(Args, Debug)]
pub struct List {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Explain {
    /// The name of a scenario (sim list), or a file
    pub scenario: String,
    /// Gives an option another value, by its dotted path
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Run {
    /// Names the run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Share of datagrams that are lost
    #[arg(long, default_value_t = dht().links.loss)]
    pub loss: f64,
    /// Shortest way between two hosts, in milliseconds
    #[arg(long, default_value_t = dht().links.latency_min_ms)]
    pub latency_min_ms: f64,
    /// Longest way between two hosts, in milliseconds; each pair has its own, uniform between the two
    #[arg(long, default_value_t = dht().links.latency_max_ms)]
    pub latency_max_ms: f64,
    /// Threads that share the run; they change nothing but its time
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=256))]
    pub workers: u32,
    /// Print one JSON object, last
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Dht {
    /// DHT nodes
    #[arg(long, default_value_t = dht().nodes)]
    pub nodes: u32,
    /// Info-hashes, each announced by one node and looked for by another
    #[arg(long, default_value_t = dht().lookups)]
    pub lookups: u32,
    /// Share of the nodes that fall silent before the lookups
    #[arg(long, default_value_t = dht().dead)]
    pub dead: f64,
    /// How long half of the nodes stay before they leave and others come, in minutes; 0: all stay
    #[arg(long, default_value_t = 0.0, value_name = "MINUTES")]
    pub churn: f64,
    #[command(flatten)]
    pub run: Run,
}

#[derive(Args, Debug)]
pub struct Swarm {
    /// Peers, one of which is the seed
    #[arg(long, default_value_t = swarm().peers)]
    pub peers: u32,
    /// Pieces of the torrent
    #[arg(long, default_value_t = swarm().pieces)]
    pub pieces: u32,
    /// Bytes of a piece
    #[arg(long, default_value_t = swarm().piece_length, value_name = "BYTES")]
    pub piece_length: u32,
    /// Everyone's upload, in Mbit/s
    #[arg(long, default_value_t = swarm().access.up_mbit)]
    pub up_mbit: f64,
    /// Everyone's download, in Mbit/s
    #[arg(long, default_value_t = swarm().access.down_mbit)]
    pub down_mbit: f64,
    /// Leeches start within so many seconds, spread evenly
    #[arg(long, default_value_t = ArrivalOptions::default().within_s, value_name = "SECONDS")]
    pub arrival: f64,
    /// Virtual seconds after which the run is given up
    #[arg(long, default_value_t = swarm().limit_s, value_name = "SECONDS")]
    pub limit: f64,
    #[command(flatten)]
    pub run: Run,
}

fn dht() -> DhtScenario {
    DhtScenario::default()
}

fn swarm() -> SwarmScenario {
    SwarmScenario::default()
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as key=value".to_owned()),
    }
}

impl Run {
    fn sets(&self) -> Vec<(&'static str, String)> {
        vec![
            ("links.loss", self.loss.to_string()),
            ("links.latency_min_ms", self.latency_min_ms.to_string()),
            ("links.latency_max_ms", self.latency_max_ms.to_string()),
        ]
    }
}

impl Dht {
    /// The options that they stand for.
    pub fn sets(&self) -> Vec<(&'static str, String)> {
        let mut sets = self.run.sets();
        sets.extend([
            ("nodes", self.nodes.to_string()),
            ("lookups", self.lookups.to_string()),
            ("dead", self.dead.to_string()),
        ]);
        if self.churn != 0.0 {
            sets.push(("churn.law", "exponential".to_owned()));
            sets.push(("churn.median_min", self.churn.to_string()));
        }
        sets
    }
}

impl Swarm {
    /// The options that they stand for.
    pub fn sets(&self) -> Vec<(&'static str, String)> {
        let mut sets = self.run.sets();
        sets.extend([
            ("peers", self.peers.to_string()),
            ("pieces", self.pieces.to_string()),
            ("piece_length", self.piece_length.to_string()),
            ("access.up_mbit", self.up_mbit.to_string()),
            ("access.down_mbit", self.down_mbit.to_string()),
            ("arrival.within_s", self.arrival.to_string()),
            ("limit_s", self.limit.to_string()),
        ]);
        sets
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    let fits = (0.01..=100_000.0).contains(&minutes);
    fits.then_some(minutes).ok_or_else(|| "a hunt takes 0.01 to 100000 minutes".to_owned())
}
