//! `ringmain log`: what a data directory holds, looked at or brought to rest while no node has it open.

mod dump;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Ended;
use super::output::Output;

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
}

pub(super) fn run(args: &LogArgs, output: &mut Output) -> Result<(), Ended> {
    match &args.action {
        Action::Dump { files, records } => {
            files.iter().try_for_each(|path| dump::run(path, *records, args.json, output))
        }
    }
}
