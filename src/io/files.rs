//! Blocking, read-only access to files for commands that run without a node: `log dump`, `log verify`, `doctor`.
//!
//! Never called on a shard.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Entry;

/// A file opened for reading.
#[derive(Debug)]
pub struct Reader {
    file: std::fs::File,
    len: u64,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// The file's length when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it was empty when it was opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads at `position` until `into` is full or the file ends; answers how many bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], position + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// Reads a whole file.
///
/// # Errors
/// What the kernel says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Reads a whole file of at most `max` bytes.
pub(super) fn read_at_most(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} is over {max} bytes", path.display())));
    }
    Ok(bytes)
}

/// The entries of a directory, sorted by name.
///
/// # Errors
/// What the kernel says.
pub fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // Removed since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(Entry { name, is_dir: metadata.is_dir(), len: metadata.len() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// A directory on a real disk for a test: under the build directory, because tmpfs knows no O_DIRECT.
#[cfg(test)]
pub(in crate::io) fn scratch_dir() -> tempfile::TempDir {
    let exe = std::env::current_exe().expect("a test has a path");
    let build = exe.parent().expect("a test lies in a directory");
    tempfile::tempdir_in(build).expect("the build directory can be written")
}
