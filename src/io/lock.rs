//! The lock of a data directory: `<log.dir>/.lock`, as Kafka names it.
//!
//! An open-file-description lock (fcntl(2), F_OFD_SETLK): it conflicts with the lock that Kafka's own broker takes on the
//! same file, and it belongs to the open file, not to the process. Every ring registers that file, so the kernel frees
//! the lock only when the last ring has ended, and with it the last write of a killed node (design, section 2.1). A node
//! that starts meanwhile waits here, and reads nothing before it holds the lock.
#![expect(unsafe_code, reason = "open-file-description locks have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A held lock. Freed when the last clone and every ring that has it registered are gone.
#[derive(Clone, Debug)]
pub struct Lock(Arc<File>);

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("{} is in use by another process{}; waited {} s", path.display(), owner.map_or_else(String::new, |pid| format!(" (pid {pid})")), waited.as_secs())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote its number into it. It may have been killed and still have writes under way.
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

/// How long a start waits for the writes of a killed node to end.
pub const WAIT: Duration = Duration::from_secs(60);

/// Locks the directory, waiting up to `wait` for its present owner; `waiting` is called once when it has to wait.
///
/// # Errors
/// See [`Error`].
pub fn acquire(dir: &Path, wait: Duration, waiting: impl FnOnce(&Error)) -> Result<Lock, Error> {
    let path = dir.join(NAME);
    let failed = |source| Error::Io { path: path.clone(), source };
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let begun = Instant::now();
    let mut waiting = Some(waiting);
    while !try_lock(&file).map_err(failed)? {
        let in_use = Error::InUse { path: path.clone(), owner: owner(&file), waited: begun.elapsed() };
        if begun.elapsed() >= wait {
            return Err(in_use);
        }
        if let Some(waiting) = waiting.take() {
            waiting(&in_use);
        }
        std::thread::sleep(RETRY);
    }
    // For the message of the next one that comes; nothing depends on it.
    let _ = file.set_len(0).and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
    Ok(Lock(Arc::new(file)))
}

impl AsRawFd for Lock {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: an all-zero flock is the whole file from its start.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).expect("a small constant");
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).expect("a small constant");
    // SAFETY: the descriptor is open and the structure outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, std::ptr::from_ref(&lock)) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

fn owner(file: &File) -> Option<u32> {
    let mut digits = [0_u8; 16];
    let count = file.read_at(&mut digits, 0).ok()?;
    std::str::from_utf8(&digits[..count]).ok()?.trim().parse().ok()
}

/// The file's name, which is Kafka's (`LogManager.LockFileName`).
pub const NAME: &str = ".lock";

/// Between two tries.
const RETRY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Error, acquire};

    #[test]
    fn a_second_owner_waits_and_is_told_who_has_it() {
        let dir = crate::io::files::scratch_dir();
        let first = acquire(dir.path(), Duration::ZERO, |_| panic!("nobody has it")).expect("free");
        let mut said = 0;
        let refused = acquire(dir.path(), Duration::from_millis(50), |_| said += 1).expect_err("taken");
        assert_eq!(said, 1);
        assert!(matches!(refused, Error::InUse { owner: Some(pid), waited, .. }
            if pid == std::process::id() && waited >= Duration::from_millis(50)));
        let clone = first.clone();
        drop(first);
        acquire(dir.path(), Duration::ZERO, |_| {}).expect_err("a clone still has it");
        drop(clone);
        acquire(dir.path(), Duration::ZERO, |_| {}).expect("free again");
    }
}
