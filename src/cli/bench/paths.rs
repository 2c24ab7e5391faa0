//! `ringmain bench paths`: the pure paths, one at a time, for a program that counts what another one does.

use clap::Args;

use super::super::Ended;
use super::super::output::Output;
use crate::bench::paths;

#[derive(Args, Debug)]
pub(super) struct PathsArgs {
    /// Go this path.
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    path: Option<String>,
    /// So many times.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    iterations: u64,
    /// List the paths: a name a line, and how many iterations are worth counting.
    #[arg(long, conflicts_with_all = ["path", "iterations"])]
    list: bool,
}

pub(super) fn run(args: &PathsArgs, output: &mut Output) -> Result<(), Ended> {
    let Some(name) = &args.path else {
        for path in paths::all() {
            output.line(format_args!("{} {}", path.name(), path.counted()));
        }
        return Ok(());
    };
    let path = paths::named(name);
    let path =
        path.ok_or_else(|| Ended::Usage(format!("no path {name:?}: `ringmain bench paths --list` names all")))?;
    if args.iterations > path.limit() {
        return Err(Ended::Usage(format!("{name} can be gone {} times at the most", path.limit())));
    }
    path.run(args.iterations);
    Ok(())
}
