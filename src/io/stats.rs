//! What the rings have done: counters that benches and the gate print per request.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one shard. Written by its own thread alone.
#[derive(Debug, Default)]
pub struct Counters {
    /// `io_uring_enter` calls.
    pub enters: AtomicU64,
    /// Submission queue entries.
    pub sqes: AtomicU64,
    /// Completion queue entries.
    pub cqes: AtomicU64,
    /// `sendmsg` calls outside the ring.
    pub sends: AtomicU64,
    /// `sendfile` calls.
    pub sendfiles: AtomicU64,
    /// Wakes of another shard that needed a system call.
    pub wakes: AtomicU64,
    /// Sleeps of the pump.
    pub sleeps: AtomicU64,
}

/// The sum over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Submission queue entries.
    pub sqes: u64,
    /// Completion queue entries.
    pub cqes: u64,
    /// `sendmsg` calls outside the ring.
    pub sends: u64,
    /// `sendfile` calls.
    pub sendfiles: u64,
    /// Wakes of another shard that needed a system call.
    pub wakes: u64,
    /// Sleeps of the pump.
    pub sleeps: u64,
}

impl Counters {
    /// Adds to a counter of this shard: a plain load and store, because nobody else writes it.
    pub(in crate::io) fn add(counter: &AtomicU64, count: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

/// The sum over the shards of this process, from its start.
#[must_use]
pub fn totals() -> Totals {
    Totals::default()
}
