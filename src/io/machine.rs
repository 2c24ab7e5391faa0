//! What the process may use of the machine: memory, processor time, open files, locked memory, its directory.
//!
//! Read once at start by `config` and `doctor`; nothing here runs on a shard. Every figure is the one that binds: the
//! control group's where it is lower than the machine's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory that the process may use: RAM, or the limit of its control group where that is lower (cgroups(7)).
#[must_use]
pub fn memory_bytes() -> u64 {
    let ram =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib_field(&text, "MemTotal:")).unwrap_or(1 << 30);
    let v2 = cgroup_values("", "memory.max").into_iter().filter_map(|text| text.trim().parse().ok()).min();
    let v1 =
        cgroup_values("memory", "memory.limit_in_bytes").into_iter().filter_map(|text| text.trim().parse().ok()).min();
    ram.min(v2.unwrap_or(u64::MAX)).min(v1.unwrap_or(u64::MAX))
}

/// Whole processors that the control group's quota grants, rounded up; `None` where there is no quota.
#[must_use]
pub fn quota_cores() -> Option<usize> {
    let quotas = cgroup_values("", "cpu.max").into_iter().filter_map(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        let (quota, period): (usize, usize) = (quota.parse().ok()?, period.parse().ok()?);
        (period > 0).then(|| quota.div_ceil(period).max(1))
    });
    quotas.min()
}

/// A limit of the process (getrlimit(2)); `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// Up to where the process may raise it.
    pub hard: Option<u64>,
}

/// Open files.
#[must_use]
pub fn open_files() -> Limit {
    limit(Resource::Nofile)
}

/// Memory that may be locked, which registered buffers count against.
#[must_use]
pub fn locked_memory() -> Limit {
    limit(Resource::Memlock)
}

/// Raises the soft limit of open files to the hard one and answers what holds then.
#[must_use]
pub fn raise_open_files() -> Limit {
    let now = getrlimit(Resource::Nofile);
    if now.current != now.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    open_files()
}

/// The user and group that the process runs as.
#[must_use]
pub fn identity() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The kernel's release, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// What this process uses at present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Addresses that are mapped.
    pub virtual_bytes: u64,
    /// Processor time of all threads, those that the kernel runs for the rings included.
    pub cpu_seconds: f64,
    /// Open files.
    pub open_files: u64,
    /// When it was started, in seconds since 1970.
    pub started_seconds: f64,
}

/// Looks at this process; what cannot be found out is 0.
#[must_use]
pub fn usage() -> Usage {
    let pages: Vec<u64> = fs::read_to_string("/proc/self/statm")
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let page_bytes = rustix::param::page_size() as u64;
    let bytes = |field: usize| pages.get(field).map_or(0, |pages| pages * page_bytes);
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_seconds = std::time::Duration::try_from(cpu).unwrap_or_default().as_secs_f64();
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let started_seconds = started_seconds().unwrap_or_default();
    Usage { resident_bytes: bytes(1), virtual_bytes: bytes(0), cpu_seconds, open_files, started_seconds }
}

/// Ticks since the machine was started (proc(5), field 22), and when that was.
#[expect(clippy::cast_precision_loss, reason = "ticks since the machine was started")]
fn started_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, which may hold anything.
    let ticks: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let begun: f64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(begun + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes that the file system of a directory has left for this process.
///
/// # Errors
/// What the kernel says of the path.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether this process may make files in a directory; the error says why not (access(2)).
///
/// # Errors
/// `PermissionDenied`, `ReadOnlyFilesystem`, `NotFound` ...
pub fn may_write(dir: &Path) -> io::Result<()> {
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::accessat(rustix::fs::CWD, dir, wanted, rustix::fs::AtFlags::EACCESS)?)
}

/// The user and group that own a path, and its mode bits.
///
/// # Errors
/// What the kernel says of the path.
pub fn owner(path: &Path) -> io::Result<(u32, u32, u32)> {
    let stat = rustix::fs::stat(path)?;
    Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))
}

/// Makes a directory and its parents.
///
/// # Errors
/// What the kernel says.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

fn limit(resource: Resource) -> Limit {
    let now = getrlimit(resource);
    Limit { soft: now.current, hard: now.maximum }
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A file of the process's control group and of each group above it. `controller` is empty for version 2.
fn cgroup_values(controller: &str, file: &str) -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
    });
    let Some(path) = path else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup").join(controller);
    // Inside a container the path may be the host's, of which only the root is mounted here; both are looked at.
    let inner = root.join(path.trim_start_matches('/'));
    let mut dirs: Vec<PathBuf> =
        inner.ancestors().take_while(|dir| dir.starts_with(&root)).map(Path::to_path_buf).collect();
    dirs.push(root);
    dirs.iter().filter_map(|dir| fs::read_to_string(dir.join(file)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Limit, kib_field, memory_bytes, raise_open_files, usage};

    #[test]
    fn memory_is_some_and_not_more_than_the_machine_has() {
        let all = kib_field(&std::fs::read_to_string("/proc/meminfo").expect("Linux"), "MemTotal:").expect("it says");
        assert!((32 << 20..=all).contains(&memory_bytes()));
        assert_eq!(kib_field("MemFree: 3 kB\nMemTotal:   16 kB\n", "MemTotal:"), Some(16 << 10));
    }

    #[test]
    fn what_this_process_uses_is_known() {
        let usage = usage();
        assert!(usage.resident_bytes > 1 << 20 && usage.virtual_bytes >= usage.resident_bytes, "{usage:?}");
        assert!(usage.cpu_seconds > 0.0 && usage.open_files >= 3, "{usage:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!((now - 86_400.0..=now + 2.0).contains(&usage.started_seconds), "{usage:?} at {now}");
    }

    #[test]
    fn the_limit_of_open_files_ends_at_the_hard_one() {
        let Limit { soft, hard } = raise_open_files();
        assert_eq!(soft, hard);
    }
}
