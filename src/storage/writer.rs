//! The write side of one shard: what its logs share on the way to the disk.
//!
//! Made by recovery, once it knows where the journal goes on; lives until [`Writer::close`]. Logs hold it; it knows the
//! logs weakly, so that a shard whose tasks are dropped leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::{Arc, OnceLock};

use super::committer::Committer;
use super::config::Config;
use super::error::Error;
use super::flush::Flusher;
use super::journal::record::{ENTRY_BYTES, HEADER_BYTES};
use super::journal::{Journal, LAP_RECORDS_MIN};
use super::log::{Log, SEALING_MAX};
use super::memory::Memory;
use super::prepare::Rooms;
use super::read::Reads;
use super::recycle::Recycle;
use super::segment::Segment;
use super::space::Space;
use crate::io::device::FlushScope;
use crate::io::{Env, Runtime};
use crate::types::{Offset, PartitionId};

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
    pub(super) memory: Memory<E>,
    pub(super) space: Rc<Space>,
    pub(super) recycle: Recycle<E>,
    pub(super) flusher: Flusher,
    pub(super) committer: Committer,
    pub(super) journal: RefCell<Journal<E>>,
    pub(super) journal_file: E::File,
    /// Logs with something that no window has taken yet.
    pub(super) dirty: RefCell<VecDeque<Weak<Log<E>>>>,
    pub(super) logs: RefCell<BTreeMap<PartitionId, Weak<Log<E>>>>,
    /// Logs that the journal must keep a place for, and how many it can.
    pub(super) live_logs: Cell<usize>,
    pub(super) live_logs_max: usize,
    /// Bytes of the newest records of all logs beyond a block each, and how many there may be.
    pub(super) long_tails_bytes: Cell<u64>,
    long_tails_bytes_max: u64,
    /// Segments that wait for a task to make room.
    pub(super) rooms: Rooms<E>,
    /// What reads share.
    pub(super) reads: Reads<E>,
    pub(super) on_sealed: RefCell<Option<OnSealed<E>>>,
    closed: Cell<bool>,
}

/// Told of each rolled segment once all its bytes are durable and its file has its exact length.
pub(super) type OnSealed<E> = Rc<dyn Fn(&Rc<Log<E>>, &Rc<Segment<E>>)>;

/// The journal that recovery hands to the write side.
pub struct JournalStart<E: Env> {
    /// The journal's file, opened O_DIRECT, all of its `bytes` written ones.
    pub file: E::File,
    /// Its length.
    pub bytes: u64,
    /// This start of the node: higher than any before.
    pub generation: u64,
    /// Logical position where the next record goes: a block boundary.
    pub position: u64,
    /// Sequence of the next record, at least 1.
    pub sequence: u64,
}

impl<E: Env> Writer<E> {
    /// The write side of the runtime's shard. Its windows form until [`Writer::close`].
    pub fn start(
        rt: &Rc<Runtime<E>>,
        config: Config,
        directory: &Arc<Directory>,
        journal: JournalStart<E>,
    ) -> Rc<Self> {
        let block_bytes = config.disk.block_bytes;
        let window_bytes =
            config.window_journal_bytes.max(HEADER_BYTES + (SEALING_MAX + 2) * ENTRY_BYTES + block_bytes);
        let record_bytes_max = window_bytes.next_multiple_of(block_bytes);
        let journal_bytes = journal.bytes;
        // Their tails fill half of it, the long ones an eighth: the rest is for what goes on.
        let live_logs_max = journal_bytes / (2 * (block_bytes + ENTRY_BYTES) as u64);
        let scope = if config.flush_files { FlushScope::File } else { config.disk.scope };
        let recycle_prefix = format!("{}-{}", rt.shard().0, journal.generation);
        let writer = Rc::new(Self {
            memory: Memory::new(config.tail_bytes, block_bytes),
            space: Space::new(directory.path().clone(), config.reserve_bytes),
            recycle: Recycle::new(directory.path(), &recycle_prefix, config.recycle_bytes),
            flusher: Flusher::new(scope, config.disk.flush.clone()),
            committer: Committer::new(journal.sequence),
            journal_file: journal.file.clone(),
            journal: RefCell::new(Journal::new(journal, rt.shard(), block_bytes, record_bytes_max)),
            dirty: RefCell::default(),
            logs: RefCell::default(),
            live_logs: Cell::new(0),
            long_tails_bytes: Cell::new(0),
            long_tails_bytes_max: journal_bytes / 8,
            rooms: Rooms::default(),
            live_logs_max: usize::try_from(live_logs_max).unwrap_or(usize::MAX),
            reads: Reads::new(config.read_bytes, config.index_bytes, config.descriptors),
            on_sealed: RefCell::default(),
            closed: Cell::new(false),
            rt: Rc::clone(rt),
            config,
            directory: Arc::clone(directory),
        });
        rt.spawn(Rc::clone(&writer).form_windows()).detach();
        let weak = Rc::downgrade(&writer);
        writer.space.set_stays_full(Rc::new(move |error| {
            if let Some(writer) = weak.upgrade() {
                writer.refuse_unwritten(error);
            }
        }));
        writer
    }

    /// The disk is full and stays so. No append was taken since it is; what no window under way writes waits for room.
    fn refuse_unwritten(&self, error: &Error) {
        if !self.committer.is_idle() {
            return;
        }
        let logs: Vec<_> = self.logs.borrow().values().filter_map(Weak::upgrade).collect();
        for log in logs {
            log.progress.refuse_unwritten(error);
        }
    }

    /// The smallest journal that a configuration can work with.
    #[must_use]
    pub fn journal_bytes_min(config: &Config) -> u64 {
        let block_bytes = config.disk.block_bytes;
        let window_bytes =
            config.window_journal_bytes.max(HEADER_BYTES + (SEALING_MAX + 2) * ENTRY_BYTES + block_bytes);
        LAP_RECORDS_MIN * window_bytes.next_multiple_of(block_bytes) as u64
    }

    /// Makes a log known, so that it hears of a directory that goes offline.
    pub(super) fn register(&self, log: &Rc<Log<E>>) {
        self.logs.borrow_mut().insert(log.id, Rc::downgrade(log));
    }

    /// Forgets a log that was closed or deleted. Its place in the journal is free.
    pub(super) fn forget(&self, log: &Log<E>) {
        let mut logs = self.logs.borrow_mut();
        let is_known = logs.get(&log.id).is_some_and(|known| std::ptr::eq(known.as_ptr(), log));
        if is_known {
            logs.remove(&log.id);
        }
        if log.is_live.replace(false) {
            self.live_logs.set(self.live_logs.get() - 1);
        }
        self.long_tails_bytes.set(self.long_tails_bytes.get() - log.long_tail_bytes.replace(0));
    }

    /// Whether the journal has a place for the tail of this log.
    pub(super) fn has_place_for(&self, log: &Log<E>) -> bool {
        log.is_live.get() || self.live_logs.get() < self.live_logs_max
    }

    /// From now on the journal must hold the log's tail.
    pub(super) fn count_live(&self, log: &Log<E>) {
        if !log.is_live.replace(true) {
            self.live_logs.set(self.live_logs.get() + 1);
        }
    }

    /// Whether so many bytes of one log may go to the journal.
    pub(super) fn may_journal(&self, tail_bytes: usize) -> bool {
        self.long_tails_bytes.get() + tail_bytes as u64 <= self.long_tails_bytes_max
            || tail_bytes <= self.config.disk.block_bytes
    }

    /// Sets who is told of rolled segments.
    pub(super) fn set_on_sealed(&self, told: OnSealed<E>) {
        self.on_sealed.replace(Some(told));
    }

    /// Bytes that the newest records of this shard's logs hold in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory.pool().outstanding_bytes()
    }

    pub(super) fn is_offline(&self) -> bool {
        self.directory.offline().is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Takes the directory offline on every shard.
    pub(super) fn take_offline(self: &Rc<Self>, what: &str, error: &io::Error) {
        let (dir, shard) = (self.directory.path().display(), self.rt.shard().0);
        tracing::error!(%dir, shard, %error, "{what} failed: the log directory is offline until the next start");
        self.directory.take_offline(&format!("{what} failed on shard {shard}: {error}"));
        self.fail_all();
    }

    /// Makes durable what an earlier start, or housekeeping, left of a file. That this fails says as much about what was
    /// written to other files of the device as any other flush.
    pub(super) async fn flush_found(self: &Rc<Self>, file: &E::File) -> io::Result<()> {
        self.rt.flush(file).await.inspect_err(|error| self.take_offline("a flush", error))
    }

    /// Ends the waits of all logs of an offline directory.
    pub(super) fn fail_all(self: &Rc<Self>) {
        let Some(error) = self.directory.offline() else { return };
        let logs: Vec<_> = self.logs.borrow().values().filter_map(Weak::upgrade).collect();
        for log in logs {
            log.fail(error.clone());
        }
    }

    /// Looks up one of the shard's logs.
    #[must_use]
    pub fn log(&self, id: PartitionId) -> Option<Rc<Log<E>>> {
        self.logs.borrow().get(&id).and_then(Weak::upgrade)
    }

    /// Ends the write side: no window forms any more. Close the logs first.
    pub fn close(&self) {
        self.closed.set(true);
        self.committer.work.notify_all();
    }
}

impl<E: Env> Log<E> {
    /// The active segment's first byte that is not in its file for sure, as (segment, position): readers go to memory from
    /// there on.
    #[must_use]
    pub fn stored_position(&self) -> (Offset, u64) {
        self.stored.get()
    }
}
