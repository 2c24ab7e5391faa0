//! The command line: what an operator types, and what is said back.
//!
//! `main` calls [`main`]; each command is a file or a folder. `serve` (the default) starts a node; `topics`, `produce`,
//! `consume` and `groups` talk to a running one over the network like any client; `log` works on a data directory that
//! no node has open; `doctor` looks at the machine before anything is started. Only this folder prints: answers on
//! stdout, everything else on stderr.
//!
//! **Exit codes**, see `Ended`: 0 done, 1 failed, 2 wrong usage or settings, 3 the command worked and what it looked at
//! is not well, 4 a comparison was inconclusive, 130 stopped by its user before its end.

#[expect(clippy::disallowed_methods, reason = "measures other processes by real time")]
mod bench;
mod checks;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "prints by real time, to a descriptor")]
mod consume;
mod doctor;
mod escapes;
#[expect(clippy::disallowed_methods, reason = "measures other processes by real time")]
mod gate;
#[expect(clippy::disallowed_methods, reason = "an offset by duration counts from the user's clock")]
mod groups;
mod log;
mod logging;
mod moment;
mod node_args;
mod output;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "reads the user's files by real time, on a thread of its own"
)]
mod produce;
mod serve;
mod topics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use node_args::NodeArgs;
use output::Output;

use crate::client;

/// How a command ended, where it did not simply succeed.
#[derive(Debug)]
enum Ended {
    /// It failed: code 1.
    Failed(String),
    /// Its arguments or the settings are wrong: code 2.
    Usage(String),
    /// The user stopped it: code 130, as shells have it. How far it got is said.
    Interrupted(String),
    /// It worked, and nothing can be said: code 4.
    Inconclusive(String),
    /// It worked, and what it looked at is not well: code 3. The findings were printed.
    Unwell,
}

impl From<client::Error> for Ended {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Stopped => Self::Interrupted("interrupted".to_owned()),
            error => Self::Failed(error.to_string()),
        }
    }
}

#[derive(Parser)]
#[command(
    name = "ringmain",
    version,
    about = "A log storage node for Linux that speaks the Apache Kafka protocol.",
    long_about = LONG_ABOUT,
    after_help = "Without a command, ringmain serves. `ringmain help serve` lists every setting.",
    after_long_help = EXIT_CODES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = false
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Start a node (the default).
    #[command(after_long_help = node_args::settings_help())]
    Serve(NodeArgs),
    /// Create, list, describe, alter or delete topics of a running node.
    Topics(topics::TopicsArgs),
    /// Send lines of files or of stdin as records.
    #[command(after_help = produce::HELP)]
    Produce(Box<produce::ProduceArgs>),
    /// Print records of a topic, alone or as a member of a group.
    #[command(after_help = consume::HELP)]
    Consume(Box<consume::ConsumeArgs>),
    /// List, describe, reset or delete consumer groups.
    Groups(groups::GroupsArgs),
    /// Measure what this host, or a broker, can do.
    #[command(after_help = bench::HELP)]
    Bench(Box<bench::BenchArgs>),
    /// Judge a build, a setting or a broker against another.
    #[command(after_help = gate::HELP)]
    Gate(Box<gate::GateArgs>),
    /// Look into a data directory that no node has open.
    Log(log::LogArgs),
    /// Look at the machine and the settings, and say what would stop a node here or slow it down.
    #[command(after_help = "Changes nothing. Ends with 3 if a node could not be started.")]
    Doctor {
        #[command(flatten)]
        node: NodeArgs,
        /// Print one JSON array instead of lines.
        #[arg(long)]
        json: bool,
    },
}

const LONG_ABOUT: &str = "\
A log storage node for Linux that speaks the Apache Kafka protocol.

Start it with `ringmain`: it listens on 127.0.0.1:9092 and [::1]:9092 and keeps its data in ./data. Point any Kafka
client there; a topic is made when a client first names it. SIGTERM or Ctrl-C stops it cleanly.

  acks=all  is answered when the records would survive a loss of power
  acks=1    is answered when they would survive the death of the process

Something wrong? `ringmain doctor` looks at the kernel, the limits, the disk and the settings, and says how to mend it.";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 the command worked and what it looked at is not well,
4 a comparison was inconclusive, 130 stopped by Ctrl-C before its end.
RINGMAIN_LOG sets what is logged to stderr: error, warn, info (the default), debug, or ringmain::storage=debug,...";

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let args = Args::parse();
    logging::start();
    let mut output = Output::stdout();
    let ended = match args.command.unwrap_or(Command::Serve(args.node)) {
        Command::Serve(node) => serve::run(&node),
        Command::Topics(args) => topics::run(&args, &mut output),
        Command::Produce(args) => produce::run(&args, &mut output),
        Command::Consume(args) => consume::run(&args, &mut output),
        Command::Groups(args) => groups::run(&args, &mut output),
        Command::Bench(args) => bench::run(&args, &mut output),
        Command::Gate(args) => gate::run(&args, &mut output),
        Command::Log(args) => log::run(&args, &mut output),
        Command::Doctor { node, json } => doctor::run(&node, json, &mut output),
    };
    match ended.and_then(|()| output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Failed(why)) => complain(&why, 1),
        Err(Ended::Usage(why)) => complain(&why, 2),
        Err(Ended::Inconclusive(why)) => complain(&why, 4),
        Err(Ended::Interrupted(why)) => complain(&why, 130),
        Err(Ended::Unwell) => ExitCode::from(3),
    }
}

fn complain(why: &str, code: u8) -> ExitCode {
    #[expect(clippy::print_stderr, reason = "the last word of a command that failed goes to its user, not to the log")]
    {
        eprintln!("ringmain: {why}");
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_well_formed() {
        super::Args::command().debug_assert();
    }
}
