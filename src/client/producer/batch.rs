//! A record batch in the making: records are written once, where they are sent from.
//!
//! ```text
//!   [61 bytes of header, filled in by close] [record] [record] ...     -> seal: compressed, length and checksum
//! ```
//! The layout of a record is drawn in `record::decode`.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use crate::record::batch::{CRC_FROM, LOG_OVERHEAD, NO_PRODUCER_ID};
use crate::record::{BatchHeader, Compression, HEADER_BYTES, build, compress, varint};
use crate::types::Offset;

/// Where a record came from: which of the sources, and its line there, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub source: usize,
    pub line: u64,
}

/// A record that is to be sent. `headers` are encoded by [`encode_headers`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRecord<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [u8],
    pub timestamp: i64,
    pub place: Place,
}

/// The idempotent producer's id and epoch, or -1 and -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

impl ProducerId {
    pub(crate) const NONE: Self = Self { id: NO_PRODUCER_ID, epoch: -1 };
}

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    bytes: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    first: Place,
    last: Place,
    pub(super) opened: Instant,
}

/// A batch that is closed: its records, order and sequence are fixed.
#[derive(Debug)]
pub(super) struct Batch {
    /// Rises by one within its partition.
    pub(super) id: u64,
    /// The whole batch once it is `sealed`, before that an uncompressed one without length and checksum.
    pub(super) bytes: BatchBytes,
    pub(super) sealed: bool,
    pub(super) count: i32,
    pub(super) first: Place,
    pub(super) last: Place,
    pub(super) closed: Instant,
}

/// The bytes of a batch: owned by its queue, lent to the thread that sends them.
#[derive(Clone, Debug, Default)]
pub(super) struct BatchBytes(Arc<Vec<u8>>);

impl BatchBytes {
    /// The memory, unless somebody is still sending from it.
    pub(super) fn into_vec(self) -> Option<Vec<u8>> {
        Arc::try_unwrap(self.0).ok()
    }
}

impl From<Vec<u8>> for BatchBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Deref for BatchBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl OpenBatch {
    /// An empty batch in the memory of `bytes`, which is used again.
    pub(super) fn new(mut bytes: Vec<u8>, now: Instant) -> Self {
        bytes.clear();
        bytes.resize(HEADER_BYTES, 0);
        let (first, last) = (Place::default(), Place::default());
        Self { bytes, count: 0, base_timestamp: -1, max_timestamp: -1, first, last, opened: now }
    }

    /// Where its first record came from.
    pub(super) fn first(&self) -> Place {
        self.first
    }

    /// Whether a record stays within `bytes_max`. An empty batch takes any.
    pub(super) fn has_room(&self, record: &NewRecord<'_>, bytes_max: usize) -> bool {
        self.count == 0 || (self.count < i32::MAX && self.bytes.len() + bytes_at_most(record) <= bytes_max)
    }

    /// Puts a record at the end. Its parts are below 1 GiB.
    pub(super) fn push(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
            self.first = record.place;
        }
        self.last = record.place;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.saturating_sub(self.base_timestamp);
        let parts = nullable_bytes(record.key) + nullable_bytes(record.value) + record.headers.len();
        let body = 1 + varint_bytes_64(timestamp_delta) + varint_bytes(self.count) + parts;
        let bytes = &mut self.bytes;
        varint::write_i32(bytes, length(body));
        bytes.push(0);
        varint::write_i64(bytes, timestamp_delta);
        varint::write_i32(bytes, self.count);
        write_nullable(bytes, record.key);
        write_nullable(bytes, record.value);
        bytes.extend_from_slice(record.headers);
        self.count += 1;
    }

    /// Fixes the records, and gives them their place in the partition: number and sequence.
    pub(super) fn close(mut self, id: u64, producer: ProducerId, base_sequence: i32, now: Instant) -> Batch {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: 0,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence,
            record_count: self.count,
        };
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let (count, first, last) = (self.count, self.first, self.last);
        Batch { id, bytes: self.bytes.into(), sealed: false, count, first, last, closed: now }
    }
}

/// A closed batch with its records compressed, in memory of its own size: to be sealed.
pub(super) fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let (header, records) = bytes.split_at(HEADER_BYTES);
    let records = compress(compression, records);
    let mut batch = Vec::with_capacity(HEADER_BYTES + records.len());
    batch.extend_from_slice(header);
    batch.extend_from_slice(&records);
    batch
}

/// The bytes of a closed batch made ready to be sent: with codec, length and checksum.
pub(super) fn seal(mut bytes: Vec<u8>, compression: Compression) -> Vec<u8> {
    let batch_length = length(bytes.len() - LOG_OVERHEAD);
    bytes[LENGTH_AT..LOG_OVERHEAD].copy_from_slice(&batch_length.to_be_bytes());
    let attributes = i16::from(compression.code());
    bytes[CRC_FROM..CRC_FROM + 2].copy_from_slice(&attributes.to_be_bytes());
    build::reseal(&mut bytes);
    bytes
}

/// Headers as they stand in a record, their count in front.
pub(crate) fn encode_headers<'a>(
    into: &mut Vec<u8>,
    headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) {
    varint::write_i32(into, length(headers.len()));
    for (key, value) in headers {
        write_nullable(into, Some(key));
        write_nullable(into, value);
    }
}

/// The most bytes that a record can take in a batch.
pub(super) fn bytes_at_most(record: &NewRecord<'_>) -> usize {
    let parts = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + record.headers.len();
    // Length, attributes, timestamp delta, offset delta, length of the key, length of the value.
    parts + 5 + 1 + 10 + 5 + 5 + 5
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_bytes(length(bytes.len())) + bytes.len())
}

fn write_nullable(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint::write_i32(into, bytes.map_or(-1, |bytes| length(bytes.len())));
    into.extend_from_slice(bytes.unwrap_or_default());
}

fn varint_bytes(value: i32) -> usize {
    varint_bytes_64(value.into())
}

/// Bytes of a number in zig-zag form, seven bits a byte.
fn varint_bytes_64(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = u64::BITS - (zigzag | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("lines are bounded far below 2 GiB")
}

/// Where the length field lies.
const LENGTH_AT: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{NewRecord, OpenBatch, Place, ProducerId, bytes_at_most, compressed, encode_headers, seal};
    use crate::record::build::{self, BatchBuilder};
    use crate::record::{Compression, HEADER_BYTES, decode};

    #[test]
    fn a_batch_has_the_bytes_that_the_other_builder_gives_it() {
        let mut headers = Vec::new();
        encode_headers(&mut headers, [(&b"h"[..], Some(&b"v"[..])), (&b"n"[..], None)].into_iter());
        let long = vec![b'x'; 70_000];
        let none = [0];
        let records = [
            (Some(&b"k"[..]), Some(&b"value"[..]), &headers[..], 1_700_000_000_000_i64),
            (None, None, &none[..], 1_700_000_000_005),
            (Some(&b""[..]), Some(&long[..]), &none[..], 1_699_999_990_000),
        ];
        let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        for compression in codecs {
            let mut open = OpenBatch::new(vec![1, 2, 3], Instant::now());
            let mut room = HEADER_BYTES;
            for (line, (key, value, headers, timestamp)) in (1..).zip(records) {
                let record = NewRecord { key, value, headers, timestamp, place: Place { source: 0, line } };
                room += bytes_at_most(&record);
                open.push(&record);
                assert!(open.bytes.len() <= room);
            }
            let batch = open.close(0, ProducerId { id: 7, epoch: 2 }, 40, Instant::now());
            assert_eq!((batch.first.line, batch.last.line, batch.count), (1, 3, 3));
            let plain = batch.bytes.into_vec().expect("nobody else has it");
            let bytes = if compression == Compression::None { plain } else { compressed(&plain, compression) };
            let sealed = seal(bytes, compression);
            let expected = records.iter().enumerate().map(|(index, (key, value, _, timestamp))| {
                let owned = |bytes: &[u8]| bytes.to_vec();
                let headers = vec![(b"h".to_vec(), Some(b"v".to_vec())), (b"n".to_vec(), None)];
                let headers = if index == 0 { headers } else { Vec::new() };
                build::NewRecord { timestamp: *timestamp, key: key.map(owned), value: value.map(owned), headers }
            });
            let builder = BatchBuilder {
                compression,
                producer_id: 7,
                producer_epoch: 2,
                base_sequence: 40,
                ..BatchBuilder::default()
            };
            assert_eq!(sealed, builder.build(&expected.collect::<Vec<_>>()), "{compression:?}");
            assert_eq!(decode(&sealed).expect("decodes").records().count(), 3);
        }
    }
}
