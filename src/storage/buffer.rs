//! The newest bytes of one log in memory: a chain of aligned buffers, appended at the end, freed from the front.
//!
//! ```text
//!   segment 0 ............................| segment 4711 ............................
//!   [chunk: start 1048576, full][chunk, padded at the roll][chunk: start 0, full][chunk: start 4096, open] (spare) ..
//!     ^ freed first, when stored and memory is short                              ^ appended
//! ```
//!
//! **Invariants.** 1. The chunks of a segment lie one behind another without a gap, up to the segment's end. 2. A chunk
//! begins at a block boundary of its segment and holds whole blocks, so that a block's memory is aligned as its place in
//! the file is. 3. Only the last chunk is open; spares are empty.

use std::collections::VecDeque;
use std::ops::Range;

use crate::io::copy::stage_records;
use crate::io::{AppendBuf, Slice};
use crate::record::{HEADER_BYTES, Records};
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

    /// Where in the segment its bytes end, padding included.
    fn padded_end(&self) -> u64 {
        self.start + self.buf.len() as u64
    }
}

/// The chain of one log.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) chunks: VecDeque<Chunk>,
    /// Whether the last chunk takes more.
    open: bool,
    /// Memory for what comes next.
    spares: VecDeque<AppendBuf>,
}

impl Tail {
    /// Bytes that can be appended without further memory, to the active segment or (`rolls`) to the next one.
    pub(super) fn free_bytes(&self, rolls: bool) -> usize {
        let open = if rolls { 0 } else { self.open_remaining() };
        open + self.spares.iter().map(AppendBuf::remaining).sum::<usize>()
    }

    fn open_remaining(&self) -> usize {
        if self.open { self.chunks.back().map_or(0, |chunk| chunk.buf.remaining()) } else { 0 }
    }

    /// Adds memory.
    pub(super) fn add_spare(&mut self, buf: AppendBuf) {
        self.spares.push_back(buf);
    }

    /// Gives the spare memory back: the log is closed or failed.
    pub(super) fn drop_spares(&mut self) {
        self.spares.clear();
    }

    /// Copies a batch behind the appended bytes, where it stays invisible until [`Self::publish`]; answers the CRC-32C `crc`
    /// gone on with over its bytes after the header. [`Self::free_bytes`] must suffice.
    pub(super) fn stage(&mut self, header: &[u8; HEADER_BYTES], batch: &Records, crc: u32) -> u32 {
        let _ = self.stage_at(0, header, 0);
        let (mut position, mut crc) = (0, crc);
        for part in batch.parts() {
            let skipped = HEADER_BYTES.saturating_sub(position).min(part.len());
            if skipped < part.len() {
                crc = self.stage_at(position + skipped, &part[skipped..], crc);
            }
            position += part.len();
        }
        crc
    }

    /// Writes over the header of the staged batch.
    pub(super) fn restage_header(&mut self, header: &[u8; HEADER_BYTES]) {
        let mut at = 0;
        let mut rest = header.as_slice();
        while !rest.is_empty() {
            let (buf, ahead) = self.staging_at(at);
            let (now, later) = rest.split_at(rest.len().min(buf.remaining() - ahead));
            buf.stage(ahead, now);
            at += now.len();
            rest = later;
        }
    }

    /// Takes the staged batch of `bytes` as appended to `segment` at `position`. Answers how many chunks became full.
    pub(super) fn publish(&mut self, segment: Offset, position: u64, bytes: usize) -> usize {
        let (mut left, mut position, mut filled) = (bytes, position, 0);
        while left > 0 {
            if self.open_remaining() == 0 {
                let buf = self.spares.pop_front().expect("the batch was staged in it");
                self.chunks.push_back(Chunk { segment, start: position, buf, bytes: 0 });
                self.open = true;
            }
            let chunk = self.chunks.back_mut().expect("pushed above, or open");
            let now = left.min(chunk.buf.remaining());
            chunk.buf.publish(now);
            chunk.bytes += now;
            assert!(chunk.segment == segment && chunk.end() == position + now as u64, "chunks lie without a gap");
            filled += usize::from(chunk.buf.remaining() == 0);
            position += now as u64;
            left -= now;
        }
        filled
    }

    /// Ends the active segment: its last block is padded with zeros, and the next byte begins a new chunk. Answers whether
    /// that ended a chunk that was not full.
    pub(super) fn seal(&mut self, block_bytes: usize) -> bool {
        let ends_chunk = self.open_remaining() > 0;
        if let Some(chunk) = self.chunks.back_mut().filter(|_| self.open) {
            let padding = chunk.bytes.next_multiple_of(block_bytes) - chunk.bytes;
            chunk.buf.append_zeros(padding);
        }
        self.open = false;
        ends_chunk
    }

    /// Begins the chain of an opened log with the bytes after the last full block of its active segment.
    pub(super) fn load(&mut self, segment: Offset, start: u64, mut buf: AppendBuf, tail: &[u8]) {
        assert!(self.chunks.is_empty() && buf.is_empty(), "a log is loaded once");
        // The tail of a log that was read from its file, less than a block, once for each opening: not produced bytes.
        buf.append(tail);
        self.chunks.push_back(Chunk { segment, start, buf, bytes: tail.len() });
        self.open = true;
    }

    /// The bytes of `range` of a segment, or `None` where not all of them are in memory. Zeros that pad the last block of a
    /// sealed segment may be asked for too.
    pub(super) fn slices(&self, segment: Offset, range: Range<u64>) -> Option<Vec<Slice>> {
        let mut slices = Vec::new();
        let mut position = range.start;
        let first = self.chunks.partition_point(|chunk| (chunk.segment, chunk.padded_end()) <= (segment, position));
        for chunk in self.chunks.iter().skip(first) {
            if position >= range.end || chunk.segment != segment || chunk.start > position {
                break;
            }
            let end = range.end.min(chunk.padded_end());
            let within = |position: u64| usize::try_from(position - chunk.start).expect("within a chunk");
            slices.push(chunk.buf.slice(within(position)..within(end)));
            position = end;
        }
        (position >= range.end).then_some(slices)
    }

    /// Shows the bytes of `range` of a segment, piece by piece. All of them are in memory.
    pub(super) fn show(&self, segment: Offset, range: Range<u64>, mut each: impl FnMut(&[u8])) {
        let mut position = range.start;
        let first = self.chunks.partition_point(|chunk| (chunk.segment, chunk.padded_end()) <= (segment, position));
        for chunk in self.chunks.iter().skip(first) {
            if position >= range.end || chunk.segment != segment || chunk.start > position {
                break;
            }
            let end = range.end.min(chunk.padded_end());
            let within = |position: u64| usize::try_from(position - chunk.start).expect("within a chunk");
            each(&chunk.buf.filled()[within(position)..within(end)]);
            position = end;
        }
        assert!(position >= range.end, "the tail of a log is in memory");
    }

    /// Where in a segment the bytes in memory begin, if any are.
    pub(super) fn first_position(&self, segment: Offset) -> Option<u64> {
        let first = self.chunks.partition_point(|chunk| chunk.segment < segment);
        self.chunks.get(first).filter(|chunk| chunk.segment == segment).map(|chunk| chunk.start)
    }

    /// Frees the oldest chunk if it takes no more bytes and all of them are stored: below `position` of `segment`.
    pub(super) fn evict(&mut self, segment: Offset, position: u64) -> bool {
        let Some(chunk) = self.chunks.front() else { return false };
        let is_last_open = self.open && self.chunks.len() == 1 && chunk.buf.remaining() > 0;
        if is_last_open || (chunk.segment, chunk.end()) > (segment, position) {
            return false;
        }
        self.open &= self.chunks.len() > 1;
        self.chunks.pop_front();
        true
    }

    /// Moves the tail of a lone open chunk, from `position` on, to the small buffer that `take` gives once the large one is
    /// given up. False where there is nothing to gain.
    pub(super) fn shrink(
        &mut self,
        position: u64,
        small_bytes: usize,
        take: impl FnOnce(usize) -> Option<AppendBuf>,
    ) -> bool {
        let lone = self.open && self.chunks.len() == 1;
        let Some(chunk) = self.chunks.front().filter(|chunk| lone && chunk.buf.capacity() > small_bytes) else {
            return false;
        };
        let from = usize::try_from(position.saturating_sub(chunk.start)).expect("within a chunk");
        if position < chunk.start || chunk.bytes - from > small_bytes {
            return false;
        }
        // copies: less than a block of an idle log, when memory is short
        let (segment, tail) = (chunk.segment, chunk.buf.slice(from..chunk.bytes).to_vec());
        self.chunks.clear();
        self.spares.clear();
        let buf = take(small_bytes).unwrap_or_else(|| AppendBuf::with_capacity(small_bytes));
        self.load(segment, position, buf, &tail);
        true
    }

    /// Copies `bytes` to `at` bytes behind the appended end, over as many buffers as it takes.
    fn stage_at(&mut self, at: usize, bytes: &[u8], crc: u32) -> u32 {
        let (mut at, mut rest, mut crc) = (at, bytes, crc);
        while !rest.is_empty() {
            let (buf, ahead) = self.staging_at(at);
            let (now, later) = rest.split_at(rest.len().min(buf.remaining() - ahead));
            crc = stage_records(buf, ahead, now, crc);
            at += now.len();
            rest = later;
        }
        crc
    }

    /// The buffer that holds the byte `at` bytes behind the appended end, and how far behind its own end that is.
    fn staging_at(&mut self, at: usize) -> (&mut AppendBuf, usize) {
        let mut ahead = at;
        let open = self.open_remaining();
        if ahead < open {
            return (&mut self.chunks.back_mut().expect("open").buf, ahead);
        }
        ahead -= open;
        for spare in &mut self.spares {
            if ahead < spare.remaining() {
                return (spare, ahead);
            }
            ahead -= spare.remaining();
        }
        unreachable!("the caller made room for the whole batch")
    }
}
