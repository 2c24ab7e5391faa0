//! Where one log ends: the heart of recovery.
//!
//! ```text
//!   what is known      checkpoint's recovery point     newest flushed entry          newest entry
//!   of the log   ------------- A ----------------------------- D ------------------------ E
//!   its bytes                  |  every batch must be intact:  |  whole windows that are  |  nothing counts
//!                              |  else QUARANTINE              |  intact and chain; the   |
//!                              |                               |  first other one ends it |
//! ```
//!
//! An **entry** of the journal is a *mark*: (segment, position, offset, chain). Up to the last flushed mark (D) every byte was
//! acknowledged with acks=all or may have been: what cannot be read there is damage, and the log is quarantined with
//! all its files as they are. Behind D a window may have been written in part; it counts when its batches chain up to its
//! mark, and the first that does not ends the log at the mark before.
//!
//! Only entries of the newest generation that names the log count: each start begins with entries of its own for every
//! log that has a live tail, and positions behind an earlier end may hold other bytes since.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::journals::LogEntry;
use super::scan::{Cursor, SegmentReader, Step, Stop};
use super::{FoundLog, FoundSegment};
use crate::io::{Entry, Env, Runtime};
use crate::record::BatchHeader;
use crate::storage::checkpoint::{LogCheckpoint, PartitionState};
use crate::storage::journal::record::Kind;
use crate::storage::kafka_files::{parse_segment_file_name, segment_file_name};
use crate::storage::offset_index::OffsetIndex;
use crate::storage::segment_index::{BatchPlace, INTERVAL_MIN_BYTES, SegmentIndex};
use crate::storage::time_index::{TimeIndex, TimestampOffset};
use crate::types::Offset;

/// What is known of one log before its segments are read.
pub(super) struct Known {
    /// What will come of it; identity and place are filled in.
    pub(super) found: FoundLog,
    /// Its newest checkpoint, the generation that wrote it, and whether a clean stop did.
    pub(super) checkpoint: Option<(LogCheckpoint, u64, bool)>,
    /// Journal entries in the order of (generation, sequence).
    pub(super) entries: Vec<LogEntry>,
    /// The files in its directory.
    pub(super) files: Vec<Entry>,
}

/// A place where the log may end.
#[derive(Clone, Copy, Debug)]
struct Mark {
    segment: Offset,
    cursor: Cursor,
    chain: Option<u32>,
    durable: bool,
}

impl Mark {
    fn at(&self) -> (Offset, u64) {
        (self.segment, self.cursor.position)
    }
}

/// Why a walk could not come to its mark.
enum Failure {
    /// A bad batch, or an error of the device.
    Reason(Rc<str>),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Reason(error.to_string().into())
    }
}

struct Walk<'a, E: Env> {
    rt: &'a Rc<Runtime<E>>,
    dir: PathBuf,
    block_bytes: usize,
    entries: Vec<LogEntry>,
    files: BTreeMap<Offset, u64>,
    bases: BTreeSet<Offset>,
    /// Exact ends of rolled segments, where known.
    ends: BTreeMap<Offset, u64>,
    readers: BTreeMap<Offset, SegmentReader<E>>,
    /// Where the walk began.
    start: Mark,
    segment: Offset,
    cursor: Cursor,
    chain: Option<u32>,
    segments: BTreeMap<Offset, FoundSegment>,
    state: PartitionState,
    /// Batches behind the last accepted mark: (segment, position, header).
    pending: Vec<(Offset, u64, BatchHeader)>,
}

/// Reads what must be read of one log and says where it ends.
pub(super) async fn recover<E: Env>(rt: &Rc<Runtime<E>>, known: Known, block_bytes: usize) -> FoundLog {
    let Known { mut found, checkpoint, entries, files } = known;
    let older = older_durable(&entries);
    let entries = newest_generation(entries, checkpoint.as_ref().map(|(_, generation, _)| *generation));
    // A rolled segment's entry says where that ends; the record's other one says where the log does, and carries the chain.
    let mut marks: Vec<Mark> = entries.iter().filter(|entry| entry.kind != Kind::Sealed).map(mark).collect();
    if let Some(newest) = marks.last().map(Mark::at) {
        marks.extend(older);
        marks.retain(|mark| mark.at() <= newest);
    }
    marks.sort_by_key(|mark| (mark.at(), mark.durable));
    let files = segment_files(&files);
    let Some(start) = start_of(checkpoint.as_ref(), &entries, &marks, &files) else {
        return found;
    };
    let mut walk = Walk::new(rt, &found.dir, block_bytes, entries, files, start, checkpoint.map(|(log, ..)| log));
    found.log_start = walk.segments.keys().next().copied().unwrap_or(start.segment).max(found.log_start);
    let durable = marks.iter().filter(|mark| mark.durable).map(Mark::at).max();
    let mut accepted = start;
    for mark in marks.iter().filter(|mark| mark.at() > start.at()) {
        let below = durable.is_some_and(|durable| mark.at() <= durable);
        if below && durable != Some(mark.at()) {
            continue;
        }
        match walk.to(mark, below).await {
            Ok(()) => {
                walk.accept().await;
                accepted = *mark;
            }
            Err(Failure::Reason(reason)) if below => {
                found.quarantined = Some(format!("{reason}, below the durable offset {}", mark.cursor.offset).into());
                found.log_end = walk.cursor.offset;
                return found;
            }
            Err(Failure::Reason(_)) => break,
        }
    }
    walk.finish(found, accepted).await
}

fn mark(entry: &LogEntry) -> Mark {
    Mark {
        segment: entry.segment,
        cursor: Cursor { position: entry.end_position(), offset: entry.end_offset },
        chain: Some(entry.chain),
        durable: entry.flushed,
    }
}

/// The entries that count, beside a checkpoint of such a generation. Those of its own also where it says that its shard was
/// closed: without the mark of a clean stop that proves nothing, for another shard's flush may have failed meanwhile, and
/// with it what this one had settled.
fn newest_generation(mut entries: Vec<LogEntry>, checkpoint: Option<u64>) -> Vec<LogEntry> {
    let newest = entries.last().map_or(0, |entry| entry.generation);
    entries.retain(|entry| entry.generation == newest && checkpoint.is_none_or(|generation| newest >= generation));
    entries
}

/// The last flushed end that an earlier start left: it binds also where this start has flushed nothing yet. Its chain is
/// another one.
fn older_durable(entries: &[LogEntry]) -> Option<Mark> {
    let newest = entries.last()?.generation;
    let ends = entries.iter().filter(|entry| entry.kind != Kind::Sealed);
    let older = ends.filter(|entry| entry.generation < newest && entry.flushed);
    older.max_by_key(|entry| (entry.generation, entry.sequence)).map(|entry| Mark { chain: None, ..mark(entry) })
}

/// Segment files by base offset, with their lengths.
pub(super) fn segment_files(files: &[Entry]) -> BTreeMap<Offset, u64> {
    let segments = files.iter().filter(|file| !file.is_dir);
    segments.filter_map(|file| Some((parse_segment_file_name(&file.name, "log")?, file.len))).collect()
}

/// Where reading begins: the checkpoint's recovery point, else the front of the log. `None`: there is nothing.
fn start_of(
    checkpoint: Option<&(LogCheckpoint, u64, bool)>,
    entries: &[LogEntry],
    marks: &[Mark],
    files: &BTreeMap<Offset, u64>,
) -> Option<Mark> {
    if let Some((log, generation, clean)) = checkpoint
        && (!log.segments.is_empty() || log.log_end > 0)
    {
        let same = entries.last().is_none_or(|entry| entry.generation == *generation);
        let chain = if same { Some(log.chain) } else { clean.then_some(0) };
        // Where retention took all segments, the next one begins at the end.
        let last = log.segments.last();
        let cursor = Cursor { position: last.map_or(0, |last| last.bytes), offset: log.end() };
        let segment = last.map_or(log.end(), |last| Offset(last.base_offset));
        return Some(Mark { segment, cursor, chain, durable: true });
    }
    // Without an entry nothing was ever acknowledged: files may have been prepared, or hold a first window that never became one.
    let first = marks.first()?;
    // A rolled segment may have no file: then its window was not written, and the log ends before it.
    let rolled = entries.iter().map(|entry| entry.segment).min().unwrap_or(first.segment);
    let segment = files.keys().next().copied().unwrap_or(first.segment).min(first.segment).min(rolled);
    // A log without a flushed entry was made in this generation: its chain begins with it.
    let chain = (!marks.iter().any(|mark| mark.durable)).then_some(0);
    Some(Mark { segment, cursor: Cursor { position: 0, offset: segment }, chain, durable: true })
}

impl<'a, E: Env> Walk<'a, E> {
    fn new(
        rt: &'a Rc<Runtime<E>>,
        dir: &Path,
        block_bytes: usize,
        entries: Vec<LogEntry>,
        files: BTreeMap<Offset, u64>,
        start: Mark,
        checkpoint: Option<LogCheckpoint>,
    ) -> Self {
        let checkpoint = checkpoint.unwrap_or_default();
        let mut segments: BTreeMap<Offset, FoundSegment> = checkpoint
            .segments
            .iter()
            .map(|segment| (Offset(segment.base_offset), FoundSegment::from(segment)))
            .collect();
        let mut ends: BTreeMap<Offset, u64> = segments
            .values()
            .filter(|segment| segment.sealed)
            .map(|segment| (segment.base_offset, segment.bytes))
            .collect();
        ends.extend(entries.iter().filter(|entry| entry.kind == Kind::Sealed).map(LogEntry::end));
        let mut bases: BTreeSet<Offset> = files.keys().chain(segments.keys()).copied().collect();
        bases.extend(entries.iter().map(|entry| entry.segment));
        let first = segments.entry(start.segment).or_insert_with(|| FoundSegment::empty(start.segment));
        first.index = Some(resumed_index(first, &checkpoint));
        Self {
            rt,
            dir: dir.into(),
            block_bytes,
            entries,
            files,
            bases,
            ends,
            readers: BTreeMap::new(),
            start,
            segment: start.segment,
            cursor: start.cursor,
            chain: start.chain,
            segments,
            state: checkpoint.state,
            pending: Vec::new(),
        }
    }

    /// Walks to `mark`, through as many segments as lie before it.
    async fn to(&mut self, mark: &Mark, below: bool) -> Result<(), Failure> {
        while self.segment < mark.segment {
            let end = self.ends.get(&self.segment).copied();
            let limit = end.or_else(|| self.files.get(&self.segment).copied()).unwrap_or(0);
            self.walk(limit, end.is_none(), below).await?;
            let next = self.cursor.offset;
            if next <= self.segment || !self.bases.contains(&next) {
                return Err(Failure::Reason(format!("no segment begins with offset {next}").into()));
            }
            self.segment = next;
            self.cursor.position = 0;
        }
        self.walk(mark.cursor.position, false, below).await?;
        if self.cursor != mark.cursor {
            let reason = format!(
                "offset {} at position {} where {} was",
                self.cursor.offset, self.cursor.position, mark.cursor.offset
            );
            return Err(Failure::Reason(reason.into()));
        }
        let chained = self.chain.is_none() || mark.chain.is_none() || self.chain == mark.chain;
        if !chained {
            return Err(Failure::Reason(
                format!("the batches before offset {} are not those that were written", mark.cursor.offset).into(),
            ));
        }
        self.chain = mark.chain.or(self.chain);
        Ok(())
    }

    /// Walks within the present segment; with `to_next`, at most to the offset that another segment begins with.
    async fn walk(&mut self, limit: u64, to_next: bool, below: bool) -> Result<(), Failure> {
        if self.cursor.position >= limit || (to_next && self.at_next()) {
            return Ok(());
        }
        let mut reader = self.reader().await?;
        let (mut cursor, mut chain, segment) = (self.cursor, self.chain, self.segment);
        let (bases, pending) = (&self.bases, &mut self.pending);
        let mut direct = below
            .then(|| (self.segments.entry(segment).or_insert_with(|| FoundSegment::empty(segment)), &mut self.state));
        let walked = reader.walk(&mut cursor, limit, below, |position, batch| {
            chain = chain.map(|chain| chained(chain, batch.header.crc));
            match &mut direct {
                Some((found, state)) => found.take(position, &batch.header, state),
                None => pending.push((segment, position, batch.header)),
            }
            let next = batch.header.next_offset();
            if to_next && next > segment && bases.contains(&next) { Step::Stop } else { Step::On }
        });
        let stop = walked.await;
        self.readers.insert(segment, reader);
        (self.cursor, self.chain) = (cursor, chain);
        match stop? {
            Stop::AtLimit | Stop::Told => Ok(()),
            Stop::Bad(reason) => Err(Failure::Reason(format!("segment {segment}: {reason}").into())),
        }
    }

    fn at_next(&self) -> bool {
        self.cursor.offset > self.segment && self.bases.contains(&self.cursor.offset)
    }

    async fn reader(&mut self) -> io::Result<SegmentReader<E>> {
        if let Some(reader) = self.readers.remove(&self.segment) {
            return Ok(reader);
        }
        let tails = self.entries.iter().filter(|entry| entry.segment == self.segment && !entry.tail.is_empty());
        let overlays = tails.map(|entry| (entry.tail_position, entry.tail.clone())).collect();
        let path = self.dir.join(segment_file_name(self.segment, "log"));
        SegmentReader::open(self.rt, &path, self.segment, self.block_bytes, overlays).await
    }

    /// Everything up to the cursor counts.
    async fn accept(&mut self) {
        for (segment, position, header) in std::mem::take(&mut self.pending) {
            let found = self.segments.entry(segment).or_insert_with(|| FoundSegment::empty(segment));
            found.take(position, &header, &mut self.state);
        }
        let segment = self.segment;
        self.segments.entry(segment).or_insert_with(|| FoundSegment::empty(segment));
        for (_, found) in self.segments.range_mut(..segment) {
            found.sealed = true;
        }
    }

    /// Puts the result together: segments, the live tail, and what the journal knows better than the files written back.
    async fn finish(mut self, mut found: FoundLog, end: Mark) -> FoundLog {
        let sealed = self.ends.get(&end.segment) == Some(&end.cursor.position);
        let floor = end.cursor.position / self.block_bytes as u64 * self.block_bytes as u64;
        if sealed || self.start.segment < end.segment {
            // The walk began behind the first segment's last bytes: their block may be in a journal alone.
            let (segment, position) = self.start.at();
            self.segment = segment;
            let floor = position / self.block_bytes as u64 * self.block_bytes as u64;
            if let Err(error) = self.tail(floor, position).await {
                found.quarantined = Some(format!("segment {segment}: {error}").into());
            }
        }
        self.segment = end.segment;
        let journaled = self.load_journaled(end.segment, if sealed { end.cursor.position } else { floor }).await;
        self.segment = end.segment;
        found.journaled = !self.entries.is_empty();
        let tail =
            if sealed || !found.journaled { Ok(Vec::new()) } else { self.tail(floor, end.cursor.position).await };
        let mut repaired = Ok(());
        for (base, reader) in self.readers.range_mut(..=end.segment) {
            let live_from = if *base == end.segment && !sealed { floor } else { u64::MAX };
            if repaired.is_ok() {
                let file_bytes = self.files.entry(*base).or_insert(0);
                repaired = reader.repair(live_from).await.map(|end| *file_bytes = end.max(*file_bytes));
            }
        }
        match (tail, repaired.and(journaled)) {
            (Ok(tail), Ok(())) => found.tail = tail,
            (Err(error), _) | (_, Err(error)) => {
                found.quarantined = Some(format!("segment {}: {error}", end.segment).into());
            }
        }
        // Behind the end, or given up by retention before the checkpoint was written.
        let first = self.segments.keys().next().copied().unwrap_or(end.segment);
        found.beyond = self.files.keys().filter(|base| **base > end.segment || **base < first).copied().collect();
        self.segments.retain(|base, _| *base <= end.segment);
        if let Some(last) = self.segments.get_mut(&end.segment) {
            last.sealed = sealed;
        }
        found.log_end = end.cursor.offset;
        self.state.up_to = end.cursor.offset.0;
        found.state = self.state;
        for (base, segment) in &mut self.segments {
            segment.file_bytes = self.files.get(base).copied();
        }
        found.segments = self.segments.into_values().collect();
        found
    }

    /// Looks at the blocks up to `to` of `last`, and of the segments before it, that a journal record holds and no walk may have
    /// passed: the first window of a start puts more than one block into the journal, and a rolled segment's last block was on its
    /// way when its end was known already.
    async fn load_journaled(&mut self, last: Offset, to: u64) -> io::Result<()> {
        let block_bytes = self.block_bytes as u64;
        let bases: BTreeSet<Offset> =
            self.entries.iter().map(|entry| entry.segment).filter(|base| *base <= last).collect();
        for base in bases {
            let known = self.segments.get(&base).map_or(0, |segment| segment.bytes);
            let to = if base == last { to } else { known };
            let tails = self.entries.iter().filter(|entry| entry.segment == base);
            let whole = tails.map(|entry| (entry.tail_position, entry.end_position().min(to)));
            let mut ranges: Vec<(u64, u64)> = whole.filter(|(from, to)| from + block_bytes <= *to).collect();
            ranges.push((to / block_bytes * block_bytes, to));
            self.segment = base;
            for (from, to) in ranges.into_iter().filter(|(from, to)| from < to) {
                let mut reader = self.reader().await?;
                let loaded = reader.load(from..to).await;
                self.readers.insert(base, reader);
                loaded?;
            }
        }
        Ok(())
    }

    async fn tail(&mut self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        if from == to {
            return Ok(Vec::new());
        }
        let mut reader = self.reader().await?;
        let tail = reader.load(from..to).await;
        self.readers.insert(self.segment, reader);
        tail
    }
}

/// The chain behind one more batch (see `journal::record`).
fn chained(chain: u32, crc: u32) -> u32 {
    crc32c::crc32c_append(chain, &crc.to_be_bytes())
}

/// The index of the segment that a checkpoint's recovery point lies in, as far as the checkpoint has it.
pub(super) fn resumed_index(segment: &FoundSegment, checkpoint: &LogCheckpoint) -> SegmentIndex {
    let offsets = OffsetIndex::from_bytes(segment.base_offset, checkpoint.offset_index.clone(), segment.bytes);
    let times = TimeIndex::from_bytes(segment.base_offset, checkpoint.time_index.clone());
    let largest = TimestampOffset { timestamp: segment.max_timestamp, offset: segment.max_timestamp_offset };
    match (offsets, times) {
        (Ok(offsets), Ok(times)) if segment.bytes > 0 => SegmentIndex::resume(offsets, times, largest, segment.bytes),
        _ => SegmentIndex::resume(
            OffsetIndex::new(segment.base_offset),
            TimeIndex::new(segment.base_offset),
            largest,
            segment.bytes,
        ),
    }
}

impl FoundSegment {
    /// Takes a good batch behind the others.
    pub(super) fn take(&mut self, position: u64, header: &BatchHeader, state: &mut PartitionState) {
        let len = header.size_bytes() as u64;
        let max_timestamp = header.largest_timestamp();
        let place = BatchPlace { position, len, last_offset: header.last_offset(), max_timestamp };
        let index = self.index.get_or_insert_with(|| SegmentIndex::new(self.base_offset));
        index.note(place, INTERVAL_MIN_BYTES);
        (self.max_timestamp, self.max_timestamp_offset) = (index.largest.timestamp, index.largest.offset);
        self.bytes = position + len;
        self.end_offset = header.next_offset();
        state.apply(header);
    }
}
