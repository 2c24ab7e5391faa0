//! Batches that the node itself makes: the metadata log's, and those of tests and benchmarks.
//!
//! Client batches never pass through here: their bytes are stored as they came.

use super::batch::{BatchHeader, CRC_FROM, Compression, HEADER_BYTES, LOG_OVERHEAD, NO_PRODUCER_ID};
use super::{codec, crc, varint};
use crate::types::Offset;

/// A record to be put into a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Milliseconds since 1970, or -1.
    pub timestamp: i64,
    /// The key; null is not empty.
    pub key: Option<Vec<u8>>,
    /// The value; null is not empty.
    pub value: Option<Vec<u8>>,
    /// Headers in order; keys may repeat.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl NewRecord {
    /// A record with a value and nothing else.
    #[must_use]
    pub fn value(timestamp: i64, value: impl Into<Vec<u8>>) -> Self {
        Self { timestamp, value: Some(value.into()), ..Self::default() }
    }
}

/// What stands in the header of a batch that is to be built. The default is what a plain producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBuilder {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// The leader's epoch; -1 from a client.
    pub leader_epoch: i32,
    /// How the records are compressed.
    pub compression: Compression,
    /// Further attribute bits (transactional, control, ...); the codec's are set from `compression`.
    pub flags: i16,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence of the first record, or -1.
    pub base_sequence: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            base_offset: Offset::ZERO,
            leader_epoch: -1,
            compression: Compression::None,
            flags: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

impl BatchBuilder {
    /// The bytes of the batch, with its checksum. Panics where there are more records or bytes than a batch may have.
    #[must_use]
    pub fn build(&self, records: &[NewRecord]) -> Vec<u8> {
        let base_timestamp = records.first().map_or(-1, |record| record.timestamp);
        let max_timestamp = records.iter().map(|record| record.timestamp).max().unwrap_or(-1);
        let mut payload = Vec::new();
        let mut body = Vec::new();
        for (index, record) in records.iter().enumerate() {
            body.clear();
            write_record(&mut body, record, record.timestamp.saturating_sub(base_timestamp), count(index));
            varint::write_i32(&mut payload, count(body.len()));
            payload.extend_from_slice(&body);
        }
        let payload = codec::compress(self.compression, &payload);
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_length: count(HEADER_BYTES - LOG_OVERHEAD + payload.len()),
            partition_leader_epoch: self.leader_epoch,
            crc: 0,
            attributes: self.flags | i16::from(self.compression.code()),
            last_offset_delta: count(records.len()) - 1,
            base_timestamp,
            max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: count(records.len()),
        };
        let mut batch = header.to_bytes().to_vec();
        batch.extend_from_slice(&payload);
        crc::seal(&mut batch);
        batch
    }
}

/// Sets the checksum of a batch whose covered bytes were changed by hand, as tests do.
pub fn reseal(batch: &mut [u8]) {
    debug_assert!(batch.len() > CRC_FROM, "a whole batch");
    crc::seal(batch);
}

fn write_record(body: &mut Vec<u8>, record: &NewRecord, timestamp_delta: i64, offset_delta: i32) {
    body.push(0);
    varint::write_i64(body, timestamp_delta);
    varint::write_i32(body, offset_delta);
    write_bytes(body, record.key.as_deref());
    write_bytes(body, record.value.as_deref());
    varint::write_i32(body, count(record.headers.len()));
    for (key, value) in &record.headers {
        write_bytes(body, Some(key));
        write_bytes(body, value.as_deref());
    }
}

fn write_bytes(body: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint::write_i32(body, bytes.map_or(-1, |bytes| count(bytes.len())));
    body.extend_from_slice(bytes.unwrap_or_default());
}

fn count(number: usize) -> i32 {
    i32::try_from(number).expect("a batch is smaller than 2 GiB")
}
