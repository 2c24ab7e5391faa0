//! Buffers that the kernel picks when bytes arrive: so that an idle connection owns none.
//!
//! A provided-buffer ring (`io_uring_register_buf_ring(3)`, 5.19) filled with buffers of the receive pool. A receive
//! without a buffer takes one of them at the moment at which there is something to put into it; the buffer then belongs
//! to the completion, and the pool gives another in its place. Where the kernel has no such ring, `operations` polls
//! the socket and takes a buffer of the pool then.
//!
//! **Invariants.** 1. A buffer is either in `given` (the kernel may write it) or belongs to somebody above; `given` is
//! the table by the kernel's buffer number. 2. The ring's memory outlives its registration.
#![expect(unsafe_code, reason = "the buffer ring is memory shared with the kernel")]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::buf::{AppendBuf, Pool};
use super::ring::Ring;

/// The provided buffers of one shard.
pub(super) struct Provided {
    entries: Box<Entries>,
    given: Vec<Option<AppendBuf>>,
    free: Vec<u16>,
    tail: u16,
    /// How many the kernel should have; doubles when it ran out though the pool had more, up to `given.len()`.
    wanted: usize,
    buffer_bytes: usize,
}

#[repr(C, align(4096))]
struct Entries([BufRingEntry; BUFFERS_MAX]);

/// The buffer group of receives; a ring has no other.
pub(super) const GROUP: u16 = 0;

/// Buffers in the ring at the most, and at the start.
const BUFFERS_MAX: usize = 256;
const BUFFERS_AT_START: usize = 16;

impl Provided {
    /// Registers a ring of buffers; an error where the kernel knows none.
    pub(super) fn register(ring: &Ring, pool: &Pool, buffer_bytes: usize) -> io::Result<Self> {
        // SAFETY: a buffer ring entry is plain numbers, for which zero is a value.
        let entries: Box<Entries> = unsafe { Box::new_zeroed().assume_init() };
        let address = std::ptr::from_ref(&*entries) as u64;
        let count = u16::try_from(BUFFERS_MAX).expect("a small constant");
        // SAFETY: the memory is page-aligned, as large as said, and kept until `unregister` or leaked (invariant 2).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0)? };
        // Never more than a quarter of the pool: the rest is for the rest of long frames.
        let most = (pool.cap_bytes() / 4 / buffer_bytes).clamp(1, BUFFERS_MAX);
        let mut provided = Self {
            entries,
            given: (0..most).map(|_| None).collect(),
            free: (0..count).take(most).rev().collect(),
            tail: 0,
            wanted: BUFFERS_AT_START.min(most),
            buffer_bytes,
        };
        provided.fill(pool);
        Ok(provided)
    }

    /// Gives the kernel as many buffers as it should have and the pool can spare; answers how many it has now.
    pub(super) fn fill(&mut self, pool: &Pool) -> usize {
        let before = self.tail;
        while self.given.len() - self.free.len() < self.wanted {
            let Some(mut buffer) = pool.take(self.buffer_bytes) else { break };
            let Some(number) = self.free.pop() else { break };
            let entry = &mut self.entries.0[usize::from(self.tail) % BUFFERS_MAX];
            entry.set_addr(buffer.spare_ptr() as u64);
            entry.set_len(u32::try_from(buffer.remaining()).expect("a pool's classes fit"));
            entry.set_bid(number);
            self.given[usize::from(number)] = Some(buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            self.publish();
        }
        self.given.len() - self.free.len()
    }

    /// The buffer that the kernel used.
    pub(super) fn take(&mut self, number: u16) -> AppendBuf {
        let buffer = self.given[usize::from(number)].take().expect("the kernel uses a buffer that it was given, once");
        self.free.push(number);
        buffer
    }

    /// The kernel found none: give it more from now on. Answers whether it has any now.
    pub(super) fn ran_out(&mut self, pool: &Pool) -> bool {
        if self.fill(pool) >= self.wanted {
            self.wanted = (self.wanted * 2).min(self.given.len());
        }
        self.fill(pool) > 0
    }

    fn publish(&self) {
        // SAFETY: the address is the first entry of the ring, initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.0.as_ptr()) };
        // SAFETY: the tail is a 16-bit field of memory shared with the kernel, aligned, and written by nobody but us.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
