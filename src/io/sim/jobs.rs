//! What the jobs of [`crate::io::Job`] do to the simulated names and files, with the durability that they document.

use std::io;
use std::path::Path;

use super::names::{Node, parent};
use super::state::{State, eio};
use super::{SimEnv, SimFile};
use crate::io::{Entry, Job, OpenHow, Output, Prepare, Slice, Stat};

impl State {
    /// Does one job, all of it, now.
    pub(super) fn run_job(&mut self, job: Job<SimEnv>) -> io::Result<Output<SimEnv>> {
        match job {
            Job::Open(path, how) => {
                let file = self.open(&path, how)?;
                self.names.flush_dir(parent(&key(&path)));
                Ok(Output::File(file))
            }
            Job::CreateDir(path) | Job::CreateDirLater(path) => self.create_dir(&key(&path)),
            Job::List(path) => self.list(&key(&path)),
            Job::Stat(path) => self.stat(&key(&path)).map(Output::Stat),
            Job::ReadFile(path, most) => {
                let inode = self.names.file(&key(&path))?;
                let len = self.disk.bytes(inode).len();
                if len > most {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let bytes = self.disk.read(inode, 0, len).ok_or_else(eio)?;
                Ok(Output::Bytes(bytes.to_vec()))
            }
            Job::WriteFile(path, bytes) => self.write_file(&key(&path), &bytes),
            Job::WriteEnd(path, position, slices) => self.write_end(&path, position, slices),
            Job::FlushFileSystem(dir) => {
                self.names.flush_all();
                let within: Vec<_> = self.names.files().map(|(_, inode)| inode).collect();
                self.disk.settle_volume(&key(&dir), &within);
                Ok(Output::None)
            }
            Job::Rename(from, to) => {
                if let Some(replaced) = self.names.rename(&key(&from), &key(&to))? {
                    self.disk.unlink(replaced);
                }
                Ok(Output::None)
            }
            Job::Remove(path) => {
                for inode in self.names.remove(&key(&path))? {
                    self.disk.unlink(inode);
                }
                Ok(Output::None)
            }
            Job::Truncate(file, _) | Job::TruncateLater(file, _) | Job::PrepareRange(file, ..) if !file.writable() => {
                Err(io::ErrorKind::InvalidInput.into())
            }
            Job::Truncate(file, len) => {
                self.disk.truncate(file.inode(), len);
                self.disk.settle_file(file.inode());
                Ok(Output::None)
            }
            Job::TruncateLater(file, len) => {
                self.disk.truncate(file.inode(), len);
                Ok(Output::None)
            }
            Job::PrepareRange(file, range, how) => {
                self.disk.prepare(file.inode(), &range, how == Prepare::Zeros)?;
                self.disk.settle_file(file.inode());
                Ok(Output::None)
            }
            Job::Extents(file, range) => Ok(Output::Extents(self.disk.extents(file.inode(), &range))),
            Job::ReadAhead(..) => Ok(Output::None),
            Job::FreeBytes(path) => Ok(Output::Number(self.disk.free_bytes(&key(&path)))),
            Job::TotalBytes(path) => Ok(Output::Number(self.disk.total_bytes(&key(&path)))),
            Job::Compute(work) => Ok(Output::Any(work())),
            Job::Sequence(_) => unreachable!("sequences are taken apart when they are submitted"),
        }
    }

    /// Opens a file; a name that this makes is not durable yet.
    pub(super) fn open(&mut self, path: &Path, how: OpenHow) -> io::Result<SimFile> {
        let path = key(path);
        let inode = match self.names.file(&path) {
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound && how.create => {
                self.names.parent_exists(&path)?;
                let inode = self.disk.create(&path, self.wall_ms());
                self.names.make(&path, inode);
                inode
            }
            Err(error) => return Err(error),
        };
        Ok(SimFile::new(inode, how))
    }

    fn write_end(&mut self, path: &Path, position: u64, slices: Vec<Slice>) -> io::Result<Output<SimEnv>> {
        let inode = self.open(path, OpenHow { write: true, create: true, direct: false })?.inode();
        let end = position + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        let now_ms = self.wall_ms();
        if !slices.is_empty() {
            self.disk.write(inode, false, position, slices, now_ms)?;
        }
        if self.disk.len(inode) > end {
            self.disk.truncate(inode, end);
        }
        Ok(Output::None)
    }

    fn create_dir(&mut self, path: &str) -> io::Result<Output<SimEnv>> {
        match self.names.get(path) {
            Some(Node::Dir) => Ok(Output::None),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                self.create_dir(parent(path))?;
                self.names.put(path, Node::Dir);
                Ok(Output::None)
            }
        }
    }

    fn list(&self, dir: &str) -> io::Result<Output<SimEnv>> {
        match self.names.get(dir) {
            Some(Node::Dir) => {}
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        let entry = |(name, node): (&str, Node)| match node {
            Node::Dir => Entry { name: name.to_owned(), is_dir: true, len: 0 },
            Node::File(inode) => Entry { name: name.to_owned(), is_dir: false, len: self.disk.len(inode) },
        };
        let mut entries: Vec<Entry> = self.names.list(dir).map(entry).collect();
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Output::Entries(entries))
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        match self.names.get(path) {
            Some(Node::Dir) => Ok(Stat { is_dir: true, len: 0, modified_ms: 0 }),
            Some(Node::File(inode)) => {
                Ok(Stat { is_dir: false, len: self.disk.len(inode), modified_ms: self.disk.modified_ms(inode) })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write_file(&mut self, path: &str, bytes: &[u8]) -> io::Result<Output<SimEnv>> {
        self.names.parent_exists(path)?;
        let inode = self.disk.create(path, self.wall_ms());
        self.disk.fill(inode, bytes)?;
        if let Some(Node::File(replaced)) = self.names.put(path, Node::File(inode)) {
            self.disk.unlink(replaced);
        }
        Ok(Output::None)
    }
}

/// A path as a name: components joined by `/`, without a leading one.
pub(super) fn key(path: &Path) -> String {
    let mut key = String::new();
    for component in path.components() {
        if let std::path::Component::Normal(name) = component {
            if !key.is_empty() {
                key.push('/');
            }
            key.push_str(&name.to_string_lossy());
        }
    }
    key
}
