//! What can be wrong with a batch. `handlers/` turns these into Kafka's error codes, recovery into a place to cut.

use thiserror::Error;

/// A batch that is refused or unreadable, and the facts that say why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Fewer bytes than a batch header, or than the header promises.
    #[error("a record batch of {needed} bytes, of which {available} are there")]
    Truncated {
        /// Bytes that the batch needs, as far as is known.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// No record batch at all where one is due.
    #[error("no record batch")]
    Empty,
    /// Bytes after the one batch that a partition may send in a request.
    #[error("{surplus} bytes after the first record batch; exactly one is allowed per partition")]
    NotOneBatch {
        /// Bytes that follow the first batch.
        surplus: usize,
    },
    /// The length field cannot be that of a batch.
    #[error("a record batch length of {length}; the smallest is {}", super::batch::LENGTH_MIN)]
    BadLength {
        /// The field's value.
        length: i32,
    },
    /// A format other than v2.
    #[error("record format {magic}; only format 2 is supported")]
    BadMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The checksum does not fit the bytes.
    #[error("a record batch with checksum {computed:#010x} says {stored:#010x}")]
    BadCrc {
        /// What the header says.
        stored: u32,
        /// What the bytes say.
        computed: u32,
    },
    /// Larger than the topic's `max.message.bytes`.
    #[error("a record batch of {size} bytes; max.message.bytes is {max}")]
    TooLarge {
        /// Size of the batch.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Larger than a segment may be.
    #[error("a record batch of {size} bytes; segment.bytes is {max}")]
    LargerThanSegment {
        /// Size of the batch.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A codec number that no Kafka version knows.
    #[error("unknown compression codec {codec}")]
    UnknownCodec {
        /// The codec's number.
        codec: u8,
    },
    /// zstd before the protocol version that brought it.
    #[error("zstd needs Produce version 7; this request has version {produce_version}")]
    ZstdTooEarly {
        /// The version of the request.
        produce_version: i16,
    },
    /// A client numbers its records from 0.
    #[error("base offset {base_offset} in a request; it must be 0")]
    BaseOffset {
        /// The field's value.
        base_offset: i64,
    },
    /// The record count and the offsets disagree, or there is no record.
    #[error("a record count of {record_count} with a last offset delta of {last_offset_delta}")]
    BadCount {
        /// The record count.
        record_count: i32,
        /// The last offset delta.
        last_offset_delta: i32,
    },
    /// More records than the bytes can hold.
    #[error("{record_count} records in {payload} bytes")]
    CountBeyondBytes {
        /// The record count.
        record_count: i32,
        /// Bytes after the header.
        payload: usize,
    },
    /// Control batches are written by brokers alone.
    #[error("clients are not allowed to write control records")]
    Control,
    /// Transactions are not built yet.
    #[error("transactional records are not supported by this node")]
    Transactional,
    /// The delete horizon is set by compaction alone.
    #[error("a delete horizon in a request")]
    DeleteHorizon,
    /// A producer id without a sequence or an epoch.
    #[error("producer id {producer_id} with epoch {producer_epoch} and base sequence {base_sequence}")]
    BadSequence {
        /// The producer id.
        producer_id: i64,
        /// The producer epoch.
        producer_epoch: i16,
        /// The base sequence.
        base_sequence: i32,
    },
    /// `LogAppendTime` is set by the broker alone.
    #[error("a producer set the timestamp type to LogAppendTime")]
    TimestampType,
    /// A timestamp outside the topic's bounds.
    #[error("timestamp {timestamp} is not within [{earliest}, {latest}]")]
    Timestamp {
        /// The timestamp.
        timestamp: i64,
        /// The earliest allowed.
        earliest: i64,
        /// The latest allowed.
        latest: i64,
    },
    /// The compressed bytes are not what the codec expects.
    #[error("{codec} records that cannot be decompressed: {reason}")]
    Codec {
        /// The codec's name.
        codec: &'static str,
        /// What it says.
        reason: String,
    },
    /// More bytes than the caller allows after decompression.
    #[error("records of more than {max} bytes after decompression")]
    Inflated {
        /// The cap.
        max: usize,
    },
    /// A record whose bytes contradict themselves or the header.
    #[error("record {index} of the batch is malformed: {reason}")]
    Malformed {
        /// Which record, from 0.
        index: i32,
        /// What is wrong.
        reason: &'static str,
    },
}
