//! The checksum of a batch, and how a header changes under it without a second pass over the records.
//!
//! CRC-32C is linear: `crc(a ++ b) = shift(crc(a), len b) ^ crc(b)`, where `shift` appends zeros. A batch's checksum
//! covers 40 bytes of header and then the records, so when only the header changes, what changes is
//! `shift(crc(old header) ^ crc(new header), len of records)`: the checksum of the records need not be known. The base
//! offset and the leader epoch lie before the covered bytes and cost nothing.

use super::batch::{
    BatchHeader, CRC_AT, CRC_FROM, HEADER_BYTES, LEADER_EPOCH_AT, LENGTH_MIN, LOG_APPEND_TIME_BIT, set,
};
use super::chunks::Records;
use super::error::RecordError;
use crate::types::Offset;

/// The checksum that the header of `batch` (one whole batch) should hold. `None` where it is shorter than a header.
#[must_use]
pub fn of_batch(batch: &[u8]) -> Option<u32> {
    (batch.len() >= HEADER_BYTES).then(|| crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default()))
}

/// The checksum of the 40 header bytes that it covers: where `io::copy` goes on with the records.
#[must_use]
pub fn of_header(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c(header.get(CRC_FROM..).unwrap_or_default())
}

/// Verifies the checksum of one whole batch in place, chunk by chunk.
pub fn verify(records: &Records) -> Result<BatchHeader, RecordError> {
    let header = records.header()?;
    let batch = records.get(0..header.size_bytes());
    let batch =
        batch.ok_or_else(|| RecordError::Truncated { needed: header.size_bytes(), available: records.len() })?;
    let mut uncovered = CRC_FROM;
    let mut computed = 0;
    for part in batch.parts() {
        computed = crc32c::crc32c_append(computed, part.get(uncovered..).unwrap_or_default());
        uncovered = uncovered.saturating_sub(part.len());
    }
    if computed == header.crc { Ok(header) } else { Err(RecordError::BadCrc { stored: header.crc, computed }) }
}

/// What a leader writes into the header of a batch that it appends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderStamp {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The append time where the topic's timestamp type is `LogAppendTime`: sets the attribute bit and the largest
    /// timestamp, and mends the checksum. `None` leaves every covered byte alone.
    pub log_append_time_ms: Option<i64>,
}

/// Writes `stamp` into a header whose checksum fits its batch; the checksum fits afterwards too. Only these 61 bytes
/// change. A header that is malformed is left as it is.
pub fn stamp(header: &mut [u8; HEADER_BYTES], stamp: &HeaderStamp) {
    set(header, 0, stamp.base_offset.0.to_be_bytes());
    set(header, LEADER_EPOCH_AT, stamp.leader_epoch.to_be_bytes());
    let Some(now_ms) = stamp.log_append_time_ms else { return };
    let Ok(before) = BatchHeader::parse(header) else { return };
    let covered_before = of_header(header);
    set(header, CRC_FROM, (before.attributes | LOG_APPEND_TIME_BIT).to_be_bytes());
    set(header, 35, now_ms.to_be_bytes());
    let changed = covered_before ^ of_header(header);
    let records_bytes = usize::try_from(before.batch_length - LENGTH_MIN).unwrap_or(0);
    // Combined with 0, so that only the shift is left: over no records at all the crate gives its first argument back.
    let changed = crc32c::crc32c_combine(changed, 0, records_bytes);
    set(header, CRC_AT, (before.crc ^ changed).to_be_bytes());
}

/// Makes the checksum of a whole batch fit its bytes: for batches that the node itself builds.
pub(super) fn seal(batch: &mut [u8]) {
    if let Some(crc) = of_batch(batch)
        && let Some(field) = batch.get_mut(CRC_AT..CRC_FROM)
    {
        // copies: the four bytes of a checksum.
        field.copy_from_slice(&crc.to_be_bytes());
    }
}
