//! The command line.

use clap::{Args, Parser, Subcommand, value_parser};

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
  sim dht --nodes 1000 --lookups 1000 --seed 7
  sim dht --nodes 1000 --lookups 1000 --churn 30 --dead 0.4 --loss 0.02
  sim swarm --peers 50 --pieces 200 --seed 7 --json

Exit codes:
  0 everything was found, everyone finished   2 wrong usage   3 not so, as when nodes leave";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// An overlay in which info-hashes are announced by some and looked for by others
    Dht(Dht),
    /// One seed, and leeches that know an info-hash and find each other by the DHT
    Swarm(Swarm),
}

#[derive(Args, Debug)]
pub struct Run {
    /// Names the run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Share of datagrams that are lost
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub loss: f64,
    /// Shortest way between two hosts, in milliseconds
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub latency_min_ms: u32,
    /// Longest way between two hosts, in milliseconds; each pair has its own, uniform between the two
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u32).range(1..=10_000))]
    pub latency_max_ms: u32,
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
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(2..=1_000_000))]
    pub nodes: u32,
    /// Info-hashes, each announced by one node and looked for by another
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub lookups: u32,
    /// Share of the nodes that fall silent before the lookups
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub dead: f64,
    /// How long half of the nodes stay before they leave and others come, in minutes; 0: all stay
    #[arg(long, default_value_t = 0.0, value_name = "MINUTES", value_parser = minutes)]
    pub churn: f64,
    #[command(flatten)]
    pub run: Run,
}

#[derive(Args, Debug)]
pub struct Swarm {
    /// Peers, one of which is the seed
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(2..=100_000))]
    pub peers: u32,
    /// Pieces of the torrent
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub pieces: u32,
    /// Bytes of a piece
    #[arg(long, default_value_t = 256 << 10, value_name = "BYTES",
        value_parser = value_parser!(u32).range(1..=16 << 20))]
    pub piece_length: u32,
    /// Everyone's upload, in Mbit/s
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub up_mbit: f64,
    /// Everyone's download, in Mbit/s
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    pub down_mbit: f64,
    /// Leeches start within so many seconds, spread evenly
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub arrival: u64,
    /// Virtual seconds after which the run is given up
    #[arg(long, default_value_t = 3600, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub limit: u64,
    #[command(flatten)]
    pub run: Run,
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |share| (0.0..=1.0).contains(&share), "a share lies between 0 and 1")
}

fn minutes(text: &str) -> Result<f64, String> {
    let fits = |minutes| minutes == 0.0 || (0.1..=1e5).contains(&minutes);
    number(text, fits, "a session takes 0.1 to 100000 minutes, or 0 for no end")
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, |rate| (0.001..=1e6).contains(&rate), "a rate lies between 0.001 and 1000000")
}

fn number(text: &str, fits: impl Fn(f64) -> bool, rule: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if fits(number) { Ok(number) } else { Err(rule.to_owned()) }
}
