//! `ringmain log`: what a data directory holds, looked at or brought to rest while no node has it open.

mod dump;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Ended;
use super::node_args::this_machine;
use super::output::Output;
use super::serve;
use crate::config::Config;

/// Arguments of `log`.
#[derive(Args)]
pub(super) struct LogArgs {
    #[command(subcommand)]
    action: Action,
    /// Print JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Print the batches of a segment (.log), or the entries of an index (.index, .timeindex).
    #[command(after_help = "After a crash the last bytes of a log are in the journal: run `ringmain log close` first.")]
    Dump {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print the records of each batch too.
        #[arg(long)]
        records: bool,
    },
    /// Read every batch of a directory: checksums, offsets, leader epochs, indexes. Changes nothing.
    #[command(after_help = "Ends with 3 if something is damaged. After a crash the journal is not looked at.")]
    Verify {
        /// The data directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Recover a directory after a crash: write tails and indexes, mark it as cleanly stopped, and exit.
    #[command(after_help = "Then Kafka's own tools read it too. Starting a node recovers just the same.")]
    Close {
        /// The data directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Where a journal is lost, take what the segments show as the truth. Acknowledged records that were in the journal
        /// alone are gone.
        #[arg(long)]
        salvage: bool,
    },
}

pub(super) fn run(args: &LogArgs, output: &mut Output) -> Result<(), Ended> {
    match &args.action {
        Action::Dump { files, records } => {
            files.iter().try_for_each(|path| dump::run(path, *records, args.json, output))
        }
        Action::Verify { dir } => verify::run(dir, args.json, output),
        Action::Close { dir, salvage } => close(dir, *salvage),
    }
}

fn close(dir: &Path, salvage: bool) -> Result<(), Ended> {
    // Where nothing is, closing would make a directory.
    if !dir.is_dir() {
        return Err(Ended::Usage(format!("{}: is no directory", dir.display())));
    }
    let mut config = Config::from_settings(&[], this_machine()).map_err(|error| Ended::Failed(error.to_string()))?;
    config.server.log_dir = dir.to_path_buf();
    config.server.salvage = salvage;
    serve::close(&mut config)
}
