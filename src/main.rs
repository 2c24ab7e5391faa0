//! The program: reads the command line and hands over to [`ringmain::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmain::cli::main()
}
