//! What the rings have done: counters that benches and the gate print per request, and that metrics show.
//!
//! Each shard counts for itself in its `seat`; [`shards`] reads them, at any time, from any thread. Punts to kernel
//! workers are not among them: the kernel shows them as the tracepoint `io_uring:io_uring_queue_async_work` alone.

use std::iter::Sum;
use std::sync::{Arc, Mutex, PoisonError};

use super::seat::Seat;
use super::tally::Tally;

/// The counters of one shard. Written by its own thread alone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) enters: Tally,
    pub(super) sqes: Tally,
    pub(super) cqes: Tally,
    pub(super) sends: Tally,
    pub(super) sendfiles: Tally,
    pub(super) mails: Tally,
    pub(super) wakes: Tally,
    pub(super) sleeps: Tally,
    pub(super) turns: Tally,
    pub(super) jobs: Tally,
}

/// What one shard, or all of them together, have done since the start of the process.
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
    /// Messages to other shards.
    pub mails: u64,
    /// Wakes of another shard that needed a system call.
    pub wakes: u64,
    /// Enters that were allowed to wait.
    pub sleeps: u64,
    /// Turns of the pumps.
    pub turns: u64,
    /// Jobs given to housekeeping.
    pub jobs: u64,
}

impl Counters {
    fn read(&self) -> Totals {
        Totals {
            enters: self.enters.get(),
            sqes: self.sqes.get(),
            cqes: self.cqes.get(),
            sends: self.sends.get(),
            sendfiles: self.sendfiles.get(),
            mails: self.mails.get(),
            wakes: self.wakes.get(),
            sleeps: self.sleeps.get(),
            turns: self.turns.get(),
            jobs: self.jobs.get(),
        }
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            enters: sum.enters + one.enters,
            sqes: sum.sqes + one.sqes,
            cqes: sum.cqes + one.cqes,
            sends: sum.sends + one.sends,
            sendfiles: sum.sendfiles + one.sendfiles,
            mails: sum.mails + one.mails,
            wakes: sum.wakes + one.wakes,
            sleeps: sum.sleeps + one.sleeps,
            turns: sum.turns + one.turns,
            jobs: sum.jobs + one.jobs,
        })
    }
}

/// What each shard of this process has done, also those that have ended, in the order in which they were started.
#[must_use]
pub fn shards() -> Vec<Totals> {
    SEATS.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|seat| seat.counters.read()).collect()
}

/// What all of them have done.
#[must_use]
pub fn totals() -> Totals {
    shards().into_iter().sum()
}

/// Takes a shard into the list.
pub(super) fn register(seat: &Arc<Seat>) {
    SEATS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(seat));
}

/// Every seat that was ever made: one per shard, and a process has its shards once.
static SEATS: Mutex<Vec<Arc<Seat>>> = Mutex::new(Vec::new());
