//! The log of one partition: takes batches, and says how far they have come.
//!
//! `append` is memory only: it copies the batch behind the log's newest bytes, which verifies its checksum on the way,
//! and puts the log on the dirty list. What goes to the disk, and when, is `window` and `committer`.
//!
//! ```text
//!   Idle --make_ready--> Active                         a failed write or flush is noted in `progress`:
//!     \______________________\___close, delete___> Closed   no appends any more, reads go on
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use super::buffer::Tail;
use super::config::LogConfig;
use super::error::Error;
use super::landings::Landing;
use super::memory::Evicted;
use super::progress::{Goal, Progress};
use super::segment::Segment;
use super::segment_index::BatchPlace;
use super::writer::Writer;
use crate::io::buf::CLASSES_BYTES;
use crate::io::local::Notify;
use crate::io::{AppendBuf, Env};
use crate::record::batch::CRC_AT;
use crate::record::crc::{self, HeaderStamp};
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

/// A point between two batches of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The offset of the next batch.
    pub(super) offset: Offset,
    /// The segment that the batch before lies in, by its base offset.
    pub(super) segment: Offset,
    /// Where in the segment that batch ends.
    pub(super) position: u64,
    /// See `journal::record`.
    pub(super) chain: u32,
}

/// The log of one partition. Lives on one shard, shared there by `Rc`.
pub struct Log<E: Env> {
    pub(super) writer: Rc<Writer<E>>,
    pub(super) id: PartitionId,
    pub(super) name: TopicPartition,
    pub(super) dir: PathBuf,
    pub(super) config: RefCell<LogConfig>,
    pub(super) state: Cell<State>,
    pub(super) progress: Progress,
    /// All segments by base offset.
    pub(super) segments: RefCell<BTreeMap<Offset, Rc<Segment<E>>>>,
    /// Segments that retention gave up, as long as somebody has them: replies under way may read them again.
    pub(super) gone: RefCell<BTreeMap<Offset, Weak<Segment<E>>>>,
    /// The last segment, unless it is sealed: then the next append makes another.
    pub(super) active: RefCell<Option<Rc<Segment<E>>>>,
    /// Sealed segments whose last blocks were not handed to the kernel yet.
    pub(super) sealing: RefCell<VecDeque<Rc<Segment<E>>>>,
    /// The newest bytes.
    pub(super) tail: RefCell<Tail>,
    pub(super) chain: Cell<u32>,
    /// Where the last window ended.
    pub(super) window_mark: Cell<Mark>,
    /// Where the last written window ended.
    pub(super) written_mark: Cell<Mark>,
    /// Segment and position below which every byte is flushed in its segment: memory may give it up.
    pub(super) stored: Cell<(Offset, u64)>,
    pub(super) guard: Cell<Guard>,
    /// The next window takes the tail also without new bytes.
    pub(super) forced: Cell<bool>,
    /// Is on the dirty list.
    pub(super) dirty: Cell<bool>,
    /// Place of the newest journal record that names the log; [`NO_PLACE`] before the first.
    pub(super) newest_place: Cell<u64>,
    /// Place of the newest one that is flushed.
    pub(super) flushed_place: Cell<u64>,
    /// Counts among those whose tail the journal must hold.
    pub(super) is_live: Cell<bool>,
    /// Bytes of its newest journal record beyond a block.
    pub(super) long_tail_bytes: Cell<u64>,
    /// Rolled segments that are being cut to their length.
    pub(super) finishing: Cell<usize>,
    /// Is on the memory's list of large chunks.
    pub(super) noted_large: Cell<bool>,
    chunk_bytes: Cell<usize>,
    chunk_ns: Cell<u64>,
    /// Next step of room, and when the last one was made (`prepare`).
    pub(super) room_bytes: Cell<u64>,
    pub(super) room_ns: Cell<u64>,
}

/// What a log can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Opened, its last partial block not in memory yet.
    Idle,
    /// Takes appends.
    Active,
    /// Closed or deleted.
    Closed,
}

/// Protects acknowledged bytes that lie in a partial block of the segment's file since before the log was opened: the
/// block must not be written before a flushed journal record of this start holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing to protect.
    Down,
    /// The next window takes the whole tail into the journal and writes no block.
    Up,
    /// That window is under way; until it is durable the log takes part in no other.
    Held,
}

/// What recovery knows of a log; `Log::open` makes the log of it.
pub struct Recovered<E: Env> {
    pub(super) id: PartitionId,
    pub(super) name: TopicPartition,
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    /// First offset that may be read.
    pub(super) log_start: Offset,
    /// Offset after the last record; all of them are durable.
    pub(super) log_end: Offset,
    /// Ascending; empty for a new log. `end_position`, `end_offset`, `file_bytes` (0: there is no file of its name),
    /// `max_timestamp` and `sealed` are set. All but the last are sealed; the log goes on in the last one if it is not.
    pub(super) segments: Vec<Rc<Segment<E>>>,
    /// The bytes after the last full block of an unsealed last segment, where they are not all in its file: then they are in
    /// the flushed record at `place` of the journal that the writer was started with. `None`: they are in the file.
    pub(super) tail: Option<Vec<u8>>,
    /// Logical position of the record of this start that names the log, if one does.
    pub(super) place: Option<u64>,
    /// The log takes no appends and its files are left as they are.
    pub(super) quarantined: Option<Error>,
}

impl<E: Env> Log<E> {
    /// A log as recovery found it, or a new one. Nothing is read or written.
    pub(super) fn open(writer: &Rc<Writer<E>>, found: Recovered<E>) -> Rc<Self> {
        let active = found.segments.last().filter(|segment| !segment.sealed.get()).cloned();
        let (segment, position) =
            active.as_ref().map_or((found.log_end, 0), |segment| (segment.base_offset, segment.end_position.get()));
        for segment in &found.segments {
            segment.placed.set(segment.file_bytes.get() > 0);
            let given =
                if segment.sealed.get() { u64::MAX } else { writer.config.block_floor(segment.end_position.get()) };
            segment.submitted.set(given);
        }
        let mark = Mark { offset: found.log_end, segment, position, chain: 0 };
        let state = if position == 0 { State::Active } else { State::Idle };
        let log = Rc::new(Self {
            writer: Rc::clone(writer),
            id: found.id,
            name: found.name,
            dir: found.dir,
            config: RefCell::new(found.config),
            state: Cell::new(state),
            progress: Progress::new(found.log_start, found.log_end),
            segments: RefCell::new(found.segments.into_iter().map(|segment| (segment.base_offset, segment)).collect()),
            gone: RefCell::default(),
            active: RefCell::new(active),
            sealing: RefCell::default(),
            tail: RefCell::default(),
            chain: Cell::new(0),
            window_mark: Cell::new(mark),
            written_mark: Cell::new(mark),
            stored: Cell::new((segment, writer.config.block_floor(position))),
            guard: Cell::new(Guard::Down),
            forced: Cell::new(false),
            dirty: Cell::new(false),
            newest_place: Cell::new(NO_PLACE),
            flushed_place: Cell::new(0),
            is_live: Cell::new(false),
            long_tail_bytes: Cell::new(0),
            finishing: Cell::new(0),
            noted_large: Cell::new(false),
            chunk_bytes: Cell::new(writer.memory.chunk_bytes_min()),
            chunk_ns: Cell::new(0),
            room_bytes: Cell::new(writer.config.prepare_bytes_min),
            room_ns: Cell::new(0),
        });
        if let Some(error) = found.quarantined {
            log.progress.fail(error);
        }
        writer.register(&log);
        if let Some(tail) = found.tail {
            log.load_tail(&tail);
        }
        if let Some(place) = found.place {
            writer.count_live(&log);
            writer.journal.borrow_mut().note(place, &log);
            log.flushed_place.set(place);
        }
        log
    }

    /// Appends a batch: gives it its offsets and copies it, nothing else. On an error nothing was appended.
    pub fn append(self: &Rc<Self>, batch: Append<'_>) -> Result<Appended, Error> {
        let bytes = batch.records.len();
        self.check_open(bytes)?;
        let now_ms = self.writer.rt.wall_ms();
        let rolls = self.must_roll(&batch, bytes, now_ms);
        if !self.reserve(bytes, rolls, false) {
            return Err(Error::NotReady { log: self.name.clone(), bytes });
        }
        if rolls {
            self.seal_active();
        }
        self.writer.count_live(self);
        let segment = self.active_segment(now_ms);
        let base_offset = self.progress.log_end.get();
        let (stored_crc, log_append_time_ms) = self.stage(&batch, base_offset)?;
        let position = segment.end_position.get();
        let filled = self.tail.borrow_mut().publish(segment.base_offset, position, bytes);
        for _ in 0..filled {
            self.writer.memory.note_full(self);
        }
        let last_offset = base_offset.plus(i64::from(batch.header.last_offset_delta));
        let max_timestamp = log_append_time_ms.unwrap_or_else(|| batch.header.largest_timestamp());
        self.note_batch(&segment, BatchPlace { position, len: bytes as u64, last_offset, max_timestamp });
        self.chain.set(crc32c::crc32c_append(self.chain.get(), &stored_crc.to_be_bytes()));
        self.progress.append(last_offset.plus(1));
        self.writer.mark_dirty(self);
        Ok(Appended { base_offset, last_offset, log_append_time_ms: log_append_time_ms.unwrap_or(-1) })
    }

    /// Copies the batch behind the newest bytes, verified and stamped. Answers the checksum that it got.
    fn stage(&self, batch: &Append<'_>, base_offset: Offset) -> Result<(u32, Option<i64>), Error> {
        let mut header = batch.records.header_bytes().expect("a checked batch has a header");
        let mut tail = self.tail.borrow_mut();
        let computed = tail.stage(&header, batch.records, crc::of_header(&header));
        if computed != batch.header.crc {
            return Err(Error::Corrupt { log: self.name.clone(), stated: batch.header.crc, computed });
        }
        let log_append_time_ms = match batch.stamp {
            Stamp::Create => None,
            Stamp::LogAppend(now_ms) => Some(now_ms),
        };
        crc::stamp(&mut header, &HeaderStamp { base_offset, leader_epoch: batch.leader_epoch, log_append_time_ms });
        tail.restage_header(&header);
        let stored_crc = header[CRC_AT..].first_chunk().copied().map_or(computed, u32::from_be_bytes);
        Ok((stored_crc, log_append_time_ms))
    }

    fn note_batch(&self, segment: &Segment<E>, place: BatchPlace) {
        segment.end_position.set(place.position + place.len);
        segment.end_offset.set(place.last_offset.plus(1));
        segment.max_timestamp.set(segment.max_timestamp.get().max(place.max_timestamp));
        let interval_bytes = u64::from(self.config.borrow().index_interval_bytes);
        segment.note_batch(place, interval_bytes, &self.writer.reads.indexes);
    }

    /// Why no batch of so many bytes is taken now, whatever memory there is.
    pub(super) fn check_open(&self, bytes: usize) -> Result<(), Error> {
        if let Some(error) = self.failure().or_else(|| self.writer.directory.offline()) {
            return Err(error);
        }
        if let Some(error) = self.writer.space.refusal() {
            return Err(error);
        }
        let segment_bytes = self.config.borrow().segment_bytes;
        if u32::try_from(bytes).map_or(true, |bytes| bytes > segment_bytes) {
            return Err(Error::TooLarge { log: self.name.clone(), bytes, segment_bytes });
        }
        if !self.writer.has_place_for(self) {
            let (journal_bytes, logs) = (self.writer.config.journal_bytes, self.writer.live_logs.get());
            return Err(Error::JournalFull { journal_bytes, logs });
        }
        let backlog = self.sealing.borrow().len() >= SEALING_MAX;
        match self.state.get() {
            State::Active if !backlog => Ok(()),
            State::Idle | State::Active => Err(Error::NotReady { log: self.name.clone(), bytes }),
            State::Closed => Err(Error::Closed { log: self.name.clone() }),
        }
    }

    /// Whether the batch must not go into the active segment (`LogSegment.shouldRoll` of Kafka).
    fn must_roll(&self, batch: &Append<'_>, bytes: usize, now_ms: i64) -> bool {
        let Some(active) = &*self.active.borrow() else { return false };
        let last_offset = self.log_end_offset().plus(i64::from(batch.header.last_offset_delta));
        self.is_full(active, bytes, now_ms) || last_offset.0 - active.base_offset.0 > i64::from(i32::MAX)
    }

    fn is_full(&self, active: &Segment<E>, bytes: usize, now_ms: i64) -> bool {
        let config = self.config.borrow();
        let end_position = active.end_position.get();
        let first_ms = active.first_append_ms.get();
        end_position > 0
            && (end_position + bytes as u64 > u64::from(config.segment_bytes)
                || (first_ms >= 0 && now_ms - first_ms > config.segment_ms))
    }

    fn active_segment(&self, now_ms: i64) -> Rc<Segment<E>> {
        let mut active = self.active.borrow_mut();
        let segment = active.get_or_insert_with(|| {
            let segment = Segment::new(self.log_end_offset(), segment_path(&self.dir, self.log_end_offset()));
            self.segments.borrow_mut().insert(segment.base_offset, Rc::clone(&segment));
            segment
        });
        if segment.first_append_ms.get() < 0 {
            segment.first_append_ms.set(now_ms);
        }
        Rc::clone(segment)
    }

    /// Ends the active segment; its last block goes out, padded, with the next window.
    fn seal_active(self: &Rc<Self>) {
        let Some(segment) = self.active.borrow_mut().take() else { return };
        segment.sealed.set(true);
        if let Some(index) = &mut *segment.index.borrow_mut() {
            index.seal();
        }
        if self.tail.borrow_mut().seal(self.writer.config.disk.block_bytes) {
            self.writer.memory.note_full(self);
        }
        self.sealing.borrow_mut().push_back(segment);
    }

    /// Ends the active segment; the next append begins another. Nothing where it is empty.
    pub fn roll(self: &Rc<Self>) -> Result<(), Error> {
        self.check_open(0)?;
        if self.active.borrow().as_ref().is_some_and(|active| active.end_position.get() > 0) {
            self.seal_active();
            self.writer.mark_dirty(self);
        }
        Ok(())
    }

    /// Makes sure of memory for a batch. Nobody takes it past those who `wait`, unless he is the first of them.
    pub(super) fn reserve(self: &Rc<Self>, bytes: usize, rolls: bool, waited: bool) -> bool {
        loop {
            let free_bytes = self.tail.borrow().free_bytes(rolls);
            if free_bytes >= bytes {
                return true;
            }
            if self.writer.memory.is_waited_for() && !waited {
                return false;
            }
            let memory = &self.writer.memory;
            let smallest = memory.chunk_bytes_min();
            let wanted = self.next_chunk_bytes(bytes - free_bytes);
            let Some(buf) = memory.take(wanted).or_else(|| memory.take(smallest)) else { return false };
            self.writer.memory.note_taken(self, buf.capacity());
            self.tail.borrow_mut().add_spare(buf);
        }
    }

    /// Chunks grow while the log fills them quickly, and shrink while it does not.
    fn next_chunk_bytes(&self, missing: usize) -> usize {
        let now_ns = self.writer.rt.now_ns();
        let since_ns = now_ns.saturating_sub(self.chunk_ns.replace(now_ns));
        let smallest = self.writer.memory.chunk_bytes_min();
        let before = self.chunk_bytes.get();
        let size = match since_ns {
            0..CHUNK_QUICK_NS => (before * 4).min(self.writer.memory.chunk_bytes_max()),
            CHUNK_QUICK_NS..CHUNK_SLOW_NS => before,
            CHUNK_SLOW_NS.. => smallest,
        };
        self.chunk_bytes.set(size.max(smallest));
        let fitting = CLASSES_BYTES.iter().rev().find(|class| **class <= missing).copied().unwrap_or(smallest);
        self.chunk_bytes.get().max(fitting.min(self.writer.memory.chunk_bytes_max()))
    }

    /// Whether a batch of so many bytes would be taken now.
    #[must_use]
    pub fn ready(self: &Rc<Self>, bytes: usize) -> bool {
        self.check_open(bytes).is_ok() && self.reserve(bytes, self.would_roll(bytes), false)
    }

    /// Whether a batch of so many bytes ends the active segment.
    pub(super) fn would_roll(&self, bytes: usize) -> bool {
        let now_ms = self.writer.rt.wall_ms();
        self.active.borrow().as_ref().is_some_and(|active| self.is_full(active, bytes, now_ms))
    }

    /// Frees the oldest chunk in memory if it is full and stored.
    pub(super) fn evict(&self) -> Evicted {
        let (segment, position) = self.stored.get();
        let mut tail = self.tail.borrow_mut();
        if tail.evict(segment, position) {
            Evicted::Freed
        } else if tail.chunks.is_empty() || self.failure().is_some() {
            Evicted::Never
        } else {
            Evicted::NotYet
        }
    }

    /// Moves what is left of an idle log's open chunk to the smallest one.
    pub(super) fn shrink(&self, bytes: usize, take: impl FnOnce(usize) -> Option<AppendBuf>) -> bool {
        let idle = self.durable_offset() == self.log_end_offset() && self.guard.get() == Guard::Down;
        let Some(active) = self.active.borrow().as_ref().filter(|_| idle).cloned() else { return false };
        let (segment, position) = self.stored.get();
        segment == active.base_offset
            && position == active.submitted.get()
            && self.tail.borrow_mut().shrink(position, bytes, take)
    }

    /// Where the log ends.
    pub(super) fn end_mark(&self) -> Mark {
        let segments = self.segments.borrow();
        let last = segments.last_key_value().map(|(base, segment)| (*base, segment.end_position.get()));
        let (segment, position) = last.unwrap_or((self.window_mark.get().segment, self.window_mark.get().position));
        Mark { offset: self.log_end_offset(), segment, position, chain: self.chain.get() }
    }

    /// Takes the log out of service for good: no appends, no waits; reads below the durable offset go on.
    pub(super) fn fail(self: &Rc<Self>, error: Error) {
        let poisoned = matches!(error, Error::Poisoned { .. });
        let known = self.progress.has_failed();
        self.progress.fail(error);
        self.tail.borrow_mut().drop_spares();
        // Who waits for memory to append to it hears of its end.
        self.writer.memory.note_stored();
        if poisoned && !known {
            // The very next record says where the log ends: no later one may count the failed window as flushed before it.
            self.writer.mark_dirty_first(self);
        }
    }

    /// Whether the log was closed or deleted.
    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == State::Closed
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

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of the batches in its segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.borrow().values().map(|segment| segment.end_position.get()).sum()
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
        self.progress.wait(Goal::Written, offset).await
    }

    /// Ends when all records below `offset` are durable, or with the error that keeps them from it.
    pub async fn wait_durable(&self, offset: Offset) -> Result<(), Error> {
        self.progress.wait(Goal::Durable, offset).await
    }

    /// What a producer's acknowledgement waits for. Unlike the waits above it also ends, with an error, where the records wait
    /// for room on a full disk: they are written when space returns, but nobody knows when.
    pub async fn wait_for_ack(&self, goal: Goal, offset: Offset) -> Result<(), Error> {
        self.progress.wait_for_ack(goal, offset).await
    }

    /// When the record before `end` came as far as `goal`, as far as that is known: of the last few windows.
    #[must_use]
    pub fn landing(&self, goal: Goal, end: Offset) -> Landing {
        let landing = self.progress.landing(end);
        match goal {
            Goal::Written => Landing { durable_ns: 0, ..landing },
            Goal::Durable => landing,
        }
    }

    /// Told whenever the written or the durable offset rises, or the log fails.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.progress.changed
    }

    /// Why the log takes no appends any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.progress.failure()
    }

    /// What the topic may set, as it is now.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        self.config.borrow().clone()
    }

    /// Changes what the topic may set, from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        self.config.replace(config);
    }
}

/// `<log dir>/<20-digit base offset>.log`.
pub(super) fn segment_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base_offset.0))
}

/// [`Log::newest_place`] of a log that no journal record of this start names.
pub(super) const NO_PLACE: u64 = u64::MAX;
/// Rolled segments that wait for room, at the most: what one window can name.
pub(super) const SEALING_MAX: usize = 32;
/// A chunk that was filled within this time is followed by a larger one: 10 chunks a second.
const CHUNK_QUICK_NS: u64 = 100_000_000;
/// A chunk that lasted so long is followed by the smallest one.
const CHUNK_SLOW_NS: u64 = 2_000_000_000;
