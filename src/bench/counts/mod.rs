//! What a build does, counted instead of timed: the half of the gate that a noisy machine cannot blur.
//!
//! ```text
//!   paths      instructions of the pure paths, under callgrind                                     instructions
//!   requests   what a running node does for a request: system calls, ring entries, worker switches,
//!              allocations, copied bytes, hops between shards                                      per request
//! ```
//! `bench::gate` calls both on two programs and compares counts of the same name. A count that only one program has (a
//! system call that the other never makes) stands for 0 in the other, as long as the other could be counted at all.
//!
//! **How.** Each count is a slope: something is done N times, then 3N times, and what the second took more is divided by
//! 2N. What a start, a connection or the counting itself costs cancels; what a node does by itself, in proportion to
//! time, is measured while it idles and taken off. Repeats give a median, and how far they lay apart ([`Count::noise`]).
//!
//! *What it does not do:* judge. Bounds are the gate's.

mod calls;
mod instructions;
mod lockstep;
mod node;
mod requests;
mod shim;

use std::io;
use std::path::{Path, PathBuf};

pub use instructions::{Counter, paths};
pub use requests::requests;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// What was counted, such as `paths/append/64KiB` or `requests/produce-64k/io_uring_enter`.
    pub name: String,
    /// What one of it is, such as `instructions` or `bytes per request`.
    pub unit: &'static str,
    /// The median of the repeats.
    pub value: f64,
    /// The distance between the smallest and the largest of the repeats, in the same unit.
    pub noise: f64,
}

/// All that could be counted of one program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// The figures.
    pub counts: Vec<Count>,
    /// What could not be counted, and why, a line each.
    pub missing: Vec<String>,
}

/// A build, and how it is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its executable.
    pub path: PathBuf,
    /// Variables of its environment, beside ours.
    pub env: Vec<(String, String)>,
    /// Further arguments of `serve`, such as `--set` and `num.partitions=3`.
    pub serve: Vec<String>,
}

/// The programs that count, where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// Counts instructions.
    pub valgrind: Option<PathBuf>,
    /// Lists system calls.
    pub strace: Option<PathBuf>,
    /// Compiles what counts allocations and copies.
    pub cc: Option<PathBuf>,
}

/// Why a program could not be counted at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be started, read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// It did not behave as a node, or as a tool, does.
    #[error("{0}")]
    Strange(String),
}

impl Tools {
    /// What is on the search path of this process.
    #[must_use]
    pub fn find() -> Self {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| std::env::split_paths(&search).map(|dir| dir.join(name)).find(|path| is_program(path));
        Self { valgrind: find("valgrind"), strace: find("strace"), cc: find("cc") }
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

/// The median of the repeats as a count, and how far apart they lay.
fn count(name: String, unit: &'static str, mut repeats: Vec<f64>) -> Count {
    repeats.sort_by(f64::total_cmp);
    let value = repeats.get(repeats.len() / 2).copied().unwrap_or(0.0);
    let noise = repeats.last().zip(repeats.first()).map_or(0.0, |(last, first)| last - first);
    Count { name, unit, value, noise }
}
