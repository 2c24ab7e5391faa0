//! The 61 bytes in front of a batch's records, and what they mean.
//!
//! The layout is drawn in [the module](super). A [`BatchHeader`] is only what the bytes say; whether a client may send
//! it is [`super::check()`]'s question, whether the checksum fits is the caller's who has all the bytes.

use super::error::RecordError;
use crate::types::Offset;

/// Bytes in front of the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes in front of what `batchLength` counts: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// Where the leader epoch lies.
pub const LEADER_EPOCH_AT: usize = 12;
/// Where the stored CRC lies.
pub const CRC_AT: usize = 17;
/// Where the bytes begin that the CRC covers.
pub const CRC_FROM: usize = 21;
/// The smallest value of the length field: a header without records.
pub const LENGTH_MIN: i32 = 49;
/// The only format that is stored: v2, of Kafka 0.11 and later.
pub const MAGIC: i8 = 2;
/// What stands for "no timestamp".
pub const NO_TIMESTAMP: i64 = -1;
/// What stands for "no producer id".
pub const NO_PRODUCER_ID: i64 = -1;

const _: () = assert!(LOG_OVERHEAD + LENGTH_MIN as usize == HEADER_BYTES, "the smallest batch is a bare header");

/// Attribute bits 0 to 2.
const CODEC_MASK: i16 = 0b0111;
/// Attribute bit 3.
pub(super) const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, raw or in the framing of xerial's Java library.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The codec with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd].get(usize::from(code)).copied()
    }

    /// Its number in the attributes.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Kafka's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Who sets the time of a record: `message.timestamp.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, at append.
    LogAppendTime,
}

/// A batch's header as it is on the wire and on disk. Length and magic are right; nothing else is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record; 0 from a client.
    pub base_offset: Offset,
    /// Bytes after the length field; at least [`LENGTH_MIN`].
    pub batch_length: i32,
    /// The epoch of the leader that appended it.
    pub partition_leader_epoch: i32,
    /// CRC-32C of bytes 21 to the end.
    pub crc: u32,
    /// Codec, timestamp type, and three flags: see the methods.
    pub attributes: i16,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from; the delete horizon where that bit is set.
    pub base_timestamp: i64,
    /// The largest timestamp, or the append time.
    pub max_timestamp: i64,
    /// The idempotent producer, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// How many records there are.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the fields. Only the length and the magic are looked at: without them the rest means nothing.
    #[inline] // Once a batch. Without it the compiler decided anew with every change anywhere: 39 instructions.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, RecordError> {
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(field(bytes, CRC_FROM)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        let [magic] = field(bytes, 16);
        if magic != MAGIC.to_be_bytes()[0] {
            return Err(RecordError::BadMagic { magic: i8::from_be_bytes([magic]) });
        }
        if header.batch_length < LENGTH_MIN {
            return Err(RecordError::BadLength { length: header.batch_length });
        }
        Ok(header)
    }

    /// As [`Self::parse`], from the front of `bytes`, which may be shorter.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = bytes.first_chunk();
        Self::parse(header.ok_or(RecordError::Truncated { needed: HEADER_BYTES, available: bytes.len() })?)
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        set(&mut bytes, 0, self.base_offset.0.to_be_bytes());
        set(&mut bytes, 8, self.batch_length.to_be_bytes());
        set(&mut bytes, LEADER_EPOCH_AT, self.partition_leader_epoch.to_be_bytes());
        set(&mut bytes, 16, MAGIC.to_be_bytes());
        set(&mut bytes, CRC_AT, self.crc.to_be_bytes());
        set(&mut bytes, CRC_FROM, self.attributes.to_be_bytes());
        set(&mut bytes, 23, self.last_offset_delta.to_be_bytes());
        set(&mut bytes, 27, self.base_timestamp.to_be_bytes());
        set(&mut bytes, 35, self.max_timestamp.to_be_bytes());
        set(&mut bytes, 43, self.producer_id.to_be_bytes());
        set(&mut bytes, 51, self.producer_epoch.to_be_bytes());
        set(&mut bytes, 53, self.base_sequence.to_be_bytes());
        set(&mut bytes, 57, self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// Offset of the last record. Saturates, so that a hostile header cannot overflow it.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// The codec's number, known or not.
    #[must_use]
    pub fn codec(&self) -> u8 {
        u8::try_from(self.attributes & CODEC_MASK).unwrap_or(0)
    }

    /// How the records are compressed, if the codec is known.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_code(self.codec())
    }

    /// Who set the timestamps.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds control records: markers, or the quorum's own.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether the base timestamp is a delete horizon set by compaction.
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Whether an idempotent producer sent it.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The sequence number of the last record: numbers wrap from `i32::MAX` to 0. Meaningless without a producer id.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        let wrapped = if last > i64::from(i32::MAX) { last - i64::from(i32::MAX) - 1 } else { last };
        i32::try_from(wrapped).unwrap_or(i32::MAX)
    }

    /// The largest timestamp that the header admits, for indexes and retention: a client that does not compressed
    /// sets `max_timestamp` too low is not believed below its own first record.
    #[must_use]
    pub fn largest_timestamp(&self) -> i64 {
        if self.timestamp_type() == TimestampType::LogAppendTime || self.has_delete_horizon() {
            self.max_timestamp
        } else {
            self.max_timestamp.max(self.base_timestamp)
        }
    }
}

/// The bytes of the field at `at`; `at + N` is within the header for every call above, which `parse` proves by running.
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|field| field.first_chunk().copied()).expect("a field within the header")
}

/// Puts the bytes of a field in place.
pub(super) fn set<const N: usize>(bytes: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    // copies: one header field of at most eight bytes.
    bytes.get_mut(at..at + N).expect("a field within the header").copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::{BatchHeader, HEADER_BYTES, Offset};

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: Offset(0x0102_0304_0506_0708),
            batch_length: 0x0a0b,
            partition_leader_epoch: 7,
            crc: 0xdead_beef,
            attributes: 0b0001_0100,
            last_offset_delta: 9,
            base_timestamp: 1_700_000_000_000,
            max_timestamp: 1_700_000_000_123,
            producer_id: 4000,
            producer_epoch: 3,
            base_sequence: i32::MAX - 4,
            record_count: 10,
        }
    }

    #[test]
    fn fields_lie_where_kafka_puts_them() {
        let header = header();
        let bytes = header.to_bytes();
        assert_eq!(&bytes[..12], &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 10, 11]);
        assert_eq!(&bytes[12..23], &[0, 0, 0, 7, 2, 0xde, 0xad, 0xbe, 0xef, 0, 0b0001_0100]);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(BatchHeader::parse(&bytes), Ok(header));
        assert!(header.is_transactional() && !header.is_control() && header.codec() == 4);
    }

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(header().last_sequence(), 4);
        assert_eq!(BatchHeader { base_sequence: i32::MAX - 9, ..header() }.last_sequence(), i32::MAX);
        assert_eq!(BatchHeader { base_sequence: i32::MAX - 8, ..header() }.last_sequence(), 0);
    }
}
