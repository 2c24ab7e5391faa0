//! The log of one partition: takes batches, and says how far they have come.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::buffer::Tail;
use super::config::LogConfig;
use super::error::Error;
use super::progress::Progress;
use super::read::ReadPlan;
use super::segment::Segment;
use super::writer::Writer;
use crate::io::Env;
use crate::io::local::Notify;
use crate::record::{BatchHeader, Records};
use crate::types::{Offset, PartitionId, TopicPartition};

/// A batch to append: one whole batch, checked by `record::check` except for its checksum.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// Its bytes.
    pub records: &'a Records,
    /// Its header, as parsed from them.
    pub header: &'a BatchHeader,
    /// The epoch that the log's leader, this node, has now.
    pub leader_epoch: i32,
    /// What becomes of its timestamps.
    pub stamp: Stamp,
}

/// What becomes of a batch's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The producer's stay (CreateTime).
    Create,
    /// The batch gets this time, in milliseconds since 1970 (LogAppendTime).
    LogAppend(i64),
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The time it got, or -1 where the producer's timestamps stay.
    pub log_append_time_ms: i64,
}

/// The log of one partition. Lives on one shard, shared there by `Rc`.
///
/// ```text
///   Idle --make_ready--> Active --write error--> Poisoned
///     \______________________\___close, delete___> Closed
/// ```
pub struct Log<E: Env> {
    pub(super) writer: Rc<Writer<E>>,
    pub(super) id: PartitionId,
    pub(super) name: TopicPartition,
    pub(super) dir: PathBuf,
    pub(super) config: RefCell<LogConfig>,
    pub(super) state: RefCell<State>,
    pub(super) progress: Progress,
    /// All segments by base offset. The last one is active, unless it is sealed: then the next append makes another.
    pub(super) segments: RefCell<BTreeMap<Offset, Rc<Segment<E>>>>,
    /// The newest bytes.
    pub(super) tail: RefCell<Tail>,
    /// See `journal::record`.
    pub(super) chain: Cell<u32>,
}

/// What a log can do.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Opened, its last partial block not in memory yet.
    Idle,
    /// Takes appends.
    Active,
    /// A write failed, or the directory is offline: reads only.
    Failed(Error),
    /// Closed or deleted.
    Closed,
}

/// What recovery knows of a log; [`Log::open`] makes the log of it.
pub struct Recovered<E: Env> {
    pub(super) id: PartitionId,
    pub(super) name: TopicPartition,
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    /// First offset that may be read.
    pub(super) log_start: Offset,
    /// Offset after the last record; all of them are durable.
    pub(super) log_end: Offset,
    /// Ascending; empty for a new log. `end_position`, `end_offset`, `prepared`, `sealed` and `max_timestamp` are set. The last
    /// one may be unsealed: then the log goes on in it.
    pub(super) segments: Vec<Rc<Segment<E>>>,
    /// The bytes after the last full block of an unsealed last segment, where recovery has them from a journal and has
    /// put them into this generation's journal, flushed, with chain 0. `None`: they are in the segment's file.
    pub(super) tail: Option<Vec<u8>>,
    /// The log takes no appends and its files are left as they are.
    pub(super) quarantined: Option<Error>,
}

impl<E: Env> Log<E> {
    /// A log as recovery found it. Nothing is read or written.
    pub(super) fn open(writer: &Rc<Writer<E>>, found: Recovered<E>) -> Rc<Self> {
        let _ = (writer, found.id, found.log_start, found.log_end, &found.segments, &found.tail, &found.quarantined);
        let _ = (&found.name, &found.dir, &found.config);
        unimplemented!("the log")
    }

    /// Takes a batch, in memory only; `NotReady` where [`Self::make_ready`] must be awaited first.
    pub fn append(self: &Rc<Self>, batch: Append<'_>) -> Result<Appended, Error> {
        let _ = batch;
        unimplemented!("the log")
    }

    /// Where the whole batches are that hold offsets from `from` and end before `upto`, at most `max_bytes` of them, but
    /// the first one always with `at_least_one`.
    pub fn plan_read(
        self: &Rc<Self>,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<ReadPlan<E>, Error> {
        let _ = (from, upto, max_bytes, at_least_one);
        unimplemented!("the log")
    }

    /// The log's identity.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The log's name.
    #[must_use]
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// Whether a batch of so many bytes would be taken now.
    #[must_use]
    pub fn ready(&self, bytes: usize) -> bool {
        let _ = bytes;
        unimplemented!("the log")
    }

    /// Waits until a batch of so many bytes would be taken, in the order of the calls, and keeps memory for it.
    pub async fn make_ready(self: &Rc<Self>, bytes: usize) -> Result<(), Error> {
        let _ = bytes;
        unimplemented!("the log")
    }

    /// First offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.progress.log_start.get()
    }

    /// Offset that the next record will get.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.progress.log_end.get()
    }

    /// Records below survive the death of the process.
    #[must_use]
    pub fn written_offset(&self) -> Offset {
        self.progress.written.get()
    }

    /// Records below survive the loss of power.
    #[must_use]
    pub fn durable_offset(&self) -> Offset {
        self.progress.durable.get()
    }

    /// Ends when all records below `offset` are written, or with the error that keeps them from it.
    pub async fn wait_written(&self, offset: Offset) -> Result<(), Error> {
        let _ = offset;
        unimplemented!("the log")
    }

    /// Ends when all records below `offset` are durable, or with the error that keeps them from it.
    pub async fn wait_durable(&self, offset: Offset) -> Result<(), Error> {
        let _ = offset;
        unimplemented!("the log")
    }

    /// Told whenever the written or the durable offset rises, or the log fails.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.progress.changed
    }

    /// Why the log takes no appends any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        match &*self.state.borrow() {
            State::Failed(error) => Some(error.clone()),
            State::Closed => Some(Error::Closed { log: self.name.clone() }),
            State::Idle | State::Active => None,
        }
    }

    /// Changes what the topic may set, from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        self.config.replace(config);
    }

    /// Ends the active segment; the next append begins another. Nothing where it is empty.
    pub fn roll(&self) -> Result<(), Error> {
        unimplemented!("the log")
    }
}
