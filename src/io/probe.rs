//! Whether io_uring can be used here, and if not, why and what to do.
//!
//! Asked before anything is started, by `serve` and by `doctor`: glommio panics where io_uring is blocked, and the error
//! number alone misleads (Docker answers EPERM, as does a sysctl). So each refusal is matched with the live value that
//! explains it.

use std::fs;
use std::io;

use super::buf::Pool;
use super::receive::Provided;
use super::ring::Ring;

/// Why io_uring cannot be used, with the live values and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The sysctl forbids it.
    #[error("io_uring is switched off: kernel.io_uring_disabled = {value}. Run: sysctl -w kernel.io_uring_disabled=0")]
    Sysctl {
        /// kernel.io_uring_disabled: 1 for those without privilege, 2 for all.
        value: u32,
    },
    /// A seccomp filter refuses the calls.
    #[error(
        "io_uring is blocked by a seccomp filter ({error}; Seccomp: {mode} in /proc/self/status, \
         kernel.io_uring_disabled = {}): Docker 25 and containerd 2 do so by default. \
         Run with: --security-opt seccomp=docker/seccomp.json", sysctl.map_or_else(|| "absent".to_owned(), |value| value.to_string())
    )]
    Seccomp {
        /// EPERM or ENOSYS or EACCES, in words.
        error: String,
        /// The live mode: 2 is a filter.
        mode: u32,
        /// kernel.io_uring_disabled where there is one.
        sysctl: Option<u32>,
    },
    /// The kernel, or what poses as one, has no io_uring, or one before 5.11.
    #[error(
        "this kernel ({release}) has no io_uring that can be used (ENOSYS): Linux 5.11 or later is needed; gVisor has none"
    )]
    Missing {
        /// `uname -r`.
        release: String,
    },
    /// Locked memory is too small.
    #[error(
        "locked memory is limited to {limit_bytes} bytes, {needed_bytes} are needed: ulimit -l unlimited, LimitMEMLOCK=infinity, or docker run --ulimit memlock=-1"
    )]
    Memlock {
        /// The live soft limit.
        limit_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// No descriptors are left.
    #[error("too many open files ({error}): the limit is {limit}. Raise it with ulimit -n or LimitNOFILE")]
    Files {
        /// EMFILE or ENFILE, in words.
        error: String,
        /// The live soft limit.
        limit: u64,
    },
    /// Something else.
    #[error("io_uring cannot be used: {error}")]
    Other {
        /// What the kernel said.
        error: String,
    },
}

/// What a working ring looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which rung of the flag ladder was taken.
    pub rung: Rung,
    /// Whether receives can pick a buffer only when bytes are there (5.19).
    pub provided_buffers: bool,
    /// Whether a sleeping shard can be kept out of the I/O wait figure (6.15).
    pub no_iowait: bool,
}

/// The setup flags of a ring, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// SINGLE_ISSUER | DEFER_TASKRUN (6.1).
    Defer,
    /// COOP_TASKRUN | TASKRUN_FLAG (5.19).
    Coop,
    /// None.
    Plain,
}

/// Makes a ring, looks at it, and throws it away.
///
/// # Errors
/// Why it cannot be made.
pub fn io_uring() -> Result<Facts, Blocked> {
    let ring = Ring::new(8, Rung::Defer).map_err(|error| explain(&error))?;
    let pool = Pool::new(64 << 10);
    let provided = Provided::register(&ring, &pool, 4 << 10);
    let limit_bytes = soft_limit(rustix::process::Resource::Memlock);
    if limit_bytes < MEMLOCK_BYTES_MIN {
        return Err(Blocked::Memlock { limit_bytes, needed_bytes: MEMLOCK_BYTES_MIN });
    }
    let facts = Facts { provided_buffers: provided.is_ok(), ..ring.facts() };
    // The ring goes before the memory that it knows.
    drop(ring);
    drop(provided);
    Ok(facts)
}

fn explain(error: &io::Error) -> Blocked {
    let sysctl = read_number("/proc/sys/kernel/io_uring_disabled");
    let mode = seccomp_mode();
    match error.raw_os_error() {
        Some(libc::EPERM) if sysctl.is_some_and(|value| value > 0) => Blocked::Sysctl { value: sysctl.unwrap_or(0) },
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if mode > 0 => {
            Blocked::Seccomp { error: error.to_string(), mode, sysctl }
        }
        Some(libc::ENOSYS) => {
            Blocked::Missing { release: rustix::system::uname().release().to_string_lossy().into_owned() }
        }
        Some(libc::ENOMEM) => Blocked::Memlock {
            limit_bytes: soft_limit(rustix::process::Resource::Memlock),
            needed_bytes: MEMLOCK_BYTES_MIN,
        },
        Some(libc::EMFILE | libc::ENFILE) => {
            Blocked::Files { error: error.to_string(), limit: soft_limit(rustix::process::Resource::Nofile) }
        }
        _ => Blocked::Other { error: error.to_string() },
    }
}

fn soft_limit(resource: rustix::process::Resource) -> u64 {
    rustix::process::getrlimit(resource).current.unwrap_or(u64::MAX)
}

fn read_number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn seccomp_mode() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// What glommio's executor asks for; a ring before 5.12 needs some too.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Blocked, explain};

    #[test]
    fn refusals_name_the_live_value_and_the_fix() {
        let of = |code| explain(&io::Error::from_raw_os_error(code));
        assert!(matches!(of(libc::EMFILE), Blocked::Files { limit, .. } if limit > 0));
        assert!(matches!(of(libc::ENOMEM), Blocked::Memlock { .. }));
        assert!(of(libc::EMFILE).to_string().contains("ulimit -n"));
        let text = Blocked::Sysctl { value: 2 }.to_string();
        assert!(text.contains("= 2") && text.contains("sysctl -w"), "{text}");
    }
}
