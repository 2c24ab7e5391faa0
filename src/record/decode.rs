//! The records inside one batch. Off the hot path: offset-by-time, `log dump`, the metadata log.
//!
//! ```text
//!   length varint | attributes i8 | timestampDelta varlong | offsetDelta varint
//!   | keyLength varint, key | valueLength varint, value | headerCount varint, (keyLength, key, valueLength, value)*
//! ```
//! A length of -1 is null, which is not the same as empty. Header keys may repeat.

use std::borrow::Cow;

use super::batch::{BatchHeader, Compression, HEADER_BYTES, TimestampType};
use super::codec::{DECOMPRESSED_BYTES_MAX, decompress};
use super::error::RecordError;
use super::varint;
use crate::types::Offset;

/// A batch with its records decompressed.
#[derive(Clone, Debug)]
pub struct DecodedBatch<'a> {
    /// The batch's header.
    pub header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

/// One record. Null and empty are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the log.
    pub offset: Offset,
    /// Its timestamp, or -1.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: RecordHeaders<'a>,
}

/// A record's headers: an iterator over keys and nullable values, checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl RecordHeaders<'_> {
    /// How many are left.
    #[must_use]
    pub fn count_left(&self) -> u32 {
        self.count
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let key = read_bytes(&mut self.bytes)??;
        Some((key, read_bytes(&mut self.bytes)?))
    }
}

/// Decompresses the records of `batch`, one whole batch, up to [`DECOMPRESSED_BYTES_MAX`]. The checksum is not looked
/// at: see [`super::crc::verify`].
pub fn decode(batch: &[u8]) -> Result<DecodedBatch<'_>, RecordError> {
    let header = BatchHeader::read(batch)?;
    let size = header.size_bytes();
    let payload = batch.get(HEADER_BYTES..size);
    let payload = payload.ok_or(RecordError::Truncated { needed: size, available: batch.len() })?;
    let payload = match header.compression() {
        None => return Err(RecordError::UnknownCodec { codec: header.codec() }),
        // A compacted batch may be empty, and then there is nothing to decompress.
        Some(_) if header.record_count == 0 && payload.is_empty() => Cow::Borrowed(payload),
        Some(Compression::None) => Cow::Borrowed(payload),
        Some(codec) => Cow::Owned(decompress(codec, payload, DECOMPRESSED_BYTES_MAX)?),
    };
    Ok(DecodedBatch { header, payload })
}

impl DecodedBatch<'_> {
    /// The records in order. Ends after the first malformed one; bytes beyond the last record are malformed too.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
        let mut rest = &*self.payload;
        let mut index = 0;
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let record = if index >= self.header.record_count {
                if rest.is_empty() {
                    return None;
                }
                Err("bytes after the last record")
            } else {
                self.read_record(&mut rest)
            };
            failed = record.is_err();
            let record = record.map_err(|reason| RecordError::Malformed { index, reason });
            index += 1;
            Some(record)
        })
    }

    fn read_record<'b>(&self, rest: &mut &'b [u8]) -> Result<Record<'b>, &'static str> {
        let length = varint::read_i32(rest).ok_or("no length")?;
        let length = usize::try_from(length).map_err(|_negative| "a negative length")?;
        let (mut body, after) = rest.split_at_checked(length).ok_or("a length beyond the batch")?;
        *rest = after;
        let bytes = &mut body;
        *bytes = bytes.get(1..).ok_or("no attributes")?;
        let timestamp_delta = varint::read_i64(bytes).ok_or("no timestamp delta")?;
        let offset_delta = varint::read_i32(bytes).ok_or("no offset delta")?;
        if !(0..=self.header.last_offset_delta).contains(&offset_delta) {
            return Err("an offset delta beyond the batch");
        }
        let key = read_bytes(bytes).ok_or("a key length beyond the record")?;
        let value = read_bytes(bytes).ok_or("a value length beyond the record")?;
        let count = varint::read_i32(bytes).ok_or("no header count")?;
        let count = u32::try_from(count).map_err(|_negative| "a negative header count")?;
        let headers = RecordHeaders { count, bytes };
        for _ in 0..count {
            read_bytes(bytes).flatten().ok_or("a header key that is null or beyond the record")?;
            read_bytes(bytes).ok_or("a header value beyond the record")?;
        }
        if !bytes.is_empty() {
            return Err("bytes after the last header");
        }
        let offset = Offset(self.header.base_offset.0.saturating_add(i64::from(offset_delta)));
        Ok(Record { offset, timestamp: self.timestamp(timestamp_delta), key, value, headers })
    }

    fn timestamp(&self, delta: i64) -> i64 {
        if self.header.timestamp_type() == TimestampType::LogAppendTime {
            return self.header.max_timestamp;
        }
        // Also where the base is a delete horizon: compaction rewrites the deltas to count from it.
        self.header.base_timestamp.saturating_add(delta)
    }
}

/// Reads a length and so many bytes: `None` where they are not there, `Some(None)` for null.
fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(bytes))
}
