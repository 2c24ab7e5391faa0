//! The write side of one shard: what its logs share on the way to the disk.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::config::Config;
use super::error::Error;
use crate::io::{Env, Runtime};

/// A log directory as all shards see it: made once, handed to each shard.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    offline: OnceLock<Arc<str>>,
}

impl Directory {
    /// A directory that is online.
    #[must_use]
    pub fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, offline: OnceLock::new() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Takes it offline on every shard, until the node is started again. The first cause is kept.
    pub fn take_offline(&self, cause: &str) {
        let _ = self.offline.set(Arc::from(cause));
    }

    /// Why nothing of it can be promised any more, if so.
    #[must_use]
    pub fn offline(&self) -> Option<Error> {
        self.offline.get().map(|cause| Error::Offline { dir: self.path.clone(), cause: Arc::clone(cause) })
    }
}

/// What the logs of one shard share: memory, the list of dirty logs, the journal, room for segments.
pub struct Writer<E: Env> {
    pub(super) rt: Rc<Runtime<E>>,
    pub(super) config: Config,
    pub(super) directory: Arc<Directory>,
}

/// The journal that recovery hands to the write side: an empty lap, every live tail already in its first records.
pub struct JournalStart<E: Env> {
    /// The journal's file, opened O_DIRECT, all of its `bytes` written ones.
    pub file: E::File,
    /// Its length.
    pub bytes: u64,
    /// This start of the node.
    pub generation: u64,
    /// Logical position where the next record goes.
    pub position: u64,
    /// Sequence of the next record.
    pub sequence: u64,
}

impl<E: Env> Writer<E> {
    /// The write side of the runtime's shard. Its committer runs as a task until [`Writer::close`].
    pub fn start(
        rt: &Rc<Runtime<E>>,
        config: Config,
        directory: &Arc<Directory>,
        journal: JournalStart<E>,
    ) -> Rc<Self> {
        let _ = (journal.bytes, journal.generation, journal.position, journal.sequence);
        Rc::new(Self { rt: Rc::clone(rt), config, directory: Arc::clone(directory) })
    }
}
