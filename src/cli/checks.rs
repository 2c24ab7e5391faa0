//! What a node needs of the machine, each need as one [`Check`]: found, how bad, and how to mend it.
//!
//! `doctor` runs them all and prints them; `serve` runs those of the machine and the directory, logs the warnings and
//! refuses on the first fatal one in the same words.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Listener};
use crate::io::device::{self, Device, FlushScope, Proof};
use crate::io::probe::Blocked;
use crate::io::socket::{Bound, Socket};
use crate::io::{lock, machine, probe};
use crate::storage::recovery::OWN_DIR;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A node runs, slower or with less than it could have.
    Warning,
    /// No node can run here.
    Fatal,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, with its live value.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), fix: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    fn fatal(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Fatal, found: found.into(), fix: Some(fix.into()) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.found)?;
        self.fix.as_ref().map_or(Ok(()), |fix| write!(f, ". {fix}"))
    }
}

/// Kernel, limits, memory and cores.
pub(super) fn of_machine(config: &Config) -> Vec<Check> {
    let mut checks = ring();
    checks.extend([open_files(), memory(config), cores(config)]);
    checks
}

/// The data directory, or where it will be made.
pub(super) fn of_directory(config: &Config) -> Vec<Check> {
    let dir = &config.server.log_dir;
    let mut checks = vec![writable(dir)];
    let Some(there) = nearest_existing(dir) else { return checks };
    checks.extend(space(&there, config.storage.reserve_bytes, dir.join(OWN_DIR).is_dir()));
    match device::look(&there) {
        Ok(device) => {
            checks.push(direct(&device));
            if let Some(check) = overlay(&device) {
                checks.push(check);
            }
        }
        Err(error) => checks.push(Check::fatal("device", format!("{}: {error}", there.display()), "is it mounted?")),
    }
    checks
}

/// How a flush of the directory is made to count. Only for a directory that may be written to.
pub(super) fn of_flush(dir: &Path) -> Result<(Device, Proof, Vec<Check>), Check> {
    let unknown = |error| Check::fatal("flush", format!("{}: {error}", dir.display()), "Is the device well? See dmesg");
    let device = device::look(dir).map_err(unknown)?;
    let proof = device::prove(dir, &device).map_err(unknown)?;
    let mut checks = Vec::new();
    match proof.scope {
        FlushScope::Device => checks.push(Check::ok("flush", "one flush for the device and window: proven")),
        FlushScope::File => {
            let why = proof.reasons.join("; ");
            checks.push(Check::ok("flush", format!("one flush for each file ({why})")));
        }
    }
    for warning in &proof.warnings {
        let found = format!("{warning}: this mount cannot promise that acks=all survives a loss of power");
        checks.push(Check::warning("flush", found, "Use a mount that keeps what it has flushed"));
    }
    Ok((device, proof, checks))
}

/// Whether another process has the directory. Changes nothing.
pub(super) fn in_use(dir: &Path) -> Option<Check> {
    if !dir.join(".lock").exists() {
        return None;
    }
    match lock::acquire(dir, Duration::ZERO, |_| ()) {
        Ok(_freed_at_once) => Some(Check::ok("lock", format!("{} is free", dir.display()))),
        Err(error) => Some(locked(&error)),
    }
}

/// What to say of a directory that could not be locked.
pub(super) fn locked(error: &lock::Error) -> Check {
    Check::fatal("lock", error.to_string(), "Stop the other node, or give this one its own directory: --data DIR")
}

/// Whether the ports are free at this moment.
pub(super) fn of_listeners(config: &Config) -> Vec<Check> {
    let check = |listener: &Listener, to: ListenTo| match bind(listener, to, Duration::ZERO) {
        Ok(_freed_at_once) => Check::ok(to.name(), format!("{listener} is free")),
        Err(check) => check,
    };
    let clients = config.listeners.iter().map(|listener| check(listener, ListenTo::Clients));
    clients.chain(config.metrics.iter().map(|listener| check(listener, ListenTo::Http))).collect()
}

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenTo {
    /// `listeners`.
    Clients,
    /// `metrics.listener`.
    Http,
}

impl ListenTo {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "listener",
            Self::Http => "metrics",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Clients => "listeners",
            Self::Http => "metrics.listener",
        }
    }

    fn elsewhere(self) -> &'static str {
        match self {
            Self::Clients => "--listeners 127.0.0.1:9093",
            Self::Http => "--metrics 127.0.0.1:9645",
        }
    }
}

/// Takes an address, or says why that cannot be done. One that is in use is tried again for so long.
pub(super) fn bind(listener: &Listener, to: ListenTo, patience: Duration) -> Result<Bound, Check> {
    Bound::within(listener.address, patience).map_err(|error| refused(listener, to, &error))
}

/// Listens at an address that was taken, or says why that cannot be done.
pub(super) fn listen(listener: &Listener, to: ListenTo, bound: Bound) -> Result<Socket, Check> {
    bound.listen().map_err(|error| refused(listener, to, &error))
}

fn refused(listener: &Listener, to: ListenTo, error: &std::io::Error) -> Check {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let (name, key, elsewhere, port) = (to.name(), to.key(), to.elsewhere(), listener.address.port());
    match error.kind() {
        AddrInUse => Check::fatal(
            name,
            format!("{listener} is taken by another process"),
            format!("`ss -ltnp 'sport = :{port}'` names it; stop it, or listen elsewhere: {elsewhere}"),
        ),
        AddrNotAvailable if listener.optional => {
            Check::warning(name, format!("{listener}: this host has no IPv6"), "Clients reach it by 127.0.0.1")
        }
        AddrNotAvailable => Check::fatal(
            name,
            format!("{listener} is no address of this host"),
            format!("`ip address` lists them; set {key} to one of those"),
        ),
        PermissionDenied => Check::fatal(
            name,
            format!("{listener}: {error}"),
            "Ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; choose a higher one",
        ),
        _ => Check::fatal(name, format!("{listener}: {error}"), format!("Set {key} to another address")),
    }
}

/// io_uring, and the memory that it locks: too little of that is one finding.
fn ring() -> Vec<Check> {
    let kernel = machine::kernel_release();
    let ring = match probe::io_uring() {
        Ok(facts) => {
            let buffers = if facts.provided_buffers { "" } else { ", no provided buffers" };
            let wait = if facts.no_iowait { "" } else { ", sleep counts as I/O wait" };
            Check::ok("io_uring", format!("works (kernel {kernel}, {:?} task work{buffers}{wait})", facts.rung))
        }
        Err(Blocked::Memlock { limit_bytes, needed_bytes }) => {
            let (limit, needed) = (limit_bytes >> 10, needed_bytes >> 10);
            let found = format!("{limit} KiB (RLIMIT_MEMLOCK), {needed} KiB are needed for the housekeeping ring");
            let fix = "Raise it: `ulimit -l unlimited`, LimitMEMLOCK=infinity, or docker run --ulimit memlock=-1";
            return vec![Check::fatal("locked memory", found, fix)];
        }
        Err(blocked) => Check::fatal("io_uring", blocked.to_string(), "There is no way to run without io_uring"),
    };
    let locked = machine::locked_memory().soft.map_or("no limit".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    vec![ring, Check::ok("locked memory", locked)]
}

fn open_files() -> Check {
    let limit = machine::open_files();
    match limit.hard {
        None => Check::ok("open files", "no limit"),
        Some(hard) if hard >= OPEN_FILES_MIN => {
            Check::ok("open files", format!("{hard} (the soft limit is raised to it)"))
        }
        Some(hard) => Check::warning(
            "open files",
            format!("{hard} (RLIMIT_NOFILE, hard)"),
            format!(
                "Each connection and each open segment takes one; raise it to {OPEN_FILES_MIN} or more: `ulimit -n`, \
                 LimitNOFILE=, or docker run --ulimit nofile={OPEN_FILES_MIN}"
            ),
        ),
    }
}

fn memory(config: &Config) -> Check {
    let (figure, there) = (config.server.memory.total_bytes() as u64, machine::memory_bytes());
    let found = format!("{} MiB of {} MiB", figure >> 20, there >> 20);
    if figure > there / 4 * 3 {
        let fix = "The kernel and the page cache need some too: set --memory to half of it or less";
        return Check::warning("memory", found, fix);
    }
    Check::ok("memory", found)
}

fn cores(config: &Config) -> Check {
    let (shards, cores) = (config.server.shards, super::node_args::this_machine().cores);
    let found = format!("{shards} shards on {cores} usable cores");
    if shards > cores {
        return Check::warning(
            "cores",
            found,
            format!("Shards that share a core wait for each other: --shards {cores}"),
        );
    }
    Check::ok("cores", found)
}

fn writable(dir: &Path) -> Check {
    let Some(there) = nearest_existing(dir) else {
        return Check::fatal("data directory", format!("{} is not there", dir.display()), "Make it, or set log.dirs");
    };
    let (uid, _) = machine::identity();
    match machine::may_write(&there) {
        Ok(()) if there == dir => Check::ok("data directory", format!("{} may be written to", dir.display())),
        Ok(()) => Check::ok("data directory", format!("{} will be made", dir.display())),
        Err(error) => {
            let owner = machine::owner(&there).map_or_else(
                |_| String::new(),
                |(owner, _, mode)| {
                    format!("; it belongs to user {owner} with mode {mode:o}, and this process is user {uid}")
                },
            );
            Check::fatal(
                "data directory",
                format!("{} cannot be written to: {error}{owner}", there.display()),
                format!("`chown -R {uid} {}`, or set log.dirs to another directory", there.display()),
            )
        }
    }
}

/// A directory that is in use starts on a full disk too: its records can be read, and retention can make space.
fn space(dir: &Path, reserve: u64, in_use: bool) -> Option<Check> {
    let free = machine::free_bytes(dir).ok()?;
    let found = format!("{} MiB free of which {} MiB are kept in reserve", free >> 20, reserve >> 20);
    Some(if free <= reserve {
        let fix = "Appends would be refused: free some space, lower log.retention.bytes, or set segment.reserve.bytes";
        if in_use { Check::warning("disk space", found, fix) } else { Check::fatal("disk space", found, fix) }
    } else if free < reserve.saturating_mul(4) {
        Check::warning("disk space", found, "Free some space, or bound the topics by retention.bytes")
    } else {
        Check::ok("disk space", found)
    })
}

fn direct(device: &Device) -> Check {
    let mount = &device.mount;
    let place = format!("{} on {}", mount.kind, mount.point.display());
    if device.direct.memory == 0 {
        return Check::fatal(
            "direct I/O",
            format!("{place} has no O_DIRECT (stx_dio_mem_align = 0)"),
            "Put log.dirs on ext4 or XFS; in Docker, on a volume",
        );
    }
    let cache = match device.write_back {
        Some(true) => "volatile write cache",
        Some(false) => "no volatile write cache",
        None => "write cache unknown",
    };
    Check::ok("direct I/O", format!("{place}, blocks of {} bytes, {cache}", device.block_bytes))
}

fn overlay(device: &Device) -> Option<Check> {
    (device.mount.kind == "overlay").then(|| {
        Check::warning(
            "file system",
            format!(
                "{} is an overlay: each file is flushed by itself, and it may be gone with its container",
                device.mount.point.display()
            ),
            "Put log.dirs on a volume",
        )
    })
}

fn nearest_existing(dir: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(dir).ok()?;
    absolute.ancestors().find(|ancestor| ancestor.exists()).map(Path::to_path_buf)
}

/// 1,000 partitions with their segments and as many connections, with room to spare.
const OPEN_FILES_MIN: u64 = 8192;
