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
/// Exit code after Ctrl-C, as a shell tells of SIGINT.
const INTERRUPTED: u8 = 130;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// All held what it promises.
    Held,
    /// It did not.
    Broken,
    /// The user did not wait for all of it.
    Interrupted,
}

impl From<bool> for End {
    fn from(held: bool) -> End {
        if held { End::Held } else { End::Broken }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => run::list(&args).map(End::from),
        Command::Explain(args) => run::explain(&args).map(End::from),
        Command::Hunt(args) => hunt::hunt(&args).map(End::from),
        Command::Replay(args) => run::replay(&args).map(End::from),
        Command::Dht(args) => shorthand::dht(&args).map(End::from),
        Command::Swarm(args) => shorthand::swarm(&args).map(End::from),
    };
    match done {
        Ok(End::Held) => ExitCode::SUCCESS,
        Ok(End::Broken) => ExitCode::from(INCOMPLETE),
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(why) => {
            eprintln!("sim: {why}");
            ExitCode::from(USAGE)
        }
    }
}
