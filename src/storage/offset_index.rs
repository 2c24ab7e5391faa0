//! The offset index of one segment: which position to begin at for an offset. Kafka's `.index` file, byte for byte.
//!
//! Called by the append path (one entry per index interval), by reads (lookup) and by recovery (rebuild, check). The
//! memory of an index *is* its file: eight bytes an entry, so that sealing writes it as it stands and a loaded one
//! needs no decoding.
//!
//! ```text
//!   entry   | last offset of a batch, less the segment's base (i32) | position of that batch (i32) |   big-endian
//!             rising                                                  rising
//! ```
//!
//! **Invariants.** 1. Both columns rise strictly (asserted in [`OffsetIndex::append`], checked in
//! [`OffsetIndex::from_bytes`]). 2. An index is a cache: losing it costs one scan of its segment, never a record. An
//! entry that fails the check makes the whole index worthless; nobody repairs one.
//!
//! Kafka: `org.apache.kafka.storage.internals.log.OffsetIndex`.

use thiserror::Error;

use crate::types::Offset;

/// Offsets to positions, sparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetIndex {
    base_offset: Offset,
    bytes: Vec<u8>,
}

/// Why an index file is of no use. It is rebuilt from its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IndexError {
    /// Not whole entries.
    #[error("{len} bytes are not a whole number of entries of {entry} bytes")]
    Ragged {
        /// Bytes of the file.
        len: usize,
        /// Bytes of an entry.
        entry: usize,
    },
    /// An entry does not rise above its predecessor, or above every offset.
    #[error("entry {entry} does not rise above the one before it, or beyond all offsets")]
    NotRising {
        /// The entry's number from 0.
        entry: usize,
    },
    /// An entry points behind the segment's end.
    #[error("entry {entry} lies beyond the segment's {segment_bytes} bytes")]
    Beyond {
        /// The entry's number from 0.
        entry: usize,
        /// Bytes of the segment.
        segment_bytes: u64,
    },
}

impl OffsetIndex {
    /// The index of an empty segment.
    #[must_use]
    pub const fn new(base_offset: Offset) -> Self {
        Self { base_offset, bytes: Vec::new() }
    }

    /// Takes the contents of an `.index` file, checked against the size of its segment.
    ///
    /// # Errors
    /// [`IndexError`] where an entry cannot be one of this segment: the caller rebuilds.
    pub fn from_bytes(base_offset: Offset, bytes: Vec<u8>, segment_bytes: u64) -> Result<Self, IndexError> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err(IndexError::Ragged { len: bytes.len(), entry: ENTRY_BYTES });
        }
        let index = Self { base_offset, bytes };
        let mut before: Option<(i32, i32)> = None;
        for entry in 0..index.entry_count() {
            let (offset, position) = index.raw(entry);
            let falls = before.map_or(offset < 0 || position < 0, |(o, p)| offset <= o || position <= p);
            if falls || base_offset.0.checked_add(i64::from(offset)).is_none() {
                return Err(IndexError::NotRising { entry });
            }
            if u64::try_from(position).is_ok_and(|position| position >= segment_bytes) {
                return Err(IndexError::Beyond { entry, segment_bytes });
            }
            before = Some((offset, position));
        }
        Ok(index)
    }

    /// Notes that the batch ending with `last_offset` begins at `position`. Both must rise above the last entry's.
    pub fn append(&mut self, last_offset: Offset, position: u64) {
        let relative =
            i32::try_from(last_offset.0 - self.base_offset.0).expect("a segment spans fewer than 2^31 offsets");
        let place = i32::try_from(position).expect("a segment is smaller than 2 GiB");
        if let Some(last) = self.entry_count().checked_sub(1) {
            let (last_relative, last_place) = self.raw(last);
            assert!(relative > last_relative && place > last_place, "index entries rise");
        }
        grow_by_steps(&mut self.bytes, ENTRY_BYTES);
        // copies: an index entry
        self.bytes.extend_from_slice(&relative.to_be_bytes());
        // copies: an index entry
        self.bytes.extend_from_slice(&place.to_be_bytes());
    }

    /// Where to begin looking for `offset`: the position of the last indexed batch that ends at or below it, else 0.
    #[must_use]
    pub fn lookup(&self, offset: Offset) -> u64 {
        self.entry_at_or_below(offset).map_or(0, |(_, position)| position)
    }

    /// The last entry that does not lie above `offset`: a batch's last offset, and its position.
    #[must_use]
    pub fn entry_at_or_below(&self, offset: Offset) -> Option<(Offset, u64)> {
        let wanted = offset.0.saturating_sub(self.base_offset.0);
        let above = partition_point(self.entry_count(), |entry| i64::from(self.raw(entry).0) <= wanted);
        above.checked_sub(1).map(|entry| self.entry(entry))
    }

    /// The first entry whose batch begins at or behind `position`: a read that may take so many bytes ends there or
    /// later. `None` where the segment's end comes first.
    #[must_use]
    pub fn entry_from_position(&self, position: u64) -> Option<(Offset, u64)> {
        let first = partition_point(self.entry_count(), |entry| self.entry(entry).1 < position);
        (first < self.entry_count()).then(|| self.entry(first))
    }

    /// The last entry whose batch begins at or before `position`.
    #[must_use]
    pub fn entry_at_or_before_position(&self, position: u64) -> Option<(Offset, u64)> {
        let behind = partition_point(self.entry_count(), |entry| self.entry(entry).1 <= position);
        behind.checked_sub(1).map(|entry| self.entry(entry))
    }

    /// The first entry whose batch ends at or above `offset`: nothing at or behind its position lies wholly below `offset`,
    /// where `offset` is some batch's end.
    #[must_use]
    pub fn first_above(&self, offset: Offset) -> Option<(Offset, u64)> {
        let wanted = offset.0.saturating_sub(self.base_offset.0);
        let first = partition_point(self.entry_count(), |entry| i64::from(self.raw(entry).0) < wanted);
        (first < self.entry_count()).then(|| self.entry(first))
    }

    /// The last entry: a batch's last offset, and its position.
    #[must_use]
    pub fn last_entry(&self) -> Option<(Offset, u64)> {
        self.entry_count().checked_sub(1).map(|entry| self.entry(entry))
    }

    /// Entry number `entry` from 0. Panics behind the last.
    #[must_use]
    pub fn entry(&self, entry: usize) -> (Offset, u64) {
        let (relative, place) = self.raw(entry);
        (self.base_offset.plus(i64::from(relative)), u64::try_from(place).expect("checked when it was taken in"))
    }

    /// Number of entries.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.bytes.len() / ENTRY_BYTES
    }

    /// Drops the entries of batches that begin at or behind `position`: the segment was cut there.
    pub fn truncate(&mut self, position: u64) {
        let kept = partition_point(self.entry_count(), |entry| self.entry(entry).1 < position);
        self.bytes.truncate(kept * ENTRY_BYTES);
    }

    /// Keeps only entries at least `gap_bytes` apart and gives the memory of the others back.
    pub fn thin(&mut self, gap_bytes: u64) {
        let mut kept = Vec::new();
        let mut next = 0;
        for entry in 0..self.entry_count() {
            let position = self.entry(entry).1;
            if position >= next {
                // copies: an index entry
                kept.extend_from_slice(&self.bytes[entry * ENTRY_BYTES..][..ENTRY_BYTES]);
                next = position + gap_bytes;
            }
        }
        kept.shrink_to_fit();
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

    fn raw(&self, entry: usize) -> (i32, i32) {
        let bytes = &self.bytes[entry * ENTRY_BYTES..][..ENTRY_BYTES];
        (be_i32(&bytes[..4]), be_i32(&bytes[4..]))
    }
}

/// Makes room for one more entry without doubling: an idle partition holds no memory, a busy one at most a step too much.
pub(super) fn grow_by_steps(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() < more {
        let step = (bytes.len() / 2).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        bytes.reserve_exact(step.max(more));
    }
}

/// The first of `count` numbers for which `below` does not hold, where it holds for none behind that.
pub(super) fn partition_point(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Big-endian, from exactly four bytes.
pub(super) fn be_i32(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// Bytes of an entry (`OffsetIndex.ENTRY_SIZE`).
pub const ENTRY_BYTES: usize = 8;

const STEP_BYTES_MIN: usize = 96;
const STEP_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::{IndexError, OffsetIndex};
    use crate::types::Offset;

    fn small() -> OffsetIndex {
        let mut index = OffsetIndex::new(Offset(1000));
        index.append(Offset(1009), 4200);
        index.append(Offset(1023), 8500);
        index.append(Offset(1300), 70_000);
        index
    }

    /// The bytes that Kafka 4.3.1's OffsetIndex writes for the same three entries.
    const GOLDEN: [u8; 24] = [
        0, 0, 0, 9, 0, 0, 0x10, 0x68, //
        0, 0, 0, 23, 0, 0, 0x21, 0x34, //
        0, 0, 1, 0x2c, 0, 1, 0x11, 0x70,
    ];

    #[test]
    fn the_file_is_kafkas() {
        assert_eq!(small().as_bytes(), GOLDEN);
        assert_eq!(OffsetIndex::from_bytes(Offset(1000), GOLDEN.to_vec(), 70_001), Ok(small()));
    }

    #[test]
    fn a_lookup_begins_at_the_last_batch_that_ends_at_or_below() {
        let index = small();
        let found = [1000, 1008, 1009, 1022, 1023, 1299, 1300, 5000].map(|offset| index.lookup(Offset(offset)));
        assert_eq!(found, [0, 0, 4200, 4200, 8500, 8500, 70_000, 70_000]);
        assert_eq!(index.entry_from_position(4201), Some((Offset(1023), 8500)));
        assert_eq!(index.entry_from_position(70_001), None);
    }

    #[test]
    fn any_offset_may_be_asked_for() {
        let index = OffsetIndex::from_bytes(Offset(i64::MAX - 300), GOLDEN.to_vec(), 70_001).expect("it just fits");
        let last = (Offset(i64::MAX), 70_000);
        assert_eq!((index.last_entry(), index.entry(2)), (Some(last), last));
        assert_eq!(index.entry_at_or_below(Offset(i64::MAX)), Some(last));
        assert_eq!(index.first_above(Offset(i64::MAX)), Some(last));
        for below in [i64::MIN, -1, 0, i64::MAX - 300] {
            assert_eq!(index.entry_at_or_below(Offset(below)), None, "{below}");
            assert_eq!(index.lookup(Offset(below)), 0);
            assert_eq!(index.first_above(Offset(below)), Some((Offset(i64::MAX - 291), 4200)));
        }
        let negative = OffsetIndex::from_bytes(Offset(-1), GOLDEN.to_vec(), 70_001).expect("by its entries");
        assert_eq!(negative.entry_at_or_below(Offset(i64::MAX)), Some((Offset(299), 70_000)));
    }

    #[test]
    fn a_file_that_cannot_be_this_segments_is_refused() {
        let check =
            |bytes: &[u8], segment_bytes| OffsetIndex::from_bytes(Offset(1000), bytes.to_vec(), segment_bytes).err();
        assert_eq!(check(&GOLDEN[..23], 70_001), Some(IndexError::Ragged { len: 23, entry: 8 }));
        assert_eq!(check(&GOLDEN, 70_000), Some(IndexError::Beyond { entry: 2, segment_bytes: 70_000 }));
        let mut swapped = GOLDEN;
        swapped.copy_within(8..16, 0);
        assert_eq!(check(&swapped, 70_001), Some(IndexError::NotRising { entry: 1 }));
        let mut negative = GOLDEN;
        negative[0] = 0x80;
        assert_eq!(check(&negative, 70_001), Some(IndexError::NotRising { entry: 0 }));
        let last = Offset(i64::MAX - 300);
        assert!(OffsetIndex::from_bytes(last, GOLDEN.to_vec(), 70_001).is_ok());
        let beyond = OffsetIndex::from_bytes(Offset(last.0 + 1), GOLDEN.to_vec(), 70_001);
        assert_eq!(beyond.err(), Some(IndexError::NotRising { entry: 2 }), "no offset is that large");
        // A file that was allocated and never trimmed: zeros behind the first entry.
        assert_eq!(check(&[0; 16], 70_001), Some(IndexError::NotRising { entry: 1 }));
    }

    #[test]
    fn cutting_and_thinning_keep_what_still_holds() {
        let mut index = small();
        index.truncate(8500);
        assert_eq!(index.last_entry(), Some((Offset(1009), 4200)));
        let mut index = small();
        index.thin(64 << 10);
        assert_eq!((0..index.entry_count()).map(|entry| index.entry(entry).1).collect::<Vec<_>>(), [4200, 70_000]);
        assert_eq!(index.resident_bytes(), 16);
    }
}
