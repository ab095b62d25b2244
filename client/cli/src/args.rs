//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Fetch and seed files peer to peer, with no tracker.
#[derive(Parser, Debug)]
#[command(name = "trackerless", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say more on standard error; twice for still more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say nothing but errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  trackerless demo                         see it work, on this machine alone
  trackerless get 4a533d47ec9c...          fetch by bare info-hash
  trackerless get 'magnet:?xt=urn:btih:...' -o ~/Downloads
  trackerless seed debian.iso              serve a file; prints its magnet link

Exit codes:
  0 done   1 internal error   2 wrong usage   3 not found or out of time
  4 network   5 disk   6 torrent refused   130 interrupted   143 terminated";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Fetch torrents by magnet link, info-hash or .torrent file
    Get(Get),
    /// Hash files or folders and serve them
    Seed(Seed),
    /// Write a .torrent file
    Create(Create),
    /// The main job on this machine alone: an overlay of 32 nodes, a seed, and a download
    Demo(Demo),
}

/// Where to listen and whom to ask.
#[derive(Args, Debug, Clone)]
pub struct Network {
    /// Listen here, for peers (TCP) and the DHT (UDP); repeatable, for IPv4 and IPv6. Port 0 is
    /// any free one
    #[arg(long, value_name = "ADDR:PORT")]
    pub bind: Vec<SocketAddr>,
    /// Enter the DHT by this node; repeatable; replaces the public ones
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Vec<String>,
    /// Do not use the DHT: only the peers that are named
    #[arg(long)]
    pub no_dht: bool,
    /// Print events, one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trackerless get 4a533d47ec9c7d95b1ad75f576cffc641853b750
  trackerless get image.torrent -o /srv/images --seed
  trackerless get HASH --no-dht --peer 192.168.1.5:6881
  trackerless get MAGNET --list            names and sizes, no download")]
pub struct Get {
    /// Magnet link, info-hash (40 hex or 32 base32 digits) or .torrent file
    #[arg(required = true, value_name = "MAGNET|INFO_HASH|FILE.torrent")]
    pub targets: Vec<String>,
    /// Folder to put the files in
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    pub network: Network,
    /// Ask this peer too; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Vec<String>,
    /// List the files and sizes, and end
    #[arg(long)]
    pub list: bool,
    /// Stay and serve when all is there
    #[arg(long)]
    pub seed: bool,
    /// Give up if it is not done after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trackerless seed debian.iso
  trackerless seed photos/ --bind 0.0.0.0:6881")]
pub struct Seed {
    /// Files or folders
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub network: Network,
    /// Tell this peer of us; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Vec<String>,
    /// Bytes of a piece, a power of two; by default chosen by size
    #[arg(long, value_name = "BYTES")]
    pub piece_length: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trackerless create debian.iso -o debian.torrent
  trackerless create images/ -o images.torrent --node 10.0.0.1:6881")]
pub struct Create {
    /// File or folder
    pub path: PathBuf,
    /// The .torrent file to write
    #[arg(short, long, value_name = "FILE.torrent")]
    pub output: PathBuf,
    /// A DHT node by which to find peers (BEP 5, `nodes`); repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub node: Vec<String>,
    /// Bytes of a piece, a power of two; by default chosen by size
    #[arg(long, value_name = "BYTES")]
    pub piece_length: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Demo {
    /// Share this file instead of one made for the purpose
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// DHT nodes in the overlay
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=200))]
    pub nodes: u16,
}
