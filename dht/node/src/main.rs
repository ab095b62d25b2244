//! `dht-node`: the command line of the DHT node.

mod cli;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Args, Failure, note};

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.common.verbose, args.common.quiet);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            note(&format!("error: {failure}\n"));
            failure.code()
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(args.run());
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    done
}

/// Logs to stderr: warnings, more with each `-v`, errors only with `-q`; `RUST_LOG` wins.
fn start_log(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
