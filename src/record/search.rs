//! Records by time within one batch: what ListOffsets asks for once an index has named the batch.
//!
//! Runs on housekeeping. The batch is decompressed as a stream, record by record, and only as far as needed: memory is
//! the codec's window, however much comes out, and what comes out is at most [`DECOMPRESSED_BYTES_MAX`].

use std::io::BufRead;

use super::batch::{BatchHeader, Compression, HEADER_BYTES, TimestampType};
use super::codec::{DECOMPRESSED_BYTES_MAX, failed, reader};
use super::error::RecordError;
use super::varint;
use crate::types::Offset;

/// The first record of `batch` (one whole batch) at offset `from` or behind it whose timestamp is `target` or later: its
/// offset and timestamp.
pub fn find_by_time(batch: &[u8], from: Offset, target: i64) -> Result<Option<(Offset, i64)>, RecordError> {
    let mut times = Times::new(batch)?;
    while let Some(found) = times.next()? {
        if found.0 >= from && found.1 >= target {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first record of `batch` that has the largest timestamp of those at offset `from` or behind it: its offset and
/// timestamp. `None` if none of them has a timestamp.
pub fn find_max_timestamp(batch: &[u8], from: Offset) -> Result<Option<(Offset, i64)>, RecordError> {
    let mut times = Times::new(batch)?;
    let mut found: Option<(Offset, i64)> = None;
    while let Some(next) = times.next()? {
        if next.0 >= from && next.1 >= 0 && found.is_none_or(|(_, largest)| next.1 > largest) {
            found = Some(next);
        }
    }
    Ok(found)
}

/// Offsets and timestamps of the records of a batch, as they come out of the codec. The rest of a record is passed over.
struct Times<'a> {
    header: BatchHeader,
    compression: Compression,
    records: Box<dyn BufRead + 'a>,
    index: i32,
    read_bytes: usize,
}

impl<'a> Times<'a> {
    fn new(batch: &'a [u8]) -> Result<Self, RecordError> {
        let header = BatchHeader::read(batch)?;
        let size = header.size_bytes();
        let records = batch.get(HEADER_BYTES..size);
        let records = records.ok_or(RecordError::Truncated { needed: size, available: batch.len() })?;
        let compression = header.compression().ok_or_else(|| RecordError::UnknownCodec { codec: header.codec() })?;
        // A compacted batch may be empty, and then there is nothing to decompress.
        let records: Box<dyn BufRead + 'a> =
            if records.is_empty() { Box::new(records) } else { reader(compression, records, DECOMPRESSED_BYTES_MAX)? };
        Ok(Self { header, compression, records, index: 0, read_bytes: 0 })
    }

    fn next(&mut self) -> Result<Option<(Offset, i64)>, RecordError> {
        if self.index >= self.header.record_count {
            return Ok(None);
        }
        let length = self.number()?;
        let start = self.read_bytes;
        self.skip(1)?;
        let (timestamp_delta, offset_delta) = (self.number()?, self.number()?);
        if !(0..=i64::from(self.header.last_offset_delta)).contains(&offset_delta) {
            return Err(self.malformed("an offset delta beyond the batch"));
        }
        let fields_bytes = self.read_bytes - start;
        let rest = usize::try_from(length).ok().and_then(|length| length.checked_sub(fields_bytes));
        self.skip(rest.ok_or_else(|| self.malformed("a length too short for its fields"))?)?;
        self.index += 1;
        let timestamp = match self.header.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => self.header.base_timestamp.saturating_add(timestamp_delta),
        };
        Ok(Some((Offset(self.header.base_offset.0.saturating_add(offset_delta)), timestamp)))
    }

    fn malformed(&self, reason: &'static str) -> RecordError {
        RecordError::Malformed { index: self.index, reason }
    }

    /// What is at hand of the bytes to come; not empty.
    fn at_hand(&mut self) -> Result<&[u8], RecordError> {
        let (index, compression) = (self.index, self.compression);
        let bytes = self.records.fill_buf().map_err(|error| failed(compression, &error))?;
        if bytes.is_empty() {
            return Err(RecordError::Malformed { index, reason: "a record cut short" });
        }
        Ok(bytes)
    }

    fn consume(&mut self, count: usize) -> Result<(), RecordError> {
        self.records.consume(count);
        self.read_bytes += count;
        let max = DECOMPRESSED_BYTES_MAX;
        if self.read_bytes > max { Err(RecordError::Inflated { max }) } else { Ok(()) }
    }

    /// A signed number of at most ten bytes.
    fn number(&mut self) -> Result<i64, RecordError> {
        let mut bytes = [0; 10];
        for (at, to) in bytes.iter_mut().enumerate() {
            *to = self.at_hand()?.first().copied().unwrap_or_default();
            let last = *to & 0x80 == 0;
            self.consume(1)?;
            if last {
                let number = bytes.get(..=at).and_then(|mut bytes| varint::read_i64(&mut bytes));
                return number.ok_or_else(|| self.malformed("a number beyond 64 bits"));
            }
        }
        Err(self.malformed("a number of more than ten bytes"))
    }

    fn skip(&mut self, mut count: usize) -> Result<(), RecordError> {
        while count > 0 {
            let now = self.at_hand()?.len().min(count);
            self.consume(now)?;
            count -= now;
        }
        Ok(())
    }
}
