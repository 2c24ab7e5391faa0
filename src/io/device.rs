//! What lies under a data directory: its mount, its device, and whether one flush covers every file of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many flushes a commit window needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushScope {
    /// One for the whole device: proven, see [`prove`].
    Device,
    /// One for each file that was written.
    File,
}

/// What is known of a directory's device.
#[derive(Clone, Debug)]
pub struct Device {
    /// The mount it lies on.
    pub mount: Mount,
    /// What memory address, file position and length of O_DIRECT must be a multiple of; 0 where it is unsupported.
    pub direct: DirectAlign,
    /// The block that segments are written in: max(4096, direct alignment, `st_blksize`, physical block).
    pub block_bytes: usize,
    /// Whether the device has a volatile write cache; `None` where it cannot be told.
    pub write_back: Option<bool>,
    /// Whether it is a spinning disk, as far as the kernel says.
    pub rotational: Option<bool>,
}

/// One line of /proc/self/mountinfo, as far as it matters here (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// ext4, xfs, overlay ...
    pub kind: String,
    /// What is mounted: a device, or a name.
    pub source: String,
    /// Mount and superblock options.
    pub options: Vec<String>,
    /// `st_dev` of the files on it: major, minor.
    pub device: (u32, u32),
}

/// statx(2) STATX_DIOALIGN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlign {
    /// Alignment of memory; 0 where O_DIRECT is unsupported.
    pub memory: u32,
    /// Alignment of positions and lengths.
    pub offset: u32,
}

/// Looks at the device of a directory.
///
/// # Errors
/// What the kernel says of the path.
pub fn look(dir: &Path) -> io::Result<Device> {
    let _ = dir;
    Err(io::ErrorKind::Unsupported.into())
}

/// What [`prove`] found.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The scope that is safe.
    pub scope: FlushScope,
    /// Why it is not the device, one sentence each. Empty where it is.
    pub reasons: Vec<String>,
    /// Why even a flush per file promises nothing here (`nobarrier`, overlay lower files); shown to the operator.
    pub warnings: Vec<String>,
}

/// Decides the flush scope of a directory: by its mount, and by a flush that must move the device's flush counter.
///
/// # Errors
/// What the kernel says of the path.
pub fn prove(dir: &Path, device: &Device) -> io::Result<Proof> {
    let _ = (dir, device);
    Err(io::ErrorKind::Unsupported.into())
}

/// Flushes that the device has completed since boot (Documentation/block/stat.rst); `None` where it does not count them.
#[must_use]
pub fn flush_count(device: (u32, u32)) -> Option<u64> {
    let _ = device;
    None
}

/// The flushes of one device, shared by the shards that write to it: any flush that *began* after a write completed has
/// made it durable, whoever asked for it. This pair of counters is the only thing that shards share.
#[derive(Clone, Debug, Default)]
pub struct DeviceFlush(Arc<Flushes>);

#[derive(Debug, Default)]
struct Flushes {
    started: AtomicU64,
    finished: AtomicU64,
}

/// A flush under way: give it back to [`DeviceFlush::finish`] if it succeeded, drop it if not.
#[derive(Debug)]
#[must_use]
pub struct FlushTicket(u64);

/// A moment between flushes: taken after writes completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushMark(u64);

impl DeviceFlush {
    /// Call after the writes completed: flushes that begin from now on cover them.
    #[must_use]
    pub fn mark(&self) -> FlushMark {
        FlushMark(self.0.started.load(Ordering::SeqCst))
    }

    /// Call right before submitting a flush.
    pub fn begin(&self) -> FlushTicket {
        FlushTicket(self.0.started.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Call when the flush of `ticket` has completed without error.
    #[expect(clippy::needless_pass_by_value, reason = "a flush finishes once")]
    pub fn finish(&self, ticket: FlushTicket) {
        self.0.finished.fetch_max(ticket.0, Ordering::SeqCst);
    }

    /// Whether a flush that began after `mark` has finished.
    #[must_use]
    pub fn covers(&self, mark: FlushMark) -> bool {
        self.0.finished.load(Ordering::SeqCst) > mark.0
    }

    /// Whether a flush that began after `mark` was started, by whichever shard; it may still fail.
    #[must_use]
    pub fn began_after(&self, mark: FlushMark) -> bool {
        self.0.started.load(Ordering::SeqCst) > mark.0
    }
}
