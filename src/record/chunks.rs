//! Bytes in order, in as few pieces as they came: a frame, or the records cut out of it.
//!
//! A frame of up to 64 KiB is one piece; a longer one arrives in chunks from the receive budget. [`Records`] is a list
//! of counted views, so cutting and cloning never copies bytes. One piece costs no allocation.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BatchHeader, HEADER_BYTES};
use super::error::RecordError;
use crate::io::Slice;

/// Bytes in order, as a list of chunks. Cheap to clone, may cross shards, keeps its memory alive.
#[derive(Clone, Default)]
pub struct Records {
    chunks: Chunks,
    len: usize,
}

/// No chunk is empty, so that a position below the length always names a byte.
#[derive(Clone, Default)]
enum Chunks {
    #[default]
    None,
    One(Slice),
    Many(Arc<[Slice]>),
}

impl Records {
    /// The bytes of `chunks` one after the other. Empty chunks are dropped.
    #[must_use]
    pub fn from_chunks(mut chunks: Vec<Slice>) -> Self {
        chunks.retain(|chunk| !chunk.is_empty());
        let len = chunks.iter().map(|chunk| chunk.len()).sum();
        let chunks = match chunks.len() {
            0 => Chunks::None,
            1 => chunks.pop().map_or(Chunks::None, Chunks::One),
            _ => Chunks::Many(Arc::from(chunks)),
        };
        Self { chunks, len }
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks in order; none of them is empty.
    #[must_use]
    pub fn parts(&self) -> &[Slice] {
        match &self.chunks {
            Chunks::None => &[],
            Chunks::One(slice) => std::slice::from_ref(slice),
            Chunks::Many(chunks) => chunks,
        }
    }

    /// The bytes, if they are in one piece.
    #[must_use]
    pub fn contiguous(&self) -> Option<&[u8]> {
        match self.parts() {
            [] => Some(&[]),
            [one] => Some(one),
            _ => None,
        }
    }

    /// The bytes in `range` as views of the same memory, or `None` where it reaches beyond the end.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        if range.is_empty() {
            return Some(Self::default());
        }
        if let Chunks::One(slice) = &self.chunks {
            let len = range.len();
            return Some(Self { chunks: Chunks::One(slice.slice(range)), len });
        }
        let mut cut = Vec::new();
        self.for_each_part(range, |chunk, within| cut.push(chunk.slice(within)));
        Some(Self::from_chunks(cut))
    }

    /// As [`Self::get`]; panics where the range reaches beyond the end.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        self.get(range).expect("a range within the records")
    }

    /// The `N` bytes at `position` gathered on the stack: for headers, never for records.
    #[must_use]
    #[inline]
    pub fn array_at<const N: usize>(&self, position: usize) -> Option<[u8; N]> {
        let end = position.checked_add(N)?;
        if let Some(bytes) = self.contiguous() {
            return bytes.get(position..end)?.first_chunk().copied();
        }
        if end > self.len {
            return None;
        }
        let mut array = [0; N];
        let mut free = array.as_mut_slice();
        self.for_each_part(position..end, |chunk, within| {
            let bytes = chunk.get(within).unwrap_or_default();
            let (now, later) = std::mem::take(&mut free).split_at_mut(bytes.len());
            // copies: a header, gathered on the stack.
            now.copy_from_slice(bytes);
            free = later;
        });
        Some(array)
    }

    /// The 61 header bytes of the batch at the front, or `None` where there are fewer.
    #[must_use]
    #[inline]
    pub fn header_bytes(&self) -> Option<[u8; HEADER_BYTES]> {
        self.array_at(0)
    }

    /// The header of the batch at the front, read across chunk edges. Says nothing of its sense: see [`super::check()`].
    pub fn header(&self) -> Result<BatchHeader, RecordError> {
        let bytes = self.header_bytes();
        let bytes = bytes.ok_or(RecordError::Truncated { needed: HEADER_BYTES, available: self.len })?;
        BatchHeader::parse(&bytes)
    }

    /// Calls `each` with every chunk that `range` touches and the range within it. `range` lies within the bytes.
    fn for_each_part(&self, range: Range<usize>, mut each: impl FnMut(&Slice, Range<usize>)) {
        let mut chunk_start = 0;
        for chunk in self.parts() {
            let chunk_end = chunk_start + chunk.len();
            if chunk_end > range.start {
                let start = range.start.max(chunk_start) - chunk_start;
                let end = range.end.min(chunk_end) - chunk_start;
                each(chunk, start..end);
            }
            if chunk_end >= range.end {
                return;
            }
            chunk_start = chunk_end;
        }
    }
}

impl From<Slice> for Records {
    fn from(slice: Slice) -> Self {
        let len = slice.len();
        Self { chunks: if len == 0 { Chunks::None } else { Chunks::One(slice) }, len }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self::from(Slice::from(bytes))
    }
}

impl From<Vec<u8>> for Records {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl FromIterator<Slice> for Records {
    fn from_iter<T: IntoIterator<Item = Slice>>(slices: T) -> Self {
        Self::from_chunks(slices.into_iter().collect())
    }
}

/// Equal bytes, wherever the chunk edges are.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self
                .parts()
                .iter()
                .flat_map(|chunk| chunk.iter())
                .eq(other.parts().iter().flat_map(|chunk| chunk.iter()))
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes in {} chunks)", self.len, self.parts().len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Records, Slice};

    fn chunked(bytes: &'static [u8], size: usize) -> Records {
        bytes.chunks(size).map(|chunk| Slice::from(Bytes::from_static(chunk))).collect()
    }

    #[test]
    fn a_cut_is_the_same_whatever_the_chunks() {
        let bytes = b"0123456789abcdef";
        for size in 1..=bytes.len() {
            let records = chunked(bytes, size);
            for start in 0..=bytes.len() {
                for end in start..=bytes.len() {
                    let cut = records.get(start..end).expect("within");
                    assert_eq!(cut, Records::from(Bytes::from_static(&bytes[start..end])));
                    assert!(cut.parts().iter().all(|part| !part.is_empty()));
                }
                let array = records.array_at::<4>(start);
                assert_eq!(array.as_ref().map(<[u8; 4]>::as_slice), bytes.get(start..start + 4));
            }
            assert!(records.get(3..bytes.len() + 1).is_none());
            assert!(records.array_at::<1>(usize::MAX).is_none());
        }
    }
}
