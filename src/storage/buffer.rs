//! The newest bytes of one log in memory: a chain of aligned buffers, appended at the end, freed from the front.
//!
//! ```text
//!   segment 0 ............................| segment 4711 ............................
//!   [chunk: start 1048576, full][chunk, padded at the roll][chunk: start 0, full][chunk: start 4096, filling]
//!     ^ freed first, when durable and memory is short                              ^ appended
//! ```
//!
//! **Invariants.** 1. The chunks of a segment lie one behind another without a gap, up to the segment's end. 2. A chunk
//! begins at a block boundary of its segment, so that a block's memory is aligned as its place in the file is.

use std::collections::VecDeque;
use std::ops::Range;

use crate::io::{AppendBuf, Slice};
use crate::types::Offset;

/// A piece of one segment in memory.
pub(super) struct Chunk {
    /// The segment, by its base offset.
    pub(super) segment: Offset,
    /// Where in the segment it begins.
    pub(super) start: u64,
    /// Its bytes; those beyond `bytes` are padding behind the segment's end.
    pub(super) buf: AppendBuf,
    /// Bytes of batches.
    pub(super) bytes: usize,
}

impl Chunk {
    /// Where in the segment its batches end.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes as u64
    }
}

/// The chain of one log.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) chunks: VecDeque<Chunk>,
}

impl Tail {
    /// The bytes of `range` of a segment, or `None` where not all of them are in memory.
    pub(super) fn slices(&self, segment: Offset, range: Range<u64>) -> Option<Vec<Slice>> {
        let _ = (segment, range);
        None
    }

    /// Where in a segment the bytes in memory begin, if any are.
    pub(super) fn first_position(&self, segment: Offset) -> Option<u64> {
        self.chunks.iter().find(|chunk| chunk.segment == segment).map(|chunk| chunk.start)
    }
}
