//! What housekeeping does with plain, blocking system calls: everything but the zeros of files for direct writes.
//!
//! Each function runs on a thread where waiting is allowed. Durability is part of each job, as [`Job`] says: where it says
//! no other, a name that was made, changed or removed is flushed in its directory before the job is answered.
#![expect(unsafe_code, reason = "FIEMAP and readahead have no safe wrapper")]

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::FallocateFlags;

use super::housekeeping::Housekeeping;
use super::kernel::{File, Kernel};
use super::{Extents, Job, OpenHow, Output, Prepare, Slice, Stat, files};

/// Does a job.
pub(super) fn run(job: Job<Kernel>, keeper: &Housekeeping) -> io::Result<Output<Kernel>> {
    match job {
        Job::Open(path, how) => open(&path, how, keeper).map(Output::File),
        Job::CreateDir(path) => create_dir(&path).map(none),
        Job::List(path) => files::list(&path).map(Output::Entries),
        Job::Stat(path) => stat(&path).map(Output::Stat),
        Job::ReadFile(path, max) => files::read_at_most(&path, max).map(Output::Bytes),
        Job::WriteFile(path, bytes) => write_file(&path, &bytes).map(none),
        Job::CreateDirLater(path) => create_dir_later(&path).map(none),
        Job::WriteEnd(path, position, slices) => write_end(&path, position, &slices).map(none),
        Job::FlushFileSystem(dir) => Ok(rustix::fs::syncfs(fs::File::open(dir)?).map(none)?),
        Job::Rename(from, to) => rename(&from, &to).map(none),
        Job::Remove(path) => remove(&path).map(none),
        Job::Truncate(file, len) => truncate(&file, len).map(none),
        Job::TruncateLater(file, len) => Ok(rustix::fs::ftruncate(&file, len).map(none)?),
        Job::PrepareRange(file, range, Prepare::Allocate) => {
            allocate(&file, &range).and_then(|()| flush(&file)).map(none)
        }
        Job::PrepareRange(file, range, Prepare::Zeros) => write_zeros(&file, &range).map(none),
        Job::Extents(file, range) => extents(&file, &range).map(Output::Extents),
        Job::ReadAhead(file, range) => read_ahead(&file, &range).map(none),
        Job::FreeBytes(path) => {
            let stat = rustix::fs::statvfs(&path)?;
            Ok(Output::Number(stat.f_bavail.saturating_mul(stat.f_frsize)))
        }
        Job::TotalBytes(path) => {
            let stat = rustix::fs::statvfs(&path)?;
            Ok(Output::Number(stat.f_blocks.saturating_mul(stat.f_frsize)))
        }
        Job::Compute(compute) => std::panic::catch_unwind(std::panic::AssertUnwindSafe(compute))
            .map(Output::Any)
            .map_err(|_panic| io::Error::other("the computation panicked")),
        Job::Sequence(jobs) => jobs.into_iter().try_fold(Output::None, |_before, job| run(job, keeper)),
    }
}

fn none((): ()) -> Output<Kernel> {
    Output::None
}

fn open(path: &Path, how: OpenHow, keeper: &Housekeeping) -> io::Result<File> {
    let open = |create_new: bool| {
        fs::OpenOptions::new()
            .read(true)
            .write(how.write)
            .create_new(create_new)
            .mode(0o644)
            .custom_flags(if how.direct { libc::O_DIRECT } else { 0 })
            .open(path)
    };
    let file = match open(false) {
        Err(error) if how.create && error.kind() == io::ErrorKind::NotFound => {
            let file = open(true)?;
            flush_parent(path)?;
            file
        }
        opened => opened?,
    };
    Ok(File::new(OwnedFd::from(file), how.direct, keeper))
}

fn create_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => flush_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir(path.parent().ok_or(error)?)?;
            // Another shard's job may make it at the same time.
            create_dir(path)
        }
        Err(error) => Err(error),
    }
}

fn create_dir_later(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

fn stat(path: &Path) -> io::Result<Stat> {
    let metadata = fs::metadata(path)?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified_ms = i64::try_from(modified.as_millis()).unwrap_or(i64::MAX);
    Ok(Stat { is_dir: metadata.is_dir(), len: metadata.len(), modified_ms })
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    let beside = path.with_file_name(name);
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    flush_parent(path)
}

fn write_end(path: &Path, position: u64, slices: &[Slice]) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path)?;
    let mut end = position;
    for slice in slices {
        file.write_all_at(slice, end)?;
        end += slice.len() as u64;
    }
    if file.metadata()?.len() == end { Ok(()) } else { file.set_len(end) }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    flush_parent(to)?;
    if from.parent() == to.parent() { Ok(()) } else { flush_parent(from) }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)?;
    } else {
        fs::remove_file(path)?;
    }
    flush_parent(path)
}

fn truncate(file: &File, len: u64) -> io::Result<()> {
    rustix::fs::ftruncate(file, len)?;
    flush(file)
}

fn flush(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fsync(file)?)
}

fn flush_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

/// Gives the range blocks, and the file the length of the range's end where it is shorter.
pub(super) fn allocate(file: &impl AsFd, range: &Range<u64>) -> io::Result<()> {
    if rustix::fs::fstat(file)?.st_size.cast_unsigned() < range.end {
        rustix::fs::ftruncate(file, range.end)?;
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), range.start, range.end.saturating_sub(range.start)) {
        Err(error) if error != rustix::io::Errno::OPNOTSUPP && error != rustix::io::Errno::INVAL => Err(error.into()),
        // A file system without it, or an empty range: the zeros that follow allocate.
        _ => Ok(()),
    }
}

/// Zeros through the page cache, for files that are not opened for direct writes: small ones, in tests and tools.
fn write_zeros(file: &File, range: &Range<u64>) -> io::Result<()> {
    if file.is_direct() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a sequence of jobs writes no zeros to a direct file"));
    }
    allocate(file, range)?;
    let plain = fs::File::from(file.as_fd().try_clone_to_owned()?);
    let zeros = [0_u8; 4096];
    let mut position = range.start;
    while position < range.end {
        let len = usize::try_from(range.end - position).unwrap_or(zeros.len()).min(zeros.len());
        plain.write_all_at(&zeros[..len], position)?;
        position += len as u64;
    }
    flush(file)
}

/// Reads a range into the page cache and waits until it is there.
fn read_ahead(file: &File, range: &Range<u64>) -> io::Result<()> {
    let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let start = libc::off64_t::try_from(range.start).map_err(|_large| io::ErrorKind::InvalidInput)?;
    for done in (0..len).step_by(READ_AHEAD_BYTES) {
        let piece = READ_AHEAD_BYTES.min(len - done);
        let position = start + libc::off64_t::try_from(done).expect("below the range's end");
        // SAFETY: the descriptor is open; the call takes numbers only.
        if unsafe { libc::readahead(file.as_raw_fd(), position, piece) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let plain = fs::File::from(file.as_fd().try_clone_to_owned()?);
    let mut byte = [0_u8];
    for end in (range.start..range.end).step_by(READ_AHEAD_BYTES).skip(1).chain([range.end]) {
        plain.read_at(&mut byte, end.saturating_sub(1))?;
    }
    Ok(())
}

/// What one readahead(2) brings at the least: it is cut to the device's largest request.
const READ_AHEAD_BYTES: usize = 128 << 10;

/// What FIEMAP says of a range (ioctl_fiemap(2)).
pub(super) fn extents(file: &impl AsFd, range: &Range<u64>) -> io::Result<Extents> {
    let file = file.as_fd();
    let mut found = Extents { mapped: true, ..Extents::default() };
    let mut position = range.start;
    while position < range.end {
        let mut map =
            Fiemap { start: position, length: range.end - position, extent_count: EXTENTS, ..Fiemap::default() };
        // SAFETY: the structure is laid out as ioctl_fiemap(2) says, with room for `extent_count` extents.
        if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, std::ptr::from_mut(&mut map)) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mapped = usize::try_from(map.mapped_extents).expect("at most EXTENTS").min(map.extents.len());
        for extent in &map.extents[..mapped] {
            found.mapped &= extent.logical <= position;
            found.unwritten |= extent.flags & UNWRITTEN != 0;
            found.shared |= extent.flags & SHARED != 0;
            found.delayed |= extent.flags & (DELALLOC | UNKNOWN | INLINE | ENCODED) != 0;
            position = extent.logical + extent.length;
        }
        if mapped == 0 {
            found.mapped = false;
            break;
        }
    }
    Ok(found)
}

/// Extents asked for at once.
const EXTENTS: u32 = 64;

/// `struct fiemap` with room for its extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; 64],
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

impl Default for Fiemap {
    fn default() -> Self {
        Self {
            start: 0,
            length: 0,
            // FIEMAP_FLAG_SYNC: what is still to be allocated is written first, so that the answer is the last one.
            flags: 1,
            mapped_extents: 0,
            extent_count: 0,
            reserved: 0,
            extents: [FiemapExtent::default(); 64],
        }
    }
}

const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
const UNKNOWN: u32 = 0x2;
const DELALLOC: u32 = 0x4;
const ENCODED: u32 = 0x8;
const INLINE: u32 = 0x200;
const UNWRITTEN: u32 = 0x800;
const SHARED: u32 = 0x2000;
