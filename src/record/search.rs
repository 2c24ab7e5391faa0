//! Records by time within one batch: what ListOffsets asks for once an index has named the batch.
//!
//! Runs on housekeeping: it may decompress a whole batch (at most [`super::DECOMPRESSED_BYTES_MAX`]).

use super::decode::decode;
use super::error::RecordError;
use crate::types::Offset;

/// The first record of `batch` (one whole batch) whose timestamp is `target` or later: its offset and timestamp.
pub fn find_by_time(batch: &[u8], target: i64) -> Result<Option<(Offset, i64)>, RecordError> {
    for record in decode(batch)?.records() {
        let record = record?;
        if record.timestamp >= target {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record of `batch` that has the largest timestamp in it: its offset and timestamp. `None` if no record has
/// a timestamp.
pub fn find_max_timestamp(batch: &[u8]) -> Result<Option<(Offset, i64)>, RecordError> {
    let mut found: Option<(Offset, i64)> = None;
    for record in decode(batch)?.records() {
        let record = record?;
        if record.timestamp >= 0 && found.is_none_or(|(_, largest)| record.timestamp > largest) {
            found = Some((record.offset, record.timestamp));
        }
    }
    Ok(found)
}
