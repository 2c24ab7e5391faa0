//! The files that the floor writes: prepared before anybody connects, then overwritten from the first to the last and
//! round again.
//!
//! ```text
//!   floor-0.segment  [ window | window | window ...... ]    every block was written when the server began, so that
//!   floor-1.segment  [ window | ..                     ]    each write is an overwrite and each flush one of data alone
//!        ...                                                as in the node's steady state (storage::recycle)
//! ```
//! A window lies in one segment whole; one that does not fit goes to the beginning of the next. Files that an earlier server
//! left in the directory are taken as they are, if they are overwrites only (FIEMAP). What the node does at a roll (names,
//! indexes, retention) has no counterpart.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::device::{self, Device, FlushScope};
use super::super::{AppendBuf, jobs, machine};
use super::Error;

/// The files, and where the next window goes.
#[derive(Debug)]
pub(super) struct Segments {
    files: Vec<Rc<fs::File>>,
    bytes: u64,
    active: usize,
    position: u64,
    /// How often a segment was begun again.
    turnovers: u64,
    scope: FlushScope,
    block_bytes: usize,
}

/// A place for one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which segment.
    pub(super) segment: usize,
    /// Where in it.
    pub(super) position: u64,
}

impl Segments {
    /// Makes `count` files of `bytes` in a directory, all of them written, or takes those that are there.
    pub(super) fn prepare(dir: &Path, count: usize, bytes: u64) -> Result<Self, Error> {
        let failed = |source| Error::Data { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let device = device::look(dir).map_err(failed)?;
        if device.direct.memory == 0 {
            return Err(Error::NoDirect { dir: dir.to_owned(), kind: device.mount.kind });
        }
        let bytes = bytes - bytes % device.block_bytes as u64;
        let paths: Vec<PathBuf> = (0..count).map(|index| dir.join(format!("floor-{index}.segment"))).collect();
        let ready = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len() == bytes);
        let needed_bytes = bytes * paths.iter().filter(|path| !ready(path)).count() as u64;
        let free_bytes = machine::free_bytes(dir).map_err(failed)?;
        if needed_bytes > 0 && free_bytes < needed_bytes + RESERVE_BYTES {
            return Err(Error::Full { dir: dir.to_owned(), free_bytes, needed_bytes: needed_bytes + RESERVE_BYTES });
        }
        let open = |path: &PathBuf| open_segment(path, bytes, &device).map(Rc::new);
        let files = paths.iter().map(open).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let proof = device::prove(dir, &device).map_err(failed)?;
        Ok(Self {
            files,
            bytes,
            active: 0,
            position: 0,
            turnovers: 0,
            scope: proof.scope,
            block_bytes: device.block_bytes,
        })
    }

    /// What windows are a multiple of.
    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// How often a segment was begun again.
    pub(super) fn turnovers(&self) -> u64 {
        self.turnovers
    }

    /// The next window's place.
    pub(super) fn place(&mut self, len: u64) -> Place {
        assert!(len <= self.bytes, "a window is smaller than a segment");
        if self.position + len > self.bytes {
            self.active = (self.active + 1) % self.files.len();
            self.position = 0;
            // The first round is one of overwrites too: of the zeros that prepared it.
            self.turnovers += 1;
        }
        let place = Place { segment: self.active, position: self.position };
        self.position += len;
        place
    }

    /// The file of a segment.
    pub(super) fn file(&self, segment: usize) -> Rc<fs::File> {
        Rc::clone(&self.files[segment])
    }

    /// Which of the segments that were written must be flushed: each, or where one flush covers the device, the first.
    pub(super) fn to_flush(&self, written: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut segments: Vec<usize> = written.collect();
        segments.sort_unstable();
        segments.dedup();
        if self.scope == FlushScope::Device {
            segments.truncate(1);
        }
        segments
    }
}

fn open_segment(path: &Path, bytes: u64, device: &Device) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let whole = file.metadata()?.len() == bytes;
    // A file system that cannot tell is written again.
    let overwrites =
        |file: &fs::File| jobs::extents(file, &(0..bytes)).is_ok_and(super::super::Extents::overwrite_only);
    if !(whole && overwrites(&file)) {
        file.set_len(bytes)?;
        jobs::allocate(&file, &(0..bytes))?;
        write_zeros(&file, bytes, device.block_bytes)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn write_zeros(file: &fs::File, bytes: u64, block_bytes: usize) -> io::Result<()> {
    let mut zeros = AppendBuf::with_capacity(ZERO_BYTES.max(block_bytes));
    zeros.append_zeros(zeros.remaining());
    let mut position = 0;
    while position < bytes {
        let len = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros.filled()[..len], position)?;
        position += len as u64;
    }
    Ok(())
}

/// One write of zeros.
const ZERO_BYTES: usize = 1 << 20;

/// What must be free beyond the files.
const RESERVE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::super::Error;
    use super::{FlushScope, Place, Segments};
    use crate::io::files::scratch_dir;

    #[test]
    fn windows_go_round_the_segments_and_never_across_two() {
        let dir = scratch_dir();
        let mut segments = Segments::prepare(dir.path(), 2, 64 << 10).expect("prepared");
        let mut places = (0..5).map(|_| segments.place(40 << 10));
        let at = |segment, position| Some(Place { segment, position });
        assert_eq!([places.next(), places.next(), places.next()], [at(0, 0), at(1, 0), at(0, 0)]);
        drop(places);
        assert_eq!(segments.place(24 << 10), Place { segment: 0, position: 40 << 10 });
        assert_eq!(segments.turnovers(), 2);
    }

    #[test]
    fn segments_are_written_out_and_found_again() {
        let dir = scratch_dir();
        drop(Segments::prepare(dir.path(), 2, 64 << 10).expect("prepared"));
        let path = dir.path().join("floor-1.segment");
        let before = fs::metadata(&path).expect("there");
        assert_eq!(before.len(), 64 << 10);
        assert!(before.blocks() * 512 >= 64 << 10, "no holes");
        drop(Segments::prepare(dir.path(), 2, 64 << 10).expect("prepared"));
        assert_eq!(fs::metadata(&path).expect("there").mtime_nsec(), before.mtime_nsec(), "not written again");
        // One of another size is made anew.
        drop(Segments::prepare(dir.path(), 2, 128 << 10).expect("prepared"));
        assert_eq!(fs::metadata(&path).expect("there").len(), 128 << 10);
    }

    #[test]
    fn a_place_that_cannot_hold_segments_is_refused_in_words() {
        let missing = Segments::prepare(Path::new("/proc/nowhere"), 1, 4096).expect_err("no directory");
        assert!(missing.to_string().contains("/proc/nowhere"), "{missing}");
        let tmpfs = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        let undirected = Segments::prepare(tmpfs.path(), 1, 4096).expect_err("no O_DIRECT");
        assert!(matches!(undirected, Error::NoDirect { .. }), "{undirected}");
        assert!(undirected.to_string().contains("tmpfs"), "{undirected}");
        let dir = scratch_dir();
        let full = Segments::prepare(dir.path(), 1, 1 << 60).expect_err("nobody has an exbibyte");
        assert!(matches!(full, Error::Full { .. }), "{full}");
        assert!(full.to_string().contains("free"), "{full}");
    }

    #[test]
    fn each_written_file_is_flushed_unless_one_flush_is_enough() {
        let dir = scratch_dir();
        let mut segments = Segments::prepare(dir.path(), 3, 64 << 10).expect("prepared");
        segments.scope = FlushScope::File;
        assert_eq!(segments.to_flush([2, 0, 2].into_iter()), [0, 2]);
        segments.scope = FlushScope::Device;
        assert_eq!(segments.to_flush([2, 0, 2].into_iter()), [0]);
    }
}
