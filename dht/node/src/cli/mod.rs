//! Arguments, and which command they start.

mod announce;
mod bootstrap;
mod contacts;
mod failure;
mod find_node;
mod get;
mod key_file;
mod lookup;
mod output;
mod ping;
mod put;
mod sample;
mod scrape;
mod session;
mod size;
mod status;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand};
use wire::Id;

pub(crate) use failure::Failure;
pub(crate) use output::note;

/// A node of the BitTorrent DHT: run one, or ask the DHT from the command line.
#[derive(Parser, Debug)]
#[command(name = "dht-node", version, about, long_about = None)]
#[command(after_help = "\
Examples:
  dht-node bootstrap --bind 127.0.0.1:6881 --data-dir ./node
      found an overlay of your own, which others join by --bootstrap 127.0.0.1:6881
  dht-node lookup 2c6b6858d61da9543d4231a71db4b1c9264b0685
      find peers in the public DHT
  dht-node lookup --bootstrap 127.0.0.1:6881 --json 2c6b6858d61da9543d4231a71db4b1c9264b0685
      ... in your own overlay, one JSON object a line
  dht-node put 'Hello World!'
      store a text that others get by its hash

Exit codes:
  0 found or done   1 internal error, or a file that cannot be used   2 wrong usage
  3 nobody answered or nothing found in time   4 cannot bind or resolve
  5 another item is stored than put was to replace")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of all commands.
#[derive(ClapArgs, Debug)]
pub(crate) struct Common {
    /// Ask this node first; repeatable. Replaces the public bootstrap hosts.
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = host_port)]
    bootstrap: Vec<String>,

    /// Use this UDP address; repeatable, one for each address of the host. Port 0 lets the system choose.
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    bind: Vec<SocketAddr>,

    /// The folder where `bootstrap` keeps its ids and contacts; it is made if it does not exist. Other
    /// commands ask the contacts that were saved there, and not the public bootstrap hosts.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Print one JSON object a line.
    #[arg(long, global = true)]
    json: bool,

    /// Log more to stderr; repeatable.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print results only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How long a command may take.
#[derive(ClapArgs, Debug, Clone, Copy)]
struct Patience {
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    timeout: f64,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node until it is stopped: join an overlay, or found one that others join.
    Bootstrap(bootstrap::Bootstrap),
    /// Find the peers of a torrent; prints each as it is found.
    Lookup(lookup::Lookup),
    /// Tell the DHT that a peer on this host has a torrent.
    Announce(announce::Announce),
    /// Ask one node whether it is there.
    Ping(ping::Ping),
    /// Find the nodes closest to an id.
    FindNode(find_node::FindNode),
    /// Count the seeds and peers of a torrent.
    Scrape(scrape::Scrape),
    /// Hear of torrents that nodes know.
    Sample(sample::Sample),
    /// Get a small item that somebody stored in the DHT.
    Get(get::Get),
    /// Store a small item in the DHT.
    Put(put::Put),
    /// Make a key for items that can be changed.
    Keygen(key_file::Keygen),
    /// Estimate how many nodes there are.
    Size(size::Size),
    /// Ask a running node how it is.
    Status(status::Status),
    /// Print the contacts that a node saved, or add to them.
    Contacts(contacts::Contacts),
}

impl Args {
    /// Does what the arguments say.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Args { common, command } = self;
        match command {
            Command::Bootstrap(command) => command.run(&common).await,
            Command::Lookup(command) => command.run(&common).await,
            Command::Announce(command) => command.run(&common).await,
            Command::Ping(command) => command.run(&common).await,
            Command::FindNode(command) => command.run(&common).await,
            Command::Scrape(command) => command.run(&common).await,
            Command::Sample(command) => command.run(&common).await,
            Command::Get(command) => command.run(&common).await,
            Command::Put(command) => command.run(&common).await,
            Command::Keygen(command) => command.run(&common),
            Command::Size(command) => command.run(&common).await,
            Command::Status(command) => command.run(&common),
            Command::Contacts(command) => command.run(&common),
        }
    }
}

/// `HOST:PORT` with a port; the host is not resolved yet.
fn host_port(text: &str) -> Result<String, String> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains(':') => {
            match port.parse::<u16>() {
                Ok(1..) => Ok(text.to_owned()),
                _ => Err("the port must be a number from 1 to 65535".into()),
            }
        }
        Some(_) => Err("an IPv6 address stands in brackets, as in [2001:db8::1]:6881".into()),
        None => Err(format!("a port is missing, as in {text}:6881")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(secs) if secs > 0.0 && secs <= 86_400.0 => Ok(secs),
        _ => Err("not a number of seconds between 0 and 86400".into()),
    }
}

/// An id or info-hash of 40 hexadecimal digits.
fn id(text: &str) -> Result<Id, String> {
    text.parse().map_err(|error| format!("{error}; an info-hash looks like {}", Id([0xa5; 20])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn bootstrap_contacts_need_a_host_and_a_port() {
        for good in ["127.0.0.1:1", "[::1]:6881", "router.example:6881"] {
            assert_eq!(host_port(good), Ok(good.to_owned()));
        }
        for bad in ["router.example", "router.example:0", "host:99999", ":6881", "::1:6881", ""] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_positive() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "NaN", "inf", "x", "1e9"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
