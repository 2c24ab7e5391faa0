//! `ringmain bench`: what this host, or a broker, can do.

mod paths;

use clap::{Args, Subcommand};

use super::Ended;
use super::output::Output;

/// What `bench` was asked.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Go one of the pure paths so many times, for callgrind to count.
    #[command(hide = true)]
    Paths(paths::PathsArgs),
}

pub(super) fn run(args: &BenchArgs, output: &mut Output) -> Result<(), Ended> {
    match &args.command {
        Command::Paths(args) => paths::run(args, output),
    }
}
