//! One shard's part of a log directory: its logs, and all that is done for them beside appending and reading.
//!
//! Opened by `server/` with what [`recovery`](super::recovery) found; `shard/` and `partition/` take their logs from it.
//!
//! ```text
//!   recover -> Found -> Store::open on each shard -> Found::finish      a start
//!   create_log, delete_log                                             while it runs
//!   a segment is rolled  -> its index files, retention, checkpoint     by itself
//!   every minute         -> checkpoint                                 by itself
//!   every few minutes    -> retention                                  by itself
//!   raise_log_starts     -> checkpoint, segments given up              log_start
//!   Store::close on each shard -> stop::finish                         a clean stop
//! ```
//!
//! **Invariants.** 1. A log has a durable directory with its `partition.metadata` before it takes an append. 2. A checkpoint
//! speaks only of what was durable when its file was begun. 3. The mark of a clean stop is written last, when every
//! shard has closed without an error.
//!
//! **Cancellation.** The store's own tasks end with [`Store::close`]; dropping one of its futures leaves files that the next
//! start understands.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::{Checkpoint, CheckpointError, LogCheckpoint, PartitionState, SegmentCheckpoint};
use super::config::{Config, LogConfig};
use super::error::Error;
use super::kafka_files::{PARTITION_METADATA, partition_metadata, segment_file_name};
use super::log::{Log, Recovered};
use super::progress::Goal;
use super::recovery::{DELETED_SUFFIX, FoundLog, FoundSegment, OWN_DIR, RecoveryError, open_journal};
use super::segment::Segment;
use super::stop::Stopped;
use super::writer::{Directory, Writer};
use crate::io::local::Notify;
use crate::io::{Env, Job, Op, OpenHow, Output, Runtime, Slice};
use crate::types::{Offset, PartitionId, TopicPartition};

/// What one shard is given at its start.
#[derive(Debug)]
pub struct Share {
    /// [`Found::generation`](super::recovery::Found::generation).
    pub generation: u64,
    /// The shard's logs.
    pub logs: Vec<FoundLog>,
    /// Files ready for overwrites that this shard takes over.
    pub recycled: Vec<(PathBuf, u64)>,
}

/// Asked for what `partition/` keeps beside a log, at the moment of a checkpoint.
pub type StateOf = Rc<dyn Fn() -> PartitionState>;

/// A log to be made.
#[derive(Clone, Debug)]
pub struct NewLog {
    /// Its identity.
    pub id: PartitionId,
    /// Its name.
    pub name: TopicPartition,
    /// What it obeys.
    pub config: LogConfig,
}

/// One shard's logs.
pub struct Store<E: Env> {
    pub(super) rt: Rc<Runtime<E>>,
    writer: Rc<Writer<E>>,
    dir: PathBuf,
    generation: u64,
    logs: RefCell<BTreeMap<PartitionId, Held<E>>>,
    /// A checkpoint is due.
    pub(super) due: Cell<bool>,
    /// Someone writes a checkpoint: nobody else does.
    pub(super) busy: Cell<bool>,
    pub(super) closed: Cell<bool>,
    /// Told when `due`, `busy` or `closed` changes.
    pub(super) news: Notify,
}

struct Held<E: Env> {
    log: Rc<Log<E>>,
    /// What recovery knew, until `partition/` says itself.
    state: PartitionState,
    state_of: Option<StateOf>,
}

impl<E: Env> Store<E> {
    /// Opens the shard's logs. When it returns, every live tail is in the shard's new journal and the first checkpoint of
    /// this start is written.
    ///
    /// # Errors
    /// What keeps the shard from its journal. A log that cannot be opened is quarantined instead.
    pub async fn open(
        rt: &Rc<Runtime<E>>,
        config: Config,
        directory: &Arc<Directory>,
        share: Share,
        config_of: impl Fn(&FoundLog) -> LogConfig,
    ) -> Result<Rc<Self>, RecoveryError> {
        let Share { generation, mut logs, recycled } = share;
        let dir = directory.path().clone();
        for log in logs.iter_mut().filter(|log| log.quarantined.is_none()) {
            tidy(rt, log).await;
        }
        let (journal, places) = open_journal(rt, &dir, generation, &config, &logs).await?;
        let writer = Writer::start(rt, config, directory, journal);
        let places: BTreeMap<PartitionId, u64> = places.into_iter().collect();
        let store = Rc::new(Self {
            rt: Rc::clone(rt),
            writer,
            dir,
            generation,
            logs: RefCell::default(),
            due: Cell::new(false),
            busy: Cell::new(false),
            closed: Cell::new(false),
            news: Notify::default(),
        });
        for found in logs {
            let log_config = config_of(&found);
            store.open_log(found, log_config, &places);
        }
        for (path, bytes) in recycled {
            if let Err(error) = store.writer.adopt(path.clone(), bytes).await {
                tracing::warn!(path = %path.display(), %error, "a recycled segment is not used");
            }
        }
        if let Err(error) = store.write_checkpoint(None).await {
            tracing::warn!(%error, "no checkpoint at the start: the next start reads more");
        }
        store.run();
        Ok(store)
    }

    fn open_log(&self, mut found: FoundLog, config: LogConfig, places: &BTreeMap<PartitionId, u64>) {
        let quarantined = found.quarantined.take().map(|reason| {
            tracing::error!(log = %found.name, %reason, "quarantined: not served, its files stay as they are");
            Error::Quarantined { log: found.name.clone(), reason }
        });
        let segments: Vec<Rc<Segment<E>>> =
            found.segments.into_iter().map(|segment| made(&found.dir, segment)).collect();
        let place = places.get(&found.id).copied();
        let recovered = Recovered {
            id: found.id,
            name: found.name,
            dir: found.dir,
            config,
            log_start: found.log_start.min(found.log_end),
            log_end: found.log_end,
            segments,
            tail: place.map(|_| found.tail).filter(|tail| !tail.is_empty()),
            place,
            quarantined,
        };
        let id = recovered.id;
        let log = Log::open(&self.writer, recovered);
        self.logs.borrow_mut().insert(id, Held { log, state: found.state, state_of: None });
    }

    /// Starts what the store does by itself.
    fn run(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.writer.set_on_sealed(Rc::new(move |log, segment| {
            if let Some(store) = weak.upgrade() {
                let (log, segment) = (Rc::clone(log), Rc::clone(segment));
                store.rt.clone().spawn(async move { store.after_roll(log, segment).await }).detach();
            }
        }));
        self.rt.spawn(checkpoints(Rc::downgrade(self), Rc::clone(&self.rt))).detach();
        let check_ms = self.writer.config.retention_check_ms;
        self.rt.spawn(retention(Rc::downgrade(self), Rc::clone(&self.rt), check_ms)).detach();
    }

    /// The log directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why the directory takes nothing any more, if so.
    #[must_use]
    pub fn offline(&self) -> Option<Error> {
        self.writer.directory.offline()
    }

    /// The write side.
    #[must_use]
    pub fn writer(&self) -> &Rc<Writer<E>> {
        &self.writer
    }

    /// One of the shard's logs.
    #[must_use]
    pub fn log(&self, id: PartitionId) -> Option<Rc<Log<E>>> {
        self.logs.borrow().get(&id).map(|held| Rc::clone(&held.log))
    }

    /// All logs of the shard.
    #[must_use]
    pub fn logs(&self) -> Vec<Rc<Log<E>>> {
        self.logs.borrow().values().map(|held| Rc::clone(&held.log)).collect()
    }

    /// What recovery knew beside a log: taken once, by `partition/`, which from then on answers through `state_of`.
    #[must_use]
    pub fn take_state(&self, id: PartitionId) -> PartitionState {
        self.logs.borrow_mut().get_mut(&id).map(|held| std::mem::take(&mut held.state)).unwrap_or_default()
    }

    /// Says who knows what is kept beside a log. What it answers must be true of the log up to its end at that moment.
    pub fn set_state_of(&self, id: PartitionId, state_of: StateOf) {
        if let Some(held) = self.logs.borrow_mut().get_mut(&id) {
            held.state_of = Some(state_of);
        }
    }

    /// Makes a log; it is there durably, and empty.
    ///
    /// # Errors
    /// The directory could not be made.
    pub async fn create_log(
        &self,
        id: PartitionId,
        name: TopicPartition,
        config: LogConfig,
    ) -> Result<Rc<Log<E>>, Error> {
        let mut made = self.create_logs(vec![NewLog { id, name, config }]).await;
        made.pop().expect("an answer for each")
    }

    /// Makes logs, some at a time; answers for each in order. Few are made durable each by itself, many together.
    pub async fn create_logs(&self, new: Vec<NewLog>) -> Vec<Result<Rc<Log<E>>, Error>> {
        if let Some(error) = self.writer.directory.offline() {
            return new.iter().map(|_| Err(error.clone())).collect();
        }
        let together = new.len() >= TOGETHER_MIN;
        let mut made = Vec::with_capacity(new.len());
        for some in new.chunks(MADE_AT_ONCE) {
            let jobs: Vec<_> = some.iter().map(|log| self.rt.submit(Op::Job(self.made_by(log, together)))).collect();
            for (job, log) in jobs.into_iter().zip(some) {
                let failed = |error| Error::io("cannot make", self.dir.join(log.name.to_string()), error);
                made.push(job.await.result.map(drop).map_err(failed));
            }
        }
        if together && let Err(error) = self.rt.job(Job::FlushFileSystem(self.dir.clone())).await {
            let error = Error::io("cannot flush", &self.dir, error);
            return new.iter().map(|_| Err(error.clone())).collect();
        }
        new.into_iter().zip(made).map(|(log, made)| made.map(|()| self.open_new(log))).collect()
    }

    /// Makes the directory of a log, and says in it whose it is.
    fn made_by(&self, log: &NewLog, later: bool) -> Job<E> {
        let dir = self.dir.join(log.name.to_string());
        let path = dir.join(PARTITION_METADATA);
        let text = partition_metadata::encode(log.id.topic_id).into_bytes();
        Job::Sequence(if later {
            vec![Job::CreateDirLater(dir), Job::WriteEnd(path, 0, vec![Slice::from(Bytes::from(text))])]
        } else {
            vec![Job::CreateDir(dir), Job::WriteFile(path, text)]
        })
    }

    fn open_new(&self, NewLog { id, name, config }: NewLog) -> Rc<Log<E>> {
        let (log_start, log_end) = (Offset::ZERO, Offset::ZERO);
        let dir = self.dir.join(name.to_string());
        let segments = Vec::new();
        let found = Recovered {
            id,
            name,
            dir,
            config,
            log_start,
            log_end,
            segments,
            tail: None,
            place: None,
            quarantined: None,
        };
        let log = Log::open(&self.writer, found);
        let held = Held { log: Rc::clone(&log), state: PartitionState::default(), state_of: None };
        self.logs.borrow_mut().insert(id, held);
        log
    }

    /// Deletes a log: it is gone at once, and durably when this returns. Its files follow.
    ///
    /// # Errors
    /// The directory could not be renamed; the log is out of service all the same.
    pub async fn delete_log(&self, id: PartitionId) -> Result<(), Error> {
        let Some(held) = self.logs.borrow_mut().remove(&id) else { return Ok(()) };
        held.log.delete();
        let dir = held.log.dir().to_path_buf();
        let gone = self.dir.join(format!("{}.{:016x}{DELETED_SUFFIX}", held.log.name(), self.rt.env().random()));
        let renamed = self.rt.job(Job::Rename(dir.clone(), gone.clone())).await;
        renamed.map_err(|error| Error::io("cannot rename", dir, error))?;
        let rt = Rc::clone(&self.rt);
        let remove = async move {
            if let Err(error) = rt.job(Job::Remove(gone.clone())).await {
                tracing::warn!(path = %gone.display(), %error, "a deleted log stays until the next start");
            }
        };
        self.rt.spawn(remove).detach();
        Ok(())
    }

    /// After a segment was rolled and settled: its indexes, what retention allows now, and a checkpoint soon.
    async fn after_roll(self: Rc<Self>, log: Rc<Log<E>>, segment: Rc<Segment<E>>) {
        let index = segment.index.borrow().clone();
        if let Some(index) = index
            && let Err(error) = log.write_index(&segment, &index).await
        {
            tracing::warn!(%error, "an index is built anew when it is needed");
        }
        log.forget_index(&segment);
        self.retain(&log, false).await;
        self.due.set(true);
        self.news.notify_all();
    }

    async fn retain(&self, log: &Rc<Log<E>>, rolls: bool) {
        if self.closed.get() {
            return;
        }
        match log.apply_retention(self.rt.env().wall_ms(), rolls).await {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(log = %log.name(), segments, start = %log.log_start_offset(), "retention"),
            Err(error) => tracing::warn!(%error, "retention"),
        }
    }

    /// Writes a checkpoint of everything as it is now, once that is durable. One at a time: see [`Store::save`].
    pub(super) async fn write_checkpoint(&self, clean_stop: Option<i64>) -> Result<(), Error> {
        let retired = self.writer.take_waiting();
        let written = self.write_snapshot(clean_stop).await;
        let fresh = match &written {
            Ok(fresh) => fresh.clone(),
            Err(_) => BTreeSet::new(),
        };
        // A log that is deleted meanwhile takes its files along.
        let known = |id: &PartitionId| self.logs.borrow().contains_key(id);
        let (gone, kept): (Vec<_>, Vec<_>) = retired.into_iter().partition(|(id, _)| fresh.contains(id));
        self.writer.wait_again(kept.into_iter().filter(|(id, _)| known(id)));
        self.retire(gone.into_iter().map(|(_, segment)| segment).collect()).await;
        written.map(drop)
    }

    /// Gives the files of segments away of which no checkpoint speaks any more.
    async fn retire(&self, segments: Vec<Rc<Segment<E>>>) {
        if let Err(error) = self.writer.retire(segments).await {
            tracing::warn!(%error, "files of deleted segments stay until the next start");
        }
    }

    /// Writes the checkpoint. Answers the logs that it says something new of.
    async fn write_snapshot(&self, clean_stop: Option<i64>) -> Result<BTreeSet<PartitionId>, Error> {
        let snapshot: Vec<(LogCheckpoint, Rc<Log<E>>)> =
            self.logs.borrow().values().map(|held| (held.snapshot(), Rc::clone(&held.log))).collect();
        let mut logs = Vec::with_capacity(snapshot.len());
        let mut failed = BTreeMap::new();
        for (entry, log) in snapshot {
            let end = Offset(entry.log_end);
            if entry.quarantined.is_some() || log.wait_for_ack(Goal::Durable, end).await.is_ok() {
                logs.push(entry);
            } else {
                failed.insert(entry.id(), entry.log_start);
            }
        }
        let fresh = logs.iter().map(LogCheckpoint::id).collect();
        let shard = self.rt.shard().0;
        let path = self.checkpoint_path();
        if !failed.is_empty() {
            logs.extend(self.said_before(&path, &failed).await?);
        }
        let starts: Vec<(PartitionId, i64)> = logs.iter().map(|log| (log.id(), log.log_start)).collect();
        let checkpoint = Checkpoint { generation: self.generation, shard, clean_stop, logs };
        let failed = |error| Error::io("cannot write", &path, error);
        let bytes = self.rt.compute(move || checkpoint.encode()).await.map_err(failed)?;
        self.rt.job(Job::WriteFile(path.clone(), bytes)).await.map_err(failed)?;
        for (id, start) in starts {
            if let Some(log) = self.log(id) {
                log.progress.advance_saved_start(Offset(start));
            }
        }
        Ok(fresh)
    }

    /// What this start's last checkpoint says of logs that have failed since, or that wait for room on a full disk: it stays
    /// true, and without it recovery would not know where they begin. Only where they begin now (`logs`) is news.
    async fn said_before(&self, path: &Path, logs: &BTreeMap<PartitionId, i64>) -> Result<Vec<LogCheckpoint>, Error> {
        let read = self.rt.job(Job::ReadFile(path.into(), CHECKPOINT_BYTES_MAX)).await;
        let bytes = match read {
            Ok(Output::Bytes(bytes)) => bytes,
            Ok(_) => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("cannot read", path, error)),
        };
        let invalid = |error: CheckpointError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let checkpoint = Checkpoint::decode(&bytes).map_err(|error| Error::io("cannot read", path, invalid(error)))?;
        let begins = |log: LogCheckpoint| {
            let log_start = log.log_start.max(*logs.get(&log.id())?);
            Some(LogCheckpoint { log_start, ..log })
        };
        Ok(checkpoint.logs.into_iter().filter_map(begins).collect())
    }

    /// The shard's checkpoint of this start.
    fn checkpoint_path(&self) -> PathBuf {
        self.dir.join(OWN_DIR).join(Checkpoint::file_name(self.rt.shard(), self.generation))
    }

    /// Stops cleanly: every byte of every log goes to its segment, indexes and the last checkpoint are written. `number` marks the
    /// stop, the same for all shards. Nothing may be appended any more.
    pub async fn close(&self, number: i64) -> Stopped {
        self.closed.set(true);
        self.news.notify_all();
        while self.busy.get() {
            self.news.wait().await;
        }
        // What is given up from here on the last checkpoint still speaks of: those files stay.
        let retired = self.writer.take_waiting();
        // Before the logs are closed: afterwards nobody may ask them.
        let states: Vec<(Rc<Log<E>>, LogCheckpoint)> =
            self.logs.borrow().values().map(|held| (Rc::clone(&held.log), held.snapshot())).collect();
        let (served, quarantined): (Vec<_>, Vec<_>) =
            states.into_iter().partition(|(_, entry)| entry.quarantined.is_none());
        let mut result = self.writer.close_logs(served.iter().map(|(log, _)| Rc::clone(log)).collect()).await;
        if result.is_ok() {
            result = self.close_files(&served).await;
        }
        if result.is_ok() {
            result = self.writer.flush_all().await.map_err(|error| Error::io("cannot flush", &self.dir, error));
        }
        self.writer.close();
        let mut stopped = Stopped::of(served.iter().map(|(_, entry)| entry));
        let logs = served.into_iter().chain(quarantined).map(|(_, entry)| entry).collect();
        // A flush that failed on another shard may have taken what was settled here meanwhile.
        result = result.and(self.writer.directory.offline().map_or(Ok(()), Err));
        if result.is_ok() {
            result = self.write_last(number, logs).await;
        }
        if result.is_ok() {
            self.retire(retired.into_iter().map(|(_, segment)| segment).collect()).await;
        }
        stopped.failed = result.err();
        stopped
    }

    async fn write_last(&self, number: i64, logs: Vec<LogCheckpoint>) -> Result<(), Error> {
        let shard = self.rt.shard().0;
        let checkpoint = Checkpoint { generation: self.generation, shard, clean_stop: Some(number), logs };
        let path = self.checkpoint_path();
        let written = self.rt.job(Job::WriteFile(path.clone(), checkpoint.encode())).await;
        written.map(drop).map_err(|error| Error::io("cannot write", path, error))
    }
}

impl<E: Env> Held<E> {
    /// The log as it is now.
    fn snapshot(&self) -> LogCheckpoint {
        let log = &self.log;
        let quarantined = match log.failure() {
            Some(Error::Quarantined { reason, .. }) => Some(reason.to_string()),
            _ => None,
        };
        let segments: Vec<Rc<Segment<E>>> = log.segments.borrow().values().cloned().collect();
        let (offset_index, time_index) = segments.last().map(|last| thinned(last)).unwrap_or_default();
        LogCheckpoint {
            topic_id: log.id().topic_id.0,
            topic: log.name().topic.to_string(),
            partition: log.name().partition,
            log_start: log.log_start_offset().0,
            log_end: log.log_end_offset().0,
            chain: log.chain.get(),
            segments: segments.iter().map(|segment| segment_checkpoint(segment)).collect(),
            offset_index,
            time_index,
            state: self.state_of.as_ref().map_or_else(|| self.state.clone(), |state_of| state_of()),
            quarantined,
        }
    }
}

fn segment_checkpoint<E: Env>(segment: &Segment<E>) -> SegmentCheckpoint {
    let largest = segment.index.borrow().as_ref().map(|index| index.largest);
    SegmentCheckpoint {
        base_offset: segment.base_offset.0,
        end_offset: segment.end_offset.get().0,
        bytes: segment.end_position.get(),
        max_timestamp: segment.max_timestamp.get(),
        max_timestamp_offset: largest.map_or(segment.base_offset, |largest| largest.offset).0,
        first_append_ms: segment.first_append_ms.get(),
        sealed: segment.sealed.get(),
    }
}

/// The last segment's indexes with few entries: a start after a crash finds a place to begin at, and looks on from there.
fn thinned<E: Env>(segment: &Segment<E>) -> (Vec<u8>, Vec<u8>) {
    let Some(mut index) = segment.index.borrow().clone() else { return Default::default() };
    let gap_bytes = (segment.end_position.get() / THINNED_ENTRIES).max(THINNED_GAP_BYTES);
    index.offsets.thin(gap_bytes);
    index.times.thin(THINNED_TIMES);
    // copies: index entries
    (index.offsets.as_bytes().to_vec(), index.times.as_bytes().to_vec()) // copies: index entries
}

fn made<E: Env>(dir: &Path, found: FoundSegment) -> Rc<Segment<E>> {
    let segment = Segment::new(found.base_offset, dir.join(segment_file_name(found.base_offset, "log")));
    segment.end_position.set(found.bytes);
    segment.end_offset.set(found.end_offset);
    segment.file_bytes.set(found.file_bytes.unwrap_or(0));
    segment.max_timestamp.set(found.max_timestamp);
    segment.first_append_ms.set(found.first_append_ms);
    segment.sealed.set(found.sealed);
    // A rolled segment's indexes are in its files; recovery's own may begin in the middle.
    segment.index.replace(if found.sealed { None } else { found.index });
    segment
}

/// Removes what lies behind a log's end, and room behind the batches of its rolled segments.
async fn tidy<E: Env>(rt: &Rc<Runtime<E>>, log: &mut FoundLog) {
    let beyond = std::mem::take(&mut log.beyond);
    // The last segment goes on where it had been rolled: its index files speak of batches that are no more.
    let cut =
        log.segments.last().filter(|last| !last.sealed && beyond.last().is_some_and(|base| *base > last.base_offset));
    for suffix in ["index", "timeindex"] {
        if let Some(last) = cut {
            let _ = rt.job(Job::Remove(log.dir.join(segment_file_name(last.base_offset, suffix)))).await;
        }
    }
    for base in beyond {
        for suffix in ["log", "index", "timeindex"] {
            let _ = rt.job(Job::Remove(log.dir.join(segment_file_name(base, suffix)))).await;
        }
    }
    for segment in log.segments.iter_mut().filter(|segment| segment.sealed) {
        if segment.file_bytes.is_none_or(|bytes| bytes <= segment.bytes) {
            continue;
        }
        let path = log.dir.join(segment_file_name(segment.base_offset, "log"));
        let how = OpenHow { write: true, ..OpenHow::default() };
        if let Ok(Output::File(file)) = rt.job(Job::Open(path, how)).await
            && rt.job(Job::Truncate(file, segment.bytes)).await.is_ok()
        {
            segment.file_bytes = Some(segment.bytes);
        }
    }
}

/// Writes checkpoints when they are due, at most one a second, and one a minute.
async fn checkpoints<E: Env>(store: Weak<Store<E>>, rt: Rc<Runtime<E>>) {
    let mut last_ns = rt.now_ns();
    loop {
        rt.sleep_ms(CHECKPOINT_PAUSE_MS).await;
        let Some(store) = store.upgrade().filter(|store| !store.closed.get()) else { return };
        let minute = rt.now_ns().saturating_sub(last_ns) >= CHECKPOINT_EVERY_MS * 1_000_000;
        if !(store.due.replace(false) || minute || store.writer.has_waiting()) {
            continue;
        }
        last_ns = rt.now_ns();
        if let Err(error) = store.save().await {
            tracing::warn!(%error, "no checkpoint: the next start reads more");
        }
    }
}

/// Applies retention to every log again and again.
async fn retention<E: Env>(store: Weak<Store<E>>, rt: Rc<Runtime<E>>, check_ms: u64) {
    loop {
        rt.sleep_ms(check_ms).await;
        let Some(store) = store.upgrade().filter(|store| !store.closed.get()) else { return };
        for log in store.logs() {
            store.retain(&log, true).await;
        }
    }
}

/// Kafka's index of a checkpoint: so many entries at the most, and so far apart at the least.
const THINNED_ENTRIES: u64 = 256;
const THINNED_GAP_BYTES: u64 = 64 << 10;
const THINNED_TIMES: usize = 256;
/// Logs whose directories are made at a time: jobs on their way to housekeeping.
const MADE_AT_ONCE: usize = 256;
/// So many logs are cheaper to make durable by one flush of the file system than each by itself.
const TOGETHER_MIN: usize = 32;
const CHECKPOINT_PAUSE_MS: u64 = 1000;
const CHECKPOINT_EVERY_MS: u64 = 60_000;
/// More than any checkpoint has.
const CHECKPOINT_BYTES_MAX: usize = 1 << 30;
