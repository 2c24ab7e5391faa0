//! `ringmain bench`: what this host, or a broker, can do.
//!
//! ```text
//!   run       the rows of a suite against a node of its own or a broker: progress, tables, JSON, HTML
//!   table     what is printed
//!   floor     what this machine does without a broker, and the hidden server of it
//!   merge     reports of several runs made one, with comparisons
//!   paths     hidden: one pure path, for callgrind
//! ```

mod floor;
mod merge;
mod paths;
mod run;
mod table;

pub(super) use run::save;
pub(super) use table::comparisons;

use clap::{Args, Subcommand};

use super::Ended;
use super::output::Output;

/// What `bench` was asked.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make one report of several runs, with the brokers compared.
    Report(merge::MergeArgs),
    /// Measure what this machine does with the same bytes and no broker, stage by stage.
    #[command(after_help = floor::HELP)]
    Floor(floor::FloorArgs),
    /// Be the server of one stage of the floor.
    #[command(hide = true)]
    FloorServer(floor::ServerArgs),
    /// Go one of the pure paths so many times, for callgrind to count.
    #[command(hide = true)]
    Paths(paths::PathsArgs),
}

pub(super) fn run(args: &BenchArgs, output: &mut Output) -> Result<(), Ended> {
    match &args.command {
        Some(Command::Report(args)) => merge::run(args, output),
        Some(Command::Floor(args)) => floor::run(args, output),
        Some(Command::FloorServer(args)) => floor::serve(args, output),
        Some(Command::Paths(args)) => paths::run(args, output),
        None => run::run(&args.run, output),
    }
}

pub(super) const HELP: &str = "\
Without --bootstrap a node is started on a scratch directory, measured, and stopped: a benchmark of this host, in under two
minutes. With it, any broker that speaks the Kafka protocol is measured.

  ringmain bench                                              this host: tables, and ringmain-bench.html
  ringmain bench --suite full --data /mnt/nvme/scratch        ten times as long, on another disk
  ringmain bench --bootstrap broker:9092 --rows produce-64k,small
  ringmain bench --bootstrap broker:9092 --rows half-rate --rate 800 --acks 1
  ringmain bench --list                                       the rows and their questions

Rows that saturate send as fast as they are answered (closed loop). Rows with a rate send at fixed moments whatever the
answers do (open loop), and a latency counts from the moment at which its request was meant to be sent. Batches are
encoded before the clock starts. Numbers given as flags replace those of every row that is run.";
