//! What a leader asks of a batch before it appends it, without decompressing.
//!
//! Kafka's rules (`ProduceRequest.validateRecords`, `LogValidator`, `UnifiedLog.analyzeAndValidateRecords`) as far as
//! the header tells. Kafka also decompresses every batch; the node trusts the count and the largest timestamp instead
//! and bounds both. The checksum is verified where the bytes are copied (`io::copy`), so that they are read once.

use super::batch::{BatchHeader, Compression, LENGTH_MIN, NO_TIMESTAMP, TimestampType};
use super::chunks::Records;
use super::codec::DECOMPRESSED_BYTES_MAX;
use super::error::RecordError;

/// The bounds of one topic at one moment.
#[derive(Clone, Copy, Debug)]
pub struct CheckRules {
    /// The version of the Produce request.
    pub produce_version: i16,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `segment.bytes`.
    pub segment_bytes: usize,
    /// `message.timestamp.type`: the bounds below are for `CreateTime` alone.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Wall-clock time.
    pub now_ms: i64,
}

/// Bytes of the smallest record: six one-byte fields after a one-byte length.
const RECORD_BYTES_MIN: usize = 7;

/// Checks that `records` are exactly one batch that a client may append under `rules`. Everything but the checksum.
pub fn check(records: &Records, rules: &CheckRules) -> Result<BatchHeader, RecordError> {
    if records.is_empty() {
        return Err(RecordError::Empty);
    }
    let header = records.header()?;
    let size = header.size_bytes();
    if size > records.len() {
        return Err(RecordError::Truncated { needed: size, available: records.len() });
    }
    if size < records.len() {
        return Err(RecordError::NotOneBatch { surplus: records.len() - size });
    }
    if size > rules.max_message_bytes {
        return Err(RecordError::TooLarge { size, max: rules.max_message_bytes });
    }
    if size > rules.segment_bytes {
        return Err(RecordError::LargerThanSegment { size, max: rules.segment_bytes });
    }
    check_attributes(&header, rules)?;
    check_counts(&header)?;
    check_timestamps(&header, rules)?;
    Ok(header)
}

fn check_attributes(header: &BatchHeader, rules: &CheckRules) -> Result<(), RecordError> {
    let compression = header.compression().ok_or_else(|| RecordError::UnknownCodec { codec: header.codec() })?;
    if compression == Compression::Zstd && rules.produce_version < 7 {
        return Err(RecordError::ZstdTooEarly { produce_version: rules.produce_version });
    }
    if header.is_control() {
        return Err(RecordError::Control);
    }
    if header.is_transactional() {
        return Err(RecordError::Transactional);
    }
    if header.has_delete_horizon() {
        return Err(RecordError::DeleteHorizon);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(RecordError::TimestampType);
    }
    Ok(())
}

fn check_counts(header: &BatchHeader) -> Result<(), RecordError> {
    let BatchHeader { record_count, last_offset_delta, producer_id, producer_epoch, base_sequence, .. } = *header;
    if header.base_offset.0 != 0 {
        return Err(RecordError::BaseOffset { base_offset: header.base_offset.0 });
    }
    if record_count <= 0 || last_offset_delta != record_count - 1 {
        return Err(RecordError::BadCount { record_count, last_offset_delta });
    }
    let payload = usize::try_from(header.batch_length - LENGTH_MIN).unwrap_or(0);
    // What a codec may put out is all that can be said of compressed records without decompressing them.
    let room = match header.compression() {
        Some(Compression::None) => payload,
        _ if payload > 0 => DECOMPRESSED_BYTES_MAX,
        _ => 0,
    };
    let needed = usize::try_from(record_count).unwrap_or(usize::MAX).saturating_mul(RECORD_BYTES_MIN);
    if room < needed {
        return Err(RecordError::CountBeyondBytes { record_count, payload });
    }
    if header.has_producer_id() && (base_sequence < 0 || producer_epoch < 0) {
        return Err(RecordError::BadSequence { producer_id, producer_epoch, base_sequence });
    }
    Ok(())
}

/// The header names the first record's timestamp and the largest; both must lie within the topic's bounds. "No
/// timestamp" is let through, as Kafka does.
fn check_timestamps(header: &BatchHeader, rules: &CheckRules) -> Result<(), RecordError> {
    if rules.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let earliest = rules.now_ms.saturating_sub(rules.timestamp_before_max_ms);
    let latest = rules.now_ms.saturating_add(rules.timestamp_after_max_ms);
    for timestamp in [header.base_timestamp, header.max_timestamp] {
        if timestamp != NO_TIMESTAMP && !(earliest..=latest).contains(&timestamp) {
            return Err(RecordError::Timestamp { timestamp, earliest, latest });
        }
    }
    Ok(())
}
