//! ListOffsets by time: which batch may hold the record. Records within a batch are `partition/`'s to decode.

use std::rc::Rc;

use super::cut::Piece;
use super::load::{Short, Source};
use crate::io::Env;
use crate::record::{BatchHeader, Records};
use crate::storage::error::Error;
use crate::storage::log::Log;
use crate::storage::segment::Segment;
use crate::types::Offset;

/// One whole batch that was looked for.
#[derive(Clone, Debug)]
pub struct FoundBatch {
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub records: Records,
}

impl<E: Env> Log<E> {
    /// The first batch at or behind offset `from`, and wholly below `upto`, that has a record of `timestamp` or later by its header.
    /// A header may promise too much: then ask again behind the batch.
    ///
    /// # Errors
    /// What reading met.
    pub async fn batch_by_time(
        self: &Rc<Self>,
        from: Offset,
        upto: Offset,
        timestamp: i64,
    ) -> Result<Option<FoundBatch>, Error> {
        let mut from = from.max(self.log_start_offset());
        while let Some(segment) = self.segment_of(from).filter(|_| from < upto) {
            let first = from.max(segment.base_offset);
            if segment.max_timestamp.get() >= timestamp || segment.index.borrow().is_none() {
                let entry = self.time_entry(&segment, timestamp).await?;
                let behind = entry.map_or(first, |entry| entry.plus(1)).max(first);
                let found =
                    self.first_batch(&segment, behind, upto, |header| header.largest_timestamp() >= timestamp).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            from = segment.end_offset.get().max(segment.base_offset.plus(1));
        }
        Ok(None)
    }

    /// The first batch below `upto` that has the largest timestamp of the log, by the headers.
    ///
    /// # Errors
    /// What reading met.
    pub async fn batch_of_max_timestamp(self: &Rc<Self>, upto: Offset) -> Result<Option<FoundBatch>, Error> {
        let mut found: Option<FoundBatch> = None;
        let segments: Vec<Rc<Segment<E>>> =
            self.segments.borrow().values().filter(|segment| segment.base_offset < upto).cloned().collect();
        for segment in segments {
            self.ensure_index(&segment).await?;
            let best = found.as_ref().map_or(-1, |best| best.header.largest_timestamp());
            let largest = self.lookup(&segment, |index| index.largest).await?;
            if largest.timestamp <= best {
                continue;
            }
            let candidate = if largest.offset >= self.log_start_offset() && largest.offset < upto {
                self.first_batch(&segment, largest.offset, upto, |_| true).await?
            } else {
                // The largest is not visible yet, or no more: what is visible is walked from the last entry that is.
                self.largest_visible(&segment, upto).await?
            };
            if candidate.as_ref().is_some_and(|candidate| candidate.header.largest_timestamp() > best) {
                found = candidate;
            }
        }
        Ok(found)
    }

    async fn time_entry(self: &Rc<Self>, segment: &Rc<Segment<E>>, timestamp: i64) -> Result<Option<Offset>, Error> {
        Ok(self.lookup(segment, |index| index.times.entry_before(timestamp)).await?.map(|entry| entry.offset))
    }

    async fn largest_visible(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        upto: Offset,
    ) -> Result<Option<FoundBatch>, Error> {
        let known = |index: &crate::storage::segment_index::SegmentIndex| {
            (0..index.times.entry_count()).rev().map(|entry| index.times.entry(entry)).find(|entry| entry.offset < upto)
        };
        let mut from = self
            .lookup(segment, known)
            .await?
            .map_or(segment.base_offset, |entry| entry.offset)
            .max(self.log_start_offset());
        let mut best: Option<FoundBatch> = None;
        loop {
            let above = best.as_ref().map_or(-1, |best| best.header.largest_timestamp());
            let Some(found) =
                self.first_batch(segment, from, upto, |header| header.largest_timestamp() > above).await?
            else {
                return Ok(best);
            };
            from = found.header.next_offset();
            best = Some(found);
        }
    }

    /// The first batch of the segment that holds an offset from `from` on, lies wholly below `upto` and is one that `is` takes.
    async fn first_batch(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        from: Offset,
        upto: Offset,
        is: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<FoundBatch>, Error> {
        let mut position = self.lookup(segment, |index| index.offsets.lookup(from)).await?;
        let mut window = WINDOW_BYTES;
        loop {
            let end = segment.end_position.get();
            if position >= end {
                return Ok(None);
            }
            let piece = self.load(segment, position..end.min(position + window), Source::Direct, Short::Wait).await?;
            let begin = position;
            while let Some(header) = piece.header(position).map_err(|error| self.unreadable(segment, &error))? {
                if header.last_offset() >= upto {
                    return Ok(None);
                }
                let behind = position + header.size_bytes() as u64;
                if header.last_offset() >= from && is(&header) {
                    return self.whole(segment, &piece, header, position..behind).await.map(Some);
                }
                position = behind;
                if position >= begin + piece.records.len() as u64 {
                    break;
                }
            }
            window = if position == begin { window * 2 } else { WINDOW_BYTES };
            if position == begin && begin + piece.records.len() as u64 == end {
                return Ok(None);
            }
        }
    }

    async fn whole(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        piece: &Piece,
        header: BatchHeader,
        range: std::ops::Range<u64>,
    ) -> Result<FoundBatch, Error> {
        if range.end <= piece.position + piece.records.len() as u64 {
            let records = Records::from_chunks(piece.bytes(range.start, range.end));
            return Ok(FoundBatch { header, records });
        }
        let end = range.end.min(segment.end_position.get());
        Ok(FoundBatch {
            header,
            records: self.load(segment, range.start..end, Source::Direct, Short::Wait).await?.records,
        })
    }
}

const WINDOW_BYTES: u64 = 64 << 10;
