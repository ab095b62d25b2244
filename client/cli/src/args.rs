//! The command line.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
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

/// Lengths of pieces that can be asked for, in bytes: from a block (BEP 3) to what is read
/// (`wire::metainfo`).
const PIECE_LENGTHS: RangeInclusive<u32> = 16 << 10..=512 << 20;

const EXAMPLES: &str = "\
Examples:
  trackerless demo                         see it work, on this machine alone
  trackerless get 4a533d47ec9c...          fetch by bare info-hash
  trackerless get 'magnet:?xt=urn:btih:...' -o ~/Downloads
  trackerless seed debian.iso              serve a file; prints its magnet link
  trackerless show debian.torrent          what it holds, and its magnet link
  trackerless verify debian.torrent .      whether what lies here is whole

Exit codes:
  0 done   1 internal error   2 wrong usage   3 not found or out of time
  4 network   5 disk   6 torrent refused   130 interrupted   143 terminated
Ctrl-C is how one ends `seed`, and `get --seed` once all is there: they end with 0 then.";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Fetch torrents by magnet link, info-hash or .torrent file
    Get(Get),
    /// Hash files or folders and serve them
    Seed(Seed),
    /// Tell what a torrent holds: name, sizes, files
    Show(Show),
    /// Hash what lies in a folder against a torrent, and write nothing
    Verify(Verify),
    /// Write a .torrent file
    Create(Create),
    /// The main job on this machine alone: an overlay of 32 nodes, a seed, and a download
    Demo(Demo),
}

/// Where to listen and whom to ask.
#[derive(Args, Debug, Clone)]
pub struct Network {
    /// Listen here, for peers (TCP) and the DHT (UDP); repeatable, for IPv4 and IPv6. Port 0 is
    /// any free one. Peers of a family that is not named are not dialled
    #[arg(long, value_name = "ADDR:PORT")]
    pub bind: Vec<SocketAddr>,
    /// Enter the DHT by this node; repeatable; replaces the public ones
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
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
  trackerless get image.torrent --seed -o DIR   serve what lies in DIR by a torrent that you have
  trackerless get HASH --no-dht --peer 192.168.1.5:6881
  trackerless get MAGNET --list            numbers, sizes and names of its files, no download
  trackerless get MAGNET --select 0,3-5    these files, and no others")]
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
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub peer: Vec<String>,
    /// List the files with their numbers and sizes, and end
    #[arg(long)]
    pub list: bool,
    /// Fetch these files alone, by the numbers of --list
    #[arg(long, value_name = "NUMBERS", value_parser = selection, conflicts_with = "list")]
    pub select: Option<Selection>,
    /// Take the room for the files at the start; what is kept beside them still grows
    #[arg(long)]
    pub preallocate: bool,
    /// Read all that is there, also what an earlier run has found right
    #[arg(long, conflicts_with = "list")]
    pub recheck: bool,
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
    /// Files or folders; symbolic links in a folder are left out
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub network: Network,
    /// Tell this peer of us; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub peer: Vec<String>,
    /// Bytes of a piece, a power of two; by default chosen by size
    #[arg(long, value_name = "BYTES", value_parser = piece_length)]
    pub piece_length: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trackerless show debian.torrent
  trackerless show 'magnet:?xt=urn:btih:...' --json
  trackerless show HASH --no-dht --peer 192.168.1.5:6881")]
pub struct Show {
    /// Magnet link, info-hash (40 hex or 32 base32 digits) or .torrent file; for the first two the
    /// info dict is fetched from peers, and nothing else
    #[arg(value_name = "MAGNET|INFO_HASH|FILE.torrent")]
    pub target: String,
    #[command(flatten)]
    pub network: Network,
    /// Ask this peer too; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub peer: Vec<String>,
    /// Give up if it is not known after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trackerless verify image.torrent /srv/images
  trackerless verify image.torrent . --json

Each file is told with its right pieces and all that have bytes of it:
  whole       all of it is right
  wrong       something in it is not
  short       it ends too early
  long        it goes on beyond its end
  missing     it is not there
  unreadable  the disk refuses it, or something else lies in its place
  unsure      what can be told of it is right; the rest shares a piece with one that is missing,
              short or unreadable")]
pub struct Verify {
    /// The .torrent file
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// The folder that the torrent's files lie beneath, as of `get -o`: of a torrent of several files
    /// the one that its own folder lies in
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print events, one JSON object a line
    #[arg(long)]
    pub json: bool,
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
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub node: Vec<(String, u16)>,
    /// Bytes of a piece, a power of two; by default chosen by size
    #[arg(long, value_name = "BYTES", value_parser = piece_length)]
    pub piece_length: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trackerless demo
  trackerless demo --file debian.iso       needs its size once more, beneath TMPDIR")]
pub struct Demo {
    /// Share this file instead of one made for the purpose
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// DHT nodes in the overlay
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=200))]
    pub nodes: u16,
}

/// A host and a port, which is not 0. The host is not resolved yet; a v6 address stands in brackets.
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("a port is missing, as in {text}:6881"));
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (bare, port.parse()) {
        (_, Err(_) | Ok(0)) => Err("the port must be a number from 1 to 65535".into()),
        (Some(host), Ok(port)) if host.parse::<Ipv6Addr>().is_ok() => Ok((host.to_owned(), port)),
        (None, Ok(port)) if !host.is_empty() && !host.contains([':', '[', ']']) => {
            Ok((host.to_owned(), port))
        }
        _ if host.is_empty() => Err("a host is missing, as in 192.0.2.1:6881".into()),
        _ => Err("an IPv6 address stands in brackets, as in [2001:db8::1]:6881".into()),
    }
}

fn host_port(text: &str) -> Result<String, String> {
    host_and_port(text).map(|_| text.to_owned())
}

/// Numbers of files.
#[derive(Debug, Clone)]
pub struct Selection(pub Vec<u32>);

fn selection(text: &str) -> Result<Selection, String> {
    let files = wire::magnet::select(text).filter(|files| !files.is_empty());
    files.map(Selection).ok_or_else(|| "numbers and ranges are wanted, as in 0,3-5".into())
}

/// Bytes of a piece, as other programs take them too.
fn piece_length(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|length: &u32| length.is_power_of_two() && PIECE_LENGTHS.contains(length))
        .ok_or_else(|| {
            let (least, most) = PIECE_LENGTHS.into_inner();
            format!("must be a power of two from {least} to {most}")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_host_and_its_port() {
        for (text, host, port) in [
            ("a.example:1", "a.example", 1),
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("[::1]:6881", "::1", 6881),
        ] {
            assert_eq!(host_and_port(text), Ok((host.to_owned(), port)));
            assert_eq!(host_port(text), Ok(text.to_owned()));
        }
        for text in
            ["", "a", "a:", "a:0", "a:65536", ":1", "::1:1", "[::1]", "[a]:1", "[]:1", "a]:1"]
        {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_pieces() {
        assert_eq!(piece_length("16384"), Ok(16_384));
        assert_eq!(piece_length("536870912"), Ok(536_870_912));
        for text in ["", "0", "8192", "20000", "1073741824", "-1", "99999999999"] {
            assert!(piece_length(text).is_err(), "{text}");
        }
    }
}
