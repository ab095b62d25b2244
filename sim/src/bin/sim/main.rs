//! `sim`: tries an overlay or a swarm in virtual time, on the code that ships.
#![allow(clippy::disallowed_types, reason = "a program tells its user how long it took")]

mod args;
mod folder;
mod hunt;
mod output;
mod pcap;
mod run;
mod runner;
mod shorthand;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Exit code of wrong usage, as clap's.
const USAGE: u8 = 2;
/// Exit code where a run did not hold what its scenario promises.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => run::list(&args),
        Command::Explain(args) => run::explain(&args),
        Command::Hunt(args) => hunt::hunt(&args),
        Command::Replay(args) => run::replay(&args),
        Command::Dht(args) => shorthand::dht(&args),
        Command::Swarm(args) => shorthand::swarm(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(INCOMPLETE),
        Err(why) => {
            eprintln!("sim: {why}");
            ExitCode::from(USAGE)
        }
    }
}
