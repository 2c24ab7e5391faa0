//! Which whole batches of a piece of a segment a read gets. Pure.
//!
//! Nobody checks a stored batch's checksum on its way to a consumer, who does so himself. But where batches begin and end is
//! read from their headers, and a damaged header would lead to bytes that are no batch, or past batches that are there. So a
//! header counts only where the next one, or the segment's end, agrees with it; anything else is an error, never an empty
//! answer.

use std::ops::Range;

use crate::io::Slice;
use crate::record::{BatchHeader, HEADER_BYTES, RecordError, Records, crc};
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

/// What is known of a segment whatever its bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Offset of its first record.
    pub(super) base: Offset,
    /// Offset after its last record.
    pub(super) end_offset: Offset,
    /// Position after its last record.
    pub(super) end: u64,
}

/// A piece of a segment in memory, wherever it came from.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Where in the segment it begins: a batch begins there.
    pub(super) position: u64,
    /// Its bytes.
    pub(super) records: Records,
    bounds: Bounds,
}

/// What a piece shows of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Positions from and to: whole batches; empty where nothing may be given.
    Whole(u64, u64),
    /// A piece that ends before this position does not show it.
    Short(u64),
}

/// Why bytes are not the batches of their segment.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misplaced {
    #[error("at position {position}: {cause}")]
    Record { position: u64, cause: RecordError },
    #[error("at position {position}: a batch of offsets {first} to {last} and {bytes} bytes, which cannot be there")]
    Beyond { position: u64, first: Offset, last: Offset, bytes: usize },
    #[error("at position {position}: offset {found} follows {expected}")]
    Disorder { position: u64, found: Offset, expected: Offset },
}

impl Piece {
    pub(super) fn new(position: u64, slices: Vec<Slice>, bounds: Bounds) -> Self {
        Self { position, records: Records::from_chunks(slices), bounds }
    }

    fn end(&self) -> u64 {
        self.position + self.records.len() as u64
    }

    /// The header at a position of the segment, or `None` where the piece ends before the header does.
    pub(super) fn header(&self, position: u64) -> Result<Option<BatchHeader>, Misplaced> {
        let at = usize::try_from(position - self.position).expect("within memory");
        let Some(bytes) = self.records.array_at::<HEADER_BYTES>(at) else {
            return match position + HEADER_BYTES as u64 {
                needed if needed > self.bounds.end => Err(self.beyond(position, None)),
                _ => Ok(None),
            };
        };
        let header = BatchHeader::parse(&bytes).map_err(|cause| Misplaced::Record { position, cause })?;
        let fits = header.base_offset >= self.bounds.base
            && header.last_offset_delta >= 0
            && header.last_offset() < self.bounds.end_offset
            && position + header.size_bytes() as u64 <= self.bounds.end;
        if fits { Ok(Some(header)) } else { Err(self.beyond(position, Some(&header))) }
    }

    fn beyond(&self, position: u64, header: Option<&BatchHeader>) -> Misplaced {
        let (first, last) = header.map_or((self.bounds.end_offset, self.bounds.end_offset), |header| {
            (header.base_offset, header.last_offset())
        });
        Misplaced::Beyond { position, first, last, bytes: header.map_or(HEADER_BYTES, BatchHeader::size_bytes) }
    }

    /// What follows the batch at `position`, if it agrees with the batch's header.
    fn next(&self, position: u64, header: &BatchHeader) -> Result<Next, Misplaced> {
        let behind = position + header.size_bytes() as u64;
        let (found, next) = if behind == self.bounds.end {
            (self.bounds.end_offset, Next::End)
        } else if behind + HEADER_BYTES as u64 > self.end() && behind + HEADER_BYTES as u64 <= self.bounds.end {
            return Ok(Next::Unseen(behind + HEADER_BYTES as u64));
        } else {
            let next = self.header(behind)?;
            next.map_or((self.bounds.end_offset, Next::End), |next| (next.base_offset, Next::Header(next)))
        };
        let expected = header.next_offset();
        if found < expected {
            return Err(Misplaced::Disorder { position: behind, found, expected });
        }
        if found > expected {
            // Compaction took what was between them, or the header is wrong.
            if behind > self.end() {
                return Ok(Next::Unseen(behind));
            }
            self.check(position..behind, header, header.base_offset)?;
        }
        Ok(next)
    }

    /// Whether the batch that fills `range` may follow the offset before `expected`, and its checksum fits.
    pub(super) fn check(&self, range: Range<u64>, header: &BatchHeader, expected: Offset) -> Result<(), Misplaced> {
        let (position, found) = (range.start, header.base_offset);
        if found < expected {
            return Err(Misplaced::Disorder { position, found, expected });
        }
        let batch: Records = self.bytes(range.start, range.end).into_iter().collect();
        crc::verify(&batch).map(drop).map_err(|cause| Misplaced::Record { position, cause })
    }

    /// The bytes between two positions of the segment.
    pub(super) fn bytes(&self, from: u64, to: u64) -> Vec<Slice> {
        let at = |position: u64| usize::try_from(position - self.position).expect("within memory");
        self.records.slice(at(from)..at(to)).parts().to_vec() // copies: counted views, no bytes
    }

    /// Where the batch that holds `from`, or the first one behind it, begins; else up to where a piece must reach to show it.
    /// The piece begins where `index` says.
    pub(super) fn find(&self, from: Offset, index: &OffsetIndex) -> Result<Result<u64, u64>, Misplaced> {
        let mut position = self.position;
        let Some(mut header) = self.header(position)? else { return Ok(Err(position + HEADER_BYTES as u64)) };
        self.check_first(&header, index.entry_at_or_below(from))?;
        loop {
            let next = self.next(position, &header)?;
            let indexed = || index.entry_at_or_below(header.last_offset()) == Some((header.last_offset(), position));
            if header.last_offset() >= from && (!matches!(next, Next::Unseen(_)) || indexed()) {
                return Ok(Ok(position));
            }
            position += header.size_bytes() as u64;
            header = match next {
                Next::Header(next) => next,
                Next::Unseen(needed) => return Ok(Err(needed)),
                Next::End => return Ok(Err(self.bounds.end)),
            };
        }
    }

    /// Whether the piece's first batch is the one that begins there by `entry`, or by the segment's name.
    fn check_first(&self, header: &BatchHeader, entry: Option<(Offset, u64)>) -> Result<(), Misplaced> {
        let position = self.position;
        let expected = match entry {
            Some((last, at)) if at == position => Offset(last.0 - i64::from(header.last_offset_delta)),
            _ => return Ok(()),
        };
        let found = header.base_offset;
        if found == expected { Ok(()) } else { Err(Misplaced::Disorder { position, found, expected }) }
    }

    /// The whole batches that a read gets. The piece ends where batches that may be given do, or is short of it.
    pub(super) fn cut(&self, wanted: &Wanted, index: &OffsetIndex) -> Result<Cut, Misplaced> {
        let start = match self.find(wanted.from, index)? {
            Ok(start) => start,
            Err(needed) => return Ok(Cut::Short(needed)),
        };
        let mut end = start;
        if let Some(jump) = boundary(index, start, wanted).filter(|jump| *jump <= self.end()) {
            end = jump;
        }
        let mut seen = if end < self.end() { self.header(end)? } else { None };
        while let Some(header) = seen {
            let behind = end + header.size_bytes() as u64;
            let fits = behind - start <= wanted.max_bytes as u64 || (end == start && wanted.at_least_one);
            if header.last_offset() >= wanted.upto || !fits {
                break;
            }
            let next = self.next(end, &header)?;
            let needed = if let Next::Unseen(needed) = next { needed } else { behind };
            if needed > self.end() {
                if end == start {
                    return Ok(Cut::Short(needed));
                }
                break;
            }
            end = behind;
            seen = if let Next::Header(next) = next { Some(next) } else { None };
        }
        Ok(Cut::Whole(start, end))
    }
}

/// What follows a batch.
enum Next {
    /// Another one.
    Header(BatchHeader),
    /// The segment's end.
    End,
    /// A piece that ends before this position does not tell.
    Unseen(u64),
}

/// The last indexed batch that a read from `start` may reach: everything before it may be given.
pub(super) fn boundary(index: &OffsetIndex, start: u64, wanted: &Wanted) -> Option<u64> {
    let by_offset = index.entry_at_or_below(Offset(wanted.upto.0 - 1)).map(|(_, position)| position)?;
    let most = start + wanted.max_bytes as u64;
    let position = if by_offset <= most { by_offset } else { index.entry_at_or_before_position(most)?.1 };
    (position > start).then_some(position)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::load::enough;
    use super::{Bounds, Cut, Piece, Wanted};
    use crate::io::Slice;
    use crate::record::build::{BatchBuilder, NewRecord};
    use crate::record::crc::{HeaderStamp, stamp};
    use crate::record::{BatchHeader, HEADER_BYTES};
    use crate::storage::offset_index::OffsetIndex;
    use crate::types::Offset;

    const BASE: i64 = 1000;

    /// Where a batch is: its first offset, the next one's, its position, its end.
    type Place = (Offset, Offset, u64, u64);

    /// A segment of some batches, an index of every third, and where each batch is.
    fn segment() -> (Vec<u8>, OffsetIndex, Vec<Place>) {
        let (mut bytes, mut index, mut places) = (Vec::new(), OffsetIndex::new(Offset(BASE)), Vec::new());
        let mut next = Offset(BASE);
        for batch in 0..7_usize {
            let records: Vec<_> = (0..=batch % 3).map(|_| NewRecord::value(5, vec![7; 40 + 30 * batch])).collect();
            let mut built = BatchBuilder::default().build(&records);
            let header: &mut [u8; HEADER_BYTES] = built.first_chunk_mut().expect("a header");
            stamp(header, &HeaderStamp { base_offset: next, leader_epoch: 3, log_append_time_ms: None });
            let header = BatchHeader::read(&built).expect("a batch");
            let position = bytes.len() as u64;
            if batch % 3 == 2 {
                index.append(header.last_offset(), position);
            }
            bytes.append(&mut built);
            places.push((next, header.next_offset(), position, bytes.len() as u64));
            next = header.next_offset();
        }
        (bytes, index, places)
    }

    /// As `Log::read_stored` reads: where the bytes lie that it gives.
    fn read(bytes: &[u8], index: &OffsetIndex, end_offset: Offset, wanted: &Wanted) -> Option<(u64, u64)> {
        let end = bytes.len() as u64;
        let at = |position: u64| usize::try_from(position).unwrap();
        let from = index.lookup(wanted.from);
        let mut to = enough(index, from, wanted).min(end);
        loop {
            let slice = Slice::from(Bytes::copy_from_slice(&bytes[at(from)..at(to)]));
            let piece = Piece::new(from, vec![slice], Bounds { base: Offset(BASE), end_offset, end });
            match piece.cut(wanted, index).ok()? {
                Cut::Whole(start, end) => return Some((start, end)),
                Cut::Short(_) if to == end => return None,
                Cut::Short(needed) => to = needed.max(to + 1).min(end),
            }
        }
    }

    #[test]
    fn no_flipped_bit_of_a_header_moves_a_read() {
        let (whole, index, places) = segment();
        let end_offset = places.last().expect("some").1;
        let wanted: Vec<Wanted> = places
            .iter()
            .flat_map(|(base, ..)| [1, 700, 1 << 20].map(|max_bytes| (*base, max_bytes)))
            .map(|(from, max_bytes)| Wanted { from, upto: end_offset, max_bytes, at_least_one: true })
            .collect();
        let sound: Vec<_> = wanted.iter().map(|wanted| read(&whole, &index, end_offset, wanted)).collect();
        for (wanted, sound) in wanted.iter().zip(&sound) {
            let first = places.iter().find(|(base, ..)| *base == wanted.from).expect("a batch");
            assert!(sound.is_some_and(|(start, end)| start == first.2 && end >= first.3), "{wanted:?}: {sound:?}");
        }
        let (mut refused, mut given) = (0, 0);
        for (_, _, position, _) in &places {
            for bit in 0..HEADER_BYTES * 8 {
                let mut flipped = whole.clone();
                flipped[usize::try_from(*position).unwrap() + bit / 8] ^= 1 << (bit % 8);
                for wanted in &wanted {
                    let Some((start, end)) = read(&flipped, &index, end_offset, wanted) else {
                        refused += 1;
                        continue;
                    };
                    let first = places.iter().find(|(base, ..)| *base == wanted.from).expect("a batch");
                    let ends = places.iter().any(|(.., behind)| *behind == end);
                    assert!(
                        start == first.2 && end > start && ends,
                        "bit {bit} at {position}, {wanted:?}: {start}..{end}"
                    );
                    given += 1;
                }
            }
        }
        assert!(refused > 0 && given > refused, "{refused} refused, {given} given");
    }
}
