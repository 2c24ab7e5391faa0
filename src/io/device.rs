//! What lies under a data directory: its mount, its device, and whether one flush covers every file of it.
//!
//! Called by `doctor` and at the start of `serve`, before any shard runs; blocking. [`look`] reads what the kernel says;
//! [`prove`] writes a block and watches the device's own flush counter, because a mount option, a hypervisor or a cache
//! that calls itself write-through may keep a flush from reaching the device.
//!
//! **One flush for the device** is right only where an overwrite changes nothing but data: then the flush that one file's
//! `fdatasync(2)` sends covers the blocks of all. Here the mount is judged; that a piece of a file holds only such
//! overwrites is judged by whoever is about to write it ([`super::Extents::overwrite_only`]).

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};

use super::buf::{ALIGN_BYTES, AppendBuf};
pub use super::device_flush::{DeviceFlush, FlushMark};
pub use super::mount::Mount;

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

/// statx(2) STATX_DIOALIGN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlign {
    /// Alignment of memory; 0 where O_DIRECT is unsupported.
    pub memory: u32,
    /// Alignment of positions and lengths.
    pub offset: u32,
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

/// Looks at the device of a directory. Leaves nothing behind.
///
/// # Errors
/// What the kernel says of the path, or of a nameless file made in it.
pub fn look(dir: &Path) -> io::Result<Device> {
    let mount = Mount::of(dir)?;
    let probe = nameless(dir, 0)?;
    let stat = rustix::fs::statx(&probe, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN)?;
    let queue = queue_dir(mount.device);
    let number = |name: &str| -> Option<u32> { read_trimmed(&queue.join(name))?.parse().ok() };
    let direct = if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 {
        DirectAlign { memory: stat.stx_dio_mem_align, offset: stat.stx_dio_offset_align }
    } else if ["ext4", "xfs", "btrfs", "f2fs"].contains(&mount.kind.as_str()) {
        // These take O_DIRECT, but did not say so before 6.1 (btrfs: still).
        let block = number("logical_block_size").unwrap_or(4096);
        DirectAlign { memory: block, offset: block }
    } else {
        DirectAlign { memory: 0, offset: 0 }
    };
    let physical = number("physical_block_size").unwrap_or(0);
    let widest = [direct.offset, direct.memory, stat.stx_blksize, physical].into_iter().max().unwrap_or(0);
    let block_bytes = usize::try_from(widest).unwrap_or(0).clamp(ALIGN_BYTES, BLOCK_BYTES_MAX).next_power_of_two();
    let write_back = read_trimmed(&queue.join("write_cache")).map(|kind| kind == "write back");
    let rotational = number("rotational").map(|flag| flag == 1);
    Ok(Device { mount, direct, block_bytes, write_back, rotational })
}

/// Decides the flush scope of a directory: by its mount, and by flushes that must move the device's counter.
///
/// # Errors
/// What the kernel says of the path, or of the blocks written to it.
pub fn prove(dir: &Path, device: &Device) -> io::Result<Proof> {
    let (mut reasons, warnings) = judge(device);
    if device.write_back == Some(false) {
        // No cache that could lose anything: the kernel sends no flushes, and none is needed.
    } else if let Some(missing) = watch_flushes(dir, device)? {
        reasons.push(missing);
    }
    let scope = if reasons.is_empty() { FlushScope::Device } else { FlushScope::File };
    Ok(Proof { scope, reasons, warnings })
}

/// What the mount says against one flush for the device, and against any promise at all.
fn judge(device: &Device) -> (Vec<String>, Vec<String>) {
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    let mount = &device.mount;
    let mut say = |applies: bool, reason: &str| {
        if applies {
            reasons.push(reason.to_owned());
        }
    };
    match mount.kind.as_str() {
        "ext4" => {
            // Without a journal too, fdatasync(2) of a file whose extents are written sends the device a flush and writes
            // nothing else (ext4_fsync_nojournal), and `watch_flushes` sees it arrive; only a journal of data takes another way.
            say(mount.has("data=journal"), "data=journal: data goes through the journal");
        }
        "xfs" => {
            say(mount.has("rtdev"), "an XFS realtime device: files may lie on another device than their metadata");
            say(mount.has("logdev"), "an external XFS log: a flush of the log is none of the data");
        }
        kind => say(true, &format!("nothing is proven of {kind}")),
    }
    let no_barrier = mount.has("nobarrier") || mount.has("barrier=0");
    say(no_barrier, "nobarrier");
    say(device.direct.offset == 0, "O_DIRECT is not supported");
    if no_barrier {
        warnings.push("mounted with nobarrier: no flush reaches the device".to_owned());
    }
    if mount.kind == "overlay" {
        warnings.push("on an overlay file system: a flush does not cover files of its lower layers".to_owned());
    }
    (reasons, warnings)
}

/// Overwrites a block and flushes, a few times, and looks whether each flush was counted. `None`: each was.
fn watch_flushes(dir: &Path, device: &Device) -> io::Result<Option<String>> {
    let count = || flush_count(device.mount.device);
    if count().is_none() {
        return Ok(Some("the device does not count its flushes".to_owned()));
    }
    let direct = if device.direct.memory > 0 { libc::O_DIRECT } else { 0 };
    let file = nameless(dir, direct)?;
    let mut zeros = AppendBuf::with_capacity(device.block_bytes);
    zeros.append_zeros(device.block_bytes);
    file.write_all_at(zeros.filled(), 0)?;
    file.sync_all()?;
    for _ in 0..ROUNDS {
        file.write_all_at(zeros.filled(), 0)?;
        let before = count();
        file.sync_data()?;
        if count() <= before {
            return Ok(Some("a flush did not reach the device: its counter stood still".to_owned()));
        }
    }
    Ok(None)
}

/// Flushes that the device has completed since boot (Documentation/block/stat.rst); `None` where it does not count them.
/// A mapped device counts none itself: the sum of those below it.
#[must_use]
pub fn flush_count(device: (u32, u32)) -> Option<u64> {
    count_flushes(&whole_device(device), 0)
}

fn count_flushes(device: &Path, depth: usize) -> Option<u64> {
    let slaves: Vec<_> = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten().collect();
    if slaves.is_empty() || depth > DEPTH_MAX {
        let stat = read_trimmed(&device.join("stat"))?;
        return stat.split_whitespace().nth(FLUSHES_FIELD)?.parse().ok();
    }
    let below = slaves.iter().map(|slave| count_flushes(&whole(slave.path()), depth + 1));
    below.collect::<Option<Vec<_>>>().map(|counts| counts.into_iter().sum())
}

/// The directory of a block device in sysfs; of a partition, that of its disk.
fn whole_device((major, minor): (u32, u32)) -> PathBuf {
    whole(PathBuf::from(format!("/sys/dev/block/{major}:{minor}")))
}

fn whole(device: PathBuf) -> PathBuf {
    if !device.join("partition").exists() {
        return device;
    }
    // Through the link: a disk is the directory above its partitions.
    fs::canonicalize(&device).ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or(device)
}

fn queue_dir(device: (u32, u32)) -> PathBuf {
    whole_device(device).join("queue")
}

fn read_trimmed(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// A file without a name in `dir`: gone when it is closed, whatever happens. Where that is not supported, one whose name
/// is removed at once.
fn nameless(dir: &Path, flags: i32) -> io::Result<fs::File> {
    let open = |path: &Path, flags: i32, new: bool| {
        fs::OpenOptions::new().read(true).write(true).create_new(new).mode(0o600).custom_flags(flags).open(path)
    };
    match open(dir, flags | libc::O_TMPFILE, false) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) => {
            let path = dir.join(format!(".ringmain-probe-{}", std::process::id()));
            let file = open(&path, flags, true)?;
            fs::remove_file(&path)?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Of a device's `stat` line, from 0: completed flush requests (5.5).
const FLUSHES_FIELD: usize = 15;

/// Mapped devices on mapped devices, at the most.
const DEPTH_MAX: usize = 8;

/// Flushes that must all be counted: one alone could be somebody else's.
const ROUNDS: usize = 4;

/// A stripe size in `st_blksize` says how much is best written at once, not what tears; larger ones are cut to this.
const BLOCK_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{Device, DirectAlign, FlushScope, Mount, flush_count, judge, look, prove};
    use crate::io::files::scratch_dir;

    fn device(kind: &str, options: &[&str]) -> Device {
        let mount = Mount {
            point: "/".into(),
            kind: kind.into(),
            source: "/dev/x".into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            device: (0, 0),
        };
        let direct = DirectAlign { memory: 512, offset: 512 };
        Device { mount, direct, block_bytes: 4096, write_back: Some(true), rotational: None }
    }

    #[test]
    fn only_proven_mounts_get_one_flush_for_the_device() {
        let reasons = |kind, options: &[&str]| judge(&device(kind, options)).0.len();
        assert_eq!(reasons("ext4", &["rw", "data=ordered", "barrier"]), 0);
        assert_eq!(reasons("ext4", &["rw", "data=writeback"]), 0);
        assert_eq!(reasons("xfs", &["rw", "noatime", "logbufs=8"]), 0);
        assert_eq!(reasons("ext4", &["rw", "data=journal"]), 1);
        assert_eq!(reasons("ext4", &["rw"]), 0, "no journal: overwrites need none");
        assert_eq!(reasons("ext4", &["rw", "data=ordered", "nobarrier"]), 1);
        assert_eq!(reasons("ext4", &["rw", "data=ordered", "barrier=0"]), 1);
        assert_eq!(reasons("xfs", &["rw", "logdev=/dev/sdb"]), 1);
        assert_eq!(reasons("xfs", &["rw", "rtdev=/dev/sdb"]), 1);
        assert_eq!(reasons("btrfs", &["rw"]), 1);
        let undirected = Device { direct: DirectAlign { memory: 0, offset: 0 }, ..device("xfs", &["rw"]) };
        assert_eq!(judge(&undirected).0.len(), 1);
    }

    #[test]
    fn mounts_that_promise_nothing_are_named() {
        assert!(judge(&device("ext4", &["data=ordered", "nobarrier"])).1[0].contains("nobarrier"));
        assert!(judge(&device("overlay", &["rw"])).1[0].contains("overlay"));
        assert!(judge(&device("xfs", &["rw"])).1.is_empty());
    }

    #[test]
    fn this_machines_device_is_looked_at_and_its_flushes_are_counted() {
        let dir = scratch_dir();
        let device = look(dir.path()).expect("looked");
        assert!(device.direct.memory > 0 && device.direct.offset > 0, "{device:?}");
        assert!(device.block_bytes >= 4096 && device.block_bytes.is_power_of_two());
        assert!(device.mount.options.iter().any(|option| option == "rw"));
        let before = flush_count(device.mount.device);
        let proof = prove(dir.path(), &device).expect("proven or not");
        if device.write_back == Some(true) && before.is_some() {
            assert!(flush_count(device.mount.device) >= before.map(|count| count + 4), "{proof:?}");
        }
        assert_eq!(proof.scope == FlushScope::Device, proof.reasons.is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "nothing is left behind");
    }

    #[test]
    fn tmpfs_takes_no_direct_writes_and_counts_no_flushes() {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        let device = look(dir.path()).expect("looked");
        assert_eq!(device.mount.kind, "tmpfs");
        assert_eq!(device.direct.memory, 0);
        let proof = prove(dir.path(), &device).expect("proven or not");
        assert_eq!(proof.scope, FlushScope::File);
        assert!(proof.reasons.iter().any(|reason| reason.contains("does not count")), "{proof:?}");
    }
}
