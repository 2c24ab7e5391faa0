//! Bytes of a segment into memory: from its file by ring reads, and from the log's tail what is not in the file yet.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use super::cut::{Piece, Wanted};
use crate::io::{AppendBuf, Env, Job, OpenHow, Output, Pool, Slice};
use crate::record::HEADER_BYTES;
use crate::storage::error::Error;
use crate::storage::log::Log;
use crate::storage::offset_index::OffsetIndex;
use crate::storage::segment::Segment;

/// By which descriptor a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Past the page cache.
    Direct,
    /// Through it: rolled segments only.
    Buffered,
}

/// What a read does where no buffers are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// It waits: nobody waits for what it holds meanwhile.
    Wait,
    /// It waits a moment. A Fetch may hold buffers of earlier partitions, here or on another shard, and two of them must
    /// not wait for each other.
    GiveUp,
    /// It takes memory outside the budget, for a moment: one piece at a time.
    Borrow,
}

/// Where to begin reading for the batch that holds `wanted.from`, where that batch begins at the latest, and where the batches
/// end that may be given.
pub(super) fn location(index: &OffsetIndex, wanted: &Wanted, end: u64) -> (u64, u64, u64) {
    let from = index.lookup(wanted.from);
    let next = index.entry_from_position(from + 1).map_or(end, |(_, position)| position);
    let limit = index.first_above(wanted.upto).map_or(end, |(_, position)| position);
    (from, (next + HEADER_BYTES as u64).min(from + LOCATE_BYTES), limit)
}

/// Up to where a piece that begins at `from` must reach to answer a read, if no batch is larger than what is wanted.
pub(super) fn enough(index: &OffsetIndex, from: u64, wanted: &Wanted) -> u64 {
    let next = index.entry_from_position(from + 1).map_or(from, |(_, position)| position);
    // With the header behind: it tells that the last batch ends there.
    let behind = HEADER_BYTES as u64;
    let bytes = next + (wanted.max_bytes as u64).max(FIRST_BYTES) + behind;
    index.first_above(wanted.upto).map_or(bytes, |(_, position)| bytes.min(position + behind))
}

impl<E: Env> Log<E> {
    /// The bytes of `range`: the newest from memory, the others from the file. The views of memory are taken before anything
    /// is waited for, so that what is freed meanwhile is in the file.
    pub(super) async fn load(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        range: Range<u64>,
        source: Source,
        short: Short,
    ) -> Result<Piece, Error> {
        let bounds = segment.bounds();
        let (split, memory) = self.memory_from(segment, &range);
        let mut slices = Vec::new();
        if range.start < split {
            let _keep = segment.hold();
            let file = match source {
                Source::Direct => self.direct(segment).await?,
                Source::Buffered => self.buffered(segment).await?,
            };
            let reads = self.reads_of(&(range.start..split));
            let buffers = self.read_buffers(&reads, short).await?;
            slices = self
                .read_file(&file, range.start..split, reads.into_iter().zip(buffers))
                .await
                .map_err(|error| Error::io("cannot read", &segment.path, error))?;
        }
        slices.extend(memory);
        Ok(Piece::new(range.start, slices, bounds))
    }

    /// From where on `range` is in memory, and the views of it.
    fn memory_from(&self, segment: &Segment<E>, range: &Range<u64>) -> (u64, Vec<Slice>) {
        let tail = self.tail.borrow();
        let first = tail.first_position(segment.base_offset).unwrap_or(range.end).clamp(range.start, range.end);
        match tail.slices(segment.base_offset, first..range.end) {
            Some(slices) => (first, slices),
            None => (range.end, Vec::new()),
        }
    }

    /// The reads that bring `range` into memory: whole blocks around it, as position and length.
    fn reads_of(&self, range: &Range<u64>) -> Vec<(u64, usize)> {
        let block_bytes = self.writer.config.disk.block_bytes as u64;
        let (from, to) = (range.start / block_bytes * block_bytes, range.end.next_multiple_of(block_bytes));
        let len = |position: u64| usize::try_from((to - position).min(READ_BYTES)).expect("one read");
        (from..to).step_by(1 << READ_SHIFT).map(|position| (position, len(position))).collect()
    }

    /// Reads into these buffers; the views cover the range alone.
    async fn read_file(
        &self,
        file: &E::File,
        range: Range<u64>,
        reads: impl Iterator<Item = ((u64, usize), AppendBuf)>,
    ) -> io::Result<Vec<Slice>> {
        let mut slices = Vec::new();
        for ((position, wanted), buf) in reads {
            let (result, buf) = self.writer.rt.read(file, position, wanted, buf).await;
            let read = result? as u64;
            if position + read < range.end && read < wanted as u64 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the file ends at {}", position + read),
                ));
            }
            let within = |at: u64| usize::try_from(at - position).expect("one read");
            slices.push(buf.slice(within(range.start.max(position))..within(range.end.min(position + read))));
        }
        Ok(slices)
    }

    /// Buffers for all of these reads together or none, so that two who wait do not wait for each other. More than the budget
    /// at once is never asked of it: a batch that is larger is read outside of it.
    async fn read_buffers(&self, reads: &[(u64, usize)], short: Short) -> Result<Vec<AppendBuf>, Error> {
        let pool = &self.writer.reads.pool;
        let outside = || reads.iter().map(|(_, bytes)| AppendBuf::with_capacity(*bytes)).collect();
        if reads.iter().map(|(_, bytes)| Pool::taken_bytes(*bytes)).sum::<usize>() > pool.cap_bytes() {
            return Ok(outside());
        }
        let until_ns = self.writer.rt.now_ns() + GIVE_UP_NS;
        loop {
            let taken: Vec<AppendBuf> = reads.iter().map_while(|(_, bytes)| pool.take(*bytes)).collect();
            if taken.len() == reads.len() {
                return Ok(taken);
            }
            drop(taken);
            match short {
                Short::Borrow => return Ok(outside()),
                Short::GiveUp if self.writer.rt.now_ns() >= until_ns => {
                    return Err(Error::ReadsBusy { log: self.name.clone(), read_bytes: pool.cap_bytes() });
                }
                // Buffers come back from sockets, on whatever shard, and tell nobody.
                Short::GiveUp | Short::Wait => self.writer.rt.sleep_ms(RETRY_MS).await,
            }
        }
    }

    /// The descriptor past the page cache.
    async fn direct(&self, segment: &Rc<Segment<E>>) -> Result<E::File, Error> {
        if let Some(file) = segment.file.borrow().clone() {
            return Ok(file);
        }
        let file = self.open_file(segment, OpenHow { direct: true, ..OpenHow::default() }).await?;
        // Before that its place belongs to the descriptor that its last blocks are written through.
        if segment.sealed.get() && self.is_stored(segment) && segment.file.borrow().is_none() {
            segment.file.replace(Some(file.clone()));
            self.writer.reads.note_open(segment);
        }
        Ok(file)
    }

    /// The descriptor through the page cache.
    pub(super) async fn buffered(&self, segment: &Rc<Segment<E>>) -> Result<E::File, Error> {
        if let Some(file) = segment.reader.borrow().clone() {
            return Ok(file);
        }
        let file = self.open_file(segment, OpenHow::default()).await?;
        if segment.reader.borrow().is_none() {
            segment.reader.replace(Some(file.clone()));
            self.writer.reads.note_open(segment);
        }
        Ok(file)
    }

    async fn open_file(&self, segment: &Segment<E>, how: OpenHow) -> Result<E::File, Error> {
        match self.writer.rt.job(Job::Open(segment.path.clone(), how)).await {
            Ok(Output::File(file)) => Ok(file),
            Ok(_) => Err(Error::io("cannot open", &segment.path, io::Error::other("no file"))),
            Err(_)
                if segment.base_offset < self.log_start_offset()
                    && !self.segments.borrow().contains_key(&segment.base_offset) =>
            {
                // Retention was faster.
                let (start, end) = (self.log_start_offset(), self.log_end_offset());
                Err(Error::OutOfRange { requested: segment.base_offset, start, end })
            }
            Err(error) => Err(Error::io("cannot open", &segment.path, error)),
        }
    }

    /// Brings a range of a rolled segment into the page cache, for a reader near the log's end. False: the reader is far behind
    /// and would evict what others need, or enough is being read ahead.
    pub(super) async fn read_ahead(&self, segment: &Segment<E>, file: &E::File, range: Range<u64>) -> bool {
        let reads = &self.writer.reads;
        if self.bytes_behind(segment) > NEAR_BYTES || reads.ahead.get() >= AHEAD_MAX {
            return false;
        }
        reads.ahead.set(reads.ahead.get() + 1);
        let to = range.end.max(range.start + AHEAD_BYTES).min(segment.end_position.get());
        let done = self.writer.rt.job(Job::ReadAhead(file.clone(), range.start..to)).await;
        reads.ahead.set(reads.ahead.get() - 1);
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        done.is_ok() && self.writer.rt.env().resident(file, range.start, len) == len
    }

    /// Bytes of the log from the end of `segment` on.
    fn bytes_behind(&self, segment: &Segment<E>) -> u64 {
        let segments = self.segments.borrow();
        let later = segments.range(segment.base_offset..).skip(1);
        later.map(|(_, segment)| segment.end_position.get()).sum()
    }
}

/// One ring read, and the largest read buffer.
const READ_BYTES: u64 = 1 << READ_SHIFT;
const READ_SHIFT: u32 = 20;
/// What is read at the least to find the first batch's end.
const FIRST_BYTES: u64 = 16 << 10;
/// What is read at the most to find where a batch begins: the largest distance of two index entries, and a batch.
const LOCATE_BYTES: u64 = 1 << 20;
/// A reader so near to the log's end reads through the page cache: it soon reads what was just written and rolled.
const NEAR_BYTES: u64 = 256 << 20;
/// What is read ahead at a time.
const AHEAD_BYTES: u64 = 2 << 20;
/// Read-ahead jobs of one shard under way: they share one thread with everything else that blocks.
const AHEAD_MAX: usize = 4;
const RETRY_MS: u64 = 2;
/// How long a Fetch waits for buffers before it answers without.
const GIVE_UP_NS: u64 = 100_000_000;
