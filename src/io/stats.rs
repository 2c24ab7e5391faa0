//! What the rings have done: counters that benches and the gate print per request.
//!
//! Each shard counts for itself in its `seat`; [`totals`] adds them up, at any time, from any thread. Punts to kernel
//! workers are not among them: the kernel shows them as the tracepoint `io_uring:io_uring_queue_async_work` alone.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::seat::Seat;

/// The counters of one shard. Written by its own thread alone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) enters: AtomicU64,
    pub(super) sqes: AtomicU64,
    pub(super) cqes: AtomicU64,
    pub(super) sends: AtomicU64,
    pub(super) sendfiles: AtomicU64,
    pub(super) wakes: AtomicU64,
    pub(super) sleeps: AtomicU64,
    pub(super) turns: AtomicU64,
    pub(super) jobs: AtomicU64,
}

/// Counts one more: a plain load and store, because nobody else writes it.
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The sum over all shards of this process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Submission queue entries.
    pub sqes: u64,
    /// Completion queue entries.
    pub cqes: u64,
    /// `send` and `sendmsg` calls outside the ring.
    pub sends: u64,
    /// `sendfile` calls.
    pub sendfiles: u64,
    /// Wakes of another shard that needed a system call.
    pub wakes: u64,
    /// Enters that were allowed to wait.
    pub sleeps: u64,
    /// Turns of the pumps.
    pub turns: u64,
    /// Jobs given to the housekeeping thread.
    pub jobs: u64,
}

/// The sum over the shards of this process, also of those that have ended.
#[must_use]
pub fn totals() -> Totals {
    let seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let sum = |field: fn(&Counters) -> &AtomicU64| {
        seats.iter().map(|seat| field(&seat.counters).load(Ordering::Relaxed)).sum()
    };
    Totals {
        enters: sum(|counters| &counters.enters),
        sqes: sum(|counters| &counters.sqes),
        cqes: sum(|counters| &counters.cqes),
        sends: sum(|counters| &counters.sends),
        sendfiles: sum(|counters| &counters.sendfiles),
        wakes: sum(|counters| &counters.wakes),
        sleeps: sum(|counters| &counters.sleeps),
        turns: sum(|counters| &counters.turns),
        jobs: sum(|counters| &counters.jobs),
    }
}

/// Takes a shard into the sum.
pub(super) fn register(seat: &Arc<Seat>) {
    SEATS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(seat));
}

impl Sub for Totals {
    type Output = Self;

    /// What happened between two looks.
    fn sub(self, before: Self) -> Self {
        Self {
            enters: self.enters - before.enters,
            sqes: self.sqes - before.sqes,
            cqes: self.cqes - before.cqes,
            sends: self.sends - before.sends,
            sendfiles: self.sendfiles - before.sendfiles,
            wakes: self.wakes - before.wakes,
            sleeps: self.sleeps - before.sleeps,
            turns: self.turns - before.turns,
            jobs: self.jobs - before.jobs,
        }
    }
}

/// Every seat that was ever made: one per shard, and a process has its shards once.
static SEATS: Mutex<Vec<Arc<Seat>>> = Mutex::new(Vec::new());
