//! The time index of one segment: which offset to begin at for a timestamp. Kafka's `.timeindex` file, byte for byte.
//!
//! Called by the append path (with every entry of the offset index, and once more when the segment is sealed), by
//! ListOffsets through `read`, by retention (a segment's largest timestamp) and by recovery.
//!
//! ```text
//!   entry   | largest timestamp so far (i64) | last offset of its batch, less the segment's base (i32) |  big-endian
//!             rising                           rising
//! ```
//!
//! **Invariants.** 1. Timestamps rise strictly, offsets never fall (kept by [`TimeIndex::maybe_append`], checked in
//! [`TimeIndex::from_bytes`]). 2. The last entry of a sealed segment's index is that segment's largest timestamp. 3. An
//! index is a cache, as the offset index is.
//!
//! Kafka: `org.apache.kafka.storage.internals.log.TimeIndex`.

use super::offset_index::{IndexError, be_i32, grow_by_steps, partition_point};
use crate::types::Offset;

/// Timestamps to offsets, sparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    base_offset: Offset,
    bytes: Vec<u8>,
}

/// A timestamp and the last offset of the batch that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Milliseconds since 1970, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// Last offset of the batch.
    pub offset: Offset,
}

impl TimeIndex {
    /// The index of an empty segment.
    #[must_use]
    pub const fn new(base_offset: Offset) -> Self {
        Self { base_offset, bytes: Vec::new() }
    }

    /// Takes the contents of a `.timeindex` file.
    ///
    /// # Errors
    /// [`IndexError`] where the entries cannot be a time index: the caller rebuilds.
    pub fn from_bytes(base_offset: Offset, bytes: Vec<u8>) -> Result<Self, IndexError> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err(IndexError::Ragged { len: bytes.len(), entry: ENTRY_BYTES });
        }
        let index = Self { base_offset, bytes };
        let mut before: Option<(i64, i32)> = None;
        for entry in 0..index.entry_count() {
            let (timestamp, offset) = index.raw(entry);
            let falls = before.map_or(timestamp < 0 || offset < 0, |(t, o)| timestamp <= t || offset < o);
            if falls || base_offset.0.checked_add(i64::from(offset)).is_none() {
                return Err(IndexError::NotRising { entry });
            }
            before = Some((timestamp, offset));
        }
        Ok(index)
    }

    /// Notes the largest timestamp so far. Does nothing where it is not above the last entry's, or is none.
    pub fn maybe_append(&mut self, largest: TimestampOffset) {
        let before = self.last_entry().map_or(NO_TIMESTAMP, |last| last.timestamp);
        if largest.timestamp <= before {
            return;
        }
        let relative =
            i32::try_from(largest.offset.0 - self.base_offset.0).expect("a segment spans fewer than 2^31 offsets");
        assert!(self.last_entry().is_none_or(|last| largest.offset >= last.offset), "index entries rise");
        grow_by_steps(&mut self.bytes, ENTRY_BYTES);
        // copies: an index entry
        self.bytes.extend_from_slice(&largest.timestamp.to_be_bytes());
        // copies: an index entry
        self.bytes.extend_from_slice(&relative.to_be_bytes());
    }

    /// Where to begin looking for the first record at or after `timestamp`: everything up to the answered entry is
    /// earlier or equal. `None`: at the segment's beginning.
    #[must_use]
    pub fn lookup(&self, timestamp: i64) -> Option<TimestampOffset> {
        let above = partition_point(self.entry_count(), |entry| self.raw(entry).0 <= timestamp);
        above.checked_sub(1).map(|entry| self.entry(entry))
    }

    /// The last entry that is strictly earlier than `timestamp`: the first record at or after it comes behind.
    #[must_use]
    pub fn entry_before(&self, timestamp: i64) -> Option<TimestampOffset> {
        let first = partition_point(self.entry_count(), |entry| self.raw(entry).0 < timestamp);
        first.checked_sub(1).map(|entry| self.entry(entry))
    }

    /// The last entry.
    #[must_use]
    pub fn last_entry(&self) -> Option<TimestampOffset> {
        self.entry_count().checked_sub(1).map(|entry| self.entry(entry))
    }

    /// Entry number `entry` from 0. Panics behind the last.
    #[must_use]
    pub fn entry(&self, entry: usize) -> TimestampOffset {
        let (timestamp, relative) = self.raw(entry);
        TimestampOffset { timestamp, offset: self.base_offset.plus(i64::from(relative)) }
    }

    /// Number of entries.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.bytes.len() / ENTRY_BYTES
    }

    /// Drops the entries at or above `offset`: the segment was cut there.
    pub fn truncate(&mut self, offset: Offset) {
        let kept = partition_point(self.entry_count(), |entry| self.entry(entry).offset < offset);
        self.bytes.truncate(kept * ENTRY_BYTES);
    }

    /// Keeps at most about `entries_max` entries, the last one among them, and gives the memory of the others back.
    pub fn thin(&mut self, entries_max: usize) {
        let count = self.entry_count();
        let step = count.div_ceil(entries_max.max(1)).max(1);
        let mut kept = Vec::new();
        for entry in (0..count).filter(|entry| (count - 1 - entry).is_multiple_of(step)) {
            // copies: an index entry
            kept.extend_from_slice(&self.bytes[entry * ENTRY_BYTES..][..ENTRY_BYTES]);
        }
        self.bytes = kept;
    }

    /// The file's contents.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Memory that the entries hold.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn raw(&self, entry: usize) -> (i64, i32) {
        let bytes = &self.bytes[entry * ENTRY_BYTES..][..ENTRY_BYTES];
        (i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")), be_i32(&bytes[8..]))
    }
}

/// Bytes of an entry (`TimeIndex.ENTRY_SIZE`).
pub const ENTRY_BYTES: usize = 12;

/// What a batch without timestamps carries (`RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;

#[cfg(test)]
mod tests {
    use super::{TimeIndex, TimestampOffset};
    use crate::storage::offset_index::IndexError;
    use crate::types::Offset;

    fn at(timestamp: i64, offset: i64) -> TimestampOffset {
        TimestampOffset { timestamp, offset: Offset(offset) }
    }

    fn small() -> TimeIndex {
        let mut index = TimeIndex::new(Offset(1000));
        for entry in [at(1_700_000_000_000, 1009), at(1_700_000_000_000, 1023), at(1_700_000_000_777, 1300)] {
            index.maybe_append(entry);
        }
        index
    }

    /// The bytes that Kafka 4.3.1's TimeIndex writes for the same entries; the second one adds nothing.
    const GOLDEN: [u8; 24] = [
        0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0, 0, 0, 9, //
        0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x6b, 0x09, 0, 0, 1, 0x2c,
    ];

    #[test]
    fn the_file_is_kafkas() {
        assert_eq!(small().as_bytes(), GOLDEN);
        assert_eq!(TimeIndex::from_bytes(Offset(1000), GOLDEN.to_vec()), Ok(small()));
    }

    #[test]
    fn lookups_tell_at_or_before_from_before() {
        let index = small();
        assert_eq!(index.lookup(1_699_999_999_999), None);
        assert_eq!(index.lookup(1_700_000_000_000), Some(at(1_700_000_000_000, 1009)));
        assert_eq!(index.entry_before(1_700_000_000_000), None);
        assert_eq!(index.entry_before(1_700_000_000_777), Some(at(1_700_000_000_000, 1009)));
        assert_eq!(index.entry_before(i64::MAX), Some(at(1_700_000_000_777, 1300)));
    }

    #[test]
    fn a_batch_without_timestamps_adds_nothing() {
        let mut index = TimeIndex::new(Offset(5));
        index.maybe_append(at(-1, 9));
        assert_eq!(index.entry_count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_a_time_index_is_refused() {
        let check = |bytes: &[u8]| TimeIndex::from_bytes(Offset(1000), bytes.to_vec()).err();
        assert_eq!(check(&GOLDEN[..13]), Some(IndexError::Ragged { len: 13, entry: 12 }));
        assert_eq!(check(&[0; 24]), Some(IndexError::NotRising { entry: 1 }));
        let mut fallen = GOLDEN;
        fallen[23] = 0;
        fallen[22] = 0;
        assert_eq!(check(&fallen), Some(IndexError::NotRising { entry: 1 }));
    }

    #[test]
    fn cutting_drops_what_lies_behind() {
        let mut index = small();
        index.truncate(Offset(1300));
        assert_eq!(index.last_entry(), Some(at(1_700_000_000_000, 1009)));
    }
}
