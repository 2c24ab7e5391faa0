//! Both indexes of one segment, and the rule for when an entry is due.
//!
//! Called once per batch: by the append path for the active segment, by recovery when it rebuilds. The rule is Kafka's
//! (`LogSegment.append`): an entry is due before a batch when more than `index.interval.bytes` were appended since the
//! last entry. Over the shard's index budget entries are 64 KiB apart.
//!
//! **Invariant.** Both walks, the appending and the rebuilding one, give the same entries for the same bytes.

use super::offset_index::OffsetIndex;
use super::time_index::{NO_TIMESTAMP, TimeIndex, TimestampOffset};
use crate::types::Offset;

/// What the indexes need to know of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// Where it begins in the segment.
    pub position: u64,
    /// Bytes of the whole batch.
    pub len: u64,
    /// Its last offset.
    pub last_offset: Offset,
    /// Its largest timestamp, or -1.
    pub max_timestamp: i64,
}

/// The offset index and the time index of a segment that is being filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Offsets to positions.
    pub offsets: OffsetIndex,
    /// Timestamps to offsets.
    pub times: TimeIndex,
    /// The largest timestamp so far and where it is.
    pub largest: TimestampOffset,
    bytes_since_entry: u64,
}

impl SegmentIndex {
    /// The indexes of an empty segment. They hold no memory.
    #[must_use]
    pub const fn new(base_offset: Offset) -> Self {
        Self {
            offsets: OffsetIndex::new(base_offset),
            times: TimeIndex::new(base_offset),
            largest: TimestampOffset { timestamp: NO_TIMESTAMP, offset: base_offset },
            bytes_since_entry: 0,
        }
    }

    /// Goes on with indexes that were read from files: as if the batches up to the last entry had just been noted.
    #[must_use]
    pub fn resume(offsets: OffsetIndex, times: TimeIndex, largest: TimestampOffset, end_position: u64) -> Self {
        let last = offsets.last_entry().map_or(0, |(_, position)| position);
        Self { offsets, times, largest, bytes_since_entry: end_position.saturating_sub(last) }
    }

    /// Notes the next batch of the segment; `interval_bytes` is [`interval`]'s answer.
    pub fn note(&mut self, batch: BatchPlace, interval_bytes: u64) {
        if batch.max_timestamp > self.largest.timestamp {
            self.largest = TimestampOffset { timestamp: batch.max_timestamp, offset: batch.last_offset };
        }
        if self.bytes_since_entry > interval_bytes {
            self.offsets.append(batch.last_offset, batch.position);
            self.times.maybe_append(self.largest);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.len;
    }

    /// The segment takes no more batches: its largest timestamp becomes the time index's last entry.
    pub fn seal(&mut self) {
        self.times.maybe_append(self.largest);
    }

    /// Memory that the entries hold.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.offsets.resident_bytes() + self.times.resident_bytes()
    }
}

/// How far apart entries are: Kafka's `index.interval.bytes`, at least 4 KiB, and at least 64 KiB over budget.
#[must_use]
pub fn interval(index_interval_bytes: u64, over_budget: bool) -> u64 {
    index_interval_bytes.max(if over_budget { INTERVAL_OVER_BUDGET_BYTES } else { INTERVAL_MIN_BYTES })
}

/// The least distance of two entries, whatever is configured.
pub const INTERVAL_MIN_BYTES: u64 = 4 << 10;

/// The least distance of two entries while the shard's indexes are over their budget.
pub const INTERVAL_OVER_BUDGET_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{BatchPlace, SegmentIndex, interval};
    use crate::types::Offset;

    fn fill(interval_bytes: u64) -> SegmentIndex {
        let mut index = SegmentIndex::new(Offset(100));
        for batch in 0..100_i64 {
            let place = BatchPlace {
                position: u64::try_from(batch).expect("positive") * 1000,
                len: 1000,
                last_offset: Offset(100 + batch * 10 + 9),
                max_timestamp: 5000 + batch,
            };
            index.note(place, interval_bytes);
        }
        index
    }

    #[test]
    fn an_entry_is_due_once_more_than_the_interval_was_appended() {
        let index = fill(interval(0, false));
        assert_eq!(index.offsets.entry(0), (Offset(159), 5000), "4,096 is passed by the fifth batch");
        assert_eq!(index.offsets.entry(1), (Offset(209), 10_000));
        assert_eq!(index.offsets.entry_count(), 19);
        let over = fill(interval(4096, true));
        assert_eq!(over.offsets.entry_count(), 1);
    }

    #[test]
    fn sealing_ends_the_time_index_with_the_largest_timestamp() {
        let mut index = fill(4096);
        assert!(index.times.last_entry().is_some_and(|last| last.timestamp < 5099));
        index.seal();
        assert_eq!(index.times.last_entry(), Some(index.largest));
        assert_eq!((index.largest.timestamp, index.largest.offset), (5099, Offset(1099)));
        let sealed = index.clone();
        index.seal();
        assert_eq!(index, sealed, "sealing twice changes nothing");
    }
}
