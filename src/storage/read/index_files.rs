//! The indexes of rolled segments: from their files when they are needed, rebuilt from the segment when they are missing or wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::load::{Short, Source};
use crate::io::{Env, Job, Output};
use crate::storage::error::Error;
use crate::storage::log::Log;
use crate::storage::offset_index::OffsetIndex;
use crate::storage::segment::Segment;
use crate::storage::segment_index::{BatchPlace, SegmentIndex, interval};
use crate::storage::time_index::{NO_TIMESTAMP, TimeIndex, TimestampOffset};

impl<E: Env> Log<E> {
    /// Makes sure that the segment's indexes are in memory.
    pub(super) async fn ensure_index(self: &Rc<Self>, segment: &Rc<Segment<E>>) -> Result<(), Error> {
        if segment.index.borrow().is_some() {
            return Ok(());
        }
        let index = match self.read_index(segment).await {
            Some(index) => index,
            None => self.rebuild_index(segment).await?,
        };
        let bytes = index.resident_bytes();
        segment.max_timestamp.set(index.largest.timestamp);
        if segment.index.borrow().is_none() {
            segment.index.replace(Some(index));
            self.writer.reads.note_index(segment, bytes);
        }
        Ok(())
    }

    /// Asks the segment's indexes, loaded again where they were dropped meanwhile.
    pub(super) async fn lookup<T>(
        self: &Rc<Self>,
        segment: &Rc<Segment<E>>,
        ask: impl Fn(&SegmentIndex) -> T,
    ) -> Result<T, Error> {
        loop {
            if let Some(index) = &*segment.index.borrow() {
                return Ok(ask(index));
            }
            self.ensure_index(segment).await?;
        }
    }

    /// A rolled segment whose index files are written is like one that was loaded: its indexes go when memory is short.
    pub(in crate::storage) fn forget_index(&self, segment: &Rc<Segment<E>>) {
        let bytes = segment.index.borrow().as_ref().map(SegmentIndex::resident_bytes);
        if let Some(bytes) = bytes {
            self.writer.reads.note_index(segment, bytes);
        }
    }

    async fn read_index(&self, segment: &Segment<E>) -> Option<SegmentIndex> {
        let end = segment.end_position.get();
        let offsets = self.index_file(&index_path(&segment.path, "index")).await?;
        let times = self.index_file(&index_path(&segment.path, "timeindex")).await?;
        let offsets = OffsetIndex::from_bytes(segment.base_offset, offsets, end).ok()?;
        let times = TimeIndex::from_bytes(segment.base_offset, times).ok()?;
        let none = TimestampOffset { timestamp: NO_TIMESTAMP, offset: segment.base_offset };
        let largest = times.last_entry().unwrap_or(none);
        let end_offset = segment.end_offset.get();
        let within = largest.offset < end_offset || end == 0;
        let indexed = offsets.last_entry().is_none_or(|(last, _)| last < end_offset);
        (within && indexed).then(|| SegmentIndex::resume(offsets, times, largest, end))
    }

    async fn index_file(&self, path: &Path) -> Option<Vec<u8>> {
        match self.writer.rt.job(Job::ReadFile(path.into(), INDEX_BYTES_MAX)).await {
            Ok(Output::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Walks the segment's batches and writes its index files anew.
    async fn rebuild_index(self: &Rc<Self>, segment: &Rc<Segment<E>>) -> Result<SegmentIndex, Error> {
        let mut index = SegmentIndex::new(segment.base_offset);
        let interval_bytes = interval(u64::from(self.config.borrow().index_interval_bytes), false);
        let (mut position, end) = (0, segment.end_position.get());
        let (mut window, mut expected) = (WINDOW_BYTES, segment.base_offset);
        while position < end {
            let piece = self.load(segment, position..end.min(position + window), Source::Direct, Short::Borrow).await?;
            let (from, to) = (position, position + piece.records.len() as u64);
            let unreadable = |error| self.unreadable(segment, &error);
            while let Some(header) = piece.header(position).map_err(unreadable)? {
                let len = header.size_bytes() as u64;
                if position + len > to && to < end {
                    break;
                }
                piece.check(position..position + len, &header, expected).map_err(unreadable)?;
                expected = header.next_offset();
                let max_timestamp = header.largest_timestamp();
                index.note(
                    BatchPlace { position, len, last_offset: header.last_offset(), max_timestamp },
                    interval_bytes,
                );
                position += len;
                if position >= to {
                    break;
                }
            }
            window = if position == from { window * 2 } else { WINDOW_BYTES };
            if position == from && to == end {
                let error = io::Error::new(io::ErrorKind::InvalidData, format!("no batch at position {position}"));
                return Err(Error::io("cannot index", &segment.path, error));
            }
        }
        index.seal();
        if segment.sealed.get() {
            self.write_index(segment, &index).await?;
        }
        Ok(index)
    }

    /// Writes the index files of a segment that takes no more batches, as Kafka would.
    pub(in crate::storage) async fn write_index(
        &self,
        segment: &Segment<E>,
        index: &SegmentIndex,
    ) -> Result<(), Error> {
        for (path, bytes) in index_files(&segment.path, index) {
            let written = self.writer.rt.job(Job::WriteFile(path.clone(), bytes)).await;
            written.map_err(|error| Error::io("cannot write", path, error))?;
        }
        Ok(())
    }
}

/// The index files of a segment that takes no more batches: paths and contents.
pub(in crate::storage) fn index_files(segment: &Path, index: &SegmentIndex) -> [(PathBuf, Vec<u8>); 2] {
    // copies: index entries, to housekeeping
    let offsets = (index_path(segment, "index"), index.offsets.as_bytes().to_vec());
    // copies: index entries, to housekeeping
    [offsets, (index_path(segment, "timeindex"), index.times.as_bytes().to_vec())]
}

/// The path of an index file beside its segment's.
fn index_path(segment: &Path, suffix: &str) -> PathBuf {
    segment.with_extension(suffix)
}

/// Kafka's own bound is 10 MiB (`segment.index.bytes`).
const INDEX_BYTES_MAX: usize = 64 << 20;
const WINDOW_BYTES: u64 = 1 << 20;
