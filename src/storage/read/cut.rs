//! Which whole batches of a piece of a segment a read gets. Pure.

use crate::io::Slice;
use crate::record::{BatchHeader, HEADER_BYTES, RecordError, Records};
use crate::storage::offset_index::OffsetIndex;
use crate::types::Offset;

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The first offset wanted: its whole batch is given.
    pub(super) from: Offset,
    /// No batch that ends at or above it is given.
    pub(super) upto: Offset,
    /// Bytes at the most.
    pub(super) max_bytes: usize,
    /// The first batch is given even where it is larger.
    pub(super) at_least_one: bool,
}

/// A piece of a segment in memory, wherever it came from.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Where in the segment it begins: a batch begins there.
    pub(super) position: u64,
    /// Its bytes.
    pub(super) records: Records,
}

/// What a piece shows of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Positions from and to: whole batches; empty where nothing may be given.
    Whole(u64, u64),
    /// The first batch reaches beyond the piece, up to this position at least.
    Short(u64),
}

impl Piece {
    pub(super) fn new(position: u64, slices: Vec<Slice>) -> Self {
        Self { position, records: Records::from_chunks(slices) }
    }

    fn end(&self) -> u64 {
        self.position + self.records.len() as u64
    }

    /// The header at a position of the segment, or `None` where the piece ends before the header does.
    pub(super) fn header(&self, position: u64) -> Result<Option<BatchHeader>, RecordError> {
        let at = usize::try_from(position - self.position).expect("within memory");
        self.records.array_at::<HEADER_BYTES>(at).map(|bytes| BatchHeader::parse(&bytes)).transpose()
    }

    /// The bytes between two positions of the segment.
    pub(super) fn bytes(&self, from: u64, to: u64) -> Vec<Slice> {
        let at = |position: u64| usize::try_from(position - self.position).expect("within memory");
        self.records.slice(at(from)..at(to)).parts().to_vec() // copies: counted views, no bytes
    }

    /// Where the batch that holds `from`, or the first one behind it, begins. `None`: behind the piece.
    pub(super) fn find(&self, from: Offset) -> Result<Result<u64, u64>, RecordError> {
        let mut position = self.position;
        while let Some(header) = self.header(position)? {
            if header.last_offset() >= from {
                return Ok(Ok(position));
            }
            position += header.size_bytes() as u64;
            if position >= self.end() {
                break;
            }
        }
        Ok(Err(position))
    }

    /// The whole batches that a read gets. The piece ends where batches that may be given do, or is short of it.
    pub(super) fn cut(&self, wanted: &Wanted, index: &OffsetIndex) -> Result<Cut, RecordError> {
        let start = match self.find(wanted.from)? {
            Ok(start) => start,
            Err(position) => return Ok(Cut::Short(position + HEADER_BYTES as u64)),
        };
        let mut end = start;
        if let Some(jump) = boundary(index, start, wanted).filter(|jump| *jump <= self.end()) {
            end = jump;
        }
        while end < self.end() {
            let Some(header) = self.header(end)? else {
                if end == start {
                    return Ok(Cut::Short(end + HEADER_BYTES as u64));
                }
                break;
            };
            let behind = end + header.size_bytes() as u64;
            let fits = behind - start <= wanted.max_bytes as u64 || (end == start && wanted.at_least_one);
            if header.last_offset() >= wanted.upto || !fits {
                break;
            }
            if behind > self.end() {
                if end == start {
                    return Ok(Cut::Short(behind));
                }
                break;
            }
            end = behind;
        }
        Ok(Cut::Whole(start, end))
    }
}

/// The last indexed batch that a read from `start` may reach: everything before it may be given.
pub(super) fn boundary(index: &OffsetIndex, start: u64, wanted: &Wanted) -> Option<u64> {
    let by_offset = index.entry_at_or_below(Offset(wanted.upto.0 - 1)).map(|(_, position)| position)?;
    let most = start + wanted.max_bytes as u64;
    let position = if by_offset <= most { by_offset } else { index.entry_at_or_before_position(most)?.1 };
    (position > start).then_some(position)
}
