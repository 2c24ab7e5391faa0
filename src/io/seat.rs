//! What other threads may touch of a shard: its wake, and the answers of housekeeping.
//!
//! One seat per shard, made before the shards start and known to all of them. A waker first says what happened (`MAIL`,
//! `DONE`), then looks whether the shard sleeps; a shard first says that it sleeps, then looks whether something happened.
//! Both in one total order, so one of the two sees the other, and a system call is made only for a shard that sleeps.
//!
//! **Invariant.** A flag set by [`Seat::raise`] is seen by the shard before it sleeps, or ends its sleep.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam_queue::SegQueue;
use rustix::event::EventfdFlags;

use super::stats::Counters;
use super::{Completion, Kernel};

/// One shard, as others see it. A cache line pair of its own: shards write each other's flags.
#[repr(align(128))]
pub(super) struct Seat {
    flags: AtomicU32,
    asleep: AtomicBool,
    event: OwnedFd,
    done: SegQueue<Completion<Kernel>>,
    /// What this shard's ring has done.
    pub(super) counters: Counters,
}

/// Something was put into the shard's mailbox.
pub(super) const MAIL: u32 = 1;
/// A job was answered.
const DONE: u32 = 2;

impl Seat {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            flags: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            event: rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?,
            done: SegQueue::new(),
            counters: Counters::default(),
        })
    }

    /// What the shard's ring watches to be woken.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Raises a flag and wakes the shard if it sleeps. Answers whether that took a system call.
    #[expect(clippy::host_endian_bytes, reason = "eventfd(2) counts in the machine's own order")]
    pub(super) fn raise(&self, flag: u32) -> bool {
        if self.flags.fetch_or(flag, Ordering::SeqCst) & flag != 0 || !self.asleep.swap(false, Ordering::SeqCst) {
            return false;
        }
        // The counter would have to overflow for this to fail; the shard never lets it.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        true
    }

    /// Takes a flag down; answers whether it was up. Called by the shard.
    pub(super) fn lower(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0 && self.flags.fetch_and(!flag, Ordering::SeqCst) & flag != 0
    }

    /// Says that the shard goes to sleep. `false`: something has happened, it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        self.flags.load(Ordering::SeqCst) == 0
    }

    /// Says that the shard looks at its flags again.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Hands over the answer of a job.
    pub(super) fn answer(&self, completion: Completion<Kernel>) {
        self.done.push(completion);
        self.raise(DONE);
    }

    /// Takes the answers that have arrived.
    pub(super) fn take_answers(&self, into: &mut Vec<Completion<Kernel>>) {
        if self.lower(DONE) {
            while let Some(completion) = self.done.pop() {
                into.push(completion);
            }
        }
    }
}
