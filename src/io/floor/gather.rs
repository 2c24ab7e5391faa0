//! Aligned memory that batches are copied into, back to back, until a window takes them.
//!
//! ```text
//!   batches   [ a a a a a | b b b | c c c c . ] [ c c d d d 0 0 ]   one window: whole blocks, zeros behind the last batch
//!              `--------- one buffer --------'   `-- the next --'   the window after it goes on behind the zeros
//! ```
//! Buffers go round in the order in which they were filled, and are used again when the last write from them has ended.

use std::collections::VecDeque;

use super::super::copy;
use super::super::{AppendBuf, Slice};
use super::wire::{self, CHECKED_FROM};

/// What the windows to come are made of.
#[derive(Debug)]
pub(super) struct Gather {
    block_bytes: usize,
    filling: AppendBuf,
    /// Where the window to come begins in `filling`.
    from: usize,
    /// Its bytes in buffers before that.
    full: Vec<Slice>,
    bytes: usize,
    used: VecDeque<AppendBuf>,
}

/// The checksum of a batch is not what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongChecksum;

impl Gather {
    /// Windows end on a multiple of `block_bytes`, which divides [`BUFFER_BYTES`].
    pub(super) fn new(block_bytes: usize) -> Self {
        assert_eq!(BUFFER_BYTES % block_bytes, 0, "buffers are whole blocks");
        Self {
            block_bytes,
            filling: buffer(),
            from: 0,
            full: Vec::new(),
            bytes: 0,
            used: (1..BUFFERS_AT_START).map(|_| buffer()).collect(),
        }
    }

    /// Bytes of batches that no window has taken yet.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies a batch behind the others, checksummed on the way. One with a wrong checksum was never there.
    pub(super) fn append(&mut self, batch: &[u8]) -> Result<(), WrongChecksum> {
        let mut crc = 0;
        let mut further = Vec::new();
        let mut done = self.filling.remaining().min(batch.len());
        stage(&mut self.filling, batch, 0..done, &mut crc);
        while done < batch.len() {
            let mut next = self.take_buffer();
            let end = batch.len().min(done + next.remaining());
            stage(&mut next, batch, done..end, &mut crc);
            further.push((next, end - done));
            done = end;
        }
        if crc != wire::checksum(batch) {
            self.used.extend(further.into_iter().map(|(unused, _)| unused));
            return Err(WrongChecksum);
        }
        let in_filling = self.filling.remaining().min(batch.len());
        self.filling.publish(in_filling);
        for (mut next, count) in further {
            next.publish(count);
            self.turn_to(next);
        }
        self.bytes += batch.len();
        Ok(())
    }

    /// The window to come: all that was appended, in whole blocks. Empty where nothing was.
    pub(super) fn take(&mut self) -> Vec<Slice> {
        if self.bytes == 0 {
            return Vec::new();
        }
        // A window begins on a block, and buffers are whole blocks: the zeros fit.
        let end = self.filling.len().next_multiple_of(self.block_bytes);
        self.filling.append_zeros(end - self.filling.len());
        let mut window = std::mem::take(&mut self.full);
        if end > self.from {
            window.push(self.filling.slice(self.from..end));
        }
        self.from = end;
        self.bytes = 0;
        if self.filling.remaining() == 0 {
            let next = self.take_buffer();
            self.turn_to(next);
        }
        window
    }

    /// Goes on in another buffer: the one before is full.
    fn turn_to(&mut self, next: AppendBuf) {
        let before = std::mem::replace(&mut self.filling, next);
        if before.len() > self.from {
            self.full.push(before.slice(self.from..before.len()));
        }
        self.from = 0;
        self.used.push_back(before);
    }

    fn take_buffer(&mut self) -> AppendBuf {
        let Some(mut oldest) = self.used.pop_front() else { return buffer() };
        if oldest.reset() {
            return oldest;
        }
        // A write from it is still under way.
        self.used.push_front(oldest);
        buffer()
    }
}

/// Puts a part of a batch behind the appended end of a buffer, going on with the checksum.
fn stage(into: &mut AppendBuf, batch: &[u8], part: std::ops::Range<usize>, crc: &mut u32) {
    let unchecked = part.start.min(CHECKED_FROM)..part.end.min(CHECKED_FROM);
    let ahead = unchecked.len();
    into.stage(0, &batch[unchecked]);
    let checked = part.start.max(CHECKED_FROM)..part.end.max(CHECKED_FROM);
    *crc = copy::stage_records(into, ahead, &batch[checked], *crc);
}

fn buffer() -> AppendBuf {
    AppendBuf::with_capacity(BUFFER_BYTES)
}

/// One buffer: a multiple of every block.
const BUFFER_BYTES: usize = 1 << 20;

/// Buffers that go round in any case, so that a stage that does not write copies into as much memory as one that does.
const BUFFERS_AT_START: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::batch;
    use super::{BUFFER_BYTES, BUFFERS_AT_START, Gather, WrongChecksum};

    fn bytes(window: &[super::Slice]) -> Vec<u8> {
        window.iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn a_window_holds_its_batches_and_ends_on_a_block() {
        let mut gather = Gather::new(4096);
        assert!(gather.take().is_empty());
        let (one, two) = (batch(100), batch(5000));
        gather.append(&one).expect("whole");
        gather.append(&two).expect("whole");
        assert_eq!(gather.bytes(), one.len() + two.len());
        let window = bytes(&gather.take());
        assert_eq!(window.len(), 8192);
        assert_eq!(window[..one.len()], one);
        assert_eq!(window[one.len()..][..two.len()], two);
        assert!(window[one.len() + two.len()..].iter().all(|byte| *byte == 0));
        assert_eq!((gather.bytes(), gather.take().len()), (0, 0));
    }

    #[test]
    fn batches_go_on_from_buffer_to_buffer_and_buffers_go_round() {
        let mut gather = Gather::new(4096);
        let batches: Vec<_> = [700 << 10, 1 << 20, 3 << 20, 100, 64 << 10].map(batch).into();
        for _ in 0..20 {
            for batch in &batches {
                gather.append(batch).expect("whole");
            }
            let window = gather.take();
            assert_eq!(bytes(&window)[..batches.concat().len()], batches.concat());
            assert!(window.iter().all(|slice| slice.len() % 4096 == 0));
        }
        assert!(gather.used.len() <= BUFFERS_AT_START, "{} buffers", gather.used.len());
    }

    #[test]
    fn memory_of_a_window_under_way_is_left_alone() {
        let mut gather = Gather::new(4096);
        let batch = batch(600 << 10);
        let mut windows = Vec::new();
        for _ in 0..2 * BUFFERS_AT_START {
            gather.append(&batch).expect("whole");
            windows.push(gather.take());
        }
        for window in windows {
            assert_eq!(bytes(&window)[..batch.len()], batch);
        }
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing_behind() {
        for len in [100, BUFFER_BYTES - 30, 2 * BUFFER_BYTES] {
            let mut gather = Gather::new(4096);
            let right = batch(len);
            gather.append(&batch(BUFFER_BYTES - 50)).expect("whole");
            gather.take();
            let mut wrong = right.clone();
            *wrong.last_mut().expect("long") ^= 1;
            assert_eq!(gather.append(&wrong), Err(WrongChecksum));
            assert_eq!(gather.bytes(), 0);
            gather.append(&right).expect("whole");
            assert_eq!(bytes(&gather.take())[..right.len()], right);
        }
    }
}
