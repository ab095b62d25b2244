//! `trackerless`: fetch and seed files peer to peer, with no tracker.

mod args;
mod create;
mod demo;
mod exit;
mod get;
mod metadata;
mod report;
mod seed;
mod show;
mod signals;
mod start;
mod target;
mod text;
mod verify;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use exit::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return say(&error),
    };
    init_logs(cli.verbose, cli.quiet);
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(&Failure::Internal(error.to_string())),
    };
    let quiet = cli.quiet;
    let result = runtime.block_on(async move {
        match cli.command {
            Command::Get(args) => get::run(args, quiet).await,
            Command::Seed(args) => seed::run(args, quiet).await,
            Command::Show(args) => show::run(args, quiet).await,
            Command::Verify(args) => verify::run(args, quiet).await,
            Command::Create(args) => create::run(&args, quiet),
            Command::Demo(args) => demo::run(args).await,
        }
    });
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(&failure),
    }
}

/// Help, or what is wrong with the arguments. Help that is lost is told.
fn say(said: &clap::Error) -> ExitCode {
    let printed = said.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !said.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            end(&report::output_lost(&error))
        }
        _ => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)),
    }
}

/// Each peer and each file takes one; the soft limit is low for the sake of programs that use
/// select(2). Where it cannot be raised, it is as it was.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let _ = setrlimit(Resource::Nofile, raised);
}

fn end(failure: &Failure) -> ExitCode {
    report::print_error_line(&format!("trackerless: {failure}"));
    ExitCode::from(failure.code())
}

fn init_logs(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("TRACKERLESS_LOG").unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would panic where standard error has no reader.
        .log_internal_errors(false)
        .init();
}
